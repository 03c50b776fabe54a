"""Checks of lesson 02: bytes of a cache, seconds of a step, the rule of speculation.

The first two answer with one number. What they should give is counted one by one or
worked out on paper; a size is changed at a time, so that the message can say which
one went in wrongly. The rule is compared with a loop over single tokens. The answers
that prove the checks are in `tests/answers/`.
"""

import itertools
import math

import torch
from torch import Tensor

from course_lib.checks.asking import ask, close, diagnose, expect, number, told_apart
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.sampling import speculative
from course_lib.scaling import memory
from course_lib.serving import limits
from course_lib.transformer import Config


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)


# --- cache_bytes ----------------------------------------------------------------------

_BITS = {
    "float32": 32,
    "bfloat16": 16,
    "float16": 16,
    "float8": 8,
    "int8": 8,
    "int4": 4,
}
_SIZES = {"width": 12, "heads": 6, "kv_heads": 3, "layers": 5, "head_width": 10}
_CONFIG = {*_SIZES, "context"}  # what is changed in the config, not in the call
_ASKED = {"batch": 3, "length": 11}


@check(
    memory.cache_bytes,
    proved="Each size goes in as it should, query heads and width stay out, a window keeps no "
    "more than there is, and the total is that of counting key by key and value by value.",
)
def cache_bytes(answer, draw):
    base = _cache_ask(answer, Config(**_SIZES), **_ASKED)
    expect(
        base > 0, f"For 3 texts of 11 tokens it returned {base:g}. Something is kept."
    )
    for change in _CACHE_CHANGES:
        _cache_changed(answer, base, *change)
    _cache_on_paper(answer)
    _cache_of_nothing(answer)
    _cache_of_billions(answer)
    _cache_of_drawn_sizes(answer, draw)


def _cache_ask(answer, config: Config, batch: int, length: int, **options) -> float:
    try:
        return number(ask(answer, config, batch, length, **options), "the bytes")
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        expect(
            config.head_width is not None,
            "It stopped because it worked with None: head_width is None where it was not set. The "
            "config knows K in either case.",
        )
        raise CheckFailed(
            "It stopped because it worked with None: without a window, window is None, and then "
            "all tokens are kept."
        ) from None


def _cache_counted(
    config: Config, batch: int, length: int, precision="bfloat16", window=None
) -> float:
    """Walk through all that is kept and add up its bits."""
    bits, tokens = 0, range(length)[-window:] if window else range(length)
    shelves = (range(batch), range(config.layers), range(config.kv_heads), tokens)
    for _ in itertools.product(*shelves, ("key", "value")):
        bits += config.K * _BITS[precision]
    return bits / 8


