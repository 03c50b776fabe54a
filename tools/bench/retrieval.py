"""Finding the nearest of 100,000 vectors, and the texts that hold the words of a question.

Vectors are as wide as MiniLM's; both sides return the ten largest cosines and their places, the best first. NumPy's
side is its product with the vectors and argpartition, in the form that is quickest for one question and for many;
FAISS's is its flat index. Words: scores of all texts for Q questions, one after the other, cut into words by both
sides alike; rank-bm25 in its own variant, bm25s in its default one. Building an index is left out on both sides.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.rag.bm25 import BM25, words
from course_lib.rag.index import FlatIndex
from course_lib.rag.loading import python_reference
from course_lib.rag.nearest import unit
from course_lib.rag.splitting import split_documents, split_recursive
from tools.bench.harness import Claim, Side

K = 10
QUESTIONS = 32


def prepare(seed: int, against: str, N: int, Q: int, D: int = 0) -> tuple[Side, Side]:
    """Search by vectors (N, D) or, without D, by words in N texts."""
    return by_vectors(seed, against, N, D, Q) if D else by_words(seed, against, N, Q)


# ---- vectors


def by_vectors(seed: int, against: str, N: int, D: int, Q: int) -> tuple[Side, Side]:
    """Q questions at a time."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    draw = np.random.default_rng(seed)
    vectors, asked = (
        unit(draw.standard_normal((rows, D), dtype=np.float32)) for rows in (N, Q)
    )
    index = FlatIndex(D)
    index.add(vectors)
    index.vectors  # noqa: B018 - puts its parts together before anything is timed
    theirs = (
        in_faiss(vectors, asked) if against == "FAISS" else in_numpy(vectors, asked)
    )
    return lambda: tensors(*index.search(asked, K)), theirs


def in_numpy(vectors: np.ndarray, asked: np.ndarray) -> Side:
    """A product, argpartition, and a sort of the ten."""

    def one() -> tuple[Tensor, ...]:
        scores = vectors @ asked[0]
        places = np.argpartition(scores, -K)[-K:]
        places = places[np.argsort(-scores[places])]
        return tensors(scores[None, places], places[None])

    def many() -> tuple[Tensor, ...]:
        scores = np.ascontiguousarray((vectors @ asked.T).T)  # the quicker order
        places = np.argpartition(scores, -K, axis=1)[:, -K:]
        best = np.take_along_axis(scores, places, axis=1)
        order = np.argsort(-best, axis=1)
        return tensors(
            np.take_along_axis(best, order, axis=1),
            np.take_along_axis(places, order, axis=1),
        )

    return one if len(asked) == 1 else many


def in_faiss(vectors: np.ndarray, asked: np.ndarray) -> Side:
    import faiss

    faiss.omp_set_num_threads(1)
    library = faiss.IndexFlatIP(vectors.shape[1])
    library.add(vectors)
    return lambda: tensors(*library.search(asked, K))


def tensors(scores: np.ndarray, places: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scores), torch.from_numpy(places)


# ---- words


def by_words(seed: int, against: str, N: int, Q: int) -> tuple[Side, Side]:
    """Q questions, one after the other; a question is eight words of some text."""
    texts, draw = some_texts(N, seed), random.Random(seed)
    asked = [
        " ".join(draw.choices(words(text) or ["empty"], k=8))
        for text in draw.sample(texts, Q)
    ]
    variant = "okapi" if against == "rank-bm25" else "lucene"
    ours = BM25(texts, variant=variant)
    documents = [words(text) for text in texts]
    library = rank_bm25(documents) if variant == "okapi" else bm25s(documents)

    def our_side() -> Tensor:
        return torch.from_numpy(np.stack([ours.scores(question) for question in asked]))

    def their_side() -> Tensor:
        scores = [library.get_scores(words(question)) for question in asked]
        return torch.from_numpy(np.stack(scores))

    return our_side, their_side


def some_texts(N: int, seed: int) -> list[str]:
    """Chunks of Python's reference; beyond their number, ones put together from two."""
    pages = split_documents(python_reference(), lambda text: split_recursive(text, 300))
    known, draw = [page.text for page in pages], random.Random(seed)
    mixed = ["\n".join(draw.sample(known, 2)) for _ in range(max(0, N - len(known)))]
    return [*known, *mixed][:N]


def rank_bm25(documents: Sequence[Sequence[str]]):
    from rank_bm25 import BM25Okapi

    return BM25Okapi(documents, k1=1.5, b=0.75)


def bm25s(documents: Sequence[Sequence[str]]):
    import bm25s as library

    model = library.BM25(method="lucene", k1=1.5, b=0.75)
    model.index(documents, show_progress=False)
    return model


CLAIM = Claim(
    name="retrieval",
    sentence="Exact search takes no more time than NumPy's product with argpartition and at most 3 times that of FAISS's "
    "flat index; BM25 takes at most 1/5 of the time of rank-bm25 and no more than bm25s.",
    faster=True,
    sizes=(
        *(
            {"against": library, "N": 100_000, "D": 384, "Q": Q}
            for library in ("NumPy", "FAISS")
            for Q in (1, QUESTIONS)
        ),
        *(
            {"against": library, "N": N, "Q": Q}
            for library, Q in (("rank-bm25", 4), ("bm25s", QUESTIONS))
            for N in (1_500, 20_000)
        ),
    ),
    prepare=prepare,
    atol=5e-5,  # bm25s adds in float32
    limits=(1, 1, 3, 3, 1 / 5, 1 / 5, 1, 1),
    pairs=4,
)
