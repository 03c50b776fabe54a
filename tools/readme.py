"""The README's lesson table, made from the built notebooks; never typed."""

import re

import nbformat

from course_lib.desk import write_whole
from tools.inline import ROOT, BuildError
from tools.lessons import Lesson, lessons

README = ROOT / "README.md"
BEGIN, END = "<!-- lessons: made by `make build` -->", "<!-- end of lessons -->"
HEAD = """\
| Lesson | Minutes (estimate) | Graded exercises | Points | Seconds to run | Peak memory |
|---|---|---|---|---|---|
"""


def row(lesson: Lesson) -> str:
    notebook = nbformat.read(lesson.solution, 4)
    opening = notebook.cells[0].source
    title = re.match(r"# (.+)", opening)
    minutes = re.search(r"[Aa]bout (\d+) minutes", opening)
    if not title or not minutes:
        raise BuildError(
            f"{lesson.name}: the first cell needs `# Title` and `About N minutes`"
        )
    cells = [c.metadata.nbgrader for c in notebook.cells if "nbgrader" in c.metadata]
    graded = [meta for meta in cells if meta.grade]
    measured = notebook.metadata.course.measured
    memory = (
        f"{measured.memory_mb / 1000:.1f} GB" if measured.memory_mb else "not measured"
    )
    entries = (
        f"[{lesson.number} · {title[1]}](notebooks/{lesson.name}/{lesson.name}.ipynb)",
        minutes[1],
        sum(not meta.solution for meta in graded),
        sum(meta.points for meta in graded),
        measured.seconds,
        memory,
    )
    return f"| {' | '.join(map(str, entries))} |"


def _rewritten() -> str:
    """Lessons that were never built have no row; `make check` says that they are missing."""
    table = HEAD + "\n".join(row(x) for x in lessons() if x.solution.exists())
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def write() -> None:
    write_whole(README, _rewritten())


def stale() -> list[str]:
    same = README.read_text(encoding="utf-8") == _rewritten()
    return [] if same else ["README.md: the lesson table is not what the notebooks say"]
