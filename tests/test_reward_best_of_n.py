"""Best of n: enumerated on paper and by force, drawn, and against its loose bound."""

import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.reward.best_of_n import (
    best_of_n_curve,
    best_of_n_kl,
    best_of_n_kl_bound,
    best_of_n_probabilities,
    best_of_n_weights,
    expected_best,
    share_of_place,
)

REWARDS = some.lists(some.integers(0, 3), min_size=1, max_size=5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- the distribution


def enumerated(p, rewards, n):
    """Every sequence of n draws with its probability; of the best the first is kept."""
    best = [0.0] * len(p)
    for draws in product(range(len(p)), repeat=n):
        kept = max(draws, key=lambda i: rewards[i])
        best[kept] += math.prod(p[i] for i in draws)
    return best


@given(REWARDS, some.integers(1, 4), some.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_probabilities_are_those_of_every_possible_sequence_of_draws(
    rewards, n, seed
):
    p = torch.rand(len(rewards), generator=seeded(seed), dtype=torch.float64)
    p = p / p.sum()
    found = best_of_n_probabilities(p, torch.tensor(rewards).float(), n)
    slow = torch.tensor(enumerated(p.tolist(), rewards, n), dtype=torch.float64)
    torch.testing.assert_close(found, slow)


def test_without_ties_it_is_the_difference_of_two_powers():
    p = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64)
    found = best_of_n_probabilities(p, torch.tensor([1.0, 2.0, 3.0]), 8)
    wanted = torch.tensor([0.3**8, 0.5**8 - 0.3**8, 1 - 0.5**8], dtype=torch.float64)
    torch.testing.assert_close(found, wanted)


def test_what_cannot_be_drawn_is_never_the_best():
    p = torch.tensor([0.5, 0.5, 0.0])
    found = best_of_n_probabilities(p, torch.tensor([1.0, 2.0, 9.0]), 4)
    assert found[2] == 0
    assert found.sum() == pytest.approx(1)
    assert math.isfinite(best_of_n_kl(p, torch.tensor([1.0, 2.0, 9.0]), 4))


def test_draws_keep_the_best_as_often_as_it_says():
    p = torch.tensor([0.4, 0.3, 0.2, 0.1])
    rewards = torch.tensor([0.0, 2.0, 1.0, 3.0])
    draws = torch.multinomial(p.expand(20000, 4), 3, True, generator=seeded())
    best = draws.gather(1, rewards[draws].argmax(dim=1, keepdim=True)).flatten()
    shares = best.bincount(minlength=4) / 20000
    wanted = best_of_n_probabilities(p, rewards, 3).float()
    assert (shares - wanted).abs().max() < 5 * 0.5 / math.sqrt(20000)


# ---- the KL


def test_two_equally_likely_answers_on_paper():
    p, rewards = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 2.0])
    for n in (1, 2, 5):
        worse = 0.5**n
        wanted = worse * math.log(2 * worse) + (1 - worse) * math.log(2 * (1 - worse))
        assert best_of_n_kl(p, rewards, n) == pytest.approx(wanted)


def test_with_few_answers_the_bound_is_far_off_and_the_limit_is_the_bests_rarity():
    p, rewards = torch.tensor([0.3, 0.2, 0.5]), torch.tensor([1.0, 2.0, 3.0])
    assert best_of_n_kl(p, rewards, 10_000) == pytest.approx(-math.log(0.5))
    for n in (8, 64):
        assert best_of_n_kl(p, rewards, n) < 0.6 * best_of_n_kl_bound(n)


def test_with_ever_more_different_answers_the_bound_is_reached():
    for n in (2, 4, 16):
        distances = []
        for V in (20, 200, 2000):
            p = torch.full((V,), 1 / V, dtype=torch.float64)
            exact = best_of_n_kl(p, torch.randn(V, generator=seeded()), n)
            distances.append(best_of_n_kl_bound(n) - exact)
        assert distances[0] > distances[1] > distances[2] > 0
        assert distances[2] < 0.01


