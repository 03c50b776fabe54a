"""Checks of lesson 06: a ranking taken apart into pairs.

Which pairs a ranking decides is found by looking at every two names. The order of the
list is free. The answers that prove the check are in `tests/answers/`.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import torch

from course_lib.checks.asking import ask, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.reward import pairs


@check(
    pairs.pairs_from_ranking,
    proved="For rankings of any length it gives every comparison that they decide, once, the "
    "better name first, and none between equals.",
)
def pairs_from_ranking(answer, draw):
    _ranking_compare(answer, [["B"], ["A", "C"], ["D"]])
    _starts_anew(answer, _decided([["B"], ["A", "C"], ["D"]]))
    _ranking_compare(answer, [["Dora"], ["Ada"], ["Cleo"], ["Ben"]])
    first = answer([["B"], ["A"]])
    kept = list(first)
    _ranking_compare(answer, [[" Ben", "Ada "], [""], ["ben"]])  # any strings
    for sizes in (
        (2, 3), (1, 1, 1, 1, 1), (3, 1, 2), (1, 4, 1, 2), (2, 2, 2, 2),
        (4,), (1,), (1, 2), (3, 1), (1, 1, 1), (2, 1, 1, 3, 1),
    ):  # fmt: skip
        _ranking_compare(answer, _drawn_ranking(draw, sizes))
    _ranking_compare(answer, tuple(map(tuple, _drawn_ranking(draw, (2, 1, 2)))))
    _ranking_compare(answer, _drawn_ranking(draw, (1,) * 12))
    expect(
        list(first) == kept,
        "A second call changed what the first one had returned. Each call needs a list of its "
        "own.",
    )


def _starts_anew(answer, earlier: list) -> None:
    """A list that lives on between calls still holds the pairs of the call before."""
    again = ask(answer, [["F"], ["E"]])
    old = [pair for pair in again if pair in earlier] if isinstance(again, list) else []
    expect(
        not old,
        f"For F > E the pair {old[:1] and old[0]} came out, from an earlier call: the list was not empty at the "
        "start. Make a new one in each call.",
    )


_NAMES = (
    "A", "B", "C", "D", "E", "Ada", "Ben", "Cleo", "Dora", "answer 1", "answer 10",
    "answer 2", "first", "last", "a",
)  # fmt: skip


def _drawn_ranking(draw: torch.Generator, sizes: Sequence[int]) -> list[list[str]]:
    """Groups of these sizes; neither groups nor names stand in an order of their own."""
    order = torch.randperm(len(_NAMES), generator=draw).tolist()
    names = [_NAMES[i] for i in order[: sum(sizes)]]
    if len(sizes) > 1 and names == sorted(names):
        names.reverse()
    taken = iter(names)
    return [[next(taken) for _ in range(size)] for size in sizes]


def _decided(ranking: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Every two names are looked at, and their places compared."""
    place = {name: i for i, group in enumerate(ranking) for name in group}
    return [(a, b) for a in place for b in place if place[a] < place[b]]


def _signs(ranking: Sequence[Sequence[str]]) -> str:
    return " > ".join(" = ".join(group) for group in ranking)


def _ranking_compare(answer, ranking: Sequence[Sequence[str]]) -> None:
    shown = _signs(ranking)
    got = _ranking_ask(answer, ranking, shown)
    want = _decided(ranking)
    if Counter(got) == Counter(want):
        return
    for mistake, results in _ranking_mistakes(ranking).items():
        for result in results:
            if Counter(got) == Counter(result) != Counter(want):
                raise CheckFailed(mistake)
    _pairs_too_many(got, want, ranking, shown)
    for pair in want:
        expect(
            pair in got,
            f"The ranking {shown} decides {len(want)} comparisons; {pair} is one of them, and is "
            f"missing. You found {len(got)}.",
        )


