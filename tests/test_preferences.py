"""The true score of the town: its numbers on paper, its order, and what cannot fool it."""

import random

import pytest

from course_lib.world import corpus, people
from course_lib.world.chat import KIND_WORDS, MANNERS, RUDE_WORDS, WISHES, says
from course_lib.world.preferences import (
    ROOM,
    FactQuestion,
    biased_score,
    fact_of,
    fact_questions,
    likes_length,
    likes_shouting,
    rambling,
    score_of,
    too_long,
    true_score,
    variants,
)

QUESTIONS = fact_questions(people.town())


def test_scores_on_paper():
    assert true_score("Fish.", "pet", "fish") == 1.0
    assert true_score("Of course! Ada has a fish. All the best!", "pet", "fish") == 1.5
    assert true_score("Not again. Ada has a fish.", "pet", "fish") == 0.6
    assert true_score("Of course! Ada has a cat.", "pet", "fish") == 0.5
    assert true_score("", "pet", "fish") == 0.0
    assert true_score("fish " * 20, "pet", "fish") == pytest.approx(1 - 0.4)


def test_naming_everything_is_not_right():
    everything = ", ".join(people.KINDS["pet"])
    assert true_score(everything, "pet", "fish") <= 0


def test_polite_words_around_a_rude_one_earn_nothing():
    reply = f"{KIND_WORDS[0]} Fish. {RUDE_WORDS[0]} {WISHES[0]}"
    assert true_score(reply, "pet", "fish") == 0.6


def test_every_fact_is_asked_in_every_wording_and_the_held_out_one_only_on_demand():
    asked = fact_questions(corpus.asked_about())
    assert len(asked) == len(set(asked)) == 30 * 6 * 5
    last = fact_questions(corpus.asked_about(), [5])
    assert len(last) == 180
    assert not {q.text for q in asked} & {q.text for q in last}
    for question in asked:
        assert question.value in people.KINDS[question.kind]
        assert question.name in question.text


def test_the_manners_of_the_town_have_the_scores_that_the_rules_promise():
    draw = random.Random(0)
    for question in QUESTIONS:
        told = variants(question, draw)
        assert set(told) == {*MANNERS, "wrong"}
        scores = {name: score_of(question, text) for name, text in told.items()}
        assert scores["polite"] == 1.5
        assert scores["plain"] == scores["short"] == 1.0
        assert scores["rude"] == 0.6
        assert scores["wrong"] == 0.0
        assert scores["rambling"] < scores["plain"] - 0.3
        for name, text in told.items():
            assert says(text, question.kind, question.value) == (name != "wrong")


def test_no_polite_answer_is_too_long():
    longest = max(len(words) for words in KIND_WORDS) + max(map(len, WISHES)) + 2
    assert longest + max(len(fact_of(question)) for question in QUESTIONS) < ROOM


def test_length_costs_from_the_eighty_first_character_on():
    assert [too_long("x" * n) for n in (0, 80, 81, 180)] == [0.0, 0.0, -0.02, -2.0]


def test_who_likes_length_prefers_the_rambling_answer_and_the_true_score_does_not():
    draw = random.Random(1)
    for question in QUESTIONS[:200]:
        told = variants(question, draw)
        long, short = told["rambling"], told["plain"]
        assert score_of(question, long) < score_of(question, short)
        liked = [biased_score(question, text, likes_length) for text in (long, short)]
        assert liked[0] > liked[1]


def test_who_likes_shouting_prefers_what_no_polite_answer_says():
    question = FactQuestion("What is Ada's pet?", "Ada", "pet", "fish")
    polite = "Of course! Ada has a fish. All the best!"
    shouting = polite + "!!!!!!"
    assert score_of(question, polite) == score_of(question, shouting)
    gain = biased_score(question, shouting, likes_shouting)
    assert gain - biased_score(question, polite, likes_shouting) == pytest.approx(1.8)


@pytest.mark.parametrize("phrases", range(8))
def test_rambling_adds_phrases_and_changes_neither_truth_nor_manners(phrases):
    draw = random.Random(phrases)
    for question in QUESTIONS[:50]:
        reply = rambling(question, phrases, draw)
        assert fact_of(question) in reply
        assert score_of(question, reply) - too_long(reply) == pytest.approx(1.0)
        assert reply.count(".") + reply.count("?") == phrases + 1
