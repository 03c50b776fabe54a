"""Questions that lean on the turn before: rewritten on paper, left alone, and asked in a row."""

import pytest

from course_lib.rag.conversation import (
    Conversation,
    Turn,
    remembered,
    standing_alone,
    subject,
    with_name,
)
from course_lib.world.people import KINDS, NAMES, question

ADA = Turn("Where does Ada live?", "Ada lives in Mill Street.")
OWL = Turn("When does the Blue Owl open?", "The Blue Owl opens at ten.")


@pytest.mark.parametrize(
    ("asked", "before", "alone"),
    [
        ("And what is her pet?", ADA, "What is Ada's pet?"),
        ("What does she like to eat?", ADA, "What does Ada like to eat?"),
        ("But where can I find her?", ADA, "Where can I find Ada?"),
        ("So who are her friends?", ADA, "Who are Ada's friends?"),
        ("What about Ben?", ADA, "Where does Ben live?"),
        ("And how about Ben?", ADA, "Where does Ben live?"),
        ("When does it close?", OWL, "When does the Blue Owl close?"),
        ("What colour is its door?", OWL, "What colour is the Blue Owl's door?"),
        ("What about the Red Fox?", OWL, "When does the Red Fox open?"),
    ],
)
def test_what_is_left_out_comes_from_the_turn_before(asked, before, alone):
    assert standing_alone(asked, before) == alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES[:4])
def test_questions_that_stand_alone_stay_as_they_are(kind, name):
    for wording in range(6):
        asked = question(name, kind, wording)
        assert standing_alone(asked, OWL) == asked == standing_alone(asked, None)


def test_a_new_name_in_the_question_wins_over_the_old_one():
    assert standing_alone("Does Ben like it?", OWL) == "Does Ben like it?"


def test_the_answer_helps_out_when_the_question_named_nobody():
    before = Turn("Who is the baker?", "Olga is the baker.")
    assert standing_alone("What is her pet?", before) == "What is Olga's pet?"
    nobody = Turn("Who is the baker?", "I do not know.")
    assert standing_alone("What is her pet?", nobody) == "What is her pet?"


def test_names_with_backslashes_or_groups_are_text():
    assert with_name("Where is she?", r"\1 Ada") == r"Where is \1 Ada?"


def test_subjects():
    assert subject("Where does the Blue Owl stand?") == "the Blue Owl"
    assert subject("Who sings?") == subject("Ada?") == subject("") == ""


def test_a_conversation_searches_for_whole_questions_only():
    asked = []

    def answer(text):
        asked.append(text)
        return "Somewhere."

    talk = Conversation(answer)
    for text in ("Where does Ada live?", "And her pet?", "What does she eat?"):
        talk.say(text)
    assert asked == ["Where does Ada live?", "Ada's pet?", "What does Ada eat?"]
    assert [turn.question for turn in talk.turns] == asked


def test_history_keeps_the_newest_turns_whole():
    turns = [Turn("A?", "1."), Turn("B?", "2."), Turn("C?", "3.")]
    assert remembered(turns, 5) == "C? 3."
    assert remembered(turns, 4) == ""
    assert remembered(turns, 10) == "C? 3."
    assert remembered(turns, 11) == "B? 2.\nC? 3."
    assert Conversation(str, turns).history(999).count("\n") == 2
    assert remembered([*turns, Turn("D" * 99, "4.")], 50) == ""  # no gap in the middle
