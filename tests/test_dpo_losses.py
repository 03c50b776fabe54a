"""DPO's losses and their relatives: on paper, by slow loops, and their gradients by autograd."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib.dpo.losses import (
    check_same,
    dpo_loss,
    gradient_weights,
    hinge_loss,
    implicit_accuracy,
    implicit_rewards,
    ipo_loss,
    log_ratio_gaps,
    robust_loss,
)
from course_lib.dpo.relatives import (
    kto_loss,
    kto_pair_loss,
    log_odds,
    orpo_loss,
    reference_point,
    simpo_loss,
)
from course_lib.reward.losses import bradley_terry_loss

WITH_REFERENCE = [dpo_loss, ipo_loss, hinge_loss, robust_loss]
SUMS = some.floats(-60, -0.1)


def rows(count=4, B=50, seed=0):
    """Log-probabilities of whole answers: chosen, rejected, and both by the reference."""
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, B, generator=draws, dtype=torch.float64)
    return [-20 + 5 * row for row in noise]


def close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12)


def slopes(loss, *leaves):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    return torch.autograd.grad(loss(*leaves).sum(), leaves)


# ---- DPO


def test_the_loss_on_paper():
    chosen, rejected = torch.tensor([-4.0, -4.0]), torch.tensor([-6.0, -6.0])
    # gained 2 and lost 1, a gap of 3; then the same the other way round
    ref_chosen, ref_rejected = torch.tensor([-6.0, -2.0]), torch.tensor([-5.0, -7.0])
    beta = math.log(3) / 3
    losses = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta)
    wanted = torch.tensor([math.log(4 / 3), math.log(4)])
    torch.testing.assert_close(losses, wanted)


@given(SUMS, SUMS, some.floats(0.01, 5), some.floats(0, 0.49))
def test_at_the_reference_every_loss_has_its_own_known_value(c, r, beta, share):
    pair = torch.tensor([[c], [r]], dtype=torch.float64)
    for loss, value in [
        (partial(dpo_loss, beta=beta, smoothing=share), math.log(2)),
        (partial(robust_loss, beta=beta, flip=share), math.log(2)),
        (partial(hinge_loss, beta=beta), 1.0),
        (partial(ipo_loss, beta=beta), 1 / (4 * beta**2)),
        (partial(kto_pair_loss, beta=beta), 1.0),
    ]:
        assert loss(*pair, *pair).item() == pytest.approx(value)


@pytest.mark.parametrize("loss", WITH_REFERENCE)
def test_a_constant_of_the_prompt_cancels(loss):
    """What the partition function adds to both answers of a prompt, no loss can see."""
    chosen, rejected, ref_chosen, ref_rejected = rows()
    shift = rows(1, seed=9)[0]
    plain = loss(chosen, rejected, ref_chosen, ref_rejected)
    close(loss(chosen + shift, rejected + shift, ref_chosen, ref_rejected), plain)
    close(loss(chosen, rejected, ref_chosen - shift, ref_rejected - shift), plain)


@pytest.mark.parametrize("loss", WITH_REFERENCE)
def test_moving_both_answers_down_together_costs_nothing(loss):
    four = rows()
    down = loss(four[0] - 100, four[1] - 100, *four[2:])
    torch.testing.assert_close(down, loss(*four), rtol=1e-9, atol=1e-9)


def test_a_loop_with_plain_logarithms_agrees():
    four, beta, share = rows(), 0.3, 0.2
    losses = dpo_loss(*four, beta=beta, smoothing=share)
    for i, (c, r, rc, rr) in enumerate(torch.stack(four, dim=1).tolist()):
        wins = 1 / (1 + math.exp(-beta * ((c - rc) - (r - rr))))
        slow = -(1 - share) * math.log(wins) - share * math.log(1 - wins)
        assert losses[i].item() == pytest.approx(slow)


def test_dpo_is_the_reward_models_loss_on_implicit_rewards():
    chosen, rejected, ref_chosen, ref_rejected = rows()
    for share in (0.0, 0.1):
        rewards = (
            implicit_rewards(chosen, ref_chosen, beta=0.3),
            implicit_rewards(rejected, ref_rejected, beta=0.3),
        )
        wanted = bradley_terry_loss(*rewards, smoothing=share)
        close(dpo_loss(*rows(), beta=0.3, smoothing=share), wanted)


def test_a_hopeless_pair_costs_its_gap_and_is_never_infinite():
    far, zero = torch.tensor([1e4, 300.0]), torch.zeros(2)
    assert dpo_loss(-far, far, zero, zero, beta=1.0).tolist() == [2e4, 600.0]
    assert dpo_loss(far, -far, zero, zero, beta=1.0).tolist() == [0.0, 0.0]
    for loss in (hinge_loss, robust_loss, kto_pair_loss):
        assert loss(-far, far, zero, zero).isfinite().all()


def test_the_gradient_is_the_weight_down_for_chosen_and_up_for_rejected():
    chosen, rejected, ref_chosen, ref_rejected = rows()
    beta = 0.3
    down, up, *_ = slopes(partial(dpo_loss, beta=beta), *rows())
    weights = gradient_weights(
        implicit_rewards(chosen, ref_chosen, beta),
        implicit_rewards(rejected, ref_rejected, beta),
        beta,
    )
    close(down, -weights)
    close(up, weights)
    assert 0 < weights.min() < 0.1 * beta < 0.9 * beta < weights.max() < beta


def test_a_pair_that_is_ranked_wrong_pulls_harder_than_one_that_is_settled():
    leads = torch.tensor([-40.0, -1.0, 0.0, 1.0, 40.0])
    weights = gradient_weights(leads, torch.zeros(5), beta=0.2)
    assert (weights.diff() < 0).all()
    assert weights[2] == 0.1
    torch.testing.assert_close(weights[[0, 4]], torch.tensor([0.2, 0.0]))


def test_gradients_agree_with_finite_differences():
    for loss in (
        partial(dpo_loss, beta=0.5, smoothing=0.2), partial(robust_loss, flip=0.2),
        ipo_loss, kto_pair_loss,
    ):  # fmt: skip
        leaves = [row.requires_grad_() for row in rows(B=6)]
        assert torch.autograd.gradcheck(loss, leaves)
    for loss in (simpo_loss, partial(orpo_loss, weight=0.7)):
        leaves = [(row / 20).requires_grad_() for row in rows(2, B=6)]
        assert torch.autograd.gradcheck(loss, leaves)


# ---- other shapes of the loss


def test_dpo_pushes_a_settled_pair_on_and_ipo_calls_it_back():
    gaps = torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64)  # 1 / (2 * 0.1) = 5
    zero = torch.zeros(3, dtype=torch.float64)
    dpo = slopes(partial(dpo_loss, beta=0.1), gaps, zero, zero, zero)[0]
    ipo = slopes(partial(ipo_loss, beta=0.1), gaps, zero, zero, zero)[0]
    assert (dpo < 0).all()
    assert ipo.tolist() == [-2.0, 0.0, 2.0]


def test_a_hinge_pulls_with_beta_until_the_lead_is_1_and_then_not_at_all():
    gaps = torch.tensor([-50.0, 0.0, 4.9, 5.1, 50.0], dtype=torch.float64)
    zero = torch.zeros(5, dtype=torch.float64)
    pull = slopes(partial(hinge_loss, beta=0.2), gaps, zero, zero, zero)[0]
    assert pull.tolist() == [-0.2, -0.2, -0.2, 0.0, 0.0]


def test_over_flipped_labels_the_robust_loss_has_the_mean_of_dpo_on_clean_ones():
    chosen, rejected, ref_chosen, ref_rejected = rows()
    for flip in (0.0, 0.1, 0.4):
        robust = partial(robust_loss, beta=0.3, flip=flip)
        as_said = robust(chosen, rejected, ref_chosen, ref_rejected)
        turned = robust(rejected, chosen, ref_rejected, ref_chosen)
        mean = (1 - flip) * as_said + flip * turned
        close(mean, dpo_loss(*rows(), beta=0.3))


def test_smoothing_stops_at_a_finite_gap():
    gaps = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    zero = torch.zeros_like(gaps)
    losses = dpo_loss(gaps, zero, zero, zero, beta=1.0, smoothing=0.2)
    assert float(gaps[losses.argmin()]) == pytest.approx(math.log(4), abs=1e-3)


# ---- without a reference


def test_simpo_on_paper_and_its_margin_moves_the_point_of_even_odds():
    lead = torch.tensor([0.25, 0.25 + math.log(3) / 2])
    losses = simpo_loss(lead - 1, torch.full((2,), -1.0), beta=2.0, margin=0.5)
    wanted = torch.tensor([math.log(2), math.log(4 / 3)])
    torch.testing.assert_close(losses, wanted)


@given(some.floats(-80, -1e-5))
def test_log_odds_are_those_of_the_formula_where_it_can_be_computed(logprob):
    found = log_odds(torch.tensor([logprob], dtype=torch.float64)).item()
    p = math.exp(logprob)
    assert found == pytest.approx(logprob - math.log(-math.expm1(logprob)), rel=1e-9)
    if 1e-3 < p < 0.999:
        assert found == pytest.approx(math.log(p / (1 - p)), rel=1e-6, abs=1e-9)


def test_an_answer_that_is_certain_gives_numbers_and_no_nan():
    sure = torch.zeros(2, requires_grad=True)
    losses = orpo_loss(sure, torch.tensor([-0.0, -300.0]), weight=1.0)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert sure.grad.isfinite().all()


def test_orpo_is_fine_tuning_with_a_push_on_the_odds():
    chosen, rejected = torch.tensor([0.75, 0.5]).log(), torch.tensor([0.5, 0.75]).log()
    losses = orpo_loss(chosen, rejected, weight=2.0)  # odds of 3 to 1, and of 1 to 3
    wanted = -chosen + 2 * torch.tensor([math.log(4 / 3), math.log(4)])
    torch.testing.assert_close(losses, wanted)
    torch.testing.assert_close(orpo_loss(chosen, rejected, weight=0.0), -chosen)


def test_orpos_first_term_holds_the_chosen_answer_up():
    """Both answers down together: DPO does not care, ORPO does."""
    chosen, rejected = torch.full((1,), -0.5), torch.full((1,), -0.6)
    before, after = orpo_loss(chosen, rejected), orpo_loss(chosen - 2, rejected - 2)
    assert after > before + 1


# ---- without pairs


def test_kto_on_paper():
    third = math.log(3)  # the sigmoid of it is 3/4
    logprobs = torch.tensor([-4.0 + third, -4.0 + third, -4.0, -4.0])
    good = torch.tensor([True, False, True, False])
    losses = kto_loss(logprobs, torch.full((4,), -4.0), good, beta=1.0)
    torch.testing.assert_close(losses, torch.tensor([0.25, 0.75, 0.5, 0.5]))
    weighed = kto_loss(
        logprobs, torch.full((4,), -4.0), good, torch.tensor(third), 1.0, 2.0, 3.0
    )
    torch.testing.assert_close(weighed, torch.tensor([1.0, 1.5, 1.5, 0.75]))


def test_kto_raises_the_good_and_lowers_the_bad_and_rests_far_from_the_point():
    gains = torch.tensor([-500.0, 0.0, 500.0] * 2, dtype=torch.float64)
    good = torch.tensor([True] * 3 + [False] * 3)
    zero = torch.zeros(6, dtype=torch.float64)
    pull = slopes(lambda x: kto_loss(x, zero, good, beta=0.2), gains)[0]
    wanted = torch.tensor([0, -0.05, 0, 0, 0.05, 0], dtype=torch.float64)
    torch.testing.assert_close(pull, wanted, rtol=1e-9, atol=1e-12)


def test_no_gradient_flows_into_the_reference_point():
    chosen, rejected, *_ = (row.requires_grad_() for row in rows())
    point = reference_point(chosen + 30, rejected)
    assert point > 0
    assert not point.requires_grad
    assert reference_point(chosen - 100, rejected) == 0
    kto_loss(rejected, rejected.detach(), rejected > 0, chosen.mean()).sum().backward()
    assert chosen.grad is None


# ---- what does not belong together


def test_rows_that_do_not_belong_together_are_refused_in_a_sentence():
    two, three = torch.zeros(2), torch.zeros(3)
    for loss in WITH_REFERENCE:
        with pytest.raises(ValueError, match=r"chosen \(2,\), rejected \(3,\)"):
            loss(two, three, two, two)
    with pytest.raises(ValueError, match=r"ref_logprobs \(3,\)"):
        implicit_rewards(two, three)
    with pytest.raises(ValueError, match=r"ref_chosen is a row of log-prob.*None"):
        dpo_loss(two, two, None, None)
    with pytest.raises(ValueError, match="One number per answer"):
        simpo_loss(two, three)
    with pytest.raises(AssertionError, match="True = a good answer"):
        kto_loss(two, two, two)
    with pytest.raises(AssertionError, match="less than half"):
        dpo_loss(two, two, two, two, smoothing=0.5)
    check_same(one=two, other=two)


def test_the_gap_is_that_of_log_ratios_and_the_losses_know_nothing_else():
    four = rows()
    gaps = log_ratio_gaps(*four)
    zero = torch.zeros_like(gaps)
    close(gaps, (four[0] - four[1]) - (four[2] - four[3]))
    for loss in WITH_REFERENCE:
        torch.testing.assert_close(
            loss(gaps, zero, zero, zero), loss(*four), rtol=1e-9, atol=1e-9
        )


def test_a_policy_agrees_where_the_chosen_gained_more_however_rare_it_is():
    ref_chosen = torch.tensor([-9.0, -9.0, -1.0, -1.0])
    ref_rejected = torch.tensor([-1.0, -1.0, -9.0, -9.0])
    rejected = ref_rejected - torch.tensor([2.0, 0.0, 0.0, -2.0])
    found = implicit_accuracy(ref_chosen + 1, rejected, ref_chosen, ref_rejected)
    assert found == 0.75  # the last one gained 1 where the rejected one gained 2
    assert implicit_accuracy(ref_chosen, ref_rejected, ref_chosen, ref_rejected) == 0.5
