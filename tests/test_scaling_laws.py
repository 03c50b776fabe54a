"""Laws of scale: limits and optima as in the papers; a fit finds what was planted."""

import doctest
import math
import time

import pytest
import torch
from scipy.optimize import least_squares, minimize_scalar

from course_lib.scaling import emergence, fitting, laws
from course_lib.scaling.emergence import (
    accuracy_for,
    exact_match,
    stretches_right,
    token_accuracy,
)
from course_lib.scaling.fitting import (
    bootstrap,
    descend,
    fit,
    huber,
    interval,
    log_loss,
    valley,
)
from course_lib.scaling.flops import train_flops
from course_lib.scaling.laws import (
    KAPLAN_ALONE,
    KAPLAN_JOINT,
    PRINTED,
    REFIT,
    UNROUNDED,
    Chinchilla,
    against_optimum,
    cheapest,
    chinchilla_loss,
    growth_for,
    kaplan_compute_loss,
    kaplan_loss,
    lifetime_flops,
    lowest,
    optimal,
    overtraining,
    power_law,
    search_optimal,
    tokens_for,
)

every_law = pytest.mark.parametrize("law", [PRINTED, UNROUNDED, REFIT])
BUDGETS = [1e15, 1e18, 5.88e21, 5.76e23, 3.8e25]


@pytest.mark.parametrize("module", [laws, emergence, fitting])
def test_the_examples_in_the_docstrings_run(module):
    assert doctest.testmod(module).failed == 0


# ---- Kaplan


def test_three_forms_at_seven_billion_parameters_as_the_errata_work_them_out():
    N, D = 7e9, 140e9
    assert kaplan_loss(N, D) == pytest.approx(2.03, abs=0.005)
    assert chinchilla_loss(N, D, PRINTED) == pytest.approx(2.18, abs=0.005)
    added = power_law(N, KAPLAN_ALONE.size_scale, 0.076)  # a form that circulates
    added += power_law(D, KAPLAN_ALONE.data_scale, 0.095)
    assert added > 1.5 * kaplan_loss(N, D)  # it adds two whole losses


@pytest.mark.parametrize("law", [KAPLAN_JOINT, KAPLAN_ALONE])
@pytest.mark.parametrize("x", [1e6, 1e9, 1e12])
def test_without_one_limit_kaplans_joint_law_is_the_power_law_of_the_other(law, x):
    size = power_law(x, law.size_scale, law.size_exponent)
    data = power_law(x, law.data_scale, law.data_exponent)
    assert kaplan_loss(x, math.inf, law) == pytest.approx(size, rel=1e-12)
    assert kaplan_loss(math.inf, x, law) == pytest.approx(data, rel=1e-12)
    assert kaplan_loss(x, x, law) > max(size, data)
    assert kaplan_loss(math.inf, math.inf, law) == 0  # no floor: text has an entropy


def test_to_halve_a_loss_by_size_alone_takes_nine_thousand_times_the_parameters():
    """2 ** (1 / .076) on paper."""
    factor = growth_for(0.5, 0.076)
    assert factor == pytest.approx(9100, rel=0.01)
    before = power_law(1e9, 8.8e13, 0.076)
    assert power_law(1e9 * factor, 8.8e13, 0.076) == pytest.approx(before / 2)


def test_ten_times_the_compute_lowers_kaplans_loss_by_a_ninth():
    """10 ** -0.05 = 0.891 on paper; 3.1e8 PF-days alone reach 1 nat."""
    assert kaplan_compute_loss(3.1e8 * 1e15 * 24 * 3600) == pytest.approx(1)
    ratio = kaplan_compute_loss(1e22) / kaplan_compute_loss(1e21)
    assert ratio == pytest.approx(0.891, abs=5e-4)
    assert growth_for(0.5, 0.050) == pytest.approx(2**20)


# ---- Chinchilla


