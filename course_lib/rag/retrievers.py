"""Ways to find chunks for a question: by words, by meaning, by both.

All have one method, `search(question, k, where)`, and give hits, the best first. So
whatever answers questions need not know how its passages were found. `Store` is the
way by meaning. By both: each way ranks, and `reciprocal_rank_fusion` makes one
ranking of them; or both score, and the scores are added on scales that mean the same
for every question. Left out: questions that are rewritten before the search.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from course_lib.rag.bm25 import BM25, Analyse, words
from course_lib.rag.fusion import mmr, reciprocal_rank_fusion
from course_lib.rag.nearest import products, top_k, top_k_where, unit
from course_lib.rag.splitting import Chunk
from course_lib.rag.store import Hit, Store, Where, kept

DEPTH = 50  # ranks that each way contributes


class Retriever(Protocol):
    def search(
        self, question: str, k: int = 4, where: Where | None = None
    ) -> list[Hit]: ...


class KeywordRetriever:
    """Chunks by the words of the question (BM25); without any of them no hit."""

    def __init__(
        self,
        chunks: Iterable[Chunk],
        analyse: Analyse = words,
        variant: str = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        self.chunks = list(chunks)
        texts = [chunk.text for chunk in self.chunks]
        self.bm25 = BM25(texts, analyse, variant, k1, b)

    def __len__(self) -> int:
        return len(self.chunks)

    def search(
        self, question: str, k: int = 4, where: Where | None = None
    ) -> list[Hit]:
        """The best k, those that `where` keeps: as of `Store.search`."""
        if k < 1:
            raise ValueError(f"A search finds at least one: {k=}.")
        scores, keep = self.bm25.scores(question), kept(self.chunks, where)
        found = scores != 0 if keep is None else (scores != 0) & keep
        best = top_k(np.where(found, scores, -np.inf), k)
        return [Hit(self.chunks[place], scores[place].item()) for place in best]


class HybridRetriever:
    """What several ways find, ranked by the sum of 1 / (constant + rank)."""

    def __init__(
        self, ways: Sequence[Retriever], depth: int = DEPTH, constant: float = 60
    ) -> None:
        if not ways:
            raise ValueError("A hybrid needs at least one way to search.")
        self.ways, self.depth, self.constant = list(ways), depth, constant

    def search(
        self, question: str, k: int = 4, where: Where | None = None
    ) -> list[Hit]:
        """The best k by fused ranks; `score` is the sum of reciprocal ranks."""
        if k < 1:
            raise ValueError(f"A search finds at least one: {k=}.")
        depth = max(k, self.depth)
        hits = [way.search(question, depth, where) for way in self.ways]
        chunks = {key(hit.chunk): hit.chunk for row in hits for hit in row}
        rankings = [[*dict.fromkeys(key(hit.chunk) for hit in row)] for row in hits]
        fused = reciprocal_rank_fusion(rankings, self.constant)
        return [Hit(chunks[item], score) for item, score in fused[:k]]


class BlendRetriever:
    """Cosines plus `weight` times the shares of BM25, of the same chunks.

    Ranks of BM25 are worth as much for a question that shares one poor word with the
    texts as for one that quotes them; a share is small in the first case.
    """

    def __init__(self, keyword: KeywordRetriever, store: Store, weight: float = 0.2):
        if [*map(key, keyword.chunks)] != [*map(key, store.chunks)]:
            raise ValueError("Both ways must hold the same chunks in the same order.")
        if store.metric != "cosine":
            raise ValueError(f"A blend needs cosines, not a {store.metric}.")
        self.keyword, self.store, self.weight = keyword, store, weight

    def search(
        self, question: str, k: int = 4, where: Where | None = None
    ) -> list[Hit]:
        """The best k by the sum, those that `where` keeps: as of `Store.search`."""
        if k < 1:
            raise ValueError(f"A search finds at least one: {k=}.")
        if not self.store.index:
            return []
        query = unit(np.asarray(self.store.embed([question]), dtype=np.float32))
        cosines = products(query, self.store.index.vectors)[0]
        scores = cosines + self.weight * self.keyword.bm25.shares(question)
        keep = kept(self.store.chunks, where)
        best = top_k(scores, k) if keep is None else top_k_where(scores, keep, k)
        return [Hit(self.store.chunks[place], scores[place].item()) for place in best]


class DiverseRetriever:
    """The nearest chunks of a store, without saying the same thing twice (MMR)."""

    def __init__(self, store: Store, lam: float = 0.5, depth: int = DEPTH) -> None:
        self.store, self.lam, self.depth = store, lam, depth

    def search(
        self, question: str, k: int = 4, where: Where | None = None
    ) -> list[Hit]:
        """k of the nearest `depth` in the order of choice; scores are the store's."""
        hits = self.store.search(question, max(k, self.depth), where)
        if not hits:
            return []
        texts = [hit.chunk.text for hit in hits]
        query, *vectors = np.asarray(self.store.embed([question, *texts]))
        return [hits[place] for place in mmr(query, np.stack(vectors), k, self.lam)]


def key(chunk: Chunk) -> tuple[str, int, str]:
    """What makes a chunk the same chunk: where it stands, and what it says."""
    return chunk.source, chunk.start, chunk.text
