"""Filters: which tokens may be drawn, decided from their scores alone.

A filter takes scores (..., V) and gives scores back, minus infinity where
nothing may be drawn: temperature, the k likeliest, the nucleus (Holtzman et
al. 2020, eq. 2-3), and all that come close to the likeliest (Nguyen et al.
2024). Filters follow one another, and their order matters: heat changes the
nucleus. Left out: typical and entropy-based filters. What depends on the text
so far stands in `penalties`.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from course_lib.sampling.generate import draw

Filter = Callable[[Tensor], Tensor]  # scores (..., V) to scores (..., V)


def temperature(logits: Tensor, value: float) -> Tensor:
    r"""Sharpen (value < 1) or flatten (value > 1) what the softmax will give: $z / \tau$.

    logits (..., V), value > 0. Odds of two tokens are raised to the power of
    1 / value; their order stays. For the limit at 0 there is `greedy`.

    >>> temperature(torch.tensor([[2.0, -1.0]]), value=0.5)
    tensor([[ 4., -2.]])
    """
    assert value > 0, f"temperature is above 0, for 0 there is greedy: {value=}"
    return logits / value


def greedy(logits: Tensor) -> Tensor:
    """Only the likeliest token may be drawn; of equal ones, that with the lowest id.

    >>> greedy(torch.tensor([[1.0, 3.0, 3.0]]))
    tensor([[-inf, 3., -inf]])
    """
    ids = torch.arange(logits.shape[-1], device=logits.device)
    return logits.masked_fill(ids != logits.argmax(-1, keepdim=True), -math.inf)


def top_k(logits: Tensor, k: int) -> Tensor:
    """The k likeliest tokens may be drawn, and all exactly as likely as the last.

    logits (..., V), k >= 1. A k above V keeps everything.

    How: the k-th largest score is the limit; only what is below it goes.

    >>> top_k(torch.tensor([[1.0, 4.0, 3.0, 3.0]]), k=2)
    tensor([[-inf, 4., 3., 3.]])
    """
    assert k >= 1, f"at least one token must stay: {k=}"
    k = min(k, logits.shape[-1])
    limit = logits.topk(k, dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < limit, -math.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """The nucleus: the smallest set of likeliest tokens whose probability reaches p.

    logits (..., V), p from 0 to 1. The token that crosses p is in. At least
    one token stays, whatever p; at p = 1 all do that have any probability.
    Of equal tokens at the border only as many stay as are needed. The result
    is new, also where nothing goes.

    How: from the least likely up, a token goes as long as it and all before
    it hold at most 1 - p. Small numbers are added first, so that rounding
    cannot throw away the tail at p = 1.

    >>> chances = torch.tensor([[0.15, 0.5, 0.05, 0.3]])
    >>> top_p(chances.log(), p=0.9).exp()
    tensor([[0.1500, 0.5000, 0.0000, 0.3000]])
    """
    assert 0 <= p <= 1, f"p is a probability: {p=}"
    rising, order = logits.sort(dim=-1, stable=True)
    lost = rising.softmax(dim=-1).cumsum(dim=-1)  # (..., V)
    goes = lost <= 1 - p
    goes[..., -1] = False
    return logits.masked_fill(goes.scatter(-1, order, goes), -math.inf)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Whatever is at least p times as probable as the likeliest token may be drawn.

    logits (..., V), p from 0 to 1: 0 keeps everything, 1 the likeliest and
    its equals.

    >>> chances = torch.tensor([[0.15, 0.5, 0.05, 0.3]])
    >>> min_p(chances.log(), p=0.4).exp()
    tensor([[0.0000, 0.5000, 0.0000, 0.3000]])
    """
    assert 0 <= p <= 1, f"p is a share of the largest probability: {p=}"
    chances = logits.softmax(dim=-1)
    limit = p * chances.amax(dim=-1, keepdim=True)  # (..., 1)
    return logits.masked_fill(chances < limit, -math.inf)


# ---- filters at work


def probabilities(logits: Tensor, filters: Iterable[Filter] = ()) -> Tensor:
    """What is drawn from: the softmax of scores that went through all filters in turn.

    >>> probabilities(torch.zeros(1, 4), [greedy])
    tensor([[1., 0., 0., 0.]])
    """
    for each in filters:
        logits = each(logits)
    return logits.softmax(dim=-1)


def sampler(
    *filters: Filter, generator: torch.Generator | None = None
) -> Callable[[Tensor], Tensor]:
    """What `generate` takes as `choose`: scores (B, V) to one drawn token per row.

    Filters take nothing but scores, so settings are filled in before:
    `sampler(partial(temperature, value=0.7), partial(top_p, p=0.9))`.

    >>> sampler(greedy)(torch.tensor([[1.0, 3.0], [2.0, 0.0]]))
    tensor([1, 0])
    """

    def choose(logits: Tensor) -> Tensor:
        return draw(probabilities(logits.float(), filters), generator)

    return choose
