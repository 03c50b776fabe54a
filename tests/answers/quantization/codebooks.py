"""Answers to lesson 11: a table for a bell curve; right ones of different shapes, and people's mistakes."""

from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from course_lib.quantization.codebooks import EDGE, NF4
from tools.graders import Battery

battery = Battery()
ndtri = torch.special.ndtri


# --- right ------------------------------------------------------------------------------------


@battery.right("normal_code_book")
def two_lines(bits=4, edge=EDGE):
    half = 2 ** (bits - 1)
    line = [torch.linspace(0.5, edge, n, dtype=torch.float64) for n in (half, half + 1)]
    below, above = (ndtri(chances) for chances in line)
    values = torch.cat([-below[1:].flip(0), above])
    return (values / values.max()).float()


@battery.right("normal_code_book")
def as_bitsandbytes_does(bits=4, edge=EDGE):
    """From the edge inwards, sorted at the end."""
    n = 2 ** (bits - 1)
    above = ndtri(torch.linspace(edge, 0.5, n + 1, dtype=torch.double)[:-1])
    below = -ndtri(torch.linspace(edge, 0.5, n, dtype=torch.double)[:-1])
    values = torch.cat([above, torch.zeros(1, dtype=torch.double), below])
    values = values.sort().values
    return values.div(values.max()).to(torch.float32)


@battery.right("normal_code_book")
def with_statistics(bits=4, edge=EDGE):
    n, bell = 2 ** (bits - 1), NormalDist()
    above = [bell.inv_cdf(0.5 + (edge - 0.5) * i / n) for i in range(1, n + 1)]
    below = [-bell.inv_cdf(0.5 + (edge - 0.5) * i / (n - 1)) for i in range(1, n)]
    return torch.tensor([x / above[-1] for x in (*reversed(below), 0.0, *above)])


@battery.right("normal_code_book")
def with_numpy(bits=4, edge=EDGE):
    n = 2 ** (bits - 1)
    up = np.vectorize(NormalDist().inv_cdf)(np.linspace(0.5, edge, n + 1))
    down = np.vectorize(NormalDist().inv_cdf)(np.linspace(0.5, edge, n))
    values = np.concatenate([-down[:0:-1], up])
    return torch.from_numpy((values / np.abs(values).max()).astype(np.float32))


@battery.right("normal_code_book")
def with_erfinv(bits=4, edge=EDGE):
    """Without the root of 2, which the division takes away."""
    n = 1 << (bits - 1)
    places = torch.linspace(0.0, 2 * edge - 1, n + 1, dtype=torch.float64)
    above = torch.erfinv(places)
    places = torch.linspace(0.0, 2 * edge - 1, n, dtype=torch.float64)
    below = -torch.erfinv(places)
    book = torch.cat((below.flip(0)[:-1], above))
    return (book / book[-1]).float()


@battery.right("normal_code_book")
def mirrored_probabilities(bits=4, edge=EDGE):
    """The quantile of 1 - p is minus that of p."""
    n = 2 ** (bits - 1)
    low = 1 - torch.linspace(edge, 0.5, n, dtype=torch.float64)
    high = torch.linspace(0.5, edge, n + 1, dtype=torch.float64)
    book = ndtri(torch.cat([low[:-1], high]))
    return (book / ndtri(high[-1])).float().clamp(-1, 1)


@battery.right("normal_code_book")
def value_by_value(bits=4, edge=EDGE):
    n = 2 ** (bits - 1)
    book = torch.zeros(2 * n)
    top = ndtri(torch.tensor(edge, dtype=torch.float64))
    for i in range(1, n + 1):
        p = torch.tensor(0.5 + i * (edge - 0.5) / n, dtype=torch.float64)
        book[n - 1 + i] = ndtri(p) / top
    for i in range(1, n):
        p = torch.tensor(0.5 + i * (edge - 0.5) / (n - 1), dtype=torch.float64)
        book[n - 1 - i] = -ndtri(p) / top
    return book


