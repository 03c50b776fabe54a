"""The bandit: exact values against autograd and enumeration, samples within their own error."""

import math
from functools import partial

import pytest
import torch

from course_lib.bandits import (
    climb,
    exact_gradient,
    expected_reward,
    leashed_optimum,
    leashed_value,
    play_bandit,
    pull,
    sampled_gradients,
    term_gradient,
)
from course_lib.logprobs import k1, k2, k3, kl_divergence
from course_lib.ppo.losses import clipped_policy_loss, reinforce_loss

REWARDS = torch.tensor([0.0, 1.0, 3.0, 2.0]).double()
LOGITS = torch.tensor([0.5, 0.0, -1.0, 0.2]).double()
REFERENCE = torch.tensor([0.0, 1.0, -0.5, 0.3]).double()
COUNT = 40_000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def close(left, right, tolerance=1e-9):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def gradient(function, logits=LOGITS):
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


# ---- exactly


def test_value_and_gradient_of_two_arms_on_paper():
    """Probabilities 1/4 and 3/4, rewards 0 and 4: value 3, gradient -3/4 and 3/4."""
    logits, rewards = torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, 4.0])
    assert expected_reward(logits, rewards).item() == pytest.approx(3)
    close(exact_gradient(logits, rewards), torch.tensor([-0.75, 0.75]), 1e-6)


def test_the_exact_gradient_is_that_of_autograd_and_sums_to_0():
    got = exact_gradient(LOGITS, REWARDS)
    close(got, gradient(lambda z: expected_reward(z, REWARDS)))
    assert got.sum().abs() < 1e-12


def test_equal_rewards_pull_nowhere():
    close(
        exact_gradient(LOGITS, torch.full((4,), 7.0).double()), torch.zeros(4).double()
    )


# ---- sampled


@pytest.mark.parametrize("baseline", [0.0, 1.5, -10.0])
def test_sampled_gradients_have_the_exact_one_as_mean_whatever_the_baseline(baseline):
    """By enumeration over all arms, weighted by the policy: not only within an error."""
    arms = torch.arange(4)
    each = sampled_gradients(LOGITS, arms, REWARDS, baseline)
    close(LOGITS.softmax(0) @ each, exact_gradient(LOGITS, REWARDS))


def test_the_mean_of_many_pulls_is_the_exact_gradient_within_its_error():
    arms = pull(LOGITS, COUNT, seeded())
    each = sampled_gradients(LOGITS, arms, REWARDS[arms])
    error = each.std(dim=0) / COUNT**0.5
    distance = (each.mean(dim=0) - exact_gradient(LOGITS, REWARDS)).abs()
    assert (distance < 4 * error).all()
    assert (error < 0.1 * exact_gradient(LOGITS, REWARDS).abs().max()).all()


@pytest.mark.parametrize("loss_fn", [reinforce_loss, clipped_policy_loss])
def test_the_losses_of_ppo_give_the_exact_gradient_within_its_error(loss_fn):
    arms = pull(LOGITS, COUNT, seeded(1))
    mask = torch.ones(COUNT, 1, dtype=torch.bool)

    def loss(logits):
        logprobs = logits.log_softmax(0)[arms].unsqueeze(1)
        if loss_fn is clipped_policy_loss:
            return loss_fn(logprobs, logprobs.detach(), REWARDS[arms, None], mask)
        return loss_fn(logprobs, REWARDS[arms, None], mask)

    each = sampled_gradients(LOGITS, arms, REWARDS[arms])
    close(-gradient(loss), each.mean(dim=0))  # the very same number, by another way
    error = each.std(dim=0) / COUNT**0.5
    distance = (-gradient(loss) - exact_gradient(LOGITS, REWARDS)).abs()
    assert (distance < 4 * error).all()


def test_a_baseline_near_the_value_makes_gradients_calmer():
    rewards = REWARDS + 10
    arms = pull(LOGITS, COUNT, seeded())
    value = expected_reward(LOGITS, rewards)
    spread = [
        sampled_gradients(LOGITS, arms, rewards[arms], b).var(dim=0).sum()
        for b in (0.0, value)
    ]
    assert spread[1] < 0.05 * spread[0]


def test_arms_are_pulled_as_often_as_the_policy_says():
    counts = pull(LOGITS, COUNT, seeded()).bincount(minlength=4)
    expected = COUNT * LOGITS.softmax(0)
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # 3 degrees: 1 in 1000


def test_reinforce_finds_the_best_arm_and_the_baseline_makes_it_safer():
    rewards = (
        REWARDS / 3 + 2
    )  # all arms pay well: without a baseline any pull is praised
    ends = {
        baseline: torch.stack(
            [
                play_bandit(rewards, 100, baseline=baseline, generator=seeded(seed))[-1]
                for seed in range(12)
            ]
        )
        for baseline in (True, False)
    }
    got = {baseline: (ends[baseline] @ rewards) for baseline in ends}
    assert got[True].min() > 2.75
    assert got[True].mean() > got[False].mean() + 0.02
    assert got[True].std() < got[False].std()


