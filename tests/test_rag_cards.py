"""The card index: every card answers its question, names of the test are new, numbers are unlike."""

import random

from course_lib.rag.cards import VALUES, answers, cards, numbered_cards
from course_lib.world.people import NAMES


def test_every_card_answers_its_own_question_and_has_its_own_id():
    told = [*cards(40, random.Random(0)), *numbered_cards(100, random.Random(0))]
    assert all(answers(card, card.text) for card in told)
    assert all(card.name in card.text and card.name in card.question for card in told)
    assert len({card.id for card in told}) == len(told) == 340
    assert all(card.value in VALUES[card.kind] for card in told)


def test_names_of_the_test_are_in_no_training_card_and_not_in_the_town():
    seen = {card.name for card in cards(300, random.Random(0), facts=1)}
    kept = {card.name for card in cards(60, random.Random(0), facts=1, held_out=True)}
    assert len(kept) == 60
    assert not kept & (seen | {*NAMES})


def test_one_seed_makes_the_same_cards():
    assert cards(3, random.Random(7)) == cards(3, random.Random(7))
    assert numbered_cards(3, random.Random(7)) == numbered_cards(3, random.Random(7))


def test_a_card_is_a_document_with_facts_to_filter_by():
    [card] = cards(1, random.Random(0), facts=1)
    document = card.document
    assert (document.text, document.source) == (card.text, card.id)
    assert document.metadata == {"name": card.name, "kind": card.kind}
