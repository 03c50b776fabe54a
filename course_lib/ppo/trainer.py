"""PPO on a language model: answer, judge, learn from the same answers a few times.

The loop of Ziegler et al. 2019 and of Ouyang et al. 2022. Every piece is an argument:
`batches(step)` gives prompts and whatever the reward needs to know about them,
`reward_fn(rollout, facts)` one number per response; losses, advantages and the shaping
of rewards may be a learner's own. Policy and reference are in evaluation mode all the
time: dropout would move ratios that ought to be 1. Left out: several GPUs, and a mix
of pretraining text in the loss.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.descent import clip_gradients
from course_lib.logprobs import k1, k3, token_logprobs
from course_lib.masks import masked_mean, masked_sum
from course_lib.ppo.advantages import (
    check_rewards,
    explained_variance,
    gae,
    kl_shaped_rewards,
)
from course_lib.ppo.agent import (
    ActorCritic,
    check_reference,
    look_back,
    scale_rates,
    two_rates,
)
from course_lib.ppo.losses import (
    clip_fraction,
    clipped_policy_loss,
    clipped_value_loss,
    entropy_bonus,
    policy_ratio,
    whiten,
)
from course_lib.rollouts import Rollout, sample_rollouts
from course_lib.ticker import ProgressLine
from course_lib.training import refuse_nonsense

Prompts = Sequence[Sequence[int]]
PromptBatches = Callable[[int], tuple[Prompts, Any]]  # step to prompts and facts
RewardFunction = Callable[[Rollout, Any], Tensor]  # rollout and facts to rewards (B,)
History = dict[str, list[float]]  # one number per step and name, ready for a plot


@dataclass(frozen=True)
class Settings:
    """How PPO goes about it; each default is a good first guess for our small model."""

    end: int  # the token that ends a response
    pad: int = 0  # the token that fills rows up
    new_tokens: int = 40  # most tokens of a response
    samples: int = 1  # responses per prompt
    temperature: float = 1.0  # of the drawing, and of every probability here
    lr: float = 3e-4  # learning rate of the policy
    critic_lr: float = 3e-3  # of the value head, which begins with nothing
    kl_coef: float = 0.05  # reward that a nat of straying costs
    epochs: int = 2  # times that each response is learned from
    minibatches: int = 2  # steps per epoch
    discount: float = 1.0  # gamma: 1 = a later reward is worth as much
    lam: float = 0.95  # lambda of GAE: 0 trusts the critic, 1 the rewards
    clip_eps: float = 0.2  # how far a ratio is pushed
    value_clip: float = 0.2  # how far a value moves in one batch
    value_coef: float = 0.5  # weight of the critic's loss
    entropy_coef: float = 0.0  # reward for staying undecided
    max_norm: float = 1.0  # longest gradient


@dataclass(frozen=True)
class Experience:
    """A rollout with what is learned from it, fixed before the first step."""

    rollout: Rollout
    values: Tensor  # (B, T), expected before each token
    advantages: Tensor  # (B, T), better than expected by so much; whitened
    returns: Tensor  # (B, T), what came from each token on

    def select(self, rows: Tensor) -> "Experience":
        """Some of the rows, cut to the longest of their responses."""
        rollout = self.rollout.select(rows)
        T = rollout.responses.shape[1]
        numbers = (self.values, self.advantages, self.returns)
        return Experience(rollout, *(each[rows, :T] for each in numbers))


def train_ppo(
    agent: ActorCritic, reference: nn.Module, batches: PromptBatches,
    reward_fn: RewardFunction, steps: int, settings: Settings, *,
    shape_rewards: Callable[..., Tensor] = kl_shaped_rewards,
    advantage_fn: Callable[..., Tensor] = gae,
    policy_loss: Callable[..., Tensor] = clipped_policy_loss,
    value_loss: Callable[..., Tensor] = clipped_value_loss,
    adapt: Callable[[float, float], float] | None = None,
    schedule: Callable[[int], float] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
    progress: bool | None = None,
) -> History:  # fmt: skip
    """Train agent in place for `steps` batches of responses; return what happened.

    reference: a frozen copy of the policy as it was. adapt: price of straying and
    measured divergence to the next price, such as `AdaptiveKL`. schedule: step to the
    share of their rates with which policy and critic learn. optimizer: that of
    `two_rates` if None; give one to go on with its memory, or with other rates.
    """
    check_reference(agent, reference)
    s, kl_coef, history = settings, settings.kl_coef, {}
    optimizer = optimizer or two_rates(agent, s.lr, s.critic_lr)
    line = ProgressLine(lambda: in_words(history, steps), progress)
    try:
        for step in range(steps):
            laps = Laps()
            scale_rates(optimizer, schedule(step) if schedule else 1.0)
            prompts, facts = batches(step)
            rollout = answer(agent.policy, prompts, s, generator)
            old, mask = rollout.logprobs, rollout.response_mask
            laps.note("rollout_seconds")
            rewards = judge(reward_fn, rollout, facts)
            ref_logprobs, values = look_back(agent, reference, rollout, s.temperature)
            shaped = shape_rewards(rewards, old, ref_logprobs, mask, kl_coef)
            advantages = advantage_fn(shaped, values, mask, s.discount, s.lam)
            returns, pushes = advantages + values, whiten(advantages, mask)
            experience = Experience(rollout, values, pushes, returns)
            laps.note("scoring_seconds")
            notes = []
            for part in minibatches(experience, s, generator):
                loss, note = ppo_loss(agent, part, s, policy_loss, value_loss)
                optimizer.zero_grad()
                loss.backward()
                norm = clip_gradients(agent.parameters(), s.max_norm)
                refuse_nonsense(step, note["loss"], norm.item(), s.lr)
                optimizer.step()
                notes.append(note)
            laps.note("update_seconds")
            seen = about(experience, rewards, ref_logprobs) | {"kl_coef": kl_coef}
            remember(history, seen | mean_of(notes) | laps.taken)
            kl_coef = adapt(kl_coef, seen["kl"]) if adapt else kl_coef
            line.show()
    finally:  # also after an error or an interrupt
        line.close()
    return history


# ---- the steps of the loop


def answer(
    policy: nn.Module, prompts: Prompts, settings: Settings,
    generator: torch.Generator | None = None,
) -> Rollout:  # fmt: skip
    """The policy's responses to all prompts, as the settings say."""
    return sample_rollouts(
        policy,
        prompts,
        settings.new_tokens,
        end=settings.end,
        pad=settings.pad,
        samples=settings.samples,
        temperature=settings.temperature,
        generator=generator,
    )


