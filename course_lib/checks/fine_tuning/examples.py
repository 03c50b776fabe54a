"""Checks of lesson 05: one example for training, from the parts it is made of.

Prompts hold the very tokens that a careless search looks for, and responses hold the
end token; numbers of tokens differ.
"""

from typing import NamedTuple

import torch

from course_lib.checks.asking import ask, expect
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.fine_tuning.template import REFUSED, drawn, refuses
from course_lib.checks.harness import check
from course_lib.sft import examples

# --- build_example ----------------------------------------------------------------------------


class _Parts(NamedTuple):
    """What one example is made of."""

    prompt: list[int]
    response: list[int]
    end: int


def _ids_of(parts: _Parts) -> list[int]:
    return parts.prompt + parts.response + [parts.end]


def _drawn_parts(draw: torch.Generator, prompt: int, response: int) -> _Parts:
    """Few different tokens, so that those of the prompt come again in the response."""
    end = drawn(draw, 0, 5)

    def some(count: int) -> list[int]:
        return torch.randint(0, 9, (count,), generator=draw).tolist()

    return _Parts([*some(prompt - 1), 3], some(response), end)


@check(
    examples.build_example,
    proved="Prompt, response and one end stand in their order, response and end count and nothing else does, "
    "whatever tokens the prompt holds; a long prompt loses its beginning, and no answer loses a token.",
)
def build_example(answer, draw):
    _example_whole(answer, _Parts([2, 7, 8, 9, 10, 3], [5, 6], 1))
    _example_whole(answer, _Parts([2, 9, 3, 8, 1, 2, 7, 9, 3], [5, 3, 9, 6], 1))
    _example_whole(answer, _Parts([2, 7, 3], [1, 5, 1, 7], 1))
    _example_whole(answer, _Parts([2, 8, 9, 3], [5, 1], 1))
    _example_whole(answer, _Parts([3], [0], 0))
    for lengths in ((5, 3), (2, 7), (9, 2), (1, 4)):
        _example_whole(answer, _drawn_parts(draw, *lengths))
    _example_with_room(answer, _Parts([2, 7, 8, 3], [5, 6], 1))
    _example_cut(answer, _Parts([2, *range(10, 17), 3], [5, 6, 4], 1), 8)
    for lengths, context in (((9, 3), 5), ((6, 1), 3), ((7, 5), 12), ((30, 8), 21)):
        _example_cut(answer, _drawn_parts(draw, *lengths), context)
    _example_of_any_length(answer, draw)
    _example_no_leave(answer)
    _example_refused(answer)
    _example_forms(answer)


def _example_ask(answer, parts: _Parts, **options) -> tuple[list[int], list[bool]]:
    got = ask(answer, *parts, **options)
    expect(
        isinstance(got, tuple) and len(got) == 2,
        f"It returned a {type(got).__name__}; an Example of two parts is wanted, ids and mask.",
    )
    expect(
        isinstance(got, examples.Example),
        "It returned a plain tuple; its two parts go into an Example, so that they have names.",
    )
    for name, part in (("ids", got.ids), ("mask", got.mask)):
        expect(
            isinstance(part, list),
            f"{name} is a {type(part).__name__}; a list is wanted.",
        )
    ids, mask = list(got.ids), list(got.mask)
    for name, part in (("ids", ids), ("mask", mask)):
        expect(
            not any(hasattr(one, "item") for one in part),
            f"{name} is a list, but what it holds is torch's or NumPy's. Plain ones are wanted: tolist() gives them.",
        )
    for one in ids:
        expect(
            isinstance(one, int) and not isinstance(one, bool),
            f"The ids hold {one!r}, which is no token number. Is a list standing inside the list, or are ids and mask "
            "exchanged?",
        )
    expect(
        not any(one == examples.IGNORED for one in mask),
        "The mask holds -100. That is how labels say it elsewhere; a mask is True or False.",
    )
    expect(
        all(isinstance(one, bool) for one in mask),
        f"The mask is {mask}; it holds True and False only.",
    )
    expect(
        len(ids) == len(mask),
        f"There are {len(ids)} ids and {len(mask)} values in the mask. Each token has one.",
    )
    return ids, mask


def _shown(parts: _Parts) -> str:
    return (
        f"The prompt {parts.prompt}, the response {parts.response} and end={parts.end}"
    )


def _example_whole(answer, parts: _Parts, **options) -> None:
    ids, mask = _example_ask(answer, parts, **options)
    prompt, response, end = parts
    whole = _ids_of(parts)
    # fmt: off
    _example_named(ids, whole, {
        "The end was left out since the response holds such a token already. It may say so; one more closes the row.":
            [prompt + response] if end in response else [],
        "The end is missing, so nothing would teach the model to stop.": [prompt + response],
        "The end stands there twice.": [[*whole, end]],
        "The end stands behind the prompt. It closes the response.":
            [[*prompt, end, *response], [*prompt, end, *response, end]],
        "The prompt is missing. The model reads it, although it does not count.": [[*response, end], response],
        "The response is missing.": [[*prompt, end], prompt],
        "The response stands before the prompt.": [response + prompt + [end], [*response, end, *prompt]],
        "The last token of the prompt got lost. It opens the reply.": [prompt[:-1] + response + [end]],
        "The last token of the response got lost.": [prompt + response[:-1] + [end]],
        "End tokens of the prompt or the response were taken out. They stay; one more closes the row.":
            [[i for i in prompt + response if i != end] + [end], prompt + [i for i in response if i != end] + [end]],
        "The first token of the prompt got lost, although there is room for all.": [whole[1:]],
    }, f"{_shown(parts)} became the ids {ids}.")
    # fmt: on
    _example_mask(mask, parts, parts.prompt)


