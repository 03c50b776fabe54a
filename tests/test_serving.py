"""Serving: the roofline of a step, who shares a batch, what users feel, and what a real model takes."""

import heapq
import math
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, MistralConfig, MistralForCausalLM

from course_lib.attention import KVCache
from course_lib.sampling.generate import generate
from course_lib.scaling.memory import cache_bytes
from course_lib.serving import measuring
from course_lib.serving.batching import (
    IDLE,
    continuous_batches,
    random_requests,
    static_batches,
)
from course_lib.serving.limits import step_seconds
from course_lib.serving.measuring import (
    any_ids,
    curve,
    decode_seconds,
    filled_cache,
    fit_powers,
    held_bytes,
    least_seconds,
    one_thread,
    power_sum,
    prefill_seconds,
    reserved_bytes,
    timed_generate,
)
from course_lib.serving.metrics import (
    Request,
    Served,
    concurrency,
    duration,
    latency,
    summary,
    throughput,
    time_per_token,
    time_to_first_token,
)
from course_lib.transformer import Config, Transformer

A100 = {"bandwidth": 2.039e12, "peak": 312e12}  # B/s and FLOP/s, NVIDIA's data sheet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- the least time of a step


def test_one_text_on_an_a100_waits_for_the_weights_to_be_read():
    """14 GB at 2.039 TB/s; the arithmetic would take a hundred and fiftieth of it."""
    seconds = step_seconds(7e9, 1, 0.0, **A100)
    assert seconds == pytest.approx(14e9 / 2.039e12)
    assert 145 < 1 / seconds < 146  # tokens per second
    computing = 2 * 7e9 / 312e12
    assert seconds / computing == pytest.approx(312e12 / 2.039e12)


def test_batching_is_free_until_computing_takes_longer_than_reading():
    """Without keys and values the ridge is peak / bandwidth texts, at two bytes a weight."""
    ridge = A100["peak"] / A100["bandwidth"]
    alone = step_seconds(7e9, 1, 0.0, **A100)
    for batch in (1, 8, 64, 153):
        assert batch < ridge
        assert step_seconds(7e9, batch, 0.0, **A100) == alone
    double = step_seconds(7e9, 306, 0.0, **A100)
    assert double == pytest.approx(alone * 306 / ridge)
    assert step_seconds(7e9, 612, 0.0, **A100) == pytest.approx(2 * double)


def test_keys_and_values_are_added_to_the_weights_and_cost_no_arithmetic():
    """2 bytes of 500 weights and 4000 of memory, 100 bytes a second: 50 seconds."""
    slow = {"bandwidth": 100.0, "peak": 1e9}
    assert step_seconds(500, 4, 4000.0, **slow) == 50.0
    assert step_seconds(500, 8, 8000.0, **slow) == 90.0
    assert step_seconds(500, 4, 4000.0, bandwidth=1e9, peak=80.0) == 50.0


def test_smaller_weights_help_while_reading_is_the_limit_and_not_beyond():
    few = [step_seconds(7e9, 1, 0.0, **A100, bytes_each=b) for b in (2.0, 1.0, 0.5)]
    assert few[0] == pytest.approx(2 * few[1]) == pytest.approx(4 * few[2])
    many = [step_seconds(7e9, 2000, 0.0, **A100, bytes_each=b) for b in (2.0, 1.0, 0.5)]
    assert many[0] == many[1] == many[2]


def test_a_step_for_nobody_is_refused():
    with pytest.raises(AssertionError, match="batch=0"):
        step_seconds(7e9, 0, 0.0, **A100)


# ---- what users feel

PAPER = [  # three requests on paper: tokens per second is not the number in flight
    Served(Request(0.0, prompt=4, new=5), first=2.0, last=6.0),
    Served(Request(1.0, prompt=4, new=2), first=3.0, last=5.0),
    Served(Request(6.0, prompt=4, new=1), first=8.0, last=8.0),
]


