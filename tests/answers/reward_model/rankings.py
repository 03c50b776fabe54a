"""Answers to lesson 06: a ranking taken apart; right ones of different shapes, and people's mistakes."""

from collections import namedtuple
from itertools import chain, combinations, pairwise, permutations, product

import numpy as np

from course_lib.reward.pairs import Preference, check_ranking
from tools.graders import Battery

battery = Battery()


# --- pairs_from_ranking: right ----------------------------------------------------------------


@battery.right("pairs_from_ranking")
def in_four_loops(ranking):
    check_ranking(ranking)
    pairs = []
    for i in range(len(ranking)):
        for j in range(i + 1, len(ranking)):
            for better in ranking[i]:
                for worse in ranking[j]:
                    pairs.append((better, worse))
    return pairs


@battery.right("pairs_from_ranking")
def with_a_place_for_each_name(ranking):
    check_ranking(ranking)
    place = {name: i for i, group in enumerate(ranking) for name in group}
    return [(a, b) for a, b in permutations(place, 2) if place[a] < place[b]]


@battery.right("pairs_from_ranking")
def recursively(ranking):
    if len(ranking) < 2:
        return []
    best, *rest = ranking
    worse = [name for group in rest for name in group]
    return [(a, b) for a in best for b in worse] + recursively(rest)


@battery.right("pairs_from_ranking")
def with_products(ranking):
    check_ranking(ranking)
    return list(chain.from_iterable(product(*two) for two in combinations(ranking, 2)))


@battery.right("pairs_from_ranking")
def from_the_worst_upwards(ranking):
    check_ranking(ranking)
    pairs, below = [], []
    for group in reversed(ranking):
        pairs += [(name, worse) for worse in below for name in group]
        below += group
    return pairs


@battery.right("pairs_from_ranking")
def by_a_matrix_of_numpy(ranking):
    check_ranking(ranking)
    names = [name for group in ranking for name in group]
    level = np.repeat(np.arange(len(ranking)), [len(group) for group in ranking])
    better, worse = np.nonzero(level[:, None] < level[None, :])
    return [(names[i], names[j]) for i, j in zip(better, worse, strict=True)]


@battery.right("pairs_from_ranking")
def all_pairs_less_those_of_equals(ranking):
    check_ranking(ranking)
    names = [name for group in ranking for name in group]
    equals = {pair for group in ranking for pair in combinations(group, 2)}
    return [pair for pair in combinations(names, 2) if pair not in equals]


@battery.right("pairs_from_ranking")
def sorted_at_the_end(ranking):
    return sorted(set(in_four_loops(ranking)))


# --- pairs_from_ranking: wrong ----------------------------------------------------------------


def _ranking(says):
    return battery.wrong("pairs_from_ranking", says=says)


def _changed(name, says, change):
    """The right pairs, then changed by change(pairs, ranking)."""

    def answer(ranking):
        return change(in_four_loops(ranking), ranking)

    answer.__name__ = name
    _ranking(says)(answer)


def _between(neighbours):
    return [(a, b) for one, two in neighbours for a in one for b in two]


def _flat(ranking):
    return [name for group in ranking for name in group]


