"""Answers to lesson 02: temperature, the nucleus, and tests of a nucleus filter."""

import math
import unittest

import numpy as np
import torch
from torch.nn import functional
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from tools.graders import Battery

battery = Battery()
NO = -math.inf


# --- temperature: right -----------------------------------------------------------------------


@battery.right("temperature")
def by_division(logits, value):
    return logits / value


@battery.right("temperature")
def by_the_coldness(logits, value):
    beta = 1.0 / value
    return torch.mul(logits, beta)


@battery.right("temperature")
def number_by_number(logits, value):
    numbers = [number.item() / value for number in logits.flatten()]
    return torch.tensor(numbers, dtype=logits.dtype).view(logits.shape)


@battery.right("temperature")
def in_numpy(logits, value):
    return torch.from_numpy(logits.numpy() / np.asarray(value, logits.numpy().dtype))


@battery.right("temperature")
def in_place_on_a_copy(logits, value):
    scores = logits.clone()
    scores /= value
    return scores


@battery.right("temperature")
def row_by_row(logits, value):
    rows = logits.reshape(-1, logits.shape[-1])
    return torch.stack([row / value for row in rows]).reshape(logits.shape)


@battery.right("temperature")
def by_transformers(logits, value):
    return TemperatureLogitsWarper(float(value))(None, logits)


@battery.right("temperature")
def into_an_empty_one(logits, value):
    scores = torch.empty_like(logits)
    torch.div(logits, value, out=scores)
    return scores


# --- temperature: wrong -----------------------------------------------------------------------


@battery.wrong("temperature", says="wrong way round")
def multiplied(logits, value):
    return logits * value


@battery.wrong("temperature", says="softmax was taken first")
def probabilities_divided(logits, value):
    return logits.softmax(-1) / value


@battery.wrong("temperature", says="softmax was taken first")
def softmax_of_divided_probabilities(logits, value):
    return (logits.softmax(-1) / value).softmax(-1)


@battery.wrong("temperature", says="softmax was taken first")
def probabilities_to_a_power(logits, value):
    return logits.softmax(-1) ** (1 / value)


@battery.wrong("temperature", says="softmax was taken first")
def logarithms_of_divided_probabilities(logits, value):
    return (logits.softmax(-1) / value).log()


@battery.wrong("temperature", says="consists of probabilities")
def softmax_after(logits, value):
    return (logits / value).softmax(dim=-1)


@battery.wrong("temperature", says="consists of probabilities")
def powers_normalised(logits, value):
    powers = logits.softmax(-1) ** (1 / value)
    return powers / powers.sum(-1, keepdim=True)


@battery.wrong("temperature", says="number added to it")
def log_softmax_after(logits, value):
    return functional.log_softmax(logits / value, dim=-1)


@battery.wrong("temperature", says="number added to it")
def log_softmax_before(logits, value):
    return logits.log_softmax(-1) / value


@battery.wrong("temperature", says="number added to it")
def largest_taken_off(logits, value):
    return (logits - logits.amax(-1, keepdim=True)) / value


@battery.wrong("temperature", says="number added to it")
def centred(logits, value):
    mean = logits.mean(-1, keepdim=True)
    return (logits - mean) / value


@battery.wrong("temperature", says="changed its own input")
def in_place(logits, value):
    logits /= value
    return logits


@battery.wrong("temperature", says="changed its own input")
def in_place_by_a_method(logits, value):
    return logits.div_(value)


@battery.wrong("temperature", says="raised to a power")
def scores_to_a_power(logits, value):
    return logits ** (1 / value)


@battery.wrong("temperature", says="logarithm or an exponential of the value")
def by_the_logarithm(logits, value):
    return logits / math.log(value)


@battery.wrong("temperature", says="logarithm or an exponential of the value")
def by_the_exponential(logits, value):
    return logits / math.exp(value)


@battery.wrong("temperature", says="added or taken away")
def value_taken_away(logits, value):
    return logits - value


@battery.wrong("temperature", says="value counts twice")
def divided_twice(logits, value):
    return logits / value**2


@battery.wrong("temperature", says="value counts twice")
def by_the_root(logits, value):
    return logits / value**0.5


@battery.wrong("temperature", says="Positive scores and negative ones")
def positive_ones_divided(logits, value):
    return torch.where(logits > 0, logits / value, logits)


@battery.wrong("temperature", says="Positive scores and negative ones")
def negative_ones_multiplied(logits, value):
    return torch.where(logits > 0, logits / value, logits * value)


@battery.wrong("temperature", says="Positive scores and negative ones")
def of_sizes(logits, value):
    return logits.abs() / value


@battery.wrong("temperature", says="sign was turned")
def turned_round(logits, value):
    return -logits / value


@battery.wrong("temperature", says="heat reached one row only")
def last_row_only(logits, value):
    rows = logits.reshape(-1, logits.shape[-1]).clone()
    rows[-1] = rows[-1] / value
    return rows.view(logits.shape)


@battery.wrong("temperature", says="heat reached one row only")
def first_row_only(logits, value):
    if logits.dim() < 2 or len(logits) == 1:
        return logits / value
    rows = [*logits.reshape(-1, logits.shape[-1])]
    rows[0] = rows[0] / value
    return torch.stack(rows).view(logits.shape)


@battery.wrong("temperature", says="shape")
def one_row_comes_back(logits, value):
    return (logits / value)[-1]


@battery.wrong("temperature", says="shape")
def squeezed(logits, value):
    return (logits / value).squeeze()


@battery.wrong("temperature", says="shape")
def flattened(logits, value):
    return logits.flatten() / value


@battery.wrong("temperature", says="dimension of size 1 got lost")
def the_last_row_of_a_batch_of_one(logits, value):
    return (logits / value)[-1] if len(logits) == 1 else logits / value


@battery.wrong("temperature", says="dimensions before the last one became one")
def as_a_batch_of_rows(logits, value):
    return (logits / value).reshape(-1, logits.shape[-1])


@battery.wrong("temperature", says="worked example")
def the_worked_scores(logits, value):
    return torch.tensor([[4.0, -2.0]])


@battery.wrong("temperature", says="whole numbers")
def floor_division(logits, value):
    return logits // value


@battery.wrong("temperature", says="whole numbers|come back|came back")
def as_integers(logits, value):
    return (logits / value).round()


@battery.wrong("temperature", says="come back|came back as torch.int64")
def as_int64(logits, value):
    return (logits / value).long()


@battery.wrong("temperature", says="forbidden.*stays at minus infinity")
def nan_to_num(logits, value):
    return torch.nan_to_num(logits / value)


@battery.wrong("temperature", says="forbidden.*stays at minus infinity")
def finite_ones_only(logits, value):
    return torch.where(logits.isfinite(), logits / value, 0.0)


@battery.wrong("temperature", says="forbidden.*stays at minus infinity")
def clamped_to_a_million(logits, value):
    return (logits / value).clamp(-1e6, 1e6)


