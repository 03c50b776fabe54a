"""Answers to lesson 07: tests of any KL term, good ones and those that miss something."""

import math
import unittest

import numpy as np
import pytest
import torch

from course_lib.bandits import term_gradient
from course_lib.logprobs import k2, kl_divergence
from tools.graders import Battery

battery = Battery()

POLICY = torch.tensor([0.0, 1.0, -0.5, 0.3])
REFERENCE = torch.tensor([1.0, -0.5, 0.4, 0.0])
OTHER = torch.tensor([-0.7, 0.2, 0.0, 1.5])


# --- test_kl_term: right ----------------------------------------------------------------------


@battery.right("test_kl_term")
def test_claim_by_claim(term):
    logits = torch.tensor([0.0, 1.0, 2.0])
    ref, other = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.0, 2.0, 0.0])
    pull = term_gradient(logits, ref, term)
    swapped = term_gradient(logits, other, term)
    assert (pull - swapped).abs().max() > 1e-4, "another reference, the same pull"
    nearer = kl_divergence(logits - 0.1 * pull, ref)
    assert nearer < kl_divergence(logits, ref) - 1e-5, "it comes no nearer"
    assert term_gradient(ref, ref, term).abs().max() < 1e-5, "a pull at the reference"


@battery.right("test_kl_term")
def test_many_at_random(term):
    draws = torch.Generator().manual_seed(5)
    for arms in (3, 4, 6):
        logits, ref, other = torch.randn(3, arms, generator=draws)
        pull = term_gradient(logits, ref, term)
        assert not torch.allclose(pull, term_gradient(logits, other, term), atol=1e-5)
        before, after = (kl_divergence(x, ref) for x in (logits, logits - 0.02 * pull))
        assert after + 1e-6 < before
        for each in (logits, ref, other):
            still = term_gradient(each, each, term)
            assert torch.allclose(still, torch.zeros(arms), atol=1e-5)


@battery.right("test_kl_term")
def test_with_the_exact_gradient(term):
    """Instead of a step: the pull goes the way of the divergence's own gradient."""
    for ref in (REFERENCE, OTHER):
        leaf = POLICY.clone().requires_grad_()
        kl_divergence(leaf, ref).backward()
        pull = term_gradient(POLICY, ref, term)
        assert pull @ leaf.grad > 1e-4
        assert term_gradient(ref, ref, term).norm() < 1e-5
    both = [term_gradient(POLICY, ref, term) for ref in (REFERENCE, OTHER)]
    assert (both[0] - both[1]).norm() > 1e-3


@battery.right("test_kl_term")
def test_by_walking(term):
    """After many steps the policy is where the reference is, whichever it is."""
    for ref in (REFERENCE, OTHER):
        logits = POLICY.clone()
        for _ in range(60):
            logits = logits - 0.5 * term_gradient(logits, ref, term)
        assert kl_divergence(logits, ref) < 0.5 * kl_divergence(POLICY, ref)
        assert term_gradient(ref, ref, term).abs().max() < 1e-5


@battery.right("test_kl_term")
def test_with_samples(term):
    """Its own autograd, on samples that are in the shares of the policy."""
    shares = torch.tensor([4, 3, 2, 1])
    arms = torch.arange(4).repeat_interleave(shares)
    logits = (shares / 10).log()
    pulls = []
    for ref in (REFERENCE, OTHER, logits):
        leaf = logits.clone().requires_grad_()
        logs, ref_logs = leaf.log_softmax(-1)[arms], ref.log_softmax(-1)[arms]
        term(logs, ref_logs).mean().backward()
        pulls.append(leaf.grad)
        if ref is not logits:
            after = kl_divergence(logits - 0.1 * leaf.grad, ref)
            assert after < kl_divergence(logits, ref) - 1e-5
    assert (pulls[0] - pulls[1]).abs().max() > 1e-4
    assert pulls[2].abs().max() < 1e-5
    assert term_gradient(OTHER, OTHER, term).abs().max() < 1e-5


@battery.right("test_kl_term")
def test_by_unittest(term):
    case = unittest.TestCase()
    pull = term_gradient(POLICY, REFERENCE, term)
    before = kl_divergence(POLICY, REFERENCE).item()
    after = kl_divergence(POLICY - 0.2 * pull, REFERENCE).item()
    case.assertLess(after, before - 1e-4)  # noqa: PT009
    case.assertGreater((pull - term_gradient(POLICY, OTHER, term)).norm().item(), 1e-4)  # noqa: PT009
    for x in term_gradient(OTHER, OTHER, term).tolist():
        case.assertAlmostEqual(x, 0.0, places=5)  # noqa: PT009


