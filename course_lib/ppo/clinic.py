r"""The bug clinic: a published PPO update with its mistakes, written anew.

Widely read notes train a language model with a loop that runs, prints a reward and
calls itself PPO. Here are its mistakes in new code, all in one loss, so that lesson 07
can watch it learn nothing and take it apart. Nothing else in the course uses this
module; the right pieces are in `ppo.losses`, `ppo.advantages` and `logprobs`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.rollouts import Rollout


class Answers(NamedTuple):
    """A batch of answers and what is known of them, fixed before the first step."""

    ids: Tensor  # (B, start + T), prompts and responses
    start: int  # where all responses begin
    mask: Tensor  # (B, T), True = a response token that the policy chose
    old_logprobs: Tensor  # (B, T), by the policy that drew them
    ref_logprobs: Tensor  # (B, T), by the frozen reference
    values: Tensor  # (B, T), expected before each token
    rewards: Tensor  # (B,), one per response


def published_logprobs(logits: Tensor, ids: Tensor, start: int) -> Tensor:
    """WRONG: what the notes take for the log-probability of each response, (B,).

    logits (B, start + T, V) and ids (B, start + T). The right numbers are those of
    `response_logprobs`.

    >>> sure = torch.tensor([[[0.0, 99.0], [99.0, 0.0], [0.0, 0.0]]])
    >>> published_logprobs(sure, torch.tensor([[0, 1, 0]]), start=1)  # right: 0, 0
    tensor([-49.5000])
    """
    said = ids[:, start:]  # (B, T)
    T, logs = said.shape[1], logits.log_softmax(dim=-1)
    return torch.stack([logs[b, :T, said[b]].mean() for b in range(len(said))])


def published_loss(
    logits: Tensor, batch: Answers, kl_coef: float = 0.05, clip_eps: float = 0.2
) -> Tensor:
    """WRONG: the loss that the notes call PPO, a scalar.

    logits (B, start + T, V), what the policy says now to `batch.ids`, with gradient.
    """
    new = published_logprobs(logits, batch.ids, batch.start)  # (B,)
    old, ref = batch.old_logprobs.mean(dim=1), batch.ref_logprobs.mean(dim=1)
    advantages = (batch.rewards - batch.rewards.mean()) / batch.rewards.std()
    ratio = (new - old).exp().clamp(1 - clip_eps, 1 + clip_eps)
    return -(ratio * advantages).mean() + kl_coef * (new - ref).mean()


@torch.no_grad()
def published_answers(
    policy: nn.Module, reference: nn.Module, rollout: Rollout, rewards: Tensor
) -> Answers:
    """What the notes keep of a rollout; old and reference by `published_logprobs`.

    There is no critic, so nothing is expected.
    """
    r, shape = rollout, rollout.response_mask.shape
    old, ref = (
        published_logprobs(model(r.ids, r.mask), r.ids, r.start)
        .unsqueeze(1)
        .expand(shape)
        for model in (policy, reference)
    )
    nothing = torch.zeros(shape, device=r.ids.device)
    return Answers(r.ids, r.start, r.response_mask, old, ref, nothing, rewards)
