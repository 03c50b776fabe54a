"""Answers to lesson 11: rounding with a gradient; right ones of different shapes, and people's mistakes."""

import torch
from torch import Tensor

from course_lib.quantization.integers import INT8, dequantize, quantize
from tools.graders import Battery

battery = Battery()


# --- right ------------------------------------------------------------------------------------


@battery.right("fake_quantize")
def values_minus_themselves(values, scale, zero=0, limits=INT8):
    codes = (values / scale).round().detach() + zero
    held = codes.clamp(*limits)
    rounded = (held - zero) * scale
    return rounded + (values - values.detach()) * (codes == held)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, scale, zero, low, high):
        codes = torch.round(values / scale) + zero
        ctx.save_for_backward((codes >= low) & (codes <= high))
        return (codes.clamp(low, high) - zero) * scale

    @staticmethod
    def backward(ctx, gradient):
        (free,) = ctx.saved_tensors
        return gradient * free, None, None, None, None


@battery.right("fake_quantize")
def a_function_of_its_own(values, scale, zero=0, limits=INT8):
    return _Through.apply(values, scale, zero, *limits)


@battery.right("fake_quantize")
def straight_through_and_clamp(values, scale, zero=0, limits=INT8):
    """Only the rounding is passed by; torch's own clamp does the rest."""
    steps = values / scale
    codes = steps + (steps.round() - steps).detach() + zero
    return (codes.clamp(*limits) - zero) * scale


@battery.right("fake_quantize")
def by_both_functions(values, scale, zero=0, limits=INT8):
    with torch.no_grad():
        codes = quantize(values, scale, zero, limits)
        said = dequantize(codes, scale, zero).to(values.dtype)
        free = (values / scale).round() + zero == codes
    return said + torch.where(free, values - values.detach(), 0.0)


@battery.right("fake_quantize")
def known_idiom(values, scale, zero=0, limits=INT8):
    """x + (q - x).detach(), and q alone where it was clipped."""
    codes = torch.round(values.detach() / scale) + zero
    inside = (codes >= limits[0]) & (codes <= limits[1])
    said = (torch.clamp(codes, *limits) - zero) * scale
    learned = values + (said - values).detach()
    return torch.where(inside, learned, said)


@battery.right("fake_quantize")
def by_a_hook(values, scale, zero=0, limits=INT8):
    codes = (values.detach() / scale).round() + zero
    held = codes.clamp(limits[0], limits[1])
    free = (codes == held).to(values.dtype)
    said = (held - zero) * scale
    if not values.requires_grad:
        return said
    passed = values * 1
    passed.register_hook(lambda gradient: gradient * free)
    return said + (passed - passed.detach())


@battery.right("fake_quantize")
def held_values_first(values, scale, zero=0, limits=INT8):
    """The ends half a step further out, and torch's clamp with its own gradient."""
    low, high = ((end + side - zero) * scale for end, side in zip(limits, (-0.5, 0.5), strict=True))  # fmt: skip
    held = values.maximum(low).minimum(high)
    codes = ((values.detach() / scale).round() + zero).clamp(*limits)
    return (codes - zero) * scale + (held - held.detach())


@battery.right("fake_quantize")
def mask_by_mask(values, scale, zero=0, limits=INT8):
    codes = (values / scale).detach().round() + zero
    said = (codes - zero) * scale + values - values.detach()
    low, high = ((end - zero) * scale for end in limits)
    said = torch.where(codes > limits[1], high, said)
    return torch.where(codes < limits[0], low, said)


# --- wrong ------------------------------------------------------------------------------------


def _wrong(name: str, says: str, rule) -> None:
    """rule(x, s, z, a, b, q, h, r): q codes, h held within a and b, r what h stands for; cut off."""

    def answer(values, scale, zero=0, limits=INT8):
        codes = (values.detach() / scale).round() + zero
        held = codes.clamp(*limits)
        rounded = (held - zero) * scale
        return rule(values, scale, zero, *limits, codes, held, rounded)

    answer.__name__ = name
    battery.wrong("fake_quantize", says=says)(answer)


def _nil(x: Tensor) -> Tensor:
    return x - x.detach()


