"""Pictures of lesson 03."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from course_lib.plotting.live import LivePicture, live_canvas, live_label
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


def power_of_ten(x: float) -> str:
    """12300 as 1.2 × 10⁴."""
    digits = f"{x:.1e}"
    front, power = digits.split("e")
    small = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{front} × 10{small}"


def amount(x: float) -> str:
    """1400000000 as 1.4 billion."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if x >= 0.995 * size:
            return f"{x / size:.3g} {name}"
    return f"{x:,.0f}"


# ---- bytes and operations

PARTS = {"weights": BLUE, "gradients": ORANGE, "moments": GREEN, "master": RED}


def memory_bars(plans: Mapping[str, Mapping[str, float]], card: float) -> Picture:
    """Bytes of a training, part by part, against the memory of one GPU."""
    figure, (axes,) = canvas(width=8, height=2.9)
    for y, parts in enumerate(plans.values()):
        left = 0.0
        for part, size in parts.items():
            if size:
                axes.barh(y, size / 1e9, left=left / 1e9, color=PARTS.get(part, GREY))
                axes.text(
                    (left + size / 2) / 1e9, y, part, color="white", fontsize=9,
                    ha="center", va="center",
                )  # fmt: skip
                left += size
        axes.text(left / 1e9 + 1, y, f"{left / 1e9:.0f} GB", fontsize=9.5, va="center")
    axes.axvline(card / 1e9, color=INK, linestyle="--", linewidth=1, zorder=0.9)
    axes.text(
        card / 1e9, -0.52, f" a card of {card / 1e9:.0f} GB", fontsize=9, va="bottom"
    )
    axes.set_yticks(range(len(plans)), plans)
    axes.set_ylim(len(plans) - 0.5, -0.85)
    axes.set_xlim(0, max(sum(parts.values()) for parts in plans.values()) / 1e9 * 1.13)
    axes.grid(axis="y", visible=False)
    label(axes, "The plan fits on one card, the training does not", "gigabytes", "")
    said = "; ".join(
        f"{name} {sum(parts.values()) / 1e9:.0f} GB" for name, parts in plans.items()
    )
    return Picture(
        figure, f"Bytes of a training: {said}. One card holds {card / 1e9:.0f} GB."
    )


def attention_shares(lengths: Sequence[int], shares: Sequence[float]) -> Picture:
    """What attention adds to the operations of the weights, by length of the text."""
    figure, (axes,) = canvas()
    fine = np.geomspace(lengths[0], lengths[-1], 200)  # straight between two lengths
    axes.plot(fine, np.interp(fine, lengths, shares), color=BLUE)
    axes.plot(lengths, shares, "o", color=BLUE, markersize=4)
    for length, share in zip(lengths, shares, strict=True):
        if length in (lengths[0], 8192, 32768, lengths[-1]):
            axes.annotate(
                f"{share:.0%}", (length, share), (-6, 7), textcoords="offset points",
                color=BLUE, fontsize=9, ha="right",
            )  # fmt: skip
    even = np.interp(1, shares, lengths)
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1)
    axes.text(lengths[0], 1.08, "as much as all weights", color=GREY, fontsize=9)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length // 1024}k" for length in lengths])
    axes.set_xlim(lengths[0] / 1.5, lengths[-1] * 1.2)
    axes.set_ylim(0, max(shares) * 1.15)
    label(
        axes,
        f"Past {even / 1024:.0f}k tokens attention costs more than all weights",
        "tokens of one text",
        "attention / (6 N)",
    )
    said = ", ".join(
        f"{share:.0%} at {length}"
        for length, share in zip(lengths, shares, strict=True)
    )
    return Picture(figure, f"Operations of attention relative to 6 N: {said} tokens.")


# ---- laws


def power_law(
    sizes: Sequence[float], losses: Sequence[float], exponent: float
) -> Picture:
    """One power law on even and on logarithmic axes."""
    figure, (even, logs) = canvas(columns=2, width=8)
    for axes in (even, logs):
        axes.plot(sizes, losses, color=BLUE)
        axes.set_ylim(top=max(losses) * 1.05)
    even.set_ylim(bottom=0)
    even.set_xticks([0, max(sizes) / 2, max(sizes)])
    even.set_xticklabels(["0", f"{max(sizes) / 2:.0e}", f"{max(sizes):.0e}"])
    logs.set_xscale("log")
    logs.set_yscale("log")
    marks = [2, 3, 4, 5]
    logs.set_yticks(marks, marks)
    logs.minorticks_off()
    label(even, "It seems to stand still …", "parameters", "loss (nats per token)")
    label(logs, "… and falls on and on", "parameters", "")
    return Picture(
        figure,
        f"The power law with exponent {exponent} falls from {losses[0]:.2f} to {losses[-1]:.2f} nats "
        f"between {sizes[0]:.0e} and {sizes[-1]:.0e} parameters: a bend that flattens on even axes, a straight line "
        "on logarithmic ones.",
    )


