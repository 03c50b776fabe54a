"""Entropy, divergence, its estimates from samples, and the log-probabilities of responses."""

import math

import pytest
import torch
from torch.distributions import Categorical
from torch.distributions import kl_divergence as theirs

from course_lib.logprobs import (
    entropy,
    k1,
    k2,
    k3,
    kl_divergence,
    response_logprobs,
    token_logprobs,
)

P = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
Q = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
ESTIMATES = (k1, k2, k3)
IMPOSSIBLE = torch.tensor([0.0, 1.0, -math.inf])


def drawn(*shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


# ---- exactly


def test_entropy_and_divergence_of_quarters_and_halves_on_paper():
    assert entropy(P.log()).item() == pytest.approx(1.5 * math.log(2))
    # .5 log 2 - .25 log 2 + 0
    assert kl_divergence(P.log(), Q.log()).item() == pytest.approx(0.25 * math.log(2))


def test_both_equal_torchs_distributions():
    p, q = drawn(4, 5, 7), drawn(4, 5, 7, seed=1)
    torch.testing.assert_close(entropy(p), Categorical(logits=p).entropy())
    expected = theirs(Categorical(logits=p), Categorical(logits=q))
    torch.testing.assert_close(kl_divergence(p, q), expected)


def test_an_impossible_choice_adds_nothing_and_leaves_no_nan_in_the_gradient():
    scores = torch.tensor([0.0, 1.0]).requires_grad_()
    masked = torch.cat([scores, torch.tensor([-math.inf])])
    for function in (entropy, lambda s: kl_divergence(s, IMPOSSIBLE * 1)):
        (gradient,) = torch.autograd.grad(function(masked), scores, retain_graph=True)
        assert gradient.isfinite().all()
    torch.testing.assert_close(entropy(masked), entropy(scores))
    assert kl_divergence(masked, IMPOSSIBLE).item() == pytest.approx(0, abs=1e-7)


def test_saying_what_the_other_thinks_impossible_is_infinitely_far():
    assert kl_divergence(torch.zeros(3), IMPOSSIBLE).item() == math.inf
    assert math.isfinite(kl_divergence(IMPOSSIBLE, torch.zeros(3)).item())


def test_no_row_is_below_0_and_only_equal_ones_are_0():
    p, q = drawn(50, 6), drawn(50, 6, seed=1)
    assert (kl_divergence(p, q) > 1e-3).all()
    assert kl_divergence(p, p + 5).abs().max() < 1e-12


# ---- from samples


def test_a_ratio_of_two_gives_each_estimate_on_paper():
    twice = torch.tensor(0.5).log(), torch.tensor(0.25).log()
    half = math.log(2)
    expected = (half, half**2 / 2, 0.5 - 1 + half)  # q / p = 1/2
    assert [k(*twice).item() for k in ESTIMATES] == pytest.approx(expected)


def test_k1_and_k3_are_right_on_average_and_k2_is_not():
    """By enumeration, not by sampling: the mean over all choices, weighted by p."""
    exact = kl_divergence(P.log(), Q.log())
    means = [(P * k(P.log(), Q.log())).sum() for k in ESTIMATES]
    torch.testing.assert_close(means[0], exact)
    torch.testing.assert_close(means[2], exact)
    assert (means[1] - exact).abs() > 0.005


def test_k2_and_k3_are_never_negative_and_k1_often_is():
    p, q = drawn(9, 40).log_softmax(-1), drawn(9, 40, seed=1).log_softmax(-1)
    assert (k2(p, q) >= 0).all()
    assert (k3(p, q) >= 0).all()
    assert (k1(p, q) < 0).float().mean() > 0.2


def test_k3_spreads_less_than_k1_near_the_reference():
    p = drawn(40)
    q = p + 0.1 * drawn(40, seed=1)
    p, q = p.log_softmax(-1), q.log_softmax(-1)

    def variance(k):
        values = k(p, q)
        mean = (p.exp() * values).sum()
        return (p.exp() * (values - mean) ** 2).sum()

    assert variance(k3) < 0.1 * variance(k1)


def test_tiny_log_ratios_keep_their_digits():
    p, q = torch.tensor([-1.0]), torch.tensor([-1.0 - 1e-4])
    difference = (p - q).double()
    torch.testing.assert_close(k3(p, q).double(), difference**2 / 2, rtol=1e-3, atol=0)


def test_equal_models_are_0_apart_for_every_estimate():
    p = drawn(5).log_softmax(-1)
    assert all(k(p, p).abs().max() == 0 for k in ESTIMATES)


# ---- responses


def test_the_log_probability_of_a_response_on_paper():
    """Three tokens; after 0 comes 1 with 3/4, after 1 comes 2 with 1/8."""
    after = torch.tensor([[1 / 8, 3 / 4, 1 / 8], [1 / 2, 3 / 8, 1 / 8], [1 / 3] * 3])
    ids = torch.tensor([[0, 1, 2]])
    logits = after[ids].log()
    got = response_logprobs(logits, ids, start=1)
    torch.testing.assert_close(got, torch.tensor([[3 / 4, 1 / 8]]).log())
    got = response_logprobs(logits, ids, start=2)
    torch.testing.assert_close(got, torch.tensor([[1 / 8]]).log())


@pytest.mark.parametrize("start", [1, 2, 5])
def test_a_loop_over_rows_and_places_agrees(start):
    logits = drawn(3, 6, 4)
    ids = torch.randint(4, (3, 6), generator=torch.Generator().manual_seed(2))
    got = response_logprobs(logits, ids, start)
    assert got.shape == (3, 6 - start)
    for b in range(3):
        for t in range(start, 6):
            chances = logits[b, t - 1].softmax(-1)  # of what follows place t - 1
            expected = chances[ids[b, t]].log()
            torch.testing.assert_close(got[b, t - start], expected)


def test_start_1_is_the_whole_text_but_for_its_first_token():
    logits, ids = drawn(2, 5, 4), torch.randint(4, (2, 5))
    whole = token_logprobs(logits[:, :-1], ids[:, 1:])
    assert response_logprobs(logits, ids, 1).equal(whole)
    assert response_logprobs(logits, ids, 3).equal(whole[:, 2:])


def test_the_scores_after_the_last_token_do_not_matter():
    logits, ids = drawn(2, 5, 4), torch.randint(4, (2, 5))
    other = logits.clone()
    other[:, -1] = math.nan
    assert response_logprobs(logits, ids, 2).equal(response_logprobs(other, ids, 2))


@pytest.mark.parametrize("start", [0, 5, 9, -1])
def test_a_response_needs_a_prompt_and_a_token(start):
    with pytest.raises(AssertionError, match="a prompt before and a token behind"):
        response_logprobs(torch.zeros(2, 5, 4), torch.zeros(2, 5).long(), start)
