r"""Write the blocks of a GGUF file, 32 weights with one scale, as llama.cpp does.

`pretrained.gguf_blocks` says what lies where in a block and reads it; here the codes
are chosen. Three habits differ from `integers`. The scale is found in float32, and
half precision keeps it only afterwards. Formats that end in 0 have a sign in the
*scale*: the number of the largest size gets the lowest code, which has no partner
above zero. Half way, numbers go away from zero (Q8_0) or up (the others). Rows are
NumPy's, since files are. Left out: the k-quants, whose scales need a search.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.pretrained.gguf_blocks import FORMATS, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0
from course_lib.quantization.integers import check_finite

WEIGHTS = 32  # in a block
BY_NAME = {form.name: form for form in FORMATS.values()}
LARGEST = 65504  # half precision has nothing beyond


# ---- numbers to codes


def one_over(scale: np.ndarray) -> np.ndarray:
    """1 / scale, and 0 where that has no end: a block of zeros, or next to zero."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def round_away(numbers: np.ndarray) -> np.ndarray:
    """To the nearest whole number, and half way away from zero.

    >>> round_away(np.array([-2.5, -0.4, 0.5, 1.5]))
    array([-3., -0.,  1.,  2.])
    """
    size = np.abs(numbers)
    whole = np.floor(size)
    return np.sign(numbers) * (whole + np.floor(2 * (size - whole)))


def largest_signed(rows: np.ndarray) -> np.ndarray:
    """The number of the largest size in each row, with its sign: (N, n) to (N, 1).

    >>> largest_signed(np.array([[1.0, -5.0, 4.0]]))
    array([[-5.]])
    """
    places = np.abs(rows).argmax(axis=1, keepdims=True)
    return np.take_along_axis(rows, places, axis=1)


def offset_codes(
    rows: np.ndarray, highest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales, the smallest numbers, and how many steps each number lies above it.

    rows (N, 32), float32. Returns two (N, 1), and codes (N, 32) from 0 to `highest`.
    """
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    scale = (high - low) / np.float32(highest)
    codes = np.trunc((rows - low) * one_over(scale) + np.float32(0.5))
    return scale, low, codes.clip(0, highest).astype(np.uint8)


# ---- codes to bytes


def pack_nibbles(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit codes in a byte: code i in the low half, i + 16 in the high one.

    codes (N, 32), 0 to 15. Returns (N, 16), what `gguf_blocks.nibbles` takes apart.

    >>> pack_nibbles(np.arange(32, dtype=np.uint8)[None] % 16)[0, :3]
    array([ 0, 17, 34], dtype=uint8)
    """
    return codes[:, :16] | (codes[:, 16:] << 4)


def pack_fifth_bits(codes: np.ndarray) -> np.ndarray:
    """The top bit of 32 five-bit codes as 4 bytes, the first code in the lowest bit.

    >>> pack_fifth_bits(np.array([[16, 0, 31] + [0] * 29], dtype=np.uint8))
    array([[5, 0, 0, 0]], dtype=uint8)
    """
    return np.packbits(codes >> 4, axis=1, bitorder="little")


def fill(layout: np.dtype, **fields: np.ndarray) -> np.ndarray:
    """Blocks (N,) of a layout, field by field; columns are (N, 1)."""
    blocks = np.empty(len(next(iter(fields.values()))), dtype=layout)
    for name, values in fields.items():
        blocks[name] = values if blocks[name].ndim > 1 else values[:, 0]
    return blocks


# ---- the five formats


def encode_q4_0(rows: np.ndarray) -> np.ndarray:
    r"""Q4_0, a scale and codes around 8: $q_i = \lfloor x_i / d + 8.5 \rfloor$.

    rows (N, 32), float32. Returns (N,) of the layout `Q4_0`; `decode_q4_0` reads it.

    How: the number of the largest size, with its sign, through -8 is the scale, so
    that number gets the code 0; clip at 15; a byte holds code i low, i + 16 high.

    >>> row = np.zeros((1, 32), dtype=np.float32)
    >>> row[0, [0, 1, 16]] = 4.0, -1.0, 3.5
    >>> block = encode_q4_0(row)[0]
    >>> float(block["scale"]), block["codes"][:3].tolist()
    (-0.5, [16, 138, 136])
    """
    scale = largest_signed(rows) / np.float32(-8)  # (N, 1)
    codes = np.trunc(rows * one_over(scale) + np.float32(8.5)).clip(0, 15)
    return fill(Q4_0, scale=scale, codes=pack_nibbles(codes.astype(np.uint8)))


def encode_q4_1(rows: np.ndarray) -> np.ndarray:
    """Q4_1, a scale, the smallest number, and 4-bit codes from it upwards.

    rows (N, 32), float32. Returns (N,) of the layout `Q4_1`.
    """
    scale, low, codes = offset_codes(rows, highest=15)
    return fill(Q4_1, scale=scale, offset=low, codes=pack_nibbles(codes))


def encode_q5_0(rows: np.ndarray) -> np.ndarray:
    """Q5_0, as Q4_0 with codes around 16 whose fifth bits are kept apart."""
    scale = largest_signed(rows) / np.float32(-16)  # (N, 1)
    codes = np.trunc(rows * one_over(scale) + np.float32(16.5)).clip(0, 31)
    codes = codes.astype(np.uint8)
    high, low = pack_fifth_bits(codes), pack_nibbles(codes & 15)
    return fill(Q5_0, scale=scale, high=high, codes=low)


def encode_q5_1(rows: np.ndarray) -> np.ndarray:
    """Q5_1, as Q4_1 with codes up to 31 whose fifth bits are kept apart."""
    scale, least, codes = offset_codes(rows, highest=31)
    high, low = pack_fifth_bits(codes), pack_nibbles(codes & 15)
    return fill(Q5_1, scale=scale, offset=least, high=high, codes=low)


def encode_q8_0(rows: np.ndarray) -> np.ndarray:
    r"""Q8_0, a scale $d = \max|x| / 127$ and signed bytes $\lfloor x_i / d \rceil$.

    rows (N, 32), float32. Returns (N,) of the layout `Q8_0`; `decode_q8_0` reads it.

    How: times `one_over` the scale, so that zeros are no trouble; `round_away`.

    >>> row = np.zeros((1, 32), dtype=np.float32)
    >>> row[0, :3] = 254.0, -5.0, 1.0
    >>> encode_q8_0(row)[0]["codes"][:3].tolist()
    [127, -3, 1]
    """
    scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    codes = round_away(rows * one_over(scale)).astype(np.int8)
    return fill(Q8_0, scale=scale, codes=codes)


ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Q4_0": encode_q4_0,
    "Q4_1": encode_q4_1,
    "Q5_0": encode_q5_0,
    "Q5_1": encode_q5_1,
    "Q8_0": encode_q8_0,
}


