"""Answers to lesson 09: how likely a whole answer is; right ones of different shapes, and people's mistakes."""

import math

import torch
from torch.nn import functional

from course_lib.logprobs import token_logprobs
from course_lib.masks import masked_mean, masked_sum
from tools.graders import Battery

battery = Battery()


def _right(answer):
    return battery.right("sequence_logprobs")(answer)


def _wrong(says):
    return battery.wrong("sequence_logprobs", says=says)


# --- right --------------------------------------------------------------------------------------


@_right
def cut_and_reduced(logits, ids, response_mask, average=False):
    reduce = masked_mean if average else masked_sum
    return reduce(token_logprobs(logits[:, :-1], ids[:, 1:]), response_mask[:, 1:], 1)


@_right
def token_by_token(logits, ids, response_mask, average=False):
    found = []
    for b in range(len(ids)):
        total, n = logits.new_zeros(()), 0
        for t in range(1, ids.shape[1]):
            if response_mask[b, t]:
                total = total + logits[b, t - 1].log_softmax(0)[ids[b, t]]
                n += 1
        found.append(total / n if average else total)
    return torch.stack(found)


@_right
def as_a_cost(logits, ids, response_mask, average=False):
    targets = ids[:, 1:].masked_fill(~response_mask[:, 1:], -100)
    costs = functional.cross_entropy(logits[:, :-1].mT, targets, reduction="none")
    sums = -costs.sum(1)
    return sums / (targets != -100).sum(1) if average else sums


@_right
def row_by_row(logits, ids, response_mask, average=False):
    found = []
    for scores, said, kept in zip(logits, ids, response_mask, strict=True):
        places = kept[1:].nonzero().squeeze(1)
        logs = scores[places].log_softmax(-1)[range(len(places)), said[places + 1]]
        found.append(logs.mean() if average else logs.sum())
    return torch.stack(found)


@_right
def scattered(logits, ids, response_mask, average=False):
    kept = response_mask[:, 1:]
    rows = torch.arange(len(ids)).unsqueeze(1).expand_as(kept)[kept]
    logs = token_logprobs(logits[:, :-1][kept][None], ids[:, 1:][kept][None])[0]
    sums = logits.new_zeros(len(ids)).scatter_add(0, rows, logs)
    return sums / torch.bincount(rows, minlength=len(ids)) if average else sums


@_right
def with_where(logits, ids, response_mask, average=False):
    before, after, counts = logits[:, :-1, :], ids[:, 1:], response_mask[:, 1:]
    norms = torch.logsumexp(before, 2)
    said = torch.take_along_dim(before, after[..., None], 2)[..., 0]
    total = torch.where(counts, said - norms, 0.0).sum(1)
    return total / counts.sum(1) if average else total


@_right
def all_scored_first(logits, ids, response_mask, average=False):
    """A row of nothing in front takes the place of the shift."""
    logs = logits.log_softmax(-1)
    logs = torch.cat([torch.zeros_like(logs[:, :1]), logs[:, :-1]], dim=1)
    picked = logs.gather(2, ids[:, :, None])[:, :, 0]
    mask = response_mask.clone()
    mask[:, 0] = False
    picked = picked.masked_fill(~mask, 0)
    return picked.sum(-1) / (mask.sum(-1) if average else 1)


@_right
def with_nansum(logits, ids, response_mask, average=False):
    logs = token_logprobs(logits[:, :-1], ids[:, 1:])
    logs = logs.masked_fill(~response_mask[:, 1:], math.nan)
    return logs.nanmean(1) if average else logs.nansum(1)


# --- wrong: how tokens are scored ---------------------------------------------------------------


def _cuts(name, says, scores, said, kept, over="mask"):
    """scores, said, kept: which places of logits, ids and mask meet."""

    def answer(logits, ids, response_mask, average=False):
        logs = token_logprobs(logits[:, scores], ids[:, said])
        mask = response_mask[:, kept]
        n = response_mask.sum(1) if over == "whole" else mask.sum(1)
        sums = masked_sum(logs, mask, 1)
        return sums / n.clamp(min=1) if average else sums

    answer.__name__ = name
    _wrong(says)(answer)


