"""Answers to lesson 04: weights of the chosen, the way to experts and back, tests of it."""

import unittest

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tools.graders import Battery

battery = Battery()


# --- weigh: right -----------------------------------------------------------------------------


@battery.right("weigh")
def by_two_paths(scores, chosen, renormalise=True):
    if renormalise:
        return torch.softmax(torch.gather(scores, 1, chosen), dim=1)
    return torch.gather(torch.softmax(scores, dim=1), 1, chosen)


@battery.right("weigh")
def with_the_others_forbidden(scores, chosen, renormalise=True):
    if renormalise:
        others = torch.ones_like(scores, dtype=torch.bool).scatter(1, chosen, False)
        scores = scores.masked_fill(others, -torch.inf)
    return scores.softmax(-1).gather(-1, chosen)


@battery.right("weigh")
def by_logarithms(scores, chosen, renormalise=True):
    mine = scores.gather(-1, chosen)
    among = mine if renormalise else scores
    return (mine - among.logsumexp(-1, keepdim=True)).exp()


@battery.right("weigh")
def token_by_token(scores, chosen, renormalise=True):
    rows = []
    for z, c in zip(scores, chosen, strict=True):
        rows.append(z[c].softmax(0) if renormalise else z.softmax(0)[c])
    return torch.stack(rows)


@battery.right("weigh")
def with_rows_and_columns(scores, chosen, renormalise=True):
    rows = torch.arange(len(scores)).unsqueeze(1)
    if not renormalise:
        return functional.softmax(scores, dim=-1)[rows, chosen]
    return functional.softmax(scores[rows, chosen], dim=-1)


@battery.right("weigh")
def by_exponentials(scores, chosen, renormalise=True):
    mine = torch.take_along_dim(scores, chosen, dim=1)
    counted = mine if renormalise else scores
    top = counted.max(dim=1, keepdim=True).values
    return (mine - top).exp() / (counted - top).exp().sum(dim=1, keepdim=True)


@battery.right("weigh")
def number_by_number(scores, chosen, renormalise=True):
    out = torch.zeros(chosen.shape, dtype=scores.dtype)
    for n in range(chosen.shape[0]):
        counted = chosen[n].tolist() if renormalise else range(scores.shape[1])
        for j, e in enumerate(chosen[n].tolist()):
            out[n, j] = 1 / sum(torch.exp(scores[n, i] - scores[n, e]) for i in counted)
    return out


@battery.right("weigh")
def by_one_hot_vectors(scores, chosen, renormalise=True):
    here = functional.one_hot(chosen, scores.shape[-1]).to(scores.dtype)  # (N, k, E)
    if renormalise:
        return torch.einsum("nke,ne->nk", here, scores).softmax(-1)
    return torch.einsum("nke,ne->nk", here, scores.softmax(-1))


# --- weigh: wrong -----------------------------------------------------------------------------


def _weigh(says):
    return battery.wrong("weigh", says=says)


@_weigh("shares among all E experts. With renormalise=True")
def shares_among_all(scores, chosen, renormalise=True):
    return scores.softmax(-1).gather(-1, chosen)


@_weigh("brought to a sum of 1 all the same")
def always_renormalised(scores, chosen, renormalise=True):
    return scores.gather(-1, chosen).softmax(-1)


@_weigh("shares among all E experts. With renormalise=True|brought to a sum")
def the_other_way_round(scores, chosen, renormalise=True):
    return (
        always_renormalised(scores, chosen)
        if not renormalise
        else shares_among_all(scores, chosen)
    )


@_weigh("shares among all E experts. With renormalise=True")
def not_by_default(scores, chosen, renormalise=False):
    return by_two_paths(scores, chosen, renormalise)


@_weigh("looked for once more")
def top_k_again(scores, chosen, renormalise=True):
    best = scores.topk(chosen.shape[-1], dim=-1).values
    return best.softmax(-1) if renormalise else scores.softmax(-1).gather(-1, chosen)


@_weigh("looked for once more")
def top_k_of_shares(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).topk(chosen.shape[-1], dim=-1).values
    return shares / shares.sum(-1, keepdim=True) if renormalise else shares


@_weigh("looked for once more")
def top_k_without_renormalising(scores, chosen, renormalise=True):
    if renormalise:
        return scores.gather(-1, chosen).softmax(-1)
    return scores.softmax(-1).topk(chosen.shape[-1], dim=-1).values


@_weigh("went over the tokens")
def over_the_tokens(scores, chosen, renormalise=True):
    return scores.gather(-1, chosen).softmax(0)


@_weigh("went over the tokens")
def all_over_the_tokens(scores, chosen, renormalise=True):
    shares = scores.softmax(0).gather(-1, chosen)
    return shares / shares.sum(-1, keepdim=True) if renormalise else shares


@_weigh("went over the tokens")
def shares_over_the_tokens(scores, chosen, renormalise=True):
    if renormalise:
        return scores.gather(-1, chosen).softmax(-1)
    return functional.softmax(scores, dim=0).gather(-1, chosen)


@_weigh("scores themselves")
def raw_scores(scores, chosen, renormalise=True):
    return scores.gather(-1, chosen)


@_weigh("scores themselves")
def raw_scores_unless_renormalised(scores, chosen, renormalise=True):
    mine = scores.gather(-1, chosen)
    return mine.softmax(-1) if renormalise else mine


@_weigh("logarithms of weights")
def log_softmax(scores, chosen, renormalise=True):
    if renormalise:
        return scores.gather(-1, chosen).log_softmax(-1)
    return scores.log_softmax(-1).gather(-1, chosen)


@_weigh("scores themselves")
def exponentials_alone(scores, chosen, renormalise=True):
    return scores.gather(-1, chosen).exp()


@_weigh("divided by their sum")
def scores_over_their_sum(scores, chosen, renormalise=True):
    mine = scores.gather(-1, chosen)
    return mine / mine.sum(-1, keepdim=True)


@_weigh("order got lost")
def sorted_weights(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise).sort(-1, descending=True).values


@_weigh("order got lost")
def in_the_order_of_experts(scores, chosen, renormalise=True):
    here = torch.zeros_like(scores, dtype=torch.bool).scatter(1, chosen, True)
    mine = scores[here].view(chosen.shape)
    if renormalise:
        return mine.softmax(-1)
    return scores.softmax(-1)[here].view(chosen.shape)


@_weigh("order got lost")
def turned_round(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise).flip(-1)


@_weigh("a bias can do that")
def shares_over_their_sum(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).gather(-1, chosen)
    return shares / shares.sum(-1, keepdim=True) if renormalise else shares


@_weigh("a bias can do that")
def shares_over_their_sum_in_doubles(scores, chosen, renormalise=True):
    shares = scores.double().softmax(-1).gather(-1, chosen)
    if renormalise:
        shares = shares / shares.sum(-1, keepdim=True)
    return shares.to(scores.dtype)


@_weigh("a bias can do that")
def with_a_small_constant(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).gather(-1, chosen)
    if renormalise:
        shares = shares / (shares.sum(-1, keepdim=True) + 1e-20)
    return shares


@_weigh("first digits")
def with_a_larger_constant(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).gather(-1, chosen)
    if renormalise:
        shares = shares / (shares.sum(-1, keepdim=True) + 1e-4)
    return shares


@_weigh("a bias can do that")
def with_a_least_sum(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).gather(-1, chosen)
    if renormalise:
        shares = shares / shares.sum(-1, keepdim=True).clamp(min=1e-9)
    return shares