def test_the_times_of_a_trace_are_those_worked_on_paper():
    assert [time_to_first_token(one) for one in PAPER] == [2.0, 2.0, 2.0]
    assert [time_per_token(one) for one in PAPER[:2]] == [1.0, 2.0]
    assert math.isnan(time_per_token(PAPER[2]))
    assert [latency(one) for one in PAPER] == [6.0, 4.0, 2.0]
    assert duration(PAPER) == 8.0
    assert throughput(PAPER) == (1.0, 0.375)
    assert concurrency(PAPER) == 12 / 8
    expected = {
        "ttft": 2.0,
        "tpot": 1.5,
        "latency": 4.0,
        "tokens_per_second": 1.0,
        "requests_per_second": 0.375,
        "concurrency": 1.5,
    }
    assert summary(PAPER) == expected


def test_a_latency_is_the_first_token_and_the_steps_after_it():
    for one in PAPER[:2]:
        steps = (one.request.new - 1) * time_per_token(one)
        assert latency(one) == time_to_first_token(one) + steps


def test_a_later_clock_changes_no_metric():
    late = [
        Served(replace(s.request, arrival=s.request.arrival + 64), s.first + 64, s.last + 64)
        for s in PAPER
    ]  # fmt: skip
    assert summary(late) == summary(PAPER)


def test_nonsense_is_refused():
    for bad in ((-1.0, 1, 1), (0.0, 0, 1), (0.0, 1, 0), (math.nan, 1, 1)):
        with pytest.raises(ValueError, match="a time, and tokens to read"):
            Request(*bad)
    with pytest.raises(AssertionError, match="in this order"):
        Served(Request(2.0, 1, 1), first=1.0, last=3.0)
    with pytest.raises(AssertionError, match="nothing was served"):
        duration([])


# ---- who shares a batch


def one_second(rows, tokens):
    return 1.0


def affine(rows, tokens):
    return 1.0 + 0.25 * rows + 0.0625 * tokens  # exact in binary


def reading(tokens):
    return 0.5 * tokens


BOTH = pytest.mark.parametrize("batches", [static_batches, continuous_batches])
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)
traces = st.lists(
    st.builds(
        Request, st.integers(0, 30).map(float), st.integers(1, 5), st.integers(1, 9)
    ),
    min_size=1,
    max_size=12,
)
few_slots = st.integers(1, 4)


def at_once(news, prompt=1):
    return [Request(0.0, prompt, new) for new in news]


def test_four_answers_in_two_rows_on_paper():
    """Lengths 4, 1, 2, 3: whole batches need 4 + 3 steps, free rows filled at once 6."""
    asked = at_once([4, 1, 2, 3])
    static = static_batches(asked, 2, one_second)
    assert static.occupancy.tolist() == [
        [0, 0, 0, 0, 2, 2, IDLE],
        [1, IDLE, IDLE, IDLE, 3, 3, 3],
    ]
    assert [(s.first, s.last) for s in static.served] == [
        (1, 4),
        (1, 1),
        (5, 6),
        (5, 7),
    ]
    assert static.busy == pytest.approx(10 / 14)
    continuous = continuous_batches(asked, 2, one_second)
    assert continuous.occupancy.tolist() == [
        [0, 0, 0, 0, IDLE, IDLE],
        [1, 2, 2, 3, 3, 3],
    ]
    assert [(s.first, s.last) for s in continuous.served] == [
        (1, 4), (1, 1), (2, 3), (4, 6),
    ]  # fmt: skip


def test_the_seconds_of_steps_on_paper():
    """Prompts of 3 tokens, half a second each; a step 1 + rows / 4 + tokens / 16 seconds."""
    asked = at_once([2, 1], prompt=3)
    static = static_batches(asked, 2, affine, reading)
    # first: 1.5 and both prompts; then a row that writes and one that waits, 4 tokens each
    assert static.ends == [4.5, 4.5 + 1.5 + 0.5]
    continuous = continuous_batches(asked, 2, affine, reading)
    assert continuous.ends == [4.5, 4.5 + 1.25 + 0.25]


@BOTH
def test_nobody_is_there_until_somebody_comes(batches):
    run = batches([Request(9.0, 1, 1), Request(3.0, 1, 2)], 2, one_second)
    assert run.occupancy.tolist() == [[1, 1, 0], [IDLE] * 3]
    assert run.ends == [4.0, 5.0, 10.0]


