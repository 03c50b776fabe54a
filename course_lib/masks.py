"""Masks say which positions count; averages count those and no others.

A mask is named after what True keeps: `response_mask` keeps the tokens of an
answer. Texts of different lengths share one rectangle of numbers, so part of
every batch is padding, and an average that forgets this is wrong without any
error. Left out: sparse and ragged tensors, which avoid padding altogether.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def masked_sum(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    r"""Add up what the mask keeps: $\sum_t m_t x_t$.

    values and mask have one shape, mask is boolean; `dim=None` adds
    everything. What stands where the mask is False has no influence, not even
    nan or infinity.

    >>> kept = torch.tensor([True, True, False])
    >>> masked_sum(torch.tensor([1.0, 2.0, float("nan")]), kept)
    tensor(3.)
    """
    kept = values.masked_fill(~mask, 0.0)  # not values * mask: nan times 0 is still nan
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    r"""Average what the mask keeps, and nothing else; the mean of nothing is 0.

    values and mask have one shape, mask is boolean. `dim=None` averages
    everything, a number averages along that dimension. What stands where the
    mask is False may be anything, even nan; a nan that the mask keeps stays
    visible.

    How: $\sum_t m_t x_t / \max(1, \sum_t m_t)$.

    >>> kept = torch.tensor([[True, True, False]])
    >>> masked_mean(torch.tensor([[4.0, 2.0, 9.0]]), kept, dim=1)
    tensor([3.])
    """
    assert values.shape == mask.shape, f"one shape: {values.shape=} {mask.shape=}"
    kept = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(values, mask, dim) / kept.clamp(min=1)


def accumulated_mean(losses: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    r"""The mean loss per kept token of a batch that arrives in pieces.

    losses and masks are lists or tuples of equal length, one (B, T) pair for
    each piece (a *micro-batch*). The result is the number that one large
    batch would give, however the batch was cut; 0 if nothing at all is kept.

    How: $\sum_k \sum_t m_{kt} \ell_{kt} / \sum_k \sum_t m_{kt}$, never the
    mean of the pieces' means.

    >>> pieces = [torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[5.0, 0.0, 0.0]])]
    >>> masks = [torch.ones(1, 3).bool(), torch.tensor([[True, False, False]])]
    >>> accumulated_mean(pieces, masks)
    tensor(2.)
    """
    assert len(losses) == len(masks), f"one mask each: {len(losses)=} {len(masks)=}"
    pieces = zip(losses, masks, strict=True)
    total = sum(masked_sum(loss, mask) for loss, mask in pieces)
    return total / sum(mask.sum() for mask in masks).clamp(min=1)


def causal_mask(
    queries: int, keys: int, device: torch.device | str | None = None
) -> Tensor:
    r"""Who may look at whom: a position attends to itself and to what came before.

    Returns (queries, keys), True = may attend. The last query stands at the
    last key and sees everything; with fewer queries than keys the first keys
    are older than all queries (they come from a cache) and are always seen.

    How: query $i$ stands at position $i + \text{keys} - \text{queries}$.

    >>> causal_mask(2, 3).int()
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    assert queries <= keys, f"every query is one of the keys: {queries=} {keys=}"
    everything = torch.ones(queries, keys, dtype=torch.bool, device=device)
    return everything.tril(diagonal=keys - queries)
