"""The README's lesson table, made from the built notebooks; never typed."""

import re
import tomllib

import nbformat

from tools.inline import ROOT
from tools.lessons import Lesson, lessons

README = ROOT / "README.md"
BEGIN, END = "<!-- lessons: made by `make build` -->", "<!-- end of lessons -->"
HEAD = (
    "| Lesson | Minutes (estimate) | Graded exercises | Points | Seconds to run | Peak memory |{links}\n"
    "|---|---|---|---|---|---|{rule}\n"
)


def row(lesson: Lesson, repository: str) -> str:
    notebook = nbformat.read(lesson.solution, 4)
    opening = notebook.cells[0].source
    title = re.match(r"# (.+)", opening)[1]
    minutes = re.search(r"[Aa]bout (\d+) minutes", opening)[1]
    graded = [
        cell.metadata.nbgrader
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    automatic = sum(not meta.solution for meta in graded)
    measured = notebook.metadata.course.measured
    memory = (
        f"{measured.memory_mb / 1000:.1f} GB" if measured.memory_mb else "not measured"
    )
    link = f"[{lesson.number} · {title}](notebooks/{lesson.name}/{lesson.name}.ipynb)"
    cells = [
        link,
        minutes,
        str(automatic),
        str(sum(meta.points for meta in graded)),
        f"{measured.seconds}",
        memory,
    ]
    return "| " + " | ".join(cells) + " |" + _links(lesson, repository)


def _links(lesson: Lesson, repository: str) -> str:
    if not repository:
        return ""
    path = f"notebooks/{lesson.name}/{lesson.name}.ipynb"
    name = repository.removeprefix("https://github.com/")
    colab = f"[Colab](https://colab.research.google.com/github/{name}/blob/main/{path})"
    binder = f"[Binder](https://mybinder.org/v2/gh/{name}/main?labpath={path})"
    return f" {colab} · {binder} |"


def table() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        repository = tomllib.load(file)["tool"]["course"]["repository"]
    head = HEAD.format(
        links=" Open in |" if repository else "", rule="---|" if repository else ""
    )
    return head + "\n".join(row(lesson, repository) for lesson in lessons())


def _rewritten() -> str:
    before, _, rest = README.read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def write() -> None:
    README.write_text(_rewritten())


def stale() -> list[str]:
    return (
        []
        if README.read_text() == _rewritten()
        else ["README.md: the lesson table is not what the notebooks say"]
    )