@_weigh("1000|a bias can do that")
def others_forbidden_with_too_little(scores, chosen, renormalise=True):
    if renormalise:
        kept = torch.zeros_like(scores).scatter(1, chosen, 1.0)
        scores = torch.where(kept > 0, scores, -100.0)
    return scores.softmax(-1).gather(-1, chosen)


@_weigh("1000")
def exponentials_unshifted(scores, chosen, renormalise=True):
    powers = scores.exp()
    mine = powers.gather(-1, chosen)
    return mine / (mine if renormalise else powers).sum(-1, keepdim=True)


@_weigh("1000")
def clamped_scores(scores, chosen, renormalise=True):
    return by_two_paths(scores.clamp(-50, 50), chosen, renormalise)


@_weigh("1000|a bias can")
def largest_of_the_whole_batch(scores, chosen, renormalise=True):
    powers = (scores - scores.max()).exp()
    mine = powers.gather(-1, chosen)
    return mine / (mine if renormalise else powers).sum(-1, keepdim=True)


@_weigh("wrong dimension")
def looked_up_along_the_tokens(scores, chosen, renormalise=True):
    return scores.gather(0, chosen).softmax(-1)


@_weigh("wrong dimension")
def shares_looked_up_along_the_tokens(scores, chosen, renormalise=True):
    if renormalise:
        return scores.gather(-1, chosen).softmax(-1)
    return scores.softmax(-1).gather(0, chosen)


@_weigh("choices of all tokens")
def columns_of_all_tokens(scores, chosen, renormalise=True):
    return scores[:, chosen].softmax(-1)


@_weigh("whole rows were looked up")
def rows_instead_of_columns(scores, chosen, renormalise=True):
    return scores[chosen].softmax(-1)


@_weigh("sigmoid")
def sigmoids(scores, chosen, renormalise=True):
    shares = scores.sigmoid().gather(-1, chosen)
    return shares / shares.sum(-1, keepdim=True) if renormalise else shares


@_weigh("sigmoid")
def sigmoids_alone(scores, chosen, renormalise=True):
    return scores.gather(-1, chosen).sigmoid()


@_weigh("taken twice")
def softmax_of_shares(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).gather(-1, chosen)
    return shares.softmax(-1) if renormalise else shares


@_weigh("all tokens together")
def over_everything(scores, chosen, renormalise=True):
    mine = scores.gather(-1, chosen)
    return mine.flatten().softmax(0).view(mine.shape)


@_weigh("count alike")
def equal_weights(scores, chosen, renormalise=True):
    return torch.full(chosen.shape, 1 / chosen.shape[-1])


@_weigh("first columns")
def first_columns(scores, chosen, renormalise=True):
    return scores[:, : chosen.shape[-1]].softmax(-1)


@_weigh("numbers of the experts")
def numbers_weighed(scores, chosen, renormalise=True):
    return chosen.float().softmax(-1)


@_weigh("weights of one")
def first_token_for_all(scores, chosen, renormalise=True):
    weights = by_two_paths(scores, chosen, renormalise)
    return weights[:1].expand_as(weights)


@_weigh("sign is turned")
def negative_scores(scores, chosen, renormalise=True):
    return by_two_paths(-scores, chosen, renormalise)


@_weigh("largest one")
def divided_by_the_largest(scores, chosen, renormalise=True):
    weights = by_two_paths(scores, chosen)
    return weights / weights.max(-1, keepdim=True).values


@_weigh("squared|root")
def of_length_1(scores, chosen, renormalise=True):
    shares = scores.softmax(-1).gather(-1, chosen)
    return shares / shares.norm(dim=-1, keepdim=True)


@_weigh("as they are")
def scaled_by_the_root(scores, chosen, renormalise=True):
    return by_two_paths(scores / chosen.shape[-1] ** 0.5, chosen, renormalise)


@_weigh("one weight for each of all E")
def all_columns(scores, chosen, renormalise=True):
    others = torch.ones_like(scores, dtype=torch.bool).scatter(1, chosen, False)
    return scores.masked_fill(others, -torch.inf).softmax(-1)


@_weigh("changed its own input")
def in_place(scores, chosen, renormalise=True):
    scores -= scores.max(-1, keepdim=True).values
    return by_two_paths(scores, chosen, renormalise)


@_weigh("changed its own input")
def forbidden_in_place(scores, chosen, renormalise=True):
    if renormalise:
        scores.masked_fill_(
            torch.ones_like(scores, dtype=torch.bool).scatter(1, chosen, False),
            -torch.inf,
        )
    return scores.softmax(-1).gather(-1, chosen)


@_weigh("no gradient")
def in_numpy(scores, chosen, renormalise=True):
    z, c = scores.detach().numpy(), chosen.numpy()
    mine = np.take_along_axis(z, c, -1)
    counted = mine if renormalise else z
    top = counted.max(-1, keepdims=True)
    return torch.from_numpy(
        np.exp(mine - top) / np.exp(counted - top).sum(-1, keepdims=True)
    )


@_weigh("no gradient")
def detached(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise).detach()


@_weigh("gradient is not")
def sum_detached(scores, chosen, renormalise=True):
    mine = scores.gather(-1, chosen)
    counted = mine if renormalise else scores
    return (mine - counted.logsumexp(-1, keepdim=True).detach()).exp()


@_weigh("worked example")
def the_worked_weights(scores, chosen, renormalise=True):
    return torch.tensor([[4 / 7, 3 / 7]]) if renormalise else torch.tensor([[0.4, 0.3]])


@_weigh("any number of experts")
def for_two_choices(scores, chosen, renormalise=True):
    mine = scores.gather(-1, chosen)
    first = (mine[:, :1] - mine[:, 1:2]).sigmoid()
    if renormalise:
        return torch.cat([first, 1 - first], dim=-1)
    return scores.softmax(-1).gather(-1, chosen)


@_weigh("each of its k|shape|IndexError|dimension")
def squeezed(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise).squeeze()


@_weigh("view|piece")
def by_a_view(scores, chosen, renormalise=True):
    E = scores.shape[-1]
    places = (torch.arange(len(scores))[:, None] * E + chosen).contiguous().view(-1)
    mine = scores.view(-1)[places].view(chosen.shape)
    return mine.softmax(-1) if renormalise else scores.softmax(-1).gather(-1, chosen)


@_weigh("first digits")
def rounded(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise).round(decimals=3)


@_weigh("returned a list")
def as_a_list(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise).tolist()


@_weigh("returned a tuple")
def with_the_experts(scores, chosen, renormalise=True):
    return by_two_paths(scores, chosen, renormalise), chosen


# --- mix_by_masks: right ----------------------------------------------------------------------


