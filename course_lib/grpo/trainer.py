"""GRPO on a language model: answer in groups, compare inside each, take one step.

The loop of Shao et al. 2024 (algorithm 1) without a critic and, unless kl_coef asks
for one, without a reference. Every piece is an argument: `batches(step)` gives
prompts and what the reward needs to know of them, `reward_fn(rollout, facts)` one
number per answer; advantages, weights and the loss may be a learner's own. Groups
whose rewards are all equal have no slope: without a KL term they are left out of the
update, which stays the same to the last digits, since weights are those of the whole
batch. Left out: drawing new prompts in their place (DAPO), several GPUs, a reference
that is renewed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.descent import clip_gradients, learning_rate
from course_lib.grpo.advantages import differs, group_advantages
from course_lib.grpo.experience import (
    Experience,
    answer_logprobs,
    by_length,
    look_up,
    rows_with_slope,
)
from course_lib.grpo.losses import grpo_loss, grpo_weights
from course_lib.logprobs import k1, k3
from course_lib.masks import masked_mean, masked_sum
from course_lib.ppo.losses import clip_fraction, policy_ratio
from course_lib.ppo.trainer import (
    History,
    Laps,
    PromptBatches,
    RewardFunction,
    answer,
    judge,
    mean_of,
    remember,
)
from course_lib.rollouts import Rollout
from course_lib.ticker import ProgressLine
from course_lib.training import refuse_nonsense

Watch = Callable[[Rollout, Any], dict[str, float]]  # rollout and facts to figures


@dataclass(frozen=True)
class Settings:
    """How GRPO goes about it; the defaults suit our small model's arithmetic."""

    end: int  # the token that ends an answer
    pad: int = 0  # the token that fills rows up
    new_tokens: int = 40  # most tokens of an answer
    samples: int = 8  # G: answers to one prompt
    temperature: float = 1.0  # of the drawing, and of every probability here
    lr: float = 7e-4  # learning rate at its peak
    warm_up: int = 10  # steps until then
    decay: float = 1.0  # share of the steps in which it falls to almost nothing
    epochs: int = 1  # steps on the same answers; the clip matters from the second on
    clip_eps: float = 0.2  # how far a ratio is pushed
    kl_coef: float = 0.0  # price of a nat of straying; above 0 it needs a reference
    max_norm: float = 1.0  # longest gradient
    pieces: int = 4  # a step reads its answers in so many pieces, sorted by length

    def __post_init__(self):
        if self.samples < 2:
            raise ValueError(
                "A group of one has nobody beside it: samples is at least 2."
            )


def train_grpo(
    policy: nn.Module, batches: PromptBatches, reward_fn: RewardFunction, steps: int,
    settings: Settings, *, reference: nn.Module | None = None,
    advantage_fn: Callable[[Tensor], Tensor] = group_advantages,
    weight_fn: Callable[[Tensor], Tensor] = grpo_weights,
    loss_fn: Callable[..., Tensor] = grpo_loss, watch: Watch | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None, progress: bool | None = None,
) -> History:  # fmt: skip
    """Train policy in place for `steps` batches of groups; return what happened.

    advantage_fn: rewards (P, G) to advantages (P, G). weight_fn: response_mask (B,
    T) to weights (B, T). loss_fn: called as `grpo_loss`. reference: a frozen copy of
    the policy as it was, needed if kl_coef is above 0; without a price, its
    divergence is noted. watch: further figures of each batch, for the history.
    """
    check_models(policy, reference, settings)
    s, history = settings, {}
    optimizer = optimizer or adamw_without_decay(policy, s.lr)
    line = ProgressLine(lambda: in_words(history, steps), progress)
    try:
        for step in range(steps):
            laps = Laps()
            prompts, facts = batches(step)
            rollout = answer(policy, prompts, s, generator)
            laps.note("rollout_seconds")
            rewards = judge(reward_fn, rollout, facts)  # (B,)
            groups = rewards.view(-1, s.samples)  # (P, G)
            advantages = advantage_fn(groups)
            assert advantages.shape == groups.shape, (
                f"one advantage per answer: {advantages.shape=} {groups.shape=}"
            )
            weights = weight_fn(rollout.response_mask)
            ref = look_up(reference, rollout, s.temperature)
            experience = Experience(rollout, advantages.flatten(), weights, ref)
            laps.note("scoring_seconds")
            set_rate(optimizer, learning_rate(step, steps, 1.0, s.warm_up, s.decay))
            note = update(policy, experience, s, loss_fn, optimizer, step)
            laps.note("update_seconds")
            seen = watch(rollout, facts) if watch else {}
            remember(history, about(experience, groups) | seen | note | laps.taken)
            line.show()
    finally:  # also after an error or an interrupt
        line.close()
    return history


# ---- the steps of the loop