_cuts("not_shifted", "no shift", slice(None), slice(None), slice(None))
_cuts("cut_in_front_together", "no shift", slice(1, None), slice(1, None), slice(1, None))  # fmt: skip
_cuts("cut_behind_together", "no shift", slice(-1), slice(-1), slice(-1))
_cuts("ids_not_shifted", "no shift", slice(-1), slice(-1), slice(1, None))
_cuts("shifted_the_wrong_way", "wrong way", slice(1, None), slice(-1), slice(-1))
_cuts("wrong_way_later_mask", "wrong way", slice(1, None), slice(-1), slice(1, None))
_cuts("mask_not_shifted", "mask was not cut as", slice(-1), slice(1, None), slice(-1))
_cuts("mask_not_shifted_whole", "mask was not cut as", slice(-1), slice(1, None), slice(-1), "whole")  # fmt: skip
_cuts("mask_not_cut", "places meet", slice(-1), slice(1, None), slice(None))
_cuts("ids_not_cut", "places meet", slice(-1), slice(None), slice(1, None))
_cuts("logits_not_cut", "places meet", slice(None), slice(1, None), slice(1, None))
_cuts("cut_twice", "end|last token|should be", slice(-2), slice(1, -1), slice(1, -1))
_cuts("counted_before_the_cut", "one token too many", slice(-1), slice(1, None), slice(1, None), "whole")  # fmt: skip


def _rolled(name, says, by, mask_by):
    def answer(logits, ids, response_mask, average=False):
        logs = token_logprobs(logits, ids.roll(by, 1))
        mask = response_mask.roll(mask_by, 1)
        return (masked_mean if average else masked_sum)(logs, mask, 1)

    answer.__name__ = name
    _wrong(says)(answer)


_rolled("rolled_round_the_end", "rolled round the end|one token too many", -1, -1)
_rolled("ids_alone_rolled", "mask was not cut as", -1, 0)
_rolled("rolled_the_wrong_way", "wrong way", 1, 1)


def _words(name, says, values):
    """values(logits): what stands for each word, (B, T, V)."""

    def answer(logits, ids, response_mask, average=False):
        logs = values(logits)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
        reduce = masked_mean if average else masked_sum
        return reduce(logs, response_mask[:, 1:], 1)

    answer.__name__ = name
    _wrong(says)(answer)


_words("probabilities", "Probabilities are added up", lambda x: x.softmax(-1))
_words("the_scores", "scores themselves", lambda x: x)
_words("below_the_best", "scores themselves", lambda x: x - x.amax(-1, keepdim=True))
_words("over_places", "softmax runs along", lambda x: x.log_softmax(1))
_words("over_the_batch", "softmax runs along", lambda x: x.log_softmax(0))
_words("bits", "another base", lambda x: x.log_softmax(-1) / math.log(2))
_words("log10", "another base", lambda x: x.softmax(-1).log10())
_words("sigmoids", "sigmoid by itself", functional.logsigmoid)
_words("two_softmaxes", "two softmaxes", lambda x: x.softmax(-1).log_softmax(-1))
_words("log_of_a_softmax", "probability is 0", lambda x: x.softmax(-1).log())
_words("held_up", "small constant|held up", lambda x: (x.softmax(-1) + 1e-10).log())
_words("clamped", "small constant|held up", lambda x: x.softmax(-1).clamp(min=1e-12).log())  # fmt: skip
_words("exp_by_hand", "exponential has overflowed|probability is 0", lambda x: (x.exp() / x.exp().sum(-1, keepdim=True)).log())  # fmt: skip
_words("norm_by_hand", "exponential has overflowed", lambda x: x - x.exp().sum(-1, keepdim=True).log())  # fmt: skip
_words("shifted_by_one_top", "scores around|probability is 0|should be", lambda x: x - x.nan_to_num().max() - (x - x.nan_to_num().max()).exp().sum(-1, keepdim=True).log())  # fmt: skip
_words("half_precision", "first digits|should be", lambda x: x.bfloat16().log_softmax(-1).to(x.dtype))  # fmt: skip
_words("always_float32", "type torch.float32|digits are lost", lambda x: x.float().log_softmax(-1))  # fmt: skip
_words("back_to_float64", "digits are lost", lambda x: x.float().log_softmax(-1).to(x.dtype))  # fmt: skip
_words("cut_off", "No gradient", lambda x: x.detach().log_softmax(-1))
_words("half_cut_off", "gradient is not", lambda x: x - x.detach().logsumexp(-1, keepdim=True))  # fmt: skip


