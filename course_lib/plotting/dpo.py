"""Pictures of lesson 09."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course_lib.plotting.sampling import visible
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
from course_lib.tokenizer import Tokenizer

COLOURS = (BLUE, ORANGE, GREEN, RED, INK)
MARKS = ("o", "s", "D", "^", "v")
History = Mapping[str, Sequence[float]]
Curves = Mapping[str, Sequence[Sequence[float]]]  # name -> one list for each seed
Loss = Callable[..., Tensor]

# ---- where it can be computed


def paths(
    found: Mapping[str, Tensor], ideal: Tensor, answers: Sequence[str]
) -> Picture:
    """How likely each answer is over the steps of exact descent; dashed: the leash's.

    found: name -> policies (steps + 1, A). ideal (A,): the optimum with true rewards.
    """
    figure, panels = canvas(columns=len(found), width=8.6, height=3.2, sharey=True)
    said = []
    for axes, (name, policies) in zip(panels, found.items(), strict=True):
        for column, (answer, colour) in enumerate(zip(answers, COLOURS, strict=False)):
            axes.plot(policies[:, column], color=colour, label=answer)
            axes.axhline(float(ideal[column]), color=colour, linestyle="--", alpha=0.5)
        steps = len(policies) - 1
        axes.set_xscale("symlog", linthresh=1)
        ticks = [0, *(10**n for n in range(5) if 10**n <= steps)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlim(0, steps)
        axes.set_ylim(0, 1.03)
        label(axes, "", "step", f"probability by {name}")
        last = ", ".join(f"{p:.2f}" for p in policies[-1])
        said.append(f"{name} ends at {last}")
    panels[-1].plot([], [], "--", color=GREY, label="RLHF's optimum")
    panels[-1].legend(frameon=False, fontsize=9)
    title = "DPO takes all, IPO comes to rest"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    leash = ", ".join(f"{p:.2f}" for p in ideal)
    return Picture(figure, f"{title}. {'; '.join(said)}; dashed: the leash's {leash}.")


# ---- losses of the gap

GAPS = torch.linspace(-20.0, 40.0, 241)


def by_gap(losses: Mapping[str, Loss], beta: float, gap: float) -> Picture:
    """Loss and pull of each loss over the gap, both in units of those at gap 0."""
    figure, panels = canvas(columns=2, width=8.6, height=3.3)
    said = []
    start = torch.zeros(1)
    for (name, loss), colour in zip(losses.items(), COLOURS, strict=False):
        curve = partial(_loss_and_pull, loss, beta=beta)
        units, lines = curve(start), curve(GAPS)
        here = curve(torch.tensor([float(gap)]))
        points = [float(h / u) for h, u in zip(here, units, strict=True)]
        for axes, line, unit, point in zip(panels, lines, units, points, strict=True):
            axes.plot(GAPS, line / unit, color=colour, label=name)
            axes.plot([gap], [point], "o", color=colour)
        said.append(f"{name}: loss {points[0]:.2f}, pull {points[1]:.2f}")
    for axes, what, limits in zip(
        panels, ("loss", "pull"), ((-0.1, 4), (-2, 3)), strict=True
    ):
        axes.axvline(gap, color=GREY, linewidth=1)
        axes.set_ylim(*limits)
        label(axes, "", "gap in nats", f"{what}, 1 at the start")
    panels[1].legend(frameon=False, fontsize=9)
    title = f"β = {beta:g}: IPO's goal is a gap of {1 / (2 * beta):.1f}"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. At a gap of {gap:g}: {'; '.join(said)}.")


def _loss_and_pull(loss: Loss, gaps: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The loss at these gaps, and minus its slope."""
    leaf, zero = gaps.clone().requires_grad_(), torch.zeros_like(gaps)
    values = loss(leaf, zero, zero, zero, beta=beta)
    (slope,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), -slope


# ---- runs


def rounds(
    histories: Sequence[History], scores: Sequence[float], recorded: Curves
) -> Picture:
    """The gains of both answers over all steps, and the true score after each round.

    scores: at the start and after every round. Faint: recorded, other seeds.
    """
    figure, (left, right) = canvas(columns=2, width=8.6, height=3.4)
    said = []
    for name, colour in (("chosen_gain", BLUE), ("rejected_gain", ORANGE)):
        for seed in recorded.get(name, ()):
            left.plot(range(1, len(seed) + 1), seed, color=colour, alpha=0.2, lw=1)
        joined = [value for history in histories for value in history[name]]
        words = name.removesuffix("_gain")
        left.plot(range(1, len(joined) + 1), joined, color=colour, label=words)
        said.append(f"{words} at last {_late(joined):+.1f} nats")
    left.axhline(0, color=INK, linewidth=1)
    passed = 0
    for history in histories[:-1]:
        passed += len(history["loss"])
        left.axvline(passed + 0.5, color=GREY, linewidth=1, linestyle=":")
    left.legend(frameon=False, fontsize=9, loc="lower left")
    label(left, "", "step; dotted: new pairs", "gained on the guide, nats")
    for seed in recorded.get("score", ()):
        right.plot(range(len(seed)), seed, color=GREEN, alpha=0.3, linewidth=1)
    right.plot(range(len(scores)), scores, "o-", color=GREEN)
    right.set_xticks(range(len(scores)))
    right.set_ylim(0.5, 1.55)
    label(right, "", "rounds", "true score, unseen facts")
    title = f"True score from {scores[0]:.2f} to {scores[-1]:.2f}"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    each = ", ".join(f"{score:.2f}" for score in scores)
    return Picture(figure, f"{title}: {each}. {'; '.join(said)}.")


