"""Stores and ways to search: filters come first, files come back, hybrids fuse ranks; the archive as a whole."""

import json

import numpy as np
import pytest

from course_lib.rag.bm25 import code_words
from course_lib.rag.dense import LsaEmbedder, TfidfEmbedder
from course_lib.rag.loading import Document, course_source, town_archive
from course_lib.rag.metrics import recall_at_k
from course_lib.rag.retrievers import (
    BlendRetriever,
    DiverseRetriever,
    HybridRetriever,
    KeywordRetriever,
    key,
)
from course_lib.rag.splitting import Chunk, split_documents, split_recursive
from course_lib.rag.store import Store, fits, kept
from course_lib.rag.structure import split_python
from course_lib.world.documents import document_questions

PAPERS = town_archive()
TEXTS = [paper.text for paper in PAPERS]


@pytest.fixture(scope="module")
def chunks():
    return split_documents(PAPERS, lambda text: split_recursive(text, 400, 80))


@pytest.fixture(scope="module")
def embedder():
    return LsaEmbedder(TEXTS, width=60)


@pytest.fixture
def store(chunks, embedder):
    store = Store(embedder.embed)
    assert store.add(chunks) == len(chunks)
    return store


# ---- searching


def test_what_is_added_is_found(store, chunks):
    """Two case studies of the notes never indexed their chunks: the store must grow."""
    before = len(store)
    new = Chunk("Zeppelins float above the harbour on Sundays.", source="new")
    [found] = store.search(new.text, k=1)
    assert found.chunk.source != "new"
    assert store.add([new]) == before + 1 == len(store)
    embedded = store.search("above the harbour on Sundays", k=before + 1)
    assert new in [hit.chunk for hit in embedded]


def test_a_chunk_is_nearest_to_itself(store, chunks):
    for chunk in chunks[::17]:
        hits = store.search(chunk.text, k=3)
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert [hit.score for hit in hits] == sorted(
            (h.score for h in hits), reverse=True
        )


def test_the_filter_comes_before_the_search(store):
    """However far down the one paper ranks: k of what is kept are found, if there are k."""
    question = "When is the library open?"
    order = [hit.chunk.metadata["title"] for hit in store.search(question, len(store))]
    title = max({*order}, key=order.index)  # its best chunk ranks lowest
    assert order.index(title) > 50
    hits = store.search(question, k=2, where={"title": title})
    assert len(hits) == 2
    assert all(hit.chunk.metadata["title"] == title for hit in hits)


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ({"kind": "notice"}, lambda m: m["kind"] == "notice"),
        ({"year": lambda y: y < 1900}, lambda m: m["year"] < 1900),
        ({"kind": "notice", "year": lambda y: y > 1910},
         lambda m: m["kind"] == "notice" and m["year"] > 1910),
        ({"kind": {"log", "label"}.__contains__}, lambda m: m["kind"] in {"log", "label"}),
        ({"kind": "novel"}, lambda m: False),
        ({}, lambda m: True),
    ],
)  # fmt: skip
def test_filters_by_value_and_by_function(store, chunks, where, test):
    expected = [chunk for chunk in chunks if test(chunk.metadata)]
    for way in (store, KeywordRetriever(chunks)):
        found = [h.chunk for h in way.search("the mayor opens the door", 10**4, where)]
        assert all(chunk in expected for chunk in found)
    assert len(store.search("door", 10**4, where)) == len(expected)


def test_a_fact_that_no_chunk_has_is_a_slip_and_one_that_some_lack_is_not():
    some, none = Chunk("a", metadata={"year": 1}), Chunk("b")
    assert kept([some, none], {"year": 1}).tolist() == [True, False]
    assert not fits({}, {"year": None})
    with pytest.raises(
        ValueError, match="No chunk says anything of 'yaer', only of year"
    ):
        kept([some, none], {"yaer": 1})
    assert kept([some], None) is None


def test_a_threshold_is_a_cosine(store):
    question = "At what hour does the door of the Lantern Library open?"
    everything = store.search(question, k=len(store))
    some = store.search(question, k=len(store), threshold=0.5)
    assert some == [hit for hit in everything if hit.score >= 0.5]
    assert 0 < len(some) < len(everything)
    assert store.search(question, threshold=1.01) == []
    far = Store(store.embed, metric="distance")
    far.add(store.chunks[:3])
    with pytest.raises(ValueError, match="A threshold is a cosine"):
        far.search(question, threshold=0.5)


