"""Answers to lesson 08: any of k; right ones of different shapes, and people's mistakes."""

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import torch

from tools.graders import Battery

battery = Battery()


# --- pass_at_k: right -------------------------------------------------------------------------


@battery.right("pass_at_k")
def with_comb(n, right, k):
    return 1 - math.comb(n - right, k) / math.comb(n, k)


@battery.right("pass_at_k")
def the_published_product(n, right, k):
    if n - right < k:
        return 1.0
    return 1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1))


@battery.right("pass_at_k")
def draw_by_draw(n, right, k):
    missed = 1.0
    for drawn in range(k):
        missed *= max(0, n - right - drawn) / (n - drawn)
    return 1 - missed


@battery.right("pass_at_k")
def with_logarithms(n, right, k):
    wrong = n - right
    if wrong < k:
        return 1.0

    def ways(m):
        return math.lgamma(m + 1) - math.lgamma(k + 1) - math.lgamma(m - k + 1)

    return -math.expm1(ways(wrong) - ways(n))


@battery.right("pass_at_k")
def with_fractions(n, right, k):
    return float(1 - Fraction(math.comb(n - right, k), math.comb(n, k)))


@battery.right("pass_at_k")
def with_factorials(n, right, k):
    if k > n - right:
        return 1
    f = math.factorial
    return 1 - f(n - right) * f(n - k) / (f(n) * f(n - right - k)) if n < 20 else float(1 - Fraction(f(n - right) * f(n - k), f(n) * f(n - right - k)))  # fmt: skip


@battery.right("pass_at_k")
def summed_over_how_many(n, right, k):
    hits = sum(math.comb(right, j) * math.comb(n - right, k - j) for j in range(1, min(right, k) + 1))  # fmt: skip
    return hits / math.comb(n, k)


@battery.right("pass_at_k")
def in_torch(n, right, k):
    if n - right < k:
        return 1.0
    steps = torch.arange(n - right + 1, n + 1, dtype=torch.float64)
    return 1 - (1 - k / steps).prod().item()


@battery.right("pass_at_k")
def the_product_without_a_case(n, right, k):
    """A choice that must hold a right one has a factor 0 on its way."""
    return 1 - math.prod(1 - k / i for i in range(n - right + 1, n + 1))


# --- pass_at_k: wrong -------------------------------------------------------------------------


def _wrong(name, says, find):
    """find(n, c, k, w, C): w wrong ones, C the number of choices."""

    def answer(n, right, k):
        return find(n, right, k, n - right, math.comb)

    answer.__name__ = name
    battery.wrong("pass_at_k", says=says)(answer)