# What is changed, how often as many bytes there should be then, what known mistakes give, and
# the beginning of the message against any other result. The card's pitfalls come first.
# fmt: off
_CACHE_CHANGES = (
    ({"length": 33}, 3, {
        9: "Three times as many tokens made the cache nine times as large. Every token leaves its "
           "own key and value behind and nothing for each pair: the work per text grows with the "
           "square, what is kept does not.",
        1: "The length makes no difference: texts of 11 and of 33 tokens need equally many bytes.",
        34 / 12: "One token too many is counted in each text.",
        32 / 10: "One token of each text is missing.",
        1 / 3: "Longer texts need fewer bytes. Is something divided by the length?",
    }, "Texts of three times as many tokens should need three times as many bytes"),
    ({"heads": 12}, 1, {
        2: "With twice as many query heads yours doubles. Queries are used once and forgotten; "
           "kept are the heads of keys and values, and the config counts those apart.",
        0.5: "With twice as many query heads yours halves: a head's width is worked out from "
           "width and heads. Here head_width is set, and the config knows K itself.",
    }, "More query heads, and as many heads of keys and values as before, should change nothing"),
    ({"width": 24}, 1, {
        2: "With twice the width yours doubles, though head_width is set: what is kept has the "
           "width of a head, for each head of keys and values, not the width of the stream.",
    }, "With head_width set, the width of the stream should change nothing"),
    ({"kv_heads": 6}, 2, {
        1: "The heads of keys and values make no difference. Each of them keeps its own.",
        0.5: "Twice as many heads of keys and values halve yours. How many query heads share one "
           "does not matter; how many of them there are does.",
        4: "The heads of keys and values go in twice.",
    }, "Twice as many heads of keys and values should need twice as many bytes"),
    ({"head_width": 20}, 2, {
        1: "The width of a head makes no difference. A key is not one number but K.",
        4: "The width of a head goes in twice. A key has K numbers, not K times K.",
        0.5: "Wider heads need fewer bytes. Is something divided by K?",
        math.sqrt(2): "The root of K goes in. That belongs to the scores; a key has K numbers.",
    }, "Heads of twice the width should need twice as many bytes"),
    ({"layers": 10}, 2, {
        1: "The layers make no difference. Every layer keeps keys and values of its own.",
        4: "The layers go in twice.",
    }, "Twice as many layers should need twice as many bytes"),
    ({"batch": 6}, 2, {
        1: "The number of texts makes no difference. Every text of the batch has its own cache.",
        4: "The number of texts goes in twice.",
        0.5: "More texts need fewer bytes. Is something divided by the batch?",
    }, "Twice as many texts should need twice as many bytes"),
    ({"precision": "bfloat16"}, 1, {
        0.5: "Without a precision yours counts 4 bytes for a number. The first line's default is "
           "bfloat16.",
    }, "Naming the precision that is the default anyway should change nothing"),
    ({"precision": "float32"}, 2, {
        1: "The precision makes no difference: float32 needs as much as bfloat16. "
           "number_bytes(precision) says how many bytes a number has.",
        0.5: "Numbers of more bytes need fewer of them. Is something divided by number_bytes?",
        4: "The bytes of a number go in twice.",
    }, "float32 should need twice as many bytes as bfloat16"),
    ({"precision": "int4"}, 0.25, {
        0: "In int4 it returns 0. A number has half a byte there, which int() and // turn into 0.",
        0.5: "In int4 a number counts as a whole byte; it has half of one, and two share a byte.",
        1: "The precision makes no difference for int4. number_bytes(precision) says how many "
           "bytes a number has.",
    }, "int4 should need a quarter of the bytes of bfloat16"),
    ({"precision": "float8"}, 0.5, {
        1: "The precision makes no difference for float8. number_bytes(precision) knows them all.",
    }, "float8 should need half the bytes of bfloat16"),
    ({"window": 2}, 2 / 11, {
        1: "The window makes no difference. With a window of 2 at most 2 of 11 tokens are kept.",
        2: "The window goes in as a factor. It says how many tokens are kept of a text, at most.",
        1 / 2: "The length is divided by the window. It says how many tokens are kept, at most.",
        9 / 11: "Yours keeps the tokens outside the window and forgets those in it.",
        3 / 11: "With a window of 2 yours keeps 3 tokens of each text.",
        1 / 11: "With a window of 2 yours keeps 1 token of each text.",
        5 / 11: "The length is divided by the window. It says how many tokens are kept, at most.",
        2 / 33: "The window is taken once for all texts together. Each text keeps its own tokens.",
        13 / 11: "The window is added to the length. Nothing is kept beyond the window.",
    }, "With a window of 2, texts of 11 tokens should need 2/11 of the bytes"),
    ({"window": 50}, 1, {
        50 / 11: "A window of 50 keeps more of a text of 11 tokens than there is. A window only "
           "says how many tokens are kept at most.",
        0: "With a window longer than the texts nothing is kept. Then everything is in it.",
        22 / 11: "With a window of 50, more than the text has, yours changes. Then all is kept.",
    }, "A window longer than the texts should change nothing"),
    ({"window": 11}, 1, {
        0: "With a window as long as the texts nothing is kept. Then everything is in it.",
    }, "A window just as long as the texts should change nothing"),
    ({"context": 4}, 1, {
        4 / 11: "The length is cut to config.context. `length` says how many tokens are there.",
    }, "The model's context should change nothing: the texts are as long as before"),
    ({"window": 20, "length": 22, "batch": 1}, 20 / 33, {
        22 / 33: "For one text of 22 tokens a window of 20 makes no difference.",
    }, "One text of 22 tokens with a window of 20 should need 20/33 of what 3 texts of 11 need"),
)
# fmt: on


def _cache_changed(
    answer, base: float, change: dict, factor: float, known: dict, otherwise: str
) -> None:
    """Ask again with something changed and look at how many times as much it is."""
    asked = _ASKED | {name: change[name] for name in change if name not in _CONFIG}
    sizes = _SIZES | {name: change[name] for name in change if name in _CONFIG}
    times = _cache_ask(answer, Config(**sizes), **asked) / base
    if _same(times, factor):
        return
    for mistake, message in known.items():
        if math.isclose(times, mistake, rel_tol=1e-6, abs_tol=1e-9):
            raise CheckFailed(message)
    mine, _ = told_apart(times, factor)
    raise CheckFailed(f"{otherwise}; yours needs {mine} times as many.")


def _cache_on_paper(answer) -> None:
    """All proportions hold; what is left is a wrong constant."""
    got = _cache_ask(answer, Config(width=8, heads=4, kv_heads=2, layers=3), 1, 10)
    # fmt: off
    known = {
        0.5: "Half of it is missing, whatever the sizes. Is only one of the two kept things "
             "counted, the key or the value?",
        1.5: "Three vectors are counted for a token in every head. Queries are not kept.",
        2: "It is twice as much as it should be, whatever the sizes. Are keys and values counted "
           "twice, or is a number counted with too many bytes?",
        8: "These are bits. A byte has 8 of them, and number_bytes gives bytes.",
        4: "These are bits of one of the two kept things. number_bytes gives bytes.",
        0.125: "It was divided by 8. number_bytes gives bytes already, not bits.",
        **{unit**-power: "It was divided to give kilo-, mega- or gigabytes. Bytes are asked for."
           for unit in (1000, 1024) for power in (1, 2, 3)},
    }
    # fmt: on
    for times, message in known.items():
        if _same(got, 480 * times):
            raise CheckFailed(message)
    expect(
        _same(got, 480),
        "For one text of 10 tokens, 3 layers, 2 heads of keys and values of width 2 and 16 bits it "
        f"returns {got:g}, not 480. How it grows with every single size is right.",
    )


