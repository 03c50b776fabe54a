"""What a batch of groups teaches, fixed before the first step; how it is read again.

An experience is a rollout with one advantage per answer and one weight per token.
Both were computed from the whole batch, so any rows of it may be left out or read in
pieces: the gradients still add up to that of the batch. Left out: several turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.logprobs import token_logprobs
from course_lib.rollouts import Rollout, predicting


@dataclass(frozen=True)
class Experience:
    """A rollout with what is learned from it, fixed before the first step."""

    rollout: Rollout
    advantages: Tensor  # (B,), one per answer
    weights: Tensor  # (B, T), how much each token counts, 0 behind the answers
    ref_logprobs: Tensor | None = None  # (B, T), if straying has a price

    def select(self, rows: Tensor) -> "Experience":
        """Some of the answers, cut to the longest of them; their weights stay."""
        rollout = self.rollout.select(rows)
        T = rollout.responses.shape[1]
        ref = None if self.ref_logprobs is None else self.ref_logprobs[rows, :T]
        advantages, weights = self.advantages[rows], self.weights[rows, :T]
        return Experience(rollout, advantages, weights, ref)


# ---- which answers are read, and in which pieces


def rows_with_slope(
    advantages: Tensor, samples: int, straying_costs: bool = False
) -> Tensor:
    """The numbers of the answers that the update reads.

    advantages (B,), `samples` of each group in a row. Where straying costs, all
    answers pull; else only those of groups in which some advantage is not 0.

    >>> rows_with_slope(torch.tensor([0.0, 0.0, 1.0, -1.0, 0.0, 2.0]), samples=2)
    tensor([2, 3, 4, 5])
    """
    groups = advantages.view(-1, samples)
    kept = (groups != 0).any(dim=1) | straying_costs
    return kept.repeat_interleave(samples).nonzero().flatten()


def by_length(lengths: Tensor, pieces: int) -> Iterator[Tensor]:
    """Numbers of rows in so many pieces, the shortest answers first: little padding.

    >>> [rows.tolist() for rows in by_length(torch.tensor([9, 2, 8, 3]), pieces=2)]
    [[1, 3], [2, 0]]
    """
    yield from lengths.argsort(stable=True).tensor_split(min(pieces, len(lengths)))


# ---- how likely they are


def answer_logprobs(
    policy: nn.Module, rollout: Rollout, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities (B, T) of the answers' tokens, with gradient; 0 behind them.

    Only what the model said is scored against the vocabulary.
    """
    kept = rollout.response_mask
    hidden = predicting(policy, rollout)[kept]  # (N, D)
    said = token_logprobs(policy.head(hidden) / temperature, rollout.responses[kept])
    return torch.zeros_like(rollout.logprobs).masked_scatter(kept, said)


@torch.no_grad()
def look_up(
    reference: nn.Module | None, rollout: Rollout, temperature: float = 1.0
) -> Tensor | None:
    """What the reference would have said of each token, (B, T), if there is one."""
    if reference is None:
        return None
    return answer_logprobs(reference, rollout, temperature)
