"""Check of lesson 11: one scale for each group of neighbours.

Weights are made from codes and scales, so both are known beforehand. The answers that
prove the check are in `tests/answers/`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask, close, diagnose, expect
from course_lib.checks.harness import check
from course_lib.checks.quantization.one_by_one import aside, furthest, steps_of, whole
from course_lib.quantization import groups


class Matrix(NamedTuple):
    """Weights, the codes and scales they were made from; None = the default."""

    weights: Tensor
    codes: Tensor
    scales: Tensor
    bits: int | None = None
    group: int | None = None

    @property
    def asked(self) -> tuple[int, int]:
        """Bits and group, the defaults filled in."""
        return self.bits or 4, self.group or 32

    @property
    def options(self) -> dict:
        given = {"bits": self.bits, "group": self.group}
        return {name: x for name, x in given.items() if x is not None}


@check(
    groups.group_quantize,
    proved="Codes and scales that were known beforehand are found again, for any bits and any size of groups, whole rows and "
    "single weights among them; groups of zeros do no harm.",
    also=(groups.round_to_nearest,),
)
def group_quantize(answer, draw):
    _found(answer, _made(draw, 3, 4, 5, 4))
    paper = torch.tensor([[1.0, 7.0, 0.0, -0.7]])
    codes, scales = torch.tensor([[1, 7, 0, -7]]), torch.tensor([[1.0, 0.1]])
    _found(answer, Matrix(paper, codes, scales.double(), 4, 2))
    for out, groups_, group, bits in (
        (4, 2, 3, 4), (6, 3, 6, 8), (2, 3, 4, 3), (5, 1, 7, 4),
        (3, 5, 8, 2), (1, 3, 4, 6), (1, 1, 12, 5), (4, 4, 4, 4), (3, 6, 1, 4),
    ):  # fmt: skip
        _found(answer, _made(draw, out, groups_, group, bits))
    _found(answer, _made(draw, 2, 3, 32, 4)._replace(bits=None, group=None))
    _found(answer, _made(draw, 3, 2, 32, 8)._replace(group=None))
    _found(answer, _made(draw, 2, 3, 6, 4)._replace(bits=None))
    _with_zeros(answer, draw)
    for size in (1e-12, 1e12):
        small = _made(draw, 3, 2, 4, 4)
        _found(answer, small._replace(weights=small.weights * size, scales=small.scales * size), size)  # fmt: skip
    turned = _made(draw, 4, 3, 4, 4)
    _found(answer, turned._replace(weights=turned.weights.T.contiguous().T))


def _made(draw: torch.Generator, out: int, count: int, group: int, bits: int) -> Matrix:
    """A matrix whose largest of each group, of either sign, is the highest code."""
    top, shape = 2 ** (bits - 1) - 1, (out, count, group)
    codes = whole(draw, -top, top, shape)
    beside = aside(draw, shape)
    beside = torch.where(codes.abs() == top, -codes.sign() * beside.abs(), beside)
    place = torch.randint(group, (out, count, 1), generator=draw)
    sign = 1 - 2 * whole(draw, 0, 1, (out, count, 1))
    sign[0, 0] = -1
    codes.scatter_(2, place, sign * top)
    beside.scatter_(2, place, 0.0)
    scales = steps_of(draw, (out, count))
    weights = (codes + beside) * scales[:, :, None]
    return Matrix(weights.flatten(1).float(), codes.flatten(1), scales, bits, group)


def _pair(answer: Callable, case: Matrix) -> tuple[Tensor, Tensor]:
    got = ask(answer, case.weights, **case.options)
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned a {type(got).__name__}; two things are wanted, codes and scales: `return codes, scales`.",
    )
    for name, part in zip(("codes", "scales"), got, strict=True):
        expect(
            isinstance(part, Tensor),
            f"The {name} are a {type(part).__name__}; a tensor is wanted.",
        )
    codes, scales = got
    (out, width), parts = case.weights.shape, tuple(case.scales.shape)
    group = case.asked[1]
    swapped = (tuple(scales.shape), tuple(codes.shape)) == ((out, width), parts)
    floats = codes.is_floating_point() and not scales.is_floating_point()
    expect(
        not (swapped and (floats or parts != (out, width))),
        "Codes and scales changed places: codes come first.",
    )
    _shaped(codes, scales, case)
    kind = f"The codes have the type {codes.dtype}; int8 is wanted."
    expect(
        codes.dtype == torch.int8,
        f"{kind} `quantize` returns it." if codes.is_floating_point() else kind,
    )
    expect(
        scales.is_floating_point(),
        f"The scales have the type {scales.dtype}. They are floats, groups of {group} share one.",
    )
    return codes, scales.detach()


def _shaped(codes: Tensor, scales: Tensor, case: Matrix) -> None:
    out, width = case.weights.shape
    count, group = width // case.asked[1], case.asked[1]
    given = f"For weights of shape {(out, width)} and groups of {group}"
    # fmt: off
    likely = {
        (out, count, group): "Go back to two dimensions.", (out * width,): "The rows are gone.",
        (1, 1, width): "Go back to two dimensions.", (out * count, group): "Each row of weights is a row of codes.", (width, out): "Rows and columns changed places.",
    }
    # fmt: on
    found = tuple(codes.shape)
    expect(
        found == (out, width),
        f"{given} the codes have the shape {found}; a code for each weight is wanted. {likely.get(found, '')}",
    )
    one = "A scale for every `group` neighbours of a row is wanted."
    # fmt: off
    likely = {
        (out, count, 1): "The third dimension has done its work.", (out, 1, 1): f"That is one for each row. {one}", (out, 1): f"That is one for each row. {one}",
        (out,): f"That is one for each row. {one}", (): f"That is one for the whole matrix. {one}", (1, 1): f"That is one for the whole matrix. {one}",
        (out * count,): "The rows are gone.", (count, out): "Rows and groups changed places.", (out, width): "That is one for each weight, or each is repeated for all that share it.",
        (width,): f"That is one for each column. {one}", (1, width): f"That is one for each column. {one}",
        (out, group): "Scales were found across the groups, not within each; or `group` was taken for their number, while it is the size of one.",
        (out, 1, group): "Scales were found across the groups, not within each: along which dimension do neighbours lie?",
        (1, count, group): "Scales were found across the rows: along which dimension do neighbours lie?", (count, group): "Scales were found across the rows.",
        (out // group, width): "Neighbours share a row, not a column.",
    }
    # fmt: on
    found = tuple(scales.shape)
    expect(
        found == (out, count),
        f"{given} the scales have the shape {found}; wanted is {(out, count)}. {likely.get(found, one)}",
    )


def _found(answer: Callable, case: Matrix, size: float = 1.0) -> None:
    codes, scales = _pair(answer, case)
    scales, steps = scales.double() / size, case.scales / size
    case = case._replace(weights=case.weights.double() / size, scales=steps)
    bits, group = case.asked
    if close(scales, steps) and close(codes, case.codes):
        return
    known = _mistakes(case)
    told = f"With {bits} bits and groups of {group}"
    i = furthest(scales, steps)
    shown = scales.flatten()[i] * size, steps.flatten()[i] * size
    otherwise = (
        f"{told} a group has the scale {shown[0]:.4g} and should have {shown[1]:.4g}."
    )
    if size < 1:
        otherwise += " Small weights have small steps: is something added to them, or are they held up?"
    near = {why: tuple(pair[1] for pair in pairs) for why, pairs in known.items()}
    diagnose(scales, steps, near, otherwise)
    i = furthest(codes, case.codes)
    step = steps.repeat_interleave(group, dim=1).flatten()[i] * size
    shown = case.weights.flatten()[i] * size, codes.flatten()[i], case.codes.flatten()[i]  # fmt: skip
    otherwise = f"{told} the weight {shown[0]:.4g}, in steps of {step:.4g}, has the code {shown[1]:g} and should have {shown[2]:g}."
    near = {why: tuple(pair[0] for pair in pairs) for why, pairs in known.items()}
    diagnose(codes, case.codes, _wrong_codes(case) | near, otherwise)


def _with_zeros(answer: Callable, draw: torch.Generator) -> None:
    """Groups of zeros beside others."""
    made = _made(draw, 3, 3, 4, 4)
    weights, codes = made.weights.clone(), made.codes.clone()
    weights[0, :4] = weights[2, 4:] = 0.0
    codes[0, :4] = codes[2, 4:] = 0.0
    case = made._replace(weights=weights, codes=codes)
    got, scales = _pair(answer, case)
    empty = torch.tensor([[True, False, False], [False] * 3, [False, True, True]])
    expect(
        bool(scales.isfinite().all()),
        f"For a group of zeros the scale is {scales[empty][0]:g}.",
    )
    expect(
        close(got, codes),
        f"A group of zeros spoils codes: it has {got[0, :4].tolist()}. Zero has the code 0.",
    )
    expect(
        close(scales[~empty], made.scales[~empty]),
        "A group of zeros spoils the scales of others.",
    )


# --- naming the mistake -----------------------------------------------------------------------


def _mistakes(case: Matrix) -> dict[str, tuple[tuple[Tensor, Tensor], ...]]:
    """What known mistakes give: codes and scales together."""
    w, (bits, group) = case.weights.double(), case.asked
    out, width = w.shape
    top, parts = 2 ** (bits - 1) - 1, w.reshape(out, -1, group)
    count = parts.shape[1]
    size = parts.abs()
    largest = size.amax(2)

    def pair(step: Tensor, most: int = top) -> tuple[Tensor, Tensor]:
        step = step.expand(out, count)
        codes = (parts / step[:, :, None]).round().clamp(-most - 1, most)
        return codes.flatten(1), step

    across = w.reshape(out, group, count).abs().amax(1) / top  # not neighbours
    spread = across.repeat(1, group)
    mixed = w.reshape(count, out, group).abs().amax(2).T / top
    flat = w.T.reshape(-1, group).abs().amax(1)[: out * count].reshape(out, count) / top
    wide = largest.amax(1, keepdim=True)
    # fmt: off
    return {
        "The scales are made for another number of bits: `symmetric_scale` thinks of 8 unless you say otherwise.":
            tuple(pair(largest / x, y) for x in (127, 7, 3) if x != top for y in (127, top)),
        "Symmetric codes reach equally far to both sides: with b bits, to 2^(b−1) − 1. The scales are made for another highest code.":
            tuple(pair(largest / x) for x in (top + 1, 2 * top + 1, 2 * top + 2, top + 0.5, 2 * top, bits)),
        "The largest weight is taken with its sign. A large negative one needs room as well.":
            (pair(parts.amax(2) / top), pair(parts.amax(2).clamp(min=1e-30) / top), pair(-parts.amin(2) / top)),
        "All groups of a row share a scale. Each has its own.": (pair(wide / top), pair(largest[:, :1] / top)),
        "The whole matrix shares one scale. Every group has its own.": (pair((wide.max() / top).reshape(1, 1)),),
        "The same group of all rows shares a scale. Neighbours share a *row*.": (pair(largest[:1] / top), pair(largest.amax(0, keepdim=True) / top), pair((w.abs().amax(0).reshape(count, group).amax(1) / top)[None])),
        "These are not neighbours: every so many-th weight of a row is put into one group.": (((w / spread).round().clamp(-top, top), across),),
        "Rows and columns are mixed up: neighbours share a *row*.":
            (((parts / mixed[:, :, None]).round().flatten(1), mixed), ((parts / flat[:, :, None]).round().flatten(1), flat)),
        "The scales are upside down. A scale is what one step is worth.": (pair(top / largest),),
        "The middle size, or the spread, of a group is taken for its largest.":
            (pair(size.mean(2) / top), pair(parts.std(2) / top if group > 1 else largest), pair(size.median(2).values / top), pair((parts.amax(2) - parts.amin(2)) / (2 * top)), pair((parts.amax(2) - parts.amin(2)) / (2 * top + 1))),
        "That is the largest of each group. How much of it is one step?": (pair(largest),),
        "A scale is negative. The sign belongs to the codes.": (pair(-largest / top),),
        "`group` makes no difference: another size is built in.":
            tuple(pair(w.reshape(out, -1, x).abs().amax(2)[:, :count] / top) for x in (32, 2, 4) if x != group and width % x == 0 and width // x >= count),
    }
    # fmt: on


def _wrong_codes(case: Matrix) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give for the codes, with the right scales."""
    w, (bits, group) = case.weights.double(), case.asked
    out, width = w.shape
    top, steps = 2 ** (bits - 1) - 1, case.scales
    each = w / steps.repeat_interleave(group, dim=1)
    other = w / steps.repeat(1, group)
    right = case.codes
    # fmt: off
    return {
        "Codes are cut off to whole numbers. They are rounded, to the nearest.": (each.trunc(), each.floor(), each.ceil()),
        "Codes count from 0. Symmetric ones have a sign, and 0 is 0.": (right + top, right + top + 1),
        "The signs are lost on the way to codes.": (right.abs(), -right),
        "Those are the rounded weights, not their codes.": ((right * steps.repeat_interleave(group, dim=1)).trunc(), w.trunc(), w.round()),
        "Some codes are cut off: they reach to 2^(b−1) − 1 on both sides.":
            tuple(right.clamp(-x, y) for x, y in ((top, top - 1), (top - 1, top - 1), (top - 1, top), (top // 2, top // 2), (0, top), (1, 1), (7, 7), (3, 3), (127, 7), (8, 7))),
        "Scales belong to other weights than those they were found for. Neighbours share one.": (other.round().clamp(-top, top), other.round()),
        "The codes come in another order than the weights.":
            (right.reshape(out, -1, group).mT.flatten(1), right.reshape(out, -1, group).transpose(0, 1).reshape(out, width), right.flip(1), right.T.reshape(out, width)),
        "The weights are multiplied by the scale. How many steps make up a weight?": ((each * steps.repeat_interleave(group, dim=1) ** 2).round().clamp(-top, top),),
    }
    # fmt: on
