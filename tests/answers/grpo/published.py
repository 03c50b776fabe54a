"""Answers to lesson 08: tests of GRPO's loss, good ones and those that miss something."""

import unittest

import numpy as np
import pytest
import torch

from tools.graders import Battery

battery = Battery()

MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])
OLD = torch.tensor([[-1.0, -2.0, -0.5, -1.5], [-0.7, -1.2, -3.0, -0.1]])
FOUR_RATIOS = torch.tensor([[1.8, 0.4, 1.1, 0.9], [1.8, 0.4, 1.3, 0.7]])


def _pull(loss, logprobs, old, advantages, mask=MASK):
    leaf = logprobs.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, old, torch.tensor(advantages), mask), leaf)[0]


# --- test_group_loss: right -------------------------------------------------------------------


@battery.right("test_group_loss")
def test_claim_by_claim(loss):
    # 1. the ratio belongs to the token
    start = _pull(loss, OLD, OLD, [1.0, -1.0])
    for step in (0.1, 1.0):
        moved = OLD.clone()
        moved[0, 1] += step
        after = _pull(loss, moved, OLD, [1.0, -1.0])
        others = torch.ones_like(MASK)
        others[0, 1] = False
        assert torch.allclose(after[others], start[others], atol=1e-6), "not its own"
    # 2. four quadrants
    for good in (True, False):
        a = [1.0, 1.0] if good else [-1.0, -1.0]
        pull = _pull(loss, OLD + FOUR_RATIOS.log(), OLD, a)[0, :2]
        silent, called_back = (0, 1) if good else (1, 0)
        assert abs(pull[silent]) < 1e-6
        assert abs(pull[called_back]) > 1e-3
    # 3. under the mask
    one = _pull(loss, OLD, OLD, [1.0, -2.0])
    other = _pull(loss, OLD - 3.0 * ~MASK, OLD + 2.0 * ~MASK, [1.0, -2.0])
    assert torch.allclose(one, other, atol=1e-6)
    assert one[~MASK].abs().max() < 1e-6
    # 4. every answer alike, and all of its tokens
    pull = _pull(loss, OLD, OLD, [1.0, 1.0])
    assert abs(pull[0].sum() - pull[1].sum()) < 1e-6
    assert abs(pull[0] - pull[0].mean()).max() < 1e-6
    # 5. nothing for nothing
    pull = _pull(loss, OLD, OLD, [3.0, 0.0])
    assert pull[1].abs().max() < 1e-6
    pull = _pull(loss, OLD, OLD, [0.0, 0.0])
    assert (pull.abs() < 1e-6).all()
    # 6. the sign
    for advantages in ([2.0, -1.0], [-2.0, 1.0]):
        pull = _pull(loss, OLD, OLD, advantages)
        for a, row, keep in zip(advantages, pull, MASK, strict=True):
            assert (row[keep] * a < 0).all()


def _worked(old, ratios, advantages, mask):
    """What the gradient is, token by token, in Python's own numbers."""
    wanted = np.zeros(mask.shape)
    for b, a in enumerate(advantages):
        n = int(mask[b].sum())
        for t in mask[b].nonzero().flatten().tolist():
            r = float(ratios[b, t])
            stopped = (a > 0 and r > 1.2) or (a < 0 and r < 0.8)
            wanted[b, t] = 0 if stopped else -a * r / n / len(mask)
    return wanted


@battery.right("test_group_loss")
def test_the_gradient_number_by_number(loss):
    rows = ([1.0, -1.0], [-2.0, 0.5], [3.0, 0.0], [0.0, 0.0])
    for advantages in rows:
        pull = _pull(loss, OLD + FOUR_RATIOS.log(), OLD, advantages)
        wanted = _worked(OLD, FOUR_RATIOS, advantages, MASK)
        assert pull.tolist() == [pytest.approx(row, abs=1e-5) for row in wanted]


@battery.right("test_group_loss")
def test_numbers_and_one_gradient(loss):
    """Values alone show almost everything."""
    ratios = torch.tensor([[1.8, 0.4, 1.1, 0.9], [0.4, 1.8, 7.0, 0.1]])
    new = OLD + ratios.log()
    a = torch.tensor([1.0, -2.0])
    for good, bad, want in ((1.0, -2.0, 0.45), (-1.0, 2.0, -0.225), (0.0, 0.0, 0.0)):
        first = [min(r * good, min(max(r, 0.8), 1.2) * good) for r in (1.8, 0.4, 1.1, 0.9)]  # fmt: skip
        second = [min(r * bad, min(max(r, 0.8), 1.2) * bad) for r in (0.4, 1.8)]
        want = -(sum(first) / 4 + sum(second) / 2) / 2
        got = loss(new, OLD, torch.tensor([good, bad]), MASK)
        assert abs(got.item() - want) < 1e-5
    leaf = new.clone().requires_grad_()
    loss(leaf, OLD, a, MASK).backward()
    assert leaf.grad[0, 1].item() == pytest.approx(-0.4 / 8, abs=1e-5)
    assert leaf.grad[1, 0].item() == pytest.approx(0.0, abs=1e-6)
    alone = leaf.grad[0, 2].item()
    assert alone == pytest.approx(-1.1 / 8, abs=1e-5)