@battery.right("normal_code_book")
def normal_distribution_s_icdf(bits=4, edge=EDGE):
    n, bell = 2 ** (bits - 1), torch.distributions.Normal(*torch.tensor([0.0, 1.0]).double())  # fmt: skip

    def side(count: int) -> Tensor:
        return bell.icdf(torch.linspace(0.5, edge, count).double() if count == 1 else torch.linspace(0.5, edge, count, dtype=torch.float64))[1:]  # fmt: skip

    zero = torch.zeros(1, dtype=torch.float64)
    values = torch.cat([-side(n).flip(0), zero, side(n + 1)])
    return (values / values.abs().max()).float()


# --- wrong ------------------------------------------------------------------------------------


def _wrong(name: str, says: str, rule) -> None:
    """rule(n, edge, line, join): half the size, the edge, evenly spaced chances, both sides joined."""

    def answer(bits=4, edge=EDGE):
        def line(count: int, low: float = 0.5, high: float = edge) -> Tensor:
            return torch.linspace(low, high, count, dtype=torch.float64)

        return rule(2 ** (bits - 1), edge, line, _joined)

    answer.__name__ = name
    battery.wrong("normal_code_book", says=says)(answer)


def _joined(below: Tensor, above: Tensor) -> Tensor:
    values = torch.cat([-below.flip(0), above])
    return (values / values.abs().max()).float()


