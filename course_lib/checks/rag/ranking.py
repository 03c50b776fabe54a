"""Check of lesson 10: how much is found, and how far up.

Gains are added up rank by rank in Python's own numbers; only a quotient counts, so the
base of the logarithm does not matter. The answers that prove the check are in
`tests/answers/`.
"""

import math
import random
from collections.abc import Callable, Hashable, Sequence

import torch

from course_lib.checks.asking import number, told_apart
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, brief, judge
from course_lib.rag import metrics

Ids = Sequence[Hashable]
Gains = dict | set


@check(
    metrics.ndcg,
    proved="Paper numbers; gains of any size, sets, ids that nobody knows, a k beyond the ranking and a k before its end; "
    "and what was not found counts against it.",
)
def ndcg(answer, draw):
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    for cases in (_worked(luck), _with_nothing_worth(luck)):
        rows = []
        for case in cases:
            got = number(asked(answer, case, _stopped), "the share of the best possible gain")  # fmt: skip
            rows.append(Row(got, _slowly(*case.given), case))
        judge(rows, _MISTAKES, _same, _otherwise, slack=0.5)


def _worked(luck: random.Random) -> list[Case]:
    given = [
        (["c", "a"], {"a": 1.0}, 10),
        (["c", "a", "d", "b"], {"b": 3.0, "a": 1.0, "e": 2.0}, 4),
        (["c", "a", "d", "b"], {"a", "b", "e"}, 2),
        (["x", "y", "z"], {"x": 1.0, "y": 5.0, "z": 3.0}, 3),
        (["x", "y"], {"z": 2.0}, 2),
        ([], {"z"}, 3),
        (["b"], {"a": 2.0, "b": 7.0, "c": 4.0}, 5),  # two were not found
        (("q", "p", "o", "r"), {"r": 40.0, "o": 0.5, "q": 12.0}, 1),
        ([(1, 2), "b", 7], {7, "b", (3, 4)}, 3),
        (["c", "a"], {"a": 1.0}, 1),  # asked before, with another k and other worths
        (["c", "a", "d", "b"], {"b": 1.0, "a": 5.0, "e": 2.0}, 4),
        (list("abcdefghijklmno"), dict.fromkeys("abgiklmnoxyz", 3.0), 13),  # many
    ]
    return [Case(each) for each in (*given, *(_drawn(luck, n) for n in range(14)))]


