"""Integers and scales: on paper, half a step at most, torch's own fake quantization, and bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.quantization.integers import (
    INT8,
    best_scale,
    check_finite,
    code_range,
    dequantize,
    error_bound,
    min_max_range,
    percentile_range,
    quantize,
    scale_and_zero,
    symmetric_scale,
)

SOME_VALUES = some.lists(
    some.floats(-1e6, 1e6, allow_nan=False, width=32), min_size=1, max_size=40
)
BITS = some.integers(2, 8)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- scales and codes


def test_symmetric_codes_on_paper():
    values = torch.tensor([-6.0, -2.0, 0.0, 0.9, 1.1, 6.0])
    scale = symmetric_scale(values, bits=3)  # codes -3 to 3
    assert scale.item() == 2.0
    codes = quantize(values, scale, limits=code_range(3))
    assert codes.tolist() == [-3, -1, 0, 0, 1, 3]
    assert codes.dtype == torch.int8
    assert dequantize(codes, scale).tolist() == [-6, -2, 0, 0, 2, 6]


def test_affine_codes_on_paper():
    low, high = torch.tensor(-1.0), torch.tensor(6.5)
    scale, zero = scale_and_zero(low, high, bits=4)  # 15 steps of 0.5, two below zero
    assert (scale.item(), zero.item()) == (0.5, 2.0)
    codes = quantize(torch.tensor([-1.0, 0.0, 6.5]), scale, zero, (0, 15))
    assert codes.tolist() == [0, 2, 15]
    assert codes.dtype == torch.uint8
    assert dequantize(codes, scale, zero).tolist() == [-1.0, 0.0, 6.5]


def test_half_way_goes_to_the_even_code():
    values = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert quantize(values, torch.tensor(1.0)).tolist() == [-2, -2, 0, 0, 2, 2]


def test_every_number_of_bits_has_its_codes():
    for bits in range(2, 9):
        low, high = code_range(bits)
        assert (-low, high) == (2 ** (bits - 1) - 1,) * 2
        assert code_range(bits, full=True) == (-(2 ** (bits - 1)), high)
        assert code_range(bits, signed=False) == (0, 2**bits - 1)


@pytest.mark.parametrize("bits", [0, 1, 9, 3.5])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match=f"2 to 8 bits, not {bits}"):
        code_range(bits)


@settings(deadline=None)  # a busy machine is no mistake
@given(SOME_VALUES, BITS, some.booleans())
def test_within_the_range_the_error_is_at_most_half_a_step(values, bits, full):
    x = torch.tensor(values, dtype=torch.float64)
    scale, limits = symmetric_scale(x, bits, full=full), code_range(bits, full=full)
    back = dequantize(quantize(x, scale, limits=limits), scale)
    assert ((x - back).abs() <= scale / 2 * (1 + 1e-9)).all()
    assert (
        back == -dequantize(quantize(-x, scale, limits=limits), scale)
    ).all() or full


@settings(deadline=None)  # a busy machine is no mistake
@given(SOME_VALUES, BITS)
def test_affine_codes_are_half_a_step_off_at_most_and_zero_is_exact(values, bits):
    x = torch.tensor([*values, 0.0], dtype=torch.float64)
    scale, zero = scale_and_zero(x.min(), x.max(), bits)
    limits = code_range(bits, signed=False)
    assert limits[0] <= zero <= limits[1]
    back = dequantize(quantize(x, scale, zero, limits), scale, zero)
    # the zero point is rounded too, so the two ends may lie half a step outside
    assert ((x - back).abs() <= scale * (1 + 1e-9)).all()
    inside = (x >= (limits[0] - zero) * scale) & (x <= (limits[1] - zero) * scale)
    assert ((x - back).abs()[inside] <= scale / 2 * (1 + 1e-9)).all()
    assert back[-1] == 0


@settings(deadline=None)  # a busy machine is no mistake
@given(SOME_VALUES, BITS, some.floats(0.01, 2))
def test_the_bound_holds_for_every_number_and_is_met_where_one_is_clipped(
    values, bits, shrink
):
    x = torch.tensor(values, dtype=torch.float64)
    scale, limits = symmetric_scale(x, bits) * shrink, code_range(bits)
    error = (x - dequantize(quantize(x, scale, limits=limits), scale)).abs()
    bound = error_bound(x, scale, limits=limits)
    assert (error <= bound * (1 + 1e-9)).all()
    clipped = x.abs() > (limits[1] + 0.5) * scale
    torch.testing.assert_close(error[clipped], bound[clipped], rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_and_values_are_those_of_torch(bits):
    x = drawn(64, 32)
    scale, zero = scale_and_zero(x.min(), x.max(), bits)
    limits = code_range(bits, signed=False)
    ours = dequantize(quantize(x, scale, zero, limits), scale, zero)
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, zero.int(), *limits)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    rows = symmetric_scale(x, bits, dim=1)
    codes = quantize(x, rows, limits=code_range(bits))
    none = torch.zeros(64, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(
        x, rows[:, 0], none, 0, *code_range(bits)
    )
    torch.testing.assert_close(dequantize(codes, rows), theirs, rtol=0, atol=1e-6)


def test_a_scale_for_each_row_is_that_of_the_row_alone():
    x = drawn(5, 7) * torch.tensor([1e-3, 1, 1e3, 7, 1e5])[:, None]
    together = symmetric_scale(x, 4, dim=1)
    alone = [symmetric_scale(row, 4).item() for row in x]
    assert together.flatten().tolist() == alone


# ---- what is hard to round


@pytest.mark.parametrize("value", [3.7, -3.7, 1e-30, 1e30])
def test_a_constant_comes_back(value):
    x = torch.full((4,), value)
    scale = symmetric_scale(x)
    torch.testing.assert_close(dequantize(quantize(x, scale), scale), x)
    scale, zero = scale_and_zero(x.min(), x.max())
    back = dequantize(quantize(x, scale, zero, (0, 255)), scale, zero)
    torch.testing.assert_close(back, x)


def test_zeros_and_numbers_next_to_zero_make_no_nan():
    for x in (torch.zeros(3), torch.full((3,), 1e-44)):
        scale = symmetric_scale(x)
        assert scale > 0
        assert dequantize(quantize(x, scale), scale).abs().max() <= 1e-38
        scale, zero = scale_and_zero(x.min(), x.max())
        assert math.isfinite(zero)
        assert scale > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(bad):
    x = torch.tensor([1.0, bad, 2.0])
    for make in (symmetric_scale, best_scale, min_max_range, percentile_range):
        with pytest.raises(ValueError, match="1 of 3 numbers are nan or infinite"):
            make(x)
    with pytest.raises(ValueError, match="nan or infinite"):
        scale_and_zero(x[0], x[1])


def test_nothing_is_refused():
    with pytest.raises(ValueError, match=r"nothing to quantize: shape \(0, 3\)"):
        check_finite(torch.empty(0, 3))


def test_a_range_the_wrong_way_round_is_refused():
    with pytest.raises(AssertionError, match="low is at most high"):
        scale_and_zero(torch.tensor(2.0), torch.tensor(1.0))


# ---- ranges


def test_percentiles_leave_out_the_same_number_at_both_ends():
    x = torch.arange(1000.0)[torch.randperm(1000)]
    assert [end.item() for end in percentile_range(x, 0.99)] == [5, 994]
    assert [end.item() for end in percentile_range(x, 1.0)] == [0, 999]
    low, high = percentile_range(torch.stack([x, -x]), 0.99, dim=1)
    assert low.tolist() == [[5], [-994]]
    assert high.tolist() == [[994], [-5]]
    alone = percentile_range(torch.tensor([4.0]), 0.1)
    assert [end.item() for end in alone] == [4, 4]


def test_an_outlier_ruins_min_and_max_and_not_the_percentile():
    x = drawn(10_000)
    x[17] = 1000.0
    errors = []
    for find in (min_max_range, lambda x: percentile_range(x, 0.999)):
        scale, zero = scale_and_zero(*find(x))
        back = dequantize(quantize(x, scale, zero, (0, 255)), scale, zero)
        errors.append((back - x)[x < 999].square().mean())
    assert errors[1] < errors[0] / 1000


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_best_of_many_scales_is_never_worse_than_the_widest(bits):
    x, limits = drawn(20, 64), code_range(bits)

    def error(scale):
        back = dequantize(quantize(x, scale, limits=limits), scale)
        return (back - x).square().mean(dim=1)

    widest, best = symmetric_scale(x, bits, 1), best_scale(x, bits, 1)
    assert (error(best) <= error(widest)).all()
    slow = torch.stack([error(widest * (1 - i / 25)) for i in range(20)]).amin(dim=0)
    torch.testing.assert_close(error(best), slow)
    if bits <= 3:
        assert error(best).mean() < 0.8 * error(widest).mean()


def test_int8_is_the_default():
    assert code_range(8) == INT8