def gains(run: History) -> Picture:
    """The gains of chosen and rejected answers in one run, and its loss."""
    figure, (left, right) = canvas(columns=2, width=8.6, height=3.0)
    said = []
    for name, colour in (("chosen_gain", BLUE), ("rejected_gain", ORANGE)):
        words = name.removesuffix("_gain")
        left.plot(range(1, len(run[name]) + 1), run[name], color=colour, label=words)
        said.append(f"{words} {_late(run[name]):+.1f} nats")
    left.axhline(0, color=INK, linewidth=1)
    left.legend(frameon=False, fontsize=9, loc="lower left")
    label(left, "", "step", "gained on the guide, nats")
    right.plot(range(1, len(run["loss"]) + 1), run["loss"], color=INK)
    right.set_ylim(bottom=0)
    label(right, "", "step", "loss")
    title = f"Loss {_late(run['loss']):.2f}: it sees the gap alone"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    loss = f"loss {_late(run['loss']):.2f}"
    return Picture(figure, f"{title}. Last steps: {', '.join(said)}, {loss}.")


def one_batch(recorded: Curves) -> Picture:
    """A long run on one set of pairs: gains over its steps, true score over its exams."""
    figure, (*panels, right) = canvas(columns=3, width=8.6, height=3.0)
    said = []
    for axes, name, colour in zip(
        panels, ("chosen", "rejected"), COLOURS, strict=False
    ):
        seeds = recorded[f"one batch: {name}_gain"]
        ends = _seeds(axes, seeds, range(1, len(seeds[0]) + 1), colour)
        axes.axhline(0, color=INK, linewidth=1)
        label(axes, "", "step", f"{name}: gained, nats")
        said.append(f"{name} {ends:+.1f} nats")
    steps = len(recorded["one batch: chosen_gain"][0])
    scores = recorded["one batch: score"]
    places = [steps * i / (len(scores[0]) - 1) for i in range(len(scores[0]))]
    end = _seeds(right, scores, places, GREEN, "o-")
    right.set_ylim(0, 1.55)
    label(right, "", "step", "true score, unseen facts")
    title = "On one set of pairs it goes well, then wrong"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. At the end {', '.join(said)}, score {end:.2f}.")


def _seeds(
    axes: Axes,
    seeds: Sequence[Sequence[float]],
    places: Sequence[float],
    colour: str,
    mark: str = "-",
) -> float:
    """Each seed faintly, and their mean, whose last value is returned."""
    for seed in seeds:
        axes.plot(places, seed, color=colour, alpha=0.25, linewidth=1)
    means = [sum(point) / len(seeds) for point in zip(*seeds, strict=True)]
    axes.plot(places, means, mark, color=colour, markersize=4)
    return means[-1]


def _late(values: Sequence[float], count: int = 10) -> float:
    """The mean of the last values: calmer than the last one alone.

    >>> _late([0.0, 0.5, 1.0], count=2)
    0.75
    """
    last = values[-count:]
    return sum(last) / len(last)


# ---- where the mass went


def who_gained(risen: Tensor, tokenizer: Tokenizer, least: float = 0.02) -> Picture:
    """The tokens that lost and gained at least so much, and the two extremes.

    risen (V,): its sum is 0.
    """
    figure, (axes,) = canvas(height=3.4)
    order = risen.argsort().tolist()
    ends = (order[0], order[-1])
    shown = [i for i in order if abs(risen[i]) >= least or i in ends]
    names = [visible(tokenizer.decode([i])) for i in shown]
    values = [100 * float(risen[i]) for i in shown]
    colours = [ORANGE if value < 0 else BLUE for value in values]
    axes.barh(range(len(shown)), values, color=colours)
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    low, high = (names[values.index(pick(values))] for pick in (min, max))
    title = f"{low} lost {-min(values):.0f} points of probability, {high} gained most"
    label(axes, title, "change on average, in points of probability", "")
    said = ", ".join(f"{n} {v:+.1f}" for n, v in zip(names, values, strict=True))
    return Picture(figure, f"{title}. In points: {said}.")


# ---- all methods

METHODS = ("best of n", "imitation", "PPO", "GRPO", "DPO")


def frontier(recorded: Curves) -> Picture:
    """True score over KL for every method and setting: means of the recorded seeds."""
    figure, (axes,) = canvas(width=7.6, height=4.0)
    starts = [seed[-1] for seed in recorded["frontier SFT: score"]]
    start, said = sum(starts) / len(starts), []
    axes.axhline(start, color=GREY, linewidth=1)
    axes.plot([0], [start], "*", color=INK, markersize=11)
    axes.text(0.05, start + 0.015, "the guide", fontsize=9, color=INK)
    for name, colour, mark in zip(METHODS, COLOURS, MARKS, strict=True):
        means = [
            [sum(point) / len(point) for point in zip(*seeds, strict=True)]
            for seeds in (
                recorded[f"frontier {name}: {what}"] for what in ("kl", "score")
            )
        ]
        order = sorted(range(len(means[0])), key=means[0].__getitem__)
        far, high = ([values[i] for i in order] for values in means)
        axes.plot(far, high, mark, color=colour, markersize=6, label=name)
        points = ", ".join(
            f"{h:.2f} at {k:.1f}" for k, h in zip(far, high, strict=True)
        )
        said.append(f"{name}: {points}")
    axes.set_xlim(left=-0.05)
    axes.legend(frameon=False, fontsize=9, loc="center right")
    title = "Best of n gets most for a nat; DPO can gain as much, or lose"
    label(axes, title, "KL from the guide, nats per answer", "true score, unseen facts")
    return Picture(figure, f"{title}. The guide {start:.2f}. {'; '.join(said)} nats.")
