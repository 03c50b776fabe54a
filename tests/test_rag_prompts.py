"""Prompts within a budget; stuff, map-reduce and refine counted against a reader that keeps a record."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.prompts import (
    COURSE,
    PLAIN,
    UNKNOWN,
    Form,
    build_prompt,
    map_reduce,
    refine,
    refuses,
    stuff,
)
from course_lib.world.passages import numbered

FEW = settings(max_examples=60, deadline=None)
TEXTS = some.lists(some.text("abc {}.", min_size=1, max_size=12), max_size=6)


def reader_of(table):
    """Answers by the passage's words; keeps the prompts that it was given."""
    seen = []

    def generate(prompt):
        seen.append(prompt)
        return next((said for word, said in table.items() if word in prompt), UNKNOWN)

    return generate, seen


# ---- the budget


def test_the_courses_form_is_the_one_its_model_was_tuned_on():
    texts = ("Widra has a cat.", "Lauwen is a cook.")
    said = build_prompt("Who has a cat?", texts, 200, form=COURSE)
    assert said.text == f"{numbered(texts)} Who has a cat?"
    assert said.places == [0, 1]


def test_a_budget_worked_on_paper():
    """'[1] ab Q?' measures 9; ' [2] c' adds 6 and ' [2] abcd' adds 9."""
    texts = ["ab", "abcd", "c"]
    form = Form()
    assert form.write("Q?", ["ab"]) == "[1] ab Q?"
    assert build_prompt("Q?", texts, 8, form=form).places == [2]
    assert build_prompt("Q?", texts, 9, form=form).places == [0]
    assert build_prompt("Q?", texts, 15, form=form).places == [0, 2]
    assert build_prompt("Q?", texts, 17, form=form).places == [0, 2]
    assert build_prompt("Q?", texts, 18, form=form).places == [0, 1]


@given(TEXTS, some.integers(0, 90))
@FEW
def test_a_prompt_fits_and_no_passage_left_out_would_have(texts, room):
    least = len(PLAIN.write("Who?", []))
    prompt = build_prompt("Who?", texts, least + room, form=PLAIN)
    assert len(prompt.text) <= least + room
    shown = [texts[place] for place in prompt.places]
    assert prompt.text == PLAIN.write("Who?", shown)
    assert prompt.places == sorted({*prompt.places})
    for place in {*range(len(texts))} - {*prompt.places}:
        before = [texts[p] for p in prompt.places if p < place]
        assert len(PLAIN.write("Who?", [*before, texts[place]])) > least + room


def test_the_budget_is_in_whatever_length_measures():
    texts = ["one two three", "four"]
    by_words = build_prompt("Who?", texts, 5, lambda text: len(text.split()), COURSE)
    assert by_words.places == [0]


def test_a_question_without_room_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="Without any passage"):
        build_prompt("A long question?", [], 3)


def test_braces_and_numbers_in_texts_stay_as_they_are():
    said = build_prompt("What is {text}?", ["{n} {question} {0}"], 900).text
    assert "[1] {n} {question} {0}" in said
    assert said.count("What is {text}?") == 1


def test_no_passages_still_ask_and_still_allow_not_to_know():
    said = build_prompt("Who?", [], 900)
    assert said.places == []
    assert UNKNOWN in said.text


# ---- three chains


def test_stuff_asks_once_with_all_that_fits():
    generate, seen = reader_of({"cat": "A cat."})
    assert stuff("What pet?", ["a dog", "a cat"], generate, 900) == ("A cat.", 1)
    assert len(seen) == 1
    assert "[2] a cat" in seen[0]


def test_map_reduce_asks_each_and_then_the_answers():
    generate, seen = reader_of({"[2]": "Both.", "x": "One.", "y": "Two."})
    reply = map_reduce("Who?", ["x", "y", "z"], generate, 900, form=COURSE)
    assert reply == ("Both.", 4)
    assert seen[-1] == "[1] One. [2] Two. Who?"


def test_map_reduce_needs_no_second_round_for_one_answer_or_none():
    generate, _ = reader_of({"x": "One."})
    assert map_reduce("Who?", ["x", "z"], generate, 900, form=COURSE) == ("One.", 2)
    assert map_reduce("Who?", ["z", "z"], generate, 900, form=COURSE) == (UNKNOWN, 2)
    assert map_reduce("Who?", ["x", "xx"], generate, 900, form=COURSE).calls == 2
    assert map_reduce("Who?", [], generate, 900) == (UNKNOWN, 0)


def test_refine_carries_the_answer_and_does_not_give_it_up_for_a_refusal():
    generate, seen = reader_of({"y": "Two.", "x": "One."})
    said = refine("Who?", ["z", "x", "q", "y"], generate, 900, form=COURSE)
    assert said == ("Two.", 4)
    assert seen == [
        "[1] z Who?",
        "[1] x Who?",
        "[1] One. [2] q Who?",
        "[1] One. [2] y Who?",
    ]


def test_refusals_are_known_in_several_spellings():
    assert all(map(refuses, [UNKNOWN, "i do not know", "I don’t know it.", " "]))
    assert not any(map(refuses, ["I know.", "Do not go.", "Unknown Street"]))