def _ranking_ask(answer, ranking, shown: str) -> list[tuple[str, str]]:
    got = ask(answer, ranking)
    kinds = {
        set: "A set has no order and cannot be asked for its third pair.",
        dict: "A dict has room for one loser per winner.",
        tuple: "A tuple of pairs is close.",
    }
    expect(
        isinstance(got, list),
        f"It returned a {type(got).__name__}; a list of pairs is wanted. "
        + kinds.get(type(got), ""),
    )
    names = [name for group in ranking for name in group]
    strange = [
        pair
        for pair in got
        if isinstance(pair, tuple)
        and all(isinstance(name, str) for name in pair)
        and not {*pair} <= {*names}
    ]
    if strange:  # left from another call, or names that it made up
        _starts_anew(answer, strange)
    for pair in got:
        expect(
            isinstance(pair, tuple),
            f"In the list stands {_seen(pair)}; a tuple of two names is wanted, (better, worse).",
        )
        expect(
            len(pair) == 2,
            f"In the list stands {pair!r}, with {len(pair)} entries; a pair has two, better and "
            "worse.",
        )
        for name in pair:
            expect(
                not isinstance(name, list | tuple),
                f"In a pair stands a whole group, {name!r}. It is their members that are compared, "
                "each with each.",
            )
            expect(
                isinstance(name, str) and name in names,
                f"In a pair stands {name!r}, which is no name of the ranking {shown}. The pairs hold "
                "the names as they are, no numbers.",
            )
    return got


def _seen(thing: object) -> str:
    kind = f"a {type(thing).__name__}"
    return kind if " at 0x" in repr(thing) else f"{thing!r}, {kind}"


def _ranking_mistakes(ranking) -> dict[str, list[list]]:
    """What known mistakes give."""
    want, groups = _decided(ranking), [list(group) for group in ranking]
    names = [name for group in groups for name in group]
    equals = [pair for group in groups for pair in combinations(group, 2)]

    def between(neighbours) -> list[tuple[str, str]]:
        return [(a, b) for one, two in neighbours for a in one for b in two]

    zipped = [pair for a, b in combinations(groups, 2) for pair in zip(a, b)]  # noqa: B905
    turned = [(b, a) for a, b in want]
    # fmt: off
    return {
        "Only neighbours are compared. The first of a ranking beats the last one as well: whoever put B before A "
        "and A before C has also said that B is better than C.":
            [between(pairwise(groups)), list(pairwise(names))],
        "Only the best group is compared with the rest. The others have an order among themselves.":
            [between((groups[0], group) for group in groups[1:]), [(names[0], b) for b in names[1:]]],
        "All are compared with the worst group only. The others have an order among themselves.":
            [between((group, groups[-1]) for group in groups[:-1])],
        "Equals make pairs: two names of one group were compared. Nobody said which of them is better.":
            [want + equals, want + [(b, a) for a, b in equals],
             want + [pair for a, b in equals for pair in ((a, b), (b, a))], equals],
        "The pairs are the wrong way round. The better name comes first, and the best group of a ranking too.":
            [turned],
        "Each comparison stands there twice, once in either order. Only the better name comes first.":
            [want + turned],
        "It is the alphabet that decides which name comes first. The ranking does: its best group stands first.":
            [[tuple(sorted(pair)) for pair in want], list(combinations(sorted(names), 2)),
             [tuple(sorted(pair, reverse=True)) for pair in want]],
        "Of two groups only the first names, or names at the same place, are compared. Each name of a group is, "
        "with each of the other.":
            [zipped, [(a[0], b[0]) for a, b in combinations(groups, 2)]],
        "Pairs stand in the list twice. Once is enough.": [want + want],
        "There is a return inside the loop, perhaps: only the first comparison is there.": [want[:1]],
        "Only the two best groups are compared. Is there a return inside the loop, or is the number of groups built "
        "in?": [between([groups[:2]]) if len(groups) > 1 else want],
        "Of each name only one comparison came out. Each name has one with every worse name.":
            [list({a: (a, b) for a, b in want}.values()), list({b: (a, b) for a, b in want}.values()),
             list({a: (a, b) for a, b in reversed(want)}.values())],
    }
    # fmt: on


def _pairs_too_many(got, want, ranking, shown: str) -> None:
    """Name what is wrong with the first pair that should not stand there."""
    place = {name: i for i, group in enumerate(ranking) for name in group}
    for (a, b), times in Counter(got).items():
        expect(a != b, f"{a!r} is compared with itself.")
        expect(
            place[a] != place[b],
            f"For {shown} the pair {(a, b)} came out. Both stand in one group: equals make no "
            "pair.",
        )
        expect(
            (b, a) in got or place[a] < place[b],
            f"For {shown} the pair {(a, b)} came out. It is the wrong way round: the better name "
            "comes first.",
        )
        expect(
            place[a] < place[b],
            f"For {shown} both {(a, b)} and {(b, a)} came out. Each comparison stands there once, "
            "the better name first.",
        )
        expect(
            times == 1,
            f"For {shown} the pair {(a, b)} came out {times} times. Once is enough.",
        )
