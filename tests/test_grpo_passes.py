"""pass@k and votes against enumeration, and rejection sampling into a set for fine-tuning."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib import pretrained
from course_lib.grpo.passes import majority_at_k, majority_vote, pass_at_k
from course_lib.grpo.rejection import rejection_sample, sample_replies
from course_lib.sft.examples import chat_example
from course_lib.world.arithmetic import is_right, parse, steps_hold


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- pass@k


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_pass_at_k_is_the_share_of_all_choices_that_hold_a_right_one(n):
    for right, k in itertools.product(range(n + 1), range(1, n + 1)):
        marks = [i < right for i in range(n)]
        choices = [any(chosen) for chosen in itertools.combinations(marks, k)]
        found = pass_at_k(n, right, k)
        assert found == pytest.approx(sum(choices) / len(choices))


def test_it_is_the_published_product():
    """Chen et al. 2021, figure 3: 1 - prod(1 - k / arange(n - c + 1, n + 1))."""
    for n, right, k in [(200, 1, 100), (200, 37, 10), (10, 9, 1), (64, 60, 8)]:
        if n - right < k:
            theirs = 1.0
        else:
            theirs = 1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1))
        assert pass_at_k(n, right, k) == pytest.approx(theirs)


def test_it_is_unbiased_and_the_obvious_formula_is_not():
    n, k, p = 6, 3, 0.3
    chances = [
        len(list(itertools.combinations(range(n), c))) * p**c * (1 - p) ** (n - c)
        for c in range(n + 1)
    ]
    true = 1 - (1 - p) ** k
    ours = sum(q * pass_at_k(n, c, k) for c, q in enumerate(chances))
    obvious = sum(q * (1 - (1 - c / n) ** k) for c, q in enumerate(chances))
    assert ours == pytest.approx(true)
    assert obvious < true - 0.03


def test_one_try_is_the_share_and_more_tries_never_hurt():
    for right in range(9):
        curve = [pass_at_k(8, right, k) for k in range(1, 9)]
        assert curve[0] == pytest.approx(right / 8)
        assert curve == sorted(curve)
        assert curve[-1] == (right > 0)


@pytest.mark.parametrize(
    ("n", "right", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)]
)
def test_what_cannot_be_drawn_is_refused(n, right, k):
    with pytest.raises(ValueError, match=f"Of {n} answers"):
        pass_at_k(n, right, k)


# ---- the vote


def test_votes_on_paper():
    assert majority_vote([14, 24, 14]) == 14
    assert majority_vote([24, 14]) == 24  # a tie goes to the first
    assert majority_vote([3, 14, 14, 3]) == 3
    assert majority_vote([None, None, None, 14]) == 14  # None has no vote
    assert majority_vote([None]) is None
    assert majority_vote([]) is None
    assert majority_vote([0, 0, 1]) == 0  # 0 is an answer


@given(some.lists(some.sampled_from([None, 0, 7, 14]), max_size=9))
def test_nothing_is_given_more_often_than_what_wins(answers):
    won = majority_vote(answers)
    given_ = [a for a in answers if a is not None]
    assert (won is None) == (not given_)
    counts = {a: given_.count(a) for a in given_}
    if given_:
        assert counts[won] == max(counts.values())
        tied = [a for a in given_ if counts[a] == counts[won]]
        assert won == tied[0]


def test_the_vote_of_some_is_that_of_all_their_choices():
    answers = [14, 24, 14, None, 3, 14]
    for k in (1, 2, 3, 5):
        wins = [
            majority_vote(chosen) == 14 for chosen in itertools.permutations(answers, k)
        ]
        exact = sum(wins) / len(wins)
        found = majority_at_k(answers, 14, k, draws=4000, generator=seeded())
        assert found == pytest.approx(exact, abs=0.025)  # three sigma


def test_the_vote_helps_who_is_right_most_often_and_hurts_who_is_not():
    good, bad = [14] * 6 + [24, 3, 5, 7], [14] * 3 + [24] * 5 + [1, 2]
    for pool, better in ((good, True), (bad, False)):
        one, nine = (
            majority_at_k(pool, 14, k, draws=1000, generator=seeded()) for k in (1, 9)
        )
        assert (nine > one) == better
    with pytest.raises(ValueError, match="There are 10 answers: 11"):
        majority_at_k(good, 14, 11)


# ---- rejection sampling

ASKED = ["What is 2 + 2 × 6?", "1 + 1 = ?", "What is 3 × 3 − 2?"]
PROBLEMS = [parse("2 + 2 × 6"), parse("1 + 1"), parse("3 × 3 − 2")]
GOOD = "2 × 6 = 12. 2 + 12 = 14. Answer: 14."
SAID = [
    ["Answer: 24.", GOOD, "Answer: 14.", GOOD],
    ["Answer: 2."] * 4,
    ["Answer: 5.", "3 − 2 = 1. 3 × 1 = 3. Answer: 3.", "", "Answer: 1."],
]


def right(i, reply):
    return is_right(PROBLEMS[i], reply)


def said_in(chats):
    return [(question["content"], reply["content"]) for question, reply in chats]


def test_right_answers_are_kept_each_once_and_unsolved_questions_fall_out():
    assert said_in(rejection_sample(ASKED, SAID, right, most=9)) == [
        (ASKED[0], GOOD),
        (ASKED[0], "Answer: 14."),
        (ASKED[1], "Answer: 2."),
    ]


def test_a_question_gives_no_more_than_it_may_and_in_the_order_drawn():
    chats = rejection_sample(ASKED, SAID, right)
    assert said_in(chats) == [(ASKED[0], GOOD), (ASKED[1], "Answer: 2.")]


def test_a_second_judge_is_another_condition():
    chats = rejection_sample(
        ASKED, SAID, lambda i, reply: right(i, reply) and steps_hold(PROBLEMS[i], reply)
    )
    assert said_in(chats) == [(ASKED[0], GOOD)]


def test_nobody_accepted_is_an_empty_set_and_not_an_error():
    assert rejection_sample(ASKED, SAID, lambda i, reply: False) == []
    with pytest.raises(AssertionError, match="questions"):
        rejection_sample(ASKED, SAID[:2], right)


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("cold_start")


def test_chats_can_be_trained_on_as_they_are(shipped):
    _, tokenizer = shipped
    for chat in rejection_sample(ASKED, SAID, right):
        example = chat_example(chat, tokenizer)
        said = [t for t, kept in zip(*example, strict=True) if kept]
        assert tokenizer.decode(said, specials=False) == chat[1]["content"]
        assert said[-1] == tokenizer.end


def test_replies_stand_beside_the_question_that_they_answer(shipped):
    model, tokenizer = shipped
    asked = [f"What is {n} + {n}?" for n in range(1, 7)] * 4
    said = sample_replies(model, tokenizer, asked, samples=12, generator=seeded())
    assert [len(of) for of in said] == [12] * 24
    hits = [
        is_right(parse(f"{n} + {n}"), reply)
        for n, of in zip([1, 2, 3, 4, 5, 6] * 4, said, strict=True)
        for reply in of
    ]
    assert sum(hits) / len(hits) > 0.5  # shifted by one question it would be near 0
    again = sample_replies(model, tokenizer, asked, samples=12, generator=seeded())
    assert again == said
    assert len({*said[0], *said[6]}) > 1
