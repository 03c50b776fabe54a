"""Answers to lesson 04 on the balance loss, the bias, queues, and the count of a mixture."""

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import one_hot
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.mixtral.modeling_mixtral import (
    load_balancing_loss_func as loss_of_mixtral,
)
from transformers.models.switch_transformers.modeling_switch_transformers import (
    load_balancing_loss_func as loss_of_switch,
)

from course_lib.moe.balancing import load, load_entropy, mean_share, mixtral_loss
from course_lib.moe.dispatch import within_capacity
from course_lib.scaling.parameters import layer_matrices, mlp_matrices
from tools.graders import Battery

battery = Battery()

# --- switch_loss: right -----------------------------------------------------------------


@battery.right("switch_loss")
def from_what_is_given(scores, chosen, mask=None):
    E = scores.size(-1)
    return (load(chosen, E, mask) * mean_share(scores, mask)).sum(-1).mean() * E


@battery.right("switch_loss")
def as_einsum_of_vectors(scores, chosen, mask=None):
    E = scores.shape[-1]
    f, P = load(chosen, E, mask), mean_share(scores, mask)
    return torch.einsum("...e,...e->...", f.to(P.dtype), P).mul(E).mean()


@battery.right("switch_loss")
def layer_after_layer(scores, chosen, mask=None):
    *front, N, E = scores.shape
    if mask is None:
        mask = torch.ones(N, dtype=torch.bool)
    mask = mask.expand(*front, N).reshape(-1, N)
    layers = zip(
        scores.reshape(-1, N, E),
        chosen.reshape(mask.shape[0], N, -1),
        mask,
        strict=True,
    )
    losses = []
    for z, c, m in layers:
        counts = torch.bincount(c[m].flatten(), minlength=E)
        P = torch.softmax(z[m], dim=1).mean(0)
        losses.append(E * (counts / counts.sum()) @ P)
    return sum(losses) / len(losses)


@battery.right("switch_loss")
def expert_by_expert(scores, chosen, mask=None):
    total, share = 0.0, scores.softmax(-1)
    kept = (
        torch.ones(scores.shape[:-1])
        if mask is None
        else mask.expand(chosen.shape[:-1])
    )
    for e in range(scores.shape[-1]):
        visits = ((chosen == e).sum(-1) * kept).sum(-1)
        P = (share[..., e] * kept).sum(-1) / kept.sum(-1)
        total = total + visits / (kept.sum(-1) * chosen.shape[-1]) * P
    return torch.mean(scores.shape[-1] * total)


@battery.right("switch_loss")
def by_transformers(scores, chosen, mask=None):
    """Each layer by Mixtral's loss over k, or by Switch's for every column of choices."""
    *front, N, E = scores.shape
    k = chosen.shape[-1]
    kept = torch.ones(N, dtype=torch.bool) if mask is None else mask
    kept = kept.expand(*front, N).reshape(-1, N)
    losses = []
    for z, c, m in zip(
        scores.reshape(-1, N, E), chosen.reshape(-1, N, k), kept, strict=True
    ):
        if torch.equal(c.sort(-1).values, z.topk(k).indices.sort(-1).values):
            losses.append(loss_of_mixtral((z,), E, k, m.view(1, N)) / k)
        else:
            share = z[m].softmax(-1)[None]
            columns = [loss_of_switch(share, column[None]) for column in c[m].T]
            losses.append(torch.stack(columns).mean())
    return torch.stack(losses).mean()


@battery.right("switch_loss")
def scattered(scores, chosen, mask=None):
    E = scores.shape[-1]
    kept = scores.new_ones(scores.shape[:-1])
    if mask is not None:
        kept = kept * mask
    weights = kept.unsqueeze(-1).expand(chosen.shape)
    visits = torch.zeros_like(scores).scatter_add(-1, chosen, weights).sum(-2)
    f = visits / visits.sum(-1, keepdim=True)
    logs = scores - scores.logsumexp(-1, keepdim=True)
    P = (logs.exp() * kept.unsqueeze(-1)).sum(-2) / kept.sum(-1, keepdim=True)
    return (f.detach() * P).sum() * E / math.prod(scores.shape[:-2])


@battery.right("switch_loss")
def calls_itself_for_each_layer(scores, chosen, mask=None):
    if scores.dim() > 2:
        L = len(scores)
        masks = [mask] * L if mask is None or mask.dim() == 1 else mask
        layers = zip(scores, chosen, masks, strict=True)
        return torch.stack([calls_itself_for_each_layer(*one) for one in layers]).mean()
    if mask is not None:
        scores, chosen = scores[mask], chosen[mask]
    E = scores.shape[-1]
    f = torch.stack([(chosen == e).sum() for e in range(E)]) / chosen.numel()
    return E * torch.dot(f, scores.softmax(-1).mean(0))


@battery.right("switch_loss")
def in_double_precision(scores, chosen, mask=None):
    E = scores.shape[-1]
    f = load(chosen, E, mask).double().unsqueeze(-2)
    return E * (f @ mean_share(scores.double(), mask).unsqueeze(-1)).mean()


# --- switch_loss: wrong -----------------------------------------------------------------


def _balance(says):
    return battery.wrong("switch_loss", says=says)


def _kept(scores, mask):
    """(..., N, 1) of ones and zeros."""
    ones = torch.ones(scores.shape[:-1])
    return (ones if mask is None else ones * mask).unsqueeze(-1)


def _loss_with(says):
    """A wrong answer made of load and share, (..., E), the mask, and what came in."""

    def decorate(body):
        def answer(scores, chosen, mask=None):
            E = scores.shape[-1]
            return body(load(chosen, E, mask), mean_share(scores, mask), E)

        answer.__name__ = body.__name__
        return battery.wrong("switch_loss", says=says)(answer)

    return decorate


@_balance("no gradient goes back")
def published_loss(scores, chosen, mask=None):
    E = scores.shape[-1]
    usage = torch.stack([(chosen == e).any(-1).float().mean() for e in range(E)])
    return functional.mse_loss(usage, torch.full((E,), 1 / E))


@_loss_with("no gradient goes back")
def load_alone(f, P, E):
    return E * f.square().sum(-1).mean()


@_loss_with("no gradient goes back")
def load_against_even(f, P, E):
    return ((f - 1 / E) ** 2).sum(-1).mean()


@_balance("no gradient goes back")
def load_with_target_of_one_over_e(scores, chosen, mask=None):
    k, E = chosen.shape[-1], scores.shape[-1]
    return ((k * load(chosen, E, mask) - 1 / E) ** 2).mean()


@_loss_with("no gradient goes back")
def entropy_of_the_load(f, P, E):
    return (1 - load_entropy(f)).mean()


@_loss_with("values are right, but no gradient")
def share_detached(f, P, E):
    return E * (f * P.detach()).sum(-1).mean()


@_balance("values are right, but no gradient")
def made_anew(scores, chosen, mask=None):
    return torch.tensor(from_what_is_given(scores, chosen, mask).item())


