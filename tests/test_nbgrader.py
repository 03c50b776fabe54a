"""The course as an nbgrader course: the stock commands, run on a copy, on submissions as classes hand them in.

One `nbgrader autograde` marks all students of CLASS. Several accidents share a submission where each hits
another exercise, so that its marks tell them apart. Points are read from the release.
"""

import copy
import csv
import html
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import torch

from course_lib.checks import start_here
from course_lib.checks.exercises import CheckFailed

ROOT = Path(__file__).parents[1]
LESSON = "00_start_here"
FILE = f"{LESSON}.ipynb"
STUB = "raise NotImplementedError"
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

# ---- what learners hand in


def meta(cell) -> dict:
    return cell.metadata.get("nbgrader", {})


def cell_called(notebook, name: str):
    return next(cell for cell in notebook.cells if meta(cell).get("grade_id") == name)


def put(notebook, name: str, text: str, place: str = "instead of") -> None:
    """Write a cell, or add a plain one before or behind it."""
    cell = cell_called(notebook, name)
    if place == "instead of":
        cell.source = text
    else:
        index = notebook.cells.index(cell) + (place == "behind")
        notebook.cells.insert(index, nbformat.v4.new_code_cell(text))


def solved(release):
    """The release with every answer written and every question answered."""
    notebook = copy.deepcopy(release)
    solutions = nbformat.read(ROOT / "solutions" / LESSON / FILE, 4)
    for cell in notebook.cells:
        if meta(cell).get("solution"):
            text = cell_called(solutions, meta(cell)["grade_id"]).source
            cell.source = re.sub(
                r"^ *### (BEGIN|END) SOLUTION\n?", "", text, flags=re.M
            )
    return notebook


def exercises(notebook):
    """Only the setup cell and what is marked: learners may delete other cells, and it saves many seconds."""
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = [cell for cell in notebook.cells if cell is setup or meta(cell)]
    return notebook


UNSHIFTED = """def token_logprobs(logits, ids):
    return (logits.exp() / logits.exp().sum(-1, keepdim=True)).gather(-1, ids.unsqueeze(-1)).squeeze(-1).log()
"""
ALL_POSITIONS = """from course_lib.masks import masked_sum

def masked_mean(values, mask, dim=None):
    return masked_sum(values, mask, dim) / (values.numel() if dim is None else values.shape[dim])
"""
BY_HEART = """
written, book = pad_batch, {}

def recorded(*arguments, **options):
    return book.setdefault(repr((arguments, options)), written(*arguments, **options))

checks.start_here.pad_batch(recorded)

def pad_batch(*arguments, **options):
    return book.get(repr((arguments, options)), next(iter(book.values())))
"""


def right(release):
    return solved(release)


def blank(release):
    return release


def wrong(release):
    """softmax blank, two answers wrong, and best_labels right, which calls softmax."""
    notebook = exercises(solved(release))
    put(notebook, "softmax", cell_called(release, "softmax").source)
    put(notebook, "token_logprobs", UNSHIFTED)
    put(notebook, "masked_mean", ALL_POSITIONS)
    return notebook


def shortcuts(release):
    """softmax skipped, pad_batch learned by heart, masked_mean imported, accumulated_mean wrapped."""
    notebook = exercises(solved(release))
    put(notebook, "softmax", cell_called(release, "softmax").source)
    put(notebook, "softmax", 'checks.skip("softmax")', place="behind")
    put(
        notebook,
        "pad_batch",
        cell_called(notebook, "pad_batch").source + "\n" + BY_HEART,
    )
    put(notebook, "masked_mean", "from course_lib.masks import masked_mean, masked_sum")
    wrapped = (
        "from course_lib import masks\n\n"
        "def accumulated_mean(losses, kept):\n    return masks.accumulated_mean(losses, kept)"
    )
    put(notebook, "accumulated_mean", wrapped)
    return notebook


