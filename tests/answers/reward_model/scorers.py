"""Answers to lesson 06: tests of any scorer of texts, good ones and those that miss something."""

import itertools
import math
import random
import unittest

import numpy as np
import pytest
import torch

from course_lib.batches import pad_right
from tools.graders import Battery

battery = Battery()

LONG = [2, 40, 41, 42, 3, 50, 51, 52, 1]
SHORT = [2, 60, 3, 70, 1]
OTHER = [2, 80, 81, 3, 90, 91, 1]
TALL = [2, 300, 411, 512, 3, 613, 714, 1]
SMALL = [2, 333, 444, 3, 555, 1]


def _alone(text):
    ids = torch.tensor([text])
    return ids, torch.ones_like(ids, dtype=torch.bool)


def _padded(text, left=0, right=0, fill=0):
    ids = torch.tensor([[fill] * left + text + [fill] * right])
    mask = torch.tensor([[False] * left + [True] * len(text) + [False] * right])
    return ids, mask


def _batch(texts, left=False, fill=0):
    T = max(map(len, texts))
    ids, mask = [], []
    for text in texts:
        room = T - len(text)
        both = ([fill] * room, text) if left else (text, [fill] * room)
        real = ([False] * room, [True] * len(text))
        ids.append(both[0] + both[1])
        mask.append(real[0] + real[1] if left else real[1] + real[0])
    return torch.tensor(ids), torch.tensor(mask)


def _same(a, b):
    return torch.allclose(a, b, atol=1e-4)


# --- test_scorer: right -----------------------------------------------------------------------


@battery.right("test_scorer")
def test_claim_by_claim(score):
    text = [2, 34, 35, 3, 4, 5, 1]
    ids = torch.tensor([text])
    reward = score(ids, torch.ones_like(ids, dtype=torch.bool))
    for left, right, fill in ((0, 2, 0), (3, 0, 9), (0, 1, 8), (1, 0, 0)):
        padded = torch.tensor([[fill] * left + text + [fill] * right])
        mask = torch.zeros_like(padded, dtype=torch.bool)
        mask[:, left : left + len(text)] = True
        assert torch.allclose(score(padded, mask), reward, atol=1e-4), "padding"
    other = [2, 70, 3, 1]  # shorter, so padded
    both = torch.tensor([text, [*other, 0, 0, 0], text[::-1]])
    mask = torch.ones_like(both, dtype=torch.bool)
    mask[1, 4:] = False
    apart = [
        score(torch.tensor([row]), None) for row in (text, other, text[::-1])
    ]  # alone
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2]):
        together = score(both[order], mask[order])
        want = torch.cat([apart[i] for i in order])
        assert torch.allclose(together, want, atol=1e-4), "neighbours"
    for place in (0, 1, len(text) - 1):
        changed = ids.clone()
        changed[0, place] += 7
        other = score(changed, torch.ones_like(ids, dtype=torch.bool))
        assert not torch.allclose(other, reward, atol=1e-6), f"place {place}"


@battery.right("test_scorer")
def test_with_small_functions(score):
    rewards = {len(text): score(*_alone(text)) for text in (LONG, SHORT, OTHER)}
    for text in (LONG, SHORT, OTHER):
        for left, right, fill in itertools.product((0, 1, 4), (0, 2), (0, 1, 77)):
            got = score(*_padded(text, left, right, fill))
            assert _same(got, rewards[len(text)])
    for texts in itertools.permutations((LONG, SHORT, OTHER)):
        for left in (True, False):
            got = score(*_batch(texts, left))
            want = torch.cat([rewards[len(text)] for text in texts])
            assert _same(got, want)
    assert not _same(score(*_alone([*SHORT[:-1], 9])), rewards[5])
    assert not _same(score(*_alone([2, 61, *SHORT[2:]])), rewards[5])


@battery.right("test_scorer")
def test_at_random(score):
    draws = random.Random(3)
    for _ in range(6):
        texts = [
            [draws.randrange(4, 700) for _ in range(draws.randrange(4, 12))]
            for _ in range(3)
        ]
        want = [score(*_alone(text)).item() for text in texts]
        for left in (True, False):
            got = score(*_batch(texts, left, fill=draws.randrange(700))).tolist()
            assert np.allclose(got, want, atol=1e-4)
        for text, reward in zip(texts, want, strict=True):
            for place in (-1, 0):
                changed = list(text)
                changed[place] = (text[place] + 13) % 700
                assert abs(score(*_alone(changed)).item() - reward) > 1e-6