def two_laws(
    tokens: Sequence[float], curves: Mapping[str, Sequence[float]], alone: float
) -> Picture:
    """Two laws for one size, by the tokens it reads, and the limit for endless text."""
    figure, (axes,) = canvas(height=3.4)
    for (name, losses), colour in zip(curves.items(), (RED, BLUE), strict=True):
        axes.plot(tokens, losses, color=colour)
        axes.text(tokens[0] * 1.3, losses[0], name, color=colour, fontsize=9)
    axes.axhline(alone, color=GREY, linestyle="--", linewidth=1)
    axes.text(
        tokens[0],
        alone - 0.05,
        "Kaplan, endless text",
        color=GREY,
        fontsize=9,
        va="top",
    )
    axes.set_xscale("log")
    axes.set_ylim(bottom=1.6)
    label(
        axes,
        "Until the text is endless, the sum counts the loss twice",
        "tokens read by 7 billion parameters",
        "loss (nats per token)",
    )
    ends = "; ".join(
        f"{name} from {losses[0]:.2f} to {losses[-1]:.2f}"
        for name, losses in curves.items()
    )
    return Picture(
        figure,
        f"Loss by tokens from {tokens[0]:.0e} to {tokens[-1]:.0e}: {ends}; Kaplan's limit is {alone:.2f}.",
    )


def valleys(
    sizes: Sequence[float],
    curves: Mapping[float, Sequence[float]],
    compute: float,
    best: tuple[float, float],
    guess: tuple[float, float] | None = None,
) -> Picture:
    """Loss by size at equal compute: one valley in bold, others faint, best and guess marked."""
    figure, (axes,) = canvas(height=3.6)
    for budget, losses in curves.items():
        bold = budget == compute
        axes.plot(
            sizes, losses, color=BLUE if bold else GREY, linewidth=2.5 if bold else 0.8
        )
        low = int(np.argmin(losses))
        hidden = compute / 10.1 < budget < compute  # under the word "best"
        if not bold and not hidden and losses[low] < 3.5:
            power = power_of_ten(budget).partition("× ")[2]
            axes.text(
                sizes[low], losses[low] - 0.02, power, color=GREY, fontsize=8,
                ha="center", va="top",
            )  # fmt: skip
    axes.plot(*best, "o", color=ORANGE, markersize=9)
    axes.annotate(
        f"best: {amount(best[0])}", best, (0, 10), textcoords="offset points",
        fontsize=9, ha="center", bbox=PLATE,
    )  # fmt: skip
    title = f"{power_of_ten(compute)} operations"
    if guess:
        _mark_guess(axes, guess)
        title += f": yours loses {guess[1] - best[1]:.2f} nats"
    axes.set_xscale("log")
    axes.set_ylim(1.75, TOP)
    label(axes, title, "parameters", "loss (nats per token)")
    return Picture(
        figure,
        f"Valley of the loss over sizes at {compute:.1e} operations: lowest with {best[0]:.1e} parameters, "
        f"{best[1]:.2f} nats. Smaller budgets lie above, larger ones below.",
    )


PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
TOP = 3.8  # nats: what lies above is marked at the edge of the valleys' picture


def _mark_guess(axes: Axes, guess: tuple[float, float]) -> None:
    """A square with its name on the free side; a triangle at the edge if it lies higher."""
    high = guess[1] > TOP - 0.06
    place = guess[0], min(guess[1], TOP - 0.06)
    axes.plot(*place, "^" if high else "s", color=RED, markersize=7, zorder=4)
    side = "left" if guess[0] < 1e8 else "right"
    axes.annotate(
        f"yours: {guess[1]:.1f} nats, above this picture" if high else "yours",
        place, (9 if side == "left" else -9, 0), textcoords="offset points", color=RED,
        fontsize=9, ha=side, va="center", bbox=PLATE,
    )  # fmt: skip


