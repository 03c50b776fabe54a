"""Answers to lesson 00: right ones of different shapes, and the mistakes people really make."""

import importlib
import itertools
import math
import sys
import unittest
import warnings

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from course_lib import logprobs as library_logprobs
from course_lib import masks as library_masks
from course_lib import pipeline as library_pipeline
from course_lib.checks import start_here
from tools.graders import Battery

battery = Battery()


# --- softmax: right ---------------------------------------------------------------------------------


@battery.right("softmax")
def by_torch(scores):
    return torch.softmax(scores, dim=-1)


@battery.right("softmax")
def through_the_logarithm(scores):
    return scores.log_softmax(-1).exp()


@battery.right("softmax")
def in_double_precision_and_back(scores):
    wide = scores.double()
    exponentials = (wide - wide.amax(-1, keepdim=True).detach()).exp()
    return (exponentials / exponentials.sum(-1, keepdim=True)).to(scores.dtype)


@battery.right("softmax")
def row_by_row_and_number_by_number(scores):
    rows = []
    for row in scores.reshape(-1, scores.shape[-1]):
        top = max(row.tolist())
        powers = [torch.exp(number - top) for number in row]
        rows.append(torch.stack([power / sum(powers) for power in powers]))
    return torch.stack(rows).reshape(scores.shape)


@battery.right("softmax")
def sum_as_a_matrix_product(scores):
    powers = torch.exp(scores - scores.max(-1, keepdim=True)[0])
    ones = torch.ones(scores.shape[-1], scores.shape[-1], dtype=scores.dtype)
    return powers / torch.einsum("...i,ij->...j", powers, ones)


@battery.right("softmax")
def normalised_by_functional(scores):
    return functional.normalize(
        (scores - scores.amax(-1, keepdim=True)).exp(), p=1, dim=-1
    )


@battery.right("softmax")
def on_a_copy_in_place(scores):
    work = scores.clone()
    work -= scores.max(dim=-1, keepdim=True).values
    powers = work.exp()
    return powers / powers.sum(dim=-1, keepdim=True)


@battery.right("softmax")
def by_a_module(scores):
    return torch.nn.Softmax(dim=-1)(scores)


# --- softmax: wrong ---------------------------------------------------------------------------------


@battery.wrong("softmax", says="overflows")
def unshifted(scores):
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


@battery.wrong("softmax", says="overflows")
def unshifted_in_double(scores):
    powers = scores.double().exp()
    return (powers / powers.sum(-1, keepdim=True)).to(scores.dtype)


@battery.wrong("softmax", says="columns")
def over_the_first_dimension(scores):
    return torch.softmax(scores, dim=0)


@battery.wrong("softmax", says="default")
def dimension_left_to_torch(scores):
    return functional.softmax(scores)


@battery.wrong("softmax", says="fixed number")
def dimension_one(scores):
    return torch.softmax(scores, dim=min(1, scores.dim() - 1))


@battery.wrong("softmax", says="All entries together")
def over_everything(scores):
    powers = (scores - scores.max()).exp()
    return powers / powers.sum()


@battery.wrong("softmax", says="whole tensor")
def one_maximum_for_all_rows(scores):
    powers = (scores - scores.max()).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="largest of each column")
def maximum_of_the_columns(scores):
    powers = (scores - scores.max(0, keepdim=True).values).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="-300")
def shifted_by_the_mean(scores):
    powers = (scores - scores.mean(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="-300")
def shifted_by_the_first(scores):
    powers = (scores - scores[..., :1]).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="[Cc]lamping")
def clamped(scores):
    return torch.softmax(scores.clamp(-80, 80), -1)


@battery.wrong("softmax", says="[Cc]lamp")
def exponents_clamped(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).clamp(min=-50).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="nan was replaced|[Rr]eplacing nan")
def nan_replaced_afterwards(scores):
    return (scores.exp() / scores.exp().sum(-1, keepdim=True)).nan_to_num(0.0)


@battery.wrong("softmax", says="[Rr]eplacing nan|inf")
def infinity_replaced(scores):
    powers = scores.exp().nan_to_num()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="divided by something")
def divided_by_the_largest(scores):
    powers = (scores / scores.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="small constant")
