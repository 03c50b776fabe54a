"""Several reward models instead of one: where they disagree, none of them knows.

Each was trained from another start, so each has mistakes of its own, and what is
good by all of them is less likely to be a mistake (Coste et al. 2023).
Rewards have neither zero nor unit of their own, so they are first measured in units
of the same reference texts. Left out: members that differ in their data or size, and
averages of weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.reward.losses import check_numbers


def standardise(rewards: Tensor, reference: Tensor) -> Tensor:
    r"""Rewards in units of a reference: $(r - \text{mean}) / \text{std}$ of that.

    rewards: any shape. reference (N,): rewards of the same model for texts that all
    models score, such as replies of the model before reinforcement. The standard
    deviation is that of a sample (ddof 1).

    >>> standardise(torch.tensor([3.0, 1.0]), reference=torch.tensor([0.0, 2.0]))
    tensor([1.4142, 0.0000])
    """
    check_numbers(reference, "reference reward")
    if reference.numel() < 2 or not reference.std() > 0:
        raise ValueError("The reference rewards are all equal: they give no unit.")
    return (rewards - reference.mean()) / reference.std()


def cautious(rewards: Tensor, caution: float = 1.0) -> Tensor:
    r"""What an ensemble dares to promise: $\bar r - c\,s$ over its members.

    rewards (M, N): of M members, already in one unit. caution c: 0 is the mean; s is
    the standard deviation of the members (ddof 0, so one member has 0). Returns
    (N,).

    >>> cautious(torch.tensor([[1.0, 2.0], [1.0, 0.0]]))
    tensor([1., 0.])
    """
    assert rewards.ndim == 2, f"members by texts: {rewards.shape=}"
    return rewards.mean(dim=0) - caution * rewards.std(dim=0, correction=0)


def worst(rewards: Tensor) -> Tensor:
    """The most sceptical member decides about each text: (M, N) to (N,).

    >>> worst(torch.tensor([[1.0, 2.0], [1.5, 0.0]]))
    tensor([1., 0.])
    """
    assert rewards.ndim == 2, f"members by texts: {rewards.shape=}"
    return rewards.min(dim=0).values


class Ensemble(nn.Module):
    """Reward models asked as one: ids and mask in, a reward per text out."""

    def __init__(
        self,
        members: Sequence[nn.Module],
        references: Sequence[Tensor],
        caution: float = 1.0,
    ):
        """references: for each member its rewards (N,) of the same texts."""
        super().__init__()
        if not members or len(members) != len(references):
            raise ValueError(
                f"Each member has its reference: {len(members)} members, "
                f"{len(references)} references."
            )
        self.members = nn.ModuleList(members)
        self.references, self.caution = list(references), caution

    def each(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What every member says, in units of its own reference: (M, B)."""
        pairs = zip(self.members, self.references, strict=True)
        said = [standardise(m(ids, mask), r.to(ids.device)) for m, r in pairs]
        return torch.stack(said)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean of the members, less what their disagreement costs: (B,)."""
        return cautious(self.each(ids, mask), self.caution)
