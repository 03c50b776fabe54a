"""Checks of lesson 07: what pushes a token's probability up or down, and how far.

Losses and their gradients are worked out token by token from Python's own numbers.
Padding holds numbers that would show. The answers that prove the checks are in
`tests/answers/`.
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
    expect,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.ppo.kinds import keeps_type
from course_lib.ppo import losses

Ways = dict[str, tuple[Callable[[Tensor], Tensor], ...]]  # mistake: what it minimises
CUT = (
    "No gradient reaches the log-probabilities, so nothing would be learned. Stay with tensors: no .item(), "
    ".tolist(), no_grad, NumPy or torch.tensor(...) of a result, and no .detach() of `logprobs`."
)


class Batch(NamedTuple):
    """What an answer is asked about; eps None = the default is left to the answer."""

    logprobs: Tensor
    advantages: Tensor
    mask: Tensor
    old: Tensor | None = None  # only for the clipped loss
    eps: float | None = None

    @property
    def range(self) -> float:
        return 0.2 if self.eps is None else self.eps


@check(
    losses.reinforce_loss,
    proved="Value and gradient are those of a slow loop, for responses of any length; the "
    "advantages get no gradient; and what stands in the padding has no influence, not even nan.",
)
def reinforce_loss(answer, draw):
    paper = [
        [-1.0, -2.0, -0.5, -25.0],
        [-3.0, -0.25, -1.5, -0.75],
        [-2.5, -1.0, -6.0, -0.5],
    ]
    gains = [[2.0, -1.0, 0.5, -3.0], [1.5, -12.0, 9.0, 7.0], [-2.0, 8.0, -5.0, 6.0]]
    first = Batch(torch.tensor(paper), torch.tensor(gains), _lengths(4, 2, 1))
    _loss_compare(answer, first)
    for B, T in ((3, 6), (5, 3), (4, 4), (1, 5), (3, 1), (1, 1)):
        _loss_compare(answer, _drawn_batch(draw, B, T))
    _loss_compare(answer, _drawn_batch(draw, 2, 17))
    _loss_rest(answer, draw, _drawn_batch)


@check(
    losses.clipped_policy_loss,
    proved="All four quadrants, ratios inside and far outside of the range, and other ranges: value "
    "and gradient are those of a slow loop; padding and whoever drew the tokens have no say.",
)
def clipped_policy_loss(answer, draw):
    ratios = [
        [1.8, 1.1, 0.4, 0.4, 1.8],
        [0.9, 1.05, 0.4, 1.8, 3.0],
        [25.0, 0.4, 5.0, 0.2, 1.3],
    ]
    gains = [
        [1.0, -2.0, -1.5, 0.5, -3.0],
        [4.0, -1.0, 2.0, 12.0, -9.0],
        [-0.5, 1.0, 6.0, -8.0, 5.0],
    ]
    old = torch.tensor([[-4.5, -2.0, -0.5, -4.0, -5.0]]).expand(3, 5).clone()
    new = old + torch.tensor(ratios).log()
    first = Batch(new, torch.tensor(gains), _lengths(5, 4, 2), old)
    _loss_compare(answer, first)
    for eps in (0.5, 0.15):  # no ratio lies on an edge
        _loss_compare(answer, first._replace(eps=eps))
    for B, T, eps in ((3, 6, None), (5, 3, 0.3), (4, 4, 0.1), (1, 5, None), (3, 1, 0.25), (1, 1, None)):  # fmt: skip
        _loss_compare(answer, _drawn_batch(draw, B, T, eps=eps, clip=True))
    _loss_compare(answer, _drawn_batch(draw, 2, 17, clip=True))
    _clip_far(answer)
    _loss_rest(answer, draw, lambda *a, **o: _drawn_batch(*a, **o, clip=True))


# --- what is drawn


def _lengths(*lengths: int) -> Tensor:
    """The mask of responses of these lengths, as wide as the longest."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def drawn_logprobs(draw, B: int, T: int, dtype=torch.float32) -> tuple[Tensor, Tensor]:
    """New and old log-probabilities, some of them far from one another."""
    old = -2 * torch.rand(B, T, generator=draw, dtype=dtype) - 0.1
    return old + 0.6 * torch.randn(B, T, generator=draw, dtype=dtype), old