def constant_in_the_denominator(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / (powers.sum(-1, keepdim=True) + 1e-8)


@battery.wrong("softmax", says="small constant")
def larger_constant_in_the_denominator(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / (powers.sum(-1, keepdim=True) + 1e-4)


@battery.wrong("softmax", says="round")
def in_half_precision(scores):
    return torch.softmax(scores.half(), -1).to(scores.dtype)


@battery.wrong("softmax", says="round")
def in_single_precision(scores):
    return torch.softmax(scores.float(), -1).to(scores.dtype)


@battery.wrong("softmax", says="round")
def rounded_to_four_digits(scores):
    return torch.softmax(scores, -1).round(decimals=4)


@battery.wrong("softmax", says="logarithms")
def logarithm_of_softmax(scores):
    return torch.log_softmax(scores, -1)


@battery.wrong("softmax", says="sigmoid")
def sigmoid(scores):
    return scores.sigmoid()


@battery.wrong("softmax", says="divided by its sum")
def exponentials_only(scores):
    return scores.exp()


@battery.wrong("softmax", says="do not go through the exponential")
def scores_over_their_sum(scores):
    return scores / scores.sum(-1, keepdim=True)


@battery.wrong("softmax", says="sign")
def softmin(scores):
    return torch.softmax(-scores, -1)


@battery.wrong("softmax", says="powers of 2")
def powers_of_two(scores):
    powers = 2 ** (scores - scores.amax(-1, keepdim=True))
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="twice")
def softmax_of_softmax(scores):
    return torch.softmax(torch.softmax(scores, -1), -1)


@battery.wrong("softmax", says="all or nothing|winner")
def hard_maximum(scores):
    return functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


@battery.wrong("softmax", says="squares")
def divided_by_the_length_of_the_row(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / powers.norm(dim=-1, keepdim=True)


@battery.wrong("softmax", says="keepdim|dropped")
def keepdim_forgotten(scores):
    powers = (scores - scores.max(-1).values).exp()
    return powers / powers.sum(-1)


@battery.wrong("softmax", says="two things")
def values_forgotten(scores):
    powers = (scores - scores.max(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="list; a tensor")
def a_list(scores):
    return torch.softmax(scores, -1).tolist()


@battery.wrong("softmax", says="changed its own input")
def input_shifted_in_place(scores):
    scores -= scores.amax(-1, keepdim=True)
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


@battery.wrong("softmax", says="in place")
def exponentials_divided_in_place(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    powers /= powers.sum(-1, keepdim=True)
    return powers


@battery.wrong("softmax", says="no gradient")
def through_numpy(scores):
    numbers = scores.numpy()
    powers = np.exp(numbers - numbers.max(-1, keepdims=True))
    return torch.from_numpy(powers / powers.sum(-1, keepdims=True))


@battery.wrong("softmax", says="no gradient")
def a_new_tensor(scores):
    return torch.tensor(torch.softmax(scores, -1).tolist(), dtype=scores.dtype)


@battery.wrong("softmax", says="no gradient")
@torch.no_grad()
def without_gradient(scores):
    return torch.softmax(scores, -1)


@battery.wrong("softmax", says="detached")
def denominator_detached(scores):
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True).detach()


# --- token_logprobs: right --------------------------------------------------------------------------


@battery.right("token_logprobs")
def by_cross_entropy(logits, ids):
    return -functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")


@battery.right("token_logprobs")
def by_flat_nll(logits, ids):
    flat = torch.log_softmax(logits.flatten(0, 1), -1)
    return -functional.nll_loss(flat, ids.flatten(), reduction="none").view(ids.shape)


@battery.right("token_logprobs")
def by_gather(logits, ids):
    return logits.log_softmax(-1).gather(2, ids[..., None])[..., 0]


@battery.right("token_logprobs")
def by_one_hot(logits, ids):
    said = functional.one_hot(ids, logits.shape[-1]).bool()
    return logits.log_softmax(-1).masked_fill(~said, 0).sum(-1)


@battery.right("token_logprobs")
def by_two_loops(logits, ids):
    rows = []
    for scores, tokens in zip(logits, ids, strict=True):
        found = []
        for row, token in zip(scores, tokens.tolist(), strict=True):
            top = row.max()
            found.append(row[token] - top - (row - top).exp().sum().log())
        rows.append(torch.stack(found))
    return torch.stack(rows)


@battery.right("token_logprobs")
def in_double_and_back(logits, ids):
    texts, positions = torch.arange(ids.shape[0])[:, None], torch.arange(ids.shape[1])
    return logits.double().log_softmax(-1)[texts, positions, ids].to(logits.dtype)


@battery.right("token_logprobs")
def by_categorical(logits, ids):
    return torch.distributions.Categorical(logits=logits).log_prob(ids)


# --- token_logprobs: wrong --------------------------------------------------------------------------


def _said(table, ids):
    return table.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


@battery.wrong("token_logprobs", says="rounded to 0")
def logarithm_of_the_softmax(logits, ids):
    return _said(torch.softmax(logits, -1).log(), ids)


@battery.wrong("token_logprobs", says="rounded to 0")
def logarithm_of_the_softmax_in_double(logits, ids):
    return _said(torch.softmax(logits.double(), -1).log().to(logits.dtype), ids)


@battery.wrong("token_logprobs", says="overflowed")
def unsafe_log_of_sum(logits, ids):
    return _said(logits, ids) - logits.exp().sum(-1).log()


@battery.wrong("token_logprobs", says="whole tensor")
def one_maximum_for_the_batch(logits, ids):
    top = logits.max()
    return _said(logits, ids) - top - (logits - top).exp().sum(-1).log()


@battery.wrong("token_logprobs", says="small constant")
def constant_under_the_logarithm(logits, ids):
    return _said((torch.softmax(logits, -1) + 1e-9).log(), ids)


@battery.wrong("token_logprobs", says="clamp")
def probabilities_clamped(logits, ids):
    return _said(torch.softmax(logits, -1).clamp(min=1e-12).log(), ids)


@battery.wrong("token_logprobs", says="clamp")
def log_probabilities_clamped(logits, ids):
    return _said(logits.log_softmax(-1), ids).clamp(min=-100)


@battery.wrong("token_logprobs", says="These are probabilities")
def probabilities(logits, ids):
    return _said(torch.softmax(logits, -1), ids)


@battery.wrong("token_logprobs", says="sign")
def negative_log_likelihood(logits, ids):
    return functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")


@battery.wrong("token_logprobs", says="raw scores")
def raw_scores(logits, ids):
    return _said(logits, ids)


@battery.wrong("token_logprobs", says="over the positions")
def normalised_over_positions(logits, ids):
    return _said(logits.log_softmax(1), ids)


@battery.wrong("token_logprobs", says="over the texts")
def normalised_over_texts(logits, ids):
    return _said(logits.log_softmax(0), ids)


@battery.wrong("token_logprobs", says="whole block")
def normalised_over_everything(logits, ids):
    return _said(logits, ids) - logits.flatten().logsumexp(0)


@battery.wrong("token_logprobs", says="base 2")
def in_bits(logits, ids):
    return _said(torch.softmax(logits, -1).log2(), ids)


@battery.wrong("token_logprobs", says="base 10")
def in_decimal_digits(logits, ids):
    return _said(logits.log_softmax(-1), ids) / math.log(10)


@battery.wrong("token_logprobs", says="shift")
def shifted_and_shorter(logits, ids):
    return _said(logits[:, :-1].log_softmax(-1), ids[:, 1:])


@battery.wrong("token_logprobs", says="shift")
def shifted_and_filled_in_front(logits, ids):
    return functional.pad(_said(logits[:, :-1].log_softmax(-1), ids[:, 1:]), (1, 0))


@battery.wrong("token_logprobs", says="shift")
def shifted_and_filled_behind(logits, ids):
    return functional.pad(_said(logits[:, :-1].log_softmax(-1), ids[:, 1:]), (0, 1))


@battery.wrong("token_logprobs", says="shift")
def rolled(logits, ids):
    return _said(logits.log_softmax(-1), ids.roll(-1, 1))


@battery.wrong("token_logprobs", says="likeliest token")
def of_the_likeliest_token(logits, ids):
    return logits.log_softmax(-1).max(-1).values


@battery.wrong("token_logprobs", says="out of bounds.*dimension")
def gathered_along_positions(logits, ids):
    return logits.log_softmax(-1).gather(1, ids.unsqueeze(1)).squeeze(1)


@battery.wrong("token_logprobs", says="same number of dimensions")
def gathered_without_unsqueeze(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids)


@battery.wrong("token_logprobs", says=r"\(2, 2, 1\).*kept")
def last_dimension_kept(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids.unsqueeze(-1))


@battery.wrong("token_logprobs", says="every dimension of size 1")
def squeezed_everywhere(logits, ids):
    return logits.log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze()


@battery.wrong("token_logprobs", says="paired with every id")
def all_ids_at_all_positions(logits, ids):
    return logits.log_softmax(-1)[:, :, ids]


@battery.wrong("token_logprobs", says="text 1 with position 1|hand in hand")
def texts_and_positions_in_step(logits, ids):
    return logits.log_softmax(-1)[
        torch.arange(ids.shape[0]), torch.arange(ids.shape[1]), ids
    ]


@battery.wrong("token_logprobs", says="reshap|view")
def viewed_where_transposed_was_meant(logits, ids):
    B, T, V = logits.shape
    return -functional.cross_entropy(logits.view(B, V, T), ids, reduction="none")


@battery.wrong("token_logprobs", says="id 0")
def id_zero_ignored(logits, ids):
    return -functional.cross_entropy(
        logits.transpose(1, 2), ids, ignore_index=0, reduction="none"
    )


@battery.wrong("token_logprobs", says="first text")
def ids_of_the_first_text(logits, ids):
    return _said(logits.log_softmax(-1), ids[:1].expand_as(ids))


@battery.wrong("token_logprobs", says="divided by")
def divided_by_the_length(logits, ids):
    return _said(logits.log_softmax(-1), ids) / ids.shape[1]


@battery.wrong("token_logprobs", says="twice")
def softmax_before_log_softmax(logits, ids):
    return _said(torch.softmax(logits, -1).log_softmax(-1), ids)


@battery.wrong("token_logprobs", says="sigmoid")
def logsigmoid(logits, ids):
    return _said(functional.logsigmoid(logits), ids)


@battery.wrong("token_logprobs", says="perplexit|1 over")
def perplexities(logits, ids):
    return (-_said(logits.log_softmax(-1), ids)).exp()


@battery.wrong("token_logprobs", says="averaged|one number for each token")
def averaged_cross_entropy(logits, ids):
    return -functional.cross_entropy(logits.transpose(1, 2), ids)


@battery.wrong("token_logprobs", says="summed")
def summed_over_the_text(logits, ids):
    return _said(logits.log_softmax(-1), ids).sum(-1)


@battery.wrong("token_logprobs", says="flat")
def left_flat(logits, ids):
    return -functional.cross_entropy(
        logits.flatten(0, 1), ids.flatten(), reduction="none"
    )


@battery.wrong("token_logprobs", says="round")
def in_half_precision_(logits, ids):
    return _said(logits.bfloat16().log_softmax(-1), ids).to(logits.dtype)


@battery.wrong("token_logprobs", says="changed its own input")
def logits_shifted_in_place(logits, ids):
    logits -= logits.amax(-1, keepdim=True)
    return _said(logits, ids) - logits.exp().sum(-1).log()


@battery.wrong("token_logprobs", says="no gradient")
def made_of_items(logits, ids):
    table = logits.log_softmax(-1)
    B, T = ids.shape
    return torch.tensor(
        [[table[b, t, ids[b, t]].item() for t in range(T)] for b in range(B)]
    )


@battery.wrong("token_logprobs", says="detached")
def normaliser_detached(logits, ids):
    return _said(logits, ids) - logits.logsumexp(-1).detach()


# --- masked_mean: right -----------------------------------------------------------------------------


@battery.right("masked_mean")
def by_where(values, mask, dim=None):
    kept, count = torch.where(mask, values, 0), mask.to(values.dtype)
    if dim is None:
        return kept.sum() / count.sum().clamp(min=1)
    return kept.sum(dim) / count.sum(dim).clamp(min=1)


@battery.right("masked_mean")
def by_masked_sum(values, mask, dim=None):
    count = library_masks.masked_sum(mask.long(), mask, dim)
    return library_masks.masked_sum(values, mask, dim) / torch.maximum(
        count, torch.ones_like(count)
    )


@battery.right("masked_mean")
def one_number_at_a_time(values, mask, dim=None):
    if dim is None:
        return one_number_at_a_time(values.flatten(), mask.flatten(), 0)
    rows, kept = values.movedim(dim, -1), mask.movedim(dim, -1)
    found = []
    for row, keep in zip(
        rows.reshape(-1, rows.shape[-1]), kept.reshape(-1, rows.shape[-1]), strict=True
    ):
        numbers = [
            number for number, real in zip(row, keep.tolist(), strict=True) if real
        ]
        found.append(sum(numbers) / len(numbers) if numbers else row[:0].sum())
    return torch.stack(found).reshape(rows.shape[:-1])


@battery.right("masked_mean")
def in_double_by_einsum(values, mask, dim=None):
    if dim is None:
        values, mask, dim = values.flatten(), mask.flatten(), 0
    wide = values.masked_fill(~mask, 0).double().movedim(dim, -1)
    weights = mask.double().movedim(dim, -1)
    count = weights.sum(-1)
    means = torch.einsum("...t,...t->...", wide, weights) / torch.where(
        count > 0, count, 1.0
    )
    return means.to(values.dtype)


@battery.right("masked_mean")
def selected_and_split(values, mask, dim=None):
    if dim is None:
        chosen = values[mask]
        return chosen.sum() / max(1, chosen.numel())
    rows, kept = values.movedim(dim, -1), mask.movedim(dim, -1)
    counts = kept.sum(-1)
    parts = rows[kept].split(counts.flatten().tolist())
    return torch.stack([part.sum() / max(1, len(part)) for part in parts]).reshape(
        counts.shape
    )


@battery.right("masked_mean")
def mean_over_share(values, mask, dim=None):
    """The plain mean of what is left, over the share that is left."""
    dims = tuple(range(values.dim())) if dim is None else (dim,)
    share = mask.to(values.dtype).mean(dims)
    return values.masked_fill(~mask, 0).mean(dims) / torch.where(
        share > 0, share, torch.ones_like(share)
    )


@battery.right("masked_mean")
def quotient_guarded_by_where(values, mask, dim=None):
    count = mask.sum(dim=dim)
    total = values.masked_fill(mask.logical_not(), 0).sum(dim=dim)
    return torch.where(count == 0, torch.zeros_like(total), total / count)


# --- masked_mean: wrong -----------------------------------------------------------------------------


def _along(tensor, dim):
    return tensor.sum() if dim is None else tensor.sum(dim)


@battery.wrong("masked_mean", says="divided by all positions")
def divided_by_all_positions(values, mask, dim=None):
    kept = values.masked_fill(~mask, 0)
    return kept.mean() if dim is None else kept.mean(dim)


@battery.wrong("masked_mean", says="mask made no difference")
def mask_ignored(values, mask, dim=None):
    return values.mean() if dim is None else values.mean(dim)


@battery.wrong("masked_mean", says="upside down")
def mask_inverted(values, mask, dim=None):
    return _along(values.masked_fill(mask, 0), dim) / _along(~mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="upside down")
def mask_inverted_without_guard(values, mask, dim=None):
    return _along(values.masked_fill(mask, 0), dim) / _along(~mask, dim)


@battery.wrong("masked_mean", says="sums, not means")
def sum_only(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim)


@battery.wrong("masked_mean", says="whole tensor")
def count_of_the_whole_tensor(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / mask.sum().clamp(min=1)


@battery.wrong("masked_mean", says="number of rows")
def divided_by_the_batch(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / len(values)


@battery.wrong("masked_mean", says="one too many")
def count_plus_one(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / (_along(mask, dim) + 1)


@battery.wrong("masked_mean", says="first ones")
def first_ones_instead_of_kept_ones(values, mask, dim=None):
    if dim is None:
        return values.flatten()[: mask.sum()].mean()
    rows, kept = values.movedim(dim, -1), mask.movedim(dim, -1)
    width = rows.shape[-1]
    pairs = zip(rows.reshape(-1, width), kept.reshape(-1, width), strict=True)
    return torch.stack([row[: keep.sum()].mean() for row, keep in pairs]).reshape(
        rows.shape[:-1]
    )


@battery.wrong("masked_mean", says="Multiplying by 0")
def multiplied_by_the_mask(values, mask, dim=None):
    return _along(values * mask, dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="Multiplying by 0")
def dot_product_with_the_mask(values, mask, dim=None):
    if dim is None:
        values, mask, dim = values.flatten(), mask.flatten(), 0
    weights = mask.to(values.dtype)
    totals = torch.einsum(
        "...t,...t->...", values.movedim(dim, -1), weights.movedim(dim, -1)
    )
    return totals / weights.sum(dim).clamp(min=1)


@battery.wrong("masked_mean", says="nan among the kept")
def every_nan_dropped(values, mask, dim=None):
    empty = values.masked_fill(~mask, math.nan)
    return (empty.nanmean() if dim is None else empty.nanmean(dim)).nan_to_num(0.0)


@battery.wrong("masked_mean", says="nan among the kept")
def every_nan_made_zero(values, mask, dim=None):
    return _along((values * mask).nan_to_num(0.0), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="nan among the kept")
def nan_of_the_result_made_zero(values, mask, dim=None):
    return (_along(values.masked_fill(~mask, 0), dim) / _along(mask, dim)).nan_to_num(
        0.0
    )


@battery.wrong("masked_mean", says="0 divided by 0")
def nothing_kept_gives_nan(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim)


@battery.wrong("masked_mean", says="kept 0")
def zeros_taken_for_padding(values, mask, dim=None):
    kept = values.masked_fill(~mask, 0)
    return _along(kept, dim) / _along(kept != 0, dim).clamp(min=1)


@battery.wrong("masked_mean", says="rows' means")
def mean_of_row_means(values, mask, dim=None):
    if dim is None:
        return mean_of_row_means(values, mask, 1).mean()
    return values.masked_fill(~mask, 0).sum(dim) / mask.sum(dim).clamp(min=1)


@battery.wrong("masked_mean", says="dim=None")
def always_along_the_last(values, mask, dim=-1):
    return values.masked_fill(~mask, 0).sum(dim) / mask.sum(dim).clamp(min=1)


@battery.wrong("masked_mean", says="missing 1 required")
def no_default_for_dim(values, mask, dim):
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="dim was not used|dim=1")
def dim_ignored(values, mask, dim=None):
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


@battery.wrong("masked_mean", says="dim=0")
def zero_taken_for_none(values, mask, dim=None):
    if dim:
        return values.masked_fill(~mask, 0).sum(dim) / mask.sum(dim).clamp(min=1)
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


@battery.wrong("masked_mean", says="dim=-1")
def negative_taken_for_none(values, mask, dim=None):
    if dim is not None and dim >= 0:
        return values.masked_fill(~mask, 0).sum(dim) / mask.sum(dim).clamp(min=1)
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


@battery.wrong("masked_mean", says=r"\(2, 1\).*kept")
def dimension_kept(values, mask, dim=None):
    if dim is None:
        return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)
    return values.masked_fill(~mask, 0).sum(dim, keepdim=True) / mask.sum(
        dim, keepdim=True
    ).clamp(min=1)


@battery.wrong("masked_mean", says=r"flat")
def selection_averaged_along_dim(values, mask, dim=None):
    return values[mask].mean() if dim is None else values[mask].mean(dim)


@battery.wrong("masked_mean", says="yes or no")
def guarded_by_pythons_if(values, mask, dim=None):
    count = _along(mask, dim)
    return (
        _along(values.masked_fill(~mask, 0), dim) / count
        if count > 0
        else torch.tensor(0.0)
    )


@battery.wrong("masked_mean", says="constant")
def constant_in_the_count(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / (
        _along(mask.to(values.dtype), dim) + 1e-8
    )


@battery.wrong("masked_mean", says="constant")
def constant_in_the_sum(values, mask, dim=None):
    return (_along(values.masked_fill(~mask, 0), dim) + 1e-8) / _along(mask, dim).clamp(
        min=1
    )


@battery.wrong("masked_mean", says="round")
def mean_in_half_precision(values, mask, dim=None):
    kept = values.half().masked_fill(~mask, 0)
    return (_along(kept, dim) / _along(mask, dim).clamp(min=1)).to(values.dtype)


@battery.wrong("masked_mean", says="round")
def mean_in_single_precision(values, mask, dim=None):
    kept = values.float().masked_fill(~mask, 0)
    return _along(kept, dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="changed its own input")
def padding_cleared_in_place(values, mask, dim=None):
    values[~mask] = 0
    return _along(values, dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="changed its own input")
def nan_cleared_in_place(values, mask, dim=None):
    values.nan_to_num_()
    return _along(torch.where(mask, values, 0), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="[Nn]o gradient")
def a_new_tensor_of_the_mean(values, mask, dim=None):
    mean = _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)
    return torch.tensor(mean.tolist(), dtype=values.dtype)


@battery.wrong("masked_mean", says="float; a tensor")
def items(values, mask, dim=None):
    mean = _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)
    return mean.item() if mean.dim() == 0 else mean


# --- pad_batch: right -------------------------------------------------------------------------------


@battery.right("pad_batch")
def by_pad_sequence(sequences, pad_id=0):
    texts = [torch.tensor(sequence, dtype=torch.long) for sequence in sequences]
    ids = pad_sequence(texts, batch_first=True, padding_value=pad_id)
    mask = pad_sequence(
        [torch.ones_like(text, dtype=torch.bool) for text in texts], batch_first=True
    )
    return ids, mask


@battery.right("pad_batch")
def by_lists(sequences, pad_id=0):
    width = max(map(len, sequences))
    ids = [sequence + [pad_id] * (width - len(sequence)) for sequence in sequences]
    mask = [
        [True] * len(sequence) + [False] * (width - len(sequence))
        for sequence in sequences
    ]
    return torch.tensor(ids), torch.tensor(mask)


@battery.right("pad_batch")
def by_zip_longest(sequences, pad_id=0):
    padded = list(zip(*itertools.zip_longest(*sequences, fillvalue=None), strict=True))
    mask = torch.tensor([[number is not None for number in row] for row in padded])
    ids = torch.tensor(
        [[pad_id if number is None else number for number in row] for row in padded]
    )
    return ids, mask


@battery.right("pad_batch")
def by_numpy(sequences, pad_id=0):
    lengths = np.array([len(sequence) for sequence in sequences])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(
        [np.array(sequence, dtype=np.int64) for sequence in sequences]
    )
    return torch.from_numpy(ids), torch.from_numpy(mask)


@battery.right("pad_batch")
def by_functional_pad(sequences, pad_id=0):
    width = max(len(sequence) for sequence in sequences)
    rows = [
        functional.pad(
            torch.tensor(sequence).long(), (0, width - len(sequence)), value=pad_id
        )
        for sequence in sequences
    ]
    lengths = torch.tensor([[len(sequence)] for sequence in sequences])
    return torch.stack(rows), torch.arange(width).expand(len(rows), width).lt(lengths)


@battery.right("pad_batch")
def by_marking_padding_first(sequences, pad_id=0):
    """No token id is a half, so 0.5 can mark padding for a while."""
    width = max(len(sequence) for sequence in sequences)
    numbers = torch.tensor(
        [[*sequence, *[0.5] * (width - len(sequence))] for sequence in sequences],
        dtype=torch.float64,
    )
    mask = numbers != 0.5
    return numbers.where(mask, pad_id).long(), mask


# --- pad_batch: wrong -------------------------------------------------------------------------------


def _rows(sequences, pad_id, width=None):
    width = max(map(len, sequences)) if width is None else width
    return torch.tensor(
        [(sequence + [pad_id] * width)[:width] for sequence in sequences]
    )


def _lengths(sequences):
    return torch.tensor([[len(sequence)] for sequence in sequences])


def _mask(sequences):
    return torch.arange(max(map(len, sequences))) < _lengths(sequences)


@battery.wrong("pad_batch", says="on the left")
def padded_on_the_left(sequences, pad_id=0):
    width = max(map(len, sequences))
    ids = torch.tensor(
        [[pad_id] * (width - len(sequence)) + sequence for sequence in sequences]
    )
    return ids, _mask(sequences).flip(1)


@battery.wrong("pad_batch", says="cut off|longest text sets the width")
def cut_to_the_shortest(sequences, pad_id=0):
    width = min(map(len, sequences))
    return _rows(sequences, pad_id, width), torch.arange(width) < _lengths(sequences)


@battery.wrong("pad_batch", says="longest text sets the width")
def width_of_the_first_text(sequences, pad_id=0):
    width = len(sequences[0])
    return _rows(sequences, pad_id, width), torch.arange(width) < _lengths(sequences)


@battery.wrong("pad_batch", says="longest text sets the width")
def width_of_the_last_text(sequences, pad_id=0):
    width = len(sequences[-1])
    return _rows(sequences, pad_id, width), torch.arange(width) < _lengths(sequences)


@battery.wrong("pad_batch", says="longer.* shorter")
def rectangle_as_wide_as_the_first_text(sequences, pad_id=0):
    ids = torch.full((len(sequences), len(sequences[0])), pad_id)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids, torch.arange(ids.shape[1]) < _lengths(sequences)


@battery.wrong("pad_batch", says="longest text sets the width")
def fixed_width(sequences, pad_id=0):
    return _rows(sequences, pad_id, 8), torch.arange(8) < _lengths(sequences)


@battery.wrong("pad_batch", says="rectangle")
def not_padded_at_all(sequences, pad_id=0):
    ids = torch.tensor(sequences)
    return ids, torch.ones_like(ids, dtype=torch.bool)


@battery.wrong("pad_batch", says="batch_first|Texts are the rows")
def texts_as_columns(sequences, pad_id=0):
    texts = [torch.tensor(sequence).long() for sequence in sequences]
    return pad_sequence(texts, padding_value=pad_id), _mask(sequences).T


@battery.wrong("pad_batch", says="id is 0 was taken for padding")
def mask_from_nonzero_ids(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, ids != 0


@battery.wrong("pad_batch", says="was taken for padding")
def mask_from_ids_unlike_padding(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, ids != pad_id


@battery.wrong("pad_batch", says="pad_id was not used")
def pad_id_ignored(sequences, pad_id=0):
    return _rows(sequences, 0), _mask(sequences)


@battery.wrong("pad_batch", says="unexpected keyword")
def no_pad_id(sequences):
    return _rows(sequences, 0), _mask(sequences)


@battery.wrong("pad_batch", says="torch.int64.*True and False")
def mask_of_integers(sequences, pad_id=0):
    return _rows(sequences, pad_id), _mask(sequences).long()


@battery.wrong("pad_batch", says="torch.float32.*True and False")
def mask_of_floats(sequences, pad_id=0):
    return _rows(sequences, pad_id), _mask(sequences).float()


@battery.wrong("pad_batch", says="upside down")
def mask_of_the_padding(sequences, pad_id=0):
    return _rows(sequences, pad_id), ~_mask(sequences)


@battery.wrong("pad_batch", says="one position too many")
def mask_one_too_long(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, torch.arange(ids.shape[1]) <= _lengths(sequences)


@battery.wrong("pad_batch", says="one position too few")
def mask_one_too_short(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, torch.arange(ids.shape[1]) < _lengths(sequences) - 1


@battery.wrong("pad_batch", says="all True|no padding")
def mask_full_of_true(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, torch.ones_like(ids, dtype=torch.bool)


@battery.wrong("pad_batch", says="lengths")
def lengths_for_a_mask(sequences, pad_id=0):
    return _rows(sequences, pad_id), _lengths(sequences).squeeze(1)


@battery.wrong("pad_batch", says="exchanged|order")
def mask_before_ids(sequences, pad_id=0):
    return _mask(sequences), _rows(sequences, pad_id)


@battery.wrong("pad_batch", says="returned a Tensor; two things")
def ids_only(sequences, pad_id=0):
    return _rows(sequences, pad_id)


@battery.wrong("pad_batch", says="returned a dict")
def a_dictionary(sequences, pad_id=0):
    return {"input_ids": _rows(sequences, pad_id), "attention_mask": _mask(sequences)}


@battery.wrong("pad_batch", says="ids is a list")
def lists_of_lists(sequences, pad_id=0):
    return _rows(sequences, pad_id).tolist(), _mask(sequences).tolist()


@battery.wrong("pad_batch", says="torch.float32.*torch.long")
def ids_of_floats(sequences, pad_id=0):
    ids = torch.zeros(len(sequences), max(map(len, sequences))) + pad_id
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    return ids, _mask(sequences)


@battery.wrong("pad_batch", says="torch.int32.*torch.long")
def ids_of_small_integers(sequences, pad_id=0):
    return _rows(sequences, pad_id).int(), _mask(sequences)


@battery.wrong("pad_batch", says="empty text.*float")
def empty_text_becomes_a_float(sequences, pad_id=0):
    texts = [torch.tensor(sequence) for sequence in sequences]
    return pad_sequence(texts, batch_first=True, padding_value=pad_id), _mask(sequences)


@battery.wrong("pad_batch", says="[Ee]mpty text")
def empty_texts_dropped(sequences, pad_id=0):
    sequences = [sequence for sequence in sequences if sequence]
    return _rows(sequences, pad_id), _mask(sequences)


@battery.wrong("pad_batch", says="another order")
def sorted_by_length(sequences, pad_id=0):
    sequences = sorted(sequences, key=len, reverse=True)
    return _rows(sequences, pad_id), _mask(sequences)


@battery.wrong("pad_batch", says="changed its own input")
def lists_lengthened_in_place(sequences, pad_id=0):
    mask = _mask(sequences)
    for sequence in sequences:
        sequence += [pad_id] * (mask.shape[1] - len(sequence))
    return torch.tensor(sequences), mask


@battery.wrong("pad_batch", says="own tokens")
def filled_with_the_last_token(sequences, pad_id=0):
    width = max(map(len, sequences))
    ids = [
        (sequence + (sequence[-1:] or [pad_id]) * width)[:width]
        for sequence in sequences
    ]
    return torch.tensor(ids), _mask(sequences)


# --- best_labels: right -----------------------------------------------------------------------------


@battery.right("best_labels")
def by_maximum_of_torch_softmax(logits, labels):
    best = torch.softmax(logits, -1).max(-1)
    return [
        (labels[i], p.item()) for i, p in zip(best.indices, best.values, strict=True)
    ]


@battery.right("best_labels")
def by_plain_python(logits, labels):
    found = []
    for row in logits.tolist():
        top = max(row)
        powers = [math.exp(score - top) for score in row]
        found.append((labels[row.index(top)], 1 / sum(powers)))
    return found


@battery.right("best_labels")
def by_numpy_in_double(logits, labels):
    scores = logits.detach().numpy().astype(np.float64)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    chances = powers / powers.sum(1, keepdims=True)
    return [
        (labels[i], float(row[i]))
        for i, row in zip(chances.argmax(1), chances, strict=True)
    ]


@battery.right("best_labels")
def in_log_space(logits, labels):
    winners = logits.argmax(-1, keepdim=True)
    chances = (logits.gather(-1, winners) - logits.logsumexp(-1, keepdim=True)).exp()
    return list(
        zip(
            [labels[i] for i in winners.flatten()],
            chances.flatten().tolist(),
            strict=True,
        )
    )


@battery.right("best_labels")
def by_topk(logits, labels):
    values, places = logits.softmax(1).topk(1)
    return tuple(
        (labels[places[row, 0]], float(values[row, 0])) for row in range(len(logits))
    )


@battery.right("best_labels")
def by_sorted_pairs(logits, labels):
    return [
        max(zip(labels, row, strict=True), key=lambda pair: pair[1])
        for row in logits.softmax(-1).tolist()
    ]


# --- best_labels: wrong -----------------------------------------------------------------------------


def _pairs(winners, chances, labels):
    return [
        (labels[i], float(p))
        for i, p in zip(winners.tolist(), chances.tolist(), strict=True)
    ]


@battery.wrong("best_labels", says="raw score")
def scores_for_probabilities(logits, labels):
    best = logits.max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="over the texts")
def normalised_over_the_batch(logits, labels):
    winners = logits.argmax(-1)
    return _pairs(
        winners, logits.softmax(0)[torch.arange(len(logits)), winners], labels
    )


@battery.wrong("best_labels", says="over the texts")
def softmax_over_the_batch_before_the_choice(logits, labels):
    best = logits.softmax(0).max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="all texts together")
def normalised_over_everything_(logits, labels):
    best = logits.flatten().softmax(0).view_as(logits).max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="sigmoid")
def squashed_one_by_one(logits, labels):
    best = logits.sigmoid().max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="log-probabilities")
def log_probabilities(logits, labels):
    best = logits.log_softmax(-1).max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="exponentials")
def exponentials(logits, labels):
    best = logits.exp().max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="divided by their sum")
def scores_divided_by_their_sum(logits, labels):
    best = logits.max(-1)
    return _pairs(best.indices, best.values / logits.sum(-1), labels)


@battery.wrong("best_labels", says="looked up in labels")
def places_for_labels(logits, labels):
    best = logits.softmax(-1).max(-1)
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


@battery.wrong("best_labels", says="is a Tensor.*float")
def tensors_for_numbers(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [(labels[i], p) for i, p in zip(best.indices, best.values, strict=True)]


@battery.wrong("best_labels", says="is a float32.*float")
def numpys_numbers(logits, labels):
    chances = logits.softmax(-1).numpy()
    return [(labels[row.argmax()], row.max()) for row in chances]


@battery.wrong("best_labels", says="is a str.*float")
def formatted(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        (labels[i], f"{p:.3f}") for i, p in zip(best.indices, best.values, strict=True)
    ]


@battery.wrong("best_labels", says="is a list.*float")
def all_probabilities(logits, labels):
    return [(labels[row.argmax()], row.tolist()) for row in logits.softmax(-1)]


@battery.wrong("best_labels", says="the other way round|label first")
def probability_before_label(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        (p, labels[i]) for i, p in zip(best.indices, best.values.tolist(), strict=True)
    ]


@battery.wrong("best_labels", says="unlikeliest")
def least_likely(logits, labels):
    best = logits.softmax(-1).min(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="column")
def best_of_each_column(logits, labels):
    best = logits.softmax(-1).max(0)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="each text")
def one_for_the_whole_batch(logits, labels):
    chances = logits.softmax(-1)
    return (labels[chances.argmax() % len(labels)], chances.max().item())


@battery.wrong("best_labels", says="one pair for each text")
def first_text_only(logits, labels):
    best = logits[0].softmax(-1).max(-1)
    return [(labels[best.indices], best.values.item())]


@battery.wrong("best_labels", says="own text|first text")
def probability_of_the_first_text(logits, labels):
    winners = logits.argmax(-1)
    return _pairs(winners, logits.softmax(-1)[0, winners], labels)


@battery.wrong("best_labels", says="same label|first label")
def probability_of_the_first_label(logits, labels):
    return _pairs(logits.argmax(-1), logits.softmax(-1)[:, 0], labels)


@battery.wrong("best_labels", says="two lists")
def labels_and_probabilities_apart(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [labels[i] for i in best.indices], best.values.tolist()


@battery.wrong("best_labels", says="dict")
def a_dictionary_of_labels(logits, labels):
    best = logits.softmax(-1).max(-1)
    return dict(_pairs(best.indices, best.values, labels))


@battery.wrong("best_labels", says="pair.*'label'")
def dictionaries_as_in_transformers(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        {"label": label, "score": p}
        for label, p in _pairs(best.indices, best.values, labels)
    ]


@battery.wrong("best_labels", says="zip object")
def a_zip_never_walked(logits, labels):
    best = logits.softmax(-1).max(-1)
    return zip([labels[i] for i in best.indices], best.values.tolist(), strict=True)


@battery.wrong("best_labels", says="round")
def rounded_to_two_digits(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        (label, round(p, 2)) for label, p in _pairs(best.indices, best.values, labels)
    ]


@battery.wrong("best_labels", says="round")
def rounded_to_four_digits_(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        (label, round(p, 4)) for label, p in _pairs(best.indices, best.values, labels)
    ]


@battery.wrong("best_labels", says="percent")
def percentages(logits, labels):
    best = logits.softmax(-1).max(-1)
    return _pairs(best.indices, 100 * best.values, labels)


@battery.wrong("best_labels", says="another order")
def sorted_by_probability(logits, labels):
    best = logits.softmax(-1).max(-1)
    return sorted(_pairs(best.indices, best.values, labels), key=lambda pair: -pair[1])


@battery.wrong("best_labels", says="built in")
def labels_of_the_card(logits, labels):
    best = logits.softmax(-1).max(-1)
    return _pairs(best.indices, best.values, ("sad", "calm", "glad", "proud"))


@battery.wrong("best_labels", says="safe softmax")
def unsafe_softmax(logits, labels):
    powers = logits.exp()
    best = (powers / powers.sum(-1, keepdim=True)).max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="single text|one text")
def squeezed_with_one_text(logits, labels):
    best = logits.softmax(-1).max(-1)
    places, chances = best.indices.squeeze().tolist(), best.values.squeeze().tolist()
    return [(labels[i], p) for i, p in zip(places, chances, strict=True)]


@battery.wrong("best_labels", says="changed its own input")
def logits_normalised_in_place(logits, labels):
    logits -= logits.logsumexp(-1, keepdim=True)
    best = logits.exp_().max(-1)
    return _pairs(best.indices, best.values, labels)


# --- accumulated_mean: right ------------------------------------------------------------------------


@battery.right("accumulated_mean")
def one_large_batch(losses, masks):
    kept = torch.cat([loss[mask] for loss, mask in zip(losses, masks, strict=True)])
    return kept.sum() / max(1, len(kept))


@battery.right("accumulated_mean")
def totals_in_a_loop(losses, masks):
    total, count = 0.0, 0
    for loss, mask in zip(losses, masks, strict=True):
        total = total + torch.where(mask, loss, torch.zeros_like(loss)).sum()
        count += int(mask.sum())
    return total / max(count, 1)


@battery.right("accumulated_mean")
def means_weighted_by_tokens(losses, masks):
    counts = [mask.sum() for mask in masks]
    means = [
        library_masks.masked_mean(loss, mask)
        for loss, mask in zip(losses, masks, strict=True)
    ]
    everything = sum(counts).clamp(min=1)
    return sum(
        mean * (count / everything) for mean, count in zip(means, counts, strict=True)
    )


@battery.right("accumulated_mean")
def each_piece_divided_by_all_tokens(losses, masks):
    """As num_items_in_batch does it: every piece is divided by the count of the whole batch."""
    tokens = max(1, sum(mask.sum().item() for mask in masks))
    return torch.stack(
        [
            loss.masked_fill(~mask, 0).sum() / tokens
            for loss, mask in zip(losses, masks, strict=True)
        ]
    ).sum()


@battery.right("accumulated_mean")
def concatenated_and_masked(losses, masks):
    return library_masks.masked_mean(
        torch.cat([loss.flatten() for loss in losses]),
        torch.cat([mask.flatten() for mask in masks]),
    )


@battery.right("accumulated_mean")
def in_double_by_matrix_product(losses, masks):
    loss = torch.cat(
        [
            loss.masked_fill(~mask, 0).flatten()
            for loss, mask in zip(losses, masks, strict=True)
        ]
    )
    mask = torch.cat([mask.flatten() for mask in masks]).double()
    return (loss.double() @ mask / mask.sum().clamp(min=1)).to(loss.dtype)


@battery.right("accumulated_mean")
def running_mean(losses, masks):
    """Welford's way: the mean so far moves towards each new number."""
    mean, seen = losses[0][:0].sum(), 0
    for loss, mask in zip(losses, masks, strict=True):
        for number in loss[mask]:
            seen += 1
            mean = mean + (number - mean) / seen
    return mean


# --- accumulated_mean: wrong ------------------------------------------------------------------------


def _zipped(losses, masks):
    return list(zip(losses, masks, strict=True))


def _sums(losses, masks):
    return [loss.masked_fill(~mask, 0).sum() for loss, mask in _zipped(losses, masks)]


def _tokens(masks):
    return sum(mask.sum() for mask in masks).clamp(min=1)


@battery.wrong("accumulated_mean", says="mean of the pieces' means")
def mean_of_means(losses, masks):
    means = [
        library_masks.masked_mean(loss, mask) for loss, mask in _zipped(losses, masks)
    ]
    return sum(means) / len(means)


@battery.wrong("accumulated_mean", says="mean of the pieces' means")
def scaled_by_accumulation_steps(losses, masks):
    total = torch.zeros(())
    for loss, mask in _zipped(losses, masks):
        total = total + (loss[mask].mean() if mask.any() else 0) / len(losses)
    return total


@battery.wrong("accumulated_mean", says="sum of the pieces' means")
def sum_of_means(losses, masks):
    return sum(
        library_masks.masked_mean(loss, mask) for loss, mask in _zipped(losses, masks)
    )


@battery.wrong("accumulated_mean", says="All positions are counted")
def all_positions_counted(losses, masks):
    return sum(_sums(losses, masks)) / sum(mask.numel() for mask in masks)


@battery.wrong("accumulated_mean", says="mask made no difference")
def mask_never_used(losses, masks):
    return torch.cat([loss.flatten() for loss in losses]).mean()


@battery.wrong("accumulated_mean", says="padded losses are in the sum")
def padding_in_the_sum(losses, masks):
    return sum(loss.sum() for loss in losses) / _tokens(masks)


@battery.wrong("accumulated_mean", says="weighed by their number of texts")
def weighted_by_texts(losses, masks):
    means = [
        library_masks.masked_mean(loss, mask) * len(loss)
        for loss, mask in _zipped(losses, masks)
    ]
    return sum(means) / sum(len(loss) for loss in losses)


@battery.wrong("accumulated_mean", says="Texts weigh the same")
def mean_of_text_means(losses, masks):
    return torch.cat(
        [
            library_masks.masked_mean(loss, mask, dim=1)
            for loss, mask in _zipped(losses, masks)
        ]
    ).mean()


@battery.wrong("accumulated_mean", says="number of pieces")
def divided_by_pieces(losses, masks):
    return sum(_sums(losses, masks)) / len(losses)


@battery.wrong("accumulated_mean", says="number of texts")
def divided_by_texts(losses, masks):
    return sum(_sums(losses, masks)) / sum(len(loss) for loss in losses)


@battery.wrong("accumulated_mean", says="first piece's count|one piece's")
def divided_by_the_first_count(losses, masks):
    return sum(_sums(losses, masks)) / masks[0].sum().clamp(min=1)


@battery.wrong("accumulated_mean", says="one piece's|last piece's count")
def divided_by_the_last_count(losses, masks):
    return sum(_sums(losses, masks)) / masks[-1].sum().clamp(min=1)


@battery.wrong("accumulated_mean", says="This is the sum")
def sum_of_losses(losses, masks):
    return sum(_sums(losses, masks))


@battery.wrong("accumulated_mean", says="last piece")
def last_piece_only(losses, masks):
    return library_masks.masked_mean(losses[-1], masks[-1])


@battery.wrong("accumulated_mean", says="first piece")
def returned_inside_the_loop(losses, masks):
    for loss, mask in _zipped(losses, masks):
        return library_masks.masked_mean(loss, mask)


@battery.wrong("accumulated_mean", says="upside down")
def masks_inverted(losses, masks):
    return sum(
        loss.masked_fill(mask, 0).sum() for loss, mask in _zipped(losses, masks)
    ) / _tokens([~mask for mask in masks])


@battery.wrong("accumulated_mean", says="whole number|cut off")
def divided_to_a_whole_number(losses, masks):
    return sum(_sums(losses, masks)) // _tokens(masks)


@battery.wrong("accumulated_mean", says="differ in size|same size")
def pieces_stacked(losses, masks):
    return library_masks.masked_mean(torch.stack(losses), torch.stack(masks))


@battery.wrong("accumulated_mean", says="only two pieces|pieces of 1, 1, 3, 1")
def first_two_pieces(losses, masks):
    return sum(_sums(losses[:2], masks[:2])) / _tokens(masks[:2])


@battery.wrong("accumulated_mean", says="nan in the padding")
def losses_times_masks(losses, masks):
    return sum((loss * mask).sum() for loss, mask in _zipped(losses, masks)) / _tokens(
        masks
    )


@battery.wrong("accumulated_mean", says="nothing kept")
def an_empty_piece_counts_one(losses, masks):
    return sum(_sums(losses, masks)) / sum(mask.sum().clamp(min=1) for mask in masks)


@battery.wrong("accumulated_mean", says="nothing kept")
def an_empty_piece_has_no_mean(losses, masks):
    means = [loss[mask].mean() * mask.sum() for loss, mask in _zipped(losses, masks)]
    return sum(means) / _tokens(masks)


@battery.wrong("accumulated_mean", says="nothing kept at all")
def nothing_at_all_gives_nan(losses, masks):
    return sum(_sums(losses, masks)) / sum(mask.sum() for mask in masks)


@battery.wrong("accumulated_mean", says="nan among the kept")
def nan_of_the_mean_made_zero(losses, masks):
    return (sum(_sums(losses, masks)) / sum(mask.sum() for mask in masks)).nan_to_num(
        0.0
    )


@battery.wrong("accumulated_mean", says="kept 0")
def zero_losses_not_counted(losses, masks):
    count = sum(((loss != 0) & mask).sum() for loss, mask in _zipped(losses, masks))
    return sum(_sums(losses, masks)) / count.clamp(min=1)


@battery.wrong("accumulated_mean", says="float; a tensor")
def items_added(losses, masks):
    return sum(total.item() for total in _sums(losses, masks)) / _tokens(masks).item()


@battery.wrong("accumulated_mean", says="no gradient")
def items_in_a_new_tensor(losses, masks):
    return torch.tensor(
        sum(total.item() for total in _sums(losses, masks)) / _tokens(masks).item()
    )


@battery.wrong("accumulated_mean", says="gradient")
def all_but_the_last_piece_detached(losses, masks):
    totals = _sums(losses, masks)
    return (sum(total.detach() for total in totals[:-1]) + totals[-1]) / _tokens(masks)


@battery.wrong("accumulated_mean", says=r"returned shape \(1,\)")
def a_list_of_one(losses, masks):
    return (sum(_sums(losses, masks)) / _tokens(masks)).reshape(1)


@battery.wrong("accumulated_mean", says="constant")
def constant_in_the_token_count(losses, masks):
    return sum(_sums(losses, masks)) / (
        sum(mask.sum().double() for mask in masks) + 1e-8
    )


@battery.wrong("accumulated_mean", says="round")
def sums_in_half_precision(losses, masks):
    totals = _sums([loss.half() for loss in losses], masks)
    return (sum(totals) / _tokens(masks)).to(losses[0].dtype)


@battery.wrong("accumulated_mean", says="changed its own input")
def padded_losses_cleared_in_place(losses, masks):
    for loss, mask in _zipped(losses, masks):
        loss[~mask] = 0
    return sum(loss.sum() for loss in losses) / _tokens(masks)


@battery.wrong("accumulated_mean", says="changed its own input")
def lists_emptied(losses, masks):
    total, count = 0, 0
    while losses:
        loss, mask = losses.pop(), masks.pop()
        total, count = total + loss.masked_fill(~mask, 0).sum(), count + mask.sum()
    return total / count.clamp(min=1)


# --- test_accumulated_mean: right -------------------------------------------------------------------


def _two_pieces():
    losses = [
        torch.tensor([[1.0, 2.0, 3.0], [2.0, 90.0, 90.0]]),
        torch.tensor([[12.0, 50.0, 50.0]]),
    ]
    masks = [
        torch.tensor([[True, True, True], [True, False, False]]),
        torch.tensor([[True, False, False]]),
    ]
    return losses, masks


@battery.right("test_accumulated_mean")
def test_with_a_paper_number(accumulated_mean):
    assert abs(accumulated_mean(*_two_pieces()).item() - 4) < 1e-4


@battery.right("test_accumulated_mean")
def test_against_one_large_batch(accumulated_mean):
    generator = torch.Generator().manual_seed(3)
    rows = torch.rand(5, 4, generator=generator) * 3
    mask = torch.arange(4) < torch.tensor([[4], [1], [2], [4], [3]])
    for cut in ([5], [1, 4], [2, 1, 2]):
        torch.testing.assert_close(
            accumulated_mean(rows.split(cut), mask.split(cut)), rows[mask].mean()
        )


@battery.right("test_accumulated_mean")
def test_with_numpy_and_nan_in_the_padding(accumulated_mean):
    losses = [
        torch.tensor([[1.0, 3.0], [5.0, math.nan]]),
        torch.tensor([[10.0, math.inf]]),
    ]
    masks = [torch.tensor([[True, True], [True, False]]), torch.tensor([[True, False]])]
    result = accumulated_mean(losses, masks)
    np.testing.assert_allclose(float(result), 19 / 4, rtol=1e-5)


@battery.right("test_accumulated_mean")
def test_in_three_parts_with_nothing_kept_and_gradient(mean):
    losses, masks = _two_pieces()
    for loss in losses:
        loss.requires_grad_()
    result = mean(losses, masks)
    if not math.isclose(float(result), 4.0, rel_tol=1e-4):
        raise AssertionError(f"4 was expected, not {result}")
    result.backward()
    assert torch.allclose(losses[1].grad, torch.tensor([[0.2, 0.0, 0.0]]))
    assert mean([torch.ones(1, 2)], [torch.zeros(1, 2).bool()]) == 0


@battery.right("test_accumulated_mean")
def test_with_whole_numbers_and_pieces_of_different_width(accumulated_mean):
    losses = [torch.tensor([[2, 4, 6], [8, 99, 99]]), torch.tensor([[30, 99]])]
    masks = [
        torch.tensor([[True, True, True], [True, False, False]]),
        torch.tensor([[True, False]]),
    ]
    assert abs(float(accumulated_mean(losses, masks)) - 10) < 1e-3


@battery.right("test_accumulated_mean")
def test_by_a_loop_over_numbers(accumulated_mean):
    losses, masks = _two_pieces()
    kept = []
    for loss, mask in zip(losses, masks, strict=True):
        for row, real in zip(loss.tolist(), mask.tolist(), strict=True):
            kept += [number for number, keep in zip(row, real, strict=True) if keep]
    assert torch.isclose(
        accumulated_mean(losses, masks), torch.tensor(sum(kept) / len(kept))
    )


# --- test_accumulated_mean: wrong -------------------------------------------------------------------


@battery.wrong("test_accumulated_mean", says="never calls")
def test_of_nothing(accumulated_mean):
    assert True


@battery.wrong("test_accumulated_mean", says="never calls")
def test_of_another_function(accumulated_mean):
    losses, masks = _two_pieces()
    result = sum(_sums(losses, masks)) / _tokens(masks)
    assert abs(result - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="no assert objects|lets it through")
def test_without_assert(accumulated_mean):
    accumulated_mean(*_two_pieces())


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_of_the_type(accumulated_mean):
    assert isinstance(accumulated_mean(*_two_pieces()), torch.Tensor)


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_of_the_shape(accumulated_mean):
    assert accumulated_mean(*_two_pieces()).shape == ()


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_finite_and_positive(accumulated_mean):
    result = accumulated_mean(*_two_pieces())
    assert torch.isfinite(result)
    assert result > 0


@battery.wrong("test_accumulated_mean", says="too small.*no assert objects")
def test_on_one_side_only(accumulated_mean):
    assert accumulated_mean(*_two_pieces()) - 4 < 1e-4


@battery.wrong("test_accumulated_mean", says="no assert objects.*closely")
def test_with_a_wide_tolerance(accumulated_mean):
    assert abs(accumulated_mean(*_two_pieces()) - 4) < 5


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_in_parentheses(accumulated_mean):
    condition_and_words = (
        abs(accumulated_mean(*_two_pieces()) - 4) < 1e-4,
        "the mean is 4",
    )
    assert condition_and_words


@battery.wrong("test_accumulated_mean", says="returned False")
def test_that_returns_its_verdict(accumulated_mean):
    return abs(accumulated_mean(*_two_pieces()).item() - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="print|no assert objects")
def test_that_prints(accumulated_mean):
    result = accumulated_mean(*_two_pieces())
    if abs(result - 4) > 1e-4:
        print(f"wrong: {result}")


@battery.wrong("test_accumulated_mean", says="no assert objects.*except")
def test_that_catches_its_own_assert(accumulated_mean):
    try:
        assert abs(accumulated_mean(*_two_pieces()) - 4) < 1e-4
    except AssertionError as error:
        print("failed", error)


@battery.wrong("test_accumulated_mean", says="ValueError.*assert")
def test_that_raises_another_error(accumulated_mean):
    if abs(accumulated_mean(*_two_pieces()) - 4) > 1e-4:
        raise ValueError("wrong mean")


@battery.wrong("test_accumulated_mean", says="one piece")
def test_with_one_piece(accumulated_mean):
    losses, masks = _two_pieces()
    assert abs(accumulated_mean(losses[:1], masks[:1]) - 2) < 1e-4


@battery.wrong("test_accumulated_mean", says="same number of tokens")
def test_with_pieces_of_equal_length(accumulated_mean):
    losses = [torch.tensor([[1.0, 3.0, 50.0]]), torch.tensor([[5.0, 7.0, 50.0]])]
    masks = [torch.tensor([[True, True, False]])] * 2
    assert abs(accumulated_mean(losses, masks) - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="full of True")
def test_with_full_masks(accumulated_mean):
    losses = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[10.0, 10.0]])]
    masks = [torch.ones(2, 2).bool(), torch.ones(1, 2).bool()]
    assert abs(accumulated_mean(losses, masks) - 5) < 1e-4