@_balance("plain number")
def plain_number(scores, chosen, mask=None):
    return from_what_is_given(scores, chosen, mask).item()


@_balance("values are right, but no gradient")
def without_gradients(scores, chosen, mask=None):
    with torch.no_grad():
        return from_what_is_given(scores, chosen, mask)


@_balance("values are right, but no gradient")
def shares_in_numpy(scores, chosen, mask=None):
    z = scores.numpy()
    p = np.exp(z - z.max(-1, keepdims=True))
    p = torch.from_numpy(p / p.sum(-1, keepdims=True))
    m = _kept(scores, mask)
    P = (p * m).sum(-2) / m.sum(-2)
    return scores.shape[-1] * (load(chosen, scores.shape[-1], mask) * P).sum(-1).mean()


@_balance("nudging scores|gradient is 0")
def gradient_through_some_experts(scores, chosen, mask=None):
    here = one_hot(chosen, scores.shape[-1]).sum(-2) > 0
    return from_what_is_given(torch.where(here, scores, scores.detach()), chosen, mask)


@_balance("nudging scores|gradient is 0")
def gradient_twice(scores, chosen, mask=None):
    loss = from_what_is_given(scores, chosen, mask)
    return loss + (loss - loss.detach())


@_balance("nudging scores")
def half_a_gradient(scores, chosen, mask=None):
    E = scores.shape[-1]
    P = mean_share(scores, mask)
    first = torch.arange(E) < 1
    P = torch.where(first, P, P.detach())
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("gradient is 0")
def gradient_of_nothing(scores, chosen, mask=None):
    return from_what_is_given(scores.detach(), chosen, mask) + 0 * scores.sum()


@_balance("no gradient flows")
def share_detached_if_masked(scores, chosen, mask=None):
    loss = from_what_is_given(scores, chosen, mask)
    return loss if mask is None else loss.detach()


@_loss_with("nudging scores")
def load_with_a_gradient(f, P, E):
    return E * ((f + P - P.detach()) * P).sum(-1).mean()


@_balance("of more tokens counts more")
def weighted_by_tokens(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask).sum((-2, -1))
    losses = E * (load(chosen, E, mask) * mean_share(scores, mask)).sum(-1)
    return (losses * m).sum() / m.sum()


@_loss_with("visit by visit")
def worst_layer(f, P, E):
    return E * (f * P).sum(-1).max()


@_loss_with("visit by visit|load alone|layer")
def never_below_one(f, P, E):
    return (E * (f * P).sum(-1).mean()).clamp(min=1)


@_loss_with("first digits")
def small_constant_added(f, P, E):
    return E * (f * (P + 1e-4)).sum(-1).mean()


@_loss_with("factor is missing")
def factor_forgotten(f, P, E):
    return (f * P).sum(-1).mean()


@_loss_with("factor is missing")
def mean_over_experts(f, P, E):
    return E * (f * P).mean()


@_loss_with("factor is missing")
def mean_alone(f, P, E):
    return (f * P).mean()


@_loss_with("E goes in twice")
def factor_twice(f, P, E):
    return E * E * (f * P).sum(-1).mean()


@_balance("gives k instead of 1")
def visits_over_tokens(scores, chosen, mask=None):
    return chosen.shape[-1] * from_what_is_given(scores, chosen, mask)


@_balance("k once too often")
def over_k_again(scores, chosen, mask=None):
    return from_what_is_given(scores, chosen, mask) / chosen.shape[-1]


@_balance("one heap")
def mixtrals_heap(scores, chosen, mask=None):
    if mask is not None:
        mask = mask.expand(scores.shape[:-1]).flatten()
    z, c = scores.flatten(0, -2), chosen.flatten(0, -2)
    return from_what_is_given(z, c, mask)


@_balance("calls course_lib's own")
def mixtrals_of_the_library(scores, chosen, mask=None):
    return mixtral_loss(scores, chosen, mask) / chosen.shape[-1]


@_balance("visit by visit")
def mixtrals_of_transformers(scores, chosen, mask=None):
    N, E = scores.shape[-2:]
    layers = tuple(scores.reshape(-1, N, E))
    return loss_of_mixtral(layers, E, chosen.shape[-1], None)


@_balance("one heap")
def means_over_layers_first(scores, chosen, mask=None):
    E = scores.shape[-1]
    f, P = load(chosen, E, mask), mean_share(scores, mask)
    return E * (f.reshape(-1, E).mean(0) * P.reshape(-1, E).mean(0)).sum()


@_loss_with("layers are added")
def layers_added(f, P, E):
    return E * (f * P).sum()


@_loss_with("is a loss for each layer")
def a_loss_for_each_layer(f, P, E):
    return E * (f * P).sum(-1)


@_loss_with("number for each expert")
def not_summed(f, P, E):
    return E * f * P


@_loss_with("no dimension at all|is a loss for each layer")
def dimension_kept(f, P, E):
    return E * (f * P).sum(-1, keepdim=True).mean(0)


@_loss_with("Only one layer")
def first_layer_only(f, P, E):
    return E * (f * P).sum(-1).flatten()[0]


@_loss_with("Only one layer")
def last_layer_only(f, P, E):
    return E * (f * P).sum(-1).flatten()[-1]


