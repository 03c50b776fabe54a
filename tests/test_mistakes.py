"""Every known answer through its check; and the proof that this proof can fail."""

import pytest

from tools import graders
from tools.graders import Battery, Case, fault
from tools.lessons import lessons

CASES = {lesson: graders.answers(lesson) for lesson in lessons()}
ALL = [case for cases in CASES.values() for case in cases]


@pytest.mark.parametrize(
    "case",
    ALL,
    ids=lambda c: f"{c.exercise}-{'right' if c.right else 'wrong'}-{c.name}".replace(
        " ", "_"
    ),
)
def test_the_check_treats_the_answer_as_it_should(case):
    assert fault(case) is None


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_every_exercise_has_two_right_and_six_wrong_answers(lesson):
    assert CASES[lesson], f"tests/answers/{lesson.name}.py is missing"
    assert graders.too_few(CASES[lesson]) == []


def test_the_published_table_is_what_the_battery_gives():
    lines = [
        line for lesson, cases in CASES.items() for line in graders.rows(lesson, cases)
    ]
    assert graders.TABLE.read_text() == graders.table(lines), "run `make graders`"


def test_a_wrong_answer_that_is_called_right_is_noticed():
    battery = Battery()

    @battery.right("softmax")
    def first_column_only(scores):
        return scores[..., :1]

    assert "right answer 'first_column_only' is rejected" in fault(battery.cases[0])


def test_a_right_answer_that_is_called_wrong_is_noticed():
    right = next(case for case in ALL if case.exercise == "softmax" and case.right)
    planted = Case("softmax", "planted", right.answer, right=False, says=".")
    assert "wrong answer 'planted' is accepted" in fault(planted)


def test_a_rejection_that_does_not_name_the_mistake_is_noticed():
    wrong = next(
        case
        for case in ALL
        if case.exercise == "softmax" and not case.right and not case.general
    )
    planted = Case(
        "softmax", "planted", wrong.answer, right=False, says="the moon is full"
    )
    assert "without naming the mistake" in fault(planted)


def test_an_answer_learned_by_heart_passes_the_visible_inputs_and_fails_the_redraw():
    recited = next(
        case
        for case in ALL
        if case.name == "learned by heart" and case.exercise == "pad_batch"
    )
    assert graders.message(recited, 0) is None
    assert graders.message(recited, 1) is not None


def test_a_battery_that_is_too_small_is_noticed():
    few = [Case("softmax", "one", None, right=True)]
    assert graders.too_few(few) == [
        "softmax: 1 right and 0 wrong answers; 2 and 6 are wanted"
    ]
