"""Answers to lesson 06: pairs side by side; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from course_lib.batches import pad_right
from course_lib.reward.pairs import check_pair_ids
from course_lib.sft.examples import build_example
from tools.graders import Battery

battery = Battery()


# --- collate_pairs: right ---------------------------------------------------------------------


@battery.right("collate_pairs")
def with_what_is_given(pairs, end, pad):
    check_pair_ids(pairs)
    rows = []
    for pair in pairs:
        rows.append(build_example(pair.prompt, pair.chosen, end).ids)
        rows.append(build_example(pair.prompt, pair.rejected, end).ids)
    mask = pad_right([[True] * len(row) for row in rows], False)
    ids = pad_right(rows, pad)
    B, T = len(pairs), ids.shape[1]
    return ids.view(B, 2, T), mask.view(B, 2, T)


@battery.right("collate_pairs")
def stacked_after_padding(pairs, end, pad):
    check_pair_ids(pairs)
    chosen = [[*p.prompt, *p.chosen, end] for p in pairs]
    rejected = [[*p.prompt, *p.rejected, end] for p in pairs]
    ids = pad_right(chosen + rejected, pad)
    lengths = torch.tensor([len(row) for row in chosen + rejected])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    return torch.stack(ids.chunk(2), dim=1), torch.stack(mask.chunk(2), dim=1)


@battery.right("collate_pairs")
def in_lists(pairs, end, pad):
    check_pair_ids(pairs)
    width = 1 + max(len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in pairs)
    ids, mask = [], []
    for prompt, chosen, rejected, _ in pairs:
        both = [list(prompt) + list(answer) + [end] for answer in (chosen, rejected)]
        ids.append([row + [pad] * (width - len(row)) for row in both])
        mask.append([[t < len(row) for t in range(width)] for row in both])
    return torch.tensor(ids), torch.tensor(mask)


@battery.right("collate_pairs")
def written_into_full_tensors(pairs, end, pad):
    check_pair_ids(pairs)
    T = 1 + max(len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in pairs)
    ids = torch.full((len(pairs), 2, T), pad)
    mask = torch.zeros(len(pairs), 2, T, dtype=torch.bool)
    for i, pair in enumerate(pairs):
        for j, answer in enumerate(pair[1:3]):
            row = torch.tensor([*pair.prompt, *answer, end])
            ids[i, j, : len(row)] = row
            mask[i, j, : len(row)] = True
    return ids, mask


@battery.right("collate_pairs")
def with_torchs_own(pairs, end, pad):
    check_pair_ids(pairs)
    rows = [torch.tensor([*p.prompt, *answer, end]) for p in pairs for answer in p[1:3]]
    ids = pad_sequence(rows, batch_first=True, padding_value=pad)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return ids.reshape(-1, 2, ids.shape[1]), mask.bool().reshape(-1, 2, ids.shape[1])


@battery.right("collate_pairs")
def in_numpy(pairs, end, pad):
    rows = [[*p.prompt, *a, end] for p in pairs for a in (p.chosen, p.rejected)]
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    shape = (len(pairs), 2, -1)
    return torch.from_numpy(ids).reshape(shape), torch.from_numpy(mask).reshape(shape)


@battery.right("collate_pairs")
def both_sides_to_one_width(pairs, end, pad):
    check_pair_ids(pairs)
    sides, masks = [], []
    for name in ("chosen", "rejected"):
        rows = [build_example(p.prompt, getattr(p, name), end).ids for p in pairs]
        sides.append(pad_right(rows, pad))
        masks.append(pad_right([[True] * len(row) for row in rows], False))
    T = max(side.shape[1] for side in sides)
    fill = torch.nn.functional.pad
    ids = [fill(side, (0, T - side.shape[1]), value=pad) for side in sides]
    mask = [fill(m, (0, T - m.shape[1]), value=False) for m in masks]
    return torch.stack(ids, 1), torch.stack(mask, 1)


# --- collate_pairs: wrong ---------------------------------------------------------------------


def _pairs(says):
    return battery.wrong("collate_pairs", says=says)


def _changed(name, says, change):
    """The right block, then changed by change(ids, mask, lengths, pad); lengths (B, 2, 1)."""

    def answer(pairs, end, pad):
        ids, mask = with_what_is_given(pairs, end, pad)
        return change(ids, mask, mask.sum(-1, keepdim=True), pad)

    answer.__name__ = name
    _pairs(says)(answer)


def _made(name, says, chosen, rejected=None):
    """Rows that chosen(prompt, answer, end) writes, and rejected too if it differs."""

    def answer(pairs, end, pad):
        check_pair_ids(pairs)
        other = rejected or chosen
        rows = []
        for p in pairs:
            rows += [chosen(p.prompt, p.chosen, end), other(p.prompt, p.rejected, end)]
        mask = pad_right([[True] * len(row) for row in rows], False)
        return pad_right(rows, pad).unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))

    answer.__name__ = name
    _pairs(says)(answer)


def _whole(prompt, answer, end):
    return [*prompt, *answer, end]


_made("without_prompt", "prompt is missing", lambda p, a, e: [*a, e])
_made("answers_alone", "prompt is missing", lambda p, a, e: a)
_made(
    "prompt_for_the_chosen_only",
    "Only one of the two rows",
    _whole,
    lambda p, a, e: [*a, e],
)
_made(
    "prompt_for_the_rejected_only",
    "Only one of the two rows",
    lambda p, a, e: [*a, e],
    _whole,
)
_made("without_end", "end token is missing", lambda p, a, e: [*p, *a])
_made(
    "end_for_the_chosen_only",
    "Only one of the two answers",
    _whole,
    lambda p, a, e: [*p, *a],
)
_made("end_before_the_answer", "between prompt and answer", lambda p, a, e: [*p, e, *a])
_made("end_twice_over", "between prompt and answer", lambda p, a, e: [*p, e, *a, e])
_made("two_ends", "end token stands there twice", lambda p, a, e: [*p, *a, e, e])
_made("answer_first", "before its prompt", lambda p, a, e: [*a, *p, e])
_made("prompt_twice", "prompt stands there twice", lambda p, a, e: [*p, *p, *a, e])
_made("prompt_alone", "answers are missing", lambda p, a, e: [*p, e])
_made("end_in_front", "in front of the prompt", lambda p, a, e: [e, *p, *a])
_made(
    "last_of_the_prompt_only",
    "row of pair 0|longest row",
    lambda p, a, e: [p[-1], *a, e],
)
_made(
    "prompt_without_its_last",
    "row of pair 0|longest row",
    lambda p, a, e: [*p[:-1], *a, e],
)

_changed(
    "exchanged",
    "rejected answers come first",
    lambda i, m, n, p: (i.flip(1), m.flip(1)),
)
_changed(
    "grouped_and_cut",
    "mixed up",
    lambda i, m, n, p: (
        i.transpose(0, 1).reshape(i.shape),
        m.transpose(0, 1).reshape(m.shape),
    ),
)
_changed(
    "mask_grouped_and_cut",
    "different pairs are mixed up",
    lambda i, m, n, p: (i, m.transpose(0, 1).reshape(m.shape)),
)
_changed("mask_by_looking_for_pad", "looking for pad", lambda i, m, n, p: (i, i != p))
_changed("end_eaten", "looking for pad", lambda i, m, n, p: (i, m & (i != p)))
_changed("padding_counts", "padding counts", lambda i, m, n, p: (i, torch.ones_like(m)))
_changed("mask_of_the_padding", "wrong way round", lambda i, m, n, p: (i, ~m))
_changed(
    "end_not_in_the_mask",
    "end token of each row",
    lambda i, m, n, p: (i, torch.arange(i.shape[2]) < n - 1),
)
_changed(
    "one_padding_too_many",
    "padding counts",
    lambda i, m, n, p: (i, torch.arange(i.shape[2]) < n + 1),
)
_changed(
    "last_token_only",
    "Only the last token",
    lambda i, m, n, p: (i, torch.arange(i.shape[2]) == n - 1),
)
_changed(
    "masks_exchanged", "masks of chosen and rejected", lambda i, m, n, p: (i, m.flip(1))
)
_changed(
    "mask_of_the_chosen_for_both",
    "same mask",
    lambda i, m, n, p: (i, m[:, :1].expand_as(m)),
)
_changed("first_mask_for_all", "same mask", lambda i, m, n, p: (i, m[:1].expand_as(m)))
_changed(
    "nothing_in_the_mask", "Nothing is", lambda i, m, n, p: (i, torch.zeros_like(m))
)
_changed("mask_as_numbers", "True or False", lambda i, m, n, p: (i, m.long()))
_changed("mask_as_floats", "True or False", lambda i, m, n, p: (i, m.float()))
_changed("ids_as_floats", "whole numbers", lambda i, m, n, p: (i.float(), m))
_changed("ids_as_small_numbers", "whole numbers", lambda i, m, n, p: (i.short(), m))
_changed("mask_first", "mask came first", lambda i, m, n, p: (m, i))
_changed("ids_alone", "returned a Tensor", lambda i, m, n, p: i)
_changed("as_a_table", "returned a dict", lambda i, m, n, p: {"ids": i, "mask": m})
_changed("with_lengths", "tuple of 3", lambda i, m, n, p: (i, m, n))
_changed("as_lists", "a tensor is wanted", lambda i, m, n, p: (i.tolist(), m.tolist()))
_changed(
    "below_one_another",
    "below one another",
    lambda i, m, n, p: (i.flatten(0, 1), m.flatten(0, 1)),
)
_changed(
    "answers_in_front",
    "second dimension counts",
    lambda i, m, n, p: (i.transpose(0, 1), m.transpose(0, 1)),
)
_changed("answers_last", "second dimension counts", lambda i, m, n, p: (i.mT, m.mT))
_changed(
    "in_one_row_each",
    "stand in one row",
    lambda i, m, n, p: (i.flatten(1), m.flatten(1)),
)
_changed("chosen_alone", "Two are wanted", lambda i, m, n, p: (i[:, 0], m[:, 0]))
_changed("flat", "All rows stand in one", lambda i, m, n, p: (i.flatten(), m.flatten()))
_changed(
    "mask_below_one_another",
    "mask has the shape",
    lambda i, m, n, p: (i, m.flatten(0, 1)),
)
_changed(
    "shifted_for_the_model", "last column", lambda i, m, n, p: (i[..., :-1], m[..., 1:])
)
_changed("rolled", "shifted by one", lambda i, m, n, p: (i.roll(-1, 2), m))
_changed("turned_round", "turned round", lambda i, m, n, p: (i.flip(0), m.flip(0)))
_changed(
    "first_pair_for_all",
    "All pairs hold",
    lambda i, m, n, p: (i[:1].expand_as(i), m[:1].expand_as(m)),
)
_changed(
    "chosen_twice",
    "same answer",
    lambda i, m, n, p: (i[:, :1].expand_as(i), m[:, :1].expand_as(m)),
)
_changed(
    "cut_to_the_shortest",
    "shortest",
    lambda i, m, n, p: (i[..., : n.min()], m[..., : n.min()]),
)
_changed(
    "as_wide_as_the_longest_chosen",
    "longest chosen",
    lambda i, m, n, p: (i[..., : n[:, 0].max()], m[..., : n[:, 0].max()]),
)
_changed(
    "filled_with_zeros", "another number", lambda i, m, n, p: (i.masked_fill(~m, 0), m)
)
_changed(
    "filled_with_ignored",
    "another number",
    lambda i, m, n, p: (i.masked_fill(~m, -100), m),
)
_changed(
    "filled_with_ones", "another number", lambda i, m, n, p: (i.masked_fill(~m, 1), m)
)


def _last_shown(ids, pad):
    places = torch.arange(1, 1 + ids.shape[2])
    return ((ids != pad) * places).amax(-1, keepdim=True)


_changed(
    "trailing_pads_out",
    "looking for pad",
    lambda i, m, n, p: (i, torch.arange(i.shape[2]) < _last_shown(i, p)),
)
_changed(
    "trailing_pads_out_but_one",
    "padding counts|last token that is not pad|is padding",
    lambda i, m, n, p: (i, torch.arange(i.shape[2]) < _last_shown(i, p) + 1),
)


@_pairs("last token that is not pad|answer may end")
def one_more_where_pad_is_the_end(pairs, end, pad):
    ids, _ = with_what_is_given(pairs, end, pad)
    return ids, torch.arange(ids.shape[2]) < _last_shown(ids, pad) + (pad == end)


@_pairs("mask of the loss")
def mask_of_the_loss(pairs, end, pad):
    check_pair_ids(pairs)
    rows = [build_example(p.prompt, a, end) for p in pairs for a in p[1:3]]
    ids = pad_right([row.ids for row in rows], pad)
    mask = pad_right([row.mask for row in rows], False)
    return ids.unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


@_pairs("Only the prompt")
def mask_of_the_prompt(pairs, end, pad):
    ids, mask = with_what_is_given(pairs, end, pad)
    return ids, mask & ~mask_of_the_loss(pairs, end, pad)[1]


@_pairs("padding counts")
def mask_filled_with_true(pairs, end, pad):
    check_pair_ids(pairs)
    rows = [build_example(p.prompt, a, end).ids for p in pairs for a in p[1:3]]
    mask = pad_right([[True] * len(row) for row in rows], True)
    return pad_right(rows, pad).unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


@_pairs("padded each for themselves")
def padded_apart_and_stacked(pairs, end, pad):
    check_pair_ids(pairs)
    chosen = pad_right([[*p.prompt, *p.chosen, end] for p in pairs], pad)
    rejected = pad_right([[*p.prompt, *p.rejected, end] for p in pairs], pad)
    ids = torch.stack([chosen, rejected], dim=1)
    return ids, ids != pad


@_pairs("padded each for themselves")
def padded_pair_by_pair(pairs, end, pad):
    check_pair_ids(pairs)
    both = [
        pad_right([[*p.prompt, *p.chosen, end], [*p.prompt, *p.rejected, end]], pad)
        for p in pairs
    ]
    ids = torch.stack(both)
    return ids, ids != pad


@_pairs("rectangle|not one yet")
def not_padded(pairs, end, pad):
    ids = torch.tensor([[[*p.prompt, *a, end] for a in p[1:3]] for p in pairs])
    return ids, torch.ones_like(ids).bool()


@_pairs("on the left")
def padded_on_the_left(pairs, end, pad):
    check_pair_ids(pairs)
    rows = [[*p.prompt, *a, end] for p in pairs for a in p[1:3]]
    T = max(map(len, rows))
    ids = torch.tensor([[pad] * (T - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (T - len(r)) + [True] * len(r) for r in rows])
    return ids.unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


@_pairs("mask has its padding on the left")
def mask_padded_on_the_left(pairs, end, pad):
    ids, _ = with_what_is_given(pairs, end, pad)
    return ids, padded_on_the_left(pairs, end, pad)[1]


@_pairs("sorted")
def sorted_by_length(pairs, end, pad):
    longest = sorted(pairs, key=lambda p: len(p[0]) + max(len(p[1]), len(p[2])))
    return with_what_is_given(longest, end, pad)


@_pairs("Both answers stand in one row|longest row|one row")
def both_answers_in_one_row(pairs, end, pad):
    rows = [[*p.prompt, *p.chosen, end, *p.rejected, end] for p in pairs]
    ids = pad_right(rows, pad)[:, None].expand(-1, 2, -1)
    return ids, pad_right([[True] * len(r) for r in rows], False)[:, None].expand_as(
        ids
    )


@_pairs("another number|end")
def filled_with_the_end(pairs, end, pad):
    return with_what_is_given(pairs, end, end)


@_pairs("with pad|another number")
def filled_with_nothing_said(pairs, end, pad):
    return with_what_is_given(pairs, end, 0)


@_pairs("changed its own input")
def answers_appended_to_the_prompt(pairs, end, pad):
    check_pair_ids(pairs)
    rows = []
    for p in pairs:
        row = p.prompt
        row += [*p.chosen, end]
        rows += [list(row), [*p.prompt, *p.rejected, end]]
    mask = pad_right([[True] * len(row) for row in rows], False)
    return pad_right(rows, pad).unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


@_pairs("changed its own input")
def ends_appended_in_place(pairs, end, pad):
    for p in pairs:
        p.chosen.append(end)
        p.rejected.append(end)
    rows = [p.prompt + a for p in pairs for a in p[1:3]]
    mask = pad_right([[True] * len(row) for row in rows], False)
    return pad_right(rows, pad).unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


@_pairs("longest row|wider")
def of_a_fixed_width(pairs, end, pad):
    rows = [([*p.prompt, *a, end] + [pad] * 64)[:64] for p in pairs for a in p[1:3]]
    lengths = [len(p.prompt) + len(a) + 1 for p in pairs for a in p[1:3]]
    mask = [[t < n for t in range(64)] for n in lengths]
    return torch.tensor(rows).unflatten(0, (-1, 2)), torch.tensor(mask).unflatten(
        0, (-1, 2)
    )


@_pairs("longest row|last column")
def never_wider_than_twelve(pairs, end, pad):
    ids, mask = with_what_is_given(pairs, end, pad)
    return ids[..., :12], mask[..., :12]


@_pairs("longest row")
def the_worked_batch(pairs, end, pad):
    ids = torch.tensor([[[2, 3, 5, 6, 1], [2, 3, 8, 1, 0]]])
    return ids, ids != pad


@_pairs("tuple of 3")
def with_margins(pairs, end, pad):
    ids, mask = with_what_is_given(pairs, end, pad)
    return ids, mask, torch.tensor([p.margin for p in pairs])


@_pairs("whole numbers")
def through_torch_Tensor(pairs, end, pad):
    rows = [torch.Tensor([*p.prompt, *a, end]) for p in pairs for a in p[1:3]]
    ids = pad_sequence(rows, batch_first=True, padding_value=pad)
    return ids.unflatten(0, (-1, 2)), with_what_is_given(pairs, end, pad)[1]


_BUFFER = torch.zeros(8, 2, 400, dtype=torch.long)


@_pairs("second call")
def one_buffer_for_all_calls(pairs, end, pad):
    ids, mask = with_what_is_given(pairs, end, pad)
    B, _, T = ids.shape
    _BUFFER[:B, :, :T] = ids
    return _BUFFER[:B, :, :T], mask


# --- what got through, or was called by another name ------------------------------------------


@_pairs("Every pair counts")
def one_pair_for_each_prompt(pairs, end, pad):
    of_prompt = {tuple(p.prompt): p for p in pairs}
    return with_what_is_given(list(of_prompt.values()), end, pad)


@_pairs("sorted")
def by_length_of_the_prompt(pairs, end, pad):
    ordered = sorted(pairs, key=lambda p: len(p.prompt))
    return with_what_is_given(ordered, end, pad)


@_pairs("same prompt")
def behind_the_first_prompt(pairs, end, pad):
    asked = pairs[0].prompt
    same = [p._replace(prompt=asked) for p in pairs]
    return with_what_is_given(same, end, pad)


@_pairs("behind the padding")
def end_in_the_last_column(pairs, end, pad):
    check_pair_ids(pairs)
    rows = [p.prompt + a for p in pairs for a in (p.chosen, p.rejected)]
    T = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (T - len(row)) + [end] for row in rows])
    real = [[True] * len(row) + [False] * (T - len(row)) + [True] for row in rows]
    return ids.unflatten(0, (-1, 2)), torch.tensor(real).unflatten(0, (-1, 2))


@_pairs("same answer")
def chosen_in_both_rows(pairs, end, pad):
    check_pair_ids(pairs)
    rows = [p.prompt + p.chosen + [end] for p in pairs for _ in range(2)]
    real = [[True] * len(row) for row in rows]
    ids, mask = pad_right(rows, pad), pad_right(real, False)
    return ids.unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


_made("cut_at_64_tokens", "longest row", lambda p, a, e: [*p, *a, e][:64])
_changed("numbers_of_16_bits", "row of pair", lambda i, m, n, p: (i.short().long(), m))


@battery.right("collate_pairs")
def in_whole_numbers_of_32_bits(pairs, end, pad):
    ids, mask = with_what_is_given(pairs, end, pad)
    return ids.int(), mask
