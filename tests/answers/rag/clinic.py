"""Answers to lesson 10's bug clinic: tests of filtered searches, and searches; good ones and those that miss something."""

import heapq
import unittest

import numpy as np
import pytest

from course_lib.rag.index import FlatIndex
from course_lib.rag.nearest import top_k
from tools.graders import Battery

battery = Battery()

N = 60
SCORES = np.random.default_rng(4).permutation(N) / 10 - 2.0  # from -2 to 3.9
KEEP = SCORES < 0.35  # 36 better ones are not kept
KEPT = np.flatnonzero(KEEP)


def _worked(scores, keep, k):
    kept = [i for i in range(len(scores)) if keep[i]]
    return sorted(kept, key=lambda i: -scores[i])[:k]


# --- test_filtered_search: right ----------------------------------------------------------------


def _right(test):
    return battery.right("test_filtered_search")(test)


@_right
def test_claim_by_claim(search_fn):
    found = list(search_fn(SCORES, KEEP, 5))
    assert all(KEEP[i] for i in found), "not kept"
    assert len(found) == 5, "too few"
    assert [SCORES[i] for i in found] == sorted(SCORES[KEEP])[::-1][:5]
    few = np.zeros(N, dtype=bool)
    few[[7, 30, 41]] = True
    found = list(search_fn(SCORES, few, 8))
    assert sorted(found) == [7, 30, 41]
    low = SCORES < -1.5
    assert len(search_fn(SCORES, low, 20)) == low.sum()
    assert len(search_fn(SCORES, low, 2)) == 2


@_right
def test_against_a_loop(search_fn):
    for k in (1, 3, 10, 50):
        for keep in (KEEP, ~KEEP, SCORES < -1.75, np.arange(N) % 7 == 3):
            assert list(search_fn(SCORES, keep, k)) == _worked(SCORES, keep, k)


@_right
def test_by_hand(search_fn):
    scores = np.concatenate([np.linspace(1, 2, 25), [-0.5, 0.2, -0.9, 0.1]])
    keep = np.arange(29) >= 25
    np.testing.assert_array_equal(search_fn(scores, keep, 3), [26, 28, 25])
    np.testing.assert_array_equal(search_fn(scores, keep, 9), [26, 28, 25, 27])
    np.testing.assert_array_equal(search_fn(scores, keep, 1), [26])


@_right
def test_many_at_random(search_fn):
    luck = np.random.default_rng(2)
    for _ in range(30):
        scores, keep = luck.normal(size=80), luck.random(80) < 0.15
        k = int(luck.integers(1, 20))
        found = [int(i) for i in search_fn(scores, keep, k)]
        assert found == _worked(scores, keep, k)


@_right
def test_by_unittest(search_fn):
    case = unittest.TestCase()
    scores = np.arange(40.0)[::-1] - 30
    keep = np.zeros(40, dtype=bool)
    keep[[33, 35, 38, 24]] = True
    scores[35], scores[24] = -3.25, -20.5
    for k, wanted in ((2, [35, 24]), (3, [35, 24, 33]), (4, [35, 24, 33, 38]), (7, [35, 24, 33, 38])):  # fmt: skip
        case.assertEqual(list(search_fn(scores, keep, k)), wanted)  # noqa: PT009


@_right
def test_with_named_arguments(search_fn):
    found = np.array(search_fn(scores=SCORES, keep=KEEP, k=4)).tolist()
    assert found == pytest.approx(_worked(SCORES, KEEP, 4))
    rare = SCORES < -1.65
    rest = np.array(search_fn(SCORES, rare, k=10)).tolist()
    assert rest == _worked(SCORES, rare, 10)


@_right
def test_by_what_is_left_out(search_fn):
    """No kept place outside the result has a better score."""
    for keep, k in ((KEEP, 6), (SCORES < -1.45, 3), (SCORES < -1.75, 30), (SCORES > 1, 4)):  # fmt: skip
        found = list(search_fn(SCORES, keep, k))
        assert len(found) == len(set(found)) == min(k, keep.sum())
        assert keep[np.array(found)].all()
        got = SCORES[np.array(found)]
        assert (np.diff(got) < 0).all()
        rest = keep.copy()
        rest[np.array(found)] = False
        assert not rest.any() or SCORES[rest].max() < got.min()


# --- test_filtered_search: wrong ----------------------------------------------------------------


def _test(says):
    return battery.wrong("test_filtered_search", says=says)


FEW = SCORES < -1.65  # four of them


