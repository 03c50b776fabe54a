"""Answers to lesson 09: what became of the two answers; right ones of different shapes, and people's mistakes."""

import math

from tools.graders import Battery

battery = Battery()

NOTHING, BACK, DISPLACED, MEANT = (
    "nothing learned", "backwards", "displacement", "as meant",
)  # fmt: skip


def _right(answer):
    return battery.right("diagnose")(answer)


# --- right --------------------------------------------------------------------------------------


@_right
def one_question_after_the_other(chosen_gain, rejected_gain, tolerance=0.1):
    gap = chosen_gain - rejected_gain
    if abs(gap) <= tolerance:
        return "nothing learned"
    if gap < 0:
        return "backwards"
    if chosen_gain < -tolerance:
        return "displacement"
    return "as meant"


@_right
def by_the_good_end_first(chosen_gain, rejected_gain, tolerance=0.1):
    gap = chosen_gain - rejected_gain
    if gap > tolerance:
        return MEANT if chosen_gain >= -tolerance else DISPLACED
    return BACK if gap < -tolerance else NOTHING


@_right
def in_one_expression(chosen_gain, rejected_gain, tolerance=0.1):
    gap = chosen_gain - rejected_gain
    return NOTHING if -tolerance <= gap <= tolerance else BACK if gap < 0 else DISPLACED if chosen_gain + tolerance < 0 else MEANT  # fmt: skip


@_right
def from_a_table(chosen_gain, rejected_gain, tolerance=0.1):
    def sign(x):
        return 0 if abs(x) <= tolerance else int(math.copysign(1, x))

    opened, moved = sign(chosen_gain - rejected_gain), sign(chosen_gain)
    return {-1: BACK, 0: NOTHING}.get(opened, (MEANT, DISPLACED)[moved < 0])


@_right
def with_match(chosen_gain, rejected_gain, tolerance=0.1):
    gap = chosen_gain - rejected_gain
    match (abs(gap) <= tolerance, gap > 0, chosen_gain < -tolerance):
        case (True, _, _):
            return NOTHING
        case (_, False, _):
            return BACK
        case (_, _, True):
            return DISPLACED
    return MEANT


@_right
def with_numbers(chosen_gain, rejected_gain, tolerance=0.1):
    gap = chosen_gain - rejected_gain
    opened = (gap > tolerance) - (gap < -tolerance)
    place = 1 + opened + (opened == 1 and chosen_gain < -tolerance)
    return (BACK, NOTHING, MEANT, DISPLACED)[place]


@_right
def with_the_guard(chosen_gain, rejected_gain, tolerance=0.1):
    gap = chosen_gain - rejected_gain
    if not math.isfinite(gap):
        raise ValueError("gains are numbers")
    told = MEANT
    if chosen_gain < -tolerance:
        told = DISPLACED
    if gap < 0:
        told = BACK
    if abs(gap) <= tolerance:
        told = NOTHING
    return told


@_right
def both_have_fallen(chosen_gain, rejected_gain, tolerance=0.1):
    """If the gap opened and the chosen one fell, so did the other."""
    gap = chosen_gain - rejected_gain
    if gap > tolerance:
        fell = chosen_gain < -tolerance and rejected_gain < -tolerance
        return DISPLACED if fell else MEANT
    return NOTHING if gap >= -tolerance else BACK


# --- wrong --------------------------------------------------------------------------------------


def _wrong(name, says, find):
    """find(c, r, t, gap)"""

    def answer(chosen_gain, rejected_gain, tolerance=0.1):
        gap = chosen_gain - rejected_gain
        return find(chosen_gain, rejected_gain, tolerance, gap)

    answer.__name__ = name
    battery.wrong("diagnose", says=says)(answer)


def _asks(name, says, *rows, last=MEANT):
    """rows: a question and what it says if so, in their order."""

    def find(c, r, t, gap):
        return next((text for asks, text in rows if asks(c, r, t, gap)), last)

    _wrong(name, says, find)


NONE = (lambda c, r, t, gap: abs(gap) <= t, NOTHING)
WRONG_WAY = (lambda c, r, t, gap: gap < 0, BACK)
FELL = (lambda c, r, t, gap: c < -t, DISPLACED)

