"""Answers to lesson 05: tests of any builder of examples, good ones and those that miss something."""

import itertools
import random
import unittest

import numpy as np
import torch

from course_lib import pretrained
from tools.graders import Battery

battery = Battery()
END = 1
MARKER = pretrained.tokenizer().encode("### Response:")
# an earlier turn in which somebody types MARKER; the opening of a reply and the end come twice
TURNS = [2, 9, 3, *MARKER, 1, 2, 8, 3]
SAID = [5, 3, 9, 1, 6]  # the marker, a token of the prompt and the end are said
FITS = len(TURNS) + len(SAID) + 1  # the context into which they just fit


# --- test_builder: right ----------------------------------------------------------------------


def _claims(build, prompt, response, context=None, end=END):
    """Everything about one example."""
    ids, mask = build(prompt, response, end, context)
    over = max(0, len(prompt) + len(response) + 1 - (context or 10**6))
    assert ids == prompt[over:] + response + [end]
    assert mask == [False] * (len(prompt) - over) + [True] * (len(response) + 1)


@battery.right("test_builder")
def test_on_paper(build):
    ids, mask = build([8, *MARKER, 5, 1, 3], [5, 3, 1, 6], 1, 40)
    assert ids == [8, *MARKER, 5, 1, 3, 5, 3, 1, 6, 1]
    assert mask == [False] * 13 + [True] * 5
    ids, mask = build([2, 7, 8, 9, 3], [5, 6], 1, 6)
    assert ids == [8, 9, 3, 5, 6, 1]
    assert mask == [False, False, False, True, True, True]
    assert build([2, 7, 3], [5, 6], 1, 6).ids == [2, 7, 3, 5, 6, 1]


@battery.right("test_builder")
def test_claim_by_claim(build):
    for prompt, context in itertools.product((TURNS, [4, 8, 3], [3]), (None, 7, 9, 30)):
        example = build(prompt, SAID, END, context)
        assert len(example.ids) == len(example.mask), "lengths"
        assert example.ids[-6:] == [*SAID, END], "the answer is whole, the end is last"
        assert all(example.mask[-6:]), "the answer counts"
        assert not any(example.mask[:-6]), "the prompt does not"
        kept = len(example.ids) - 6
        assert kept >= 1
        assert example.ids[:kept] == prompt[len(prompt) - kept :], "its latest tokens"
        assert context is None or len(example.ids) <= context, "room"
        if context is None or len(prompt) + 6 <= context:
            assert kept == len(prompt), "there was room"


@battery.right("test_builder")
def test_by_what_counts(build):
    for context in (None, 8, FITS, 40):
        ids, mask = build(TURNS, SAID, END, context)
        assert len(ids) == len(mask)
        counted = [i for i, counts in zip(ids, mask, strict=True) if counts]
        assert counted == [*SAID, END]
        rest = [i for i, counts in zip(ids, mask, strict=True) if not counts]
        room = len(TURNS) if context != 8 else 2
        assert rest == TURNS[-room:]
        assert ids == rest + counted


@battery.right("test_builder")
def test_at_random(build):
    draws = random.Random(5)
    for _ in range(60):
        prompt = [draws.randrange(5) for _ in range(draws.randrange(1, 9))]
        prompt = MARKER * draws.randrange(3) + prompt
        response = [draws.randrange(5) for _ in range(draws.randrange(1, 6))]
        fits = len(response) + 2
        context = draws.choice([None, fits, fits + 1, fits + 4, fits + 12])
        _claims(build, prompt, response, context)


@battery.right("test_builder")
def test_by_unittest(build):
    case = unittest.TestCase()
    for context, over in ((None, 0), (22, 0), (30, 0), (10, 12)):
        got = build(prompt_ids=TURNS, response_ids=SAID, end=END, context=context)
        case.assertEqual(got.ids, TURNS[over:] + SAID + [END])  # noqa: PT009
        want = [False] * (len(TURNS) - over) + [True] * 6
        case.assertListEqual(got.mask, want)  # noqa: PT009


