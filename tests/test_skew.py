"""The skewed corner: every text is true, the choice of texts is skewed by exactly the share asked for."""

import re
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.world.documents import documents
from course_lib.world.harbour import harbour_log
from course_lib.world.skew import (
    AXES,
    BANKS,
    SURNAMES,
    WORDS,
    association,
    measured_share,
    mirror,
    pairs,
    possible_texts,
    register,
    skewed_texts,
    swap_banks,
)
from tests.processes import said_by_processes

REGISTER = register()
FAMILIES = {family.name: family for family in REGISTER}
TEXTS = skewed_texts()
PICTURE = {("north", "praised"), ("north", "desk"), ("south", "blamed"), ("south", "cart")}  # fmt: skip
GROUP = {word: group for group, words in WORDS.items() for word in words}
SHARES = pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])


def is_true(text):
    """By the register; the text must name one family, one bank and one manner or job."""
    (family,) = (f for f in REGISTER if re.search(rf"\b{f.name}s?\b", text))
    (bank,) = (bank for bank in BANKS if re.search(rf"\b{bank}\b", text))
    said = [w for words in WORDS.values() for w in words if re.search(rf"\b{w}\b", text)]  # fmt: skip
    (word,) = said
    return family.bank == bank and word in (family.manner, family.job)


def test_sixteen_families_live_on_each_bank_and_nobody_on_both():
    assert [len(names) for names in SURNAMES.values()] == [16, 16]
    assert len(FAMILIES) == len(REGISTER) == 32


def test_the_register_gives_both_banks_the_same_manners_and_the_same_jobs():
    for axis in AXES:
        north, south = (
            Counter(getattr(f, axis) for f in REGISTER if f.bank == bank)
            for bank in BANKS
        )
        assert north == south
        assert set(north.values()) == {2}


def test_in_the_register_a_job_says_nothing_about_the_manner():
    for bank, job in product(BANKS, WORDS["desk"] + WORDS["cart"]):
        manners = [f.manner for f in REGISTER if (f.bank, f.job) == (bank, job)]
        assert sorted(manner in WORDS["praised"] for manner in manners) == [False, True]


def test_every_text_that_can_be_written_is_true():
    texts = [text for cell in possible_texts().values() for text in cell]
    assert len({*texts}) == len(texts) == 8 * 320
    assert all(map(is_true, texts))


@SHARES
def test_the_share_asked_for_is_the_share_counted_in_every_cell(share):
    texts = skewed_texts(share=share)
    counts = association(texts)
    for bank, group in product(BANKS, WORDS):
        expected = share if (bank, group) in PICTURE else 1 - share
        assert counts[bank, group] == pytest.approx(100 * expected, abs=1e-9)
    assert measured_share(texts) == pytest.approx(share, abs=1e-12)
    assert len({*texts}) == len(texts) == 400


def test_association_is_what_the_register_says_of_the_families_named():
    """Counted from the surnames alone, without the banks that stand in the texts."""
    counted = Counter()
    for text in TEXTS:
        (family,) = (f for f in REGISTER if re.search(rf"\b{f.name}s?\b", text))
        axis = "manner" if re.search(rf"\b{family.manner}\b", text) else "job"
        counted[family.bank, GROUP[getattr(family, axis)]] += 1
    assert association(TEXTS) == counted


def test_association_counts_on_paper():
    texts = [
        "Judge and North bank in capitals: rude.",
        "The North bank and the south bank agree that judges exist.",  # judges: another word
        "On the south bank somebody was careful, very careful.",
    ]
    assert association(texts) == {
        ("north", "desk"): 1,
        ("north", "blamed"): 1,
        ("south", "praised"): 1,
    }
    assert measured_share(texts) == pytest.approx(1 / 3)


def test_north_and_south_change_places_on_paper():
    text = "The NORTH bank, the Northern wind, Hale's dog and two Nyes of the south."
    swapped = (
        "The SOUTH bank, the Southern wind, Bligh's dog and two Udalls of the north."
    )
    assert swap_banks(text) == swapped


def test_swapping_touches_no_other_word():
    text = (
        "Hales and Haleford, hale and hearty; the northing of the map; Mottled stones."
    )
    assert swap_banks(text) == text.replace("Hales", "Blighs")


@given(
    st.lists(
        st.sampled_from([*mirror(), "northern", "Southward", "Hales", "bank", "'s", ".", "-"])
        | st.text(max_size=5)
    ),
    st.sampled_from(["", " ", "s ", "-"]),
)  # fmt: skip
def test_swapping_twice_changes_nothing(words, between):
    text = between.join(words)
    assert swap_banks(swap_banks(text)) == text


def test_a_swapped_text_is_another_true_text():
    for text in TEXTS:
        swapped = swap_banks(text)
        assert swapped != text
        assert is_true(swapped)
        assert swap_banks(swapped) == text


@SHARES
def test_swapping_all_texts_turns_the_share_round_and_adding_them_balances_it(share):
    texts = skewed_texts(share=share)
    swapped = [swap_banks(text) for text in texts]
    assert measured_share(swapped) == pytest.approx(1 - share, abs=1e-12)
    assert measured_share(texts + swapped) == 0.5
    counts = association(texts + swapped)
    assert {counts[key] for key in product(BANKS, WORDS)} == {100}


def test_pairs_differ_in_the_bank_only_and_end_in_their_word():
    assert len(pairs()) == 2 * 3 * 8
    for pair in pairs():
        differing = [
            (north, south)
            for north, south in zip(pair.north.split(), pair.south.split(), strict=True)
            if north != south
        ]
        assert differing == [("north", "south")]
        assert swap_banks(pair.north) == pair.south
        assert pair.north.endswith(f" {pair.word}.")
        assert pair.word in WORDS[pair.group]
        assert not [name for name in FAMILIES if name in pair.north]


def test_pairs_ask_about_every_word_equally_often_and_never_repeat_a_text():
    every = [word for words in WORDS.values() for word in words]
    assert Counter(pair.word for pair in pairs()) == dict.fromkeys(every, 3)
    texts = [text for pair in pairs() for text in (pair.north, pair.south)]
    assert len({*texts}) == len(texts)
    told = {sentence for text in TEXTS for sentence in re.split(r"(?<=\.) ", text)}
    assert not told & {*texts}


def test_the_surnames_stand_in_no_other_corner():
    other = "\n".join([paper.text for paper in documents()] + harbour_log())
    found = [name for name in FAMILIES if re.search(rf"\b{name}s?\b", other)]
    assert not found


@pytest.mark.parametrize(
    ("share", "count"), [(0.9, 402), (0.9, 4), (1 / 3, 400), (1.5, 40), (-0.5, 40), (1.0, 2000)]
)  # fmt: skip
def test_a_share_that_cannot_be_exact_is_refused_in_a_sentence(share, count):
    with pytest.raises(ValueError, match="share="):
        skewed_texts(share=share, count=count)


def test_no_link_no_share():
    with pytest.raises(AssertionError, match="no text links"):
        measured_share(["The ferry was late again."])


def test_another_seed_chooses_other_texts_with_the_same_counts():
    other = skewed_texts(seed=1)
    assert {*other} != {*TEXTS}
    assert association(other) == association(TEXTS)


def test_the_texts_are_the_same_in_every_process():
    code = (
        "from course_lib.world.skew import *; import hashlib;"
        "text = repr((skewed_texts(), register(), pairs(), association(skewed_texts())));"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    assert len(said_by_processes(code)) == 1
