"""Data as a function of the step: what a batch holds, and that nothing else decides it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.batches import cut, epoch_of, rows_of, seeded, shuffled
from course_lib.training import next_token_loss
from tests.tiny import TEXT, Pairs

# ---- windows of one long text


def test_every_row_is_a_piece_of_the_text_with_one_token_more_than_it_predicts():
    ids = rows_of(torch.arange(50), batch=6, length=8, seed=3)(0)
    assert ids.shape == (6, 9)
    assert (ids[:, 1:] - ids[:, :-1] == 1).all()


def test_rows_depend_on_seed_and_step_and_on_nothing_else():
    one, other = (rows_of(TEXT, 4, 16, seed=s) for s in (1, 2))
    before = one(7)
    torch.manual_seed(99)
    one(8)
    assert torch.equal(one(7), before)
    assert not torch.equal(one(8), before)
    assert not torch.equal(other(7), before)


def test_no_two_seeds_share_a_generator_and_torch_reads_seeds_to_their_last_digit():
    first = {
        torch.rand(1, generator=seeded(seed, step)).item()
        for seed in range(20)
        for step in (*range(50), 999_999)
    }
    assert len(first) > 0.99 * 20 * 51  # two floats in 2 ** 24 may agree by chance


def test_every_start_is_equally_likely_including_the_first_and_the_last():
    rows = rows_of(torch.arange(20), batch=100, length=15)  # starts 0..4
    starts = torch.cat([rows(step)[:, 0] for step in range(50)])
    counts = torch.bincount(starts, minlength=5)
    assert len(counts) == 5
    expected, deviation = 1000, math.sqrt(5000 * 0.2 * 0.8)
    assert (counts - expected).abs().max() < 4 * deviation


def test_a_text_shorter_than_a_row_is_refused():
    with pytest.raises(AssertionError, match="a row needs 9 tokens, the text has 8"):
        rows_of(torch.arange(8), batch=1, length=8)


KEPT = torch.arange(400) % 10 < 3  # a period that is not the text's


def test_a_mask_is_cut_into_the_same_windows_as_the_text():
    places = torch.arange(400)
    kept = places % 3 == 0  # the mask can be read off each token
    ids, mask = rows_of(places, batch=6, length=8, seed=3, kept=kept)(2)
    assert mask.shape == ids.shape == (6, 9)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, ids % 3 == 0)


def test_asking_for_a_mask_changes_no_window():
    alone, both = (rows_of(TEXT, 4, 16, seed=1, kept=kept) for kept in (None, KEPT))
    for step in (0, 7):
        assert torch.equal(alone(step), both(step)[0])


def test_the_loss_counts_the_kept_tokens_that_have_one_before_them():
    kept = torch.tensor([True, False, True, True, False])  # of one window: all there is
    ids, mask = rows_of(torch.tensor([3, 1, 4, 1, 5]), 1, 4, kept=kept)(0)
    losses, counted = next_token_loss(Pairs(), ids, mask)
    assert losses.shape == counted.shape == (1, 4)
    assert counted.tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("wrong", [KEPT[:-1], KEPT.int(), KEPT[None]])
def test_a_mask_that_is_not_one_boolean_per_token_is_refused(wrong):
    with pytest.raises(AssertionError, match="one boolean per token"):
        rows_of(TEXT, 4, 16, kept=wrong)


# ---- micro-batches


def test_pieces_of_a_batch_keep_the_rows_of_all_its_tensors_together():
    ids = torch.arange(14).view(7, 2)
    pieces = list(cut((ids, ids > 5), pieces=3))
    assert [len(rows) for rows, _ in pieces] == [3, 3, 1]
    assert torch.equal(torch.cat([rows for rows, _ in pieces]), ids)
    assert all(torch.equal(mask, rows > 5) for rows, mask in pieces)


# ---- epochs over examples


EXAMPLES = [
    ([10 + i] * (1 + i % 9), [j % 2 == 0 for j in range(1 + i % 9)]) for i in range(23)
]


@pytest.mark.parametrize("batch", [1, 4, 23, 50])
def test_an_epoch_shows_every_example_once_and_the_next_in_another_order(batch):
    rows = shuffled(EXAMPLES, batch, pad=0, seed=5)
    steps = math.ceil(len(EXAMPLES) / batch)
    epochs = [
        [int(i) for step in range(e * steps, (e + 1) * steps) for i in rows(step)[0][:, 0]]
        for e in range(2)
    ]  # fmt: skip
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10, 33))
    assert epochs[0] != epochs[1]


def test_padding_stands_on_the_right_and_counts_nowhere():
    ids, mask = shuffled(EXAMPLES, batch=23, pad=0)(0)
    assert ids.shape == mask.shape == (23, 9)
    assert mask.dtype == torch.bool
    for row, keep in zip(ids.tolist(), mask.tolist(), strict=True):
        own_ids, own_mask = EXAMPLES[row[0] - 10]
        assert row == own_ids + [0] * (9 - len(own_ids))
        assert keep == own_mask + [False] * (9 - len(own_mask))


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1), batch=st.integers(1, 9))
def test_batches_of_an_epoch_partition_the_examples_into_nearly_equal_sizes(
    lengths, batch
):
    pieces = epoch_of(torch.tensor(lengths), batch, seeded(0, 0))
    assert sorted(torch.cat(pieces).tolist()) == list(range(len(lengths)))
    sizes = {len(piece) for piece in pieces}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_similar_lengths_share_a_batch_so_that_little_is_padding():
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 60, (640,), generator=draw)

    def padding(batches):
        places = sum(len(b) * int(lengths[b].max()) for b in batches)
        return 1 - int(lengths.sum()) / places

    assert padding(epoch_of(lengths, 16, seeded(0, 0))) < 0.1
    assert padding(torch.arange(640).split(16)) > 0.4


def test_short_examples_are_not_shown_before_long_ones():
    lengths, gaps = torch.arange(160), []  # one pool: sorted as a whole
    for epoch in range(40):
        means = [b.float().mean() for b in epoch_of(lengths, 10, seeded(0, epoch))]
        gaps.append(sum(means[8:]) / 8 - sum(means[:8]) / 8)
    assert abs(sum(gaps) / 40) < 15  # in order of length it would be 80; one sigma is 4
