"""Check of lesson 08: the answer that most replies give.

Votes are counted one by one. All lists are asked about first: a mistake is named if it
explains all results, or all wrong ones. The answers that prove the check are in
`tests/answers/`.
"""

import copy
import random
import statistics
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch

from course_lib.checks.asking import expect, unchanged
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import passes

Answers = Sequence[Hashable | None]


@check(
    passes.majority_vote,
    proved="The answer given most often wins, on a tie the one seen first; None has no vote, 0 has one, and where "
    "nobody answers nobody wins.",
)
def majority_vote(answer, draw):
    numbers, others = _cases(draw)
    _compare(answer, numbers, _MISTAKES)
    try:
        _compare(answer, others, {})
    except (TypeError, ValueError) as error:
        raise CheckFailed(
            f"It stopped with {type(error).__name__} where the answers are texts. They are only counted: do "
            "not calculate with them."
        ) from None


def _compare(answer: Callable, cases: list[Answers], mistakes: dict) -> None:
    found = [(_ask(answer, case), _counted(case), case) for case in cases]
    wrong = [row for row in found if not _same(*row[:2])]
    if not wrong:
        return
    for name, ways in mistakes.items():
        if any(_explains(way, found) == 0 for way in ways):
            raise CheckFailed(name)
    expect(not all(_tied(*row) for row in wrong), _TIE)
    for name, ways in mistakes.items():
        if any(_explains(way, found) <= len(wrong) for way in ways):
            raise CheckFailed(name)
    _otherwise(*wrong[0])


def _cases(draw: torch.Generator) -> tuple[list[Answers], list[Answers]]:
    """Numbers; other things. Ties whose first answer is neither the smallest nor the largest nor the last; few absolute majorities."""
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    a, b, c, d = luck.sample(range(20, 90), 4)
    low, middle, high = sorted([a, b, c])
    mixed = [luck.choices([None, 0, a, b, c, -d], k=luck.randint(5, 12)) for _ in range(12)]  # fmt: skip
    numbers = [
        [24, 14, None, 14],
        [None, None],
        [None],
        [],
        [0, 0, 7],
        [7, 0, None, 0],
        [0],
        [middle, low, high],
        [middle, high, low, low, middle, high],
        (high, low, low, middle, high),
        [low, high, high, middle, low],
        [d, a, b, b, a],  # b has two votes first; a was seen first
        [None, None, None, b, a, a],
        [a, b, None, b, a, None, None],
        (None, -d, -d, d),
        [-d, -a, -d, a, d, 2 * a],
        [*[a] * 3, *[b] * 4, *[c] * 5, *[None] * 9],
        [*[c] * 4, a, *[b] * 4, *[d] * 2],
        [None, None, c],
        [
            a,
            int(f"{10**12 + d}"),
            int(f"{10**12 + d}"),
        ],  # equal, and not the same object
        *mixed,
        luck.choices([a, b, c, d, None, None], k=99),
        [*[a] * 35, *[None] * 20, *[b] * 20, c, *[b] * 16],  # decided by the last one
    ]
    others = [
        ["spam", "egg", None, "egg", "ham"],
        ("pear", "apple", "quince", "apple", "pear"),
        [0.25, 0.5, 0.125, 0.5],
        ["pear", "Apple ", None, "Apple ", " apple"],
        ["a", "A", "A", " a", " a"],
        ["egg", "", "", None],
    ]
    return numbers, others


def _ask(answer: Callable, case: Answers) -> Hashable | None:
    """None is a result here, so `asking.ask` would refuse too much."""
    given = copy.copy(case)
    try:
        got = answer(given)
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        anybody = any(one is not None for one in case)
        expect(
            anybody,
            f"It stopped with {type(error).__name__} for {_shown(case)}. Where nobody gives an answer the vote is "
            "None, and no error.",
        )
        expect(
            "NoneType" not in str(error),
            f"It stopped with {type(error).__name__} for {_shown(case)}: None can be neither sorted nor calculated "
            "with. It has no vote, so it may go first.",
        )
        raise
    expect(
        unchanged(case, given),
        "It changed its own input. Later lines still need that: work on a new list.",
    )
    expect(
        not isinstance(got, np.ndarray | torch.Tensor),
        f"It returned a {type(got).__name__}; one answer is wanted, as it was given.",
    )
    return got.item() if isinstance(got, np.generic) else got