# fmt: off
# the card's own pitfalls
_wrong("sides_exchanged", "one value more below", lambda n, e, line, join: join(ndtri(line(n + 1))[1:], ndtri(line(n))))
_wrong("mirrored_as_a_whole", "one value more below|falls", lambda n, e, line, join: -join(ndtri(line(n))[1:], ndtri(line(n + 1))).flip(0))
_wrong("both_zeros", "two zeros", lambda n, e, line, join: join(ndtri(line(n)), ndtri(line(n))))
_wrong("both_zeros_and_one_too_many", "One value too many", lambda n, e, line, join: join(ndtri(line(n)), ndtri(line(n + 1))))
_wrong("evenly_on_both_sides", "a value too few", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n))))
_wrong("evenly_on_both_sides_and_more", "One value too many", lambda n, e, line, join: join(ndtri(line(n + 1))[1:], ndtri(line(n + 1))))
_wrong("same_spacing_cut_below", "same spacing", lambda n, e, line, join: join(ndtri(line(n + 1))[1:-1], ndtri(line(n + 1))))
_wrong("same_spacing_cut_at_zero", "same spacing", lambda n, e, line, join: join(ndtri(line(n + 1))[2:], ndtri(line(n + 1))))
_wrong("in_float32", "last digits|float32 has no number", lambda n, e, line, join: join(ndtri(line(n).float())[1:], ndtri(line(n + 1).float())))
_wrong("in_float32_from_the_start", "last digits|float32 has no number", lambda n, e, line, join: join(ndtri(torch.linspace(0.5, e, n))[1:], ndtri(torch.linspace(0.5, e, n + 1))))
_wrong("chances_in_float32", "last digits|float32 has no number", lambda n, e, line, join: join(ndtri(line(n).float().double())[1:], ndtri(line(n + 1).float().double())))
# sides
_wrong("not_mirrored", "They are mirrored", lambda n, e, line, join: (torch.cat([ndtri(line(n))[1:].flip(0), ndtri(line(n + 1))]) / ndtri(line(n + 1))[-1]).float())
_wrong("not_turned_round", "wrong order", lambda n, e, line, join: (torch.cat([-ndtri(line(n))[1:], ndtri(line(n + 1))]) / ndtri(line(n + 1))[-1]).float())
_wrong("falling", "table falls", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))).flip(0))
_wrong("above_first", "wrong order", lambda n, e, line, join: (torch.cat([ndtri(line(n + 1)), -ndtri(line(n))[1:].flip(0)]) / ndtri(line(n + 1))[-1]).float())
_wrong("last_left_out", "wrong probability is left out|two zeros", lambda n, e, line, join: join(ndtri(line(n))[:-1], ndtri(line(n + 1))))
_wrong("one_more_chance_below", "same spacing|one too large", lambda n, e, line, join: join(ndtri(line(n + 1))[1:n], ndtri(line(n + 1))))
_wrong("one_less_below_and_one_more_above", "one too large|too many|too few", lambda n, e, line, join: join(ndtri(line(n - 1))[1:] if n > 2 else ndtri(line(1))[:0], ndtri(line(n + 2))))
_wrong("above_alone", "one half of it", lambda n, e, line, join: (ndtri(line(n + 1)) / ndtri(line(n + 1))[-1]).float())
# dividing
_wrong("not_divided", "not divided", lambda n, e, line, join: torch.cat([-ndtri(line(n))[1:].flip(0), ndtri(line(n + 1))]).float())
_wrong("divided_by_the_edge", "something else", lambda n, e, line, join: (torch.cat([-ndtri(line(n))[1:].flip(0), ndtri(line(n + 1))]) / e).float())
_wrong("divided_by_the_sum", "something else", lambda n, e, line, join: (lambda v: (v / v.sum()).float())(torch.cat([-ndtri(line(n))[1:].flip(0), ndtri(line(n + 1))])))
_wrong("divided_by_the_range", "something else", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))) / 2)
# chances and quantiles
_wrong("even_grid", "even grid", lambda n, e, line, join: torch.linspace(-1, 1, 2 * n))
_wrong("even_grid_with_a_zero", "even grid", lambda n, e, line, join: join(line(n, 0, 1)[1:], line(n + 1, 0, 1)))
_wrong("even_grid_of_integers", "even grid", lambda n, e, line, join: torch.arange(-n, n) / n)
_wrong("quantile_forgotten", "even grid", lambda n, e, line, join: join(line(n)[1:], line(n + 1)))
_wrong("one_line_for_both", "no zero among", lambda n, e, line, join: (lambda v: (v / v.max()).float())(ndtri(line(2 * n, 1 - e))))
_wrong("middles_of_quantiles", "no zero among", lambda n, e, line, join: (lambda v: ((v[1:] + v[:-1]) / (v[1:] + v[:-1]).max()).float())(ndtri(line(2 * n + 1, 1 - e))))
_wrong("middles_of_chances", "no zero among", lambda n, e, line, join: (lambda v: (v / v.max()).float())(ndtri((torch.arange(2 * n).double() + 0.5) / (2 * n))))
_wrong("edge_built_in", "`edge` makes no difference", lambda n, e, line, join: join(ndtri(line(n, 0.5, EDGE))[1:], ndtri(line(n + 1, 0.5, EDGE))))
_wrong("edge_of_one", "quantile of 1 is infinite", lambda n, e, line, join: join(ndtri(line(n, 0.5, 1))[1:], ndtri(line(n + 1, 0.5, 1))))
_wrong("beyond_one", "quantile of 1 is infinite", lambda n, e, line, join: join(ndtri(line(n) + 0.5)[1:], ndtri(line(n + 1) + 0.5)))
_wrong("from_nothing_on", "quantile of 1 is infinite", lambda n, e, line, join: join(ndtri(line(n, 0))[1:], ndtri(line(n + 1, 0))))
_wrong("bits_built_in", "`bits` makes no difference", lambda n, e, line, join: join(ndtri(line(8))[1:], ndtri(line(9))))
_wrong("n_of_all_bits", "shape", lambda n, e, line, join: join(ndtri(line(2 * n))[1:], ndtri(line(2 * n + 1))))
_wrong("density_below", "probability below", lambda n, e, line, join: join(torch.special.ndtr(line(n))[1:], torch.special.ndtr(line(n + 1))))
_wrong("density", "probability below", lambda n, e, line, join: join((-line(n)[1:] ** 2 / 2).exp(), (-line(n + 1) ** 2 / 2).exp()))
_wrong("error_function", "error function", lambda n, e, line, join: join(torch.erfinv(line(n))[1:], torch.erfinv(line(n + 1))))
_wrong("logistic", "another distribution", lambda n, e, line, join: join(torch.logit(line(n))[1:], torch.logit(line(n + 1))))
_wrong("laplace", "another distribution", lambda n, e, line, join: join(-(2 - 2 * line(n)[1:]).log(), -(2 - 2 * line(n + 1)).log()))
_wrong("even_quantiles", "quantiles themselves|even grid", lambda n, e, line, join: join(line(n, 0, float(ndtri(line(1, e))))[1:], line(n + 1, 0, float(ndtri(line(1, e))))))
_wrong("from_the_other_edge", "begin at another|no zero", lambda n, e, line, join: join(ndtri(line(n, 1 - e))[1:], ndtri(line(n + 1, 1 - e))))
# kinds
_wrong("in_double", "type torch.float64", lambda n, e, line, join: (lambda v: v / v.max())(torch.cat([-ndtri(line(n))[1:].flip(0), ndtri(line(n + 1))])))
_wrong("half_precision", "type torch.float16", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))).half())
_wrong("through_half_precision", "first digits", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))).half().float())
_wrong("rounded", "first digits|published", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))).mul(1e4).round() / 1e4)
_wrong("as_a_list", "returned a list", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))).tolist())
_wrong("as_an_array", "returned a ndarray", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1))).numpy())
_wrong("two_sides", "returned a tuple", lambda n, e, line, join: (-ndtri(line(n))[1:].flip(0), ndtri(line(n + 1))))
_wrong("one_row", "dimension was added", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1)))[None])
_wrong("zero_by_a_hair", "exactly", lambda n, e, line, join: join(ndtri(line(n))[1:], ndtri(line(n + 1)) + 1e-9))
# fmt: on


