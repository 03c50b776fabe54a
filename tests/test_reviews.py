"""The café's reviews: what is held out is new as a pair and old as words, and verdicts follow from words."""

from collections import Counter
from itertools import product

import pytest

from course_lib.world.reviews import (
    BAD,
    FORMS,
    GOOD,
    THINGS,
    VERDICTS,
    reviews,
    twisted_reviews,
)

TRAIN, HELD_OUT, TWISTED = reviews(), reviews(held_out=True), twisted_reviews()


def words(pairs):
    return {word for text, _ in pairs for word in text.split()}


def pairings(pairs):
    """Which thing was called what."""
    return {
        (thing, word)
        for text, _ in pairs
        for thing, word in product(THINGS, GOOD + BAD)
        if {thing, word} <= set(text.split())
    }


def test_eight_things_twelve_adjectives_and_five_forms_give_480_reviews_of_which_a_quarter_is_held_out():
    assert (len(TRAIN), len(HELD_OUT)) == (360, 120)
    assert (
        len({text for text, _ in TRAIN + HELD_OUT})
        == len(THINGS) * len(GOOD + BAD) * len(FORMS)
        == 480
    )


def test_no_held_out_review_and_no_held_out_pairing_occurs_in_training():
    assert not {text for text, _ in TRAIN} & {text for text, _ in HELD_OUT}
    assert not pairings(TRAIN) & pairings(HELD_OUT)
    assert pairings(TRAIN) | pairings(HELD_OUT) == set(product(THINGS, GOOD + BAD))


def test_every_word_of_a_held_out_review_was_seen_in_training():
    assert words(HELD_OUT) <= words(TRAIN)


def test_every_thing_and_every_adjective_is_held_out_somewhere():
    assert {thing for thing, _ in pairings(HELD_OUT)} == set(THINGS)
    assert {word for _, word in pairings(HELD_OUT)} == {*GOOD, *BAD}


@pytest.mark.parametrize("pairs", [TRAIN, HELD_OUT], ids=["train", "held out"])
def test_the_verdict_follows_from_the_adjective_and_from_nothing_else(pairs):
    for text, verdict in pairs:
        assert {*text.split()} & {*GOOD, *BAD} <= {*(BAD, GOOD)[verdict]}
        assert len({*text.split()} & {*GOOD, *BAD}) == 1
    for word in words(pairs) - {*GOOD, *BAD}:
        counts = Counter(verdict for text, verdict in pairs if word in text.split())
        assert counts[0] == counts[1], f"{word} gives the verdict away: {counts}"


def test_no_adjective_is_both_good_and_bad():
    assert not {*GOOD} & {*BAD}
    assert len(GOOD) == len(BAD)


def test_verdict_1_is_called_positive():
    assert VERDICTS[1] == "positive"
    assert ("the soup was lovely", 1) in TRAIN


def test_twisted_pairs_are_one_bag_of_words_with_opposite_verdicts():
    assert len(TWISTED) == 2 * len(THINGS) * len(GOOD)
    for (first, verdict), (second, other) in zip(
        TWISTED[::2], TWISTED[1::2], strict=True
    ):
        assert first != second
        assert Counter(first.split()) == Counter(second.split())
        assert (verdict, other) == (1, 0)


def test_twisted_verdicts_belong_to_the_adjective_that_is_not_denied():
    for text, verdict in TWISTED:
        said, denied = text.split(" , not ")
        assert said.split()[-1] in (BAD, GOOD)[verdict]
        assert denied in (GOOD, BAD)[verdict]


def test_reviews_are_the_same_at_every_call():
    assert reviews() == TRAIN
    assert twisted_reviews() == TWISTED
