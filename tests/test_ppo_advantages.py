"""From rewards to advantages: on paper, by the sums of the papers, and torchrl's."""

import pytest
import torch

from course_lib.bandits import leashed_optimum
from course_lib.ppo.advantages import (
    AdaptiveKL,
    explained_variance,
    gae,
    kl_shaped_rewards,
    last_token,
    rewards_to_go,
)

TWO = torch.tensor([[True, True, True], [True, False, False]])


def drawn(*shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


def batch(seed=0, B=6, T=8):
    """Rewards, values and a mask of unequal lengths."""
    lengths = torch.tensor([8, 1, 4, 2, 7, 3])[:B, None]
    return drawn(B, T, seed=seed), drawn(B, T, seed=seed + 1), torch.arange(T) < lengths


def close(left, right, tolerance=1e-9):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- rewards per token


def test_the_price_stands_at_each_token_and_the_reward_at_the_last_one():
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 9.0, 9.0]])
    ref = torch.tensor([[-1.5, -2.0, -2.0], [-3.0, 0.0, 0.0]])
    got = kl_shaped_rewards(torch.tensor([1.0, -1.0]), logprobs, ref, TWO, kl_coef=0.1)
    close(got, torch.tensor([[-0.05, 0.0, 1.1], [-1.2, 0.0, 0.0]]), 1e-6)


def test_the_sum_over_a_response_is_its_reward_less_the_price_of_its_log_ratio():
    logprobs, ref, mask = batch()
    rewards = drawn(6, seed=7)
    shaped = kl_shaped_rewards(rewards, logprobs, ref, mask, kl_coef=0.3)
    straying = ((logprobs - ref) * mask).sum(1)
    close(shaped.sum(1), rewards - 0.3 * straying)
    assert (shaped[~mask] == 0).all()


def test_straying_costs_and_never_pays_on_average():
    """The sign: enumerate one token drawn from p; the mean price is -KL, which is below 0."""
    p, q = drawn(9).log_softmax(0), drawn(9, seed=1).log_softmax(0)
    every = torch.ones(9, 1, dtype=torch.bool)
    shaped = kl_shaped_rewards(
        torch.zeros(9).double(), p[:, None], q[:, None], every, 1.0
    )
    close((p.exp() * shaped[:, 0]).sum(), -(p.exp() * (p - q)).sum())
    assert (p.exp() * shaped[:, 0]).sum() < -0.1


def test_without_a_price_only_the_last_token_has_a_reward():
    logprobs, ref, mask = batch()
    shaped = kl_shaped_rewards(torch.ones(6), logprobs, ref, mask, kl_coef=0.0)
    assert shaped.sum(1).tolist() == [1.0] * 6
    assert shaped.argmax(1).tolist() == [7, 0, 3, 1, 6, 2] == last_token(mask).tolist()


def test_with_the_price_in_the_reward_the_policy_gradient_pulls_to_the_reference():
    """E79: swap the reference, and the gradient must change; at the optimum it must vanish."""
    rewards, ref = torch.tensor([0.0, 1.0, 0.3]).double(), drawn(3, seed=4)

    def pull(logits, ref):
        p, q = logits.log_softmax(0), ref.log_softmax(0)
        every = torch.ones(3, 1, dtype=torch.bool)
        shaped = kl_shaped_rewards(rewards, p[:, None], q[:, None], every, 0.5)[:, 0]
        return p.exp() * (shaped - (p.exp() * shaped).sum())  # exact policy gradient

    here = drawn(3, seed=5)
    assert (pull(here, ref) - pull(here, drawn(3, seed=6))).abs().max() > 0.05
    best = leashed_optimum(rewards, ref, 0.5).log()
    close(pull(best, ref), torch.zeros(3).double(), 1e-7)


# ---- GAE


def slow_gae(rewards, values, mask, discount, lam):
    """Schulman et al. 2016, eq. 16, term by term, each row alone, padding cut away."""
    advantages = torch.zeros_like(rewards)
    for b, length in enumerate(mask.sum(1).tolist()):
        r, v = rewards[b, :length].tolist(), [*values[b, :length].tolist(), 0.0]
        for t in range(length):
            advantages[b, t] = sum(
                (discount * lam) ** k * (r[t + k] + discount * v[t + k + 1] - v[t + k])
                for k in range(length - t)
            )
    return advantages


def torchrls_gae(rewards, values, mask, discount, lam):
    from torchrl.objectives.value.functional import generalized_advantage_estimate

    done = (torch.arange(mask.shape[1]) == last_token(mask)[:, None]) | ~mask
    later = torch.cat([values[:, 1:], torch.zeros(len(values), 1).double()], dim=1)
    columns = [x.unsqueeze(-1) for x in (values, later, rewards * mask, done)]
    got, _ = generalized_advantage_estimate(discount, lam, *columns, columns[-1])
    return got.squeeze(-1) * mask


@pytest.mark.parametrize("reference", [slow_gae, torchrls_gae])
@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_gae_equals_an_independent_one(reference, discount, lam):
    for seed in range(3):
        got = gae(*batch(seed), discount, lam)
        # torchrl keeps its discount in float32
        tolerance = 1e-9 if reference is slow_gae else 1e-6
        close(got, reference(*batch(seed), discount, lam), tolerance)
        assert (got[~batch(seed)[2]] == 0).all()


