"""Speculative decoding: a small model guesses, the large one reads all guesses at once.

A guess is kept or replaced so that every token is distributed exactly as if the
large model (the target) had drawn it alone (Leviathan et al. 2023, algorithm 1;
Chen et al. 2023, algorithm 2). Only the number of its calls changes. Both
models' probabilities are taken after temperature and filters. Left out:
batches, in which rows keep different numbers of guesses, and trees of guesses.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.attention import KVCache
from course_lib.sampling.filters import Filter, probabilities
from course_lib.sampling.generate import draw

Reader = Callable[[Tensor], Tensor]  # ids (1, T) to logits (1, T, V), as a model does
Rule = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # as keep_or_replace


def overlap(p: Tensor, q: Tensor) -> Tensor:
    r"""The share of guesses that is kept on average: $\sum_x \min(p(x), q(x))$.

    p and q (..., V): probabilities of the target and of the draft. Returns
    (...,): 1 where they agree, 0 where nothing is possible for both.

    >>> overlap(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
    tensor(0.7500)
    """
    return torch.minimum(p, q).sum(dim=-1)


def keep_or_replace(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    r"""The rule: how likely a guess is kept, and what a rejected one is drawn from.

    p and q (..., V): probabilities of the target and of the draft. Returns two
    of (..., V): keep, the probability with which each token is kept if the
    draft guesses it, $\min(1, p/q)$, and 1 where q is 0; and replace, the
    distribution from which the token is drawn instead if it is not kept,
    $(p - q)_+$ made to sum to 1 in each row, where $(x)_+$ is x above 0 and 0
    below. In a row with p = q nothing is ever rejected, and replace is p. No entry
    of either is below 0, not even by rounding.

    How: tokens that the draft proposes too often were already drawn often
    enough, so they have no share in replace.

    >>> p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.1])
    >>> keep_or_replace(p, q)
    (tensor([1.0000, 0.4286, 1.0000]), tensor([0.7500, 0.0000, 0.2500]))
    """
    assert p.shape == q.shape, f"one row of p per row of q: {p.shape=} {q.shape=}"
    keep = torch.where(p < q, p / q, torch.ones_like(p))
    missing = (p - q).clamp(min=0)
    total = missing.sum(dim=-1, keepdim=True)
    replace = torch.where(total > 0, missing / total, p)
    return keep, replace


def count_kept(coins: Tensor) -> int:
    """How many guesses are kept: those before the first that is not.

    coins (n,): 1 = this guess passes, 0 = it does not. Later guesses follow
    a token that will not be there, so they go as well.

    >>> count_kept(torch.tensor([1, 1, 0, 1]))
    2
    """
    return int(coins.cumprod(dim=0).sum())


def tokens_per_call(share: float, guesses: int) -> float:
    r"""How many tokens one call of the target yields on average: $\sum_{i=0}^{n} a^i$.

    share: the probability a with which any guess is kept, taken as the same
    everywhere (Leviathan et al. 2023, eq. 1); n guesses per call.

    >>> tokens_per_call(0.5, guesses=2)
    1.75
    """
    assert 0 <= share <= 1, f"a probability: {share=}"
    return sum(share**i for i in range(guesses + 1))


# ---- the loop


def guess(
    draft: Reader,
    ids: Tensor,
    n: int,
    filters: Sequence[Filter] = (),
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The draft writes n tokens, n >= 1: ids (1, T) to (1, T + n).

    Also returns the probabilities that each was drawn from, (n, V).
    """
    rows = []
    for _ in range(n):
        rows.append(probabilities(draft(ids)[:, -1], filters))  # (1, V)
        ids = torch.cat([ids, draw(rows[-1], generator).unsqueeze(0)], dim=1)
    return ids, torch.cat(rows)


