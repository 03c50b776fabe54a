"""Answers to lesson 05, the layer with a narrow path: right ones of different shapes, and mistakes.

Answers are classes. `_layer` puts a forward, a merged or both into a fresh class with the given
`__init__` and properties, so that an answer is as short as its mistake.
"""

import copy
import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from course_lib.lora import layers as library
from tools.graders import Battery

battery = Battery()


# --- what is given ------------------------------------------------------------------------------


def _given(self, linear, rank, alpha, dropout=0.0, generator=None):
    nn.Module.__init__(self)
    drawn = torch.empty(rank, linear.in_features)
    nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
    self.alpha, self.dropout = alpha, nn.Dropout(dropout)
    self.linear = linear.requires_grad_(False)
    self.A = nn.Parameter(drawn.to(linear.weight))
    self.B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
    self.train(linear.training)


def _forward_right(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


def _merged_right(self):
    W, bias = self.linear.weight, self.linear.bias
    plain = nn.Linear(W.shape[1], W.shape[0], bias is not None, W.device, W.dtype)
    with torch.no_grad():
        plain.weight.copy_(W + self.scale * self.B @ self.A)
        if bias is not None:
            plain.bias.copy_(bias)
    return plain


def _layer(
    name: str, forward: Callable | None = None, merged: Callable | None = None
) -> type:
    """A class as it is given, with this forward and this merged, or right ones."""
    methods = {
        "BASE": "linear",
        "LEARNED": ("A", "B"),
        "__init__": _given,
        "rank": property(lambda self: self.A.shape[0]),
        "scale": property(lambda self: self.alpha / self.rank),
        "forward": forward or _forward_right,
        "merged": merged or _merged_right,
    }
    return type(name, (nn.Module,), methods)


def _right(method: Callable) -> type:
    """Registers a right forward(self, x) or merged(self)."""
    return battery.right("LoRALinear")(_with(method))


def _says(says: str) -> Callable:
    """Registers a wrong one, and the words that must be in the message."""
    return lambda method: battery.wrong("LoRALinear", says=says)(_with(method))


def _with(method: Callable) -> type:
    place = "forward" if method.__code__.co_argcount == 2 else "merged"
    return _layer(method.__name__, **{place: method})


# --- forward: right -----------------------------------------------------------------------------


@_right
def narrow_vector_scaled(self, x):
    narrow = self.dropout(x) @ self.A.T * self.scale
    return self.linear(x) + narrow @ self.B.T


@_right
def functional_linears(self, x):
    base = functional.linear(x, self.linear.weight, self.linear.bias)
    seen = functional.dropout(x, self.dropout.p, self.training)
    said = functional.linear(functional.linear(seen, self.A), self.B)
    return base.add(said, alpha=self.alpha / self.A.shape[0])


@_right
def einsum_over_both(self, x):
    said = torch.einsum("...i,ri,or->...o", self.dropout(x), self.A, self.B)
    return said * self.scale + self.linear.forward(x)


@_right
def the_product_written_out(self, x):
    difference = self.B @ self.A * (self.alpha / self.rank)
    return self.linear(x) + self.dropout(x) @ difference.T


@_right
def rank_by_rank(self, x):
    out, seen = self.linear(x), self.dropout(x)
    for a, b in zip(self.A, self.B.T, strict=True):
        out = out + self.scale * (seen * a).sum(-1, keepdim=True) * b
    return out


@_right
def token_by_token(self, x):
    rows = [
        self.linear(one) + self.scale * (self.B @ (self.A @ self.dropout(one)))
        for one in x.reshape(-1, x.shape[-1])
    ]
    return torch.stack(rows).reshape(*x.shape[:-1], -1)


@_right
def sum_added_in_place(self, x):
    out = self.linear(x)
    out += self.scale * functional.linear(self.dropout(x) @ self.A.mT, self.B)
    return out


@_right
def in_double_and_back(self, x):
    seen, A, B = self.dropout(x).double(), self.A.double(), self.B.double()
    return self.linear(x) + (self.scale * (seen @ A.T @ B.T)).to(x.dtype)


@_right
def flattened_and_addmm(self, x):
    flat = x.flatten(0, -2) if x.dim() > 1 else x[None]
    narrow = self.scale * torch.mm(self.dropout(flat), self.A.t())
    out = torch.addmm(self.linear(flat), narrow, self.B.t())
    return out.view(*x.shape[:-1], self.B.shape[0])


@_right
def one_wide_matrix(self, x):
    """Both paths as one product: x and its dropped copy side by side."""
    W, D = self.linear.weight, self.scale * self.B @ self.A
    both = torch.cat([x, self.dropout(x)], dim=-1) @ torch.cat([W, D], dim=1).T
    return both if self.linear.bias is None else both + self.linear.bias


@_right
def matrix_times_columns(self, x):
    seen = self.dropout(x).unsqueeze(-1)
    return self.linear(x) + self.scale * (self.B @ (self.A @ seen)).squeeze(-1)


# --- merged: right ------------------------------------------------------------------------------


@_right
def merge_in_a_deep_copy(self):
    plain = copy.deepcopy(self.linear)
    plain.weight.data += self.scale * (self.B @ self.A).detach()
    return plain.requires_grad_()


@_right
def merge_into_a_new_parameter(self):
    weight = self.linear.weight + self.scale * self.B @ self.A
    plain = nn.Linear(*reversed(weight.shape), bias=False)
    plain.weight = nn.Parameter(weight.detach())
    if self.linear.bias is not None:
        plain.bias = nn.Parameter(self.linear.bias.clone())
    return plain


@_right
def merge_without_bias_first(self):
    base = self.linear
    plain = nn.Linear(base.in_features, base.out_features, base.bias is not None)
    plain = plain.to(base.weight)
    state = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    state["weight"] += (self.alpha / self.rank) * self.B.data @ self.A.data
    plain.load_state_dict(state)
    return plain


@_right
def merge_by_asking_the_unit_vectors(self):
    """Column i of the weight is what the two narrow steps say about unit vector i."""
    plain = deepcopy(self.linear)
    unit = torch.eye(self.linear.in_features, dtype=self.A.dtype)
    with torch.no_grad():
        said = functional.linear(functional.linear(unit, self.A), self.B)
        plain.weight.add_(said.T, alpha=self.scale)
    for p in plain.parameters():
        p.requires_grad = True
    return plain


@_right
def merge_by_asking_the_layer(self):
    training = self.training
    self.eval()
    with torch.no_grad():
        zero = self(self.A.new_zeros(1, self.A.shape[1]))
        columns = self(torch.eye(self.A.shape[1], dtype=self.A.dtype)) - zero
    self.train(training)
    plain = nn.Linear(*columns.shape, bias=self.linear.bias is not None)
    plain.weight.data = columns.T.contiguous()
    if plain.bias is not None:
        plain.bias.data = zero[0].clone()
    return plain


@_right
def merge_with_skip_init(self):
    W = self.linear.weight
    options = {
        "bias": self.linear.bias is not None,
        "dtype": W.dtype,
        "device": W.device,
    }
    plain = nn.utils.skip_init(nn.Linear, W.shape[1], W.shape[0], **options)
    with torch.no_grad():
        torch.addmm(W, self.B, self.A, alpha=self.scale, out=plain.weight)
        if plain.bias is not None:
            plain.bias[:] = self.linear.bias
    return plain


@_right
def merge_with_numpy(self):
    W, A, B = (t.detach().numpy() for t in (self.linear.weight, self.A, self.B))
    plain = deepcopy(self.linear)
    plain.weight = nn.Parameter(
        torch.from_numpy(W + self.scale * np.dot(B, A)).to(self.A)
    )
    if plain.bias is not None:
        plain.bias.requires_grad_(True)
    return plain


@_right
def merge_loop_over_ranks(self):
    plain = deepcopy(self.linear)
    with torch.no_grad():
        for a, b in zip(self.A, self.B.unbind(1), strict=True):
            plain.weight += self.scale * torch.outer(b, a)
    plain.requires_grad_(True)
    return plain


@_right
def merge_in_a_copy_of_everything(self):
    with torch.no_grad():
        other = deepcopy(self)
        other.linear.weight.addmm_(other.B, other.A, alpha=self.scale)
    return other.linear.requires_grad_(True)


@battery.right("LoRALinear")
class RemembersWhatASaid(_layer("given")):
    """Frozen weights need no gradient, and a note of one call changes nothing."""

    def forward(self, x):
        self.narrow = torch.matmul(self.dropout(x), self.A.transpose(0, 1))
        W, bias = self.linear.weight.detach(), self.linear.bias
        out = torch.matmul(x, W.t()) + torch.matmul(self.narrow * self.scale, self.B.mT)
        return out if bias is None else out + bias.detach()

    def merged(self):
        made = type(self.linear)(1, 1, bias=self.linear.bias is not None)
        made.in_features, made.out_features = self.A.shape[1], self.B.shape[0]
        product = torch.einsum("or,ri->oi", self.B.detach(), self.A.detach())
        made.weight = nn.Parameter(
            torch.add(self.linear.weight, product, alpha=self.scale)
        )
        if made.bias is not None:
            made.bias = nn.Parameter(self.linear.bias.detach().clone())
        return made


# --- forward: wrong -----------------------------------------------------------------------------


@_says("scale is missing")
def as_it_was_published(self, x):  # ERRATA E58
    return self.linear(x) + self.dropout(x) @ self.A.T @ self.B.T


@_says("not divided by the rank")
def alpha_alone(self, x):
    return self.linear(x) + self.alpha * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("alpha makes no difference")
def divided_by_the_rank_alone(self, x):
    return self.linear(x) + (self.dropout(x) @ self.A.T @ self.B.T) / self.rank


@_says("upside down")
def rank_over_alpha(self, x):
    scale = self.rank / self.alpha if self.alpha else 0.0
    return self.linear(x) + scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("a root in the scale")
def rank_stabilised(self, x):
    scale = self.alpha / math.sqrt(self.rank)
    return self.linear(x) + scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("goes in twice")
def scaled_in_both_steps(self, x):
    narrow = self.scale * (self.dropout(x) @ self.A.T)
    return self.linear(x) + self.scale * (narrow @ self.B.T)


@_says("whole number")
def floor_division(self, x):
    return self.linear(x) + self.alpha // self.rank * (
        self.dropout(x) @ self.A.T @ self.B.T
    )


