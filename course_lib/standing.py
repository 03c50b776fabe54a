"""Where each exercise of a saved notebook stands, from the file alone: nothing is run.

A passed check has left its sentence under the check cell. That sentence says nothing
about what was typed since. So the text that passed is remembered by its digest, and an
answer that differs from it is to be checked again. Before anything is remembered, the
numbers that Jupyter gives to cells tell which of the two was run last. Left out: an
edit between a check and the first look at the saved file shows in neither.
"""

import hashlib
import re
from dataclasses import dataclass

from course_lib.cells import (
    blank,
    copies,
    defines,
    flag,
    grade_id,
    that_counts,
    verbatim,
)

SOLVED, AGAIN, FAILED, UNCHECKED, SKIPPED, BLANK, GONE, WRITTEN = (
    "solved",
    "to check again",
    "not right yet",
    "not checked yet",
    "skipped",
    "blank",
    "its cell is missing",
    "written",
)


@dataclass(frozen=True)
class Exercise:
    """What a release asks for: one graded cell, and the card above it."""

    name: str
    title: str  # the heading of its card
    points: int
    stub: str  # the text of its blank cell
    by_hand: bool  # a written answer, which a teacher reads


@dataclass(frozen=True)
class Standing:
    """One exercise and how far it is."""

    exercise: Exercise
    state: str

    @property
    def settled(self) -> bool:
        return self.state in (SOLVED, WRITTEN)

    @property
    def points(self) -> int:
        """Points that a check has given; written answers have none yet."""
        return self.exercise.points if self.state == SOLVED else 0


def exercises(release) -> list[Exercise]:
    """What a release asks for, in its order."""
    found, title = [], ""
    stubs = {grade_id(c): c.source for c in release.cells if flag(c, "solution")}
    for cell in release.cells:
        if heading := re.search(r"^### (Exercise .+)$", cell.source, re.M):
            title = heading[1] if cell.cell_type == "markdown" else title
        if flag(cell, "grade"):
            name = grade_id(cell).removeprefix("check_")
            by_hand = flag(cell, "solution")
            points = int(cell.metadata.nbgrader.points)
            card = "" if by_hand else title
            found.append(Exercise(name, card, points, stubs.get(name, ""), by_hand))
    return found


def standings(notebook, release, passed: dict[str, list[str]]) -> list[Standing]:
    """How far each exercise of the release is in a learner's notebook.

    passed: what `remember` returned when this notebook was last looked at, or {}.
    """
    return [
        Standing(exercise, _state(notebook, release, exercise, passed))
        for exercise in exercises(release)
    ]


def remember(notebook, release, passed: dict[str, list[str]]) -> dict[str, list[str]]:
    """What passed, for the next look: exercise -> [digest of the answer, of the run]."""
    known = {}
    for exercise in exercises(release):
        state = _state(notebook, release, exercise, passed)
        texts = _digest([c.source for c in _answers(notebook, exercise)])
        if state == SOLVED:
            known[exercise.name] = [texts, _run(_check(notebook, release, exercise))]
        elif exercise.name in passed:
            known[exercise.name] = passed[exercise.name]
    return known


def _state(notebook, release, exercise: Exercise, passed: dict) -> str:
    cells = _answers(notebook, exercise)
    if not cells:
        return GONE
    kind = "markdown" if exercise.by_hand else "code"
    empty = all(blank(cell.source, [exercise.stub], kind) for cell in cells)
    if exercise.by_hand:
        return BLANK if empty else WRITTEN
    said = _verdict(_check(notebook, release, exercise), exercise.name)
    if empty and said != SKIPPED:
        return BLANK
    if said == SOLVED and not _still_true(notebook, release, exercise, passed):
        return AGAIN
    return said


def _answers(notebook, exercise: Exercise) -> list:
    """The cell that counts, and cells of the learner's own that define the same name."""
    marked = copies(notebook, exercise.name)
    counts = that_counts(marked, _Stub(exercise.stub)) if marked else None
    return [
        cell
        for cell in notebook.cells
        if cell is counts
        or (
            not (grade_id(cell) or verbatim(cell) or cell in marked)
            and defines(cell, exercise.name)
        )
    ]


@dataclass(frozen=True)
class _Stub:
    source: str


def _check(notebook, release, exercise: Exercise):
    """The check cell that was run last, None if there is none with the released text."""
    name = f"check_{exercise.name}"
    wanted = copies(release, name)[0].source.strip()
    unchanged = [c for c in copies(notebook, name) if c.source.strip() == wanted]
    return max(unchanged, key=_count, default=None)


def _count(cell) -> int:
    return cell.get("execution_count") or 0


def _verdict(check, name: str) -> str:
    """What the saved output of a check says."""
    if check is None or not check.get("outputs"):
        return UNCHECKED
    if any(output.output_type == "error" for output in check.outputs):
        return FAILED
    said = "".join(output.get("text", "") for output in check.outputs)
    found = re.search(rf"^{re.escape(name)} (is right\.|was skipped)", said, re.M)
    return {"is right.": SOLVED, "was skipped": SKIPPED}.get(
        found and found[1], UNCHECKED
    )


def _still_true(notebook, release, exercise: Exercise, passed: dict) -> bool:
    """Is the answer the text that passed? Else: was it run before a check that is new?"""
    cells, check = (
        _answers(notebook, exercise),
        _check(notebook, release, exercise),
    )
    text, run = passed.get(exercise.name, ["", ""])
    if text == _digest([cell.source for cell in cells]):
        return True
    numbers = [_count(cell) for cell in cells if _count(cell)]
    return run != _run(check) and bool(numbers) and max(numbers) <= _count(check)


def _run(check) -> str:
    """Tells one run of a check cell from the next."""
    said = [str(output.get("text", "")) for output in check.outputs]
    when = check.metadata.get("execution", "")  # if JupyterLab records times
    return _digest([str(_count(check)), str(when), *said])


def _digest(texts: list[str]) -> str:
    """One short name for several texts.

    >>> _digest(["a", "b"]) == _digest(["ab"])
    False
    """
    joined = "\0".join(texts).encode()
    return hashlib.sha256(joined).hexdigest()[:12]