@battery.right("test_kl_term")
def test_in_numpy(term):
    def kl(z, ref):
        p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (z, ref))
        return (p * np.log(p / q)).sum()

    z, pull = POLICY.numpy(), term_gradient(POLICY, OTHER, term).numpy()
    assert kl(z - 0.05 * pull, OTHER.numpy()) < kl(z, OTHER.numpy()) - 1e-5
    assert np.abs(pull - term_gradient(POLICY, REFERENCE, term).numpy()).max() > 1e-4
    np.testing.assert_allclose(
        term_gradient(REFERENCE, REFERENCE, term).numpy(), 0, atol=1e-5
    )


@battery.right("test_kl_term")
def test_in_double_precision(term):
    z, a, b = (x.double() for x in (POLICY, REFERENCE, OTHER))
    pulls = {ref: term_gradient(z, ref, term) for ref in (a, b)}
    assert not torch.allclose(*pulls.values())
    for ref, pull in pulls.items():
        falls = [kl_divergence(z - step * pull, ref).item() for step in (0, 0.01, 0.1)]
        assert falls[0] > falls[1] + 1e-6 > falls[2]
        assert term_gradient(ref, ref, term).tolist() == pytest.approx([0] * 4, abs=1e-9)  # fmt: skip


# --- test_kl_term: wrong ----------------------------------------------------------------------


def _test(says):
    return battery.wrong("test_kl_term", says=says)


def _swap(term, policy=POLICY, one=REFERENCE, other=OTHER):
    pulls = [term_gradient(policy, ref, term) for ref in (one, other)]
    assert (pulls[0] - pulls[1]).abs().max() > 1e-4, "the same pull"


def _step(term, policy=POLICY, ref=REFERENCE, size=0.1, least=1e-5):
    pull = term_gradient(policy, ref, term)
    after = kl_divergence(policy - size * pull, ref)
    assert after < kl_divergence(policy, ref) - least, "no nearer"


def _still(term, ref=REFERENCE, most=1e-5):
    assert term_gradient(ref, ref, term).abs().max() < most, "a pull at the reference"


@_test("never calls")
def test_of_nothing(term):
    assert True


@_test("no assert objects|accepts a faulty")
def test_without_an_assert(term):
    term_gradient(POLICY, REFERENCE, term)
    kl_divergence(POLICY, REFERENCE)


@_test("divergence grows if a small step")
def test_of_the_swap_alone(term):
    _swap(term)


@_test("two different references|accepts a faulty")
def test_without_the_swap(term):
    _step(term)
    _still(term)


@_test("pulls to the even policy at once|reference")
def test_without_the_standstill(term):
    _swap(term)
    _step(term)
    _step(term, ref=OTHER)


@_test("small step|divergence grows")
def test_without_the_step(term):
    _swap(term)
    _still(term)


@_test("uneven")
def test_at_an_even_reference(term):
    _swap(term)
    _step(term)
    _still(term, ref=torch.zeros(4))


@_test("three arms or more|two arms")
def test_of_two_arms(term):
    one, two, three = torch.tensor([[0.0, 1.0], [1.5, 0.0], [0.0, -1.0]])
    _swap(term, one, two, three)
    _step(term, one, two)
    _still(term, two)


@_test("left to right|reverse order")
def test_with_symmetric_references(term):
    one, two = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.5, -1.0])
    _swap(term, torch.tensor([0.0, 1.0, 0.3]), one, two)
    _step(term, torch.tensor([0.0, 1.0, 0.3]), one)
    _still(term, one)
    _still(term, two)


@_test("one policy|Adding the same number")
def test_of_one_reference_twice(term):
    _swap(term, other=REFERENCE + 1)
    _step(term)
    _still(term)


@_test("rejects a right version|against it")
def test_of_a_step_uphill(term):
    _swap(term)
    _still(term)
    _step(term, size=-0.1)


@_test("its own affair")
def test_of_k2s_numbers(term):
    p, q = POLICY.log_softmax(-1), REFERENCE.log_softmax(-1)
    assert torch.allclose(term(p, q), k2(p, q))


@_test("below 0")
def test_that_it_is_never_negative(term):
    p, q = POLICY.log_softmax(-1), REFERENCE.log_softmax(-1)
    assert (term(p, q) >= 0).all()
    _swap(term)
    _step(term)
    _still(term)


