"""What our nbgrader preprocessors do to a notebook, one by one; tests/test_nbgrader.py runs the whole pipeline."""

import copy
import itertools
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute
from nbgrader.utils import determine_grade
from traitlets.config.loader import PyFileConfigLoader

from classroom import preprocessors as ours
from tools.inline import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
HIDDEN = "### BEGIN HIDDEN TESTS\ncheck(first, seed=1)\n### END HIDDEN TESTS"
NAMES = ("first", "check_first", "second", "check_second", "why")
POINTS = {"check_first": 3.0, "check_second": 2.0, "why": 1.0}


def cell(name: str, source: str, text: bool = False, **flags):
    make = nbformat.v4.new_markdown_cell if text else nbformat.v4.new_code_cell
    meta = {
        "schema_version": 3,
        "grade_id": name,
        "grade": False,
        "solution": False,
        "task": False,
        **flags,
    }
    return make(source, id=name, metadata={"nbgrader": {"locked": False, **meta}})


def source_notebook():
    blank = "### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
    return nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
        },
        cells=[
            nbformat.v4.new_code_cell("from somewhere import check", id="setup"),
            cell(
                "first",
                f"from math import pi\n\n\ndef first():\n    {blank}",
                solution=True,
            ),
            cell(
                "check_first",
                f"check(first)\n{HIDDEN}",
                grade=True,
                locked=True,
                points=3,
            ),
            cell("second", f"def second():\n    {blank}", solution=True),
            cell("check_second", "check(second)", grade=True, locked=True, points=2),
            cell("why", "Why?", text=True, grade=True, solution=True, points=1),
        ],
    )


@pytest.fixture(scope="module")
def config():
    return PyFileConfigLoader("nbgrader_config.py", path=str(ROOT)).load_config()


@pytest.fixture(scope="module")
def course(config, tmp_path_factory):
    """The gradebook's resources and the release."""
    url = f"sqlite:///{tmp_path_factory.mktemp('course')}/gradebook.db"
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # a new gradebook calls alembic by its name
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        with Gradebook(url) as gradebook:
            gradebook.add_assignment("lesson")
    resources = {
        "nbgrader": {
            "notebook": "lesson",
            "assignment": "lesson",
            "student": ".",
            "db_url": url,
        }
    }
    return resources, run(
        config.GenerateAssignment.preprocessors, source_notebook(), resources, config
    )


@pytest.fixture
def release(course):
    return copy.deepcopy(course[1])


@pytest.fixture
def sanitized(course, config):
    return lambda notebook: run(
        config.Autograde.sanitize_preprocessors,
        copy.deepcopy(notebook),
        course[0],
        config,
    )


def run(steps, notebook, resources, config):
    for step in steps:
        notebook, resources = step(config=config).preprocess(notebook, resources)
    return notebook


def called(notebook, name: str):
    found = [
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == name
    ]
    assert len(found) == 1, f"{len(found)} cells are called {name}"
    return found[0]


def names(notebook) -> list[str]:
    return [
        c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata
    ]


def output(kind: str, **content) -> NotebookNode:
    return nbformat.v4.new_output(kind, **content)


def with_outputs(*outputs, source: str = "cell"):
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, outputs=list(outputs))]
    )


# ---- every released cell once


def test_of_two_copies_of_an_answer_the_last_one_that_was_written_in_counts(
    release, sanitized
):
    for order in ((0, 1), (1, 0)):
        notebook = copy.deepcopy(release)
        pair = [copy.deepcopy(called(notebook, "why")) for _ in range(2)]
        pair[0].source, pair[0].id = "Because.", "copy"
        notebook.cells[-1:] = [pair[i] for i in order]
        assert called(sanitized(notebook), "why").source == "Because."


def test_of_two_copies_of_a_check_the_last_one_counts(release, sanitized):
    twin = copy.deepcopy(called(release, "check_first"))
    twin.source, twin.id = "pass", "copy"
    release.cells.insert(1, twin)
    result = sanitized(release)
    assert names(result) == list(NAMES)
    assert result.cells[1].source == "pass"