# fmt: off
# the card's own pitfalls
_wrong("everybody_learns", "clipped number has a gradient", lambda x, s, z, a, b, q, h, r: r + _nil(x))
_wrong("known_idiom_without_a_mask", "clipped number has a gradient", lambda x, s, z, a, b, q, h, r: x + (r - x).detach())
_wrong("within_the_ends", "a bit beyond the last value", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((x >= (a - z) * s) & (x <= (b - z) * s)))
_wrong("clamped_at_the_ends", "a bit beyond the last value", lambda x, s, z, a, b, q, h, r: (lambda c: c + (r - c).detach())(torch.maximum(torch.minimum(x, (b - z) * s + 0 * x.detach()), (a - z) * s + 0 * x.detach())))
_wrong("steps_within_the_limits", "a bit beyond the last value", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((x / s + z >= a) & (x / s + z <= b)))
_wrong("ends_have_no_gradient", "lowest or the highest code", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((q > a) & (q < b)))
_wrong("upper_end_has_no_gradient", "lowest or the highest code", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((q >= a) & (q < b)))
_wrong("dequantized", "become torch.float32|no gradient", lambda x, s, z, a, b, q, h, r: dequantize(quantize(x, s, z, (a, b)), s, z))
_wrong("dequantized_with_a_gradient", "become torch.float32", lambda x, s, z, a, b, q, h, r: dequantize(quantize(x, s, z, (a, b)), s, z) + _nil(x) * (q == h))
_wrong("in_single", "become torch.float32|off by", lambda x, s, z, a, b, q, h, r: (r + _nil(x) * (q == h)).float())
_wrong("in_single_and_back", "off by", lambda x, s, z, a, b, q, h, r: (r + _nil(x) * (q == h)).float().to(x.dtype))
_wrong("in_double", "become torch.float64", lambda x, s, z, a, b, q, h, r: r.double() + _nil(x.double()) * (q == h))
# forward
_wrong("not_clipped", "Nothing is clipped", lambda x, s, z, a, b, q, h, r: (q - z) * s + _nil(x))
_wrong("as_it_was", "as they were", lambda x, s, z, a, b, q, h, r: x * 1)
_wrong("clamped_only", "as they were", lambda x, s, z, a, b, q, h, r: torch.maximum(torch.minimum(x, (b - z) * s + 0 * x), (a - z) * s + 0 * x))
_wrong("codes", "Those are codes", lambda x, s, z, a, b, q, h, r: h + _nil(x) * (q == h))
_wrong("codes_as_bytes", "Wanted is what the codes stand for", lambda x, s, z, a, b, q, h, r: quantize(x, s, z, (a, b)))
_wrong("nothing_where_clipped", "0 comes out", lambda x, s, z, a, b, q, h, r: (x + (r - x).detach()) * (q == h))
_wrong("zero_forgotten", "zero point makes no difference", lambda x, s, z, a, b, q, h, r: (q - z).clamp(a, b) * s + _nil(x) * (q == h))
_wrong("zero_not_taken_away", "not taken away again", lambda x, s, z, a, b, q, h, r: h * s + _nil(x) * (q == h))
_wrong("clipped_too_early", "clipped before", lambda x, s, z, a, b, q, h, r: ((q - z).clamp(a, b) + z - z - z) * s + _nil(x) * (q == h))
_wrong("zero_turned_round", "wrong way", lambda x, s, z, a, b, q, h, r: ((q - z - z).clamp(a, b) + z) * s + _nil(x) * (q == h))
_wrong("zero_of_values", "units of the values", lambda x, s, z, a, b, q, h, r: ((x.detach() - z) / s).round().clamp(a, b) * s + z + _nil(x) * (q == h))
_wrong("cut_off", "cut off to a whole", lambda x, s, z, a, b, q, h, r: (((x.detach() / s).trunc() + z).clamp(a, b) - z) * s + _nil(x) * (q == h))
_wrong("rounded_down", "cut off to a whole", lambda x, s, z, a, b, q, h, r: (((x.detach() / s).floor() + z).clamp(a, b) - z) * s + _nil(x) * (q == h))
_wrong("half_added_and_cut_off", "cut off to a whole", lambda x, s, z, a, b, q, h, r: (((x.detach() / s + 0.5).trunc() + z).clamp(a, b) - z) * s + _nil(x) * (q == h))
_wrong("scale_forgotten_afterwards", "scale does not come back|Those are codes", lambda x, s, z, a, b, q, h, r: (h - z) + _nil(x) * (q == h))
_wrong("multiplied_and_divided", "other way round", lambda x, s, z, a, b, q, h, r: (((x.detach() * s).round() + z).clamp(a, b) - z) / s + _nil(x) * (q == h))
_wrong("scale_ignored", "scale makes no difference|does not come back", lambda x, s, z, a, b, q, h, r: (x.detach().round() + z).clamp(a, b) - z + _nil(x) * (q == h))
_wrong("eight_bits_built_in", "others are built in|Nothing is clipped", lambda x, s, z, a, b, q, h, r: (q.clamp(-127, 127) - z) * s + _nil(x) * (q == q.clamp(-127, 127)))
_wrong("upper_limit_only", "One limit only", lambda x, s, z, a, b, q, h, r: (q.clamp(max=b) - z) * s + _nil(x) * (q <= b))
_wrong("highest_code_left_out", "highest code is left out", lambda x, s, z, a, b, q, h, r: (q.clamp(a, b - 1) - z) * s + _nil(x) * (q == h))
_wrong("values_added", "must be 0 on the way", lambda x, s, z, a, b, q, h, r: r + x)
_wrong("scale_found_anew", "Another scale|should become", lambda x, s, z, a, b, q, h, r: (x.detach() / (x.detach().abs().max() / b)).round() * (x.detach().abs().max() / b) + _nil(x))
# back
_wrong("no_gradient", "no gradient gets through", lambda x, s, z, a, b, q, h, r: r)
_wrong("plain_rounding", "gradient is 0 everywhere", lambda x, s, z, a, b, q, h, r: (((x / s).round() + z).clamp(a, b) - z) * s)
_wrong("all_cut_off", "no gradient gets through", lambda x, s, z, a, b, q, h, r: (r + _nil(x) * (q == h)).detach())
_wrong("times_nothing", "gradient is 0 everywhere", lambda x, s, z, a, b, q, h, r: r + 0 * x)
_wrong("wrong_way_round", "wrong way round", lambda x, s, z, a, b, q, h, r: r + _nil(x) * (q != h))
_wrong("gradient_of_codes", "gradient is that of the codes", lambda x, s, z, a, b, q, h, r: r + _nil(x / s) * (q == h))
_wrong("gradient_times_the_scale", "gradient is that of the codes", lambda x, s, z, a, b, q, h, r: r + _nil(x * s) * (q == h))
_wrong("upper_clipped_only", "upper end only", lambda x, s, z, a, b, q, h, r: r + _nil(x) * (q <= b))
_wrong("lower_clipped_only", "lower end only", lambda x, s, z, a, b, q, h, r: r + _nil(x) * (q >= a))
_wrong("zero_forgotten_in_the_mask", "zero point is forgotten", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((q - z >= a) & (q - z <= b)))
_wrong("numbers_against_codes", "compared with codes", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((x >= a) & (x <= b)))
_wrong("mask_of_eight_bits", "makes no difference to the gradient|clipped number has", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((q >= -127) & (q <= 127)))
_wrong("twice", "counts twice", lambda x, s, z, a, b, q, h, r: r + 2 * _nil(x) * (q == h))
_wrong("sign_turned", "sign is turned", lambda x, s, z, a, b, q, h, r: r - _nil(x) * (q == h))
_wrong("codes_only_learn", "lie on a code|should be|0 everywhere", lambda x, s, z, a, b, q, h, r: r + _nil(x) * (x == r))
_wrong("halfway_does_not_learn", "halfway between two codes, and is not clipped", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((x - r).abs() < s / 2))
_wrong("by_size_of_the_code", "equally far from 0", lambda x, s, z, a, b, q, h, r: r + _nil(x) * (q.abs() <= b))
# halves, bytes, limits
_wrong("zero_added_before_rounding", "Which way does `quantize` round a half", lambda x, s, z, a, b, q, h, r: ((x.detach() / s + z).round().clamp(a, b) - z) * s + _nil(x) * (q == h))
_wrong("halves_upwards", "Which way does `quantize` round a half", lambda x, s, z, a, b, q, h, r: (((x.detach() / s + 0.5).floor() + z).clamp(a, b) - z) * s + _nil(x) * (q == h))
_wrong("bytes_before_clipping", "made bytes before", lambda x, s, z, a, b, q, h, r: (q.to(torch.int16).to(torch.int8).clamp(a, b) - z) * s + _nil(x) * (q == h) if a < 0 else r + _nil(x) * (q == h))
_wrong("bytes_minus_zero", "taken from bytes", lambda x, s, z, a, b, q, h, r: ((quantize(x.detach(), s, z, (a, b)) - z) * s + _nil(x) * (q == h)).to(x.dtype))
_wrong("highest_code_on_both_sides", "minus the highest", lambda x, s, z, a, b, q, h, r: (q.clamp(-b, b) - z) * s + _nil(x) * (q == h))
_wrong("one_scale_for_all", "share one scale", lambda x, s, z, a, b, q, h, r: (((x.detach() / s.max()).round() + z).clamp(a, b) - z) * s.max() + _nil(x) * (q == h))
_wrong("nearly_none", "should be", lambda x, s, z, a, b, q, h, r: r + _nil(x) * ((x - r).abs() < s / 4))
# shapes and kinds
_wrong("two_things", "returned a tuple", lambda x, s, z, a, b, q, h, r: (r + _nil(x) * (q == h), q == h))
_wrong("flat", "shape", lambda x, s, z, a, b, q, h, r: (r + _nil(x) * (q == h)).flatten())
_wrong("summed", "shape", lambda x, s, z, a, b, q, h, r: (r + _nil(x) * (q == h)).sum())
_wrong("worked_values", "shape|no gradient", lambda x, s, z, a, b, q, h, r: torch.tensor([0.5, 0.5]))
_wrong("with_a_parameter", "no gradient gets through", lambda x, s, z, a, b, q, h, r: torch.nn.Parameter(r.clone()))
# fmt: on


