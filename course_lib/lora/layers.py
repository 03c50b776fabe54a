"""LoRA: beside a frozen matrix, two thin ones learn the difference.

Hu et al. (2022, eq. 3): W stays as it is, and B A, of rank r, is added to what it
says, times alpha / r. B starts at zero, so the first step begins with the very model
that was there; merged into W, the difference costs nothing any more. Layers are
wrapped in place and by name, in any model. Tokens that a base never said have hardly
a vector of their own, and no layer below can give them one: a few rows of the
embedding may learn as well. Left out: ranks that differ by layer, and the many
variants (DoRA, rank-stabilised scales, other starts).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

ATTENTION = ("query", "key", "value", "output")
ALL = (*ATTENTION, "gate", "up", "down")  # every linear layer of a SwiGLU block

# ---- one layer


class LoRALinear(nn.Module):
    """A linear layer that is frozen, and beside it a narrow one that learns."""

    BASE, LEARNED = "linear", ("A", "B")

    def __init__(
        self,
        linear: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ):
        r"""A (rank, in) is drawn as in a new linear layer, B (out, rank) is zero.

        alpha: the layer adds alpha / rank times what A and B say. dropout: share of
        the numbers that A does not get to see while it trains. generator: draws A,
        on the CPU.

        How: each number of A is uniform between $-1/\sqrt{in}$ and $1/\sqrt{in}$
        (Kaiming's rule with a = sqrt 5); both have the weight's type and device.
        """
        super().__init__()
        if rank < 1:
            raise ValueError(f"The rank of an adapter is at least 1, not {rank}.")
        drawn = torch.empty(rank, linear.in_features)
        nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        self.alpha, self.dropout = alpha, nn.Dropout(dropout)
        self.linear = linear.requires_grad_(False)
        self.A = nn.Parameter(drawn.to(linear.weight))
        self.B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        self.train(linear.training)  # in a model that is not learning, nothing drops

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    @property
    def scale(self) -> float:
        """alpha / rank: with it, another rank asks for no other learning rate."""
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:
        r"""$Wx + b + \frac{\alpha}{r} B A x$: (..., in) to (..., out).

        How: two products, first with A, since B A written out is as large as W; scale
        the narrow vector in between, which is the shortest.
        """
        narrow = self.scale * (self.dropout(x) @ self.A.T)  # (..., rank)
        return self.linear(x) + narrow @ self.B.T

    def merged(self) -> nn.Linear:
        r"""One plain linear layer that says the same: $W + \frac{\alpha}{r} B A$.

        A new layer with weights of its own, not frozen; this one does not change.

        How: copy the linear layer and add the product to the copy's weight.
        """
        plain = deepcopy(self.linear).requires_grad_(True)
        with torch.no_grad():
            plain.weight += self.scale * (self.B @ self.A)  # (out, in)
        return plain


# ---- new words


class LearnedRows(nn.Module):
    """An embedding that is frozen, but for what a few of its rows learn to add.

    In a tied model the same rows are read and scored.
    """

    BASE, LEARNED = "frozen", ("rows", "ids")

    def __init__(self, embedding: nn.Embedding, ids: Sequence[int]):
        """ids: the tokens whose vectors learn. What they add starts at zero."""
        super().__init__()
        chosen = torch.tensor(sorted(set(ids)), device=embedding.weight.device)
        if not ids or chosen[0] < 0 or chosen[-1] >= embedding.num_embeddings:
            raise ValueError(
                f"Rows that learn are tokens from 0 to {embedding.num_embeddings - 1}, "
                f"at least one, not {[*ids][:3]}."
            )
        self.frozen = embedding.requires_grad_(False)
        self.register_buffer("ids", chosen)
        start = embedding.weight.new_zeros(len(chosen), embedding.embedding_dim)
        self.rows, self.alpha = nn.Parameter(start), 1.0
        self.train(embedding.training)

    @property
    def weight(self) -> Tensor:
        """The whole matrix (V, D) as it is now: what a tied head multiplies with."""
        return self.frozen.weight.index_add(0, self.ids, self.alpha * self.rows)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) to vectors (..., D)."""
        return functional.embedding(ids, self.weight)

    def merged(self) -> nn.Embedding:
        """One plain embedding that says the same, with weights of its own."""
        plain = deepcopy(self.frozen).requires_grad_(True)
        with torch.no_grad():
            plain.weight.copy_(self.weight)
        return plain


def learn_rows(model: nn.Module, ids: Sequence[int]) -> None:
    """Let these tokens' vectors learn beside the adapter of a Transformer. In place.

    For words that the base never said, a special token above all. Call it after
    `add_lora`, which freezes everything.
    """
    if not lora_layers(model) or isinstance(model.embed, LearnedRows):
        raise ValueError("Rows learn beside an adapter, once: call add_lora before.")
    model.embed = LearnedRows(model.embed, ids)


# ---- in a model


def linear_kinds(model: nn.Module) -> dict[str, int]:
    """The last names of a model's linear layers, and how many bear each.

    These are the names that `add_lora` can be asked for. Layers of another class,
    such as the Conv1D of transformers' GPT-2, are none.

    >>> from course_lib.transformer import Config, Transformer
    >>> linear_kinds(Transformer(Config(layers=2, mlp="gelu")))
    {'query': 2, 'key': 2, 'value': 2, 'output': 2, 'up': 2, 'down': 2}
    """
    kinds: dict[str, int] = {}
    for name, module in model.named_modules():
        if type(module) is nn.Linear:  # a subclass may do more than multiply
            kind = name.rpartition(".")[2]
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """All layers that carry an adapter, by name, from the first to the last.

    Known by their `LEARNED`, so that a class of a learner's own counts as well.
    """
    found = model.named_modules()
    mark = LoRALinear.LEARNED
    return {name: m for name, m in found if getattr(m, "LEARNED", None) == mark}


def wrapped_layers(model: nn.Module) -> dict[str, LoRALinear | LearnedRows]:
    """The same, and the embedding if rows of it learn."""
    marks, found = (LoRALinear.LEARNED, LearnedRows.LEARNED), model.named_modules()
    return {name: m for name, m in found if getattr(m, "LEARNED", None) in marks}


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Set the module of this name in the place of the one that is there.

    >>> model = nn.Sequential(nn.Linear(2, 3))
    >>> put(model, "0", nn.ReLU())
    >>> model[0]
    ReLU()
    """
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def add_lora(
    model: nn.Module,
    targets: Iterable[str] = ("query", "value"),
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
    layer: type[LoRALinear] = LoRALinear,
) -> list[str]:
    """Wrap every linear layer that bears one of these names; freeze all the rest.

    Changes the model in place. What it says stays exactly the same until the first
    step. targets: last names, as `linear_kinds` lists them. layer: a class like
    `LoRALinear`. Returns the full names of the wrapped layers.

    How: make all layers first, since wrapping changes what is listed, then freeze
    the model, then put them in.

    >>> from course_lib.transformer import Config, Transformer
    >>> add_lora(Transformer(Config(layers=1)), ("query", "down"), rank=2)
    ['blocks.0.attention.query', 'blocks.0.mlp.down']
    """
    targets = check_targets(model, targets)
    layers = {
        name: layer(module, rank, alpha, dropout, generator)
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name.rpartition(".")[2] in targets
    }
    model.requires_grad_(False)
    for name, wrapped in layers.items():
        put(model, name, wrapped)
    return [*layers]


def check_targets(model: nn.Module, targets: Iterable[str]) -> set[str]:
    """The names as a set, if the model is plain and has linear layers of each."""
    targets = {targets} if isinstance(targets, str) else set(targets)
    if lora_layers(model):
        raise ValueError(
            "This model carries an adapter: merge it or take it off first."
        )
    kinds = linear_kinds(model)
    unknown = sorted(targets - kinds.keys()) if targets else ["nothing"]
    if unknown:
        raise ValueError(
            f"No linear layer of this model is called {unknown[0]}; "
            f"there are: {', '.join(kinds) or 'none'}."
        )
    return targets


def merge_lora(model: nn.Module) -> list[str]:
    """Put what was learned into the weights: a plain model again, nothing frozen.

    In place. Says the same up to rounding, and is as fast as it was before. Returns
    the names of the layers that were merged.
    """
    layers = wrapped_layers(model)
    for name, layer in layers.items():
        put(model, name, layer.merged())
    model.requires_grad_(True)
    return [*layers]


def remove_lora(model: nn.Module) -> list[str]:
    """Take the adapter off: the base with its very bits, nothing frozen. In place."""
    layers = wrapped_layers(model)
    for name, layer in layers.items():
        put(model, name, getattr(layer, layer.BASE))
    model.requires_grad_(True)
    return [*layers]


@contextmanager
def lora_off(model: nn.Module) -> Iterator[None]:
    """Within the block the model speaks as its base: one model in memory is two.

    >>> model = nn.Sequential(LoRALinear(nn.Linear(2, 2), rank=1, alpha=3))
    >>> with lora_off(model):
    ...     model[0].scale
    0.0
    >>> model[0].scale
    3.0
    """
    layers = wrapped_layers(model).values()
    alphas = [layer.alpha for layer in layers]
    for layer in layers:
        layer.alpha = 0.0
    try:
        yield
    finally:
        for layer, alpha in zip(layers, alphas, strict=True):
            layer.alpha = alpha
