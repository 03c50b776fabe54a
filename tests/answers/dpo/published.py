"""Answers to lesson 09: tests of answers' log-probabilities, good ones and those that miss something."""

import math
import unittest

import numpy as np
import pytest
import torch
from torch.nn import functional

from tools.graders import Battery

battery = Battery()

IDS = torch.tensor([[3, 1, 4, 1, 5, 2], [2, 0, 3, 5, 1, 4], [4, 4, 2, 1, 0, 3]])
MASK = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).bool()  # fmt: skip
LOGITS = 2 * torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(4))
START, END = (2, 1, 3), (4, 2, 5)  # the first and the last token of each answer


def _worked(logits, ids, mask):
    """Token by token, in Python's own numbers."""
    found = []
    for rows, said, kept in zip(logits.tolist(), ids.tolist(), mask.tolist(), strict=True):  # fmt: skip
        total = 0.0
        for t in range(1, len(said)):
            if kept[t]:
                norm = math.log(sum(math.exp(x) for x in rows[t - 1]))
                total += rows[t - 1][said[t]] - norm
        found.append(total)
    return found


def _same(one, other, room=1e-4):
    return one.shape == other.shape and torch.allclose(one, other, atol=room)


# --- test_answer_logprobs: right ----------------------------------------------------------------


def _right(test):
    return battery.right("test_answer_logprobs")(test)


@_right
def test_claim_by_claim(logprobs_fn):
    start = logprobs_fn(LOGITS, IDS, MASK)
    # 1 and 3. a token is scored one place before, the end too
    for b in range(3):
        for t in (START[b], END[b]):
            changed = LOGITS.clone()
            changed[b, t - 1, IDS[b, t]] += 1.0
            moved = logprobs_fn(changed, IDS, MASK) - start
            assert moved[b] > 1e-3, "the token before it has no say"
        changed = LOGITS.clone()
        changed[b, END[b], 0] += 1.0
        assert _same(logprobs_fn(changed, IDS, MASK), start), "its own place has a say"
    # 2. prompt and padding
    other = torch.where(MASK, IDS, (IDS + 1) % 7)
    assert _same(logprobs_fn(LOGITS, other, MASK), start)
    # 4. the sum
    flat = logprobs_fn(torch.zeros(3, 6, 7), IDS, MASK)
    assert _same(flat, -math.log(7) * MASK.sum(1))
    # 5. a number added
    more = LOGITS + torch.arange(6)[:, None] * 2.0
    assert _same(logprobs_fn(more, IDS, MASK), start)
    # 6. rows
    for b in range(3):
        row = slice(b, b + 1)
        assert _same(logprobs_fn(LOGITS[row], IDS[row], MASK[row]), start[row])


@_right
def test_against_a_slow_loop(logprobs_fn):
    got = logprobs_fn(LOGITS, IDS, MASK)
    assert got.tolist() == pytest.approx(_worked(LOGITS, IDS, MASK), abs=1e-4)


@_right
def test_against_cross_entropy(logprobs_fn):
    costs = functional.cross_entropy(LOGITS[:, :-1].mT, IDS[:, 1:], reduction="none")
    wanted = -(costs * MASK[:, 1:]).sum(1)
    torch.testing.assert_close(logprobs_fn(LOGITS, IDS, MASK), wanted, rtol=1e-4, atol=1e-4)  # fmt: skip


@_right
def test_in_numpy(logprobs_fn):
    x = LOGITS.double().numpy()
    logs = x - np.log(np.exp(x).sum(-1, keepdims=True))
    wanted = [
        sum(logs[b, t - 1, IDS[b, t]] for t in range(START[b], END[b] + 1))
        for b in range(3)
    ]
    np.testing.assert_allclose(logprobs_fn(LOGITS, IDS, MASK).numpy(), wanted, atol=1e-4)  # fmt: skip


