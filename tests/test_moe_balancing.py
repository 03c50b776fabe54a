"""Balance losses equal to those of transformers, with gradients that do what they are for."""

import math

import pytest
import torch
from torch.nn import functional
from transformers.models.mixtral.modeling_mixtral import (
    load_balancing_loss_func as theirs_of_mixtral,
)
from transformers.models.switch_transformers.modeling_switch_transformers import (
    load_balancing_loss_func as theirs_of_switch,
)
from transformers.models.switch_transformers.modeling_switch_transformers import (
    router_z_loss_func,
)

from course_lib.moe.balancing import (
    load,
    load_by_kind,
    load_entropy,
    mean_share,
    mixtral_loss,
    switch_loss,
    update_bias,
    z_loss,
)
from course_lib.moe.routing import route

SIZES = [(1, 6, 4, 1), (2, 30, 8, 2), (3, 17, 5, 3)]  # L, N, E, k


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(left, right, tolerance=1e-6):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- load


def test_load_counts_visits_and_its_sum_is_1_however_many_each_token_makes():
    chosen = torch.tensor([[0, 1], [0, 2], [0, 1], [3, 0]])
    close(load(chosen, 5), torch.tensor([4, 2, 1, 1, 0]) / 8)


def test_padding_does_not_count_whatever_it_chose():
    chosen = torch.tensor([[0], [1], [1], [1]])
    mask = torch.tensor([True, True, False, False])
    assert load(chosen, 3, mask).tolist() == [0.5, 0.5, 0.0]
    assert load(chosen, 3, mask & False).tolist() == [0.0] * 3
    scores = torch.full((4, 3), float("nan"))
    scores[:2] = 0.0
    close(mean_share(scores, mask), torch.ones(3) / 3)


def test_layers_in_front_stay_apart():
    chosen = torch.tensor([[[0], [0]], [[0], [1]]])
    assert load(chosen, 2).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_kinds_have_loads_of_their_own_and_together_make_the_load():
    chosen, kinds = route(drawn(60, 6), 2)[1], torch.arange(60) % 7
    table = load_by_kind(chosen, kinds, 6)
    for kind in range(7):
        close(table[kind], load(chosen[kinds == kind], 6))
    often = torch.bincount(kinds) / 60
    close(often @ table, load(chosen, 6))


def test_entropy_is_1_when_even_and_0_when_one_does_all():
    assert load_entropy(torch.ones(16) / 16).item() == pytest.approx(1)
    assert load_entropy(torch.eye(16)).tolist() == [0.0] * 16
    paper = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    assert load_entropy(torch.tensor([0.75, 0.25, 0])).item() == pytest.approx(paper)


# ---- equal to transformers


@pytest.mark.parametrize(("L", "N", "E", "k"), SIZES)
def test_mixtral_loss_and_its_gradient_equal_those_of_transformers(L, N, E, k):
    scores = drawn(L, N, E).requires_grad_()
    mask = torch.arange(N) < 2 * N / 3
    for kept in (None, mask):
        ours = mixtral_loss(scores, route(scores, k)[1], kept)
        rectangle = None if kept is None else kept.view(1, N).long()
        theirs = theirs_of_mixtral(tuple(scores), E, k, rectangle)
        close(ours, theirs)
        left, right = (torch.autograd.grad(loss, scores)[0] for loss in (ours, theirs))
        close(left, right)
        assert left.abs().max() > 1e-4


@pytest.mark.parametrize(("L", "N", "E", "k"), [(1, 6, 4, 1), (3, 17, 5, 1)])
def test_switch_loss_equals_that_of_transformers(L, N, E, k):
    scores = drawn(L, N, E)
    chosen = route(scores, k)[1]
    theirs = theirs_of_switch(scores.softmax(-1), chosen[..., 0])
    close(switch_loss(scores, chosen), theirs)


@pytest.mark.parametrize(("L", "N", "E", "k"), SIZES)
def test_z_loss_equals_that_of_transformers(L, N, E, k):
    scores = drawn(L, N, E) * 3
    close(z_loss(scores), router_z_loss_func(scores))
    mask = torch.arange(N) < 4
    close(z_loss(scores, mask), router_z_loss_func(scores[:, :4]))


# ---- what the losses say


def test_an_even_router_costs_1_in_switch_and_k_in_mixtral():
    even = torch.eye(8).repeat(3, 1)  # each expert is the first choice of three tokens
    for k in (1, 2):
        chosen = (torch.arange(24).unsqueeze(1) + torch.arange(k)) % 8
        assert switch_loss(even, chosen).item() == pytest.approx(1)
        assert mixtral_loss(even, chosen).item() == pytest.approx(k)


