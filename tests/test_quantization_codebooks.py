"""NF4: the table from quantiles, bytes and values of bitsandbytes, double quantization, odd shapes."""

import pytest
import torch
from bitsandbytes import functional as theirs
from scipy.stats import norm

from course_lib.lora.costs import nf4_bits
from course_lib.quantization.codebooks import (
    NF4,
    book_dequantize,
    book_quantize,
    dynamic_code_book,
    nearest_codes,
    nf4,
    normal_code_book,
    pack_pairs,
    unpack_pairs,
)
from course_lib.quantization.groups import round_to_nearest


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def in_bitsandbytes(weights, block=64, double=False):
    return theirs.quantize_4bit(
        weights, quant_type="nf4", blocksize=block, compress_statistics=double
    )


# ---- the tables


def test_the_table_is_bitsandbytes_own():
    assert torch.equal(torch.tensor(NF4), theirs.get_4bit_type("nf4", device="cpu"))


def test_the_quantiles_give_the_published_values():
    # float32 rounds at 6e-8; the authors' quantiles were rounded once more
    torch.testing.assert_close(normal_code_book(), torch.tensor(NF4), rtol=0, atol=2e-7)
    slow = [norm.ppf(0.5 + i / 8 * (0.9677083 - 0.5)) for i in range(9)]
    slow = [value / slow[-1] for value in slow]
    torch.testing.assert_close(normal_code_book()[7:], torch.tensor(slow).float())


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_a_table_has_an_exact_zero_and_both_ends(bits):
    book = normal_code_book(bits)
    assert len(book) == 2**bits
    assert book.tolist() == sorted(book.tolist())
    assert (book[0], book[-1]) == (-1, 1)
    assert book[2 ** (bits - 1) - 1] == 0


def test_codes_of_normal_numbers_are_used_about_equally_often():
    scaled = drawn(200_000) / 0.05 / norm.ppf(0.9677083)  # the book's own unit
    inner = torch.bincount(nearest_codes(scaled, normal_code_book()).long())[1:-1]
    even = torch.bincount(nearest_codes(scaled, torch.linspace(-1, 1, 16)).long())[1:-1]
    assert inner.max() / inner.min() < 1.4
    assert even.max() / even.min() > 2


def test_the_table_for_scales_is_bitsandbytes_own():
    assert torch.equal(dynamic_code_book(), theirs.create_dynamic_map())


# ---- codes


def test_the_nearest_value_is_the_one_a_slow_search_finds():
    book, values = normal_code_book(), drawn(500) * 10
    slow = (values[:, None] - book).abs().argmin(dim=1)
    assert nearest_codes(values, book).tolist() == slow.tolist()


@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("shape", [(96, 256), (3, 64), (64, 48)])
def test_bytes_scales_and_weights_are_those_of_bitsandbytes(block, shape):
    weights = drawn(*shape)
    weights[0, :16] = 0
    packed, state = in_bitsandbytes(weights, block)
    ours = nf4(weights, block)
    assert torch.equal(ours.packed, packed.flatten())
    assert torch.equal(ours.scales, state.absmax)
    back = theirs.dequantize_4bit(packed, state)
    if shape[1] % block == 0:
        assert torch.equal(ours(), back)
    else:  # their CPU kernel takes wrong scales where a block runs on into the next row
        assert (ours() - weights).norm() <= (back - weights).norm()
        assert (ours() - weights).norm() < 0.12 * weights.norm()


def test_double_quantization_is_theirs_but_for_codes_that_their_kernel_misses():
    """Their CPU kernel looks scales up by a short cut and now and then takes a neighbour."""
    weights = drawn(512, 1024)
    packed, state = in_bitsandbytes(weights, double=True)
    ours = nf4(weights, double=True)
    assert torch.equal(ours.packed, packed.flatten())
    assert torch.equal(ours.mean, state.offset)
    assert torch.equal(ours.largest, state.state2.absmax)
    other = ours.scale_codes != state.absmax
    assert other.float().mean() < 0.01
    exact = nf4(weights).largest - ours.mean
    book, span = dynamic_code_book(), ours.largest.repeat_interleave(256)
    miss = [
        (book[c.long()] * span - exact).abs() for c in (ours.scale_codes, state.absmax)
    ]
    assert (miss[0] <= miss[1] + 1e-9).all()
    same = ~other.repeat_interleave(64).view(512, 1024)
    back = theirs.dequantize_4bit(packed, state)
    assert torch.equal(ours()[same], back[same])


def test_pairs_on_paper_and_back():
    assert pack_pairs(torch.tensor([15, 0, 7], dtype=torch.uint8)).tolist() == [
        240,
        112,
    ]
    codes = torch.randint(16, (77,), dtype=torch.uint8)
    assert torch.equal(unpack_pairs(pack_pairs(codes), 77), codes)


@pytest.mark.parametrize("double", [False, True])
def test_rows_that_no_block_divides_come_back(double):
    weights = drawn(5, 13)
    back = nf4(weights, double=double)()
    assert back.shape == (5, 13)
    # the widest gap of the table is 0.30 of the block's largest number
    assert (back - weights).abs().max() <= 0.16 * weights.abs().max()


def test_a_block_of_zeros_stays_zero():
    for double in (False, True):
        store = nf4(torch.zeros(2, 64), double=double)
        assert torch.equal(store(), torch.zeros(2, 64))


def test_nan_is_refused():
    with pytest.raises(ValueError, match="1 of 64 numbers are nan"):
        nf4(torch.tensor([[0.0] * 63 + [torch.nan]]))


@pytest.mark.parametrize("double", [False, True])
def test_the_buffers_weigh_what_lora_costs_says(double):
    weights = drawn(256, 256)
    state = nf4(weights, double=double).state_dict()
    seen = 8 * sum(t.nbytes for t in state.values()) / weights.numel()
    mean = 32 / weights.numel() if double else 0
    assert seen == pytest.approx(nf4_bits(double=double) + mean)


def test_any_table_serves():
    book = torch.tensor([-1.0, 0.0, 1.0])
    weights = torch.tensor([0.2, -8.0, 5.0, 0.0, 3.0])
    codes, largest = book_quantize(weights, book, block=3)
    assert codes.tolist() == [1, 0, 2, 1, 2]
    assert largest.tolist() == [8, 3]
    back = book_dequantize(codes, largest, book, block=3)
    assert back.tolist() == [0, -8, 8, 0, 3]


def test_against_int4_with_equal_blocks_and_scales_nf4_wins_on_normal_weights():
    weights = drawn(256, 512)
    four = round_to_nearest(weights, 4, 64, dtype=torch.float32)
    clipped = round_to_nearest(
        weights, 4, 64, full=True, clip=True, dtype=torch.float32
    )
    error = [(s() - weights).square().mean() for s in (nf4(weights), four)]
    assert error[0] < error[1]
    assert (clipped() - weights).square().mean() < error[1]
