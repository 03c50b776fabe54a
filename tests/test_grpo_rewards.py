"""What a verifier accepts and what it must not, scores that can be hacked, TRL's price of length."""

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib import exam, pretrained
from course_lib.grpo.rewards import (
    LONGEST,
    combined,
    correctness,
    corrects_itself,
    overlong,
    read_answer,
    rewarding,
    shows_equals,
    verified,
    well_formed,
    wordiness,
)
from course_lib.rollouts import sample_rollouts
from course_lib.world.arithmetic import (
    DOUBLE,
    TRIPLE,
    Problem,
    direct,
    final_answer,
    is_right,
    parse,
    problems,
    worked,
)
from course_lib.world.corpus import Draw, a_problem

PROBLEM = parse("2 + 2 × 6")  # 14
GIVEN = {  # reply: the number that it gives
    "Answer: 14.": 14,
    "Answer: 14": 14,
    "answer:14!": 14,
    "ANSWER:   14 .": None,  # a space before the full stop is no number's end
    "  Answer:\t14.\n\n": 14,
    "Answer:\n14": 14,
    "Answer: +14.": 14,
    "Answer: -14.": -14,
    "Answer: −14.": -14,
    "Answer: –14.": -14,
    "Answer: 014.": 14,
    "2 × 6 = 12. 2 + 12 = 14. Answer: 14.": 14,
    "That is hard. Answer: 14.": 14,
}
REFUSED = [
    "", " ", ".", "Answer:", "Answer: .", "Answer", "14", "2 + 12 = 14.", "fourteen",
    "Answer: fourteen.", "Answer: 14 or 24.", "Answer: 14, 24", "Answer: 14. 24.",
    "Answer: 14. Answer: 24.", "Answer: 24. Answer: 14.", "The answer is 24. Answer: 14.",
    "Answer: not 14.", "Answer: 14.5", "Answer: 14,0", "Answer: 14 %", "Answer: 1 4",
    "Answer: 14 apples", "Answer: 14. I hope that helps!", "Answer: 14..", "Answer: --14",
    "Answer: - 14", "Answer: 1e1", "Answer: ١٤.", "Answer: 14²", "Answer: 12 + 2",
    "Answer: 14 = 14", "Answer: 9999999999999999999", "Answer: <14>", "Answer: 14\x00",
]  # fmt: skip


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("cold_start")


# ---- the reader


@pytest.mark.parametrize(("reply", "number"), GIVEN.items())
def test_spaces_signs_and_case_do_not_matter(reply, number):
    assert read_answer(reply) == number


@pytest.mark.parametrize("reply", REFUSED)
def test_what_gives_no_single_whole_number_gives_none(reply):
    assert read_answer(reply) is None
    assert correctness(PROBLEM, reply) == 0.0


def test_every_direct_and_worked_answer_of_the_world_is_read():
    for problem in problems(DOUBLE) + problems(TRIPLE)[::17]:
        for reply in (direct(problem), worked(problem)):
            assert read_answer(reply) == problem.value
            assert correctness(problem, reply) == 1.0
            assert correctness(problem, direct(problem, problem.value + 1)) == 0.0


