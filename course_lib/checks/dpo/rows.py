"""Functions of pairs of answers, asked row by row: how an answer is called, compared and turned downhill.

A loss is known by what one pair costs, in Python's own numbers; gradients are
differences of that.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

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


class Loss(NamedTuple):
    """One loss of a pair of answers: its slow version, its mistakes, its rows' names."""

    slow: Callable[..., float]  # of one pair's numbers
    mistakes: Callable[..., dict[str, tuple[Tensor, ...]]]  # of the rows in float64
    names: tuple[str, ...]
    atol: float = 1e-6


def ask_row(answer: Callable, rows: list[Tensor], options: dict, what: str) -> Tensor:
    """Call an answer that gives one number for each pair; what: "losses"."""
    B = len(rows[0])
    alone = f"Each pair keeps its own of the {what}: no mean and no sum over the batch."
    both = "There is one number for each answer. Wanted is one for each pair."
    # fmt: off
    shapes = {
        (): alone if B > 1 else "A batch of one pair is a batch as well: (1,), no bare number.",
        (1,): alone, (B, 1): "A dimension was added.", (1, B): "A dimension was added.",
        (2 * B,): both, (B, 2): both, (2, B): both,
        (B, B): "Every chosen answer was compared with every rejected one. Each pair is compared within itself.",
    }
    # fmt: on
    shapes.pop((B,), None)
    try:
        got = ask_tensor(answer, *rows, shape=(B,), shapes=shapes, **options)
    except NotImplementedError as error:
        expect(
            "not implemented for" not in str(error),
            "torch cannot do one of the steps with decimal numbers. Is there a ^? In Python a power is **.",
        )
        raise
    kind = rows[0].dtype
    expect(
        got.dtype == kind,
        f"For rows of type {kind} the {what} have the type {got.dtype}. Stay in the rows' own type.",
    )
    return got


def compare(
    answer: Callable,
    loss: Loss,
    rows: list[Tensor],
    what: str = "losses",
    **options: float,
) -> None:
    """Fail unless each pair has what the slow version gives; name the mistake."""
    got = ask_row(answer, rows, options, what).detach()
    want = slowly(loss, rows, options)
    if close(got, want, atol=loss.atol):
        return
    off = (got.double() - want).abs() / (1 + want.abs())
    i = int(off.nan_to_num(math.inf).argmax())
    otherwise = (
        f"With {described(loss, rows, i, options)} it gives {got[i]:.4g}; it should be "
        f"{want[i]:.4g}."
    )
    expect(bool(got.isfinite().all()), otherwise)
    known = loss.mistakes(*(row.double() for row in rows), **options)
    diagnose(got, want, known, otherwise)


def digits(
    answer: Callable,
    loss: Loss,
    rows: list[Tensor],
    what: str = "losses",
    **options: float,
) -> None:
    """Fail unless rows in float64 are answered to nine digits."""
    rows = [row.double() for row in rows]
    got = ask_row(answer, rows, options, what).detach()
    expect(
        torch.allclose(got, slowly(loss, rows, options), rtol=1e-9, atol=1e-10),
        "In float64 the first seven digits are right and the later ones are not. Stay in the rows' own type on the way.",
    )


def slowly(loss: Loss, rows: list[Tensor], options: dict) -> Tensor:
    pairs = zip(*(row.tolist() for row in rows), strict=True)
    numbers = [loss.slow(*pair, **options) for pair in pairs]
    return torch.tensor(numbers, dtype=torch.float64)


def described(loss: Loss, rows: list[Tensor], i: int, options: dict) -> str:
    shown = [f"{n} {row[i]:.6g}" for n, row in zip(loss.names, rows, strict=True)]
    shown += [f"{name}={value:g}" for name, value in options.items()]
    return ", ".join(shown)


def slopes(
    answer: Callable,
    loss: Loss,
    rows: list[Tensor],
    step: float = 1e-4,
    **options: float,
) -> None:
    """The gradient reaches the first two rows, and is that of the slow version."""
    for place in (0, 1):
        name = loss.names[place]

        def asked(leaf: Tensor, place: int = place) -> Tensor:
            mine = [leaf if j == place else row for j, row in enumerate(rows)]
            return ask_row(answer, mine, options, "losses")

        cut = f"No gradient reaches the {name} log-probabilities. {NO_GRADIENT}"
        got = ask_gradient(asked, rows[place], cut=cut)
        shifted = []
        for d in (step, -step):
            moved = [row.double() + d * (j == place) for j, row in enumerate(rows)]
            shifted.append(slowly(loss, moved, options))
        want = (shifted[0] - shifted[1]) / (2 * step)
        off = (got.double() - want).abs() / (1 + want.abs())
        i = int(off.nan_to_num(math.inf).argmax())
        where = f"With {described(loss, rows, i, options)} the loss is right, and its gradient for the {name} one"
        expect(
            bool(got.isfinite().all()),
            f"{where} is {got[i]}. A branch that is not chosen has a gradient as well (where), and so has a "
            "clamp; torch has a function that needs neither.",
        )
        expect(
            close(got, want, rtol=1e-3, atol=1e-5),
            f"{where} is {got[i]:.4g}; it should be {want[i]:.4g}. Is a part cut off (detach, no_grad)?",
        )


def drawn(draw: torch.Generator, B: int, rows: int = 4) -> list[Tensor]:
    """Sums of log-probabilities in sixteenths, so that differences are exact; views."""
    start = torch.randint(-320, -80, (B, 2), generator=draw)
    moved = torch.randint(-60, 61, (B, 2), generator=draw)
    moved[0] = torch.tensor([-27, 25])  # a pair that is ranked wrong
    four = torch.cat([start + moved, start], dim=1) / 16
    return list(four.unbind(1))[:rows]


def far_apart(draw: torch.Generator, B: int) -> list[Tensor]:
    """Very long answers in float64: beside 1e5, float32 has steps of 0.008."""
    known = -1e5 - 100 * torch.rand(2, B, generator=draw, dtype=torch.float64)
    gains = 3 * torch.randn(2, B, generator=draw, dtype=torch.float64)
    return [*(known + gains), *known]
