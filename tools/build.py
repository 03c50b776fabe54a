"""Build the notebooks from the lessons: `python -m tools.build [NN] [--check] [--force]`.

lessons/NN_slug.py -> solutions/ (executed, with outputs) -> notebooks/ (blanked by nbgrader's own
preprocessors). A lesson is executed again only when something its outputs were made from has changed.
`--check` writes nothing and fails when a committed notebook is not what would be built.
"""

import argparse
import base64
import copy
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets.config.loader import PyFileConfigLoader

from course_lib.desk import write_whole
from tools import readme
from tools.inline import ROOT, BuildError
from tools.leaks import leaks
from tools.lessons import Lesson, lessons, read

MAX_FIGURE, MAX_NOTEBOOK = 80_000, 1_000_000  # bytes
VIEW = "application/vnd.jupyter.widget-view+json"


def execute(notebook: NotebookNode, profile: str = "full") -> NotebookNode:
    """Run a notebook in a fresh kernel and an empty folder; adds measured seconds and peak memory."""
    environment = {
        "COURSE_PROFILE": profile,
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
        "COURSE_DESK": "/nowhere",
    }
    before = {key: os.environ.get(key) for key in environment}
    os.environ.update(environment)
    try:
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(
                notebook,
                timeout=600,
                record_timing=False,
                kernel_name="python3",
                extra_arguments=["--log-level=ERROR"],
                resources={"metadata": {"path": folder}},
            )
            started = time.perf_counter()
            with client.setup_kernel():
                for index, cell in enumerate(notebook.cells):
                    client.execute_cell(cell, index)
                seconds, memory = time.perf_counter() - started, _peak_megabytes(client)
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)
    notebook.metadata["course"]["measured"] = {
        "seconds": round(seconds),
        "memory_mb": memory,
    }
    return notebook