@_says("another size than the rank")
def divided_by_the_width(self, x):
    scale = self.alpha / x.shape[-1]
    return self.linear(x) + scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("another size than the rank|stand beside|differs from")
def divided_by_the_output_width(self, x):
    scale = self.alpha / self.B.shape[0]
    return self.linear(x) + scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("taken away")
def subtracted(self, x):
    return self.linear(x) - self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("frozen layer has no say")
def base_left_out(self, x):
    return self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("narrow path has no say")
def adapter_left_out(self, x):
    return self.linear(x)


@_says("scale is on the sum")
def the_sum_scaled(self, x):
    return self.scale * (self.linear(x) + self.dropout(x) @ self.A.T @ self.B.T)


@_says("bias is left out")
def weight_without_bias(self, x):
    base = x @ self.linear.weight.T
    return base + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("bias is added twice, or scaled")
def bias_behind_the_narrow_path_alone(self, x):
    narrow = functional.linear(self.dropout(x), self.A)
    wide = functional.linear(narrow, self.B, self.linear.bias)
    return functional.linear(x, self.linear.weight) + self.scale * wide


@_says("bias is added twice, or scaled")
def bias_on_both_paths(self, x):
    narrow = functional.linear(self.dropout(x), self.A)
    wide = functional.linear(narrow, self.B, self.linear.bias)
    return self.linear(x) + self.scale * wide


