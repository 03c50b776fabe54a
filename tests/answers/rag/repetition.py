"""Answers to lesson 10: hits that do not repeat each other; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch

from course_lib.rag.nearest import nearest, top_k, unit
from tools.graders import Battery

battery = Battery()
right = battery.right("mmr")


def _wrong(says):
    return battery.wrong("mmr", says=says)


# --- right --------------------------------------------------------------------------------------


@right
def a_loop_over_pairs(query, vectors, k, lam=0.5):
    def cosine(a, b):
        return float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))

    chosen, left = [], list(range(len(vectors)))
    while left and len(chosen) < k:
        best, most = None, -math.inf
        for i in left:
            said = max((cosine(vectors[i], vectors[j]) for j in chosen), default=0)
            gain = lam * cosine(vectors[i], query) - (1 - lam) * said
            if gain > most + 1e-12:
                best, most = i, gain
        chosen.append(best)
        left.remove(best)
    return chosen


@right
def the_whole_table(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    table, near = vectors @ vectors.T, vectors @ query
    chosen = []
    for _ in range(min(k, len(vectors))):
        said = table[:, chosen].max(axis=1) if chosen else 0.0
        gain = lam * near - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(np.argmax(gain)))
    return chosen


@right
def from_minus_one_up(query, vectors, k, lam=0.5):
    """While nothing is chosen the same is taken off everywhere: how much does not matter."""
    query, vectors = unit(query), unit(vectors)
    said = np.full(len(vectors), -1.0)
    free = np.ones(len(vectors), dtype=bool)
    chosen = np.zeros(min(k, len(vectors)), dtype=int)
    for n in range(len(chosen)):
        gain = np.where(free, lam * (vectors @ query) - (1 - lam) * said, -9e9)
        chosen[n] = gain.argmax()
        free[chosen[n]] = False
        said = np.maximum(said, vectors @ vectors[chosen[n]])
    return chosen


@right
def in_torch(query, vectors, k, lam=0.5):
    query = torch.tensor(query.tolist(), dtype=torch.float64)
    vectors = torch.tensor(vectors.tolist(), dtype=torch.float64)
    query, vectors = query / query.norm(), vectors / vectors.norm(dim=1, keepdim=True)
    picked: list[int] = []
    for _ in range(min(k, len(vectors))):
        gain = lam * (vectors @ query)
        if picked:
            gain = gain - (1 - lam) * (vectors @ vectors[picked].T).amax(dim=1)
            gain[picked] = -torch.inf
        picked.append(int(gain.argmax()))
    return picked


@right
def recursively(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)

    def further(chosen):
        if len(chosen) == min(k, len(vectors)):
            return chosen
        left = [i for i in range(len(vectors)) if i not in chosen]
        gains = [
            lam * (vectors[i] @ query)
            - (1 - lam) * max([vectors[i] @ vectors[j] for j in chosen] or [0])
            for i in left
        ]
        return further([*chosen, left[gains.index(max(gains))]])

    return further([])


@right
def with_sorting(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    near, chosen = vectors @ query, []
    for _ in range(min(k, len(vectors))):
        said = [max([float(v @ vectors[j]) for j in chosen], default=0) for v in vectors]  # fmt: skip
        order = np.argsort((1 - lam) * np.array(said) - lam * near, kind="stable")
        chosen.append(next(int(i) for i in order if i not in chosen))
    return chosen


# --- wrong --------------------------------------------------------------------------------------


def _greedy(query, vectors, k, lam, said=None, gain=None, stop=True, first=None):
    """said(rows): from likeness to each of the chosen; gain(near, said)."""
    query, vectors = unit(query), unit(vectors)
    near, table, chosen = vectors @ query, vectors @ vectors.T, []
    said = said or (lambda rows: rows.max(axis=1))
    gain = gain or (lambda near, said: lam * near - (1 - lam) * said)
    while len(chosen) < min(k, len(vectors)):
        worth = gain(near, said(table[:, chosen]) if chosen else np.zeros(len(vectors)))
        if first is not None and not chosen:
            worth = first(near)
        if stop:
            worth = worth.copy()
            worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
    return chosen


@_wrong("wrong side")
def lam_on_the_wrong_side(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, 1 - lam)


@_wrong("`lam` makes no difference")
def one_half_built_in(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, 0.5)


@_wrong("`lam` makes no difference")
def a_plain_difference(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: near - said)


@_wrong("That is plain search")
def plain_search(query, vectors, k, lam=0.5):
    return nearest(query, vectors, k)[1].tolist()


@_wrong("another number than 0.5")
def another_default(query, vectors, k, lam=0.7):
    return _greedy(query, vectors, k, lam)


@_wrong("Only one of the two terms")
def one_term_weighed(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: near - (1 - lam) * said)  # fmt: skip


@_wrong("Only one of the two terms")
def the_other_term_weighed(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: lam * near - said)


@_wrong("Only one of the two terms|plain search")
def both_weighed_alike(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: lam * (near - said))


@_wrong("mean likeness")
def the_mean(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: rows.mean(axis=1))


@_wrong("sum of the likenesses")
def the_sum(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: rows.sum(axis=1))


@_wrong("chosen last")
def the_last_alone(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: rows[:, -1])


@_wrong("chosen first")
def the_first_alone(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: rows[:, 0])


@_wrong("least alike")
def the_least_alike(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: rows.min(axis=1))


@_wrong("below 0 counts as 0")
def not_below_0(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    said, chosen = np.zeros(len(vectors)), []
    while len(chosen) < min(k, len(vectors)):
        gain = lam * (vectors @ query) - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        said = np.maximum(said, vectors @ vectors[chosen[-1]])
    return chosen


@_wrong("lost its sign")
def without_sign(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: np.abs(rows).max(axis=1))


@_wrong("is added")
def likeness_added(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: lam * near + (1 - lam) * said)  # fmt: skip


@_wrong("signs are turned")
def the_worst_chosen(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: (1 - lam) * said - lam * near)  # fmt: skip


@_wrong("Likeness to the question is taken off")
def likeness_to_the_question(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: lam * near - (1 - lam) * near * said.any())  # fmt: skip


@_wrong("any other vector")
def likeness_to_anybody(query, vectors, k, lam=0.5):
    table = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(table, -9)
    most = table.max(axis=1)
    return _greedy(query, vectors, k, lam, said=lambda rows: most)


@_wrong("not brought to length 1")
def dot_products(query, vectors, k, lam=0.5):
    near, table, chosen = vectors @ query, vectors @ vectors.T, []
    while len(chosen) < min(k, len(vectors)):
        said = table[:, chosen].max(axis=1) if chosen else np.zeros(len(vectors))
        gain = lam * near - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("question's length")
def the_question_as_it_came(query, vectors, k, lam=0.5):
    vectors = unit(vectors)
    near, table, chosen = vectors @ query, vectors @ vectors.T, []
    while len(chosen) < min(k, len(vectors)):
        said = table[:, chosen].max(axis=1) if chosen else np.zeros(len(vectors))
        gain = lam * near - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("dot product of vectors as they came")
def the_table_as_it_came(query, vectors, k, lam=0.5):
    table = vectors @ vectors.T
    chosen, near = [], unit(vectors) @ unit(query)
    while len(chosen) < min(k, len(vectors)):
        said = table[:, chosen].max(axis=1) if chosen else np.zeros(len(vectors))
        gain = lam * near - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("one and the same length")
def one_length_for_all(query, vectors, k, lam=0.5):
    return dot_products(query / np.linalg.norm(query), vectors / np.linalg.norm(vectors), k, lam)  # fmt: skip


@_wrong("Distances are compared|should be")
def distances(query, vectors, k, lam=0.5):
    near = -np.linalg.norm(vectors - query, axis=1)
    table = -np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    chosen = []
    while len(chosen) < min(k, len(vectors)):
        said = table[:, chosen].max(axis=1) if chosen else np.zeros(len(vectors))
        gain = lam * near - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("same place again")
def chosen_again(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, stop=False)


@_wrong("first choice is always the nearest")
def begins_with_the_nearest(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, first=lambda near: near)


@_wrong("first choice is always place 0")
def begins_at_place_0(query, vectors, k, lam=0.5):
    return _greedy(
        query, vectors, k, lam, first=lambda near: -1.0 * np.arange(len(near))
    )


@_wrong("the later is chosen")
def the_later_of_equals(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    chosen, left = [], list(range(len(vectors)))
    while left and len(chosen) < k:
        gains = {
            i: lam * (vectors[i] @ query)
            - (1 - lam) * max([vectors[i] @ vectors[j] for j in chosen], default=0)
            for i in left
        }
        best = max(left, key=lambda i: (round(gains[i], 12), i))
        chosen.append(best)
        left.remove(best)
    return chosen


@_wrong("Only the k nearest")
def the_k_nearest_in_another_order(query, vectors, k, lam=0.5):
    best = nearest(query, vectors, k)[1]
    return [int(best[i]) for i in _greedy(query, vectors[best], k, lam)]


@_wrong("among those that are left")
def places_of_the_rest(query, vectors, k, lam=0.5):
    found = _greedy(query, vectors, k, lam)
    return [i - sum(j < i for j in found[:n]) for n, i in enumerate(found)]


@_wrong("sorted at the end")
def sorted_places(query, vectors, k, lam=0.5):
    return sorted(_greedy(query, vectors, k, lam))


@_wrong("order of choice is turned round")
def turned_round(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam)[::-1]


@_wrong("counted from 1")
def places_from_1(query, vectors, k, lam=0.5):
    return [i + 1 for i in _greedy(query, vectors, k, lam)]


@_wrong("returned vectors")
def the_vectors(query, vectors, k, lam=0.5):
    return [vectors[i] for i in _greedy(query, vectors, k, lam)]


@_wrong("array of shape")
def an_array_of_vectors(query, vectors, k, lam=0.5):
    return vectors[_greedy(query, vectors, k, lam)]


@_wrong("places are wanted")
def the_cosines(query, vectors, k, lam=0.5):
    return [float(unit(vectors[i]) @ unit(query)) for i in _greedy(query, vectors, k, lam)]  # fmt: skip


@_wrong("a tuple of several things")
def cosines_and_places(query, vectors, k, lam=0.5):
    found = _greedy(query, vectors, k, lam)
    return (unit(vectors) @ unit(query))[found].tolist(), found


@_wrong("returned a set")
def a_set(query, vectors, k, lam=0.5):
    return set(_greedy(query, vectors, k, lam))


@_wrong("places are wanted")
def a_mask(query, vectors, k, lam=0.5):
    mask = np.zeros(len(vectors), dtype=bool)
    mask[_greedy(query, vectors, k, lam)] = True
    return mask


@_wrong("all of them are chosen")
def always_k(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    left, chosen = list(range(len(vectors))), []
    for _ in range(k):
        gains = [lam * (vectors[i] @ query) - (1 - lam) * max([vectors[i] @ vectors[j] for j in chosen], default=0) for i in left]  # fmt: skip
        chosen.append(left.pop(int(np.argmax(gains))))
    return chosen


@_wrong("some are chosen twice")
def always_k_with_minus_infinity(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    chosen = []
    for _ in range(k):
        said = (vectors @ vectors[chosen].T).max(axis=1) if chosen else 0
        gain = lam * (vectors @ query) - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("maximum over nothing")
def maximum_of_nothing(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    chosen = []
    while len(chosen) < min(k, len(vectors)):
        gain = lam * (vectors @ query) - (1 - lam) * (vectors @ vectors[chosen].T).max(axis=1)  # fmt: skip
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("maximum over nothing")
def pythons_maximum_of_nothing(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    chosen = []
    while len(chosen) < min(k, len(vectors)):
        left = [i for i in range(len(vectors)) if i not in chosen]
        gains = [lam * (vectors[i] @ query) - (1 - lam) * max(vectors[i] @ vectors[j] for j in chosen) for i in left]  # fmt: skip
        chosen.append(left[int(np.argmax(gains))])
    return chosen


@_wrong("something infinite")
def from_minus_infinity_up(query, vectors, k, lam=0.5):
    """With lam 1 that is 0 times infinity; with any other, infinity everywhere."""
    query, vectors = unit(query), unit(vectors)
    said, chosen = np.full(len(vectors), -np.inf), []
    while len(chosen) < min(k, len(vectors)):
        gain = lam * (vectors @ query) - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        said = np.maximum(said, vectors @ vectors[chosen[-1]])
    return chosen


@_wrong("One too few")
def one_too_few(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam)[:-1]


@_wrong("All are chosen")
def all_of_them(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, len(vectors), lam)


@_wrong("chosen first")
def scores_updated_once(query, vectors, k, lam=0.5):
    """Likeness to the first choice decides all later ones."""
    query, vectors = unit(query), unit(vectors)
    near = vectors @ query
    first = int((lam * near).argmax())
    gain = lam * near - (1 - lam) * (vectors @ vectors[first])
    gain[first] = np.inf
    if lam in (0, 1):
        return _greedy(query, vectors, k, lam)
    return top_k(gain, k).tolist() if len(vectors) > 3 else _greedy(query, vectors, k, lam)  # fmt: skip


@_wrong("changed its own input")
def brought_to_length_1_in_place(query, vectors, k, lam=0.5):
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return _greedy(query, vectors, k, lam)


@_wrong("changed its own input")
def the_question_in_place(query, vectors, k, lam=0.5):
    query /= np.linalg.norm(query)
    return _greedy(query, vectors, k, lam)


@_wrong("worked value")
def built_in(query, vectors, k, lam=0.5):
    return [0, 2]


@_wrong("worked value|should")
def the_first_k(query, vectors, k, lam=0.5):
    return list(range(min(k, len(vectors))))


@_wrong("should|plain search")
def neighbours_skipped(query, vectors, k, lam=0.5):
    """Plain search without those that are nearly copies."""
    order, kept = nearest(query, vectors, len(vectors))[1], []
    for i in order:
        if all(unit(vectors[i]) @ unit(vectors[j]) < 0.95 for j in kept):
            kept.append(int(i))
    return kept[:k]


@_wrong("should")
def squared_lambda(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: lam**2 * near - (1 - lam) ** 2 * said)  # fmt: skip


# --- found by attacking the check -------------------------------------------------------------


@right
def rows_taken_out(query, vectors, k, lam=0.5):
    """The pool shrinks; places go along."""
    query, pool = unit(query), unit(vectors)
    places, chosen, kept = np.arange(len(vectors)), [], []
    while len(places) and len(chosen) < k:
        said = (pool @ np.array(kept).T).max(axis=1) if kept else 0
        best = int((lam * (pool @ query) - (1 - lam) * said).argmax())
        chosen.append(places[best])
        kept.append(pool[best])
        pool, places = np.delete(pool, best, axis=0), np.delete(places, best)
    return chosen


@right
def likeness_by_einsum(query, vectors, k, lam=0.5):
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    near = np.einsum("nd,d->n", vectors, query) / lengths / np.sqrt(query @ query)
    table = np.einsum("nd,md->nm", vectors, vectors) / np.outer(lengths, lengths)
    chosen = [int((lam * near).argmax())]
    for _ in range(min(k, len(vectors)) - 1):
        gain = lam * near - (1 - lam) * table[chosen].max(axis=0)
        gain[chosen] = -9
        chosen.append(int(gain.argmax()))
    return chosen


@_wrong("should be")
def the_last_two_alone(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, said=lambda rows: rows[:, -2:].max(axis=1))


@_wrong("should be")
def three_different_ones(query, vectors, k, lam=0.5):
    """Plain search from the fourth on."""
    chosen = _greedy(query, vectors, min(k, 3), lam)
    order = nearest(query, vectors, len(vectors))[1]
    return (chosen + [int(i) for i in order if i not in chosen])[:k]


@_wrong("should be")
def added_up_to_1(query, vectors, k, lam=0.5):
    """Likeness between 0 and 1 in place of -1 and 1, for the chosen alone."""
    return _greedy(query, vectors, k, lam, gain=lambda near, said: lam * near - (1 - lam) * (1 + said) / 2 * said.any())  # fmt: skip


@_wrong("should be")
def two_dimensions_alone(query, vectors, k, lam=0.5):
    if vectors.shape[1] > 2:
        vectors, query = vectors[:, :2], query[:2]
    return _greedy(query, vectors, k, lam)


@_wrong("returned a tuple")
def a_tuple(query, vectors, k, lam=0.5):
    """It is no list, and an array asked with it takes it for one place in k dimensions."""
    return tuple(_greedy(query, vectors, k, lam))


@_wrong("rounded before they are compared")
def in_float16(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: (lam * near - (1 - lam) * said).astype(np.float16))  # fmt: skip


@_wrong("rounded before they are compared")
def rounded_to_four_digits(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, gain=lambda near, said: np.round(lam * near - (1 - lam) * said, 4))  # fmt: skip


@_wrong("sorted by nearness first")
def the_nearest_first(query, vectors, k, lam=0.5):
    order = nearest(query, vectors, len(vectors))[1]
    return [int(order[i]) for i in _greedy(query, vectors[order], k, lam)]


@right
def in_float32(query, vectors, k, lam=0.5):
    query, vectors = unit(query), unit(vectors)
    query, vectors = query.astype(np.float32), vectors.astype(np.float32)
    chosen: list[int] = []
    for _ in range(min(k, len(vectors))):
        said = (vectors @ vectors[chosen].T).max(axis=1) if chosen else 0
        gain = lam * (vectors @ query) - (1 - lam) * said
        gain[chosen] = -np.inf
        chosen.append(gain.argmax().item())
    return chosen


@_wrong("should choose k")
def ten_at_most(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, min(k, 10), lam)
