"""Answers to lesson 10: several rankings made one; right ones of different shapes, and people's mistakes."""

import heapq
import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pandas as pd

from tools.graders import Battery

battery = Battery()
right = battery.right("reciprocal_rank_fusion")


def _wrong(says):
    return battery.wrong("reciprocal_rank_fusion", says=says)


def _met(rankings):
    return list(dict.fromkeys(itertools.chain(*rankings)))


def _sums(rankings, constant, part=lambda constant, rank: 1 / (constant + rank)):
    parts = defaultdict(list)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            parts[item].append(part(constant, rank))
    return {item: math.fsum(row) for item, row in parts.items()}


def _best_first(sums):
    return sorted(sums.items(), key=lambda pair: pair[1], reverse=True)


# --- right --------------------------------------------------------------------------------------


@right
def item_by_item(rankings, constant=60):
    pairs = []
    for item in _met(rankings):
        parts = [1 / (constant + list(r).index(item) + 1) for r in rankings if item in r]  # fmt: skip
        pairs.append((item, math.fsum(parts)))
    pairs.sort(key=lambda pair: -pair[1])
    return pairs


@right
def with_fractions(rankings, constant=60):
    sums = {}
    for ranking in rankings:
        for place, item in enumerate(ranking):
            sums[item] = sums.get(item, 0) + 1 / (Fraction(constant) + 1 + place)
    return [(item, float(total)) for item, total in _best_first(sums)]


@right
def no_hashes(rankings, constant=60.0):
    """Two lists side by side, and the best taken out again and again."""
    items, parts = [], []
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            if item not in items:
                items.append(item)
                parts.append([])
            parts[items.index(item)].append((constant + rank) ** -1)
    sums, found = [math.fsum(sorted(row)) for row in parts], []
    while items:
        best = sums.index(max(sums))
        found.append((items.pop(best), sums.pop(best)))
    return found


@right
def in_numpy(rankings, constant=60):
    met = {item: place for place, item in enumerate(_met(rankings))}
    table = np.zeros((len(met), max(1, len(rankings))))
    for column, ranking in enumerate(rankings):
        for rank, item in enumerate(ranking, start=1):
            table[met[item], column] = 1 / (constant + rank)
    sums = np.sort(table, axis=1).cumsum(axis=1)[:, -1]  # the same parts, one order
    items = list(met)
    return [(items[i], float(sums[i])) for i in np.argsort(-sums, kind="stable")]


@right
def rounded_for_the_order_alone(rankings, constant=60):
    sums = Counter()
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] += 1 / (constant + rank)
    return sorted(sums.items(), key=lambda pair: -round(pair[1], 12))


@right
def with_a_heap(rankings, constant=60):
    sums = _sums(rankings, constant)
    heap = [(-total, number, item) for number, (item, total) in enumerate(sums.items())]
    heapq.heapify(heap)
    pops = [heapq.heappop(heap) for _ in range(len(heap))]
    return [[item, -total] for total, _, item in pops]


@right
def with_nlargest(rankings, constant=60):
    sums = _sums(rankings, constant)
    return heapq.nlargest(len(sums), sums.items(), key=lambda pair: pair[1])


# --- wrong --------------------------------------------------------------------------------------


@_wrong("divides by 0.*Ranks are counted from 1")
def ranks_from_0(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: 1 / (c + n - 1)))


@_wrong("has rank 0 in yours")
def ranks_from_0_with_care(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: 1 / ((c + n - 1) or 1e-300)))  # fmt: skip


@_wrong("has rank 2 in yours")
def ranks_from_2(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: 1 / (c + n + 1)))


@_wrong("`constant` makes no difference")
def sixty_built_in(rankings, constant=60):
    return _best_first(_sums(rankings, 60))


@_wrong("`constant` makes no difference")
def without_the_constant(rankings, constant=60):
    return _best_first(_sums(rankings, 0))


@_wrong("another number than 60")
def another_default(rankings, constant=0):
    return _best_first(_sums(rankings, constant))


@_wrong("Ranks are added up")
def ranks_added(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: c + n))