@torch.no_grad()
def judge(reward_fn: RewardFunction, rollout: Rollout, facts: Any) -> Tensor:
    """One reward per response, (B,), without gradients, or a sentence on what is wrong.

    A list of numbers will do as well.
    """
    given = reward_fn(rollout, facts)
    rewards = torch.as_tensor(given, dtype=torch.float32, device=rollout.ids.device)
    check_rewards(rewards, rollout.response_mask)
    return rewards


def minibatch_rows(
    count: int, epochs: int, minibatches: int, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Numbers of rows: in every epoch each row once, in a new order, in equal parts.

    >>> parts = list(minibatch_rows(count=4, epochs=3, minibatches=2))
    >>> len(parts), torch.cat(parts[:2]).sort().values.tolist()
    (6, [0, 1, 2, 3])
    """
    if not 1 <= minibatches <= count:
        raise ValueError(f"{count} responses cannot be cut into {minibatches} parts.")
    for _ in range(epochs):
        yield from torch.randperm(count, generator=generator).tensor_split(minibatches)


def ppo_loss(
    agent: ActorCritic,
    experience: Experience,
    settings: Settings,
    policy_loss: Callable[..., Tensor] = clipped_policy_loss,
    value_loss: Callable[..., Tensor] = clipped_value_loss,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of policy and critic together, less the entropy bonus; and what it was like.

    policy_loss(logprobs, old_logprobs, advantages, mask, clip_eps) and
    value_loss(values, old_values, returns, mask, value_clip) give scalars.
    """
    e, rollout, mask = experience, experience.rollout, experience.rollout.response_mask
    old_logprobs, eps = rollout.logprobs, settings.clip_eps
    logits, values = agent(rollout)
    logits = logits / settings.temperature
    logprobs = token_logprobs(logits, rollout.responses)  # (B, T)
    policy = policy_loss(logprobs, old_logprobs, e.advantages, mask, eps)
    value = value_loss(values, e.values, e.returns, mask, settings.value_clip)
    with torch.set_grad_enabled(settings.entropy_coef != 0):
        undecided = entropy_bonus(logits, mask)
    loss = policy + settings.value_coef * value - settings.entropy_coef * undecided
    with torch.no_grad():
        ratio = policy_ratio(logprobs, old_logprobs)
        held = clip_fraction(ratio, e.advantages, mask, eps)
        moved = masked_mean(k3(old_logprobs, logprobs), mask)  # nats per token
        numbers = torch.stack([loss, value, undecided, held, moved]).tolist()
    names = ("loss", "value_loss", "entropy", "clip_fraction", "step_kl")
    return loss, dict(zip(names, numbers, strict=True))


def minibatches(
    experience: Experience, settings: Settings, generator: torch.Generator | None = None
) -> Iterator[Experience]:
    """The parts that are learned from, one after the other, over all epochs."""
    count = len(experience.rollout)
    parts = settings.epochs, settings.minibatches
    for rows in minibatch_rows(count, *parts, generator):
        yield experience.select(rows)


# ---- what is noted


def about(
    experience: Experience, rewards: Tensor, ref_logprobs: Tensor
) -> dict[str, float]:
    """How this batch was rewarded, how far it strays, how long it is, what was foreseen.

    kl: nats per response, the mean of its summed log-ratios to the reference.
    """
    rollout, mask = experience.rollout, experience.rollout.response_mask
    strayed = masked_sum(k1(rollout.logprobs, ref_logprobs), mask, dim=1)  # (B,)
    foreseen = explained_variance(experience.values, experience.returns, mask)
    return {
        "reward": rewards.mean().item(),
        "kl": strayed.mean().item(),
        "length": rollout.lengths.float().mean().item(),
        "explained_variance": foreseen.item(),
    }


def mean_of(notes: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each name over all minibatches of a step.

    >>> mean_of([{"loss": 1.0}, {"loss": 2.0}])
    {'loss': 1.5}
    """
    return {name: sum(note[name] for note in notes) / len(notes) for name in notes[0]}


def remember(history: History, numbers: dict[str, float]) -> None:
    """Append one step's numbers, each to the list of its name."""
    for name, number in numbers.items():
        history.setdefault(name, []).append(number)


def in_words(history: History, steps: int) -> str:
    """How far a run of so many steps is: step, reward, divergence.

    >>> in_words({"reward": [0.5, 1.0], "kl": [0.0, 2.0]}, steps=8)
    'step 2/8  reward 1.00  KL 2.0 nats'
    """
    if not history:
        return f"step 0/{steps}"
    reward, kl = history["reward"], history["kl"]
    return f"step {len(reward)}/{steps}  reward {reward[-1]:.2f}  KL {kl[-1]:.1f} nats"


class Laps:
    """A stopwatch: each note says how long it took since the one before."""

    def __init__(self):
        self.last = time.perf_counter()
        self.taken: dict[str, float] = {}

    def note(self, name: str) -> None:
        now = time.perf_counter()
        self.taken[name], self.last = now - self.last, now
