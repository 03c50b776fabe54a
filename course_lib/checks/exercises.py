"""What an exercise is, how its failure looks, and whether marks are being given."""

import os
import secrets
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

VISIBLE_SEED = 0
EXERCISES: dict[str, "Exercise"] = {}  # every check adds its own
SKIPPED: set[str] = set()
RIGHT_VERSIONS: list[Callable] = []  # for checks of tests, no answer elsewhere
LAST_TRACE: list[str] = []  # of the last check that failed


class CheckFailed(AssertionError):
    """An answer that is not right yet. Jupyter shows the message, not the trace."""

    def _render_traceback_(self) -> list[str]:
        return ["\x1b[31mNot yet.\x1b[0m " + str(self)]


@dataclass(frozen=True)
class Exercise:
    """One exercise: its name, the library object that answers it, and the methods that a learner writes."""

    name: str
    lesson: str
    library: object | None  # None for an exercise that lives only in a lesson
    methods: tuple[str, ...] = ()
    about: object | None = (
        None  # what a learner's test is about: out of its reach as well
    )
    also: tuple[Callable, ...] = ()  # other library functions that hold the answer
    body: Callable = field(default=None, repr=False)


def grading() -> bool:
    """True while nbgrader (or check-mine) gives marks."""
    return bool(os.environ.get("NBGRADER_EXECUTION") or os.environ.get("COURSE_MARKS"))


def grading_seed() -> int:
    """The seed of the hidden inputs: the class's own (COURSE_GRADING_SEED) or a fresh one."""
    return int(os.environ.get("COURSE_GRADING_SEED") or 1 + secrets.randbelow(2**31))


def first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or ["no message"])[0]
    return line if len(line) <= 200 else line[:200].rpartition(" ")[0] + " …"


def wrap(text: str) -> str:
    return "\n".join(
        textwrap.fill(line, 84, break_long_words=False) for line in text.splitlines()
    )