@_right
def test_by_unittest_in_double(logprobs_fn):
    case = unittest.TestCase()
    got = logprobs_fn(LOGITS.double(), IDS, MASK)
    case.assertEqual(got.shape, (3,))  # noqa: PT009
    for one, other in zip(got.tolist(), _worked(LOGITS, IDS, MASK), strict=True):
        case.assertAlmostEqual(one, other, places=4)  # noqa: PT009


@_right
def test_by_chances(logprobs_fn):
    """Probabilities that are fractions, so that the products are known."""
    shares = torch.tensor([[1.0, 2, 5], [6, 1, 1], [2, 4, 2], [1, 1, 6], [3, 4, 1]]) / 8
    logits = torch.stack([shares, shares.roll(2, 0)]).log()
    ids = torch.tensor([[0, 1, 0, 1, 2], [2, 2, 1, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]).bool()
    rows = logits.exp()
    wanted = [
        (rows[0, 1, 0] * rows[0, 2, 1] * rows[0, 3, 2]).item(),
        (rows[1, 0, 2] * rows[1, 1, 1]).item(),
    ]
    got = logprobs_fn(logits + torch.arange(5.0)[:, None], ids, mask)
    assert got.shape == (2,)
    assert got.exp().tolist() == pytest.approx(wanted, abs=1e-5)
    ends = logprobs_fn(logits, ids, torch.arange(5).expand(2, 5) == 4)
    wanted = [rows[0, 3, 2].item(), rows[1, 3, 0].item()]
    assert ends.exp().tolist() == pytest.approx(wanted, abs=1e-5)


@_right
def test_many_at_random(logprobs_fn):
    draws = torch.Generator().manual_seed(8)
    for B, T, V in ((2, 5, 3), (4, 7, 5), (3, 4, 9)):
        logits = torch.randn(B, T, V, generator=draws) * 3
        ids = torch.randint(V, (B, T), generator=draws)
        mask = torch.zeros(B, T).bool()
        for b in range(B):
            mask[b, 1 + b % 2 : T - b % 2 * (T > 4)] = True
        got = logprobs_fn(logits, ids, mask)
        assert got.shape == (B,)
        for one, other in zip(got, _worked(logits, ids, mask), strict=True):
            assert abs(one.item() - other) < 1e-4


# --- test_answer_logprobs: wrong ----------------------------------------------------------------


def _test(says):
    return battery.wrong("test_answer_logprobs", says=says)


def _shift(f):
    """Of each answer's first token, and nothing at the place of its last."""
    start = f(LOGITS, IDS, MASK)
    for b in range(3):
        changed = LOGITS.clone()
        changed[b, END[b], :3] += 1.0
        assert _same(f(changed, IDS, MASK), start)
        changed = LOGITS.clone()
        changed[b, START[b] - 1, IDS[b, START[b]]] += 1.0
        assert f(changed, IDS, MASK)[b] > start[b] + 1e-3


def _left_out(f, prompt=True, padding=True):
    start, T = f(LOGITS, IDS, MASK), torch.arange(6)
    before = torch.tensor(START)[:, None] > T
    behind = torch.tensor(END)[:, None] < T
    changed = (before & prompt) | (behind & padding)
    other = torch.where(changed, (IDS + 1) % 7, IDS)
    assert _same(f(LOGITS, other, MASK), start)


def _the_end(f, rows=(0, 1, 2), first=True, last=True):
    start = f(LOGITS, IDS, MASK)
    for b in rows:
        for t in ([START[b]] if first else []) + ([END[b]] if last else []):
            other = IDS.clone()
            other[b, t] = (other[b, t] + 1) % 7
            assert (f(LOGITS, other, MASK)[b] - start[b]).abs() > 1e-3


def _a_sum(f):
    got = f(torch.zeros(3, 6, 7), IDS, MASK)
    assert _same(got, -math.log(7) * MASK.sum(1))


def _added(f):
    more = LOGITS + torch.arange(6)[:, None] * 2.0
    assert _same(f(more, IDS, MASK), f(LOGITS, IDS, MASK))


def _rows(f):
    start = f(LOGITS, IDS, MASK)
    for b in range(3):
        row = slice(b, b + 1)
        assert _same(f(LOGITS[row], IDS[row], MASK[row]), start[row])


CLAIMS = {"shift": _shift, "left_out": _left_out, "end": _the_end, "sum": _a_sum, "added": _added, "rows": _rows}  # fmt: skip


def _all_but(name, says, **instead):
    """All claims, but for those that are left out (None) or asked otherwise."""
    claims = [claim for claim in (CLAIMS | instead).values() if claim]

    def test(logprobs_fn):
        for claim in claims:
            claim(logprobs_fn)

    test.__name__ = f"test_{name}"
    return test


_right(_all_but("of_all_claims", ""))


def _but(name, says, **instead):
    _test(says)(_all_but(name, says, **instead))


def _one_more(f):
    """Only that one token more costs ln V more."""
    more = MASK | (torch.arange(6) == torch.tensor([[5], [3], [2]]))
    one, other = (f(torch.zeros(3, 6, 7), IDS, mask) for mask in (MASK, more))
    assert _same(one - other, torch.full((3,), math.log(7)))


_but("without_shift", "not shifted", shift=None)
_but("without_what_is_left_out", "row at its own place|one place|as well", left_out=None, sum=_one_more)  # fmt: skip
_but("without_the_end", "last token of each answer", end=None, sum=_one_more)
_but("without_the_sum", "mean over", sum=None)
_but("without_a_number_added", "normalised as the first|log-softmax runs|sigmoid", added=None, sum=_one_more)  # fmt: skip
_but("without_a_number_added_but_a_sum", "accepts a faulty.*normalised as the first|log-softmax runs|sigmoid", added=None)  # fmt: skip
_but("of_the_padding_alone", "prompt", left_out=lambda f: _left_out(f, prompt=False), sum=_one_more)  # fmt: skip
_but("of_the_first_token_alone", "last token", end=lambda f: _the_end(f, last=False), sum=_one_more)  # fmt: skip
_but("of_the_mean", "rejects a right version", sum=lambda f: _mean(f))
_but("of_the_wrong_place", "rejects a right version", shift=lambda f: _unshifted(f))
_but("of_a_cost", "rejects a right version", sum=lambda f: _cost(f))


def _mean(f):
    assert _same(f(torch.zeros(3, 6, 7), IDS, MASK), torch.full((3,), -math.log(7)))


def _cost(f):
    assert _same(f(torch.zeros(3, 6, 7), IDS, MASK), math.log(7) * MASK.sum(1))


def _unshifted(f):
    changed = LOGITS.clone()
    changed[0, END[0], IDS[0, END[0]]] += 1.0
    assert f(changed, IDS, MASK)[0] > f(LOGITS, IDS, MASK)[0] + 1e-3


def _on(name, says, logits, ids, mask):
    """Against a slow loop, on inputs on which something cannot be seen."""

    def test(logprobs_fn):
        got = logprobs_fn(logits, ids, mask)
        assert got.shape == (len(ids),)
        assert got.tolist() == pytest.approx(_worked(logits, ids, mask), abs=1e-4)

    test.__name__ = f"test_on_{name}"
    _test(says)(test)


_on("equal_scores", "every position has the same scores", torch.zeros(3, 6, 7), IDS, MASK)  # fmt: skip
_on("the_same_scores_at_each_place", "every position has the same scores", LOGITS[:1, :1].expand(3, 6, 7).clone(), IDS, MASK)  # fmt: skip
_on("one_row", "accepts a faulty", LOGITS[:1], IDS[:1], MASK[:1])
_on("answers_of_one_token", "every answer has one token", LOGITS, IDS, torch.arange(6) == torch.tensor([[2], [4], [5]]))  # fmt: skip
_on("answers_that_fill_the_row", "no padding follows", LOGITS, IDS, torch.arange(6) >= torch.tensor([[2], [1], [4]]))  # fmt: skip
_on("answers_that_end_early", "padding follows every answer", LOGITS, IDS, MASK & (torch.arange(6) < 5))  # fmt: skip
_on("equal_masks", "padding behind", LOGITS, IDS, MASK[2:].expand(3, 6).clone())  # fmt: skip
_on("equal_prompts", "accepts a faulty", LOGITS, IDS, (torch.arange(6) >= 2) & (torch.arange(6) < torch.tensor([[4], [5], [6]])))  # fmt: skip
_on("equal_ids", "ids of the first", LOGITS, IDS[:1].expand(3, 6).clone(), MASK)
_on("equal_rows_of_scores", "scores of the first", LOGITS[:1].expand(3, 6, 7).clone(), IDS, MASK)  # fmt: skip
_on("normalised_scores", "accepts a faulty.*scores|accepts a faulty.*normalised", LOGITS.log_softmax(-1), IDS, MASK)  # fmt: skip
_on("whole_rows", "accepts a faulty", LOGITS, IDS, torch.arange(6).expand(3, 6) > 0)


@_test("all rows.*there is one row")
def test_one_row_at_a_time(logprobs_fn):
    for b in range(3):
        row = slice(b, b + 1)
        given = LOGITS[row], IDS[row], MASK[row]
        assert logprobs_fn(*given).tolist() == pytest.approx(_worked(*given), abs=1e-4)


@_test("all rows|batch|rows")
def test_the_first_row_of_three(logprobs_fn):
    wanted = _worked(LOGITS, IDS, MASK)[0]
    assert logprobs_fn(LOGITS, IDS, MASK)[0].item() == pytest.approx(wanted, abs=1e-4)
    last = LOGITS[2:], IDS[2:], MASK[2:]
    assert logprobs_fn(*last).tolist() == pytest.approx(_worked(*last), abs=1e-4)


@_test("never calls")
def test_of_nothing(logprobs_fn):
    assert True


@_test("no assert objects")
def test_without_an_assert(logprobs_fn):
    logprobs_fn(LOGITS, IDS, MASK)


@_test("Only an assert")
def test_that_returns(logprobs_fn):
    return _same(logprobs_fn(LOGITS, IDS, MASK), torch.zeros(3))


@_test("no assert objects")
def test_in_a_try(logprobs_fn):
    try:
        for claim in CLAIMS.values():
            claim(logprobs_fn)
    except AssertionError:
        print("wrong")


@_test("accepts a faulty")
def test_of_shape_and_sign(logprobs_fn):
    got = logprobs_fn(LOGITS, IDS, MASK)
    assert got.shape == (3,)
    assert (got <= 0).all()


@_test("accepts a faulty")
def test_that_it_is_finite(logprobs_fn):
    assert logprobs_fn(LOGITS, IDS, MASK).isfinite().all()


@_test("accepts a faulty")
def test_with_much_room(logprobs_fn):
    got = logprobs_fn(LOGITS, IDS, MASK)
    assert _same(got, torch.tensor(_worked(LOGITS, IDS, MASK)), room=5.0)


@_test("rejects a right version")
def test_of_bits(logprobs_fn):
    wanted = torch.zeros(3)
    for b, t in MASK.nonzero().tolist():
        wanted[b] += LOGITS[b, t - 1].softmax(0)[IDS[b, t]].log()
    assert torch.equal(logprobs_fn(LOGITS, IDS, MASK), wanted)


@_test("hundreds|rejects a right version")
def test_with_thousands_added(logprobs_fn):
    one, other = (logprobs_fn(x, IDS, MASK) for x in (LOGITS, LOGITS + 30_000.0))
    assert _same(one, other)


@_test("first column")
def test_that_counts_the_first_token(logprobs_fn):
    mask = MASK | (torch.arange(6) == 0)
    wanted = torch.zeros(3, 6, 7)
    assert _same(logprobs_fn(wanted, IDS, mask), -math.log(7) * mask.sum(1))


@_test("response_mask is boolean")
def test_with_a_mask_of_numbers(logprobs_fn):
    logprobs_fn(LOGITS, IDS, MASK.float())


@_test("ids are from 0 to 6")
def test_with_ids_of_minus_100(logprobs_fn):
    logprobs_fn(LOGITS, IDS.masked_fill(~MASK, -100), MASK)


@_test("ids are whole numbers")
def test_with_ids_with_a_point(logprobs_fn):
    logprobs_fn(LOGITS, IDS.float(), MASK)


@_test("logits are \\(B, T, V\\)")
def test_of_one_text_without_a_batch(logprobs_fn):
    logprobs_fn(LOGITS[0], IDS[0], MASK[0])


@_test("logits are \\(B, T, V\\)")
def test_with_a_mask_that_is_cut(logprobs_fn):
    logprobs_fn(LOGITS, IDS, MASK[:, 1:])


@_test("numbers with a point")
def test_with_whole_scores(logprobs_fn):
    logprobs_fn(torch.zeros(3, 6, 7, dtype=torch.long), IDS, MASK)


@_test("is a tensor, not a list")
def test_with_lists(logprobs_fn):
    logprobs_fn(LOGITS, IDS.tolist(), MASK)


@_test("called with other arguments")
def test_with_an_argument_too_many(logprobs_fn):
    logprobs_fn(LOGITS, IDS, MASK, True)


@_test("stops with.*assert|accepts a faulty")
def test_with_a_raise(logprobs_fn):
    if not _same(logprobs_fn(LOGITS, IDS, MASK), torch.tensor(_worked(LOGITS, IDS, MASK))):  # fmt: skip
        raise ValueError("wrong")


@_test("calls course_lib's own")
def test_against_the_library(logprobs_fn):
    from course_lib.dpo.sequences import sequence_logprobs

    wanted = sequence_logprobs(LOGITS, IDS, MASK)
    assert _same(logprobs_fn(LOGITS, IDS, MASK), wanted)


def _counting(most):
    runs = []

    def test(logprobs_fn):
        logprobs_fn(LOGITS, IDS, MASK)
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 5):
    _test("right version|accepts a faulty")(_counting(_most))


