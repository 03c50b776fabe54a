"""Answers to lesson 09: the best policy on a leash; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch

from course_lib.bandits import leashed_optimum
from course_lib.dpo.tables import log_partition
from tools.graders import Battery

battery = Battery()


def _right(answer):
    return battery.right("optimal_policy")(answer)


# --- right --------------------------------------------------------------------------------------


@_right
def softmax_of_the_sum(ref, rewards, beta):
    return torch.softmax(torch.log(ref) + rewards / beta, dim=-1)


@_right
def with_the_partition_function(ref, rewards, beta):
    z = log_partition(ref, rewards, beta).unsqueeze(-1)
    return (ref.log() + rewards / beta - z).exp()


@_right
def weights_below_the_best(ref, rewards, beta):
    possible = rewards.masked_fill(ref == 0, -torch.inf)
    best = possible.max(dim=-1, keepdim=True).values
    weights = ref * ((possible - best) / beta).exp()
    return weights / weights.sum(dim=-1, keepdim=True)


@_right
def answer_by_answer(ref, rewards, beta):
    found = torch.zeros_like(ref).reshape(-1, ref.shape[-1])
    rows = zip(ref.reshape(found.shape), rewards.reshape(found.shape), strict=True)
    for i, (shares, earned) in enumerate(rows):
        logs = [
            math.log(p) + r / beta if p else -math.inf
            for p, r in zip(shares.tolist(), earned.tolist(), strict=True)
        ]
        top = max(logs)
        total = sum(math.exp(x - top) for x in logs)
        for a, x in enumerate(logs):
            found[i, a] = math.exp(x - top) / total
    return found.reshape(ref.shape)


@_right
def in_numpy(ref, rewards, beta):
    with np.errstate(divide="ignore"):
        logs = np.log(ref.numpy()) + rewards.numpy() / beta
    logs = logs - logs.max(-1, keepdims=True)
    weights = np.exp(logs)
    return torch.from_numpy(weights / weights.sum(-1, keepdims=True))


@_right
def in_double(ref, rewards, beta):
    wide = torch.logaddexp(ref.double().log(), torch.full_like(ref, -torch.inf).double())  # fmt: skip
    return (wide + rewards.double() / beta).log_softmax(-1).exp().to(ref.dtype)


@_right
def all_over_beta(ref, rewards, beta):
    return ((beta * ref.log() + rewards) / beta).softmax(-1)


@_right
def against_each_other(ref, rewards, beta):
    """One over the sum of how much likelier every other answer is."""
    logs = (ref.log() + rewards / beta).masked_fill(ref == 0, -torch.inf)
    gaps = logs.unsqueeze(-2) - logs.unsqueeze(-1)  # (..., this, other)
    return (1 / gaps.exp().sum(-1)).masked_fill(ref == 0, 0.0)


# --- wrong --------------------------------------------------------------------------------------


def _wrong(name, says, find):
    """find(p, r, b)"""

    def answer(ref, rewards, beta):
        return find(ref, rewards, beta)

    answer.__name__ = name
    battery.wrong("optimal_policy", says=says)(answer)


def _shares(x):
    return x / x.sum(-1, keepdim=True)


def _by_hand(p, r, b):
    return _shares(p * (r / b).exp())


def _below_all(p, r, b):
    """The best of all answers, also of the impossible ones."""
    return _shares(p * ((r - r.amax(-1, keepdim=True)) / b).exp())


_wrong("without_the_reference", "reference makes no difference", lambda p, r, b: (r / b).softmax(-1))  # fmt: skip
_wrong("softmax_of_rewards", "reference makes no difference", lambda p, r, b: r.softmax(-1))  # fmt: skip
_wrong("without_beta", "`beta` makes no difference", lambda p, r, b: (p.log() + r).softmax(-1))  # fmt: skip
_wrong("without_beta_by_hand", "`beta` makes no difference", lambda p, r, b: _shares(p * r.exp()))  # fmt: skip
_wrong("times_beta", "multiplied by beta", lambda p, r, b: (p.log() + r * b).softmax(-1))  # fmt: skip
_wrong("all_divided", "divides the reference's logarithm", lambda p, r, b: ((p.log() + r) / b).softmax(-1))  # fmt: skip
_wrong("the_wrong_one_divided", "divides the reference's logarithm", lambda p, r, b: (p.log() / b + r).softmax(-1))  # fmt: skip
_wrong("brackets", "divides the reference's logarithm", lambda p, r, b: torch.softmax(torch.log(p) + r, -1) ** (1 / b) / (torch.softmax(torch.log(p) + r, -1) ** (1 / b)).sum(-1, keepdim=True))  # fmt: skip
_wrong("not_normalised", "do not sum to 1", lambda p, r, b: p * (r / b).exp())
_wrong("products_of_shares", "do not sum to 1", lambda p, r, b: p * (r / b).softmax(-1))
_wrong("without_beta_not_normalised", "`beta` makes no difference", lambda p, r, b: p * r.exp())  # fmt: skip
_wrong("over_the_prompts", "normalising sum", lambda p, r, b: (p.log() + r / b).softmax(0))  # fmt: skip
_wrong("over_the_table", "normalising sum", lambda p, r, b: (p.log() + r / b).flatten().softmax(0).view(p.shape))  # fmt: skip
_wrong("dimension_one", "stopped with IndexError", lambda p, r, b: (p.log() + r / b).softmax(1))  # fmt: skip
_wrong("sum_of_all", "normalising sum", lambda p, r, b: p * (r / b).exp() / (p * (r / b).exp()).sum())  # fmt: skip
_wrong("log_forgotten", "is added, not its logarithm", lambda p, r, b: (p + r / b).softmax(-1))  # fmt: skip
_wrong("multiplied_inside", "multiplied by the rewards in the exponent", lambda p, r, b: (p * r / b).softmax(-1))  # fmt: skip
_wrong("exponential_forgotten", "lost their exponential", lambda p, r, b: _shares(p * r / b))  # fmt: skip
_wrong("a_first_order", "lost their exponential", lambda p, r, b: _shares(p * (1 + r / b)))  # fmt: skip
_wrong("divided_by_the_reference", "divided by the reference", lambda p, r, b: (r / b - p.log()).softmax(-1))  # fmt: skip
_wrong("sign_turned", "sign is turned", lambda p, r, b: (p.log() - r / b).softmax(-1))
_wrong("best_takes_all", "gets everything", lambda p, r, b: torch.nn.functional.one_hot(r.argmax(-1), r.shape[-1]).to(r.dtype))  # fmt: skip
_wrong("likeliest_takes_all", "gets everything", lambda p, r, b: torch.nn.functional.one_hot((p.log() + r / b).argmax(-1), r.shape[-1]).to(r.dtype))  # fmt: skip
_wrong("the_best_answer", "returned shape", lambda p, r, b: (p.log() + r / b).argmax(-1))  # fmt: skip
_wrong("logits", "Those are logarithms", lambda p, r, b: p.log() + r / b)
_wrong("log_probabilities", "Those are logarithms", lambda p, r, b: (p.log() + r / b).log_softmax(-1))  # fmt: skip
_wrong("the_reference", "That is the reference", lambda p, r, b: p.clone())
_wrong("a_mixture", "mixture", lambda p, r, b: b * p + (1 - b) * (r / b).softmax(-1))
_wrong("the_mean_of_both", "mixture", lambda p, r, b: (p + (r / b).softmax(-1)) / 2)
_wrong("softmax_twice", "two softmaxes", lambda p, r, b: (p.log() + r / b).softmax(-1).softmax(-1))  # fmt: skip
_wrong("softmax_of_the_reference", "is added, not", lambda p, r, b: (p.softmax(-1).log() + r / b).softmax(-1))  # fmt: skip
_wrong("softmax_of_products", "softmax of the products", lambda p, r, b: (p * (r / b).exp()).softmax(-1))  # fmt: skip
_wrong("base_two", "another base", lambda p, r, b: (p.log2() + r / b).softmax(-1))
_wrong("standardised", "rewards were changed", lambda p, r, b: (p.log() + ((r - r.mean(-1, keepdim=True)) / r.std(-1, keepdim=True)) / b).softmax(-1))  # fmt: skip
_wrong("rewards_below_1", "rewards were changed|cut off", lambda p, r, b: (p.log() + r.clamp(-1, 1) / b).softmax(-1))  # fmt: skip
_wrong("overflows", "overflows", _by_hand)
_wrong("saved_from_nan", "cut off", lambda p, r, b: _by_hand(p, r, b).nan_to_num())  # fmt: skip
_wrong("exponents_held", "cut off", lambda p, r, b: _shares(p * (r / b).clamp(-80, 80).exp()))  # fmt: skip
_wrong("below_the_impossible", "reference is 0, with a reward of 1000|reference never gives", _below_all)  # fmt: skip
_wrong("below_the_best_of_all_prompts", "overflows|all of them are 0|reference is 0", lambda p, r, b: _shares(p * ((r - r.max()) / b).exp()))  # fmt: skip
_wrong("a_small_constant", "small constant", lambda p, r, b: ((p + 1e-8).log() + r / b).softmax(-1))  # fmt: skip
_wrong("a_floor", "small constant", lambda p, r, b: (p.clamp(min=1e-30).log() + r / b).softmax(-1))  # fmt: skip
_wrong("minus_infinity_mended", "small constant", lambda p, r, b: (p.log().nan_to_num(neginf=-100.0) + r / b).softmax(-1))  # fmt: skip
_wrong("nan_at_zero", "reference is 0", lambda p, r, b: (p * p.log() / p + r / b).softmax(-1))  # fmt: skip
_wrong("one_prompt_alone", "normalising sum", lambda p, r, b: torch.stack([x.log() + y / b for x, y in zip(p, r, strict=True)]).softmax(0))  # fmt: skip
_wrong("of_the_first_prompt", "the first one", lambda p, r, b: (p.log() + r / b).reshape(-1, p.shape[-1])[0].softmax(-1).expand_as(p).clone())  # fmt: skip
_wrong("two_dimensions_alone", "normalising sum", lambda p, r, b: (p.log() + r / b).softmax(min(1, p.ndim - 1)))  # fmt: skip
_wrong("always_float32", "type torch.float32", lambda p, r, b: (p.log() + r / b).float().softmax(-1))  # fmt: skip
_wrong("back_to_float64", "digits are lost", lambda p, r, b: (p.log() + r / b).float().softmax(-1).to(p.dtype))  # fmt: skip
_wrong("rounded", "first digits", lambda p, r, b: (p.log() + r / b).softmax(-1).mul(1000).round() / 1000)  # fmt: skip
_wrong("beta_of_one_half", "`beta` makes no difference", lambda p, r, b: (p.log() + r * 2).softmax(-1))  # fmt: skip
_wrong("beta_at_least_a_tenth", "should be|beta=0.01|cut off", lambda p, r, b: (p.log() + r / max(b, 0.1)).softmax(-1))  # fmt: skip
_wrong("a_list", "returned a list", lambda p, r, b: (p.log() + r / b).softmax(-1).tolist())  # fmt: skip
_wrong("the_partition_function", "one number for each prompt", lambda p, r, b: log_partition(p, r, b))  # fmt: skip
_wrong("over_exp_of_nothing", "do not sum to 1", lambda p, r, b: p * (r / b).exp() / (r / b).exp().sum(-1, keepdim=True))  # fmt: skip
_wrong("the_bandits_own", "course_lib's own", lambda p, r, b: leashed_optimum(r, p.log(), b))  # fmt: skip
_wrong("sigmoids", "sigmoid by itself", lambda p, r, b: (p.log() + r / b).sigmoid())


@battery.wrong("optimal_policy", says="changed its own input")
def in_place(ref, rewards, beta):
    rewards /= beta
    return (ref.log() + rewards).softmax(-1)


# --- found by attacking the check -------------------------------------------------------------


@_right
def a_large_negative_number_for_never(ref, rewards, beta):
    scores = (ref + (ref == 0)).log() + rewards / beta
    return scores.masked_fill(ref == 0, -1e30).softmax(-1)


@_right
def as_a_distribution(ref, rewards, beta):
    return torch.distributions.Categorical(logits=ref.log() + rewards / beta).probs


_wrong("never_is_1e_minus_4343", "a reward of 1000 and beta=0.01", lambda p, r, b: (p.log().clamp(min=-1e4) + r / b).softmax(-1))  # fmt: skip
_wrong("never_is_minus_1e9", "and beta=0.01, is given 1", lambda p, r, b: (p.log().clamp(min=-1e9) + r / b).softmax(-1))  # fmt: skip
_wrong("in_one_piece_only", "stopped with RuntimeError.*view", lambda p, r, b: (p.view(-1, p.shape[-1]).log() + r.view(-1, p.shape[-1]) / b).softmax(-1).view(p.shape))  # fmt: skip
_wrong("beta_at_least_a_fiftieth", "should be|first digits|shares", lambda p, r, b: (p.log() + r / max(b, 0.02)).softmax(-1))  # fmt: skip
