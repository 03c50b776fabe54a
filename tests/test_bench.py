"""The harness that times: on a clock of our own, so that what it should say is known."""

import json
import os
import random
import statistics
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tools.bench.__main__ import claims, main
from tools.bench.figures import median_interval, summary, typical
from tools.bench.harness import (
    FOLDER,
    PRODUCT,
    Claim,
    Mismatch,
    in_fresh_process,
    in_words,
    matrix_product,
    measure,
    ratios,
    repeats_needed,
    require_same,
    run,
)
from tools.bench.machine import machine
from tools.bench.table import TABLE, table, verdict
from tools.bench.training_step import step_flops
from tools.bench.twins import SHAPES, shape, twins

CLAIMS = claims()
SMALL = {"V": 11, "B": 2, "N": 40, "Q": 2}  # what a claim's numbers become in a test
EIGHT = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]


class Clock:
    """Time passes only when a function built by `taking` runs."""

    def __init__(self, noise=0.0, slower_each_call=1.0):
        self.now, self.calls = 0.0, []
        self.noise, self.growth = noise, slower_each_call
        self.draw = random.Random(0)

    def __call__(self):
        return self.now

    def taking(self, seconds, name="", result=0.0):
        def function():
            noise = self.draw.uniform(1 - self.noise, 1 + self.noise)
            self.now += seconds * noise * self.growth ** len(self.calls)
            self.calls.append(name)
            return torch.tensor(result)

        return function


def claim(ours, theirs, faster=True):
    return Claim(
        "planted",
        "Ours is quicker.",
        faster,
        ({"V": 1000},),
        lambda seed, V: (ours, theirs),
    )


def run_here(planted, folder, clock, **options):
    """As `run` does, with our clock and therefore in this process; the one row of its result."""
    result = run(planted, folder, start=lambda work: work(), clock=clock, **options)
    return result["rows"][0]


def ratios_of(measured):
    return ratios(measured, work=None)["ratios"]


# ---- figures


def test_median_quartiles_and_interval_are_those_worked_on_paper():
    # logarithms base 2: -3 -2 -1 -1 1 1 2 3
    ratios = [
        1 / 8,
        1 / 4,
        1 / 2,
        1 / 2,
        2,
        2,
        4,
        8,
    ]
    found = summary([[ratio] for ratio in ratios])  # eight processes of one pair
    assert (found["processes"], found["pairs"]) == (8, 8)
    assert found["median"] == 1.0  # halfway between 1/2 and 2 on logarithms, not 1.25
    # a quarter of the way from 1/2 to 1/4: 2 ** -1.25
    assert found["quartiles"] == [
        0.42,
        2.378,
    ]
    assert found["interval"] == [0.125, 8.0]


def test_a_process_counts_once_however_many_pairs_it_measured():
    # medians: 8, and seven times 1
    found = summary([[8, 8, 8, 1, 1, 8, 8, 8], *[[0.5, 2.0]] * 7])
    assert found["median"] == 1.0
    assert found["interval"] == [1.0, 8.0]
    assert found["pairs"] == 22


def test_one_pair_repeated_does_not_narrow_the_interval_across_processes():
    processes = [[ratio] * 50 for ratio in (0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)]
    assert summary(processes)["interval"] == [0.8, 1.6]


def test_swapping_ours_and_theirs_turns_every_figure_into_its_inverse():
    draw = random.Random(1)
    processes = [[draw.lognormvariate(0.5, 0.3) for _ in range(10)] for _ in range(8)]
    there, back = (
        summary(processes),
        summary([[1 / ratio for ratio in process] for process in processes]),
    )
    # figures have three decimals
    assert there["median"] * back["median"] == pytest.approx(1, abs=2e-3)
    assert there["interval"][0] * back["interval"][1] == pytest.approx(1, abs=2e-3)


