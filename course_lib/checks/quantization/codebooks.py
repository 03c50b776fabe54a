"""Check of lesson 11: the table of values for a bell curve.

Quantiles come from Python's own `statistics`, and four bits are compared with the
values that bitsandbytes has published. The answers that prove the check are in
`tests/answers/`.
"""

from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.harness import check
from course_lib.checks.quantization.one_by_one import furthest
from course_lib.quantization import codebooks

BELL = NormalDist()
EDGE = 0.9677083
Asked = dict[str, float]


@check(
    codebooks.normal_code_book,
    proved="Four bits give the sixteen values that bitsandbytes has published; other bits and other edges are right as well, "
    "also where float32 has no number for the edge.",
)
def normal_code_book(answer, draw):
    _compare(answer, {"bits": 3})
    _compare(answer, {})
    _published(answer)
    for bits in (2, 5, 4):
        _compare(answer, {"bits": bits})
    for bits, low, high in ((3, 0.7, 0.9), (4, 0.98, 0.999), (2, 0.55, 0.65), (6, 0.9, 0.99)):  # fmt: skip
        share = float(torch.rand((), generator=draw))
        _compare(answer, {"bits": bits, "edge": low + (high - low) * share})
    _compare(answer, {"edge": 0.95})
    _compare(answer, {"bits": 8})
    for edge in (1 - 1e-7, 1 - 3e-9, 1 - 1e-11):
        _fine(answer, {"bits": 4, "edge": edge})


def _quantiles(chances: list[float]) -> list[float]:
    return [BELL.inv_cdf(chance) for chance in chances]


def _line(low: float, high: float, count: int) -> list[float]:
    if count == 1:
        return [low]
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def _slow(bits: int = 4, edge: float = EDGE) -> Tensor:
    n = 2 ** (bits - 1)
    above = _quantiles(_line(0.5, edge, n + 1))
    below = _quantiles(_line(0.5, edge, n)[1:])
    values = [-x for x in reversed(below)] + above
    return torch.tensor([x / above[-1] for x in values], dtype=torch.float64)


def _told(asked: Asked) -> str:
    given = ", ".join(f"{name}={value:.12g}" for name, value in asked.items())
    return f"With {given}" if given else "With bits and edge left out"