@battery.wrong("temperature", says="far from 0")
def through_exponentials(logits, value):
    return (logits.exp() ** (1 / value)).log()


@battery.wrong("temperature", says="far from 0")
def with_a_least_value(logits, value):
    return logits / max(value, 0.1)


@battery.wrong("temperature", says="came back as torch.float32")
def always_float32(logits, value):
    return logits.float() / value


@battery.wrong("temperature", says="came back as torch.float64")
def always_double(logits, value):
    return logits.double() / value


@battery.wrong("temperature", says="double precision")
def rounded_to_float32(logits, value):
    return (logits.float() / value).to(logits.dtype)


@battery.wrong("temperature", says="first digits|double precision")
def with_a_small_constant(logits, value):
    return logits / (value + 1e-8)


@battery.wrong("temperature", says="first digits|odds")
def with_a_larger_constant(logits, value):
    return logits / (value + 1e-3)


@battery.wrong("temperature", says="odds of tokens")
def by_heart(logits, value):
    return logits * 2


@battery.wrong("temperature", says="odds of tokens|Nothing changed")
def only_below_one(logits, value):
    return logits / value if value < 1 else logits


@battery.wrong("temperature", says="odds of tokens")
def value_cut_to_an_integer(logits, value):
    return logits / value if value < 1 else logits / int(value)


@battery.wrong("temperature", says="Nothing changed")
def nothing_changed(logits, value):
    return logits.clone()


@battery.wrong("temperature", says="common size|odds")
def standardised(logits, value):
    return (logits - logits.mean(-1, keepdim=True)) / logits.std(-1, keepdim=True)


@battery.wrong("temperature", says="returned a list")
def as_a_list(logits, value):
    return [score / value for score in logits]


@battery.wrong("temperature", says="shape|too many values|ValueError")
def two_dimensions_only(logits, value):
    B, _V = logits.shape
    return torch.stack([logits[b] / value for b in range(B)])


@battery.wrong("temperature", says="round|first digits")
def rounded(logits, value):
    return (logits / value).round(decimals=3)


@battery.wrong("temperature", says="double precision|first digits")
def in_half_precision(logits, value):
    return (logits.half() / value).to(logits.dtype)


# --- top_p: right -----------------------------------------------------------------------------


@battery.right("top_p")
def from_the_least_likely_up(logits, p):
    chances, order = logits.softmax(-1).sort(-1)
    goes = chances.cumsum(-1) <= 1 - p
    goes[..., -1] = False
    return logits.masked_fill(torch.zeros_like(goes).scatter(-1, order, goes), NO)


@battery.right("top_p")
def from_the_likeliest_down_unless_all_stay(logits, p):
    if p == 1:
        return logits.clone()
    falling, order = torch.sort(logits, descending=True, dim=-1)
    sums = torch.cumsum(torch.softmax(falling, dim=-1), dim=-1)
    remove = sums >= p
    remove[..., 1:] = remove[..., :-1].clone()
    remove[..., 0] = False
    return logits.masked_fill(remove.scatter(-1, order, remove), float("-inf"))


@battery.right("top_p")
def in_doubles_from_the_likeliest_down(logits, p):
    falling, order = logits.double().sort(dim=-1, descending=True)
    chances = falling.softmax(-1)
    stays = chances.cumsum(-1) - chances < p
    stays[..., 0] = True
    stays |= p == 1
    scores = torch.full_like(logits, NO)
    kept = falling.to(logits.dtype).masked_fill(~stays, NO)
    return scores.scatter(-1, order, kept)


@battery.right("top_p")
def token_by_token(logits, p):
    rows = []
    for row in logits.reshape(-1, logits.shape[-1]):
        chances = row.double().softmax(0).tolist()
        left = sorted(range(len(chances)), key=lambda i: chances[i])
        gone, lost = set(), 0.0
        for i in left[:-1]:
            lost += chances[i]
            if lost > 1 - p:
                break
            gone.add(i)
        numbers = [NO if i in gone else z for i, z in enumerate(row.tolist())]
        rows.append(torch.tensor(numbers, dtype=logits.dtype))
    return torch.stack(rows).view(logits.shape)


@battery.right("top_p")
def in_numpy_with_places(logits, p):
    z = logits.numpy().astype(np.float64)
    powers = np.exp(z - z.max(-1, keepdims=True))
    chances = powers / powers.sum(-1, keepdims=True)
    order = np.argsort(-chances, axis=-1)
    sums = np.take_along_axis(chances, order, -1).cumsum(-1)
    stays = np.concatenate(
        [np.ones_like(sums[..., :1], bool), sums[..., :-1] < p], axis=-1
    )
    kept = np.empty_like(stays)
    np.put_along_axis(kept, order, stays, -1)
    return torch.where(torch.from_numpy(kept | (p >= 1)), logits, NO)


@battery.right("top_p")
def by_ranks_and_sizes(logits, p):
    order = logits.argsort(-1, descending=True)
    rank = order.argsort(-1)
    sums = logits.double().softmax(-1).gather(-1, order).cumsum(-1)
    size = (sums < p).sum(-1, keepdim=True) + 1
    return torch.where((rank < size) | torch.tensor(p == 1), logits, NO)


@battery.right("top_p")
def by_what_is_likelier(logits, p):
    """Each token asks how much those before it hold. No sort at all."""
    if p == 1:
        return logits.clone()
    c = logits.double().softmax(-1)
    V = c.shape[-1]
    low = torch.ones(V, V, dtype=torch.bool).tril(-1)  # of equals the first
    mine, other = c[..., :, None], c[..., None, :]
    before = (other > mine) | ((other == mine) & low)
    held = (other * before).sum(-1)
    return logits.masked_fill((held >= p) & before.any(-1), NO)


@battery.right("top_p")
def by_transformers_own_filter(logits, p):
    rows = logits.reshape(-1, logits.shape[-1])
    return TopPLogitsWarper(p)(None, rows).view(logits.shape)


@battery.right("top_p")
def one_score_after_another_taken(logits, p):
    result = torch.full_like(logits, NO).reshape(-1, logits.shape[-1])
    for scores, row in zip(result, logits.reshape(result.shape), strict=True):
        chances, mass = row.double().softmax(0), 0.0
        for _ in range(len(row)):
            best = int(chances.argmax())
            scores[best] = row[best]
            mass += float(chances[best])
            chances[best] = -1.0
            if mass >= p and p < 1:
                break
    return result.view(logits.shape)


@battery.right("top_p")
def by_the_tail_of_each_token_in_doubles(logits, p):
    falling, order = logits.double().sort(descending=True)
    tail = falling.softmax(-1).flip(-1).cumsum(-1).flip(-1)
    out = tail <= 1 - p
    out[..., 0] = False
    return logits.masked_fill(out.scatter(-1, order, out), NO)


@battery.right("top_p")
def by_sums_of_logarithms(logits, p):
    rising, order = logits.double().log_softmax(-1).sort(-1)
    out = rising.logcumsumexp(-1).exp() <= 1 - p
    out[..., -1] = False
    return logits.masked_fill(out.scatter(-1, order, out), NO)


