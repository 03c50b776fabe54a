"""A learner's notebook meets a newer release: no line of theirs is lost, none of the course's is old."""

import copy
import hashlib

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    new_raw_cell,
)

from course_lib import cells, desk
from course_lib.merging import lost, merge
from course_lib.recasting import GONE_TEXT, HEADING, NEW_QUESTION, NEW_STUB, YOURS
from tools.lessons import lessons, read

STUB = '''def {0}(x):
    """{1}"""
    # YOUR CODE HERE
    raise NotImplementedError'''
QUESTION = "**1.** {0}\n\nYOUR ANSWER HERE"


def stub(name: str, doc: str = "What it does."):
    return named(new_code_cell(STUB.format(name, doc)), name, solution=True)


def check(name: str):
    cell = new_code_cell(f"checks.lesson.{name}({name})")
    return named(cell, f"check_{name}", grade=True, locked=True, points=2)


def question(name: str, text: str = "Why?"):
    cell = new_markdown_cell(QUESTION.format(text))
    return named(cell, name, solution=True, grade=True, points=1)


def named(cell, name: str, **flags):
    flags = {"solution": False, "grade": False, "locked": False} | flags
    cell.metadata["nbgrader"] = {"grade_id": name, **flags}
    cell.id = name
    return cell


def text(source: str, kind=new_markdown_cell):
    """A cell of the course as the build makes it: its id is a digest of its text."""
    cell = kind(source)
    whole = f"{cell.cell_type}\0{source}"
    cell.id = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return cell


def book(*found):
    """A notebook as it comes from a file: every release has cells of its own."""
    notebook = nbformat.from_dict(new_notebook(cells=[copy.deepcopy(c) for c in found]))
    nbformat.validate(notebook)
    return notebook


def first(**changes):
    """A small lesson; a keyword replaces or removes one of its cells."""
    found = {
        "title": text("# Lesson"),
        "setup": text("import torch", new_code_cell),
        "softmax": stub("softmax"),
        "check_softmax": check("softmax"),
        "seen": text("What we saw."),
        "demo": text("softmax(2)", new_code_cell),
        "gae": stub("gae"),
        "check_gae": check("gae"),
        "why": question("why"),
        "close": text("You can now."),
    } | changes
    return book(*(cell for cell in found.values() if cell is not None))


def by_id(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.id == name)


def sources(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells]


def write(notebook, name: str, source: str, count: int = 3):
    """A learner writes into a cell and runs it."""
    cell = by_id(notebook, name)
    cell.source = source
    if cell.cell_type == "code":
        cell.execution_count = count
        cell.outputs = [new_output("stream", name="stdout", text=f"ran {count}\n")]
    return cell


def insert(notebook, behind: str, cell):
    place = [c.id for c in notebook.cells].index(behind) + 1
    notebook.cells.insert(place, cell)
    return cell


def merged(mine, release, base):
    """Merge, and hold what must hold of every merge."""
    before = copy.deepcopy((mine, release, base))
    done = merge(mine, release, base)
    assert (mine, release, base) == before, "merging changes none of its inputs"
    nbformat.validate(done.notebook)
    ids = [cell.id for cell in done.notebook.cells]
    assert len(set(ids)) == len(ids)
    order = [name for name in ids if name in {cell.id for cell in release.cells}]
    assert order == [cell.id for cell in release.cells], "the release's cells, in order"
    assert lost(mine, done.notebook, release, base) == []
    again = merge(done.notebook, release, release)
    assert again.notebook == done.notebook, "a second time changes nothing"
    return done


ANSWER = "def softmax(x):\n    return x.exp() / x.exp().sum()"
BASES = pytest.mark.parametrize("known", [True, False], ids=["base", "no base"])


@BASES
def test_a_copy_that_was_never_changed_becomes_the_new_release(known):
    old = first()
    new = first(
        seen=text("What we saw, said better."), softmax=stub("softmax", "Better said.")
    )
    assert merged(copy.deepcopy(old), new, old if known else None).notebook == new


