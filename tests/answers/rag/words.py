"""Answers to lesson 10: BM25 scores; right ones of different shapes, and people's mistakes."""

import math
from collections import Counter

import numpy as np
import torch

from course_lib.rag.bm25 import BM25, rarity, saturation, words
from tools.graders import Battery

battery = Battery()


def _right(answer):
    return battery.right("bm25_scores")(answer)


def _wrong(says):
    return battery.wrong("bm25_scores", says=says)


# --- right --------------------------------------------------------------------------------------


@_right
def word_by_word(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    total = np.zeros(len(documents))
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        weight = rarity(np.sum(counts > 0), len(documents))
        total = total + weight * saturation(counts, lengths, lengths.mean(), k1, b)
    return total


@_right
def document_by_document(query, documents, k1=1.5, b=0.75):
    N = len(documents)
    mean_length = sum(len(d) for d in documents) / N
    scores = []
    for document in documents:
        counted, score = Counter(document), 0.0
        for word in query:
            holding = sum(1 for other in documents if word in other)
            idf = math.log((N - holding + 0.5) / (holding + 0.5) + 1)
            c = counted[word]
            if c:
                norm = 1 - b + b * len(document) / mean_length
                score += idf * c / (c + k1 * norm)
        scores.append(score)
    return np.array(scores)


@_right
def as_one_product(query, documents, k1=1.5, b=0.75):
    if not query:
        return np.zeros(len(documents))
    lengths = np.array([len(d) for d in documents], dtype=float)
    counts = np.array([[d.count(word) for d in documents] for word in query])
    weights = rarity((counts > 0).sum(axis=1), len(documents))
    return weights @ saturation(counts, lengths, lengths.mean(), k1, b)


@_right
def different_words_first(query, documents, k1=1.5, b=0.75):
    lengths = np.array([*map(len, documents)])
    scores = np.zeros(len(documents))
    for word, times in Counter(query).items():
        counts = np.array([sum(w == word for w in d) for d in documents])
        holding = np.count_nonzero(counts)
        if holding == 0:
            continue
        worth = saturation(counts, lengths, np.mean(lengths), k1=k1, b=b)
        scores += times * rarity(np.array(holding), len(documents)) * worth
    return scores


@_right
def inverted_index(query, documents, k1=1.5, b=0.75):
    entries = {}
    for place, document in enumerate(documents):
        for word, count in Counter(document).items():
            entries.setdefault(word, []).append((place, count))
    mean = sum(map(len, documents)) / len(documents)
    scores = np.zeros(len(documents))
    for word in query:
        held = entries.get(word, [])
        weight = math.log1p((len(documents) - len(held) + 0.5) / (len(held) + 0.5))
        for place, count in held:
            share = len(documents[place]) / mean
            scores[place] += weight / (1 + k1 * (1 - b + b * share) / count)
    return scores


@_right
def in_torch(query, documents, k1=1.5, b=0.75):
    sizes = torch.tensor([len(d) for d in documents], dtype=torch.float64)
    scores = torch.zeros(len(documents), dtype=torch.float64)
    for word in query:
        counts = torch.tensor([d.count(word) for d in documents], dtype=torch.float64)
        n = (counts > 0).sum()
        idf = torch.log1p((len(documents) - n + 0.5) / (n + 0.5))
        scores += idf * counts / (counts + k1 * (1 - b + b * sizes / sizes.mean()))
    return scores.numpy()


@_right
def summed_by_numpy(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(document) for document in documents])

    def part(word):
        counts = np.array([document.count(word) for document in documents])
        holding = np.array([word in document for document in documents]).sum()
        return rarity(holding, len(documents)) * saturation(counts, lengths, lengths.mean(), k1, b)  # fmt: skip

    return np.sum([np.zeros(len(documents)), *map(part, query)], axis=0)


# --- wrong --------------------------------------------------------------------------------------


def _scores(name, says, asks=lambda q: q, counts=lambda d, w: d.count(w), sizes=len, n=None, weigh=None, mean=None, worth=None, end=None, rates=lambda k1, b: (k1, b)):  # fmt: skip
    """As it should be, but for one thing."""

    def answer(query, documents, k1=1.5, b=0.75):
        N = len(documents)
        lengths = np.array([sizes(d) for d in documents], dtype=float)
        scores = np.zeros(N)
        for word in asks(query):
            counted = np.array([counts(d, word) for d in documents], dtype=float)
            held = n(documents, word) if n else (counted > 0).sum()
            weight = weigh(held, N) if weigh else rarity(held, N)
            usual = mean(lengths, counted) if mean else lengths.mean()
            find = worth or saturation
            scores += weight * find(counted, lengths, usual, *rates(k1, b))
        return end(scores, query, k1) if end else scores

    answer.__name__ = name
    _wrong(says)(answer)


