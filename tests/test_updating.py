"""`make update`: answers stay, the course is new, and nothing that happens on the way loses work."""

import itertools
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest

from course_lib import cells, desk, updating
from tests.test_merging import (
    ANSWER,
    by_id,
    first,
    insert,
    new_markdown_cell,
    sources,
    stub,
    text,
    write,
)

NAME = "00_start_here"
REMARK = "my remark of last night"


def release(root: Path, notebook, name: str = NAME) -> None:
    path = root / "notebooks" / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one lesson, on the desk as it was released."""
    monkeypatch.setattr(desk, "ROOT", tmp_path)
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    release(tmp_path, first())
    desk.open_desk()
    return tmp_path


def work(name: str = NAME) -> None:
    """What a learner did: an answer, a remark."""
    path = desk.mine(name)
    notebook = nbformat.read(path, 4)
    write(notebook, "softmax", ANSWER)
    insert(notebook, "check_softmax", new_markdown_cell(REMARK))
    nbformat.write(notebook, path)


def on_desk(name: str = NAME):
    return nbformat.read(desk.mine(name), 4)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def newer():
    return first(seen=text("What we saw, said better."), gae=stub("gae", "Clearer."))


def test_an_update_keeps_the_work_brings_the_news_and_says_both(course):
    work()
    before = desk.mine(NAME).read_bytes()
    release(course, newer())
    said, well = updating.update()
    assert well
    assert said[0].startswith(
        f"{NAME} is updated. Kept: 1 answer, 1 cell of your own. The old one: work/backup"
    )
    found = sources(on_desk())
    assert {ANSWER, REMARK, "What we saw, said better."} <= set(found)
    assert "What we saw." not in found
    kept = list((desk.DESK / "backup" / NAME).iterdir())
    assert [path.read_bytes() for path in kept] == [before]


def test_what_is_kept_twice_is_kept_once_and_stands_where_it_is_said_to(course):
    first_place = updating._keep(NAME, "before-update", b"old")
    assert updating._keep(NAME, "before-update", b"old") == first_place
    assert (course / first_place).read_bytes() == b"old"
    assert updating._keep(NAME, "before-update", b"older") != first_place


def test_a_second_update_changes_no_byte(course):
    work()
    release(course, newer())
    updating.update()
    before = files(desk.DESK)
    assert updating.update() == ([f"{NAME} has nothing new."], True)
    assert files(desk.DESK) == before


def test_a_copy_that_was_never_changed_is_replaced(course):
    release(course, newer())
    updating.update()
    assert desk.mine(NAME).read_bytes() == desk.released(NAME).read_bytes()


def test_without_news_nothing_is_touched_even_where_cells_were_deleted(course):
    updating.update()
    notebook = on_desk()
    notebook.cells = notebook.cells[2:]
    nbformat.write(notebook, desk.mine(NAME))
    before = files(desk.DESK)
    assert updating.update()[0] == [f"{NAME} has nothing new."]
    assert files(desk.DESK) == before


def test_a_lesson_that_is_not_there_is_put_there(course):
    shutil.rmtree(desk.DESK)
    assert updating.update() == ([f"{NAME} is new on your desk."], True)
    assert on_desk() == first()


@pytest.mark.parametrize("damage", [b"{", b"", b"\xff\xfe\x00", b'{"nbformat": 4}'])
def test_a_damaged_notebook_is_set_aside_and_a_fresh_copy_takes_its_place(
    course, damage
):
    desk.mine(NAME).write_bytes(damage)
    said, well = updating.update()
    assert well
    assert (
        "is damaged. It is set aside as work/backup/00_start_here/damaged-" in said[0]
    )
    aside = list((desk.DESK / "backup" / NAME).glob("damaged-2*.ipynb"))
    assert [path.read_bytes() for path in aside] == [damage]
    assert on_desk() == first()


def test_a_notebook_with_a_part_that_nobody_knows_is_not_damaged(course):
    work()
    content = json.loads(desk.mine(NAME).read_text())
    content["cells"][0]["my_editor"] = {"seen": True}
    desk.mine(NAME).write_text(json.dumps(content))
    release(course, newer())
    assert "is updated" in updating.update()[0][0]
    assert ANSWER in sources(on_desk())


def test_reading_a_notebook_says_nothing_and_leaves_the_log_as_it_was(capfd):
    log = logging.getLogger("traitlets")
    before = log.level
    data = (
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"odd": 1}]}'
    )
    with pytest.raises(cells.Damaged):
        cells.parse(data, Path("00_start_here.ipynb"))
    assert log.level == before
    assert capfd.readouterr() == ("", "")


def test_a_notebook_that_is_saved_during_the_update_is_left_as_it_is(
    course, monkeypatch
):
    work()
    release(course, newer())

    def saved_meanwhile(*_):
        desk.mine(NAME).write_text("saved by JupyterLab")
        return "a backup"

    monkeypatch.setattr(updating, "_keep", saved_meanwhile)
    said, well = updating.update()
    assert not well
    assert "saved while it was being updated" in said[0]
    assert desk.mine(NAME).read_text() == "saved by JupyterLab"


def test_a_merge_that_would_lose_a_line_is_not_written(course, monkeypatch):
    work()
    before = desk.mine(NAME).read_bytes()
    release(course, newer())
    monkeypatch.setattr(
        updating, "merge", lambda *_: updating.Merged(newer(), answers=["softmax"])
    )
    said, well = updating.update()
    assert not well
    assert "is left as it is: merging it would lose 'def softmax(x):'" in said[0]
    assert desk.mine(NAME).read_bytes() == before


def test_one_lesson_that_cannot_be_written_does_not_keep_the_others(course):
    release(course, first(), "01_second")
    desk.open_desk()
    release(course, newer())
    release(course, newer(), "01_second")
    desk.mine(NAME).with_name(f".{NAME}.ipynb.part").mkdir()  # nothing can be put there
    said, well = updating.update()
    assert not well
    assert said[0].startswith(f"{NAME} is left as it is: ")
    assert said[1].startswith("01_second is updated.")
    assert on_desk() == first()


def test_a_desk_that_is_a_link_stays_one(course):
    work()
    elsewhere = course / "cloud.ipynb"
    shutil.move(desk.mine(NAME), elsewhere)
    desk.mine(NAME).symlink_to(elsewhere)
    release(course, newer())
    updating.update()
    assert desk.mine(NAME).is_symlink()
    assert ANSWER in sources(nbformat.read(elsewhere, 4))


def test_the_command_says_what_it_did_and_how_to_see_it_in_an_open_notebook(
    course, capsys
):
    assert updating.main([]) == 0
    assert capsys.readouterr().out == f"{NAME} has nothing new.\n"
    release(course, newer())
    assert updating.main(["0"]) == 0
    assert "Reload Notebook from Disk" in capsys.readouterr().out
    assert updating.main(["99"]) == 1
    assert "There is no lesson '99'" in capsys.readouterr().err


# --- which release a copy was made from ---------------------------------------------------------------


def commit(root: Path, notebook) -> None:
    release(root, notebook)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "notebooks"], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)


def test_before_the_first_update_git_knows_the_release_that_a_copy_was_made_from(
    course,
):
    """Only with it is a changed first line told from one that the learner changed."""
    other = stub("softmax")
    other.source = other.source.replace("(x)", "(y)")
    for notebook in (first(title=text("# Long ago")), first(), newer()):
        commit(course, notebook)
    work()
    commit(course, first(softmax=other))
    said, _ = updating.update()
    assert "Changed in the course, see below your answer: softmax." in said[0]
    mine = on_desk()
    release_now = cells.parse(desk.released(NAME).read_bytes(), desk.released(NAME))
    assert by_id(mine, "gae").source == by_id(release_now, "gae").source


def test_without_git_a_copy_of_an_older_release_is_not_taken_for_one_of_the_newest(
    course,
):
    """The new release has all that the old one had, and one cell more."""
    work()
    release(course, first(more=text("One more.")))
    assert "is updated" in updating.update()[0][0]
    assert "One more." in sources(on_desk())


def test_without_git_a_blank_stub_of_an_older_release_is_replaced(course):
    work()
    release(course, newer())
    updating.update()
    assert "Clearer." in by_id(on_desk(), "gae").source


def test_a_release_that_a_copy_cannot_be_made_from_is_not_taken_for_its_own(course):
    """Noted is the first; the copy came by hand from a second, of which nothing is known."""
    updating.update()
    second = first(seen=text("Second."), gae=stub("gae", "Second."))
    nbformat.write(second, desk.mine(NAME))
    release(course, newer())
    updating.update()
    assert on_desk() == newer()


def test_several_releases_later_the_work_is_still_there(course):
    work()
    for number in range(5):
        release(course, first(seen=text(f"Said for the {number}th time.")))
        updating.update()
    found = sources(on_desk())
    assert found.count(ANSWER) == found.count(REMARK) == 1
    assert [s for s in found if s.startswith("Said")] == ["Said for the 4th time."]


# --- killed, no room, no right to write ---------------------------------------------------------------

LESSONS = [f"0{number}_lesson" for number in range(3)]
FILE_WORK = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
)  # as Python's auditing calls it


@pytest.fixture
def busy(tmp_path, monkeypatch):
    """Three lessons with work in them and half a megabyte of output each, and a newer course."""
    monkeypatch.setattr(desk, "ROOT", tmp_path)
    monkeypatch.setattr(desk, "DESK", tmp_path / "work")
    for name in LESSONS:
        release(tmp_path, first(), name)
    desk.open_desk()
    for name in LESSONS:
        work(name)
        notebook = on_desk(name)
        by_id(notebook, "softmax").outputs[0].text = "x" * 500_000
        nbformat.write(notebook, desk.mine(name))
        release(tmp_path, newer(), name)
    return tmp_path


def in_a_process(action, seconds: float | None = None) -> tuple[int, str]:
    """Do it in a process of its own, killed after so many seconds: (status, what it said)."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.write(writer, "\n".join(action()[0]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    with os.fdopen(reader) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text