@battery.right("test_group_loss")
def test_against_a_slow_loop_at_random(loss):
    draws = torch.Generator().manual_seed(3)
    for _ in range(4):
        B, T = 4, 5
        old = -torch.rand(B, T, generator=draws) * 3
        new = old + torch.rand(B, T, generator=draws) * 3 - 1.5
        lengths = torch.randint(1, T + 1, (B, 1), generator=draws)
        lengths[0], lengths[1] = T, 2
        mask = torch.arange(T) < lengths
        a = torch.tensor([1.3, -0.8, 0.6, 0.0])
        pull = _pull(loss, new, old, a.tolist(), mask)
        wanted = torch.from_numpy(_worked(old, (new - old).exp(), a.tolist(), mask))
        assert (pull - wanted).abs().max() < 1e-5
    nothing = _pull(loss, old, old, [0.0] * 4, mask)
    assert torch.equal(nothing == 0, torch.ones_like(mask))


@battery.right("test_group_loss")
def test_against_a_loss_of_ones_own(loss):
    def own(new, old, advantages, mask):
        r = (new - old).exp()
        a = advantages[:, None]
        each = torch.min(r * a, r.clamp(0.8, 1.2) * a)
        return -((each * mask).sum(1) / mask.sum(1)).mean()

    for a in ([1.0, -0.5], [-1.0, 1.5], [0.0, 0.0]):
        for new in (OLD, OLD + FOUR_RATIOS.log(), OLD + FOUR_RATIOS.flip(0).log()):
            one, other = (_pull(f, new, OLD, a) for f in (own, loss))
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@battery.right("test_group_loss")
def test_by_unittest_in_double(loss):
    case = unittest.TestCase()
    old = OLD.double()
    for a in ([1.0, -0.5], [-1.0, 1.5], [0.0, 0.0]):
        leaf = (old + FOUR_RATIOS.log()).requires_grad_()
        got = loss(leaf, old, torch.tensor(a, dtype=torch.float64), MASK)
        got.backward()
        wanted = _worked(old, FOUR_RATIOS, a, MASK)
        for x, y in zip(leaf.grad.flatten().tolist(), wanted.flatten(), strict=True):
            case.assertAlmostEqual(x, y, places=5)  # noqa: PT009


@battery.right("test_group_loss")
def test_with_one_batch_of_eight(loss):
    """Every case in a batch of its own row, the gradients all at once."""
    ratio = torch.tensor([1.0, 1.8, 0.4, 1.8, 0.4, 1.0, 1.0, 1.0])
    a = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0, 0.0, 1.0])
    mask = torch.ones(8, 3).bool()
    mask[7, 1:] = False
    old = torch.full((8, 3), -1.0)
    new = old.clone()
    new[:, 0] += ratio.log()
    pull = _pull(loss, new, old, a.tolist(), mask)
    first = torch.tensor([-1, 0, -0.4, 1.8, 0, 1, 0, -3]) / 24
    assert torch.allclose(pull[:, 0], first, atol=1e-5)
    rest = torch.tensor([-1.0, -1, -1, 1, 1, 1, 0]) / 24
    assert torch.allclose(pull[:7, 1:], rest[:, None].expand(7, 2), atol=1e-5)
    assert pull[7, 1:].abs().max() < 1e-6
    moved = torch.where(mask, new, new + 2)
    assert torch.allclose(_pull(loss, moved, old, a.tolist(), mask), pull, atol=1e-6)
    assert _pull(loss, new, old, [0.0] * 8, mask).abs().sum() < 1e-6


# --- test_group_loss: wrong -------------------------------------------------------------------


def _test(says):
    return battery.wrong("test_group_loss", says=says)


def _alone(loss, steps=(0.1, 1.0), a=(1.0, -1.0), mask=MASK):
    start = _pull(loss, OLD, OLD, list(a), mask)
    for step in steps:
        moved = OLD.clone()
        moved[0, 1] += step
        after = _pull(loss, moved, OLD, list(a), mask)
        others = torch.ones_like(MASK)
        others[0, 1] = False
        assert torch.allclose(after[others], start[others], atol=1e-6), "not its own"