@every_law
def test_chinchillas_law_ends_at_its_floor_and_always_falls(law):
    assert chinchilla_loss(math.inf, math.inf, law) == law.E
    assert chinchilla_loss(1.0, 1.0, law) == pytest.approx(law.E + law.A + law.B)
    sizes = [10.0**k for k in range(6, 14)]
    for fixed in sizes:
        more = [chinchilla_loss(n, fixed, law) for n in sizes]
        longer = [chinchilla_loss(fixed, d, law) for d in sizes]
        assert more == sorted(more, reverse=True)
        assert longer == sorted(longer, reverse=True)
        assert min(more + longer) > law.E


@every_law
@pytest.mark.parametrize("compute", BUDGETS)
def test_the_best_size_in_closed_form_is_the_one_that_a_search_finds(law, compute):
    N, D = optimal(compute, law)
    assert train_flops(N, D) == pytest.approx(compute, rel=1e-12)
    found, tokens = search_optimal(compute, law)
    # near the bottom a loss changes with the square of log N: 1e-16 there is 1e-7 here
    assert found == pytest.approx(N, rel=1e-6)
    assert tokens == pytest.approx(D, rel=1e-6)
    theirs = minimize_scalar(
        lambda x: chinchilla_loss(math.exp(x), compute / 6 / math.exp(x), law),
        bounds=(0, math.log(compute / 6)), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    assert math.exp(theirs.x) == pytest.approx(N, rel=1e-5)
    best = chinchilla_loss(N, D, law)
    for factor in (0.5, 0.9, 1.1, 2):
        assert chinchilla_loss(N * factor, D / factor, law) > best


@every_law
@pytest.mark.parametrize("compute", BUDGETS)
def test_at_the_optimum_the_last_operation_helps_both_terms_alike(law, compute):
    """The derivative by log N is 0: alpha A / N^alpha = beta B / D^beta."""
    N, D = optimal(compute, law)
    size, data = law.A / N**law.alpha, law.B / D**law.beta
    assert law.alpha * size == pytest.approx(law.beta * data, rel=1e-9)


def test_the_refit_gives_twenty_tokens_per_parameter_and_the_printed_constants_do_not():
    ratios = {}
    for law in (REFIT, PRINTED, UNROUNDED):
        N, D = optimal(5.88e21, law)
        ratios[law] = D / N
    assert ratios[REFIT] == pytest.approx(20, abs=1)
    assert ratios[PRINTED] == pytest.approx(59, abs=1)
    assert ratios[UNROUNDED] == pytest.approx(40, abs=1)  # rounding exponents did that
    N, D = optimal(5.76e23, PRINTED)  # Chinchilla's own budget
    assert round(D / N) == 93
    N, D = optimal(5.88e21, PRINTED)
    assert pytest.approx(4.1e9, rel=0.02) == N
    assert pytest.approx(2.4e11, rel=0.01) == D
    N, D = optimal(5.88e21)
    assert pytest.approx(6.9e9, rel=0.01) == N
    assert pytest.approx(1.42e11, rel=0.01) == D


def test_the_exponents_of_the_optimum_are_those_that_the_papers_print():
    """N grows as C to .46 (Hoffmann et al., table 2, approach 3), .51 in the refit."""
    for law, exponent in ((UNROUNDED, 0.46), (REFIT, 0.513)):
        N, _ = optimal(1e20, law)
        more, _ = optimal(1e22, law)
        assert math.log(more / N) / math.log(100) == pytest.approx(exponent, abs=4e-3)


@pytest.mark.parametrize(
    ("million", "compute", "billion"),
    [(400, 2.21e19, 9.2), (1000, 1.62e20, 27.1), (10_000, 2.46e22, 410.1),
     (520_000, 1.36e26, 43_500), (10**6, 5.65e26, 94_100), (10**7, 8.55e28, 1.4255e6)],
)  # fmt: skip
def test_rounded_constants_no_longer_give_the_table_that_was_made_with_the_others(
    million, compute, billion
):
    """Hoffmann et al. 2022, table A3, approach 3: the rows whose 6 N D is their C."""
    assert train_flops(million * 1e6, billion * 1e9) == pytest.approx(compute, rel=4e-3)
    N, D = optimal(compute, UNROUNDED)
    assert pytest.approx(million * 1e6, rel=0.08) == N
    assert pytest.approx(billion * 1e9, rel=0.08) == D
    assert optimal(compute, PRINTED)[0] < 0.82 * million * 1e6


def test_the_unrounded_constants_give_forty_billion_parameters_for_gophers_compute():
    """Hoffmann et al. 2022, figure 4; rounded, they are those that were printed."""
    assert optimal(5.76e23, UNROUNDED)[0] / 1e9 == pytest.approx(40, abs=0.5)
    for name, digits in {"E": 2, "A": 1, "B": 1, "alpha": 2, "beta": 2}.items():
        exact = getattr(UNROUNDED, name)
        assert round(exact, digits) == getattr(PRINTED, name), name


def test_a_valley_is_searched_to_its_bottom_wherever_it_lies():
    for bottom in (2e-3, 1.0, 5e5):
        found = lowest(lambda x, b=bottom: math.log(x / b) ** 2, 1e-6, 1e9)
        assert found == pytest.approx(bottom, rel=1e-6)
    assert lowest(lambda x: x, 1.0, 9.0) == pytest.approx(1)
    assert lowest(lambda x: -x, 1.0, 9.0) == pytest.approx(9)


@every_law
def test_a_model_stands_against_the_best_one_of_its_own_compute(law):
    ours, best = against_optimum(7e9, 2e12, law)
    assert ours == pytest.approx(2e12 / 7e9)
    N, D = search_optimal(6 * 7e9 * 2e12, law)
    assert best == pytest.approx(D / N, rel=1e-5)
    N, D = optimal(1e22, law)
    ours, best = against_optimum(N, D, law)
    assert ours == pytest.approx(best, rel=1e-9)


# ---- away from the best


@every_law
def test_tokens_for_a_loss_are_those_that_lead_to_it(law):
    for N in (1e7, 1e9, 7e10):
        for D in (1e8, 1e11, 1e13):
            loss = chinchilla_loss(N, D, law)
            assert tokens_for(loss, N, law) == pytest.approx(D, rel=1e-6)
    end = law.E + law.A / 1e9**law.alpha
    with pytest.raises(ValueError, match=r"1e\+09 parameters end at .* no number of"):
        tokens_for(end - 1e-6, 1e9, law)


@every_law
@pytest.mark.parametrize("compute", [1e20, 1e23])
def test_the_farther_from_the_best_size_the_more_compute_the_same_loss_costs(
    law, compute
):
    assert overtraining(compute, 1.0, law) == pytest.approx(1, rel=1e-9)
    smaller = [overtraining(compute, share, law) for share in (0.9, 0.7, 0.5, 0.35)]
    larger = [overtraining(compute, share, law) for share in (1.1, 1.5, 3, 10)]
    assert [1, *smaller] == sorted([1, *smaller])
    assert [1, *larger] == sorted([1, *larger])
    N, D = optimal(compute, law)
    tokens = overtraining(compute, 0.5, law) * compute / (6 * N / 2)
    same = chinchilla_loss(N / 2, tokens, law)
    assert same == pytest.approx(chinchilla_loss(N, D, law), rel=1e-12)
    with pytest.raises(ValueError, match="no number of tokens"):
        overtraining(compute, 0.01, law)


def test_the_overhead_is_the_same_at_every_budget():
    """Both terms keep their proportion at the optimum, so C drops out."""
    factors = [overtraining(compute, 0.5) for compute in (1e18, 1e21, 1e24)]
    assert max(factors) == pytest.approx(min(factors), rel=1e-9)
    r = REFIT.beta / REFIT.alpha  # D's term is alpha/beta times N's: solved by hand
    more = 1 - r * (0.5**-REFIT.alpha - 1)
    assert factors[0] == pytest.approx(0.5 * more ** (-1 / REFIT.beta), rel=1e-9)


@every_law
def test_the_cheapest_life_without_readers_is_the_compute_optimum(law):
    N, D = optimal(1e22, law)
    found, tokens = cheapest(chinchilla_loss(N, D, law), 0, law)
    assert found == pytest.approx(N, rel=1e-4)
    assert tokens == pytest.approx(D, rel=1e-3)


def test_reading_three_times_the_training_text_doubles_the_cost_of_a_life():
    """6 N D + 2 N * 3 D = 12 N D on paper."""
    assert lifetime_flops(7e9, 1e11, 3e11) == 2 * train_flops(7e9, 1e11)
    for nothing in (0, -1e20, math.nan):
        with pytest.raises(AssertionError, match="more than 0 operations"):
            optimal(nothing)


def test_the_more_a_model_is_read_the_smaller_and_longer_trained_it_should_be():
    loss = chinchilla_loss(*optimal(1e23))
    plans = [cheapest(loss, served) for served in (0, 1e11, 1e13, 1e15)]
    sizes, tokens = zip(*plans, strict=True)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert list(tokens) == sorted(tokens)
    for (N, D), served in zip(plans, (0, 1e11, 1e13, 1e15), strict=True):
        assert chinchilla_loss(N, D) == pytest.approx(loss, rel=1e-9)
        for factor in (0.9, 1.1):
            other = lifetime_flops(
                N * factor, tokens_for(loss, N * factor, REFIT), served
            )
            assert other > lifetime_flops(N, D, served)
    with pytest.raises(ValueError, match=r"1.5 is out of reach"):
        cheapest(1.5, 0)


# ---- emergence


def test_a_smooth_accuracy_becomes_a_jump_on_ten_tokens():
    values = [exact_match(p, 10) for p in (0.7, 0.9, 0.99)]
    assert values == pytest.approx([0.03, 0.35, 0.90], abs=0.005)
    assert exact_match(0.3, 1) == 0.3
    assert exact_match(1.0, 99) == 1


def test_drawn_answers_are_right_as_often_as_the_power_says():
    draws = torch.rand(100_000, 6, generator=torch.Generator().manual_seed(0))
    for p in (0.5, 0.8, 0.95):
        share = (draws < p).all(dim=1).double().mean().item()
        expected = exact_match(p, 6)
        error = math.sqrt(expected * (1 - expected) / 100_000)
        assert abs(share - expected) < 4 * error


@pytest.mark.parametrize("length", [1, 2, 5, 11])
def test_stretches_are_those_of_a_slow_loop_and_never_cross_texts(length):
    right = torch.rand(7, 11, generator=torch.Generator().manual_seed(length)) < 0.8
    found = [
        all(row[begin : begin + length])
        for row in right.tolist()
        for begin in range(11 - length + 1)
    ]
    assert stretches_right(right, length) == pytest.approx(sum(found) / len(found))
    halves = torch.tensor([[False, True], [True, False]])
    assert stretches_right(halves, 2) == 0
    for wrong in (0, 12):
        with pytest.raises(AssertionError, match="fits a text"):
            stretches_right(right, wrong)


def test_stretches_of_independent_tokens_follow_the_power():
    right = torch.rand(400, 500, generator=torch.Generator().manual_seed(3)) < 0.9
    for length in (1, 3, 8):
        assert stretches_right(right, length) == pytest.approx(
            exact_match(0.9, length),
            rel=0.01,  # 4 standard errors at length 8
        )


def test_accuracy_for_a_target_undoes_the_power_and_a_loss_gives_the_accuracy():
    for length in (1, 3, 50):
        for target in (0.01, 0.5, 0.99):
            assert exact_match(accuracy_for(target, length), length) == pytest.approx(
                target
            )
    assert token_accuracy(0.0) == 1
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1])).item()
    assert token_accuracy(loss) == pytest.approx(logits.softmax(-1)[0, 1].item())
    for wrong in (-0.1, 1.1):
        with pytest.raises(AssertionError, match="a probability"):
            exact_match(wrong, 2)


