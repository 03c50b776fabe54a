"""How much memory there is for a process, also inside a container that allows less.

A container sees the whole machine's memory and is ended without a word when it takes
more than its share. Linux tells both; elsewhere only the whole is known, or nothing.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def memory() -> tuple[float | None, float | None]:
    """(all, free) in GB for this process, also inside a container; None if unknown."""
    table = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read(MEMINFO), re.M))
    if "MemTotal" not in table:
        return _memory_elsewhere(), None
    whole, free = int(table["MemTotal"]), int(table.get("MemAvailable", 0))
    whole, free = whole * 1024 / 1e9, free * 1024 / 1e9
    for limit, used in _limits(CONTAINER):
        whole, free = min(whole, limit), min(free, limit - used)
    return whole, max(0.0, free)


def _memory_elsewhere() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _limits(folder: Path) -> Iterator[tuple[float, float]]:
    """What a container allows and what is in use, in GB, for both kinds of files.

    Pages of files that were read count as in use and can be taken back.
    """
    files = (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    )  # fmt: skip
    for limit, used, stat in files:
        texts = [_read(folder / name).strip() for name in (limit, used)]
        if all(text.isdigit() for text in texts):
            file = re.search(
                r"^(?:total_)?inactive_file (\d+)", _read(folder / stat), re.M
            )
            back = int(file[1]) if file else 0
            yield int(texts[0]) / 1e9, (int(texts[1]) - back) / 1e9


def _read(path: Path) -> str:
    """A small file's text, "" where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
