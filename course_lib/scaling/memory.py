"""How many bytes training and serving need, before a machine is rented.

Training with AdamW keeps four numbers for each weight, in mixed precision five
(Micikevicius et al. 2018; Rajbhandari et al. 2020, section 3.1: 16 bytes). Serving
keeps the weights and, for every token of every text, its keys and values. What
backward remembers of forward is in activations.py. Left out: windows in some layers
only, and what a memory allocator wastes.
"""

from course_lib.scaling.parameters import Latent
from course_lib.transformer import Config

BYTES = {  # of one number
    "float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "float8": 1.0, "int8": 1.0,
    "int4": 0.5,
}  # fmt: skip


def number_bytes(precision: str) -> float:
    """Bytes of one number.

    >>> number_bytes("bfloat16"), number_bytes("int4")
    (2.0, 0.5)
    """
    if precision not in BYTES:
        raise ValueError(f"precision is one of {', '.join(BYTES)}, not {precision}.")
    return BYTES[precision]


def weight_bytes(parameters: float, precision: str = "bfloat16") -> float:
    """Bytes of the weights alone.

    >>> [weight_bytes(7e9, precision) / 1e9 for precision in ("float32", "bfloat16")]
    [28.0, 14.0]
    """
    return parameters * number_bytes(precision)


def training_parts(
    parameters: float, precision: str = "float32", mixed: bool = False
) -> dict[str, float]:
    """What training with AdamW keeps in memory, in bytes, part by part.

    Weights, gradients and the two moments have the given precision. mixed: the
    model computes with weights and gradients of that precision, while the moments
    and a master copy of the weights stay in float32.

    >>> training_parts(1.0, "bfloat16", mixed=True)
    {'weights': 2.0, 'gradients': 2.0, 'moments': 8.0, 'master': 4.0}
    """
    size, wide = number_bytes(precision), number_bytes("float32")
    return {
        "weights": parameters * size,
        "gradients": parameters * size,
        "moments": 2 * parameters * (wide if mixed else size),
        "master": parameters * wide if mixed else 0.0,
    }


def training_bytes(
    parameters: float, precision: str = "float32", mixed: bool = False
) -> float:
    """Bytes of weights, gradients and optimiser together, before any activation.

    >>> training_bytes(7e9, "bfloat16", mixed=True) / 1e9
    112.0
    """
    return sum(training_parts(parameters, precision, mixed).values())


SHARDED = {  # stage of ZeRO: divided parts (Rajbhandari et al. 2020, figure 1)
    0: (),
    1: ("moments", "master"),
    2: ("moments", "master", "gradients"),
    3: ("moments", "master", "gradients", "weights"),
}


def sharded(parts: dict[str, float], devices: int, stage: int = 3) -> dict[str, float]:
    """What each of several devices keeps when some parts are divided among them.

    parts as `training_parts` gives them. stage 0: every device keeps everything;
    1 divides the optimiser's moments and master copy, 2 also the gradients, 3 also
    the weights.

    >>> sharded(training_parts(8.0), devices=4, stage=2)
    {'weights': 32.0, 'gradients': 8.0, 'moments': 16.0, 'master': 0.0}
    """
    if stage not in SHARDED:
        raise ValueError(f"A stage of sharding is 0, 1, 2 or 3, not {stage}.")
    if devices < 1:
        raise ValueError(f"At least one device must hold the model, not {devices}.")
    divisor = dict.fromkeys(SHARDED[stage], devices)
    return {name: size / divisor.get(name, 1) for name, size in parts.items()}


def largest_trainable(
    memory: float, precision: str = "float32", mixed: bool = False
) -> float:
    """Parameters of the largest model whose training fits, activations aside.

    >>> largest_trainable(24e9)
    1500000000.0
    """
    return memory / training_bytes(1.0, precision, mixed)


def cache_bytes(
    config: Config,
    batch: int,
    length: int,
    precision: str = "bfloat16",
    window: int | None = None,
) -> float:
    r"""Exact bytes of all keys and values: $2LBS\,\text{kv\_heads}\,K$ numbers.

    batch: B texts; length: S tokens of each; both at least 0. window: of a text only
    the last `window` tokens are kept, since later ones never look further back
    (None: all are kept).

    How: a key and a value, each of K numbers, per layer, shared head and kept token.

    >>> config = Config(width=8, heads=4, kv_heads=1, layers=3, head_width=6)
    >>> cache_bytes(config, batch=1, length=10)
    720.0
    >>> cache_bytes(config, batch=1, length=10, window=5)
    360.0
    """
    assert min(batch, length) >= 0, f"sizes of at least 0: {batch=} {length=}"
    assert window is None or window >= 1, f"a window keeps 1 or more: {window=}"
    kept = length if window is None else min(length, window)
    numbers = 2 * config.layers * config.kv_heads * config.K  # per token
    return batch * kept * numbers * number_bytes(precision)


def latent_cache_bytes(
    config: Config,
    latent: Latent,
    batch: int,
    length: int,
    precision: str = "bfloat16",
) -> float:
    """The same for latent attention, which keeps less of each token.

    One short vector, from which all heads make their keys and values, and the shared
    part of the keys that turns: `latent.memory + latent.rotary` numbers per layer.

    >>> latent = Latent(query=3, memory=5, rotary=2, plain=4, value=4)
    >>> latent_cache_bytes(Config(layers=3), latent, batch=1, length=10)
    420.0
    """
    assert min(batch, length) >= 0, f"sizes of at least 0: {batch=} {length=}"
    numbers = config.layers * (latent.memory + latent.rotary)  # per token
    return batch * length * numbers * number_bytes(precision)


def inference_bytes(
    parameters: float,
    config: Config,
    batch: int,
    length: int,
    precision: str = "bfloat16",
    cache_precision: str = "bfloat16",
    window: int | None = None,
    latent: Latent | None = None,
) -> float:
    """Bytes of weights and cache together; a latent memory knows no window.

    >>> config = Config(width=8, heads=4, kv_heads=2, layers=3)
    >>> inference_bytes(1000, config, batch=2, length=10, precision="int4")
    1460.0
    """
    assert window is None or latent is None, f"one or neither: {window=} {latent=}"
    if latent is not None:
        cache = latent_cache_bytes(config, latent, batch, length, cache_precision)
    else:
        cache = cache_bytes(config, batch, length, cache_precision, window)
    return weight_bytes(parameters, precision) + cache
