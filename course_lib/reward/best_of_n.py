r"""Best of n: draw n answers, keep the one with the highest reward.

The simplest way to obey a reward model, and the easiest to compute. If F is the
share of answers that are no better than y, the best of n is y with probability
$F(y)^n - F(y^-)^n$, so its distance from the model that drew is known exactly. So is
the expected reward for every n at once, from one pool of answers, by order
statistics (Nakano et al. 2021; Gao, Schulman & Hilton 2022). Obeying a
learned reward ever more strictly ends in what it is wrong about. Left out: drawing
in proportion to the reward, and searching while an answer is written.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.reward.losses import check_numbers

# ---- how far it goes from the model that drew


def best_of_n_probabilities(probabilities: Tensor, rewards: Tensor, n: int) -> Tensor:
    r"""How likely each answer is the best of n draws.

    probabilities (V,): of all answers, with sum 1; rewards (V,). Of equally good
    draws the first is kept. Returns (V,), with sum 1.

    How: $p_i \left((W_i + E_i)^n - W_i^n\right) / E_i$, where $W_i$ is the share of
    answers that are worse than i and $E_i$ that of equally good ones, i included.

    >>> p, rewards = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 2.0])
    >>> best_of_n_probabilities(p, rewards, 3)
    tensor([0.1250, 0.8750], dtype=torch.float64)
    """
    check_draws(probabilities, rewards, n)
    p = probabilities.double() / probabilities.double().sum()
    other = rewards.unsqueeze(0)  # (1, V)
    worse = (p * (other < rewards.unsqueeze(1))).sum(dim=1)  # (V,)
    equal = (p * (other == rewards.unsqueeze(1))).sum(dim=1)
    reached = (worse + equal) ** n - worse**n  # by any of the equally good
    return torch.where(p > 0, reached * p / equal, 0.0)


def check_draws(probabilities: Tensor, rewards: Tensor, n: int) -> None:
    """Refuse what is no distribution, a reward that is no number, and no draw."""
    check_numbers(rewards, "reward")
    if probabilities.shape != rewards.shape or rewards.ndim != 1:
        raise ValueError(
            f"Each answer has a probability and a reward, but there are "
            f"{tuple(probabilities.shape)} and {tuple(rewards.shape)}."
        )
    total = float(probabilities.double().sum())
    if not (abs(total - 1) < 1e-4 and bool((probabilities >= 0).all())):
        raise ValueError(f"Probabilities are at least 0 with sum 1, not {total:g}.")
    check_n(n)


def check_n(n: int) -> None:
    if n != int(n) or n < 1:
        raise ValueError(f"n counts answers, from 1 on; it is {n}.")


def best_of_n_kl(probabilities: Tensor, rewards: Tensor, n: int) -> float:
    r"""How far the best of n is from the model: $\text{KL}(q \| p)$ in nats.

    probabilities (V,): p, of all answers; rewards (V,); q as in
    `best_of_n_probabilities`. 0 for n = 1, and never more than `best_of_n_kl_bound`.

    How: $\sum_i q_i \ln (q_i / p_i)$ over the answers that can occur.

    >>> round(best_of_n_kl(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 2.0]), 3), 4)
    0.3164
    """
    best = best_of_n_probabilities(probabilities, rewards, n)
    occurs = best > 0
    p = probabilities.double() / probabilities.double().sum()
    q, p = best[occurs], p[occurs]
    return float((q * (q / p).log()).sum())


def best_of_n_kl_bound(n: int) -> float:
    r"""What is often given for that KL: $\ln n - (n - 1)/n$.

    Exact only if no two draws are ever equally good. With few different answers the
    true value stays far below (Beirami et al. 2024).

    >>> round(best_of_n_kl_bound(64), 3)
    3.175
    """
    check_n(n)
    return math.log(n) - (n - 1) / n


# ---- what it earns, for every n from one pool


def best_of_n_weights(rewards: Tensor, n: int) -> Tensor:
    r"""How likely each answer of a pool is the best of n different ones of it.

    rewards (N,), n at most N. Returns (N,) with sum 1; equally good answers share.

    How: the i-th worst is the best of n in $\binom{i-1}{n-1}$ of all $\binom{N}{n}$
    draws; equal rewards get the mean of their places.

    >>> best_of_n_weights(torch.tensor([5.0, 1.0, 3.0]), 2)
    tensor([0.6667, 0.0000, 0.3333], dtype=torch.float64)
    """
    check_numbers(rewards, "reward")
    check_n(n)
    N = len(rewards)
    if n > N:
        raise ValueError(f"The pool has {N} answers: nobody can draw {n} of them.")
    shares = [share_of_place(i, N, n) for i in range(1, N + 1)]
    weights = torch.tensor(shares, dtype=torch.float64)  # of the worst first
    values, places = rewards.unique(return_inverse=True)  # sorted
    counts = places.bincount(minlength=len(values))
    total = torch.zeros(len(values), dtype=torch.float64)
    by_rank = places.sort().values  # the i-th worst has this value
    total.index_add_(0, by_rank, weights)
    return (total / counts)[places]


@cache
def share_of_place(i: int, N: int, n: int) -> float:
    r"""The i-th worst of N is the best of n: $\binom{i-1}{n-1}/\binom{N}{n}$.

    >>> share_of_place(3, N=3, n=2)
    0.6666666666666666
    """
    return math.comb(i - 1, n - 1) / math.comb(N, n)


def expected_best(rewards: Tensor, n: int, values: Tensor | None = None) -> float:
    """What the best of n by these rewards is worth on average, from a pool (N,).

    values (N,): what is averaged, such as the true scores; None = the rewards
    themselves. No luck is left but that of the pool.

    >>> pool, true = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 6.0, 3.0])
    >>> expected_best(pool, 2), expected_best(pool, 2, true)
    (2.6666666666666665, 4.0)
    """
    values = rewards if values is None else values
    assert values.shape == rewards.shape, f"{values.shape=} {rewards.shape=}"
    check_numbers(values, "value")
    return float((best_of_n_weights(rewards, n) * values.double()).sum())


class Curve(NamedTuple):
    """What obeying a learned reward brings, by n: means over all prompts."""

    n: list[int]
    learned: list[float]  # the reward that is obeyed
    true: list[float]  # the score that was meant
    kl: list[float]  # exact for the pool, each answer 1/N


def best_of_n_curve(learned: Tensor, true: Tensor, ns: Iterable[int]) -> Curve:
    """Learned reward and true score of the best of n, for several n at once.

    learned and true (P, N): N answers to each of P prompts. The KL is from the pool
    and cannot pass ln N.

    >>> pools = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 4.0]])
    >>> best_of_n_curve(*pools, [1, 2])[:3]
    ([1, 2], [1.5, 2.0], [4.5, 4.0])
    """
    assert learned.shape == true.shape, f"one shape: {learned.shape=} {true.shape=}"
    if learned.ndim != 2 or learned.numel() == 0:
        raise ValueError(
            f"The pool is answers by prompts, (P, N), not {tuple(learned.shape)}."
        )
    ns, P = list(ns), len(learned)
    even = torch.full(learned.shape[1:], 1 / learned.shape[1], dtype=torch.float64)
    curve = Curve(ns, [], [], [])
    for n in ns:
        pools = list(zip(learned, true, strict=True))
        curve.learned.append(sum(expected_best(r, n) for r, _ in pools) / P)
        curve.true.append(sum(expected_best(r, n, t) for r, t in pools) / P)
        curve.kl.append(sum(best_of_n_kl(even, r, n) for r, _ in pools) / P)
    return curve
