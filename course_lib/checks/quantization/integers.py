"""Checks of lesson 11: a grid's step and zero point, and how far off a number can be.

Every number is worked out by itself, in Python's own numbers. The answers that prove
the checks are in `tests/answers/`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask, ask_tensor, close, diagnose, expect
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
from course_lib.quantization import integers

# --- scale_and_zero ---------------------------------------------------------------------------


class Range(NamedTuple):
    """Ranges and bits; size: what their numbers are measured in."""

    low: Tensor
    high: Tensor
    bits: int | None = None  # None = the default is left to the answer
    size: float = 1.0

    @property
    def top(self) -> int:
        return 2 ** (8 if self.bits is None else self.bits) - 1

    def told(self, i: int) -> str:
        given = "" if self.bits is None else f", bits={self.bits}"
        ends = (x.flatten()[i].item() for x in (self.low, self.high))
        return "From {:.4g} to {:.4g}".format(*ends) + given

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Both ends in float64, measured in `size`, as they came."""
        return self.low.double() / self.size, self.high.double() / self.size

    @property
    def slow(self) -> tuple[Tensor, Tensor]:
        def step(low: float, high: float) -> float:
            return (max(high, 0.0) - min(low, 0.0)) / self.top

        def place(low: float, high: float) -> float:
            width = step(low, high)
            return float(round(-min(low, 0.0) / width)) if width else 0.0

        return each(step, *self.ends), each(place, *self.ends)


@check(
    integers.scale_and_zero,
    proved="Paper numbers, and range by range for any bits: 0 has a code of its own, on whichever side of it a range lies, "
    "and a range without a width does no harm.",
)
def scale_and_zero(answer, draw):
    drawn = _around_zero(draw, 7, (11,))
    for bits in (7, 4):  # the same ranges twice
        _on_a_grid(answer, drawn._replace(bits=bits))
    _on_a_grid(answer, _beside_zero(draw, 5))
    for low, high in ((-1.0, 2.0), (3.0, 6.0), (-6.0, -3.0)):
        _on_a_grid(answer, Range(torch.tensor(low), torch.tensor(high), 2))
    for bits, shape in ((3, (4,)), (8, (2, 3)), (4, (1,)), (2, (3, 1)), (6, ())):
        _on_a_grid(answer, _around_zero(draw, bits, shape))
    _on_a_grid(answer, _around_zero(draw, 8, (5,))._replace(bits=None))
    for bits in (4, 8):
        _on_a_grid(answer, _beside_zero(draw, bits))
    _without_width(answer)
    for size in (1e-12, 1e-25, 1e12):
        drawn = _around_zero(draw, 5, (4,))
        ends = (drawn.low * size, drawn.high * size)
        _on_a_grid(answer, Range(*ends, 5, size))
    drawn = _around_zero(draw, 4, (2, 3, 5))
    _on_a_grid(answer, Range(drawn.low.mT, drawn.high.mT, 4))
    _on_a_grid(answer, Range(drawn.low.double(), drawn.high.double(), 4))


def _around_zero(draw: torch.Generator, bits: int, shape: tuple[int, ...]) -> Range:
    """Ranges with 0 inside, next to no code."""
    top = 2**bits - 1
    place = whole(draw, 1, top - 1, shape) + aside(draw, shape)
    step = steps_of(draw, shape)
    low, high = -place * step, (top - place) * step
    return Range(low.float(), high.float(), bits)


def _beside_zero(draw: torch.Generator, bits: int) -> Range:
    """Ranges above 0, below it, with an end there, around it, and a single number."""
    around = _around_zero(draw, bits, (2,))
    some = steps_of(draw, (2,)).float()
    low = [some[0], -some[1] - 1, 0 * some[0], -some[0], *around.low, some[1], -some[1]]
    high = [some[0] + 1, -some[1], some[1], 0 * some[0], *around.high, some[1], -some[1]]  # fmt: skip
    return Range(torch.stack(low), torch.stack(high), bits)