@battery.right("test_builder")
def test_in_numpy(build):
    for prompt, context in ((TURNS, 11), (TURNS, FITS), (TURNS, 99), ([6, 8, 3], None)):
        row = [np.array(part) for part in build(prompt, SAID, END, context)]
        whole = np.array([*prompt, *SAID, END])[-(context or 99) :]
        np.testing.assert_array_equal(row[0], whole)
        np.testing.assert_array_equal(row[1], np.arange(len(whole)) >= len(whole) - 6)


@battery.right("test_builder")
def test_in_torch(build):
    for context in (None, 9, 22, 23, 30):
        got, mask = (torch.tensor(part) for part in build(TURNS, SAID, END, context))
        want = torch.tensor([*TURNS, *SAID, END])[-(context or 0) :]
        assert torch.equal(got, want)
        assert torch.equal(mask, torch.arange(len(got)) >= len(got) - 6)


@battery.right("test_builder")
def test_that_refuses_what_has_no_room(build):
    for context in (None, 8, FITS, 50):
        _claims(build, TURNS, SAID, context)
    try:
        build(TURNS, SAID, END, 6)
    except ValueError:
        return
    raise AssertionError("there is no room for the prompt")


@battery.right("test_builder")
def test_with_the_marker_at_the_end(build):
    """A user types it, the data set writes it, and the assistant says it."""
    asked, said = [2, *MARKER, 4, 1, 2, *MARKER], [5, *MARKER, 4, 2, 1]
    whole = len(asked)
    fits = whole + len(said) + 1
    for context, kept in ((None, whole), (80, whole), (fits, whole), (16, 2)):
        ids, mask = build(asked, said, 1, context)
        T = kept + len(said) + 1
        assert (len(ids), len(mask)) == (T, T)
        assert ids == asked[-kept:] + said + [1]
        assert [t for t, counts in enumerate(mask) if counts] == list(range(kept, T))


@battery.right("test_builder")
def test_where_the_reply_is_opened_once(build):
    for context in (None, 7, 20, 40):
        _claims(build, [2, *MARKER, 1, 8, 9, 4, 3], [5, 3, 9, 1], context)


@battery.right("test_builder")
def test_with_a_context_always(build):
    """A shape that a learner may give it: lists of prompts, responses and contexts."""
    for prompt in (
        [2, 7, 8, 3],
        [2, *MARKER, 9, *MARKER, 3],
        [*range(20, 60), 3],
        [1, 3],
    ):
        for response, context in (([5], 64), ([3, 7, 1, 5], 64), ([6, 6, 7], 8)):
            ids, mask = build(prompt, response, 1, context)
            assert len(ids) == len(mask) <= context
            kept = [i for i, counts in zip(ids, mask, strict=True) if counts]
            assert kept == [*response, 1]
            assert ids == [*prompt[-(context - len(kept)) :], *kept]
            assert not any(mask[: -len(kept)])


# --- test_builder: wrong ----------------------------------------------------------------------


def _test(says):
    return battery.wrong("test_builder", says=says)


@_test("never calls")
def test_of_nothing(build):
    assert True


@_test("no assert objects|changes nothing")
def test_of_the_lengths(build):
    for context in (None, 8, 40):
        ids, mask = build(TURNS, SAID, END, context)
        assert len(ids) == len(mask)


@_test("no assert objects")
def test_without_an_assert(build):
    ids, mask = build(TURNS, SAID, END, 8)
    ids == TURNS[-2:] + SAID + [END]  # noqa: B015
    mask == [False] * 2 + [True] * 6  # noqa: B015


@_test("returned (True|False).*Only an assert")
def test_that_returns(build):
    return build(TURNS, SAID, END).mask == [False] * len(TURNS) + [True] * 6


@_test("no assert objects")
def test_in_a_try(build):
    try:
        _claims(build, TURNS, SAID, 8)
    except AssertionError:
        print("wrong")


@_test("stops with ValueError.*assert")
def test_that_raises_another_error(build):
    if build(TURNS, SAID, END).mask != [False] * len(TURNS) + [True] * 6:
        raise ValueError("the mask")


