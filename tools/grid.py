"""Make the runs behind the lesson's law of scale: `make grid`.

A grid of widths and amounts of text, most of it again with another seed, and a run
larger than all of them, which the law must predict. A run whose row is in the table
under today's recipe is left alone; a run that was stopped goes on from its last
checkpoint. Small runs come first, so that a table that is not finished is a smaller
grid.
"""

import argparse
import csv
import io
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from course_lib.desk import write_whole
from course_lib.scaling.experiment import GRID, RECIPE, Run, digest, run, shipped, texts
from course_lib.scaling.parameters import layer_matrices

ROOT = Path(__file__).resolve().parents[1]
WORKSHOP = ROOT / "build" / "grid"  # half-done runs; git-ignored
WIDTHS = (16, 24, 32, 48, 64, 96)
TOKENS = (2**18, 2**19, 2**20, 2**21)
DEAR = 5.8e11  # grid runs that cost less are made with a second seed: the noise
LARGEST = 160
OVERHEAD = 200_000  # parameters whose arithmetic takes as long as all else in a step


@dataclass(frozen=True)
class Task:
    """One row that the table is to have."""

    role: str
    width: int
    tokens: int
    seed: int = 0

    @property
    def cost(self) -> float:
        """What its time is about proportional to: no token is cheaper than OVERHEAD."""
        matrices = layer_matrices(RECIPE.config(self.width))
        return self.tokens * (OVERHEAD + matrices)

    def done(self, row: Run, today: str) -> bool:
        asked = (self.role, self.width, RECIPE.steps(self.tokens), self.seed, today)
        return asked == (row.role, row.width, row.steps, row.seed, row.digest)


def tasks() -> list[Task]:
    """All rows: the grid from short to long, what is cheap of it again, the large run."""
    grid = [Task("grid", width, tokens) for tokens in TOKENS for width in WIDTHS]
    again = [replace(task, role="seed", seed=1) for task in grid if task.cost < DEAR]
    every_token = len(texts()[0]) - 1
    large = [Task("held_out", LARGEST, every_token, seed) for seed in (0, 1)]
    return [*grid, *again, *large]


def write(rows: list[Run], path: Path) -> None:
    """The whole table at once, so that no reader ever sees half a row."""
    text = io.StringIO()
    table = csv.DictWriter(text, [f.name for f in fields(Run)], lineterminator="\n")
    table.writeheader()
    order = sorted(rows, key=lambda row: (row.role, row.seed, row.tokens, row.width))
    table.writerows(asdict(row) for row in order)
    write_whole(path, text.getvalue())


def missing(rows: list[Run], wanted: list[Task], today: str) -> list[Task]:
    return [task for task in wanted if not any(task.done(row, today) for row in rows)]


def work(wanted: list[Task], path: Path, workshop: Path) -> None:
    """Run what the table lacks, one after the other; a row is written when it is known."""
    today = digest()
    rows = [row for row in shipped(path) if row.digest == today]  # others are stale
    todo = missing(rows, wanted, today)
    print(f"{len(wanted) - len(todo)} of {len(wanted)} runs are there", flush=True)
    workshop.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(todo, start=1):
        checkpoint = workshop / f"{task.width}-{task.tokens}-{task.seed}-{today}.pt"
        began = time.perf_counter()
        rows.append(run(task.width, task.tokens, task.seed, task.role, checkpoint))
        write(rows, path)
        checkpoint.unlink(missing_ok=True)
        print(progress(rows[-1], number, todo, time.perf_counter() - began), flush=True)


def progress(row: Run, number: int, todo: list[Task], seconds: float) -> str:
    """What came out, and how long the rest takes at the speed of this run."""
    left = sum(task.cost for task in todo[number:])
    rest = left * seconds / todo[number - 1].cost / 60
    return (
        f"{number}/{len(todo)} {row.role}: width {row.width}, {row.tokens:,} tokens, "
        f"loss {row.loss:.3f}, {seconds:.0f} s; about {rest:.0f} minutes to go"
    )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--into", type=Path, default=GRID, help="the table")
    ask.add_argument("--workshop", type=Path, default=WORKSHOP, help="half-done runs")
    asked = ask.parse_args()
    work(tasks(), asked.into, asked.workshop)


if __name__ == "__main__":
    main()
