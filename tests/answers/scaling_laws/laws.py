"""Answers to lesson 03 on laws of loss, a test of one, budgets, and a fit."""

import itertools
import math
import unittest
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, least_squares, minimize, minimize_scalar
from torch.nn import functional

from course_lib.scaling.fitting import DELTA, descend, huber, log_loss
from course_lib.scaling.laws import (
    KAPLAN_ALONE,
    KAPLAN_JOINT,
    PRINTED,
    REFIT,
    chinchilla_loss,
    lowest,
    optimal,
    power_law,
    search_optimal,
)
from tools.graders import Battery

battery = Battery()


# --- kaplan_loss: right -----------------------------------------------------------------


@battery.right("kaplan_loss")
def in_two_lines(parameters, tokens, law=KAPLAN_JOINT):
    first = (law.size_scale / parameters) ** (law.size_exponent / law.data_exponent)
    return (first + law.data_scale / tokens) ** law.data_exponent


@battery.right("kaplan_loss")
def from_both_power_laws(parameters, tokens, law=KAPLAN_JOINT):
    size = power_law(parameters, law.size_scale, law.size_exponent)
    data = power_law(tokens, law.data_scale, law.data_exponent)
    root = 1 / law.data_exponent
    return (size**root + data**root) ** law.data_exponent


@battery.right("kaplan_loss")
def in_logarithms(parameters, tokens, law=KAPLAN_JOINT):
    with np.errstate(divide="ignore"):
        ratio = law.size_exponent / law.data_exponent
        size = ratio * (np.log(law.size_scale) - np.log(parameters))
        data = np.log(law.data_scale) - np.log(tokens)
        return np.exp(law.data_exponent * np.logaddexp(size, data))


@battery.right("kaplan_loss")
def case_by_case(parameters, tokens, law=KAPLAN_JOINT):
    inside = 0.0
    if not math.isinf(parameters):
        inside += math.pow(
            parameters / law.size_scale, -law.size_exponent / law.data_exponent
        )
    if not math.isinf(tokens):
        inside += 1 / (tokens / law.data_scale)
    return math.pow(inside, law.data_exponent)


@battery.right("kaplan_loss")
def with_torch_in_64_bits(parameters, tokens, law=KAPLAN_JOINT):
    x = torch.tensor([parameters, tokens], dtype=torch.float64)
    scales = torch.tensor([law.size_scale, law.data_scale], dtype=torch.float64)
    powers = torch.tensor(
        [law.size_exponent / law.data_exponent, 1], dtype=torch.float64
    )
    return ((scales / x) ** powers).sum() ** law.data_exponent


@battery.right("kaplan_loss")
def as_a_norm(parameters, tokens, law=KAPLAN_JOINT):
    pair = np.array(
        [
            (law.size_scale / parameters) ** law.size_exponent,
            (law.data_scale / tokens) ** law.data_exponent,
        ]
    )
    return float(np.linalg.norm(pair, ord=1 / law.data_exponent))


# --- kaplan_loss: wrong -----------------------------------------------------------------


def _kaplan(says):
    """A wrong answer made of N_c / N, D_c / D and both exponents."""

    def decorate(formula):
        def answer(parameters, tokens, law=KAPLAN_JOINT):
            n, d = law.size_scale / parameters, law.data_scale / tokens
            return formula(n, d, law.size_exponent, law.data_exponent)

        answer.__name__ = formula.__name__
        return battery.wrong("kaplan_loss", says=says)(answer)

    return decorate


@_kaplan("added up.*counts the loss twice")
def sum_of_two_power_laws(n, d, a, b):
    return n**a + d**b


@_kaplan("one of the two power laws alone")
def the_larger(n, d, a, b):
    return max(n**a, d**b)


@_kaplan("one of the two power laws alone")
def the_smaller(n, d, a, b):
    return min(n**a, d**b)


@_kaplan("outer exponent is missing")
def no_outer_exponent(n, d, a, b):
    return n ** (a / b) + d


@_kaplan("which is over which")
def quotient_upside_down(n, d, a, b):
    return (n ** (b / a) + d) ** b


@_kaplan("changed places")
def exponents_swapped(n, d, a, b):
    return (n ** (b / a) + d) ** a


@_kaplan("belongs to the text")
def outer_of_the_size(n, d, a, b):
    return (n ** (a / b) + d) ** a


@_kaplan("lacks an exponent of its own")
def no_quotient(n, d, a, b):
    return (n + d) ** b


@_kaplan("no quotient of two")
def size_exponent_inside(n, d, a, b):
    return (n**a + d) ** b


@_kaplan("no quotient of two")
def product_of_exponents(n, d, a, b):
    return (n ** (a * b) + d) ** b


@_kaplan("no quotient of two")
def difference_of_exponents(n, d, a, b):
    return (n ** (a - b) + d) ** b


@_kaplan("no quotient of two")
def power_laws_in_the_bracket(n, d, a, b):
    return (n**a + d**b) ** b


@_kaplan("second term has an exponent")
def both_terms_raised(n, d, a, b):
    return (n ** (a / b) + d ** (a / b)) ** b


@_kaplan("lacks an exponent of its own")
def quotient_around_both(n, d, a, b):
    return ((n + d) ** (a / b)) ** b


@_kaplan("whole bracket")
def parenthesis_slipped(n, d, a, b):
    return n ** (a / b) + d**b


@_kaplan("upside down")
def size_upside_down(n, d, a, b):
    return ((1 / n) ** (a / b) + d) ** b


@_kaplan("upside down")
def text_upside_down(n, d, a, b):
    return (n ** (a / b) + 1 / d) ** b


@_kaplan("upside down")
def both_upside_down(n, d, a, b):
    return (n ** -(a / b) + 1 / d) ** b


@_kaplan("one over the outer")
def root_instead_of_power(n, d, a, b):
    return (n ** (a / b) + d) ** (1 / b)


@_kaplan("multiplies the bracket")
def star_instead_of_two_stars(n, d, a, b):
    return (n ** (a / b) + d) * b


@_kaplan("terms are multiplied")
def product_inside(n, d, a, b):
    return (n ** (a / b) * d) ** b


@_kaplan("mean of the two terms")
def mean_inside(n, d, a, b):
    return ((n ** (a / b) + d) / 2) ** b


@_kaplan("subtracted")
def difference_inside(n, d, a, b):
    return abs(n ** (a / b) - d) ** b


@_kaplan("one of the two power laws alone")
def size_only(n, d, a, b):
    return n**a


@_kaplan("one of the two power laws alone")
def text_only(n, d, a, b):
    return d**b


@_kaplan("perplexity|other units")
def in_bits(n, d, a, b):
    return (n ** (a / b) + d) ** b / math.log(2)


