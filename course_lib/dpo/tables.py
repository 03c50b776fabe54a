r"""DPO where everything can be computed: a prompt with a handful of answers.

Here the best policy on a leash is a formula, its partition function a sum, and a
loss an exact mean over every comparison. So one can see what "equivalent to RLHF"
takes: preferences of the Bradley–Terry kind, every pair compared, endless data. With
labels that never vary DPO leaves the leash at any beta (Azar et al. 2023, section
4.2), and where answers share features, both answers of a pair may lose to a third
(Razin et al. 2024). Left out: sampled comparisons and their noise.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.dpo.losses import dpo_loss


def optimal_policy(ref: Tensor, rewards: Tensor, beta: float) -> Tensor:
    r"""The best policy on a leash: $\pi^* = \pi_\text{ref}\, e^{r/\beta} / Z$.

    ref: probabilities of all answers to each prompt, (..., A); rewards (..., A).
    beta above 0: the price of a nat of straying. Returns probabilities (..., A). An
    answer that the reference never gives stays impossible, whatever it would earn.

    How: log ref plus rewards over beta, then a softmax: the sum in its denominator
    is $Z$, and no exponential overflows.

    >>> optimal_policy(torch.tensor([0.75, 0.25]), torch.tensor([0.0, 1.0]), 1.0)
    tensor([0.5246, 0.4754])
    """
    assert ref.shape == rewards.shape, f"{ref.shape=} {rewards.shape=}"
    assert beta > 0, f"without a price the best answer takes all: {beta=}"
    return (ref.log() + rewards / beta).softmax(dim=-1)


def log_partition(ref: Tensor, rewards: Tensor, beta: float) -> Tensor:
    r"""What makes the optimum sum to 1: $\log \sum_y \pi_\text{ref}\, e^{r/\beta}$.

    ref, rewards (..., A). Returns (...): one number for each prompt, the same for
    all of its answers. For a real model the sum has more terms than can be counted.

    >>> log_partition(torch.tensor([0.5, 0.5]), torch.tensor([3.0, 3.0]), beta=1.5)
    tensor(2.)
    """
    assert ref.shape == rewards.shape, f"{ref.shape=} {rewards.shape=}"
    return (ref.log() + rewards / beta).logsumexp(dim=-1)


def bradley_terry_table(rewards: Tensor) -> Tensor:
    r"""How often answer i beats answer j, in the long run: $\sigma(r_i - r_j)$.

    rewards (A,). Returns (A, A) with 0 on the diagonal: nothing meets itself.

    >>> bradley_terry_table(torch.tensor([1.0, 1.0]))
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]])
    """
    gaps = rewards.unsqueeze(1) - rewards.unsqueeze(0)  # (A, A)
    return gaps.sigmoid().fill_diagonal_(0.0)


def one_way_table(rewards: Tensor) -> Tensor:
    """Each pair labelled once, for its better answer, as data sets have it: (A, A).

    >>> one_way_table(torch.tensor([2.0, 1.0]))
    tensor([[0., 1.],
            [0., 0.]])
    """
    return (rewards.unsqueeze(1) > rewards.unsqueeze(0)).to(rewards.dtype)


def learn_table(
    ref_logits: Tensor,
    wins: Tensor,
    steps: int,
    lr: float,
    loss: Callable[..., Tensor] = dpo_loss,
    features: Tensor | None = None,
) -> Tensor:
    r"""Exact descent on a loss over all comparisons: policies (steps + 1, A).

    ref_logits (A,): the reference, where the policy begins. wins (A, A): how often i
    was preferred to j; 0 where they were never compared. loss: as `dpo_loss`.
    features (A, K): what answers have in common; the logits are $z_\text{ref} + Fw$
    and $w$ is learned. None: nothing, each answer has a logit of its own.
    """
    assert wins.shape == (len(ref_logits),) * 2, f"{wins.shape=} {ref_logits.shape=}"
    if features is None:
        features = torch.eye(len(ref_logits), dtype=ref_logits.dtype)
    chosen, rejected = wins.nonzero(as_tuple=True)
    shares = wins[chosen, rejected] / wins.sum()
    ref = ref_logits.log_softmax(dim=-1)
    w = torch.zeros_like(features[0], requires_grad=True)
    policies = [ref.exp()]
    for _ in range(steps):
        logprobs = (ref_logits + features @ w).log_softmax(dim=-1)
        losses = loss(logprobs[chosen], logprobs[rejected], ref[chosen], ref[rejected])
        (gradient,) = torch.autograd.grad((shares * losses).sum(), w)
        with torch.no_grad():
            w -= lr * gradient
            policies.append((ref_logits + features @ w).softmax(dim=-1))
    return torch.stack(policies)