def _remembering():
    seen = []

    def test_against_what_came_first(logprobs_fn):
        seen.append(logprobs_fn(LOGITS, IDS, MASK))
        assert _same(seen[0], seen[-1])

    return test_against_what_came_first


_test("right version|accepts a faulty")(_remembering())


# --- found by attacking the check -------------------------------------------------------------


def _all_claims(f):
    for claim in CLAIMS.values():
        claim(f)


@_test("not finite where nothing counts")
def test_that_nan_may_stand_in_the_padding(logprobs_fn):
    _all_claims(logprobs_fn)
    dirty = LOGITS.clone()
    dirty[1, 3:] = torch.nan
    assert _same(logprobs_fn(dirty, IDS, MASK), logprobs_fn(LOGITS, IDS, MASK))


@_test("no answer at all")
def test_that_a_row_may_have_no_answer(logprobs_fn):
    _all_claims(logprobs_fn)
    mask = MASK.clone()
    mask[1] = False
    assert logprobs_fn(LOGITS, IDS, mask)[1] == 0


@_test("first column")
def test_that_the_first_token_may_be_masked_in(logprobs_fn):
    _all_claims(logprobs_fn)
    mask = MASK.clone()
    mask[:, 0] = True
    assert _same(logprobs_fn(LOGITS, IDS, mask), logprobs_fn(LOGITS, IDS, MASK))


@_right
def test_with_numbers_drawn_anew(logprobs_fn):
    logits = 2 * torch.randn(3, 6, 7)
    wanted = torch.tensor(_worked(logits, IDS, MASK))
    assert _same(logprobs_fn(logits, IDS, MASK), wanted, room=1e-3)
    more = logits + torch.randn(3, 6, 1)
    assert _same(logprobs_fn(more, IDS, MASK), wanted, room=1e-3)
