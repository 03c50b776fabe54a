"""A lesson's text becomes the instructor's notebook, before anything is run.

Cell markers in lessons/NN_slug.py and what the build makes of them (docs/AUTHORING.md shows each):

    # %% exercise="name"                        one import line -> the library's text with solution markers
    # %% check="name" points=2                  one check call -> graded cell, hidden tests added
    # %% test="name"                            a test that learners write; markers stand in the lesson
    # %% [markdown] reflect="name" points=1     a written answer, graded by hand
"""

import ast
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from tools.inline import BEGIN, END, ROOT, Bound, BuildError, answer_cell, must_compile

KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
MARKS = {  # what may stand beside each marker
    "exercise": {"methods", "keep"},
    "check": {"points"},
    "test": set(),
    "reflect": {"points"},
}
HIDDEN = "### BEGIN HIDDEN TESTS\nchecks.{lesson}.{name}({name}, seed=checks.grading_seed())\n### END HIDDEN TESTS"


@dataclass(frozen=True)
class Lesson:
    path: Path

    @property
    def name(self) -> str:  # 00_start_here
        return self.path.stem

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def slug(self) -> str:
        return self.name[3:]

    @property
    def solution(self) -> Path:
        return ROOT / "solutions" / self.name / f"{self.name}.ipynb"

    @property
    def student(self) -> Path:
        return ROOT / "notebooks" / self.name / f"{self.name}.ipynb"


def lessons(number: str = "") -> list[Lesson]:
    """All lessons in order, or the one with this number."""
    found = [
        Lesson(path) for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
    ]
    chosen = [
        lesson for lesson in found if not number or lesson.number == number.zfill(2)
    ]
    numbers = [lesson.number for lesson in found]
    if doubled := {n for n in numbers if numbers.count(n) > 1}:
        raise BuildError(f"two lessons have the number {', '.join(sorted(doubled))}")
    if not chosen:
        raise BuildError(
            f"there is no lesson {number}; there are {', '.join(x.number for x in found)}"
        )
    return chosen


def read(lesson: Lesson) -> NotebookNode:
    """The instructor's notebook without outputs: markers expanded, ids stable, metadata bare."""
    source = jupytext.read(lesson.path, fmt="py:percent")
    bound, answers, seen = Bound(), set(), set()
    for cell in source.cells:
        try:
            _expand(cell, lesson, bound, answers, seen)
        except (BuildError, SyntaxError) as error:
            raise BuildError(
                f"{lesson.path.name}, cell {cell.source.splitlines()[0]!r}: {error}"
            ) from error
    notebook = nbformat.v4.new_notebook(
        cells=source.cells,
        metadata={
            "kernelspec": KERNEL,
            "language_info": {"name": "python"},
            "course": {"inputs": inputs(lesson)},
        },
    )
    _give_ids(notebook)
    nbformat.validate(notebook)
    return notebook


def _expand(
    cell: NotebookNode, lesson: Lesson, bound: Bound, answers: set[str], seen: set[str]
) -> None:
    kind, name, options = _marker(cell)
    tags = cell.metadata.get("tags", [])
    cell.metadata = NotebookNode(tags=list(tags)) if tags else NotebookNode()
    if kind:
        grade_id = f"{kind}_{name}" if kind in ("check", "test") else name
        if grade_id in seen:
            raise BuildError(f"two cells are called {grade_id!r}")
        seen.add(grade_id)
        write = {
            "exercise": _exercise,
            "check": _check,
            "test": _test,
            "reflect": _reflect,
        }
        write[kind](cell, name, options, lesson, bound, answers)
        cell.metadata["nbgrader"] = _flags(kind, grade_id, options)
    if cell.cell_type == "code" and kind != "exercise":
        bound.add_cell(cell.source)


def _marker(cell: NotebookNode) -> tuple[str, str, dict]:
    """What kind of cell it is, its name and its options; all three empty for an ordinary cell."""
    kinds = [key for key in cell.metadata if key in MARKS]
    kind = kinds[0] if kinds else ""
    ignored = {"tags", "lines_to_next_cell"}  # jupytext notes the second one itself
    unknown = set(cell.metadata) - {kind} - MARKS.get(kind, set()) - ignored
    if unknown:
        raise BuildError(
            f"unknown or conflicting cell markers: {sorted({*kinds, *unknown})}"
        )
    options = {
        key: value
        for key, value in cell.metadata.items()
        if key in MARKS.get(kind, set())
    }
    return kind, cell.metadata.get(kind, ""), options


