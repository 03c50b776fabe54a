"""Audits: accuracy with ties, calibration that was planted, a bias for length that was planted."""

import math

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from course_lib.reward.audit import (
    accuracy_by_length,
    accuracy_error,
    best_line,
    calibration,
    calibration_error,
    correlation,
    effect,
    pairwise_accuracy,
)
from course_lib.reward.climbing import hill_climb, in_context, neighbours
from course_lib.reward.ensemble import Ensemble, cautious, standardise, worst


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- accuracy


def test_accuracies_on_paper():
    chosen, rejected = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 4.0])
    assert pairwise_accuracy(chosen, rejected) == 0.5
    assert pairwise_accuracy(chosen[:2], rejected[:2]) == 0.75
    assert pairwise_accuracy(torch.zeros(4), torch.zeros(4)) == 0.5


@given(some.lists(some.tuples(some.integers(0, 3), some.integers(0, 3)), min_size=1))
def test_accuracy_counts_pairs_one_by_one_and_turns_around_with_the_labels(pairs):
    chosen, rejected = torch.tensor(pairs).float().unbind(1)
    slow = sum(1.0 if c > r else 0.5 if c == r else 0.0 for c, r in pairs)
    found = pairwise_accuracy(chosen, rejected)
    assert float(found) == pytest.approx(slow / len(pairs))
    assert float(pairwise_accuracy(rejected, chosen)) == pytest.approx(1 - float(found))
    assert pairwise_accuracy(chosen.exp() + 5, rejected.exp() + 5) == found


def test_accuracy_refuses_nan_and_nothing():
    one, broken = torch.zeros(2), torch.tensor([0.0, math.nan])
    with pytest.raises(ValueError, match="rejected answer at place 1 is nan"):
        pairwise_accuracy(one, broken)
    with pytest.raises(ValueError, match="chosen answer at place 1 is nan"):
        pairwise_accuracy(broken, one)
    with pytest.raises(ValueError, match="Each chosen answer has its rejected one"):
        pairwise_accuracy(one, torch.zeros(3))
    with pytest.raises(ValueError, match="There is no reward"):
        pairwise_accuracy(torch.zeros(0), torch.zeros(0))


def test_the_error_of_an_accuracy_is_that_of_drawn_shares():
    shares = torch.rand(4000, 50, generator=seeded()).lt(0.8).double().mean(dim=1)
    assert accuracy_error(0.8, 50) == pytest.approx(float(shares.std()), rel=0.05)


# ---- calibration


def drawn_pairs(count, stretch=1.0):
    """Pairs labelled by Bradley and Terry; the judge's gaps are stretched."""
    gaps = torch.randn(count, generator=seeded(), dtype=torch.float64) * 2
    first = torch.rand(count, generator=seeded(1), dtype=torch.float64) < gaps.sigmoid()
    gaps = torch.where(first, gaps, -gaps) * stretch  # the chosen answer first
    return gaps, torch.zeros_like(gaps)


def test_a_judge_who_is_as_sure_as_he_may_be_is_calibrated():
    table = calibration(*drawn_pairs(40000), bins=5)
    assert table.counts.sum() == 40000
    errors = (table.observed * (1 - table.observed) / table.counts).sqrt()
    assert ((table.predicted - table.observed).abs() < 5 * errors).all()
    assert calibration_error(table) < 0.01


def test_a_judge_who_is_too_sure_promises_more_than_happens():
    table = calibration(*drawn_pairs(40000, stretch=4.0), bins=5)
    assert (table.predicted[1:] > table.observed[1:] + 0.05).all()
    assert calibration_error(table) > 0.1


def test_calibration_on_paper_and_empty_bins_are_left_out():
    gap = math.log(0.95 / 0.05)
    table = calibration(torch.tensor([gap, gap, -gap, 0.0]), torch.zeros(4), bins=5)
    assert table.counts.tolist() == [1, 3]
    torch.testing.assert_close(table.predicted, torch.tensor([0.5, 0.95]).double())
    torch.testing.assert_close(table.observed, torch.tensor([0.5, 2 / 3]).double())


# ---- length


def test_correlation_and_line_are_scipys():
    x = torch.randn(80, generator=seeded(), dtype=torch.float64)
    y = 0.5 * x + torch.randn(80, generator=seeded(1), dtype=torch.float64)
    theirs = stats.linregress(x.numpy(), y.numpy())
    assert correlation(x, y) == pytest.approx(theirs.rvalue)
    slope, height = best_line(x, y)
    assert (slope, height) == pytest.approx((theirs.slope, theirs.intercept))
    assert correlation(x, y) == pytest.approx(numpy.corrcoef(x, y)[0, 1])
    with pytest.raises(ValueError, match="same number everywhere"):
        correlation(x, torch.ones(80))


def test_a_judge_of_words_alone_is_right_where_the_better_answer_is_longer():
    draw = seeded()
    chosen_lengths = torch.randint(1, 40, (500,), generator=draw)
    rejected_lengths = torch.randint(1, 40, (500,), generator=draw)
    lengths = chosen_lengths, rejected_lengths
    words = accuracy_by_length(*(side.float() for side in lengths), *lengths)
    assert (words.longer, words.shorter, words.drop) == (1.0, 0.0, 1.0)
    equal = int((chosen_lengths == rejected_lengths).sum())
    assert words.longer_pairs + words.shorter_pairs == 500 - equal
    fair = accuracy_by_length(torch.ones(500), torch.zeros(500), *lengths)
    assert fair.drop == 0.0


