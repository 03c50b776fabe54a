"""From a body that knows the mistakes to a check that a notebook calls.

A check proves an answer against paper numbers, properties, slow loops or another
library, never against course_lib's own version, which is the text of the solution.
"""

import functools
import inspect
import os
import traceback as traceback_module
from collections.abc import Callable

import torch

from course_lib.checks.exercises import (
    EXERCISES,
    LAST_TRACE,
    SKIPPED,
    VISIBLE_SEED,
    CheckFailed,
    Exercise,
    first_line,
    grading,
    wrap,
)
from course_lib.checks.guard import library_out_of_reach, quiet, stand_ins

HINTS = {  # what torch says: what it may mean to somebody who meets it for the first time
    "The size of tensor a": "Shapes are lined up on the right. Was a dimension dropped that should have stayed (keepdim)?",
    "torch.return_types": "A maximum along a dimension comes as two things, values and places.",
    "same number of dimensions as input": "What is looked up and where it is looked up need equally many dimensions.",
    "out of bounds for dimension": "Was it looked up along the wrong dimension?",
    "Dimension out of range": "There are fewer dimensions than this line expects: a selection with a mask is flat, and "
    "squeeze() removes every dimension of size 1.",
    "Boolean value of Tensor": "Python's if, and, or, max and min ask a whole tensor for a single yes or no.",
    "index out of range": "A place was too large. argmax() without a dimension counts through the whole tensor, over all "
    "its rows.",
    "The expanded size of the tensor": "Something longer is written into a shorter place.",
    "expected sequence of length": "A tensor is a rectangle, and lists of different lengths are not one yet.",
    "stack expects each tensor": "The pieces differ in size, so they cannot be stacked.",
    "Sizes of tensors must match": "The pieces differ in size along another dimension than the one they are joined on.",
    "view size is not compatible": "A transposed or sliced tensor does not lie in one piece in memory, and view needs that.",
    "on Tensor that requires grad": "The scores come from a model in training and still know their way back; NumPy wants "
    "them cut off from it.",
    "can only concatenate": "A list and a tuple do not add up; either may come in.",
    "'tuple' object": "A tuple may come in as well as a list, and a tuple cannot be changed.",
    "modified by an inplace operation": "Something was changed in place (+=, /=, a name ending in _) that the gradient "
    "still needs. Make a new tensor instead.",
}


def check(
    library: object | None,
    proved: str,
    methods: tuple[str, ...] = (),
    about: object | None = None,
    also: tuple[Callable, ...] = (),
) -> Callable:
    """Make a check of the decorated body(answer, draw), which raises CheckFailed or returns."""

    def decorate(body: Callable) -> Callable:
        parts = body.__module__.removeprefix("course_lib.checks.").split(".")
        lesson = parts[0]  # a lesson's checks may be a package
        exercise = Exercise(body.__name__, lesson, library, methods, about, also, body)
        assert exercise.name not in EXERCISES, (
            f"two exercises are called {exercise.name!r}"
        )
        EXERCISES[exercise.name] = exercise

        @functools.wraps(body)
        def run(answer: object, seed: int = VISIBLE_SEED) -> None:
            if exercise.name in SKIPPED and answer is library and not grading():
                print(
                    f"{exercise.name} was skipped: the library's version stands in, for no points."
                )
                return
            _run(exercise, answer, seed)
            if seed == VISIBLE_SEED:
                print(wrap(f"{exercise.name} is right. {proved}"))

        return run

    return decorate


def _run(exercise: Exercise, answer: object, seed: int) -> None:
    LAST_TRACE.clear()
    refuse_what_is_no_answer(exercise, answer)
    draw = torch.Generator().manual_seed(seed)
    try:
        with library_out_of_reach(exercise), stand_ins(exercise, answer), quiet():
            exercise.body(answer, draw)
    except CheckFailed as failure:
        LAST_TRACE.append(traceback_module.format_exc())
        raise CheckFailed(wrap(str(failure))) from None
    except (Exception, SystemExit) as error:
        LAST_TRACE.append(traceback_module.format_exc())
        raise CheckFailed(wrap(_explain(exercise, answer, error))) from None


def refuse_what_is_no_answer(exercise: Exercise, answer: object) -> None:
    name = exercise.name
    if answer is None or not callable(answer):
        raise CheckFailed(
            f"{name} is {answer!r}, not a function. Was the name used again for something else?"
        )
    if exercise.library is not None and _comes_from_the_library(
        answer, exercise.library, exercise.methods
    ):
        raise CheckFailed(
            f"This {name} is course_lib's own, so it earns no points. Write yours in the exercise cell and run it."
        )
    if (
        inspect.isclass(exercise.library) != inspect.isclass(answer)
        and exercise.library is not None
    ):
        kind = "a class" if inspect.isclass(exercise.library) else "a function"
        raise CheckFailed(
            f"{name} should be {kind}; this is a {type(answer).__name__}."
        )


def _comes_from_the_library(
    answer: object, library: object, methods: tuple[str, ...]
) -> bool:
    inner = inspect.unwrap(answer)
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.isclass(library):
        return inner is library or any(
            getattr(inner, method, None) is getattr(library, method)
            for method in methods
        )
    return inner is library or getattr(inner, "__code__", 0) is library.__code__


def _explain(exercise: Exercise, answer: object, error: BaseException) -> str:
    """One or two sentences about an exception inside an answer: what, where, and the likely cause."""
    frames = traceback_module.extract_tb(error.__traceback__)
    here = os.path.dirname(__file__)
    theirs = [
        f
        for f in frames
        if not f.filename.startswith((here, os.path.dirname(torch.__file__)))
    ]
    inside = theirs[-1] if theirs else frames[-1]
    name = exercise.name
    if isinstance(error, NotImplementedError):
        other = inside.name
        if other != name and other in EXERCISES:
            return (
                f"Your {name} calls {other}, which is not written yet. Finish {other} first, or run "
                f'checks.skip("{other}") to let the library stand in.'
            )
        return f"{name} is not written yet: replace the line `raise NotImplementedError` by your own lines."
    where = f" in `{inside.line}`" if theirs and inside.line else ""
    said = f"{name} stopped with {type(error).__name__}{where}: {first_line(error)}"
    hint = next((hint for words, hint in HINTS.items() if words in str(error)), None)
    return f"{said.rstrip('.')}. {hint}" if hint else said
