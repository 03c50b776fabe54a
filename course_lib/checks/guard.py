"""While a check runs: the library's own version is out of reach, other answers are stood in for, all is quiet.

Left out: protection against a program that attacks the grader; that is a sandbox's work
(docs/GRADING.md).
"""

import contextlib
import inspect
import sys
import types
import warnings
from collections.abc import Iterator

import torch

from course_lib.checks.exercises import (
    EXERCISES,
    RIGHT_VERSIONS,
    CheckFailed,
    Exercise,
    grading,
)

LIBRARY_CALLS: list[int] = []


def _functions_to_block(exercise: Exercise) -> list[types.FunctionType]:
    library = exercise.library or exercise.about
    there = getattr(sys.modules.get(library.__module__), library.__name__, library)
    if inspect.isclass(library):
        found = [
            getattr(kind, method)
            for kind in (library, there)
            for method in exercise.methods
        ]
    else:
        found = [library, there, *exercise.also]
    if exercise.library is not None:
        found += RIGHT_VERSIONS
    return list(dict.fromkeys(f for f in found if isinstance(f, types.FunctionType)))


@contextlib.contextmanager
def library_out_of_reach(exercise: Exercise) -> Iterator[None]:
    """While a check runs, calling the library's version raises, under whatever name it was kept."""
    library = exercise.library or exercise.about
    if library is None:  # a test of something that the library does not have
        yield
        return
    instead = (
        f'Write the steps yourself; checks.skip("{exercise.name}") lets you go on without them.'
        if exercise.library
        else "Compare with a number that you worked out by hand."
    )

    def out_of_reach(*args, **kwargs):
        from course_lib.checks.guard import (
            LIBRARY_CALLS,
            LibraryCalled,
        )  # the globals are the library's

        LIBRARY_CALLS.append(1)
        raise LibraryCalled

    module = sys.modules[library.__module__]
    before = dict(vars(module))
    blocked = [
        (function, function.__code__) for function in _functions_to_block(exercise)
    ]
    LIBRARY_CALLS.clear()
    try:
        for function, _ in blocked:
            free = function.__code__.co_freevars  # a method that says super() has one
            function.__code__ = out_of_reach.__code__.replace(co_freevars=free)
        yield
    finally:
        for function, code in blocked:
            function.__code__ = code
        again = (  # loaded anew, to get at an unguarded copy
            sys.modules.get(module.__name__) is not module
            or vars(module).get(library.__name__) is not before[library.__name__]
        )
        sys.modules[module.__name__] = module
        vars(module).update(before)
        if LIBRARY_CALLS or again:  # even if the answer swallowed the exception
            raise CheckFailed(
                f"Your {exercise.name} calls course_lib's own version, which earns nothing. {instead}"
            ) from None


class LibraryCalled(BaseException):
    """Not an Exception, so that an answer's own `except Exception` does not swallow it."""


@contextlib.contextmanager
def stand_ins(exercise: Exercise, answer: object) -> Iterator[None]:
    """When marks are given, the library answers every *other* exercise of the lesson.

    One blank or wrong answer then costs its own points and no others. While learning
    nothing is replaced: the learner's functions work together, or the message says
    which one is missing.
    """
    namespace = _namespace_of(answer)
    if not grading() or namespace is None:
        yield
        return
    others = {
        name: _rebound(other.library, exercise.name, answer)
        for name, other in EXERCISES.items()
        if other.lesson == exercise.lesson
        and name != exercise.name
        and other.library is not None
        and other.library
        is not exercise.about  # a test may compare with the learner's own version
    }
    saved = {name: namespace[name] for name in others if name in namespace}
    try:
        namespace.update(others)
        yield
    finally:
        for name in others:
            namespace.pop(name, None)
        namespace.update(saved)


def _rebound(library: object, name: str, answer: object) -> object:
    """The library's function, except that it calls the learner's version of the one under test."""
    if isinstance(library, types.FunctionType) and name in library.__code__.co_names:
        scope = {**library.__globals__, name: answer}
        return types.FunctionType(
            library.__code__, scope, library.__name__, library.__defaults__
        )
    return library


def _namespace_of(answer: object) -> dict | None:
    inner = inspect.unwrap(answer)
    if inspect.isclass(inner):
        inner = next(
            (m for m in vars(inner).values() if isinstance(m, types.FunctionType)), None
        )
    return getattr(inner, "__globals__", None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A check draws no random number that the lesson would notice, prints no warning and uses one thread.

    On a busy machine torch's softmax of six numbers waits 4 ms for a second thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)
