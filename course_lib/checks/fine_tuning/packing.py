"""Checks of lesson 05: examples as one rectangle, and who may look at whom in a packed row.

The number that fills up rows also stands inside them, as it does where the padding
token is the end token. Sizes differ, and no row is like the one before it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from course_lib.checks.asking import ask, ask_tensor, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.sft import examples, packing
from course_lib.sft.examples import Example

# --- collate ----------------------------------------------------------------------------------


def _drawn_examples(
    draw: torch.Generator, lengths: Sequence[int], pad: int
) -> list[Example]:
    """Masks with holes, as a chat of several turns has them; `pad` stands in half of the rows."""
    made = []
    for number, length in enumerate(lengths):
        ids = torch.randint(20, 40, (length,), generator=draw).tolist()
        mask = (torch.rand(length, generator=draw) < 0.5).tolist()
        mask[0], mask[-1] = False, True
        if number % 2 == 0:
            ids[int(torch.randint(length, (), generator=draw))] = pad
        made.append(Example(ids, mask))
    return made


@check(
    examples.collate,
    proved="Every row keeps its tokens and its mask, the padding stands on the right and never counts, tokens "
    "inside that equal the padding are treated like all others, and an example of which nothing counts is refused.",
)
def collate(answer, draw):
    ended = [  # each answer ends with 1, and so does an earlier turn
        Example([2, 7, 3, 5, 1], [False, False, False, True, True]),
        Example([2, 7, 4, 3, 9, 1, 2, 3, 6, 1], [t in (4, 5, 8, 9) for t in range(10)]),
        Example([2, 3, 1, 1], [False, False, True, True]),
        Example([2, 8, 1, 3, 6, 1], [False] * 4 + [True] * 2),
    ]
    _collate_compare(answer, ended, 1)
    for lengths, pad in (
        ((3, 7, 5, 2, 6), 21),
        ((6,), 0),
        ((4, 4, 4), 30),
        ((2, 9), 25),
    ):
        _collate_compare(answer, _drawn_examples(draw, lengths, pad), pad)
    for pad in (0, 3):
        _collate_compare(answer, ended, pad)
    _collate_compare(answer, _drawn_examples(draw, (3, 60, 20), 7), 7)
    _collate_forms(answer)
    _collate_refused(answer)


def _rectangle(rows: Sequence[Sequence], filling: int) -> Tensor:
    """By torch's own function."""
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filling)


def _collate_ask(answer, rows: Sequence[Example], pad: int) -> tuple[Tensor, Tensor]:
    got = ask(answer, rows, pad)
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned a {type(got).__name__}; two tensors are wanted, ids and mask.",
    )
    for name, part in zip(("ids", "mask"), got, strict=True):
        expect(
            isinstance(part, Tensor),
            f"The {name} came as a {type(part).__name__}; a tensor is wanted.",
        )
    ids, mask = got
    expect(
        ids.dtype != torch.bool or mask.dtype == torch.bool,
        "The mask came first. The order is ids, mask.",
    )
    expect(
        ids.dtype == torch.long,
        f"The ids have the type {ids.dtype}; whole numbers of type torch.long are wanted. The loss takes no others.",
    )
    expect(
        mask.dtype == torch.bool,
        f"The mask has the type {mask.dtype}; it is True or False, torch.bool.",
    )
    return ids, mask


def _collate_compare(answer, rows: Sequence[Example], pad: int) -> None:
    got, mask = _collate_ask(answer, rows, pad)
    lengths = [len(row.ids) for row in rows]
    B, T = len(rows), max(lengths)
    want, keep = (
        _rectangle([r.ids for r in rows], pad),
        _rectangle([r.mask for r in rows], 0),
    )
    for name, part in (("ids", got), ("mask", mask)):
        shapes = {
            (
                T,
                B,
            ): "Rows and columns are exchanged: one row for each example is wanted.",
            (B * T,): "All rows stand in one. One row for each example is wanted.",
            (1, B, T): "A dimension was added.",
            (B, T + 1): "The rectangle is as wide as its longest row, and no wider.",
            (B, T - 1): "The last column is missing. Nothing is shifted here.",
            (
                B,
                lengths[0],
            ): "It is as wide as the first example. The longest sets the width.",
            (
                B,
                lengths[-1],
            ): "It is as wide as the last example. The longest sets the width.",
            (
                B,
                min(lengths),
            ): "It is as wide as the shortest example. Nothing is cut away.",
            (
                B,
                sum(lengths),
            ): "The rows are as wide as all examples together. The longest sets the width.",
        }
        likely = shapes.get(tuple(part.shape), "The longest example sets the width.")
        expect(
            part.shape == (B, T),
            f"{name} has the shape {tuple(part.shape)}; for examples of {lengths} tokens {(B, T)} is wanted. {likely}",
        )
    _collate_ids(got, want, rows, pad)
    _collate_mask(mask, keep, want, rows, pad)


