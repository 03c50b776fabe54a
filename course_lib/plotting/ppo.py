"""Pictures of lesson 07."""

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course_lib.logprobs import kl_divergence
from course_lib.plotting.live import LivePicture, live_canvas, live_label
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
Curves = Mapping[str, Sequence[Sequence[float]]]  # name -> one list for each seed

# ---- bandits


def spread(pushes: Mapping[str, Tensor], exact: Tensor, arms: Sequence[str]) -> Picture:
    """What single pulls say of the gradient: mean, and one standard deviation.

    pushes: name -> (N, A), one row for each pull. exact: the gradient itself, (A,).
    """
    figure, panels = canvas(
        columns=len(arms), width=8.6, height=2.6, sharex=True, sharey=True
    )
    names, said = list(pushes), []
    for arm, axes in enumerate(panels):
        axes.axvline(float(exact[arm]), color=INK, linewidth=1, linestyle="--")
        for row, (name, each) in enumerate(pushes.items()):
            mean, sd = float(each[:, arm].mean()), float(each[:, arm].std())
            ends = [mean - sd, mean + sd]
            axes.plot(ends, [row, row], color=COLOURS[row], linewidth=6, alpha=0.35)
            axes.plot(mean, row, "o", color=COLOURS[row])
            said.append(f"{arms[arm]}, {name}: {mean:.2f} ± {sd:.2f}")
        axes.set_ylim(len(names) - 0.5, -0.5)
        label(axes, arms[arm], "push (bar: ± one sd)", "")
        axes.title.set(fontsize=10.5, fontweight="normal")
    panels[0].set_yticks(range(len(names)), names)
    title = "The same mean, another spread: a baseline costs nothing"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


CORNERS = torch.tensor([[0.5, math.sqrt(0.75)], [0.0, 0.0], [1.0, 0.0]])


def leashes(
    paths: Mapping[str, Tensor], optimum: Tensor, arms: Sequence[str]
) -> Picture:
    """Paths of policies (steps, 3) in the triangle, and their distance over steps.

    The corners are the three arms; distance is that to where a path begins. optimum:
    the best policy on a leash that stays, (3,).
    """
    figure, (left, right) = canvas(columns=2, width=8.6, height=3.5)
    outline = CORNERS[[0, 1, 2, 0]]
    left.plot(*outline.T, color=GREY, linewidth=1)
    for (x, y), name, below in zip(CORNERS.tolist(), arms, (0, 1, 1), strict=True):
        left.text(x, y - 0.08 if below else y + 0.03, name, ha="center", fontsize=9)
    said = []
    for (name, path), colour in zip(paths.items(), COLOURS, strict=False):
        left.plot(*(path.float() @ CORNERS).T, color=colour)
        start = path[0].log().expand_as(path)
        strayed = kl_divergence(path.log(), start).tolist()
        right.plot(strayed, color=colour)
        words = f"{name}: {strayed[-1]:.2f} nats"
        place = (len(strayed) - 1, strayed[-1])
        _beside(right, place, words, colour, above=True)
        said.append(f"{words}, {arms[0]} {float(path[-1, 0]):.2f}")
    begin = next(iter(paths.values()))[0].float()
    for policy, mark, words in ((begin, "o", "start"), (optimum.float(), "*", "π*")):
        x, y = (policy @ CORNERS).tolist()
        left.plot(x, y, mark, color=INK, markersize=9 if mark == "*" else 6)
        left.text(x - 0.05, y, words, ha="right", fontsize=9)
    limit = float(kl_divergence(optimum.log(), begin.log()))
    right.axhline(limit, color=INK, linewidth=1, linestyle="--")
    left.set_aspect("equal")
    left.axis("off")
    left.set_ylim(-0.12, 0.98)
    right.set_ylim(bottom=0)
    title = "A leash that moves along holds nothing"
    left.set_title(title, fontsize=12, fontweight="bold", loc="left")
    label(right, "", "step", "nats from the start (dashed: π*)")
    return Picture(figure, f"{title}. After all steps {'; '.join(said)}.")


def _beside(
    axes: Axes, place: tuple[float, float], words: str, colour: str, above: bool = False
) -> None:
    """A name at the end of its line, behind it or above."""
    offset, side = ((0, 5), "right") if above else ((5, -3), "left")
    axes.annotate(
        words, place, offset, textcoords="offset points", color=colour, fontsize=9,
        ha=side,
    )  # fmt: skip


# ---- the grid


