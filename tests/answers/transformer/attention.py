"""Answers to lesson 01: attention written out, and the layer around it."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from course_lib import attention as library_attention
from course_lib.attention import (
    attend_once,
    fused_attend,
    mix_heads,
    repeat_kv,
    rotate,
    split_heads,
)
from course_lib.logprobs import softmax
from course_lib.masks import causal_mask
from tools.graders import Battery

battery = Battery()


# --- attend: right --------------------------------------------------------------------------------


@battery.right("attend")
def with_the_softmax_of_lesson_00(q, k, v, mask):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return softmax(scores.masked_fill(~mask, -math.inf)) @ v


@battery.right("attend")
def attend_by_torchs_own(q, k, v, mask):
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@battery.right("attend")
def by_einsum_and_where(q, k, v, mask):
    scores = torch.einsum("bhtk,bhsk->bhts", q * q.size(-1) ** -0.5, k)
    scores = torch.where(mask, scores, float("-inf"))
    return torch.einsum("bhts,bhsk->bhtk", scores.softmax(-1), v)


@battery.right("attend")
def with_an_added_bias(q, k, v, mask):
    bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(mask == 0, -torch.inf)
    scores = torch.matmul(q, k.transpose(2, 3)) / np.sqrt(q.shape[3])
    return torch.matmul(functional.softmax(scores + bias, dim=3), v)


@battery.right("attend")
def filled_in_place_on_fresh_scores(q, k, v, mask):
    scores = q @ k.permute(0, 1, 3, 2)
    scores /= q.shape[-1] ** 0.5
    scores.masked_fill_(mask.logical_not(), -math.inf)
    return torch.softmax(scores, dim=-1) @ v


@battery.right("attend")
def lowest_number_of_the_type(q, k, v, mask):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, torch.finfo(q.dtype).min).softmax(-1) @ v


@battery.right("attend")
def one_query_at_a_time(q, k, v, mask):
    B, H, T, K = q.shape
    S = k.shape[2]
    masks = mask.expand(B, H, T, S)
    out = []
    for b in range(B):
        for h in range(H):
            for t in range(T):
                seen = [s for s in range(S) if masks[b, h, t, s]]
                scores = torch.stack([q[b, h, t] @ k[b, h, s] for s in seen])
                weights = softmax(scores / math.sqrt(K))
                pairs = zip(weights, seen, strict=True)
                out.append(sum(weight * v[b, h, s] for weight, s in pairs))
    return torch.stack(out).reshape(q.shape)


@battery.right("attend")
def one_head_at_a_time(q, k, v, mask):
    heads = []
    for h in range(q.shape[1]):
        m = mask if mask.dim() == 2 else mask[:, 0]
        scores = torch.bmm(q[:, h], k[:, h].transpose(1, 2)) / q.shape[-1] ** 0.5
        heads.append(torch.bmm(scores.masked_fill(~m, -math.inf).softmax(-1), v[:, h]))
    return torch.stack(heads, dim=1)


@battery.right("attend")
def softmax_in_single_precision_as_in_transformers(q, k, v, mask):
    scores = torch.matmul(q, k.transpose(2, 3)) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(weights, v)


@battery.right("attend")
def through_the_logarithm_in_one_batch(q, k, v, mask):
    B, H, T, K = q.shape
    flat_q, flat_k, flat_v = (x.reshape(B * H, -1, K) for x in (q, k, v))
    forbidden = ~mask.expand(B, H, T, k.shape[2]).reshape(B * H, T, -1)
    scores = torch.bmm(flat_q / K**0.5, flat_k.mT)
    scores = scores.masked_fill(forbidden, float("-inf"))
    weights = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    return torch.bmm(weights, flat_v).view(B, H, T, K)


# --- attend: wrong --------------------------------------------------------------------------------


def _attend_scores(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def _attend_mixed(scores, v, mask):
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v


@battery.wrong("attend", says="after the softmax")
def zeroed_after_the_softmax(q, k, v, mask):
    return softmax(_attend_scores(q, k)) * mask @ v


@battery.wrong("attend", says="after the softmax")
def filled_with_zero_after_the_softmax(q, k, v, mask):
    return softmax(_attend_scores(q, k)).masked_fill(~mask, 0.0) @ v


@battery.wrong("attend", says="before it was forbidden")
def renormalised_after_the_softmax(q, k, v, mask):
    weights = softmax(_attend_scores(q, k)) * mask
    return weights / weights.sum(-1, keepdim=True) @ v


@battery.wrong("attend", says="before it was forbidden")
def renormalised_with_a_small_constant(q, k, v, mask):
    weights = softmax(_attend_scores(q, k)) * mask
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-30) @ v


@battery.wrong("attend", says="upside down")
def mask_inverted(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(mask, -math.inf)) @ v


@battery.wrong("attend", says="upside down")
def mask_inverted_for_torch(q, k, v, mask):
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=~mask)


@battery.wrong("attend", says="upside down")
def mask_inverted_nan_hidden(q, k, v, mask):
    return (_attend_scores(q, k).masked_fill(mask, -1e9).softmax(-1)).nan_to_num(
        0.0
    ) @ v


@battery.wrong("attend", says="no difference")
def mask_forgotten(q, k, v, mask):
    return softmax(_attend_scores(q, k)) @ v


@battery.wrong("attend", says="no difference")
def result_of_masked_fill_thrown_away(q, k, v, mask):
    scores = _attend_scores(q, k)
    scores.masked_fill(~mask, -math.inf)
    return softmax(scores) @ v


@battery.wrong("attend", says="became 0")
def scores_times_the_mask(q, k, v, mask):
    return softmax(_attend_scores(q, k) * mask) @ v


@battery.wrong("attend", says="became 0")
def filled_with_zero(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, 0)) @ v


@battery.wrong("attend", says="nearly 0")
def filled_with_a_typing_slip(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, -1e-9)) @ v


@battery.wrong("attend", says="became very high")
def filled_with_plus_a_billion(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, 1e9)) @ v


@battery.wrong("attend", says="nan")
def filled_with_plus_infinity(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, math.inf)) @ v


@battery.wrong("attend", says="nan")
def mask_times_infinity(q, k, v, mask):
    return softmax(_attend_scores(q, k) + ~mask * -math.inf) @ v


@battery.wrong("attend", says="counts as 1")
def mask_added(q, k, v, mask):
    return softmax(_attend_scores(q, k) + mask) @ v


@battery.wrong("attend", says="finite number")
def minus_a_billion(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(mask == 0, -1e9)) @ v


@battery.wrong("attend", says="finite number")
def minus_ten_thousand_added(q, k, v, mask):
    return softmax(_attend_scores(q, k) + (1.0 - mask.to(q)) * -10000.0) @ v


@battery.wrong("attend", says="finite number")
def minus_a_hundred_thousand_billion(q, k, v, mask):
    return softmax(torch.where(mask, _attend_scores(q, k), -1e20)) @ v


@battery.wrong("attend", says="were not scaled")
def unscaled(q, k, v, mask):
    return _attend_mixed(q @ k.mT, v, mask)


@battery.wrong("attend", says="width itself")
def divided_by_the_width(q, k, v, mask):
    return _attend_mixed(q @ k.mT / q.shape[-1], v, mask)


@battery.wrong("attend", says="multiplied")
def multiplied_by_the_root(q, k, v, mask):
    return _attend_mixed(q @ k.mT * math.sqrt(q.shape[-1]), v, mask)


@battery.wrong("attend", says="scores were scaled")
def divided_by_the_root_of_the_queries(q, k, v, mask):
    return _attend_mixed(q @ k.mT / math.sqrt(q.shape[-2]), v, mask)


@battery.wrong("attend", says="scores were scaled")
def divided_by_the_root_of_the_keys(q, k, v, mask):
    scores = q @ k.mT
    return _attend_mixed(scores / math.sqrt(scores.shape[-1]), v, mask)


@battery.wrong("attend", says="scores were scaled")
def divided_by_the_root_of_the_heads(q, k, v, mask):
    return _attend_mixed(q @ k.mT / math.sqrt(q.shape[1]), v, mask)


@battery.wrong("attend", says="scores were scaled")
def divided_by_the_root_of_the_stream(q, k, v, mask):
    return _attend_mixed(q @ k.mT / math.sqrt(q.shape[1] * q.shape[3]), v, mask)


@battery.wrong("attend", says="scores were scaled")
def divided_by_a_fixed_number(q, k, v, mask):
    return _attend_mixed(q @ k.mT / 8, v, mask)


@battery.wrong("attend", says="too late")
def scaled_after_the_softmax(q, k, v, mask):
    return _attend_mixed(q @ k.mT, v, mask) / math.sqrt(q.shape[-1])


@battery.wrong("attend", says="not once")
def scaled_twice(q, k, v, mask):
    root = math.sqrt(q.shape[-1])
    return _attend_mixed((q / root) @ (k / root).mT / root, v, mask)


@battery.wrong("attend", says="over the queries")
def softmax_over_the_queries(q, k, v, mask):
    return _attend_scores(q, k).masked_fill(~mask, -math.inf).softmax(-2) @ v


@battery.wrong("attend", says="over the heads")
def softmax_over_the_heads(q, k, v, mask):
    return (
        _attend_scores(q, k).masked_fill(~mask, -math.inf).softmax(1).nan_to_num(0.0)
        @ v
    )


@battery.wrong("attend", says="over the heads")
def dimension_left_to_torch(q, k, v, mask):
    return functional.softmax(_attend_scores(q, k), 1) * mask @ v


@battery.wrong("attend", says="together")
def softmax_over_everything(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return scores.flatten(2).softmax(-1).view_as(scores) @ v


@battery.wrong("attend", says="causal mask was made")
def always_causal(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, causal_mask(q.shape[2], k.shape[2]))


@battery.wrong("attend", says="causal mask was made")
def causal_by_torch(q, k, v, mask):
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


@battery.wrong("attend", says="causal mask was made")
def causal_as_well(q, k, v, mask):
    mask = mask & causal_mask(q.shape[2], k.shape[2])
    return _attend_mixed(_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="mask of one")
def mask_of_the_first_text(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask.reshape(-1, *mask.shape[-2:])[0])


@battery.wrong("attend", says="joined into one")
def masks_joined(q, k, v, mask):
    return _attend_mixed(
        _attend_scores(q, k), v, mask if mask.dim() == 2 else mask.any(0)
    )


@battery.wrong("attend", says="line up on the right")
def mask_with_two_dimensions_more(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask[None, None])


@battery.wrong("attend", says="line up on the right")
def mask_of_the_texts_with_one_dimension_more(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask.unsqueeze(1))


@battery.wrong("attend", says="squeezed away")
def mask_squeezed(q, k, v, mask):
    return _attend_mixed(
        _attend_scores(q, k), v, mask.squeeze(1) if mask.dim() == 4 else mask
    )


@battery.wrong("attend", says="no softmax")
def attend_without_softmax(q, k, v, mask):
    return (_attend_scores(q, k) * mask) @ v


@battery.wrong("attend", says="divided by its sum")
def exponentials_only(q, k, v, mask):
    return (_attend_scores(q, k).exp() * mask) @ v


@battery.wrong("attend", says="overflow")
def exponentials_by_hand(q, k, v, mask):
    powers = _attend_scores(q, k).exp() * mask
    return powers / powers.sum(-1, keepdim=True) @ v


@battery.wrong("attend", says="squashed by itself")
def attend_by_sigmoids(q, k, v, mask):
    return _attend_scores(q, k).masked_fill(~mask, -math.inf).sigmoid() @ v


@battery.wrong("attend", says="twice")
def attend_softmax_twice(q, k, v, mask):
    return _attend_mixed(
        _attend_scores(q, k).masked_fill(~mask, -math.inf).softmax(-1), v, mask
    )


@battery.wrong("attend", says="takes all")
def winner_takes_all(q, k, v, mask):
    best = _attend_scores(q, k).masked_fill(~mask, -math.inf).argmax(-1)
    return functional.one_hot(best, k.shape[2]).to(v) @ v


@battery.wrong("attend", says="weigh the same")
def mean_of_the_allowed(q, k, v, mask):
    weights = mask.to(v) / mask.sum(-1, keepdim=True)
    return weights.expand(*q.shape[:3], -1) @ v


@battery.wrong("attend", says="sign of the scores")
def attend_sign_turned(q, k, v, mask):
    return _attend_mixed(-_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="keys were mixed")
def keys_mixed(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), k, mask)


@battery.wrong("attend", says="with the values")
def values_asked(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, v), v, mask)


@battery.wrong("attend", says="length 1")
def attend_by_cosine(q, k, v, mask):
    unit_q, unit_k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
    return _attend_mixed(unit_q @ unit_k.mT, v, mask)


@battery.wrong("attend", says="distance")
def attend_by_distance(q, k, v, mask):
    return _attend_mixed(-torch.cdist(q, k), v, mask)


@battery.wrong("attend", says="one table of scores")
def scores_averaged_over_heads(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k).mean(1, keepdim=True), v, mask)


@battery.wrong("attend", says="weights \\(or scores\\)|These are weights")
def weights_returned(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, -math.inf))


@battery.wrong("attend", says="tuple; a tensor")
def weights_returned_as_well(q, k, v, mask):
    weights = softmax(_attend_scores(q, k).masked_fill(~mask, -math.inf))
    return weights @ v, weights


@battery.wrong("attend", says="changed places")
def heads_behind_tokens(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask).transpose(1, 2)


@battery.wrong("attend", says="joined")
def attend_joins_heads(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask).transpose(1, 2).flatten(2)


@battery.wrong("attend", says="squeeze|size 1")
def attend_squeezed(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask).squeeze()


@battery.wrong("attend", says="random|dropout")
def attend_with_dropout(q, k, v, mask):
    weights = softmax(_attend_scores(q, k).masked_fill(~mask, -math.inf))
    return functional.dropout(weights, 0.1) @ v


@battery.wrong("attend", says="changed its own input")
def queries_scaled_in_place(q, k, v, mask):
    q /= math.sqrt(q.shape[-1])
    return _attend_mixed(q @ k.mT, v, mask)


@battery.wrong("attend", says="changed its own input")
def mask_turned_in_place(q, k, v, mask):
    mask.logical_not_()
    return softmax(_attend_scores(q, k).masked_fill(mask, -math.inf)) @ v


@battery.wrong("attend", says="bool tensor")
def one_minus_the_mask(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(1 - mask, -math.inf)) @ v


@battery.wrong("attend", says="All dimensions of k")
def all_dimensions_turned(q, k, v, mask):
    return _attend_mixed(q @ k.T, v, mask)


@battery.wrong("attend", says="no gradient")
def weights_through_numpy(q, k, v, mask):
    out = _attend_mixed(_attend_scores(q.detach(), k.detach()), v.detach(), mask)
    return torch.from_numpy(out.numpy())


@battery.wrong("attend", says="no gradient|detached")
def weights_detached(q, k, v, mask):
    weights = softmax(_attend_scores(q, k).masked_fill(~mask, -math.inf))
    return weights.detach() @ v


@battery.wrong("attend", says="float32")
def attend_in_single(q, k, v, mask):
    return _attend_mixed(_attend_scores(q.float(), k.float()), v.float(), mask)


@battery.wrong("attend", says="small constant")
def constant_in_the_denominator(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / (powers.sum(-1, keepdim=True) + 1e-4) @ v


@battery.wrong("attend", says="clamp")
def scores_clamped(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k).clamp(-50, 50), v, mask)


@battery.wrong("attend", says="round")
def weights_rounded(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return softmax(scores).round(decimals=3) @ v


@battery.wrong("attend", says="Only the mask")
def score_zero_means_forbidden(q, k, v, mask):
    scores = _attend_scores(q, k) * mask
    return softmax(scores.masked_fill(scores == 0, -math.inf)).nan_to_num(0.0) @ v


@battery.wrong("attend", says="calls course_lib's own")
def by_the_fused_one(q, k, v, mask):
    return fused_attend(q, k, v, mask)


@battery.wrong("attend", says="calls course_lib's own")
def by_the_one_for_a_single_query(q, k, v, mask):
    rows = [
        attend_once(q[:, :, t : t + 1], k, v, mask[..., t : t + 1, :])
        for t in range(q.shape[2])
    ]
    return torch.cat(rows, 2)


@battery.wrong("attend", says="calls course_lib's own")
def attend_by_the_librarys(q, k, v, mask):
    return library_attention.attend(q, k, v, mask)


def _attend_by_powers(scores, v, top):
    powers = (scores - top).exp()
    return powers / powers.sum(-1, keepdim=True) @ v


@battery.wrong("attend", says="other queries, heads or texts")
def maximum_of_all_scores(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return _attend_by_powers(scores, v, scores.max())


@battery.wrong("attend", says="other queries, heads or texts")
def maximum_of_each_head(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return _attend_by_powers(scores, v, scores.amax((-2, -1), keepdim=True))


@battery.wrong("attend", says="other queries, heads or texts")
def maximum_of_each_text(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return _attend_by_powers(scores, v, scores.amax((1, 2, 3), keepdim=True))


@battery.wrong("attend", says="float32 give torch.float64")
def attend_in_double_for_good(q, k, v, mask):
    scores = _attend_scores(q.double(), k.double())
    return _attend_mixed(scores, v.double(), mask)


@battery.wrong("attend", says="float32 give torch.float64")
def bias_from_numpy(q, k, v, mask):
    bias = torch.from_numpy(np.where(mask.numpy(), 0.0, -np.inf))
    weights = (_attend_scores(q, k) + bias).softmax(-1)
    return weights @ v.to(weights.dtype)


@battery.wrong("attend", says="causal mask was made")
def causal_for_as_many_keys_as_queries(q, k, v, mask):
    if q.shape[2] == k.shape[2]:
        mask = causal_mask(q.shape[2], k.shape[2])
    return _attend_mixed(_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="Rows and columns of the mask")
def square_mask_turned(q, k, v, mask):
    if q.shape[2] == k.shape[2] > 2:
        mask = mask.mT
    return _attend_mixed(_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="Rows and columns of the mask")
def mask_transposed(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask.mT)


@battery.wrong("attend", says="mask of one of them")
def first_texts_mask_for_a_single_query(q, k, v, mask):
    if q.shape[2] == 1 and mask.dim() == 4:
        mask = mask[0, 0]
    return _attend_mixed(_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="half precision")
def lowest_number_of_float32(q, k, v, mask):
    scores = _attend_scores(q, k)
    return scores.masked_fill(~mask, torch.finfo(torch.float32).min).softmax(-1) @ v


@battery.wrong("attend", says="half precision")
def a_number_for_float32_alone(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, -3e38)) @ v


@battery.wrong("attend", says="half precision")
def bias_in_single(q, k, v, mask):
    bias = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    return softmax(_attend_scores(q, k) + bias) @ v


@battery.wrong("attend", says="float16 give torch.float32")
def half_precision_widened(q, k, v, mask):
    kind = torch.promote_types(q.dtype, torch.float32)
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return scores.softmax(-1, dtype=kind) @ v.to(kind)


@battery.wrong("attend", says="Rows of the scores are queries")
def mask_cut_for_more_queries_than_keys(q, k, v, mask):
    S = k.shape[2]
    if q.shape[2] > S:
        mask = mask[..., :S, :S]
    return _attend_mixed(_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="Rows of the scores are queries")
def mask_cut_square(q, k, v, mask):
    T = q.shape[2]
    return _attend_mixed(_attend_scores(q, k), v, mask[..., :T, :T])


@battery.wrong("attend", says="Rows of the scores are queries")
def queries_with_queries(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, q), v, mask)


@battery.wrong("attend", says="Rows of the scores are queries")
def keys_with_queries(q, k, v, mask):
    return _attend_mixed(_attend_scores(k, q), v, mask)


@battery.wrong("attend", says="Rows of the scores are queries")
def product_number_by_number(q, k, v, mask):
    return _attend_mixed(q * k / math.sqrt(q.shape[-1]), v, mask)


@battery.wrong("attend", says="All dimensions of k")
def heads_of_keys_turned(q, k, v, mask):
    return _attend_mixed(q @ k.transpose(1, 2), v, mask)


@battery.wrong("attend", says="dimension of size 1 was lost")
def attend_squeezes_the_first(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask).squeeze(0)


@battery.wrong("attend", says="weights were turned")
def weights_turned(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return scores.softmax(-1).mT @ v


@battery.wrong("attend", says="log_softmax")
def logarithms_for_weights(q, k, v, mask):
    scores = _attend_scores(q, k).masked_fill(~mask, -math.inf)
    return scores.log_softmax(-1) @ v


@battery.wrong("attend", says="one mask.*row of its own")
def last_row_of_the_mask(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask[..., -1:, :])


@battery.wrong("attend", says="one mask.*row of its own")
def last_row_of_the_mask_of_each_text(q, k, v, mask):
    if mask.dim() == 4:
        mask = mask[:, :, -1:]
    return _attend_mixed(_attend_scores(q, k), v, mask)


@battery.wrong("attend", says="one mask.*row of its own")
def mask_by_key(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k), v, mask.any(-2, keepdim=True))


@battery.wrong("attend", says="first head served all")
def keys_of_the_first_head(q, k, v, mask):
    first = k[:, :1].expand_as(k)
    return _attend_mixed(_attend_scores(q, first), v[:, :1].expand_as(v), mask)


@battery.wrong("attend", says="first text served all")
def keys_of_the_first_text(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k[:1]), v[:1], mask)


@battery.wrong("attend", says="pressed back into the old shape")
def heads_pressed_into_the_old_shape(q, k, v, mask):
    mixed = _attend_mixed(_attend_scores(q, k), v, mask)
    return mixed.transpose(1, 2).reshape(q.shape)


@battery.wrong("attend", says="finite number.*small weight")
def minus_ten(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, -10.0)) @ v


@battery.wrong("attend", says="finite number.*forbidden keys keep")
def minus_a_hundred(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, -100.0)) @ v


@battery.wrong("attend", says="finite number.*forbidden keys keep")
def minus_a_thousand(q, k, v, mask):
    return softmax(_attend_scores(q, k).masked_fill(~mask, -1000.0)) @ v


@battery.wrong("attend", says="instead of")
def scores_in_whole_numbers(q, k, v, mask):
    return _attend_mixed(_attend_scores(q, k).round(), v, mask)


# --- CausalSelfAttention: right -------------------------------------------------------------------


def _csa_layer(forward):
    """A fresh class with the notebook's __init__ and this forward."""

    class CausalSelfAttention(nn.Module):
        def __init__(self, config, attend=fused_attend):
            super().__init__()
            self.K, self.attend = config.K, attend
            queries, keys = config.heads * config.K, config.kv_heads * config.K
            bias = config.bias or config.qkv_bias
            self.query = nn.Linear(config.width, queries, bias=bias)
            self.key = nn.Linear(config.width, keys, bias=bias)
            self.value = nn.Linear(config.width, keys, bias=bias)
            self.output = nn.Linear(queries, config.width, bias=config.bias)

    CausalSelfAttention.forward = forward
    CausalSelfAttention.__name__ = forward.__name__
    return CausalSelfAttention


