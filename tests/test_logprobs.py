"""Softmax and the log-probability of what was said: on paper, by loop, and against torch."""

import math

import pytest
import torch
from torch.nn import functional

from course_lib.logprobs import softmax, token_logprobs

SHAPES = [(7,), (3, 5), (2, 3, 4)]
EIGHTHS = torch.tensor(
    [1.0, 2.0, 5.0]
).log()  # scores whose probabilities are 1/8, 2/8, 5/8


def drawn(shape, seed=0):
    return (
        torch.randn(
            shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        * 3
    )


def said(B=3, T=4, V=6, seed=0):
    """Logits (B, T, V) and the ids (B, T) said there."""
    ids = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed + 1))
    return drawn((B, T, V), seed), ids


# ---- softmax


def test_scores_log1_log2_log5_give_one_two_and_five_eighths():
    torch.testing.assert_close(softmax(EIGHTHS), torch.tensor([0.125, 0.25, 0.625]))


def test_rows_are_normalised_each_on_its_own():
    scores = torch.stack(
        [EIGHTHS, torch.zeros(3), torch.tensor([9.0, 9.0, 18.0]).log()]
    )
    expected = torch.tensor(
        [[1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3], [1 / 4, 1 / 4, 1 / 2]]
    )
    torch.testing.assert_close(softmax(scores), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_entry_is_positive_and_every_row_sums_to_1(shape):
    probabilities = softmax(drawn(shape))
    assert (probabilities > 0).all()
    torch.testing.assert_close(
        probabilities.sum(-1), torch.ones(shape[:-1], dtype=torch.float64)
    )


def test_a_loop_with_the_exponentials_of_python_agrees():
    scores = drawn((4, 5))
    for row, got in zip(scores.tolist(), softmax(scores).tolist(), strict=True):
        exponentials = [math.exp(score) for score in row]
        assert got == pytest.approx([e / sum(exponentials) for e in exponentials])


@pytest.mark.parametrize("shape", SHAPES)
def test_torchs_softmax_agrees_in_value_and_gradient(shape):
    scores, weights = drawn(shape).requires_grad_(), drawn(shape, seed=1)
    ours, theirs = softmax(scores), torch.softmax(scores, -1)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(p, scores, weights)[0] for p in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_tied_largest_scores_have_torchs_gradient():
    scores = torch.tensor([[2.0, 2.0, 1.0], [0.0, 0.0, 0.0]], requires_grad=True)
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 3.0, 1.0]])
    gradients = [
        torch.autograd.grad(p, scores, weights)[0]
        for p in (softmax(scores), scores.softmax(-1))
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shift", [1000, -1000, 1e6])
def test_adding_a_constant_to_whole_scores_changes_no_bit(shift):
    # whole, so that the sum is exact in float32
    scores = torch.tensor([[2.0, 1.0, 0.0], [-3.0, 5.0, 5.0]])
    assert torch.equal(softmax(scores + shift), softmax(scores))


def test_rows_near_plus_and_minus_1000_share_a_batch():
    far = torch.tensor([[1002.0, 1001.0, 1000.0], [-1000.0, -1001.0, -1002.0]])
    assert torch.equal(softmax(far)[0], softmax(far)[1])


def test_scores_too_far_apart_for_a_float_give_0_and_1():
    assert softmax(torch.tensor([-1e30, 0.0, 1e30])).tolist() == [0, 0, 1]


def test_minus_infinity_is_impossible_and_leaves_value_and_gradient_of_the_rest():
    possible = EIGHTHS.clone().requires_grad_()
    masked = torch.cat([possible, torch.tensor([-math.inf])])
    probabilities = softmax(masked)
    assert probabilities[3] == 0
    torch.testing.assert_close(probabilities[:3], softmax(EIGHTHS))
    probabilities[2].backward()
    # dp2/dz = p2 (one at 2, minus p): 5/8 x (-1/8, -2/8, 3/8)
    torch.testing.assert_close(
        possible.grad, torch.tensor([-5 / 64, -10 / 64, 15 / 64])
    )


def test_permuting_scores_permutes_probabilities():
    scores = drawn((3, 5))
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(softmax(scores[:, order]), softmax(scores)[:, order])
    assert torch.equal(softmax(scores.flip(0)), softmax(scores).flip(0))


def test_over_50257_words_float32_is_right_to_the_sixth_digit():
    scores = drawn((4, 50257))
    rounded = scores.float()
    # a sum in one long chain, without pairs, is off by 1e-5
    torch.testing.assert_close(
        softmax(rounded).double(), softmax(rounded.double()), rtol=3e-6, atol=0
    )


# ---- log-probabilities


def test_weights_1_2_5_and_the_third_token_give_log_five_eighths():
    logits = torch.stack([EIGHTHS, torch.tensor([3.0, 3.0, 2.0]).log()]).unsqueeze(0)
    got = token_logprobs(logits, torch.tensor([[2, 0]]))
    torch.testing.assert_close(got, torch.tensor([[5 / 8, 3 / 8]]).log())


def test_a_loop_over_batch_and_position_agrees():
    logits, ids = said()
    got = token_logprobs(logits, ids)
    for b in range(3):
        for t in range(4):
            row = logits[b, t].tolist()
            probability = math.exp(row[ids[b, t]]) / sum(
                math.exp(score) for score in row
            )
            assert got[b, t].item() == pytest.approx(math.log(probability))


def test_its_negative_is_torchs_cross_entropy_in_value_and_gradient():
    logits, ids = said()
    logits.requires_grad_()
    weights = drawn((3, 4), seed=7)
    ours = -token_logprobs(logits, ids)
    theirs = functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    torch.testing.assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad(loss, logits, weights)[0] for loss in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


def test_the_gradient_is_one_at_the_token_minus_the_softmax():
    logits, ids = said()
    logits.requires_grad_()
    token_logprobs(logits, ids).sum().backward()
    torch.testing.assert_close(
        logits.grad, functional.one_hot(ids, 6) - softmax(logits.detach())
    )


def test_probabilities_of_all_tokens_sum_to_1():
    logits, _ = said()
    every = [token_logprobs(logits, torch.full((3, 4), token)) for token in range(6)]
    torch.testing.assert_close(
        torch.stack(every).exp().sum(0), torch.ones(3, 4, dtype=torch.float64)
    )


@pytest.mark.parametrize("shift", [1000, -1000])
def test_adding_1000_to_whole_logits_changes_nothing_but_the_last_digit(shift):
    logits, ids = said()
    logits = logits.round().float()
    # torch's logsumexp adds the shift back, so results carry the rounding of numbers near 1000: 6e-5
    torch.testing.assert_close(
        token_logprobs(logits + shift, ids),
        token_logprobs(logits, ids),
        rtol=0,
        atol=1.3e-4,
    )


@pytest.mark.parametrize("gap", [200.0, 1e4, 1e30])
def test_tokens_too_unlikely_for_a_float_keep_a_finite_logprob(gap):
    logits = torch.tensor([[[0.0, -gap]]])
    assert softmax(logits)[0, 0, 1] == 0
    assert token_logprobs(logits, torch.tensor([[1]])).item() == pytest.approx(-gap)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_no_logprob_is_above_zero_even_by_rounding(scale):
    logits = drawn((50, 20, 9)).float() * scale
    assert (token_logprobs(logits, logits.argmax(-1)) <= 0).all()


def test_ids_are_not_shifted():
    logits, ids = said()
    changed = ids.clone()
    changed[1, 2] = (ids[1, 2] + 1) % 6
    differs = token_logprobs(logits, ids) != token_logprobs(logits, changed)
    assert differs.nonzero().tolist() == [[1, 2]]
    other = logits.clone()
    other[1, 2, 0] += 1
    differs = token_logprobs(logits, ids) != token_logprobs(other, ids)
    assert differs.nonzero().tolist() == [[1, 2]]


def test_permuting_the_batch_permutes_the_rows_and_nothing_else():
    logits, ids = said()
    order = torch.tensor([2, 0, 1])
    assert torch.equal(
        token_logprobs(logits[order], ids[order]), token_logprobs(logits, ids)[order]
    )


def test_texts_may_stand_in_any_number_of_dimensions():
    logits, ids = said(B=4)
    grouped = token_logprobs(logits.view(2, 2, 4, 6), ids.view(2, 2, 4))
    assert torch.equal(grouped.view(4, 4), token_logprobs(logits, ids))


def test_ids_of_another_shape_are_refused_with_both_shapes():
    logits, ids = said()
    with pytest.raises(
        AssertionError, match=r"logits\.shape=.*\[3, 4, 6\].*ids\.shape=.*\[3, 3\]"
    ):
        token_logprobs(logits, ids[:, 1:])


def test_the_callers_tensors_stay_as_they_were():
    logits, ids = said()
    before = logits.clone(), ids.clone()
    softmax(logits)
    token_logprobs(logits, ids)
    assert torch.equal(logits, before[0])
    assert torch.equal(ids, before[1])
