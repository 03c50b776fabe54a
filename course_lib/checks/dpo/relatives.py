"""Checks of lesson 09: the loss that needs no reference, by the odds.

Losses are worked out pair by pair from Python's own numbers. The answers that prove
the check are in `tests/answers/`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib.checks.asking import expect, told_apart
from course_lib.checks.dpo.rows import Loss, ask_row, compare, digits, slopes, slowly
from course_lib.checks.harness import check
from course_lib.dpo import relatives


def _odds(logprob: float) -> float:
    """Their logarithm; what is certain counts as almost so."""
    held = min(logprob, -1e-6)
    return held - math.log(-math.expm1(held))


def _slow(c, r, weight=0.1) -> float:
    lead = _odds(c) - _odds(r)
    return -c + weight * (max(-lead, 0.0) + math.log1p(math.exp(-abs(lead))))


@check(
    relatives.orpo_loss,
    proved="Paper numbers, pair by pair for any weight; a gradient for both answers; and answers that are all but "
    "impossible, or all but certain, have losses as well.",
)
def orpo_loss(answer, draw):
    paper = torch.tensor([[0.5, 0.5, 0.9, 0.2], [0.5, 0.2, 0.4, 0.75]]).log()
    compare(answer, ORPO, list(paper))
    compare(answer, ORPO, list(paper), weight=1.0)
    for B, weight in ((6, 0.5), (1, 0.3), (3, 2.0), (2, 0.0), (5, 4.0)):
        compare(answer, ORPO, _means(draw, B), weight=weight)
    _rare(answer)
    for weight, rows in (
        (0.5, _means(draw, 4)),
        (1.0, list(paper)),
        (1.0, _impossible()),
    ):
        slopes(answer, ORPO, rows, weight=weight)
    _sure(answer)
    doubles = _means(draw, 5, torch.float64)
    compare(answer, ORPO, [row - 3000 for row in doubles], weight=0.7)
    _in_float64(answer, doubles)


def _means(draw: torch.Generator, B: int, dtype=torch.float32) -> list[Tensor]:
    """Mean log-probabilities of a token; views, not in one piece."""
    some = -2 * torch.rand(B, 2, generator=draw, dtype=dtype) - 0.05
    some[0] = torch.tensor([-1.75, -0.25])  # a pair that is ranked wrong
    return list(some.unbind(1))


def _impossible() -> list[Tensor]:
    chosen = torch.tensor([-30.0, -200.0, -0.5, -150.0, -400.0])
    return [chosen, torch.tensor([-0.5, -1.0, -200.0, -300.0, -0.25])]


def _rare(answer: Callable) -> None:
    """Where p is 0 in float32, or 1 - p is 1."""
    rows = _impossible()
    for weight in (1.0, 0.5):
        got = ask_row(answer, rows, {"weight": weight}, "losses").detach()
        want = slowly(ORPO, rows, {"weight": weight})
        for i, value in enumerate(got.tolist()):
            said = f"With a chosen mean of {rows[0][i]:g} and a rejected one of {rows[1][i]:g} the loss is {value:.4g}"
            expect(
                math.isfinite(value),
                f"{said}. Probabilities so small are 0, and 0 has no log: stay with logarithms. `log_odds` does, and "
                "torch has a function for a sigmoid and its log together.",
            )
            expect(
                abs(value - float(want[i])) < 1e-3 or value > want[i],
                f"{said}, and should be {want[i]:.4g}. Does something hold it back, a small constant or a clamp?",
            )
        compare(answer, ORPO, rows, weight=weight)


def _sure(answer: Callable) -> None:
    """Where 1 - p is small, rounded to a few digits, or 0."""
    learned = torch.tensor([-3e-5, -0.5, -1e-3, -2e-5])
    rows = [learned, torch.tensor([-1e-3, -2e-5, -4e-5, -3e-5])]
    got = ask_row(answer, rows, {"weight": 1.0}, "losses").detach()
    want = slowly(ORPO, rows, {"weight": 1.0})
    off = int((got.double() - want).abs().nan_to_num(9e9).argmax())
    shown = told_apart(float(got[off]), float(want[off]))
    expect(
        bool((got.double() - want).abs().nan_to_num(9e9).max() < 2e-4),
        f"With a chosen mean of {rows[0][off]:.4g} and a rejected one of {rows[1][off]:.4g} the loss is {shown[0]}, and should "
        f"be {shown[1]}. For an answer known by heart 1 - p is rounded to a few digits; `log_odds` keeps them.",
    )
    certain = [torch.tensor([0.0, 0.0, -1.0]), torch.tensor([-1.0, 0.0, 0.0])]
    leaves = [row.requires_grad_() for row in certain]
    got = ask_row(answer, leaves, {"weight": 1.0}, "losses")
    flows = torch.autograd.grad(got.sum(), leaves, allow_unused=True)
    expect(
        bool((got.detach().abs() < 200).all()),
        "Where an answer is certain (a mean log-probability of 0) the loss is inf, nan or a huge number. Its odds are infinite; "
        "`log_odds` holds them.",
    )
    expect(
        all(flow is None or bool(flow.isfinite().all()) for flow in flows),
        "Where an answer is certain (a mean log-probability of 0) the gradient is inf or nan. `log_odds` holds such odds.",
    )


def _in_float64(answer: Callable, rows: list[Tensor]) -> None:
    compare(answer, ORPO, rows, weight=0.75)
    digits(answer, ORPO, rows, weight=0.75)


def _mistakes(c, r, weight=0.1) -> dict[str, tuple]:
    """What known mistakes give."""
    w, F, P = weight, logsigmoid, torch.sigmoid
    p, q = c.exp(), r.exp()
    lo_c, lo_r = (x.clamp(max=-1e-6) - (-torch.expm1(x.clamp(max=-1e-6))).log() for x in (c, r))  # fmt: skip
    lead, plain = lo_c - lo_r, c - r
    push = -F(lead)
    want = -c + w * push
    # fmt: off
    return {
        "Log-probabilities are compared, not the logarithms of odds. Of a probability, what are the odds?":
            (-c - w * F(plain), -c - F(plain), -w * F(plain)),
        "The odds are compared, without their logarithm.":
            (-c - w * F(p / (1 - p) - q / (1 - q)), -c - w * F(p / (1 - p) * (1 - q) / q), -c - w * F(p - q)),
        "The first term is forgotten: then both answers may fall, as long as the rejected one falls faster.":
            (w * push, push, w * push - w * c + w * c),
        "The first term learns the rejected answer. Which one should be imitated?": (-r + w * push, -r + push),
        "Both answers are learned in the first term. Only the chosen one should be imitated.":
            (-c - r + w * push, -(c + r) / 2 + w * push, -c + r + w * push, -plain + w * push),
        "The weight multiplies the first term, or both. It belongs to the second alone.":
            (-w * c + push, w * (-c + push), -(1 - w) * c + w * push, -w * c + (1 - w) * push, -w * c - w * F(lead)),
        "The weight makes no difference: another number is built in, or none at all.":
            (-c + push, *(-c + x * push for x in (0.1, 0.5, 0.2) if x != w)),
        "The second term is missing: nothing is said about the rejected answer.": (-c,),
        "The weight goes into the sigmoid, or stands beside the second term. It multiplies that term.":
            (-c - F(w * lead), -c - w * F(w * lead), -c + push + w, -c + push - w, -c + push / w if w else -c + push, -c + w * w * push),
        "The second term is the wrong way round: it falls as the rejected answer's odds rise.": (-c - w * F(-lead), -c - F(-lead)),
        "The second term has the wrong sign: it rewards what it should make dear.": (-c + w * F(lead), -c + F(lead), -c + w * F(-lead)),
        "The first term has the wrong sign: a loss that is minimised falls as the chosen answer becomes likelier.":
            (c + w * push, p + w * push),
        "The sign of all is turned round. What is returned is minimised.": (-want,),
        "There is a sigmoid without its logarithm.": (-c + w * P(lead), -c - w * P(lead), -c + w * P(-lead), -c + P(-lead)),
        "The sigmoid is missing, or its logarithm alone: the second term would grow without end.":
            (-c - w * lead, -c + w * lead, -c - w * plain),
        "The first term is a probability. It is a log-probability, as it came.": (-p + w * push, 1 - p + w * push),
        "The first term is made of odds. It is the log-probability, as it came.": (-lo_c + w * push, -lo_c.exp() + w * push),
        "The odds are upside down, or the odds of one of the two only.":
            (-c - w * F(lo_c), -c - w * F(-lo_r), -c - w * F(lo_r), -c - w * F(lo_c - r), -c - w * F(c - lo_r), -c - w * F(lo_c + lo_r)),
        "The logarithm of 1 - p is added, or counted otherwise. Odds are a quotient.":
            (-c - w * F(2 * plain - lead), -c - w * F(c - (1 + p).log() - r + (1 + q).log()), -c - w * F((1 - p).log() - (1 - q).log()),
             -c - w * F((1 - q).log() - (1 - p).log())),
        "What came in are logarithms, and they were taken for probabilities (or the other way round).":
            (-c - w * F(c / (1 - c) - r / (1 - r)), -c - w * F(p - (-torch.expm1(p)).abs().log() - q + (-torch.expm1(q)).abs().log()),
             -p.log() - w * F(_raw(p) - _raw(q)), -c + w * math.log(2) + 0 * lead),
        "It is in bits, or in another unit than nats: which logarithm is that?":
            (want / math.log(2), -c + w * push / math.log(2), want / math.log(10), -c + w * push / math.log(10)),
        "That is a hinge. This term never quite stops.": (-c + w * (1 - lead).relu(), -c + w * (-lead).relu()),
        "The pairs compete with one another (a softmax or a mean over the batch). A pair is decided within itself.":
            (-c - w * lead.log_softmax(0), -c + w * push.mean(), -c.mean() + w * push),
        "All pairs have the same loss, their mean or sum. Each keeps its own.": (want.mean().expand_as(want), want.sum().expand_as(want)),
        "The losses are divided by the number of pairs, or halved. Whoever takes the mean does that.": (want / len(c), want / 2, 2 * want),
    }
    # fmt: on


def _raw(x: Tensor) -> Tensor:
    """Odds of a probability that was taken for a log-probability, held."""
    held = x.clamp(max=-1e-6)
    return held - (-torch.expm1(held)).log()


ORPO = Loss(_slow, _mistakes, ("chosen", "rejected"))
