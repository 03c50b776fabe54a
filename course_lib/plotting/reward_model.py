"""Pictures of lesson 06."""

from collections.abc import Callable, Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from course_lib.plotting.live import LivePicture, live_canvas, live_label
from course_lib.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Picture,
    canvas,
    label,
)
from course_lib.reward.audit import Calibration
from course_lib.reward.best_of_n import Curve

Recorded = Mapping[str, Sequence[Sequence[float]]]  # what -> a row for each seed
COLOURS = (BLUE, ORANGE, GREEN, RED)
MARKS = ("o", "s", "D", "^")
FAINT = {"alpha": 0.3, "linewidth": 1}
OTHERS = "faint: recorded, other seeds"
WORTH = (("polite", "plain"), ("plain", "wrong"))  # what good manners add, what truth

# ---- the loss


def loss_by_gap(
    loss: Callable[..., Tensor], margin: float = 0.0, smoothing: float = 0.0
) -> Picture:
    """The loss of one pair over the gap of its rewards, and where it is least.

    loss: as `bradley_terry_loss`.
    """
    gaps = torch.linspace(-6, 8, 1401)
    losses = loss(gaps, torch.zeros_like(gaps), margin, smoothing)
    figure, axes = live_canvas(7.0, 3.2, margins=(0.6, 0.5, 0.15, 0.4))
    plain = loss(gaps, torch.zeros_like(gaps), 0.0, 0.0)
    axes.plot(gaps, plain, color=GREY, linewidth=1, linestyle="--")
    axes.plot(gaps, losses, color=BLUE)
    least = int(losses.argmin())
    inside = 0 < least < len(gaps) - 1
    title = "The larger the gap, the less the loss: there is no end"
    if inside:
        axes.plot(gaps[least], losses[least], "o", color=ORANGE)
        title = f"The best gap is {gaps[least]:.2f}: more would be too sure"
    axes.set(xlim=(-6, 8), ylim=(0, 6.5))
    live_label(axes, title, "reward of the chosen less that of the rejected", "nats")
    said = f"margin {margin:g} and smoothing {smoothing:g}"
    return LivePicture(figure, f"Loss of a pair over the gap with {said}. {title}.")


# ---- training


def learning(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    ceilings: Mapping[str, float],
    recorded: Recorded | None = None,
) -> Picture:
    """Accuracy on held-out labels over steps, with the ceiling of noisy ones.

    curves: name -> notes with "step" and "right". ceilings: name -> the best that
    any model could reach on these labels. recorded: "right, name" of other seeds,
    drawn faintly where they have as many steps.
    """
    figure, (axes,) = canvas(height=3.2)
    ends, shown = [], []
    for (name, notes), colour in zip(curves.items(), COLOURS, strict=False):
        steps, right = ([note[key] for note in notes] for key in ("step", "right"))
        others = _rows(recorded, f"right, {name}", len(steps))
        for row in others:
            axes.plot(steps, row, color=colour, **FAINT)
        shown += [right, *others]
        axes.plot(steps, right, color=colour, marker="o", markersize=3)
        ends.append(f"{name} {right[-1]:.1%}{_ends(others, '.1%')}")
        _beside(axes, steps[-1], right[-1], f"{name}: {right[-1]:.0%}", colour)
        if name in ceilings:
            axes.axhline(ceilings[name], color=colour, linestyle="--", linewidth=1)
            words = f"best possible, {name}: {ceilings[name]:.0%} on average"
            place = steps[-1] * 1.28, ceilings[name] + 0.012
            axes.text(*place, words, color=colour, fontsize=9, ha="right")
    axes.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
    axes.text(steps[-1], 0.51, "a coin", color=GREY, fontsize=9, ha="right")
    axes.set_ylim(min(0.45, min(map(min, shown)) - 0.03), 1)
    axes.set_xlim(right=steps[-1] * 1.3)
    axes.set_xticks(steps)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    title = "Noise lowers the ceiling" if ceilings else "It learns what is preferred"
    below = f"training step ({OTHERS})" if len(shown) > len(curves) else "training step"
    label(axes, title, below, "held-out pairs right")
    bound = "".join(f"; ceiling of {n} {c:.0%}" for n, c in ceilings.items())
    return Picture(
        figure, f"Accuracy over steps, at the end: {', '.join(ends)}{bound}."
    )


def _rows(recorded: Recorded | None, what: str, points: int) -> list[Sequence[float]]:
    """What other seeds gave, if it has as many points as the live run."""
    return [row for row in (recorded or {}).get(what, ()) if len(row) == points]


def _ends(rows: Sequence[Sequence[float]], form: str) -> str:
    """Where other seeds ended, in words; nothing where there are none."""
    said = ", ".join(f"{row[-1]:{form}}" for row in rows)
    return f" (other seeds {said})" if rows else ""


