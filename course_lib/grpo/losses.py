r"""GRPO's loss, and where its relatives differ: how much a token counts.

Per token it is PPO's clipped objective (Shao et al. 2024, eq. 3), with the advantage
of the whole answer and perhaps a pull towards a reference. Then the tokens are added
up, each times a weight that depends on the lengths alone:

- GRPO: $1/(B\,|o_i|)$, every answer counts alike, so a token of a long one less;
- DAPO (Yu et al. 2025, section 3.3): $1/\sum_j |o_j|$, every token counts alike;
- Dr. GRPO (Liu et al. 2025): $1/(B\,L)$ with a constant L, alike in all batches too.

The weights are computed once, for the whole batch, so that answers may be left out
or come in pieces, and the sum is still that of the batch. Everything is minimised.
All is (B, T), one number per token of B answers; `mask` is the `response_mask`. Left
out: the ratio of whole sequences (GSPO), several turns.
"""

import torch
from torch import Tensor

from course_lib.logprobs import k3
from course_lib.masks import masked_sum
from course_lib.ppo.losses import check_tokens, policy_ratio

# ---- how much a token counts


def grpo_weights(mask: Tensor) -> Tensor:
    r"""Every answer counts alike, and so does each of its tokens: $1/(B\,|o_i|)$.

    mask (B, T). Returns (B, T), 0 where the mask is False; each row sums to 1/B.

    How: the mask as numbers, over each row's count, over the number of rows.

    >>> grpo_weights(torch.tensor([[True, True], [True, False]]))
    tensor([[0.2500, 0.2500],
            [0.5000, 0.0000]])
    """
    check_tokens(mask)
    return mask / mask.sum(dim=1, keepdim=True) / len(mask)


def dapo_weights(mask: Tensor) -> Tensor:
    r"""Every token counts alike: $1/\sum_j |o_j|$.

    mask (B, T). Returns (B, T), 0 where the mask is False; all together sum to 1.
    TRL calls this dapo over the whole batch, bnpo over a part of it.

    How: the mask as numbers, over the count of all kept tokens.

    >>> dapo_weights(torch.tensor([[True, True], [True, False]]))
    tensor([[0.3333, 0.3333],
            [0.3333, 0.0000]])
    """
    check_tokens(mask)
    return mask / mask.sum()


def dr_grpo_weights(mask: Tensor, new_tokens: int) -> Tensor:
    r"""Every token counts alike in every batch: $1/(B\,L)$.

    mask (B, T). new_tokens: L, a constant, such as the most tokens an answer may
    have. Returns (B, T), 0 where the mask is False.

    How: the mask as numbers, over rows times new_tokens: no length of an answer.

    >>> dr_grpo_weights(torch.tensor([[True, True], [True, False]]), new_tokens=5)
    tensor([[0.1000, 0.1000],
            [0.1000, 0.0000]])
    """
    check_tokens(mask)
    assert new_tokens > 0, f"an answer may have tokens: {new_tokens=}"
    return mask / (len(mask) * new_tokens)


# ---- what a token says


def clipped_objective(
    ratio: Tensor, advantages: Tensor, clip_eps: float = 0.2,
    clip_high: float | None = None,
) -> Tensor:  # fmt: skip
    r"""PPO's objective, token by token: $\min(\rho_t A,\; \text{clip}(\rho_t) A)$.

    ratio and advantages of shapes that broadcast, such as (B, T) and (B, 1). The
    clip holds r between 1 - clip_eps and 1 + clip_high; None = clip_eps above as
    well (DAPO takes 0.28 there, so that rare tokens may rise further). Returns the
    common shape. To be raised, not minimised.

    How: clamp the ratio, multiply both by the advantages, take the smaller product.

    >>> ratio = torch.tensor([1.4, 1.4, 0.4])
    >>> advantages = torch.tensor([1.0, -1.0, 1.0])
    >>> clipped_objective(ratio, advantages)
    tensor([ 1.2000, -1.4000,  0.4000])
    """
    above = clip_eps if clip_high is None else clip_high
    held = ratio.clamp(1 - clip_eps, 1 + above)
    return torch.minimum(ratio * advantages, held * advantages)