@battery.right("top_p")
def by_a_search_in_the_sums(logits, p):
    if p == 1:
        return logits.clone()
    falling, order = logits.double().sort(descending=True)
    sums = falling.softmax(-1).cumsum(-1).contiguous()
    size = torch.searchsorted(sums, torch.full_like(sums[..., :1], p)) + 1
    out = torch.arange(logits.shape[-1]).expand_as(logits) >= size
    return logits.masked_fill(out.clone().scatter(-1, order, out), NO)


# --- top_p: wrong -----------------------------------------------------------------------------


def _sums(logits, descending=True):
    falling, order = logits.sort(dim=-1, descending=descending)
    chances = falling.softmax(-1)
    return falling, order, chances, chances.cumsum(-1)


def _cut_from(logits, order, stays, filler=NO):
    return logits.masked_fill(~stays.scatter(-1, order, stays), filler)


def _nucleus(logits, p):
    """A right one, for mistakes that come after it."""
    return from_the_least_likely_up(logits, p) > NO


@battery.wrong("top_p", says="token that crosses p went")
def off_by_one(logits, p):
    _, order, _, sums = _sums(logits)
    stays = sums <= p
    stays[..., 0] = True
    return _cut_from(logits, order, stays)


@battery.wrong("top_p", says="token that crosses p went, even where nothing else")
def summing_to_at_most_p(logits, p):
    _, order, _, sums = _sums(logits)
    return _cut_from(logits, order, sums <= p)


@battery.wrong("top_p", says="Nothing is left at all.*At least one")
def empty_if_the_first_is_above_p(logits, p):
    _, order, chances, sums = _sums(logits)
    stays = sums - chances < p
    stays &= (sums[..., :1] <= p) | (sums > 2)
    return _cut_from(logits, order, stays)


@battery.wrong("top_p", says="no token stays|Nothing is left")
def empty_at_p_0(logits, p):
    _, order, chances, sums = _sums(logits)
    return _cut_from(logits, order, (sums - chances < p) | torch.tensor(p == 1))


@battery.wrong("top_p", says="One token more than needed")
def one_too_many(logits, p):
    _, order, _, sums = _sums(logits)
    remove = sums > p
    remove[..., 2:] = remove[..., :-2].clone()
    remove[..., :2] = False
    return _cut_from(logits, order, ~remove)


@battery.wrong("top_p", says="order of the sort")
def left_in_sorted_order(logits, p):
    falling, _, chances, sums = _sums(logits)
    return falling.masked_fill(sums - chances >= p, NO)


@battery.wrong("top_p", says="places of the sort")
def mask_not_put_back(logits, p):
    _, _, chances, sums = _sums(logits)
    return logits.masked_fill(sums - chances >= p, NO)


@battery.wrong("top_p", says="places of the sort")
def gathered_instead_of_scattered(logits, p):
    _, order, chances, sums = _sums(logits)
    return logits.masked_fill((sums - chances >= p).gather(-1, order), NO)


@battery.wrong("top_p", says="places of the sort|order of the sort")
def first_places_kept(logits, p):
    _, _, chances, sums = _sums(logits)
    count = (sums - chances < p).sum(-1, keepdim=True)
    return logits.masked_fill(torch.arange(logits.shape[-1]) >= count, NO)


@battery.wrong("top_p", says="least likely tokens stayed")
def ascending_by_mistake(logits, p):
    _, order, chances, sums = _sums(logits, descending=False)
    return _cut_from(logits, order, sums - chances < p)


@battery.wrong("top_p", says="least likely tokens stayed")
def upside_down(logits, p):
    return logits.masked_fill(_nucleus(logits, p), NO)


@battery.wrong("top_p", says="share that goes")
def p_instead_of_the_rest_from_below(logits, p):
    _, order, _, sums = _sums(logits, descending=False)
    goes = sums <= p
    goes[..., -1] = False
    return _cut_from(logits, order, ~goes)


@battery.wrong("top_p", says="share that goes")
def the_other_share(logits, p):
    return logits.masked_fill(~_nucleus(logits, 1 - p), NO)


@battery.wrong("top_p", says="order of the vocabulary")
def without_a_sort(logits, p):
    chances = logits.softmax(-1)
    return logits.masked_fill(chances.cumsum(-1) - chances >= p, NO)


@battery.wrong("top_p", says="Scores were added up")
def sums_of_scores(logits, p):
    falling, order = logits.sort(dim=-1, descending=True)
    stays = falling.cumsum(-1) <= p
    stays[..., 0] = True
    return _cut_from(logits, order, stays)


@battery.wrong("top_p", says="another dimension")
def softmax_over_the_first_dimension(logits, p):
    chances, order = logits.softmax(0).sort(-1, descending=True)
    stays = chances.cumsum(-1) - chances < p
    stays[..., 0] = True
    return _cut_from(logits, order, stays)


@battery.wrong("top_p", says="another dimension")
def all_over_the_first_dimension(logits, p):
    return _turned(logits, p, 0)


@battery.wrong("top_p", says="another dimension|dimension")
def all_over_dimension_1(logits, p):
    return _turned(logits, p, 1)


def _turned(logits, p, dim):
    turned = logits.transpose(dim, -1)
    return from_the_least_likely_up(turned, p).transpose(dim, -1)


@battery.wrong("top_p", says="rows were put together")
def one_nucleus_for_the_batch(logits, p):
    return from_the_least_likely_up(logits.flatten(), p).view(logits.shape)


@battery.wrong("top_p", says="rows were put together")
def one_nucleus_for_the_batch_of_chances(logits, p):
    chances, order = logits.softmax(-1).flatten().sort(descending=True)
    stays = (chances.cumsum(0) - chances) / chances.sum() < p
    flags = torch.empty_like(stays).scatter(0, order, stays)
    return logits.masked_fill(~flags.view(logits.shape), NO)


@battery.wrong("top_p", says="cut of one row")
def size_of_the_first_row(logits, p):
    kept = _nucleus(logits, p).reshape(-1, logits.shape[-1])
    rank = logits.argsort(-1, descending=True).argsort(-1)
    return logits.masked_fill(rank >= kept[0].sum(), NO)


@battery.wrong("top_p", says="cut of one row")
def largest_size_for_all(logits, p):
    size = _nucleus(logits, p).sum(-1).max()
    rank = logits.argsort(-1, descending=True).argsort(-1)
    return logits.masked_fill(rank >= size, NO)


@battery.wrong("top_p", says="cut of one row")
def limit_of_the_first_row(logits, p):
    kept = from_the_least_likely_up(logits, p).reshape(-1, logits.shape[-1])[0]
    return logits.masked_fill(logits < kept[kept > NO].min(), NO)


@battery.wrong("top_p", says="cut of one row")
def mask_of_the_first_row(logits, p):
    kept = _nucleus(logits, p).reshape(-1, logits.shape[-1])[0]
    return logits.masked_fill(~kept, NO)