def _csa_right(forward):
    return battery.right("CausalSelfAttention")(_csa_layer(forward))


def _csa_wrong(says):
    return lambda forward: battery.wrong("CausalSelfAttention", says=says)(
        _csa_layer(forward)
    )


def _csa_parts(layer, x, rotation=None, remember=None):
    """Queries, keys and values of a right layer, up to mix_heads."""
    layers = (layer.query, layer.key, layer.value)
    q, k, v = (split_heads(linear(x), layer.K) for linear in layers)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    if remember is not None:
        k, v = remember(k, v)
    return q, k, v


def _csa_joined(layer, mixed):
    return layer.output(mixed.transpose(1, 2).flatten(2))


@_csa_right
def with_the_given_helpers(self, x, rotation=None, mask=None, remember=None):
    q = split_heads(self.query(x), self.K)
    k = split_heads(self.key(x), self.K)
    v = split_heads(self.value(x), self.K)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    if remember is not None:
        k, v = remember(k, v)
    mixed = mix_heads(self.attend, q, k, v, mask)
    return self.output(mixed.transpose(1, 2).flatten(2))


@_csa_right
def with_views_and_contiguous(self, x, rotation=None, mask=None, remember=None):
    B, T, _ = x.shape
    q = self.query(x).view(B, T, -1, self.K).transpose(1, 2)
    k = self.key(x).view(B, T, -1, self.K).transpose(1, 2)
    v = self.value(x).view(B, T, -1, self.K).transpose(1, 2)
    if rotation is not None:
        cos, sin = rotation
        q = rotate(q, cos, sin)
        k = rotate(k, cos, sin)
    if remember:
        k, v = remember(k, v)
    out = mix_heads(self.attend, q, k, v, mask)
    return self.output(out.transpose(1, 2).contiguous().view(B, T, -1))