def test_two_tokens_on_paper():
    """r = (1, 2), V = (3, 5), discount .5, lambda .5: surprises .5 and -3."""
    rewards, values = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
    got = gae(rewards, values, torch.tensor([[True, True]]), discount=0.5, lam=0.5)
    assert got.tolist() == [[0.5 + 0.25 * -3, -3.0]]


def test_lambda_0_is_the_surprise_of_one_step():
    rewards, values, mask = batch()
    later = torch.cat([values[:, 1:], torch.zeros(6, 1)], 1)
    followed = torch.cat([mask[:, 1:], torch.zeros(6, 1).bool()], 1)
    surprise = rewards + 0.9 * later * followed - values
    close(gae(rewards, values, mask, 0.9, lam=0.0), surprise * mask)


def test_lambda_1_is_what_came_less_what_was_expected():
    rewards, values, mask = batch()
    for discount in (1.0, 0.8):
        got = gae(rewards, values, mask, discount, lam=1.0)
        close(got, (rewards_to_go(rewards, mask, discount) - values) * mask)


def test_rewards_to_go_add_up_from_the_right():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [5.0, 7.0, 7.0]])
    assert rewards_to_go(rewards, TWO).tolist() == [[7, 6, 4], [5, 0, 0]]
    assert rewards_to_go(rewards, TWO, 0.5).tolist() == [[3, 4, 4], [5, 0, 0]]


def test_true_values_leave_no_advantage_but_the_noise():
    """Values that foretell every return exactly: nothing was better than expected."""
    rewards, _, mask = batch()
    values = rewards_to_go(rewards, mask, 0.9)
    for lam in (0.0, 0.7, 1.0):
        close(gae(rewards, values, mask, 0.9, lam), torch.zeros(6, 8).double())


def test_padding_may_hold_anything():
    rewards, values, mask = batch()
    dirty = [torch.where(mask, each, torch.nan) for each in (rewards, values)]
    assert gae(*dirty, mask).equal(gae(rewards, values, mask))


def test_a_row_does_not_depend_on_the_others():
    rewards, values, mask = batch()
    alone = gae(rewards[2:3, :4], values[2:3, :4], mask[2:3, :4])
    close(gae(rewards, values, mask)[2, :4], alone[0])


def test_no_gradient_flows_through_advantages():
    rewards, values, mask = batch()
    assert not gae(rewards, values.requires_grad_(), mask).requires_grad


# ---- the critic's mark, and the controller


def test_explained_variance_is_1_for_a_seer_and_0_for_a_constant():
    _, returns, mask = batch()
    assert explained_variance(returns + 5, returns, mask).item() == pytest.approx(1)
    constant = torch.full_like(returns, 3.0)
    assert explained_variance(constant, returns, mask).item() == pytest.approx(0)
    assert explained_variance(-returns, returns, mask).item() == pytest.approx(-3)
    assert explained_variance(returns, constant, mask).item() == 0
    noise = torch.where(mask, 0.0, torch.inf)
    assert explained_variance(returns + noise, returns, mask).item() == pytest.approx(1)


def test_the_price_rises_when_the_policy_strays_and_falls_when_it_stays():
    adapt = AdaptiveKL(target=2.0)
    assert adapt(0.1, kl=2.0) == 0.1
    assert adapt(0.1, kl=2.2) == pytest.approx(0.101)  # 10 % off, a tenth of it
    assert adapt(0.1, kl=99.0) == pytest.approx(0.102)  # held at 20 %
    assert adapt(0.1, kl=-5.0) == pytest.approx(0.098)


def test_the_controller_finds_the_price_at_which_a_bandit_keeps_its_target():
    rewards, ref = torch.tensor([0.0, 1.0, 3.0]).double(), torch.zeros(3).double()
    adapt, price = AdaptiveKL(target=0.3, gain=0.5), 5.0
    for _ in range(200):
        best = leashed_optimum(rewards, ref, price).log()
        kl = (best.exp() * (best - ref.log_softmax(0))).sum().item()
        price = adapt(price, kl)
    assert kl == pytest.approx(0.3, abs=0.01)


# ---- what cannot be


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number_is_named(bad):
    logprobs, ref, mask = batch()
    rewards = torch.zeros(6)
    rewards[4] = bad
    with pytest.raises(ValueError, match=f"The reward of response 4 is {bad}"):
        kl_shaped_rewards(rewards, logprobs, ref, mask, 0.1)


def test_empty_responses_and_wrong_shapes_are_refused():
    rewards, values, mask = batch()
    with pytest.raises(ValueError, match="One reward per response: 6 responses"):
        kl_shaped_rewards(torch.zeros(5), rewards, values, mask, 0.1)
    with pytest.raises(ValueError, match=r"values and mask .*\(6, 7\) and \(6, 8\)"):
        gae(rewards, values[:, 1:], mask)
    mask = mask.clone()
    mask[2] = False
    for function in (lambda: gae(rewards, values, mask), lambda: last_token(mask)):
        with pytest.raises(ValueError, match="Response 2 has no token"):
            function()
    with pytest.raises(ValueError, match="Response 2 has no token"):
        kl_shaped_rewards(torch.zeros(6), rewards, values, mask, 0.1)
    with pytest.raises(ValueError, match="some nats above 0"):
        AdaptiveKL(target=0.0)
