"""Figures of retrieval: on paper, by loops, against scikit-learn; thresholds; bootstrap."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.metrics import average_precision_score, ndcg_score

from course_lib.rag.metrics import (
    average_precision,
    discounted_gain,
    evaluate,
    ndcg,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
    with_interval,
)
from course_lib.rag.thresholds import (
    best_threshold,
    cosine_of_distance,
    cosine_of_relevance,
    relevance_of_cosine,
)

RANKED = ["c", "a", "d", "b", "e"]
FEW = settings(max_examples=60, deadline=None)
CASES = some.permutations(range(8)).flatmap(
    lambda order: some.tuples(
        some.just(order),
        some.lists(some.integers(0, 3), min_size=8, max_size=8).filter(any),
        some.integers(1, 10),
    )
)


# ---- on paper


def test_the_figures_of_one_ranking():
    relevant = {"a", "b", "z"}  # z was not found
    assert [recall_at_k(RANKED, relevant, k) for k in (1, 2, 4, 99)] == [
        0, 1 / 3, 2 / 3, 2 / 3,
    ]  # fmt: skip
    assert [precision_at_k(RANKED, relevant, k) for k in (1, 2, 4, 10)] == [
        0, 1 / 2, 1 / 2, 1 / 5,
    ]  # fmt: skip
    assert reciprocal_rank(RANKED, relevant) == 1 / 2
    assert average_precision(RANKED, relevant) == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_ndcg_with_gains_on_paper():
    gains = {"a": 3.0, "b": 1.0, "z": 2.0}
    got = 3 / math.log2(3) + 1 / math.log2(5)
    best = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(RANKED, gains, 5) == pytest.approx(got / best)
    assert ndcg(RANKED, gains, 2) == pytest.approx(
        (3 / math.log2(3)) / (3 + 2 / math.log2(3))
    )
    assert ndcg(RANKED, {"a", "b"}, 5) == ndcg(RANKED, {"a": 1, "b": 1}, 5)


def test_a_right_paper_on_rank_2_is_worth_what_each_figure_says():
    found, right = ["x", "a", "y"], {"a"}
    figures = [
        recall_at_k(found, right, 3),
        precision_at_k(found, right, 3),
        reciprocal_rank(found, right),
        average_precision(found, right),
        ndcg(found, right, 3),
    ]
    assert figures == pytest.approx([1, 1 / 3, 1 / 2, 1 / 2, 0.6309], abs=1e-4)


def test_nothing_found_is_0_and_everything_on_top_is_1():
    for figure in (reciprocal_rank, average_precision):
        assert figure([], {"a"}) == figure(["x"], {"a"}) == 0
        assert figure(["a", "x"], {"a"}) == 1
    for figure in (recall_at_k, ndcg):
        assert figure([], {"a"}, 3) == figure(["x"], {"a"}, 3) == 0
        assert figure(["b", "a", "x"], {"a", "b"}, 2) == 1
    assert precision_at_k([], {"a"}, 3) == 0


# ---- against loops and scikit-learn


@given(CASES)
@FEW
def test_ndcg_and_average_precision_are_scikit_learns(case):
    order, gains, k = case
    scores = np.zeros((1, 8))
    scores[0, list(order)] = np.arange(8, 0, -1)  # no ties: it would average them
    worth = dict(enumerate(map(float, gains)))
    theirs = ndcg_score([gains], scores, k=k)
    assert ndcg(order, worth, k) == pytest.approx(theirs)
    relevant = {item for item, gain in worth.items() if gain}
    theirs = average_precision_score(np.array(gains) > 0, scores[0])
    assert average_precision(order, relevant) == pytest.approx(theirs)


@given(CASES)
@FEW
def test_loops_agree_and_every_figure_lies_between_0_and_1(case):
    order, gains, k = case
    order = order[:6]  # two are not found
    relevant = {item for item, gain in enumerate(gains) if gain}
    hits = [item in relevant for item in order]
    assert recall_at_k(order, relevant, k) == sum(hits[:k]) / len(relevant)
    assert precision_at_k(order, relevant, k) == sum(hits[:k]) / k
    first = hits.index(True) + 1 if any(hits) else math.inf
    assert reciprocal_rank(order, relevant) == 1 / first
    precisions = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
    assert average_precision(order, relevant) == pytest.approx(
        sum(precisions) / len(relevant)
    )
    assert 0 <= ndcg(order, dict(enumerate(gains)), k) <= 1 + 1e-12


@given(CASES)
@FEW
def test_to_move_something_relevant_up_never_costs(case):
    order, gains, k = case
    order, worth = list(order), dict(enumerate(gains))
    relevant = {item for item, gain in worth.items() if gain}
    place = max(i for i, item in enumerate(order) if item in relevant)
    better = [order[place], *order[:place], *order[place + 1 :]]
    for figure in (reciprocal_rank, average_precision):
        assert figure(better, relevant) >= figure(order, relevant) - 1e-12
    assert ndcg(better, relevant, k) >= ndcg(order, relevant, k) - 1e-12
    assert recall_at_k(better, relevant, k) >= recall_at_k(order, relevant, k)


def test_the_discount_is_in_bits_and_begins_at_1():
    assert discounted_gain([]) == 0
    assert discounted_gain([5.0]) == 5
    assert discounted_gain([0, 0, 2.0]) == 1


# ---- the door


def test_what_has_no_figure_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="Nothing is relevant"):
        recall_at_k(RANKED, set(), 3)
    with pytest.raises(ValueError, match="Nothing is relevant"):
        ndcg(RANKED, {"a": 0.0}, 3)
    with pytest.raises(ValueError, match="k=0"):
        recall_at_k(RANKED, {"a"}, 0)
    with pytest.raises(ValueError, match="something twice"):
        reciprocal_rank(["a", "a"], {"a"})
    with pytest.raises(ValueError, match="not one text"):
        reciprocal_rank(RANKED, "a")
    with pytest.raises(ValueError, match="2 rankings for 1 questions"):
        evaluate([RANKED, RANKED], [{"a"}], reciprocal_rank)
    with pytest.raises(ValueError, match="no question"):
        with_interval([])


# ---- many questions


def test_the_interval_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(0.6, 0.2, 400)
    found = with_interval(values.tolist(), coverage=0.9)
    half = 1.645 * values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found == with_interval(values.tolist(), coverage=0.9)
    narrow = with_interval(values.tolist(), coverage=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_differences_at_each_question_are_sharper_than_two_intervals():
    draw = np.random.default_rng(1)
    hard = draw.random(200)
    first, second = hard + 0.05 * draw.random(200), hard
    gap = with_interval((first - second).tolist())
    apart = with_interval(first.tolist()), with_interval(second.tolist())
    assert gap.low > 0
    assert apart[0].low < apart[1].high


def test_equal_values_have_an_interval_of_no_width():
    assert with_interval([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert with_interval([0.25]) == (0.25, 0.25, 0.25)


# ---- thresholds


def test_a_threshold_of_07_means_four_things():
    assert relevance_of_cosine(0.7) == pytest.approx(0.576, abs=5e-4)
    assert cosine_of_relevance(0.7) == pytest.approx(0.788, abs=5e-4)
    assert cosine_of_distance(0.7) == pytest.approx(0.65)
    kept = [c for c in (0.9, 0.8, 0.7) if relevance_of_cosine(c) >= 0.7]
    assert kept == [0.9, 0.8]


@given(some.floats(-1, 1))
@FEW
def test_there_and_back(cosine):
    assert cosine_of_relevance(relevance_of_cosine(cosine)) == pytest.approx(cosine)
    assert cosine_of_distance(2 - 2 * cosine) == pytest.approx(cosine)


def test_it_is_the_librarys_score_of_what_faiss_measures():
    """The score is a function of FAISS's squared distance, which is made for plain ones."""
    import faiss

    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((50, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexFlatL2(8)
    index.add(unit)
    distances, places = index.search(unit[:5], 50)
    cosines = np.take_along_axis(unit[:5] @ unit.T, places, axis=1)
    np.testing.assert_allclose(cosine_of_distance(distances), cosines, atol=1e-5)
    scores = 1 - distances / math.sqrt(2)
    np.testing.assert_allclose(relevance_of_cosine(cosines), scores, atol=1e-5)
    np.testing.assert_allclose(cosine_of_relevance(scores), cosines, atol=1e-5)
    index.reset()
    index.add(vectors)
    assert (1 - index.search(vectors[:5], 50)[0] / math.sqrt(2)).min() < -9


def test_the_best_threshold_on_paper_and_by_trying_all():
    assert best_threshold([0.9, 0.7], [0.3, 0.8]) == pytest.approx((0.5, 0.75))
    assert best_threshold([0.5], [0.5]) == (0.5, 0.5)  # nothing parts them
    draw = np.random.default_rng(0)
    yes, no = draw.normal(0.6, 0.1, 60).tolist(), draw.normal(0.4, 0.1, 30).tolist()
    cut, quality = best_threshold(yes, no)

    def balanced(cut):
        kept = sum(score >= cut for score in yes) / len(yes)
        return (kept + sum(score < cut for score in no) / len(no)) / 2

    assert quality == pytest.approx(balanced(cut))
    assert quality >= max(balanced(x) for x in np.linspace(0, 1, 2_001)) - 1e-12
    with pytest.raises(ValueError, match="both kinds"):
        best_threshold([0.5], [])