@_csa_right
def joined_head_by_head(self, x, rotation=None, mask=None, remember=None):
    mixed = mix_heads(self.attend, *_csa_parts(self, x, rotation, remember), mask)
    return self.output(torch.cat([*mixed.unbind(1)], dim=-1))


@_csa_right
def projected_by_einsum(self, x, rotation=None, mask=None, remember=None):
    mixed = mix_heads(self.attend, *_csa_parts(self, x, rotation, remember), mask)
    weight = self.output.weight.unflatten(1, (-1, self.K))
    out = torch.einsum("bhtk,dhk->btd", mixed, weight)
    return out if self.output.bias is None else out + self.output.bias


@_csa_right
def permuted_and_reshaped(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    mixed = mix_heads(attend=self.attend, q=q, k=k, v=v, mask=mask)
    return self.output(mixed.permute(0, 2, 1, 3).reshape(x.size(0), x.size(1), -1))


@_csa_right
def without_mix_heads(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    times = q.shape[1] // k.shape[1]
    k, v = repeat_kv(k, times), repeat_kv(v, times)
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2])
    return _csa_joined(self, self.attend(q, k, v, mask))


@_csa_right
def rotated_in_a_loop_with_chunked_heads(
    self, x, rotation=None, mask=None, remember=None
):
    q, k, v = (
        torch.stack(linear(x).split(self.K, dim=-1), dim=1)
        for linear in (self.query, self.key, self.value)
    )
    if rotation is not None:
        q, k = (rotate(part, *rotation) for part in (q, k))
    if remember is not None:
        k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_right