@battery.wrong("top_p", says="Probabilities came back")
def probabilities(logits, p):
    return logits.softmax(-1) * _nucleus(logits, p)


@battery.wrong("top_p", says="Probabilities came back")
def probabilities_renormalised(logits, p):
    return logits.masked_fill(~_nucleus(logits, p), NO).softmax(-1)


@battery.wrong("top_p", says="logarithms of probabilities")
def logarithms(logits, p):
    return logits.log_softmax(-1).masked_fill(~_nucleus(logits, p), NO)


@battery.wrong("top_p", says="logarithms of probabilities")
def logarithms_renormalised(logits, p):
    return logits.masked_fill(~_nucleus(logits, p), NO).log_softmax(-1)


@battery.wrong("top_p", says="score of 0.*minus infinity")
def zeros(logits, p):
    return logits.masked_fill(~_nucleus(logits, p), 0.0)


@battery.wrong("top_p", says="score of 0.*minus infinity")
def times_the_mask(logits, p):
    return logits * _nucleus(logits, p)


@battery.wrong("top_p", says="low score, but not minus infinity")
def a_billion_below(logits, p):
    return logits.masked_fill(~_nucleus(logits, p), -1e9)


@battery.wrong("top_p", says="low score, but not minus infinity")
def the_least_float(logits, p):
    return logits.masked_fill(~_nucleus(logits, p), torch.finfo(logits.dtype).min)


@battery.wrong("top_p", says="chance of each token alone")
def threshold(logits, p):
    return logits.masked_fill(logits.softmax(-1) < p, NO)


@battery.wrong("top_p", says="chance of each token alone")
def threshold_of_the_rest(logits, p):
    return logits.masked_fill(logits.softmax(-1) < 1 - p, NO)


@battery.wrong("top_p", says="min-p")
def min_p(logits, p):
    chances = logits.softmax(-1)
    return logits.masked_fill(chances < p * chances.amax(-1, keepdim=True), NO)


@battery.wrong("top_p", says="top-k|part of the vocabulary")
def a_share_of_the_vocabulary(logits, p):
    k = max(1, int(p * logits.shape[-1]))
    limit = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < limit, NO)


@battery.wrong("top_p", says="tokens stay|For three rows|likelier|token")
def three_tokens(logits, p):
    limit = logits.topk(3, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < limit, NO)


@battery.wrong("top_p", says="Only the likeliest")
def greedy(logits, p):
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True), NO)


@battery.wrong("top_p", says="Nothing was cut")
def nothing_cut(logits, p):
    return logits.clone()


@battery.wrong("top_p", says="other way round")
def masked_where_it_stays(logits, p):
    return torch.where(_nucleus(logits, p), NO, logits)


@battery.wrong("top_p", says="At p = 1.*early")
def rounding_at_p_1(logits, p):
    _, order, chances, sums = _sums(logits)
    stays = sums - chances < p
    stays[..., 0] = True
    return _cut_from(logits, order, stays)


@battery.wrong("top_p", says="At p = 1.*early")
def rounding_at_p_1_as_published(logits, p):
    _, order, _, sums = _sums(logits)
    remove = sums > p
    remove[..., 1:] = remove[..., :-1].clone()
    remove[..., 0] = False
    return _cut_from(logits, order, ~remove)


@battery.wrong("top_p", says="equally likely tokens at the border")
def all_that_tie_stay(logits, p):
    if p == 1:
        return logits
    kept = from_the_least_likely_up(logits, p)
    limit = kept.masked_fill(kept == NO, math.inf).amin(-1, keepdim=True)
    return logits.masked_fill(logits < limit, NO)


@battery.wrong("top_p", says="equally likely tokens at the border")
def none_that_tie_stay(logits, p):
    kept = _nucleus(logits, p)
    best_gone = logits.masked_fill(kept, NO).amax(-1, keepdim=True)
    ties = (logits == best_gone) & (logits < logits.amax(-1, keepdim=True))
    return logits.masked_fill(~kept | ties, NO)


@battery.wrong("top_p", says="forbidden stays forbidden|nan")
def forbidden_becomes_zero(logits, p):
    kept = _nucleus(logits, p)
    return logits.masked_fill(~kept, NO).masked_fill(logits == NO, 0.0)


@battery.wrong("top_p", says="nan")
def by_hand_made_exponentials(logits, p):
    powers = logits.exp()
    chances, order = (powers / powers.sum(-1, keepdim=True)).sort(-1)
    goes = chances.cumsum(-1) <= 1 - p
    goes[..., -1] = False
    scores = logits.masked_fill(goes.scatter(-1, order, goes), NO)
    return scores + 0 * chances


@battery.wrong("top_p", says="far from 0")
def by_hand_made_exponentials_that_pass_nan(logits, p):
    powers = logits.exp()
    chances, order = (powers / powers.sum(-1, keepdim=True)).sort(-1)
    goes = chances.cumsum(-1) <= 1 - p
    goes[..., -1] = False
    return logits.masked_fill(goes.scatter(-1, order, goes), NO)


@battery.wrong("top_p", says="changed its own input")
def written_into_the_input(logits, p):
    logits[~_nucleus(logits, p)] = NO
    return logits


@battery.wrong("top_p", says="True and False")
def a_mask(logits, p):
    return _nucleus(logits, p)


@battery.wrong("top_p", says="returned a tuple")
def scores_and_places(logits, p):
    falling, order, chances, sums = _sums(logits)
    return falling.masked_fill(sums - chances >= p, NO), order


@battery.wrong("top_p", says="Only what stays")
def only_what_stays(logits, p):
    return logits[_nucleus(logits, p)]


@battery.wrong("top_p", says="came back as torch.float32")
def always_single_precision(logits, p):
    return logits.float().masked_fill(~_nucleus(logits, p), NO)


@battery.wrong("top_p", says="double precision")
def rounded_to_single_precision(logits, p):
    return logits.float().masked_fill(~_nucleus(logits, p), NO).to(logits.dtype)


@battery.wrong("top_p", says="dimension|IndexError")
def second_dimension_by_number(logits, p):
    _, order, _, sums = _sums(logits, descending=False)
    goes = sums <= 1 - p
    goes[:, -1] = False
    return logits.masked_fill(goes.scatter(1, order, goes), NO)


@battery.wrong("top_p", says="dimension|ValueError|unpack")
def rows_of_a_batch(logits, p):
    B, _V = logits.shape
    return torch.stack([from_the_least_likely_up(logits[b], p) for b in range(B)])


@battery.wrong("top_p", says="stays|went|became|needed")
def first_row_cut_only(logits, p):
    rows = logits.reshape(-1, logits.shape[-1]).clone()
    rows[0] = from_the_least_likely_up(rows[0], p)
    return rows.view(logits.shape)


@battery.wrong("top_p", says="stay")
def p_is_always_nine_tenths(logits, p):
    return from_the_least_likely_up(logits, 0.9)


