"""Answers to lesson 07: the critic's loss; right ones of different shapes, and people's mistakes."""

import torch

from course_lib.masks import masked_mean
from tools.graders import Battery

battery = Battery()


# --- clipped_value_loss: right ----------------------------------------------------------------


@battery.right("clipped_value_loss")
def with_masked_mean(values, old_values, returns, mask, clip_eps=0.2):
    held = values.clamp(old_values - clip_eps, old_values + clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return masked_mean(errors, mask) / 2


@battery.right("clipped_value_loss")
def the_step_is_held(values, old_values, returns, mask, clip_eps=0.2):
    """As in OpenAI's baselines."""
    held = old_values + (values - old_values).clamp(-clip_eps, clip_eps)
    errors = torch.max((values - returns).square(), (held - returns).square())
    return 0.5 * errors[mask].mean()


@battery.right("clipped_value_loss")
def token_by_token(values, old_values, returns, mask, clip_eps=0.2):
    total, count = 0.0, 0
    for b in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            if mask[b, t]:
                v, old, came = values[b, t], old_values[b, t], returns[b, t]
                held = torch.clamp(v, old - clip_eps, old + clip_eps)
                total = total + max((v - came) ** 2, (held - came) ** 2)
                count += 1
    return total / count / 2


@battery.right("clipped_value_loss")
def with_where(values, old_values, returns, mask, clip_eps=0.2):
    v, old, came = values[mask], old_values[mask], returns[mask]
    held = torch.where(v > old + clip_eps, old + clip_eps, v)
    held = torch.where(v < old - clip_eps, old - clip_eps, held)
    nearer = (held - came).abs() < (v - came).abs()
    return (torch.where(nearer, v - came, held - came) ** 2).mean() / 2


@battery.right("clipped_value_loss")
def the_larger_size_squared(values, old_values, returns, mask, clip_eps=0.2):
    low, high = old_values - clip_eps, old_values + clip_eps
    held = torch.minimum(torch.maximum(values, low), high)
    sizes = torch.stack([values - returns, held - returns]).abs().amax(dim=0)
    return sizes.masked_fill(~mask, 0.0).pow(2).sum() / (2 * mask.sum())


@battery.right("clipped_value_loss")
def with_torchs_loss(values, old_values, returns, mask, clip_eps=0.2):
    mse = torch.nn.functional.mse_loss
    v, old, came = values[mask], old_values[mask], returns[mask]
    held = old + torch.clip(v - old, min=-clip_eps, max=clip_eps)
    both = [mse(x, came, reduction="none") for x in (v, held)]
    return torch.max(*both).mean().div(2)


# --- clipped_value_loss: wrong ----------------------------------------------------------------


def _wrong(says):
    return battery.wrong("clipped_value_loss", says=says)


def _held(values, old_values, clip_eps):
    return values.clamp(old_values - clip_eps, old_values + clip_eps)


def _half(errors, mask):
    return masked_mean(errors, mask) / 2


@_wrong("smaller of the two")
def min_for_max(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    return _half(torch.minimum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("half is missing")
def without_the_half(values, old_values, returns, mask, clip_eps=0.2):
    return 2 * with_masked_mean(values, old_values, returns, mask, clip_eps)


@_wrong("halved twice")
def halved_twice(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values, old_values, returns, mask, clip_eps) / 2


@_wrong("held, and near what")
def held_near_the_return(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, returns, clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("The return is held")
def return_held(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(returns, old_values, clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (values - held) ** 2), mask)


@_wrong("old value is held near the new")
def old_one_held(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(old_values, values, clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("Only the value that is held")
def held_alone(values, old_values, returns, mask, clip_eps=0.2):
    return _half((_held(values, old_values, clip_eps) - returns) ** 2, mask)


@_wrong("clip makes no difference")
def without_the_clip(values, old_values, returns, mask, clip_eps=0.2):
    return _half((values - returns) ** 2, mask)


@_wrong("within a share")
def a_share_of_the_old(values, old_values, returns, mask, clip_eps=0.2):
    ends = torch.stack([old_values * (1 - clip_eps), old_values * (1 + clip_eps)])
    held = values.clamp(ends.amin(0), ends.amax(0))
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("within a share")
def as_a_ratio(values, old_values, returns, mask, clip_eps=0.2):
    held = old_values * (values / old_values).clamp(1 - clip_eps, 1 + clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("as if it were a ratio")
def near_one(values, old_values, returns, mask, clip_eps=0.2):
    held = values.clamp(1 - clip_eps, 1 + clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("between -clip_eps and clip_eps")
def near_zero(values, old_values, returns, mask, clip_eps=0.2):
    held = values.clamp(-clip_eps, clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("not added to it again")
def step_alone(values, old_values, returns, mask, clip_eps=0.2):
    held = (values - old_values).clamp(-clip_eps, clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("The error is held")
def error_held(values, old_values, returns, mask, clip_eps=0.2):
    return _half((values - returns).clamp(-clip_eps, clip_eps) ** 2, mask)


@_wrong("one side only")
def held_below_only(values, old_values, returns, mask, clip_eps=0.2):
    held = torch.maximum(values, old_values - clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("one side only")
def held_above_only(values, old_values, returns, mask, clip_eps=0.2):
    held = torch.minimum(values, old_values + clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("clip_eps makes no difference")
def a_fifth_built_in(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values, old_values, returns, mask)


@_wrong("larger of two means")
def larger_mean(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    free, tied = _half((values - returns) ** 2, mask), _half((held - returns) ** 2, mask)  # fmt: skip
    return torch.max(free, tied)


@_wrong("with its sign")
def larger_before_squaring(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    return _half(torch.maximum(values - returns, held - returns) ** 2, mask)


@_wrong("with its sign")
def smaller_before_squaring(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    return _half(torch.minimum(values - returns, held - returns) ** 2, mask)


@_wrong("Both squares are added")
def both_added(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    return _half((values - returns) ** 2 + (held - returns) ** 2, mask)


@_wrong("sizes of errors")
def without_squares(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    errors = torch.maximum((values - returns).abs(), (held - returns).abs())
    return masked_mean(errors, mask)


@_wrong("padding included")
def mean_over_everything(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    return torch.maximum((values - returns) ** 2, (held - returns) ** 2).mean() / 2


@_wrong("padding included")
def zeros_counted(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return (errors * mask).mean() / 2


@_wrong("nan times 0")
def times_the_mask(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return (errors * mask).sum() / mask.sum() / 2


@_wrong("It is the sum")
def summed(values, old_values, returns, mask, clip_eps=0.2):
    mean = with_masked_mean(values, old_values, returns, mask, clip_eps)
    return mean * mask.sum()


@_wrong("short row counts more")
def mean_of_row_means(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return masked_mean(errors, mask, dim=1).mean() / 2


@_wrong("divided by the number of responses")
def by_the_rows(values, old_values, returns, mask, clip_eps=0.2):
    mean = with_masked_mean(values, old_values, returns, mask, clip_eps)
    return mean * mask.sum() / len(mask)


@_wrong("sign is turned")
def negated(values, old_values, returns, mask, clip_eps=0.2):
    return -with_masked_mean(values, old_values, returns, mask, clip_eps)


@_wrong("upside down")
def mask_upside_down(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values, old_values, returns, ~mask, clip_eps)


@_wrong("no gradient reaches the values")
def without_gradient(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values.detach(), old_values, returns, mask, clip_eps)


@_wrong("gradient is not")
def held_one_detached(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values.detach(), old_values, clip_eps)
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("pulled no further|gradient is not")
def straight_through(values, old_values, returns, mask, clip_eps=0.2):
    """The value of the clip with the gradient of no clip."""
    held = values + (_held(values, old_values, clip_eps) - values).detach()
    return _half(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


@_wrong("mean over all kept tokens")
def token_losses(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2) / 2
    return errors.masked_fill(~mask, 0.0)


@_wrong("returned a float")
def a_python_number(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values, old_values, returns, mask, clip_eps).item()


@_wrong("changed its own input")
def in_place(values, old_values, returns, mask, clip_eps=0.2):
    loss = with_masked_mean(values, old_values, returns, mask, clip_eps)
    returns[~mask] = 0.0
    return loss


@_wrong("exchanged")
def old_and_new_exchanged(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(old_values, values, returns, mask, clip_eps)


@_wrong("The loss")
def the_worked_value(values, old_values, returns, mask, clip_eps=0.2):
    return values.sum() * 0 + 0.32


@_wrong("The loss with a clip_eps of 6")
def clip_of_one_at_most(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values, old_values, returns, mask, min(clip_eps, 1.0))


@_wrong("The loss with a clip_eps of 0")
def no_clip_of_zero(values, old_values, returns, mask, clip_eps=0.2):
    return with_masked_mean(values, old_values, returns, mask, clip_eps or 0.2)


@_wrong("The loss with")
def errors_of_a_hundred_at_most(values, old_values, returns, mask, clip_eps=0.2):
    held = _held(values, old_values, clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return _half(errors.clamp(max=100.0), mask)


@_wrong("no gradient reaches the values")
def a_leaf_of_its_own(values, old_values, returns, mask, clip_eps=0.2):
    loss = with_masked_mean(values, old_values, returns, mask, clip_eps)
    return torch.tensor(loss.item(), requires_grad=True)


# --- what an attack from the card alone found -----------------------------------------------


def _larger(values, old_values, returns, clip_eps):
    held = values.clamp(old_values - clip_eps, old_values + clip_eps)
    return torch.maximum((values - returns) ** 2, (held - returns) ** 2)


@battery.wrong("clipped_value_loss", says="at the left")
def the_mask_as_lengths(values, old_values, returns, mask, clip_eps=0.2):
    left = torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)
    return _larger(values, old_values, returns, clip_eps)[left].mean() / 2


@battery.wrong("clipped_value_loss", says="error is 0")
def zeros_not_counted(values, old_values, returns, mask, clip_eps=0.2):
    errors = _larger(values, old_values, returns, clip_eps).masked_fill(~mask, 0)
    return errors.sum() / (errors != 0).sum() / 2


@battery.wrong("clipped_value_loss", says="type torch.float32")
def in_single_precision(values, old_values, returns, mask, clip_eps=0.2):
    given = (x.float() for x in (values, old_values, returns))
    return masked_mean(_larger(*given, clip_eps), mask) / 2
