"""Check of lesson 07: the critic's loss, with values that move only so far in one batch.

Losses are worked out token by token from Python's own numbers, and gradients from
differences of these. The answers that prove the check are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask_gradient, ask_tensor, close, diagnose, expect
from course_lib.checks.harness import check
from course_lib.checks.ppo.kinds import keeps_type
from course_lib.ppo import losses


class Valued(NamedTuple):
    """What the answer is asked about; clip_eps None: its default."""

    values: Tensor
    old_values: Tensor
    returns: Tensor
    mask: Tensor
    clip_eps: float | None = None

    @property
    def eps(self) -> float:
        return 0.2 if self.clip_eps is None else self.clip_eps

    def kept(self) -> list[tuple[float, float, float]]:
        numbers = (x[self.mask].tolist() for x in self[:3])
        return list(zip(*numbers, strict=True))


@check(
    losses.clipped_value_loss,
    proved="Token by token, with the default clip and with others; whatever stands under padding, nan too, "
    "makes no difference; and only values that the clip does not hold are pulled on.",
)
def clipped_value_loss(answer, draw):
    sizes = ((3, 5, 1), 6, None), ((2, 4, 3, 4), 4, 0.5), ((1, 3), 5, 0.8)
    further = _drawn(
        draw, (2, 4), 5, 0.3
    )  # old values that were as good as the returns
    further = further._replace(returns=further.old_values + 0.1)
    _compare(answer, _on_paper(), *(_drawn(draw, *size) for size in sizes), further)
    _compare(answer, _drawn(draw, (3, 1, 4), 5, 0.3, under=math.nan))
    for lengths, T, eps in (((3,), 5, 0.1), ((1, 1, 1), 1, None), ((1,), 1, 0.7)):
        _compare(answer, _drawn(draw, lengths, T, eps))
    exact = _drawn(draw, (5, 2), 7, None, dtype=torch.float64)
    _compare(answer, exact)
    _compare(answer, *(_with_holes(_drawn(draw, (5, 5), 5, e)) for e in (0.3, 0.7)))
    large = _drawn(draw, (2, 3, 1), 4, 6.0)  # all of it ten times as large
    tens = {name: 10 * getattr(large, name) for name in large._fields[:3]}
    wide = (_drawn(draw, (4, 2, 3), 5, eps) for eps in (0.0, 50.0))
    _compare(answer, large._replace(**tens), *wide)
    case = _drawn(draw, (3, 2), 4, 0.2)
    _compare(answer, case._replace(values=case.old_values.clone()))
    for case in (_drawn(draw, (4, 2, 3), 5, 0.4), _drawn(draw, (3, 5), 6, None)):
        _gradient(answer, case)
    keeps_type(_asked(answer, exact), exact.values, "the loss has")


def _with_holes(case: Valued) -> Valued:
    """What counts stands anywhere in a row; and one value is exactly right."""
    mask = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 1, 0, 0]]).bool()
    values, old = case.values.clone(), case.old_values.clone()
    values[0, 3] = old[0, 3] = case.returns[0, 3]
    return case._replace(values=values, old_values=old, mask=mask)


def _on_paper() -> Valued:
    """Held and nearer, held and further, not held; 9 and the like under padding."""
    values = torch.tensor([[1.0, 0.0, 0.1, 9.0, 7.0], [-1.0, -2.0, 2.0, 8.0, 5.0]])
    old = torch.tensor([[0.0, 1.0, 0.0, 2.0, 3.0], [1.0, -2.1, 1.5, 9.0, -4.0]])
    returns = torch.tensor([[1.5, 3.0, -1.0, 1.0, 6.0], [-2.0, 1.0, 2.2, -7.0, 2.0]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]).bool()
    return Valued(values, old, returns, mask)


def _drawn(
    draw: torch.Generator,
    lengths: tuple[int, ...],
    T: int,
    eps: float | None,
    under: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Valued:
    """Values on both sides of old ones and returns, all far from 0; not in one piece."""
    B = len(lengths)
    mask = torch.arange(T).expand(B, T) < torch.tensor(lengths).unsqueeze(1)
    old, moved, wrong = torch.randn(3, T, B, generator=draw, dtype=dtype).mT
    old = old + 2
    moved[0, 0] = 0.6 + moved[0, 0].abs()  # one value at least is held, and nearer
    values = old + moved
    returns = values + wrong
    returns[0, 0] = values[0, 0] + 0.5
    numbers = (values, old, returns)
    if under is not None:
        numbers = (x.masked_fill(~mask, under) for x in numbers)
    return Valued(*numbers, mask, eps)


def _slowly(case: Valued) -> Tensor:
    """Token by token."""
    errors = []
    for value, old, came in case.kept():
        held = min(max(value, old - case.eps), old + case.eps)
        errors.append(max((value - came) ** 2, (held - came) ** 2))
    loss = math.fsum(errors) / len(errors) / 2
    return torch.tensor(loss, dtype=torch.float64)


def _asked(answer: Callable, case: Valued) -> Tensor:
    B, T = case.mask.shape
    mean = "One number is wanted, the mean over all kept tokens."
    shapes = {
        (1,): "One number without any dimension is wanted.",
        (1, 1): mean,
        (B,): mean,
        (T,): mean,
    }
    shapes |= {(B, T): mean, (int(case.mask.sum()),): mean}
    given = case[:4] if case.clip_eps is None else case
    return ask_tensor(answer, *given, shape=(), shapes=shapes)


def _compare(answer: Callable, *cases: Valued) -> None:
    """All are asked first: a mistake is named if it explains every result."""
    got = torch.stack([_asked(answer, case).detach().double() for case in cases])
    want = torch.stack([_slowly(case) for case in cases])
    if close(got, want):
        return
    off = ~torch.isclose(got, want, rtol=1e-5, atol=1e-6)
    place = int(off.nonzero()[0])
    case, wrong, right = cases[place], got[place], want[place]
    if not case.returns[~case.mask].isfinite().all():
        expect(
            bool(wrong.isfinite()),
            f"With nan under padding the loss is {wrong:.4g}. nan times 0 is nan again: leave those places out, "
            "as masked_mean does, instead of multiplying.",
        )
        clean = (x.masked_fill(~case.mask, 0.0) for x in case[:3])
        cases = (Valued(*clean, case.mask, case.clip_eps),)
    about = f"with a clip_eps of {case.eps:g}"
    if case.clip_eps is None:
        about = "with the default clip_eps"
    if len(case.kept()) == 1:
        value, old, came = case.kept()[0]
        about = f"for the value {value:.4g}, once {old:.4g}, and the return {came:.4g}, {about},"
    otherwise = f"The loss {about} is {wrong:.4g}; token by token it is {right:.4g}."
    expect(bool(got.isfinite().all()), otherwise)
    known = [_mistakes(case) for case in cases]
    diagnose(
        got,
        want,
        {
            name: tuple(map(torch.stack, zip(*(k[name] for k in known), strict=True)))
            for name in known[0]
        },
        otherwise,
    )


def _mistakes(case: Valued) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give."""
    m, eps = case.mask, case.eps
    all_v, all_o, all_r = (x.double() for x in case[:3])
    v, o, r = all_v[m], all_o[m], all_r[m]  # (N,)
    B, T = m.shape

    def held(v: Tensor, o: Tensor, reach: float | Tensor = eps) -> Tensor:
        return torch.minimum(torch.maximum(v, o - reach), o + reach)

    def larger(v: Tensor, o: Tensor, r: Tensor, reach: float | Tensor = eps) -> Tensor:
        return torch.maximum((v - r) ** 2, (held(v, o, reach) - r) ** 2)

    plain, clipped, both = (v - r) ** 2, (held(v, o) - r) ** 2, larger(v, o, r)
    everywhere, lengths = larger(all_v, all_o, all_r), m.sum(dim=1)
    kept = everywhere.masked_fill(~m, 0.0)
    near, far = held(v, o) - r, v - r
    half = lambda x: x.mean() / 2  # noqa: E731
    low, high = torch.maximum(v, o - eps), torch.minimum(v, o + eps)
    relative = torch.minimum(torch.maximum(v, o * (1 - eps)), o * (1 + eps))
    ratio = torch.minimum(torch.maximum(v / o, 1 - eps + 0 * v), 1 + eps + 0 * v)
    # fmt: off
    return {
        "The smaller of the two squares counts in yours. The larger one counts, so that a value gains nothing by moving "
        "further in one batch.": (half(torch.minimum(plain, clipped)), torch.minimum(plain, clipped).mean()),
        "The half is missing.": (both.mean(),),
        "It is halved twice, or more.": (both.mean() / 4, both.mean() / 8),
        "It is doubled.": (2 * both.mean(),),
        "Only the value that is held counts. The value itself has a square as well, and the larger of the two counts.":
            (half(clipped), clipped.mean()),
        "The clip makes no difference: that is half the mean square alone. Which value is held, and near what?":
            (half(plain), plain.mean()),
        "The return is held near the value. The value is held, near what it was before.":
            (half(torch.maximum(plain, (held(r, v) - r) ** 2)),),
        "The return is held, not the value.":
            (half(torch.maximum(plain, (v - held(r, o)) ** 2)), half((v - held(r, o)) ** 2), half(torch.maximum(plain, (v - held(r, v)) ** 2))),
        "The old value is held near the new one. It is the new one that may not move far.":
            (half(torch.maximum(plain, (held(o, v) - r) ** 2)), half((held(o, v) - r) ** 2)),
        "Values and old values are exchanged.": (half(larger(o, v, r)), half(torch.maximum((o - r) ** 2, clipped)), half((o - r) ** 2)),
        "Old values and returns are exchanged.": (half(larger(v, r, o)),),
        "Values and returns are exchanged.": (half(larger(r, o, v)),),
        "The value is held within a share of its old one. Values are no probabilities: clip_eps is a distance.":
            (half(torch.maximum(plain, (relative - r) ** 2)), half(torch.maximum(plain, (o * ratio - r) ** 2)),
             half(torch.maximum(plain, (held(v, o, eps * o.abs()) - r) ** 2)), half(torch.maximum(plain, ((ratio * v) - r) ** 2)),
             half(torch.maximum(plain, (v / o - r) ** 2)), half(torch.maximum(plain, (ratio - r) ** 2))),
        "The value is held between 1 - clip_eps and 1 + clip_eps, as if it were a ratio. It is held near its old value.":
            (half(torch.maximum(plain, (held(v, 1 + 0 * o) - r) ** 2)), half((held(v, 1 + 0 * o) - r) ** 2)),
        "The value is held between -clip_eps and clip_eps. The middle is its old value.":
            (half(torch.maximum(plain, (held(v, 0 * o) - r) ** 2)), half((held(v, 0 * o) - r) ** 2)),
        "What is held is the step, and the old value is not added to it again.":
            (half(torch.maximum(plain, (held(v - o, 0 * o) - r) ** 2)),),
        "The error is held, or the value near its return. It is the value that may move no further from its old one.":
            (half(torch.maximum(plain, held(far, 0 * far) ** 2)), half(held(far, 0 * far) ** 2), half(plain.clamp(max=eps)),
             half(plain.clamp(max=eps**2)), half(torch.maximum(plain, plain.clamp(0, eps)))),
        "The value is held on one side only: it may neither rise nor fall by more.":
            (half(torch.maximum(plain, (low - r) ** 2)), half(torch.maximum(plain, (high - r) ** 2))),
        "clip_eps makes no difference: it is another number in yours, whatever is asked.":
            tuple(half(larger(v, o, r, e)) for e in (0.2, 0.1, 0.3, 1.0)),
        "The clip is twice, or half, as wide.": (half(larger(v, o, r, 2 * eps)), half(larger(v, o, r, eps / 2)), half(larger(v, o, r, eps**2))),
        "The larger of two means is taken. Compare token by token, then take the mean.":
            (torch.maximum(half(plain), half(clipped)), torch.maximum(plain.mean(), clipped.mean())),
        "Of the two errors one is chosen with its sign, and squared then. The squares decide which of them counts.":
            (half(torch.maximum(far, near) ** 2), torch.maximum(far, near).square().mean(), half(torch.maximum(far, near)),
             half(torch.minimum(far, near) ** 2)),
        "Both squares are added, or their mean is taken. Only the larger of the two counts.":
            (half(plain + clipped), half((plain + clipped) / 2), (plain + clipped).mean()),
        "These are sizes of errors. Squares are wanted.":
            (half(torch.maximum(far.abs(), near.abs())), torch.maximum(far.abs(), near.abs()).mean(), half(both.sqrt()), half(both) ** 0.5, both.mean() ** 0.5),
        "The largest square of all is taken. The larger of two, for each token; then the mean.":
            (both.max() / 2, both.max(), torch.maximum(plain.max(), clipped.max()) / 2),
        "It is the mean over all places, padding included. Kept tokens are counted, and no others.":
            (half(everywhere), everywhere.mean(), kept.sum() / (B * T) / 2, kept.sum() / (B * T)),
        "It is the sum. A mean is wanted.": (both.sum() / 2, both.sum(), everywhere.sum() / 2, everywhere.sum()),
        "It is the mean of the rows' means, so that a token of a short row counts more. All kept tokens count alike.":
            ((kept.sum(1) / lengths).mean() / 2, (kept.sum(1) / lengths).mean(), (kept.sum(1) / T).mean() / 2),
        "The sum is divided by the number of responses. Kept tokens are counted.": (kept.sum() / B / 2, kept.sum() / B),
        "The sum is divided by the length of a row, padding included. Kept tokens are counted.": (kept.sum() / T / 2,),
        "Only the first row counts.": (kept[0].sum() / lengths[0] / 2,),
        "The sign is turned round. The loss is minimised, and the squares are what should become small.":
            (-half(both), -both.mean(), -half(plain), -half(clipped)),
        "The mask is upside down: True is a token that counts.":
            (everywhere[~m].mean() / 2, everywhere[~m].mean()),  # nan if there is no padding
        "The place of the return is taken by the old value.": (half((v - o) ** 2), half(torch.maximum((v - o) ** 2, (held(v, o) - o) ** 2))),
        "The return is missing in one of the two squares.":
            (half(torch.maximum(plain, held(v, o) ** 2)), half(torch.maximum(v**2, clipped)), half(torch.maximum(plain, (held(v, o) - v) ** 2)),
             half(torch.maximum(plain, (held(v, o) - o) ** 2))),
        "What counts is taken to stand at the left of each row. The mask says which tokens count, wherever they stand.":
            (half(everywhere[torch.arange(T) < lengths.unsqueeze(1)]),),
        "Tokens whose error is 0 are not counted. The mask says which tokens count, and no number does.":
            (half(both[both != 0]),),
    }
    # fmt: on


