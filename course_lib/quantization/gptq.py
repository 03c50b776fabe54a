r"""GPTQ: round a matrix column by column, and let later columns make up for it.

What counts is not the weights but what the layer says, so the error to be small is
$\lVert XW^\top - X\hat W^\top \rVert^2$ over inputs X from real text. After a column
is rounded, the best change of those that are still free has a closed form; its
numbers stand in a row of one triangular matrix, the same for all rows of W (Frantar
et al. 2023, eq. 2 and section 3). Scales come from the weights as they were, as in
gptqmodel's static groups. Left out: lazy batches of columns, which only save time.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from course_lib.lora.layers import put
from course_lib.quantization.groups import (
    Group,
    IntegerWeight,
    in_groups,
    stored_scale,
)
from course_lib.quantization.integers import (
    best_scale,
    check_finite,
    code_range,
    dequantize,
    quantize,
    symmetric_scale,
)
from course_lib.quantization.linear import QuantizedLinear, linears, replaced, watching

Run = Callable[[nn.Module], object]  # puts texts through the model

# ---- what the inputs say


def input_products(inputs: Tensor) -> Tensor:
    r"""How strong each input is, and which go together: $H = \frac{2}{N} X^\top X$.

    inputs (N, in). Returns (in, in), the second derivative of the mean squared error
    of any output by the weights that make it.

    >>> input_products(torch.tensor([[1.0, 0.0], [3.0, 1.0]]))
    tensor([[10.,  3.],
            [ 3.,  1.]])
    """
    assert inputs.dim() == 2, f"one row for each token: {inputs.shape=}"
    return 2 * inputs.T @ inputs / len(inputs)


def output_error(change: Tensor, products: Tensor) -> Tensor:
    r"""The mean squared change of the outputs, from the change of the matrix alone.

    change (out, in), products (in, in). $\frac12 \text{tr}(\Delta H \Delta^\top)$
    through the number of outputs.

    >>> products = torch.tensor([[10.0, 3.0], [3.0, 1.0]])
    >>> output_error(torch.tensor([[1.0, 0.0]]), products)
    tensor(5.)
    """
    return ((change @ products) * change).sum() / (2 * len(change))


def inverse_factor(products: Tensor, damp: float = 0.05) -> Tensor:
    r"""The upper triangle U with $U^\top U = H^{-1}$: who makes up for whom.

    damp: this share of the mean of H's diagonal is added to it, as if every input
    had some noise of its own; without, inputs that always go together have no
    inverse. Returns (in, in), float64.

    How: add to the diagonal, invert, and take Cholesky's upper factor.

    >>> inverse_factor(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), damp=0.0)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """
    check_finite(products)
    mean = products.diagonal().mean().double()
    if mean <= 0:
        raise ValueError("The layer has read nothing but zeros: no text to learn from.")
    noise = damp * mean * torch.eye(len(products), device=products.device)
    return torch.linalg.cholesky(
        torch.linalg.inv(products.double() + noise), upper=True
    )


# ---- column by column


def column_step(rest: Tensor, rounded: Tensor, row: Tensor) -> Tensor:
    r"""The other columns, corrected for what rounding the first one has done.

    rest (out, k): the columns that are not rounded yet; rounded (out,): what the
    first of them becomes; row (k,): the factor's row from its diagonal on. Returns
    (out, k - 1). Of all changes of those columns it leaves the smallest error.

    How: the first column's error through the diagonal, $e = (w - \hat w) / U_{jj}$;
    each later column loses e times its number in the row.

    >>> rest = torch.tensor([[0.4, 1.0, 1.0]])
    >>> column_step(rest, torch.tensor([0.0]), torch.tensor([2.0, -1.0, 0.0]))
    tensor([[1.2000, 1.0000]])
    """
    assert rest.shape[1] == len(row), f"one number each: {rest.shape=} {row.shape=}"
    error = (rest[:, 0] - rounded) / row[0]
    return rest[:, 1:] - error[:, None] * row[1:]


def gptq_codes(
    weights: Tensor, scales: Tensor, factor: Tensor, limits: tuple[int, int]
) -> Tensor:
    """Codes of all columns, one by one, each after what the others left to it.

    weights (out, in); scales (out, in): each weight's own. Returns (out, in), int8.

    How: round the first column that is left, step, and go on with what the step
    returns.
    """
    rest, codes = weights.to(factor.dtype), torch.empty_like(weights, dtype=torch.int8)
    for j in range(weights.shape[1]):
        codes[:, j] = quantize(rest[:, 0], scales[:, j], limits=limits)
        rounded = dequantize(codes[:, j], scales[:, j]).to(rest.dtype)
        rest = column_step(rest, rounded, factor[j, j:])
    return codes


def gptq(
    weights: Tensor,
    products: Tensor,
    bits: int = 4,
    group: Group = 32,
    damp: float = 0.05,
    full: bool = False,
    clip: bool = False,
    ordered: bool = False,
) -> IntegerWeight:
    """A matrix in the codes that change least what the layer says about its inputs.

    weights (out, in), products (in, in) of `input_products`. group, full and clip as
    in `round_to_nearest`, whose storage it shares. ordered: columns with the
    strongest inputs first, while most others can still make up for them.
    """
    check_finite(weights)
    parts = in_groups(weights.detach().float(), group)
    find = best_scale if clip else symmetric_scale
    scale = stored_scale(find(parts, bits, 2, full))
    each = scale.float().expand_as(parts).reshape(weights.shape)  # (out, in)
    order = torch.arange(weights.shape[1], device=weights.device)
    if ordered:
        order = products.diagonal().argsort(descending=True)
    factor = inverse_factor(products[order][:, order], damp)
    limits = code_range(bits, full=full)
    shuffled = gptq_codes(weights.detach()[:, order], each[:, order], factor, limits)
    codes = torch.empty_like(shuffled)
    codes[:, order] = shuffled
    return IntegerWeight(codes, scale.squeeze(2), None, bits, limits[0])


# ---- whole models


@torch.no_grad()
def all_products(
    model: nn.Module, run: Run, names: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """`input_products` of every linear layer over all that `run` puts through."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def see(name: str, x: Tensor) -> None:
        sums[name] = sums.get(name, 0) + x.T @ x
        counts[name] = counts.get(name, 0) + len(x)

    with watching(model, see, names):
        run(model)
    return {name: 2 * total / counts[name] for name, total in sums.items()}


def gptq_quantized(
    model: nn.Module,
    run: Run,
    quantize_weight: Callable[[Tensor, Tensor], nn.Module] = gptq,
    in_turn: bool = True,
) -> nn.Module:
    """A copy of the model with every linear layer rounded by GPTQ.

    run: calibration, `lambda model: model(ids)`. in_turn: each layer reads what the
    layers before it say after *they* were rounded, so it makes up for them as well;
    that is one run for each layer. Else one run, with the float model.
    """
    copy = replaced(model, {})
    seen = {} if in_turn else all_products(model, run)
    for name, layer in linears(model).items():
        products = seen.get(name)
        if products is None:
            products = all_products(copy, run, [name])[name]
        store = quantize_weight(layer.weight, products)
        put(copy, name, QuantizedLinear(store, layer.bias).train(layer.training))
    return copy