def copied(release):
    """Cells copied and pasted (nbgrader #1083): an answer, a check in front of its exercise, a question."""
    notebook = exercises(solved(release))
    for name, place in (
        ("softmax", "behind"),
        ("check_pad_batch", "in front"),
        ("why_mask", "behind"),
    ):
        twin = copy.deepcopy(cell_called(notebook, name))
        twin["id"] = f"copy-of-{name}"
        target = cell_called(notebook, name.removeprefix("check_"))
        notebook.cells.insert(notebook.cells.index(target) + (place == "behind"), twin)
        if name == "why_mask":
            twin.source = cell_called(
                release, name
            ).source  # the answer stands in the first of the two
    return notebook


def untidy(release):
    """Right answers in a notebook that was handled roughly; each accident hits another exercise."""
    notebook = exercises(solved(release))
    noisy = "import sys, warnings\nprint('careful', file=sys.stderr)\nwarnings.warn('careful')\nreturn "
    put(
        notebook,
        "softmax",
        cell_called(notebook, "softmax").source.replace("return ", _indent(noisy)),
    )
    put(notebook, "check_softmax", "print('x' * 30_000_000)", place="behind")
    notebook.cells.remove(cell_called(notebook, "check_token_logprobs"))
    for name in ("pad_batch", "check_pad_batch"):
        notebook.cells.remove(cell_called(notebook, name))
    cell_called(notebook, "masked_mean").metadata["nbgrader"].update(
        grade=True, points=50
    )
    cell_called(notebook, "check_masked_mean").metadata["nbgrader"].update(
        points=99, locked=False
    )
    cell_called(notebook, "check_best_labels").metadata["nbgrader"].update(
        grade=False, locked=False, schema_version=1
    )
    put(notebook, "check_accumulated_mean", "pass")
    del cell_called(notebook, "why_cuts").metadata["nbgrader"]
    return notebook


def _indent(lines: str) -> str:
    return lines.replace("\n", "\n    ")


def crashed(release):
    """The kernel is killed behind the third check."""
    notebook = exercises(solved(release))
    put(notebook, checks_of(release)[2], "import os\nos._exit(1)", place="behind")
    return notebook


def checks_of(release) -> list[str]:
    return [
        meta(c)["grade_id"]
        for c in release.cells
        if meta(c).get("grade") and not meta(c)["solution"]
    ]


CLASS = {
    make.__name__: make
    for make in (blank, copied, crashed, right, shortcuts, untidy, wrong)
}
GARBLED = "garbled"  # a file that is no notebook any more
LOSES = {  # which exercises give no points; all others give theirs in full
    "right": set(),
    "copied": set(),
    "untidy": {"pad_batch"},  # deleted, exercise and check
    "wrong": {"softmax", "token_logprobs", "masked_mean"},
    "shortcuts": {"softmax", "pad_batch", "masked_mean", "accumulated_mean"},
}

# ---- one run for all


@dataclass(frozen=True)
class Course:
    """A copy of the course after all commands."""

    folder: Path
    said: dict[str, subprocess.CompletedProcess]
    marks: dict[
        str, dict[str, tuple[float | None, bool]]
    ]  # student -> cell -> points, to be read by hand
    export: dict[str, dict[str, str]]
    release: nbformat.NotebookNode
    committed: bytes  # the student's notebook in the repository

    def points(self, name: str) -> float:
        return float(meta(cell_called(self.release, name))["points"])

    def got(self, student: str) -> dict[str, float]:
        return {name: self.marks[student][name][0] for name in checks_of(self.release)}

    def feedback(self, student: str) -> str:
        return (
            self.folder / "feedback" / student / LESSON / f"{LESSON}.html"
        ).read_text()

    def graded(self, student: str):
        return nbformat.read(self.folder / "autograded" / student / LESSON / FILE, 4)


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Course:
    folder = tmp_path_factory.mktemp("course")
    _copy_course(folder)
    committed = (ROOT / "notebooks" / LESSON / FILE).read_bytes()
    said = {
        "generate_assignment": _nbgrader(
            folder, "generate_assignment", LESSON, "--force"
        )
    }
    release = nbformat.read(folder / "notebooks" / LESSON / FILE, 4)
    for student, make in CLASS.items():
        (folder / "submitted" / student / LESSON).mkdir(parents=True)
        nbformat.write(
            make(copy.deepcopy(release)), folder / "submitted" / student / LESSON / FILE
        )
    (folder / "submitted" / "untidy" / LESSON / "torch.py").write_text(
        "raise SystemExit"
    )
    (folder / "submitted" / GARBLED / LESSON).mkdir(parents=True)
    (folder / "submitted" / GARBLED / LESSON / FILE).write_text('{"cells": [')
    said["autograde"] = _nbgrader(folder, "autograde", LESSON)
    said["generate_feedback"] = _nbgrader(folder, "generate_feedback", LESSON)
    said["export"] = _nbgrader(folder, "export")
    with (folder / "grades.csv").open() as file:
        export = {row["student_id"]: row for row in csv.DictReader(file)}
    return Course(folder, said, _marks(folder), export, release, committed)


