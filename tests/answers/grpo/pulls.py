"""Answers to lesson 08: how much a token counts, and the loss; right ones of different shapes, and people's mistakes."""

import functools

import numpy as np
import torch

from course_lib.grpo.losses import (
    check_answers,
    clipped_objective,
    dapo_weights,
    dr_grpo_weights,
    kl_penalty,
)
from course_lib.grpo.losses import grpo_weights as library_weights
from course_lib.logprobs import k1, k2, k3
from course_lib.masks import masked_mean, masked_sum
from course_lib.ppo.losses import policy_ratio
from tools.graders import Battery

battery = Battery()


# --- grpo_weights: right ----------------------------------------------------------------------


@battery.right("grpo_weights")
def over_counts_and_rows(mask):
    return mask / mask.sum(dim=1, keepdim=True) / len(mask)


@battery.right("grpo_weights")
def answer_by_answer(mask):
    weights = torch.zeros(mask.shape)
    for row, kept in zip(weights, mask, strict=True):
        row[kept] = 1 / (len(mask) * int(kept.sum()))
    return weights


@battery.right("grpo_weights")
def with_where(mask):
    shares = 1.0 / (mask.shape[0] * mask.count_nonzero(-1)).unsqueeze(-1)
    return torch.where(mask, shares, 0.0)


@battery.right("grpo_weights")
def with_normalize(mask):
    return torch.nn.functional.normalize(mask.float(), p=1, dim=1).div(mask.size(0))


@battery.right("grpo_weights")
def with_softmax(mask):
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf).softmax(1) / len(mask)


@battery.right("grpo_weights")
def with_lists(mask):
    rows = mask.tolist()
    return torch.tensor([[kept / sum(row) / len(rows) for kept in row] for row in rows])


@battery.right("grpo_weights")
def with_numpy(mask):
    kept = mask.numpy().astype(np.float64)
    return torch.from_numpy(kept / kept.sum(1, keepdims=True) / kept.shape[0])


@battery.right("grpo_weights")
def from_the_other_weights(mask):
    return torch.cat([dapo_weights(row[None]) for row in mask]) / len(mask)


# --- grpo_weights: wrong ----------------------------------------------------------------------


def _weigh(name, says, find):
    """find(m, n, B, T): the mask as numbers, (B, 1) counts, and both sizes."""

    def answer(mask):
        return find(mask.float(), mask.sum(1, keepdim=True), *mask.shape)

    answer.__name__ = name
    battery.wrong("grpo_weights", says=says)(answer)