def update(
    policy: nn.Module, experience: Experience, settings: Settings,
    loss_fn: Callable[..., Tensor], optimizer: torch.optim.Optimizer, step: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Learn from a batch, `epochs` times; the means of what was noted.

    Without a single group that differs there is nothing to learn and no step is
    taken.
    """
    priced = settings.kl_coef > 0
    rows = rows_with_slope(experience.advantages, settings.samples, priced)
    if not len(rows):
        return dict.fromkeys(NOTED, 0.0)
    learned, notes = experience.select(rows), []
    for _ in range(settings.epochs):
        optimizer.zero_grad()
        note = backward(policy, learned, settings, loss_fn)
        norm = clip_gradients(policy.parameters(), settings.max_norm)
        refuse_nonsense(step, note["loss"], norm.item(), settings.lr)
        optimizer.step()
        notes.append(note)
    return mean_of(notes)


NOTED = ("loss", "clip_fraction", "step_kl")


def backward(
    policy: nn.Module, experience: Experience, settings: Settings,
    loss_fn: Callable[..., Tensor] = grpo_loss,
) -> dict[str, float]:  # fmt: skip
    """Add the loss's gradient to every `.grad`, piece by piece; what it was like.

    loss: that of the batch, the sum of the pieces'. clip_fraction: tokens that the
    clip silences. step_kl: nats per token since the drawing.
    """
    s, count = settings, experience.rollout.lengths.sum()
    total = torch.zeros(len(NOTED))
    for rows in by_length(experience.rollout.lengths, s.pieces):
        part = experience.select(rows)
        old, mask = part.rollout.logprobs, part.rollout.response_mask
        logprobs = answer_logprobs(policy, part.rollout, s.temperature)
        loss = loss_fn(
            logprobs, old, part.advantages, mask, part.weights, s.clip_eps,
            ref_logprobs=part.ref_logprobs, kl_coef=s.kl_coef,
        )  # fmt: skip
        loss.backward()
        moved = how_far(logprobs.detach(), part, s.clip_eps) * mask.sum() / count
        total += torch.stack([loss.detach(), *moved]).cpu()
    return dict(zip(NOTED, total.tolist(), strict=True))


def how_far(logprobs: Tensor, experience: Experience, clip_eps: float) -> Tensor:
    """The share of tokens that the clip silences; nats per token since the draw."""
    old, mask = experience.rollout.logprobs, experience.rollout.response_mask
    pushes = experience.advantages.unsqueeze(1).expand_as(old)
    ratio = policy_ratio(logprobs, old)
    held = clip_fraction(ratio, pushes, mask, clip_eps)
    return torch.stack([held, masked_mean(k3(old, logprobs), mask)])


def adamw_without_decay(policy: nn.Module, lr: float) -> torch.optim.AdamW:
    """AdamW as reinforcement here uses it: quick moments, no decay."""
    betas = (0.9, 0.95)
    parameters = policy.parameters()
    return torch.optim.AdamW(parameters, lr, betas, weight_decay=0.0, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to a factor times its first one."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group.setdefault("initial_lr", group["lr"])


def check_models(
    policy: nn.Module, reference: nn.Module | None, settings: Settings
) -> None:
    """Refuse a reference that is missing or moves; evaluation mode for both."""
    if reference is policy:
        raise ValueError("The reference is the policy itself: give it a copy.")
    if reference is None and settings.kl_coef:
        raise ValueError("A price of straying (kl_coef) needs a reference.")
    policy.eval()  # dropout would move ratios that ought to be 1
    if reference is not None:
        reference.eval()


# ---- what is noted


def about(experience: Experience, groups: Tensor) -> dict[str, float]:
    """How a batch was rewarded, how much of it says nothing, how long it is.

    groups: rewards (P, G). equal_share: groups without any difference. entropy: nats
    per token, estimated by the surprise at what was drawn. kl: nats per answer, if
    there is a reference.
    """
    rollout, mask = experience.rollout, experience.rollout.response_mask
    seen = {
        "reward": groups.mean().item(),
        "equal_share": 1 - differs(groups).float().mean().item(),
        "length": rollout.lengths.float().mean().item(),
        "entropy": -masked_mean(rollout.logprobs, mask).item(),
    }
    if experience.ref_logprobs is not None:
        strayed = k1(rollout.logprobs, experience.ref_logprobs)
        seen["kl"] = masked_sum(strayed, mask, dim=1).mean().item()
    return seen


def in_words(history: History, steps: int) -> str:
    """How far a run of so many steps is: step, reward, length.

    >>> in_words({"reward": [0.25, 0.5], "length": [7.0, 12.0]}, steps=8)
    'step 2/8  reward 0.50  length 12 tokens'
    """
    if not history:
        return f"step 0/{steps}"
    reward, length = history["reward"], history["length"]
    return (
        f"step {len(reward)}/{steps}  reward {reward[-1]:.2f}  "
        f"length {length[-1]:.0f} tokens"
    )
