r"""Each answer against the others to its prompt: the group takes the critic's place.

GRPO (Shao et al. 2024, section 4.1.1) draws G answers to one prompt and says of each
how much better it is than their mean, in units of their spread; all tokens of an
answer share that number. A group in which all rewards are equal says nothing: its
advantages are 0, exactly, whatever rounding does. Dr. GRPO (Liu et al. 2025) leaves
the spread out, RLOO (Ahmadian et al. 2024) compares with the *other* answers. In
all: rewards are (P, G), P prompts with G answers each. Left out: rewards for single
steps.
"""

import torch
from torch import Tensor


def group_advantages(
    rewards: Tensor, eps: float = 1e-4, scale: bool = True, ddof: int = 1
) -> Tensor:
    r"""An answer against its own group: $A_i = (r_i - \bar r)/(\sigma + \epsilon)$.

    rewards (P, G): G answers to each of P prompts. Returns (P, G); rows sum to 0. A
    row of equal rewards, and so a group of one, gives 0 and not nan. scale: False
    leaves the division out (Dr. GRPO). ddof: 1 = the sample's spread, as in torch
    and TRL; 0 = the population's.

    How: rewards minus their row's mean, 0 in rows without spread; then divide by the
    row's spread plus eps: the root of the sum of squares over G - ddof.

    >>> group_advantages(torch.tensor([[1.0, 0.0], [7.0, 7.0]]), eps=0.0)
    tensor([[ 0.7071, -0.7071],
            [ 0.0000,  0.0000]])
    """
    check_groups(rewards)
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    # the mean of eight 0.1 is not 0.1: a tiny rest over a tiny spread would be large
    centred = centred.masked_fill(~differs(rewards).unsqueeze(1), 0.0)
    if not scale:
        return centred
    count = max(rewards.shape[1] - ddof, 1)
    spread = (centred.square().sum(dim=1, keepdim=True) / count).sqrt()
    return centred / torch.where(spread > 0, spread + eps, 1.0)


def leave_one_out(rewards: Tensor) -> Tensor:
    r"""Each answer against the others: $r_i - \frac{1}{G-1}\sum_{j\ne i} r_j$.

    rewards (P, G), G at least 2. Returns (P, G). It is $G/(G-1)$ times the
    difference from the mean of all: an answer that is compared with itself as well
    is praised too little, by that factor.

    How: sum of the row less the answer's own reward, over G - 1.

    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.3333, -0.3333, -0.3333]])
    """
    check_groups(rewards)
    others = rewards.shape[1] - 1
    if others < 1:
        raise ValueError("A group of one has no others to compare with.")
    return rewards - (rewards.sum(dim=1, keepdim=True) - rewards) / others


def differs(rewards: Tensor) -> Tensor:
    """Whether a group's rewards are not all one number: (P, G) to (P,), boolean.

    How: the largest is above the smallest; a computed spread may miss 0 by rounding.

    >>> differs(torch.tensor([[1.0, 0.0], [0.1, 0.1]]))
    tensor([ True, False])
    """
    return rewards.amax(dim=1) > rewards.amin(dim=1)


def chance_of_equals(p: float, G: int) -> float:
    r"""How often all of G answers are right, or all wrong: $p^G + (1-p)^G$.

    p: the chance that one answer is right. Such a group teaches nothing.

    >>> [round(chance_of_equals(p, G=8), 2) for p in (0.5, 0.9, 0.95)]
    [0.01, 0.43, 0.66]
    """
    if not (0 <= p <= 1 and G >= 1):
        raise ValueError(
            f"p lies between 0 and 1 and a group has an answer: {p=}, {G=}."
        )
    return p**G + (1 - p) ** G


def check_groups(rewards: Tensor) -> None:
    """Refuse what is no table of finite numbers, prompts by answers."""
    if rewards.ndim != 2 or not rewards.numel():
        raise ValueError(
            f"Rewards are prompts by answers, (P, G), not {tuple(rewards.shape)}."
        )
    wrong = (~rewards.isfinite()).nonzero().tolist()
    if wrong:
        row, column = wrong[0]
        raise ValueError(
            f"The reward of answer {column} to prompt {row} is "
            f"{rewards[row, column].item()}: it would make the whole group nan."
        )