_weigh("every_token_alike", "Every token of the batch", lambda m, n, B, T: m / m.sum())
_weigh("rows_sum_to_1", "sum grows with the batch", lambda m, n, B, T: m / n)
_weigh("by_the_places", "width of the batch", lambda m, n, B, T: m / (B * T))
_weigh("by_the_width", "width of the batch", lambda m, n, B, T: m / T)
_weigh("mean_of_the_mask", "That is the mask", lambda m, n, B, T: m.mean() * m)  # fmt: skip
_weigh("by_the_longest", "as long as one of them", lambda m, n, B, T: m / n.max() / B)
_weigh("by_the_first", "as long as one of them", lambda m, n, B, T: m / n[0] / B)
_weigh("by_the_mean_length", "Every token of the batch", lambda m, n, B, T: m / n.float().mean() / B)  # fmt: skip
_weigh("by_columns", "each column", lambda m, n, B, T: m / m.sum(0).clamp(min=1) / B)
_weigh("by_columns_and_width", "each column", lambda m, n, B, T: m / m.sum(0).clamp(min=1) / T)  # fmt: skip
_weigh("over_the_width", "number of columns", lambda m, n, B, T: m / n / T)
_weigh("multiplied", "multiplied where", lambda m, n, B, T: m * n / B)
_weigh("by_the_length", "multiplied where", lambda m, n, B, T: m * n / m.sum())
_weigh("rows_times_B", "multiplied where|should be", lambda m, n, B, T: m / n * B)
_weigh("the_mask", "That is the mask", lambda m, n, B, T: m.clone())
_weigh("the_mask_over_B", "That is the mask", lambda m, n, B, T: m / B)
_weigh("as_booleans", "type torch.bool", lambda m, n, B, T: m.bool())
_weigh("whole_numbers", "type torch.int64", lambda m, n, B, T: m.long() // n // B)
_weigh("whole_floats", "should be", lambda m, n, B, T: (m // n) / B)
_weigh("by_the_place", "place makes a difference", lambda m, n, B, T: m / m.cumsum(1).clamp(min=1) / B)  # fmt: skip
_weigh("relative", "relative to their mean", lambda m, n, B, T: m / n / (m / n).mean())
_weigh("twice_by_B", "twice", lambda m, n, B, T: m / n / B / B)
_weigh("twice_by_tokens", "twice", lambda m, n, B, T: m / n / m.sum())
_weigh("not_0_in_padding", "something else than 0", lambda m, n, B, T: (1 / n / B).expand(B, T))  # fmt: skip
_weigh("padding_negative", "something else than 0", lambda m, n, B, T: m / n / B - (1 - m))  # fmt: skip
_weigh("nan_in_padding", "something else than 0", lambda m, n, B, T: torch.where(m > 0, 1 / n / B, torch.nan))  # fmt: skip
_weigh("softmax_of_the_mask", "softmax", lambda m, n, B, T: m.softmax(1) * m / B)
_weigh("root", "root", lambda m, n, B, T: m / n.sqrt() / B)
_weigh("gaps_counted", "gap", lambda m, n, B, T: m / (m * torch.arange(1, T + 1)).amax(1, keepdim=True) / B)  # fmt: skip
_weigh("gaps_filled", "gap", lambda m, n, B, T: m.flip(1).cummax(1).values.flip(1) / m.flip(1).cummax(1).values.sum(1, keepdim=True) / B)  # fmt: skip
_weigh("left_aligned", "something else than 0|should be|from the first column", lambda m, n, B, T: (torch.arange(T) < n) / n / B)  # fmt: skip
_weigh("upside_down", "upside down|should be", lambda m, n, B, T: (1 - m) / (T - n).clamp(min=1) / B)  # fmt: skip
_weigh("constant_length", "should be|width", lambda m, n, B, T: dr_grpo_weights(m.bool(), 5))  # fmt: skip
_weigh("one_per_answer", "one number for each answer", lambda m, n, B, T: 1 / n / B)
_weigh("flat", "one row of all kept|shape", lambda m, n, B, T: (m / n / B)[m.bool()])
_weigh("transposed", "changed places|should be", lambda m, n, B, T: (m / n / B).T)
_weigh("without_keepdim", "stopped with RuntimeError", lambda m, n, B, T: m / m.sum(1) / B)  # fmt: skip
_weigh("small_constant", "first digits|should be", lambda m, n, B, T: m / (n + 1e-3) / B)  # fmt: skip
_weigh("at_least_two", "should be", lambda m, n, B, T: m / n.clamp(min=2) / B)
_weigh("counted_in_bytes", "should be|not finite|stopped", lambda m, n, B, T: m / m.byte().cumsum(1, dtype=torch.uint8)[:, -1:].clamp(min=1) / B)  # fmt: skip
_weigh("worked_value", "should be|shape", lambda m, n, B, T: torch.tensor([[0.25, 0.25], [0.5, 0.0]]))  # fmt: skip
_weigh("two_answers_always", "should be", lambda m, n, B, T: m / n / 2)
_weigh("as_a_list", "returned a list", lambda m, n, B, T: (m / n / B).tolist())


@battery.wrong("grpo_weights", says="changed its own input|stopped with")
def divided_in_place(mask):
    shares = mask / mask.sum(1, keepdim=True) / len(mask)
    mask.fill_(True)
    return shares


# --- grpo_loss: right -------------------------------------------------------------------------


def _right(answer):
    return battery.right("grpo_loss")(answer)


@_right
def from_the_librarys_parts(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    check_answers(advantages, mask, logprobs=logprobs, old=old_logprobs)
    weights = library_weights(mask) if weights is None else weights
    ratio = policy_ratio(logprobs, old_logprobs)
    pushes = advantages.detach().unsqueeze(1)
    objective = clipped_objective(ratio, pushes, clip_eps, clip_high)
    if kl_coef:
        drawn_by = old_logprobs if kl_correction else None
        objective = objective - kl_coef * kl_penalty(logprobs, ref_logprobs, drawn_by)
    return -masked_sum(objective * weights, mask)


@_right
def selected_first(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    above = clip_eps if clip_high is None else clip_high
    if weights is None:
        weights = mask / mask.sum(1, keepdim=True) / len(mask)
    ratio = (logprobs[mask] - old_logprobs.detach()[mask]).exp()
    gains = advantages.detach()[:, None].expand(mask.shape)[mask]
    held = torch.clamp(ratio, 1 - clip_eps, 1 + above)
    costs = torch.max(-gains * ratio, -gains * held)
    if kl_coef != 0 and ref_logprobs is not None:
        price = k3(logprobs[mask], ref_logprobs.detach()[mask])
        costs = costs + kl_coef * price * (ratio if kl_correction else 1)
    return costs @ weights[mask].to(costs.dtype)


@_right
def token_by_token(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    above, terms = clip_high if clip_high is not None else clip_eps, []
    for b, t in mask.nonzero().tolist():
        gain, new = advantages[b].item(), logprobs[b, t]
        ratio = torch.exp(new - old_logprobs[b, t].item())
        held = ratio.clamp(1 - clip_eps, 1 + above)
        worth = min(ratio * gain, held * gain)
        if kl_coef:
            away = ref_logprobs[b, t].item() - new
            price = torch.expm1(away) - away
            worth = worth - kl_coef * (ratio * price if kl_correction else price)
        weight = 1 / (len(mask) * mask[b].sum().item()) if weights is None else weights[b, t].item()  # fmt: skip
        terms.append(worth * weight)
    return -torch.stack(terms).sum()


@_right
def mean_of_the_answers_means(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    gains = advantages.detach().view(-1, 1)
    ratio = torch.exp(logprobs - old_logprobs.data)
    top = 1 + (clip_eps if clip_high is None else clip_high)
    losses = -torch.where(gains > 0, ratio.clamp(max=top), ratio.clamp(min=1 - clip_eps)) * gains  # fmt: skip
    if kl_coef:
        price = k3(logprobs, ref_logprobs.detach())
        losses = losses + kl_coef * (price * ratio if kl_correction else price)
    if weights is not None:
        return masked_sum(losses * weights, mask)
    return masked_mean(losses, mask, dim=1).mean()


@_right
def answer_by_answer_loss(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    weights = library_weights(mask) if weights is None else weights
    total = logprobs.new_zeros(())
    for b, kept in enumerate(mask):
        new, old = logprobs[b][kept], old_logprobs[b][kept].detach()
        objective = clipped_objective(policy_ratio(new[None], old[None])[0], advantages[b].detach(), clip_eps, clip_high)  # fmt: skip
        if kl_coef:
            ref = ref_logprobs[b][kept].detach()
            objective = objective - kl_coef * kl_penalty(new, ref, old if kl_correction else None)  # fmt: skip
        total = total - (objective * weights[b][kept]).sum()
    return total


@_right
def loss_and_price_apart(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    """Two weighted sums; the price in another precision on the way."""
    if weights is None:
        weights = library_weights(mask)
    gains = advantages.detach()[:, None]
    pushed = clipped_objective(policy_ratio(logprobs, old_logprobs), gains, clip_eps, clip_high)  # fmt: skip
    loss = masked_sum(-pushed * weights, mask)
    if not kl_coef:
        return loss
    price = kl_penalty(logprobs.double(), ref_logprobs.double(), old_logprobs.double() if kl_correction else None)  # fmt: skip
    return loss + kl_coef * masked_sum(price.to(loss.dtype) * weights, mask)


# --- grpo_loss: wrong -------------------------------------------------------------------------


def _loss(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False,
          ratio_of=None, pushed=None, weigh=None, reduce=None, price=None, pay=None, gains_of=None):  # fmt: skip
    """A loss some parts of which can be another: functions of what is already there."""
    gains = advantages.detach().unsqueeze(1)
    gains = gains if gains_of is None else gains_of(advantages.detach(), mask)
    ratio = policy_ratio(logprobs, old_logprobs)
    ratio = ratio if ratio_of is None else ratio_of(logprobs, old_logprobs.detach(), mask)  # fmt: skip
    x = clipped_objective(ratio, gains, clip_eps, clip_high) if pushed is None else pushed(ratio, gains, clip_eps, clip_high)  # fmt: skip
    if weigh is not None:
        w = weigh(mask, weights)
    else:
        w = library_weights(mask) if weights is None else weights
    cost = 0.0
    if kl_coef and ref_logprobs is not None:
        by = old_logprobs if kl_correction else None
        cost = kl_penalty(logprobs, ref_logprobs, by) if price is None else price(logprobs, ref_logprobs.detach(), by)  # fmt: skip
        x = x - kl_coef * cost if pay is None else pay(x, kl_coef, cost, gains, mask)
    return -masked_sum(x * w, mask) if reduce is None else reduce(x, w, mask)


def _fault(name, says, **parts):
    battery.wrong("grpo_loss", says=says)(_named(name, functools.partial(_loss, **parts)))  # fmt: skip


def _named(name, function):
    def answer(*args, **options):
        return function(*args, **options)

    answer.__name__ = name
    return answer


def _rows(x, m, how):
    kept = x.masked_fill(~m, 0.0).sum(1, keepdim=True)
    return kept if how == "sum" else kept / m.sum(1, keepdim=True)


def _held(r, e, h):
    return r.clamp(1 - e, 1 + (e if h is None else h))


_fault("sign", "sign is turned", reduce=lambda x, w, m: masked_sum(x * w, m))
_fault("columns", "laid along the tokens|stopped with", gains_of=lambda A, m: A)
_fault("row_means", "one ratio for a whole answer", ratio_of=lambda l, o, m: _rows(l - o, m, "mean").exp().expand_as(l))  # fmt: skip
_fault("row_sums", "one ratio for a whole answer", ratio_of=lambda l, o, m: _rows(l - o, m, "sum").exp().expand_as(l))  # fmt: skip
_fault("row_means_with_padding", "one ratio for a whole answer", ratio_of=lambda l, o, m: (l.mean(1, True) - o.mean(1, True)).exp().expand_as(l))  # fmt: skip
_fault("gspo_token", "one ratio for a whole answer", ratio_of=lambda l, o, m: (_rows(l - o, m, "mean").detach() + l - l.detach()).exp())  # fmt: skip
_fault("batch_ratio", "whole batch", ratio_of=lambda l, o, m: (l - o)[m].mean().exp().expand_as(l))  # fmt: skip
_fault("no_exponential", "lost its exponential", ratio_of=lambda l, o, m: l - o)
_fault("ratio_turned", "upside down", ratio_of=lambda l, o, m: (o - l).exp())
_fault("probability", "make no difference", ratio_of=lambda l, o, m: l.exp())
_fault("ratio_of_itself", "make no difference", ratio_of=lambda l, o, m: (l - l.detach()).exp())  # fmt: skip
_fault("reinforce", "make no difference|stopped with|Nothing is clipped|should be", ratio_of=lambda l, o, m: l, pushed=lambda r, A, e, h: r * A)  # fmt: skip
_fault("quotient", "no number|nearly impossible", ratio_of=lambda l, o, m: l.exp() / o.exp())  # fmt: skip
_fault("clip_alone", "Only the clipped ratio", pushed=lambda r, A, e, h: _held(r, e, h) * A)  # fmt: skip
_fault("no_clip", "Nothing is clipped", pushed=lambda r, A, e, h: r * A)
_fault("larger", "larger of the two", pushed=lambda r, A, e, h: torch.maximum(r * A, _held(r, e, h) * A))  # fmt: skip
_fault("one_side", "one side only", pushed=lambda r, A, e, h: torch.minimum(r * A, r.clamp(max=1 + (e if h is None else h)) * A))  # fmt: skip
_fault("other_side", "one side only", pushed=lambda r, A, e, h: torch.minimum(r * A, r.clamp(min=1 - e) * A))  # fmt: skip
_fault("product_clipped", "ratio alone, before", pushed=lambda r, A, e, h: torch.minimum(r * A, (r * A).clamp(1 - e, 1 + (e if h is None else h))))  # fmt: skip
_fault("outside_left_out", "left out", pushed=lambda r, A, e, h: r * A * ((r > 1 - e) & (r < 1 + (e if h is None else h))))  # fmt: skip
_fault("around_0", "around 0", pushed=lambda r, A, e, h: torch.minimum(r * A, r.clamp(-e, e) * A))  # fmt: skip
_fault("clip_high_ignored", "`clip_high` makes no difference", pushed=lambda r, A, e, h: clipped_objective(r, A, e))  # fmt: skip
_fault("clip_high_on_both_sides", "`clip_high` is used below", pushed=lambda r, A, e, h: clipped_objective(r, A, e if h is None else h))  # fmt: skip
_fault("clip_high_below", "`clip_high` is used below", pushed=lambda r, A, e, h: clipped_objective(r, A, e if h is None else h, e))  # fmt: skip
_fault("clip_high_falsy", "`clip_high`", pushed=lambda r, A, e, h: clipped_objective(r, A, e, h or e))  # fmt: skip
_fault("clip_high_added", "should be", pushed=lambda r, A, e, h: clipped_objective(r, A, e, e + (h or 0)))  # fmt: skip
_fault("clip_high_none_is_no_limit", "should be|one side", pushed=lambda r, A, e, h: clipped_objective(r, A, e, 1e9 if h is None else h))  # fmt: skip
_fault("clip_eps_built_in", "`clip_eps` makes no difference", pushed=lambda r, A, e, h: clipped_objective(r, A, 0.2, h))  # fmt: skip
_fault("weights_ignored", "`weights` make no difference", weigh=lambda m, w: library_weights(m))  # fmt: skip
_fault("weights_multiplied", "take their place", weigh=lambda m, w: library_weights(m) * (1 if w is None else w))  # fmt: skip
_fault("dapo", "every token of the batch counts alike", weigh=lambda m, w: dapo_weights(m) if w is None else w)  # fmt: skip
_fault("none_means_one", "There are no weights", weigh=lambda m, w: m.float() if w is None else w)  # fmt: skip
_fault("none_without_B", "added up, or averaged otherwise", weigh=lambda m, w: m / m.sum(1, keepdim=True) if w is None else w)  # fmt: skip
_fault("no_weights_at_all", "There are no weights", weigh=lambda m, w: m.float())
_fault("weights_not_handled", "Without `weights`", weigh=lambda m, w: w)
_fault("weights_detach", "Without `weights`|stopped", weigh=lambda m, w: w.detach())
_fault("masked_mean", "divided once more", reduce=lambda x, w, m: -masked_mean(x * w, m))  # fmt: skip
_fault("plain_mean", "divided once more", reduce=lambda x, w, m: -(x * w).masked_fill(~m, 0).mean())  # fmt: skip
_fault("mean_of_rows", "divided once more", reduce=lambda x, w, m: -masked_sum(x * w, m, 1).mean())  # fmt: skip
_fault("by_the_weights", "divided once more", reduce=lambda x, w, m: -masked_sum(x * w, m) / masked_sum(w.expand_as(m), m))  # fmt: skip
_fault("padding_counts", "padding counts", reduce=lambda x, w, m: -(x * w).sum())
_fault("times_mask", "in the padding", reduce=lambda x, w, m: -(x * w * m).sum())
_fault("per_token", "for each token", reduce=lambda x, w, m: -x * w)
_fault("per_answer", "for each answer", reduce=lambda x, w, m: -masked_sum(x * w, m, 1))
_fault("dimension_kept", "has none", reduce=lambda x, w, m: -masked_sum(x * w, m)[None])
_fault("a_number", "returned a float", reduce=lambda x, w, m: -masked_sum(x * w, m).item())  # fmt: skip
_fault("detached", "No gradient", reduce=lambda x, w, m: -masked_sum(x * w, m).detach())
_fault("with_statistics", "returned a tuple", reduce=lambda x, w, m: (-masked_sum(x * w, m), {}))  # fmt: skip
_fault("straying_rewarded", "Straying is rewarded", pay=lambda x, c, k, A, m: x + c * k)
_fault("price_forgotten", "No price is paid|by itself", pay=lambda x, c, k, A, m: x)
_fault("kl_coef_forgotten", "`kl_coef` makes no difference", pay=lambda x, c, k, A, m: x - k)  # fmt: skip
_fault("kl_coef_built_in", "`kl_coef` makes no difference", pay=lambda x, c, k, A, m: x - 0.04 * k)  # fmt: skip
_fault("price_times_advantage", "multiplied by the advantage", pay=lambda x, c, k, A, m: x - c * k * A)  # fmt: skip
_fault("k1", "log-ratio", price=lambda l, r, by: k1(l, r) * (1 if by is None else (l - by).exp()))  # fmt: skip
_fault("k2", "half the square", price=lambda l, r, by: k2(l, r) * (1 if by is None else (l - by).exp()))  # fmt: skip
_fault("k3_turned", "changed places", price=lambda l, r, by: k3(r, l) * (1 if by is None else (l - by).exp()))  # fmt: skip
_fault("price_detached", "only a number", price=lambda l, r, by: k3(l, r).detach())
_fault("never_corrected", "`kl_correction` makes no difference", price=lambda l, r, by: k3(l, r))  # fmt: skip
_fault("old_as_reference", "No price is paid|should be", price=lambda l, r, by: k3(l, l.detach() if by is None else by))  # fmt: skip
_fault("correction_detached", "gradient", price=lambda l, r, by: k3(l, r) * (1 if by is None else (l - by).exp().detach()))  # fmt: skip
_fault("advantages_abs", "lost their sign", gains_of=lambda A, m: A.abs()[:, None])
_fault("good_alone", "lost their sign", gains_of=lambda A, m: A.relu()[:, None])
_fault("whitened_again", "changed on the way|should be", gains_of=lambda A, m: ((A - A.mean()) / (A.std(correction=min(1, len(A) - 1)) + 1e-8))[:, None])  # fmt: skip
_fault("centred_again", "changed on the way", gains_of=lambda A, m: (A - A.mean())[:, None])  # fmt: skip
_fault(
    "one_for_all", "stands for all", gains_of=lambda A, m: A.mean().expand(len(A), 1)
)
_fault("spread_over_tokens", "should be", gains_of=lambda A, m: A[:, None] / m.sum(1, keepdim=True))  # fmt: skip
_fault("without_advantages", "advantages make no difference", gains_of=lambda A, m: torch.ones_like(A)[:, None])  # fmt: skip
_fault("in_half", "first digits|should be|No gradient", reduce=lambda x, w, m: -masked_sum((x * w).bfloat16(), m).to(x.dtype))  # fmt: skip
_fault(
    "in_single", "torch.float64", reduce=lambda x, w, m: -masked_sum(x * w, m).float()
)
_fault("with_entropy", "should be", reduce=lambda x, w, m: -masked_sum(x * w, m) + 0.01)
_fault("dual_clip", "should be", pushed=lambda r, A, e, h: torch.where(A < 0, torch.maximum(clipped_objective(r, A, e, h), 2 * A), clipped_objective(r, A, e, h)))  # fmt: skip
_fault("log_ratio_clamped", "should be|right", ratio_of=lambda l, o, m: (l - o).clamp(-5, 5).exp())  # fmt: skip


def _wrong(says):
    return battery.wrong("grpo_loss", says=says)


@_wrong("by itself")
def price_averaged(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, ref_logprobs=None, kl_coef=0.0, kl_correction=False, **rest):  # fmt: skip
    loss = _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps, **rest)
    if not kl_coef:
        return loss
    by = old_logprobs if kl_correction else None
    price = kl_penalty(logprobs, ref_logprobs, by)
    return loss + kl_coef * masked_mean(price, mask)


@_wrong("by itself")
def price_summed(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, ref_logprobs=None, kl_coef=0.0, kl_correction=False, **rest):  # fmt: skip
    loss = _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps, **rest)
    if not kl_coef:
        return loss
    by = old_logprobs if kl_correction else None
    return loss + kl_coef * masked_sum(kl_penalty(logprobs, ref_logprobs, by), mask)


@_wrong("asks for the reference|Without")
def always_a_price(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    weights = library_weights(mask) if weights is None else weights
    x = clipped_objective(policy_ratio(logprobs, old_logprobs), advantages.detach()[:, None], clip_eps, clip_high)  # fmt: skip
    price = kl_penalty(logprobs, ref_logprobs, old_logprobs if kl_correction else None)
    return -masked_sum((x - kl_coef * price) * weights, mask)


@_wrong("Without `weights`|reference")
def always_a_price_by_hand(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    loss = _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps, clip_high=clip_high)  # fmt: skip
    away = ref_logprobs - logprobs
    return loss + kl_coef * masked_mean(away.exp() - 1 - away, mask)


@_wrong("always multiplied by the ratio")
def always_corrected(logprobs, old_logprobs, advantages, mask, *args, kl_correction=False, **rest):  # fmt: skip
    return _loss(logprobs, old_logprobs, advantages, mask, *args, kl_correction=True, **rest)  # fmt: skip


@_wrong("flows into the advantages")
def advantages_learn(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, clip_high=None, ref_logprobs=None, kl_coef=0.0, kl_correction=False):  # fmt: skip
    weights = library_weights(mask) if weights is None else weights
    x = clipped_objective(policy_ratio(logprobs, old_logprobs), advantages[:, None], clip_eps, clip_high)  # fmt: skip
    if kl_coef:
        by = old_logprobs if kl_correction else None
        x = x - kl_coef * kl_penalty(logprobs, ref_logprobs, by)
    return -masked_sum(x * weights, mask)


@_wrong("flows into `old_logprobs`")
def old_learns(logprobs, old_logprobs, advantages, mask, *args, **rest):
    def ratio(l, o, m):
        return (l - old_logprobs).exp()

    return _loss(
        logprobs, old_logprobs, advantages, mask, *args, **rest, ratio_of=ratio
    )


@_wrong("flows into `ref_logprobs`")
def reference_learns(logprobs, old_logprobs, advantages, mask, *args, ref_logprobs=None, **rest):  # fmt: skip
    def price(l, r, by):
        return k3(l, ref_logprobs) * (1 if by is None else policy_ratio(l, by))

    return _loss(logprobs, old_logprobs, advantages, mask, *args, ref_logprobs=ref_logprobs, price=price, **rest)  # fmt: skip


@_wrong("went backward itself")
def goes_backward(*args, **rest):
    loss = _loss(*args, **rest)
    loss.backward()
    return loss


@_wrong("changed its own input")
def cleaned_in_place(logprobs, old_logprobs, advantages, mask, *args, **rest):
    old_logprobs[~mask] = 0.0
    return _loss(logprobs, old_logprobs, advantages, mask, *args, **rest)


@_wrong("mask makes no difference|padding")
def mask_ignored(logprobs, old_logprobs, advantages, mask, *args, **rest):
    return _loss(
        logprobs, old_logprobs, advantages, torch.ones_like(mask), *args, **rest
    )


@_wrong("unexpected keyword")
def without_keywords(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2):  # fmt: skip
    return _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps)


@_wrong("gradient|should be|No gradient")
def the_worked_value(logprobs, *args, **rest):
    return 0 * logprobs.sum()


# --- found by attacking the checks ------------------------------------------------------------


_weigh("at_most_eight_answers", "should be", lambda m, n, B, T: m / n / min(B, 8))
_fault("smaller_of_the_ratios", "smaller of the two .ratios", pushed=lambda r, A, e, h: torch.minimum(r, r.clamp(1 - e, 1 + (e if h is None else h))) * A)  # fmt: skip
_fault("log_ratio_clipped", "logarithm of the ratio is clipped", pushed=lambda r, A, e, h: torch.minimum(r * A, r.log().clamp(-e, e if h is None else h).exp() * A))  # fmt: skip
_fault("clip_high_as_the_limit", "is the limit itself", pushed=lambda r, A, e, h: torch.minimum(r * A, r.clamp(1 - e, 1 + e if h is None else h) * A))  # fmt: skip
_fault("price_held", "should be", price=lambda l, ref, by: kl_penalty(l, ref, by).clamp(max=5.0))  # fmt: skip
_fault("half_a_price", "half of it", pay=lambda x, beta, cost, gains, m: x - beta * cost / 2)  # fmt: skip
_fault("nothing_paid_where_nothing_is_gained", "advantage of 0", pay=lambda x, beta, cost, gains, m: x - beta * cost * (gains != 0))  # fmt: skip
_fault("only_signs_of_advantages", "signs alone", gains_of=lambda A, m: A.sign().unsqueeze(1))  # fmt: skip


@_wrong("advantage of 0")
def answers_with_nothing_left_out(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, ref_logprobs=None, **rest):  # fmt: skip
    keep = advantages != 0
    weights, ref_logprobs = (None if x is None else x[keep] for x in (weights, ref_logprobs))  # fmt: skip
    if not keep.any():
        return 0.0 * logprobs.sum()
    return _loss(logprobs[keep], old_logprobs[keep], advantages[keep], mask[keep], weights, clip_eps, ref_logprobs=ref_logprobs, **rest)  # fmt: skip


@_wrong("advantage of 0|No price")
def nothing_at_all_if_all_are_0(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, **rest):  # fmt: skip
    loss = _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps, **rest)
    return loss if advantages.any() else 0.0 * loss


@_wrong("its own input, `weights`")
def masks_the_weights_in_place(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, **rest):  # fmt: skip
    if weights is not None:
        weights *= mask
    return _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps, **rest)


@_wrong("handed to `kl_penalty`")
def yes_for_the_old_ones(logprobs, old_logprobs, advantages, mask, weights=None, clip_eps=0.2, *, ref_logprobs=None, kl_coef=0.0, kl_correction=False, **rest):  # fmt: skip
    loss = _loss(logprobs, old_logprobs, advantages, mask, weights, clip_eps, **rest)
    if not kl_coef:
        return loss
    w = library_weights(mask) if weights is None else weights
    return loss + kl_coef * masked_sum(w * kl_penalty(logprobs, ref_logprobs, kl_correction), mask)  # fmt: skip
