r"""Codes that stand for values of a table: NF4, and the table for its scales.

Weights look normal, most of them near zero. NormalFloat (Dettmers et al. 2023,
section 3 and appendix E) puts its 16 values at quantiles of the normal distribution,
so that all codes are used about equally often; a block of 64 weights is divided by
its largest. That is not the table of the smallest squared error. *Double
quantization* stores the blocks' largest values in 8 bits as well, by a table with
fine steps near zero (Dettmers et al. 2022, section 2.1). Codes and packed bytes are
bitsandbytes'. Left out: FP4, and paged memory.
"""

import torch
from torch import Tensor, nn

from course_lib.quantization.integers import check_finite

NF4 = (  # the published values; `normal_code_book` finds them but for the last digit
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
EDGE = 0.9677083  # where the outermost quantile is taken, so that it is finite
BLOCK, SCALES = 64, 256  # weights that share a scale; scales that share one


# ---- the tables


def normal_code_book(bits: int = 4, edge: float = EDGE) -> Tensor:
    r"""Values so placed that a normal number is as likely to be near one as another.

    Returns ($2^b$,), rising from -1 to 1, with an exact 0: one value more above zero
    than below. edge: the probability whose quantile is the outermost value.

    How: with $n = 2^{b-1}$, the quantiles of n + 1 probabilities evenly spaced from
    1/2 to edge for zero and above; those of n probabilities, mirrored and without
    their zero, below; all through the largest. Quantiles: `torch.special.ndtri`.

    >>> normal_code_book(bits=3)
    tensor([-1.0000, -0.4786, -0.2171,  0.0000,  0.1609,  0.3379,  0.5626,  1.0000])
    """
    half = 2 ** (bits - 1)
    line = [torch.linspace(0.5, edge, n, dtype=torch.float64) for n in (half, half + 1)]
    below, above = (torch.special.ndtri(chances) for chances in line)
    values = torch.cat([-below[1:].flip(0), above])
    return (values / values.max()).float()


def dynamic_code_book() -> Tensor:
    """256 values whose steps grow with their size: bitsandbytes' table for 8 bits.

    For each of seven powers of ten, from 1e-6 up to 1, twice as many values as for
    the one below, of both signs; and 0, and 1.
    """
    values = [torch.tensor([0.0, 1.0])]
    for power in range(7):
        ends = torch.linspace(0.1, 1, 2**power + 1)
        middles = 10 ** (power - 6) * ((ends[:-1] + ends[1:]) / 2)
        values += [middles, -middles]
    return torch.cat(values).sort().values


# ---- blocks


def nearest_codes(values: Tensor, book: Tensor) -> Tensor:
    """The place in the table of the value nearest to each number, uint8.

    book (n,), rising. Half way between two values the lower one is taken.

    How: a number belongs to the table's i-th value if it lies between the middles
    left and right of it; `bucketize` finds between which.

    >>> nearest_codes(torch.tensor([-9.0, 0.4, 0.6]), torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0, 1, 2], dtype=torch.uint8)
    """
    middles = (book[1:] + book[:-1]) / 2
    return torch.bucketize(values, middles).to(torch.uint8)


def book_quantize(
    weights: Tensor, book: Tensor, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Blocks of weights, each divided by its largest, as places in a table.

    weights: any shape; blocks run on across its rows, the last one may be short.
    Returns codes (N,) and the blocks' largest absolute values (ceil(N / block),).
    A block of zeros has the largest value 0 and the code of 0.

    How: zeros fill up the last block; divide by 1 where the largest is 0.

    >>> book_quantize(torch.tensor([2.0, -4.0, 0.1]), torch.tensor([-1.0, 0.0, 1.0]))
    (tensor([1, 0, 1], dtype=torch.uint8), tensor([4.]))
    """
    check_finite(weights)
    flat = weights.detach().float().flatten()
    rows = nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    largest = rows.abs().amax(dim=1)
    divisor = torch.where(largest > 0, largest, 1.0)
    codes = nearest_codes(rows / divisor[:, None], book)
    return codes.flatten()[: len(flat)], largest


def book_dequantize(
    codes: Tensor, largest: Tensor, book: Tensor, block: int = BLOCK
) -> Tensor:
    """The numbers that codes stand for: (N,), each value times its block's largest.

    How: a table of as many scales as codes, cut where the codes end.

    >>> book = torch.tensor([-1.0, 0.0, 0.5])
    >>> codes, largest = torch.tensor([0, 2, 2]), torch.tensor([4.0, 10.0])
    >>> book_dequantize(codes, largest, book, block=2)
    tensor([-4.,  2.,  5.])
    """
    scales = largest.repeat_interleave(block)[: len(codes)]
    return book[codes.long()] * scales


# ---- NF4 in storage


def pack_pairs(codes: Tensor) -> Tensor:
    """Two 4-bit codes in a byte, the first in its high half: (N,) to (ceil(N / 2),).

    The other way round than llama.cpp, and as bitsandbytes has it.

    >>> pack_pairs(torch.tensor([1, 2, 3], dtype=torch.uint8))
    tensor([18, 48], dtype=torch.uint8)
    """
    pairs = nn.functional.pad(codes, (0, len(codes) % 2)).view(-1, 2)
    return (pairs[:, 0] << 4) | pairs[:, 1]


def unpack_pairs(packed: Tensor, count: int) -> Tensor:
    """The codes of `pack_pairs`' bytes: (count,).

    >>> unpack_pairs(torch.tensor([18, 48], dtype=torch.uint8), count=3)
    tensor([1, 2, 3], dtype=torch.uint8)
    """
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:count]


class BookWeight(nn.Module):
    """A matrix in NF4: packed codes and block scales; called, it is a float matrix.

    double: the scales too are codes, of 8 bits, in blocks of 256, and only their
    mean and each block's largest are floats.
    """

    def __init__(self, weights: Tensor, block: int = BLOCK, double: bool = False):
        super().__init__()
        self.shape, self.block, self.double = tuple(weights.shape), block, double
        book = torch.tensor(NF4, device=weights.device)
        codes, largest = book_quantize(weights, book, block)
        self.register_buffer("packed", pack_pairs(codes))
        self.register_buffer("book", book, persistent=False)  # the same for all
        mean = largest.mean() if double else None
        self.register_buffer("mean", mean)
        if double:
            fine = dynamic_code_book().to(weights.device)
            self.register_buffer("fine", fine, persistent=False)
            codes, largest = book_quantize(largest - mean, fine, SCALES)
            self.register_buffer("scale_codes", codes)
        self.register_buffer("largest", largest)

    @property
    def scales(self) -> Tensor:
        """The largest absolute value of each block of weights, (blocks,)."""
        if not self.double:
            return self.largest
        return self.mean + book_dequantize(
            self.scale_codes, self.largest, self.fine, SCALES
        )

    def forward(self) -> Tensor:
        """The matrix (out, in) in float32."""
        codes = unpack_pairs(self.packed, self.shape[0] * self.shape[1])
        flat = book_dequantize(codes, self.scales, self.book, self.block)
        return flat.view(self.shape)


def nf4(weights: Tensor, block: int = BLOCK, double: bool = False) -> BookWeight:
    """A matrix (out, in) in NF4: 4.5 bits a weight, 4.127 with double quantization.

    >>> nf4(torch.tensor([[3.0, 0.0, -3.0]]))()
    tensor([[ 3.,  0., -3.]])
    """
    return BookWeight(weights, block, double)