@_wrong("Ranks are added up")
def ranks_added_smallest_first(rankings, constant=60):
    return sorted(_sums(rankings, constant, lambda c, n: n).items(), key=lambda p: p[1])


@_wrong("constant is added to them")
def two_fractions(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: 1 / c + 1 / n))


@_wrong("constant is added to the rank")
def brackets(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: c + 1 / n))


@_wrong("stands above the line")
def constant_above(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: c / (c + n)))


@_wrong("mean of an item's parts")
def mean_of_those_that_hold_it(rankings, constant=60):
    counts = Counter(itertools.chain(*rankings))
    return _best_first({i: x / counts[i] for i, x in _sums(rankings, constant).items()})


@_wrong("mean of an item's parts")
def mean_over_all(rankings, constant=60):
    return _best_first({i: x / len(rankings) for i, x in _sums(rankings, constant).items()})  # fmt: skip


@_wrong("mean of an item's parts")
def one_over_the_mean_rank(rankings, constant=60):
    ranks = _sums(rankings, 0, lambda c, n: n)
    counts = Counter(itertools.chain(*rankings))
    return _best_first({i: 1 / (constant + n / counts[i]) for i, n in ranks.items()})


@_wrong("Only the best rank")
def best_rank(rankings, constant=60):
    best = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            best[item] = max(best.get(item, 0), 1 / (constant + rank))
    return _best_first(best)


@_wrong("Only the last ranking")
def overwritten(rankings, constant=60):
    sums = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] = 1 / (constant + rank)
    return _best_first(sums)


@_wrong("Only the first ranking")
def first_seen(rankings, constant=60):
    sums = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums.setdefault(item, 1 / (constant + rank))
    return _best_first(sums)


@_wrong("multiplied")
def multiplied(rankings, constant=60):
    found = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            found[item] = found.get(item, 1) / (constant + rank)
    return _best_first(found)


@_wrong("is dropped")
def intersection(rankings, constant=60):
    sums = _sums(rankings, constant)
    return _best_first({i: x for i, x in sums.items() if all(i in r for r in rankings)})


@_wrong("as if it stood at the end")
def behind_the_end(rankings, constant=60):
    found = {}
    for item in _met(rankings):
        ranks = [list(r).index(item) + 1 if item in r else len(r) + 1 for r in rankings]
        found[item] = math.fsum(1 / (constant + n) for n in ranks)
    return _best_first(found)


@_wrong("need not hold every item|has a length of its own")
def index_everywhere(rankings, constant=60):
    found = {}
    for item in _met(rankings):
        found[item] = sum(1 / (constant + r.index(item) + 1) for r in rankings)
    return _best_first(found)


@_wrong("KeyError.*need not hold")
def not_begun(rankings, constant=60):
    sums = dict.fromkeys(rankings[0], 0.0) if rankings else {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] += 1 / (constant + rank)
    return _best_first(sums)


@_wrong("a length of its own")
def side_by_side(rankings, constant=60):
    sums = defaultdict(float)
    for rank, row in enumerate(zip(*rankings, strict=True), 1):
        for item in row:
            sums[item] += 1 / (constant + rank)
    return _best_first(sums)


@_wrong("as far as the shortest")
def as_long_as_the_shortest(rankings, constant=60):
    sums = defaultdict(float)
    for rank, row in enumerate(zip(*rankings, strict=False), 1):
        for item in row:
            sums[item] += 1 / (constant + rank)
    return _best_first(sums)


@_wrong("met first rank by rank")
def rank_by_rank(rankings, constant=60):
    hole, parts = object(), defaultdict(list)
    for rank, row in enumerate(itertools.zip_longest(*rankings, fillvalue=hole), 1):
        for item in row:
            if item is not hole:
                parts[item].append(1 / (constant + rank))
    return _best_first({item: math.fsum(row) for item, row in parts.items()})


@_wrong("go on from one ranking")
def ranks_go_on(rankings, constant=60):
    sums = defaultdict(float)
    for rank, item in enumerate(itertools.chain(*rankings), 1):
        sums[item] += 1 / (constant + rank)
    return _best_first(sums)