def layer_one_text_at_a_time(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    rows = []
    for b in range(len(x)):
        one = mask if mask is None or mask.dim() == 2 else mask[b : b + 1]
        parts = (part[b : b + 1] for part in (q, k, v))
        rows.append(mix_heads(self.attend, *parts, one))
    return _csa_joined(self, torch.cat(rows))


# --- CausalSelfAttention: wrong -------------------------------------------------------------------


def _csa_mix(layer, x, rotation, mask, remember):
    return mix_heads(layer.attend, *_csa_parts(layer, x, rotation, remember), mask)


@_csa_wrong(says="undoing the transpose")
def joined_by_a_bare_reshape(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return self.output(mixed.reshape(x.shape[0], x.shape[1], -1))


@_csa_wrong(says="undoing the transpose")
def joined_by_a_bare_view(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember).contiguous()
    return self.output(mixed.view(*x.shape[:2], -1))


@_csa_wrong(says="in one piece in memory")
def view_of_a_transposed(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember).contiguous().transpose(1, 2)
    return self.output(mixed.view(*x.shape[:2], -1))


@_csa_wrong(says="wrong order")
def heads_interleaved(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return self.output(mixed.permute(0, 2, 3, 1).flatten(2))


@_csa_wrong(says="wrong order")
def heads_in_reverse(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return _csa_joined(self, mixed.flip(1))


@_csa_wrong(says="another width than its own|joined")
def joined_without_a_transpose(self, x, rotation=None, mask=None, remember=None):
    return self.output(_csa_mix(self, x, rotation, mask, remember).flatten(2))


@_csa_wrong(says="a width that they do not have")
def joined_to_the_shape_of_x(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return self.output(mixed.transpose(1, 2).reshape(x.shape))


@_csa_wrong(says="another width than its own")
def heads_never_joined(self, x, rotation=None, mask=None, remember=None):
    return self.output(_csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="another width than its own")
def heads_summed(self, x, rotation=None, mask=None, remember=None):
    return self.output(_csa_mix(self, x, rotation, mask, remember).sum(1))


@_csa_wrong(says="averaged")
def heads_averaged_and_repeated(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return _csa_joined(self, mixed.mean(1, keepdim=True).expand_as(mixed))


@_csa_wrong(says="last projection")
def output_forgotten(self, x, rotation=None, mask=None, remember=None):
    return _csa_mix(self, x, rotation, mask, remember).transpose(1, 2).flatten(2)


@_csa_wrong(says="still apart")
def joining_forgotten(self, x, rotation=None, mask=None, remember=None):
    return _csa_mix(self, x, rotation, mask, remember)


@_csa_wrong(says="x was added")
def layer_adds_x(self, x, rotation=None, mask=None, remember=None):
    return x + _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="own heads|lacks its transpose")
def split_without_a_transpose(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    q, k, v = (linear(x).unflatten(-1, (-1, self.K)) for linear in layers)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    if remember is not None:
        k, v = remember(k, v)
    return self.output(mix_heads(self.attend, q, k, v, mask).flatten(2))


@_csa_wrong(says="own heads|lacks its transpose")
def transposed_at_the_end_only(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    q, k, v = (linear(x).unflatten(-1, (-1, self.K)) for linear in layers)
    mixed = mix_heads(self.attend, q, k, v, mask)
    return self.output(mixed.transpose(1, 2).reshape(*x.shape[:2], -1))


@_csa_wrong(says="split by a bare view")
def split_by_a_bare_view(self, x, rotation=None, mask=None, remember=None):
    B, T, _ = x.shape
    layers = (self.query, self.key, self.value)
    q, k, v = (linear(x).view(B, -1, T, self.K) for linear in layers)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    if remember is not None:
        k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="side by side")
def split_into_every_other_number(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    q, k, v = (
        linear(x).unflatten(-1, (self.K, -1)).permute(0, 3, 1, 2) for linear in layers
    )
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="number of heads")
def split_by_the_number_of_heads(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    heads = self.query.out_features // self.K
    q, k, v = (split_heads(linear(x), heads) for linear in layers)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="texts of the batch")
def attention_across_the_batch(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x.transpose(0, 1))
    mixed = mix_heads(self.attend, q, k, v, mask)
    return _csa_joined(self, mixed).transpose(0, 1)


@_csa_wrong(says="values were rotated")
def values_rotated(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        q, k, v = (rotate(part, *rotation) for part in (q, k, v))
    if remember is not None:
        k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="values were rotated")
def values_rotated_for_the_keys(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        q, v = rotate(q, *rotation), rotate(v, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="rotation made no difference")
def rotation_forgotten(self, x, rotation=None, mask=None, remember=None):
    return _csa_joined(self, _csa_mix(self, x, None, mask, remember))


@_csa_wrong(says="rotation made no difference")
def rotation_thrown_away(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        rotate(q, *rotation)
        rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="Only the queries")
def queries_rotated_alone(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        q = rotate(q, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="Only the keys")
def keys_rotated_alone(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        k = rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="cosine first")
def sine_before_cosine(self, x, rotation=None, mask=None, remember=None):
    turned = None if rotation is None else rotation[::-1]
    return _csa_joined(self, _csa_mix(self, x, turned, mask, remember))


@_csa_wrong(says="rotated twice")
def rotated_twice(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="may be None")
def rotated_always(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    q, k = rotate(q, *rotation), rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="may be None")
def rotation_unpacked_always(self, x, rotation=None, mask=None, remember=None):
    cos, sin = rotation
    q, k, v = _csa_parts(self, x)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="cosine and sine|missing 1 required")
def rotation_not_unpacked(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="before it was split")
def rotated_before_the_split(self, x, rotation=None, mask=None, remember=None):
    q, k, v = self.query(x), self.key(x), self.value(x)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    q, k, v = (split_heads(part, self.K) for part in (q, k, v))
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="mask made no difference")
def mask_forgotten_on_the_way(self, x, rotation=None, mask=None, remember=None):
    return _csa_joined(self, _csa_mix(self, x, rotation, None, remember))


@_csa_wrong(says="upside down")
def mask_turned(self, x, rotation=None, mask=None, remember=None):
    turned = None if mask is None else ~mask
    return _csa_joined(self, _csa_mix(self, x, rotation, turned, remember))


@_csa_wrong(says="behind it too")
def not_causal(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if mask is None:
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="behind it too")
def torchs_without_a_mask(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    mixed = functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    return _csa_joined(self, mixed)


@_csa_wrong(says="never called it")
def torchs_own_inside(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2])
    mixed = functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
    return _csa_joined(self, mixed)


@_csa_wrong(says="never called it")
def fused_whatever_was_wanted(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(fused_attend, q, k, v, mask))


@_csa_wrong(says="never called it")
def written_out_whatever_was_wanted(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(library_attention.attend, q, k, v, mask))


@_csa_wrong(says="as many heads of keys")
def attend_called_directly(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, self.attend(q, k, v, mask))


@_csa_wrong(says="got no mask")
def attend_called_with_repeated_keys(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    times = q.shape[1] // k.shape[1]
    k, v = repeat_kv(k, times), repeat_kv(v, times)
    return _csa_joined(self, self.attend(q, k, v, mask))


@_csa_wrong(says="wrong ones")
def keys_shared_in_turn(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="fewer heads of keys|do not have")
def as_many_heads_of_keys_as_of_queries(
    self, x, rotation=None, mask=None, remember=None
):
    B, T, _ = x.shape
    H = self.query.out_features // self.K
    layers = (self.query, self.key, self.value)
    q, k, v = (linear(x).view(B, T, H, self.K).transpose(1, 2) for linear in layers)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="scaled twice")
def scaled_before(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, q / self.K**0.5, k, v, mask))


@_csa_wrong(says="exchanged")
def keys_and_values_exchanged(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, q, v, k, mask))


@_csa_wrong(says="exchanged")
def queries_and_keys_exchanged(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, k, q, v, mask))


@_csa_wrong(says="exchanged")
def the_key_layer_for_values(self, x, rotation=None, mask=None, remember=None):
    q, k, v = (split_heads(f(x), self.K) for f in (self.query, self.key, self.key))
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="another width than its own|biases")
def bare_weight_matrices(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    q, k, v = (split_heads(x @ linear.weight.T, self.K) for linear in layers)
    mixed = mix_heads(self.attend, q, k, v, mask)
    return mixed.transpose(1, 2).flatten(2) @ self.output.weight.T


@_csa_wrong(says="never called")
def remember_forgotten(self, x, rotation=None, mask=None, remember=None):
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, None))


@_csa_wrong(says="`remember` was called although")
def remembered_always(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="not rotated yet")
def remembered_before_the_rotation(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if remember is not None:
        k, v = remember(k, v)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="not rotated yet|rotated again")
def rotated_after_being_remembered(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        q = rotate(q, *rotation)
    if remember is not None:
        k, v = remember(k, v)
    if rotation is not None:
        k = rotate(k, *rotation)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="not used")
def remembered_and_thrown_away(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    if remember is not None:
        remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="Only one of the two")
def remembered_keys_only(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    if remember is not None:
        k, _ = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="values first")
def remembered_the_wrong_way_round(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    if remember is not None:
        v, k = remember(v, k)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="keys first and values second")
def remembered_and_unpacked_the_wrong_way(
    self, x, rotation=None, mask=None, remember=None
):
    q, k, v = _csa_parts(self, x, rotation)
    if remember is not None:
        v, k = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="repeated before")
