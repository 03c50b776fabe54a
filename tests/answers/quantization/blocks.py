"""Answers to lesson 11: blocks of a file; right ones of different shapes, and people's mistakes."""

import struct

import numpy as np

from course_lib.pretrained.gguf_blocks import Q4_0, Q4_1, Q8_0, decode_q4_0
from course_lib.quantization.blocks import (
    fill,
    largest_signed,
    one_over,
    pack_nibbles,
    round_away,
)
from tools.graders import Battery

battery = Battery()

F32 = np.float32
EIGHT, MORE = F32(-8), F32(8.5)


def _right(answer):
    return battery.right("encode_q4_0")(answer)


# --- right --------------------------------------------------------------------------------------


@_right
def line_by_line(rows):
    scale = largest_signed(rows) / EIGHT
    codes = np.trunc(rows * one_over(scale) + MORE).clip(0, 15).astype(np.uint8)
    return fill(Q4_0, scale=scale, codes=pack_nibbles(codes))


@_right
def as_in_c(rows):
    """Block after block, number after number."""
    blocks = np.zeros(len(rows), dtype=Q4_0)
    for block, row in zip(blocks, rows, strict=True):
        most = largest = F32(0)
        for x in row:
            if most < abs(x):
                most, largest = abs(x), x
        d = largest / EIGHT
        times = F32(1) / d if d else F32(0)
        block["scale"] = d
        for j in range(16):
            low = min(15, int(row[j] * times + MORE))
            high = min(15, int(row[j + 16] * times + MORE))
            block["codes"][j] = low | high << 4
    return blocks


@_right
def floor_and_minimum(rows):
    scale = -largest_signed(rows) / F32(8)
    inverse = one_over(scale)
    codes = np.minimum(np.floor(inverse * rows + MORE), 15).astype(np.uint8)
    return fill(Q4_0, scale=scale, codes=codes[:, :16] + 16 * codes[:, 16:])


@_right
def with_python_numbers(rows):
    """Python's own numbers are not wider than an array's."""
    scale = largest_signed(rows) / -8
    codes = (rows * one_over(scale) + 8.5).astype(np.int32)
    return fill(Q4_0, scale=scale, codes=pack_nibbles(np.where(codes > 15, 15, codes).astype(np.uint8)))  # fmt: skip


@_right
def field_by_field(rows):
    places = np.abs(rows).argmax(1)
    scale = rows[np.arange(len(rows)), places] * F32(-0.125)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    codes = np.clip((rows.T * inverse + MORE).T, 0, 15.5).astype(np.uint8)
    blocks = np.empty(len(rows), Q4_0)
    blocks["scale"] = scale
    blocks["codes"] = codes[:, 16:] << 4 | codes[:, :16]
    return blocks


@_right
def as_bytes(rows):
    raw = b""
    for row in rows:
        d = largest_signed(row[None])[0, 0] / EIGHT
        times = one_over(np.array([d], dtype=F32))[0]
        codes = [min(15, int(x)) for x in row * times + MORE]
        pairs = zip(codes[:16], codes[16:], strict=True)
        raw += struct.pack("<e16B", d, *(a + 16 * b for a, b in pairs))
    return np.frombuffer(raw, dtype=Q4_0)


@_right
def positive_and_negative_apart(rows):
    high, low = rows.max(axis=1, keepdims=True), rows.min(axis=1, keepdims=True)
    scale = np.where(high > -low, high, low) / EIGHT
    codes = np.trunc(rows * one_over(scale) + MORE).clip(max=15).astype(np.uint8)
    return fill(Q4_0, codes=pack_nibbles(codes), scale=scale)


@_right
def block_by_block(rows):
    return np.concatenate([line_by_line(rows[i : i + 1]) for i in range(len(rows))])


# --- wrong --------------------------------------------------------------------------------------


def _wrong(name, says, find):
    def answer(rows):
        return find(rows)

    answer.__name__ = name
    battery.wrong("encode_q4_0", says=says)(answer)


def _size(rows):
    return np.abs(rows).max(axis=1, keepdims=True)


def _made(
    name,
    says,
    scale=lambda x: largest_signed(x) / EIGHT,
    codes=lambda x, d: np.trunc(x * one_over(d) + MORE).clip(0, 15),
    pack=pack_nibbles,
    kept=lambda d: d,
):
    """Right, but for one of the lines."""

    def find(rows):
        d = scale(rows)
        found = codes(rows, d).astype(np.int64).astype(np.uint8)
        return fill(Q4_0, scale=kept(d), codes=pack(found))

    _wrong(name, says, find)


