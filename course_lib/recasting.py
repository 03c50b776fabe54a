"""Cells made from cells: an answer under its released name, an edit as text, a note.

Each function returns a new cell and leaves the one it was given alone.
"""

import copy

from course_lib.cells import digest, grade_id

HEADING = "no-longer-in-the-course"  # the id of the heading over what is gone
GONE_TEXT = (
    "## No longer in the course\n\nYour answers to exercises that were taken out."
)
NEW_STUB = "# The course has changed this exercise's first lines. They are now:\n\n"
NEW_QUESTION = "*The course has changed this question. It is now:*\n\n"
NOTE = "-note"  # how the ids of such texts end
YOURS = (
    "# Yours. The course has changed this cell; to run it, press Esc and then Y.\n\n"
)


def note(name: str, text: str, kind: str = "markdown"):
    """A cell of text under a name of its own."""
    from nbformat import NotebookNode

    return NotebookNode(id=name, cell_type=kind, metadata=NotebookNode(), source=text)


def note_below(released, lead: str, kind: str):
    """The released text under one sentence, always with the same id: added once."""
    text = lead + released.source
    return note(f"{released.id[:40]}-{digest(released)}{NOTE}", text, kind)


def dressed(theirs, released):
    """The learner's cell, with its output, under the released one's name and flags."""
    cell = copy.deepcopy(theirs)
    if grade_id(released):
        cell = _of_kind(cell, released.cell_type)
    kept = {k: v for k, v in cell.metadata.items() if k != "nbgrader"}
    cell.metadata = {**kept, **copy.deepcopy(released.metadata)}
    cell.id = released.id
    return cell


def _of_kind(cell, kind: str):
    """This very cell as code or as markdown; outputs go with code only."""
    if cell.cell_type != kind:
        for part in ("outputs", "execution_count"):
            cell.pop(part, None)
        if kind == "code":
            cell.pop("attachments", None)
            cell.outputs, cell.execution_count = [], None
        cell.cell_type = kind
    return cell


def as_text(cell):
    """An edited cell of the course that is out of date: kept, but not to be run."""
    if cell.cell_type != "code":
        return cell
    text = _of_kind(copy.deepcopy(cell), "raw")
    text.source = YOURS + cell.source
    text.id = f"{cell.id}-yours"
    return text


def without_name(cell):
    """A cell that nobody grades."""
    cell = copy.deepcopy(cell)
    for part in ("nbgrader", "deletable", "editable"):
        cell.metadata.pop(part, None)
    return cell


def earlier_version(cell):
    """An earlier version of an answer: kept as a cell that nobody grades."""
    cell = without_name(cell)
    cell.id = f"{cell.get('id', digest(cell))[:50]}-earlier"
    return cell
