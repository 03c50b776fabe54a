"""The GRPO loop: ratios start at 1, silent groups are left out exactly, it learns, it refuses nonsense."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

from course_lib.grpo.advantages import group_advantages
from course_lib.grpo.experience import (
    Experience,
    answer_logprobs,
    look_up,
    rows_with_slope,
)
from course_lib.grpo.losses import (
    cispo_loss,
    dapo_weights,
    dr_grpo_weights,
    grpo_loss,
    grpo_weights,
)
from course_lib.grpo.trainer import (
    Settings,
    about,
    backward,
    train_grpo,
    update,
)
from course_lib.logprobs import token_logprobs
from course_lib.ppo.losses import policy_ratio
from course_lib.ppo.trainer import answer
from course_lib.transformer import Config, Transformer

CONFIG = Config(vocabulary=12, context=24, width=16, layers=1, heads=2, hidden=24)
END, GOOD = 1, 7
SETTINGS = Settings(end=END, new_tokens=8, samples=4, lr=1e-2, warm_up=2, pieces=1)
PROMPTS = [[5, 6], [8], [9, 9, 4]] * 4
WEIGHTS = {
    "grpo": grpo_weights,
    "dapo": dapo_weights,
    "dr_grpo": partial(dr_grpo_weights, new_tokens=8),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def policy_and_reference(seed=0):
    policy = Transformer(CONFIG, generator=seeded(seed))
    with torch.no_grad():
        policy.embed.weight *= 8  # large enough for texts that differ
    return policy, copy.deepcopy(policy)


def batches(step):
    return PROMPTS, None


def share_of_sevens(rollout, facts):
    """1 if all tokens but the end are GOOD."""
    return (rollout.responses == GOOD).sum(1) / rollout.lengths


def some_are_equal(rollout, facts):
    """As above for the first six groups; the others get one number each."""
    rewards = share_of_sevens(rollout, facts)
    return torch.where(torch.arange(len(rewards)) < 24, rewards, 0.1)


def trained(steps=3, settings=SETTINGS, reward_fn=share_of_sevens, seed=0, **pieces):
    policy, reference = policy_and_reference()
    history = train_grpo(
        policy, batches, reward_fn, steps, settings,
        generator=seeded(seed), progress=False, **pieces,
    )  # fmt: skip
    return policy, reference, history


def experience(weigh=grpo_weights, reward_fn=some_are_equal, reference=None):
    policy, _ = policy_and_reference()
    rollout = answer(policy, PROMPTS, SETTINGS, seeded())
    advantages = group_advantages(reward_fn(rollout, None).view(-1, 4)).flatten()
    ref = look_up(reference, rollout)
    return policy, Experience(rollout, advantages, weigh(rollout.response_mask), ref)


def gradients(policy):
    found = torch.cat([p.grad.flatten() for p in policy.parameters()])
    policy.zero_grad()
    return found


def same_weights(one, other):
    weights = zip(one.parameters(), other.parameters(), strict=True)
    return all(a.equal(b) for a, b in weights)


# ---- it learns


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_reward_rises_with_every_normalisation(weigh):
    *_, history = trained(30, weight_fn=weigh)
    assert sum(history["reward"][-5:]) / 5 > history["reward"][0] + 0.3


def test_cispo_and_several_epochs_learn_as_well():
    for pieces in ({"loss_fn": cispo_loss}, {"settings": replace(SETTINGS, epochs=3)}):
        *_, history = trained(30, **pieces)
        assert sum(history["reward"][-5:]) / 5 > history["reward"][0] + 0.3


def test_the_price_of_straying_holds_the_divergence():
    ends = []
    for price in (0.0, 0.5):
        policy, reference = policy_and_reference()
        policy.train()
        reference.train()
        history = train_grpo(
            policy, batches, share_of_sevens, 25, replace(SETTINGS, kl_coef=price),
            reference=reference, generator=seeded(), progress=False,
        )  # fmt: skip
        assert history["kl"][0] == pytest.approx(0, abs=1e-3)
        assert same_weights(reference, policy_and_reference()[1])  # it stays frozen
        assert [policy.training, reference.training] == [False, False]
        ends.append(history["kl"][-1])
    assert ends[1] < 0.5 * ends[0]


def test_one_seed_gives_one_history_but_for_the_seconds():
    runs = [trained()[2] for _ in range(2)]
    for name in runs[0]:
        if "seconds" not in name:
            assert runs[0][name] == runs[1][name], name
    assert trained(seed=1)[2]["reward"] != runs[0]["reward"]


def test_every_number_is_noted_once_a_step():
    *_, history = trained(4, watch=lambda rollout, facts: {"mine": float(len(rollout))})
    assert all(len(numbers) == 4 for numbers in history.values())
    wanted = {
        "reward", "equal_share", "length", "entropy", "loss", "clip_fraction", "step_kl",
        "rollout_seconds", "scoring_seconds", "update_seconds", "mine",
    }  # fmt: skip
    assert wanted == history.keys()
    assert history["mine"] == [48.0] * 4
    assert all(n > 0 for n in history["rollout_seconds"])


# ---- the ratio, and the pieces


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_every_ratio_is_1_before_the_first_step_and_not_before_the_second(temperature):
    seen = []

    def noting(logprobs, old_logprobs, advantages, mask, *rest, **more):
        seen.append(policy_ratio(logprobs, old_logprobs)[mask].detach())
        return grpo_loss(logprobs, old_logprobs, advantages, mask, *rest, **more)

    settings = replace(SETTINGS, epochs=2, warm_up=1, temperature=temperature)
    trained(1, settings, loss_fn=noting)
    first, second = seen
    assert (first - 1).abs().max() < 1e-5
    assert (second - 1).abs().max() > 1e-3


def test_pieces_are_called_with_what_they_need_and_their_results_are_used():
    called = []

    def advantage(rewards):
        called.append(("advantage", tuple(rewards.shape)))
        return torch.arange(48.0).view(12, 4)

    def weigh(mask):
        called.append(("weights", len(mask)))
        return 2.0 * mask

    def loss(
        logprobs, old, advantages, mask, weights, clip_eps, *, ref_logprobs, kl_coef
    ):
        called.append(("loss", clip_eps, ref_logprobs, kl_coef))
        assert sorted(advantages.tolist()) == [float(n) for n in range(48)]
        assert weights.equal(2.0 * mask)
        return logprobs.sum() * 0

    settings = replace(SETTINGS, clip_eps=0.3)
    pieces = {"advantage_fn": advantage, "weight_fn": weigh, "loss_fn": loss}
    policy, reference, _ = trained(1, settings, **pieces)
    assert called == [("advantage", (12, 4)), ("weights", 48), ("loss", 0.3, None, 0.0)]
    assert same_weights(policy, reference)  # a loss without slope changes nothing


def test_the_answers_of_a_group_stand_side_by_side():
    seen = []

    def place(rollout, facts):
        seen.append([row[: rollout.start].tolist() for row in rollout.ids])
        return torch.arange(len(rollout)).float()

    trained(1, reward_fn=place)
    groups = [seen[0][i : i + 4] for i in range(0, 48, 4)]
    assert all(prompt == group[0] for group in groups for prompt in group)


def test_the_rate_rises_and_falls_and_a_given_optimizer_keeps_its_peak():
    rates = []
    policy, _ = policy_and_reference()
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
    before = optimizer.step

    def step():
        rates.append(optimizer.param_groups[0]["lr"])
        return before()

    optimizer.step = step
    for _ in range(2):  # a second run begins at the same peak
        train_grpo(
            policy, batches, share_of_sevens, 4, SETTINGS, optimizer=optimizer,
            generator=seeded(), progress=False,
        )  # fmt: skip
    assert rates == [0.25, 0.375, 0.25, 0.125] * 2


# ---- groups that say nothing


@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_leaving_silent_groups_out_is_the_same_gradient(weigh):
    policy, whole = experience(weigh)
    rows = rows_with_slope(whole.advantages, 4)
    assert 0 < len(rows) <= 24
    note = backward(policy, whole, SETTINGS)
    expected = gradients(policy)
    fewer = backward(policy, whole.select(rows), SETTINGS)
    torch.testing.assert_close(gradients(policy), expected, rtol=1e-4, atol=1e-7)
    assert fewer["loss"] == pytest.approx(note["loss"], abs=1e-6)


@pytest.mark.parametrize("pieces", [2, 5, 100])
@pytest.mark.parametrize("weigh", WEIGHTS.values(), ids=WEIGHTS)
def test_pieces_by_length_give_the_gradient_and_the_notes_of_the_whole(weigh, pieces):
    policy, whole = experience(weigh)
    with torch.no_grad():
        policy.embed.weight *= 1.2  # away from where the answers were drawn
    note = backward(policy, whole, SETTINGS)
    assert note["clip_fraction"] > 0.05
    assert note["step_kl"] > 0.01
    expected = gradients(policy)
    other = backward(policy, whole, replace(SETTINGS, pieces=pieces))
    torch.testing.assert_close(gradients(policy), expected, rtol=1e-4, atol=1e-7)
    assert other == pytest.approx(note, abs=1e-6)


def test_if_all_groups_are_silent_no_step_is_taken():
    policy, reference, history = trained(
        3, reward_fn=lambda rollout, facts: torch.full((48,), 0.1)
    )
    assert same_weights(policy, reference)
    assert history["equal_share"] == [1.0] * 3
    assert history["loss"] == [0.0] * 3
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    silent = experience(reward_fn=lambda rollout, facts: torch.zeros(48))[1]
    assert update(policy, silent, SETTINGS, grpo_loss, optimizer)["loss"] == 0.0


def test_with_a_price_of_straying_silent_groups_still_pull_back():
    advantages = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0])
    assert rows_with_slope(advantages, 4).tolist() == [4, 5, 6, 7]
    priced = replace(SETTINGS, kl_coef=0.1)
    assert rows_with_slope(advantages, 4, straying_costs=True).tolist() == list(
        range(8)
    )
    policy, _ = policy_and_reference()
    away = Transformer(CONFIG, generator=seeded(5))
    before = copy.deepcopy(policy)
    train_grpo(
        policy, batches, lambda rollout, facts: torch.zeros(48), 2, priced,
        reference=away, generator=seeded(), progress=False,
    )  # fmt: skip
    assert not same_weights(policy, before)


def test_an_update_reads_no_silent_group_and_forgets_older_gradients():
    policy, whole = experience()
    read = []

    def noting(logprobs, *rest, **more):
        read.append(len(logprobs))
        return grpo_loss(logprobs, *rest, **more)

    backward(policy, whole, SETTINGS)
    expected = gradients(policy)
    for p in policy.parameters():
        p.grad = torch.ones_like(p)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)
    endless = replace(SETTINGS, max_norm=1e9)
    update(policy, whole, endless, noting, optimizer)
    assert read == [len(rows_with_slope(whole.advantages, 4))]
    assert read[0] <= 24
    torch.testing.assert_close(gradients(policy), expected, rtol=1e-4, atol=1e-7)


def test_the_share_of_silent_groups_is_noted():
    *_, history = trained(1, reward_fn=some_are_equal)
    assert 0.5 <= history["equal_share"][0] < 1


# ---- what is read again


def test_log_probabilities_of_answers_are_those_of_the_whole_text():
    policy, whole = experience()
    rollout, kept = whole.rollout, whole.rollout.response_mask
    logits = policy(rollout.ids, rollout.mask)[:, rollout.start - 1 : -1] / 0.7
    expected = token_logprobs(logits, rollout.responses)
    found = answer_logprobs(policy, rollout, temperature=0.7)
    torch.testing.assert_close(found[kept], expected[kept], rtol=0, atol=1e-5)
    assert (found[~kept] == 0).all()
    assert found.requires_grad
    assert not look_up(policy, rollout).requires_grad
    assert look_up(None, rollout) is None


def test_selected_experience_belongs_together():
    *_, reference = policy_and_reference()
    _, whole = experience(reference=reference)
    rows = torch.tensor([5, 0])
    part = whole.select(rows)
    T = int(whole.rollout.lengths[rows].max())
    assert part.rollout.responses.shape == part.weights.shape == (2, T)
    assert part.weights.equal(whole.weights[rows, :T])
    assert part.ref_logprobs.equal(whole.ref_logprobs[rows, :T])
    assert part.advantages.equal(whole.advantages[rows])


def test_the_surprise_at_what_was_drawn_is_what_is_noted_as_entropy():
    _, whole = experience()
    kept = whole.rollout.logprobs[whole.rollout.response_mask]
    seen = about(whole, torch.zeros(12, 4))
    assert seen["entropy"] == pytest.approx(-kept.mean().item())
    assert "kl" not in seen


# ---- what cannot be


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match="samples is at least 2"):
        Settings(end=END, samples=1)


def test_a_price_needs_a_reference_and_another_one_than_the_policy():
    policy, _ = policy_and_reference()
    run = partial(train_grpo, policy, batches, share_of_sevens, 1)
    with pytest.raises(ValueError, match="needs a reference"):
        run(replace(SETTINGS, kl_coef=0.1))
    with pytest.raises(ValueError, match="The reference is the policy itself"):
        run(SETTINGS, reference=policy)


def test_a_reward_that_is_no_number_stops_the_run_before_any_step():
    policy, before = policy_and_reference()

    def broken(rollout, facts):
        return torch.where(torch.arange(len(rollout)) == 3, torch.nan, 1.0)

    with pytest.raises(ValueError, match="The reward of response 3 is nan"):
        train_grpo(policy, batches, broken, 1, SETTINGS, progress=False)
    assert same_weights(policy, before)
    with pytest.raises(ValueError, match="One reward per response: 48 responses"):
        trained(1, reward_fn=lambda rollout, facts: torch.ones(3))


def test_pieces_that_give_nan_or_another_shape_are_stopped_before_the_weights():
    with pytest.raises(FloatingPointError, match="At step 0 the loss is nan"):
        trained(1, advantage_fn=lambda rewards: rewards * torch.nan)
    with pytest.raises(AssertionError, match="one advantage per answer"):
        trained(1, advantage_fn=lambda rewards: rewards.mean(dim=1))


def test_rewards_may_be_a_list():
    *_, plain = trained(2)
    *_, listed = trained(2, reward_fn=lambda *given: share_of_sevens(*given).tolist())
    assert listed["reward"] == pytest.approx(plain["reward"])
