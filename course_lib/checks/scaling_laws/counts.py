"""Checks of lesson 03: what a training takes in bytes, operations and days; runs of hits.

The first three answer with numbers that can be worked out on paper. One size is
changed at a time, so that the message can say which one went in wrongly; what the
products of attention cost is counted by torch. Stretches are counted by a slow loop.
The answers that prove the checks are in `tests/answers/`.
"""

import math
from decimal import Decimal
from numbers import Real

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from course_lib.checks.asking import ask, expect, number
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.scaling import cost, emergence, flops, memory
from course_lib.transformer import Config


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)


def _named(got: float, want: float, known: dict, otherwise: str) -> None:
    """Fail unless got is what is wanted; known: message -> results of that mistake."""
    if _same(got, want):
        return
    for mistake, results in known.items():
        if any(_same(got, r) and not _same(r, want) for r in results):
            raise CheckFailed(mistake)
    if math.isclose(got, want, rel_tol=1e-2):
        raise CheckFailed(
            f"The first digits are right and the later ones are not: {got:.6g} instead of "
            f"{want:.6g}. Is something rounded, by round(), int() or //?"
        )
    raise CheckFailed(otherwise)


# --- training_parts -------------------------------------------------------------------

_PARTS = ("weights", "gradients", "moments", "master")
_BITS = {
    "float32": 32,
    "bfloat16": 16,
    "float16": 16,
    "float8": 8,
    "int8": 8,
    "int4": 4,
}


@check(
    memory.training_parts,
    proved="All four parts have the right bytes: in each precision, mixed or not, and for any "
    "number of parameters.",
    also=(memory.weight_bytes,),
)
def training_parts(answer, draw):
    for asked, options, what, mistakes in _PARTS_PAPER:
        _parts_diagnose(answer, 600, asked, options, what, mistakes)
    _parts_diagnose(answer, 1, ("int4",), {}, "in int4", _PARTS_OF_ONE)
    _parts_keep(answer)
    for precision in _BITS:
        for mixed in (False, True):
            parameters = 2.0 * int(torch.randint(1, 10**9, (), generator=draw))
            what = f"{precision}, mixed={mixed}"
            _parts_diagnose(answer, parameters, (precision, mixed), {}, what, {})


# What is asked for beside the parameters, in words, and (part, bytes per parameter) -> what
# that mistake is. The card's pitfalls come first.
# fmt: off
_PARTS_PAPER = (
    (("bfloat16",), {"mixed": True}, "mixed, in bfloat16", {
        ("moments", 0): "AdamW's moments take no bytes. They stay in memory from step to step, "
            "and are the largest part.",
        ("moments", 2): "The moments take as much as one number of 16 bits for each weight. AdamW "
            "has two moments, and when mixed they stay in 32 bits.",
        ("moments", 4): "The moments take 4 bytes for each weight when mixed. That is one moment "
            "of 32 bits, or two of 16: AdamW has two, and here they stay in 32.",
        ("moments", 12): "The moments take three wide numbers for each weight. Two are moments; "
            "the master copy has an entry of its own.",
        ("moments", 16): "The moments take 16 bytes for each weight: that is everything together, "
            "or each moment twice.",
        ("master", 0): "When mixed the master copy takes no bytes. It is there beside the "
            "weights of 16 bits, and in 32.",
        ("master", 2): "The master copy has 16 bits for each weight when mixed. It is there "
            "because 16 are not enough.",
        ("gradients", 4): "The gradients have 32 bits when mixed. Only moments and master copy "
            "do; gradients have the given precision.",
        ("gradients", 0): "The gradients take no bytes. Every weight has one.",
        ("weights", 4): "The weights have 32 bits when mixed. The model computes with weights of "
            "the given precision; the wide copy is `master`.",
        ("weights", 6): "The weights take both copies. The master copy has an entry of its own.",
    }),
    ((), {}, "with neither precision nor mixed given", {
        ("weights", 2): "Called with the parameters alone it counts 2 bytes for a weight. The "
            "first line's default is float32, and 32 bits are 4 bytes.",
        ("moments", 4): "Without mixed, in float32, one moment is counted. AdamW has two.",
        ("moments", 0): "Without mixed AdamW's moments take no bytes. They are kept there too.",
        ("master", 4): "There is a master copy although nothing is mixed. Then the weights "
            "themselves are the only copy, and it takes 0 bytes.",
    }),
    (("bfloat16",), {}, "in bfloat16 and not mixed", {
        ("moments", 8): "The moments have 32 bits although nothing is mixed. Then they have the "
            "given precision.",
        ("moments", 2): "Without mixed, in bfloat16, one moment is counted. AdamW has two.",
        ("master", 4): "There is a master copy in bfloat16 although nothing is mixed. Then it "
            "takes 0 bytes.",
        ("master", 2): "There is a master copy in bfloat16 although nothing is mixed. Then it "
            "takes 0 bytes.",
        ("weights", 4): "In bfloat16 a weight takes 4 bytes. The precision makes no difference "
            "there, and should.",
    }),
    (("int4", True), {}, "mixed, in int4", {
        ("weights", 0): "In int4 the weights take no bytes. A number has half a byte there, which "
            "int() and // turn into 0.",
        ("weights", 1): "In int4 a weight takes a whole byte. It has half of one.",
        ("weights", 2): "In int4 a weight takes 2 bytes when mixed. It has the given precision.",
        ("moments", 2): "In int4 the moments take 2 bytes for each weight when mixed. They stay "
            "in 32 bits, whatever the given precision is.",
        ("master", 1): "The master copy depends on the precision. It stays in 32 bits.",
        ("master", 0): "In int4 there is no master copy when mixed. `mixed` alone decides.",
    }),
    (("float8",), {"mixed": False}, "in float8 and not mixed", {}),
    (("float32",), {"mixed": True}, "mixed, in float32", {
        ("master", 0): "With mixed=True and float32 there is no master copy. `mixed` alone "
            "decides whether there is one.",
    }),
)
_PARTS_OF_ONE = dict.fromkeys(
    (("weights", 0), ("weights", 1), ("moments", 0)),
    "One parameter in int4 takes half a byte. It is cut or rounded to a whole number in yours, by "
    "//, int() or round().",
)
# fmt: on