def _left(tensor: Tensor, lengths: Sequence[int]) -> Tensor:
    """The same rows with the filling on the left."""
    return torch.stack([row.roll(-n) for row, n in zip(tensor, lengths, strict=True)])


def _collate_ids(got: Tensor, want: Tensor, rows: Sequence[Example], pad: int) -> None:
    if got.equal(want):
        return
    ids, lengths = [row.ids for row in rows], [len(row.ids) for row in rows]
    others = {f: _rectangle(ids, f) for f in (0, 1, -100, -1) if f != pad}
    longest = sorted(range(len(rows)), key=lambda i: -lengths[i])
    last = pad_sequence(
        [torch.tensor(row) for row in ids], batch_first=True, padding_value=-7
    )
    ends = torch.tensor([row[-1] for row in ids])[:, None].expand_as(last)
    masked = want.masked_fill(~_rectangle([row.mask for row in rows], 0), -100)
    # fmt: off
    mistakes = {
        "The padding stands on the left. It stands on the right, behind the end of each row.": [_left(want, lengths)],
        f"Rows are filled up with another number than pad, which is {pad} here.":
            [others[f] for f in others if f != -100],
        "The ids hold -100. That is a label elsewhere; a model could not look it up. The mask says what counts.":
            [masked, others.get(-100, want)],
        "The rows are sorted by length. They stay in the order of the examples.": [want[longest], want[longest[::-1]]],
        "The rows are turned round: the last example came first.": [want.flip(0)],
        "Rows are filled up with their own last token. They are filled up with pad.":
            [torch.where(last == -7, ends, last)],
        "All rows hold the same example.": [want[i].expand_as(want) for i in (0, -1)] if len(rows) > 1 else [],
        "The ids are shifted by one. Nothing is shifted here; whoever calls the model does that.":
            [want.roll(1, dims=1), want.roll(-1, dims=1)],
    }
    # fmt: on
    for mistake, results in mistakes.items():
        if any(got.equal(result) for result in results):
            raise CheckFailed(mistake)
    row = int((got != want).any(dim=1).nonzero()[0])
    shown, what = str(got[row].tolist()[:12]), str(ids[row][:12])
    raise CheckFailed(
        f"Row {row} has the ids {shown}. The example {what} is wanted there, and behind it {pad} for the padding."
    )


def _collate_mask(
    got: Tensor, keep: Tensor, ids: Tensor, rows: Sequence[Example], pad: int
) -> None:
    if got.equal(keep):
        return
    lengths = [len(row.ids) for row in rows]
    masks = [row.mask for row in rows]
    real = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
    # fmt: off
    mistakes = {
        f"Tokens inside an example that equal pad ({pad}) are outside the loss. Where pad is the end token too, no "
        "model learns to stop: the padding is known by its place, not by its number.":
            [keep & (ids != pad), (keep | ~real) & (ids != pad)],
        "The mask was made from the ids, by looking for pad. Each example brings its own mask, and in it the "
        "prompt does not count.": [ids != pad],
        "The padding counts (True). Nobody said those tokens.": [_rectangle(masks, 1), keep | ~real],
        "The prompt counts as well: all real tokens do. Each example brings its own mask.": [real],
        "Everything counts. Each example brings its own mask.": [torch.ones_like(keep)],
        "Nothing counts. Each example brings its own mask.": [torch.zeros_like(keep)],
        "The mask is the wrong way round: True keeps.": [~keep, real & ~keep],
        "The mask is filled up on the left, and the ids on the right.": [_left(keep, lengths)],
        "The mask is shifted by one. Nothing is shifted here; whoever calls the model does that.":
            [keep.roll(1, dims=1), keep.roll(-1, dims=1)],
        "All rows have the same mask. Each example brings its own.":
            [keep[i].expand_as(keep) for i in (0, -1)] if len(rows) > 1 else [],
        "The last token of each example, its end, is outside the loss.":
            [keep & (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None] - 1)],
        "The padding says where the mask is False. The prompt does not count either.": [real & (ids != pad)],
    }
    # fmt: on
    for mistake, results in mistakes.items():
        if any(got.equal(result) for result in results):
            raise CheckFailed(mistake)
    row, place = (got != keep).nonzero()[0].tolist()
    where = (
        f"token {place} of example {row}, {rows[row].ids[place]},"
        if place < lengths[row]
        else f"the padding at place {place} of example {row}"
    )
    raise CheckFailed(
        f"In the mask {where} is {bool(got[row, place])}; it should be {bool(keep[row, place])}. pad is {pad} here."
    )


