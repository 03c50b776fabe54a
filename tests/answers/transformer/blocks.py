"""Answers to lesson 01, the pieces of a block: right ones of different shapes, and real mistakes.

Answers are classes. `_rms_norm`, `_swiglu` and `_block` put a forward into a fresh class with the
given `__init__`, so that an answer is as short as its mistake.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import silu

from course_lib import transformer as library_transformer
from tools.graders import Battery

battery = Battery()


# --- RMSNorm: right -----------------------------------------------------------------------------


def _rms_norm_init(self, config):
    nn.Module.__init__(self)
    self.weight = nn.Parameter(torch.ones(config.width))
    self.eps = config.norm_eps


def _rms_norm(forward: Callable) -> type:
    """A class with the given __init__ and this forward."""
    methods = {"__init__": _rms_norm_init, "forward": forward}
    return type(forward.__name__, (nn.Module,), methods)


def _mean_square(x):
    return x.pow(2).mean(-1, keepdim=True)


@battery.right("RMSNorm")
@_rms_norm
def as_in_llama(self, x):
    wide = x.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
    return self.weight * wide.to(x.dtype)


@battery.right("RMSNorm")
@_rms_norm
def norm_by_torch(self, x):
    wide, weight = x.float(), self.weight.float()
    return functional.rms_norm(wide, weight.shape, weight, self.eps).to(x.dtype)


@battery.right("RMSNorm")
@_rms_norm
def norm_by_torch_without_widening(self, x):  # torch widens on its own
    return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


@battery.right("RMSNorm")
@_rms_norm
def norm_in_double_and_back(self, x):
    wide = x.double()
    size = torch.sqrt((wide * wide).sum(dim=-1, keepdim=True) / x.shape[-1] + self.eps)
    return (wide / size * self.weight.double()).to(x.dtype)


@battery.right("RMSNorm")
@_rms_norm
def norm_by_einsum(self, x):
    wide = x.float()
    squares = torch.einsum("...d,...d->...", wide, wide) / x.shape[-1]
    return (wide / (squares + self.eps).sqrt()[..., None]).type_as(x) * self.weight


@battery.right("RMSNorm")
@_rms_norm
def norm_vector_by_vector(self, x):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        total = sum(number.double() ** 2 for number in row)
        rows.append(row.double() / (total / len(row) + self.eps) ** 0.5)
    return torch.stack(rows).reshape(x.shape).to(x.dtype) * self.weight


@battery.right("RMSNorm")
@_rms_norm
def norm_by_the_length(self, x):
    wide, D = x.float(), x.shape[-1]
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    wide = wide * (length**2 / D + self.eps) ** -0.5
    return (wide * self.weight).to(x.dtype)


@battery.right("RMSNorm")
@_rms_norm
def norm_on_a_copy_in_place(self, x):
    wide = x.clone().to(torch.promote_types(x.dtype, torch.float32))
    size = wide.square().mean(-1, keepdim=True).add_(self.eps).sqrt()
    return wide.div(size).to(x.dtype).mul(self.weight)


# --- RMSNorm: wrong -----------------------------------------------------------------------------


def _norm_says(says: str) -> Callable:
    """Registers a forward as a wrong RMSNorm."""

    def decorate(forward: Callable) -> type:
        return battery.wrong("RMSNorm", says=says)(_rms_norm(forward))

    return decorate


@_norm_says("outside the root")
def eps_outside_the_root(self, x):
    wide = x.float()
    return (wide / (_mean_square(wide).sqrt() + self.eps)).to(x.dtype) * self.weight


@_norm_says("outside the root|makes no difference")
def as_it_was_published(self, x):  # ERRATA E23
    rms = torch.sqrt(torch.mean(x**2, dim=-1, keepdim=True))
    return x / (rms + 1e-8) * self.weight


@_norm_says("outside the root")
def eps_after_the_inverse_root(self, x):
    wide = x.float()
    return (wide * (torch.rsqrt(_mean_square(wide)) + self.eps)).to(
        x.dtype
    ) * self.weight


@_norm_says("makes no difference")
def eps_forgotten(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide))).to(x.dtype) * self.weight


@_norm_says("constant was typed in")
def eps_typed_in(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide) + 1e-6)).to(x.dtype) * self.weight


@_norm_says("makes no difference")
def torchs_default_eps(self, x):
    return functional.rms_norm(x, self.weight.shape, self.weight)


@_norm_says("lower bound")
def eps_as_a_lower_bound(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide).clamp(min=self.eps))).to(
        x.dtype
    ) * self.weight


@_norm_says("another place")
def eps_added_to_the_sum(self, x):
    total = x.float().pow(2).sum(-1, keepdim=True)
    return (x.float() / ((total + self.eps) / x.shape[-1]).sqrt()).to(
        x.dtype
    ) * self.weight


@_norm_says("squared")
def eps_squared(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide) + self.eps**2)).to(
        x.dtype
    ) * self.weight


@_norm_says("twice")
def eps_twice(self, x):
    wide = x.float()
    size = (_mean_square(wide) + self.eps).sqrt() + self.eps
    return (wide / size).to(x.dtype) * self.weight


@_norm_says("another place")
def eps_added_to_the_numbers(self, x):
    wide = x.float() + self.eps
    return (wide / _mean_square(wide).sqrt()).to(x.dtype) * self.weight


@_norm_says("LayerNorm")
def layer_norm_by_torch(self, x):
    return functional.layer_norm(x, self.weight.shape, self.weight, eps=self.eps)


@_norm_says("LayerNorm")
def mean_subtracted(self, x):
    wide = x.float() - x.float().mean(-1, keepdim=True)
    return (wide * torch.rsqrt(_mean_square(wide) + self.eps)).to(x.dtype) * self.weight


@_norm_says("LayerNorm")
def mean_subtracted_from_the_numerator(self, x):
    wide = x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    return (centred * torch.rsqrt(_mean_square(wide) + self.eps)).to(
        x.dtype
    ) * self.weight


@_norm_says("spread")
def divided_by_the_standard_deviation(self, x):
    wide = x.float()
    return (wide / (wide.std(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


@_norm_says("spread")
def divided_by_the_root_of_the_variance(self, x):
    wide = x.float()
    variance = wide.var(-1, keepdim=True, unbiased=False)
    return (wide * torch.rsqrt(variance + self.eps)).to(x.dtype) * self.weight


@_norm_says("all numbers of the tensor")
def one_size_for_everything(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean() + self.eps)).to(x.dtype) * self.weight


@_norm_says("over time")
def normalised_over_time(self, x):
    wide = x.float()
    square = wide.pow(2).mean(1, keepdim=True)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("over time")
def one_size_for_each_text(self, x):
    wide = x.float()
    square = wide.pow(2).mean((1, 2), keepdim=True)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("over time")
def the_last_but_one_dimension(self, x):
    wide = x.float()
    square = wide.pow(2).mean(-2, keepdim=True)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("over the batch")
def normalised_over_the_batch(self, x):
    wide = x.float()
    square = wide.pow(2).mean(0, keepdim=True)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("added up")
def sum_for_mean(self, x):
    wide = x.float()
    total = wide.pow(2).sum(-1, keepdim=True)
    return (wide * torch.rsqrt(total + self.eps)).to(x.dtype) * self.weight


@_norm_says("length 1")
def normalised_to_length_one(self, x):
    return functional.normalize(x.float(), dim=-1).to(x.dtype) * self.weight


@_norm_says("wrong count")
def divided_by_one_less(self, x):
    wide = x.float()
    square = wide.pow(2).sum(-1, keepdim=True) / (x.shape[-1] - 1)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("outside the root")
def divided_by_the_width_outside(self, x):
    wide = x.float()
    size = (wide.pow(2).sum(-1, keepdim=True) + self.eps).sqrt() / x.shape[-1]
    return (wide / size).to(x.dtype) * self.weight


@_norm_says("root is missing")
def root_forgotten(self, x):
    wide = x.float()
    return (wide / (_mean_square(wide) + self.eps)).to(x.dtype) * self.weight


@_norm_says("root was taken twice")
def root_of_a_root(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide).sqrt() + self.eps)).to(
        x.dtype
    ) * self.weight


@_norm_says("multiplied by its size")
def multiplied(self, x):
    wide = x.float()
    return (wide * torch.sqrt(_mean_square(wide) + self.eps)).to(x.dtype) * self.weight


@_norm_says("squared")
def squares_divided(self, x):
    wide = x.float().pow(2)
    size = torch.sqrt(wide.mean(-1, keepdim=True) + self.eps)
    return (wide / size).to(x.dtype) * self.weight


@_norm_says("First the mean, then the square")
def square_of_the_mean(self, x):
    wide = x.float()
    square = wide.mean(-1, keepdim=True).pow(2)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("absolute values")
def mean_of_absolute_values(self, x):
    wide = x.float()
    size = wide.abs().mean(-1, keepdim=True) + self.eps
    return (wide / size).to(x.dtype) * self.weight


@_norm_says("the largest")
def divided_by_the_largest_number(self, x):
    wide = x.float()
    return (wide / (wide.abs().amax(-1, keepdim=True) + self.eps)).to(
        x.dtype
    ) * self.weight


@_norm_says("one number per vector")
def the_scale_only(self, x):
    return torch.rsqrt(_mean_square(x.float()) + self.eps).to(x.dtype)


@_norm_says("sizes of the vectors")
def the_scale_times_the_weight(self, x):
    return torch.rsqrt(_mean_square(x.float()) + self.eps).to(x.dtype) * self.weight


@_norm_says("weight is missing")
def weight_forgotten(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide) + self.eps)).to(x.dtype)


def _unweighted(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(_mean_square(wide) + self.eps)).to(x.dtype)


@_norm_says("weight is added")
def weight_added(self, x):
    return _unweighted(self, x) + self.weight


@_norm_says("1 was added")
def one_plus_the_weight(self, x):
    return _unweighted(self, x) * (1 + self.weight)


@_norm_says("divided by the weight")
def divided_by_the_weight(self, x):
    return _unweighted(self, x) / self.weight


@_norm_says("before the size is measured")
def weighed_before(self, x):
    return _unweighted(self, x * self.weight)


@_norm_says("went in twice")
def weighed_twice(self, x):
    return _unweighted(self, x) * self.weight * self.weight


@_norm_says("first weight")
def one_weight_for_all(self, x):
    return _unweighted(self, x) * self.weight[0]


@_norm_says("Each vector became one number")
def weighed_by_matrix_product(self, x):
    return _unweighted(self, x) @ self.weight


@_norm_says("added to the result")
def with_the_stream_added(self, x):
    return x + _unweighted(self, x) * self.weight


@_norm_says("softmax")
def softmax_of_the_vector(self, x):
    return x.softmax(-1) * self.weight


@_norm_says("not normalised")
def weighed_only(self, x):
    return x * self.weight


@_norm_says("[Oo]verflow")
def in_the_type_that_came(self, x):
    return x * torch.rsqrt(_mean_square(x) + self.eps) * self.weight


@_norm_says("[Oo]verflow")
def squared_before_it_is_widened(self, x):
    square = x.pow(2).float().mean(-1, keepdim=True)
    return (x.float() * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("[Oo]verflow")
def mean_square_narrowed_again(self, x):
    square = _mean_square(x.float()).to(x.dtype)
    return x * torch.rsqrt(square + self.eps) * self.weight


@_norm_says("off in the last digit")
def scale_narrowed_again(self, x):
    scale = torch.rsqrt(_mean_square(x.float()) + self.eps)
    return x * scale.to(x.dtype) * self.weight


@_norm_says("off in the last digit")
def widened_to_bfloat16(self, x):
    wide = x.to(torch.bfloat16) if x.dtype == torch.float16 else x
    scale = torch.rsqrt(_mean_square(wide) + self.eps)
    return (wide * scale).to(x.dtype) * self.weight


@_norm_says("return the type of x")
def returned_in_float32(self, x):
    wide = x.float()
    return wide * torch.rsqrt(_mean_square(wide) + self.eps) * self.weight.float()


@_norm_says("return the type of x")
def way_back_forgotten(self, x):
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide * torch.rsqrt(_mean_square(wide) + self.eps) * self.weight


@_norm_says("return the type of x")
def always_half(self, x):
    if x.dtype == torch.float32:
        return _unweighted(self, x) * self.weight
    return (_unweighted(self, x) * self.weight).half()


@_norm_says("keepdim")
def norm_keepdim_forgotten(self, x):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1) + self.eps)).to(
        x.dtype
    ) * self.weight


@_norm_says("Only the last dimension")
def batch_and_time_unpacked(self, x):
    B, T, D = x.shape
    return (_unweighted(self, x.reshape(B * T, D)) * self.weight).view(B, T, D)


@_norm_says("Only the last dimension")
def dimension_two_fixed(self, x):
    wide = x.float()
    square = wide.pow(2).mean(2, keepdim=True)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("changed its own input")
def input_divided_in_place(self, x):
    x /= torch.sqrt(_mean_square(x) + self.eps)
    return x * self.weight


@_norm_says("returned None")
def norm_without_return(self, x):
    _unweighted(self, x) * self.weight


@_norm_says("gradient is not")
def size_detached(self, x):
    wide = x.float()
    scale = torch.rsqrt(_mean_square(wide.detach()) + self.eps)
    return (wide * scale).to(x.dtype) * self.weight


@_norm_says("no gradient")
def norm_without_gradient(self, x):
    with torch.no_grad():
        return _unweighted(self, x) * self.weight


@_norm_says("weight gets no gradient")
def data_of_the_weight(self, x):
    return _unweighted(self, x) * self.weight.data


@_norm_says("threshold|come out wrong")
def small_sizes_clamped(self, x):
    wide = x.float()
    size = torch.sqrt(_mean_square(wide) + self.eps).clamp(min=4e-3)
    return (wide / size).to(x.dtype) * self.weight


@_norm_says("come out wrong")
def small_vectors_left_alone(self, x):
    wide, square = x.float(), _mean_square(x.float())
    normed = (wide * torch.rsqrt(square + self.eps)).to(x.dtype)
    return torch.where(square < 1e-7, x, normed) * self.weight


@_norm_says("infinite")
def root_before_eps(self, x):
    wide = x.float()
    rms = _mean_square(wide).sqrt()
    return (wide / torch.sqrt(rms**2 + self.eps)).to(x.dtype) * self.weight


@_norm_says("calls course_lib's own")
def the_librarys_forward(self, x):
    return library_transformer.RMSNorm.forward(self, x)


@_norm_says("round")
def norm_rounded(self, x):
    return (_unweighted(self, x) * self.weight).round(decimals=3)


@_norm_says("makes no difference")
def length_one_times_the_root_of_the_width(self, x):
    unit = functional.normalize(x.float(), dim=-1)
    return (unit * x.shape[-1] ** 0.5).to(x.dtype) * self.weight


@_norm_says("over the batch")
def as_in_a_batch_norm(self, x):
    wide = x.float()
    square = wide.pow(2).mean(tuple(range(x.dim() - 1)), keepdim=True)
    return (wide * torch.rsqrt(square + self.eps)).to(x.dtype) * self.weight


@_norm_says("one piece in memory")
def viewed_as_rows(self, x):
    rows = x.view(-1, x.shape[-1])
    return (_unweighted(self, rows) * self.weight).view(x.shape)


@_norm_says("no gradient")
def norm_by_numpy_numbers(self, x):
    rows = x.float().reshape(-1, x.shape[-1]).tolist()
    sizes = [sum(n * n for n in row) / len(row) + self.eps for row in rows]
    rows = [[n / s**0.5 for n in row] for row, s in zip(rows, sizes, strict=True)]
    return torch.tensor(rows).view(x.shape).to(x.dtype) * self.weight


@_norm_says("gradient is not")
def root_by_item(self, x):
    rows = x.float().reshape(-1, x.shape[-1])
    sizes = [(row.pow(2).mean() + self.eps).sqrt().item() for row in rows]
    result = torch.stack([r / s for r, s in zip(rows, sizes, strict=True)])
    return result.view(x.shape).to(x.dtype) * self.weight


@battery.wrong("RMSNorm", says="weight.*get lost")
class NormWithoutWeight(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.eps = config.norm_eps

    def forward(self, x):
        return _unweighted(self, x)


@battery.wrong("RMSNorm", says="not written yet")
@_rms_norm
def norm_not_written(self, x):
    raise NotImplementedError


@battery.wrong("RMSNorm", says="should be a class")
def a_function(x):
    return functional.rms_norm(x, x.shape[-1:])


# --- SwiGLU: right ------------------------------------------------------------------------------


def _swiglu_init(self, config):
    nn.Module.__init__(self)
    self.gate = nn.Linear(config.width, config.hidden, bias=config.bias)
    self.up = nn.Linear(config.width, config.hidden, bias=config.bias)
    self.down = nn.Linear(config.hidden, config.width, bias=config.bias)


def _swiglu(forward: Callable) -> type:
    """A class with the right three layers and this forward."""
    methods = {"__init__": _swiglu_init, "forward": forward}
    return type(forward.__name__, (nn.Module,), methods)


def _swiglu_forward(self, x):
    return self.down(silu(self.gate(x)) * self.up(x))


def _layers(init: Callable) -> type:
    """A class with the right forward; init(self, D, F, bias) makes the layers."""

    def whole(self, config):
        nn.Module.__init__(self)
        init(self, config.width, config.hidden, config.bias)

    methods = {"__init__": whole, "forward": _swiglu_forward}
    return type(init.__name__, (nn.Module,), methods)


@battery.right("SwiGLU")
@_swiglu
def with_a_plain_sigmoid(self, x):
    gate = self.gate(x)
    return self.down(self.up(x) * gate * torch.sigmoid(gate))


@battery.right("SwiGLU")
@_swiglu
def by_functional_linear(self, x):
    gate = functional.linear(x, self.gate.weight, self.gate.bias)
    up = functional.linear(x, self.up.weight, self.up.bias)
    return functional.linear(silu(gate) * up, self.down.weight, self.down.bias)


@battery.right("SwiGLU")
@_swiglu
def silu_written_out(self, x):
    gate = self.gate(x)
    return self.down(gate / (1 + torch.exp(-gate)) * self.up(x))


@battery.right("SwiGLU")
@_swiglu
def token_by_token(self, x):
    rows = [self.down(silu(self.gate(row)) * self.up(row)) for row in x.flatten(0, -2)]
    return torch.stack(rows).view(x.shape)


@battery.right("SwiGLU")
@_swiglu
def one_product_for_both(self, x):
    weight = torch.cat([self.gate.weight, self.up.weight])
    both = [self.gate.bias, self.up.bias]
    bias = None if both[0] is None else torch.cat(both)
    gate, up = functional.linear(x, weight, bias).chunk(2, dim=-1)
    return self.down(functional.silu(gate) * up)


@battery.right("SwiGLU")
@_layers
def layers_in_a_loop(self, D, F, bias):
    for name, ends in {"up": (D, F), "gate": (D, F), "down": (F, D)}.items():
        self.add_module(name, nn.Linear(*ends, bias=bias))


@battery.right("SwiGLU")
class SwiGLUWithSiLUModule(nn.Module):
    def __init__(self, config):
        super().__init__()
        make = nn.Linear
        self.config, self.activation = config, nn.SiLU()
        self.down = make(config.hidden, config.width, config.bias)
        self.up, self.gate = (
            make(config.width, config.hidden, config.bias) for _ in range(2)
        )

    def forward(self, x):
        hidden = self.activation(self.gate(x))
        hidden *= self.up(x)
        return self.down(hidden)


@battery.right("SwiGLU")
@_swiglu
def by_einsum(self, x):
    def layer(linear, x):
        y = torch.einsum("...i,oi->...o", x, linear.weight)
        return y if linear.bias is None else y + linear.bias

    return layer(self.down, silu(layer(self.gate, x)).mul(layer(self.up, x)))


# --- SwiGLU: wrong ------------------------------------------------------------------------------


def _mlp_says(says: str) -> Callable:
    """Registers a forward as a wrong SwiGLU."""

    def decorate(forward: Callable) -> type:
        return battery.wrong("SwiGLU", says=says)(_swiglu(forward))

    return decorate


def _layers_say(says: str) -> Callable:
    """Registers an __init__ as a wrong SwiGLU."""

    def decorate(init: Callable) -> type:
        return battery.wrong("SwiGLU", says=says)(_layers(init))

    return decorate


@battery.wrong("SwiGLU", says="once published")
class AsItWasPublished(nn.Module):  # ERRATA E24
    def __init__(self, config):
        super().__init__()
        self.linear = nn.Linear(config.width, 2 * config.width)

    def forward(self, x):
        x, gate = self.linear(x).chunk(2, dim=-1)
        return silu(x) * gate


@battery.wrong("SwiGLU", says="once published")
class OneLayerCalledGate(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, x):
        return silu(self.gate(x)) * x


@battery.wrong("SwiGLU", says="no layer called down")
class WithoutDown(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.width, config.width, bias=config.bias)
        self.up = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, x):
        return silu(self.gate(x)) * self.up(x)


@battery.wrong("SwiGLU", says="Names matter")
class LlamasOwnNames(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1 = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.w3 = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.w2 = nn.Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x):
        return self.w2(silu(self.w1(x)) * self.w3(x))


@battery.wrong("SwiGLU", says="gate_proj.*loaded by name")
class HuggingFacesNames(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.up_proj = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.down_proj = nn.Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x):
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


@battery.wrong("SwiGLU", says="Names matter")
class FusedGateAndUp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=config.bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(silu(gate) * up)


@battery.wrong("SwiGLU", says="plain list")
class LayersInAList(nn.Module):
    def __init__(self, config):
        super().__init__()
        D, F = config.width, config.hidden
        self.layers = [
            nn.Linear(*ends, bias=False) for ends in ((D, F), (D, F), (F, D))
        ]

    def forward(self, x):
        gate, up, down = self.layers
        return down(silu(gate(x)) * up(x))


@battery.wrong("SwiGLU", says="Names matter")
class LayersInAModuleDict(nn.Module):
    def __init__(self, config):
        super().__init__()
        D, F = config.width, config.hidden
        ends = {"gate": (D, F), "up": (D, F), "down": (F, D)}
        layers = {name: nn.Linear(*e, bias=config.bias) for name, e in ends.items()}
        self.layers = nn.ModuleDict(layers)

    def forward(self, x):
        part = self.layers
        return part["down"](silu(part["gate"](x)) * part["up"](x))


@battery.wrong("SwiGLU", says="forward makes")
class LayersMadeInForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, x):
        D, F = self.config.width, self.config.hidden
        gate, up, down = nn.Linear(D, F), nn.Linear(D, F), nn.Linear(F, D)
        return down(silu(gate(x)) * up(x))


@battery.wrong("SwiGLU", says="gate is a Parameter")
class ParametersForLayers(nn.Module):
    def __init__(self, config):
        super().__init__()
        D, F = config.width, config.hidden
        self.gate = nn.Parameter(torch.randn(F, D))
        self.up = nn.Parameter(torch.randn(F, D))
        self.down = nn.Parameter(torch.randn(D, F))

    def forward(self, x):
        return (silu(x @ self.gate.T) * (x @ self.up.T)) @ self.down.T


@battery.wrong("SwiGLU", says="gate is a Sequential")
class GateAsASequential(nn.Module):
    def __init__(self, config):
        super().__init__()
        D, F = config.width, config.hidden
        self.gate = nn.Sequential(nn.Linear(D, F, bias=config.bias), nn.SiLU())
        self.up = nn.Linear(D, F, bias=config.bias)
        self.down = nn.Linear(F, D, bias=config.bias)

    def forward(self, x):
        return self.down(self.gate(x) * self.up(x))


@battery.wrong("SwiGLU", says="before Module.__init__")
class SuperForgotten(nn.Module):
    def __init__(self, config):
        self.gate = nn.Linear(config.width, config.hidden, bias=config.bias)

    forward = _swiglu_forward


@battery.wrong("SwiGLU", says="not written yet")
class NotWritten(nn.Module):
    def __init__(self, config):
        super().__init__()
        raise NotImplementedError

    def forward(self, x):
        raise NotImplementedError


@battery.wrong("SwiGLU", says="There is no linear layer")
class SwiGLUWithAnEmptyInit(nn.Module):
    def __init__(self, config):
        super().__init__()

    def forward(self, x):
        return x


@battery.wrong("SwiGLU", says="calls course_lib's own")
class TheLibrarysInit(nn.Module):
    def __init__(self, config):
        nn.Module.__init__(self)
        mlp = library_transformer.SwiGLU(config)
        self.gate, self.up, self.down = mlp.gate, mlp.up, mlp.down

    forward = _swiglu_forward


@battery.wrong("SwiGLU", says="course_lib's own")
class ASubclass(library_transformer.SwiGLU):
    pass


@battery.wrong("SwiGLU", says="course_lib's own")
class ASubclassWithItsOwnForward(library_transformer.SwiGLU):
    def forward(self, x):
        return self.down(silu(self.gate(x)) * self.up(x))


@_mlp_says("calls course_lib's own")
def by_the_librarys_forward(self, x):
    return library_transformer.SwiGLU.forward(self, x)


@_layers_say("follow config.bias")
def biases_by_default(self, D, F, bias):
    self.gate, self.up = nn.Linear(D, F), nn.Linear(D, F)
    self.down = nn.Linear(F, D)


@_layers_say("follow config.bias")
def never_a_bias(self, D, F, bias):
    self.gate, self.up = nn.Linear(D, F, bias=False), nn.Linear(D, F, bias=False)
    self.down = nn.Linear(F, D, bias=False)


@_layers_say("down has a bias.*follow config.bias")
def a_bias_in_down(self, D, F, bias):
    self.gate, self.up = nn.Linear(D, F, bias=bias), nn.Linear(D, F, bias=bias)
    self.down = nn.Linear(F, D)


@_layers_say("gate has no bias")
def no_bias_for_the_gate(self, D, F, bias):
    self.gate, self.up = nn.Linear(D, F, bias=False), nn.Linear(D, F, bias=bias)
    self.down = nn.Linear(F, D, bias=bias)


@battery.wrong("SwiGLU", says="no other setting")
class BiasOfTheQueries(nn.Module):
    def __init__(self, config):
        super().__init__()
        D, F, bias = config.width, config.hidden, config.bias or config.qkv_bias
        self.gate, self.up = nn.Linear(D, F, bias=bias), nn.Linear(D, F, bias=bias)
        self.down = nn.Linear(F, D, bias=bias)

    forward = _swiglu_forward


@_layers_say("config.hidden")
def four_times_the_width(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, 4 * D, bias=bias) for _ in range(2))
    self.down = nn.Linear(4 * D, D, bias=bias)


@_layers_say("computed or typed in")
def hidden_width_typed_in(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, 256, bias=bias) for _ in range(2))
    self.down = nn.Linear(256, D, bias=bias)


@_layers_say("nothing is computed or")
def two_thirds_of_the_hidden_width(self, D, F, bias):
    F = 2 * F // 3
    self.gate, self.up = (nn.Linear(D, F, bias=bias) for _ in range(2))
    self.down = nn.Linear(F, D, bias=bias)


@_layers_say("a width of its own")
def no_hidden_width(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, D, bias=bias) for _ in range(2))
    self.down = nn.Linear(D, D, bias=bias)


@_layers_say("turned round")
def layers_turned_round(self, D, F, bias):
    self.gate, self.up = (nn.Linear(F, D, bias=bias) for _ in range(2))
    self.down = nn.Linear(D, F, bias=bias)


@_layers_say("down leads.*turned round")
def down_turned_round(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, F, bias=bias) for _ in range(2))
    self.down = nn.Linear(D, F, bias=bias)


@_layers_say("twice the width")
def a_gate_of_twice_the_width(self, D, F, bias):
    self.gate = nn.Linear(D, 2 * F, bias=bias)
    self.up = nn.Linear(D, F, bias=bias)
    self.down = nn.Linear(F, D, bias=bias)


@_layers_say("up leads")
def up_after_the_gate(self, D, F, bias):
    self.gate, self.up = nn.Linear(D, F, bias=bias), nn.Linear(F, F, bias=bias)
    self.down = nn.Linear(F, D, bias=bias)


@_layers_say("share their weights")
def one_layer_under_two_names(self, D, F, bias):
    self.gate = self.up = nn.Linear(D, F, bias=bias)
    self.down = nn.Linear(F, D, bias=bias)


@_layers_say("share their weights")
def weights_tied(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, F, bias=bias) for _ in range(2))
    self.up.weight = self.gate.weight
    self.down = nn.Linear(F, D, bias=bias)


@_layers_say("more weights")
def a_fourth_layer(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, F, bias=bias) for _ in range(2))
    self.down, self.output = nn.Linear(F, D, bias=bias), nn.Linear(D, D, bias=bias)


@_layers_say("more weights")
def a_norm_of_its_own(self, D, F, bias):
    self.gate, self.up = (nn.Linear(D, F, bias=bias) for _ in range(2))
    self.down, self.norm = nn.Linear(F, D, bias=bias), nn.LayerNorm(D)


_SHARED: dict[tuple, nn.Module] = {}


@_layers_say("Two MLPs")
def layers_kept_for_all(self, D, F, bias):
    key = (D, F, bias)
    if key not in _SHARED:
        _SHARED[key] = [
            nn.Linear(*ends, bias=bias) for ends in ((D, F), (D, F), (F, D))
        ]
    self.gate, self.up, self.down = _SHARED[key]


@_mlp_says("changed places")
def silu_on_up(self, x):
    return self.down(self.gate(x) * silu(self.up(x)))


@_mlp_says("both halves")
def silu_on_both(self, x):
    return self.down(silu(self.gate(x)) * silu(self.up(x)))


@_mlp_says("silu is missing")
def no_silu(self, x):
    return self.down(self.gate(x) * self.up(x))


@_mlp_says("too late")
def silu_of_the_product(self, x):
    return self.down(silu(self.gate(x) * self.up(x)))


@_mlp_says("too late")
def silu_at_the_end(self, x):
    return silu(self.down(self.gate(x) * self.up(x)))


@_mlp_says("sigmoid")
def sigmoid_gate(self, x):
    return self.down(self.gate(x).sigmoid() * self.up(x))


@_mlp_says("gelu")
def gelu_gate(self, x):
    return self.down(functional.gelu(self.gate(x)) * self.up(x))


@_mlp_says("gelu")
def tanh_gelu_gate(self, x):
    return self.down(functional.gelu(self.gate(x), approximate="tanh") * self.up(x))


@_mlp_says("relu")
def relu_gate(self, x):
    return self.down(functional.relu(self.gate(x)) * self.up(x))


@_mlp_says("relative")
def mish_gate(self, x):
    return self.down(functional.mish(self.gate(x)) * self.up(x))


@_mlp_says("tanh")
def tanh_gate(self, x):
    return self.down(self.gate(x).tanh() * self.up(x))


@_mlp_says("softmax")
def softmax_gate(self, x):
    return self.down(self.gate(x).softmax(-1) * self.up(x))


@_mlp_says("twice")
def silu_twice(self, x):
    return self.down(silu(silu(self.gate(x))) * self.up(x))


@_mlp_says("added")
def halves_added(self, x):
    return self.down(silu(self.gate(x)) + self.up(x))


@_mlp_says("`up` makes no difference")
def up_forgotten(self, x):
    return self.down(silu(self.gate(x)))


@_mlp_says("`up` makes no difference")
def gated_by_itself(self, x):
    return self.down(silu(self.gate(x)) * self.gate(x))


@_mlp_says("`gate` makes no difference")
def up_only(self, x):
    return self.down(silu(self.up(x)))


@_mlp_says("`gate` makes no difference")
def up_twice(self, x):
    return self.down(silu(self.up(x)) * self.up(x))


@_mlp_says("after down")
def silu_after_down(self, x):
    return silu(self.down(silu(self.gate(x)) * self.up(x)))


@_mlp_says("after down")
def relu_before_down(self, x):
    return self.down(torch.relu(silu(self.gate(x)) * self.up(x)))


@_mlp_says("still the hidden numbers")
def down_forgotten(self, x):
    return silu(self.gate(x)) * self.up(x)


@_mlp_says("block's work")
def stream_added(self, x):
    return x + self.down(silu(self.gate(x)) * self.up(x))


@_mlp_says("Norms stand in the block")
def result_normed(self, x):
    result = self.down(silu(self.gate(x)) * self.up(x))
    return functional.rms_norm(result, result.shape[-1:])


@_mlp_says("before the gate's layer")
def silu_before_the_gate(self, x):
    return self.down(self.gate(silu(x)) * self.up(x))


@_mlp_says("no matrix product")
def matrix_product_of_the_halves(self, x):
    return self.down(silu(self.gate(x)) @ self.up(x))


@_mlp_says("both read x")
def up_of_the_gate(self, x):
    return self.down(self.up(silu(self.gate(x))))


@_mlp_says("Two shapes do not fit")
def down_before_the_product(self, x):
    return self.down(silu(self.gate(x))) * self.up(x)


@_mlp_says("bias is left out")
def biases_left_out(self, x):
    gate, up = x @ self.gate.weight.T, x @ self.up.weight.T
    return (silu(gate) * up) @ self.down.weight.T


@_mlp_says("bias is left out")
def bias_of_down_left_out(self, x):
    return (silu(self.gate(x)) * self.up(x)) @ self.down.weight.T


@_mlp_says("dropout")
def with_dropout(self, x):
    hidden = silu(self.gate(x)) * self.up(x)
    return self.down(functional.dropout(hidden, 0.1) if len(x) > 1 else hidden)


@_mlp_says("overflow")
def exponentials_in_a_quotient(self, x):
    gate = self.gate(x)
    return self.down(gate * gate.exp() / (1 + gate.exp()) * self.up(x))


@_mlp_says("clamped")
def gates_clamped(self, x):
    return self.down(silu(self.gate(x).clamp(-60, 60)) * self.up(x))


@_mlp_says("gradient is not")
def gate_detached(self, x):
    return self.down(silu(self.gate(x)).detach() * self.up(x))


@_mlp_says("down.weight gets no gradient")
def data_of_down(self, x):
    hidden = silu(self.gate(x)) * self.up(x)
    return functional.linear(hidden, self.down.weight.data, self.down.bias)


@_mlp_says("no gradient")
def mlp_without_gradient(self, x):
    with torch.no_grad():
        return _swiglu_forward(self, x)


@_mlp_says("returned None")
def mlp_without_return(self, x):
    self.down(silu(self.gate(x)) * self.up(x))


@_mlp_says("every dimension of size 1")
def mlp_squeezed(self, x):
    return self.down(silu(self.gate(x)) * self.up(x)).squeeze()


@_mlp_says("came back")
def the_identity(self, x):
    return x


# --- Block: right -------------------------------------------------------------------------------


def _block_init(self, config, norm, attention, mlp):
    nn.Module.__init__(self)
    self.attention_norm, self.attention = norm(config), attention(config)
    self.mlp_norm, self.mlp = norm(config), mlp(config)


def _block(forward: Callable) -> type:
    """A class with the given __init__ and this forward."""
    methods = {"__init__": _block_init, "forward": forward}
    return type(forward.__name__, (nn.Module,), methods)


@battery.right("Block")
@_block
def in_four_lines(self, x, rotation=None, mask=None, remember=None):
    normed = self.attention_norm(x)
    x = x + self.attention(normed, rotation, mask, remember)
    normed = self.mlp_norm(x)
    return x + self.mlp(normed)


@battery.right("Block")
@_block
def by_keywords(self, x, rotation=None, mask=None, remember=None):
    said = self.attention(
        self.attention_norm(x), remember=remember, mask=mask, rotation=rotation
    )
    stream = torch.add(said, x)
    return torch.add(self.mlp(self.mlp_norm(stream)), stream)


@battery.right("Block")
@_block
def anything_handed_on(self, x, *things, **more):
    residual = x
    hidden = residual + self.attention(self.attention_norm(x), *things, **more)
    residual = hidden
    return residual + self.mlp(self.mlp_norm(hidden))


@battery.right("Block")
@_block
def in_a_loop(self, x, rotation=None, mask=None, remember=None):
    steps = (
        (self.attention_norm, self.attention, (rotation, mask, remember)),
        (self.mlp_norm, self.mlp, ()),
    )
    for norm, part, more in steps:
        x = x + part(norm(x), *more)
    return x


@battery.right("Block")
@_block
def on_a_copy_with_a_sum(self, x, rotation=None, mask=None, remember=None):
    said = self.attention(self.attention_norm(x), rotation, mask, remember)
    parts = torch.stack([x, said])
    last = self.mlp(self.mlp_norm(parts.sum(0)))
    return torch.cat([parts, last[None]]).sum(0)


@battery.right("Block")
@_block
def in_one_expression(self, x, rotation=None, mask=None, remember=None):
    norm = self.attention_norm.forward
    return (
        s := x + self.attention.forward(norm(x), rotation, mask, remember)
    ) + self.mlp(self.mlp_norm(s))


# --- Block: wrong -------------------------------------------------------------------------------


def _block_says(says: str) -> Callable:
    """Registers forward(self, x, attention) as a wrong Block; attention gets the rest by itself."""

    def decorate(forward: Callable) -> type:
        def whole(self, x, rotation=None, mask=None, remember=None):
            return forward(
                self, x, lambda read: self.attention(read, rotation, mask, remember)
            )

        whole.__name__ = forward.__name__
        return battery.wrong("Block", says=says)(_block(whole))

    return decorate


def _block_hands(says: str) -> Callable:
    """Registers said(self, read, rotation, mask, remember) as a wrong call of attention."""

    def decorate(said: Callable) -> type:
        def whole(self, x, rotation=None, mask=None, remember=None):
            x = x + said(self, self.attention_norm(x), rotation, mask, remember)
            return x + self.mlp(self.mlp_norm(x))

        whole.__name__ = said.__name__
        return battery.wrong("Block", says=says)(_block(whole))

    return decorate


@_block_says("stand behind.*over the sum")
def norms_behind(self, x, attention):
    x = self.attention_norm(x + attention(x))
    return self.mlp_norm(x + self.mlp(x))


@_block_says("over the sum")
def only_the_first_norm_behind(self, x, attention):
    x = self.attention_norm(x + attention(x))
    return x + self.mlp(self.mlp_norm(x))


@_block_says("over the sum")
def only_the_second_norm_behind(self, x, attention):
    x = x + attention(self.attention_norm(x))
    return self.mlp_norm(x + self.mlp(x))


@_block_says("over what they say")
def what_they_say_is_normed(self, x, attention):
    x = x + self.attention_norm(attention(x))
    return x + self.mlp_norm(self.mlp(x))


@_block_says("over what they say")
def what_the_mlp_says_is_normed(self, x, attention):
    x = x + attention(self.attention_norm(x))
    return x + self.mlp_norm(self.mlp(x))


@_block_says("un-normed")
def added_to_the_normed(self, x, attention):
    x = self.attention_norm(x)
    x = x + attention(x)
    x = self.mlp_norm(x)
    return x + self.mlp(x)


@_block_says("un-normed")
def first_added_to_the_normed(self, x, attention):
    x = self.attention_norm(x)
    x = x + attention(x)
    return x + self.mlp(self.mlp_norm(x))


@_block_says("un-normed")
def second_added_to_the_normed(self, x, attention):
    x = x + attention(self.attention_norm(x))
    x = self.mlp_norm(x)
    return x + self.mlp(x)


@_block_says("side by side")
def parallel(self, x, attention):
    return x + attention(self.attention_norm(x)) + self.mlp(self.mlp_norm(x))


@_block_says("side by side")
def parallel_with_one_norm(self, x, attention):
    normed = self.attention_norm(x)
    return x + attention(normed) + self.mlp(normed)


@_block_says("only what attention said")
def mlp_reads_attention_only(self, x, attention):
    said = attention(self.attention_norm(x))
    return x + said + self.mlp(self.mlp_norm(said))


@_block_says("only what attention said")
def one_residual_around_both(self, x, attention):
    return x + self.mlp(self.mlp_norm(attention(self.attention_norm(x))))


@_block_says("got lost")
def added_to_the_old_stream(self, x, attention):
    stream = x + attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(stream))


@_block_says("Nothing is added")
def no_residuals(self, x, attention):
    return self.mlp(self.mlp_norm(attention(self.attention_norm(x))))


@_block_says("Attention's words replace")
def first_residual_forgotten(self, x, attention):
    x = attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(x))


@_block_says("MLP's words replace")
def second_residual_forgotten(self, x, attention):
    x = x + attention(self.attention_norm(x))
    return self.mlp(self.mlp_norm(x))


@_block_says("without a norm")
def no_norms(self, x, attention):
    x = x + attention(x)
    return x + self.mlp(x)


@_block_says("Attention reads the stream without")
def attention_without_norm(self, x, attention):
    x = x + attention(x)
    return x + self.mlp(self.mlp_norm(x))


@_block_says("The MLP reads the stream without")
def mlp_without_norm(self, x, attention):
    x = x + attention(self.attention_norm(x))
    return x + self.mlp(x)


@_block_says("One norm serves both")
def attention_norm_twice(self, x, attention):
    x = x + attention(self.attention_norm(x))
    return x + self.mlp(self.attention_norm(x))


@_block_says("One norm serves both")
def mlp_norm_twice(self, x, attention):
    x = x + attention(self.mlp_norm(x))
    return x + self.mlp(self.mlp_norm(x))


@_block_says("norms have changed places")
def norms_swapped(self, x, attention):
    x = x + attention(self.mlp_norm(x))
    return x + self.mlp(self.attention_norm(x))


@_block_says("MLP comes first")
def mlp_first(self, x, attention):
    x = x + self.mlp(self.mlp_norm(x))
    return x + attention(self.attention_norm(x))


@_block_says("stream is added twice")
def stream_added_twice(self, x, attention):
    middle = x + attention(self.attention_norm(x))
    return x + middle + self.mlp(self.mlp_norm(middle))


@_block_says("MLP is missing")
def mlp_forgotten(self, x, attention):
    return x + attention(self.attention_norm(x))


@_block_says("Attention is missing")
def attention_forgotten(self, x, attention):
    return x + self.mlp(self.mlp_norm(x))


@_block_says("attention said is added twice")
def attention_added_twice(self, x, attention):
    said = attention(self.attention_norm(x))
    x = x + said
    return x + said + self.mlp(self.mlp_norm(x))


@_block_says("norm too many")
def a_norm_at_the_end(self, x, attention):
    x = x + attention(self.attention_norm(x))
    x = x + self.mlp(self.mlp_norm(x))
    return self.mlp_norm(x)


@_block_says("halved")
def sums_halved(self, x, attention):
    x = (x + attention(self.attention_norm(x))) / 2
    return (x + self.mlp(self.mlp_norm(x))) / 2


@_block_says("subtracted")
def attention_subtracted(self, x, attention):
    x = x - attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(x))


@_block_says("multiplied")
def stream_multiplied(self, x, attention):
    x = x * attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(x))


@_block_says("words alone")
def words_without_the_stream(self, x, attention):
    said = attention(self.attention_norm(x))
    return said + self.mlp(self.mlp_norm(x + said))


@_block_says("as it was")
def an_empty_block(self, x, attention):
    return x


@_block_says("asked 2 times")
def attention_asked_twice(self, x, attention):
    middle = x + attention(self.attention_norm(x))
    return middle + self.mlp(self.mlp_norm(x + attention(self.attention_norm(x))))


@_block_says("changed its own input in place.*gradient")
def stream_changed_in_place(self, x, attention):
    x += attention(self.attention_norm(x))
    x += self.mlp(self.mlp_norm(x))
    return x


@_block_says("in place")
def second_sum_in_place(self, x, attention):
    x = x + attention(self.attention_norm(x))
    x += self.mlp(self.mlp_norm(x))
    return x


@_block_says("gradient is not.*what a part reads")
def stream_detached(self, x, attention):
    x = x.detach() + attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(x))


@_block_says("gradient is not")
def attention_without_gradient(self, x, attention):
    with torch.no_grad():
        said = attention(self.attention_norm(x))
    x = x + said
    return x + self.mlp(self.mlp_norm(x))


@_block_says("no gradient")
def block_without_gradient(self, x, attention):
    with torch.no_grad():
        x = x + attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


@_block_says("returned None")
def block_without_return(self, x, attention):
    x = x + attention(self.attention_norm(x))
    x = x + self.mlp(self.mlp_norm(x))


@_block_says("returned a tuple")
def attention_returned_as_well(self, x, attention):
    said = attention(self.attention_norm(x))
    x = x + said
    return x + self.mlp(self.mlp_norm(x)), said


@_block_says("every dimension of size 1")
def block_squeezed(self, x, attention):
    x = x + attention(self.attention_norm(x))
    return (x + self.mlp(self.mlp_norm(x))).squeeze()


@_block_says("not written yet")
def block_not_written(self, x, attention):
    raise NotImplementedError


@_block_says("calls course_lib's own")
def the_librarys_block(self, x, attention):
    return library_transformer.Block.forward(self, x)


@_block_hands("rotation does not reach attention|mask does not reach")
def nothing_handed_on(self, read, rotation, mask, remember):
    return self.attention(read)


@_block_hands("mask does not reach attention")
def mask_forgotten(self, read, rotation, mask, remember):
    return self.attention(read, rotation, remember=remember)


@_block_hands("remember does not reach attention")
def memory_forgotten(self, read, rotation, mask, remember):
    return self.attention(read, rotation, mask)


@_block_hands("rotation does not reach attention")
def rotation_forgotten(self, read, rotation, mask, remember):
    return self.attention(read, None, mask, remember)


@_block_hands("mask where rotation belongs|receives mask")
def order_mixed_up(self, read, rotation, mask, remember):
    return self.attention(read, mask, rotation, remember)


@_block_hands("remember where mask belongs")
def memory_before_the_mask(self, read, rotation, mask, remember):
    return self.attention(read, rotation, remember, mask)


@_block_hands("another mask")
def mask_inverted(self, read, rotation, mask, remember):
    mask = None if mask is None else ~mask
    return self.attention(read, rotation, mask, remember)


@_block_hands("another mask.*given None")
def a_mask_of_its_own(self, read, rotation, mask, remember):
    T = read.shape[1]
    mask = torch.ones(T, T).tril().bool() if mask is None else mask
    return self.attention(read, rotation, mask, remember)


@_block_hands("another rotation")
def cosines_only(self, read, rotation, mask, remember):
    rotation = rotation if rotation is None else rotation[0]
    return self.attention(read, rotation, mask, remember)


@_block_hands("more than it takes")
def rotation_unpacked(self, read, rotation, mask, remember):
    rotation = rotation or ()
    return self.attention(read, *rotation, mask, remember)


@_block_hands("under another name")
def wrong_keyword(self, read, rotation, mask, remember):
    return self.attention(read, rotation, mask, cache=remember)


@_block_hands("yes or no")
def mask_asked_for_its_truth(self, read, rotation, mask, remember):
    return self.attention(read, rotation, mask or None, remember)


@battery.wrong("Block", says="MLP is handed more")
@_block
def mask_given_to_the_mlp(self, x, rotation=None, mask=None, remember=None):
    x = x + self.attention(self.attention_norm(x), rotation, mask, remember)
    return x + self.mlp(self.mlp_norm(x), mask)


@battery.wrong("Block", says="argument")
@_block
def x_alone(self, x):
    x = x + self.attention(self.attention_norm(x))
    return x + self.mlp(self.mlp_norm(x))


@battery.wrong("Block", says="argument")
@_block
def nothing_by_default(self, x, rotation, mask, remember):
    x = x + self.attention(self.attention_norm(x), rotation, mask, remember)
    return x + self.mlp(self.mlp_norm(x))


@_block_says("differs from the same steps|squeeze|dimension|treated alike")
def tokens_turned_round(self, x, attention):
    x = x + attention(self.attention_norm(x)).flip(1)
    return x + self.mlp(self.mlp_norm(x))


@battery.wrong("Block", says="get lost")
class BlockWithOneNorm(nn.Module):
    def __init__(self, config, norm, attention, mlp):
        super().__init__()
        self.norm, self.attention, self.mlp = (
            norm(config),
            attention(config),
            mlp(config),
        )

    def forward(self, x, rotation=None, mask=None, remember=None):
        x = x + self.attention(self.norm(x), rotation, mask, remember)
        return x + self.mlp(self.norm(x))


@battery.wrong("Block", says="course_lib's own")
class ASubclassOfTheBlock(library_transformer.Block):
    pass


# --- found by attacking the checks -------------------------------------------------------------


@_norm_says("overwritten in forward")
def weight_made_in_forward(self, x):
    self.weight = nn.Parameter(torch.ones(x.shape[-1]))
    return functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)


@_norm_says("lower bound")
def normalized_by_torch(self, x):
    wide = functional.normalize(x.float(), dim=-1, eps=self.eps)
    return (wide * x.shape[-1] ** 0.5).to(x.dtype) * self.weight


def _norm_made_by(init: Callable) -> type:
    def whole(self, config):
        _rms_norm_init(self, config)
        init(self, config)

    def forward(self, x):
        return functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)

    return type(init.__name__, (nn.Module,), {"__init__": whole, "forward": forward})


@battery.wrong("RMSNorm", says="weights other than 1")
@_norm_made_by
def norm_of_zeros(self, config):
    nn.init.zeros_(self.weight)


@battery.wrong("RMSNorm", says="weights other than 1")
@_norm_made_by
def norm_of_random_weights(self, config):
    nn.init.normal_(self.weight)


@battery.wrong("RMSNorm", says="more to load than `weight`: bias")
@_norm_made_by
def norm_with_a_bias(self, config):
    self.bias = nn.Parameter(torch.zeros(config.width))


@_layers_say("up.weight is frozen")
def frozen_layer(self, D, F, bias):
    self.gate, self.up = nn.Linear(D, F, bias), nn.Linear(D, F, bias)
    self.down = nn.Linear(F, D, bias)
    self.up.weight.requires_grad_(False)


@_mlp_says("random.*dropout")
def mlp_with_dropout(self, x):
    return functional.dropout(_swiglu_forward(self, x), 0.1, self.training)


@_mlp_says(r"eval\(\)")
def mlp_left_out_in_use(self, x):
    return _swiglu_forward(self, x) if self.training else x


def _block_step(self, x, attention):
    return x + attention(self.attention_norm(x))


def _block_end(self, x):
    return x + self.mlp(self.mlp_norm(x))


@_block_says("relu, an abs or a clamp")
def stream_through_a_relu(self, x, attention):
    return torch.relu(_block_end(self, _block_step(self, x, attention)))


@_block_says("relu, an abs or a clamp")
def mlp_through_a_relu(self, x, attention):
    x = _block_step(self, x, attention)
    return x + torch.relu(self.mlp(self.mlp_norm(x)))


@_block_says("relu, an abs or a clamp")
def mlp_without_its_sign(self, x, attention):
    x = _block_step(self, x, attention)
    return x + self.mlp(self.mlp_norm(x)).abs()


@_block_says("relu, an abs or a clamp")
def attention_through_a_relu(self, x, attention):
    return _block_end(self, x + torch.relu(attention(self.attention_norm(x))))


@_block_says("relu, an abs or a clamp")
def middle_through_a_relu(self, x, attention):
    return _block_end(self, torch.relu(_block_step(self, x, attention)))


@_block_says("clamped")
def stream_clamped(self, x, attention):
    return _block_end(self, _block_step(self, x, attention)).clamp(-1e3, 1e3)


@_block_says("clamped")
def stream_clamped_for_sixteen_bits(self, x, attention):
    return _block_end(self, _block_step(self, x, attention)).clamp(-65504, 65504)


@_block_says("float64 goes in and float32 comes out")
def stream_comes_out_in_single(self, x, attention):
    return _block_end(self, _block_step(self, x, attention)).float()


@_block_says("double precision.*smaller type")
def stream_in_single(self, x, attention):
    return _block_end(self, _block_step(self, x.float(), attention))


@_block_says("random.*dropout")
def block_with_dropout(self, x, attention):
    said = attention(self.attention_norm(x))
    return _block_end(self, x + functional.dropout(said, 0.1, self.training))


@_block_says(r"eval\(\)")
def no_mlp_in_use(self, x, attention):
    x = _block_step(self, x, attention)
    return _block_end(self, x) if self.training else x


@_block_says("normed twice")
def attention_reads_normed_twice(self, x, attention):
    x = x + attention(self.attention_norm(self.attention_norm(x)))
    return _block_end(self, x)


@_block_says("Attention's step is done twice")
def attention_step_twice(self, x, attention):
    x = _block_step(self, _block_step(self, x, attention), attention)
    return _block_end(self, x)


@_block_says("MLP's step is done twice")
def mlp_step_twice(self, x, attention):
    return _block_end(self, _block_end(self, _block_step(self, x, attention)))


@_block_says("halved or scaled")
def words_halved(self, x, attention):
    x = x + 0.5 * attention(self.attention_norm(x))
    return x + 0.5 * self.mlp(self.mlp_norm(x))


@_block_says("halved or scaled")
def divided_by_the_root_of_2(self, x, attention):
    return _block_end(self, _block_step(self, x, attention)) / 2**0.5


@_block_says("gradient is not.*what a part reads")
def mlp_reads_detached(self, x, attention):
    x = _block_step(self, x, attention)
    return x + self.mlp(self.mlp_norm(x.detach()))


@_block_hands("rotation may be None.*one piece")
def rotation_taken_apart(self, read, rotation, mask, remember):
    cos, sin = rotation
    return self.attention(read, (cos, sin), mask, remember)


@_block_hands("rotation does not reach attention .given: rotation;")
def rotation_dropped_when_alone(self, read, rotation, mask, remember):
    if mask is None and remember is None:
        return self.attention(read)
    return self.attention(read, rotation, mask, remember)


@_block_hands(r"mask does not reach attention .*1 token\(s\)")
def mask_dropped_for_one_token(self, read, rotation, mask, remember):
    mask = mask if read.shape[1] > 1 else None
    return self.attention(read, rotation, mask, remember)


@_block_hands("remember does not reach attention .*6 token")
def memory_dropped_for_long_texts(self, read, rotation, mask, remember):
    remember = remember if read.shape[1] < 4 else None
    return self.attention(read, rotation, mask, remember)


@_block_hands(r"rotation does not reach attention .*eval\(\)")
def rotation_dropped_in_use(self, read, rotation, mask, remember):
    rotation = rotation if self.training else None
    return self.attention(read, rotation, mask, remember)


@_block_hands("calls remember itself")
def remembers_by_itself(self, read, rotation, mask, remember):
    if remember is not None:
        remember(read, read)
    return self.attention(read, rotation, mask, remember)