@battery.right("fake_quantize")
def by_how_far_off(values, scale, zero=0, limits=INT8):
    """Whoever was clipped is off by more than half a step."""
    codes = (values.detach() / scale).round() + zero
    rounded = (codes.clamp(*limits) - zero) * scale
    free = (values.detach() - rounded).abs() <= scale / 2
    return rounded + (values - values.detach()) * free


@battery.wrong("fake_quantize", says="should be|lie on a code")
def zeros_do_not_learn(values, scale, zero=0, limits=INT8):
    codes = (values.detach() / scale).round() + zero
    held = codes.clamp(*limits)
    free = (codes == held) & (values.detach() != 0)
    return (held - zero) * scale + (values - values.detach()) * free


@battery.wrong("fake_quantize", says="0 everywhere|should be")
def rows_learn_as_a_whole(values, scale, zero=0, limits=INT8):
    codes = (values.detach() / scale).round() + zero
    held = codes.clamp(*limits)
    free = (codes == held).all(-1, keepdim=True)
    return (held - zero) * scale + (values - values.detach()) * free


class _Ones(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, rounded, free):
        ctx.save_for_backward(free)
        return rounded + 0 * values

    @staticmethod
    def backward(ctx, gradient):
        return ctx.saved_tensors[0].to(gradient.dtype), None, None


