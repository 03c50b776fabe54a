"""The PPO loop: the ratio starts at 1, minibatches are whole, it learns, and it refuses nonsense."""

import copy
from dataclasses import replace

import pytest
import torch

from course_lib.logprobs import token_logprobs
from course_lib.ppo.advantages import AdaptiveKL, gae, kl_shaped_rewards
from course_lib.ppo.agent import (
    ActorCritic,
    ValueHead,
    late_fall,
    look_back,
    two_rates,
)
from course_lib.ppo.losses import clipped_policy_loss, policy_ratio, reinforce_loss
from course_lib.ppo.trainer import (
    Experience,
    Settings,
    answer,
    minibatch_rows,
    ppo_loss,
    train_ppo,
)
from course_lib.transformer import Config, Transformer

CONFIG = Config(vocabulary=12, context=24, width=16, layers=1, heads=2, hidden=24)
END, GOOD = 1, 7
SETTINGS = Settings(end=END, new_tokens=8, lr=1e-2, critic_lr=3e-2, kl_coef=0.01)
PROMPTS = [[5, 6], [8], [9, 9, 4]] * 16


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def agent_and_reference(seed=0):
    policy = Transformer(CONFIG, generator=seeded(seed))
    with torch.no_grad():
        policy.embed.weight *= 8  # large enough for texts that differ
    return ActorCritic(policy), copy.deepcopy(policy)


def batches(step):
    return PROMPTS, None


def share_of_sevens(rollout, facts):
    """1 if all tokens but the end are GOOD."""
    return (rollout.responses == GOOD).sum(1) / rollout.lengths


def trained(steps=3, settings=SETTINGS, reward_fn=share_of_sevens, seed=0, **pieces):
    agent, reference = agent_and_reference()
    history = train_ppo(
        agent, reference, batches, reward_fn, steps, settings,
        generator=seeded(seed), progress=False, **pieces,
    )  # fmt: skip
    return agent, reference, history


# ---- it learns


def test_reward_rises_and_the_price_holds_the_divergence():
    _, reference, free = trained(25, replace(SETTINGS, kl_coef=0.0))
    _, _, held = trained(25, replace(SETTINGS, kl_coef=0.3))
    assert free["reward"][-1] > free["reward"][0] + 0.3
    assert held["kl"][-1] < 0.5 * free["kl"][-1]
    assert free["kl"][0] == pytest.approx(0, abs=1e-3)  # both are one model at first
    weights = zip(
        reference.parameters(), agent_and_reference()[1].parameters(), strict=True
    )
    assert all(a.equal(b) for a, b in weights)  # the reference stays frozen


def test_the_critic_learns_what_is_to_be_expected():
    def constant(rollout, facts):
        return torch.ones(len(rollout))

    settings = replace(SETTINGS, kl_coef=0.0, lr=1e-4, value_clip=1.0)
    agent, _, history = trained(25, settings, constant)
    rollout = answer(agent.policy, PROMPTS, SETTINGS, seeded())
    with torch.no_grad():
        _, values = agent(rollout)
    assert (values[rollout.response_mask] - 1).abs().mean() < 0.2
    assert history["value_loss"][-1] < 0.1 * history["value_loss"][0]


def test_one_seed_gives_one_history_but_for_the_seconds():
    runs = [trained()[2] for _ in range(2)]
    for name in runs[0]:
        if "seconds" not in name:
            assert runs[0][name] == runs[1][name], name
    assert trained(seed=1)[2]["reward"] != runs[0]["reward"]


def test_every_number_is_noted_once_a_step():
    *_, history = trained(4)
    assert all(len(numbers) == 4 for numbers in history.values())
    wanted = {
        "reward", "kl", "kl_coef", "clip_fraction", "entropy", "explained_variance",
        "length", "rollout_seconds", "scoring_seconds", "update_seconds",
    }  # fmt: skip
    assert wanted <= history.keys()
    assert all(n > 0 for n in history["rollout_seconds"])
    assert all(0 <= n <= 1 for n in history["clip_fraction"])


# ---- the ratio, and the pieces


def test_every_ratio_is_1_before_the_first_step():
    seen = []

    def noting(logprobs, old_logprobs, advantages, mask, clip_eps):
        seen.append(policy_ratio(logprobs, old_logprobs)[mask].detach())
        return clipped_policy_loss(logprobs, old_logprobs, advantages, mask, clip_eps)

    agent, reference = agent_and_reference()
    agent.train()  # whatever it was before
    train_ppo(
        agent, reference, batches, share_of_sevens, 2, SETTINGS, policy_loss=noting,
        generator=seeded(), progress=False,
    )  # fmt: skip
    per_step = SETTINGS.epochs * SETTINGS.minibatches
    assert len(seen) == 2 * per_step
    for first in (seen[0], seen[per_step]):
        assert (first - 1).abs().max() < 1e-5
    assert (seen[per_step - 1] - 1).abs().max() > 1e-3