def test_eight_values_enclose_the_median_at_99_percent_and_seven_are_too_few():
    assert median_interval(EIGHT) == (2.0, 19.0)  # both ends: 2 / 256 = 0.8 %
    with pytest.raises(AssertionError, match="7 values are too few"):
        median_interval(EIGHT[:7])  # 2 / 128 = 1.6 %


def test_the_order_of_the_values_does_not_matter_and_lower_confidence_is_narrower():
    assert median_interval(EIGHT[::-1]) == (2.0, 19.0)
    # 2 x (1 + 8) / 256 = 7 %
    assert median_interval(EIGHT, confidence=0.9) == (
        3.0,
        17.0,
    )
    # 2 x (1 + 8 + 28) / 256 = 29 %
    assert median_interval(EIGHT, confidence=0.7) == (
        5.0,
        13.0,
    )


@pytest.mark.parametrize("n", [8, 11, 12, 14])
def test_of_all_patterns_of_coins_one_in_a_hundred_at_most_misses_the_median(n):
    # values 1..n, so that the ends are ranks
    low, high = median_interval(range(1, n + 1))

    def missed(k):  # fewer than k of n values on one side of the true median
        return statistics.mean(
            not k <= sum(coins) <= n - k for coins in product((0, 1), repeat=n)
        )

    assert low + high == n + 1
    assert missed(low) <= 0.01 < missed(low + 1)


# ---- measuring


def test_pairs_are_measured_in_alternating_order():
    clock = Clock()
    measure(
        clock.taking(0.03, "ours"), clock.taking(0.05, "theirs"), pairs=4, clock=clock
    )
    measured = clock.calls[-8:]
    assert measured == [
        "ours",
        "theirs",
        "theirs",
        "ours",
        "ours",
        "theirs",
        "theirs",
        "ours",
    ]


def test_a_function_twice_as_slow_is_measured_as_twice_as_slow_through_noise(tmp_path):
    clock = Clock(noise=0.3)
    row = run_here(
        claim(clock.taking(0.02), clock.taking(0.01), faster=False), tmp_path, clock
    )
    assert 1.6 < row["median"] < 2.5
    assert verdict(row["interval"], faster=False) == "more time, as claimed"
    assert (row["processes"], row["pairs"]) == (8, 80)


def test_the_same_function_twice_shows_no_difference(tmp_path):
    clock = Clock(noise=0.3)
    row = run_here(claim(clock.taking(0.03), clock.taking(0.03)), tmp_path, clock)
    assert verdict(row["interval"], faster=True) == "no difference measured"


def test_a_machine_that_grows_slower_favours_neither_side():
    clock = Clock(slower_each_call=1.05)
    found = ratios_of(
        measure(clock.taking(0.03), clock.taking(0.03), pairs=8, clock=clock)
    )
    # ours first, then theirs first
    assert found == pytest.approx([1 / 1.05, 1.05] * 4, abs=1e-4)
    assert summary([found] * 8)["median"] == pytest.approx(1.0, abs=1e-4)


def test_short_functions_are_repeated_until_a_measurement_takes_twenty_milliseconds():
    clock = Clock()
    assert repeats_needed(clock.taking(0.003), clock) == 8  # 4 x 3 ms would be 12
    assert repeats_needed(clock.taking(0.5), clock) == 1


def test_repeats_do_not_enter_the_ratio():
    clock = Clock()  # 32 calls of ours against 1 of theirs
    found = measure(clock.taking(0.001), clock.taking(0.04), pairs=2, clock=clock)
    assert ratios_of(found) == [1 / 40, 1 / 40]


def test_a_claim_that_is_slow_to_measure_may_ask_for_fewer_pairs(tmp_path):
    clock = Clock()
    slow = replace(claim(clock.taking(0.5), clock.taking(1.0)), pairs=2)
    assert run_here(slow, tmp_path, clock)["ratios"] == [[0.5, 0.5]] * 8


# ---- the share of the machine's peak


def test_each_pair_is_preceded_by_its_own_matrix_product():
    clock = Clock()
    sides = [clock.taking(0.03, name) for name in ("ours", "theirs", "product")]
    measure(*sides[:2], pairs=2, clock=clock, product=sides[2])
    order = ["product", "ours", "theirs", "product", "theirs", "ours"]
    assert clock.calls[-6:] == order


