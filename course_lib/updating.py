"""`make update`: your copies in `work/` get what is new and keep your work.

    python -m course_lib.updating            every lesson
    python -m course_lib.updating 01         one

To be run after `git pull`. The notebook as it was is copied to `work/backup/` first;
then the merged one takes its place in one step. Whenever this is interrupted, a notebook
is the old one or the new one, and a second call goes on. Left out: fetching the course.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from course_lib import cells, desk
from course_lib.merging import Merged, lost, merge

VERSIONS = 40  # how far back git is asked for the release that a copy was made from
DAMAGED = (
    "is damaged. It is set aside as {place}, and a fresh copy stands in its place."
)
OPEN_IN_LAB = "If a notebook is open in JupyterLab: File, Reload Notebook from Disk."


class NotUpdated(desk.DeskError):
    """A notebook that was left as it is; the message says why."""


def update(number: str = "") -> tuple[list[str], bool]:
    """Bring the desk up to date: a sentence per lesson, and whether all went well."""
    said, well = [], True
    for name in [desk.lesson_name(number)] if number else all_lessons():
        try:
            said.append(f"{name} {update_one(name)}")
        except desk.DeskError as error:
            said, well = [*said, f"{name} is left as it is: {error}"], False
        except OSError as error:
            why = error.strerror or type(error).__name__
            said, well = [*said, f"{name} is left as it is: {why}."], False
    return said, well


def all_lessons() -> list[str]:
    """Names of the released lessons in order."""
    return [p.parent.name for p in sorted((desk.ROOT / "notebooks").glob("*/*.ipynb"))]


def update_one(name: str) -> str:
    """Update one notebook; returns what was done, as the end of a sentence."""
    path = desk.mine(name).resolve()  # a desk may be a link to a folder elsewhere
    new = desk.released(name).read_bytes()
    if not path.exists():
        _write(path, new)
        _record(name, new)
        return "is new on your desk."
    old = path.read_bytes()
    release = cells.parse(new, desk.released(name))
    try:
        mine = cells.parse(old, path)
    except cells.Damaged:
        place = _keep(name, "damaged", old)
        _replace(path, old, new)
        _record(name, new)
        return DAMAGED.format(place=place)
    return _merge_into(path, name, old, mine, release, new)


def _merge_into(path: Path, name: str, old: bytes, mine, release, new: bytes) -> str:
    """Merge, keep the old file, replace it, and say so."""
    base = _base(name, mine, release, new)
    if base == release:
        _record(name, new)
        return "has nothing new."
    merged = merge(mine, release, base)
    if missing := lost(mine, merged.notebook, release, base):
        raise NotUpdated(f"merging it would lose {missing[0].splitlines()[0]!r}.")
    place = ""
    if merged.notebook != mine:
        place = _keep(name, "before-update", old)
        _replace(path, old, _bytes(merged.notebook))
    _record(name, new)
    return _sentence(merged, place) if place else "has nothing new."


def _sentence(merged: Merged, place: str) -> str:
    """What was kept and what to look at.

    >>> _sentence(Merged(None, answers=["gae"], own=2), "work/backup/a.ipynb")
    'is updated. Kept: 1 answer, 2 cells of your own. The old one: work/backup/a.ipynb.'
    """
    counts = (len(merged.answers), "answer"), (merged.own, "cell")
    kept = [f"{n} {what}{'s' if n > 1 else ''}" for n, what in counts if n]
    if merged.own:
        kept[-1] += " of your own"
    said = [f"Kept: {', '.join(kept)}."] if kept else []
    if merged.changed:
        which = ", ".join(merged.changed)
        said.append(f"Changed in the course, see below your answer: {which}.")
    if merged.gone:
        said.append(f"No longer in the course, at the end: {', '.join(merged.gone)}.")
    return " ".join(["is updated.", *said, f"The old one: {place}."])


# --- the release that a copy was made from ----------------------------------------------------------


def _base(name: str, mine, release, new: bytes):
    """That release, as far as it can be found out; None if not.

    Of the one noted at the last update, the newest and those in git, it is the one
    whose text is most alike, if every untouched cell of the copy stands in it.
    """
    noted = _noted(name).is_file() and _noted(name).read_bytes() == new
    whole = {cell.id for cell in release.cells} <= {c.get("id") for c in mine.cells}
    if noted and whole:
        return release
    versions = [version for version in _versions(name, new) if _fits(mine, version)]
    best = max(versions, key=lambda version: _alike(mine, version), default=None)
    if best == release and not (noted or whole):
        return None  # a copy of an older one may have nothing that this one has not
    return best


def _versions(name: str, new: bytes) -> Iterator:
    """Releases of a lesson that can be read."""
    for text in _candidates(name, new):
        with contextlib.suppress(cells.Damaged):
            yield cells.parse(text, desk.released(name))


def _candidates(name: str, new: bytes) -> Iterator[bytes]:
    if _noted(name).is_file():
        yield _noted(name).read_bytes()
    yield new
    yield from _in_git(name)


def _in_git(name: str) -> Iterator[bytes]:
    """Earlier versions of a released notebook, newest first; none without git."""
    file = f"./notebooks/{name}/{name}.ipynb"
    log = _git("log", "-n", str(VERSIONS), "--format=%H", "--", file)
    for commit in log.decode().split():
        yield _git("show", f"{commit}:{file}")


def _git(*arguments: str) -> bytes:
    try:
        run = subprocess.run(
            ["git", "-C", str(desk.ROOT), *arguments],
            capture_output=True,
            check=True,
            timeout=20,
        )
        return run.stdout
    except (OSError, subprocess.SubprocessError):  # no git, no repository, no history
        return b""


def _fits(mine, version) -> bool:
    """Does every untouched cell of the course stand in this version?"""
    ours = {cell.id for cell in version.cells}
    return all(cell.id in ours for cell in mine.cells if cells.verbatim(cell))


def _alike(mine, version) -> float:
    """The share of lines that two notebooks have in common, from 0 to 1."""
    one, other = _lines(mine), _lines(version)
    return 2 * (one & other).total() / max(1, one.total() + other.total())


def _lines(notebook) -> Counter:
    return Counter(line for cell in notebook.cells for line in cell.source.splitlines())


def _noted(name: str) -> Path:
    return desk.DESK / ".released" / f"{name}.ipynb"


def _record(name: str, new: bytes) -> None:
    """Note which release a copy is made from now."""
    path = _noted(name)
    if not path.is_file() or path.read_bytes() != new:
        _write(path, new)


# --- files, whole or not at all ---------------------------------------------------------------------


def _keep(name: str, why: str, old: bytes) -> str:
    """Copy a file to work/backup/, unless these very bytes are there; returns its place."""
    folder = desk.DESK / "backup" / name
    for left in folder.glob(".*.part"):  # of a call that was killed
        left.unlink()
    kept = [path for path in folder.glob(f"{why}-*") if path.read_bytes() == old]
    stamp = f"{datetime.now():%Y%m%d-%H%M%S-%f}"
    path = kept[0] if kept else folder / f"{why}-{stamp}.ipynb"
    if not kept:
        _write(path, old)
    return desk._short(path)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    """Put the new text there, unless somebody has saved the file meanwhile."""
    if path.read_bytes() != old:
        raise NotUpdated("it was saved while it was being updated. Run this again.")
    _write(path, new)


def _write(path: Path, data: bytes) -> None:
    """As desk.write_whole, for any bytes; what was written survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _bytes(notebook) -> bytes:
    import nbformat

    return (nbformat.writes(notebook) + "\n").encode()


def _wrapped(line: str) -> str:
    """Lines of a terminal's width; a path stays in one piece."""
    whole = {"break_on_hyphens": False, "break_long_words": False}
    return textwrap.fill(line, desk.WIDTH, subsequent_indent="    ", **whole)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.updating", description=__doc__.splitlines()[0]
    )
    parser.add_argument("lesson", nargs="?", default="", help="a number; else all")
    try:
        said, well = update(parser.parse_args(arguments).lesson)
    except desk.DeskError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Nothing is lost; the same command goes on.", file=sys.stderr)
        return 1
    for line in said:
        print(_wrapped(line))
    if any(" is updated." in line for line in said):
        print(OPEN_IN_LAB)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