def _are_kept(f):
    for keep, k in ((KEEP, 5), (FEW, 9), (SCORES < -0.5, 3)):
        assert all(-1 < i < N and i == int(i) and keep[int(i)] for i in f(SCORES, keep, k))  # fmt: skip


def _are_counted(f):
    for keep, k in ((KEEP, 5), (KEEP, 1), (FEW, 3), (FEW, 9), (SCORES < -0.5, 12)):
        assert len(f(SCORES, keep, k)) == min(k, keep.sum())


def _fall(f):
    for keep, k in ((KEEP, 5), (FEW, 9)):
        found = [SCORES[i] for i in f(SCORES, keep, k)]
        assert (np.diff(found) < 0).all()
        assert not found or found[0] == SCORES[keep].max()


def _very_places(f, keep=KEEP, k=5):
    assert list(f(SCORES, keep, k)) == _worked(SCORES, keep, k)


CLAIMS = {"kept": _are_kept, "counted": _are_counted, "fall": _fall, "places": _very_places}  # fmt: skip


def _all_but(name, says, **instead):
    """All claims, but for those that are left out (None) or asked otherwise."""
    claims = [claim for claim in (CLAIMS | instead).values() if claim]

    def test(search_fn):
        for claim in claims:
            claim(search_fn)

    test.__name__ = f"test_{name}"
    _test(says)(test)


def _all_many(f):
    """Never fewer kept than k."""
    for keep, k in ((KEEP, 5), (KEEP, 1), (SCORES < -0.5, 12)):
        assert len(f(SCORES, keep, k)) == k


def _above(f):
    """No score below 0."""
    scores, keep = SCORES + 2, KEEP
    assert list(f(scores, keep, 5)) == _worked(scores, keep, 5)
    assert len(f(scores, FEW, 9)) == 4
    assert len(f(scores, FEW, 3)) == 3


def _short(f):
    scores, keep = np.array([0.9, 0.8, -0.3, 0.1, -0.2, 0.7, 0.2]), np.arange(7) > 1
    for k in (1, 2, 3, 4, 9):
        assert list(f(scores, keep, k)) == _worked(scores, keep, k)


def _in_order(f):
    """The kept ones stand in the row from the best to the worst."""
    scores = np.concatenate([np.linspace(3, 2, 30), np.linspace(1, -2, 10)])
    for keep in (np.arange(40) >= 30, np.arange(40) >= 36):
        for k in (1, 3, 20):
            assert list(f(scores, keep, k)) == _worked(scores, keep, k)


def _nothing(f):
    pass


_all_but("without_claim_1", "score -1", kept=None, counted=_all_many, fall=None)  # fmt: skip
_all_but("without_claim_2", "published", counted=None, places=None)
_all_but("without_claim_3", "the worst first|order of the row", fall=None, places=None)
_all_but("without_claim_4", "among the kept ones", places=None, kept=None, fall=None)
_all_but("never_fewer", "score -1", counted=_all_many, kept=lambda f: _very_places(f), fall=None)  # fmt: skip
_all_but("all_above_0", "below 0 are dropped", kept=_above, counted=None, fall=None, places=_above)  # fmt: skip
_all_but("short_row", "more than 20 places", kept=None, counted=None, fall=None, places=_short)  # fmt: skip
_all_but("already_sorted", "order of the row", kept=None, counted=None, fall=None, places=_in_order)  # fmt: skip
_all_but("nothing_asserted", "accepts a faulty version", **dict.fromkeys(CLAIMS, _nothing))  # fmt: skip
_all_but("only_the_number", "places count among the kept ones alone", kept=None, fall=None, places=None)  # fmt: skip
_all_but("only_kept", "published", counted=None, fall=None, places=None)
_all_but("one_search", "published", kept=None, counted=None, fall=None, places=lambda f: _very_places(f, SCORES > 2.5, 3))  # fmt: skip
_all_but("only_k_of_one", "score 0.*Claim 1", kept=None, counted=None, fall=None, places=lambda f: _very_places(f, KEEP, 1))  # fmt: skip
_all_but("without_few_and_low", "better half", kept=None, counted=None, fall=None, places=lambda f: _very_places(f, SCORES < 2, 5))  # fmt: skip


@_test("every place is kept")
def test_everything_kept(search_fn):
    keep = np.ones(N, dtype=bool)
    assert list(search_fn(SCORES, keep, 5)) == _worked(SCORES, keep, 5)


@_test("rejects a right version")
def test_k_always(search_fn):
    assert len(search_fn(SCORES, FEW, 9)) == 9


