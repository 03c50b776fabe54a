"""PPO's losses: on paper, by slow loops, and the gradients that autograd gives them."""

import math

import pytest
import torch

from course_lib.logprobs import k1
from course_lib.ppo.losses import (
    clip_fraction,
    clipped_policy_loss,
    clipped_value_loss,
    entropy_bonus,
    policy_ratio,
    reinforce_loss,
    whiten,
)

ONE = torch.ones(1, 1, dtype=torch.bool)


def drawn(*shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


def batch(seed=0, B=5, T=7):
    """Log-probabilities, older ones, advantages, and a mask of unequal lengths."""
    old = -drawn(B, T, seed=seed).abs()
    new = (old + 0.4 * drawn(B, T, seed=seed + 1)).requires_grad_()
    lengths = torch.tensor([7, 1, 4, 2, 6])[:B, None]
    return new, old, drawn(B, T, seed=seed + 2), torch.arange(T) < lengths


def close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-9)


def gradient(loss, leaf):
    return torch.autograd.grad(loss, leaf)[0]


# ---- REINFORCE


def test_the_gradient_of_reinforce_is_minus_advantage_over_count():
    new, _, advantages, mask = batch()
    got = gradient(reinforce_loss(new, advantages, mask), new)
    close(got, torch.where(mask, -advantages / 20, 0.0))  # 7 + 1 + 4 + 2 + 6 tokens