@_says("bias is added twice")
def bias_twice(self, x):
    said = self.scale * (self.dropout(x) @ self.A.T @ self.B.T)
    bias = 0 if self.linear.bias is None else self.linear.bias
    return self.linear(x) + said + bias


@_says("without a bias")
def bias_taken_for_granted(self, x):
    base = x @ self.linear.weight.T + self.linear.bias
    return base + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("read what the frozen layer says|sizes do not fit")
def adapter_behind_the_layer(self, x):
    base = self.linear(x)
    return base + self.scale * (self.dropout(base) @ self.A.T @ self.B.T)


@_says("frozen layer reads what A and B say|sizes do not fit")
def layer_behind_the_adapter(self, x):
    return self.linear(x + self.scale * (self.dropout(x) @ self.A.T @ self.B.T))


@_says("A and B are exchanged")
def exchanged(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ self.B.T @ self.A.T)


@_says("should lie on its side")
def exchanged_without_turning(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ self.B @ self.A)


@_says("lies on its side")
def neither_turned(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ self.A @ self.B)


@_says("lies on its side")
def only_a_turned(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ self.A.T @ self.B)


@_says("lies on its side")
def product_of_b_and_a_not_turned(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ (self.A.T @ self.B))


@_says("should lie on its side")
def difference_not_turned(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ (self.B @ self.A))