def _collate_forms(answer) -> None:
    """Tuples come in as well; the first token's own mask is kept as it is."""
    rows = (Example((8, 9), (True, True)), Example((4, 5, 6), (False, True, False)))
    ids, mask = _collate_ask(answer, rows, 6)
    expect(
        ids.tolist() == [[8, 9, 6], [4, 5, 6]]
        and mask.tolist() == [[True, True, False], [False, True, False]],
        f"For a tuple of the examples {[tuple(row) for row in rows]} and pad=6 the ids are {ids.tolist()} and the mask "
        f"is {mask.tolist()}. Rows and masks are taken as they come.",
    )
    first = answer(rows, 0)
    kept = [part.clone() for part in first]
    answer([Example([1, 2, 3], [False, False, True]), Example([4, 5], [True, True])], 9)
    expect(
        all(a.equal(b) for a, b in zip(first, kept, strict=True)),
        "A second call changed what the first one had returned. Each call needs tensors of its own.",
    )


def _collate_refused(answer) -> None:
    good = Example([5, 6], [False, True])
    for mask, what in (
        ([False, False, False], "no token counts"),
        (
            [True, False, False],
            "only the very first token counts, which nobody predicts",
        ),
    ):
        try:
            answer([good, Example([7, 8, 9], mask)], 0)
        except (ValueError, AssertionError):
            continue
        raise CheckFailed(
            f"It accepts an example in which {what}; alone in a batch its mean loss would be nan. "
            "`check_counts` refuses that with a ValueError: it is called first.",
        )


# --- block_diagonal_mask ----------------------------------------------------------------------


@check(
    packing.block_diagonal_mask,
    proved="Every pair of places agrees with a loop: a token looks at itself and at what came before it in its own "
    "document, in every row of the batch by itself, and no row of the mask is empty, not even for padding.",
)
def block_diagonal_mask(answer, draw):
    _mask_compare(
        answer, torch.tensor([[1, 1, 2, 2, 2, 3, 0, 0], [1, 1, 1, 1, 2, 2, 2, 0]])
    )
    _mask_compare(answer, torch.tensor([[1, 1, 2]]))
    for B, T in ((3, 7), (4, 4), (1, 9), (5, 2), (2, 12)):
        _mask_compare(answer, _drawn_documents(draw, B, T))
    _mask_compare(answer, torch.ones(2, 5, dtype=torch.long))
    _mask_compare(answer, torch.tensor([[1] * 2 + [2] * 20 + [0] * 2]))
    _mask_compare(  # padding in front and between; numbers that do not rise
        answer, torch.tensor([[0, 0, 1, 1, 1, 1, 2, 2], [7, 7, 7, 0, 0, 3, 9, 9]])
    )
    _mask_compare(answer, torch.arange(1, 7).expand(3, 6))
    _mask_compare(answer, torch.tensor([[1], [1]]))
    _mask_compare(answer, torch.tensor([[1, 2, 2, 3, 3, 0]]))
    _mask_compare(answer, _drawn_documents(draw, 6, 5).T.contiguous().T)


def _drawn_documents(draw: torch.Generator, B: int, T: int) -> Tensor:
    """1, 2, 3, ... side by side in each row, and padding (0) behind them in some."""
    rows = []
    for b in range(B):
        begins = (torch.rand(T, generator=draw) < 0.4).long()
        row = begins.cumsum(0) + 1 - begins[0]
        if b % 2 == 0 and T > 2:
            row[T - int(torch.randint(1, T - 1, (), generator=draw)) :] = 0
        rows.append(row)
    return torch.stack(rows)


def _mask_slowly(documents: Tensor) -> Tensor:
    rows = []
    for row in documents.tolist():
        places = range(len(row))
        rows.append([[k <= q and row[k] == row[q] for k in places] for q in places])
    return torch.tensor(rows)[:, None]