def _quadrants(loss, which=((1.0, 1), (1.0, 0), (-1.0, 0), (-1.0, 1))):
    """which: advantage, token; those gone too far the right way say nothing."""
    for a, t in which:
        pull = _pull(loss, OLD + FOUR_RATIOS.log(), OLD, [a, a])[0, t]
        silent = (a > 0) == (t == 0)
        assert (abs(pull) < 1e-6) == silent


def _under(loss, new=-3.0, old=2.0):
    one = _pull(loss, OLD, OLD, [1.0, -2.0])
    other = _pull(loss, OLD + new * ~MASK, OLD + old * ~MASK, [1.0, -2.0])
    assert torch.allclose(one, other, atol=1e-6)


def _alike(loss, tokens=True, mask=MASK):
    pull = _pull(loss, OLD, OLD, [1.0, 1.0], mask)
    assert abs(pull[0].sum() - pull[1].sum()) < 1e-6
    if tokens:
        assert abs(pull[0] - pull[0].mean()).max() < 1e-6


def _nothing(loss, some=True, every=True):
    if some:
        assert _pull(loss, OLD, OLD, [3.0, 0.0])[1].abs().max() < 1e-6
    if every:
        assert (_pull(loss, OLD, OLD, [0.0, 0.0]).abs() < 1e-6).all()


def _sign(loss, both=([2.0, -1.0], [-2.0, 1.0])):
    for advantages in both:
        pull = _pull(loss, OLD, OLD, advantages)
        for a, row, keep in zip(advantages, pull, MASK, strict=True):
            assert (row[keep] * a < 0).all()


CLAIMS = {"alone": _alone, "quadrants": _quadrants, "under": _under, "alike": _alike, "nothing": _nothing, "sign": _sign}  # fmt: skip


def _all_but(name, says, **instead):
    """All claims, but for those that are left out (None) or asked otherwise."""
    claims = [claim for claim in (CLAIMS | instead).values() if claim]

    def test(loss):
        for claim in claims:
            claim(loss)

    test.__name__ = f"test_{name}"
    _test(says)(test)


_all_but("without_the_tokens_own_ratio", "one ratio", alone=None, quadrants=lambda f: _even_quadrants(f))  # fmt: skip
_all_but("without_the_quadrants", "smaller of the two|Four cases", quadrants=None)
_all_but("without_padding", "Change what stands under", under=None)
_all_but("without_lengths", "mean over all tokens.*a long and a short", alike=None)
_all_but("without_zero", "advantage 0", nothing=None)
_all_but("without_the_sign", "becomes likelier", sign=None)
_all_but("of_a_small_step_alone", "far beyond the clip", alone=lambda f: _alone(f, (0.1,)), quadrants=lambda f: _even_quadrants(f))  # fmt: skip
_all_but("of_good_answers_in_the_quadrants", "Four cases", quadrants=lambda f: _quadrants(f, ((1.0, 0), (1.0, 1))))  # fmt: skip
_all_but("of_bad_answers_in_the_quadrants", "Four cases", quadrants=lambda f: _quadrants(f, ((-1.0, 0), (-1.0, 1))))  # fmt: skip
_all_but("of_silence_alone", "Four cases|smaller of the two", quadrants=lambda f: _quadrants(f, ((1.0, 0), (-1.0, 1))))  # fmt: skip
_all_but("of_being_called_back_alone", "Four cases", quadrants=lambda f: _quadrants(f, ((1.0, 1), (-1.0, 0))))  # fmt: skip
_all_but("of_ratios_above_alone", "Four cases", quadrants=lambda f: _quadrants(f, ((1.0, 0), (-1.0, 0))))  # fmt: skip
_all_but("of_padding_moved_together", "Change what stands under|padding", under=lambda f: _under(f, 2.0, 2.0))  # fmt: skip
_all_but("of_equal_lengths", "a long and a short", alike=lambda f: _alike(f, mask=torch.ones_like(MASK)))  # fmt: skip
_all_but("of_totals_alone", "accepts a faulty.*last token", alike=lambda f: _alike(f, tokens=False), sign=lambda f: _sign_in_all(f), quadrants=lambda f: _even_quadrants(f))  # fmt: skip
_all_but("of_one_answer_with_nothing", "all be 0", nothing=lambda f: _nothing(f, every=False))  # fmt: skip
_all_but("of_numbers_without_zero", "all be 0", nothing=None, alike=lambda f: _numbers(f))  # fmt: skip
_all_but("of_one_good_and_one_bad", "accepts a faulty|rejects", nothing=None, sign=lambda f: _sign(f, ([1.0, -1.0],)))  # fmt: skip
_all_but("of_a_good_answer_alone", "accepts a faulty", sign=lambda f: _sign(f, ([1.0, 1.0],)), nothing=lambda f: _nothing(f, some=False))  # fmt: skip
_all_but("of_the_token_mean", "rejects a right version", alike=lambda f: _even_tokens(f))  # fmt: skip
_all_but("of_the_other_sign", "rejects a right version", sign=lambda f: _sign(lambda *x: -f(*x)))  # fmt: skip
_all_but(
    "at_the_border", "on the border of the clip", quadrants=lambda f: _at_the_border(f)
)
_all_but("of_bits", "rejects a right version", alike=lambda f: _exactly(f))
_all_but("of_a_tight_clip", "rejects a right version", quadrants=lambda f: _tight(f))