def walks(curves: Mapping[str, Sequence[float]], best: float) -> Picture:
    """What the start is worth over steps of learning; dashed: to the best walker."""
    figure, (axes,) = canvas(height=3.2)
    axes.axhline(best, color=INK, linestyle="--", linewidth=1)
    axes.text(0, best + 0.04, f"best possible: {best:.3f}", fontsize=9)
    for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(values, color=colour, label=f"{name}: {values[-1]:.2f}")
    axes.legend(frameon=False, fontsize=9, loc="center right")
    title = "Trust an ignorant critic, and you learn next to nothing"
    label(axes, title, "step", "worth of the start")
    ends = ", ".join(f"{name} {values[-1]:.2f}" for name, values in curves.items())
    return Picture(figure, f"{title}. At the end {ends}; best {best:.3f}.")


# ---- the clip


def clip_by_ratio(
    loss: Callable[..., Tensor], ratio: float = 1.5, eps: float = 0.2
) -> Picture:
    """What is maximised over the ratio, for a good and a bad token, and its slope.

    loss: as `clipped_policy_loss`. The slope is that with respect to the
    log-probability, which is what an optimizer feels.
    """
    figure, axes = live_canvas(7.0, 3.4, margins=(0.75, 0.5, 0.15, 0.4))
    ends = torch.tensor([1 - eps, 1 + eps])  # a corner is drawn where it is
    ratios = torch.cat([torch.linspace(0.05, 2.2, 44), ends]).sort().values
    axes.axvspan(1 - eps, 1 + eps, color=GREY, alpha=0.18, linewidth=0)
    said, held = [], []
    for advantage, colour in ((1.0, BLUE), (-1.0, ORANGE)):
        objective, _ = _objective(loss, ratios, advantage, eps)
        axes.plot(ratios, objective, color=colour)
        value, slope = _objective(loss, torch.tensor([ratio]), advantage, eps)
        axes.plot(ratio, value, "o", color=colour, markersize=8)
        words = f"A = {advantage:+.0f}: objective {value[0]:.2f}, push {slope[0]:+.2f}"
        above = 0.32 if advantage > 0 else -0.45
        axes.text(0.08, advantage + above, words, color=colour, fontsize=10)
        said.append(words)
        held += [f"A = {advantage:+.0f}"] if slope[0] == 0 else []
    axes.set(xlim=(0, 2.2), ylim=(-2.3, 1.7))
    title = f"No push for {' and '.join(held)}" if held else "Both tokens push"
    live_label(axes, title, "ratio", "objective")
    return LivePicture(figure, f"Ratio {ratio:g}, eps {eps:g}. {'; '.join(said)}.")


