"""What learners call in a notebook beside the checks: skip an exercise, see a trace, short words for errors."""

import importlib
import os
import pkgutil
import traceback as traceback_module

from course_lib.checks.exercises import (
    EXERCISES,
    LAST_TRACE,
    SKIPPED,
    CheckFailed,
    wrap,
)


def skip(name: str) -> None:
    """Let the library stand in for an exercise: no points for it, and the lesson goes on."""
    if name not in EXERCISES:
        _load_all_lessons()
    if name not in EXERCISES or EXERCISES[name].library is None:
        known = ", ".join(
            n for n, exercise in EXERCISES.items() if exercise.library is not None
        )
        raise CheckFailed(
            f"There is no exercise {name!r} to skip here. The names are: {known}."
        )
    from IPython import get_ipython

    SKIPPED.add(name)
    get_ipython().user_ns[name] = EXERCISES[name].library
    print(
        f"{name} skipped: course_lib's version stands in, for no points. Write your own at any time."
    )


def _load_all_lessons() -> None:
    """A lesson's checks are imported when it first runs one, and an exercise may be skipped before that."""
    for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module(f"{__package__}.{module.name}")


def traceback() -> None:
    """Print the whole trace behind the last message of a check."""
    print(
        LAST_TRACE[-1]
        if LAST_TRACE
        else "No check has failed since the last one that passed."
    )


def shorten_errors() -> None:
    """In a notebook: a name that was never run, or a stub that is not written, is told in one sentence."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and _show_shortly not in vars(shell).values():
        shell.set_custom_exc((NameError, NotImplementedError), _show_shortly)


def _show_shortly(
    shell, kind: type, error: Exception, trace, tb_offset: int | None = None
) -> list[str]:
    name = (
        error.name if kind is NameError else traceback_module.extract_tb(trace)[-1].name
    )
    if name in EXERCISES:
        said = (
            f"There is no {name} yet. Run the cell in which you write it; if that cell shows an error, mend it first."
            if kind is NameError
            else f"{name} is not written yet. Write it in its cell above and run that cell first."
        )
        error._render_traceback_ = CheckFailed(
            wrap(said)
        )._render_traceback_  # what IPython shows instead
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    return []