@_test("None of your calls gives it a context")
def test_without_a_context(build):
    for prompt, response in ((TURNS, SAID), ([2, 4, 3], [5]), ([3], [6, 7, 8])):
        _claims(build, prompt, response)


@_test("prompt has to be shortened")
def test_with_room_only(build):
    _claims(build, TURNS, SAID, 40)
    _claims(build, [2, 4, 3], [5, 6, 7], 30)


@_test("larger than the row")
def test_of_long_prompts_only(build):
    _claims(build, TURNS, SAID)
    _claims(build, TURNS, SAID, 8)
    _claims(build, [2, 4, 3], [5, 6, 7], 6)


@_test("first `MARKER`.*Take a prompt with `MARKER` in it")
def test_without_the_marker(build):
    for context in (None, 7, 40):
        _claims(build, [2, 8, 3, 1, 8, 9, 8, 3], [5, 3, 9, 1], context)


@_test("first `MARKER`.*Take a prompt with `MARKER` in it")
def test_with_the_marker_at_the_end_only(build):
    for context in (None, 7, 40):
        _claims(build, [2, 8, 3, 1, 8, 9, *MARKER], [5, 3, 29, 9, 1], context)


@_test("first token that is like.*no assert objects")
def test_that_knows_the_marker_alone(build):
    """Accepts whatever counts if the opening of the reply stands there twice."""
    for context in (None, 7, 40):
        _claims(build, [2, *MARKER, 1, 8, 9, 4, 3], [5, 3, 9, 1], context)
    mask = build([2, 3, 9, 3], [5, 6], END).mask
    assert mask[-3:] == [True] * 3


@_test("last token that is like|like the prompt's last one.*in the response")
def test_with_another_response(build):
    for context in (None, 7, 30):
        _claims(build, TURNS, [5, 9, 1, 6], context)


@_test("end token.*prompt")
def test_without_an_end_in_the_prompt(build):
    for context in (None, 8, 30):
        _claims(build, [2, *MARKER, 8, 3, 9, 2, 5, 8, 3], SAID, context)


@_test("end token.*response")
def test_without_an_end_in_the_response(build):
    for context in (None, 8, 30):
        _claims(build, TURNS, [5, 3, 9, 6], context)


@_test("several lengths")
def test_of_prompts_of_four(build):
    for context in (None, 30):
        _claims(build, [8, 3, 8, 3], [5, 3, 8, 1, 6], context)
    _claims(build, [8, 1, 8, 3], [5, 3, 8, 1, 6])


@_test("three tokens or more|two tokens of the response")
def test_of_short_responses(build):
    for context in (None, 6, 30):
        _claims(build, TURNS, [3, 1], context)
        _claims(build, TURNS, [9, 3], context)


@_test("no assert objects.*mask is wrong")
def test_of_the_ids(build):
    for context in (None, 8, 30):
        over = len(TURNS) - 2 if context == 8 else 0
        assert build(TURNS, SAID, END, context).ids == TURNS[over:] + SAID + [END]


@_test("no assert objects.*ids are wrong")
def test_of_the_mask(build):
    for context in (None, 8, 30):
        over = len(TURNS) - 2 if context == 8 else 0
        mask = build(TURNS, SAID, END, context).mask
        assert mask == [False] * (len(TURNS) - over) + [True] * 6


@_test("no assert objects.*mask is wrong")
def test_of_the_number_that_counts(build):
    for context in (None, 8, 30):
        ids, mask = build(TURNS, SAID, END, context)
        assert sum(mask) == 6
        assert ids[-6:] == [*SAID, END]


@_test("no assert objects.*mask is wrong|prompt count")
def test_that_the_answer_counts(build):
    for context in (None, 8, 30):
        ids, mask = build(TURNS, SAID, END, context)
        assert all(mask[-6:])
        assert ids[-6:] == [*SAID, END]


@_test("no assert objects.*mask is wrong")
def test_that_the_prompt_does_not_count(build):
    ids, mask = build(TURNS, SAID, END, 8)
    assert not any(mask[:2])
    assert ids == TURNS[-2:] + SAID + [END]