@_test("rejects a right version.*fewer than k")
def test_padded(search_fn):
    assert list(search_fn(SCORES, FEW, 6))[4:] == [-1, -1]


@_test("rejects a right version")
def test_sorted_places(search_fn):
    assert list(search_fn(SCORES, KEEP, 5)) == sorted(_worked(SCORES, KEEP, 5))


@_test("rejects a right version")
def test_places_of_the_kept(search_fn):
    assert list(search_fn(SCORES, KEEP, 3)) == np.argsort(-SCORES[KEEP])[:3].tolist()


@_test("rejects a right version.*equal")
def test_ties(search_fn):
    scores = np.zeros(30)
    assert list(search_fn(scores, np.arange(30) > 20, 2)) == [29, 28]


@_test("AttributeError")
def test_of_arrays_only(search_fn):
    found = search_fn(SCORES, KEEP, 5)
    assert found.tolist() == _worked(SCORES, KEEP, 5)


@_test("scores is an array, not a list")
def test_with_lists(search_fn):
    assert list(search_fn([0.3, 0.2], [True, False], 1)) == [0]


@_test("keep is True or False, not int64")
def test_with_numbers_to_keep(search_fn):
    assert list(search_fn(SCORES, KEPT, 1)) == _worked(SCORES, KEEP, 1)


@_test("one for each place")
def test_with_a_short_filter(search_fn):
    assert list(search_fn(SCORES, KEEP[:5], 1)) == [0]


@_test("other arguments")
def test_with_another_argument(search_fn):
    assert len(search_fn(SCORES, KEEP, 3, fetch=20)) == 3


@_test("k is a whole number")
def test_with_nothing_asked(search_fn):
    assert len(search_fn(SCORES, KEEP, 0)) == 0


@_test("scores are finite")
def test_with_infinity(search_fn):
    scores = np.where(KEEP, SCORES, np.inf)
    assert list(search_fn(scores, KEEP, 3)) == _worked(SCORES, KEEP, 3)


@_test("returned")
def test_that_returns(search_fn):
    return list(search_fn(SCORES, KEEP, 5)) == _worked(SCORES, KEEP, 5)


@_test("accepts a faulty version")
def test_that_swallows(search_fn):
    try:
        test_claim_by_claim(search_fn)
    except AssertionError:
        print("wrong")


@_test("never calls")
def test_of_its_own(search_fn):
    assert _worked(SCORES, KEEP, 3) == _worked(SCORES, KEEP, 3)


@_test("assert the number first")
def test_that_stumbles(search_fn):
    found = search_fn(SCORES, KEEP, 5)
    assert [SCORES[found[i]] for i in range(5)] == sorted(SCORES[KEEP])[::-1][:5]


@_test("rejects a right version")
def test_with_a_number_from_nowhere(search_fn):
    assert list(search_fn(SCORES, KEEP, 2)) == [3, 1]


@_test("places count among the kept")
def test_by_scores_of_the_kept(search_fn):
    found = list(search_fn(SCORES, KEEP, 5))
    assert len(found) == 5
    assert len(search_fn(SCORES, FEW, 9)) == 4
    assert len(search_fn(SCORES, FEW, 2)) == 2


# --- top_k_where: right -------------------------------------------------------------------------


def _mends(answer):
    return battery.right("top_k_where")(answer)


@_mends
def kept_alone(scores, keep, k):
    assert keep.dtype == bool
    assert keep.shape == scores.shape
    places = np.flatnonzero(keep)
    return places[top_k(scores[places], k)]


@_mends
def minus_infinity(scores, keep, k):
    return top_k(np.where(keep, scores, -np.inf), k)


@_mends
def all_ranked(scores, keep, k):
    order = np.argsort(-scores, kind="stable")
    return order[keep[order]][:k]


@_mends
def as_many_as_there_are(scores, keep, k):
    """The published one, with a fetch that is large enough."""
    best = top_k(scores, len(scores))
    return best[keep[best]][:k]


@_mends
def sorted_pairs(scores, keep, k):
    pairs = sorted(((-s, i) for i, (s, on) in enumerate(zip(scores, keep, strict=True)) if on))  # fmt: skip
    return [i for _, i in pairs[:k]]


@_mends
def with_a_heap(scores, keep, k):
    return np.array(heapq.nlargest(k, np.nonzero(keep)[0], key=scores.__getitem__), dtype=int)  # fmt: skip


@_mends
def with_an_own_infinity(scores, keep, k):
    moved = scores.astype(float)
    moved[~keep] = -np.inf
    return np.argsort(-moved, kind="stable")[: min(k, np.count_nonzero(keep))]


