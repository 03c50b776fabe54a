"""Answers to lesson 10: how much is found, and how far up; right ones of different shapes, and people's mistakes."""

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch

from course_lib.rag.metrics import (
    average_precision,
    discounted_gain,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
)
from tools.graders import Battery

battery = Battery()
right = battery.right("ndcg")


def _wrong(says):
    return battery.wrong("ndcg", says=says)


def _worth(gains):
    return gains if isinstance(gains, Mapping) else dict.fromkeys(gains, 1.0)


def _got(ranked, gains):
    return [_worth(gains).get(item, 0) for item in ranked]


def _best(gains):
    return sorted(_worth(gains).values(), reverse=True)


# --- right --------------------------------------------------------------------------------------


@right
def with_the_given_sum(ranked, gains, k):
    if not isinstance(gains, dict):
        gains = dict.fromkeys(gains, 1)
    got = discounted_gain([gains.get(item, 0) for item in ranked[:k]])
    return got / discounted_gain(sorted(gains.values())[::-1][:k])


@right
def loops_and_natural_logarithms(ranked, gains, k):
    def worth(item):
        if item not in gains:
            return 0.0
        return gains[item] if hasattr(gains, "values") else 1.0

    got = ideal = 0.0
    for place in range(min(k, len(ranked))):
        got += worth(ranked[place]) / math.log(2 + place)
    left = [worth(item) for item in gains]
    for place in range(min(k, len(left))):
        best = max(left)
        left.remove(best)
        ideal += best / math.log(2 + place)
    return got / ideal


@right
def in_numpy(ranked, gains, k):
    table = defaultdict(float, _worth(gains))
    discount = 1 / np.log2(np.arange(2, k + 2))
    got = np.array([table[item] for item in list(ranked)[:k]], dtype=float)
    best = np.sort(np.array(list(_worth(gains).values()), dtype=float))[::-1][:k]
    return (got @ discount[: len(got)]) / (best @ discount[: len(best)])


@right
def in_torch(ranked, gains, k):
    row = torch.zeros(k, dtype=torch.float64)
    for place, item in enumerate(ranked[:k]):
        row[place] = float(_worth(gains).get(item, 0))
    best = torch.zeros(k, dtype=torch.float64)
    top = torch.tensor(_best(gains)[:k], dtype=torch.float64)
    best[: len(top)] = top
    weights = 1 / torch.log2(torch.arange(k, dtype=torch.float64) + 2)
    return (row * weights).sum() / (best * weights).sum()


@right
def rank_of_each_relevant_id(ranked, gains, k):
    """From the side of what is relevant."""
    places = {item: rank for rank, item in enumerate(ranked, 1)}
    got = 0.0
    for item in gains:
        rank = places.get(item, k + 1)
        if rank <= k:
            got += (gains[item] if isinstance(gains, dict) else 1) / math.log2(rank + 1)
    ideal = sum(g / math.log2(rank + 1) for rank, g in enumerate(_best(gains)[:k], 1))
    return got / ideal


@right
def a_perfect_ranking_asked_the_same(ranked, gains, k):
    def gained(row):
        return discounted_gain([_worth(gains).get(item, 0.0) for item in row[:k]])

    perfect = sorted(gains, key=_worth(gains).get, reverse=True)
    return gained(ranked) / gained(perfect)


@right
def recursively(ranked, gains, k):
    def total(row, rank=1):
        return row[0] / math.log2(1 + rank) + total(row[1:], rank + 1) if row else 0.0

    return total(_got(ranked, gains)[:k]) / total(_best(gains)[:k])


# --- wrong --------------------------------------------------------------------------------------


@_wrong("divides by 0")
def ranks_from_0(ranked, gains, k):
    def dcg(row):
        return sum(g / math.log2(1 + rank) for rank, g in enumerate(row))

    return dcg(_got(ranked, gains)[:k]) / dcg(_best(gains)[:k])


@_wrong("divides by 0")
def logarithm_of_the_rank(ranked, gains, k):
    def dcg(row):
        return sum(g / math.log2(rank) for rank, g in enumerate(row, 1))

    return dcg(_got(ranked, gains)[:k]) / dcg(_best(gains)[:k])


