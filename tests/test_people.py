"""Millbrook: forty people, six facts each, and sentences that say one fact and no other."""

import random
import re

import pytest

from course_lib.world.people import (
    KINDS,
    NAMES,
    QUESTIONS,
    SHE,
    STATEMENTS,
    WORDINGS,
    Person,
    fill,
    is_held_out,
    named_in,
    question,
    statement,
    town,
    words_of,
)

TOWN = town()
FORMS = [(kind, form) for kind in KINDS for form in range(6)]


def facts_in(sentence):
    """Every fact that a sentence can be read as: (name, kind, value), by all templates."""
    found = set()
    for kind, forms in STATEMENTS.items():
        slots = {"name": f"({'|'.join(NAMES)})", "value": f"({'|'.join(KINDS[kind])})"}
        for form in forms:
            read = re.fullmatch(
                re.sub(r"\ba \{", "an? {", form).format(**slots), sentence
            )
            if read:
                first, second = read.groups()
                name, value = (first, second) if first in NAMES else (second, first)
                found.add((name, kind, value))
    return found


def test_forty_people_have_six_facts_each_out_of_twelve_values():
    assert len(TOWN) == len({person.name for person in TOWN}) == 40
    assert len(KINDS) == 6
    for kind, values in KINDS.items():
        assert len(set(values)) == 12
        assert all(getattr(person, kind) in values for person in TOWN)


def test_no_value_is_of_two_kinds_and_none_is_a_name():
    values = [value for kind in KINDS for value in KINDS[kind]]
    assert len(set(values)) == 72
    assert not {*values} & {*NAMES}


def test_the_same_seed_gives_the_same_town_and_another_seed_another():
    assert town(0) == TOWN
    assert town(1) != TOWN
    assert [person.name for person in town(1)] == list(NAMES)


def test_every_value_of_a_kind_is_drawn_about_equally_often():
    drawn = [person.pet for seed in range(60) for person in town(seed)]
    for pet in KINDS["pet"]:  # 200 each; the standard deviation is 13.5
        assert 150 < drawn.count(pet) < 250


def test_the_worlds_random_numbers_are_its_own():
    random.seed(1)
    before = random.getstate()
    town(0), town(7)
    assert random.getstate() == before
    random.seed(2)
    assert town(0) == TOWN


def test_ten_people_are_held_out_in_every_town():
    assert sum(is_held_out(person) for person in TOWN) == 10
    held_out = {person.name for person in TOWN if is_held_out(person)}
    assert held_out == {p.name for p in town(5) if is_held_out(p)}
    assert {"Dan", "Nora"} <= held_out  # the fourth and the fortieth


def test_every_fact_has_six_statements_and_six_wordings_of_its_question():
    for kind in KINDS:
        assert len(set(STATEMENTS[kind])) == len(set(QUESTIONS[kind])) == 6
    assert WORDINGS == 5  # and one is held out


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_a_statement_can_be_read_as_its_fact_and_as_no_other(kind, form):
    for value in KINDS[kind]:
        person = Person("Ada", **{k: v[0] for k, v in KINDS.items()} | {kind: value})
        said = statement(person, kind, form)
        assert facts_in(said) == {("Ada", kind, value)}, said
        assert named_in(said, KINDS[kind]) == {value}


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_a_question_holds_the_name_and_gives_no_value_away(kind, form):
    asked = question("Ada", kind, form)
    assert words_of("Ada") in words_of(asked)
    assert asked[0].isupper()
    assert asked[-1] in "?."
    assert not any(named_in(asked, values) for values in KINDS.values())


def test_no_two_questions_ask_for_different_things_in_the_same_words():
    asked = [question("Ada", kind, form) for kind, form in FORMS]
    assert len(set(asked)) == len(FORMS) == 36


def test_people_have_the_pronoun_of_their_name():
    assert set(NAMES) > SHE
    assert {p.name: p.they for p in TOWN if p.name in ("Ada", "Ben", "Nora", "Max")} == {
        "Ada": "she", "Ben": "he", "Nora": "she", "Max": "he",
    }  # fmt: skip


def test_a_becomes_an_before_a_vowel_and_nowhere_else():
    assert fill("A {x} is a {y}.", x="owl", y="cat") == "An owl is a cat."
    assert fill("{n} has a {x}.", n="Ada", x="orange hat") == "Ada has an orange hat."
    assert (
        fill("Ada's {x} is at a {y}.", x="extra", y="river")
        == "Ada's extra is at a river."
    )


def test_values_are_named_as_whole_words_only():
    assert named_in("Ada goes fishing.", KINDS["pet"]) == set()
    assert named_in("a FISH, or a cat's tail", KINDS["pet"]) == {"fish", "cat"}
    assert named_in("the street of the mill", KINDS["home"]) == set()
    assert named_in("in Mill\nStreet!", KINDS["home"]) == {"Mill Street"}
    assert named_in("", KINDS["pet"]) == set()