@_kaplan("perplexity|other units")
def its_exponential(n, d, a, b):
    return math.exp((n ** (a / b) + d) ** b)


@_kaplan("perplexity|other units")
def its_logarithm(n, d, a, b):
    return math.log((n ** (a / b) + d) ** b)


@_kaplan("first digits are right")
def rounded_to_two_digits(n, d, a, b):
    return round((n ** (a / b) + d) ** b, 2)


@_kaplan("instead of 1.933.*nothing may be left")
def with_a_floor_for_the_text(n, d, a, b):
    return (n ** (a / b) + max(d, 1)) ** b


@battery.wrong("kaplan_loss", says="law makes no difference")
def constants_built_in(parameters, tokens, law=KAPLAN_JOINT):
    return ((6.4e13 / parameters) ** (0.076 / 0.103) + 1.8e13 / tokens) ** 0.103


@battery.wrong("kaplan_loss", says="KAPLAN_JOINT is the default")
def other_default(parameters, tokens, law=KAPLAN_ALONE):
    return in_two_lines(parameters, tokens, law)


@battery.wrong("kaplan_loss", says="scales have changed places")
def scales_swapped(parameters, tokens, law=KAPLAN_JOINT):
    turned = replace(law, size_scale=law.data_scale, data_scale=law.size_scale)
    return in_two_lines(parameters, tokens, turned)


@battery.wrong("kaplan_loss", says="parameters and tokens have changed places")
def arguments_swapped(parameters, tokens, law=KAPLAN_JOINT):
    return in_two_lines(tokens, parameters, law)


@battery.wrong("kaplan_loss", says="Chinchilla's law")
def chinchillas(parameters, tokens, law=KAPLAN_JOINT):
    return chinchilla_loss(parameters, tokens)


@battery.wrong("kaplan_loss", says="gives nan.*Divide the constant")
def multiplied_out(parameters, tokens, law=KAPLAN_JOINT):
    ratio = law.size_exponent / law.data_exponent
    size, below = law.size_scale**ratio, parameters**ratio
    above = size * tokens + law.data_scale * below
    return (above / (below * tokens)) ** law.data_exponent


@battery.wrong("kaplan_loss", says="stops with ValueError.*math.inf")
def logarithm_of_nothing(parameters, tokens, law=KAPLAN_JOINT):
    ratio = law.size_exponent / law.data_exponent
    size = ratio * math.log(law.size_scale / parameters)
    data = math.log(law.data_scale / tokens)
    return (math.exp(size) + math.exp(data)) ** law.data_exponent


@battery.wrong("kaplan_loss", says="stops with OverflowError.*math.inf")
def whole_numbers(parameters, tokens, law=KAPLAN_JOINT):
    first = Fraction(law.size_scale) / Fraction(parameters)
    ratio = law.size_exponent / law.data_exponent
    inside = float(first) ** ratio + law.data_scale / tokens
    return inside**law.data_exponent


@battery.wrong("kaplan_loss", says="loss is 2; yours is 2.03")
def the_worked_value(parameters, tokens, law=KAPLAN_JOINT):
    return 2.03


@battery.wrong("kaplan_loss", says="returned a tuple")
def both_terms(parameters, tokens, law=KAPLAN_JOINT):
    return law.size_scale / parameters, law.data_scale / tokens


# --- test_law: right --------------------------------------------------------------------

EXPONENT = KAPLAN_JOINT.data_exponent
TENS = [10.0**k for k in range(6, 13)]


def _size(N):
    return power_law(N, KAPLAN_JOINT.size_scale, KAPLAN_JOINT.size_exponent)


def _data(D):
    return power_law(D, KAPLAN_JOINT.data_scale, EXPONENT)


def _alike(N):
    return KAPLAN_JOINT.data_scale / _size(N) ** (1 / EXPONENT)


def _same(a, b, tolerance=1e-6):
    return math.isclose(a, b, rel_tol=tolerance)


@battery.right("test_law")
def test_claim_by_claim(loss):
    for x in (1e3, 1e6, 1e9, 1e12):
        assert _same(loss(x, math.inf), _size(x)), "endless text"
        assert _same(loss(math.inf, x), _data(x)), "endless model"
        assert _same(loss(x, _alike(x)), 2**EXPONENT * _size(x)), "both alike"
        for y in (1e3, 1e6, 1e9, 1e12):
            assert loss(x, y) > max(_size(x), _data(y)), "not above both"
            assert loss(2 * x, y) < loss(x, y), "more parameters hurt"
            assert loss(x, 2 * y) < loss(x, y), "more tokens hurt"


@battery.right("test_law")
def test_along_tables(loss):
    table = [[loss(N, D) for D in TENS] for N in TENS]
    for row in (*table, *zip(*table, strict=True)):
        assert all(later < before for before, later in itertools.pairwise(row))
    for N, row in zip(TENS, table, strict=True):
        assert min(value - _size(N) for value in row) > 0
        assert all(value > _data(D) for D, value in zip(TENS, row, strict=True))
        assert loss(N, math.inf) == pytest.approx(_size(N))
        assert loss(math.inf, N) == pytest.approx(_data(N))
        assert loss(N, _alike(N)) / _size(N) == pytest.approx(2**EXPONENT)


@battery.right("test_law")
def test_with_very_many_instead_of_endless(loss):
    for x in TENS:
        for many in (1e120, math.inf):
            assert abs(loss(x, many) - _size(x)) < 1e-6
            assert abs(loss(many, x) - _data(x)) < 1e-6
        D = _alike(x)
        assert abs(loss(x, D) - 2**EXPONENT * _data(D)) < 1e-5
        for share in (0.1, 0.5, 2, 10):
            near = loss(x, share * D)
            assert near > _size(x) + 1e-6
            assert near > _data(share * D) + 1e-6
            assert loss(1.5 * x, share * D) < near
            assert loss(x, 1.5 * share * D) < near


@battery.right("test_law")
def test_by_unittest(loss):
    case = unittest.TestCase()
    for x in TENS:
        case.assertAlmostEqual(loss(x, math.inf), _size(x), places=6)  # noqa: PT009
        case.assertAlmostEqual(loss(math.inf, x), _data(x), places=6)  # noqa: PT009
        D = _alike(x)
        case.assertAlmostEqual(loss(x, D), 2**EXPONENT * _size(x), places=6)  # noqa: PT009
        for y in TENS:
            case.assertGreater(loss(x, y), max(_size(x), _data(y)))  # noqa: PT009
            case.assertLess(loss(3 * x, y), loss(x, y))  # noqa: PT009
            case.assertLess(loss(x, tokens=3 * y), loss(parameters=x, tokens=y))  # noqa: PT009


