"""Checks of lesson 06: how surprised two rewards are by a label.

Losses are worked out pair by pair from Python's own numbers, and gradients from
differences of these. The answers that prove the check are in `tests/answers/`.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from course_lib.checks.asking import (
    NO_GRADIENT,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.reward import losses


class Labelled(NamedTuple):
    """What the answer is asked about: rewards, margins and smoothing."""

    chosen: Tensor
    rejected: Tensor
    margins: Tensor | float = 0.0
    smoothing: float = 0.0


@check(
    losses.bradley_terry_loss,
    proved="Paper numbers, pair by pair for any rewards, margins and smoothing; gradients reach "
    "both rewards; and no gap is so wide that a loss or a gradient is not a number.",
)
def bradley_terry_loss(answer, draw):
    paper = [1.0, 5.0, 3.0, -2.0, -7.0], [1.0, 3.0, 5.0, -1.0, -7.5]
    _loss_compare(answer, Labelled(*map(torch.tensor, paper)))
    for B in (6, 1, 3):
        _loss_compare(answer, _drawn_rewards(draw, B))
    _loss_gaps(answer)
    for B, margins in ((5, None), (4, 1.5), (3, 2), (1, 0.5)):
        drawn = _drawn_rewards(draw, B)
        some = 3 * torch.rand(B, generator=draw) if margins is None else margins
        _loss_compare(answer, drawn._replace(margins=some))
    for B, smoothing in ((5, 0.1), (4, 0.3), (1, 0.2)):
        _loss_compare(answer, _drawn_rewards(draw, B)._replace(smoothing=smoothing))
    _loss_gaps(answer, smoothing=0.1)
    both = _drawn_rewards(draw, 6)
    both = both._replace(margins=2 * torch.rand(6, generator=draw), smoothing=0.2)
    _loss_compare(answer, both)
    _loss_of_any_type(answer, draw)
    _loss_gradients(answer, draw)


def _drawn_rewards(draw: torch.Generator, B: int, dtype=torch.float32) -> Labelled:
    """Rewards as `pair_rewards` cuts them from one block: views, not in one piece."""
    rewards = 2 * torch.randn(B, 2, generator=draw, dtype=dtype) + 1
    return Labelled(*rewards.unbind(1))


def _cost(lead: float) -> float:
    """What a label costs that is as likely as this lead says, without an overflow."""
    return max(-lead, 0.0) + math.log1p(math.exp(-abs(lead)))


def _doubled(margins: Tensor | float) -> Tensor:
    return torch.as_tensor(margins, dtype=torch.float64)


def _slowly(case: Labelled) -> Tensor:
    """Pair by pair."""
    margins = _doubled(case.margins).expand(len(case.chosen)).tolist()
    rewards = zip(case.chosen.tolist(), case.rejected.tolist(), strict=True)
    leads = [c - r - m for (c, r), m in zip(rewards, margins, strict=True)]
    s = case.smoothing
    losses = [(1 - s) * _cost(lead) + s * _cost(-lead) for lead in leads]
    return torch.tensor(losses, dtype=torch.float64)


def _loss_ask(answer, case: Labelled) -> Tensor:
    B = len(case.chosen)
    alone = "Each pair keeps its own loss: no mean and no sum over the batch."
    # fmt: off
    shapes = {
        (): alone if B > 1 else "A batch of one pair is a batch as well: (1,), no bare number.",
        (1,): alone,
        (B, 1): "A dimension was added.",
        (1, B): "A dimension was added.",
        (B, B): "Every chosen answer was compared with every rejected one. Each pair is compared within itself.",
        (2 * B,): "There is one number for each answer. Wanted is one for each pair.",
        (B, 2): "There is one number for each answer. Wanted is one for each pair.",
        (2, B): "There is one number for each answer. Wanted is one for each pair.",
    }
    # fmt: on
    shapes.pop((B,), None)
    options = {}
    if isinstance(case.margins, Tensor) or case.margins:
        options["margins"] = case.margins
    if case.smoothing:
        options["smoothing"] = case.smoothing
    before = torch.as_tensor(case.margins).clone()
    got = ask_tensor(
        answer, case.chosen, case.rejected, shape=(B,), shapes=shapes, **options
    )
    expect(
        before.equal(torch.as_tensor(case.margins)),
        "It changed the margins that it was given. Later lines still need them: work on a new tensor.",
    )
    expect(
        got.dtype == case.chosen.dtype,
        f"For rewards of type {case.chosen.dtype} the losses have the type {got.dtype}. Stay in the rewards' own "
        "type.",
    )
    return got


def _loss_compare(answer, case: Labelled) -> None:
    got = _loss_ask(answer, case).detach()
    want = _slowly(case)
    if close(got, want):
        return
    i = int((got.double() - want).abs().argmax())
    margin = float(torch.as_tensor(case.margins).expand(len(want))[i])
    shown = f"{case.chosen[i]:.4g} (chosen) and {case.rejected[i]:.4g} (rejected)"
    shown += f", margin {margin:.3g}" if margin else ""
    shown += f", smoothing {case.smoothing}" if case.smoothing else ""
    otherwise = (
        f"For the rewards {shown} the loss is {got[i]:.4g}; it should be {want[i]:.4g}."
    )
    expect(bool(got.isfinite().all()), otherwise)
    diagnose(got, want, _loss_mistakes(case), otherwise)


def _loss_mistakes(case: Labelled) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give; those with margins and smoothing only where there are any."""
    c, r, s = case.chosen.double(), case.rejected.double(), case.smoothing
    m = _doubled(case.margins).expand(len(c))
    with_margins = _margin_mistakes(c - r, m, s) if m.any() else {}
    with_smoothing = _smoothing_mistakes(c - r, m, s) if s else {}
    return {**with_smoothing, **with_margins, **_reward_mistakes(c, r, m, s)}


