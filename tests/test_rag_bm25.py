"""BM25: on paper, against rank-bm25 and bm25s each by its variant, a slow loop, and speed."""

import math
import statistics
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.bm25 import (
    BM25,
    STOPS,
    bm25_scores,
    code_words,
    rarity,
    saturation,
    words,
)
from course_lib.rag.loading import python_reference, town_archive
from course_lib.rag.splitting import split_documents, split_recursive
from course_lib.world.documents import document_questions

CORPUS = [
    "the geese eat grass and the geese sleep",
    "the mayor eats cheese",
    "grass grows",
    "the river the river the river is deep and slow and brown and wide",
    "geese",
]
WORDS = some.sampled_from(["a", "b", "c", "d", "e", "f", "zz"])
CORPORA = some.lists(some.lists(WORDS, min_size=1, max_size=12), min_size=1, max_size=9)
QUERIES = some.lists(WORDS, max_size=6)
FEW = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def papers():
    return [paper.text for paper in town_archive()]


@pytest.fixture(scope="module")
def questions():
    return [question.text for question in document_questions()]


# ---- on paper


def test_the_worked_example():
    """One word, in 2 of 5 documents; lengths 8, 4, 2, 14, 1, so 5.8 on average."""
    documents = [text.split() for text in CORPUS]
    assert [len(document) for document in documents] == [8, 4, 2, 14, 1]
    weight = math.log(1 + 3.5 / 2.5)
    first = weight * 2 / (2 + 1.5 * (0.25 + 0.75 * 8 / 5.8))
    last = weight * 1 / (1 + 1.5 * (0.25 + 0.75 * 1 / 5.8))
    found = bm25_scores(["geese"], documents)
    np.testing.assert_allclose(found, [first, 0, 0, 0, last], rtol=1e-12)
    assert last > first  # once in one word beats twice in eight


def test_rarity_on_paper_in_both_variants():
    holding = np.array([0, 1, 5, 10])
    np.testing.assert_allclose(
        np.exp(rarity(holding, 10, "okapi")), [21, 9.5 / 1.5, 1, 0.5 / 10.5]
    )
    np.testing.assert_allclose(
        np.exp(rarity(holding, 10)), [22, 1 + 9.5 / 1.5, 2, 1 + 0.5 / 10.5]
    )
    assert (rarity(np.arange(11), 10) > 0).all()
    assert rarity(np.array(6), 10, "okapi") < 0


def test_the_first_occurrence_is_worth_most_and_none_is_worth_1():
    worth = saturation(np.arange(50), np.full(50, 10), 10)
    gains = np.diff(worth)
    assert worth[0] == 0
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()
    assert worth[-1] < 1
    assert worth[1] == pytest.approx(1 / 2.5)


def test_b_says_how_much_length_matters_and_k1_how_much_repetition():
    lengths = np.array([5, 10, 40])
    one = np.ones(3)
    assert np.ptp(saturation(one, lengths, 10, b=0.0)) == 0
    np.testing.assert_allclose(
        saturation(one, lengths, 10, b=1.0), saturation(8 * one, 8 * lengths, 10, b=1.0)
    )  # only shares count
    assert saturation(np.array([1, 9]), lengths[:2], 10, k1=0.0).tolist() == [1, 1]


# ---- against the libraries


def ours(documents, variant, k1=1.5, b=0.75):
    """The class on lists of words."""
    return BM25([" ".join(d) for d in documents], str.split, variant, k1, b)


def rank_bm25(documents, k1=1.5, b=0.75):
    from rank_bm25 import BM25Okapi

    return BM25Okapi(documents, k1=k1, b=b)


def bm25s(documents, k1=1.5, b=0.75):
    import bm25s as library

    model = library.BM25(method="lucene", k1=k1, b=b, dtype="float64")
    model.index(documents, show_progress=False)
    return model


@given(CORPORA, QUERIES, some.sampled_from([(1.5, 0.75), (0.5, 0.0), (2.0, 1.0)]))
@FEW
def test_okapi_is_rank_bm25s(documents, query, numbers):
    theirs = rank_bm25(documents, *numbers).get_scores(query)
    found = ours(documents, "okapi", *numbers).scores(" ".join(query))
    np.testing.assert_allclose(found, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("numbers", [(1.5, 0.75), (0.9, 0.4)])
def test_on_the_archive_both_libraries_agree_each_with_its_variant(
    papers, questions, numbers
):
    documents = [words(paper) for paper in papers]
    okapi, lucene = (
        BM25(papers, words, v, *numbers) for v in ("okapi", "lucene")
    )  # fmt: skip
    first, second = rank_bm25(documents, *numbers), bm25s(documents, *numbers)
    for question in questions[::7]:
        query = words(question)
        np.testing.assert_allclose(
            okapi.scores(question), first.get_scores(query), rtol=1e-10, atol=1e-12
        )
        theirs = second.get_scores(query)
        np.testing.assert_allclose(lucene.scores(question), theirs, rtol=1e-6)


def test_in_its_usual_precision_bm25s_differs_by_rounding_alone(papers, questions):
    import bm25s as library

    model = library.BM25(method="lucene")
    model.index([words(paper) for paper in papers], show_progress=False)
    bm25 = BM25(papers)
    for question in questions[::31]:
        theirs = model.get_scores(words(question))
        np.testing.assert_allclose(bm25.scores(question), theirs, atol=5e-6)


def test_the_variants_are_not_one():
    lucene, okapi = BM25(CORPUS, str.split), BM25(CORPUS, str.split, "okapi")
    assert not np.allclose(lucene.scores("geese grass"), okapi.scores("geese grass"))
    # "the" stands in 3 of 5: below 0 by okapi's logarithm, lifted above it by the floor
    assert rarity(np.array(3), 5, "okapi") < 0
    assert okapi.scores("the")[1] > 0


# ---- invariants


@given(CORPORA, QUERIES)
@FEW
def test_the_index_gives_what_the_slow_loop_gives(documents, query):
    found = ours(documents, "lucene").scores(" ".join(query))
    np.testing.assert_allclose(
        found, bm25_scores(query, documents), rtol=1e-12, atol=1e-15
    )


@given(CORPORA, QUERIES)
@FEW
def test_words_add_up_and_their_order_does_not_matter(documents, query):
    bm25 = ours(documents, "lucene")
    parts = sum((bm25.scores(word) for word in query), np.zeros(len(documents)))
    np.testing.assert_allclose(bm25.scores(" ".join(query)), parts, atol=1e-12)
    np.testing.assert_allclose(bm25.scores(" ".join(query[::-1])), parts, atol=1e-12)


@given(CORPORA, QUERIES)
@FEW
def test_a_document_without_a_word_of_the_query_gets_0_and_others_more(
    documents, query
):
    scores = ours(documents, "lucene").scores(" ".join(query))
    holds = [bool({*query} & {*document}) for document in documents]
    assert (scores > 0).tolist() == holds


def test_a_search_gives_the_best_first_and_only_what_holds_a_word():
    bm25 = BM25(CORPUS)
    scores, places = bm25.search("Do GEESE eat cheese?", k=10)
    assert places.tolist() == [0, 1, 4]  # two words of three, a rarer one, one
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, bm25.scores("geese eat cheese")[places])
    assert bm25.search("geese", k=1)[1].tolist() == [4]


