r"""Quantization-aware training: learn with the numbers one will have.

Rounding has the slope 0 almost everywhere, so nothing would be learned through it.
The *straight-through* estimator rounds on the way forward and pretends on the way
back that it did not (Bengio et al. 2013, section 4; Jacob et al. 2018, section 3). A
float weight collects small steps behind every rounded one, until it crosses to the
next code. Scales follow the weights at every step. Left out: learned scales.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from course_lib.quantization.groups import Group, in_groups, stored_scale
from course_lib.quantization.integers import (
    INT8,
    best_scale,
    code_range,
    symmetric_scale,
)
from course_lib.quantization.linear import linears, replaced


def fake_quantize(
    values: Tensor,
    scale: Tensor,
    zero: Tensor | int = 0,
    limits: tuple[int, int] = INT8,
) -> Tensor:
    r"""Round to what codes stand for, with the gradient of not rounding.

    As `dequantize(quantize(...))`; scale and zero broadcast. The gradient by values
    is 1 where the code lies within the limits, and 0 where it was clipped: a step
    there would change nothing.

    How: codes without their limits tell who is clipped; add to the rounded numbers,
    cut off from the graph, the values minus themselves cut off, where not clipped.

    >>> x = torch.tensor([0.3, 9.0], requires_grad=True)
    >>> rounded = fake_quantize(x, torch.tensor(0.5), limits=(-2, 1))
    >>> rounded.detach(), torch.autograd.grad(rounded.sum(), x)[0]
    (tensor([0.5000, 0.5000]), tensor([1., 0.]))
    """
    codes = (values / scale).round().detach() + zero
    held = codes.clamp(*limits)
    rounded = (held - zero) * scale
    return rounded + (values - values.detach()) * (codes == held)


class FakeQuantLinear(nn.Linear):
    """A linear layer that reads with rounded weights and learns with float ones."""

    @classmethod
    def of(
        cls,
        layer: nn.Linear,
        bits: int = 4,
        group: Group = 32,
        full: bool = False,
        clip: bool = False,
    ) -> "FakeQuantLinear":
        """A copy of a layer; settings as in `round_to_nearest`."""
        bias = layer.bias is not None
        copy = cls(layer.in_features, layer.out_features, bias, layer.weight.device)
        copy.load_state_dict(layer.state_dict())
        copy.bits, copy.group, copy.full, copy.clip = bits, group, full, clip
        return copy.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) to (..., out), as the layer will say it once quantized."""
        parts = in_groups(self.weight, self.group)
        find = best_scale if self.clip else symmetric_scale
        with torch.no_grad():
            scale = find(parts, self.bits, 2, self.full)
            scale = stored_scale(scale).float()
        limits = code_range(self.bits, full=self.full)
        rounded = fake_quantize(parts, scale, limits=limits)
        return linear(x, rounded.view_as(self.weight), self.bias)


def prepared(
    model: nn.Module,
    bits: int = 4,
    group: Group = 32,
    full: bool = False,
    clip: bool = False,
) -> nn.Module:
    """A copy to be trained: every linear layer reads with rounded weights."""
    layers = {
        name: FakeQuantLinear.of(layer, bits, group, full, clip)
        for name, layer in linears(model).items()
    }
    return replaced(model, layers)


def finished(model: nn.Module) -> nn.Module:
    """A copy with plain layers and the float weights that were learned.

    `quantized` with `round_to_nearest` of the same settings says what the model said
    while it was trained.
    """
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, FakeQuantLinear):
            bias = module.bias is not None
            plain = nn.Linear(module.in_features, module.out_features, bias)
            plain = plain.to(module.weight.device)
            plain.load_state_dict(module.state_dict())
            layers[name] = plain.train(module.training)
    return replaced(model, layers)