def _full(lead: Tensor, s: float) -> Tensor:
    return -(1 - s) * logsigmoid(lead) - s * logsigmoid(-lead)


def _reward_mistakes(c: Tensor, r: Tensor, m: Tensor, s: float) -> dict[str, tuple]:
    gap, lead, F, P = c - r, c - r - m, logsigmoid, torch.sigmoid
    want, full = _full(lead, s), partial(_full, s=s)
    # fmt: off
    return {
        "It is the wrong way round: the lower the chosen reward, the smaller is the loss. Which of the two should lead?":
            (full(-gap - m), full(-lead), -F(-lead), -F(-gap)),
        "The sign is missing: the log of a probability is negative, and a loss that is minimised has to fall as the "
        "label becomes likelier.": (-want, F(lead), F(-lead)),
        "That is a probability. The loss says how surprising the label is, in nats.":
            (P(lead), P(gap), -P(lead), P(-lead), P(-gap)),
        "It is in bits, or in another unit than nats: which logarithm is that?":
            (want / math.log(2), want / math.log(10)),
        "Rewards are drawn to fixed points, such as 1 and 0, by a squared error. Nobody gave points: people compared, "
        "and only the gap counts.":
            ((c - 1) ** 2 + r**2, ((c - 1) ** 2 + r**2) / 2, (c - 1) ** 2, (c - 1) ** 2 + (r + 1) ** 2,
             ((c - 1) ** 2 + (r + 1) ** 2) / 2, (P(c) - 1) ** 2 + P(r) ** 2),
        "That is a squared error of the gap. A wide gap on the right side is no mistake.":
            (gap**2, (gap - 1) ** 2, lead**2, (lead - 1) ** 2, (1 - P(lead)) ** 2, P(-lead) ** 2, gap**2 / 2,
             (gap - m) ** 2 / 2),
        "That is a hinge: it stops learning where the lead is large enough. This loss never quite stops.":
            ((1 - lead).relu(), (1 - gap).relu(), (-lead).relu(), (-gap).relu(), (m - gap).relu(), (1 + m - gap).relu()),
        "That is the gap itself. It would grow without end; the log of a probability is missing.":
            (gap, -gap, lead, -lead),
        "Each reward is judged alone, by its own sigmoid. Add 100 to both and the loss must not change: only the "
        "gap counts.":
            (-F(c) - F(-r), (-F(c) - F(-r)) / 2, -F(c), -F(c) - F(r), -F(c) + F(r), -F(c - m) - F(-r), F(r) - F(c - m),
             -F(-r), -(1 - s) * (F(c) + F(-r)) - s * (F(-c) + F(r))),
        "A sigmoid goes over each reward first. The gap is that of the rewards as they are.":
            (-F(P(c) - P(r)), -F(P(c) - P(r) - m), full(P(c) - P(r) - m)),
        "There is a sigmoid within a sigmoid: the function of torch that takes logits makes its own.":
            (-F(P(lead)), full(P(lead)), -F(P(gap))),
        "A softmax over the batch: pairs compete with one another. A pair is decided within itself.":
            (-log_softmax(lead, 0), -log_softmax(gap, 0), -log_softmax(c, 0), -log_softmax(c - m, 0)),
        "All pairs have the same loss, their mean or sum. Each keeps its own.":
            (want.mean().expand_as(want), want.sum().expand_as(want)),
        "The losses are divided by the number of pairs. Whoever takes the mean does that.": (want / len(c),),
    }
    # fmt: on