@battery.right("test_law")
def test_against_the_whole_formula(loss):
    for N in (*TENS, math.inf):
        for D in (*TENS, math.inf):
            want = (_size(N) ** (1 / EXPONENT) + _data(D) ** (1 / EXPONENT)) ** EXPONENT
            if not math.isclose(loss(N, D), want, rel_tol=1e-7):
                pytest.fail(f"wrong at {N}, {D}")
    for N in TENS:
        assert _same(loss(N, _alike(N)), 2**EXPONENT * _size(N))


@battery.right("test_law")
def test_of_whole_numbers(loss):
    for power in range(6, 13):
        N = 10**power
        assert _same(loss(N, math.inf), _size(N))
        assert _same(loss(math.inf, N), _data(N))
        assert _same(loss(N, _alike(N)), 2**EXPONENT * _size(N))
        for other in range(6, 13):
            here = loss(N, 10**other)
            assert here > _size(N)
            assert here > _data(10**other)
            assert loss(N + N // 2, 10**other) < here > loss(N, 10**other * 3 // 2)


# --- test_law: wrong --------------------------------------------------------------------


def _claim_1(loss, sizes=TENS, tolerance=1e-6):
    for x in sizes:
        assert _same(loss(x, math.inf), _size(x), tolerance)
        assert _same(loss(math.inf, x), _data(x), tolerance)


def _claim_2(loss, sizes=TENS):
    for N in sizes:
        for D in sizes:
            assert loss(N, D) > max(_size(N), _data(D))


def _claim_3(loss, sizes=TENS):
    for N in sizes:
        for D in sizes:
            assert loss(2 * N, D) < loss(N, D) > loss(N, 2 * D)


def _claim_4(loss, sizes=TENS, tolerance=1e-6):
    for N in sizes:
        assert _same(loss(N, _alike(N)), 2**EXPONENT * _size(N), tolerance)


@battery.wrong("test_law", says="never calls")
def test_of_nothing(loss):
    assert True


@battery.wrong("test_law", says="sum of the two.*no assert objects")
def test_without_an_assert(loss):
    print(loss(7e9, 140e9))


@battery.wrong("test_law", says="sum of the two.*returned False")
def test_that_returns_its_verdict(loss):
    return _same(loss(7e9, 140e9), 2.0274, 1e-3)


@battery.wrong("test_law", says="sum of the two.*except")
def test_that_catches_its_own_assert(loss):
    try:
        _claim_4(loss)
    except AssertionError as error:
        print(error)


@battery.wrong("test_law", says="stops with ValueError.*assert")
def test_that_raises_another_error(loss):
    if not _same(loss(1e9, _alike(1e9)), 2**EXPONENT * _size(1e9)):
        raise ValueError("wrong")


@battery.wrong("test_law", says="sum of the two.*breaks claim 4")
def test_of_the_limits(loss):
    _claim_1(loss)


@battery.wrong("test_law", says="sum of the two.*claim 4")
def test_without_claim_4(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_3(loss)


@battery.wrong("test_law", says="[Cc]laim 1")
def test_without_claim_1(loss):
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss)


@battery.wrong("test_law", says="Nothing asserts claim 2|breaks claim")
def test_without_claim_2(loss):
    _claim_1(loss)
    _claim_4(loss)


@battery.wrong("test_law", says="two per cent too low.*claim 2")
def test_without_claim_2_alone(loss):
    _claim_1(loss)
    _claim_3(loss)
    _claim_4(loss)


@battery.wrong("test_law", says="plenty of text.*claim 2")
def test_above_the_law_of_the_text_only(loss):
    _claim_1(loss)
    _claim_3(loss)
    _claim_4(loss)
    for N in TENS:
        for D in TENS:
            assert loss(N, D) > _data(D)


@battery.wrong("test_law", says="large for its text.*claim 2")
def test_above_the_law_of_the_size_only(loss):
    _claim_1(loss)
    _claim_3(loss)
    _claim_4(loss)
    for N in TENS:
        for D in TENS:
            assert loss(N, D) > _size(N)


@battery.wrong("test_law", says="middling models.*1e6 to 1e12")
def test_of_the_smallest_and_the_largest(loss):
    ends = [1e6, 1e12]
    _claim_1(loss, ends)
    _claim_2(loss, ends)
    _claim_3(loss, ends)
    _claim_4(loss, ends)


@battery.wrong("test_law", says="half a per cent too high.*close enough")
def test_to_one_per_cent(loss):
    _claim_1(loss, tolerance=1e-2)
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss, tolerance=1e-2)


@battery.wrong("test_law", says="less than 3e7 tokens.*claim 3")
def test_of_one_text(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_4(loss)
    for N in TENS:
        assert loss(2 * N, 1e9) < loss(N, 1e9)
        assert loss(N, 1e11) < loss(N, 1e9)


@battery.wrong("test_law", says="breaks claim 1.*never calls loss with math.inf")
def test_of_nothing_endless(loss):
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss)


