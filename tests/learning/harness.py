"""A claim about learning holds at every seed, with a margin that is printed, or it is not made.

A training function runs once for each seed; what it measured is compared with a threshold; its curves are
recorded for the notebooks, which train one seed live. Left out: tests of significance, since a claim that
needs one is too weak for a lesson.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from course_lib import runtime

CURVES = Path(runtime.__file__).parent / "curves"
LIVE_SEED = 0  # what a learner's own run uses; recorded seeds are others
Measured = tuple[dict[str, list[float]], dict[str, float]]


@dataclass(frozen=True)
class Run:
    """One training run: its curves, step by step, and its figures at the end."""

    seed: int
    curves: dict[str, list[float]]
    figures: dict[str, float]


def over_seeds(train: Callable[[int], Measured], seeds: Iterable[int]) -> list[Run]:
    """Call `train(seed)` for every seed, each time with all generators freshly seeded.

    train returns (curves, figures).
    """
    runs = []
    for seed in seeds:
        runtime.start(seed)
        runs.append(Run(seed, *train(seed)))
    return runs


def at_least(
    runs: Sequence[Run], figure: str, threshold: float, seeds: int | None = None
) -> None:
    """Assert figure >= threshold at every seed, or at this many; prints each seed's figure and the reserve."""
    _assert_reserve(runs, figure, threshold, seeds, sign=1)


def at_most(
    runs: Sequence[Run], figure: str, threshold: float, seeds: int | None = None
) -> None:
    """Assert figure <= threshold at every seed, or at this many; prints each seed's figure and the reserve."""
    _assert_reserve(runs, figure, threshold, seeds, sign=-1)


def exactly(runs: Sequence[Run], figure: str, value: float) -> None:
    """Assert figure == value at every seed, to the last bit: for theorems, which need no reserve."""
    text = f"{figure} = {value:g} at every seed ({_listed(runs, figure)})"
    print(text)
    assert all(run.figures[figure] == value for run in runs), f"not true: {text}"


def _assert_reserve(
    runs: Sequence[Run], figure: str, threshold: float, seeds: int | None, sign: int
) -> None:
    """The reserve is how far the worst of the seeds that count is on the right side of the threshold."""
    wanted = len(runs) if seeds is None else seeds
    assert 0 < wanted <= len(runs), f"{wanted} seeds wanted of {len(runs)} runs"
    margins = [sign * run.figures[figure] - sign * threshold for run in runs]
    reserve = sorted(
        (-math.inf if math.isnan(m) else m for m in margins), reverse=True
    )[wanted - 1]
    where = (
        "every seed"
        if wanted == len(runs)
        else f"{wanted} of {len(runs)} seeds or more"
    )
    text = (
        f"{figure} {'≥' if sign > 0 else '≤'} {threshold:g} at {where} "
        f"({_listed(runs, figure)}); reserve {reserve:.3g}"
    )
    print(text)
    assert reserve >= 0, f"not true: {text}"


def _listed(runs: Sequence[Run], figure: str) -> str:
    return ", ".join(f"seed {run.seed}: {run.figures[figure]:.4g}" for run in runs)


def lower_end(numbers: Tensor, draws: int = 2000) -> float:
    """Of the middle 95 % of means, when questions are drawn again with replacement."""
    luck = torch.Generator().manual_seed(0)
    picks = torch.randint(len(numbers), (draws, len(numbers)), generator=luck)
    return numbers[picks].mean(dim=1).quantile(0.025).item()


def record(lesson: str, runs: Sequence[Run], folder: Path = CURVES) -> bool:
    """Write the curves of all runs to FOLDER/LESSON.json if RECORD=1; says whether it did."""
    if os.environ.get("RECORD") != "1":
        return False
    seeds, names = [run.seed for run in runs], list(runs[0].curves)
    assert LIVE_SEED not in seeds, (
        f"seed {LIVE_SEED} is the learner's own run; record others than {seeds}"
    )
    curves = {}
    for name in names:
        lengths = {len(run.curves[name]) for run in runs}
        assert len(lengths) == 1, f"curves of one length: {name} has {sorted(lengths)}"
        curves[name] = [
            [float(f"{value:.4g}") for value in run.curves[name]] for run in runs
        ]
    made_by = f"tests/learning/test_{lesson}.py, `make learning RECORD=1`"
    text = json.dumps(
        {"made_by": made_by, "seeds": seeds, "curves": curves},
        indent=1,
        allow_nan=False,
    )
    one_line = re.compile(r"\[[-+\d.e,\s]+\]")  # one seed, one line
    text = one_line.sub(lambda found: json.dumps(json.loads(found[0])), text)
    (folder / f"{lesson}.json").write_text(text + "\n")
    return True


def is_recorded(
    lesson: str, runs: Sequence[Run], atol: float, folder: Path = CURVES
) -> None:
    """Assert that the recorded curves are what these runs gave; atol allows for another machine's rounding."""
    recorded = json.loads((folder / f"{lesson}.json").read_text())
    again = f"record again with `make learning RECORD=1`: {lesson}.json"
    assert recorded["seeds"] == [run.seed for run in runs], (
        f"{again} has seeds {recorded['seeds']}"
    )
    for name, curves in recorded["curves"].items():
        for run, curve in zip(runs, curves, strict=True):
            assert len(curve) == len(run.curves[name]), (
                f"{again} has {len(curve)} steps of {name}"
            )
            worst = max(
                abs(a - b) for a, b in zip(curve, run.curves[name], strict=True)
            )
            assert worst <= atol, (
                f"{again} is off by {worst:.3g} in {name} at seed {run.seed}"
            )
