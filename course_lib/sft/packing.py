"""Packing: several texts share a row, and none of them reads another.

Padding is computed and thrown away. A packed row is full of tokens instead, and
each token carries the number of its *document*. Two things keep documents apart: a
mask under which a token attends to its own document only (block-diagonal and
causal; Krell et al. 2021), and positions that begin again with each. Then the loss
of packed rows is that of the texts one by one. Left out: kernels that skip what the
mask forbids, which long rows need to save time, and texts that go on in the next
row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.attention import rotary
from course_lib.batches import Batches, pad_right, seeded
from course_lib.masks import causal_mask
from course_lib.sft.examples import Example, check_counts
from course_lib.training import cross_entropy
from course_lib.transformer import check_input

# ---- who shares a row


def in_order(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Fill a row until the next text does not fit; then begin another row.

    lengths: tokens of each text. Returns rows of text numbers, each number once.

    How: only the newest row is open; remember how many tokens it still has room for.

    >>> in_order([5, 2, 3, 1, 7], room=8)
    [[0, 1], [2, 3], [4]]
    """
    check_lengths(lengths, room)
    rows, left = [], 0
    for number, length in enumerate(lengths):
        if length > left:
            rows.append([])
            left = room
        rows[-1].append(number)
        left -= length
    return rows


