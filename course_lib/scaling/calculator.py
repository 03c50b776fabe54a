"""A training on one page: from a shape and its tokens to days, money and bytes.

Every figure comes from the module of its idea; here they meet. Published models are
presets, so each figure can be held against a printed one. Notable: of a mixture the
active parameters count for compute, time and losses, although all laws were fitted
to models without experts. Left out: failed runs, later stages, activations.
"""

import math
from dataclasses import dataclass

from course_lib.scaling.cost import (
    GPUS,
    Gpu,
    emissions,
    energy,
    gpu_days,
    gpu_hours,
    price,
    wall_days,
)
from course_lib.scaling.flops import full_train_flops, train_flops
from course_lib.scaling.laws import (
    PRINTED,
    against_optimum,
    chinchilla_loss,
    kaplan_loss,
    optimal,
)
from course_lib.scaling.memory import inference_bytes, training_bytes
from course_lib.scaling.parameters import Experts, Latent, embeddings
from course_lib.scaling.published import PUBLISHED, Published
from course_lib.transformer import Config


@dataclass(frozen=True)
class Plan:
    """What a training takes and what to expect of it."""

    parameters: int  # all
    active: int  # used for one token
    tokens: float  # read in training
    compute: float  # operations, 6 N D with the active parameters
    full_compute: float  # operations with the scores of attention, nothing halved
    loss: float  # nats per token by Chinchilla's law, fitted again
    printed_loss: float  # the same with the constants that Hoffmann et al. printed
    kaplan_loss: float  # nats per token by Kaplan's joint law
    ratio: float  # tokens per active parameter
    best_ratio: float  # the same of the best model for this compute, refit
    best_parameters: float  # its size
    best_tokens: float  # and what it reads
    best_loss: float  # its loss, nats per token
    gpu_days: float  # of one GPU, for `compute` at the given utilisation
    days: float  # on the calendar
    cost: float  # rent, in the currency of the price
    kwh: float  # energy
    tonnes: float  # CO2 equivalent
    training_bytes: float  # weights, gradients, AdamW, mixed; without activations
    gpus_at_least: int  # whose memory holds these bytes, if they are divided
    inference_bytes: float  # weights and cache in 16 bits


def plan(
    shape: Config | str,
    tokens: float | None = None,
    length: int | None = None,
    gpu: str | None = None,
    mfu: float = 0.4,
    gpus: int = 1,
    per_hour: float = 2.0,
    per_kwh: float = 0.385,
    overhead: float = 1.1,
    batch: int = 1,
    context: int | None = None,
    experts: Experts | None = None,
    latent: Latent | None = None,
) -> Plan:
    """All figures of one training, and of serving the model afterwards.

    shape: a Config, with experts and latent, or the name of a published model. Its
    tokens and its GPU are the published ones unless given; otherwise the GPU is an
    A100. length: tokens of one training text (None: as published, or the context).
    mfu: share of the GPU's peak that is reached. per_hour: price of one GPU hour.
    per_kwh: kilograms of CO2; overhead: what the building adds, 1 = nothing. batch
    texts of `context` tokens are served at once (None: the model's longest).

    >>> plan("Llama-2-7B", gpus=256).gpu_days > plan("Llama-2-7B", mfu=0.5).gpu_days
    True
    """
    model = described(shape, experts, latent)
    config = model.config
    tokens = published_tokens(shape, model) if tokens is None else tokens
    if length is None:
        length = model.length or config.context
    context = config.context if context is None else context
    check_sizes(1, tokens=tokens, length=length, gpus=gpus)
    check_sizes(0, per_hour=per_hour, per_kwh=per_kwh, batch=batch, context=context)
    machine = found(gpu or model.gpu or "A100")
    return Plan(
        **operations(model, tokens, length),
        **expectations(model, tokens),
        **bill(model, tokens, machine, mfu, gpus, per_hour, per_kwh, overhead),
        **memories(model, machine, batch, context),
    )


# ---- the four parts of the page


def operations(model: Published, tokens: float, length: int) -> dict[str, float]:
    """Sizes and operations.

    >>> round(operations(PUBLISHED["GPT-3"], 300e9, 2048)["compute"] / 1e23, 2)
    3.14
    """
    config, experts, latent = model.config, model.experts, model.latent
    active = model.count(active=True)
    return {
        "parameters": model.count(),
        "active": active,
        "tokens": tokens,
        "compute": train_flops(active, tokens),
        "full_compute": full_train_flops(
            config, tokens, length, experts=experts, latent=latent
        ),
    }


