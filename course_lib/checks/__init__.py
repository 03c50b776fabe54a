"""Checks for the exercises: `checks.start_here.softmax(softmax)` says what was proven or what went wrong.

One module per lesson (`start_here.py`), one function per exercise; the other modules are what they share. Beside the
checks, `checks.skip("name")` lets the library stand in for an exercise, and `checks.traceback()` shows the whole trace
behind the last message.
"""

import importlib

from course_lib.checks.exercises import grading_seed
from course_lib.checks.notebook import shorten_errors, skip, traceback

__all__ = ["grading_seed", "skip", "traceback"]


def __getattr__(lesson: str):
    """`checks.start_here` imports its module when a lesson first uses it."""
    shorten_errors()
    try:
        return importlib.import_module(f"{__name__}.{lesson}")
    except ModuleNotFoundError as error:
        raise AttributeError(
            f"there are no checks for a lesson called {lesson!r}"
        ) from error
