"""Bradley–Terry: numbers on paper, what it cannot see, gradients by hand, the loop of lesson 01."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib.reward.losses import (
    bradley_terry_loss,
    centring_penalty,
    check_numbers,
    pair_loss,
    pair_rewards,
    preferred_probability,
)
from course_lib.reward.model import RewardModel
from course_lib.reward.pairs import PairIds, collate_pairs, pair_batches
from course_lib.training import accumulate_gradients, train
from tests.tiny import gradients, transformer

GAPS = some.floats(-30, 30)
PAIRS = [  # of V = 7 tokens: the chosen answer ends in 5, the rejected one in 4
    PairIds([2, 3], [6, 5], [4], 0.3),
    PairIds([2, 6, 3], [5], [6, 4, 4], 0.0),
    PairIds([2, 3], [5, 5, 5], [6, 4], 1.0),
]


def reward_model(seed=0):
    return RewardModel(transformer(seed), torch.Generator().manual_seed(seed))


# ---- the loss


def test_losses_on_paper():
    chosen = torch.tensor([0.0, math.log(3.0), 0.0])
    rejected = torch.tensor([0.0, 0.0, math.log(3.0)])
    losses = bradley_terry_loss(chosen, rejected)
    wanted = torch.tensor([math.log(2), math.log(4 / 3), math.log(4)])
    torch.testing.assert_close(losses, wanted)


def test_a_margin_moves_the_point_of_even_odds():
    losses = bradley_terry_loss(
        torch.tensor([2.0]), torch.tensor([0.5]), torch.tensor([1.5])
    )
    torch.testing.assert_close(losses, torch.tensor([math.log(2)]))


def test_smoothing_is_the_mean_over_labels_that_may_be_wrong():
    chosen, rejected = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    wanted = 0.9 * bradley_terry_loss(chosen, rejected)
    wanted += 0.1 * bradley_terry_loss(rejected, chosen)
    found = bradley_terry_loss(chosen, rejected, smoothing=0.1)
    torch.testing.assert_close(found, wanted)


@given(GAPS, GAPS, some.floats(-100, 100))
def test_adding_one_number_to_all_rewards_changes_nothing(chosen, rejected, shift):
    pair = torch.tensor([chosen, rejected], dtype=torch.float64).unsqueeze(1)
    for settings in ({}, {"margins": 0.7}, {"smoothing": 0.2}):
        loss = bradley_terry_loss(*pair, **settings)
        moved = bradley_terry_loss(*(pair + shift), **settings)
        torch.testing.assert_close(moved, loss, rtol=1e-9, atol=1e-9)


def test_a_hopeless_pair_costs_its_gap_and_is_never_infinite():
    far = torch.tensor([1e4, 100.0, 0.0])
    losses = bradley_terry_loss(-far, far)
    torch.testing.assert_close(losses, torch.tensor([2e4, 200.0, math.log(2)]))
    assert (bradley_terry_loss(far, -far)[:2] == 0).all()


def test_the_gradient_is_what_the_model_did_not_expect():
    chosen, rejected = torch.randn(2, 40, generator=torch.Generator().manual_seed(1))
    chosen.requires_grad_()
    rejected.requires_grad_()
    bradley_terry_loss(chosen, rejected).sum().backward()
    surprise = 1 - preferred_probability(chosen, rejected).detach()
    torch.testing.assert_close(chosen.grad, -surprise)
    torch.testing.assert_close(rejected.grad, surprise)


def test_gradients_agree_with_finite_differences_with_margin_and_smoothing():
    chosen, rejected, margins = torch.randn(
        3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    chosen.requires_grad_()
    rejected.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c, r: bradley_terry_loss(c, r, margins.abs(), 0.2), (chosen, rejected)
    )


def test_with_smoothing_the_best_gap_is_finite():
    gaps = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    losses = bradley_terry_loss(gaps, torch.zeros_like(gaps), smoothing=0.2)
    assert float(gaps[losses.argmin()]) == pytest.approx(math.log(4), abs=1e-3)


def test_rewards_that_do_not_belong_together_are_refused():
    with pytest.raises(AssertionError, match="two rewards for each pair"):
        bradley_terry_loss(torch.zeros(3), torch.zeros(2))
    with pytest.raises(AssertionError, match="less than half"):
        bradley_terry_loss(torch.zeros(3), torch.zeros(3), smoothing=0.5)


def test_the_penalty_holds_the_sum_and_not_the_gap():
    chosen = torch.tensor([3.0, 1.0], requires_grad=True)
    rejected = torch.tensor([-3.0, 2.0], requires_grad=True)
    penalty = centring_penalty(chosen, rejected)
    assert penalty.tolist() == [0.0, 9.0]
    penalty.sum().backward()
    assert chosen.grad.equal(rejected.grad)


def test_what_is_no_number_is_found_and_named():
    check_numbers(torch.tensor([[1.0, -2.0]]), "reward")
    with pytest.raises(ValueError, match="The reward at place 3 is inf"):
        check_numbers(torch.tensor([[1.0, 2.0], [3.0, math.inf]]), "reward")
    with pytest.raises(ValueError, match="There is no reward at all"):
        check_numbers(torch.zeros(0), "reward")


# ---- in the loop


def test_pairs_in_one_pass_have_the_rewards_of_each_text_alone():
    model = reward_model()
    ids, mask = collate_pairs(PAIRS, end=1, pad=0)
    both = torch.stack(pair_rewards(model, ids, mask), dim=1)  # (B, 2)
    for i, pair in enumerate(PAIRS):
        for j, answer in enumerate((pair.chosen, pair.rejected)):
            alone = model(torch.tensor([[*pair.prompt, *answer, 1]]))[0]
            torch.testing.assert_close(both[i, j], alone, rtol=1e-5, atol=1e-5)
    with pytest.raises(AssertionError, match="pairs are"):
        pair_rewards(model, ids[:, :1], mask[:, :1])


def test_the_loops_mean_is_the_mean_over_pairs_with_margins_and_centring():
    model = reward_model()
    batch = pair_batches(PAIRS, 3, end=1, pad=0, margins=True)(0)

    def loss_fn(model, *tensors):
        return pair_loss(model, *tensors, centring=0.1)

    mean, count = accumulate_gradients(model, batch, loss_fn)
    chosen, rejected = pair_rewards(model, *batch[:2])
    slow = 0.0
    for c, r, m in zip(chosen, rejected, batch[2], strict=True):
        slow += torch.log(1 + torch.exp(-(c - r - m))) + 0.1 * (c + r) ** 2
    assert count == 3
    torch.testing.assert_close(mean, slow.detach() / 3)
    whole = gradients(model)
    accumulate_gradients(model, batch, loss_fn, pieces=3)
    torch.testing.assert_close(gradients(model), whole, rtol=1e-5, atol=1e-6)


def test_a_loss_of_ones_own_drops_in():
    model = reward_model()
    ids, mask = collate_pairs(PAIRS, end=1, pad=0)
    losses, kept = pair_loss(model, ids, mask, loss=lambda c, r: (c - r) ** 2)
    chosen, rejected = pair_rewards(model, ids, mask)
    torch.testing.assert_close(losses, (chosen - rejected) ** 2)
    assert kept.all()


def test_a_reward_model_learns_which_answer_is_better_within_a_few_steps():
    model = reward_model()
    before = copy.deepcopy(model.state_dict())
    batches = pair_batches(PAIRS, 3, end=1, pad=0)
    history = train(model, batches, pair_loss, steps=60, lr=1e-2)
    assert history.losses[0] > 0.5
    assert history.mean(5) < 0.05
    chosen, rejected = pair_rewards(model, *collate_pairs(PAIRS, 1, 0))
    assert (chosen > rejected).all()
    moved = [n for n, t in model.state_dict().items() if not t.equal(before[n])]
    assert "head.weight" in moved
    assert any(name.startswith("body.") for name in moved)
