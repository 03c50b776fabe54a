"""How many numbers a model learns, from its configuration alone.

Everything is counted twice over: matrices, which cost compute for every token, and
vectors (norms and biases), which hardly do. Mixtures of experts (Shazeer et al.
2017) have two counts: all parameters must be stored, the active ones are used for
one token. Latent attention is that of DeepSeek-V2 (2024, section 2.1). Left out:
adapters, encoders, and experts of unequal size.
"""

from dataclasses import dataclass, replace

from course_lib.transformer import Config


@dataclass(frozen=True)
class Experts:
    """MLPs side by side; a router sends each token to a few of them."""

    count: int  # E: experts that the router chooses from, in each layer
    chosen: int  # experts that one token visits
    hidden: int  # width inside one expert
    shared: int = 0  # further experts of the same width that every token visits
    dense: int = 0  # first layers, which keep the ordinary MLP

    def __post_init__(self):
        if not 1 <= self.chosen <= self.count:
            raise ValueError(
                f"A token visits 1 to {self.count} of {self.count} experts, "
                f"not {self.chosen}."
            )


@dataclass(frozen=True)
class Latent:
    """Queries, and keys with values, each made from one short vector per token."""

    query: int  # width of the short vector of the queries
    memory: int  # width of that of keys and values: this is what the cache keeps
    rotary: int  # numbers of a head that turn; their keys are shared by all heads
    plain: int  # numbers of a head's key that do not turn
    value: int  # width of a head's value


def attention_matrices(config: Config, latent: Latent | None = None) -> int:
    r"""Numbers in one attention layer's matrices: $2DHK + 2D\,\text{kv\_heads}\,K$.

    Query and output serve H heads, key and value only kv_heads.

    >>> attention_matrices(Config(width=8, heads=4, kv_heads=2))
    192
    """
    if latent is not None:
        return latent_matrices(config, latent)
    return 2 * config.width * config.K * (config.heads + config.kv_heads)


def latent_matrices(config: Config, latent: Latent) -> int:
    """The same for latent attention: down and up for queries, then for the rest.

    >>> latent_matrices(Config(width=8, heads=2), Latent(3, 5, 2, 4, 4))
    260
    """
    D, H = config.width, config.heads
    queries = (D + H * (latent.plain + latent.rotary)) * latent.query
    down = D * (latent.memory + latent.rotary)
    up = latent.memory * H * (latent.plain + latent.value)
    return queries + down + up + H * latent.value * D


def mlp_matrices(config: Config) -> int:
    """Numbers in the matrices of one MLP: three for SwiGLU, two for GPT-2's.

    >>> [mlp_matrices(Config(width=8, hidden=10, mlp=m)) for m in ("swiglu", "gelu")]
    [240, 160]
    """
    matrices = 3 if config.mlp == "swiglu" else 2
    return matrices * config.width * config.hidden


def expert_matrices(config: Config, experts: Experts, active: bool = False) -> int:
    """Numbers in the matrices of one mixture: its experts, shared ones, its router.

    active: only what one token uses; the router scores all experts for it.

    How: one expert is an MLP of the width experts.hidden; as many as are in use, and
    the router of width times count besides.

    >>> experts = Experts(count=8, chosen=2, hidden=10)
    >>> config = Config(width=8)
    >>> [expert_matrices(config, experts, active) for active in (False, True)]
    [1984, 544]
    """
    used = (experts.chosen if active else experts.count) + experts.shared
    one = mlp_matrices(replace(config, hidden=experts.hidden))
    return used * one + config.width * experts.count  # the router scores them all


def layer_matrices(
    config: Config,
    experts: Experts | None = None,
    latent: Latent | None = None,
    active: bool = False,
) -> int:
    """Numbers in the matrices of all L layers, without embedding and head.

    >>> layer_matrices(Config(width=8, heads=4, hidden=10, layers=2))
    864
    """
    attention = config.layers * attention_matrices(config, latent)
    if experts is None:
        return attention + config.layers * mlp_matrices(config)
    mixtures = (config.layers - experts.dense) * expert_matrices(
        config, experts, active
    )
    return attention + mixtures + experts.dense * mlp_matrices(config)


def vectors(config: Config, latent: Latent | None = None) -> int:
    """Numbers in all norms and biases.

    Two norms in each layer and one at the end; a layer norm may have a bias.
    Latent attention has two short norms more.

    >>> vectors(Config(width=8, layers=2))
    40
    """
    D, K = config.width, config.K
    norm = 2 * D if config.norm == "layer" and config.bias else D
    biases = 0
    if config.bias or config.qkv_bias:
        biases += K * (config.heads + 2 * config.kv_heads)
    if config.bias:
        gates = config.hidden if config.mlp == "swiglu" else 0
        biases += D + gates + config.hidden + D  # output; gate, up, down
    short = 0 if latent is None else latent.query + latent.memory
    return config.layers * (2 * norm + biases + short) + norm


def embeddings(config: Config) -> int:
    """Numbers that turn a token, and its place if that is learned, into a vector.

    >>> embeddings(Config(vocabulary=100, width=8))
    800
    >>> embeddings(Config(vocabulary=100, width=8, context=15, positions="learned"))
    920
    """
    places = config.context if config.positions == "learned" else 0
    return (config.vocabulary + places) * config.width


def parameters(
    config: Config,
    experts: Experts | None = None,
    latent: Latent | None = None,
    active: bool = False,
) -> int:
    """All numbers that a model learns; active: without experts that are not visited.

    A tied matrix counts once. Embedding, head, router and shared experts are
    active: that is a convention, and published figures differ in it.

    >>> parameters(Config(vocabulary=100, width=8, layers=2, heads=4, hidden=10))
    1704
    """
    head = 0 if config.tied else config.vocabulary * config.width
    layers = layer_matrices(config, experts, latent, active)
    return embeddings(config) + layers + vectors(config, latent) + head
