"""Pictures of lesson 08."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    SETTINGS,
    Picture,
    canvas,
    label,
)

COLOURS = (BLUE, ORANGE, GREEN, RED)
History = Mapping[str, Sequence[float]]
Curves = Mapping[str, Sequence[Sequence[float]]]  # name -> one list for each seed

# ---- one run

PANELS = (  # name in the history, title, unit
    ("reward", "right", "share of a batch"),
    ("verified", "proved by steps", "share of a batch"),
    ("length", "length", "tokens"),
    ("equal_share", "all alike", "share of the groups"),
)


def learning(history: History, recorded: Curves) -> Picture:
    """Four numbers to watch, over the steps of a run; faint: recorded, other seeds."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.0, 4.4), layout="constrained")
        panels = list(figure.subplots(2, 2, sharex=True).flat)
    said = []
    for axes, (name, title, unit) in zip(panels, PANELS, strict=True):
        for seed in recorded.get(name, ()):
            steps = range(1, len(seed) + 1)
            axes.plot(steps, seed, color=BLUE, alpha=0.25, linewidth=1)
        values = history[name]
        axes.plot(range(1, len(values) + 1), values, color=BLUE)
        axes.set_title(title, fontsize=10.5, loc="left")
        axes.set_ylabel(unit, fontsize=9)
        axes.set_ylim(0, None if name == "length" else 1)
        said.append(f"{title} from {values[0]:.2f} to {values[-1]:.2f}")
    for axes in panels[2:]:
        axes.set_xlabel("step")
    ends = [_late(history[name]) for name in ("reward", "verified")]
    title = f"In the end {ends[0]:.0%} right, {ends[1]:.0%} with a proof"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}: {'; '.join(said)}.")


def _late(values: Sequence[float], count: int = 5) -> float:
    """The mean of the last values: calmer than the last one alone.

    >>> _late([0.0, 0.5, 1.0], count=2)
    0.75
    """
    last = values[-count:]
    return sum(last) / len(last)


# ---- how much a token counts


def pulls(weights: Mapping[str, Tensor], lengths: Sequence[int]) -> Picture:
    """How hard answers of several lengths are pushed: each token, and all together.

    weights: name -> (B, T), what one token of each answer counts; rows as lengths.
    """
    figure, panels = canvas(columns=2, width=8.6, height=3.2)
    said, width = [], 0.8 / len(lengths)
    for row, (length, colour) in enumerate(zip(lengths, COLOURS, strict=False)):
        for axes, what in zip(panels, ("a token", "the whole answer"), strict=True):
            whole = what != "a token"
            heights = [
                float(w[row].sum() if whole else w[row].max()) for w in weights.values()
            ]
            places = [
                i + (row - (len(lengths) - 1) / 2) * width for i in range(len(heights))
            ]
            axes.bar(
                places, heights, width * 0.92, color=colour, label=f"{length} tokens"
            )
            for place, height in zip(places, heights, strict=True):
                axes.text(
                    place, height, f"{height:.3f}", ha="center", va="bottom", fontsize=8
                )
            numbers = zip(weights, heights, strict=True)
            said.append(
                f"{what} of {length} tokens: "
                + ", ".join(f"{name} {height:.3f}" for name, height in numbers)
            )
    for axes, what in zip(panels, ("each token", "the whole answer"), strict=True):
        axes.set_xticks(range(len(weights)), list(weights))
        axes.margins(y=0.14)
        label(axes, "", "", f"push on {what}")
    panels[0].legend(frameon=False, fontsize=9)
    longer = max(lengths) > min(lengths)
    title = "GRPO pushes a token of a long answer less" if longer else "Alike in all"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


# ---- runs beside each other


def together(
    lines: Mapping[str, Sequence[float]], title: str, unit: str, limit: float | None = 1
) -> Picture:
    """Lines over the steps, named at their ends; limit: the top of the axis."""
    figure, (axes,) = canvas(height=3.3)
    ends = {name: _late(values) for name, values in lines.items()}
    top = limit or max(max(values) for values in lines.values())
    heights = _apart(list(ends.values()), 0.07 * top)
    longest = max(map(len, lines.values()))
    for (name, values), colour, height in zip(
        lines.items(), COLOURS, heights, strict=False
    ):
        axes.plot(range(1, len(values) + 1), values, color=colour)
        words = f"{name}: {ends[name]:.2f}"
        axes.text(longest * 1.02, height, words, color=colour, fontsize=9, va="center")
    axes.set_xlim(0, longest * 1.45)  # room for the names
    axes.set_ylim(0, limit)
    axes.set_xticks(range(0, longest + 1, 10 if longest > 9 else 1))
    label(axes, title, "step", unit)
    said = ", ".join(f"{name} {end:.2f}" for name, end in ends.items())
    return Picture(figure, f"{title}. Means of the last steps: {said}.")


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """The heights, moved up where needed so that labels do not cover each other.

    >>> _apart([0.5, 0.1, 0.52], least=0.1)
    [0.5, 0.1, 0.6]
    """
    moved, below = [0.0] * len(heights), float("-inf")
    for place in sorted(range(len(heights)), key=heights.__getitem__):
        below = moved[place] = max(heights[place], below + least)
    return moved