def _example_named(got: list, want: list, mistakes: dict, otherwise: str) -> None:
    if got == want:
        return
    for mistake, results in mistakes.items():
        if got in results:
            raise CheckFailed(mistake)
    raise CheckFailed(otherwise)


def _example_mask(mask: list[bool], parts: _Parts, prompt: list[int]) -> None:
    """Fail with a name unless the mask is right for a prompt that may be a shortened one."""
    _, response, end = parts
    ids = [*prompt, *response, end]
    T, p, marker = len(ids), len(prompt), prompt[-1]
    first = ids.index(marker) + 1
    last = T - ids[::-1].index(marker)

    def after(place: int) -> list[bool]:
        return [t >= place for t in range(T)]

    want = after(p)
    # fmt: off
    _example_named(mask, want, {
        "The end is outside the loss (False). Nothing would teach the model to stop.":
            [[*want[:-1], False]],
        "The whole prompt counts. The model is marked on the response and its end alone.": [after(0)],
        "The mask is True one token too early: the token that opens the reply counts. Nothing is shifted here.":
            [after(p - 1), [*after(p - 1)[:-1], False]],
        "The mask is True one token too late: the first token of the response does not count. Nothing is shifted "
        "here.": [after(p + 1)],
        "The mask is the wrong way round: the prompt counts, and the response does not.":
            [[not counts for counts in want], [*(not counts for counts in want[:-1]), True]],
        "The mask was made for the whole prompt, and the prompt was shortened.":
            [after(len(parts.prompt))] if p < len(parts.prompt) else [],
        "Nothing counts.": [[False] * T],
        "Only the end counts, and no token of the response.": [after(T - 1)],
        "The mask counts from the end: the prompt's length was taken for the length of the rest.":
            [after(T - p)],
        "Tokens equal to the end were left out of the loss. The end counts, and so does everything in the "
        "response.":
            [[i != end for i in ids], [c and i != end for c, i in zip(want, ids, strict=True)],
             [c and (i != end or t == T - 1) for t, (c, i) in enumerate(zip(want, ids, strict=True))]],
        "An end token in the prompt counts. Only the last one of the row does; others stand where they stand.":
            [[c or i == end for c, i in zip(want, ids, strict=True)]],
        "The mask begins behind the first token that looks like the opening of a reply. Such a token may stand "
        "anywhere in a prompt: do not search, the parts are known.": [after(first)],
        "The mask begins behind the last token that looks like the opening of a reply. Such a token may stand in a "
        "response: do not search, the parts are known.": [after(last)],
        "The mask asks which tokens stand in the prompt, or in the response. The same token may stand in both: "
        "what matters is its place.":
            [[i not in prompt for i in ids], [i in response for i in ids], [i in [*response, end] for i in ids],
             [t == T - 1 or i not in prompt for t, i in enumerate(ids)],
             [c and i not in prompt for c, i in zip(want, ids, strict=True)]],
    }, f"With a prompt of {p} tokens the mask is True from place {mask.index(True)} on. Places are counted from 0: where "
       "does the response begin?" if True in mask and mask == after(mask.index(True)) else
       f"With {p} tokens of the prompt and {len(response)} of the response the mask is {mask}. "
       "Which tokens should it keep?")
    # fmt: on


def _example_with_room(answer, parts: _Parts) -> None:
    """A context that is just large enough, or larger, changes nothing; cut with None neither."""
    total = len(_ids_of(parts))
    for options in (
        {"context": total},
        {"context": total, "cut": True},
        {"context": total + 3},
        {"context": total + 1, "cut": True},
        {"cut": True},
    ):
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        try:
            ids, mask = _example_ask(answer, parts, **options)
        except REFUSED as error:
            if isinstance(error, CheckFailed):
                raise
            raise CheckFailed(
                f"A row of {total} tokens is refused with {given}: {first_line(error)} Is there not room enough?"
            ) from error
        whole, context = _ids_of(parts), options.get("context") or total
        expect(
            len(ids) <= total or len(ids) != context,
            f"With {given} the row of {total} tokens was filled up to {context}. Rows get their common "
            "length later, in the batch.",
        )
        expect(
            ids == whole,
            f"With {given} a row of {total} tokens became {ids}. There is room for all of them: nothing is cut.",
        )
        _example_mask(mask, parts, parts.prompt)