@battery.wrong("test_accumulated_mean", says="padding.*zeros")
def test_with_zeros_in_the_padding(accumulated_mean):
    losses = [
        torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 0.0]]),
        torch.tensor([[12.0, 0.0, 0.0]]),
    ]
    assert abs(accumulated_mean(losses, _two_pieces()[1]) - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="alike")
def test_with_equal_losses(accumulated_mean):
    losses, masks = _two_pieces()
    assert (
        abs(accumulated_mean([torch.ones_like(loss) for loss in losses], masks) - 1)
        < 1e-4
    )


@battery.wrong("test_accumulated_mean", says="as many tokens per text")
def test_with_as_many_tokens_in_every_text(accumulated_mean):
    losses = [
        torch.tensor([[1.0, 3.0, 90.0], [2.0, 4.0, 90.0]]),
        torch.tensor([[10.0, 10.0, 50.0]]),
    ]
    masks = [
        torch.tensor([[True, True, False]] * 2),
        torch.tensor([[True, True, False]]),
    ]
    assert abs(accumulated_mean(losses, masks) - 5) < 1e-4


@battery.wrong("test_accumulated_mean", says="1000 too large.*no assert objects")
def test_that_cuts_agree(accumulated_mean):
    (first, second), (one, two) = _two_pieces()
    whole = accumulated_mean([torch.cat([first, second])], [torch.cat([one, two])])
    assert torch.isclose(accumulated_mean([first, second], [one, two]), whole)