def _margin_mistakes(gap: Tensor, m: Tensor, s: float) -> dict[str, tuple]:
    F, full = logsigmoid, partial(_full, s=s)
    # fmt: off
    return {
        "The margin goes in with the wrong sign. Whoever has to lead by more is sooner surprised: a margin makes the "
        "loss larger.": (full(gap + m), -F(gap + m)),
        "The margin stands outside, beside the finished loss. It is what the gap has to be larger than.":
            (full(gap) - m, full(gap) + m, (full(gap) - m).relu(), (full(gap) + m).relu()),
        "The margin makes no difference.": (full(gap),),
        "The margin multiplies or divides. It is a lead, in the rewards' own unit: the gap has to be larger by it.":
            (m * full(gap), (1 + m) * full(gap), full(m * gap), full(gap / m), full((1 + m) * gap), full(gap / (1 + m))),
        "All pairs have the same margin, that of one of them or their mean. Each has its own.":
            (full(gap - m.mean()), full(gap - m[0]), full(gap - m[-1]), full(gap - m.sum()), full(gap - m.max())),
        "The margin is taken away twice, or half of it.": (full(gap - 2 * m), full(gap - m / 2)),
    }
    # fmt: on


def _smoothing_mistakes(gap: Tensor, m: Tensor, s: float) -> dict[str, tuple]:
    lead, F, P, full = gap - m, logsigmoid, torch.sigmoid, _full
    mixed = (1 - s) * P(lead) + s * P(-lead)
    # fmt: off
    return {
        "In the share that is turned round, the margin has the wrong sign: there the whole lead changes its sign, the "
        "margin with it.": (-(1 - s) * F(lead) - s * F(-gap - m),),
        "With smoothing, the margin counts in one half of the loss and not in the other.":
            (-(1 - s) * F(lead) - s * F(-gap), -(1 - s) * F(gap) - s * F(-lead), -(1 - s) * F(gap) - s * F(-gap - m)),
        "The smoothing makes no difference.": (-F(lead),),
        "The smoothing is on the wrong side: the label as it is got the small share, and the one turned round the "
        "large one.": (full(lead, 1 - s),),
        "The smoothing is halved on the way. It is the share of labels that are taken to be wrong.": (full(lead, s / 2),),
        "The smoothing only makes the loss smaller or larger, by a factor or a constant. A share of the labels is "
        "taken to be turned round: what would those cost?":
            (-(1 - s) * F(lead), -F(lead) + s, -F(lead) - s, -F(lead) * (1 + s), -(1 - 2 * s) * F(lead), -s * F(lead),
             -(1 - s) * F(lead) + s * math.log(2), -(1 - s) * F(lead) + s, -(1 - s) * F(lead) + s / 2),
        "The label turned round is taken away from the loss. It is added, with its share.":
            (-(1 - s) * F(lead) + s * F(-lead), (-(1 - s) * F(lead) + s * F(-lead)) / (1 - 2 * s),
             -F(lead) + s * F(-lead)),
        "The two shares do not add up to 1: the label as it is keeps its full weight.": (-F(lead) - s * F(-lead),),
        "Probabilities were mixed first and the log came last. The two losses are mixed, each with its own log.":
            (-mixed.log(),),
        "The smoothing changes the gap. It mixes two losses of the same gap.":
            (-F((1 - s) * lead), -F((1 - 2 * s) * lead), -F(lead - s), -F(lead + s), -F(lead * (1 - s / 2))),
    }
    # fmt: on