@_test("rejects a right version.*own affair")
def test_of_the_exact_gradient(term):
    """Only k2 and the price have it."""
    leaf = POLICY.clone().requires_grad_()
    kl_divergence(leaf, REFERENCE).backward()
    assert torch.allclose(term_gradient(POLICY, REFERENCE, term), leaf.grad, atol=1e-4)


@_test("rejects a right version.*own affair")
def test_of_the_mean(term):
    """The mean over all arms is the divergence: so it is with k1 and k3."""
    p, q = POLICY.log_softmax(-1), REFERENCE.log_softmax(-1)
    got = (p.exp() * term(p, q)).sum()
    assert torch.allclose(got, kl_divergence(POLICY, REFERENCE))


@_test("rejects a right version.*strong|rejects a right version")
def test_of_a_strong_pull(term):
    _swap(term)
    _still(term)
    assert term_gradient(POLICY, REFERENCE, term).norm() > 0.2


@_test("rejects a right version")
def test_of_one_large_step(term):
    _swap(term)
    _still(term)
    _step(term, size=30.0)


@_test("nothing to come nearer to|rejects a right version")
def test_of_a_step_at_the_reference(term):
    _still(term)
    _step(term, policy=REFERENCE)


@_test("Only an assert")
def test_that_returns(term):
    pull = term_gradient(POLICY, REFERENCE, term)
    return bool(kl_divergence(POLICY - 0.1 * pull, REFERENCE) < 1)


@_test("no assert objects")
def test_in_a_try(term):
    try:
        _swap(term)
        _step(term)
        _still(term)
    except AssertionError:
        print("wrong")


@_test("no assert objects|accepts a faulty")
def test_that_it_does_not_rise_much(term):
    _swap(term)
    _still(term)
    _step(term, least=-0.5)


@_test("no assert objects|accepts a faulty")
def test_of_bits(term):
    """Rounding is taken for a change."""
    pulls = [term_gradient(POLICY, ref, term) for ref in (REFERENCE, OTHER)]
    assert pulls[0] is not pulls[1]
    _step(term, least=-1e-4)
    _still(term)


@_test("stops with|stopped with")
def test_with_an_index_too_large(term):
    pull = term_gradient(POLICY, REFERENCE, term)
    assert pull[7] > 0


@_test("stops with|stopped with|requires grad")
def test_without_a_leaf(term):
    logits = torch.tensor([0.0, 1.0, 2.0])
    term(logits.log_softmax(-1), REFERENCE[:3].log_softmax(-1)).mean().backward()


@_test("one number per sample each")
def test_of_unequal_shapes(term):
    term(POLICY.log_softmax(-1), REFERENCE[:3].log_softmax(-1))


@_test("stops with.*assert|accepts a faulty")
def test_with_a_raise(term):
    pulls = [term_gradient(POLICY, ref, term) for ref in (REFERENCE, OTHER)]
    if torch.allclose(*pulls):
        raise ValueError("the same pull")
    _step(term)
    _still(term)


@_test("accepts a faulty|even policy")
def test_towards_an_even_reference(term):
    even = torch.zeros(4)
    _step(term, ref=even)
    _still(term, ref=even)
    _swap(term, one=even, other=OTHER)


@_test("accepts a faulty")
def test_of_the_sum(term):
    """The pull on all arms sums to 0, whatever the term."""
    pull = term_gradient(POLICY, REFERENCE, term)
    assert abs(pull.sum()) < 1e-5


@_test("accepts a faulty|divergence")
def test_of_values_at_the_reference(term):
    p = REFERENCE.log_softmax(-1)
    assert term(p, p).abs().max() < 1e-5
    _swap(term)


@_test("accepts a faulty")
def test_of_finite_numbers(term):
    pull = term_gradient(POLICY, REFERENCE, term)
    assert all(math.isfinite(x) for x in pull.tolist())


@_test("accepts a faulty|small step")
def test_of_what_is_not_zero(term):
    assert term_gradient(POLICY, REFERENCE, term).abs().max() > 1e-3
    _swap(term)
    _still(term)


def _counting(most):
    runs = []

    def test(term):
        term_gradient(POLICY, REFERENCE, term)
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 5, 6):
    _test("right version|accepts a faulty")(_counting(_most))


def _remembering():
    seen = []

    def test_against_what_came_first(term):
        seen.append(term_gradient(POLICY, REFERENCE, term))
        assert torch.allclose(seen[0], seen[-1])

    return test_against_what_came_first


_test("right version|accepts a faulty")(_remembering())
