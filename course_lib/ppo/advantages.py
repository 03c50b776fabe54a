r"""From rewards to what every token brought: the credit of each step.

A response gets one reward, at its end; and each of its tokens pays for straying from
the reference model, which keeps the text near human language (Ziegler et al. 2019,
eq. 2). A critic's values say what was to be expected, and generalised advantage
estimation (Schulman et al. 2016, eq. 16) mixes what came with what was expected. In
all: one number per token of the responses, (B, T), and `response_mask` (B, T), True =
a token that the model chose; these stand at the left of each row, padding follows.
Left out: responses that are cut off count as ended, nothing is expected behind them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.logprobs import k1
from course_lib.ppo.losses import check_tokens


def kl_shaped_rewards(
    rewards: Tensor, logprobs: Tensor, ref_logprobs: Tensor, response_mask: Tensor,
    kl_coef: float,
) -> Tensor:  # fmt: skip
    r"""A reward per token: the price of straying at each, the response's at its last.

    rewards (B,): one per response. logprobs and ref_logprobs (B, T): of its tokens,
    by the policy that wrote them and by the reference, as numbers. Returns (B, T), 0
    where the mask is False; the price of a token is
    $\beta(\log\pi - \log\pi_\text{ref})$, $\beta$ = kl_coef.

    How: the penalty at every kept token; then add each response's reward at its last
    kept token.

    >>> logprobs, ref = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-2.0, -1.0]])
    >>> mask = torch.tensor([[True, True]])
    >>> kl_shaped_rewards(torch.tensor([1.0]), logprobs, ref, mask, kl_coef=0.5)
    tensor([[-0.5000,  1.0000]])
    """
    check_rewards(rewards, response_mask)
    penalties = kl_coef * k1(logprobs, ref_logprobs).detach()  # (B, T)
    shaped = (-penalties).masked_fill(~response_mask, 0.0)
    last = last_token(response_mask).unsqueeze(1)  # (B, 1)
    return shaped.scatter_add(1, last, rewards.unsqueeze(1).to(shaped.dtype))


def last_token(response_mask: Tensor) -> Tensor:
    """The place of the last kept token of each row, (B,).

    How: number the places from 1, blank those that do not count, take the largest.

    >>> last_token(torch.tensor([[True, True, False], [True, False, False]]))
    tensor([1, 0])
    """
    check_tokens(response_mask)
    places = torch.arange(response_mask.shape[1], device=response_mask.device)
    return (places * response_mask).argmax(dim=1)


def gae(
    rewards: Tensor, values: Tensor, response_mask: Tensor,
    discount: float = 1.0, lam: float = 0.95,
) -> Tensor:  # fmt: skip
    r"""How much better than expected: $A_t = \sum_k (\gamma\lambda)^k \delta_{t+k}$.

    rewards (B, T) after each token; values (B, T), expected before it; nothing is
    expected after the last kept one. Returns advantages (B, T), 0 where the mask is
    False. Advantages plus values are the returns that a critic should learn.

    How: one step's surprise is $\delta_t = r_t + \gamma V_{t+1} - V_t$. From the
    right, $A_t = \delta_t + \gamma\lambda A_{t+1}$. Lambda 0 leaves the surprise alone;
    with 1 it is the discounted sum of all rewards from here on, minus $V_t$.

    >>> rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.25]])
    >>> mask = torch.tensor([[True, True]])
    >>> gae(rewards, values, mask, lam=0.0), gae(rewards, values, mask, lam=1.0)
    (tensor([[-0.2500,  0.7500]]), tensor([[0.5000, 0.7500]]))
    """
    check_tokens(response_mask, rewards=rewards, values=values)
    values = values.detach().masked_fill(~response_mask, 0.0)  # (B, T)
    advantages = torch.zeros_like(values)
    later = expected = torch.zeros_like(values[:, 0])  # A and V of the next token
    for t in reversed(range(values.shape[1])):
        surprise = rewards[:, t] + discount * expected - values[:, t]
        later = surprise + discount * lam * later
        later = later.where(response_mask[:, t], 0.0)
        advantages[:, t], expected = later, values[:, t]
    return advantages


def rewards_to_go(
    rewards: Tensor, response_mask: Tensor, discount: float = 1.0
) -> Tensor:
    r"""What came from each token on: $R_t = \sum_k \gamma^k r_{t+k}$, (B, T).

    The weights of REINFORCE without a critic: what came before a token is not to its
    credit.

    >>> mask = torch.tensor([[True, True]])
    >>> rewards_to_go(torch.tensor([[1.0, 2.0]]), mask, discount=0.5)
    tensor([[2., 2.]])
    """
    nothing = torch.zeros_like(rewards)
    return gae(rewards, nothing, response_mask, discount, lam=1.0)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    r"""What of the returns' spread was foreseen: $1 - \sigma^2(R - V)/\sigma^2(R)$.

    All (B, T). 1 = everything, 0 = no more than a constant would, below 0 = less.
    Returns without any spread give 0.

    >>> values, returns = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]])
    >>> explained_variance(values, returns, torch.tensor([[True, True]]))
    tensor(0.7500)
    """
    check_tokens(mask, values=values, returns=returns)
    spread = returns[mask].var(correction=0)
    missed = (returns - values)[mask].var(correction=0)
    return torch.where(spread > 0, 1 - missed / spread, torch.zeros_like(spread))


@dataclass(frozen=True)
class AdaptiveKL:
    """Turn the price of straying up or down until the divergence is as wished.

    Ziegler et al. 2019, section 2.2: a controller that multiplies. Called with the
    price and with what was measured, it returns the price of the next batch.
    """

    target: float  # nats per response
    gain: float = 0.1  # how fast
    limit: float = 0.2  # of the relative error that is answered to

    def __post_init__(self):
        if not self.target > 0:
            raise ValueError(f"The target is some nats above 0, not {self.target}.")

    def __call__(self, kl_coef: float, kl: float) -> float:
        r"""$\beta(1 + g e)$ with $e = KL / \text{target} - 1$, held within the limit.

        >>> AdaptiveKL(target=2.0)(kl_coef=0.5, kl=3.0)
        0.51
        """
        error = kl / self.target - 1
        return kl_coef * (1 + self.gain * min(max(error, -self.limit), self.limit))


def check_rewards(rewards: Tensor, response_mask: Tensor) -> None:
    """Refuse rewards that are no numbers, or not one for each response."""
    check_tokens(response_mask)
    if rewards.shape != response_mask.shape[:1]:
        raise ValueError(
            f"One reward per response: {len(response_mask)} responses, rewards of "
            f"shape {tuple(rewards.shape)}."
        )
    wrong = (~rewards.isfinite()).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"The reward of response {wrong[0]} is {rewards[wrong[0]].item()}: "
            "one such number would make every weight of the model nan."
        )
