"""What loss to expect from a model of N parameters that read D tokens.

Kaplan et al. (2020, eq. 1.5) found one law, Hoffmann et al. (2022, eq. 2, called
Chinchilla) another, with a floor that no model falls below. The constants printed
there contradict the paper's own advice; Besiroglu et al. (2024) fitted its data
again. Notable: a law is data, so both sets can be compared. All losses are in nats
per token; D counts tokens here, as in the papers, not the width.
Left out: repeated data, and the schedule's influence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kaplan:
    """Constants of Kaplan's law; at a scale its power law alone reaches 1 nat."""

    size_scale: float  # N_c, parameters without embeddings
    data_scale: float  # D_c, tokens
    size_exponent: float  # alpha_N
    data_exponent: float  # alpha_D


@dataclass(frozen=True)
class Chinchilla:
    """Constants of Chinchilla's law: a floor, and two powers that fall to it."""

    E: float  # nats that remain: the entropy of text
    A: float  # size of the term of parameters
    B: float  # size of the term of tokens
    alpha: float  # its exponent, for parameters
    beta: float  # and for tokens


# They stand in arXiv 2001.08361 (Kaplan et al.), 2203.15556 (Hoffmann et al.) and
# 2404.10102 (Besiroglu et al.).
PF_DAY = 1e15 * 86400  # operations of one petaflop per second for a day
KAPLAN_JOINT = Kaplan(6.4e13, 1.8e13, 0.076, 0.103)  # table 2: both fitted at once
KAPLAN_ALONE = Kaplan(8.8e13, 5.4e13, 0.076, 0.095)  # eq. 1.1, 1.2: one at a time
KAPLAN_COMPUTE = (3.1e8 * PF_DAY, 0.050)  # eq. 1.3: scale and exponent of C_min
PRINTED = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)  # Hoffmann et al., eq. 10
UNROUNDED = Chinchilla(  # a comment behind eq. 10 in the paper's TeX source
    math.exp(0.5267228), math.exp(6.0073404), math.exp(6.0179186),
    alpha=0.33917084, beta=0.2849083,
)  # fmt: skip
REFIT = Chinchilla(1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # Besiroglu et al.


# ---- two laws


def power_law(x: float, scale: float, exponent: float) -> float:
    r"""A loss that falls by one factor whenever x grows by another: $(c/x)^\alpha$.

    >>> power_law(100.0, scale=1.0, exponent=0.5)
    0.1
    """
    return (scale / x) ** exponent


def size_alone(parameters: float, law: Kaplan = KAPLAN_JOINT) -> float:
    """Kaplan's law of the size, as if text were endless.

    >>> round(size_alone(7e9), 2)
    2.0
    """
    return power_law(parameters, law.size_scale, law.size_exponent)


def data_alone(tokens: float, law: Kaplan = KAPLAN_JOINT) -> float:
    """Kaplan's law of the text, as if the model were endless.

    >>> round(data_alone(140e9), 2)
    1.65
    """
    return power_law(tokens, law.data_scale, law.data_exponent)


def growth_for(share: float, exponent: float) -> float:
    r"""By what factor x must grow until a power law falls to this share of itself.

    How: $\text{share}^{-1/\alpha}$.

    >>> growth_for(0.5, exponent=0.5)
    4.0
    """
    return share ** (-1 / exponent)


def kaplan_loss(parameters: float, tokens: float, law: Kaplan = KAPLAN_JOINT) -> float:
    r"""Kaplan's joint law: $[(N_c/N)^{\alpha_N/\alpha_D} + D_c/D]^{\alpha_D}$.

    With endless data it is the power law of N alone, and with an endless model that
    of D alone. It has no floor. parameters do not count embeddings; either number,
    or both, may be math.inf.

    >>> round(kaplan_loss(7e9, 140e9), 2)
    2.03
    """
    ratio = law.size_exponent / law.data_exponent
    size = (law.size_scale / parameters) ** ratio
    return (size + law.data_scale / tokens) ** law.data_exponent


def kaplan_compute_loss(compute: float) -> float:
    r"""Kaplan's law of compute spent well: $(C_c/C)^{0.050}$ (eq. 1.3).

    compute in operations, without embeddings, at the best size for it, endless data
    and small batches.

    >>> round(kaplan_compute_loss(5.88e21), 2)
    2.15
    """
    return power_law(compute, *KAPLAN_COMPUTE)


def chinchilla_loss(parameters: float, tokens: float, law: Chinchilla = REFIT) -> float:
    r"""Chinchilla's parametric law: $E + A/N^\alpha + B/D^\beta$.

    >>> round(chinchilla_loss(7e9, 140e9, PRINTED), 2)
    2.18
    """
    return law.E + law.A / parameters**law.alpha + law.B / tokens**law.beta


# ---- the best use of a budget


def optimal(compute: float, law: Chinchilla = REFIT) -> tuple[float, float]:
    r"""Parameters and tokens of least loss with $6ND = C$ (Hoffmann et al., eq. 4).

    compute: C operations, above 0. Returns (N, D), exact to six digits.

    How: D = C / 6N turns the loss into a function of N; its derivative is 0 there:
    $N = G\,(C/6)^{\beta/(\alpha+\beta)}$ with
    $G = (\alpha A / \beta B)^{1/(\alpha+\beta)}$.

    >>> N, D = optimal(5.88e21)
    >>> round(N / 1e9, 1), round(D / 1e9)
    (6.9, 142)
    """
    assert compute > 0, f"a budget is more than 0 operations: {compute=}"
    both = law.alpha + law.beta
    G = (law.alpha * law.A / (law.beta * law.B)) ** (1 / both)
    N = G * (compute / 6) ** (law.beta / both)
    return N, compute / (6 * N)


def against_optimum(
    parameters: float, tokens: float, law: Chinchilla = REFIT
) -> tuple[float, float]:
    r"""Tokens per parameter of this model, and of the best one of the same compute.

    The best one is that of `optimal` at $C = 6ND$. Returns (this model's, the best
    one's). If the first is larger, the model is smaller than the best, reading more.

    >>> [round(ratio, 1) for ratio in against_optimum(7e9, 2e12)]
    [285.7, 19.3]
    """
    N, D = optimal(6 * parameters * tokens, law)
    return tokens / parameters, D / N


def lowest(
    function: Callable[[float], float], low: float, high: float, steps: int = 100
) -> float:
    """Where a function with one valley is lowest between low and high, both above 0.

    How: of two points at the thirds of the logarithmic scale, the worse one becomes
    the end of a shorter interval.

    >>> round(lowest(lambda x: (x - 3) ** 2, 1e-3, 1e6), 3)
    3.0
    """
    assert 0 < low < high, f"an interval above 0: {low=} {high=}"
    for _ in range(steps):
        third = (high / low) ** (1 / 3)
        left, right = low * third, high / third
        if function(left) < function(right):
            high = right
        else:
            low = left
    return math.sqrt(low * high)


def search_optimal(compute: float, law: Chinchilla = REFIT) -> tuple[float, float]:
    """The same as `optimal`, found by trying sizes: works for any law of N and D.

    >>> N, D = search_optimal(5.88e21)
    >>> round(D / N)
    21
    """
    N = lowest(lambda n: chinchilla_loss(n, compute / (6 * n), law), 1.0, compute / 6)
    return N, compute / (6 * N)


# ---- away from the best


def tokens_for(loss: float, parameters: float, law: Chinchilla = REFIT) -> float:
    r"""Tokens after which a model of this size reaches the loss.

    Solves Chinchilla's law for D. Raises ValueError if the model is too small to
    reach it, however long it reads.

    >>> loss = chinchilla_loss(7e9, 140e9)
    >>> round(tokens_for(loss, 7e9) / 1e9)
    140
    """
    rest = loss - law.E - law.A / parameters**law.alpha
    if rest <= 0:
        raise ValueError(
            f"{parameters:.3g} parameters end at {loss - rest:.3f} nats, "
            f"so no number of tokens brings them to {loss:.3f}."
        )
    return (law.B / rest) ** (1 / law.beta)


def overtraining(compute: float, share: float, law: Chinchilla = REFIT) -> float:
    """By what factor compute grows if `share` times the best size is to do as well.

    1 at share 1, and more on both sides. A smaller model must read more than it
    saves, and below some size it cannot catch up: ValueError.

    >>> overtraining(1e21, 0.5) > overtraining(1e21, 0.9) > 1
    True
    """
    N, D = optimal(compute, law)
    small = share * N
    tokens = tokens_for(chinchilla_loss(N, D, law), small, law)
    return 6 * small * tokens / compute


def lifetime_flops(parameters: float, tokens: float, served: float) -> float:
    """Operations of training and of S tokens served afterwards: 6 N D + 2 N S.

    >>> lifetime_flops(10.0, 100.0, served=300.0)
    12000.0
    """
    return 6 * parameters * tokens + 2 * parameters * served


def cheapest(
    loss: float, served: float, law: Chinchilla = REFIT
) -> tuple[float, float]:
    """Size and tokens that reach a loss at least cost, if `served` tokens follow.

    With served=0 it is `optimal` for the compute at which that reaches the loss
    (Sardana et al. 2023). Returns (N, D).

    >>> cheapest(2.2, served=1e13)[0] < cheapest(2.2, served=0)[0]
    True
    """
    if loss <= law.E:
        raise ValueError(f"No model falls below {law.E} nats: {loss} is out of reach.")
    smallest = (law.A / (loss - law.E)) ** (1 / law.alpha)  # with endless data
    N = lowest(
        lambda n: lifetime_flops(n, tokens_for(loss, n, law), served),
        smallest * (1 + 1e-6),
        smallest * 1e6,
    )
    return N, tokens_for(loss, N, law)
