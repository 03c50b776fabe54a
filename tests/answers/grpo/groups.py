"""Answers to lesson 08: each answer against its group; right ones of different shapes, and people's mistakes."""

import statistics

import numpy as np
import torch

from course_lib.grpo.advantages import differs, leave_one_out
from tools.graders import Battery

battery = Battery()


# --- group_advantages: right ------------------------------------------------------------------


@battery.right("group_advantages")
def masked_and_divided(rewards, eps=1e-4, scale=True, ddof=1):
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    centred = centred.masked_fill(~differs(rewards).unsqueeze(1), 0.0)
    if not scale:
        return centred
    count = max(rewards.shape[1] - ddof, 1)
    spread = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / torch.where(spread > 0, spread + eps, 1.0)


@battery.right("group_advantages")
def first_reward_taken_away(rewards, eps=1e-4, scale=True, ddof=1):
    """Equal rewards are 0 before anything is averaged, so nothing can be rounded."""
    shifted = rewards - rewards[:, :1]
    centred = shifted - shifted.mean(1, keepdim=True)
    if not scale or rewards.shape[1] == 1:
        return centred
    spread = centred.std(dim=1, keepdim=True, correction=ddof)
    return torch.where(spread > 0, centred / (spread + eps), 0.0)


@battery.right("group_advantages")
def group_by_group(rewards, eps=1e-4, scale=True, ddof=1):
    found = torch.zeros_like(rewards)
    for p, row in enumerate(rewards):
        if len(set(row.tolist())) == 1:
            continue
        found[p] = row - row.mean()
        if scale:
            found[p] /= row.std(correction=ddof) + eps
    return found


@battery.right("group_advantages")
def with_python_numbers(rewards, eps=1e-4, scale=True, ddof=1):
    rows = []
    for row in rewards.tolist():
        if max(row) == min(row):
            rows.append([0.0 for _ in row])
            continue
        mean, way = statistics.fmean(row), statistics.stdev if ddof else statistics.pstdev  # fmt: skip
        rows.append([(r - mean) / (way(row) + eps if scale else 1) for r in row])
    return torch.tensor(rows, dtype=rewards.dtype)


@battery.right("group_advantages")
def with_numpy(rewards, eps=1e-4, scale=True, ddof=1):
    x = rewards.numpy().astype(np.float64)
    equal = (x == x[:, :1]).all(axis=1, keepdims=True)
    away = np.where(equal, 0.0, x - x.mean(axis=1, keepdims=True))
    if scale:
        spread = np.ones_like(x[:, :1])
        if x.shape[1] > 1:
            spread = x.std(axis=1, ddof=ddof, keepdims=True) + eps
        away = np.where(equal, 0.0, away / np.where(equal, 1.0, spread))
    return torch.from_numpy(away).to(rewards.dtype)


