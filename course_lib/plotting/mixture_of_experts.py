"""Pictures of lesson 04."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from torch import Tensor

from course_lib.moe.dispatch import experts_read as expected
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

TINTS = ("#d6e8f5", "#fbe6bf", "#cfeadf", "#f3d5c6")  # of blue, orange, green, red

# ---- routing


def plane(tokens: Tensor, router: Tensor, chosen: Tensor) -> Picture:
    """Tokens (N, 2) in the plane that a router (E, 2) divides among four experts."""
    reach = float(tokens.abs().max()) + 1
    ticks = torch.linspace(-reach, reach, 201)
    down, right = torch.meshgrid(ticks, ticks, indexing="ij")
    best = (torch.stack([right, down], dim=-1) @ router.T).argmax(dim=-1)
    figure, (axes,) = canvas(width=5.6, height=4.2)
    axes.pcolormesh(right, down, best, cmap=ListedColormap(TINTS), vmin=0, vmax=3)
    for e in best.unique().tolist():
        place = right[best == e].mean(), down[best == e].mean() - 0.15 * reach
        axes.text(*place, f"expert {e} first", color=INK, fontsize=9, ha="center")
    for n, (token, its) in enumerate(zip(tokens, chosen.tolist(), strict=True)):
        axes.plot(*token, "o", color=INK, markersize=6)
        left = token[0] > 0.4 * reach
        axes.annotate(
            f"token {n}: {its[0]}, then {its[1]}", token, (8 - 16 * left, 5),
            textcoords="offset points", fontsize=9, ha="right" if left else "left",
        )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    title = "Where a token lies decides who reads it"
    label(axes, title, "first number of a vector", "second number")
    said = "; ".join(f"token {n}: {c}" for n, c in enumerate(chosen.tolist()))
    return Picture(
        figure, f"A plane in sectors, one for each first choice. Choices: {said}."
    )


# ---- balance


def load_bars(loads: Mapping[str, Tensor]) -> Picture:
    """The load (E,) of every expert, busiest first, one panel for each training."""
    figure, panels = canvas(columns=len(loads), width=8.4, height=2.7, sharey=True)
    said = []
    for axes, (name, load) in zip(panels, loads.items(), strict=True):
        high_first = load.sort(descending=True).values.tolist()
        E = len(high_first)
        idle = sum(share < 0.1 / E for share in high_first)
        axes.bar(range(E), high_first, color=RED if idle else BLUE)
        axes.axhline(1 / E, color=INK, linestyle="--", linewidth=1)
        axes.set_xticks([])
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axes.text(
            0.97, 0.93, f"{idle} of {E} idle", transform=axes.transAxes, fontsize=9.5,
            ha="right", va="top", color=INK,
        )  # fmt: skip
        label(axes, name, "experts, busiest first", "")
        said.append(f"{name}: busiest {high_first[0]:.0%}, {idle} of {E} idle")
    panels[0].set_ylabel("share of all visits")
    return Picture(
        figure,
        f"Loads of experts, the dashed line is a fair share. {'; '.join(said)}.",
    )


def entropies(
    steps: Sequence[int], runs: Mapping[str, Sequence[Sequence[float]]]
) -> Picture:
    """Evenness of the load over time: faint seeds behind a bold mean."""
    figure, (axes,) = canvas(height=3.2)
    ends = {}
    for (name, seeds), colour in zip(runs.items(), (RED, BLUE, GREEN), strict=False):
        for seed in seeds if len(seeds) > 1 else []:
            axes.plot(steps, seed, color=colour, alpha=0.3, linewidth=1)
        mean = np.mean(seeds, axis=0)
        axes.plot(steps, mean, color=colour)
        ends[name] = mean[-1]
    _direct_labels(axes, steps[-1], ends, (RED, BLUE, GREEN), gap=0.09)
    axes.set_ylim(0, 1.12)
    axes.set_xlim(0, steps[-1] * 1.32)
    low, high = min(ends.values()), max(ends.values())
    title = f"Evenness after training: {low:.2f} without help, {high:.2f} with"
    if len(ends) == 1:
        lowest = np.mean(next(iter(runs.values())), axis=0).min()
        title = f"Left alone, evenness falls to {lowest:.2f} and ends at {low:.2f}"
    label(axes, title, "training step", "evenness (1 = all alike)")
    said = ", ".join(f"{name} {end:.2f}" for name, end in ends.items())
    return Picture(
        figure, f"Entropy of the load over the largest possible, at the end: {said}."
    )


def _direct_labels(
    axes: Axes, x: float, ends: Mapping[str, float], colours: Sequence[str], gap: float
) -> None:
    """Names beside the ends of their lines, pushed apart where they would meet."""
    ordered = sorted(zip(ends.items(), colours, strict=False), key=lambda e: e[0][1])
    lowest = -np.inf
    for (name, y), colour in ordered:
        lowest = max(y, lowest + gap)
        axes.text(x * 1.02, lowest, name, color=colour, fontsize=9, va="center")


def equal_compute(
    steps: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    recorded: Mapping[str, Sequence[Sequence[float]]],
) -> Picture:
    """Held-out losses over time of models that cost the same for each token.

    recorded: the same of other seeds, drawn faintly if they have as many steps.
    """
    figure, (axes,) = canvas(height=3.2)
    for name, colour in zip(curves, (ORANGE, BLUE), strict=True):
        for other in recorded[name]:
            if len(other) == len(steps):
                axes.plot(steps, other, color=colour, alpha=0.25, linewidth=1)
        axes.plot(steps, curves[name], color=colour)
    ends = {name: losses[-1] for name, losses in curves.items()}
    low = min(ends.values())
    top = max(losses[len(losses) // 3] for losses in curves.values())
    axes.set_ylim(low - 0.05 * (top - low), top)  # all begin alike, far above
    gap = 0.08 * (top - low)
    _direct_labels(axes, steps[-1], ends, (ORANGE, BLUE), gap)
    axes.set_xlim(0, steps[-1] * 1.35)
    dense, mixture = ends.values()
    word = "lower" if mixture < dense else "higher"
    title = f"Same work for each token, {abs(dense - mixture):.2f} nats {word}"
    label(axes, title, "training step", "held-out loss (nats per token)")
    said = ", ".join(f"{name} {end:.2f}" for name, end in ends.items())
    return Picture(figure, f"Held-out losses over training; at the end: {said} nats.")


# ---- what experts do


def who_goes_where(
    tables: Sequence[Tensor], rows: Sequence[str], below: Sequence[Tensor],
    subjects: Sequence[str],
) -> Picture:  # fmt: skip
    """Loads by kind of token (kinds, E), and below them by sort of text, per layer."""
    figure, panels = canvas(columns=len(tables), width=8.6, height=3.8, sharey=True)
    names, said = [*rows, *subjects], []
    for number, (axes, kinds, texts) in enumerate(
        zip(panels, tables, below, strict=True)
    ):
        shown = torch.cat([kinds, texts])
        order = kinds.argmax(dim=0).argsort()  # experts by the kind that they serve
        axes.imshow(shown[:, order], cmap="Blues", vmin=0, vmax=0.4, aspect="auto")
        axes.axhline(len(rows) - 0.5, color=INK, linewidth=1.5)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks([])
        axes.grid(visible=False)
        label(axes, f"Layer {number}", "experts (darkest: 40 % of the row or more)", "")
        busiest = ", ".join(
            f"{name} {row.max():.0%}" for name, row in zip(names, shown, strict=True)
        )
        said.append(f"layer {number}: {busiest}")
    figure.suptitle(
        "Numbers go to a few experts, and so do sums, which are numbers",
        fontsize=12, fontweight="bold", x=0.01, ha="left",
    )  # fmt: skip
    return Picture(
        figure,
        f"Share of its visits that each row's favourite gets, {'; '.join(said)}.",
    )


# ---- capacity


def dropped(factors: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Picture:
    """The share of choices without a place, by the capacity factor."""
    figure, (axes,) = canvas(height=3)
    for (name, shares), colour in zip(curves.items(), (RED, BLUE), strict=True):
        axes.plot(factors, shares, "o-", color=colour, markersize=4)
        place = factors[2], shares[2] + 0.03
        axes.text(*place, name, color=colour, fontsize=9)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_ylim(0, 1.15 * max(max(shares) for shares in curves.values()))
    first, last = ([shares[i] for shares in curves.values()] for i in (0, -1))
    title = f"Room for all costs {factors[-1]:g} times the places if loads are uneven"
    if last[0] > 0.02:
        title = f"Left alone, {last[0]:.0%} find no place even with {factors[-1]:g} times as many"
    label(axes, title, "capacity factor", "choices dropped")
    said = "; ".join(
        f"{name} from {a:.0%} to {b:.0%}"
        for name, a, b in zip(curves, first, last, strict=True)
    )
    return Picture(
        figure,
        f"Dropped choices for capacity factors {factors[0]:g} to {factors[-1]:g}: {said}.",
    )


def leaks(maps: Mapping[str, Tensor]) -> Picture:
    """What lesson 01's leak detector (T, T) says, a panel for each way to mix."""
    figure, panels = canvas(columns=len(maps), width=8.6, height=3.1)
    said = []
    for axes, (name, moved) in zip(panels, maps.items(), strict=True):
        future = float(moved.triu(1).max())
        shown = moved.clamp(min=1e-5).log10()
        axes.imshow(shown, cmap="Blues", vmin=-5, vmax=1)
        axes.grid(visible=False)
        marks = range(0, len(moved), 4)
        axes.set_xticks(marks)
        axes.set_yticks(marks)
        word = "leaks" if future > 1e-3 else "does not leak"
        label(axes, f"{name}\n{word}", "token replaced", "")
        axes.title.set_fontsize(10.5)
        said.append(f"{name}: {future:.1g}")
    panels[0].set_ylabel("prediction that moves")
    return Picture(
        figure,
        f"Largest change of a prediction by a later token: {'; '.join(said)}.",
    )