@pytest.mark.parametrize(
    "junk",
    [
        {},
        "not a mapping",
        {"grade_id": ["check_first"]},
        {
            "grade_id": "unknown",
            "grade": True,
            "solution": False,
            "locked": True,
            "points": 9,
        },
        {"grade_id": "check_first", "grade": False, "solution": False, "locked": False},
        {"grade_id": "check_first", "grade": True, "points": -1, "schema_version": 1},
        {"grade_id": "check_first", "schema_version": 99},
    ],
    ids=str,
)
def test_whatever_became_of_a_cells_metadata_it_is_graded_as_released(
    junk, release, sanitized
):
    called(release, "check_first").metadata["nbgrader"] = junk
    meta = called(sanitized(release), "check_first").metadata.nbgrader
    assert (meta.grade, meta.solution, meta.locked, meta.points) == (
        True,
        False,
        True,
        3,
    )


@pytest.mark.parametrize(
    "junk", [{}, {"grade_id": "check_first"}, {"grade_id": "first"}], ids=str
)
def test_a_copy_with_strange_metadata_does_not_stop_the_grading(
    junk, release, sanitized
):
    release.cells.append(
        nbformat.v4.new_code_cell("1 + 1", metadata={"nbgrader": junk})
    )
    assert sorted(names(sanitized(release))) == sorted(NAMES)


def test_an_answer_cannot_give_itself_points(release, sanitized):
    called(release, "first").metadata.nbgrader.update(grade=True, points=50)
    meta = called(sanitized(release), "first").metadata.nbgrader
    assert not meta.grade
    assert "points" not in meta


def test_whichever_cells_are_deleted_every_check_comes_back_once_and_in_order(
    release, sanitized
):
    for size in range(1, len(NAMES) + 1):
        for gone in itertools.combinations(NAMES, size):
            notebook = copy.deepcopy(release)
            notebook.cells = [c for c in notebook.cells if c.id not in gone]
            result = sanitized(notebook)
            assert [n for n in names(result) if n in POINTS] == list(POINTS), gone
            assert HIDDEN in called(result, "check_first").source


def test_a_deleted_exercise_leaves_the_imports_that_later_cells_need(
    release, sanitized
):
    release.cells = [c for c in release.cells if c.id not in ("first", "check_first")]
    sources = [c.source for c in sanitized(release).cells]
    assert sources[1] == "from math import pi"
    assert sources[2].startswith("check(first)")
    assert not any("def first" in source for source in sources)


def test_a_deleted_question_waits_to_be_read_since_the_answer_may_stand_elsewhere(
    release, sanitized
):
    release.cells = [c for c in release.cells if c.id != "why"]
    assert determine_grade(called(sanitized(release), "why")) == (None, 1)


def test_a_notebook_without_any_metadata_is_graded_by_its_ids(release, sanitized):
    called(release, "why").source = "Because."
    for c in release.cells:
        c.metadata = NotebookNode()
    result = sanitized(release)
    assert names(result) == list(NAMES)
    assert determine_grade(called(result, "why")) == (None, 1)


def test_without_metadata_and_ids_the_checks_follow_all_that_was_written(
    release, sanitized
):
    for number, c in enumerate(release.cells):
        c.metadata, c.id = NotebookNode(), f"x{number}"
    result = sanitized(release)
    assert [c.source for c in result.cells[:6]] == [c.source for c in release.cells]
    assert names(result) == list(POINTS)


# ---- running


def execute(notebook, **options):
    return ours.RobustExecute(**options).preprocess(notebook, {})[0]


def test_a_loop_is_interrupted_and_one_that_cannot_be_costs_only_the_cells_behind_it():
    stubborn = (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    )
    sources = [
        "print('one')",
        "while True: pass",
        "print('three')",
        stubborn,
        "print('five')",
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(s) for s in sources]
    )
    result = execute(notebook, timeout=2, iopub_timeout=2, startup_timeout=60)
    came = [_what_came(c) for c in result.cells]
    assert came == [
        "one\n",
        "CellTimeoutError",
        "three\n",
        "CellTimeoutError",
        "NotRun",
    ]


def _what_came(c) -> str:
    last = c.outputs[-1]
    return last.text if last.output_type == "stream" else last.ename


def test_kernels_get_the_quick_profile_and_the_environment_is_as_before(monkeypatch):
    seen = []
    monkeypatch.setattr(
        Execute, "preprocess", lambda *_: seen.append(os.environ["COURSE_PROFILE"])
    )
    for before in (None, "full"):
        monkeypatch.setenv("COURSE_PROFILE", before) if before else monkeypatch.delenv(
            "COURSE_PROFILE", raising=False
        )
        ours.RobustExecute().preprocess(None, {})
        assert os.environ.get("COURSE_PROFILE") == before
    assert seen == ["quick", "quick"]