def test_a_side_that_takes_twice_as_long_as_its_work_in_products_reaches_half(tmp_path):
    clock = Clock(slower_each_call=1.01)  # a slower machine has slower products
    counted = replace(
        claim(clock.taking(0.6), clock.taking(1.2)),
        work=lambda V: 3 * 2 * 2048**3,  # as much as three products
    )
    row = run_here(counted, tmp_path, clock, pairs=2, product=clock.taking(0.1))
    assert [len(process) for process in row["share of ours"]] == [2] * 8
    assert typical(row["share of ours"]) == pytest.approx(0.5, rel=0.02)
    assert typical(row["share of theirs"]) == pytest.approx(0.25, rel=0.02)
    assert "V = 1,000: ours does its operations at 49% of the rate" in table(tmp_path)


def test_the_product_multiplies_square_matrices_of_float32():
    product = matrix_product()()
    assert (product.shape, product.dtype) == ((PRODUCT, PRODUCT), torch.float32)


@pytest.mark.parametrize("model", SHAPES)
def test_the_operations_of_a_step_are_those_torch_counts_less_what_nobody_may_see(
    model,
):
    V, B, T = 11, 2, 8
    ours, _ = twins(shape(model, V), torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        ours(torch.randint(V, (B, T))).sum().backward()
    c, ahead = ours.config, T * (T - 1) // 2  # torch counts scores of later tokens too
    hidden_from_all = 12 * B * c.layers * c.heads * c.K * ahead
    assert counter.get_total_flops() == step_flops(model, V, B, T) + hidden_from_all


# ---- the same results, or nothing


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (
            1.0,
            1.1,
            r"planted at V = 1,000: results differ by 0.1, allowed is 1e-05. Nothing was timed.",
        ),
        (float("nan"), 1.0, r"results differ by nan"),
        (
            [1.0, 1.0],
            1.0,
            r"ours gives shapes \[\(2,\)\], theirs \[\(\)\]. Nothing was timed.",
        ),
    ],
)
def test_different_results_stop_with_a_sentence_before_anything_is_timed(
    tmp_path, ours, theirs, says
):
    clock = Clock()
    wrong = claim(clock.taking(1.0, result=ours), clock.taking(1.0, result=theirs))
    with pytest.raises(Mismatch, match=says):
        run_here(wrong, tmp_path, clock)
    assert len(clock.calls) == 2  # each side once, to compare
    assert not list(tmp_path.iterdir())


def test_every_tensor_of_a_tuple_is_compared():
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    pair = claim(lambda: (one, one), lambda: (one, two))
    with pytest.raises(Mismatch, match="differ by 1,"):
        require_same(pair, {"V": 1000}, *pair.prepare(0, V=1000))


@pytest.mark.parametrize("name", CLAIMS)
def test_the_claims_of_this_repository_compare_equal_things_at_small_sizes(name):
    for size in CLAIMS[name].sizes:
        small = size | {key: min(size[key], SMALL[key]) for key in SMALL.keys() & size}
        require_same(
            replace(CLAIMS[name], atol=1e-5), small, *CLAIMS[name].prepare(3, **small)
        )


def test_each_process_gets_its_own_number_as_seed_and_every_size(tmp_path):
    clock, asked = Clock(), []

    def prepare(seed, V):
        asked.append((seed, V))
        return clock.taking(0.03), clock.taking(0.03)

    run_here(
        Claim("planted", "", True, ({"V": 1}, {"V": 2}), prepare),
        tmp_path,
        clock,
        pairs=2,
    )
    assert asked == [(seed, V) for seed in range(8) for V in (1, 2)]


def test_a_fresh_process_is_another_one_each_time():
    assert (
        len({os.getpid(), in_fresh_process(os.getpid), in_fresh_process(os.getpid)})
        == 3
    )