def _drawn_batch(
    draw, B: int, T: int, dtype=torch.float32, eps: float | None = None, clip=False
) -> Batch:
    """Responses of several lengths, the longest first or last; in the padding, numbers that would show."""
    lengths = torch.randint(1, T + 1, (B,), generator=draw)
    lengths[0 if B % 2 else -1] = T
    mask = torch.arange(T) < lengths[:, None]
    new, old = drawn_logprobs(draw, B, T, dtype)
    gains = 2 * torch.randn(B, T, generator=draw, dtype=dtype) + 0.5
    gains = torch.where(mask, gains, 4 * gains + 3)
    new[0, 0] = old[0, 0] + 0.04  # one token at least is never held
    return Batch(new, gains, mask, old if clip else None, eps)


# --- a loss and its gradient


def _loss_call(answer, case: Batch) -> Tensor:
    B, T = case.mask.shape
    batch = "One number is wanted: the mean over the kept tokens of the whole batch."
    # fmt: off
    shapes = {
        (1,): "A dimension was kept. A scalar has none: shape ().",
        (1, 1): "Dimensions were kept. A scalar has none: shape ().",
        (B, T): f"That is a number for each token. {batch}",
        (int(case.mask.sum()),): f"That is a number for each kept token. {batch}",
        (B, 1): f"That is a number for each response. {batch}",
        (T,): f"That is a number for each column. {batch}",
        (B,): f"That is a number for each response. {batch}",
    }
    # fmt: on
    given = (case.logprobs, case.advantages, case.mask)
    options = {}
    if case.old is not None:
        given = (case.logprobs, case.old, case.advantages, case.mask)
        options = {} if case.eps is None else {"clip_eps": case.eps}
    loss = ask_tensor(answer, *given, shape=(), shapes=shapes, **options)
    expect(
        case.logprobs.grad is None,
        "It went backward itself (.backward()). Whoever called it does that, once, with the whole loss.",
    )
    return loss