@_says("Only one of A and B")
def only_the_first_step(self, x):
    return self.linear(x) + self.scale * (self.dropout(x) @ self.A.T)


@_says("Something bends")
def with_a_relu(self, x):
    narrow = torch.relu(self.dropout(x) @ self.A.T)
    return self.linear(x) + self.scale * (narrow @ self.B.T)


@_says("Something bends")
def with_a_gelu_after(self, x):
    return self.linear(x) + self.scale * functional.gelu(x @ self.A.T @ self.B.T)


@_says("multiplied, or averaged")
def paths_multiplied(self, x):
    return self.linear(x) * (self.scale * (self.dropout(x) @ self.A.T @ self.B.T))


@_says("x itself is added")
def residual(self, x):
    return x + self.linear(x) + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("Nothing is dropped in training")
def dropout_forgotten(self, x):
    return self.linear(x) + self.scale * (x @ self.A.T @ self.B.T)


@_says("Dropout reaches the frozen path")
def dropout_for_both(self, x):
    x = self.dropout(x)
    return self.linear(x) + self.scale * (x @ self.A.T @ self.B.T)


@_says("Dropout reaches the frozen path")
def dropout_of_the_whole_answer(self, x):
    return self.dropout(self.linear(x) + self.scale * (x @ self.A.T @ self.B.T))


@_says("Dropout reaches the frozen path")
def dropout_for_the_wrong_path(self, x):
    return self.linear(self.dropout(x)) + self.scale * (x @ self.A.T @ self.B.T)


@_says("What A or B says is dropped")
def dropout_of_the_narrow_vector(self, x):
    return self.linear(x) + self.scale * (self.dropout(x @ self.A.T) @ self.B.T)


@_says("What A or B says is dropped")
def dropout_of_what_is_added(self, x):
    return self.linear(x) + self.dropout(self.scale * (x @ self.A.T @ self.B.T))


@_says("same numbers are dropped for all tokens. Is it A that is dropped")
def dropout_of_the_matrix(self, x):
    return self.linear(x) + self.scale * (x @ self.dropout(self.A).T @ self.B.T)


@_says("same numbers are dropped for all tokens")
def one_mask_for_all(self, x):
    seen = x * self.dropout(torch.ones_like(self.A[0]))
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("eval mode too|different numbers when asked twice")
def dropout_never_off(self, x):
    seen = functional.dropout(x, self.dropout.p)
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("not made larger")
def a_mask_of_ones_own(self, x):
    seen = x
    if self.training:
        seen = x * (torch.rand(x.shape) >= self.dropout.p)
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("comes twice")
def dropped_twice(self, x):
    seen = self.dropout(self.dropout(x))
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("sees other numbers|A sees")
def another_share_typed_in(self, x):
    seen = functional.dropout(x, 0.5, self.training)
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("A sees")
def share_turned_round(self, x):
    seen = x
    if self.training and self.dropout.p:
        seen = x * (torch.rand(x.shape) < self.dropout.p) / (1 - self.dropout.p)
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("cut off")
def frozen_layer_without_gradient(self, x):
    with torch.no_grad():
        base = self.linear(x)
    return base + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("cut off on its way to A")
def x_detached(self, x):
    seen = self.dropout(x.detach())
    return self.linear(x) + self.scale * (seen @ self.A.T @ self.B.T)


@_says("no gradient flows back")
def all_without_gradient(self, x):
    with torch.no_grad():
        return _forward_right(self, x)


@_says("A gets no gradient")
def data_of_both(self, x):
    said = self.dropout(x) @ self.A.data.T @ self.B.data.T
    return self.linear(x) + self.scale * said


@_says("A gets no gradient")
def narrow_vector_detached(self, x):
    narrow = (self.dropout(x) @ self.A.T).detach()
    return self.linear(x) + self.scale * (narrow @ self.B.T)