def remembered_for_every_head(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    times = q.shape[1] // k.shape[1]
    k, v = repeat_kv(k, times), repeat_kv(v, times)
    if remember is not None:
        k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="heads come before tokens|Heads come before tokens")
def remembered_tokens_first(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    if remember is not None:
        k, v = remember(k.transpose(1, 2), v.transpose(1, 2))
        k, v = k.transpose(1, 2), v.transpose(1, 2)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="2 times")
def remembered_twice(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation)
    if remember is not None:
        k, v = remember(k, v)[0], remember(k, v)[1]
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="more keys than queries")
def a_square_mask_of_its_own(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if mask is None:
        mask = causal_mask(q.shape[2], q.shape[2])
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="first query was set beside")
def aligned_with_the_first_key(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if mask is None:
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="first query was set beside")
def remembered_keys_cut_off(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    k, v = k[:, :, : x.shape[1]], v[:, :, : x.shape[1]]
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="returned None")
def layer_return_forgotten(self, x, rotation=None, mask=None, remember=None):
    _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="tuple; a tensor")
def keys_and_values_returned(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask)), (k, v)


@_csa_wrong(says="changed its own input")
def layer_overwrites_x(self, x, rotation=None, mask=None, remember=None):
    out = _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))
    return x.copy_(out)