def ratios(
    computes: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    point: tuple[str, float, float],
) -> Picture:
    """Best tokens per parameter by compute, under several sets of constants, and one real model."""
    figure, (axes,) = canvas(height=3.4)
    for (name, values), colour in zip(lines.items(), (RED, ORANGE, BLUE), strict=False):
        axes.plot(computes, values, color=colour)
        axes.text(
            computes[-1] * 1.3, values[-1], name, color=colour, fontsize=9, va="center"
        )
    name, compute, ratio = point
    axes.plot(compute, ratio, "o", color=INK)
    axes.text(compute, ratio * 1.12, f"{name}, as trained", fontsize=9, ha="right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([10, 20, 50, 100], [10, 20, 50, 100])
    axes.minorticks_off()
    axes.set_xlim(computes[0], computes[-1] * 60)
    ticks = computes[::2]
    axes.set_xticks(ticks, [power_of_ten(tick).partition("× ")[2] for tick in ticks])
    label(
        axes,
        f"{point[0]} was not trained by the law that its paper prints",
        "operations",
        "best tokens per parameter",
    )
    ends = "; ".join(
        f"{name} from {values[0]:.0f} to {values[-1]:.0f}"
        for name, values in lines.items()
    )
    return Picture(
        figure,
        f"Best tokens per parameter from {computes[0]:.0e} to {computes[-1]:.0e} operations: {ends}. "
        f"{point[0]} itself has {ratio:.0f}.",
    )


def real_models(
    models: Mapping[str, tuple[float, float]], line: Sequence[tuple[float, float]]
) -> Picture:
    """Published models by size and tokens, and the line of the best size for each budget."""
    figure, (axes,) = canvas(width=8, height=4.2)
    axes.plot(*zip(*line, strict=True), color=BLUE)
    axes.text(2.6e9, 2.6e10, "least loss for its compute", color=BLUE, fontsize=9)
    logs, under = np.log(line).T, []
    for name, (parameters, tokens) in models.items():
        above = tokens > np.exp(np.interp(np.log(parameters), *logs))
        axes.plot(parameters, tokens, "o", color=ORANGE if above else RED, markersize=6)
        across, up, side = NAMES.get(name, (7, -3, "left"))
        axes.annotate(
            name, (parameters, tokens), (across, up), textcoords="offset points",
            fontsize=8.5, ha=side,
        )  # fmt: skip
        under += [] if above else [name]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1.5e9, 1.5e12)
    axes.set_ylim(1.5e10, 6e13)
    title = f"Below the line, too large for its text: {' and '.join(under) or 'none'}"
    label(axes, title, "parameters used for one token", "tokens read")
    return Picture(
        figure,
        f"{len(models) - len(under)} of {len(models)} published models lie on the line of least loss for their "
        f"compute or above it. Below it: {', '.join(under) or 'none'}.",
    )


NAMES = {  # where a name stands that would meet another one: points across, up, side
    "LLaMA-7B": (-7, -3, "right"),
    "Llama-2-7B": (-7, -3, "right"),
    "LLaMA-33B": (-4, 7, "center"),
    "LLaMA-65B": (3, -23, "left"),
    "Chinchilla": (9, -9, "left"),
    "Llama-2-70B": (-2, 7, "center"),
    "DeepSeek-V3": (0, 8, "center"),
    "Llama-3.1-405B": (0, 8, "center"),
}


def lifetimes(sizes: Sequence[float], costs: Mapping[str, Sequence[float]]) -> Picture:
    """Operations of training and serving, by size, at one loss, for several lives."""
    figure, (axes,) = canvas(height=3.6)
    said = []
    for (name, values), colour in zip(costs.items(), (GREY, BLUE, GREEN), strict=False):
        low = int(np.argmin(values))
        axes.plot(sizes, values, color=colour)
        axes.plot(sizes[low], values[low], "o", color=ORANGE)
        axes.text(
            sizes[-1] * 1.1, values[-1], name, color=colour, fontsize=9, va="center"
        )
        said.append(f"{name}: cheapest with {sizes[low]:.1e} parameters")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    marks = (2e9, 5e9, 1e10, 2e10)
    axes.set_xticks(marks, [amount(mark) for mark in marks])
    axes.set_xlim(sizes[0] * 0.9, sizes[-1] * 2.8)
    label(
        axes,
        "The more it will be asked, the smaller it should be",
        "parameters (all reach the same loss)",
        "operations, training and answers",
    )
    return Picture(figure, f"Operations of a life by size. {'; '.join(said)}.")


