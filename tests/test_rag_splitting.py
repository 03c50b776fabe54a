"""Chunks: spans of their text, nothing lost, sizes kept, overlap an upper bound, tokens as said."""

import random
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib import pretrained
from course_lib.rag.loading import Document, python_reference, town_archive
from course_lib.rag.meaning import drops, neighbours, sentences, split_meaning
from course_lib.rag.splitting import (
    Chunk,
    cut,
    fill,
    pack,
    shared,
    split_documents,
    split_recursive,
)
from course_lib.rag.windows import borders, split_tokens

TEXTS = some.lists(
    some.sampled_from(["a", "word", " ", ". ", "\n", "\n\n", "é", "👋", "x" * 30, ".", "Geese eat. "]),
    max_size=60,
).map("".join)  # fmt: skip
SIZES = some.tuples(some.integers(1, 40), some.integers(0, 39)).filter(
    lambda pair: pair[1] < pair[0]
)

FEW = settings(max_examples=60, deadline=None)


def letters(text):
    return [*text.encode()]


def text_of(ids):
    return bytes(ids).decode(errors="replace")


def covered(text, spans):
    """Which characters some span holds."""
    inside = np.zeros(len(text), dtype=bool)
    for start, end, *_ in spans:
        inside[start:end] = True
    return inside


# ---- on paper


def test_a_text_is_cut_at_the_coarsest_border_it_has():
    text = "First. More.\n\nSecond one is longer.\nLine."
    assert cut(text, 25) == ["First. More.\n\n", "Second one is longer.\n", "Line."]
    assert cut(text, 14) == [
        "First. More.\n\n", "Second ", "one ", "is ", "longer.\n", "Line.",
    ]  # fmt: skip
    assert cut(text, 100) == [text]
    assert cut("", 5) == []


def test_only_with_the_empty_separator_a_word_is_cut():
    assert cut("abcdefgh", 3, separators=[" "]) == ["abcdefgh"]
    assert cut("abcdefgh", 3) == [*"abcdefgh"]
    assert split_recursive("abcdefgh", 3) == [(0, 3), (3, 6), (6, 8)]
    assert split_recursive("abcdefgh", 3, overlap=1) == [(0, 3), (2, 5), (4, 7), (6, 8)]


def test_packing_by_hand():
    pieces = ["aa ", "bbb ", "c ", "dddd ", "e"]  # 3 4 2 5 1
    assert pack(pieces, 9) == [(0, 9), (9, 15)]
    assert pack(pieces, 9, overlap=2) == [(0, 9), (7, 15)]
    assert pack(pieces, 7, overlap=6) == [(0, 7), (3, 9), (7, 14), (9, 15)]
    assert pack(pieces, 1) == [(0, 3), (3, 7), (7, 9), (9, 14), (14, 15)]


def test_the_end_of_a_chunk_is_found_in_a_few_looks():
    looks = []

    def measure(first, last):
        looks.append(last)
        return last - first

    assert fill(0, 10_000, measure, 777) == 777
    assert len(looks) < 25
    assert fill(3, 4, measure, 0) == 4
    for stop in range(1, 40):
        for size in range(1, 45):
            assert fill(0, stop, measure, size) == min(stop, size)


# ---- invariants


@given(TEXTS, SIZES)
@FEW
def test_nothing_is_lost_and_no_chunk_is_too_long(text, sizes):
    size, overlap = sizes
    spans = split_recursive(text, size, overlap)
    assert covered(text, spans).all()
    assert all(0 < end - start <= size for start, end in spans)
    for (a, b), (c, d) in pairwise(spans):
        assert a < c <= b < d  # in order, without holes, each with something new


@given(TEXTS, SIZES)
@FEW
def test_pieces_put_together_are_the_text(text, sizes):
    pieces = cut(text, sizes[0])
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= sizes[0] for piece in pieces)


@given(TEXTS, SIZES)
@FEW
def test_neighbours_share_at_most_the_overlap(text, sizes):
    size, overlap = sizes
    assert all(n <= overlap for n in shared(split_recursive(text, size, overlap)))
    assert not any(shared(split_recursive(text, size)))


@given(TEXTS, some.integers(1, 30))
@FEW
def test_a_loop_that_adds_one_piece_at_a_time_agrees(text, size):
    spans, start, end = [], 0, 0
    for piece in cut(text, size):
        if end + len(piece) - start > size:
            spans.append((start, end))
            start = end
        end += len(piece)
    spans += [(start, end)] * (start < end)
    assert split_recursive(text, size) == spans