def _peak_megabytes(client: NotebookClient) -> int | None:
    try:
        status = Path(f"/proc/{client.km.provisioner.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024
    except (OSError, TypeError):
        return None


def clean(notebook: NotebookNode) -> None:
    """What a saved notebook cannot show goes: live widgets leave their still picture."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
            output.get("metadata", {}).pop(VIEW, None)


def blank(solution: NotebookNode, lesson: Lesson) -> NotebookNode:
    """The student's notebook, by the same nbgrader preprocessors that an instructor's release uses."""
    config = PyFileConfigLoader("nbgrader_config.py", path=str(ROOT)).load_config()
    notebook = copy.deepcopy(solution)
    resources = {
        "nbgrader": {"notebook": lesson.name, "assignment": lesson.name, "student": "."}
    }
    for step in config.GenerateAssignment.preprocessors:
        if step.__name__ != "SaveCells":  # the gradebook is the instructor's
            notebook, resources = step(config=config).preprocess(notebook, resources)
    return notebook


def text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    bare = copy.deepcopy(notebook)
    for key in ("measured", "outputs"):
        bare.metadata.get("course", {}).pop(key, None)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def problems(lesson: Lesson) -> list[str]:
    """What is wrong with the committed notebooks of a lesson, a sentence each."""
    fresh = read(lesson)
    if not lesson.solution.exists() or not lesson.student.exists():
        return [f"{lesson.name} was never built"]
    solution = _unless_damaged(lesson.solution)
    if solution is None or _unless_damaged(lesson.student) is None:
        return [f"{lesson.name} is damaged; `make build` makes it anew"]
    found, course = [], solution.metadata.get("course", {})
    if course.get("inputs") != fresh.metadata.course.inputs:
        found.append(
            "outputs were made from other inputs (lesson, imported modules or data)"
        )
    if course.get("outputs") != outputs_hash(solution):
        found.append("outputs were changed after they were made")
    solution.metadata["course"] = {"inputs": fresh.metadata.course.inputs}
    if text(without_outputs(solution)) != text(fresh):
        found.append(f"{_where(lesson.solution)} is not what the lesson's text builds")
    if lesson.student.read_bytes().decode() != text(blank(fresh, lesson)):
        found.append(f"{_where(lesson.student)} is not what the lesson's text builds")
    found += leaks(nbformat.read(lesson.student, 4), fresh)
    found += too_large(solution, lesson.solution) + without_alt_text(solution)
    return [f"{lesson.name}: {problem}" for problem in found]


def too_large(notebook: NotebookNode, path: Path) -> list[str]:
    found = []
    if path.stat().st_size > MAX_NOTEBOOK:
        found.append(
            f"the notebook has {path.stat().st_size:,} bytes; {MAX_NOTEBOOK:,} are allowed"
        )
    for cell, data, _ in _pictures(notebook):
        size = len(base64.b64decode(data["image/png"]))
        if size > MAX_FIGURE:
            found.append(
                f"the figure of cell {cell.id} has {size:,} bytes; {MAX_FIGURE:,} are allowed"
            )
    return found


def without_alt_text(notebook: NotebookNode) -> list[str]:
    """Every picture says in words what it shows."""
    return [
        f"the figure of cell {cell.id} has no alt text"
        for cell, _, metadata in _pictures(notebook)
        if len(metadata.get("image/png", {}).get("alt", "")) < 20
    ]


def _pictures(notebook: NotebookNode):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield cell, output.data, output.metadata


def orphans() -> list[Path]:
    """Files in solutions/ and notebooks/ that no lesson builds."""
    wanted = {
        path for lesson in lessons() for path in (lesson.solution, lesson.student)
    }
    return [
        path
        for folder in ("solutions", "notebooks")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file()
        and path not in wanted
        and ".ipynb_checkpoints" not in path.parts
    ]


def _where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def build(lesson: Lesson, force: bool) -> str:
    """Write both notebooks of a lesson; returns what was done."""
    notebook = read(lesson)
    fresh, old = text(notebook), _unless_damaged(lesson.solution)
    done = "kept its outputs"
    if old is not None and not force and text(without_outputs(old)) == fresh:
        notebook = old
    else:
        execute(notebook)
        clean(notebook)
        notebook.metadata["course"]["outputs"] = outputs_hash(notebook)
        done = f"ran in {notebook.metadata.course.measured.seconds} s"
    student = blank(notebook, lesson)
    if found := leaks(student, read(lesson)):
        raise BuildError(f"{lesson.name} not written: " + "; ".join(found))
    write_whole(lesson.solution, text(notebook))
    write_whole(lesson.student, text(student))
    return done


def outputs_hash(notebook: NotebookNode) -> str:
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(outputs, sort_keys=True).encode()).hexdigest()


def _unless_damaged(path: Path) -> NotebookNode | None:
    try:
        return nbformat.read(path, 4)
    except Exception:  # not there, cut off, or no notebook at all
        return None


def remove_orphans() -> list[str]:
    """Delete notebooks of lessons that are gone; leave alone what was never built here."""
    said = []
    for path in orphans():
        if path.stem == path.parent.name and re.fullmatch(
            r"[0-9]{2}_\w+\.ipynb", path.name
        ):
            path.unlink()
            said.append(f"deleted {_where(path)}: no lesson builds it")
        else:
            said.append(f"left alone: {_where(path)} belongs to no lesson")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "lesson", nargs="?", default="", help="a number; without one, all lessons"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing, fail when something is stale",
    )
    parser.add_argument(
        "--force", action="store_true", help="execute even when nothing changed"
    )
    options = parser.parse_args()
    try:
        if options.check:
            found = [
                problem
                for lesson in lessons(options.lesson)
                for problem in problems(lesson)
            ]
            found += [
                f"{_where(path)} belongs to no lesson" for path in orphans()
            ] + readme.stale()
            print(
                "\n".join(found)
                or f"make check: {len(lessons(options.lesson))} lesson(s) are what would be built"
            )
            return 1 if found else 0
        for lesson in lessons(options.lesson):
            print(f"{lesson.name}: {build(lesson, options.force)}", flush=True)
        for said in remove_orphans():
            print(said)
        readme.write()
        return 0
    except (BuildError, CellExecutionError) as error:
        print(f"build stopped: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