def _parts_keep(answer) -> None:
    """What the first call returned must survive the second."""
    first = _parts_ask(answer, 1, ("bfloat16",), {})
    kept = answer(1, "bfloat16")
    answer(2, "float32", True)
    again = {part: number(kept[part], f"the bytes of {part}") for part in _PARTS}
    expect(
        first == again,
        "A second call changed what the first one had returned: both share one dictionary. Make a "
        "new one in each call.",
    )


def _parts_counted(precision: str = "float32", mixed: bool = False) -> dict:
    """Bytes of one parameter, part by part, from bits."""
    own, slow = _BITS[precision], 32 if mixed else _BITS[precision]
    bits = {
        "weights": [own],
        "gradients": [own],
        "moments": [slow, slow],
        "master": [32] if mixed else [],
    }
    return {part: sum(numbers) / 8 for part, numbers in bits.items()}


def _parts_ask(answer, parameters: int, asked: tuple, options: dict) -> dict:
    """An answer's dictionary, as bytes per parameter; other things are named."""
    try:
        got = ask(answer, parameters, *asked, **options)
    except KeyError as error:
        if str(error).strip("'") not in _BITS:
            raise
        raise CheckFailed(
            f"It stopped because it does not know {error}. number_bytes(precision) knows all "
            "precisions; a table of your own is not needed."
        ) from None
    if not isinstance(got, dict):
        kind = "one number" if isinstance(got, Real) else f"a {type(got).__name__}"
        raise CheckFailed(
            f"It returned {kind}; a dictionary is wanted, with the entries {', '.join(_PARTS)}."
        )
    missing = [part for part in _PARTS if part not in got]
    expect(
        missing != ["master"],
        "The entry `master` is missing. It is always there; without mixed it is 0.",
    )
    expect(not missing, f"The dictionary has no entry {', '.join(missing)}.")
    several = [part for part in _PARTS if isinstance(got[part], list | tuple)]
    expect(
        not several,
        f"{', '.join(several)}: several numbers. One is wanted for each entry, their sum.",
    )
    others = [str(name) for name in got if name not in _PARTS]
    expect(
        not others,
        f"The dictionary has an entry {', '.join(others)} as well. Only {', '.join(_PARTS)} are "
        "asked for, and a sum over all entries would count too much.",
    )
    return {
        part: number(got[part], f"the bytes of {part}") / parameters for part in _PARTS
    }