def _loss_ask(answer, case: Batch) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient at the log-probabilities."""
    seen = []

    def asked(leaf: Tensor) -> Tensor:
        seen.append(_loss_call(answer, case._replace(logprobs=leaf)))
        return seen[0]

    push = ask_gradient(asked, case.logprobs, cut=CUT)
    return seen[0].detach(), push


def _loss_slowly(case: Batch) -> tuple[Tensor, Tensor]:
    """Token by token: what each adds to the loss, and how hard it is pushed."""
    total, push = 0.0, torch.zeros(case.mask.shape, dtype=torch.float64)
    for b, t in case.mask.nonzero().tolist():
        new, gain = case.logprobs[b, t].item(), case.advantages[b, t].item()
        if case.old is None:
            total, push[b, t] = total + new * gain, -gain
            continue
        ratio = math.exp(new - case.old[b, t].item())
        low, high = 1 - case.range, 1 + case.range
        held = ratio > high if gain > 0 else ratio < low
        if held:
            total += gain * (high if gain > 0 else low)
        else:
            total, push[b, t] = total + ratio * gain, -ratio * gain
    kept = int(case.mask.sum())
    return torch.tensor(-total / kept, dtype=torch.float64), push / kept


def _loss_compare(answer, case: Batch) -> None:
    got, want = _loss_ask(answer, case), _loss_slowly(case)
    right = [close(g, w) for g, w in zip(got, want, strict=True)]
    if all(right):
        return
    ways = _clip_mistakes(case) if case.old is not None else _reinforce_mistakes(case)
    _loss_named(case.logprobs, got, want, ways)
    (value, push), (should, pushed) = got, want
    b, t = divmod(int((push.double() - pushed).abs().argmax()), push.shape[1])
    at = f"at token {t} of response {b} it is {push[b, t]:.4g}, and should be {pushed[b, t]:.4g}"
    if right[0]:
        raise CheckFailed(
            f"The loss is right, and its gradient is not: {at}. Is a part of it cut off (detach, no_grad)?"
        )
    if right[1]:
        raise CheckFailed(
            f"The gradient is right, and the value is not: the loss is {value:.4g}, and should be {should:.4g}. Is a "
            "constant added, or something else averaged that has the same gradient?"
        )
    if close(value, should, 5e-3, 5e-4) and close(push, pushed, 5e-3, 5e-4):
        raise CheckFailed(
            "The first digits are right and the later ones are not. Is something rounded on the way (half precision), "
            "or a small constant added?"
        )
    eps = "" if case.eps is None else f", with clip_eps={case.eps}"
    raise CheckFailed(
        f"The loss is {value:.4g}, and should be {should:.4g}{eps}. Of its gradient: {at}."
    )


def _loss_named(start: Tensor, got, want, mistakes: Ways) -> None:
    """Fail with the mistake whose loss and gradient these are."""
    for mistake, ways in mistakes.items():
        for way in ways:
            leaf = start.double().clone().requires_grad_()
            value = way(leaf)
            (push,) = torch.autograd.grad(value, leaf)
            both = [(value.detach(), got[0], want[0]), (push, got[1], want[1])]
            if all(close(g, made) for made, g, _ in both) and not all(
                close(made, w) for made, _, w in both
            ):
                raise CheckFailed(mistake)


def _loss_rest(answer, draw, drawn) -> None:
    """Gradients that must not flow, padding, types and layouts of memory."""
    _loss_numbers(answer, drawn(draw, 4, 3))
    _loss_padding(answer, drawn(draw, 3, 6))
    case = drawn(draw, 4, 6)
    turned = [x if x is None else x.T.contiguous().T for x in case[:4]]
    _loss_compare(answer, Batch(*turned, eps=case.eps))
    _loss_compare(answer, _with_holes(drawn(draw, 3, 6)))
    case = drawn(draw, 4, 5, dtype=torch.float64)
    value, _ = _loss_ask(answer, case)
    keeps_type(value, case.logprobs, "the loss has")
    _loss_compare(answer, case)


def _with_holes(case: Batch) -> Batch:
    """What counts stands anywhere in a row; and some of it is exactly 0."""
    mask = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    gains, new = case.advantages.clone(), case.logprobs.clone()
    gains[0, 1] = new[1, 3] = 0.0  # a certain token: log 1
    return case._replace(logprobs=new, advantages=gains, mask=mask.bool())


def _loss_numbers(answer, case: Batch) -> None:
    """Advantages, and the log-probabilities of before, are numbers: no gradient flows into them."""
    names = {"advantages": case.advantages, "old": case.old}
    leaves = {
        name: given.clone().requires_grad_()
        for name, given in names.items()
        if given is not None
    }
    new = case.logprobs.clone().requires_grad_()
    loss = _loss_call(answer, case._replace(logprobs=new, **leaves))
    flows = torch.autograd.grad(loss, [new, *leaves.values()], allow_unused=True)
    expect(flows[0] is not None, CUT)
    reasons = {
        "advantages": "They say what each token brought, as numbers: a critic would learn here to call everything good. "
        "Cut them off before they are used.",
        "old": "`old_logprobs` are what was measured when the tokens were drawn, as numbers. Cut them off.",
    }
    for name, flow in zip(leaves, flows[1:], strict=True):
        told = {"old": "`old_logprobs`"}.get(name, f"the {name}")
        expect(
            flow is None or not flow.any(),
            f"A gradient flows into {told} as well. {reasons[name]}",
        )
    pushed = _loss_slowly(case)[1]
    expect(
        close(flows[0], pushed),
        "Where the other inputs have gradients of their own, that of `logprobs` comes out otherwise. Only what is given "
        "besides `logprobs` is cut off.",
    )


def _loss_padding(answer, case: Batch) -> None:
    """nan and infinity where the mask is False; only the value is asked for."""
    for hole in (torch.nan, torch.inf, -torch.inf):
        inputs = [case.logprobs, case.advantages, case.old]
        dirty = [x if x is None else torch.where(case.mask, x, hole) for x in inputs]
        if not math.isnan(hole):
            dirty = [dirty[0], *inputs[1:]]
        value = _loss_call(
            answer, Batch(dirty[0], dirty[1], case.mask, dirty[2], case.eps)
        )
        expect(
            close(value, _loss_slowly(case)[0]),
            f"With {hole} in the padding the loss is {value.item():.4g}, and should be {_loss_slowly(case)[0]:.4g}. Where "
            "the mask is False anything may stand, and a product with 0 does not remove it. Which mean of "
            "course_lib.masks leaves it out?",
        )


# --- known mistakes in a loss


def _average_mistakes(
    case: Batch, objective: Callable[[Tensor, Tensor], Tensor]
) -> Ways:
    """objective(logprobs, advantages) (B, T) is what the mean should be of, before the sign is turned."""
    m, A, (B, T) = case.mask, case.advantages.double(), case.mask.shape
    n, ends = m.sum(1), m.sum(1) - 1
    rows = torch.arange(B)

    def of(reduce: Callable[[Tensor], Tensor], gains: Tensor = A) -> Callable:
        return lambda l: -reduce(objective(l, gains))

    def with_gains(gains: Tensor) -> tuple:
        return of(lambda x: x[m].mean(), gains), of(lambda x: x.mean(), gains)

    centred = A - A[m].mean()
    white = [centred / (A[m].std(correction=c) + 1e-8) for c in (0, 1) if m.sum() > 1]
    white += [(A - A.mean()) / (A.std() + 1e-8)] if m.numel() > 1 else []
    row_means = (A * m).sum(1, keepdim=True) / n[:, None]
    later = (A * m).flip(1).cumsum(1).flip(1)
    left = torch.arange(T) < n[:, None]
    flat = [row_means, A.mean(1, keepdim=True), (A * m).sum(1, keepdim=True), A.sum(1, keepdim=True), A[:, :1],
            A[:, -1:], A[rows, ends][:, None], A[m].mean(), A.mean(), A[:1], A[-1:], A[:1, :1]]  # fmt: skip
    # fmt: off
    return {
        "The sign is turned. An optimizer goes downhill on what you return, and here downhill makes good tokens less "
        "likely and bad ones likelier.": (lambda l: objective(l, A)[m].mean(), lambda l: objective(l, A).mean()),
        "The padding counts. Where the mask is False there is no token: it adds nothing, and it is not counted.":
            (of(lambda x: x.mean()), of(lambda x: (x * m).mean()), of(lambda x: x.sum() / m.sum())),
        "The mask is upside down: True marks the tokens that count.":
            ((of(lambda x: x[~m].mean()),) if not m.all() else ()),
        "It is added up, not averaged: a larger batch would make larger steps.":
            (of(lambda x: x[m].sum()), of(lambda x: x.sum())),
        "Each response got its own mean first, and then these were averaged: a token of a short response counts more. "
        "The mean is over the tokens of the whole batch.":
            (of(lambda x: ((x * m).sum(1) / n).mean()), of(lambda x: ((x * m).sum(0) / m.sum(0).clamp(min=1)).mean())),
        "The responses' sums were averaged. The mean is over the tokens of the whole batch, not over responses.":
            (of(lambda x: (x * m).sum() / B), of(lambda x: x.sum() / B)),
        "What counts is taken to stand at the left of each row. The mask says which tokens count, wherever they stand.":
            (of(lambda x: x[left].mean()),),
        "Tokens at which something is 0 are not counted. The mask says which tokens count, and no number does.":
            (of(lambda x: (x * m).sum() / (x * m != 0).sum()), of(lambda x: (x * m).sum() / (A * m != 0).sum()),
             lambda l: -(objective(l, A) * m).sum() / (l * m != 0).sum()),
        "It is divided by the number of places of a row. Count the tokens that the mask keeps, in the whole batch.":
            (of(lambda x: (x * m).sum() / T), of(lambda x: x.sum() / T)),
        "Only one response counts. The mean is over the tokens of the whole batch.":
            (of(lambda x: x[0][m[0]].mean()), of(lambda x: x[-1][m[-1]].mean()), of(lambda x: x[0].mean())),
        "Only one token of each response counts. Every token that the mask keeps does.":
            (of(lambda x: x[rows, ends].mean()), of(lambda x: x[:, 0].mean()), of(lambda x: x[:, -1].mean())),
        "The mean was taken twice, or something divides by the number of tokens once more.":
            (of(lambda x: x[m].mean() / m.sum()), of(lambda x: x[m].mean() / B), of(lambda x: x[m].mean() / T)),
        "The advantages were changed on the way (centred, or divided by their spread). They come as they should be used.":
            tuple(w for gains in [*white, centred, A - A.mean(), A - row_means] for w in with_gains(gains)),
        "One advantage stands for several tokens: of a row, or of the batch. Each token has its own.":
            tuple(w for gains in flat for w in with_gains(gains.expand(B, T))),
        "Bad tokens are made likelier as well, or are left alone: the advantages lost their sign, or their size.":
            tuple(w for gains in (A.abs(), A.sign(), A.relu(), A**2) for w in with_gains(gains)),
        "Advantages are used at the wrong token, shifted by one, or added up along the row. They stand where they belong.":
            tuple(w for gains in (A.roll(1, 1), A.roll(-1, 1), later, (A * m).cumsum(1)) for w in with_gains(gains)),
        "There is a softmax or an exponential over the advantages. They are used as they are, below 0 as well.":
            tuple(w for gains in (A.softmax(1), A.exp(),
            A[m].exp().sum().reciprocal() * A.exp()) for w in with_gains(gains)),
    }
    # fmt: on


def _reinforce_mistakes(case: Batch) -> Ways:
    m, A, N = case.mask, case.advantages.double(), case.mask.sum()
    clean = A * m
    # fmt: off
    return {
        "The probability is averaged (an exponential), not its logarithm. Whatever is unlikely would hardly be pushed.":
            (lambda l: -(l.exp() * A)[m].mean(), lambda l: -(l.exp() * A).mean(), lambda l: -(l.exp() * A)[m].sum()),
        "The advantages make no difference. Then whatever was said becomes likelier, good or bad.":
            (lambda l: -l[m].mean(), lambda l: -l.mean(), lambda l: l[m].mean()),
        "Means, or sums, were multiplied. First each token times its own advantage, then the mean.":
            (lambda l: -l[m].mean() * A[m].mean(), lambda l: -l.mean() * A.mean(), lambda l: -l[m].sum() * A[m].sum(),
             lambda l: -((l * m).sum(1) * clean.sum(1)).mean(), lambda l: -(l.sum(1) * A.sum(1)).mean(),
             lambda l: -((l * m).sum(1) / m.sum(1) * clean.sum(1) / m.sum(1)).mean(),
             lambda l: -(l.mean(1) * A.mean(1)).mean(), lambda l: -((l * m).sum(1, keepdim=True) * clean).sum() / N,
             lambda l: -((l * m).sum(1, keepdim=True) * A)[m].mean()),
        "Log-probability and advantage are added or subtracted. The advantage is a weight: how hard to push.":
            (lambda l: -(l + A)[m].mean(), lambda l: (A - l)[m].mean(), lambda l: -(l - A)[m].mean(),
             lambda l: ((A - l) ** 2)[m].mean(), lambda l: ((A - l) ** 2)[m].mean() / 2),
        "Log-probabilities, or advantages, are added up along the row. Each token has its own.":
            (lambda l: -(l.cumsum(1) * A)[m].mean(), lambda l: -((l * m).cumsum(1) * A)[m].mean()),
        "It divides by the advantage, or by the log-probability.":
            (lambda l: -(l / A)[m].mean(), lambda l: -(A / l)[m].mean()),
        **_average_mistakes(case, lambda l, gains: l * gains),
    }
    # fmt: on


def _clip_mistakes(case: Batch) -> Ways:
    m, A, old, e = case.mask, case.advantages.double(), case.old.double(), case.range
    low, high, n = 1 - e, 1 + e, case.mask.sum(1, keepdim=True)
    least, most = torch.minimum, torch.maximum

    def ratio(l: Tensor) -> Tensor:
        return (l - old).exp()

    def pushed(r: Tensor, gains: Tensor = A, low=low, high=high) -> Tensor:
        return least(r * gains, r.clamp(low, high) * gains)

    def mean(*ways: Callable[[Tensor], Tensor]) -> tuple:
        """Each over the kept tokens, and over everything; both with the sign turned."""
        sums = [lambda l, way=way: -way(l)[m].mean() for way in ways]
        return (*sums, *[lambda l, way=way: -way(l).mean() for way in ways])

    def of_rows(l: Tensor, reduce: str) -> Tensor:
        gap = ((l - old) * m).sum(1, keepdim=True)
        return (gap / n if reduce == "mean" else gap).exp().expand_as(l)

    # fmt: off
    return {
        "The larger of the two products counts: a ratio that went the wrong way is held, and one that went far the right "
        "way is pushed on. (Whoever turns the sign first turns min into max.)":
            mean(lambda l: most(ratio(l) * A, ratio(l).clamp(low, high) * A)),
        "Only the clipped ratio counts: a ratio that has already gone the wrong way gets no gradient, and is never called "
        "back. Two products are compared.": mean(lambda l: ratio(l).clamp(low, high) * A),
        "Nothing is clipped: a ratio far outside is pushed further.": mean(lambda l: ratio(l) * A),
        "The clip holds the ratio times the advantage. It holds the ratio alone, before the product.":
            mean(lambda l: least(ratio(l) * A, (ratio(l) * A).clamp(low, high)), lambda l: (ratio(l) * A).clamp(low,
            high),
                 lambda l: least(ratio(l) * A, (ratio(l) * A).clamp(-e, e))),
        "The advantages are clipped. Only the ratio is.":
            mean(lambda l: ratio(l) * A.clamp(low, high), lambda l: least(ratio(l) * A, ratio(l) * A.clamp(low, high)),
                 lambda l: pushed(ratio(l), A.clamp(-e, e)), lambda l: pushed(ratio(l), A.clamp(low, high)),
                 lambda l: pushed(ratio(l), A.clamp(-1, 1))),
        "`clip_eps` makes no difference: another range than the one asked for is used always.":
            mean(lambda l: pushed(ratio(l), A, 0.8, 1.2), lambda l: pushed(ratio(l), A, 0.9, 1.1)) if e != 0.2 else (),
        "The clip holds from one side only: a ratio may be too small as well as too large. (The smaller of the two "
        "*products* counts, not of the two ratios.)":
            mean(lambda l: least(ratio(l) * A, ratio(l).clamp(max=high) * A),
                 lambda l: least(ratio(l) * A, ratio(l).clamp(min=low) * A), lambda l: ratio(l).clamp(max=high) * A,
                 lambda l: ratio(l).clamp(min=low) * A),
        "Every ratio outside of the range is left out or held. One that went the wrong way is called back with full force.":
            mean(lambda l: ratio(l) * A * ((ratio(l) > low) & (ratio(l) < high)),
                 lambda l: (ratio(l) * A).where((ratio(l) > low) & (ratio(l) < high), A)),
        "There is one ratio for a whole response, from the mean or the sum of its log-probabilities. Each token has its own.":
            mean(*(lambda l, how=how: pushed(of_rows(l, how)) for how in ("mean", "sum")),
                 lambda l: pushed((l - old).mean(1, keepdim=True).exp().expand_as(l)),
                 lambda l: pushed((l - old).sum(1, keepdim=True).exp().expand_as(l)),
                 lambda l: pushed((l - old)[m].mean().exp().expand_as(l)),
                 lambda l: pushed((l - old).mean().exp().expand_as(l))),
        "The logarithm of the ratio is clipped. The ratio itself is, about 1.":
            mean(lambda l: least(ratio(l) * A, (l - old).clamp(-e, e).exp() * A), lambda l: pushed(l - old),
                 lambda l: least((l - old) * A, (l - old).clamp(-e, e) * A), lambda l: (l - old).clamp(-e, e).exp() * A),
        "The ratio is upside down: old over new.": mean(lambda l: pushed((old - l).exp())),
        "That is no ratio to the old policy: `old_logprobs` make no difference.":
            mean(lambda l: pushed(l.exp()), lambda l: pushed(l), lambda l: l * A,
            lambda l: pushed((l - l.detach()).exp())),
        "The range is another one. It goes as far below 1 as above: by clip_eps.":
            mean(*(lambda l, a=a, b=b: pushed(ratio(l), A, a, b) for a, b in
                   ((1 / high, high), (low, 1 / low), (1 - e / 2, 1 + e / 2), (1 - 2 * e, 1 + 2 * e), (-e, e), (0,
                    high), (0, e),
                    (1 - e, 1), (1, high), (high, low), (1 - e * e, 1 + e * e))),
                 lambda l: least(ratio(l) * A, ratio(l).clamp(-e, e) * A)),
        "The smaller of two means was taken. First the smaller product of each token, then the mean.":
            (lambda l: -least((ratio(l) * A)[m].mean(), (ratio(l).clamp(low, high) * A)[m].mean()),
             lambda l: -least((ratio(l) * A).mean(), (ratio(l).clamp(low, high) * A).mean()),
             lambda l: -((ratio(l) * A).min())),
        **_average_mistakes(case, lambda l, gains: pushed(ratio(l), gains)),
        "A second clip was added, for ratios that went the wrong way. They are called back with full force here.":
            mean(*(lambda l, c=c: most(pushed(ratio(l)), c * A).where(A < 0, pushed(ratio(l))) for c in (2, 3, 5, 10)),
                 *(lambda l, c=c: least(pushed(ratio(l)), c * A).where(A > 0, pushed(ratio(l))) for c in (2, 3)),
                 *(lambda l, c=c: pushed(ratio(l).clamp(max=c)) for c in (20, 100, 1000)),
                 *(lambda l, c=c: pushed((l - old).clamp(-c, c).exp()) for c in (5, 10, 20)),
                 lambda l: most(pushed(ratio(l)), high * A), lambda l: pushed(ratio(l)).clamp(min=-1)),
    }
    # fmt: on


def _clip_far(answer) -> None:
    """Tokens that are nearly impossible, and ratios of e to the 22 and to the -12."""
    old = torch.tensor([[-200.0, -150.0, -300.0, -14.0], [-1.0, -14.0, -13.0, -250.0]])
    new = old + torch.tensor([[0.1, -0.3, 0.5, 1.0], [-12.0, 0.1, 1.0, -0.1]])
    gains = torch.tensor([[1.0, 2.0, -1.0, 2.0], [-3.0, 1.5, 2.0, -0.5]])
    case = Batch(new, gains, _lengths(4, 4), old)
    value, push = _loss_ask(answer, case)
    expect(
        bool(value.isfinite() and push.isfinite().all()),
        "For tokens that are nearly impossible (log-probability -200) the loss, or its gradient, is no number. "
        "Probabilities of both policies are 0 there; their logarithms are not.",
    )
    _loss_compare(answer, case)
    old = torch.tensor([[-14.0, -1.0, -24.0, -2.0]], dtype=torch.float64)
    new = old + torch.tensor([[12.0, -12.0, 22.0, 0.1]])
    gains = torch.tensor([[2.0, -3.0, -1.5, 1.0]], dtype=torch.float64)
    _loss_compare(answer, Batch(new, gains, _lengths(4), old))