@BASES
def test_answers_and_written_answers_stay_and_the_text_around_them_is_new(known):
    old, new = first(), first(seen=text("Said better."), gae=stub("gae", "Clearer."))
    mine = copy.deepcopy(old)
    write(mine, "softmax", ANSWER)
    write(mine, "why", "**1.** Why?\n\nBecause the padding counts.")
    done = merged(mine, new, old if known else None)
    assert done.answers == ["softmax", "why"]
    assert by_id(done.notebook, "softmax").source == ANSWER
    assert "padding counts" in by_id(done.notebook, "why").source
    assert by_id(done.notebook, "gae").source == by_id(new, "gae").source
    assert "Said better." in sources(done.notebook)
    assert "What we saw." not in sources(done.notebook)
    assert not done.changed


@BASES
def test_outputs_of_unchanged_cells_stay(known):
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    write(mine, mine.cells[1].id, "import torch", 7)
    write(mine, "check_softmax", by_id(mine, "check_softmax").source, 8)
    done = merged(mine, new, old if known else None)
    assert by_id(done.notebook, "check_softmax").execution_count == 8
    assert done.notebook.cells[1].outputs[0].text == "ran 7\n"


@BASES
def test_own_cells_stay_behind_the_cell_they_followed(known):
    old = first()
    new = first(setup=text("import torch, math", new_code_cell), extra=text("More."))
    mine = copy.deepcopy(old)
    insert(mine, "softmax", new_code_cell("softmax(torch.ones(3))"))
    insert(mine, "check_softmax", new_markdown_cell("my remark"))
    insert(mine, mine.cells[-1].id, new_code_cell("my_experiment()"))
    mine.cells.insert(0, new_markdown_cell("my title"))
    found = sources(merged(mine, new, old if known else None).notebook)
    at = {source: index for index, source in enumerate(found)}
    assert found[0] == "my title"
    assert found[at["softmax(torch.ones(3))"] - 1].startswith("def softmax")
    assert found[at["my remark"] - 1].startswith("checks.lesson.softmax")
    assert found[at["my_experiment()"] - 1] == "You can now."


def test_an_own_cell_behind_a_cell_that_was_replaced_stands_before_the_next_one():
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    insert(mine, by_id(mine, by_id(old, "check_softmax").id).id, new_code_cell("a"))
    insert(mine, next(c.id for c in mine.cells if c.source == "What we saw."), new_code_cell("b"))  # fmt: skip
    found = sources(merged(mine, new, old).notebook)
    place = found.index("Said better.")
    assert found[place - 1 : place + 3] == ["a", "Said better.", "b", "softmax(2)"]


def test_an_own_cell_at_the_very_end_stays_there_when_the_last_cell_is_replaced():
    old, new = first(), first(close=text("Now you can."))
    mine = copy.deepcopy(old)
    mine.cells.append(new_code_cell("my_experiment()"))
    found = sources(merged(mine, new, old).notebook)
    assert found[-2:] == ["Now you can.", "my_experiment()"]


def test_an_answer_to_an_exercise_that_is_gone_stands_at_the_end_under_a_heading():
    old, new = first(), first(softmax=None, check_softmax=None)
    mine = copy.deepcopy(old)
    write(mine, "softmax", ANSWER)
    done = merged(mine, new, old)
    assert done.gone == ["softmax"]
    assert sources(done.notebook)[-2:] == [GONE_TEXT, ANSWER]
    assert "nbgrader" not in done.notebook.cells[-1].metadata, "nobody grades it"
    assert not any("checks.lesson.softmax" in s for s in sources(done.notebook))
    newer = first(softmax=None, check_softmax=None, gae=None, check_gae=None)
    write(done.notebook, "gae", "def gae(x):\n    return 2")
    done = merged(done.notebook, newer, new)
    assert sources(done.notebook)[-3:] == [
        GONE_TEXT,
        ANSWER,
        "def gae(x):\n    return 2",
    ]
    longer = first(softmax=None, check_softmax=None, gae=None, check_gae=None, end=text("Bye."))  # fmt: skip
    found = sources(merged(done.notebook, longer, newer).notebook)
    assert found[-4:-2] == ["Bye.", GONE_TEXT], (
        "the heading and what is under it stay last"
    )
    back = merged(done.notebook, first(), newer).notebook
    assert by_id(back, "softmax").source == ANSWER, (
        "an exercise that comes back finds its answer"
    )


