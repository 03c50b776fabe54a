r"""How good a ranking is: was the right thing found, and how far up.

A ranking is a list of ids, the best first; what is relevant is a set of ids, or a
gain for each. Every figure lies between 0 and 1 and belongs to one question; the
mean over questions is what is reported, with an interval, because two hundred
questions are a sample. The relevant that was *not* found counts against recall,
average precision and nDCG alike. Left out: rankings with ties (ours have none: the
search decides), judges that are models.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import NamedTuple

import torch

from course_lib.scaling.fitting import interval

Ids = Sequence[Hashable]


# ---- one question


def recall_at_k(ranked: Ids, relevant: Collection[Hashable], k: int) -> float:
    """Which share of the relevant is among the first k.

    How: the number of relevant ids in the first k, over the number of all of them.

    >>> recall_at_k(["c", "a", "d", "b"], {"a", "b"}, k=3)
    0.5
    """
    check(ranked, relevant, k)
    return len({*ranked[:k]} & {*relevant}) / len({*relevant})


def precision_at_k(ranked: Ids, relevant: Collection[Hashable], k: int) -> float:
    """Which share of the first k is relevant; places that are empty count as misses.

    >>> precision_at_k(["c", "a", "d", "b"], {"a", "b"}, k=4)
    0.5
    """
    check(ranked, relevant, k)
    return len({*ranked[:k]} & {*relevant}) / k


def reciprocal_rank(ranked: Ids, relevant: Collection[Hashable]) -> float:
    """1 over the rank of the first relevant id, counted from 1; 0 if there is none.

    Its mean over questions is the MRR.

    How: walk down the ranking; the first id that is relevant decides.

    >>> reciprocal_rank(["c", "a", "b"], {"a", "b"})
    0.5
    """
    check(ranked, relevant)
    for rank, item in enumerate(ranked, 1):
        if item in relevant:
            return 1 / rank
    return 0.0


def average_precision(ranked: Ids, relevant: Collection[Hashable]) -> float:
    """The precision at each relevant id that was found, over all that are relevant.

    >>> average_precision(["a", "c", "b"], {"a", "b"}) == (1 / 1 + 2 / 3) / 2
    True
    """
    check(ranked, relevant)
    found, total = 0, 0.0
    for rank, item in enumerate(ranked, 1):
        if item in relevant:
            found += 1
            total += found / rank
    return total / len({*relevant})


def discounted_gain(gains: Sequence[float]) -> float:
    r"""What a reader gets who looks less and less far: $\sum_i g_i / \log_2(1 + i)$.

    gains: in the order of the ranking, i counted from 1. The gain is linear; some
    write $2^g - 1$ in its place, which is the same for 0 and 1.

    >>> discounted_gain([1.0, 0.0, 1.0])
    1.5
    """
    return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains, 1))


def ndcg(
    ranked: Ids, gains: Mapping[Hashable, float] | Collection[Hashable], k: int
) -> float:
    """The discounted gain of the first k, over that of the best possible ranking.

    gains: how much each relevant id is worth, or a set of ids worth 1 each. Ids that
    are not in it are worth 0. The best ranking has the k largest gains in order.

    How: `discounted_gain` of what the first k are worth, over `discounted_gain` of
    the k largest gains.

    >>> ndcg(["c", "a"], {"a": 1.0}, k=10) == 1 / math.log2(3)
    True
    """
    check(ranked, gains, k)
    worth = gains if isinstance(gains, Mapping) else dict.fromkeys(gains, 1.0)
    best = sorted(worth.values(), reverse=True)[:k]
    got = [worth.get(item, 0.0) for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain(best)


def check(ranked: Ids, relevant: Collection[Hashable], k: int = 1) -> None:
    """Refuse what no figure can be computed from."""
    if isinstance(ranked, str) or isinstance(relevant, str):
        raise ValueError("Rankings and relevant ids are lists, not one text.")
    if k < 1:
        raise ValueError(f"The first k are at least one: {k=}.")
    if len({*ranked}) < len(ranked):
        raise ValueError("A ranking names something twice; take copies out first.")
    gains = relevant.values() if isinstance(relevant, Mapping) else [1] * len(relevant)
    if not (sum(gains) > 0 and min(gains) >= 0):
        raise ValueError(
            "Nothing is relevant to this question: no ranking is right or wrong, "
            "only a refusal is."
        )


# ---- many questions


class Estimate(NamedTuple):
    mean: float
    low: float
    high: float


def evaluate(
    rankings: Sequence[Ids],
    relevant: Sequence[Collection[Hashable]],
    figure: Callable[[Ids, Collection[Hashable]], float],
) -> list[float]:
    """One figure for each question: rankings[i] against relevant[i].

    >>> evaluate([["a", "b"], ["a", "b"]], [{"a"}, {"b"}], reciprocal_rank)
    [1.0, 0.5]
    """
    if len(rankings) != len(relevant):
        raise ValueError(f"{len(rankings)} rankings for {len(relevant)} questions.")
    return [
        figure(found, right) for found, right in zip(rankings, relevant, strict=True)
    ]


def with_interval(
    values: Sequence[float], coverage: float = 0.9, draws: int = 2_000, seed: int = 0
) -> Estimate:
    """The mean over questions, and where it may lie with other questions as good.

    The questions are drawn again with replacement, `draws` times; low and high hold
    the middle `coverage` of the means (Efron 1979). For the difference of two
    searches give the differences at each question: what is hard for both cancels.

    >>> estimate = with_interval([0.0, 1.0] * 50)
    >>> estimate.mean, 0.4 < estimate.low < 0.5 < estimate.high < 0.6
    (0.5, True)
    """
    if not len(values):
        raise ValueError("There is no question to take a mean over.")
    row = torch.as_tensor(values, dtype=torch.float64)
    drawn = torch.Generator().manual_seed(seed)
    places = torch.randint(len(row), (draws, len(row)), generator=drawn)
    low, high = interval(row[places].mean(dim=1).tolist(), coverage)
    return Estimate(row.mean().item(), low, high)
