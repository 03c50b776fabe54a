"""The student's notebook as it is handed out: it runs, every check says no, and the answers make it say yes."""

import nbformat
import pytest
from nbclient import NotebookClient

from tools.lessons import lessons, read

LESSONS = lessons()


def run(notebook, folder, monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    options = {
        "timeout": 300,
        "allow_errors": True,
        "kernel_name": "python3",
        "record_timing": False,
    }
    NotebookClient(
        notebook, resources={"metadata": {"path": str(folder)}}, **options
    ).execute()
    return notebook


def errors(cell) -> list[str]:
    return [
        output.ename
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def is_check(cell) -> bool:
    meta = cell.metadata.get("nbgrader", {})
    return bool(meta.get("grade") and not meta.get("solution"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_blank_notebook_fails_every_check_and_nothing_before_the_first_stub(
    lesson, tmp_path, monkeypatch
):
    notebook = run(nbformat.read(lesson.student, 4), tmp_path, monkeypatch)
    stub_seen = False
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        stub_seen |= "raise NotImplementedError" in cell.source
        assert stub_seen or not errors(cell), (
            f"fails before the first exercise: {cell.source}"
        )
        assert not is_check(cell) or errors(cell) == ["CheckFailed"], (
            f"passes or crashes on a blank notebook: {cell.source}"
        )
        allowed = {
            "NotImplementedError",
            "NameError",
            "CheckFailed",
        }  # a cell that uses what is not written yet
        assert set(errors(cell)) <= allowed, f"{errors(cell)} in {cell.source}"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_the_solutions_put_into_the_students_notebook_pass_every_check_silently(
    lesson, tmp_path, monkeypatch
):
    answers = {
        c.metadata.nbgrader.grade_id: c
        for c in read(lesson).cells
        if c.metadata.get("nbgrader", {}).get("solution")
    }
    notebook = nbformat.read(lesson.student, 4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.metadata.nbgrader.grade_id].source
    run(notebook, tmp_path, monkeypatch)
    for cell in notebook.cells:
        assert not errors(cell), cell.source
        if is_check(cell):
            kinds = {output.get("name", output.output_type) for output in cell.outputs}
            assert kinds == {"stdout"}, (
                f"a value is read as partial credit, stderr as failure: {cell.source}"
            )