def test_a_blank_exercise_that_is_gone_leaves_nothing():
    old, new = first(), first(softmax=None, check_softmax=None)
    done = merged(copy.deepcopy(old), new, old)
    assert done.notebook == new
    assert HEADING not in [cell.id for cell in done.notebook.cells]


@BASES
def test_a_new_first_line_is_shown_below_the_answer_and_its_check_is_to_be_run_again(
    known,
):
    other = stub("softmax")
    other.source = other.source.replace("(x)", "(x, dim)")
    old, new = first(), first(softmax=other)
    mine = copy.deepcopy(old)
    write(mine, "softmax", ANSWER)
    write(mine, "check_softmax", "checks.lesson.softmax(softmax)")
    done = merged(mine, new, old if known else None)
    assert done.changed == ["softmax"]
    place = sources(done.notebook).index(ANSWER)
    note = done.notebook.cells[place + 1]
    assert note.cell_type == "raw", "it is not run"
    assert note.source == NEW_STUB + other.source
    assert by_id(done.notebook, "check_softmax").outputs == []
    mine_now = done.notebook
    write(mine_now, "check_softmax", "checks.lesson.softmax(softmax)", 9)
    stopped = merge(mine_now, new, old)  # killed before the release was noted
    assert stopped.notebook == mine_now, "told once, also if the note was not taken"


def test_a_docstring_that_was_only_reworded_is_no_news_for_an_answer():
    old, new = first(), first(softmax=stub("softmax", "The same in other words."))
    mine = copy.deepcopy(old)
    write(mine, "softmax", ANSWER)
    done = merged(mine, new, old)
    assert done.changed == []
    assert by_id(done.notebook, "softmax").source == ANSWER


def test_a_new_question_is_shown_below_the_answer_to_the_old_one():
    old, new = first(), first(why=question("why", "Why not?"))
    mine = copy.deepcopy(old)
    cell = write(mine, "why", "**1.** Why?\n\nBecause. ![picture](attachment:a.png)")
    cell.attachments = {"a.png": {"image/png": "AAAA"}}
    done = merged(mine, new, old)
    place = sources(done.notebook).index(cell.source)
    assert done.notebook.cells[place].attachments == cell.attachments
    assert sources(done.notebook)[place + 1] == NEW_QUESTION + by_id(new, "why").source


@BASES
def test_a_plan_in_a_blank_exercise_stays(known):
    old, new = first(), first(softmax=stub("softmax", "Other words."))
    mine = copy.deepcopy(old)
    plan = "    # first subtract the largest\n    raise"
    write(mine, "softmax", by_id(old, "softmax").source.replace("    raise", plan))
    done = merged(mine, new, old if known else None).notebook
    assert plan in by_id(done, "softmax").source


def test_notes_in_the_docstring_of_a_blank_exercise_stay():
    old, new = first(), first(softmax=stub("softmax", "Other words."))
    mine = copy.deepcopy(old)
    noted = by_id(old, "softmax").source.replace("does.", "does. See page 7.")
    write(mine, "softmax", noted)
    assert by_id(merged(mine, new, old).notebook, "softmax").source == noted