def test_a_learners_loss_with_the_wrong_sign_finds_the_worst_arm():
    wrong = lambda *tensors: -reinforce_loss(*tensors)  # noqa: E731
    policies = play_bandit(REWARDS, 100, loss_fn=wrong, generator=seeded())
    assert policies.shape == (101, 4)
    assert policies[-1].argmax() == 0
    assert policies[0].tolist() == [0.25] * 4


# ---- on a leash


def test_the_leashed_optimum_of_two_arms_on_paper():
    """p = e / (e + 1) for rewards 0 and 1 at price 1, from an even reference."""
    best = leashed_optimum(torch.tensor([0.0, 1.0]), torch.zeros(2), 1.0)
    close(best, torch.tensor([1.0, math.e]) / (1 + math.e), 1e-6)


@pytest.mark.parametrize("kl_coef", [0.1, 1.0, 20.0])
def test_at_the_optimum_the_leashed_value_has_no_slope_and_is_the_largest(kl_coef):
    value = partial(
        leashed_value, rewards=REWARDS, ref_logits=REFERENCE, kl_coef=kl_coef
    )
    best = leashed_optimum(REWARDS, REFERENCE, kl_coef).log()
    close(gradient(value, best), torch.zeros(4).double(), 1e-8)
    for seed in range(10):
        other = best + 0.3 * torch.randn(4, generator=seeded(seed), dtype=torch.float64)
        assert value(other) < value(best)
    # its value has a closed form: price times log of the mean of e^(r / price)
    chances = REFERENCE.softmax(0)
    closed = kl_coef * (chances * (REWARDS / kl_coef).exp()).sum().log()
    close(value(best), closed)


def test_a_frozen_reference_holds_and_a_drifting_one_does_not():
    """E80: with resets the leash moves along, and the divergence from the start grows."""
    settings = {"kl_coef": 1.0, "steps": 400, "lr": 1.0}
    best = leashed_optimum(REWARDS, REFERENCE, 1.0)
    frozen = climb(REWARDS, REFERENCE, **settings)
    drifting = climb(REWARDS, REFERENCE, **settings, refresh_every=10)
    close(frozen[-1], best, 1e-6)
    strayed = [kl_divergence(p.log(), REFERENCE) for p in (frozen, drifting)]
    assert strayed[0][-1] < 1.01 * kl_divergence(best.log(), REFERENCE)
    assert strayed[1][-1] > 2 * strayed[0][-1]
    assert drifting[-1].max() > 0.95
    close(frozen[0], REFERENCE.softmax(0))
    close(frozen[:11], drifting[:11])  # the same until the first reset


# ---- which KL term has a gradient, and which


def forward_kl(logits):
    return kl_divergence(logits, REFERENCE)


def backward_kl(logits):
    return kl_divergence(REFERENCE, logits)


def test_k1_on_fixed_samples_pulls_nowhere():
    assert term_gradient(LOGITS, REFERENCE, k1).abs().max() < 1e-12
    assert gradient(forward_kl).abs().max() > 0.1


def test_k2_has_the_gradient_of_the_divergence_from_policy_to_reference():
    close(term_gradient(LOGITS, REFERENCE, k2), gradient(forward_kl))


def test_k3_has_the_gradient_of_the_divergence_the_other_way_round():
    got = term_gradient(LOGITS, REFERENCE, k3)
    close(got, gradient(backward_kl))
    assert (got - gradient(forward_kl)).abs().max() > 0.02


def test_k3_times_the_ratio_has_the_gradient_of_policy_to_reference_again():
    def weighted(logprobs, ref_logprobs):
        return (logprobs - logprobs.detach()).exp() * k3(logprobs, ref_logprobs)

    close(term_gradient(LOGITS, REFERENCE, weighted), gradient(forward_kl))


@pytest.mark.parametrize("term", [k2, k3])
def test_swapping_the_reference_changes_every_gradient_but_that_of_k1(term):
    other = REFERENCE.flip(0)
    pulls = [term_gradient(LOGITS, each, term) for each in (REFERENCE, other)]
    assert (pulls[0] - pulls[1]).abs().max() > 0.05
    still = [term_gradient(LOGITS, each, k1) for each in (REFERENCE, other)]
    close(*still)


# ---- what cannot be


def test_rewards_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="Every reward must be a number"):
        play_bandit(torch.tensor([0.0, math.nan]), steps=1)
    with pytest.raises(AssertionError, match="one reward per pull"):
        sampled_gradients(LOGITS, torch.tensor([0, 1]), torch.tensor([1.0]))
    with pytest.raises(AssertionError, match="without a price"):
        leashed_optimum(REWARDS, REFERENCE, 0.0)
