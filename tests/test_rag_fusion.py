"""MMR, reciprocal ranks, weighted scores: on paper, invariants, slow loops, RRF by pandas' ranks."""

import itertools
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.fusion import (
    mmr,
    reciprocal_rank_fusion,
    scaled,
    weighted_fusion,
    without_copies,
)
from course_lib.rag.nearest import top_k, unit

FEW = settings(max_examples=60, deadline=None)
RANKINGS = some.lists(
    some.permutations("abcdef").flatmap(lambda p: some.integers(0, 6).map(lambda n: p[:n])),
    min_size=1,
    max_size=4,
)  # fmt: skip


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def at(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# ---- MMR


def test_mmr_on_paper():
    """A query at 0 degrees; two copies at 10, one at 30 on the other side, one at 80."""
    vectors, query = at(10, 10, -30, 80), at(0)[0]
    cos = {d: float(np.cos(np.radians(d))) for d in (0, 10, 30, 40, 80, 70, 110)}
    assert mmr(query, vectors, 4, lam=1.0) == [0, 1, 2, 3]
    # after place 0: the copy has .5 (cos 10 - 1), -30 has .5 (cos 30 - cos 40), 80 less
    gains = [0.5 * (cos[10] - 1), 0.5 * (cos[30] - cos[40]), 0.5 * (cos[80] - cos[70])]
    assert max(gains) == gains[1]
    assert mmr(query, vectors, 2) == [0, 2]
    # then: copy -.008, 80: .5 (cos 80 - max(cos 70, cos 110))
    assert mmr(query, vectors, 4) == [0, 2, 1, 3]
    assert mmr(query, vectors, 3, lam=0.0) == [0, 3, 2]


@given(some.integers(0, 10**6), some.integers(1, 14))
@FEW
def test_lambda_1_is_plain_search(seed, k):
    vectors, query = drawn(12, 3, seed=seed), drawn(3, seed=seed + 1)
    vectors[3] = vectors[7]  # a tie
    expected = top_k(unit(vectors) @ unit(query), k)
    assert mmr(query, vectors, k, lam=1.0) == expected.tolist()


@given(some.integers(0, 10**6), some.sampled_from([0.0, 0.3, 0.5, 0.9]))
@FEW
def test_a_loop_over_pairs_agrees(seed, lam):
    vectors, query = drawn(9, 4, seed=seed), drawn(4, seed=seed + 1)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    chosen = []
    while len(chosen) < 9:
        gains = {
            i: lam * cosine(vectors[i], query)
            - (1 - lam)
            * max((cosine(vectors[i], vectors[j]) for j in chosen), default=0)
            for i in range(9)
            if i not in chosen
        }
        best = max(gains.values())
        chosen.append(next(i for i, gain in gains.items() if gain > best - 1e-12))
    assert mmr(query, vectors, 9, lam) == chosen


def test_a_smaller_lambda_says_less_twice():
    base = drawn(5, 16)
    vectors = np.repeat(base, 8, axis=0) + 0.05 * drawn(40, 16, seed=1)
    query = base[0] + 0.8 * base[1:].sum(axis=0)

    def likeness(lam):
        chosen = unit(vectors[mmr(query, vectors, 5, lam)])
        return np.mean([a @ b for a, b in itertools.combinations(chosen, 2)])

    found = [likeness(lam) for lam in (1.0, 0.5, 0.2)]
    assert found[0] > 0.7
    assert found[0] > found[1] > found[2] - 1e-9
    assert len({i // 8 for i in mmr(query, vectors, 5, 0.5)}) == 5


def test_more_than_there_is_zeros_and_wrong_lambdas():
    vectors, query = drawn(3, 4), drawn(4, seed=1)
    assert sorted(mmr(query, vectors, 99)) == [0, 1, 2]
    assert mmr(query, np.empty((0, 4)), 3) == []
    assert sorted(mmr(np.zeros(4), vectors, 2)) != []
    with pytest.raises(ValueError, match=r"not at 1\.5"):
        mmr(query, vectors, 2, lam=1.5)
    with pytest.raises(AssertionError, match=r"query\.shape"):
        mmr(drawn(5), vectors, 2)


def test_copies_are_left_out_and_the_first_stays():
    assert without_copies(at(0, 1, 50, 51, 0), threshold=0.99) == [0, 2]
    assert without_copies(at(0, 10, 20, 30), threshold=0.95) == [0, 2]  # 20 of 0: .94
    assert without_copies(np.empty((0, 3))) == []
    assert without_copies(np.zeros((3, 2))) == [
        0,
        1,
        2,
    ]  # like nothing, not like each other
    assert without_copies(at(0, 90, 0), threshold=1.5) == [0, 1, 2]


# ---- reciprocal ranks


def test_fusion_on_paper():
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"]])
    assert dict(fused) == pytest.approx(
        {"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62}
    )
    assert [item for item, _ in fused] == ["a", "c", "b"]


def test_two_second_places_beat_one_first():
    fused = reciprocal_rank_fusion([["a", "x"], ["b", "x"]])
    assert [item for item, _ in fused] == ["x", "a", "b"]
    sharp = reciprocal_rank_fusion([["a", "x"], ["b", "x"]], constant=0)
    assert sharp[0][1] == sharp[1][1] == sharp[2][1] == 1.0


@given(RANKINGS)
@FEW
def test_exact_fractions_agree_and_ties_keep_the_order_of_meeting(rankings):
    sums = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] = sums.get(item, 0) + Fraction(1, 60 + rank)
    expected = sorted(sums.items(), key=lambda pair: -pair[1])
    fused = reciprocal_rank_fusion(rankings)
    assert [item for item, _ in fused] == [item for item, _ in expected]
    np.testing.assert_allclose(
        [score for _, score in fused], [float(score) for _, score in expected]
    )


@given(RANKINGS)
@FEW
def test_pandas_adds_up_the_same(rankings):
    rows = [
        (item, i, rank)
        for i, r in enumerate(rankings)
        for rank, item in enumerate(r, 1)
    ]
    table = pd.DataFrame(rows, columns=["item", "way", "rank"])
    theirs = (1 / (60 + table["rank"].astype(float))).groupby(table["item"]).sum()
    fused = dict(reciprocal_rank_fusion(rankings))
    assert fused == pytest.approx(theirs.to_dict())


@given(RANKINGS)
@FEW
def test_the_order_of_the_rankings_changes_no_sum(rankings):
    there = dict(reciprocal_rank_fusion(rankings))
    assert there == dict(reciprocal_rank_fusion(rankings[::-1]))


def test_one_ranking_stays_as_it_is_and_none_is_none():
    assert [item for item, _ in reciprocal_rank_fusion(["cab"])] == ["c", "a", "b"]
    assert reciprocal_rank_fusion([]) == reciprocal_rank_fusion([[], []]) == []
    with pytest.raises(ValueError, match="names 'a' twice"):
        reciprocal_rank_fusion([["a", "b", "a"]])


# ---- scores


def test_scores_of_other_scales_cannot_be_added_and_ranks_can():
    """BM25 goes up to 30 and a cosine to 1: the sum is BM25's ranking alone."""
    bm25, cosine = np.array([25.0, 24.0, 2.0]), np.array([0.1, 0.8, 0.9])
    assert top_k(bm25 + cosine, 3).tolist() == top_k(bm25, 3).tolist() == [0, 1, 2]
    assert top_k(weighted_fusion([bm25, cosine], [1, 1]), 1).tolist() == [1]
    rankings = [top_k(row, 3).tolist() for row in (bm25, cosine)]
    scores = dict(reciprocal_rank_fusion(rankings))
    # a change of scale changes the plain sum and nothing else
    assert top_k(bm25 / 1_000 + cosine, 3).tolist() == [2, 1, 0]
    again = [top_k(row, 3).tolist() for row in (bm25 / 1_000, cosine)]
    assert dict(reciprocal_rank_fusion(again)) == scores
    np.testing.assert_allclose(
        weighted_fusion([bm25 / 1_000, cosine], [1, 1]),
        weighted_fusion([bm25, cosine], [1, 1]),
    )


def test_scaling_goes_from_0_to_1_and_equal_scores_say_nothing():
    assert scaled(np.array([3.0, 5.0, 4.0])).tolist() == [0, 1, 0.5]
    assert scaled(np.array([7.0, 7.0])).tolist() == [0, 0]
    assert scaled(np.array([])).tolist() == []
    one = weighted_fusion([np.array([1.0, 2.0]), np.array([9.0, 0.0])], [3, 1])
    assert one.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("weights", [[1], [0, 0], [2, -1], [1, 1, 1]])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match="One weight for each of 2"):
        weighted_fusion([np.zeros(2), np.zeros(2)], weights)
