"""Borders where the subject changes: neighbours that have little in common.

Every sentence gets a vector; where the cosine of two neighbours is among the lowest
of the text, a chunk ends. What counts as low is a share of the text's own
similarities, not a fixed number, since an essay and a timetable differ in level. It
costs an embedding of every sentence before a single chunk is embedded. Left out:
vectors of several sentences at a time, borders that are learned.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from course_lib.rag.nearest import unit
from course_lib.rag.splitting import Span, check_sizes, pack

BORDER = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\s*\n\s*\n\s*")


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space at their ends, so that they add up to it.

    A full stop, a question or an exclamation mark before white space ends one, and
    so does an empty line. "Dr. Owl" is cut in two: nothing here knows abbreviations.

    >>> sentences("Why? It rains. Let us go.")
    ['Why? ', 'It rains. ', 'Let us go.']
    """
    ends = [0, *(match.end() for match in BORDER.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(ends) if a < b]


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """The cosine of each vector with the next: (N, D) to (N - 1,).

    >>> neighbours(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]))
    array([1., 0.])
    """
    vectors = unit(vectors)
    return (vectors[:-1] * vectors[1:]).sum(axis=1)


def drops(similarities: Sequence[float], share: float = 0.2) -> list[int]:
    """The places of the lowest similarities, so many as this share of them.

    A place i lies between sentence i and sentence i + 1. At least one unless there
    are none or share is 0; of equal ones the earlier.

    >>> drops([0.9, 0.1, 0.8, 0.2, 0.7], share=0.4)
    [1, 3]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"A share lies between 0 and 1, not at {share}.")
    order = np.argsort(np.asarray(similarities, dtype=float), kind="stable")
    return sorted(order[: int(np.ceil(share * len(order)))].tolist())


def split_meaning(
    text: str,
    embed: Callable[[Sequence[str]], np.ndarray],
    share: float = 0.2,
    size: int = 1_000,
) -> list[Span]:
    """Whole sentences in spans that end where neighbours have little in common.

    embed: from texts to vectors, (N, D). share: of all borders between sentences,
    how many end a chunk. A chunk longer than `size` characters ends earlier as well.
    """
    check_sizes(size, 0)
    told = sentences(text)
    if not told:
        return []
    breaks = drops(neighbours(np.asarray(embed(told))), share)
    spans, place = [], 0
    for first, last in pairwise([0, *(after + 1 for after in breaks), len(told)]):
        subject = told[first:last]
        spans += [(place + a, place + b) for a, b in pack(subject, size)]
        place += sum(map(len, subject))
    return spans