def _pair(answer: Callable, case: Range) -> tuple[Tensor, Tensor]:
    options = {} if case.bits is None else {"bits": case.bits}
    got = ask(answer, case.low, case.high, **options)
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned a {type(got).__name__}; two things are wanted, scale and zero point: `return scale, zero`.",
    )
    shape = tuple(case.low.shape)
    for name, part in zip(("scale", "zero point"), got, strict=True):
        expect(
            isinstance(part, Tensor),
            f"The {name} is a {type(part).__name__}; a tensor of the shape of `low` is wanted.",
        )
        expect(
            tuple(part.shape) == shape,
            f"For ranges of shape {shape} the {name} has the shape {tuple(part.shape)}. Every range has its own.",
        )
        expect(
            part.is_floating_point(),
            f"The {name} has the type {part.dtype}. Both are floats, the zero point a whole one.",
        )
    return got[0].detach(), got[1].detach()


def _on_a_grid(answer: Callable, case: Range) -> None:
    scale, zero = _pair(answer, case)
    scale, zero = scale.double() / case.size, zero.double()
    step, place = case.slow
    swapped = close(scale * case.size, place) and close(zero / case.size, step)
    expect(
        not swapped or close(step, place),
        "Scale and zero point changed places: the scale comes first.",
    )
    i = furthest(scale, step)
    got, want = (x.flatten()[i].item() * case.size for x in (scale, step))
    otherwise = f"{case.told(i)}: the scale is {got:.4g} and should be {want:.4g}."
    if case.size < 1:
        otherwise += " A small range has small steps: is something added to them, or are they held up? `positive` alone does no harm."
    if not close(scale, step):
        diagnose(scale, step, _wrong_steps(case), otherwise)
    i = furthest(zero, place)
    got, want = (x.flatten()[i].item() for x in (zero, place))
    otherwise = f"{case.told(i)}: the zero point is {got:.6g} and should be {want:.4g}. How many steps does 0 lie above the lower end?"
    if not close(zero, place):
        diagnose(zero, place, _wrong_places(case, step), otherwise)


def _without_width(answer: Callable) -> None:
    """From 0 to 0, alone and beside others."""
    for low, high in (([0.0], [0.0]), ([0.0, -1.0, 0.0], [0.0, 14.0, 15.0])):
        case = Range(torch.tensor(low), torch.tensor(high), 4)
        scale, zero = _pair(answer, case)
        expect(
            bool(scale.isfinite().all()) and bool((scale > 0).all()),
            f"From 0 to 0 the scale is {scale[0]:g}, and numbers are divided by it. `positive` makes it a tiny number.",
        )
        expect(
            bool(zero.isfinite().all()) and bool(zero[0] == zero[0].round()),
            f"From 0 to 0 the zero point is {zero[0]:g}. First make the scale positive, then divide by it.",
        )
        expect(
            0 <= zero[0] <= 15,
            f"From 0 to 0, bits=4, the zero point is {zero[0]:g}: there is no such code.",
        )
        expect(
            close(scale[1:], torch.ones(len(low) - 1)),
            "A range without a width spoils the scales of the others.",
        )


