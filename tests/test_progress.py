"""The map of the course says from saved files where a learner stands, and never runs or changes one."""

import copy
import json
import re
import time

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_output

from course_lib import course_map, desk, progress, standing
from course_lib.syllabus import COURSE
from tools.lessons import lessons, read

NAME = "00_start_here"
RIGHT = {
    c.id: c.source
    for c in read(lessons("00")[0]).cells
    if c.metadata.get("nbgrader", {}).get("solution")
}


@pytest.fixture
def own_desk(tmp_path, monkeypatch):
    """A desk on which lesson 00 lies, in a course that has no other lesson yet."""
    release = desk.released(NAME)
    monkeypatch.setattr(desk, "ROOT", tmp_path)
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    desk.write_whole(desk.released(NAME), release.read_text(encoding="utf-8"))
    desk.open_desk()
    return desk.mine(NAME)


def change(path, edit) -> None:
    notebook = nbformat.read(path, 4)
    edit({cell.id: cell for cell in notebook.cells}, notebook)
    nbformat.write(notebook, path)


def solve(
    path, name: str, count: int = 5, said: str = "is right. It was proven."
) -> None:
    """Write an answer, run it and then its check, and save."""

    def edit(cells, _):
        cells[name].source = RIGHT[name]
        cells[name].execution_count = count
        run_check(cells, name, count + 1, said)

    change(path, edit)


def run_check(cells, name: str, count: int, said: str = "is right. Proven.") -> None:
    check = cells[f"check_{name}"]
    check.execution_count = count
    check.outputs = [new_output("stream", name="stdout", text=f"{name} {said}\n")]


def fail_check(cells, name: str, count: int) -> None:
    check = cells[f"check_{name}"]
    check.execution_count = count
    check.outputs = [new_output("error", ename="CheckFailed", evalue="Not yet.")]


def lesson(number: str = "00"):
    return next(x for x in progress.read().lessons if x.number == number)


def states() -> dict[str, str]:
    return {s.exercise.name: s.state for s in lesson().standings}


def test_a_desk_that_nobody_has_sat_at_begins_with_lesson_00(own_desk):
    found = progress.read()
    assert found.next() == (
        'Lesson 00: begin "Start here", write softmax (Exercise 1 · Make softmax safe).'
    )
    assert not any(x.begun or x.notes or x.done for x in found.lessons)
    assert [x.number for x in found.lessons] == [number for number, *_ in COURSE]


def test_no_desk_at_all_gives_the_same_map_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "DESK", tmp_path / "nowhere")
    assert progress.read().next().startswith('Lesson 00: begin "Start here"')
    assert not desk.DESK.exists()


def test_a_notebook_that_was_really_run_is_told_as_it_is(own_desk, monkeypatch):
    """In a real kernel: one right, one wrong, one that does not compile, one skipped, the rest blank."""

    def edit(cells, notebook):
        cells["softmax"].source = RIGHT["softmax"]
        cells[
            "token_logprobs"
        ].source = "def token_logprobs(logits, ids):\n    return ids"
        cells["masked_mean"].source = "def masked_mean(values)\n    half typed"
        skip = new_code_cell('checks.skip("pad_batch")')
        place = notebook.cells.index(cells["check_pad_batch"])
        notebook.cells.insert(place, skip)
        words = "\n\nThe padding is counted."
        cells["why_mask"].source += words

    change(own_desk, edit)
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    notebook = nbformat.read(own_desk, 4)
    for cell in notebook.cells:
        words = ("import textwrap", "checks.skip")
        if not (cell.metadata.get("nbgrader") or cell.source.startswith(words)):
            cell.metadata["tags"] = ["skip-execution"]  # pictures take their time
    NotebookClient(
        notebook,
        timeout=120,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(own_desk.parent)}},
    ).execute()
    nbformat.write(notebook, own_desk)
    found = states()
    assert found == {
        "softmax": "solved",
        "token_logprobs": "not right yet",
        "pad_batch": "skipped",
        "masked_mean": "not right yet",
        "best_labels": "blank",
        "accumulated_mean": "blank",
        "test_accumulated_mean": "blank",
        "why_mask": "written",
        "why_cuts": "blank",
    }
    assert (lesson().points, lesson().of, lesson().done) == (3, 18, 2)
    assert (
        "mend token_logprobs: its check said no (Exercise 2" in progress.read().next()
    )