def killed_at(number: int):
    """An update that is killed before the n-th time that it touches a file."""

    def action():
        count = itertools.count(1)

        def stop(event: str, _) -> None:
            if event in FILE_WORK and next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(stop)
        return updating.update()

    return action


def restore(before: dict[str, bytes]) -> None:
    """The desk as it was."""
    shutil.rmtree(desk.DESK)
    for name, data in before.items():
        (desk.DESK / name).parent.mkdir(parents=True, exist_ok=True)
        (desk.DESK / name).write_bytes(data)


def whole(name: str) -> str:
    """The notebook is the old or the new one, with the work in it: which?"""
    found = sources(on_desk(name))
    assert found.count(ANSWER) == found.count(REMARK) == 1
    assert ("What we saw." in found) != ("What we saw, said better." in found)
    return "new" if "What we saw, said better." in found else "old"


def finish(root: Path) -> None:
    """A last update, undisturbed: everything is new, and no rubbish is left."""
    said, well = updating.update()
    assert well, said
    assert {whole(name) for name in LESSONS} == {"new"}
    assert [path.name for path in (root / "work").rglob("*.part")] == []
    for name in LESSONS:
        kept = [p.read_bytes() for p in (desk.DESK / "backup" / name).iterdir()]
        assert len(kept) == 1, "the old one is kept once, however often it was tried"
        assert REMARK in kept[0].decode()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")


