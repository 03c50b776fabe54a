"""DPO on a table: the closed form, when it is RLHF's answer, when not, and who gets the mass."""

import math
from functools import partial

import pytest
import torch

from course_lib.bandits import climb, leashed_optimum
from course_lib.dpo.losses import dpo_loss, hinge_loss, implicit_rewards, ipo_loss
from course_lib.dpo.relatives import kto_pair_loss
from course_lib.dpo.tables import (
    bradley_terry_table,
    learn_table,
    log_partition,
    one_way_table,
    optimal_policy,
)

REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REWARDS = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)


def learned(wins, beta, steps=1200, **settings):
    lr = settings.pop("lr", 4 / beta**2)
    loss = partial(settings.pop("loss", dpo_loss), beta=beta)
    return learn_table(REF.log(), wins, steps, lr, loss, **settings)[-1]


# ---- the closed form


def test_the_optimum_on_paper():
    ref, rewards = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 2.0]).log()
    best = optimal_policy(ref, rewards.clamp(min=0), beta=0.5)  # 1 against 2 squared
    torch.testing.assert_close(best, torch.tensor([0.2, 0.8]))


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 10.0])
def test_it_is_that_of_the_bandit_and_of_a_slow_sum(beta):
    best = optimal_policy(REF, REWARDS, beta)
    torch.testing.assert_close(best, leashed_optimum(REWARDS, REF.log(), beta))
    pairs = zip(REF.tolist(), REWARDS.tolist(), strict=True)
    weights = [p * math.exp(r / beta) for p, r in pairs]
    slow = torch.tensor([each / sum(weights) for each in weights]).double()
    torch.testing.assert_close(best, slow, rtol=1e-6, atol=1e-9)
    Z = log_partition(REF, REWARDS, beta).item()
    assert pytest.approx(math.log(sum(weights))) == Z


def test_rewards_of_a_thousand_and_impossible_answers_give_no_nan():
    ref = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    rewards = torch.tensor([[0.0, 1000.0, 5000.0], [0.0, 1.0, 2.0]])
    best = optimal_policy(ref, rewards, beta=0.1)
    assert best.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]


def test_ascent_on_reward_less_kl_arrives_there():
    path = climb(REWARDS, REF.log(), kl_coef=1.0, steps=400)
    torch.testing.assert_close(
        path[-1], optimal_policy(REF, REWARDS, 1.0), rtol=1e-4, atol=1e-6
    )


def test_the_implicit_reward_of_the_optimum_is_the_reward_less_one_number():
    best = optimal_policy(REF, REWARDS, beta=0.7)
    implied = implicit_rewards(best.log(), REF.log(), beta=0.7)
    shift = 0.7 * log_partition(REF, REWARDS, beta=0.7)
    torch.testing.assert_close(implied, REWARDS - shift)
    gaps = implied.unsqueeze(1) - implied  # in which that number is gone
    torch.testing.assert_close(gaps, REWARDS.unsqueeze(1) - REWARDS)


def test_without_a_price_there_is_no_optimum():
    with pytest.raises(AssertionError, match="without a price"):
        optimal_policy(REF, REWARDS, beta=0.0)


# ---- equivalent to RLHF?


def test_tables_of_wins_on_paper():
    wins = bradley_terry_table(torch.tensor([0.0, 3.0]).log().clamp(min=0))
    torch.testing.assert_close(wins, torch.tensor([[0.0, 0.25], [0.75, 0.0]]))
    assert one_way_table(torch.tensor([1.0, 2.0, 1.0])).tolist() == [
        [0.0, 0.0, 0.0],
        [1.0, 0.0, 1.0],
        [0.0, 0.0, 0.0],
    ]


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_with_bradley_terry_shares_dpo_is_rlhf_to_four_digits(beta):
    found = learned(bradley_terry_table(REWARDS), beta)
    wanted = optimal_policy(REF, REWARDS, beta)
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-5)


def test_with_each_pair_labelled_one_way_dpo_leaves_the_leash_at_any_beta():
    for beta in (0.5, 1.0):
        assert learned(one_way_table(REWARDS), beta, steps=2000)[3] > 0.98
    assert optimal_policy(REF, REWARDS, 1.0)[3] < 0.6  # where RLHF stays


def test_the_longer_dpo_trains_on_labels_that_never_vary_the_further_it_goes():
    loss = partial(dpo_loss, beta=1.0)
    path = learn_table(REF.log(), one_way_table(REWARDS), 1600, 4.0, loss)
    worst = path[[100, 400, 1600], 0].log()
    assert (worst.diff() < -0.5).all()


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_ipo_comes_to_rest_at_a_gap_of_one_over_two_beta(beta):
    wins = torch.zeros(4, 4).double()
    wins[3, 0] = 1.0  # one pair, always the same label
    found = learned(wins, beta, loss=ipo_loss, lr=0.2, steps=300)
    gains = (found / REF).log()
    assert (gains[3] - gains[0]).item() == pytest.approx(1 / (2 * beta))
    again = learned(wins, beta, loss=ipo_loss, lr=0.2, steps=600)
    torch.testing.assert_close(found, again)


def test_a_pair_that_nobody_compared_is_decided_by_the_reference_alone():
    """Two islands of answers: how they stand to each other no label says."""
    wins = bradley_terry_table(REWARDS)
    wins[:2, 2:] = wins[2:, :2] = 0.0
    found, wanted = learned(wins, 0.5), optimal_policy(REF, REWARDS, 0.5)
    for island in (slice(0, 2), slice(2, 4)):
        inside = wanted[island] / wanted[island].sum()
        torch.testing.assert_close(
            found[island] / found[island].sum(), inside, rtol=0, atol=5e-5
        )
    assert (found - wanted).abs().max() > 0.1


# ---- who gets the mass


SHARED = torch.tensor(  # what answers have in common: columns are features
    [[2.0, 1.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64
)


def displaced(**settings):
    """Only answers 0 and 1 are compared; they differ in what answer 2 has more of."""
    wins = torch.zeros(4, 4).double()
    wins[0, 1] = 1.0
    even = torch.zeros(4).double()
    loss = partial(settings.pop("loss", dpo_loss), beta=0.1)
    return learn_table(even, wins, 500, 20.0, loss, features=SHARED, **settings)


def test_both_answers_of_a_pair_may_lose_to_one_that_nobody_compared():
    path = displaced()
    chosen, rejected, unrelated = path[:, 0], path[:, 1], path[:, 2]
    assert (chosen / rejected).log().diff().min() > 0  # the gap opens all the time
    assert chosen[-1] < 1e-3 * chosen[0]
    assert unrelated[-1] > 0.99


def test_with_a_logit_of_its_own_the_chosen_answer_does_not_fall():
    wins = torch.zeros(4, 4).double()
    wins[0, 1] = 1.0
    path = learn_table(torch.zeros(4).double(), wins, 200, 5.0)
    assert (path[:, 0].diff() > 0).all()


def test_what_holds_the_chosen_answer_up_limits_the_damage():
    """The hinge is content with a lead, KTO holds each answer to its own reference."""
    plain = displaced()[-1, 0]
    assert displaced(loss=hinge_loss)[-1, 0] > plain
    assert displaced(loss=kto_pair_loss)[-1, 0] > 10 * plain


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError, match="wins"):
        learn_table(torch.zeros(3), torch.zeros(2, 2), 1, 0.1)