@_wrong("counted from another number than 1")
def ranks_from_2(ranked, gains, k):
    def dcg(row):
        return sum(g / math.log2(2 + rank) for rank, g in enumerate(row, 1))

    return dcg(_got(ranked, gains)[:k]) / dcg(_best(gains)[:k])


@_wrong("first two count alike")
def the_oldest_form(ranked, gains, k):
    def dcg(row):
        return row[0] + sum(g / math.log2(i) for i, g in enumerate(row[1:], 2)) if row else 0  # fmt: skip

    return dcg(_got(ranked, gains)[:k]) / dcg(_best(gains)[:k])


@_wrong("different bases")
def natural_logarithm_above_alone(ranked, gains, k):
    got = sum(g / math.log(1 + n) for n, g in enumerate(_got(ranked, gains)[:k], 1))
    return got / discounted_gain(_best(gains)[:k])


@_wrong("What was not found is forgiven")
def ideal_of_the_found(ranked, gains, k):
    got = _got(ranked, gains)[:k]
    best = discounted_gain(sorted(got, reverse=True))
    return discounted_gain(got) / best if best else 0.0


@_wrong("divides by 0.*Nothing relevant was found there")
def ideal_of_the_found_without_care(ranked, gains, k):
    got = _got(ranked, gains)[:k]
    return discounted_gain(got) / discounted_gain(sorted(got, reverse=True))


@_wrong("only as long as the one that is judged")
def ideal_as_short_as_the_ranking(ranked, gains, k):
    got = _got(ranked, gains)[:k]
    if not got:
        return 0.0
    return discounted_gain(got) / discounted_gain(_best(gains)[: len(got)])


@_wrong("best ranking is as long as all gains|Of the best one, too")
def ideal_over_all(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k]) / discounted_gain(_best(gains))


@_wrong("whole ranking counts")
def k_ignored_for_ranked(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)) / discounted_gain(_best(gains)[:k])


@_wrong("k makes no difference")
def k_ignored(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)) / discounted_gain(_best(gains))


@_wrong("stand as they came")
def gains_as_they_came(ranked, gains, k):
    best = list(_worth(gains).values())[:k]
    return discounted_gain(_got(ranked, gains)[:k]) / discounted_gain(best)


@_wrong("smallest gains first")
def ascending(ranked, gains, k):
    best = sorted(_worth(gains).values())[:k]
    return discounted_gain(_got(ranked, gains)[:k]) / discounted_gain(best)


@_wrong("stand as they came|smallest gains")
def the_first_k_sorted(ranked, gains, k):
    best = sorted(list(_worth(gains).values())[:k], reverse=True)
    return discounted_gain(_got(ranked, gains)[:k]) / discounted_gain(best)


@_wrong("powers of 2")
def powers(ranked, gains, k):
    def dcg(row):
        return discounted_gain([2**g - 1 for g in row])

    return dcg(_got(ranked, gains)[:k]) / dcg(_best(gains)[:k])


@_wrong("powers of 2")
def powers_above_alone(ranked, gains, k):
    got = discounted_gain([2**g - 1 for g in _got(ranked, gains)[:k]])
    return got / discounted_gain(_best(gains)[:k])


@_wrong("stopped with AttributeError where gains is a set")
def mappings_alone(ranked, gains, k):
    best = sorted(gains.values(), reverse=True)[:k]
    got = [gains.get(item, 0) for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain(best)


@_wrong("stopped with TypeError where gains is a set")
def mappings_alone_by_brackets(ranked, gains, k):
    got = [0] * len(ranked[:k])
    for place, item in enumerate(ranked[:k]):
        if item in gains:
            got[place] = gains[item]
    best = sorted((gains[item] for item in gains), reverse=True)[:k]
    return discounted_gain(got) / discounted_gain(best)


@_wrong("same|worth the same")
def sets_alone(ranked, gains, k):
    got = [1.0 if item in gains else 0.0 for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain([1.0] * min(k, len(gains)))


@_wrong("worth the same")
def gains_ignored_above(ranked, gains, k):
    got = [float(item in gains) for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("KeyError.*also holds what is not relevant")
def unknown_ids(ranked, gains, k):
    worth = _worth(gains)
    got = [worth[item] for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("taken out of the ranking")
def only_the_relevant_move_up(ranked, gains, k):
    worth = _worth(gains)
    got = [worth[item] for item in ranked if item in worth][:k]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("taken out of the ranking")
def only_the_relevant_of_the_first_k(ranked, gains, k):
    worth = _worth(gains)
    got = [worth[item] for item in ranked[:k] if item in worth]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("divided by a number of ids or by k")
def divided_by_the_number(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k]) / len(gains)


@_wrong("divided by a number of ids or by k")
def divided_by_k(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k]) / k


@_wrong("without discount")
def divided_by_the_sum(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k]) / sum(_best(gains)[:k])


@_wrong("every place is worth 1")
def divided_by_ones(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k]) / discounted_gain([1.0] * k)


