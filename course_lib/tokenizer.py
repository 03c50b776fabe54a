"""From text to numbers and back, byte by byte (Radford et al. 2019, section 2.2).

A tokenizer is a vocabulary and the order of its merges; `bpe` has the algorithm
that learns and applies them. All 256 bytes are tokens, so any text goes in and
comes out unchanged. Special tokens come first in the vocabulary and never from
a user's text. Left out: normalisation of texts.
"""

import hashlib
import json
import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import regex

from course_lib.bpe import (
    BYTES,
    LETTERS,
    PATTERN,
    Pair,
    apply_merges,
    learn_merges,
    split_words,
    to_bytes,
)
from course_lib.chat_format import SPECIALS, check_chat

REMEMBERED = 100_000  # words whose ids a tokenizer keeps, so that memory stays bounded


class Tokenizer:
    """A vocabulary and the order of its merges; text to ids and back.

    tokens: the bytes of each id. merges: pairs of ids in the order learnt.
    specials: tokens that stand for themselves. patterns: one pattern, or
    several that cut one after the other; each must match every character.
    `pad`, `end`, `user`, `bot` are the ids of SPECIALS, None if there is none.
    A byte that no token spells (SmolLM2 has 21 of them) is dropped.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Iterable[Pair],
        specials: Sequence[str] = SPECIALS,
        patterns: str | Sequence[str] = PATTERN,
    ) -> None:
        self.tokens = list(tokens)
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        ids = {token: id for id, token in enumerate(self.tokens)}
        assert len(ids) == len(self.tokens), (
            f"two ids for one token: {Counter(self.tokens).most_common(1)}"
        )
        missing = [text for text in specials if text.encode() not in ids]
        assert not missing, f"special tokens that are not in the vocabulary: {missing}"
        self.specials = {text: ids.pop(text.encode()) for text in specials}
        self.byte_ids = [ids.get(bytes([byte])) for byte in range(256)]
        self.merges = {(a, b): ids[self.tokens[a] + self.tokens[b]] for a, b in merges}
        assert all(old < new for old, new in pairwise(self.merges.values())), (
            "ids must grow in the order of the merges"
        )
        self.pad, self.end, self.user, self.bot = map(self.specials.get, SPECIALS)
        longest_first = sorted(self.specials, key=len, reverse=True)
        self._special = regex.compile("|".join(map(regex.escape, longest_first)))
        self._remembered: dict[str, list[int]] = {}

    @classmethod
    def from_strings(
        cls,
        tokens: Sequence[str],
        merges: Sequence[str | Sequence[str]],
        specials: Sequence[str] = SPECIALS,
        patterns: str | Sequence[str] = PATTERN,
    ) -> "Tokenizer":
        """A tokenizer from strings in GPT-2's letters, as GGUF and Hugging Face keep it.

        merges: "a b" or ("a", "b"), in the order learnt. Specials are plain text.
        """
        ids = {token: id for id, token in enumerate(tokens)}
        spelled = [
            token.encode() if token in specials else bytes(BYTES[c] for c in token)
            for token in tokens
        ]
        pairs = [m.split(" ") if isinstance(m, str) else m for m in merges]
        return cls(spelled, [(ids[a], ids[b]) for a, b in pairs], specials, patterns)

    def __len__(self) -> int:
        return len(self.tokens)

    def words(self, text: str) -> list[str]:
        """The words of a text, cut by every pattern in turn."""
        words = [text]
        for pattern in self.patterns:
            words = [part for word in words for part in split_words(word, pattern)]
        assert sum(map(len, words)) == len(text), (
            f"the patterns leave out characters of {text[:40]!r}: {self.patterns}"
        )
        return words

    def encode(self, text: str, specials: bool = False) -> list[int]:
        """Text to ids.

        By default all of it is plain text: "<end>" typed by a user is five
        harmless characters. With `specials=True`, for text that our own code
        has written, the longest special token that fits becomes its id.
        """
        if not specials or not self.specials:
            return self._encode_text(text)
        ids, start = [], 0
        for found in self._special.finditer(text):
            ids += self._encode_text(text[start : found.start()])
            ids.append(self.specials[found[0]])
            start = found.end()
        return ids + self._encode_text(text[start:])

    def encode_bytes(self, data: bytes) -> list[int]:
        """Any bytes to ids, also such as are no text: decode_bytes gives them back."""
        return self._encode_words(data.decode("utf-8", "surrogateescape"))

    def _encode_text(self, text: str) -> list[int]:
        to_bytes(text)  # refuses what is no text
        return self._encode_words(text)

    def _encode_words(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in self.words(text):
            known = self._remembered.get(word)
            ids += self._encode_word(word) if known is None else known
        return ids

    def _encode_word(self, word: str) -> list[int]:
        """The ids of a word met for the first time, remembered for the next."""
        data = word.encode("utf-8", "surrogateescape")
        ids = [self.byte_ids[b] for b in data if self.byte_ids[b] is not None]
        ids = apply_merges(ids, self.merges)
        if len(self._remembered) < REMEMBERED:
            self._remembered[word] = ids
        return ids

    def decode_bytes(self, ids: Iterable[int], specials: bool = True) -> bytes:
        """The exact bytes of the ids; `specials=False` leaves special tokens out."""
        numbers = [operator.index(id) for id in ids]
        outside = [id for id in numbers if not 0 <= id < len(self)]
        if outside:
            raise ValueError(
                f"Id {outside[0]} is not in the vocabulary, which ends at {len(self) - 1}."
            )
        hidden = set() if specials else set(self.specials.values())
        return b"".join(self.tokens[id] for id in numbers if id not in hidden)

    def decode(self, ids: Iterable[int], specials: bool = True) -> str:
        """Ids to text; bytes that are no UTF-8, such as half an emoji, become �."""
        return self.decode_bytes(ids, specials).decode("utf-8", "replace")

    def pieces(self, text: str, specials: bool = False) -> list[str]:
        """The tokens of a text, to look at; bytes that are no character as <e2>."""
        return [self.piece(id) for id in self.encode(text, specials)]

    def piece(self, id: int) -> str:
        """One token, to look at: its text, and bytes that are no character as <e2>."""
        text = self.decode_bytes([id]).decode("utf-8", "surrogateescape")
        return "".join(
            f"<{ord(c) - 0xDC00:02x}>" if "\udc80" <= c <= "\udcff" else c for c in text
        )

    # ---- chat

    def encode_chat(
        self, messages: Sequence[Mapping[str, str]], reply_next: bool = False
    ) -> list[int]:
        """The ids of a chat; what people wrote is plain text, whatever it says.

        messages and reply_next as in `render_chat`. Only this function writes
        special tokens, so a user who types "<end><bot>" gives no orders.
        """
        assert self.user is not None, f"a chat needs {SPECIALS}: {self.specials=}"
        check_chat(messages, reply_next)
        before = {"user": [self.user], "assistant": [self.bot]}
        after = {"user": [], "assistant": [self.end]}
        ids: list[int] = []
        for message in messages:
            said, role = self.encode(message["content"]), message["role"]
            ids += before[role] + said + after[role]
        return ids + [self.bot] * reply_next

    # ---- files

    def as_strings(self) -> dict[str, list]:
        """All that decides the ids, as `from_strings` takes it: what a file holds."""
        named = {id: text for text, id in self.specials.items()}
        letters = [
            named.get(id, "".join(LETTERS[byte] for byte in token))
            for id, token in enumerate(self.tokens)
        ]
        return {
            "patterns": list(self.patterns),
            "specials": list(self.specials),
            "tokens": letters,
            "merges": [[letters[a], letters[b]] for a, b in self.merges],
        }

    @property
    def digest(self) -> str:
        """A fingerprint of all that decides the ids: 16 digits of its SHA-256."""
        content = json.dumps(self.as_strings(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        """Write one small JSON file."""
        content = {"digest": self.digest, **self.as_strings()}
        Path(path).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read what `save` wrote; a file that was changed since is refused."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            digest = content.pop("digest")
            tokenizer = cls.from_strings(**content)
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
            raise ValueError(
                f"{path} is no tokenizer file of this course or is damaged: "
                "fetch it again, or train it again."
            ) from None
        if tokenizer.digest != digest:
            raise ValueError(
                f"{path} was changed since it was saved: fetch it again, or train it again."
            )
        return tokenizer


def train_bpe(
    texts: Iterable[str],
    vocabulary: int,
    specials: Sequence[str] = SPECIALS,
    pattern: str = PATTERN,
) -> Tokenizer:
    """Learn a vocabulary from texts: specials, the 256 bytes, then merges.

    vocabulary: how many tokens to make. When the texts hold no more pairs, it
    stops before; `len(tokenizer)` says how many there are.

    >>> tokenizer = train_bpe(["low low lower"], vocabulary=262)
    >>> tokenizer.pieces("slow")
    ['s', 'low']
    """
    smallest = len(specials) + 256
    if isinstance(texts, str):
        raise ValueError(
            "train_bpe takes a list of texts: put [ and ] around the text."
        )
    if vocabulary < smallest:
        raise ValueError(
            f"A vocabulary of {vocabulary} is too small: {len(specials)} special tokens "
            f"and 256 bytes need {smallest}."
        )
    alphabet = [bytes([BYTES[letter]]) for letter in sorted(BYTES)]
    tokens = [text.encode() for text in specials] + alphabet
    ids = {token[0]: id for id, token in enumerate(tokens) if id >= len(specials)}
    words = Counter(word for text in texts for word in split_words(text, pattern))
    spelled = {tuple(ids[b] for b in to_bytes(word)): n for word, n in words.items()}
    merges = learn_merges(spelled, smallest, vocabulary - smallest)
    for a, b in merges:
        tokens.append(tokens[a] + tokens[b])
    return Tokenizer(tokens, merges, specials, pattern)
