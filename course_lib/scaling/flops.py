"""How much arithmetic a model needs: floating-point operations, as a total.

A product of matrices takes two operations per weight and token: multiply and add.
Training takes three times the forward pass, since backward computes two products
for each one of it: hence C = 6 N D (Kaplan et al. 2020, section 2.1). It forgets
the scores of attention, which grow with the length of the text. FLOPs are an amount;
FLOP/s, a rate, belongs to machines and to cost.py. Left out: norms, activations, the
softmax and the optimiser's step, which are small, and recomputed activations.
"""

from course_lib.scaling.parameters import Experts, Latent, layer_matrices
from course_lib.transformer import Config


def train_flops(
    parameters: float,
    tokens: float,
    config: Config | None = None,
    length: int | None = None,
) -> float:
    r"""Operations of a whole training: $6ND$, and with a shape $12LHKTD$ more.

    parameters N; tokens D that are read, repeats included. config and length (T
    tokens of one text), given together, add the scores of attention, for all pairs
    of tokens, nothing halved.

    Six per parameter and token: a weight multiplies and adds once forward, which is
    2; backward takes 4, since it finds the gradient of the weight and that of the
    input, each with as many operations as forward.

    How: forward, 4 H K T per layer and token for the scores; times 3 with backward.

    >>> train_flops(7e9, 140e9)
    5.88e+21
    >>> config = Config(width=6, heads=2, head_width=4, layers=5)
    >>> train_flops(1000, 10, config, length=4)
    79200.0
    """
    assert (config is None) == (length is None), f"both or none: {config=} {length=}"
    each = 6 * parameters  # per token
    if config is not None:
        each += 12 * config.layers * config.heads * config.K * length
    return float(each * tokens)


def matrix_flops(
    config: Config, experts: Experts | None = None, latent: Latent | None = None
) -> int:
    """Forward operations per token in all matrices, the head among them.

    The embedding is looked up, not multiplied: it costs nothing. Of the experts
    only those count that a token visits.

    How: two per weight.

    >>> matrix_flops(Config(vocabulary=100, width=8, heads=4, hidden=10, layers=2))
    3328
    """
    layers = layer_matrices(config, experts, latent, active=True)
    return 2 * (layers + config.vocabulary * config.width)


def attention_flops(
    config: Config, length: int, causal: bool = False, latent: Latent | None = None
) -> float:
    r"""Forward operations per token in queries × keys and weights × values: $4LHKS$.

    S is the text's length, as if every token looked at every other: this is what
    most programs compute, and throw half of away. causal=True counts only what is
    used, on average (T + 1) / 2 tokens.

    >>> config = Config(width=8, heads=4, layers=2)
    >>> attention_flops(config, 9), attention_flops(config, 9, causal=True)
    (576.0, 320.0)
    """
    if length < 1:
        raise ValueError(f"A text has at least one token, not {length}.")
    seen = (length + 1) / 2 if causal else float(length)
    score, value = config.K, config.K
    if latent is not None:
        score, value = latent.plain + latent.rotary, latent.value
    return 2 * config.layers * config.heads * (score + value) * seen


def forward_flops(
    config: Config,
    length: int,
    causal: bool = False,
    experts: Experts | None = None,
    latent: Latent | None = None,
) -> float:
    """Operations to read one token, in the mean over a text of this length.

    >>> config = Config(vocabulary=100, width=8, heads=4, hidden=10, layers=2)
    >>> forward_flops(config, 9)
    3904.0
    """
    scores = attention_flops(config, length, causal, latent)
    return matrix_flops(config, experts, latent) + scores


def full_train_flops(
    config: Config,
    tokens: float,
    length: int,
    causal: bool = False,
    experts: Experts | None = None,
    latent: Latent | None = None,
) -> float:
    """Operations of a whole training, the term of attention included.

    tokens: all that are read; length: of one text.

    How: three times the forward pass, for each token.

    >>> config = Config(vocabulary=100, width=8, heads=4, hidden=10, layers=2)
    >>> full_train_flops(config, tokens=10, length=9)
    117120.0
    """
    return 3 * tokens * forward_flops(config, length, causal, experts, latent)


def attention_share(config: Config, length: int, parameters: float) -> float:
    """What 6 N D forgets, relative to what it counts: attention per token over 6 N.

    >>> attention_share(Config(width=8, heads=4, layers=2), length=9, parameters=576)
    0.5
    """
    return 3 * attention_flops(config, length) / (6 * parameters)