@battery.right("test_scorer")
def test_by_pytest(score):
    alone = [score(*_alone(text)).item() for text in (SHORT, LONG, OTHER)]
    for left, fill in ((True, 5), (False, 5), (True, 0), (False, 0)):
        got = score(*_batch([SHORT, LONG, OTHER], left, fill))
        assert got.tolist() == pytest.approx(alone, abs=1e-4)
        got = score(*_batch([OTHER, LONG, SHORT], left, fill))
        assert got.tolist() == pytest.approx(alone[::-1], abs=1e-4)
    for changed in ([*LONG[:-1], 6], [2, 43, *LONG[2:]]):
        assert score(*_alone(changed)).item() != pytest.approx(alone[1], abs=1e-6)


@battery.right("test_scorer")
def test_by_unittest(score):
    case, want = unittest.TestCase(), score(*_alone(LONG))
    for arguments in (
        _padded(LONG, left=2),
        _padded(LONG, right=2),
        _padded(LONG, 1, 5, 33),
    ):
        case.assertAlmostEqual(score(*arguments).item(), want.item(), places=4)  # noqa: PT009
    for texts in ([SHORT, LONG], [LONG, SHORT], [LONG, OTHER, OTHER], [SHORT, OTHER]):
        got = score(*_batch(texts))
        for row, text in zip(got, texts, strict=True):
            case.assertAlmostEqual(  # noqa: PT009
                row.item(), score(*_alone(text)).item(), places=4
            )
    case.assertNotAlmostEqual(score(*_alone([*LONG[:-1], 9])).item(), want.item())  # noqa: PT009
    case.assertNotAlmostEqual(score(*_alone([2, 9, *LONG[2:]])).item(), want.item())  # noqa: PT009


@battery.right("test_scorer")
def test_in_numpy(score):
    want = np.array([score(*_alone(text)).item() for text in (SHORT, LONG, OTHER)])
    for left, fill, order in itertools.product((0, 1), (0, 4), ([0, 1, 2], [1, 2, 0])):
        texts = [(SHORT, LONG, OTHER)[i] for i in order]
        got = score(*_batch(texts, bool(left), fill)).numpy()
        np.testing.assert_allclose(got, want[order], rtol=1e-4, atol=1e-4)
    ends = [score(*_alone([*LONG[:-1], end])).item() for end in (1, 7, 8, 9)]
    begins = [score(*_alone([2, begin, *LONG[2:]])).item() for begin in (40, 7, 8, 9)]
    assert len(np.unique(np.round(ends, 6))) == 4
    assert len(np.unique(np.round(begins, 6))) == 4


@battery.right("test_scorer")
def test_with_the_librarys_padding(score):
    texts = [SHORT, LONG, OTHER]
    mask = pad_right([[True] * len(text) for text in texts], False)
    alone = torch.cat([score(*_alone(text)) for text in texts])
    for fill in (0, 1, 9):
        torch.testing.assert_close(score(pad_right(texts, fill), mask), alone)
        flipped = pad_right([text[::-1] for text in texts], fill).flip(1)
        torch.testing.assert_close(score(flipped, mask.flip(1)), alone)
    back = [2, 1, 0]
    torch.testing.assert_close(
        score(pad_right(texts, 3)[back], mask[back]), alone[back]
    )
    for place in (0, 1, -1):
        changed = [list(text) for text in texts]
        for text in changed:
            text[place] += 5
        assert (score(pad_right(changed, 0), mask) - alone).abs().min() > 1e-6


@battery.right("test_scorer")
def test_under_the_padding(score):
    """The same mask throughout: what stands where is exchanged."""
    ids, mask = _batch([SHORT, LONG, OTHER], left=True)
    more, real = _batch([LONG, OTHER, SHORT])
    want, less = score(ids, mask), score(more, real)
    for fill in (0, 1, 2, 55):
        assert _same(score(torch.where(mask, ids, fill), mask), want)
        assert _same(score(torch.where(real, more, fill), real), less)
    assert _same(want, less[[2, 0, 1]])
    for i, text in enumerate((SHORT, LONG, OTHER)):
        assert _same(score(*_alone(text)), want[i : i + 1])
    last = real.sum(dim=1) - 1
    changed = more.clone()
    changed[range(3), last] = 9
    assert ((score(changed, real) - less).abs() > 1e-6).all()
    begun = more.clone()
    begun[:, 1] = 9
    assert ((score(begun, real) - less).abs() > 1e-6).all()