def test_an_overlap_is_an_upper_bound_and_often_nothing():
    """Notes call 200 of 1,000 characters "the overlap". At borders that a text has it is less."""
    pages = [page.text for page in python_reference()]
    found = [n for text in pages for n in shared(split_recursive(text, 1_000, 200))]
    assert len(found) > 400
    assert max(found) <= 200
    assert 40 < np.mean(found) < 160
    assert 0.05 < np.mean([n == 0 for n in found]) < 0.6


# ---- in other measures


@pytest.fixture(scope="module")
def tokenizer():
    return pretrained.tokenizer()


@pytest.fixture(scope="module")
def encoder():
    return pretrained.minilm()


def test_a_size_in_characters_is_no_size_in_tokens(encoder):
    """`chunk_size=1000` is a thousand characters; MiniLM reads 256 word pieces."""
    text = max((page.text for page in python_reference()), key=len)[:60_000]
    pieces = encoder.tokenizer
    pieces.no_truncation()
    try:

        def length(text):
            return len(pieces.encode(text).ids)

        by_letters = [length(text[a:b]) for a, b in split_recursive(text, 1_000)]
        by_pieces = [
            length(text[a:b]) for a, b in split_recursive(text, 256, length=length)
        ]
    finally:
        pieces.enable_truncation(256)
    assert max(by_letters) > 256
    assert max(by_pieces) <= 256
    assert np.median(by_pieces) > 200


@given(TEXTS, SIZES)
@FEW
def test_any_measure_holds(text, sizes):
    size, overlap = sizes[0] + 4, sizes[1]

    def length(text):
        return len(text.encode())

    spans = split_recursive(text, size, overlap, length=length)
    assert covered(text, spans).all()
    assert all(length(text[a:b]) <= size for a, b in spans)


def test_a_measure_that_costs_is_asked_a_few_times_for_each_chunk(tokenizer):
    asked = []

    def length(text):
        asked.append(len(text))
        return len(text) // 4

    text = "word " * 20_000
    spans = split_recursive(text, 100, length=length)
    assert len(spans) == pytest.approx(250, abs=10)
    assert len(asked) < 20_000 + 30 * len(spans)  # each word once, by `cut`
    assert sum(asked) < 40 * len(text)


# ---- by tokens


def test_windows_of_tokens_on_paper():
    assert split_tokens("abcdefgh", 3, 0, letters, text_of) == [(0, 3), (3, 6), (6, 8)]
    assert split_tokens("abcde", 3, 2, letters, text_of) == [(0, 3), (1, 4), (2, 5)]
    assert split_tokens("ab", 3, 2, letters, text_of) == [(0, 2)]
    assert split_tokens("", 3, 2, letters, text_of) == []


@given(TEXTS, some.integers(4, 40), some.integers(0, 30))
@FEW
def test_windows_hold_as_many_tokens_as_said_and_no_broken_character(
    text, size, overlap
):
    overlap = min(overlap, size - 1)
    spans = split_tokens(text, size, overlap, letters, text_of)
    assert covered(text, spans).all()
    assert all(len(letters(text[a:b])) <= size for a, b in spans)
    for (a, b), (c, d) in pairwise(spans):
        assert a < c <= b < d
        assert len(letters(text[c:b])) <= overlap
    if text.isascii() and len(text) > size:
        assert all(b - a == size for a, b in spans[:-1])
        assert all(n == overlap for n in shared(spans))


def test_windows_of_the_courses_own_tokenizer(tokenizer):
    text = town_archive()[20].text + " 👋 naïve 日本語 \N{REPLACEMENT CHARACTER}!"
    ids = tokenizer.encode(text)
    tokens, places = borders(text, tokenizer.encode, tokenizer.decode)
    assert (tokens[-1], places[-1]) == (len(ids), len(text))
    for token, place in zip(tokens, places, strict=True):
        assert tokenizer.decode(ids[:token]) == text[:place]
    spans = split_tokens(text, 32, 8, tokenizer.encode, tokenizer.decode)
    assert covered(text, spans).all()
    assert len(spans) == pytest.approx(len(ids) / 24, abs=2)


def test_windows_agree_with_slices_of_the_ids(tokenizer):
    text = python_reference()[0].text
    ids = tokenizer.encode(text)
    spans = split_tokens(text, 50, 10, tokenizer.encode, tokenizer.decode)
    slices = [tokenizer.decode(ids[i : i + 50]) for i in range(0, len(ids) - 10, 40)]
    assert [text[a:b] for a, b in spans] == slices


def test_a_tokenizer_that_changes_the_text_is_refused(encoder):
    pieces = encoder.tokenizer
    with pytest.raises(ValueError, match=r"not give the text back.*'Upper"):
        split_tokens("Upper case.", 8, 0, lambda t: pieces.encode(t).ids, pieces.decode)