def test_pieces_are_called_with_what_they_need_and_their_results_are_used():
    called = []

    def shape(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
        called.append(("shape", kl_coef))
        return kl_shaped_rewards(
            rewards, logprobs, ref_logprobs, response_mask, kl_coef
        )

    def advantage(rewards, values, response_mask, discount, lam):
        called.append(("advantage", discount, lam))
        assert (values == 0).all() or len(called) > 2  # a new critic expects nothing
        return gae(rewards, values, response_mask, discount, lam)

    def policy(logprobs, old_logprobs, advantages, mask, clip_eps):
        called.append(("policy", clip_eps))
        white = advantages[mask]
        assert white.mean().item() == pytest.approx(0, abs=1e-5)
        assert white.std().item() == pytest.approx(1, abs=1e-4)
        return reinforce_loss(logprobs, advantages, mask) * 0

    def value(values, old_values, returns, mask, value_clip):
        called.append(("value", value_clip))
        return (values * 0).sum()

    settings = replace(SETTINGS, epochs=1, minibatches=1, lam=0.7, clip_eps=0.3)
    pieces = {
        "shape_rewards": shape, "advantage_fn": advantage,
        "policy_loss": policy, "value_loss": value,
    }  # fmt: skip
    agent, reference, _ = trained(1, settings, **pieces)
    assert called == [
        ("shape", 0.01),
        ("advantage", 1.0, 0.7),
        ("policy", 0.3),
        ("value", 0.2),
    ]
    weights = zip(agent.policy.parameters(), reference.parameters(), strict=True)
    assert all(a.equal(b) for a, b in weights)  # losses without slope change nothing


def test_the_loss_is_policy_plus_critic_less_entropy():
    agent, _ = agent_and_reference()
    rollout = answer(agent.policy, PROMPTS, SETTINGS, seeded())
    values = torch.zeros(rollout.response_mask.shape)
    one = torch.where(rollout.response_mask, 1.0, 0.0)
    experience = Experience(rollout, values, one, 2 * one)
    settings = replace(SETTINGS, value_coef=0.5, entropy_coef=0.1, value_clip=9.0)
    loss, note = ppo_loss(agent, experience, settings)
    # ratio 1 and advantage 1; half the square of 0 - 2; the entropy as noted
    expected = -1 + 0.5 * 2 - 0.1 * note["entropy"]
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert note["loss"] == pytest.approx(loss.item())
    assert note["clip_fraction"] == 0
    assert note["step_kl"] == pytest.approx(0, abs=1e-6)


def test_the_temperature_of_the_drawing_is_that_of_every_probability():
    seen = []

    def noting(logprobs, old_logprobs, advantages, mask, clip_eps):
        seen.append((logprobs - old_logprobs)[mask].detach().abs().max().item())
        return clipped_policy_loss(logprobs, old_logprobs, advantages, mask, clip_eps)

    *_, history = trained(1, replace(SETTINGS, temperature=0.6), policy_loss=noting)
    assert seen[0] < 1e-5
    assert history["kl"][0] == pytest.approx(0, abs=1e-3)


def test_the_reference_is_read_and_the_critic_is_without_gradients():
    agent, reference = agent_and_reference()
    with torch.no_grad():
        reference.embed.weight += 0.1 * torch.randn(12, 16, generator=seeded(3))
    rollout = answer(agent.policy, PROMPTS, SETTINGS, seeded())
    ref_logprobs, values = look_back(agent, reference, rollout)
    logits = reference(rollout.ids, rollout.mask)[:, rollout.start - 1 : -1]
    kept = rollout.response_mask
    expected = token_logprobs(logits, rollout.responses)
    torch.testing.assert_close(ref_logprobs[kept], expected[kept], rtol=0, atol=1e-5)
    assert (values == 0).all()
    assert not ref_logprobs.requires_grad
    assert (ref_logprobs - rollout.logprobs)[kept].abs().max() > 0.01


def test_the_price_follows_the_controller():
    *_, history = trained(3, adapt=lambda kl_coef, kl: 2 * kl_coef)
    assert history["kl_coef"] == [0.01, 0.02, 0.04]
    *_, history = trained(3, adapt=AdaptiveKL(target=1e-3))
    still, strayed = history["kl_coef"][1:]  # at first both are one model
    assert still == pytest.approx(0.0098)
    assert strayed == pytest.approx(1.02 * still)


def test_a_given_optimizer_keeps_its_rates_and_its_memory():
    agent, reference = agent_and_reference()
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.0)
    before = copy.deepcopy(agent.state_dict())
    train_ppo(
        agent, reference, batches, share_of_sevens, 1, SETTINGS,
        optimizer=optimizer, generator=seeded(), progress=False,
    )  # fmt: skip
    assert all(before[name].equal(t) for name, t in agent.state_dict().items())