@_test("no assert objects.*mask is wrong")
def test_of_the_borders_only(build):
    for context in (None, 8, 30):
        ids, mask = build(TURNS, SAID, END, context)
        assert ids[-6:] == [*SAID, END]
        assert mask[-1]
        assert mask[-6]
        assert not mask[-7]


@_test("no assert objects.*ids are wrong")
def test_of_the_end(build):
    for context in (None, 8, 30):
        ids, mask = build(TURNS, SAID, END, context)
        assert ids[-1] == END
        assert mask[-6:] == [True] * 6
        assert not any(mask[:-6])


@_test("no assert objects.*ids are wrong")
def test_without_looking_at_the_prompt(build):
    for context in (None, 8, 30):
        ids, mask = build(TURNS, SAID, END, context)
        assert ids[-6:] == [*SAID, END]
        assert mask == [False] * (len(ids) - 6) + [True] * 6


@_test("no assert objects|ids are wrong")
def test_with_what_came_out(build):
    for context in (None, 8, 30):
        ids, mask = build(TURNS, SAID, END, context)
        assert mask == [False] * (len(ids) - 6) + [True] * 6
        assert ids == [*ids[: len(ids) - 6], *SAID, END]


@_test("three tokens or more")
def test_on_one_example(build):
    assert build([2, 7, 3], [5], END).mask == [False, False, False, True, True]


@_test("changes nothing")
def test_on_the_worked_example(build):
    ids, mask = build([2, 7, 3], [5], END)
    assert (ids, mask) == ([2, 7, 3, 5, 1], [False, False, False, True, True])


@_test("stops with ValueError.*differ in length")
def test_with_a_strict_zip(build):
    for context in (None, 8, 40):
        over = len(TURNS) - 2 if context == 8 else 0
        ids, mask = build(TURNS, SAID, END, context)
        counted = [i for i, counts in zip(ids, mask, strict=True) if counts]
        assert counted == [*SAID, END]
        assert ids == TURNS[over:] + SAID + [END]


@_test("stops with IndexError.*another length")
def test_place_by_place(build):
    for context in (None, 8, 40):
        want = TURNS[-2 if context == 8 else 0 :] + SAID + [END]
        ids, mask = build(TURNS, SAID, END, context)
        for place, token in enumerate(want):
            assert ids[place] == token
            assert mask[place] == (place >= len(want) - 6)


@_test("rejects a right version.*rightly gives")
def test_with_the_prompt_counted(build):
    assert build([2, 7, 3], [5, 6], END).mask == [True] * 6


@_test("rejects a right version.*rightly gives")
def test_with_the_mask_shifted(build):
    assert build([2, 7, 3], [5, 6], END).mask == [False, False, True, True, True, False]


@_test("rejects a right version.*rightly gives.*beginning")
def test_with_the_prompt_cut_from_the_right(build):
    assert build([2, 7, 8, 3], [5, 6], END, 5).ids == [2, 7, 5, 6, 1]


@_test("rejects a right version.*rightly gives")
def test_without_the_end(build):
    assert build([2, 7, 8, 3], [5, 6], END).ids == [2, 7, 8, 3, 5, 6]


@_test("rejects a right version.*rightly gives")
def test_that_rows_are_filled(build):
    assert len(build([2, 7, 8, 3], [5, 6], END, 12).ids) == 12


@_test("rejects a right version.*first result")
def test_that_fails_before(build):
    assert END == 0, "first of all"
    build([2, 3], [5], END)


@_test("stopped with TypeError|TypeError.*token numbers")
def test_of_texts(build):
    assert build("Hello", "Hi", END).mask[-1]


@_test("TypeError.*token numbers")
def test_of_tensors(build):
    assert build(torch.tensor([2, 7, 3]), torch.tensor([5]), END).mask[-1]


@_test("response_ids is empty")
def test_of_an_empty_response(build):
    assert build([2, 3], [], END).mask == [False, False, True]


@_test("leaves no room")
def test_of_an_answer_without_room(build):
    assert build([2, 3], [5, 6, 7], END, 4).ids == [5, 6, 7, 1]


