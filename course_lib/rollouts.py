"""Rollouts: let the policy answer, and keep everything that learning needs of it.

Reinforcement learning reads what the model itself has written. A rollout keeps the
very ids (text that is decoded and encoded again is often made of other tokens), which
of them the model chose, and the log-probability of each at the moment it was drawn:
the drawing computes it anyway. Each prompt is read once, the cache is set aside once,
a token costs one uniform number, and rows that have ended are dropped. Left out:
several turns, tools, and rows that join later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.exam import pad_left
from course_lib.sampling.generate import (
    blank_after,
    check_request,
    extend,
    inverse_cdf,
    lots,
    read_prompts,
)
from course_lib.tokenizer import Tokenizer


@dataclass(frozen=True)
class Rollout:
    """Prompts and the responses that a model gave to them, row by row.

    A row holds padding, a prompt, a response, padding. All prompts end, and all
    responses begin, at `start`; T counts the tokens of the longest response.
    """

    ids: Tensor  # (B, start + T)
    mask: Tensor  # (B, start + T), True = a real token
    response_mask: Tensor  # (B, T), True = chosen by the model, its end token included
    logprobs: Tensor  # (B, T), of the responses when they were drawn; 0 behind them
    start: int

    def __post_init__(self):
        B, T = self.response_mask.shape
        assert self.ids.shape == self.mask.shape == (B, self.start + T), (
            f"one text: {self.ids.shape=} {self.mask.shape=} {self.start=} {T=}"
        )
        assert self.logprobs.shape == (B, T), f"{self.logprobs.shape=} {(B, T)=}"
        check_not_empty(self.response_mask)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def responses(self) -> Tensor:
        """The responses alone, (B, T)."""
        return self.ids[:, self.start :]

    @property
    def lengths(self) -> Tensor:
        """How many tokens each response has, its end included: (B,)."""
        return self.response_mask.sum(dim=1)

    def select(self, rows: Tensor) -> "Rollout":
        """Some of the rows, as short as the longest of their responses allows."""
        T = int(self.lengths[rows].max())
        return Rollout(
            self.ids[rows, : self.start + T], self.mask[rows, : self.start + T],
            self.response_mask[rows, :T], self.logprobs[rows, :T], self.start,
        )  # fmt: skip

    def texts(self, tokenizer: Tokenizer) -> list[str]:
        """What was said, without special tokens: for people and for rules to read."""
        return [
            tokenizer.decode(row[kept].tolist(), specials=False)
            for row, kept in zip(self.responses, self.response_mask, strict=True)
        ]


def sample_rollouts(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    *,
    end: int,
    pad: int = 0,
    samples: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Answer every prompt `samples` times, the answers to one prompt side by side.

    prompts: rows of ids of any lengths, up to where the reply begins. A response ends
    with the token `end`, which belongs to it, or after new_tokens. logprobs are those
    of the distribution that was drawn from: of scores divided by the temperature.
    The texts are those of `generate` with the same seed.
    """
    check_prompts(prompts, temperature)
    device = model.embed.weight.device
    ids, mask = (each.to(device) for each in pad_left(prompts, pad))
    check_request(model.config, ids, new_tokens, temperature, samples, mask)
    start, length = ids.shape[1], ids.shape[1] + new_tokens
    text = functional.pad(ids, (0, new_tokens), value=pad)
    text = text.repeat_interleave(samples, dim=0)  # (B, start + new_tokens)
    real = extend(mask, new_tokens, samples)
    padded = not mask.all()  # without a mask reading is faster
    luck = lots(new_tokens, len(text), device, generator)
    chances = torch.ones(len(text), new_tokens, device=device)  # of what was drawn
    with torch.inference_mode():
        known = mask if padded else None
        logits, memory = read_prompts(model, ids, known, samples, length)
        rows = torch.arange(len(text), device=device)  # still being written
        for t in range(new_tokens):
            drawn, chance = draw_with_chance(logits, luck[t, rows], temperature)
            text[rows, start + t], chances[rows, t] = drawn, chance
            going = (text[rows, start : start + t + 1] != end).all(dim=1)
            if going.sum() <= 0.9 * len(rows):  # dropping copies the cache
                rows = rows[going]
                memory.select(going)
            if t + 1 == new_tokens or len(rows) == 0:
                break
            seen = real[rows, : start + t + 1] if padded else None
            hidden = model.hidden(text[rows, start + t, None], seen, memory)
            logits = model.head(hidden[:, -1])
    return finished(blank_after(text, start, end, pad), real, chances, start, end)


def draw_with_chance(
    logits: Tensor, uniforms: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """One token for every row of scores (B, V), and how likely it was, both (B,).

    >>> draw_with_chance(torch.tensor([[0.25, 0.75]]).log(), torch.tensor([0.5]))
    (tensor([1]), tensor([0.7500]))
    """
    probabilities = (logits.float() / temperature).softmax(dim=-1)
    drawn = inverse_cdf(probabilities, uniforms)
    return drawn, probabilities.gather(1, drawn.unsqueeze(1)).squeeze(1)


def finished(
    text: Tensor, real: Tensor, chances: Tensor, start: int, end: int
) -> Rollout:
    """Cut what nobody wrote: the masks, and the columns after the longest response."""
    response_mask = until_end(text[:, start:], end)
    T = int(response_mask.sum(dim=1).max())
    mask = torch.cat([real[:, :start], response_mask], dim=1)[:, : start + T]
    response_mask, chances = response_mask[:, :T], chances[:, :T]
    logprobs = chances.log().masked_fill(~response_mask, 0.0)
    return Rollout(text[:, : start + T], mask, response_mask, logprobs, start)


def until_end(responses: Tensor, end: int) -> Tensor:
    """Which tokens belong to a response: all up to the first `end`, and that one too.

    responses (B, T). Returns (B, T), True = belongs to it; a row without an end
    belongs to it as a whole.

    How: count the ends *before* each place; there must be none.

    >>> until_end(torch.tensor([[5, 1, 0, 1], [5, 6, 7, 8]]), end=1).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    ends = (responses == end).int()
    return ends.cumsum(dim=1) - ends == 0


def predicting(model: nn.Module, rollout: Rollout) -> Tensor:
    """The stream (B, T, D) at the positions that predict the responses' tokens.

    `model.head` of it scores exactly those tokens: no prompt is scored.
    """
    mask = rollout.mask[:, :-1]
    if mask[:, : rollout.start].all():
        mask = None  # padding on the right is seen by nobody
    return model.hidden(rollout.ids[:, :-1], mask)[:, rollout.start - 1 :]


def check_prompts(prompts: Sequence[Sequence[int]], temperature: float) -> None:
    """Refuse no prompts, an empty one, and a temperature at which nothing is drawn."""
    if not len(prompts):
        raise ValueError("There are no prompts to answer.")
    empty = [number for number, prompt in enumerate(prompts) if not len(prompt)]
    if empty:
        raise ValueError(
            f"Prompt {empty[0]} is empty, and nothing predicts a row's first token."
        )
    if not temperature > 0:  # also nan
        raise ValueError(
            f"Rollouts are drawn, so temperature is above 0, not {temperature}."
        )


def check_not_empty(response_mask: Tensor) -> None:
    """Refuse a response in which the model chose nothing."""
    empty = (~response_mask.any(dim=1)).nonzero().flatten().tolist()
    if empty or not len(response_mask):
        which = f"Response {empty[0]} is empty" if empty else "There is no response"
        raise ValueError(f"{which}: a reward needs a token to go to.")