def _mask_compare(answer, documents: Tensor) -> None:
    B, T = documents.shape
    shapes = {
        (B, T, T): "The dimension of the heads is missing: one mask serves them all.",
        (T, T): "That is one mask for the whole batch. Each row is cut elsewhere.",
        (
            1,
            1,
            T,
            T,
        ): "That is one mask for the whole batch. Each row is cut elsewhere.",
        (1, T, T): "That is one mask for the whole batch. Each row is cut elsewhere.",
        (
            1,
            B,
            T,
            T,
        ): "The texts stand where the heads should stand. The new dimension is the second.",
        (B, T, T, 1): "The new dimension is the second, between texts and queries.",
        (B, T, 1, T): "The new dimension is the second, between texts and queries.",
        (
            B,
            1,
            T,
        ): "There is one value for each token. Wanted is one for each pair of query and key.",
        (
            B,
            1,
            1,
            T,
        ): "There is one value for each key. Wanted is one for each pair of query and key.",
        (
            B,
            T,
        ): "There is one value for each token. Wanted is one for each pair of query and key.",
        (
            B,
            B,
            T,
        ): "Texts were compared with one another. Tokens are, within each text.",
        (
            B,
            B,
            T,
            T,
        ): "Texts were compared with one another. Tokens are, within each text.",
        (
            B,
            1,
            T - 1,
            T - 1,
        ): "Neighbours were compared, which leaves one place fewer. Every pair counts.",
    }
    shapes.pop((B, 1, T, T), None)
    got = ask_tensor(answer, documents, shape=(B, 1, T, T), shapes=shapes)
    if got.is_floating_point() and got.isinf().any():
        raise CheckFailed(
            "The mask holds 0 and minus infinity. Here a mask is boolean, torch.bool: True = may attend."
        )
    expect(
        got.dtype == torch.bool,
        f"The mask has the type {got.dtype}; True or False is wanted, torch.bool.",
    )
    want = _mask_slowly(documents)
    if got.equal(want):
        return
    for mistake, results in _mask_mistakes(documents).items():
        if any(got.equal(result) for result in results):
            raise CheckFailed(mistake)
    b, _, q, k = (got != want).nonzero()[0].tolist()
    row = documents[b].tolist()
    raise CheckFailed(
        f"In the row of documents {row} the token at place {q} {'may' if got[b, 0, q, k] else 'may not'} look at place "
        f"{k}. They stand in documents {row[q]} and {row[k]}."
    )


def _mask_mistakes(documents: Tensor) -> dict[str, list[Tensor]]:
    d = documents.long()
    B, T = d.shape
    q, k = d[:, None, :, None], d[:, None, None, :]
    causal = torch.ones(T, T, dtype=torch.bool).tril().expand(B, 1, T, T)
    want, same = (q == k) & causal, q == k
    real_key, real_query = (k != 0).expand_as(same), (q != 0).expand_as(same)
    neighbours = same & causal & ~causal.tril(-2)
    itself = torch.eye(T, dtype=torch.bool).expand_as(same)
    turned = torch.ones(T, T, dtype=torch.bool).triu().expand_as(same)
    # fmt: off
    return {
        "The mask is causal and nothing else: a token reads the documents before its own.": [causal],
        "The documents are kept apart, but a token sees what comes after it in its own.": [same],
        "The mask is the wrong way round. True = may attend.": [~want, ~same],
        "A token looks at the documents before its own and not at its own: the comparison is the wrong way round.":
            [~same & causal],
        "Padding may look at nothing. A softmax over nothing is nan: padding is a document as well, number 0.":
            [want & real_key, want & real_query, want & real_key & real_query],
        "Padding looks at other documents, or at all that came before it.":
            [want | (causal & ~real_query), want | ~real_query, want | itself | ~real_query],
        "All tokens may look at padding, or padding at them. It is a document like any other.":
            [want | (causal & ~real_key), want | ~real_key, want | ~real_key | ~real_query],
        "A token may look at documents with smaller numbers as well. Only its own is open to it.":
            [(k <= q) & causal, k <= q, (k >= q) & causal, k >= q, (k < q) & causal],
        "All rows were cut like one of them. Each row has its own documents.":
            [want[[i]].expand_as(want) for i in (0, -1)] if B > 1 else [],
        "A token may not look at itself. It may: at itself and at what came before.": [want & ~itself, same & ~itself],
        "Only neighbours were compared. A token sees all that came before it in its document.": [neighbours],
        "A token sees itself and nothing else.": [itself],
        "Queries and keys are exchanged: a token sees what comes after it. Rows of the mask are queries.":
            [same & turned, turned],
        "Everything is permitted.": [torch.ones_like(same)],
        "Nothing is permitted.": [torch.zeros_like(same)],
        "Two conditions hold one by one and not together: either of them opens a place. Both have to be met.":
            [same | causal],
        "A document sees only its own beginning, or is counted from the wrong place.":
            [want & (torch.arange(T) == (want[:, 0].int().argmax(-1))[:, None, :, None])],
    }
    # fmt: on