@_says("B gets no gradient")
def b_copied(self, x):
    B = torch.tensor(self.B.tolist(), dtype=x.dtype)
    return self.linear(x) + self.scale * (self.dropout(x) @ self.A.T @ B.T)


@_says("Nothing is dropped in training")
def through_merged(self, x):
    return self.merged()(x)


@_says("gradient")
def through_merged_when_nothing_drops(self, x):
    if self.training and self.dropout.p:
        return _forward_right(self, x)
    return self.merged()(x)


@_says("changes the layer itself")
def merged_into_the_weight_in_forward(self, x):
    with torch.no_grad():
        self.linear.weight += self.scale * self.B @ self.A
    return self.linear(x)


@_says("changes the layer itself")
def parameters_made_anew(self, x):
    self.C = nn.Parameter(self.B @ self.A)
    return self.linear(x) + self.scale * (self.dropout(x) @ self.C.T)


@_says("changed its own input")
def x_scaled_in_place(self, x):
    base = self.linear(x)
    x *= self.scale
    return base + self.dropout(x) @ self.A.T @ self.B.T


@_says("still heard")
def scale_kept_from_the_first_call(self, x):
    if not hasattr(self, "kept"):
        self.kept = self.scale
    return self.linear(x) + self.kept * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("said before")
def product_kept_from_the_first_call(self, x):
    if not hasattr(self, "kept") or self.training or x.dtype != torch.float32:
        self.kept = self.B @ self.A
    return self.linear(x) + self.scale * (self.dropout(x) @ self.kept.T)


@_says("returned None")
def without_return(self, x):
    self.linear(x) + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@_says("not on one of shape")
def for_matrices_only(self, x):
    B, T, D = x.shape
    flat = x.reshape(B * T, D)
    return _forward_right(self, flat).view(B, T, -1)


@_says("returned shape|not fit|not on one of shape")
def columns_for_rows(self, x):
    return self.linear(x) + self.scale * (self.B @ self.A @ self.dropout(x).T).T


@_says("float64 it is as coarse")
def always_in_float32(self, x):
    said = self.dropout(x).float() @ self.A.float().T @ self.B.float().T
    return self.linear(x) + self.scale * said


@_says("bfloat16 it gives float64")
def wide_and_not_back(self, x):
    said = self.dropout(x).double() @ self.A.double().T @ self.B.double().T
    out = self.linear(x) + self.scale * said
    return out if x.dtype != torch.float32 else out.float()


@_says("[Rr]ounded")
def rounded(self, x):
    return _forward_right(self, x).round(decimals=2)


@_says("calls course_lib's own")
def the_librarys_forward(self, x):
    return library.LoRALinear.forward(self, x)


@_says("forward` is not written yet")
def blank_forward(self, x):
    raise NotImplementedError


@_says("returned shape")
def a_matrix_returned(self, x):
    return self.linear.weight + self.scale * self.B @ self.A


@_says("different numbers when asked twice")
def noise_added(self, x):
    return _forward_right(self, x) + torch.randn(self.B.shape[0])


@_says("not on one of shape|returned shape")
def squeezed(self, x):
    return _forward_right(self, x).squeeze()


@_says("divided by the rank twice")
def mean_over_the_ranks(self, x):
    seen = self.dropout(x)
    said = [
        self.scale * (seen @ a)[..., None] * b
        for a, b in zip(self.A, self.B.T, strict=True)
    ]
    return self.linear(x) + torch.stack(said).mean(0)


# --- merged: wrong ------------------------------------------------------------------------------


@_says("forward is right. `merged` is not written yet")
def blank_merged(self):
    raise NotImplementedError


@_says("scale is missing in merged")
def merged_without_scale(self):
    plain = deepcopy(self.linear).requires_grad_(True)
    plain.weight.data += self.B @ self.A
    return plain


def _in_a_copy(self, difference):
    plain = deepcopy(self.linear)
    plain.weight.data += difference.detach()
    return plain.requires_grad_(True)


@_says("not divide by the rank")
def merged_by_alpha(self):
    return _in_a_copy(self, self.alpha * self.B @ self.A)


@_says("alpha makes no difference")
def merged_by_the_rank_alone(self):
    return _in_a_copy(self, self.B @ self.A / self.rank)


@_says("upside down in merged")
def merged_upside_down(self):
    return _in_a_copy(self, self.rank / self.alpha * self.B @ self.A)