LOST = "lost the sign"
_made("size_by_8", LOST, lambda x: _size(x) / F32(8))
_made("size_by_minus_8", LOST, lambda x: _size(x) / EIGHT)
_made("size_by_7", LOST, lambda x: _size(x) / F32(7))
_made("symmetric", LOST, lambda x: _size(x) / F32(7), lambda x, d: np.rint(x * one_over(d)) + 8)  # fmt: skip
_made("size_by_7_and_a_half", LOST, lambda x: _size(x) / F32(7.5))
_made("highest_number", "largest number itself", lambda x: x.max(axis=1, keepdims=True) / EIGHT)  # fmt: skip
_made("lowest_number", "largest number itself", lambda x: x.min(axis=1, keepdims=True) / EIGHT)  # fmt: skip
_made("by_plus_8", "wrong sign", lambda x: largest_signed(x) / F32(8))
_made("by_minus_7", "eight codes", lambda x: largest_signed(x) / F32(-7))
_made("by_7", "eight codes", lambda x: largest_signed(x) / F32(7))
_made("by_minus_15", "eight codes", lambda x: largest_signed(x) / F32(-15))
_made("by_16", "eight codes", lambda x: largest_signed(x) / F32(-16))
_made("one_scale_for_all", "One scale", lambda x: np.full((len(x), 1), largest_signed(x.reshape(1, -1))[0, 0] / EIGHT))  # fmt: skip
_made("width_of_the_range", "Q4_1", lambda x: np.ptp(x, axis=1, keepdims=True) / F32(15))  # fmt: skip
_made("neighbours", "16 apart", pack=lambda c: c[:, ::2] | c[:, 1::2] << 4)
_made("neighbours_swapped", "not in their places", pack=lambda c: c[:, ::2] << 4 | c[:, 1::2])  # fmt: skip
_made("halves_swapped", "changed places", pack=lambda c: c[:, :16] << 4 | c[:, 16:])
_made("reversed_bytes", "not in their places", pack=lambda c: pack_nibbles(c)[:, ::-1])
_made("first_half_alone", "Only half", pack=lambda c: c[:, :16])
_made("shifted_by_16", "Only half|in byte", pack=lambda c: c[:, :16] | (c[:, 16:] << 8).astype(np.uint8))  # fmt: skip
_made("packed_too_early", "returned|stopped with|layout|in byte", pack=lambda c: c)
ROUND = "`round` and `rint`"
_made("round_then_8", ROUND, codes=lambda x, d: (np.round(x * one_over(d)) + 8).clip(0, 15))  # fmt: skip
_made("round_of_8", ROUND, codes=lambda x, d: np.rint(x * one_over(d) + F32(8)).clip(0, 15))  # fmt: skip
_made("round_of_a_quotient", ROUND + "|has the code|stopped|zeros", codes=lambda x, d: (np.rint(np.nan_to_num(x / d)) + 8).clip(0, 15))  # fmt: skip
_made("rounded_twice", "rounds twice", codes=lambda x, d: np.round(x * one_over(d) + MORE).clip(0, 15))  # fmt: skip
_made("away_from_zero", "away from zero", codes=lambda x, d: (round_away(x * one_over(d)) + 8).clip(0, 15))  # fmt: skip
_made("without_a_half", "without ½", codes=lambda x, d: np.trunc(x * one_over(d) + F32(8)).clip(0, 15))  # fmt: skip
_made("floor", "without ½", codes=lambda x, d: np.floor(x * one_over(d)) + 8)
_made("cut_before_8", "towards zero", codes=lambda x, d: (np.trunc(x * one_over(d)) + 8).clip(0, 15))  # fmt: skip
_made("half_and_cut_before_8", "towards zero", codes=lambda x, d: (np.trunc(x * one_over(d) + F32(0.5)) + 8).clip(0, 15))  # fmt: skip
_made("ceil", "next whole number", codes=lambda x, d: (np.ceil(x * one_over(d)) + 8).clip(0, 15))  # fmt: skip
_made("without_8", "8 and ½ are missing", codes=lambda x, d: np.trunc(x * one_over(d) + F32(0.5)).clip(0, 15))  # fmt: skip
_made("with_a_sign", "8 and ½ are missing|have a sign", codes=lambda x, d: np.rint(x * one_over(d)).clip(0, 15))  # fmt: skip
_made("signed_codes", "have a sign", codes=lambda x, d: np.rint(x * one_over(d)).clip(-8, 7), pack=lambda c: c[:, :16] & 15 | (c[:, 16:] & 15) << 4)  # fmt: skip
_made("seven_and_a_half", "not 7", codes=lambda x, d: np.trunc(x * one_over(d) + F32(7.5)).clip(0, 15))  # fmt: skip
_made("not_clipped", "four bits end at 15", codes=lambda x, d: np.trunc(x * one_over(d) + MORE))  # fmt: skip
_made("masked", "four bits end at 15", codes=lambda x, d: np.trunc(x * one_over(d) + MORE).astype(int) & 15)  # fmt: skip
_made("clipped_at_16", "four bits end at 15", codes=lambda x, d: np.trunc(x * one_over(d) + MORE).clip(0, 16))  # fmt: skip
_made("clipped_at_14", "Clipped too early", codes=lambda x, d: np.trunc(x * one_over(d) + MORE).clip(0, 14))  # fmt: skip
_made("scale_halved_first", "half precision", lambda x: (largest_signed(x) / EIGHT).astype(np.float16).astype(F32))  # fmt: skip
_made("inverse_of_the_half", "half precision", codes=lambda x, d: np.trunc(x * one_over(d.astype(np.float16).astype(F32)) + MORE).clip(0, 15))  # fmt: skip


