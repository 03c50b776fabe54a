"""Check of lesson 05: the learner's test of any builder of examples, and the builders it must tell apart.

A builder is called as build(prompt_ids, response_ids, end, context) and returns ids and
mask. What is too long loses the beginning of its prompt until the row has `context`
tokens. The faulty ones have what is wrong in published preparations of training data;
some of them look for the tokens of "### Response:", which the lesson calls MARKER.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from course_lib import pretrained
from course_lib.checks.learners_tests import check_test
from course_lib.sft import examples
from course_lib.sft.examples import Example


class _Row(NamedTuple):
    """What a faulty version has before it."""

    prompt: list[int]  # as much of it as there is room for
    answer: list[int]  # the response and its end
    context: int | None
    whole: list[int]  # the prompt as it came in

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.answer

    @property
    def mask(self) -> list[bool]:
        return [False] * len(self.prompt) + [True] * len(self.answer)

    @property
    def end(self) -> int:
        return self.answer[-1]

    @property
    def opening(self) -> int:
        return self.whole[-1]

    @property
    def cut(self) -> bool:
        return len(self.prompt) < len(self.whole)


def _refuse(prompt_ids, response_ids, end, context) -> None:
    """Not asserts: those would look like the test's own."""
    for name, ids in (("prompt_ids", prompt_ids), ("response_ids", response_ids)):
        if not isinstance(ids, list | tuple) or not all(type(i) is int for i in ids):
            raise TypeError(f"{name} is a list of token numbers, such as [5, 6]")
        if not ids:
            raise ValueError(f"{name} is empty, so there is no example to be built")
    if type(end) is not int:
        raise TypeError("end is the number of one token, such as 1")
    if context is not None and type(context) is not int:
        raise TypeError("context is a number of tokens, or None")
    too_long = len(prompt_ids) + len(response_ids) + 1 > (context or 0)
    if context is not None and too_long and len(response_ids) + 1 >= context:
        raise ValueError(
            f"context={context} leaves no room for a token of the prompt beside the answer, which has "
            f"{len(response_ids) + 1} tokens with its end"
        )