@_says("whole number in merged")
def merged_by_floor_division(self):
    return _in_a_copy(self, self.alpha // self.rank * (self.B @ self.A))


@_says("goes in twice in merged")
def merged_twice(self):
    return _in_a_copy(self, 2 * self.scale * self.B @ self.A)


@_says("goes in twice in merged")
def merged_scale_twice(self):
    return _in_a_copy(self, self.scale**2 * self.B @ self.A)


@_says("takes the product away")
def unmerged(self):
    return _in_a_copy(self, -self.scale * self.B @ self.A)


@_says("other order, A B")
def merged_a_times_b(self):
    return _in_a_copy(self, self.scale * self.A @ self.B)


@_says("on its side in merged")
def merged_difference_turned(self):
    return _in_a_copy(self, self.scale * (self.B @ self.A).T)


@_says("on its side in merged")
def merged_a_turned_first(self):
    return _in_a_copy(self, self.scale * self.A.T @ self.B.T)


@_says("on its side in merged")
def merged_weight_turned(self):
    plain = deepcopy(self.linear).requires_grad_(True)
    plain.weight.data = (
        self.linear.weight.T + self.scale * (self.B @ self.A).T
    ).detach()
    return plain


@_says("leads from")
def merged_sizes_turned(self):
    out, inner = self.linear.weight.shape
    plain = nn.Linear(out, inner, self.linear.bias is not None)
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    if plain.bias is not None:
        plain.bias.data = self.linear.bias.clone()
    return plain


@_says("difference alone")
def merged_base_left_out(self):
    plain = deepcopy(self.linear).requires_grad_(True)
    plain.weight.data = (self.scale * self.B @ self.A).detach()
    return plain


@_says("Nothing was merged")
def merged_copy_of_the_base(self):
    return deepcopy(self.linear).requires_grad_(True)


@_says("scale is on the sum in merged")
def merged_sum_scaled(self):
    plain = deepcopy(self.linear).requires_grad_(True)
    plain.weight.data = (self.scale * (self.linear.weight + self.B @ self.A)).detach()
    return plain


@_says("W is multiplied by the product")
def merged_by_product(self):
    return _in_a_copy(self, self.scale * self.linear.weight * (self.B @ self.A))


@_says("returned self.linear itself")
def merged_in_place(self):
    with torch.no_grad():
        self.linear.weight += self.scale * self.B @ self.A
    return self.linear


@_says("wrote into self.linear")
def merged_in_place_and_copied(self):
    with torch.no_grad():
        self.linear.weight += self.scale * self.B @ self.A
    return deepcopy(self.linear).requires_grad_(True)


@_says("wrote into self.linear")
def merged_into_the_data(self):
    plain = nn.Linear(
        self.linear.in_features, self.linear.out_features, self.linear.bias is not None
    )
    plain.load_state_dict(self.linear.state_dict())
    plain.weight.data = self.linear.weight.data
    plain.weight.data += (self.scale * self.B @ self.A).detach()
    return plain


@_says("returned None")
def merged_in_place_without_return(self):
    with torch.no_grad():
        self.linear.weight += self.scale * self.B @ self.A


@_says("changed B")
def merged_and_reset(self):
    plain = _merged_right(self)
    nn.init.zeros_(self.B)
    return plain


@_says("changed the layer")
def merged_and_alpha_off(self):
    plain = _merged_right(self)
    self.alpha = 0.0
    return plain


@_says("changed the layer")
def merged_in_eval_mode(self):
    self.eval()
    return _merged_right(self)


@_says("inference_mode")
def merged_under_inference_mode(self):
    with torch.inference_mode():
        return _merged_right(self)


@_says("wrote into self.linear|merged changed the layer")
def merged_in_a_shallow_copy(self):
    plain = copy.copy(self.linear)
    weight = self.linear.weight + self.scale * self.B @ self.A
    plain.weight = nn.Parameter(weight.detach())
    return plain


@_says("returned self.linear itself")
def merged_and_put_in_place(self):
    self.linear = _merged_right(self)
    return self.linear


@_says("wrote into self.linear|shares its memory")
def merged_with_a_view(self):
    plain = deepcopy(self.linear)
    plain.weight = nn.Parameter(self.linear.weight.view_as(self.linear.weight))
    with torch.no_grad():
        plain.weight += self.scale * self.B @ self.A
    return plain.requires_grad_(True)


@_says("self.linear learns after merging")
def merged_after_thawing(self):
    self.linear.requires_grad_(True)
    plain = deepcopy(self.linear)
    with torch.no_grad():
        plain.weight += self.scale * self.B @ self.A
    return plain


@_says("returned a tensor")
def merged_weight_alone(self):
    return self.linear.weight + self.scale * self.B @ self.A


@_says("LoRALinear. A plain")
def merged_copy_of_everything(self):
    other = deepcopy(self)
    with torch.no_grad():
        other.linear.weight += self.scale * self.B @ self.A
        other.B.zero_()
    return other


@_says("returned a LoRALinear")
def merged_returns_itself(self):
    return self


@_says("returned a Sequential")
def merged_in_a_sequential(self):
    return nn.Sequential(_merged_right(self))


@_says("returned a tuple")
def merged_weight_and_bias(self):
    return self.linear.weight + self.scale * self.B @ self.A, self.linear.bias


@_says("merged layer has none")
def merged_without_bias(self):
    plain = nn.Linear(self.linear.in_features, self.linear.out_features, bias=False)
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    return plain


@_says("new nn.Linear draws its own")
def merged_bias_drawn_anew(self):
    plain = nn.Linear(
        self.linear.in_features, self.linear.out_features, self.linear.bias is not None
    )
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    return plain


@_says("bias is lost")
def merged_bias_zero(self):
    plain = _merged_right(self)
    if plain.bias is not None:
        nn.init.zeros_(plain.bias)
    return plain


@_says("bias is scaled")
def merged_bias_scaled(self):
    plain = _merged_right(self)
    if plain.bias is not None:
        plain.bias.data *= self.scale
    return plain


@_says("has no bias, and the merged layer has one|bias is None then")
def merged_always_with_bias(self):
    plain = nn.Linear(self.linear.in_features, self.linear.out_features)
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    if self.linear.bias is not None:
        plain.bias.data = self.linear.bias.clone()
    return plain


@_says("may have no bias")
def merged_bias_taken_for_granted(self):
    plain = nn.Linear(self.linear.in_features, self.linear.out_features)
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    plain.bias.data = self.linear.bias.clone()
    return plain


@_says("shares its memory")
def merged_bias_shared(self):
    plain = nn.Linear(
        self.linear.in_features, self.linear.out_features, self.linear.bias is not None
    )
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    if self.linear.bias is not None:
        plain.bias.data = self.linear.bias.data
    return plain


@_says("shares its memory")
def merged_bias_is_the_same_parameter(self):
    plain = nn.Linear(self.linear.in_features, self.linear.out_features, bias=False)
    plain.weight.data = (self.linear.weight + self.scale * self.B @ self.A).detach()
    plain.bias = self.linear.bias
    return plain


@_says("self.linear learns after merging")
def merged_bias_shared_and_thawed(self):
    plain = merged_bias_is_the_same_parameter.merged(self)
    return plain.requires_grad_(True)


@_says("is frozen")
def merged_still_frozen(self):
    plain = deepcopy(self.linear)
    plain.weight.data += (self.scale * self.B @ self.A).detach()
    return plain


@_says("bias is frozen")
def merged_bias_frozen(self):
    plain = deepcopy(self.linear)
    weight = self.linear.weight + self.scale * self.B @ self.A
    plain.weight = nn.Parameter(weight.detach())
    return plain


@_says("has a history")
def merged_with_a_history(self):
    plain = deepcopy(self.linear)
    plain.weight += self.scale * self.B @ self.A
    return plain


@_says("has a history")
def merged_with_a_history_by_add(self):
    plain = deepcopy(self.linear)
    plain.weight.add_(self.scale * self.B @ self.A)
    return plain


@_says("may not be changed in place")
def merged_in_place_of_a_leaf(self):
    plain = deepcopy(self.linear).requires_grad_(True)
    plain.weight += self.scale * self.B @ self.A
    return plain


@_says("nn.Parameter")
def merged_tensor_for_a_parameter(self):
    plain = deepcopy(self.linear)
    plain.weight = self.linear.weight + self.scale * self.B @ self.A
    return plain


@_says("others. Dropout|In training")
def merged_with_dropout(self):
    return _in_a_copy(self, self.scale * self.B @ self.dropout(self.A))


@_says("In training")
def merged_by_asking_in_training(self):
    with torch.no_grad():
        zero = self(self.A.new_zeros(1, self.A.shape[1]))
        columns = self(torch.eye(self.A.shape[1], dtype=self.A.dtype)) - zero
    return _in_a_copy(self, columns.T - self.linear.weight)


@_says("one of float32")
def merged_in_float32(self):
    plain = nn.Linear(
        self.linear.in_features, self.linear.out_features, self.linear.bias is not None
    )
    with torch.no_grad():
        plain.weight.copy_(self.linear.weight + self.scale * self.B @ self.A)
        if plain.bias is not None:
            plain.bias.copy_(self.linear.bias)
    return plain


@_says("precision of float32")
def merged_through_float32(self):
    return _in_a_copy(self, (self.scale * self.B.float() @ self.A.float()).to(self.A))


@_says("one and the same layer|second time")
def merged_once_and_kept(self):
    if "kept" not in self.__dict__:
        self.__dict__["kept"] = _merged_right(self)
    return self.__dict__["kept"]


@_says("changed the layer")
def merged_kept_as_a_part(self):
    self.kept = _merged_right(self)
    return self.kept


@_says("what it gave before")
def merged_difference_kept(self):
    if "kept" not in self.__dict__:
        self.__dict__["kept"] = (self.scale * self.B @ self.A).detach()
    return _in_a_copy(self, self.__dict__["kept"])


@_says("differs from the one worked out|first digits")
def merged_rounded(self):
    return _in_a_copy(self, (self.scale * self.B @ self.A).round(decimals=2))


@_says("calls course_lib's own")
def merged_by_the_library(self):
    return library.LoRALinear.merged(self)


@_says("plain nn.Linear is wanted|returned a")
def merged_function(self):
    plain = _merged_right(self)
    return lambda x: plain(x)


@_says("sizes do not fit|other order")
def merged_a_first(self):
    return _in_a_copy(self, self.scale * torch.mm(self.A, self.B))


# --- both ---------------------------------------------------------------------------------------


@battery.wrong("LoRALinear", says="scale is missing")
class SeedsLayer(_layer("given")):  # ERRATA E58, in both methods
    def forward(self, x):
        return self.linear(x) + x @ self.A.T @ self.B.T

    def merged(self):
        return merged_without_scale.merged(self)


@battery.wrong("LoRALinear", says="lines of __init__ were given")
class BDrawnAtRandom(_layer("given")):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        nn.init.normal_(self.B)


@battery.wrong("LoRALinear", says="lines of __init__ were given")
class NothingFrozen(_layer("given")):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.linear.requires_grad_(True)


@battery.wrong("LoRALinear", says="lines of __init__ were given")
class PlainTensors(_layer("given")):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        A, B = self.A.data, self.B.data
        del self.A, self.B
        self.A, self.B = A, B


@battery.wrong("LoRALinear", says="course_lib's own")
class TheLibrarysMerged(_layer("given")):
    merged = library.LoRALinear.merged


@battery.wrong("LoRALinear", says="course_lib's own")
class OnlyForwardWritten(library.LoRALinear):
    def forward(self, x):
        return _forward_right(self, x)


@battery.wrong("LoRALinear", says="After merged the layer says something else")
class SpeaksAsItsBaseFromThenOn(_layer("given")):
    done = False

    def forward(self, x):
        return self.linear(x) if self.done else _forward_right(self, x)

    def merged(self):
        self.done = True
        return _merged_right(self)


@battery.wrong("LoRALinear", says="narrow path has no say|eval|differs|in training")
class AdapterInTrainingOnly(_layer("given")):
    def forward(self, x):
        return _forward_right(self, x) if self.training else self.linear(x)


@battery.wrong("LoRALinear", says="dropout of 0")
class AdapterInUseOnly(_layer("given")):
    def forward(self, x):
        off = self.training and self.dropout.p == 0
        return self.linear(x) if off else _forward_right(self, x)


@battery.wrong("LoRALinear", says="did it get lost")
class MergedLost(_layer("given")):
    merged = property(lambda self: self._nothing)

    def __getattr__(self, name):
        if name == "_nothing":
            raise AttributeError("'LoRALinear' object has no attribute 'merged'")
        return super().__getattr__(name)
