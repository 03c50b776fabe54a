"""What came of a run: wins on paper, garble by rule, KL of a model from itself, diagnoses."""

import copy

import pytest
import torch

from course_lib import pretrained
from course_lib.dpo.outcomes import (
    diagnose,
    is_garbled,
    known_facts,
    outcome,
    probability_gains,
    wins,
)
from course_lib.dpo.sequences import collate_answers
from course_lib.logprobs import kl_divergence
from course_lib.reward.pairs import PairIds
from course_lib.world import people
from course_lib.world.chat import MANNERS
from course_lib.world.preferences import fact_questions, score_of, variants
from tests.tiny import V, transformer


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("sft")


QUESTIONS = fact_questions(people.town()[:4], [0, 1])


def test_wins_on_paper_and_a_model_against_itself_has_one_half():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.5]])
    # 1 ties twice and wins once; 0 loses three times
    assert wins(one, other).tolist() == [pytest.approx(2 / 6)]
    assert wins(other, one).tolist() == [pytest.approx(4 / 6)]
    scores = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(wins(scores, scores), torch.full((30,), 0.5))
    with pytest.raises(ValueError, match="same questions"):
        wins(scores, scores[:20])
    with pytest.raises(ValueError, match="same questions"):
        wins(scores[:, 0], scores)


def test_every_answer_of_the_town_is_well_formed_and_scraps_are_not():
    import random

    for question in QUESTIONS:
        for text in variants(question, random.Random(1)).values():
            assert not is_garbled(text), text
    assert len(MANNERS) == 5
    for scrap in (
        "", "Ada has a", "Ada has a fish. Ada has a fish.", "Of course!", "A cour.",
        "Ada has an fish.", "Ada has a fish. I I hope that helps!",
    ):  # fmt: skip
        assert is_garbled(scrap), scrap
    assert not is_garbled("Zeno's door is painted pink. Good question!")
    forms = sum(len(forms) for forms in people.STATEMENTS.values())
    assert len(known_facts()) == forms * 40 * 12 + 72 + 1


def test_a_model_strays_nowhere_from_itself_and_its_scores_are_those_of_the_rules(
    shipped,
):
    model, tokenizer = shipped
    found = outcome(model, model, tokenizer, QUESTIONS, seed=3)
    assert abs(found.kl) < 1e-4
    pairs = zip(QUESTIONS, found.replies, strict=True)
    slow = [score_of(question, reply) for question, reply in pairs]
    assert found.scores.tolist() == pytest.approx(slow)
    assert found.length > 2
    assert 0 <= found.rude <= found.polite + found.rude <= 1.5
    again = outcome(copy.deepcopy(model), model, tokenizer, QUESTIONS, seed=3)
    assert again.replies == found.replies


def test_kl_of_one_token_replies_is_the_exact_divergence(shipped):
    model, tokenizer = shipped
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.norm.weight *= 0.8  # a little less sure of everything
    asked = QUESTIONS[:1]
    prompt = tokenizer.encode_chat(
        [{"role": "user", "content": asked[0].text}], reply_next=True
    )
    ids = torch.tensor([prompt])
    with torch.no_grad():
        exact = kl_divergence(other(ids)[0, -1], model(ids)[0, -1]).item()
    draws = [
        outcome(other, model, tokenizer, asked * 500, seed, new_tokens=1).kl
        for seed in range(4)
    ]
    assert exact > 0.01
    assert sum(draws) / 4 == pytest.approx(exact, rel=0.2)


def test_the_shipped_guide_is_garbled_now_and_then_and_polite_in_a_quarter(shipped):
    model, tokenizer = shipped
    questions = fact_questions(people.town(), [0])
    found = outcome(model, model, tokenizer, questions)
    assert 0.15 < found.polite < 0.4
    assert 0.03 < found.rude < 0.2
    assert 0.1 < found.garbled < 0.4  # most of it about people that are held out


@pytest.mark.parametrize(
    ("chosen", "rejected", "word"),
    [
        (0.5, -3.0, "as meant"),
        (0.0, -3.0, "as meant"),
        (2.0, 1.0, "as meant"),
        (-6.0, -30.0, "displacement"),
        (-0.2, -0.4, "displacement"),
        (-3.0, 0.5, "backwards"),
        (-9.0, -6.0, "backwards"),
        (-6.0, -6.05, "nothing learned"),
        (0.0, 0.0, "nothing learned"),
    ],
)
def test_diagnoses_on_paper(chosen, rejected, word):
    assert diagnose(chosen, rejected) == word


@pytest.mark.parametrize("gains", [(float("nan"), 0.0), (0.0, float("-inf"))])
def test_no_diagnosis_is_made_of_what_is_no_number(gains):
    with pytest.raises(ValueError, match="Both gains are numbers"):
        diagnose(*gains)


def test_what_some_tokens_lose_others_get():
    model, reference = transformer(), transformer(seed=1)
    pairs = [PairIds([2, 3], [6, 5], [4]), PairIds([2, 6, 3], [5], [6, 4, 4])]
    ids, mask = (each.flatten(0, 1) for each in collate_answers(pairs, 1, 0))
    found = probability_gains(model, reference, ids, mask)
    slow, count = torch.zeros(V), 0
    with torch.no_grad():
        for row, kept in zip(ids, mask, strict=True):
            for t in kept.nonzero().flatten().tolist():
                text = row[None, :t]
                now, before = model(text)[0, -1], reference(text)[0, -1]
                slow += now.softmax(-1) - before.softmax(-1)
                count += 1
    torch.testing.assert_close(found, slow / count, rtol=1e-4, atol=1e-6)
    assert abs(found.sum()) < 1e-5
    assert probability_gains(model, model, ids, mask).abs().max() == 0
