r"""How many weights share a scale: a matrix, a row, or a group of neighbours.

One large weight makes the steps of all coarse that share its scale. The fewer share
one, the finer: a scale for each row (*channel*) costs next to nothing, one for every
32 weights of a row (*group*) half a bit a weight. `round_to_nearest` looks at one
weight after the other and at nothing else; `gptq` and `scaling` do better by looking
at what goes through the matrix. Codes are kept packed, b bits each. Left out: scales
of scales, as in llama.cpp's k-quants.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from course_lib.quantization.integers import (
    best_scale,
    code_range,
    dequantize,
    min_max_range,
    positive,
    quantize,
    scale_and_zero,
    symmetric_scale,
)

Group = int | str  # neighbours in a row, or "channel": a row, or "tensor": all
HALF = torch.float16  # what a scale is stored in


# ---- who shares


def in_groups(weights: Tensor, group: Group = 32) -> Tensor:
    """Weights by who shares a scale: (out, in) to (rows, groups of a row, group).

    "channel": one group in each row, (out, 1, in); "tensor": one in all, (1, 1, N).
    A view; nothing is changed.

    >>> in_groups(torch.zeros(2, 64), 32).shape
    torch.Size([2, 2, 32])
    >>> in_groups(torch.zeros(2, 6), "tensor").shape
    torch.Size([1, 1, 12])
    """
    if weights.dim() != 2:
        raise ValueError(f"A matrix (out, in) has groups, not {tuple(weights.shape)}.")
    if group in ("tensor", "channel"):
        return weights.reshape(1 if group == "tensor" else len(weights), 1, -1)
    if isinstance(group, str) or group < 1:
        raise ValueError(f'A group is a number, "channel" or "tensor", not {group!r}.')
    if weights.shape[1] % group:
        raise ValueError(
            f"Groups of {group} do not divide rows of {weights.shape[1]} weights."
        )
    return weights.reshape(len(weights), -1, group)


def group_quantize(
    weights: Tensor, bits: int = 4, group: int = 32
) -> tuple[Tensor, Tensor]:
    """Each group of neighbours in a row gets a scale of its own: codes and scales.

    weights (out, in); group divides in. Symmetric. Returns codes (out, in), int8,
    and scales (out, in / group).

    How: a third dimension for the groups, `symmetric_scale` and `quantize` along it,
    and back to two.

    >>> group_quantize(torch.tensor([[1.0, 7.0, 0.0, -0.7]]), bits=4, group=2)
    (tensor([[ 1,  7,  0, -7]], dtype=torch.int8), tensor([[1.0000, 0.1000]]))
    """
    parts = in_groups(weights, group)  # (out, in / group, group)
    scales = symmetric_scale(parts, bits, dim=2)
    codes = quantize(parts, scales, limits=code_range(bits))
    return codes.flatten(1), scales.squeeze(2)


def group_dequantize(codes: Tensor, scales: Tensor) -> Tensor:
    """What codes (out, in) and scales (out, groups) stand for: weights (out, in).

    How: as many neighbours share a scale as there are codes for each.

    >>> group_dequantize(torch.tensor([[1, 7, 0, -7]]), torch.tensor([[1.0, 0.5]]))
    tensor([[ 1.0000,  7.0000,  0.0000, -3.5000]])
    """
    parts = codes.reshape(*scales.shape, -1)  # (out, groups, group)
    return dequantize(parts, scales.unsqueeze(2)).flatten(1)


def bits_per_weight(
    bits: float, group: int, scale_bits: int = 16, zero_bits: int = 0
) -> float:
    """Bits of a weight with its share of the group's scale and zero point.

    llama.cpp's Q8_0 and Q4_0 are groups of 32 with a scale in half precision:

    How: the group's scale and zero point are shared by its weights.

    >>> bits_per_weight(8, group=32), bits_per_weight(4, group=32)
    (8.5, 4.5)
    """
    assert group >= 1, f"at least one weight shares a scale: {group=}"
    return bits + (scale_bits + zero_bits) / group


# ---- codes side by side


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Codes from 0 to 2^bits - 1, bits each and no gap between them, as bytes.

    Returns (ceil(N bits / 8),), uint8; the lowest bit of the first code comes first.

    >>> pack_codes(torch.tensor([1, 2, 3]), bits=4)
    tensor([33,  3], dtype=torch.uint8)
    """
    numbers = codes.flatten().to(torch.uint8)
    places = torch.arange(bits, dtype=torch.uint8, device=codes.device)
    row = ((numbers[:, None] >> places) & 1).flatten()  # one bit after the other
    octets = pad(row, (0, -len(row) % 8)).view(-1, 8)
    eight = torch.arange(8, dtype=torch.uint8, device=codes.device)
    return (octets << eight).sum(dim=1, dtype=torch.uint8)