# --- wrong: what counts, and how it is put together -----------------------------------------------


def _counts(name, says, find):
    """find(mask, n): which of the shifted tokens count; n counts from 1 along the row."""

    def answer(logits, ids, response_mask, average=False):
        mask = response_mask[:, 1:]
        kept = find(mask, torch.arange(mask.shape[1]).expand_as(mask))
        logs = token_logprobs(logits[:, :-1], ids[:, 1:])
        return (masked_mean if average else masked_sum)(logs, kept, 1)

    answer.__name__ = name
    _wrong(says)(answer)


def _first(mask):
    return mask.long().argmax(1, keepdim=True)


def _last(mask):
    return mask.shape[1] - 1 - mask.flip(1).long().argmax(1, keepdim=True)


_counts("all_tokens", "Every token counts", lambda m, n: torch.ones_like(m))
_counts("prompt_too", "prompt counts as well", lambda m, n: n <= _last(m))
_counts("padding_too", "padding behind", lambda m, n: n >= _first(m))
_counts("end_dropped", "last token of the answer is lost", lambda m, n: m & (n < _last(m)))  # fmt: skip
_counts("last_column_dropped", "last token of the answer is lost|should be", lambda m, n: m & (n < m.shape[1] - 1))  # fmt: skip
_counts("first_dropped", "first token of the answer", lambda m, n: m & (n > _first(m)))
_counts("last_token_alone", "Only one token", lambda m, n: n == _last(m))
_counts("upside_down", "upside down", lambda m, n: ~m)
_counts("first_rows_mask", "mask of the first", lambda m, n: m[:1].expand_as(m))
_counts(
    "holes_filled", "hole in the mask", lambda m, n: (n >= _first(m)) & (n <= _last(m))
)
_counts("up_to_the_first_hole", "hole in the mask", lambda m, n: m & ((n < _first(m)) | m).long().cummin(1).values.bool())  # fmt: skip


def _ends(name, says, find):
    """find(logs, mask, average): logs and mask (B, T - 1)."""

    def answer(logits, ids, response_mask, average=False):
        logs = token_logprobs(logits[:, :-1], ids[:, 1:])
        return find(logs, response_mask[:, 1:], average)

    answer.__name__ = name
    _wrong(says)(answer)