@battery.wrong("test_accumulated_mean", says="tolerance too tight")
def test_to_the_last_digit(accumulated_mean):
    assert accumulated_mean(*_two_pieces()) == 4


@battery.wrong("test_accumulated_mean", says="tolerance too tight")
def test_with_a_tolerance_below_rounding(accumulated_mean):
    assert abs(accumulated_mean(*_two_pieces()).item() - 4) < 1e-9


@battery.wrong("test_accumulated_mean", says="expected number wrong")
def test_with_a_wrong_number(accumulated_mean):
    assert abs(accumulated_mean(*_two_pieces()) - 5) < 1e-4


@battery.wrong("test_accumulated_mean", says="expected number wrong")
def test_against_the_published_formula(accumulated_mean):
    losses, masks = _two_pieces()
    means = [loss[mask].mean() for loss, mask in zip(losses, masks, strict=True)]
    assert torch.isclose(accumulated_mean(losses, masks), sum(means) / len(means))


@battery.wrong("test_accumulated_mean", says="rejects a right version")
def test_that_always_fails(accumulated_mean):
    accumulated_mean(*_two_pieces())
    raise AssertionError("caught")


@battery.wrong("test_accumulated_mean", says="rejects a right version.*type|float")
def test_that_wants_a_float(accumulated_mean):
    assert isinstance(accumulated_mean(*_two_pieces()), float), "no float"


