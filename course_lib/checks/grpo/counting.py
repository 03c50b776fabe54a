"""Check of lesson 08: the chance that k of n answers hold a right one.

For few answers all choices are tried, for many the chance is multiplied up in
fractions, one drawn answer after the other. The answers that prove the check are in
`tests/answers/`.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from fractions import Fraction

import torch

from course_lib.checks.asking import ask, expect, number, told_apart
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import passes

SLOW = 0.1  # seconds for one chance; a formula needs less than a thousandth


@check(
    passes.pass_at_k,
    proved="For every n up to 6 it is the share of all choices that hold a right answer, from never to always; and it "
    "stays exact for thousands of answers.",
)
def pass_at_k(answer, draw):
    _compare(answer, 21, 5, 3)
    for n, right, k in (
        (10, 3, 4),
        (5, 2, 3),
        (4, 1, 2),
        (5, 2, 2),
        (6, 2, 3),
        (8, 1, 5),
    ):
        _compare(answer, n, right, k)
    for n, right, k in ((4, 3, 2), (5, 4, 3), (6, 6, 1), (7, 0, 3), (3, 1, 3), (1, 1, 1), (1, 0, 1)):  # fmt: skip
        _compare(answer, n, right, k)
    for n in range(1, 7):
        for right, k in itertools.product(range(n + 1), range(1, n + 1)):
            _compare(answer, n, right, k, _of_all_choices(n, right, k))
    _in_time(answer)
    for most in (12, 30, 64, 200):
        for _ in range(4):
            n, right, k = _drawn(draw, most)
            _compare(answer, n, right, k)
    _many(answer)


def _drawn(draw: torch.Generator, most: int) -> tuple[int, int, int]:
    n = int(torch.randint(most // 2, most + 1, (1,), generator=draw))
    right = int(torch.randint(0, n // 3 + 1, (1,), generator=draw))
    return n, right, int(torch.randint(1, n // 2 + 1, (1,), generator=draw))


# --- what is right


def _of_all_choices(n: int, right: int, k: int) -> float:
    choices = list(itertools.combinations(range(n), k))
    return sum(min(choice) < right for choice in choices) / len(choices)


def _one_by_one(n: int, right: int, k: int) -> float:
    """Draw k answers, none of them twice: the chance that each is wrong again."""
    still_wrong = Fraction(1)
    for drawn in range(k):
        still_wrong *= Fraction(max(0, n - right - drawn), n - drawn)
    return float(1 - still_wrong)


# --- asking


def _asked(answer: Callable, n: int, right: int, k: int) -> float:
    try:
        got = ask(answer, n, right, k)
    except RecursionError as error:
        raise CheckFailed(
            f"For n={n}, right={right} and k={k} it calls itself too often: Python stops after about a thousand calls inside "
            "each other, and n may be 2,000."
        ) from error
    except OverflowError as error:
        raise CheckFailed(
            f"For n={n}, right={right} and k={k} it stopped with {type(error).__name__}: {error}. Numbers of choices are "
            "too large for a float; Python's whole numbers have no end, and their quotient is small."
        ) from error
    except ZeroDivisionError as error:
        raise CheckFailed(
            f"For n={n}, right={right} and k={k} something was divided by 0. How many ways are there to choose k of n?"
        ) from error
    except ValueError as error:
        if n - right >= k:
            raise
        raise CheckFailed(
            f"Of n={n} answers {n - right} are wrong, and k={k} are drawn: it stopped with ValueError ({error}). Nobody can "
            "choose so many wrong ones; what is the chance then?"
        ) from error
    expect(
        not isinstance(got, bool | Fraction),
        f"It returned {got!r:.40}. A chance is wanted, a float from 0 to 1.",
    )
    if n > 50 and isinstance(got, float) and not math.isfinite(got):
        raise CheckFailed(
            f"For n={n}, right={right} and k={k} it returned {got}: numbers of choices are too large for a float. Python's "
            "whole numbers have no end."
        )
    return number(got, "the chance")


def _compare(
    answer: Callable, n: int, right: int, k: int, want: float | None = None
) -> None:
    got = _asked(answer, n, right, k)
    want = _one_by_one(n, right, k) if want is None else want
    allowed = 1e-6 if n <= 200 else 1e-5  # float32 products may pass
    if abs(got - want) <= allowed:
        expect(
            got != round(got, 6) or abs(got - want) < 1e-9,
            f"For n={n}, right={right} and k={k} it is {got}, which is rounded. The chance has more digits.",
        )
        return
    if want == 1 and n - right < k:
        raise CheckFailed(
            f"Of {n} answers {n - right} are wrong. Whoever draws {k} cannot avoid a right one: the chance is 1, and not "
            f"{got:.4g}."
        )
    if not right:
        raise CheckFailed(
            f"None of {n} answers is right, so the chance is 0, and not {got:.4g}."
        )
    if got in (0.0, 1.0) and min(want, 1 - want) > 1e-3:
        raise CheckFailed(
            f"For n={n}, right={right} and k={k} it is {got:g}, as if it were certain. It may happen and may not. (Was a "
            "quotient cut to a whole number by //, or are the arguments of a number of choices the wrong way round?)"
        )
    for mistake, ways in _mistakes(n, right, k).items():
        for way in ways:
            with contextlib.suppress(ZeroDivisionError, ValueError):
                made = way()
                if abs(got - made) <= 1e-6 < abs(made - want):
                    raise CheckFailed(mistake)
    expect(
        n < 20 or 0 <= got <= 1,
        f"For n={n}, right={right} and k={k} it is {got:.4g}, which is no chance. Was a product of whole numbers too large for "
        "NumPy or torch, whose numbers have 64 bits? Python's have no end.",
    )
    shown = told_apart(got, want)
    if abs(got - want) < 0.006:
        raise CheckFailed(
            f"For n={n}, right={right} and k={k} it is {shown[0]}; it should be {shown[1]}. Is something rounded, or drawn at "
            "random? The chance can be worked out."
        )
    raise CheckFailed(
        f"For n={n}, right={right} and k={k} it is {shown[0]}; it should be {shown[1]}."
    )


def _mistakes(n: int, c: int, k: int) -> dict[str, tuple[Callable[[], float], ...]]:
    """What known mistakes give; each may be impossible."""
    w, choose = n - c, math.comb
    miss = choose(w, k) / choose(n, k)
    # fmt: off
    return {
        "That draws the same answer twice, or more often: each draw puts its answer back. Of n answers, k different ones are "
        "drawn.": (lambda: 1 - (1 - c / n) ** k,),
        "That is the chance that *none* is right.": (lambda: miss, lambda: (1 - c / n) ** k),
        "That is the chance that *all* k are right. One is enough.": (lambda: choose(c, k) / choose(n, k), lambda: (c / n) ** k),
        "That is the chance that one at least is *wrong*. Which ones are chosen when none is right?":
            (lambda: 1 - choose(c, k) / choose(n, k), lambda: 1 - (c / n) ** k),
        "That is the chance that *exactly* one is right. Several are as good.":
            (lambda: c * choose(w, k - 1) / choose(n, k), lambda: k * c / n * (1 - c / n) ** (k - 1)),
        "That is the share of right answers, whatever k is. With more draws a right one is likelier.": (lambda: c / n,),
        "That is how many right ones to expect among k, as a share or held below 1. Some choices hold two and count once.":
            (lambda: k * c / n, lambda: min(1, k * c / n), lambda: min(c, k) / k, lambda: min(1, c / k), lambda: c / k),
        "The arguments of the number of ways are the wrong way round: k are chosen *from* the answers.":
            (lambda: 1 - choose(k, w) / choose(k, n), lambda: 1 - choose(w, k) / choose(k, n)),
        "Right ones are chosen where all or wrong ones should be: which choices hold no right answer, among how many?":
            (lambda: 1 - choose(n, c) ** -1, lambda: choose(c, k) / choose(w, k), lambda: 1 - choose(w, c) / choose(n, c),
             lambda: 1 - choose(w, k) / choose(n, c), lambda: 1 - choose(c, k) / choose(w, k)),
        "It is a percentage. A chance lies between 0 and 1.": (lambda: 100 * (1 - miss), lambda: 100 * (1 - (1 - c / n) ** k)),
        "The product runs over one draw too many, or too few, or begins at the wrong number.":
            (lambda: _product(w, n, range(k + 1)), lambda: _product(w, n, range(k - 1)), lambda: _product(w, n, range(1, k + 1)), lambda: _product(w, n, range(1, k)),
             lambda: 1 - math.prod(1 - k / i for i in range(w, n + 1)), lambda: 1 - math.prod(1 - k / i for i in range(w, n)),
             lambda: 1 - math.prod(1 - k / i for i in range(w + 1, n)), lambda: 1 - math.prod(1 - k / i for i in range(c + 1, n + 1))),
        "One is taken away from what has already been drawn in one place only: each draw leaves one answer fewer, and one wrong "
        "answer fewer.": (lambda: 1 - math.prod(w / (n - i) for i in range(k)), lambda: 1 - math.prod((w - i) / n for i in range(k))),
        "The sign, or the 1, is lost.": (lambda: miss - 1, lambda: 1 + miss),
    }
    # fmt: on


def _product(w: int, n: int, draws: range) -> float:
    return 1 - math.prod((w - i) / (n - i) for i in draws)


# --- many answers


def _in_time(answer: Callable) -> None:
    """Whoever goes through all choices is found out before it takes minutes."""
    for n in (10, 14, *range(16, 48), 56, 64):
        right, k = 2, n // 2
        started = time.thread_time()
        _compare(answer, n, right, k)
        if time.thread_time() - started < SLOW:
            continue
        started = time.thread_time()  # of this thread alone; once more, to be sure
        _compare(answer, n, right, k)
        seconds = time.thread_time() - started
        expect(
            seconds < SLOW,
            f"For n={n} and k={k} it took {seconds:.1f} seconds: it seems to go through choices one by one, and there are "
            f"{math.comb(n, k):,}. They can be counted without being listed.",
        )


def _many(answer: Callable) -> None:
    """Numbers of choices with hundreds of digits, and chances near 0 and near 1."""
    for n, right, k in (
        (100, 1, 50), (200, 3, 100), (1000, 1, 1), (2000, 2, 500), (2000, 1, 1000), (2000, 4, 900), (2000, 1000, 500),
        (2000, 1, 2000), (2000, 1999, 2),
    ):  # fmt: skip
        _compare(answer, n, right, k)