@given(CORPORA, QUERIES, some.sampled_from(["lucene", "okapi"]))
@FEW
def test_shares_rank_as_scores_do_and_stay_below_1(documents, query, variant):
    bm25 = ours(documents, variant)
    scores, shares = bm25.scores(" ".join(query)), bm25.shares(" ".join(query))
    assert (
        np.argsort(scores, kind="stable") == np.argsort(shares, kind="stable")
    ).all()
    if variant == "lucene":
        assert ((shares >= 0) & (shares < 1)).all()


def test_a_word_that_nobody_holds_takes_from_every_share():
    bm25 = BM25(CORPUS)
    known, half = bm25.shares("geese"), bm25.shares("geese zeppelin")
    weight, unknown = math.log(1 + 3.5 / 2.5), math.log(1 + 5.5 / 0.5)
    np.testing.assert_allclose(half, known * weight / (weight + unknown))
    np.testing.assert_allclose(known, bm25.scores("geese") / weight)
    assert bm25.shares("the of").tolist() == [0.0] * 5


# ---- words


def test_words_are_small_letters_without_the_commonest():
    assert words("It's 10 o'clock; the Étoile-café opens!") == [
        "10", "o", "clock", "étoile", "café", "opens",
    ]  # fmt: skip
    assert words("You and I") == []
    assert "the" in words("the", stops=frozenset())
    assert all(word == word.lower() for word in STOPS)


def test_names_of_programs_are_found_by_their_parts():
    assert {"causalselfattention", "causal", "self", "attention"} <= {
        *code_words("class CausalSelfAttention(nn.Module)")
    }
    assert code_words("HTMLParser") == ["htmlparser", "html", "parser"]
    assert code_words("top_k(kv2)") == ["top_k", "top", "k", "kv2", "kv", "2"]
    assert code_words("plain") == ["plain"]


# ---- what may happen


@pytest.mark.parametrize("variant", ["lucene", "okapi"])
@pytest.mark.parametrize("query", ["the and of", "", "?!", "zeppelin", "\n"])
def test_stop_words_and_unknown_words_give_zeros(variant, query):
    bm25 = BM25(CORPUS, variant=variant)
    assert bm25.scores(query).tolist() == [0.0] * 5
    assert [len(found) for found in bm25.search(query, k=3)] == [0, 0]


@pytest.mark.parametrize("variant", ["lucene", "okapi"])
def test_an_empty_corpus_and_empty_documents_have_no_hits(variant):
    assert BM25([], variant=variant).scores("geese").shape == (0,)
    assert len(BM25([]).search("geese", k=3)[0]) == 0
    blank = BM25(["", " ", "the"], variant=variant)
    assert blank.scores("the geese").tolist() == [0.0] * 3
    mixed = BM25(["", "geese"], variant="lucene")
    assert (mixed.scores("geese") > 0).tolist() == [False, True]


def test_wrong_settings_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="put \\[ and \\]"):
        BM25("geese eat grass")
    with pytest.raises(ValueError, match="lucene or okapi, not 'bm25\\+'"):
        BM25(CORPUS, variant="bm25+")
    with pytest.raises(ValueError, match=r"k1=-1, b=0\.75"):
        BM25(CORPUS, k1=-1)
    with pytest.raises(ValueError, match="finds at least one"):
        BM25(CORPUS).search("geese", k=0)


# ---- speed


def test_it_is_five_times_as_fast_as_rank_bm25_on_the_reference_of_python():
    chunks = split_documents(python_reference(), lambda t: split_recursive(t, 300))
    documents = [words(chunk.text) for chunk in chunks]
    assert len(documents) > 1_500
    queries = [
        "how does a for loop end",
        "assert statement",
        "what is a metaclass used for",
    ]
    fast, slow = BM25([chunk.text for chunk in chunks]), rank_bm25(documents)
    ratios = []
    for _ in range(9):
        times = []
        for scores in (
            lambda query: fast.scores(query),
            lambda query: slow.get_scores(words(query)),
        ):
            begun = time.perf_counter()
            for query in queries:
                scores(query)
            times.append(time.perf_counter() - begun)
        ratios.append(times[1] / times[0])
    assert statistics.median(ratios) > 5  # about 400 measured