_wrong("with_putting_back", "same answer twice", lambda n, c, k, w, C: 1 - (1 - c / n) ** k)  # fmt: skip
_wrong("none_right", r"\*none\*", lambda n, c, k, w, C: C(w, k) / C(n, k))
_wrong("none_right_putting_back", r"\*none\*", lambda n, c, k, w, C: (w / n) ** k)
_wrong("all_right", r"\*all\*", lambda n, c, k, w, C: C(c, k) / C(n, k))
_wrong("all_right_putting_back", r"\*all\*", lambda n, c, k, w, C: (c / n) ** k)
_wrong("one_wrong", r"\*wrong\*", lambda n, c, k, w, C: 1 - C(c, k) / C(n, k))
_wrong("exactly_one", r"\*exactly\*", lambda n, c, k, w, C: c * C(w, k - 1) / C(n, k))
_wrong("binomial_one", r"\*exactly\*", lambda n, c, k, w, C: k * c / n * (w / n) ** (k - 1))  # fmt: skip
_wrong("share", "share of right answers", lambda n, c, k, w, C: c / n)
_wrong("expected_number", "how many right ones", lambda n, c, k, w, C: k * c / n)
_wrong("expected_at_most_1", "how many right ones", lambda n, c, k, w, C: min(1.0, k * c / n))  # fmt: skip
_wrong("right_over_k", "as if it were certain", lambda n, c, k, w, C: min(c, k) / k)
_wrong("any_at_all", "as if it were certain", lambda n, c, k, w, C: float(c > 0))
_wrong("must_be", "as if it were certain", lambda n, c, k, w, C: float(w < k))
_wrong("as_many_as_k", "as if it were certain", lambda n, c, k, w, C: float(c >= k))
_wrong("a_boolean", "A chance is wanted", lambda n, c, k, w, C: c > 0)
_wrong(
    "comb_turned", "as if it were certain", lambda n, c, k, w, C: 1 - C(k, w) / C(n, k)
)
_wrong("both_combs_turned", "divided by 0|wrong way round", lambda n, c, k, w, C: 1 - C(k, w) / C(k, n))  # fmt: skip
_wrong("comb_of_all_turned", "divided by 0", lambda n, c, k, w, C: 1 - C(w, k) / C(k, n))  # fmt: skip
_wrong("right_chosen", "Right ones are chosen", lambda n, c, k, w, C: 1 - C(w, c) / C(n, c))  # fmt: skip
_wrong("others_chosen", "should be", lambda n, c, k, w, C: 1 - C(n - k, k) / C(n, k))  # fmt: skip
_wrong("percent", "percentage", lambda n, c, k, w, C: 100 * (1 - C(w, k) / C(n, k)))
_wrong(
    "whole_numbers", "whole number by //", lambda n, c, k, w, C: 1 - C(w, k) // C(n, k)
)
_wrong("one_draw_more", "one draw too many", lambda n, c, k, w, C: 1 - math.prod((w - i) / (n - i) for i in range(min(k + 1, n))))  # fmt: skip
_wrong("one_draw_fewer", "one draw too many", lambda n, c, k, w, C: 1 - math.prod((w - i) / (n - i) for i in range(k - 1)))  # fmt: skip
_wrong("product_from_one", "one draw too many", lambda n, c, k, w, C: 1 - math.prod((w - i) / (n - i) for i in range(1, k)))  # fmt: skip
_wrong("published_off_by_one", "one draw too many", lambda n, c, k, w, C: 1.0 if w < k else 1 - math.prod(1 - k / i for i in range(max(w, 1), n + 1)))  # fmt: skip
_wrong("published_end_missing", "one draw too many", lambda n, c, k, w, C: 1.0 if w < k else 1 - math.prod(1 - k / i for i in range(w + 1, n)))  # fmt: skip
_wrong("wrong_ones_stay", "one place only", lambda n, c, k, w, C: 1 - math.prod(w / (n - i) for i in range(k)))  # fmt: skip
_wrong("all_stay", "one place only", lambda n, c, k, w, C: 1 - math.prod((w - i) / n for i in range(k)))  # fmt: skip
_wrong("one_is_lost", "the 1, is lost", lambda n, c, k, w, C: C(w, k) / C(n, k) - 1)
_wrong("rounded", "rounded", lambda n, c, k, w, C: round(1 - C(w, k) / C(n, k), 2))
_wrong("rounded_to_four", "rounded", lambda n, c, k, w, C: round(1 - C(w, k) / C(n, k), 4))  # fmt: skip
_wrong("float_factorials", "too large for a float|OverflowError", lambda n, c, k, w, C: 1.0 if w < k else 1 - float(math.factorial(w)) * float(math.factorial(n - k)) / float(math.factorial(n)) / float(math.factorial(w - k)))  # fmt: skip
_wrong("float_combs", "too large for a float", lambda n, c, k, w, C: 1 - float(C(w, k)) / float(C(n, k)))  # fmt: skip
_wrong("gamma", "too large for a float", lambda n, c, k, w, C: 1.0 if w < k else 1 - math.gamma(w + 1) / math.gamma(w - k + 1) / math.gamma(n + 1) * math.gamma(n - k + 1))  # fmt: skip
_wrong("numpy_products", "too large for a float|For n=", lambda n, c, k, w, C: 1.0 if w < k else 1 - np.prod(np.arange(w - k + 1, w + 1.0)) / np.prod(np.arange(n - k + 1, n + 1.0)))  # fmt: skip
_wrong("numpy_integers", "For n=", lambda n, c, k, w, C: 1.0 if w < k else 1 - np.prod(np.arange(w - k + 1, w + 1)) / np.prod(np.arange(n - k + 1, n + 1)))  # fmt: skip
_wrong("a_pair", "returned a tuple", lambda n, c, k, w, C: (C(w, k), C(n, k)))
_wrong("as_text", "returned a str", lambda n, c, k, w, C: f"{1 - C(w, k) / C(n, k):.4f}")  # fmt: skip
_wrong("the_worked_value", "For n=21", lambda n, c, k, w, C: 0.5)
_wrong("exact_for_two", "For n=|one draw", lambda n, c, k, w, C: 1 - w / n * (w - 1) / max(n - 1, 1))  # fmt: skip
_wrong("k_of_four", "For n=|cannot avoid|one draw", lambda n, c, k, w, C: 1 - C(w, min(k, 4)) / C(n, min(k, 4)))  # fmt: skip
_wrong("never_certain", "cannot avoid", lambda n, c, k, w, C: min(0.999, 1 - C(w, k) / C(n, k)))  # fmt: skip
_wrong("zero_if_it_must_be", "cannot avoid", lambda n, c, k, w, C: 0.0 if w < k else 1 - C(w, k) / C(n, k))  # fmt: skip
_wrong("one_if_none", "chance is 0", lambda n, c, k, w, C: 1.0 if not c else 1 - C(w, k) / C(n, k))  # fmt: skip
_wrong("poisson", "For n=", lambda n, c, k, w, C: 1 - math.exp(-k * c / n))
_wrong("by_odds", "same answer twice", lambda n, c, k, w, C: 1 - 1 / (1 + c / w) ** k)  # fmt: skip
_wrong("right_and_k_exchanged_in_part", "For n=|Right ones", lambda n, c, k, w, C: 1 - C(n - k, c) / C(n, k))  # fmt: skip


