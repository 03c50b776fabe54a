"""Long texts into chunks: at the coarsest border that fits, and nothing is lost.

A chunk is a *span* of its text: `text[start:end]`, so an answer can be traced to its
place. Cutting and packing are two steps. `cut` takes a text apart where it hurts
least, at paragraphs before lines, lines before sentences, sentences before words;
`pack` puts neighbouring pieces together again as long as they fit, and begins the
next chunk some pieces back. `length` says how a text is measured: characters, or
tokens of whoever will read it. Other borders:
`windows` of tokens, `structure`, `meaning`. Left out: page layout, tables.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from course_lib.rag.loading import Document

Span = tuple[int, int]
Length = Callable[[str], int]
SEPARATORS = ("\n\n", "\n", ". ", " ", "")


@dataclass(frozen=True)
class Chunk:
    text: str
    start: int = 0  # its first character within the document's text
    source: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def split_documents(
    documents: Iterable[Document], split: Callable[[str], Iterable[Span]]
) -> list[Chunk]:
    """The chunks of all documents, in order; each keeps its source and metadata.

    split: from a text to spans. A third part of a span is metadata of its own. White
    space around a chunk is left out, and so is a chunk of nothing else.

    >>> [paper] = split_documents([Document(" Hi. ", "a")], lambda text: [(0, 5)])
    >>> paper
    Chunk(text='Hi.', start=1, source='a', metadata={})
    """
    chunks = []
    for document in documents:
        for start, end, *own in split(document.text):
            text = document.text[start:end]
            start += len(text) - len(text.lstrip())
            metadata = {**document.metadata, **(own[0] if own else {})}
            if text := text.strip():
                chunks.append(Chunk(text, start, document.source, metadata))
    return chunks


# ---- by characters, or in any other measure


def cut(
    text: str,
    size: int,
    separators: Sequence[str] = SEPARATORS,
    length: Length = len,
) -> list[str]:
    """Pieces that fit, cut at the first separator that is there, then at the next.

    separators: from the coarsest to the finest; the last may be "", which cuts
    anywhere. Returns pieces of which none is longer than `size` by `length`, or
    which no separator can cut. A separator stays at the end of its piece, so the
    pieces put together are the text.

    How: a text that fits is one piece. Otherwise cut it after every occurrence of
    the first separator, and each part again with the remaining separators.

    >>> cut("One. Two and three.", 10)
    ['One. ', 'Two ', 'and ', 'three.']
    """
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first, *rest = separators
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [piece for part in parts for piece in cut(part, size, rest, length)]


def cut_after(text: str, separator: str) -> list[str]:
    """The parts of a text, each with the separator at its end.

    >>> cut_after("a, b, c", ", ")
    ['a, ', 'b, ', 'c']
    """
    *parts, last = text.split(separator)
    return [part + separator for part in parts] + [last] * bool(last)


def evenly(text: str, width: int) -> list[str]:
    """Slices of equal width, whatever stands there.

    >>> evenly("abcde", 2)
    ['ab', 'cd', 'e']
    """
    return [text[i : i + width] for i in range(0, len(text), width)]


def pack(
    pieces: Sequence[str], size: int, overlap: int = 0, length: Length = len
) -> list[Span]:
    """Neighbouring pieces in chunks that fit: spans of the pieces put together.

    Each chunk takes as many pieces as fit in `size`. The next one begins with the
    last pieces of this one, as many as fit in `overlap`, and holds something new. A
    piece that is too long is a chunk of its own.

    How: `fill` says where a chunk ends and `step_back` where the next one begins,
    in numbers of pieces; `ends` makes characters of them.

    >>> pack(["One. ", "Two ", "and ", "three."], size=10, overlap=5)
    [(0, 9), (5, 13), (9, 19)]
    """
    check_sizes(size, overlap)
    text, ends = "".join(pieces), [0, *accumulate(map(len, pieces))]

    def measure(first: int, last: int) -> int:  # of pieces first to last - 1
        return length(text[ends[first] : ends[last]])

    spans, first, last = [], 0, 0
    while last < len(pieces):
        last = max(fill(first, len(pieces), measure, size), last + 1)
        spans.append((ends[first], ends[last]))
        if last < len(pieces):
            first = step_back(first, last, measure, size, overlap)
    return spans


def fill(first: int, stop: int, measure: Callable[[int, int], int], size: int) -> int:
    """The furthest end that fits, or first + 1 if none does: doubling, then halving.

    A text is measured a few times for a chunk and not once for every piece.

    >>> fill(10, 100, lambda first, last: last - first, size=27)
    37
    """
    step = 1
    while first + 2 * step <= stop and measure(first, first + 2 * step) <= size:
        step *= 2
    fit, beyond = first + step, min(first + 2 * step, stop + 1)
    while beyond - fit > 1:
        middle = (fit + beyond) // 2
        if measure(first, middle) <= size:
            fit = middle
        else:
            beyond = middle
    return fit


def step_back(
    first: int, last: int, measure: Callable[[int, int], int], size: int, overlap: int
) -> int:
    """Where the next chunk begins, after one from first to last: behind `first`.

    >>> step_back(0, 5, lambda first, last: last - first, size=5, overlap=2)
    3
    """
    begin = last
    while begin - 1 > first and measure(begin - 1, last) <= overlap:
        begin -= 1
    while begin < last and measure(begin, last + 1) > size:
        begin += 1
    return begin


def split_recursive(
    text: str,
    size: int = 500,
    overlap: int = 0,
    separators: Sequence[str] = SEPARATORS,
    length: Length = len,
) -> list[Span]:
    """Spans of at most `size`, whose borders are the coarsest that the text has.

    overlap: how much two neighbours may share at most; they share whole pieces, so
    it is often less and sometimes nothing. length: how a text is measured; with
    `lambda text: len(tokenizer.encode(text))` sizes are in tokens.

    >>> split_recursive("One. Two and three.", size=10)
    [(0, 9), (9, 19)]
    """
    check_sizes(size, overlap)
    return pack(cut(text, size, separators, length), size, overlap, length)


def shared(spans: Sequence[Span]) -> list[int]:
    """How many characters each chunk shares with the one before it.

    >>> shared([(0, 10), (6, 15), (15, 20)])
    [4, 0]
    """
    return [max(0, a[1] - b[0]) for a, b in pairwise(spans)]


def check_sizes(size: int, overlap: int) -> None:
    """Refuse chunks of nothing, and an overlap without room for anything new."""
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(
            f"A chunk holds something, an overlap is smaller: {size=}, {overlap=}."
        )
