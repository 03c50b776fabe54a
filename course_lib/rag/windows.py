"""Windows of tokens: as many as a model reads, and never half a character.

A size in characters is none in tokens, and what an encoder does not read it cannot
find: `chunk_size=1000` may mean either. A window is a span of the text, so the tokenizer must give the text back as it
was; byte-level ones do, MiniLM's does not (`split_recursive` with a `length` is for
those). Left out: borders at sentences.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from course_lib.rag.splitting import Span, check_sizes

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]
PART = "\N{REPLACEMENT CHARACTER}"  # what some bytes of a character decode to
LONGEST_CHARACTER = 8  # tokens that may spell one character; bytes are four at most


def split_tokens(
    text: str,
    size: int,
    overlap: int,
    encode: Encode,
    decode: Decode,
) -> list[Span]:
    """Windows of `size` tokens of which two neighbours share `overlap`.

    encode, decode: of any tokenizer that gives the text back; one that does not is
    refused (split_recursive with a `length` is for those). No border falls into a
    character that several tokens spell: there a window is some tokens shorter.

    >>> def letters(text): return [*text.encode()]
    >>> def text_of(ids): return bytes(ids).decode(errors="replace")
    >>> split_tokens("abcdefgh", 4, 1, letters, text_of)
    [(0, 4), (3, 7), (6, 8)]
    """
    check_sizes(size, overlap)
    tokens, places = borders(text, encode, decode)
    spans, first, last, stop = [], 0, 0, len(tokens) - 1
    while last < stop:
        last = max(bisect_right(tokens, tokens[first] + size) - 1, last + 1)
        spans.append((places[first], places[last]))
        if last < stop:  # far enough back to share, near enough for something new
            begin = max(tokens[last] - overlap, tokens[last + 1] - size)
            first = min(bisect_left(tokens, begin), last)
    return spans


def borders(
    text: str,
    encode: Encode,
    decode: Decode,
) -> tuple[list[int], list[int]]:
    """Where tokens and characters begin together: numbers of tokens, of characters.

    The last border is the end of the text. Some tokens end within a character, of
    which they hold a few bytes only: there is no border.

    >>> borders("né!", lambda text: [*text.encode()],
    ...     lambda ids: bytes(ids).decode(errors="replace"))
    ([0, 1, 3, 4], [0, 1, 2, 3])
    """
    tokens, places, waiting = [0], [0], []
    for number, id in enumerate(encode(text), 1):
        waiting.append(id)
        piece = decode(waiting)
        whole = not piece.endswith(PART) or [*encode(piece)] == waiting
        if piece and whole and text.startswith(piece, places[-1]):
            tokens.append(number)
            places.append(places[-1] + len(piece))
            waiting = []
        elif len(waiting) > LONGEST_CHARACTER:
            break
    if waiting or places[-1] != len(text):
        raise ValueError(
            "This tokenizer does not give the text back as it was, from "
            f"{text[places[-1] :][:20]!r} on: use split_recursive with a length."
        )
    return tokens, places
