"""The build: one text, three forms; what is stale, leaked or left behind is refused."""

import copy
import textwrap
from types import SimpleNamespace

import nbformat
import pytest

from tools import build, inline, readme
from tools.inline import Bound, BuildError, answer_cell
from tools.leaks import leaks
from tools.lessons import Lesson, inputs, lessons, read

LESSON = lessons("00")[0]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """An empty course with a library module; returns a function that writes a lesson and reads it."""
    (tmp_path / "lessons").mkdir()
    (tmp_path / "course_lib" / "checks").mkdir(parents=True)
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    for module in (inline, build):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr("tools.lessons.ROOT", tmp_path)
    (tmp_path / "course_lib" / "numbers.py").write_text(LIBRARY)

    def write(text: str) -> Lesson:
        path = tmp_path / "lessons" / "00_tiny.py"
        path.write_text(textwrap.dedent(text))
        return Lesson(path)

    return write


LIBRARY = '''"""Numbers."""

import math
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 3.0


def helper(x):
    return x + 1


def scaled(x: Tensor) -> Tensor:
    """Scale it.

    x (B,). Returns (B,).

    How: multiply by SCALE after the helper.

    >>> scaled(torch.ones(1))
    """
    assert x.ndim == 1, f"one dimension: {x.shape=}"
    raised = helper(x)  # one more
    return raised * SCALE * math.pi


def later(x: Tensor) -> Tensor:
    """Uses the other one."""
    doubled = scaled(x) * 2
    return F.relu(doubled)


def undefined(x):
    return missing_thing(x)


class Layer(nn.Module):
    """A layer.

    How: secret.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.linear(x)
        return F.silu(hidden) + x
'''

EXERCISE = """
# %% [markdown]
# # Try it
# About 5 minutes.

# %%
import torch

# %% exercise="scaled"
from course_lib.numbers import scaled

# %% check="scaled" points=2
checks.tiny.scaled(scaled)
"""


def exercise_of(lesson: Lesson, name: str) -> str:
    return next(
        c.source
        for c in read(lesson).cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == name
    )


# --- inlining ---------------------------------------------------------------------------------------


def test_an_exercise_cell_is_the_librarys_text_with_its_body_between_markers(course):
    source = exercise_of(course(EXERCISE), "scaled")
    assert source.splitlines() == [
        "import math",
        "from course_lib.numbers import SCALE, helper",
        "from torch import Tensor",
        "",
        "",
        "def scaled(x: Tensor) -> Tensor:",
        '    """Scale it.',
        "",
        "    x (B,). Returns (B,).",
        "",
        "    >>> scaled(torch.ones(1))",
        '    """',
        '    assert x.ndim == 1, f"one dimension: {x.shape=}"',
        "    ### BEGIN SOLUTION",
        "    raised = helper(x)  # one more",
        "    return raised * SCALE * math.pi",
        "    ### END SOLUTION",
    ]


def test_a_later_exercise_uses_the_learners_earlier_one_instead_of_importing_it(course):
    text = EXERCISE + '\n# %% exercise="later"\nfrom course_lib.numbers import later\n'
    source = exercise_of(course(text), "later")
    assert "import torch.nn.functional as F" in source
    assert "course_lib" not in source
    assert "from torch import Tensor" in source, (
        "an exercise cell with a syntax error takes no import along"
    )
    plain = exercise_of(
        course(
            text.replace("import torch\n", "import torch\nfrom torch import Tensor\n")
        ),
        "later",
    )
    assert "import Tensor" not in plain, "an ordinary cell has imported it already"


def test_lines_named_in_keep_stay_in_the_stub():
    source, _ = answer_cell(
        "from course_lib.masks import masked_mean", Bound(), set(), keep=("kept =",)
    )
    kept = source.index("kept = mask.sum()")
    assert kept < source.index("### BEGIN SOLUTION") < source.index("return masked_sum")
    assert source.count("### BEGIN SOLUTION") == 1


def test_named_methods_of_a_class_are_blanked_and_the_others_stay(course):
    course(EXERCISE)
    source, _ = answer_cell(
        "from course_lib.numbers import Layer", Bound(), set(), methods=("forward",)
    )
    assert (
        source.index("nn.Linear(width, width)")
        < source.index("### BEGIN SOLUTION")
        < source.index("hidden = self")
    )
    assert "secret" not in source
    with pytest.raises(BuildError, match="name the methods"):
        answer_cell("from course_lib.numbers import Layer", Bound(), set())