def test_an_answer_that_was_never_checked_asks_for_its_check(own_desk):
    change(own_desk, lambda cells, _: cells["softmax"].update(source=RIGHT["softmax"]))
    assert states()["softmax"] == "not checked yet"
    assert "run the check of softmax (Ex" in progress.read().next()


def test_an_answer_that_was_edited_after_its_check_passed_is_to_be_checked_again(
    own_desk,
):
    solve(own_desk, "softmax")
    assert states()["softmax"] == "solved"
    change(
        own_desk, lambda c, _: c["softmax"].update(source=RIGHT["softmax"] + "  # ?")
    )
    assert states()["softmax"] == "to check again"
    assert "the answer has changed since it passed" in progress.read().next()
    assert lesson().points == 0
    change(own_desk, lambda c, _: c["softmax"].update(source=RIGHT["softmax"]))
    assert states()["softmax"] == "solved", "back to what passed"


def test_an_answer_that_was_run_after_its_check_is_to_be_checked_again(own_desk):
    """Also at the first look, when nothing is remembered."""
    solve(own_desk, "softmax")
    change(own_desk, lambda cells, _: cells["softmax"].update(execution_count=9))
    assert states()["softmax"] == "to check again"
    change(own_desk, lambda cells, _: run_check(cells, "softmax", 10))
    assert states()["softmax"] == "solved"


def test_an_answer_that_was_only_run_again_in_a_new_kernel_stays_solved(own_desk):
    solve(own_desk, "softmax")
    assert states()["softmax"] == "solved"
    change(own_desk, lambda cells, _: cells["softmax"].update(execution_count=99))
    assert states()["softmax"] == "solved", "the text is the one that passed"


def test_a_new_answer_with_a_new_check_in_a_new_kernel_is_solved(own_desk):
    solve(own_desk, "softmax", count=50)
    assert states()["softmax"] == "solved"

    def edit(cells, _):
        cells["softmax"].update(
            source=RIGHT["softmax"] + "  # better", execution_count=2
        )
        run_check(cells, "softmax", 3)

    change(own_desk, edit)
    assert states()["softmax"] == "solved"


def test_a_check_that_failed_after_it_had_passed_counts_as_failed(own_desk):
    solve(own_desk, "softmax")
    assert states()["softmax"] == "solved"
    change(own_desk, lambda cells, _: fail_check(cells, "softmax", 8))
    assert states()["softmax"] == "not right yet"


def test_an_exercise_that_was_reset_is_blank(own_desk):
    solve(own_desk, "softmax")
    assert states()["softmax"] == "solved"
    desk.reset("00", "softmax")
    assert states()["softmax"] == "blank"


def test_an_answer_in_a_cell_of_its_own_counts(own_desk):
    def edit(cells, notebook):
        own = new_code_cell(RIGHT["softmax"], execution_count=6)
        notebook.cells.insert(notebook.cells.index(cells["check_softmax"]), own)
        run_check(cells, "softmax", 7)

    change(own_desk, edit)
    assert states()["softmax"] == "solved"


def test_a_check_cell_that_says_something_else_now_is_not_believed(own_desk):
    solve(own_desk, "softmax")
    change(
        own_desk, lambda c, _: c["check_softmax"].update(source="print('is right.')")
    )
    assert states()["softmax"] == "not checked yet"


def test_of_doubled_cells_the_last_written_counts_and_the_map_says_so(own_desk):
    def edit(cells, notebook):
        second = nbformat.from_dict({**copy.deepcopy(cells["softmax"]), "id": "copy"})
        second.source = RIGHT["softmax"]
        notebook.cells.insert(notebook.cells.index(cells["softmax"]) + 1, second)
        second.execution_count = 4
        run_check(cells, "softmax", 5)

    change(own_desk, edit)
    assert states()["softmax"] == "solved"
    assert lesson().notes == [
        "There are several cells called softmax; the last written counts."
    ]