def test_text_behind_the_limit_does_not_change_the_embedding(encoder):
    """What a chunk of too many tokens costs; see also `part_read`."""
    text = "The goose sleeps. " * 200
    one, two = encoder.embed([text, text + "The mayor is a spy."])
    assert one.equal(two)
    short = "The goose sleeps. " * 20
    one, two = encoder.embed([short, short + "The mayor is a spy."])
    assert not one.equal(two)


# ---- by meaning


def test_sentences_add_up_to_the_text():
    text = 'He said: "Go!" She went. \n\nA title\n\nPi is 3.14. End'
    assert "".join(sentences(text)) == text
    assert sentences(text)[:2] == ['He said: "Go!" ', "She went. \n\n"]
    assert [s.strip() for s in sentences(text)][2:] == ["A title", "Pi is 3.14.", "End"]


@given(TEXTS)
def test_sentences_of_anything_add_up(text):
    assert "".join(sentences(text)) == text
    assert all(sentences(text))


def test_the_lowest_similarities_are_the_borders():
    assert drops([0.9, 0.1, 0.8, 0.2, 0.7], 0.2) == [1]
    assert drops([0.5, 0.5, 0.5], 0.34) == [0, 1]
    assert drops([], 0.5) == []
    assert drops([0.3, 0.2], 0) == []
    assert drops([0.3, 0.2], 1) == [0, 1]
    with pytest.raises(ValueError, match=r"not at 1\.5"):
        drops([0.1], 1.5)


def test_a_change_of_subject_is_a_border(encoder):
    birds = "Geese eat grass near the lake. Ducks swim on the lake too. Swans are large birds. "
    money = "The bank raised its rates. Loans cost more money now. Savers get higher interest."
    text = birds + money
    spans = split_meaning(text, encoder.embed, share=0.2)
    assert [text[a:b] for a, b in spans] == [birds, money]
    vectors = encoder.embed(sentences(text)).numpy()
    assert neighbours(vectors).argmin() == 2


@given(TEXTS, some.integers(5, 60), some.floats(0, 1))
@FEW
def test_by_meaning_nothing_is_lost_either(text, size, share):
    def embed(texts):
        return np.array([[len(t), t.count("e") + 1.0] for t in texts])

    spans = split_meaning(text, embed, share, size)
    assert covered(text, spans).all()
    assert [a for a, _ in spans[1:]] == [b for _, b in spans[:-1]]


def test_a_text_of_one_sentence_or_none_is_one_chunk_or_none(encoder):
    assert split_meaning("", encoder.embed) == []
    assert split_meaning("One only.", encoder.embed) == [(0, 9)]


# ---- documents


def test_every_chunk_is_a_span_of_its_document_and_knows_it():
    papers = town_archive()
    chunks = split_documents(papers, lambda text: split_recursive(text, 300, 60))
    texts = {paper.source: paper for paper in papers}
    assert len(chunks) > 2 * len(papers)
    for chunk in chunks:
        paper = texts[chunk.source]
        assert paper.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip()
        assert chunk.metadata == paper.metadata


def test_white_space_alone_is_no_chunk_and_the_rest_is_not_lost():
    page = Document("\n\n  a\n\n \n\nb ", "page")
    chunks = split_documents([page], lambda text: split_recursive(text, 4))
    assert [(chunk.text, chunk.start) for chunk in chunks] == [("a", 4), ("b", 10)]
    assert split_documents([Document("")], split_recursive) == []
    assert split_documents([Document(" \n ")], split_recursive) == []
    assert Chunk("abc", 4).end == 7


def test_a_huge_single_line_takes_a_moment():
    line = "".join(random.Random(0).choices("abcdefgh ", k=3_000_000))
    begun = time.process_time()
    spans = split_recursive(line, 500, 50)
    whole = split_recursive("x" * 1_000_000, 500, 50)
    assert time.process_time() - begun < 20  # 0.3 s measured
    assert spans[-1][1] == len(line)
    assert all(b - a <= 500 for a, b in spans)
    assert max(b - a for a, b in whole) <= 500
    assert max(shared(whole)) == 31 * (50 // 31)  # pieces of 500 // 16 characters


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-3, 0), (10, 10), (10, -1)])
def test_sizes_that_cannot_be_are_refused_in_a_sentence(size, overlap):
    with pytest.raises(ValueError, match="an overlap is smaller"):
        split_recursive("abc", size, overlap)
    with pytest.raises(ValueError, match="an overlap is smaller"):
        split_tokens("abc", size, overlap, letters, text_of)
