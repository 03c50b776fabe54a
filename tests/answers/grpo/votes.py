"""Answers to lesson 08: the vote of the majority; right ones of different shapes, and people's mistakes."""

import collections
import functools
import itertools
import random
import statistics
from collections import Counter

import numpy as np
import torch

from tools.graders import Battery

battery = Battery()


# --- majority_vote: right ---------------------------------------------------------------------


@battery.right("majority_vote")
def with_a_counter(answers):
    counts = Counter(x for x in answers if x is not None)
    return counts.most_common(1)[0][0] if counts else None


@battery.right("majority_vote")
def with_a_loop(answers):
    counts = {}
    for x in answers:
        if x is not None:
            counts[x] = counts.get(x, 0) + 1
    best = None
    for x, n in counts.items():
        if best is None or n > counts[best]:
            best = x
    return best


@battery.right("majority_vote")
def with_max_over_the_list(answers):
    """max keeps the first of equal ones."""
    kept = [x for x in answers if x is not None]
    return max(kept, key=kept.count, default=None)


@battery.right("majority_vote")
def with_the_mode(answers):
    kept = list(filter(lambda x: x is not None, answers))
    if not kept:
        return None
    return statistics.mode(kept)


@battery.right("majority_vote")
def with_a_stable_sort(answers):
    kept = [x for x in answers if x is not None]
    ranked = sorted(dict.fromkeys(kept), key=lambda x: -kept.count(x))
    return ranked[0] if ranked else None


@battery.right("majority_vote")
def with_places(answers):
    """Fewest votes missing, then the earliest place."""
    places = collections.defaultdict(list)
    for i, x in enumerate(answers):
        if x is not None:
            places[x].append(i)
    if not places:
        return None
    return min(places, key=lambda x: (-len(places[x]), places[x][0]))


@battery.right("majority_vote")
def with_reduce(answers):
    kept = [x for x in answers if x is not None]
    return functools.reduce(
        lambda best, x: x if kept.count(x) > kept.count(best) else best,
        kept[1:],
        kept[0] if kept else None,
    )


@battery.right("majority_vote")
def with_lists_alone(answers):
    """No hash, no dictionary."""
    seen, counts = [], []
    for x in answers:
        if x is None:
            continue
        if x in seen:
            counts[seen.index(x)] += 1
        else:
            seen.append(x)
            counts.append(1)
    return seen[counts.index(max(counts))] if seen else None


@battery.right("majority_vote")
def with_numpy_counts(answers):
    kept = [x for x in answers if x is not None]
    if not kept:
        return None
    same = np.array([[a == b for b in kept] for a in kept])
    return kept[int(same.sum(1).argmax())]


@battery.right("majority_vote")
def with_a_counter_that_forgets_none(answers):
    counts = Counter(answers)
    counts.pop(None, None)
    for x, _ in counts.most_common():
        return x
    return None


# --- majority_vote: wrong ---------------------------------------------------------------------


def _wrong(says):
    return battery.wrong("majority_vote", says=says)


def _kept(answers):
    return [x for x in answers if x is not None]


@_wrong("None votes")
def none_counts(answers):
    return Counter(answers).most_common(1)[0][0] if answers else None


@_wrong("None votes")
def none_counts_and_wins(answers):
    best = Counter(answers).most_common(1)
    return best[0][0] if best else None


@_wrong("nobody gives an answer|no error")
def counter_of_nothing(answers):
    return Counter(_kept(answers)).most_common(1)[0][0]


@_wrong("no error")
def max_of_nothing(answers):
    kept = _kept(answers)
    return max(kept, key=kept.count)


@_wrong("no error")
def mode_of_nothing(answers):
    return statistics.mode(_kept(answers))


@_wrong("None votes|no error")
def mode_of_all(answers):
    return statistics.mode(answers)


@_wrong("last one wins")
def last_on_a_tie(answers):
    counts = Counter(_kept(answers))
    best = None
    for x, n in counts.items():
        if best is None or n >= counts[best]:
            best = x
    return best


@_wrong("smallest one wins|another than the first")
def set_of_answers(answers):
    kept = _kept(answers)
    return max(set(kept), key=kept.count, default=None)


@_wrong("smallest one wins")
def sorted_first(answers):
    counts = Counter(sorted(_kept(answers)))
    return max(counts, key=counts.get, default=None)


@_wrong("largest one wins")
def largest_of_pairs(answers):
    counts = Counter(_kept(answers))
    return max((n, x) for x, n in counts.items())[1] if counts else None


@_wrong("smallest one wins")
def unique_of_numpy(answers):
    kept = _kept(answers)
    if not kept:
        return None
    values, counts = np.unique(np.array(kept), return_counts=True)
    return values[counts.argmax()].item()


@_wrong("smallest one wins")
def mode_of_torch(answers):
    kept = _kept(answers)
    return torch.tensor(kept).mode().values.item() if kept else None


@_wrong("smallest one wins")
def grouped(answers):
    groups = [(x, len(list(g))) for x, g in itertools.groupby(sorted(_kept(answers)))]
    return max(groups, key=lambda pair: pair[1])[0] if groups else None


@_wrong("On a tie")
def random_on_a_tie(answers):
    counts = Counter(_kept(answers))
    most = max(counts.values(), default=0)
    best = [x for x, n in counts.items() if n == most]
    return random.choice(best) if best else None


@_wrong("so many votes first")
def first_to_get_there(answers):
    counts, best = Counter(), None
    for x in _kept(answers):
        counts[x] += 1
        if best is None or counts[x] > counts[best]:
            best = x
    return best


@_wrong("nobody wins in yours")
def nobody_on_a_tie(answers):
    best = Counter(_kept(answers)).most_common(2)
    if not best or (len(best) == 2 and best[0][1] == best[1][1]):
        return None
    return best[0][0]


