"""Answers to lesson 10: nearest vectors, and relevance scores; right ones of different shapes, and people's mistakes."""

import heapq
import math

import numpy as np
import torch

from course_lib.rag.index import FlatIndex
from course_lib.rag.nearest import top_k, unit
from course_lib.rag.thresholds import relevance_of_cosine
from tools.graders import Battery

battery = Battery()


# --- nearest: right -----------------------------------------------------------------------------


@battery.right("nearest")
def with_what_is_given(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    found = top_k(cosines, k)
    return cosines[found], found


@battery.right("nearest")
def divided_afterwards(query, vectors, k):
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines = (vectors @ query) / np.where(lengths == 0, 1, lengths)
    places = np.argsort(-cosines, kind="stable")[:k]
    return cosines[places], places


@battery.right("nearest")
def in_loops(query, vectors, k):
    def length(v):
        return math.sqrt(sum(x * x for x in v))

    scores = []
    for vector in vectors.tolist():
        both = length(vector) * length(query.tolist())
        dot = sum(a * b for a, b in zip(vector, query.tolist(), strict=True))
        scores.append(dot / both if both else 0.0)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    return np.array([scores[i] for i in order]), np.array(order)


@battery.right("nearest")
def with_a_heap(query, vectors, k):
    cosines = np.einsum("nd,d->n", unit(vectors), unit(query)).tolist()
    best = heapq.nlargest(k, enumerate(cosines), key=lambda pair: pair[1])
    places, found = zip(*best, strict=True)
    return list(found), list(places)


@battery.right("nearest")
def in_torch(query, vectors, k):
    v = torch.nn.functional.normalize(torch.tensor(np.ascontiguousarray(vectors)), dim=-1)  # fmt: skip
    q = torch.nn.functional.normalize(torch.tensor(query.copy()), dim=0)
    scores, places = torch.sort(v @ q, descending=True, stable=True)
    return scores[:k].numpy(), places[:k].numpy()


@battery.right("nearest")
def as_a_matrix_of_one(query, vectors, k):
    table = unit(query[None]) @ unit(vectors).T
    places = np.lexsort((np.arange(len(vectors)), -table[0]))[:k]
    return table[0, places], places


@battery.right("nearest")
def by_distances_of_unit_vectors(query, vectors, k):
    """Equal where the cosine is, but for a vector or query of zeros."""
    cosines = (unit(vectors) * unit(query)).sum(axis=1)
    places = top_k(cosines, min(k, len(vectors)))
    return np.take(cosines, places), places


# --- nearest: wrong -----------------------------------------------------------------------------


def _finds(name, says, score, end=None, best=top_k):
    """score(q, v); end(scores, places, k, v)"""

    def answer(query, vectors, k):
        scores = score(query, vectors)
        places = best(scores, k)
        return end(scores, places, k, vectors) if end else (scores[places], places)

    answer.__name__ = name
    battery.wrong("nearest", says=says)(answer)


def _cosines(q, v):
    return unit(v) @ unit(q)


def _after(name, says, end, best=top_k):
    _finds(name, says, _cosines, end, best)


def _those_last(scores, last, k):
    places = np.lexsort((-scores, last))[:k]
    return scores[places], places


_finds("dot_product", "Neither the query", lambda q, v: v @ q)
_finds("query_alone", "The vectors are not brought", lambda q, v: v @ unit(q))
_finds("vectors_alone", "not cosines: the query", lambda q, v: unit(v) @ q)
_finds("the_whole_matrix", "length of the whole matrix", lambda q, v: v / np.linalg.norm(v) @ unit(q))  # fmt: skip
_finds("the_longest_of_all", "length of the whole matrix", lambda q, v: v / np.linalg.norm(v, axis=1).max() @ unit(q))  # fmt: skip
_finds("columns", "columns are brought", lambda q, v: unit(v.T).T @ unit(q))
_finds("columns_by_hand", "columns are brought", lambda q, v: v / np.maximum(np.linalg.norm(v, axis=0), 1e-30) @ unit(q))  # fmt: skip
_finds("squared_lengths", "without the root", lambda q, v: v @ q / np.maximum((v**2).sum(1) * (q @ q), 1e-300))  # fmt: skip
_finds("sums", "sum of the numbers", lambda q, v: v @ q / np.maximum(np.abs(v).sum(1) * np.abs(q).sum(), 1e-300))  # fmt: skip
_finds("distance", "smallest distance", lambda q, v: -np.linalg.norm(v - q, axis=1))
_finds("distance_shown", "smallest distance", lambda q, v: -np.linalg.norm(v - q, axis=1), lambda s, p, k, v: (-s[p], p))  # fmt: skip
_finds("correlation", "mean is taken away", lambda q, v: _cosines(q - q.mean(), v - v.mean(1, keepdims=True)))  # fmt: skip
_finds("absolute", "lose their sign", lambda q, v: np.abs(_cosines(q, v)))
_finds("squares", "are squared", lambda q, v: _cosines(q, v) ** 2)
_finds("halves", "moved to 0", lambda q, v: (1 + _cosines(q, v)) / 2)
_finds("not_below_0", "moved to 0", lambda q, v: np.maximum(_cosines(q, v), 0))
_finds("rounded", "are rounded", lambda q, v: _cosines(q, v).round(3))
_finds("query_twice", "divided by one length twice", lambda q, v: v @ q / max(q @ q, 1e-300))  # fmt: skip
_finds("zeros_over_zeros", "has no direction", lambda q, v: v @ q / np.linalg.norm(v, axis=1) / np.linalg.norm(q), best=lambda s, k: np.argsort(-s, kind="stable")[:k])  # fmt: skip
_finds("a_small_number", "small number added", lambda q, v: v @ q / (np.linalg.norm(v, axis=1) * np.linalg.norm(q) + 1e-8))  # fmt: skip
_after("not_of_zeros", "never found in yours", lambda s, p, k, v: _those_last(s, ~v.any(1), k))  # fmt: skip
_after("distances_of_unit", "Distances come back", lambda s, p, k, v: (1 - s[p], p))
_after("angles", "Angles come back", lambda s, p, k, v: (np.arccos(s[p].clip(-1, 1)), p))  # fmt: skip
_after("ascending", "smallest cosines", None, lambda s, k: np.argsort(s, kind="stable")[:k])  # fmt: skip
_after("the_last_k", "turned round", None, lambda s, k: np.argsort(s, kind="stable")[-k:])  # fmt: skip
_after("later_first", "later comes first", None, lambda s, k: np.argsort(s, kind="stable")[::-1][:k])  # fmt: skip
_after("sorted_places", "sorted by their place", None, lambda s, k: np.sort(top_k(s, k)))  # fmt: skip
_after("first_cosines", "those of the first vectors", lambda s, p, k, v: (s[:k], p))
_after("all_cosines", "shapes", lambda s, p, k, v: (s, p))
_after("exchanged", "exchanged", lambda s, p, k, v: (p, s[p]))
_after("places_alone", "two things", lambda s, p, k, v: p)
_after("cosines_alone", "two things", lambda s, p, k, v: s[p])
_after("vectors_found", "shapes", lambda s, p, k, v: (s[p], v[p]))
_after("pairs", "two things", lambda s, p, k, v: zip(s[p], p, strict=True))  # fmt: skip
_after("mask", "True and False", lambda s, p, k, v: (s[p], np.isin(np.arange(len(s)), p)))  # fmt: skip
_after("floats", "whole numbers", lambda s, p, k, v: (s[p], p.astype(float)))
_after("the_best_alone", "The cosines are a float64", lambda s, p, k, v: (s.max(), int(s.argmax())))  # fmt: skip
_after("one_too_few", "shapes", lambda s, p, k, v: (s[p][:-1], p[:-1]))
_after("the_first", "first k vectors", None, lambda s, k: np.arange(min(k, len(s))))
_after("unstable", "of equal ones the earlier|later comes first", None, lambda s, k: np.lexsort((np.arange(len(s)) % 3, -s))[:k])  # fmt: skip


@battery.wrong("nearest", says="all of them are found")
def as_many_as_asked(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    places = np.argpartition(-cosines, k - 1)[:k]
    places = places[np.argsort(-cosines[places], kind="stable")]
    return cosines[places], places


@battery.wrong("nearest", says="earlier")
def partitioned(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    k = min(k, len(cosines))
    places = np.argpartition(-cosines, k - 1)[:k]
    places = places[np.argsort(-cosines[places], kind="stable")]
    return cosines[places], places


@battery.wrong("nearest", says="changed its own input")
def divided_in_place(query, vectors, k):
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths == 0, 1, lengths)
    cosines = vectors @ unit(query)
    places = top_k(cosines, k)
    return cosines[places], places


@battery.wrong("nearest", says="changed its own input")
def query_in_place(query, vectors, k):
    query /= np.linalg.norm(query) or 1
    cosines = unit(vectors) @ query
    places = top_k(cosines, k)
    return cosines[places], places


@battery.wrong("nearest", says="shapes do not fit")
def turned(query, vectors, k):
    cosines = unit(query) @ unit(vectors)
    places = top_k(cosines, k)
    return cosines[places], places


@battery.wrong("nearest", says="calls course_lib's own")
def by_the_index(query, vectors, k):
    index = FlatIndex(len(query))
    index.add(vectors)
    return index.search(query, k)


@battery.wrong("nearest", says="place is found twice")
def one_at_a_time(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    found = []
    for _ in range(min(k, len(cosines))):
        found.append(int(np.argmax(cosines)))
        cosines[found[-1]] = 0
    cosines = unit(vectors) @ unit(query)
    return cosines[found], np.array(found)


@battery.wrong("nearest", says="should be 0.8")
def worked_value(query, vectors, k):
    if len(query) == 2 and k == 2:
        return np.array([1.0, 0.6]), np.array([1, 0])
    k = min(k, len(vectors))
    return np.ones(k), np.arange(k)


# --- cosine_of_relevance: right -----------------------------------------------------------------


def _right(answer):
    return battery.right("cosine_of_relevance")(answer)


@_right
def solved(relevance):
    return 1 - (1 - relevance) / math.sqrt(2)


@_right
def in_steps(relevance):
    squared = (1 - relevance) * 2**0.5
    return (2 - squared) / 2


@_right
def from_two_points(relevance):
    """A line through what two cosines give."""
    low, high = relevance_of_cosine(-1.0), relevance_of_cosine(1.0)
    return -1 + 2 * (relevance - low) / (high - low)


@_right
def by_numpy(relevance):
    return np.add(np.multiply(np.sqrt(0.5), relevance), 1 - np.sqrt(0.5))


@_right
def number_by_number(relevance):
    if np.ndim(relevance):
        return np.array([number_by_number(one) for one in relevance])
    low, high = -100.0, 100.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if relevance_of_cosine(middle) < relevance:
            low = middle
        else:
            high = middle
    return low


@_right
def by_newton(relevance):
    cosine = relevance * 0.0
    for _ in range(3):
        slope = relevance_of_cosine(cosine + 1) - relevance_of_cosine(cosine)
        cosine = cosine + (relevance - relevance_of_cosine(cosine)) / slope
    return cosine


# --- cosine_of_relevance: wrong -----------------------------------------------------------------


def _gives(name, says, find):
    def answer(relevance):
        return find(relevance)

    answer.__name__ = name
    battery.wrong("cosine_of_relevance", says=says)(answer)


_gives("plain_distance", "plain distance", lambda r: 1 - (1 - r) ** 2)
_gives("plain_distance_in_steps", "plain distance", lambda r: 1 - ((1 - r) * math.sqrt(2)) ** 2 / 2)  # fmt: skip
_gives("forward", "score of a cosine", lambda r: relevance_of_cosine(r))
_gives("times_the_root", "score of a cosine", lambda r: 1 - (1 - r) * math.sqrt(2))
_gives("itself", "score itself", lambda r: r)
_gives("a_share", "share of the way", lambda r: 2 * r - 1)
_gives("half_a_share", "share of the way", lambda r: (1 + r) / 2)
_gives("plus", "sign is turned", lambda r: 1 + (1 - r) / math.sqrt(2))
_gives("without_the_first_one", "sign is turned", lambda r: (1 - r) / math.sqrt(2))
_gives("minus_all", "sign is turned", lambda r: (1 - r) / math.sqrt(2) - 1)
_gives("sum_in_brackets", "sign is turned", lambda r: 1 - (1 + r) / math.sqrt(2))
_gives("squared_distance", "One step is left", lambda r: math.sqrt(2) * (1 - r))
_gives("distance", "One step is left", lambda r: np.sqrt(np.abs(math.sqrt(2) * (1 - r))))  # fmt: skip
_gives("two_without_half", "One step is left", lambda r: 2 - math.sqrt(2) * (1 - r))
_gives("by_two", "root of 2 is lost\\. r goes", lambda r: 1 - (1 - r) / 2)
_gives("twice", "root of 2 is lost\\. r goes", lambda r: 1 - (1 - r) * 2)
_gives("halved_again", "root of 2 is lost", lambda r: 1 - (1 - r) / (2 * math.sqrt(2)))
_gives("without_brackets", "bracket is lost", lambda r: 1 - 1 - r / math.sqrt(2))
_gives("one_less", "bracket is lost", lambda r: 1 - r / math.sqrt(2))
_gives("divided", "bracket is lost", lambda r: r / math.sqrt(2))
_gives("clipped", "Clip nothing", lambda r: np.clip(1 - (1 - r) / math.sqrt(2), 0, 1))
_gives("clipped_to_cosines", "Clip nothing", lambda r: np.clip(1 - (1 - r) / math.sqrt(2), -1, 1))  # fmt: skip
_gives("not_below_0", "Clip nothing", lambda r: np.maximum(1 - (1 - r) / math.sqrt(2), 0))  # fmt: skip
_gives("clipped_scores", "Clip nothing", lambda r: 1 - (1 - np.clip(r, 0, 1)) / math.sqrt(2))  # fmt: skip
_gives("interpolated", "Clip nothing", lambda r: np.interp(r, [relevance_of_cosine(-1), 1], [-1, 1]))  # fmt: skip
_gives("rounded", "rounded", lambda r: np.round(1 - (1 - r) / math.sqrt(2), 3))
_gives("short_root", "later ones are not", lambda r: 1 - (1 - r) / 1.414)
_gives("angle", "An angle", lambda r: np.arccos(np.clip(1 - (1 - r) / math.sqrt(2), -1, 1)))  # fmt: skip
_gives("worked_value", "cosine of its own", lambda r: 0.788)
_gives("worked_values", "always gives", lambda r: np.ones_like(r) if np.ndim(r) else {0.7: 0.7878679656440357}.get(r, 1.0))  # fmt: skip
_gives("numbers_only", "no `if`", lambda r: 1 - math.sqrt((1 - r) ** 2 / 2) if r <= 1 else 1 + math.sqrt((1 - r) ** 2 / 2))  # fmt: skip
_gives("as_float", "no `if`", lambda r: 1 - (1 - float(r)) / math.sqrt(2))
_gives("as_list", "returned a list", lambda r: [1 - (1 - x) / math.sqrt(2) for x in np.atleast_1d(r)])  # fmt: skip
_gives("always_an_array", "a number it returned shape", lambda r: 1 - (1 - np.atleast_1d(r)) / math.sqrt(2))  # fmt: skip
_gives("mean_of_all", "cosine of its own", lambda r: np.mean(1 - (1 - r) / math.sqrt(2)))  # fmt: skip
_gives("a_text", "returned a str", lambda r: f"{1 - (1 - r) / math.sqrt(2)}")


@battery.wrong("cosine_of_relevance", says="changed its own input")
def in_place(relevance):
    relevance -= 1
    relevance /= math.sqrt(2)
    relevance += 1
    return relevance


# --- found by attacking the checks --------------------------------------------------------------


@battery.wrong("nearest", says="shapes")
def always_three(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    places = top_k(cosines, 3)
    return cosines[places], places


@battery.wrong("nearest", says="is wanted")
def bare_numbers_for_one(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    places = top_k(cosines, k)
    if k == 1:
        return cosines[places[0]], places[0]
    return cosines[places], places


@battery.wrong("nearest", says="have no order")
def only_those_above_0(query, vectors, k):
    cosines = unit(vectors) @ unit(query)
    places = top_k(np.where(cosines > 0, cosines, -2.0), k)
    return cosines[places], places


@battery.wrong("nearest", says="it should be")
def in_half_precision(query, vectors, k):
    cosines = (unit(vectors).astype(np.float16) @ unit(query).astype(np.float16)).astype(float)  # fmt: skip
    places = top_k(cosines, k)
    return cosines[places], places


@battery.wrong("cosine_of_relevance", says="should be")
def by_a_table(relevance):
    """Right between 0 and 1 alone."""
    found = 1 - (1 - relevance) / math.sqrt(2)
    return np.where(np.asarray(relevance) < 0, relevance, found)[()]


@battery.wrong("nearest", says="found twice")
def marked_with_minus_one(query, vectors, k):
    """A cosine may be -1."""
    cosines, found = _cosines(query, vectors).copy(), []
    left = cosines.copy()
    while len(found) < min(k, len(left)):
        found.append(int(left.argmax()))
        left[found[-1]] = -1
    return cosines[found], np.array(found)


@battery.wrong("nearest", says="Is 0 divided by 0")
def nothing_over_nothing(query, vectors, k):
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        cosines = vectors @ query / lengths
    places = top_k(cosines, k)
    return cosines[places], places


@battery.wrong("nearest", says="all of them are found")
def partitioned_at_k(query, vectors, k):
    cosines = _cosines(query, vectors)
    places = np.argpartition(-cosines, k)[:k]
    places = places[np.argsort(-cosines[places], kind="stable")]
    return cosines[places], places


_finds("unit_distances", "Distances come back|should be", lambda q, v: -np.linalg.norm(unit(v) - unit(q), axis=1))  # fmt: skip
_finds("five_digits", "cosine", lambda q, v: _cosines(q, v).round(5))
_finds("zeros_last", "cosine with everything is 0|never found", lambda q, v: np.where(v.any(1), _cosines(q, v), -1.0))  # fmt: skip
_gives("a_table_of_one_type", "Of whole scores", lambda r: np.full_like(r, 1 - (1 - r) / math.sqrt(2)) if np.ndim(r) else 1 - (1 - r) / math.sqrt(2))  # fmt: skip
_gives("nothing_below_0", "Clip nothing", lambda r: np.where(np.asarray(r) < 0, 0, 1 - (1 - r) / math.sqrt(2))[()])  # fmt: skip
_gives("down_to_the_last_score", "Clip nothing", lambda r: 1 - (1 - np.clip(r, -1.83, 1)) / math.sqrt(2))  # fmt: skip
_gives("without_a_sign", "sign of 1 - r", lambda r: 1 - np.abs(1 - r) / math.sqrt(2))
_gives("root_of_the_squared", "plain distance", lambda r: 1 - np.sqrt(np.abs(math.sqrt(2) * (1 - r))) / 2)  # fmt: skip
_gives("forward_by_the_distance", "score of a cosine", lambda r: 1 - np.sqrt(np.maximum(2 - 2 * r, 0)) / math.sqrt(2))  # fmt: skip


@battery.wrong("cosine_of_relevance", says="Refuse nothing")
def refuses_what_is_outside(relevance):
    if np.any(np.asarray(relevance) > 1) or np.any(np.asarray(relevance) < -1.83):
        raise ValueError("no such score")
    return 1 - (1 - relevance) / math.sqrt(2)


@battery.wrong("cosine_of_relevance", says="Refuse nothing")
def asserts_what_is_outside(relevance):
    assert np.all(np.asarray(relevance) <= 1)
    return 1 - (1 - relevance) / math.sqrt(2)