@_wrong("The worst comes first")
def ascending(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda pair: pair[1])


@_wrong("Nothing is sorted")
def unsorted(rankings, constant=60):
    return list(_sums(rankings, constant).items())


@_wrong("are turned round")
def sorted_and_turned(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda pair: pair[1])[::-1]


@_wrong("never compared|sorted by the items")
def sorted_pairs(rankings, constant=60):
    pairs = [(total, item) for item, total in _sums(rankings, constant).items()]
    return [(item, total) for total, item in sorted(pairs, reverse=True)]


@_wrong("never compared|sorted by the items")
def sorted_by_sum_then_item(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda p: (-p[1], p[0]))


@_wrong("sorted by the items")
def sorted_by_sum_then_text(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda p: (-p[1], str(p[0])))


@_wrong("order|turned round|sorted by|Of equal sums|of equal sums")
def a_set_of_items(rankings, constant=60):
    items = sorted({*itertools.chain(*rankings)}, key=hash)
    sums = _sums(rankings, constant)
    return sorted(((i, sums[i]) for i in items), key=lambda pair: -pair[1])


@_wrong("`math.fsum` helps|three parts")
def plain_sums(rankings, constant=60):
    sums = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] = sums.get(item, 0.0) + 1 / (constant + rank)
    return sorted(sums.items(), key=lambda pair: -pair[1])


@_wrong("The item stands first")
def sum_first(rankings, constant=60):
    return [(total, item) for item, total in _best_first(_sums(rankings, constant))]


@_wrong("Each entry is a pair")
def items_alone(rankings, constant=60):
    return [item for item, _ in _best_first(_sums(rankings, constant))]


@_wrong("Each entry is a pair")
def sums_alone(rankings, constant=60):
    return [total for _, total in _best_first(_sums(rankings, constant))]


@_wrong("a dictionary")
def a_dictionary(rankings, constant=60):
    return dict(_best_first(_sums(rankings, constant)))


@_wrong("returned a dict_items")
def items_of_a_dictionary(rankings, constant=60):
    return dict(_best_first(_sums(rankings, constant))).items()


@_wrong("returned a Series")
def a_table(rankings, constant=60):
    return pd.Series(dict(_best_first(_sums(rankings, constant))), dtype=float)


@_wrong("Only some of the rankings")
def two_rankings_alone(rankings, constant=60):
    return _best_first(_sums(rankings[:2], constant))


@_wrong("any number of rankings")
def two_are_unpacked(rankings, constant=60):
    one, other = rankings
    return _best_first(_sums([one, other], constant))


@_wrong("counts in how many")
def votes(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: 1.0))


@_wrong("how long a ranking is")
def borda(rankings, constant=60):
    sums = defaultdict(float)
    for ranking in rankings:
        for place, item in enumerate(ranking):
            sums[item] += len(ranking) - place
    return _best_first(sums)


@_wrong("squared")
def squares(rankings, constant=60):
    return _best_first(_sums(rankings, constant, lambda c, n: 1 / (c + n) ** 2))


@_wrong("divided by their total")
def normalised(rankings, constant=60):
    sums = _sums(rankings, constant)
    whole = sum(sums.values())
    return _best_first({i: x / whole for i, x in sums.items()})


@_wrong("rounded")
def rounded(rankings, constant=60):
    return [(i, round(x, 4)) for i, x in _best_first(_sums(rankings, constant))]


@_wrong("best few")
def the_best_five(rankings, constant=60):
    return _best_first(_sums(rankings, constant))[:5]


@_wrong("may be empty")
def needs_a_ranking(rankings, constant=60):
    longest = max(len(ranking) for ranking in rankings)
    sums = _sums(rankings, constant)
    return _best_first(sums) if longest else []


@_wrong("may be empty")
def needs_a_first_item(rankings, constant=60):
    assert all(ranking[0] is not None for ranking in rankings)
    return _best_first(_sums(rankings, constant))


