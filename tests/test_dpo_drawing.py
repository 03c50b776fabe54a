"""Pairs by best and worst and by manner: on paper, against a slow search, and on the shipped model."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib import pretrained
from course_lib.dpo.drawing import (
    best_against_worst,
    draw_best_against_worst,
    polite_against_plain,
)
from course_lib.reward.annotator import compare
from course_lib.world import people
from course_lib.world.chat import is_polite, is_rude, says
from course_lib.world.preferences import fact_questions, score_of

QUESTIONS = fact_questions(people.town()[:3], [0])
REPLIES = ["a", "bb", "ccc", "dddd", " ", ""]


def points(question, reply):
    return {"a": 1.0, "bb": 1.0, "ccc": 3.0, "dddd": -2.0}[reply]


def test_best_and_worst_on_paper_with_ties_and_empty_replies():
    said = [["bb", "a", "ccc", "dddd"], ["a", "bb"], ["", " "], [], ["", "dddd", "a"]]
    asked = QUESTIONS[: len(said)]
    found = best_against_worst(asked, said, points)
    assert [(p.prompt, p.chosen, p.rejected, p.margin) for p in found] == [
        (asked[0].text, "ccc", "dddd", 5.0),
        (asked[4].text, "a", "dddd", 3.0),
    ]


@given(some.lists(some.sampled_from(REPLIES), max_size=6))
def test_no_pair_of_these_replies_has_a_wider_gap(texts):
    found = best_against_worst(QUESTIONS[:1], [texts], points)
    every = compare(QUESTIONS[:1], [texts], points)
    assert len(found) == (1 if every else 0)
    if found:
        assert found[0].margin == max(pair.margin for pair in every)
        assert found[0] in every


def test_questions_and_replies_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        best_against_worst(QUESTIONS[:2], [["a"]], points)


def test_polite_and_plain_differ_in_manner_and_not_in_truth():
    pairs = polite_against_plain(QUESTIONS)
    assert [pair.prompt for pair in pairs] == [q.text for q in QUESTIONS]
    for question, pair in zip(QUESTIONS, pairs, strict=True):
        for text in (pair.chosen, pair.rejected):
            assert says(text, question.kind, question.value)
            assert not is_rude(text)
        assert is_polite(pair.chosen)
        assert not is_polite(pair.rejected)
        assert pair.rejected in pair.chosen
        assert pair.margin == 0.5
    assert polite_against_plain(QUESTIONS) == pairs
    assert polite_against_plain(QUESTIONS, seed=1) != pairs


def test_the_model_is_asked_and_the_better_answer_stands_first():
    model, tokenizer = pretrained.load("sft")
    pairs = draw_best_against_worst(model, tokenizer, QUESTIONS, samples=4, seed=1)
    assert 9 <= len(pairs) <= 18
    by_prompt = {question.text: question for question in QUESTIONS}
    for pair in pairs:
        asked = tokenizer.decode(pair.prompt, specials=False)
        better, worse = (tokenizer.decode(ids) for ids in (pair.chosen, pair.rejected))
        question = by_prompt[asked]
        assert score_of(question, better) > score_of(question, worse)
    again = draw_best_against_worst(model, tokenizer, QUESTIONS, samples=4, seed=1)
    assert again == pairs
    with torch.no_grad():
        model.embed.weight *= 0.5  # another model says other things
    other = draw_best_against_worst(model, tokenizer, QUESTIONS, samples=4, seed=1)
    assert other != pairs