def _parts_diagnose(
    answer, parameters: int, asked: tuple, options: dict, what: str, mistakes: dict
) -> None:
    got = _parts_ask(answer, parameters, asked, options)
    want = _parts_counted(*asked, **options)
    if all(_same(got[part], want[part]) for part in _PARTS):
        return
    swapped = got["moments"], got["master"]
    expect(
        swapped != (want["master"], want["moments"]) or swapped[0] == swapped[1],
        "Moments and master copy are swapped.",
    )
    for (part, size), mistake in mistakes.items():
        if _same(got[part], size) and not _same(size, want[part]):
            raise CheckFailed(mistake)
    times = {got[part] / want[part] for part in _PARTS if want[part]}
    _parts_in_another_unit(max(times), min(times), parameters)
    part = next(part for part in _PARTS if not _same(got[part], want[part]))
    raise CheckFailed(
        f"For {parameters:,} parameter(s) {what}, {part} takes {got[part]:g} bytes per parameter in "
        f"yours; counted one by one it is {want[part]:g}."
    )


def _parts_in_another_unit(most: float, least: float, parameters: int) -> None:
    """Name the mistake if every part is wrong by the same factor."""
    if not _same(most, least):
        return
    # fmt: off
    known = {
        8: "These are bits. number_bytes gives bytes, and bytes are asked for.",
        1 / 8: "It was divided by 8. number_bytes gives bytes already, not bits.",
        1 / parameters: "The number of parameters makes no difference. Each of them has its bytes.",
        parameters: "The number of parameters goes in twice.",
        **{unit**-power: "It was divided to give kilo-, mega- or gigabytes. Bytes are asked for."
           for unit in (1000, 1024) for power in (1, 2, 3)},
    }
    # fmt: on
    for times, mistake in known.items():
        expect(not _same(most, times), mistake)


# --- train_flops ----------------------------------------------------------------------

_SIZES = {"layers": 5, "heads": 6, "kv_heads": 3, "head_width": 10, "width": 18}
_ASKED = {"parameters": 700.0, "tokens": 30, "length": 11}


@check(
    flops.train_flops,
    proved="The weights cost what they should, each size of attention goes in once, head width "
    "and width are kept apart, and torch counts as many operations.",
    also=(flops.attention_flops,),
)
def train_flops(answer, draw):
    _flops_of_weights(answer)
    base = _flops_of_attention(answer)
    for change in _FLOPS_CHANGES:
        _flops_changed(answer, base, *change)
    _flops_constant(answer, base)
    _flops_of_the_card(answer)
    _flops_of_drawn_sizes(answer, draw)


def _flops_ask(answer, *asked, **options) -> float:
    try:
        return number(ask(answer, *asked, **options), "the operations")
    except (AttributeError, TypeError) as error:
        if "NoneType" not in str(error):
            raise
        expect(
            bool(asked[2:] or options),
            "It stopped because it worked with None: without a shape, config and length are both "
            "None, and then only the weights count.",
        )
        raise CheckFailed(
            "It stopped because it worked with None: a field of config may not be set, such as "
            "head_width. The config knows K in either case."
        ) from None


def _flops_of_weights(answer) -> None:
    """Without a shape, on paper."""
    for N, D in ((700.0, 30), (7e9, 140e9)):
        got, once = _flops_ask(answer, N, D), N * D
        # fmt: off
        known = {
            "Forward alone is counted. Training goes back as well, which takes twice as much as "
            "forward.":
                (2 * once, once),
            "4 operations per weight and token are counted: backward alone, or as if it cost as "
            "much as forward. It takes twice as much, and forward comes on top.":
                (4 * once,),
            "Multiplications alone are counted, it seems. With each goes an addition.":
                (3 * once,),
            "Backward is counted too often: 8 per weight and token is what it takes if forward is "
            "computed a second time, which is not asked for.":
                (8 * once,),
            "Something goes in twice: it is twice as much as it should be.":
                (12 * once,),
            "The tokens make no difference. Every weight works once for each token.":
                (6 * N, 2 * N),
            "The parameters make no difference. Every weight costs operations of its own.":
                (6 * D, 2 * D),
            "Parameters and tokens are added. Every weight meets every token.":
                (6 * (N + D), N + D),
            "Parameters or tokens go in squared.":
                (6 * N * N * D, 6 * N * D * D, 6 * N * N),
            "The result was divided, into tera or peta. The operations themselves are asked for.":
                tuple(6 * once / unit for unit in (1e9, 1e12, 1e15, 1e18)),
        }
        # fmt: on
        otherwise = (
            f"For {N:g} parameters and {D:g} tokens it gives {got:.4g} operations. By hand: how "
            "many does one weight take for one token, forward and backward?"
        )
        _named(got, 6 * once, known, otherwise)