def test_a_cell_that_is_gone_or_lost_its_name_is_told(own_desk):
    def edit(cells, notebook):
        notebook.cells.remove(cells["softmax"])
        cells["pad_batch"].metadata.nbgrader.grade_id = "renamed"
        cells["masked_mean"].metadata.pop("nbgrader")
        cells["masked_mean"].source = RIGHT["masked_mean"]

    change(own_desk, edit)
    found = states()
    assert found["softmax"] == found["pad_batch"] == "its cell is missing"
    assert found["masked_mean"] == "not checked yet", "its id still tells"
    assert "bring back the cell of softmax" in progress.read().next()


@pytest.mark.parametrize("damage", [b"{", b"", b"\xff\xfe", b"[]"])
def test_a_damaged_notebook_is_named_in_one_sentence_and_left_alone(own_desk, damage):
    own_desk.write_bytes(damage)
    assert lesson().notes == [f"{NAME}.ipynb is damaged; `make update` sets it aside."]
    assert f"    {NAME}.ipynb is damaged" in progress.read().text()
    assert own_desk.read_bytes() == damage


def test_a_missing_notebook_is_not_begun_and_a_renamed_one_is_found(own_desk):
    own_desk.rename(own_desk.with_name("mine.ipynb"))
    found = lesson()
    assert not found.begun
    assert found.notes == [
        f"{NAME}.ipynb is not there. If mine.ipynb is yours, rename it back."
    ]
    own_desk.with_name("mine.ipynb").unlink()
    assert lesson().notes == []


def test_a_copy_of_an_older_release_is_told(own_desk):
    def edit(cells, notebook):
        old = nbformat.v4.new_markdown_cell("An older text.")
        old.id = "4a1bd1e7e0f7"
        notebook.cells.insert(3, old)

    change(own_desk, edit)
    assert lesson().notes == [], "a text of the learner's own"

    def make_it_the_courses(cells, _):
        from course_lib.cells import digest

        cells["4a1bd1e7e0f7"].id = digest(cells["4a1bd1e7e0f7"])

    change(own_desk, make_it_the_courses)
    assert lesson().notes == [progress.OLDER]


def test_reading_the_map_changes_no_notebook_and_writes_one_file(own_desk):
    solve(own_desk, "softmax")
    before = {path: path.read_bytes() for path in desk.DESK.rglob("*.ipynb")}
    progress.read()
    assert {path: path.read_bytes() for path in desk.DESK.rglob("*.ipynb")} == before
    others = [p.name for p in desk.DESK.rglob("*") if p.is_file() and p not in before]
    assert others == [".progress.json"]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"00_start_here": 3}', '{"a": {"b": 1}}']
)
def test_an_unreadable_memory_is_an_empty_one(own_desk, content):
    solve(own_desk, "softmax")
    desk.DESK.joinpath(".progress.json").write_text(content)
    assert states()["softmax"] == "solved"


def test_a_memory_that_cannot_be_written_does_not_hide_the_map(own_desk):
    solve(own_desk, "softmax")
    desk.DESK.joinpath(".progress.json").mkdir()
    assert states()["softmax"] == "solved"


def test_the_hook_of_jupyterlab_remembers_what_passed_and_never_raises(own_desk):
    solve(own_desk, "softmax")
    progress.after_save(os_path=str(own_desk), model={}, contents_manager=None)
    memory = json.loads(desk.DESK.joinpath(".progress.json").read_text())
    assert list(memory[NAME]) == ["softmax"]
    change(
        own_desk, lambda c, _: c["softmax"].update(source=RIGHT["softmax"] + "  # ?")
    )
    assert states()["softmax"] == "to check again"
    own_desk.write_text("{")
    progress.after_save(os_path=str(own_desk))
    progress.after_save(os_path="\0")


# --- what to do next ----------------------------------------------------------------------------------


