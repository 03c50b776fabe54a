"""Routing: which experts read a token, and how much each of them counts.

A router scores every expert for every token; the token goes to the k best (Shazeer
et al. 2017, section 2.1; Mixtral, Jiang et al. 2024, section 2.1). Switch (Fedus et
al. 2021, eq. 2) keeps the share among all experts as the weight. DeepSeek-V3 (2024,
section 2.1.2) adds a bias that has a say in the choice and none in the weight; it
adds it to sigmoids of the scores, we to the scores. With expert choice (Zhou et al.
2022, section 3.2) experts take tokens. Tokens of all texts stand in one row: N =
B·T. Left out: noise in the scores, and groups of experts.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.logprobs import softmax


class Routing(NamedTuple):
    """What a router decided; with several layers, each tensor has L in front."""

    scores: Tensor  # (N, E) of all experts, before any softmax
    weights: Tensor  # (N, k) how much each chosen expert counts
    chosen: Tensor  # (N, k) numbers of experts, the best first


def choose(scores: Tensor, k: int, bias: Tensor | None = None) -> Tensor:
    """The k experts that each token visits, the best first.

    scores (N, E), 1 <= k <= E. Returns (N, k), numbers of experts. bias (E,) favours
    experts, whatever the token.

    >>> choose(torch.tensor([[0.0, 3.0, 2.0]]), k=2)
    tensor([[1, 2]])
    >>> choose(torch.tensor([[0.0, 3.0, 2.0]]), k=2, bias=torch.tensor([4.0, 0, 0]))
    tensor([[0, 1]])
    """
    assert 1 <= k <= scores.shape[-1], f"a token visits 1 to E: {k=} {scores.shape=}"
    favoured = scores if bias is None else scores + bias
    return favoured.topk(k, dim=-1).indices


def weigh(scores: Tensor, chosen: Tensor, renormalise: bool = True) -> Tensor:
    r"""How much each chosen expert counts: $w = \text{softmax}(z_\text{chosen})$.

    scores (N, E), chosen (N, k). Returns (N, k); each row sums to 1. With
    renormalise=False the weights are shares among all E experts, and sum to less.
    The chosen need not be the best, nor in order: a bias may choose experts whose
    shares round to 0, and their weights are right all the same. Gradients reach the
    scores.

    How: gather the chosen scores, softmax over those k. That equals the shares among
    all, divided by their sum, since the sum over all E cancels. Without
    renormalising: first the softmax over all, then gather.

    >>> scores = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    >>> weigh(scores, torch.tensor([[1, 3]]))  # 4/7 and 3/7
    tensor([[0.5714, 0.4286]])
    >>> weigh(scores, torch.tensor([[1, 3]]), renormalise=False)
    tensor([[0.4000, 0.3000]])
    """
    if renormalise:  # not shares / sum: both may round to 0 where a bias chose
        return softmax(scores.gather(-1, chosen))
    return softmax(scores).gather(-1, chosen)


def route(
    scores: Tensor, k: int, bias: Tensor | None = None, renormalise: bool = True
) -> tuple[Tensor, Tensor]:
    """Weights (N, k) and chosen (N, k) for scores (N, E): `choose`, then `weigh`.

    The bias has a say in the choice and none in the weights.

    >>> weights, chosen = route(torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log(), k=2)
    >>> weights, chosen
    (tensor([[0.5714, 0.4286]]), tensor([[1, 3]]))
    """
    chosen = choose(scores, k, bias)
    return weigh(scores, chosen, renormalise), chosen


def expert_choice(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Each expert takes the tokens that like it best, k for each token on average.

    scores (N, E). Returns weights (N, E) and chosen (N, E), as `route` would if
    every token visited all experts: 0 where an expert did not take the token.
    Loads are equal by construction, but whether a token is taken depends on all
    others, later ones and those of other texts included: no way to write a text.

    >>> scores = torch.tensor([[0.8, 0.2], [0.9, 0.1], [0.7, 0.3], [0.6, 0.4]]).log()
    >>> expert_choice(scores, k=1)[0]
    tensor([[0.8000, 0.0000],
            [0.9000, 0.0000],
            [0.0000, 0.3000],
            [0.0000, 0.4000]])
    """
    N, E = scores.shape
    shares = softmax(scores)  # each token's, among the experts
    best = shares.topk(math.ceil(N * k / E), dim=0).indices
    taken = torch.zeros_like(shares).scatter(0, best, 1.0)  # (N, E)
    return shares * taken, torch.arange(E, device=scores.device).expand(N, E)
