"""Answers to lesson 03 on the bytes, operations and days of a training, and on runs of hits."""

import itertools
import math
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from course_lib.scaling import flops
from course_lib.scaling.cost import DAY, GPUS, gpu_hours, utilisation, wall_days
from course_lib.scaling.emergence import exact_match
from course_lib.scaling.memory import number_bytes, weight_bytes
from tools.graders import Battery

battery = Battery()
PARTS = ("weights", "gradients", "moments", "master")


# --- training_parts: right --------------------------------------------------------------


@battery.right("training_parts")
def two_sizes_first(parameters, precision="float32", mixed=False):
    own, wide = number_bytes(precision), number_bytes("float32")
    return {
        "weights": parameters * own,
        "gradients": parameters * own,
        "moments": parameters * 2 * (wide if mixed else own),
        "master": parameters * wide if mixed else 0,
    }


@battery.right("training_parts")
def two_whole_dictionaries(parameters, precision="float32", mixed=False):
    own = parameters * number_bytes(precision)
    if mixed:
        wide = parameters * number_bytes("float32")
        wide_ones = {"master": wide, "moments": wide + wide}
        return wide_ones | {"gradients": own, "weights": own}
    return {"weights": own, "gradients": own, "moments": own + own, "master": 0.0}


@battery.right("training_parts")
def whole_bits(parameters, precision="float32", mixed=False):
    bits = {"float32": 32, "bfloat16": 16, "float16": 16}
    bits |= {"float8": 8, "int8": 8, "int4": 4}
    own = bits[precision]
    slow = 32 if mixed else own
    counts = OrderedDict(weights=own, gradients=own, moments=2 * slow)
    counts["master"] = mixed * slow
    return {part: parameters * each / 8 for part, each in counts.items()}


@battery.right("training_parts")
def by_a_vector(parameters, precision="float32", mixed=False):
    own = number_bytes(precision)
    each = np.array([own, own, 8 if mixed else 2 * own, 4 if mixed else 0])
    return dict(zip(PARTS, parameters * each, strict=True))


@battery.right("training_parts")
def built_up_and_mended(parameters, precision="float32", mixed=False):
    size = parameters * number_bytes(precision)
    parts = {"weights": size, "gradients": size, "moments": size * 2, "master": 0}
    if mixed is True:
        parts["moments"] = 8.0 * parameters
        parts.update(master=parts["moments"] / 2)
    return parts


@battery.right("training_parts")
def tensors_of_one_number(parameters, precision="float32", mixed=False):
    each = torch.full((4,), number_bytes(precision), dtype=torch.float64)
    each[2:] = torch.tensor([4.0, 4.0]) if mixed else each[2:]
    each *= torch.tensor([1, 1, 2, int(mixed)])
    return {part: parameters * one for part, one in zip(PARTS, each, strict=True)}


@battery.right("training_parts")
def master_by_a_truth_value(parameters, precision="float32", mixed=False):
    own = number_bytes(precision) * parameters
    wide = 4 * parameters
    moments = 2 * ((mixed and wide) or own)
    master = mixed and wide
    return {"weights": own, "gradients": own, "moments": moments, "master": master}


# --- training_parts: wrong --------------------------------------------------------------


def _parts(says):
    """A wrong answer that gives four sizes per parameter, from the given one and `mixed`."""

    def decorate(sizes):
        def answer(parameters, precision="float32", mixed=False):
            each = sizes(number_bytes(precision), mixed)
            return {p: parameters * one for p, one in zip(PARTS, each, strict=True)}

        answer.__name__ = sizes.__name__
        return battery.wrong("training_parts", says=says)(answer)

    return decorate


@_parts("moments take no bytes")
def optimizer_forgotten(own, mixed):
    return own, own, 0, 4 if mixed else 0


@_parts("one moment|two moments|AdamW has two")
def one_moment(own, mixed):
    return own, own, 4 if mixed else own, 4 if mixed else 0


@_parts("or two of 16.*stay in 32")
def moments_narrow_when_mixed(own, mixed):
    return own, own, 2 * own, 4 if mixed else 0


@_parts("two moments, and when mixed they stay in 32")
def one_narrow_moment(own, mixed):
    return own, own, own, 4 if mixed else 0


@_parts("master copy takes no bytes")
def no_master(own, mixed):
    return own, own, 8 if mixed else 2 * own, 0


@_parts("master copy although nothing is mixed")
def always_a_master(own, mixed):
    return own, own, 8 if mixed else 2 * own, 4


@_parts("master copy has 16 bits")
def narrow_master(own, mixed):
    return own, own, 8 if mixed else 2 * own, own if mixed else 0


@_parts("moments have 32 bits although nothing is mixed")
def moments_always_wide(own, mixed):
    return own, own, 8, 4 if mixed else 0


@_parts("gradients have 32 bits")
def gradients_wide_when_mixed(own, mixed):
    return own, 4 if mixed else own, 8 if mixed else 2 * own, 4 if mixed else 0


@_parts("gradients take no bytes")
def gradients_forgotten(own, mixed):
    return own, 0, 8 if mixed else 2 * own, 4 if mixed else 0


