"""What a cell of a saved notebook is: the course's, an answer, or the learner's own.

The build names every cell: an exercise's by the exercise, any other by a digest of its
text. So an untouched cell of any release, old or new, shows in itself that it is one.
Nothing here runs a cell or writes a file.
"""

import ast
import hashlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.desk import DeskError

TODO = "raise NotImplementedError"  # what a blank stub does
PLACEHOLDER = "YOUR ANSWER HERE"  # what stands in an unwritten answer


class Damaged(DeskError):
    """A file that is no notebook any more; the message says in what way."""


def parse(data: bytes, path: Path):
    """A notebook from the bytes of a file, or Damaged.

    >>> parse(b'{"cells": [', Path("work/00/00.ipynb"))
    Traceback (most recent call last):
    course_lib.cells.Damaged: 00.ipynb is damaged (NotJSONError).
    """
    import nbformat

    try:
        with _quiet():
            notebook = nbformat.reads(data.decode("utf-8-sig"), 4)
        for cell in notebook.cells:
            _must_have_parts(cell)
    except MemoryError:  # says something about the machine, nothing about the file
        raise
    except Exception as error:
        kind = type(error).__name__
        raise Damaged(f"{path.name} is damaged ({kind}).") from error
    return notebook


@contextmanager
def _quiet() -> Iterator[None]:
    """nbformat warns and logs about missing ids and odd parts, which are no news here."""
    log = logging.getLogger("traitlets")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _must_have_parts(cell) -> None:
    """What is read here must be there; whatever else a notebook holds is its affair."""
    known = cell.cell_type in ("code", "markdown", "raw")
    if not (known and isinstance(cell.source, str) and hasattr(cell.metadata, "get")):
        raise ValueError("a cell without a kind, a text or metadata")
    for output in cell.outputs if cell.cell_type == "code" else []:
        if not isinstance(output.output_type, str):
            raise ValueError("an output without a kind")


def digest(cell) -> str:
    """The id that the build gives to a cell with this text, if it names no exercise.

    >>> from nbformat.v4 import new_markdown_cell
    >>> digest(new_markdown_cell("# Start here"))
    'b3e5c8e42a62'
    """
    text = f"{cell.cell_type}\0{cell.source}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def verbatim(cell) -> bool:
    """Is this a cell of the course, of whichever release, as it was released?"""
    return re.fullmatch(rf"{digest(cell)}(-\d+)?", cell.get("id", "")) is not None


def edited(cell) -> bool:
    """Was this a cell of the course once, whose text is another one by now?"""
    named = re.fullmatch(r"[0-9a-f]{12}(-\d+)?", cell.get("id", ""))
    return named is not None and not verbatim(cell)


def grade_id(cell) -> str:
    """An exercise's or a check's name, "" for every other cell."""
    meta = cell.metadata.get("nbgrader")
    name = meta.get("grade_id") if isinstance(meta, dict) else ""
    return name if isinstance(name, str) else ""


def flag(cell, name: str) -> bool:
    """One of nbgrader's flags: solution, grade or locked."""
    meta = cell.metadata.get("nbgrader")
    return bool(isinstance(meta, dict) and meta.get(name))


def copies(notebook, name: str) -> list:
    """Every cell of that name, by its metadata or, where that is gone, by its id."""
    return [
        cell
        for cell in notebook.cells
        if name in (grade_id(cell), "" if grade_id(cell) else cell.get("id"))
    ]


def that_counts(cells: list, released) -> object | None:
    """Of several copies the last that was written in, as when marks are given."""
    changed = [cell for cell in cells if cell.source.strip() != released.source.strip()]
    return next(reversed(changed or cells), None)


def same_code(one: str, other: str) -> bool:
    """Do both texts do the same? Comments, docstrings and layout do not count.

    >>> same_code("def f():\\n    'old'\\n    return 1", "def f(): return 1  # new")
    True
    """
    try:
        return _bare(one) == _bare(other)
    except (SyntaxError, ValueError):  # half typed, or not Python at all
        return one.split() == other.split()


def _bare(source: str) -> str:
    """Python's tree of a text without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(
        getattr(node.value, "value", None), str
    )


def blank(
    source: str, stubs: Iterable[str], kind: str = "code", known: bool = False
) -> bool:
    """Is nothing written here yet? stubs: what releases put there.

    known: among the stubs is the one that stood here. Otherwise a text is blank, too,
    if it does what a stub does, has no remark that the stub has not, and still raises
    NotImplementedError: another release may have said the same in other words.
    """
    stubs = [stub.strip() for stub in stubs]
    if source.strip() in stubs or not source.strip():
        return True
    if kind == "markdown":
        return any(not _answered(source, stub) for stub in stubs)
    return (
        not known
        and TODO in source
        and any(
            same_code(source, stub) and _remarks(source) <= _remarks(stub)
            for stub in stubs
        )
    )


def _answered(source: str, stub: str) -> bool:
    """Does a written answer hold a line that was not there from the start?"""
    given = {line.strip() for line in stub.splitlines()} | {"", PLACEHOLDER}
    return any(line.strip() not in given for line in source.splitlines())


def _remarks(source: str) -> set[str]:
    return {remark.strip() for remark in re.findall(r"#.*", source)}


def defines(cell, name: str) -> bool:
    """Does a code cell define this function, class or name at its left edge?

    >>> from nbformat.v4 import new_code_cell
    >>> defines(new_code_cell("gae = my_version"), "gae")
    True
    """
    pattern = rf"^(?:(?:async )?def|class) {re.escape(name)}\b|^{re.escape(name)}\s*="
    found = re.search(pattern, cell.source, re.M)
    return cell.cell_type == "code" and found is not None
