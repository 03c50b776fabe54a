"""Pictures of lesson 05."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from course_lib.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    Picture,
    canvas,
    label,
)

COLOURS = (ORANGE, BLUE, GREEN, RED)

# ---- what tuning does


def tuning(
    runs: Mapping[str, Sequence[Mapping[str, float]]],
    recorded: Mapping[str, Sequence[Sequence[float]]],
) -> Picture:
    """Answers about held-out people, and the perplexity of the old texts, over steps.

    runs: name -> notes with "step", "right" and "perplexity", the first of step 0.
    recorded: "right, name" and "perplexity, name" of other seeds, every 100 steps.
    """
    figure, panels = canvas(columns=2, width=8.6, height=3.5)
    columns = ("right", "perplexity"), (".0%", ".1f")
    longest = max(notes[-1]["step"] for notes in runs.values())
    for axes, what, form in zip(panels, *columns, strict=True):
        for (name, notes), colour in zip(runs.items(), COLOURS, strict=False):
            steps, values = ([note[key] for note in notes] for key in ("step", what))
            for seed in recorded[f"{what}, {name}"]:
                grid = range(0, 100 * len(seed), 100)
                axes.plot(grid, seed, color=colour, alpha=0.3, linewidth=1)
            axes.plot(steps, values, color=colour)
            beyond = steps[-1] < longest  # there is room behind its end
            axes.annotate(
                f"{name}: {values[-1]:{form}}", (steps[-1], values[-1]),
                (6, -3) if beyond else (0, 5), textcoords="offset points",
                color=colour, fontsize=9, ha="left" if beyond else "right",
            )  # fmt: skip
        start = next(iter(runs.values()))[0][what]
        axes.axhline(start, color=GREY, linestyle="--", linewidth=1)
    left, beside = panels
    label(left, "Right answers", "training step", "faint: recorded, other seeds")
    label(beside, "Perplexity of stories", "training step", "dashed: the base")
    left.set_ylim(0, 1.12)
    left.yaxis.set_major_formatter(PercentFormatter(1, 0))
    beside.set_ylim(1, 1.12 * beside.get_ylim()[1])
    last = {name: notes[-1] for name, notes in runs.items()}
    shares = ", ".join(f"{n['right']:.0%} with {name}" for name, n in last.items())
    figure.suptitle(
        f"Right about people known from stories: {shares}",
        fontsize=12, fontweight="bold", x=0.01, ha="left",
    )  # fmt: skip
    for axes in panels:
        axes.title.set(fontsize=10.5, fontweight="normal")
    said = [
        f"{name} {note['right']:.0%} right and perplexity {note['perplexity']:.2f}"
        for name, note in last.items()
    ]
    return Picture(figure, f"Tuning over steps; at the end {'; '.join(said)}.")


def sweeps(
    rates: Sequence[float],
    by_rate: Sequence[Sequence[float]],
    wrong: Sequence[float],
    by_wrong: Sequence[Sequence[float]],
) -> Picture:
    """Right answers by learning rate and by the share of wrong answers, per seed."""
    figure, (left, beside) = canvas(columns=2, width=8.6, height=3.2, sharey=True)
    means = []
    for axes, places, seeds in ((left, rates, by_rate), (beside, wrong, by_wrong)):
        for seed in seeds:
            axes.plot(places, seed, color=BLUE, alpha=0.3, linewidth=1)
        means.append([sum(values) / len(seeds) for values in zip(*seeds, strict=True)])
        axes.plot(places, means[-1], "o-", color=BLUE, markersize=4)
    left.set_xscale("log")
    left.set_ylim(0, 1.08)
    left.yaxis.set_major_formatter(PercentFormatter(1, 0))
    beside.xaxis.set_major_formatter(PercentFormatter(1, 0))
    best, half = means[0].index(max(means[0])), wrong.index(0.5)
    label(left, f"Best at {rates[best]:g}", "learning rate", "right answers")
    title = f"Half wrong: {means[1][half]:.0%} right"
    label(beside, title, "wrong answers in the data", "")
    pairs = (
        ", ".join(f"{place:g}: {mean:.0%}" for place, mean in zip(*part, strict=True))
        for part in ((rates, means[0]), (wrong, means[1]))
    )
    return Picture(
        figure,
        "Right answers by learning rate {}; by share of wrong answers in the data {}.".format(
            *pairs
        ),
    )


# ---- packing


def who_sees_whom(masks: Mapping[str, Tensor], documents: Sequence[int]) -> Picture:
    """Masks (T, T) of one packed row side by side; lines where a document begins."""
    figure, panels = canvas(columns=len(masks), width=3.2 * len(masks), height=3.3)
    begins = [t for t in range(1, len(documents)) if documents[t] != documents[t - 1]]
    said = []
    for axes, (name, mask) in zip(panels, masks.items(), strict=True):
        axes.imshow(mask, cmap="Blues", vmin=0, vmax=1.4)
        axes.grid(visible=False)
        _document_lines(axes, begins)
        label(axes, name, "looked at", "")
        said.append(f"{name}: {int(mask.sum())} pairs")
    panels[0].set_ylabel("looks")
    return Picture(figure, f"Who may look at whom in a packed row. {'; '.join(said)}.")


def _document_lines(axes: Axes, begins: Sequence[int]) -> None:
    for t in begins:
        axes.axhline(t - 0.5, color=INK, linewidth=0.8)
        axes.axvline(t - 0.5, color=INK, linewidth=0.8)
