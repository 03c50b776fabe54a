"""Pictures of lesson 00."""

from collections.abc import Sequence

import numpy as np

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

PAPER = {
    "facecolor": "white",
    "edgecolor": "none",
    "pad": 1.5,
}  # behind a text that lies over lines


def overflow(
    shifts: Sequence[float], naive: Sequence[float], safe: Sequence[float]
) -> Picture:
    """The same three scores, shifted together: what each formula says about the best one."""
    figure, (axes,) = canvas()
    axes.plot(shifts, safe, color=BLUE, linewidth=9, alpha=0.25)
    axes.plot(shifts, naive, color=RED, linewidth=2.5)
    broken = next(
        (x for x, p in zip(shifts, naive, strict=True) if np.isnan(p)), shifts[-1]
    )
    axes.axvspan(broken, shifts[-1], color=RED, alpha=0.08)
    axes.text(broken + 1, 0.25, "naive: nan", color=RED, fontsize=10)
    axes.text(
        shifts[0] + 2, safe[0] - 0.09, "what the formula means", color=BLUE, fontsize=10
    )
    axes.set_ylim(0, 1)
    label(
        axes,
        "The naive formula breaks although nothing changed",
        "added to all three scores",
        "best word's probability",
    )
    alt = (
        f"Probability of the best word against a constant added to all scores: flat at {safe[0]:.2f} as it should be; "
        f"the naive formula turns to nan from {broken:.0f} on."
    )
    return Picture(figure, alt)


def next_word(
    words: Sequence[str], probabilities: Sequence[float], temperature: float
) -> Picture:
    """The probabilities of the next word at one temperature."""
    figure, (axes,) = canvas(height=2.6)
    bars = axes.barh(words, probabilities, color=BLUE)
    axes.bar_label(bars, [f"{p:.2f}" for p in probabilities], padding=3, fontsize=9)
    axes.set_xlim(0, 1.08)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    mood = (
        "sure of itself"
        if max(probabilities) > 0.9
        else "nearly a coin toss"
        if max(probabilities) < 0.3
        else "torn"
    )
    label(
        axes, f"Temperature {temperature:.1f}: the model is {mood}", "probability", ""
    )
    top = words[int(np.argmax(probabilities))]
    return Picture(
        figure,
        f"Bar chart at temperature {temperature:.1f}: {top} leads with {max(probabilities):.2f}.",
    )


def batch(texts: Sequence[Sequence[str]], mask: np.ndarray) -> Picture:
    """A rectangle of words, padding greyed out."""
    rows, columns = mask.shape
    figure, (axes,) = canvas(height=0.5 * rows + 1.0, width=1.05 * columns + 0.8)
    for r in range(rows):
        for c in range(columns):
            real = bool(mask[r, c])
            axes.add_patch(_box(c, r, real))
            word = texts[r][c] if real else "padding"
            axes.text(
                c + 0.5,
                r + 0.5,
                word,
                ha="center",
                va="center",
                color=INK if real else GREY,
                fontsize=9,
            )
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks(np.arange(columns) + 0.5, range(columns))
    axes.set_yticks(np.arange(rows) + 0.5, range(rows))
    axes.grid(False)
    share = 1 - mask.mean()
    label(axes, f"{share:.0%} of this batch is padding", "position t", "text b")
    return Picture(
        figure,
        f"Grid of {rows} texts by {columns} positions; {share:.0%} of the cells are padding on the right.",
    )


def _box(column: int, row: int, real: bool):
    from matplotlib.patches import Rectangle

    face = "#d6e8f5" if real else "#f4f4f4"
    return Rectangle(
        (column + 0.03, row + 0.06),
        0.94,
        0.88,
        facecolor=face,
        edgecolor=BLUE if real else GREY,
        linewidth=0.8,
    )


def cuts(names: Sequence[str], published: Sequence[float], truth: float) -> Picture:
    """The loss that the published formula reports for one batch, cut in several ways."""
    figure, (axes,) = canvas(height=2.8)
    bars = axes.barh(names, published, color=ORANGE)
    axes.bar_label(bars, [f"{value:.2f}" for value in published], padding=3, fontsize=9)
    axes.axvline(truth, color=BLUE)
    axes.text(
        truth,
        -0.75,
        f"the batch's mean: {truth:.2f}",
        color=BLUE,
        fontsize=9,
        ha="center",
    )
    axes.set_xlim(0, max(*published, truth) * 1.2)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    label(
        axes,
        "One batch, one model, three different losses\n",
        "loss that the published formula reports (nats)",
        "",
    )
    values = ", ".join(
        f"{name}: {value:.2f}" for name, value in zip(names, published, strict=True)
    )
    return Picture(
        figure,
        f"Reported loss by way of cutting the batch ({values}); the true mean is {truth:.2f}.",
    )


def learning(live: Sequence[float], recorded: Sequence[Sequence[float]]) -> Picture:
    """Training loss of the live run over recorded ones."""
    figure, (axes,) = canvas()
    for curve in recorded:
        axes.plot(curve, color=GREY, linewidth=1, alpha=0.7)
    axes.plot(live, color=BLUE)
    chance = float(np.log(2))
    axes.axhline(chance, color=ORANGE, linestyle="--", linewidth=1)
    axes.text(
        len(live) * 0.62, chance + 0.02, "a coin toss: ln 2", color=ORANGE, fontsize=9
    )
    axes.text(
        len(live) * 0.62,
        0.3,
        "blue: your run, live\ngrey: recorded runs, other seeds",
        fontsize=9,
        color=INK,
    )
    axes.set_ylim(bottom=0)
    label(axes, "From a coin toss to certainty", "training step", "loss (nats)")
    alt = f"Training loss falls from {live[0]:.2f} to {live[-1]:.2f} nats in {len(live)} steps; recorded seeds lie beside it."
    return Picture(figure, alt)


