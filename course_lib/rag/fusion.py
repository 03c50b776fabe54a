r"""Several answers of a search made one: what is new, what many agree on.

A ranking may hold the same thing five times: *maximal marginal relevance* (Carbonell
and Goldstein 1998) takes off what was said already. Two rankings may disagree:
BM25's scores have no upper end and cosines end at one, so adding them up means
following the larger scale. *Reciprocal rank fusion* (Cormack et al. 2009) looks at
ranks alone. Left out: weights that are learned.
"""

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from course_lib.rag.nearest import unit

Item = TypeVar("Item", bound=Hashable)


# ---- one ranking, without repetition


def mmr(
    query: np.ndarray,
    vectors: np.ndarray,
    k: int,
    lam: float = 0.5,
) -> list[int]:
    r"""Choose k one by one: near the question, and unlike what is chosen already.

    query (D,), vectors (N, D) of any length: similarity is the cosine. Each time the
    one with the most $\lambda \cos(v, q) - (1 - \lambda) \max_{c\ \text{chosen}}
    \cos(v, c)$; of equal ones the earlier. Returns min(k, N) places in the order of
    choice. lam 1 is plain search; lam 0 begins at place 0 and only shuns repetition.

    How: keep for each vector its similarity to the nearest of the chosen, 0 while
    there is none; take the best of those left, update, again.

    >>> near = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    >>> query = np.array([1.0, 0.2])
    >>> mmr(query, near, k=2), mmr(query, near, k=2, lam=1)
    ([0, 2], [0, 1])
    """
    check_share(lam)
    assert query.shape == vectors.shape[1:], f"{query.shape=} {vectors.shape=}"
    query, vectors = unit(query), unit(vectors)
    relevance, said, chosen = vectors @ query, np.zeros(len(vectors)), []
    while len(chosen) < min(k, len(vectors)):
        gain = lam * relevance - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        likeness = vectors @ vectors[chosen[-1]]
        said = likeness if len(chosen) == 1 else np.maximum(said, likeness)
    return chosen


def without_copies(vectors: np.ndarray, threshold: float = 0.95) -> list[int]:
    """The places of those that are unlike everything kept before them.

    vectors (N, D), the best first. A cosine of `threshold` or more makes a copy. The
    first is always kept.

    >>> without_copies(np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]))
    [0, 2]
    """
    vectors, kept = unit(vectors), []
    for place, vector in enumerate(vectors):
        if not kept or (vectors[kept] @ vector).max() < threshold:
            kept.append(place)
    return kept


# ---- several rankings


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Item]], constant: float = 60
) -> list[tuple[Item, float]]:
    r"""One ranking of several: $\sum_r 1 / (60 + \text{rank}_r)$ for each item.

    rankings: items from the best to the worst, rank 1 first; their scores do not
    matter, and an item that a ranking does not hold gets nothing from it. Returns
    items with their sums, the best first; of equal sums the one met first, ranking
    by ranking.

    How: collect every item's parts; add them with `math.fsum`, in which the order of
    rankings changes no last digit; a stable sort.

    >>> [item for item, _ in reciprocal_rank_fusion([["a", "b", "c"], ["c", "b"]])]
    ['c', 'b', 'a']
    """
    check_rankings(rankings)
    parts: dict[Item, list[float]] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            parts.setdefault(item, []).append(1 / (constant + rank))
    sums = [(item, math.fsum(shares)) for item, shares in parts.items()]
    return sorted(sums, key=lambda pair: -pair[1])


def scaled(scores: np.ndarray) -> np.ndarray:
    """Scores from 0 for the worst to 1 for the best; all 0 if they are equal.

    >>> scaled(np.array([2.0, 12.0, 7.0]))
    array([0. , 1. , 0.5])
    """
    scores = np.asarray(scores, dtype=float)
    if not scores.size:
        return scores
    spread = scores.max() - scores.min()
    return (scores - scores.min()) / (spread if spread > 0 else 1)


def weighted_fusion(
    scores: Sequence[np.ndarray], weights: Sequence[float]
) -> np.ndarray:
    """A weighted mean of scores of the same N documents, each brought to 0 to 1.

    scores: arrays (N,), one for each way of searching. Returns (N,). One outlier
    presses all others of its row together: ranks do not have this weakness.

    >>> words, meaning = np.array([0.0, 30.0, 3.0]), np.array([0.2, 0.1, 0.3])
    >>> weighted_fusion([words, meaning], [1, 1])
    array([0.25, 0.5 , 0.55])
    """
    if len(scores) != len(weights) or not sum(weights) > 0 or min(weights) < 0:
        raise ValueError(
            f"One weight for each of {len(scores)} rows of scores, none below 0 and "
            f"not all 0: {list(weights)}."
        )
    parts = [weight * scaled(row) for row, weight in zip(scores, weights, strict=True)]
    return sum(parts) / sum(weights)


# ---- the door


def check_share(lam: float) -> None:
    if not 0 <= lam <= 1:
        raise ValueError(f"lam lies between 0 and 1, not at {lam}.")


def check_rankings(rankings: Sequence[Sequence[Hashable]]) -> None:
    """Refuse a ranking that names something twice: it would be counted twice."""
    for ranking in rankings:
        seen = set()
        for item in ranking:
            if item in seen:
                raise ValueError(f"A ranking names {item!r} twice.")
            seen.add(item)
