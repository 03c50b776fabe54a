"""Answers to lesson 05: one example; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch

from course_lib.sft.examples import Example, check_parts, shorten
from tools.graders import Battery

battery = Battery()


# --- build_example: right ---------------------------------------------------------------------


@battery.right("build_example")
def with_what_is_given(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    prompt = shorten(prompt_ids, len(response_ids) + 1, context, cut)
    ids = prompt + list(response_ids) + [end]
    return Example(ids, [i >= len(prompt) for i in range(len(ids))])


@battery.right("build_example")
def by_appending(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    ids, mask = [], []
    for one in shorten(prompt_ids, len(response_ids) + 1, context, cut):
        ids.append(one)
        mask.append(False)
    for one in response_ids:
        ids.append(one)
        mask.append(True)
    ids.append(end)
    mask.append(True)
    return Example(ids=ids, mask=mask)


@battery.right("build_example")
def from_the_right_end(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    answer = [*response_ids, end]
    pairs = [(i, False) for i in prompt_ids] + [(i, True) for i in answer]
    if context is not None and len(pairs) > context:
        if not cut or len(answer) >= context:
            raise ValueError("too long")
        pairs = pairs[-context:]
    ids, mask = zip(*pairs, strict=True)
    return Example(list(ids), list(mask))


@battery.right("build_example")
def in_numpy(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    prompt = shorten(prompt_ids, len(response_ids) + 1, context, cut)
    ids = np.concatenate([prompt, response_ids, [end]])
    mask = np.arange(len(ids)) >= len(prompt)
    return Example(ids.tolist(), mask.tolist())


@battery.right("build_example")
def in_torch(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    prompt = torch.tensor(shorten(prompt_ids, len(response_ids) + 1, context, cut))
    answer = torch.tensor([*response_ids, end])
    mask = torch.cat([torch.zeros_like(prompt), torch.ones_like(answer)]).bool()
    return Example(torch.cat([prompt, answer]).tolist(), mask.tolist())


@battery.right("build_example")
def with_slices_of_its_own(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    total = len(prompt_ids) + len(response_ids) + 1
    over = 0 if context is None else max(0, total - context)
    if over and (not cut or over >= len(prompt_ids)):
        raise ValueError(f"{total} tokens do not fit into {context}")
    kept = tuple(prompt_ids)[over:]
    ids = kept + tuple(response_ids) + (end,)
    mask = (False,) * len(kept) + (True,) * (len(ids) - len(kept))
    return Example(list(ids), list(mask))


# --- build_example: wrong ---------------------------------------------------------------------


def _example(says):
    return battery.wrong("build_example", says=says)


def _changed(name, says, change):
    """A right example, then changed by change(prompt, answer, ids, mask) -> ids, mask."""

    def answer(prompt_ids, response_ids, end, context=None, cut=False):
        ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
        p = len(ids) - len(response_ids) - 1
        return Example(*change(ids[:p], ids[p:], ids, mask))

    answer.__name__ = name
    _example(says)(answer)


_changed(
    "end_outside_the_loss", "end is outside", lambda p, a, i, m: (i, [*m[:-1], False])
)
_changed("end_missing", "end is missing", lambda p, a, i, m: (i[:-1], m[:-1]))
_changed("end_twice", "twice", lambda p, a, i, m: ([*i, a[-1]], [*m, True]))
_changed(
    "end_behind_the_prompt",
    "closes the response",
    lambda p, a, i, m: ([*p, a[-1], *a[:-1]], m),
)
_changed(
    "prompt_counts", "whole prompt counts", lambda p, a, i, m: (i, [True] * len(i))
)
_changed("one_too_early", "too early", lambda p, a, i, m: (i, [*m[1:], True]))
_changed("shifted_to_the_left", "too early", lambda p, a, i, m: (i, [*m[1:], False]))
_changed("one_too_late", "too late", lambda p, a, i, m: (i, [False, *m[:-1]]))
_changed(
    "the_wrong_way_round", "wrong way round", lambda p, a, i, m: (i, [not c for c in m])
)
_changed("nothing_counts", "Nothing counts", lambda p, a, i, m: (i, [False] * len(i)))
_changed(
    "only_the_end_counts",
    "Only the end counts",
    lambda p, a, i, m: (i, [False] * (len(i) - 1) + [True]),
)
_changed("prompt_missing", "prompt is missing", lambda p, a, i, m: (a, [True] * len(a)))
_changed(
    "response_missing",
    "response is missing",
    lambda p, a, i, m: (p + a[-1:], [False] * len(p) + [True]),
)
_changed(
    "response_first",
    "stands before the prompt",
    lambda p, a, i, m: (a[:-1] + p + a[-1:], m),
)
_changed(
    "without_the_opening_of_the_reply",
    "last token of the prompt got lost",
    lambda p, a, i, m: (p[:-1] + a, m[1:]),
)
_changed("ends_taken_out", "taken out", lambda p, a, i, m: _without_ends(p, a))
_changed(
    "padding_is_not_the_end",
    "end is outside",
    lambda p, a, i, m: (i, [c and t != a[-1] for t, c in zip(i, m, strict=True)]),
)
_changed(
    "all_but_ends",
    "equal to the end|Tokens equal",
    lambda p, a, i, m: (i, [t != a[-1] for t in i]),
)
_changed(
    "all_ends_count",
    "end token in the prompt",
    lambda p, a, i, m: (i, [c or t == a[-1] for t, c in zip(i, m, strict=True)]),
)
_changed(
    "behind_the_first_marker",
    "behind the first token",
    lambda p, a, i, m: (i, [t > i.index(p[-1]) for t in range(len(i))]),
)
_changed(
    "behind_the_last_marker",
    "behind the last token",
    lambda p, a, i, m: (i, [t >= len(i) - i[::-1].index(p[-1]) for t in range(len(i))]),
)
_changed(
    "not_in_the_prompt",
    "which tokens stand in",
    lambda p, a, i, m: (i, [t not in p for t in i]),
)
_changed(
    "in_the_response",
    "which tokens stand in",
    lambda p, a, i, m: (i, [t in a for t in i]),
)
_changed(
    "mask_of_numbers",
    "True and False only",
    lambda p, a, i, m: (i, [int(c) for c in m]),
)
_changed(
    "labels",
    "-100",
    lambda p, a, i, m: (i, [t if c else -100 for t, c in zip(i, m, strict=True)]),
)
_changed("masks_exchanged", "exchanged", lambda p, a, i, m: (m, i))
_changed(
    "mask_of_the_answer_alone",
    "Each token has one",
    lambda p, a, i, m: (i, [True] * len(a)),
)
_changed("mask_without_the_end", "Each token has one", lambda p, a, i, m: (i, m[:-1]))
_changed(
    "response_as_one_item",
    "no token number",
    lambda p, a, i, m: ([*p, a[:-1], a[-1]], [*m[: len(p)], True, True]),
)
_changed(
    "as_tensors", "is a Tensor", lambda p, a, i, m: (torch.tensor(i), torch.tensor(m))
)
_changed(
    "mask_as_a_tensor", "mask is a Tensor", lambda p, a, i, m: (i, torch.tensor(m))
)
_changed("mask_of_numpy", "tolist", lambda p, a, i, m: (i, list(np.array(m))))
_changed("ids_of_tensors", "tolist", lambda p, a, i, m: (list(torch.tensor(i)), m))
_changed("mask_turned_round", "mask is", lambda p, a, i, m: (i, m[::-1]))
_changed("ids_sorted", "became the ids", lambda p, a, i, m: (sorted(i), m))
_changed(
    "every_prompt_has_four_tokens",
    "from place 4 on",
    lambda p, a, i, m: (i, [t >= 4 for t in range(len(i))]),
)
_changed(
    "places_counted_from_the_end",
    "counts from the end",
    lambda p, a, i, m: (i, [t >= len(a) for t in range(len(i))]),
)


def _without_ends(prompt, answer):
    end = answer[-1]
    prompt = [i for i in prompt if i != end]
    response = [i for i in answer[:-1] if i != end]
    ids = [*prompt, *response, end]
    return ids, [t >= len(prompt) for t in range(len(ids))]


@_example("holds such a token already")
def end_if_it_is_missing(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    return (
        Example(ids[:-1], mask[:-1]) if response_ids[-1] == end else Example(ids, mask)
    )


@_example("holds such a token already")
def end_if_it_is_new(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    return Example(ids[:-1], mask[:-1]) if end in response_ids else Example(ids, mask)


def _too_long(prompt_ids, response_ids, context, cut):
    """Is there something to be cut? Refuses what cannot be."""
    check_parts(prompt_ids, response_ids)
    shorten(prompt_ids, len(response_ids) + 1, context, cut)
    return context is not None and len(prompt_ids) + len(response_ids) + 1 > context


def _cutting(name, says, change):
    """Right as long as there is room; change(prompt, answer, context) -> ids, mask where not."""

    def answer(prompt_ids, response_ids, end, context=None, cut=False):
        if not _too_long(prompt_ids, response_ids, context, cut):
            return with_what_is_given(prompt_ids, response_ids, end)
        prompt, said = list(prompt_ids), [*response_ids, end]
        ids, p = change(prompt, said, context)
        return Example(ids, [t >= p for t in range(len(ids))])

    answer.__name__ = name
    _example(says)(answer)


_cutting(
    "prompt_cut_from_the_right",
    "lost its end",
    lambda p, a, n: (p[: n - len(a)] + a, n - len(a)),
)
_cutting(
    "prompt_cut_before_its_marker",
    "lost its end",
    lambda p, a, n: (p[: n - len(a) - 1] + p[-1:] + a, n - len(a)),
)
_cutting(
    "row_cut_from_the_right", "cut on the right", lambda p, a, n: ((p + a)[:n], len(p))
)
_cutting(
    "row_cut_from_the_right_with_an_end",
    "cut on the right",
    lambda p, a, n: ([*(p + a)[: n - 1], a[-1]], len(p)),
)
_cutting("answer_pushed_out", "cut on the right", lambda p, a, n: (p[:n], n))
_cutting("context_ignored", "context was ignored", lambda p, a, n: (p + a, len(p)))
_cutting(
    "no_room_for_the_end",
    "end needs a place",
    lambda p, a, n: (p[len(a) - 1 - n :] + a, n - len(a) + 1),
)
_cutting(
    "one_token_too_few",
    "one token more than it has to",
    lambda p, a, n: (p[len(a) + 1 - n :] + a, n - len(a) - 1),
)
_cutting("prompt_thrown_away", "whole prompt is gone", lambda p, a, n: (a, 0))
_cutting(
    "prompt_cut_to_the_context",
    "as if the response needed",
    lambda p, a, n: (p[-n:] + a, len(p[-n:])),
)
_cutting(
    "end_cut_off",
    "cut on the left",
    lambda p, a, n: ((p + a[:-1])[-n:], n - len(a) + 1),
)
_cutting(
    "response_shortened",
    "response was shortened",
    lambda p, a, n: (p + a[:-1][: max(0, n - len(p) - 1)] + a[-1:], len(p)),
)
_cutting(
    "mask_of_the_whole_prompt",
    "made for the whole prompt",
    lambda p, a, n: ((p + a)[-n:], len(p)),
)
_cutting(
    "both_halves",
    "the ids are",
    lambda p, a, n: (
        p[: (n - len(a)) // 2] + p[len(p) - (n - len(a) - (n - len(a)) // 2) :] + a,
        n - len(a),
    ),
)


@_example("Without leave to cut")
def cut_without_leave(prompt_ids, response_ids, end, context=None, cut=False):
    return with_what_is_given(prompt_ids, response_ids, end, context, True)


@_example("Without leave to cut")
def cut_by_default(prompt_ids, response_ids, end, context=None, cut=True):
    return with_what_is_given(prompt_ids, response_ids, end, context, cut)


@_example("Without leave to cut|end needs a place")
def room_asked_without_the_end(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    prompt = shorten(prompt_ids, len(response_ids), context, cut)
    ids = [*prompt, *response_ids, end]
    return Example(ids, [i >= len(prompt) for i in range(len(ids))])


@_example("context was ignored")
def without_the_context(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    return with_what_is_given(prompt_ids, response_ids, end)


@_example("may be of any length")
def with_a_context_of_its_own(prompt_ids, response_ids, end, context=None, cut=False):
    return with_what_is_given(prompt_ids, response_ids, end, context or 1024, cut)


@_example("may be of any length")
def cut_to_a_context_of_its_own(prompt_ids, response_ids, end, context=None, cut=False):
    cut = cut or context is None
    return with_what_is_given(prompt_ids, response_ids, end, context or 2048, cut)


@_example("gives leave to shorten")
def never_cut(prompt_ids, response_ids, end, context=None, cut=False):
    return with_what_is_given(prompt_ids, response_ids, end, context)


@_example("Is there not room enough")
def room_for_one_more(prompt_ids, response_ids, end, context=None, cut=False):
    context = context and context - 1
    return with_what_is_given(prompt_ids, response_ids, end, context, cut)


@_example("There is room for all")
def cut_where_it_just_fits(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    full = len(ids) == context and len(ids) > len(response_ids) + 2
    return Example(ids[1:], mask[1:]) if full else Example(ids, mask)


@_example("filled up to")
def padded(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    room = (context or 0) - len(ids)
    return Example(ids + [0] * room, mask + [False] * room)


@_example("filled up to")
def padded_with_ends(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    room = (context or 0) - len(ids)
    return Example(ids + [end] * room, mask + [True] * room)


@_example("whole prompt counts|mask is")
def all_counts_after_cutting(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    shortened = len(ids) < len(prompt_ids) + len(response_ids) + 1
    return Example(ids, [True] * len(ids) if shortened else mask)


@_example("no room for it")
def answers_of_any_length(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    pairs = [(i, False) for i in prompt_ids] + [(i, True) for i in (*response_ids, end)]
    if context is not None and len(pairs) > context:
        if not cut:
            raise ValueError("too long")
        pairs = pairs[-context:]
    return Example([i for i, _ in pairs], [c for _, c in pairs])


@_example("empty response")
def without_a_check_of_its_parts(
    prompt_ids, response_ids, end, context=None, cut=False
):
    prompt = shorten(prompt_ids, len(response_ids) + 1, context, cut)
    ids = [*prompt, *response_ids, end]
    return Example(ids, [i >= len(prompt) for i in range(len(ids))])


@_example("empty prompt")
def without_a_check_of_the_prompt(
    prompt_ids, response_ids, end, context=None, cut=False
):
    if not response_ids:
        raise ValueError("empty")
    return without_a_check_of_its_parts(prompt_ids, response_ids, end, context, cut)


@_example("changed its own input")
def end_appended_in_place(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    response_ids.append(end)
    prompt = shorten(prompt_ids, len(response_ids), context, cut)
    ids = prompt + response_ids
    return Example(ids, [i >= len(prompt) for i in range(len(ids))])


@_example("changed its own input")
def prompt_extended_in_place(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    p = len(prompt_ids)
    prompt_ids += [*response_ids, end]
    return Example(prompt_ids, [i >= p for i in range(len(prompt_ids))])


@_example("add up|concatenate")
def lists_only(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    prompt = shorten(prompt_ids, len(response_ids) + 1, context, cut)
    ids = prompt + response_ids + [end]
    return Example(ids, [i >= len(prompt) for i in range(len(ids))])


@_example("ids is a tuple")
def an_example_of_tuples(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    return Example(tuple(ids), tuple(mask))


@_example("mask is a tuple")
def a_mask_from_zip(prompt_ids, response_ids, end, context=None, cut=False):
    check_parts(prompt_ids, response_ids)
    answer = [*response_ids, end]
    prompt = shorten(prompt_ids, len(answer), context, cut)
    pairs = [(i, False) for i in prompt] + [(i, True) for i in answer]
    ids, mask = zip(*pairs, strict=True)
    return Example(list(ids), mask)


@_example("fits|refused with a ValueError")
def latest_tokens_of_the_row(prompt_ids, response_ids, end, context=None, cut=False):
    ids = [*prompt_ids, *response_ids, end]
    if context and len(ids) > context:
        if not cut:
            raise ValueError("too long")
        ids = ids[-context:]
    n = len(response_ids) + 1
    return Example(ids, [False] * (len(ids) - n) + [True] * n)


@_example("plain tuple")
def a_plain_tuple(prompt_ids, response_ids, end, context=None, cut=False):
    return tuple(with_what_is_given(prompt_ids, response_ids, end, context, cut))


@_example("returned a list")
def the_ids_alone(prompt_ids, response_ids, end, context=None, cut=False):
    return with_what_is_given(prompt_ids, response_ids, end, context, cut).ids


@_example("returned a dict")
def as_a_table(prompt_ids, response_ids, end, context=None, cut=False):
    return with_what_is_given(prompt_ids, response_ids, end, context, cut)._asdict()


@_example("prompt|became")
def the_worked_example(prompt_ids, response_ids, end, context=None, cut=False):
    return Example([2, 7, 3, 5, 1], [False, False, False, True, True])


_IDS: list = []


@_example("second call")
def one_list_for_all_calls(prompt_ids, response_ids, end, context=None, cut=False):
    ids, mask = with_what_is_given(prompt_ids, response_ids, end, context, cut)
    _IDS[:] = ids
    return Example(_IDS, mask)


@_example("without the words")
def cut_before_context(prompt_ids, response_ids, end, cut=False, context=None):
    return with_what_is_given(prompt_ids, response_ids, end, context, cut)
