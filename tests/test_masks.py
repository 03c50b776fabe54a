"""Sums and means under a mask: what is masked out may be anything and changes nothing."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers.loss.loss_utils import fixed_cross_entropy

from course_lib.masks import accumulated_mean, masked_mean, masked_sum

VALUES = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
MASK = torch.tensor([[True, False, True], [False, True, True]])
SHAPES = [(5,), (3, 4), (2, 3, 4)]
ANYTHING = (math.nan, math.inf, -math.inf, 1e38)


def drawn(shape, seed=0):
    """Random doubles and a mask that keeps about half of them."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64), torch.rand(
        shape, generator=draw
    ) < 0.5


def along(values, mask, dim):
    """The slow loop: one list of kept values for every place of the result, walking along one dimension."""
    rows, keeps = values.movedim(dim, -1), mask.movedim(dim, -1)
    places = np.ndindex(*rows.shape[:-1])
    return [
        [x.item() for x, m in zip(rows[p], keeps[p], strict=True) if m] for p in places
    ]


# ---- worked on paper


def test_sums_and_means_are_those_worked_on_paper():
    assert masked_sum(VALUES, MASK) == 15  # 1 + 3 + 5 + 6
    assert masked_sum(VALUES, MASK, dim=0).tolist() == [1, 5, 9]
    assert masked_sum(VALUES, MASK, dim=1).tolist() == [4, 11]
    assert masked_mean(VALUES, MASK) == 3.75
    assert masked_mean(VALUES, MASK, dim=0).tolist() == [1, 5, 4.5]
    assert masked_mean(VALUES, MASK, dim=1).tolist() == [2, 5.5]


def test_the_mean_of_nothing_is_zero_and_has_gradient_zero():
    values = torch.full((2, 3), math.nan, requires_grad=True)
    mask = torch.zeros(2, 3, dtype=torch.bool)
    assert masked_mean(values, mask) == 0
    assert masked_mean(values, mask, dim=1).tolist() == [0, 0]
    masked_mean(values, mask, dim=1).sum().backward()
    assert values.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_one_masked_row_does_not_touch_the_others():
    mask = torch.tensor([[True, True, True], [False, False, False]])
    assert masked_mean(VALUES, mask, dim=1).tolist() == [2, 0]


# ---- against a loop and against numpy


@pytest.mark.parametrize(
    ("shape", "dim"), [(s, d) for s in SHAPES for d in range(-len(s), len(s))]
)
def test_a_loop_over_every_place_agrees(shape, dim):
    values, mask = drawn(shape)
    kept = along(values, mask, dim)
    sums, means = masked_sum(values, mask, dim), masked_mean(values, mask, dim)
    assert sums.flatten().tolist() == pytest.approx([sum(row) for row in kept])
    assert means.flatten().tolist() == pytest.approx(
        [sum(row) / len(row) if row else 0 for row in kept]
    )
    assert sums.shape == means.shape == values.sum(dim).shape


