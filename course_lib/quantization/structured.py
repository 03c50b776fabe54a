"""Take whole neurons and heads away: the matrices themselves become smaller.

Unlike zeros scattered over a matrix, a neuron or a head that is gone is neither
stored nor multiplied, on any machine (Michel et al. 2019 for heads). It costs more
quality for each weight that goes, and training on makes up for some of it. Which
parts go is asked of the weights alone. Left out: removing layers and channels of the
stream, and criteria that look at texts.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from course_lib.quantization.linear import replaced
from course_lib.transformer import Transformer

# ---- what may go


def neuron_scores(mlp: nn.Module) -> Tensor:
    """How much each neuron of an MLP can say: (hidden,), to rank what may go.

    How: the length of its column in `down` times that of its row in `up`.
    """
    return mlp.down.weight.norm(dim=0) * mlp.up.weight.norm(dim=1)


def head_scores(attention: nn.Module) -> Tensor:
    """How much each query head can write to the stream, to rank what may go: (H,).

    How: the length of its columns of `output`.
    """
    columns = attention.output.weight.unflatten(1, (-1, attention.K))  # (D, H, K)
    return columns.norm(dim=(0, 2))


# ---- smaller layers


@torch.no_grad()
def cut_linear(
    layer: nn.Linear, rows: Tensor | None = None, columns: Tensor | None = None
) -> nn.Linear:
    """A smaller layer with these outputs and these inputs only, in their order.

    >>> cut_linear(nn.Linear(4, 3), rows=torch.tensor([2, 0])).weight.shape
    torch.Size([2, 4])
    """
    weight, bias = layer.weight, layer.bias
    weight = weight if rows is None else weight[rows]
    weight = weight if columns is None else weight[:, columns]
    smaller = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    smaller.weight = nn.Parameter(weight.clone())
    if bias is not None:
        smaller.bias = nn.Parameter(bias.clone() if rows is None else bias[rows])
    return smaller.train(layer.training)


def cut_neurons(mlp: nn.Module, kept: Tensor) -> dict[str, nn.Linear]:
    """The layers of an MLP with these neurons (n,) only, by their names."""
    wide = [name for name in ("gate", "up") if hasattr(mlp, name)]
    layers = {name: cut_linear(getattr(mlp, name), rows=kept) for name in wide}
    return layers | {"down": cut_linear(mlp.down, columns=kept)}


def cut_heads(attention: nn.Module, kept: Tensor) -> dict[str, nn.Linear]:
    """The layers of attention with these key-value heads (n,) and their queries.

    Query heads that share keys and values go together with them.
    """
    K = attention.K
    shared = attention.query.out_features // attention.key.out_features
    keys = (kept[:, None] * K + torch.arange(K)).flatten()
    queries = (kept[:, None] * shared * K + torch.arange(shared * K)).flatten()
    return {
        "query": cut_linear(attention.query, rows=queries),
        "key": cut_linear(attention.key, rows=keys),
        "value": cut_linear(attention.value, rows=keys),
        "output": cut_linear(attention.output, columns=queries),
    }


# ---- smaller models


def strongest(scores: Tensor, share: float) -> Tensor:
    """The places of the best when this share goes, at least one, in their old order.

    >>> strongest(torch.tensor([3.0, 1.0, 2.0, 9.0]), share=0.5)
    tensor([0, 3])
    """
    count = max(1, len(scores) - int(share * len(scores) + 1e-6))
    return scores.topk(count).indices.sort().values


def without_neurons(model: Transformer, share: float) -> Transformer:
    """A smaller copy: in every block this share of the MLP's neurons is gone.

    The layers' own shapes are smaller; `config` still tells the old width, so a file
    of this copy can only be read by who knows the new one.
    """
    layers = {}
    for name, mlp in block_parts(model, "mlp").items():
        cut = cut_neurons(mlp, strongest(neuron_scores(mlp), share))
        layers |= {f"{name}.{part}": layer for part, layer in cut.items()}
    return replaced(model, layers)


def without_heads(model: Transformer, gone: Mapping[int, Iterable[int]]) -> Transformer:
    """A smaller copy: these key-value heads are gone, with their queries.

    gone: block -> heads. At least one head stays in each block. A `KVCache` is made
    for all heads, so this copy generates without one.
    """
    layers = {}
    for i, heads in gone.items():
        attention = model.blocks[i].attention
        count = attention.key.out_features // attention.K
        kept = [head for head in range(count) if head not in set(heads)]
        if not kept:
            raise ValueError(f"Block {i} would have no head left.")
        cut = cut_heads(attention, torch.tensor(kept))
        layers |= {f"blocks.{i}.attention.{part}": layer for part, layer in cut.items()}
    return replaced(model, layers)


def block_parts(model: Transformer, part: str) -> dict[str, nn.Module]:
    """The MLP or the attention of every block, by full name."""
    return {f"blocks.{i}.{part}": getattr(b, part) for i, b in enumerate(model.blocks)}