def test_reading_the_configuration_leaves_the_environment_alone():
    before = dict(os.environ)
    PyFileConfigLoader("nbgrader_config.py", path=str(ROOT)).load_config()
    assert dict(os.environ) == before


def test_after_a_dead_kernel_no_cell_is_sent_to_it(monkeypatch):
    def dies(*_):
        raise DeadKernelError

    monkeypatch.setattr(Execute, "preprocess_cell", dies)
    step, cells = (
        ours.RobustExecute(),
        [nbformat.v4.new_code_cell(str(n)) for n in range(3)],
    )
    step._stopped = ""
    for index, c in enumerate(cells):
        step.preprocess_cell(c, {}, index)
    assert [c.outputs[0].ename for c in cells] == [
        "DeadKernelError",
        "NotRun",
        "NotRun",
    ]


# ---- release and feedback


def test_the_release_keeps_no_metadata_but_nbgraders():
    notebook = source_notebook()
    notebook.metadata.update(widgets={"state": 1}, course={"inputs": "x"})
    notebook.cells[1].metadata.update(execution={"a": 1}, tags=["x"], deletable=False)
    result, _ = ours.ClearNoise().preprocess(notebook, {})
    assert set(result.metadata) == {"kernelspec"}
    assert set(result.cells[1].metadata) == {"nbgrader", "deletable"}


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (output("stream", text="x" * 50), "xxxxxxxxxx\n… (cut here)\n"),
        (output("stream", text="short"), "short"),
        (
            output("error", ename="E", evalue="x" * 50, traceback=["x" * 50]),
            "xxxxxxxxxx\n… (cut here)\n",
        ),
        (
            output("display_data", data={"text/plain": "x" * 50}),
            "(output too long to keep)",
        ),
        (
            output("display_data", data={"text/html": "x" * 500}),
            "(output too long to keep)",
        ),
        (
            output(
                "display_data", data={"text/html": "x" * 500, "text/plain": "words"}
            ),
            "words",
        ),
    ],
)
def test_a_long_output_is_cut_whatever_its_kind(made, kept):
    result, _ = ours.LimitChars(max_chars=10, max_rich=100).preprocess(
        with_outputs(made), {}
    )
    (out,) = result.cells[0].outputs
    texts = {
        "stream": lambda: [out.text],
        "error": lambda: [out.evalue, *out.traceback],
    }
    assert set(texts.get(out.output_type, lambda: out.data.values())()) == {kept}


def test_a_picture_is_no_long_text():
    picture = {"image/png": "x" * 90, "text/html": "y" * 90}
    notebook = with_outputs(output("display_data", data=dict(picture)))
    result, _ = ours.LimitChars(max_chars=10, max_rich=100).preprocess(notebook, {})
    assert result.cells[0].outputs[0].data == picture


def test_a_live_widget_leaves_its_still_picture():
    data = {ours.WIDGET: {"model_id": "1"}, "image/png": "x"}
    notebook = with_outputs(output("display_data", data=data))
    notebook.metadata["widgets"] = {}
    result, _ = ours.StillPictures().preprocess(notebook, {})
    assert "widgets" not in result.metadata
    assert result.cells[0].outputs[0].data == {"image/png": "x"}


@pytest.mark.parametrize(
    ("trace", "shown"),
    [
        (
            ["line 1", "----> 3 \x1b[0;32mcheck\x1b[0m(first, seed=1)"],
            ["NameError: no first"],
        ),
        (
            ["\x1b[31mNot yet.\x1b[0m Rows sum to 2."],
            ["\x1b[31mNot yet.\x1b[0m Rows sum to 2."],
        ),
    ],
    ids=["quotes the hidden line", "does not"],
)
def test_feedback_hides_the_hidden_lines_and_every_trace_that_quotes_them(trace, shown):
    error = output("error", ename="NameError", evalue="no first", traceback=trace)
    notebook = with_outputs(error, source=f"check(first)\n{HIDDEN}")
    result, _ = ours.HideHiddenTests().preprocess(notebook, {})
    assert (
        result.cells[0].source == "check(first)\n# (the same check on other inputs)\n"
    )
    assert result.cells[0].outputs[0].traceback == shown


def test_every_test_that_the_grading_document_calls_a_proof_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "GRADING.md").read_text()))
    files = [
        ROOT / "tests" / "test_nbgrader.py",
        ROOT / "tests" / "test_preprocessors.py",
    ]
    there = {
        name
        for path in files
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert named
    assert named <= there