def test_who_comes_while_a_batch_runs_waits_for_its_end_or_for_a_step():
    asked = [Request(0.0, 1, 4), Request(0.5, 1, 1)]
    static = static_batches(asked, 2, one_second).served[1]
    continuous = continuous_batches(asked, 2, one_second).served[1]
    assert (static.first, continuous.first) == (5.0, 2.0)


@BOTH
@settings(max_examples=150, deadline=None)
@given(asked=traces, slots=few_slots)
def test_every_request_gets_its_tokens_in_one_row_without_a_gap(batches, asked, slots):
    run = batches(asked, slots, affine, reading)
    assert run.occupancy.shape == (slots, len(run.ends))
    for i, one in enumerate(run.served):
        rows, steps = (run.occupancy == i).nonzero(as_tuple=True)
        assert one.request == asked[i]
        assert len(rows) == asked[i].new
        assert len(rows.unique()) == 1
        assert steps.tolist() == list(range(steps[0], steps[0] + len(steps)))
        assert (one.first, one.last) == (run.ends[steps[0]], run.ends[steps[-1]])
        begun = run.ends[steps[0] - 1] if steps[0] else 0.0
        assert one.first > asked[i].arrival
        assert max(begun, asked[i].arrival) + affine(1, 0) <= one.first


@BOTH
@settings(max_examples=100, deadline=None)
@given(asked=traces, slots=few_slots)
def test_littles_law_holds(batches, asked, slots):
    """The mean number in flight is the rate of requests times the mean stay."""
    served = batches(asked, slots, affine, reading).served
    stay = sum(latency(one) for one in served) / len(served)
    assert concurrency(served) == pytest.approx(throughput(served)[1] * stay)


@settings(max_examples=150, deadline=None)
@given(news=lengths, slots=few_slots)
def test_when_all_wait_at_the_start_continuous_batches_are_never_slower(news, slots):
    static = static_batches(at_once(news), slots, affine, reading)
    continuous = continuous_batches(at_once(news), slots, affine, reading)
    assert continuous.ends[-1] <= static.ends[-1]
    assert continuous.busy >= static.busy
    even = [
        batches(at_once(news), slots, one_second).served
        for batches in (continuous_batches, static_batches)
    ]
    assert all(one.last <= other.last for one, other in zip(*even, strict=True))


def test_who_joins_slows_down_the_others_for_a_step():
    """A prompt of 8 tokens takes 4 seconds, and a row that writes meanwhile waits."""
    asked = [Request(0.0, 1, 3), Request(1.0, 8, 1)]
    alone = continuous_batches(asked[:1], 2, one_second, reading).served[0]
    run = continuous_batches(asked, 2, one_second, reading)
    assert alone.last == 3.5
    assert run.served[0].last == alone.last + reading(8)
    assert static_batches(asked, 2, one_second, reading).served[0] == alone


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), few_slots)
def test_with_answers_of_one_length_both_do_the_same(new, count, slots):
    asked = at_once([new] * count, prompt=2)
    static = static_batches(asked, slots, affine, reading)
    assert continuous_batches(asked, slots, affine, reading) == static


@settings(max_examples=100, deadline=None)
@given(news=lengths, slots=few_slots)
def test_with_steps_of_a_second_the_ends_are_those_of_a_heap_and_of_blocks(news, slots):
    """A second way: each request starts when the row that is free first is free."""
    free, expected = [0.0] * slots, []
    for new in news:
        start = heapq.heappop(free)
        expected.append((start + 1, start + new))
        heapq.heappush(free, start + new)
    continuous = continuous_batches(at_once(news), slots, one_second)
    assert [(one.first, one.last) for one in continuous.served] == expected
    blocks = [max(news[i : i + slots]) for i in range(0, len(news), slots)]
    assert static_batches(at_once(news), slots, one_second).ends[-1] == sum(blocks)


def test_longer_rows_raise_throughput_and_the_time_per_token():
    """With a step that costs a + b rows: more rows, more tokens per second, each slower."""
    asked = at_once([8] * 32)
    runs = [
        summary(continuous_batches(asked, slots, affine).served)
        for slots in (1, 2, 4, 8, 16)
    ]
    rates = [run["tokens_per_second"] for run in runs]
    assert rates == sorted(rates)
    paces = [run["tpot"] for run in runs]
    assert paces == sorted(paces)
    assert rates[-1] > 1.5 * rates[0]