@_balance("over the chosen experts only")
def softmax_over_the_chosen(scores, chosen, mask=None):
    E = scores.shape[-1]
    weights = scores.gather(-1, chosen).softmax(-1)
    share = torch.zeros_like(scores).scatter(-1, chosen, weights)
    m = _kept(scores, mask)
    P = (share * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("over the chosen experts only")
def shares_of_the_chosen_only(scores, chosen, mask=None):
    E = scores.shape[-1]
    share = scores.softmax(-1) * one_hot(chosen, E).sum(-2)
    m = _kept(scores, mask)
    P = (share * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("mask is ignored")
def mask_ignored(scores, chosen, mask=None):
    return from_what_is_given(scores, chosen)


@_balance("reaches the load, and not the share")
def share_unmasked(scores, chosen, mask=None):
    E = scores.shape[-1]
    return E * (load(chosen, E, mask) * mean_share(scores)).sum(-1).mean()


@_balance("reaches the share, and not the load")
def load_unmasked(scores, chosen, mask=None):
    E = scores.shape[-1]
    return E * (load(chosen, E) * mean_share(scores, mask)).sum(-1).mean()


@_balance("other way round")
def mask_turned_round(scores, chosen, mask=None):
    return from_what_is_given(scores, chosen, None if mask is None else ~mask)


@_balance("not of the number of tokens")
def divided_by_all_tokens(scores, chosen, mask=None):
    E = scores.shape[-1]
    P = (scores.softmax(-1) * _kept(scores, mask)).mean(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("even shares")
def padded_scores_made_zero(scores, chosen, mask=None):
    E = scores.shape[-1]
    P = (scores * _kept(scores, mask)).softmax(-1).mean(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("chosen anew")
def chosen_anew(scores, chosen, mask=None):
    again = scores.topk(chosen.shape[-1]).indices
    return from_what_is_given(scores, again, mask)


@_balance("chosen anew|first choice")
def argmax_alone(scores, chosen, mask=None):
    return from_what_is_given(scores, scores.argmax(-1, keepdim=True), mask)


@_balance("Only the first choice")
def first_choice_only(scores, chosen, mask=None):
    return from_what_is_given(scores, chosen[..., :1], mask)


@_balance("scores themselves")
def scores_averaged(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    P = (scores * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("scores themselves")
def sigmoids(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    P = (scores.sigmoid() * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("scores are averaged first")
def softmax_of_the_mean(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    P = ((scores * m).sum(-2) / m.sum(-2)).softmax(-1)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("over the tokens")
def softmax_over_tokens(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    P = (scores.softmax(-2) * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("over the tokens|stopped with|layers")
def softmax_over_the_first_dimension(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    P = (scores.softmax(0) * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("taken twice")
def softmax_twice(scores, chosen, mask=None):
    return from_what_is_given(scores.softmax(-1), chosen, mask)


@_loss_with("sign is turned")
def sign_turned(f, P, E):
    return -E * (f * P).sum(-1).mean()


@_loss_with("shifted")
def zero_at_balance(f, P, E):
    return E * (f * P).sum(-1).mean() - 1


@_loss_with("distance from an even load")
def shares_against_even(f, P, E):
    return ((P - 1 / E) ** 2).sum(-1).mean()


@_loss_with("distance from an even load")
def shares_against_even_by_mean(f, P, E):
    return ((P - 1 / E) ** 2).mean()


@_loss_with("entropy")
def entropy_of_the_shares(f, P, E):
    return (P * P.log()).sum(-1).mean()


@_loss_with("entropy")
def missing_entropy(f, P, E):
    return (1 - load_entropy(P)).mean()


@_loss_with("entropy|logarithm of a share|inf")
def cross_entropy(f, P, E):
    return -(f * P.log()).sum(-1).mean()


@_loss_with("mean share alone")
def shares_squared(f, P, E):
    return E * (P * P).sum(-1).mean()


@_loss_with("mean share alone")
def largest_share(f, P, E):
    return P.amax(-1).mean()


@_balance("token by token")
def product_token_by_token(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    met = one_hot(chosen, E).sum(-2) * scores.softmax(-1) / chosen.shape[-1]
    return E * ((met * m).sum(-2) / m.sum(-2)).sum(-1).mean()


@_loss_with("are added")
def load_plus_share(f, P, E):
    return E * (f + P).sum(-1).mean()


@_loss_with("number of experts")
def k_in_place_of_experts(f, P, E):
    return 2 * (f * P).sum(-1).mean()


@_balance("not the number of experts|factor")
def tokens_in_place_of_experts(scores, chosen, mask=None):
    E = scores.shape[-1]
    return from_what_is_given(scores, chosen, mask) / E * scores.shape[-2]


@_balance("not the number of experts|factor|k")
def choices_in_place_of_experts(scores, chosen, mask=None):
    E = scores.shape[-1]
    return from_what_is_given(scores, chosen, mask) / E * chosen.shape[-1]


@_balance("number of experts|size of tensor|stopped with RuntimeError")
def experts_from_the_choices(scores, chosen, mask=None):
    E = int(chosen.max()) + 1
    return E * (load(chosen, E, mask) * mean_share(scores, mask)).sum(-1).mean()


@_balance("visit by visit")
def the_worked_loss(scores, chosen, mask=None):
    return 1.125 + 0 * scores.sum()


@_balance("mask is ignored")
def two_dimensions_only(scores, chosen, mask=None):
    _, E = scores.shape
    f = torch.bincount(chosen.flatten(), minlength=E) / chosen.numel()
    return E * (f * scores.softmax(-1).mean(0)).sum()


@_balance("reaches the load, and not the share")
def mean_over_the_first_dimension(scores, chosen, mask=None):
    E = scores.shape[-1]
    P = scores.softmax(-1).mean(0)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("stopped with")
def at_most_three_dimensions(scores, chosen, mask=None):
    if scores.dim() == 2:
        return from_what_is_given(scores, chosen, mask)
    L, _, _ = scores.shape
    losses = [
        from_what_is_given(*layer, None if mask is None else mask.expand(L, -1)[i])
        for i, layer in enumerate(zip(scores, chosen, strict=True))
    ]
    return torch.stack(losses).mean()


@_balance("stopped with")
def mask_for_each_layer_needed(scores, chosen, mask=None):
    if mask is not None:
        mask = mask.reshape(scores.shape[:-1])
    return from_what_is_given(scores, chosen, mask)


@_balance("exponential of a large score")
def exponentials_by_hand(scores, chosen, mask=None):
    E, m = scores.shape[-1], _kept(scores, mask)
    p = scores.exp() / scores.exp().sum(-1, keepdim=True)
    P = (p * m).sum(-2) / m.sum(-2)
    return E * (load(chosen, E, mask) * P).sum(-1).mean()


@_balance("first digits")
def rounded(scores, chosen, mask=None):
    loss = from_what_is_given(scores, chosen, mask)
    return loss + (loss.detach().mul(100).round() / 100 - loss.detach())


@_balance("changed its own input")
def softmax_in_place(scores, chosen, mask=None):
    loss = from_what_is_given(scores, chosen, mask)
    with torch.no_grad():
        scores.copy_(scores.softmax(-1))
    return loss


@_balance("changed its own input")
def mask_in_place(scores, chosen, mask=None):
    loss = from_what_is_given(scores, chosen, mask)
    if mask is not None:
        mask |= True
    return loss


@_loss_with("returned 2 things")
def with_statistics(f, P, E):
    return E * (f * P).sum(-1).mean(), f


@_balance("view size")
def viewed(scores, chosen, mask=None):
    scores.view(-1, scores.shape[-1])
    return from_what_is_given(scores, chosen, mask)


# --- update_bias: right -----------------------------------------------------------------


@battery.right("update_bias")
def by_the_sign(bias, load, rate):
    return bias + rate * torch.sign(load.mean() - load)


@battery.right("update_bias")
def by_the_number_of_experts(bias, load, rate):
    step = (1 / len(load) - load).sign()
    return bias.add(step, alpha=rate)


@battery.right("update_bias")
def by_two_comparisons(bias, load, rate):
    fair = load.mean()
    return bias - rate * (load > fair).float() + rate * (load < fair).float()


@battery.right("update_bias")
def on_a_copy(bias, load, rate):
    new = bias.clone()
    new[load > load.mean()] -= rate
    new[load < load.mean()] += rate
    return new


@battery.right("update_bias")
def expert_after_expert(bias, load, rate):
    new, fair = [], 1 / load.numel()
    for b, mine in zip(bias.tolist(), load.tolist(), strict=True):
        new.append(b + rate * ((mine < fair) - (mine > fair)))
    return torch.tensor(new)


@battery.right("update_bias")
def by_numpy(bias, load, rate):
    step = np.sign(load.numpy().mean() - load.numpy())
    return torch.from_numpy(bias.numpy() + np.float32(rate) * step)


@battery.right("update_bias")
def with_where(bias, load, rate):
    fair = load.sum() / load.shape[0]
    down = torch.where(load > fair, bias - rate, bias)
    return torch.where(load < fair, bias + rate, down)


@battery.right("update_bias")
def by_a_step_function(bias, load, rate):
    gap = load - load.mean()
    return bias - rate * (2 * torch.heaviside(gap, torch.tensor(0.5)) - 1)


# --- update_bias: wrong -----------------------------------------------------------------


def _bias(says):
    return battery.wrong("update_bias", says=says)


@_bias("sign is turned")
def favours_the_busy(bias, load, rate):
    return bias + rate * (load - load.mean()).sign()


@_bias("sign is turned")
def subtracted(bias, load, rate):
    return bias - rate * (load.mean() - load).sign()


@_bias("grows with the gap")
def gap_itself(bias, load, rate):
    return bias + rate * (load.mean() - load)


@_bias("grows with the gap")
def gap_times_experts(bias, load, rate):
    return bias + rate * (1 - len(load) * load)


@_bias("grows with the gap")
def gap_made_one_long(bias, load, rate):
    gap = load.mean() - load
    return bias + rate * gap / gap.abs().max().clamp(min=1e-9)


@_bias("grows with the gap")
def gap_squashed(bias, load, rate):
    return bias + rate * (load.mean() - load).tanh()


@_bias("rate makes no difference")
def rate_forgotten(bias, load, rate):
    return bias + (load.mean() - load).sign()


@_bias("rate makes no difference")
def rate_of_the_example(bias, load, rate):
    return bias + 0.1 * (load.mean() - load).sign()


@_bias("this is the step alone")
def step_alone(bias, load, rate):
    return rate * (load.mean() - load).sign()


@_bias("compared with 0")
def against_zero(bias, load, rate):
    return bias - rate * load.sign()


@_bias("compared with 0|with 1")
def against_one(bias, load, rate):
    return bias + rate * (1 - load).sign()


@_bias("median")
def against_the_median(bias, load, rate):
    return bias + rate * (load.median() - load).sign()


@_bias("something else than their mean")
def against_a_half(bias, load, rate):
    return bias + rate * (0.5 - load).sign()


@_bias("something else than their mean")
def against_the_largest(bias, load, rate):
    return bias + rate * (load.max() - load).sign()


@_bias("something else than their mean")
def a_third_built_in(bias, load, rate):
    return bias + rate * (1 / 3 - load).sign()


@_bias("with the biases")
def against_the_bias(bias, load, rate):
    return bias + rate * (bias - load).sign()


@_bias("exactly the mean load moves")
def ties_rise(bias, load, rate):
    return torch.where(load > load.mean(), bias - rate, bias + rate)


@_bias("exactly the mean load moves")
def ties_fall(bias, load, rate):
    return torch.where(load < load.mean(), bias + rate, bias - rate)


@_bias("exactly the mean load moves")
def truth_value_as_a_sign(bias, load, rate):
    return bias + rate * (2 * (load < load.mean()).float() - 1)


@_bias("small gap moves nothing")
def small_gaps_left_alone(bias, load, rate):
    gap = load.mean() - load
    return bias + rate * torch.where(gap.abs() < 1e-3, 0.0, gap.sign())


@_bias("small gap moves nothing")
def gaps_rounded_first(bias, load, rate):
    gap = load.mean() - load
    return bias + rate * (gap.sign() * (gap.abs() > 0.01))


@_bias("Those with too little rise")
def only_the_busy_fall(bias, load, rate):
    return bias - rate * (load > load.mean())


@_bias("Those with too much fall")
def only_the_idle_rise(bias, load, rate):
    return bias + rate * (load < load.mean()).float()


@_bias("Only the one with the most")
def the_busiest_only(bias, load, rate):
    new = bias.clone()
    new[load.argmax()] -= rate
    return new


@_bias("Only the one with the most")
def the_busiest_and_the_idlest(bias, load, rate):
    new = bias.clone()
    new[load.argmax()] -= rate
    new[load.argmin()] += rate
    return new


@_bias("shifted or scaled")
def made_to_sum_to_zero(bias, load, rate):
    new = by_the_sign(bias, load, rate)
    return new - new.mean()


@_bias("shifted or scaled")
def made_a_softmax(bias, load, rate):
    return by_the_sign(bias, load, rate).softmax(-1)


@_bias("shifted or scaled")
def kept_in_a_range(bias, load, rate):
    return by_the_sign(bias, load, rate).clamp(-1, 1)


@_bias("scaled by the step|shifted or scaled|step alone")
def times_the_step(bias, load, rate):
    return bias * (1 + rate * (load.mean() - load).sign())


@_bias("fades")
def fading(bias, load, rate):
    return (1 - rate) * bias + rate * (load.mean() - load).sign()


@_bias("another size than the rate")
def half_steps(bias, load, rate):
    return bias + rate / 2 * (load.mean() - load).sign()


@_bias("another size than the rate")
def rate_shared_among_experts(bias, load, rate):
    return bias + rate / len(load) * (load.mean() - load).sign()


@_bias("changed its own input")
def in_place(bias, load, rate):
    bias += rate * (load.mean() - load).sign()
    return bias


@_bias("changed its own input")
def in_place_entry_by_entry(bias, load, rate):
    for e in range(len(bias)):
        bias[e] += rate * (load.mean() - load[e]).sign()
    return bias


@_bias("changed its own input")
def load_in_place(bias, load, rate):
    load -= load.mean()
    return bias - rate * load.sign()


@_bias("returned None")
def in_place_without_return(bias, load, rate):
    bias.add_(rate * (load.mean() - load).sign())


@_bias("very tensor that came in")
def itself_at_balance(bias, load, rate):
    if torch.allclose(load, load.mean()):
        return bias
    return by_the_sign(bias, load, rate)


@_bias("very tensor that came in")
def itself_at_no_rate(bias, load, rate):
    return by_the_sign(bias, load, rate) if rate else bias


@_bias("returned a list")
def a_list(bias, load, rate):
    return by_the_sign(bias, load, rate).tolist()


@_bias("One number came back")
def one_number(bias, load, rate):
    return by_the_sign(bias, load, rate).sum()


@_bias("Every bias met every load")
def all_with_all(bias, load, rate):
    return bias + rate * (load.mean() - load).sign()[:, None]


@_bias("Nothing moved")
def nothing_moves(bias, load, rate):
    return bias.clone()


@_bias("wanted|another bias")
def the_worked_bias(bias, load, rate):
    return torch.tensor([-0.1, 0.1, 0.1])


@_bias("expert by expert|something else")
def three_and_no_other_number(bias, load, rate):
    fair = 0.3
    return bias + rate * (fair - load).sign()


@_bias("Only the one|stopped with")
def alone_divides_by_zero(bias, load, rate):
    fair = (1 - load) / (len(load) - 1)
    return bias + rate * (fair - load).sign() if len(load) > 1 else bias + 1 / 0


# --- queue_places: right ----------------------------------------------------------------


@battery.right("queue_places")
def running_count(chosen):
    table = one_hot(chosen.reshape(-1))
    came = table.cumsum(0) - 1
    return came.gather(1, chosen.reshape(-1, 1)).view(chosen.shape)


@battery.right("queue_places")
def by_a_counter(chosen):
    seen, rows = Counter(), []
    for row in chosen.tolist():
        places = []
        for e in row:
            places.append(seen[e])
            seen[e] += 1
        rows.append(places)
    return torch.tensor(rows)


@battery.right("queue_places")
def by_comparing_all_pairs(chosen):
    flat = chosen.flatten()
    same = (flat[:, None] == flat[None, :]).long()
    return same.tril(-1).sum(1).reshape(chosen.shape)


@battery.right("queue_places")
def by_sorting(chosen):
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat)
    begins = counts.cumsum(0) - counts
    places = torch.empty_like(flat)
    places[order] = torch.arange(len(flat)) - begins[flat[order]]
    return places.view_as(chosen)


@battery.right("queue_places")
def expert_after_expert_by_masks(chosen):
    places = torch.zeros(chosen.shape, dtype=torch.long)
    for e in chosen.unique():
        here = chosen == e
        places[here] = torch.arange(int(here.sum()))
    return places


@battery.right("queue_places")
def in_numpy_of_thirty_two_bits(chosen):
    flat = chosen.numpy().reshape(-1)
    places = [np.count_nonzero(flat[:i] == e) for i, e in enumerate(flat)]
    return torch.tensor(places, dtype=torch.int32).reshape(chosen.shape)


@battery.right("queue_places")
def counters_of_generators(chosen):
    lines = defaultdict(itertools.count)
    flat = [next(lines[e]) for e in chosen.flatten().tolist()]
    return torch.tensor(flat).reshape(chosen.shape)


@battery.right("queue_places")
def visits_of_earlier_tokens(chosen):
    table = one_hot(chosen).sum(1)  # (N, E)
    return (table.cumsum(0) - table).gather(1, chosen)


# --- queue_places: wrong ----------------------------------------------------------------


def _queue(says):
    return battery.wrong("queue_places", says=says)


@_queue("gets place 127. 128 came")
def no_place_beyond_127(chosen):
    here = one_hot(chosen.flatten())
    return ((here.cumsum(0) - 1) * here).sum(-1).view(chosen.shape).clamp(max=127)


@_queue("has place 1 in yours")
def from_one(chosen):
    here = one_hot(chosen.flatten())
    return (here.cumsum(0) * here).sum(-1).view(chosen.shape)


@_queue("Each column")
def column_by_column(chosen):
    return torch.stack([running_count(c[:, None])[:, 0] for c in chosen.T], 1)


@_queue("Each column")
def cumsum_of_the_table(chosen):
    here = one_hot(chosen)  # (N, k, E)
    return ((here.cumsum(0) - 1) * here).sum(-1)


@_queue("All first choices come")
def first_choices_first(chosen):
    return running_count(chosen.T).T


@_queue("one queue for all")
def one_counter(chosen):
    return torch.arange(chosen.numel()).view(chosen.shape)


@_queue("token's number")
def number_of_the_token(chosen):
    return torch.arange(len(chosen))[:, None].repeat(1, chosen.shape[1])


@_queue("token's own choices")
def within_a_token(chosen):
    return torch.arange(chosen.shape[1]).repeat(len(chosen), 1)


@_queue("token's own choices")
def summed_over_the_choices(chosen):
    rows = [by_a_counter(row[None]) for row in chosen]
    return torch.cat(rows) + torch.arange(chosen.shape[1])


@_queue("from its end")
def from_the_end(chosen):
    return running_count(chosen.flip(0, 1)).flip(0, 1)


@_queue("how many come to the expert in all")
def sizes_of_the_queues(chosen):
    return torch.bincount(chosen.flatten())[chosen]


@_queue("Sorted by expert")
def order_of_sorting(chosen):
    return chosen.flatten().argsort(stable=True).view(chosen.shape)


@_queue("Sorted by expert")
def rank_in_sorted_order(chosen):
    return chosen.flatten().argsort(stable=True).argsort().view(chosen.shape)


@_queue("Sorted by expert")
def left_in_sorted_order(chosen):
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    counts = torch.bincount(flat)
    begins = counts.cumsum(0) - counts
    return (torch.arange(len(flat)) - begins[flat[order]]).view(chosen.shape)


@_queue("Sorted by expert|choice")
def choices_sorted_first(chosen):
    return running_count(chosen.sort(1).values)


@_queue("other experts are counted")
def own_column_forgotten(chosen):
    return (one_hot(chosen.flatten()).cumsum(0) - 1).sum(-1).view(chosen.shape)


@_queue("taken off everywhere")
def one_off_everywhere(chosen):
    here = one_hot(chosen.flatten())
    return (here.cumsum(0) * here - 1).sum(-1).view(chosen.shape)


@_queue("Everybody is first")
def running_sum_across(chosen):
    here = one_hot(chosen.flatten())
    return ((here.cumsum(1) - 1) * here).sum(-1).view(chosen.shape)


@_queue("numbers came back")
def returned_as_it_came(chosen):
    return chosen.clone()


@_queue("Was a table")
def viewed_the_wrong_way(chosen):
    return running_count(chosen).T.reshape(chosen.shape)


@_queue("Was a table|All first choices")
def transposed_and_viewed_back(chosen):
    return running_count(chosen.T).reshape(chosen.shape)


@_queue("exchanged")
def not_turned_back(chosen):
    return running_count(chosen.T)


@_queue("came to that expert before it")
def experts_taken_for_sixteen(chosen):
    return by_a_counter(chosen % 16)


@_queue("came to that expert before it")
def first_choices_of_earlier_tokens(chosen):
    table = one_hot(chosen[:, 0], int(chosen.max()) + 1)
    return (table.cumsum(0) - table).gather(1, chosen)


@_queue("in one row")
def one_row(chosen):
    return running_count(chosen).flatten()


@_queue("a whole table")
def the_table_itself(chosen):
    return one_hot(chosen.flatten()).cumsum(0) - 1


@_queue("number for each expert")
def the_table_of_choices(chosen):
    return one_hot(chosen).cumsum(0) - 1


@_queue("number for each expert, or token")
def one_place_for_a_token(chosen):
    return running_count(chosen)[:, 0]


@_queue("number for each expert")
def counts_alone(chosen):
    return torch.bincount(chosen.flatten())


@_queue("torch.float32")
def as_floats(chosen):
    return running_count(chosen).float()


@_queue("torch.float32")
def table_of_floats(chosen):
    here = one_hot(chosen.flatten()).float()
    return ((here.cumsum(0) - 1) * here).sum(-1).view(chosen.shape)


@_queue("torch.uint8")
def in_bytes_of_eight_bits(chosen):
    return running_count(chosen).to(torch.uint8)


@_queue("True and False")
def served_or_not(chosen):
    return running_count(chosen) < 1


@_queue("calls course_lib's own|True and False")
def asked_capacities(chosen):
    places = torch.zeros_like(chosen)
    for capacity in range(1, chosen.numel() + 1):
        places += ~within_capacity(chosen, capacity)
    return places


@_queue("Everybody is first")
def everybody_first(chosen):
    return torch.zeros_like(chosen)


@_queue("Tokens that came")
def tokens_before_me(chosen):
    n = torch.arange(len(chosen))[:, None]
    return n * chosen.shape[1] + torch.zeros_like(chosen)


@_queue("begin again|never rise")
def never_above_three(chosen):
    return running_count(chosen).clamp(max=3)


@_queue("choice|wanted")
def the_worked_places(chosen):
    return torch.tensor([[0, 0], [1, 1], [2, 0]])


@_queue("returned a list")
def lists_of_places(chosen):
    return running_count(chosen).tolist()


@_queue("changed its own input")
def written_into_the_choices(chosen):
    places = running_count(chosen)
    for n, row in enumerate(places):
        chosen[n] = row
    return chosen


@_queue("view size")
def viewed_flat(chosen):
    here = one_hot(chosen.view(-1))
    return ((here.cumsum(0) - 1) * here).sum(-1).view(chosen.shape)


@_queue("stopped with IndexError|stopped with RuntimeError")
def as_many_experts_as_are_in_use(chosen):
    seen, rows = [0] * len(chosen.unique()), []
    for row in chosen.tolist():
        rows.append([])
        for e in row:
            rows[-1].append(seen[e])
            seen[e] += 1
    return torch.tensor(rows)


@_queue("stopped with|wanted")
def two_choices_only(chosen):
    flat = torch.stack([chosen[:, 0], chosen[:, 1]], 1).flatten()
    return running_count(flat[:, None]).view(-1, 2)


@_queue("stopped with IndexError")
def eight_experts_at_most(chosen):
    seen = torch.zeros(8, dtype=torch.long)
    places = torch.zeros(chosen.shape, dtype=torch.long)
    for n, row in enumerate(chosen):
        for j, e in enumerate(row):
            places[n, j] = seen[e]
            seen[e] += 1
    return places


@_queue("choice")
def counted_per_token_not_per_choice(chosen):
    seen, rows = Counter(), []
    for row in chosen.tolist():
        rows.append([seen[row[0]]] * len(row))
        seen.update(row)
    return torch.tensor(rows)


@_queue("from its end")
def unstable_sort(chosen):
    flat = chosen.flatten()
    order = (-flat).argsort(stable=True).flip(0)
    counts = torch.bincount(flat)
    begins = counts.cumsum(0) - counts
    places = torch.empty_like(flat)
    places[order] = torch.arange(len(flat)) - begins[flat[order]]
    return places.view(chosen.shape)


# --- expert_matrices: right -------------------------------------------------------------


@battery.right("expert_matrices")
def replaced_and_counted(config, experts, active=False):
    one = mlp_matrices(replace(config, hidden=experts.hidden))
    used = experts.chosen if active else experts.count
    return one * used + one * experts.shared + config.width * experts.count


@battery.right("expert_matrices")
def by_proportion(config, experts, active=False):
    one = mlp_matrices(config) * experts.hidden // config.hidden
    routed = [experts.count, experts.chosen][active]
    return (routed + experts.shared) * one + experts.count * config.width


@battery.right("expert_matrices")
def matrices_by_hand(config, experts, active=False):
    matrices = {"swiglu": 3, "gelu": 2}[config.mlp]
    total = config.width * experts.count
    for _ in range(experts.shared + (experts.chosen if active else experts.count)):
        total += matrices * config.width * experts.hidden
    return total


@battery.right("expert_matrices")
def all_less_the_idle(config, experts, active=False):
    one = mlp_matrices(replace(config, hidden=experts.hidden))
    whole = (experts.count + experts.shared) * one + config.width * experts.count
    if active:
        whole -= (experts.count - experts.chosen) * one
    return whole


@battery.right("expert_matrices")
def by_modules_without_memory(config, experts, active=False):
    def one():
        sizes = [(config.width, experts.hidden)] * (2 if config.mlp == "swiglu" else 1)
        layers = [nn.Linear(*size, bias=False, device="meta") for size in sizes]
        down = nn.Linear(experts.hidden, config.width, bias=False, device="meta")
        return [p.numel() for layer in (*layers, down) for p in layer.parameters()]

    used = experts.chosen * active + experts.count * (not active) + experts.shared
    router = nn.Linear(config.width, experts.count, bias=False, device="meta")
    return used * sum(one()) + router.weight.numel()


@battery.right("expert_matrices")
def measured_in_transformers(config, experts, active=False):
    """Mixtral's layer, where there is one: SwiGLU and nothing shared."""
    if config.mlp != "swiglu" or experts.shared:
        return replaced_and_counted(config, experts, active)
    with torch.device("meta"):
        layer = MixtralSparseMoeBlock(
            MixtralConfig(
                hidden_size=config.width,
                intermediate_size=experts.hidden,
                num_local_experts=experts.count,
                num_experts_per_tok=experts.chosen,
            )
        )
    names = {name: p.numel() for name, p in layer.named_parameters()}
    inside = sum(size for name, size in names.items() if name.startswith("experts"))
    outside = sum(names.values()) - inside
    part = experts.chosen if active else experts.count
    return outside + inside // experts.count * part


@battery.right("expert_matrices")
def as_a_float(config, experts, active=False):
    return float(replaced_and_counted(config, experts, active))


# --- expert_matrices: wrong -------------------------------------------------------------


def _experts(says):
    """A wrong answer from: one expert, the router, experts, config, active."""

    def decorate(body):
        def answer(config, experts, active=False):
            one = mlp_matrices(replace(config, hidden=experts.hidden))
            router = config.width * experts.count
            return body(one, router, experts, config, active)

        answer.__name__ = body.__name__
        return battery.wrong("expert_matrices", says=says)(answer)

    return decorate


def _used(experts, active):
    return (experts.chosen if active else experts.count) + experts.shared


@_experts("router is left out")
def no_router(one, router, experts, config, active):
    return _used(experts, active) * one


@_experts("chosen experts only")
def router_of_the_chosen(one, router, experts, config, active):
    scored = experts.chosen if active else experts.count
    return _used(experts, active) * one + config.width * scored


@_experts("chosen experts only")
def router_of_the_chosen_always(one, router, experts, config, active):
    return _used(experts, active) * one + config.width * experts.chosen


@_experts("shared experts too")
def router_of_the_shared(one, router, experts, config, active):
    return _used(experts, active) * one + router + config.width * experts.shared


@_experts("chosen experts only|shared experts too")
def everything_times_the_used(one, router, experts, config, active):
    return _used(experts, active) * (one + config.width)


@_experts("router is counted wrongly")
def router_of_hidden(one, router, experts, config, active):
    return _used(experts, active) * one + experts.hidden * experts.count


@_experts("router is counted wrongly")
def router_in_each_expert(one, router, experts, config, active):
    return _used(experts, active) * (one + router)


@_experts("router is counted wrongly")
def router_with_a_bias(one, router, experts, config, active):
    return _used(experts, active) * one + router + experts.count


@_experts("router is counted wrongly")
def router_of_one_number_each(one, router, experts, config, active):
    return _used(experts, active) * one + experts.count


@_experts("shared experts are left out")
def shared_forgotten(one, router, experts, config, active):
    return (experts.chosen if active else experts.count) * one + router


@_experts("missing from what is active")
def shared_not_active(one, router, experts, config, active):
    if active:
        return experts.chosen * one + router
    return (experts.count + experts.shared) * one + router


@_experts("only where active is asked")
def shared_active_only(one, router, experts, config, active):
    if active:
        return (experts.chosen + experts.shared) * one + router
    return experts.count * one + router


@_experts("taken out of the count")
def shared_among_the_count(one, router, experts, config, active):
    used = experts.chosen if active else experts.count
    return (used - experts.shared) * one + router


@_experts("taken out of the count|left out|only where active")
def shared_within_the_count(one, router, experts, config, active):
    if active:
        return (experts.chosen + experts.shared) * one + router
    return experts.count * one + router


@_experts("as a factor")
def shared_as_a_factor(one, router, experts, config, active):
    used = experts.chosen if active else experts.count
    return used * max(experts.shared, 1) * one + router


@_experts("only one of them")
def one_shared(one, router, experts, config, active):
    used = experts.chosen if active else experts.count
    return (used + (1 if experts.shared else 0)) * one + router


@_experts("makes no difference")
def active_ignored(one, router, experts, config, active):
    return (experts.count + experts.shared) * one + router


@_experts("makes no difference|Without `active`")
def always_active(one, router, experts, config, active):
    return (experts.chosen + experts.shared) * one + router


@_experts("other way round")
def active_turned_round(one, router, experts, config, active):
    return _used(experts, not active) * one + router


@battery.wrong("expert_matrices", says="default is False")
def active_by_default(config, experts, active=True):
    return replaced_and_counted(config, experts, active)


@_experts("hidden width of the config")
def configs_hidden(one, router, experts, config, active):
    return _used(experts, active) * mlp_matrices(config) + router


@_experts("shared experts have the hidden width")
def shared_of_configs_hidden(one, router, experts, config, active):
    used = experts.chosen if active else experts.count
    return used * one + experts.shared * mlp_matrices(config) + router


@_experts("ordinary MLP is counted")
def mlp_besides(one, router, experts, config, active):
    return _used(experts, active) * one + router + mlp_matrices(config)


@_experts("ordinary MLP is counted")
def mlp_in_place_of_the_router(one, router, experts, config, active):
    return _used(experts, active) * one + mlp_matrices(config)


@_experts("two matrices in yours, or three")
def always_two_matrices(one, router, experts, config, active):
    return _used(experts, active) * 2 * config.width * experts.hidden + router


@_experts("two matrices in yours, or three")
def always_three_matrices(one, router, experts, config, active):
    return _used(experts, active) * 3 * config.width * experts.hidden + router


@_experts("size is wrong")
def square_experts(one, router, experts, config, active):
    return _used(experts, active) * 3 * experts.hidden**2 + router


@_experts("One expert is counted")
def one_expert(one, router, experts, config, active):
    return one + router


@_experts("All layers are counted")
def all_layers(one, router, experts, config, active):
    return config.layers * (_used(experts, active) * one + router)


@_experts("All layers are counted")
def layers_that_are_not_dense(one, router, experts, config, active):
    layers = config.layers - experts.dense
    return layers * (_used(experts, active) * one + router)


@_experts("dense")
def dense_taken_off(one, router, experts, config, active):
    return (_used(experts, active) - experts.dense) * one + router


@_experts("dense")
def dense_added(one, router, experts, config, active):
    return (_used(experts, active) + experts.dense) * one + router


@_experts("share of everything")
def a_share_of_everything(one, router, experts, config, active):
    whole = (experts.count + experts.shared) * one + router
    return whole * experts.chosen // experts.count if active else whole


@_experts("share of everything")
def a_share_of_all_experts(one, router, experts, config, active):
    whole = (experts.count + experts.shared) * one
    return (whole * experts.chosen / experts.count if active else whole) + router


@_experts("Attention is counted")
def eight_whole_models(one, router, experts, config, active):
    attention = 2 * config.width * config.K * (config.heads + config.kv_heads)
    return _used(experts, active) * (one + attention) + router


@_experts("multiplied")
def count_times_chosen(one, router, experts, config, active):
    return (experts.count * experts.chosen + experts.shared) * one + router


@_experts("not.*visited")
def those_not_visited(one, router, experts, config, active):
    used = experts.count - experts.chosen if active else experts.count
    return (used + experts.shared) * one + router


@_experts("bytes, thousands or billions")
def in_bytes(one, router, experts, config, active):
    return 2 * (_used(experts, active) * one + router)


@_experts("bytes, thousands or billions")
def in_billions(one, router, experts, config, active):
    return (_used(experts, active) * one + router) / 1e9


@_experts("it was rounded")
def in_a_float32(one, router, experts, config, active):
    return torch.tensor(float(_used(experts, active) * one + router)).item()


@_experts("matrix by matrix|rounded")
def in_thirty_two_bits(one, router, experts, config, active):
    total = _used(experts, active) * one + router
    return (total + 2**31) % 2**32 - 2**31


@_experts("Chosen and shared are confused|matrix by matrix|missing")
def only_the_shared_are_active(one, router, experts, config, active):
    used = experts.shared if active else experts.count + experts.shared
    return used * one + router


@_experts("matrix by matrix|makes no difference")
def the_worked_counts(one, router, experts, config, active):
    return 544 if active else 1984


@_experts("returned 2 things")
def both_counts(one, router, experts, config, active):
    return [_used(experts, a) * one + router for a in (False, True)]


@_experts("one number is wanted")
def as_words(one, router, experts, config, active):
    return f"{_used(experts, active) * one + router:,}"


@battery.wrong("expert_matrices", says="calls course_lib's own")
def from_all_layers(config, experts, active=False):
    one = replace(config, layers=1)
    attention = 2 * config.width * config.K * (config.heads + config.kv_heads)
    return layer_matrices(one, replace(experts, dense=0), active=active) - attention


@_experts("matrix by matrix|two matrices")
def gated_by_the_bias(one, router, experts, config, active):
    matrices = 2 if config.bias else 3
    return _used(experts, active) * matrices * config.width * experts.hidden + router


@_experts("matrix by matrix|rounded")
def experts_of_one_size(one, router, experts, config, active):
    return _used(experts, active) * 3 * config.width * 10 + router


# --- written from the cards alone -----------------------------------------------------


@battery.right("switch_loss")
def by_a_product_of_vectors(scores, chosen, mask=None):
    f, P = load(chosen, scores.shape[-1], mask), mean_share(scores, mask)
    return (f.unsqueeze(-2) @ P.unsqueeze(-1)).mean() * P.shape[-1]


@battery.right("switch_loss")
def layer_inside_layer(scores, chosen, mask=None):
    if scores.dim() == 2:
        f, P = load(chosen, scores.shape[-1], mask), mean_share(scores, mask)
        return len(f) * (f @ P)
    masks = mask if mask is not None and mask.dim() > 1 else [mask] * len(scores)
    each = zip(scores, chosen, masks, strict=True)
    return torch.stack([layer_inside_layer(*one) for one in each]).mean()


def _met(scores, chosen, mask):
    return load(chosen, scores.shape[-1], mask) * mean_share(scores, mask)


@_balance("of layers")
def as_many_as_there_are_rows(scores, chosen, mask=None):
    met = _met(scores, chosen, mask)
    return met.sum(-1).mean() * len(met)


@_balance("over all")
def mean_over_the_first_layers(scores, chosen, mask=None):
    each = _met(scores, chosen, mask).sum(-1) * scores.shape[-1]
    return each.mean(0) if each.dim() else each


@_balance("even shares")
def scores_of_padding_set_to_0(scores, chosen, mask=None):
    f = load(chosen, scores.shape[-1], mask)
    if mask is not None:
        scores = scores * mask.unsqueeze(-1)
    return (f * mean_share(scores)).sum(-1).mean() * scores.shape[-1]


@_balance("selected with the mask")
def tokens_selected(scores, chosen, mask=None):
    if mask is not None:
        scores, chosen = scores[mask], chosen[mask]
    return _met(scores, chosen, None).sum(-1).mean() * scores.shape[-1]


@_balance("entropy")
def cross_entropy_times_experts(scores, chosen, mask=None):
    f, P = load(chosen, scores.shape[-1], mask), mean_share(scores, mask)
    return -(f * P.log()).sum(-1).mean() * scores.shape[-1]


@battery.right("update_bias")
def near_the_mean_is_at_the_mean(bias, load, rate):
    fair = load.mean()
    still = torch.isclose(load, fair)
    return bias + rate * torch.where(still, 0.0, (fair - load).sign())


@battery.right("update_bias")
def mean_subtracted_in_doubles(bias, load, rate):
    return bias + rate * torch.sign(1 / len(load) - load.double())


@_bias("nan")
def divided_by_its_own_size(bias, load, rate):
    gap = load.mean() - load
    return bias + rate * gap / gap.abs()


@_bias("sizes differ")
def by_a_steep_tanh(bias, load, rate):
    return bias + rate * torch.tanh(1e3 * (load.mean() - load))


@_bias("grows with the gap")
def by_the_logarithm_of_the_load(bias, load, rate):
    return bias - rate * (load / load.mean()).log()


@_bias("something else than their mean")
def against_an_eighth(bias, load, rate):
    return bias + rate * (1 / 8 - load).sign()


@_bias("compared with the biases")
def against_the_mean_bias(bias, load, rate):
    return bias + rate * (bias.mean() - load).sign()


@_bias("no load at all rests")
def without_the_idle_ones(bias, load, rate):
    return bias + rate * (load.mean() - load).sign() * (load > 0)


@battery.right("queue_places")
def those_before_and_those_beside(chosen):
    came = one_hot(chosen, int(chosen.max()) + 1).sum(1)
    before = (came.cumsum(0) - came).gather(1, chosen)
    k = chosen.shape[1]
    beside = [(chosen[:, :j] == chosen[:, j : j + 1]).sum(1) for j in range(k)]
    return before + torch.stack(beside, 1)


@battery.right("queue_places")
def a_tokens_choices_at_once(chosen):
    """A token's experts differ, so nobody stands beside himself."""
    came = one_hot(chosen).sum(1)
    return (came.cumsum(0) - 1).gather(1, chosen)


@battery.right("queue_places")
def rows_turned_twice(chosen):
    return those_before_and_those_beside(chosen.flip(1)).flip(1)


@_queue("one_hot was told of fewer")
def among_sixteen_experts(chosen):
    flat = chosen.flatten()
    table = one_hot(flat, 16)
    return (table.cumsum(0) * table).sum(-1).sub(1).view(chosen.shape)


@_queue("one_hot was told of fewer")
def among_those_that_occur(chosen):
    flat = chosen.flatten()
    table = one_hot(flat, len(flat.unique()))
    return (table.cumsum(0) * table).sum(-1).sub(1).view(chosen.shape)


@_queue("chosen.shape")
def viewed_in_pairs(chosen):
    return those_before_and_those_beside(chosen).flatten().view(-1, 2)


@_queue("begins again whenever")
def length_of_the_run(chosen):
    places, last = [], None
    for e in chosen.flatten().tolist():
        places.append(places[-1] + 1 if e == last else 0)
        last = e
    return torch.tensor(places).view(chosen.shape)


@_queue("place of its first one")
def the_first_choice_for_all(chosen):
    first = those_before_and_those_beside(chosen[:, :1])
    return first.expand(chosen.shape).clone()


@_queue("other experts are counted")
def largest_of_the_running_sums(chosen):
    running = one_hot(chosen.flatten()).cumsum(0) - 1
    return running.amax(-1).view(chosen.shape)


@battery.right("expert_matrices")
def one_wide_mlp(config, experts, active=False):
    in_use = (experts.count, experts.chosen)[active] + experts.shared
    wide = replace(config, hidden=in_use * experts.hidden)
    return mlp_matrices(wide) + config.width * experts.count


@battery.right("expert_matrices")
def without_the_idle_experts(config, experts, active=False):
    one = mlp_matrices(replace(config, hidden=experts.hidden))
    everything = (experts.count + experts.shared) * one + config.width * experts.count
    return everything - (experts.count - experts.chosen) * one * active


@battery.wrong("expert_matrices", says="depends on config.mlp")
def three_matrices_in_any_case(config, experts, active=False):
    in_use = (experts.chosen if active else experts.count) + experts.shared
    return config.width * (3 * experts.hidden * in_use + experts.count)


@battery.wrong("expert_matrices", says="changed the config")
def the_config_itself(config, experts, active=False):
    object.__setattr__(config, "hidden", experts.hidden)
    in_use = (experts.chosen if active else experts.count) + experts.shared
    return in_use * mlp_matrices(config) + config.width * experts.count


@battery.wrong("expert_matrices", says="Norms or biases")
def with_a_norm(config, experts, active=False):
    return one_wide_mlp(config, experts, active) + config.width


@battery.wrong("expert_matrices", says="go in as a factor")
def one_shared_beside_each(config, experts, active=False):
    one = mlp_matrices(replace(config, hidden=experts.hidden))
    routed = experts.chosen if active else experts.count
    return routed * (1 + experts.shared) * one + config.width * experts.count
