r"""Losses that need no reference, and one that needs no pairs: SimPO, ORPO, KTO.

SimPO compares mean log-probabilities and asks for a margin (Meng et al. 2024, eq.
6). ORPO is fine-tuning on the chosen answers with a push on the odds (Hong et al.
2024, eq. 6 and 7). KTO takes answers one by one, each with a thumb up or down, and
compares with a reference and with how far the policy has strayed (Ethayarajh et al.
2024, eq. 7). One loss for each pair, or answer, (B,), to be minimised. What stands
behind the star is given by name, so that a reference is never taken for a setting.
Left out: weights learned for good and bad answers.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib.dpo.losses import check_same

ALMOST_SURE = (
    -1e-6
)  # a token's mean log-probability beyond which odds are not told apart


# ---- without a reference


def simpo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    *,
    beta: float = 2.0,
    margin: float = 0.5,
) -> Tensor:
    r"""Length counts for nothing, and a lead is asked for.

    chosen_logprobs, rejected_logprobs (B,): *means* over the tokens of an answer,
    whose difference is $\Delta$. margin $\gamma$: the lead, in the units of
    $\beta\Delta$.

    How: $-\log \sigma(\beta\Delta - \gamma)$.

    >>> simpo_loss(torch.tensor([-1.0]), torch.tensor([-1.25]))
    tensor([0.6931])
    """
    check_same(chosen=chosen_logprobs, rejected=rejected_logprobs)
    return -logsigmoid(beta * (chosen_logprobs - rejected_logprobs) - margin)


def log_odds(logprobs: Tensor) -> Tensor:
    r"""The logarithm of the odds $p / (1 - p)$, from $\log p$.

    logprobs below 0, of any shape, which is returned; 0 where p is one half. Odds of
    what is certain are infinite: log-probabilities above -1e-6 count as -1e-6.

    How: $\log p - \log(1 - p)$, where $1 - p$ is minus `expm1` of log p: exact for
    small p, where 1 - p rounds to 1, and for p near 1.

    >>> log_odds(torch.tensor([0.5, 0.75]).log())
    tensor([0.0000, 1.0986])
    """
    held = logprobs.clamp(max=ALMOST_SURE)
    return held - (-torch.expm1(held)).log()


def orpo_loss(
    chosen_logprobs: Tensor, rejected_logprobs: Tensor, *, weight: float = 0.1
) -> Tensor:
    r"""Learn the chosen answer, and prefer it by its odds.

    chosen_logprobs, rejected_logprobs (B,): *means* over the tokens of an answer.
    weight: $\lambda$, of the second term. Returns (B,). The first term holds the
    chosen answer up, so no reference is needed.

    How: $-\log p_c - \lambda \log \sigma(\text{log-odds}_c - \text{log-odds}_r)$.

    >>> even = torch.tensor([0.5]).log()
    >>> orpo_loss(even, even, weight=1.0)
    tensor([1.3863])
    """
    check_same(chosen=chosen_logprobs, rejected=rejected_logprobs)
    lead = log_odds(chosen_logprobs) - log_odds(rejected_logprobs)
    return -chosen_logprobs - weight * logsigmoid(lead)


# ---- without pairs


def kto_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    desirable: Tensor,
    kl: Tensor | float = 0.0,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    r"""Thumbs up, thumbs down: each answer against its reference, one by one.

    logprobs, ref_logprobs (B,) of single answers; desirable (B,): True = a good one.
    kl $z_0$: how far the policy has strayed in general, as `reference_point` has it;
    no gradient flows into it. Returns (B,), from 0 to the answer's weight: half of
    it at the reference, and next to no push where the answer is far beyond either
    way.

    How: the lead is $\log\pi/\pi_\text{ref} - z_0$ for a good answer, minus that for
    a bad one; the loss is the weight times $1 - \sigma(\beta \cdot \text{lead})$.

    >>> up, zero = torch.tensor([True, False]), torch.zeros(2)
    >>> kto_loss(torch.tensor([2.0, 2.0]), zero, up, beta=1.0)
    tensor([0.1192, 0.8808])
    """
    check_same(logprobs=logprobs, ref_logprobs=ref_logprobs, desirable=desirable)
    assert desirable.dtype == torch.bool, f"True = a good answer: {desirable.dtype=}"
    gained = logprobs - ref_logprobs - torch.as_tensor(kl).detach()
    lead = torch.where(desirable, gained, -gained)
    weights = torch.where(desirable, desirable_weight, undesirable_weight)
    return weights * (-beta * lead).sigmoid()  # 1 - sigmoid(x) is sigmoid(-x)


def reference_point(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    r"""KTO's $z_0$: the mean log-ratio of answers to *other* prompts, at least 0.

    logprobs, ref_logprobs (B,): of answers set behind prompts that they do not
    belong to. Returns a scalar without gradient: a biased but cheap stand-in for a
    KL.

    >>> reference_point(torch.tensor([-1.0, -4.0]), torch.tensor([-2.0, -4.0]))
    tensor(0.5000)
    """
    check_same(logprobs=logprobs, ref_logprobs=ref_logprobs)
    return (logprobs - ref_logprobs).mean().clamp(min=0).detach()


def kto_pair_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    beta: float = 0.1,
    kl: Tensor | float = 0.0,
) -> Tensor:
    """`kto_loss` of both answers of each pair, added: for a trainer that has pairs.

    Shapes as in `dpo_loss`. With kl 0 this is the loss that TRL calls "apo_zero":
    each answer is measured against its own reference, so a chosen one has to rise.

    >>> zero = torch.zeros(1)
    >>> kto_pair_loss(zero, zero, zero, zero)
    tensor([1.])
    """
    good = torch.ones_like(chosen_logprobs, dtype=torch.bool)
    up = kto_loss(chosen_logprobs, ref_chosen_logprobs, good, kl, beta)
    return up + kto_loss(rejected_logprobs, ref_rejected_logprobs, ~good, kl, beta)