def _flops_extra(answer, config: Config, parameters, tokens, length) -> float:
    """What a shape adds to an answer, beyond the weights."""
    both = _flops_ask(answer, parameters, tokens, config, length)
    return both - 6 * parameters * tokens


def _flops_of_attention(answer) -> float:
    base = _flops_extra(answer, Config(**_SIZES), **_ASKED)
    named = _flops_ask(
        answer, 700.0, tokens=30, length=11, config=Config(**_SIZES)
    )  # by name, in another order
    weights = 6 * 700.0 * 30
    expect(
        _same(base + weights, named),
        "Handed in by name, in another order, the same numbers give another result.",
    )
    expect(
        not math.isclose(base, 0, abs_tol=1e-3),
        "config and length make no difference. With a shape, the operations of attention come on "
        "top of those of the weights.",
    )
    expect(
        not _same(base + weights, 12 * 5 * 60 * 11 * 30),
        "With a shape the weights are left out: this is attention alone. Both are asked for.",
    )
    expect(
        not _same(base - weights, 12 * 5 * 60 * 11 * 30),
        "With a shape the weights are counted twice. Attention comes on top of them once.",
    )
    expect(base > 0, "With a shape it gives fewer operations than without one.")
    return base


# What is changed, how many times as much attention should take then, what known mistakes give,
# and the beginning of the message against any other result. The card's pitfalls come first.
# fmt: off
_FLOPS_CHANGES = (
    ({"tokens": 90}, 3, {
        1: "Three times as many tokens leave attention as it was. Every token that is read looks "
           "at the others of its text, so it goes in for each of them.",
        9: "With three times as many tokens attention takes nine times as much. A token looks at "
           "the tokens of its own text, not at all that are read.",
        4: "Only whole texts are counted (//). Each token looks at T others: count by tokens.",
    }, "Three times as many tokens should make attention take three times as much"),
    ({"width": 36}, 1, {
        2: "With twice the width attention takes twice as much, though head_width is set. The "
           "width of all heads together need not be that of the stream.",
        4: "The width of the stream goes in squared. What it multiplies are weights, and those "
           "are counted already.",
    }, "With head_width set, the width of the stream should change nothing"),
    ({"parameters": 1400.0}, 1, {
        2: "With twice the parameters attention takes twice as much. Its products have no weights "
           "in them: they come on top, and are not multiplied by N.",
    }, "More parameters should leave the operations of attention as they are"),
    ({"length": 33}, 3, {
        1: "Texts of three times as many tokens leave attention as it was. Then every token looks "
           "at three times as many.",
        9: "With texts three times as long attention takes nine times as much for the same number "
           "of tokens. For a whole text it does; for each token it grows with the length.",
        27: "The length goes in three times.",
        1 / 3: "Longer texts take fewer operations. Is something divided by the length?",
        34 / 12: "A token looks at T + 1 others in yours, or at half as many. The card counts all "
           "T, whatever a mask hides.",
        32 / 10: "Each token of yours meets one token too few. The card counts all T.",
    }, "Texts of three times as many tokens should make attention take three times as much"),
    ({"layers": 10}, 2, {
        1: "The layers make no difference. Every layer has its attention.",
        4: "The layers go in twice.",
    }, "Twice as many layers should make attention take twice as much"),
    ({"kv_heads": 6}, 1, {
        2: "With more heads of keys and values attention takes more. What counts are the heads of "
           "queries: each compares with all keys, shared or not.",
    }, "More heads of keys and values should change nothing"),
    ({"heads": 12}, 2, {
        1: "The heads make no difference. Each of them compares and mixes.",
        4: "The heads go in twice.",
        0.5: "More heads take fewer operations: a head's width is worked out from width and "
           "heads, though head_width is set, or something is divided by the heads.",
    }, "Twice as many heads should make attention take twice as much"),
    ({"head_width": 20}, 2, {
        1: "The width of a head makes no difference. A comparison takes one product for each of "
           "its K numbers.",
        4: "The width of a head goes in twice.",
        math.sqrt(2): "The root of K goes in. A comparison takes K products.",
    }, "Heads of twice the width should make attention take twice as much"),
    ({"context": 8}, 1, {
        8 / 11: "The length is cut to config.context. `length` says how long the texts are.",
    }, "The model's context should change nothing: the texts are as long as before"),
    ({"vocabulary": 900, "hidden": 90}, 1, {},
     "Vocabulary and the hidden width of the MLP have weights, counted already, and should change "
     "nothing"),
)
# fmt: on