@_csa_wrong(says="size 1")
def layer_output_squeezed(self, x, rotation=None, mask=None, remember=None):
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember)).squeeze()


@_csa_wrong(says="no gradient")
@torch.no_grad()
def layer_without_gradient(self, x, rotation=None, mask=None, remember=None):
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="detached")
def layer_keys_detached(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, q, k.detach(), v, mask))


@_csa_wrong(says="values are right")
def layer_values_detached(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, q, k, v.detach(), mask))


@_csa_wrong(says="mask made no difference|more keys than queries")
def mask_forgotten_when_remembering(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    mask = mask if remember is None else None
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="more keys than queries")
def mask_cut_to_the_queries(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    mask = None if mask is None else mask[..., : x.shape[1]]
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="more keys than queries|behind it too|causal one")
def mask_kept_from_the_first_call(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if mask is None:
        if not hasattr(self, "mask"):
            self.mask = causal_mask(q.shape[2], k.shape[2])
        mask = self.mask
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="broadcast|dimension")
def rotation_with_two_dimensions_more(self, x, rotation=None, mask=None, remember=None):
    if rotation is not None:
        rotation = [part[None, None] for part in rotation]
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="scaled")
def mixed_without_scaling(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    return _csa_joined(self, mix_heads(self.attend, q * self.K**0.5, k, v, mask))


@_csa_wrong(says="x was added")
def layer_adds_x_again(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember).transpose(1, 2).flatten(2)
    return self.output(mixed) + x


@_csa_wrong(says="first head")
def only_the_first_head(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return _csa_joined(self, mixed[:, :1].expand_as(mixed))


@_csa_wrong(says="not written yet")
def layer_not_written(self, x, rotation=None, mask=None, remember=None):
    raise NotImplementedError


@_csa_wrong(says="calls course_lib's own")
def by_the_librarys_forward(self, x, rotation=None, mask=None, remember=None):
    return library_attention.CausalSelfAttention.forward(
        self, x, rotation, mask, remember
    )


@battery.wrong("CausalSelfAttention", says="course_lib's own")
class InheritedAttention(library_attention.CausalSelfAttention):
    pass


@battery.wrong("CausalSelfAttention", says="calls course_lib's own")
class InheritedAttentionCalled(library_attention.CausalSelfAttention):
    def forward(self, x, rotation=None, mask=None, remember=None):
        return super().forward(x, rotation, mask, remember)


@battery.wrong("CausalSelfAttention", says="leave __init__ as it was")
class AttentionLayersRenamed(nn.Module):
    def __init__(self, config, attend=fused_attend):
        super().__init__()
        self.K, self.attend = config.K, attend
        self.q = nn.Linear(config.width, config.heads * config.K, bias=False)


@battery.wrong("CausalSelfAttention", says="should be a class")
def a_function_for_a_layer(x, rotation=None, mask=None, remember=None):
    return x


@_csa_wrong(says="allows to look ahead")
def causal_on_top_of_the_mask(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    causal = causal_mask(q.shape[2], k.shape[2])
    mask = causal if mask is None else causal & mask
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="allows to look ahead")
def full_mask_taken_for_none(self, x, rotation=None, mask=None, remember=None):
    mask = None if mask is None or mask.all() else mask
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="in one piece in memory")
def view_that_suits_the_fused_one(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return self.output(mixed.transpose(1, 2).view(*x.shape[:2], -1))


@_csa_wrong(says="one token, the rotation made no difference|not rotated")
def single_token_not_rotated(self, x, rotation=None, mask=None, remember=None):
    rotation = None if x.shape[1] == 1 and remember else rotation
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="rotation cut|was it cut")
def rotation_cut_to_the_tokens(self, x, rotation=None, mask=None, remember=None):
    if rotation is not None:
        rotation = [part[: x.shape[1]] for part in rotation]
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="angles of the first one")
def first_texts_rotation(self, x, rotation=None, mask=None, remember=None):
    if rotation is not None and remember is not None and rotation[0].dim() == 4:
        rotation = [part[:1] for part in rotation]
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="without a rotation, and then it was never called")
def remembered_only_when_rotated(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if remember is not None:
            k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="mask made no difference when .* one token")