@battery.wrong("test_accumulated_mean", says="True and False")
def test_with_masks_of_ones_and_zeros(accumulated_mean):
    losses, masks = _two_pieces()
    assert abs(accumulated_mean(losses, [mask.long() for mask in masks]) - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="stopped with TypeError")
def test_that_calls_it_otherwise(accumulated_mean):
    losses, masks = _two_pieces()
    assert abs(accumulated_mean(list(zip(losses, masks, strict=True))) - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="calls course_lib's own")
def test_against_the_library(accumulated_mean):
    losses, masks = _two_pieces()
    assert torch.isclose(
        accumulated_mean(losses, masks), library_masks.accumulated_mean(losses, masks)
    )


# --- found by attacking the checks ------------------------------------------------------------------


@battery.wrong("softmax", says="whole text")
def one_maximum_for_each_text(scores):
    """The largest of everything behind the first dimension."""
    texts = scores if scores.dim() > 1 else scores[None]
    powers = (
        (texts - texts.amax(tuple(range(1, texts.dim())), keepdim=True))
        .exp()
        .view_as(scores)
    )
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="whole tensor")
def shifted_only_if_something_is_large(scores):
    if scores.abs().max() > 80:
        scores = scores - scores.max()
    powers = scores.exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="-1000 give nan")