def test_a_side_without_pairs_is_nan_and_no_error():
    one_sided = accuracy_by_length(
        torch.ones(2), torch.zeros(2), torch.tensor([5, 6]), torch.tensor([1, 2])
    )
    assert one_sided.longer == 1.0
    assert math.isnan(one_sided.shorter)
    assert one_sided.shorter_pairs == 0


def test_a_planted_price_of_a_word_is_found_in_controlled_pairs():
    extra = torch.arange(200) % 5 + 1
    plain = torch.randn(200, generator=seeded())
    noise = 0.1 * torch.randn(200, generator=seeded(1))
    found = effect(plain, plain + 0.2 * extra + noise)
    assert abs(found.mean - 0.6) < 5 * found.error
    assert found.error < 0.05
    slope, _ = best_line(extra.double(), (0.2 * extra + noise).double())
    assert slope == pytest.approx(0.2, abs=0.02)
    with pytest.raises(ValueError, match="One pair tells no error"):
        effect(plain[:1], plain[:1])


# ---- ensembles


def test_a_standardised_reward_knows_no_zero_and_no_unit():
    rewards, reference = torch.randn(2, 30, generator=seeded())
    found = standardise(rewards, reference)
    torch.testing.assert_close(
        standardise(3 * rewards + 7, 3 * reference + 7), found, rtol=1e-4, atol=1e-5
    )
    own = standardise(reference, reference)
    assert float(own.mean()) == pytest.approx(0, abs=1e-6)
    assert float(own.std()) == pytest.approx(1)
    with pytest.raises(ValueError, match="all equal"):
        standardise(rewards, torch.ones(5))
    with pytest.raises(ValueError, match="all equal"):
        standardise(rewards, torch.ones(1))


def test_caution_costs_where_members_disagree_and_only_there():
    said = torch.tensor([[1.0, 3.0], [1.0, -1.0], [1.0, 1.0]])
    spread = math.sqrt(8 / 3)
    torch.testing.assert_close(cautious(said), torch.tensor([1.0, 1.0 - spread]))
    assert cautious(said, 0.0).equal(said.mean(dim=0))
    assert cautious(said[:1]).equal(said[0])
    assert worst(said).tolist() == [1.0, -1.0]
    assert (worst(said) <= cautious(said, 0.0)).all()


class Counts(torch.nn.Module):
    """A reward that adds up token numbers, in a unit of its own."""

    def __init__(self, unit):
        super().__init__()
        self.unit = torch.nn.Parameter(torch.tensor(unit))

    def forward(self, ids, mask=None):
        return ids.sum(dim=1) * self.unit + 5


def test_members_of_an_ensemble_are_measured_in_one_unit():
    ids = torch.tensor([[1, 2], [3, 4], [9, 9]])
    members = [Counts(1.0), Counts(100.0)]
    references = [member(ids).detach() for member in members]
    ensemble = Ensemble(members, references)
    one, other = ensemble.each(ids)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(ensemble(ids), one, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="2 members, 1 references"):
        Ensemble(members, references[:1])


# ---- climbing


def test_a_climb_never_falls_changes_one_token_a_step_and_finds_the_top():
    climb = hill_climb(
        lambda ids: ids.sum(1).float(), [3, 3, 3], range(7), 60, generator=seeded()
    )
    assert climb.ids[0] == [3, 3, 3]
    assert climb.ids[-1] == [6, 6, 6]
    assert climb.rewards == sorted(climb.rewards)
    for one, other in zip(climb.ids, climb.ids[1:], strict=False):
        assert sum(a != b for a, b in zip(one, other, strict=True)) <= 1
    for ids, reward in zip(climb.ids, climb.rewards, strict=True):
        assert sum(ids) == reward


def test_where_no_try_is_better_the_answer_stays_as_it_is():
    climb = hill_climb(
        lambda ids: ids.sum(1).float(),
        [6, 6],
        range(7),
        20,
        tries=1,
        generator=seeded(),
    )
    assert climb.ids == [[6, 6]] * 21
    assert climb.rewards == [12.0] * 21


def test_neighbours_differ_in_one_place_and_hold_only_what_may_be_put_in():
    answer = torch.tensor([1, 1, 1, 1])
    rows = neighbours(answer, torch.tensor([5, 6]), 200, seeded())
    assert ((rows != answer).sum(dim=1) == 1).all()
    assert set(rows.flatten().tolist()) == {1, 5, 6}
    assert set((rows != answer).int().argmax(dim=1).tolist()) == {0, 1, 2, 3}


def test_an_answer_is_scored_between_its_prompt_and_its_end():
    seen = []

    def model(ids):
        seen.append(ids)
        return ids.float().sum(dim=1)

    score = in_context(model, [2, 7, 3], end=1)
    assert score(torch.tensor([[8, 9], [4, 4]])).tolist() == [30.0, 21.0]
    assert seen[0].tolist() == [[2, 7, 3, 8, 9, 1], [2, 7, 3, 4, 4, 1]]


def test_a_climb_refuses_nan_and_nothing():
    with pytest.raises(ValueError, match="The reward at place 0 is nan"):
        hill_climb(lambda ids: torch.full((len(ids),), math.nan), [1], [2])
    with pytest.raises(ValueError, match="an answer to change"):
        hill_climb(lambda ids: ids.sum(1), [], [2])