def test_keep_names_lines_of_any_method_that_is_blanked():
    source, _ = answer_cell(
        "from course_lib.transformer import SwiGLU",
        Bound(),
        set(),
        methods=("__init__", "forward"),
        keep=("super()",),
    )
    assert source.count("### BEGIN SOLUTION") == source.count("### END SOLUTION") == 2
    assert source.index("super().__init__()") < source.index("### BEGIN SOLUTION")
    with pytest.raises(BuildError, match="begins no line"):
        answer_cell(
            "from course_lib.transformer import SwiGLU",
            Bound(),
            set(),
            methods=("forward",),
            keep=("super()",),
        )


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (
            "from course_lib.numbers import undefined",
            "'missing_thing' is used by an exercise but defined nowhere",
        ),
        (
            "from course_lib.numbers import nowhere",
            "no function or class called 'nowhere'",
        ),
        ("import course_lib.numbers", "holds one line"),
        ("from course_lib.numbers import scaled, later", "holds one line"),
    ],
)
def test_what_cannot_be_inlined_stops_the_build(course, cell, why):
    with pytest.raises(BuildError, match=why):
        read(course(f'# %%\nimport torch\n\n# %% exercise="x"\n{cell}\n'))


def test_a_name_that_means_something_else_in_the_lesson_stops_the_build(course):
    with pytest.raises(BuildError, match="'math' means cmath in the lesson"):
        read(course(EXERCISE.replace("import torch\n", "import cmath as math\n")))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '# %% check="scaled" points=1.5\nchecks.tiny.scaled(scaled)\n',
            "a whole number",
        ),
        ('# %% keep="x"\nx = 1\n', "unknown"),
        (
            EXERCISE.replace(
                'exercise="scaled"', 'exercise="scaled" keep="nothing like it"'
            ),
            "begins 0",
        ),
        ('# %% check="scaled" points=2\nchecks.tiny.scaled(other)\n', "holds one line"),
        ('# %% check="scaled"\nchecks.tiny.scaled(scaled)\n', "needs points="),
        ('# %% exercise="a" check="b"\nx = 1\n', "conflicting"),
        ('# %% excercise="a"\nx = 1\n', "unknown"),
        ('# %% [markdown] reflect="why" points=1\n# Why?\n', "A good answer:"),
        ('# %% test="scaled"\nx = 1\n', "defines test_scaled"),
        (
            EXERCISE
            + '\n# %% exercise="scaled"\nfrom course_lib.numbers import scaled\n',
            "two cells are called",
        ),
    ],
)
def test_a_malformed_marker_stops_the_build(course, text, why):
    with pytest.raises(BuildError, match=why):
        read(course(text))


# --- the same bytes again ---------------------------------------------------------------------------


def test_two_builds_of_one_text_are_byte_identical_before_execution():
    assert build.text(read(LESSON)) == build.text(read(LESSON))
    assert build.text(build.blank(read(LESSON), LESSON)) == build.text(
        build.blank(read(LESSON), LESSON)
    )


def test_ids_are_unique_and_survive_a_change_in_another_cell(course):
    text = EXERCISE + "\n# %%\nscaled(torch.ones(2))\n\n# %%\nscaled(torch.ones(2))\n"
    before = [cell.id for cell in read(course(text)).cells]
    after = [
        cell.id
        for cell in read(course(text.replace("# # Try it", "# # Try it again"))).cells
    ]
    assert len(set(before)) == len(before)
    assert sum(x != y for x, y in zip(before, after, strict=True)) == 1


def test_outputs_go_stale_with_the_lesson_an_imported_module_or_a_recorded_curve(
    course, tmp_path
):
    lesson = course(EXERCISE)
    seen = {inputs(lesson)}
    library = tmp_path / "course_lib" / "numbers.py"
    library.write_text(LIBRARY.replace("3.0", "4.0"))
    seen.add(inputs(lesson))
    (tmp_path / "course_lib" / "curves").mkdir()
    (tmp_path / "course_lib" / "curves" / "00_tiny.json").write_text("{}")
    seen.add(inputs(lesson))
    (tmp_path / "course_lib" / "unrelated.py").write_text("x = 1")
    seen.add(inputs(lesson))
    lesson.path.write_text(lesson.path.read_text() + "\n")
    seen.add(inputs(lesson))
    assert len(seen) == 4, "four different inputs; an unrelated module changes nothing"


