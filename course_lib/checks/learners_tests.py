"""Checks of tests that learners write: every right version passes, every faulty one is exposed."""

import functools
import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.asking import close, expect, unchanged
from course_lib.checks.exercises import RIGHT_VERSIONS, CheckFailed, first_line
from course_lib.checks.harness import check


def check_test(
    about: object,
    right: dict[str, Callable],
    faulty: dict[str, Callable],
    proved: str,
    why_blind: Callable[[Callable, list[tuple]], str | None] = lambda version, calls: (
        None
    ),
) -> Callable:
    """Make a check of a test that a learner wrote: it must pass every right version and fail every faulty one.

    about is the library function that the test is about; right and faulty map a
    description to a version. why_blind(version, calls) may say why a test's inputs
    cannot show a version's fault.
    """

    RIGHT_VERSIONS.extend(right.values())

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def body(test: Callable, draw: torch.Generator) -> None:
            _must_accept(test, right, about)
            for description, version in faulty.items():
                _must_reject(
                    test,
                    _Trial(version, about),
                    description,
                    next(iter(right.values())),
                    why_blind,
                )

        return check(None, proved, about=about)(body)

    return decorate


class _Trial:
    """One version on its way through a learner's test, under the tested function's own name."""

    def __init__(self, version: Callable, about: object):
        self.version = version
        self.calls: list[tuple] = []  # arguments, result
        self.returned: object = None
        self.objection = ""

        @functools.wraps(about)
        def renamed(*arguments, **options):
            try:
                arguments = inspect.signature(version).bind(*arguments, **options).args
            except TypeError as error:
                raise TypeError(
                    f"{about.__name__} is called with other arguments: {error}"
                ) from None
            result = version(*arguments)
            self.calls.append((arguments, result))
            return result

        del renamed.__wrapped__
        self.renamed = renamed

    def passes(self, test: Callable) -> bool:
        try:
            self.returned = test(self.renamed)
        except BaseException as error:
            if (
                not isinstance(error, AssertionError)
                and type(error).__name__ != "Failed"
            ):  # pytest.fail
                raise
            self.objection = first_line(error)
            return False
        return True


def _must_accept(test: Callable, right: dict[str, Callable], about: object) -> None:
    trials = {
        description: _Trial(version, about) for description, version in right.items()
    }
    rejected = [
        description for description, trial in trials.items() if not trial.passes(test)
    ]
    if not rejected:
        return
    likely = (
        "It rejects the others too: is the expected number wrong, or is something asserted that was never asked for?"
        if len(rejected) == len(right)
        else "It accepts another one: is the tolerance too tight for float rounding?"
    )
    objection = trials[rejected[0]].objection
    words = "" if objection == "no message" else f" Its message was {objection!r}."
    raise CheckFailed(
        f"Your test rejects a right version: {rejected[0]}.{words} {likely}"
    )


def _must_reject(
    test: Callable,
    trial: _Trial,
    description: str,
    right: Callable,
    why_blind: Callable,
) -> None:
    try:
        if not trial.passes(test):
            return
    except (Exception, SystemExit) as error:
        raise CheckFailed(
            f"Given a faulty version ({description}) your test stops with {type(error).__name__}: "
            f"{first_line(error)}. A test objects with an assert; any other error looks like an accident."
        ) from error
    start = f"Your test accepts a faulty version: {description}."
    expect(
        bool(trial.calls),
        f"{start} It never calls the function that it is given, so it cannot tell them apart.",
    )
    expect(
        trial.returned is None,
        f"{start} It returned {trial.returned!r}, and nobody reads what a test returns. Only an assert can object.",
    )
    for arguments, got in trial.calls:
        want = right(*arguments)
        expect(
            _alike(got, want),
            f"{start} On your inputs it gives {_short(got)} instead of {_short(want)}, and no assert objects. Is the "
            "result compared with a number, on both sides and closely? Is the assert one that can fail, outside "
            "any except?",
        )
    why = why_blind(trial.version, [arguments for arguments, _ in trial.calls])
    raise CheckFailed(
        f"{start} {why or 'On your inputs that mistake changes nothing. Find some on which it does.'}"
    )


def _alike(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and close(a.detach(), b.detach())
    return unchanged(a, b)


def _short(result: object) -> str:
    if isinstance(result, Tensor):
        return f"{result.item():.4g}" if result.numel() == 1 else str(result.tolist())
    return repr(result)
