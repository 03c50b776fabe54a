"""Questions on passages: the answer stands where the question says, and nowhere else."""

import random
import re
from collections import Counter
from functools import cache
from itertools import combinations, product

import pytest

from course_lib.world.chat import MANNERS, answer_text
from course_lib.world.passages import (
    ALIKE,
    PLACE_FIRST,
    PLACE_KINDS,
    PLACE_LAST,
    PLACE_QUESTIONS,
    PLACE_STATEMENTS,
    UNKNOWN,
    ContextQuestion,
    context_question,
    context_questions,
    is_right,
    places,
    register,
    strangers,
)
from course_lib.world.people import (
    KINDS,
    NAMES,
    QUESTIONS,
    STATEMENTS,
    WORDINGS,
    words_of,
)

BOOKS = {
    False: (KINDS, STATEMENTS, QUESTIONS),
    True: (PLACE_KINDS, PLACE_STATEMENTS, PLACE_QUESTIONS),
}
TRAINED = {*strangers(), *places()}
KEPT = {*strangers(held_out=True), *places(held_out=True)}


def drawn(count=300, held_out=False, answerable=True):
    draw = random.Random(f"{held_out} {answerable}")
    return [
        context_question(1 + i % 3, draw, held_out, answerable) for i in range(count)
    ]


ANSWERED = drawn() + drawn(held_out=True)
IN_VAIN = drawn(answerable=False) + drawn(held_out=True, answerable=False)


def about_a_place(name):
    return name.startswith("the ")


@cache
def meanings(name):
    """Every sentence that can be said about a name, and the fact that it states."""
    kinds, statements, _ = BOOKS[about_a_place(name)]
    found = {}
    for kind, forms in statements.items():
        for form, value in product(forms, kinds[kind]):
            said = form.format(name=name, value=value)
            said = said.replace(" a orange", " an orange")
            found[said[0].upper() + said[1:]] = (kind, value)
    return found


def told_of(name, text):
    """Every fact about a name that a text states."""
    sentences = re.split(r"(?<=[.]) ", text)
    return [meanings(name)[said] for said in sentences if said in meanings(name)]


def kind_of(asked):
    """What a question asks for, read back by the templates."""
    _, _, questions = BOOKS[about_a_place(asked.name)]
    (kind,) = {
        kind
        for kind, forms in questions.items()
        if asked.question in {form.format(name=asked.name) for form in forms[:WORDINGS]}
    }
    return kind


# ---- names


def test_held_out_names_are_a_fifth_and_never_among_the_others():
    for names in (strangers, places):
        trained, kept = {*names()}, {*names(held_out=True)}
        assert not trained & kept
        assert len(names()) == len(trained)
        assert abs(len(kept) / len(trained | kept) - 0.2) < 0.005
    assert len(strangers()) > 1500
    assert len(places()) + len(places(held_out=True)) == 144


def test_strangers_are_nobody_from_millbrook():
    everybody = {*strangers(), *strangers(held_out=True)}
    assert not everybody & {*NAMES}
    assert all(re.fullmatch("[A-Z][a-z]{4,8}", name) for name in everybody)


def test_every_word_of_a_held_out_place_is_known_from_another():
    for names in (places(), places(held_out=True)):
        words = Counter(word for name in names for word in name.split()[1:])
        assert {*words} == {*PLACE_FIRST, *PLACE_LAST}


# ---- what is told and asked


def test_the_answer_stands_in_its_passage_once_and_the_name_in_no_other():
    for asked in ANSWERED:
        source = asked.passages[asked.source]
        kind = kind_of(asked)
        facts = told_of(asked.name, source)
        assert [value for k, value in facts if k == kind] == [asked.value]
        assert asked.choices == BOOKS[about_a_place(asked.name)][0][kind]
        for i, passage in enumerate(asked.passages):
            assert (words_of(asked.name) in words_of(passage)) == (i == asked.source)


def test_the_answer_is_a_sentence_that_states_the_fact():
    for asked in ANSWERED:
        assert told_of(asked.name, asked.answer) == [(kind_of(asked), asked.value)]


def test_no_passage_answers_an_unanswerable_question():
    for asked in IN_VAIN:
        kind = kind_of(asked)
        assert (asked.answer, asked.value, asked.source) == (UNKNOWN, "", -1)
        for passage in asked.passages:
            assert kind not in dict(told_of(asked.name, passage))