def speculative_step(
    target: Reader,
    draft: Reader,
    ids: Tensor,
    guesses: int,
    filters: Sequence[Filter] = (),
    generator: torch.Generator | None = None,
    rule: Rule = keep_or_replace,
) -> Tensor:
    """One call of the target: the new tokens (k,), at least 1, at most guesses + 1.

    If every guess is kept, the target has already scored one more token, and
    this bonus is for nothing.
    """
    T = ids.shape[1]
    if guesses == 0:
        return draw(probabilities(target(ids)[:, -1], filters), generator)
    text, q = guess(draft, ids, guesses, filters, generator)
    p = probabilities(target(text)[0, T - 1 :], filters)  # (guesses + 1, V)
    keep, replace = rule(p[:-1], q)
    chances = keep.gather(-1, text[0, T:, None]).squeeze(-1)  # (guesses,)
    coins = draw(torch.stack([1 - chances, chances], dim=-1), generator)
    kept = count_kept(coins)
    after = torch.cat([replace, p[-1:]])  # (guesses + 1, V), the bonus last
    new = draw(after[kept : kept + 1], generator)
    return torch.cat([text[0, T : T + kept], new])


def speculative_generate(
    target: Reader,
    draft: Reader,
    ids: Tensor,
    new_tokens: int,
    *,
    guesses: int = 4,
    filters: Sequence[Filter] = (),
    end: int | None = None,
    generator: torch.Generator | None = None,
    rule: Rule = keep_or_replace,
) -> tuple[Tensor, dict[str, float]]:
    """Continue one prompt as the target would, with fewer calls of it.

    target and draft: ids (1, T) to logits (1, T, V), with one vocabulary:
    models, or `CachedReader`s of models. ids (1, T). filters as in `sampler`;
    `greedy` among them gives the target's own greedy text. rule: what is done
    with each guess. Returns the text,
    (1, T + new_tokens) or shorter if `end` came, and: `calls` of the target,
    `guessed` tokens, and the `kept` among them.
    """
    check_speculation(ids, new_tokens, guesses)
    T, stats = ids.shape[1], {"calls": 0, "guessed": 0, "kept": 0}
    with torch.inference_mode():
        while ids.shape[1] < T + new_tokens:
            room = T + new_tokens - ids.shape[1]
            n = min(guesses, room - 1)  # one token more comes from the target
            new = speculative_step(target, draft, ids, n, filters, generator, rule)
            stats["calls"] += 1
            stats["guessed"] += n
            stats["kept"] += len(new) - 1
            ended = end is not None and bool((new == end).any())
            if ended:
                new = new[: new.tolist().index(end) + 1]
            ids = torch.cat([ids, new.unsqueeze(0)], dim=1)
            if ended:
                break
    return ids.clone(), stats


def check_speculation(ids: Tensor, new_tokens: int, guesses: int) -> None:
    """Answer a request that cannot be met in one sentence."""
    if ids.dim() != 2 or len(ids) != 1 or ids.numel() == 0:
        raise ValueError(
            f"Speculation continues one prompt, ids (1, T), not {tuple(ids.shape)}."
        )
    if new_tokens < 1 or guesses < 0:
        raise ValueError(
            f"At least 1 new token and 0 guesses, not {new_tokens} and {guesses}."
        )


class CachedReader:
    """A model that reads only what is new in a text, and forgets what was taken back.

    Called with ids (1, T), it returns logits (1, T, V) as the model does. What
    the text shares with that of the call before is remembered. The logits are
    a view that the next call writes into.
    """

    def __init__(self, model: nn.Module, capacity: int | None = None) -> None:
        """capacity: tokens of the longest text; None: all of the model's context."""
        self.model, like = model, model.embed.weight
        capacity = capacity or model.config.context
        self.cache = KVCache(model.config, 1, capacity, like=like)
        self.logits = like.new_empty(1, capacity, model.config.vocabulary)
        self.ids = torch.empty(1, 0, dtype=torch.long, device=like.device)

    @torch.inference_mode()
    def __call__(self, ids: Tensor) -> Tensor:
        known = shared_beginning(self.ids[0], ids[0])
        self.cache.length = known  # whatever follows is forgotten
        self.ids = ids[:, :known]  # until all went well
        if known < ids.shape[1]:
            new = self.model(ids[:, known:], cache=self.cache)
            self.logits[:, known : ids.shape[1]] = new
        self.ids = ids
        return self.logits[:, : ids.shape[1]]


def shared_beginning(one: Tensor, other: Tensor) -> int:
    """How many first tokens two rows of ids have in common.

    >>> shared_beginning(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4, 3]))
    2
    """
    n = min(len(one), len(other))
    return count_kept((one[:n] == other[:n]).int())