@_wrong("come back as they were given")
def items_as_texts(rankings, constant=60):
    return _best_first(_sums([[str(i) for i in r] for r in rankings], constant))


@_wrong("does not give")
def falsy_items_dropped(rankings, constant=60):
    sums = _sums(rankings, constant)
    return _best_first({i: x for i, x in sums.items() if i})


@_wrong("sum of .* is")
def falsy_items_not_ranked(rankings, constant=60):
    return _best_first(_sums([[i for i in r if i or i == ""] for r in rankings], constant) | {i: 0.0 for r in rankings for i in r if i == 0})  # fmt: skip


@_wrong("changed its own input")
def rankings_are_emptied(rankings, constant=60):
    found = _best_first(_sums(rankings, constant))
    for ranking in rankings:
        if isinstance(ranking, list):
            ranking.clear()
    return found


@_wrong("changed its own input")
def rankings_are_extended(rankings, constant=60):
    found = _best_first(_sums(rankings, constant))
    if rankings and isinstance(rankings, list) and isinstance(rankings[0], list):
        rankings[0] += [item for item, _ in found]
    return found


@_wrong("comes back twice|is dropped|Nothing is sorted|is ")
def one_entry_for_each_ranking(rankings, constant=60):
    return [(item, 1 / (constant + n)) for r in rankings for n, item in enumerate(r, 1)]


@_wrong("Nothing comes back")
def nothing(rankings, constant=60):
    return []


@_wrong("in none of the rankings")
def built_in(rankings, constant=60):
    return [("c", 1 / 63 + 1 / 61), ("b", 2 / 62), ("a", 1 / 61)]


# --- found by attacking the check -------------------------------------------------------------


@right
def sorted_parts(rankings, constant=60):
    """The same parts in the same order have the same sum."""
    parts = defaultdict(list)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            parts[item].append(rank)
    sums = {item: sum(1 / (constant + n) for n in sorted(row)) for item, row in parts.items()}  # fmt: skip
    return sorted(sums.items(), key=lambda pair: pair[1], reverse=True)


@_wrong("rounded before they are sorted")
def sorted_by_few_digits(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda p: -round(p[1], 3))


@_wrong("counts in how many|the sum of|order")
def sorted_by_votes_first(rankings, constant=60):
    counts = Counter(itertools.chain(*rankings))
    return sorted(_sums(rankings, constant).items(), key=lambda p: (-counts[p[0]], -p[1]))  # fmt: skip


@_wrong("the order is|sum of")
def sorted_by_the_first_ranking(rankings, constant=60):
    """Only what the first ranking does not hold is sorted."""
    sums = _sums(rankings, constant)
    first = list(rankings[0]) if rankings else []
    return [(i, sums[i]) for i in first] + [p for p in _best_first(sums) if p[0] not in first]  # fmt: skip


@_wrong("sum of|Parts depend")
def whole_constants_alone(rankings, constant=60):
    return _best_first(_sums(rankings, int(constant)))


@_wrong("`math.fsum` helps|three parts")
def numpy_sums(rankings, constant=60):
    met = _met(rankings)
    table = np.zeros((len(rankings), len(met)))
    for row, ranking in enumerate(rankings):
        for rank, item in enumerate(ranking, 1):
            table[row, met.index(item)] = 1 / (constant + rank)
    return _best_first(dict(zip(met, table.sum(axis=0).tolist(), strict=True)))


@_wrong("rounded before they are sorted")
def sorted_by_four_digits(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda p: -round(p[1], 4))


@_wrong("rounded before they are sorted")
def sorted_by_six_digits(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda p: -round(p[1], 6))


@_wrong("rounded before they are sorted")
def sorted_by_nine_digits(rankings, constant=60):
    return sorted(_sums(rankings, constant).items(), key=lambda p: -round(p[1], 9))


@_wrong("does not give")
def the_best_ten(rankings, constant=60):
    return _best_first(_sums(rankings, constant))[:10]


@_wrong("does not give")
def the_best_twenty(rankings, constant=60):
    return _best_first(_sums(rankings, constant))[:20]