def _example_of_any_length(answer, draw: torch.Generator) -> None:
    parts = _drawn_parts(draw, 2100, 700)
    try:
        ids, mask = _example_ask(answer, parts)
    except REFUSED as error:
        if isinstance(error, CheckFailed):
            raise
        raise CheckFailed(
            f"A row of 2,801 tokens is refused without any context: {first_line(error)} With None a row may be of any "
            "length."
        ) from error
    expect(
        ids == _ids_of(parts) and mask == [t >= 2100 for t in range(2801)],
        f"Without any context a row of 2,801 tokens became one of {len(ids)}, or lost its mask. With None it may be of "
        "any length.",
    )


def _example_cut(answer, parts: _Parts, context: int) -> None:
    given = f"{len(parts.prompt)} tokens of prompt, {len(parts.response)} of response, context={context}, cut=True"
    try:
        ids, mask = _example_ask(answer, parts, context=context, cut=True)
    except REFUSED as error:
        if isinstance(error, CheckFailed):
            raise
        raise CheckFailed(
            f"With {given} it refuses: {first_line(error)} `cut` gives leave to shorten the prompt."
        ) from error
    prompt, response, end = parts
    answered = [*response, end]
    room = context - len(answered)
    # fmt: off
    _example_named(ids, prompt[len(prompt) - room :] + answered, {
        "The prompt lost its end. The question stands there, and the token that opens the reply: it loses its "
        "beginning.": [prompt[:room] + answered, prompt[: room - 1] + prompt[-1:] + answered],
        "The row was cut on the right, so that the answer lost its end or all of it. The prompt is what is cut.":
            [_ids_of(parts)[:context], [*_ids_of(parts)[: context - 1], end], prompt[:context]],
        "The context was ignored: the row is longer than the model reads.": [_ids_of(parts)],
        f"The row has {context + 1} tokens, and context={context}. The end needs a place as well.":
            [prompt[len(prompt) - room - 1 :] + answered],
        "The prompt lost one token more than it has to: the row has room for another.":
            [prompt[len(prompt) - room + 1 :] + answered],
        "The prompt was cut as if the response needed no room.": [prompt[-context:] + answered],
        "The row was cut on the left, and the end has no place in it.": [(prompt + response)[-context:]],
        "The whole prompt is gone. It loses as much of its beginning as it has to.": [answered],
        "The response was shortened. It is the prompt that is cut.":
            [prompt + response[: max(0, context - len(prompt) - 1)] + [end],
             prompt + response[: max(0, context - len(prompt))] + [end],
             prompt[len(prompt) - room :] + response[1:] + [end]],
    }, f"With {given} the ids are {ids}. The prompt {prompt} loses as much of its beginning as it has to, and no "
       f"more; the answer with its end, {answered}, loses nothing.")
    # fmt: on
    _example_mask(mask, parts, prompt[len(prompt) - room :])


def _example_no_leave(answer) -> None:
    """Too long by one or more, and cut is False."""
    parts = _Parts([2, 7, 8, 9, 3], [5, 6], 1)
    for context in (7, 5):
        for options in ({}, {"cut": False}):
            if not refuses(answer, *parts, context=context, **options):
                ids, _ = _example_ask(answer, parts, context=context, **options)
                raise CheckFailed(
                    f"Without leave to cut, an example of 8 tokens with context={context} became a row of "
                    f"{len(ids)}. What is too long, the end included, is refused with a ValueError unless cut=True."
                )


def _example_refused(answer) -> None:
    for context in (4, 3):
        expect(
            refuses(answer, [2, 7, 8, 3], [5, 6, 4], 1, context=context, cut=True),
            f"An answer of 4 tokens, its end included, went into a row with context={context}. Behind at least one "
            "token of the prompt there is no room for it: such an example is refused with a ValueError, even if "
            "cut=True.",
        )
    for prompt, response, what in (([2, 3], [], "response"), ([], [5, 6], "prompt")):
        expect(
            refuses(answer, prompt, response, 1),
            f"It accepts an empty {what}. `check_parts` refuses that with a ValueError: it is "
            "called first.",
        )


def _example_forms(answer) -> None:
    """Tuples come in as well, and options without their names."""
    ids, mask = _example_ask(answer, _Parts((2, 7, 3), (5, 6), 1))
    expect(
        (ids, mask) == ([2, 7, 3, 5, 6, 1], [False] * 3 + [True] * 3),
        f"With tuples instead of lists the ids are {ids} and the mask is {mask}, other than with lists.",
    )
    asked = "build_example([2, 7, 8, 3], [5], 1, 4, True), without the words context= and cut=,"
    try:
        ids, _ = ask(answer, [2, 7, 8, 3], [5], 1, 4, True)
    except REFUSED as error:
        if isinstance(error, CheckFailed):
            raise
        raise CheckFailed(f"{asked} stops: {first_line(error)}") from error
    expect(
        list(ids) == [8, 3, 5, 1],
        f"{asked} gives the ids {list(ids)}, other than with these words.",
    )
    first, _ = (answer([2, 3], [5], end) for end in (1, 4))
    expect(
        list(first.ids) == [2, 3, 5, 1]
        and list(first.mask) == [False, False, True, True],
        "A second call changed what the first one had returned. Each call needs lists of its own.",
    )
