"""The learner's desk: nothing of theirs is lost, and check-mine says what a fresh run would say."""

import json
import shutil

import nbformat
import pytest

from course_lib import desk
from tools.lessons import lessons, read

NAME = "00_start_here"


@pytest.fixture
def own_desk(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    desk.open_desk()
    return desk.mine(NAME)


def edit(path, grade_id: str, source: str) -> None:
    notebook = nbformat.read(path, 4)
    cell = next(
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )
    cell.source = source
    nbformat.write(notebook, path)


def with_solutions(path) -> None:
    """Answer everything right, the written questions too."""
    answers = {
        c.metadata.nbgrader.grade_id: c.source
        for c in read(lessons("00")[0]).cells
        if c.metadata.get("nbgrader", {}).get("solution")
    }
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answers[cell.metadata.nbgrader.grade_id]
    nbformat.write(notebook, path)


def test_opening_the_desk_twice_never_overwrites_a_copy(own_desk):
    own_desk.write_text("mine")
    assert desk.open_desk() == []
    assert own_desk.read_text() == "mine"


def test_a_number_in_any_form_names_its_lesson_and_an_unknown_one_is_told():
    assert (
        desk.lesson_name("0")
        == desk.lesson_name("00")
        == desk.lesson_name(NAME)
        == NAME
    )
    with pytest.raises(
        desk.DeskError, match=r"There is no lesson '99'\. There are: 00_start_here"
    ):
        desk.lesson_name("99")


def test_reset_blanks_one_exercise_and_keeps_what_was_there(own_desk):
    edit(own_desk, "softmax", "def softmax(scores):\n    return 'my night of work'")
    edit(
        own_desk,
        "masked_mean",
        "def masked_mean(values, mask, dim=None):\n    return 'untouched'",
    )
    said = desk.reset("00", "softmax")
    assert "softmax is blank again" in said
    kept = list((desk.DESK / "backup" / NAME).glob("softmax-*.py"))
    assert len(kept) == 1
    assert "my night of work" in kept[0].read_text()
    sources = " ".join(cell.source for cell in nbformat.read(own_desk, 4).cells)
    assert "my night of work" not in sources
    assert "untouched" in sources
    desk.reset("00", "softmax")
    assert len(list((desk.DESK / "backup" / NAME).glob("softmax-*.py"))) == 2, (
        "an older backup is not overwritten"
    )


def test_reset_of_an_unknown_exercise_lists_the_known_ones(own_desk):
    with pytest.raises(
        desk.DeskError, match=r"no exercise 'sofmax'\. It has: softmax, token_logprobs"
    ):
        desk.reset("00", "sofmax")


@pytest.mark.parametrize("damage", ["{", json.dumps({"nbformat": 4}), ""])
def test_a_damaged_notebook_is_told_in_one_sentence_and_left_alone(own_desk, damage):
    own_desk.write_text(damage)
    with pytest.raises(desk.DeskError, match="is damaged and cannot be read"):
        desk.check("00")
    assert own_desk.read_text() == damage


def test_a_missing_notebook_says_how_to_get_one(own_desk, capsys):
    own_desk.unlink()
    assert desk.main(["check", "00"]) == 1
    assert "`make lab` puts a fresh copy" in capsys.readouterr().err


def test_check_mine_gives_the_marks_of_a_mixed_notebook_and_says_what_is_missing(
    own_desk,
):
    with_solutions(own_desk)
    edit(
        own_desk,
        "softmax",
        "def softmax(scores):\n    return scores.exp() / scores.exp().sum(-1, keepdim=True)",
    )
    edit(
        own_desk, "token_logprobs", "def token_logprobs(logits, ids)\n    syntax error"
    )
    edit(
        own_desk,
        "pad_batch",
        "def pad_batch(sequences, pad_id=0):\n    raise NotImplementedError",
    )
    blank = next(
        c
        for c in nbformat.read(desk.released(NAME), 4).cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == "why_mask"
    )
    edit(own_desk, "why_mask", blank.source)
    edit(
        own_desk,
        "why_cuts",
        blank.source + "\n\nMy answer stands below the placeholder.",
    )
    edit(own_desk, "check_masked_mean", "print('all is well')")
    before = own_desk.read_bytes()
    report = desk.check("00")
    marks = {name: (points, message) for name, points, _, message in report.marks}
    wrong = {name for name, (points, _) in marks.items() if points == 0}
    assert wrong == {"softmax", "token_logprobs", "pad_batch"}
    assert "overflows" in marks["softmax"][1]
    assert "does not define that name" in marks["token_logprobs"][1]
    assert "not written yet" in marks["pad_batch"][1]
    text = report.text()
    assert "Not ready to hand in" in text
    assert "the written answer why_mask is still empty" in text
    assert "why_cuts" not in text
    assert "the check cell of masked_mean was changed" in text
    assert own_desk.read_bytes() == before, "checking changes nothing in the copy"


def test_a_finished_notebook_has_full_marks_and_is_ready(own_desk, capsys):
    with_solutions(own_desk)
    assert desk.main(["check", "00"]) == 0
    out = capsys.readouterr().out
    assert "Ready to hand in." in out
    assert "written answers              2 more, given by hand" in out
    total = sum(
        c.metadata.nbgrader.points
        for c in nbformat.read(own_desk, 4).cells
        if c.metadata.get("nbgrader", {}).get("locked")
    )
    assert f"{total} of {total}" in out


def test_missing_and_doubled_cells_and_a_renamed_file_stand_in_the_way(own_desk):
    notebook = nbformat.read(own_desk, 4)
    notebook.cells = [
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") != "check_softmax"
    ]
    softmax = next(
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == "softmax"
    )
    notebook.cells.append(nbformat.from_dict({**softmax, "id": "copy"}))
    release = nbformat.read(desk.released(NAME), 4)
    renamed = own_desk.with_name("00_start_here (1).ipynb")
    shutil.move(own_desk, renamed)
    faults = " ".join(desk.structural_faults(notebook, release, renamed))
    assert "the cell of check_softmax is missing" in faults
    assert "2 cells called softmax" in faults
    assert "its name must stay as it was" in faults


def test_an_edit_that_was_run_and_not_saved_is_noticed(own_desk, monkeypatch, capsys):
    class Shell:
        def __init__(self, *entries):
            self.user_ns = {"In": ["", *entries]}

    edit(own_desk, "softmax", "def softmax(scores):\n    return 1")
    monkeypatch.setattr(
        "IPython.get_ipython", lambda: Shell("def softmax(scores):\n    return 2")
    )
    monkeypatch.chdir(own_desk.parent)
    desk.check_mine(NAME)
    assert (
        "older than what you ran (softmax). Save with Ctrl+S" in capsys.readouterr().out
    )
    assert desk._unsaved(nbformat.read(own_desk, 4)) == ["softmax"]
    monkeypatch.setattr(
        "IPython.get_ipython", lambda: Shell("def softmax(scores):\n    return 1")
    )
    assert desk._unsaved(nbformat.read(own_desk, 4)) == []


def test_a_saved_notebook_keeps_the_still_picture_and_drops_the_live_view():
    view = "application/vnd.jupyter.widget-view+json"
    widget = {"data": {view: {"model_id": "1"}, "text/html": "<img>"}}
    only_live = {"data": {view: {"model_id": "2"}}}
    cells = [{"outputs": [widget, only_live]}, {"source": "no outputs here"}]
    desk.keep_still_pictures(
        {"type": "notebook", "content": {"cells": cells}}, path="x"
    )
    assert widget["data"] == {"text/html": "<img>"}
    assert view in only_live["data"], "what has no still picture is left alone"
    desk.keep_still_pictures({"type": "file", "content": "text"}, path="y")


def test_a_written_answer_without_a_word_is_empty_even_if_the_placeholder_is_gone(
    own_desk,
):
    notebook, release = (
        nbformat.read(own_desk, 4),
        nbformat.read(desk.released(NAME), 4),
    )
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "why_mask":
            cell.source = cell.source.replace("YOUR ANSWER HERE", "")
    faults = desk.structural_faults(notebook, release, own_desk)
    assert "the written answer why_mask is still empty" in faults


@pytest.mark.parametrize("trick", ["raw", "skip-execution"])
def test_a_check_cell_that_would_not_run_gives_no_points(own_desk, trick):
    notebook = nbformat.read(own_desk, 4)
    cell = next(
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == "check_softmax"
    )
    if trick == "raw":
        cell.cell_type = "raw"
        del cell["outputs"], cell["execution_count"]
    else:
        cell.metadata["tags"] = ["skip-execution"]
    nbformat.write(notebook, own_desk)
    marks = {name: points for name, points, _, _ in desk.check("00").marks}
    assert marks["softmax"] == 0


def test_a_cell_that_ends_the_kernel_costs_what_follows_and_is_told(own_desk):
    with_solutions(own_desk)
    edit(own_desk, "masked_mean", "import os\nos._exit(1)")
    marks = {
        name: (points, message) for name, points, _, message in desk.check("00").marks
    }
    assert marks["softmax"][0] > 0
    assert marks["best_labels"][0] == 0
    assert "was not run" in marks["best_labels"][1]


def test_a_full_disk_leaves_the_notebook_whole(own_desk, monkeypatch, capsys):
    before = own_desk.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device", "work")

    monkeypatch.setattr(desk.os, "replace", full)
    assert desk.main(["reset", "00", "softmax"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert own_desk.read_bytes() == before
    assert [p.name for p in own_desk.parent.iterdir()] == [own_desk.name]


def test_a_file_in_the_place_of_the_desk_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "work").write_text("a file")
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    assert desk.main(["open"]) == 1
    assert "work" in capsys.readouterr().err