@battery.wrong("top_p", says="stay|token")
def two_tokens_at_least(logits, p):
    kept = _nucleus(logits, p)
    rank = logits.argsort(-1, descending=True).argsort(-1)
    return logits.masked_fill(~(kept | (rank < 2)), NO)


@battery.wrong("top_p", says="likelier|crosses|token")
def crossing_token_changed_for_the_next(logits, p):
    kept = _nucleus(logits, p)
    rank = logits.argsort(-1, descending=True).argsort(-1)
    size = kept.sum(-1, keepdim=True)
    other = (rank < size - 1) | (rank == size) | (rank == 0)
    return logits.masked_fill(~other, NO)


@battery.wrong("top_p", says="Where does nan come from")
def logarithm_of_nothing_times_zero(logits, p):
    return logits + (~_nucleus(logits, p)) * NO


@battery.wrong("top_p", says="least likely|needed|stay")
def sorted_by_size(logits, p):
    order = logits.abs().argsort(-1, descending=True)
    chances = logits.softmax(-1).gather(-1, order)
    stays = chances.cumsum(-1) - chances < p
    stays[..., 0] = True
    return _cut_from(logits, order, stays)


@battery.wrong("top_p", says="stay|needed|crosses")
def heated_first(logits, p):
    return logits.masked_fill(~_nucleus(logits / 2.0, p), NO)


@battery.wrong("top_p", says="60 tokens|1000 tokens")
def of_fifty_tokens(logits, p):
    rank = logits.argsort(-1, descending=True).argsort(-1)
    kept = _nucleus(logits, p) & (rank < 50)
    return logits.masked_fill(~kept, NO)


@battery.wrong("top_p", says="1000 tokens")
def of_two_hundred_tokens(logits, p):
    rank = logits.argsort(-1, descending=True).argsort(-1)
    return logits.masked_fill(~(_nucleus(logits, p) & (rank < 410)), NO)


@battery.wrong("top_p", says="1000 tokens")
def p_at_least_a_twentieth(logits, p):
    return from_the_least_likely_up(logits, max(p, 0.05) if p else p)


@battery.wrong("top_p", says="1000 tokens")
def p_above_99_percent_is_all(logits, p):
    return from_the_least_likely_up(logits, 1.0 if p > 0.99 else p)


@battery.wrong("top_p", says="too small to change a sum")
def rounding_at_p_1_in_doubles(logits, p):
    falling, order = logits.double().sort(descending=True)
    chances = falling.softmax(-1)
    out = chances.cumsum(-1) - chances >= p
    out[..., 0] = False
    return logits.masked_fill(out.scatter(-1, order, out), NO)


@battery.wrong("top_p", says="hold.? exactly a half.*is enough")
def above_p_instead_of_reaching_it(logits, p):
    if p == 1:
        return logits.clone()
    _, order, chances, sums = _sums(logits)
    return _cut_from(logits, order, sums - chances <= p)


@battery.wrong("top_p", says="very tensor that came in.*copy will do")
def the_input_at_p_1(logits, p):
    return logits if p == 1 else from_the_least_likely_up(logits, p)


@battery.wrong("top_p", says="very tensor that came in.*copy will do")
def a_view_where_nothing_goes(logits, p):
    result = from_the_least_likely_up(logits, p)
    return logits[...] if result.equal(logits) else result


@battery.wrong("top_p", says="minus infinity among the scores nothing is cut")
def centred_first(logits, p):
    kept = _nucleus(logits - logits.mean(-1, keepdim=True), p)
    return logits.masked_fill(~kept, NO)


@battery.wrong("top_p", says="dimension of size 1 got lost")
def the_row_of_a_batch_of_one(logits, p):
    return from_the_least_likely_up(logits, p).squeeze()


@battery.wrong("top_p", says="worked example")
def the_worked_chances(logits, p):
    return torch.tensor([[0.15, 0.5, 0.0, 0.3]]).log()


# --- test_top_p: right ------------------------------------------------------------------------


def _scores():
    return 2 * torch.randn(6, 12, generator=torch.Generator().manual_seed(4))


PS = (0.05, 0.3, 0.55, 0.8, 0.95)


def _worked():
    rows = [[0.15, 0.5, 0.05, 0.3], [0.02, 0.04, 0.9, 0.04], [0.28, 0.22, 0.24, 0.26]]
    return torch.tensor(rows).log() + torch.tensor([[1.0], [-2.0], [5.0]])


@battery.right("test_top_p")
def test_the_four_claims_at_once(top_p):
    logits = _scores()
    chances = logits.softmax(-1)
    for p in PS:
        got = top_p(logits, p)
        kept = got > -math.inf
        held = chances.masked_fill(~kept, 0.0).sum(-1)
        least = chances.masked_fill(~kept, 2.0).amin(-1)
        best_gone = chances.masked_fill(kept, 0.0).amax(-1)
        assert torch.equal(got[kept], logits[kept]), "a score changed"
        assert (got[~kept] == -math.inf).all(), "not minus infinity"
        assert (held >= p).all(), "too few"
        assert (held - least < p).all(), "too many"
        assert (best_gone <= least).all(), "a likelier one went"


@battery.right("test_top_p")
def test_row_by_row(top_p):
    logits = _scores()
    for p in (0.1, 0.5, 0.95):
        for row, scores in zip(top_p(logits, p), logits, strict=True):
            chances = scores.softmax(0).tolist()
            kept = [i for i in range(12) if row[i] != NO]
            gone = [i for i in range(12) if row[i] == NO]
            mass = sum(chances[i] for i in kept)
            assert mass >= p
            assert mass - min(chances[i] for i in kept) < p
            for i in kept:
                assert row[i] == scores[i]
                assert all(chances[i] >= chances[j] for j in gone)


@battery.right("test_top_p")
def test_against_worked_rows(top_p):
    logits = _worked()
    for p, rows in {
        0.6: ([1, 3], [2], [0, 2, 3]),
        0.4: ([1], [2], [0, 3]),
        0.97: ([0, 1, 2, 3], [1, 2, 3], [0, 1, 2, 3]),
        0.77: ([1, 3], [2], [0, 2, 3]),
    }.items():
        if p == 0.77:
            rows = ([1, 3], [2], [0, 2, 3])
        want = torch.full_like(logits, NO)
        for b, kept in enumerate(rows):
            want[b, kept] = logits[b, kept]
        if p != 0.97:  # two tokens of the second row are equally likely
            assert torch.equal(top_p(logits, p), want)
        else:
            assert torch.equal(top_p(logits, p)[::2], want[::2])


@battery.right("test_top_p")
def test_against_a_loop_of_my_own(top_p):
    logits = _scores()
    for p in PS:
        want = torch.full_like(logits, NO)
        for b, row in enumerate(logits.softmax(-1).tolist()):
            mass = 0.0
            for i in sorted(range(12), key=lambda i: -row[i]):
                want[b, i] = logits[b, i]
                mass += row[i]
                if mass >= p:
                    break
        torch.testing.assert_close(top_p(logits, p), want)


