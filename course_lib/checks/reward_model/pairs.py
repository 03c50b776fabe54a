"""Checks of lesson 06: both answers of each pair side by side in a batch.

The number that fills up rows also stands inside them, as it does where the padding
token is the end token. The answers that prove the check are in `tests/answers/`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.checks.asking import ask, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.reward import pairs as library
from course_lib.reward.pairs import PairIds


@check(
    library.collate_pairs,
    proved="Every row is prompt, answer and end, the chosen one first; the padding stands on the "
    "right, whatever its number, and the mask knows it by its place.",
)
def collate_pairs(answer, draw):
    ended = [  # the end token fills up the rows, and stands in a prompt of two turns
        PairIds([2, 7, 3], [5, 6], [8], 0.5),
        PairIds([2, 9, 3, 4, 1, 2, 6, 3], [5], [6, 7, 4], 1.0),
        PairIds([2, 3], [4, 6, 8, 5], [4, 7], 0.0),
    ]
    _pairs_compare(answer, (ended, 1, 1), (ended, 1, 0))
    first = answer([PairIds([1, 2, 3], [4], [5, 6]), PairIds([2], [3, 4], [5])], 7, 0)
    kept = [part.clone() for part in first]
    for sizes, end, pad in (
        (((3, 2, 4), (5, 6, 1), (2, 1, 3), (4, 3, 5)), 21, 21),
        (((2, 5, 1), (3, 1, 2)), 22, 0),
        (((6, 3, 3),), 23, 1),
        (((2, 4, 6),), 24, 24),
        (((3, 2, 2), (3, 2, 2), (2, 3, 3)), 25, 26),
        (((40, 3, 9), (2, 30, 1), (4, 1, 2), (1, 1, 1), (9, 8, 7)), 27, 27),
    ):
        _pairs_compare(answer, (_drawn_pairs(draw, sizes, pad), end, pad))
    _pairs_compare(answer, (tuple(ended[:2]), 1, 3))
    _pairs_compare(answer, ([ended[0], ended[0]._replace(rejected=[9, 8])], 1, 0))
    _pairs_compare(answer, (_drawn_pairs(draw, ((70, 5, 6), (3, 2, 90)), 28), 28, 28))
    _pairs_compare(
        answer, ([PairIds([2, 300, 151_000], [40_000], [70_000])], 151_645, 0)
    )
    expect(
        all(a.equal(b) for a, b in zip(first, kept, strict=True)),
        "A second call changed what the first one had returned. Each call needs tensors of its own.",
    )


def _drawn_pairs(draw: torch.Generator, sizes, pad: int) -> list[PairIds]:
    """Prompts and answers of these lengths; half of them hold `pad`, some as their last token."""
    made = []
    for number, lengths in enumerate(sizes):
        parts = [torch.randint(30, 60, (n,), generator=draw).tolist() for n in lengths]
        parts[number % 3][-1] = pad
        if parts[1] == parts[2]:  # equal answers have no better one
            parts[2][0] = 60
        made.append(PairIds(*parts, float(number)))
    return made


def _side_by_side(rows: Sequence[tuple[Sequence, Sequence]], filling) -> Tensor:
    """A block (B, 2, T) of the two rows of each pair, as wide as the longest."""
    width = max(len(row) for both in rows for row in both)
    return torch.tensor(
        [[[*row, *[filling] * (width - len(row))] for row in both] for both in rows]
    )


def _rows(
    pairs: Sequence[PairIds], make: Callable[[PairIds, list[int]], list[int]]
) -> list[tuple[list[int], list[int]]]:
    """Both rows of each pair, as make(pair, answer) writes them."""
    return [(make(p, list(p.chosen)), make(p, list(p.rejected))) for p in pairs]


def _pairs_ask(answer, pairs, end: int, pad: int) -> tuple[Tensor, Tensor]:
    try:
        got = ask(answer, pairs, end, pad)
    except RuntimeError as error:
        if "stack expects" in str(error) or "Sizes of tensors must" in str(error):
            raise CheckFailed(
                "The chosen and the rejected rows were padded each for themselves, and differ in "
                "width. All rows of the batch become one rectangle first."
            ) from None
        raise
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned a {type(got).__name__}"
        + (f" of {len(got)}" if isinstance(got, tuple | list) else "")
        + "; two tensors are wanted, ids and mask.",
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
        ids.dtype in (torch.long, torch.int32),
        f"The ids have the type {ids.dtype}. Token numbers are whole numbers, torch.long.",
    )
    expect(
        mask.dtype == torch.bool,
        f"The mask has the type {mask.dtype}; it is True or False, torch.bool.",
    )
    return ids.long(), mask


def _pairs_compare(answer, *cases: tuple[Sequence[PairIds], int, int]) -> None:
    """cases: (pairs, end, pad). All are asked first: a mistake is named if it explains all."""
    gots = [[p.clone() for p in _pairs_ask(answer, *case)] for case in cases]
    wants = [_pairs_wanted(*case) for case in cases]
    ids, blocks = [got[0] for got in gots], [want[0] for want in wants]
    if not all(map(torch.equal, ids, blocks)):
        tables = [_ids_mistakes(w, *c) for w, c in zip(blocks, cases, strict=True)]
        _name_blocks(ids, blocks, tables)
        for got, want, case in zip(ids, blocks, cases, strict=True):
            _ids_otherwise(got, want, *case)
    masks, real = [got[1] for got in gots], [want[1] for want in wants]
    if not all(map(torch.equal, masks, real)):
        rows = zip(blocks, real, cases, strict=True)
        tables = [_mask_mistakes(w, r, c[0], c[2]) for w, r, c in rows]
        _name_blocks(masks, real, tables)
        for got, want, keep, case in zip(masks, blocks, real, cases, strict=True):
            _mask_otherwise(got, want, keep, *case)


def _pairs_wanted(
    pairs: Sequence[PairIds], end: int, pad: int
) -> tuple[Tensor, Tensor]:
    rows = _rows(pairs, lambda p, a: [*p.prompt, *a, end])
    real = [[[True] * len(row) for row in both] for both in rows]
    return _side_by_side(rows, pad), _side_by_side(real, False)


def _name_blocks(
    gots: list[Tensor], wants: list[Tensor], tables: list[dict[str, list[Tensor]]]
) -> None:
    """Name the mistake that explains all blocks, in the words of the first wrong one."""
    wrong = [g.equal(w) for g, w in zip(gots, wants, strict=True)].index(False)
    for mistakes in zip(*(table.items() for table in tables), strict=True):
        for results in zip(*(ways for _, ways in mistakes), strict=True):
            if all(map(torch.equal, gots, results)):
                raise CheckFailed(mistakes[wrong][0])


def _ids_otherwise(got: Tensor, want: Tensor, pairs, end: int, pad: int) -> None:
    _pairs_shape("ids", got, pairs)
    for i, j in (got != want).any(-1).nonzero().tolist():
        raise CheckFailed(
            f"The {('chosen', 'rejected')[j]} row of pair {i} is {got[i, j].tolist()[:12]}. Its prompt "
            f"is {pairs[i].prompt[:8]}, its answer {pairs[i][1 + j][:8]}, the end {end}, the padding {pad}."
        )


def _mask_otherwise(got, ids: Tensor, real: Tensor, pairs, end: int, pad: int) -> None:
    _pairs_shape("mask", got, pairs)
    for i, j, t in (got != real).nonzero().tolist():
        what = "a real token" if real[i, j, t] else "padding"
        raise CheckFailed(
            f"In row {ids[i, j].tolist()} place {t} is {what}, and its mask is {bool(got[i, j, t])}. "
            f"The end is {end} here and the padding {pad}."
        )


def _pairs_shape(name: str, got: Tensor, pairs: Sequence[PairIds]) -> None:
    """Fail unless it is (B, 2, T); the likely reason is named."""
    widths = [[len(p.prompt) + len(a) + 1 for a in p[1:3]] for p in pairs]
    B, T = len(pairs), max(map(max, widths))
    # fmt: off
    shapes = {
        (2 * B, T): "Chosen and rejected rows stand below one another. The two rows of a pair stand side by side, in "
                    "a dimension of their own.",
        (2, B, T): "The second dimension counts the two answers; the first counts the pairs.",
        (B, T, 2): "The second dimension counts the two answers; the last counts the tokens.",
        (B, T): "There is one row for each pair. Two are wanted, chosen and rejected.",
        (B, 2 * T): "Both answers of a pair stand in one row. Each has a row of its own.",
        (2 * B * T,): "All rows stand in one.",
        (1, B, 2, T): "A dimension was added.",
        (B, 2, T - 1): "The last column is missing. Has every answer its end token? Nothing is shifted here.",
        (B, 2, T + 1): "The block is as wide as its longest row, and no wider.",
        (B, 2, min(map(min, widths))): "Rows are cut to the shortest. The longest sets the width.",
        (B, 2, max(w[0] for w in widths)): "It is as wide as the longest chosen row. The longest of all sets it.",
        (B, 2, max(w[1] for w in widths)): "It is as wide as the longest rejected row. The longest of all sets it.",
    }
    # fmt: on
    shapes.pop((B, 2, T), None)
    otherwise = (
        "Every pair counts: none is left out, nor are two taken for one."
        if got.ndim == 3 and got.shape[0] != B and got.shape[1] == 2
        else "The longest row of all sets the width."
    )
    likely = shapes.get(tuple(got.shape), otherwise)
    expect(
        got.shape == (B, 2, T),
        f"{name} has the shape {tuple(got.shape)}; for {B} pairs of which the longest row has {T} "
        f"tokens (B, 2, T) is {(B, 2, T)}. {likely}",
    )


def _grouped(block: Tensor) -> Tensor:
    """All chosen rows, then all rejected ones, cut as if they alternated."""
    return block.transpose(0, 1).reshape(block.shape)


def _on_the_left(block: Tensor, lengths: Tensor) -> Tensor:
    """The same rows with their padding on the left; lengths (B, 2)."""
    places = torch.arange(block.shape[2]) + lengths[..., None]
    return block.gather(2, places % block.shape[2])


def _ids_mistakes(want: Tensor, pairs, end: int, pad: int) -> dict[str, list[Tensor]]:
    def block(make, filling=pad) -> Tensor:
        return _side_by_side(_rows(pairs, make), filling)

    def unlike(first, second) -> Tensor:
        one, two = _rows(pairs, first), _rows(pairs, second)
        rows = [(a[0], b[1]) for a, b in zip(one, two, strict=True)]
        return _side_by_side(rows, pad)

    def whole(p, a):
        return [*p.prompt, *a, end]

    lengths = torch.tensor([[len(r) for r in both] for both in _rows(pairs, whole)])
    places = range(len(pairs))
    keys = [
        lengths.amax(1),
        lengths[:, 0],
        lengths[:, 1],
        [len(p.prompt) for p in pairs],
    ]
    orders = [sorted(places, key=lambda i, key=key: int(key[i])) for key in keys]
    orders += [sorted(places, key=lambda i, key=key: -int(key[i])) for key in keys]
    # fmt: off
    return {
        "The prompt is missing: both rows begin with the answer. Whether an answer is good depends on what was "
        "asked.":
            [block(lambda p, a: [*a, end]), block(lambda p, a: a)],
        "Only one of the two rows has the prompt. Both answer the same question, and both rows begin with it.":
            [unlike(whole, lambda p, a: [*a, end]), unlike(lambda p, a: [*a, end], whole)],
        "The end token is missing behind the answers. It is the token at which the reward will be read.":
            [block(lambda p, a: [*p.prompt, *a])],
        "Only one of the two answers has its end token. Both have.":
            [unlike(whole, lambda p, a: [*p.prompt, *a]), unlike(lambda p, a: [*p.prompt, *a], whole)],
        "The rejected answers come first. The chosen one does.": [want.flip(1)],
        "The rows of different pairs are mixed up: all chosen rows and then all rejected ones were cut into pairs, as "
        "if they alternated. Pair 0 then holds two chosen answers.": [_grouped(want)],
        "The padding stands on the left. It stands on the right, behind the end of each row.":
            [_on_the_left(want, lengths)],
        f"Rows are filled up with another number than pad, which is {pad} here.":
            [block(whole, f) for f in (0, 1, -100, -1, end)],
        "The end stands between prompt and answer. It stands behind the answer.":
            [block(lambda p, a: [*p.prompt, end, *a, end]), block(lambda p, a: [*p.prompt, end, *a])],
        "The end token stands there twice. build_example adds it already.":
            [block(lambda p, a: [*p.prompt, *a, end, end])],
        "The answer stands before its prompt.":
            [block(lambda p, a: [*a, *p.prompt, end]), block(lambda p, a: [*a, end, *p.prompt])],
        "The prompt stands there twice.": [block(lambda p, a: [*p.prompt, *p.prompt, *a, end])],
        "Both rows of a pair hold the same answer.":
            [*(want[:, [i]].expand_as(want) for i in (0, 1)),
             block(lambda p, a: whole(p, p.chosen)), block(lambda p, a: whole(p, p.rejected))],
        "All rows begin with the same prompt. Each pair has its own.":
            [block(lambda p, a, i=i: whole(pairs[i], a)) for i in ((0, -1) if len(pairs) > 1 else ())],
        "The end stands in front of the prompt. It stands behind the answer.":
            [block(lambda p, a: [end, *p.prompt, *a])],
        "The end stands behind the padding, in the last column. It follows the answer at once.":
            [torch.cat([block(lambda p, a: [*p.prompt, *a]), want.new_full((len(pairs), 2, 1), end)], -1)],
        "Both answers stand in one row, one behind the other. Each has a row of its own.":
            [block(lambda p, a: [*p.prompt, *p.chosen, *p.rejected, end]),
             block(lambda p, a: [*p.prompt, *p.chosen, end, *p.rejected, end])],
        "The answers are missing: the rows hold the prompt alone.":
            [block(lambda p, a: [*p.prompt, end]), block(lambda p, a: list(p.prompt))],
        "The pairs are sorted, or turned round. They stay in the order in which they came.":
            [*(want[order] for order in orders), want.flip(0)],
        "All pairs hold the same rows.": [want[[i]].expand_as(want) for i in (0, -1)] if len(pairs) > 1 else [],
        "The ids are shifted by one. Nothing is shifted here; whoever calls the model does that.":
            [want.roll(1, 2), want.roll(-1, 2)],
    }
    # fmt: on


def _mask_mistakes(ids: Tensor, real: Tensor, pairs, pad: int) -> dict[str, list]:
    lengths, T = real.sum(-1), real.shape[2]
    places = torch.arange(T)
    prompts = torch.tensor([[len(p.prompt)] * 2 for p in pairs])[..., None]
    shown = places < ((ids != pad) * (places + 1)).amax(-1, keepdim=True)
    one_more = places < ((ids != pad) * (places + 1)).amax(-1, keepdim=True) + 1
    # fmt: off
    return {
        f"The mask was made from the ids, by looking for pad ({pad}). Where pad is the end token too, every answer "
        "loses its end, and the reward is read elsewhere. The padding is known by its place: how long is each row?":
            [ids != pad, shown, real & (ids != pad)],
        f"The mask was made by looking for the last token that is not pad ({pad}). An answer may end in that number "
        "as well. The padding is known by its place: how long is each row?": [one_more],
        "The prompt is left out of the mask: this is the mask of the loss in lesson 05. Here it says what is a "
        "real token, and the prompt's tokens are.":
            [real & (places >= prompts), real & (places >= prompts) & (ids != pad)],
        "The padding counts as real (True).": [torch.ones_like(real), real | (places == lengths[..., None]),
                                               (places >= prompts).expand_as(real)],
        "The mask is the wrong way round: True is a real token.": [~real],
        "The end token of each row is outside the mask. It is a real token, and the reward is read there.":
            [places < lengths[..., None] - 1],
        "Only the prompt is in the mask. The answer and its end are real tokens too.":
            [(places < prompts).expand_as(real)],
        "The masks of chosen and rejected rows are exchanged.": [real.flip(1)],
        "Both rows of a pair have the same mask. Each answer has its own length.":
            [real[:, [0]].expand_as(real), real[:, [1]].expand_as(real),
             real.any(1, keepdim=True).expand_as(real), real.all(1, keepdim=True).expand_as(real)],
        "The masks of different pairs are mixed up: those of all chosen rows and then of all rejected ones were cut "
        "into pairs, as if they alternated.": [_grouped(real)],
        "The mask has its padding on the left, and the ids on the right.": [_on_the_left(real, lengths)],
        "Only the last token of each row is in the mask. All real tokens are.": [places == lengths[..., None] - 1],
        "Nothing is in the mask.": [torch.zeros_like(real)],
        "All pairs have the same mask.": [real[[i]].expand_as(real) for i in (0, -1)] if len(pairs) > 1 else [],
    }
    # fmt: on
