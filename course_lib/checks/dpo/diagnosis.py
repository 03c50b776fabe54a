"""Check of lesson 09: what became of the two answers of a pair.

Hundreds of gains, drawn on all sides of every border and on the borders themselves. The
answers that prove the check are in `tests/answers/`.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.dpo import outcomes

NOTHING, BACK, DISPLACED, MEANT = (
    "nothing learned", "backwards", "displacement", "as meant",
)  # fmt: skip
TEXTS = (NOTHING, BACK, DISPLACED, MEANT)


class Ends(NamedTuple):
    """The last points of two curves; None = the default is left to the answer."""

    chosen: float
    rejected: float
    tolerance: float | None = None

    @property
    def within(self) -> float:
        return 0.1 if self.tolerance is None else self.tolerance

    @property
    def said(self) -> str:
        asked = "" if self.tolerance is None else f", tolerance={self.tolerance:g}"
        return f"({self.chosen:g}, {self.rejected:g}{asked})"


@check(
    outcomes.diagnose,
    proved="Each of the four is told from the others, on all sides of the borders and on them, for any tolerance.",
)
def diagnose(answer, draw):
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    cases = [Ends(1.0, -4.0), Ends(-6.0, -30.0), Ends(-3.0, -1.0)]
    cases += [Ends(0.0, 0.0), Ends(-5.0, 1.0), Ends(2.0, 1.0), Ends(0.0, -3.0)]
    cases += [Ends(2.0, 5.0), Ends(-5.0, -5.03), Ends(4.0, 4.05), Ends(-0.03, -2.0)]
    for tolerance in (None, 0.5, 2.0, 0.01):
        cases += _around(luck, tolerance)
    cases += _borders()
    found = [(_asked(answer, case), case) for case in cases]
    _named(found)


def _around(luck: random.Random, tolerance: float | None) -> list[Ends]:
    """Gains on all sides of every border, none of them on one."""
    within = 0.1 if tolerance is None else tolerance
    chosen = [s * within * luck.uniform(*b) for s in (1, -1) for b in ((0.1, 0.9), (1.2, 4), (6, 60)) for _ in "12"]  # fmt: skip
    found = []
    for one in [*chosen, 0.0]:
        for side in (1, -1):
            for low, high in ((0.1, 0.9), (1.2, 3), (6, 90)):
                gap = side * within * luck.uniform(low, high)
                found.append(Ends(one, one - gap, tolerance))
    luck.shuffle(found)
    return found


def _borders() -> list[Ends]:
    """Exactly the tolerance, in numbers that floats hold exactly."""
    found = [Ends(0.1, 0.0), Ends(0.0, 0.1), Ends(-0.1, -5.0), Ends(0.0, -0.1)]
    found += [Ends(0.0, up, 0.0) for up in (0.05, -0.05, 0.0)] + [Ends(-0.05, -2.0, 0.0)]  # fmt: skip
    for t in (0.5, 2.0, 0.25):
        found += [Ends(4 + t, 4.0, t), Ends(-4.0, -4 - t, t), Ends(-4.0, t - 4, t)]
        found += [Ends(-t, -8.0, t), Ends(-t, -t - t, t), Ends(t, 2 * t, t)]
    return found


def _asked(answer: Callable, case: Ends) -> str:
    given = () if case.tolerance is None else (case.tolerance,)
    got = answer(case.chosen, case.rejected, *given)
    expect(
        got is not None,
        f"It returned None for {case.said}. Is there a `return` line, and does every path reach one?",
    )
    expect(
        isinstance(got, str),
        f"It returned a {type(got).__name__} for {case.said}; one of the four texts is wanted.",
    )
    expect(
        got in TEXTS,
        f"It returned {got!r:.40} for {case.said}. The four texts are {', '.join(map(repr, TEXTS))}, letter by letter.",
    )
    return got


# --- naming the mistake -----------------------------------------------------------------------


def _right(case: Ends) -> str:
    """By the two lines of text on the card, one question after the other."""
    opened = case.chosen - case.rejected
    if -case.within <= opened <= case.within:
        return NOTHING
    fell = case.chosen < -case.within
    return {(True, True): DISPLACED, (True, False): MEANT}.get((opened > 0, fell), BACK)


def _named(found: list[tuple[str, Ends]]) -> None:
    wrong = [(got, case) for got, case in found if got != _right(case)]
    if not wrong:
        return
    for most in (0, len(wrong)):
        for mistake, ways in _MISTAKES.items():
            if any(_explains(way, found) <= most for way in ways):
                raise CheckFailed(mistake)
    got, case = wrong[0]
    gap = case.chosen - case.rejected
    raise CheckFailed(
        f"For {case.said} it says {got!r}, and should say {_right(case)!r}: the chosen answer gained {case.chosen:+.3g}, the rejected "
        f"one {case.rejected:+.3g}, so the gap is {gap:+.3g}, and {case.within:g} or less counts as nothing."
    )


def _explains(way: Callable, found: list[tuple[str, Ends]]) -> float:
    """How many results a mistake gets wrong, none of the wrong ones among them."""
    missed = [(got, case) for got, case in found if got != way(*case[:2], case.within)]
    right = all(got == _right(case) for got, case in missed)
    return len(missed) if right else float("inf")


def _asks(
    nothing: Callable = lambda c, r, t: abs(c - r) <= t,
    back: Callable = lambda c, r, t: c < r,
    fell: Callable = lambda c, r, t: c < -t,
    order: tuple[str, ...] = (NOTHING, BACK, DISPLACED),
    says: dict[str, str] | None = None,
) -> Callable:
    """Three questions, with a fault in one of them, or in another order."""
    questions = {NOTHING: nothing, BACK: back, DISPLACED: fell}

    def way(chosen: float, rejected: float, within: float) -> str:
        said = next((text for text in order if questions[text](chosen, rejected, within)), MEANT)  # fmt: skip
        return (says or {}).get(said, said)

    return way


# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "It asks whether the chosen answer fell before it asks about the gap. Where the gap has not opened, or has opened backwards, that is "
    "what is to be said.":
        (_asks(order=(DISPLACED, NOTHING, BACK)), _asks(order=(NOTHING, DISPLACED, BACK)), _asks(order=(DISPLACED, BACK, NOTHING))),
    "It says \"backwards\" for gaps that count as nothing. First ask whether there is a gap at all.": (_asks(order=(BACK, NOTHING, DISPLACED)), _asks(order=(BACK, DISPLACED, NOTHING)), _asks(nothing=lambda c, r, t: 0 <= c - r <= t)),
    "It says \"nothing learned\" where the gap has opened the wrong way, by more than the tolerance.":
        (_asks(nothing=lambda c, r, t: c - r <= t), _asks(says={BACK: NOTHING})),
    "It calls displaced only what fell by more than the gap opened. If the gap opened and the chosen answer fell, that is enough.":
        (_asks(fell=lambda c, r, t: c < r - c), _asks(fell=lambda c, r, t: c < -t and c < r - c)),
    "It never says \"displacement\". The gap opened, and yet the chosen answer may have fallen.":
        (_asks(order=(NOTHING, BACK)), _asks(says={DISPLACED: NOTHING}), _asks(says={DISPLACED: BACK})),
    "It never says \"backwards\". The rejected answer may gain on the chosen one.": (_asks(says={BACK: MEANT}), _asks(says={BACK: DISPLACED}), _asks(order=(NOTHING, DISPLACED))),
    "It never says \"nothing learned\". A gap up to the tolerance counts as none.": (_asks(order=(BACK, DISPLACED)), _asks(says={NOTHING: MEANT}), _asks(says={NOTHING: DISPLACED}), _asks(says={NOTHING: BACK})),
    "It calls displaced what has a *rejected* answer that fell. Its fall is meant; the chosen one should not fall.":
        (_asks(fell=lambda c, r, t: r < -t), _asks(fell=lambda c, r, t: r < 0), _asks(fell=lambda c, r, t: r < -t or c < -t), _asks(fell=lambda c, r, t: r < t)),
    "It calls displaced what gained less than the rejected one lost. Did the chosen answer itself fall?":
        (_asks(fell=lambda c, r, t: abs(c) < abs(r)), _asks(fell=lambda c, r, t: c + r < 0), _asks(fell=lambda c, r, t: c + r < -t)),
    "It calls displaced what is meant, if both rose: the rejected answer may rise too, as long as the gap opens.":
        (_asks(fell=lambda c, r, t: r > t), _asks(fell=lambda c, r, t: r > 0), _asks(fell=lambda c, r, t: c < -t or r > t), _asks(fell=lambda c, r, t: c < -t or r > 0)),
    "It calls as meant only what rose. If the chosen answer stayed, within the tolerance, it did not fall.":
        (_asks(fell=lambda c, r, t: c <= t), _asks(fell=lambda c, r, t: c < t), _asks(fell=lambda c, r, t: c <= 0)),
    "The tolerance makes no difference to the chosen answer's fall. As much, down, counts as nothing.": (_asks(fell=lambda c, r, t: c < 0),),
    "The tolerance makes no difference to the gap. As much, up or down, counts as nothing.":
        (_asks(nothing=lambda c, r, t: c == r), _asks(nothing=lambda c, r, t: abs(c - r) < 1e-6), _asks(nothing=lambda c, r, t: abs(c - r) < 1e-3)),
    "The tolerance makes no difference.":
        (_asks(nothing=lambda c, r, t: c == r, fell=lambda c, r, t: c < 0), _asks(nothing=lambda c, r, t: c == r, fell=lambda c, r, t: c <= 0)),
    "`tolerance` makes no difference: 0.1 is built in.":
        (_asks(nothing=lambda c, r, t: abs(c - r) <= 0.1, fell=lambda c, r, t: c < -0.1), _asks(nothing=lambda c, r, t: abs(c - r) <= 0.1),
         _asks(fell=lambda c, r, t: c < -0.1), _asks(nothing=lambda c, r, t: abs(c - r) < 0.1, fell=lambda c, r, t: c < -0.1)),
    "Exactly the tolerance counts as nothing, of a gap and of a fall.":
        (_asks(nothing=lambda c, r, t: abs(c - r) < t), _asks(fell=lambda c, r, t: c <= -t),
         _asks(nothing=lambda c, r, t: abs(c - r) < t, fell=lambda c, r, t: c <= -t)),
    "It says \"nothing learned\" where each answer moved by no more than the tolerance, or where one of them did. The gap between them "
    "counts.":
        (_asks(nothing=lambda c, r, t: abs(c) <= t and abs(r) <= t), _asks(nothing=lambda c, r, t: abs(c) < t and abs(r) < t),
         _asks(nothing=lambda c, r, t: abs(c) <= t or abs(r) <= t), _asks(nothing=lambda c, r, t: abs(c) <= t), _asks(nothing=lambda c, r, t: abs(r) <= t)),
    "The two gains are added up. A gap is a difference.":
        (_asks(nothing=lambda c, r, t: abs(c + r) <= t), _asks(nothing=lambda c, r, t: abs(c + r) <= t, back=lambda c, r, t: c + r < 0)),
    "The sizes of the gains are compared, without their signs. A gain of -30 is a loss.":
        (_asks(nothing=lambda c, r, t: abs(abs(c) - abs(r)) <= t, back=lambda c, r, t: abs(c) < abs(r)),
         _asks(back=lambda c, r, t: abs(c) < abs(r)), _asks(back=lambda c, r, t: c - abs(r) < 0)),
    "The gap is turned round: it is the chosen answer's gain less that of the rejected one.":
        (_asks(back=lambda c, r, t: c > r), _asks(back=lambda c, r, t: r - c < -t), _asks(nothing=lambda c, r, t: r - c <= t)),
    "It calls backwards whatever has a chosen answer that fell, or a rejected one that rose. The gap decides.":
        (_asks(back=lambda c, r, t: r > 0), _asks(back=lambda c, r, t: r > t), _asks(back=lambda c, r, t: c < 0 < r), _asks(back=lambda c, r, t: c < -t and r > t),
         _asks(back=lambda c, r, t: c < 0), _asks(back=lambda c, r, t: c < -t), _asks(back=lambda c, r, t: r >= 0), _asks(back=lambda c, r, t: c < r or r > t)),
    "It calls backwards only what has a chosen answer that fell. Both may rise, and the rejected one more.":
        (_asks(back=lambda c, r, t: c < r and c < 0), _asks(back=lambda c, r, t: c < r and c < -t)),
    "It calls backwards only what has a rejected answer that rose. Both may fall, and the chosen one more.":
        (_asks(back=lambda c, r, t: c < r and r > 0), _asks(back=lambda c, r, t: c < r and r > t)),
    "It looks at the chosen answer alone. First the gap: how much more has it gained than the rejected one?":
        tuple(_asks(nothing=lambda c, r, t: abs(c) <= t, back=lambda c, r, t: c < 0, says=says) for says in ({}, {BACK: DISPLACED}))
        + tuple(_asks(nothing=lambda c, r, t: abs(c) < t, back=lambda c, r, t: c < 0, says=says) for says in ({}, {BACK: DISPLACED})),
    "\"displacement\" and \"backwards\" are exchanged.": (_asks(says={BACK: DISPLACED, DISPLACED: BACK}),),
    "\"displacement\" and \"as meant\" are exchanged.": (_asks(says={DISPLACED: MEANT, MEANT: DISPLACED}), _asks(fell=lambda c, r, t: c > -t), _asks(fell=lambda c, r, t: c >= -t)),
    "It calls displaced what rose. Displaced is a chosen answer that fell although the gap opened.": (_asks(fell=lambda c, r, t: c > t), _asks(fell=lambda c, r, t: c > 0), _asks(fell=lambda c, r, t: abs(c) > t)),
    "It always says the same. Is the worked value built in?": tuple(lambda c, r, t, text=text: text for text in TEXTS),
}
# fmt: on
