"""The agent: a policy that writes, and a critic on its stream that says what to expect.

The critic is one linear layer on what the policy's own head reads, so it costs almost
nothing, and its loss shapes the stream as well. Left out: a critic that is a model of
its own, as large as the policy or begun from the reward model.
"""

import torch
from torch import Tensor, nn

from course_lib.logprobs import token_logprobs
from course_lib.rollouts import Rollout, predicting


class ValueHead(nn.Module):
    """One number per position: how much reward is to be expected from here on."""

    def __init__(self, width: int):
        """Everything is expected to be 0 at first."""
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (B, T, D) to values (B, T)."""
        return self.linear(hidden).squeeze(-1)


class ActorCritic(nn.Module):
    """A policy that writes, and a head on its stream that says what to expect."""

    def __init__(self, policy: nn.Module):
        """policy: a `Transformer`; it is trained in place."""
        super().__init__()
        self.policy = policy
        self.value_head = ValueHead(policy.config.width)

    def forward(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Scores (B, T, V) of the responses' tokens, and values (B, T) before them."""
        hidden = predicting(self.policy, rollout)  # (B, T, D)
        return self.policy.head(hidden), self.value_head(hidden)


def two_rates(agent: ActorCritic, lr: float, critic_lr: float) -> torch.optim.AdamW:
    """AdamW without decay; the value head has a learning rate of its own.

    A critic that still expects 0 blames the beginning of every rewarded response and
    praises its end, so the policy learns to be short. It must learn faster.
    """
    head = list(agent.value_head.parameters())
    groups = [
        {"params": list(agent.policy.parameters()), "lr": lr},
        {"params": head, "lr": critic_lr},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


def late_fall(step: int, steps: int) -> float:
    """What share of their rates is left at a step: all, then in a line to nothing.

    The second half of a run calms down: what was learned by accident is averaged out.

    >>> [late_fall(step, steps=8) for step in (0, 4, 6, 8)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, 2 * (1 - step / steps))


def scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every learning rate becomes this multiple of what it was at first."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def check_reference(agent: ActorCritic, reference: nn.Module) -> None:
    """Refuse a reference that would move along; put both into evaluation mode."""
    if reference is agent.policy:
        raise ValueError("The reference is the policy itself: give it a copy.")
    agent.eval()
    reference.eval()


@torch.no_grad()
def look_back(
    agent: ActorCritic, reference: nn.Module, rollout: Rollout, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What the reference would have said of each token, and what the critic expects.

    Returns ref_logprobs and values, both (B, T), without gradients.
    """
    logits = reference.head(predicting(reference, rollout))  # (B, T, V)
    ref_logprobs = token_logprobs(logits / temperature, rollout.responses)
    return ref_logprobs, agent.value_head(predicting(agent.policy, rollout))