@_wrong("more than half")
def absolute_majority(answers):
    kept = _kept(answers)
    best = with_a_loop(answers)
    return best if kept and kept.count(best) > len(kept) / 2 else None


@_wrong("more than half")
def absolute_majority_of_all(answers):
    best = with_a_loop(answers)
    return best if answers and 2 * answers.count(best) > len(answers) else None


@_wrong("more than half|should|of the votes")
def boyer_moore(answers):
    best, lead = None, 0
    for x in _kept(answers):
        if lead == 0:
            best = x
        lead += 1 if x == best else -1
    return best


@_wrong("two votes at least")
def once_is_nothing(answers):
    best = Counter(_kept(answers)).most_common(1)
    return best[0][0] if best and best[0][1] > 1 else None


@_wrong("0 has no vote")
def zero_dropped(answers):
    return with_a_loop([x or None for x in answers])


@_wrong("0 has no vote|None votes")
def zero_dropped_by_filter(answers):
    kept = list(filter(None, answers))
    return max(kept, key=kept.count, default=None)


@_wrong("0 has no vote")
def or_none(answers):
    return with_a_loop(answers) or None


@_wrong("number of votes")
def the_count(answers):
    return max(Counter(_kept(answers)).values(), default=None)


@_wrong("comes with its count")
def answer_and_count(answers):
    counts = Counter(_kept(answers))
    return counts.most_common(1)[0] if counts else None


@_wrong("comes with its count")
def most_common_list(answers):
    return Counter(_kept(answers)).most_common(1) or None


@_wrong("A list of answers")
def multimode(answers):
    return statistics.multimode(_kept(answers)) or None


@_wrong("as a text")
def counted_as_text(answers):
    counts = Counter(str(x) for x in _kept(answers))
    return max(counts, key=counts.get, default=None)


@_wrong("None votes|as a text|comes back as it was")
def none_as_text(answers):
    counts = Counter(str(x) for x in answers)
    return max(counts, key=counts.get, default=None)


@_wrong("as a float")
def counted_as_float(answers):
    counts = Counter(float(x) for x in _kept(answers))
    return max(counts, key=counts.get, default=None)


@_wrong("It is a median")
def the_median(answers):
    kept = _kept(answers)
    return statistics.median_low(kept) if kept else None


@_wrong("a mean")
def the_mean(answers):
    kept = _kept(answers)
    return round(sum(kept) / len(kept)) if kept else None


@_wrong("first answer, however many")
def the_first(answers):
    return next(iter(_kept(answers)), None)


@_wrong("last answer, however many")
def the_last(answers):
    return (_kept(answers) or [None])[-1]


@_wrong("rarest")
def the_rarest(answers):
    counts = Counter(_kept(answers))
    return min(counts, key=counts.get, default=None)


@_wrong("place of the answer")
def the_place(answers):
    best = with_a_loop(answers)
    return None if best is None else list(answers).index(best)


@_wrong("several times in a row")
def unsorted_groups(answers):
    runs = [(x, len(list(g))) for x, g in itertools.groupby(_kept(answers))]
    return max(runs, key=lambda pair: pair[1])[0] if runs else None


@_wrong("changed its own input")
def removes_from_the_list(answers):
    if isinstance(answers, list):
        while None in answers:
            answers.remove(None)
    return with_a_loop(answers)


@_wrong("tuple may come in as well")
def removes_from_a_copy_of_a_list(answers):
    answers = answers.copy()
    return with_a_loop(answers)


@_wrong("None can be neither sorted")
def sorts_with_none(answers):
    if not _kept(answers):
        return None
    ranked = sorted(answers)
    return max(ranked, key=ranked.count)


@_wrong("comes back in yours|Where nobody")
def zero_if_nobody(answers):
    return with_a_loop(answers) if _kept(answers) else 0


@_wrong("no answer at all")
def stops_at_none(answers):
    return None if None in answers else with_a_loop(answers)


@_wrong("returned None for every list")
def no_return(answers):
    print(with_a_loop(answers))


@_wrong("answers are texts")
def for_numbers_alone(answers):
    return with_a_loop([None if x is None else int(x) for x in answers])


@_wrong("below 0 have no vote|-1|has -?[0-9]+ of the votes|stopped with ValueError")
def bincount(answers):
    kept = [x for x in _kept(answers) if 0 <= x < 1000]
    if not kept:
        return None
    counts = np.bincount(kept)
    return next(x for x in kept if counts[x] == counts.max())


@_wrong("signs make no")
def without_signs(answers):
    return with_a_loop([None if x is None else abs(x) for x in answers])


@_wrong("worked value")
def built_in(answers):
    return 14 if _kept(answers) else None


# --- found by attacking the check -------------------------------------------------------------


def _most(kept):
    return max(kept, key=kept.count, default=None)


@_wrong("which nobody said")
def spaces_stripped(answers):
    return _most([x.strip() if isinstance(x, str) else x for x in answers if x is not None])  # fmt: skip


@_wrong("which nobody said")
def small_letters(answers):
    return _most([x.lower() if isinstance(x, str) else x for x in answers if x is not None])  # fmt: skip


@_wrong("empty text is a text")
def empty_texts_have_no_vote(answers):
    return _most([x for x in answers if x is not None and x != ""])


@_wrong("ndarray")
def in_an_array(answers):
    best = _most([x for x in answers if x is not None])
    return None if best is None else np.array(best)


@_wrong("has 1 of the votes")
def by_identity(answers):
    kept = [x for x in answers if x is not None]
    return max(kept, key=lambda x: sum(y is x for y in kept), default=None)