@battery.wrong("test_law", says="seven per cent more.*claim 3")
def test_without_claim_3(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_4(loss)


@battery.wrong("test_law", says="seven per cent more.*claim 3")
def test_of_never_worse(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_4(loss)
    for N in TENS:
        for D in TENS:
            assert loss(2 * N, D) <= loss(N, D) >= loss(N, 2 * D)


@battery.wrong("test_law", says="more parameters hurt.*claim 3")
def test_of_more_tokens_only(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_4(loss)
    for N in TENS:
        for D in TENS:
            assert loss(N, 2 * D) < loss(N, D)


@battery.wrong("test_law", says="more tokens hurt.*claim 3")
def test_of_more_parameters_only(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_4(loss)
    for N in TENS:
        for D in TENS:
            assert loss(2 * N, D) < loss(N, D)


@battery.wrong("test_law", says="claim 1")
def test_of_endless_text_only(loss):
    for x in TENS:
        assert _same(loss(x, math.inf), _size(x))
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss)


@battery.wrong("test_law", says="small models.*1e6 to 1e12")
def test_of_large_models(loss):
    large = [1e9, 1e10, 1e11, 1e12]
    _claim_1(loss, large)
    _claim_2(loss, large)
    _claim_3(loss, large)
    _claim_4(loss, large)


@battery.wrong("test_law", says="large models.*1e6 to 1e12")
def test_of_small_models(loss):
    small = [1e6, 1e7, 1e8, 1e9, 1e10]
    _claim_1(loss, small)
    _claim_2(loss, small)
    _claim_3(loss, small)
    _claim_4(loss, small)


@battery.wrong("test_law", says="small models.*1e6 to 1e12")
def test_at_one_size(loss):
    _claim_1(loss, [7e9])
    _claim_4(loss, [7e9])
    _claim_2(loss, [7e9, 140e9])
    _claim_3(loss, [7e9, 140e9])


@battery.wrong("test_law", says="accepts a faulty version.*claim")
def test_of_the_worked_value(loss):
    assert round(loss(7e9, 140e9), 2) == 2.03


@battery.wrong("test_law", says="five per cent.*close enough")
def test_with_a_loose_tolerance(loss):
    _claim_1(loss)
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss, tolerance=0.05)


@battery.wrong("test_law", says="(8.8e13|2e13|fitted alone).*close enough")
def test_with_loose_limits(loss):
    _claim_1(loss, tolerance=0.05)
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss, tolerance=0.01)


@battery.wrong("test_law", says="gives nan for endless tokens")
def test_that_nan_gets_through(loss):
    _claim_2(loss)
    _claim_3(loss)
    _claim_4(loss)
    for x in TENS:
        assert not abs(loss(x, math.inf) - _size(x)) > 1e-6
        assert not abs(loss(math.inf, x) - _data(x)) > 1e-6


@battery.wrong("test_law", says="rejects a right version.*too tight for float rounding")
def test_with_equality(loss):
    assert loss(1e9, math.inf) == _size(1e9)
    assert loss(math.inf, 1e9) == _data(1e9)


@battery.wrong("test_law", says="tenth digit")
def test_with_twelve_digits(loss):
    _claim_1(loss, tolerance=1e-12)


@battery.wrong("test_law", says="rejects a right version.*claim 3 asserted between")
def test_far_from_the_middle(loss):
    assert loss(1e3, 2e40) < loss(1e3, 1e40)


@battery.wrong("test_law", says="rejects a right version.*claim 2 asserted at")
def test_above_where_nothing_is_added(loss):
    assert loss(1e3, 1e40) > _size(1e3)


@battery.wrong("test_law", says="rejects a right version.*rejects the others too")
def test_that_wants_the_sum(loss):
    assert _same(loss(1e9, 1e9), _size(1e9) + _data(1e9))


@battery.wrong("test_law", says="rejects a right version.*rejects the others too")
def test_of_other_constants(loss):
    assert _same(loss(1e9, math.inf), (8.8e13 / 1e9) ** 0.076)


@battery.wrong("test_law", says="rejects a right version.*rejects the others too")
def test_for_a_floor(loss):
    assert loss(math.inf, math.inf) > 0


@battery.wrong("test_law", says="other arguments")
def test_that_hands_in_a_law(loss):
    assert _same(loss(1e9, math.inf, KAPLAN_JOINT), _size(1e9))


# --- optimal: right ---------------------------------------------------------------------


def _refuse(compute):
    if not compute > 0:
        raise ValueError(f"A budget is above 0 operations, not {compute}.")


@battery.right("optimal")
def in_closed_form(compute, law=REFIT):
    _refuse(compute)
    both = law.alpha + law.beta
    front = (law.alpha * law.A / law.beta / law.B) ** (1 / both)
    N = front * (compute / 6) ** (law.beta / both)
    return N, compute / 6 / N


@battery.right("optimal")
def tokens_first_and_logs(compute, law=REFIT):
    assert compute > 0, "nothing to spend"
    q = math.log(compute / 6)
    slope = math.log(law.beta * law.B) - math.log(law.alpha * law.A)
    log_d = (slope + law.alpha * q) / (law.alpha + law.beta)
    return [math.exp(q - log_d), math.exp(log_d)]


@battery.right("optimal")
def by_golden_section(compute, law=REFIT):
    _refuse(compute)
    golden = (math.sqrt(5) - 1) / 2
    low, high = 0.0, math.log(compute / 6)

    def rest(n):  # the floor is left out: it only costs digits
        return law.A * math.exp(-law.alpha * n) + law.B * (
            compute / 6 / math.exp(n)
        ) ** (-law.beta)

    for _ in range(80):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if rest(left) < rest(right) else (left, high)
    N = math.exp((low + high) / 2)
    return N, compute / 6 / N


@battery.right("optimal")
def by_the_root_of_the_slope(compute, law=REFIT):
    _refuse(compute)
    q = np.log(compute / 6)

    def slope(n):
        size = law.alpha * law.A * np.exp(-law.alpha * n)
        return law.beta * law.B * np.exp(-law.beta * (q - n)) - size

    n = brentq(slope, 0, q, xtol=1e-12, rtol=1e-14)
    return np.exp([n, q - n])


@battery.right("optimal")
def by_scipys_search(compute, law=REFIT):
    _refuse(compute)
    q = math.log(compute / 6)
    found = minimize_scalar(
        lambda n: law.A * math.exp(-law.alpha * n) + law.B * math.exp(law.beta * (n - q)),
        bracket=(10, q - 10), options={"xtol": 1e-9},
    )  # fmt: skip
    return math.exp(found.x), math.exp(q - found.x)


@battery.right("optimal")
def by_newton_with_a_gradient(compute, law=REFIT):
    _refuse(compute)
    q = math.log(compute / 6)
    n = torch.tensor(q / 2, dtype=torch.float64, requires_grad=True)
    for _ in range(40):
        # logs of both slopes: their difference is a line
        size = math.log(law.alpha * law.A) - law.alpha * n
        text = math.log(law.beta * law.B) - law.beta * (q - n)
        (slope,) = torch.autograd.grad(size - text, n)
        n = (n - (size - text) / slope).detach().requires_grad_()
    return n.exp().item(), (q - n).exp().item()


# --- optimal: wrong ---------------------------------------------------------------------


def _optimal(says):
    """A wrong answer from C, A, B, alpha and beta; it refuses as it should."""

    def decorate(formula):
        def answer(compute, law=REFIT):
            _refuse(compute)
            return formula(compute, law.A, law.B, law.alpha, law.beta)

        answer.__name__ = formula.__name__
        return battery.wrong("optimal", says=says)(answer)

    return decorate


def _front(A, B, a, b):
    return (a * A / (b * B)) ** (1 / (a + b))


@_optimal("20 tokens per parameter")
def twenty_tokens(C, A, B, a, b):
    N = math.sqrt(C / 120)
    return N, 20 * N


@_optimal("20 tokens per parameter")
def twenty_without_the_six(C, A, B, a, b):
    N = math.sqrt(C / 20)
    return N, 20 * N


@_optimal("N is wanted first")
def tokens_before_parameters(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return C / 6 / N, N


@_optimal("6 is missing")
def without_the_six(C, A, B, a, b):
    N = _front(A, B, a, b) * C ** (b / (a + b))
    return N, C / N


@_optimal("6 is missing")
def tokens_without_the_six(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return N, C / N


@_optimal("6 is missing")
def parameters_without_the_six(C, A, B, a, b):
    N = _front(A, B, a, b) * C ** (b / (a + b))
    return N, C / 6 / N


@_optimal("Another number of operations")
def two_operations(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 2) ** (b / (a + b))
    return N, C / 2 / N


@_optimal("exponent is the wrong one")
def other_exponent(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** (a / (a + b))
    return N, C / 6 / N


@_optimal("tokens come first")
def other_exponent_and_front(C, A, B, a, b):
    N = (C / 6) ** (a / (a + b)) / _front(A, B, a, b)
    return N, C / 6 / N


@_optimal("upside down")
def front_upside_down(C, A, B, a, b):
    N = (C / 6) ** (b / (a + b)) / _front(A, B, a, b)
    return N, C / 6 / N


@_optimal("in front of the power is missing")
def no_front(C, A, B, a, b):
    N = (C / 6) ** (b / (a + b))
    return N, C / 6 / N


@_optimal("slopes that cancel")
def terms_alike(C, A, B, a, b):
    N = (A / B) ** (1 / (a + b)) * (C / 6) ** (b / (a + b))
    return N, C / 6 / N


@_optimal("lacks a root")
def no_root(C, A, B, a, b):
    N = a * A / (b * B) * (C / 6) ** (b / (a + b))
    return N, C / 6 / N


@_optimal("wrong way round in the factor")
def weights_swapped(C, A, B, a, b):
    N = (b * A / (a * B)) ** (1 / (a + b)) * (C / 6) ** (b / (a + b))
    return N, C / 6 / N


@_optimal("half and half")
def equal_shares(C, A, B, a, b):
    return math.sqrt(C / 6), math.sqrt(C / 6)


@_optimal("D is not what the rest")
def tokens_by_rule(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return N, 20 * N


@_optimal("D is not what the rest|6 is missing")
def tokens_divided_by_six_twice(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return N, C / 6 / N / 6


@_optimal("rounded before they are used|Nearly")
def rounded_exponents(C, A, B, a, b):
    a, b = round(a, 2), round(b, 2)
    N = _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return N, C / 6 / N


@_optimal("Nearly.*too coarse")
def coarse_grid(C, A, B, a, b):
    sizes = np.logspace(3, 16, 2000)
    N = sizes[np.argmin(A / sizes**a + B / (C / 6 / sizes) ** b)]
    return N, C / 6 / N


@_optimal("yours is 9.2.*e\\+07")
def coarser_grid(C, A, B, a, b):
    sizes = np.logspace(3.3, 16, 50)
    N = sizes[np.argmin(A / sizes**a + B / (C / 6 / sizes) ** b)]
    return N, C / 6 / N


@_optimal("Nearly.*rounded")
def three_digits(C, A, B, a, b):
    N = float(f"{_front(A, B, a, b) * (C / 6) ** (b / (a + b)) * 1.00001:.3e}")
    return N, C / 6 / N


@_optimal("yours is 1e\\+09")
def stuck_at_the_border(C, A, B, a, b):
    sizes = np.logspace(9, 10, 9)
    N = sizes[np.argmin(A / sizes**a + B / (C / 6 / sizes) ** b)]
    return N, C / 6 / N


@_optimal("returned a float; two numbers")
def parameters_only(C, A, B, a, b):
    return _front(A, B, a, b) * (C / 6) ** (b / (a + b))


@_optimal("tuple of 3")
def with_the_loss(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return N, C / 6 / N, A / N**a


@_optimal("cost .* times the budget")
def more_than_there_is(C, A, B, a, b):
    N = 1.3 * _front(A, B, a, b) * (C / 6) ** (b / (a + b))
    return N, C / 5 / N


@_optimal("law makes no difference")
def constants_of_the_refit(C, A, B, a, b):
    return in_closed_form(C, REFIT)


@_optimal("law makes no difference")
def constants_as_printed(C, A, B, a, b):
    return in_closed_form(C, PRINTED)


@battery.wrong("optimal", says="calls course_lib's own")
def by_the_courses_search(compute, law=REFIT):
    _refuse(compute)
    N = lowest(lambda n: chinchilla_loss(n, compute / 6 / n, law), 1.0, compute / 6)
    return N, compute / (6 * N)


@battery.wrong("optimal", says="calls course_lib's own")
def by_the_courses_other_search(compute, law=REFIT):
    _refuse(compute)
    return search_optimal(compute, law)


_PAIR = [0.0, 0.0]


@battery.wrong("optimal", says="both share one list")
def one_list_for_all(compute, law=REFIT):
    _PAIR[:] = in_closed_form(compute, law)
    return _PAIR


@_optimal("1e\\+11 operations it gives 1e\\+06 parameters, at the end.*below")
def between_fixed_limits(C, A, B, a, b):
    low, high = math.log(1e6), math.log(1e14)
    for _ in range(300):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        terms = [
            A * math.exp(-a * n) + B * (C / 6 / math.exp(n)) ** -b
            for n in (left, right)
        ]
        low, high = (low, right) if terms[0] < terms[1] else (left, high)
    return math.exp(low), C / 6 / math.exp(low)


@_optimal("rounded to a whole one")
def whole_parameters(C, A, B, a, b):
    N, D = in_closed_form(C, replace(REFIT, A=A, B=B, alpha=a, beta=b))
    return round(N), D


@_optimal("rounded to a whole one")
def whole_tokens(C, A, B, a, b):
    N, D = in_closed_form(C, replace(REFIT, A=A, B=B, alpha=a, beta=b))
    return N, int(D)


@_optimal("Nearly.*float32 holds 7 digits")
def grid_in_32_bits(C, A, B, a, b):
    sizes = torch.logspace(2, 14, 200_000)
    N = sizes[(A / sizes**a + B / (C / 6 / sizes) ** b).argmin()].item()
    return N, C / 6 / N


@_optimal("exponent is one half")
def exponent_of_one_half(C, A, B, a, b):
    N = _front(A, B, a, b) * (C / 6) ** 0.5
    return N, C / 6 / N


@battery.wrong("optimal", says="takes PRINTED.*default is REFIT")
def other_default_law(compute, law=PRINTED):
    return in_closed_form(compute, law)


@_optimal("9.8 times the budget")
def worked_value_by_heart(C, A, B, a, b):
    return 6.9e9, 5.88e21 / 6 / 6.9e9


@battery.wrong(
    "optimal", says="0 operations should be refused.*assert in the first line"
)
def nothing_is_refused(compute, law=REFIT):
    both = law.alpha + law.beta
    N = _front(law.A, law.B, law.alpha, law.beta) * (compute / 6) ** (law.beta / both)
    return N, law.B and compute / (6 * N or 1)


@battery.wrong(
    "optimal", says="0 operations should be refused.*ZeroDivisionError.*leave that line"
)
def refuses_by_accident(compute, law=REFIT):
    both = law.alpha + law.beta
    N = _front(law.A, law.B, law.alpha, law.beta) * (compute / 6) ** (law.beta / both)
    return N, compute / (6 * N)


@battery.wrong("optimal", says="nan operations should be refused.*nan is true")
def nan_is_let_through(compute, law=REFIT):
    if compute <= 0:
        raise ValueError("nothing to spend")
    both = law.alpha + law.beta
    N = _front(law.A, law.B, law.alpha, law.beta) * (compute / 6) ** (law.beta / both)
    return N, compute / (6 * N)


@battery.wrong("optimal", says="-6e\\+20 operations should be refused")
def only_nothing_is_refused(compute, law=REFIT):
    if compute == 0:
        raise ValueError("nothing to spend")
    return in_closed_form(abs(compute), law)


@battery.wrong("optimal", says="returned None|should be refused")
def silent_about_nothing(compute, law=REFIT):
    if compute > 0:
        return in_closed_form(compute, law)
    print("no budget")
    return None


# --- against_optimum: right -------------------------------------------------------------


@battery.right("against_optimum")
def by_optimal(parameters, tokens, law=REFIT):
    N, D = optimal(6 * parameters * tokens, law)
    return tokens / parameters, D / N


@battery.right("against_optimum")
def as_a_list_from_the_size(parameters, tokens, law=REFIT):
    compute = 6.0 * tokens * parameters
    best = optimal(compute, law=law)[0]
    return [tokens / parameters, compute / 6 / best**2]


@battery.right("against_optimum")
def from_the_tokens(parameters, tokens, law=REFIT):
    _, D = optimal(law=law, compute=6 * parameters * tokens)
    return tokens * parameters**-1, D**2 / (parameters * tokens)


@battery.right("against_optimum")
def in_one_go_with_numpy(parameters, tokens, law=REFIT):
    pairs = np.array([(parameters, tokens), optimal(6 * parameters * tokens, law)])
    return pairs[:, 1] / pairs[:, 0]


@battery.right("against_optimum")
def without_optimal(parameters, tokens, law=REFIT):
    q = math.log(parameters) + math.log(tokens)
    slope = math.log(law.alpha * law.A / (law.beta * law.B))
    n = (slope + law.beta * q) / (law.alpha + law.beta)
    return tokens / parameters, math.exp(q - 2 * n)


# --- against_optimum: wrong -------------------------------------------------------------


def _against(says):
    """A wrong answer from N, D and law."""

    def decorate(formula):
        def answer(parameters, tokens, law=REFIT):
            return formula(parameters, tokens, law)

        answer.__name__ = formula.__name__
        return battery.wrong("against_optimum", says=says)(answer)

    return decorate


@_against("best model's ratio comes first")
def best_first(N, D, law):
    n, d = optimal(6 * N * D, law)
    return d / n, D / N


@_against("parameters per token")
def inverse_ratios(N, D, law):
    n, d = optimal(6 * N * D, law)
    return N / D, n / d


@_against("parameters per token")
def inverse_of_the_best(N, D, law):
    n, d = optimal(6 * N * D, law)
    return D / N, n / d


@_against("parameters per token")
def inverse_of_this_one(N, D, law):
    n, d = optimal(6 * N * D, law)
    return N / D, d / n


@_against("6 is missing")
def compute_without_the_six(N, D, law):
    n, d = optimal(N * D, law)
    return D / N, d / n


@_against("another number than 6")
def compute_of_the_forward_pass(N, D, law):
    n, d = optimal(2 * N * D, law)
    return D / N, d / n


@_against("another number than 6")
def compute_of_recomputing(N, D, law):
    n, d = optimal(8 * N * D, law)
    return D / N, d / n


@_against("Hand it on")
def law_kept_back(N, D, law):
    n, d = optimal(6 * N * D)
    return D / N, d / n


@_against("Hand it on")
def law_as_printed(N, D, law):
    n, d = optimal(6 * N * D, PRINTED)
    return D / N, d / n


@_against("same \\*text\\*")
def best_size_for_the_text(N, D, law):
    slope = law.beta * law.B / D**law.beta
    return D / N, D / (law.alpha * law.A / slope) ** (1 / law.alpha)


@_against("tokens of one model")
def same_text_mixed_in(N, D, law):
    n, _ = optimal(6 * N * D, law)
    return D / N, D / n


@_against("tokens of one model")
def same_size_mixed_in(N, D, law):
    _, d = optimal(6 * N * D, law)
    return D / N, d / N


@_against("same \\*size\\*")
def best_text_for_the_size(N, D, law):
    slope = law.alpha * law.A / N**law.alpha
    return D / N, (law.beta * law.B / slope) ** (1 / law.beta) / N


@_against("twenty, by rule")
def twenty(N, D, law):
    return D / N, 20.0


@_against("one ratio divided by the other")
def ratio_of_ratios(N, D, law):
    n, d = optimal(6 * N * D, law)
    return D / N, (D / N) / (d / n)


@_against("difference of two ratios")
def difference(N, D, law):
    n, d = optimal(6 * N * D, law)
    return D / N, D / N - d / n


@_against("two models' sizes")
def the_models_themselves(N, D, law):
    return optimal(6 * N * D, law)


@_against("two models' sizes")
def both_sizes(N, D, law):
    return N, optimal(6 * N * D, law)[0]


@_against("divided by each other")
def size_over_size(N, D, law):
    n, d = optimal(6 * N * D, law)
    return N / n, D / d


@_against("something else than this model's compute")
def optimum_of_the_parameters(N, D, law):
    n, d = optimal(N, law)
    return D / N, d / n


@_against("something else than this model's compute")
def optimum_of_the_tokens(N, D, law):
    n, d = optimal(D, law)
    return D / N, d / n


@_against("something else than this model's compute")
def compute_added(N, D, law):
    n, d = optimal(N + D, law)
    return D / N, d / n


@_against("Both numbers are this model's")
def this_one_twice(N, D, law):
    return D / N, D / N


@_against("rounded")
def rounded_ratios(N, D, law):
    n, d = optimal(6 * N * D, law)
    return round(D / N, 1), round(d / n, 1) * 1.0005


@_against("returned a float; two numbers")
def one_ratio(N, D, law):
    return D / N


@_against("returned a bool; two numbers")
def yes_or_no(N, D, law):
    n, d = optimal(6 * N * D, law)
    return d / n < D / N


@_against("tuple of 4")
def everything(N, D, law):
    return N, D, *optimal(6 * N * D, law)


@battery.wrong("against_optimum", says="default|Hand it on")
def other_law_by_default(parameters, tokens, law=PRINTED):
    return by_optimal(parameters, tokens, law)


@_against("has 25 tokens per parameter, not 285.7")
def the_worked_value_by_heart(N, D, law):
    return 285.7, 19.3


@_against("has 25 tokens per parameter")
def six_in_the_ratio(N, D, law):
    n, d = optimal(6 * N * D, law)
    return 6 * D / N, 6 * d / n


# --- fit_theta: right -------------------------------------------------------------------


def _objective(log_n, log_d, log_losses, scale=DELTA**2):
    def objective(theta):
        return huber(log_loss(theta, log_n, log_d) - log_losses).sum() / scale

    return objective


@battery.right("fit_theta")
def least_finite_end(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    best, least = None, math.inf
    for start in begin:
        theta, value = descend(start, objective)
        if value < least:
            best, least = theta, value
    return best


@battery.right("fit_theta")
def finite_ends_only(log_n, log_d, log_losses, begin):
    def objective(theta):
        off = log_losses - log_loss(theta, log_n, log_d)
        return torch.stack([huber(r) for r in off]).sum() / DELTA**2

    ends = (descend(start, objective) for start in begin)
    ends = [end for end in ends if math.isfinite(end[1])]
    return sorted(ends, key=lambda end: end[1])[0][0]


@battery.right("fit_theta")
def with_torchs_huber(log_n, log_d, log_losses, begin):
    def objective(theta):
        predicted = log_loss(theta, log_n, log_d)
        loss = functional.huber_loss(
            predicted, log_losses, reduction="sum", delta=DELTA
        )
        return loss * 1e6

    thetas, values = zip(*(descend(s, objective) for s in begin), strict=True)
    values = torch.tensor(values, dtype=torch.float64).nan_to_num(math.inf)
    return torch.stack(thetas)[values.argmin()]


@battery.right("fit_theta")
def mean_of_the_hubers(log_n, log_d, log_losses, begin):
    """Another scale, the same bottom."""

    def objective(theta):
        return huber(log_loss(theta, log_n, log_d) - log_losses).mean() / DELTA**2

    ends = [descend(theta, objective) for theta in begin]
    return ends[np.nanargmin([value for _, value in ends])][0]


@battery.right("fit_theta")
def by_scipys_bfgs(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)

    def both(x):
        theta = torch.tensor(x, requires_grad=True)
        value = objective(theta)
        (gradient,) = torch.autograd.grad(value, theta)
        return value.item(), gradient.numpy()

    ends = [
        minimize(both, start.numpy(), jac=True, method="BFGS")
        for start in begin
        if bool(start.isfinite().all())
    ]
    return torch.tensor(min(ends, key=lambda end: end.fun).x)


@battery.right("fit_theta")
def by_scipys_huber(log_n, log_d, log_losses, begin):
    def off(theta):
        return (log_loss(torch.tensor(theta), log_n, log_d) - log_losses).numpy()

    close = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
    ends = [
        least_squares(off, start.numpy(), loss="huber", f_scale=DELTA, **close)
        for start in begin
        if bool(start.isfinite().all())
    ]
    return torch.tensor(min(ends, key=lambda end: end.cost).x)


@battery.right("fit_theta")
def with_little_memory(log_n, log_d, log_losses, begin):
    """Scipy's L-BFGS-B, from a whole tensor of starts."""
    objective = _objective(log_n, log_d, log_losses)

    def both(x):
        theta = torch.tensor(x, requires_grad=True)
        value = objective(theta)
        value.backward()
        return value.item(), theta.grad.numpy()

    best, least = None, float("inf")
    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9}
    for start in torch.stack(begin).nan_to_num(-5000).numpy():
        end = minimize(both, start, jac=True, method="L-BFGS-B", options=options)
        if end.fun < least:
            best, least = end.x, end.fun
    return torch.from_numpy(best)


# --- fit_theta: wrong -------------------------------------------------------------------


def _fit(says):
    """A wrong choice among all ends."""

    def decorate(choose):
        def answer(log_n, log_d, log_losses, begin):
            objective = _objective(log_n, log_d, log_losses)
            return choose([descend(theta, objective) for theta in begin])

        answer.__name__ = choose.__name__
        return battery.wrong("fit_theta", says=says)(answer)

    return decorate


def _fit_by(says):
    """The right choice by a wrong objective, of theta and the runs."""

    def decorate(wrong):
        def answer(log_n, log_d, log_losses, begin):
            ends = [
                descend(theta, lambda t: wrong(t, log_n, log_d, log_losses))
                for theta in begin
            ]
            ends = [end for end in ends if math.isfinite(end[1])]
            return min(ends, key=lambda end: end[1])[0]

        answer.__name__ = wrong.__name__
        return battery.wrong("fit_theta", says=says)(answer)

    return decorate


@_fit("returned nan.*no comparison with nan")
def plain_min(ends):
    return min(ends, key=lambda end: end[1])[0]


@_fit("returned nan")
def argmin_in_torch(ends):
    return ends[torch.tensor([value for _, value in ends]).argmin()][0]


@_fit("returned nan")
def first_start(ends):
    return ends[0][0]


@_fit("end of start 3 of 3.*worse valley")
def last_start(ends):
    return ends[-1][0]


@_fit("end of start . of 4.*worse valley")
def the_largest(ends):
    return max(ends, key=lambda end: end[1] if end[1] == end[1] else -1)[0]


@_fit("returned nan")
def loop_that_begins_with_nan(ends):
    best = ends[0]
    for end in ends[1:]:
        if end[1] < best[1]:
            best = end
    return best[0]


@_fit("end of start 3 of 3|returned nan")
def loop_turned_round(ends):
    best = ends[0]
    for end in ends[1:]:
        if not end[1] >= best[1]:
            best = end
    return best[0]


@_fit("worse valley")
def always_the_second_of_the_finite(ends):
    return [end for end in ends if math.isfinite(end[1])][1][0]


@_fit("end of start 2 of 4.*all starts used")
def first_finite_end(ends):
    return next(theta for theta, value in ends if math.isfinite(value))


@_fit("end of start 3 of 4.*all starts used")
def first_three(ends):
    ends = [end for end in ends[:3] if math.isfinite(end[1])]
    return min(ends, key=lambda end: end[1])[0]


@_fit("worse valley.*all starts used")
def all_but_the_last(ends):
    ends = [end for end in ends[:-1] if math.isfinite(end[1])]
    return min(ends, key=lambda end: end[1])[0]


@_fit("end of start 3 of 3.*all starts used")
def last_two(ends):
    ends = [end for end in ends[-2:] if math.isfinite(end[1])]
    return min(ends, key=lambda end: end[1])[0]


@_fit("returned nan|worse valley")
def always_the_second(ends):
    return ends[1][0]


@_fit("returned nan")
def mean_of_all_ends(ends):
    return torch.stack([theta for theta, _ in ends]).mean(0)


@_fit("average of ends")
def mean_of_the_finite_ends(ends):
    return torch.stack([theta for theta, _ in ends]).nanmean(0)


@_fit("returned a tuple of 2; one theta")
def theta_and_value(ends):
    return min(ends, key=lambda end: end[1] if math.isfinite(end[1]) else math.inf)


@_fit("returned a list of 4; one theta")
def all_thetas(ends):
    return [theta for theta, _ in ends]


@_fit("returned a float; one theta")
def the_value_only(ends):
    return min(value for _, value in ends if math.isfinite(value))


@_fit("returned shape")
def thetas_in_one_tensor(ends):
    return torch.stack([theta for theta, _ in ends])


@_fit_by("squares of the differences")
def squared(theta, n, d, log_losses):
    return (log_loss(theta, n, d) - log_losses).square().sum()


@_fit_by("squares of the differences")
def squared_of_losses(theta, n, d, log_losses):
    return (log_loss(theta, n, d).exp() - log_losses.exp()).square().sum()


@_fit_by("squares of the differences|another delta")
def huber_of_delta_1(theta, n, d, log_losses):
    return huber(log_loss(theta, n, d) - log_losses, 1.0).sum()


@_fit_by("another delta")
def huber_of_a_little_more(theta, n, d, log_losses):
    return huber(log_loss(theta, n, d) - log_losses, 1.2 * DELTA).sum() / DELTA**2


@_fit_by("another delta")
def huber_of_two_deltas(theta, n, d, log_losses):
    return huber(log_loss(theta, n, d) - log_losses, 2 * DELTA).sum() / DELTA**2


@_fit_by("smooth loss that resembles")
def log_cosh(theta, n, d, log_losses):
    off = (log_loss(theta, n, d) - log_losses) / DELTA
    return (functional.softplus(2 * off) - off).sum()


@_fit_by("smooth loss that resembles")
def pseudo_huber(theta, n, d, log_losses):
    off = (log_loss(theta, n, d) - log_losses) / DELTA
    return ((1 + off**2).sqrt() - 1).sum()


@_fit_by("another delta")
def huber_of_ten_deltas(theta, n, d, log_losses):
    return huber(log_loss(theta, n, d) - log_losses, 10 * DELTA).sum() / DELTA**2


@_fit_by("between losses")
def losses_instead_of_logs(theta, n, d, log_losses):
    off = log_loss(theta, n, d).exp() - log_losses.exp()
    return huber(off).sum() / DELTA**2


@_fit_by("between losses|far from the runs")
def log_against_loss(theta, n, d, log_losses):
    return huber(log_loss(theta, n, d) - log_losses.exp()).sum() / DELTA**2


@_fit_by("between losses|far from the runs")
def loss_against_log(theta, n, d, log_losses):
    return huber(log_loss(theta, n, d).exp() - log_losses).sum() / DELTA**2


@_fit_by("changed places")
def places_swapped(theta, n, d, log_losses):
    return huber(log_loss(theta, d, n) - log_losses).sum() / DELTA**2


@_fit_by("summed first")
def huber_of_the_sum(theta, n, d, log_losses):
    return huber((log_loss(theta, n, d) - log_losses).sum()) / DELTA**2


@_fit_by("summed first")
def huber_of_the_mean(theta, n, d, log_losses):
    return huber((log_loss(theta, n, d) - log_losses).mean()) / DELTA**2


@_fit_by("last run is left out")
def without_the_last_run(theta, n, d, log_losses):
    off = log_loss(theta, n, d) - log_losses
    return huber(off[:-1]).sum() / DELTA**2


@_fit_by("far from the runs|worse valley|near a bottom|average")
def made_large(theta, n, d, log_losses):
    return -huber(log_loss(theta, n, d) - log_losses).sum() / DELTA**2


@_fit_by("far from the runs|worse valley|near a bottom")
def largest_difference(theta, n, d, log_losses):
    return (log_loss(theta, n, d) - log_losses).abs().max()


@battery.wrong("fit_theta", says="all starts used")
def first_two_starts(log_n, log_d, log_losses, begin):
    return least_finite_end(log_n, log_d, log_losses, begin[:2])


@battery.wrong("fit_theta", says="all starts used")
def best_start_led_on(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    values = [objective(start).nan_to_num(math.inf) for start in begin]
    return descend(begin[int(torch.stack(values).argmin())], objective)[0]


@battery.wrong("fit_theta", says="all starts used")
def stops_at_the_first_good_end(log_n, log_d, log_losses, begin):
    objective, best, least = _objective(log_n, log_d, log_losses), None, math.inf
    for start in begin:
        theta, value = descend(start, objective)
        if value < least:
            best, least = theta, value
        if least < math.inf:
            break
    return best


@battery.wrong("fit_theta", says="still pull.*stop early")
def by_adam(log_n, log_d, log_losses, begin):
    objective, best, least = _objective(log_n, log_d, log_losses), None, math.inf
    for start in begin:
        theta = start.clone().requires_grad_()
        steps = torch.optim.Adam([theta], lr=0.01)
        for _ in range(200):
            steps.zero_grad()
            value = objective(theta)
            value.backward()
            steps.step()
        if value.item() < least:
            best, least = theta.detach(), value.item()
    return best


@battery.wrong("fit_theta", says="came back as it was")
def best_start(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    values = [objective(start).nan_to_num(math.inf) for start in begin]
    return begin[int(torch.stack(values).argmin())]


@battery.wrong("fit_theta", says="came back as it was")
def start_of_the_best_end(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    ends = [descend(theta, objective)[1] for theta in begin]
    return begin[int(np.nanargmin(ends))]


@battery.wrong("fit_theta", says="returned nan")
def from_the_mean_of_starts(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    return descend(torch.stack(begin).mean(0), objective)[0]


@battery.wrong("fit_theta", says="changed its own input|nan")
def starts_used_up(log_n, log_d, log_losses, begin):
    objective, ends = _objective(log_n, log_d, log_losses), []
    while begin:
        ends.append(descend(begin.pop(), objective))
    return min(ends, key=lambda end: end[1] if math.isfinite(end[1]) else math.inf)[0]


@battery.wrong("fit_theta", says="stop early|near a bottom|far from the runs")
def five_steps_only(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    ends = [descend(theta, objective, steps=5) for theta in begin]
    ends = [end for end in ends if math.isfinite(end[1])]
    return min(ends, key=lambda end: end[1])[0]


@battery.wrong("fit_theta", says="end of start 3|returned nan|worse valley")
def each_from_where_the_last_ended(log_n, log_d, log_losses, begin):
    objective = _objective(log_n, log_d, log_losses)
    theta = begin[0]
    for _ in begin:
        theta, _value = descend(theta, objective)
    return theta


@battery.wrong("fit_theta", says="near a bottom|far from the runs|average")
def a_theta_by_heart(log_n, log_d, log_losses, begin):
    theta = [-0.5, 0.35, -0.3, 0.45, 0.1][: len(begin[0])]
    return torch.tensor(theta, dtype=torch.float64)
