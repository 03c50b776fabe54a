"""Pictures of lesson 02: what a token costs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
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

KINDS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#8c6d31", "#5b5b5b")


def step_times(
    before: Sequence[int], seconds: Mapping[str, Sequence[float]]
) -> Picture:
    """Seconds of one step by the length of the text before it, for each way."""
    figure, (axes,) = canvas(height=2.9)
    for (name, times), colour in zip(seconds.items(), (RED, BLUE), strict=True):
        axes.plot(before, times, "o-", color=colour, markersize=4)
        beside(axes, before[-1], times[-1], name, colour)
    axes.set(xlim=(0, before[-1] * 1.35), ylim=(0, None))
    axes.set_xticks(list(before))
    title = "A cache makes a step independent of what was read"
    label(axes, title, "tokens before", "seconds for one token")
    said = "; ".join(
        f"{name} {times[0]:.2f} to {times[-1]:.2f} s" for name, times in seconds.items()
    )
    words = f"Seconds for one token after {before[0]} to {before[-1]} others: {said}."
    return Picture(figure, words)


def windows(seen: Tensor, reached: Tensor, window: int) -> Picture:
    """Who may look at whom in one layer, and which token moves which prediction in all."""
    figure, panels = canvas(columns=2, width=7.2, height=3.5)
    titles = (f"One layer: the last {window} tokens", "Four layers: further back")
    for axes, table, title in zip(panels, (seen, reached), titles, strict=True):
        rows, columns = table.nonzero(as_tuple=True)
        axes.scatter(columns, rows, s=14, color=BLUE)
        n = len(table)
        axes.set(xlim=(-1, n), ylim=(n, -1), aspect="equal")
        label(axes, title, "token", "")
    panels[0].set_ylabel("position that looks")
    panels[1].set_ylabel("prediction that moves")
    last = [int(table[-1].sum()) for table in (seen, reached)]
    words = (
        f"Two tables of dots below the diagonal. In one layer the last position sees"
        f" {last[0]} tokens; through all layers {last[1]} tokens move its prediction."
    )
    return Picture(figure, words)


def window_costs(
    windows: Sequence[int], lost: Mapping[str, Sequence[float]]
) -> Picture:
    """What right answers cost when nobody sees further back than the window."""
    figure, (axes,) = canvas(height=2.9)
    for (name, costs), colour in zip(lost.items(), (ORANGE, BLUE), strict=True):
        axes.plot(windows, costs, "o-", color=colour, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(windows), [str(w) for w in windows])
    axes.minorticks_off()
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=9)
    title = "What lies outside the window cannot be copied"
    label(axes, title, "tokens that each position sees", "nats per answer token")
    said = "; ".join(
        f"{name} from {costs[0]:.1f} at {windows[0]} to {costs[-1]:.1f} at {windows[-1]}"
        for name, costs in lost.items()
    )
    return Picture(figure, f"Nats per answer token by window: {said}.")


def phases(
    lengths: Sequence[int],
    prefill: Sequence[float],
    decode: Sequence[float],
    fits: Sequence[tuple[Sequence[float], Sequence[int]]],
) -> Picture:
    """Seconds to read a prompt and to write one token, by length, with fitted curves."""
    figure, panels = canvas(columns=2, width=7.4, height=3.0)
    titles = ("Prefill grows faster than the text", "A step of decoding hardly grows")
    formulas = ("c n + d n²", "a + b n")
    fine = np.linspace(0, lengths[-1], 100)
    said = []
    for i, (axes, times) in enumerate(zip(panels, (prefill, decode), strict=True)):
        milliseconds = [1e3 * t for t in times]
        factors, powers = fits[i]
        curve = sum(c * fine**p for c, p in zip(factors, powers, strict=True))
        axes.plot(fine, 1e3 * curve, color=GREY, label=formulas[i])
        axes.plot(lengths, milliseconds, "o", color=(ORANGE, BLUE)[i], label="measured")
        axes.set(xlim=(0, None), ylim=(0, max(milliseconds) * 1.25))
        axes.legend(frameon=False, fontsize=9, loc="upper left")
        label(axes, titles[i], "tokens before", "milliseconds" if i == 0 else "")
        said.append(f"{milliseconds[0]:.1f} to {milliseconds[-1]:.1f} ms")
    words = (
        f"From {lengths[0]} to {lengths[-1]} tokens: prefill {said[0]}, on a parabola;"
        f" one step of decoding {said[1]}, on a line."
    )
    return Picture(figure, words)


def batching(
    batches: Sequence[int], steps: Sequence[float], fits: Sequence[bool], key_heads: int
) -> Picture:
    """Tokens per second that a machine can write at most, by texts in a batch."""
    rates = np.array(batches) / np.array(steps)
    inside = np.array(fits)
    figure, (axes,) = canvas(height=3.0)
    axes.plot(batches, rates[0] * np.array(batches), "--", color=GREY, linewidth=1)
    axes.plot(batches, rates, ":", color=RED)
    axes.plot(np.array(batches)[inside], rates[inside], "o-", color=BLUE, markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(ylim=(50, 2e5), xlim=(0.8, batches[-1] * 1.3))
    axes.set_xticks(list(batches), [str(b) for b in batches])
    axes.minorticks_off()
    free = rates[0] * batches[-1]
    where = {"xytext": (-8, -2), "textcoords": "offset points", "ha": "right"}
    axes.annotate(
        "if nothing but weights counted", (batches[-1], free), **where, fontsize=9
    )
    most = int(np.array(batches)[inside][-1])
    if not inside.all():
        outside = "dotted: memory is full"
        axes.text(batches[-1], 70, outside, color=RED, fontsize=9, ha="right")
    best = f"{rates[inside][-1]:,.0f} tokens per second with {most} texts"
    heads = "1 key head" if key_heads == 1 else f"{key_heads} key heads"
    label(axes, f"{heads}: {best}", "texts in the batch", "tokens per second")
    alone = f"{rates[0]:,.0f} with one text"
    return Picture(figure, f"Tokens per second by batch, {heads}: {alone}, {best}.")


def against_the_bound(
    batches: Sequence[int], measured: Sequence[float], bound: Sequence[float]
) -> Picture:
    """Milliseconds of a step by batch: timed, and the least that the rates allow."""
    figure, (axes,) = canvas(height=3.0)
    for name, times, colour in (("measured", measured, BLUE), ("bound", bound, GREY)):
        milliseconds = [1e3 * t for t in times]
        axes.plot(batches, milliseconds, "o-", color=colour, markersize=4)
        beside(axes, batches[-1], milliseconds[-1], name, colour)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(batches), [str(b) for b in batches])
    axes.set_xlim(0.8, batches[-1] * 2.2)
    low, high = axes.get_ylim()
    ticks = [t for t in (3, 10, 30, 100, 300, 1000, 3000) if low <= t <= high]
    axes.set_yticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    gain = batches[-1] / measured[-1] * measured[0]
    title = f"{batches[-1]} texts at once: {gain:.0f} times the tokens per second"
    label(axes, title, "texts in the batch", "ms per step")
    words = (
        f"{title}. Milliseconds of a step with 1 and {batches[-1]} texts: measured"
        f" {1e3 * measured[0]:.0f} and {1e3 * measured[-1]:.0f}, bound"
        f" {1e3 * bound[0]:.0f} and {1e3 * bound[-1]:.0f}."
    )
    return Picture(figure, words)


def occupancy(tables: Mapping[str, Tensor]) -> Picture:
    """Which request sits in which row of the batch at each step; grey = nobody."""
    steps = max(table.shape[1] for table in tables.values())
    figure, panels = canvas(columns=len(tables), width=8.2, height=2.3, sharey=True)
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        for row, requests in enumerate(table.tolist()):
            for step, request in enumerate(requests):
                colour = "#e4e4e4" if request < 0 else KINDS[request % len(KINDS)]
                axes.barh(row, 0.94, left=step, height=0.8, color=colour)
                if request >= 0:
                    ink = {"color": "white", "fontsize": 8, "fontweight": "bold"}
                    place = {"ha": "center", "va": "center"}
                    axes.text(step + 0.47, row, str(request + 1), **ink, **place)
        busy = (table >= 0).float().mean().item()
        label(axes, f"{name}: {table.shape[1]} steps, {busy:.0%} used", "step", "")
        axes.set(
            xlim=(0, steps), xticks=range(0, steps + 1, 5), yticks=range(len(table))
        )
        axes.set_yticklabels([str(row + 1) for row in range(len(table))])
        axes.grid(False)
    panels[0].set_ylabel("row")
    panels[0].invert_yaxis()
    said = "; ".join(
        f"{name}: {t.shape[1]} steps, {(t >= 0).float().mean().item():.0%} of places used"
        for name, t in tables.items()
    )
    return Picture(figure, f"Rows of a batch over steps, coloured by request. {said}.")


def tokens_per_call(
    calls: Mapping[int, Sequence[float]], expected: Sequence[float], agree: float
) -> Picture:
    """Tokens per call of the target by number of guesses, measured and by formula."""
    guesses = list(calls)
    means = [sum(values) / len(values) for values in calls.values()]
    figure, (axes,) = canvas(height=3.0)
    axes.plot(guesses, expected, "--", color=GREY)
    beside(axes, guesses[-1], expected[-1], f"formula, a = {agree:.2f}", "#6f6f6f", 8)
    for n, values in calls.items():
        axes.plot([n] * len(values), values, "o", color=BLUE, alpha=0.35, markersize=5)
    axes.plot(guesses, means, "o-", color=BLUE)
    beside(axes, guesses[-1], means[-1], "measured", BLUE)
    axes.axhline(1, color=INK, linewidth=0.8)
    axes.text(guesses[-1] * 1.03, 1.05, "no draft", fontsize=9)
    axes.set(xlim=(0.7, guesses[-1] * 1.4), ylim=(0, None), xticks=guesses)
    best = max(means)
    title = f"Up to {best:.1f} tokens for one call of the large model"
    label(axes, title, "guesses per call", "tokens per call")
    said = ", ".join(f"{m:.1f} with {n}" for n, m in zip(guesses, means, strict=True))
    return Picture(figure, f"Tokens per call by guesses: {said}; one without a draft.")


def beside(
    axes: Axes, x: float, y: float, text: str, colour: str, lower: int = 0
) -> None:
    """A curve's name, right of its last point, so many points lower."""
    axes.annotate(
        text, (x, y), xytext=(6, -lower), textcoords="offset points", color=colour,
        fontsize=9, va="center",
    )  # fmt: skip
