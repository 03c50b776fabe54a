"""A hack without any reinforcement: change an answer a token at a time, upwards.

A reward model is right about texts of the sort that it has seen, and it has an
opinion about all others as well. Climbing looks for those: no policy, no gradient,
only the question what the reward model likes still better. Left out: gradients
through the embedding (Zou et al. 2023), which find more, and insertions.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.reward.losses import check_numbers

RowScore = Callable[[Tensor], Tensor]  # rows of ids (B, T) to rewards (B,)


class Climb(NamedTuple):
    """How an answer and its reward changed; one entry more than there were steps."""

    ids: list[list[int]]  # the answer after each step, the start first
    rewards: list[float]  # never falling


def neighbours(
    answer: Tensor, tokens: Tensor, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Copies of an answer (T,) in each of which one token is replaced: (count, T).

    tokens: what may be put in. Place and token are drawn, where the generator is.
    """
    source = generator.device if generator else answer.device
    places, drawn = (
        torch.randint(high, (count,), generator=generator, device=source)
        for high in (len(answer), len(tokens))
    )
    copies, rows = answer.repeat(count, 1), torch.arange(count, device=answer.device)
    copies[rows, places.to(answer.device)] = tokens[drawn.to(tokens.device)]
    return copies


@torch.no_grad()
def hill_climb(
    score: Callable[[Tensor], Tensor],
    answer: Sequence[int],
    tokens: Sequence[int],
    steps: int = 50,
    tries: int = 64,
    generator: torch.Generator | None = None,
) -> Climb:
    """Replace one token at a time, each time by the best of so many tries.

    score: answers (B, T), all of one length, to rewards (B,); `in_context` makes
    one. answer: where to begin. tokens: which ones may be put in. A step that finds
    nothing better changes nothing.

    >>> climb = hill_climb(lambda ids: ids.sum(1).float(), [1, 1], range(5), steps=30)
    >>> climb.ids[-1], climb.rewards[-1]
    ([4, 4], 8.0)
    """
    if not len(answer) or not len(tokens):
        raise ValueError("Climbing needs an answer to change and tokens to put in.")
    now, allowed = torch.tensor(list(answer)), torch.tensor(list(tokens))
    best = check_score(score(now.unsqueeze(0)))[0]
    climb = Climb([now.tolist()], [float(best)])
    for _ in range(steps):
        tried = neighbours(now, allowed, tries, generator)
        rewards = check_score(score(tried))
        if rewards.max() > best:
            now, best = tried[rewards.argmax()], rewards.max()
        climb.ids.append(now.tolist())
        climb.rewards.append(float(best))
    return climb


def check_score(rewards: Tensor) -> Tensor:
    """The same rewards on the CPU, where the climb is, if they are numbers."""
    check_numbers(rewards, "reward")
    return rewards.cpu()


def in_context(
    model: Callable[..., Tensor], prompt: Sequence[int], end: int
) -> RowScore:
    """A score for `hill_climb`: each answer (B, T) between its prompt and its end.

    model: ids (B, T) to rewards (B,). The ids are brought to where its weights are.
    """
    where = device_of(model)
    before, after = (torch.tensor(list(ids)).to(where) for ids in (prompt, [end]))

    def score(answers: Tensor) -> Tensor:
        B, said = len(answers), answers.to(where)
        return model(
            torch.cat([before.expand(B, -1), said, after.expand(B, -1)], dim=1)
        )

    return score


def device_of(model: Callable[..., Tensor]) -> torch.device:
    """Where a model's weights are; for a function without any, the CPU.

    >>> device_of(nn.Linear(1, 1, device="meta")), device_of(len)
    (device(type='meta'), device(type='cpu'))
    """
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return next((weight.device for weight in weights), torch.device("cpu"))