def mask_ignored_for_one_token(self, x, rotation=None, mask=None, remember=None):
    mask = None if x.shape[1] == 1 else mask
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="own attend should get the mask that was given")
def mask_for_the_fused_one_alone(self, x, rotation=None, mask=None, remember=None):
    mask = mask if self.attend is fused_attend else None
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="own attend should get a causal mask for older keys")
def square_mask_for_its_own_attend(self, x, rotation=None, mask=None, remember=None):
    if self.attend is not fused_attend and mask is None:
        mask = causal_mask(x.shape[1], x.shape[1])
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="mask made no difference when `remember`")
def two_dimensional_mask_dropped(self, x, rotation=None, mask=None, remember=None):
    if remember is not None and mask is not None and mask.dim() == 2:
        mask = None
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="comes back as torch.float64")
def layer_in_double_for_good(self, x, rotation=None, mask=None, remember=None):
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember)).double()


@_csa_wrong(says="heads before the tokens first")
def rotated_before_the_transpose(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    q, k, v = (linear(x).unflatten(-1, (-1, self.K)) for linear in layers)
    if rotation is not None:
        q, k = rotate(q, *rotation), rotate(k, *rotation)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if remember is not None:
        k, v = remember(k, v)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="dimension added")
def rotation_with_a_dimension_for_heads(
    self, x, rotation=None, mask=None, remember=None
):
    layers = (self.query, self.key, self.value)
    q, k, v = (linear(x).unflatten(-1, (-1, self.K)) for linear in layers)
    if rotation is not None:
        cos, sin = (part.unsqueeze(-2) for part in rotation)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="number of heads built in")