_scores("as_a_set", "counts once", asks=set)
_scores("in_letters", "counted in letters", sizes=lambda d: len(" ".join(d)))
_scores("in_letters_without_spaces", "counted in letters", sizes=lambda d: len("".join(d)))  # fmt: skip
_scores("mean_of_those_that_hold_it", "documents that hold the word", mean=lambda s, c: s[c > 0].mean() if c.any() else 1.0)  # fmt: skip
_scores("mean_of_those_that_are_not_empty", "leaves out empty", mean=lambda s, c: s[s > 0].mean())  # fmt: skip
_scores("median_length", "another number", mean=lambda s, c: np.median(s))
_scores("sum_of_lengths", "another number", mean=lambda s, c: s.sum())
_scores("longest", "another number", mean=lambda s, c: s.max())
_scores("different_words", "\\*different\\* words", sizes=lambda d: len(set(d)))
_scores("occurrences", "asked for occurrences", n=lambda ds, w: sum(d.count(w) for d in ds))  # fmt: skip
_scores("exchanged_rarity", "Rarity is asked for something else", weigh=lambda n, N: rarity(N, n))  # fmt: skip
_scores("share_of_documents", "Rarity is asked for something else", weigh=lambda n, N: rarity(n / N, N))  # fmt: skip
_scores("one_more", "Rarity is asked for something else", weigh=lambda n, N: rarity(n, N + 1))  # fmt: skip
_scores("okapi", "lucene variant", weigh=lambda n, N: rarity(n, N, "okapi"))
_scores("logarithm_of_the_share", "lucene variant", weigh=lambda n, N: math.log(N / n) if n else 0.0)  # fmt: skip
_scores("scikit", "lucene variant", weigh=lambda n, N: math.log((N + 1) / (n + 1)) + 1)
_scores("without_rarity", "Rarity is missing", weigh=lambda n, N: 1.0)
_scores("tf_idf", "Saturation is missing", worth=lambda c, s, m, k1, b: c)
_scores("share_of_the_words", "Saturation is missing", worth=lambda c, s, m, k1, b: c / np.maximum(s, 1))  # fmt: skip
_scores("held_or_not", "only asks whether", worth=lambda c, s, m, k1, b: c > 0)
_scores("one_occurrence", "only asks whether", counts=lambda d, w: int(w in d))
_scores("in_the_text", "within other words", counts=lambda d, w: " ".join(d).count(w))
_scores("in_a_word", "within other words", counts=lambda d, w: sum(w in x for x in d))
_scores("usual_rates", "`k1` and `b` make no difference", rates=lambda k1, b: ())
_scores("usual_k1", "`k1` makes no difference", rates=lambda k1, b: (1.5, b))
_scores("usual_b", "`b` makes no difference", rates=lambda k1, b: (k1,))
_scores("exchanged_rates", "are exchanged", rates=lambda k1, b: (b, k1))
_scores("exchanged_lengths", "are exchanged in `saturation`", worth=lambda c, s, m, k1, b: saturation(c, m, np.maximum(s, 1e-9), k1, b))  # fmt: skip
_scores("exchanged_counts", "are exchanged in `saturation`", worth=lambda c, s, m, k1, b: saturation(s, c, m, k1, b))  # fmt: skip
_scores("factor", "factor k1 \\+ 1", end=lambda s, q, k1: s * (k1 + 1))
_scores("mean_over_words", "divided by the number of words", end=lambda s, q, k1: s / max(len(q), 1))  # fmt: skip
_scores("the_first_word", "Only one word", asks=lambda q: q[:1])
_scores("largest_is_one", "scale of their own", end=lambda s, q, k1: s / max(s.max(), 1e-9))  # fmt: skip
_scores("rounded", "rounded", end=lambda s, q, k1: s.round(3))
_scores("sorted_scores", "come sorted", end=lambda s, q, k1: np.sort(s)[::-1])
_scores("ranking", "Those are places", end=lambda s, q, k1: np.argsort(-s, kind="stable"))  # fmt: skip
_scores("stop_words_left_out", "Words such as", asks=lambda q: words(" ".join(q)), sizes=lambda d: len(words(" ".join(d))))  # fmt: skip
_scores("stop_words_not_asked", "Words such as", asks=lambda q: words(" ".join(q)))
_scores("as_a_list", "returned a list", end=lambda s, q, k1: s.tolist())
_scores("as_a_column", "returned shape", end=lambda s, q, k1: s[:, None])
_scores("the_best_score", "returned a float", end=lambda s, q, k1: s.max())
_scores("a_number_of_all", "returned a float", end=lambda s, q, k1: s.sum())
_scores("a_small_number_added", "later ones", mean=lambda s, c: s.mean() + 1e-2)  # fmt: skip