def first_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Put each text into the first row that has room for it, or into a new one.

    lengths: tokens of each text. Returns rows of text numbers, each number once.

    How: keep the room left in every row, and look through them from the first.

    >>> first_fit([5, 2, 3, 1, 7], room=8)
    [[0, 1, 3], [2], [4]]
    """
    check_lengths(lengths, room)
    rows, left = [], []
    for number, length in enumerate(lengths):
        row = next((r for r, free in enumerate(left) if free >= length), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(number)
        left[row] -= length
    return rows


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Longest text first, each into the row that it fills best: TRL's "bfd".

    >>> best_fit([5, 2, 3, 1, 7], room=8)
    [[4, 3], [0, 2], [1]]
    """
    check_lengths(lengths, room)
    rows, left = [], []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = [row for row, free in enumerate(left) if free >= lengths[number]]
        row = min(fits, key=left.__getitem__, default=len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(number)
        left[row] -= lengths[number]
    return rows


def check_lengths(lengths: Sequence[int], room: int) -> None:
    """Refuse a text that no row can hold, rather than cut it."""
    for number, length in enumerate(lengths):
        if length > room:
            raise ValueError(
                f"Text {number} has {length} tokens, a row has room for {room}."
            )


def padding_share(lengths: Sequence[int], rows: Sequence[Sequence[int]]) -> float:
    """The share of a batch that is padding if its longest row sets the width.

    >>> padding_share([5, 2, 3, 1, 7], [[0, 1, 3], [2], [4]])
    0.25
    """
    filled = [sum(lengths[number] for number in row) for row in rows]
    return 1 - sum(filled) / (len(rows) * max(filled))


# ---- packed rows


class Packed(NamedTuple):
    """Rows of several texts; all three are (B, T)."""

    ids: Tensor
    mask: Tensor  # True where the token counts in the loss
    documents: Tensor  # 1, 2, 3, ... within each row; 0 is padding


def pack(
    examples: Sequence[Example], rows: Sequence[Sequence[int]], pad: int
) -> Packed:
    """Lay the examples side by side, as `rows` says (see `in_order`).

    The first token of an example never counts: before it stands another text.

    How: number the examples of a row from 1 and repeat each number for every token;
    make the first place of each mask False; pad documents with 0, masks with False.

    >>> a, b = Example([5, 6], [False, True]), Example([7, 8], [True, True])
    >>> packed = pack([a, b], rows=[[0, 1]], pad=0)
    >>> packed.mask.int().tolist(), packed.documents.tolist()
    ([[0, 1, 0, 1]], [[1, 1, 2, 2]])
    """
    check_counts(examples)
    ids, masks, documents = [], [], []
    for row in rows:
        chosen = [examples[number] for number in row]
        ids.append([id for text, _ in chosen for id in text])
        masks.append([counts for _, mask in chosen for counts in (False, *mask[1:])])
        numbered = enumerate(chosen, start=1)
        documents.append([number for number, (text, _) in numbered for _ in text])
    fillings = zip((ids, masks, documents), (pad, False, 0), strict=True)
    return Packed(*(pad_right(lists, value) for lists, value in fillings))


def block_diagonal_mask(documents: Tensor) -> Tensor:
    """Who may look at whom: itself and what came before, within its own document.

    documents (B, T). Returns (B, 1, T, T), True = may attend, the same in all heads.
    Padding is a document as well (number 0), so every query may look at something.

    How: the documents of query and key are equal, and the mask is causal.

    >>> block_diagonal_mask(torch.tensor([[1, 1, 2]])).int()[0, 0]
    tensor([[1, 0, 0],
            [1, 1, 0],
            [0, 0, 1]], dtype=torch.int32)
    """
    T = documents.shape[1]
    same = documents[:, None, :, None] == documents[:, None, None, :]  # (B, 1, T, T)
    return same & causal_mask(T, T, documents.device)


def positions_in(documents: Tensor) -> Tensor:
    """Where each token stands in its own document: 0, 1, 2, and again from 0.

    documents (B, T), equal numbers side by side. Returns (B, T).

    How: the place in the row minus the place where the document began, which is the
    largest place of a beginning so far (`cummax`).

    >>> positions_in(torch.tensor([[1, 1, 1, 2, 2, 0]]))
    tensor([[0, 1, 2, 0, 1, 0]])
    """
    places = torch.arange(documents.shape[1], device=documents.device)  # (T,)
    begins = documents.diff(dim=1, prepend=documents[:, :1] - 1) != 0
    return places - (places * begins).cummax(dim=1).values


# ---- a model that reads them


def packed_hidden(
    model: nn.Module, ids: Tensor, documents: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """`Transformer.hidden` for packed rows: ids and documents (B, T) to (B, T, D).

    Where documents is (1, T), all rows are cut in the same way. allowed (B, 1, T, T):
    who may look at whom, the `block_diagonal_mask` if None.
    """
    assert ids.shape[1] == documents.shape[1], f"{ids.shape=} {documents.shape=}"
    check_input(model.config, ids, None, None)
    places, rotation = positions_in(documents), None
    x = model.embed(ids)
    if allowed is None:
        allowed = block_diagonal_mask(documents)
    if model.config.positions == "learned":
        x = x + model.places(places)
    else:
        config, places = model.config, places.unsqueeze(1)  # one angle for all heads
        rotation = rotary(places, config.K, config.rope_base)
    for block in model.blocks:
        x = block(x, rotation, allowed)
    return model.norm(x)


def packed_loss(
    model: nn.Module, ids: Tensor, mask: Tensor, documents: Tensor
) -> tuple[Tensor, Tensor]:
    """As `reply_loss`, of packed rows: a `loss_fn` whose batch is a `Packed`.

    Returns one loss for each kept token, (N,), and a mask that keeps them all.
    """
    kept = mask[:, 1:]
    hidden = packed_hidden(model, ids[:, :-1], documents[:, :-1])[kept]  # (N, D)
    losses = cross_entropy(model.head(hidden), ids[:, 1:][kept])
    return losses, torch.ones_like(losses, dtype=torch.bool)


def some_rows(packed: Packed, batch: int, seed: int = 0) -> Batches:
    """Epochs over packed rows: a function from the step to some rows of `packed`.

    The last rows of an epoch that fill no batch wait for another epoch's order.

    >>> one = Packed(*(torch.tensor([[n, n]]) for n in (7, 1, 1)))
    >>> some_rows(one, batch=1)(step=5).ids
    tensor([[7, 7]])
    """
    per_epoch = len(packed.ids) // batch  # steps
    assert per_epoch > 0, f"{batch} rows in a batch, but {len(packed.ids)} in all"

    def rows(step: int) -> Packed:
        draw = seeded(seed, step // per_epoch)
        order = torch.randperm(len(packed.ids), generator=draw)
        first = step % per_epoch * batch
        return Packed(*(t[order[first : first + batch]] for t in packed))

    return rows
