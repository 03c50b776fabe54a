"""The learner's desk: `work/` holds your own copies of the lessons; no build touches them.

    python -m course_lib.desk open                copy every lesson that is not there yet
    python -m course_lib.desk check 00            run your saved notebook: what would be marked?
    python -m course_lib.desk reset 00 softmax    one blank exercise; yours is kept in work/backup/

Left out: a server. Everything happens in files that you can see.
"""

import argparse
import contextlib
import os
import re
import sys
import textwrap
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DESK = Path(os.environ.get("COURSE_DESK") or ROOT / "work")
LONGEST_CELL = 120  # seconds; then a cell of check-mine is interrupted
LARGEST = 5_000_000  # bytes; a larger notebook is refused by most ways to hand it in
WIDTH = 88  # characters; a notebook breaks longer lines in the middle of a word


class DeskError(Exception):
    """Something on the desk is not as it should be; the message says what to do."""


def lesson_name(number: str) -> str:
    """'0', '00' or '00_start_here' -> '00_start_here'."""
    found = [p.parent.name for p in sorted((ROOT / "notebooks").glob("*/*.ipynb"))]
    for name in found:
        if number in (name, name[:2]) or number.zfill(2) == name[:2]:
            return name
    raise DeskError(
        f"There is no lesson {number!r}. There are: {', '.join(found) or 'none yet'}."
    )


def released(name: str) -> Path:
    return ROOT / "notebooks" / name / f"{name}.ipynb"


def mine(name: str) -> Path:
    return DESK / name / f"{name}.ipynb"


def open_desk() -> list[str]:
    """Copy lessons that are not in work/ yet; returns their names. What is there is never overwritten."""
    copied = []
    for source in sorted((ROOT / "notebooks").glob("*/*.ipynb")):
        target = mine(source.parent.name)
        if not target.exists():
            write_whole(target, source.read_text(encoding="utf-8"))
            copied.append(source.parent.name)
    return copied