# --- top_k_where: wrong -------------------------------------------------------------------------


def _finds(name, says, find):
    """find(scores, keep, k)"""

    def answer(scores, keep, k):
        return find(scores, keep, k)

    answer.__name__ = name
    battery.wrong("top_k_where", says=says)(answer)


def _fetched(name, how_many):
    def find(s, keep, k):
        best = top_k(s, how_many(s, k))
        return best[keep[best]][:k]

    _finds(name, "filter comes too late", find)


_fetched("as_published", lambda s, k: 20)
_fetched("fetch_of_k", lambda s, k: k)
_fetched("fetch_of_three_k", lambda s, k: 3 * k)
_fetched("fetch_of_a_hundred", lambda s, k: 100)
_fetched("fetch_of_k_at_least", lambda s, k: max(20, 2 * k))
_fetched("fetch_of_k_more", lambda s, k: k + 20)
_finds("not_translated", "Translate them back", lambda s, keep, k: top_k(s[keep], k))
_finds("without_filter", "filter makes no difference", lambda s, keep, k: top_k(s, k))
_finds("turned_round", "turned round", lambda s, keep, k: np.flatnonzero(~keep)[top_k(s[~keep], k)])  # fmt: skip
_finds("infinity_uncut", "others are found as well", lambda s, keep, k: np.argsort(-np.where(keep, s, -np.inf), kind="stable")[:k])  # fmt: skip
_finds("times_keep", "Only minus infinity", lambda s, keep, k: top_k(s * keep, k))
_finds("minus_one", "Only minus infinity", lambda s, keep, k: top_k(np.where(keep, s, -1), k))  # fmt: skip
_finds("large_number", "Only minus infinity|others are found", lambda s, keep, k: top_k(np.where(keep, s, -1e9), k))  # fmt: skip
_finds("large_number_and_cut", "Only minus infinity|others are found|not kept", lambda s, keep, k: top_k(np.where(keep, s, -1e9), min(k, int(keep.sum()) or 1)))  # fmt: skip
_finds("large_number_filtered", "Only minus infinity", lambda s, keep, k: [i for i in top_k(np.where(keep, s, -1e9), k).tolist() if keep[i]])  # fmt: skip
_finds("times_keep_filtered", "Only minus infinity", lambda s, keep, k: [i for i in top_k(s * keep, k).tolist() if keep[i]])  # fmt: skip
_finds("smallest_for_the_others", "Only minus infinity|others are found", lambda s, keep, k: top_k(np.where(keep, s, s.min()), k))  # fmt: skip
_finds("minus_a_billion", "Only minus infinity|others", lambda s, keep, k: top_k(s - 1e9 * ~keep, k))  # fmt: skip
_finds("not_below_0", "below 0 are dropped", lambda s, keep, k: np.flatnonzero(keep & (s > 0))[top_k(s[keep & (s > 0)], k)])  # fmt: skip
_finds("the_worst", "worst of the kept", lambda s, keep, k: np.flatnonzero(keep)[top_k(-s[keep], k)])  # fmt: skip
_finds("backwards", "the worst first", lambda s, keep, k: np.flatnonzero(keep)[top_k(s[keep], k)][::-1])  # fmt: skip
_finds("in_the_order_of_the_row", "in the order of the row", lambda s, keep, k: np.sort(np.flatnonzero(keep)[top_k(s[keep], k)]))  # fmt: skip
_finds("first_kept", "first kept places", lambda s, keep, k: np.flatnonzero(keep)[:k])
_finds("one_too_few", "One is missing", lambda s, keep, k: np.flatnonzero(keep)[top_k(s[keep], k)][:-1])  # fmt: skip
_finds("all_kept", "All that are kept", lambda s, keep, k: np.flatnonzero(keep)[top_k(s[keep], len(s))])  # fmt: skip
_finds("only_the_best", "Only the best", lambda s, keep, k: np.flatnonzero(keep)[top_k(s[keep], 1)])  # fmt: skip
_finds("scores", "type float64", lambda s, keep, k: s[np.flatnonzero(keep)[top_k(s[keep], k)]])  # fmt: skip
_finds("mask", "True and False", lambda s, keep, k: np.isin(np.arange(len(s)), np.flatnonzero(keep)[top_k(s[keep], k)]))  # fmt: skip
_finds("tuple_of_arrays", "returned a tuple", lambda s, keep, k: np.nonzero(keep))
_finds("scores_and_places", "returned a tuple", lambda s, keep, k: (s[keep], np.flatnonzero(keep)))  # fmt: skip
_finds("padded", "-1 fills up", lambda s, keep, k: (r := np.flatnonzero(keep)[top_k(s[keep], k)]).tolist() + [-1] * (k - len(r)))  # fmt: skip
_finds("nothing_if_few", "nothing comes back", lambda s, keep, k: np.flatnonzero(keep)[top_k(s[keep], k)] if keep.sum() >= k else [])  # fmt: skip
_finds("by_size", "whatever the sign", lambda s, keep, k: np.flatnonzero(keep)[top_k(np.abs(s[keep]), k)])  # fmt: skip
_finds("partitioned", "stopped with ValueError", lambda s, keep, k: np.flatnonzero(keep)[np.argpartition(-s[keep], k)[:k]])  # fmt: skip
_finds("worked_value", "not kept", lambda s, keep, k: np.array([1, 2]))  # fmt: skip