@needs_fork
def test_an_update_that_is_killed_at_any_file_operation_loses_nothing(busy):
    """Before the n-th time that a file is opened, renamed or removed, for every n."""
    seen, before = [], files(desk.DESK)
    updating.cells.parse(before[f"{LESSONS[0]}/{LESSONS[0]}.ipynb"], Path("imports"))
    for number in itertools.count(1):
        restore(before)
        status, _ = in_a_process(killed_at(number))
        seen.append([whole(name) for name in LESSONS].count("new"))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        finish(busy)
    assert len(seen) > 30
    assert sorted(set(seen)) == [0, 1, 2, 3]
    assert seen == sorted(seen), "one lesson after the other"


@needs_fork
def test_an_update_that_is_killed_again_and_again_comes_to_its_end(busy):
    """It goes on where the call before was stopped."""
    for number in itertools.count(1):
        status, _ = in_a_process(killed_at(number))
        if status == 0:
            break
    assert number > 5
    finish(busy)


@needs_fork
def test_an_update_that_is_killed_at_random_moments_loses_nothing(busy):
    draw, killed, before = random.Random(0), 0, files(desk.DESK)
    started = time.perf_counter()
    assert in_a_process(updating.update)[0] == 0
    whole_time = time.perf_counter() - started
    restore(before)
    for _ in range(200):
        status, _ = in_a_process(updating.update, draw.uniform(0.0, whole_time))
        killed += status == -signal.SIGKILL
        if [whole(name) for name in LESSONS].count("new") == len(LESSONS):
            finish(busy)
            restore(before)  # once more from the beginning
        if killed == 25:
            break
    assert killed == 25
    finish(busy)


