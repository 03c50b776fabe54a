"""Asking from end to end: gates, quotes, the two readers, and the course's model on strangers' cards."""

import random

import pytest

from course_lib.pretrained.checkpoints import load
from course_lib.pretrained.smollm2 import smollm2
from course_lib.rag.answering import (
    Reader,
    ask,
    course_reader,
    covered,
    knows_names,
    margin,
    names,
    quote,
    quoting,
    scores_at_least,
    smollm2_reader,
)
from course_lib.rag.cards import answers, cards
from course_lib.rag.judging import ledger
from course_lib.rag.loading import Document
from course_lib.rag.prompts import COURSE, UNKNOWN
from course_lib.rag.retrievers import KeywordRetriever
from course_lib.rag.splitting import Chunk, split_documents
from course_lib.rag.store import Hit

CHUNKS = [
    Chunk("Widra works as a cook. Widra has a cat.", 0, "a"),
    Chunk("The Blue Owl opens at ten.", 0, "b"),
    Chunk("Lauwen has a parrot. Lauwen sings.", 0, "c"),
]
SEARCH = KeywordRetriever(CHUNKS)


def hits(*scores):
    return [Hit(chunk, score) for chunk, score in zip(CHUNKS, scores, strict=False)]


class Echo:
    """A reader that always says the same and counts its calls."""

    def __init__(self, said):
        self.said, self.prompts = said, []

    def __call__(self, prompt):
        self.prompts.append(prompt)
        return self.said


@pytest.fixture(scope="module")
def tuned():
    return course_reader(*load("sft"))


# ---- pieces


def test_a_quote_is_a_sentence_of_a_passage_or_a_refusal():
    texts = [chunk.text for chunk in CHUNKS]
    assert quote("What pet has Lauwen?", texts) == "Lauwen has a parrot."
    assert quote("Does Widra have a cat?", texts) == "Widra has a cat."
    assert quote("Why?", texts) == quote("Who has a cat?", []) == UNKNOWN


def test_margins_on_paper():
    assert margin(hits(0.75, 0.25, 0.2)) == 0.5
    assert margin(hits(0.75)) == 0.75
    assert margin([]) == 0


def test_gates():
    assert scores_at_least(0.5)("?", hits(0.5))
    assert not scores_at_least(0.5)("?", [])
    assert not scores_at_least(0.5)("?", hits(0.4, 0.3))
    assert names("Who mends the Brass Clock of Ida?") == ["Brass", "Clock", "Ida"]
    assert knows_names("Where is the Blue Owl?", hits(1, 1))
    assert not knows_names("Where is the Blue Star?", hits(1, 1))
    assert covered("Blue parrot?", ["blue"]) == 0.5
    assert covered("Who?", []) == 1


# ---- the whole way, with readers that we know


def test_an_answer_carries_its_passages_and_who_says_so():
    echo = Echo("Lauwen has a parrot. Lauwen is a judge.")
    answer = ask("What pet has Lauwen?", SEARCH, Reader(echo, COURSE), k=2)
    assert echo.prompts[0].startswith("[1] Lauwen has a parrot.")
    assert [chunk.source for chunk in answer.passages] == ["c"]
    assert [claim.cited for claim in answer.citations] == [(1,), ()]
    assert str(answer).splitlines() == [
        "Lauwen has a parrot [1]. Lauwen is a judge.",
        "[1] c",
    ]


def test_nothing_found_or_a_closed_gate_makes_no_call():
    echo = Echo("Anything.")
    assert ask("Why?", SEARCH, Reader(echo)).refused
    closed = ask("What pet has Lauwen?", SEARCH, Reader(echo), gate=lambda q, h: False)
    assert closed.refused
    assert closed.passages == ()
    assert echo.prompts == []


def test_passages_that_do_not_fit_are_neither_shown_nor_cited():
    echo = Echo("Widra has a cat.")
    reader = Reader(echo, COURSE, budget=70)
    answer = ask("Has Widra or Lauwen a parrot?", SEARCH, reader, k=3)
    assert len(echo.prompts[0]) <= 70
    assert [chunk.source for chunk in answer.passages] == ["c"]
    assert [claim.cited for claim in answer.citations] == [()]


def test_a_refusal_cites_nothing():
    answer = ask("What pet has Lauwen?", SEARCH, Reader(Echo("I don't know.")))
    assert answer.refused
    assert answer.citations == ()


def test_quoting_is_faithful_by_construction():
    answer = quoting("What pet has Lauwen?", SEARCH)
    assert answer.text == "Lauwen has a parrot."
    assert answer.citations[0].cited == (1,)
    assert quoting("Why?", SEARCH).refused


def test_a_filter_reaches_the_search():
    papers = [Document("Ada has a cat.", "x", {"year": 1900}),
              Document("Ada has a dog.", "y", {"year": 1901})]  # fmt: skip
    search = KeywordRetriever(split_documents(papers, lambda text: [(0, len(text))]))
    answer = quoting("What has Ada?", search, where={"year": 1901})
    assert answer.text == "Ada has a dog."


# ---- the models


def test_facts_that_the_tuned_model_cannot_know_are_copied_and_without_passages_guessed(
    tuned,
):
    """.80 is the course's promise; of twelve values a guess hits one."""
    asked = cards(60, random.Random("test"), held_out=True)[::6]
    told = cards(60, random.Random("test"), held_out=True)
    search = KeywordRetriever([Chunk(card.text, 0, card.id) for card in told])
    found, right = [], []
    for card in asked:
        said = ask(card.question, search, tuned, k=5)
        found.append(card.id in {chunk.source for chunk in said.passages})
        right.append(answers(card, said.text))
    book = ledger(found, right)
    assert book.copying >= 0.8
    closed = [answers(card, tuned.generate(card.question)) for card in asked]
    assert sum(closed) / len(closed) <= 0.25 < book.end_to_end


def test_the_tuned_models_prompt_fits_its_context_however_many_passages(tuned):
    assert tuned.length("Who?") < tuned.budget < 256
    many = KeywordRetriever([Chunk(f"Widra has cat {i}. " * 4) for i in range(50)])
    answer = ask("What cat has Widra?", many, tuned, k=50)
    assert 0 < len(answer.passages) < 50
    assert answer.text


def test_smollm2_answers_from_a_passage():
    reader = smollm2_reader(*smollm2())
    assert "ten" in ask("When does the Blue Owl open?", SEARCH, reader).text.lower()