def unpack_codes(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` codes of `pack_codes`' bytes: (count,), uint8.

    >>> unpack_codes(torch.tensor([33, 3], dtype=torch.uint8), bits=4, count=3)
    tensor([1, 2, 3], dtype=torch.uint8)
    """
    eight = torch.arange(8, dtype=torch.uint8, device=packed.device)
    row = ((packed[:, None] >> eight) & 1).flatten()[: count * bits]
    return (row.view(-1, bits) << eight[:bits]).sum(dim=1, dtype=torch.uint8)


class IntegerWeight(nn.Module):
    """A matrix in storage: packed codes, scales, zero points.

    Called, it gives the float matrix. Its tensors are buffers: they move and are
    saved with a model.
    """

    def __init__(
        self,
        codes: Tensor,
        scale: Tensor,
        zero: Tensor | None,
        bits: int,
        lowest: int,
    ):
        """codes (out, in) from `lowest` on; scale and zero (rows, groups)."""
        super().__init__()
        self.shape, self.bits, self.lowest = tuple(codes.shape), bits, lowest
        shifted = codes.to(torch.int16) - lowest  # from 0: bytes have no sign
        self.register_buffer("packed", pack_codes(shifted, bits))
        self.register_buffer("scale", scale)
        self.register_buffer("zero", None if zero is None else zero.to(torch.uint8))

    @property
    def codes(self) -> Tensor:
        """(out, in), int16."""
        count = self.shape[0] * self.shape[1]
        flat = unpack_codes(self.packed, self.bits, count).to(torch.int16)
        return flat.view(self.shape) + self.lowest

    def forward(self) -> Tensor:
        """The matrix (out, in) in float32."""
        parts = self.codes.reshape(*self.scale.shape, -1)
        zero = 0 if self.zero is None else self.zero.unsqueeze(2).float()
        scale = self.scale.unsqueeze(2).float()
        return dequantize(parts, scale, zero).view(self.shape)


def stored_scale(scale: Tensor, dtype: torch.dtype = HALF) -> Tensor:
    """The scale as it will be read again, since codes must fit what is stored."""
    stored = positive(scale.to(dtype))
    if not torch.isfinite(stored).all():
        raise ValueError(
            f"A scale of {scale.max():.3g} does not fit into {dtype}: the weights are "
            "too large for this format."
        )
    return stored


def round_to_nearest(
    weights: Tensor,
    bits: int = 4,
    group: Group = 32,
    symmetric: bool = True,
    full: bool = False,
    clip: bool = False,
    dtype: torch.dtype = HALF,
) -> IntegerWeight:
    """Every weight to the nearest code of its group, whatever the others do.

    weights (out, in). group: as in `in_groups`. full, clip: as in `symmetric_scale`
    and `best_scale`. dtype: of the scales; codes are chosen for the scale that is
    stored. Not symmetric: a zero point of 8 bits for each group.

    >>> round_to_nearest(torch.tensor([[1.0, 2.0, -7.0]]), bits=4, group="tensor")()
    tensor([[ 1.,  2., -7.]])
    """
    parts = in_groups(weights.detach().float(), group)
    zero = None
    if symmetric:
        find = best_scale if clip else symmetric_scale
        scale, limits = find(parts, bits, 2, full), code_range(bits, full=full)
    else:
        scale, zero = scale_and_zero(*min_max_range(parts, 2), bits)
        limits = code_range(bits, signed=False)
    scale = stored_scale(scale, dtype)
    codes = quantize(parts, scale.float(), 0 if zero is None else zero, limits)
    zero = None if zero is None else zero.squeeze(2)
    shaped = codes.view(weights.shape)
    return IntegerWeight(shaped, scale.squeeze(2), zero, bits, limits[0])
