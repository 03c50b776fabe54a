"""Re-ranking changes the order and no text; compression shortens texts and changes no order."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.cards import cards
from course_lib.rag.rerank import (
    SIGNALS,
    CrossScorer,
    choice_loss,
    compress,
    overlap,
    rerank,
    signals,
    table,
)
from course_lib.rag.splitting import Chunk
from course_lib.rag.store import Hit

FEW = settings(max_examples=50, deadline=None)
TEXTS = ["Ida sings.", "Ida mends the brass clock.", "The clock of brass is tall."]
HITS = [Hit(Chunk(text, 0, str(i)), 0.5) for i, text in enumerate(TEXTS)]
ASKED = "Who mends the Brass Clock?"


def test_signals_on_paper():
    """Words: mends, brass, clock. Names: Brass, Clock. Pairs: mends brass, brass clock."""
    assert signals(ASKED, TEXTS[2], 0.3) == [0.3, 2 / 3, 1.0, 0.0, 0.9]
    assert signals(ASKED, "", 0.0) == [0, 0, 0, 0, 1.0]
    assert len(SIGNALS) == 5
    assert signals("Why?", "Because.")[1:4] == [0, 0, 0]


def test_at_first_a_scorer_believes_the_search():
    hits = [Hit(hit.chunk, score) for hit, score in zip(HITS, (3, 1, 2), strict=True)]
    assert [hit.chunk.source for hit in rerank(ASKED, hits, CrossScorer())] == list(
        "021"
    )


def test_equal_scores_keep_their_order_and_k_cuts():
    assert rerank(ASKED, HITS, CrossScorer([0.0] * 5), 2) == [
        Hit(hit.chunk, 0.0) for hit in HITS[:2]
    ]
    assert rerank(ASKED, [], CrossScorer()) == []
    with pytest.raises(ValueError, match="One weight for each"):
        CrossScorer([1.0])


@given(some.lists(some.floats(-3, 3, width=32), min_size=5, max_size=5))
@FEW
def test_reranking_changes_no_text_and_loses_none(weights):
    found = rerank(ASKED, HITS, CrossScorer(weights))
    assert sorted(hit.chunk.source for hit in found) == list("012")
    assert all(a.score >= b.score for a, b in itertools.pairwise(found))


def test_the_loss_of_a_scorer_that_knows_nothing_is_the_log_of_the_candidates():
    rows = [table(ASKED, HITS), table(ASKED, HITS[:2])]
    loss = choice_loss(rows, [1, 0], torch.zeros(5))
    assert loss.item() == pytest.approx((np.log(3) + np.log(2)) / 2)


def test_a_scorer_learns_what_the_search_does_not_see():
    """The search ranks at random; the right card holds the name and a word of the question."""
    drawn, told = random.Random(1), cards(30, random.Random(0))
    hits = [
        [Hit(Chunk(c.text, 0, c.id), drawn.random()) for c in drawn.sample(told, 8)]
        for _ in told
    ]
    for card, found in zip(told, hits, strict=True):
        found[3] = Hit(Chunk(card.text, 0, card.id), drawn.random())
    questions, right = [card.question for card in told], [3] * len(told)
    scorer = CrossScorer()

    def share(part):
        best = [rerank(questions[i], hits[i], scorer, 1)[0].chunk.source for i in part]
        return sum(b == told[i].id for b, i in zip(best, part, strict=True)) / len(part)

    learn, test = range(0, 90), range(90, 180)
    before = share(test)
    loss = scorer.fit(*([row[i] for i in learn] for row in (questions, hits, right)))
    assert loss < np.log(8) / 2
    assert share(test) > max(0.8, 2 * before)
    assert not scorer.weights.requires_grad


def test_compression_keeps_sentences_whole_and_in_order():
    text = "It rains. Ida mends clocks. She sings. The clock is brass."
    assert compress(ASKED, text, overlap, 2) == "Ida mends clocks. The clock is brass."
    assert compress(ASKED, text, overlap, 9) == text
    assert compress(ASKED, "", overlap) == ""
    with pytest.raises(ValueError, match="at least one"):
        compress(ASKED, text, overlap, 0)


def test_of_equal_sentences_the_earlier_is_kept():
    assert compress("Why?", "One. Two. Three.", overlap, 1) == "One."