def test_an_unanswerable_question_is_about_a_stranger_or_about_what_was_left_out():
    present = [
        any(words_of(asked.name) in words_of(passage) for passage in asked.passages)
        for asked in IN_VAIN
    ]
    assert 0.4 < sum(present) / len(present) < 0.6


def test_a_passage_tells_two_or_three_facts_and_each_sentence_is_one_of_them():
    for asked in ANSWERED:
        facts = told_of(asked.name, asked.passages[asked.source])
        assert len(facts) in (2, 3)
        assert len(facts) == len(
            re.findall(r"[.](?: |$)", asked.passages[asked.source])
        )
        assert len(dict(facts)) == len(facts)


def test_every_passage_is_as_often_the_source_as_the_others():
    sources = Counter(a.source for a in ANSWERED if len(a.passages) == 3)
    assert min(sources.values()) > 0.25 * sources.total()  # a third each; 3 sd


def test_held_out_questions_name_nobody_else():
    for asked in drawn(held_out=True):
        words = {*re.findall(r"[A-Z][a-z]+", asked.prompt)}
        inns = {*re.findall(r"[Tt](he [A-Z]\w+ [A-Z]\w+)", asked.prompt)}
        named = (words | {f"t{inn}" for inn in inns}) & (TRAINED | KEPT)
        assert named <= KEPT
        assert asked.name in named


def names_told_of(asked):
    """Whom or what each passage is about, and the name in the question."""
    inn = re.compile(r"[Tt](he [A-Z]\w+ [A-Z]\w+)")
    names = [asked.name]
    for passage in asked.passages:
        if about_a_place(asked.name):
            (name,) = {f"t{found}" for found in inn.findall(passage)}
        else:
            (name,) = {*re.findall(r"\w+", passage)} & (TRAINED | KEPT)
        names.append(name)
    return sorted({*names})


def confusable(name, other):
    if about_a_place(name):
        return bool({*name.split()} & {*other.split()} - {"the"})
    return name[0] == other[0]


def test_nobody_confuses_the_names_of_one_prompt():
    """People begin with other letters, and inns have no word in common."""
    of_three = [asked for asked in ANSWERED + IN_VAIN if len(asked.passages) == 3]
    for asked in of_three:
        names = names_told_of(asked)
        assert len(names) >= 3
        for name, other in combinations(names, 2):
            assert not confusable(name, other), asked.prompt
    places_asked = sum(about_a_place(asked.name) for asked in of_three)
    assert 0.2 < places_asked / len(of_three) < 0.4  # 0.3; 4 sd


def test_as_many_names_as_there_can_be_passages_are_unlike():
    draw = random.Random(0)
    for _ in range(40):
        asked = context_question(9, draw, answerable=False)
        names = names_told_of(asked)
        assert len(names) >= 9
        assert not any(confusable(a, b) for a, b in combinations(names, 2))


def kinds_told(asked):
    """The kinds of facts in each passage."""
    named = names_told_of(asked)
    return [
        {kind for name in named for kind, _ in told_of(name, passage)}
        for passage in asked.passages
    ]


def test_in_most_prompts_all_passages_tell_facts_of_the_same_three_kinds():
    """Then only the name says which passage answers; in the others the kind may do so."""
    draw = random.Random(0)
    told = [kinds_told(context_question(4, draw)) for _ in range(600)]
    of_three = [len(set().union(*kinds)) == 3 for kinds in told]
    # four draws of two or three kinds out of five or six hardly ever fall on the same three
    assert abs(sum(of_three) / len(of_three) - ALIKE) < 0.07  # 4 sd
    assert 0 < ALIKE < 1
    assert all(len(kinds) >= 2 for passage_kinds in told for kinds in passage_kinds)


def test_the_kind_asked_for_is_often_told_of_another_name_and_sometimes_of_none():
    draw = random.Random(1)
    asked = [context_question(3, draw) for _ in range(600)]
    rivals = [sum(kind_of(a) in kinds for kinds in kinds_told(a)) - 1 for a in asked]
    # alike: of two others each tells 2 or 3 of 3 kinds, the asked one with 5/6: 1 - 1/36;
    # else 2.5 of 6 (people) or of 5 (places): 1 - (7/12)^2 = 0.66 or 0.75; in all 0.89
    assert 0.84 < sum(rival > 0 for rival in rivals) / 600 < 0.94  # 4 sd
    assert {*rivals} == {0, 1, 2}


def test_the_prompt_numbers_the_passages_and_ends_in_the_question():
    asked = next(a for a in ANSWERED if len(a.passages) == 2)
    first, second = asked.passages
    assert asked.prompt == f"[1] {first} [2] {second} {asked.question}"


