r"""A small grid world: many choices in a row, and every value known exactly.

A walker moves until it is out, so the reward of the end has to be credited to moves
long before: the simplest case of what a response of many tokens is. The map is known,
so the value of a policy is the solution of a linear system, and its policy gradient
follows by differentiating that solution. The grid of Russell and Norvig ("Artificial
Intelligence", chapter on sequential decisions) has published values. Left out: grids
whose map has to be found out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_lib.ppo.advantages import rewards_to_go
from course_lib.ppo.losses import reinforce_loss
from course_lib.sampling.generate import inverse_cdf

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
ARROWS = "↑→↓←"
TOWN = ("...+", ".#.-", "S...")  # Russell and Norvig's


@dataclass(frozen=True)
class Grid:
    """A map: S start, # wall, + and - ways out with reward 1 and -1.

    A move goes astray with probability `slip`, half to each side, and costs `cost`;
    against a wall or the border one stays. States are numbered along the rows.
    """

    rows: tuple[str, ...] = TOWN
    slip: float = 0.2
    cost: float = 0.04
    discount: float = 1.0

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Row and column of every state."""
        return [
            (i, j)
            for i, row in enumerate(self.rows)
            for j, sign in enumerate(row)
            if sign != "#"
        ]

    def sign(self, state: int) -> str:
        i, j = self.places[state]
        return self.rows[i][j]

    @property
    def start(self) -> int:
        return next(s for s in range(len(self.places)) if self.sign(s) == "S")

    @cached_property
    def out(self) -> Tensor:
        """(S,), True where the walk is over."""
        return torch.tensor([self.sign(s) in "+-" for s in range(len(self.places))])

    @cached_property
    def prizes(self) -> Tensor:
        """What one gets for coming here, (S,)."""
        worth = {"+": 1.0, "-": -1.0}
        return torch.tensor(
            [worth.get(self.sign(s), 0.0) for s in range(len(self.places))],
            dtype=torch.float64,
        )

    @cached_property
    def chances(self) -> Tensor:
        """(S, 4, S): where one comes from a state with a move; nowhere once out."""
        S = len(self.places)
        chances = torch.zeros(S, len(MOVES), S, dtype=torch.float64)
        for s in range(S):
            for move in range(len(MOVES)) if not self.out[s] else ():
                for turn, chance in (
                    (0, 1 - self.slip),
                    (1, self.slip / 2),
                    (3, self.slip / 2),
                ):
                    chances[s, move, neighbour(self, s, (move + turn) % 4)] += chance
        return chances

    @cached_property
    def expected(self) -> Tensor:
        """The expected reward of a move, (S, 4); 0 once out."""
        came = self.chances @ self.prizes
        return (came - self.cost).masked_fill(self.out.unsqueeze(1), 0.0)


def neighbour(grid: Grid, state: int, move: int) -> int:
    """Where a move leads if it does not go astray.

    >>> grid = Grid()
    >>> neighbour(grid, grid.start, 0), neighbour(grid, grid.start, 3)
    (4, 7)
    """
    (i, j), (di, dj) = grid.places[state], MOVES[move]
    there = (i + di, j + dj)
    return grid.places.index(there) if there in grid.places else state


def grid_values(grid: Grid, policy: Tensor) -> Tensor:
    r"""What each state is worth under a policy: the solution of $V = r + \gamma P V$.

    policy (S, 4), rows of probabilities. Returns (S,), 0 once out. A policy that
    never gets out has no value without discount: ValueError.
    """
    steps = torch.einsum("sa,sat->st", policy.double(), grid.chances)  # P
    rewards = (policy * grid.expected).sum(dim=1)
    matrix = torch.eye(len(steps), dtype=steps.dtype) - grid.discount * steps
    try:
        return torch.linalg.solve(matrix, rewards)
    except torch.linalg.LinAlgError:
        raise ValueError(
            "This policy never gets out of the grid, so without a discount its states "
            "have no value."
        ) from None


def move_values(grid: Grid, values: Tensor) -> Tensor:
    """What each move is worth if one goes on to these values: (S,) to (S, 4)."""
    return grid.expected + grid.discount * (grid.chances @ values)


def best_values(grid: Grid, sweeps: int = 1000) -> Tensor:
    """What each state is worth to one who always takes the best move, (S,).

    >>> values = best_values(Grid())
    >>> round(values[Grid().start].item(), 3)
    0.705
    """
    values = torch.zeros(len(grid.places), dtype=torch.float64)
    for _ in range(sweeps):
        values = move_values(grid, values).max(dim=1).values
    return values


def grid_gradient(grid: Grid, logits: Tensor) -> Tensor:
    """The exact policy gradient of the start's value with respect to logits (S, 4)."""
    leaf = logits.detach().double().requires_grad_()
    value = grid_values(grid, leaf.softmax(dim=-1))[grid.start]
    return torch.autograd.grad(value, leaf)[0]


@dataclass(frozen=True)
class Walks:
    """Many walks side by side, in the form of responses: one move per token."""

    states: Tensor  # (N, T), where the walker stood before each move
    moves: Tensor  # (N, T)
    rewards: Tensor  # (N, T), what came of each move
    mask: Tensor  # (N, T), True = a move was made: the walker was not out yet


def walk(
    grid: Grid, policy: Tensor, count: int, steps: int,
    generator: torch.Generator | None = None,
) -> Walks:  # fmt: skip
    """Send `count` walkers from the start; after `steps` moves they are called back.

    policy (S, 4), rows of probabilities.
    """
    luck = torch.rand(steps, 2, count, generator=generator, dtype=torch.float64)
    here = torch.full((count,), grid.start)
    states, moves, rewards = [], [], []
    for mine, chance in luck:
        if grid.out[here].all():
            break
        move = inverse_cdf(policy[here], mine)
        away = grid.chances[here, move]  # (N, S)
        there = torch.where(grid.out[here], here, inverse_cdf(away, chance))
        states.append(here)
        moves.append(move)
        rewards.append(grid.prizes[there] - grid.cost)
        here = there
    states, moves, rewards = (
        torch.stack(each, dim=1) for each in (states, moves, rewards)
    )
    mask = ~grid.out[states]
    return Walks(states, moves, rewards.masked_fill(~mask, 0.0), mask)


def learn_grid(
    grid: Grid,
    steps: int,
    lr: float = 20.0,
    walkers: int = 64,
    moves: int = 60,
    *,
    advantage_fn: Callable[[Walks, Tensor], Tensor] | None = None,
    loss_fn: Callable[[Tensor, Tensor, Tensor], Tensor] = reinforce_loss,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, list[float]]:
    """REINFORCE from walks; returns logits (S, 4) and the exact value after every step.

    advantage_fn(walks, values) gives (N, T), where values (S,) are the exact ones of
    the present policy; None weighs each move by all that came from it on.
    """
    logits = torch.zeros(len(grid.places), len(MOVES), dtype=torch.float64)
    logits.requires_grad_()
    history = []
    for _ in range(steps):
        policy = logits.detach().softmax(dim=-1)
        walks, values = (
            walk(grid, policy, walkers, moves, generator),
            grid_values(grid, policy),
        )
        history.append(values[grid.start].item())
        if advantage_fn is None:
            advantages = rewards_to_go(walks.rewards, walks.mask, grid.discount)
        else:
            advantages = advantage_fn(walks, values)
        logprobs = logits.log_softmax(dim=-1)[walks.states, walks.moves]
        loss = loss_fn(logprobs, advantages, walks.mask)
        (gradient,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            logits -= lr * gradient
    return logits.detach(), history