# ---- the fit


def grid(sizes=6, budgets=5):
    """Runs along lines of equal compute, as Hoffmann et al. laid them out."""
    N, D = [], []
    for compute in torch.logspace(18, 21.5, budgets).tolist():
        best, _ = optimal(compute)
        for factor in torch.logspace(-0.8, 0.8, sizes).tolist():
            N.append(best * factor)
            D.append(compute / (6 * best * factor))
    return torch.tensor(N, dtype=torch.float64), torch.tensor(D, dtype=torch.float64)


def noisy(law, noise, seed=0):
    N, D = grid()
    luck = torch.randn(
        len(N), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return N, D, chinchilla_loss(N, D, law) * (noise * luck).exp()


def close(found, law, rel):
    for name in ("E", "A", "B", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=rel), name


OTHER = Chinchilla(E=0.7, A=50.0, B=9000.0, alpha=0.25, beta=0.45)


@pytest.mark.parametrize("law", [PRINTED, UNROUNDED, REFIT, OTHER])
def test_a_fit_recovers_the_constants_that_made_the_losses(law):
    close(fit(*noisy(law, 0.0)), law, rel=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_noisy_fit_is_as_low_as_that_of_scipy(seed):
    """scipy sums delta^2 rho(r / delta) / 2: the same objective."""
    N, D, losses = noisy(REFIT, 0.003, seed)
    n, d, logs = N.log(), D.log(), losses.log()

    def residuals(theta):
        return (log_loss(torch.tensor(theta), n, d) - logs).numpy()

    truth = [math.log(REFIT.A), REFIT.alpha, math.log(REFIT.B), REFIT.beta]
    truth.append(math.log(REFIT.E))
    theirs = least_squares(
        residuals, truth, loss="huber", f_scale=1e-3, xtol=1e-14, ftol=1e-14,
        gtol=1e-14, x_scale="jac", max_nfev=5000,
    )  # fmt: skip
    ours = fit(N, D, losses)
    misses = chinchilla_loss(N, D, ours).log() - logs
    assert huber(misses).sum().item() <= theirs.cost * (1 + 1e-4)
    best = Chinchilla(
        math.exp(theirs.x[4]), math.exp(theirs.x[0]), math.exp(theirs.x[2]),
        theirs.x[1], theirs.x[3],
    )  # fmt: skip
    ratio = optimal(1e22, ours)[0] / optimal(1e22, best)[0]
    assert ratio == pytest.approx(1, rel=0.02)


def test_a_fit_predicts_a_run_a_hundred_times_larger_and_one_without_a_floor_does_not():
    N, D, losses = noisy(REFIT, 0.001)
    big = optimal(3e23)
    true = chinchilla_loss(*big)
    assert chinchilla_loss(*big, fit(N, D, losses)) == pytest.approx(true, rel=0.01)
    floorless = fit(N, D, losses, floor=False)
    assert floorless.E == 0
    assert chinchilla_loss(*big, floorless) < 0.97 * true


def test_one_bad_run_hardly_moves_the_fit():
    N, D, losses = noisy(REFIT, 0.0)
    losses[7] *= 1.5
    close(fit(N, D, losses), REFIT, rel=0.02)


def test_order_precision_and_the_callers_randomness_do_not_matter():
    N, D, losses = noisy(REFIT, 0.002)
    state = torch.get_rng_state()
    law = fit(N, D, losses)
    close(fit(N.flip(0), D.flip(0), losses.flip(0)), law, rel=1e-2)
    close(fit(N.float(), D.float(), losses.float()), law, rel=1e-2)
    assert torch.get_rng_state().equal(state)


def test_a_bootstrap_interval_holds_the_truth_and_grows_with_the_noise():
    begun = time.perf_counter()
    widths = []
    for noise in (0.001, 0.004):
        laws_found = bootstrap(
            *noisy(REFIT, noise, seed=4), draws=40,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
        assert len(laws_found) == 40
        for name in ("E", "alpha", "beta"):
            low, high = interval([getattr(law, name) for law in laws_found], 0.98)
            assert low < getattr(REFIT, name) < high, name
        low, high = interval([law.alpha for law in laws_found])
        widths.append(high - low)
    assert 0 < widths[0] < widths[1]
    assert time.perf_counter() - begun < 60


def test_one_seed_gives_one_bootstrap():
    runs = noisy(REFIT, 0.002)
    one, two, other = (
        bootstrap(*runs, draws=3, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert one == two != other


def test_an_interval_cuts_the_same_share_off_both_ends():
    values = list(torch.randn(1001, generator=torch.Generator().manual_seed(0)))
    low, high = interval(values, 0.9)
    assert sum(v < low for v in values) == sum(v > high for v in values) == 50
    with pytest.raises(ValueError, match="between 0 and 1, not 90"):
        interval(values, 90)


def test_hubers_loss_is_torchs():
    r = torch.linspace(-3, 3, 101, dtype=torch.float64)
    for delta in (1e-3, 0.5, 2.0):
        expected = torch.nn.functional.huber_loss(
            r, torch.zeros_like(r), reduction="none", delta=delta
        )
        torch.testing.assert_close(huber(r, delta), expected)


@every_law
def test_the_logarithm_of_the_law_equals_the_law(law):
    N, D = grid()
    constants = [math.log(law.A), law.alpha, math.log(law.B), law.beta, math.log(law.E)]
    theta = torch.tensor(constants, dtype=torch.float64)
    expected = chinchilla_loss(N, D, law)
    torch.testing.assert_close(log_loss(theta, N.log(), D.log()).exp(), expected)


def test_a_descent_ends_in_the_valley_that_is_known():
    def rosenbrock(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    begin = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    end, value = descend(begin, rosenbrock)
    torch.testing.assert_close(end, torch.ones(2, dtype=torch.float64))
    assert value < 1e-12
    assert begin.tolist() == [-1.2, 1.0]


def test_the_vertex_of_a_parabola_is_found_and_that_of_a_valley_nearly():
    sizes = torch.logspace(7, 10, 9, dtype=torch.float64)
    bowl = 2.0 + 0.03 * (sizes.log() - math.log(4e8)) ** 2
    assert valley(sizes, bowl) == pytest.approx(4e8, rel=1e-6)
    compute = 1e20
    N, _ = optimal(compute)
    near = N * torch.logspace(-0.5, 0.5, 9, dtype=torch.float64)
    losses = chinchilla_loss(near, compute / (6 * near))
    assert valley(near, losses) == pytest.approx(N, rel=0.05)
    with pytest.raises(ValueError, match="hold no valley"):
        valley(sizes, -bowl)


def test_runs_that_cannot_be_fitted_are_answered_in_a_sentence():
    N, D, losses = noisy(REFIT, 0.0)
    with pytest.raises(ValueError, match="one number of tokens and one loss"):
        fit(N, D[1:], losses)
    with pytest.raises(ValueError, match="All losses must be finite"):
        fit(N, D, losses.clone().fill_(math.nan))
    with pytest.raises(ValueError, match="All sizes must be finite and above 0"):
        fit(-N, D, losses)
    with pytest.raises(ValueError, match="there are 4 runs"):
        fit(N[:4], D[:4], losses[:4])
    with pytest.raises(ValueError, match="three or more different"):
        fit(torch.full_like(N, 1e9), D, losses)