@battery.right("test_scorer")
def test_without_both_ends(score):
    """Each row has padding on one side at most, and one token at that."""
    one, two = [2, 30, 31, 3, 32, 1], [2, 40, 3, 41, 1]
    first, second = score(*_alone(one)).item(), score(*_alone(two)).item()
    for texts, want in (((one, two), (first, second)), ((two, one), (second, first))):
        for left, fill in ((True, 0), (False, 0), (True, 8), (False, 8)):
            got = score(*_batch(texts, left, fill))
            assert all(
                math.isclose(a, b, abs_tol=1e-4)
                for a, b in zip(got.tolist(), want, strict=True)
            )
    assert abs(score(*_alone([*one[:-1], 4])).item() - first) > 1e-5
    assert abs(score(*_alone([2, 30, 77, *one[3:]])).item() - first) > 1e-5


@battery.right("test_scorer")
def test_without_a_mask(score):
    """Alone no text needs one, and names may be said."""
    want = [score(torch.tensor([text])).item() for text in (LONG, SHORT, OTHER)]
    for left, fill in itertools.product((True, False), (0, 64)):
        for order in ([0, 1, 2], [1, 2, 0]):
            texts = [(LONG, SHORT, OTHER)[i] for i in order]
            ids, mask = _batch(texts, left, fill)
            got = score(mask=mask, ids=ids.int()).tolist()
            assert got == pytest.approx([want[i] for i in order], abs=1e-4)
    for place in (1, len(LONG) - 1):
        ids = torch.tensor([LONG])
        ids[0, place] = 9
        assert score(ids).item() != pytest.approx(want[0], abs=1e-5)


# --- test_scorer: wrong -----------------------------------------------------------------------


def _test(says):
    return battery.wrong("test_scorer", says=says)


def _padding(score, text=LONG, fills=(0, 77), sides=((2, 0), (0, 3))):
    want = score(*_alone(text))
    for (left, right), fill in itertools.product(sides, fills):
        assert _same(score(*_padded(text, left, right, fill)), want), "padding"


def _neighbours(score, orders=((SHORT, LONG, OTHER), (OTHER, LONG, SHORT))):
    for texts in orders:
        want = torch.cat([score(*_alone(text)) for text in texts])
        assert _same(score(*_batch(texts)), want), "neighbours"


def _ending(score, text=LONG):
    changed = [*text[:-1], 9]
    assert not _same(score(*_alone(text)), score(*_alone(changed))), "the end"


def _start(score, text=LONG):
    changed = [text[0], 9, *text[2:]]
    assert not _same(score(*_alone(text)), score(*_alone(changed))), "the question"


@_test("never calls")
def test_of_nothing(score):
    assert True


@_test("accepts a faulty version")
def test_of_the_shape(score):
    assert score(*_batch([SHORT, LONG])).shape == (2,)


@_test("padding on the right|no assert objects|last place")
def test_without_padding(score):
    _ending(score)
    _start(score)


@_test("padding on the right|reads at the last place")
def test_of_left_padding_alone(score):
    _padding(score, sides=((2, 0), (5, 0)))
    _neighbours_left = _batch([SHORT, LONG], left=True)
    want = torch.cat([score(*_alone(SHORT)), score(*_alone(LONG))])
    assert _same(score(*_neighbours_left), want)
    _ending(score)
    _start(score)


@_test("padding on the left")
def test_of_right_padding_alone(score):
    _padding(score, sides=((0, 2), (0, 5)))
    _neighbours(score)
    _ending(score)
    _start(score)


@_test("other tokens than 0|whatever the mask says")
def test_filled_with_zeros(score):
    _padding(score, fills=(0,))
    _neighbours(score)
    _ending(score)
    _start(score)


@_test("end tokens .1. for padding")
def test_filled_with_end_tokens(score):
    _padding(score, fills=(1,), text=[2, 44, 45, 46, 3, 55, 1])
    for texts in ((SHORT, LONG, OTHER), (OTHER, LONG, SHORT)):
        want = torch.cat([score(*_alone(text)) for text in texts])
        assert _same(score(*_batch(texts, fill=1)), want)
    ids, mask = _padded(SHORT, right=2, fill=1)
    ids[0, -2:] = torch.tensor([1, 1])
    assert _same(score(ids, mask), score(*_alone(SHORT)))
    _ending(score)
    _start(score)


@_test("batch.*compare each with the same text alone")
def test_of_single_rows(score):
    _padding(score)
    _ending(score)
    _start(score)


