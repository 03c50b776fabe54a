"""From ratios to figures: a median, and how sure it is.

The interval comes from order statistics: it assumes nothing about the noise except that the values do not
influence each other.
"""

import statistics
from collections.abc import Sequence
from math import comb, exp, log

CONFIDENCE = 0.99  # not 0.95: the table has many rows, and one in twenty would be wrong by chance


def median_interval(
    values: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The k-th smallest and k-th largest value, which enclose the true median with this confidence.

    All n values lie on one side of it like n coins that all show heads: each end fails with probability
    P(at most k - 1 heads). k is the largest for which both ends together fail rarely enough.
    """
    n, k, outside = len(values), 0, 2 / 2 ** len(values)
    while outside <= 1 - confidence:
        k += 1
        outside += 2 * comb(n, k) / 2**n
    assert k, (
        f"{n} values are too few for an interval of {confidence:.0%}; 8 are the fewest for 99 %"
    )
    return sorted(values)[k - 1], sorted(values)[n - k]


def typical(values: Sequence[Sequence[float]]) -> float:
    """The median of the processes' medians: a process counts once."""
    return statistics.median(statistics.median(process) for process in values)


def summary(ratios: Sequence[Sequence[float]]) -> dict:
    """Figures of one size from one list of ratios per process.

    The median is that of the processes' medians, and the interval encloses it; the quartiles are those of
    all pairs. On logarithms: swapping ours and theirs must turn r into 1 / r.
    """
    logs = [[log(ratio) for ratio in process] for process in ratios]
    medians = [statistics.median(process) for process in logs]
    first, _, third = statistics.quantiles(
        [pair for process in logs for pair in process], n=4, method="inclusive"
    )
    return {
        "processes": len(logs),
        "pairs": sum(map(len, logs)),
        "median": round(exp(statistics.median(medians)), 3),
        "quartiles": [round(exp(first), 3), round(exp(third), 3)],
        "interval": [round(exp(end), 3) for end in median_interval(medians)],
    }
