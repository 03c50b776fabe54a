"""From scores to probabilities, and to the log-probability of what was said.

A language model ends in one score (a *logit*) for every word it knows.
Everything later in the course, from the first training loss to the ratio
inside PPO, is made of the few functions in this file. All logarithms are
natural, so losses are in nats.
"""

from torch import Tensor


def softmax(scores: Tensor) -> Tensor:
    r"""Scores to probabilities in the last dimension: $p_i = e^{z_i} / \sum_j e^{z_j}$.

    scores (..., V): of any size; minus infinity means "impossible" and gets
    probability 0. Returns (..., V) in the same precision: nothing negative,
    and every row sums to 1.

    How: subtract each row's own largest score first; the quotient does not
    change, and no exponential can overflow.

    >>> softmax(torch.tensor([1000.0, 1000.0]))
    tensor([0.5000, 0.5000])
    """
    shifted = (
        scores - scores.max(dim=-1, keepdim=True).values
    )  # (..., V), largest entry 0
    exponentials = shifted.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def token_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    r"""The log-probability of each token that was said: $\log p_t(id_t)$, in nats.

    logits (B, T, V): a row of scores for every position; minus infinity means
    "impossible". ids (B, T): the token said there. Returns (B, T), every
    entry at most 0; finite even where the probability is too small for a
    float.

    How: gather the token's own score, then subtract the log of the sum of all
    exponentials.

    >>> token_logprobs(torch.zeros(1, 2, 4), torch.tensor([[0, 3]])).exp()
    tensor([[0.2500, 0.2500]])
    """
    assert logits.shape[:-1] == ids.shape, (
        f"one id per row of logits: {logits.shape=} {ids.shape=}"
    )
    said = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)  # (B, T)
    return said - logits.logsumexp(dim=-1)
