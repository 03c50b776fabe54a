r"""Numbers as small integers times a scale: $x \approx s\,(q - z)$.

An integer of b bits and one float shared by many of them stand for many floats
(Jacob et al. 2018, eq. 1). *Symmetric*: zero is code 0, codes have a sign, only the
scale is needed. *Affine*: codes count from 0, and a *zero point* z says which code
means 0. Rounding is to the nearest code and, half way, to the even one, as torch
rounds; llama.cpp rounds half away from zero (`blocks`). Scales have a shape that
broadcasts, so the same lines serve a tensor, a channel or a group. Left out: codes
that are not evenly spaced (`codebooks`).
"""

import torch
from torch import Tensor

INT8 = (-127, 127)  # the codes of symmetric 8 bits
SHRINKS = 20  # how many ranges `best_scale` tries


def code_range(bits: int, signed: bool = True, full: bool = False) -> tuple[int, int]:
    """The lowest and the highest code of so many bits.

    signed: as many codes below zero as above, so one of all is not used; full uses
    it, below zero. Not signed: from 0.

    >>> code_range(8), code_range(4, full=True), code_range(4, signed=False)
    ((-127, 127), (-8, 7), (0, 15))
    """
    if bits not in range(2, 9):
        raise ValueError(f"Codes have 2 to 8 bits, not {bits}.")
    if not signed:
        return 0, 2**bits - 1
    high = 2 ** (bits - 1) - 1
    return -high - full, high


def check_finite(values: Tensor) -> None:
    """Refuse what no scale can be made for: nothing at all, nan, infinity."""
    if values.numel() == 0:
        raise ValueError(f"There is nothing to quantize: shape {tuple(values.shape)}.")
    if not torch.isfinite(values).all():
        bad = int((~torch.isfinite(values)).sum())
        raise ValueError(
            f"{bad} of {values.numel()} numbers are nan or infinite: no scale fits them."
        )


# ---- scales


def positive(scale: Tensor) -> Tensor:
    """The scale, at least the smallest normal number: never divide by 0."""
    return scale.clamp(min=torch.finfo(scale.dtype).tiny)


def symmetric_scale(
    values: Tensor, bits: int = 8, dim: int | None = None, full: bool = False
) -> Tensor:
    r"""The step with which codes just reach the largest number: $\max|x| / q_\max$.

    dim: a scale for each slice along it, which becomes 1 long; None: one for all.
    full: with the extra code below zero the step is $\max|x| / (q_\max + 1/2)$: the
    largest number of either sign is off by half a step. Zeros alone: a tiny scale.

    How: the largest absolute value through the highest code.

    >>> symmetric_scale(torch.tensor([[1.0, -3.0], [7.0, 0.0]]), bits=3, dim=1)
    tensor([[1.0000],
            [2.3333]])
    """
    check_finite(values)
    size = values.abs()
    largest = size.max() if dim is None else size.amax(dim, keepdim=True)
    return positive(largest / (code_range(bits)[1] + full / 2))


def scale_and_zero(low: Tensor, high: Tensor, bits: int = 8) -> tuple[Tensor, Tensor]:
    r"""Scale and zero point of affine codes that reach from low to high.

    low, high: of one shape. Zero must have an exact code, since padding, masks and
    relu say 0: the range is widened to hold it. Returns the scale and the
    zero point, a whole number from 0 to $2^b - 1$, as a float tensor.

    How: the width of the range through $2^b - 1$; the zero point is how many steps
    0 lies above low, rounded.

    >>> scale_and_zero(torch.tensor(-1.0), torch.tensor(2.0), bits=2)
    (tensor(1.), tensor(1.))
    >>> scale_and_zero(torch.tensor(3.0), torch.tensor(6.0), bits=2)
    (tensor(2.), tensor(0.))
    """
    check_finite(torch.stack([low, high]))
    assert (low <= high).all(), f"low is at most high: {low=} {high=}"
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = positive((high - low) / (2**bits - 1))
    return scale, (0 - low / scale).round()  # 0 - 0 is 0, and -0 would be shown


# ---- codes


