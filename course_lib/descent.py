"""One step downhill: how large it is, how long its gradient, which weights shrink.

The learning rate is a function of the step, as data are, so a run can be continued.
AdamW is that of Loshchilov and Hutter (2019) as torch writes it, the cosine theirs
(2017, eq. 5), clipping that of Pascanu et al. (2013, section 3.2). Left out: other
optimizers, and rates or limits that adapt to what happened.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def learning_rate(
    step: int, total: int, peak: float, warm_up: int = 10, decay: float = 0.5
) -> float:
    """Up in a line, then constant, then down in a line to almost nothing.

    step runs from 0 to total - 1. The first `warm_up` steps rise to the peak, the
    last `decay` (a share of all steps) fall; no step has rate 0.

    How: the smallest of three lines, all times the peak.

    >>> [learning_rate(step, 8, peak=1.0, warm_up=2) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    up = (step + 1) / max(1, warm_up)
    down = (total - step) / max(1, decay * total)
    return peak * min(up, 1.0, down)


def cosine_learning_rate(
    step: int, total: int, peak: float, warm_up: int = 10, floor: float = 0.0
) -> float:
    r"""Up in a line, then down along half a cosine to `floor` times the peak.

    After the warm-up: $f + (1 - f)(1 + \cos \pi x)/2$, where $x$ runs from 0 to 1
    over the remaining steps and $f$ is the floor.

    >>> [round(cosine_learning_rate(step, 4, 1.0, warm_up=0), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    x = (step - warm_up) / (total - warm_up)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * x)) / 2)


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    r"""Shorten the gradient $g$ of all parameters together to length `limit` at most.

    Its direction stays. Changes every `.grad` in place; parameters without one
    are left out. Returns the length before: $\lVert g \rVert$, a scalar tensor.

    How: multiply by $\min(1, limit / \lVert g \rVert)$.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients([weight], limit=1.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    length = torch.stack([gradient.norm() for gradient in gradients]).norm()
    factor = (limit / length).clamp(max=1)
    for gradient in gradients:
        gradient *= factor
    return length


def weight_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """What decays and what does not: matrices do, norms' gains and biases do not.

    Two groups as torch's optimizers expect them. Frozen parameters are in neither.

    >>> [len(group["params"]) for group in weight_groups(torch.nn.Linear(3, 2), 0.1)]
    [1, 1]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained, "every parameter is frozen: there is nothing to train"
    matrices = [p for p in trained if p.ndim >= 2]
    vectors = [p for p in trained if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def adamw(
    model: nn.Module,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
) -> torch.optim.AdamW:
    """AdamW over the parameters that are not frozen, all in one fused kernel."""
    groups = weight_groups(model, weight_decay)
    return torch.optim.AdamW(groups, betas=betas, fused=True)