@BASES
def test_of_two_copies_of_an_answer_the_last_written_counts_and_the_other_stays(known):
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    second = copy.deepcopy(write(mine, "softmax", "def softmax(x):\n    return 1"))
    second.id, second.source = "a-copy", ANSWER
    insert(mine, "softmax", second)
    empty = copy.deepcopy(by_id(old, "softmax"))
    empty.id = "another"
    insert(mine, "a-copy", empty)
    done = merged(mine, new, old if known else None)
    assert by_id(done.notebook, "softmax").source == ANSWER
    place = sources(done.notebook).index("def softmax(x):\n    return 1")
    assert "nbgrader" not in done.notebook.cells[place].metadata
    assert done.notebook.cells[place + 1].id == "softmax", (
        "the one that counts runs last"
    )
    assert sum("def softmax" in source for source in sources(done.notebook)) == 2


@BASES
def test_a_demonstration_that_was_tried_out_stays_as_long_as_the_course_has_it(known):
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    name = next(c.id for c in mine.cells if c.source == "softmax(2)")
    write(mine, name, "softmax(3)  # what if?")
    found = sources(merged(mine, new, old if known else None).notebook)
    assert "softmax(3)  # what if?" in found
    assert "softmax(2)" not in found


@BASES
def test_a_demonstration_that_was_tried_out_and_changed_stays_as_text(known):
    old, new = first(), first(demo=text("softmax(4)", new_code_cell))
    mine = copy.deepcopy(old)
    name = next(c.id for c in mine.cells if c.source == "softmax(2)")
    write(mine, name, "softmax(3)  # what if?")
    done = merged(mine, new, old if known else None)
    place = sources(done.notebook).index(YOURS + "softmax(3)  # what if?")
    assert done.notebook.cells[place].cell_type == "raw"
    assert "softmax(4)" in sources(done.notebook)
    assert "softmax(2)" not in sources(done.notebook)


def test_a_check_that_was_edited_is_the_courses_again_and_the_edit_stays_as_text():
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    write(mine, "check_softmax", "print('softmax is right.')")
    done = merged(mine, new, old).notebook
    assert by_id(done, "check_softmax") == by_id(new, "check_softmax")
    edit = next(cell for cell in done.cells if cell.cell_type == "raw")
    assert edit.source == YOURS + "print('softmax is right.')"


def test_cells_that_were_deleted_come_back_and_cells_that_were_moved_go_home():
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    mine.cells = [c for c in reversed(mine.cells) if c.id != "check_gae"]
    write(mine, "softmax", ANSWER)
    found = merged(mine, new, old).notebook
    assert [c.id for c in found.cells] == [c.id for c in new.cells]
    assert by_id(found, "softmax").source == ANSWER


@BASES
def test_a_notebook_without_ids_and_names_is_known_by_its_text(known):
    """Some editors keep neither; then an answer is one more cell of the learner's own."""
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    write(mine, "softmax", ANSWER)
    for cell in mine.cells:
        del cell["id"]
        cell.metadata.pop("nbgrader", None) if "why" in cell.source else None
    mine.nbformat_minor = 4
    done = merge(mine, new, old if known else None)
    nbformat.validate(done.notebook)
    assert lost(mine, done.notebook, new, old) == []
    assert by_id(done.notebook, "softmax").source == ANSWER
    assert sources(done.notebook).count("# Lesson") == 1
    assert ("What we saw." in sources(done.notebook)) != known
    assert merge(done.notebook, new, new).notebook == done.notebook


def test_metadata_of_the_learners_editor_stays():
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    mine.metadata["language_info"] = {"name": "python", "version": "3.12"}
    by_id(mine, "softmax").metadata["collapsed"] = True
    done = merged(mine, new, old).notebook
    assert done.metadata == mine.metadata
    assert by_id(done, "softmax").metadata["collapsed"] is True


