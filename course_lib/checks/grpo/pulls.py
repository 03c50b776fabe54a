"""Checks of lesson 08: how much each token counts, and the loss put together.

Losses and their gradients are worked out token by token from Python's own numbers. What
a loss with a fault in it gives is computed by one function with a switch for each
piece. The answers that prove the checks are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import (
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
    unchanged,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import losses

CUT = (
    "No gradient reaches the log-probabilities, so nothing would be learned. Stay with tensors: no .item(), "
    ".tolist(), no_grad, NumPy or torch.tensor(...) of a result, and no .detach() of `logprobs`."
)


# --- weights ------------------------------------------------------------------------------------


@check(
    losses.grpo_weights,
    proved="Every answer has the same share, long or short, and every token of it as well; where the mask is False "
    "the weight is 0, in gaps too.",
)
def grpo_weights(answer, draw):
    _weights_compare(answer, torch.arange(5) < torch.tensor([[2], [4], [1]]))
    gaps = torch.tensor([[True, True, False, True], [False, True, True, False]])
    _weights_compare(answer, gaps)
    for B, T in ((3, 7), (4, 4), (6, 2), (1, 5), (4, 1), (1, 1), (3, 300), (20, 3)):
        _weights_compare(answer, _lengths(*_drawn_lengths(draw, B, T)))
    _weights_compare(answer, _lengths(3, 3))
    mask = torch.rand(5, 4, generator=draw) < 0.5
    mask[:, 2] = True
    _weights_compare(answer, mask.T.contiguous().T)


def _lengths(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def _drawn_lengths(draw: torch.Generator, B: int, T: int) -> list[int]:
    lengths = torch.randint(1, T + 1, (B,), generator=draw)
    lengths[0 if B % 2 else -1] = T
    return lengths.tolist()


def _weights_compare(answer: Callable, mask: Tensor) -> None:
    B, T = mask.shape
    each = "Every token has a weight of its own, (B, T)."
    # fmt: off
    shapes = {
        (): f"That is one number for the whole batch. {each}", (B,): f"That is one number for each answer. {each}",
        (B, 1): f"That is one number for each answer. {each}", (T,): f"That is one number for each column. {each}",
        (T, B): "Rows and columns changed places.", (int(mask.sum()),): f"That is one row of all kept tokens. {each}",
    }
    # fmt: on
    shapes.pop((B, T), None)
    got = ask_tensor(answer, mask, shape=(B, T), shapes=shapes)
    expect(
        got.is_floating_point(),
        f"The weights are of type {got.dtype}; they are numbers with a decimal point. Whole ones would all be 0 or 1.",
    )
    rows = mask.tolist()
    shares = [[1 / (B * sum(row)) if kept else 0.0 for kept in row] for row in rows]
    want = torch.tensor(shares, dtype=torch.float64)
    if close(got, want):
        return
    clean = got.double().where(mask, 0.0)
    b, t = divmod(int((clean - want).abs().nan_to_num(9e9).argmax()), T)
    otherwise = (
        f"In a batch of {B}, a token of an answer with {int(mask[b].sum())} tokens has the weight {clean[b, t]:.4g}; it should be "
        f"{want[b, t]:.4g}."
    )
    diagnose(clean, want, _weights_mistakes(mask), otherwise)
    expect(
        close(got, want),
        "Where the mask is False something else than 0 stands. What is no token of the answer does not count.",
    )


def _weights_mistakes(mask: Tensor) -> dict[str, tuple[Tensor, ...]]:
    m, (B, T) = mask.double(), mask.shape
    n, columns, ends = m.sum(1, True), m.sum(0), m.cumsum(1)
    ones, longest = torch.ones_like(m), m.sum(1).max()
    spans = torch.stack([row.nonzero().max() + 1 for row in mask]).double()[:, None]
    inner = torch.stack([row.nonzero().max() - row.nonzero().min() + 1 for row in mask])[:, None]  # fmt: skip
    # fmt: off
    return {
        "That is the mask, as numbers. How much does a token count?": (m, m / B, m * B, m * m.mean()),
        "Every token of the batch counts alike: a long answer has more to say than a short one. Here every answer counts "
        "alike.": (m / m.sum(), ones / m.sum()),
        "Each answer's weights sum to 1, so the sum grows with the batch. How many answers are there?": (m / n,),
        "It is divided by the width of the batch, padding included. How many tokens does each answer have itself?":
            (m / (B * T), m / T, m / m.numel()),
        "All answers are taken to be as long as one of them, or as their mean. Each has its own length.":
            (m / B / longest, m / B / n.min(), m / B / n[0], m / B / n[-1], m / B / n.mean(), m / n.mean(), m / longest, m / n[0]),
        "The weights of each column are alike. An answer is a row.": (m / columns.clamp(min=1) / B, m / columns.clamp(min=1) / T, m / columns.clamp(min=1)),
        "It is divided by the number of columns. How many answers are there?": (m / n / T,),
        "It is multiplied where it should be divided: a token of a longer answer counts less.":
            (m * n / B, m * n, m * n / m.sum(), m * n / B / T, m * B / n),
        "A token's place makes a difference. All tokens of an answer count alike.":
            (m / ends.clamp(min=1) / B, m / ends.clamp(min=1), m / (torch.arange(T) + 1) / B, m * ends / ends.sum(1, True) / B),
        "The weights are relative to their mean, or to the largest. Each row should sum to one over the number of answers.":
            (m / n / (m / n).sum() * B, m / n / (m / n).mean(), m / n / (m / n).amax(), m / n * n.mean() / B),
        "It is divided by the number of answers twice, or by their number and by that of all tokens.": (m / n / B**2, m / n / m.sum(), m / m.sum() / B),
        "There is a softmax, or a root. A weight is one over a count.":
            (m.softmax(1) * m / B, m.softmax(1) * m, m.masked_fill(~mask, -torch.inf).softmax(1), m / n.sqrt() / B, m / n.sqrt(), m / n**2 / B),
        "A gap in the mask was counted as a token. Count what is True.": (m / spans / B, m / spans, m / inner / B),
        "As many tokens count as the answer has, from the first column on. Where there are gaps those are others than its own.":
            (m * (torch.arange(T) < n) / n / B,),
        "The mask is upside down: True marks the tokens that count.": ((1 - m) / (T - n).clamp(min=1) / B * m, 0 * m),
    }
    # fmt: on


# --- the loss -----------------------------------------------------------------------------------


class Case(NamedTuple):
    """What an answer is asked about; None = the default is left to the answer."""

    new: Tensor
    old: Tensor
    gains: Tensor  # (B,)
    mask: Tensor
    weights: Tensor | None = None
    clip_eps: float | None = None
    clip_high: float | None = None
    ref_logprobs: Tensor | None = None
    kl_coef: float | None = None
    kl_correction: bool | None = None

    @property
    def low(self) -> float:
        return 0.2 if self.clip_eps is None else self.clip_eps

    @property
    def high(self) -> float:
        return self.low if self.clip_high is None else self.clip_high

    @property
    def options(self) -> dict:
        names = self._fields[4:]
        given = zip(names, self[4:], strict=True)
        return {name: value for name, value in given if value is not None}

    @property
    def said(self) -> str:
        shown = [k if isinstance(v, Tensor) else f"{k}={v}" for k, v in self.options.items()]  # fmt: skip
        return f" (with {', '.join(shown)})" if shown else ""


@check(
    losses.grpo_loss,
    proved="Value and gradient are those of a slow loop: for answers of any length, other weights and clips, with and "
    "without a price of straying; padding and whatever is only a number have no say.",
)
def grpo_loss(answer, draw):
    _loss_compare(answer, _paper())
    for B, T in ((4, 6), (4, 4), (5, 3)):
        _loss_compare(answer, _drawn(draw, B, T))
    first = _quadrants(draw)
    ref = first.old + 0.7 * torch.randn(4, 4, generator=draw)
    free = torch.rand(4, 4, generator=draw) + 0.1  # not 0 under the padding
    for options in (
        {"weights": free},
        {"clip_eps": 0.1}, {"clip_eps": 0.5}, {"clip_high": 0.6}, {"clip_eps": 0.3, "clip_high": 0.05},
        {"clip_high": 0.0}, {"ref_logprobs": ref}, {"ref_logprobs": ref, "kl_coef": 0.0},
        {"ref_logprobs": ref, "kl_coef": 0.5}, {"ref_logprobs": ref, "kl_coef": 0.3, "kl_correction": True},
        {"kl_correction": True}, {"ref_logprobs": ref, "kl_coef": 0.3, "kl_correction": False, "clip_eps": 0.05},
    ):  # fmt: skip
        _loss_compare(answer, first._replace(**options))
    _loss_silent(answer, first, ref)
    for B, T in ((1, 5), (3, 1), (1, 1), (3, 7), (2, 30)):
        _loss_compare(answer, _drawn(draw, B, T))
        _loss_compare(answer, _everything(draw, B, T))
    _loss_numbers(answer, draw)
    _loss_padding(answer, draw)
    _loss_far(answer)
    turned = [
        x.T.contiguous().T if isinstance(x, Tensor) else x
        for x in _everything(draw, 4, 6)
    ]
    _loss_compare(answer, Case(*turned))
    case = _everything(draw, 3, 5, torch.float64)
    value, _ = _loss_ask(answer, case)
    expect(
        value.dtype == torch.float64,
        f"For numbers of type torch.float64 the loss has the type {value.dtype}. Stay in the type of what is given.",
    )
    _loss_compare(answer, case)


def _paper() -> Case:
    """All four quadrants, a ratio inside, and as many tokens as answers."""
    ratios = [[1.8, 1.1, 0.4], [0.4, 1.8, 3.0], [0.9, 5.0, 0.1]]
    old = torch.tensor([[-2.0, -1.5, -0.5]]).expand(3, 3).clone()
    gains = torch.tensor([1.5, -1.25, 0.5])
    return Case(old + torch.tensor(ratios).log(), old, gains, _lengths(3, 2, 1))


def _quadrants(draw: torch.Generator) -> Case:
    """Ratios on all sides of narrow and wide ranges, for good and bad answers."""
    ratios = torch.tensor(
        [[1.8, 0.4, 1.1, 1.4], [1.7, 0.5, 0.95, 0.6], [2.5, 0.7, 1.25, 0.3], [1.5, 0.45, 0.75, 1.0]]
    )  # fmt: skip
    ratios = ratios + 0.04 * torch.rand(4, 4, generator=draw)
    gains = torch.tensor([1.2, -0.8, 0.5, -1.5]) + torch.rand(4, generator=draw) / 5
    case = _drawn(draw, 4, 4)._replace(gains=gains, mask=_lengths(3, 4, 4, 3))
    return case._replace(new=case.old + ratios.log())


def _drawn(draw: torch.Generator, B: int, T: int, dtype=torch.float32) -> Case:
    """Answers of several lengths and a gap; in the padding, numbers that would show."""
    mask = _lengths(*_drawn_lengths(draw, B, T))
    if T > 4:
        mask[0 if B % 2 else -1, 2] = False  # of the longest: what a tool said
    old = -2 * torch.rand(B, T, generator=draw, dtype=dtype) - 0.1
    new = old + 0.5 * torch.randn(B, T, generator=draw, dtype=dtype)
    new[0, 0] = old[0, 0] + 0.04  # one token at least is never held
    gains = torch.randn(B, generator=draw, dtype=dtype) + 0.3
    return Case(new, old, gains, mask)


def _everything(draw: torch.Generator, B: int, T: int, dtype=torch.float32) -> Case:
    case = _drawn(draw, B, T, dtype)
    ref = case.old + 0.5 * torch.randn(B, T, generator=draw, dtype=dtype)
    weights = torch.rand(B, T, generator=draw, dtype=dtype) + 0.1
    return Case(*case[:4], weights, 0.3, 0.4, ref, 0.2, True)


# --- a loss and its gradient


def _loss_call(answer: Callable, case: Case) -> Tensor:
    B, T = case.mask.shape
    batch = "One number is wanted, the sum over the whole batch."
    # fmt: off
    shapes = {
        (1,): "A dimension was kept. A scalar has none: shape ().", (1, 1): "Dimensions were kept. A scalar has none: shape ().",
        (B, T): f"That is a number for each token. {batch}", (int(case.mask.sum()),): f"That is a number for each kept token. {batch}",
        (B, 1): f"That is a number for each answer. {batch}", (T,): f"That is a number for each column. {batch}",
        (B,): f"That is a number for each answer. {batch}",
    }
    # fmt: on
    options = case.options
    before = {name: option.clone() for name, option in options.items() if isinstance(option, Tensor)}  # fmt: skip
    try:
        loss = ask_tensor(answer, *case[:4], shape=(), shapes=shapes, **options)
    except (TypeError, AttributeError, ValueError) as error:
        stopped = f"{type(error).__name__}: {error}"
        expect(
            "needs ref_logprobs" not in stopped or case.kl_coef,
            "It asks for the reference though `kl_coef` is 0. Then nothing is paid for straying, and `ref_logprobs` is None.",
        )
        expect(
            "'bool' object" not in stopped,
            "`kl_correction` itself was handed to `kl_penalty`. What it wants in the third place is `old_logprobs`, or None.",
        )
        expect(
            "NoneType" not in stopped or case.weights is not None,
            f"Without `weights` or a reference it stopped ({stopped}). weights=None means those of your `grpo_weights`; "
            "with kl_coef=0, ref_logprobs may be None.",
        )
        raise
    for name, was in before.items():
        expect(
            unchanged(was, options[name]),
            f"It changed its own input, `{name}`. Later lines still need that: work on a new tensor.",
        )
    expect(
        case.new.grad is None,
        "It went backward itself (.backward()). Whoever called it does that, once, with the whole loss.",
    )
    return loss


def _loss_ask(answer: Callable, case: Case) -> tuple[Tensor, Tensor]:
    seen = []

    def asked(leaf: Tensor) -> Tensor:
        seen.append(_loss_call(answer, case._replace(new=leaf)))
        return seen[0]

    push = ask_gradient(asked, case.new, cut=CUT)
    return seen[0].detach(), push


def _loss_slowly(case: Case) -> tuple[Tensor, Tensor]:
    """Token by token: what each adds to the loss, and how hard it is pushed."""
    B, T = case.mask.shape
    total, push = 0.0, [[0.0] * T for _ in range(B)]
    news, olds, gains, given, refs = (
        None if x is None else x.tolist()
        for x in (case.new, case.old, case.gains, case.weights, case.ref_logprobs)
    )
    counts = case.mask.sum(1).tolist()
    for b, t in case.mask.nonzero().tolist():
        new, old, gain = news[b][t], olds[b][t], gains[b]
        ratio = math.exp(new - old)
        weight = 1 / (B * counts[b]) if given is None else given[b][t]
        ceiling, floor = 1 + case.high, 1 - case.low
        held = ratio > ceiling if gain > 0 else ratio < floor
        worth = gain * ((ceiling if gain > 0 else floor) if held else ratio)
        slope = 0.0 if held else gain * ratio
        if case.kl_coef:
            away = refs[b][t] - new
            k3, change = math.expm1(away) - away, -math.expm1(away)
            if case.kl_correction:
                k3, change = ratio * k3, ratio * (k3 + change)
            worth, slope = worth - case.kl_coef * k3, slope - case.kl_coef * change
        total, push[b][t] = total - weight * worth, -weight * slope
    wide = torch.float64
    return torch.tensor(total, dtype=wide), torch.tensor(push, dtype=wide)


def _loss_compare(answer: Callable, case: Case) -> None:
    (value, push), (should, pushed) = _loss_ask(answer, case), _loss_slowly(case)
    got = torch.cat([value.double().view(1), push.double().flatten()])
    want = torch.cat([should.view(1), pushed.flatten()])
    if close(got, want):
        return
    for mistake, ways in _LEFT_IN.items():
        for fault in ways:
            made = _with(case, **fault)
            if close(got, made) and not close(made, want):
                raise CheckFailed(mistake)
    b, t = divmod(int((push - pushed).abs().nan_to_num(9e9).argmax()), push.shape[1])
    at = f"at token {t} of answer {b} it is {push[b, t]:.4g}, and should be {pushed[b, t]:.4g}"
    if not case.gains.all():
        raise CheckFailed(
            f"With an advantage of 0 the loss is {value:.4g}, and should be {should:.4g}{case.said}; {at}. Such an answer is not "
            "pushed, but it is one of the B answers all the same, and pays for straying as others do."
        )
    if close(got, want, 5e-3, 5e-4):
        raise CheckFailed(
            f"The first digits are right{case.said} and the later ones are not. Is something rounded on the way (half "
            "precision), or a small constant added?"
        )
    if close(value, should):
        raise CheckFailed(
            f"The loss is right{case.said}, and its gradient is not: {at}. Is a part of it cut off (detach, no_grad)?"
        )
    if close(push, pushed):
        raise CheckFailed(
            f"The gradient is right{case.said}, and the value is not: the loss is {value:.4g}, and should be {should:.4g}. "
            "Is a constant added, or something left out that has no gradient?"
        )
    raise CheckFailed(
        f"The loss is {value:.4g}, and should be {should:.4g}{case.said}. Of its gradient: {at}."
    )


def _loss_numbers(answer: Callable, draw: torch.Generator) -> None:
    """Everything but logprobs is a number: no gradient flows into it."""
    case = _everything(draw, 4, 3)._replace(weights=None)
    names = {"gains": "the advantages", "old": "`old_logprobs`", "ref_logprobs": "`ref_logprobs`"}  # fmt: skip
    leaves = {name: getattr(case, name).clone().requires_grad_() for name in names}
    new = case.new.clone().requires_grad_()
    loss = _loss_call(answer, case._replace(new=new, **leaves))
    flows = torch.autograd.grad(loss, [new, *leaves.values()], allow_unused=True)
    expect(flows[0] is not None, CUT)
    for told, flow in zip(names.values(), flows[1:], strict=True):
        expect(
            flow is None or not flow.any(),
            f"A gradient flows into {told} as well. Only `logprobs` learns: the rest was measured, as numbers. Cut it off.",
        )
    expect(
        close(flows[0], _loss_slowly(case)[1]),
        "Where the other inputs have gradients of their own, that of `logprobs` comes out otherwise. Only what is given "
        "besides `logprobs` is cut off.",
    )


def _loss_padding(answer: Callable, draw: torch.Generator) -> None:
    """nan and infinity where the mask is False; only the value is asked for."""
    for case in (_drawn(draw, 3, 6), _everything(draw, 3, 6)):
        for hole in (torch.nan, torch.inf, -torch.inf):
            fields = ("new",) if math.isinf(hole) else ("new", "old", "ref_logprobs", "weights")  # fmt: skip
            given = {name: getattr(case, name) for name in fields}
            dirty = {
                name: torch.where(case.mask, x, hole)
                for name, x in given.items()
                if x is not None
            }
            value, want = _loss_call(answer, case._replace(**dirty)), _loss_slowly(case)
            expect(
                close(value, want[0]),
                f"With {hole} in the padding the loss is {value.item():.4g}, and should be {want[0]:.4g}{case.said}. Where the "
                "mask is False anything may stand, and a product with 0 does not remove it. Which sum of "
                "course_lib.masks leaves it out?",
            )


def _loss_silent(answer: Callable, first: Case, ref: Tensor) -> None:
    """Advantages of 0, as a group gives them that says nothing; and a reference that is far away."""
    paid = {"ref_logprobs": ref, "kl_coef": 0.4}
    for gains in (first.gains * torch.tensor([1.0, 0.0, 1.0, 1.0]), 0 * first.gains):
        for options in ({}, paid):
            _loss_compare(answer, first._replace(gains=gains, **options))
    far = torch.tensor([[3.0, -2.0, 2.5, 0.1]])
    paid = {"ref_logprobs": first.old + far, "kl_coef": 0.05}
    _loss_compare(answer, first._replace(**paid))


def _loss_far(answer: Callable) -> None:
    """Tokens that are nearly impossible, and ratios of e to the 9 and to the -12."""
    old = torch.tensor([[-200.0, -150.0, -300.0, -1.0], [-14.0, -14.0, -13.0, -250.0]])
    new = old + torch.tensor([[0.1, -0.3, 0.5, -12.0], [9.0, 0.1, 1.0, -0.1]])
    case = Case(new, old, torch.tensor([1.0, -2.0]), _lengths(4, 4))
    value, push = _loss_ask(answer, case)
    expect(
        bool(value.isfinite() and push.isfinite().all()),
        "For tokens that are nearly impossible (log-probability -200) the loss, or its gradient, is no number. "
        "Probabilities of both policies are 0 there; their logarithms are not.",
    )
    _loss_compare(answer, case)


# --- with faults left in


def _with(
    case: Case, sign=-1.0, ratio="tokens", clip="both", weights="given", ends="sum", kl="k3", pay="objective",
    kl_sign=1.0, coef=None, correction=None, low=None, high=None, gains="rows", unmasked=False,
) -> Tensor:  # fmt: skip
    """Loss and gradient in one row, with a fault for every switch that is turned."""
    leaf = case.new.double().requires_grad_()
    B, T = case.mask.shape
    m = torch.ones_like(case.mask) if unmasked else case.mask
    n, low = m.sum(1, keepdim=True), case.low if low is None else low
    above = {
        None: case.high,
        "low": case.low,
        "the limit": case.high - (case.clip_high is not None),
    }
    high = above.get(high, high)
    change, A = leaf - case.old.double(), _pushes(case.gains.double(), B, T, gains)
    r = _ratios(leaf, change, m, n, ratio)
    w = m / n / B
    if case.weights is not None and weights != "always grpo":
        w = case.weights.double() if weights != "times grpo" else case.weights * w
    ways = {"dapo": m / m.sum(), "ones": m.double(), "per answer": m / n, "places": m / T / B, "over B": m / B, "over T": m / T}  # fmt: skip
    if case.weights is None or weights in ("ones", "over B"):
        w = ways.get(weights, w)
    w = w / B if weights == "over B again" else w
    x = _clips(r, A, low, high, clip)
    beta = (case.kl_coef or 0.0) if coef is None else coef
    if case.ref_logprobs is not None and beta:
        ref = case.old if kl == "old" else case.ref_logprobs
        price = _prices(leaf, ref.double(), kl)
        corrected = case.kl_correction if correction is None else correction
        price = kl_sign * beta * price * (r if corrected else 1.0)
        x = {
            "objective": x - price, "times advantage": x - price * A,
            "before the clip": _clips(r, A - price, low, high, clip),
            "doubled": x - 2 * price, "halved": x - price / 2,
        }.get(pay, x)  # fmt: skip
    else:
        price = torch.zeros_like(x)
    kept, late = (x * w).where(m, 0.0), price.where(m, 0.0)
    total = {"mean": kept.sum() / m.sum(), "places": kept.mean(), "over B": kept.sum() / B, "of all": (x * w).sum(),
             "by weights": kept.sum() / w.where(m, 0.0).sum()}.get(ends, kept.sum())  # fmt: skip
    total = total - {"sum": late.sum(), "mean": late.sum() / m.sum(), "grpo": (late / n).sum() / B,
                     "all": price.mean()}.get(pay, 0.0)  # fmt: skip
    loss = sign * total
    (push,) = torch.autograd.grad(loss, leaf)
    return torch.cat([loss.detach().view(1), push.flatten()])


def _pushes(gains: Tensor, B: int, T: int, how: str) -> Tensor:
    """Advantages, (B, T)."""
    spread = gains.std() if B > 1 else torch.ones(())
    ways = {
        "columns": gains.expand(B, B) if B == T else gains[:, None].expand(B, T),
        "abs": gains.abs()[:, None].expand(B, T),
        "relu": gains.relu()[:, None].expand(B, T),
        "whitened": ((gains - gains.mean()) / (spread + 1e-8))[:, None].expand(B, T),
        "normalised": ((gains - gains.mean()) / (spread + 1e-4))[:, None].expand(B, T),
        "sign": gains.sign()[:, None].expand(B, T),
        "centred": (gains - gains.mean())[:, None].expand(B, T),
        "mean": gains.mean().expand(B, T),
        "sum": gains.sum().expand(B, T),
        "first": gains[0].expand(B, T),
        "none": torch.ones(B, T).double(),
        "turned": gains.flip(0)[:, None].expand(B, T),
    }
    return ways.get(how, gains[:, None].expand(B, T))


def _ratios(leaf: Tensor, change: Tensor, m: Tensor, n: Tensor, how: str) -> Tensor:
    summed = change.where(m, 0.0).sum(1, keepdim=True)
    ways = {
        "row means": lambda: (summed / n).exp().expand_as(change),
        "row sums": lambda: summed.exp().expand_as(change),
        "means, padding too": lambda: change.mean(1, True).exp().expand_as(change),
        "sums, padding too": lambda: change.sum(1, True).exp().expand_as(change),
        "gspo tokens": lambda: ((summed / n).detach() + leaf - leaf.detach()).exp(),
        "batch": lambda: change[m].mean().exp().expand_as(change),
        "no exp": lambda: change, "turned": lambda: (-change).exp(), "probability": leaf.exp,
        "logprobs": lambda: leaf, "itself": lambda: (leaf - leaf.detach()).exp(),
        "prefix": lambda: change.cumsum(1).exp(),
    }  # fmt: skip
    return ways.get(how, change.exp)()


def _clips(r: Tensor, A: Tensor, low: float, high: float, how: str) -> Tensor:
    plain, held = r * A, r.clamp(1 - low, 1 + high) * A
    ways = {
        "alone": held, "none": plain, "larger": torch.maximum(plain, held),
        "from above": torch.minimum(plain, r.clamp(max=1 + high) * A),
        "from below": torch.minimum(plain, r.clamp(min=1 - low) * A),
        "product": torch.minimum(plain, plain.clamp(1 - low, 1 + high)),
        "exchanged": torch.minimum(plain, r.clamp(1 - high, 1 + low) * A),
        "both high": torch.minimum(plain, r.clamp(1 - high, 1 + high) * A),
        "dropped": plain * ((r > 1 - low) & (r < 1 + high)),
        "around 0": torch.minimum(plain, r.clamp(-low, high) * A),
        "logs": torch.minimum(plain, r.log().clamp(-low, high).exp() * A),
        "of ratios": torch.minimum(r, r.clamp(1 - low, 1 + high)) * A,
    }  # fmt: skip
    return ways.get(how, torch.minimum(plain, held))


def _prices(leaf: Tensor, ref: Tensor, how: str) -> Tensor:
    away = ref - leaf
    k3 = torch.expm1(away) - away
    ways = {
        "k1": -away, "k2": away**2 / 2, "turned": torch.expm1(-away) + away, "log": away,
        "no log": torch.expm1(away), "detached": k3.detach(), "square": away**2,
        "one too much": k3 + 1,
    }  # fmt: skip
    return ways.get(how, k3)


# fmt: off
_LEFT_IN: dict[str, list[dict]] = {
    "The sign is turned. An optimizer goes downhill on what you return, and here downhill makes good answers less likely.":
        [{"sign": 1.0}, {"sign": 1.0, "kl_sign": -1.0}],
    "The advantages are laid along the tokens: token 0 gets that of answer 0, token 1 that of answer 1. Each belongs to a whole "
    "answer, a row.": [{"gains": "columns"}],
    "There is one ratio for a whole answer, from the mean or the sum of its log-probabilities. Each token has its own.":
        [{"ratio": how} for how in ("row means", "row sums", "means, padding too", "sums, padding too", "gspo tokens")],
    "There is one ratio for the whole batch. Each token has its own.": [{"ratio": "batch"}],
    "The ratios are multiplied along the row. Each token has its own.": [{"ratio": "prefix"}],
    "`clip_high` makes no difference: above, it takes the place of `clip_eps`, for good answers that rose.": [{"high": "low"}],
    "`clip_high` is used below as well, or there instead. It is the limit above; below stays `clip_eps`.": [{"clip": "exchanged"}, {"clip": "both high"}],
    "Only the clipped ratio counts: one that has already gone the wrong way gets no gradient, and is never called back. Two "
    "products are compared.": [{"clip": "alone"}],
    "Nothing is clipped: a ratio far outside is pushed further.": [{"clip": "none"}],
    "The larger of the two products counts: a ratio that went the wrong way is held, and one that went far the right way is "
    "pushed on.": [{"clip": "larger"}],
    "The clip holds from one side only: a ratio may be too small as well as too large.": [{"clip": "from above"}, {"clip": "from below"}],
    "The clip holds the ratio times the advantage. It holds the ratio alone, before the product.": [{"clip": "product"}],
    "The logarithm of the ratio is clipped. It is the ratio itself that stays within the range.": [{"clip": "logs"}],
    "The smaller of the two *ratios* counts. Each is multiplied by the advantage, which may be below 0, before they are compared.":
        [{"clip": "of ratios"}],
    "Every ratio outside of the range is left out. One that went the wrong way is called back with full force.": [{"clip": "dropped"}],
    "`clip_eps` makes no difference: 0.2 is built in.": [{"low": 0.2, "high": 0.2}, {"low": 0.2}],
    "Another number than `clip_eps` holds the ratio (0.2 where it is not given).": [{"low": x, "high": x} for x in (0.1, 0.3, 0.28, 0.25)],
    "The range is one around 0. A ratio that has not changed is 1.": [{"clip": "around 0"}],
    "`clip_high` is the limit itself in yours. The limit above is `1 + clip_high`.": [{"high": "the limit"}],
    "`weights` make no difference where they are given.": [{"weights": "always grpo"}],
    "The weights that are given are multiplied by those of GRPO. They take their place.": [{"weights": "times grpo"}],
    "Without `weights` every token of the batch counts alike. None means those of `grpo_weights`: every answer counts alike.":
        [{"weights": "dapo"}],
    "Without `weights` the tokens are added up, or averaged otherwise. None means those of `grpo_weights`.":
        [{"weights": how} for how in ("per answer", "places")],
    "There are no weights. A token counts as much as its weight says; None means those of `grpo_weights`.":
        [{"weights": "ones"}, {"weights": "over B"}, {"weights": "over T"}],
    "It is divided once more, by a number of tokens, places or answers. The weights have done that: it is a sum.":
        [{"ends": how} for how in ("mean", "places", "over B", "by weights")],
    "The padding counts where the weights there are not 0. Where the mask is False nothing is added.": [{"ends": "of all"}],
    "The mask makes no difference: padding is treated as part of the answer.": [{"unmasked": True}],
    "Straying is rewarded: the price has the wrong sign. It is taken away from what is raised.": [{"kl_sign": -1.0}],
    "No price is paid for straying.": [{"coef": 0.0}],
    "`kl_coef` makes no difference: another number is built in.": [{"coef": x} for x in (1.0, 0.1, 0.05, 0.04, 0.01)],
    "The price of straying is added up, or averaged, by itself. It belongs to each token, and the token's weight holds for it as well.":
        [{"pay": how} for how in ("sum", "mean", "grpo", "all")],
    "The price of straying is multiplied by the advantage. What strays pays, good or bad.": [{"pay": "times advantage"}],
    "The price of straying is taken from the advantage, before ratio and clip.": [{"pay": "before the clip"}],
    "The price of straying is paid twice, or half of it alone.": [{"pay": "doubled"}, {"pay": "halved"}],
    "The price is that of straying from the old policy. It is measured from the reference.": [{"kl": "old"}],
    "The price is the log-ratio (k1). It is k3: what does `kl_penalty` give?": [{"kl": "k1"}, {"kl": "log"}, {"kl": "no log"}],
    "The price is half the square (k2), or the square. It is k3: what does `kl_penalty` give?": [{"kl": "k2"}, {"kl": "square"}],
    "Policy and reference changed places in the price.": [{"kl": "turned"}],
    "The price is only a number: no gradient flows through it, so it pulls nowhere.": [{"kl": "detached"}],
    "`kl_correction` makes no difference. With it, the price is multiplied by the ratio.": [{"correction": False}],
    "The price is always multiplied by the ratio. That is only so with `kl_correction`.": [{"correction": True}],
    "The ratio is upside down: old over new.": [{"ratio": "turned"}],
    "The ratio has lost its exponential.": [{"ratio": "no exp"}, {"ratio": "no exp", "clip": "around 0"}],
    "That is no ratio to the old policy: `old_logprobs` make no difference.":
        [{"ratio": "probability"}, {"ratio": "logprobs"}, {"ratio": "itself"}, {"ratio": "logprobs", "clip": "none"}],
    "The advantages lost their sign: bad answers are made likelier as well, or are left alone.": [{"gains": "abs"}, {"gains": "relu"}],
    "The advantages were changed on the way (centred, divided by their spread, or their signs alone). They come as they should be used.":
        [{"gains": how} for how in ("whitened", "normalised", "centred", "sign")],
    "One advantage stands for all answers. Each answer has its own.": [{"gains": how} for how in ("mean", "sum", "first")],
    "The advantages make no difference.": [{"gains": "none"}],
    "The advantages are in another order than the answers.": [{"gains": "turned"}],
}
# fmt: on
