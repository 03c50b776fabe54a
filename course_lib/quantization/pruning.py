r"""Pruning: set small weights to zero, and keep them there.

*Magnitude* pruning zeroes the smallest weights (Han et al. 2015). A zero is stored
and multiplied like any other number, so neither the file nor the time shrinks, and
the next step of training fills it again unless a mask is kept. *2:4* keeps two of
every four neighbours, which some hardware can use (Mishra et al. 2021). Taking whole
parts away, which saves everywhere, is in `structured`. Left out: schedules, and
second-order criteria.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from course_lib.quantization.integers import check_finite
from course_lib.quantization.linear import linears, replaced

# ---- which weights stay


def magnitude_mask(weights: Tensor, share: float) -> Tensor:
    """True for the weights that stay: all but this share of the smallest.

    share: from 0 to 1, of the weights that go; their number is rounded down. Of
    equal weights the first ones go. Returns the shape of weights.

    How: sort the sizes and take the places of those that go; a threshold alone would
    take all equal ones together.

    >>> magnitude_mask(torch.tensor([[0.1, -3.0], [2.0, -0.2]]), share=0.5)
    tensor([[False,  True],
            [ True, False]])
    """
    check_finite(weights)
    assert 0 <= share <= 1, f"a share of the weights: {share=}"
    order = weights.detach().abs().flatten().argsort(stable=True)
    mask = torch.ones(weights.numel(), dtype=torch.bool, device=weights.device)
    mask[order[: int(share * weights.numel() + 1e-6)]] = False
    return mask.view(weights.shape)


def two_of_four_mask(weights: Tensor) -> Tensor:
    """True for the two largest of every four neighbours in a row.

    weights (out, in); 4 divides in. Returns (out, in).

    How: groups of four in a dimension of their own, the places of the two largest.

    >>> two_of_four_mask(torch.tensor([[1.0, -5.0, 0.0, 2.0]]))
    tensor([[False,  True, False,  True]])
    """
    check_finite(weights)
    if weights.shape[-1] % 4:
        raise ValueError(
            f"Rows of {weights.shape[-1]} weights do not split into fours."
        )
    fours = weights.detach().abs().unflatten(-1, (-1, 4))
    kept = fours.topk(2, dim=-1).indices
    mask = torch.zeros_like(fours, dtype=torch.bool)
    return mask.scatter(-1, kept, torch.ones_like(kept, dtype=torch.bool)).flatten(-2)


class MaskedLinear(nn.Linear):
    """A linear layer with weights that are zero and stay zero while it learns."""

    @classmethod
    def of(cls, layer: nn.Linear, mask: Tensor) -> "MaskedLinear":
        """A copy of a layer with what the mask (out, in) keeps."""
        bias = layer.bias is not None
        copy = cls(layer.in_features, layer.out_features, bias, layer.weight.device)
        copy.load_state_dict(layer.state_dict())
        copy.register_buffer("mask", mask)
        return copy.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) to (..., out); a masked weight gets no gradient either."""
        return linear(x, self.weight * self.mask, self.bias)

    def plain(self) -> nn.Linear:
        """An ordinary layer with the zeros written out."""
        bias = self.bias is not None
        layer = nn.Linear(self.in_features, self.out_features, bias)
        layer.weight = nn.Parameter((self.weight * self.mask).detach())
        if bias:
            layer.bias = nn.Parameter(self.bias.detach().clone())
        return layer.train(self.training)


def pruned(model: nn.Module, find_mask: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy in which every linear layer keeps what `find_mask(weights)` keeps.

    The masks stay with the layers, so the copy can be trained on. A matrix that the
    embedding owns is no linear layer's and is left alone.
    """
    layers = {
        name: MaskedLinear.of(layer, find_mask(layer.weight))
        for name, layer in linears(model).items()
    }
    if not layers:
        raise ValueError("Nothing was pruned: the model has no nn.Linear.")
    return replaced(model, layers)


def written_out(model: nn.Module) -> nn.Module:
    """A copy with ordinary layers again, their zeros among the other numbers."""
    found = model.named_modules()
    layers = {n: m.plain() for n, m in found if isinstance(m, MaskedLinear)}
    return replaced(model, layers)


def zero_share(model: nn.Module) -> float:
    """The share of zeros among the weights that linear layers multiply with."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    used = [m.weight * getattr(m, "mask", 1) for m in layers]
    return sum(int((w == 0).sum()) for w in used) / sum(w.numel() for w in used)


# ---- what zeros cost


def sparse_bytes(weights: int, kept: int, rows: int, value: int = 4) -> int:
    """A matrix as a list: each kept number with its column, and where rows begin.

    weights: how many there are, for comparison with weights x value; kept: how many
    are not zero; value: bytes of a number. Columns and starts have 4 bytes each.

    >>> sparse_bytes(weights=1_000_000, kept=800_000, rows=1_000) / 4_000_000
    1.601001
    """
    assert 0 <= kept <= weights, f"{kept=} of {weights=}"
    return kept * (value + 4) + (rows + 1) * 4


def two_of_four_bytes(weights: int, value: int = 2) -> float:
    """2:4: half of the numbers, and two bits each for their places in the four.

    >>> two_of_four_bytes(1_000_000) / 2_000_000
    0.5625
    """
    return weights / 2 * (value + 2 / 8)
