"""Pictures of lesson 11."""

from collections.abc import Callable, Mapping, Sequence

import torch
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
from course_lib.quantization.integers import (
    code_range,
    dequantize,
    quantize,
)

COLOURS = (BLUE, ORANGE, GREEN, RED, INK)
MARKS = ("o", "s", "D", "^", "v")
BINS, TAIL = 81, 30
CLIPPED, SHARES = (2, 3, 4, 8), [0.9 + 0.005 * step for step in range(21)]

# ---- a grid and the numbers on it


def grid(weights: Tensor, bits: float, share: float) -> Picture:
    """A matrix's numbers on a symmetric grid, and what clipping does to the error.

    share: of the numbers that the grid reaches, by size; the rest is clipped.
    """
    bits, flat = int(bits), weights.detach().flatten()
    scale, codes, error = clipped(flat, bits, share)
    nought, limits = float((codes == 0).float().mean()), code_range(bits)
    figure, (left, right) = canvas(columns=2, width=8.6, height=3.2)
    left.hist(flat.numpy(), bins=BINS, color=BLUE, alpha=0.6)
    far = flat[flat.abs().topk(TAIL).indices]
    left.plot(far, torch.zeros(TAIL), "|", color=INK, markersize=14, zorder=3)
    for code in range(limits[0], limits[1] + 1) if bits < 7 else ():
        left.axvline(code * float(scale), color=ORANGE, linewidth=1)
    title = f"{limits[1] * 2 + 1} values: {nought:.0%} become 0"
    label(left, title, f"weight (ticks: the {TAIL} largest)", "how many")
    for each, colour in zip(CLIPPED, COLOURS, strict=False):
        row = [clipped(flat, each, inside)[2] for inside in SHARES]
        right.plot(SHARES, row, color=colour)
        spot = (SHARES[-1], row[-1])
        right.annotate(
            f"{each} bits",
            spot,
            (5, -3),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            annotation_clip=False,
        )
    right.plot([share], [error], "o", color=INK)
    label(right, "Clipping pays with few bits", "share inside", "error / spread")
    words = f"{title}. {bits} bits, the grid reaches {share:.1%} of the weights; error "
    words += f"{error:.2f} of the spread. Right, all inside and .97 inside: "
    pairs = ((b, clipped(flat, b, 1.0)[2], clipped(flat, b, 0.97)[2]) for b in CLIPPED)
    words += "; ".join(f"{b} bits {whole:.2f}, {cut:.2f}" for b, whole, cut in pairs)
    return Picture(figure, f"{words}.")


def clipped(flat: Tensor, bits: int, share: float) -> tuple[Tensor, Tensor, float]:
    """Scale, codes and error / spread of a grid that reaches this share by size."""
    limits = code_range(bits)
    scale = flat.abs().quantile(share) / limits[1]
    codes = quantize(flat, scale, limits=limits)
    error = (dequantize(codes, scale) - flat).square().mean().sqrt()
    return scale, codes, float(error / flat.std())


def stairs(fake: Callable[..., Tensor], bits: float) -> Picture:
    """What goes forward and what flows back through rounding with so many bits."""
    x = torch.linspace(-1.6, 1.6, 641, requires_grad=True)
    limits = code_range(int(bits))
    rounded = fake(x, torch.tensor(1.0 / limits[1]), limits=limits)
    (slope,) = torch.autograd.grad(rounded.sum(), x)
    figure, panels = canvas(columns=2, width=8.6, height=2.9)
    lines = (("forward", rounded.detach()), ("back: the gradient", slope))
    for axes, (name, line), colour in zip(panels, lines, (BLUE, ORANGE), strict=True):
        axes.plot(x.detach(), line, color=colour)
        axes.plot(
            x.detach(), x.detach(), color=GREY, linewidth=1
        ) if colour == BLUE else 0
        label(axes, "", "weight, largest code at 1", name)
    title = "Stairs on the way forward, slope 1 on the way back"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    within = float(x.detach()[slope > 0.5].abs().max()) if (slope > 0.5).any() else 0
    words = f"{len(rounded.detach().unique())} steps; gradient 1 up to {within:.2f}"
    return Picture(figure, f"{title}. {words}, and 0 beyond.")


# ---- what dies first


