r"""Move the difficulty: scale channels so that what is rounded is easy to round.

A channel can be divided by s where it is written and multiplied by s where it is
read, and nothing changes: $(X \operatorname{diag}(s)^{-1})(\operatorname{diag}(s)
W^\top) = XW^\top$. SmoothQuant takes outliers out of the activations and puts them
into the weights, where they are one column of many (Xiao et al. 2023, eq. 4). AWQ
makes weights that meet strong inputs larger, so that they are rounded relatively
less, and searches how much (Lin et al. 2024, eq. 4 and 5). LLM.int8() keeps the few
outlier channels in float (Dettmers et al. 2022). Only layers that read a norm, or
one another, can trade scales. Left out: AWQ's search for clipping.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from course_lib.quantization.activations import int8_linear, quantize_tokens
from course_lib.quantization.integers import (
    check_finite,
    quantize,
    symmetric_scale,
)
from course_lib.quantization.linear import Store, replaced, watching
from course_lib.transformer import Transformer

Run = Callable[[nn.Module], object]  # puts texts through the model
STEPS = 20  # strengths that AWQ tries, from 0 to 1
FLOOR = 1e-4  # of the strongest channel, so that no unused one is divided by 0

# ---- how much


def smoothing_factors(
    inputs_largest: Tensor, weights_largest: Tensor, strength: float = 0.5
) -> Tensor:
    r"""How much of a channel's size the weights take: $s = a^\alpha / w^{1-\alpha}$.

    inputs_largest a, weights_largest w (in,): the largest absolute value of a
    channel among inputs, and in the columns that read it. strength $\alpha$: 0 makes
    all columns of the weights even, 1 all channels of the inputs; with 1/2 both have
    the same largest values afterwards. Returns (in,), to divide inputs and multiply
    weights by.

    How: two powers and a quotient; both are held above a small floor first.

    >>> smoothing_factors(torch.tensor([16.0, 1.0]), torch.tensor([1.0, 1.0]))
    tensor([4., 1.])
    """
    a = inputs_largest.clamp(min=FLOOR * inputs_largest.max())
    w = weights_largest.clamp(min=FLOOR * weights_largest.max())
    return a**strength / w ** (1 - strength)


def awq_scale_search(
    weights: Tensor, inputs: Tensor, quantize_weight: Store, steps: int = STEPS
) -> tuple[Tensor, float]:
    r"""The channel scales with which the rounded layer says most nearly the same.

    weights (out, in); inputs (N, in): what the layer reads; quantize_weight: a matrix
    to its storage, which called gives the rounded matrix. Scales are $\bar a^\alpha$,
    $\bar a$ the mean size of a channel, brought to a middle of 1. Returns the best
    scales (in,) and their strength $\alpha$, one of 0, 1/steps, ... below 1. Strength
    0 is plain rounding, so the result is never worse on these inputs.

    How: for each strength multiply the columns, round, divide again, and compare
    what comes out; a scale's middle is $\sqrt{s_\max s_\min}$.
    """
    check_finite(inputs)
    size = inputs.abs().mean(dim=0)
    size, wanted = size.clamp(min=FLOOR * size.max()), inputs @ weights.T
    least, best = torch.inf, None
    for strength in (step / steps for step in range(steps)):
        scales = size**strength
        scales = scales / (scales.max() * scales.min()).sqrt()
        rounded = quantize_weight(weights * scales)() / scales
        loss = (inputs @ rounded.T - wanted).square().mean().item()
        if loss < least:
            least, best = loss, (scales, strength)
    return best


# ---- who can trade


def trades(model: Transformer) -> Iterator[tuple[str, list[str]]]:
    """Who writes channels and who alone reads them, by name, block after block.

    A norm and the layers behind it; `up` and `down` of a SwiGLU, between which the
    other factor is only multiplied; `value` and `output` if every head has values of
    its own.
    """
    if not isinstance(model, Transformer):
        raise ValueError(
            f"Scales are traded in our Transformer, not in a {type(model).__name__}: "
            "there it is known who reads what."
        )
    for i, block in enumerate(model.blocks):
        here, gated = f"blocks.{i}", hasattr(block.mlp, "gate")
        attention, mlp = f"{here}.attention", f"{here}.mlp"
        readers = [f"{attention}.{name}" for name in ("query", "key", "value")]
        yield f"{here}.attention_norm", readers
        yield f"{here}.mlp_norm", [f"{mlp}.gate"] * gated + [f"{mlp}.up"]
        if gated:
            yield f"{mlp}.up", [f"{mlp}.down"]
        if model.config.heads == model.config.kv_heads:
            yield f"{attention}.value", [f"{attention}.output"]


@torch.no_grad()
def trade(writer: nn.Module, readers: list[nn.Linear], factors: Tensor) -> None:
    """Divide channels where they are written, multiply where they are read.

    In place. writer: a norm, or a linear layer; factors (channels,). What the
    readers say stays the same up to rounding.
    """
    assert (factors > 0).all(), f"factors are positive: {factors.min()=}"
    rows = factors if writer.weight.dim() == 1 else factors[:, None]
    writer.weight /= rows
    if getattr(writer, "bias", None) is not None:
        writer.bias /= factors
    for reader in readers:
        reader.weight *= factors


@torch.no_grad()
def read_inputs(model: nn.Module, run: Run, names: list[str]) -> dict[str, Tensor]:
    """All that these layers read while `run(model)` goes on: (N, in) each."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}
    with watching(model, lambda name, x: seen[name].append(x), names):
        run(model)
    return {name: torch.cat(parts) for name, parts in seen.items()}


