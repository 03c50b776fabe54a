"""Answers to lesson 02 on the bytes of a cache, the seconds of a step, the rule of speculation."""

import math
from fractions import Fraction

import numpy as np
import torch
from torch.nn import functional
from transformers import DynamicCache, LlamaConfig

from course_lib.attention import KVCache
from course_lib.scaling.memory import number_bytes
from tools.graders import Battery

battery = Battery()


# --- cache_bytes: right -----------------------------------------------------------------


@battery.right("cache_bytes")
def in_one_product(config, batch, length, precision="bfloat16", window=None):
    kept = length if window is None else min(length, window)
    per_token = 2 * config.layers * config.kv_heads * config.K
    return batch * kept * per_token * number_bytes(precision)


@battery.right("cache_bytes")
def layer_by_layer(config, batch, length, precision="bfloat16", window=None):
    total = 0.0
    for _ in range(config.layers):
        for _text in range(batch):
            for token in range(length):
                if window is None or token >= length - window:
                    keys = config.kv_heads * config.K * number_bytes(precision)
                    total += keys + keys
    return total


@battery.right("cache_bytes")
def measured_on_no_device(config, batch, length, precision="bfloat16", window=None):
    kept = len(range(length)[-(window or length) :]) if length else 0
    shape = (2, config.layers, batch, config.kv_heads, kept, config.K)
    bytes_ = torch.empty(shape, dtype=torch.uint8, device="meta")
    return bytes_.numel() * number_bytes(precision)


@battery.right("cache_bytes")
def measured_on_a_real_cache(config, batch, length, precision="bfloat16", window=None):
    kept = min(length, window or length)
    cache = KVCache(config, batch, kept, like=torch.zeros(1, device="meta"))
    tensors = [v for v in vars(cache).values() if isinstance(v, torch.Tensor)]
    tensors += [t for v in vars(cache).values() if isinstance(v, list) for t in v]
    return sum(t.numel() for t in tensors) * number_bytes(precision)


@battery.right("cache_bytes")
def measured_in_transformers(config, batch, length, precision="bfloat16", window=None):
    kept = min(length, window or length)
    shape = LlamaConfig(num_hidden_layers=config.layers)
    cache = DynamicCache(config=shape)
    row = torch.zeros(batch, config.kv_heads, kept, config.K, device="meta")
    for layer in range(config.layers):
        cache.update(row, row, layer)
    numbers = sum(x.keys.numel() + x.values.numel() for x in cache.layers)
    return numbers * number_bytes(precision)


@battery.right("cache_bytes")
def as_a_whole_number(config, batch, length, precision="bfloat16", window=None):
    bits = int(8 * number_bytes(precision))
    kept = sorted([length, window or length])[0]
    pair = config.kv_heads * config.K * 2
    return config.layers * pair * kept * batch * bits // 8


@battery.right("cache_bytes")
def with_numpy(config, batch, length, precision="bfloat16", window=None):
    kept = np.minimum(length, np.inf if window is None else window)
    sizes = [2, config.layers, config.kv_heads, config.K, batch, kept]
    return np.prod(np.array(sizes, dtype=np.float64)) * number_bytes(precision)


@battery.right("cache_bytes")
def as_a_tensor_of_one_number(config, batch, length, precision="bfloat16", window=None):
    kept = length if window is None or window > length else window
    size = torch.tensor([2, config.layers, config.kv_heads, config.K, batch, kept])
    return size.prod().double() * number_bytes(precision)


# --- cache_bytes: wrong -----------------------------------------------------------------


def _cache(says):
    """A wrong answer that gives numbers per text and window's tokens, from all there is."""

    def decorate(size):
        def answer(config, batch, length, precision="bfloat16", window=None):
            kept = length if window is None else min(length, window)
            return size(config, batch, kept, number_bytes(precision))

        answer.__name__ = size.__name__
        return battery.wrong("cache_bytes", says=says)(answer)

    return decorate


@_cache("nine times as large.*key and value")
def grows_with_the_square(c, B, S, b):
    return 2 * c.layers * B * S * S * c.kv_heads * c.K * b


@_cache("nine times as large")
def scores_of_all_pairs(c, B, S, b):
    return c.layers * B * c.heads * S * S * b


@_cache("query heads yours doubles")
def heads_of_queries(c, B, S, b):
    return 2 * c.layers * B * S * c.heads * c.K * b


@_cache("query heads yours doubles")
def one_of_query_heads_fits_the_worked_value(c, B, S, b):
    return c.layers * B * S * c.heads * c.K * b


@_cache("width yours doubles")
def whole_width_fits_the_worked_value(c, B, S, b):
    return c.layers * B * S * c.width * b


@_cache("width yours doubles")
def whole_width_twice(c, B, S, b):
    return 2 * c.layers * B * S * c.width * b


