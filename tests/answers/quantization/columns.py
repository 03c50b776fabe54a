"""Answers to lesson 11: columns that make up for others; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch

from tools.graders import Battery

battery = Battery()


def _right(answer):
    return battery.right("column_step")(answer)


# --- right --------------------------------------------------------------------------------------


@_right
def with_a_new_dimension(rest, rounded, row):
    error = (rest[:, 0] - rounded) / row[0]
    return rest[:, 1:] - error[:, None] * row[1:]


@_right
def number_by_number(rest, rounded, row):
    out, k = rest.shape
    found = torch.empty(out, k - 1, dtype=rest.dtype)
    for i in range(out):
        e = (rest[i, 0] - rounded[i]) / row[0]
        for j in range(1, k):
            found[i, j - 1] = rest[i, j] - e * row[j]
    return found


@_right
def with_outer_and_all_columns(rest, rounded, row):
    """The first column becomes what it was rounded to, and is dropped."""
    return (rest - torch.outer((rest[:, 0] - rounded) / row[0], row))[:, 1:]


@_right
def with_the_row_divided(rest, rounded, row):
    first, *_ = rest.unbind(dim=1)
    return rest[:, 1:] + (rounded - first).unsqueeze(1) @ (row[1:] / row[0]).unsqueeze(0)  # fmt: skip


@_right
def in_place_on_a_copy(rest, rounded, row):
    left = rest[:, 1:].clone()
    error = rest[:, 0].sub(rounded).div(row[0])
    for j in range(left.shape[1]):
        left[:, j] -= error * row[j + 1]
    return left


@_right
def row_by_row(rest, rounded, row):
    rows = [w[1:] - (w[0] - r) / row[0] * row[1:] for w, r in zip(rest, rounded, strict=True)]  # fmt: skip
    return torch.stack(rows)


@_right
def with_einsum(rest, rounded, row):
    error = (rest[:, 0] - rounded) / row[0]
    return rest[:, 1:] - torch.einsum("o,k->ok", error, row[1:])


@_right
def in_numpy(rest, rounded, row):
    w, r, u = (x.numpy() for x in (rest, rounded, row))
    return torch.from_numpy(w[:, 1:] - np.multiply.outer((w[:, 0] - r) / u[0], u[1:]))


@_right
def with_addr(rest, rounded, row):
    error = (rest[:, 0] - rounded) / row[0]
    return torch.addr(rest[:, 1:], error, row[1:], alpha=-1)


@_right
def turned_round_and_back(rest, rounded, row):
    columns = rest.T
    error = (columns[0] - rounded) / row[0]
    return (columns[1:] - row[1:, None] * error).T


# --- wrong --------------------------------------------------------------------------------------


def _wrong(name, says, find):
    """find(rest, rounded, row)"""

    def answer(rest, rounded, row):
        return find(rest, rounded, row)

    answer.__name__ = name
    battery.wrong("column_step", says=says)(answer)


def _loses(name, says, error=None, numbers=None, later=None):
    """Right, but for the error (w, r, u0) or the numbers (row, k)."""

    def find(rest, rounded, row):
        w, d = rest[:, 0], row[0]
        e = error(w, rounded, d) if error else (w - rounded) / d
        u = numbers(row) if numbers else row[1:]
        return (later(rest) if later else rest[:, 1:]) - e[:, None] * u

    _wrong(name, says, find)


_loses("diagonal_forgotten", "not divided by the diagonal", lambda w, r, d: w - r)
_loses("diagonal_multiplied", "multiplied by the diagonal", lambda w, r, d: (w - r) * d)
_loses("diagonal_twice", "diagonal twice", lambda w, r, d: (w - r) / d**2)
_loses("row_divided_as_well", "diagonal twice", numbers=lambda u: u[1:] / u[0])
_loses("root_of_the_diagonal", "square root", lambda w, r, d: (w - r) / d.sqrt())
_loses("sign_turned", "sign is wrong", lambda w, r, d: (r - w) / d)
_wrong("added", "sign is wrong", lambda x, r, u: x[:, 1:] + ((x[:, 0] - r) / u[0])[:, None] * u[1:])  # fmt: skip
_loses("added_without_the_diagonal", "not divided by the diagonal", lambda w, r, d: r - w)  # fmt: skip
_loses("mean_error", "has its own error", lambda w, r, d: ((w - r) / d).mean().expand_as(w))  # fmt: skip
_loses("total_error", "has its own error", lambda w, r, d: ((w - r) / d).sum().expand_as(w))  # fmt: skip
_loses("error_of_the_first_row", "has its own error", lambda w, r, d: ((w - r) / d)[:1].expand_as(w))  # fmt: skip
_loses("norm_of_the_errors", "has its own error", lambda w, r, d: ((w - r) / d).norm().expand_as(w))  # fmt: skip
_loses("size_of_the_error", "lost its sign", lambda w, r, d: (w - r).abs() / d)
_loses("sizes_of_the_row", "`row` lost their signs", numbers=lambda u: u[1:].abs())
_loses("relative_error", "relative", lambda w, r, d: (w - r) / w / d)
_loses("rounds_itself", "rounds the first column itself", lambda w, r, d: (w - w.round()) / d)  # fmt: skip
_loses("whole_number", "whole first number", lambda w, r, d: w / d)
_loses("rounded_alone", "whole first number", lambda w, r, d: r / d)
_loses("one_place_off", "one place off", numbers=lambda u: u[:-1])
_loses("reversed_row", "wrong order", numbers=lambda u: u[1:].flip(0))
_loses("one_number_for_all", "its own number", numbers=lambda u: u[1:2].expand_as(u[1:]))  # fmt: skip
_loses("mean_number", "its own number", numbers=lambda u: u[1:].mean().expand_as(u[1:]))
_loses("no_numbers", "its own number", numbers=lambda u: torch.ones_like(u[1:]))
_loses("next_alone", "Only the next column", numbers=lambda u: torch.cat([u[1:2], 0 * u[2:]]))  # fmt: skip
_loses("the_first_columns_change", "should become", later=lambda x: x[:, :-1])
_wrong("nothing_done", "nothing makes up", lambda x, r, u: x[:, 1:].clone())
_wrong("changes_alone", "the changes", lambda x, r, u: ((x[:, 0] - r) / u[0])[:, None] * u[1:])  # fmt: skip
_wrong("first_column_returned", "goes out", lambda x, r, u: x - ((x[:, 0] - r) / u[0])[:, None] * u)  # fmt: skip
_wrong("first_column_kept", "goes out", lambda x, r, u: torch.cat([r[:, None], x[:, 1:] - ((x[:, 0] - r) / u[0])[:, None] * u[1:]], 1))  # fmt: skip
_wrong("without_a_new_dimension", "stopped with RuntimeError|landed on columns", lambda x, r, u: x[:, 1:] - (x[:, 0] - r) / u[0] * u[1:])  # fmt: skip
_wrong("first_row_for_first_column", "stopped with RuntimeError", lambda x, r, u: x[:, 1:] - ((x[0] - r) / u[0])[:, None] * u[1:])  # fmt: skip
_wrong("divided_number_by_number", "own column's number|stopped with", lambda x, r, u: x[:, 1:] - (x[:, :1] - r[:, None]) / u[1:])  # fmt: skip
_wrong("rounded_too", "rounded as well", lambda x, r, u: (x[:, 1:] - ((x[:, 0] - r) / u[0])[:, None] * u[1:]).round())  # fmt: skip
_wrong("a_factor", "multiplied with the columns", lambda x, r, u: x[:, 1:] * (1 - ((x[:, 0] - r) / u[0])[:, None] * u[1:]))  # fmt: skip
_wrong("as_rows", "Rows of the matrix became columns", lambda x, r, u: (x[:, 1:] - ((x[:, 0] - r) / u[0])[:, None] * u[1:]).T)  # fmt: skip
_wrong("first_row_alone", "has its own error|returned shape", lambda x, r, u: x[0, 1:] - (x[0, 0] - r[0]) / u[0] * u[1:])  # fmt: skip
_wrong("next_column_alone", "not the next alone|returned shape", lambda x, r, u: x[:, 1] - (x[:, 0] - r) / u[0] * u[1])  # fmt: skip
_wrong("rows_left", "first row|stopped with", lambda x, r, u: x[1:] - ((x[1:, 0] - r[1:]) / u[0])[:, None] * u)  # fmt: skip
_wrong("as_a_list", "a tensor is wanted", lambda x, r, u: (x[:, 1:] - ((x[:, 0] - r) / u[0])[:, None] * u[1:]).tolist())  # fmt: skip
_wrong("in_float32", "came torch.float32", lambda x, r, u: (x[:, 1:] - ((x[:, 0] - r) / u[0])[:, None] * u[1:]).float())  # fmt: skip
_wrong("in_float64", "came torch.float64", lambda x, r, u: with_outer_and_all_columns(x.double(), r.double(), u.double()))  # fmt: skip
_wrong("in_float32_on_the_way", "first seven digits", lambda x, r, u: with_outer_and_all_columns(x.float(), r.float(), u.float()).to(x.dtype))  # fmt: skip
_wrong("in_half", "first digits|stopped with", lambda x, r, u: with_outer_and_all_columns(x.bfloat16(), r.bfloat16(), u.bfloat16()).to(x.dtype))  # fmt: skip
_wrong("with_a_small_constant", "first digits|should become|first seven", lambda x, r, u: x[:, 1:] - ((x[:, 0] - r) / (u[0] + 1e-3))[:, None] * u[1:])  # fmt: skip
_wrong("worked_value", "returned shape", lambda x, r, u: torch.tensor([[1.2, 1.0]]))
_loses("small_diagonals_held", "should become", lambda w, r, d: (w - r) / d.clamp(min=1e-2))  # fmt: skip
_wrong("last_column_left_out", "last column was left out", lambda x, r, u: (x - ((x[:, 0] - r) / u[0])[:, None] * u)[:, :-1])  # fmt: skip
_wrong("result_held", "should become", lambda x, r, u: with_outer_and_all_columns(x, r, u).clamp(-10, 10))  # fmt: skip
_wrong("correction_held", "should become", lambda x, r, u: x[:, 1:] - (((x[:, 0] - r) / u[0])[:, None] * u[1:]).clamp(-0.5, 0.5))  # fmt: skip


def _in_place(name, change):
    def answer(rest, rounded, row):
        change(rest, rounded, row)
        return rest[:, 1:]

    answer.__name__ = name
    battery.wrong("column_step", says="changed its own input")(answer)


def _minus(rest, rounded, row):
    rest[:, 1:] -= ((rest[:, 0] - rounded) / row[0])[:, None] * row[1:]


def _whole(rest, rounded, row):
    rest -= torch.outer((rest[:, 0] - rounded) / row[0], row)


_in_place("in_place", _minus)
_in_place("all_in_place", _whole)


@battery.wrong("column_step", says="changed its own input")
def the_row_divided_in_place(rest, rounded, row):
    row /= row[0].clone()
    return rest[:, 1:] - (rest[:, 0] - rounded)[:, None] * row[1:]


@battery.wrong("column_step", says="none is left")
def not_for_the_last_column(rest, rounded, row):
    if rest.shape[1] == 1:
        return rest
    return with_einsum(rest, rounded, row)


@battery.wrong("column_step", says="none is left.*non-empty")
def stacked(rest, rounded, row):
    """Of no columns nothing can be stacked."""
    error = (rest[:, 0] - rounded) / row[0]
    later = zip(rest.T[1:], row[1:], strict=True)
    return torch.stack([column - error * u for column, u in later], dim=1)
