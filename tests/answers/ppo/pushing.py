"""Answers to lesson 07: what pushes a token, and how far; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch

from course_lib.logprobs import k1
from course_lib.masks import masked_mean, masked_sum
from course_lib.ppo.losses import check_tokens
from course_lib.ppo.losses import policy_ratio as library_ratio
from tools.graders import Battery

battery = Battery()


# --- reinforce_loss: right --------------------------------------------------------------------


@battery.right("reinforce_loss")
def with_a_masked_mean(logprobs, advantages, mask):
    check_tokens(mask, logprobs=logprobs, advantages=advantages)
    return -masked_mean(logprobs * advantages.detach(), mask)


@battery.right("reinforce_loss")
def selected_first(logprobs, advantages, mask):
    return -(logprobs[mask] * advantages[mask].detach()).mean()


@battery.right("reinforce_loss")
def as_a_dot_product(logprobs, advantages, mask):
    weights = advantages.detach()[mask] / mask.sum()
    return -logprobs[mask] @ weights


@battery.right("reinforce_loss")
def with_where(logprobs, advantages, mask):
    pushed = torch.where(mask, -logprobs * advantages.detach(), 0.0)
    return pushed.sum() / mask.sum()


@battery.right("reinforce_loss")
def response_by_response(logprobs, advantages, mask):
    total = 0.0
    for row, gains, kept in zip(logprobs, advantages, mask, strict=True):
        total = total + row[kept] @ gains[kept].detach()
    return -total / mask.sum()


@battery.right("reinforce_loss")
def token_by_token(logprobs, advantages, mask):
    terms = []
    for b, t in mask.nonzero().tolist():
        terms.append(-logprobs[b, t] * advantages[b, t].item())
    return torch.stack(terms).mean()


@battery.right("reinforce_loss")
def with_weights_from_no_grad(logprobs, advantages, mask):
    with torch.no_grad():
        weights = advantages.masked_fill(~mask, 0.0) / mask.sum()
    return -(logprobs.masked_fill(~mask, 0.0) * weights).sum()


@battery.right("reinforce_loss")
def with_einsum(logprobs, advantages, mask):
    clean = [x.masked_fill(~mask, 0.0) for x in (logprobs, advantages.detach())]
    return -torch.einsum("bt,bt->", *clean) / mask.count_nonzero()


# --- reinforce_loss: wrong --------------------------------------------------------------------


def _push(name, says, loss):
    """loss(l, A, m, x): log-probabilities, advantages, mask, and the product of the first two."""

    def answer(logprobs, advantages, mask):
        gains = advantages.detach()
        return loss(logprobs, gains, mask, logprobs * gains)

    answer.__name__ = name
    battery.wrong("reinforce_loss", says=says)(answer)


def _ends(m):
    return torch.arange(len(m)), m.sum(1) - 1


def _rows(x, m):
    return torch.stack([row[kept].mean() for row, kept in zip(x, m, strict=True)])


def _clean(x, m):
    return x.masked_fill(~m, 0.0)


_push("not_negated", "sign is turned", lambda l, A, m, x: x[m].mean())
_push("negated_twice", "sign is turned", lambda l, A, m, x: -(-x)[m].mean())
_push("not_negated_padding_too", "sign is turned", lambda l, A, m, x: x.mean())
_push("summed", "added up", lambda l, A, m, x: -x[m].sum())
_push("summed_with_padding", "added up", lambda l, A, m, x: -x.sum())
_push("mean_of_everything", "padding counts", lambda l, A, m, x: -x.mean())
_push("masked_then_mean", "padding counts", lambda l, A, m, x: -(x * m).mean())
_push("filled_then_mean", "padding counts", lambda l, A, m, x: -_clean(x, m).mean())
_push("all_over_kept", "padding counts", lambda l, A, m, x: -x.sum() / m.sum())
_push("padding_alone", "upside down|nan|no number|should be", lambda l, A, m, x: -x[~m].mean())  # fmt: skip
_push("inverted_fill", "upside down|should be", lambda l, A, m, x: -x.masked_fill(m, 0).sum() / (~m).sum().clamp(min=1))  # fmt: skip
_push("mean_of_row_means", "its own mean first", lambda l, A, m, x: -_rows(x, m).mean())
_push("mean_of_masked_row_means", "its own mean first", lambda l, A, m, x: -masked_mean(x, m, dim=1).mean())  # fmt: skip
_push("mean_of_column_means", "its own mean first", lambda l, A, m, x: -masked_mean(x, m, dim=0).mean())  # fmt: skip
_push("mean_of_row_sums", "responses' sums", lambda l, A, m, x: -masked_sum(x, m, dim=1).mean())  # fmt: skip
_push("over_the_batch", "responses' sums", lambda l, A, m, x: -x.sum(1).mean())
_push("over_the_places", "places of a row", lambda l, A, m, x: -_clean(x, m).sum() / m.shape[1])  # fmt: skip
_push("first_response", "Only one response", lambda l, A, m, x: -x[0][m[0]].mean())
_push("last_response", "Only one response", lambda l, A, m, x: -x[-1][m[-1]].mean())
_push("last_token", "Only one token", lambda l, A, m, x: -x[_ends(m)].mean())
_push("last_column", "Only one token", lambda l, A, m, x: -x[:, -1].mean())
_push("first_column", "Only one token", lambda l, A, m, x: -x[:, 0].mean())
_push("divided_again", "taken twice", lambda l, A, m, x: -x[m].mean() / m.sum())
_push("mean_over_batch", "taken twice", lambda l, A, m, x: -x[m].mean() / len(x))
_push("probabilities", "probability is averaged", lambda l, A, m, x: -(l.exp() * A)[m].mean())  # fmt: skip
_push("without_advantages", "make no difference", lambda l, A, m, x: -l[m].mean())
_push("likelihood_of_all", "make no difference", lambda l, A, m, x: -l.mean())
_push("means_multiplied", "were multiplied", lambda l, A, m, x: -l[m].mean() * A[m].mean())  # fmt: skip
_push("sequence_times_sum", "were multiplied", lambda l, A, m, x: -(_clean(l, m).sum(1) * _clean(A, m).sum(1)).mean())  # fmt: skip
_push("sequence_times_each", "were multiplied", lambda l, A, m, x: -(_clean(l, m).sum(1, keepdim=True) * A)[m].mean())  # fmt: skip
_push("row_means_multiplied", "were multiplied", lambda l, A, m, x: -(_rows(l, m) * _rows(A, m)).mean())  # fmt: skip
_push("added", "added or subtracted", lambda l, A, m, x: -(l + A)[m].mean())
_push("subtracted", "added or subtracted", lambda l, A, m, x: (A - l)[m].mean())
_push("squared_error", "added or subtracted", lambda l, A, m, x: ((l - A) ** 2)[m].mean())  # fmt: skip
_push("prefixes", "added up along the row", lambda l, A, m, x: -(l.cumsum(1) * A)[m].mean())  # fmt: skip
_push("divided_by_advantage", "divides by", lambda l, A, m, x: -(l / A)[m].mean())
_push("whitened", "changed on the way", lambda l, A, m, x: -(l * (A - A[m].mean()) / (A[m].std() + 1e-8))[m].mean())  # fmt: skip
_push("whitened_over_everything", "changed on the way", lambda l, A, m, x: -(l * (A - A.mean()) / (A.std() + 1e-8))[m].mean())  # fmt: skip
_push("whitened_biased", "changed on the way|should be", lambda l, A, m, x: -(l * (A - A[m].mean()) / (A[m].std(correction=0) + 1e-8))[m].mean())  # fmt: skip
_push("baseline_of_the_batch", "changed on the way", lambda l, A, m, x: -(l * (A - A[m].mean()))[m].mean())  # fmt: skip
_push("one_advantage_per_row", "stands for several", lambda l, A, m, x: -(l * _rows(A, m)[:, None])[m].mean())  # fmt: skip
_push("advantage_of_the_first", "stands for several", lambda l, A, m, x: -(l * A[:, :1])[m].mean())  # fmt: skip
_push("advantage_of_the_last", "stands for several", lambda l, A, m, x: -(l * A[_ends(m)][:, None])[m].mean())  # fmt: skip
_push("advantages_of_row_0", "stands for several", lambda l, A, m, x: -(l * A[0])[m].mean())  # fmt: skip
_push("mean_advantage", "stands for several|were multiplied", lambda l, A, m, x: -(l * A[m].mean())[m].mean())  # fmt: skip
_push("advantage_sums", "stands for several", lambda l, A, m, x: -(l * A.sum(1, keepdim=True))[m].mean())  # fmt: skip
_push("absolute", "lost their sign", lambda l, A, m, x: -(l * A.abs())[m].mean())
_push("good_ones_alone", "lost their sign", lambda l, A, m, x: -(l * A.relu())[m].mean())  # fmt: skip
_push("signs_alone", "lost their sign", lambda l, A, m, x: -(l * A.sign())[m].mean())
_push("to_go", "added up along the row", lambda l, A, m, x: -(l * _clean(A, m).flip(1).cumsum(1).flip(1))[m].mean())  # fmt: skip
_push("shifted", "wrong token", lambda l, A, m, x: -(l * A.roll(1, 1))[m].mean())
_push("exponential_weights", "exponential over", lambda l, A, m, x: -(l * A.exp())[m].mean())  # fmt: skip
_push("softmax_weights", "softmax", lambda l, A, m, x: -(l * A.softmax(1))[m].mean())
_push("detached", "No gradient", lambda l, A, m, x: -x[m].mean().detach())
_push("logprobs_detached", "No gradient", lambda l, A, m, x: -(l.detach() * A)[m].mean())  # fmt: skip
_push("a_number", "returned a float", lambda l, A, m, x: -x[m].mean().item())
_push("a_new_tensor", "No gradient", lambda l, A, m, x: torch.tensor(-x[m].mean().item()))  # fmt: skip
_push("in_numpy", "No gradient", lambda l, A, m, x: torch.tensor(-np.mean(l.numpy()[m.numpy()])))  # fmt: skip
_push("revived", "No gradient", lambda l, A, m, x: -x[m].mean().detach().requires_grad_())  # fmt: skip
_push("per_token", "for each token", lambda l, A, m, x: -x)
_push("per_token_masked", "for each token", lambda l, A, m, x: -_clean(x, m))
_push("per_kept_token", "for each kept token", lambda l, A, m, x: -x[m])
_push("per_response", "for each response", lambda l, A, m, x: -_rows(x, m))
_push("per_response_kept", "for each response", lambda l, A, m, x: -masked_mean(x, m, 1)[:, None])  # fmt: skip
_push("dimension_kept", "has none", lambda l, A, m, x: -x[m].mean(0, keepdim=True))
_push("with_statistics", "returned a tuple", lambda l, A, m, x: (-x[m].mean(), {}))
_push("times_mask", "With nan in the padding", lambda l, A, m, x: -(x * m).sum() / m.sum())  # fmt: skip
_push("logprobs_cleaned_alone", "With nan in the padding", lambda l, A, m, x: -(_clean(l, m) * A).sum() / m.sum())  # fmt: skip
_push("advantages_cleaned_alone", "With nan in the padding", lambda l, A, m, x: -(l * _clean(A, m)).sum() / m.sum())  # fmt: skip
_push("infinity_forgotten", "With inf in the padding", lambda l, A, m, x: -(l.nan_to_num(0, math.inf, -math.inf) * _clean(A, m)).sum() / m.sum())  # fmt: skip
_push("value_of_a_ratio", "gradient is right", lambda l, A, m, x: -((l - l.detach()).exp() * A)[m].mean())  # fmt: skip
_push("small_constant", "first digits|should be|taken twice", lambda l, A, m, x: -_clean(x, m).sum() / (m.sum() + 1e-3))  # fmt: skip
_push("in_single", "torch.float64", lambda l, A, m, x: -x.float()[m].mean())
_push("in_half", "first digits|type|should be", lambda l, A, m, x: -x.bfloat16()[m].mean().to(l.dtype))  # fmt: skip
_push("half_detached", "gradient is not", lambda l, A, m, x: (-x[m].mean() - x[m].mean().detach()) / 2)  # fmt: skip
_push("with_entropy", "should be|gradient", lambda l, A, m, x: -x[m].mean() + 0.1 * l[m].mean())  # fmt: skip
_push("clamped", "should be|gradient", lambda l, A, m, x: -(l.clamp(min=-2) * A)[m].mean())  # fmt: skip
_push("clamped_far", "should be|gradient", lambda l, A, m, x: -(l.clamp(min=-3.5) * A)[m].mean())  # fmt: skip
_push("advantages_clipped", "should be|gradient", lambda l, A, m, x: -(l * A.clamp(-1, 1))[m].mean())  # fmt: skip
_push("shortest_length_for_all", "Only one token|should be", lambda l, A, m, x: -x[:, : m.sum(1).min()].mean())  # fmt: skip
_push("clamped_at_twenty", "should be|gradient", lambda l, A, m, x: -(l.clamp(min=-20) * A)[m].mean())  # fmt: skip
_push("advantages_clipped_at_ten", "should be|gradient", lambda l, A, m, x: -(l * A.clamp(-10, 10))[m].mean())  # fmt: skip
_push("as_a_share_of_the_largest", "should be|gradient", lambda l, A, m, x: -(l * A / A.abs().max())[m].mean())  # fmt: skip
_push("likelier_whatever_the_sign", "should be|gradient|sign is turned", lambda l, A, m, x: -(l.abs() * A)[m].mean())  # fmt: skip
_push("improbability", "should be|gradient", lambda l, A, m, x: -((1 - l.exp()) * A)[m].mean())  # fmt: skip
_push("log_of_log", "should be|gradient|no number|nan", lambda l, A, m, x: -(l.neg().log() * A)[m].mean())  # fmt: skip
_push("median", "should be|gradient", lambda l, A, m, x: -x[m].median())  # fmt: skip
_push("over_the_advantages", "should be|gradient", lambda l, A, m, x: -x[m].sum() / A[m].sum())  # fmt: skip
_push("over_their_sizes", "should be|gradient", lambda l, A, m, x: -x[m].sum() / A[m].abs().sum())  # fmt: skip
_push("first_three_tokens", "should be|gradient", lambda l, A, m, x: -x[:, :3][m[:, :3]].mean())  # fmt: skip


@battery.wrong("reinforce_loss", says="gradient flows into the advantages")
def advantages_learn_too(logprobs, advantages, mask):
    return -masked_mean(logprobs * advantages, mask)


@battery.wrong("reinforce_loss", says="comes out otherwise|No gradient")
def the_wrong_one_detached_if_both_learn(logprobs, advantages, mask):
    if advantages.requires_grad:
        return -masked_mean(logprobs.detach() * advantages, mask)
    return -masked_mean(logprobs * advantages, mask)


@battery.wrong("reinforce_loss", says="went backward itself")
def goes_backward(logprobs, advantages, mask):
    loss = -masked_mean(logprobs * advantages.detach(), mask)
    loss.backward()
    return loss


@battery.wrong("reinforce_loss", says="No gradient")
def under_no_grad(logprobs, advantages, mask):
    with torch.no_grad():
        return -masked_mean(logprobs * advantages, mask)


@battery.wrong("reinforce_loss", says="changed its own input")
def cleaned_in_place(logprobs, advantages, mask):
    advantages[~mask] = 0.0
    return -(logprobs * advantages.detach())[mask].mean()


@battery.wrong("reinforce_loss", says="No gradient|should be")
def the_worked_value(logprobs, advantages, mask):
    return 0 * logprobs.sum() + 0.5


@battery.wrong("reinforce_loss", says="returned a int|returned a float")
def pythons_sum(logprobs, advantages, mask):
    total = 0
    for row, gains, kept in zip(logprobs.tolist(), advantages.tolist(), mask.tolist(), strict=True):  # fmt: skip
        total -= sum(a * b for a, b, k in zip(row, gains, kept, strict=True) if k)
    return total / int(mask.sum())


@battery.wrong("reinforce_loss", says="stopped with RuntimeError")
def viewed_flat(logprobs, advantages, mask):
    x = logprobs.view(-1) * advantages.detach().view(-1)
    return -x[mask.view(-1)].mean()


# --- policy_ratio: right ----------------------------------------------------------------------


@battery.right("policy_ratio")
def exponential_of_the_difference(logprobs, old_logprobs):
    return (logprobs - old_logprobs.detach()).exp()


@battery.right("policy_ratio")
def by_the_log_ratio(logprobs, old_logprobs):
    return torch.exp(k1(logprobs, old_logprobs.detach()))


@battery.right("policy_ratio")
def with_math_e(logprobs, old_logprobs):
    return torch.pow(math.e, logprobs.sub(old_logprobs.data))


@battery.right("policy_ratio")
def ratio_token_by_token(logprobs, old_logprobs):
    rows = zip(logprobs, old_logprobs.tolist(), strict=True)
    return torch.stack([torch.stack([torch.exp(n - o) for n, o in zip(*row, strict=True)]) for row in rows])  # fmt: skip


@battery.right("policy_ratio")
def with_expm1(logprobs, old_logprobs):
    with torch.no_grad():
        before = old_logprobs.clone()
    return torch.expm1(logprobs - before) + 1


@battery.right("policy_ratio")
def old_from_numpy(logprobs, old_logprobs):
    before = torch.from_numpy(old_logprobs.detach().numpy().copy())
    return (logprobs - before).exp()


# --- policy_ratio: wrong ----------------------------------------------------------------------


def _ratio(name, says, find):
    """find(n, o, d): new and old log-probabilities, and their difference."""

    def answer(logprobs, old_logprobs):
        n, o = logprobs, old_logprobs.detach()
        return find(n, o, n - o)

    answer.__name__ = name
    battery.wrong("policy_ratio", says=says)(answer)


_ratio("old_over_new", "upside down", lambda n, o, d: (-d).exp())
_ratio("difference", "One step is missing", lambda n, o, d: d)
_ratio("difference_turned", "One step is missing", lambda n, o, d: -d)
_ratio("logs_divided", "were divided", lambda n, o, d: n / o)
_ratio("logs_divided_then_exp", "were divided", lambda n, o, d: (n / o).exp())
_ratio("of_the_sum", "for each response", lambda n, o, d: d.sum(1).exp())
_ratio("of_the_mean", "for each response", lambda n, o, d: d.mean(1).exp())
_ratio("of_the_means", "for each response", lambda n, o, d: (n.mean(-1, keepdim=True) - o.mean(-1, keepdim=True)).exp())  # fmt: skip
_ratio("of_the_sum_spread", "for each response", lambda n, o, d: d.sum(1, keepdim=True).exp().expand_as(d))  # fmt: skip
_ratio("of_the_mean_spread", "for each response", lambda n, o, d: d.mean(1, keepdim=True).exp().expand_as(d))  # fmt: skip
_ratio("mean_ratio_spread", "for each response", lambda n, o, d: d.exp().mean(1, keepdim=True).expand_as(d))  # fmt: skip
_ratio("of_the_batch", "whole batch", lambda n, o, d: d.mean().exp())
_ratio("of_the_batch_spread", "whole batch", lambda n, o, d: d.mean().exp().expand_as(d))  # fmt: skip
_ratio("mean_ratio", "whole batch", lambda n, o, d: d.exp().mean())
_ratio("of_prefixes", "multiplied along the row", lambda n, o, d: d.exp().cumprod(1))
_ratio("of_suffixes", "multiplied along the row", lambda n, o, d: d.flip(1).cumsum(1).flip(1).exp())  # fmt: skip
_ratio("clipped_already", "is clipped", lambda n, o, d: d.exp().clamp(0.8, 1.2))
_ratio("log_clipped", "is clipped", lambda n, o, d: d.clamp(-0.2, 0.2).exp())
_ratio("capped", "is clipped", lambda n, o, d: d.exp().clamp(max=1))
_ratio("clipped_at_10", "hold it back|should be", lambda n, o, d: d.exp().clamp(max=10))
_ratio("log_clipped_at_10", "hold it back", lambda n, o, d: d.clamp(-10, 10).exp())
_ratio("log_clipped_at_20", "hold it back", lambda n, o, d: d.clamp(-20, 20).exp())
_ratio("less_one", "how far the ratio is from 1", lambda n, o, d: d.expm1())
_ratio("distance_from_one", "how far the ratio is from 1", lambda n, o, d: (d.exp() - 1).abs())  # fmt: skip
_ratio("probabilities_subtracted", "were subtracted", lambda n, o, d: n.exp() - o.exp())
_ratio("new_alone", "new probability alone", lambda n, o, d: n.exp())
_ratio("by_the_mean_of_old", "new probability alone", lambda n, o, d: n.exp() / o.exp().mean())  # fmt: skip
_ratio("product", "product of both", lambda n, o, d: (n + o).exp())
_ratio("first_order", "only there", lambda n, o, d: 1 + d)
_ratio("second_order", "only there", lambda n, o, d: 1 + d + d**2 / 2)
_ratio("without_sign", "lost its sign", lambda n, o, d: d.abs().exp())
_ratio("power_of_two", "another number than e", lambda n, o, d: 2**d)
_ratio("power_of_ten", "another number than e", lambda n, o, d: 10**d)
_ratio("softmaxed", "softmax", lambda n, o, d: d.softmax(-1))
_ratio("sigmoid", "sigmoid", lambda n, o, d: d.sigmoid())
_ratio("exp_twice", "or twice", lambda n, o, d: d.exp().exp())
_ratio("exp_of_probabilities", "or twice", lambda n, o, d: (n.exp() - o.exp()).exp())
_ratio("squared", "square", lambda n, o, d: d.exp() ** 2)
_ratio("quotient", "too small for a float", lambda n, o, d: n.exp() / o.exp())
_ratio("quotient_with_a_constant", "first digits|too small", lambda n, o, d: n.exp() / (o.exp() + 1e-8))  # fmt: skip
_ratio("quotient_nan_to_num", "too small for a float", lambda n, o, d: (n.exp() / o.exp()).nan_to_num(1.0))  # fmt: skip
_ratio("quotient_clamped", "too small for a float", lambda n, o, d: n.exp().clamp(1e-30) / o.exp().clamp(1e-30))  # fmt: skip
_ratio("quotient_in_double", "too small for a float", lambda n, o, d: (n.double().exp() / o.double().exp()).to(n.dtype))  # fmt: skip
_ratio("new_times_exp_of_minus_old", "too small for a float", lambda n, o, d: n.exp() * (-o).exp())  # fmt: skip
_ratio("detached", "no gradient", lambda n, o, d: d.exp().detach())
_ratio("new_detached", "no gradient|No gradient", lambda n, o, d: (n.detach() - o).exp())  # fmt: skip
_ratio("a_new_tensor", "no gradient", lambda n, o, d: torch.tensor(d.exp().tolist(), dtype=n.dtype))  # fmt: skip
_ratio("as_a_list", "returned a list", lambda n, o, d: d.exp().tolist())
_ratio("a_number", "returned a float", lambda n, o, d: d.exp().mean().item())
_ratio("in_numpy", "no gradient|NumPy|returned a ndarray", lambda n, o, d: np.exp(d.detach().numpy()))  # fmt: skip
_ratio("flat", "shape", lambda n, o, d: d.exp().flatten())
_ratio("first_row", "shape", lambda n, o, d: d[0].exp())
_ratio("first_row_for_all", "should be", lambda n, o, d: d[:1].exp().expand_as(d))
_ratio("old_of_the_first_row", "should be", lambda n, o, d: (n - o[:1]).exp())
_ratio("squeezed", "shape", lambda n, o, d: d.exp().squeeze())
_ratio(
    "straight_through", "gradient is not", lambda n, o, d: d + (d.exp() - d).detach()
)
_ratio("gradient_halved", "gradient is not", lambda n, o, d: (d.exp() + d.exp().detach()) / 2)  # fmt: skip
_ratio("in_single", "torch.float64", lambda n, o, d: d.float().exp())
_ratio("with_statistics", "returned a tuple", lambda n, o, d: (d.exp(), d))
_ratio("rounded", "first digits|should be", lambda n, o, d: (d.exp() * 1000).round() / 1000)  # fmt: skip
_ratio("nearly_one", "each ratio is 1|first digits|should be", lambda n, o, d: (d + 1e-5).exp())  # fmt: skip
_ratio("from_normalised", "softmax", lambda n, o, d: n.softmax(-1) / o.softmax(-1))
_ratio("capped_at_1000", "hold it back", lambda n, o, d: d.exp().clamp(max=1000))  # fmt: skip
_ratio("logs_of_exponentials", "too small for a float", lambda n, o, d: (n.exp().log() - o.exp().log()).exp())  # fmt: skip
_ratio("softplus", "should be", lambda n, o, d: torch.nn.functional.softplus(d))  # fmt: skip
_ratio("relative_change", "how far the ratio is from 1", lambda n, o, d: (n.exp() - o.exp()) / o.exp())  # fmt: skip
_ratio("odds", "should be", lambda n, o, d: (n.exp() / (1 - n.exp())) / (o.exp() / (1 - o.exp())))  # fmt: skip
_ratio("negative", "should be", lambda n, o, d: -d.exp())  # fmt: skip
_ratio("old_of_a_neighbour", "should be", lambda n, o, d: (n - o.roll(1, 1)).exp())  # fmt: skip
_ratio("with_mean_one", "should be", lambda n, o, d: d.exp() / d.exp().mean())  # fmt: skip
_ratio("by_the_first", "should be", lambda n, o, d: (d - d[:, :1]).exp())  # fmt: skip


@battery.wrong("policy_ratio", says="flows into `old_logprobs`")
def old_learns_too(logprobs, old_logprobs):
    return (logprobs - old_logprobs).exp()


@battery.wrong("policy_ratio", says="no gradient")
def wrong_one_detached(logprobs, old_logprobs):
    return (logprobs.detach() - old_logprobs).exp()


@battery.wrong("policy_ratio", says="is lost|No gradient")
def new_detached_if_old_learns(logprobs, old_logprobs):
    if old_logprobs.requires_grad:
        logprobs = logprobs.detach()
    return (logprobs - old_logprobs).exp()


@battery.wrong("policy_ratio", says="changed its own input|stopped with")
def subtracted_in_place(logprobs, old_logprobs):
    logprobs -= old_logprobs
    return logprobs.exp()


@battery.wrong("policy_ratio", says="changed its own input")
def old_turned_in_place(logprobs, old_logprobs):
    return (logprobs + old_logprobs.detach().neg_()).exp()


@battery.wrong("policy_ratio", says="should be")
def worked_value(logprobs, old_logprobs):
    return torch.where(logprobs == old_logprobs, 1.0, math.e) + 0 * logprobs


@battery.wrong("policy_ratio", says="should be")
def always_one(logprobs, old_logprobs):
    return (logprobs - logprobs.detach()).exp()


# --- clipped_policy_loss: right ---------------------------------------------------------------


@battery.right("clipped_policy_loss")
def smaller_of_two_products(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    check_tokens(mask, logprobs=logprobs, old=old_logprobs, advantages=advantages)
    ratio, gains = library_ratio(logprobs, old_logprobs), advantages.detach()
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(torch.minimum(ratio * gains, clipped * gains), mask)


@battery.right("clipped_policy_loss")
def larger_of_two_losses(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs.detach())[mask].exp()
    gains = advantages.detach()[mask]
    held = torch.clamp(ratio, 1 - clip_eps, 1 + clip_eps)
    return torch.max(-gains * ratio, -gains * held).mean()


@battery.right("clipped_policy_loss")
def by_the_sign_of_the_advantage(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):  # fmt: skip
    ratio, gains = (logprobs - old_logprobs.detach()).exp(), advantages.detach()
    held = torch.where(gains > 0, ratio.clamp(max=1 + clip_eps), ratio.clamp(min=1 - clip_eps))  # fmt: skip
    return -masked_mean(held * gains, mask)


@battery.right("clipped_policy_loss")
def with_a_bound(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    gains = advantages.detach()[mask]
    ratio = (logprobs[mask] - old_logprobs.detach()[mask]).exp()
    bound = gains + clip_eps * gains.abs()
    return -torch.minimum(ratio * gains, bound).mean()


@battery.right("clipped_policy_loss")
def token_by_token_with_cases(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    terms = []
    for b, t in mask.nonzero().tolist():
        gain = advantages[b, t].item()
        ratio = torch.exp(logprobs[b, t] - old_logprobs[b, t].item())
        if gain > 0:
            ratio = min(ratio, ratio.detach() * 0 + 1 + clip_eps)
        else:
            ratio = max(ratio, ratio.detach() * 0 + 1 - clip_eps)
        terms.append(ratio * gain)
    return -torch.stack(terms).mean()


@battery.right("clipped_policy_loss")
def with_frozen_tokens(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs.detach()).exp()
    gains = advantages.detach()
    with torch.no_grad():
        rose = (ratio > 1 + clip_eps) & (gains > 0)
        fell = (ratio < 1 - clip_eps) & (gains < 0)
    ratio = ratio.masked_fill(rose, 1 + clip_eps).masked_fill(fell, 1 - clip_eps)
    return -torch.where(mask, ratio * gains, 0.0).sum() / mask.sum()


@battery.right("clipped_policy_loss")
def with_a_stack_of_two(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = torch.exp(logprobs - old_logprobs.data)
    both = torch.stack([ratio, ratio.clip(1 - clip_eps, 1 + clip_eps)])
    return -(both * advantages.detach()).amin(dim=0)[mask].mean()


# --- clipped_policy_loss: wrong ---------------------------------------------------------------


def _clip(name, says, loss):
    """loss(r, c, A, m, e, d): ratio, clipped ratio, advantages, mask, clip_eps, log-ratio."""

    def answer(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
        gap = logprobs - old_logprobs.detach()
        ratio = gap.exp()
        clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
        return loss(ratio, clipped, advantages.detach(), mask, clip_eps, gap)

    answer.__name__ = name
    battery.wrong("clipped_policy_loss", says=says)(answer)


least, most = torch.minimum, torch.maximum

_clip("max_for_min", "larger of the two products", lambda r, c, A, m, e, d: -most(r * A, c * A)[m].mean())  # fmt: skip
_clip("min_of_negated", "larger of the two products", lambda r, c, A, m, e, d: least(-r * A, -c * A)[m].mean())  # fmt: skip
_clip("clip_only", "Only the clipped ratio", lambda r, c, A, m, e, d: -(c * A)[m].mean())  # fmt: skip
_clip("no_clip", "Nothing is clipped", lambda r, c, A, m, e, d: -(r * A)[m].mean())
_clip("not_negated", "sign is turned", lambda r, c, A, m, e, d: least(r * A, c * A)[m].mean())  # fmt: skip
_clip("max_not_negated", "should be|sign", lambda r, c, A, m, e, d: most(r * A, c * A)[m].mean())  # fmt: skip
_clip("product_clipped", "ratio times the advantage", lambda r, c, A, m, e, d: -least(r * A, (r * A).clamp(1 - e, 1 + e))[m].mean())  # fmt: skip
_clip("product_clipped_only", "ratio times the advantage", lambda r, c, A, m, e, d: -(r * A).clamp(1 - e, 1 + e)[m].mean())  # fmt: skip
_clip("advantages_clipped", "advantages are clipped", lambda r, c, A, m, e, d: -least(r * A, r * A.clamp(1 - e, 1 + e))[m].mean())  # fmt: skip
_clip("advantages_held", "advantages are clipped", lambda r, c, A, m, e, d: -least(r * A.clamp(-1, 1), c * A.clamp(-1, 1))[m].mean())  # fmt: skip
_clip("eps_fixed", "makes no difference", lambda r, c, A, m, e, d: -least(r * A, r.clamp(0.8, 1.2) * A)[m].mean())  # fmt: skip
_clip("from_above_only", "one side only", lambda r, c, A, m, e, d: -least(r * A, r.clamp(max=1 + e) * A)[m].mean())  # fmt: skip
_clip("from_below_only", "one side only", lambda r, c, A, m, e, d: -least(r * A, r.clamp(min=1 - e) * A)[m].mean())  # fmt: skip
_clip("capped_only", "one side only", lambda r, c, A, m, e, d: -(r.clamp(max=1 + e) * A)[m].mean())  # fmt: skip
_clip("smaller_ratio", "not of the two ratios", lambda r, c, A, m, e, d: -(least(r, c) * A)[m].mean())  # fmt: skip
_clip("larger_ratio", "not of the two ratios", lambda r, c, A, m, e, d: -(most(r, c) * A)[m].mean())  # fmt: skip
_clip("outside_left_out", "left out or held", lambda r, c, A, m, e, d: -(r * A * (r == c))[m].mean())  # fmt: skip
_clip("outside_held_at_one", "left out or held", lambda r, c, A, m, e, d: -(r * A).where(r == c, A)[m].mean())  # fmt: skip
_clip("sequence_mean", "whole response", lambda r, c, A, m, e, d: _sequence(masked_mean(d, m, 1), A, m, e))  # fmt: skip
_clip("sequence_sum", "whole response", lambda r, c, A, m, e, d: _sequence(masked_sum(d, m, 1), A, m, e))  # fmt: skip
_clip("sequence_with_padding", "whole response", lambda r, c, A, m, e, d: _sequence(d.mean(1), A, m, e))  # fmt: skip
_clip("one_ratio", "whole response", lambda r, c, A, m, e, d: _sequence(d.mean().expand(len(d)), A, m, e))  # fmt: skip
_clip("log_clipped", "logarithm of the ratio", lambda r, c, A, m, e, d: -least(r * A, d.clamp(-e, e).exp() * A)[m].mean())  # fmt: skip
_clip("log_as_ratio", "logarithm of the ratio", lambda r, c, A, m, e, d: -least(d * A, d.clamp(1 - e, 1 + e) * A)[m].mean())  # fmt: skip
_clip("upside_down", "upside down", lambda r, c, A, m, e, d: -least(A / r, (1 / r).clamp(1 - e, 1 + e) * A)[m].mean())  # fmt: skip
_clip("always_one", "make no difference", lambda r, c, A, m, e, d: -((d - d.detach()).exp() * A)[m].mean())  # fmt: skip
_clip("around_zero", "range is another", lambda r, c, A, m, e, d: -least(r * A, r.clamp(-e, e) * A)[m].mean())  # fmt: skip
_clip("reciprocal_range", "range is another", lambda r, c, A, m, e, d: -least(r * A, r.clamp(1 / (1 + e), 1 + e) * A)[m].mean())  # fmt: skip
_clip("bounds_exchanged", "range is another", lambda r, c, A, m, e, d: -least(r * A, r.clamp(1 + e, 1 - e) * A)[m].mean())  # fmt: skip
_clip("half_the_range", "range is another", lambda r, c, A, m, e, d: -least(r * A, r.clamp(1 - e / 2, 1 + e / 2) * A)[m].mean())  # fmt: skip
_clip("upwards_only", "range is another|one side", lambda r, c, A, m, e, d: -least(r * A, r.clamp(1, 1 + e) * A)[m].mean())  # fmt: skip
_clip("min_of_means", "two means|Nothing is clipped", lambda r, c, A, m, e, d: -least((r * A)[m].mean(), (c * A)[m].mean()))  # fmt: skip
_clip("smallest_of_all", "two means", lambda r, c, A, m, e, d: -(r * A).min())
_clip("dual_clip", "second clip", lambda r, c, A, m, e, d: -most(least(r * A, c * A), 3 * A).where(A < 0, least(r * A, c * A))[m].mean())  # fmt: skip
_clip("dual_clip_at_2", "second clip", lambda r, c, A, m, e, d: -most(least(r * A, c * A), 2 * A).where(A < 0, least(r * A, c * A))[m].mean())  # fmt: skip
_clip("summed", "added up", lambda r, c, A, m, e, d: -least(r * A, c * A)[m].sum())
_clip("mean_of_everything", "padding counts", lambda r, c, A, m, e, d: -least(r * A, c * A).mean())  # fmt: skip
_clip("masked_then_mean", "padding counts", lambda r, c, A, m, e, d: -(least(r * A, c * A) * m).mean())  # fmt: skip
_clip("mean_of_row_means", "its own mean first", lambda r, c, A, m, e, d: -masked_mean(least(r * A, c * A), m, 1).mean())  # fmt: skip
_clip("mean_of_row_sums", "responses' sums", lambda r, c, A, m, e, d: -masked_sum(least(r * A, c * A), m, 1).mean())  # fmt: skip
_clip("padding_alone", "upside down|no number|should be", lambda r, c, A, m, e, d: -least(r * A, c * A)[~m].mean())  # fmt: skip
_clip("last_token", "Only one token", lambda r, c, A, m, e, d: -least(r * A, c * A)[_ends(m)].mean())  # fmt: skip
_clip("first_response", "Only one response", lambda r, c, A, m, e, d: -least(r * A, c * A)[0][m[0]].mean())  # fmt: skip
_clip("whitened", "changed on the way", lambda r, c, A, m, e, d: _ppo(r, c, (A - A[m].mean()) / (A[m].std() + 1e-8), m))  # fmt: skip
_clip("centred", "changed on the way", lambda r, c, A, m, e, d: _ppo(r, c, A - A[m].mean(), m))  # fmt: skip
_clip("advantage_per_row", "stands for several", lambda r, c, A, m, e, d: _ppo(r, c, _rows(A, m)[:, None].expand_as(A), m))  # fmt: skip
_clip("advantage_of_the_last", "stands for several", lambda r, c, A, m, e, d: _ppo(r, c, A[_ends(m)][:, None].expand_as(A), m))  # fmt: skip
_clip("absolute", "lost their sign", lambda r, c, A, m, e, d: _ppo(r, c, A.abs(), m))
_clip("good_ones_alone", "lost their sign", lambda r, c, A, m, e, d: _ppo(r, c, A.relu(), m))  # fmt: skip
_clip("clipped_below_zero_alone", "should be", lambda r, c, A, m, e, d: -(r * A).where(A > 0, c * A)[m].mean())  # fmt: skip
_clip("clipped_above_zero_alone", "should be", lambda r, c, A, m, e, d: -(c * A).where(A > 0, r * A)[m].mean())  # fmt: skip
_clip("detached", "No gradient", lambda r, c, A, m, e, d: _ppo(r, c, A, m).detach())
_clip("a_number", "returned a float", lambda r, c, A, m, e, d: _ppo(r, c, A, m).item())
_clip("ratio_detached", "No gradient", lambda r, c, A, m, e, d: _ppo(r.detach(), c.detach(), A, m))  # fmt: skip
_clip("clipped_detached", "gradient is not", lambda r, c, A, m, e, d: _ppo(r, c.detach(), A, m))  # fmt: skip
_clip("weights_detached", "value is not|should be", lambda r, c, A, m, e, d: -(least(r * A, c * A).detach() * d)[m].mean())  # fmt: skip
_clip("straight_through", "gradient is not", lambda r, c, A, m, e, d: -(least(r * A, c * A).detach() + r * A - (r * A).detach())[m].mean())  # fmt: skip
_clip("per_token", "for each token", lambda r, c, A, m, e, d: -least(r * A, c * A))
_clip("per_response", "for each response", lambda r, c, A, m, e, d: -masked_mean(least(r * A, c * A), m, 1))  # fmt: skip
_clip("with_statistics", "returned a tuple", lambda r, c, A, m, e, d: (_ppo(r, c, A, m), 0.0))  # fmt: skip
_clip("times_mask", "With nan in the padding", lambda r, c, A, m, e, d: -(least(r * A, c * A) * m).sum() / m.sum())  # fmt: skip
_clip("advantages_cleaned_alone", "With nan in the padding", lambda r, c, A, m, e, d: -least(r * _clean(A, m), c * _clean(A, m)).sum() / m.sum())  # fmt: skip
_clip("penalty_for_distance", "should be", lambda r, c, A, m, e, d: -(r * A)[m].mean() + e * d[m].abs().mean())  # fmt: skip
_clip("penalty_on_top", "should be", lambda r, c, A, m, e, d: _ppo(r, c, A, m) + 0.01 * d[m].mean())  # fmt: skip
_clip("without_mean_of_signs", "should be|two means|min", lambda r, c, A, m, e, d: -torch.min(r * A)[None][0] * 0.5)  # fmt: skip
_clip("soft_clip", "should be|first digits", lambda r, c, A, m, e, d: _ppo(r, 1 + e * torch.tanh((r - 1) / e), A, m))  # fmt: skip
_clip("in_single", "torch.float64", lambda r, c, A, m, e, d: _ppo(r.float(), c.float(), A.float(), m))  # fmt: skip
_clip("kept_and_padding", "padding counts", lambda r, c, A, m, e, d: -least(r * A, c * A).sum() / m.sum())  # fmt: skip
_clip("signs_of_advantages", "lost their sign", lambda r, c, A, m, e, d: _ppo(r, c, A.sign(), m))  # fmt: skip
_clip("dual_clip_at_10", "second clip", lambda r, c, A, m, e, d: -most(least(r * A, c * A), 10 * A).where(A < 0, least(r * A, c * A))[m].mean())  # fmt: skip
_clip("ratio_capped_at_10", "should be|second clip", lambda r, c, A, m, e, d: _ppo(r.clamp(max=10), c, A, m))  # fmt: skip
_clip("advantages_clipped_at_10", "should be", lambda r, c, A, m, e, d: _ppo(r, c, A.clamp(-10, 10), m))  # fmt: skip
_clip("larger_size", "should be|one side", lambda r, c, A, m, e, d: -torch.where((r * A).abs() > (c * A).abs(), r * A, c * A)[m].mean())  # fmt: skip
_clip("smaller_size", "should be|Only|one side", lambda r, c, A, m, e, d: -torch.where((r * A).abs() < (c * A).abs(), r * A, c * A)[m].mean())  # fmt: skip
_clip("half_of_both", "should be", lambda r, c, A, m, e, d: -((r + c) / 2 * A)[m].mean())  # fmt: skip
_clip("min_along_rows", "stopped with|should be|index", lambda r, c, A, m, e, d: -(r * A).min(1).values.mean())  # fmt: skip
_clip("log_of_the_clipped_ratio", "should be", lambda r, c, A, m, e, d: -(c.log() * A)[m].mean())  # fmt: skip
_clip("clipped_by_logs", "range is another|should be", lambda r, c, A, m, e, d: _ppo(r, d.clamp(-math.log(1 + e), math.log(1 + e)).exp(), A, m))  # fmt: skip
_clip("held_tokens_left_out", "should be", lambda r, c, A, m, e, d: -(r * A * ~(((r > 1 + e) & (A > 0)) | ((r < 1 - e) & (A < 0))))[m].mean())  # fmt: skip
_clip("logs_inside_alone", "should be|gradient", lambda r, c, A, m, e, d: -(d * A * (r == c))[m].mean())  # fmt: skip
_clip("cut_at_the_top", "should be|one side", lambda r, c, A, m, e, d: -((r - (r - 1 - e).relu()) * A)[m].mean())  # fmt: skip
_clip("over_those_inside", "should be", lambda r, c, A, m, e, d: -least(r * A, c * A)[m & (r == c)].mean())  # fmt: skip
_clip("padding_times_0_first", "nan", lambda r, c, A, m, e, d: -(least(r * m * A, c * m * A)).sum() / m.sum())  # fmt: skip


def _ppo(r, c, A, m):
    return -least(r * A, c * A)[m].mean()


def _sequence(logs, A, m, e):
    ratio = logs.exp()[:, None].expand_as(A)
    return _ppo(ratio, ratio.clamp(1 - e, 1 + e), A, m)


@battery.wrong("clipped_policy_loss", says="flows into the advantages")
def advantages_learn(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = library_ratio(logprobs, old_logprobs)
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(torch.minimum(ratio * advantages, clipped * advantages), mask)


@battery.wrong("clipped_policy_loss", says="flows into `old_logprobs`")
def old_policy_learns(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs).exp()
    return _ppo(ratio, ratio.clamp(1 - clip_eps, 1 + clip_eps), advantages.detach(), mask)  # fmt: skip


@battery.wrong("clipped_policy_loss", says="is no number")
def exponentials_divided(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = logprobs.exp() / old_logprobs.detach().exp()
    return _ppo(ratio, ratio.clamp(1 - clip_eps, 1 + clip_eps), advantages.detach(), mask)  # fmt: skip


@battery.wrong("clipped_policy_loss", says="`old_logprobs` make no difference")
def probability_for_ratio(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    p = logprobs.exp()
    return _ppo(p, p.clamp(1 - clip_eps, 1 + clip_eps), advantages.detach(), mask)


@battery.wrong("clipped_policy_loss", says="`old_logprobs` make no difference")
def plain_reinforce(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    return -masked_mean(logprobs * advantages.detach(), mask)


@battery.wrong("clipped_policy_loss", says="eps|unexpected keyword")
def without_an_eps(logprobs, old_logprobs, advantages, mask):
    ratio = library_ratio(logprobs, old_logprobs)
    return _ppo(ratio, ratio.clamp(0.8, 1.2), advantages.detach(), mask)


@battery.wrong("clipped_policy_loss", says="changed its own input")
def changed_in_place(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    advantages.data[~mask] = 0.0
    ratio = library_ratio(logprobs, old_logprobs)
    return _ppo(ratio, ratio.clamp(1 - clip_eps, 1 + clip_eps), advantages.detach(), mask)  # fmt: skip


@battery.wrong("clipped_policy_loss", says="went backward itself")
def backward_inside(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    loss = smaller_of_two_products(logprobs, old_logprobs, advantages, mask, clip_eps)
    loss.backward()
    return loss


@battery.wrong("clipped_policy_loss", says="single yes or no|Boolean")
def pythons_min(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = library_ratio(logprobs, old_logprobs)
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(min(ratio * advantages, clipped * advantages), mask)


@battery.wrong("clipped_policy_loss", says="range is another")
def default_of_another_size(logprobs, old_logprobs, advantages, mask, clip_eps=0.1):
    return smaller_of_two_products(logprobs, old_logprobs, advantages, mask, clip_eps)


@battery.wrong("clipped_policy_loss", says="should be|gradient")
def worked_objective(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    return 0 * logprobs.sum() + 0.25


@battery.wrong("clipped_policy_loss", says="Only the clipped ratio")
def published_table(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = library_ratio(logprobs, old_logprobs)
    low, high = 1 - clip_eps, 1 + clip_eps
    limited = torch.where(ratio > high, high, torch.where(ratio < low, low, ratio))
    return -masked_mean(limited * advantages.detach(), mask)


# --- what an attack from the card alone found -----------------------------------------------


@battery.right("reinforce_loss")
def by_einsum(logprobs, advantages, mask):
    said, gains = logprobs.masked_select(mask), advantages.masked_select(mask).detach()
    return -torch.einsum("i,i->", said, gains) / mask.sum()


@battery.right("reinforce_loss")
def in_double_on_the_way(logprobs, advantages, mask):
    products = logprobs[mask].double() * advantages[mask].detach().double()
    return -products.mean().to(logprobs.dtype)


@battery.wrong("reinforce_loss", says="at the left")
def the_mask_as_lengths(logprobs, advantages, mask):
    total = 0.0
    for row, gains, length in zip(logprobs, advantages, mask.sum(1), strict=True):
        total = total + (row[:length] * gains[:length].detach()).sum()
    return -total / mask.sum()


@battery.wrong("reinforce_loss", says="something is 0")
def zero_advantages_not_counted(logprobs, advantages, mask):
    gains = advantages.detach().masked_fill(~mask, 0)
    return -(logprobs.masked_fill(~mask, 0) * gains).sum() / (gains != 0).sum()


@battery.wrong("reinforce_loss", says="something is 0")
def certain_tokens_not_counted(logprobs, advantages, mask):
    said, gains = (x.masked_fill(~mask, 0) for x in (logprobs, advantages.detach()))
    return -(said * gains).sum() / (said != 0).sum()


@battery.wrong("reinforce_loss", says="type torch.float32")
def in_single_precision(logprobs, advantages, mask):
    return -(logprobs[mask].float() * advantages[mask].detach().float()).mean()


@battery.right("clipped_policy_loss")
def by_hardtanh(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio, gains = (
        (logprobs - old_logprobs.detach()).exp()[mask],
        advantages[mask].detach(),
    )
    held = torch.nn.functional.hardtanh(ratio, 1 - clip_eps, 1 + clip_eps)
    return -torch.minimum(ratio * gains, held * gains).mean()


@battery.right("clipped_policy_loss")
def less_what_is_too_much(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio, gains = (
        (logprobs - old_logprobs.detach()).exp()[mask],
        advantages[mask].detach(),
    )
    too_much = (ratio - ratio.clamp(1 - clip_eps, 1 + clip_eps)) * gains
    return -(ratio * gains - too_much.relu()).mean()


@battery.wrong("clipped_policy_loss", says="at the left")
def clipped_mask_as_lengths(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs.detach()).exp()
    gains = advantages.detach()
    best = torch.minimum(ratio * gains, ratio.clamp(1 - clip_eps, 1 + clip_eps) * gains)
    left = torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True)
    return -best[left].mean()


@battery.wrong("clipped_policy_loss", says="something is 0")
def clipped_zeros_not_counted(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs.detach()).exp()
    gains = advantages.detach()
    best = torch.minimum(ratio * gains, ratio.clamp(1 - clip_eps, 1 + clip_eps) * gains)
    best = best.masked_fill(~mask, 0)
    return -best.sum() / (best != 0).sum()


def _with_ratio(ratio, advantages, mask, clip_eps):
    gains = advantages.detach()
    held = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    return -torch.minimum(ratio * gains, held * gains)[mask].mean()


@battery.wrong("clipped_policy_loss", says="second clip")
def ratio_at_most_100(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs.detach()).exp().clamp(max=100)
    return _with_ratio(ratio, advantages, mask, clip_eps)


@battery.wrong("clipped_policy_loss", says="second clip")
def log_ratio_within_20(logprobs, old_logprobs, advantages, mask, clip_eps=0.2):
    ratio = (logprobs - old_logprobs.detach()).clamp(-20, 20).exp()
    return _with_ratio(ratio, advantages, mask, clip_eps)