def test_an_empty_store_finds_nothing_and_one_chunk_is_all_there_is(embedder):
    store = Store(embedder.embed)
    assert len(store) == store.add([]) == 0
    assert store.search("anything", k=5, where={"year": 1}) == []
    store.add([Chunk("The goose sleeps.")])
    assert len(store.search("goose", k=99)) == 1
    assert KeywordRetriever([]).search("goose") == []
    with pytest.raises(ValueError, match="finds at least one"):
        store.search("goose", k=0)


def test_an_embedder_that_forgets_a_text_is_refused():
    store = Store(lambda texts: np.ones((1, 3)))
    with pytest.raises(ValueError, match="1 vectors for 2 chunks"):
        store.add([Chunk("a"), Chunk("b")])
    assert len(store) == 0


# ---- files


def test_a_store_comes_back_as_it_was(store, embedder, tmp_path):
    store.save(tmp_path / "here")
    again = Store.load(tmp_path / "here", embedder.embed)
    assert again.chunks == store.chunks
    for question in ("Who paid for the cargo?", "the playhouse"):
        assert again.search(question, 9) == store.search(question, 9)
    again.add([Chunk("more")])
    again.save(tmp_path / "here")  # over the older one
    assert len(Store.load(tmp_path / "here", embedder.embed)) == len(store) + 1


