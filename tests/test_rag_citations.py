"""Citations: marks read, right, wrong and missing ones told apart; planted mistakes are caught."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.citations import (
    Claim,
    Verdict,
    check_citations,
    cite,
    claims,
    exact,
    holds,
    support,
    with_marks,
)
from course_lib.world.documents import documents

PASSAGES = [
    "The bath opens at 10 o'clock. A ticket costs 11 pence.",
    "Widra works as a cook. Widra has a black cat.",
    "The cellar costs 3 pence.",
]


def test_marks_before_and_behind_the_stop_belong_to_their_sentence():
    expected = [Claim("It opens at 10.", (1,)), Claim("Widra cooks.", (2, 3))]
    assert claims("It opens at 10 [1]. Widra cooks [2][3].") == expected
    assert claims("It opens at 10. [1] Widra cooks. [2] [3]") == expected


def test_a_text_without_sentences_makes_no_claim():
    assert claims("") == claims(" . ") == claims("[1]") == []


def test_support_on_paper():
    assert support("Widra has a black dog.", PASSAGES[1]) == 2 / 3
    assert support("Of the", PASSAGES[1]) == 0


def test_a_right_a_wrong_and_a_missing_mark():
    said = "A ticket costs 11 pence [1]. Widra has a cat [3]. Widra works as a cook."
    assert check_citations(said, PASSAGES) == [
        Verdict("A ticket costs 11 pence.", right=(1,)),
        Verdict("Widra has a cat.", wrong=(3,), missing=(2,)),
        Verdict("Widra works as a cook.", missing=(2,)),
    ]


@pytest.mark.parametrize("number", [0, 4, 99])
def test_a_mark_of_a_passage_that_is_not_there_is_wrong(number):
    [verdict] = check_citations(f"A ticket costs 11 pence [{number}].", PASSAGES)
    assert verdict.wrong == (number,)
    assert verdict.missing == (1,)


def test_one_good_source_is_enough():
    twice = [PASSAGES[0], PASSAGES[0]]
    [verdict] = check_citations("A ticket costs 11 pence [2].", twice)
    assert verdict == Verdict("A ticket costs 11 pence.", right=(2,))


def test_a_wrong_number_or_name_beside_the_right_words_is_not_held():
    assert holds(PASSAGES[0], "A ticket costs 11 pence.")
    assert not holds(PASSAGES[0], "A ticket costs 1 pence.")
    assert not holds(PASSAGES[0], "A ticket costs 110 pence.")
    assert holds(PASSAGES[1], "Widra has a black cat.")
    assert not holds(PASSAGES[1], "Lauwen has a black cat.")


def test_numbers_with_points_are_one_number():
    assert exact("It costs 1.50 or 2,000.") == {"1.50", "2,000"}
    assert not holds("It costs 1.5 crowns.", "It costs 1.50 crowns.")


def test_what_the_test_of_words_cannot_see_is_documented():
    assert holds("The bath does not open on Friday.", "The bath opens on Friday.")


@given(some.lists(some.sampled_from(PASSAGES), min_size=1, max_size=3, unique=True))
@settings(max_examples=20, deadline=None)
def test_citations_written_by_cite_are_right_when_checked(passages):
    answer = "A ticket costs 11 pence. Widra has a black cat. The moon is blue."
    marked = with_marks(cite(answer, passages))
    assert [claim.sentence for claim in claims(marked)] == [
        claim.sentence for claim in claims(answer)
    ]
    assert not any(v.wrong or v.missing for v in check_citations(marked, passages))


def test_every_sentence_of_the_archive_is_held_by_its_own_paper_and_rarely_by_another():
    papers = documents()
    drawn, own, other = random.Random(0), 0, 0
    sample = drawn.sample(papers, 40)
    for paper in sample:
        fact = paper.facts[0]
        sentence = f"{fact.subject}: the {fact.attribute} is {fact.value}."
        line = next(one for one in cite(paper.body, [paper.text]))
        own += line.cited == (1,)
        foreign = drawn.choice(
            [p for p in papers if p.facts[0].subject != fact.subject]
        )
        other += holds(foreign.text, sentence)
    assert own == len(sample)
    assert other == 0