@battery.wrong("pass_at_k", says="rounded, or drawn at random|For n=")
def by_drawing(n, right, k):
    draws = random.Random(0)
    hits = sum(min(draws.sample(range(n), k)) < right for _ in range(300))
    return hits / 300


@battery.wrong("pass_at_k", says="one by one")
def by_listing(n, right, k):
    found = total = 0
    for choice in itertools.combinations(range(n), k):
        found += choice[0] < right
        total += 1
    return found / total


@battery.wrong("pass_at_k", says="one by one")
def by_recursion(n, right, k):
    if not k:
        return 0.0
    if n == right:
        return 1.0
    miss = (n - right) / n
    return right / n * (1 + 0 * by_recursion(n - 1, max(right - 1, 0), k - 1)) + miss * by_recursion(n - 1, right, k - 1)  # fmt: skip


@battery.wrong("pass_at_k", says="calls itself too often")
def one_draw_after_the_other(n, right, k):
    if not k:
        return 0.0
    return right / n + (n - right) / n * one_draw_after_the_other(n - 1, min(right, n - 1), k - 1)  # fmt: skip


# --- found by attacking the check -------------------------------------------------------------


def _calling_itself(n, w, k):
    return 1.0 if k == 0 else 0.0 if w < 1 else w / n * _calling_itself(n - 1, w - 1, k - 1)  # fmt: skip


_wrong("rounded_to_six", "which is rounded", lambda n, c, k, w, C: round(1 - C(w, k) / C(n, k), 6))  # fmt: skip
_wrong("a_fraction", "a float from 0 to 1", lambda n, c, k, w, C: 1 - Fraction(C(w, k), C(n, k)))  # fmt: skip
_wrong("recursive", "calls itself too often", lambda n, c, k, w, C: 1 - _calling_itself(n, w, k))  # fmt: skip
_wrong("log_gamma_unguarded", "choose so many wrong ones", lambda n, c, k, w, C: 1 - math.exp(math.lgamma(w + 1) - math.lgamma(w - k + 1) - math.lgamma(n + 1) + math.lgamma(n - k + 1)))  # fmt: skip
_wrong("factorials_unguarded", "choose so many wrong ones", lambda n, c, k, w, C: 1 - math.factorial(w) * math.factorial(n - k) / (math.factorial(w - k) * math.factorial(n)))  # fmt: skip
_wrong("certain_if_as_few_are_wrong_as_drawn", "as if it were certain|chance is 0", lambda n, c, k, w, C: 1.0 if w <= k else 1 - C(w, k) / C(n, k))  # fmt: skip