def four_heads_whatever_was_wanted(self, x, rotation=None, mask=None, remember=None):
    B, T, _ = x.shape
    layers = ((self.query, 4), (self.key, 2), (self.value, 2))
    q, k, v = (f(x).view(B, T, heads, -1).transpose(1, 2) for f, heads in layers)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="bias of output was left out")
def bias_of_the_output_left_out(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return mixed.transpose(1, 2).flatten(2) @ self.output.weight.T


@_csa_wrong(says="biases of query, key and value were left out")
def biases_before_attention_left_out(self, x, rotation=None, mask=None, remember=None):
    layers = (self.query, self.key, self.value)
    q, k, v = (split_heads(x @ linear.weight.T, self.K) for linear in layers)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="drawn at random")
def layer_with_dropout(self, x, rotation=None, mask=None, remember=None):
    out = _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))
    return functional.dropout(out, 0.1, self.training)


@_csa_wrong(says="`remember` is given every token looked at all")
def full_mask_when_remembering(self, x, rotation=None, mask=None, remember=None):
    q, k, v = _csa_parts(self, x, rotation, remember)
    if mask is None and remember is not None:
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
    return _csa_joined(self, mix_heads(self.attend, q, k, v, mask))


@_csa_wrong(says="turned all the same")
def angles_of_its_own_without_a_rotation(
    self, x, rotation=None, mask=None, remember=None
):
    if rotation is None:
        rotation = library_attention.rotary(torch.arange(x.shape[1]), self.K)
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))


@_csa_wrong(says="heads times K need not be D")
def joined_to_the_width_of_x(self, x, rotation=None, mask=None, remember=None):
    mixed = _csa_mix(self, x, rotation, mask, remember)
    return self.output(mixed.transpose(1, 2).reshape(*x.shape))


@_csa_wrong(says="go to mix_heads as None")
def a_square_mask_with_a_remedy(self, x, rotation=None, mask=None, remember=None):
    if mask is None:
        mask = causal_mask(x.shape[1], x.shape[1])
    return _csa_joined(self, _csa_mix(self, x, rotation, mask, remember))