@_cache("yours halves.*head_width is set")
def head_width_from_width(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * (c.width // c.heads) * b


@_cache("should change nothing; yours needs")
def queries_kept_as_well(c, B, S, b):
    return c.layers * B * S * (c.heads + 2 * c.kv_heads) * c.K * b


@_cache("heads of keys and values make no difference")
def kv_heads_forgotten(c, B, S, b):
    return 2 * c.layers * B * S * c.K * b


@_cache("yours (doubles|halves|needs)")
def heads_over_kv_heads(c, B, S, b):
    return 2 * c.layers * B * S * (c.heads // c.kv_heads) * c.K * b


@_cache("width of a head makes no difference")
def head_width_forgotten(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * b


@_cache("root of K")
def over_the_root(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * math.sqrt(c.K) * b


@_cache("width of a head goes in twice")
def key_matrices(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K**2 * b


@_cache("layers make no difference")
def one_layer(c, B, S, b):
    return 2 * B * S * c.kv_heads * c.K * b


@_cache("number of texts makes no difference")
def one_text(c, B, S, b):
    return 2 * c.layers * S * c.kv_heads * c.K * b


@_cache("length makes no difference")
def one_token(c, B, S, b):
    return 2 * c.layers * B * c.kv_heads * c.K * b


@_cache("length makes no difference")
def always_the_whole_context(c, B, S, b):
    return 2 * c.layers * B * c.context * c.kv_heads * c.K * b


@_cache("cut to config.context")
def never_beyond_the_context(c, B, S, b):
    return 2 * c.layers * B * min(S, c.context) * c.kv_heads * c.K * b


@_cache("One token too many")
def one_token_more(c, B, S, b):
    return 2 * c.layers * B * (S + 1) * c.kv_heads * c.K * b


@_cache("One token of each text is missing")
def one_token_less(c, B, S, b):
    return 2 * c.layers * B * max(S - 1, 0) * c.kv_heads * c.K * b


@_cache("key or the value")
def keys_alone(c, B, S, b):
    return c.layers * B * S * c.kv_heads * c.K * b


@_cache("Three vectors")
def query_too(c, B, S, b):
    return 3 * c.layers * B * S * c.kv_heads * c.K * b


@_cache("twice as much")
def twice_two(c, B, S, b):
    return 2 * 2 * c.layers * B * S * c.kv_heads * c.K * b


@_cache("These are bits")
def in_bits(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * b * 8


@_cache("divided by 8")
def bytes_taken_for_bits(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * b / 8


@_cache("giga")
def in_gigabytes(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * b / 1e9


@_cache("mega")
def in_mebibytes(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * b / 2**20


@_cache("precision makes no difference: float32")
def numbers_not_bytes(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K


@_cache("precision makes no difference: float32")
def always_sixteen_bits(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * 2


@_cache("int4 it returns 0|int.. and //")
def half_bytes_made_whole(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * int(b)


@_cache("whole byte")
def at_least_one_byte(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K * max(1, b)


@_cache("divided by number_bytes")
def divided_by_bytes(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.K / b


@_cache("should need three times")
def weights_as_well(c, B, S, b):
    return (2 * c.layers * B * S * c.kv_heads * c.K + c.width * c.hidden) * b


@_cache("three times as many bytes")
def batch_and_length_added(c, B, S, b):
    return 2 * c.layers * (B + S) * c.kv_heads * c.K * b


@_cache("Is something divided by the length")
def divided_by_length(c, B, S, b):
    return 2 * c.layers * B * c.kv_heads * c.K * b / max(S, 1)


@_cache("one number is wanted")
def keys_and_values_apart(c, B, S, b):
    half = c.layers * B * S * c.kv_heads * c.K * b
    return half, half


@_cache("one number is wanted")
def as_a_text(c, B, S, b):
    return f"{2 * c.layers * B * S * c.kv_heads * c.K * b} bytes"


@_cache("length makes no difference")
def the_worked_value(c, B, S, b):
    return 480.0


def _full(config, batch, length, precision):
    numbers = 2 * config.layers * config.kv_heads * config.K
    return batch * length * numbers * number_bytes(precision)


@battery.wrong("cache_bytes", says="window makes no difference")
def window_ignored(config, batch, length, precision="bfloat16", window=None):
    return _full(config, batch, length, precision)


@battery.wrong("cache_bytes", says="window goes in as a factor")
def window_as_a_factor(config, batch, length, precision="bfloat16", window=None):
    return _full(config, batch, length, precision) * (window or 1)


@battery.wrong("cache_bytes", says="length is divided by the window")
def length_over_window(config, batch, length, precision="bfloat16", window=None):
    return _full(config, batch, length, precision) / (window or 1)


@battery.wrong("cache_bytes", says="more of a text of 11 tokens than there is")
def window_instead_of_length(config, batch, length, precision="bfloat16", window=None):
    kept = length if window is None else window
    return _full(config, batch, kept, precision)


@battery.wrong(
    "cache_bytes", says="more of a text of 11 tokens than there is|changes|window"
)
def the_longer_of_both(config, batch, length, precision="bfloat16", window=None):
    return _full(config, batch, max(length, window or 0), precision)


@battery.wrong("cache_bytes", says="outside the window")
def tokens_before_the_window(config, batch, length, precision="bfloat16", window=None):
    kept = length if window is None else max(length - window, 0)
    return _full(config, batch, kept, precision)


@battery.wrong("cache_bytes", says="keeps 3 tokens")
def window_and_the_token_itself(
    config, batch, length, precision="bfloat16", window=None
):
    kept = length if window is None else min(length, window + 1)
    return _full(config, batch, kept, precision)


@battery.wrong("cache_bytes", says="keeps 1 token")
def window_without_the_token_itself(
    config, batch, length, precision="bfloat16", window=None
):
    kept = length if window is None else min(length, window - 1)
    return _full(config, batch, kept, precision)


@battery.wrong("cache_bytes", says="once for all texts")
def window_over_the_batch(config, batch, length, precision="bfloat16", window=None):
    tokens = batch * length if window is None else min(batch * length, window)
    return _full(config, 1, tokens, precision)


@battery.wrong("cache_bytes", says="without a window, window is None")
def no_window_not_thought_of(config, batch, length, precision="bfloat16", window=None):
    return _full(config, batch, min(length, window), precision)


@battery.wrong("cache_bytes", says="default is bfloat16")
def default_of_single_precision(
    config, batch, length, precision="float32", window=None
):
    kept = min(length, window or length)
    return _full(config, batch, kept, precision)


@battery.wrong("cache_bytes", says="float8")
def knows_three_precisions(config, batch, length, precision="bfloat16", window=None):
    size = {"float32": 4, "int4": 0.5}.get(precision, 2)
    kept = min(length, window or length)
    return _full(config, batch, kept, "int8") * size


@battery.wrong("cache_bytes", says="one number|None")
def nothing_without_a_window(config, batch, length, precision="bfloat16", window=None):
    if window is not None:
        return _full(config, batch, min(length, window), precision)


@battery.wrong("cache_bytes", says="not 0")
def at_least_one_text(config, batch, length, precision="bfloat16", window=None):
    kept = min(length, window or length)
    return _full(config, max(batch, 1), max(kept, 1), precision)


@_cache("head_width is None where")
def head_width_as_it_was_set(c, B, S, b):
    return 2 * c.layers * B * S * c.kv_heads * c.head_width * b


@_cache("window makes no difference")
def kept_in_blocks_of_16_tokens(c, B, S, b):
    return 2 * c.layers * B * (-(-S // 16) * 16) * c.kv_heads * c.K * b


@_cache("counted one by one")
def heads_never_alone(c, B, S, b):
    return 2 * c.layers * B * S * max(c.kv_heads, 2) * c.K * b


@_cache("9,609,840,240 bytes; yours are 9,609,840,640. It was rounded: a float32")
def product_in_single_precision(c, B, S, b):
    size = torch.tensor([2, c.layers, c.kv_heads, c.K, B, S])
    return size.prod() * b


@_cache("32 bits end at 2,147,483,647")
def product_of_32_bits(c, B, S, b):
    sizes = np.array([2, c.layers, B, S, c.kv_heads, c.K], dtype=np.int32)
    return float(np.prod(sizes, dtype=np.int32) * b)


@_cache("largest length built in")
def no_text_beyond_32768_tokens(c, B, S, b):
    return 2 * c.layers * B * min(S, 32_768) * c.kv_heads * c.K * b


@_cache("three times as many bytes; yours needs 2.999 times")
def in_whole_pages(c, B, S, b):
    return math.ceil(2 * c.layers * B * S * c.kv_heads * c.K * b / 16) * 16


# --- step_seconds: right ----------------------------------------------------------------


@battery.right("step_seconds")
def slower_of_two(parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0):
    reading = (parameters * bytes_each + cached_bytes) / bandwidth
    computing = parameters * batch * 2 / peak
    return max(reading, computing)


@battery.right("step_seconds")
def with_an_if(parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0):
    to_read, to_do = parameters * bytes_each + cached_bytes, 2 * batch * parameters
    if to_read * peak > to_do * bandwidth:
        return to_read / bandwidth
    return to_do / peak


@battery.right("step_seconds")
def sorted_in_numpy(parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0):
    work = np.array([bytes_each * parameters + cached_bytes, 2.0 * batch * parameters])
    return np.sort(work / np.array([bandwidth, peak]))[-1]


@battery.right("step_seconds")
def in_torch(parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0):
    read = torch.tensor((parameters * bytes_each + cached_bytes) / bandwidth)
    return torch.maximum(read, torch.tensor(2.0 * parameters * batch / peak))


@battery.right("step_seconds")
def in_fractions(parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0):
    N, b, C = (Fraction(x) for x in (parameters, bytes_each, cached_bytes))
    times = [(N * b + C) / Fraction(bandwidth), 2 * N * batch / Fraction(peak)]
    return float(max(times))


@battery.right("step_seconds")
def half_of_sum_and_distance(
    parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0
):
    reading = parameters * bytes_each / bandwidth + cached_bytes / bandwidth
    computing = sum(2 * parameters for _ in range(batch)) / peak
    return 0.5 * (reading + computing + abs(reading - computing))


# --- step_seconds: wrong ----------------------------------------------------------------


def _step(says):
    """A wrong answer in one expression of N, B, C, w, f and b."""

    def decorate(seconds):
        def answer(parameters, batch, cached_bytes, bandwidth, peak, bytes_each=2.0):
            return seconds(parameters, batch, cached_bytes, bandwidth, peak, bytes_each)

        answer.__name__ = seconds.__name__
        return battery.wrong("step_seconds", says=says)(answer)

    return decorate


@_step("added up.*same time")
def sum_of_both(N, B, C, w, f, b):
    return (N * b + C) / w + 2 * N * B / f


@_step("one of the two times")
def faster_of_two(N, B, C, w, f, b):
    return min((N * b + C) / w, 2 * N * B / f)


@_step("One reading serves the whole batch")
def weights_for_every_text(N, B, C, w, f, b):
    return max((N * b * B + C) / w, 2 * N * B / f)


@_step("One reading serves the whole batch")
def all_for_every_text(N, B, C, w, f, b):
    return max((N * b + C) * B / w, 2 * N * B / f)


@_step("Computing does not grow")
def computed_once(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * N / f)


@_step("multiplied by the batch")
def cache_for_every_text(N, B, C, w, f, b):
    return max((N * b + C * B) / w, 2 * N * B / f)


@_step("divided by the batch")
def cache_shared(N, B, C, w, f, b):
    return max((N * b + C / B) / w, 2 * N * B / f)


@_step("swapped")
def bandwidth_and_peak_swapped(N, B, C, w, f, b):
    return max((N * b + C) / f, 2 * N * B / w)


@_step("Operations are counted otherwise")
def one_operation(N, B, C, w, f, b):
    return max((N * b + C) / w, N * B / f)


@_step("Operations are counted otherwise")
def six_operations_as_in_training(N, B, C, w, f, b):
    return max((N * b + C) / w, 6 * N * B / f)


@_step("bytes of a parameter go into computing")
def bytes_computed_with(N, B, C, w, f, b):
    return max((N * b + C) / w, b * N * B / f)


@_step("bytes of a parameter go into computing")
def twice_the_bytes_computed_with(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * b * N * B / f)


@_step("bytes_each makes no difference")
def always_two_bytes(N, B, C, w, f, b):
    return max((2 * N + C) / w, 2 * N * B / f)


@_step("bytes_each makes no difference|85.7 seconds")
def numbers_not_bytes_read(N, B, C, w, f, b):
    return max((N + C) / w, 2 * N * B / f)


@_step("left out")
def nothing_cached(N, B, C, w, f, b):
    return max(N * b / w, 2 * N * B / f)


@_step("multiplied by bytes_each")
def cached_numbers(N, B, C, w, f, b):
    return max((N + C) * b / w, 2 * N * B / f)


@_step("one after the other")
def slowest_of_three(N, B, C, w, f, b):
    return max(N * b / w, C / w, 2 * N * B / f)


@_step("while the machine computes")
def cache_read_afterwards(N, B, C, w, f, b):
    return max(N * b / w, 2 * N * B / f) + C / w


@_step("go into computing")
def cache_computed_with(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * (N * B + C) / f)


@_step("one of the two times")
def reading_only(N, B, C, w, f, b):
    return (N * b + C) / w


@_step("one of the two times")
def computing_only(N, B, C, w, f, b):
    return 2 * N * B / f


@_step("mean of both")
def mean_of_both(N, B, C, w, f, b):
    return ((N * b + C) / w + 2 * N * B / f) / 2


@_step("milliseconds")
def in_milliseconds(N, B, C, w, f, b):
    return 1000 * max((N * b + C) / w, 2 * N * B / f)


@_step("per second")
def steps_per_second(N, B, C, w, f, b):
    return 1 / max((N * b + C) / w, 2 * N * B / f)


@_step("per second")
def tokens_per_second(N, B, C, w, f, b):
    return B / max((N * b + C) / w, 2 * N * B / f)


@_step("seconds per token")
def seconds_per_token(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * N * B / f) / B


@_step("bits")
def read_in_bits(N, B, C, w, f, b):
    return max(8 * (N * b + C) / w, 2 * N * B / f)


@_step("rounded")
def rounded(N, B, C, w, f, b):
    return round(max((N * b + C) / w, 2 * N * B / f), 2)


@_step("rounded")
def whole_seconds(N, B, C, w, f, b):
    return max((N * b + C) // w, 2 * N * B // f)


@_step("takes longest")
def multiplied_instead_of_divided(N, B, C, w, f, b):
    return max((N * b + C) * w, 2 * N * B * f)


@_step("tuple; one number")
def both_times(N, B, C, w, f, b):
    return (N * b + C) / w, 2 * N * B / f


@_step("str; one number")
def said_what_is_slower(N, B, C, w, f, b):
    return "reading" if (N * b + C) / w > 2 * N * B / f else "computing"


@_step("takes longest")
def the_worked_seconds(N, B, C, w, f, b):
    return 0.0069


@_step("takes longest")
def one_machine_built_in(N, B, C, w, f, b):
    return max((N * b + C) / 2.039e12, 2 * N * B / 312e12)


@_step("takes longest")
def both_doubled(N, B, C, w, f, b):
    return 2 * max((N * b + C) / w, 2 * N * B / f)


@_step("Computing does not grow|added up")
def sum_without_the_batch(N, B, C, w, f, b):
    return (N * b + C) / w + 2 * N / f


@_step("One reading serves")
def sum_for_every_text(N, B, C, w, f, b):
    return (N * b * B + C) / w + 2 * N * B / f


@_step("takes longest|swapped|Operations")
def cached_tokens_squared(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * N * B**2 / f)


@_step("whole number")
def bytes_made_whole(N, B, C, w, f, b):
    return max((N * int(b) + C) / w, 2 * N * B / f)


@_step("one of the two times")
def cache_forgotten_in_the_comparison(N, B, C, w, f, b):
    return (N * b + C) / w if N * b / w > 2 * N * B / f else 2 * N * B / f


@_step("one of the two times")
def decided_by_the_machines_ridge(N, B, C, w, f, b):
    return (N * b + C) / w if f / w > B else 2 * N * B / f


@_step("one of the two times")
def decided_by_the_ridge_of_two_bytes(N, B, C, w, f, b):
    return (N * b + C) / w if 2 * f / w > B else 2 * N * B / f


@_step("one of the two times")
def decided_by_one_operation(N, B, C, w, f, b):
    return (N * b + C) / w if (N * b + C) / w > N * B / f else 2 * N * B / f


@_step("one of the two times")
def decided_by_bytes_and_operations(N, B, C, w, f, b):
    return (N * b + C) / w if N * b + C > 2 * N * B else 2 * N * B / f


@_step("one of the two times")
def decided_for_two_bytes(N, B, C, w, f, b):
    return (N * b + C) / w if (2 * N + C) / w > 2 * N * B / f else 2 * N * B / f


@_step("one of the two times")
def decided_by_twice_the_cache(N, B, C, w, f, b):
    return (N * b + C) / w if (N * b + 2 * C) / w > 2 * N * B / f else 2 * N * B / f


@_step("whole number")
def bytes_rounded_up(N, B, C, w, f, b):
    return max((N * math.ceil(b) + C) / w, 2 * N * B / f)


@_step("whole number")
def one_byte_at_least(N, B, C, w, f, b):
    return max((N * max(1, b) + C) / w, 2 * N * B / f)


@_step("One text too few")
def one_text_too_few(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * N * (B - 1) / f)


@_step("root of squares")
def root_of_squares(N, B, C, w, f, b):
    return math.hypot((N * b + C) / w, 2 * N * B / f)


@_step("another power|takes longest|rounded")
def a_high_power(N, B, C, w, f, b):
    return (((N * b + C) / w) ** 16 + (2 * N * B / f) ** 16) ** (1 / 16)


@_step("go into computing")
def cached_bytes_computed_with(N, B, C, w, f, b):
    return max((N * b + C) / w, (2 * N * B + C) / f)


@_step("one of the two times")
def computing_for_small_models_only(N, B, C, w, f, b):
    return max((N * b + C) / w, 2 * min(N, 1e6) * B / f)


# --- keep_or_replace: right -------------------------------------------------------------


@battery.right("keep_or_replace")
def with_where(p, q):
    keep = torch.where(q > p, p / q, 1.0)
    missing = torch.relu(p - q)
    total = missing.sum(-1, keepdim=True)
    return keep, torch.where(total == 0, p, missing / total)


@battery.right("keep_or_replace")
def with_a_clamp_and_nan_to_num(p, q):
    keep = (p / q).nan_to_num(nan=1.0, posinf=1.0).clamp(max=1)
    missing = p - torch.minimum(p, q)
    replace = missing / missing.sum(dim=-1, keepdim=True)
    return keep, torch.where(replace.isnan(), p, replace)


@battery.right("keep_or_replace")
def token_by_token(p, q):
    V = p.shape[-1]
    flat = [x.reshape(-1, V) for x in (p, q)]
    rows = torch.zeros(2, len(flat[0]), V, dtype=p.dtype)
    for i, (own, draft) in enumerate(zip(*flat, strict=True)):
        for x in range(V):
            a, b = own[x].item(), draft[x].item()
            rows[0, i, x] = min(1.0, a / b) if b > 0 else 1.0
            rows[1, i, x] = max(0.0, a - b)
        total = rows[1, i].sum()
        rows[1, i] = rows[1, i] / total if total > 0 else own
    return tuple(rows.reshape(2, *p.shape))


@battery.right("keep_or_replace")
def in_numpy(p, q):
    a, b = p.numpy().astype(np.float64), q.numpy().astype(np.float64)
    with np.errstate(all="ignore"):
        keep = np.where(b == 0, 1.0, np.minimum(1.0, a / b))
        missing = np.maximum(a - b, 0)
        total = missing.sum(axis=-1, keepdims=True)
        replace = np.where(total > 0, missing / np.where(total > 0, total, 1), a)
    return torch.from_numpy(keep), torch.from_numpy(replace)


@battery.right("keep_or_replace")
def through_logarithms(p, q):
    keep = (p.log() - q.log()).clamp(max=0).exp()
    keep = torch.where(q == 0, torch.ones_like(p), keep)
    missing = torch.where(p > q, p - q, torch.zeros_like(p))
    replace = missing.log().log_softmax(-1).exp()
    return keep, torch.where((p == q).all(-1, keepdim=True), p, replace)


@battery.right("keep_or_replace")
def with_functional_normalize(p, q):
    missing = functional.normalize((p - q).clamp(min=0), p=1, dim=-1, eps=1e-30)
    empty = missing.sum(-1) == 0
    missing[empty] = p[empty]
    keep = p / torch.maximum(p, q)
    keep[q == 0] = 1
    return keep, missing


@battery.right("keep_or_replace")
def row_by_row(p, q):
    if p.dim() > 1:
        pairs = [row_by_row(a, b) for a, b in zip(p, q, strict=True)]
        return [torch.stack(part) for part in zip(*pairs, strict=True)]
    missing = [max(a - b, 0) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    total = sum(missing)
    keep = [
        1.0 if a >= b else a / b for a, b in zip(p.tolist(), q.tolist(), strict=True)
    ]
    replace = [m / total for m in missing] if total else p.tolist()
    return torch.tensor(keep), torch.tensor(replace)


@battery.right("keep_or_replace")
def by_a_mask(p, q):
    often = q > p
    keep = torch.ones_like(p)
    keep[often] = p[often] / q[often]
    missing = (p - q).masked_fill(often, 0)
    total = missing.sum(-1, keepdim=True)
    shared = missing / total.masked_fill(total == 0, 1)
    return keep, shared + p * (total == 0)


@battery.right("keep_or_replace")
def with_the_smallest_number_beside_both(p, q):
    tiny = torch.finfo(p.dtype).tiny
    keep = ((p + tiny) / (q + tiny)).clamp(max=1)
    missing = torch.maximum(p, q) - q
    left = 1 - torch.minimum(p, q).sum(-1, keepdim=True)
    equal = (missing == 0).all(-1, keepdim=True)
    return keep, torch.where(equal, p, missing / torch.where(equal, 1.0, left))


@battery.right("keep_or_replace")
def kept_guesses_subtracted_and_cut(p, q):
    keep = torch.where(q > 0, (p / q).clamp(max=1), torch.ones_like(p))
    missing = (p - q * keep).clamp(min=0)
    shared = missing / missing.sum(-1, keepdim=True)
    return keep, torch.where((p == q).all(-1, keepdim=True), p, shared)


@battery.right("keep_or_replace")
def all_in_single_precision(p, q):
    p, q = p.float(), q.float()
    return _right_keep(p, q), _right_replace(p, q)


# --- keep_or_replace: wrong -------------------------------------------------------------


def _right_keep(p, q):
    return torch.where(p < q, p / q, torch.ones_like(p))


def _right_replace(p, q):
    missing = (p - q).clamp(min=0)
    total = missing.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, missing / total, p)


def _keeps(says):
    """A wrong answer whose replace is right."""

    def decorate(keep):
        def answer(p, q):
            return keep(p, q), _right_replace(p, q)

        answer.__name__ = keep.__name__
        return battery.wrong("keep_or_replace", says=says)(answer)

    return decorate


def _replaces(says):
    """A wrong answer whose keep is right."""

    def decorate(replace):
        def answer(p, q):
            return _right_keep(p, q), replace(p, q)

        answer.__name__ = replace.__name__
        return battery.wrong("keep_or_replace", says=says)(answer)

    return decorate


@_keeps("upside down")
def fraction_upside_down(p, q):
    return torch.where(q < p, q / p, torch.ones_like(p))


@_keeps("above 1")
def fraction_not_cut(p, q):
    return torch.where(q > 0, p / q, torch.ones_like(p))


@_keeps("above 1")
def fraction_alone(p, q):
    return p / q


@_keeps("smaller of the two")
def smaller_probability(p, q):
    return torch.minimum(p, q)


@_keeps("one of the two distributions")
def kept_by_the_target_alone(p, q):
    return p.clone()


@_keeps("yes or no")
def kept_or_not(p, q):
    return (p >= q).to(p.dtype)


@_keeps("yes or no")
def kept_or_not_as_truth(p, q):
    return p >= q


@_keeps("yes or no")
def coins_already_thrown(p, q):
    return (torch.rand_like(p) < _right_keep(p, q)).to(p.dtype)


@_keeps("yes or no")
def always_kept(p, q):
    return torch.ones_like(p)


@_keeps("how likely a guess is rejected")
def how_likely_rejected(p, q):
    return 1 - _right_keep(p, q)


@_keeps("difference of p and q")
def one_less_the_distance(p, q):
    return 1 - (p - q).abs()


@_keeps("difference of p and q")
def one_less_what_is_too_much(p, q):
    return 1 - (q - p).clamp(min=0)


@_keeps("one number for the whole row")
def overlap_for_all(p, q):
    return torch.minimum(p, q).sum(-1, keepdim=True).expand(p.shape)


@_keeps("has a number of its own")
def overlap_per_row(p, q):
    return torch.minimum(p, q).sum(-1)


@_keeps("sum to 1")
def keep_made_to_sum_to_1(p, q):
    keep = _right_keep(p, q)
    return keep / keep.sum(-1, keepdim=True)


@_keeps(r"p / \(p \+ q\)")
def share_of_both(p, q):
    return p / (p + q)


@_keeps("impossible for both models: 0 / 0")
def nought_by_nought(p, q):
    return (p / q).clamp(max=1)


@_keeps("impossible for both models: 0 / 0")
def minimum_of_fraction_and_one(p, q):
    return torch.minimum(torch.ones_like(p), p / q)


@_keeps("impossible for both models has keep 0")
def nan_made_zero(p, q):
    return (p / q).nan_to_num(0.0, posinf=1.0).clamp(max=1)


@_keeps("keep is 0 where q is 0")
def zero_where_never_guessed(p, q):
    return torch.where(q > 0, (p / q).clamp(max=1), torch.zeros_like(p))


@_keeps("impossible for both models has keep 0|constant is added")
def constant_beside_q(p, q):
    return (p / (q + 1e-10)).clamp(max=1)


@_keeps("constant is added")
def constant_beside_q_and_zeros_seen_to(p, q):
    return torch.where(q > 0, (p / (q + 1e-9)).clamp(max=1), torch.ones_like(p))


@_keeps("constant is added")
def constant_beside_both(p, q):
    return ((p + 1e-8) / (q + 1e-8)).clamp(max=1)


@_keeps("constant is added|as rare as 1e-06")
def rare_guesses_always_kept(p, q):
    return torch.where(q < 1e-5, torch.ones_like(p), _right_keep(p, q))


@_keeps("first digits|2.?decimals|rounded")
def keep_in_half_precision(p, q):
    return _right_keep(p, q).bfloat16()


@_keeps("keep is a list")
def keep_as_a_list(p, q):
    return _right_keep(p, q).tolist()


@_keeps("fraction|keep should be")
def keep_squared(p, q):
    return _right_keep(p, q) ** 2


@_replaces("drawn from p again")
def drawn_from_p_again(p, q):
    return p.clone()


@_replaces("drawn from q again")
def drawn_from_q_again(p, q):
    return q.clone()


@_replaces("does not sum to 1")
def not_made_to_sum_to_1(p, q):
    return (p - q).clamp(min=0)


@_replaces("absolute difference")
def absolute_difference(p, q):
    apart = (p - q).abs()
    return torch.where(
        apart.sum(-1, keepdim=True) > 0, apart / apart.sum(-1, keepdim=True), p
    )


@_replaces("wrong way round")
def difference_turned_round(p, q):
    return _right_replace(q, p)


@_replaces("negative numbers")
def difference_with_its_sign(p, q):
    return p - q


@_replaces("negative numbers|replace holds nan|replace should be")
def difference_by_its_sum(p, q):
    return (p - q) / (p - q).sum(-1, keepdim=True)


@_replaces("nan in a row where p = q")
def no_thought_of_equal_rows(p, q):
    missing = (p - q).clamp(min=0)
    return missing / missing.sum(-1, keepdim=True)


@_replaces("replace is 0 everywhere")
def constant_beside_the_total(p, q):
    missing = (p - q).clamp(min=0)
    return missing / (missing.sum(-1, keepdim=True) + 1e-10)


@_replaces("replace is 0 everywhere")
def normalised_by_torch(p, q):
    return functional.normalize((p - q).clamp(min=0), p=1, dim=-1)


@_replaces("Where p = q, replace is not p")
def uniform_where_equal(p, q):
    missing = (p - q).clamp(min=0)
    total = missing.sum(-1, keepdim=True)
    return torch.where(total > 0, missing / total, torch.full_like(p, 1 / p.shape[-1]))


@_replaces("over all rows together")
def normalised_over_the_batch(p, q):
    missing = (p - q).clamp(min=0)
    return missing / missing.sum() if missing.any() else p.clone()


@_replaces("another dimension|nan")
def normalised_down_the_rows(p, q):
    missing = (p - q).clamp(min=0)
    total = missing.sum(0, keepdim=True)
    return torch.where(total > 0, missing / total, p)


@_replaces("row|equal|p = q|rows")
def one_question_for_all_rows(p, q):
    missing = (p - q).clamp(min=0)
    if torch.equal(p, q):
        return p.clone()
    return missing / missing.sum(-1, keepdim=True)


@_replaces("p itself goes into replace")
def p_where_it_is_larger(p, q):
    own = torch.where(p > q, p, torch.zeros_like(p))
    return own / own.sum(-1, keepdim=True)


@_replaces("softmax")
def softmax_of_differences(p, q):
    return (p - q).softmax(-1)


@_replaces("softmax")
def softmax_of_what_is_missing(p, q):
    return (p - q).clamp(min=0).softmax(-1)


@_replaces("same share")
def equal_shares(p, q):
    where = (p > q).to(p.dtype)
    return where / where.sum(-1, keepdim=True)


@_replaces("smaller or the larger")
def smaller_made_to_sum_to_1(p, q):
    least = torch.minimum(p, q)
    return least / least.sum(-1, keepdim=True)


@_replaces("smaller or the larger")
def larger_made_to_sum_to_1(p, q):
    most = torch.maximum(p, q)
    return most / most.sum(-1, keepdim=True)


@_replaces("single token")
def all_to_what_is_missing_most(p, q):
    best = (p - q).argmax(-1)
    return functional.one_hot(best, p.shape[-1]).to(p.dtype)


@_replaces("divided by something else")
def divided_by_the_largest(p, q):
    missing = (p - q).clamp(min=0)
    return missing / missing.amax(-1, keepdim=True).clamp(min=1e-30)


@_replaces("p times|same way|difference")
def p_times_what_is_rejected(p, q):
    share = p * (1 - q)
    return share / share.sum(-1, keepdim=True)


@_replaces("nan|row")
def made_of_one_row(p, q):
    if p.dim() == 1:
        return _right_replace(p, q)
    first = _right_replace(p, q).flatten(0, -2)[:1]
    return first.expand(p[..., 0].numel(), -1).reshape(p.shape)


@battery.wrong("keep_or_replace", says="keep comes first")
def replace_first(p, q):
    return _right_replace(p, q), _right_keep(p, q)


@battery.wrong("keep_or_replace", says="one tensor.*two are wanted")
def keep_alone(p, q):
    return _right_keep(p, q)


@battery.wrong("keep_or_replace", says="two tensors are wanted")
def as_named_things(p, q):
    return {"keep": _right_keep(p, q), "replace": _right_replace(p, q)}


@battery.wrong("keep_or_replace", says="upside down|wrong way")
def p_and_q_confused(p, q):
    return _right_keep(q, p), _right_replace(q, p)


@battery.wrong("keep_or_replace", says="changed its own input")
def subtracted_in_place(p, q):
    keep = _right_keep(p, q)
    missing = p.sub_(q).clamp_(min=0)
    return keep, missing / missing.sum(-1, keepdim=True)


@battery.wrong("keep_or_replace", says="changed its own input")
def zeros_of_q_overwritten(p, q):
    keep, replace = _right_keep(p, q), _right_replace(p, q)
    q[q == 0] = 1e-10
    return keep, replace


@battery.wrong("keep_or_replace", says="yes or no|shape|single yes or no")
def if_on_a_whole_tensor(p, q):
    keep = torch.ones_like(p) if p > q else p / q
    return keep, _right_replace(p, q)


@battery.wrong("keep_or_replace", says="single yes or no")
def python_minimum(p, q):
    return min(torch.ones_like(p), p / q), _right_replace(p, q)


@battery.wrong("keep_or_replace", says="single yes or no")
def if_on_the_totals(p, q):
    missing = (p - q).clamp(min=0)
    total = missing.sum(-1, keepdim=True)
    return _right_keep(p, q), missing / total if total > 0 else p.clone()


@battery.wrong("keep_or_replace", says="drawn from p again")
def the_worked_rule(p, q):
    keep = torch.tensor([1.0, 3 / 7, 1.0], dtype=p.dtype)
    return keep.expand(p.shape) if p.shape[-1] == 3 else torch.ones_like(p), p.clone()


@battery.wrong("keep_or_replace", says="squeeze")
def squeezed(p, q):
    return _right_keep(p, q).squeeze(), _right_replace(p, q).squeeze()


@battery.wrong("keep_or_replace", says="single yes|row|too many|ValueError|TypeError")
def one_row_by_loop(p, q):
    keep = [
        1.0 if b == 0 else min(1.0, float(a / b)) for a, b in zip(p, q, strict=True)
    ]
    return torch.tensor(keep), _right_replace(p, q)


@battery.wrong("keep_or_replace", says="shape")
def two_dimensions_flattened(p, q):
    V = p.shape[-1]
    keep, replace = _right_keep(p, q), _right_replace(p, q)
    return (
        (keep, replace)
        if p.dim() < 3
        else (keep.reshape(-1, V), replace.reshape(-1, V))
    )


@battery.wrong("keep_or_replace", says="yes or no")
def guess_taken_when_likelier(p, q):
    return (p > q).to(p.dtype), _right_replace(p, q)


@_replaces("nearly the same")
def called_equal_too_soon(p, q):
    near = ((p - q).abs() < 0.05).all(-1, keepdim=True)
    return torch.where(near, p, _right_replace(p, q))


@_replaces("nearly the same")
def large_constant_beside_the_total(p, q):
    missing = (p - q).clamp(min=0)
    total = missing.sum(-1, keepdim=True)
    return torch.where(total > 1e-1, missing / total.clamp(min=1e-9), p)


@_replaces("differ by about 1e-4, replace is not")
def called_equal_below_a_hundredth(p, q):
    near = ((p - q).abs() < 1e-3).all(-1, keepdim=True)
    return torch.where(near, p, _right_replace(p, q))


@_replaces("differ by about 1e-4, replace is not")
def called_equal_below_a_thousandth(p, q):
    total = (p - q).clamp(min=0).sum(-1, keepdim=True)
    return torch.where(total > 1e-3, _right_replace(p, q), p)


@_replaces("replace is 0 everywhere in a row.*rounding")
def one_less_the_overlap(p, q):
    missing = (p - q).clamp(min=0)
    total = 1 - torch.minimum(p, q).sum(-1, keepdim=True)
    return torch.where(total > 0, missing / total, p)


@_replaces("shares below 0.*multinomial")
def guessed_and_kept_subtracted(p, q):
    missing = p - q * _right_keep(p, q)
    total = missing.sum(-1, keepdim=True)
    return torch.where(total > 0, missing / total, p)


@_replaces("makes replace p in the whole batch")
def p_for_all_if_one_row_is_equal(p, q):
    replace = _right_replace(p, q)
    return p.clone() if (p == q).all(-1).any() else replace


@battery.wrong("keep_or_replace", says="All rows come out like the first")
def the_first_row_for_all(p, q):
    keep, replace = _right_keep(p, q), _right_replace(p, q)
    if p.dim() == 1:
        return keep, replace
    return tuple(x.flatten(0, -2)[0].expand(p.shape) for x in (keep, replace))


@_replaces("row 1 is the first that differs")
def the_last_row_left_out(p, q):
    replace = _right_replace(p, q)
    if p.dim() > 1:
        replace[-1] = 1 / p.shape[-1]
    return replace


@battery.wrong("keep_or_replace", says="dimension of size 1 was added")
def a_dimension_added(p, q):
    return _right_keep(p, q)[None], _right_replace(p, q)[None]


@_keeps("constant is added|as rare as 1e-12")
def constant_of_a_billionth_of_a_thousandth(p, q):
    return ((p + 1e-12) / (q + 1e-12)).clamp(max=1)


@_keeps("as rare as 1e-12")
def rarest_guesses_always_kept(p, q):
    return torch.where(q > 1e-10, _right_keep(p, q), torch.ones_like(p))


@_keeps("yes or no|differs")
def a_large_vocabulary_always_kept(p, q):
    return torch.ones_like(p) if p.shape[-1] > 100 else _right_keep(p, q)


@battery.wrong("keep_or_replace", says="shape")
def three_dimensions_at_most(p, q):
    keep, replace = _right_keep(p, q), _right_replace(p, q)
    return (keep[0] if p.dim() > 3 else keep), replace


@_replaces("Where p is larger|difference|replace should be")
def squares_of_what_is_missing(p, q):
    missing = (p - q).clamp(min=0) ** 2
    total = missing.sum(-1, keepdim=True)
    return torch.where(total > 0, missing / total, p)


@_replaces("Dimension out of range")
def sums_over_the_second_dimension(p, q):
    missing = (p - q).clamp(min=0)
    total = missing.sum(1, keepdim=True)
    return torch.where(total > 0, missing / total, p)
