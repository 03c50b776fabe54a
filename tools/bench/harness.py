"""Is ours faster than theirs? A ratio from many pairs of measurements, never two times side by side.

Times taken minutes apart on a busy machine say more about the machine than about the code. So the two are
measured in turn, each pair in the reverse order of the one before, and only the ratio within a pair counts.
The interval for the median comes from order statistics: it needs no assumption about the noise except that
pairs do not influence each other. Left out: absolute times and memory, which do not carry over.
"""

import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, exp, log
from pathlib import Path
from timeit import Timer

import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "bench"
PAIRS = 40
LEAST_SECONDS = 0.02  # shorter measurements see the clock and the scheduler
CONFIDENCE = 0.99  # not 0.95: the table has many rows, and one in twenty would be wrong by chance
Side = Callable[[], Tensor | tuple[Tensor, ...]]


class Mismatch(Exception):
    """The two sides do not compute the same thing."""


@dataclass(frozen=True)
class Claim:
    """A sentence about time, and what is needed to test it."""

    name: str
    sentence: str  # written before measuring
    faster: bool  # does the sentence say that ours takes less time?
    sizes: tuple[dict[str, int | str], ...]
    prepare: Callable[..., tuple[Side, Side]]  # (seed, **size) -> ours, theirs
    atol: float = 1e-5  # largest difference of results; float32 log-probabilities near 10 are good to 1e-6


def in_words(size: dict[str, int | str]) -> str:
    """{"V": 2048, "mode": "forward"} as "V = 2,048, forward"."""
    return ", ".join(f"{key} = {value:,}" if isinstance(value, int) else value for key, value in size.items())


def require_same(claim: Claim, size: dict[str, int | str], ours: Side, theirs: Side) -> None:
    """Stop unless both sides return tensors of the same shapes and, to within atol, of the same values."""
    where = f"{claim.name} at {in_words(size)}"
    results = [result if isinstance(result, tuple) else (result,) for result in (ours(), theirs())]
    shapes = [[tuple(tensor.shape) for tensor in result] for result in results]
    if shapes[0] != shapes[1]:
        raise Mismatch(f"{where}: ours gives shapes {shapes[0]}, theirs {shapes[1]}. Nothing was timed.")
    worst = max((a - b).abs().max().item() for a, b in zip(*results, strict=True))
    if not worst <= claim.atol:  # nan is no agreement either
        raise Mismatch(f"{where}: results differ by {worst:.2g}, allowed is {claim.atol}. Nothing was timed.")


def repeats_needed(function: Side, clock: Callable[[], float]) -> int:
    """How many calls in a row take at least LEAST_SECONDS, even on the quickest of three tries."""
    repeats = 1
    while min(Timer(function, timer=clock).repeat(3, repeats)) < LEAST_SECONDS:
        repeats *= 2
    return repeats


def measure(
    ours: Side, theirs: Side, pairs: int = PAIRS, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """One ratio for each pair: ours, theirs, theirs, ours, ours, theirs and so on."""
    sides = {"ours": ours, "theirs": theirs}
    for side in [*sides.values()] * 3:
        side()  # warm up: first calls allocate, import and choose kernels
    repeats = {name: repeats_needed(side, clock) for name, side in sides.items()}
    ratios = []
    for pair in range(pairs):
        took = {}
        for name in ("ours", "theirs") if pair % 2 == 0 else ("theirs", "ours"):
            took[name] = Timer(sides[name], timer=clock).timeit(repeats[name]) / repeats[name]
        ratios.append(took["ours"] / took["theirs"])
    return ratios


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The k-th smallest and k-th largest value, which enclose the true median with this confidence.

    All n values lie on one side of it like n coins that all show heads: each end fails with probability
    P(at most k - 1 heads). k is the largest for which both ends together fail rarely enough.
    """
    n, k, outside = len(values), 0, 2 / 2 ** len(values)
    while outside <= 1 - confidence:
        k += 1
        outside += 2 * comb(n, k) / 2**n
    assert k, f"{n} pairs are too few for an interval of {confidence:.0%}; 8 are the fewest for 99 %"
    return sorted(values)[k - 1], sorted(values)[n - k]


def summary(ratios: Sequence[float]) -> dict:
    """Median, quartiles and interval, on logarithms: swapping ours and theirs must turn r into 1 / r."""
    logs = [log(ratio) for ratio in ratios]
    first, middle, third = statistics.quantiles(logs, n=4, method="inclusive")
    return {
        "pairs": len(ratios),
        "median": round(exp(middle), 3),
        "quartiles": [round(exp(first), 3), round(exp(third), 3)],
        "interval": [round(exp(end), 3) for end in median_interval(logs)],
    }


def machine() -> dict[str, str | int | float]:
    """What a reader needs to know about where this was measured; no name of any computer."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads used": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load average at start": round(os.getloadavg()[0], 2),
    }


def run(claim: Claim, seed: int = 0, folder: Path = FOLDER, **options) -> dict:
    """Check, measure every size, and write FOLDER/NAME.json; nothing is written if any results differ."""
    result = {"name": claim.name, "claim": claim.sentence, "faster": claim.faster, "seed": seed}
    result |= {"machine": machine(), "rows": []}
    for size in claim.sizes:
        ours, theirs = claim.prepare(seed, **size)
        require_same(claim, size, ours, theirs)
        ratios = [round(ratio, 4) for ratio in measure(ours, theirs, **options)]
        result["rows"].append({"size": in_words(size), **summary(ratios), "ratios": ratios})
    text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(result, indent=1))
    (folder / f"{claim.name}.json").write_text(text + "\n")  # each list of numbers on one line
    return result