@pytest.mark.parametrize(
    "piece",
    ["9", " ", "1 + 1 = ", "Answer: ", "answer:", "= ", ")", "−", "ANSWER 14. "],
)
def test_absurdly_long_replies_are_refused_at_once(piece):
    reply = piece * (1_000_000 // len(piece)) + " Answer: 14."
    begun = time.process_time()
    assert read_answer(reply) is None
    for score in (correctness, verified, well_formed, corrects_itself):
        given = (reply,) if score is corrects_itself else (PROBLEM, reply)
        assert not score(*given)
    assert time.process_time() - begun < 0.5


def test_as_long_as_may_be_read_is_read_and_one_more_is_not():
    padded = " " * (LONGEST - len("Answer: 14.")) + "Answer: 14."
    assert correctness(PROBLEM, padded) == 1.0
    assert correctness(PROBLEM, " " + padded) == 0.0


PIECES = [
    "Answer:", "answer", "The answer is", "14", "-", "−", "+", "2", "=", ".", "!", " ",
    "\n", "×", "or", "24", "x", "%", ",", "(", "12 + 2",
]  # fmt: skip
TEXTS = some.lists(some.sampled_from(PIECES), max_size=8).map("".join)


@given(TEXTS)
def test_what_this_reader_reads_the_exams_verifier_reads_too(reply):
    """It is the stricter of the two, but for several spaces in a row and a plus sign."""
    number = read_answer(reply)
    if number is not None:
        plain = " ".join(reply.split()).replace("+", "")
        assert final_answer(plain) == number


# ---- the scores


def test_rewards_of_the_worlds_own_teachers_are_as_the_exam_would_have_them():
    draw = Draw("teachers")
    for _ in range(300):
        chat = a_problem(draw, TRIPLE, working=0.3, hasty=0.5)
        asked, reply = chat[0]["content"], chat[1]["content"]
        problem = parse("".join(c for c in asked if c in "0123456789+−×()"))
        assert correctness(problem, reply) == is_right(problem, reply)
        if "=" in reply:
            assert verified(problem, reply) == correctness(problem, reply) == 1.0
        else:
            assert verified(problem, reply) == 0.0
        assert well_formed(problem, reply) == 1.0


HACKS = {  # reply: correctness, verified, shows_equals, well_formed
    "2 × 6 = 12. 2 + 12 = 14. Answer: 14.": (1, 1, 1, 1),
    "2 + 2 = 4. 4 × 6 = 24. Answer: 24.": (0, 0, 1, 1),  # left to right
    "2 × 6 = 12. 2 + 12 = 14. Answer: 24.": (
        0,
        0,
        1,
        1,
    ),  # another answer than its steps'
    "1 + 1 = 2. Answer: 14.": (1, 0, 1, 1),  # steps of something else
    "2 × 6 = 13. 2 + 13 = 15. Answer: 15.": (0, 0, 1, 1),
    "2 × 6 = 12. Answer: 14.": (1, 0, 1, 1),  # half of the way
    "Answer: 14.": (1, 0, 0, 1),
    "= = = = =": (0, 0, 1, 0),
    "14 = 14. Answer: 3.": (0, 0, 1, 1),
    "": (0, 0, 0, 0),
}


@pytest.mark.parametrize(("reply", "scores"), HACKS.items())
def test_an_equals_sign_and_a_form_can_be_had_without_being_right(reply, scores):
    given = [
        score(PROBLEM, reply)
        for score in (correctness, verified, shows_equals, well_formed)
    ]
    assert given == list(scores)


def test_words_are_paid_up_to_a_limit_and_whatever_they_say():
    assert wordiness(PROBLEM, "Answer: 14.", words=4) == 0.5
    assert wordiness(PROBLEM, "so " * 400, words=4) == 1.0
    assert wordiness(PROBLEM, "") == 0.0


def test_a_sum_of_scores_is_a_score():
    score = combined({correctness: 1.0, well_formed: 0.25, shows_equals: -0.5})
    assert score(PROBLEM, "Answer: 14.") == 1.25
    assert score(PROBLEM, "1 + 1 = 2. Answer: 14.") == 0.75
    nested = combined({score: 2.0})
    assert nested(PROBLEM, "Answer: 14.") == 2.5
    with pytest.raises(ValueError, match="nothing to combine"):
        combined({})


def test_a_correction_is_one_expression_with_two_results_the_later_one_true():
    assert corrects_itself("2 * 6 = 13. 2 + 13 = 15. 2 × 6 = 12. Answer: 14.")
    assert not corrects_itself("2 × 6 = 12. 2 × 6 = 13. Answer: 15.")  # it got worse
    assert not corrects_itself("2 × 6 = 13. 2 × 6 = 13.")
    assert not corrects_itself("2 × 6 = 12. 2 × 6 = 12.")
    assert not corrects_itself("2 × 6 = 13. 2 + 6 = 8.")  # another expression
    assert not corrects_itself("Wait. No. Answer: 14.")
    assert not corrects_itself("")


# ---- length


def test_the_price_of_length_is_that_of_trl():
    from trl.rewards import get_soft_overlong_punishment

    theirs = get_soft_overlong_punishment(max_completion_len=40, soft_punish_cache=12)
    lengths = torch.arange(1, 45)
    expected = theirs(completion_ids=[[0] * n for n in lengths.tolist()])
    found = overlong(lengths, new_tokens=40, buffer=12)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-7)


# ---- for training


def test_each_answer_is_scored_with_the_problem_that_it_answers(shipped):
    model, tokenizer = shipped
    asked = [parse("2 + 2 × 6"), parse("3 × 4 + 5 − 1"), parse("1 + 1")]
    prompts = [exam.prompt_ids(f"What is {p}?", tokenizer) for p in asked]
    rollout = sample_rollouts(
        model, prompts, 30, end=tokenizer.end, pad=tokenizer.pad, samples=6,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    seen = []

    def score(problem, reply):
        seen.append((problem, reply))
        return correctness(problem, reply)

    rewards = rewarding(score, tokenizer)(rollout, asked)
    assert rewards.shape == (18,)
    assert [problem for problem, _ in seen] == [p for p in asked for _ in range(6)]
    assert [reply for _, reply in seen] == rollout.texts(tokenizer)
    assert rewards.tolist() == [float(is_right(*pair)) for pair in seen]
    assert 0 < rewards.sum() < 18


def test_a_bare_number_that_is_right_is_no_answer_in_the_form_asked_for():
    assert is_right(Problem(14), "14")
    assert correctness(Problem(14), "14") == 0.0