def quantize(
    values: Tensor,
    scale: Tensor,
    zero: Tensor | int = 0,
    limits: tuple[int, int] = INT8,
) -> Tensor:
    r"""The nearest code of each number: $q = \text{clip}(\lfloor x/s \rceil + z)$.

    scale and zero broadcast against values; limits: `code_range`. Returns whole
    numbers, int8 if codes have a sign, else uint8.

    How: divide, round, add the zero point, and only then clip.

    >>> quantize(torch.tensor([-1.0, 0.0, 0.26, 9.0]), torch.tensor(0.1))
    tensor([-10,   0,   3,  90], dtype=torch.int8)
    """
    codes = ((values / scale).round() + zero).clamp(*limits)
    return codes.to(torch.uint8 if limits[0] >= 0 else torch.int8)


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor | int = 0) -> Tensor:
    r"""What the codes stand for: $s\,(q - z)$, float32 at least.

    How: to float before the subtraction, since bytes have no numbers below 0.

    >>> codes = torch.tensor([0, 3], dtype=torch.uint8)
    >>> dequantize(codes, torch.tensor(0.5), zero=2)
    tensor([-1.0000,  0.5000])
    """
    wide = torch.promote_types(scale.dtype, torch.float32)
    return (codes.to(wide) - zero) * scale


def error_bound(
    values: Tensor,
    scale: Tensor,
    zero: Tensor | int = 0,
    limits: tuple[int, int] = INT8,
) -> Tensor:
    """How far a number can be from what its code stands for, before it is rounded.

    Half a step between the lowest and the highest number that have a code; beyond
    them, the way back to the nearer end, if that is more. Returns the shape of
    values.

    How: what the two limits stand for; the largest of half a step, the way down to
    the high end and the way up to the low end.

    >>> error_bound(torch.tensor([0.3, 9.0]), torch.tensor(0.5), limits=(-7, 7))
    tensor([0.2500, 5.5000])
    """
    low, high = ((end - zero) * scale for end in limits)
    beyond = torch.maximum(values - high, low - values)
    return torch.maximum(beyond, scale / 2)


# ---- which range


def min_max_range(values: Tensor, dim: int | None = None) -> tuple[Tensor, Tensor]:
    """The smallest and the largest number: nothing is clipped, outliers decide.

    >>> min_max_range(torch.tensor([-1.0, 5.0, 90.0]))
    (tensor(-1.), tensor(90.))
    """
    check_finite(values)
    if dim is None:
        return values.min(), values.max()
    return values.amin(dim, keepdim=True), values.amax(dim, keepdim=True)


def percentile_range(
    values: Tensor, share: float = 0.999, dim: int | None = None
) -> tuple[Tensor, Tensor]:
    """The range that holds this share of the numbers; both ends lose the same count.

    A few outliers are clipped, and all others get finer steps.

    How: sort; leave out the whole number of values nearest below half of what may
    fall off, at each end.

    >>> percentile_range(torch.tensor([-50.0, 0.0, 1.0, 2.0, 900.0]), share=0.6)
    (tensor(0.), tensor(2.))
    """
    check_finite(values)
    assert 0 < share <= 1, f"a share of the numbers: {share=}"
    row = values.flatten() if dim is None else values
    along, keep = (-1, False) if dim is None else (dim, True)
    ordered, count = row.sort(along).values, row.shape[along]
    dropped = min(int(count * (1 - share) / 2 + 1e-6), (count - 1) // 2)
    ends = (ordered.select(along, i) for i in (dropped, count - 1 - dropped))
    low, high = (end.unsqueeze(along) if keep else end for end in ends)
    return low, high


def best_scale(
    values: Tensor, bits: int = 4, dim: int | None = None, full: bool = False
) -> Tensor:
    """The symmetric scale with the smallest mean squared error among shrunken ones.

    With few codes it pays to clip: shares 1, 0.96, ... of the largest number are
    tried, for each slice along dim. Returns the shape of `symmetric_scale`.

    How: for each share quantize, dequantize and compare; keep the better scale.
    """
    widest = best = symmetric_scale(values, bits, dim, full)
    limits, least = code_range(bits, full=full), torch.full_like(widest, torch.inf)
    for step in range(SHRINKS):
        scale = positive(widest * (1 - step / (SHRINKS * 1.25)))
        squares = (dequantize(quantize(values, scale, 0, limits), scale) - values) ** 2
        loss = squares.mean() if dim is None else squares.mean(dim, keepdim=True)
        best = torch.where(loss < least, scale, best)
        least = torch.minimum(loss, least)
    return best
