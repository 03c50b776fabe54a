"""A store of vectors with an exact search: by cosine, by product, by distance.

Exact search is the measure of every faster one (`clusters`), and for a hundred
thousand vectors it is fast enough. Results are those of FAISS's flat indexes. One
file holds the vectors and nothing that could run. Left out: removal of single
vectors, several threads.
"""

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from course_lib.rag.nearest import products, top_k, unit

METRICS = ("cosine", "product", "distance")
QUERIES = 32  # answered together, so that memory stays bounded


class FlatIndex:
    """Vectors in a row, and an exact search by comparison with every one of them.

    width: D. metric: "cosine" (vectors are kept at length 1), "product" (the dot
    product) or "distance" (the squared Euclidean one, as in FAISS; small is good).
    """

    def __init__(self, width: int, metric: str = "cosine") -> None:
        if metric not in METRICS:
            raise ValueError(
                f"A metric is one of {', '.join(METRICS)}, not {metric!r}."
            )
        self.width, self.metric = width, metric
        self.parts = [np.empty((0, width), dtype=np.float32)]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def vectors(self) -> np.ndarray:
        """All vectors in the order of their arrival, (N, D), float32."""
        if len(self.parts) > 1:
            self.parts = [np.concatenate(self.parts)]
        return self.parts[0]

    def add(self, vectors: np.ndarray) -> None:
        """Put vectors (M, D) behind those that are there."""
        vectors = self.checked(vectors, "vectors are (M, D)", dimensions=(2,))
        self.parts.append(vectors.copy())  # no later change outside reaches them

    def search(
        self, queries: np.ndarray, k: int, keep: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of each query, the best first: scores and places.

        queries (Q, D) or (D,); keep (N,): True = may be found, all if None. Returns
        two arrays (Q, K) or (K,) with K = min(k, how many may be found): cosines or
        products from large to small, or squared distances from small to large.
        Of equal ones the earlier comes first.
        """
        if k < 1:
            raise ValueError(f"A search finds at least one: {k=}.")
        queries = self.checked(queries, "queries are (Q, D) or (D,)", dimensions=(1, 2))
        rows, table = self.rows(keep), np.atleast_2d(queries)
        K = min(k, len(self) if rows is None else len(rows))
        values = np.empty((len(table), K), dtype=np.float32)
        places = np.empty((len(table), K), dtype=np.int64)
        for start in range(0, len(table), QUERIES):
            part = table[start : start + QUERIES]
            for i, scores in enumerate(self.scores(part, rows), start):
                values[i], places[i] = self.best(table[i], scores, rows, k)
        return (values, places) if queries.ndim == 2 else (values[0], places[0])

    def rows(self, keep: np.ndarray | None) -> np.ndarray | None:
        """The places that a filter keeps, None for all."""
        if keep is None:
            return None
        keep = np.asarray(keep)
        if keep.dtype != bool or keep.shape != (len(self),):
            raise ValueError(
                f"A filter is {len(self)} times True or False, not {keep.dtype} "
                f"of shape {keep.shape}."
            )
        return np.flatnonzero(keep)

    def scores(self, queries: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """Large is near: (Q, N), or (Q, R) for those rows alone."""
        few = rows is not None and len(rows) < len(self) / 4  # cheap to copy
        vectors = self.vectors[rows] if few else self.vectors
        scores = products(queries, vectors)
        if self.metric == "distance":  # - |v - q|^2 / 2, but for what q adds to all
            scores -= np.einsum("nd,nd->n", vectors, vectors) / 2
        return scores if few or rows is None else scores[:, rows]

    def best(
        self, query: np.ndarray, scores: np.ndarray, rows: np.ndarray | None, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and places of one query's k nearest."""
        chosen = top_k(scores, k)
        places = chosen if rows is None else rows[chosen]
        if self.metric != "distance":
            return scores[chosen], places
        gaps = self.vectors[places] - query  # exact: the short form loses small ones
        distances = np.einsum("kd,kd->k", gaps, gaps)
        order = np.lexsort((places, distances))
        return distances[order], places[order]

    def checked(
        self, vectors: np.ndarray, shape: str, dimensions: tuple[int, ...]
    ) -> np.ndarray:
        """Rows of finite float32 of the right width; at length 1 for cosines."""
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim not in dimensions or vectors.shape[-1] != self.width:
            raise ValueError(f"{shape} with D = {self.width}, not {vectors.shape}.")
        if not np.isfinite(vectors).all():
            raise ValueError("A vector holds nan or infinity: it is near to nothing.")
        return unit(vectors) if self.metric == "cosine" else vectors

    # ---- files

    def save(self, path: str | Path, about: dict[str, str] | None = None) -> None:
        """Write one safetensors file, whole or not at all; `about` goes with it."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        facts = {**(about or {}), "course_index": json.dumps({"metric": self.metric})}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": self.vectors}, partial, metadata=facts)
        partial.chmod(0o644)  # safetensors writes for its owner only
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | Path) -> "FlatIndex":
        """Read what `save` wrote; another file or a damaged one is refused."""
        index, _ = read_index(path)
        return index


def read_index(path: str | Path) -> tuple[FlatIndex, dict[str, str]]:
    """An index and what was written about it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no index {path}.")
    try:
        with safe_open(path, framework="np") as file:
            about, vectors = file.metadata() or {}, file.get_tensor("vectors")
        metric = json.loads(about.pop("course_index"))["metric"]
        index = FlatIndex(vectors.shape[1], metric)
        index.checked(vectors, "vectors are (N, D)", dimensions=(2,))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError) as e:
        raise ValueError(f"{path} is no index of ours or is damaged ({e}).") from None
    index.parts = [vectors]  # as they were, not brought to length 1 again
    return index, about
