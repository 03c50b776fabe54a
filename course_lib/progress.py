"""The map of your way through the course, read from the notebooks in `work/`.

    python -m course_lib.progress

Only saved files are read: no server, no kernel, nothing is run or marked. `desk.check`
runs a notebook and gives the marks that count; this map shows where you stand.
"""

import argparse
import contextlib
import copy
import json
import sys
from pathlib import Path

from course_lib import cells, desk
from course_lib.course_map import Lesson, Map
from course_lib.standing import BLANK, GONE, Standing, exercises, remember, standings
from course_lib.syllabus import COURSE

OLDER = "An older version; `make update` brings the new one and keeps your answers."


def read() -> Map:
    """The map as the files in `work/` are at this moment.

    What passed is remembered in `work/.progress.json`; nothing else is written.
    """
    return Map(_look_at([(number, title) for number, title, _ in COURSE]))


def after_save(os_path: str = "", **_: object) -> None:
    """JupyterLab's post_save_hook: what passes is remembered when it is saved.

    It never raises, since an error here would tell a learner that saving failed.
    """
    with contextlib.suppress(Exception):
        path = Path(os_path).resolve()
        if path.is_relative_to(desk.DESK.resolve()):
            _look_at([(path.stem[:2], path.stem)])


def _look_at(wanted: list[tuple[str, str]]) -> list[Lesson]:
    """These lessons, given by number and title; what passed in them is remembered."""
    memory = _load_memory()
    before = copy.deepcopy(memory)
    lessons = [_read_lesson(number, title, memory) for number, title in wanted]
    known = {name: passed for name, passed in memory.items() if passed}
    if known != before and desk.DESK.is_dir():
        with contextlib.suppress(OSError):  # a full disk does not hide the map
            desk.write_whole(_memory(), json.dumps(known, sort_keys=True) + "\n")
    return lessons


def _read_lesson(number: str, title: str, memory: dict) -> Lesson:
    lesson = Lesson(number, title)
    try:
        name = desk.lesson_name(number)
        release = _parsed(desk.released(name))
    except (desk.DeskError, OSError):
        return lesson  # not released yet
    lesson.standings = [Standing(asked, BLANK) for asked in exercises(release)]
    path = desk.mine(name)
    try:
        _fill(lesson, _parsed(path), release, memory.setdefault(name, {}))
        lesson.saved = path.stat().st_mtime
    except (cells.Damaged, OSError) as error:
        lesson.notes += _unread(path, error)
    return lesson


def _unread(path: Path, error: Exception) -> list[str]:
    """A sentence about a notebook that cannot be read; none if there is none."""
    if isinstance(error, cells.Damaged):
        return [f"{path.name} is damaged; `make update` sets it aside."]
    if not isinstance(error, FileNotFoundError):
        return [f"{path.name} cannot be read: {error.strerror}."]
    others = sorted(other.name for other in path.parent.glob("*.ipynb"))
    renamed = f"If {others[0]} is yours, rename it back." if others else ""
    return [f"{path.name} is not there. {renamed}"] if others else []


def _fill(lesson: Lesson, notebook, release, passed: dict) -> None:
    """Put what one notebook says on the map, and into the memory of what passed."""
    lesson.standings = standings(notebook, release, passed)
    known = remember(notebook, release, passed)
    passed.clear()
    passed.update(known)
    states = {standing.state for standing in lesson.standings}
    ran = any(cell.get("execution_count") for cell in notebook.cells)
    lesson.begun = ran or not states <= {BLANK, GONE}
    lesson.notes += _oddities(notebook, release)


def _oddities(notebook, release) -> list[str]:
    """What a learner should know about the file itself."""
    found, ours = [], {cell.id for cell in release.cells}
    old = [c for c in notebook.cells if cells.verbatim(c) and c.id not in ours]
    if old:
        found.append(OLDER)
    names = [cells.grade_id(cell) for cell in notebook.cells]
    names = [n for n in dict.fromkeys(names) if n and names.count(n) > 1]
    if names:
        which = ", ".join(names)
        found.append(
            f"There are several cells called {which}; the last written counts."
        )
    return found


def _parsed(path: Path):
    return cells.parse(path.read_bytes(), path)


def _memory() -> Path:
    return desk.DESK / ".progress.json"


def _load_memory() -> dict:
    """What passed before; an unreadable memory is an empty one."""
    try:
        memory = json.loads(_memory().read_text(encoding="utf-8"))
        sound = all(
            isinstance(entry, list) and len(entry) == 2
            for lesson in memory.values()
            for entry in lesson.values()
        )
        return memory if sound else {}
    except (OSError, ValueError, AttributeError):
        return {}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.progress", description=__doc__.splitlines()[0]
    )
    parser.parse_args(arguments)
    text = read().text()
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = read().text(plain=True)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
