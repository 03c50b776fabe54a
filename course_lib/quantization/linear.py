"""A model whose matrices are stored in few bits, and what that saves.

`quantized(model, quantize_weight)` is a copy in which every linear layer keeps what
`quantize_weight` made of its matrix: `round_to_nearest`, `nf4`, `gptq`, a GGUF block
format, or a function of your own. The matrix is made anew whenever it is needed, so
this saves memory and no time; kernels that read codes directly save both. A layer
that carries LoRA is quantized underneath, which makes it QLoRA. Layers of another
class are left alone, GPT-2's Conv1D of transformers above all, and so are
embeddings unless one asks for them. Left out: keeping activations small.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional

Store = Callable[[Tensor], nn.Module]  # a matrix to its storage, which gives it back
See = Callable[[str, Tensor], object]  # a layer's name and what it reads, (N, in)


class QuantizedLinear(nn.Module):
    """A linear layer whose matrix lies in storage; its bias is a float as before."""

    def __init__(self, store: nn.Module, bias: Tensor | None = None):
        """store: called without arguments it gives the matrix; it has a `shape`."""
        super().__init__()
        self.store = store
        self.out_features, self.in_features = store.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.requires_grad_(False)

    @property
    def weight(self) -> Tensor:
        """The matrix (out, in), made anew at every call."""
        return self.store()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) to (..., out); gradients flow to x, never to the codes."""
        return functional.linear(x, self.weight.to(x.dtype), self.bias)

    def plain(self) -> nn.Linear:
        """An ordinary layer with the numbers that the codes stand for."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        layer.weight = nn.Parameter(self.weight)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().clone())
        return layer.train(self.training)


class QuantizedEmbedding(nn.Module):
    """An embedding in storage; a tied head multiplies with its `weight`."""

    def __init__(self, store: nn.Module):
        super().__init__()
        self.store = store

    @property
    def weight(self) -> Tensor:
        return self.store()

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) to vectors (..., D)."""
        return functional.embedding(ids, self.weight)


# ---- copies of models


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """All plain linear layers by name, those beneath an adapter too.

    >>> list(linears(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))))
    ['0', '2']
    """
    return {n: m for n, m in model.named_modules() if type(m) is nn.Linear}


def replaced(model: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """A copy with other modules under these names. The model itself stays as it is.

    What is replaced is never copied, so memory need not hold it twice.

    >>> replaced(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), {"0": nn.Identity()})[0]
    Identity()
    """
    modules = dict(model.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise ValueError(f"This model has no module called {unknown[0]!r}.")
    return deepcopy(model, {id(modules[name]): new for name, new in layers.items()})


def quantized(
    model: nn.Module,
    quantize_weight: Store,
    skip: Iterable[str] = (),
    embedding: Store | None = None,
) -> nn.Module:
    """A copy of the model with every linear layer's matrix in storage.

    quantize_weight: a matrix (out, in) to a module that gives it back when called.
    skip: full names of layers that stay as they are. embedding: the same for the
    embeddings of tokens. Layers of one matrix are stored once for each.

    >>> from course_lib.quantization.codebooks import nf4
    >>> quantized(nn.Sequential(nn.Linear(64, 2)), nf4)[0].weight.shape
    torch.Size([2, 64])
    """
    skip, layers = set(skip), {}
    for name, module in model.named_modules():
        if type(module) is nn.Linear and name not in skip:
            store = named(name, quantize_weight, module.weight)
            layers[name] = QuantizedLinear(store, module.bias).train(module.training)
        elif type(module) is nn.Embedding and embedding and name not in skip:
            layers[name] = QuantizedEmbedding(named(name, embedding, module.weight))
    if not layers:
        raise ValueError(
            "Nothing was quantized: the model has no layer of the class nn.Linear."
        )
    return replaced(model, layers)


def named(name: str, quantize_weight: Store, weight: Tensor) -> nn.Module:
    """The storage of one matrix; what is refused is refused by the layer's name."""
    try:
        return quantize_weight(weight.detach())
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def unpacked(model: nn.Module) -> nn.Module:
    """A copy with ordinary float layers that say the same: faster, and large again.

    For measuring many texts, and before an adapter is merged.
    """
    found = model.named_modules()
    layers = {n: m.plain() for n, m in found if isinstance(m, QuantizedLinear)}
    return replaced(model, layers)


# ---- what flows through


@contextmanager
def watching(
    model: nn.Module, see: See, names: Iterable[str] | None = None
) -> Iterator[None]:
    """Within the block, `see(name, x)` is called whenever a layer reads x (N, in).

    names: the layers; None: all plain linear ones.

    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> with watching(model, lambda name, x: print(name, x.shape)):
    ...     _ = model(torch.zeros(4, 5, 3))
    0 torch.Size([20, 3])
    """

    def hook(name: str) -> Callable:
        return lambda module, inputs: (
            see(name, inputs[0].detach().flatten(0, -2)) and None
        )

    chosen = list(linears(model)) if names is None else list(names)
    handles = [
        model.get_submodule(name).register_forward_pre_hook(hook(name))
        for name in chosen
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# ---- what it weighs


def stored_bytes(model: nn.Module) -> int:
    """The bytes of all that a file of this model holds; what is tied counts once.

    >>> stored_bytes(nn.Linear(3, 2))
    32
    """
    tensors = {t.data_ptr(): t.nbytes for t in model.state_dict().values()}
    return sum(tensors.values())


def predicted_bytes(
    linear: int, rest: int, bits: float = 8, rest_bits: float = 32
) -> float:
    """How large a file becomes when only the linear layers' matrices shrink.

    linear: weights in linear layers; rest: all other numbers: embeddings, norms,
    biases. BERT-base has 85.5 and 24.0 million of them, so it does not become four
    times smaller:

    How: each kind times its own bits, 8 bits a byte.

    >>> before = predicted_bytes(85_500_000, 24_000_000, bits=32)
    >>> round(before / predicted_bytes(85_500_000, 24_000_000, bits=8), 2)
    2.41
    """
    return (linear * bits + rest * rest_bits) / 8


def linear_share(model: nn.Module) -> tuple[int, int]:
    """Numbers in the matrices of plain linear layers, and all others.

    Counts what is there: Conv1D of transformers' GPT-2 is no linear layer, and a
    matrix that a linear layer shares with the embedding stays for the embedding.
    """
    kept = {
        p.data_ptr()
        for m in model.modules()
        if isinstance(m, nn.Embedding)
        for p in m.parameters()
    }
    matrices = [
        m.weight for m in linears(model).values() if m.weight.data_ptr() not in kept
    ]
    linear = sum(weight.numel() for weight in matrices)
    return linear, sum(p.numel() for p in model.parameters()) - linear
