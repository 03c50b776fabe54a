"""Answers to lesson 07: the credit of each token; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch
from torch.nn import functional

from course_lib.masks import masked_mean
from course_lib.ppo.losses import check_tokens
from tools.graders import Battery

battery = Battery()


# --- gae: right -------------------------------------------------------------------------------


@battery.right("gae")
def from_the_right(rewards, values, response_mask, discount=1.0, lam=0.95):
    check_tokens(response_mask, rewards=rewards, values=values)
    values = values.detach().masked_fill(~response_mask, 0.0)
    rewards = rewards.masked_fill(~response_mask, 0.0)
    following = functional.pad(values[:, 1:], (0, 1))
    surprises = rewards + discount * following - values
    later, columns = torch.zeros_like(values[:, 0]), []
    for t in reversed(range(values.shape[1])):
        later = surprises[:, t] + discount * lam * later
        columns.append(later)
    return torch.stack(columns[::-1], dim=1).masked_fill(~response_mask, 0.0)


@battery.right("gae")
def row_by_row(rewards, values, response_mask, discount=1.0, lam=0.95):
    advantages = torch.zeros_like(rewards)
    for b, length in enumerate(response_mask.sum(1).tolist()):
        later = value = 0.0
        for t in range(length - 1, -1, -1):
            surprise = rewards[b, t].item() + discount * value - values[b, t].item()
            later = surprise + discount * lam * later
            value = values[b, t].item()
            advantages[b, t] = later
    return advantages


@battery.right("gae")
@torch.no_grad()
def as_a_matrix(rewards, values, response_mask, discount=1.0, lam=0.95):
    T = rewards.shape[1]
    rewards, values = (torch.where(response_mask, x, 0) for x in (rewards, values))
    surprises = rewards - values
    surprises[:, :-1] += discount * values[:, 1:]
    steps = torch.arange(T)[:, None] - torch.arange(T)
    weights = (discount * lam) ** steps.clamp(min=0) * (steps >= 0)
    return (surprises @ weights.to(rewards.dtype)) * response_mask


@battery.right("gae")
@torch.no_grad()
def as_a_double_sum(rewards, values, response_mask, discount=1.0, lam=0.95):
    advantages = torch.zeros_like(values)
    lengths = response_mask.sum(1)
    for b, n in enumerate(lengths):
        r, v = rewards[b, :n], torch.cat([values[b, :n], values.new_zeros(1)])
        surprises = r + discount * v[1:] - v[:-1]
        for t in range(n):
            decay = (discount * lam) ** torch.arange(n - t).to(r.dtype)
            advantages[b, t] = (decay * surprises[t:]).sum()
    return advantages


@battery.right("gae")
def in_numpy(rewards, values, response_mask, discount=1.0, lam=0.95):
    keep = response_mask.numpy()
    r, v = (np.where(keep, x.detach().numpy(), 0.0) for x in (rewards, values))
    v = np.concatenate([v, np.zeros((len(v), 1), v.dtype)], axis=1)
    out = np.zeros_like(r)
    last = np.zeros(len(r), r.dtype)
    for t in range(r.shape[1] - 1, -1, -1):
        last = r[:, t] + discount * v[:, t + 1] - v[:, t] + discount * lam * last
        out[:, t] = last
    return torch.from_numpy(np.where(keep, out, 0.0)).to(rewards.dtype)


@battery.right("gae")
def from_lambda_returns(rewards, values, response_mask, discount=1.0, lam=0.95):
    zero = torch.zeros((), dtype=rewards.dtype)
    r, v = (torch.where(response_mask, x.detach(), zero) for x in (rewards, values))
    returns = torch.zeros_like(r)
    ahead = value = torch.zeros_like(r[:, 0])
    for t in range(r.shape[1] - 1, -1, -1):
        ahead = r[:, t] + discount * ((1 - lam) * value + lam * ahead)
        returns[:, t], value = ahead, v[:, t]
    return torch.where(response_mask, returns - v, zero)


@battery.right("gae")
def by_recursion(rewards, values, response_mask, discount=1.0, lam=0.95):
    rewards, values = (x.detach().masked_fill(~response_mask, 0.0) for x in (rewards, values))  # fmt: skip

    def rest(t):
        if t == rewards.shape[1]:
            return [torch.zeros(len(rewards), dtype=rewards.dtype)]
        after = rest(t + 1)
        value = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        surprise = rewards[:, t] + discount * value - values[:, t]
        return [surprise + discount * lam * after[0], *after]

    return torch.stack(rest(0)[:-1], dim=1) * response_mask


# --- gae: wrong -------------------------------------------------------------------------------


def _scan(r, v, after, m, g, decay, keep=None):
    """From the right: surprises made of r, v and the values after."""
    surprises, later, out = r + g * after - v, torch.zeros_like(v[:, 0]), []
    for t in reversed(range(v.shape[1])):
        if keep is not None:
            later = later * keep[:, t]
        later = surprises[:, t] + decay * later
        out.append(later)
    return torch.stack(out[::-1], 1).masked_fill(~m, 0.0)


def _next(v):
    return functional.pad(v[:, 1:], (0, 1))


def _wrong(name, says, find):
    """find(r, v, m, g, l): rewards and values without padding, mask, discount, lambda."""

    def answer(rewards, values, response_mask, discount=1.0, lam=0.95):
        r, v = (x.detach().masked_fill(~response_mask, 0.0) for x in (rewards, values))
        return find(r, v, response_mask, discount, lam)

    answer.__name__ = name
    battery.wrong("gae", says=says)(answer)


def _raw(name, says, find):
    """The same, with whatever stands in the padding."""

    def answer(rewards, values, response_mask, discount=1.0, lam=0.95):
        return find(rewards, values.detach(), response_mask, discount, lam)

    answer.__name__ = name
    battery.wrong("gae", says=says)(answer)


def _good(r, v, m, g, l):
    return _scan(r, v, _next(v), m, g, g * l)


def _lengths(m):
    return m.sum(1)


def _last(m):
    return torch.arange(len(m)), m.sum(1) - 1


def _bootstrapped(v, m):
    after = _next(v)
    after[_last(m)] = v[_last(m)]
    return after


# discount and lambda
_wrong("exchanged", "changed places", lambda r, v, m, g, l: _good(r, v, m, l, g))
_wrong("lam_in_the_surprise", "changed places|where a value is expected", lambda r, v, m, g, l: _scan(r, v, _next(v), m, l, g * l))  # fmt: skip
_wrong("without_lam", "`lam` makes no difference", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, g))  # fmt: skip
_wrong("surprises_summed", "`lam` makes no difference", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, 1.0))  # fmt: skip
_wrong("lam_alone", "by `lam` alone", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, l))  # fmt: skip
_wrong("without_discount", "`discount` makes no difference", lambda r, v, m, g, l: _good(r, v, m, 1.0, l))  # fmt: skip
_wrong("discount_outside_alone", "one of its two places", lambda r, v, m, g, l: _scan(r, v, _next(v), m, 1.0, g * l))  # fmt: skip
_wrong("lam_on_the_next_value", "where a value is expected", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g * l, g * l))  # fmt: skip
_wrong("default_lam", "fixed discount or lambda", lambda r, v, m, g, l: _good(r, v, m, g, 0.95))  # fmt: skip
_wrong("default_discount", "`discount` makes no|fixed", lambda r, v, m, g, l: _good(r, v, m, 1.0, l))  # fmt: skip
_wrong("both_fixed", "fixed discount or lambda", lambda r, v, m, g, l: _good(r, v, m, 0.99, 0.95))  # fmt: skip
_wrong("lambda_one_always", "`lam` makes no difference", lambda r, v, m, g, l: _good(r, v, m, g, 1.0))  # fmt: skip
_wrong("lambda_zero_always", "surprise of each single step", lambda r, v, m, g, l: _good(r, v, m, g, 0.0))  # fmt: skip
_wrong("discount_squared", "by its distance|should be", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, g * g * l))  # fmt: skip
_wrong("one_less_lambda", "distance|mean of the two|should be", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, g * (1 - l)))  # fmt: skip
_wrong("normalised", "not shrunk", lambda r, v, m, g, l: (1 - l) * _good(r, v, m, g, l) if l < 1 else _good(r, v, m, g, l))  # fmt: skip
_wrong("divided_powers", "should be|changed", lambda r, v, m, g, l: _powers(r, v, m, g, l))  # fmt: skip


def _powers(r, v, m, g, l):
    weights = (g * l) ** torch.arange(r.shape[1]).to(r.dtype)
    surprises = (r + g * _next(v) - v) * weights
    return surprises.flip(1).cumsum(1).flip(1) / weights * m


# the end of a response
_raw("value_of_padding", "leaks in", lambda r, v, m, g, l: _good(r, v, m, g, l))
_raw("value_of_padding_trace_cut", "leaks in", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, g * l, functional.pad(m[:, 1:], (0, 1))))  # fmt: skip
_raw("rewards_of_padding", "leaks in", lambda r, v, m, g, l: _good(r, v.masked_fill(~m, 0), m, g, l))  # fmt: skip
_raw("values_of_padding", "leaks in", lambda r, v, m, g, l: _good(r.masked_fill(~m, 0), v, m, g, l))  # fmt: skip
_raw("held_at_the_last_column", "leaks in|own value", lambda r, v, m, g, l: _scan(r, v, torch.cat([v[:, 1:], v[:, -1:]], 1), m, g, g * l))  # fmt: skip
_raw("rolled_round", "leaks in", lambda r, v, m, g, l: _scan(r, v, v.roll(-1, 1), m, g, g * l))  # fmt: skip
_wrong("rolled_round_clean", "leaks in", lambda r, v, m, g, l: _scan(r, v, v.roll(-1, 1), m, g, g * l))  # fmt: skip
_wrong("own_value_at_the_end", "own value", lambda r, v, m, g, l: _scan(r, v, _bootstrapped(v, m), m, g, g * l))  # fmt: skip
_raw("first_length_for_all", "as long as one|leaks in|wanted|should be", lambda r, v, m, g, l: _of_length(r, v, m, g, l, 0))  # fmt: skip
_raw("last_length_for_all", "as long as one|leaks in|wanted|should be", lambda r, v, m, g, l: _of_length(r, v, m, g, l, -1))  # fmt: skip
_wrong("padding_carries_on", "else than 0", lambda r, v, m, g, l: _good(r, v, m, g, l) + (~m) * 0.5)  # fmt: skip
_wrong("padding_minus_values", "else than 0", lambda r, v, m, g, l: torch.where(m, _good(r, v, m, g, l), -v - 1))  # fmt: skip
_wrong("padding_nan", "else than 0", lambda r, v, m, g, l: _good(r, v, m, g, l).masked_fill(~m, torch.nan))  # fmt: skip
_raw("padding_is_minus_the_value", "else than 0", lambda r, v, m, g, l: torch.where(m, _good(r.masked_fill(~m, 0), v.masked_fill(~m, 0), m, g, l), -v))  # fmt: skip


def _of_length(r, v, m, g, l, row):
    k = torch.arange(m.shape[1]) < m.sum(1)[row]
    return _good(r * k, v * k, m, g, l)


# other quantities
_wrong("returns", "Those are the returns", lambda r, v, m, g, l: _good(r, v, m, g, l) + v)  # fmt: skip
_wrong("rewards_to_go", "rewards from each token on", lambda r, v, m, g, l: _scan(r, v * 0, v * 0, m, g, g))  # fmt: skip
_wrong("rewards_to_go_with_lam", "values make no difference", lambda r, v, m, g, l: _scan(r, v * 0, v * 0, m, g, g * l))  # fmt: skip
_wrong("rewards_alone", "rewards from each token on|should be", lambda r, v, m, g, l: r)
_wrong("monte_carlo", "`lam` makes no difference", lambda r, v, m, g, l: (_scan(r, v * 0, v * 0, m, g, g) - v) * m)  # fmt: skip
_wrong("surprises", "surprise of each single step", lambda r, v, m, g, l: (r + g * _next(v) - v) * m)  # fmt: skip
_wrong("own_value_missing", "not taken away", lambda r, v, m, g, l: _scan(r, v * 0, _next(v), m, g, g * l))  # fmt: skip
_wrong("next_value_missing", "next token's value is missing", lambda r, v, m, g, l: _scan(r, v, v * 0, m, g, g * l))  # fmt: skip
_wrong("rewards_less_values", "next token's value is missing", lambda r, v, m, g, l: (r - v) * m)  # fmt: skip
_wrong("turned", "sign is turned", lambda r, v, m, g, l: -_good(r, v, m, g, l))
_wrong("own_value_added", "wrong sign", lambda r, v, m, g, l: _scan(r, -v, _next(v), m, g, g * l))  # fmt: skip
_wrong("values_the_wrong_way", "wrong sign", lambda r, v, m, g, l: _scan(r, -v, -_next(v), m, g, g * l))  # fmt: skip
_wrong("next_value_taken_away", "wrong sign", lambda r, v, m, g, l: _scan(r, v, -_next(v), m, g, g * l))  # fmt: skip
_wrong("forwards", "runs forwards", lambda r, v, m, g, l: _good_forward(r, v, m, g, l))
_wrong("values_shifted", "shifted by one", lambda r, v, m, g, l: _scan(r, functional.pad(v[:, :-1], (1, 0)), v, m, g, g * l))  # fmt: skip
_wrong("rewards_shifted", "shifted by one", lambda r, v, m, g, l: _scan(_next(r), v, _next(v), m, g, g * l))  # fmt: skip
_wrong("advantages_shifted", "shifted by one", lambda r, v, m, g, l: _next(_good(r, v, m, g, l)))  # fmt: skip
_wrong("without_the_own_step", "shifted by one", lambda r, v, m, g, l: _good(r, v, m, g, l) - (r + g * _next(v) - v) * m)  # fmt: skip
_wrong("whitened", "were whitened", lambda r, v, m, g, l: _white(_good(r, v, m, g, l), m))  # fmt: skip
_wrong("centred", "were whitened", lambda r, v, m, g, l: _centred(_good(r, v, m, g, l), m))  # fmt: skip
_wrong("same_for_all", "gets the same", lambda r, v, m, g, l: masked_mean(_good(r, v, m, g, l), m, 1)[:, None] * m)  # fmt: skip
_wrong("whole_reward_less_value", "gets the same", lambda r, v, m, g, l: (r.sum(1, keepdim=True) - v) * m)  # fmt: skip
_wrong("reward_at_the_end_alone", "Only the rewards of the last token", lambda r, v, m, g, l: _good(_at_end(r, m), v, m, g, l))  # fmt: skip
_wrong("no_recursion", "by its distance|should be", lambda r, v, m, g, l: _one_step(r, v, m, g, l))  # fmt: skip
_wrong("columns_as_rows", "changed places|should be", lambda r, v, m, g, l: _good(r, v, m, g, l).T)  # fmt: skip
_wrong("per_response", "for each response", lambda r, v, m, g, l: _good(r, v, m, g, l).sum(1))  # fmt: skip
_wrong("total", "whole batch", lambda r, v, m, g, l: _good(r, v, m, g, l).mean())
_wrong("kept_alone", "kept tokens", lambda r, v, m, g, l: _good(r, v, m, g, l)[m])
_wrong("advantages_and_returns", "returned a tuple", lambda r, v, m, g, l: (_good(r, v, m, g, l), _good(r, v, m, g, l) + v))  # fmt: skip
_wrong("as_a_list", "returned a list", lambda r, v, m, g, l: _good(r, v, m, g, l).tolist())  # fmt: skip
_wrong("as_an_array", "returned a ndarray", lambda r, v, m, g, l: _good(r, v, m, g, l).numpy())  # fmt: skip
_wrong("in_single", "torch.float64", lambda r, v, m, g, l: _good(r.float(), v.float(), m, g, l))  # fmt: skip
_wrong("too_long", "place too many", lambda r, v, m, g, l: functional.pad(_good(r, v, m, g, l), (0, 1)))  # fmt: skip
_wrong("too_short", "place is missing", lambda r, v, m, g, l: _good(r, v, m, g, l)[:, :-1])  # fmt: skip
_wrong("without_the_last", "should be|missing", lambda r, v, m, g, l: _without_last(_good(r, v, m, g, l), m))  # fmt: skip
_wrong("first_row_alone", "should be|shape", lambda r, v, m, g, l: _good(r, v, m, g, l)[:1].expand_as(r) * m)  # fmt: skip
_wrong("clipped", "should be|first digits", lambda r, v, m, g, l: _good(r, v, m, g, l).clamp(-3, 3))  # fmt: skip
_wrong("five_steps_at_most", "should be", lambda r, v, m, g, l: _few(r, v, m, g, l, 5))
_wrong("ten_steps_at_most", "should be|first digits", lambda r, v, m, g, l: _few(r, v, m, g, l, 10))  # fmt: skip
_wrong("rewards_clipped_at_10", "should be", lambda r, v, m, g, l: _good(r.clamp(-10, 10), v, m, g, l))  # fmt: skip
_wrong("absolute", "should be", lambda r, v, m, g, l: _good(r, v, m, g, l).abs())  # fmt: skip
_wrong("good_ones_alone", "should be", lambda r, v, m, g, l: _good(r, v, m, g, l).relu())  # fmt: skip
_wrong("mean_over_what_follows", "should be", lambda r, v, m, g, l: _good(r, v, m, g, l) / m.flip(1).cumsum(1).flip(1).clamp(min=1))  # fmt: skip
_wrong("undiscounted_rewards_less_value", "fixed discount or lambda", lambda r, v, m, g, l: (r.flip(1).cumsum(1).flip(1) - v) * m)  # fmt: skip
_wrong("two_steps", "should be", lambda r, v, m, g, l: (r + g * _next(r) + g * g * _next(_next(v)) - v) * m)  # fmt: skip
_wrong("values_discounted_both", "should be|one of its", lambda r, v, m, g, l: _scan(r, g * v, g * _next(v), m, 1.0, g * l))  # fmt: skip
_wrong("rewards_discounted", "should be", lambda r, v, m, g, l: _scan(g * r, v, _next(v), m, g, g * l))  # fmt: skip
_wrong("discount_minus", "should be|by its", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, g - l))  # fmt: skip
_wrong("lam_plus_discount", "should be|by its", lambda r, v, m, g, l: _scan(r, v, _next(v), m, g, (g + l) / 2))  # fmt: skip
_wrong("mean_value_as_baseline", "should be", lambda r, v, m, g, l: (_scan(r, v * 0, v * 0, m, g, g * l) - v.mean()) * m)  # fmt: skip
_wrong("batch_mixed", "should be|forwards", lambda r, v, m, g, l: _good(r.flip(0), v.flip(0), m, g, l))  # fmt: skip
_wrong("flat_batch", "should be|leaks", lambda r, v, m, g, l: _good(r.reshape(1, -1), v.reshape(1, -1), m.reshape(1, -1), g, l).view_as(r))  # fmt: skip
_wrong("ends_one_early", "should be|own|leaks", lambda r, v, m, g, l: _good(r * _next(m * 1.0), v * _next(m * 1.0), m, g, l))  # fmt: skip


def _good_forward(r, v, m, g, l):
    surprises, rest, out = r + g * _next(v) - v, torch.zeros_like(v[:, 0]), []
    for t in range(v.shape[1]):
        rest = surprises[:, t] + g * l * rest
        out.append(rest)
    return torch.stack(out, 1) * m


def _centred(x, m):
    return (x - masked_mean(x, m)) * m


def _white(x, m):
    return _centred(x, m) / (x[m].std(correction=0) + 1e-8)


def _at_end(r, m):
    alone = torch.zeros_like(r)
    alone[_last(m)] = r[_last(m)]
    return alone


def _one_step(r, v, m, g, l):
    surprises = (r + g * _next(v) - v) * m
    return surprises + g * l * _next(surprises)


def _without_last(x, m):
    x = x.clone()
    x[_last(m)] = 0.0
    return x


def _few(r, v, m, g, l, steps):
    surprises = (r + g * _next(v) - v) * m
    out = torch.zeros_like(r)
    for k in range(steps):
        out[:, : max(r.shape[1] - k, 0)] += (g * l) ** k * surprises[:, k:]
    return out * m


# padding that is no number, gradients, inputs


@battery.wrong("gae", says="With nan in the padding")
def times_mask(rewards, values, response_mask, discount=1.0, lam=0.95):
    r, v = rewards * response_mask, values.detach() * response_mask
    return _good(r, v, response_mask, discount, lam)


@battery.wrong("gae", says="With nan in the padding")
def later_times_mask(rewards, values, response_mask, discount=1.0, lam=0.95):
    values, m = values.detach().masked_fill(~response_mask, 0.0), response_mask
    out, later, value = torch.zeros_like(values), 0.0, 0.0
    for t in reversed(range(values.shape[1])):
        later = rewards[:, t] + discount * value - values[:, t] + discount * lam * later
        later = later * m[:, t]
        out[:, t], value = later, values[:, t]
    return out


@battery.wrong("gae", says="With nan in the padding.*the padding is not 0")
def last_step_times_mask(rewards, values, response_mask, discount=1.0, lam=0.95):
    m = response_mask
    clean = from_the_right(rewards, values, m, discount, lam)
    return torch.where(m, clean, 0 * (rewards + values.detach()))


@battery.wrong("gae", says="flows back into the values")
def values_learn(rewards, values, response_mask, discount=1.0, lam=0.95):
    r, v = (x.masked_fill(~response_mask, 0.0) for x in (rewards, values))
    return _good(r, v, response_mask, discount, lam)


@battery.wrong("gae", says="flows back into the values")
def values_detached_in_one_place(rewards, values, response_mask, discount=1.0, lam=0.95):  # fmt: skip
    r, v = (x.masked_fill(~response_mask, 0.0) for x in (rewards, values))
    return _scan(r, v, _next(v.detach()), response_mask, discount, discount * lam)


@battery.wrong("gae", says="changed its own input")
def blanked_in_place(rewards, values, response_mask, discount=1.0, lam=0.95):
    values = values.detach()
    values[~response_mask] = 0.0
    return from_the_right(rewards, values, response_mask, discount, lam)


@battery.wrong("gae", says="changed its own input")
def written_into_the_rewards(rewards, values, response_mask, discount=1.0, lam=0.95):
    found = from_the_right(rewards, values, response_mask, discount, lam)
    return rewards.copy_(found)


@battery.wrong("gae", says="unexpected keyword")
def without_rates(rewards, values, response_mask):
    return from_the_right(rewards, values, response_mask, 1.0, 0.95)


@battery.wrong("gae", says="should be|fixed")
def other_defaults(rewards, values, response_mask, discount=0.99, lam=0.95):
    return from_the_right(rewards, values, response_mask, discount, lam)


@battery.wrong("gae", says="should be|fixed|`lam`")
def lam_one_by_default(rewards, values, response_mask, discount=1.0, lam=1.0):
    return from_the_right(rewards, values, response_mask, discount, lam)


@battery.wrong("gae", says="'NoneType'|stopped with|None")
def nothing_behind(rewards, values, response_mask, discount=1.0, lam=0.95):
    advantages, later = torch.zeros_like(values), None
    for t in reversed(range(values.shape[1])):
        later = rewards[:, t] - values[:, t] + discount * lam * later
        advantages[:, t] = later
    return advantages


@battery.wrong("gae", says="out of bounds|index|stopped with")
def value_behind_the_last(rewards, values, response_mask, discount=1.0, lam=0.95):
    advantages, later = torch.zeros_like(values), 0.0
    for t in reversed(range(values.shape[1])):
        surprise = rewards[:, t] + discount * values[:, t + 1] - values[:, t]
        advantages[:, t] = later = surprise + discount * lam * later
    return advantages


@battery.wrong("gae", says="should be|leaks")
def the_doctest(rewards, values, response_mask, discount=1.0, lam=0.95):
    return torch.where(response_mask, torch.full_like(rewards, 0.5), 0.0)


@battery.wrong("gae", says="leaks in|runs into|should be|own value")
def minus_one_wraps_round(rewards, values, response_mask, discount=1.0, lam=0.95):
    r, v = (x.detach().masked_fill(~response_mask, 0.0) for x in (rewards, values))
    advantages = torch.zeros_like(r)
    for t in range(r.shape[1]):  # forwards, with the advantage that is not there yet
        following = v[:, t + 1] if t + 1 < v.shape[1] else v[:, 0]
        surprise = r[:, t] + discount * following - v[:, t]
        advantages[:, t] = surprise + discount * lam * advantages[:, t - 1]
    return advantages * response_mask