def _flags(kind: str, grade_id: str, options: dict) -> dict:
    """nbgrader's long markers for our short ones."""
    graded = kind in ("check", "reflect")
    flags = {"schema_version": 3, "grade_id": grade_id, "grade": graded, "task": False}
    flags |= {"solution": kind != "check", "locked": kind == "check"}
    if graded:
        if type(options.get("points")) is not int or options["points"] < 1:
            raise BuildError(f"{grade_id} needs points=, a whole number")
        flags["points"] = options["points"]
    return flags


def _exercise(cell, name, options, lesson, bound, answers) -> None:
    if BEGIN not in cell.source:  # else it lives only in this lesson
        methods = tuple(
            x.strip() for x in options.get("methods", "").split(",") if x.strip()
        )
        keep = tuple(x.strip() for x in options.get("keep", "").split("|") if x.strip())
        cell.source, origin = answer_cell(
            cell.source.strip(), bound, answers, methods, keep
        )
        answers.add(origin)
    must_compile(cell.source, name)


def _check(cell, name, options, lesson, bound, answers) -> None:
    wanted = f"checks.{lesson.slug}.{name}({name})"
    if cell.source.strip() != wanted:
        raise BuildError(f"the check cell of {name} holds one line, {wanted}")
    cell.source = wanted + "\n" + HIDDEN.format(lesson=lesson.slug, name=name)
    cell.metadata["tags"] = ["nbval-check-output"]


def _test(cell, name, options, lesson, bound, answers) -> None:
    if (
        BEGIN not in cell.source
        or END not in cell.source
        or f"def test_{name}(" not in cell.source
    ):
        raise BuildError(
            f"a test cell defines test_{name} with {BEGIN} … {END} around what learners write"
        )


def _reflect(cell, name, options, lesson, bound, answers) -> None:
    question, found, model = cell.source.partition("\nA good answer:")
    if not found:
        raise BuildError(
            "a reflect cell ends in a paragraph that begins with 'A good answer:'"
        )
    marks = [
        f"<!-- {mark.strip('# ')} -->" for mark in (BEGIN, END)
    ]  # nbgrader sees them, a reader does not
    cell.source = f"{question.rstrip()}\n\n{marks[0]}\n**A good answer:**{model.rstrip()}\n{marks[1]}"


def _give_ids(notebook: NotebookNode) -> None:
    """Ids from names, or from the source: two builds of one text give the same bytes."""
    counts: dict[str, int] = {}
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        digest = hashlib.sha256(
            f"{cell.cell_type}\0{cell.source}".encode()
        ).hexdigest()[:12]
        base = re.sub(r"[^a-zA-Z0-9_-]", "-", name)[:60] if name else digest
        counts[base] = counts.get(base, 0) + 1
        cell["id"] = base if counts[base] == 1 else f"{base}-{counts[base]}"
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


# --- what an output depends on ----------------------------------------------------------------------


def inputs(lesson: Lesson) -> str:
    """One hash over everything a committed output was made from: text, imported modules, data, torch."""
    digest = hashlib.sha256()
    for path in sorted(_closure(lesson)):
        digest.update(
            f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0"
        )
    torch_pin = re.search(
        r"^torch==\S+", (ROOT / "requirements.txt").read_text(), re.M
    )[0]
    digest.update(torch_pin.encode())
    return digest.hexdigest()


def _closure(lesson: Lesson) -> set[Path]:
    """The lesson and every file of course_lib that it reaches, with its recorded curves and the weights."""
    todo = [lesson.path, ROOT / "course_lib" / "checks" / f"{lesson.slug}.py"]
    found: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        todo += imported_modules(path)
    if any(path.parent == ROOT / "course_lib" / "pretrained" for path in found):
        folder = ROOT / "course_lib" / "weights"
        found |= {*folder.glob("*.safetensors"), *folder.glob("*.json")}
    return found | set((ROOT / "course_lib" / "curves").glob(f"{lesson.name}.json"))


def imported_modules(path: Path) -> list[Path]:
    """The files of course_lib that a file imports, anywhere in it, and the faces of their packages."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "course_lib":
                found += _files_of(name)
    return found


def _files_of(name: str) -> list[Path]:
    """Every file that Python runs to import course_lib.a.b: a package's __init__.py runs before its modules."""
    parts = name.split(".")
    bases = [ROOT.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
    files = [
        f for base in bases for f in (base.with_suffix(".py"), base / "__init__.py")
    ]
    return [file for file in files if file.exists()]
