"""Groups that share a scale: on paper, finer is better, packed codes cost what is said, PyTorch agrees."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.quantization.groups import (
    IntegerWeight,
    bits_per_weight,
    group_dequantize,
    group_quantize,
    in_groups,
    pack_codes,
    round_to_nearest,
    stored_scale,
    unpack_codes,
)
from course_lib.quantization.integers import code_range


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_groups(weights, bits, group):
    """Group after group, weight after weight, in Python's floats."""
    high = 2 ** (bits - 1) - 1
    back = torch.zeros_like(weights)
    for r, row in enumerate(weights.tolist()):
        for start in range(0, len(row), group):
            part = row[start : start + group]
            scale = max(abs(w) for w in part) / high
            for i, w in enumerate(part):
                back[r, start + i] = scale * max(-high, min(high, round(w / scale)))
    return back


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [1, 4, 16])
def test_groups_are_those_of_the_slow_loop(bits, group):
    weights = drawn(3, 16)
    codes, scales = group_quantize(weights, bits, group)
    assert codes.shape == weights.shape
    assert scales.shape == (3, 16 // group)
    back = group_dequantize(codes, scales)
    torch.testing.assert_close(back, slow_groups(weights, bits, group))
    exact = round_to_nearest(weights, bits, group, dtype=torch.float32)
    assert torch.equal(exact(), back)
    assert torch.equal(exact.codes, codes.to(torch.int16))


def test_who_shares_a_scale():
    weights = torch.arange(12.0).view(2, 6)
    assert in_groups(weights, "tensor").shape == (1, 1, 12)
    assert in_groups(weights, "channel").shape == (2, 1, 6)
    assert in_groups(weights, 3).tolist()[1] == [[6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize(
    ("weights", "group", "reason"),
    [
        (torch.zeros(2, 6), 4, "Groups of 4 do not divide rows of 6 weights"),
        (torch.zeros(2, 6), 12, "Groups of 12 do not divide rows of 6"),
        (torch.zeros(2, 6), 0, "A group is a number"),
        (torch.zeros(2, 6), "row", "not 'row'"),
        (torch.zeros(6), 3, r"A matrix \(out, in\) has groups, not \(6,\)"),
        (torch.full((2, 6), torch.nan), 3, "12 of 12 numbers are nan"),
        (torch.full((2, 6), 1e30), 3, "does not fit into torch.float16"),
    ],
)
def test_what_cannot_be_grouped_is_refused_in_a_sentence(weights, group, reason):
    with pytest.raises(ValueError, match=reason):
        round_to_nearest(weights, 4, group)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("full", [False, True])
def test_the_fewer_share_a_scale_the_smaller_the_error(bits, full):
    weights = drawn(64, 128) * drawn(64, 1, seed=1).exp()  # rows of unlike sizes
    errors = [
        (round_to_nearest(weights, bits, group, full=full)() - weights).square().mean()
        for group in ("tensor", "channel", 64, 32, 16)
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", ["tensor", "channel", 32])
@pytest.mark.parametrize("bits", range(2, 9))
def test_what_is_stored_is_within_half_a_step(symmetric, group, bits):
    weights = drawn(8, 64, seed=bits)
    store = round_to_nearest(weights, bits, group, symmetric)
    step = store.scale.float().unsqueeze(2)
    error = (in_groups(store(), group) - in_groups(weights, group)).abs()
    # half precision moves the scale by a part in 2048, which the outermost code feels
    slack = 2 ** (bits - 1) / 2048 if symmetric else 0.5 + 2**bits / 2048
    assert (error <= step * (0.5 + slack)).all()


def test_zeros_come_back_as_zeros_and_a_zero_row_harms_no_other():
    weights = drawn(3, 32)
    weights[1] = 0
    for symmetric in (True, False):
        back = round_to_nearest(weights, 4, 32, symmetric)()
        assert torch.equal(back[1], torch.zeros(32))
        assert torch.isfinite(back).all()
    assert torch.equal(
        round_to_nearest(torch.zeros(2, 8), 4, "tensor")(), torch.zeros(2, 8)
    )


def test_scales_that_half_precision_cannot_hold_become_its_smallest_number():
    tiny = stored_scale(torch.tensor([1e-20, 1.0]))
    assert tiny.tolist() == [torch.finfo(torch.float16).tiny, 1.0]


# ---- storage


@settings(deadline=None)  # a busy machine is no mistake
@given(some.integers(2, 8), some.data())
def test_packed_codes_come_back(bits, data):
    numbers = some.lists(some.integers(0, 2**bits - 1), min_size=1, max_size=70)
    codes = torch.tensor(data.draw(numbers))
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == -(-len(codes) * bits // 8)
    assert unpack_codes(packed, bits, len(codes)).tolist() == codes.tolist()


def test_packed_bytes_on_paper():
    # 3 bits each, the first code in the lowest: one number, 435 in octal digits
    assert pack_codes(torch.tensor([5, 3, 4]), 3).tolist() == [0o435 & 255, 0o435 >> 8]


@pytest.mark.parametrize(
    ("bits", "group", "symmetric", "wanted"),
    [(4, 32, True, 4.5), (8, 32, True, 8.5), (3, 32, True, 3.5), (4, 64, False, 4.375)],
)
def test_the_buffers_weigh_what_bits_per_weight_says(bits, group, symmetric, wanted):
    weights = drawn(16, 128)
    store = round_to_nearest(weights, bits, group, symmetric)
    seen = 8 * sum(b.nbytes for b in store.buffers()) / weights.numel()
    assert seen == bits_per_weight(bits, group, 16, 0 if symmetric else 8) == wanted


def test_the_sizes_of_gguf_against_half_and_full_precision():
    """The errata's numbers: "4-8x smaller" is 3.56 and 7.1 for Q4_0, 1.88 and 3.76 for Q8_0."""
    for bits, half, full in ((4, 3.56, 7.11), (8, 1.88, 3.76)):
        assert 16 / bits_per_weight(bits, 32) == pytest.approx(half, abs=0.005)
        assert 32 / bits_per_weight(bits, 32) == pytest.approx(full, abs=0.005)


def test_storage_is_saved_and_loaded_as_buffers():
    one, other = (round_to_nearest(drawn(4, 64, seed=s), 3, 32, False) for s in (0, 1))
    assert isinstance(one, IntegerWeight)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(), other())


def test_int4_by_groups_has_the_codes_of_the_full_range_when_asked():
    weights = drawn(8, 64)
    codes = round_to_nearest(weights, 4, 32, full=True).codes
    assert (int(codes.min()), int(codes.max())) == code_range(4, full=True)


def test_clipping_helps_where_codes_are_few():
    weights = drawn(64, 256)
    error = [
        (round_to_nearest(weights, 3, "channel", clip=clip)() - weights).square().mean()
        for clip in (False, True)
    ]
    assert error[1] < 0.7 * error[0]