def test_both_rates_follow_the_schedule_of_the_steps_also_in_parts():
    agent, reference = agent_and_reference()
    optimizer = two_rates(agent, lr=0.01, critic_lr=0.1)
    for first in (0, 2):
        train_ppo(
            agent, reference, batches, share_of_sevens, 2, SETTINGS,
            optimizer=optimizer, generator=seeded(), progress=False,
            schedule=lambda step, first=first: late_fall(first + step, 4),
        )  # fmt: skip
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.005, 0.05])  # a half is left at step 3 of 4


# ---- minibatches and the head


@pytest.mark.parametrize(
    ("count", "epochs", "minibatches"), [(7, 3, 2), (4, 1, 4), (5, 2, 1)]
)
def test_each_epoch_holds_each_row_once(count, epochs, minibatches):
    parts = list(minibatch_rows(count, epochs, minibatches, seeded()))
    assert len(parts) == epochs * minibatches
    for epoch in range(epochs):
        rows = torch.cat(parts[epoch * minibatches : (epoch + 1) * minibatches])
        assert sorted(rows.tolist()) == list(range(count))
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1


def test_a_new_critic_expects_nothing_and_can_learn():
    head = ValueHead(4)
    hidden = torch.randn(2, 3, 4, generator=seeded())
    assert head(hidden).tolist() == [[0.0] * 3] * 2
    head(hidden).sum().backward()
    assert head.linear.weight.grad.abs().sum() > 0


def test_selected_experience_belongs_together():
    agent, _ = agent_and_reference()
    rollout = answer(agent.policy, PROMPTS, SETTINGS, seeded())
    numbers = (
        torch.arange(rollout.responses.numel()).view(rollout.responses.shape).float()
    )
    rows = torch.tensor([5, 0])
    part = Experience(rollout, numbers, numbers + 1, numbers + 2).select(rows)
    T = part.rollout.responses.shape[1]
    assert part.values.equal(numbers[rows, :T])
    assert part.returns.equal(part.advantages + 1)
    assert part.rollout.ids.equal(rollout.ids[rows, : rollout.start + T])


# ---- what cannot be


def test_a_reward_that_is_no_number_stops_the_run_before_any_step():
    agent, reference = agent_and_reference()
    before = copy.deepcopy(agent.state_dict())

    def broken(rollout, facts):
        return torch.where(torch.arange(len(rollout)) == 3, torch.nan, 1.0)

    with pytest.raises(ValueError, match="The reward of response 3 is nan"):
        train_ppo(agent, reference, batches, broken, 1, SETTINGS, progress=False)
    assert all(before[name].equal(t) for name, t in agent.state_dict().items())
    with pytest.raises(ValueError, match="One reward per response: 48 responses"):
        trained(1, reward_fn=lambda rollout, facts: torch.ones(3))


def test_a_piece_that_gives_nan_is_stopped_before_the_weights():
    def broken(*tensors):
        return gae(*tensors) * torch.nan

    with pytest.raises(FloatingPointError, match="At step 0 the loss is nan"):
        trained(1, advantage_fn=broken)


def test_rewards_may_be_a_list_or_come_from_a_model_with_gradients():
    scale = torch.ones(1, requires_grad=True)
    *_, plain = trained(2)
    for reward_fn in (
        lambda *given: share_of_sevens(*given).tolist(),
        lambda *given: share_of_sevens(*given) * scale,
    ):
        *_, history = trained(2, reward_fn=reward_fn)
        assert history["reward"] == pytest.approx(plain["reward"])
    assert scale.grad is None


def test_the_policy_cannot_be_its_own_reference():
    agent, _ = agent_and_reference()
    with pytest.raises(ValueError, match="The reference is the policy itself"):
        train_ppo(agent, agent.policy, batches, share_of_sevens, 1, SETTINGS)


def test_more_minibatches_than_responses_are_refused():
    with pytest.raises(ValueError, match="48 responses cannot be cut into 49 parts"):
        trained(1, replace(SETTINGS, minibatches=49))
