"""Answers against their group: on paper, invariants, exact expectations, TRL's convention."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib.grpo.advantages import (
    chance_of_equals,
    differs,
    group_advantages,
    leave_one_out,
)

FOUR_OF_EIGHT = torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 0]]).double()
NUMBERS = some.floats(-5, 5, width=32).map(lambda x: round(x, 2))
TABLES = some.integers(2, 9).flatmap(
    lambda G: some.lists(
        some.lists(NUMBERS, min_size=G, max_size=G), min_size=1, max_size=4
    )
)


def close(left, right, **tolerance):
    torch.testing.assert_close(
        left, right, **({"rtol": 1e-6, "atol": 1e-9} | tolerance)
    )


# ---- on paper: 2 + 2 × 6, eight answers, four of them right


def test_the_worked_example_in_both_conventions():
    sample = group_advantages(FOUR_OF_EIGHT, eps=0.0)
    population = group_advantages(FOUR_OF_EIGHT, eps=0.0, ddof=0)
    signs = torch.tensor([[1.0] * 4 + [-1.0] * 4]).double()
    assert FOUR_OF_EIGHT.std().item() == pytest.approx(0.5345, abs=5e-5)
    close(sample, 0.9354143 * signs, atol=1e-7)
    close(population, signs)
    assert (
        round(0.5 / 0.53, 2) == 0.94
    )  # what notes print that divide by a rounded 0.53


@pytest.mark.parametrize("G", [2, 4, 8, 64])
def test_a_lone_success_is_praised_the_more_the_larger_its_group(G):
    alone = torch.zeros(1, G).double()
    alone[0, 0] = 1
    found = group_advantages(alone, eps=0.0)[0, 0].item()
    assert found == pytest.approx((G - 1) / math.sqrt(G))


def test_without_scale_it_is_the_difference_from_the_mean():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [2.0, 2.0, 4.0, 4.0]])
    expected = [[0.75, -0.25, -0.25, -0.25], [-1.0, -1.0, 1.0, 1.0]]
    assert group_advantages(rewards, scale=False).tolist() == expected


def test_the_others_without_oneself():
    rewards = torch.tensor([[1.0, 0.0, 2.0]])
    assert leave_one_out(rewards).tolist() == [[0.0, -1.5, 1.5]]


# ---- equal rewards, and a group of one


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, -0.7, 1e4 / 3, 1e-30, 3e30])
@pytest.mark.parametrize("G", [1, 2, 3, 7, 8])
def test_equal_rewards_give_exactly_0_whatever_rounding_does(reward, G):
    rewards = torch.full((3, G), reward)
    for settings in ({}, {"eps": 0.0}, {"scale": False}, {"ddof": 0, "eps": 0.0}):
        assert group_advantages(rewards, **settings).tolist() == [[0.0] * G] * 3


def test_one_group_without_spread_does_not_touch_the_others():
    rewards = torch.tensor([[1.0, 0.0, 1.0], [0.1, 0.1, 0.1]])
    alone = group_advantages(rewards[:1])
    both = group_advantages(rewards)
    assert both[:1].equal(alone)
    assert both[1].tolist() == [0.0] * 3
    assert differs(rewards).tolist() == [True, False]


def test_rounding_would_make_something_of_nothing():
    """What `differs` is for: eight times 0.1 has a mean that is not 0.1."""
    rewards = torch.full((1, 10), 1e4 / 3)
    assert (rewards - rewards.mean()).abs().max() > 0


@pytest.mark.parametrize(
    ("p", "share"),
    [(0.9, 0.43), (0.95, 0.66), (0.05, 0.66), (0.0, 1.0), (0.5, 2 / 256)],
)
def test_how_often_a_group_of_eight_teaches_nothing(p, share):
    assert chance_of_equals(p, 8) == pytest.approx(share, abs=5e-3)


def test_that_share_is_what_is_drawn():
    draws = torch.Generator().manual_seed(0)
    rewards = (torch.rand(20_000, 4, generator=draws) < 0.8).float()
    found = 1 - differs(rewards).float().mean().item()
    assert found == pytest.approx(chance_of_equals(0.8, 4), abs=0.01)  # three sigma


# ---- invariants


@given(TABLES)
def test_rows_sum_to_0_and_better_rewards_never_get_less(rows):
    rewards = torch.tensor(rows).double()
    for found in (group_advantages(rewards), leave_one_out(rewards)):
        close(found.sum(dim=1), torch.zeros(len(rewards)).double(), atol=1e-6)
        better = rewards.unsqueeze(2) > rewards.unsqueeze(1)  # (P, G, G)
        ahead = found.unsqueeze(2) > found.unsqueeze(1)
        assert (ahead | ~better).all()


@given(TABLES, some.integers(-3, 3), some.sampled_from([0.5, 2.0, 8.0]))
def test_a_shift_changes_nothing_and_without_eps_a_factor_does_not_either(
    rows, shift, factor
):
    rewards = torch.tensor(rows).double()
    plain = group_advantages(rewards, eps=0.0)
    close(group_advantages(rewards + shift, eps=0.0), plain, atol=1e-6)
    close(group_advantages(rewards * factor, eps=0.0), plain, atol=1e-6)
    free = group_advantages(rewards, scale=False)
    close(group_advantages(rewards * factor, scale=False), factor * free)


@given(TABLES)
def test_the_spread_of_a_group_that_differs_is_1(rows):
    rewards = torch.tensor(rows).double()
    for row in group_advantages(rewards, eps=0.0)[differs(rewards)]:
        assert row.std().item() == pytest.approx(1)


@given(TABLES)
def test_a_group_is_compared_with_itself_alone(rows):
    rewards = torch.tensor(rows).double()
    together = group_advantages(rewards)
    for row, alone in zip(rewards, together, strict=True):
        assert group_advantages(row[None])[0].equal(alone)


@given(TABLES)
def test_a_loop_over_groups_agrees_with_both(rows):
    for row in rows:
        mean = sum(row) / len(row)
        square = sum((r - mean) ** 2 for r in row) / (len(row) - 1)
        scores = [(r - mean) / (math.sqrt(square) + 1e-4) for r in row]
        found = group_advantages(torch.tensor([row]).double())
        close(found, torch.tensor([scores]).double(), atol=1e-6)
        others = [
            r - sum(row[:i] + row[i + 1 :]) / (len(row) - 1) for i, r in enumerate(row)
        ]
        found = leave_one_out(torch.tensor([row]).double())
        close(found, torch.tensor([others]).double(), atol=1e-6)


# ---- what the expected gradient is

REWARDS = torch.tensor([1.0, 0.0, 9.0]).double()
LOGITS = torch.tensor([1.0, 0.5, -2.0]).double()


def expected_gradient(advantage_fn, G):
    """Of the mean over a group of A log pi, over every group that can be drawn."""
    logits = LOGITS.clone().requires_grad_()
    logprobs, total = logits.log_softmax(-1), 0.0
    for actions in itertools.product(range(3), repeat=G):
        chosen = torch.tensor(actions)
        chance = logprobs.detach()[chosen].sum().exp()
        advantages = advantage_fn(REWARDS[chosen][None])[0]
        total = total + chance * (advantages * logprobs[chosen]).mean()
    return torch.autograd.grad(total, logits)[0]


def true_gradient():
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad((logits.softmax(-1) * REWARDS).sum(), logits)[0]


@pytest.mark.parametrize("G", [2, 4])
def test_with_oneself_in_the_mean_the_gradient_is_too_short_by_one_share(G):
    free = expected_gradient(lambda r: group_advantages(r, scale=False), G)
    close(free, (G - 1) / G * true_gradient())
    close(expected_gradient(leave_one_out, G), true_gradient())


def test_the_division_by_the_spread_makes_it_another_direction():
    scaled = expected_gradient(lambda r: group_advantages(r, eps=0.0), 4)
    cosine = torch.cosine_similarity(scaled, true_gradient(), dim=0).item()
    assert 0.5 < cosine < 0.95


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_with_it_and_rights_and_wrongs_one_climbs_the_arcsine(p):
    r"""The slope is that of $2 \arcsin \sqrt p$, $1/\sqrt{p(1-p)}$: large where p is extreme."""
    G, slope = 400, 0.0
    for right in range(1, G):
        rewards = (torch.arange(G) < right).double()[None]
        found = group_advantages(rewards, eps=0.0, ddof=0)[0]
        # d log pi / dp is 1/p for a right answer and -1/(1-p) for a wrong one
        push = found[0] * right / G / p - found[-1] * (G - right) / G / (1 - p)
        chance = math.comb(G, right) * p**right * (1 - p) ** (G - right)
        slope += chance * push.item()
    assert slope == pytest.approx(1 / math.sqrt(p * (1 - p)), rel=0.02)  # as G grows


# ---- what cannot be


def test_what_is_no_table_of_finite_numbers_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"prompts by answers, \(P, G\), not \(8,\)"):
        group_advantages(torch.zeros(8))
    with pytest.raises(ValueError, match="prompts by answers"):
        group_advantages(torch.zeros(3, 0))
    broken = torch.tensor([[0.0, 1.0], [1.0, torch.nan]])
    with pytest.raises(ValueError, match="answer 1 to prompt 1 is nan"):
        group_advantages(broken)
    with pytest.raises(ValueError, match="no others"):
        leave_one_out(torch.zeros(2, 1))
    with pytest.raises(ValueError, match="between 0 and 1"):
        chance_of_equals(1.5, 8)