_asks("fall_first", "fell before it asks about the gap", FELL, NONE, WRONG_WAY)
_asks("fall_before_backwards", "fell before it asks about the gap", NONE, FELL, WRONG_WAY)  # fmt: skip
_asks("backwards_first", "gaps that count as nothing", WRONG_WAY, NONE, FELL)
_asks("backwards_and_fall_first", "gaps that count as nothing", WRONG_WAY, FELL, NONE)  # fmt: skip
_asks("never_displaced", 'never says "displacement"', NONE, WRONG_WAY)
_asks("never_backwards", 'never says "backwards"', NONE, FELL)
_asks("never_nothing", 'never says "nothing learned"', WRONG_WAY, FELL)
_asks("gap_without_abs", "where the gap has opened the wrong way", (lambda c, r, t, gap: gap <= t, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("rejected_fell", "\\*rejected\\* answer that fell", NONE, WRONG_WAY, (lambda c, r, t, gap: r < 0, DISPLACED))  # fmt: skip
_asks("either_fell", "\\*rejected\\* answer that fell", NONE, WRONG_WAY, (lambda c, r, t, gap: r < -t or c < -t, DISPLACED))  # fmt: skip
_asks("smaller_move", "gained less than the rejected one lost", NONE, WRONG_WAY, (lambda c, r, t, gap: abs(c) < abs(r), DISPLACED))  # fmt: skip
_asks("sum_below_0", "gained less than the rejected one lost", NONE, WRONG_WAY, (lambda c, r, t, gap: c + r < 0, DISPLACED))  # fmt: skip
_asks("rejected_rose", "rejected answer may rise too", NONE, WRONG_WAY, (lambda c, r, t, gap: r > t, DISPLACED))  # fmt: skip
_asks("meant_only_if_rejected_fell", "rejected answer may rise too", NONE, WRONG_WAY, FELL, (lambda c, r, t, gap: r > 0, DISPLACED))  # fmt: skip
_asks("meant_only_if_it_rose", "as meant only what rose", NONE, WRONG_WAY, (lambda c, r, t, gap: c <= t, DISPLACED))  # fmt: skip
_asks("not_above_0", "as meant only what rose", NONE, WRONG_WAY, (lambda c, r, t, gap: c <= 0, DISPLACED))  # fmt: skip
_asks("fall_without_tolerance", "no difference to the chosen", NONE, WRONG_WAY, (lambda c, r, t, gap: c < 0, DISPLACED))  # fmt: skip
_asks("gap_without_tolerance", "no difference to the gap", (lambda c, r, t, gap: gap == 0, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("without_tolerance", "tolerance makes no difference\\.", (lambda c, r, t, gap: gap == 0, NOTHING), WRONG_WAY, (lambda c, r, t, gap: c < 0, DISPLACED))  # fmt: skip
_asks("a_tenth_built_in", "0.1 is built in", (lambda c, r, t, gap: abs(gap) <= 0.1, NOTHING), WRONG_WAY, (lambda c, r, t, gap: c < -0.1, DISPLACED))  # fmt: skip
_asks("a_tenth_in_the_gap", "0.1 is built in", (lambda c, r, t, gap: abs(gap) <= 0.1, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("strictly", "Exactly the tolerance", (lambda c, r, t, gap: abs(gap) < t, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("not_strictly", "Exactly the tolerance", NONE, WRONG_WAY, (lambda c, r, t, gap: c <= -t, DISPLACED))  # fmt: skip
_asks("each_stayed", "each answer moved by no more", (lambda c, r, t, gap: abs(c) <= t and abs(r) <= t, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("one_stayed", "each answer moved by no more", (lambda c, r, t, gap: abs(c) <= t, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("added_up", "added up", (lambda c, r, t, gap: abs(c + r) <= t, NOTHING), (lambda c, r, t, gap: c + r < 0, BACK), FELL)  # fmt: skip
_asks("sizes_compared", "sizes of the gains", (lambda c, r, t, gap: abs(abs(c) - abs(r)) <= t, NOTHING), (lambda c, r, t, gap: abs(c) < abs(r), BACK), FELL)  # fmt: skip
_asks("gap_turned", "gap is turned", NONE, (lambda c, r, t, gap: gap > 0, BACK), FELL)
_asks("backwards_if_it_rose", "calls backwards whatever", NONE, (lambda c, r, t, gap: r > 0, BACK), FELL)  # fmt: skip
_asks("backwards_if_it_fell", "calls backwards whatever|never says", NONE, (lambda c, r, t, gap: c < 0, BACK), FELL)  # fmt: skip
_asks("backwards_only_if_it_fell", "calls backwards only", NONE, (lambda c, r, t, gap: gap < 0 and c < 0, BACK), FELL)  # fmt: skip
_asks("backwards_only_if_it_rose", "rejected answer that rose", NONE, (lambda c, r, t, gap: gap < 0 and r > 0, BACK), FELL)  # fmt: skip
_asks("names_exchanged", "are exchanged", NONE, (WRONG_WAY[0], DISPLACED), (FELL[0], BACK))  # fmt: skip
_asks("fall_and_rise_exchanged", "are exchanged", NONE, WRONG_WAY, (FELL[0], MEANT), last=DISPLACED)  # fmt: skip
_asks("displaced_if_it_rose", "displaced what rose", NONE, WRONG_WAY, (lambda c, r, t, gap: c > t, DISPLACED))  # fmt: skip
_asks("only_the_gap", "never says \"displacement\"", NONE, (lambda c, r, t, gap: gap > 0, MEANT), last=BACK)  # fmt: skip
_asks("by_the_chosen_alone", "chosen answer alone", (lambda c, r, t, gap: abs(c) <= t, NOTHING), (lambda c, r, t, gap: c > 0, MEANT), last=DISPLACED)  # fmt: skip
_asks("gap_over_twice", "For \\(", (lambda c, r, t, gap: abs(gap) <= 2 * t, NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("relative", "For \\(", (lambda c, r, t, gap: abs(gap) <= t * abs(c), NOTHING), WRONG_WAY, FELL)  # fmt: skip
_asks("fell_by_less_than_the_gap", "more than the gap opened", NONE, WRONG_WAY, (lambda c, r, t, gap: c < -gap, DISPLACED))  # fmt: skip

_wrong("always_as_meant", "always says the same", lambda c, r, t, gap: MEANT)
_wrong("capitals", "letter by letter", lambda c, r, t, gap: "As meant")
_wrong("with_a_full_stop", "letter by letter", lambda c, r, t, gap: "as meant.")
_wrong("displaced", "letter by letter", lambda c, r, t, gap: MEANT if c > 0 else "displaced")  # fmt: skip
_wrong("the_number", "returned a int", lambda c, r, t, gap: (gap > t) + 2 * (c < -t))
_wrong("printed", "returned None", lambda c, r, t, gap: print(MEANT))
_wrong("a_path_without_return", "returned None", lambda c, r, t, gap: MEANT if gap > t else None)  # fmt: skip
_wrong("true_or_false", "returned a bool", lambda c, r, t, gap: gap > t)
_wrong("worked_values", "always says the same", lambda c, r, t, gap: {(1.0, -4.0): MEANT, (-6.0, -30.0): DISPLACED}.get((c, r), BACK))  # fmt: skip


# --- found by attacking the check -------------------------------------------------------------


def _by_the_card(c, r, t):
    if abs(c - r) <= t:
        return NOTHING
    return BACK if c < r else DISPLACED if c < -t else MEANT


_wrong("no_tolerance_is_a_tenth", "should say|tolerance", lambda c, r, t, gap: _by_the_card(c, r, t or 0.1))  # fmt: skip
_wrong("a_tolerance_of_a_half_at_most", "should say|tolerance", lambda c, r, t, gap: _by_the_card(c, r, min(t, 0.5)))  # fmt: skip
_wrong("gains_held_at_20", "should say", lambda c, r, t, gap: _by_the_card(max(c, -20.0), max(r, -20.0), t))  # fmt: skip