def load(path: Path):
    """A notebook from disk, or one sentence about what is wrong with it."""
    import nbformat

    if not path.exists():
        raise DeskError(
            f"{_short(path)} is not there. `make lab` puts a fresh copy on your desk."
        )
    try:
        return nbformat.read(path, 4)
    except Exception as error:
        raise DeskError(
            f"{_short(path)} is damaged and cannot be read ({type(error).__name__}). Move it away, and `make lab` "
            "puts a fresh copy there; copy your answers over from the damaged file with a text editor."
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or not at all, even if the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def reset(number: str, exercise: str) -> str:
    """Blank one exercise cell of your copy again, keeping what was there; returns a sentence."""
    import nbformat

    name = lesson_name(number)
    fresh = {
        _grade_id(c): c for c in load(released(name)).cells if _meta(c).get("solution")
    }
    if exercise not in fresh:
        raise DeskError(
            f"{name} has no exercise {exercise!r}. It has: {', '.join(fresh)}."
        )
    notebook = load(mine(name))
    cells = [cell for cell in notebook.cells if _grade_id(cell) == exercise]
    if not cells:
        raise DeskError(
            f"The cell of {exercise} is no longer in {_short(mine(name))}. Insert one and paste it from notebooks/."
        )
    stamp = f"{datetime.now():%Y%m%d-%H%M%S-%f}"
    backup = DESK / "backup" / name / f"{exercise}-{stamp}.ipynb"
    write_whole(backup, mine(name).read_text(encoding="utf-8"))
    write_whole(
        backup.with_suffix(".py"), "\n\n".join(cell.source for cell in cells) + "\n"
    )
    for cell in cells:
        cell.source = fresh[exercise].source
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    write_whole(mine(name), nbformat.writes(notebook) + "\n")
    return (
        f"{exercise} is blank again, as saved on disk. Your version and the whole notebook are kept beside\n"
        f"{_short(backup)}. If the notebook is open, load it anew: File, Reload Notebook from Disk."
    )


def keep_still_pictures(model: dict, **_: object) -> None:
    """Before JupyterLab saves: a live widget leaves its still picture, which any later reader can see."""
    if model["type"] == "notebook":
        for cell in model["content"]["cells"]:
            for output in cell.get("outputs", []):
                if "text/html" in output.get("data", {}):
                    output["data"].pop("application/vnd.jupyter.widget-view+json", None)


# --- is it right, and ready to hand in? -------------------------------------------------------------


@dataclass
class Report:
    """What a fresh run of a notebook says."""

    marks: list[tuple[str, int, int, str]] = field(
        default_factory=list
    )  # name, points, of, message
    faults: list[str] = field(
        default_factory=list
    )  # what stands in the way of handing in
    by_hand: int = 0  # points for written answers, which a teacher gives

    @property
    def points(self) -> int:
        return sum(mark[1] for mark in self.marks)

    def text(self) -> str:
        lines = [f"{'exercise':28} points"]
        for name, points, of, message in self.marks:
            line = f"{name:28} {points} of {of}   {message}"
            lines.append(textwrap.fill(line, WIDTH, subsequent_indent=" " * 38))
        lines.append(
            f"{'together':28} {self.points} of {sum(mark[2] for mark in self.marks)}"
        )
        if self.by_hand:
            lines.append(f"{'written answers':28} {self.by_hand} more, given by hand")
        if self.faults:
            faults = [
                textwrap.fill(f"- {fault}", WIDTH, subsequent_indent="  ")
                for fault in self.faults
            ]
            return "\n".join([*lines, "", "Not ready to hand in:", *faults])
        return "\n".join([*lines, "", "Ready to hand in."])


def check(number: str, path: Path | None = None) -> Report:
    """Run a saved notebook from the top in a fresh kernel (quick profile) and report marks and faults."""
    name = lesson_name(number)
    path = path or mine(name)
    notebook, release = load(path), load(released(name))
    report = Report(faults=structural_faults(notebook, release, path))
    report.by_hand = sum(
        int(_meta(cell)["points"]) for cell in release.cells if _is_reflection(cell)
    )
    _restore_checks(notebook, release)
    _run(notebook, path.parent)
    for cell in notebook.cells:
        meta = _meta(cell)
        if meta.get("grade") and not meta.get("solution"):
            message = _error_of(cell)
            points = 0 if message else int(meta["points"])
            report.marks.append(
                (
                    _grade_id(cell).removeprefix("check_"),
                    points,
                    int(meta["points"]),
                    message,
                )
            )
    present = {mark[0] for mark in report.marks}
    for cell in release.cells:
        gone = _grade_id(cell).removeprefix("check_")
        if (
            _meta(cell).get("grade")
            and not _meta(cell).get("solution")
            and gone not in present
        ):
            report.marks.append(
                (gone, 0, int(_meta(cell)["points"]), "its check cell is missing")
            )
    missed = [mark[0] for mark in report.marks if mark[1] < mark[2]]
    if missed:
        report.faults.append(f"not right yet: {', '.join(missed)}")
    return report


def structural_faults(notebook, release, path: Path) -> list[str]:
    """What an intake would stumble over, and what was left unanswered."""
    faults = []
    wanted = {_grade_id(cell): cell for cell in release.cells if _meta(cell)}
    ids = [_grade_id(cell) for cell in notebook.cells if _meta(cell)]
    by_id = {_grade_id(cell): cell for cell in notebook.cells if _meta(cell)}
    for name in wanted:
        if name not in ids:
            faults.append(
                f"the cell of {name} is missing; copy it back from notebooks/"
            )
        elif ids.count(name) > 1:
            faults.append(
                f"there are {ids.count(name)} cells called {name}; delete the copies you do not want"
            )
        elif _meta(wanted[name]).get("locked") and _visible(by_id[name]) != _visible(
            wanted[name]
        ):
            faults.append(
                f"the check cell of {name.removeprefix('check_')} was changed; grading restores it"
            )
        elif _is_reflection(wanted[name]) and not _answered(by_id[name], wanted[name]):
            faults.append(f"the written answer {name} is still empty")
    if path.name != f"{path.stem}.ipynb" or not re.fullmatch(
        r"[0-9]{2}_\w+", path.stem
    ):
        faults.append(f"the file is called {path.name}; its name must stay as it was")
    if path.stat().st_size > LARGEST:
        faults.append(
            f"the file has {path.stat().st_size / 1e6:.0f} MB; clear outputs that are too long"
        )
    return faults


def _answered(cell, released_cell) -> bool:
    """Is anything there beside the question and the placeholder?"""
    there = set(released_cell.source.splitlines()) | {""}
    return any(line.strip() not in there for line in cell.source.splitlines())


def _visible(cell) -> str:
    """A check cell without the hidden part that instructors see."""
    return cell.source.partition("### BEGIN HIDDEN TESTS")[0].strip()


def _restore_checks(notebook, release) -> None:
    """Marks come from the released check cells, whatever became of them in the copy."""
    import nbformat

    fresh = {
        _grade_id(cell): cell for cell in release.cells if _meta(cell).get("locked")
    }
    notebook.cells = [
        nbformat.from_dict(fresh.get(_grade_id(cell), cell)) for cell in notebook.cells
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _run(notebook, folder: Path) -> None:
    """From top to bottom in a fresh kernel; an endless cell is interrupted, a dead kernel ends the run."""
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    names = {"COURSE_PROFILE": "quick", "COURSE_MARKS": "1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    options = {
        "timeout": LONGEST_CELL,
        "interrupt_on_timeout": True,
        "allow_errors": True,
        "kernel_name": "python3",
        "record_timing": False,
        "extra_arguments": ["--log-level=ERROR"],
    }
    try:
        client = NotebookClient(
            notebook, resources={"metadata": {"path": str(folder)}}, **options
        )
        with contextlib.suppress(
            DeadKernelError
        ):  # exit() in a cell; what follows was not run
            client.execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(
                name, value
            )


def check_mine(name: str) -> None:
    """For a cell: check the saved copy of the lesson that this notebook is, once it is saved."""
    if os.environ.get("COURSE_MARKS") or os.environ.get("NBGRADER_EXECUTION"):
        return  # this *is* the fresh run
    path = Path.cwd() / f"{name}.ipynb"
    if not path.exists() and any(
        Path.cwd().is_relative_to(place) for place in (ROOT, DESK)
    ):
        path = mine(
            name
        )  # some editors start every kernel at the top; elsewhere this is no learner's copy
    if not path.exists():
        print(
            f"No saved copy of {name}.ipynb was found, so there is nothing to check.\n"
            "`make lab` puts one on your desk."
        )
        return
    try:
        if unsaved := _unsaved(load(path)):
            print(
                f"The file on disk is older than what you ran ({', '.join(unsaved)}). Save with Ctrl+S,\n"
                "then run this again. (Saved already? Then a cell was changed after its last run:\n"
                "run it, save, and try again.)"
            )
            return
        saved = time.strftime("%H:%M", time.localtime(path.stat().st_mtime))
        print(
            f"Checking {path.name} as it was saved at {saved}; this takes a few seconds.\n"
        )
        print(check(name, path).text())
    except DeskError as error:
        print(error)


def _unsaved(notebook) -> list[str]:
    """Exercises whose last run text is not what the file on disk holds."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return []
    history = [entry for entry in shell.user_ns.get("In", []) if entry]
    stale = []
    for cell in notebook.cells:
        first = re.search(r"^(?:def|class) (\w+)", cell.source, re.M)
        if _meta(cell).get("solution") and cell.cell_type == "code" and first:
            defines = re.compile(rf"^{re.escape(first[0])}\b", re.M)
            runs = {entry.strip() for entry in history if defines.search(entry)}
            if runs and cell.source.strip() not in runs:
                stale.append(_grade_id(cell))
    return stale


def _error_of(cell) -> str:
    if cell.execution_count is None:
        return (
            "it was not run: a cell before it ended the kernel (exit(), or no memory?)"
        )
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            if output.ename == "NameError":
                return "its cell was not run, or does not define that name"
            return " ".join(output.evalue.split())[:220] or output.ename
    return ""


def _meta(cell) -> dict:
    return cell.metadata.get("nbgrader", {})


def _grade_id(cell) -> str:
    return _meta(cell).get("grade_id", "")


def _is_reflection(cell) -> bool:
    return bool(_meta(cell).get("grade") and _meta(cell).get("solution"))


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.desk", description=__doc__.splitlines()[0]
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("open", help="copy lessons that are not on the desk yet")
    one = actions.add_parser(
        "check", help="what would be marked, and is it ready to hand in?"
    )
    one.add_argument("lesson")
    two = actions.add_parser("reset", help="one exercise back to blank")
    two.add_argument("lesson")
    two.add_argument("exercise")
    options = parser.parse_args(arguments)
    try:
        if options.action == "open":
            copied = open_desk()
            print(
                f"On your desk: {', '.join(copied)}"
                if copied
                else "Your desk in work/ has every lesson already."
            )
        elif options.action == "reset":
            print(reset(options.lesson, options.exercise))
        else:
            report = check(options.lesson)
            print(report.text())
            return 1 if report.faults else 0
        return 0
    except DeskError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:  # no room, no permission, a file where a folder should be
        print(
            f"{error.filename}: {error.strerror}. Nothing of yours was changed.",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