_ends("always_a_sum", "`average`", lambda x, m, a: masked_sum(x, m, 1))
_ends("always_a_mean", "`average`", lambda x, m, a: masked_mean(x, m, 1))
_ends("turned_round", "`average`", lambda x, m, a: (masked_sum if a else masked_mean)(x, m, 1))  # fmt: skip
_ends("mean_over_the_width", "width of the batch", lambda x, m, a: masked_sum(x, m, 1) / (x.shape[1] if a else 1))  # fmt: skip
_ends("plain_mean", "width of the batch", lambda x, m, a: x.masked_fill(~m, 0).mean(1) if a else masked_sum(x, m, 1))  # fmt: skip
_ends("over_the_whole_width", "width of the batch", lambda x, m, a: masked_sum(x, m, 1) / (x.shape[1] + 1 if a else 1))  # fmt: skip
_ends("over_the_batch_size", "number of answers", lambda x, m, a: masked_sum(x, m, 1) / (len(x) if a else 1))  # fmt: skip
_ends("over_the_longest", "one length", lambda x, m, a: masked_sum(x, m, 1) / (m.sum(1).max() if a else 1))  # fmt: skip
_ends("over_all_tokens", "one length", lambda x, m, a: masked_sum(x, m, 1) / (m.sum() if a else 1))  # fmt: skip
_ends("the_batch_as_one", "one number for the whole batch", lambda x, m, a: (masked_mean if a else masked_sum)(x, m))  # fmt: skip
_ends("columns", "each column|shape", lambda x, m, a: (masked_mean if a else masked_sum)(x, m, 0))  # fmt: skip
_ends("tokens", "each token", lambda x, m, a: x.masked_fill(~m, 0))
_ends("kept_tokens_alone", "returned shape", lambda x, m, a: x[m])
_ends("a_dimension_too_many", "dimension was kept", lambda x, m, a: (masked_mean if a else masked_sum)(x, m, 1).unsqueeze(1))  # fmt: skip
_ends("a_cost", "sign is turned", lambda x, m, a: -(masked_mean if a else masked_sum)(x, m, 1))  # fmt: skip
_ends("the_probability", "probability of the answer", lambda x, m, a: (masked_mean if a else masked_sum)(x, m, 1).exp())  # fmt: skip
_ends("perplexity", "perplexity|`average`", lambda x, m, a: (-masked_mean(x, m, 1)).exp())  # fmt: skip
_ends("a_product_first", "product of so many|probability is 0", lambda x, m, a: x.exp().masked_fill(~m, 1).prod(1).log() / (m.sum(1) if a else 1))  # fmt: skip
_ends("log_of_the_mean", "logarithm of a sum", lambda x, m, a: masked_mean(x.exp(), m, 1).log())  # fmt: skip
_ends("times_the_mask", "nan among the logits", lambda x, m, a: (x * m).sum(1) / (m.sum(1) if a else 1))  # fmt: skip
_ends("a_list", "returned a list", lambda x, m, a: (masked_mean if a else masked_sum)(x, m, 1).tolist())  # fmt: skip
_ends("by_number", "No gradient", lambda x, m, a: torch.tensor((masked_mean if a else masked_sum)(x, m, 1).tolist(), dtype=x.dtype))  # fmt: skip
_ends("in_numpy", "No gradient|stopped with", lambda x, m, a: torch.from_numpy((masked_mean if a else masked_sum)(x, m, 1).numpy()))  # fmt: skip
_ends("batch_of_two", "should be|stopped|shape", lambda x, m, a: torch.stack([(masked_mean if a else masked_sum)(x[b], m[b]) for b in (0, 1)]))  # fmt: skip
_ends("rounded", "first digits|gradient", lambda x, m, a: (masked_mean if a else masked_sum)(x, m, 1).mul(100).round() / 100)  # fmt: skip


@_wrong("stopped with|should be")
def the_worked_value(logits, ids, response_mask, average=False):
    n = response_mask[:, 1:].sum(1)
    return -math.log(logits.shape[-1]) * (torch.ones(len(ids)) if average else n)


@_wrong("should be")
def cuts_where_padding_begins(logits, ids, response_mask, average=False):
    """Word 0 is taken for padding."""
    mask = response_mask & (ids != 0)
    logs = token_logprobs(logits[:, :-1], ids[:, 1:])
    return (masked_mean if average else masked_sum)(logs, mask[:, 1:], 1)


@_wrong("changed its own input")
def ids_in_place(logits, ids, response_mask, average=False):
    ids[~response_mask] = 0
    logs = token_logprobs(logits[:, :-1], ids[:, 1:])
    return (masked_mean if average else masked_sum)(logs, response_mask[:, 1:], 1)


@_wrong("stopped with RuntimeError")
def gathered_without_a_dimension(logits, ids, response_mask, average=False):
    logs = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:])
    return masked_sum(logs, response_mask[:, 1:], 1)


@_wrong("along the places")
def gathered_along_the_places(logits, ids, response_mask, average=False):
    logs = logits[:, :-1].log_softmax(-1).gather(1, ids[:, 1:, None])[..., 0]
    return (masked_mean if average else masked_sum)(logs, response_mask[:, 1:], 1)


@_wrong("each word|shape")
def whole_rows(logits, ids, response_mask, average=False):
    logs = logits[:, :-1].log_softmax(-1)[response_mask[:, 1:]]
    return logs.sum(0)


@_wrong("All answers begin for you")
def the_first_answers_start(logits, ids, response_mask, average=False):
    """One prompt length for all rows."""
    start = int(response_mask[0].long().argmax())
    logs = token_logprobs(logits[:, start - 1 : -1], ids[:, start:])
    return (masked_mean if average else masked_sum)(logs, response_mask[:, start:], 1)


# --- found by attacking the check -------------------------------------------------------------

_words("softmax_over_the_places_that_score", "along the places", lambda x: torch.cat([x[:, :-1].log_softmax(1), x[:, -1:]], 1))  # fmt: skip