def test_damage_mixtures_and_other_embedders_are_refused(store, embedder, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    store.save(here)
    with pytest.raises(ValueError, match="another embedder"):
        Store.load(here, TfidfEmbedder(TEXTS).embed)
    with pytest.raises(ValueError, match="another embedder"):
        Store.load(here, LsaEmbedder(TEXTS[:40], width=60).embed)
    other = Store(embedder.embed)
    other.add(store.chunks[:-1])
    other.save(there)
    text = (here / "chunks.json").read_text()
    for content in (
        text[:-9],
        text.replace("1900", "1901"),
        (there / "chunks.json").read_text(),
    ):
        (here / "chunks.json").write_text(content)
        with pytest.raises(ValueError, match="not what its vectors say"):
            Store.load(here, embedder.embed)
    (here / "chunks.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks its chunks\.json"):
        Store.load(here, embedder.embed)
    with pytest.raises(FileNotFoundError, match="no index"):
        Store.load(tmp_path / "nowhere", embedder.embed)
    store.index.save(there / "vectors.safetensors")  # an index without a store's facts
    with pytest.raises(ValueError, match="not what its vectors say"):
        Store.load(there, embedder.embed)


def test_what_must_not_be_overwritten_or_cannot_be_written_is_refused(
    embedder, tmp_path
):
    store = Store(embedder.embed)
    with pytest.raises(ValueError, match="empty store"):
        store.save(tmp_path)
    store.add([Chunk("a goose", metadata={"when": {1, 2}})])
    with pytest.raises(ValueError, match="must fit into JSON"):
        store.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.txt"):
        store.save(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        store.save(tmp_path / "thesis.txt")


def test_the_files_are_plain(store, tmp_path):
    from safetensors.numpy import load_file

    store.save(tmp_path)
    facts = json.loads((tmp_path / "chunks.json").read_text())
    assert facts[0]["source"] == store.chunks[0].source
    vectors = load_file(tmp_path / "vectors.safetensors")["vectors"]
    assert vectors.shape == store.index.vectors.shape


# ---- several ways


def test_a_hybrid_ranks_by_the_sum_of_reciprocal_ranks(store, chunks):
    keyword = KeywordRetriever(chunks)
    hybrid = HybridRetriever([keyword, store], depth=20)
    question = "Who pays for the work on the old river crossing?"
    ranks = {}
    for way in (keyword, store):
        for rank, hit in enumerate(way.search(question, 20), 1):
            ranks.setdefault(key(hit.chunk), []).append(1 / (60 + rank))
    found = hybrid.search(question, 6)
    best = sorted((sum(parts) for parts in ranks.values()), reverse=True)[:6]
    assert [hit.score for hit in found] == pytest.approx(best)
    assert all(hit.score == pytest.approx(sum(ranks[key(hit.chunk)])) for hit in found)
    assert (
        hybrid.search(question, 6, {"kind": "minutes"})[0].chunk.metadata["kind"]
        == "minutes"
    )
    with pytest.raises(ValueError, match="at least one way"):
        HybridRetriever([])


def test_a_question_of_stop_words_has_no_hits_by_words_and_some_by_the_hybrid(
    store, chunks
):
    keyword = KeywordRetriever(chunks)
    assert keyword.search("What is it that you are?") == []
    assert keyword.search("zeppelin") == []
    hybrid = HybridRetriever([keyword, store])
    assert len(hybrid.search("What is it that you are?", 4)) == 4


def test_a_blend_adds_shares_to_cosines(store, chunks):
    keyword = KeywordRetriever(chunks)
    question = "Who pays for the work on the old river crossing?"
    shares = dict(zip(map(key, chunks), keyword.bm25.shares(question), strict=True))
    nearest = store.search(question, len(chunks))
    sums = {key(hit.chunk): hit.score + 0.5 * shares[key(hit.chunk)] for hit in nearest}
    found = BlendRetriever(keyword, store, weight=0.5).search(question, 7)
    expected = sorted(sums.values(), reverse=True)[:7]
    assert [hit.score for hit in found] == pytest.approx(expected, abs=1e-5)
    plain = BlendRetriever(keyword, store, weight=0.0).search(question, 7)
    assert [hit.chunk for hit in plain] == [hit.chunk for hit in nearest[:7]]
    where = {"kind": "minutes"}
    kinds = {
        hit.chunk.metadata["kind"]
        for hit in BlendRetriever(keyword, store).search(question, 7, where)
    }
    assert kinds == {"minutes"}
    with pytest.raises(ValueError, match="the same chunks"):
        BlendRetriever(KeywordRetriever(chunks[1:]), store)
    with pytest.raises(ValueError, match="not a distance"):
        BlendRetriever(KeywordRetriever([]), Store(store.embed, "distance"))
    empty = BlendRetriever(KeywordRetriever([]), Store(store.embed))
    assert empty.search(question) == []


def test_diverse_hits_are_some_of_the_nearest_and_less_alike(store):
    question = "At what hour does the door open?"
    nearest = [hit.chunk for hit in store.search(question, 50)]
    plain = DiverseRetriever(store, lam=1.0).search(question, 5)
    assert [hit.chunk for hit in plain] == nearest[:5]
    found = [hit.chunk for hit in DiverseRetriever(store, lam=0.3).search(question, 5)]
    assert all(chunk in nearest for chunk in found)

    def likeness(chunks):
        vectors = store.embed([chunk.text for chunk in chunks])
        return np.triu(vectors @ vectors.T, 1).sum()

    assert likeness(found) < likeness(nearest[:5])
    assert DiverseRetriever(Store(store.embed)).search(question) == []


# ---- the archive and the course's own source


def test_words_find_what_is_asked_in_the_papers_own_words():
    """Among 75 papers, with the year as a filter where editions differ."""
    keyword = KeywordRetriever(split_documents(PAPERS, lambda text: [(0, len(text))]))
    recalls = {"lexical": [], "paraphrased": []}
    for question in document_questions():
        if question.document:
            where = {"year": question.year} if question.year else None
            found = [
                hit.chunk.source for hit in keyword.search(question.text, 3, where)
            ]
            recalls[question.style].append(recall_at_k(found, {question.document}, 3))
    lexical, other = (np.mean(recalls[style]) for style in recalls)
    assert lexical > 0.9
    assert other < lexical - 0.2


def test_a_question_about_the_course_finds_the_function_that_answers():
    """The case study of the notes whose chunks were never indexed."""
    chunks = split_documents(course_source("rag"), split_python)
    keyword = KeywordRetriever(chunks, analyse=code_words)
    hits = keyword.search("which function does reciprocal rank fusion of rankings", 3)
    assert "reciprocal_rank_fusion" in [hit.chunk.metadata["name"] for hit in hits]
    assert KeywordRetriever([]).search("anything") == []


def test_long_documents_of_one_line_are_no_trouble(embedder):
    page = Document("goose " * 50_000, "long")
    chunks = split_documents([page], lambda text: split_recursive(text, 500))
    assert all(len(chunk.text) <= 500 for chunk in chunks)
    assert len(KeywordRetriever(chunks).search("goose", 10**6)) == len(chunks)