def check_rows(weights: np.ndarray, name: str) -> None:
    """Refuse what has no blocks: an unknown format, odd rows, nan."""
    if name not in ENCODERS:
        raise ValueError(f"There is no {name!r}; there are {', '.join(ENCODERS)}.")
    if weights.shape[-1] % WEIGHTS:
        raise ValueError(
            f"{name} has blocks of {WEIGHTS}, which do not divide rows of "
            f"{weights.shape[-1]} weights."
        )
    check_finite(torch.from_numpy(weights))


def encode(weights: np.ndarray, name: str) -> np.ndarray:
    """Weights (..., in) as blocks (N,) of this format, row after row.

    32 divides in. Numbers that half precision has no scale for are refused:
    llama.cpp writes infinity for them.
    """
    check_rows(weights, name)
    rows = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1, WEIGHTS)
    with np.errstate(over="ignore"):
        blocks = ENCODERS[name](rows)
    parts = {"scale", "offset"} & set(blocks.dtype.names)
    if not all(np.isfinite(blocks[part]).all() for part in parts):
        raise ValueError(
            f"Weights up to {np.abs(rows).max():.3g} need a scale beyond {LARGEST}, "
            f"the largest number that {name} can store."
        )
    return blocks


def format_bits(name: str) -> float:
    """Bits a weight of a format, its share of the scales included.

    >>> {name: format_bits(name) for name in ENCODERS}
    {'Q4_0': 4.5, 'Q4_1': 5.0, 'Q5_0': 5.5, 'Q5_1': 6.0, 'Q8_0': 8.5}
    """
    form = BY_NAME[name]
    return 8 * form.block.itemsize / form.weights


class BlockWeight(nn.Module):
    """A matrix as the bytes of a GGUF file; called, it is a float matrix."""

    def __init__(self, weights: Tensor, name: str = "Q4_0"):
        super().__init__()
        self.shape, self.name = tuple(weights.shape), name
        blocks = encode(weights.detach().float().cpu().numpy(), name)
        raw = torch.from_numpy(blocks.view(np.uint8).copy()).to(weights.device)
        self.register_buffer("raw", raw)

    def forward(self) -> Tensor:
        """The matrix (out, in) in float32; decoded on the CPU."""
        form = BY_NAME[self.name]
        blocks = self.raw.cpu().numpy().view(form.block)
        return (
            torch.from_numpy(form.decode(blocks)).view(self.shape).to(self.raw.device)
        )