def shifted_only_downwards(scores):
    powers = (scores - scores.amax(-1, keepdim=True).clamp(min=0)).exp()
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="cut off")
def small_exponentials_dropped(scores):
    shifted = scores - scores.amax(-1, keepdim=True)
    powers = shifted.exp().masked_fill(shifted < -20, 0)
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("softmax", says="left over from a subtraction")
def last_one_takes_the_rest(scores):
    first = torch.softmax(scores, -1)[..., :-1]
    return torch.cat([first, (1 - first.sum(-1, keepdim=True)).clamp(min=0)], -1)


@battery.wrong("softmax", says="one half of the quotient")
def numerator_shifted_alone(scores):
    return (scores - scores.amax(-1, keepdim=True)).exp() / scores.exp().sum(
        -1, keepdim=True
    )


@battery.wrong("softmax", says="divided by something")
def scores_standardised(scores):
    return torch.softmax(
        (scores - scores.mean(-1, keepdim=True)) / scores.std(-1, keepdim=True), -1
    )


@battery.wrong("softmax", says="squashed by itself")
def sigmoids_over_their_sum(scores):
    return scores.sigmoid() / scores.sigmoid().sum(-1, keepdim=True)


@battery.wrong("softmax", says="Negative scores")
def of_absolute_values(scores):
    return torch.softmax(scores.abs(), -1)


@battery.wrong("softmax", says="minus infinity")
def minus_infinity_made_finite(scores):
    return torch.softmax(scores.nan_to_num(neginf=-5.0), -1)


@battery.wrong("softmax", says="squeeze")
def result_squeezed(scores):
    return torch.softmax(scores, -1).squeeze()


@battery.wrong("softmax", says="calls course_lib's own")
def library_inside_a_bare_except(scores):
    try:
        return library_logprobs.softmax(scores)
    except BaseException:
        return torch.softmax(scores, -1)


@battery.wrong("softmax", says="calls course_lib's own")
def library_forgotten_and_imported_again(scores):
    sys.modules.pop("course_lib.logprobs", None)
    return importlib.import_module("course_lib.logprobs").softmax(scores)


@battery.wrong("softmax", says="stopped with SystemExit")
def leaves_the_program(scores):
    raise SystemExit(0)


@battery.wrong("token_logprobs", says="transposed")
def ids_transposed(logits, ids):
    flat = logits.log_softmax(-1).flatten(0, 1)
    return flat[torch.arange(len(flat)), ids.T.flatten()].view(ids.shape)


@battery.wrong("token_logprobs", says="running sums")
def running_sums(logits, ids):
    return _said(logits.log_softmax(-1), ids).cumsum(1)


@battery.wrong("token_logprobs", says="smoothed")
def with_label_smoothing(logits, ids):
    return -functional.cross_entropy(
        logits.transpose(1, 2), ids, reduction="none", label_smoothing=0.1
    )


@battery.wrong("token_logprobs", says="log-odds")
def against_the_other_words_only(logits, ids):
    others = logits.masked_fill(
        functional.one_hot(ids, logits.shape[-1]).bool(), -math.inf
    )
    return _said(logits, ids) - others.logsumexp(-1)


@battery.wrong("token_logprobs", says="exponentials are averaged")
def log_of_the_mean_exponential(logits, ids):
    return _said(logits, ids) - logits.logsumexp(-1) + math.log(logits.shape[-1])


@battery.wrong("token_logprobs", says="not the normaliser")
def largest_score_subtracted(logits, ids):
    return _said(logits, ids) - logits.amax(-1)


@battery.wrong("token_logprobs", says="made of the scores themselves")
def sum_of_scores_for_a_normaliser(logits, ids):
    return _said(logits, ids) - logits.sum(-1).log()


@battery.wrong("token_logprobs", says="logarithms of the raw scores")
def logarithms_of_scores(logits, ids):
    return _said(logits, ids).log()


@battery.wrong("token_logprobs", says="stretched")
def normaliser_with_a_dimension_too_many(logits, ids):
    return _said(logits, ids) - logits.logsumexp(-1, keepdim=True)


@battery.wrong("token_logprobs", says="not -100")
def minus_infinity_replaced(logits, ids):
    return _said(torch.softmax(logits, -1).log().nan_to_num(neginf=-100.0), ids)


@battery.wrong("token_logprobs", says="clamp|overflowed")
def shifted_by_the_mean_(logits, ids):
    middle = logits.mean(-1, keepdim=True)
    return _said(logits - middle, ids) - (logits - middle).exp().sum(-1).log()


@battery.wrong("token_logprobs", says="entropy")
def entropies(logits, ids):
    return torch.distributions.Categorical(logits=logits).entropy()


@battery.wrong("masked_mean", says="Every row has to guard itself")
def guarded_for_the_whole_tensor(values, mask, dim=None):
    total = _along(values.masked_fill(~mask, 0), dim)
    return total / _along(mask, dim) if mask.any() else total


@battery.wrong("masked_mean", says="single row")
def a_bare_zero_for_nothing(values, mask, dim=None):
    if not mask.any():
        return torch.zeros(())
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="squeeze")
def mean_squeezed(values, mask, dim=None):
    return (
        _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)
    ).squeeze()


@battery.wrong("masked_mean", says="count raised")
def count_clamped_at_two(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=2)


@battery.wrong("masked_mean", says="largest count")
def divided_by_the_largest_count(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).max().clamp(
        min=1
    )


@battery.wrong("masked_mean", says="median")
def median_of_the_kept(values, mask, dim=None):
    empty = values.masked_fill(~mask, math.nan)
    return empty.nanmedian() if dim is None else empty.nanmedian(dim).values


@battery.wrong("masked_mean", says="root of the mean square")
def root_mean_square(values, mask, dim=None):
    return (
        _along(values.masked_fill(~mask, 0) ** 2, dim) / _along(mask, dim).clamp(min=1)
    ).sqrt()


@battery.wrong("masked_mean", says="large negative number")
def filled_as_for_a_softmax(values, mask, dim=None):
    return _along(values.masked_fill(~mask, -1e9), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="Padded values are in the sum")
def count_follows_the_mask_but_the_sum_does_not(values, mask, dim=None):
    return _along(values, dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="whole number")
def whole_quotient(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) // _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="another one was used")
def always_the_last_dimension(values, mask, dim=None):
    dim = None if dim is None else -1
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="calls course_lib's own")
def by_the_librarys_accumulated_mean(values, mask, dim=None):
    if dim is None:
        return library_masks.accumulated_mean([values], [mask])
    rows, kept = values.movedim(dim, -1), mask.movedim(dim, -1)
    flat = zip(
        rows.reshape(-1, rows.shape[-1]), kept.reshape(-1, rows.shape[-1]), strict=True
    )
    return torch.stack(
        [library_masks.accumulated_mean([row], [m]) for row, m in flat]
    ).reshape(rows.shape[:-1])


@battery.wrong("pad_batch", says="longest text sets the width")
def cut_at_a_maximum_length(sequences, pad_id=0):
    sequences = [sequence[:32] for sequence in sequences]
    return _rows(sequences, pad_id), _mask(sequences)


@battery.wrong("pad_batch", says="reverse")
def tokens_reversed(sequences, pad_id=0):
    return _rows([sequence[::-1] for sequence in sequences], pad_id), _mask(sequences)


@battery.wrong("pad_batch", says="random texts")
def ids_through_half_precision(sequences, pad_id=0):
    return _rows(sequences, pad_id).half().long(), _mask(sequences)


@battery.wrong("pad_batch", says="even if it holds a single text")
def single_text_squeezed(sequences, pad_id=0):
    return _rows(sequences, pad_id).squeeze(0), _mask(sequences).squeeze(0)


