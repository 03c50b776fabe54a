"""Answers to lesson 11: one scale for each group; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch

from course_lib.quantization.groups import in_groups, round_to_nearest
from course_lib.quantization.integers import (
    best_scale,
    code_range,
    quantize,
    symmetric_scale,
)
from tools.graders import Battery

battery = Battery()


# --- right ------------------------------------------------------------------------------------


@battery.right("group_quantize")
def in_three_dimensions(weights, bits=4, group=32):
    parts = in_groups(weights, group)
    scales = symmetric_scale(parts, bits, dim=2)
    codes = quantize(parts, scales, limits=code_range(bits))
    return codes.flatten(1), scales.squeeze(2)


@battery.right("group_quantize")
def limits_left_at_eight_bits(weights, bits=4, group=32):
    """The scale alone sees to it that no code is larger."""
    parts = in_groups(weights, group)
    scales = symmetric_scale(parts, bits, dim=-1)
    return quantize(parts, scales).reshape(weights.shape), scales[..., 0]


@battery.right("group_quantize")
def by_hand(weights, bits=4, group=32):
    out, width = weights.shape
    parts = weights.reshape(out, width // group, group)
    top = 2 ** (bits - 1) - 1
    scales = (parts.abs().amax(-1) / top).clamp(min=1e-38)
    codes = torch.round(parts / scales.unsqueeze(-1)).clamp(-top, top)
    return codes.reshape(out, width).to(torch.int8), scales


@battery.right("group_quantize")
def group_by_group(weights, bits=4, group=32):
    codes, scales = torch.zeros_like(weights, dtype=torch.int8), []
    for i, row in enumerate(weights):
        steps = []
        for start in range(0, len(row), group):
            part = row[start : start + group]
            step = symmetric_scale(part, bits)
            codes[i, start : start + group] = quantize(part, step)
            steps.append(step)
        scales.append(torch.stack(steps))
    return codes, torch.stack(scales)


@battery.right("group_quantize")
def with_repeated_scales(weights, bits=4, group=32):
    low, high = code_range(bits)
    largest = torch.stack([p.abs().amax(1) for p in weights.split(group, dim=1)], 1)
    scales = largest / high
    wide = scales.repeat_interleave(group, dim=1)
    codes = torch.where(wide > 0, weights / wide, 0.0).round().clamp(low, high)
    return codes.char(), scales


@battery.right("group_quantize")
def with_numpy(weights, bits=4, group=32):
    w = weights.numpy().astype(np.float64)
    parts = w.reshape(len(w), -1, group)
    top = 2 ** (bits - 1) - 1
    scales = np.abs(parts).max(axis=2, keepdims=True) / top
    codes = np.rint(parts / np.where(scales == 0, 1, scales)).astype(np.int8)
    return torch.from_numpy(codes.reshape(w.shape)), torch.from_numpy(scales[..., 0])


@battery.right("group_quantize")
def one_long_list_of_groups(weights, bits=4, group=32):
    rows = weights.reshape(-1, group)
    scales = symmetric_scale(rows, bits=bits, dim=1)
    codes = quantize(rows, scales, zero=0, limits=code_range(bits))
    return [codes.reshape(weights.shape), scales.reshape(len(weights), -1)]


@battery.right("group_quantize")
def with_view(weights, bits=4, group=32):
    parts = weights.view(len(weights), -1, group)
    scales = symmetric_scale(parts, bits, dim=2)
    codes = quantize(parts, scales, limits=code_range(bits))
    return codes.view(weights.shape), scales.squeeze(2)


@battery.right("group_quantize")
def codes_by_search(weights, bits=4, group=32):
    """The code whose value is nearest, of all codes."""
    scales = symmetric_scale(in_groups(weights, group), bits, dim=2)
    low, high = code_range(bits)
    every = torch.arange(low, high + 1)
    steps = (in_groups(weights, group) / scales)[..., None]
    nearest = (steps - every).abs().argmin(-1)
    return every[nearest].flatten(1).to(torch.int8), scales.squeeze(-1)


# --- wrong ------------------------------------------------------------------------------------


@battery.wrong("group_quantize", says="taken for their number")
def so_many_groups(weights, bits=4, group=32):
    parts = weights.reshape(len(weights), group, -1)
    scales = symmetric_scale(parts, bits, dim=2)
    codes = quantize(parts, scales, limits=code_range(bits))
    return codes.flatten(1), scales.squeeze(2)


def _wrong(name: str, says: str, rule) -> None:
    """rule(w, p, s, c, bits, group): weights, groups of them, right scales and codes (3-D)."""

    def answer(weights, bits=4, group=32):
        parts = in_groups(weights, group)
        scales = symmetric_scale(parts, bits, dim=2)
        codes = quantize(parts, scales, limits=code_range(bits))
        return rule(weights, parts, scales, codes, bits, group)

    answer.__name__ = name
    battery.wrong("group_quantize", says=says)(answer)


def _by(parts: torch.Tensor, scales: torch.Tensor, bits: int = 8) -> tuple:
    """Codes with these scales, and the scales without their third dimension."""
    scales = scales.expand(*parts.shape[:2], 1)
    codes = quantize(parts, scales, limits=code_range(bits))
    return codes.flatten(1), scales.squeeze(2)


def _t(bits: int) -> int:
    return 2 ** (bits - 1) - 1


# fmt: off
# the card's own pitfalls
_wrong("scales_of_eight_bits", "another number of bits", lambda w, p, s, c, bits, g: _by(p, symmetric_scale(p, dim=2), bits))
_wrong("eight_bits_altogether", "another number of bits", lambda w, p, s, c, bits, g: _by(p, symmetric_scale(p, dim=2)))
_wrong("four_bits_built_in", "another number of bits|another highest code", lambda w, p, s, c, bits, g: _by(p, symmetric_scale(p, 4, dim=2), 4))
_wrong("columns_share", "share a \\*row|shape|mixed", lambda w, p, s, c, bits, g: _by(p, (p.abs().amax(0, keepdim=True).amax(2, keepdim=True)) / _t(bits)))
_wrong("every_so_many_th", "not neighbours", lambda w, p, s, c, bits, g: ((w / (w.reshape(len(w), g, -1).abs().amax(1) / _t(bits)).repeat(1, g)).round().clamp(-_t(bits), _t(bits)).char(), w.reshape(len(w), g, -1).abs().amax(1) / _t(bits)))
_wrong("groups_across_rows", "mixed up|not neighbours|should", lambda w, p, s, c, bits, g: _by(w.reshape(-1, len(w), g).transpose(0, 1), symmetric_scale(w.reshape(-1, len(w), g), bits, dim=2).transpose(0, 1)))
_wrong("along_the_groups", "across the groups", lambda w, p, s, c, bits, g: (quantize(p, symmetric_scale(p, bits, dim=1)).flatten(1), symmetric_scale(p, bits, dim=1).squeeze(1)))
_wrong("along_the_groups_kept", "across the groups", lambda w, p, s, c, bits, g: (quantize(p, symmetric_scale(p, bits, dim=1)).flatten(1), symmetric_scale(p, bits, dim=1)))
_wrong("along_the_rows", "across the rows|shape", lambda w, p, s, c, bits, g: (quantize(p, symmetric_scale(p, bits, dim=0)).flatten(1), symmetric_scale(p, bits, dim=0).squeeze(0)))
_wrong("a_scale_for_each_row", "one for each row", lambda w, p, s, c, bits, g: (quantize(w, symmetric_scale(w, bits, dim=1)), symmetric_scale(w, bits, dim=1)))
_wrong("a_scale_for_the_matrix", "whole matrix", lambda w, p, s, c, bits, g: (quantize(w, symmetric_scale(w, bits)), symmetric_scale(w, bits)))
_wrong("a_scale_for_each_column", "each column", lambda w, p, s, c, bits, g: (quantize(w, symmetric_scale(w, bits, dim=0)), symmetric_scale(w, bits, dim=0).squeeze(0)))
_wrong("a_row_s_scale_for_all_its_groups", "of a row share", lambda w, p, s, c, bits, g: _by(p, s.amax(1, keepdim=True)))
_wrong("a_matrix_s_scale_for_all_groups", "whole matrix shares", lambda w, p, s, c, bits, g: _by(p, s.amax().reshape(1, 1, 1)))
_wrong("first_group_s_scale", "of a row share", lambda w, p, s, c, bits, g: _by(p, s[:, :1]))
# scales
_wrong("as_many_codes_as_bits_allow", "another highest code", lambda w, p, s, c, bits, g: _by(p, p.abs().amax(2, keepdim=True) / 2 ** (bits - 1), bits))
_wrong("unsigned_steps", "another highest code", lambda w, p, s, c, bits, g: _by(p, p.abs().amax(2, keepdim=True) / (2**bits - 1)))
_wrong("full_range", "another highest code", lambda w, p, s, c, bits, g: _by(p, symmetric_scale(p, bits, dim=2, full=True), bits))
_wrong("without_a_size", "with its sign", lambda w, p, s, c, bits, g: _by(p, p.amax(2, keepdim=True) / _t(bits), bits))
_wrong("upside_down", "upside down", lambda w, p, s, c, bits, g: (c.flatten(1), 1 / s.squeeze(2)))
_wrong("mean_size", "middle size", lambda w, p, s, c, bits, g: _by(p, p.abs().mean(2, keepdim=True) / _t(bits), bits))
_wrong("the_range", "middle size", lambda w, p, s, c, bits, g: _by(p, (p.amax(2, keepdim=True) - p.amin(2, keepdim=True)) / (2 * _t(bits)), bits))
_wrong("affine", "middle size|should", lambda w, p, s, c, bits, g: _by(p, (p.amax(2, keepdim=True) - p.amin(2, keepdim=True)) / (2**bits - 1), bits))
_wrong("the_largest_itself", "How much of it", lambda w, p, s, c, bits, g: (c.flatten(1), p.abs().amax(2)))
_wrong("negative", "scale is negative", lambda w, p, s, c, bits, g: _by(p, -s, bits))
_wrong("constant_added", "something added", lambda w, p, s, c, bits, g: _by(p, s + 1e-8, bits))
_wrong("held_up", "held up", lambda w, p, s, c, bits, g: _by(p, s.clamp(min=1e-8), bits))
_wrong("half_precision_scales", "first digits|should", lambda w, p, s, c, bits, g: (c.flatten(1), s.squeeze(2).half().float()))
_wrong("groups_of_32_built_in", "divide|makes no difference|shape", lambda w, p, s, c, bits, g: _by(in_groups(w, 32), symmetric_scale(in_groups(w, 32), bits, dim=2), bits))
# codes
_wrong("cut_off", "cut off to whole", lambda w, p, s, c, bits, g: ((p / s).trunc().flatten(1).char(), s.squeeze(2)))
_wrong("rounded_down", "cut off to whole", lambda w, p, s, c, bits, g: ((p / s).floor().flatten(1).char(), s.squeeze(2)))
_wrong("straight_to_whole_numbers", "cut off to whole", lambda w, p, s, c, bits, g: ((p / s).flatten(1).char(), s.squeeze(2)))
_wrong("from_zero_on", "count from 0", lambda w, p, s, c, bits, g: (c.flatten(1) + _t(bits), s.squeeze(2)))
_wrong("clipped_at_zero", "Some codes are cut off|type", lambda w, p, s, c, bits, g: (c.clamp(min=0).flatten(1), s.squeeze(2)))
_wrong("highest_code_left_out", "Some codes are cut off", lambda w, p, s, c, bits, g: (c.clamp(max=_t(bits) - 1).flatten(1), s.squeeze(2)))
_wrong("limits_of_three_bits", "Some codes are cut off", lambda w, p, s, c, bits, g: (c.clamp(-3, 3).flatten(1), s.squeeze(2)))
_wrong("rounded_weights", "rounded weights|floats|float32", lambda w, p, s, c, bits, g: ((c * s).flatten(1), s.squeeze(2)))
_wrong("scales_of_other_neighbours", "other weights", lambda w, p, s, c, bits, g: ((w / s.squeeze(2).repeat(1, g)).round().clamp(-_t(bits), _t(bits)).char(), s.squeeze(2)))
_wrong("another_order", "another order", lambda w, p, s, c, bits, g: (c.mT.flatten(1), s.squeeze(2)))
_wrong("rows_mixed", "another order", lambda w, p, s, c, bits, g: (c.transpose(0, 1).reshape(w.shape), s.squeeze(2)))
_wrong("multiplied", "multiplied by the scale|Some codes|should", lambda w, p, s, c, bits, g: (quantize(p, 1 / s, limits=code_range(bits)).flatten(1), s.squeeze(2)))
_wrong("sizes", "signs are lost", lambda w, p, s, c, bits, g: (c.abs().flatten(1), s.squeeze(2)))
# shapes and kinds
_wrong("codes_in_three_dimensions", "two dimensions", lambda w, p, s, c, bits, g: (c, s.squeeze(2)))
_wrong("scales_in_three_dimensions", "third dimension", lambda w, p, s, c, bits, g: (c.flatten(1), s))
_wrong("all_flat", "rows are gone", lambda w, p, s, c, bits, g: (c.flatten(), s.flatten()))
_wrong("scales_flat", "rows are gone", lambda w, p, s, c, bits, g: (c.flatten(1), s.flatten()))
_wrong("squeezed", "shape", lambda w, p, s, c, bits, g: (c.flatten(1), s.squeeze()))
_wrong("repeated_scales", "one for each weight", lambda w, p, s, c, bits, g: (c.flatten(1), s.expand_as(p).flatten(1)))
_wrong("rows_of_groups", "row of weights|shape", lambda w, p, s, c, bits, g: (c.flatten(0, 1), s.squeeze(2)))
_wrong("changed_places", "changed places", lambda w, p, s, c, bits, g: (s.squeeze(2), c.flatten(1)))
_wrong("float_codes", "type torch.float32; int8", lambda w, p, s, c, bits, g: (c.float().flatten(1), s.squeeze(2)))
_wrong("codes_of_32_bits", "type torch.int32; int8", lambda w, p, s, c, bits, g: (c.int().flatten(1), s.squeeze(2)))
_wrong("bytes", "type torch.uint8; int8", lambda w, p, s, c, bits, g: ((c + _t(bits)).byte().flatten(1), s.squeeze(2)))
_wrong("codes_alone", "two things", lambda w, p, s, c, bits, g: c.flatten(1))
_wrong("zero_point_as_well", "two things", lambda w, p, s, c, bits, g: (c.flatten(1), s.squeeze(2), torch.zeros_like(s.squeeze(2))))
_wrong("whole_scales", "type torch.int64|floats", lambda w, p, s, c, bits, g: (c.flatten(1), s.squeeze(2).long()))
_wrong("worked_values", "shape|should", lambda w, p, s, c, bits, g: (torch.tensor([[1, 7, 0, -7]]).char(), torch.tensor([[1.0, 0.1]])))
_wrong("first_row_only", "shape", lambda w, p, s, c, bits, g: (c.flatten(1)[:1], s.squeeze(2)[:1]))
_wrong("rows_and_columns", "changed places|two dimensions|shape", lambda w, p, s, c, bits, g: (c.flatten(1).T, s.squeeze(2).T))
# fmt: on


@battery.wrong("group_quantize", says="changed its own input")
def in_place(weights, bits=4, group=32):
    parts = in_groups(weights, group)
    scales = symmetric_scale(parts, bits, dim=2)
    parts /= scales
    return parts.round().char().flatten(1), scales.squeeze(2)


@battery.wrong("group_quantize", says="A group of zeros spoils|For a group of zeros")
def zeros_forgotten(weights, bits=4, group=32):
    top = 2 ** (bits - 1) - 1
    parts = in_groups(weights, group)
    scales = parts.abs().amax(2, keepdim=True) / top
    codes = (parts / scales).nan_to_num(1.0).round()
    return codes.char().flatten(1), scales.squeeze(2)


@battery.wrong("group_quantize", says="unexpected keyword")
def without_a_group(weights, bits=4):
    scales = symmetric_scale(weights, bits, dim=1)
    return quantize(weights, scales), scales


@battery.wrong(
    "group_quantize", says="another number of bits|another highest code|divide"
)
def bits_and_group_exchanged(weights, group=32, bits=4):
    parts = in_groups(weights, group)
    scales = symmetric_scale(parts, min(max(bits, 2), 8) - 1 or 2, dim=2)
    return quantize(parts, scales).flatten(1), scales.squeeze(2)


# --- found by attacking the check -------------------------------------------------------------


@battery.right("group_quantize")
def in_double(weights, bits=4, group=32):
    parts = in_groups(weights.double(), group)
    scales = symmetric_scale(parts, bits, dim=2)
    return quantize(parts, scales).flatten(1), scales.squeeze(2)


@battery.wrong("group_quantize", says="calls course_lib's own")
def out_of_the_store(weights, bits=4, group=32):
    store = round_to_nearest(weights, bits, group, dtype=torch.float32)
    return store.codes.to(torch.int8), store.scale


@battery.wrong("group_quantize", says="same group of all rows")
def first_row_s_scales(weights, bits=4, group=32):
    parts = in_groups(weights, group)
    scales = symmetric_scale(parts, bits, dim=2)[:1].expand(len(weights), -1, 1)
    return quantize(parts, scales).flatten(1), scales.squeeze(2)


@battery.wrong("group_quantize", says="should have")
def shrunken_scales(weights, bits=4, group=32):
    parts = in_groups(weights, group)
    scales = best_scale(parts, bits, 2)
    codes = quantize(parts, scales, limits=code_range(bits))
    return codes.flatten(1), scales.squeeze(2)


@battery.wrong("group_quantize", says="Rows and columns are mixed up|should")
def as_it_lies_in_memory(weights, bits=4, group=32):
    out, width = weights.shape
    parts = weights.as_strided((out, width // group, group), (width, group, 1))
    scales = symmetric_scale(parts, bits, dim=2)
    return quantize(parts, scales).flatten(1), scales.squeeze(2)