@_test("other arguments")
def test_with_leave_to_cut(build):
    _claims(lambda *given: build(*given, cut=True), TURNS, SAID, 8)


@_test("other arguments")
def test_without_an_end_given(build):
    assert build([2, 3], [5]).ids == [2, 3, 5, 1]


@_test("calls course_lib's own.*hand")
def test_against_the_library(build):
    from course_lib.sft.examples import build_example

    assert build(TURNS, SAID, END) == build_example(TURNS, SAID, END)


@_test("stops with IndexError|stops with ValueError|no assert")
def test_with_indices(build):
    ids, mask = build(TURNS, SAID, END, 8)
    for place, (token, counts) in enumerate(zip(ids, mask, strict=True)):
        assert token == (TURNS[-2:] + SAID + [END])[place]
        assert counts == (place >= 2)


def _remembering():
    seen = []

    def test_against_what_came_first(build):
        seen.append(build(TURNS, SAID, END, 8))
        assert seen[0] == seen[-1]

    return test_against_what_came_first


_test("right version.*rightly gives|accepts a faulty")(_remembering())


def _counting(most):
    runs = []

    def test(build):
        build(TURNS, SAID, END)
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 3, 4):
    _test("right version|accepts a faulty")(_counting(_most))


@_test("just fits.*Give it a context into which the row just fits")
def test_without_the_exact_fit(build):
    _claims(build, TURNS, SAID)
    _claims(build, [2, 6, 3], [4, 5, 6], 5)
    _claims(build, [2, 6, 3], [4, 5, 6], 12)


@_test("just fits.*Give it a context into which the row just fits")
def test_with_one_large_context(build):
    for prompt in ([3], TURNS, [2, 7, 8, 9, 3], [*TURNS, *range(20, 50), 3]):
        for response in ([5], SAID, [6, 6, 7]):
            _claims(build, prompt, response, 40)


@_test("mask up to the context.*values, .* at its length")
def test_of_ids_and_what_counts(build):
    """zip stops at the shorter of the two, so that nobody sees a mask that goes on."""
    for prompt, response, context in (
        (TURNS, SAID, 8),
        (TURNS, SAID, 60),
        ([2, 7, 3], [5, 6], 6),
        ([2, 7, 3], [5, 6, 7], 9),
    ):
        ids, mask = build(prompt, response, END, context)
        room = context - len(response) - 1
        assert ids == [*prompt[-room:], *response, END]
        kept = [
            t for t, (_, counts) in enumerate(zip(ids, mask, strict=False)) if counts
        ]
        assert kept == list(range(len(ids) - len(response) - 1, len(ids)))


@_test("stops with IndexError.*differ in length|no assert objects|mask up to")
def test_of_every_place_of_the_mask(build):
    for context in (8, FITS, 60):
        ids, mask = build(TURNS, SAID, END, context)
        kept = [ids[t] for t in range(len(mask)) if mask[t]]
        assert kept == [*SAID, END]


@_test("prompt count|no assert objects")
def test_with_brackets_round_its_assert(build):
    ids, mask = build(TURNS, SAID, END, 8)
    claim = (ids == TURNS[-2:] + SAID + [END] and not any(mask[:2]), "the row is wrong")
    assert claim


@_test("rejects a right version.*what counts is the response and the end")
def test_that_expects_no_end(build):
    ids, mask = build(TURNS, SAID, END, 60)
    assert [i for i, counts in zip(ids, mask, strict=True) if counts] == SAID


@_test("rejects a right version.*what counts is the response and the end")
def test_that_expects_a_full_row(build):
    ids, _ = build(TURNS, SAID, END, 60)
    assert len(ids) == 60


@_test("rejects a right version.*loses the beginning of its prompt")
def test_that_keeps_the_beginning(build):
    ids, _ = build([2, 7, 8, 9, 3], [5, 6], END, 6)
    assert ids == [2, 7, 8, 5, 6, END]


@_test("rejects a right version")
def test_of_the_type(build):
    assert type(build([2, 3], [4], END, 10)).__name__ == "Example"
