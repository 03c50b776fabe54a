r"""Faster and not exact: look only into the clusters that lie near the question.

*k-means* (Lloyd 1957) puts vectors into clusters, each with a centroid. An inverted
file (Jégou et al. 2011) keeps a list for every cluster; a search compares the query
with all centroids and then only with what stands in the `probes` nearest lists. What
lies across a border is missed: more probes, more found, more work. With all lists
probed the search is exact. Left out: compressed vectors, lists on disk.
"""

from collections.abc import Callable

import numpy as np

from course_lib.rag.nearest import products, top_k


def nearest_centroids(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    r"""Which centroid is nearest to each vector, by $|v - c|^2$.

    vectors (N, D), centroids (C, D). Returns (N,).

    How: $|v - c|^2 = |v|^2 - 2 vc + |c|^2$, and $|v|^2$ is the same for all.

    >>> nearest_centroids(np.array([[1.0], [9.0]]), np.array([[0.0], [10.0]]))
    array([0, 1])
    """
    return (2 * vectors @ centroids.T - (centroids**2).sum(axis=1)).argmax(axis=1)


def moved(vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Each centroid in the mean of the vectors that are nearest to it: (C, D).

    One without any vector stays where it is.

    >>> moved(np.array([[1.0], [3.0], [9.0]]), np.array([[0.0], [10.0], [99.0]]))
    array([[ 2.],
           [ 9.],
           [99.]])
    """
    nearest = nearest_centroids(vectors, centroids)
    counts = np.bincount(nearest, minlength=len(centroids))[:, None]
    sums = np.zeros_like(centroids)
    np.add.at(sums, nearest, vectors)
    return np.where(counts > 0, sums / np.maximum(counts, 1), centroids)


def k_means(
    vectors: np.ndarray, clusters: int, steps: int = 20, seed: int = 0
) -> np.ndarray:
    """Centroids (C, D): begin at C of the vectors, move to the means, again.

    No step makes the mean squared distance to the nearest centroid larger. Ends
    early where nothing moves.
    """
    if not 1 <= clusters <= len(vectors):
        raise ValueError(f"{clusters} clusters need as many vectors: {len(vectors)}.")
    draw = np.random.default_rng(seed)
    centroids = vectors[draw.choice(len(vectors), clusters, replace=False)]
    for _ in range(steps):
        before, centroids = centroids, moved(vectors, centroids)
        if np.array_equal(before, centroids):
            break
    return centroids


class ClusterIndex:
    """Vectors in lists, one for each centroid; a search reads the nearest lists.

    vectors (N, D) are compared by their dot product; bring them to length 1 for
    cosines. centroids (C, D): as of `k_means`.
    """

    def __init__(self, vectors: np.ndarray, centroids: np.ndarray) -> None:
        assert vectors.shape[1:] == centroids.shape[1:], (
            f"one width: {vectors.shape=} {centroids.shape=}"
        )
        self.vectors, self.centroids = vectors, centroids
        nearest = products(vectors, centroids).argmax(axis=1)
        self.lists = [np.flatnonzero(nearest == c) for c in range(len(centroids))]

    def search(
        self, query: np.ndarray, k: int, probes: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Products and places of the best that the nearest `probes` lists hold.

        query (D,). Returns (K,) each, K at most k: the lists may hold fewer.
        """
        nearest = top_k(self.centroids @ query, probes)
        places = np.sort(np.concatenate([self.lists[c] for c in nearest]))
        scores = self.vectors[places] @ query
        best = top_k(scores, k)
        return scores[best], places[best]


def recall_of_search(
    search: Callable[[np.ndarray], np.ndarray],
    exact: Callable[[np.ndarray], np.ndarray],
    queries: np.ndarray,
) -> float:
    """Which share of the exact answers a faster search finds, over all queries.

    search, exact: from a query (D,) to places.

    >>> recall_of_search(lambda q: [1, 2], lambda q: [2, 3], np.zeros((5, 1)))
    0.5
    """
    pairs = [({*search(query)}, {*exact(query)}) for query in queries]
    found = sum(len(got & right) for got, right in pairs)
    return found / sum(len(right) for _, right in pairs)
