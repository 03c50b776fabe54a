r"""What is minimised so that preferred answers gain on rejected ones: DPO and kin.

The best policy on a leash is $\pi^* \propto \pi_\text{ref}\, e^{r/\beta}$. Turned
round, a policy *is* a reward, $r = \beta \log \pi / \pi_\text{ref}$ plus a number
for each prompt, and that number cancels in a comparison. So the loss of a reward
model trains the policy itself (Rafailov et al. 2023, eq. 7). Only the gap between
two answers is trained, not either of them. In all: log-probabilities of whole
answers, (B,), sums over their tokens in nats; what is returned is one loss for each
pair, (B,), to be minimised. Left out: rankings of more than two answers, and other
divergences than KL.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def implicit_rewards(
    logprobs: Tensor, ref_logprobs: Tensor, beta: float = 0.1
) -> Tensor:
    r"""The reward a policy stands for: $\hat r = \beta \log \pi / \pi_\text{ref}$.

    logprobs, ref_logprobs: of the same answers, in one shape, which is returned. 0
    where policy and reference agree. Only differences between answers to one prompt
    mean something.

    How: the difference of the logarithms times beta.

    >>> implicit_rewards(torch.tensor([-3.0]), torch.tensor([-5.0]), beta=0.5)
    tensor([1.])
    """
    check_same(logprobs=logprobs, ref_logprobs=ref_logprobs)
    return beta * (logprobs - ref_logprobs)


def dpo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    beta: float = 0.1,
    smoothing: float = 0.0,
) -> Tensor:
    r"""How surprised the policy, read as a reward, is by each label, in nats.

    All (B,): of the better and of the worse answer, by the policy and by the frozen
    reference. beta: a small one lets the policy go far from the reference.
    smoothing: the share of labels that are taken to be wrong. Returns a loss for
    each pair, (B,): ln 2 where policy and reference agree, finite for any gap.

    How: $-(1-s) \log \sigma(\beta\Delta) - s \log \sigma(-\beta\Delta)$ with
    $\Delta = \log(\pi_c/\pi_{\text{ref},c}) - \log(\pi_r/\pi_{\text{ref},r})$;
    logsigmoid, since the log of a sigmoid may be minus infinity.

    >>> chosen, rejected = torch.tensor([-4.0, -4.0]), torch.tensor([-6.0, -5.0])
    >>> dpo_loss(chosen, rejected, torch.tensor([-4.0, -5.0]), rejected, beta=1.0)
    tensor([0.6931, 0.3133])
    """
    check_same(
        chosen=chosen_logprobs, rejected=rejected_logprobs,
        ref_chosen=ref_chosen_logprobs, ref_rejected=ref_rejected_logprobs,
    )  # fmt: skip
    assert 0 <= smoothing < 0.5, f"less than half of the labels: {smoothing=}"
    chosen = chosen_logprobs - ref_chosen_logprobs
    rejected = rejected_logprobs - ref_rejected_logprobs
    lead = beta * (chosen - rejected)
    return -(1 - smoothing) * logsigmoid(lead) - smoothing * logsigmoid(-lead)


def implicit_accuracy(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
) -> Tensor:
    """How often the policy, read as a reward, agrees with the label.

    All (B,), as in `dpo_loss`. It agrees where the chosen answer has gained more on
    the reference than the rejected one has, whichever of the two is likelier. A tie
    counts one half, so the reference itself has 0.5. Returns a scalar, 0 to 1.

    How: compare what both have gained on the reference; 1, 0.5 or 0 for each pair,
    and the mean over the pairs.

    >>> rare, known = torch.tensor([-9.0]), torch.tensor([-10.0])
    >>> implicit_accuracy(rare, known / 10, known, known / 10)
    tensor(1.)
    """
    gaps = log_ratio_gaps(
        chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs
    )
    return ((gaps.sign() + 1) / 2).mean()


def gradient_weights(
    chosen_rewards: Tensor, rejected_rewards: Tensor, beta: float = 0.1
) -> Tensor:
    """How hard each pair pulls its chosen answer up and its rejected one down.

    chosen_rewards, rejected_rewards (B,): implicit ones. The gradient of `dpo_loss`
    is minus this weight by the chosen log-probability and plus it by the rejected
    one: a pair that is ranked wrong pulls with almost beta, one that is settled with
    almost nothing. Returns (B,), from 0 to beta; beta/2 at the reference.

    How: beta times the sigmoid of rejected minus chosen reward.

    >>> gradient_weights(torch.tensor([0.0, 3.0]), torch.zeros(2), beta=1.0)
    tensor([0.5000, 0.0474])
    """
    check_same(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    return beta * (rejected_rewards - chosen_rewards).sigmoid()


def log_ratio_gaps(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
) -> Tensor:
    r"""By how much the chosen answer has gained on the rejected one: $\Delta$, (B,).

    0 at the reference. Every loss below is a function of this number alone, so none
    of them says what either answer's probability shall be.

    >>> one, two = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> log_ratio_gaps(one, two, two, two)
    tensor([1.])
    """
    check_same(
        chosen=chosen_logprobs, rejected=rejected_logprobs,
        ref_chosen=ref_chosen_logprobs, ref_rejected=ref_rejected_logprobs,
    )  # fmt: skip
    chosen = chosen_logprobs - ref_chosen_logprobs
    return chosen - (rejected_logprobs - ref_rejected_logprobs)


def ipo_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    beta: float = 0.1,
) -> Tensor:
    r"""A gap to reach and not to exceed: $(\Delta - \frac{1}{2\beta})^2$.

    Shapes as in `dpo_loss`. A pair whose label never varies pushes DPO on for ever;
    here it comes to rest at a gap of $1/2\beta$ (Azar et al. 2023, eq. 17). The
    scale is that of the gap: with mean log-probabilities in place of sums, as in
    TRL, long answers have no larger gaps than short ones.

    How: the square of the gap of log-ratios less one over twice beta.

    >>> zero, gap = torch.zeros(2), torch.tensor([0.0, 5.0])
    >>> ipo_loss(gap, zero, zero, zero, beta=0.1)
    tensor([25.,  0.])
    """
    gaps = log_ratio_gaps(
        chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs
    )
    assert beta > 0, f"the gap to reach is 1 / (2 beta): {beta=}"
    return (gaps - 1 / (2 * beta)) ** 2


def hinge_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    beta: float = 0.1,
) -> Tensor:
    r"""Content once the lead is 1: $\max(0, 1 - \beta\Delta)$ (Zhao et al. 2023).

    Shapes as in `dpo_loss`. A pair with a lead of 1 pulls no more at all; every
    other pulls with beta.

    >>> zero, gap = torch.zeros(3), torch.tensor([-10.0, 0.0, 20.0])
    >>> hinge_loss(gap, zero, zero, zero)
    tensor([2., 1., 0.])
    """
    gaps = log_ratio_gaps(
        chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs
    )
    return (1 - beta * gaps).relu()


def robust_loss(
    chosen_logprobs: Tensor,
    rejected_logprobs: Tensor,
    ref_chosen_logprobs: Tensor,
    ref_rejected_logprobs: Tensor,
    beta: float = 0.1,
    flip: float = 0.1,
) -> Tensor:
    r"""On flipped labels on average what `dpo_loss` is on clean ones.

    Shapes as in `dpo_loss`. flip $\epsilon$: the share of labels that say the
    opposite. $\frac{(1-\epsilon)\,\ell(\Delta) - \epsilon\,\ell(-\Delta)}{1 -
    2\epsilon}$ with DPO's $\ell$ (Chowdhury et al. 2024): each pair is
    weighed up for those that it stands for, and a loss may be negative.

    >>> zero, gap = torch.zeros(2), torch.tensor([0.0, 50.0])
    >>> robust_loss(gap, zero, zero, zero)
    tensor([ 0.6931, -0.6183])
    """
    assert 0 <= flip < 0.5, f"less than half of the labels: {flip=}"
    gaps = log_ratio_gaps(
        chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs
    )
    as_said, opposite = -logsigmoid(beta * gaps), -logsigmoid(-beta * gaps)
    return ((1 - flip) * as_said - flip * opposite) / (1 - 2 * flip)


def check_same(**rows: Tensor) -> None:
    """Refuse log-probabilities that are missing or belong to other answers.

    >>> check_same(chosen=torch.zeros(3), rejected=torch.zeros(2))
    Traceback (most recent call last):
    ValueError: One number per answer, but there are chosen (3,), rejected (2,).
    """
    for name, row in rows.items():
        if not isinstance(row, torch.Tensor):
            raise ValueError(f"{name} is a row of log-probabilities, not {row!r}.")
    if len({row.shape for row in rows.values()}) > 1:
        found = ", ".join(f"{name} {tuple(row.shape)}" for name, row in rows.items())
        raise ValueError(f"One number per answer, but there are {found}.")