def _wrong_steps(case: Range) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give for the scale."""
    n, (low, high) = case.top, case.ends
    l, h = low.clamp(max=0), high.clamp(min=0)
    width, size, half = h - l, torch.maximum(-l, h), (n + 1) // 2
    bits = n.bit_length()
    every = (0 * low if (low > 0).any() else low, 0 * high if (high < 0).any() else high)  # fmt: skip
    # fmt: off
    return {
        "The range is not widened: 0 needs a code of its own, so a range on one side of it must reach to it.":
            ((high - low) / n,),
        "The range is widened at one end only. A range below 0 has to reach up to it, one above 0 down to it.":
            ((high - l) / n, (h - low) / n, (high.abs() - l) / n, (h + low.abs()) / n),
        "The scale is 0. Are the ends cut off at 0 on the wrong side? Low may lie below it, high above.": ((high.clamp(max=0) - low.clamp(min=0)) / n,),
        "All ranges are widened when one of them needs it. Each of them is asked for itself.": ((every[1] - every[0]) / n, (every[1] - l) / n, (h - every[0]) / n),
        "In Python `^` is no power: that is `**`.": (width / abs((2 ^ bits) - 1 or 1),),
        "There is one step too many, or too few: how many steps lie between 2^b codes?": (width / (n + 1), width / (n - 1), width / (n + 2)),
        "The codes count from 0 to 2^b − 1; that is the scale of codes with a sign, which have half as many on a side.":
            (width / (half - 1) if half > 1 else width, width / half, size / (half - 1) if half > 1 else size, size / half),
        "The range is taken as even on both sides of 0. An affine one reaches from low to high and no further.":
            (2 * size / n, size / n, 2 * size / (n + 1), 2 * size / (n - 1)),
        "`bits` makes no difference: another number is built in.": tuple(width / x for x in (255, 31, 15, 7, 3, 127) if x != n),
        "The scale is upside down. It is what one step is worth.": (n / width, (n + 1) / width, n / (high - low)),
        "One end of the range is left out. A range reaches from low to high.": (h / n, -l / n, low.abs() / n, high.abs() / n, high / n, low / n, -low / n),
        "Low is added to high. The width of a range is a difference.": ((h + l) / n, (h + l).clamp(min=0) / n, (high + low).clamp(min=0) / n, (high + low) / n, (h + l).abs() / n, (high + low).abs() / n),
        "The scale is negative: low and high changed places.": (-width / n, (low - high) / n),
        "That is the width of the whole range. How much of it is one step?": (width, high - low, width * n),
        "All ranges share one scale. Each has its own.":
            tuple((x / n).expand_as(width) for x in (h.max() - l.min(), (high - low).max(), width.max(), width.flatten()[0])),
        "The scale is rounded. Only the zero point is a whole number.": ((width / n).round(), (width / n).ceil(), (width / n).floor()),
    }
    # fmt: on


def _wrong_places(case: Range, step: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give for the zero point, with the right scale."""
    n, (low, high) = case.top, case.ends
    l, h, half = low.clamp(max=0), high.clamp(min=0), (case.top + 1) // 2
    steps = -l / step
    right = steps.round()
    # fmt: off
    return {
        "The zero point is not whole. It is a code, so it has to be rounded.": (steps, -low / step),
        "The zero point is cut off to a whole number. Rounded, it is the nearest one.": (steps.floor(), steps.ceil(), (steps + 1).floor()),
        "The zero point has the wrong sign. It says how many steps 0 lies *above* the lower end.": (-right, -steps),
        "The zero point counts from the lower end as it came. It counts from the widened one, and is a code: 0 to 2^b − 1.":
            ((-low / step).round(), (low.abs() / step).round(), (-low / ((high - low) / n)).round()),
        "The zero point is counted from the upper end. Code 0 is the lower one.": ((h / step).round(), n - right, (high / step).round()),
        "The zero point is one too large or too small: the lower end has the code 0.": (right + 1, right - 1),
        "The zero point belongs to codes with a sign. These count from 0.": (right - half, right - half + 1, (right - half).clamp(-half, half - 1)),
        "The zero point is always in the middle. It depends on the range.": tuple(torch.full_like(right, x) for x in (half, half - 1, n / 2, n // 2)),
        "The zero point is always 0, or always the highest code. It depends on the range.": (torch.zeros_like(right), torch.full_like(right, n)),
        "The zero point is a *code*: a number of steps, and no number in the units of the range.": (l, -l, l.round(), -l.round(), low, -low, h, (l + h) / 2),
        "It is multiplied by the scale. How many steps of that width lie between?": ((-l * step).round(), -l * step, (l * step).round()),
        "The zero point is larger than the highest code, or below 0.": ((-low / step).round().clamp(max=n),),
        "All ranges share one zero point. Each has its own.": (right.flatten()[0].expand_as(right), (-l.min() / step).round(), right.flatten().max().expand_as(right)),
        "`bits` makes no difference to the zero point: another number is built in.": tuple((steps * x / n).round() for x in (255, 15, 7, 3, 127) if x != n),
        "The scale has one number of steps, the zero point another.": ((steps * (n + 1) / n).round(), (steps * (n - 1) / n).round()),
    }
    # fmt: on


# --- error_bound ------------------------------------------------------------------------------


class Grid(OnGrid):
    """With the bound of every number."""

    @property
    def full(self) -> tuple:
        limits = (-127, 127) if self.limits is None else self.limits
        zero = 0 if self.zero is None else self.zero
        return torch.as_tensor(zero).double(), limits

    @property
    def slow(self) -> Tensor:
        zero, (first, last) = self.full

        def bound(x: float, step: float, at: float) -> float:
            above, below = x - (last - at) * step, (first - at) * step - x
            return max(above, below, step / 2)

        return each(bound, self.values, self.scale, zero)

    def told(self, i: int) -> str:
        zero, limits = self.full
        parts = (self.values, self.scale, zero)
        x, s, z = (
            torch.as_tensor(part).expand(self.values.shape).flatten()[i].item()
            for part in parts
        )
        return f"For {x:.4g} with scale {s:.4g}, zero {z:g} and codes {limits[0]} to {limits[1]}"


@check(
    integers.error_bound,
    proved="Paper numbers, and number by number: inside, a little beyond either end and far beyond it, for scales and zero "
    "points of any shape and for all codes.",
)
def error_bound(answer, draw):
    rows = torch.tensor([[3.0], [9.0], [2.0], [14.0]])
    _bounded(answer, _about(draw, (0, 15), (4, 6), (4, 1), rows))
    two = torch.tensor([0.3, 9.0])
    _bounded(answer, Grid(two, torch.tensor(0.5), limits=(-7, 7)))
    near = torch.tensor([3.6, -3.7, 0.0, 3.9, -4.5, 2.5])
    _bounded(answer, Grid(near, torch.tensor(0.5), limits=(-7, 7)))
    for limits in ((-8, 7), (-1, 1), None):
        _bounded(answer, _about(draw, limits, (3, 5), ()))
    for zero in (3, 0, 12):
        _bounded(answer, _about(draw, (0, 15), (4, 6), (), zero))
    for limits in ((0, 255), (0, 3), (-7, 7)):
        for shape, part in (((3, 5), (3, 1)), ((2, 3, 4), (2, 3, 1)), ((6,), (6,))):
            top = limits[1]
            zero = whole(draw, 0, top, part).float()
            _bounded(answer, _about(draw, limits, shape, part, zero))
    turned = _about(draw, (-7, 7), (5, 3), (3,))
    _bounded(answer, turned._replace(values=turned.values.T.contiguous().T))
    alone = _about(draw, (-3, 3), (1, 5), (1, 1), 2)
    _bounded(answer, alone)
    _bounded(answer, Grid(torch.tensor(-8.25), torch.tensor(2.0), 1, (0, 3)))
    fine = _about(draw, (-7, 7), (2, 4), (2, 1))
    _bounded(answer, Grid(fine.values.double(), fine.scale.double(), 1, (-7, 7)))


def _about(
    draw: torch.Generator,
    limits: tuple[int, int] | None,
    shape: tuple[int, ...],
    part: tuple[int, ...],
    zero: Tensor | int | None = None,
) -> Grid:
    """Numbers inside, less than half a step beyond either end, and far beyond."""
    scale = steps_of(draw, part).float()
    first, last = (-127, 127) if limits is None else limits
    codes = whole(draw, first, last, shape) + aside(draw, shape)
    flat = codes.flatten()
    hard = [last + 0.25, first - 0.375, last + 0.75, first - 0.875, last + 300.5, first - 300]  # fmt: skip
    count = min(len(hard), len(flat) - 1)
    places = torch.randperm(len(flat), generator=draw)[:count]
    flat[places] = torch.tensor(hard[:count]).double()
    codes = flat.reshape(shape)
    values = (codes - (0 if zero is None else zero)) * scale
    return Grid(values.float(), scale, zero, limits)


def _bounded(answer: Callable, case: Grid) -> None:
    shape = tuple(case.values.shape)
    own = "Every value has a bound of its own."
    shapes = {tuple(case.scale.shape): f"That has the shape of the scale. {own}"}
    shapes[()] = f"That is one number. {own}"
    shapes.pop(shape, None)
    options = copied(case.options)
    got = ask_tensor(answer, *case[:2], shape=shape, shapes=shapes, **options)
    untouched(case.options, options)
    expect(
        got.is_floating_point(),
        f"The bounds have the type {got.dtype}. They are distances, so floats.",
    )
    got, want = got.detach().double(), case.slow
    if close(got, want):
        return
    i = furthest(got, want)
    shown = (x.flatten()[i].item() for x in (got, want))
    otherwise = "{} the bound is {:.4g} and should be {:.4g}.".format(case.told(i), *shown)  # fmt: skip
    diagnose(got, want, _wrong_bounds(case), otherwise)


def _wrong_bounds(case: Grid) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give."""
    zero, (first, last) = case.full
    x, s = case.values.double(), case.scale.double()
    s, zero = s.expand_as(x), zero.expand_as(x)
    half, nil = s / 2, torch.zeros_like(x)

    def of(low: Tensor, high: Tensor, least: Tensor = half) -> Tensor:
        return torch.maximum(torch.maximum(x - high, low - x), least)

    low, high = (first - zero) * s, (last - zero) * s
    way = torch.maximum(x - high, low - x)  # beyond the nearer end, or negative
    code = ((x / s).round() + zero).clamp(first, last)
    off = (x - (code - zero) * s).abs()
    inside = way <= 0
    # fmt: off
    return {
        "A number a little beyond an end is promised less than half a step, or nothing. What is the least that everybody is promised?":
            (torch.where(inside, half, way), torch.where(inside, half, off), torch.where(x > high, x - high, torch.maximum(low - x, half)), torch.where(x < low, low - x, torch.maximum(x - high, half))),
        "Half a step is promised to everybody. What about numbers that no code reaches?": (half,),
        "That is the error itself: it was rounded. Wanted is how far off it *can* be, before anything is rounded.": (off, -off, off.maximum(way)),
        "That is a whole step. From the middle between two codes it is half of one to either.": (of(low, high, s), torch.where(inside, s, way)),
        "Half of the step is added to the way back to the end. A number far beyond it becomes that end: the way there is all.":
            (torch.where(inside, half, way + half), way.clamp(min=0) + half, torch.where(way > half, way + half, half)),
        "Only the upper end is looked at. Numbers may lie below the lower one.": (torch.maximum(x - high, half),),
        "Only the lower end is looked at. Numbers may lie above the upper one.": (torch.maximum(low - x, half),),
        "Both ends are taken to be equally far from 0. With a zero point, or with one code more below, they are not.":
            (torch.maximum(x.abs() - high, half), torch.maximum(x.abs() - last * s, half), torch.maximum(x.abs() - low.abs(), half)),
        "The zero point makes no difference. What numbers do the lowest and the highest code stand for?": (of(first * s, last * s),),
        "The zero point goes in the wrong way. What number does a code stand for?": (of((first + zero) * s, (last + zero) * s),),
        "The zero point is used at one end only. Both ends are numbers that a code stands for.": (of(first * s, high), of(low, last * s)),
        "The lowest code is taken to be minus the highest. `limits` names both.": (of((-last - zero) * s, high), of(low, (-first - zero) * s)),
        "Below the lower end the bound is negative. It is a distance, on either side.":
            (torch.where(x > high + half, x - high, torch.where(x < low - half, x - low, half)), torch.where(x > high, x - high, torch.where(x < low, x - low, half))),
        "All values share one scale, or one zero point. Each has its own.":
            tuple(of((first - o) * t, (last - o) * t, t / 2 + nil) for t in (s, s.flatten()[0], s.max(), s.min()) for o in (zero, zero.flatten()[0], zero.max(), zero.min()))
            + tuple(of(low, high, t / 2 + nil) for t in (s.flatten()[0], s.max(), s.min(), s.mean())),
        "The zero point is a code: it is taken from the code, before the scale multiplies.": (of(first * s - zero, last * s - zero), of(first * s + zero, last * s + zero)),
        "`limits` makes no difference: others are built in.":
            tuple(of((a - zero) * s, (b - zero) * s) for a, b in ((-127, 127), (-7, 7), (-8, 7), (0, 255), (-128, 127)) if (a, b) != (first, last)),
        "The ends are half a step too far out: a number there is rounded to the end and has half a step of its own.":
            (of(low - half, high + half), of(low - half, high + half, nil), torch.where(way > half, way - half, half)),
        "An end is one code too far out, or too far in. Both limits are codes that are used.": (of(low, high + s), of(low - s, high), of(low - s, high + s), of(low + s, high - s)),
        "Numbers are compared with codes. What number does the lowest code stand for, and the highest?":
            (of(first + nil, last + nil), of(first - zero, last - zero), torch.where((x >= first) & (x <= last), half, way)),
        "That is counted in steps. Wanted is a distance between numbers.":
            (torch.maximum(way / s, nil + 0.5), torch.maximum(x / s + zero - last, (first - zero) - x / s).maximum(nil + 0.5), torch.maximum(way / s, half)),
        "Half a step is half of the *scale*, not one half.": (of(low, high, nil + 0.5), torch.where(inside, nil + 0.5, way)),
        "Inside, the promise is nothing, or less than nothing. There a number may be half a step from its code.": (way, way.clamp(min=0), way.abs(), torch.where(inside, nil, way)),
        "The least of the three is taken. Which of them is the honest promise?": (torch.minimum(way.clamp(min=0), half), torch.minimum(torch.minimum(x - high, low - x), half), torch.minimum(way, half), torch.minimum(way.abs(), half)),
        "Inside, the way to an end is promised. There every number has a code within half a step.":
            (torch.minimum((x - high).abs(), (x - low).abs()).maximum(half), (x - high).abs().maximum(half), (x - low).abs().maximum(half), torch.minimum((x - high).abs(), (x - low).abs())),
        "The three are added up. The largest of them is wanted.": (half + way, half + (x - high).clamp(min=0) + (low - x).clamp(min=0) + nil),
        "That is the way to the further end. A number beyond an end becomes that end.": (torch.maximum((x - low).abs(), (x - high).abs()).maximum(half), torch.where(inside, half, torch.maximum((x - low).abs(), (x - high).abs()))),
        "What is beyond an end is cut off at 0 there: the result is the size of the number, not its way back.": (torch.where(inside, half, x.abs()), torch.maximum(x.abs(), half)),
        "A quarter of a step, or another share of it, is promised inside. In the middle between two codes it is half of one to either.":
            (of(low, high, s / 4), of(low, high, half**2), of(low, high, s / 2 - 1e-3), of(low, high, s**2 / 2)),
        "The whole tensor shares its largest bound, or the middle one. Every value has a bound of its own.":
            (of(low, high).max().expand_as(x), of(low, high).mean().expand_as(x)),
    }
    # fmt: on
