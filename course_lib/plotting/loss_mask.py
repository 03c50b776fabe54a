"""The tokens of one row in reading order, coloured by what is in the loss.

Tokens that count are bold on a dark ground and padding is a dash, so that the picture
is read in grey too. Left out: several rows.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes

from course_lib.plotting.live import LivePicture, live_canvas, live_label
from course_lib.plotting.sampling import visible
from course_lib.plotting.style import BLUE, GREY, INCH, INK, RED, SHARPNESS, Picture

MONO = ["DejaVu Sans Mono", "DejaVu Sans"]  # the second has more letters
WIDTH = 8.0  # inches, as all lengths here
DOT = 1 / (INCH * SHARPNESS)
LETTER = round(9 * 0.602 / 72 / DOT) * DOT  # of 9 points; drawn on whole dots
LETTERS = int((WIDTH - 0.2) / LETTER)  # in a line
TALL, COST = 0.24, 0.19  # a token, and what it costs
KINDS = {  # what a place may be: its ground, its ink
    "counts": (BLUE, "white"),
    "does not count": ("#e9e9e9", INK),
    "padding": (GREY, INK),
    "padding that counts": (RED, "white"),
}
HEAT = colormaps["YlOrBr"]


class Cell(NamedTuple):
    """A token where it stands."""

    text: str
    kind: str  # of KINDS
    line: int
    at: int  # letters from the left
    room: int  # letters
    cost: float  # nats; nan = not shown


def loss_mask(
    tokens: Sequence[str],
    counts: Sequence[bool],
    real: int,
    costs: Sequence[float] | None = None,
    blind: float = 1.0,
) -> Picture:
    """Tokens and whether each counts; those from number `real` on are padding.

    costs: nats of every token, shown under those that count; padding that counts is
    in their mean. blind: what a guess among all tokens costs; from there on darkest.
    """
    kinds = [kind_of(n < real, kept) for n, kept in enumerate(counts)]
    words = [visible(token, 20) * (n < real) for n, token in enumerate(tokens)]
    cells = wrapped(words, kinds, costs)
    step = TALL + COST * (costs is not None) + 0.08
    key = (cells[-1].line + 1) * step + 0.08  # where it begins, from the top
    figure, axes = live_canvas(WIDTH, key + TALL + 0.5, margins=(0.1, 0.05, 0.1, 0.35))
    axes.set(xlim=(0, WIDTH - 0.2), ylim=(key + TALL + 0.04, -0.06))
    axes.axis("off")
    draw_tokens(axes, cells, step)
    found = [kind for kind in KINDS if kind in kinds]
    named = [f"{kind}: {kinds.count(kind)}" for kind in found]
    draw_tokens(axes, wrapped(named, found), step, key)
    if costs is not None:
        draw_costs(axes, cells, step, blind)
        said = f"nats below, darkest from {blind:.1f}: a blind guess"
        place = WIDTH - 0.2, key + TALL / 2
        axes.text(*place, said, ha="right", va="center", fontsize=8.5, color=INK)
    title = headline(counts, real, costs)
    live_label(axes, title, "", "")
    return LivePicture(figure, f"{title}. {in_words(tokens, counts, real)}")


def kind_of(is_real: bool, is_kept: bool) -> str:
    """One of KINDS.

    >>> kind_of(True, True), kind_of(False, True)
    ('counts', 'padding that counts')
    """
    if is_real:
        return "counts" if is_kept else "does not count"
    return "padding that counts" if is_kept else "padding"


def wrapped(
    words: Sequence[str], kinds: Sequence[str], costs: Sequence[float] | None = None
) -> list[Cell]:
    """Cells side by side, and a new line where one does not fit.

    >>> [cell.at for cell in wrapped(["<bot>", "Hi"], ["does not count", "counts"])]
    [0, 7]
    """
    cells, line, at = [], 0, 0
    for number, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        is_shown = costs is not None and kind == "counts"
        room = max(len(word), 3 * is_shown)
        if at + room + 2 > LETTERS:
            line, at = line + 1, 0
        cost = costs[number] if is_shown else math.nan
        cells.append(Cell(word, kind, line, at, room, cost))
        at += room + 2 if word else 1
    return cells


def draw_tokens(
    axes: Axes, cells: Sequence[Cell], step: float, top: float = 0.0
) -> None:
    """All grounds of a kind at once, then the words; padding is a dash below."""
    for kind, (ground, ink) in KINDS.items():
        some = [cell for cell in cells if cell.kind == kind]
        height = 0.04 if kind == "padding" else TALL
        draw_bars(axes, some, step, top + TALL - height / 2, height, ground)
        weight = "bold" if ink == "white" else "normal"
        draw_words(axes, some, step, top + TALL / 2, color=ink, weight=weight)


def draw_costs(axes: Axes, cells: Sequence[Cell], step: float, blind: float) -> None:
    """A bar with a number under each token that counts, the darker the dearer."""
    some = [cell for cell in cells if not math.isnan(cell.cost)]
    grounds = HEAT([0.6 * min(cell.cost / blind, 1.0) for cell in some])
    draw_bars(axes, some, step, TALL + COST / 2, COST, grounds)
    figures = [cell._replace(text=amount(cell.cost)) for cell in some]
    draw_words(axes, figures, step, TALL + COST / 2, color=INK)


def amount(nats: float) -> str:
    """At most three letters.

    >>> amount(0.26), amount(12.34)
    ('0.3', '12')
    """
    return f"{nats:.1f}" if nats < 9.95 else f"{nats:.0f}"


def draw_bars(
    axes: Axes, cells: Sequence[Cell], step: float, y: float, height: float, color
) -> None:
    """Bars of one height as one object: hlines take the least time."""
    left = [cell.at * LETTER for cell in cells]
    right = [(cell.at + cell.room + (1.6 if cell.room else 0.7)) for cell in cells]
    lines = [cell.line * step + y for cell in cells]
    if cells:
        ends = [letters * LETTER for letters in right]
        axes.hlines(lines, left, ends, colors=color, linewidth=72 * height)


def draw_words(
    axes: Axes, cells: Sequence[Cell], step: float, y: float, **font
) -> None:
    """The words of each cell, in as few objects as possible."""
    said = {"family": MONO, "fontsize": 9, "va": "center", "parse_math": False}
    for line, at, letters in strings(cells):
        place = (at + 0.8) * LETTER, line * step + y
        axes.text(*place, letters, **{**said, **font})


def strings(cells: Sequence[Cell], most: int = 6) -> list[tuple[int, int, str]]:
    """Line, place and letters; neighbours in a line are joined by up to `most` spaces.

    >>> strings(wrapped(["<bot>", "Hi"], ["counts"] * 2))
    [(0, 0, '<bot>  Hi')]
    """
    found: list[tuple[int, int, str]] = []
    for cell in cells:
        at = cell.at + (cell.room - len(cell.text)) // 2
        line, first, letters = found[-1] if found else (-1, 0, "")
        if line == cell.line and at - first - len(letters) <= most:
            found[-1] = line, first, letters.ljust(at - first) + cell.text
        elif cell.text:
            found.append((cell.line, at, cell.text))
    return found


def headline(
    counts: Sequence[bool], real: int, costs: Sequence[float] | None = None
) -> str:
    """How many count, their share and their mean cost, in one line.

    >>> headline([False, True, True, True], real=3, costs=[9.0, 1.0, 2.0, 3.0])
    '2 of 3 tokens (67 %) and 1 of padding count; mean 2.00 nats'
    """
    kept, padding = sum(counts[:real]), sum(counts[real:])
    said = f"{kept} of {real} tokens ({100 * kept / real:.0f} %)"
    said += f" and {padding} of padding count" if padding else " count"
    if not any(counts):
        return f"{said}: their mean loss is nan"
    if costs is None:
        return said
    total = sum(cost for cost, c in zip(costs, counts, strict=True) if c)
    return f"{said}; mean {total / sum(counts):.2f} nats"


def in_words(tokens: Sequence[str], counts: Sequence[bool], real: int) -> str:
    """The row for those who cannot see it: what counts stands in brackets.

    >>> in_words(["<bot>", "A", ".", "<pad>"], [False, True, True, False], real=3)
    'What counts in brackets: <bot> [A.]'
    """
    pairs = zip(tokens[:real], counts[:real], strict=True)
    runs = []
    for kept, run in groupby(pairs, key=lambda pair: pair[1]):
        text = "".join(token for token, _ in run)
        runs.append(f"[{text}]" if kept else text)
    return f"What counts in brackets: {' '.join(runs)}"