def _asked(answer: Callable, asked: Asked) -> Tensor:
    size = 2 ** int(asked.get("bits", 4))
    shapes = {
        (
            size - 1,
        ): "One side has a value too few: what is left out is a zero, and only one of the two.",
        (
            size + 1,
        ): "One value too many: there is only one zero, and one side has a value less.",
        (size + 2,): "Two values too many.",
        (1, size): "A dimension was added.",
        (size // 2,): "That is one half of it: values below zero and above.",
        (size // 2 + 1,): "That is one half of it: values below zero and above.",
        (16,): "`bits` makes no difference.",
    }
    for count in range(520):
        shapes.setdefault((count,), f"2^b values are a table of {size}, not of {count}.")  # fmt: skip
    got = _in_peace(answer, size, shapes, asked)
    expect(
        got.dtype == torch.float32,
        f"The table has the type {got.dtype}. Compute in float64 and return float32.",
    )
    return got.detach()


def _in_peace(answer: Callable, size: int, shapes: dict, asked: Asked) -> Tensor:
    """The table; fail if torch's default type is another one afterwards, and put it back."""
    before = torch.get_default_dtype()
    try:
        got = ask_tensor(answer, shape=(size,), shapes=shapes, **asked)
        after = torch.get_default_dtype()
    finally:
        torch.set_default_dtype(before)
    expect(
        after == before,
        f"It makes {after} the type of all new tensors, everywhere in the notebook. Say `dtype=` where you need it.",
    )
    return got


def _compare(answer: Callable, asked: Asked) -> None:
    got, want = _asked(answer, asked), _slow(**asked)
    i = furthest(got, want)
    otherwise = f"{_told(asked)} value {i} (from 0 on) is {got[i]:.6g} and should be {want[i]:.6g}."
    if not got.isfinite().all():
        otherwise += " The quantile of 1 is infinite, that of anything beyond is nan: probabilities go from ½ to `edge`."
    if not close(got, want):
        diagnose(got, want, _mistakes(**asked), otherwise)
    _zero(got, asked)


def _zero(got: Tensor, asked: Asked) -> None:
    middle = got[len(got) // 2 - 1]
    expect(
        bool(middle == 0),
        f"{_told(asked)} the value in the middle is {middle:.3g}. It is 0, exactly.",
    )


def _published(answer: Callable) -> None:
    got = _asked(answer, {"bits": 4})
    away = (got - torch.tensor(codebooks.NF4)).abs().max()
    expect(
        bool(away < 1e-6),
        f"The values are up to {away:.1e} away from the published ones. Is something rounded on the way?",
    )
    exact = (got.double() - _slow()).abs().max()
    expect(
        bool(exact < 2e-7),
        f"The last digits are not right: they are off by {exact:.1e}, more than float32 rounds. Compute in float64.",
    )


def _fine(answer: Callable, asked: Asked) -> None:
    """Edges that float32 does not know."""
    got, want = _asked(answer, asked), _slow(**asked)
    i = furthest(got, want)
    expect(
        close(got, want, rtol=1e-5),
        f"{_told(asked)} value {i} (from 0 on) is {got[i]:.6g} and should be {want[i]:.6g}. float32 has no number for that "
        "edge: probabilities and quantiles are float64, only the table is float32.",
    )
    _zero(got, asked)


# --- naming the mistake -----------------------------------------------------------------------


def _mistakes(bits: int = 4, edge: float = EDGE) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give."""
    n, q = 2 ** (bits - 1), torch.special.ndtri

    def line(count: int, low: float = 0.5, high: float = edge) -> Tensor:
        return torch.linspace(low, high, count, dtype=torch.float64)

    above, below = q(line(n + 1)), q(line(n))[1:]
    table, last = torch.cat([-below.flip(0), above]), above[-1]

    def joined(low: Tensor, high: Tensor) -> Tensor:
        both = torch.cat([-low.flip(0), high])
        return both / both.abs().max()

    def even(chances: Tensor) -> Tensor:
        values = q(chances)
        return values / values.abs().max()

    middles = line(2 * n + 1, 1 - edge)
    between = q(middles)[1:] + q(middles)[:-1]
    sigmoid = torch.logit
    # fmt: off
    found = {
        "There is one value more below zero than above. It is the other way round: n + 1 probabilities for zero and above.":
            (joined(above[1:], q(line(n))), joined(above, below), -joined(below, above).flip(0)),
        "There are two zeros, one from either side. Leave one of them out.": (joined(q(line(n)), q(line(n))), joined(below, q(line(n + 1))[:-1]), joined(q(line(n)), above[1:])),
        "The ones below zero are positive. They are mirrored.": (torch.cat([below.flip(0), above]) / last, torch.cat([below, above]) / last),
        "The values below zero come in the wrong order: a table rises from -1.": (torch.cat([-below, above]) / last, torch.cat([above, -below]) / last, torch.cat([above, -below.flip(0)]) / last),
        "The table falls. It rises from -1 to 1.": ((table / last).flip(0), -(table / last), ),
        "The values are not divided by the largest: the table goes from -1 to 1.": (table,),
        "They are divided by something else than the largest of them.": (table / edge, table / table.sum(), table / table.norm(), table / table.std(), table / (2 * last), 2 * table / (table[-1] - table[0] + 1)),
        "That is an even grid. Values lie where quantiles of the normal distribution are.":
            (torch.linspace(-1, 1, 2 * n), joined(line(n, 0, 1)[1:], line(n + 1, 0, 1)), torch.arange(-n + 1, n + 1) / n, torch.arange(-n, n) / n,
             joined(line(n)[1:] - 0.5, line(n + 1) - 0.5), joined(line(n)[1:], line(n + 1)), torch.cat([-line(n)[1:].flip(0), line(n + 1)])),
        "Evenly spaced probabilities run through both sides, so there is no zero among the values. The two sides are made one by one.":
            (even(line(2 * n, 1 - edge)), even((middles[1:] + middles[:-1]) / 2), between / between.max(), between / 2, q(line(2 * n, 1 - edge)), even((torch.arange(2 * n) + 0.5) / (2 * n)), even(line(2 * n + 2, 0, 1)[1:-1])),
        "Above and below have the same spacing. They have different numbers of probabilities, n + 1 and n.":
            (joined(above[1:-1], above), joined(above[2:], above), joined(q(line(n + 1))[1:n], q(line(n + 1))), joined(below, torch.cat([above[:1], below, below[-1:]]))),
        "A wrong probability is left out: the first one, whose quantile is zero, is not used below.":
            (joined(q(line(n))[:-1], above), joined(above[:-1][1:], above), ),
        "The numbers of probabilities are one too large or too small: n = 2^(b−1), n + 1 for zero and above, n for the ones below.":
            (joined(q(line(n + 1))[1:-1], q(line(n + 1))), joined(q(line(n + 1))[1:], q(line(n))[:]), joined(q(line(n - 1)), q(line(n + 1))), joined(q(line(n - 1))[1:], q(line(n + 2))), joined(q(line(n + 1))[1:n], q(line(n + 2))[:-1]), joined(q(line(n)[1:]), q(line(n + 2)[:-1]))),
        "`edge` makes no difference: another one is built in.":
            tuple(_slow(bits, x) for x in (EDGE, 0.9677, 0.99, 0.95, 0.999, 0.975, 1 - 1 / 2 ** (bits + 1), 1 - 1 / (4 * n), 29 / 30 / 2 + 0.5 * 14 / 15) if abs(x - edge) > 1e-4),
        "That is the probability below a value, or its density. The quantile goes the other way.":
            (joined(torch.special.ndtr(line(n))[1:], torch.special.ndtr(line(n + 1))), joined(_density(line(n))[1:], _density(line(n + 1))), torch.cat([-torch.special.ndtr(line(n)[1:]).flip(0), torch.special.ndtr(line(n + 1))])),
        "Probabilities were given to the inverse of the error function as they are. It counts from -1 to 1: take `ndtri`.":
            (joined(torch.erfinv(line(n))[1:], torch.erfinv(line(n + 1))), torch.cat([-torch.erfinv(line(n)[1:]).flip(0), torch.erfinv(line(n + 1))])),
        "Those are the quantiles of another distribution. The bell curve's are `torch.special.ndtri`.":
            (joined(sigmoid(line(n))[1:], sigmoid(line(n + 1))), joined(-(2 - 2 * line(n)[1:]).log(), -(2 - 2 * line(n + 1)).log()), joined((torch.pi * (line(n)[1:] - 0.5)).tan(), (torch.pi * (line(n + 1) - 0.5)).tan())),
        "The quantiles themselves are evenly spaced. Their probabilities should be.": (joined(line(n, 0, float(last))[1:], line(n + 1, 0, float(last))),),
        "Probabilities begin at another number than ½, where the quantile is zero.": (joined(q(line(n, 1 - edge))[1:], q(line(n + 1, 1 - edge))), even(torch.cat([line(n, 1 - edge, 0.5)[:-1], line(n + 1)[:-1], line(1, edge)]))),
    }
    # fmt: on
    size = 2 ** int(bits)
    return {why: tuple(x for x in ways if len(x) == size) for why, ways in found.items()}  # fmt: skip


def _density(x: Tensor) -> Tensor:
    return (-(x**2) / 2).exp() / (2 * torch.pi) ** 0.5