def finished(number: str, title: str = "T", **values):
    asked = standing.Exercise("f", "Exercise 1 · F", 3, "", False)
    found = [standing.Standing(asked, standing.SOLVED)]
    return course_map.Lesson(number, title, found, begun=True, **values)


def opened(number: str, state: str = standing.BLANK, **values):
    asked = standing.Exercise("g", "Exercise 2 · G", 3, "", False)
    return course_map.Lesson(number, "T", [standing.Standing(asked, state)], **values)


def test_next_is_the_unfinished_lesson_that_was_saved_last():
    old, new = opened("01", begun=True, saved=1.0), opened("05", begun=True, saved=2.0)
    assert progress.Map([old, new]).next().startswith("Lesson 05: write g (Exercise 2")


def test_next_after_a_finished_lesson_is_the_first_that_was_not_begun():
    found = progress.Map([finished("00"), opened("01"), opened("02")]).next()
    assert found.startswith('Lesson 01: begin "T", write g')
    assert "builds on" not in found


def test_a_lesson_whose_ground_is_open_says_so():
    found = progress.Map(
        [opened("00", begun=False), opened("02", begun=True, saved=3.0)]
    )
    assert found.next().endswith("It builds on lesson 00, where exercises are open.")


def test_what_was_skipped_comes_last():
    later = opened("00", standing.SKIPPED, begun=True)
    later.standings += opened("00").standings
    assert later.next().state == standing.BLANK
    later.standings.pop()
    assert "come back to g, which was skipped" in progress.Map([later]).next()


def test_when_all_is_done_the_map_says_so():
    assert (
        progress.Map([finished("00")]).next() == "Everything that is released is done."
    )


def test_every_lesson_on_the_map_is_real_and_builds_on_what_its_opening_asks_for():
    numbers = [number for number, *_ in COURSE]
    for number, earlier in course_map.BUILDS_ON.items():
        assert number in numbers
        assert set(earlier) <= set(numbers[: numbers.index(number)])
    for found in lessons():
        opening = found.path.read_text().partition("**You need**")[2]
        paragraph = opening.split("\n#\n")[0]
        asked = re.findall(r"[Ll]esson (\d\d)", paragraph)
        assert tuple(sorted(set(asked))) == course_map.BUILDS_ON.get(found.number, ())


# --- how it looks -------------------------------------------------------------------------------------


def test_the_text_fits_a_terminal_and_can_do_without_unicode(own_desk, capsys):
    solve(own_desk, "softmax")
    found = progress.read()
    assert max(map(len, found.text().splitlines())) <= desk.WIDTH
    assert re.search(
        r"00  Start here +█░{9}  1 of 9 +3 of 18 +token_logprobs", found.text()
    )
    assert "00  Start here" in found.text(plain=True)
    assert "#........." in found.text(plain=True)
    assert progress.main([]) == 0
    assert capsys.readouterr().out.rstrip() == found.text()
    assert repr(found) == found.text()


def test_the_table_has_no_colour_and_says_every_state_in_words(own_desk):
    solve(own_desk, "softmax")
    page = progress.read()._repr_html_()
    assert not re.search(r"color(?!:inherit)|background|#[0-9a-f]{3}|<script", page)
    assert "✓ softmax: solved" in page
    assert "· pad_batch: blank" in page
    assert page.count("<details>") == len(
        [x for x in progress.read().lessons if x.standings]
    )


def test_a_name_with_signs_of_html_is_shown_as_it_is():
    page = progress.Map(
        [opened("00", begun=True, notes=["<b>x.ipynb</b>"])]
    )._repr_html_()
    assert "&lt;b&gt;x.ipynb" in page


def test_the_map_of_a_full_desk_takes_less_than_two_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    desk.open_desk()
    for path in desk.DESK.glob("*/*.ipynb"):
        change(path, lambda cells, _: None)  # saved by somebody
    before = time.process_time()
    found = progress.read()
    assert time.process_time() - before < 2
    on_desk = [path for path in desk.DESK.iterdir() if path.is_dir()]
    assert len([x for x in found.lessons if x.standings]) == len(on_desk)
