"""docs/BENCH.md, made from the measurements in docs/bench/ and from nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path

from tools.bench.figures import CONFIDENCE, typical
from tools.bench.harness import FOLDER, PRODUCT

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


def verdict(interval: Sequence[float], faster: bool, limit: float = 1.0) -> str:
    """What was measured, and whether the sentence said so; an interval that contains 1 says nothing.

    limit: the largest ratio that a sentence allows; above 1 it allows more time, and 1 is no border.
    """
    low, high = interval
    if limit > 1:
        if low <= limit < high:
            return f"whether at most {limit:g} times, as claimed, is open"
        return f"{'' if high <= limit else 'not '}at most {limit:g} times, as claimed"
    if low <= 1 <= high:
        return "no difference measured"
    took = "less" if high < 1 else "more"
    if (took == "less") != faster:
        return f"{took} time, against the claim"
    if limit == 1:
        return f"{took} time, as claimed"
    if low <= limit < high:
        return f"less time; whether at most {limit:.2f}, as claimed, is open"
    return f"less time, {'' if high <= limit else 'not '}at most {limit:.2f} as claimed"


def between(ends: Sequence[float]) -> str:
    return f"{in_short(ends[0])} to {in_short(ends[1])}"


def in_short(ratio: float) -> str:
    """Two places; of a small ratio two digits, so that no time becomes 0.00."""
    return f"{ratio:.2f}" if ratio >= 0.095 else f"{ratio:.2g}"


def section(result: dict) -> str:
    """One claim: its sentence, a row for each size, and the machine."""
    lines = [f"## {result['name']}", "", f"*{result['claim']}*", "", COLUMNS]
    for row in result["rows"]:
        cells = [
            row["size"],
            in_short(row["median"]),
            between(row["interval"]),
            between(row["quartiles"]),
        ]
        cells += [f"{row['processes']} × {row['pairs'] // row['processes']}"]
        cells += [verdict(row["interval"], result["faster"], row.get("limit", 1.0))]
        lines.append(f"| {' | '.join(cells)} |")
    lines += (
        ["", *map(shares, result["rows"])]
        if "share of ours" in result["rows"][0]
        else []
    )
    where = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    return "\n".join([*lines, "", f"Measured on: {where}.", ""])


def shares(row: dict) -> str:
    """How near both sides come to the rate of a large matrix product."""
    ours, theirs = (typical(row[f"share of {side}"]) for side in ("ours", "theirs"))
    return (
        f"- {row['size']}: ours does its operations at {ours:.0%} of the rate of a matrix product "
        f"({PRODUCT} × {PRODUCT}, float32, same thread, timed before each pair), theirs at {theirs:.0%}."
    )


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