def _cache_of_nothing(answer) -> None:
    config = Config(width=8, heads=4, kv_heads=2, layers=3)
    for what, batch, length in (("No text", 0, 5), ("A text of no token", 2, 0)):
        got = _cache_ask(answer, config, batch, length)
        expect(got == 0, f"{what} needs {got:g} bytes in your count, not 0.")


def _cache_of_billions(answer) -> None:
    """More bytes than 32 bits count, and more digits than a float32 keeps."""
    sizes = {"layers": 3, "heads": 5, "kv_heads": 5, "head_width": 2002}
    got = _cache_ask(answer, Config(width=10, **sizes), 1, 40_001, precision="float32")
    want = sum(4 * 5 * 2002 * 40_001 for _ in range(3) for _ in ("key", "value"))
    why = "How it grows with every single size is right. Is a largest length built in?"
    if got != want and math.isclose(got, want, rel_tol=1e-6):
        why = "It was rounded: a float32 keeps about 7 digits. Python's own numbers keep all."
    elif got <= 0 or (want - got) % 2**32 == 0 or (want - got) % 2**34 == 0:
        why = "Whole numbers of 32 bits end at 2,147,483,647. Python's own have no end."
    expect(
        got == want,
        "For one text of 40,001 tokens in float32, 3 layers, 5 heads of keys and values and "
        f"K = 2002 there are {want:,} bytes; yours are {got:,.0f}. {why}",
    )


