"""docs/BENCH.md, made from the measurements in docs/bench/ and from nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path

from tools.bench.figures import CONFIDENCE
from tools.bench.harness import FOLDER

TABLE = FOLDER.parent / "BENCH.md"
HEAD = """# What is faster, and by how much

Made by `make bench` from the files in `docs/bench/`; never typed. Both sides get the same inputs, and nothing is
timed before their results agree. Each number is *time of ours ÷ time of theirs*, so 0.5 means that ours takes half
as long. It is the median over fresh processes, in each of which the two are measured in turn; the interval is for this
median, the middle half is that of single pairs. Where the interval contains 1, nothing is claimed. A wide interval
mostly means that processes differ in where their memory lies. Ratios of another machine will differ.
"""
COLUMNS = f"""| size | ours ÷ theirs | {CONFIDENCE:.0%} interval | middle half of pairs | processes × pairs | measured |
|---|---|---|---|---|---|"""


def verdict(interval: Sequence[float], faster: bool) -> str:
    """What was measured, and whether the sentence said so; an interval that contains 1 says nothing."""
    low, high = interval
    if low <= 1 <= high:
        return "no difference measured"
    took = "less" if high < 1 else "more"
    return f"{took} time, " + (
        "as claimed" if (took == "less") == faster else "against the claim"
    )


def between(ends: Sequence[float]) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"


def section(result: dict) -> str:
    """One claim: its sentence, a row for each size, and the machine."""
    lines = [f"## {result['name']}", "", f"*{result['claim']}*", "", COLUMNS]
    for row in result["rows"]:
        cells = [
            row["size"],
            f"{row['median']:.2f}",
            between(row["interval"]),
            between(row["quartiles"]),
        ]
        cells += [f"{row['processes']} × {row['pairs'] // row['processes']}"]
        cells += [verdict(row["interval"], result["faster"])]
        lines.append(f"| {' | '.join(cells)} |")
    where = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return "\n".join([*lines, "", f"Measured on: {where}.", ""])


def table(folder: Path = FOLDER) -> str:
    """The whole text, claims in the order of their names."""
    return "\n".join(
        [
            HEAD,
            *(
                section(json.loads(file.read_text()))
                for file in sorted(folder.glob("*.json"))
            ),
        ]
    )
