"""What a reader needs to know about where something was measured."""

import os
import platform
from pathlib import Path

import torch


def machine() -> dict[str, str | int | float]:
    """Processor, cores and versions; no name of any computer."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (
            line.partition(":")[2].strip()
            for line in lines
            if line.startswith("model name")
        ),
        "",
    )
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads used": 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load average at start": round(os.getloadavg()[0], 2),
    }