def test_a_router_that_sends_everything_to_one_costs_the_number_of_experts():
    scores = torch.tensor([[50.0] + [0.0] * 7]).expand(10, 8)
    assert switch_loss(scores, route(scores, 1)[1]).item() == pytest.approx(8)


def test_two_layers_that_err_in_opposite_ways_look_balanced_in_one_heap():
    left = torch.tensor([[9.0, 0.0]]).expand(10, 2)
    scores = torch.stack([left, left.flip(-1)])  # (2, 10, 2)
    chosen = route(scores, 1)[1]
    assert mixtral_loss(scores, chosen).item() == pytest.approx(1)
    assert switch_loss(scores, chosen).item() == pytest.approx(2, abs=1e-3)


def test_texts_in_front_give_the_loss_within_each_text():
    scores = drawn(4, 9, 5)
    chosen = route(scores, 2)[1]
    each = [switch_loss(s, c) for s, c in zip(scores, chosen, strict=True)]
    close(switch_loss(scores, chosen), torch.stack(each).mean())
    T, E, k = 9, 5, 2  # as DeepSeek-V3 writes it, with shares in place of sigmoids
    f = E / (k * T) * functional.one_hot(chosen, E).sum(dim=(1, 2))
    P = scores.softmax(-1).sum(dim=1) / T
    close(switch_loss(scores, chosen), (f * P).sum(-1).mean())


def test_the_load_carries_no_gradient_and_the_share_does():
    scores = drawn(12, 4).requires_grad_()
    chosen = route(scores, 2)[1]
    assert not load(chosen, 4).requires_grad
    by_hand = 4 * (load(chosen, 4) * scores.softmax(-1).mean(0)).sum()
    left, right = (
        torch.autograd.grad(loss, scores)[0]
        for loss in (switch_loss(scores, chosen), by_hand)
    )
    close(left, right)


def test_the_z_loss_pulls_scores_to_where_the_sum_of_exponentials_is_1():
    scores = (5 * drawn(1, 6)).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        z_loss(scores).backward()
        optimizer.step()
    assert scores.logsumexp(-1).item() == pytest.approx(0, abs=0.05)


def published_loss(chosen, count):
    """The balance loss of a tutorial: from counts alone, target 1 / E."""
    usage = torch.stack([(chosen == e).any(-1).float().mean() for e in range(count)])
    return functional.mse_loss(usage, torch.full((count,), 1 / count))


def test_a_loss_made_of_counts_has_no_gradient_and_blames_perfect_balance():
    scores = drawn(24, 8).requires_grad_()
    assert not published_loss(route(scores, 2)[1], 8).requires_grad
    even = (torch.arange(24).unsqueeze(1) + torch.arange(2)) % 8
    assert published_loss(even, 8).item() == pytest.approx((2 / 8 - 1 / 8) ** 2)


def collapsed():
    """Tokens, and a router (8, 16) that sends all of them to experts 0 and 1."""
    tokens = drawn(400, 16) + 1.0
    weight = 0.02 * drawn(8, 16, seed=1)
    weight[:2] += 0.3
    return tokens, weight.requires_grad_()


@pytest.mark.parametrize("loss", [switch_loss, mixtral_loss])
def test_three_hundred_steps_on_the_loss_alone_wake_every_expert(loss):
    tokens, weight = collapsed()
    assert load(route(tokens @ weight.T, 2)[1], 8)[2:].sum() < 0.01
    optimizer = torch.optim.Adam([weight], lr=1e-2)
    for _ in range(300):
        scores = tokens @ weight.T
        optimizer.zero_grad()
        loss(scores, route(scores, 2)[1]).backward()
        optimizer.step()
    assert load(route(tokens @ weight.T, 2)[1], 8).min() > 0.5 / 8


# ---- bias


def test_the_bias_falls_where_too_much_was_done_and_the_size_of_the_error_is_ignored():
    bias = torch.tensor([0.5, -0.5, 0.0, 0.0])
    done = torch.tensor([0.97, 0.01, 0.01, 0.01])
    new = update_bias(bias, done, rate=0.1)
    close(new, torch.tensor([0.4, -0.4, 0.1, 0.1]))
    assert bias.tolist() == [0.5, -0.5, 0.0, 0.0]  # a new tensor


def test_at_perfect_balance_the_bias_rests():
    assert update_bias(torch.zeros(4), torch.ones(4) / 4, 0.1).tolist() == [0.0] * 4


def test_biases_alone_balance_a_router_whose_scores_stay_as_they_are():
    tokens, weight = collapsed()
    scores, bias = (tokens @ weight.T).detach(), torch.zeros(8)
    for _ in range(400):
        bias = update_bias(bias, load(route(scores, 2, bias)[1], 8), rate=0.02)
    assert load_entropy(load(route(scores, 2)[1], 8)) < 0.5
    assert load_entropy(load(route(scores, 2, bias)[1], 8)) > 0.95