def _numbers(loss):
    for a in ([1.0, -1.0], [-2.0, 0.5]):
        pull = _pull(loss, OLD + FOUR_RATIOS.log(), OLD, a)
        wanted = torch.from_numpy(_worked(OLD, FOUR_RATIOS, a, MASK))
        assert (pull - wanted).abs().max() < 1e-5


def _even_quadrants(loss):
    """All tokens of an answer move alike, so that nothing is asked about a single one."""
    for a in (1.0, -1.0):
        for ratio in (1.8, 0.4):
            new = OLD + torch.full_like(OLD, ratio).log()
            pull = _pull(loss, new, OLD, [a, a])[0].sum()
            assert (abs(pull) < 1e-6) == ((a > 0) == (ratio > 1))


def _sign_in_all(loss):
    for a in ([2.0, -1.0], [-2.0, 1.0]):
        assert (_pull(loss, OLD, OLD, a).sum(1) * torch.tensor(a) < 0).all()


def _even_tokens(loss):
    pull = _pull(loss, OLD, OLD, [1.0, 1.0])
    assert abs(pull[0, 0] - pull[1, 0]) < 1e-6


def _at_the_border(loss):
    new = OLD + torch.full_like(OLD, 1.2).log()
    assert _pull(loss, new, OLD, [1.0, 1.0])[0].abs().max() < 1e-6


def _exactly(loss):
    new = OLD + torch.tensor([[1.07, 0.93, 1.13, 0.88], [1.01, 0.97, 1.0, 1.0]]).log()
    pull = _pull(loss, new, OLD, [0.3, -0.7])
    wanted = torch.from_numpy(_worked(OLD, (new - OLD).exp(), [0.3, -0.7], MASK))
    assert torch.equal(pull.double(), wanted)


def _tight(loss):
    new = OLD + torch.full_like(OLD, 1.15).log()
    assert _pull(loss, new, OLD, [1.0, 1.0])[0].abs().max() < 1e-6


@_test("never calls")
def test_of_nothing(loss):
    assert True


@_test("no assert objects")
def test_without_an_assert(loss):
    _pull(loss, OLD, OLD, [1.0, -1.0])


@_test("Only an assert")
def test_that_returns(loss):
    pull = _pull(loss, OLD, OLD, [1.0, 1.0])
    return bool(abs(pull[0].sum() - pull[1].sum()) < 1e-6)


@_test("no assert objects")
def test_in_a_try(loss):
    try:
        for claim in CLAIMS.values():
            claim(loss)
    except AssertionError:
        print("wrong")


@_test("accepts a faulty")
def test_of_a_number_at_the_start(loss):
    """Before the first step the loss is minus the mean advantage, with equal lengths."""
    got = loss(OLD, OLD, torch.tensor([1.0, -0.5]), torch.ones_like(MASK))
    assert abs(got.item() + 0.25) < 1e-6


@_test("accepts a faulty.*one ratio")
def test_of_numbers_at_the_start(loss):
    for a in ([1.0, -0.5], [-1.0, 2.0], [3.0, 0.0], [0.0, 0.0]):
        got = loss(OLD, OLD, torch.tensor(a), MASK)
        assert abs(got.item() + sum(a) / 2) < 1e-6


@_test("accepts a faulty")
def test_that_it_is_finite(loss):
    assert _pull(loss, OLD, OLD, [1.0, -1.0]).isfinite().all()
    assert _pull(loss, OLD, OLD, [0.0, 0.0]).isfinite().all()


