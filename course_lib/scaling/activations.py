"""What backward needs to remember of forward: bytes that grow with the batch.

Every operation keeps those inputs and outputs from which its gradient is made
(Korthikanti et al. 2022, section 4, count them for a GPT with dropout). Here they
are counted for our own Transformer; a test compares them with what autograd keeps.
Notable: a norm in float32 keeps wide numbers in a narrow model. Left out: dropout,
experts, latent attention, activations split over GPUs, what lives for a moment only.
"""

from course_lib.scaling.memory import number_bytes
from course_lib.transformer import Config


def norm_kept(config: Config, precision: str = "bfloat16") -> float:
    """Bytes per token that one norm keeps, with what the matrices behind it read.

    RMSNorm keeps its input and the scale in float32, the scaled and the weighted
    vector. A layer norm keeps its input and two statistics, then its output.

    >>> norm_kept(Config(width=8), "float32")
    100.0
    """
    size, wide = number_bytes(precision), number_bytes("float32")
    if config.norm == "layer":
        return (2 * config.width + 2) * size
    wide = max(size, wide)
    return (config.width + 1) * wide + 2 * config.width * size


def attention_kept(
    config: Config, length: int, precision: str = "bfloat16", fused: bool = True
) -> float:
    r"""Bytes per token in one layer of attention, behind the norm; a mask aside.

    fused: queries, keys, values, the result, and a number in float32 per head from
    which backward makes all weights again. Written out: keys and values repeated for
    every head, two tables of $H \cdot T$ numbers per token, the sums, and the places
    of the maxima in 8 bytes each.

    >>> config = Config(width=8, heads=4, kv_heads=2)
    >>> [attention_kept(config, 100, "float32", fused) for fused in (True, False)]
    [112.0, 3376.0]
    """
    H, K, size = config.heads, config.K, number_bytes(precision)
    if fused:
        return 2 * (H + config.kv_heads) * K * size + H * number_bytes("float32")
    return (4 * H * K + 2 * H * length + H) * size + 8 * H


def mlp_kept(config: Config, precision: str = "bfloat16") -> float:
    """Bytes per token in one MLP, behind the norm.

    SwiGLU keeps both widened vectors, the gate after its silu, and their product;
    GPT-2's keeps one vector before and after its gelu.

    >>> [mlp_kept(Config(hidden=10, mlp=m), "float32") for m in ("swiglu", "gelu")]
    [160.0, 80.0]
    """
    vectors = 4 if config.mlp == "swiglu" else 2
    return vectors * config.hidden * number_bytes(precision)


def layer_kept(
    config: Config, length: int, precision: str = "bfloat16", fused: bool = True
) -> float:
    """Bytes per token that one block keeps: two norms, attention, the MLP.

    >>> layer_kept(Config(width=8, heads=4, hidden=10), 100, "float32")
    472.0
    """
    attention = attention_kept(config, length, precision, fused)
    return 2 * norm_kept(config, precision) + attention + mlp_kept(config, precision)


def gpt_layer_kept(width: int, heads: int, length: int) -> int:
    r"""The same for a GPT with dropout in 16 bits, written out: $34D + 5HT$.

    Korthikanti et al. (2022, eq. 1), per token. The second part belongs to the
    tables of attention: twice in 16 bits, and a byte for each dropped weight.

    >>> gpt_layer_kept(width=12288, heads=96, length=2048) / 12288  # GPT-3
    114.0
    """
    return 34 * width + 5 * heads * length


def activation_parts(
    config: Config,
    batch: int,
    length: int,
    precision: str = "bfloat16",
    fused: bool = True,
    recompute: bool = False,
) -> dict[str, float]:
    """What one training step keeps between forward and backward, in bytes.

    blocks: all layers. recompute: of every block only its input, and one block in
    full, since backward runs forward again block by block. ends: the tokens, the
    last norm, the tables of positions. scores: what the loss keeps, V per token.

    >>> config = Config(vocabulary=10, width=8, heads=4, hidden=10, layers=2)
    >>> activation_parts(config, batch=1, length=100, precision="float32")
    {'blocks': 94400.0, 'ends': 12400.0, 'scores': 4000.0}
    """
    assert min(batch, length) >= 0, f"sizes of at least 0: {batch=} {length=}"
    tokens, size = batch * length, number_bytes(precision)
    layer = tokens * layer_kept(config, length, precision, fused)
    if not fused:
        layer += length**2  # the mask, one byte for each pair, for all texts
    inputs = config.layers * tokens * config.width * size
    places = 8.0 if config.positions == "learned" else 2 * config.K * size
    return {
        "blocks": inputs + layer if recompute else config.layers * layer,
        "ends": tokens * (8 + norm_kept(config, precision)) + places * length,
        "scores": tokens * config.vocabulary * size,
    }


def activation_bytes(
    config: Config,
    batch: int,
    length: int,
    precision: str = "bfloat16",
    fused: bool = True,
    recompute: bool = False,
) -> float:
    """Bytes that one training step keeps between forward and backward.

    batch texts of `length` tokens; fused and recompute as in `activation_parts`.

    >>> config = Config(vocabulary=10, width=8, heads=4, hidden=10, layers=2)
    >>> activation_bytes(config, batch=1, length=100, precision="float32")
    110800.0
    """
    parts = activation_parts(config, batch, length, precision, fused, recompute)
    return sum(parts.values())
