"""What one Python process says must not depend on how it happens to order its sets."""

import os
import subprocess
import sys


def said_by_processes(code: str, hash_seeds: tuple[str, ...] = ("1", "2")) -> set[str]:
    """What fresh processes print, each with another seed for its hashes: one text if all agree."""
    return {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in hash_seeds
    }
