"""Everything that must hold before main moves: `python -m tools.ci [--quick]`.

Each part is a process of its own, and as many run side by side as there are cores, two at most, each with one
thread: small models gain little from a second one. What a part printed stands together once it is done. All of them
run even when one fails, and the end of the output says what took how long. The browser has the machine to itself.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from tools.inline import ROOT
from tools.lessons import Lesson, lessons

MINUTES = 28  # what all parts took on two cores when last measured
LATELY = 6 * 60 * 60  # seconds before the newest commit
EVERYDAY = [
    "--ignore=tests/browser",
    "--ignore=tests/test_nbgrader.py",
    "--ignore=tests/test_students.py",
]


@dataclass(frozen=True)
class Part:
    name: str
    command: list[str]
    quick: bool = False  # also part of `make quick`
    profile: str = "quick"
    alone: bool = False  # nothing runs beside it


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def nbval(lesson: Lesson, profile: str) -> Part:
    """A solution notebook from top to bottom in a fresh kernel; what its checks print must not have changed."""
    command = python(
        "pytest",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-cell-timeout=600",
        str(lesson.solution),
    )
    return Part(f"notebook {lesson.number} ({profile})", command, profile=profile)


def changed_lately(lesson: Lesson) -> bool:
    """Was the lesson rebuilt from other inputs within six hours before the newest commit? (Or is that unknown?)"""
    path = str(lesson.solution.relative_to(ROOT))

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], check=False, cwd=ROOT, capture_output=True, text=True
        ).stdout

    newest = git("log", "-1", "--format=%ct").strip()
    base = (
        git(
            "rev-list",
            "--first-parent",
            "-1",
            f"--before={int(newest) - LATELY}",
            "HEAD",
        ).strip()
        if newest
        else ""
    )
    base = os.environ.get("COURSE_CI_BASE") or base
    if not lesson.solution.exists():
        return True
    marker = f'"inputs": "{_inputs(lesson.solution.read_text())}"'
    return not base or marker not in git("show", f"{base}:{path}")


def _inputs(text: str) -> str:
    return text.partition('"inputs": "')[2].partition('"')[0]


def parts() -> list[Part]:
    """The longest come early, so that both lanes end at about the same time."""
    pytest = python("pytest")
    return [
        Part("unit tests", [*pytest, "tests", *EVERYDAY, "--durations=5"], quick=True),
        Part("lint", python("ruff", "check"), quick=True),
        Part("format", python("ruff", "format", "--check"), quick=True),
        Part("make check", python("tools.build", "--check"), quick=True),
        Part("doctests", [*pytest, "--doctest-modules", "course_lib"], quick=True),
        Part("student notebooks", [*pytest, "tests/test_students.py"]),
        *(
            nbval(lesson, "full" if changed_lately(lesson) else "quick")
            for lesson in reversed(lessons())
        ),
        Part("nbgrader", [*pytest, "tests/test_nbgrader.py"]),
        Part("browser", [*pytest, "tests/browser"], alone=True),
    ]


@dataclass(frozen=True)
class Result:
    part: Part
    code: int
    seconds: float
    output: str


def run(part: Part, lanes: int) -> Result:
    environment = {**os.environ, "COURSE_PROFILE": part.profile, "PATH": _path()}
    if lanes > 1:
        environment["OMP_NUM_THREADS"] = "1"
    started = time.perf_counter()
    done = subprocess.run(
        part.command, check=False, cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return Result(part, done.returncode, seconds, done.stdout)


def run_all(chosen: Sequence[Part], lanes: int) -> Iterator[Result]:
    """Every part's result as soon as it is there; those that want to be alone come last."""
    with ThreadPoolExecutor(lanes) as pool:
        together = [pool.submit(run, part, lanes) for part in chosen if not part.alone]
        for future in as_completed(together):
            yield future.result()
    for part in chosen:
        if part.alone:
            yield run(part, lanes=1)


def cores() -> int:
    """Of those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _path() -> str:
    return os.pathsep.join(
        [os.path.dirname(sys.executable), os.environ.get("PATH", "")]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="only the parts for before a commit"
    )
    options = parser.parse_args()
    chosen = [part for part in parts() if part.quick or not options.quick]
    lanes = min(cores(), 2)
    print(
        f"{len(chosen)} parts, about {1 if options.quick else MINUTES} minutes on two "
        f"cores, {lanes} at a time",
        flush=True,
    )
    started, results = time.perf_counter(), []
    for result in run_all(chosen, lanes):
        results.append(result)
        print(f"\n=== {result.part.name} ({result.seconds:.1f} s)")
        print(result.output, end="", flush=True)
    print("\n=== summary")
    for result in results:
        word = "ok    " if result.code == 0 else "FAILED"
        print(f"{word} {result.seconds:6.1f} s  {result.part.name}")
    failed = sum(result.code != 0 for result in results)
    minutes = (time.perf_counter() - started) / 60
    print(f"{len(results) - failed} passed, {failed} failed, in {minutes:.1f} minutes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