@given(REWARDS, some.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_the_kl_is_never_negative_nor_above_its_bound_and_grows_with_n(rewards, n):
    p = torch.rand(len(rewards), generator=seeded(n), dtype=torch.float64) + 0.01
    p, rewards = p / p.sum(), torch.tensor(rewards).float()
    now, later = best_of_n_kl(p, rewards, n), best_of_n_kl(p, rewards, n + 1)
    assert -1e-12 <= now <= best_of_n_kl_bound(n) + 1e-12
    assert later >= now - 1e-12


def test_where_all_are_equally_good_nothing_changes():
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    same = torch.zeros(3)
    torch.testing.assert_close(best_of_n_probabilities(p, same, 9), p)
    assert best_of_n_kl(p, same, 9) == pytest.approx(0, abs=1e-12)
    assert best_of_n_kl_bound(1) == 0


def test_only_the_order_of_rewards_matters():
    p = torch.tensor([0.3, 0.2, 0.5])
    rewards = torch.tensor([-1.0, 0.5, 0.1])
    assert best_of_n_kl(p, rewards, 4) == best_of_n_kl(p, (5 * rewards).exp(), 4)


# ---- one pool


@pytest.mark.parametrize("rewards", [[3.0, 1.0, 2.0, 5.0], [1.0, 2.0, 2.0, 0.0, 2.0]])
def test_weights_are_those_of_every_subset(rewards):
    N = len(rewards)
    for n in range(1, N + 1):
        slow = torch.zeros(N, dtype=torch.float64)
        subsets = list(combinations(range(N), n))
        for subset in subsets:
            top = max(rewards[i] for i in subset)
            best = [i for i in subset if rewards[i] == top]
            slow[best] += 1 / len(best) / len(subsets)
        found = best_of_n_weights(torch.tensor(rewards), n)
        torch.testing.assert_close(found, slow)


def test_one_draw_is_the_mean_and_all_draws_are_the_best():
    rewards = torch.randn(256, generator=seeded(), dtype=torch.float64)
    assert expected_best(rewards, 1) == pytest.approx(float(rewards.mean()))
    assert expected_best(rewards, 256) == pytest.approx(float(rewards.max()))
    values = [expected_best(rewards, n) for n in (1, 2, 4, 8, 64, 256)]
    assert values == sorted(values)
    assert sum(share_of_place(i, 256, 17) for i in range(1, 257)) == pytest.approx(1)


def test_the_best_of_many_normal_numbers_is_what_the_tables_say():
    pool = torch.randn(20000, generator=seeded(), dtype=torch.float64)
    assert expected_best(pool, 2) == pytest.approx(1 / math.sqrt(math.pi), abs=0.03)
    assert expected_best(pool, 3) == pytest.approx(1.5 / math.sqrt(math.pi), abs=0.03)


def test_a_curve_is_the_mean_over_prompts_and_shows_what_goes_wrong():
    learned = torch.rand(6, 32, generator=seeded())
    true = learned - 3 * (learned > 0.9)  # wrong about what it likes most
    curve = best_of_n_curve(learned, true, [1, 4, 32])
    assert curve.learned[0] < curve.learned[1] < curve.learned[2]
    assert curve.true[2] < curve.true[0]
    for n, mean in zip(curve.n, curve.true, strict=True):
        slow = [expected_best(r, n, t) for r, t in zip(learned, true, strict=True)]
        assert mean == pytest.approx(sum(slow) / 6)
    assert curve.kl[0] == pytest.approx(0, abs=1e-12)
    assert curve.kl[2] <= math.log(32)


def test_equal_texts_in_a_pool_are_one_answer_to_the_kl():
    rewards = torch.tensor([1.0, 1.0, 2.0, 3.0])
    pool = best_of_n_kl(torch.full((4,), 0.25), rewards, 5)
    merged = best_of_n_kl(torch.tensor([0.5, 0.25, 0.25]), rewards[1:], 5)
    assert pool == pytest.approx(merged)


# ---- bad input


def test_what_cannot_be_drawn_from_is_refused_in_a_sentence():
    p, rewards = torch.tensor([0.5, 0.5]), torch.tensor([1.0, math.nan])
    with pytest.raises(ValueError, match="The reward at place 1 is nan"):
        best_of_n_kl(p, rewards, 2)
    with pytest.raises(ValueError, match="The reward at place 1 is nan"):
        best_of_n_weights(rewards, 2)
    with pytest.raises(ValueError, match=r"with sum 1, not 0\.8"):
        best_of_n_kl(torch.tensor([0.5, 0.3]), torch.zeros(2), 2)
    with pytest.raises(ValueError, match="Each answer has a probability"):
        best_of_n_kl(p, torch.zeros(3), 2)
    with pytest.raises(ValueError, match="n counts answers, from 1 on; it is 0"):
        best_of_n_kl_bound(0)
    with pytest.raises(ValueError, match="The pool has 2 answers"):
        best_of_n_weights(torch.zeros(2), 3)
    with pytest.raises(ValueError, match="answers by prompts"):
        best_of_n_curve(torch.zeros(3), torch.zeros(3), [1])
    with pytest.raises(ValueError, match="The value at place 0 is nan"):
        expected_best(torch.zeros(1), 1, torch.tensor([math.nan]))
