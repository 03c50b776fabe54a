"""Answers to lesson 07: k3; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch

from tools.graders import Battery

battery = Battery()


# --- k3: right --------------------------------------------------------------------------------


@battery.right("k3")
def with_expm1(logprobs, ref_logprobs):
    logratios = ref_logprobs - logprobs
    return torch.expm1(logratios) - logratios


@battery.right("k3")
def the_log_ratio_added(logprobs, ref_logprobs):
    log_ratio = logprobs - ref_logprobs
    return log_ratio + (-log_ratio).expm1()


@battery.right("k3")
def in_double_precision(logprobs, ref_logprobs):
    log_r = ref_logprobs.double() - logprobs.double()
    return (log_r.exp() - 1 - log_r).to(logprobs.dtype)


@battery.right("k3")
def token_by_token(logprobs, ref_logprobs):
    pairs = zip(logprobs.flatten(), ref_logprobs.flatten(), strict=True)
    each = [torch.special.expm1(q - p) - (q - p) for p, q in pairs]
    return torch.stack(each).reshape(logprobs.shape)


@battery.right("k3")
def with_a_series_near_zero(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    near = x**2 / 2 + x**3 / 6 + x**4 / 24
    return torch.where(x.abs() < 0.02, near, x.exp() - 1 - x)


@battery.right("k3")
def by_half_angles(logprobs, ref_logprobs):
    """e^x - 1 = 2 e^(x/2) sinh(x/2)."""
    x = torch.sub(ref_logprobs, logprobs)
    return 2 * (x / 2).exp() * (x / 2).sinh() - x


@battery.right("k3")
def never_below_zero(logprobs, ref_logprobs):
    x = (ref_logprobs - logprobs).double()
    return (x.exp() - 1 - x).clamp(min=0.0)


# --- k3: wrong --------------------------------------------------------------------------------


def _wrong(says):
    return battery.wrong("k3", says=says)


@_wrong("That is k1")
def k1_again(logprobs, ref_logprobs):
    return logprobs - ref_logprobs


@_wrong("That is k2")
def k2_again(logprobs, ref_logprobs):
    return (logprobs - ref_logprobs) ** 2 / 2


@_wrong("turned round")
def r_turned_round(logprobs, ref_logprobs):
    x = logprobs - ref_logprobs
    return torch.expm1(x) - x


@_wrong("log r is added")
def log_r_added(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return torch.expm1(x) + x


@_wrong("turned round")
def one_part_turned_round(logprobs, ref_logprobs):
    x = logprobs - ref_logprobs
    return torch.expm1(x) + x


@_wrong("multiplies its own logarithm")
def r_log_r(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return x.exp() * x


@_wrong("logarithm is missing")
def r_minus_one(logprobs, ref_logprobs):
    return torch.expm1(ref_logprobs - logprobs)


@_wrong("1 is missing")
def without_the_one(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return x.exp() - x


@_wrong("never be below 0")
def negated(logprobs, ref_logprobs):
    return -with_expm1(logprobs, ref_logprobs)


@_wrong("almost 1|near to 1")
def exp_minus_one(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return x.exp() - 1 - x


@_wrong("near to 1")
def exp_minus_one_kept_above_zero(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return (x.exp() - 1 - x).clamp(min=0)


@_wrong("quotients of them|difference of the logarithms")
def of_probabilities(logprobs, ref_logprobs):
    r = ref_logprobs.double().exp().float() / logprobs.double().exp().float()
    return r - 1 - r.log()


@_wrong("difference of the logarithms|it gives")
def with_a_small_constant(logprobs, ref_logprobs):
    r = ref_logprobs.exp() / (logprobs.exp() + 1e-10)
    return r - 1 - (r + 1e-10).log()


@_wrong("difference of the logarithms|gives")
def with_clamped_logs(logprobs, ref_logprobs):
    x = (ref_logprobs - logprobs).clamp(-20, 20)
    return torch.expm1(x) - x


@_wrong("no mean and no sum")
def the_mean(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs).mean()


@_wrong("no mean and no sum")
def sums_of_rows(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs).sum(dim=-1)


@_wrong("same number, a mean")
def mean_for_all(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs).mean().expand_as(logprobs)


@_wrong("size of the log-ratio")
def its_size(logprobs, ref_logprobs):
    return (logprobs - ref_logprobs).abs()


@_wrong("size of the log-ratio")
def k1_above_zero(logprobs, ref_logprobs):
    return (logprobs - ref_logprobs).relu()


@_wrong("policy, which weighs them")
def weighted(logprobs, ref_logprobs):
    return logprobs.exp() * (logprobs - ref_logprobs)


@_wrong("difference of the probabilities")
def difference_of_probabilities(logprobs, ref_logprobs):
    return logprobs.exp() - ref_logprobs.exp()


@_wrong("log-probabilities are divided")
def quotient_of_logs(logprobs, ref_logprobs):
    r = ref_logprobs / logprobs
    return r - 1 - r.log()


@_wrong("square of r - 1")
def squared_distance(logprobs, ref_logprobs):
    return torch.expm1(ref_logprobs - logprobs) ** 2 / 2


@_wrong("Both directions")
def both_directions(logprobs, ref_logprobs):
    one = with_expm1(logprobs, ref_logprobs)
    return (one + with_expm1(ref_logprobs, logprobs)) / 2


@_wrong("halved, or doubled")
def halved(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs) / 2


@_wrong("in bits")
def log_of_two(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return torch.expm1(x) - x / math.log(2)


@_wrong("no gradient")
def detached(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs).detach()


@_wrong("NumPy|no gradient")
def in_numpy(logprobs, ref_logprobs):
    x = ref_logprobs.numpy() - logprobs.numpy()
    return torch.tensor(np.expm1(x) - x)


@_wrong("gradient of the policy's")
def ratio_detached(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return torch.expm1(x.detach()) - x


@_wrong("gradient of the policy's")
def logarithm_detached(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return torch.expm1(x) - x.detach()


@_wrong("within limits")
def clipped(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return x.exp().clamp(0.8, 1.2) - 1 - x


@_wrong("softmax was taken again")
def softmax_again(logprobs, ref_logprobs):
    return with_expm1(
        logprobs.log_softmax(-1) if logprobs.ndim else logprobs,
        ref_logprobs.log_softmax(-1) if logprobs.ndim else ref_logprobs,
    )


@_wrong("changed its own input")
def in_place(logprobs, ref_logprobs):
    ref_logprobs -= logprobs
    return torch.expm1(ref_logprobs) - ref_logprobs


@_wrong("it gives|first digits")
def rounded(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs).round(decimals=3)


@_wrong("first digits|series|it gives")
def by_three_terms(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return x**2 / 2 + x**3 / 6 + x**4 / 24


@_wrong("it gives")
def the_worked_value(logprobs, ref_logprobs):
    return torch.full_like(logprobs, 0.1931)


@_wrong("no clamp")
def exponent_of_twenty_at_most(logprobs, ref_logprobs):
    x = ref_logprobs - logprobs
    return torch.expm1(x.clamp(max=20)) - x


@_wrong("exactly 0")
def a_small_constant_added(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs) + 1e-8


@_wrong("near to 1")
def zero_where_nearly_alike(logprobs, ref_logprobs):
    near = (logprobs - ref_logprobs).abs() < 2e-4
    return with_expm1(logprobs, ref_logprobs).masked_fill(near, 0.0)


@_wrong("made one row")
def in_one_row(logprobs, ref_logprobs):
    return with_expm1(logprobs, ref_logprobs).flatten()


# --- what an attack from the card alone found -----------------------------------------------


@battery.wrong("k3", says="type torch.float32")
def in_single_precision(logprobs, ref_logprobs):
    x = ref_logprobs.float() - logprobs.float()
    return torch.expm1(x) - x


@battery.right("k3")
def in_double_on_the_way(logprobs, ref_logprobs):
    x = ref_logprobs.double() - logprobs.double()
    return (x.exp() - 1 - x).to(logprobs.dtype)