def _same(got: object, want: object) -> bool:
    """One and the same answer: 14 is neither '14' nor 14.0."""
    return type(got) is type(want) and got == want


def _shown(case: Answers) -> str:
    return repr(case) if len(case) <= 16 else f"a list of {len(case)} answers"


def _counted(case: Answers, none: bool = False) -> Hashable | None:
    """Vote by vote, in the order in which the answers came."""
    best, most = None, 0
    for one in case:
        votes = sum(1 for other in case if other == one)
        if votes > most and (none or one is not None):
            best, most = one, votes
    return best


def _otherwise(got: object, want: object, case: Answers) -> None:
    shown = _shown(case)
    expect(
        got is not None or not any(isinstance(one, str) for one in case),
        f"It returned None for {shown}. A text is an answer as well as a number is.",
    )
    expect(
        want != "",
        f"It returned {got!r} for {shown}. The empty text is a text; only None is no answer.",
    )
    expect(
        got in case or not isinstance(got, str),
        f"It returned {got!r} for {shown}, which nobody said. An answer comes back as it was given, with its capitals and "
        "spaces.",
    )
    expect(
        got is not None,
        f"It returned None for {shown}, although somebody gives an answer. Does every path reach a `return`?",
    )
    expect(
        want is not None,
        f"It returned {got!r} for {shown}, where nobody gives an answer. The vote is None then.",
    )
    expect(
        not isinstance(got, dict | list | tuple | set) or type(got) is type(want),
        f"It returned a {type(got).__name__}; one answer is wanted, as it was given.",
    )
    expect(
        type(got) is type(want) or str(got) != str(want),
        f"It returned {got!r}, a {type(got).__name__}, where {want!r} was given. An answer comes back as it was.",
    )
    votes = [sum(1 for one in case if one == each) for each in (got, want)]
    raise CheckFailed(
        f"For {shown} it says {got!r}, which has {votes[0]} of the votes; {want!r} has {votes[1]}."
        if votes[0] != votes[1]
        else f"For {shown} it says {got!r}. {_TIE}"
    )


# --- mistakes ---------------------------------------------------------------------------------


def _explains(way: Callable, found: list[tuple]) -> float:
    """How many results a mistake gets wrong, none of the wrong ones among them."""
    missed = 0
    for got, want, case in found:
        if not _same(got, _tried(way, case)):
            if not _same(got, want):
                return float("inf")
            missed += 1
    return missed


def _tied(got: object, want: object, case: Answers) -> bool:
    return got is not None and got in case and case.count(got) == case.count(want)


def _tried(way: Callable, case: Answers) -> object:
    try:
        return way(case)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, statistics.StatisticsError):  # fmt: skip
        return _tried  # which equals no answer


def _given(case: Answers) -> list:
    return [one for one in case if one is not None]


def _votes(case: Answers) -> dict:
    kept = _given(case)
    return {one: kept.count(one) for one in kept}


def _leading(case: Answers) -> list:
    """All that have as many votes as the first, in the order seen."""
    votes = _votes(case)
    return [one for one in votes if votes[one] == max(votes.values())]


def _above(case: Answers, share: float, kept: Sequence, otherwise: object = None):
    """The winner if it has more than so much."""
    best = _counted(case)
    return best if case.count(best) > share * len(kept) and kept else otherwise


def _of_those(kept: Sequence, none: bool = False):
    return _counted(kept, none)