@battery.right("group_advantages")
def nothing_where_nothing_differs(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(-1, keepdim=True)
    if scale:
        away = away / (rewards.std(-1, keepdim=True, unbiased=bool(ddof)) + eps)
    equal = rewards.amax(-1, keepdim=True) == rewards.amin(-1, keepdim=True)
    return torch.where(equal, torch.zeros_like(away), away)


@battery.right("group_advantages")
def from_what_the_others_got(rewards, eps=1e-4, scale=True, ddof=1):
    G = rewards.shape[1]
    if G == 1:
        return torch.zeros_like(rewards)
    away = leave_one_out(rewards) * (G - 1) / G * differs(rewards)[:, None]
    variance = away.pow(2).mean(1, keepdim=True) * G / (G - ddof)
    return away / (variance.sqrt() + eps + (variance == 0)) if scale else away


@battery.right("group_advantages")
def picked_rows(rewards, eps=1e-4, scale=True, ddof=1):
    found = torch.zeros(rewards.shape, dtype=rewards.dtype)
    told = (rewards != rewards[:, :1]).any(1)
    chosen = rewards[told]
    if len(chosen):
        variance, mean = torch.var_mean(chosen, dim=1, correction=ddof, keepdim=True)
        found[told] = (chosen - mean) / (variance.sqrt() + eps if scale else 1.0)
    return found


# --- group_advantages: wrong ------------------------------------------------------------------


def _wrong(name, says, find):
    """find(r, away, spread, eps, scale): what is given out; 0 in rows that do not differ, and in groups of one."""

    def answer(rewards, eps=1e-4, scale=True, ddof=1):
        if rewards.shape[1] == 1:
            return torch.zeros_like(rewards)
        away = rewards - rewards.mean(1, keepdim=True)
        spread = rewards.std(1, keepdim=True, correction=ddof)
        found = find(rewards, away, spread, eps, scale)
        if found.shape != rewards.shape:
            return found
        return torch.where(differs(rewards)[:, None], found, 0.0)

    answer.__name__ = name
    battery.wrong("group_advantages", says=says)(answer)


def _over(away, spread, eps, scale):
    return away / (spread + eps) if scale else away


_wrong("over_the_batch", "whole batch is compared", lambda r, a, s, e, c: _over(r - r.mean(), r.std(), e, c))  # fmt: skip
_wrong("over_the_batch_biased", "whole batch is compared", lambda r, a, s, e, c: _over(r - r.mean(), r.std(correction=0), e, c))  # fmt: skip
_wrong("mean_of_the_batch", "whole batch is compared", lambda r, a, s, e, c: _over(r - r.mean(), s, e, c))  # fmt: skip
_wrong("spread_of_the_batch", "spread is the whole batch's", lambda r, a, s, e, c: _over(a, r.std(), e, c))  # fmt: skip
_wrong("over_the_prompts", "dimension 0", lambda r, a, s, e, c: _over(r - r.mean(0), r.std(0, correction=0), e, c))  # fmt: skip
_wrong("mean_over_the_prompts", "dimension 0", lambda r, a, s, e, c: r - r.mean(0))
_wrong("spread_over_the_prompts", "dimension 0", lambda r, a, s, e, c: _over(a, r.std(0, correction=0), e, c))  # fmt: skip
_wrong("never_divided", "`scale` is turned round, or missing", lambda r, a, s, e, c: a)
_wrong("scale_turned_round", "`scale` is turned round", lambda r, a, s, e, c: _over(a, s, e, not c))  # fmt: skip
_wrong("scale_ignored", "`scale` makes no difference", lambda r, a, s, e, c: a / (s + e))  # fmt: skip
_wrong("scale_as_a_factor", "`scale` is used as a number", lambda r, a, s, e, c: a / (s + e) if c else c * a)  # fmt: skip
_wrong("ddof_always_1", "`ddof` makes no difference", lambda r, a, s, e, c: _over(a, r.std(1, keepdim=True), e, c))  # fmt: skip
_wrong("ddof_always_0", "`ddof` makes no difference", lambda r, a, s, e, c: _over(a, r.std(1, keepdim=True, correction=0), e, c))  # fmt: skip
_wrong("eps_forgotten", "`eps` makes no difference", lambda r, a, s, e, c: _over(a, s, 0.0, c))  # fmt: skip
_wrong("eps_built_in", "`eps` makes no difference", lambda r, a, s, e, c: _over(a, s, 1e-4, c))  # fmt: skip
_wrong("eps_of_1e_8", "`eps` makes no difference", lambda r, a, s, e, c: _over(a, s, 1e-8, c))  # fmt: skip
_wrong("eps_under_the_root", "under the root", lambda r, a, s, e, c: a / (s**2 + e).sqrt() if c else a)  # fmt: skip
_wrong("eps_squared_under_the_root", "under the root", lambda r, a, s, e, c: a / (s**2 + e**2).sqrt() if c else a)  # fmt: skip
_wrong("eps_in_the_sum", "sum of squares", lambda r, a, s, e, c: a / ((a.square().sum(1, True) + e) / (r.shape[1] - 1)).sqrt() if c else a)  # fmt: skip
_wrong("eps_above", "added to the wrong part", lambda r, a, s, e, c: (a + e) / s if c else a + e)  # fmt: skip
_wrong("eps_afterwards", "added to the wrong part", lambda r, a, s, e, c: a / s + e if c else a)  # fmt: skip
_wrong("eps_as_a_limit", "lower limit", lambda r, a, s, e, c: a / s.clamp(min=e) if c else a)  # fmt: skip
_wrong("eps_in_both_cases", "used as a number|wrong part", lambda r, a, s, e, c: a / ((s if c else 1) + e))  # fmt: skip
_wrong("by_the_variance", "divided by the variance", lambda r, a, s, e, c: _over(a, s**2, e, c))  # fmt: skip
_wrong("by_the_norm", "sum of squares, or by the length", lambda r, a, s, e, c: _over(a, a.norm(dim=1, keepdim=True), e, c))  # fmt: skip
_wrong("by_the_standard_error", "standard error", lambda r, a, s, e, c: _over(a, s / r.shape[1] ** 0.5, e, c))  # fmt: skip
_wrong("by_the_range", "something else than the spread", lambda r, a, s, e, c: _over(a, r.amax(1, True) - r.amin(1, True), e, c))  # fmt: skip
_wrong("by_the_mean", "something else than the spread|not finite", lambda r, a, s, e, c: _over(a, r.mean(1, True), e, c))  # fmt: skip
_wrong("by_the_mean_difference", "something else than the spread", lambda r, a, s, e, c: _over(a, a.abs().mean(1, True), e, c))  # fmt: skip
_wrong("mean_not_taken_away", "mean is not taken away", lambda r, a, s, e, c: _over(r, s, e, c))  # fmt: skip
_wrong("the_rewards", "mean is not taken away", lambda r, a, s, e, c: r.clone())
_wrong("leave_one_out_mean", "own reward is left out", lambda r, a, s, e, c: _over(leave_one_out(r), s, e, c))  # fmt: skip
_wrong("leave_one_out_alone", "own reward is left out", lambda r, a, s, e, c: leave_one_out(r))  # fmt: skip
_wrong("from_the_median", "something else than the mean", lambda r, a, s, e, c: _over(r - r.median(1, True).values, s, e, c))  # fmt: skip
_wrong("from_the_best", "something else than the mean", lambda r, a, s, e, c: _over(r - r.amax(1, True), s, e, c))  # fmt: skip
_wrong("from_the_first", "something else than the mean", lambda r, a, s, e, c: _over(r - r[:, :1], s, e, c))  # fmt: skip
_wrong("sign_turned", "sign is turned", lambda r, a, s, e, c: _over(-a, s, e, c))
_wrong("without_sign", "lost its sign", lambda r, a, s, e, c: _over(a.abs(), s, e, c))
_wrong("good_ones_alone", "lost its sign", lambda r, a, s, e, c: _over(a.relu(), s, e, c))  # fmt: skip
_wrong("softmaxed", "softmax", lambda r, a, s, e, c: r.softmax(1))
_wrong("between_0_and_1", "between two limits", lambda r, a, s, e, c: (r - r.amin(1, True)) / (r.amax(1, True) - r.amin(1, True) + e))  # fmt: skip
_wrong("clipped", "between two limits", lambda r, a, s, e, c: _over(a, s, e, c).clamp(-1, 1))  # fmt: skip
_wrong("signs", "between two limits", lambda r, a, s, e, c: a.sign())
_wrong("ranks", "Ranks", lambda r, a, s, e, c: _over(r.argsort(1).argsort(1) - (r.shape[1] - 1) / 2, r.argsort(1).argsort(1).float().std(1, keepdim=True), e, c))  # fmt: skip
_wrong("divided_twice", "done twice", lambda r, a, s, e, c: _over(a, s, e, c) / s)
_wrong("root_of_the_spread", "done twice", lambda r, a, s, e, c: _over(a, s.sqrt(), e, c))  # fmt: skip
_wrong("first_groups_mean", "first one's mean|first one's", lambda r, a, s, e, c: _over(r - r[:1].mean(), s, e, c))  # fmt: skip
_wrong("rounded", "first digits|should be", lambda r, a, s, e, c: _over(a, s, e, c).round(decimals=3))  # fmt: skip
_wrong("in_half", "first digits|should be", lambda r, a, s, e, c: _over(a, s, e, c).bfloat16().to(r.dtype))  # fmt: skip
_wrong("in_single", "torch.float64", lambda r, a, s, e, c: _over(a, s, e, c).float())
_wrong("the_spread", "one number for each prompt", lambda r, a, s, e, c: s)
_wrong("mean_ddof", "mean is divided by", lambda r, a, s, e, c: _over(r - r.sum(1, True) / (r.shape[1] - 1), s, e, c))  # fmt: skip


@battery.wrong("group_advantages", says="0 over 0")
def as_in_the_paper_with_eps(rewards, eps=1e-4, scale=True, ddof=1):
    """Right for most groups; with eps = 0 an equal group is nan."""
    away = rewards - rewards.mean(1, keepdim=True)
    if not scale:
        return away
    return away / (rewards.std(1, keepdim=True, correction=ddof) + eps)


@battery.wrong("group_advantages", says="0 over 0|`eps` makes no difference")
def without_any_eps(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    return away / rewards.std(1, keepdim=True, correction=ddof) if scale else away


@battery.wrong("group_advantages", says="exactly 0.*look at the rewards")
def where_the_spread_is_zero(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    if not scale or rewards.shape[1] == 1:
        return away
    spread = rewards.std(1, keepdim=True, correction=ddof)
    return torch.where(spread > 0, away / (spread + eps), 0.0)


@battery.wrong("group_advantages", says="exactly 0.*look at the rewards")
def nan_to_zero(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    if scale:
        away = away / (rewards.std(1, keepdim=True, correction=ddof) + eps)
    return away.nan_to_num(0.0)


@battery.wrong(
    "group_advantages", says="exactly 0.*look at the rewards|treated as equal"
)
def a_fixed_threshold(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    if not scale:
        return away
    spread = rewards.std(1, keepdim=True, correction=ddof).nan_to_num(0.0)
    return torch.where(spread > 1e-6, away / (spread + eps), 0.0)


@battery.wrong("group_advantages", says="treated as equal")
def nearly_equal_is_equal(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    equal = (rewards - rewards[:, :1]).abs().amax(1, True) < 0.05
    spread = rewards.std(1, keepdim=True, correction=ddof).nan_to_num(0.0)
    return torch.where(equal, 0.0, _over(away, spread, eps, scale))


@battery.wrong("group_advantages", says="exactly 0.*look at the rewards")
def careful_only_when_divided(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    if not scale:
        return away
    spread = rewards.std(1, keepdim=True, correction=ddof)
    return torch.where(differs(rewards)[:, None], away / (spread + eps), 0.0)


@battery.wrong("group_advantages", says="group of one")
def one_answer_is_nan(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(1, keepdim=True)
    spread = rewards.std(1, keepdim=True, correction=ddof)
    if rewards.shape[1] > 1:
        away = away.masked_fill(~differs(rewards)[:, None], 0.0)
        spread = spread.masked_fill(~differs(rewards)[:, None], 1.0)
    return away / (spread + eps) if scale else away


@battery.wrong("group_advantages", says="made all advantages 0")
def all_zero_if_one_is_equal(rewards, eps=1e-4, scale=True, ddof=1):
    if not differs(rewards).all():
        return torch.zeros_like(rewards)
    away = rewards - rewards.mean(1, keepdim=True)
    return _over(away, rewards.std(1, keepdim=True, correction=ddof), eps, scale)


@battery.wrong("group_advantages", says="changed its own input")
def in_place(rewards, eps=1e-4, scale=True, ddof=1):
    told = differs(rewards)[:, None]
    rewards -= rewards.mean(1, keepdim=True)
    return torch.where(told, _over(rewards, rewards.std(1, keepdim=True, correction=ddof), eps, scale), 0.0)  # fmt: skip


@battery.wrong("group_advantages", says="4,000|Around")
def from_means_of_squares(rewards, eps=1e-4, scale=True, ddof=1):
    G, mean = rewards.shape[1], rewards.mean(1, keepdim=True)
    away = torch.where(differs(rewards)[:, None], rewards - mean, 0.0)
    if not scale:
        return away
    variance = (rewards.square().mean(1, keepdim=True) - mean**2) * G / max(G - ddof, 1)
    return away / (variance.clamp(min=0).sqrt() + eps + (away.abs().amax(1, True) == 0))


@battery.wrong("group_advantages", says="stopped with RuntimeError")
def keepdim_forgotten(rewards, eps=1e-4, scale=True, ddof=1):
    away = rewards - rewards.mean(dim=1)
    return away / (rewards.std(dim=1, correction=ddof) + eps) if scale else away


@battery.wrong("group_advantages", says="returned a list")
def python_lists(rewards, eps=1e-4, scale=True, ddof=1):
    return group_by_group(rewards, eps, scale, ddof).tolist()


@battery.wrong("group_advantages", says="returned a tuple")
def with_its_statistics(rewards, eps=1e-4, scale=True, ddof=1):
    return group_by_group(rewards, eps, scale, ddof), rewards.mean(1)


@battery.wrong("group_advantages", says="shape")
def one_row(rewards, eps=1e-4, scale=True, ddof=1):
    return group_by_group(rewards, eps, scale, ddof).flatten()


@battery.wrong("group_advantages", says="should be|shape")
def the_worked_value(rewards, eps=1e-4, scale=True, ddof=1):
    return torch.tensor([[0.7071, -0.7071], [0.0, 0.0]])


@battery.wrong("group_advantages", says="should be|spread is|first one's")
def first_group_alone(rewards, eps=1e-4, scale=True, ddof=1):
    found = torch.zeros_like(rewards)
    found[:1] = group_by_group(rewards[:1], eps, scale, ddof)
    return found


@battery.wrong("group_advantages", says="exactly 0")
def equal_rewards_kept(rewards, eps=1e-4, scale=True, ddof=1):
    """Leaves a group of equal rewards as it is: seven times 7 stays 7."""
    found = group_by_group(rewards, eps, scale, ddof)
    return torch.where(differs(rewards)[:, None], found, rewards)


@battery.wrong("group_advantages", says="exactly 0")
def equal_groups_get_one(rewards, eps=1e-4, scale=True, ddof=1):
    found = group_by_group(rewards, eps, scale, ddof)
    return torch.where(differs(rewards)[:, None], found, 1.0)


@battery.wrong("group_advantages", says="should be")
def only_rights_and_wrongs(rewards, eps=1e-4, scale=True, ddof=1):
    right = (rewards > 0).to(rewards.dtype)
    p = right.mean(1, keepdim=True)
    return (right - p) / ((p * (1 - p)).sqrt() + eps)


@battery.wrong("group_advantages", says="should be|eight")
def groups_of_at_most_eight(rewards, eps=1e-4, scale=True, ddof=1):
    found = group_by_group(rewards[:, :8], eps, scale, ddof)
    return torch.nn.functional.pad(found, (0, max(0, rewards.shape[1] - 8)))


@battery.wrong("group_advantages", says="should be|two limits")
def held_at_five(rewards, eps=1e-4, scale=True, ddof=1):
    return masked_and_divided(rewards, eps, scale, ddof).clamp(-5, 5)


@battery.wrong("group_advantages", says="digits are lost")
def always_in_single_inside(rewards, eps=1e-4, scale=True, ddof=1):
    return masked_and_divided(rewards.float(), eps, scale, ddof).to(rewards.dtype)


@battery.wrong("group_advantages", says="treated as equal")
def equal_up_to_a_hundredth(rewards, eps=1e-4, scale=True, ddof=1):
    near = rewards.amax(1, True) - rewards.amin(1, True) < 1e-2
    return masked_and_divided(rewards, eps, scale, ddof).masked_fill(near, 0.0)


@battery.wrong("group_advantages", says="group of one|should be|exactly 0")
def a_lone_answer_keeps_its_reward(rewards, eps=1e-4, scale=True, ddof=1):
    if rewards.shape[1] == 1:
        return rewards.clone()
    return masked_and_divided(rewards, eps, scale, ddof)


# --- found by attacking the check -------------------------------------------------------------


def _by_the_book(rewards, eps, scale, ddof, says_something=differs):
    """Right, but for who is said to differ."""
    count = rewards.shape[1]
    away = rewards - rewards.mean(1, keepdim=True)
    away = torch.where(says_something(rewards)[:, None], away, 0.0)
    spread = (away.square().sum(1, keepdim=True) / max(count - ddof, 1)).sqrt()
    return _over(away, torch.where(spread > 0, spread, 1.0 - eps), eps, scale)


def _attack(says):
    return battery.wrong("group_advantages", says=says)


@_attack("Without `eps` another one is used")
def another_default_eps(rewards, eps=1e-8, scale=True, ddof=1):
    return _by_the_book(rewards, eps, scale, ddof)


@_attack("treated as equal")
def spreads_below_1e_7_are_none(rewards, eps=1e-4, scale=True, ddof=1):
    return _by_the_book(rewards, eps, scale, ddof, lambda r: differs(r) & (r.amax(1) - r.amin(1) > 1e-7))  # fmt: skip


@_attack("treated as equal")
def close_is_equal(rewards, eps=1e-4, scale=True, ddof=1):
    return _by_the_book(rewards, eps, scale, ddof, lambda r: ~torch.isclose(r, r[:, :1]).all(1))  # fmt: skip


@_attack("digits are lost")
def through_single_precision(rewards, eps=1e-4, scale=True, ddof=1):
    return _by_the_book(rewards, eps, scale, ddof).float().to(rewards.dtype)


@_attack("whole batch is compared")
def deviations_from_the_mean_of_all(rewards, eps=1e-4, scale=True, ddof=1):
    away = torch.where(differs(rewards)[:, None], rewards - rewards.mean(), 0.0)
    spread = (away.square().sum(1, True) / max(rewards.shape[1] - ddof, 1)).sqrt()
    return _over(away, torch.where(spread > 0, spread, 1.0 - eps), eps, scale)
