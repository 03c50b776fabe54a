"""Checks of lesson 09: DPO's loss, how often it agrees, how hard it pulls, and IPO's.

The answers that prove the checks are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from course_lib.checks.asking import (
    NO_GRADIENT,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.dpo.rows import (
    Loss,
    ask_row,
    compare,
    digits,
    drawn,
    far_apart,
    slopes,
    slowly,
)
from course_lib.checks.harness import check
from course_lib.dpo import losses

FOUR = ("chosen", "rejected", "ref_chosen", "ref_rejected")


# --- dpo_loss ---------------------------------------------------------------------------------


def _cost(lead: float) -> float:
    """What a label costs that is as likely as this lead says, without an overflow."""
    return max(-lead, 0.0) + math.log1p(math.exp(-abs(lead)))


def _dpo_slowly(c, r, rc, rr, beta=0.1, smoothing=0.0) -> float:
    lead = beta * ((c - rc) - (r - rr))
    return (1 - smoothing) * _cost(lead) + smoothing * _cost(-lead)


@check(
    losses.dpo_loss,
    proved="Paper numbers, pair by pair for any beta and smoothing; ln 2 at the reference; a gradient for both "
    "answers; and no gap is so wide that a loss or a gradient is not a number.",
    also=(losses.robust_loss,),
)
def dpo_loss(answer, draw):
    paper = [-4.0, -7.0, -3.0, -12.0], [-6.0, -5.0, -9.0, -12.0]
    known = [-5.0, -6.0, -3.0, -10.0], [-5.5, -9.0, -9.0, -12.5]
    rows = [torch.tensor(row) for row in (*paper, *known)]
    compare(answer, DPO, rows)
    compare(answer, DPO, rows, beta=0.5)
    _at_the_reference(answer, draw)
    for B, beta in ((6, 0.3), (1, 0.2), (3, 1.0), (2, 2.0), (5, 0.05)):
        compare(answer, DPO, drawn(draw, B), beta=beta)
    _wide(answer)
    for B, smoothing in ((5, 0.1), (4, 0.3), (1, 0.2)):
        compare(answer, DPO, drawn(draw, B), smoothing=smoothing)
        compare(answer, DPO, drawn(draw, B), beta=0.4, smoothing=smoothing)
    _wide(answer, smoothing=0.1)
    compare(answer, DPO, far_apart(draw, 5), beta=0.25)
    compare(answer, DPO, far_apart(draw, 3), beta=0.6, smoothing=0.2)
    digits(answer, DPO, drawn(draw, 5), beta=0.5)
    digits(answer, DPO, drawn(draw, 4), beta=0.25, smoothing=0.25)
    _first_step(answer, draw)
    slopes(answer, DPO, drawn(draw, 4))
    slopes(answer, DPO, drawn(draw, 3), beta=0.4, smoothing=0.2)
    for smoothing in (0.0, 0.1):
        slopes(answer, DPO, _gaps(), smoothing=smoothing)


def _at_the_reference(answer: Callable, draw: torch.Generator) -> None:
    rows = drawn(draw, 4)[2:]
    for beta in (0.1, 1.5):
        got = ask_row(answer, [*rows, *rows], {"beta": beta}, "losses").detach()
        expect(
            close(got, torch.full((4,), math.log(2))),
            f"Where policy and reference agree the loss of a pair is {got[0]:.4g}. Both answers have gained nothing "
            "there, so the label is a coin's: ln 2, whatever the answers are.",
        )


def _first_step(answer: Callable, draw: torch.Generator) -> None:
    known = drawn(draw, 3)[2:]

    def asked(leaf: Tensor) -> Tensor:
        return ask_row(answer, [leaf, known[1], *known], {}, "losses")

    cut = f"No gradient reaches the chosen log-probabilities. {NO_GRADIENT}"
    push = ask_gradient(asked, known[0], cut=cut)
    expect(
        bool((push < -0.01).all()),
        f"Where policy and reference agree the gradient for the chosen answer is {push.max():.4g}. Training begins there, so nothing "
        "would be learned. A kink (abs, relu, a maximum) has no slope of its own; torch has a function without one.",
    )


def _gaps() -> list[Tensor]:
    """Gaps at which sigmoids, their logs and powers of e leave the numbers."""
    gaps = torch.tensor([-1e4, 1e4, 2000.0, -2000.0, -1000.0, 1000.0, 3e5, -3e5])
    half, start = gaps / 2, torch.tensor([-40.0, -12.0, -64.0, -25.0]).repeat(2)
    now, before = start + half.clamp(max=0), start - half.clamp(min=0)
    return [now, before - 8, before, now - 8]


def _wide(answer: Callable, smoothing: float = 0.0) -> None:
    options = {"smoothing": smoothing} if smoothing else {}
    rows = _gaps()
    got = ask_row(answer, rows, options, "losses").detach().double()
    want = slowly(DPO, rows, options)
    for i, (value, right) in enumerate(zip(got.tolist(), want.tolist(), strict=True)):
        gap = float(rows[0][i] - rows[2][i] - rows[1][i] + rows[3][i])
        said = f"Where the chosen answer gained {gap:g} more than the rejected one the loss is {value:.4g}"
        expect(
            math.isfinite(value),
            f"{said}. On the way something became 0 or infinite: a sigmoid that is 0 has no log, and a power of e "
            "may be too large to hold. torch has a function for both steps together.",
        )
        expect(
            abs(value - right) < 1e-4 + 1e-4 * abs(right) or value > right,
            f"{said}, and should be {right:.4g}. Does something hold it back, a small constant or a clamp? A pair "
            "that is ranked badly wrong goes on pulling; torch has a function that needs no such help.",
        )
    compare(answer, DPO, rows, **options)


def _mixed(lead: Tensor, s: float) -> Tensor:
    return -(1 - s) * logsigmoid(lead) - s * logsigmoid(-lead)


def _dpo_mistakes(c, r, rc, rr, beta=0.1, smoothing=0.0) -> dict[str, tuple]:
    """What known mistakes give."""
    b, s, F, P = beta, smoothing, logsigmoid, torch.sigmoid
    up, down = c - rc, r - rr
    gap, lead = up - down, b * (up - down)

    def full(lead: Tensor) -> Tensor:
        return _mixed(lead, s)

    want = full(lead)
    # fmt: off
    unasked = {"Labels are taken to be wrong though nobody asked for it: the default of smoothing is 0.": tuple(_mixed(lead, x) for x in (0.05, 0.1, 0.2, 0.5))}
    return (_smoothing_mistakes(lead, s) if s else unasked) | {
        "It is the wrong way round: the more the rejected answer has gained, the smaller is the loss. Which of the two should gain?":
            (full(-lead), -F(-lead), full(-gap)),
        "The reference is left out. It does not matter which answer is likelier, but which has gained more on the reference.":
            (full(b * (c - r)), full(c - r), -F(b * (c - r)), full(b * (r - c)), b * full(c - r)),
        "The policy is left out: only the reference is compared.": (full(b * (rc - rr)), full(b * (rr - rc))),
        "The reference goes in with the wrong sign, for one answer or for both. Each answer is compared with what the reference "
        "said of it; and what does a minus before a bracket do to all that is in it?":
            tuple(f(x) for x in (c + rc - r - rr, up - r - rr, c + rc - down, c - rr - (r - rc), -(c + rc) + r + rr)
                  for f in (lambda x: full(b * x), full)),
        "The reference is counted for one of the two answers only. Each has its own.":
            tuple(full(b * x) for x in (up - r, c - down, up - (r - rc), c - rr - down, c - r - rr, c - r + rc)),
        "The two gains are added up. What counts is how much more the chosen answer gained.": (full(b * (up + down)), full(up + down)),
        "One answer only is looked at. The loss compares the gains of two.":
            (full(b * up), full(-b * down), full(b * down), -F(up)),
        "Each answer is judged alone, by its own sigmoid. If both gain 5 the loss must not change: only the gap counts.":
            (-F(b * up) - F(-b * down), (-F(b * up) - F(-b * down)) / 2, -F(b * up) + F(b * down), -F(b * up) - F(b * down),
             full(b * up) + full(-b * down), 2 - P(b * up) - P(-b * down)),
        "Beta stands outside, beside the finished loss. It belongs to the gap: there it says how soon a pair is settled.":
            (b * full(gap), full(gap) / b, full(gap) - b, full(gap) + b, b * want, want / b, -F(gap) * b),
        "Beta makes no difference: another number is built in, or none at all.":
            (full(gap), *(full(x * gap) for x in (0.1, 0.2, 0.5) if x != b)),
        "Beta divides, or is there twice. The gap is multiplied by it once: a small beta lets the policy go far.":
            (full(gap / b), full(b * lead), full(gap / (2 * b)), full(lead / 2), full(2 * lead)),
        "Beta multiplies one part of the gap only: of both gains, all of it.":
            (full(b * up - down), full(up - b * down), full(b * (c - r) - (rc - rr)), full((c - r) - b * (rc - rr)),
             full(b * c - rc - (b * r - rr)), full(c - b * rc - (r - b * rr)), full(b * c - rc - r + rr)),
        "The gap lost its sign. A pair that is ranked wrong has a negative one, and that should cost more.":
            (full(lead.abs()), full(b * (up.abs() - down.abs())), full(-lead.abs())),
        "The sign is missing: the log of a probability is negative, and a loss that is minimised falls as the label becomes likelier.":
            (-want, F(lead), F(-lead)),
        "That is a probability, or odds. The loss says how surprising the label is: a logarithm is missing.":
            ((-lead).exp(), P(lead), -P(lead), P(-lead), (1 - s) * P(-lead) + s * P(lead), (1 - s) * P(lead) + s * P(-lead)),
        "It is in bits, or in another unit than nats: which logarithm is that?": (want / math.log(2), want / math.log(10)),
        "That is the gap itself. It would grow without end; sigmoid and logarithm are missing.":
            (lead, -lead, gap, -gap, -(1 - 2 * s) * lead),
        "That is a hinge: it stops where the lead is large enough. This loss never quite stops.":
            ((1 - lead).relu(), (-lead).relu(), (1 - gap).relu(), (-gap).relu()),
        "That is a squared error of the gap. A wide gap on the right side is no mistake here.":
            ((gap - 1 / (2 * b)) ** 2, lead**2, gap**2, (lead - 1) ** 2, (1 - P(lead)) ** 2),
        "These are ratios of log-probabilities. The log of a ratio is a difference of logs.":
            (full(b * (c / rc - r / rr)), full(b * (c / r - rc / rr)), full(c / rc - r / rr)),
        "The gains went through a power of e. Log-probabilities are compared as they are.":
            (full(b * (up.exp() - down.exp())), full(b * (c.exp() - r.exp())), full(b * gap.exp()),
             full(b * (c.exp() - r.exp() - rc.exp() + rr.exp()))),
        "There is a sigmoid, or its log, over what has been through one already.":
            (full(P(lead)), full(P(b * up) - P(b * down)), full(F(b * up) - F(b * down)), full(F(lead))),
        "The pairs compete with one another (a softmax or a mean over the batch). A pair is decided within itself.":
            (-lead.log_softmax(0), full(b * (gap - gap.mean())), full(b * gap.mean().expand_as(gap)), full(b * up - b * down.mean())),
        "All pairs have the same loss, their mean or sum. Each keeps its own.":
            (want.mean().expand_as(want), want.sum().expand_as(want)),
        "The losses are divided by the number of pairs, or halved. Whoever takes the mean does that.":
            (want / len(c), want / 2, 2 * want),
    }
    # fmt: on


def _smoothing_mistakes(lead: Tensor, s: float) -> dict[str, tuple]:
    F, P = logsigmoid, torch.sigmoid
    mixed = (1 - s) * P(lead) + s * P(-lead)
    # fmt: off
    return {
        "The smoothing makes no difference.": (-F(lead), *(_mixed(lead, x) for x in (0.1, 0.2) if x != s)),
        "The smoothing is on the wrong side: the label as it is got the small share, and the one turned round the large one.":
            (_mixed(lead, 1 - s),),
        "The smoothing is halved or doubled on the way. It is the share of labels that are taken to be wrong.":
            (_mixed(lead, s / 2), _mixed(lead, 2 * s)),
        "The smoothing only makes the loss smaller or larger, by a factor or a constant. A share of the labels is taken to be "
        "turned round: what would those cost?":
            (-(1 - s) * F(lead), -F(lead) + s, -F(lead) - s, -F(lead) * (1 + s), -(1 - 2 * s) * F(lead), -s * F(lead),
             -(1 - s) * F(lead) + s * math.log(2), -(1 - s) * F(lead) + s, -(1 - s) * F(lead) + s / 2),
        "The label turned round is taken away from the loss. It is added, with its share.":
            (-(1 - s) * F(lead) + s * F(-lead), (-(1 - s) * F(lead) + s * F(-lead)) / (1 - 2 * s), -F(lead) + s * F(-lead)),
        "The two shares do not add up to 1: the label as it is keeps its full weight.": (-F(lead) - s * F(-lead),),
        "Probabilities were mixed first and the log came last. Two losses are mixed, each with its own log.":
            (-mixed.log(), -((1 - s) * P(lead) + s / 2).log(), -((1 - s) * P(lead) + s).log()),
        "The smoothing changes the gap. It mixes two losses of the same gap.":
            (-F((1 - s) * lead), -F((1 - 2 * s) * lead), -F(lead - s), -F(lead + s), -F(lead * (1 - s / 2))),
        "What is added for the wrong labels is not the loss of such a label. What would a pair cost if its two answers changed "
        "places?":
            (-(1 - s) * F(lead) - s * (1 - P(lead)), -(1 - s) * F(lead) - s * (1 - F(lead)), -(1 - s) * F(lead) + s * F(lead)),
    }
    # fmt: on


DPO = Loss(_dpo_slowly, _dpo_mistakes, FOUR)


# --- implicit_accuracy ------------------------------------------------------------------------


@check(
    losses.implicit_accuracy,
    proved="It is counted pair by pair what each answer has gained on the reference, however likely it is; a tie is "
    "half right, and near is no tie.",
)
def implicit_accuracy(answer, draw):
    cases = _agreements(draw)
    got = torch.stack([_ask_share(answer, rows).double() for rows in cases])
    want = torch.stack([_share(_gains(rows)) for rows in cases])
    if close(got, want):
        return
    expect(
        bool(got[[2, 6]].isfinite().all()),
        "Where every pair is a tie it gives nan or inf: nothing is left to divide by. Ties stay among the pairs, and count one half.",
    )
    expect(
        not close(got, got[:1].expand_as(got)),
        "It always gives the same number. Is the worked value built in?"
        if 0 < got[0] < 1
        else "It always gives the same number. Is it built in? Or does the reference go in with the wrong sign, or for one of "
        "the two answers only?",
    )
    known = [_accuracy_mistakes(*(row.double() for row in rows)) for rows in cases]
    i = int((got - want).abs().nan_to_num(9e9).argmax())
    gained = ["(" + ", ".join(f"{x:.6g}" for x in g.tolist()) + ")" for g in _gains(cases[i])]  # fmt: skip
    otherwise = (
        f"Where the chosen answers gained {gained[0]} on the reference and the rejected ones {gained[1]}, it "
        f"gives {got[i]:.4g}; counted pair by pair it is {want[i]:.4g}."
    )
    named = {
        name: tuple(map(torch.stack, zip(*(k[name] for k in known), strict=True)))
        for name in known[0]
    }
    diagnose(got, want, named, otherwise)


def _ask_share(answer: Callable, rows: list[Tensor]) -> Tensor:
    B = len(rows[0])
    each = "These are the pairs one by one. What share of them is it?"
    # fmt: off
    shapes = {
        (1,): "One number without any dimension is wanted.", (B,): each, (B, 1): each, (1, B): each,
        (B, B): "Every chosen answer was compared with every rejected one. Each pair is compared within itself.",
    }
    # fmt: on
    try:
        got = ask_tensor(answer, *rows, shape=(), shapes=shapes)
    except RuntimeError as error:
        expect(
            "could not infer output dtype" not in str(error)
            and "Input dtype must be" not in str(error),
            "torch takes no mean of whole numbers, nor of True and False. Make decimal numbers of them first.",
        )
        raise
    return got.detach()


def _agreements(draw: torch.Generator) -> list[list[Tensor]]:
    """Gains and references, in sixteenths; ties, near ones, and answers that are all but impossible."""
    near = 2.0**-12
    told = [
        ([2.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
        ([1.0, -2.0, 3.0, -4.0, -1.0], [0.5, -3.0, 4.0, -2.0, -3.0]),
        ([1.5, -1.5, 0.0], [1.5, -1.5, 0.0]),
        ([-3.0, 1.0, 2.0], [-3.0, 2.5, 2.0]),
        ([2.0], [5.0]),
        ([-5.0], [-5.5]),
        ([0.0], [0.0]),
        ([1.0 + near, 2.0, 3.0 - near, 1.0], [1.0, 2.0, 3.0, 1.0]),
        ([400.0, -400.0, 30.0, -300.0], [300.0, -300.0, 30.0, -400.0]),
    ]
    small = (torch.randint(-2, 3, (2, 16), generator=draw) / 1).tolist()
    large = (torch.randint(-160, 160, (2, 11), generator=draw) / 16).tolist()
    told += [(small[0][:7], small[1][:7]), (small[0][7:], small[1][7:]), tuple(large)]
    cases = []
    for up, down in told:
        known = -torch.randint(192, 640, (len(up), 2), generator=draw) / 16
        known[::2, 1] = known[::2, 0] + torch.randint(-16, 17, known[::2, 0].shape, generator=draw) / 16  # fmt: skip
        known = known - 500 * (max(map(abs, up)) > 100)
        block = torch.cat([known + torch.tensor([up, down]).T, known], dim=1)
        cases.append(list(block.unbind(1)))
    fine = torch.tensor([[2.0**-40, 0.0, 0.0]], dtype=torch.float64)
    known = torch.tensor([[-3.0, -5.0, -4.0], [-7.0, -2.0, -4.0]], dtype=torch.float64)
    return [*cases, [*(known + torch.cat([fine, 0 * fine])), *known]]


def _gains(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    c, r, rc, rr = (row.double() for row in rows)
    return c - rc, r - rr


def _share(gains: tuple[Tensor, Tensor], tie: float = 0.5) -> Tensor:
    """Pair by pair, with so much for a tie."""
    pairs = list(zip(*(row.tolist() for row in gains), strict=True))
    points = [1.0 if x > y else tie if x == y else 0.0 for x, y in pairs]
    return torch.tensor(math.fsum(points) / len(points), dtype=torch.float64)


def _accuracy_mistakes(c, r, rc, rr) -> dict[str, tuple[Tensor, ...]]:
    up, down = c - rc, r - rr
    gap, ties = up - down, (0.5, 0.0, 1.0)
    right, half, B = _share((up, down)), torch.tensor(0.5), len(c)

    def shares(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(_share((x, y), tie) for tie in ties)

    def mean(x: Tensor) -> Tensor:
        return x.double().mean()

    all_with_all = (up[:, None].expand(B, B).flatten(), down.expand(B, B).flatten())
    strict, lax = _share((up, down), 0.0), _share((up, down), 1.0)
    decided = (gap != 0).sum()
    # fmt: off
    return {
        "The reference is left out: it counts where the chosen answer is likelier. Ask which of the two has gained more on "
        "the reference.": shares(c, r),
        "A tie counts as right. It is half right: a policy that has not moved would be perfect.": (lax,),
        "A tie counts as wrong. It is half right, like a guess: a policy that has not moved has 0.5. (A loss below ln 2 asks the "
        "same.)": (strict, strict if gap.any() else half.double()),
        "Ties are left out. They stay among the pairs, and count one half.":
            (strict * B / decided, strict * B / decided.clamp(min=1), strict * B / decided if decided else half),
        "It is the wrong way round: the share of pairs in which the rejected answer has gained more.": (1 - right, 1 - strict, 1 - lax),
        "The reference goes in with the wrong sign, or for one of the two answers only, or the other's is taken. Each answer has gained "
        "on what the reference said of it.":
            (*shares(c + rc, r + rr), *shares(c - rr, r - rc), *shares(up, r + rr), *shares(c + rc, down), *shares(up, r), *shares(c, down)),
        "Only the reference is asked.": shares(rc, rr),
        "Only the chosen answer's gain is asked, or the rejected one's loss. The two gains are compared.":
            (*shares(up, 0 * up), *shares(0 * down, down), mean((up > 0) & (down < 0)), mean((up > 0) & (down <= 0)), mean((up >= 0) & (down <= 0))),
        "It asks where policy and reference rank a pair alike, or otherwise. Nobody's ranking is asked, but who has gained more.":
            (mean((c > r) == (rc > rr)), mean((c > r) != (rc > rr)), mean((c > r) & (rc <= rr)), mean((c > r) & (rc > rr)),
             mean((c > r) & (up > down)), _share((c, r)) - _share((rc, rr))),
        "Near counts as a tie, or was made one on the way (float32 of float64, rounding, a tolerance, a sigmoid or a loss that has few "
        "digits). A tie is two equal gains.":
            tuple(_share((gap * (gap.abs() > eps), 0 * gap), tie) for eps, tie in product((1e-8, 1e-6, 1e-5, 1e-4, 1e-3), ties)),
        "Any lead will do: it asks for one of a certain size.":
            tuple(_share((gap, 0 * gap + x)) for x in (1.0, 0.5, 0.1, 2.0)),
        "It is in percent. A share from 0 to 1 is asked for.": (100 * right, 100 * strict, 100 * lax),
        "It is the number of pairs. Their share is asked for.": (B * right, B * strict, B * lax),
        "These are signs, from -1 to 1, or they go from 0 to 2. What are a right pair, a tie and a wrong one worth?":
            (2 * right - 1, 2 * right, right / 2, (right + 1) / 2, right + 0.5, strict + 0.5, right - 0.5),
        "It is the mean of how sure the policy is. Only which answer gained more is asked, not by how much.":
            (mean(gap.sigmoid()), mean((0.1 * gap).sigmoid()), mean((gap.tanh() + 1) / 2), mean((gap.clamp(-1, 1) + 1) / 2)),
        "It is the gap itself. Only its sign is asked.": (mean(gap), mean(0.1 * gap), mean(gap.abs()), mean(gap.relu())),
        "It compares the means of all gains. Each pair is asked by itself.":
            (*shares(mean(up)[None], mean(down)[None]), mean(up > mean(down)), *shares(up - mean(up), down - mean(down))),
        "Every chosen answer is compared with every rejected one. Each pair is compared within itself.": shares(*all_with_all),
        "The gains lost their signs.": (*shares(up.abs(), down.abs()), *shares(gap.abs(), 0 * gap)),
        "Ratios of log-probabilities, or differences of probabilities, are compared. A gain is a difference of log-probabilities.":
            (*shares(c / rc, r / rr), *shares(c.exp() - rc.exp(), r.exp() - rr.exp()), *shares((c - rc).exp(), (r - rr).exp()),
             *shares(c.float().exp() - rc.float().exp(), r.float().exp() - rr.float().exp()), *shares(c / r, rc / rr), *shares(rc / rr, c / r)),
        "It is cut to a whole number, or asks whether all pairs are right, or any.":
            (right.floor(), right.round(), (right > 0.5).double(), (right >= 0.5).double(), mean(gap > 0).floor(),
             (gap > 0).all().double(), (gap > 0).any().double(), (gap >= 0).all().double()),
        "It looks at the first pair only, or the last.": tuple(_share((up[i:][:1], down[i:][:1])) for i in (0, -1)),
    }
    # fmt: on


# --- gradient_weights -------------------------------------------------------------------------


def _weight_slowly(c, r, beta=0.1) -> float:
    """The slope of a slow loss: a lead that grows by beta."""
    lead = c - r
    if lead > 0:
        return beta * math.exp(-lead) / (1 + math.exp(-lead))
    return beta / (1 + math.exp(lead))


@check(
    losses.gradient_weights,
    proved="It is the slope of the loss, pair by pair and for any beta: almost beta where a pair is ranked wrong, next "
    "to nothing where it is settled, and always a number.",
)
def gradient_weights(answer, draw):
    paper = [0.0, 1.0, -1.5, 0.625, 0.5], [0.0, -1.0, 1.0, 0.5, 2.0]
    rows = [torch.tensor(row) for row in paper]
    what = "weights"
    compare(answer, PULL, rows, what)
    compare(answer, PULL, rows, what, beta=0.5)
    for B, beta in ((6, 1.0), (1, 0.2), (3, 2.0), (2, 0.05), (5, 0.3)):
        some = 2 * torch.randn(B, 2, generator=draw) + 1
        compare(answer, PULL, list(some.unbind(1)), what, beta=beta)
    wide = torch.tensor([1000.0, -1000.0, 95.0, -95.0, 20.0, -20.0, 5000.0, 0.0])
    for level in (0.0, 1000.0, -1000.0):
        high = [level + wide / 2, level - wide / 2]
        got = ask_row(answer, high, {"beta": 0.5}, what)
        expect(
            bool(got.isfinite().all()),
            "For rewards of 1000 or -1000 it gives inf or nan. A power of e is too large to hold, or two of them are 0; torch's own "
            "function takes care of that.",
        )
        compare(answer, PULL, high, what, beta=0.5)
    level = 1e5 + 2 * torch.randn(2, 4, generator=draw, dtype=torch.float64)
    compare(answer, PULL, list(level), what, beta=0.7)
    digits(answer, PULL, drawn(draw, 5, rows=2), what, beta=0.5)


def _weight_mistakes(c, r, beta=0.1) -> dict[str, tuple]:
    b, P, F, gap = beta, torch.sigmoid, logsigmoid, c - r
    want = b * P(-gap)
    # fmt: off
    return {
        "It is the wrong way round: a settled pair pulls hardest. Which pairs have something left to learn?":
            (b * P(gap), P(gap), b * (1 - P(-gap)), b * P(b * gap)),
        "Beta is missing, or another number stands for it. The slope of the loss grows with it.":
            (P(-gap), *(x * P(-gap) for x in (0.1, 1.0) if x != b)),
        "A pair pulls with all its force or not at all. That is a hinge; here it fades.":
            (b * (gap < 0), b * (gap <= 0), b * (gap < 1), b * (gap <= 1), 1.0 * (gap < 0), b * (1 - gap.sign()) / 2, b * (-gap).relu()),
        "Beta goes into the gap. The rewards that are given contain it already.":
            (b * P(-b * gap), P(-b * gap), b * b * P(-b * gap), b * P(-gap / b), P(-gap / b)),
        "Beta is there twice, or divides.": (b * b * P(-gap), P(-gap) / b, 2 * want, want / 2, P(-gap) ** b),
        "The sign is turned: a weight says how hard, and is never negative.": (-want, -b * P(gap), -P(-gap)),
        "That is the slope of a sigmoid. The loss has a logarithm over it: what does that do to the slope?":
            (b * P(gap) * P(-gap), P(gap) * P(-gap), b * b * P(gap) * P(-gap), -b * P(gap) * P(-gap)),
        "That is the loss, or a part of it. How steep is it?": (-F(gap), -b * F(gap), -F(b * gap), b * F(-gap), F(-gap)),
        "That is the gap. How hard a pair pulls has a largest and a smallest value.": (b * gap, -b * gap, gap, -gap, b * gap.abs()),
        "The size of the gap counts, not its sign.": (b * P(-gap.abs()), b * P(gap.abs()), b * (1 - P(gap.abs())), 2 * b * P(-gap.abs())),
        "One of the two rewards only is looked at, or each by itself. It is the gap that counts.":
            (b * P(-c), b * P(r), b * P(c), b * P(-r), b * (1 - P(c)), b * (P(r) - P(c)), b * P(r) * (1 - P(c)), b * P(P(r) - P(c)), b * P(-c) * P(r),
             b * P(-c - r), b * P(c + r)),
        "The pairs compete with one another (a softmax, or shares of a whole). Each pair has a weight of its own.":
            (b * (-gap).softmax(0), (-gap).softmax(0), P(-gap) / P(-gap).sum(), want / want.mean(), want / want.sum()),
        "All pairs have the same weight, their mean or sum. Each has its own.": (want.mean().expand_as(want), want.sum().expand_as(want)),
        "The weights are divided by the number of pairs. Whoever takes the mean does that.": (want / len(c),),
        "That is another curve than the sigmoid (tanh, a power of e).":
            (b * (-gap).tanh(), b * (1 - gap.tanh()), b * (1 - gap.tanh()) / 2, b * (-gap).exp(), b * (-gap).exp().clamp(max=1), b * r.exp() / c.exp(),
             b * gap.exp()),
    }
    # fmt: on


PULL = Loss(_weight_slowly, _weight_mistakes, ("chosen reward", "rejected reward"))


# --- ipo_loss ---------------------------------------------------------------------------------


def _ipo_slowly(c, r, rc, rr, beta=0.1) -> float:
    return ((c - rc) - (r - rr) - 0.5 / beta) ** 2


@check(
    losses.ipo_loss,
    proved="Paper numbers, pair by pair for any beta; 0 with no pull at the gap that is wanted, and a pull back beyond "
    "it; a gradient for both answers.",
)
def ipo_loss(answer, draw):
    gaps = torch.tensor([0.0, 4.0, -3.0, 5.0, 12.0])
    known = torch.tensor([-6.0, -9.5, -4.0, -20.0, -15.0])
    rows = [known + gaps + 0.5, known - 2.5, known, known - 3.0]
    compare(answer, IPO, rows)
    compare(answer, IPO, rows, beta=0.5)
    for B, beta in ((6, 0.25), (1, 0.2), (3, 1.0), (2, 2.0), (5, 0.05)):
        compare(answer, IPO, drawn(draw, B), beta=beta)
    compare(answer, IPO, far_apart(draw, 4), beta=0.3)
    compare(answer, IPO, [row.double() for row in _gaps()], beta=0.4)
    rest = [known + 1.0, known - 7.0, known, known - 6.0]  # a gap of 2
    compare(answer, IPO, rest, beta=0.25)
    for beta, mine in ((0.25, rest), (0.1, rows), (0.4, drawn(draw, 4))):
        slopes(answer, IPO, mine, beta=beta)


def _ipo_mistakes(c, r, rc, rr, beta=0.1) -> dict[str, tuple]:
    b, up, down = beta, c - rc, r - rr
    gap, goal = up - down, 1 / (2 * beta)
    want = (gap - goal) ** 2
    # fmt: off
    return {
        "The gap to reach is one half times beta: in `1 / 2 * beta` the division comes first. A smaller beta should allow a wider gap.":
            ((gap - b / 2) ** 2,),
        "The gap to reach is another one. Which gap did the text say a pair comes to rest at?":
            tuple((gap - x) ** 2 for x in (1 / b, 2 / b, b, 2 * b, 0.5, 1.0, 0.0, 1 / (4 * b), 1 / (2 * b * b), 1 / (1 + 2 * b), math.log(2), goal**2, goal**0.5)),
        "Another beta is built in, whatever is asked.": tuple((gap - 1 / (2 * x)) ** 2 for x in (0.1, 1.0, 0.5) if x != b),
        "The gap is multiplied by beta. Here the gap itself is what shall come to rest.":
            ((b * gap - 0.5) ** 2, (b * gap - goal) ** 2, (2 * b * gap - goal) ** 2, (b * gap - 1) ** 2, (2 * b * gap - 1) ** 2, (b * gap - b / 2) ** 2, (gap / b - goal) ** 2,
             (2 * b * gap - 1) ** 2 / 2),
        "The loss has another size: beta, or a number, multiplies or divides the finished square.":
            (b * want, want / b, want / 2, 2 * want, b * b * want, want / (2 * b)),
        "The reference is left out. It does not matter which answer is likelier, but which has gained more on the reference.":
            ((c - r - goal) ** 2, (r - c - goal) ** 2),
        "It is the wrong way round: it comes to rest where the rejected answer has gained more.":
            ((-gap - goal) ** 2,),
        "The reference goes in with the wrong sign, or for one of the two answers only. Each answer is compared with what the "
        "reference said of it; and what does a minus before a bracket do?":
            tuple((x - goal) ** 2 for x in (c + rc - r - rr, up - r - rr, c + rc - down, c - rr - r + rc, up - r, c - down, c - r - rr)),
        "The square is missing, or a 2 stands where it should be.": (2 * (gap - goal), 2 * (goal - gap), (gap - goal).abs(), gap - goal, goal - gap, (gap - goal).pow(2).sqrt()),
        "It is raised to another power than 2.": ((gap - goal) ** 3, (gap - goal).abs() ** 3, (gap - goal) ** 4),
        "That is a hinge: beyond the gap it costs nothing. Here too wide a gap costs as well.":
            ((goal - gap).relu() ** 2, (goal - gap).relu(), (1 - b * gap).relu(), (1 - b * gap).relu() ** 2, (gap - goal).relu() ** 2),
        "The gap lost its sign. A pair that is ranked wrong is further away than one that has not moved.":
            ((gap.abs() - goal) ** 2, (up.abs() - down.abs() - goal) ** 2),
        "The square is taken of the parts. Subtract first; then take the square of what is left.":
            (gap**2 - goal**2, gap**2 - goal, gap - goal**2, gap**2 + goal**2, (gap**2 - goal) ** 2, gap**2 - gap * goal + goal**2, gap**2 - gap / b),
        "Each answer gets a goal of its own. The loss knows the gap between the two and nothing else.":
            ((up - goal) ** 2 + (down + goal) ** 2, (up - goal) ** 2 + down**2, (up - goal) ** 2, (up - goal) ** 2 - (down - goal) ** 2,
             (up - goal) ** 2 + (down - goal) ** 2, ((up - goal) ** 2 + (down + goal) ** 2) / 2, (up - goal / 2) ** 2 + (down + goal / 2) ** 2),
        "The sign is turned round. The loss is minimised, and the square is what should become small.": (-want,),
        "That is DPO's loss, or a sigmoid of something. Here is none.":
            (-logsigmoid(b * gap), -logsigmoid(gap - goal), (gap.sigmoid() - goal) ** 2, (gap - goal).sigmoid() ** 2, ((b * gap).sigmoid() - 1) ** 2),
        "These are ratios of log-probabilities, or of probabilities. The log of a ratio is a difference of logs.":
            ((c / rc - r / rr - goal) ** 2, (up.exp() - down.exp() - goal) ** 2, (gap.exp() - goal) ** 2),
        "All pairs have the same loss, their mean or sum. Each keeps its own.":
            (want.mean().expand_as(want), want.sum().expand_as(want), ((gap.mean() - goal) ** 2).expand_as(want)),
        "The losses are divided by the number of pairs. Whoever takes the mean does that.": (want / len(c),),
    }
    # fmt: on


IPO = Loss(_ipo_slowly, _ipo_mistakes, FOUR, atol=1e-4)  # squares are large