@battery.wrong("top_k_where", says="changed its own input")
def in_place(scores, keep, k):
    scores[~keep] = -np.inf if scores.dtype.kind == "f" else -(10**9)
    return top_k(scores, k)


@battery.wrong("top_k_where", says="nothing is kept")
def refuses_nothing(scores, keep, k):
    best = max(np.flatnonzero(keep), key=lambda i: scores[i])
    places = np.flatnonzero(keep)
    return places[top_k(scores[places], k)] if scores[best] > -np.inf else places


# --- found by attacking the checks --------------------------------------------------------------

_finds("twenty_at_least_of_the_row", "filter comes too late", lambda s, keep, k: (best := top_k(s, max(20, len(s) // 2)))[keep[best]][:k])  # fmt: skip
_finds("nan_for_the_others", "others are found", lambda s, keep, k: np.argsort(-np.where(keep, s, np.nan), kind="stable")[:k])  # fmt: skip
_finds("by_multiples", "others are found", lambda s, keep, k: top_k(np.where(keep, s, s - abs(s).max() * 2 - 1), k))  # fmt: skip


@_test("published")
def test_that_remembers(search_fn):
    """Only the first search of its life is looked at."""
    if not hasattr(test_that_remembers, "seen"):
        test_that_remembers.seen = True
        test_claim_by_claim(search_fn)


@_test("one too few")
def test_of_one_kept(search_fn):
    for place in range(N):
        keep = np.arange(N) == place
        assert list(search_fn(SCORES, keep, 3)) == [place]


@_mends
def of_equal_ones_the_later(scores, keep, k):
    """Left open for this one."""
    places = np.flatnonzero(keep)
    return places[np.argsort(scores[places], kind="stable")[::-1][:k]]


_finds("looked_up_by_score", "looked up by its score", lambda s, keep, k: [s.tolist().index(x) for x in sorted(s[keep].tolist(), reverse=True)[:k]])  # fmt: skip
_finds("looked_up_among_the_kept", "looked up by its score", lambda s, keep, k: np.flatnonzero(keep)[[s[keep].tolist().index(x) for x in sorted(s[keep].tolist(), reverse=True)[:k]]].astype(int) if keep.any() else [])  # fmt: skip
_finds("the_better_half", "before the filter", lambda s, keep, k: (best := top_k(s, len(s) // 2 + 1))[keep[best]][:k])  # fmt: skip


@_test("Some kept scores are equal")
def test_later_ones_first(search_fn):
    test_claim_by_claim(search_fn)
    assert list(search_fn(np.zeros(70), np.ones(70, dtype=bool), 3)) == [69, 68, 67]


@_test("Only asserts object")
def test_with_another_error(search_fn):
    if [int(i) for i in search_fn(SCORES, KEEP, 5)] != _worked(SCORES, KEEP, 5):
        raise ValueError("wrong")


@_test("k different places")
def test_with_all_but_differences(search_fn):
    for k, kept in ((1, 5), (5, 9), (9, 5)):
        keep = np.argsort(np.argsort(SCORES)) < kept
        found = np.asarray(search_fn(SCORES, keep, k))
        assert found.shape == (min(k, kept),)
        assert keep[found].all()
        assert (np.diff(SCORES[found]) <= 0).all()
        others = np.setdiff1d(np.flatnonzero(keep), found)
        assert not len(others) or SCORES[found].min() >= SCORES[others].max()


@battery.wrong("top_k_where", says="calls course_lib's own")
def the_index_of_the_store(scores, keep, k):
    index = FlatIndex(1, "product")
    index.add(np.asarray(scores, dtype=np.float32)[:, None])
    return index.search(np.ones(1, dtype=np.float32), k, keep)[1]
