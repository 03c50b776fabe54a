"""What a helper would ask for first: versions, machine, models, and a cure for each problem.

    python -m course_lib.doctor

`text()` gives the same as a string. Nothing is installed, mended or sent; one file of a
few bytes is written to `work/` and removed, to see whether it can be.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course_lib import cells, desk, machine

PACKAGES = ("torch", "transformers", "jupyterlab", "nbgrader", "course_lib")
OPTIONAL = {"nbgrader": "only teachers need it; `make check` installs it"}
INSTALL = "`make lab` installs what is missing."
MEMORY = 1.6  # GB; every lesson keeps below, measured by the build
VERSION = r'^version = "(.+)"'
DISK = 0.5  # GB; notebooks and their copies need less


@dataclass
class Finding:
    """One thing that was looked at: what is there, and what is wrong with it."""

    what: str
    said: str
    problems: list[str] = field(default_factory=list)  # each with its cure


def findings() -> list[Finding]:
    """Look at everything; what cannot even be looked at is a problem of its own."""
    looks = (_python, _packages, _device, _memory, _disk, _models, _weights, _notebooks)
    return [found for look in looks for found in _looked(look)]


def problems() -> list[str]:
    """A sentence or two for each problem: what is wrong, and its cure."""
    return [problem for found in findings() for problem in found.problems]


def text(found: list[Finding] | None = None) -> str:
    """What `make doctor` prints; ready to be pasted into a question."""
    found = findings() if found is None else found
    lines = [_fill(f"{one.what:16}{one.said}", 16) for one in found]
    wrong = [problem for one in found for problem in one.problems]
    if not wrong:
        return "\n".join([*lines, "", "No problem found."])
    count = f"{len(wrong)} problem{'s' if len(wrong) > 1 else ''}:"
    return "\n".join([*lines, "", count, *(_fill(f"- {one}", 2) for one in wrong)])


def _looked(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """All that one look finds, up to where it stops with an error."""
    found = []
    try:
        for one in look():
            found.append(one)
    except Exception as error:
        name = look.__name__.strip("_")
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        cure = f"{name} cannot be looked at ({said}). {INSTALL}"
        found.append(Finding(name, "unknown", [cure]))
    return found


def _fill(line: str, indent: int) -> str:
    """Lines of a terminal's width; a path stays in one piece."""
    whole = {"break_on_hyphens": False, "break_long_words": False}
    return textwrap.fill(line, desk.WIDTH, subsequent_indent=" " * indent, **whole)


# --- what is looked at ------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    wrong = []
    if sys.version_info < (3, 11):  # noqa: UP036 (an environment may be an old one)
        wrong.append("Python is older than 3.11. make PYTHON=python3.12 lab")
    said = f"{platform.python_version()} on {platform.system()}, {sys.executable}"
    yield Finding("python", said, wrong)


def _packages() -> Iterator[Finding]:
    for package in PACKAGES:
        version = _version(package)
        wrong = []
        if version is None and package not in OPTIONAL:
            wrong.append(f"{package} is not installed. {INSTALL}")
        missing = f"not installed; {OPTIONAL.get(package, 'a problem')}"
        yield Finding(package, version or missing, wrong + _other(package, version))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _other(package: str, version: str | None) -> list[str]:
    """Is it another version than the course was tested with, or than this folder's?"""
    if version is None:
        return []
    if package == "torch":
        wanted = _pinned("torch")
        if wanted and version.split("+")[0] != wanted:
            return [f"torch is {version}, the course needs {wanted}. {INSTALL}"]
    if package == "course_lib":
        file = desk.ROOT / "pyproject.toml"  # not there in an installed package
        here = file.is_file() and re.search(VERSION, file.read_text(), re.M)
        if here and here[1] != version:
            return [f"course_lib is {version}, this folder holds {here[1]}. {INSTALL}"]
    return []


def _pinned(package: str) -> str:
    """The one version that course_lib declares, "" if it leaves a choice."""
    lines = importlib.metadata.requires("course_lib") or []
    found = (re.fullmatch(rf"{package}==([^;\s]+)", line) for line in lines)
    return next((match[1] for match in found if match), "")


def _device() -> Iterator[Finding]:
    from course_lib import runtime

    wrong = []
    try:
        profile = runtime.profile()
    except AssertionError as error:
        profile, wrong = "unknown", [f"{error}. Set it so, or unset it."]
    yield Finding("time profile", profile, wrong)
    yield _device_works(runtime.device())