def test_its_value_is_the_mean_over_all_kept_tokens_and_not_over_rows():
    logprobs = torch.tensor([[-1.0, -2.0, -4.0], [-3.0, 9.0, 9.0]])
    advantages = torch.tensor([[1.0, 1.0, 1.0], [-2.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert reinforce_loss(logprobs, advantages, mask).item() == (7 - 6) / 4


def test_no_gradient_flows_into_the_advantages():
    new, _, advantages, mask = batch()
    advantages.requires_grad_()
    reinforce_loss(new, advantages, mask).backward()
    assert advantages.grad is None


def test_a_step_down_makes_good_tokens_likelier_and_bad_ones_less_likely():
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    said, advantages = torch.tensor([[[0], [1]]]), torch.tensor([[1.0, -1.0]])
    logprobs = logits.log_softmax(-1).gather(-1, said).squeeze(-1)
    mask = torch.tensor([[True, True]])
    step = gradient(reinforce_loss(logprobs, advantages, mask), logits)
    after = (logits - step).softmax(-1).gather(-1, said).flatten()
    assert after[0] > 1 / 3 > after[1]


# ---- the ratio


def test_the_ratio_is_1_before_the_first_step_and_its_gradient_is_itself():
    new, old, *_ = batch()
    assert policy_ratio(old, old).equal(torch.ones(5, 7).double())
    ratio = policy_ratio(new, old)
    close(gradient(ratio.sum(), new), ratio.detach())


def test_fifty_tokens_a_little_likelier_are_one_ratio_each_and_not_one_in_all():
    ratio = policy_ratio(torch.full((1, 50), -0.98), torch.full((1, 50), -1.0))
    assert ratio.shape == (1, 50)
    close(ratio, torch.full((1, 50), math.exp(0.02)))


# ---- the clip

QUADRANTS = [  # ratio, advantage, objective, gradient of the objective by log pi
    (1.8, 1.0, 1.2, 0.0),
    (1.8, -1.0, -1.8, -1.8),
    (0.4, 1.0, 0.4, 0.4),
    (0.4, -1.0, -0.8, 0.0),
    (1.1, 1.0, 1.1, 1.1),
    (1.1, -1.0, -1.1, -1.1),
]


@pytest.mark.parametrize(("ratio", "advantage", "objective", "slope"), QUADRANTS)
def test_the_four_quadrants_of_the_clip_on_paper(ratio, advantage, objective, slope):
    new = torch.tensor([[ratio]]).log().requires_grad_()
    old, advantages = torch.zeros(1, 1), torch.tensor([[advantage]])
    loss = clipped_policy_loss(new, old, advantages, ONE, clip_eps=0.2)
    assert loss.item() == pytest.approx(-objective)
    assert gradient(loss, new).item() == pytest.approx(-slope)
    held = clip_fraction(torch.tensor([[ratio]]), advantages, ONE)
    assert held.item() == (slope == 0)


@pytest.mark.parametrize("eps", [0.1, 0.2, 0.5])
def test_a_loop_with_cases_agrees_in_value_and_gradient(eps):
    new, old, advantages, mask = batch(seed=3)
    loss = clipped_policy_loss(new, old, advantages, mask, eps)
    total, slopes, held = 0.0, torch.zeros_like(old), 0
    for b, t in mask.nonzero().tolist():
        ratio = math.exp(new[b, t].item() - old[b, t].item())
        a = advantages[b, t].item()
        if a > 0 and ratio > 1 + eps:
            total, held = total + (1 + eps) * a, held + 1
        elif a < 0 and ratio < 1 - eps:
            total, held = total + (1 - eps) * a, held + 1
        else:
            total, slopes[b, t] = total + ratio * a, -ratio * a / mask.sum()
    close(loss, torch.tensor(-total / mask.sum().item()).double())
    close(gradient(loss, new), slopes)
    fraction = clip_fraction(policy_ratio(new, old), advantages, mask, eps)
    assert fraction.item() == pytest.approx(held / mask.sum().item())
    assert 0 < held < mask.sum()


def test_at_ratio_1_the_gradient_is_that_of_reinforce():
    _, old, advantages, mask = batch()
    leaf = old.clone().requires_grad_()
    ppo = gradient(clipped_policy_loss(leaf, old, advantages, mask), leaf)
    plain = gradient(reinforce_loss(leaf, advantages, mask), leaf)
    close(ppo, plain)


def test_an_endless_clip_is_plain_importance_weighting():
    new, old, advantages, mask = batch()
    loss = clipped_policy_loss(new, old, advantages, mask, clip_eps=1e9)
    weighted = (new - old).exp() * advantages
    close(loss, -weighted[mask].mean())


def test_the_loss_is_never_below_the_one_without_a_clip():
    for seed in range(5):
        new, old, advantages, mask = batch(seed)
        free = clipped_policy_loss(new, old, advantages, mask, clip_eps=1e9)
        assert clipped_policy_loss(new, old, advantages, mask) >= free - 1e-12


def test_what_is_masked_has_no_influence_not_even_nan():
    new, old, advantages, mask = batch()
    dirty = [torch.where(mask, each, torch.nan) for each in (new, old, advantages)]
    for loss in (clipped_policy_loss, clipped_value_loss):
        assert loss(*dirty, mask).equal(loss(new, old, advantages, mask))
    assert reinforce_loss(dirty[0], dirty[2], mask).isfinite()
    assert whiten(dirty[2], mask).equal(whiten(advantages, mask))


# ---- the critic


def test_the_value_loss_on_paper():
    old, returns = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    cases = {  # value: larger square, of itself or of the one held within 0.2 of 0
        1.0: 0.64,  # arrived, but held back at 0.2
        0.1: 0.81,
        -0.5: 2.25,  # wrong way: its own error counts
        3.0: 4.0,
    }
    for value, square in cases.items():
        loss = clipped_value_loss(torch.tensor([[value]]), old, returns, ONE)
        assert loss.item() == pytest.approx(square / 2)


@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_a_value_that_went_too_far_towards_its_return_is_pushed_no_further(eps):
    old, returns = torch.tensor([[0.0]]), torch.tensor([[5.0]])
    far = torch.tensor([[eps + 0.1]], requires_grad=True)
    near = torch.tensor([[eps - 0.1]], requires_grad=True)
    assert gradient(clipped_value_loss(far, old, returns, ONE, eps), far).item() == 0
    slope = gradient(clipped_value_loss(near, old, returns, ONE, eps), near).item()
    assert slope == pytest.approx(eps - 0.1 - 5)


def test_a_loop_gives_the_same_value_loss_and_gradient():
    new, old, returns, mask = batch(seed=5)
    loss = clipped_value_loss(new, old, returns, mask, 0.3)
    total, slopes = 0.0, torch.zeros_like(old)
    for b, t in mask.nonzero().tolist():
        v, before, r = (x[b, t].item() for x in (new, old, returns))
        held = min(max(v, before - 0.3), before + 0.3)
        total += max((v - r) ** 2, (held - r) ** 2) / 2
        if (v - r) ** 2 >= (held - r) ** 2:
            slopes[b, t] = (v - r) / mask.sum()
    close(loss, torch.tensor(total / mask.sum().item()).double())
    inside = (new - old).abs() > 0.3  # where both squares are one, so is the slope
    close(gradient(loss, new)[inside], slopes[inside])


def test_an_endless_clip_is_half_the_mean_square():
    new, old, returns, mask = batch()
    loss = clipped_value_loss(new, old, returns, mask, clip_eps=1e9)
    close(loss, (new - returns)[mask].square().mean() / 2)


# ---- whitening


def test_whitened_advantages_have_mean_0_and_spread_1_over_what_is_kept():
    _, _, advantages, mask = batch()
    white = whiten(advantages * 7 + 3, mask)
    assert white[mask].mean().item() == pytest.approx(0, abs=1e-9)
    assert white[mask].std().item() == pytest.approx(1)  # torch's std is the sample's
    assert (white[~mask] == 0).all()
    close(white[mask].argsort(), advantages[mask].argsort())


def test_equal_advantages_and_a_single_one_become_0():
    assert (
        whiten(torch.full((2, 2), 5.0), torch.ones(2, 2).bool()).tolist()
        == [[0, 0]] * 2
    )
    assert whiten(torch.tensor([[5.0]]), ONE).tolist() == [[0.0]]


def test_whitening_over_different_prompts_blames_the_bad_answer_to_the_easy_one_least():
    """Rewards 10 and 9 to one prompt, 1 and 0 to another: the worse answer is praised."""
    white = whiten(torch.tensor([[10.0], [9.0], [1.0], [0.0]]), torch.ones(4, 1).bool())
    assert white[1].item() > 0.7
    assert white[2].item() < -0.7


# ---- entropy and the term that has no gradient


def test_the_entropy_bonus_is_the_mean_over_kept_positions():
    logits = torch.stack([torch.zeros(4), torch.tensor([0.0, 0.0, -99.0, -99.0])])[None]
    both, first = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert entropy_bonus(logits, both).item() == pytest.approx(1.5 * math.log(2))
    assert entropy_bonus(logits, first).item() == pytest.approx(math.log(4))


def test_the_published_kl_penalty_pulls_to_no_reference():
    """E79: mean(logp - ref) on fixed samples has one gradient, whatever the reference."""
    new, ref, *_ = batch()
    other = drawn(5, 7, seed=9)
    pulls = [gradient(k1(new, each).mean(), new) for each in (ref, other)]
    assert pulls[0].equal(pulls[1])


# ---- what cannot be


@pytest.mark.parametrize("loss", [clipped_policy_loss, clipped_value_loss])
def test_an_empty_response_is_refused_by_number(loss):
    new, old, advantages, mask = batch()
    mask[3] = False
    with pytest.raises(ValueError, match="Response 3 has no token"):
        loss(new, old, advantages, mask)
    with pytest.raises(ValueError, match="Response 3 has no token"):
        reinforce_loss(new, advantages, mask)
    with pytest.raises(ValueError, match="Response 3 has no token"):
        whiten(advantages, mask)


def test_tensors_of_other_shapes_and_masks_of_numbers_are_refused():
    new, old, advantages, mask = batch()
    with pytest.raises(
        ValueError, match=r"advantages and mask .*\(5, 1\) and \(5, 7\)"
    ):
        clipped_policy_loss(new, old, advantages[:, :1], mask)
    with pytest.raises(ValueError, match="mask is boolean"):
        reinforce_loss(new, advantages, mask.float())
    with pytest.raises(AssertionError, match="one number per token"):
        policy_ratio(new, old[:, 1:])
    with pytest.raises(ValueError, match="There are no responses"):
        reinforce_loss(*[torch.zeros(0, 3)] * 2, torch.zeros(0, 3).bool())
