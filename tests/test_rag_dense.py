"""Vectors of texts: against scikit-learn and sentence-transformers, invariants, the limit of an encoder."""

import numpy as np
import pytest

from course_lib import pretrained
from course_lib.pretrained.loading import package_file
from course_lib.rag.bm25 import words
from course_lib.rag.dense import LsaEmbedder, TfidfEmbedder, part_read, principal
from course_lib.rag.loading import python_reference, town_archive
from course_lib.rag.store import Store

TEXTS = [
    "the goose eats grass",
    "grass grows, grass is green",
    "a mayor and a goose",
    "",
]


@pytest.fixture(scope="module")
def papers():
    return [paper.text for paper in town_archive()]


@pytest.fixture(scope="module")
def encoder():
    return pretrained.minilm()


# ---- tf-idf


def test_tfidf_on_paper():
    embedder = TfidfEmbedder(["a b", "a a c"], analyse=str.split)
    assert list(embedder.words) == ["a", "b", "c"]
    rare = 1 + np.log(3 / 2)
    expected = np.array([[1, rare, 0], [2, 0, rare]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed(["a b", "a a c"]), expected, rtol=1e-6)


def test_tfidf_is_scikit_learns(papers):
    from sklearn.feature_extraction.text import TfidfVectorizer

    embedder = TfidfEmbedder(papers)
    theirs = TfidfVectorizer(analyzer=words, vocabulary=embedder.words).fit(papers)
    new = [*papers[:9], "When does the swimming pool open?", "zeppelin", ""]
    expected = theirs.transform(new).toarray()
    np.testing.assert_allclose(embedder.embed(new), expected, atol=1e-6)


def test_the_words_of_the_most_texts_are_kept():
    assert list(TfidfEmbedder(TEXTS, largest=2).words) == ["goose", "grass"]
    assert TfidfEmbedder(TEXTS, largest=2).embed(TEXTS).shape == (4, 2)


# ---- LSA


def test_lsa_is_scikit_learns_up_to_the_signs_of_directions(papers):
    from sklearn.decomposition import TruncatedSVD

    embedder = LsaEmbedder(papers, width=20)
    table = embedder.tfidf.embed(papers)
    theirs = TruncatedSVD(20, algorithm="arpack", random_state=0).fit_transform(
        table.astype(float)
    )
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = embedder.embed(papers)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-4)


def test_no_other_directions_leave_less_out():
    table = np.random.default_rng(0).standard_normal((30, 12)) * np.arange(1, 13)
    directions = principal(table, 4)
    np.testing.assert_allclose(directions.T @ directions, np.eye(4), atol=1e-10)

    def left_out(directions):
        return ((table - table @ directions @ directions.T) ** 2).sum()

    values = np.linalg.eigvalsh(table.T @ table)
    assert left_out(directions) == pytest.approx(values[:-4].sum())
    other, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 4)))
    assert left_out(directions) < left_out(other)


def test_with_all_directions_lsa_is_tfidf():
    full = LsaEmbedder(TEXTS, width=99)
    tfidf = full.tfidf.embed(TEXTS)
    assert full.directions.shape[1] == np.linalg.matrix_rank(tfidf) == 3
    ours = full.embed(TEXTS)
    np.testing.assert_allclose(ours @ ours.T, tfidf @ tfidf.T, atol=1e-6)


def test_lsa_finds_a_text_by_a_word_that_is_not_in_it():
    texts = [
        "car engine wheel",
        "automobile engine wheel",
        "car road",
        "goose pond",
        "duck pond",
    ]
    tfidf, lsa = TfidfEmbedder(texts), LsaEmbedder(texts, width=2)

    def similarity(embedder):
        one, other = embedder.embed(["automobile", "car road"])
        return one @ other

    assert similarity(tfidf) == 0
    assert similarity(lsa) > 0.9
    pond, car = lsa.embed(["duck", "car"])
    assert abs(pond @ car) < 0.1


# ---- both


@pytest.mark.parametrize("make", [TfidfEmbedder, LsaEmbedder])
def test_rows_have_length_1_and_unknown_words_give_zeros(make):
    embedder = make(TEXTS)
    found = embedder.embed([*TEXTS, "zeppelin", "the and"])
    assert found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 0, 0, 0], atol=1e-6)
    assert embedder.embed([]).shape == (0, found.shape[1])


@pytest.mark.parametrize("make", [TfidfEmbedder, LsaEmbedder])
def test_an_empty_corpus_knows_no_word(make):
    for corpus in ([], ["", "the"]):
        assert make(corpus).embed(["goose", ""]).shape == (2, 0)
    with pytest.raises(ValueError, match="a list of texts"):
        make("goose")
    with pytest.raises(ValueError, match="a list of texts"):
        make(TEXTS).embed("goose")


def test_a_vector_has_at_least_one_number():
    with pytest.raises(ValueError, match="width=0"):
        LsaEmbedder(TEXTS, width=0)


# ---- MiniLM


def test_a_store_of_minilms_vectors_is_sentence_transformers(papers, encoder):
    """Vectors within 3e-7, and the hits of its own search."""
    from sentence_transformers import SentenceTransformer, util

    from course_lib.pretrained.minilm import PACKAGE, WEIGHTS
    from course_lib.rag.splitting import Chunk

    path = package_file(PACKAGE, "model/model.safetensors", WEIGHTS)
    theirs = SentenceTransformer(str(path.parent), device="cpu")
    papers = papers[::12]
    store = Store(encoder.embed)
    store.add(Chunk(paper, source=str(i)) for i, paper in enumerate(papers))
    expected = theirs.encode(papers, normalize_embeddings=True)
    np.testing.assert_allclose(store.index.vectors, expected, atol=3e-7)
    asked = ["When may I first get into the swimming pool?", "Who bought the cargo?"]
    queries = theirs.encode(asked, normalize_embeddings=True)
    hits = util.semantic_search(queries, expected, top_k=5)
    for question, row in zip(asked, hits, strict=True):
        found = store.search(question, k=5)
        assert [hit.chunk.source for hit in found] == [str(h["corpus_id"]) for h in row]
        np.testing.assert_allclose(
            [hit.score for hit in found], [h["score"] for h in row], atol=1e-6
        )


def test_what_an_encoder_reads_of_a_long_text_is_all_that_counts(encoder):
    text = max((page.text for page in python_reference()), key=len)
    read = part_read(text, encoder)
    assert text.startswith(read)
    assert 500 < len(read) < 2_000 < len(text)
    one, two = encoder.embed([text, read])
    np.testing.assert_allclose(one, two, atol=1e-6)
    assert part_read("The goose sleeps.", encoder) == "The goose sleeps."
    assert part_read("", encoder) == ""
