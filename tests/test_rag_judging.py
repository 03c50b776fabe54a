"""Judging answers: figures on paper, invariants, SQuAD's own formula, the identity of the ledger."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.judging import (
    contains,
    exact_match,
    faithfulness,
    ledger,
    refusal_rates,
    token_f1,
    tokens,
)
from course_lib.rag.prompts import UNKNOWN

FEW = settings(max_examples=80, deadline=None)
WORDS = some.lists(some.sampled_from(["cat", "dog", "black", "red", "six"]), max_size=6)
MARKS = some.lists(some.tuples(some.booleans(), some.booleans()), min_size=1)


def test_three_comparisons_from_strict_to_lenient():
    assert exact_match("The black cat.", "black cat")
    assert not exact_match("It is a black cat.", "black cat")
    assert contains("It is a black cat.", "the black cat")
    assert not contains("a cat, black", "black cat")
    assert not contains("19 pence", "9")
    assert token_f1("It is black", "black cat") == 2 * 1 / (3 + 2)


def squad_f1(said, wanted):
    """As in the official script of SQuAD 1.1: precision and recall of common words."""
    common = sum((Counter(said) & Counter(wanted)).values())
    if not common:
        return float(said == wanted)
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


@given(WORDS, WORDS)
@FEW
def test_f1_is_that_of_squad(said, wanted):
    ours = token_f1(" ".join(said), " ".join(wanted))
    assert ours == pytest.approx(squad_f1(said, wanted))
    assert ours == token_f1(" ".join(wanted), " ".join(said))


@given(WORDS, WORDS)
@FEW
def test_what_is_equal_is_contained_and_overlaps_fully(said, wanted):
    said, wanted = " ".join(said), " ".join(wanted)
    if exact_match(said, wanted):
        assert contains(said, wanted)
        assert token_f1(said, wanted) == 1
    if contains(said, wanted) and tokens(wanted):
        assert token_f1(said, wanted) > 0


def test_faithfulness_counts_sentences_that_a_passage_holds():
    passages = ["Ben works as a cook.", "Ada has a black cat."]
    assert faithfulness("Ben is a cook. Ada has a cat.", passages) == 1
    assert faithfulness("Ben is a cook. Ada has a red dog.", passages) == 0.5
    assert faithfulness("Ben has a black cat.", passages) == 0  # of two passages
    assert faithfulness(UNKNOWN, []) == 1
    assert faithfulness("Ben sings.", []) == 0


@given(MARKS)
@FEW
def test_end_to_end_is_the_product_and_luck(marks):
    found, right = map(list, zip(*marks, strict=True))
    book = ledger(found, right)
    lucky = 0 if book.retrieval == 1 else (1 - book.retrieval) * book.luck
    assert book.end_to_end == pytest.approx(book.product + lucky)


def test_a_ledger_without_any_find_has_no_copying():
    book = ledger([False, False], [True, False])
    assert math.isnan(book.copying)
    assert book.product == 0
    assert book.luck == 0.5
    with pytest.raises(ValueError, match="One mark of each kind"):
        ledger([], [])


def test_refusals_of_both_kinds_and_of_one():
    rates = refusal_rates([True, False, True, True], [True, True, False, False])
    assert rates == (0.5, 1.0)
    assert rates.balanced == 0.75
    assert math.isnan(refusal_rates([True], [True]).of_unanswerable)