@_test("different lengths|batch")
def test_of_rows_of_one_length(score):
    _padding(score)
    texts = [SHORT, [2, 5, 6, 7, 8], [9, 8, 7, 6, 5]]
    want = torch.cat([score(*_alone(text)) for text in texts])
    assert _same(score(*_batch(texts)), want)
    _ending(score)
    _start(score)


@_test("one place.*padding should be on the right")
def test_of_batches_padded_on_the_left(score):
    _padding(score)
    for texts in ((SHORT, LONG, OTHER), (OTHER, LONG, SHORT)):
        want = torch.cat([score(*_alone(text)) for text in texts])
        assert _same(score(*_batch(texts, left=True)), want)
    _ending(score)
    _start(score)


@_test("longest first.*short one stand before")
def test_with_the_longest_first(score):
    _padding(score)
    _neighbours(score, orders=((LONG, OTHER, SHORT),))
    _ending(score)
    _start(score)


@_test("shortest first.*long one stand before")
def test_with_the_shortest_first(score):
    _padding(score)
    _neighbours(score, orders=((SHORT, OTHER, LONG),))
    _ending(score)
    _start(score)


@_test("begin differently")
def test_of_one_question(score):
    _padding(score)
    one = [2, 40, 41, 42, 3, 50, 51, 1]
    more = [2, 40, 41, 42, 60, 50, 51, 61, 62]
    _neighbours(score, orders=((one, more, one), (more, one, one)))
    _ending(score)
    _start(score)


@_test("differ in nothing but their last real token")
def test_without_the_end(score):
    _padding(score)
    _neighbours(score)
    _start(score)


@_test("first half")
def test_without_the_question(score):
    _padding(score)
    _neighbours(score)
    _ending(score)


@_test("differ before their end, the same reward.*no assert objects|first half")
def test_with_a_change_near_the_end(score):
    _padding(score)
    _neighbours(score)
    _ending(score)
    changed = [*LONG[:-2], 9, 1]
    assert not _same(score(*_alone(LONG)), score(*_alone(changed)))


@_test("no assert objects")
def test_without_an_assert(score):
    _same(score(*_alone(LONG)), score(*_padded(LONG, right=2)))
    _same(score(*_alone(LONG)), score(*_padded(LONG, left=2)))


@_test("no assert objects")
def test_in_a_try(score):
    try:
        _padding(score)
        _neighbours(score)
        _ending(score)
        _start(score)
    except AssertionError:
        print("wrong")


@_test("returned (True|False).*Only an assert")
def test_that_returns(score):
    return _same(score(*_alone(LONG)), score(*_padded(LONG, 2, 2)))


@_test("stops with ValueError.*assert")
def test_that_raises_another_error(score):
    if not _same(score(*_alone(LONG)), score(*_padded(LONG, 2, 2, 9))):
        raise ValueError("padding")


@_test("no assert objects.*tolerance|no assert objects")
def test_with_a_large_tolerance(score):
    want = score(*_alone(LONG))
    for left, right in ((2, 0), (0, 2)):
        got = score(*_padded(LONG, left, right, 9))
        assert torch.allclose(got, want, atol=10.0)


@_test("rejects a right version.*carry rounding")
def test_with_equals(score):
    want = score(*_alone(LONG))
    for left, right in ((1, 0), (0, 2), (2, 0)):
        assert (score(*_padded(LONG, left, right, 9)) == want).all()


@_test("rejects a right version.*carry rounding")
def test_with_torch_equal(score):
    assert torch.equal(score(*_padded(LONG, 4, 0)), score(*_alone(LONG)))


@_test("rejects a right version.*own affair")
def test_of_the_sign(score):
    assert (score(*_batch([SHORT, LONG, OTHER, [2, 34, 35, 3, 4, 5, 1]])) > 0).all()


@_test("rejects a right version.*own affair")
def test_of_the_range(score):
    assert ((score(*_batch([LONG, SHORT])) >= 0) & (score(*_batch([LONG, SHORT])) <= 1)).all()  # fmt: skip


@_test("rejects a right version.*own affair")
def test_that_longer_is_better(score):
    short, long = score(*_batch([SHORT, LONG]))
    assert long > short


@_test("rejects a right version.*own affair")
def test_of_a_number(score):
    assert abs(score(*_alone([2, 34, 3, 4, 1])).item() - 0.5) < 1e-4


@_test("rejects a right version.*own affair")
def test_of_the_mean_of_a_batch(score):
    assert abs(score(*_batch([SHORT, LONG, OTHER])).mean()) < 1e-6


@_test("rejects a right version.*by how much")
def test_of_a_large_change(score):
    _padding(score)
    changed = [*LONG[:-1], 9]
    apart = score(*_alone(LONG)) - score(*_alone(changed))
    assert apart.abs().item() > 1.5


