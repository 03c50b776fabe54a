"""Check of lesson 11: rounding that a gradient gets through.

Values and gradients are worked out number by number, and torch's own fake
quantization has to agree. The answers that prove the check are in `tests/answers/`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.asking import (
    NO_GRADIENT,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.harness import check
from course_lib.checks.quantization.one_by_one import (
    OnGrid,
    aside,
    copied,
    each,
    furthest,
    steps_of,
    untouched,
    whole,
)
from course_lib.quantization import qat

INT8 = (-127, 127)


class Grid(OnGrid):
    """With what goes forward and what comes back."""

    @property
    def parts(self) -> tuple:
        """Values, scale, zero in float64, of one shape, and both limits."""
        zero = torch.as_tensor(0 if self.zero is None else self.zero)
        wide = torch.broadcast_tensors(self.values.detach(), self.scale, zero)
        return *(x.double() for x in wide), *(self.limits or INT8)

    @property
    def slow(self) -> tuple[Tensor, Tensor]:
        """What the codes stand for, and 1 where nothing was clipped."""
        x, s, z, first, last = self.parts

        def said(x: float, s: float, z: float) -> float:
            return (min(max(round(x / s) + z, first), last) - z) * s

        def free(x: float, s: float, z: float) -> float:
            return float(first <= round(x / s) + z <= last)

        return each(said, x, s, z), each(free, x, s, z)

    def told(self, i: int) -> str:
        x, s, z, first, last = self.parts
        at = (part.flatten()[i].item() for part in (x, s, z))
        return "{:.4g}, with scale {:.4g}, zero {:g} and codes {} to {},".format(*at, first, last)  # fmt: skip


@check(
    qat.fake_quantize,
    proved="Values and gradients number by number, inside, just beyond the ends and far beyond; torch's own agrees; scales and "
    "zero points of any shape; bfloat16 and float64 stay what they are.",
)
def fake_quantize(answer, draw):
    rows = torch.tensor([[3.0], [9.0], [2.0], [14.0]])
    _both(answer, _about(draw, (0, 15), (4, 9), (4, 1), rows), draw)
    paper = Grid(torch.tensor([0.3, 9.0]), torch.tensor(0.5), limits=(-2, 1))
    _both(answer, paper, draw)
    codes = torch.tensor([0.0, 0.5, -1.0, 3.5, -3.5, 4.5, -9.0, 2.0])
    _both(answer, Grid(codes, torch.tensor(0.5), limits=(-7, 7)), draw)
    for limits in ((-7, 7), None, (-8, 7)):
        _both(answer, _about(draw, limits, (3, 6), ()), draw)
    for zero in (3, 12):
        _both(answer, _about(draw, (0, 15), (4, 6), (), zero), draw)
    for limits, shape, part in (
        ((0, 255), (3, 8), (3, 1)), ((-7, 7), (2, 3, 4), (2, 3, 1)), ((0, 3), (4, 5), (5,)),
    ):  # fmt: skip
        zero = whole(draw, max(0, limits[0]), limits[1], part).float()
        _both(answer, _about(draw, limits, shape, part, zero), draw)
    _both(answer, _about(draw, (-7, 7), (4, 5), (4, 1)), draw)
    turned = _about(draw, (-7, 7), (5, 3), (3,))
    _both(answer, turned._replace(values=turned.values.T.contiguous().T), draw)
    _both(answer, _about(draw, (-3, 3), (1, 7), (1, 1), 1), draw)
    _halfway(answer, draw, 3)
    _as_torch_does(answer, draw)
    for kind in (torch.float64, torch.bfloat16):
        _stays(answer, draw, kind)


def _about(
    draw: torch.Generator,
    limits: tuple[int, int] | None,
    shape: tuple[int, ...],
    part: tuple[int, ...],
    zero: Tensor | int | None = None,
) -> Grid:
    """Numbers inside, rounded to either end from beyond it, just clipped, far beyond."""
    scale = steps_of(draw, part).float()
    first, last = limits or INT8
    codes = whole(draw, first, last, shape) + aside(draw, shape)
    flat, span = codes.flatten(), last - first
    hard = [last + 0.25, first - 0.375, last + 0.625, first - 0.75, last + span + 0.375, first - 2.0 * span]  # fmt: skip
    count = min(len(hard), len(flat) - 1)
    places = torch.randperm(len(flat), generator=draw)[:count]
    flat[places] = torch.tensor(hard[:count]).double()
    values = (flat.reshape(shape) - (0 if zero is None else zero)) * scale
    return Grid(values.float(), scale, zero, limits)


def _said(answer: Callable, case: Grid, values: Tensor | None = None) -> Tensor:
    values = case.values if values is None else values
    shape = tuple(values.shape)
    options = copied(case.options)
    got = ask_tensor(answer, values, case.scale, shape=shape, **options)
    untouched(case.options, options)
    return got


def _both(answer: Callable, case: Grid, draw: torch.Generator) -> None:
    """Forward, then back with a weight for each number."""
    got = _said(answer, case)
    expect(
        got.is_floating_point(),
        f"It returned the type {got.dtype}. Wanted is what the codes stand for, in floats.",
    )
    got, (want, free) = got.detach().double(), case.slow
    if not close(got, want):
        i = furthest(got, want)
        shown = (x.flatten()[i].item() for x in (got, want))
        otherwise = "{} becomes {:.4g}, and should become {:.4g}.".format(case.told(i), *shown)  # fmt: skip
        diagnose(got, want, _wrong_values(case), otherwise)
    pull = torch.randn(case.values.shape, generator=draw) + 0.1
    flow = ask_gradient(lambda leaf: _said(answer, case, leaf), case.values, pull, cut=_CUT)  # fmt: skip
    again = _said(answer, case, case.values.clone().requires_grad_()).detach()
    expect(
        torch.equal(again.double(), got),
        "It gives other numbers when a gradient is wanted than when none is.",
    )
    flow = flow.double() / pull.double()  # the slope of each number
    if not close(flow, free, rtol=1e-4):
        i = furthest(flow, free)
        otherwise = f"{case.told(i)} becomes the right number, with the gradient {flow.flatten()[i]:.4g}. It should be {free.flatten()[i]:g}."
        diagnose(flow, free, _wrong_slopes(case, free, pull), otherwise, rtol=1e-4)


_CUT = (
    "The values are right, but no gradient gets through: rounding has slope 0. Round on the way forward, and pretend on the "
    "way back that nothing was rounded."
)


def _as_torch_does(answer: Callable, draw: torch.Generator) -> None:
    """The independent judge: torch.fake_quantize_per_channel_affine."""
    zero = whole(draw, 2, 13, (4, 1)).float()
    case = _about(draw, (0, 15), (4, 12), (4, 1), zero)
    leaf = case.values.clone().requires_grad_()
    said = torch.fake_quantize_per_channel_affine(
        leaf, case.scale[:, 0], zero[:, 0].int(), 0, 0, 15
    )
    (flow,) = torch.autograd.grad(said.sum(), leaf)
    mine = ask_gradient(lambda leaf: _said(answer, case, leaf), case.values, cut=_CUT)
    got = _said(answer, case).detach()
    same = close(got, said.detach(), rtol=1e-4, atol=1e-5)
    expect(
        same and close(mine, flow, atol=1e-4),
        "torch's own fake quantization says something else.",
    )


def _halfway(answer: Callable, draw: torch.Generator, zero: int) -> None:
    """Exactly between two codes, both within the limits; the scale is a power of two."""
    halves = whole(draw, -zero, 10 - zero, (12,)) + 0.5
    step = 2.0 ** int(whole(draw, -3, 1, ()))
    case = Grid((halves * step).float(), torch.tensor(step), zero, (0, 15))
    got, (want, _) = _said(answer, case).detach().double(), case.slow
    i = furthest(got, want)
    expect(
        close(got, want),
        f"{case.told(i)} lies halfway between two codes. It becomes {got[i]:.4g}, and with `dequantize(quantize(…))` {want[i]:.4g}. "
        "Which way does `quantize` round a half, and when does the zero point come in?",
    )
    flow = ask_gradient(lambda leaf: _said(answer, case, leaf), case.values, cut=_CUT)
    i = int((flow - 1).abs().argmax())
    expect(
        close(flow, torch.ones_like(flow)),
        f"{case.told(i)} lies halfway between two codes, and is not clipped. Its gradient is {flow[i]:g} and should be 1.",
    )


def _stays(answer: Callable, draw: torch.Generator, kind: torch.dtype) -> None:
    fine = kind == torch.float64
    for zero in (None, 2):
        drawn = _about(draw, (-7, 7), (3, 8), (3, 1), zero)
        if fine:
            values, scale = drawn.values.double() * (1 + 1e-9), drawn.scale.double() * (1 + 1e-9)  # fmt: skip
        else:
            values, scale = drawn.values.to(kind), drawn.scale.to(kind)
        case = drawn._replace(values=values, scale=scale)
        got, (want, free) = _said(answer, case), case.slow
        expect(
            got.dtype == kind,
            f"Values and scale of type {kind} become {got.dtype}. They stay what they are.",
        )
        limit = 1e-11 if fine else 1e-2 * float(values.abs().max())
        off = (got.detach().double() - want).abs().max()
        expect(
            bool(off <= limit),
            f"In {kind} a number is off by {off:.2g}. Is it rounded on the way, or turned into another type?",
        )
        flow = ask_gradient(
            lambda leaf, case=case: _said(answer, case, leaf), values, cut=NO_GRADIENT
        )
        expect(
            torch.allclose(flow.double(), free, atol=1e-2),
            f"In {kind} the gradient is not 0 and 1, as it is in float32.",
        )


# --- naming the mistake -----------------------------------------------------------------------


def _wrong_values(case: Grid) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give on the way forward."""
    x, s, z, first, last = case.parts
    steps = x / s
    codes = (steps.round() + z).clamp(first, last)
    clipped = codes != steps.round() + z
    right, low, high = (codes - z) * s, (first - z) * s, (last - z) * s
    nil = torch.zeros_like(x)
    # fmt: off
    return {
        "Nothing is clipped: there are no codes beyond the limits.": (steps.round() * s, torch.where(clipped, x, right)),
        "The numbers come back as they were. On the way forward they are rounded.": (x, x.clamp(low, high), torch.where(clipped, right, x)),
        "Those are codes. Wanted is what they stand for.": (codes, codes - z, steps.round(), codes + z),
        "Where a number is clipped, 0 comes out: the gradient is 0 there, the value is the end's.": (torch.where(clipped, nil, right), torch.where((x < low) | (x > high), nil, right)),
        "The zero point makes no difference to what codes there are.": ((steps.round().clamp(first, last)) * s,),
        "The zero point is not taken away again: which number does the code `zero` stand for?": (codes * s, (codes + z) * s),
        "It is clipped before the zero point is added. The limits are those of the codes.": (((steps.round().clamp(first, last) + z) - z) * s, (steps.round().clamp(first, last) - z) * s, steps.clamp(first, last).round() * s),
        "The zero point goes in the wrong way.": (((steps.round() - z).clamp(first, last) + z) * s, ((steps.round() - z).clamp(first, last) - z) * s),
        "The zero point is a code; it is not a number in the units of the values.": ((((x - z) / s).round().clamp(first, last)) * s + z, ((x / s + z).round().clamp(first, last)) * s - z, codes * s - z),
        "It is cut off to a whole number, or always rounded one way. It is rounded to the nearest.":
            tuple(((f(steps) + z).clamp(first, last) - z) * s for f in (torch.floor, torch.ceil, torch.trunc, lambda x: (x + 0.5).trunc())),
        "Codes are made bytes before they are clipped: 128 becomes −128. Clip first.": (((((steps.round() + z + 128) % 256) - 128).clamp(first, last) - z) * s, ((((steps.round() + z) % 256)).clamp(first, last) - z) * s),
        "The zero point is taken from bytes, which have no numbers below 0. First make floats of them.": (((codes - z) % 256) * s,),
        "The lowest code is taken to be minus the highest. `limits` names both.": (((steps.round() + z).clamp(-last, last) - z) * s, ((steps.round() + z).clamp(first, -first) - z) * s),
        "All values share one scale, or one zero point. Each has its own.":
            tuple(((((x / t).round() + o).clamp(first, last)) - o) * t for t in (s, s.flatten()[0], s.max(), s.min()) for o in (z, z.flatten()[0], z.max(), z.min())),
        "The scale does not come back: what is a code worth?": ((codes - z) / s, x.round().clamp(first, last)),
        "The numbers are multiplied by the scale, and divided by it afterwards. It is the other way round.": (((x * s).round() + z).clamp(first, last) / s - z / s, ((x * s).round() + z).clamp(first, last) - z),
        "The scale makes no difference.": ((x.round() + z).clamp(first, last) - z, (x.round() + z).clamp(first, last) * s - z * s),
        "`limits` makes no difference: others are built in.": tuple((((steps.round() + z).clamp(*ends)) - z) * s for ends in ((-127, 127), (-128, 127), (0, 255), (-2, 1), (-7, 7), (-8, 7)) if ends != (first, last)),
        "One limit only is used. Codes have a lowest and a highest.": (((steps.round() + z).clamp(max=last) - z) * s, ((steps.round() + z).clamp(min=first) - z) * s),
        "The highest code is left out, or one too many is used. Both limits are codes.": tuple(((steps.round() + z).clamp(first + a, last + b) - z) * s for a, b in ((0, -1), (1, 0), (0, 1), (-1, 0), (1, -1), (-1, 1))),
        "What is added for the gradient changes the values: it must be 0 on the way forward.": (right + x, right + steps, right + torch.where(clipped, nil, x), 2 * right, right - x, x - right, right + torch.where(clipped, nil, nil + 1)),
        "Another scale is used than the one that was given: it was found anew.": tuple(((x / t).round() * t) for t in (x.abs().max() / last, x.abs().amax(-1, keepdim=True) / last if x.ndim else x.abs() / last)),
    }
    # fmt: on