# --- wide gaps


def _loss_gaps(answer, smoothing: float = 0.0) -> None:
    """Gaps at which sigmoids, their logs and powers of e leave the numbers."""
    gaps = torch.tensor([-200.0, 200.0, 30.0, -30.0, -95.0, 95.0, -5000.0, 5000.0])
    halves = Labelled(gaps / 2, -gaps / 2, smoothing=smoothing)
    above = Labelled(
        torch.tensor([1000.0, 1000.0]), torch.tensor([999.0, 1002.0]), 0.0, smoothing
    )
    for case in (halves, above):
        got, want = _loss_ask(answer, case).detach(), _slowly(case)
        if close(got, want, atol=1e-4):
            continue
        for i, (value, right) in enumerate(
            zip(got.tolist(), want.tolist(), strict=True)
        ):
            c, r = float(case.chosen[i]), float(case.rejected[i])
            where = f"For the rewards {c:g} (chosen) and {r:g} (rejected) the loss is {value:.4g}"
            expect(
                math.isfinite(value),
                f"{where}. On the way something became 0 or infinite: a sigmoid that is 0 has no log, "
                "and a power of e may be too large to hold. torch has a function for both steps "
                "together.",
            )
            expect(
                abs(value - right) < 1e-4 + 1e-4 * abs(right) or value > right,
                f"{where}, and should be {right:.4g}. Does something hold the logarithm back, a small "
                "constant or a clamp? A wide gap should go on being pulled together; torch has a "
                "function that needs no such help.",
            )
        _loss_compare(answer, case)


# --- types and gradients


def _loss_of_any_type(answer, draw) -> None:
    twelve = torch.tensor([6.0, -6.0, 4.0], dtype=torch.float64)  # small, and not 0
    _loss_compare(answer, Labelled(twelve, -twelve))
    case = _drawn_rewards(draw, 6, torch.float64)
    far = Labelled(case.chosen + 1000, case.rejected + 1000)
    _loss_compare(answer, far)
    margins = torch.rand(6, generator=draw, dtype=torch.float64)
    _loss_compare(answer, far._replace(margins=margins, smoothing=0.1))
    ahead = far._replace(
        chosen=far.chosen + 1e5
    )  # beside 1e5 float32 has steps of 0.008
    _loss_compare(answer, ahead._replace(margins=margins + 1e5))


def _loss_gradients(answer, draw) -> None:
    small = _drawn_rewards(draw, 5)
    some = torch.rand(5, generator=draw)
    wide = torch.tensor([-200.0, 200.0, -95.0, 95.0, -5000.0, 5000.0]) / 2
    for case in (
        small,
        small._replace(margins=some),
        small._replace(margins=0.5, smoothing=0.2),
        Labelled(wide, -wide),
        Labelled(wide, -wide, smoothing=0.1),
    ):
        for field in ("chosen", "rejected"):
            _slope(answer, case, field)


def _slope(answer, case: Labelled, field: str) -> None:
    """The gradient of the losses, one by one, for the chosen or the rejected rewards."""

    def asked(leaf: Tensor) -> Tensor:
        return _loss_ask(answer, case._replace(**{field: leaf}))

    cut = f"No gradient reaches the {field} rewards. " + NO_GRADIENT
    got = ask_gradient(asked, getattr(case, field), cut=cut)
    if not got.isfinite().all():
        raise CheckFailed(
            f"The losses are right, and the gradient of the {field} rewards is {got[~got.isfinite()][0]} "
            "where the gap is wide. A branch that is not chosen has a gradient as well (where); torch "
            "has a function that needs no branches."
        )
    want = _differences(case, field)
    expect(
        close(got, want, rtol=1e-3, atol=1e-4),
        f"The losses are right, and the gradient of the {field} rewards is not: it is "
        f"{got[0]:.4g} where {want[0]:.4g} is wanted. Is a part cut off (detach, no_grad)?",
    )


def _differences(case: Labelled, field: str, step: float = 1e-4) -> Tensor:
    middle = getattr(case, field).double()
    case = case._replace(chosen=case.chosen.double(), rejected=case.rejected.double())
    up, down = (_slowly(case._replace(**{field: middle + d})) for d in (step, -step))
    return (up - down) / (2 * step)