# ---- serving


def experts_read(count: int, k: int) -> Picture:
    """Which share of the experts a step reads, and how many tokens share one."""
    tokens = range(1, 4097)
    shares = [expected(n, k, count) / count for n in tokens]
    figure, axes = live_canvas(6.6, 2.9, margins=(0.75, 0.5, 0.2, 0.4))
    axes.plot(tokens, shares, color=BLUE)
    axes.set(xscale="log", xlim=(1, 4096), ylim=(0, 1.08))
    axes.set_xticks([1, 4, 16, 64, 256, 1024, 4096], [1, 4, 16, 64, 256, 1024, 4096])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    for mark, under in ((16, 14), (512, 30)):
        share = shares[mark - 1]
        axes.plot(mark, share, "o", color=ORANGE, markeredgecolor=INK)
        axes.annotate(
            f"{mark * k / (count * share):.1f} tokens for each expert", (mark, share),
            (6, -under), textcoords="offset points", fontsize=9, color=INK,
            ha="left" if mark < 100 else "center",
        )  # fmt: skip
    most = next(n for n, share in zip(tokens, shares, strict=True) if share > 0.9)
    title = f"{most:,} tokens read nine tenths of {count} experts"
    live_label(axes, title, "tokens in one step", "experts read")
    axes.axhline(k / count, color=GREY, linestyle="--", linewidth=1)
    return LivePicture(
        figure,
        f"Share of {count} experts that a step reads if every token visits {k}: from {shares[0]:.1%} for one token "
        f"to {shares[-1]:.0%} for {tokens[-1]:,}. {title}.",
    )