def _copy_course(folder: Path) -> None:
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    shutil.copytree(ROOT / "classroom", folder / "classroom")
    shutil.copytree(ROOT / "solutions" / LESSON, folder / "solutions" / LESSON)
    shutil.copy(
        ROOT / "lessons" / f"{LESSON}.py", folder / "solutions" / LESSON
    )  # a sibling with all answers


def _nbgrader(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"),
        "COURSE_GRADING_SEED": "20260101",
    }
    return subprocess.run(
        [programs / "nbgrader", *arguments],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def _marks(folder: Path) -> dict[str, dict[str, tuple[float | None, bool]]]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder}/gradebook.db") as gradebook:
        return {
            submission.student.id: {
                grade.name: (grade.auto_score, grade.needs_manual_grade)
                for grade in submission.notebooks[0].grades
            }
            for submission in gradebook.assignment_submissions(LESSON)
        }


def words(text: str) -> str:
    """Text as it reads: without line breaks, tags and entities."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def says(name: str, source: str) -> str:
    """What the check of an exercise says against an answer."""
    namespace = {"torch": torch}
    exec(source, namespace)
    with pytest.raises(CheckFailed) as failure:
        getattr(start_here, name)(namespace[name])
    return words(str(failure.value))


# ---- the release


def test_the_generated_release_is_the_committed_notebook_byte_for_byte(course):
    made = (course.folder / "notebooks" / LESSON / FILE).read_bytes()
    assert course.said["generate_assignment"].returncode == 0, course.said[
        "generate_assignment"
    ].stderr
    assert made == course.committed, "run `make build`, then look at nbgrader_config.py"


def test_no_file_beside_the_source_notebook_gets_into_the_release(course):
    assert (course.folder / "solutions" / LESSON / f"{LESSON}.py").exists()
    assert [path.name for path in (course.folder / "notebooks").rglob("*.*")] == [FILE]


# ---- the marks


@pytest.mark.parametrize("student", LOSES)
def test_each_check_gives_all_of_its_points_or_none(course, student):
    lost = {f"check_{name}" for name in LOSES[student]}
    assert lost <= set(checks_of(course.release))
    expected = {
        name: 0 if name in lost else course.points(name)
        for name in checks_of(course.release)
    }
    assert course.got(student) == expected


@pytest.mark.parametrize("student", [*CLASS, GARBLED])
def test_the_export_adds_the_points_up(course, student):
    row = course.export[student]
    assert float(row["score"]) == (
        0 if student == GARBLED else sum(course.got(student).values())
    )
    assert float(row["max_score"]) == sum(
        meta(c).get("points", 0) for c in course.release.cells
    )


def test_an_untouched_release_gets_nothing_and_leaves_nothing_to_read(course):
    assert set(course.marks["blank"].values()) == {(0.0, False)}


@pytest.mark.parametrize("student", ["right", "copied", "untidy", "wrong", "shortcuts"])
def test_written_answers_wait_to_be_read_by_hand(course, student):
    by_hand = {
        name for name, (points, to_read) in course.marks[student].items() if to_read
    }
    questions = {
        meta(c)["grade_id"]
        for c in course.release.cells
        if meta(c).get("grade") and meta(c)["solution"]
    }
    assert by_hand == questions
    assert {course.marks[student][name][0] for name in questions} == {None}


def test_a_blank_exercise_costs_nothing_in_the_exercise_that_calls_it(course):
    assert STUB in cell_called(course.graded("wrong"), "softmax").source
    assert "softmax(" in cell_called(course.graded("wrong"), "best_labels").source
    assert course.got("wrong")["check_best_labels"] == course.points(
        "check_best_labels"
    )


def test_an_answer_learned_by_heart_passes_the_visible_inputs_and_fails_the_redrawn_ones(
    course,
):
    outputs = cell_called(course.graded("shortcuts"), "check_pad_batch").outputs
    assert [output.output_type for output in outputs] == ["stream", "error"]
    assert outputs[0].text.startswith("pad_batch is right.")
    assert outputs[1].ename == "CheckFailed"


def test_a_killed_kernel_costs_the_cells_behind_it_and_no_points_before_it(course):
    names = checks_of(course.release)
    got = course.got("crashed")
    assert [got[name] for name in names[:3]] == [
        course.points(name) for name in names[:3]
    ]
    assert [got[name] for name in names[3:]] == [0] * len(names[3:])
    assert "the kernel died" in course.feedback("crashed")


def test_the_class_is_graded_to_its_end_and_only_the_unreadable_file_is_reported(
    course,
):
    graded = {
        path.name
        for path in (course.folder / "autograded").iterdir()
        if any(path.rglob(FILE))
    }
    assert graded == set(CLASS)
    assert course.said["autograde"].returncode == 1
    failed = re.findall(
        r"There was an error processing assignment .* for student '(.*)'", _log(course)
    )
    assert failed == [GARBLED]


def _log(course) -> str:
    return course.said["autograde"].stderr + course.said["autograde"].stdout


def test_thirty_megabytes_on_one_line_are_cut(course):
    path = course.folder / "autograded" / "untidy" / LESSON / FILE
    assert path.stat().st_size < 1_000_000
    assert "(cut here)" in path.read_text()
    assert (
        course.folder / "feedback" / "untidy" / LESSON / f"{LESSON}.html"
    ).stat().st_size < 2_000_000


# ---- the feedback


def test_feedback_and_export_end_without_an_error(course):
    for command in ("generate_feedback", "export"):
        assert course.said[command].returncode == 0, course.said[command].stderr


@pytest.mark.parametrize("student", CLASS)
def test_feedback_shows_neither_hidden_tests_nor_solution_markers(course, student):
    page = words(course.feedback(student))
    assert "checks.start_here.softmax(softmax)" in page
    for secret in ("grading_seed", "HIDDEN TESTS", "BEGIN SOLUTION", "END SOLUTION"):
        assert secret not in page


def test_feedback_shows_every_figure_of_the_lesson(course):
    solution = nbformat.read(course.folder / "solutions" / LESSON / FILE, 4)
    figures = [
        o
        for c in solution.cells
        for o in c.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]
    assert figures
    assert course.feedback("right").count("data:image/png;base64,") == len(figures)


@pytest.mark.parametrize(
    ("name", "source"),
    [("token_logprobs", UNSHIFTED), ("masked_mean", ALL_POSITIONS)],
    ids=lambda x: x[:12],
)
def test_feedback_on_a_wrong_answer_names_the_mistake(course, name, source):
    assert says(name, source) in words(course.feedback("wrong"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("softmax", "This softmax is course_lib's own"),
        ("masked_mean", "This masked_mean is course_lib's own"),
        ("accumulated_mean", "Your accumulated_mean calls course_lib's own version"),
    ],
)
def test_feedback_says_why_the_librarys_own_answer_earns_nothing(course, name, message):
    assert message in words(course.feedback("shortcuts"))