def _with_nothing_worth(luck: random.Random) -> list[Case]:
    """Ids that are 0, and gains that are."""
    cases = [
        Case(([2, 0, 1], {0: 0.5, 3: 0.25, 1: 0.0}, 3)),
        Case((["a", "b"], {"a": 0.0, "b": 0, "c": 2}, 1)),
    ]
    for n in range(6):
        ranked, gains, k = _drawn(luck, 3 * n + 1)
        worth = gains | dict.fromkeys(luck.sample([*gains], len(gains) // 2), 0.0)
        cases.append(Case((ranked, worth, k)))
    return cases


def _drawn(luck: random.Random, n: int) -> tuple[Ids, Gains, int]:
    """Half found; gains in no order; k before, at and behind the end."""
    ids = luck.sample(range(100), 14) if n % 2 else luck.sample("abcdefghijklmnopq", 14)
    ranked, relevant = ids[: luck.randint(3, 9)], luck.sample(ids, luck.randint(2, 7))
    k = luck.choice([1, 2, 3, 4, len(ranked), len(ranked) + 3, 30])
    if n % 3 == 0:
        return ranked, set(relevant), k
    worth = [0.25, 0.5, 1.5, 2.0, 3.0, 6.0, 9]
    return ranked, {item: luck.choice(worth) for item in relevant}, k


def _stopped(error: Exception, case: Case) -> str | None:
    ranked, gains, k = case.given
    kind = type(error).__name__
    if isinstance(error, ZeroDivisionError):
        if not ranked or _nothing(ranked, gains, k):
            why = "Nothing relevant was found there; the best possible ranking, below the line, has found it all the same."
        elif 0 in _worth(gains).values():
            why = "A gain may be 0, and the best possible ranking begins with the largest."
        else:
            why = "Ranks are counted from 1; which rank has the logarithm 0?"
        return f"It divides by 0 for {case}. {why}"
    if isinstance(gains, set) and isinstance(error, TypeError | AttributeError):
        return (
            f"It stopped with {kind} where gains is a set, {brief(gains)}: {error}. A set says what is relevant, each worth 1; "
            "it has no values to look up."
        )
    if isinstance(error, KeyError):
        return (
            f"It stopped with KeyError: {error} for {case}. A ranking also holds what is not relevant. That is in no mapping, "
            "and worth 0."
        )
    if isinstance(error, IndexError):
        return f"It stopped with IndexError for {case}. A ranking may be shorter than k, and so may the list of gains."
    if isinstance(error, TypeError) and "'<' not supported" in str(error):
        return f"It stopped with TypeError for {case}. Ids can be anything, and are not sorted; gains are."
    return None


def _same(got: float, want: float) -> bool:
    """Up to what float32 leaves of it."""
    return math.isclose(got, want, rel_tol=2e-6, abs_tol=1e-9)


def _otherwise(row: Row) -> str:
    one, other = told_apart(row.got, row.want)
    more = ""
    if abs(row.got - row.want) < 5e-3:
        more = " Is something rounded, or a small constant added?"
    elif row.got > 1:
        more = " Nothing is better than the best possible ranking, which has 1."
    return f"For ndcg{row.case} it gives {one}; it should be {other}.{more}"


# --- by hand ----------------------------------------------------------------------------------


def _nothing(ranked: Ids, gains: Gains, k: int) -> bool:
    return not any(_worth(gains).get(item, 0) for item in list(ranked)[:k])


def _worth(gains: Gains) -> dict[Hashable, float]:
    return gains if isinstance(gains, dict) else dict.fromkeys(gains, 1.0)


def _got(ranked: Ids, gains: Gains) -> list[float]:
    worth = _worth(gains)
    return [worth.get(item, 0.0) for item in ranked]


def _best(gains: Gains) -> list[float]:
    return sorted(_worth(gains).values(), reverse=True)


def _seen(gains: Sequence[float], first: int = 1, log: Callable = math.log2) -> float:
    """How much of a row is seen; first: the number of its first rank."""
    total = 0.0
    for place, gain in enumerate(gains):
        total += gain / log(1 + first + place)
    return total


def _slowly(ranked: Ids, gains: Gains, k: int) -> float:
    return _seen(_got(ranked, gains)[:k]) / _seen(_best(gains)[:k])


# --- mistakes ---------------------------------------------------------------------------------


def _share(above: float, below: float) -> float:
    return above / below if below else 0.0


def _by_rank(gains: Sequence[float]) -> float:
    return sum(gain / rank for rank, gain in enumerate(gains, 1))


def _first_free(gains: Sequence[float]) -> float:
    """The oldest form: the first two ranks count alike."""
    return sum(gain / max(1, math.log2(rank)) for rank, gain in enumerate(gains, 1))


def _powers(gains: Sequence[float]) -> list[float]:
    return [2**gain - 1 for gain in gains]


def _precision_sum(ranked: Ids, gains: Gains) -> float:
    found, total = 0, 0.0
    for rank, item in enumerate(ranked, 1):
        if item in gains:
            found += 1
            total += found / rank
    return total / len(gains)


def _only_found(ranked: Ids, gains: Gains) -> list[float]:
    """Without what is not relevant, as if the ranking were shorter."""
    worth = _worth(gains)
    return [worth[item] for item in ranked if item in worth]


def _default(ranked: Ids, gains: Gains, default: float) -> list[float]:
    return [_worth(gains).get(item, default) for item in ranked]


def _in_their_order(gains: Gains) -> list[float]:
    return [*_worth(gains).values()]


# fmt: off
_MISTAKES = {
    "What was not found is forgiven: the best ranking is made of the found ones only. It is made of all that is relevant.":
        (lambda r, g, k: _share(_seen(_got(r, g)[:k]), _seen(sorted(_got(r, g)[:k], reverse=True))),
         lambda r, g, k: _share(_seen(_got(r, g)[:k]), _seen(sorted(_got(r, g), reverse=True)[:k]))),
    "The best ranking is only as long as the one that is judged. It has the k largest gains, found or not.":
        (lambda r, g, k: _seen(_got(r, g)[:k]) / _seen(_best(g)[:k][:len(r)]) if r else 0.0,),
    "The best ranking is as long as all gains together. Of the best one, too, only the first k are read.":
        (lambda r, g, k: _seen(_got(r, g)[:k]) / _seen(_best(g)),),
    "The whole ranking counts. Only its first k are read.":
        (lambda r, g, k: _seen(_got(r, g)) / _seen(_best(g)[:k]),),
    "k makes no difference: whole rankings are compared, and only the first k are read.":
        (lambda r, g, k: _seen(_got(r, g)) / _seen(_best(g)),),
    "The gains of the best ranking stand as they came. The best ranking has the largest first.":
        (lambda r, g, k: _seen(_got(r, g)[:k]) / _seen(_in_their_order(g)[:k]),
         lambda r, g, k: _share(_seen(_got(r, g)[:k]), _seen(sorted(_in_their_order(g)[:k], reverse=True)))),
    "The best ranking has the smallest gains first. sorted() begins with the smallest.":
        (lambda r, g, k: _share(_seen(_got(r, g)[:k]), _seen(_best(g)[::-1][:k])),
         lambda r, g, k: _share(_seen(_got(r, g)[:k]), _seen(_best(g)[:k][::-1]))),
    "The gains are powers of 2. Here a gain is what it is worth, linear.":
        (lambda r, g, k: _seen(_powers(_got(r, g)[:k])) / _seen(_powers(_best(g)[:k])),
         lambda r, g, k: _seen(_powers(_got(r, g)[:k])) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(_got(r, g)[:k]) / _seen(_powers(_best(g)[:k])),
         lambda r, g, k: _seen([2**x for x in _got(r, g)[:k]]) / _seen([2**x for x in _best(g)[:k]])),
    "Every relevant id is worth the same. A mapping says how much each of them is worth.":
        (lambda r, g, k: _slowly(r, set(g), k), lambda r, g, k: _slowly(r, {x for x in g if _worth(g)[x]}, k),
         lambda r, g, k: _seen([float(x in g) for x in r[:k]]) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(_got(r, g)[:k]) / _seen([1.0] * min(k, len(g)))),
    "It is divided by a number of ids or by k. Divide by what the best possible ranking gets.":
        (lambda r, g, k: _seen(_got(r, g)[:k]) / k, lambda r, g, k: _seen(_got(r, g)[:k]) / len(g),
         lambda r, g, k: _seen(_got(r, g)[:k]) / min(k, len(g)), lambda r, g, k: _share(_seen(_got(r, g)[:k]), len(r[:k]))),
    "It is divided by the sum of the gains, without discount. The best possible ranking is discounted as well.":
        (lambda r, g, k: _seen(_got(r, g)[:k]) / sum(_best(g)), lambda r, g, k: _seen(_got(r, g)[:k]) / sum(_best(g)[:k])),
    "It is divided by a ranking of which every place is worth 1, or the most. Divide by the best ranking of these gains.":
        (lambda r, g, k: _seen(_got(r, g)[:k]) / _seen([1.0] * k), lambda r, g, k: _seen(_got(r, g)[:k]) / _seen([_best(g)[0]] * k),
         lambda r, g, k: _share(_seen(_got(r, g)[:k]), _seen([1.0] * len(r[:k])))),
    "It is the discounted gain itself. Over that of the best possible ranking it becomes a share.":
        (lambda r, g, k: _seen(_got(r, g)[:k]), lambda r, g, k: _seen(_got(r, g))),
    "That is the best ranking's own gain.": (lambda r, g, k: _seen(_best(g)[:k]), lambda r, g, k: _seen(_best(g))),
    "The quotient is upside down.":
        (lambda r, g, k: _share(_seen(_best(g)[:k]), _seen(_got(r, g)[:k])),),
    "That is recall or precision: how far up something stands makes no difference.":
        (lambda r, g, k: len({*r[:k]} & {*g}) / len(g), lambda r, g, k: len({*r[:k]} & {*g}) / k,
         lambda r, g, k: sum(_got(r, g)[:k]) / sum(_best(g)), lambda r, g, k: sum(_got(r, g)[:k]) / sum(_best(g)[:k]),
         lambda r, g, k: float(any(x in g for x in r[:k])), lambda r, g, k: len({*r[:k]} & {*g}) / min(k, len(g))),
    "That is the reciprocal rank: only the first relevant id counts.":
        (lambda r, g, k: next((1 / n for n, x in enumerate(r[:k], 1) if x in g), 0.0),
         lambda r, g, k: next((1 / n for n, x in enumerate(r, 1) if x in g), 0.0)),
    "That is the average precision, another figure.":
        (lambda r, g, k: _precision_sum(r[:k], g), lambda r, g, k: _precision_sum(r, g)),
    "Gains are divided by the rank. They are divided by its logarithm, as `discounted_gain` does.":
        (lambda r, g, k: _by_rank(_got(r, g)[:k]) / _by_rank(_best(g)[:k]),
         lambda r, g, k: _by_rank(_got(r, g)[:k]) / _seen(_best(g)[:k])),
    "The ranks are counted from another number than 1, or the first two count alike. `discounted_gain` counts from 1.":
        (lambda r, g, k: _first_free(_got(r, g)[:k]) / _first_free(_best(g)[:k]),
         lambda r, g, k: _seen(_got(r, g)[:k], 2) / _seen(_best(g)[:k], 2),
         lambda r, g, k: _seen(_got(r, g)[:k], 2) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(_got(r, g)[:k]) / _seen(_best(g)[:k], 2)),
    "Above and below the line stand logarithms of different bases.":
        (lambda r, g, k: _slowly(r, g, k) / math.log(2), lambda r, g, k: _slowly(r, g, k) * math.log(2)),
    "What is not relevant was taken out of the ranking, and what stands below moved up. Its place was lost, and is lost.":
        (lambda r, g, k: _seen(_only_found(r, g)[:k]) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(_only_found(r[:k], g)) / _seen(_best(g)[:k])),
    "Ids that nobody calls relevant are worth something. They are worth 0.":
        (lambda r, g, k: _seen(_default(r, g, 1.0)[:k]) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(_default(r, g, 0.5)[:k]) / _seen(_best(g)[:k])),
    "The ranking's gains were sorted. They stand in the order in which the search found them.":
        (lambda r, g, k: _seen(sorted(_got(r, g)[:k], reverse=True)) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(sorted(_got(r, g), reverse=True)[:k]) / _seen(_best(g)[:k])),
    "The ranking is read from its end. The best comes first.":
        (lambda r, g, k: _seen(_got(r, g)[::-1][:k]) / _seen(_best(g)[:k]),
         lambda r, g, k: _seen(_got(r, g)[:k][::-1]) / _seen(_best(g)[:k])),
    "Neither ranking is discounted. What stands further up counts more.":
        (lambda r, g, k: sum(_got(r, g)[:k]) / sum(_best(g)[:k]),),
    "One place too many or too few is read. The first k are k.":
        (lambda r, g, k: _seen(_got(r, g)[:k - 1]) / _seen(_best(g)[:k]), lambda r, g, k: _seen(_got(r, g)[:k + 1]) / _seen(_best(g)[:k + 1]),
         lambda r, g, k: _seen(_got(r, g)[:k + 1]) / _seen(_best(g)[:k]), lambda r, g, k: _seen(_got(r, g)[:k]) / _seen(_best(g)[:k + 1]),
         lambda r, g, k: _share(_seen(_got(r, g)[:k - 1]), _seen(_best(g)[:k - 1]))),
    "It is a percentage. A share lies between 0 and 1.": (lambda r, g, k: 100 * _slowly(r, g, k),),
    "It always gives the same number. Is the worked value built in?": (lambda r, g, k: 1 / math.log2(3), lambda r, g, k: 0.0, lambda r, g, k: 1.0),
}
# fmt: on