# ---- one plan among all of the same budget


def calculator(
    model: tuple[float, float],
    best: tuple[float, float],
    budget: float,
    loss: Callable[[float], float],
) -> Picture:
    """Predicted loss of every size at one budget, with a model and the best one marked.

    model and best: (parameters, loss); budget in operations; loss: of any number of
    parameters at this budget.
    """
    low, high = min(model[0], best[0]) / 8, max(model[0], best[0]) * 8
    sizes, span = np.geomspace(low, high, 80), max(model[1] - best[1], 0.1)
    figure, axes = live_canvas(6.6, 2.9, margins=(0.75, 0.5, 0.2, 0.4))
    axes.plot(sizes, [loss(size) for size in sizes], color=BLUE)
    axes.set(xscale="log", xlim=(low, high))
    axes.set_ylim(best[1] - span / 2, best[1] + 2 * span)
    axes.set_xticks(_decades(low, high), map(amount, _decades(low, high)))
    axes.set_xticks([], minor=True)
    axes.plot(*best, "D", color=GREEN, markersize=8, markeredgecolor=INK)
    axes.plot(*model, "o", color=ORANGE, markersize=9, markeredgecolor=INK)
    here = f"{amount(model[0])}, {model[1]:.3f} nats"
    there = f"{amount(best[0])}, {best[1]:.3f} nats"
    inside = "right" if model[0] > best[0] else "left"  # of the valley
    place = model[0], model[1] + 0.22 * span
    axes.text(*place, f"this model:\n{here}", color=INK, fontsize=9, ha=inside)
    place = best[0], best[1] - 0.34 * span
    axes.text(*place, f"best: {there}", color=INK, fontsize=9, ha="center")
    title, operations = _against(model[0] / best[0]), power_of_ten(budget)
    x = f"parameters, trained with {operations} operations"
    live_label(axes, title, x, "loss (nats per token)")
    return LivePicture(
        figure,
        f"Predicted loss by parameters at {operations} operations: a valley with its"
        f" lowest point at {there}; this model has {here}. {title}.",
    )


def _against(ratio: float) -> str:
    """A model's size beside that of the best one for the same budget."""
    if 0.95 < ratio < 1.05:
        return "About the best size for this budget"
    times = float(f"{max(ratio, 1 / ratio):.2g}")
    kind = "larger" if ratio > 1 else "smaller"
    return f"{times:,g} times {kind} than the best for this budget"


def _decades(low: float, high: float) -> list[float]:
    """1 and 3 times the powers of ten between two sizes; only these where it gets full."""
    powers = range(int(np.floor(np.log10(low))), int(np.log10(high)) + 1)
    ticks = [n * 10.0**k for k in powers for n in (1, 3) if low <= n * 10.0**k <= high]
    return ticks if len(ticks) <= 6 else [10.0**k for k in powers if 10.0**k >= low]


# ---- runs of one's own


def runs(
    rows: Sequence[tuple[float, float, float]],
    live: Sequence[tuple[float, float]] = (),
) -> Picture:
    """Losses of a grid of runs (size, tokens, loss) by size, one line for each amount of text."""
    figure, (axes,) = canvas(height=3.4)
    amounts = sorted({tokens for _, tokens, _ in rows})
    for tokens, shade in zip(amounts, np.linspace(0.55, 1, len(amounts)), strict=True):
        found: dict[float, list[float]] = {}
        for size, _, loss in sorted(row for row in rows if row[1] == tokens):
            found.setdefault(size, []).append(loss)
            axes.plot(size, loss, "o", color=BLUE, alpha=shade, markersize=3)
        sizes, losses = list(found), [np.mean(each) for each in found.values()]
        axes.plot(sizes, losses, color=BLUE, alpha=shade)
        name = f"{amount(tokens)} letters"
        axes.text(
            sizes[-1] * 1.12, losses[-1], name, color=BLUE, fontsize=9, va="center",
            bbox=PLATE,
        )  # fmt: skip
    if live:
        axes.plot(*zip(*live, strict=True), "s", color=ORANGE, markersize=7)
        axes.text(
            live[-1][0], live[-1][1] + 0.04, "live", color=ORANGE, fontsize=9,
            clip_on=True,
        )  # fmt: skip
    axes.set_xscale("log")
    sizes = sorted({n for n, _, _ in rows})
    axes.set_xlim(sizes[0] * 0.85, sizes[-1] * 2.6)
    losses = [loss for _, _, loss in rows]
    axes.set_ylim(min(losses) - 0.05, max(losses) + 0.08)
    label(
        axes,
        "More of one thing alone buys less and less",
        "parameters",
        "loss (nats per letter)",
    )
    low, high = min(rows, key=lambda r: r[2]), max(rows, key=lambda r: r[2])
    return Picture(
        figure,
        f"Losses of {len(rows)} runs by size, a line for each amount of text: from {high[2]:.2f} nats with "
        f"{high[0]:,.0f} parameters and {high[1]:,.0f} letters to {low[2]:.2f} with {low[0]:,.0f} and {low[1]:,.0f}.",
    )


