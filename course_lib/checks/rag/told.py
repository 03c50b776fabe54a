"""How the checks of lesson 10 ask and explain: everything is asked first, then one mistake is looked for.

A mistake is a function that makes it. It is named if it explains every result, or
every wrong one, of an answer.
"""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed

Mistakes = dict[str, tuple[Callable, ...]]  # what to say: functions that do just that
NOTHING = "It returned None. Is there a `return` line, and does every path reach one?"
CHANGED = "It changed its own input. Later lines still need that: work on a new one."


class Case(NamedTuple):
    """What a function is asked with."""

    given: tuple
    options: dict = {}  # noqa: RUF012

    def put_to(self, function: Callable) -> object:
        return function(*self.given, **self.options)

    def __str__(self) -> str:
        shown = [brief(x) for x in self.given]
        shown += [f"{name}={brief(x)}" for name, x in self.options.items()]
        return f"({', '.join(shown)})"


class Row(NamedTuple):
    got: object
    want: object
    case: Case


def brief(x: object) -> str:
    """How an argument looks in a message."""
    if isinstance(x, np.ndarray):
        return str(np.round(x, 3).tolist())
    if isinstance(x, float):
        return f"{x:.6g}"
    if isinstance(x, set) and x:
        return f"{{{', '.join(sorted(map(repr, x)))}}}"
    return getattr(x, "__name__", None) or repr(x)


def asked(
    answer: Callable,
    case: Case,
    stopped: Callable[[Exception, Case], str | None] = lambda error, case: None,
) -> object:
    """Its result, if there is one and the inputs are as they were.

    stopped(error, case): what to say if it stops with an error, or None.
    """
    before = copy.deepcopy(case.given)
    try:
        got = case.put_to(answer)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:  # fmt: skip
        said = None if isinstance(error, CheckFailed) else stopped(error, case)
        if said is None:
            raise
        raise CheckFailed(said) from error
    expect(got is not None, NOTHING)
    expect(untouched(before, case.given), CHANGED)
    return got


def untouched(before: object, after: object) -> bool:
    """The same, in the same order."""
    if isinstance(before, np.ndarray):
        return before.dtype == after.dtype and np.array_equal(before, after)
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(untouched, before, after))
    if isinstance(before, dict):
        return [*before.items()] == [*after.items()]
    if isinstance(before, set | str | int | float):
        return before == after
    return True


def judge(
    rows: Sequence[Row],
    mistakes: Mistakes,
    same: Callable[[object, object], bool],
    otherwise: Callable[[Row], str],
    slack: float = 1.0,
) -> None:
    """Fail unless every result is as it should be; name the mistake that explains it.

    One that explains every wrong result is named even if it would have made more of
    them wrong: so many more for each wrong one at most.
    """
    wrong = [row for row in rows if not same(row.got, row.want)]
    if not wrong:
        return
    found = []
    for name, ways in mistakes.items():
        missed = min(_missed(way, rows, same) for way in ways)
        if missed == 0:
            raise CheckFailed(name)
        found.append((missed, name))
    missed, name = min(found, key=lambda pair: pair[0])
    raise CheckFailed(name if missed <= slack * len(wrong) else otherwise(wrong[0]))


def _missed(way: Callable, rows: Sequence[Row], same: Callable) -> float:
    """How many results a mistake does not give; endless if a wrong one is among them."""
    missed = 0
    for got, want, case in rows:
        try:
            tried = case.put_to(way)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            tried = None
        if tried is None or not same(got, tried):
            if not same(got, want):
                return float("inf")
            missed += 1
    return missed