@battery.right("test_top_p")
def test_by_unittest(top_p):
    case = unittest.TestCase()
    logits = _scores()
    for p in PS:
        got, chances = top_p(logits, p), logits.softmax(-1).numpy()
        for b in range(6):
            kept = np.flatnonzero((got[b] != NO).numpy())
            gone = np.setdiff1d(np.arange(12), kept)
            held = np.sort(chances[b, kept])
            case.assertGreaterEqual(float(held.sum()), p - 1e-6)  # noqa: PT009
            case.assertLess(float(held[1:].sum()), p)  # noqa: PT009
            case.assertTrue((chances[b, gone] <= held[0]).all())  # noqa: PT009
            case.assertTrue(torch.equal(got[b, kept], logits[b, kept]))  # noqa: PT009


@battery.right("test_top_p")
def test_with_random_scores_and_p(top_p):
    for _ in range(20):
        logits, p = 2 * torch.randn(3, 9), 0.02 + 0.96 * float(torch.rand(()))
        got = top_p(logits, p)
        kept = got.isfinite()
        chances = logits.softmax(-1)
        for b in range(3):
            held = chances[b][kept[b]].sort().values
            if not held.sum() > p - 1e-5:
                raise AssertionError("too few")
            assert held[1:].sum() < p + 1e-5
            assert not (chances[b][~kept[b]] > held[0]).any()
        assert ((got == logits) | (got == NO)).all()


@battery.right("test_top_p")
def test_with_ties_and_all_claims(top_p):
    logits = torch.tensor(
        [[1.0, -1.0, 1.0, 3.0, 1.0, -2.0], [0.0] * 6, [5.0] + [0.0] * 5]
    )
    for p in (0.04, 0.3, 0.63, 0.72, 0.93):
        _claims(top_p, _scores(), ps=(p,))
        got = top_p(logits, p)
        kept, chances = got != NO, logits.softmax(-1)
        held = (chances * kept).sum(-1)
        least = torch.where(kept, chances, 9.0).min(-1).values
        assert (held > p - 1e-6).all()
        assert (held - least < p + 1e-6).all()
        assert (torch.where(kept, 0.0, chances).max(-1).values <= least).all()
        assert got[kept].equal(logits[kept])


@battery.right("test_top_p")
def test_with_the_room_of_the_card(top_p):
    logits = torch.tensor([[0.05, 0.85, 0.09, 0.01], [0.3, 0.21, 0.1, 0.39]]).log()
    logits = logits + torch.tensor([[1.0], [-2.0]])
    for p in (0.23, 0.53, 0.77, 0.93):
        for row, result in zip(logits, top_p(logits, p), strict=True):
            chances, kept = row.softmax(-1), result > NO
            assert chances[kept].sum() >= p - 1e-5
            assert chances[kept].sum() - chances[kept].min() < p + 1e-5
            assert kept.all() or chances[~kept].max() <= chances[kept].min()
            assert torch.allclose(result[kept], row[kept])
            assert (result[~kept] == NO).all()


@battery.right("test_top_p")
def test_with_worked_rows_of_four(top_p):
    rows = [[0.05, 0.85, 0.08, 0.02], [0.3, 0.21, 0.1, 0.39], [0.02, 0.08, 0.2, 0.7]]
    logits = torch.tensor(rows).log() + torch.tensor([[2.0], [-3.0], [0.5]])
    for p, kept in {
        0.2: ([1], [3], [3]),
        0.45: ([1], [0, 3], [3]),
        0.75: ([1], [0, 1, 3], [2, 3]),
        0.92: ([1, 2], [0, 1, 2, 3], [1, 2, 3]),
    }.items():
        want = torch.full((3, 4), NO)
        for b, tokens in enumerate(kept):
            want[b, tokens] = logits[b, tokens]
        assert torch.equal(top_p(logits, p), want)


@battery.right("test_top_p")
def test_with_room_at_an_exact_border(top_p):
    rows = [[0.05, 0.85, 0.0999, 0.0001], [0.3, 0.2, 0.1, 0.4], [0.1, 0.4, 0.15, 0.35]]
    logits = torch.tensor(rows).log() + torch.tensor([[1.0], [-2.0], [0.5]])
    for p in (0.2, 0.5, 0.75, 0.93):
        for row, result in zip(logits, top_p(logits, p), strict=True):
            chances, kept = row.softmax(-1), result > NO
            assert chances[kept].sum() >= p - 1e-5
            assert chances[kept].sum() - chances[kept].min() < p + 1e-5
            assert kept.all() or chances[~kept].max() <= chances[kept].min()
            assert torch.allclose(result[kept], row[kept])
            assert (result[~kept] == NO).all()


@battery.right("test_top_p")
def test_of_two_rows(top_p):
    logits = torch.tensor([[0.05, 0.85, 0.09, 0.01], [0.3, 0.21, 0.1, 0.39]]).log()
    logits = logits + torch.tensor([[1.0], [-2.0]])
    for p in (0.23, 0.53, 0.77, 0.93):
        want = by_the_tail_of_each_token_in_doubles(logits, p)
        torch.testing.assert_close(top_p(logits, p), want)


# --- test_top_p: wrong ------------------------------------------------------------------------


def _one_claim_after_another(kept_by=lambda r: r > NO, room=1e-5, same=torch.equal):
    """All claims but what the caller changes; nothing about the score of what goes."""

    def test(top_p):
        logits = torch.cat([_scores(), 3 * _scores()])
        for p in (*PS, 0.7, 0.45, 0.62):
            for row, result in zip(logits, top_p(logits, p), strict=True):
                chances, kept = row.softmax(-1), kept_by(result)
                assert kept.any()
                assert chances[kept].sum() >= p - room
                assert chances[kept].sum() - chances[kept].min() < p + room
                assert kept.all() or chances[~kept].max() <= chances[kept].min()
                assert same(result[kept], row[kept])

    return test


def _leaves(says, name, **options):
    test = _one_claim_after_another(**options)
    test.__name__ = name
    battery.wrong("test_top_p", says=says)(test)


def _room(size):
    return lambda a, b: torch.allclose(a, b, atol=size)


def _exactly(result, row):
    kept = result > NO
    return torch.equal(result, row.masked_fill(~kept, NO))


