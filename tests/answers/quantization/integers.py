"""Answers to lesson 11: a grid and its errors; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch
from torch import Tensor

from course_lib.quantization.integers import INT8, check_finite, dequantize, positive
from tools.graders import Battery

battery = Battery()


# --- scale_and_zero: right --------------------------------------------------------------------


@battery.right("scale_and_zero")
def clamped(low, high, bits=8):
    check_finite(torch.stack([low, high]))
    assert (low <= high).all(), f"low is at most high: {low=} {high=}"
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = positive((high - low) / (2**bits - 1))
    return scale, (0 - low / scale).round()


@battery.right("scale_and_zero")
def with_minimum_and_maximum(low, high, bits=8):
    nothing = torch.zeros_like(low)
    lowest, highest = torch.minimum(low, nothing), torch.maximum(high, nothing)
    steps = 2**bits - 1
    scale = (highest - lowest) / steps
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, torch.round(-lowest / scale)


@battery.right("scale_and_zero")
def range_by_range(low, high, bits=8):
    scales, zeros = [], []
    for a, b in zip(low.flatten().tolist(), high.flatten().tolist(), strict=True):
        a, b = min(a, 0.0), max(b, 0.0)
        step = (b - a) / (2**bits - 1) or 1.0
        scales.append(step)
        zeros.append(float(round(-a / step)))
    return torch.tensor(scales).view(low.shape), torch.tensor(zeros).view(low.shape)


@battery.right("scale_and_zero")
def with_numpy(low, high, bits=8):
    a, b = np.minimum(low.numpy(), 0), np.maximum(high.numpy(), 0)
    tiny = np.finfo(np.float32).tiny
    scale = np.maximum((b - a) / (2**bits - 1), tiny)
    return torch.as_tensor(scale), torch.as_tensor(np.rint(-a / scale))


@battery.right("scale_and_zero")
def with_relu(low, high, bits=8):
    down, up = (-low).relu(), high.relu()
    scale = positive((down + up) / (2**bits - 1))
    return [scale, (down / scale).round()]


@battery.right("scale_and_zero")
def from_the_upper_end(low, high, bits=8):
    top = (1 << bits) - 1
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    scale = positive((high - low) / top)
    return scale, torch.where(high > low, top - (high / scale).round(), 0 * scale)


@battery.right("scale_and_zero")
def zero_clipped_as_well(low, high, bits=8):
    """The range widened by a third number, and the zero point held within the codes."""
    three = torch.stack([low, high, torch.zeros_like(low)])
    low, high = three.amin(0), three.amax(0)
    scale = positive((high - low) / (2**bits - 1))
    return scale, torch.floor(-low / scale + 0.5).clamp(0, 2**bits - 1)


@battery.right("scale_and_zero")
def in_double(low, high, bits=8):
    low, high = low.double().clamp(max=0), high.double().clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-300)
    return scale, (-low / scale).round()


# --- scale_and_zero: wrong --------------------------------------------------------------------


def _grid(name: str, says: str, rule) -> None:
    """rule(l, h, n, s, a, b): the widened ends, steps, the right scale, the ends as they came."""

    def answer(low, high, bits=8):
        wide, n = (low.clamp(max=0), high.clamp(min=0)), 2**bits - 1
        return rule(*wide, n, positive((wide[1] - wide[0]) / n), low, high)

    answer.__name__ = name
    battery.wrong("scale_and_zero", says=says)(answer)


def _from(low: Tensor, high: Tensor, n: float) -> tuple[Tensor, Tensor]:
    """Both, for any ends and any number of steps."""
    scale = positive((high - low) / n)
    return scale, (-low / scale).round()


# fmt: off
# the card's own pitfalls
_grid("not_widened", "not widened", lambda l, h, n, s, a, b: _from(a, b, n))
_grid("not_widened_zero_clipped", "not widened", lambda l, h, n, s, a, b: (positive((b - a) / n), (-a / positive((b - a) / n)).round().clamp(0, n)))
_grid("widened_downwards_only", "at one end only", lambda l, h, n, s, a, b: _from(l, b, n))
_grid("widened_upwards_only", "at one end only", lambda l, h, n, s, a, b: _from(a, h, n))
_grid("as_many_steps_as_codes", "one step too many", lambda l, h, n, s, a, b: _from(l, h, n + 1))
_grid("two_steps_fewer", "one step too many, or too few", lambda l, h, n, s, a, b: _from(l, h, n - 1))
# scales
_grid("steps_of_signed_codes", "codes with a sign", lambda l, h, n, s, a, b: _from(l, h, (n + 1) // 2 - 1))
_grid("symmetric", "codes with a sign|even on both sides", lambda l, h, n, s, a, b: (torch.maximum(-l, h) / ((n + 1) // 2 - 1), torch.zeros_like(l)))
_grid("even_on_both_sides", "even on both sides", lambda l, h, n, s, a, b: _from(-torch.maximum(-l, h), torch.maximum(-l, h), n))
_grid("eight_bits_built_in", "makes no difference", lambda l, h, n, s, a, b: _from(l, h, 255))
_grid("upside_down", "upside down", lambda l, h, n, s, a, b: (1 / s, (-l / s).round()))
_grid("upper_end_only", "left out", lambda l, h, n, s, a, b: (positive(h / n), (-l / positive(h / n)).round()))
_grid("sum_of_the_ends", "Low is added|left out", lambda l, h, n, s, a, b: ((h + l).abs() / n, (-l / s).round()))
_grid("width_turned_round", "negative", lambda l, h, n, s, a, b: ((l - h) / n, (-l / s).round()))
_grid("the_whole_width", "width of the whole range", lambda l, h, n, s, a, b: (h - l, (-l / s).round()))
_grid("one_scale_for_all", "share one scale", lambda l, h, n, s, a, b: tuple(x.expand_as(l) for x in _from(l.min(), h.max(), n)))
_grid("scale_rounded", "scale is rounded|should be", lambda l, h, n, s, a, b: (s.round(), (-l / s).round()))
_grid("constant_added", "something added", lambda l, h, n, s, a, b: (s + 1e-8, (-l / (s + 1e-8)).round()))
_grid("held_up", "held up", lambda l, h, n, s, a, b: (s.clamp(min=1e-8), (-l / s.clamp(min=1e-8)).round()))
_grid("held_up_by_epsilon", "held up", lambda l, h, n, s, a, b: (s.clamp(min=torch.finfo(torch.float32).eps), (-l / s).round()))
_grid("scale_without_a_floor", "From 0 to 0 the scale is 0", lambda l, h, n, s, a, b: ((h - l) / n, (-l / s).round()))
_grid("zero_by_the_scale_without_a_floor", "From 0 to 0 the zero point is nan", lambda l, h, n, s, a, b: (s, (-l / ((h - l) / n)).round()))
_grid("nothing_without_a_floor", "From 0 to 0 the scale", lambda l, h, n, s, a, b: ((h - l) / n, (-l / ((h - l) / n)).round()))
_grid("held_on_the_wrong_side", "on the wrong side", lambda l, h, n, s, a, b: _from(a.clamp(min=0), b.clamp(max=0), n))
_grid("all_widened_for_one", "when one of them needs it", lambda l, h, n, s, a, b: _from(0 * a if (a > 0).any() else a, 0 * b if (b < 0).any() else b, n))
_grid("no_power", "is no power", lambda l, h, n, s, a, b: _from(l, h, (2 ^ n.bit_length()) - 1 or 1))
_grid("sum_of_the_ends_and_a_floor", "Low is added", lambda l, h, n, s, a, b: _from(l, l + (h + l), n))
_grid("divided_to_whole_numbers", "scale is rounded|The scale is 0", lambda l, h, n, s, a, b: (positive((h - l) // n), (-l / s).round()))
_grid("size_of_low", "lower end as it came", lambda l, h, n, s, a, b: (s, (a.abs() / s).round()))
# zero points
_grid("not_rounded", "not whole", lambda l, h, n, s, a, b: (s, -l / s))
_grid("cut_off", "cut off", lambda l, h, n, s, a, b: (s, (-l / s).trunc()))
_grid("rounded_up", "cut off", lambda l, h, n, s, a, b: (s, (-l / s).ceil()))
_grid("floor_divided", "cut off|wrong sign", lambda l, h, n, s, a, b: (s, -(l // s)))
_grid("sign_of_the_zero", "wrong sign", lambda l, h, n, s, a, b: (s, (l / s).round()))
_grid("zero_from_the_narrow_range", "as it came", lambda l, h, n, s, a, b: (s, (-a / s).round()))
_grid("zero_from_above", "upper end", lambda l, h, n, s, a, b: (s, (h / s).round()))
_grid("zero_from_the_top", "upper end", lambda l, h, n, s, a, b: (s, n - (-l / s).round()))
_grid("one_too_large", "one too large", lambda l, h, n, s, a, b: (s, (-l / s).round() + 1))
_grid("signed_zero", "codes with a sign", lambda l, h, n, s, a, b: (s, (-l / s).round() - (n + 1) // 2))
_grid("in_the_middle", "in the middle", lambda l, h, n, s, a, b: (s, torch.full_like(l, (n + 1) // 2)))
_grid("always_zero", "always 0", lambda l, h, n, s, a, b: (s, torch.zeros_like(l)))
_grid("the_lower_end_itself", "no number in the units|wrong sign", lambda l, h, n, s, a, b: (s, l))
_grid("minus_the_lower_end", "no number in the units", lambda l, h, n, s, a, b: (s, -l))
_grid("multiplied", "multiplied by the scale", lambda l, h, n, s, a, b: (s, (-l * s).round()))
_grid("one_zero_for_all", "share one zero point|as it came|should be", lambda l, h, n, s, a, b: (s, (-l.min() / s).round()))
_grid("first_zero_for_all", "share one zero point", lambda l, h, n, s, a, b: (s, (-l / s).round().flatten()[0].expand_as(s)))
_grid("zero_of_another_grid", "another", lambda l, h, n, s, a, b: (s, (-l * (n + 1) / (h - l).clamp(min=1e-30)).round()))
# shapes and kinds
_grid("changed_places", "changed places", lambda l, h, n, s, a, b: ((-l / s).round(), s))
_grid("whole_type", "type torch.int32", lambda l, h, n, s, a, b: (s, (-l / s).round().int()))
_grid("scale_alone", "two things are wanted", lambda l, h, n, s, a, b: s)
_grid("stacked", "two things are wanted", lambda l, h, n, s, a, b: torch.stack([s, (-l / s).round()]))
_grid("bare_numbers", "is a float", lambda l, h, n, s, a, b: (s.max().item(), (-l / s).round().max().item()))
_grid("smallest_and_largest", "the shape", lambda l, h, n, s, a, b: _from(l.min(), h.max(), n))
_grid("flat", "the shape", lambda l, h, n, s, a, b: (s.flatten(), (-l / s).round().flatten()))
_grid("a_dimension_more", "the shape", lambda l, h, n, s, a, b: (s[..., None], (-l / s).round()[..., None]))
_grid("squeezed", "the shape", lambda l, h, n, s, a, b: (s.squeeze(), (-l / s).round().squeeze()))
_grid("worked_values", "should be", lambda l, h, n, s, a, b: (torch.ones_like(l) * (1 if a.max() < 0 else 2), torch.ones_like(l)))
# fmt: on


@battery.wrong("scale_and_zero", says="changed its own input")
def in_place(low, high, bits=8):
    low.clamp_(max=0), high.clamp_(min=0)
    scale = positive((high - low) / (2**bits - 1))
    return scale, (-low / scale).round()


@battery.wrong("scale_and_zero", says="single yes or no|should be")
def for_a_single_range(low, high, bits=8):
    low, high = min(low, torch.tensor(0.0)), max(high, torch.tensor(0.0))
    scale = positive((high - low) / (2**bits - 1))
    return scale, (-low / scale).round()


@battery.wrong("scale_and_zero", says="not widened")
def one_bit_of_thought(low, high, bits=8):
    if low.numel() > 1 or low > 0:
        return _from(low, high, 2**bits - 1)
    return _from(low, high.clamp(min=0), 2**bits - 1)


@battery.wrong("scale_and_zero", says="unexpected keyword")
def without_bits(low, high):
    return _from(low.clamp(max=0), high.clamp(min=0), 255)


@battery.wrong("scale_and_zero", says="missing 1 required")
def bits_without_a_default(low, high, bits):
    return _from(low.clamp(max=0), high.clamp(min=0), 2**bits - 1)


@battery.wrong(
    "scale_and_zero", says="Python a power|shape|Unsupported|should be|too many"
)
def a_hat_for_a_power(low, high, bits=8):
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = positive((high - low) / ((2 ^ bits) + 1))
    return scale, (-low / scale).round()


# --- error_bound: right -----------------------------------------------------------------------


@battery.right("error_bound")
def three_and_the_largest(values, scale, zero=0, limits=INT8):
    low, high = ((end - zero) * scale for end in limits)
    beyond = torch.maximum(values - high, low - values)
    return torch.maximum(beyond, scale / 2)


@battery.right("error_bound")
def with_dequantize(values, scale, zero=0, limits=INT8):
    low, high = (dequantize(torch.tensor(end), torch.as_tensor(scale), zero) for end in limits)  # fmt: skip
    outside = (values - high).relu() + (low - values).relu()
    return torch.where(outside > scale / 2, outside, scale / 2)


@battery.right("error_bound")
def way_to_the_clamped(values, scale, zero=0, limits=INT8):
    low, high = (limits[0] - zero) * scale, (limits[1] - zero) * scale
    held = values.clamp(torch.as_tensor(low), torch.as_tensor(high))
    return (values - held).abs().maximum(scale / 2)


@battery.right("error_bound")
def in_steps(values, scale, zero=0, limits=INT8):
    steps = values / scale + zero
    over = torch.maximum(steps - limits[1], limits[0] - steps)
    return over.clamp(min=0.5) * scale


@battery.right("error_bound")
def number_by_number(values, scale, zero=0, limits=INT8):
    zero = torch.as_tensor(zero)
    wide = torch.broadcast_tensors(values, scale, zero)
    found = []
    for x, s, z in zip(*(part.flatten().tolist() for part in wide), strict=True):
        low, high = (limits[0] - z) * s, (limits[1] - z) * s
        way = x - high if x > high else low - x if x < low else 0.0
        found.append(max(way, s / 2))
    return torch.tensor(found).view(values.shape)


@battery.right("error_bound")
def with_numpy_s(values, scale, zero=0, limits=INT8):
    x, s = values.numpy(), scale.numpy()
    z = zero.numpy() if isinstance(zero, Tensor) else zero
    way = np.maximum(x - (limits[1] - z) * s, (limits[0] - z) * s - x)
    return torch.as_tensor(np.maximum(way, s / 2))


@battery.right("error_bound")
def stacked_and_the_largest(values, scale, zero=0, limits=INT8):
    first, last = limits
    three = [
        values - (last - zero) * scale,
        (first - zero) * scale - values,
        (scale / 2).expand_as(values),
    ]
    return torch.stack(three).amax(dim=0)


@battery.right("error_bound")
def mask_by_mask(values, scale, zero=0, limits=INT8):
    low, high = (end * scale - zero * scale for end in limits)
    result = torch.zeros_like(values) + scale / 2
    above, below = values > high + scale / 2, values < low - scale / 2
    result[above] = (values - high)[above]
    result[below] = (low - values)[below]
    return result


# --- error_bound: wrong -----------------------------------------------------------------------


def _bound(name: str, says: str, rule) -> None:
    """rule(x, s, z, a, b, l, h): numbers, scale, zero, both limits, what they stand for."""

    def answer(values, scale, zero=0, limits=INT8):
        low, high = ((end - zero) * scale for end in limits)
        return rule(values, scale, zero, *limits, low, high)

    answer.__name__ = name
    battery.wrong("error_bound", says=says)(answer)


def _of(x: Tensor, low: Tensor, high: Tensor, least: Tensor) -> Tensor:
    return torch.maximum(torch.maximum(x - high, low - x), least + 0 * x)


def _away(x: Tensor, s: Tensor, z: Tensor, a: int, b: int) -> Tensor:
    return (x - (((x / s).round() + z).clamp(a, b) - z) * s).abs()


# fmt: off
# the card's own pitfalls
_bound("half_a_step_for_all", "promised to everybody", lambda x, s, z, a, b, l, h: s / 2 + 0 * x)
_bound("a_little_beyond_is_promised_less", "less than half", lambda x, s, z, a, b, l, h: torch.where((x >= l) & (x <= h), s / 2, torch.maximum(x - h, l - x)))
_bound("rounded_after_all", "it was rounded", lambda x, s, z, a, b, l, h: _away(x, s, z, a, b))
_bound("rounded_outside", "less than half|it was rounded", lambda x, s, z, a, b, l, h: torch.where((x >= l) & (x <= h), s / 2, _away(x, s, z, a, b)))
_bound("a_whole_step", "whole step", lambda x, s, z, a, b, l, h: _of(x, l, h, s))
_bound("half_added_outside", "is added to the way", lambda x, s, z, a, b, l, h: torch.where((x >= l) & (x <= h), s / 2, torch.maximum(x - h, l - x) + s / 2))
_bound("way_and_half", "is added to the way", lambda x, s, z, a, b, l, h: torch.maximum(x - h, l - x).clamp(min=0) + s / 2)
# ends
_bound("upper_end_only", "Only the upper", lambda x, s, z, a, b, l, h: torch.maximum(x - h, s / 2 + 0 * x))
_bound("lower_end_only", "Only the lower", lambda x, s, z, a, b, l, h: torch.maximum(l - x, s / 2 + 0 * x))
_bound("by_size", "equally far", lambda x, s, z, a, b, l, h: torch.maximum(x.abs() - h, s / 2 + 0 * x))
_bound("zero_ignored", "zero point makes no difference", lambda x, s, z, a, b, l, h: _of(x, a * s, b * s, s / 2))
_bound("zero_added", "wrong way", lambda x, s, z, a, b, l, h: _of(x, (a + z) * s, (b + z) * s, s / 2))
_bound("zero_after_the_scale", "zero point is a code", lambda x, s, z, a, b, l, h: _of(x, a * s - z, b * s - z, s / 2))
_bound("eight_bits_built_in", "`limits` makes no difference", lambda x, s, z, a, b, l, h: _of(x, (-127 - z) * s, (127 - z) * s, s / 2))
_bound("bytes_built_in", "`limits` makes no difference", lambda x, s, z, a, b, l, h: _of(x, (0 - z) * s, (255 - z) * s, s / 2))
_bound("half_a_step_further_out", "half a step too far out", lambda x, s, z, a, b, l, h: _of(x, l - s / 2, h + s / 2, s / 2))
_bound("one_code_more", "one code too far", lambda x, s, z, a, b, l, h: _of(x, l, h + s, s / 2))
_bound("one_code_more_below", "one code too far", lambda x, s, z, a, b, l, h: _of(x, l - s, h, s / 2))
_bound("ends_are_codes", "compared with codes", lambda x, s, z, a, b, l, h: _of(x, a + 0 * x, b + 0 * x, s / 2))
_bound("further_end", "further end", lambda x, s, z, a, b, l, h: torch.maximum((x - l).abs(), (x - h).abs()))
_bound("limits_exchanged", "further end", lambda x, s, z, a, b, l, h: _of(x, h, l, s / 2))
# the promise
_bound("in_steps", "counted in steps", lambda x, s, z, a, b, l, h: torch.maximum(x - h, l - x).div(s).clamp(min=0.5))
_bound("one_half", "half of the \\*scale", lambda x, s, z, a, b, l, h: _of(x, l, h, torch.tensor(0.5)))
_bound("nothing_inside", "Inside, the promise", lambda x, s, z, a, b, l, h: torch.maximum(x - h, l - x).clamp(min=0))
_bound("less_than_nothing_inside", "Inside, the promise", lambda x, s, z, a, b, l, h: torch.maximum(x - h, l - x))
_bound("the_least", "least of the three", lambda x, s, z, a, b, l, h: torch.minimum(torch.maximum(x - h, l - x), s / 2))
_bound("the_sum", "added up|is added", lambda x, s, z, a, b, l, h: (x - h).relu() + (l - x).relu() + s / 2)
_bound("a_quarter", "quarter", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 4))
_bound("the_size_outside", "its way back", lambda x, s, z, a, b, l, h: torch.where((x >= l) & (x <= h), s / 2, x.abs()))
_bound("upper_end_is_promised_less", "less than half", lambda x, s, z, a, b, l, h: torch.where(x > h, x - h, torch.maximum(l - x, s / 2 + 0 * x)))
_bound("lower_end_is_promised_less", "less than half", lambda x, s, z, a, b, l, h: torch.where(x < l, l - x, torch.maximum(x - h, s / 2 + 0 * x)))
_bound("negative_below", "bound is negative", lambda x, s, z, a, b, l, h: torch.where(x > h + s / 2, x - h, torch.where(x < l - s / 2, x - l, s / 2)))
_bound("zero_at_the_lower_end_only", "at one end only", lambda x, s, z, a, b, l, h: _of(x, l, b * s, s / 2))
_bound("zero_at_the_upper_end_only", "at one end only", lambda x, s, z, a, b, l, h: _of(x, a * s, h, s / 2))
_bound("highest_code_on_both_sides", "minus the highest", lambda x, s, z, a, b, l, h: _of(x, (-b - z) * s, h, s / 2))
_bound("one_scale_for_all", "share one scale", lambda x, s, z, a, b, l, h: _of(x, (a - z) * s.max(), (b - z) * s.max(), s.max() / 2))
_bound("one_half_step_for_all", "share one scale", lambda x, s, z, a, b, l, h: _of(x, l, h, s.flatten()[0] / 2))
_bound("first_zero_for_all", "share one scale, or one zero", lambda x, s, z, a, b, l, h: _of(x, (a - torch.as_tensor(z).flatten()[0]) * s, (b - torch.as_tensor(z).flatten()[0]) * s, s / 2))
_bound("nearer_end_by_size", "the way to an end is promised", lambda x, s, z, a, b, l, h: torch.minimum((x - l).abs(), (x - h).abs()).maximum(s / 2 + 0 * x))
_bound("upper_end_by_size", "the way to an end is promised", lambda x, s, z, a, b, l, h: (x - h).abs().maximum(s / 2 + 0 * x))
_bound("the_largest_for_all", "shares its largest", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2).max().expand_as(x))
_bound("negative", "should be", lambda x, s, z, a, b, l, h: -_of(x, l, h, s / 2))
_bound("squared", "should be", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2) ** 2)
# shapes and kinds
_bound("the_worst", "one number", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2).max())
_bound("of_the_scale", "shape of the scale|one number", lambda x, s, z, a, b, l, h: s / 2)
_bound("as_a_list", "returned a list", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2).tolist())
_bound("per_row", "shape", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2).amax(-1))
_bound("both_ends", "returned a tuple", lambda x, s, z, a, b, l, h: (x - h, l - x))
_bound("whole", "type torch.int", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2).int())
_bound("yes_or_no", "type torch.bool", lambda x, s, z, a, b, l, h: (x < l) | (x > h))
_bound("worked_values", "promised to everybody", lambda x, s, z, a, b, l, h: torch.tensor([0.25, 5.5]) if x.shape == (2,) else s / 2 + 0 * x)
_bound("constant_added", "first digits", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2) + 1e-4)
_bound("flat", "shape", lambda x, s, z, a, b, l, h: _of(x, l, h, s / 2).flatten())
_bound("half_precision", "first digits|should be|compared", lambda x, s, z, a, b, l, h: _of(x.half(), (a - z) * torch.as_tensor(s).half(), (b - z) * torch.as_tensor(s).half(), torch.as_tensor(s).half() / 2).float())
# fmt: on


@battery.wrong("error_bound", says="changed its own input")
def bound_in_place(values, scale, zero=0, limits=INT8):
    low, high = ((end - zero) * scale for end in limits)
    values -= high
    return torch.maximum(values, scale / 2 + 0 * low)


@battery.wrong("error_bound", says="single yes or no")
def one_number_at_a_time(values, scale, zero=0, limits=INT8):
    low, high = ((end - zero) * scale for end in limits)
    return max(values - high, low - values, scale / 2)


@battery.wrong("error_bound", says="unexpected keyword")
def without_limits(values, scale, zero=0):
    low, high = ((end - zero) * scale for end in INT8)
    return torch.maximum(torch.maximum(values - high, low - values), scale / 2)


@battery.wrong("error_bound", says="`limits` makes no difference|should be")
def limits_by_the_zero(values, scale, zero=0, limits=INT8):
    """Believes that a zero point means bytes."""
    limits = (0, 255) if isinstance(zero, Tensor) or zero else limits
    low, high = ((end - zero) * scale for end in limits)
    return torch.maximum(torch.maximum(values - high, low - values), scale / 2)


# --- found by attacking the checks ------------------------------------------------------------


@battery.right("error_bound")
def the_error_and_half_a_step(values, scale, zero=0, limits=INT8):
    """Inside, the error is never more than half a step; beyond an end it is the way back."""
    codes = ((values / scale).round() + zero).clamp(*limits)
    off = (values - (codes - zero) * scale).abs()
    return off.maximum(scale / 2)


@battery.wrong("error_bound", says="minus the highest")
def highest_limit_for_both(values, scale, zero=0, limits=INT8):
    low, high = ((end - zero) * scale for end in (-limits[1], limits[1]))
    return torch.maximum(torch.maximum(values - high, low - values), scale / 2)


@battery.wrong("error_bound", says="zero point makes no difference")
def zero_by_tensor_only(values, scale, zero=0, limits=INT8):
    low, high = (end * scale for end in limits)
    return torch.maximum(torch.maximum(values - high, low - values), scale / 2)


@battery.wrong("error_bound", says="share one scale")
def middle_scale(values, scale, zero=0, limits=INT8):
    low, high = ((end - zero) * scale for end in limits)
    return torch.maximum(torch.maximum(values - high, low - values), scale.mean() / 2)


@battery.wrong("scale_and_zero", says="not widened")
def widened_if_all_are(low, high, bits=8):
    low = torch.zeros_like(low) if (low > 0).all() else low
    high = torch.zeros_like(high) if (high < 0).all() else high
    return _from(low, high, 2**bits - 1)


@battery.wrong("scale_and_zero", says="not widened")
def moved_to_zero(low, high, bits=8):
    """The range keeps its width."""
    low, high = low - low.relu() + (-high).relu(), high + (-high).relu() - low.relu()
    return _from(low, high, 2**bits - 1)


@battery.wrong("scale_and_zero", says="should be")
def nudged(low, high, bits=8):
    """The scale is made anew for the rounded zero point, so that both ends fit."""
    low, high, n = low.clamp(max=0), high.clamp(min=0), 2**bits - 1
    _, zero = _from(low, high, n)
    both = -low / zero.clamp(min=1), high / (n - zero).clamp(min=1)
    return positive(torch.maximum(*both)), zero


@battery.wrong("scale_and_zero", says="`bits` makes no difference")
def remembers_ranges(low, high, bits=8, found={}):  # noqa: B006
    key = (*low.flatten().tolist(), *high.flatten().tolist())
    if key not in found:
        found[key] = clamped(low, high, bits)
    return found[key]


@battery.wrong("error_bound", says="changed `zero`")
def zero_turned_in_place(values, scale, zero=0, limits=INT8):
    if isinstance(zero, Tensor):
        zero *= -1
        zero = -zero
    return stacked_and_the_largest(values, scale, zero, limits)
