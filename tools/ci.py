"""Everything that must hold before main moves: `python -m tools.ci [--quick]`.

Parts run one after another, each in its own process; all of them run even when one fails, and the end of
the output says what took how long.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from tools.inline import ROOT
from tools.lessons import Lesson, lessons

MINUTES = 26  # what all parts took on two cores when last measured
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
    """Was the lesson rebuilt from other inputs within a day before the newest commit? (Or is that unknown?)"""
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
            f"--before={int(newest) - 86400}",
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
    pytest = python("pytest")
    return [
        Part("lint", python("ruff", "check"), quick=True),
        Part("format", python("ruff", "format", "--check"), quick=True),
        Part("doctests", [*pytest, "--doctest-modules", "course_lib"], quick=True),
        Part("unit tests", [*pytest, "tests", *EVERYDAY, "--durations=5"], quick=True),
        Part("make check", python("tools.build", "--check"), quick=True),
        *(
            nbval(lesson, "full" if changed_lately(lesson) else "quick")
            for lesson in lessons()
        ),
        Part("student notebooks", [*pytest, "tests/test_students.py"]),
        Part("nbgrader", [*pytest, "tests/test_nbgrader.py"]),
        Part("browser", [*pytest, "tests/browser"]),
    ]


def run(part: Part) -> tuple[int, float]:
    print(f"\n=== {part.name}", flush=True)
    environment = {**os.environ, "COURSE_PROFILE": part.profile, "PATH": _path()}
    started = time.perf_counter()
    code = subprocess.run(
        part.command, check=False, cwd=ROOT, env=environment
    ).returncode
    return code, time.perf_counter() - started


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
    print(
        f"{len(chosen)} parts, about {1 if options.quick else MINUTES} minutes on two cores",
        flush=True,
    )
    results = [(part, *run(part)) for part in chosen]
    print("\n=== summary")
    for part, code, seconds in results:
        print(f"{'ok    ' if code == 0 else 'FAILED'} {seconds:6.1f} s  {part.name}")
    failed = sum(code != 0 for _, code, _ in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
