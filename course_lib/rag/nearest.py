"""Nearest vectors, exactly: compare the question with everything, keep the best.

One product of a matrix with a vector gives every similarity; the rest is finding
the k largest without sorting them all. A filter is applied *before* the best are
chosen: applied to the best k, it may leave none of them, though the store is full of
what was asked for. `index` makes an object of these functions. Left out: compressed
vectors, graphs of neighbours.
"""

import numpy as np

BLOCK = 64  # scores of which only the largest is looked at first
NOWHERE = -np.inf


def unit(vectors: np.ndarray) -> np.ndarray:
    r"""Every vector at length 1, $v / |v|$; a vector of zeros stays one.

    vectors (..., D). Returns floats of the same shape; the dot product of two such
    vectors is their cosine.

    How: divide by the root of the sum of squares over the last axis, or by 1 where
    that is 0.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest scores, the best first; of equal ones the earlier.

    scores (N,), without nan. Returns min(k, N) places. A score of minus infinity is
    no candidate: there may be fewer than k.

    How: `floor` says what the best k reach at least; sort only those that reach it,
    stably, from large to small.

    >>> top_k(np.array([0.3, 0.9, 0.1, 0.9]), k=3)
    array([1, 3, 0])
    """
    assert scores.ndim == 1, f"one row of scores: {scores.shape=}"
    assert k >= 1, f"at least one: {k=}"
    places = np.flatnonzero((scores >= floor(scores, k)) & (scores > NOWHERE))
    order = np.argsort(-scores[places], kind="stable")
    return places[order[:k]]


def floor(scores: np.ndarray, k: int) -> float:
    """A number that at least k of the scores reach, and not many more.

    scores (N,). Looks at the largest score of each of N / 64 groups: the k-th best
    of those is reached by k scores of different groups. Every score is compared
    once, and few are sorted. Minus infinity if there are no more than k.

    >>> floor(np.array([0.3, 0.9, 0.1, 0.9]), k=3)
    0.3
    """
    if k >= len(scores):
        return NOWHERE
    groups = len(scores) // BLOCK
    if groups >= k:
        # neighbours go into different groups: one pass over long rows is fast
        scores = scores[: groups * BLOCK].reshape(BLOCK, groups).max(axis=0)
    return np.partition(scores, len(scores) - k)[len(scores) - k].item()


def nearest(
    query: np.ndarray, vectors: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k vectors with the largest cosine to a query: cosines and places.

    query (D,), vectors (N, D), of any length. Returns min(k, N) of each, the best
    first; of equal ones the earlier.

    How: bring both to length 1; one product gives all cosines; `top_k` of them.

    >>> vectors = np.array([[0.6, 0.8], [9.0, 0.0]])
    >>> nearest(np.array([2.0, 0.0]), vectors, k=2)
    (array([1. , 0.6]), array([1, 0]))
    """
    scores = unit(vectors) @ unit(query)
    places = top_k(scores, k)
    return scores[places], places


def top_k_where(scores: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest scores among those that a filter keeps.

    scores (N,), keep (N,): True = may be found. Returns min(k, kept) places of the
    whole row, the best first: k of them whenever so many are kept, however bad they
    are beside the others.

    How: choose among the kept scores alone, then translate their places back.

    >>> top_k_where(np.array([0.9, 0.8, 0.1]), np.array([False, True, True]), k=2)
    array([1, 2])
    """
    assert keep.dtype == bool, f"True may be found: {keep.dtype=}"
    assert keep.shape == scores.shape, f"one for each: {keep.shape=} {scores.shape=}"
    places = np.flatnonzero(keep)
    return places[top_k(scores[places], k)]


def products(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Every dot product: (Q, D) and (N, D) to (Q, N).

    >>> products(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    array([[1., 3., 5.],
           [2., 4., 6.]])
    """
    if len(queries) < 4:  # einsum reads the store once a query, twice as fast as @
        rows = [np.einsum("nd,d->n", vectors, query) for query in queries]
        return np.array(rows).reshape(len(queries), len(vectors))
    return np.ascontiguousarray((vectors @ queries.T).T)  # the long side first