@needs_fork
@pytest.mark.parametrize("room", [0, 1_000, 10_000, 400_000])
def test_a_full_disk_leaves_the_old_notebook_and_says_so(busy, room):
    """No file may grow beyond `room` bytes, as on a disk with so much room left."""

    def action():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return updating.update()

    before = {name: desk.mine(name).read_bytes() for name in LESSONS}
    _, said = in_a_process(action)
    for name in LESSONS:
        assert f"{name} is left as it is: File too large." in said
    assert {name: desk.mine(name).read_bytes() for name in LESSONS} == before
    finish(busy)


@needs_fork
def test_a_disk_that_is_full_after_the_copy_was_kept_leaves_the_old_notebook(busy):
    """The kept copy fits, and the new notebook, which is longer, does not."""
    longer = first(seen=text("What we saw, said better." + " And more." * 1000))
    for name in LESSONS:
        release(busy, longer, name)
    room = desk.mine(LESSONS[0]).stat().st_size

    def action():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return updating.update()

    before = {name: desk.mine(name).read_bytes() for name in LESSONS}
    _, said = in_a_process(action)
    assert said.count("File too large") == len(LESSONS)
    assert {name: desk.mine(name).read_bytes() for name in LESSONS} == before
    for name in LESSONS:
        kept = [p.read_bytes() for p in (desk.DESK / "backup" / name).iterdir()]
        assert kept == [before[name]]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no user ids")
def test_a_read_only_desk_is_told_and_left_alone(monkeypatch):
    root = Path(tempfile.mkdtemp())  # others may look into it, unlike pytest's folder
    try:
        monkeypatch.setattr(desk, "ROOT", root)
        monkeypatch.setattr(desk, "DESK", root / "work")
        release(root, first())
        desk.open_desk()
        work()
        updating.update()  # everything that is imported late is imported now
        release(root, newer())
        before = files(root)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        said, well = _as_nobody(updating.update)
        assert not well
        assert said == [f"{NAME} is left as it is: Permission denied."]
        assert files(root) == before
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(root)


def _as_nobody(action):
    """Root may write everywhere; anybody else keeps to the rights of a file."""
    if os.geteuid():
        return action()
    os.seteuid(65534)
    try:
        return action()
    finally:
        os.seteuid(0)
