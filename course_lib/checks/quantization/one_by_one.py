"""What checks of lesson 11 share: numbers taken one by one, and drawn so that no rounding is in doubt."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import expect, unchanged


class OnGrid(NamedTuple):
    """Numbers and a grid; None = the default is left to the answer."""

    values: Tensor
    scale: Tensor
    zero: Tensor | int | None = None
    limits: tuple[int, int] | None = None

    @property
    def options(self) -> dict:
        given = {"zero": self.zero, "limits": self.limits}
        return {name: x for name, x in given.items() if x is not None}


def copied(options: dict) -> dict:
    """Named arguments to hand to an answer; tensors are copies, so that a case stays what it is."""
    return {name: x.clone() if isinstance(x, Tensor) else x for name, x in options.items()}  # fmt: skip


def untouched(options: dict, handed: dict) -> None:
    """Fail if an answer changed a tensor that it got by name."""
    for name, x in options.items():
        expect(
            unchanged(x, handed[name]),
            f"It changed `{name}`, which it was given. Later lines still need that: work on a new tensor.",
        )


def each(rule: Callable[..., float], values: Tensor, *others: Tensor | float) -> Tensor:
    """A rule of Python's own numbers for every value, whatever broadcasts against it."""
    beside = (torch.as_tensor(other).double() for other in others)
    parts = torch.broadcast_tensors(values.detach().double(), *beside)
    rows = zip(*(part.flatten().tolist() for part in parts), strict=True)
    found = [rule(*numbers) for numbers in rows]
    return torch.tensor(found, dtype=torch.float64).reshape(parts[0].shape)


def furthest(got: Tensor, want: Tensor) -> int:
    """The place, counted through all dimensions, where an answer is furthest off."""
    off = (got.double() - want.double()).abs() / (1 + want.double().abs())
    return int(off.nan_to_num(float("inf")).argmax())


def whole(draw: torch.Generator, low: int, high: int, shape: tuple[int, ...]) -> Tensor:
    """Whole numbers from low to high, both ends among them, in float64."""
    return torch.randint(low, high + 1, shape, generator=draw).double()


def aside(draw: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Shares of a step, up or down, far from one half and not 0: 7/64 to 25/64."""
    size = torch.randint(7, 26, shape, generator=draw).double() / 64
    return torch.where(torch.rand(shape, generator=draw) < 0.5, size, -size)


def steps_of(draw: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Steps from 1/32 to 2; in 64ths, so that products with codes are exact."""
    return torch.randint(2, 129, shape, generator=draw).double() / 64