# ---- what is reported


@pytest.mark.parametrize(
    ("interval", "faster", "says"),
    [
        ((0.4, 0.6), True, "less time, as claimed"),
        ((0.4, 0.6), False, "less time, against the claim"),
        ((1.4, 1.6), True, "more time, against the claim"),
        ((1.4, 1.6), False, "more time, as claimed"),
        ((0.4, 1.0), True, "no difference measured"),
        ((1.0, 1.6), True, "no difference measured"),
        ((0.99, 1.01), False, "no difference measured"),
    ],
)
def test_an_interval_that_contains_1_is_never_a_win(interval, faster, says):
    assert verdict(interval, faster) == says


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ((0.5, 0.7), "less time, at most 0.80 as claimed"),
        ((0.7, 0.9), "less time; whether at most 0.80, as claimed, is open"),
        ((0.85, 0.95), "less time, not at most 0.80 as claimed"),
        ((0.7, 1.1), "no difference measured"),
        ((1.1, 1.3), "more time, against the claim"),
    ],
)
def test_a_sentence_that_names_a_limit_is_held_to_it(interval, says):
    assert verdict(interval, faster=True, limit=0.8) == says


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ((0.5, 0.7), "at most 3 times, as claimed"),
        ((0.9, 3.0), "at most 3 times, as claimed"),
        ((2.5, 3.5), "whether at most 3 times, as claimed, is open"),
        ((3.1, 3.5), "not at most 3 times, as claimed"),
    ],
)
def test_a_sentence_may_allow_more_time_up_to_a_limit(interval, says):
    assert verdict(interval, faster=True, limit=3) == says


def test_the_limit_of_a_claim_reaches_the_table(tmp_path):
    clock = Clock()
    stated = replace(claim(clock.taking(0.09), clock.taking(0.1)), limits=(0.5,))
    run_here(stated, tmp_path, clock, pairs=2)
    assert "| less time, not at most 0.50 as claimed |" in table(tmp_path)


def test_a_run_writes_its_figures_and_the_table_repeats_them(tmp_path):
    clock = Clock()
    planted = claim(clock.taking(0.03), clock.taking(0.12))
    run_here(planted, tmp_path, clock, pairs=2)
    written = json.loads((tmp_path / "planted.json").read_text())
    assert written["rows"][0]["ratios"] == [[0.25, 0.25]] * 8
    assert (
        "| V = 1,000 | 0.25 | 0.25 to 0.25 | 0.25 to 0.25 | 8 × 2 | less time, as claimed |"
        in table(tmp_path)
    )


def test_the_committed_table_is_what_the_committed_measurements_give():
    assert TABLE.read_text() == table()


@pytest.mark.parametrize(
    "file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem
)
def test_committed_figures_follow_from_the_ratios_and_belong_to_a_claim_as_it_stands(
    file,
):
    result = json.loads(file.read_text())
    stated = CLAIMS[file.stem]
    assert (result["claim"], result["faster"]) == (stated.sentence, stated.faster)
    assert [row["size"] for row in result["rows"]] == [
        in_words(size) for size in stated.sizes
    ]
    limits = [row.get("limit", 1.0) for row in result["rows"]]
    assert limits == [round(limit, 3) for limit in stated.limits or [1.0] * len(limits)]
    for row in result["rows"]:
        assert {key: row[key] for key in summary(row["ratios"])} == summary(
            row["ratios"]
        )


def test_every_claim_was_measured():
    assert {file.stem for file in FOLDER.glob("*.json")} == set(CLAIMS)


def test_the_machine_is_described_without_a_name():
    assert set(machine()) == {
        "processor", "cores", "threads used", "python", "torch", "load average at start",
    }  # fmt: skip


def test_an_unknown_claim_is_answered_with_those_that_exist(capsys):
    with pytest.raises(SystemExit):
        main(["sofmax"])
    assert (
        f"no claim is called sofmax; there are {', '.join(CLAIMS)}"
        in capsys.readouterr().err
    )