def grpo_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor,
    weights: Tensor | None = None, clip_eps: float = 0.2, *,
    clip_high: float | None = None, ref_logprobs: Tensor | None = None,
    kl_coef: float = 0.0, kl_correction: bool = False,
) -> Tensor:  # fmt: skip
    r"""Minus the weighted sum of $\min(\rho A, \text{clip}(\rho) A) - \beta k_3$.

    logprobs (B, T) with gradient; old_logprobs and ref_logprobs (B, T) and
    advantages (B,), one per answer, as numbers. weights (B, T): how much each token
    counts; None = `grpo_weights(mask)`. kl_coef: $\beta$, the price of straying from
    the reference. kl_correction: k3 times the ratio, TRL's default (see
    `kl_penalty`). Returns a scalar.

    How: the objective of each token's ratio and its answer's advantage, less kl_coef
    times `kl_penalty`; then the masked sum of it times the weights, negated.

    >>> logprobs = torch.tensor([[-1.0, -1.0], [-1.0, 0.0]], requires_grad=True)
    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> advantages = torch.tensor([1.0, -1.0])
    >>> grpo_loss(logprobs, logprobs.detach(), advantages, mask).backward()
    >>> logprobs.grad[mask]
    tensor([-0.2500, -0.2500,  0.5000])
    """
    check_answers(advantages, mask, logprobs=logprobs, old=old_logprobs)
    weights = grpo_weights(mask) if weights is None else weights
    ratio = policy_ratio(logprobs, old_logprobs)  # (B, T)
    pushes = advantages.detach().unsqueeze(1)  # (B, 1)
    objective = clipped_objective(ratio, pushes, clip_eps, clip_high)
    if kl_coef:
        drawn_by = old_logprobs if kl_correction else None
        penalty = kl_penalty(logprobs, ref_logprobs, drawn_by)
        objective = objective - kl_coef * penalty
    return -masked_sum(objective * weights, mask)


def kl_penalty(
    logprobs: Tensor, ref_logprobs: Tensor | None, old_logprobs: Tensor | None = None
) -> Tensor:
    r"""k3 of each token, and what its slope pulls at.

    All (B, T). Differentiated as it stands (DeepSeekMath's way), k3 has on average
    the gradient of $\text{KL}(\pi_\text{ref} \Vert \pi)$, although its value
    estimates $\text{KL}(\pi \Vert \pi_\text{ref})$. With old_logprobs, those of the
    drawing, it is multiplied by the ratio, and the gradient is that of what it
    estimates.

    >>> half, quarter = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log()
    >>> kl_penalty(half, quarter), kl_penalty(half, quarter, old_logprobs=quarter)
    (tensor([[0.1931]]), tensor([[0.3863]]))
    """
    if ref_logprobs is None:
        raise ValueError("A price of straying needs ref_logprobs, the reference's.")
    strayed = k3(logprobs, ref_logprobs.detach())
    if old_logprobs is None:
        return strayed
    return strayed * policy_ratio(logprobs, old_logprobs)


def cispo_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor,
    weights: Tensor | None = None, clip_eps: float = 4.0, *,
    ref_logprobs: Tensor | None = None, kl_coef: float = 0.0,
    kl_correction: bool = False,
) -> Tensor:  # fmt: skip
    r"""CISPO (MiniMax 2025, section 3.1): weights are held, no token is silenced.

    REINFORCE with the detached ratio, at most 1 + clip_eps, as a factor. Arguments
    as in `grpo_loss`, weights None = `dapo_weights(mask)`. Returns a scalar.

    >>> now = torch.tensor([[2.0]]).log().requires_grad_()
    >>> sure, old = torch.tensor([[True]]), torch.zeros(1, 1)
    >>> cispo_loss(now, old, torch.ones(1), sure, clip_eps=0.5).backward()
    >>> now.grad
    tensor([[-1.5000]])
    """
    check_answers(advantages, mask, logprobs=logprobs, old=old_logprobs)
    weights = dapo_weights(mask) if weights is None else weights
    held = policy_ratio(logprobs, old_logprobs).detach().clamp(max=1 + clip_eps)
    objective = held * advantages.detach().unsqueeze(1) * logprobs
    if kl_coef:
        drawn_by = old_logprobs if kl_correction else None
        penalty = kl_penalty(logprobs, ref_logprobs, drawn_by)
        objective = objective - kl_coef * penalty
    return -masked_sum(objective * weights, mask)


def check_answers(advantages: Tensor, mask: Tensor, **numbers: Tensor) -> None:
    """Refuse tensors that do not belong together."""
    check_tokens(mask, **numbers)
    if advantages.shape != mask.shape[:1]:
        raise ValueError(
            f"One advantage per answer: {len(mask)} answers, advantages of shape "
            f"{tuple(advantages.shape)}."
        )
