"""Pictures of lesson 01."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

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


def never_seen(
    lengths: Sequence[int], shares: Mapping[int, Sequence[float]]
) -> Picture:
    """How many stretches of new texts stand in no known text, by length and by number of known texts."""
    figure, (axes,) = canvas(height=2.9)
    for (count, curve), colour in zip(shares.items(), (GREY, BLUE), strict=False):
        axes.plot(lengths, curve, "o-", color=colour, markersize=4)
        name = f"{count:,} known texts"
        axes.text(lengths[-1] + 0.15, curve[-1], name, color=colour, fontsize=9)
    axes.set_ylim(0, 1)
    axes.set_xlim(lengths[0] - 0.3, lengths[-1] * 1.3)
    axes.set_xticks(list(lengths))
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    label(
        axes,
        "Ten times the text buys a few words more",
        "words in a row",
        "never seen before",
    )
    said = "; ".join(
        f"with {count:,} known texts {curve[0]:.0%} at {lengths[0]} word to {curve[-1]:.0%} at {lengths[-1]}"
        for count, curve in shares.items()
    )
    return Picture(figure, f"Share of stretches never seen before: {said}.")


PLAN = (  # what stands in the picture of the model, and the exercise that writes it
    ("tokens\n(B, T)", GREY, "1"),
    ("embed\n(B, T, D)", GREY, ""),
    ("norm", BLUE, "5"),
    ("attention", BLUE, "2, 3, 4"),
    ("+", GREEN, "7"),
    ("norm", BLUE, "5"),
    ("MLP", BLUE, "6"),
    ("+", GREEN, "7"),
    ("norm", BLUE, "5"),
    ("scores\n(B, T, V)", GREY, ""),
    ("loss\n(B, T)", GREY, "8"),
)
GAP = 0.3  # between two boxes


def plan() -> Picture:
    """The whole model as a row of boxes, with the exercises that fill them."""
    figure, (axes,) = canvas(width=8.6, height=2.4)
    x, forks, sums = 0.0, [], []  # a way past starts before a norm and ends in a sum
    for text, colour, exercise in PLAN:
        size = 0.4 if text == "+" else 0.78 if text == "norm" else 1.2
        _box(axes, x, size, text, colour)
        middle = x + size / 2
        if exercise:
            axes.text(
                middle, 0.02, f"Ex. {exercise}", color=colour, fontsize=9, ha="center"
            )
        if text == "norm":
            forks.append(x - GAP / 2)
        if text == "+":
            sums.append(middle)
        x += size + GAP
    axes.plot([0, x - GAP], [0.5, 0.5], color=GREY, linewidth=1, zorder=0)
    for start, end in zip(forks, sums, strict=False):
        path = [0.5, 0.98, 0.98, 0.5]
        axes.plot([start, start, end, end], path, color=GREEN, linewidth=1.6, zorder=0)
    axes.plot([forks[0], sums[1] + 0.3], [1.15, 1.15], color=INK, linewidth=1)
    middle = (forks[0] + sums[1]) / 2
    axes.text(middle, 1.2, "a block, several times", ha="center", fontsize=9.5)
    axes.set_xlim(-0.05, x - GAP + 0.05)
    axes.set_ylim(-0.05, 1.4)
    axes.axis("off")
    axes.set_title("From tokens to scores", fontsize=12, fontweight="bold", loc="left")
    said = ", ".join(
        f"{text} (exercise {exercise})" if exercise else text
        for text, _, exercise in PLAN
    ).replace("\n", " ")
    return Picture(
        figure,
        f"A row of boxes: {said}. From before each of the first two norms a line leads past to the next plus.",
    )


def _box(axes: Axes, x: float, size: float, text: str, colour: str) -> None:
    if text == "+":
        axes.plot(x + size / 2, 0.5, "o", color=colour, markersize=17)
    else:
        axes.add_patch(
            FancyBboxPatch(
                (x, 0.24),
                size,
                0.52,
                boxstyle="round,pad=0.02",
                facecolor=colour,
                edgecolor="none",
            )
        )
    axes.text(
        x + size / 2, 0.5, text, color="white", fontsize=9.5, ha="center", va="center"
    )


def pieces(texts: Sequence[Sequence[str]], width: int = 66) -> Picture:
    """Texts as boxes, one for each token; a dot marks the space that belongs to a token."""
    rows = [row for text in texts for row in [*_lines(text, width), []]][:-1]
    figure, (axes,) = canvas(height=0.36 * len(rows) + 0.5, width=8)
    for y, row in enumerate(rows):
        x = 0.0
        for i, piece in enumerate(row):
            size = len(piece) + 0.6
            box = FancyBboxPatch(
                (x, y + 0.1),
                size - 0.15,
                0.72,
                boxstyle="round,pad=0,rounding_size=0.15",
                facecolor=TINTS[i % len(TINTS)],
                edgecolor="none",
            )
            axes.add_patch(box)
            axes.text(
                x + size / 2 - 0.08,
                y + 0.47,
                piece.replace(" ", "·"),
                ha="center",
                va="center",
                fontsize=9.5,
                family="DejaVu Sans Mono",
                color=INK,
            )
            x += size
    axes.set_xlim(0, width * 1.25)
    axes.set_ylim(len(rows), 0)
    axes.axis("off")
    counts = " and ".join(str(len(text)) for text in texts)
    axes.set_title(
        f"What the model reads: {counts} tokens",
        fontsize=12,
        fontweight="bold",
        loc="left",
    )
    said = "; ".join("|".join(text) for text in texts)
    return Picture(figure, f"Texts cut into tokens: {said}.")


def _lines(pieces: Sequence[str], width: int) -> list[list[str]]:
    """Pieces in lines of at most so many letters."""
    lines: list[list[str]] = [[]]
    for piece in pieces:
        if sum(map(len, lines[-1])) + len(piece) > width:
            lines.append([])
        lines[-1].append(piece)
    return lines


def by_distance(scores: Sequence[float], start: int) -> Picture:
    """The score of one query and one key by their distance, wherever they stand."""
    figure, (axes,) = canvas(height=2.7)
    axes.plot(range(len(scores)), scores, color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8)
    label(
        axes,
        f"Keys at positions {start} to {start + len(scores) - 1}",
        "distance between query and key (tokens)",
        "score",
    )
    return Picture(
        figure,
        f"Score against distance for positions from {start} on: a wave that starts at {scores[0]:.1f}; the start does not change it.",
    )


def activations() -> Picture:
    """ReLU, GELU and SiLU."""
    x = np.linspace(-5, 5, 301)
    gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    curves = {
        "ReLU": (np.maximum(x, 0), GREY),
        "GELU (GPT-2)": (gelu, ORANGE),
        "SiLU (Llama)": (x / (1 + np.exp(-x)), BLUE),
    }
    figure, (axes,) = canvas(height=2.8)
    for name, (y, colour) in curves.items():
        axes.plot(x, y, color=colour, label=name)
    axes.set_ylim(-0.6, 3)
    axes.set_xlim(-5, 5)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    label(axes, "Two smooth thresholds beside a hard one", "input", "output")
    return Picture(
        figure,
        "Three curves: ReLU is zero below zero and the line x above; GELU and SiLU follow it smoothly and dip below zero near minus one.",
    )


def gradients(strengths: Mapping[str, Mapping[int, Sequence[float]]]) -> Picture:
    """Gradient norms from the top of a stack to its bottom, for several kinds and depths."""
    colours = dict(zip(strengths, (BLUE, GREEN, ORANGE, RED), strict=False))
    floor = 1e-6  # what is smaller lies on the lower edge
    depths = list(next(iter(strengths.values())))
    figure, all_axes = canvas(columns=len(depths), width=8.4, height=3.1, sharey=True)
    for axes, depth in zip(all_axes, depths, strict=True):
        for name, by_depth in strengths.items():
            curve = np.maximum(by_depth[depth], floor)
            axes.plot(range(depth + 1), curve, color=colours[name], label=name)
        axes.set_yscale("log")
        axes.set_ylim(floor / 3, 1e4)
        axes.set_xticks([0, depth // 2, depth])
        label(axes, f"{depth} blocks", "after block", "")
    all_axes[0].set_ylabel("gradient (top = 1)")
    all_axes[-1].text(
        depths[-1] / 2,
        floor * 2,
        "0, below the axis",
        color=RED,
        fontsize=8.5,
        ha="center",
    )
    all_axes[0].legend(frameon=False, fontsize=9, loc="lower left")
    bottoms = "; ".join(
        f"{name}: {by_depth[depths[-1]][0]:.2g}" for name, by_depth in strengths.items()
    )
    return Picture(
        figure,
        f"Gradient strength by depth, relative to the top. At the bottom of {depths[-1]} blocks: {bottoms}.",
    )


def parts(counts: Mapping[str, int]) -> Picture:
    """How many numbers each kind of part holds."""
    names = sorted(counts, key=counts.get, reverse=True)
    total = sum(counts.values())
    figure, (axes,) = canvas(height=2.2)
    bars = axes.barh(names, [counts[name] for name in names], color=BLUE)
    said = [f"{counts[name]:,}  ({counts[name] / total:.0%})" for name in names]
    axes.bar_label(bars, said, padding=3, fontsize=9)
    axes.set_xlim(0, max(counts.values()) * 1.3)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    label(axes, f"{total:,} numbers to learn", "parameters", "")
    return Picture(
        figure,
        f"Parameters by part: {', '.join(map(' '.join, zip(names, said, strict=True)))}.",
    )


# ---- squares of tokens


def _square(
    axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], **style
) -> None:
    axes.imshow(values, aspect="equal", **style)
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)


def influence(moved: np.ndarray, tokens: Sequence[str]) -> Picture:
    """Which token moves which prediction."""
    moved, tokens = np.asarray(moved), [token.strip() or "·" for token in tokens]
    figure, (axes,) = canvas(width=5.2, height=4.6)
    size = np.where(moved > 1e-5, 0.25 + 0.75 * moved / moved.max(), 0)  # 0 stays white
    _square(axes, size, tokens, tokens, cmap="Blues", vmin=0, vmax=1)
    above = (np.triu(moved, 1) > 1e-5).any()
    title = "It reads the future" if above else "Nobody reads the future"
    label(axes, title, "token that was replaced", "prediction after token")
    where = "also above" if above else "only on and below"
    return Picture(figure, f"Square of tokens: predictions move {where} the diagonal.")


def attention(
    weights: np.ndarray, tokens: Sequence[str], layer: int, head: int
) -> Picture:
    """The weights of one head."""
    weights = np.asarray(weights)
    tokens = [token.strip() or "·" for token in tokens]
    side = min(2.2 + 0.14 * len(tokens), 6.0)  # inches
    figure, (axes,) = canvas(width=side + 0.5, height=side)
    _square(axes, weights, tokens, tokens, cmap="Blues", vmin=0, vmax=1)
    label(axes, f"Layer {layer}, head {head}", "looks back at", "token")
    last = weights[-1]
    top = int(last.argmax())
    return Picture(
        figure,
        f"Attention weights of layer {layer}, head {head}; the last token, {tokens[-1]}, looks most at {tokens[top]} ({last[top]:.2f}).",
    )


def head_map(lost: Mapping[str, np.ndarray]) -> Picture:
    """What is lost without each head, for several tasks."""
    figure, all_axes = canvas(columns=len(lost), width=8, height=3.6)
    said, most = [], max(float(np.asarray(v).max()) for v in lost.values())
    for axes, (task, values) in zip(all_axes, lost.items(), strict=True):
        values = np.asarray(values)
        layers, heads = values.shape
        axes.imshow(values, cmap="Oranges", vmin=0, vmax=most)
        for layer in range(layers):
            for head in range(heads):
                strong = values[layer, head] > 0.6 * most
                axes.text(
                    head,
                    layer,
                    f"{values[layer, head]:.1f}".replace("-0.0", "0.0"),
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if strong else INK,
                )
        axes.set_xticks(range(heads))
        axes.set_yticks(range(layers))
        axes.grid(False)
        label(axes, f"{task}: nats lost", "silenced head", "layer")
        layer, head = divmod(int(values.argmax()), heads)
        said.append(
            f"{task} loses most without layer {layer}, head {head}: {values.max():.1f} nats"
        )
    return Picture(figure, f"Nats lost without each head. {'; '.join(said)}.")


def patch_map(shares: np.ndarray, tokens: Sequence[str], old: str, new: str) -> Picture:
    """Where a vector of the stream decides between two answers, by layer and position."""
    shares = np.asarray(shares)
    figure, (axes,) = canvas(width=6.6, height=3.4)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(shares.shape[0]):
        for column in range(shares.shape[1]):
            axes.text(
                column,
                row,
                f"{shares[row, column]:.1f}",
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if shares[row, column] > 0.6 else INK,
            )
    axes.set_xticks(range(len(tokens)), tokens, fontsize=9)
    axes.set_yticks(range(shares.shape[0]))
    axes.grid(False)
    label(
        axes,
        f"Where “{old}” becomes “{new}”",
        "swapped at token",
        "before block (last: end)",
    )
    return Picture(
        figure,
        f"Probability of {new} rather than {old} after swapping one vector, by layer and token.",
    )


# ---- curves


def learning(
    live: Sequence[float],
    recorded: Sequence[Sequence[float]],
    marks: Mapping[str, float],
) -> Picture:
    """The loss of the live run over recorded ones, and the losses of models that learn nothing."""
    figure, (axes,) = canvas()
    for curve in recorded:
        axes.plot(curve, color=GREY, linewidth=0.8, alpha=0.6)
    axes.plot(live, color=BLUE, linewidth=1.5)
    for name, loss in marks.items():
        axes.axhline(loss, color=ORANGE, linestyle="--", linewidth=1)
        axes.text(
            len(live) * 0.99,
            loss + 0.1,
            f"{name}: {loss:.2f}",
            color=ORANGE,
            fontsize=9,
            ha="right",
        )
    axes.text(
        len(live) * 0.45,
        4.1,
        "blue: your run, live\ngrey: recorded runs, other seeds",
        fontsize=9,
        color=INK,
    )
    axes.set_ylim(0, max(marks.values()) * 1.12)
    label(
        axes,
        "Most of the way in the first hundred steps",
        "training step",
        "loss (nats per token)",
    )
    return Picture(
        figure,
        f"Training loss falls from {live[0]:.2f} to {live[-1]:.2f} nats per token in {len(live)} steps.",
    )


def noise(curves: Mapping[str, Sequence[float]], limit: float) -> Picture:
    """Training losses on random tokens, and the limit that nobody can pass honestly."""
    figure, (axes,) = canvas(height=2.9)
    colours = dict(zip(curves, (BLUE, RED, GREEN), strict=False))
    for name, curve in curves.items():
        axes.plot(curve, color=colours[name])
        axes.text(
            len(curve) * 1.01,
            curve[-1],
            name,
            color=colours[name],
            fontsize=9,
            va="center",
        )
    axes.axhline(limit, color=GREY, linestyle="--", linewidth=1)
    axes.text(2, limit - 0.22, "pure guessing", color=GREY, fontsize=9)
    longest = max(len(curve) for curve in curves.values())
    axes.set_xlim(0, longest * 1.22)
    axes.set_ylim(bottom=0)
    label(
        axes,
        "Nobody can foresee noise, so one of the two cheats",
        "training step",
        "loss on random tokens (nats)",
    )
    ends = ", ".join(f"{name} {curve[-1]:.2f}" for name, curve in curves.items())
    return Picture(
        figure, f"Loss on random tokens at the end: {ends}; the limit is {limit:.2f}."
    )


def in_context(losses: Sequence[float], period: int) -> Picture:
    """The loss at each position of a row of random tokens that is shown twice."""
    figure, (axes,) = canvas(height=2.9)
    places = np.arange(1, len(losses) + 1)
    second = places >= period
    axes.bar(places[~second], np.array(losses)[~second], color=GREY)
    axes.bar(places[second], np.array(losses)[second], color=BLUE)
    top = max(losses)
    axes.text(1, top * 1.04, "first showing", color=GREY, fontsize=9)
    axes.text(period, top * 1.04, "the same again", color=BLUE, fontsize=9)
    axes.set_ylim(0, top * 1.15)
    axes.grid(axis="x", visible=False)
    label(axes, "The second time it knows more and more\n", "position", "loss (nats)")
    first, again = np.mean(losses[: period - 1]), np.mean(losses[period:])
    return Picture(
        figure,
        f"Loss by position: about {first:.0f} nats in the first showing, {again:.1f} on average in the second, near 0 at its end.",
    )