def timeline(months: Sequence[str], names: Sequence[str]) -> Picture:
    """Milestones on one axis of years, in staggered rows so that no names collide."""
    years = [int(month[:4]) + (int(month[5:]) - 1) / 12 for month in months]
    figure, (axes,) = canvas(width=8, height=4.2)
    rows = _rows(years, names)
    for year, name, row in zip(years, names, rows, strict=True):
        axes.plot([year, year], [0, row], color=GREY, linewidth=0.8, zorder=1)
        axes.plot(year, 0, "o", color=BLUE, markersize=5)
        axes.text(
            year + 0.05,
            row,
            name,
            va="center",
            fontsize=9,
            color=INK,
            zorder=3,
            bbox=PAPER,
        )
    axes.axhline(0, color=BLUE, linewidth=1.5)
    axes.set_ylim(-0.6, max(rows) + 1)
    axes.set_xlim(min(years) - 0.3, max(years) + 1.4)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    span = round(years[-1] - years[0])
    label(
        axes,
        f"From attention to reasoning in {span} years",
        "year of the paper or release",
        "",
    )
    named = "; ".join(
        f"{month} {name}" for month, name in zip(months, names, strict=True)
    )
    return Picture(figure, f"Timeline: {named}.")


def _rows(
    years: Sequence[float], names: Sequence[str], width: float = 0.115
) -> list[int]:
    """Rows that fall from left to right, so that no line to a later name crosses an earlier one."""
    rows: list[int] = []  # of the names to the right, nearest first
    for index in reversed(range(len(years))):
        end = years[index] + width * (len(names[index]) + 1)
        under = sum(year < end for year in years[index + 1 :])
        rows.insert(0, 1 + max(rows[:under], default=0))
    return rows


def sizes(counts: dict[str, float]) -> Picture:
    """Parameter counts on a logarithmic axis, smallest first."""
    names = sorted(counts, key=counts.get)
    values = [counts[name] for name in names]
    figure, (axes,) = canvas(height=0.32 * len(names) + 1.1)
    axes.hlines(names, 1e7, values, color=GREY, linewidth=1)
    axes.plot(values, names, "o", color=GREEN)
    for name, value in zip(names, values, strict=True):
        axes.text(value * 1.25, name, _short(value), va="center", fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(2e7, max(values) * 8)
    ratio = values[-1] / values[0]
    label(
        axes,
        f"The largest is about {float(f'{ratio:.2g}'):,.0f} times the smallest",
        "parameters (logarithmic)",
        "",
    )
    named = ", ".join(
        f"{name} {_short(value)}" for name, value in zip(names, values, strict=True)
    )
    return Picture(figure, f"Parameter counts: {named}.")


def _short(count: float) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def course_map(lessons: Sequence[tuple[str, str, str]], here: str) -> Picture:
    """The corridor: lessons in order, coloured by what they do to the model; (number, title, part)."""
    from matplotlib.patches import FancyBboxPatch

    parts = list(dict.fromkeys(part for _, _, part in lessons))
    colours = dict(zip(parts, (GREY, BLUE, ORANGE, GREEN, RED), strict=False))
    figure, (axes,) = canvas(width=8, height=0.6 * ((len(lessons) + 2) // 3) + 1.2)
    for index, (number, title, part) in enumerate(lessons):
        column, row = index % 3, index // 3
        x = (
            column if row % 2 == 0 else 2 - column
        )  # there and back again, like a corridor
        box = FancyBboxPatch(
            (x + 0.03, row + 0.14),
            0.9,
            0.6,
            boxstyle="round,pad=0.02",
            facecolor=colours[part],
            alpha=0.9 if number == here else 0.22,
            edgecolor=colours[part],
        )
        axes.add_patch(box)
        ink = "white" if number == here else INK
        axes.text(
            x + 0.48,
            row + 0.44,
            f"{number}  {title}",
            ha="center",
            va="center",
            fontsize=9.5,
            color=ink,
        )
    for index in range(len(lessons) - 1):
        _step(axes, index)
    for index, part in enumerate(parts):
        axes.text(
            0.03 + index * 3 / len(parts),
            -0.15,
            f"■ {part}",
            color=colours[part],
            fontsize=9.5,
        )
    axes.set_xlim(0, 3)
    axes.set_ylim((len(lessons) + 2) // 3, -0.4)
    axes.axis("off")
    return Picture(
        figure,
        "Map of the course: "
        + "; ".join(f"{n} {t} ({p})" for n, t, p in lessons)
        + ".",
    )


def _step(axes, index: int) -> None:
    """An arrow from one lesson of the corridor to the next."""
    row, column = divmod(index, 3)
    x = column if row % 2 == 0 else 2 - column
    forward = 1 if row % 2 == 0 else -1
    if column == 2:  # round the corner
        start, end = (x + 0.48, row + 0.79), (x + 0.48, row + 1.09)
    else:
        start = (x + (0.96 if forward == 1 else 0.0), row + 0.44)
        end = (start[0] + 0.05 * forward, row + 0.44)
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0},
    )