def test_people_come_at_the_rate_that_was_asked_and_the_same_for_one_seed():
    asked = random_requests(4000, 5.0, longest=7, generator=seeded())
    assert asked == random_requests(4000, 5.0, longest=7, generator=seeded())
    gaps = torch.tensor([r.arrival for r in asked]).diff()
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(0.2, rel=0.06)  # four standard errors
    assert gaps.std() == pytest.approx(0.2, rel=0.1)  # exponential: std = mean
    assert {r.new for r in asked} == set(range(1, 8))


@BOTH
def test_traces_that_make_no_sense_are_answered_in_a_sentence(batches):
    with pytest.raises(ValueError, match="at least one row, not 0"):
        batches(at_once([1]), 0, one_second)
    with pytest.raises(ValueError, match="no request"):
        batches([], 1, one_second)


# ---- a real model's time

SMALL = Config(vocabulary=50, context=64, width=32, layers=2, heads=4, hidden=48)
WIDE = Config(vocabulary=256, context=8192, width=64, layers=2, hidden=128)


@pytest.fixture(scope="module")
def wide():
    return Transformer(WIDE, generator=seeded()).eval()


@pytest.fixture
def alone():
    with one_thread():
        yield


@pytest.mark.parametrize("cache", [True, False])
def test_every_token_has_its_time_and_the_text_is_the_same(monkeypatch, cache):
    model = Transformer(SMALL, generator=seeded()).eval()
    ids = any_ids(model, batch=2, length=5)
    texts, ticks = [], iter(range(1000))
    monkeypatch.setattr(measuring, "clock", lambda device: float(next(ticks)))
    monkeypatch.setattr(
        measuring, "generate", lambda *a, **k: texts.append(generate(*a, **k))
    )
    timing = timed_generate(model, ids, 9, cache=cache)
    assert texts[-1].equal(generate(model, ids, 9, temperature=0))
    assert (timing.prefill, timing.steps, timing.total) == (1.0, [1.0] * 8, 9.0)
    assert timed_generate(model, ids, 1, cache=cache).steps == []


def test_the_seconds_of_a_text_are_all_there():
    model = Transformer(SMALL, generator=seeded()).eval()
    ids = any_ids(model, batch=1, length=5)
    start = measuring.clock()
    timing = timed_generate(model, ids, 40)
    assert 0 < timing.total < measuring.clock() - start
    assert min(timing.steps) > 0


def test_with_one_thread_the_clock_stands_still_while_nothing_is_computed():
    def slept():
        start = measuring.clock()
        time.sleep(0.05)
        return measuring.clock() - start

    before = torch.get_num_threads()
    with one_thread():
        assert slept() < 0.02
    assert torch.get_num_threads() == before
    torch.set_num_threads(2)
    try:
        assert slept() >= 0.05
    finally:
        torch.set_num_threads(before)


def test_the_least_of_several_calls_counts_and_the_first_does_not(monkeypatch):
    ticks = iter([0.0, 9.0, 10.0, 12.0, 20.0, 25.0])
    monkeypatch.setattr(measuring, "clock", lambda device: next(ticks))
    calls = []
    assert least_seconds(lambda: calls.append(1), repeats=3) == 2.0
    assert len(calls) == 4


def test_one_slow_moment_spoils_no_point_of_a_curve():
    calls = []

    def seconds(n):
        calls.append(n)
        return n * (10.0 if len(calls) in (2, 6) else 1.0)

    assert curve(seconds, [1, 2, 3], rounds=2) == [1.0, 2.0, 3.0]
    assert calls == [1, 2, 3, 1, 2, 3]


def test_reading_longer_prompts_costs_more_for_each_token(wide, alone):
    """c n + d n^2, where the errata's text has a linear decrease of speed."""
    at = [256, 512, 1024, 2048, 4096]
    seconds = curve(lambda n: prefill_seconds(wide, n, repeats=1), at, rounds=2)
    assert seconds[-1] / at[-1] > 1.5 * seconds[0] / at[0]
    per_token, per_pair = fit_powers(at, seconds, powers=(1, 2))
    assert per_pair > 0
    assert per_pair * 4096**2 > 0.3 * power_sum(4096, (per_token, per_pair), (1, 2))