@battery.wrong("fake_quantize", says="gradient that comes from behind")
def ones_are_sent_on(values, scale, zero=0, limits=INT8):
    codes = (values.detach() / scale).round() + zero
    held = codes.clamp(*limits)
    return _Ones.apply(values, (held - zero) * scale, codes == held)


@battery.wrong("fake_quantize", says="changed its own input|leaf|in-place")
def in_place(values, scale, zero=0, limits=INT8):
    values.data.copy_((((values.data / scale).round() + zero).clamp(*limits) - zero) * scale)  # fmt: skip
    return values * 1


@battery.wrong(
    "fake_quantize", says="one scale|Expected|expand|argument|must be|scalar|converted"
)
def torchs_own_for_one_scale(values, scale, zero=0, limits=INT8):
    return torch.fake_quantize_per_tensor_affine(
        values, float(scale), int(zero), *limits
    )


@battery.wrong("fake_quantize", says="unexpected keyword")
def without_limits(values, scale, zero=0):
    codes = (values / scale).round().detach() + zero
    return (codes - zero) * scale + values - values.detach()


@battery.wrong("fake_quantize", says="other numbers when a gradient")
def rounds_only_without_a_gradient(values, scale, zero=0, limits=INT8):
    codes = (values.detach() / scale).round() + zero
    held = codes.clamp(*limits)
    if values.requires_grad:
        return values * (codes == held)
    return (held - zero) * scale


@battery.wrong("fake_quantize", says="changed `zero`")
def zero_moved_in_place(values, scale, zero=0, limits=INT8):
    rounded = values_minus_themselves(values, scale, zero, limits)
    if isinstance(zero, Tensor):
        zero += 1
    return rounded


@battery.right("fake_quantize")
def with_the_inverse(values, scale, zero=0, limits=INT8):
    codes = (values.detach() * (1 / scale)).round() + zero
    free = (codes >= limits[0]) & (codes <= limits[1])
    rounded = (codes.clip(*limits) - zero) * scale
    return rounded + torch.where(free, values - values.detach(), 0 * rounded)
