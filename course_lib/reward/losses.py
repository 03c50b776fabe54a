r"""From comparisons to points: the Bradley–Terry model and its loss.

Bradley and Terry (1952) give every competitor a strength and let the gap decide:
$P(a \text{ beats } b) = \sigma(r_a - r_b)$. The reward model is the strength, and
its loss is how surprised it is by the labels (Ouyang et al. 2022, eq. 1). Only gaps
occur, so rewards have no zero of their own: adding 100 to all of them changes
nothing. Margins are those of Llama 2 (Touvron et al. 2023, eq. 2). Left out: losses
on whole rankings (Plackett–Luce), and regression to points.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


def check_numbers(values: Tensor, what: str) -> None:
    """Refuse an empty row, and one in which something is no number, in one sentence.

    >>> check_numbers(torch.tensor([0.5, float("nan")]), "reward")
    Traceback (most recent call last):
    ValueError: The reward at place 1 is nan.
    """
    if values.numel() == 0:
        raise ValueError(f"There is no {what} at all.")
    broken = (~values.isfinite()).flatten().nonzero()
    if len(broken):
        place = int(broken[0])
        raise ValueError(f"The {what} at place {place} is {values.flatten()[place]}.")


def preferred_probability(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    r"""How likely the first answer wins by Bradley and Terry: $\sigma(r_c - r_r)$.

    >>> preferred_probability(torch.tensor([2.0]), torch.tensor([2.0]))
    tensor([0.5000])
    """
    return (chosen_rewards - rejected_rewards).sigmoid()


def bradley_terry_loss(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    margins: Tensor | float = 0.0,
    smoothing: float = 0.0,
) -> Tensor:
    r"""How surprised the rewards are by each label, in nats.

    chosen_rewards, rejected_rewards (B,): of the better and of the worse answer.
    margins (B,): by how much the better one has to lead. smoothing: the share of
    labels that are taken to be wrong. Returns a loss for each pair, (B,), finite for
    any gap.

    How: $-(1-s) \log \sigma(\Delta - m) - s \log \sigma(m - \Delta)$, where $\Delta$
    is $r_c - r_r$; logsigmoid, since the log of a sigmoid may be minus infinity.

    >>> bradley_terry_loss(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 3.0]))
    tensor([0.6931, 0.1269])
    """
    assert chosen_rewards.shape == rejected_rewards.shape, (
        f"two rewards for each pair: {chosen_rewards.shape=} {rejected_rewards.shape=}"
    )
    assert 0 <= smoothing < 0.5, f"less than half of the labels: {smoothing=}"
    lead = chosen_rewards - rejected_rewards - margins
    return -(1 - smoothing) * logsigmoid(lead) - smoothing * logsigmoid(-lead)


def centring_penalty(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    r"""Holds the rewards near zero: $(r_c + r_r)^2$ for each pair, (B,).

    The loss itself does not care where zero is (Eisenstein et al. 2023, eq. 2).

    >>> centring_penalty(torch.tensor([3.0]), torch.tensor([-1.0]))
    tensor([4.])
    """
    return (chosen_rewards + rejected_rewards) ** 2


def pair_rewards(model: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The rewards of both answers of each pair, (B,) each, in one pass of the model.

    ids and mask (B, 2, T): the chosen answer first.
    """
    assert ids.shape[1:-1] == (2,), f"pairs are (B, 2, T): {ids.shape=}"
    rewards = model(ids.flatten(0, 1), mask.flatten(0, 1))  # (2B,)
    return rewards.unflatten(0, (-1, 2)).unbind(dim=1)


def pair_loss(
    model: nn.Module,
    ids: Tensor,
    mask: Tensor,
    *margins: Tensor,
    loss: Callable[..., Tensor] = bradley_terry_loss,
    centring: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """A loss function for `train`: one loss for each pair, and all of them count.

    ids and mask (B, 2, T), and margins (B,) if there are any, as `pair_batches`
    gives them. loss: rewards (and margins) to losses (B,). centring: how much the
    penalty of that name weighs.
    """
    chosen, rejected = pair_rewards(model, ids, mask)
    losses = loss(chosen, rejected, *margins)  # (B,)
    if centring:
        losses = losses + centring * centring_penalty(chosen, rejected)
    return losses, torch.ones_like(losses, dtype=torch.bool)
