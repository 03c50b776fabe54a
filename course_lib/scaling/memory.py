"""How many bytes training and serving need, before a machine is rented.

Training with AdamW keeps four numbers for each weight, in mixed precision five
(Micikevicius et al. 2018; Rajbhandari et al. 2020, section 3.1: 16 bytes). Serving
keeps the weights and, for every token of every text, its keys and values. Left out:
activations, which depend on the batch and on what is recomputed, and what a memory
allocator wastes.
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
    latent: Latent | None = None,
) -> float:
    r"""Bytes of keys and values: $2LBS\,\text{kv\_heads}\,K$ numbers.

    batch B texts of length S tokens each. Latent attention keeps one short vector
    and the shared keys that turn, instead of keys and values of every head.

    >>> config = Config(width=8, heads=4, kv_heads=2, layers=3)
    >>> cache_bytes(config, batch=1, length=10)
    480.0
    """
    each = 2 * config.kv_heads * config.K
    if latent is not None:
        each = latent.memory + latent.rotary
    return config.layers * batch * length * each * number_bytes(precision)


def inference_bytes(
    parameters: float,
    config: Config,
    batch: int,
    length: int,
    precision: str = "bfloat16",
    cache_precision: str = "bfloat16",
    latent: Latent | None = None,
) -> float:
    """Bytes of weights and cache together.

    >>> config = Config(width=8, heads=4, kv_heads=2, layers=3)
    >>> inference_bytes(1000, config, batch=2, length=10, precision="int4")
    1460.0
    """
    cache = cache_bytes(config, batch, length, cache_precision, latent)
    return weight_bytes(parameters, precision) + cache