def _device_works(device) -> Finding:
    """Does the smallest sum run there?"""
    import torch

    name = os.environ.get("COURSE_DEVICE", "")
    said = f"{device}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    try:
        if device.type == "cuda":
            said = f"{device}, {torch.cuda.get_device_name(device)}"
        assert torch.ones(2, device=device).sum().item() == 2
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        cure = "Set COURSE_DEVICE=cpu and restart the kernel."
        if name:
            cure = f"COURSE_DEVICE is {name}: unset it and restart the kernel."
        return Finding("device", said, [f"{device} does not work ({first}). {cure}"])
    return Finding("device", said)


def _memory() -> Iterator[Finding]:
    whole, free = machine.memory()
    if whole is None:
        yield Finding("memory", "unknown on this system")
        return
    said = f"{whole:.1f} GB" + ("" if free is None else f", {free:.1f} GB free")
    wrong = []
    if (whole if free is None else free) < MEMORY:
        cure = "Shut down other kernels (in JupyterLab: Kernel, Shut Down All Kernels)."
        wrong.append(f"The largest lesson needs {MEMORY:g} GB of free memory. {cure}")
    yield Finding("memory", said, wrong)


def _disk() -> Iterator[Finding]:
    place = desk.DESK if desk.DESK.is_dir() else desk.ROOT
    free = shutil.disk_usage(place).free / 1e9
    wrong = []
    if free < DISK:
        what = (
            f"Only {free:.2f} GB of disk are free, and what does not fit is not saved."
        )
        wrong.append(f"{what} Delete something, for example old files in work/backup/.")
    yield Finding("disk", f"{free:.1f} GB free at {place}", wrong + _unwritable(place))


def _unwritable(place: Path) -> list[str]:
    """Can a file be made there? It is gone again at once."""
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"course")
        return []
    except OSError as error:
        cure = "Give yourself the right to write there, or copy the course elsewhere."
        return [f"{desk._short(place)} cannot be written: {error.strerror}. {cure}"]


def _models() -> Iterator[Finding]:
    """The two real models, by the loaders' own comparison of every byte."""
    from course_lib.pretrained.loading import package_file
    from course_lib.pretrained.minilm import PACKAGE, PIECES, WEIGHTS
    from course_lib.pretrained.smollm2 import smollm2_file

    def both() -> None:
        package_file(PACKAGE, "model/model.safetensors", WEIGHTS)
        package_file(PACKAGE, "model/tokenizer.json", PIECES)

    yield _verified("SmolLM2", smollm2_file)
    yield _verified("MiniLM", both)


def _weights() -> Iterator[Finding]:
    """The course's own models, each by its own loader."""
    from course_lib.pretrained import checkpoints
    from course_lib.reward.files import JUDGE, load_judge

    wrong = []
    for stage in checkpoints.STAGES:
        wrong += _verified(stage, lambda stage=stage: checkpoints.load(stage)).problems
    wrong += _verified(JUDGE, load_judge).problems
    names = ", ".join([*checkpoints.STAGES, JUDGE])
    yield Finding("course's models", "see below" if wrong else f"{names}: right", wrong)


def _verified(name: str, load: Callable[[], object]) -> Finding:
    """A loader's refusal names its cure itself."""
    try:
        load()
    except Exception as error:
        return Finding(name, "see below", [f"{name}: {error}"])
    return Finding(name, "installed, the file that the course was tested with")


def _notebooks() -> Iterator[Finding]:
    """Does every notebook on the desk open, under its own name?"""
    found = sorted(desk.DESK.glob("[0-9][0-9]_*/*.ipynb"))
    wrong = [problem for path in found for problem in _unread(path)]
    for path in found:
        if path.stem != path.parent.name:
            called = f"{path.parent.name}.ipynb"
            wrong.append(
                f"{path.name} is not a lesson's name. If it is yours: {called}."
            )
    said = f"{len(found)} in {desk._short(desk.DESK)}"
    yield Finding("notebooks", said if found else "none yet; `make lab`", wrong)


def _unread(path: Path) -> list[str]:
    """What is wrong with a notebook's file."""
    try:
        cells.parse(path.read_bytes(), path)
        return []
    except cells.Damaged as error:
        return [f"{error} `make update` sets it aside and puts a fresh copy there."]
    except OSError as error:
        return [f"{path.name} cannot be read: {error.strerror}. Is it yours?"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course_lib.doctor", description=__doc__.splitlines()[0]
    )
    parser.parse_args(arguments)
    found = findings()
    print(text(found))
    return 1 if any(one.problems for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