def expectations(model: Published, tokens: float) -> dict[str, float]:
    """Losses by three sets of constants, and the best use of the same compute.

    Kaplan's law counts no embeddings; Chinchilla's counts all parameters.

    >>> round(expectations(PUBLISHED["Chinchilla"], 1.4e12)["ratio"])
    20
    """
    N, config = model.count(active=True), model.config
    head = 0 if config.tied else config.vocabulary * config.width
    ratio, best_ratio = against_optimum(N, tokens)
    best = optimal(train_flops(N, tokens))
    return {
        "loss": chinchilla_loss(N, tokens),
        "printed_loss": chinchilla_loss(N, tokens, PRINTED),
        "kaplan_loss": kaplan_loss(N - embeddings(config) - head, tokens),
        "ratio": ratio,
        "best_ratio": best_ratio,
        "best_parameters": best[0],
        "best_tokens": best[1],
        "best_loss": chinchilla_loss(*best),
    }


def bill(
    model: Published,
    tokens: float,
    machine: Gpu,
    mfu: float,
    gpus: int = 1,
    per_hour: float = 2.0,
    per_kwh: float = 0.385,
    overhead: float = 1.1,
) -> dict[str, float]:
    """Time, rent, energy and carbon dioxide of the 6 N D operations.

    >>> a100 = GPUS["A100"]
    >>> round(bill(PUBLISHED["LLaMA-7B"], 1e12, a100, mfu=0.4)["gpu_days"])
    3750
    """
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu is a share, above 0 and at most 1, not {mfu}.")
    compute = train_flops(model.count(active=True), tokens)
    hours = gpu_hours(compute, machine.peak, mfu)
    kwh = energy(hours, machine.watts, overhead)
    return {
        "gpu_days": gpu_days(compute, machine.peak, mfu),
        "days": wall_days(hours, gpus),
        "cost": price(hours, per_hour),
        "kwh": kwh,
        "tonnes": emissions(kwh, per_kwh),
    }


def memories(
    model: Published, machine: Gpu, batch: int, context: int
) -> dict[str, float]:
    """Bytes for training before any activation, and for serving `batch` texts.

    >>> memories(PUBLISHED["GPT-3"], GPUS["V100"], 1, 2048)["gpus_at_least"]
    88
    """
    N = model.count()
    training = training_bytes(N, "bfloat16", mixed=True)
    return {
        "training_bytes": training,
        "gpus_at_least": math.ceil(training / machine.memory),
        "inference_bytes": inference_bytes(
            N, model.config, batch, context, latent=model.latent
        ),
    }


# ---- what was asked for, or a sentence


def described(
    shape: Config | str, experts: Experts | None, latent: Latent | None
) -> Published:
    """A shape in the form of the published ones, or the published one of this name.

    >>> described("GPT-3", None, None).config.layers
    96
    """
    if isinstance(shape, Config):
        return Published(shape, "", "", experts=experts, latent=latent)
    if shape not in PUBLISHED:
        names = ", ".join(PUBLISHED)
        raise ValueError(f"No published model is called {shape} here, only {names}.")
    if experts is not None or latent is not None:
        raise ValueError(f"{shape} has its own experts: change them in a Config.")
    return PUBLISHED[shape]


def published_tokens(shape: Config | str, model: Published) -> float:
    """Tokens that a published model read.

    >>> published_tokens("GPT-3", PUBLISHED["GPT-3"])
    300000000000.0
    """
    if model.tokens is None:
        name = shape if isinstance(shape, str) else "this shape"
        raise ValueError(f"How many tokens? Nothing was published about {name}.")
    return model.tokens


def found(gpu: str) -> Gpu:
    """The data sheet of this GPU.

    >>> found("A100").watts
    400
    """
    if gpu not in GPUS:
        raise ValueError(f"No GPU is called {gpu} here, only {', '.join(GPUS)}.")
    return GPUS[gpu]


def check_sizes(least: int, **sizes: float) -> None:
    """Raise a sentence about the first size that is too small, or no number.

    >>> check_sizes(1, gpus=8, length=2048)
    """
    for name, size in sizes.items():
        if not least <= size < math.inf:  # also nan
            raise ValueError(f"{name} is at least {least} and finite, not {size}.")