@_test("accepts a faulty")
def test_of_one_answer(loss):
    leaf = OLD[:1].clone().requires_grad_()
    loss(leaf, OLD[:1], torch.ones(1), MASK[:1]).backward()
    assert torch.allclose(leaf.grad, torch.full((1, 4), -0.25))


@_test("stops with|stopped with")
def test_without_a_way_back(loss):
    loss(OLD, OLD, torch.tensor([1.0, -1.0]), MASK).backward()


@_test("mask is boolean")
def test_with_a_mask_of_numbers(loss):
    loss(OLD, OLD, torch.tensor([1.0, -1.0]), MASK.float())


@_test("one advantage per answer")
def test_with_an_advantage_for_each_token(loss):
    loss(OLD, OLD, torch.ones(2, 4), MASK)


@_test("every answer has a token")
def test_with_an_empty_answer(loss):
    loss(OLD, OLD, torch.tensor([1.0, -1.0]), MASK & (torch.arange(2) < 1)[:, None])


@_test("numbers with a point")
def test_with_whole_advantages(loss):
    loss(OLD, OLD, torch.tensor([1, -1]), MASK)


@_test("called with other arguments")
def test_with_an_argument_too_many(loss):
    loss(OLD, OLD, torch.tensor([1.0, -1.0]), MASK, 0.2)


@_test("stops with.*assert|accepts a faulty")
def test_with_a_raise(loss):
    pull = _pull(loss, OLD, OLD, [1.0, 1.0])
    if abs(pull[0].sum() - pull[1].sum()) > 1e-6:
        raise ValueError("the long one has more")
    for claim in CLAIMS.values():
        claim(loss)


@_test("calls course_lib's own")
def test_against_the_library(loss):
    from course_lib.grpo.losses import grpo_loss

    for new in (OLD, OLD + FOUR_RATIOS.log()):
        a = [1.0, -0.5]
        assert torch.allclose(_pull(loss, new, OLD, a), _pull(grpo_loss, new, OLD, a))


@_test("gradient is cut off|gradient at token")
def test_of_numbers_alone(loss):
    for new in (OLD, OLD + FOUR_RATIOS.log()):
        for a in ([1.0, -0.5], [-1.0, 2.0], [3.0, 0.0], [0.0, 0.0]):
            r = (new - OLD).exp()
            each = [
                [min(x * y, min(max(x, 0.8), 1.2) * y) for x in row[keep].tolist()]
                for row, keep, y in zip(r, MASK, a, strict=True)
            ]
            want = -sum(sum(row) / len(row) for row in each) / 2
            assert abs(loss(new, OLD, torch.tensor(a), MASK).item() - want) < 1e-5


def _counting(most):
    runs = []

    def test(loss):
        _pull(loss, OLD, OLD, [1.0, -1.0])
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 4):
    _test("right version|accepts a faulty")(_counting(_most))


def _remembering():
    seen = []

    def test_against_what_came_first(loss):
        seen.append(_pull(loss, OLD + FOUR_RATIOS.log(), OLD, [1.0, -0.5]))
        assert torch.allclose(seen[0], seen[-1])

    return test_against_what_came_first


_test("right version|accepts a faulty")(_remembering())


# --- found by attacking the check -------------------------------------------------------------


def _no_gradient_there(loss):
    assert _pull(loss, OLD, OLD, [1.0, -2.0])[~MASK].abs().max() < 1e-6


def _last_tokens(loss):
    """Whoever moves the last token of an answer cannot see what it does to later ones."""
    start = _pull(loss, OLD, OLD, [1.0, -1.0])
    for row, column in ((0, 3), (1, 1)):
        moved = OLD.clone()
        moved[row, column] += 1.0
        after = _pull(loss, moved, OLD, [1.0, -1.0])
        others = torch.ones_like(MASK)
        others[row, column] = False
        assert torch.allclose(after[others], start[others], atol=1e-6)


_all_but("of_no_gradient_under_the_mask", "has changed under the mask", under=_no_gradient_there)  # fmt: skip
_all_but("of_last_tokens_alone", "multiplied into its own", alone=_last_tokens, quadrants=lambda f: _even_quadrants(f))  # fmt: skip


@_test("0 / 0 if all are 0")
def test_one_answer_without_advantage(loss):
    for claim in (_alone, _quadrants, _under, _alike, _sign):
        claim(loss)
    for advantages in ([3.0, 0.0], [0.0, -0.5]):
        wanted = torch.tensor(advantages)[:, None] * MASK / MASK.sum(1, True) / 2
        got = _pull(loss, OLD, OLD, advantages)
        assert torch.allclose(got, -wanted, atol=1e-6)