def dying(shares: Mapping[str, Sequence[float]], names: Sequence[str]) -> Picture:
    """How many answers are right at fewer and fewer bits, for each kind of question.

    shares: kind -> one share for each of `names`, the ways to store.
    """
    figure, (axes,) = canvas(height=3.4)
    for (kind, row), colour, mark in zip(shares.items(), COLOURS, MARKS, strict=False):
        axes.plot(range(len(row)), row, color=colour, marker=mark, label=kind)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(-0.03, 1.05)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    title = "Reckoning goes first, what was told often stays longest"
    label(axes, title, "bits, a scale for 32 weights", "share of right answers")
    ends = "; ".join(
        f"{kind} {', '.join(f'{share:.2f}' for share in row)}"
        for kind, row in shares.items()
    )
    return Picture(figure, f"{title}. At {', '.join(names)}: {ends}.")


# ---- code books


def books(tables: Mapping[str, tuple[Tensor, Tensor]]) -> Picture:
    """Where the values of a table lie, beside the numbers that they stand for.

    tables: name -> (weights through the largest of their blocks, the table's values).
    """
    figure, panels = canvas(columns=len(tables), width=8.6, height=3.0, sharey=True)
    said = []
    for axes, (name, (values, table)), colour in zip(
        panels, tables.items(), (ORANGE, BLUE), strict=False
    ):
        axes.hist(values.numpy(), bins=BINS, color=GREY, alpha=0.6)
        for value in table.tolist():
            axes.axvline(value, color=colour, linewidth=1.2)
        middles = (table[1:] + table[:-1]) / 2
        used = torch.bucketize(values, middles).bincount(minlength=len(table))
        shares = used / len(values)
        said.append(f"{name} uses its codes {shares.min():.1%} to {shares.max():.1%}")
        label(axes, name, "weight / largest of its block (that one: ±1)", "")
    panels[0].set_ylabel("how many")
    title = "NF4 puts its values where the weights are"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


# ---- loud channels


def channels(sizes: Mapping[str, tuple[Tensor, Tensor]]) -> Picture:
    """The largest number of each channel, in what a layer reads and in its weights.

    sizes: name -> (inputs (in,), weights (in,)).
    """
    figure, panels = canvas(columns=len(sizes), width=8.6, height=3.0, sharey=True)
    said = []
    for axes, (name, (inputs, weights)) in zip(panels, sizes.items(), strict=True):
        places = range(len(inputs))
        axes.plot(places, inputs.numpy(), color=BLUE, label="inputs")
        axes.plot(places, weights.numpy(), color=ORANGE, label="weights")
        axes.set_yscale("log")
        label(axes, name, "channel", "")
        ratio = float(inputs.max() / inputs.median())
        said.append(f"{name}: the loudest input is {ratio:.0f} times the middle one")
    panels[0].set_ylabel("largest number")
    panels[-1].legend(frameon=False, fontsize=9)
    title = "SmoothQuant: inputs and weights meet half-way"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


# ---- what it costs


Points = Mapping[str, tuple[float, float]]  # name -> (megabytes, perplexity)


def costs(ours: Points, files: Points, floats: float) -> Picture:
    """Size against perplexity of the main ways; dashed: floats.

    ours: with the embedding in floats; files: GGUF, the embedding rounded as well.
    """
    figure, (axes,) = canvas(height=3.8)
    axes.axhline(floats, color=INK, linestyle="--", linewidth=1)
    lowest = min(floats, *(found for _, found in files.values()))
    families = (("matrices only", ours, BLUE, "o"), ("GGUF files", files, ORANGE, "s"))
    for family, points, colour, mark in families:
        axes.plot(*zip(*points.values(), strict=True), mark, color=colour, label=family)
        for name, place in points.items():
            if name == "float":
                continue  # F32 lies there
            right = colour == BLUE  # names of files hang below all points, turned
            axes.annotate(
                "F32, float" if name == "F32" else name,
                place if right else (place[0], lowest),
                (7, 0) if right else (0, -7),
                textcoords="offset points",
                fontsize=8,
                rotation=0 if right else 90,
                ha="left" if right else "center",
                va="center" if right else "top",
            )
    axes.set_xscale("log")
    axes.set_xticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
    axes.minorticks_off()
    axes.margins(0.12)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.15 * (high - low), high)
    axes.legend(frameon=False, fontsize=9)
    title = "Down to 4 bits in groups the price is small, below it grows"
    label(axes, title, "file, MB", "perplexity on new texts")
    rows = "; ".join(f"{n} {s:.2f} MB, {p:.3f}" for n, (s, p) in (ours | files).items())
    return Picture(figure, f"{title}. Floats: {floats:.3f}. {rows}.")
