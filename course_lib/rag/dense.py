r"""Texts to vectors by counting: tf-idf, and the directions in which texts differ.

What an encoder such as MiniLM learns from a billion sentences has two plain
ancestors, which learn from the corpus at hand. *tf-idf* (Salton and Buckley 1988)
has a number for each word. *LSA* (Deerwester et al. 1990) keeps the directions in
which the corpus varies most: words that occur in the same texts fall together, so a
text may be found by a word that is not in it. An embedder, here and elsewhere, is a
function from N texts to an array (N, D): `minilm().embed` is one. Also here: how
much of a text an encoder never reads. Left out: sparse rows, training of encoders.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.pretrained.minilm import TextEncoder
from course_lib.rag.bm25 import Analyse, words
from course_lib.rag.nearest import unit

Embed = Callable[[Sequence[str]], np.ndarray]


class TfidfEmbedder:
    r"""A number for each word: how often it stands there, by how rare it is.

    $\text{count} \cdot (1 + \log \frac{1 + N}{1 + n})$, then to length 1. Learns
    words and rarities from `texts`. largest: only so many words are kept, those of
    the most texts, since every vector has a number for each.
    """

    def __init__(
        self, texts: Sequence[str], analyse: Analyse = words, largest: int = 5_000
    ) -> None:
        check_texts(texts)
        self.analyse = analyse
        holding = Counter(word for text in texts for word in {*analyse(text)})
        kept = sorted(holding, key=lambda word: (-holding[word], word))[:largest]
        self.words = {word: column for column, word in enumerate(kept)}
        held = np.array([holding[word] for word in kept], dtype=float)
        self.rarity = 1 + np.log((1 + len(texts)) / (1 + held))  # (D,)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, rows of length 1, or 0 for a text without a known word."""
        check_texts(texts)
        counts = np.zeros((len(texts), len(self.words)), dtype=np.float32)
        for row, text in zip(counts, texts, strict=True):
            for word, count in Counter(self.analyse(text)).items():
                if word in self.words:
                    row[self.words[word]] = count
        return unit(counts * self.rarity.astype(np.float32))


class LsaEmbedder:
    """tf-idf, seen in the `width` directions in which the given texts vary most.

    If the texts have fewer directions than that, there are as many as they have.
    """

    def __init__(
        self,
        texts: Sequence[str],
        width: int = 100,
        analyse: Analyse = words,
        largest: int = 5_000,
    ) -> None:
        if width < 1:
            raise ValueError(f"A vector has at least one number: {width=}.")
        self.tfidf = TfidfEmbedder(texts, analyse, largest)
        self.directions = principal(self.tfidf.embed(texts), width)  # (V, D)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, rows of length 1, or 0 for a text without a known word."""
        return unit(self.tfidf.embed(texts) @ self.directions)


def principal(table: np.ndarray, width: int) -> np.ndarray:
    r"""The directions that keep most of a table: the right singular vectors of the
    largest singular values.

    table (N, V), not centred. Returns (V, D) with D = min(width, rank): columns of
    length 1 at right angles. No other D directions leave less of the table out.

    >>> principal(np.array([[3.0, 0.0], [0.0, 1.0]]), width=1).round(2) ** 2
    array([[1.],
           [0.]])
    """
    _, sizes, rows = np.linalg.svd(table, full_matrices=False)
    rank = int((sizes > 1e-6 * sizes.max(initial=0)).sum())
    return rows[: min(width, rank)].T


# ---- what an encoder does not read


def part_read(text: str, encoder: TextEncoder) -> str:
    """The beginning of a text that an encoder reads; the rest changes no number.

    MiniLM reads 256 word pieces, two of them its own marks.
    """
    places = encoder.tokenizer.encode(text).offsets
    return text[: max((end for _, end in places), default=0)]


def check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise ValueError("An embedder takes a list of texts: put [ and ] around it.")