def _quotient(x, d):
    return np.divide(x, d, out=np.zeros_like(x), where=d != 0)


_made("divided", "multiply by the inverse", codes=lambda x, d: np.trunc(_quotient(x, d) + MORE).clip(0, 15))  # fmt: skip
_made("in_float64", "stay in float32", codes=lambda x, d: np.trunc(x.astype(float) * one_over(d.astype(float)) + 8.5).clip(0, 15))  # fmt: skip
_made("float64_added", "stay in float32", codes=lambda x, d: np.trunc(x * one_over(d) + np.float64(8.5)).clip(0, 15))  # fmt: skip
_made("a_wide_minus_8", "stay in float32|multiply", lambda x: largest_signed(x) / np.float64(-8))  # fmt: skip
_made("half_added_first", "in one go", codes=lambda x, d: (np.floor(x * one_over(d) + F32(0.5)) + 8).clip(0, 15))  # fmt: skip
_made("half_and_inverse_wide", "stay in float32|has the code|in one go", codes=lambda x, d: (np.floor(x.astype(float) * one_over(d.astype(float)) + 0.5) + 8).clip(0, 15))  # fmt: skip
_made("halved_by_hand", "takes no half of it", kept=lambda d: d / 2)
_made("doubled_for_fill", "takes no half of it", kept=lambda d: d * 2)
_made("large_scales_held", "row of large numbers", kept=lambda d: d.clip(-1e3, 1e3))
_made("inverse_kept", "has the scale", kept=one_over)
_made("scale_of_7_written", "has the scale|eight codes", kept=lambda d: d * F32(8 / 7))
_made("size_written", "has the scale|lost the sign", kept=np.abs)
_made("decimals", "has the scale", kept=lambda d: d.round(3))
_made("all_the_same", "in byte|has the code", codes=lambda x, d: np.full_like(x, 8))
_wrong("zeros_divided", "Rows of zeros|One row of zeros", lambda x: _bare(x, 1 / (largest_signed(x) / EIGHT)))  # fmt: skip
_wrong("rows_as_one", "has the scale|stopped with|One scale", lambda x: np.repeat(line_by_line(x[:1]), len(x)))  # fmt: skip
_wrong("first_row_alone", "one block a row", lambda x: line_by_line(x)[0:1])
_wrong("single_block", "returned a void|layout|Q4_0", lambda x: line_by_line(x)[0])
_wrong("the_bytes", "layout Q4_0", lambda x: line_by_line(x).view(np.uint8))
_wrong("python_bytes", "returned a bytes", lambda x: line_by_line(x).tobytes())
_wrong("codes_alone", "layout Q4_0", lambda x: line_by_line(x)["codes"])
_wrong("scale_and_codes", "returned a tuple", lambda x: (line_by_line(x)["scale"], line_by_line(x)["codes"]))  # fmt: skip
_wrong("a_table", "returned a dict", lambda x: {"scale": largest_signed(x) / EIGHT})
_wrong("decoded", "float32", lambda x: decode_q4_0(line_by_line(x)))
_wrong("as_columns", "shape", lambda x: line_by_line(x)[:, None])
_wrong("another_layout", "the fields scale, codes|layout", lambda x: fill(Q8_0, scale=largest_signed(x) / EIGHT, codes=np.zeros((len(x), 32), np.int8)))  # fmt: skip
_wrong("with_an_offset", "scale, offset, codes", lambda x: fill(Q4_1, scale=largest_signed(x) / EIGHT, offset=x.min(1, keepdims=True), codes=np.zeros((len(x), 16), np.uint8)))  # fmt: skip
_wrong("flat_scale", "takes the scale as a column", lambda x: fill(Q4_0, scale=(largest_signed(x) / EIGHT)[:, 0], codes=np.zeros((len(x), 16), np.uint8)))  # fmt: skip
_wrong("codes_in_floats", "stopped with", lambda x: fill(Q4_0, scale=largest_signed(x) / EIGHT, codes=pack_nibbles(np.trunc(x * one_over(largest_signed(x) / EIGHT) + MORE))))  # fmt: skip
_wrong("unpacked", "stopped with ValueError", lambda x: fill(Q4_0, scale=largest_signed(x) / EIGHT, codes=np.zeros((len(x), 32), np.uint8)))  # fmt: skip
_wrong("worked_value", "has the scale|has the code|one block", lambda x: line_by_line(_worked(len(x))))  # fmt: skip


