"""Check of lesson 11: the columns that are left make up for one that was rounded.

What should come back is worked out number by number, and once by least squares, which
knows nothing of the factor. The answers that prove it are in `tests/answers/`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.quantization import gptq


@check(
    gptq.column_step,
    proved="Paper numbers, every row by its own error, the last column of all, views and "
    "float64; and least squares finds no better columns.",
)
def column_step(answer, draw):
    for out, k in ((4, 6), (5, 6), (6, 6), (1, 4), (7, 2)):  # 5, 6: out is k - 1
        _compare(answer, *_drawn(draw, out, k))
    rest = torch.tensor([[0.4, 1.0, 1.0]])  # last: with zeros, mistakes look alike
    _compare(answer, rest, torch.tensor([0.0]), torch.tensor([2.0, -1.0, 0.0]))
    _large_inputs(answer, draw)
    _last_column(answer, draw)
    _digits(answer, draw)
    _least_squares(answer, draw)


def _drawn(draw: torch.Generator, out: int, k: int) -> list[Tensor]:
    """Views into larger matrices, in eighths; codes that are not whole numbers."""
    matrix = torch.randint(-40, 41, (out, k + 3), generator=draw) / 8
    rounded = torch.stack([(matrix[:, 3] * 0.6).round() / 0.6, matrix[:, 0]], dim=1)
    factor = torch.randn(k + 2, k + 2, generator=draw)
    row = factor[1, 2:]
    row[0] = 0.4 + 0.4 * torch.rand((), generator=draw)  # a diagonal below 1
    return [matrix[:, 3:], rounded[:, 0], row]


def _asked(
    answer: Callable, rest: Tensor, rounded: Tensor, row: Tensor, first: str = ""
) -> Tensor:
    out, k = rest.shape
    first = first or "The first column is rounded already and goes out."
    # fmt: off
    shapes = {
        (out, k): first,
        (k - 1, out): "Rows of the matrix became columns.",
        (k - 1,): "Each row of the matrix has its own error, so a whole matrix comes back.",
        (out,): "Every column that is left comes back, not the next alone.",
        (out - 1, k): "The first *column* goes out, not the first row.",
        (out, k - 2): "Only one column goes out, the first.",
    }
    # fmt: on
    shapes.pop((out, k - 1), None)
    got = ask_tensor(
        answer, rest, rounded, row, shape=(out, k - 1), shapes=shapes
    ).detach()
    expect(
        got.dtype == rest.dtype,
        f"From {rest.dtype} came {got.dtype}. Stay in the type of `rest`.",
    )
    return got


def _slowly(rest: Tensor, rounded: Tensor, row: Tensor) -> Tensor:
    found = []
    for numbers, becomes in zip(rest.tolist(), rounded.tolist(), strict=True):
        error = (numbers[0] - becomes) / row[0].item()
        pairs = zip(numbers[1:], row.tolist()[1:], strict=True)
        found.append([number - error * u for number, u in pairs])
    return torch.tensor(found, dtype=torch.float64)


def _compare(answer: Callable, rest: Tensor, rounded: Tensor, row: Tensor) -> None:
    got = _asked(answer, rest, rounded, row)
    want = _slowly(rest, rounded, row)
    if close(got, want):
        return
    i, c = divmod(int((got.double() - want).abs().nan_to_num(1e9).argmax()), len(row) - 1)  # fmt: skip
    shown = ", ".join(f"{x:.4g}" for x in rest[i, : c + 2].tolist())
    diagnose(
        got,
        want,
        _mistakes(*(given.double() for given in (rest, rounded, row))),
        f"With a row of {rest.shape[1]} numbers that begins {shown}, whose first becomes {rounded[i]:.4g}, and with "
        f"{row[0]:.4g} and {row[c + 1]:.4g} in the factor's row, number {c + 1} behind the first should become "
        f"{want[i, c]:.4g}; it gives {got[i, c]:.4g}.",
    )


def _mistakes(
    rest: Tensor, rounded: Tensor, row: Tensor
) -> dict[str, tuple[Tensor, ...]]:
    w, later, u, d = rest[:, 0], rest[:, 1:], row[1:], row[0]
    off = (w - rounded)[:, None]
    out, k = rest.shape

    def lose(error: Tensor, numbers: Tensor = u) -> Tensor:
        return later - error * numbers

    one = torch.zeros_like(u)
    one[0] = u[0]
    across = [lose((w - rounded) / d * torch.ones(k - 1))] if out == k - 1 else []
    across += [lose(((w - rounded) / d)[None] * u)] if out == k - 1 else []
    lowered = [lose((rest[0] - rounded)[:, None] / d)] if out == k else []
    # fmt: off
    return {
        "Those are the columns as they were: nothing makes up for the error.": (later,),
        "The error is not divided by the diagonal, the first number of `row`.": (lose(off), lose(off, -u)),
        "The error is multiplied by the diagonal instead of divided by it.": (lose(off * d), lose(off * d, -u)),
        "The error is divided by the diagonal twice.": (lose(off / d**2), lose(off / d**2, -u)),
        "The error is divided by the square root of the diagonal.": (lose(off / d.abs().sqrt()),),
        "The sign is wrong: what was lost in the first column is lost once more in the others.": (lose(-off / d),),
        "Those are the changes, not the changed columns.": (off / d * u, -off / d * u),
        "Every row of the matrix has its own error; here all share one.":
            tuple(lose(e / d) for e in (off.mean(), off.sum(), off[:1], off[-1:], off.norm(), off.abs().max())),
        "The errors of the rows landed on columns: error i belongs to row i of the matrix. Is a dimension missing?": tuple(across),
        "The error is that of the first row; wanted is that of the first column.": tuple(lowered),
        "The numbers of `row` are one place off: its first belongs to the column that goes out.":
            (lose(off / d, row[:-1]), lose(off / d, row.roll(-2)[: k - 1]), lose(off / row[:-1] * u)),
        "The numbers of `row` come in the wrong order.": (lose(off / d, u.flip(0)),),
        "Each error is divided by its own column's number in `row`; all by the first.": (later - off / u, lose(off / u)),
        "Only the next column was corrected; every later one takes its share.": (lose(off / d, one),),
        "Every later column has its own number in `row`; here all take one.":
            (lose(off / d, u[:1]), lose(off / d, u.mean()), lose(off / d, u.sum()), lose(off / d, torch.ones_like(u))),
        "The corrected columns were rounded as well; that comes later, one by one.": (lose(off / d).round(),),
        "It rounds the first column itself; what it becomes is given in `rounded`.": (lose((w - w.round())[:, None] / d),),
        "The whole first number counts as its error: what it becomes is to be taken off.": (lose(w[:, None] / d), lose(rounded[:, None] / d)),
        "The error lost its sign.": (lose(off.abs() / d), lose(off.abs() / d, u.abs())),
        "The numbers of `row` lost their signs.": (lose(off / d, u.abs()),),
        "The last column was left out; the first one goes out.": ((rest - off / d * row)[:, :-1],),
        "The error is made relative to the number; it is the plain difference through the diagonal.": (lose(off / w[:, None] / d),),
        "The correction is added or taken off, not multiplied with the columns.": (later * (1 - off / d * u), later * off / d * u),
    }
    # fmt: on


def _last_column(answer: Callable, draw: torch.Generator) -> None:
    """Nothing is left to make up for anything."""
    rest, rounded, row = _drawn(draw, 3, 1)
    none = "After the last column (k = 1) none is left: a matrix without columns, (out, 0)."
    try:
        _asked(answer, rest, rounded, row, none)
    except (RuntimeError, IndexError, ValueError) as error:
        said = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
        raise CheckFailed(f"{none} Yours stopped with {said}.") from error


def _large_inputs(answer: Callable, draw: torch.Generator) -> None:
    """Loud inputs make a factor of small numbers: only their ratio counts."""
    rest, rounded, row = (x.double() for x in _drawn(draw, 4, 5))
    _compare(answer, rest * 64, rounded * 64, row / 4096)


def _digits(answer: Callable, draw: torch.Generator) -> None:
    given = [x.double() for x in _drawn(draw, 5, 4)]
    given[0] += 1e-7 * torch.rand(5, 4, generator=draw, dtype=torch.float64)
    got, want = _asked(answer, *given), _slowly(*given)
    expect(
        torch.allclose(got, want, rtol=1e-11, atol=1e-12),
        "In float64 the first seven digits are right and the later ones are not. Stay in the type of `rest` on the way.",
    )


def _least_squares(answer: Callable, draw: torch.Generator) -> None:
    """Real inputs: what another method finds for the columns that are free."""
    k, out = 5, 4
    mixed = torch.randn(k, k, generator=draw, dtype=torch.float64)
    X = torch.randn(30, k, generator=draw, dtype=torch.float64) @ mixed
    X = X + 0.5 * torch.randn(30, k, generator=draw, dtype=torch.float64)
    weights = torch.randn(out, k, generator=draw, dtype=torch.float64)
    H = 2 * X.T @ X / len(X)
    factor = torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
    rounded = (2 * weights[:, 0]).round() / 2
    lost = X[:, :1] * (weights[:, 0] - rounded)  # (N, out)
    want = weights[:, 1:] + torch.linalg.lstsq(X[:, 1:], lost).solution.T
    got = _asked(answer, weights, rounded, factor[0])
    expect(
        close(got, want, rtol=1e-6, atol=1e-8),
        "With a factor made from inputs, other columns would say more nearly what the layer said before.",
    )