def _first_to_reach(case: Answers):
    """Whoever has the winning count first."""
    kept, most = _given(case), max(_votes(case).values())
    return next(one for i, one in enumerate(kept) if kept[: i + 1].count(one) == most)


def _nearest(case: Answers, target: float):
    return min(_given(case), key=lambda one: abs(one - target))


def _cancelled(case: Answers):
    """Boyer and Moore's vote: right only if somebody has more than half."""
    best, lead = None, 0
    for one in _given(case):
        best, lead = (
            (one, 1) if lead == 0 else (best, lead + (1 if one == best else -1))
        )
    return best


def _longest_run(case: Answers, none: bool = False):
    best, most, run, before = None, 0, 0, object()
    for one in case if none else _given(case):
        run = run + 1 if one == before else 1
        best, most = (one, run) if run > most else (best, most)
        before = one
    return best


_TIE = "On a tie another than the first wins in yours. Of equally frequent answers the one that was given first is wanted."
# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "None votes in yours. It is no answer, however many give it: it has no vote.":
        (lambda c: _of_those(c, none=True), lambda c: max(set(c), key=c.count),
         lambda c: None if c.count(None) >= max(_votes(c).values()) else _counted(c),
         lambda c: None if c.count(None) > len(c) / 2 else _counted(c),
         lambda c: None if 2 * c.count(None) >= len(c) else _counted(c)),
    "One None is enough in yours to have no answer at all. It has no vote; the others do.":
        (lambda c: None if None in c else _counted(c),),
    "0 has no vote in yours. It is an answer as any other; only None is none (`if x` asks for more than that).":
        (lambda c: _of_those([x for x in c if x]), lambda c: _counted(c) or None,
         lambda c: (_leading([x for x in c if x]) or [None])[-1]),
    "On a tie the last one wins in yours. Of equally frequent answers the one that was given first is wanted.":
        (lambda c: _leading(c)[-1], lambda c: (_leading(c) or [None])[-1], lambda c: _counted(c[::-1]),
         lambda c: _counted(_given(c)[::-1])),
    "On a tie the smallest one wins in yours. Of equally frequent answers the one that was given first is wanted.":
        (lambda c: min(_leading(c)), lambda c: min(_leading(c), default=None)),
    "On a tie the largest one wins in yours. Of equally frequent answers the one that was given first is wanted.":
        (lambda c: max(_leading(c)), lambda c: max(_leading(c), default=None)),
    "On a tie wins whoever has so many votes first. Wanted is the one that was seen first.":
        (_first_to_reach, lambda c: _first_to_reach(c) if _given(c) else None),
    "On a tie nobody wins in yours. Then the one that was given first does.":
        (lambda c: _leading(c)[0] if len(_leading(c)) == 1 else None,
         lambda c: _counted(c) if _given(c) and len(_leading(c)) == 1 else None),
    "It asks for more than half of the votes. The answer given most often wins, with however few.":
        (_cancelled, *(lambda c, s=s, f=f: _above(c, s, f(c)) for s in (0.5, 0.49999) for f in (_given, list))),
    "It asks for two votes at least. The answer given most often wins, with however few.":
        (lambda c: _counted(c) if c.count(_counted(c)) > 1 else None,),
    "It is the number of votes. The answer itself is wanted.":
        (lambda c: max(_votes(c).values()), lambda c: max(_votes(c).values(), default=0),
         lambda c: max(_votes(c).values(), default=None)),
    "The answer comes with its count. The answer itself is wanted.":
        (lambda c: (_counted(c), c.count(_counted(c))), lambda c: [(_counted(c), c.count(_counted(c)))],
         lambda c: (_counted(c), c.count(_counted(c))) if _given(c) else None,
         lambda c: [(_counted(c), c.count(_counted(c)))] if _given(c) else None,
         lambda c: (_counted(c), c.count(_counted(c)) / len(c)) if _given(c) else None),
    "A list of answers comes back. One answer is wanted.":
        (_leading, lambda c: _leading(c) if _given(c) else None, lambda c: [_counted(c)],
         lambda c: [_counted(c)] if _given(c) else None, lambda c: [_counted(c)] if _given(c) else [],
         lambda c: _leading(c) if _given(c) else [], lambda c: list(_votes(c))),
    "The answer comes back as a text. It is wanted as it was given.":
        (lambda c: str(_counted(c)), lambda c: str(_counted(c)) if _given(c) else None),
    "The answer comes back as a float. It is wanted as it was given.":
        (lambda c: float(_counted(c)), lambda c: float(_counted(c)) if _given(c) else None),
    "It is the place of the answer in the list. The answer itself is wanted.":
        (lambda c: c.index(_counted(c)), lambda c: c.index(_counted(c)) if _given(c) else None,
         lambda c: _given(c).index(_counted(c)) if _given(c) else None),
    "It is the first answer, however many give it. Which is given most often?":
        (lambda c: (_given(c) or [None])[0], lambda c: c[0], lambda c: c[0] if c else None),
    "It is the last answer, however many give it. Which is given most often?":
        (lambda c: (_given(c) or [None])[-1], lambda c: c[-1], lambda c: c[-1] if c else None),
    "It is the rarest answer. Which is given most often?":
        (lambda c: min(_votes(c), key=_votes(c).get), lambda c: min(_votes(c), key=_votes(c).get, default=None)),
    "It is the largest or the smallest answer. Which is given most often?":
        (lambda c: max(_given(c), default=None), lambda c: min(_given(c), default=None), lambda c: max(_given(c)),
         lambda c: min(_given(c))),
    "It is a median. Which answer is given most often?":
        (*(lambda c, m=m, e=e: m(_given(c)) if _given(c) or e else None for e in (0, 1) for m in (
            statistics.median_low, statistics.median_high, statistics.median, lambda x: sorted(x)[len(x) // 2],
            lambda x: int(statistics.median(x)), lambda x: sorted(x)[(len(x) - 1) // 2])),),
    "It is a mean, or near it. Which answer is given most often?":
        (*(lambda c, m=m, e=e: m(_given(c)) if _given(c) or e else None for e in (0, 1) for m in (
            statistics.mean, lambda x: sum(x) / len(x), lambda x: round(sum(x) / len(x)), lambda x: sum(x) // len(x),
            lambda x: _nearest(x, sum(x) / len(x)))),),
    "It counts how often an answer comes several times in a row. All its votes count, wherever they are.":
        (_longest_run, lambda c: _longest_run(c, none=True)),
    "The signs make no difference in yours: -14 is another answer than 14.":
        (lambda c: _of_those([abs(x) for x in _given(c)]),
         lambda c: next((x for x in _given(c) if abs(x) == _counted([abs(y) for y in _given(c)])), None)),
    "Answers below 0 have no vote in yours. They are answers as well.":
        (lambda c: _counted([x for x in _given(c) if x >= 0]), lambda c: _counted([x for x in _given(c) if x > 0])),
    "Only some of the answers are counted. Everybody votes.":
        (*(lambda c, k=k: _counted(list(c)[k]) for k in (slice(1, None), slice(None, -1), slice(3), slice(4), slice(5),
            slice(8), slice(10), slice(16), slice(20), slice(32), slice(64), slice(None, None, 2), slice(-4, None))),),
    "It always gives the same answer. Is the worked value built in?":
        (lambda c: 14, lambda c: 0, lambda c: 14 if _given(c) else None),
    "Where nobody gives an answer something comes back in yours. The vote is None then.":
        (*(lambda c, x=x: _counted(c) if _given(c) else x for x in (0, -1, "", False, "None", (), [])),
         lambda c: _counted(c) if _given(c) else [], lambda c: _counted(c) if _given(c) else {}),
    "It returned None for every list. Is there a `return` line, and does every path reach one?": (lambda c: None,),
}
# fmt: on