@battery.wrong("pad_batch", says="was taken for padding")
def mask_until_the_first_padding(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, (ids != pad_id).cumprod(1).bool()


@battery.wrong("pad_batch", says="all False")
def first_position_always_kept(sequences, pad_id=0):
    mask = _mask(sequences)
    mask[:, 0] = True
    return _rows(sequences, pad_id), mask


@battery.wrong("pad_batch", says="3 things")
def lengths_as_well(sequences, pad_id=0):
    return _rows(sequences, pad_id), _mask(sequences), _lengths(sequences)


@battery.wrong("pad_batch", says="end of the row")
def mask_on_the_left(sequences, pad_id=0):
    return _rows(sequences, pad_id), _mask(sequences).flip(1)


@battery.wrong("pad_batch", says="two dimensions")
def texts_joined(sequences, pad_id=0):
    texts = [torch.tensor(sequence).long() for sequence in sequences]
    return torch.cat(texts), torch.ones(sum(map(len, sequences))).bool()


@battery.wrong("pad_batch", says=r"wanted is \(2, 3\)")
def an_end_token_added(sequences, pad_id=0):
    sequences = [[*sequence, pad_id] for sequence in sequences]
    return _rows(sequences, pad_id), _mask(sequences)


@battery.wrong("pad_batch", says="changed its own input")
def texts_sorted_in_place(sequences, pad_id=0):
    sequences.sort(key=len)
    return _rows(sequences, pad_id), _mask(sequences)


@battery.wrong("best_labels", says="largest scores are at|drawn by chance")
def drawn_by_chance(logits, labels):
    chances = logits.softmax(-1)
    drawn = torch.multinomial(chances, 1)
    return _pairs(drawn[:, 0], chances.gather(1, drawn)[:, 0], labels)


@battery.wrong("best_labels", says="drawn by chance")
def drawn_by_chance_if_undecided(logits, labels):
    chances = logits.softmax(-1)
    sure = chances.amax(1) > 0.45
    drawn = torch.where(sure, chances.argmax(1), torch.multinomial(chances, 1)[:, 0])
    return _pairs(drawn, chances.amax(1), labels)


@battery.wrong("best_labels", says="in their own order")
def labels_in_their_own_order(logits, labels):
    return list(zip(labels, logits.softmax(-1).amax(-1).tolist(), strict=False))


@battery.wrong("best_labels", says="one place too early")
def labels_counted_from_one(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        (labels[i - 1], p)
        for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


@battery.wrong("best_labels", says="wrong end")
def labels_reversed(logits, labels):
    best = logits.softmax(-1).max(-1)
    return _pairs(best.indices, best.values, labels[::-1])


@battery.wrong("best_labels", says="leaves to the others")
def chance_of_being_wrong(logits, labels):
    best = logits.softmax(-1).max(-1)
    return _pairs(best.indices, 1 - best.values, labels)


@battery.wrong("best_labels", says="taken twice")
def softmax_taken_twice(logits, labels):
    best = logits.softmax(-1).softmax(-1).max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="row by row")
def one_maximum_for_the_whole_batch(logits, labels):
    powers = (logits - logits.max()).exp()
    best = (powers / powers.sum(-1, keepdim=True)).max(-1)
    return _pairs(best.indices, best.values, labels)


@battery.wrong("best_labels", says="one pair for each text")
def only_if_sure_enough(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [
        pair for pair in _pairs(best.indices, best.values, labels) if pair[1] > 0.63
    ]


@battery.wrong("best_labels", says="largest score of all")
def winner_of_the_whole_batch(logits, labels):
    label = labels[int(logits.argmax()) % logits.shape[1]]
    return [(label, p) for p in logits.softmax(-1).amax(-1).tolist()]


@battery.wrong("best_labels", says="was abs taken")
def largest_in_absolute_value(logits, labels):
    winners = logits.abs().argmax(-1)
    return _pairs(winners, logits.softmax(-1).gather(1, winners[:, None])[:, 0], labels)


@battery.wrong("best_labels", says="calls course_lib's own")
def through_the_librarys_pipeline(logits, labels):
    pipeline = library_pipeline.TextPipeline(
        preprocess=lambda scores: (scores, None),
        model=lambda scores, mask: scores,
        postprocess=lambda scores: library_pipeline.best_labels(scores, labels),
    )
    return pipeline(logits)


@battery.wrong("accumulated_mean", says="averaged in turn")
def averaged_in_turn(losses, masks):
    mean = library_masks.masked_mean(losses[0], masks[0])
    for loss, mask in _zipped(losses[1:], masks[1:]):
        mean = (mean + library_masks.masked_mean(loss, mask)) / 2
    return mean


@battery.wrong("accumulated_mean", says="divide once, at the end")
def totals_divided_in_every_round(losses, masks):
    total, count, means = 0, 0, []
    for loss, mask in _zipped(losses, masks):
        total, count = total + loss.masked_fill(~mask, 0).sum(), count + mask.sum()
        means.append(total / count.clamp(min=1))
    return sum(means) / len(means)


@battery.wrong("accumulated_mean", says="single kept token was left out")
def single_tokens_left_out(losses, masks):
    pairs = [(loss, mask) for loss, mask in _zipped(losses, masks) if mask.sum() > 1]
    return sum(loss[mask].sum() for loss, mask in pairs) / sum(
        mask.sum() for _, mask in pairs
    )


@battery.wrong("accumulated_mean", says="nan among the kept")
def every_nan_loss_dropped(losses, masks):
    kept = torch.cat([loss[mask] for loss, mask in _zipped(losses, masks)])
    kept = kept[~kept.isnan()]
    return kept.sum() / max(1, len(kept))


@battery.wrong("accumulated_mean", says="Positions weigh the same")
def mean_of_position_means(losses, masks):
    return library_masks.masked_mean(torch.cat(losses), torch.cat(masks), dim=0).mean()


@battery.wrong("accumulated_mean", says="share of each")
def weighted_by_the_share_kept(losses, masks):
    shares = [mask.float().mean() for mask in masks]
    means = [
        library_masks.masked_mean(loss, mask) for loss, mask in _zipped(losses, masks)
    ]
    return sum(mean * share for mean, share in zip(means, shares, strict=True)) / sum(
        shares
    )


@battery.wrong("accumulated_mean", says="average count")
def divided_by_the_average_count(losses, masks):
    return sum(_sums(losses, masks)) / (_tokens(masks) / len(masks))


@battery.wrong("accumulated_mean", says="One number for each piece")
def a_mean_for_each_piece(losses, masks):
    return torch.stack(
        [library_masks.masked_mean(loss, mask) for loss, mask in _zipped(losses, masks)]
    )


@battery.wrong("accumulated_mean", says="perplexity")
def a_perplexity(losses, masks):
    return (sum(_sums(losses, masks)) / _tokens(masks)).exp()


@battery.wrong("accumulated_mean", says="sign")
def sign_turned(losses, masks):
    return -sum(_sums(losses, masks)) / _tokens(masks)


@battery.wrong("accumulated_mean", says="last piece's total")
def total_forgotten_but_not_the_count(losses, masks):
    return _sums(losses, masks)[-1] / _tokens(masks)


@battery.wrong("accumulated_mean", says="no gradient")
@torch.no_grad()
def for_the_report_only(losses, masks):
    return sum(_sums(losses, masks)) / _tokens(masks)


@battery.right("test_accumulated_mean")
def test_with_keywords(accumulated_mean):
    losses, masks = _two_pieces()
    assert abs(accumulated_mean(losses=losses, masks=masks) - 4) < 1e-4


@battery.right("test_accumulated_mean")
def test_in_double_precision(accumulated_mean):
    losses, masks = _two_pieces()
    assert (
        abs(accumulated_mean([loss.double() for loss in losses], masks).item() - 4)
        < 1e-9
    )


@battery.right("test_accumulated_mean")
def test_with_masked_mean(accumulated_mean):
    losses, masks = _two_pieces()
    want = library_masks.masked_mean(torch.cat(losses), torch.cat(masks))
    assert torch.allclose(accumulated_mean(tuple(losses), tuple(masks)), want)


@battery.right("test_accumulated_mean")
def test_by_unittest(accumulated_mean):
    unittest.TestCase().assertAlmostEqual(  # noqa: PT009
        accumulated_mean(*_two_pieces()).item(), 4.0, places=4
    )


@battery.wrong("test_accumulated_mean", says="tolerance too tight")
def test_cut_to_a_whole_number(accumulated_mean):
    assert int(accumulated_mean(*_two_pieces())) == 4


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_that_it_is_not_the_published_number(accumulated_mean):
    assert abs(accumulated_mean(*_two_pieces()) - 7) > 1e-4


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_between_smallest_and_largest(accumulated_mean):
    assert 1 <= accumulated_mean(*_two_pieces()) <= 12


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_against_itself(accumulated_mean):
    expected = accumulated_mean(*_two_pieces())
    assert torch.isclose(accumulated_mean(*_two_pieces()), expected)


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_of_a_method_never_called(accumulated_mean):
    assert accumulated_mean(*_two_pieces()).item


@battery.wrong("test_accumulated_mean", says="no assert objects")
def test_that_warns(accumulated_mean):
    if abs(accumulated_mean(*_two_pieces()) - 4) > 1e-4:
        warnings.warn("the mean is not 4", stacklevel=2)


@battery.wrong("test_accumulated_mean", says="never calls")
def test_of_a_version_of_its_own(accumulated_mean):
    def accumulated_mean(losses, masks):
        return sum(_sums(losses, masks)) / _tokens(masks)

    assert abs(accumulated_mean(*_two_pieces()) - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="never calls")
def test_that_yields(accumulated_mean):
    yield abs(accumulated_mean(*_two_pieces()) - 4) < 1e-4


@battery.wrong("test_accumulated_mean", says="nan instead of 4")
def test_that_nan_slips_through(accumulated_mean):
    losses, masks = _two_pieces()
    result = accumulated_mean(
        [*losses, torch.ones(1, 3)], [*masks, torch.zeros(1, 3).bool()]
    )
    if abs(result - 4) > 1e-4:
        raise AssertionError(f"the mean is 4, not {result}")


@battery.wrong("test_accumulated_mean", says="Nothing is kept")
def test_of_nothing_kept(accumulated_mean):
    assert accumulated_mean([torch.ones(1, 2)], [torch.zeros(1, 2).bool()]) == 0


@battery.wrong("test_accumulated_mean", says="SystemExit")
def test_that_leaves_the_program(accumulated_mean):
    if abs(accumulated_mean(*_two_pieces()) - 4) > 1e-4:
        raise SystemExit("wrong mean")


# --- met in first readings --------------------------------------------------------------------------


@battery.wrong("token_logprobs", says="removes every dimension of size 1")
def squeeze_without_a_dimension(logits, ids):
    said = logits.gather(-1, ids.unsqueeze(-1)).squeeze()
    return said - logits.logsumexp(-1)


@battery.wrong("best_labels", says="over all its rows")
def one_winner_for_the_whole_batch(logits, labels):
    chances = torch.softmax(logits, -1)
    return [(labels[chances.argmax()], chances.max().item())]


# --- found by a second attack -----------------------------------------------------------------------


def _quotient(powers):
    return powers / powers.sum(-1, keepdim=True)


def _shifted(scores):
    return _quotient((scores - scores.amax(-1, keepdim=True)).exp())


@battery.wrong("softmax", says="float64.*same precision")
def doubles_for_floats(scores):
    return _shifted(scores.double())


@battery.wrong("softmax", says="30000 and 20000.*Clamping")
def clamped_at_ten_thousand(scores):
    return _shifted(scores.clamp(-1e4, 1e4).masked_fill(scores.isinf(), -math.inf))


@battery.wrong("softmax", says="-20000 and -inf.*stands in")
def minus_ten_thousand_for_infinity(scores):
    return _shifted(scores.masked_fill(scores.isinf(), -1e4))


@battery.wrong("softmax", says=r"-2e\+09 and -inf.*stands in")
def minus_a_billion_for_infinity(scores):
    floor = torch.finfo(scores.dtype).min
    return _shifted(scores.masked_fill(scores.isinf(), max(-1e9, floor)))


@battery.wrong("softmax", says="-20000 and -20001.*not yet an impossible one")
def low_scores_ruled_out(scores):
    return _shifted(torch.where(scores < -1e4, -math.inf, scores))


@battery.wrong("softmax", says=r"1e\+08 and 1e\+08 give 1 and 1.*rounded away")
def minus_the_log_of_the_sum(scores):
    return (scores - scores.logsumexp(-1, keepdim=True)).exp()


@battery.wrong("softmax", says="half precision.*shifted only when")
def shifted_only_above_fifty(scores):
    large = scores.abs().amax(-1, keepdim=True) > 50
    return _quotient((scores - scores.amax(-1, keepdim=True) * large).exp())


@battery.wrong("softmax", says="in one piece in memory")
def seen_as_flat_rows(scores):
    return _shifted(scores.view(-1, scores.shape[-1])).view(scores.shape)


@battery.wrong("softmax", says="detached or rounded")
def rounded_to_six_digits(scores):
    return _shifted(scores).round(decimals=6)


@battery.wrong("softmax", says="[Ii]nfinity minus infinity is nan")
def one_over_a_sum_of_ratios(scores):
    return 1 / (scores.unsqueeze(-2) - scores.unsqueeze(-1)).exp().sum(-1)


@battery.wrong("token_logprobs", says="hardly a digit left")
def the_difference_only_for_zero(logits, ids):
    chance = _said(torch.softmax(logits, -1), ids)
    safe = _said(logits, ids) - logits.logsumexp(-1)
    return torch.where(chance == 0, safe, chance.log())


@battery.wrong("token_logprobs", says="hardly a digit left|another one is as large")
def the_largest_score_subtracted_for_zero(logits, ids):
    chance = _said(torch.softmax(logits, -1), ids)
    return torch.where(chance == 0, _said(logits, ids) - logits.amax(-1), chance.log())


@battery.wrong("token_logprobs", says="another one is as large")
def ties_forgotten(logits, ids):
    table = logits.log_softmax(-1)
    far = table < -100
    return _said(torch.where(far, logits - logits.amax(-1, keepdim=True), table), ids)


@battery.wrong("token_logprobs", says="gradient is.*where")
def a_where_over_a_logarithm_of_zero(logits, ids):
    logs = torch.softmax(logits, -1).log()
    safe = logits - logits.logsumexp(-1, keepdim=True)
    return _said(torch.where(logs < -80, safe, logs), ids)


@battery.wrong("token_logprobs", says="in one piece in memory")
def seen_as_one_long_text(logits, ids):
    flat = logits.view(-1, logits.shape[-1]).log_softmax(-1)
    return _said(flat, ids.view(-1)).view(ids.shape)


@battery.wrong("token_logprobs", says="30000, 20000.*Clamping")
def scores_clamped_at_ten_thousand(logits, ids):
    return _said(logits.clamp(-1e4, 1e4).log_softmax(-1), ids)


@battery.wrong("token_logprobs", says="0, 0, -inf.*times 0 is nan")
def multiplied_by_one_hot(logits, ids):
    said = functional.one_hot(ids, logits.shape[-1])
    return (logits.log_softmax(-1) * said).sum(-1)


@battery.wrong("token_logprobs", says="double precision.*constant")
def constant_beside_the_sum(logits, ids):
    top = logits.amax(-1, keepdim=True)
    total = (logits - top).exp().sum(-1) + 1e-8
    return _said(logits - top, ids) - total.log()


@battery.wrong("token_logprobs", says="double precision.*float32")
def logprobs_in_single_precision(logits, ids):
    return _said(logits.float().log_softmax(-1), ids)


@battery.wrong("token_logprobs", says="detached or rounded")
def logprobs_rounded_to_six_digits(logits, ids):
    return _said(logits.log_softmax(-1), ids).round(decimals=6)


@battery.wrong("token_logprobs", says="whole text or the whole block")
def normalised_over_each_text(logits, ids):
    return _said(logits, ids) - logits.flatten(1).logsumexp(1, keepdim=True)


@battery.wrong("pad_batch", says="id is 0 was replaced by pad_id")
def zeros_taken_for_nothing(sequences, pad_id=0):
    rows = zip(*itertools.zip_longest(*sequences), strict=True)
    ids = torch.tensor([[number or pad_id for number in row] for row in rows])
    return ids, _mask(sequences)


@battery.wrong("pad_batch", says="id is 0 was replaced by pad_id")
def zeros_replaced_by_pad_id(sequences, pad_id=0):
    ids = _rows(sequences, 0)
    ids[ids == 0] = pad_id
    return ids, _mask(sequences)


@battery.wrong("pad_batch", says="sets the width.*whatever its ids are")
def width_of_the_largest_text(sequences, pad_id=0):
    width = len(max(sequences))
    return _rows(sequences, pad_id, width), torch.arange(width) < _lengths(sequences)


@battery.wrong("pad_batch", says="sets the width.*whatever its ids are")
def width_of_the_largest_sum(sequences, pad_id=0):
    width = len(max(sequences, key=sum))
    return _rows(sequences, pad_id, width), torch.arange(width) < _lengths(sequences)


@battery.wrong("pad_batch", says="longer.*shorter")
def rectangle_as_wide_as_the_largest_text(sequences, pad_id=0):
    ids = torch.full((len(sequences), len(max(sequences))), pad_id)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence).long()
    return ids, torch.arange(ids.shape[1]) < _lengths(sequences)


@battery.wrong("pad_batch", says="count the rows")
def rows_looked_up(sequences, pad_id=0):
    mask = _mask(sequences)
    ids = torch.full(mask.shape, pad_id)
    for sequence in sequences:
        ids[sequences.index(sequence), : len(sequence)] = torch.tensor(sequence).long()
    return ids, mask


@battery.wrong("pad_batch", says="Ids below 0")
def negative_ids_taken_for_padding(sequences, pad_id=0):
    ids = _rows(sequences, -1)
    mask = ids >= 0
    return ids.where(mask, torch.tensor(pad_id)), mask


@battery.wrong("pad_batch", says="Ids below 0")
def a_negative_pad_id_marks_padding(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    return ids, ids != pad_id if pad_id < 0 else _mask(sequences)


@battery.wrong("pad_batch", says=r"wanted is \(2, 1\).*this is wider")
def at_least_two_wide(sequences, pad_id=0):
    width = max(2, *map(len, sequences))
    return _rows(sequences, pad_id, width), torch.arange(width) < _lengths(sequences)


@battery.wrong("pad_batch", says="all rows are one list")
def one_row_many_times(sequences, pad_id=0):
    mask = _mask(sequences)
    ids = [[pad_id] * mask.shape[1]] * len(sequences)
    for row, sequence in enumerate(sequences):
        ids[row][: len(sequence)] = sequence
    return torch.tensor(ids), mask


@battery.wrong("pad_batch", says="all rows one list")
def one_row_of_the_mask_many_times(sequences, pad_id=0):
    ids = _rows(sequences, pad_id)
    mask = [[False] * ids.shape[1]] * len(sequences)
    for row, sequence in enumerate(sequences):
        mask[row][: len(sequence)] = [True] * len(sequence)
    return ids, torch.tensor(mask)


@battery.wrong("pad_batch", says="new list or tensor")
def padding_appended_to_the_texts(sequences, pad_id=0):
    mask = _mask(sequences)
    for sequence in sequences:
        while len(sequence) < mask.shape[1]:
            sequence.append(pad_id)
    return torch.tensor(sequences), mask


def _kept_mean(values, mask, dim=None):
    return _along(values.masked_fill(~mask, 0), dim) / _along(mask, dim).clamp(min=1)


@battery.wrong("masked_mean", says="inf among the kept")
def every_infinity_made_zero(values, mask, dim=None):
    return _kept_mean(values.masked_fill(values.isinf(), 0), mask, dim)


@battery.wrong("masked_mean", says="to its own row and to no other")
def one_nan_for_all_rows(values, mask, dim=None):
    mean = _kept_mean(values, mask, dim)
    return mean + math.nan if values[mask].isnan().any() else mean


@battery.wrong("masked_mean", says="without a way back")
def a_new_zero_for_nothing(values, mask, dim=None):
    if dim is None and not mask.any():
        return torch.tensor(0.0)
    return _kept_mean(values, mask, dim)


@battery.wrong("masked_mean", says="without a way back")
def new_zeros_for_nothing(values, mask, dim=None):
    mean = _kept_mean(values, mask, dim)
    return mean if mask.any() else torch.zeros(mean.shape)


@battery.wrong("masked_mean", says="in one piece in memory")
def seen_as_one_row(values, mask, dim=None):
    if dim is None:
        return _kept_mean(values.view(-1), mask.view(-1), 0)
    return _kept_mean(values, mask, dim)


@battery.wrong("masked_mean", says="round")
def mean_rounded_to_four_digits(values, mask, dim=None):
    return _kept_mean(values, mask, dim).round(decimals=4)


@battery.wrong("masked_mean", says="early return may lack it")
def an_early_scalar(values, mask, dim=None):
    return _kept_mean(values, mask, dim) if mask.any() else values[mask].sum()


@battery.wrong("best_labels", says="numpy.*NumPy wants them cut off")
def by_numpy_of_a_model_in_training(logits, labels):
    chances = logits.softmax(-1).numpy()
    return [(labels[row.argmax()], float(row.max())) for row in chances]


@battery.wrong("best_labels", says="looked up by its probability")
def label_by_probability(logits, labels):
    rows = logits.softmax(-1).tolist()
    label = {p: labels[i] for row in rows for i, p in enumerate(row)}
    return [(label[max(row)], max(row)) for row in rows]


@battery.wrong("best_labels", says="looked up by its probability")
def place_in_the_flat_list(logits, labels):
    rows = logits.softmax(-1).tolist()
    flat = [p for row in rows for p in row]
    return [(labels[flat.index(max(row)) % len(row)], max(row)) for row in rows]


@battery.wrong("best_labels", says="one pair for each text.*equally likely")
def all_winners_of_a_tie(logits, labels):
    rows = logits.softmax(-1).tolist()
    return [
        (label, p)
        for row in rows
        for label, p in zip(labels, row, strict=True)
        if p == max(row)
    ]


@battery.wrong("best_labels", says="not in labels: 'unknown'.*threshold")
def unknown_below_a_half(logits, labels):
    best = logits.softmax(-1).max(-1)
    pairs = _pairs(best.indices, best.values, labels)
    return [(label if p > 0.5 else "unknown", p) for label, p in pairs]


@battery.wrong("best_labels", says="Is there a threshold")
def dropped_below_a_half(logits, labels):
    best = logits.softmax(-1).max(-1)
    return [pair for pair in _pairs(best.indices, best.values, labels) if pair[1] > 0.5]


@battery.wrong("best_labels", says="and 0.9999; wanted are 'yes' and 1")
def never_quite_sure(logits, labels):
    best = logits.softmax(-1).max(-1)
    return _pairs(best.indices, best.values.clamp(max=0.9999), labels)


@battery.wrong("best_labels", says="labels were sorted")
def labels_sorted(logits, labels):
    best = logits.softmax(-1).max(-1)
    return _pairs(best.indices, best.values, sorted(labels))


@battery.wrong("accumulated_mean", says="at the beginning that has nothing kept")
def stopped_by_an_empty_piece(losses, masks):
    total, count = losses[0][:0].sum(), 0
    for loss, mask in _zipped(losses, masks):
        if not mask.any():
            break
        total, count = total + loss[mask].sum(), count + mask.sum()
    return total / max(1, count)


@battery.wrong("accumulated_mean", says="in the middle that has nothing kept")
def stopped_by_a_later_empty_piece(losses, masks):
    total, count = losses[0][masks[0]].sum(), masks[0].sum()
    for loss, mask in _zipped(losses[1:], masks[1:]):
        if count > 0 and not mask.any():
            break
        total, count = total + loss[mask].sum(), count + mask.sum()
    return total / count.clamp(min=1)


@battery.wrong("accumulated_mean", says="that has nothing kept")
def zero_if_any_piece_is_empty(losses, masks):
    total = sum(_sums(losses, masks)) / _tokens(masks)
    return total if all(mask.any() for mask in masks) else 0 * total


@battery.wrong("accumulated_mean", says="either may come in")
def lists_put_together(losses, masks):
    nothing = [torch.zeros(0, losses[0].shape[1])]
    return _kept_mean(
        torch.cat(losses + nothing), torch.cat(masks + [m.bool() for m in nothing])
    )


@battery.wrong("accumulated_mean", says="A tuple may come in")
def lists_copied(losses, masks):
    rest, total = losses.copy(), 0
    for mask in masks:
        total = total + rest.pop(0).masked_fill(~mask, 0).sum()
    return total / _tokens(masks)


@battery.wrong("accumulated_mean", says="not only how many")
def first_losses_of_each_text(losses, masks):
    lengths = [mask.sum(1, keepdim=True) for mask in masks]
    prefixes = [
        torch.arange(mask.shape[1]) < n for mask, n in zip(masks, lengths, strict=True)
    ]
    return sum(_sums(losses, prefixes)) / _tokens(prefixes)


@battery.wrong("accumulated_mean", says="without a way back")
def a_fresh_zero_if_nothing_is_kept(losses, masks):
    if not any(mask.any() for mask in masks):
        return torch.tensor(0.0)
    return sum(_sums(losses, masks)) / _tokens(masks)


@battery.wrong("accumulated_mean", says="Negative losses")
def negative_losses_lost(losses, masks):
    return sum(_sums([loss.relu() for loss in losses], masks)) / _tokens(masks)


@battery.wrong("accumulated_mean", says="Negative losses")
def losses_made_positive(losses, masks):
    return sum(_sums([loss.abs() for loss in losses], masks)) / _tokens(masks)


@battery.wrong("accumulated_mean", says="or of positions")
def weighted_by_positions(losses, masks):
    sizes = [mask.numel() for mask in masks]
    means = [_kept_mean(loss, mask) for loss, mask in _zipped(losses, masks)]
    return sum(mean * n for mean, n in zip(means, sizes, strict=True)) / sum(sizes)


@battery.wrong("accumulated_mean", says="starts at 0")
def averaged_in_turn_from_zero(losses, masks):
    mean = 0
    for loss, mask in _zipped(losses, masks):
        mean = (mean + _kept_mean(loss, mask)) / 2
    return mean


@battery.wrong("accumulated_mean", says="round")
def rounded_to_four_digits__(losses, masks):
    return (sum(_sums(losses, masks)) / _tokens(masks)).round(decimals=4)


battery.wrong("accumulated_mean", says="calls course_lib's own")(
    start_here._select_and_average
)


@battery.wrong("accumulated_mean", says="calls course_lib's own")
def a_right_version_of_the_check(losses, masks):
    return start_here._one_by_one(losses, masks)


@battery.wrong("masked_mean", says="calls course_lib's own")
def by_a_right_version_of_the_check(values, mask, dim=None):
    if dim is None:
        return start_here._select_and_average([values], [mask])
    return _kept_mean(values, mask, dim)


@battery.wrong("softmax", says="number of scores limited")
def the_eight_largest_only(scores):
    best, places = scores.topk(min(scores.shape[-1], 8), -1)
    return torch.zeros_like(scores).scatter(-1, places, best.softmax(-1))


@battery.wrong("token_logprobs", says="limited somewhere")
def ids_clamped_to_a_small_vocabulary(logits, ids):
    small = ids.clamp(max=4).unsqueeze(-1)
    return logits.log_softmax(-1).gather(-1, small).squeeze(-1)


@battery.wrong("token_logprobs", says="limited somewhere")
def sixteen_positions_at_most(logits, ids):
    result = torch.zeros(ids.shape).to(logits)
    said = logits[:, :16].gather(-1, ids[:, :16].unsqueeze(-1)).squeeze(-1)
    result[:, :16] = said - logits[:, :16].logsumexp(-1)
    return result


@battery.right("masked_mean")
def count_raised_only_where_it_is_zero(values, mask, dim=None):
    kept = values.masked_fill(~mask, 0.0)
    total = kept.sum() if dim is None else kept.sum(dim)
    count = mask.sum() if dim is None else mask.sum(dim)
    return total / (count + (count == 0))