def traded(
    model: Transformer, run: Run, find: Callable[[Tensor, Tensor], Tensor]
) -> Transformer:
    """A copy that says the same, with the factors of `find(inputs, weights)`.

    inputs (N, in); weights: the readers' matrices above one another, (all out, in).
    """
    pairs = list(trades(model))
    inputs = read_inputs(model, run, [readers[0] for _, readers in pairs])
    copy = replaced(model, {})
    for writer, names in pairs:
        readers = [copy.get_submodule(name) for name in names]
        weights = torch.cat([reader.weight.detach() for reader in readers])
        original = inputs[
            names[0]
        ]  # as the model reads it; the trade behind undoes itself
        trade(copy.get_submodule(writer), readers, find(original, weights))
    return copy


def smoothed(model: Transformer, run: Run, strength: float = 0.5) -> Transformer:
    """SmoothQuant: a float copy whose activations are easy to round."""

    def find(inputs: Tensor, weights: Tensor) -> Tensor:
        a, w = inputs.abs().amax(dim=0), weights.abs().amax(dim=0)
        return smoothing_factors(a, w, strength)

    return traded(model, run, find)


def awq(model: Transformer, run: Run, quantize_weight: Store) -> Transformer:
    """AWQ: a float copy, to be given to `quantized(_, quantize_weight)`."""

    def find(inputs: Tensor, weights: Tensor) -> Tensor:
        return awq_scale_search(weights, inputs, quantize_weight)[0]

    return traded(model, run, find)


def planted(model: Transformer, channel: int = 0, factor: float = 100.0) -> Transformer:
    """A copy that says the same, with an outlier channel as large models have them.

    Behind every norm one channel is `factor` times as large, and its weights are as
    much smaller.
    """
    copy = replaced(model, {})
    for writer, names in trades(copy):
        if writer.endswith("norm"):
            factors = torch.ones(copy.config.width, device=copy.embed.weight.device)
            factors[channel] = 1 / factor
            readers = [copy.get_submodule(name) for name in names]
            trade(copy.get_submodule(writer), readers, factors)
    return copy


# ---- keep the outliers in float


def outlier_channels(inputs: Tensor, threshold: float = 6.0) -> Tensor:
    """True for a channel in which any token exceeds the threshold: (N, in) to (in,).

    >>> outlier_channels(torch.tensor([[1.0, -7.0], [2.0, 0.0]]))
    tensor([False,  True])
    """
    return (inputs.abs() > threshold).any(dim=0)


def mixed_linear(inputs: Tensor, weights: Tensor, threshold: float = 6.0) -> Tensor:
    """LLM.int8(): outlier channels multiplied as floats, all others as integers.

    inputs (N, in), weights (out, in). Returns (N, out): the sum of both products.

    How: split columns of both by `outlier_channels`; tokens and rows of weights each
    get a scale for what is left.
    """
    wide = outlier_channels(inputs, threshold)
    kept = inputs[:, wide] @ weights[:, wide].T
    if wide.all():
        return kept
    narrow, rows = inputs[:, ~wide], weights[:, ~wide]
    scale = symmetric_scale(rows, dim=1)
    codes = quantize(rows, scale)
    return kept + int8_linear(*quantize_tokens(narrow), 0, codes, scale[:, 0])