@pytest.fixture
def with_models(course, tmp_path):
    """A course whose library has a package `pretrained` with a face, and a file of weights."""
    library = tmp_path / "course_lib"
    for name, text in {
        "pretrained/__init__.py": "from course_lib.pretrained.checkpoints import load\n",
        "pretrained/checkpoints.py": "def load():\n    pass\n",
        "pretrained/minilm.py": "def minilm():\n    pass\n",
        "search.py": "def found():\n    from course_lib.pretrained.minilm import minilm\n",
        "weights/sft.safetensors": "1 2 3",
    }.items():
        (library / name).parent.mkdir(exist_ok=True)
        (library / name).write_text(text)
    return lambda cell: course(f"{EXERCISE}\n# %%\n{cell}\n")


@pytest.mark.parametrize(
    "cell",
    [
        "from course_lib import pretrained",
        "from course_lib import logprobs, pretrained as models",
        "import course_lib.pretrained",
        "import course_lib.pretrained.minilm as minilm",
        "from course_lib.pretrained import load",
        "from course_lib.pretrained import minilm",
        "from course_lib.pretrained.minilm import minilm",
        "from course_lib.search import found",
        "if True:\n    from course_lib import search",
    ],
)
def test_outputs_go_stale_with_the_weights_and_the_face_however_a_lesson_reaches_pretrained(
    with_models, tmp_path, cell
):
    lesson, library = with_models(cell), tmp_path / "course_lib"
    seen = {inputs(lesson)}
    (library / "weights" / "sft.safetensors").write_text("1 2 4")
    seen.add(inputs(lesson))
    (library / "weights" / "draft.safetensors").write_text("5")
    seen.add(inputs(lesson))
    (library / "pretrained" / "checkpoints.py").write_text(
        "def load():\n    return 1\n"
    )
    seen.add(inputs(lesson))
    assert len(seen) == 4, "a changed file, a new one, and a module behind the face"


def test_weights_do_not_matter_to_a_lesson_that_imports_no_model(with_models, tmp_path):
    lesson = with_models("from course_lib.numbers import scaled  # not pretrained")
    before = inputs(lesson)
    (tmp_path / "course_lib" / "weights" / "sft.safetensors").write_text("1 2 4")
    (tmp_path / "course_lib" / "pretrained" / "minilm.py").write_text("x = 1\n")
    assert inputs(lesson) == before


def test_committed_notebooks_are_what_the_lesson_builds():
    assert [problem for lesson in lessons() for problem in build.problems(lesson)] == []
    assert build.orphans() == []
    assert readme.stale() == []


def test_a_stale_output_an_edited_student_notebook_and_an_orphan_are_noticed(
    tmp_path, monkeypatch
):
    fresh = read(LESSON)
    moved = SimpleNamespace(
        name=LESSON.name,
        solution=tmp_path / "solution.ipynb",
        student=tmp_path / "student.ipynb",
    )
    made = copy.deepcopy(fresh)
    made.metadata["course"]["outputs"] = build.outputs_hash(made)
    moved.solution.write_text(build.text(made))
    moved.student.write_text(build.text(build.blank(fresh, LESSON)))
    monkeypatch.setattr(build, "read", lambda _: fresh)
    monkeypatch.setattr(build, "_where", lambda path: path.stem)
    assert build.problems(moved) == []
    moved.student.write_text(
        moved.student.read_text().replace("Make softmax safe", "Make softmax unsafe")
    )
    assert build.problems(moved) == [
        f"{LESSON.name}: student is not what the lesson's text builds"
    ]
    moved.solution.write_text(
        moved.solution.read_text().replace(fresh.metadata.course.inputs, "0" * 64)
    )
    assert any("other inputs" in problem for problem in build.problems(moved))


# --- leaks ------------------------------------------------------------------------------------------


def planted(change) -> list[str]:
    solution = read(LESSON)
    student = build.blank(solution, LESSON)
    assert leaks(student, solution) == []
    change(student, solution)
    return leaks(student, solution)


def code(source: str):
    return lambda student, solution: student.cells.append(
        nbformat.v4.new_code_cell(source)
    )


def text(source: str):
    return lambda student, solution: student.cells.append(
        nbformat.v4.new_markdown_cell(source)
    )


