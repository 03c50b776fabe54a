"""Adapters: what was learned, taken off the base, kept, and put on again.

One base in memory serves many tasks, each with an adapter of a few per cent (Hu et
al. 2022, section 4.2). The numbers of an adapter mean nothing beside other weights
than those they were trained with, and nothing about their shapes tells. So an
adapter carries the fingerprint of its base, and another base refuses it. Left out:
several adapters at once, and their sums.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.lora.layers import LoRALinear, lora_layers, wrapped_layers


@dataclass(frozen=True)
class Adapter:
    """What tuning learned, and the base without which it means nothing."""

    weights: dict[str, Tensor]  # A and B of each layer, and rows with their tokens
    alpha: float  # the same for all layers
    base: str  # fingerprint of the weights beside which they were trained


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of A and B of every layer, and nothing of the base, under full names.

    If rows of the embedding learn, those too, and which they are.

    How: go through the wrapped layers; each lists in `LEARNED` what is its own.

    >>> model = nn.Sequential(LoRALinear(nn.Linear(3, 4), rank=2, alpha=1))
    >>> {name: tuple(part.shape) for name, part in adapter_state(model).items()}
    {'0.A': (2, 3), '0.B': (4, 2)}
    """
    return {
        f"{name}.{part}": getattr(layer, part).detach().clone()
        for name, layer in wrapped_layers(model).items()
        for part in layer.LEARNED
    }


def fingerprint(model: nn.Module) -> str:
    """Sixteen signs that tell one base from another, with or without an adapter on it.

    Names, types and all bits of the weights enter, those of an adapter do not.

    >>> from course_lib.lora.layers import add_lora
    >>> base = nn.Sequential(nn.Linear(3, 4))
    >>> before = fingerprint(base)
    >>> names = add_lora(base, ["0"])
    >>> fingerprint(base) == before
    True
    """
    carried = adapter_state(model).keys()
    layers = wrapped_layers(model)
    wrapped = {f"{name}.{layer.BASE}": name for name, layer in layers.items()}
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name in carried:
            continue
        part, _, leaf = name.rpartition(".")
        digest.update(f"{wrapped.get(part, part)}.{leaf} {tensor.dtype}".encode())
        numbers = tensor.detach().cpu().contiguous().flatten()
        digest.update(numbers.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def one_setting(layers: Iterable[LoRALinear]) -> tuple[int, float, float]:
    """Rank, alpha and dropout that all layers share, or a sentence that they do not."""
    found = {(layer.rank, layer.alpha, layer.dropout.p) for layer in layers}
    if not found:
        raise ValueError("This model carries no adapter: call add_lora first.")
    if len(found) > 1:
        raise ValueError(
            f"The layers of one adapter share rank, alpha and dropout, not {found}."
        )
    return found.pop()


def take_adapter(model: nn.Module) -> Adapter:
    """A copy of the model's adapter, to be put on the same base later."""
    _, alpha, _ = one_setting(lora_layers(model).values())
    return Adapter(adapter_state(model), alpha, fingerprint(model))


def load_adapter(model: nn.Module, adapter: Adapter) -> None:
    """Put an adapter in the place of the one that the model carries.

    The model keeps its base, so swapping costs a copy of A and B. An adapter of
    another base, other layers or another rank is refused before anything changes.
    """
    one_setting(lora_layers(model).values())
    mine = adapter_state(model)
    check_fit(mine, adapter.weights)
    found = fingerprint(model)
    if found != adapter.base:
        raise ValueError(
            f"The adapter was trained on another base ({adapter.base}, this one is "
            f"{found}): it would change this one at random."
        )
    with torch.no_grad():
        for name, layer in wrapped_layers(model).items():
            for part in layer.LEARNED:
                getattr(layer, part).copy_(adapter.weights[f"{name}.{part}"])
        for layer in lora_layers(model).values():
            layer.alpha = adapter.alpha


def check_fit(mine: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Whether given holds exactly the parts that mine has, in their shapes."""
    for what, names in (
        ("lacks", mine.keys() - given.keys()),
        ("also holds", given.keys() - mine.keys()),
    ):
        if names:
            raise ValueError(f"The adapter {what} {min(names)} ({len(names)} in all).")
    for name, tensor in mine.items():
        if tensor.shape != given[name].shape:
            raise ValueError(
                f"{name} of the adapter has shape {tuple(given[name].shape)}, but this "
                f"model was given {tuple(tensor.shape)}: is the rank another one?"
            )