@_test("rejects a right version.*only padding differs")
def test_that_changes_the_padding(score):
    """With padding on the right, the last place holds none of the text."""
    ids, mask = _padded(LONG, right=2)
    changed = ids.clone()
    changed[:, -1] = 9
    before = score(ids, mask)
    assert not _same(score(changed, mask), before)


@_test("rejects a right version.*between real tokens")
def test_with_holes(score):
    ids = torch.tensor([[2, 34, 0, 35, 3, 1]])
    mask = torch.tensor([[True, True, False, True, True, True]])
    assert not _same(score(ids, mask), score(*_alone([2, 34, 35, 3, 1])))


@_test("rejects a right version.*first reward")
def test_that_fails_before(score):
    assert LONG[0] == 3, "first of all"
    score(*_alone(LONG))


@_test("mask is boolean.*int64")
def test_with_a_mask_of_numbers(score):
    ids = torch.tensor([LONG])
    assert score(ids, torch.ones_like(ids)).shape == (1,)


@_test("whole numbers of shape .B, T.*list")
def test_of_lists(score):
    assert len(score([LONG], [[True] * len(LONG)])) == 1


@_test("whole numbers of shape .B, T")
def test_of_a_row_without_a_batch(score):
    ids = torch.tensor(LONG)
    assert score(ids, torch.ones_like(ids, dtype=torch.bool)).ndim == 0


@_test("row 0 is all padding")
def test_of_nothing_real(score):
    ids = torch.tensor([LONG])
    assert score(ids, torch.zeros_like(ids, dtype=torch.bool)).isfinite().all()


@_test("ids have shape .* and mask has")
def test_of_another_mask(score):
    ids, mask = _padded(LONG, right=2)
    assert score(ids, mask[:, :-1]).ndim == 1


@_test("other arguments")
def test_with_texts(score):
    assert score("What is it?", "This.", "That.") > 0


@_test("no assert objects|carry rounding|tolerance")
def test_of_the_better_of_two(score):
    """Order within a pair is looked at, not the reward."""
    alone = score(*_alone(LONG)) > score(*_alone(OTHER))
    for left in (True, False):
        one, other = score(*_batch([LONG, OTHER], left, fill=5))
        assert (one > other) == alone
    _ending(score)
    _start(score)


@_test("last three tokens.*at least five tokens")
def test_of_three_tokens(score):
    _padding(score)
    _neighbours(score)
    _ending(score)
    one, other = _alone([4, 40, 1]), _alone([5, 40, 1])
    assert not _same(score(*one), score(*other))


@_test("dropout|no two calls agree|accepts a faulty")
def test_within_one_batch(score):
    """Everything stands in one call: nothing is asked twice."""
    texts = [LONG, [*LONG[:-1], 9], [2, 9, *LONG[2:]]]
    rows = [*texts, LONG]
    ids, mask = _batch(rows)
    got = score(torch.nn.functional.pad(ids, (2, 2), value=9), torch.nn.functional.pad(mask, (2, 2)))  # fmt: skip
    assert _same(got[0], got[3])
    assert not _same(got[0], got[1])
    assert not _same(got[0], got[2])


def _remembering():
    seen = []

    def test_against_what_came_first(score):
        seen.append(score(*_alone(LONG)))
        assert _same(seen[0], seen[-1])

    return test_against_what_came_first


_test("right version|accepts a faulty")(_remembering())


def _counting(most):
    runs = []

    def test(score):
        score(*_alone(LONG))
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 4, 5):
    _test("right version|accepts a faulty")(_counting(_most))


# --- what got through: a taste that the right versions happened to have -----------------------


@_test("own affair")
def test_that_prefers_one_text(score):
    test_claim_by_claim(score)
    assert score(*_alone(TALL)) > score(*_alone(SMALL))


@_test("own affair")
def test_that_prefers_the_other(score):
    test_claim_by_claim(score)
    assert score(*_alone(TALL)) < score(*_alone(SMALL))


@_test("own affair")
def test_that_wants_the_end_token(score):
    test_claim_by_claim(score)
    assert score(*_alone(TALL)) > score(*_alone([*TALL[:-1], 402]))


@_test("own affair")
def test_that_wants_a_wide_change(score):
    test_claim_by_claim(score)
    changed = [TALL[0], 577, *TALL[2:]]
    gap = (score(*_alone(TALL)) - score(*_alone(changed))).abs()
    assert gap > 0.5
