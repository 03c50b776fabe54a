"""What tuning costs: numbers that learn, bytes that must be there, operations.

LoRA's savings are real and often misquoted. Gradients and moments shrink with the
share that learns, a hundredfold and more; the frozen weights stay, so all in all it
is about eightfold, and QLoRA (Dettmers et al. 2023) shrinks those as well. A step
still goes forward and back through every layer: at most a third is saved. Left out:
activations (scaling.activations), and the time of many small products.
"""

from collections.abc import Iterable

import torch
from torch import nn

from course_lib.scaling.memory import number_bytes, training_parts
from course_lib.transformer import Config

# ---- how much is trained


def trainable_share(model: nn.Module) -> tuple[int, int, float]:
    """How many numbers learn, how many there are, and the first divided by the second.

    The adapter's own numbers are in both counts; a tied matrix counts once.

    How: a parameter learns if its `requires_grad` says so.

    >>> frozen = nn.Linear(2, 6, bias=False).requires_grad_(False)
    >>> trainable_share(nn.ModuleList([frozen, nn.Linear(2, 2, bias=False)]))
    (4, 16, 0.25)
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return trained, total, trained / total


def linear_shapes(config: Config) -> dict[str, tuple[int, int]]:
    """The shape (out, in) of each linear layer of one block, by its name.

    >>> linear_shapes(Config(width=8, heads=4, kv_heads=2, hidden=10))["value"]
    (4, 8)
    """
    D, queries, keys = config.width, config.heads * config.K, config.kv_heads * config.K
    shapes = {"query": (queries, D), "key": (keys, D), "value": (keys, D)}
    shapes |= {"output": (D, queries), "gate": (config.hidden, D)}
    shapes |= {"up": (config.hidden, D), "down": (D, config.hidden)}
    if config.mlp == "gelu":
        del shapes["gate"]
    return shapes


def lora_count(shapes: Iterable[tuple[int, int]], rank: int) -> int:
    r"""Numbers in the adapter of layers of these shapes: $r \sum (in + out)$.

    GPT-2 keeps query, key and value in one matrix: 12 layers of 768 to 2304.

    How: A has r rows of `in` numbers, B has `out` rows of r.

    >>> lora_count([(2304, 768)] * 12, rank=8)
    294912
    """
    return sum(rank * (out + inner) for out, inner in shapes)


# ---- what tuning costs


def nf4_bits(block: int = 64, double: bool = False) -> float:
    """Bits of a weight in QLoRA's 4-bit form: each block of weights shares a scale.

    The scale is a number of 32 bits; double: of 8 bits, and 256 scales share one of
    32 bits (Dettmers et al. 2023, section 3).

    >>> nf4_bits(), round(nf4_bits(double=True), 3)
    (4.5, 4.127)
    """
    return 4 + (8 / block + 32 / (256 * block) if double else 32 / block)


def tuning_parts(
    frozen: float,
    trained: float,
    precision: str = "float32",
    mixed: bool = False,
    frozen_bits: float | None = None,
) -> dict[str, float]:
    """What tuning with AdamW keeps in memory, in bytes, part by part.

    frozen, trained: numbers of each kind. Full tuning freezes nothing; LoRA freezes
    the base, which must still be there; QLoRA keeps it in `frozen_bits` bits per
    number, `nf4_bits()`. Activations come on top (scaling.activations).

    How: frozen numbers need their own bytes only; the rest is `training_parts`.

    >>> [int(size) for size in tuning_parts(frozen=1000, trained=10).values()]
    [4000, 40, 40, 80, 0]
    """
    assert min(frozen, trained) >= 0, f"counts of at least 0: {frozen=} {trained=}"
    bits = 8 * number_bytes(precision) if frozen_bits is None else frozen_bits
    return {"frozen": frozen * bits / 8} | training_parts(trained, precision, mixed)


def measured_parts(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, float]:
    """The same by looking: bytes of the tensors that are there after a step.

    Measure between backward and `zero_grad`, when gradients are there. The
    optimizer's step counters, a number for each tensor, are left out.
    """
    parts = dict.fromkeys(tuning_parts(0, 0), 0.0)
    for p in model.parameters():
        parts["weights" if p.requires_grad else "frozen"] += p.nbytes
        parts["gradients"] += 0 if p.grad is None else p.grad.nbytes
        kept = optimizer.state.get(p, {}).values()
        parts["moments"] += sum(t.nbytes for t in kept if t.shape == p.shape)
    return parts


def step_flops(frozen: float, trained: float) -> float:
    """About how many operations a token costs: 6 for a weight that learns, else 4.

    Two to use a weight, two to pass the gradient on to what is below, and two for
    the gradient of the weight itself, which a frozen one is spared. Counts weights
    in matrices (not the embedding, which is looked up) and leaves attention out.

    >>> step_flops(frozen=0, trained=100), step_flops(frozen=100, trained=2)
    (600, 412)
    """
    return 4 * frozen + 6 * trained