@_parts("weights have 32 bits when mixed")
def weights_wide_when_mixed(own, mixed):
    return 4 if mixed else own, own, 8 if mixed else 2 * own, 4 if mixed else 0


@_parts("take both copies")
def master_among_the_weights(own, mixed):
    return own + 4 if mixed else own, own, 8 if mixed else 2 * own, 4 if mixed else 0


@_parts("three wide numbers")
def master_among_the_moments(own, mixed):
    return own, own, 12 if mixed else 2 * own, 0


@_parts("16 bytes for each weight")
def moments_of_64_bits(own, mixed):
    return own, own, 16 if mixed else 4 * own, 4 if mixed else 0


@_parts("swapped")
def moments_and_master_swapped(own, mixed):
    return own, own, 4 if mixed else 0, 8 if mixed else 2 * own


@_parts("depends on the precision|half a byte")
def size_cut_to_whole_bytes(own, mixed):
    return int(own), int(own), 8 if mixed else 2 * int(own), 4 if mixed else 0


@battery.wrong("training_parts", says="One parameter in int4.*//")
def whole_bytes_by_floor_division(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {part: size // 1 for part, size in parts.items()}


@battery.wrong("training_parts", says="One parameter in int4.*round")
def rounded_to_whole_bytes(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {part: round(size) for part, size in parts.items()}


@battery.wrong("training_parts", says="One parameter in int4.*int")
def rounded_up_to_whole_bytes(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {part: math.ceil(size) for part, size in parts.items()}


_SHARED: dict[str, float] = {}


@battery.wrong("training_parts", says="both share one dictionary")
def one_dictionary_for_all(parameters, precision="float32", mixed=False):
    _SHARED.update(two_sizes_first(parameters, precision, mixed))
    return _SHARED


@battery.wrong("training_parts", says="calls course_lib's own")
def weights_borrowed(parameters, precision="float32", mixed=False):
    weights = weight_bytes(parameters, precision)
    return two_sizes_first(parameters, precision, mixed) | {"weights": weights}


@_parts("whole byte")
def size_at_least_one_byte(own, mixed):
    own = max(1, own)
    return own, own, 8 if mixed else 2 * own, 4 if mixed else 0


@_parts("These are bits")
def bits_for_bytes(own, mixed):
    return 8 * own, 8 * own, 64 if mixed else 16 * own, 32 if mixed else 0


@_parts("divided by 8")
def eighths(own, mixed):
    return own / 8, own / 8, 1 if mixed else own / 4, 0.5 if mixed else 0


@_parts("giga")
def gigabytes(own, mixed):
    own, wide = own / 1e9, 4e-9
    return own, own, 2 * wide if mixed else 2 * own, wide if mixed else 0


@_parts("giga")
def gibibytes(own, mixed):
    own, wide = own / 2**30, 4 / 2**30
    return own, own, 2 * wide if mixed else 2 * own, wide if mixed else 0


@_parts("moments take|counted one by one|In int4")
def four_times_the_weights(own, mixed):
    return own, own, 2 * own, 0


@_parts("2 bytes when mixed|always|counted one by one")
def sixteen_bits_when_mixed(own, mixed):
    own = 2 if mixed else own
    return own, own, 8 if mixed else 2 * own, 4 if mixed else 0


@_parts("float32 there is no master|`mixed` alone decides")
def no_master_in_float32(own, mixed):
    master = 4 if mixed and own < 4 else 0
    return own, own, 8 if mixed else 2 * own, master


@_parts("master copy although nothing is mixed|32 bits although")
def precision_decides(own, mixed):
    return own, own, 8, 4 if own < 4 else 0


@_parts("master copy depends on the precision")
def moments_and_master_by_twice_the_size(own, mixed):
    slow = 2 * own if mixed else own
    return own, own, 8 if mixed else 2 * slow, slow if mixed else 0


@_parts("moments take|master copy takes no")
def mixed_turned_round(own, mixed):
    return own, own, 2 * own if mixed else 8, 0 if mixed else 4


@battery.wrong("training_parts", says="counts 2 bytes for a weight")
def default_of_16_bits(parameters, precision="bfloat16", mixed=False):
    return two_sizes_first(parameters, precision, mixed)


@battery.wrong("training_parts", says="counts 2 bytes for a weight|32 bits are 4")
def thirty_two_bits_are_two_bytes(parameters, precision="float32", mixed=False):
    own = {"float32": 2}.get(precision, number_bytes(precision))
    wide = 4 if mixed else own
    sizes = (own, own, 2 * wide, wide if mixed else 0)
    return {p: parameters * one for p, one in zip(PARTS, sizes, strict=True)}


@battery.wrong("training_parts", says="one number.*dictionary is wanted")
def all_together(parameters, precision="float32", mixed=False):
    return sum(two_sizes_first(parameters, precision, mixed).values())


@battery.wrong("training_parts", says="a tuple; a dictionary is wanted")
def as_a_tuple(parameters, precision="float32", mixed=False):
    return tuple(two_sizes_first(parameters, precision, mixed).values())


@battery.wrong("training_parts", says="as well.*sum over all entries")
def with_a_total(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {**parts, "total": sum(parts.values())}


@battery.wrong("training_parts", says="no entry moments")
def optimizer_for_a_name(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    parts["optimizer"] = parts.pop("moments")
    return parts


@battery.wrong("training_parts", says="no entry weights, gradients, moments, master")
def names_in_capitals(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {name.title(): size for name, size in parts.items()}


@battery.wrong("training_parts", says="`master` is missing")
def master_only_when_mixed(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return parts if mixed else {p: parts[p] for p in PARTS[:3]}


@battery.wrong("training_parts", says="NoneType.*one number is wanted")
def no_master_is_none(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {**parts, "master": parts["master"] or None}


@battery.wrong("training_parts", says="moments: several numbers")
def moments_one_by_one(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {**parts, "moments": [parts["moments"] / 2] * 2}


@battery.wrong("training_parts", says="returned a str")
def with_units(parameters, precision="float32", mixed=False):
    parts = two_sizes_first(parameters, precision, mixed)
    return {part: f"{size} B" for part, size in parts.items()}


@battery.wrong("training_parts", says="does not know 'int4'|does not know 'float8'")
def a_short_table(parameters, precision="float32", mixed=False):
    own = {"float32": 4, "bfloat16": 2, "float16": 2}[precision]
    slow = 4 if mixed else own
    sizes = (own, own, 2 * slow, slow if mixed else 0)
    return {p: parameters * one for p, one in zip(PARTS, sizes, strict=True)}


@battery.wrong("training_parts", says="parameters makes no difference")
def for_one_parameter(parameters, precision="float32", mixed=False):
    return two_sizes_first(1, precision, mixed)


@battery.wrong("training_parts", says="no bytes|makes no difference|counted one by one")
def the_worked_bytes(parameters, precision="float32", mixed=False):
    return {"weights": 2.0, "gradients": 2.0, "moments": 8.0, "master": 4.0}


@battery.wrong(
    "training_parts", says="32 bits although nothing|although nothing is mixed"
)
def the_worked_bytes_for_each(parameters, precision="float32", mixed=False):
    if precision == "float32":
        return two_sizes_first(parameters)
    return two_sizes_first(parameters, "bfloat16", True)


@battery.wrong("training_parts", says="goes in twice")
def parameters_squared(parameters, precision="float32", mixed=False):
    return two_sizes_first(parameters**2, precision, mixed)


# --- train_flops: right -----------------------------------------------------------------


@battery.right("train_flops")
def one_token_first(parameters, tokens, config=None, length=None):
    one = 6 * parameters
    if config is not None:
        one += 12 * config.layers * config.heads * config.K * length
    return one * tokens


@battery.right("train_flops")
def forward_and_twice_that(parameters, tokens, config=None, length=None):
    forward = 2 * parameters * tokens
    if config and length:
        texts = tokens / length
        pairs = texts * length**2
        for _layer in range(config.layers):
            for _head in range(config.heads):
                forward += 2 * 2 * pairs * config.K
    backward = 2 * forward
    return forward + backward


@battery.right("train_flops")
def counted_by_torch(parameters, tokens, config=None, length=None):
    attention = 0
    if config is not None:
        q, k, v = torch.empty(3, config.heads, length, config.K, device="meta")
        with FlopCounterMode(display=False) as counter:
            (q @ k.transpose(-1, -2)) @ v
        attention = 3 * counter.get_total_flops() * config.layers / length
    return tokens * (6 * parameters + attention)


@battery.right("train_flops")
def a_recursion(parameters, tokens, config=None, length=None):
    if length is None:
        return 6.0 * parameters * tokens
    shape = config.layers, config.heads, config.K, length, tokens
    return a_recursion(parameters, tokens) + 12.0 * math.prod(shape)


@battery.right("train_flops")
def attention_as_more_parameters(parameters, tokens, config=None, length=None):
    L, HK, T = 0, 0, 0
    if config is not None:
        K = config.head_width or config.width // config.heads
        L, HK, T = config.layers, config.heads * K, length
    return np.float64(tokens) * 6 * (parameters + 2 * L * HK * T)


@battery.right("train_flops")
def as_a_tensor(parameters, tokens, config=None, length=None):
    sizes = (
        [0.0] if config is None else [12, config.layers, config.heads, config.K, length]
    )
    each = torch.tensor(sizes, dtype=torch.float64).prod() + 6 * parameters
    return each * tokens


# --- train_flops: wrong -----------------------------------------------------------------


def _weights(says):
    """A wrong answer in what the weights cost; attention is right."""

    def decorate(weights):
        def answer(parameters, tokens, config=None, length=None):
            more = a_recursion(0, tokens, config, length)
            return weights(parameters, tokens) + more

        answer.__name__ = weights.__name__
        return battery.wrong("train_flops", says=says)(answer)

    return decorate


@_weights("Forward alone")
def forward_alone(N, D):
    return 2 * N * D


@_weights("backward alone.*twice as much")
def backward_alone(N, D):
    return 4 * N * D


@_weights("as if it cost as much as forward")
def backward_like_forward(N, D):
    return (2 + 2) * N * D


@_weights("Multiplications alone")
def products_alone(N, D):
    return 3 * N * D


@_weights("Backward is counted too often")
def forward_recomputed(N, D):
    return 8 * N * D


@_weights("goes in twice")
def six_and_six(N, D):
    return 12 * N * D


@_weights("tokens make no difference")
def tokens_forgotten(N, D):
    return 6 * N


@_weights("parameters make no difference")
def parameters_forgotten(N, D):
    return 6 * D


@_weights("are added")
def added_up(N, D):
    return 6 * (N + D)


@_weights("divided, into tera")
def teraflops(N, D):
    return 6 * N * D / 1e12


@_weights("squared")
def tokens_squared(N, D):
    return 6 * N * D**2


@_weights("it gives")
def the_worked_operations(N, D):
    return 5.88e21


@_weights("it gives.*operations")
def forward_minus_backward(N, D):
    return 2 * N * D - 4 * N * D


def _attention(says):
    """A wrong answer that gives attention's operations; the weights are right."""

    def decorate(more):
        def answer(parameters, tokens, config=None, length=None):
            weights = 6 * parameters * tokens
            if config is None:
                return weights
            return weights + more(config, tokens, length, parameters)

        answer.__name__ = more.__name__
        return battery.wrong("train_flops", says=says)(answer)

    return decorate


@_attention("config and length make no difference")
def shape_ignored(c, D, T, N):
    return 0


@_attention("leave attention as it was. Every token that is read")
def for_one_token(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T


@_attention("leave attention as it was. Every token that is read")
def for_one_text(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * T


@_attention("nine times as much for the same number")
def square_per_token(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T**2 * D


@_attention("looks at the tokens of its own text")
def all_tokens_see_each_other(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * D * D


@_attention("Then every token looks at three times as many")
def length_forgotten(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * D


@_attention("need not be that of the stream")
def width_for_all_heads(c, D, T, N):
    return 12 * c.layers * c.width * T * D


@_attention("need not be that of the stream")
def width_for_every_head(c, D, T, N):
    return 12 * c.layers * c.heads * c.width * T * D


@_attention("need not be that of the stream")
def head_width_from_width(c, D, T, N):
    return 12 * c.layers * c.heads * (c.width / c.heads) * T * D


@_attention("goes in squared")
def projections_once_more(c, D, T, N):
    return 12 * c.layers * c.width**2 * D


@_attention("not multiplied by N")
def times_the_parameters(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * D * N


@_attention("layers make no difference")
def one_layer(c, D, T, N):
    return 12 * c.heads * c.K * T * D


@_attention("heads make no difference")
def one_head(c, D, T, N):
    return 12 * c.layers * c.K * T * D


@_attention("width of a head makes no difference")
def heads_without_width(c, D, T, N):
    return 12 * c.layers * c.heads * T * D


@_attention("width of a head goes in twice")
def width_of_a_head_squared(c, D, T, N):
    return 12 * c.layers * c.heads * c.K**2 * T * D


@_attention("heads of queries")
def heads_of_keys_and_values(c, D, T, N):
    return 12 * c.layers * c.kv_heads * c.K * T * D


@_attention("heads of queries|should change nothing")
def all_heads_together(c, D, T, N):
    return 4 * c.layers * (c.heads + 2 * c.kv_heads) * c.K * T * D


@_attention("context goes in|leave attention as it was")
def whole_context(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * c.context * D


@_attention("cut to config.context")
def never_beyond_the_context(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * min(T, c.context) * D


@_attention("field of config may not be set")
def head_width_as_it_was_set(c, D, T, N):
    return 12 * c.layers * c.heads * c.head_width * T * D


@_attention("Attention counts forward only")
def attention_forward_alone(c, D, T, N):
    return 4 * c.layers * c.heads * c.K * T * D


@_attention("Attention counts backward only")
def attention_backward_alone(c, D, T, N):
    return 8 * c.layers * c.heads * c.K * T * D


@_attention("half of what it should be")
def scores_without_values(c, D, T, N):
    return 6 * c.layers * c.heads * c.K * T * D


@_attention("half of what it should be")
def masked_half_left_out(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * (T / 2) * D


@_attention("half as many. The card counts all T")
def masked_tokens_left_out(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * (T + 1) / 2 * D


@_attention("one token too few")
def itself_left_out(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * (T - 1) * D


@_attention("one of its two products")
def scores_forward_alone(c, D, T, N):
    return 2 * c.layers * c.heads * c.K * T * D


@_attention("twice as much as it should be")
def six_times_four(c, D, T, N):
    return 6 * 4 * c.layers * c.heads * c.K * T * D


@_attention("the constant is not")
def with_the_softmax(c, D, T, N):
    return 14 * c.layers * c.heads * c.K * T * D


@_attention("fewer operations than without")
def taken_away(c, D, T, N):
    return -12 * c.layers * c.heads * c.K * T * D


@_attention("weights are counted twice")
def weights_once_more(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * D + 6 * N * D


@_attention("attention alone")
def attention_without_weights(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * D - 6 * N * D


@_attention("root of K")
def with_the_root(c, D, T, N):
    return 12 * c.layers * c.heads * math.sqrt(c.K) * T * D


@_attention("should make attention take three times|should change nothing")
def head_counted_again(c, D, T, N):
    scored = 6 * c.vocabulary * c.width * D
    return 12 * c.layers * c.heads * c.K * T * D + scored


@_attention("Texts are counted, the last of them filled up")
def last_text_filled_up(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * T * math.ceil(D / T)


@_attention("60,000 \\+ 19,200.*short texts")
def long_texts_alone(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * D * (T > 8)


@_attention("Only whole texts are counted")
def whole_texts_only(c, D, T, N):
    return 12 * c.layers * c.heads * c.K * T * T * (D // T)


@battery.wrong("train_flops", says="worked with None: without a shape")
def always_a_shape(parameters, tokens, config=None, length=None):
    shape = config.layers * config.heads * config.K
    return 6 * parameters * tokens + 12 * shape * length * tokens


@battery.wrong("train_flops", says="calls course_lib's own")
def attention_borrowed(parameters, tokens, config=None, length=None):
    one = 6 * parameters
    if config is not None:
        one += 3 * flops.attention_flops(config, length)
    return one * tokens


@battery.wrong("train_flops", says="calls course_lib's own")
def all_borrowed(parameters, tokens, config=None, length=None):
    if config is None:
        return 6 * parameters * tokens
    matrices = 3 * tokens * flops.matrix_flops(config)
    attention = flops.full_train_flops(config, tokens, length) - matrices
    return 6 * parameters * tokens + attention


@battery.wrong("train_flops", says="another result|swapped|by name")
def shape_handed_in_by_place(parameters, tokens, length=None, config=None):
    if config is None:
        return 6 * parameters * tokens
    if isinstance(config, int):
        config, length = length, config
    else:
        length = 2 * length
    return one_token_first(parameters, tokens, config, length)


@battery.wrong("train_flops", says="one number is wanted")
def both_apart(parameters, tokens, config=None, length=None):
    weights = 6 * parameters * tokens
    return weights, one_token_first(parameters, tokens, config, length) - weights


@battery.wrong("train_flops", says="one number is wanted")
def as_a_text(parameters, tokens, config=None, length=None):
    return f"{one_token_first(parameters, tokens, config, length):.3g}"


@battery.wrong("train_flops", says="first digits")
def three_digits(parameters, tokens, config=None, length=None):
    return float(f"{one_token_first(parameters, tokens, config, length):.3g}")


# --- gpu_days: right --------------------------------------------------------------------


def _likely(mfu):
    assert 0 < mfu <= 1, f"mfu is a share of the peak, above 0 and at most 1: {mfu=}"


@battery.right("gpu_days")
def amount_over_rate(compute, peak, mfu=0.4):
    _likely(mfu)
    return compute / (mfu * peak * 24 * 60 * 60)


@battery.right("gpu_days")
def step_by_step(compute, peak, mfu=0.4):
    if not (mfu > 0 and mfu <= 1):
        raise ValueError("an impossible share")
    seconds = compute / peak
    seconds /= mfu
    for each in (60, 60, 24):
        seconds = seconds / each
    return seconds


@battery.right("gpu_days")
def operations_of_a_day(compute, peak, mfu=0.4):
    _likely(mfu)
    in_a_day = peak * DAY * mfu
    return compute / in_a_day


@battery.right("gpu_days")
def in_fractions(compute, peak, mfu=0.4):
    _likely(mfu)
    return Fraction(compute) / (Fraction(peak) * Fraction(mfu) * 86_400)


@battery.right("gpu_days")
def in_decimals(compute, peak, mfu=0.4):
    _likely(mfu)
    rate = Decimal(peak) * Decimal(mfu)
    return Decimal(compute) / rate / 86_400


@battery.right("gpu_days")
def by_logarithms(compute, peak, mfu=0.4):
    _likely(mfu)
    return math.exp(math.log(compute) - math.log(peak) - math.log(mfu * 86_400))


@battery.right("gpu_days")
def with_numpy(compute, peak, mfu=0.4):
    _likely(mfu)
    seconds = np.divide(compute, np.float64(peak) * mfu)
    return seconds / np.timedelta64(1, "D").astype("timedelta64[s]").astype(int)


# --- gpu_days: wrong --------------------------------------------------------------------


def _days(says):
    """A wrong answer that still refuses an impossible share."""

    def decorate(days):
        def answer(compute, peak, mfu=0.4):
            _likely(mfu)
            return days(compute, peak, mfu)

        answer.__name__ = days.__name__
        return battery.wrong("gpu_days", says=says)(answer)

    return decorate


@_days("mfu makes no difference")
def share_forgotten(compute, peak, mfu):
    return compute / peak / DAY


@_days("the shorter it takes")
def time_made_shorter(compute, peak, mfu):
    return compute / peak * mfu / DAY


@_days("1 - mfu")
def share_that_is_lost(compute, peak, mfu):
    return compute / (peak * (1 - mfu or 1)) / DAY


@_days("per cent")
def share_in_per_cent(compute, peak, mfu):
    return compute / (peak * mfu / 100) / DAY


@_days("per cent")
def share_made_per_cent(compute, peak, mfu):
    return compute / (peak * mfu * 100) / DAY


@_days("already, not in tera")
def peak_made_tera(compute, peak, mfu):
    return compute / (peak * 1e12 * mfu) / DAY


@_days("already, not in tera")
def peak_made_peta(compute, peak, mfu):
    return compute / (peak * 1e15 * mfu) / DAY


@_days("power of ten")
def peak_in_tera(compute, peak, mfu):
    return compute / (peak / 1e12 * mfu) / DAY


@_days("power of ten")
def a_thousand_too_many(compute, peak, mfu):
    return compute / (peak / 1e3 * mfu) / DAY


@_days("These are seconds")
def in_seconds(compute, peak, mfu):
    return compute / (peak * mfu)


@_days("These are minutes")
def in_minutes(compute, peak, mfu):
    return compute / (peak * mfu) / 60


@_days("These are hours")
def in_hours(compute, peak, mfu):
    return compute / (peak * mfu) / 3600


@_days("divided by 24")
def seconds_taken_for_hours(compute, peak, mfu):
    return compute / (peak * mfu) / 24


@_days("divided by 24")
def seconds_taken_for_minutes(compute, peak, mfu):
    return compute / (peak * mfu) / (24 * 60)


@_days("too often")
def day_and_hours(compute, peak, mfu):
    return compute / (peak * mfu) / DAY / 24


@_days("weeks, months or years")
def in_years(compute, peak, mfu):
    return compute / (peak * mfu) / DAY / 365


@_days("upside down")
def rate_over_amount(compute, peak, mfu):
    return peak * mfu / compute


@_days("upside down")
def runs_per_day(compute, peak, mfu):
    return DAY * peak * mfu / compute


@_days("`compute` is all")
def six_again(compute, peak, mfu):
    return 6 * compute / (peak * mfu) / DAY


@_days("rounded to whole days")
def whole_days(compute, peak, mfu):
    return round(compute / (peak * mfu) / DAY)


@_days("rounded to whole days")
def integer_division(compute, peak, mfu):
    return compute // (peak * mfu * DAY)


@_days("rounded to whole days")
def days_begun(compute, peak, mfu):
    return math.ceil(compute / (peak * mfu) / DAY)


@_days("seconds are cut or rounded")
def whole_seconds_at_the_peak(compute, peak, mfu):
    return compute // peak / mfu / DAY


@_days("seconds are cut or rounded")
def whole_seconds(compute, peak, mfu):
    return int(compute / (peak * mfu)) / DAY


@_days("first digits|rounded")
def two_decimals(compute, peak, mfu):
    return round(compute / (peak * mfu) / DAY, 2)


@_days("by hand")
def always_an_a100(compute, peak, mfu):
    return compute / (GPUS["A100"].peak * mfu) / DAY


@_days("mfu makes no difference|by hand")
def always_forty_per_cent(compute, peak, mfu):
    return compute / (peak * 0.4) / DAY


@_days("by hand")
def the_worked_days(compute, peak, mfu):
    return 545.3


@_days("by hand")
def divided_one_after_the_other_wrongly(compute, peak, mfu):
    return compute / peak - mfu * DAY


@_days("one number is wanted")
def as_words(compute, peak, mfu):
    return f"{compute / (peak * mfu) / DAY:.0f} days"


@_days("one number is wanted")
def days_and_hours(compute, peak, mfu):
    return divmod(compute / (peak * mfu) / 3600, 24)


@battery.wrong("gpu_days", says="does not take 0.4")
def default_of_one_half(compute, peak, mfu=0.5):
    _likely(mfu)
    return compute / (peak * mfu) / DAY


@battery.wrong("gpu_days", says="does not take 0.4|mfu makes no difference")
def default_of_the_whole(compute, peak, mfu=1):
    _likely(mfu)
    return compute / (peak * mfu) / DAY


@battery.wrong("gpu_days", says="share of 40 is accepted.*leave that line")
def all_shares_accepted(compute, peak, mfu=0.4):
    return compute / (peak * mfu) / DAY


@battery.wrong("gpu_days", says="share of 40 is accepted")
def per_cent_accepted(compute, peak, mfu=0.4):
    mfu = mfu / 100 if mfu > 1 else mfu
    return compute / (peak * mfu) / DAY


@battery.wrong("gpu_days", says="calls course_lib's own")
def hours_borrowed(compute, peak, mfu=0.4):
    return gpu_hours(compute, peak, mfu) / 24


@battery.wrong("gpu_days", says="calls course_lib's own")
def days_borrowed(compute, peak, mfu=0.4):
    _likely(mfu)
    return wall_days(compute / (peak * mfu) / 3600, 1)


@battery.wrong("gpu_days", says="calls course_lib's own")
def share_of_a_day_borrowed(compute, peak, mfu=0.4):
    _likely(mfu)
    return utilisation(compute, 24.0, peak) / mfu


@battery.wrong("gpu_days", says="share of nan is accepted")
def share_of_nan_accepted(compute, peak, mfu=0.4):
    if mfu <= 0 or mfu > 1:
        raise ValueError("an impossible share")
    return compute / (peak * mfu) / DAY


@battery.wrong("gpu_days", says="share of -0.4 is accepted")
def negative_share_accepted(compute, peak, mfu=0.4):
    assert mfu <= 1
    return compute / (peak * mfu) / DAY


@battery.wrong("gpu_days", says="AssertionError")
def whole_peak_refused(compute, peak, mfu=0.4):
    assert 0 < mfu < 1, "an impossible share"
    return compute / (peak * mfu) / DAY


# --- stretches_right: right -------------------------------------------------------------


@battery.right("stretches_right")
def unfolded(right, length):
    return right.unfold(1, length, 1).all(-1).float().mean().item()


@battery.right("stretches_right")
def shifted_and_combined(right, length):
    places = right.shape[1] - length + 1
    whole = right[:, :places].clone()
    for shift in range(1, length):
        whole &= right[:, shift : shift + places]
    return whole.double().mean()


@battery.right("stretches_right")
def place_by_place(right, length):
    found = []
    for text in right.tolist():
        for begin in range(len(text) - length + 1):
            found.append(all(text[begin : begin + length]))
    return sum(found) / len(found)


@battery.right("stretches_right")
def sums_of_all_before(right, length):
    sums = functional.pad(right.long().cumsum(1), (1, 0))
    return ((sums[:, length:] - sums[:, :-length]) == length).float().mean()


@battery.right("stretches_right")
def as_a_convolution(right, length):
    kernel = torch.ones(1, 1, length)
    hits = functional.conv1d(right.float().unsqueeze(1), kernel)
    return (hits > length - 0.5).sum().item() / hits.numel()


@battery.right("stretches_right")
def by_the_runs(right, length):
    count, places = 0, 0
    for text in right.numpy():
        places += len(text) - length + 1
        for hit, run in itertools.groupby(text):
            count += max(0, len(list(run)) - length + 1) if hit else 0
    return Fraction(count, places)


@battery.right("stretches_right")
def in_numpy(right, length):
    views = np.lib.stride_tricks.sliding_window_view(right.numpy(), length, axis=1)
    return np.mean(views.min(axis=-1))


# --- stretches_right: wrong -------------------------------------------------------------


def _stretches(says):
    return battery.wrong("stretches_right", says=says)


@_stretches("power of the mean")
def power_of_the_mean(right, length):
    return right.float().mean().item() ** length


@_stretches("power of the mean|do not overlap|one by one|two texts")
def power_of_each_mean(right, length):
    return (right.float().mean(1) ** length).mean().item()


@_stretches("do not overlap")
def side_by_side(right, length):
    return right.unfold(1, length, length).all(-1).float().mean().item()


@_stretches("do not overlap")
def cut_and_viewed(right, length):
    whole = right[:, : right.shape[1] // length * length]
    return whole.reshape(-1, length).all(-1).double().mean().item()


@_stretches("into the next")
def texts_joined(right, length):
    return right.flatten().unfold(0, length, 1).all(-1).float().mean().item()


@_stretches("into the next")
def texts_joined_by_a_loop(right, length):
    row = right.reshape(-1).tolist()
    found = [all(row[i : i + length]) for i in range(len(row) - length + 1)]
    return sum(found) / len(found)


@_stretches("power of the mean")
def power_from_the_library(right, length):
    return exact_match(right.float().mean().item(), length)


@_stretches("One right token is enough")
def any_of_them(right, length):
    return right.unfold(1, length, 1).any(-1).float().mean().item()


@_stretches("divided by the number of tokens")
def over_all_tokens(right, length):
    return right.unfold(1, length, 1).all(-1).sum().item() / right.numel()


@_stretches("last stretch of each text is missing|number of tokens")
def last_one_missing(right, length):
    return right[:, :-1].unfold(1, length, 1).all(-1).float().mean().item()


@_stretches("last stretch|number of tokens|division by zero")
def range_too_short(right, length):
    places = range(right.shape[1] - length)
    found = [r[i : i + length].all().item() for r in right for i in places]
    return sum(found) / len(found)


@_stretches("shorter than a stretch")
def shorter_ones_at_the_end(right, length):
    B, T = right.shape
    found = [right[b, i : i + length].all().item() for b in range(B) for i in range(T)]
    return sum(found) / len(found)


@_stretches("another dimension, or along every one")
def all_of_everything(right, length):
    return right.unfold(1, length, 1).all().float().mean().item()


@_stretches("another dimension, or along every one")
def all_over_the_texts(right, length):
    return right.unfold(1, length, 1).all(0).float().mean().item()


@_stretches("another dimension, or along every one")
def all_over_the_places(right, length):
    return right.unfold(1, length, 1).all(1).float().mean().item()


@_stretches("one place too few")
def divided_by_one_less(right, length):
    whole = right.unfold(1, length, 1).all(-1)
    return whole.sum().item() / (whole.numel() - len(right))


@_stretches("right on average")
def hits_in_a_stretch(right, length):
    return right.unfold(1, length, 1).float().mean().item()


@_stretches("Most of a stretch|One right token|one by one")
def more_than_half(right, length):
    return (right.unfold(1, length, 1).float().mean(-1) >= 0.5).float().mean().item()


@_stretches("share of right tokens")
def length_ignored(right, length):
    return right.float().mean().item()


@_stretches("one token too long")
def one_token_longer(right, length):
    size = min(length + 1, right.shape[1])
    return right.unfold(1, size, 1).all(-1).float().mean().item()


@_stretches("one token too short|share of right tokens")
def one_token_shorter(right, length):
    return right.unfold(1, max(length - 1, 1), 1).all(-1).float().mean().item()


@_stretches("beginning of each text")
def prefixes(right, length):
    return right[:, :length].all(1).float().mean().item()


@_stretches("beginning of each text|one by one|first")
def right_from_the_start(right, length):
    return right.long().cumprod(1)[:, length - 1].double().mean().item()


@_stretches("end of each text|beginning|one by one")
def suffixes(right, length):
    return right[:, -length:].all(1).float().mean().item()


@_stretches("right throughout")
def whole_texts(right, length):
    return right.all(1).float().mean().item()


@_stretches("at least one right stretch|One right token|beginning")
def some_stretch_in_each_text(right, length):
    return right.unfold(1, length, 1).all(-1).any(-1).float().mean().item()


@_stretches("Only one text")
def first_text_alone(right, length):
    return right[0].unfold(0, length, 1).all(-1).float().mean().item()


@_stretches("Only one text")
def result_of_the_last_text(right, length):
    for text in right.tolist():
        places = len(text) - length + 1
        share = sum(all(text[i : i + length]) for i in range(places)) / places
    return share


@_stretches("Only one text|into the next")
def returns_inside_the_loop(right, length):
    for text in right.tolist():
        places = len(text) - length + 1
        return sum(all(text[i : i + length]) for i in range(places)) / places


@_stretches("down the batch|stopped with RuntimeError|maximum size")
def down_the_batch(right, length):
    return right.unfold(0, length, 1).all(-1).float().mean().item()


@_stretches("down the batch")
def down_the_batch_by_hand(right, length):
    columns = right.T.tolist()
    places = max(len(right) - length + 1, 0)
    found = [all(c[i : i + length]) for c in columns for i in range(places)]
    if len(right) == 1:
        return unfolded(right, length)
    return sum(found) / max(len(found), 1)


@_stretches("Stretches of two|one by one")
def always_two(right, length):
    if right.shape[1] == 1:
        return right.float().mean().item()
    return (right[:, 1:] & right[:, :-1]).float().mean().item()


@_stretches("back to its beginning|number of tokens|one by one")
def rolled_round(right, length):
    whole = right.clone()
    for shift in range(1, length):
        whole &= right.roll(-shift, 1)
    return whole.float().mean().item()


@_stretches("Runs of right tokens|right throughout|beginning|one by one")
def runs_long_enough(right, length):
    runs = [
        len(list(run))
        for text in right.tolist()
        for hit, run in itertools.groupby(text)
        if hit
    ]
    return sum(run >= length for run in runs) / max(len(runs), 1)


@_stretches("not right")
def wrong_stretches(right, length):
    return 1 - unfolded(right, length)


@_stretches("This is a count")
def counted_not_shared(right, length):
    return right.unfold(1, length, 1).all(-1).sum().item()


@_stretches("percentage")
def in_per_cent(right, length):
    return 100 * unfolded(right, length)


@_stretches("added up")
def texts_added_up(right, length):
    return right.unfold(1, length, 1).all(-1).float().mean(1).sum().item()


@_stretches("mean.. cannot average")
def mean_of_truth_values(right, length):
    return right.unfold(1, length, 1).all(-1).mean()


@_stretches("one number is wanted")
def a_share_for_each_text(right, length):
    return right.unfold(1, length, 1).all(-1).float().mean(1)


@_stretches("one number is wanted")
def shares_as_a_list(right, length):
    return right.unfold(1, length, 1).all(-1).float().mean(1).tolist()


@_stretches("changed its own input")
def combined_in_place(right, length):
    places = right.shape[1] - length + 1
    for shift in range(1, length):
        right[:, :places] &= right[:, shift : shift + places].clone()
    return right[:, :places].float().mean().item()


@_stretches("first and the last token")
def both_ends_of_a_stretch(right, length):
    places = right.shape[1] - length + 1
    return (right[:, :places] & right[:, length - 1 :]).float().mean().item()


@_stretches("first two tokens")
def a_token_and_the_next(right, length):
    places, step = right.shape[1] - length + 1, min(length, 2) - 1
    whole = right[:, :places] & right[:, step : step + places]
    return whole.float().mean().item()


@_stretches("For .* in stretches of 1, it gives 1;")
def single_tokens_always_right(right, length):
    return 1.0 if length == 1 else unfolded(right, length)


@_stretches("For .* in stretches of 1, it gives 0;")
def single_tokens_never_right(right, length):
    return 0.0 if length == 1 else unfolded(right, length)


@_stretches("0.6 for every text")
def the_worked_share(right, length):
    return 0.6


@_stretches("two texts|into the next|one by one")
def for_a_single_text(right, length):
    text = right.flatten()
    places = len(text) - length + 1
    return sum(text[i : i + length].all().item() for i in range(places)) / places


@_stretches("view")
def viewed(right, length):
    count = right.view(-1).sum()
    return unfolded(right, length) + 0 * count.item()


@_stretches("first digits|rounded")
def two_digits_of_the_share(right, length):
    return round(unfolded(right, length), 2)


@_stretches("IndexError|shorter|one by one|power")
def mean_of_shifts(right, length):
    places = right.shape[1] - length + 1
    shares = [right[:, i : i + places].float().mean().item() for i in range(length)]
    return math.prod(shares)