def test_several_questions_share_their_passages():
    draw = random.Random(0)
    desks = [context_questions(2, 4, draw) for _ in range(200)]
    for desk in desks:
        assert len(desk) == 4
        assert len({asked.passages for asked in desk}) == 1
    unknown = [not asked.value for desk in desks for asked in desk]
    assert 0.1 < sum(unknown) / len(unknown) < 0.2  # 0.15; 3 sd are 0.04


def test_a_register_lists_unlike_strangers_with_values_of_one_kind_and_answers_from_it():
    for i in range(300):
        (first, answer), *others = register(4, random.Random(i))
        listed = re.findall(r"(\w+): ([\w ]+)\.", first)
        names, values = zip(*listed, strict=True)
        assert 2 <= len(names) <= 6
        assert {*names} <= {*strangers()}
        assert len({name[0] for name in names}) == len(names)
        assert any({*values} <= {*kind} for kind in KINDS.values())
        book = dict(listed)
        for asked, said in [(first.split(". ")[-1], answer), *others]:
            name = asked.removesuffix("?")
            assert said == f"{name}: {book[name]}."


def test_a_stated_fact_needs_no_more_than_nine_passages_and_one_at_least():
    for passages in (0, 10):
        with pytest.raises(AssertionError, match="on 1 to 9 passages"):
            context_question(passages, random.Random(0))


def test_the_same_draw_gives_the_same_question_and_the_world_uses_no_other():
    random.seed(1)
    before = random.getstate()
    assert drawn(5) == drawn(5)
    assert random.getstate() == before


# ---- what is right


@pytest.mark.parametrize("manner", MANNERS)
def test_the_right_value_is_right_in_every_manner(manner):
    draw = random.Random(manner)
    for asked in ANSWERED:
        assert is_right(asked, answer_text(asked.answer, asked.value, manner, draw))


def test_a_wrong_value_two_values_and_none_are_wrong():
    for asked in ANSWERED:
        for other in set(asked.choices) - {asked.value}:
            assert not is_right(asked, f"It is {other}.")
            assert not is_right(asked, f"{asked.answer} Or {other}.")
        assert not is_right(asked, "")
        assert not is_right(asked, asked.name)
        assert not is_right(asked, "I am sure.")


def test_who_does_not_know_is_right_only_where_nobody_can_know():
    for asked in ANSWERED:
        assert not is_right(asked, UNKNOWN)
        assert not is_right(asked, f"{UNKNOWN} {asked.answer}")
        assert not is_right(asked, f"{asked.answer} {UNKNOWN}")
    for asked in IN_VAIN:
        assert is_right(asked, UNKNOWN)
        assert is_right(asked, f"Good question! {UNKNOWN} All the best!")
        assert not is_right(asked, f"{UNKNOWN} Or {asked.choices[0]}?")
        assert not is_right(asked, asked.choices[0])
        assert not is_right(asked, "")


def test_a_colour_in_the_name_is_not_the_colour_of_the_door():
    asked = ContextQuestion(
        ("The Blue Owl has a red door.",), "What colour is the door of the Blue Owl?",
        "The Blue Owl has a red door.", "red", 0, "the Blue Owl", KINDS["colour"],
    )  # fmt: skip
    assert is_right(asked, "The Blue Owl has a red door.")
    assert is_right(asked, "Blue Owl: red")
    assert is_right(asked, "THE DOOR OF THE BLUE OWL IS RED!")
    assert not is_right(asked, "The Blue Owl has a blue door.")
    assert not is_right(asked, "The Blue Owl has a door.")
    assert not is_right(asked, "The Red Owl has a blue door.")
    assert not is_right(asked, "Red or blue.")
    assert not is_right(asked, "The door is reddish.")


def test_a_blue_door_of_the_blue_owl_must_still_be_named():
    asked = ContextQuestion(
        ("The Blue Owl has a blue door.",), "What colour is the door of the Blue Owl?",
        "The Blue Owl has a blue door.", "blue", 0, "the Blue Owl", KINDS["colour"],
    )  # fmt: skip
    assert is_right(asked, "The Blue Owl has a blue door.")
    assert not is_right(asked, "The Blue Owl has a door.")


def test_no_sentence_says_a_before_a_vowel():
    texts = [text for asked in ANSWERED for text in (*asked.passages, asked.answer)]
    assert any(" an orange door" in text for text in texts)
    assert not any(
        re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text) for text in texts
    )