_changed("neighbours_only", "Only neighbours", lambda p, r: _between(pairwise(r)))
_changed(
    "neighbours_of_the_list", "Only neighbours", lambda p, r: list(pairwise(_flat(r)))
)
_changed(
    "best_against_the_rest",
    "Only the best group",
    lambda p, r: _between((r[0], group) for group in r[1:]),
)
_changed(
    "first_name_against_the_rest",
    "Only the best group",
    lambda p, r: [(_flat(r)[0], name) for name in _flat(r)[1:]],
)
_changed(
    "all_against_the_worst",
    "worst group only",
    lambda p, r: _between((group, r[-1]) for group in r[:-1]),
)
_changed(
    "equals_make_pairs",
    "Equals make pairs",
    lambda p, r: list(combinations(_flat(r), 2)),
)
_changed(
    "equals_make_pairs_both_ways",
    "Equals make pairs",
    lambda p, r: p + [pair for g in r for pair in permutations(g, 2)],
)
_changed(
    "any_two_names",
    "both|one group",
    lambda p, r: list(permutations(_flat(r), 2)),
)
_changed(
    "everybody_with_everybody",
    "compared with itself",
    lambda p, r: list(product(_flat(r), repeat=2)),
)
_changed("turned_round", "wrong way round", lambda p, r: [(b, a) for a, b in p])
_changed("ranking_turned_round", "wrong way round", lambda p, r: in_four_loops(r[::-1]))
_changed("in_both_orders", "in either order", lambda p, r: p + [(b, a) for a, b in p])
_changed(
    "by_the_alphabet", "alphabet", lambda p, r: [tuple(sorted(pair)) for pair in p]
)
_changed(
    "sorted_names",
    "alphabet",
    lambda p, r: list(combinations(sorted(_flat(r)), 2)),
)
_changed("groups_as_pairs", "a whole group", lambda p, r: list(combinations(r, 2)))
_changed(
    "numbers_of_groups",
    "no name of the ranking",
    lambda p, r: list(combinations(range(len(r)), 2)),
)
_changed(
    "numbers_of_names",
    "no name of the ranking",
    lambda p, r: [(_flat(r).index(a), _flat(r).index(b)) for a, b in p],
)
_changed("as_a_set", "returned a set", lambda p, r: set(p))
_changed("as_a_dict", "returned a dict", lambda p, r: dict(p))
_changed("as_a_tuple", "returned a tuple", lambda p, r: tuple(p))
_changed("as_a_generator", "returned a generator", lambda p, r: (pair for pair in p))
_changed("as_lists", "a tuple of two names", lambda p, r: [list(pair) for pair in p])
_changed("as_text", "a tuple of two names", lambda p, r: [f"{a} > {b}" for a, b in p])
_changed(
    "as_preferences",
    "with 4 entries",
    lambda p, r: [Preference("?", a, b) for a, b in p],
)
_changed(
    "with_the_distance",
    "with 3 entries",
    lambda p, r: [(a, b, 1) for a, b in p],
)
_changed("twice", "twice", lambda p, r: p + p)
_changed("the_number_of_pairs", "returned a int", lambda p, r: len(p))
_changed("the_first_only", "return inside", lambda p, r: p[:1])
_changed(
    "names_at_the_same_place",
    "same place",
    lambda p, r: [q for a, b in combinations(r, 2) for q in zip(a, b)],  # noqa: B905
)
_changed(
    "first_names_of_the_groups",
    "first names",
    lambda p, r: [(a[0], b[0]) for a, b in combinations(r, 2)],
)
_changed(
    "one_loser_each",
    "only one comparison|worst group",
    lambda p, r: list(dict(p).items()),
)
_changed("last_one_lost", "is missing", lambda p, r: p[:-1])
_changed("one_doubled", "2 times", lambda p, r: [*p, *p[:1]])
_changed(
    "groups_of_one_only",
    "missing|Only",
    lambda p, r: in_four_loops([g for g in r if len(g) == 1]),
)
_changed(
    "no_further_than_two_groups",
    "is missing",
    lambda p, r: _between(pairwise(r)) + _between(zip(r, r[2:])),  # noqa: B905
)
_changed(
    "by_the_length_of_the_name",
    "wrong way round|alphabet|twice",
    lambda p, r: [tuple(sorted(pair, key=len)) for pair in p],
)
_changed("the_worked_ranking", "return inside", lambda p, r: [("B", "A"), ("B", "C")])
_changed(
    "stripped_names",
    "no name of the ranking",
    lambda p, r: [(a[0], b[0]) for a, b in p],
)
_changed(
    "lower_case",
    "no name of the ranking",
    lambda p, r: [(a.lower(), b.lower()) for a, b in p],
)


@_ranking("missing|return inside|best group")
def returns_too_early(ranking):
    check_ranking(ranking)
    pairs = []
    for i, upper in enumerate(ranking):
        for lower in ranking[i + 1 :]:
            pairs += [(a, b) for a in upper for b in lower]
        return pairs


@_ranking("returned None|no name|missing")
def one_group_forgotten(ranking):
    if len(ranking) > 1:
        return in_four_loops(ranking)


@_ranking("return inside|missing|best group")
def of_three_names_at_most(ranking):
    return in_four_loops(ranking)[:3]


@_ranking("changed its own input")
def popped_from_the_ranking(ranking):
    check_ranking(ranking)
    pairs = []
    while ranking:
        best = ranking.pop(0)
        pairs += [(a, b) for a in best for group in ranking for b in group]
    return pairs


@_ranking("changed its own input")
def sorted_in_place(ranking):
    for group in ranking:
        group.sort(reverse=True)
    return in_four_loops(ranking)


@_ranking("'tuple' object|tuple may come in")
def pops_a_copy_of_a_list(ranking):
    work, pairs = ranking.copy(), []
    while work:
        best = work.pop(0)
        pairs += [(a, b) for a in best for group in work for b in group]
    return pairs


_FOUND: list = []


@_ranking("second call|no name")
def one_list_for_all_calls(ranking):
    _FOUND[:] = in_four_loops(ranking)
    return _FOUND


@_ranking("earlier call")
def a_default_that_grows(ranking, pairs=[]):  # noqa: B006
    pairs += in_four_loops(ranking)
    return pairs


# --- what got through, or was called by another name ------------------------------------------

_ALL_PAIRS = []


@_ranking("earlier call")
def a_list_outside(ranking):
    _ALL_PAIRS.extend(in_four_loops(ranking))
    return _ALL_PAIRS


@_ranking("no name of the ranking")
def names_without_their_blanks(ranking):
    groups = [[name.strip() for name in group] for group in ranking]
    return in_four_loops(groups)


@_ranking("is missing")
def names_that_are_not_empty(ranking):
    return [(a, b) for a, b in in_four_loops(ranking) if a and b]


@_ranking("a product; a tuple")
def products_as_they_are(ranking):
    return [product(one, two) for one, two in combinations(ranking, 2)]


@_ranking("two best groups")
def the_worked_value(ranking):
    return [("B", "A"), ("B", "C")]


@_ranking("two best groups")
def two_groups_unpacked(ranking):
    one, two = ranking[:2]
    return list(product(one, two))


@battery.right("pairs_from_ranking")
def one_group_after_the_other(ranking):
    check_ranking(ranking)
    seen, pairs = [], []
    for group in ranking:
        pairs += product(seen, group)
        seen = [*seen, *group]
    return pairs


@battery.right("pairs_from_ranking")
def named_and_sorted(ranking):
    Pair = namedtuple("Pair", "better worse")
    return sorted(Pair(*two) for two in in_four_loops(ranking))