def _flops_changed(
    answer, base: float, change: dict, factor: float, known: dict, otherwise: str
) -> None:
    """Ask again with something changed; how many times as much does attention take?"""
    asked = _ASKED | {name: change[name] for name in change if name in _ASKED}
    sizes = _SIZES | {name: change[name] for name in change if name not in _ASKED}
    times = _flops_extra(answer, Config(**sizes), **asked) / base
    known = {mistake: (result,) for result, mistake in known.items()}
    _named(times, factor, known, f"{otherwise}; yours takes {times:.3g} times as much.")


def _flops_constant(answer, base: float) -> None:
    """All proportions hold; what is left is a wrong constant."""
    got = base / (5 * 6 * 10 * 11 * 30)
    # fmt: off
    known = {
        "Attention counts forward only. Backward takes twice as much again, here as everywhere.":
            (4,),
        "Attention counts backward only. Forward comes on top.": (8,),
        "Attention is half of what it should be. Each of its two products, queries with keys and "
        "weights with values, takes a multiplication and an addition; and nothing is halved for "
        "tokens that a mask hides.":
            (6,),
        "Attention counts one of its two products, or multiplications alone, and forward only.":
            (2,),
        "Attention counts one multiplication for each number, and nothing else.": (1,),
        "Attention counts multiplications alone in one of its two products.": (3,),
        "Attention is twice as much as it should be. Is the 6 of the weights multiplied by all "
        "four operations? There are two forward products; the 6 counts multiplying, adding and "
        "backward already.":
            (24,),
        "Texts are counted, the last of them filled up. Each token looks at T others, however "
        "many texts there are: count by tokens.":
            (12 * 1.1,),
        "Attention takes three, four or six times what it should. Was something counted that is "
        "in the 12 already?":
            (36, 48, 72),
    }
    # fmt: on
    otherwise = (
        f"Attention takes {got:.4g} operations for each layer, head, number of a head, token and "
        "token it looks at. How it grows with every single size is right; the constant is not."
    )
    _named(got, 12, known, otherwise)


def _flops_of_the_card(answer) -> None:
    """The card's second worked value: a small shape, and texts of 4."""
    small = Config(width=6, heads=2, head_width=4, layers=5)
    got = _flops_ask(answer, 1000, 10, small, 4)
    expect(
        _same(got, 79_200),
        f"For 1,000 parameters, 10 tokens in texts of 4, 5 layers of 2 heads and K = 4 it gives "
        f"{got:,.6g} operations instead of 60,000 + 19,200. Are short texts, or small numbers, "
        "treated in another way?",
    )


