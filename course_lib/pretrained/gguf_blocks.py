"""The number formats inside a GGUF file: what the bytes of one block mean.

A quantised tensor is a row of small *blocks*. A block of 32 weights shares
one scale $d$, in some formats also an offset $m$, and holds a code $q_i$ of
4, 5 or 8 bits for each weight. The layouts are those of ggml's
`ggml-common.h`; everything is little-endian.
Left out: the k-quants and i-quants, whose blocks hold blocks.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# what lies where in one block, byte after byte
Q4_0 = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])  # 18 bytes, 32 weights
Q4_1 = np.dtype([("scale", "<f2"), ("offset", "<f2"), ("codes", "u1", 16)])  # 20 bytes
Q5_0 = np.dtype([("scale", "<f2"), ("high", "u1", 4), ("codes", "u1", 16)])  # 22 bytes
Q5_1 = np.dtype([("scale", "<f2"), ("offset", "<f2"), *Q5_0.descr[1:]])  # 24 bytes
Q8_0 = np.dtype([("scale", "<f2"), ("codes", "i1", 32)])  # 34 bytes


def nibbles(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit codes from every byte: all the low halves first, then the high ones.

    codes (N, 16), bytes. Returns (N, 32), whole numbers from 0 to 15.

    >>> nibbles(np.array([[0x21, 0x43]], dtype=np.uint8))
    array([[1, 3, 2, 4]], dtype=uint8)
    """
    return np.concatenate([codes & 0x0F, codes >> 4], axis=1)


def fifth_bits(high: np.ndarray) -> np.ndarray:
    """The top bit of 32 five-bit codes, each as 0 or 16; bit i belongs to weight i.

    high (N, 4), bytes, the lowest bit first. Returns (N, 32).

    >>> fifth_bits(np.array([[0b101, 0, 0, 0]], dtype=np.uint8))[0, :4]
    array([16,  0, 16,  0], dtype=uint8)
    """
    return np.unpackbits(high, axis=1, bitorder="little") << 4


def column(numbers: np.ndarray) -> np.ndarray:
    """One number for each block, (N,), as a float32 column (N, 1)."""
    return numbers.astype(np.float32)[:, None]


def decode_float(blocks: np.ndarray) -> np.ndarray:
    """F32 and F16: no blocks at all, every number stands for itself."""
    return blocks.astype(np.float32)


def decode_bf16(blocks: np.ndarray) -> np.ndarray:
    """BF16: the upper two bytes of a float32; the lower two are zero.

    >>> decode_bf16(np.array([0x3F80], dtype=np.uint16))
    array([1.], dtype=float32)
    """
    return (blocks.astype(np.uint32) << 16).view(np.float32)


def decode_q4_0(blocks: np.ndarray) -> np.ndarray:
    r"""Q4_0, a scale and 4-bit codes around 8: $w_i = d\,(q_i - 8)$.

    blocks (N,) of the layout `Q4_0`. Returns (N, 32), float32.

    >>> block = np.zeros(1, dtype=Q4_0)
    >>> block["scale"], block["codes"] = 0.5, 0x98  # low halves 8, high halves 9
    >>> decode_q4_0(block)[0, [0, 31]]
    array([0. , 0.5], dtype=float32)
    """
    codes = nibbles(blocks["codes"]).astype(np.int8) - 8  # (N, 32), -8 to 7
    return column(blocks["scale"]) * codes


def decode_q4_1(blocks: np.ndarray) -> np.ndarray:
    r"""Q4_1, a scale, an offset and 4-bit codes from 0: $w_i = d\,q_i + m$.

    blocks (N,) of the layout `Q4_1`. Returns (N, 32), float32.

    >>> block = np.zeros(1, dtype=Q4_1)
    >>> block["scale"], block["offset"], block["codes"] = 0.5, -1.0, 0x98
    >>> decode_q4_1(block)[0, [0, 31]]
    array([3. , 3.5], dtype=float32)
    """
    weights = column(blocks["scale"]) * nibbles(blocks["codes"])  # (N, 32)
    weights += column(blocks["offset"])  # in place: weights can be large
    return weights


def decode_q5_0(blocks: np.ndarray) -> np.ndarray:
    r"""Q5_0, as Q4_0 with a fifth bit kept apart: $w_i = d\,(q_i - 16)$.

    blocks (N,) of the layout `Q5_0`. Returns (N, 32), float32.
    """
    codes = nibbles(blocks["codes"]) | fifth_bits(blocks["high"])  # (N, 32), 0 to 31
    return column(blocks["scale"]) * (codes.astype(np.int8) - 16)


def decode_q5_1(blocks: np.ndarray) -> np.ndarray:
    r"""Q5_1, as Q4_1 with a fifth bit kept apart: $w_i = d\,q_i + m$.

    blocks (N,) of the layout `Q5_1`. Returns (N, 32), float32.
    """
    codes = nibbles(blocks["codes"]) | fifth_bits(blocks["high"])  # (N, 32), 0 to 31
    return column(blocks["scale"]) * codes + column(blocks["offset"])


def decode_q8_0(blocks: np.ndarray) -> np.ndarray:
    r"""Q8_0, a scale and signed bytes: $w_i = d\,q_i$.

    blocks (N,) of the layout `Q8_0`. Returns (N, 32), float32.
    """
    return column(blocks["scale"]) * blocks["codes"]


class Format(NamedTuple):
    """How one kind of tensor lies in the file."""

    name: str
    block: np.dtype  # the bytes of one block
    weights: int  # how many weights a block holds
    decode: Callable[[np.ndarray], np.ndarray]  # blocks (N,) -> float32


FORMATS = {  # number of a tensor type in the file: its format
    0: Format("F32", np.dtype("<f4"), 1, decode_float),
    1: Format("F16", np.dtype("<f2"), 1, decode_float),
    2: Format("Q4_0", Q4_0, 32, decode_q4_0),
    3: Format("Q4_1", Q4_1, 32, decode_q4_1),
    6: Format("Q5_0", Q5_0, 32, decode_q5_0),
    7: Format("Q5_1", Q5_1, 32, decode_q5_1),
    8: Format("Q8_0", Q8_0, 32, decode_q8_0),
    30: Format("BF16", np.dtype("<u2"), 1, decode_bf16),
}
