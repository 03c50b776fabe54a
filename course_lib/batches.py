"""Data as a function of the step: `batches(step)` is the same batch whenever asked.

A stream that is read off remembers where it stands, and a run that was stopped
cannot find its place again. A function remembers nothing: all randomness follows
from the seed and the step, so an interrupted run goes on with the next batch, and
two runs of one seed read the same. A batch is a tensor, or a tuple of tensors, with
one row for each example: windows of one long text, or examples of their own length.
Left out: texts that do not fit into memory, several examples in one row.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Batch = Tensor | tuple[Tensor, ...]
Batches = Callable[[int], Batch]


def seeded(seed: int, number: int) -> torch.Generator:
    """A random number generator of its own for each step (or epoch) of each seed.

    Below a million steps, no two seeds share one.
    """
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def rows_of(
    tokens: Tensor, batch: int, length: int, seed: int = 0, kept: Tensor | None = None
) -> Batches:
    """Random windows of one long text: a function from the step to ids (B, T+1).

    tokens (N,): the whole text. Each row holds `length` tokens and the one after
    them, so that every position has a next token to predict. Every start is
    equally likely. kept (N,) is True where a token counts in the loss: of a chat
    the replies alone. With it a batch is (ids, mask), the same windows of both.

    >>> rows_of(torch.arange(9), batch=2, length=8)(step=5)
    tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8],
            [0, 1, 2, 3, 4, 5, 6, 7, 8]])
    >>> rows_of(torch.arange(3), batch=1, length=2, kept=torch.arange(3) > 1)(step=5)
    (tensor([[0, 1, 2]]), tensor([[False, False,  True]]))
    """
    starts = len(tokens) - length
    assert starts > 0, f"a row needs {length + 1} tokens, the text has {len(tokens)}"
    assert kept is None or (kept.shape, kept.dtype) == (tokens.shape, torch.bool), (
        f"one boolean per token: {tokens.shape=} {kept.shape=} {kept.dtype=}"
    )

    def rows(step: int) -> Batch:
        first = torch.randint(starts, (batch, 1), generator=seeded(seed, step))
        places = first + torch.arange(length + 1)  # (B, T+1)
        ids = tokens[places].long()
        return ids if kept is None else (ids, kept[places])

    return rows


def pad_right(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of different lengths as one rectangle (B, T), `value` after each end.

    >>> pad_right([[5, 6, 7], [8]], value=0)
    tensor([[5, 6, 7],
            [8, 0, 0]])
    """
    tensors = [torch.as_tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value)


def epoch_of(lengths: Tensor, batch: int, generator: torch.Generator) -> list[Tensor]:
    """Cut all examples, in random order, into batches of about equal lengths.

    lengths (N,): tokens of each example. Returns tensors of example numbers; every
    example stands in exactly one of them, and their sizes differ by one at most.

    How: shuffle, sort by length within pools of 16 batches, cut, shuffle the
    batches.

    >>> [b.tolist() for b in epoch_of(torch.tensor([5]), 4, seeded(0, 0))]
    [[0]]
    """
    pools = torch.randperm(len(lengths), generator=generator).split(16 * batch)
    sorted_pools = [pool[lengths[pool].argsort(stable=True)] for pool in pools]
    batches = torch.cat(sorted_pools).tensor_split(math.ceil(len(lengths) / batch))
    order = torch.randperm(len(batches), generator=generator)
    return [batches[i] for i in order]


def shuffled(
    examples: Sequence[tuple[Sequence[int], Sequence[bool]]],
    batch: int,
    pad: int,
    seed: int = 0,
) -> Batches:
    """Epochs over examples (ids, mask): a function from the step to two (B, T).

    Every epoch shows each example once, in a new order; similar lengths share a
    batch, which saves padding. On the right, ids are filled with `pad` and masks
    with False.

    >>> shuffled([([7, 8], [False, True])], batch=1, pad=0)(step=3)
    (tensor([[7, 8]]), tensor([[False,  True]]))
    """
    assert examples, "no examples to train on"
    lengths = torch.tensor([len(ids) for ids, _ in examples])
    per_epoch = math.ceil(len(examples) / batch)  # steps

    @lru_cache(maxsize=2)
    def batches_of(epoch: int) -> list[Tensor]:
        return epoch_of(lengths, batch, seeded(seed, epoch))

    def rows(step: int) -> tuple[Tensor, Tensor]:
        chosen = [examples[i] for i in batches_of(step // per_epoch)[step % per_epoch]]
        ids = pad_right([ids for ids, _ in chosen], pad)
        return ids, pad_right([mask for _, mask in chosen], False)

    return rows


def cut(batch: Batch, pieces: int = 1) -> Iterator[tuple[Tensor, ...]]:
    """Cut a batch along its rows into micro-batches, each a tuple of tensors.

    >>> [ids.tolist() for (ids,) in cut(torch.arange(5), pieces=2)]
    [[0, 1, 2], [3, 4]]
    """
    tensors = (batch,) if isinstance(batch, Tensor) else tuple(batch)
    assert all(isinstance(t, Tensor) for t in tensors), (
        f"a batch is a tensor or a tuple of tensors, this one is {type(batch).__name__}"
    )
    return zip(*(tensor.chunk(pieces) for tensor in tensors), strict=True)