def _bare(rows, inverse):
    with np.errstate(all="ignore"):
        codes = np.trunc(rows * inverse + MORE).clip(0, 15).astype(np.uint8)
    return fill(Q4_0, scale=largest_signed(rows) / EIGHT, codes=pack_nibbles(codes))


def _worked(N):
    rows = np.zeros((N, 32), dtype=F32)
    rows[:, [0, 1, 16]] = 4.0, -1.0, 3.5
    return rows


@battery.wrong("encode_q4_0", says="changed its own input")
def in_place(rows):
    scale = largest_signed(rows) / EIGHT
    rows *= one_over(scale)
    rows += MORE
    codes = np.trunc(rows).clip(0, 15).astype(np.uint8)
    return fill(Q4_0, scale=scale, codes=pack_nibbles(codes))


@battery.wrong("encode_q4_0", says="zeros")
def zeros_become_zeros(rows):
    blocks = line_by_line(rows)
    blocks["codes"][blocks["scale"] == 0] = 0
    return blocks


@battery.wrong("encode_q4_0", says="has the scale")
def scale_of_zeros_is_one(rows):
    blocks = line_by_line(rows)
    blocks["scale"][blocks["scale"] == 0] = 1
    return blocks


@battery.wrong("encode_q4_0", says="row of tiny numbers")
def tiny_rows_held(rows):
    size = np.maximum(_size(rows), F32(1e-4)) * np.sign(largest_signed(rows))
    return _with_scale(rows, size / EIGHT)


@battery.wrong("encode_q4_0", says="row of tiny numbers.*only a block of zeros")
def small_scales_for_none(rows):
    scale = largest_signed(rows) / EIGHT
    inverse = np.where(np.abs(scale) < 1e-6, F32(0), one_over(scale))
    return _bare(rows, inverse)


@battery.wrong("encode_q4_0", says="row of tiny numbers.*nothing is added")
def one_for_small_scales(rows):
    scale = largest_signed(rows) / EIGHT
    return _bare(rows, 1 / np.where(np.abs(scale) < 1e-6, F32(1), scale))


@battery.wrong("encode_q4_0", says="in byte|has the code|has the scale")
def a_small_constant_added(rows):
    return _with_scale(rows, largest_signed(rows) / EIGHT + F32(1e-6))


def _with_scale(rows, scale):
    codes = np.trunc(rows * one_over(scale) + MORE).clip(0, 15).astype(np.uint8)
    return fill(Q4_0, scale=scale, codes=pack_nibbles(codes))


@battery.wrong("encode_q4_0", says="One scale was found for all rows")
def one_row_alone(rows):
    """Of a batch the first row's scale for all."""
    return _with_scale(rows, np.repeat(largest_signed(rows[:1]) / EIGHT, len(rows), 0))