def _cache_of_drawn_sizes(answer, draw) -> None:
    """Other configs, with and without everything, against counting one by one."""

    def some(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    for precision, window in itertools.product(_BITS, (None, some(1, 9), some(10, 30))):
        kv_heads, own = some(1, 3), 2 * some(1, 4)
        heads = kv_heads * some(1, 3)
        sizes = {"layers": some(1, 3), "heads": heads, "kv_heads": kv_heads}
        drawn = (
            {"width": heads * own} if some(0, 1) else {"width": 7, "head_width": own}
        )
        config, batch, length = Config(**sizes, **drawn), some(1, 3), some(1, 20)
        asked = {"precision": precision, "window": window}
        got = _cache_ask(answer, config, batch, length, **asked)
        want = _cache_counted(config, batch, length, **asked)
        expect(
            _same(got, want),
            f"For {batch} text(s) of {length} token(s) in {precision}, window {window}, "
            f"{config.layers} layer(s), {heads} head(s) of queries, {kv_heads} of keys and values, "
            f"K = {config.K}, it returns {got:g}; counted one by one there are {want:g}. Is a "
            "number from the worked value built in?",
        )


# --- step_seconds ---------------------------------------------------------------------


@check(
    limits.step_seconds,
    proved="Weights are read once and computed with once for each text, the cache is read as it "
    "is, and the slower of reading and computing counts, on paper and on drawn machines.",
)
def step_seconds(answer, draw):
    for numbers, otherwise in _STEP_PAPER:
        _step_diagnose(answer, *numbers, otherwise=otherwise)
    at_home = (
        "For 7e9 parameters of 2 bytes, one text, nothing cached, 2.039e12 bytes and 312e12 "
        "operations per second it gives {got:.4g} seconds, not 6.9 thousandths."
    )
    _step_diagnose(answer, 7e9, 1, 0.0, 2.039e12, 312e12, None, otherwise=at_home)
    for reads in (True, False) * 4:
        _step_diagnose(answer, *_step_drawn(reads, draw), otherwise=_STEP_DRAWN)


_STEP_DRAWN = (
    "With other numbers it gives {got:.6g} seconds instead of {want:.6g}: {parameters:.4g} "
    "parameters of {bytes_each:g} bytes, {batch} text(s), {cached_bytes:.4g} bytes cached, "
    "bandwidth {bandwidth:.4g}, peak {peak:.4g}. Is a number built in, or one rounded?"
)

# parameters, batch, cached_bytes, bandwidth, peak, bytes_each (None: the default). Each line
# brings in one thing more than those before it.
# fmt: off
_STEP_PAPER = (
    ((300, 5, 0, 7, 100, 4.0),
     "300 parameters of 4 bytes, 5 texts, nothing cached, 7 bytes and 100 operations per second: "
     "reading takes longest, about 171 seconds, and yours gives {got:.4g}. How many bytes are "
     "there to read, and how often?"),
    ((300, 5, 0, 40, 7, 8.0),
     "300 parameters of 8 bytes, 5 texts, nothing cached, 40 bytes and 7 operations per second: "
     "computing takes longest, about 429 seconds, and yours gives {got:.4g}. How many operations "
     "is a parameter worth, and for how many texts?"),
    ((300, 1, 0, 7, 40, None),
     "300 parameters, one text, nothing cached, 7 bytes per second and bytes_each not given: "
     "reading takes longest, about 85.7 seconds, and yours gives {got:.4g}."),
    ((300, 1, 1000, 7, 40, None),
     "300 parameters of 2 bytes and 1000 bytes cached are to be read at 7 bytes a second, which "
     "takes about 229 seconds; yours gives {got:.4g}."),
    ((300, 4, 1000, 7, 40, None),
     "With 1000 bytes cached for 4 texts together and 300 parameters of 2 bytes, reading takes "
     "about 229 seconds at 7 bytes a second; yours gives {got:.4g}."),
    ((300, 1, 1000, 7, 40, 0.5),
     "300 parameters of half a byte and 1000 cached bytes take about 164 seconds to read at 7 "
     "bytes a second; yours gives {got:.4g}."),
    ((300, 60, 90, 7, 40, None),
     "For 60 texts computing takes longest, 900 seconds; yours gives {got:.4g}. The 90 cached "
     "bytes are to be read, not computed with."),
    ((300, 10, 1000, 7, 40, None),
     "For 10 texts and 1000 cached bytes reading takes longest, about 229 seconds; yours gives "
     "{got:.4g}."),
    ((300, 16, 1000, 7, 40, None),
     "For 16 texts and 1000 cached bytes computing takes longest, 240 seconds; yours gives "
     "{got:.4g}."),
    ((300, 10, 0, 7, 40, 0.5),
     "300 parameters of half a byte, 10 texts, nothing cached: computing takes longest, 150 "
     "seconds; yours gives {got:.4g}."),
    ((300, 4, 0, 7, 40, 0.5),
     "300 parameters of half a byte, 4 texts, nothing cached: computing takes longest, 60 "
     "seconds; yours gives {got:.4g}."),
    ((300, 3, 1000, 70, 40, None),
     "300 parameters of 2 bytes, 3 texts, 1000 cached bytes, 70 bytes and 40 operations a second: "
     "computing takes longest, 45 seconds; yours gives {got:.4g}."),
)
# fmt: on


def _step_drawn(reads: bool, draw) -> tuple:
    """A machine on which reading, or computing, takes 1.05 to 3 times as long as the other."""
    a, b, c, d, e = (1 + torch.rand(5, generator=draw, dtype=torch.float64)).tolist()
    parameters, bandwidth, batch = a * 1e9, b * 1e12, 2 + int(20 * (c - 1))
    bytes_each = (4.0, 2.0, 1.0, 0.5)[int(4 * (d - 1))]
    cached = parameters * (0.3 + c - 1)
    reading = (parameters * bytes_each + cached) / bandwidth
    times = 1.05 + 1.95 * (e - 1)
    longer = reading / times if reads else reading * times
    peak = parameters * 2 * batch / longer
    return parameters, batch, cached, bandwidth, peak, bytes_each


def _step_diagnose(
    answer, parameters, batch, cached_bytes, bandwidth, peak, bytes_each, *, otherwise
) -> None:
    options = {} if bytes_each is None else {"bytes_each": bytes_each}
    asked = (parameters, batch, cached_bytes, bandwidth, peak)
    got = number(ask(answer, *asked, **options), "the seconds")
    bytes_each = 2.0 if bytes_each is None else bytes_each
    weights, cache = parameters * bytes_each / bandwidth, cached_bytes / bandwidth
    once = parameters / peak  # seconds for one operation with each parameter
    known = _step_mistakes(weights, cache, once, batch, bytes_each, bandwidth / peak)
    want = known.pop("")[0]
    if _same(got, want):
        return
    for mistake, results in known.items():
        if any(_same(got, r) and not _same(r, want) for r in results):
            raise CheckFailed(mistake)
    if math.isclose(got, want, rel_tol=1e-2):
        raise CheckFailed(
            f"The first digits are right and the later ones are not: {got:.6g} instead of "
            f"{want:.6g} seconds. Is something rounded, by round() or by //?"
        )
    named = dict(zip(_STEP_NAMES, (*asked, bytes_each), strict=True))
    raise CheckFailed(otherwise.format(got=got, want=want, **named))


_STEP_NAMES = (
    "parameters", "batch", "cached_bytes", "bandwidth", "peak", "bytes_each",
)  # fmt: skip


def _step_mistakes(
    weights: float, cache: float, once: float, B: int, size: float, ratio: float
) -> dict[str, tuple[float, ...]]:
    """What known mistakes give, in seconds; under the empty name what is right.

    weights, cache: to read them; once: one operation per parameter; size: bytes of a
    parameter; ratio: bandwidth over peak.
    """
    read, work = weights + cache, 2 * B * once
    slow = max(read, work)
    many = (cache * B, weights * B + cache, (weights + cache) * B)
    # fmt: off
    return {
        "": (slow,),
        "Reading and computing are added up. They go on at the same time, so the step is over "
        "when the slower one is.":
            (read + work,),
        "This is one of the two times, and here the other is longer. The step is over when both "
        "reading and computing are done.":
            (read, work),
        "The weights are read once for each text. One reading serves the whole batch; that is "
        "why a batch is cheap.":
            tuple(max(r, work) for r in many[1:]) + tuple(r + work for r in many[1:]),
        "Computing does not grow with the texts. A weight that was read once is multiplied for "
        "every text of the batch.":
            (max(read, 2 * once), read + 2 * once),
        "The cached bytes are multiplied by the batch. They are those of all texts together "
        "already.":
            (max(weights + cache * B, work), weights + cache * B + work),
        "The time of the step, or of reading, is divided by the batch: these are seconds per "
        "token. How long the step takes is asked for.":
            (slow / B, max(read / B, work)),
        "The cached bytes are divided by the batch. All of them have to be read in every step.":
            (max(weights + cache / B, work),),
        "Operations are counted otherwise than the card does: a weight costs two, a "
        "multiplication and an addition, for each text.":
            tuple(max(read, n * B * once) for n in (1, 3, 4, 6)),
        "The bytes of a parameter go into computing. How many bytes a number has matters for "
        "reading it; operations are counted per number.":
            (max(read, size * B * once), max(read, 2 * size * B * once)),
        "A parameter of half a byte is read as if it had none, or one. Was bytes_each made a "
        "whole number?":
            tuple(max(weights * n / size + cache, work) for n in (int(size), math.ceil(size))),
        "bytes_each makes no difference. It says how many bytes a parameter has.":
            tuple(max(weights * n / size + cache, work) for n in (2, 1)),
        "The cached bytes are left out. They have to be read as well as the weights.":
            (max(weights, work), weights + work),
        "The cached bytes are multiplied by bytes_each. They are bytes already.":
            (max(weights + cache * size, work),),
        "The slowest of three counts in yours: weights, cache, computing. Weights and cache come "
        "through the same memory, one after the other.":
            (max(weights, cache, work),),
        "The cache comes on top of the slower of two in yours. It is read while the machine "
        "computes, as the weights are.":
            (max(weights, work) + cache, weights + max(cache, work)),
        "The cached bytes go into computing. They are to be read; operations are counted for the "
        "parameters.":
            tuple(max(read, work + n * cache * ratio) for n in (1, 2, 2 * B)),
        "One text too few is computed, or one too many.":
            (max(read, work - 2 * once), max(read, work + 2 * once)),
        "Bandwidth and peak are swapped: bytes are divided by the one that counts bytes, "
        "operations by the other.":
            (max(read * ratio, work / ratio), read * ratio, work / ratio),
        "This is the mean of both times. The slower one counts.":
            ((read + work) / 2,),
        "Both times go into yours, by a root of squares or another power. The slower one alone "
        "counts.":
            tuple(slow * ((read / slow) ** n + (work / slow) ** n) ** (1 / n)
                  for n in (2, 3, 4, 8, 16, 32)),
        "These are milliseconds, or smaller. Seconds are asked for.":
            tuple(slow * 1000**n for n in (1, 2, 3)),
        "These are tokens (or steps) per second. How long one step takes is asked for.":
            (1 / slow, B / slow, 1 / slow / B),
        "Bytes were made bits, or bits bytes. bytes_each and bandwidth both count bytes.":
            tuple(max(read * n, work) for n in (8, 1 / 8)),
    }
    # fmt: on


# --- keep_or_replace ------------------------------------------------------------------


@check(
    speculative.keep_or_replace,
    proved="Kept and replaced together, every token comes exactly as often as p says: on paper, "
    "where q or p is 0, where both agree, and row by row in any shape.",
)
def keep_or_replace(answer, draw):
    _rule_on_paper(answer)
    _rule_of_the_impossible(answer)
    _rule_where_both_agree(answer, draw)
    _rule_of_one(answer)
    _rule_of_the_rare(answer, draw)
    for shape, dtype in (
        ((7,), torch.float32),
        ((1, 4), torch.float64),
        ((5, 6), torch.float32),
        ((2, 3, 5), torch.float64),
        ((2, 40), torch.float32),
        ((2, 1, 2, 4), torch.float64),
        ((2, 300), torch.float32),
    ):
        _rule_on_drawn(answer, *_rule_drawn(shape, dtype, draw))


def _rule_ask(answer, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Both results of an answer; other kinds and shapes are named."""
    result = ask(answer, p, q)
    if isinstance(result, Tensor):
        raise CheckFailed(
            f"It returned one tensor, of shape {tuple(result.shape)}; two are wanted, keep and "
            "then replace."
        )
    expect(
        isinstance(result, tuple | list) and len(result) == 2,
        f"It returned a {type(result).__name__}; two tensors are wanted, keep and then replace.",
    )
    shape = tuple(p.shape)
    for name, one in zip(("keep", "replace"), result, strict=True):
        expect(
            isinstance(one, Tensor),
            f"{name} is a {type(one).__name__}; a tensor is wanted.",
        )
        expect(
            tuple(one.shape) == shape,
            f"{name} has shape {tuple(one.shape)}; for p and q of shape {shape} it is {shape}. "
            f"{_rule_why_shape(tuple(one.shape), shape)}",
        )
    return result[0].detach(), result[1].detach()


def _rule_why_shape(got: tuple[int, ...], want: tuple[int, ...]) -> str:
    if got in (want[:-1], (*want[:-1], 1), ()):
        return "Every token of the vocabulary has a number of its own."
    if math.prod(got) != math.prod(want):
        return "Which dimension was summed away, or kept by mistake?"
    if len(got) > len(want):
        return "A dimension of size 1 was added."
    if [size for size in got if size > 1] == [size for size in want if size > 1]:
        return "squeeze() without a dimension, or flattening, removes dimensions of size 1."
    return "Rows that were made one long list have to get their shape back."


def _rule_slowly(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Token by token, in Python's own numbers."""
    keeps, replaces = [], []
    rows = [rows.double().reshape(-1, p.shape[-1]).tolist() for rows in (p, q)]
    for target, draft in zip(*rows, strict=True):
        pairs = list(zip(target, draft, strict=True))
        keeps.append(
            [1.0 if guessed <= own else own / guessed for own, guessed in pairs]
        )
        short = [own - guessed if own > guessed else 0.0 for own, guessed in pairs]
        replaces.append([s / sum(short) for s in short] if any(short) else target)
    found = [torch.tensor(rows, dtype=torch.float64) for rows in (keeps, replaces)]
    return found[0].reshape(p.shape), found[1].reshape(p.shape)


def _rule_diagnose(answer, p: Tensor, q: Tensor, keep_other: str, other: str) -> None:
    keep, replace = _rule_ask(answer, p, q)
    want_keep, want_replace = _rule_slowly(p, q)
    swapped = close(keep, want_replace) and close(replace, want_keep)
    expect(
        not swapped or close(keep, want_keep),
        "keep and replace are swapped: keep comes first.",
    )
    _rule_nan(keep, replace, p, q)
    p, q = p.double(), q.double()
    for got, want, known, otherwise in (
        (keep, want_keep, _keep_mistakes, keep_other),
        (replace, want_replace, _replace_mistakes, other),
    ):
        if not close(got, want):
            first = "All rows come out like the first. Each has a p and a q of its own."
            mistakes = (
                {first: want.flatten(0, -2)[0].expand_as(want)} if p.dim() > 1 else {}
            )
            diagnose(
                got, want, mistakes | known(p, q), otherwise + _rule_where(got, want)
            )
    least = float(replace.min())
    expect(
        least >= 0,
        f"replace is right but for rounding, which leaves shares below 0, the least {least:.1e}. "
        "Nothing can be drawn from those: torch.multinomial stops.",
    )


def _rule_where(got: Tensor, want: Tensor) -> str:
    """Which of several rows is the first that is wrong."""
    rows = [row.double().flatten(0, -2) for row in (got, want) if row.dim() > 1]
    if not rows or len(rows[0]) == 1:
        return ""
    wrong = [i for i, row in enumerate(zip(*rows, strict=True)) if not close(*row)]
    return f" Of {len(rows[0])} rows, counted from 0, row {wrong[0]} is the first that differs."


def _rule_nan(keep: Tensor, replace: Tensor, p: Tensor, q: Tensor) -> None:
    never, same = (p == 0) & (q == 0), (p == q).all(-1)
    expect(
        not keep[never].isnan().any(),
        "keep is nan for a token that is impossible for both models: 0 / 0. Where q is 0, keep is "
        "1.",
    )
    expect(not keep.isnan().any(), "keep holds nan, though p and q are probabilities.")
    expect(
        not replace[same].isnan().any(),
        "replace is nan in a row where p = q: nothing is missing there, and 0 / 0 is nan. Such a "
        "row is asked to be p.",
    )
    expect(
        not replace.isnan().any(),
        "replace holds nan, though p and q are probabilities.",
    )
    expect(
        replace[same].any(-1).all(),
        "Where p = q, replace is 0 everywhere in a row. Nothing can be drawn from that; such a row "
        "is asked to be p. (By rounding, what should be exactly 0 may be a little above it.)",
    )


_CONSTANTS = tuple(10.0**-n for n in range(5, 16))


def _keep_mistakes(p: Tensor, q: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
    ratio = torch.where(q > 0, p / q, torch.ones_like(p))
    turned, keep = torch.where(p > 0, q / p, torch.ones_like(p)), ratio.clamp(max=1)
    # fmt: off
    return {
        "The fraction in keep is upside down: a token that the draft proposes too often would "
        "always be kept.":
            (turned.clamp(max=1), turned, (q / p).clamp(max=1), (q / p).nan_to_num(1).clamp(max=1)),
        "Some of keep is above 1. It is a probability: nothing is kept more often than always.":
            (ratio, p / q),
        "keep holds the smaller of the two probabilities. That is how often a token is guessed "
        "and kept; asked is how often it is kept once it was guessed.":
            torch.minimum(p, q),
        "keep is one of the two distributions themselves. How do they compare?":
            (p, q),
        "keep says yes or no. A guess that the draft proposes too often is kept sometimes, so "
        "keep is a probability between 0 and 1 as well.":
            ((p >= q).double(), (p > q).double(), torch.ones_like(p), torch.zeros_like(p)),
        "keep says how likely a guess is rejected. How likely it is kept is asked for.":
            (1 - keep, (1 - p / q).clamp(min=0)),
        "keep is 0 where q is 0. There it is 1: nothing was proposed too often.":
            (torch.where(q > 0, keep, torch.zeros_like(p)),),
        "A token that is impossible for both models has keep 0. Where q is 0, keep is 1.":
            (torch.where((p > 0) | (q > 0), keep, torch.zeros_like(p)),),
        "keep is a difference of p and q. It goes by how many times as likely one is.":
            ((p - q).abs(), (p - q).clamp(min=0), 1 - (p - q).abs(), 1 - (q - p).clamp(min=0)),
        "keep has one number for the whole row. Every token has its own.":
            (torch.minimum(p, q).sum(-1, keepdim=True).expand_as(p),),
        "keep is made to sum to 1. It holds one probability for each token, and they are not "
        "shares of anything.":
            (keep / keep.sum(-1, keepdim=True), keep.softmax(-1)),
        "keep is p / (p + q). Tokens that p likes at least as much as q are always kept.":
            (p / (p + q),),
        "keep is multiplied by q. How often a token is guessed comes in later.":
            (keep * p, keep * q),
        "A constant is added to q before dividing, and for rare tokens it decides.":
            tuple((p + a) / (q + e) for e in _CONSTANTS for a in (0, e))
            + tuple(((p + a) / (q + e)).clamp(max=1) for e in _CONSTANTS for a in (0, e))
            + tuple((p / q.clamp(min=e)).clamp(max=1) for e in _CONSTANTS),
    }
    # fmt: on


def _replace_mistakes(p: Tensor, q: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
    more, less, apart = (p - q).clamp(min=0), (q - p).clamp(min=0), (p - q).abs()
    ones, where = torch.ones_like(p), (p > q).double()

    def shares(x: Tensor, dim: int | None = -1) -> tuple[Tensor, Tensor]:
        total = x.sum() if dim is None else x.sum(dim, keepdim=True)
        made = x / total
        return made, torch.where(total == 0, p, made)

    # fmt: off
    return {
        "A rejected guess is drawn from p again. The guesses that were kept have already given "
        "some tokens all they should have; together with them these would come too often.":
            (p,),
        "A rejected guess is drawn from q again. Then nothing would bring it nearer to p.":
            (q,),
        "replace does not sum to 1. What is left over after the subtraction is less; make a "
        "distribution of it.":
            (more,),
        "Where p = q, replace is not p.":
            tuple(torch.where(more.sum(-1, keepdim=True) == 0, x, shares(more)[0])
                  for x in (ones / p.shape[-1], ones, (p > 0) / (p > 0).sum(-1, keepdim=True))),
        "The absolute difference goes in: tokens that the draft proposed too often get even "
        "more.":
            (*shares(apart), apart),
        "The difference in replace is the wrong way round: it gives more to what the draft "
        "proposes too often.":
            (*shares(less), less, q - p),
        "replace has negative numbers. No token can have a share below 0.":
            (p - q, *shares(p - q)),
        "Where p is larger than q, p itself goes into replace. The share that guesses bring "
        "already has to come off.":
            (*shares(p * where), p * where),
        "A softmax makes replace. It gives tokens with no difference a share as well, and it "
        "changes the proportions; dividing is enough.":
            ((p - q).softmax(-1), more.softmax(-1), apart.softmax(-1),
             more.masked_fill(more == 0, -torch.inf).softmax(-1).nan_to_num(0)),
        "replace is made to sum to 1 over all rows together. Every row is a distribution of its "
        "own.":
            shares(more, None),
        "replace is made to sum to 1 along another dimension than the vocabulary, which is the "
        "last.":
            tuple(x for d in range(p.dim() - 1) for x in shares(more, d)),
        "Every token that p likes better than q has the same share in replace. They should have "
        "more the more is missing.":
            (*shares(where), where),
        "The smaller or the larger of p and q goes into replace. Ask what is missing of p.":
            (*shares(torch.minimum(p, q)), *shares(torch.maximum(p, q)), torch.minimum(p, q),
             torch.maximum(p, q)),
        "All of replace goes to a single token.":
            (torch.nn.functional.one_hot(more.argmax(-1), p.shape[-1]).double(),),
        "replace is divided by something else than its sum (its largest, its length).":
            (more / more.amax(-1, keepdim=True), more / more.norm(dim=-1, keepdim=True)),
        "replace is made of p times what is rejected. How much of p is missing goes by a "
        "difference.":
            (*shares(p * (1 - q)), *shares(1 - q), *shares(q * (1 - (p / q).clamp(max=1)))),
    }
    # fmt: on


def _rule_on_paper(answer) -> None:
    for dtype in (torch.float32, torch.float64):
        p, q = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1]], dtype=dtype)
        _rule_diagnose(
            answer,
            p,
            q,
            "For p = .5 .3 .2 and q = .2 .7 .1 keep should be 1, 3/7, 1. Take the second token: "
            "the draft guesses it with .7, and it should come with .3.",
            "For p = .5 .3 .2 and q = .2 .7 .1 replace should be .75, 0, .25. Guesses bring the "
            "first token with .2; how much is missing?",
        )


def _rule_of_the_impossible(answer) -> None:
    p = torch.tensor([0.625, 0.375, 0.0, 0.0])
    q = torch.tensor([0.0, 0.5, 0.5, 0.0])
    _rule_diagnose(
        answer,
        p,
        q,
        "For p = .625 .375 0 0 and q = 0 .5 .5 0 keep should be 1, .75, 0, 1. Look at the tokens "
        "that one model or both never choose.",
        "For p = .625 .375 0 0 and q = 0 .5 .5 0 only the first token has anything missing, so "
        "replace should be 1, 0, 0, 0.",
    )


def _rule_where_both_agree(answer, draw) -> None:
    p = torch.tensor([[5, 3, 2, 0], [1, 6, 2, 1], [3, 3, 2, 2], [0, 5, 5, 0]]) / 10
    q = torch.tensor([[5, 3, 2, 0], [4, 2, 1, 3], [6, 2, 0, 2], [0, 5, 5, 0]]) / 10
    two = "In two rows, neither of which has p = q, {} is wrong."
    _rule_diagnose(answer, p[1:3], q[1:3], two.format("keep"), two.format("replace"))
    one = "For p = q, one row, {} is wrong."
    _rule_diagnose(answer, p[0], q[0], one.format("keep"), one.format("replace"))
    expect(
        not close(_rule_ask(answer, p, q)[1], p),
        "One row with p = q makes replace p in the whole batch. Each row goes by itself, and its "
        "neighbours should not notice.",
    )
    keep = "Of four rows the first and the last have p = q: keep is wrong. All of it is 1 there."
    otherwise = (
        "Of four rows the first and the last have p = q: replace is wrong. Those two should be p, "
        "and the rows between them should not notice."
    )
    for own, draft in ((p, q), (p[None], q[None])):
        _rule_diagnose(answer, own, draft, keep, otherwise)
    own = torch.randn(32, 40, generator=draw).softmax(-1)
    many = "In 32 rows of 40 tokens, p = q in all of them, {} is wrong."
    _rule_diagnose(
        answer, own, own.clone(), many.format("keep"), many.format("replace")
    )
    _rule_where_both_nearly_agree(answer)


def _rule_where_both_nearly_agree(answer) -> None:
    p = torch.tensor([0.40, 0.34, 0.26], dtype=torch.float64)
    q = torch.tensor([0.39, 0.32, 0.29], dtype=torch.float64)
    nearly = "For p = .40 .34 .26 and q = .39 .32 .29, which are nearly the same, {} is wrong."
    expect(
        not close(_rule_ask(answer, p, q)[1], p),
        nearly.format("replace")
        + " It is p, and that is asked only where p and q are equal.",
    )
    _rule_diagnose(answer, p, q, nearly.format("keep"), nearly.format("replace"))
    p = torch.tensor([0.40006, 0.34004, 0.2599], dtype=torch.float64)
    q = torch.tensor([0.4, 0.34, 0.26], dtype=torch.float64)
    keep, replace = _rule_ask(answer, p, q)
    want_keep, want_replace = _rule_slowly(p, q)
    apart = "For p = .40006 .34004 .2599 and q = .4 .34 .26, two that differ by about 1e-4, {}"
    expect(close(keep, want_keep), apart.format("keep is wrong."))
    expect(
        close(replace, want_replace, atol=5e-3),
        apart.format("replace is not .6, .4, 0. It is p only where p and q are equal."),
    )


def _rule_of_one(answer) -> None:
    """A vocabulary of one token, or all of p on one token."""
    one, sure = torch.ones(2, 1), torch.eye(3)
    lone = "With a vocabulary of one token everything is kept, and replace is 1."
    _rule_diagnose(answer, one, one, lone, lone)
    certain = "Where all of p, or of q, lies on one token, {} is wrong."
    p, q = sure, sure.roll(1, 0)
    _rule_diagnose(answer, p, q, certain.format("keep"), certain.format("replace"))


def _rule_drawn(
    shape: tuple, dtype: torch.dtype, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two distributions per row, not in one piece in memory, some tokens impossible."""
    made = []
    for _ in range(2):
        scores = 2 * torch.randn(shape[-1], *shape[:-1], generator=draw, dtype=dtype)
        weights = scores.movedim(0, -1).exp()
        weights = weights * (torch.rand(shape, generator=draw) < 0.8)
        weights[..., 0] += 0.1  # so that no row is empty
        made.append(weights / weights.sum(-1, keepdim=True))
    p, q = made
    p[..., 1] += 0.25  # so that something is missing
    return p / p.sum(-1, keepdim=True), q


def _rule_on_drawn(answer, p: Tensor, q: Tensor) -> None:
    where = f"On drawn p and q of shape {tuple(p.shape)}"
    _rule_diagnose(
        answer,
        p,
        q,
        f"{where} keep differs from going token by token. Is a number built in, or only one row "
        "looked at?",
        f"{where} keep is right and replace differs from going token by token: kept and replaced "
        "together, some tokens come more often than p says. Is only one row looked at?",
    )


def _rule_of_the_rare(answer, draw) -> None:
    """Two tokens so rare that a constant beside q would decide."""
    for dtype, chance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        p, q = _rule_drawn((2, 6), dtype, draw)
        rare = chance * (1 + torch.rand(2, generator=draw, dtype=dtype))
        p[:, -2:], q[:, -2:] = torch.stack([0.3 * rare, 2 * rare]), rare
        p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
        _rule_diagnose(
            answer,
            p,
            q,
            f"For tokens as rare as {chance:g} keep differs. Is a constant added to q or a small "
            "q left out?",
            f"With tokens as rare as {chance:g} in it, replace differs.",
        )