def _gradient(answer: Callable, case: Valued) -> None:
    """With respect to the values, place by place."""
    cut = (
        "The loss is right, but no gradient reaches the values, so the critic would learn nothing. Stay with "
        "tensors: no .item(), .tolist(), .detach(), no_grad or NumPy on their way."
    )
    got = ask_gradient(
        lambda leaf: _asked(answer, case._replace(values=leaf)), case.values, cut=cut
    )
    n, want = len(case.kept()), torch.zeros(case.mask.shape, dtype=torch.float64)
    for b, t in case.mask.nonzero().tolist():
        value, old, came = (float(x[b, t]) for x in case[:3])
        held = min(max(value, old - case.eps), old + case.eps)
        free = (value - came) ** 2 >= (held - came) ** 2
        want[b, t] = (value - came) / n if free else 0.0
    if close(got, want, rtol=1e-4):
        return
    b, t = divmod(int((got - want).abs().nan_to_num(1e9).argmax()), want.shape[1])
    value, old, came = (float(x[b, t]) for x in case[:3])
    expect(
        bool(case.mask[b, t]),
        f"The loss is right, but its gradient is {got[b, t]:.4g} under padding, where nothing is learned.",
    )
    expect(
        bool(want[b, t] == 0),
        f"The loss is right, and its gradient is not: at the value {value:.4g}, once {old:.4g}, with the return "
        f"{came:.4g} it is {got[b, t]:.4g} instead of {want[b, t]:.4g}. Is a part cut off (detach, no_grad, "
        "clamp in the wrong place)?",
    )
    expect(
        False,
        f"The loss is right, and its gradient is not: the value {value:.4g}, once {old:.4g}, is nearer to its return "
        f"{came:.4g} than the clip allows, so it is pulled no further; yours pulls with {got[b, t]:.4g}.",
    )