@pytest.mark.parametrize("shape", SHAPES)
def test_numpys_masked_arrays_agree(shape):
    values, mask = drawn(shape, seed=1)
    # there True means masked out
    theirs = np.ma.masked_array(values.numpy(), mask=~mask.numpy())
    for dim in (None, *range(len(shape))):
        expected = np.ma.filled(theirs.mean(axis=dim), 0.0)
        np.testing.assert_allclose(
            masked_mean(values, mask, dim).numpy(), expected, rtol=1e-12
        )
        expected = np.ma.filled(theirs.sum(axis=dim), 0.0)
        np.testing.assert_allclose(
            masked_sum(values, mask, dim).numpy(), expected, rtol=1e-12
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_with_nothing_masked_out_it_is_torchs_mean(shape):
    values, _ = drawn(shape)
    everything = torch.ones(shape, dtype=torch.bool)
    torch.testing.assert_close(masked_mean(values, everything), values.mean())
    torch.testing.assert_close(masked_mean(values, everything, -1), values.mean(-1))


# ---- invariants


@pytest.mark.parametrize("junk", ANYTHING)
@pytest.mark.parametrize("dim", [None, 0, 1])
def test_what_is_masked_out_may_be_anything(junk, dim):
    spoiled = VALUES.masked_fill(~MASK, junk)
    assert torch.equal(masked_sum(spoiled, MASK, dim), masked_sum(VALUES, MASK, dim))
    assert torch.equal(masked_mean(spoiled, MASK, dim), masked_mean(VALUES, MASK, dim))


@pytest.mark.parametrize("junk", ANYTHING)
def test_gradients_are_one_over_the_count_where_kept_and_zero_elsewhere(junk):
    values = VALUES.masked_fill(~MASK, junk).requires_grad_()
    masked_mean(values, MASK).backward()
    assert values.grad.tolist() == [[0.25, 0, 0.25], [0, 0.25, 0.25]]
    values.grad = None
    masked_mean(values, MASK, dim=1).sum().backward()
    assert values.grad.tolist() == [[0.5, 0, 0.5], [0, 0.5, 0.5]]


def test_autograds_gradient_agrees_with_finite_differences():
    values, mask = drawn((3, 4), seed=2)
    assert torch.autograd.gradcheck(
        lambda x: masked_mean(x, mask, 1), values.requires_grad_()
    )


def test_kept_nan_is_not_hidden():
    values = VALUES.clone()
    values[0, 0] = math.nan  # kept: this is a fault that must be seen
    assert masked_mean(values, MASK).isnan()
    assert masked_mean(values, MASK, dim=1).isnan().tolist() == [True, False]


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_further_padding_changes_nothing(dim):
    wide = functional.pad(VALUES, (0, 3), value=math.nan)
    wide_mask = functional.pad(MASK, (0, 3))
    expected = masked_mean(VALUES, MASK, dim)
    if dim == 0:  # columns without a kept value
        expected = functional.pad(expected, (0, 3))
    assert torch.equal(masked_mean(wide, wide_mask, dim), expected)


def test_permuting_the_batch_permutes_the_rows_and_nothing_else():
    values, mask = drawn((6, 5))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(
        masked_mean(values[order], mask[order], 1), masked_mean(values, mask, 1)[order]
    )
    torch.testing.assert_close(
        masked_mean(values[order], mask[order]), masked_mean(values, mask)
    )


def test_adding_1000_to_every_value_adds_1000_to_every_mean():
    values, mask = drawn((4, 5))
    kept_somewhere = mask.any(1)
    shifted = masked_mean(values + 1000, mask, 1)[kept_somewhere]
    torch.testing.assert_close(
        shifted, masked_mean(values, mask, 1)[kept_somewhere] + 1000
    )


def test_the_callers_tensors_stay_as_they_were():
    values, mask = VALUES.clone(), MASK.clone()
    masked_mean(values, mask, 1)
    accumulated_mean([values], [mask])
    assert torch.equal(values, VALUES)
    assert torch.equal(mask, MASK)


def test_double_precision_stays_double():
    assert masked_mean(VALUES.double(), MASK).dtype == torch.float64


def test_a_mask_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(
        AssertionError, match=r"values\.shape=.*\[2, 3\].*mask\.shape=.*\[2\]"
    ):
        masked_mean(VALUES, torch.tensor([True, False]))


# ---- batches in pieces


def pieces(cut):
    """Four rows of losses with lengths 6, 1, 4 and 2, cut into pieces of so many rows; padding is nan."""
    mask = torch.arange(6) < torch.tensor([[6], [1], [4], [2]])
    losses, _ = drawn((4, 6), seed=4)
    return losses.masked_fill(~mask, math.nan).split(cut), mask.split(cut)


CUTS = [[4], [2, 2], [3, 1], [1, 3], [1, 2, 1], [1, 1, 1, 1]]


def test_three_losses_of_1_and_one_of_5_average_to_2_and_not_to_3():
    losses = [torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[5.0, 0.0, 0.0]])]
    masks = [torch.tensor([[True, True, True]]), torch.tensor([[True, False, False]])]
    assert accumulated_mean(losses, masks) == 2
    assert (
        torch.stack(
            [masked_mean(*piece) for piece in zip(losses, masks, strict=True)]
        ).mean()
        == 3
    )


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_the_cut_does_not_matter(cut):
    losses, mask = pieces([4])
    torch.testing.assert_close(
        accumulated_mean(*pieces(cut)), masked_mean(losses[0], mask[0])
    )


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_loop_over_every_kept_token_agrees(cut):
    kept = [
        x.item()
        for losses, mask in zip(*pieces(cut), strict=True)
        for x, m in zip(losses.flatten(), mask.flatten(), strict=True)
        if m
    ]
    assert len(kept) == 13
    assert accumulated_mean(*pieces(cut)).item() == pytest.approx(sum(kept) / 13)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_transformers_repaired_loss_agrees_in_value_and_gradient(cut):
    draw = torch.Generator().manual_seed(5)
    logits = torch.randn(
        4, 6, 7, generator=draw, dtype=torch.float64, requires_grad=True
    )
    ids = torch.randint(7, (4, 6), generator=draw)
    mask = torch.arange(6) < torch.tensor([[6], [1], [4], [2]])
    losses = functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    ours = accumulated_mean(losses.split(cut), mask.split(cut))
    labels = ids.masked_fill(~mask, -100)  # the value that transformers leaves out
    theirs = sum(
        fixed_cross_entropy(
            piece.flatten(0, 1), label.flatten(), num_items_in_batch=mask.sum()
        )
        for piece, label in zip(logits.split(cut), labels.split(cut), strict=True)
    )
    torch.testing.assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad(loss, logits, retain_graph=True)[0]
        for loss in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


def test_a_piece_of_nothing_but_padding_changes_nothing():
    losses, masks = pieces([4])
    nothing = torch.full((2, 6), math.nan), torch.zeros(2, 6, dtype=torch.bool)
    assert accumulated_mean(
        [*losses, nothing[0]], [*masks, nothing[1]]
    ) == accumulated_mean(losses, masks)
    assert accumulated_mean([nothing[0]], [nothing[1]]) == 0


def test_pieces_may_come_in_any_order_and_width():
    losses, masks = pieces([1, 2, 1])
    narrow = (
        [losses[0], losses[1][:, :4], losses[2][:, :2]],
        [masks[0], masks[1][:, :4], masks[2][:, :2]],
    )
    torch.testing.assert_close(
        accumulated_mean(*narrow), accumulated_mean(losses, masks)
    )
    torch.testing.assert_close(
        accumulated_mean(losses[::-1], masks[::-1]), accumulated_mean(losses, masks)
    )


def test_a_missing_mask_is_refused_with_both_numbers():
    with pytest.raises(AssertionError, match=r"len\(losses\)=2 len\(masks\)=1"):
        accumulated_mean([VALUES, VALUES], [MASK])
