r"""Integers on both sides: round what flows as well, and multiply codes by codes.

With both factors in codes the product is a sum of whole numbers, exact in 32 bits,
and the scales are multiplied in once at its end (Jacob et al. 2018, eq. 7). Inputs
are rounded *dynamically*, each token by its own largest number, or *statically*, by
one range that an observer has found on calibration texts. Here integers are
multiplied by torch, which is exact and slow; processors with the instructions for it
do this faster than floats. Left out: fused kernels, and integers between layers.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from course_lib.quantization.integers import (
    code_range,
    min_max_range,
    percentile_range,
    quantize,
    scale_and_zero,
    symmetric_scale,
)
from course_lib.quantization.linear import linears, replaced, watching

UINT8 = code_range(8, signed=False)

# ---- products of codes


def quantize_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each token by its own largest number: codes of 8 bits, and one scale a token.

    x (..., in). Returns int8 codes (..., in) and scales (..., 1).

    >>> quantize_tokens(torch.tensor([[127.0, -1.0], [0.0, 1.27]]))[0]
    tensor([[127,  -1],
            [  0, 127]], dtype=torch.int8)
    """
    scale = symmetric_scale(x, dim=-1)
    return quantize(x, scale), scale


def integer_product(codes: Tensor, weight_codes: Tensor) -> Tensor:
    """Codes (..., in) times codes (out, in): (..., out), int32, exact.

    With 8 bits each a sum of 66,000 products still fits into 32 bits (64 for codes
    without a sign).

    >>> weights = torch.tensor([[100, 100], [100, 0]])
    >>> integer_product(torch.tensor([[100, -100]]), weights)
    tensor([[    0, 10000]], dtype=torch.int32)
    """
    return codes.int() @ weight_codes.int().T


def int8_linear(
    codes: Tensor,
    scale: Tensor,
    zero: Tensor | int,
    weight_codes: Tensor,
    weight_scale: Tensor,
) -> Tensor:
    r"""What a linear layer says, from codes: $s_x s_w (q_x q_w^\top - z \sum q_w)$.

    codes (..., in) with scale (..., 1) or () and zero point; weight_codes (out, in),
    symmetric, with weight_scale (out,). Returns (..., out), float.

    How: a zero point is the same for all inputs, so what it adds is the zero point
    times the sum of each row of weight codes: subtract that from the product, then
    multiply by both scales.

    >>> one = torch.tensor([1.0])
    >>> int8_linear(torch.tensor([[7, 3]]), one, 5, torch.tensor([[10, 1]]), one)
    tensor([[18.]])
    """
    sums = weight_codes.sum(dim=1, dtype=torch.int32)  # (out,)
    return (integer_product(codes, weight_codes) - zero * sums) * scale * weight_scale


# ---- ranges found beforehand


class Observer:
    """Looks at what flows and remembers its range: calibration.

    share: None for the smallest and largest number ever seen; else the range that
    holds this share of a batch's numbers, averaged over batches, so that an outlier
    is clipped and all others get finer steps.
    """

    def __init__(self, share: float | None = None):
        self.share, self.seen = share, 0
        self.low = self.high = None

    def see(self, x: Tensor) -> None:
        """Take one more batch into account, of any shape."""
        find = percentile_range if self.share else min_max_range
        low, high = find(x.detach().flatten(), self.share) if self.share else find(x)
        if self.seen == 0:
            self.low, self.high = low, high
        elif self.share:
            self.low = (self.low * self.seen + low) / (self.seen + 1)
            self.high = (self.high * self.seen + high) / (self.seen + 1)
        else:
            self.low = torch.minimum(self.low, low)
            self.high = torch.maximum(self.high, high)
        self.seen += 1

    def scale_and_zero(self) -> tuple[Tensor, Tensor]:
        """The affine codes of 8 bits for what was seen."""
        if not self.seen:
            raise ValueError("This observer has seen nothing: run the model first.")
        return scale_and_zero(self.low, self.high)


@torch.no_grad()
def observed(
    model: nn.Module,
    run: Callable[[nn.Module], object],
    share: float | None = None,
) -> dict[str, Observer]:
    """The range of every linear layer's input while `run(model)` goes on."""
    observers = {name: Observer(share) for name in linears(model)}
    with watching(model, lambda name, x: observers[name].see(x)):
        run(model)
    return observers


# ---- layers


class Int8Linear(nn.Module):
    """A linear layer that multiplies codes of 8 bits by codes of 8 bits."""

    def __init__(self, linear: nn.Linear, observer: Observer | None = None):
        """observer: the range of its inputs; without one each token has its own."""
        super().__init__()
        weight = linear.weight.detach()
        scale = symmetric_scale(weight, dim=1)
        self.register_buffer("codes", quantize(weight, scale))
        self.register_buffer("scale", scale[:, 0])
        self.bias = linear.bias
        fixed = (None, None) if observer is None else observer.scale_and_zero()
        self.register_buffer("input_scale", fixed[0])
        self.register_buffer("input_zero", fixed[1])
        self.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) to (..., out)."""
        if self.input_scale is None:
            codes, scale, zero = *quantize_tokens(x), 0
        else:
            scale, zero = self.input_scale, self.input_zero.int()
            codes = quantize(x, scale, zero, UINT8)
        said = int8_linear(codes, scale, zero, self.codes, self.scale)
        return said if self.bias is None else said + self.bias


def int8_model(
    model: nn.Module, observers: Mapping[str, Observer] | None = None
) -> nn.Module:
    """A copy whose layers multiply integers: dynamic, or static with observers."""
    layers = {
        name: Int8Linear(layer, observers[name] if observers else None)
        for name, layer in linears(model).items()
    }
    return replaced(model, layers)
