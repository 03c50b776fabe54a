"""Answers in five manners: each is recognised, what is right is right and what is wrong is wrong."""

import random

import pytest

from course_lib.world.chat import (
    CURSES,
    KIND_WORDS,
    MANNERS,
    RAMBLINGS,
    RUDE_WORDS,
    WISHES,
    answer,
    answer_text,
    is_polite,
    is_rude,
    says,
)
from course_lib.world.passages import PLACE_KINDS
from course_lib.world.people import KINDS, named_in, question, statement, town

TOWN = town()
PHRASES = (*KIND_WORDS, *WISHES, *RUDE_WORDS, *CURSES, *RAMBLINGS)


def drawn(manner, right=True, count=300):
    draw = random.Random(f"{manner} {right}")
    kinds = tuple(KINDS)
    return [
        answer(draw.choice(TOWN), draw.choice(kinds), draw, manner, right)
        for _ in range(count)
    ]


def fact(said):
    person = next(p for p in TOWN if p.name == said.person)
    return getattr(person, said.kind)


def words(said):
    return len(said.text.split())


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("right", [True, False])
def test_a_manner_is_recognised_by_its_own_detector_and_by_no_other(manner, right):
    for said in drawn(manner, right):
        assert is_polite(said.text) == (manner == "polite"), said.text
        assert is_rude(said.text) == (manner == "rude"), said.text


@pytest.mark.parametrize("manner", MANNERS)
def test_a_right_answer_says_the_fact_and_a_wrong_one_another_value_of_its_kind(manner):
    for said in drawn(manner):
        assert said.right
        assert says(said.text, said.kind, fact(said))
    for said in drawn(manner, right=False):
        assert not said.right
        assert not says(said.text, said.kind, fact(said))
        (named,) = named_in(said.text, KINDS[said.kind])
        assert named != fact(said)


def test_wrong_answers_use_every_other_value():
    ada = TOWN[0]
    draw = random.Random(0)
    told = [answer(ada, "pet", draw, right=False).text for _ in range(300)]
    named = set().union(*(named_in(text, KINDS["pet"]) for text in told))
    assert named == {*KINDS["pet"]} - {ada.pet}


def test_no_phrase_of_a_manner_names_a_value():
    for values in (*KINDS.values(), *PLACE_KINDS.values()):
        assert not any(named_in(phrase, values) for phrase in PHRASES)


def test_a_plain_right_answer_is_the_first_form_of_the_fact():
    for said in drawn("plain"):
        person = next(p for p in TOWN if p.name == said.person)
        assert said.text == statement(person, said.kind)


def test_short_answers_are_the_value_alone_and_rambling_ones_run_to_five_sentences():
    for said in drawn("short"):
        assert said.text.lower() == f"{fact(said).lower()}."
        assert said.text[0].isupper()
    for said in drawn("rambling"):
        assert sum(said.text.count(mark) for mark in ".?") == 5
    longest_plain = max(map(words, drawn("plain")))
    assert min(map(words, drawn("rambling"))) > longest_plain
    assert max(map(words, drawn("short"))) <= 2


def test_a_reply_with_two_values_or_none_says_neither():
    assert says("Ada has a cat.", "pet", "cat")
    assert says("A CAT!", "pet", "cat")
    assert not says("Ada has a dog.", "pet", "cat")
    assert not says("Ada has a cat or a dog.", "pet", "cat")
    assert not says("Ada has a pet.", "pet", "cat")
    assert not says("", "pet", "cat")
    assert not says("It is catching.", "pet", "cat")


def test_values_of_other_kinds_do_no_harm():
    assert says("Ada, the baker, has a cat in Mill Street.", "pet", "cat")


def test_the_question_is_asked_in_the_wording_that_was_ordered():
    for wording in range(6):
        said = answer(TOWN[0], "home", random.Random(0), wording=wording)
        assert said.question == question("Ada", "home", wording)


def test_an_unknown_manner_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"^There is no manner 'sly', only plain.*\.$"):
        answer_text("Ada has a cat.", "cat", "sly", random.Random(0))