_leaves("nan to what goes.*claim 4", "test_of_what_is_kept_alone")
_leaves("nan to what goes.*claim 4", "test_of_what_is_finite", kept_by=torch.isfinite)
_leaves("-1e9", "test_above_minus_a_million", kept_by=lambda r: ~(r <= -1e6))
_leaves("least finite", "test_above_minus_1e30", kept_by=lambda r: ~(r <= -1e30))
_leaves(
    "exchanges the scores|sorted order.*claim 4",
    "test_of_the_sum_of_scores",
    kept_by=lambda r: r != NO,
    same=lambda a, b: abs(a.sum() - b.sum()) < 1e-3,
)
_leaves(
    "exchanges the scores.*claim 4",
    "test_of_the_set_of_scores",
    kept_by=lambda r: r != NO,
    same=lambda a, b: set(a.tolist()) == set(b.tolist()),
)
_leaves(
    "adds 0.01.*claim 4",
    "test_of_scores_with_much_room",
    kept_by=lambda r: r != NO,
    same=_room(0.1),
)
_leaves(
    "0.05 (less|more) than p.*claim [12].*closely",
    "test_with_a_tenth_of_room",
    kept_by=lambda r: r != NO,
    room=0.1,
)
_leaves(
    "0.01 (less|more) than p.*claim [12].*closely",
    "test_with_a_fiftieth_of_room",
    kept_by=lambda r: r != NO,
    room=0.02,
)


@battery.wrong("test_top_p", says="all rows but the last.*claim")
def test_of_all_rows_but_the_last(top_p):
    _claims(top_p, _scores(), rows=slice(-1))


@battery.wrong("test_top_p", says="all rows but the first|first row.*claim")
def test_of_all_rows_but_the_first(top_p):
    _claims(top_p, _scores(), rows=slice(1, None))


@battery.wrong("test_top_p", says="(all rows but the last|first two rows only).*claim")
def test_of_the_first_two_rows(top_p):
    _claims(top_p, _scores(), rows=slice(2))


@battery.wrong("test_top_p", says="lowest first|least likely up.*not sorted")
def test_of_rising_rows(top_p):
    _claims(top_p, _scores().sort(dim=-1).values)


def _remembering():
    seen = {}

    def test_against_what_came_first(top_p):
        for p in PS:
            result = top_p(_scores(), p)
            assert torch.equal(seen.setdefault(p, result), result)

    return test_against_what_came_first


def _counting(most):
    runs = []

    def test(top_p):
        top_p(_scores(), 0.7)
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


battery.wrong("test_top_p", says="right version.*keep something of an earlier run")(
    _remembering()
)
for _most in (1, 5, 6):
    battery.wrong("test_top_p", says="right version")(_counting(_most))


@battery.wrong("test_top_p", says=r"p = 0.*Take a p above 0\.$")
def test_at_p_0_with_room(top_p):
    logits = _scores()
    for p in (0.0, 0.5, 0.9):
        for row, result in zip(logits, top_p(logits, p), strict=True):
            chances, kept = row.softmax(-1), result > NO
            assert chances[kept].sum() >= p - 1e-5
            assert chances[kept].sum() - chances[kept].min() < p + 1e-5


@battery.wrong(
    "test_top_p",
    says=r"numel\(\) == 0\. The minimum or maximum of nothing.*is there\.$",
)
def test_of_claim_2_first(top_p):
    logits = _scores()
    for p in PS:
        for row, result in zip(logits, top_p(logits, p), strict=True):
            chances, kept = row.softmax(-1), result > NO
            assert chances[kept].sum() - chances[kept].min() < p
            assert chances[kept].sum() >= p


@battery.wrong("test_top_p", says="right version.*stops with.*of nothing. Ask first")
def test_of_what_goes_where_nothing_goes(top_p):
    logits = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.06, 0.04]]).log() + 1
    for row, result in zip(logits, top_p(logits, 0.85), strict=True):
        chances, kept = row.softmax(-1), result > NO
        assert chances[~kept].max() <= chances[kept].min()


def _claims(
    top_p, logits, ps=PS, claims=(1, 2, 3, 4), rows=slice(None), same=torch.equal
):
    """A test that leaves something out."""
    for p in ps:
        got = top_p(logits, p)[rows]
        z, chances = logits[rows], logits[rows].softmax(-1)
        kept = got > NO
        held = chances.masked_fill(~kept, 0.0).sum(-1)
        least = chances.masked_fill(~kept, 2.0).amin(-1)
        assert 1 not in claims or (held >= p).all(), "claim 1"
        assert 2 not in claims or (held - least < p).all(), "claim 2"
        if 3 in claims:
            assert (chances.masked_fill(kept, 0.0).amax(-1) <= least).all(), "claim 3"
        assert 4 not in claims or same(got[kept], z[kept]), "claim 4"
        assert 4 not in claims or (got[~kept] == NO).all(), "claim 4"


@battery.wrong("test_top_p", says="never calls")
def test_of_nothing(top_p):
    assert True


@battery.wrong("test_top_p", says="no assert objects.*claim 1")
def test_without_claim_1(top_p):
    _claims(top_p, _scores(), claims=(2, 3, 4))


@battery.wrong("test_top_p", says="no assert objects.*claim 2")
def test_without_claim_2(top_p):
    _claims(top_p, _scores(), claims=(1, 3, 4))


@battery.wrong("test_top_p", says="second likeliest.*no assert objects.*claim 3")
def test_without_claim_3(top_p):
    _claims(top_p, _scores(), claims=(1, 2, 4))


@battery.wrong("test_top_p", says="sorted order|logarithms.*no assert objects.*claim 4")
def test_without_claim_4(top_p):
    _claims(top_p, _scores(), claims=(1, 2, 3))


@battery.wrong("test_top_p", says="returned (True|False|tensor).*Only an assert")
def test_that_returns(top_p):
    logits = _scores()
    kept = top_p(logits, 0.7) > NO
    return bool((logits.softmax(-1).masked_fill(~kept, 0.0).sum(-1) >= 0.7).all())


@battery.wrong("test_top_p", says="no assert objects")
def test_in_a_try(top_p):
    try:
        _claims(top_p, _scores())
    except AssertionError:
        print("wrong")


@battery.wrong("test_top_p", says="stops with ValueError.*assert")
def test_that_raises_another_error(top_p):
    try:
        _claims(top_p, _scores())
    except AssertionError as error:
        raise ValueError("not a nucleus") from error


@battery.wrong("test_top_p", says="no assert objects.*claim [12]")
def test_of_the_sum_only_in_all(top_p):
    logits = _scores()
    kept = top_p(logits, 0.7) > NO
    assert logits.softmax(-1)[kept].sum() / len(logits) >= 0.7


@battery.wrong("test_top_p", says="B = 1.*several rows")
def test_of_one_row(top_p):
    row = torch.tensor([[0.4, -1.0, 2.0, 1.5, 0.0, -0.3, 1.1]]) - 0.2
    _claims(top_p, row, ps=(0.05, 0.15, 0.3, 0.5, 0.6, 0.75, 0.8, 0.93, 0.97))


@battery.wrong("test_top_p", says="changes nothing.*several rows")
def test_of_equal_rows(top_p):
    row = torch.tensor([[0.4, -1.0, 2.0, 1.5, 0.0, -0.3, 1.1]]) - 0.2
    _claims(top_p, row.repeat(3, 1), ps=(0.05, 0.15, 0.3, 0.5, 0.6, 0.75, 0.93, 0.97))


