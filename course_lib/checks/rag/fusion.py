"""Check of lesson 10: several rankings made one.

Sums are added up as fractions. The answers that prove the check are in `tests/answers/`.
"""

import random
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from itertools import chain, pairwise, zip_longest
from numbers import Real

import numpy as np
import torch

from course_lib.checks.asking import expect, told_apart
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import fusion

Rankings = Sequence[Sequence[Hashable]]
Fused = list[tuple[Hashable, float]]


@check(
    fusion.reciprocal_rank_fusion,
    proved="Sums on paper, any number of rankings and any constant; items of any kind; what one ranking does not hold "
    "loses nothing else; and of equal sums the first one met stays first.",
)
def reciprocal_rank_fusion(answer, draw):
    rows = []
    for case in _ranked(draw):
        got = asked(answer, case, _stopped)
        rows.append(Row(_pairs(got, case), _slow_sums(*case.given, **case.options), case))  # fmt: skip
    judge(rows, _MISTAKES, _same, _otherwise, slack=0.5)
    _last_digit(answer, draw)


class _Thing:
    """An item that is equal to itself alone, and neither less nor more than others."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __deepcopy__(self, memo: dict) -> "_Thing":
        return self


def _ranked(draw: torch.Generator) -> list[Case]:
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    p, q, r, s, t, u, v = luck.sample("bcdefghijklmnopqrstuvwxyz", 7)
    plain = [[p, q, r], [r, p]]
    cases = [
        Case((plain,)),
        Case((plain,), {"constant": 0}),
        Case(([[p, q, r], [r, q]],)),  # r is a little better than q
        Case(([[p, q, r], [r, q]],), {"constant": 5000}),
        Case(([[t, p, s], [s, q, u, t, v]],), {"constant": 10}),
        Case(([["z", "m", "b"]],)),
        Case(([["z", "y"], ["a", "b"]],)),  # ties, met last by the alphabet
        Case(([["m", "y"], ["a", "z"], ["q", "c"]],), {"constant": 7.5}),
        # q and p have ranks 2 and 5 each; p was met earlier, rank by rank q is
        Case(([[r, s, t, u, p], [v, q, r, s, t], [t, p, s, r, q]],), {"constant": 4}),
        Case(([[r, s], [], [q, r, s, t]],)),
        Case(([[0, 3, 1], [1, 0, 2, 3], [3, 2]],), {"constant": 5}),
        Case((((4, 2, 9), (9, 4)),), {"constant": 1000}),
        Case(([[_Thing("one"), 7, "7"], ["7", (1, 2), 0], [""]],)),
        Case(([],)),
        Case(([[], []],)),
        Case(([[p, q], [q, p], [p, q], [p, r, q]],), {"constant": 2}),
        Case(([[s], [s], [s], [t]],)),
        Case(([[p, s, q], [r, t, q]],), {"constant": 0}),  # q stands in both
    ]
    return cases + [_drawn_rankings(luck, n) for n in range(10)]


def _drawn_rankings(luck: random.Random, n: int) -> Case:
    """Any number of rankings; equal sums only of the same one or two parts: of others the last digits may differ."""
    options = {"constant": luck.choice([0.5, 3, 20, 60])} if n % 3 else {}
    while True:
        items = (
            luck.sample(range(100), 9) if n % 2 else luck.sample("abcdefghijklmn", 9)
        )
        rankings = [luck.sample(items, luck.randint(2, 7)) for _ in range(n % 5 + 1)]
        exact = [total for _, total in _exact(rankings, **options)]
        ranks = _collected(rankings, lambda rank, ranking: rank).values()
        kinds = exact if n % 5 > 1 else {tuple(sorted(row)) for row in ranks}
        if len({*exact}) == len(kinds):
            return Case((rankings,), options)


def _last_digit(answer: Callable, draw: torch.Generator) -> None:
    """The same three parts in another order, which plain sums add up to another last digit."""
    for number in range(4):
        case, first, second = _same_parts(draw, constant=(60, 60, 10, 3)[number])
        got = _pairs(asked(answer, case, _stopped), case)
        row = Row(got, _slow_sums(*case.given, **case.options), case)
        order = [item for item, _ in got]
        sums = dict(got)
        if len(got) != len(row.want) or not {first, second} <= {*order}:
            raise CheckFailed(_otherwise(row))
        expect(
            order.index(first) < order.index(second),
            f"{first!r} and {second!r} have the same three parts, in another order, and {first!r} was met first. Its sum is "
            f"{sums[first]!r} in yours, that of {second!r} {sums[second]!r}. Where the order changes the last digit, `math.fsum` "
            "helps.",
        )
        if not _same(got, row.want):
            raise CheckFailed(_otherwise(row))


def _same_parts(
    draw: torch.Generator, constant: float
) -> tuple[Case, Hashable, Hashable]:
    """Two items whose sums are equal, but for one who adds from left to right."""
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    while True:
        ranks = luck.sample(range(9), 3)
        others = luck.choice([ranks[1:] + ranks[:1], ranks[2:] + ranks[:2]])
        sums = [0.0, 0.0]
        for pair in zip(ranks, others, strict=True):
            sums = [x + 1 / (constant + n + 1) for x, n in zip(sums, pair, strict=True)]
        if ranks[0] < others[0] and sums[0] < sums[1]:
            break
    first, second, *rest = luck.sample(range(100), 40)
    rankings = []
    for one, other in zip(ranks, others, strict=True):
        ranking = [rest.pop() for _ in range(9)]
        ranking[one], ranking[other] = first, second
        rankings.append(ranking)
    return Case((rankings,), {"constant": constant}), first, second


def _stopped(error: Exception, case: Case) -> str | None:
    kind = type(error).__name__
    rankings = case.given[0]
    if isinstance(error, ZeroDivisionError):
        return f"It divides by 0 for {case}. Ranks are counted from 1, and the constant is added to them."
    if isinstance(error, ValueError) and "unpack" in str(error):
        return f"It stopped with ValueError: {error} for {case}. There may be any number of rankings."
    if isinstance(error, TypeError) and "not supported between" in str(error):
        return f"It stopped with TypeError: {error}. Items can be anything, and are never compared; only their sums are sorted."
    if not all(map(len, rankings)) or not rankings:
        return f"It stopped with {kind} for {case}. A ranking may be empty, and there may be none."
    if isinstance(error, KeyError | IndexError | ValueError):
        return f"It stopped with {kind}: {error} for {case}. A ranking need not hold every item, and has a length of its own."
    if isinstance(error, AttributeError) and "'tuple'" in str(error):
        return "It stopped where rankings are tuples. A tuple may come in as well as a list."
    return None


def _pairs(got: object, case: Case) -> list:
    """Pairs of an item and a number, or a sentence on what else it is."""
    expect(
        not isinstance(got, dict),
        "It returned a dictionary; a list of pairs is wanted, the best first.",
    )
    expect(
        isinstance(got, list | tuple),
        f"It returned a {type(got).__name__}; a list of pairs (item, sum) is wanted.",
    )
    for pair in got:
        expect(
            isinstance(pair, tuple | list) and len(pair) == 2,
            f"For {case} the list holds {pair!r}. Each entry is a pair: an item and its sum.",
        )
        item, total = pair
        if hasattr(total, "item") and getattr(total, "ndim", None) == 0:
            total = total.item()
        if not isinstance(total, Real) or isinstance(total, bool):
            swapped = isinstance(item, Real)
            raise CheckFailed(
                f"For {case} the list holds {pair!r}. "
                + ("The item stands first, then its sum." if swapped else "The second of a pair is the item's sum, a number.")
            )  # fmt: skip
    return [tuple(pair) for pair in got]


def _same(got: list, want: list) -> bool:
    return len(got) == len(want) and all(
        _same_item(a, b) and abs(x - y) <= 1e-9 * max(1.0, abs(y))
        for (a, x), (b, y) in zip(got, want, strict=True)
    )


def _same_item(a: Hashable, b: Hashable) -> bool:
    return a is b or (a == b and isinstance(a, str) == isinstance(b, str))


def _otherwise(row: Row) -> str:
    got, want = dict(row.got), dict(row.want)
    expect(
        len(row.got) == len(got),
        f"For {row.case} an item comes back twice: {row.got}. Each has one sum.",
    )
    if extra := [item for item in got if item not in want]:
        return f"For {row.case} it gives {extra[0]!r}, which is in none of the rankings. Items come back as they were given."
    if missing := [item for item in want if item not in got]:
        return f"For {row.case} it does not give {missing[0]!r}. Every item of every ranking has a sum."
    for item, total in want.items():
        if abs(got[item] - total) > 1e-9 * max(1.0, total):
            one, other = told_apart(got[item], total)
            return f"For {row.case} the sum of {item!r} is {one}; it should be {other}."
    order = [item for item, _ in row.got]
    sums = [total for _, total in row.got]
    if all(a >= b - 1e-12 for a, b in pairwise(sums)):
        return (
            f"For {row.case} the order is {order}. Of equal sums the item met first comes first, when the rankings are read one after "
            "the other."
        )
    return f"For {row.case} the sums are right and the order is {order}. The largest sum comes first."


def _exact(rankings: Rankings, constant: float = 60) -> list[tuple[Hashable, Fraction]]:
    sums: dict[Hashable, Fraction] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking):
            sums[item] = sums.get(item, 0) + 1 / (Fraction(constant) + place + 1)
    return [*sums.items()]


def _slow_sums(rankings: Rankings, constant: float = 60) -> Fused:
    pairs = sorted(_exact(rankings, constant), key=lambda pair: pair[1], reverse=True)
    return [(item, float(total)) for item, total in pairs]


# --- mistakes ---------------------------------------------------------------------------------


def _collected(rankings: Rankings, part: Callable) -> dict[Hashable, list]:
    """part(rank, ranking), collected by item."""
    parts: dict[Hashable, list] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            parts.setdefault(item, []).append(part(rank, ranking))
    return parts


def _best_first(totals: dict) -> list:
    return sorted(totals.items(), key=lambda pair: -pair[1])


def _by(part: Callable, together: Callable = sum, first: Callable = _best_first):
    """The same with another part, put together or sorted otherwise."""

    def way(rankings: Rankings, constant: float = 60) -> list:
        parts = _collected(rankings, lambda n, ranking: part(n, constant, ranking))
        return first({item: together(row) for item, row in parts.items()})

    return way


def _plainly(rank: int, constant: float, ranking: Sequence) -> float:
    return 1 / (constant + rank)


def _punished(further: int) -> Callable:
    """Where a ranking does not hold an item, a rank behind its end."""

    def way(rankings: Rankings, constant: float = 60) -> list:
        totals = {}
        for item in _collected(rankings, lambda rank, ranking: 0):
            ranks = [list(r).index(item) + 1 if item in r else len(r) + further for r in rankings]  # fmt: skip
            totals[item] = sum(1 / (constant + rank) for rank in ranks)
        return _best_first(totals)

    return way


def _of_all(rankings: Rankings, constant: float = 60) -> list:
    found = _slow_sums(rankings, constant)
    return [pair for pair in found if all(pair[0] in r for r in rankings)]


def _counted_on(rankings: Rankings, constant: float = 60) -> list:
    """Ranks go on from one ranking to the next."""
    totals, rank = {}, 0
    for ranking in rankings:
        for item in ranking:
            rank += 1
            totals[item] = totals.get(item, 0) + 1 / (constant + rank)
    return _best_first(totals)


def _rank_by_rank(rankings: Rankings, constant: float = 60) -> list:
    hole, totals = object(), {}
    for rank, row in enumerate(zip_longest(*rankings, fillvalue=hole), 1):
        for item in row:
            if item is not hole:
                totals[item] = totals.get(item, 0) + 1 / (constant + rank)
    return _best_first(totals)


def _cut_short(rankings: Rankings) -> Rankings:
    shortest = min(map(len, rankings), default=0)
    return [ranking[:shortest] for ranking in rankings]


def _only(part: slice) -> Callable:
    return lambda rankings, constant=60: _slow_sums(rankings[part], constant)


def _with_default(default: float) -> Callable:
    return lambda rankings, constant=default: _slow_sums(rankings, constant)


def _ascending(totals: dict) -> list:
    return sorted(totals.items(), key=lambda pair: pair[1])


def _unsorted(totals: dict) -> list:
    return [*totals.items()]


def _last_met(totals: dict) -> list:
    return sorted(totals.items(), key=lambda pair: pair[1])[::-1]


def _by_item(totals: dict) -> list:
    return sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))


def _by_item_down(totals: dict) -> list:
    return sorted(totals.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)


def _by_text(totals: dict) -> list:
    return sorted(totals.items(), key=lambda pair: (-pair[1], str(pair[0])))


def _normalised(totals: dict) -> list:
    whole = sum(totals.values()) or 1
    return [(item, total / whole) for item, total in _best_first(totals)]


def _mean(row: list[float]) -> float:
    return sum(row) / len(row)


# fmt: off
_MISTAKES = {
    "The first of a ranking has rank 0 in yours. Ranks are counted from 1.":
        (_by(lambda n, c, r: 1 / (c + n - 1)), _by(lambda n, c, r: 1 / (c + n - 1) if c + n > 1 else float("inf"))),
    "The first of a ranking has rank 2 in yours. Ranks are counted from 1.": (_by(lambda n, c, r: 1 / (c + n + 1)),),
    "`constant` makes no difference: a number is built in, or none at all.":
        (_by(lambda n, c, r: 1 / (60 + n)), _by(lambda n, c, r: 1 / n), _by(lambda n, c, r: 1 / (60 + n - 1))),
    "Without a constant it takes another number than 60, which stands in the function's first line.":
        tuple(_with_default(default) for default in (0, 1, 10, 50, 100)),
    "Ranks are added up, not one over them. The first of a ranking should give the most.":
        tuple(_by(part, first=way) for part in (lambda n, c, r: c + n, lambda n, c, r: n, lambda n, c, r: n - 1)
              for way in (_best_first, _ascending)),
    "One over the constant and one over the rank are added. The constant is added to the rank.":
        (_by(lambda n, c, r: 1 / c + 1 / n if c else 1 / n), _by(lambda n, c, r: 1 / n + c)),
    "The constant multiplies, or stands above the line. It is added to the rank.":
        (_by(lambda n, c, r: 1 / (c * n) if c else 0.0), _by(lambda n, c, r: c / (c + n)), _by(lambda n, c, r: c / n)),
    "The mean of an item's parts is taken. Whoever stands in more rankings should gain by it: they are added.":
        (_by(_plainly, _mean), lambda rankings, constant=60: [(i, x / len(rankings)) for i, x in _slow_sums(rankings, constant)],
         lambda rankings, constant=60: _best_first({i: 1 / (constant + _mean(r)) for i, r in _collected(rankings, lambda n, r: n).items()})),
    "Only the best rank of an item counts. All its parts are added.": (_by(_plainly, max),),
    "Only the last ranking that holds an item counts. All its parts are added.": (_by(_plainly, lambda row: row[-1]),),
    "Only the first ranking that holds an item counts. All its parts are added.": (_by(_plainly, lambda row: row[0]),),
    "Parts are multiplied. They are added.": (_by(_plainly, lambda row: float(np.prod(row))),),
    "An item that one ranking does not hold is dropped. It gets nothing from that one and keeps what it has from the others.": (_of_all,),
    "Where a ranking does not hold an item, the item gets a part all the same, as if it stood at the end. It gets nothing from there.":
        (_punished(1), _punished(0), _punished(2), lambda rankings, constant=60: _best_first(
            {i: x + sum(1 / (constant + len({*chain(*rankings)}) + 1) for r in rankings if i not in r)
             for i, x in _slow_sums(rankings, constant)}),
         lambda rankings, constant=60: _best_first({i: x + sum(1 / constant for r in rankings if i not in r) for i, x in _slow_sums(rankings, constant)})),
    "Ranks go on from one ranking to the next. Each ranking begins with rank 1.": (_counted_on,),
    "Rankings are read only as far as the shortest of them goes. Each has a length of its own.":
        (lambda r, constant=60: _slow_sums(_cut_short(r), constant), lambda r, constant=60: _rank_by_rank(_cut_short(r), constant)),
    "The worst comes first. The largest sum should.": (_by(_plainly, first=_ascending),),
    "Nothing is sorted: the items stand as they were met. The largest sum comes first.": (_by(_plainly, first=_unsorted),),
    "Items of equal sums are turned round, so that the one met last comes first. Of equal sums the one met first does.": (_by(_plainly, first=_last_met),),
    "Items of equal sums are sorted by the items themselves. Of equal sums the one met first comes first.":
        (_by(_plainly, first=_by_item), _by(_plainly, first=_by_item_down), _by(_plainly, first=_by_text)),
    "Of equal sums comes first whoever is met first rank by rank. Met first means: the rankings are read one after the other.": (_rank_by_rank,),
    "Only some of the rankings are read. There may be any number of them.":
        (_only(slice(2)), _only(slice(1)), _only(slice(-1, None)), _only(slice(1, None)), _only(slice(3)), _only(slice(-2, None)), _only(slice(4))),
    "It counts in how many rankings an item stands. Its rank should matter.": (_by(lambda n, c, r: 1.0), _by(lambda n, c, r: 1 / (c + 1))),
    "Parts depend on how long a ranking is. Only the rank matters.":
        (_by(lambda n, c, r: len(r) - n), _by(lambda n, c, r: len(r) - n + 1), _by(lambda n, c, r: 1 / (c + n / len(r))), _by(lambda n, c, r: (len(r) - n + 1) / len(r))),
    "Parts are squared, or a root or a logarithm is taken. They are one over a sum.":
        (_by(lambda n, c, r: 1 / (c + n) ** 2), _by(lambda n, c, r: 1 / (c + n) ** 0.5), _by(lambda n, c, r: 1 / np.log2(1 + c + n))),
    "The sums are divided by their total, or by the largest. They stay as they are.":
        (_by(_plainly, first=_normalised), _by(_plainly, first=lambda t: [(i, x / max(t.values())) for i, x in _best_first(t)])),
    "The sums are rounded.": tuple(
        _by(_plainly, first=lambda t, d=d, f=f: f({i: round(x, d) for i, x in t.items()})) for d in (2, 3, 4, 5, 6) for f in (_best_first, _unsorted))
        + tuple(_by(_plainly, first=lambda t, d=d: [(i, round(x, d)) for i, x in _best_first(t)]) for d in (2, 3, 4, 5, 6)),
    "Sums are rounded before they are sorted, so nearly equal ones count as equal. They are not.": tuple(
        _by(_plainly, first=lambda t, d=d: sorted(t.items(), key=lambda pair: -round(pair[1], d))) for d in range(2, 11)),
    "Only the best few come back. Every item does, with its sum.": tuple(
        lambda rankings, constant=60, k=k: _slow_sums(rankings, constant)[:k] for k in (1, 2, 3, 5)),
    "Nothing comes back. Is the list filled?": (lambda rankings, constant=60: [],),
}
# fmt: on