RENAMED = """
def my_softmax(z):
    # moved down first
    z2 = z - z.max(dim=-1, keepdim=True).values
    e = z2.exp()
    return e / e.sum(dim=-1, keepdim=True)
"""
AS_PROSE = """
First shifted = scores - scores.max(dim=-1, keepdim=True).values, then exponentials = shifted.exp(),
and at last return exponentials / exponentials.sum(dim=-1, keepdim=True).
"""
INSIDE = """
def probabilities(q, really=True):
    if really:
        a = q - q.max(dim=-1, keepdim=True).values
        b = a.exp()
        return b / b.sum(dim=-1, keepdim=True)
"""
AS_HINT = f"<details><summary>Hint</summary>\n\n```python{RENAMED}```\n</details>"


def leave_an_output(student, solution):
    student.cells[1].outputs = [nbformat.v4.new_output("stream", text="answer")]


def leave_a_marked_solution(student, solution):
    index = next(
        i
        for i, c in enumerate(student.cells)
        if c.metadata.get("nbgrader", {}).get("grade_id") == "softmax"
    )
    student.cells[index] = copy.deepcopy(solution.cells[index])


def leave_widget_state(student, solution):
    student.metadata["widgets"] = {"state": {"image": "…"}}


def leave_an_attachment(student, solution):
    student.cells[0]["attachments"] = {"answer.png": {"image/png": ""}}


LOOSE = """
z = torch.tensor([1.0, 2.0])
moved = z - z.max(dim=-1, keepdim=True).values
print("moved", moved)
e = moved.exp()
p = e / e.sum(dim=-1, keepdim=True)
"""
DOCTEST = """
    >>> m = s - s.max(dim=-1, keepdim=True).values
    >>> e = m.exp()
    >>> e / e.sum(dim=-1, keepdim=True)
"""
AS_COMMENT = "x = 1\n" + "".join(f"# {line}\n" for line in RENAMED.strip().splitlines())
AS_HTML = f"<pre>{RENAMED}</pre>"


def spread_over_cells(student, solution):
    for line in LOOSE.strip().splitlines():
        student.cells.append(nbformat.v4.new_code_cell(line))


def a_raw_cell(student, solution):
    student.cells.append(nbformat.v4.new_raw_cell(RENAMED))


def the_model_answer(student, solution):
    cell = next(
        c
        for c in solution.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == "why_mask"
    )
    model = cell.source.split("-->")[1].split("<!--")[0]
    student.cells.append(nbformat.v4.new_markdown_cell(model))


LEAKS = {
    "loose steps with a print between": (
        code(LOOSE),
        "gives away the answer of softmax",
    ),
    "steps spread over cells": (
        spread_over_cells,
        "the cells together give away softmax",
    ),
    "steps as a doctest in prose": (text(DOCTEST), "gives away the answer of softmax"),
    "the body in comments": (code(AS_COMMENT), "gives away the answer of softmax"),
    "the body in a <pre> element": (text(AS_HTML), "gives away the answer of softmax"),
    "the body in a raw cell": (a_raw_cell, "gives away the answer of softmax"),
    "the source printed by a call": (
        code("inspect.getsource(softmax)"),
        "prints source code",
    ),
    "the model answer of a written question": (
        the_model_answer,
        "model answer of why_mask",
    ),
    "the body under other names in another cell": (
        code(RENAMED),
        "gives away the answer of softmax",
    ),
    "the body in a folded hint": (text(AS_HINT), "gives away the answer of softmax"),
    "the body as plain text": (text(AS_PROSE), "gives away the answer of softmax"),
    "the body inside a larger function": (
        code(INSIDE),
        "gives away the answer of softmax",
    ),
    "solution markers and hidden tests": (leave_a_marked_solution, "marker"),
    "an output": (leave_an_output, "output"),
    "widget state in the metadata": (leave_widget_state, "widgets"),
    "an attachment": (leave_an_attachment, "attachment"),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_planted_leak_is_caught(kind):
    change, says = LEAKS[kind]
    found = planted(change)
    assert len(found) >= 1
    assert any(says in sentence for sentence in found), found


def test_a_sibling_file_in_the_release_is_an_orphan(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks" / LESSON.name
    folder.mkdir(parents=True)
    (folder / "00_start_here.py").write_text("the solution")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.orphans() == [folder / "00_start_here.py"]


def test_a_harmless_cell_is_no_leak():
    assert planted(code("scores.exp() / scores.exp().sum()\nx.max(dim=-1)\n")) == []


# --- what a figure must have ------------------------------------------------------------------------


def notebook_with_picture(data: bytes, alt: str):
    import base64

    output = nbformat.v4.new_output(
        "display_data",
        data={"image/png": base64.b64encode(data).decode()},
        metadata={"image/png": {"alt": alt}} if alt else {},
    )
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("x", outputs=[output])]
    )