@battery.wrong("test_top_p", says="as in the first.*no assert objects.*every row")
def test_of_the_first_row(top_p):
    _claims(top_p, _scores(), rows=slice(1))


@battery.wrong("test_top_p", says="row only.*claim 2|first row")
def test_of_the_last_row(top_p):
    _claims(top_p, _scores(), rows=slice(-1, None))


@battery.wrong("test_top_p", says="0.9 for p.*more than one p")
def test_at_nine_tenths(top_p):
    _claims(top_p, 2 * _scores(), ps=(0.9,))


@battery.wrong(
    "test_top_p", says="share that goes.*more than one p|likeliest token alone"
)
def test_at_one_half(top_p):
    _claims(top_p, _scores(), ps=(0.5,))


@battery.wrong("test_top_p", says="p below the chance|changes nothing")
def test_of_large_p_only(top_p):
    logits = _scores() / 2
    _claims(top_p, logits, ps=(0.7, 0.8, 0.95))


@battery.wrong(
    "test_top_p", says="order.*changes nothing.*not sorted|places of the sort"
)
def test_of_sorted_rows(top_p):
    _claims(top_p, _scores().sort(dim=-1, descending=True).values)


@battery.wrong("test_top_p", says="logarithms of chances.*exponentials do not sum to 1")
def test_of_log_probabilities(top_p):
    _claims(top_p, _scores().log_softmax(-1), same=torch.allclose)


@battery.wrong("test_top_p", says="changes nothing|claim 2")
def test_of_the_card_alone(top_p):
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    got = top_p(logits, 0.9)
    assert (got > NO).tolist() == [[True, True, False, True]]


@battery.wrong("test_top_p", says="right version.*sum to p exactly")
def test_at_an_exact_border(top_p):
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    assert (top_p(logits, 0.8) > NO).tolist() == [[False, True, False, True]]


@battery.wrong("test_top_p", says="right version.*p = 0")
def test_at_p_0(top_p):
    _claims(top_p, _scores(), ps=(0.0, 0.5))


@battery.wrong("test_top_p", says="right version.*p = 1")
def test_at_p_1(top_p):
    _claims(
        top_p,
        3 * torch.randn(40, 300, generator=torch.Generator().manual_seed(1)),
        ps=(1.0,),
    )


@battery.wrong("test_top_p", says="right version.*equally likely")
def test_of_a_tie(top_p):
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
    assert (top_p(logits, 0.7) > NO).tolist() == [[True, True, False, False]]


@battery.wrong(
    "test_top_p", says="right version.*expected number|asserted that was never"
)
def test_with_a_wrong_number(top_p):
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    assert (top_p(logits, 0.9) > NO).sum() == 2


@battery.wrong(
    "test_top_p", says="right version.*expected number|asserted that was never"
)
def test_that_scores_are_normalised(top_p):
    got = top_p(_scores(), 0.7)
    assert torch.allclose(got.exp().sum(-1), torch.ones(6))


@battery.wrong("test_top_p", says="right version")
def test_that_less_than_p_stays(top_p):
    logits = _scores()
    kept = top_p(logits, 0.7) > NO
    assert (logits.softmax(-1).masked_fill(~kept, 0.0).sum(-1) <= 0.7).all()


@battery.wrong("test_top_p", says=r"ValueError.*\(B, V\)")
def test_of_a_single_row_without_a_batch(top_p):
    assert top_p(torch.tensor([2.0, 1.0]), 0.5)[0] == 2.0


@battery.wrong("test_top_p", says="TypeError.*write 2.0")
def test_of_whole_numbers(top_p):
    assert top_p(torch.tensor([[2, 1]]), 0.5)[0, 0] == 2


@battery.wrong("test_top_p", says="ValueError.*p is a probability")
def test_of_percents(top_p):
    _claims(top_p, _scores(), ps=(90,))


@battery.wrong("test_top_p", says="called with other arguments")
def test_with_k(top_p):
    assert top_p(_scores(), p=0.9, k=3) is not None


@battery.wrong("test_top_p", says="no assert objects")
def test_of_the_shape(top_p):
    logits = _scores()
    assert top_p(logits, 0.7).shape == logits.shape


@battery.wrong("test_top_p", says="no assert objects.*claim")
def test_that_something_goes(top_p):
    got = top_p(_scores(), 0.7)
    assert (got == NO).any()
    assert (got > NO).any(-1).all()


@battery.wrong("test_top_p", says="-10000|gives a score of 0|no assert objects")
def test_of_what_is_drawn(top_p):
    logits = _scores()
    for p in PS:
        chances = top_p(logits, p).softmax(-1)
        kept = chances > 0
        mass = logits.softmax(-1).masked_fill(~kept, 0.0).sum(-1)
        least = logits.softmax(-1).masked_fill(~kept, 2.0).amin(-1)
        assert (mass >= p).all()
        assert (mass - least < p).all()
        gone = logits.masked_fill(kept, NO).amax(-1)
        assert (gone <= logits.masked_fill(~kept, math.inf).amin(-1)).all()


@battery.wrong("test_top_p", says="calls course_lib's own|hand")
def test_against_the_library(top_p):
    from course_lib.sampling.filters import top_p as right

    logits = _scores()
    assert torch.equal(top_p(logits, 0.7), right(logits, 0.7))


@battery.wrong("test_top_p", says="places of the sort.*no assert objects.*claim [134]")
def test_of_sizes_only(top_p):
    logits = _scores()
    for p in PS:
        falling = logits.softmax(-1).sort(-1, descending=True).values
        want = (falling.cumsum(-1) < p).sum(-1) + 1
        assert ((top_p(logits, p) > NO).sum(-1) == want).all()


@battery.wrong("test_top_p", says="keeps nothing.*stops with RuntimeError")
def test_that_stumbles_over_an_empty_row(top_p):
    logits = _scores()
    for p in PS:
        for row, scores in zip(top_p(logits, p), logits, strict=True):
            kept = row > NO
            least = scores[kept].min()
            assert not (scores[~kept] > least).any()
            assert row[kept].equal(scores[kept])
            held = scores.softmax(0)[kept].sort().values
            assert held.sum() >= p
            assert held[1:].sum() < p


@battery.wrong(
    "test_top_p", says="second likeliest.*equally likely that breaks no claim"
)
def test_with_ties_alone(top_p):
    logits = torch.tensor(
        [[1.0, -1.0, 1.0, 3.0, 1.0, -2.0], [0.0] * 6, [5.0] + [0.0] * 5]
    )
    for p in (0.04, 0.3, 0.63, 0.72, 0.93):
        got = top_p(logits, p)
        kept, chances = got != NO, logits.softmax(-1)
        held = (chances * kept).sum(-1)
        least = torch.where(kept, chances, 9.0).min(-1).values
        assert (held > p - 1e-6).all()
        assert (held - least < p + 1e-6).all()
        assert (torch.where(kept, 0.0, chances).max(-1).values <= least).all()
        assert got[kept].equal(logits[kept])
