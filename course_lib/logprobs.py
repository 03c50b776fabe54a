"""From scores to probabilities, and to the log-probability of what was said.

A language model ends in one score (a *logit*) for every word it knows.
Everything later in the course, from the first training loss to the ratio
inside PPO, is made of the few functions in this file. Two models are compared by
the Kullback-Leibler divergence, exactly or from samples (Schulman 2020,
"Approximating KL divergence"). All logarithms are natural, so losses are in nats.
"""

import torch
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


def response_logprobs(logits: Tensor, ids: Tensor, start: int) -> Tensor:
    r"""The log-probability of each token of the responses, in nats.

    logits (B, T, V): what a model says to ids (B, T), so row t scores the token that
    *follows* position t. start: where the responses begin, one number for all rows
    (prompts of several lengths are padded on the left). Returns (B, T - start).

    How: the first token of a response is predicted by the last of its prompt, so
    positions `start - 1` to `T - 2` belong to the tokens at `start` to `T - 1`.

    >>> knows_nothing = torch.zeros(1, 3, 4)
    >>> response_logprobs(knows_nothing, torch.tensor([[3, 1, 2]]), start=1).exp()
    tensor([[0.2500, 0.2500]])
    """
    assert logits.shape[:-1] == ids.shape, (
        f"one row of logits per id: {logits.shape=} {ids.shape=}"
    )
    assert 1 <= start < ids.shape[1], (
        f"a prompt before and a token behind it: {start=} {ids.shape=}"
    )
    return token_logprobs(logits[:, start - 1 : -1], ids[:, start:])


# ---- how undecided, and how far apart


def entropy(logits: Tensor) -> Tensor:
    r"""How undecided a row of scores is: $-\sum_i p_i \log p_i$, in nats.

    logits (..., V); minus infinity means "impossible" and adds nothing. Returns
    (...), from 0 (one choice) to log V (all choices alike).

    >>> entropy(torch.zeros(1, 8)).exp()
    tensor([8.0000])
    """
    logs = logits.log_softmax(dim=-1)
    impossible = logs == -torch.inf  # 0 times minus infinity would be nan
    return -(logs.exp() * logs.masked_fill(impossible, 0.0)).sum(dim=-1)


def kl_divergence(logits: Tensor, ref_logits: Tensor) -> Tensor:
    r"""Exactly how far p is from q: $\sum_i p_i (\log p_i - \log q_i)$, in nats.

    logits and ref_logits (..., V) give p and q. Returns (...), never below 0 but for
    rounding; infinite if p says what q thinks impossible.

    >>> rows = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    >>> [round(kl_divergence(*pair).item(), 4) for pair in (rows, rows[::-1])]
    [0.1438, 0.1308]
    """
    logs, ref_logs = logits.log_softmax(dim=-1), ref_logits.log_softmax(dim=-1)
    impossible = logs == -torch.inf
    return (logs.exp() * (logs - ref_logs).masked_fill(impossible, 0.0)).sum(dim=-1)


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    r"""One sample's estimate of $\text{KL}(p \Vert q)$: the log-ratio itself.

    logprobs and ref_logprobs: $\log p$ and $\log q$ of tokens that p drew, of one
    shape, which is returned. Right on average, often negative.

    How: $\log p - \log q$.

    >>> k1(torch.tensor([0.5]).log(), torch.tensor([0.25]).log()).exp()
    tensor([2.])
    """
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    r"""A calmer estimate of $\text{KL}(p \Vert q)$: never negative, a little wrong.

    Inputs and shape as in `k1`. Its average differs from the divergence in the third
    order of the log-ratio.

    How: $(\log p - \log q)^2 / 2$.

    >>> k2(torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -2.0]))
    tensor([2., 0.])
    """
    return (logprobs - ref_logprobs) ** 2 / 2


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    r"""The usual estimate of $\text{KL}(p \Vert q)$: right on average, never below 0.

    Inputs and shape as in `k1`.

    How: $r - 1 - \log r$ with $r = q / p$; `expm1` gives r - 1 without rounding
    where r is near 1.

    >>> k3(torch.tensor([0.5]).log(), torch.tensor([0.25]).log())
    tensor([0.1931])
    """
    logratios = ref_logprobs - logprobs
    return torch.expm1(logratios) - logratios