def test_a_figure_without_alt_text_or_too_large_is_refused(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("{}")
    assert "no alt text" in build.without_alt_text(notebook_with_picture(b"x", ""))[0]
    assert (
        build.without_alt_text(
            notebook_with_picture(b"x", "A line that falls and then rises.")
        )
        == []
    )
    assert (
        "80,001 bytes"
        in build.too_large(notebook_with_picture(b"x" * 80_001, "…"), path)[0]
    )
    path.write_bytes(b" " * 1_000_001)
    assert (
        "1,000,001 bytes" in build.too_large(notebook_with_picture(b"x", "…"), path)[0]
    )


# --- what can go wrong around it --------------------------------------------------------------------


def test_a_name_that_hides_a_builtin_is_imported(course, tmp_path):
    course(EXERCISE)
    hiding = "from math import pow\n\n\ndef cube(x):\n    return pow(x, 3)\n"
    (tmp_path / "course_lib" / "numbers.py").write_text(hiding)
    source, _ = answer_cell("from course_lib.numbers import cube", Bound(), set())
    assert source.startswith("from math import pow")


@pytest.mark.parametrize(
    "docstring",
    [
        '"""Meaning.\n\n    How: secret."""',
        '"""Meaning.\n\n    How: secret\n    goes on.\n    """',
        '"""Meaning.\n\n    How: secret.\n\n    More.\n    """',
    ],
)
def test_how_is_left_out_wherever_it_stands_and_the_stub_compiles(
    course, tmp_path, docstring
):
    course(EXERCISE)
    library = f"def f(x):\n    {docstring}\n    y = x + 1\n    return y\n"
    (tmp_path / "course_lib" / "numbers.py").write_text(library)
    source, _ = answer_cell("from course_lib.numbers import f", Bound(), set())
    inline.must_compile(source, "f")
    assert "secret" not in source
    assert ("More." in source) == ("More." in docstring)


def test_a_body_beside_its_signature_and_a_relative_import_stop_the_build(
    course, tmp_path
):
    course(EXERCISE)
    module = tmp_path / "course_lib" / "numbers.py"
    module.write_text("def f(x): return x + 1\n")
    with pytest.raises(BuildError, match="lines of its own"):
        answer_cell("from course_lib.numbers import f", Bound(), set())
    module.write_text("from .masks import m\n\n\ndef f(x):\n    return m(x)\n")
    with pytest.raises(BuildError, match="relative import"):
        answer_cell("from course_lib.numbers import f", Bound(), set())


def test_two_lessons_with_one_number_stop_the_build(course, tmp_path):
    lesson = course(EXERCISE)
    lesson.path.with_name("00_other.py").write_text("# %%\nx = 1\n")
    with pytest.raises(BuildError, match="two lessons have the number 00"):
        lessons()


def test_changed_or_removed_outputs_and_a_damaged_notebook_are_noticed(
    tmp_path, monkeypatch
):
    solution = nbformat.read(LESSON.solution, 4)
    fresh = read(LESSON)
    assert solution.metadata.course.outputs == build.outputs_hash(solution)
    edited = SimpleNamespace(
        name="x", solution=tmp_path / "s.ipynb", student=tmp_path / "n.ipynb"
    )
    edited.student.write_text(build.text(build.blank(fresh, LESSON)))
    monkeypatch.setattr(build, "read", lambda _: fresh)
    monkeypatch.setattr(build, "_where", lambda path: path.stem)
    whole = LESSON.solution.read_text()
    for spoiled in (
        whole.replace("reviews right: 1.00", "reviews right: 7.00"),
        build.text(fresh),
    ):
        assert spoiled != whole
        edited.solution.write_text(spoiled)
        assert any(
            "outputs were changed" in problem for problem in build.problems(edited)
        )
    edited.solution.write_text(whole[:5000])
    assert build.problems(edited) == ["x is damaged; `make build` makes it anew"]


def test_only_what_a_build_made_is_deleted(tmp_path, monkeypatch):
    gone = tmp_path / "notebooks" / "07_gone" / "07_gone.ipynb"
    notes = tmp_path / "notebooks" / "notes.txt"
    gone.parent.mkdir(parents=True)
    gone.write_text("{}")
    notes.write_text("mine")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    said = build.remove_orphans()
    assert not gone.exists()
    assert notes.read_text() == "mine"
    assert len(said) == 2
