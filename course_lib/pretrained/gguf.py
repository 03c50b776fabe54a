"""Read GGUF, the file format in which llama.cpp keeps a model: one file, no code.

A file has four parts: a fixed header, metadata (names with typed values), a
table of tensors, and the tensors' numbers, which stay on disk until asked
for. What their bytes mean stands in `gguf_blocks`. The format is described
in ggml's docs/gguf.md.
Left out: big-endian files, version 1, writing.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.pretrained.gguf_blocks import FORMATS, Format

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {  # number of a metadata type: struct's letter for it
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip


class Cursor:
    """A place in the file that moves on with everything read."""

    def __init__(self, data: mmap.mmap, path: Path):
        self.data, self.path, self.place = data, path, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        self.place += size
        if self.place > len(self.data):
            raise ValueError(truncated(self.path))
        return self.data[self.place - size : self.place]

    def numbers(self, letter: str, count: int) -> tuple:
        """The next `count` numbers of the type that struct calls `letter`."""
        size = struct.calcsize(letter) * count
        return struct.unpack(f"<{count}{letter}", self.take(size))

    def number(self, letter: str) -> int | float | bool:
        return self.numbers(letter, 1)[0]

    def string(self) -> str:
        """A length in 8 bytes, then so many bytes of UTF-8."""
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> object:
        """One value of metadata; an array is its element type, a length, the elements."""
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, count = self.number("I"), self.number("Q")
            if kind in SCALARS:
                return list(self.numbers(SCALARS[kind], count))
            return [self.value(kind) for _ in range(count)]
        if kind not in SCALARS:
            raise ValueError(f"{self.path.name} holds metadata of unknown type {kind}.")
        return self.number(SCALARS[kind])


class Entry(NamedTuple):
    """A line of the table of tensors."""

    shape: tuple[int, ...]  # as NumPy has it: rows first
    kind: int  # a key of FORMATS, or a type that we cannot decode
    start: int  # counted from the first tensor's first byte


@dataclass(frozen=True)
class GGUF:
    """An open file: metadata at hand, tensors decoded one at a time when asked for."""

    path: Path
    metadata: dict[str, object]
    table: dict[str, Entry]
    data: mmap.mmap
    base: int  # where the first tensor begins

    def blocks(self, name: str) -> np.ndarray:
        """A tensor as it lies in the file, (N,) blocks: a view, nothing is copied."""
        form = self.format(name)
        entry = self.table[name]
        count = math.prod(entry.shape) // form.weights
        start = self.base + entry.start
        return np.frombuffer(self.data, form.block, count, start)

    def tensor(self, name: str) -> np.ndarray:
        """A tensor as float32, in its own shape; a new array at every call."""
        return (
            self.format(name).decode(self.blocks(name)).reshape(self.table[name].shape)
        )

    def format(self, name: str) -> Format:
        """How this tensor is stored; refuses what we cannot decode."""
        assert name in self.table, f"no tensor {name!r} in {self.path.name}"
        kind = self.table[name].kind
        if kind not in FORMATS:
            known = ", ".join(form.name for form in FORMATS.values())
            raise ValueError(
                f"Tensor {name} of {self.path.name} has type {kind}, which this reader"
                f" does not know; it knows {known}."
            )
        return FORMATS[kind]


def truncated(path: Path) -> str:
    return f"{path.name} ends too early: the download was cut off, fetch it again."


def read_gguf(path: str | Path) -> GGUF:
    """Open a GGUF file: read header, metadata and table; leave the tensors on disk.

    `file.metadata` maps names to values, `file.table` the tensors' names to
    their shapes, `file.tensor(name)` gives one of them as float32. Raises
    ValueError if this is no GGUF file, is cut off, or has another version.
    """
    path = Path(path)
    cursor = Cursor(map_file(path), path)
    tensors, pairs = read_header(cursor)
    metadata = {cursor.string(): cursor.value(cursor.number("I")) for _ in range(pairs)}
    table = dict(read_entry(cursor) for _ in range(tensors))
    step = metadata.get("general.alignment", 32)
    base = math.ceil(cursor.place / step) * step  # tensors begin at a multiple
    file = GGUF(path, metadata, table, cursor.data, base)
    check_length(file)
    return file


def map_file(path: Path) -> mmap.mmap:
    """The file as bytes that are fetched from disk only where they are read."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ValueError(
                f"{path.name} is not a GGUF file: it must begin with GGUF."
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_header(cursor: Cursor) -> tuple[int, int]:
    """24 bytes: the word GGUF, the version, how many tensors, how many metadata."""
    cursor.take(4)
    version = cursor.number("I")
    if version not in VERSIONS:
        raise ValueError(
            f"{cursor.path.name} has GGUF version {version}; this reader knows 2 and 3."
        )
    return cursor.numbers("Q", 2)


def read_entry(cursor: Cursor) -> tuple[str, Entry]:
    """A line of the table: name, number of dimensions, the dimensions, type, start."""
    name = cursor.string()
    sizes = cursor.numbers("Q", cursor.number("I"))  # the fastest dimension first
    return name, Entry(sizes[::-1], cursor.number("I"), cursor.number("Q"))


def check_length(file: GGUF) -> None:
    """Refuse a file that ends before its last tensor does."""
    for entry in file.table.values():
        form = FORMATS.get(entry.kind)
        size = (
            math.prod(entry.shape) // form.weights * form.block.itemsize if form else 0
        )
        if file.base + entry.start + size > len(file.data):
            raise ValueError(truncated(file.path))