@battery.right("mix_by_masks")
def expert_by_expert(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e in range(len(experts)):
        rows, columns = torch.where(chosen == e)
        if len(rows) == 0:
            continue
        out[rows] = out[rows] + weights[rows, columns].unsqueeze(1) * experts[e](
            x[rows]
        )
    return out


@battery.right("mix_by_masks")
def choice_by_choice(x, weights, chosen, experts):
    out = torch.zeros(x.shape, dtype=x.dtype)
    for j in range(chosen.shape[1]):
        for e, expert in enumerate(experts):
            mask = chosen[:, j] == e
            out[mask] += weights[mask, j][:, None] * expert(x[mask])
    return out


@battery.right("mix_by_masks")
def by_a_dense_table_of_weights(x, weights, chosen, experts):
    table = torch.zeros(len(x), len(experts), dtype=weights.dtype).scatter(
        1, chosen, weights
    )
    out = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        tokens = (chosen == e).any(1).nonzero().flatten()
        out = out.index_add(0, tokens, table[tokens, e : e + 1] * experts[e](x[tokens]))
    return out


@battery.right("mix_by_masks")
def by_sorting(x, weights, chosen, experts):
    order = chosen.flatten().argsort()
    token = torch.div(order, chosen.shape[1], rounding_mode="floor")
    counts = torch.bincount(chosen.flatten(), minlength=len(experts)).tolist()
    heard = [f(rows) for f, rows in zip(experts, x[token].split(counts), strict=True)]
    weighed = torch.cat(heard) * weights.flatten()[order][:, None]
    return torch.zeros_like(x).index_add(0, token, weighed)


@battery.right("mix_by_masks")
def side_by_side_and_summed(x, weights, chosen, experts):
    said = x.new_zeros(*chosen.shape, x.shape[-1])
    for e, expert in enumerate(experts):
        here = chosen == e
        said[here] = expert(x[here.nonzero()[:, 0]])
    return torch.einsum("nk,nkd->nd", weights, said)


@battery.right("mix_by_masks")
def with_lists_of_tokens(x, weights, chosen, experts):
    visits = {}
    for n, row in enumerate(chosen.tolist()):
        for j, e in enumerate(row):
            visits.setdefault(e, []).append((n, j))
    parts = [[] for _ in range(len(x))]
    for e, pairs in visits.items():
        answers = experts[e](torch.stack([x[n] for n, _ in pairs]))
        for (n, j), answer in zip(pairs, answers, strict=True):
            parts[n].append(weights[n, j] * answer)
    return torch.stack([torch.stack(part).sum(0) for part in parts])


@battery.right("mix_by_masks")
def with_the_place_found_by_argmax(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        here = (chosen == e).int()
        rows = here.sum(1) > 0
        column = (
            here[rows].argmax(dim=1, keepdim=True)
            if rows.any()
            else here[:0, :1].long()
        )
        weight = weights[rows].gather(1, column)
        out[rows] += expert(x[rows]) * weight
    return out


@battery.right("mix_by_masks")
def weighed_in_place(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        idx, nth = (chosen == e).nonzero(as_tuple=True)
        if idx.numel():
            y = expert(x[idx])
            y *= weights[idx, nth, None]
            out.index_add_(0, idx, y)
    return out


@battery.right("mix_by_masks")
def by_matrices_of_zeros_and_ones(x, weights, chosen, experts):
    out = 0
    for e, expert in enumerate(experts):
        here = chosen == e
        send = torch.eye(len(x), dtype=x.dtype)[here.any(-1)]  # (n, N)
        weight = send @ torch.where(here, weights, torch.zeros_like(weights)).sum(-1)
        out = out + send.T @ (weight[:, None] * expert(send @ x))
    return out


@battery.right("mix_by_masks")
def as_mixtral_does_in_transformers(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    mask = functional.one_hot(chosen, num_classes=len(experts)).permute(2, 1, 0)
    for e in torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero():
        place, token = torch.where(mask[e].squeeze(0))
        current = experts[e](x[None, token].reshape(-1, x.shape[-1]))
        out.index_add_(0, token, (current * weights[token, place, None]).to(x.dtype))
    return out


@battery.right("mix_by_masks")
def with_tokens_repeated(x, weights, chosen, experts):
    k, flat = chosen.shape[1], chosen.flatten()
    repeated = x.repeat_interleave(k, dim=0)
    y = torch.empty_like(repeated)
    for e, expert in enumerate(experts):
        y[flat == e] = expert(repeated[flat == e])
    return (y.view(*weights.shape, -1) * weights.unsqueeze(-1)).sum(dim=1)


@battery.right("mix_by_masks")
def by_selected_weights(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e in range(len(experts)):
        mask = chosen == e
        if mask.any():
            out[mask.any(-1)] += weights[mask].unsqueeze(-1) * experts[e](
                x[mask.any(-1)]
            )
    return out


# --- mix_by_masks: wrong ----------------------------------------------------------------------


def _mix(says):
    return battery.wrong("mix_by_masks", says=says)


def _rows(chosen, e):
    return (chosen == e).any(dim=-1)


def _weight(weights, chosen, e):
    return (weights * (chosen == e)).sum(-1, keepdim=True)


def _summed(x, chosen, experts, weight, read=None):
    """Out of weight(e, rows) and what expert e reads; most mistakes are one of them."""
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        if rows.any():
            out[rows] += weight(e, rows) * expert(
                x[rows] if read is None else read(e, rows)
            )
    return out


@_mix("n × n")
def the_published_layer(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = (chosen == e).any(dim=1)
        if rows.any():
            column = (chosen[rows] == e).nonzero(as_tuple=True)[1]
            out[rows] += expert(x[rows]) * weights[rows][:, column].unsqueeze(-1)
    return out


@_mix("n × n")
def with_a_square_of_weights(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, column = torch.where(chosen == e)
        out[rows] += weights[rows][:, column] @ expert(x[rows])
    return out


@_mix("One weight of a token")
def the_quiet_variant(x, weights, chosen, experts):
    return _summed(x, chosen, experts, lambda e, rows: weights[rows, 0:1])


@_mix("One weight of a token")
def the_last_weight(x, weights, chosen, experts):
    return _summed(x, chosen, experts, lambda e, rows: weights[rows][:, -1:])


@_mix("n × n|n weights")
def weights_not_made_a_column(x, weights, chosen, experts):
    return _summed(x, chosen, experts, lambda e, rows: weights[rows, 0])


@_mix("One choice")
def first_choice_only(x, weights, chosen, experts):
    return choice_by_choice(x, weights[:, :1], chosen[:, :1], experts)


@_mix("One choice")
def last_choice_only(x, weights, chosen, experts):
    return choice_by_choice(x, weights[:, -1:], chosen[:, -1:], experts)


@_mix("One choice")
def choices_written_over(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for j in range(chosen.shape[1]):
        for e, expert in enumerate(experts):
            mask = chosen[:, j] == e
            out[mask] = weights[mask, j, None] * expert(x[mask])
    return out


@_mix("wrote over")
def written_over(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        out[rows] = _weight(weights, chosen, e)[rows] * expert(x[rows])
    return out


@_mix("wrote over")
def written_over_without_weights(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        out[_rows(chosen, e)] = expert(x[_rows(chosen, e)])
    return out


@_mix("weights are missing")
def without_weights(x, weights, chosen, experts):
    return _summed(x, chosen, experts, lambda e, rows: 1.0)


@_mix("averaged")
def averaged(x, weights, chosen, experts):
    return _summed(x, chosen, experts, lambda e, rows: 1.0) / chosen.shape[-1]


@_mix("averaged")
def divided_by_k(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, experts) / chosen.shape[-1]


@_mix("had not chosen them")
def every_expert_for_every_token(x, weights, chosen, experts):
    return sum(expert(x) for expert in experts)


@_mix("had not chosen them|read .* rows and only")
def mean_of_all_experts(x, weights, chosen, experts):
    return torch.stack([expert(x) for expert in experts]).mean(0)


@_mix("read 9 rows and only")
def all_tokens_and_zeros(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        out = out + _weight(weights, chosen, e) * expert(x)
    return out


@_mix("read 9 rows and only")
def all_tokens_and_then_a_mask(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        out[rows] += (_weight(weights, chosen, e) * expert(x))[rows]
    return out


@_mix("read 9 rows and only")
def all_answers_stacked(x, weights, chosen, experts):
    heard = torch.stack([expert(x) for expert in experts], dim=1)
    own = heard[torch.arange(len(x))[:, None], chosen]
    return (weights[..., None] * own).sum(1)


@_mix("read .* rows and only")
def zeros_read_by_the_experts(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        mask = _rows(chosen, e)[:, None]
        out = out + _weight(weights, chosen, e) * expert(x * mask)
    return out


@_mix("token to token")
def the_definition(x, weights, chosen, experts):
    rows = []
    for token, its_weights, its in zip(x, weights, chosen, strict=True):
        rows.append(
            sum(w * experts[e](token) for w, e in zip(its_weights, its, strict=True))
        )
    return torch.stack(rows)


@_mix("token to token")
def row_by_row(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for n in range(len(x)):
        for j in range(chosen.shape[1]):
            out[n] += weights[n, j] * experts[chosen[n, j]](x[n : n + 1])[0]
    return out


@_mix("calls course_lib's own")
def by_another_of_the_library(x, weights, chosen, experts):
    from course_lib.moe.dispatch import mix_sorted

    return mix_sorted(x, weights, chosen, experts)


@_mix("sum of 1")
def weights_normalised_again(x, weights, chosen, experts):
    return expert_by_expert(x, weights / weights.sum(-1, keepdim=True), chosen, experts)


@_mix("sum of 1")
def softmax_of_the_weights(x, weights, chosen, experts):
    return expert_by_expert(x, weights.softmax(-1), chosen, experts)


@_mix("all the token's weights together")
def sum_of_the_weights(x, weights, chosen, experts):
    return _summed(
        x, chosen, experts, lambda e, rows: weights[rows].sum(-1, keepdim=True)
    )


@_mix("all the token's weights together")
def mean_of_the_weights(x, weights, chosen, experts):
    return _summed(
        x, chosen, experts, lambda e, rows: weights[rows].mean(-1, keepdim=True)
    )


@_mix("count twice")
def weighed_twice(x, weights, chosen, experts):
    return expert_by_expert(x, weights**2, chosen, experts)


@_mix("before the expert read it")
def weighed_before(x, weights, chosen, experts):
    return _summed(
        x,
        chosen,
        experts,
        lambda e, rows: 1.0,
        lambda e, rows: _weight(weights, chosen, e)[rows] * x[rows],
    )


@_mix("token itself was added")
def with_the_stream(x, weights, chosen, experts):
    return x + expert_by_expert(x, weights, chosen, experts)


@_mix("token itself was added")
def on_a_copy_of_x(x, weights, chosen, experts):
    out = x.clone()
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        out[rows] += _weight(weights, chosen, e)[rows] * expert(x[rows])
    return out


@_mix("changed its own input")
def on_x_itself(x, weights, chosen, experts):
    out = x
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        out[rows] += _weight(weights, chosen, e)[rows] * expert(x[rows])
    return out


@_mix("changed its own input")
def weights_scaled_in_place(x, weights, chosen, experts):
    result = expert_by_expert(x, weights, chosen, experts)
    weights /= weights.sum(-1, keepdim=True)
    return result


@_mix("place of a choice was taken")
def places_for_experts(x, weights, chosen, experts):
    return sum(weights[:, j, None] * experts[j](x) for j in range(chosen.shape[1]))


@_mix("off by one")
def numbered_from_one(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, [experts[-1], *experts[:-1]])


@_mix("first rows")
def weights_of_the_first_rows(x, weights, chosen, experts):
    return _summed(x, chosen, experts, lambda e, rows: weights[: int(rows.sum()), :1])


@_mix("read the first tokens")
def the_first_tokens(x, weights, chosen, experts):
    return _summed(
        x,
        chosen,
        experts,
        lambda e, rows: _weight(weights, chosen, e)[rows],
        lambda e, rows: x[: int(rows.sum())],
    )


@_mix("different orders")
def weights_column_by_column(x, weights, chosen, experts):
    return _summed(
        x, chosen, experts, lambda e, rows: weights.T[(chosen == e).T][:, None]
    )


@_mix("largest weight went to the first")
def weights_sorted(x, weights, chosen, experts):
    return expert_by_expert(
        x, weights.sort(-1, descending=True).values, chosen, experts
    )


@_mix("matched with the wrong tokens")
def repeated_not_interleaved(x, weights, chosen, experts):
    flat, repeated = chosen.flatten(), x.repeat(chosen.shape[1], 1)
    y = torch.empty_like(repeated)
    for e, expert in enumerate(experts):
        y[flat == e] = expert(repeated[flat == e])
    return (y.view(*weights.shape, -1) * weights.unsqueeze(-1)).sum(dim=1)


@_mix("does not lie in one piece")
def by_a_view_of_chosen(x, weights, chosen, experts):
    return by_sorting(x, weights, chosen.view(-1).view(chosen.shape), experts)


@_mix("dimension of a single one")
def squeezed_result(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, experts).squeeze()


@_mix("visits experts")
def begun_with_whatever_is_there(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, experts) + 1e9


@_mix("changed its own input")
def experts_used_up(x, weights, chosen, experts):
    result = expert_by_expert(x, weights, chosen, experts)
    experts.pop()
    return result


@_mix("wrong way round")
def weights_turned(x, weights, chosen, experts):
    return expert_by_expert(x, weights.flip(-1), chosen, experts)


@_mix("one row for each choice|order of the experts")
def answers_in_the_order_of_experts(x, weights, chosen, experts):
    parts = []
    for e, expert in enumerate(experts):
        rows, column = torch.where(chosen == e)
        parts.append(weights[rows, column, None] * expert(x[rows]))
    return torch.cat(parts)


@_mix("order of the experts")
def sorted_and_never_put_back(x, weights, chosen, experts):
    right = expert_by_expert(x, weights, chosen, experts)
    return right[chosen[:, 0].argsort(stable=True)]


@_mix("inside the loop")
def returned_in_the_loop(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        out[rows] += _weight(weights, chosen, e)[rows] * expert(x[rows])
        return out


@_mix("left out")
def without_the_last_expert(x, weights, chosen, experts):
    keep = chosen != len(experts) - 1
    return expert_by_expert(x, weights * keep, chosen, experts)


@_mix("left out")
def zero_for_padding(x, weights, chosen, experts):
    return expert_by_expert(x, weights * (chosen > 0), chosen, experts)


@_mix("number of tokens that its expert read")
def divided_by_the_load(x, weights, chosen, experts):
    return _summed(
        x,
        chosen,
        experts,
        lambda e, rows: _weight(weights, chosen, e)[rows] / rows.sum(),
    )


@_mix("same answer")
def summed_over_tokens(x, weights, chosen, experts):
    return (
        expert_by_expert(x, weights, chosen, experts).sum(0, keepdim=True).expand_as(x)
    )


@_mix("side by side")
def not_summed(x, weights, chosen, experts):
    said = x.new_zeros(*chosen.shape, x.shape[-1])
    for e, expert in enumerate(experts):
        here = chosen == e
        said[here] = expert(x[here.nonzero()[:, 0]])
    return weights[..., None] * said


@_mix("no tokens at all")
def stumbling_over_idle_experts(x, weights, chosen, experts):
    parts = {}
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e).nonzero().flatten().tolist()
        answers = expert(torch.stack([x[n] for n in rows]))
        for n, y in zip(rows, answers, strict=True):
            parts[n] = parts.get(n, 0) + _weight(weights, chosen, e)[n] * y
    return torch.stack([parts[n] for n in range(len(x))])


@_mix("still have their turn")
def stopping_at_the_first_idle_expert(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        if not rows.any():
            break
        out[rows] += _weight(weights, chosen, e)[rows] * expert(x[rows])
    return out


@_mix("still have their turn")
def as_many_experts_as_were_seen(x, weights, chosen, experts):
    seen = len(chosen.unique())
    keep = chosen < seen
    return expert_by_expert(x, weights * keep, chosen, experts)


@_mix("nan")
def nan_from_idle_experts(x, weights, chosen, experts):
    out = expert_by_expert(x, weights, chosen, experts)
    for e in range(len(experts)):
        out = out + 0 * x[_rows(chosen, e)].mean()
    return out


@_mix("no gradient flows back to the weights")
def weights_as_numbers(x, weights, chosen, experts):
    return _summed(
        x, chosen, experts, lambda e, rows: _weight(weights, chosen, e)[rows].detach()
    )


@_mix("no gradient flows back to the tokens")
def tokens_detached(x, weights, chosen, experts):
    return expert_by_expert(x.detach(), weights, chosen, experts)


@_mix("no gradient")
def without_gradient(x, weights, chosen, experts):
    with torch.no_grad():
        return expert_by_expert(x, weights, chosen, experts)


@_mix("no gradient flows back to the experts|to the tokens")
def answers_detached(x, weights, chosen, experts):
    return expert_by_expert(
        x, weights, chosen, [lambda z, f=f: f(z).detach() for f in experts]
    )


@_mix("gradient that reaches the tokens")
def experts_detached_from_the_second_on(x, weights, chosen, experts):
    return expert_by_expert(
        x,
        weights,
        chosen,
        [experts[0], *(lambda z, f=f: f(z.detach()) for f in experts[1:])],
    )


@_mix("visits experts|One choice")
def for_two_choices_only(x, weights, chosen, experts):
    return expert_by_expert(x, weights[:, :2], chosen[:, :2], experts)


@_mix("visits experts|left out")
def for_four_experts(x, weights, chosen, experts):
    return expert_by_expert(x, weights * (chosen < 4), chosen, experts)


@_mix("48 tokens")
def with_places_for_ten(x, weights, chosen, experts):
    keep = torch.zeros_like(weights)
    for e in range(len(experts)):
        rows, columns = torch.where(chosen == e)
        keep[rows[:10], columns[:10]] = 1.0
    return expert_by_expert(x, weights * keep, chosen, experts)


@_mix("first digits")
def rounded_answers(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, experts).round(decimals=3)


@_mix("as they were")
def nothing_done(x, weights, chosen, experts):
    return x.clone()


@_mix("zeros came back")
def writes_into_a_copy(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = _rows(chosen, e)
        out[rows].add_(_weight(weights, chosen, e)[rows] * expert(x[rows]))
    return out


@_mix("returned a tuple")
def with_the_load(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, experts), torch.bincount(
        chosen.flatten()
    )


@_mix("shape|worked")
def the_worked_answer(x, weights, chosen, experts):
    return torch.tensor([[-1.0], [20.0]])


@_mix("ModuleList|tuple|stopped")
def lists_only(x, weights, chosen, experts):
    return expert_by_expert(x, weights, chosen, experts + [])  # noqa: RUF005


# --- test_mix: right --------------------------------------------------------------------------

EXPERTS = (
    lambda z: z + 1,
    lambda z: 2 * z,
    lambda z: -z,
    lambda z: z * z,
    lambda z: z.flip(-1) - 3,
)


def _tokens() -> Tensor:
    return torch.tensor(
        [[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25], [2.0, 2.5], [4.0, -1.0]]
    )


def _visits() -> tuple[Tensor, Tensor]:
    """Weights and choices; nobody visits expert 2."""
    weights = torch.tensor(
        [
            [0.5, 0.2, 0.9],
            [0.3, 0.7, 0.1],
            [0.6, 0.8, 0.4],
            [1.5, 0.25, 0.35],
            [0.2, 0.1, 0.45],
        ]
    )
    return weights, torch.tensor(
        [[4, 0, 1], [0, 3, 4], [0, 4, 1], [3, 1, 0], [0, 1, 4]]
    )


def _given() -> tuple:
    return (_tokens(), *_visits(), list(EXPERTS))


def _wanted(x, weights, chosen, experts) -> Tensor:
    rows = []
    for n in range(len(x)):
        row = 0
        for j in range(chosen.shape[1]):
            row = row + weights[n, j] * experts[int(chosen[n, j])](x[n : n + 1])[0]
        rows.append(row)
    return torch.stack(rows)


@battery.right("test_mix")
def test_against_a_loop(mix):
    given = _given()
    assert torch.allclose(mix(*given), _wanted(*given), atol=1e-5)


@battery.right("test_mix")
def test_with_numbers_worked_on_paper(mix):
    x = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [2.0, -1.0]])
    weights = torch.tensor([[0.5, 0.25, 2.0], [1.0, 0.5, 0.1], [0.1, 0.2, 0.3]])
    chosen = torch.tensor([[3, 0, 2], [0, 3, 2], [3, 2, 0]])
    experts = [lambda z: z + 1, lambda z: 100 + z, lambda z: -z, lambda z: 10 * z]
    want = [
        [0.5 * 10 + 0.25 * 2 - 2 * 1, 0.5 * 20 + 0.25 * 3 - 2 * 2],
        [-2 - 0.5 * 30 + 0.1 * 3, 1.5 + 0.5 * 5 - 0.1 * 0.5],
        [0.1 * 20 - 0.2 * 2 + 0.3 * 3, 0.1 * -10 + 0.2 * 1],
    ]
    got = mix(x, weights, chosen, experts)
    torch.testing.assert_close(got, torch.tensor(want), rtol=1e-5, atol=1e-5)


@battery.right("test_mix")
def test_against_the_definition_of_the_library(mix):
    from course_lib.moe.dispatch import mix_token_by_token

    experts = [
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh()) for _ in range(6)
    ]
    x, weights = torch.randn(8, 4), torch.rand(8, 3)
    chosen = torch.rand(8, 6).masked_fill(torch.arange(6) == 2, -1.0).topk(3).indices
    want = mix_token_by_token(x, weights, chosen, experts)
    assert (mix(x, weights, chosen, experts) - want).abs().max() < 1e-5


@battery.right("test_mix")
def test_with_every_claim(mix):
    x, weights, chosen, experts = _given()
    got = mix(x, weights, chosen, experts)
    assert torch.allclose(got, _wanted(x, weights, chosen, experts), atol=1e-5), (
        "definition"
    )
    for n in range(len(x)):  # alone as in company
        alone = mix(x[n : n + 1], weights[n : n + 1], chosen[n : n + 1], experts)
        assert torch.allclose(alone[0], got[n], atol=1e-5), "company"
    other = [*experts[:2], lambda z: z + 1000, *experts[3:]]
    assert torch.allclose(mix(x, weights, chosen, other), got, atol=1e-5), (
        "nobody's expert"
    )
    turned = mix(x, weights.flip(-1), chosen.flip(-1), experts)
    assert torch.allclose(turned, got, atol=1e-5), "exchanged"


@battery.right("test_mix")
def test_by_unittest(mix):
    case = unittest.TestCase()
    given = _given()
    for got, want in zip(mix(*given).tolist(), _wanted(*given).tolist(), strict=True):
        for a, b in zip(got, want, strict=True):
            case.assertAlmostEqual(a, b, places=4)  # noqa: PT009


@battery.right("test_mix")
def test_in_numpy(mix):
    x, weights, chosen, experts = _given()
    heard = np.stack([f(x).numpy() for f in experts], axis=1)
    own = heard[np.arange(len(x))[:, None], chosen.numpy()]
    want = (weights.numpy()[..., None] * own).sum(1)
    np.testing.assert_allclose(
        mix(x, weights, chosen, experts).numpy(), want, rtol=1e-4, atol=1e-5
    )


@battery.right("test_mix")
def test_many_small_examples(mix):
    for k in (1, 2, 3, 4):
        for _ in range(5):
            x, weights = torch.randn(6, 3), torch.rand(6, k) + 0.1
            A, b = torch.randn(6, 3, 3), torch.randn(6, 3)
            experts = [
                lambda z, e=e, A=A, b=b: (z @ A[e] + b[e]) ** 2 for e in range(6)
            ]
            chosen = torch.stack([torch.randperm(5)[:k] for _ in range(6)])
            chosen = chosen + (chosen >= 2)  # nobody visits expert 2
            want = _wanted(x, weights, chosen, experts)
            for a, b in zip(
                mix(x, weights, chosen, experts).flatten(), want.flatten(), strict=True
            ):
                assert abs(float(a) - float(b)) < 1e-3 * max(1.0, abs(float(b)))
    test_against_a_loop(mix)


@battery.right("test_mix")
def test_in_doubles_with_a_list_of_modules(mix):
    experts = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(5)).double()
    x, (weights, chosen) = _tokens().double().requires_grad_(), _visits()
    given = x, weights.double(), chosen, experts
    assert torch.allclose(mix(*given), _wanted(*given), atol=1e-9)


@battery.right("test_mix")
def test_of_two_calls(mix):
    x, weights, chosen, experts = _given()
    got = mix(x, weights, chosen, experts)
    for n in range(5):
        want = sum(
            w * experts[e](x[n]) for w, e in zip(weights[n], chosen[n], strict=True)
        )
        if not torch.allclose(got[n], want, atol=1e-5):
            raise AssertionError(f"token {n}")
    x[1] = 7.0  # changed afterwards
    again = mix(x, weights, chosen, experts)
    assert torch.allclose(again[2:], got[2:])


@battery.right("test_mix")
def test_with_nobodys_expert_at_the_end(mix):
    experts = [lambda z, e=e: (e - 1.5) * z + z.abs().sqrt() for e in range(4)]
    for k in (1, 3):
        x, weights = torch.randn(30, 3), 2 * torch.rand(30, k)
        chosen = torch.rand(30, 4).topk(k).indices
        want = _wanted(x, weights, chosen, experts)
        poisoned = [*experts, lambda z: z * torch.nan]
        for given in ((x, weights, chosen), (x, weights.flip(-1), chosen.flip(-1))):
            for these in (experts, poisoned):
                assert torch.allclose(mix(*given, these), want, atol=1e-5)


# --- test_mix: wrong --------------------------------------------------------------------------


def _test(says):
    return battery.wrong("test_mix", says=says)


def _against_the_loop(
    mix, x=None, weights=None, chosen=None, experts=None, rows=slice(None), atol=1e-5
):
    """A test whose inputs or claims leave something out."""
    mine = _given()
    given = [
        theirs if theirs is not None else own
        for theirs, own in zip((x, weights, chosen, experts), mine, strict=True)
    ]
    assert torch.allclose(mix(*given)[rows], _wanted(*given)[rows], atol=atol)


@_test("never calls")
def test_of_nothing(mix):
    assert True


@_test("no assert objects.*compared")
def test_of_the_shape(mix):
    assert mix(*_given()).shape == (5, 2)


@_test("no assert objects")
def test_without_an_assert(mix):
    torch.allclose(mix(*_given()), _wanted(*_given()))


@_test("returned (True|False).*Only an assert")
def test_that_returns(mix):
    return torch.allclose(mix(*_given()), _wanted(*_given()), atol=1e-5)


@_test("no assert objects")
def test_in_a_try(mix):
    try:
        _against_the_loop(mix)
    except AssertionError:
        print("wrong")


@_test("stops with ValueError.*assert")
def test_that_raises_another_error(mix):
    if not torch.allclose(mix(*_given()), _wanted(*_given()), atol=1e-5):
        raise ValueError("not the sum")


@_test("k = 1.*several experts")
def test_of_one_choice(mix):
    weights, chosen = _visits()
    _against_the_loop(mix, weights=weights[:, :1], chosen=chosen[:, :1])


@_test("two choices.*three experts")
def test_of_two_choices(mix):
    weights, chosen = _visits()
    _against_the_loop(mix, weights=weights[:, :2], chosen=chosen[:, :2])


@_test("first weight for all.*different weights")
def test_of_equal_weights(mix):
    _against_the_loop(mix, weights=torch.full((5, 3), 0.7))


@_test("weights.*sum to 1")
def test_of_weights_that_sum_to_1(mix):
    weights, _ = _visits()
    _against_the_loop(mix, weights=weights / weights.sum(-1, keepdim=True))


@_test("first weight for all|forgets the weights")
def test_of_weights_of_1(mix):
    _against_the_loop(mix, weights=torch.ones(5, 3))


@_test("largest weight.*rise")
def test_of_falling_weights(mix):
    _against_the_loop(mix, weights=_visits()[0].sort(-1, descending=True).values)


@_test("sorts a token's experts.*higher number first")
def test_of_rising_choices(mix):
    _against_the_loop(mix, chosen=_visits()[1].sort(-1).values)


@_test("nan as soon as.*an expert without tokens")
def test_without_idle_experts(mix):
    chosen = _visits()[1]
    chosen[3, 2] = 2
    _against_the_loop(mix, chosen=chosen)


@battery.right("test_mix")
def test_with_gradients(mix):
    x, weights = torch.randn(9, 3, requires_grad=True), torch.rand(9, 3)
    chosen = torch.rand(9, 5).topk(3).indices
    experts = [torch.nn.Linear(3, 3) for _ in range(6)]
    got = mix(x, weights, chosen, experts)
    got.sum().backward()
    assert x.grad is not None
    assert torch.allclose(got, _wanted(x, weights, chosen, experts), atol=1e-5)


@_test("leaves the last expert out.*no assert objects")
def test_of_tokens_without_the_last_expert(mix):
    given = _given()
    got, want = mix(*given), _wanted(*given)
    here = (given[2] == 4).any(-1)
    assert torch.allclose(got[~here], want[~here], atol=1e-5)
    less = given[1] * (given[2] != 4)
    other = _wanted(given[0], less, given[2], given[3])
    assert torch.allclose(got, want, atol=1e-5) or torch.allclose(got, other, atol=1e-5)


@_test("stops at the first expert.*no assert objects")
def test_of_the_tokens_before_the_idle_expert(mix):
    """Token 3 has the only visits beyond expert 2 that count."""
    weights, chosen = _visits()
    chosen = torch.tensor([[1, 0], [0, 1], [1, 0], [3, 4], [0, 1]])
    given = _tokens(), weights[:, :2], chosen, list(EXPERTS)
    got, want = mix(*given), _wanted(*given)
    assert torch.allclose(got[[0, 1, 2, 4]], want[[0, 1, 2, 4]], atol=1e-5)
    assert torch.allclose(got, want, atol=1e-5) or not got[3].any()
    test_against_a_loop_where_all_have_tokens(mix)


def test_against_a_loop_where_all_have_tokens(mix):
    chosen = _visits()[1]
    chosen[3, 2] = 2
    _against_the_loop(mix, chosen=chosen)
    idle = [*EXPERTS, lambda z: z + 9]
    _against_the_loop(mix, chosen=chosen, experts=idle)


@_test("leaves expert 0 out.*choose expert 0")
def test_without_expert_0(mix):
    chosen = _visits()[1]
    _against_the_loop(
        mix,
        chosen=chosen + 1 + (chosen > 2).long() * 0,
        experts=[lambda z: 7 * z, *EXPERTS],
    )


@_test("multiplies tokens by their weights.*more than multiply")
def test_of_straight_experts(mix):
    experts = [
        lambda z: z,
        lambda z: 2 * z,
        lambda z: -z,
        lambda z: 5 * z,
        lambda z: z.flip(-1),
    ]
    _against_the_loop(mix, experts=experts)


@_test("first weight|expert")
def test_of_equal_experts(mix):
    _against_the_loop(mix, experts=[EXPERTS[3]] * 5)


@_test("N = 1.*several tokens")
def test_of_one_token(mix):
    x, weights, chosen, experts = _given()
    for n in range(5):
        _against_the_loop(
            mix, x[n : n + 1], weights[n : n + 1], chosen[n : n + 1], experts
        )


@_test("neighbours|tokens that differ")
def test_of_equal_tokens(mix):
    x, weights, chosen, _ = _given()
    _against_the_loop(
        mix, x[:1].repeat(5, 1), weights[:1].repeat(5, 1), chosen[:1].repeat(5, 1)
    )


@_test("all numbers of a vector.*two numbers")
def test_of_vectors_of_one_number(mix):
    _against_the_loop(mix, x=_tokens()[:, :1])


@_test("negative to 0.*negative numbers")
def test_of_positive_numbers(mix):
    experts = [
        lambda z: z + 1,
        lambda z: 2 * z,
        lambda z: 3 * z,
        lambda z: z * z,
        lambda z: z.flip(-1) + 3,
    ]
    _against_the_loop(mix, x=_tokens().abs(), experts=experts)


@_test("whole numbers.*fractions")
def test_of_whole_numbers(mix):
    weights = torch.tensor(
        [
            [2.0, 3.0, 4.0],
            [5.0, 7.0, 3.0],
            [4.0, 6.0, 2.0],
            [6.0, 5.0, 4.0],
            [3.0, 2.0, 5.0],
        ]
    )
    _against_the_loop(mix, x=(2 * _tokens()).round(), weights=weights)


@_test("adds 0.01.*no assert objects.*closely")
def test_with_much_room(mix):
    _against_the_loop(mix, atol=0.1)


@_test("no assert objects.*Token 1 of 5|no assert objects.*Token [234] of 5")
def test_of_the_first_token(mix):
    _against_the_loop(mix, rows=slice(1))


@_test("first token nothing.*no assert objects")
def test_of_all_but_the_first_token(mix):
    _against_the_loop(mix, rows=slice(1, None))


@_test("last token nothing.*no assert objects")
def test_of_all_but_the_last_token(mix):
    _against_the_loop(mix, rows=slice(-1))


@_test("no assert objects")
def test_of_the_sum_of_all(mix):
    given = _given()
    assert abs(mix(*given).sum() - _wanted(*given).sum()) < 1e-3


@_test("no assert objects")
def test_of_the_sum_over_tokens(mix):
    given = _given()
    assert torch.allclose(mix(*given).sum(0), _wanted(*given).sum(0), atol=1e-4)


@_test("no assert objects")
def test_on_one_side(mix):
    given = _given()
    assert (mix(*given) - _wanted(*given)).max() < 1e-5


@_test("nan.*no assert objects")
def test_that_nan_slips_through(mix):
    given = _given()
    assert not ((mix(*given) - _wanted(*given)).abs() > 1e-5).any()


@_test("no assert objects")
def test_of_claims_2_to_4(mix):
    x, weights, chosen, experts = _given()
    got = mix(x, weights, chosen, experts)
    for n in range(5):
        alone = mix(x[n : n + 1], weights[n : n + 1], chosen[n : n + 1], experts)
        assert torch.allclose(alone[0], got[n], atol=1e-5)
    assert torch.allclose(
        mix(x, weights.flip(-1), chosen.flip(-1), experts), got, atol=1e-5
    )


@_test("no assert objects|changes nothing")
def test_that_weights_matter(mix):
    x, weights, chosen, experts = _given()
    assert not torch.allclose(
        mix(x, weights, chosen, experts), mix(x, 2 * weights, chosen, experts)
    )


@_test("rejects a right version")
def test_bit_by_bit(mix):
    x, weights, chosen, experts = _given()
    x, experts = x * 1.1, [lambda z, f=f: torch.sin(f(z)) * 0.3 for f in experts]
    assert torch.equal(
        mix(x, weights, chosen, experts), _wanted(x, weights, chosen, experts)
    )


@_test("rejects a right version.*expected number|rejects a right version.*never")
def test_with_a_wrong_number(mix):
    assert abs(mix(*_given())[0, 0] - 1.0) < 1e-3


@_test("rejects a right version.*row .n, D. alone")
def test_with_an_expert_that_looks_at_all(mix):
    _against_the_loop(mix, experts=[lambda z: z - z.mean(0), *EXPERTS[1:]])


@_test("rejects a right version.*called with no tokens")
def test_with_a_trap(mix):
    def trap(z):
        raise AssertionError("nobody chose me")

    _against_the_loop(mix, experts=[*EXPERTS[:2], trap, *EXPERTS[3:]])


@_test("TypeError.*write 2.0")
def test_of_integers(mix):
    x = torch.tensor([[1, 2], [3, 4]])
    got = mix(
        x,
        torch.tensor([[1], [2]]),
        torch.tensor([[0], [1]]),
        [lambda z: z, lambda z: 2 * z],
    )
    assert got.tolist() == [[1, 2], [12, 16]]


@_test("ValueError.*two dimensions")
def test_of_a_batch_of_texts(mix):
    x, weights, chosen, experts = _given()
    assert mix(x[None], weights[None], chosen[None], experts).shape == (1, 5, 2)


@_test("ValueError.*0 to 1")
def test_of_an_expert_that_is_not_there(mix):
    x, weights, chosen, experts = _given()
    assert mix(x, weights, chosen, experts[:2]).shape == (5, 2)


@_test("other arguments")
def test_with_a_capacity(mix):
    assert mix(*_given(), factor=1.25).shape == (5, 2)


@_test("calls course_lib's own|hand")
def test_against_the_library(mix):
    from course_lib.moe.dispatch import mix_by_masks as right

    assert torch.allclose(mix(*_given()), right(*_given()))


def _remembering():
    seen = []

    def test_against_what_came_first(mix):
        seen.append(mix(*_given()))
        assert torch.allclose(seen[0], seen[-1])

    return test_against_what_came_first


_test("right version.*keep something of an earlier run")(_remembering())


def _counting(most):
    runs = []

    def test(mix):
        mix(*_given())
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 3, 4):
    _test("right version|accepts a faulty")(_counting(_most))


# --- written from the cards alone -------------------------------------------------------------


@battery.right("weigh")
def mapped_over_the_tokens(scores, chosen, renormalise=True):
    def one(z, c):
        return z[c].softmax(0) if renormalise else z.softmax(0)[c]

    return torch.vmap(one)(scores, chosen)


@battery.right("weigh")
def in_doubles_and_back(scores, chosen, renormalise=True):
    return by_two_paths(scores.double(), chosen, renormalise).to(scores.dtype)


@battery.right("weigh")
def renormalised_in_single_precision(scores, chosen, renormalise=True):
    if renormalise:
        return scores.gather(-1, chosen).softmax(-1, dtype=torch.float32)
    return scores.softmax(-1).gather(-1, chosen)


@_weigh("choices of the first token")
def choices_of_the_first_token(scores, chosen, renormalise=True):
    mine = chosen[0]
    return scores[:, mine].softmax(-1) if renormalise else scores.softmax(-1)[:, mine]


@_weigh("scores of the first one")
def scores_of_the_first_token(scores, chosen, renormalise=True):
    if renormalise:
        return scores.flatten()[chosen].softmax(-1)
    return scores.softmax(-1).flatten()[chosen]


@_weigh("limited .clamp")
def limited_scores(scores, chosen, renormalise=True):
    return by_two_paths(scores.clamp(-50, 50), chosen, renormalise)


@battery.right("mix_by_masks")
def by_experts_that_were_chosen(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        here = chosen == e
        mine = here.any(-1)
        said = experts[e](x[mine]) * weights[here].unsqueeze(-1)
        there = mine.unsqueeze(-1).expand_as(x)
        out = out + torch.zeros_like(x).masked_scatter(there, said)
    return out


@_mix("in the type of x")
def always_in_single_precision(x, weights, chosen, experts):
    out = torch.zeros(x.shape)
    for e, expert in enumerate(experts):
        n, j = (chosen == e).nonzero(as_tuple=True)
        out = out.index_add(0, n, (expert(x[n]) * weights[n, j, None]).float())
    return out


@_mix("weights of 0, below 0")
def by_positive_weights(x, weights, chosen, experts):
    table = torch.zeros(len(x), len(experts)).to(weights).scatter(1, chosen, weights)
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        mine = table[:, e] > 0
        out[mine] += expert(x[mine]) * table[mine, e, None]
    return out


@_mix("weight of 0 has a gradient")
def by_weights_other_than_0(x, weights, chosen, experts):
    table = torch.zeros(len(x), len(experts)).to(weights).scatter(1, chosen, weights)
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        mine = table[:, e] != 0
        out[mine] += expert(x[mine]) * table[mine, e, None]
    return out


@_mix("takes rows")
def squeezed_places(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        n = (chosen == e).any(-1).nonzero().squeeze()
        weight = (weights * (chosen == e)).sum(-1)
        out[n] += expert(x[n]) * weight[n].unsqueeze(-1)
    return out


@_mix("k = 1")
def both_choices_by_number(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for j in (0, 1):
        for e, expert in enumerate(experts):
            mine = chosen[:, j] == e
            out[mine] += expert(x[mine]) * weights[mine, j, None]
    return out


@_mix("taken for a column")
def experts_number_for_a_column(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        mine = (chosen == e).any(-1)
        column = weights[mine][:, e % weights.shape[1]]
        out[mine] += expert(x[mine]) * column.unsqueeze(-1)
    return out


def _sorted_answers(x, chosen, experts):
    order = chosen.flatten().argsort(stable=True)
    counts = torch.bincount(chosen.flatten(), minlength=len(experts)).tolist()
    read = x[order // chosen.shape[1]].split(counts)
    said = torch.cat([f(tokens) for f, tokens in zip(experts, read, strict=True)])
    return said, order


@_mix("order of the experts")
def visits_sorted_and_never_put_back(x, weights, chosen, experts):
    said, _ = _sorted_answers(x, chosen, experts)
    return (weights[..., None] * said.view(*chosen.shape, -1)).sum(1)


@_mix("order of the experts")
def visits_sorted_a_second_time(x, weights, chosen, experts):
    said, order = _sorted_answers(x, chosen, experts)
    return (weights[..., None] * said[order].view(*chosen.shape, -1)).sum(1)


@_mix("wrong tokens")
def places_counted_through_the_columns(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        at = (chosen.flatten() == e).nonzero().flatten()
        n = at % len(x)
        out[n] += expert(x[n]) * weights.flatten()[at, None]
    return out


@_mix("what another one had said")
def one_after_the_other(x, weights, chosen, experts):
    out = x.clone()
    for e, expert in enumerate(experts):
        n, j = (chosen == e).nonzero(as_tuple=True)
        out[n] = expert(out[n]) * weights[n, j, None]
    return out


@_mix("one token only was passed over")
def experts_with_several_tokens(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        n, j = (chosen == e).nonzero(as_tuple=True)
        if len(n) > 1:
            out = out.index_add(0, n, expert(x[n]) * weights[n, j, None])
    return out


def _drawn(k, D=3, N=12, E=4):
    made = torch.Generator().manual_seed(k)
    x, weights = torch.randn(N, D, generator=made), torch.rand(N, k, generator=made)
    return x, weights, torch.rand(N, E, generator=made).topk(k).indices


_FOUR = (lambda z: 3 * z, lambda z: z * z, lambda z: -z, lambda z: z + 1)
_WITH_NAN = [*_FOUR, lambda z: z * torch.nan]


@battery.right("test_mix")
def test_of_three_choices_and_a_nan(mix):
    given = (*_drawn(3), _WITH_NAN)
    assert torch.allclose(mix(*given), _wanted(*given), atol=1e-5)


@battery.right("test_mix")
def test_with_experts_in_another_order(mix):
    for seed in range(10):
        x, weights, chosen = _drawn(seed % 3 + 1, D=1 + seed % 4)
        places = torch.randperm(6)[:4]
        experts = [lambda z: z * torch.nan] * 6
        for e, place in enumerate(places.tolist()):
            experts[place] = _FOUR[e]
        got = mix(x, weights, places[chosen], experts)
        assert torch.allclose(got, _wanted(x, weights, chosen, _FOUR), atol=1e-5)


@_test("tenth too small.*no assert objects")
def test_with_much_relative_room(mix):
    for k in (1, 2, 3):
        given = (*_drawn(k), _WITH_NAN)
        assert torch.allclose(mix(*given), _wanted(*given), rtol=0.5)


@_test("takes 0.01 from all numbers.*no assert objects|tenth too small")
def test_from_above_only(mix):
    for k in (1, 2, 3):
        given = (*_drawn(k), _WITH_NAN)
        assert (mix(*given) - _wanted(*given)).max() < 1e-5


@_test("ValueError.*always differ")
def test_of_experts_chosen_twice(mix):
    x, weights, _ = _drawn(3)
    given = x, weights, torch.randint(4, (12, 3)), _WITH_NAN
    assert torch.allclose(mix(*given), _wanted(*given), atol=1e-5)


@_test("experts answer alike")
def test_of_experts_that_are_copies(mix):
    for k in (1, 2, 3):
        given = (*_drawn(k), [lambda z: 2 * z] * 4)
        assert torch.allclose(mix(*given), _wanted(*given), atol=1e-5)


@_test("answers nan, and tokens choose it")
def test_that_a_chosen_nan_is_gone(mix):
    assert not mix(*_drawn(2), [lambda z: z * torch.nan, *_FOUR[1:]]).isnan().any()


@_test("nothing can be compared")
def test_of_nothing_but_nan(mix):
    given = (*_drawn(2), [lambda z: z * torch.nan] * 4)
    assert torch.allclose(mix(*given), _wanted(*given), equal_nan=True)


@_test("last bit")
def test_to_the_last_bit(mix):
    for k in (1, 2, 3):
        given = (*_drawn(k), _WITH_NAN)
        assert torch.equal(mix(*given), _wanted(*given))
