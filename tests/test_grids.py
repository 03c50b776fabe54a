"""The grid world: published values, the exact gradient, and walks that agree with both."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import one_hot

from course_lib.grids import (
    MOVES,
    Grid,
    best_values,
    grid_gradient,
    grid_values,
    learn_grid,
    move_values,
    neighbour,
    walk,
)
from course_lib.ppo.advantages import gae, rewards_to_go
from course_lib.ppo.losses import reinforce_loss

F64 = torch.float64
GRID = Grid()
EVEN = torch.full((11, 4), 0.25).double()
LINE = Grid(rows=("S.+",), slip=0.0, cost=0.1)
PUBLISHED = [  # Russell and Norvig, for this map, slips of .1 to each side, cost .04
    0.812, 0.868, 0.918, 0.0,
    0.762, 0.660, 0.0,
    0.705, 0.655, 0.611, 0.388,
]  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_policy(seed=0):
    scores = torch.randn(11, 4, generator=seeded(seed), dtype=torch.float64) / 2
    return scores, scores.softmax(-1)


def close(left, right, tolerance=1e-9):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- exactly


def test_the_best_values_are_the_published_ones():
    expected = torch.tensor(PUBLISHED).double()
    assert (best_values(GRID) - expected).abs().max() <= 0.0005 + 1e-6


def test_a_line_of_three_on_paper():
    """Always right: two moves of cost .1, then a prize of 1."""
    right = torch.eye(4)[torch.tensor([1, 1, 1])].double()
    close(grid_values(LINE, right), torch.tensor([0.8, 0.9, 0.0], dtype=F64))
    later = grid_values(replace(LINE, discount=0.5), right)
    close(later, torch.tensor([0.35, 0.9, 0.0], dtype=F64))
    assert [neighbour(LINE, 1, move) for move in range(4)] == [1, 2, 1, 0]


def test_a_walker_who_never_gets_out_has_no_value():
    left = torch.eye(4)[torch.tensor([3, 3, 3])].double()
    with pytest.raises(ValueError, match="never gets out"):
        grid_values(LINE, left)
    close(
        grid_values(replace(LINE, discount=0.9), left)[0], torch.tensor(-1.0, dtype=F64)
    )


def test_chances_are_those_of_a_walker_who_slips():
    sums = GRID.chances.sum(-1)
    close(sums, (~GRID.out).double().unsqueeze(1).expand(11, 4))
    up, right, stay = neighbour(GRID, 7, 0), neighbour(GRID, 7, 1), 7
    row = GRID.chances[7, 0]  # from the start, up: .8, and .1 to each side
    assert row[[up, right, stay]].tolist() == pytest.approx([0.8, 0.1, 0.1])


def test_values_solve_their_own_equation():
    for seed in range(3):
        _, policy = drawn_policy(seed)
        values = grid_values(GRID, policy)
        close((policy * move_values(GRID, values)).sum(1), values)
        assert (values <= best_values(GRID) + 1e-9).all()


def test_the_gradient_is_that_of_the_policy_gradient_theorem():
    r"""Visits of a state times probability times what the move is better by."""
    logits, policy = drawn_policy()
    values = grid_values(GRID, policy)
    steps = torch.einsum("sa,sat->st", policy, GRID.chances)
    begin = torch.eye(11).double()[GRID.start]
    visits = torch.linalg.solve(torch.eye(11).double() - steps.T, begin)
    better = move_values(GRID, values) - values.unsqueeze(1)
    expected = visits.unsqueeze(1) * policy * better
    close(grid_gradient(GRID, logits), expected * ~GRID.out.unsqueeze(1))


# ---- walks


def test_walks_bring_what_the_values_say_within_their_error():
    _, policy = drawn_policy()
    walks = walk(GRID, policy, 4000, 2000, seeded())
    assert walks.mask.shape[1] < 2000  # all got out
    came = rewards_to_go(walks.rewards, walks.mask)
    values = grid_values(GRID, policy)
    error = came[:, 0].std() / 4000**0.5
    assert (came[:, 0].mean() - values[GRID.start]).abs() < 4 * error
    assert error < 0.1
    for state in range(11):
        there = walks.mask & (walks.states == state)
        if there.sum() > 500:
            mean, n = came[there].mean(), there.any(dim=1).sum()
            assert (mean - values[state]).abs() < 6 * came[there].std() / n**0.5


def test_a_walk_keeps_to_the_map():
    walks = walk(GRID, EVEN, 50, 60, seeded())
    for n in range(50):
        length = walks.mask[n].sum().item()
        states = walks.states[n, :length].tolist()
        assert states[0] == GRID.start
        assert not GRID.out[states].any()
        for here, there in pairwise(states):
            assert there in {neighbour(GRID, here, move) for move in range(4)}
        assert walks.rewards[n, :length].sum() >= -1 - 0.04 * length - 1e-9
        assert (walks.rewards[n, length:] == 0).all()


def sampled_gradient(advantages, walks, policy):
    """Per walk, what its moves say: advantage times (one at the move - probabilities)."""
    scores = one_hot(walks.moves, 4) - policy[walks.states]  # (N, T, 4)
    weighted = scores * (advantages * walks.mask).unsqueeze(-1)
    where = one_hot(walks.states, 11).double()  # (N, T, S)
    return torch.einsum("nts,ntm->nsm", where, weighted)


@pytest.mark.parametrize("lam", [None, 1.0, 0.0])
def test_the_sampled_policy_gradient_is_the_exact_one_within_its_error(lam):
    """Plain rewards to go, GAE at 1, and with exact values GAE at 0 as well: no bias."""
    logits, policy = drawn_policy(1)
    walks = walk(GRID, policy, 2000, 2000, seeded(3))
    if lam is None:
        advantages = rewards_to_go(walks.rewards, walks.mask)
    else:
        values = grid_values(GRID, policy)[walks.states]
        advantages = gae(walks.rewards, values, walks.mask, 1.0, lam)
    each = sampled_gradient(advantages, walks, policy)
    error = each.std(dim=0) / 2000**0.5
    distance = (each.mean(dim=0) - grid_gradient(GRID, logits)).abs()
    assert (distance <= 5 * error + 1e-9).all()  # 44 numbers, so five and not four


def test_wrong_values_bias_lambda_0_and_not_lambda_1():
    logits, policy = drawn_policy(1)
    walks = walk(GRID, policy, 2000, 2000, seeded(3))
    wrong = torch.linspace(-2, 2, 11).double()[walks.states]
    exact = grid_gradient(GRID, logits)
    off = {}
    for lam in (0.0, 1.0):
        advantages = gae(walks.rewards, wrong, walks.mask, 1.0, lam)
        each = sampled_gradient(advantages, walks, policy)
        error = each.std(dim=0) / 2000**0.5
        off[lam] = ((each.mean(dim=0) - exact).abs() / (error + 1e-9)).max()
    assert off[1.0] < 5
    assert off[0.0] > 20


def test_reinforce_gets_near_the_best_policy_and_a_critic_helps():
    def with_values(walks, values):
        return gae(walks.rewards, values[walks.states], walks.mask, 1.0, 0.9)

    best = best_values(GRID)[GRID.start].item()
    _, plain = learn_grid(GRID, 40, generator=seeded())
    _, critic = learn_grid(GRID, 40, advantage_fn=with_values, generator=seeded())
    assert plain[0] == critic[0] < -1
    assert critic[-1] > best - 0.1
    assert max(plain) <= best + 1e-9
    assert plain[-1] > 0.3


def test_a_loss_of_the_wrong_sign_walks_away():
    _, values = learn_grid(
        GRID, 5, loss_fn=lambda *t: -reinforce_loss(*t), lr=2.0, generator=seeded()
    )
    assert values[-1] < values[0]


def test_there_are_four_moves_and_they_turn_clockwise():
    for (i, j), (k, m) in pairwise(MOVES):
        assert (k, m) == (j, -i)
