r"""Dispatch: tokens go to their experts, and answers come back.

Four ways to one sum, $y_n = \sum_j w_{nj}\, f_{c_{nj}}(x_n)$. The first is the
definition. Masks keep a loop over experts. Sorting brings each expert its tokens in
one piece (MegaBlocks, Gale et al. 2022, does this on GPUs). Buffers of fixed size
are what machines in a row exchange (GShard, Lepikhin et al. 2020): what does not
fit is dropped. Left out: experts on several machines, kernels for unequal pieces.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def mix_token_by_token(
    x: Tensor, weights: Tensor, chosen: Tensor, experts: Sequence[Callable]
) -> Tensor:
    r"""The definition, slowly: $y_n = \sum_j w_{nj} f_{c_{nj}}(x_n)$.

    x (N, D); weights and chosen (N, k); experts: E functions of vectors of width D.
    Returns (N, D).

    >>> x, experts = torch.tensor([[1.0], [2.0]]), [lambda x: 10 * x, lambda x: -x]
    >>> weights = torch.tensor([[0.75, 0.25], [1.0, 0.0]])
    >>> mix_token_by_token(x, weights, torch.tensor([[0, 1], [1, 0]]), experts)
    tensor([[ 7.2500],
            [-2.0000]])
    """
    rows = []
    for token, its_weights, its_experts in zip(x, weights, chosen, strict=True):
        heard = [experts[e](token) for e in its_experts.tolist()]  # k of (D,)
        rows.append(sum(w * y for w, y in zip(its_weights, heard, strict=True)))
    return torch.stack(rows)


def mix_by_masks(
    x: Tensor, weights: Tensor, chosen: Tensor, experts: Sequence[Callable]
) -> Tensor:
    r"""$y_n = \sum_j w_{nj} f_{c_{nj}}(x_n)$, one expert after the other, by masks.

    x (N, D), weights and chosen (N, k), E experts. Returns (N, D) in the type of x.
    An expert gets its own tokens and no others, all at once or once for each of the
    k choices: (n, D) to (n, D); n may be 0. Gradients reach x, weights and experts.

    How: the tokens of expert e are those with e among their choices; its weight for
    a token is the one that stands where e stands, which may be any of the k.

    >>> x, experts = torch.tensor([[1.0], [2.0]]), [lambda x: 10 * x, lambda x: -x]
    >>> mix_by_masks(x, torch.ones(2, 1), torch.tensor([[1], [0]]), experts)
    tensor([[-1.],
            [20.]])
    """
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        here = chosen == e  # (N, k)
        tokens = here.any(dim=-1)
        weight = (weights * here).sum(dim=-1, keepdim=True)  # (N, 1)
        out[tokens] += weight[tokens] * expert(x[tokens])
    return out


def mix_sorted(
    x: Tensor, weights: Tensor, chosen: Tensor, experts: Sequence[Callable]
) -> Tensor:
    r"""$y_n = \sum_j w_{nj} f_{c_{nj}}(x_n)$: sort once, then each reads one piece.

    x (N, D), weights and chosen (N, k), E experts. Returns (N, D). An expert without
    tokens is not called.

    How: sort the N·k choices by expert; choice i belongs to token i // k; split at
    the counts; weight what comes back, and add it to the tokens with index_add.

    >>> x, experts = torch.tensor([[1.0], [2.0]]), [lambda x: 10 * x, lambda x: -x]
    >>> mix_sorted(x, torch.ones(2, 1), torch.tensor([[1], [0]]), experts)
    tensor([[-1.],
            [20.]])
    """
    order = chosen.flatten().argsort()  # (N*k,)
    token = order // chosen.shape[-1]
    counts = torch.bincount(chosen.flatten(), minlength=len(experts)).tolist()
    pieces = x[token].split(counts)  # E of (count, D)
    done = [f(piece) for f, piece in zip(experts, pieces, strict=True) if len(piece)]
    heard = torch.cat(done) * weights.flatten()[order].unsqueeze(-1)  # (N*k, D)
    return torch.zeros_like(x).index_add(0, token, heard)


# ---- capacity


def queue_places(chosen: Tensor) -> Tensor:
    """Each choice's place in the queue of its expert, from 0, in order of arrival.

    chosen (N, k). Returns (N, k). Tokens arrive in order, and a token's choices in
    order. (GShard lets all first choices pass before any second one:
    `queue_places(chosen.T).T`.)

    How: expert by expert, a running count of the choices so far, less one.

    >>> queue_places(torch.tensor([[0, 1], [1, 0], [0, 2]]))
    tensor([[0, 0],
            [1, 1],
            [2, 0]])
    """
    here = one_hot(chosen.flatten())  # (N*k, E)
    arrived = here.cumsum(dim=0) - 1
    return (arrived * here).sum(dim=-1).view(chosen.shape)


def within_capacity(chosen: Tensor, capacity: int) -> Tensor:
    """Which choices find a place, if each expert serves `capacity` and no more.

    chosen (N, k). Returns (N, k), True = served. Who comes late is dropped: that
    expert adds nothing to the token, and a token that was dropped everywhere leaves
    the layer with 0, so the stream carries it on unchanged.

    How: places are numbered from 0 for each expert, in order of arrival.

    >>> within_capacity(torch.tensor([[0, 1], [1, 0], [0, 2]]), capacity=1).int()
    tensor([[1, 1],
            [0, 0],
            [0, 1]], dtype=torch.int32)
    """
    assert capacity >= 0, f"an expert cannot serve fewer than none: {capacity=}"
    return queue_places(chosen) < capacity


def capacity_of(tokens: int, k: int, count: int, factor: float) -> int:
    r"""Places of an expert: $\lceil \text{factor} \cdot N k / E \rceil$.

    >>> [capacity_of(tokens=100, k=2, count=8, factor=f) for f in (1.0, 1.25)]
    [25, 32]
    """
    return math.ceil(factor * tokens * k / count)


def mix_in_buffers(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    experts: Sequence[Callable],
    factor: float = 1.25,
) -> Tensor:
    r"""$y_n = \sum_j w_{nj} f_{c_{nj}}(x_n)$, but for what finds no place.

    x (N, D), weights and chosen (N, k), E experts. Returns (N, D). All experts do
    equally many rows, some of them empty: buffers of one size make a rectangle
    (E, capacity, D), which suits hardware. A dropped choice's weight is lost.

    >>> x, experts = torch.tensor([[1.0], [2.0]]), [lambda x: 10 * x, lambda x: -x]
    >>> choices = torch.ones(2, 1), torch.tensor([[1], [1]])
    >>> mix_in_buffers(x, *choices, experts, factor=1.0)
    tensor([[-1.],
            [ 0.]])
    """
    capacity = capacity_of(*chosen.shape, len(experts), factor)
    kept = within_capacity(chosen, capacity)
    token = kept.nonzero()[:, 0]
    expert, place = chosen[kept], queue_places(chosen)[kept]
    buffers = x.new_zeros(len(experts), capacity, x.shape[-1])
    buffers[expert, place] = x[token]
    done = torch.stack([f(rows) for f, rows in zip(experts, buffers, strict=True)])
    heard = done[expert, place] * weights[kept].unsqueeze(-1)
    return torch.zeros_like(x).index_add(0, token, heard)


# ---- what it costs to serve


def experts_read(tokens: int, k: int, count: int) -> float:
    r"""Experts whose weights a step must read, expected: $E\,(1 - (1 - k/E)^N)$.

    For N tokens that choose independently and evenly. One token reads k experts; a
    batch soon reads all of them, while each does little. So a mixture computes like
    a small model and, at medium batches, moves the memory of a large one.

    How: an expert is left out by one token with chance 1 - k/E, by all with that to
    the power of N.

    >>> [round(experts_read(n, k=2, count=8), 1) for n in (1, 4, 16)]
    [2.0, 5.5, 7.9]
    """
    return count * (1 - (1 - k / count) ** tokens)