def _wrong_slopes(case: Grid, free: Tensor, pull: Tensor) -> dict[str, tuple]:
    """What known mistakes give on the way back."""
    x, s, z, first, last = case.parts
    low, high, one = (first - z) * s, (last - z) * s, torch.ones_like(x)
    codes = (x / s).round() + z
    within = ((x >= low) & (x <= high)).double()
    tight = ((codes > first) & (codes < last)).double()
    # fmt: off
    return {
        "A clipped number has a gradient too. A small step there changes nothing: it is 0.": (one,),
        "The gradient is 0 everywhere: nothing could be learned. Rounding pretends to have slope 1 where nothing was clipped.": (0 * one,),
        "A number a bit beyond the last value, and rounded to it, gets no gradient. It was not clipped: ask the codes, not the numbers.":
            (within, ((x > low) & (x < high)).double(), ((x / s + z >= first) & (x / s + z <= last)).double()),
        "A number with the lowest or the highest code gets no gradient. These are codes as well, and nothing was clipped.":
            (tight, (codes < last).double() * free, (codes > first).double() * free, tight * within),
        "The zero point is forgotten where it is asked who was clipped.":
            (((x / s).round() >= first).double() * ((x / s).round() <= last).double(), ((x >= first * s) & (x <= last * s)).double(), (((x / s).round() - z >= first) & ((x / s).round() - z <= last)).double()),
        "It is asked at the upper end only who was clipped.": ((codes <= last).double(), (x <= high).double(), (x / s + z <= last).double()),
        "It is asked at the lower end only who was clipped.": ((codes >= first).double(), (x >= low).double(), (x / s + z >= first).double()),
        "Both limits are taken to be equally far from 0 where it is asked who was clipped.": ((codes.abs() <= last).double(), (codes.abs() < last).double(), ((x / s).round().abs() <= last).double()),
        "It is the wrong way round: only clipped numbers have a gradient.": (1 - free, 1 - within),
        "The gradient is that of the codes, or has the scale in it. It is that of not rounding at all: 1.": (free / s, free * s, one / s, one * s, free * s * s),
        "The numbers were compared with codes to see who was clipped.": (((x >= first) & (x <= last)).double(), ((x - z >= first) & (x - z <= last)).double()),
        "`limits` makes no difference to the gradient: others are built in.": tuple(((codes >= a) & (codes <= b)).double() for a, b in ((-127, 127), (-128, 127), (0, 255), (-7, 7), (-2, 1)) if (a, b) != (first, last)),
        "The gradient that comes from behind is lost: ones are sent on. It is passed through.": (1 / pull.double(), free / pull.double()),
        "The gradient counts twice: once through the rounding's clamp, and once more.": (2 * free, free + one, 2 * one, free + within, within * 2, 1 + within),
        "The gradient's sign is turned.": (-free, -one, -within),
        "Numbers that lie on a code are the only ones with a gradient. Whoever is rounded has one as well.": (((x / s).round() == x / s).double(),),
    }
    # fmt: on
