"""Byte pair encoding: words, their bytes, and which neighbours to join.

A text is cut into words; a word is a row of bytes; and the most frequent pair
of neighbours is joined into a new token, again and again (Sennrich et al.
2016, algorithm 1, with the bytes and the pattern of GPT-2, Radford et al. 2019).
Numbers enter digit by digit. What becomes of the merges stands in `tokenizer`.
Left out: dropout of merges, and the heaps that large vocabularies and words of
many thousand bytes need.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import regex

GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
PATTERN = GPT2_PATTERN.replace(r"\p{N}+", r"\p{N}")  # every digit stands alone
DIGITS = r"\p{N}|\P{N}+"  # before GPT2_PATTERN: digits alone, and their spaces too

Pair = tuple[int, int]


# ---- words, their bytes, and letters to print them


def split_words(text: str, pattern: str = PATTERN) -> list[str]:
    """Cut a text into words; a word takes the space before it along.

    Nothing is lost: the words, joined, are the text. No token ever reaches
    across the border of two words.

    >>> split_words("Ada's 12 cats!")
    ['Ada', "'s", ' 1', '2', ' cats', '!']
    """
    return regex.findall(pattern, text)


def to_bytes(text: str) -> bytes:
    """The UTF-8 bytes of a text: one to four for each character."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Character {error.start} of the text, {text[error.start]!a}, is half of a "
            "surrogate pair and no character: decode the source as UTF-16 first."
        ) from None


def byte_letters() -> list[str]:
    """GPT-2's letter for each of the 256 bytes, so that tokens can be printed.

    A printable byte is its own letter; the others, in order, are those from 256.

    >>> byte_letters()[ord("A")], byte_letters()[ord(" ")]
    ('A', 'Ġ')
    """
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(b if b in plain else 256 + others.index(b)) for b in range(256)]


LETTERS = byte_letters()
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}


# ---- pairs, one small step at a time


def count_pairs(words: Mapping[tuple[int, ...], int]) -> Counter[Pair]:
    """How often every two neighbours meet, over all words.

    words: the ids of each distinct word, and how often that word occurs. A
    pair counts wherever it begins, so (1, 1) occurs twice in (1, 1, 1).

    >>> count_pairs({(1, 2, 3): 10, (2, 3): 1})
    Counter({(2, 3): 11, (1, 2): 10})
    """
    counts: Counter[Pair] = Counter()
    for ids, times in words.items():
        for pair in pairwise(ids):
            counts[pair] += times
    return counts


def most_frequent(counts: Mapping[Pair, int]) -> Pair:
    """The pair to join next: the highest count, and in a tie the smallest pair.

    >>> most_frequent({(7, 1): 5, (2, 9): 5, (2, 3): 4})
    (2, 9)
    """
    assert counts, "there is no pair to choose from"
    highest = max(counts.values())
    return min(pair for pair, count in counts.items() if count == highest)


def merge_pair(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Write new_id wherever the pair stands, from left to right.

    An id takes part in one merge only: (1, 1) in [1, 1, 1] is joined once.

    How: append one id after the other; when the last two are the pair,
    put new_id in their place.

    >>> merge_pair([5, 1, 2, 1, 2, 1], (1, 2), 9)
    [5, 9, 9, 1]
    """
    assert new_id not in pair, f"a merge needs an id of its own: {pair=} {new_id=}"
    merged: list[int] = []
    for id in ids:
        if merged and (merged[-1], id) == pair:
            merged[-1] = new_id
        else:
            merged.append(id)
    return merged


class Corpus:
    """Distinct words, how often each occurs, and where every pair stands.

    `counts` is what `count_pairs` would give at any moment: a merge takes only
    the words that hold the pair out of the counts, and puts them back joined.
    """

    def __init__(self, words: Mapping[tuple[int, ...], int]) -> None:
        self.spellings = [list(ids) for ids in words]
        self.times = list(words.values())
        self.counts: Counter[Pair] = Counter()
        self.places: dict[Pair, set[int]] = defaultdict(set)  # pair -> its words
        for word in range(len(self.spellings)):
            self.tally(word, +1)

    def tally(self, word: int, sign: int) -> None:
        """Put the pairs of one word into the counts (+1), or take them out (-1)."""
        for pair in pairwise(self.spellings[word]):
            self.counts[pair] += sign * self.times[word]
            if self.counts[pair] == 0:
                del self.counts[pair]
            self.places[pair].add(word)  # a word may stay too long: slower, not wrong

    def merge(self, pair: Pair, new_id: int) -> None:
        """Join a pair in every word that holds it."""
        for word in self.places.pop(pair):
            self.tally(word, -1)
            self.spellings[word] = merge_pair(self.spellings[word], pair, new_id)
            self.tally(word, +1)


def learn_merges(
    words: Mapping[tuple[int, ...], int], first_id: int, limit: int
) -> dict[Pair, int]:
    """Join the most frequent pair, count again, and so on: the training of BPE.

    words: as in `count_pairs`. Returns pair -> new id, in the order learnt;
    the ids are first_id, first_id + 1, ... Stops after `limit` merges, or when
    every word is one token.

    >>> learn_merges({(1, 2, 3): 10, (2, 3): 1}, first_id=4, limit=9)
    {(2, 3): 4, (1, 4): 5}
    """
    corpus, merges = Corpus(words), {}
    while corpus.counts and len(merges) < limit:
        pair = most_frequent(corpus.counts)
        merges[pair] = first_id + len(merges)
        corpus.merge(pair, merges[pair])
    return merges


def apply_merges(ids: Sequence[int], merges: Mapping[Pair, int]) -> list[int]:
    """Join the bytes of one word as the training did: what was learnt first, first.

    merges: pair -> new id; a merge learnt earlier has the smaller new id.

    How: among the neighbours, take the pair with the smallest new id, merge it
    everywhere in the word, and look again until no pair is known.

    >>> apply_merges([1, 2, 3], {(2, 3): 4, (1, 2): 5, (1, 4): 6})
    [6]
    """
    ids = list(ids)
    while known := [merges[pair] for pair in pairwise(ids) if pair in merges]:
        new_id = min(known)
        pair = next(pair for pair in pairwise(ids) if merges.get(pair) == new_id)
        ids = merge_pair(ids, pair, new_id)
    return ids