def test_what_lost_looks_for_is_found_when_it_is_missing():
    old, new = first(), first(seen=text("Said better."))
    mine = copy.deepcopy(old)
    write(mine, "softmax", ANSWER)
    insert(mine, "softmax", new_markdown_cell("my remark"))
    assert lost(mine, new, new, old) == [ANSWER, "my remark"]


# --- whatever a learner does --------------------------------------------------------------------------

EDITS = st.lists(
    st.tuples(
        st.sampled_from(
            ["write", "insert", "delete", "move", "copy", "strip", "retype"]
        ),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    max_size=12,
)
NEWER = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from([None, text("# Lesson, renamed")]),
        "setup": st.sampled_from([None, text("import math", new_code_cell)]),
        "softmax": st.sampled_from([None, stub("softmax", "New."), stub("softmax2")]),
        "check_softmax": st.none(),
        "seen": st.sampled_from([None, text("We saw.")]),
        "demo": st.sampled_from([None, text("softmax(5)", new_code_cell)]),
        "gae": st.sampled_from([None, stub("gae", "New.")]),
        "why": st.sampled_from([None, question("why", "Why not?")]),
        "more": st.just(text("One more.")),
    },
)


def edit(notebook, how: str, one: int, two: int, mark: str) -> None:
    """One thing that a learner does, on purpose or not."""
    found = notebook.cells
    cell, other = found[one % len(found)], two % len(found)
    if how == "write":
        cell.source += f"\n{mark}"
    elif how == "insert":
        kind = (new_code_cell, new_markdown_cell, new_raw_cell)[two % 3]
        found.insert(one % len(found), kind(mark))
    elif how == "delete" and len(found) > 1 and "mine" not in cell.source:
        found.remove(cell)
    elif how == "move":
        found.insert(other, found.pop(one % len(found)))
    elif how == "copy":
        found.insert(other, nbformat.from_dict({**copy.deepcopy(cell), "id": mark}))
    elif how == "strip":
        cell.metadata.pop("nbgrader", None)
    elif how == "retype" and cell.cell_type == "code":
        cell.cell_type = "markdown"
        del cell["outputs"], cell["execution_count"]


@BASES
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edits=EDITS, changes=NEWER)
def test_whatever_a_learner_does_no_line_is_lost(known, edits, changes):
    old, new = first(), first(**copy.deepcopy(changes))
    mine = copy.deepcopy(old)
    for number, (how, one, two) in enumerate(edits):
        edit(mine, how, one, two, f"mine-{number}")
    written = {
        line
        for cell in mine.cells
        for line in cell.source.splitlines()
        if line.startswith("mine-")
    }
    done = merged(mine, new, old if known else None).notebook
    assert written <= {line for cell in done.cells for line in cell.source.splitlines()}


# --- the course as it is ------------------------------------------------------------------------------

BUILT = [lesson for lesson in lessons() if lesson.student.exists()]


@pytest.mark.parametrize("lesson", BUILT, ids=lambda lesson: lesson.name)
def test_every_cell_of_the_released_notebooks_says_by_its_id_that_it_is_the_courses(
    lesson,
):
    release = nbformat.read(lesson.student, 4)
    for cell in release.cells:
        named = cells.grade_id(cell)
        assert cell.id == named if named else cells.verbatim(cell), cell.source


@pytest.mark.parametrize("lesson", BUILT, ids=lambda lesson: lesson.name)
def test_a_solved_copy_of_every_lesson_is_merged_with_its_release_without_a_change(
    lesson,
):
    release = nbformat.read(lesson.student, 4)
    answers = {c.id: c.source for c in read(lesson).cells if cells.flag(c, "solution")}
    mine = copy.deepcopy(release)
    for cell in mine.cells:
        cell.source = answers.get(cell.id, cell.source)
    for base in (release, None):
        done = merge(mine, release, base)
        assert done.notebook == mine
        assert set(done.answers) == set(answers)
        assert lost(mine, done.notebook, release, base) == []
    assert desk.structural_faults(mine, release, lesson.student) == []
