"""GGUF's blocks: every byte as gguf writes it, bits a weight, and what is refused."""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from course_lib.pretrained.gguf_blocks import (
    decode_q4_0,
    decode_q8_0,
    fifth_bits,
    nibbles,
)
from course_lib.quantization.blocks import (
    BY_NAME,
    ENCODERS,
    BlockWeight,
    encode,
    encode_q4_0,
    encode_q8_0,
    format_bits,
    largest_signed,
    pack_fifth_bits,
    pack_nibbles,
    round_away,
)

FORMATS = list(ENCODERS)


def rows(seed=0):
    """Rows of every kind: normal, constant, zero, huge, tiny, extremes of either sign, ties."""
    draw = np.random.default_rng(seed)
    weights = draw.normal(size=(200, 64)).astype(np.float32) * np.float32(0.05)
    weights[0] = 0
    weights[1], weights[2] = 1.5, -1.5
    weights[3] *= 3e5  # near the end of half precision
    weights[4] *= 1e-6  # scales below its normal numbers
    weights[5] *= 1e-12  # scales that it cannot hold at all
    weights[6, 3], weights[7, 40] = -9, 9
    weights[8] = np.round(weights[8] * 100) / 16  # many numbers half way between codes
    weights[9, ::2] = 0
    weights[10] = np.abs(weights[10])
    weights[11] = -np.abs(weights[11])
    weights[12, 5], weights[12, 9] = 2, -2  # two largest of opposite signs
    weights[13] *= 1e-30
    return weights


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_every_byte_is_the_one_that_gguf_writes(name, seed):
    weights = rows(seed)
    with np.errstate(all="ignore"):
        wanted = gguf.quantize(weights, Kind[name])
    assert encode(weights, name).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_read_back_is_what_gguf_reads(name):
    weights = rows()
    store = BlockWeight(torch.from_numpy(weights), name)
    with np.errstate(all="ignore"):
        theirs = gguf.dequantize(gguf.quantize(weights, Kind[name]), Kind[name])
    assert store().shape == (200, 64)
    assert np.array_equal(store().numpy(), theirs)


@pytest.mark.parametrize("name", FORMATS)
def test_bits_a_weight_are_ggmls_and_the_buffers(name):
    weights, size = gguf.GGML_QUANT_SIZES[Kind[name]]
    assert format_bits(name) == 8 * size / weights
    store = BlockWeight(torch.ones(4, 64), name)
    assert 8 * store.raw.nbytes / 256 == format_bits(name)


def test_the_errors_fall_with_the_bits():
    """Relative to normal weights; measured with gguf: .0862 .0786 .0426 .0379 .0054."""
    draw = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    errors = {}
    for name in FORMATS:
        back = BY_NAME[name].decode(encode(draw, name)).reshape(draw.shape)
        errors[name] = np.sqrt(((back - draw) ** 2).mean()) / draw.std()
    assert list(errors.values()) == pytest.approx(
        [0.0862, 0.0786, 0.0426, 0.0379, 0.0054], rel=0.02
    )


def test_q4_0_on_paper():
    row = np.zeros((1, 32), dtype=np.float32)
    row[0, :4] = 8, -7, 0.4, 0.6  # scale 8 / -8 = -1: codes 8 - x
    row[0, 16:18] = -8, 1
    block = encode_q4_0(row)
    assert block["scale"].tolist() == [-1]
    low, high = block["codes"][0, :4] & 15, block["codes"][0, :4] >> 4
    assert low.tolist() == [0, 15, 8, 7]
    assert high.tolist() == [15, 7, 8, 8]  # -8 would be 16, which 4 bits do not have
    assert decode_q4_0(block)[0, :4].tolist() == [8, -7, 0, 1]
    assert decode_q4_0(block)[0, 16:18].tolist() == [-7, 1]


def test_q8_0_on_paper():
    row = np.zeros((1, 32), dtype=np.float32)
    row[0, :4] = -254, 5, -5, 254
    block = encode_q8_0(row)
    assert block["scale"].tolist() == [2]
    assert block["codes"][0, :4].tolist() == [-127, 3, -3, 127]  # half way: away from 0
    assert decode_q8_0(block)[0, :4].tolist() == [-254, 6, -6, 254]


def test_the_number_of_the_largest_size_comes_back_from_formats_with_a_signed_scale():
    weights = rows()[14:]  # scales that half precision holds
    blocks = weights.reshape(-1, 32)
    for name in ("Q4_0", "Q5_0"):
        back = BY_NAME[name].decode(encode(weights, name))
        places = np.abs(blocks).argmax(axis=1)[:, None]
        kept = np.take_along_axis(back, places, 1)
        np.testing.assert_allclose(kept, largest_signed(blocks), rtol=1e-3)


def test_packing_undoes_unpacking():
    draw = np.random.default_rng(0)
    four = draw.integers(16, size=(50, 32), dtype=np.uint8)
    five = draw.integers(32, size=(50, 32), dtype=np.uint8)
    assert np.array_equal(nibbles(pack_nibbles(four)), four)
    assert np.array_equal(fifth_bits(pack_fifth_bits(five)), five & 16)


def test_rounding_away_from_zero_is_exact_just_below_a_half():
    below = np.nextafter(np.float32(0.5), np.float32(0))
    numbers = np.array([below, -below, 0.5, -0.5, 2.5, -2.5], dtype=np.float32)
    assert round_away(numbers).tolist() == [0, 0, 1, -1, 3, -3]


@pytest.mark.parametrize(
    ("weights", "name", "reason"),
    [
        (np.zeros((2, 48), np.float32), "Q4_0", "blocks of 32, which do not divide rows of 48"),
        (np.zeros((2, 32), np.float32), "Q4_K", "There is no 'Q4_K'; there are Q4_0"),
        (np.full((2, 32), np.nan, np.float32), "Q8_0", "64 of 64 numbers are nan"),
        (np.full((1, 32), 1e8, np.float32), "Q8_0", r"1e\+08 need a scale beyond 65504"),
        (np.full((1, 32), 3e38, np.float32), "Q4_1", "beyond 65504"),
    ],
)  # fmt: skip
def test_what_has_no_blocks_is_refused_in_a_sentence(weights, name, reason):
    with pytest.raises(ValueError, match=reason):
        encode(weights, name)