class _Built(Example):
    """An Example that says what it holds in few words."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"the ids {self.ids} with the mask {''.join(str(int(c)) for c in self.mask)}"


# --- right versions ---------------------------------------------------------------------------


def _by_its_parts(prompt_ids, response_ids, end, context=None):
    _refuse(prompt_ids, response_ids, end, context)
    answer = [*response_ids, end]
    room = None if context is None else max(0, context - len(answer))
    prompt = list(prompt_ids)
    if room is not None and len(prompt) > room:
        prompt = prompt[len(prompt) - room :]
    mask = [False] * len(prompt) + [True] * len(answer)
    return _Built(prompt + answer, mask)


def _by_the_end_of_the_row(prompt_ids, response_ids, end, context=None):
    _refuse(prompt_ids, response_ids, end, context)
    marked = [(i, False) for i in prompt_ids]
    marked += [(i, True) for i in (*response_ids, end)]
    if context is not None:
        marked = marked[-context:]
    return _Built([i for i, _ in marked], [counts for _, counts in marked])


def _token_by_token(prompt_ids, response_ids, end, context=None):
    _refuse(prompt_ids, response_ids, end, context)
    ids, mask = [end], [True]
    for source, counts in ((response_ids, True), (prompt_ids, False)):
        for one in reversed(source):
            if context is None or len(ids) < context:
                ids.insert(0, one)
                mask.insert(0, counts)
    return _Built(ids, mask)


# --- faulty versions --------------------------------------------------------------------------

_FAULTY: dict = {}
_SHOWN_BY: dict = {}  # what inputs show a version's fault
_MAY_HIDE: set = set()  # versions whose fault a test's inputs need not show


def _faulty(description: str, shown_by: str, may_hide: bool = False):
    """Registers a version made from rule(row), which gives ids and mask."""

    def register(rule):
        def version(prompt_ids, response_ids, end, context=None):
            ids, _ = _by_its_parts(prompt_ids, response_ids, end, context)
            p = len(ids) - len(response_ids) - 1
            row = _Row(ids[:p], ids[p:], context, list(prompt_ids))
            return _Built(*map(list, rule(row)))

        _FAULTY[f"one that {description}"] = version
        _SHOWN_BY[version] = shown_by
        if may_hide:
            _MAY_HIDE.add(version)
        return rule

    return register


_ALWAYS = "It always shows."
_AGAIN = "Let the prompt's last token, which opens the reply, stand earlier in the prompt too: a user may type it."
_LATER = "Let the prompt's last token stand in the response too."
_MARKER = "Take a prompt with `MARKER` in it, more than once or not at its end."
_STRETCH = (
    "Let the prompt's last two tokens stand side by side earlier in the prompt too."
)
_SHARED = "Let a token of the response stand in the prompt too."
_ENDED = "Let the end token stand in the prompt too, as after an earlier turn."
_SAID = "Let the end token stand in the response too."
_LONG = "Give it a context that the row does not fit into, so that the prompt has to be shortened."
_LONG_OF_MANY = f"{_LONG} The prompt's first tokens should not be its last ones."
_ROOMY = "Give it a context that is larger than the row."
_EXACT = "Give it a context into which the row just fits."
_LENGTHS = "Call it with prompts of several lengths."
_LONGER = "Let the response have three tokens or more."


# ---- the borders of what counts


@_faulty("lets the prompt count as well", _ALWAYS)
def _all(r):
    return r.ids, [True] * len(r.ids)


@_faulty("lets the token that opens the reply count, one too early", _ALWAYS)
def _early(r):
    return r.ids, [*r.mask[1:], True]


@_faulty("begins to count one token too late, after the response's first", _ALWAYS)
def _late(r):
    return r.ids, [False, *r.mask[:-1]]


@_faulty("leaves the end outside the loss", _ALWAYS)
def _end_outside(r):
    return r.ids, [*r.mask[:-1], False]


@_faulty("shifts the mask to the left, as if it stood for what is predicted", _ALWAYS)
def _shifted(r):
    return r.ids, [*r.mask[1:], False]


@_faulty("counts the end and nothing of the response", _ALWAYS)
def _only_the_end(r):
    return r.ids, [t == len(r.ids) - 1 for t in range(len(r.ids))]


@_faulty("counts the prompt and not the response", _ALWAYS)
def _inverted(r):
    return r.ids, [not counts for counts in r.mask]


@_faulty("lets nothing count", _ALWAYS)
def _nothing(r):
    return r.ids, [False] * len(r.ids)


@_faulty("leaves the response's last token outside the loss", _ALWAYS)
def _last_word(r):
    return r.ids, [*r.mask[:-2], False, True]


@_faulty("lets the first token of the row count", _ALWAYS)
def _first_token(r):
    return r.ids, [True, *r.mask[1:]]


@_faulty("counts two tokens of the response and the end, and no others", _LONGER)
def _two_tokens(r):
    p, T = len(r.prompt), len(r.ids)
    return r.ids, [p <= t < p + 2 or t == T - 1 for t in range(T)]


@_faulty("takes every prompt for one of four tokens", _LENGTHS)
def _four(r):
    return r.ids, [t >= 4 for t in range(len(r.ids))]


# ---- the end


@_faulty("forgets the end token", _ALWAYS)
def _no_end(r):
    return r.ids[:-1], r.mask[:-1]


@_faulty("appends the end token twice", _ALWAYS)
def _twice(r):
    return [*r.ids, r.end], [*r.mask, True]


@_faulty("puts the end between prompt and response", _ALWAYS)
def _end_between(r):
    return [*r.prompt, r.end, *r.answer[:-1]], r.mask


@_faulty("appends no end to a response that holds an end token already", _SAID)
def _end_if_new(r):
    if r.end not in r.answer[:-1]:
        return r.ids, r.mask
    return r.ids[:-1], r.mask[:-1]


@_faulty("takes end tokens out of the prompt", _ENDED)
def _without_ends(r):
    prompt = [i for i in r.prompt if i != r.end]
    return prompt + r.answer, [False] * len(prompt) + [True] * len(r.answer)


# ---- who searches finds the wrong place


@functools.cache
def _marker() -> list[int]:
    return pretrained.tokenizer().encode("### Response:")


def _behind_the_marker(ids: list[int]) -> list[int]:
    """The places right behind each `MARKER`."""
    marker = _marker()
    ends = range(len(marker), len(ids) + 1)
    return [t for t in ends if ids[t - len(marker) : t] == marker]


@_faulty("is the `published_build` from above", _ALWAYS)
def _published(r):
    ids = (r.whole + r.answer[:-1])[: r.context]
    first = min(_behind_the_marker(ids), default=len(ids) + 10)
    ids += [0] * ((r.context or 0) - len(ids))
    return ids, [t >= first - len(_marker()) for t in range(len(ids))]


@_faulty("looks for the first `MARKER` in the row, and counts what follows it", _MARKER)
def _first_marker(r):
    first = min(_behind_the_marker(r.ids), default=len(r.prompt))
    return r.ids, [t >= first for t in range(len(r.ids))]


@_faulty(
    "looks for the last `MARKER` in the row, and counts what follows it",
    _MARKER,
    may_hide=True,
)
def _last_marker(r):
    last = max(_behind_the_marker(r.ids), default=len(r.prompt))
    return r.ids, [t >= last for t in range(len(r.ids))]


@_faulty("leaves `MARKER` out of the prompt", _MARKER)
def _without_marker(r):
    prompt, n = list(r.prompt), len(_marker())
    while places := _behind_the_marker(prompt):
        del prompt[places[0] - n : places[0]]
    return prompt + r.answer, [False] * len(prompt) + [True] * len(r.answer)


@_faulty(
    "looks for the first token that is like the prompt's last one, and counts what follows it",
    _AGAIN,
    may_hide=True,
)
def _first_opening(r):
    first = r.ids.index(r.opening)
    return r.ids, [t > first for t in range(len(r.ids))]


@_faulty(
    "looks for the last token that is like the prompt's last one, and counts what follows it",
    _LATER,
)
def _last_opening(r):
    last = len(r.ids) - 1 - r.ids[::-1].index(r.opening)
    return r.ids, [t > last for t in range(len(r.ids))]


@_faulty(
    "looks for the first place where the prompt's last two tokens stand, and counts what follows",
    _STRETCH,
    may_hide=True,
)
def _first_stretch(r):
    pair = r.prompt[-2:]
    starts = range(len(r.ids) - 1)
    first = next(t + len(pair) for t in starts if r.ids[t : t + len(pair)] == pair)
    return r.ids, [t >= first for t in range(len(r.ids))]


@_faulty("leaves tokens outside the loss that are like the prompt's last one", _LATER)
def _openings_outside(r):
    return r.ids, [c and i != r.opening for c, i in zip(r.mask, r.ids, strict=True)]


@_faulty(
    "leaves tokens of the response outside the loss that the prompt holds as well",
    _SHARED,
)
def _known_tokens(r):
    p, T = len(r.prompt), len(r.ids)
    known = set(r.prompt)
    return r.ids, [
        t >= p and (i not in known or t == T - 1) for t, i in enumerate(r.ids)
    ]


@_faulty("counts tokens of the prompt that the response holds as well", _SHARED)
def _said_again(r):
    said = set(r.answer[:-1])
    return r.ids, [c or i in said for c, i in zip(r.mask, r.ids, strict=True)]


@_faulty("lets end tokens in the prompt count", _ENDED)
def _all_ends(r):
    return r.ids, [c or i == r.end for c, i in zip(r.mask, r.ids, strict=True)]


@_faulty(
    "leaves all but the last end token outside the loss, those of the response too",
    _SAID,
)
def _ends_of_the_response(r):
    T = len(r.ids)
    kept = zip(r.mask, r.ids, strict=True)
    return r.ids, [c and (i != r.end or t == T - 1) for t, (c, i) in enumerate(kept)]


@_faulty("counts all that follows the first end token of the row", _ENDED)
def _after_the_first_end(r):
    first = r.ids.index(r.end)
    return r.ids, [c or t > first for t, c in enumerate(r.mask)]


# ---- rows that are too long, and rows with room


@_faulty("ignores the context", _LONG)
def _no_context(r):
    return r.whole + r.answer, [False] * len(r.whole) + [True] * len(r.answer)


@_faulty(
    "cuts a row that is too long on the right, so that the answer is pushed out", _LONG
)
def _pushed_out(r):
    ids = r.whole + r.answer
    mask = [False] * len(r.whole) + [True] * len(r.answer)
    return ids[: r.context], mask[: r.context]


@_faulty("cuts a row that is too long on the right and puts the end behind it", _LONG)
def _end_saved(r):
    if not r.cut:
        return r.ids, r.mask
    ids, mask = _pushed_out(r)
    return [*ids[:-1], r.end], [*mask[:-1], True]


@_faulty(
    "cuts a row that is too long on the left before the end is appended, for which no room is left",
    _LONG,
)
def _without_room(r):
    if not r.cut:
        return r.ids, r.mask
    before = r.whole[-len(r.prompt) - 1 :]
    return before + r.answer[:-1], [False, *r.mask[:-1]]


@_faulty(
    "forgets the room for the end, so that a shortened row has one token too many",
    _LONG,
)
def _one_too_many(r):
    prompt = r.whole[-len(r.prompt) - 1 :] if r.cut else r.prompt
    return prompt + r.answer, [False] * len(prompt) + [True] * len(r.answer)


@_faulty(
    "takes away the end of a prompt that is too long, not its beginning", _LONG_OF_MANY
)
def _prompt_from_the_right(r):
    return r.whole[: len(r.prompt)] + r.answer, r.mask


@_faulty(
    "shortens the response of a row that is too long",
    _LONG + " Then look at all of its answer.",
)
def _short_response(r):
    if not r.cut:
        return r.ids, r.mask
    prompt = r.whole[-len(r.prompt) - 1 :]
    return prompt + r.answer[1:], [False, *r.mask[:-1]]


@_faulty("shortens the ids and not the mask", _LONG)
def _long_mask(r):
    return r.ids, [False] * len(r.whole) + [True] * len(r.answer)


@_faulty("shortens the ids on the left and the mask on the right", _LONG)
def _mask_from_the_right(r):
    mask = [False] * len(r.whole) + [True] * len(r.answer)
    return r.ids, mask[: len(r.ids)]


@_faulty("lets the whole prompt count once it had to be shortened", _LONG)
def _cut_counts(r):
    return r.ids, [True] * len(r.ids) if r.cut else r.mask


@_faulty("throws the whole prompt away once it is too long", _LONG)
def _no_prompt(r):
    return (r.answer, [True] * len(r.answer)) if r.cut else (r.ids, r.mask)


@_faulty("fills the row up to its context with token 0, which counts", _ROOMY)
def _padded(r):
    room = (r.context or 0) - len(r.ids)
    return r.ids + [0] * room, r.mask + [True] * room


@_faulty("fills the row up to its context with more end tokens, which count", _ROOMY)
def _padded_with_ends(r):
    room = (r.context or 0) - len(r.ids)
    return r.ids + [r.end] * room, r.mask + [True] * room


@_faulty(
    "fills the mask up to the context with values that are False, and the ids not",
    _ROOMY,
)
def _mask_alone_padded(r):
    room = (r.context or 0) - len(r.ids)
    return r.ids, r.mask + [False] * room


@_faulty("takes a token away from a prompt that just fits", _EXACT)
def _just_fits(r):
    if r.cut or len(r.ids) != r.context or len(r.prompt) < 2:
        return r.ids, r.mask
    return r.ids[1:], r.mask[1:]


# --- what a learner is told -------------------------------------------------------------------


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    """What in a test's inputs hides the fault of a version."""
    shown_by = _SHOWN_BY[version]
    contexts = [call[3] for call in calls if len(call) > 3 and call[3] is not None]
    start = "On your inputs that mistake changes nothing."
    if not contexts and shown_by.startswith((_LONG, _ROOMY, _EXACT)):
        start = "None of your calls gives it a context."
    return f"{start} {shown_by}"