def _beside(axes: Axes, x: float, y: float, words: str, colour: str) -> None:
    """A name at the end of its line."""
    axes.annotate(
        words, (x, y), (6, -3), textcoords="offset points", color=colour, fontsize=9
    )


# ---- what it likes


def manners(rewards: Mapping[str, Tensor]) -> Picture:
    """Rewards of one fact in several manners: means, and the middle nine tenths.

    rewards: manner -> rewards (N,), with "plain", "polite" and "wrong" among them.
    """
    figure, (axes,) = canvas(height=3.0)
    means = {manner: float(values.mean()) for manner, values in rewards.items()}
    order = sorted(means, key=means.__getitem__)
    for row, manner in enumerate(order):
        values, colour = rewards[manner].double(), RED if manner == "wrong" else BLUE
        low, high = values.quantile(torch.tensor([0.05, 0.95]).double()).tolist()
        axes.plot([low, high], [row, row], color=colour, linewidth=5, alpha=0.3)
        axes.plot(means[manner], row, "o", color=colour)
    axes.set_yticks(range(len(order)), order)
    kind, true = (means[a] - means[b] for a, b in WORTH)
    label(axes, f"Manners add {kind:+.1f}, the truth {true:+.1f}", "reward", "")
    told = ", ".join(f"{manner} {means[manner]:.1f}" for manner in order)
    return Picture(figure, f"Mean rewards of one fact in several manners: {told}.")


def calibration(tables: Mapping[str, Calibration]) -> Picture:
    """How often each judge was right, over how sure it was; the diagonal is ideal."""
    figure, (axes,) = canvas(width=5.4, height=3.6)
    axes.plot([0.5, 1], [0.5, 1], color=GREY, linestyle="--", linewidth=1)
    axes.text(0.905, 0.94, "as sure as right", color=GREY, fontsize=9, ha="right")
    told = []
    for (name, table), colour, mark in zip(
        tables.items(), COLOURS, MARKS, strict=False
    ):
        points = table.predicted, table.observed
        axes.plot(*points, mark, color=colour, markersize=4)
        axes.scatter(*points, table.counts.sqrt() * 9, color=colour, alpha=0.4)
        sure, right = (_mean(part, table.counts) for part in points)
        words = f"{name}: {sure:.0%} sure, {right:.0%} right"
        axes.plot([], [], color=colour, marker=mark, label=words)
        pairs = zip(*(part.tolist() for part in points), strict=True)
        told.append(f"{name} " + ", ".join(f"{s:.0%}: {r:.0%}" for s, r in pairs))
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.set_xlim(0.5, 1.02)
    axes.set_ylim(0.3, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, 0))
    title = "Who knows that labels may be wrong?"
    label(axes, title, "how sure it is (large: many pairs)", "agrees with the labels")
    return Picture(figure, f"{title}, sure against right: {'; '.join(told)}.")


def _mean(values: Tensor, counts: Tensor) -> float:
    return float((values * counts).sum() / counts.sum())


# ---- obeying it


def obeying(curves: Mapping[str, Curve], recorded: Recorded | None = None) -> Picture:
    """Learned reward and true score of the best of n, over n.

    The learned reward is drawn as its gain over n = 1, in units of its own: as a share
    of what it gains in all. recorded: "learned, name" and "true, name" of other
    seeds, drawn faintly where they have as many n.
    """
    figure, (left, right) = canvas(columns=2, width=8.8, height=3.4)
    told, seeds = [], 0
    for (name, curve), colour, mark in zip(
        curves.items(), COLOURS, MARKS, strict=False
    ):
        learned, true = (
            _rows(recorded, f"{what}, {name}", len(curve.n))
            for what in ("learned", "true")
        )
        for axes, others in ((left, map(_shares, learned)), (right, true)):
            for row in others:
                axes.plot(curve.n, row, color=colour, **FAINT)
        style = {"color": colour, "marker": mark, "markersize": 4}
        left.plot(curve.n, _shares(curve.learned), **style)
        right.plot(curve.n, curve.true, label=name, **style)
        told.append(
            f"{name}: true score from {curve.true[0]:.2f} to {curve.true[-1]:.2f}, "
            f"at most {max(curve.true):.2f}{_ends(true, '.2f')}"
        )
        seeds += len(true)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    right.legend(frameon=False, fontsize=9)
    below = "answers to choose from, n"
    label(left, "What is obeyed rises", below, "gain, as a share")
    beside = f"n ({OTHERS})" if seeds else below
    label(right, "What was meant need not", beside, "true score")
    return Picture(figure, f"Best of n, up to {curve.n[-1]}. {'; '.join(told)}.")


def _shares(values: Sequence[float]) -> list[float]:
    """What was gained since the first value, as a share of all that was gained.

    >>> _shares([-1.0, 1.0, 3.0])
    [0.0, 0.5, 1.0]
    """
    gains = [value - values[0] for value in values]
    return [gain / (gains[-1] or 1) for gain in gains]
