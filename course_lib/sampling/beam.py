"""Beam search: keep the few best beginnings instead of one.

At each step every beginning grows by every token, and the best of all these
stay (Graves 2012; with a length penalty as in Wu et al. 2016, here the plain
power of the length that `transformers` uses). It looks for the most probable
text; whether that is the text one wants is another question. Any function from
ids to scores will do. Left out: batches of prompts, groups of diverse beams,
constraints.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.attention import KVCache

Scores = Callable[[Tensor], Tensor]  # ids (B, T) to logits of the next token (B, V)


@dataclass(frozen=True)
class Beam:
    """A beginning, or a complete answer."""

    tokens: tuple[int, ...]  # what follows the prompt, with the end if there is one
    logprob: float  # of all these tokens together, in nats


def length_score(logprob: float, length: int, penalty: float) -> float:
    r"""What answers are compared by: $\log p / n^\alpha$.

    logprob of n = length tokens together. penalty 0: their probability, which
    favours short answers; 1: the mean per token; more favours long ones.

    >>> length_score(-6.0, length=3, penalty=1.0)
    -2.0
    """
    assert length >= 1, f"an answer has a token: {length=}"
    return logprob / length**penalty


def grow(logprobs: Tensor, logits: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The n best of all beams made longer by any token, best first.

    logprobs (B,): of each beam so far; logits (B, V): scores of its next
    token. In both, minus infinity is impossible; each row of logits has at
    least one possible token. Returns three of (n,), or fewer if there are not
    so many that are possible: log-probabilities, the beam each comes from,
    and its new token. Equals may come in any order.

    How: beams compete with one another, so the best are sought in one row of
    B * V numbers; the quotient by V is the beam, the remainder the token.

    >>> so_far = torch.tensor([-2.0, 0.0])
    >>> logits = torch.tensor([[6.0, 0.0, 0.0], [1.0, 3.0, 2.0]])
    >>> logprobs, beams, tokens = grow(so_far, logits, n=2)
    >>> beams, tokens
    (tensor([1, 1]), tensor([1, 2]))
    """
    assert logprobs.shape == logits.shape[:1], f"{logprobs.shape=} {logits.shape=}"
    longer = logprobs.unsqueeze(1) + logits.log_softmax(dim=-1)  # (B, V)
    best, places = longer.flatten().sort(descending=True, stable=True)
    possible = best > -math.inf  # nan, of a beam without a possible token, is not
    best, places = best[possible][:n], places[possible][:n]
    V = logits.shape[1]
    return best, places // V, places % V


def best_possible(
    logprob: float, length: int, longest: int, penalty: float, guess: bool = False
) -> float:
    """The highest score that a beam can still reach.

    A log-probability only falls. With a penalty above 0 a longer text may
    still gain, if all that follows is certain: longest is the length to look
    at. guess=True looks at the present length, as `transformers` does by
    default: sooner done, and sometimes wrong.

    >>> best_possible(-6.0, length=2, longest=6, penalty=1.0)
    -1.0
    """
    at = longest if penalty > 0 and not guess else length
    return length_score(logprob, at, penalty)


def beam_search(
    scores: Scores,
    ids: Tensor,
    new_tokens: int,
    beams: int,
    *,
    end: int | None = None,
    length_penalty: float = 1.0,
    early_stopping: bool | str = "never",
    grow: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]] = grow,
) -> list[Beam]:
    """The best answers found, at most `beams` of them, best first.

    scores: ids (B, T) to the next token's logits (B, V), such as
    `last_scores(model)`. ids (1, T): the prompt. An answer ends with `end` or
    has new_tokens tokens; answers are compared by `length_score`.
    early_stopping: "never" goes on while any beam could still win, True stops
    at `beams` complete answers, False in between (`best_possible`'s guess).
    grow: one step of the search.
    """
    check_search(ids, new_tokens, beams, early_stopping)
    running, done = [Beam((), 0.0)], []
    for length in range(1, new_tokens + 1):
        text = torch.tensor([b.tokens for b in running], device=ids.device).long()
        logits = scores(torch.cat([ids.expand(len(running), -1), text], dim=1))
        so_far = logits.new_tensor([b.logprob for b in running])
        grown = zip(*(x.tolist() for x in grow(so_far, logits, 2 * beams)), strict=True)
        candidates = [(Beam((*running[i].tokens, t), lp), t) for lp, i, t in grown]
        # of 2 * beams candidates at most `beams` end here, so `beams` can go on
        last = length == new_tokens
        done += [b for b, t in candidates[:beams] if last or t == end]
        done.sort(key=lambda b: -score_of(b, length_penalty))
        done = done[:beams]
        running = [b for b, t in candidates if t != end][:beams]
        if not running or last:
            break
        if len(done) == beams:
            hope = best_possible(
                running[0].logprob,
                length,
                new_tokens,
                length_penalty,
                guess=early_stopping is False,
            )
            if early_stopping is True or hope <= score_of(done[-1], length_penalty):
                break
    return done


def score_of(beam: Beam, penalty: float) -> float:
    return length_score(beam.logprob, len(beam.tokens), penalty)


def check_search(
    ids: Tensor, new_tokens: int, beams: int, early_stopping: bool | str
) -> None:
    """Answer a request that cannot be met in one sentence."""
    if ids.dim() != 2 or len(ids) != 1 or ids.numel() == 0:
        raise ValueError(
            f"Beam search continues one prompt, ids (1, T), not {tuple(ids.shape)}."
        )
    if new_tokens < 1 or beams < 1:
        raise ValueError(
            f"new_tokens and beams are at least 1, not {new_tokens} and {beams}."
        )
    if early_stopping not in (True, False, "never"):
        raise ValueError(
            f'early_stopping is True, False or "never", not {early_stopping!r}.'
        )


# ---- a model as a function from ids to scores


def last_scores(model: nn.Module) -> Scores:
    """Read every text from its beginning: right, and slow."""

    @torch.inference_mode()
    def scores(ids: Tensor) -> Tensor:
        return model.head(model.hidden(ids)[:, -1])

    return scores


class CachedScores:
    """The same as `last_scores`, but each text is read on from where it was left.

    A text of T tokens must begin with one of the T - 1 tokens of the call
    before, or everything is read anew.
    """

    def __init__(self, model: nn.Module, capacity: int | None = None) -> None:
        """capacity: tokens of the longest text; None: all of the model's context."""
        self.model, self.capacity = model, capacity or model.config.context
        self.ids, self.cache = None, None

    @torch.inference_mode()
    def __call__(self, ids: Tensor) -> Tensor:
        parents = None if self.ids is None else parents_of(ids, self.ids)
        self.ids = None  # until all went well
        if parents is None:
            like, new = self.model.embed.weight, ids
            self.cache = KVCache(self.model.config, len(ids), self.capacity, like=like)
        else:
            new = ids[:, -1:]
            self.cache.select(parents)  # beams change places, and so must their memory
        logits = self.model.head(self.model.hidden(new, cache=self.cache)[:, -1])
        self.ids = ids
        return logits


def parents_of(ids: Tensor, before: Tensor) -> Tensor | None:
    """Which row of `before` each row of ids continues by one token; None if one does not.

    >>> before = torch.tensor([[5, 4], [5, 6]])
    >>> parents_of(torch.tensor([[5, 6, 1], [5, 6, 2]]), before)
    tensor([1, 1])
    """
    if ids.shape[1] != before.shape[1] + 1:
        return None
    same = (ids[:, None, :-1] == before).all(dim=-1)  # (B, rows before)
    return same.int().argmax(dim=1) if same.any(dim=1).all() else None