def _why_missed(version: Callable, calls: list[tuple]) -> str:
    for call in calls:
        got, want = version(*call), _by_its_parts(*call)
        if got.ids != want.ids:
            return (
                "There the ids are wrong. Do your asserts say which ids are wanted: the prompt, or what is left of it, "
                "the whole response, and one end?"
            )
        if got.mask != want.mask:
            return (
                "There the mask is wrong. Do your asserts look at each of its values, in the prompt, in the response "
                "and at the end, and at its length?"
            )
    return "Are all ids and all values of the mask compared with what you expect?"


def _why_stopped(version: Callable, calls: list[tuple]) -> str | None:
    """What made a test stumble over a faulty version."""
    if not calls:
        return None
    got, want = version(*calls[-1]), _by_its_parts(*calls[-1])
    if len(got.ids) != len(got.mask):
        return (
            "Its ids and its mask differ in length here: assert first that they agree."
        )
    if len(got.ids) != len(want.ids):
        return "Its row has another length than you expect: assert the length first."
    return None


def _why_unfair(version: Callable, calls: list[tuple]) -> str | None:
    """What may have made a test reject a version in which nothing is wrong."""
    if not calls:
        return "It did not come as far as a first result."
    given = calls[-1]
    got = version(*given)
    cut = len(got.ids) < len(given[0]) + len(given[1]) + 1
    return f"Its last call was build{tuple(given)!r}, which rightly gives {got!r}. " + (
        "What is too long loses the beginning of its prompt."
        if cut
        else "The prompt stands there whole, and what counts is the response and the end. If you expect just that: does "
        "the test keep something of an earlier run?"
    )


@check_test(
    examples.build_example,
    right={
        "one that makes a list of the prompt and a list of the answer": _by_its_parts,
        "one that takes the last tokens of the whole row": _by_the_end_of_the_row,
        "one that goes from the end to the beginning, token by token": _token_by_token,
    },
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_missed=_why_missed,
    why_unfair=_why_unfair,
    why_stopped=_why_stopped,
    may_hide=_MAY_HIDE,
    called="build",
    proved="It accepts three different right builders and exposes the faulty ones, forty-five of them.",
)
def test_builder(test, draw):
    """Pass what builds rightly, fail all else."""