def test_a_token_after_a_longer_text_costs_more_by_a_fixed_amount_each(wide, alone):
    at = [64, 2048, 4096, 8000]
    seconds = curve(lambda n: decode_seconds(wide, n, repeats=10), at, rounds=5)
    assert seconds[-1] > 1.3 * seconds[0]
    at_all, each = fit_powers(at, seconds, powers=(0, 1))
    assert at_all > 0
    assert each > 0
    assert 8000 * each < 50 * at_all  # far from the square that prefill has


def test_many_texts_at_once_give_many_times_the_tokens_per_second(wide, alone):
    one, many = curve(lambda b: decode_seconds(wide, 64, b, repeats=10), [1, 32])
    assert 32 / many > 3 / one


def test_without_a_cache_a_token_costs_more_the_later_it_comes(wide, alone):
    def ratio(n):
        again = decode_seconds(wide, n, repeats=3, cache=False)
        return again / decode_seconds(wide, n, repeats=3)

    assert ratio(1024) > 3
    assert ratio(1024) > 2 * ratio(16)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 9.0), st.floats(0.1, 9.0), st.sampled_from([(0, 1), (1, 2)]))
def test_a_fit_finds_the_factors_of_an_exact_curve(one, other, powers):
    at = [1, 2, 5, 9]
    seconds = [power_sum(n, (one, other), powers) for n in at]
    assert fit_powers(at, seconds, powers) == pytest.approx([one, other], rel=1e-6)


def test_a_fit_is_the_best_in_relative_errors():
    at, seconds = [1, 2, 4, 8, 16], [1.1, 1.8, 4.3, 7.7, 16.9]

    def error(factors):
        return sum(
            (power_sum(x, factors, (0, 1)) / y - 1) ** 2
            for x, y in zip(at, seconds, strict=True)
        )

    best = fit_powers(at, seconds, powers=(0, 1))
    for move in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert error([b + m for b, m in zip(best, move, strict=True)]) > error(best)


# ---- a real model's memory


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_the_cache_holds_the_bytes_of_the_formula(precision):
    """Linear in the length: the errata's text has it quadratic."""
    kind = getattr(torch, precision)
    for config in (SMALL, replace(SMALL, kv_heads=4, head_width=6, layers=3)):
        model = Transformer(config, generator=seeded()).to(kind).eval()
        for batch in (1, 3):
            cache = KVCache(config, batch, 40, like=model.embed.weight)
            for T in (5, 1, 20):
                with torch.inference_mode():
                    model.hidden(any_ids(model, batch, T), cache=cache)
                expected = cache_bytes(config, batch, cache.length, "float32")
                assert held_bytes(cache) == expected * kind.itemsize / 4
            assert reserved_bytes(cache) * 26 == held_bytes(cache) * 40


def test_what_is_held_is_linear_in_texts_and_tokens():
    model = Transformer(SMALL, generator=seeded())
    each = held_bytes(filled_cache(model, 1, 1))
    for batch, length in ((1, 10), (4, 10), (4, 60)):
        assert held_bytes(filled_cache(model, batch, length)) == batch * length * each


def theirs(config):
    """Bytes that the cache of transformers holds after 48 tokens of two texts."""
    model = MistralForCausalLM(config).eval()
    cache = DynamicCache(config=config)
    with torch.inference_mode():
        for ids in torch.randint(50, (2, 48), generator=seeded()).split(4, dim=1):
            model(ids, past_key_values=cache)
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


@pytest.mark.parametrize("window", [None, 16, 33])
def test_a_window_stops_the_growth_as_in_transformers(window):
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    more = {"num_hidden_layers": 2, "intermediate_size": 48, "vocab_size": 50}
    config = MistralConfig(**sizes, **more, sliding_window=window)
    # theirs drops the oldest of the window, which the next token no longer sees
    kept = window and window - 1
    assert theirs(config) == cache_bytes(SMALL, 2, 48, "float32", window=kept)
    ring = KVCache(SMALL, 2, capacity=min(48, window or 48))
    assert reserved_bytes(ring) == cache_bytes(SMALL, 2, 48, "float32", window=window)