@_wrong("Only one word of the query")
def set_anew(query, documents, k1=1.5, b=0.75):
    scores = np.zeros(len(documents))
    lengths = np.array([len(d) for d in documents])
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        weight = rarity((counts > 0).sum(), len(documents))
        scores = weight * saturation(counts, lengths, lengths.mean(), k1, b)
    return scores


@_wrong("Without any word")
def nothing_without_words(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    counts = np.array([[d.count(w) for d in documents] for w in query])
    weights = [rarity((row > 0).sum(), len(documents)) for row in counts]
    parts = [w * saturation(row, lengths, lengths.mean(), k1, b) for w, row in zip(weights, counts, strict=True)]  # fmt: skip
    return sum(parts)


@_wrong("Without any word")
def nothing_for_nothing(query, documents, k1=1.5, b=0.75):
    return word_by_word(query, documents, k1, b) if query else np.array([])


@_wrong("that no document holds counts nothing")
def unknown_word(query, documents, k1=1.5, b=0.75):
    holding = Counter(word for d in documents for word in set(d))
    lengths = np.array([len(d) for d in documents])
    scores = np.zeros(len(documents))
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        weight = rarity(dict(holding)[word], len(documents))
        scores += weight * saturation(counts, lengths, lengths.mean(), k1, b)
    return scores


@_wrong("may be in none")
def divided_by_nobody(query, documents, k1=1.5, b=0.75):
    scores = word_by_word(query, documents, k1, b)
    for word in query:
        scores = scores * (1 / sum(word in d for d in documents)) * sum(word in d for d in documents)  # fmt: skip
    return scores


@_wrong("array of whole ones")
def whole_numbers(query, documents, k1=1.5, b=0.75):
    scores = np.zeros(len(documents), dtype=int)
    lengths = np.array([len(d) for d in documents])
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        scores += rarity((counts > 0).sum(), len(documents)) * saturation(counts, lengths, lengths.mean(), k1, b)  # fmt: skip
    return scores


@_wrong("takes arrays")
def lists_in(query, documents, k1=1.5, b=0.75):
    scores = np.zeros(len(documents))
    lengths = [len(d) for d in documents]
    for word in query:
        counts = [d.count(word) for d in documents]
        n = sum(c > 0 for c in counts)
        scores += rarity(n, len(documents)) * saturation(counts, lengths, sum(lengths) / len(lengths), k1, b)  # fmt: skip
    return scores


@_wrong("treated as one")
def all_words_at_once(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    counts = np.array([sum(w in query for w in d) for d in documents])
    return rarity((counts > 0).sum(), len(documents)) * saturation(counts, lengths, lengths.mean(), k1, b)  # fmt: skip


@_wrong("without one of the words")
def all_words_needed(query, documents, k1=1.5, b=0.75):
    every = np.array([all(w in d for w in query) for d in documents])
    return word_by_word(query, documents, k1, b) * every


@_wrong("not with each word's own")
def rarities_outside(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    weight, total = 0.0, np.zeros(len(documents))
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        weight += rarity((counts > 0).sum(), len(documents))
        total += saturation(counts, lengths, lengths.mean(), k1, b)
    return weight * total


@_wrong("are added")
def a_sum(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    total = np.zeros(len(documents))
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        total += rarity((counts > 0).sum(), len(documents)) + saturation(counts, lengths, lengths.mean(), k1, b)  # fmt: skip
    return total


@_wrong("changed its own input")
def sorts_the_documents(query, documents, k1=1.5, b=0.75):
    scores = word_by_word(query, documents, k1, b)
    documents.sort(key=len)
    return scores


@_wrong("changed its own input")
def takes_words_away(query, documents, k1=1.5, b=0.75):
    scores, lengths = np.zeros(len(documents)), np.array([len(d) for d in documents])
    while query:
        word = query.pop()
        counts = np.array([d.count(word) for d in documents])
        scores += rarity((counts > 0).sum(), len(documents)) * saturation(counts, lengths, lengths.mean(), k1, b)  # fmt: skip
    return scores


@_wrong("calls course_lib's own")
def by_the_fast_one(query, documents, k1=1.5, b=0.75):
    places = {str(i): d for i, d in enumerate([*documents, query])}
    index = BM25([*places][:-1], analyse=places.get, k1=k1, b=b)
    return index.scores([*places][-1])


@_wrong("later ones are not")
def worked_value(query, documents, k1=1.5, b=0.75):
    return np.array([0.153, 0.243, 0.0]) if query == ["geese"] and len(documents) == 3 else np.zeros(len(documents))  # fmt: skip


# --- found by attacking the check ---------------------------------------------------------------


@_wrong("Rarity is asked for something else")
def held_by_anybody(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    scores = np.zeros(len(documents))
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        weight = rarity((counts.sum() > 0).astype(int), len(documents))
        scores += weight * saturation(counts, lengths, lengths.mean(), k1, b)
    return scores


@_wrong("has the score 0; it")
def two_words_at_most(query, documents, k1=1.5, b=0.75):
    return word_by_word(query[:2], documents, k1, b)


@_wrong("has the score 0.01")
def never_below_a_hundredth(query, documents, k1=1.5, b=0.75):
    return np.maximum(word_by_word(query, documents, k1, b), 0.01)


@_wrong("document . of 12")
def empty_documents_are_nobody(query, documents, k1=1.5, b=0.75):
    """N is the number of documents that hold something."""
    filled = [d for d in documents if d]
    scores = iter(word_by_word(query, filled, k1, b))
    return np.array([next(scores) if d else 0.0 for d in documents])


_scores("in_small_letters", "Words are changed", counts=lambda d, w: [x.lower() for x in d].count(w.lower()))  # fmt: skip
_scores("without_endings", "Words are changed", counts=lambda d, w: [x.removesuffix("s") for x in d].count(w.removesuffix("s")))  # fmt: skip
_scores("counts_over_length", "Counts are divided", counts=lambda d, w: d.count(w) / max(len(d), 1))  # fmt: skip
_scores("rounded_mean", "another number", mean=lambda s, c: round(s.mean()))
_scores("held_twice", "Rarity is asked for something else", n=lambda ds, w: sum(d.count(w) > 1 for d in ds))  # fmt: skip
_scores("rarity_squared", "lucene variant", weigh=lambda n, N: rarity(n, N) ** 2)


@_wrong("Rarity is asked for something else")
def rarity_of_the_counts(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    scores = np.zeros(len(documents))
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        worth = saturation(counts, lengths, lengths.mean(), k1, b)
        scores += rarity(counts, len(documents)) * worth
    return scores


@_wrong("multiplied")
def product_of_all(query, documents, k1=1.5, b=0.75):
    scores = np.ones(len(documents))
    for word in query:
        scores *= word_by_word([word], documents, k1, b)
    return scores


@_wrong("treated as one")
def all_counts_in_one(query, documents, k1=1.5, b=0.75):
    lengths = np.array([len(d) for d in documents])
    counts = np.array([sum(d.count(word) for word in query) for d in documents])
    weight = rarity((counts > 0).sum(), len(documents))
    return weight * saturation(counts, lengths, lengths.mean(), k1, b)


@_wrong("alike are counted as one")
def different_documents(query, documents, k1=1.5, b=0.75):
    each = [*dict.fromkeys(map(tuple, documents))]
    scores = dict(zip(each, word_by_word(query, each, k1, b), strict=True))
    return np.array([scores[tuple(d)] for d in documents])


_LENGTHS, _KNOWN = {}, {}


@_wrong("has the score")
def lengths_of_the_first_documents(query, documents, k1=1.5, b=0.75):
    """Remembers lengths by the number of documents."""
    N = len(documents)
    lengths = _LENGTHS.setdefault(N, np.array([len(d) for d in documents]))
    scores = np.zeros(N)
    for word in query:
        counts = np.array([d.count(word) for d in documents])
        weight = rarity((counts > 0).sum(), N)
        scores += weight * saturation(counts, lengths, lengths.mean(), k1, b)
    return scores


@_wrong("has the score")
def rates_of_the_first_call(query, documents, k1=1.5, b=0.75):
    """Remembers scores by query and documents."""
    key = (tuple(query), tuple(map(tuple, documents)))
    if key not in _KNOWN:
        _KNOWN[key] = word_by_word(query, documents, k1, b)
    return _KNOWN[key].copy()