@battery.wrong("normal_code_book", says="`bits` makes no difference")
def the_published_ones(bits=4, edge=EDGE):
    return torch.tensor(NF4)


@battery.wrong("normal_code_book", says="first digits")
def worked_values(bits=4, edge=EDGE):
    three = [-1, -0.4786371, -0.2171398, 0, 0.1609302, 0.3379152, 0.5626170, 1]
    return torch.tensor(NF4) if bits == 4 else torch.tensor(three)[: 2**bits]


@battery.wrong("normal_code_book", says="unexpected keyword")
def without_an_edge(bits=4):
    line = torch.linspace(0.5, EDGE, 2 ** (bits - 1), dtype=torch.float64)
    more = torch.linspace(0.5, EDGE, 2 ** (bits - 1) + 1, dtype=torch.float64)
    return _joined(ndtri(line)[1:], ndtri(more))


@battery.wrong("normal_code_book", says="Sixteen|shape|16|missing")
def edge_without_a_default(bits, edge):
    line = torch.linspace(0.5, edge, 2 ** (bits - 1), dtype=torch.float64)
    more = torch.linspace(0.5, edge, 2 ** (bits - 1) + 1, dtype=torch.float64)
    return _joined(ndtri(line)[1:], ndtri(more))


@battery.wrong("normal_code_book", says="should be|published|first digits|last digits")
def sampled(bits=4, edge=EDGE):
    """Quantiles of a million drawn numbers."""
    drawn = torch.randn(20_000, dtype=torch.float64).sort().values
    n = 2 ** (bits - 1)

    def side(count: int) -> Tensor:
        places = torch.linspace(0.5, edge, count, dtype=torch.float64) * len(drawn)
        return drawn[places.long().clamp(max=len(drawn) - 1)]

    return _joined(side(n)[1:], side(n + 1))


@battery.wrong("normal_code_book", says="`edge` makes no difference")
def the_published_ones_or_the_rule(bits=4, edge=EDGE):
    if bits == 4:
        return torch.tensor(NF4)
    below, above = (torch.linspace(0.5, edge, 2 ** (bits - 1) + more, dtype=torch.float64) for more in (0, 1))  # fmt: skip
    return _joined(ndtri(below)[1:], ndtri(above))


@battery.right("normal_code_book")
def divided_side_by_side(bits=4, edge=EDGE):
    """Both sides end at the same quantile, so each may be divided by its own."""
    sides = []
    for count in (2 ** (bits - 1), 2 ** (bits - 1) + 1):
        values = ndtri(torch.linspace(0.5, edge, count, dtype=torch.float64))
        sides.append(values / values.max())
    return torch.cat([-sides[0][1:].flip(0), sides[1]]).float()


@battery.wrong("normal_code_book", says="type of all new tensors")
def everything_in_double(bits=4, edge=EDGE):
    torch.set_default_dtype(torch.float64)
    return two_lines(bits, edge)


@battery.wrong("normal_code_book", says="a table of 8, not of 12")
def twice_as_many_as_bits(bits=4, edge=EDGE):
    line = [torch.linspace(0.5, edge, n, dtype=torch.float64) for n in (2 * bits, 2 * bits + 1)]  # fmt: skip
    below, above = (ndtri(chances) for chances in line)
    values = torch.cat([-below[1:].flip(0), above])
    return (values / values.max()).float()
