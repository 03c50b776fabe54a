"""Write text: score the next token, choose one, append it, repeat.

The cache keeps what was read, so each step reads one token. A token is drawn
by the inverse of the cumulative distribution: one uniform number per row,
several times cheaper than `torch.multinomial`. Rules may change the scores by what
was written; filters of the scores drop in as `choose`. Left out: beams, and rows
that join a batch later.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.attention import KVCache

# scores of the next token (B, V), the texts so far (B, T) and their real tokens
# (B, T) to scores (B, V)
Rule = Callable[[Tensor, Tensor, Tensor], Tensor]


def inverse_cdf(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    r"""The token at which the running sum first exceeds the uniform number.

    probabilities (B, V), rows of which sum to about 1; uniforms (B,) in
    [0, 1). Returns (B,). A token of probability 0 is never drawn, whatever
    rounding does to the sums.

    >>> inverse_cdf(torch.tensor([[0.2, 0.0, 0.8]]), torch.tensor([0.2]))
    tensor([2])
    """
    assert uniforms.shape == probabilities.shape[:1], (
        f"one number per row: {uniforms.shape=} {probabilities.shape=}"
    )
    sums = probabilities.float().cumsum(dim=-1)
    limits = uniforms.unsqueeze(-1) * sums[:, -1:]  # the whole may be 0.9999999
    drawn = torch.searchsorted(sums, limits, right=True).clamp(max=sums.shape[1] - 1)
    possible = probabilities.gather(-1, drawn) > 0  # a GPU's sums may miss by one
    likeliest = probabilities.argmax(dim=-1, keepdim=True)
    return torch.where(possible, drawn, likeliest).squeeze(-1)


def draw(probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One token for every row of probabilities (B, V). Returns (B,).

    >>> draw(torch.tensor([[0.0, 1.0]]))
    tensor([1])
    """
    device = probabilities.device if generator is None else generator.device
    uniforms = torch.rand(len(probabilities), generator=generator, device=device)
    return inverse_cdf(probabilities, uniforms.to(probabilities.device))


def generate(
    model: nn.Module,
    ids: Tensor,
    new_tokens: int,
    *,
    temperature: float = 1.0,
    choose: Callable[[Tensor], Tensor] | None = None,
    rules: Sequence[Rule] = (),
    end: int | None = None,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    pad: int = 0,
    samples: int = 1,
    cache: bool = True,
) -> Tensor:
    """Continue every prompt by new_tokens tokens: ids (B, T) to (B, T + new_tokens).

    temperature 0 takes the likeliest token. choose: scores (B, V) to tokens
    (B,), instead of temperature and drawing. rules change the scores before,
    one after the other; each sees prompts and answers so far, (B, T), and where
    they are real tokens. end: the token after which a row holds only `pad`; an
    ended row is handed to rules and to `choose` no more, or in vain. mask (B, T):
    True = a real token; shorter prompts are padded on the left. samples: answers
    per prompt, side by side, (B * samples, T + new_tokens); the prompt is read
    once. cache=False reads everything again at each step. One seed gives one
    text, and a row's text does not depend on when other rows end.
    """
    check_request(model.config, ids, new_tokens, temperature, samples, mask)
    T, length = ids.shape[1], ids.shape[1] + new_tokens
    text = functional.pad(ids.long(), (0, new_tokens), value=pad)
    text = text.repeat_interleave(samples, dim=0)  # (rows, length)
    if mask is not None and mask.all():
        mask = None  # nothing is padded, and without a mask it is faster
    real = None if mask is None else extend(mask, new_tokens, samples)
    if choose is None and temperature == 0:
        choose = partial(torch.argmax, dim=-1)
    luck = None if choose else lots(new_tokens, len(text), ids.device, generator)
    with torch.inference_mode():
        logits, memory = read_prompts(model, ids, mask, samples, length)
        rows = torch.arange(len(text), device=ids.device)  # still being written
        for t in range(T, length):
            if rules:
                seen = None if real is None else real[rows, :t]
                logits = follow(rules, logits, text[rows, :t], seen)
            if choose is None:
                chances = (logits.float() / temperature).softmax(dim=-1)
                text[rows, t] = inverse_cdf(chances, luck[t - T, rows])
            else:
                text[rows, t] = choose(logits)
            if end is not None:
                going = (text[rows, T : t + 1] != end).all(dim=1)
                if going.sum() <= 0.75 * len(rows):  # dropping copies the cache
                    rows = rows[going]
                    memory.select(going)
            if t + 1 == length or len(rows) == 0:
                break
            new = text[rows, t : t + 1] if cache else text[rows, : t + 1]
            seen = None if real is None else real[rows, : t + 1]
            hidden = model.hidden(new, seen, memory if cache else None)
            logits = model.head(hidden[:, -1])
    return text if end is None else blank_after(text, T, end, pad)


def follow(
    rules: Iterable[Rule], logits: Tensor, ids: Tensor, mask: Tensor | None
) -> Tensor:
    """Scores after all rules in turn; without a mask every token is real."""
    mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    for rule in rules:
        logits = rule(logits, ids, mask)
    return logits


def lots(
    steps: int, rows: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """All uniform numbers at once, so that no row's luck depends on another's end."""
    source = device if generator is None else generator.device
    return torch.rand(steps, rows, generator=generator, device=source).to(device)


def read_prompts(
    model: nn.Module, ids: Tensor, mask: Tensor | None, samples: int, length: int
) -> tuple[Tensor, KVCache]:
    """Read each prompt once: scores of its next token, and the filled cache."""
    memory = KVCache(model.config, len(ids), length, like=model.embed.weight)
    logits = model.head(model.hidden(ids, mask, memory)[:, -1])  # (B, V)
    if samples > 1:
        memory.repeat(samples)
    return logits.repeat_interleave(samples, dim=0), memory


def extend(mask: Tensor, new_tokens: int, samples: int) -> Tensor:
    """The mask of prompts to the mask of their continuations, which are real."""
    wider = functional.pad(mask, (0, new_tokens), value=True)
    return wider.repeat_interleave(samples, dim=0)


def blank_after(text: Tensor, start: int, end: int, pad: int) -> Tensor:
    """Replace what follows the first `end` from position start on by `pad`.

    >>> blank_after(torch.tensor([[9, 5, 9, 7, 9]]), start=1, end=9, pad=0)
    tensor([[9, 5, 9, 0, 0]])
    """
    ends = (text[:, start:] == end).int()
    over = ends.cumsum(dim=1) - ends > 0  # an end stands further left
    text[:, start:].masked_fill_(over, pad)
    return text


def check_request(config, ids, new_tokens, temperature, samples, mask) -> None:
    """Answer a request that cannot be met in one sentence."""
    if ids.dim() != 2 or ids.numel() == 0:
        raise ValueError(
            f"Prompts are ids (B, T) of at least one token, not {tuple(ids.shape)}."
        )
    room = config.context - ids.shape[1]
    if not 1 <= new_tokens <= room:
        raise ValueError(
            f"A prompt of {ids.shape[1]} tokens leaves room for 1 to {room} new ones "
            f"in a context of {config.context}, not for {new_tokens}."
        )
    if not temperature >= 0:  # also nan
        raise ValueError(f"temperature must be 0 or more, not {temperature}.")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}.")
    if mask is not None and (mask.shape != ids.shape or not mask[:, -1].all()):
        raise ValueError(
            f"mask must have the prompts' shape {tuple(ids.shape)} and end in True: "
            "pad shorter prompts on the left."
        )
