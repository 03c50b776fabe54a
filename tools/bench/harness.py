"""Is ours faster than theirs? A ratio from many pairs of measurements, never two times side by side.

Times taken minutes apart on a busy machine say more about the machine than about the code. So the two are
measured in turn, each pair in the reverse order of the one before, and only the ratio within a pair counts.
Pairs of one process are not independent: where its memory happens to lie can change a ratio threefold
(docs/bench/softmax.json). So several fresh processes measure, and the interval is taken over processes.
Where a claim counts its work, each pair is preceded by a matrix product: what share of the product's rate is
reached is a ratio too. Left out: absolute times and peak memory, which do not carry over.
"""

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from timeit import Timer

import torch
from torch import Tensor

from tools.bench.figures import summary
from tools.bench.machine import machine

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "bench"
PROCESSES = 8  # the fewest that give an interval of 99 %
PAIRS = 10  # in each process
LEAST_SECONDS = 0.02  # shorter measurements see the clock and the scheduler
PRODUCT = 2048  # rows and columns of the matrices whose product is the machine's peak
Size = dict[str, int | str]  # {"V": 2048, "mode": "forward"}
Side = Callable[[], Tensor | tuple[Tensor, ...]]


class Mismatch(Exception):
    """The two sides do not compute the same thing."""


@dataclass(frozen=True)
class Claim:
    """A sentence about time, and what is needed to test it."""

    name: str
    sentence: str  # written before measuring
    faster: bool  # does the sentence say that ours takes less time?
    sizes: tuple[Size, ...]
    prepare: Callable[..., tuple[Side, Side]]  # (seed, **size) -> ours, theirs
    atol: float = 1e-5  # largest difference of results; a larger one carries its reason
    limits: tuple[
        float, ...
    ] = ()  # largest ratio that a faster one says, for each size; none: 1
    work: Callable[..., float] | None = (
        None  # (**size) -> floating-point operations of a call
    )
    pairs: int = PAIRS  # fewer where a call takes about a second


def in_words(size: Size) -> str:
    """V = 2,048, forward"""
    return ", ".join(
        value if isinstance(value, str) else f"{key} = {value:,}"
        for key, value in size.items()
    )


def require_same(claim: Claim, size: Size, ours: Side, theirs: Side) -> None:
    """Stop unless both sides return tensors of the same shapes and, to within atol, of the same values."""
    where = f"{claim.name} at {in_words(size)}"
    results = [
        result if isinstance(result, tuple) else (result,)
        for result in (ours(), theirs())
    ]
    shapes = [[tuple(tensor.shape) for tensor in result] for result in results]
    if shapes[0] != shapes[1]:
        seen = f"ours gives shapes {shapes[0]}, theirs {shapes[1]}"
        raise Mismatch(f"{where}: {seen}. Nothing was timed.")
    worst = max((a - b).abs().max().item() for a, b in zip(*results, strict=True))
    if not worst <= claim.atol:  # nan is no agreement either
        seen = f"results differ by {worst:.2g}, allowed is {claim.atol}"
        raise Mismatch(f"{where}: {seen}. Nothing was timed.")


def repeats_needed(function: Side, clock: Callable[[], float]) -> int:
    """How many calls in a row take at least LEAST_SECONDS, even on the quickest of three tries.

    These tries also warm up: first calls allocate, import and choose kernels.
    """
    repeats = 1
    while min(Timer(function, timer=clock).repeat(3, repeats)) < LEAST_SECONDS:
        repeats *= 2
    return repeats


def measure(
    ours: Side,
    theirs: Side,
    pairs: int = PAIRS,
    clock: Callable[[], float] = time.perf_counter,
    product: Side | None = None,
) -> list[dict[str, float]]:
    """Seconds of a call in each pair: ours, theirs, theirs, ours, ours, theirs and so on.

    A product is measured before each pair, so that neither side always follows it.
    """
    sides = {"ours": ours, "theirs": theirs} | ({"product": product} if product else {})
    repeats = {name: repeats_needed(side, clock) for name, side in sides.items()}
    measured = []
    for pair in range(pairs):
        took = {}
        order = ("ours", "theirs") if pair % 2 == 0 else ("theirs", "ours")
        for name in ("product", *order) if product else order:
            seconds = Timer(sides[name], timer=clock).timeit(repeats[name])
            took[name] = seconds / repeats[name]
        measured.append(took)
    return measured


def matrix_product() -> Side:
    """One product of two square matrices in float32: 2 * PRODUCT**3 operations, near the best a machine does."""
    matrix = torch.rand(PRODUCT, PRODUCT)
    return lambda: matrix @ matrix


def ratios(measured: list[dict[str, float]], work: float | None) -> dict:
    """Of each pair: ours / theirs, and with work the share of the product's rate that each side reached."""
    found = {"ratios": [took["ours"] / took["theirs"] for took in measured]}
    for side in ("ours", "theirs") if work else ():
        relative = work / (2 * PRODUCT**3)
        found[f"share of {side}"] = [
            relative * took["product"] / took[side] for took in measured
        ]
    return {name: [round(r, 4) for r in column] for name, column in found.items()}


def ratios_by_size(claim: Claim, seed: int, **options) -> list[dict[str, list[float]]]:
    """What one process contributes: for each size, the results compared, then the ratios of each pair."""
    torch.set_num_threads(1)  # threads that wait for each other would time other work
    options = {"pairs": claim.pairs} | options
    if claim.work:
        options = {"product": matrix_product()} | options
    found = []
    for size in claim.sizes:
        ours, theirs = claim.prepare(seed, **size)
        require_same(claim, size, ours, theirs)
        work = claim.work(**size) if claim.work else None
        found.append(ratios(measure(ours, theirs, **options), work))
    return found


def in_fresh_process(work: Callable[[], list]) -> list:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work).result()


def run(
    claim: Claim,
    folder: Path = FOLDER,
    processes: int = PROCESSES,
    start: Callable = in_fresh_process,
    **options,
) -> dict:
    """Compare and measure every size in every process, with its number as seed; write FOLDER/NAME.json."""
    result = {
        "name": claim.name,
        "claim": claim.sentence,
        "faster": claim.faster,
        "machine": machine(),
        "rows": [],
    }
    found = [
        start(partial(ratios_by_size, claim, seed, **options))
        for seed in range(processes)
    ]
    limits = claim.limits or (1.0,) * len(claim.sizes)
    for size, limit, *parts in zip(claim.sizes, limits, *found, strict=True):
        columns = {name: [part[name] for part in parts] for name in parts[0]}
        row = {"size": in_words(size), **summary(columns["ratios"])}
        if limit != 1:
            row["limit"] = round(limit, 3)
        result["rows"].append(row | columns)  # of a column: one list per process
    one_line = re.compile(r"\[[-+\d.e,\s]+\]")  # each list of numbers
    text = json.dumps(result, indent=1)
    text = one_line.sub(lambda found: json.dumps(json.loads(found[0])), text)
    (folder / f"{claim.name}.json").write_text(text + "\n")
    return result