@_wrong("discounted gain itself")
def not_divided(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k])


@_wrong("upside down")
def upside_down(ranked, gains, k):
    got = discounted_gain(_got(ranked, gains)[:k])
    return discounted_gain(_best(gains)[:k]) / got if got else 0.0


@_wrong("recall or precision")
def recall(ranked, gains, k):
    return recall_at_k(ranked, gains, k)


@_wrong("recall or precision")
def precision(ranked, gains, k):
    return precision_at_k(ranked, gains, k)


@_wrong("reciprocal rank")
def first_hit(ranked, gains, k):
    return reciprocal_rank(ranked, gains)


@_wrong("average precision")
def averaged(ranked, gains, k):
    return average_precision(ranked, gains)


@_wrong("divided by the rank")
def by_the_rank(ranked, gains, k):
    def dcg(row):
        return sum(g / rank for rank, g in enumerate(row, 1))

    return dcg(_got(ranked, gains)[:k]) / dcg(_best(gains)[:k])


@_wrong("Neither ranking is discounted|recall or precision")
def without_discount(ranked, gains, k):
    return sum(_got(ranked, gains)[:k]) / sum(_best(gains)[:k])


@_wrong("worth something")
def unknown_ids_are_worth_1(ranked, gains, k):
    got = [_worth(gains).get(item, 1) for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("ranking's gains were sorted|ranking are sorted")
def both_sorted(ranked, gains, k):
    got = sorted(_got(ranked, gains)[:k], reverse=True)
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("read from its end")
def turned_round(ranked, gains, k):
    got = _got(ranked, gains)[::-1][:k]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("One place too many or too few")
def one_too_few(ranked, gains, k):
    got = _got(ranked, gains)[: k - 1]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("percentage")
def percent(ranked, gains, k):
    return 100 * with_the_given_sum(ranked, gains, k)


@_wrong("rounded")
def rounded(ranked, gains, k):
    return round(with_the_given_sum(ranked, gains, k), 3)


@_wrong("rounded, or a small constant")
def a_small_constant(ranked, gains, k):
    got = discounted_gain(_got(ranked, gains)[:k])
    return got / (discounted_gain(_best(gains)[:k]) + 1e-3)


@_wrong("worked value")
def built_in(ranked, gains, k):
    return 1 / math.log2(3)


@_wrong("worked value")
def always_1(ranked, gains, k):
    return 1.0


@_wrong("It returned a tuple; one number")
def both_numbers(ranked, gains, k):
    return discounted_gain(_got(ranked, gains)[:k]), discounted_gain(_best(gains)[:k])


@_wrong("It returned a list; one number")
def the_gains(ranked, gains, k):
    return _got(ranked, gains)[:k]


@_wrong("finite number")
def not_a_number_where_nothing_is_found(ranked, gains, k):
    got = discounted_gain(_got(ranked, gains)[:k])
    return got / discounted_gain(_best(gains)[:k]) if got else math.nan


@_wrong("IndexError.*shorter than k")
def as_long_as_k(ranked, gains, k):
    got = [_worth(gains).get(ranked[i], 0) for i in range(k)]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("changed its own input")
def the_found_are_taken_out(ranked, gains, k):
    result = with_the_given_sum(ranked, gains, k)
    for item in list(ranked)[:k]:
        if isinstance(gains, dict):
            gains.pop(item, None)
    return result


@_wrong("changed its own input|is a tuple|AttributeError")
def the_ranking_is_cut(ranked, gains, k):
    del ranked[k:]
    return with_the_given_sum(ranked, gains, k)


@_wrong("it should be")
def falsy_ids(ranked, gains, k):
    """The id 0 is taken for none."""
    worth = _worth(gains)
    got = [worth.get(item, 0) if item else 0 for item in ranked[:k]]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("Ids can be anything|stopped with ValueError|stopped with TypeError")
def ids_as_numbers(ranked, gains, k):
    ids = np.array([int(item) for item in ranked[:k]])
    return discounted_gain([_worth(gains).get(i, 0) for i in ids]) / discounted_gain(_best(gains)[:k])  # fmt: skip


@_wrong("it should be")
def whole_gains(ranked, gains, k):
    got = [int(g) for g in _got(ranked, gains)[:k]]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


@_wrong("it should be")
def gains_at_most_1(ranked, gains, k):
    got = [min(1, g) for g in _got(ranked, gains)[:k]]
    return discounted_gain(got) / discounted_gain([min(1, g) for g in _best(gains)[:k]])


@_wrong("it should be|stand as they came")
def weights_by_the_wrong_list(ranked, gains, k):
    """The discount belongs to the place among the relevant, not to the rank."""
    worth = _worth(gains)
    got = [worth[item] if item in ranked[:k] else 0 for item in worth][:k]
    return discounted_gain(got) / discounted_gain(_best(gains)[:k])


# --- found by attacking the check -------------------------------------------------------------


@right
def in_float32(ranked, gains, k):
    got = torch.tensor([float(g) for g in _got(ranked, gains)[:k]])
    best = torch.tensor([float(g) for g in _best(gains)[:k]])
    discount = (torch.arange(k) + 2.0).log2()
    return ((got / discount[: len(got)]).sum() / (best / discount[: len(best)]).sum()).item()  # fmt: skip


@_wrong("it should be")
def relevant_if_worth_1_at_least(ranked, gains, k):
    got = [g if g >= 1 else 0 for g in _got(ranked, gains)[:k]]
    best = [g if g >= 1 else 0 for g in _best(gains)[:k]]
    return discounted_gain(got) / (discounted_gain(best) or 1)


@_wrong("forgiven|it should be")
def ideal_of_all_that_was_ranked(ranked, gains, k):
    """What stands behind the first k counts as found; what is nowhere is forgiven."""
    got = _got(ranked, gains)
    best = discounted_gain(sorted(got, reverse=True)[:k])
    return discounted_gain(got[:k]) / best if best else 0.0


@_wrong("it should be|stand as they came")
def ten_at_most(ranked, gains, k):
    worth = dict(list(_worth(gains).items())[:3])
    return discounted_gain(_got(ranked, worth)[:k]) / discounted_gain(sorted(worth.values(), reverse=True)[:k])  # fmt: skip


@_wrong("One place too many")
def one_too_many_above(ranked, gains, k):
    best = discounted_gain(_best(gains)[:k])
    return discounted_gain(_got(ranked, gains)[: k + 1]) / best


_kept: dict = {}


@_wrong("it should be")
def kept_from_before(ranked, gains, k):
    """By the ids alone: the same ones with another k or another worth are not asked anew."""
    key = (tuple(ranked), frozenset(gains))
    if key not in _kept:
        _kept[key] = with_the_given_sum(ranked, gains, k)
    return _kept[key]


_kept_by_gains: dict = {}


@_wrong("it should be")
def kept_from_before_without_k(ranked, gains, k):
    key = (tuple(ranked), str(gains))
    if key not in _kept_by_gains:
        _kept_by_gains[key] = with_the_given_sum(ranked, gains, k)
    return _kept_by_gains[key]


@_wrong("it should be")
def equal_gains_once(ranked, gains, k):
    best = sorted({*_worth(gains).values()}, reverse=True)[:k]
    return discounted_gain(_got(ranked, gains)[:k]) / (discounted_gain(best) or 1)


@_wrong("it should be")
def at_most_1(ranked, gains, k):
    """The whole ranking counts, and what is too much is cut off."""
    best = discounted_gain(_best(gains)[:k])
    return min(1.0, discounted_gain(_got(ranked, gains)) / best)


@_wrong("it should be")
def k_is_10_at_most(ranked, gains, k):
    return with_the_given_sum(ranked, gains, min(k, 10))


@_wrong("it should be|only as long as")
def ten_ranked_at_most(ranked, gains, k):
    return with_the_given_sum(ranked[:10], gains, k)