def _objective(
    loss: Callable[..., Tensor], ratios: Tensor, advantage: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Minus the loss of each ratio alone, (N,), and its slope in the logprob."""
    values, slopes = [], []
    mask = torch.ones(1, 1, dtype=torch.bool)
    for ratio in ratios.tolist():
        logprobs = torch.tensor([[math.log(ratio)]], requires_grad=True)
        given = torch.zeros(1, 1), torch.full((1, 1), advantage)
        value = -loss(logprobs, *given, mask, eps)
        values.append(value.item())
        slopes.append(torch.autograd.grad(value, logprobs)[0].item())
    return torch.tensor(values), torch.tensor(slopes)


# ---- the run

PANELS = (  # name in the history, title, unit
    ("reward", "reward", "mean of a batch"),
    ("kl", "strayed from the guide", "nats per answer"),
    ("length", "length", "tokens"),
    ("explained_variance", "foreseen by the critic", "share of the variance"),
    ("entropy", "undecided", "nats per token"),
    ("clip_fraction", "held by the clip", "share of tokens"),
)


def dashboard(history: Mapping[str, Sequence[float]], recorded: Curves) -> Picture:
    """Six numbers to watch, over the steps of a run; faint: recorded, other seeds."""
    figure, panels = _grid(2, 3, width=7.4, height=3.8)
    said = []
    for axes, (name, title, unit) in zip(panels, PANELS, strict=True):
        for seed in recorded.get(name, ()):
            axes.plot(range(1, len(seed) + 1), seed, color="#bfdaee", linewidth=0.7)
        values = history[name]
        axes.plot(range(1, len(values) + 1), values, color=BLUE)
        axes.set_title(title, fontsize=10.5, loc="left")
        axes.set_ylabel(unit, fontsize=9)
        said.append(f"{title} from {values[0]:.2f} to {values[-1]:.2f}")
    for axes in panels[3:]:
        axes.set_xlabel("step")
    start, end = (round(history["reward"][k], 1) + 0.0 for k in (0, -1))
    title = f"Reward from {start:.1f} to {end:.1f}, {history['kl'][-1]:.1f} nats away"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}: {'; '.join(said)}.")


def _grid(
    rows: int, columns: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """A figure in the course's style with several rows of axes."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, list(figure.subplots(rows, columns, sharex=True).flat)


# ---- recorded runs


def tastes(recorded: Curves, names: Sequence[str], prices: Sequence[float]) -> Picture:
    """Where planted tastes end, over the price of straying: obeyed, and meant.

    recorded: "name price: true" and ": taste" for each of names and prices; faint:
    each seed. The dashed line is the true score of the guide.
    """
    figure, panels = canvas(columns=len(names), width=8.6, height=3.3)
    said = []
    for axes, name in zip(panels, names, strict=True):
        ends = {
            what: [
                [seed[-1] for seed in recorded[f"{name} {price:g}: {what}"]]
                for price in prices
            ]
            for what in ("taste", "true")
        }
        _ends(axes, ends["taste"], "what is rewarded", ORANGE)
        true = _ends(axes, ends["true"], "what was meant", BLUE)
        starts = [seed[0] for seed in recorded[f"{name} {prices[0]:g}: true"]]
        start = sum(starts) / len(starts)
        axes.axhline(start, color=GREY, linestyle="--", linewidth=1)
        axes.set_xticks(range(len(prices)), [f"{price:g}" for price in prices])
        title = f"{name.capitalize()}: {_held(true, start, prices)}"
        label(axes, title, "price of a nat, kl_coef", "")
        pairs = zip(prices, true, strict=True)
        said.append(f"{title}; true " + ", ".join(f"{p:g}: {m:.2f}" for p, m in pairs))
    panels[0].set_ylabel("score (dashed: the guide)")
    panels[-1].legend(frameon=False, fontsize=9)
    return Picture(figure, f"{'. '.join(said)}.")


def _ends(
    axes: Axes, ends: Sequence[Sequence[float]], words: str, colour: str
) -> list[float]:
    """Draw the ends of all seeds, (prices, seeds), and their means, which it returns."""
    for seed in zip(*ends, strict=True):
        axes.plot(seed, color=colour, alpha=0.25, linewidth=1)
    means = [sum(end) / len(end) for end in ends]
    axes.plot(means, "o-", color=colour, markersize=4, label=words)
    return means


def _held(true: Sequence[float], start: float, prices: Sequence[float]) -> str:
    """From which price on nothing is lost.

    >>> _held([0.0, 1.2, 1.3], start=1.0, prices=[0, 0.1, 0.3])
    'held from 0.1'
    """
    lost = [k for k, score in enumerate(true) if score < start]
    if not lost:
        return "harmless"
    if len(lost) == len(prices):
        return "always harms"
    if lost[-1] + 1 == len(prices):
        return "not held"
    return f"held from {prices[lost[-1] + 1]:g}"


UNITS = {
    "kl": "nats from the first guide",
    "true": "true score",
    "clip_fraction": "share held by the clip",
}


def runs(
    recorded: Curves, names: Sequence[str], whats: Sequence[str], steps: int, title: str
) -> Picture:
    """Recorded runs beside each other: faint each seed, bold the mean.

    recorded: "name: what" for each of names and whats, evenly spread from step 0 to
    `steps`; what the clip holds is known from step 1.
    """
    figure, panels = canvas(columns=len(whats), width=8.6, height=3.0)
    measured = len(recorded[f"{names[0]}: {whats[-1]}"][0])  # exams, step 0 included
    said = []
    for axes, what in zip(panels, whats, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            seeds = recorded[f"{name}: {what}"]
            first = 1 if what == "clip_fraction" else 0
            places = torch.linspace(first, steps, len(seeds[0])).tolist()
            for seed in seeds:
                axes.plot(places, seed, color=colour, alpha=0.3, linewidth=0.7)
            means = [sum(point) / len(seeds) for point in zip(*seeds, strict=True)]
            axes.plot(places, means, color=colour)
            _beside(axes, (steps, means[-1]), f"{name}: {means[-1]:.2f}", colour)
            said.append(f"{name}: {what} {means[-1]:.2f}")
        axes.set_xlim(right=steps * (1.1 + 0.24 * len(whats)))  # room for the names
        axes.set_xticks(torch.linspace(0, steps, measured).tolist())
        label(axes, "", "step", UNITS[what])
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. At the end {'; '.join(said)}.")