def _flops_by_torch(config: Config, tokens: int, length: int) -> float:
    """Let torch count attention's products in one text, forward and backward."""
    shape = (config.heads, length, config.K)
    query, key, value = torch.ones((3, *shape), requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        (query @ key.mT @ value).sum().backward()
    return config.layers * counter.get_total_flops() * tokens / length


def _flops_of_drawn_sizes(answer, draw) -> None:
    def some(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    for own_width in (True, False):
        kv_heads, K, layers = some(1, 3), 2 * some(1, 5), some(1, 4)
        heads = kv_heads * some(1, 3)
        drawn = {"width": 7, "head_width": K} if own_width else {"width": heads * K}
        config = Config(layers=layers, heads=heads, kv_heads=kv_heads, **drawn)
        N, D, T = some(100, 10_000), float(some(20, 900)), some(1, 40)
        got = _flops_ask(answer, N, D, config, T)
        want = 6 * N * D + _flops_by_torch(config, D, T)
        otherwise = (
            f"For {N} parameters, {D:g} tokens in texts of {T}, {layers} layer(s), {heads} "
            f"head(s), K = {K}, it gives {got:g} operations; torch counts {want:g}. Is a number "
            "built in?"
        )
        _named(got, want, {}, otherwise)


# --- gpu_days -------------------------------------------------------------------------


@check(
    cost.gpu_days,
    proved="Operations over the rate that is really reached, in days, unrounded, for several "
    "machines and shares; an impossible share is refused.",
    also=(cost.wall_days, cost.utilisation),
)
def gpu_days(answer, draw):
    _days_diagnose(answer, 5.4e21, 2e14, 0.25)
    _days_diagnose(answer, 5.88e21, 312e12)  # mfu's default
    _days_diagnose(answer, 10**20, 125 * 10**12, 1)
    _days_diagnose(answer, 1e15, 3e14, 0.5)  # 6.7 seconds
    for _ in range(6):
        a, b, c = torch.rand(3, generator=draw, dtype=torch.float64).tolist()
        _days_diagnose(answer, 10 ** (17 + 8 * a), 10 ** (13 + 2 * b), 0.05 + 0.9 * c)
    for mfu in (40, 1.5, 0, -0.4, math.nan):
        _days_refused(answer, mfu)


def _days_diagnose(answer, compute: float, peak: float, mfu: float | None = None):
    options = {} if mfu is None else {"mfu": mfu}
    got = ask(answer, compute, peak=peak, **options)
    got = number(float(got) if isinstance(got, Decimal) else got, "the days")
    u = 0.4 if mfu is None else mfu
    full = compute / peak  # seconds at the full rate
    want = full / u / 86_400
    # fmt: off
    known = {
        "mfu makes no difference. The data sheet's rate is not reached, so the training takes "
        "longer than it says.":
            (full / 86_400,),
        "The smaller the share that is reached, the shorter it takes in yours. mfu makes the rate "
        "smaller, not the time.":
            (full * u / 86_400,),
        "1 - mfu goes in. mfu is the share that is reached, not the one that is lost.":
            (full / (1 - u or 2) / 86_400, full * (1 - u) / 86_400),
        "mfu is taken for per cent. It is a share already: 0.4, not 40.":
            (100 * want, want / 100),
        "peak is multiplied by a power of ten. It is in operations per second already, not in "
        "tera.":
            tuple(want / unit for unit in (1e9, 1e12, 1e15)),
        "peak is made smaller by a power of ten, or a power of ten is left over. Both come in as "
        "they are: operations, and operations per second.":
            tuple(want * unit for unit in (1e3, 1e9, 1e12, 1e15)),
        "These are seconds. Days are asked for.": (want * 86_400, full),
        "These are minutes. Days are asked for.": (want * 1440,),
        "These are hours. Days are asked for.": (want * 24,),
        "Seconds were divided by 24, or by 24 and 60. A day has 24 hours of 60 minutes of 60 "
        "seconds.":
            (want * 3600, want * 60),
        "These are weeks, months or years. Days are asked for.":
            tuple(want / days for days in (7, 30, 365, 365.25)),
        "DAY is divided by too often, or a day got more than 86,400 seconds.":
            (want / 24, want / 60, want / 3600, want / 86_400),
        "It is upside down: the longer the training, the smaller your number.":
            (1 / want, 86_400 / (full / u), u / full, 1 / full),
        "The operations are multiplied by 6, 3 or 2. `compute` is all of them already.":
            (6 * want, 3 * want, 2 * want),
        "It is rounded to whole days. The days are asked for as they are.":
            (round(want), math.floor(want), math.ceil(want)),
        "The seconds are cut or rounded to whole ones, by //, int() or round(). The days are asked "
        "for as they are.":
            tuple(x / 86_400 for cut in (round, math.floor, math.ceil)
                  for x in (cut(full / u), cut(full) / u)),
        "Called without mfu it does not take 0.4, the first line's default.":
            () if mfu is not None else tuple(full / d / 86_400 for d in (0.3, 0.45, 0.5, 1)),
    }
    # fmt: on
    otherwise = (
        f"{compute:.4g} operations on a GPU of {peak:.4g} operations per second at {u:.3g} of its "
        f"peak take {got:.6g} days in yours, by hand {want:.6g}."
    )
    _named(got, want, known, otherwise)


def _days_refused(answer, mfu: float) -> None:
    try:
        got = answer(1e20, 1e14, mfu)
    except Exception:  # whatever kind: the given line is an assert
        return
    raise CheckFailed(
        f"A share of {mfu} is accepted, and gives {got}. The first lines of the cell refuse what "
        "is not above 0 and at most 1: leave that line there."
    )


# --- stretches_right ------------------------------------------------------------------


@check(
    emergence.stretches_right,
    proved="Every place in every text counts once, and no stretch reaches into the next text: "
    "for short and long stretches, one text and many.",
)
def stretches_right(answer, draw):
    six = torch.tensor([True, True, False, True, True, True])
    asked = [(six[None], 2), (six.view(2, 3), 2), (_ROW, 3), (_ROW, 4)]
    asked += [(_stretches_drawn(B, T, draw), length) for B, T, length in _STRETCHES]
    asked += [(torch.ones(2, 4).bool(), 3), (torch.zeros(2, 4).bool(), 3)]
    wrong, given = [], []
    for right, length in asked:
        try:
            got = _stretches_ask(answer, right, length)
        except Exception:
            if wrong:  # what was wrong before says more than where it stopped
                break
            raise
        given.append(got)
        want = _mean(_shares(right.tolist(), length))
        if not _near(got, want):
            wrong.append((got, want, right, length))
    expect(
        len(given) < 4 or max(given) > min(given),
        f"It gives {given[0]:.4g} for every text and every length.",
    )
    if wrong:
        _stretches_name(wrong)


def _near(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _stretches_name(wrong: list) -> None:
    """Name the mistake that gives all the wrong shares, two or more different ones.

    A single one, or small texts alone, would not tell.
    """
    found = [(got, _stretches_mistakes(right, k)) for got, _, right, k in wrong]
    for mistake, results in found[0][1].items():
        for way in range(len(results)):
            pairs = [(got, known[mistake][way]) for got, known in found]
            pairs = [pair for pair in pairs if not math.isnan(pair[1])]
            different = len({round(got, 9) for got, _ in pairs})
            several = len(pairs) > 4 or different > 1
            if several and all(_near(*pair) for pair in pairs):
                raise CheckFailed(mistake)
    got, want, right, length = wrong[0]
    if all(math.isclose(got, want, abs_tol=0.01) for got, want, *_ in wrong):
        raise CheckFailed(
            f"The first digits are right and the later ones are not: {got:.6g} instead of "
            f"{want:.6g}. Is something rounded?"
        )
    rows = ["".join("01"[hit] for hit in row) for row in right.tolist()]
    raise CheckFailed(
        f"For {' / '.join(rows)} (1: right, 0: wrong) in stretches of {length}, it gives "
        f"{got:.4g}; looked at one by one, {want:.4g} of all stretches are right."
    )


# Right at both ends of many stretches, and not in between.
_ROW = torch.tensor([[hit == "1" for hit in "1011011101"]])

# texts, tokens, length
_STRETCHES = (
    (3, 11, 3), (1, 16, 4), (4, 7, 5), (5, 4, 1), (6, 3, 3), (7, 2, 2), (2, 1, 1), (2, 24, 2),
)  # fmt: skip


def _stretches_drawn(B: int, T: int, draw) -> Tensor:
    """Hits that come in runs, in texts of different quality, not in one piece in memory."""
    share = torch.linspace(0.5, 0.9, B)[None]
    hit = torch.rand(T, B, generator=draw) < share
    stays = torch.rand(T, B, generator=draw) < 0.5
    for t in range(1, T):
        hit[t] = torch.where(stays[t], hit[t - 1], hit[t])
    return hit.T  # (B, T)


def _stretches_ask(answer, right: Tensor, length: int) -> float:
    try:
        return number(ask(answer, right, length), "the share")
    except RuntimeError as error:
        if "Got: Bool" not in str(error):
            raise
        raise CheckFailed(
            "It stopped because mean() cannot average True and False. Turn them into numbers "
            "first, by .float() or .double()."
        ) from None


def _shares(rows: list[list[bool]], size: int, step: int = 1, judge=all) -> list:
    """judge of every stretch of this size in every row, one after the other."""
    return [
        judge(row[at : at + size])
        for row in rows
        for at in range(0, len(row) - size + 1, step)
    ]


def _mean(values: list) -> float:
    return sum(values) / len(values) if values else math.nan


def _stretches_mistakes(right: Tensor, k: int) -> dict[str, tuple[float, ...]]:
    """What known mistakes give; nan where they give nothing."""
    rows, T = right.tolist(), right.shape[1]
    columns = right.T.tolist()
    flat = [hit for row in rows for hit in row]
    stretches = _shares(rows, k)
    share, p, B = _mean(stretches), _mean(flat), len(rows)
    each = [_mean(row) for row in rows]
    ends = _shares([row[:-1] for row in rows], k) if k < T else []
    mixed = _shares(rows, k, judge=_mean)
    runs = [len(run) for row in rows for run in _runs(row)]
    ragged = [all(row[at : at + k]) for row in rows for at in range(T)]
    square = right.unfold(1, k, 1)  # (B, T - k + 1, k)
    round_about = [row + row[: k - 1] for row in rows]
    # fmt: off
    return {
        "This is a power of the mean: what one would expect if each token were right by itself. "
        "Count the stretches that are there.":
            (p**k, _mean([q**k for q in each])),
        "Stretches reach from the end of one text into the next. Each belongs to one text.":
            (_mean(_shares([flat], k)), _mean(_shares([flat], k, k))),
        "Your stretches do not overlap: each begins where the last one ended. A stretch begins at "
        "every token that has enough after it.":
            (_mean(_shares(rows, k, k)), sum(_shares(rows, k, k)) / (B * max(T // k, 1))),
        "The right stretches are counted correctly and divided by the number of tokens. A text "
        "has fewer places for a stretch than tokens.":
            (sum(stretches) / (B * T),),
        "The last stretch of each text is missing.":
            (_mean(ends), sum(ends) / len(stretches)),
        "What is left at the end of a text is counted as well, though it is shorter than a "
        "stretch. The last stretch begins `length` tokens before the end.":
            (_mean(ragged), sum(ragged) / len(stretches)),
        "The right stretches are counted correctly, but divided by one place too few, or too "
        "many, in each text.":
            (sum(stretches) / (B * max(T - k, 1)), sum(stretches) / (B * (T - k + 2))),
        "One right token is enough for a stretch in yours. All of them have to be right.":
            (_mean(_shares(rows, k, judge=any)),),
        "This is how many tokens of a stretch are right on average. A stretch counts only if it "
        "is right from end to end.":
            (_mean(mixed),),
        "Most of a stretch is enough in yours. All of it has to be right.":
            (_mean([m > 0.5 for m in mixed]), _mean([m >= 0.5 for m in mixed])),
        "Only the first and the last token of each stretch are looked at. Those in between have "
        "to be right as well.":
            (_mean(_shares(rows, k, judge=lambda s: s[0] and s[-1])),),
        "Only the first two tokens, or the last two, of each stretch are looked at. All of them "
        "have to be right.":
            (_mean(_shares(rows, k, judge=lambda s: all(s[:2]))),
             _mean(_shares(rows, k, judge=lambda s: all(s[-2:])))),
        "The length makes no difference: this is the share of right tokens.": (p,),
        "Your stretches are one token too long.": (_mean(_shares(rows, k + 1)),),
        "Your stretches are one token too short.":
            (_mean(_shares(rows, k - 1)) if k > 1 else math.nan,),
        "Stretches go down the batch, from text to text. Tokens of one text are beside each "
        "other, in the last dimension.":
            (_mean(_shares(columns, k)),),
        "Only the beginning of each text is looked at. A stretch may begin at any token.":
            (_mean([all(row[:k]) for row in rows]),),
        "Only the end of each text is looked at. A stretch may begin at any token.":
            (_mean([all(row[-k:]) for row in rows]),),
        "This is the share of texts that are right throughout.":
            (_mean([all(row) for row in rows]),),
        "This is the share of texts with at least one right stretch. Every stretch counts.":
            (_mean([any(_shares([row], k)) for row in rows]),),
        "Only one text is looked at. All texts count.":
            (_mean(_shares(rows[:1], k)), _mean(_shares(rows[-1:], k))),
        "Stretches of two are counted, whatever the length.":
            (_mean(_shares(rows, 2)), _mean(_shares(rows, 2)) if T > 1 else math.nan),
        "Stretches reach from the end of a text back to its beginning.":
            (_mean(_shares(round_about, k)), _mean(_shares([flat + flat[: k - 1]], k))),
        "Runs of right tokens are counted. A run of five has four stretches of two, and wrong "
        "stretches count in the whole.":
            (_mean([run >= k for run in runs]), sum(r // k for r in runs) / len(stretches),
             sum(run >= k for run in runs) / len(stretches)),
        "This is the share of stretches that are not right.":
            (1 - share, _mean([not any_ for any_ in _shares(rows, k, judge=any)])),
        "all() went along another dimension, or along every one. One stretch lies in the last "
        "dimension of what unfold gives.":
            (float(square.all()), *(_mean(square.all(d).flatten().tolist()) for d in (0, 1))),
        "This is a count. The share of all stretches is asked for.":
            (sum(stretches), sum(stretches) / B),
        "This is a percentage. A share from 0 to 1 is asked for.": (100 * share,),
        "Every text is added up, not averaged: divide by the stretches of all texts.":
            (share * B,),
    }
    # fmt: on


def _runs(row: list[bool]) -> list[list[bool]]:
    """The right tokens of a row, cut at the wrong ones."""
    found: list[list[bool]] = [[]]
    for hit in row:
        if hit:
            found[-1].append(hit)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]