def two_stories(
    costs: Sequence[float], letters: Sequence[float], rows: Sequence[float], length: int
) -> Picture:
    """The same runs by two metrics: single letters right, and long stretches right."""
    figure, both = canvas(columns=2, width=8)
    said = []
    for axes, values, name, colour in zip(
        both, (letters, rows), ("Single letters", f"{length} in a row"), (BLUE, RED),
        strict=True,
    ):  # fmt: skip
        axes.plot(costs, values, "o-", color=colour, markersize=5)
        axes.set_xscale("log")
        axes.set_ylim(0, max(values) * 1.1)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
        title = f"{name}: {values[-1] / values[0]:.1f} times as many"
        label(axes, title, "operations of training, 6 N D", "right, share of all")
        said.append(f"{name} from {values[0]:.1%} to {values[-1]:.1%}")
    both[1].set_ylabel("")
    return Picture(
        figure, f"Two panels over the same {len(costs)} runs. {'; '.join(said)} right."
    )


def fitted(
    measured: Sequence[float], predicted: Mapping[str, Sequence[float]]
) -> Picture:
    """What laws say of the runs they were fitted to, against what was measured."""
    figure, (axes,) = canvas(height=3.4)
    low, high = min(measured), max(measured)
    axes.plot([low, high], [low, high], color=GREY, linewidth=1)
    said = []
    for (name, values), colour, mark in zip(
        predicted.items(), (BLUE, RED), ("o", "x"), strict=False
    ):
        axes.plot(measured, values, mark, color=colour, markersize=5, label=name)
        off = np.abs(np.array(values) / np.array(measured) - 1)
        said.append(f"{name} within {off.max():.1%}")
    axes.legend(frameon=False, fontsize=9)
    label(axes, "Both laws fit the runs", "measured (nats)", "by the law (nats)")
    return Picture(figure, f"Predicted against measured losses: {'; '.join(said)}.")


def prediction(
    ranges: Mapping[str, tuple[float, float, float]], measured: Sequence[float]
) -> Picture:
    """Predictions with their intervals (low, middle, high), and what came out, once for each seed."""
    figure, (axes,) = canvas(height=0.6 * len(ranges) + 1.6)
    said, hits = [], 0
    for y, (name, (low, middle, high)) in enumerate(ranges.items()):
        inside = all(low <= loss <= high for loss in measured)
        colour = BLUE if inside else RED
        axes.plot([low, high], [y, y], color=colour, linewidth=6, alpha=0.35)
        axes.plot(middle, y, "o", color=colour)
        hits += inside
        said.append(f"{name} {low:.3f} to {high:.3f}")
    for loss in measured:
        axes.axvline(loss, color=INK, linestyle="--", linewidth=1)
    middles = [middle for _, middle, _ in ranges.values()]
    left, right = min(measured), max(measured)
    place, side = (left, "right") if left > max(middles) else (right, "left")
    axes.text(place, -0.75, " measured ", fontsize=9, va="center", ha=side)
    axes.set_yticks(range(len(ranges)), ranges)
    axes.set_ylim(len(ranges) - 0.5, -1)
    axes.grid(axis="y", visible=False)
    title = f"{hits or 'None'} of {len(ranges)} intervals held the larger run"
    label(axes, title, "loss of the larger run (nats per letter)", "")
    found = ", ".join(f"{loss:.3f}" for loss in measured)
    return Picture(figure, f"Predicted intervals: {'; '.join(said)}; measured {found}.")