# ---- more samples


def more_samples(
    found: Mapping[str, Mapping[str, Sequence[float]]], ks: Sequence[int]
) -> Picture:
    """What more answers to a question buy: any of k right, and the vote of k.

    found: name of a model -> "any" and "vote", a share for each of ks.
    """
    figure, panels = canvas(columns=2, width=8.6, height=3.3, sharey=True)
    said = []
    for axes, (what, words) in zip(
        panels,
        {"any": "any of k is right", "vote": "the vote of k is right"}.items(),
        strict=True,
    ):
        ends = [shares[what][-1] for shares in found.values()]
        heights = _apart(ends, 0.08)
        for (name, shares), colour, height in zip(
            found.items(), COLOURS, heights, strict=False
        ):
            axes.plot(ks, shares[what], "o-", color=colour, markersize=4)
            axes.text(
                ks[-1] * 1.12,
                height,
                f"{name}: {shares[what][-1]:.2f}",
                color=colour,
                fontsize=9,
                va="center",
            )
            said.append(
                f"{words}, {name}: "
                + ", ".join(
                    f"{k}: {s:.2f}" for k, s in zip(ks, shares[what], strict=True)
                )
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.minorticks_off()
        axes.set_xlim(0.9, ks[-1] * 3.6)
        axes.set_ylim(0, 1.09)
        label(axes, "", "k, answers to each question", words)
    title = "Practice makes likely what was possible"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


# ---- recorded

PHASES = ("cold start", "rules", "own answers", "mixed")


def phases(recorded: Curves) -> Picture:
    """R1's four phases on one axis: right, proved, and the length, recorded seeds.

    recorded: "phase: right", ": verified", ": length" for each of PHASES, one list
    per seed with the values of its exams. The third phase begins with the base again,
    so no line leads to it.
    """
    figure, (left, right) = canvas(columns=2, width=8.6, height=3.4)
    said, first = [], 0
    for before, phase in zip((None, *PHASES), PHASES, strict=False):
        count = len(recorded[f"{phase}: right"][0])
        for axes, what, colour in (
            (left, "right", BLUE), (left, "verified", ORANGE), (right, "length", GREEN)
        ):  # fmt: skip
            seeds, start = recorded[f"{phase}: {what}"], first
            if before in ("cold start", "own answers"):
                ends = [[seed[-1]] for seed in recorded[f"{before}: {what}"]]
                seeds = [end + seed for end, seed in zip(ends, seeds, strict=True)]
                start = first - 1
            _seeds(axes, seeds, range(start, first + count), colour)
        ends = [seed[-1] for seed in recorded[f"{phase}: right"]]
        said.append(f"{phase}: {sum(ends) / len(ends):.2f} right")
        for axes in (left, right):
            axes.axvline(first - 0.5, color=GREY, linewidth=1)
        height = 1.05 + 0.07 * (phase in PHASES[1::2])  # neighbours keep apart
        left.text(first - 0.3, height, phase, fontsize=8, color=INK)
        first += count
    left.set_ylim(0, 1.2)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xticks([])
    label(left, "", "blue: right, orange: proved by steps", "share of the problems")
    label(right, "", "exams, one phase after the other", "tokens of an answer")
    title = "Haste covers the steps, rules uncover them"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. At the end of each phase {'; '.join(said)}.")


def recorded_runs(
    recorded: Curves, names: Sequence[str], title: str, unit: str
) -> Picture:
    """Recorded runs beside each other: faint each seed, bold the mean.

    recorded: "name: right" for each of names, evenly spread over a run.
    """
    figure, (axes,) = canvas(height=3.2)
    ends = [
        _late([seed[-1] for seed in recorded[f"{name}: right"]], 99) for name in names
    ]
    said = []
    for name, colour, end, height in zip(
        names, COLOURS, ends, _apart(ends, 0.07), strict=False
    ):
        seeds = recorded[f"{name}: right"]
        places = [i / (len(seeds[0]) - 1) for i in range(len(seeds[0]))]
        _seeds(axes, seeds, places, colour)
        axes.text(
            1.02, height, f"{name}: {end:.2f}", color=colour, fontsize=9, va="center"
        )
        said.append(f"{name} {end:.2f}")
    axes.set_xlim(0, 1.5)
    axes.set_xticks([0, 0.5, 1], ["0", "half", "all"])
    axes.set_ylim(0, 1)
    label(axes, title, "of the run", unit)
    return Picture(figure, f"{title}. At the end {', '.join(said)}.")


def _seeds(
    axes: Axes, seeds: Sequence[Sequence[float]], places: Sequence[float], colour: str
) -> None:
    """Each seed faintly, and their mean."""
    for seed in seeds:
        axes.plot(places, seed, color=colour, alpha=0.25, linewidth=1)
    means = [sum(point) / len(seeds) for point in zip(*seeds, strict=True)]
    axes.plot(places, means, color=colour)
