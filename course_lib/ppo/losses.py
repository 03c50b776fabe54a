r"""What is minimised so that rewarded answers become likelier.

REINFORCE (Williams 1992) raises the log-probability of what was done in proportion to
its advantage. PPO (Schulman et al. 2017, eq. 7) takes several steps on one batch of
answers, so it weighs each token by how much its probability has changed since, and
stops a token's push where that change is large. In all: one number per token of the
responses, (B, T); `mask` is the `response_mask`, True = a token that the model chose;
a mean is over the kept tokens of the whole batch. Everything is minimised. Left out:
clips that differ for rises and falls, and ratios of whole sequences.
"""

import torch
from torch import Tensor

from course_lib.logprobs import entropy
from course_lib.masks import masked_mean


def reinforce_loss(logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    r"""Minus the mean of $\log \pi(a_t)\, A_t$: downhill on it is REINFORCE.

    logprobs (B, T) with gradient; advantages (B, T), what each token brought, as
    numbers: no gradient flows into them. Returns a scalar; its value says nothing.

    How: the mean over kept tokens of logprobs times detached advantages, negated,
    since an optimizer goes downhill.

    >>> logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    >>> mask = torch.tensor([[True, True]])
    >>> reinforce_loss(logprobs, torch.tensor([[3.0, -1.0]]), mask).backward()
    >>> logprobs.grad
    tensor([[-1.5000,  0.5000]])
    """
    check_tokens(mask, logprobs=logprobs, advantages=advantages)
    return -masked_mean(logprobs * advantages.detach(), mask)


def policy_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    r"""How much likelier each token is now: $\rho_t = \pi(a_t)/\pi_\text{old}(a_t)$.

    logprobs with gradient, old_logprobs as they were when the tokens were drawn,
    both (B, T). Returns (B, T): 1 everywhere before the first step.

    How: the exponential of the difference, token by token; no sum and no mean.

    >>> policy_ratio(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.0, -3.0]]))
    tensor([[1.0000, 2.7183]])
    """
    assert logprobs.shape == old_logprobs.shape, (
        f"one number per token each: {logprobs.shape=} {old_logprobs.shape=}"
    )
    return (logprobs - old_logprobs.detach()).exp()


def clipped_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor,
    clip_eps: float = 0.2,
) -> Tensor:  # fmt: skip
    r"""PPO's loss: minus the mean of $\min(\rho_t A_t,\; \text{clip}(\rho_t) A_t)$.

    logprobs (B, T) with gradient; old_logprobs and advantages (B, T), as numbers.
    clip_eps: how far from 1 the ratio may move and still be pushed further. Returns
    a scalar.

    How: clip(rho) is rho between 1 - eps and 1 + eps. The smaller of the two products
    counts, so only a ratio that has already gone the way its advantage wants is
    held; one that has gone the wrong way is called back with full force.

    >>> logprobs = torch.tensor([[1.8, 1.8, 0.4, 0.4]]).log().requires_grad_()
    >>> advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    >>> mask = torch.ones(1, 4, dtype=torch.bool)
    >>> old = torch.zeros(1, 4)
    >>> clipped_policy_loss(logprobs, old, advantages, mask).backward()
    >>> 4 * logprobs.grad
    tensor([[ 0.0000,  1.8000, -0.4000,  0.0000]])
    """
    check_tokens(mask, logprobs=logprobs, old=old_logprobs, advantages=advantages)
    ratio, advantages = policy_ratio(logprobs, old_logprobs), advantages.detach()
    clipped = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    objective = torch.minimum(ratio * advantages, clipped * advantages)  # (B, T)
    return -masked_mean(objective, mask)


def clip_fraction(
    ratio: Tensor, advantages: Tensor, mask: Tensor, clip_eps: float = 0.2
) -> Tensor:
    """The share of tokens that no longer push, because the clip holds them.

    ratio, advantages and mask (B, T). A ratio outside of the range counts only where
    its advantage would push it further out.

    >>> ratio = torch.tensor([[1.8, 1.8, 0.4, 1.0]])
    >>> advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    >>> clip_fraction(ratio, advantages, torch.ones(1, 4, dtype=torch.bool))
    tensor(0.2500)
    """
    risen = (ratio > 1 + clip_eps) & (advantages > 0)
    fallen = (ratio < 1 - clip_eps) & (advantages < 0)
    return masked_mean((risen | fallen).float(), mask)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor,
    clip_eps: float = 0.2,
) -> Tensor:  # fmt: skip
    r"""Half the mean square of value minus return, the larger of two.

    values (B, T) with gradient; old_values as they were before the first step on
    this batch; returns, what really came. The second square is that of the value held
    within clip_eps of its old one: a value gains nothing by moving further in one
    batch. Returns a scalar. Scale: clip_eps is in the units of the rewards.

    How: $\frac12\max((v - R)^2, (v_\text{clip} - R)^2)$, v_clip between
    v_old - eps and v_old + eps.

    >>> one, old = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    >>> clipped_value_loss(one, old, returns=one, mask=torch.tensor([[True]]))
    tensor(0.3200)
    """
    check_tokens(mask, values=values, old_values=old_values, returns=returns)
    held = values.clamp(old_values - clip_eps, old_values + clip_eps)
    errors = torch.maximum((values - returns) ** 2, (held - returns) ** 2)
    return masked_mean(errors, mask) / 2


def whiten(advantages: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    r"""Mean 0 and spread 1 over what is kept: $(A - \bar A) / (\sigma + \epsilon)$.

    advantages and mask (B, T). Returns (B, T), 0 where the mask is False. $\sigma$
    is the sample's (ddof 1), as in torch and TRL. Equal advantages, or a single one,
    give 0 and not nan.

    How: mean and spread over what the mask keeps, of all rows together.

    >>> whiten(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor([[-0.7071,  0.7071,  0.0000]])
    """
    check_tokens(mask, advantages=advantages)
    centred = (advantages - masked_mean(advantages, mask)).masked_fill(~mask, 0.0)
    count = (mask.sum() - 1).clamp(min=1)
    spread = ((centred**2).sum() / count).sqrt()
    return centred / (spread + eps)


def entropy_bonus(logits: Tensor, mask: Tensor) -> Tensor:
    """The mean entropy of the kept positions, in nats: how undecided the policy is.

    logits (B, T, V), those that the tokens were drawn from. Subtracted from the loss
    it keeps a policy from deciding too early.

    >>> entropy_bonus(torch.zeros(1, 1, 8), torch.tensor([[True]])).exp()
    tensor(8.0000)
    """
    return masked_mean(entropy(logits), mask)


def check_tokens(mask: Tensor, **numbers: Tensor) -> None:
    """Refuse tensors that do not belong together, and responses without a token."""
    for name, tensor in numbers.items():
        if tensor.shape != mask.shape:
            raise ValueError(
                f"{name} and mask have one number per token each: "
                f"{tuple(tensor.shape)} and {tuple(mask.shape)}."
            )
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is boolean, True keeps, not {mask.dtype}.")
    if not len(mask):
        raise ValueError("There are no responses.")
    empty = (~mask.any(dim=-1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"Response {empty[0]} has no token that counts: every row of the mask "
            "needs a True."
        )
