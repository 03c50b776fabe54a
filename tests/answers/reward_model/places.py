"""Answers to lesson 06: the last real token of a row; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch

from course_lib.reward.model import check_rows
from tools.graders import Battery

battery = Battery()


# --- last_index: right ------------------------------------------------------------------------


@battery.right("last_index")
def row_by_row(mask):
    check_rows(mask)
    return torch.tensor([int(row.nonzero()[-1]) for row in mask])


@battery.right("last_index")
def by_the_largest_place(mask):
    check_rows(mask)
    places = torch.arange(mask.shape[1])
    return places.where(mask, -1).max(dim=1).values


@battery.right("last_index")
def from_behind(mask):
    check_rows(mask)
    return mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)


@battery.right("last_index")
def where_the_count_is_complete(mask):
    check_rows(mask)
    return mask.cumsum(dim=1).argmax(dim=1)


@battery.right("last_index")
def in_python(mask):
    found = []
    for row in mask.tolist():
        if True not in row:
            raise ValueError("nothing to read")
        found.append(len(row) - 1 - row[::-1].index(True))
    return torch.tensor(found)


@battery.right("last_index")
def in_numpy(mask):
    check_rows(mask)
    return torch.from_numpy(mask.shape[1] - 1 - mask.numpy()[:, ::-1].argmax(axis=1))


@battery.right("last_index")
def written_over_column_by_column(mask):
    check_rows(mask)
    last = torch.zeros(len(mask), dtype=torch.long)
    for t in range(mask.shape[1]):
        last[mask[:, t]] = t
    return last


@battery.right("last_index")
def by_scattering(mask):
    assert mask.any(dim=1).all(), "a row is all padding"
    rows, places = mask.nonzero(as_tuple=True)
    last = torch.zeros(len(mask), dtype=torch.long)
    return last.scatter_reduce(0, rows, places, "amax")


@battery.right("last_index")
def as_small_whole_numbers(mask):
    check_rows(mask)
    places = torch.arange(mask.shape[1], dtype=torch.int32)
    return (places * mask).amax(dim=1)


# --- last_index: wrong ------------------------------------------------------------------------


def _last(says):
    return battery.wrong("last_index", says=says)


def _found(name, says, find):
    """What find(mask, real, T) finds; real are ones and zeros."""

    def answer(mask):
        check_rows(mask)
        return find(mask, mask.long(), mask.shape[1])

    answer.__name__ = name
    _last(says)(answer)


def _right(m):
    return in_python(m)


_found("counted", "less one", lambda m, r, T: r.sum(1) - 1)
_found("last_column", "last column", lambda m, r, T: torch.full((len(m),), T - 1))
_found("minus_one", "last column", lambda m, r, T: torch.full((len(m),), -1))
_found("first_real", "first real token", lambda m, r, T: r.argmax(1))
_found("column_zero", "first real token", lambda m, r, T: torch.zeros(len(m)).long())
_found("before_the_padding", "first padding", lambda m, r, T: (~m).int().argmax(1) - 1)
_found("by_argmin", "first padding", lambda m, r, T: r.argmin(1) - 1)
_found(
    "before_the_padding_round_about",
    "first padding",
    lambda m, r, T: ((~m).int().argmax(1) - 1) % T,
)
_found(
    "before_the_padding_if_there_is_any",
    "first padding",
    lambda m, r, T: torch.where(m.all(1), T - 1, (1 - r).argmax(1) - 1),
)
_found("first_padding", "where padding stands", lambda m, r, T: (1 - r).argmax(1))
_found(
    "last_padding",
    "where padding stands",
    lambda m, r, T: ((1 - r) * torch.arange(1, T + 1)).amax(1) - 1,
)
_found("argmin", "where padding stands", lambda m, r, T: r.argmin(1))
_found("counted_from_one", "one too many", lambda m, r, T: _right(m) + 1)
_found(
    "largest_place_from_one",
    "one too many",
    lambda m, r, T: (r * torch.arange(1, T + 1)).amax(1),
)
_found("number_of_tokens", "how many real tokens", lambda m, r, T: r.sum(1))
_found("before_the_last", "one too few", lambda m, r, T: _right(m) - 1)
_found("from_the_end", "counted from the end", lambda m, r, T: _right(m) - T)
_found(
    "steps_from_the_end", "counted from the end", lambda m, r, T: r.flip(1).argmax(1)
)
_found(
    "negative_places", "counted from the end", lambda m, r, T: -1 - r.flip(1).argmax(1)
)
_found(
    "through_the_batch",
    "whole batch",
    lambda m, r, T: _right(m) + T * torch.arange(len(m)),
)
_found(
    "first_row_for_all",
    "for the whole batch",
    lambda m, r, T: _right(m)[:1].expand(len(m)),
)
_found(
    "largest_for_all",
    "for the whole batch",
    lambda m, r, T: _right(m).max().expand(len(m)),
)
_found("a_single_place", "whole batch", lambda m, r, T: _right(m).max())
_found("over_all_rows", "whole batch", lambda m, r, T: m.any(0).nonzero()[-1])
_found("argmax_of_everything", "whole batch", lambda m, r, T: r.argmax())
_found("dimension_kept", "stayed", lambda m, r, T: _right(m)[:, None])
_found(
    "nonzero_of_each_row",
    "stayed",
    lambda m, r, T: torch.stack([x.nonzero()[-1] for x in m]),
)
_found("all_places", "each real token", lambda m, r, T: m.nonzero()[:, 1])
_found("all_rows_and_places", "each real token", lambda m, r, T: m.nonzero())
_found(
    "rows_and_places",
    "rows and columns",
    lambda m, r, T: torch.stack([torch.arange(len(m)), _right(m)], 1),
)
_found(
    "one_hot",
    "for each place",
    lambda m, r, T: torch.nn.functional.one_hot(_right(m), T),
)
_found("along_the_rows", "each column", lambda m, r, T: r.cumsum(0).argmax(0))
_found("as_floats", "whole numbers", lambda m, r, T: _right(m).float())
_found("as_a_list", "returned a list", lambda m, r, T: _right(m).tolist())
_found(
    "in_numpy_alone",
    "returned a ndarray",
    lambda m, r, T: T - 1 - np.argmax(m.numpy()[:, ::-1], 1),
)
_found("values_and_places", "returned a max|return_types", lambda m, r, T: r.max(1))
_found(
    "by_the_first_column",
    "which side",
    lambda m, r, T: torch.where(m[:, 0], r.sum(1) - 1, T - 1),
)
_found(
    "by_the_first_row",
    "last column|which side|less one",
    lambda m, r, T: r.sum(1) - 1 if m[0, 0] else torch.full((len(m),), T - 1),
)
_found(
    "by_the_last_column",
    "which side",
    lambda m, r, T: torch.where(m[:, -1], T - 1, r.sum(1) - 1),
)
_found(
    "first_and_number",
    "first gap|finds place",
    lambda m, r, T: r.argmax(1) + r.sum(1) - 1,
)
_found(
    "to_the_first_gap",
    "first gap",
    lambda m, r, T: torch.tensor(
        [next((t for t in range(int(x.argmax()), T) if not x[t]), T) - 1 for x in r]
    ),
)
_found(
    "in_bytes",
    "finds place|whole batch|one too",
    lambda m, r, T: (m.to(torch.uint8) * torch.arange(T).to(torch.uint8)).amax(1),
)
_found("the_worked_value", "shape", lambda m, r, T: torch.tensor([1, 3]))
_found(
    "mean_place",
    "whole numbers",
    lambda m, r, T: (r * torch.arange(T)).sum(1) / r.sum(1),
)
_found(
    "argmax_of_places_times_ids",
    "first real|finds place|where padding",
    lambda m, r, T: (r * torch.arange(T, 0, -1)).argmax(1),
)


@_last("changed its own input")
def blanked_in_place(mask):
    check_rows(mask)
    last = _right(mask)
    mask[:] = False
    return last


@_last("all padding")
def without_a_check(mask):
    return (mask * torch.arange(mask.shape[1])).argmax(1)


@_last("all padding")
def minus_one_for_nothing(mask):
    return torch.where(mask, torch.arange(mask.shape[1]), -1).amax(1)


@_last("all padding.*stops with")
def stops_by_accident(mask):
    return torch.tensor([int(row.nonzero()[-1, 0]) for row in mask])


@_last("all padding")
def leaves_out_what_is_empty(mask):
    return _right(mask[mask.any(1)])


# --- what got through -------------------------------------------------------------------------

_found(
    "places_in_half_precision",
    "finds place 2047",
    lambda m, r, T: (torch.arange(1, T + 1).half() * m).argmax(1),
)
_found(
    "places_in_bfloat16",
    "finds place",
    lambda m, r, T: (torch.arange(1, T + 1).bfloat16() * m).argmax(1),
)


@battery.right("last_index")
def how_many_have_a_token_to_come(mask):
    check_rows(mask)
    return (mask.flip(1).cumsum(1) > 0).sum(1) - 1


@battery.right("last_index")
def as_a_text(mask):
    check_rows(mask)
    rows = ["".join(map(str, row)) for row in mask.int().tolist()]
    return torch.tensor([row.rindex("1") for row in rows])
