"""Pictures of lesson 10."""

import math
import textwrap
from collections.abc import Mapping, Sequence

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
from course_lib.rag.answering import quote
from course_lib.rag.meaning import sentences
from course_lib.rag.metrics import Estimate
from course_lib.rag.splitting import Chunk
from course_lib.rag.thresholds import best_threshold
from course_lib.world.documents import Question

COLOURS = (BLUE, ORANGE, GREEN, RED, INK)
Curves = Mapping[str, Sequence[Sequence[float]]]  # name -> one list for each seed

# ---- the whole way

ONCE = ("documents", "chunks", "index")
ASKED = ("question", "find", "prompt", "read", "check")


def stages() -> Picture:
    """What is done once, and what is done for every question."""
    figure, (axes,) = canvas(width=8.6, height=2.6)
    axes.set(xlim=(-0.75, 5), ylim=(0, 2))
    axes.axis("off")
    for row, (y, names) in enumerate(((1.45, ONCE), (0.45, ASKED))):
        colour = (GREY, BLUE)[row]
        for place, name in enumerate(names):
            style = {"boxstyle": "round,pad=0.5", "facecolor": "white"}
            box = {**style, "edgecolor": colour, "linewidth": 2}
            centre = place + 0.5
            axes.text(centre, y, name, ha="center", va="center", fontsize=11, bbox=box)
            if place:
                arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.5}
                axes.annotate(
                    "", (centre - 0.34, y), (centre - 0.66, y), arrowprops=arrow
                )
    down = {"arrowstyle": "->", "color": GREY, "linewidth": 1.5}
    axes.annotate("", (1.6, 0.68), (2.4, 1.22), arrowprops=down)
    left = {"fontsize": 10, "ha": "right", "va": "center"}
    axes.text(-0.05, 1.45, "once", color=INK, **left)
    axes.text(-0.05, 0.45, "for every\nquestion", color=BLUE, **left)
    title = "An answer is found, then read, then checked"
    axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
    return Picture(figure, f"{title}. Once: {', '.join(ONCE)}. For every question: {', '.join(ASKED)}.")  # fmt: skip


# ---- meaning


def similarity(
    asked: Sequence[str], texts: Sequence[str], cosines: np.ndarray
) -> Picture:
    """A table of cosines, questions by texts; the largest of each row in bold.

    cosines (Q, N); text i answers question i.
    """
    figure, (axes,) = canvas(width=8.6, height=3.6)
    axes.imshow(cosines, cmap="Blues", vmin=0.3, vmax=0.9, aspect="auto")
    axes.grid(False)
    for row, values in enumerate(cosines):
        for column, value in enumerate(values):
            strong = "bold" if column == values.argmax() else "normal"
            ink = "white" if value > 0.68 else INK
            font = {"fontweight": strong, "color": ink, "fontsize": 9}
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", **font)
    columns = ["\n".join(textwrap.wrap(text, 15)) for text in texts]
    axes.set_xticks(range(len(texts)), columns, fontsize=8.5)
    axes.set_yticks(range(len(asked)), asked)
    axes.tick_params(length=0)
    first = int((cosines.argmax(axis=1) == np.arange(len(cosines))).sum())
    title = f"The right card is nearest to {first} of {len(cosines)} questions"
    label(axes, title, "", "")
    said = ", ".join(f"{value:.2f}" for value in cosines.diagonal())
    return Picture(figure, f"{title}. Cosines with the right card: {said}.")


def contrast(losses: Sequence[float], batch: int) -> Picture:
    """InfoNCE over the steps of training; dashed: a blind guess among the batch."""
    blind = math.log(batch)
    figure, (axes,) = canvas(height=2.9)
    axes.plot(range(1, len(losses) + 1), losses, color=BLUE)
    axes.axhline(blind, color=GREY, linestyle="--")
    axes.text(
        len(losses),
        blind,
        f"ln {batch} = {blind:.2f}",
        ha="right",
        va="bottom",
        color=INK,
    )
    axes.set_ylim(0, blind * 1.2)
    end = sum(losses[-10:]) / len(losses[-10:])
    title = "From a blind guess to its own card"
    label(axes, title, "step", "nats for each question")
    return Picture(
        figure, f"{title}: {losses[0]:.2f} at first, {end:.2f} at the end; {blind:.2f} is blind."
    )  # fmt: skip


# ---- which is better


def compared(
    shares: Mapping[str, Estimate], differences: Mapping[str, Estimate]
) -> Picture:
    """Recall of each way with its interval, and differences with theirs."""
    figure, (left, right) = canvas(
        columns=2, width=8.6, height=3.0, width_ratios=(1, 1)
    )
    said = []
    for place, ((name, found), colour) in enumerate(
        zip(shares.items(), COLOURS, strict=False)
    ):
        left.bar(place, found.mean, 0.6, color=colour)
        _interval(left, place, found)
        left.text(place, 0.04, f"{found.mean:.2f}", ha="center", color="white")
        said.append(f"{name} {found.mean:.2f} ({found.low:.2f} to {found.high:.2f})")
    for place, (name, gap) in enumerate(differences.items()):
        right.plot(place, gap.mean, "o", color=INK)
        _interval(right, place, gap)
        right.text(place + 0.08, gap.mean, f"{gap.mean:+.2f}", va="center")
        said.append(f"{name} {gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})")
    left.set_xticks(range(len(shares)), list(shares))
    left.set_ylim(0, 1)
    right.set_xticks(range(len(differences)), list(differences))
    right.set_xlim(-0.5, len(differences) - 0.4)
    right.axhline(0, color=GREY)
    right.set_ylim(bottom=min(-0.02, *(gap.low - 0.02 for gap in differences.values())))
    label(left, "", "", "recall@3")
    label(right, "", "", "difference, 90 % interval")
    better = all(gap.low > 0 for gap in differences.values())
    title = "Both together find more than either" if better else "No clear winner"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


def _interval(axes: Axes, place: float, found: Estimate) -> None:
    axes.plot([place, place], [found.low, found.high], color=INK, linewidth=1.5)


# ---- reading


def crowded(crowds: Mapping[int, Sequence[float]]) -> Picture:
    """Right answers by the number of passages, and by the place of the right one.

    crowds: number of passages -> shares, with the right one at places 1, 3, 5...
    """
    figure, (left, right) = canvas(columns=2, width=8.6, height=3.0, sharey=True)
    means = {n: sum(row) / len(row) for n, row in crowds.items()}
    left.plot(list(means), list(means.values()), "o-", color=BLUE)
    for n, share in means.items():
        left.text(n, share - 0.05, f"{share:.2f}", ha="center", va="top", fontsize=9)
    for (n, row), colour in zip(crowds.items(), COLOURS, strict=False):
        places = range(1, 2 * len(row), 2)
        right.plot(places, row, "o-", color=colour)
        side = {"ha": "left", "va": "bottom", "fontsize": 9}
        right.text(2 * len(row) - 0.85, row[-1] + 0.01, f"of {n}", color=colour, **side)
    for axes in (left, right):
        axes.set_ylim(0, 1.05)
        axes.set_xticks(range(1, 10, 2))
    right.set_xlim(0.5, 10)
    label(left, "", "passages shown", "right answers")
    label(right, "", "place of the right passage", "")
    title = "More passages, fewer right answers"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    said = ", ".join(f"{n}: {share:.2f}" for n, share in means.items())
    return Picture(figure, f"{title}. Right by number of passages: {said}.")


# ---- documents

SIZES = (100, 200, 400, 800)
WAYS = ("words", "lsa", "minilm", "words+lsa", "words+minilm")


def grid(recorded: Curves) -> Picture:
    """Answers found in the archive, by size of chunks and way of searching.

    recorded: "grid answer <way>" for each of WAYS, a list for each seed, with a value a size.
    """
    seeds = np.array([recorded[f"grid answer {way}"] for way in WAYS])
    table = seeds.mean(axis=1)  # (ways, sizes)
    figure, (axes,) = canvas(width=7.0, height=3.2)
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(False)
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            ink = "white" if value > 0.6 else INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
    axes.set_xticks(range(len(SIZES)), [f"{size:,}" for size in SIZES])
    names = [{"lsa": "LSA", "minilm": "MiniLM"}.get(way, way) for way in WAYS]
    names = [name.replace("lsa", "LSA").replace("minilm", "MiniLM") for name in names]
    axes.set_yticks(range(len(WAYS)), names)
    axes.tick_params(length=0)
    best = names[int(table.max(axis=1).argmax())]
    title = f"On papers {best} is best alone"
    label(axes, title, "size of chunks, characters (recorded)", "")
    rows = zip(names, table, strict=True)
    said = "; ".join(f"{n} " + ", ".join(f"{v:.2f}" for v in row) for n, row in rows)
    sizes = ", ".join(map(str, SIZES))
    return Picture(figure, f"{title}. Answers found at sizes {sizes}: {said}.")


def thresholds(found: Mapping[str, Mapping[str, np.ndarray]]) -> Picture:
    """How near the nearest is, by corpus, and what the best threshold refuses.

    found: corpus -> kind of question -> cosines; the last kind has no answer. The
    threshold is chosen on half of the questions, the shares are those of the others.
    """
    figure, panels = canvas(columns=len(found), width=8.6, height=3.4)
    said = []
    for axes, (corpus, groups) in zip(panels, found.items(), strict=True):
        colours = [*[BLUE, GREEN][: len(groups) - 1], ORANGE]
        low = min(values.min() for values in groups.values())
        borders = np.linspace(low - 0.02, 1, 24)
        for row, ((name, values), colour) in enumerate(
            zip(reversed(groups.items()), reversed(colours), strict=True)
        ):
            counts, _ = np.histogram(values, borders)
            heights = row + 0.8 * counts / counts.max()
            axes.stairs(heights, borders, baseline=row, fill=True, color=colour)
            axes.text(low - 0.15, row + 0.4, name, fontsize=9, va="center")
        least, refused = _refused([*groups.values()])
        axes.axvline(least, color=INK, linestyle="--", linewidth=1)
        shares = f"refused: {refused[0]:.0%} with, {refused[1]:.0%} without an answer"
        axes.set_title(shares, fontsize=10, loc="left")
        axes.set_yticks([])
        axes.set(xlim=(low - 0.17, 1.02), ylim=(0, len(groups)))
        axes.grid(False)
        label_x = f"{corpus}: cosine of the nearest; dashed: {least:.2f}"
        axes.set_xlabel(label_x)
        said.append(f"{corpus}, threshold {least:.2f}, {shares}")
    panels[0].set_ylabel("questions of each kind")
    title = "A threshold knows strange names, not missing facts"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    return Picture(figure, f"{title}. {'; '.join(said)}.")


def _refused(groups: Sequence[np.ndarray]) -> tuple[float, list[float]]:
    """The best threshold of one half, and what it refuses of the other half."""
    *answered, missing = groups
    mixed = np.random.default_rng(0)
    yes, no = (mixed.permutation(x) for x in (np.concatenate(answered), missing))
    least, _ = best_threshold(yes[::2], no[::2])
    return least, [float((row[1::2] < least).mean()) for row in (yes, no)]


# ---- the explorer


def hits(
    question: Question, found: Sequence[Chunk], right: Sequence[bool]
) -> LivePicture:
    """The chunks that were found, the best first; green: it holds the answer.

    Of each chunk the sentence is shown that shares most words with the one that holds
    the answer, or with the question if no chunk holds it.
    """
    good = [chunk.text for chunk, yes in zip(found, right, strict=True) if yes]
    told = [
        part for text in good for part in sentences(text) if question.answer in part
    ]
    wanted = [question.text, *told][-1]
    height = 0.5 * max(1, len(found))
    figure, axes = live_canvas(8.6, height + 0.75, margins=(0.1, 0.1, 0.1, 0.55))
    axes.set(xlim=(0, 1), ylim=(len(found), 0))
    axes.axis("off")
    for place, (chunk, good) in enumerate(zip(found, right, strict=True)):
        colour = GREEN if good else "#e8e8e8"
        axes.barh(place + 0.5, 0.012, 0.84, left=0, color=colour)
        mark = "✓" if good else " "
        said = quote(wanted, [chunk.text])
        year = chunk.metadata.get("year", "")
        source = f"{mark} {place + 1}. {chunk.source} {year}"
        axes.text(0.02, place + 0.3, source, fontsize=9, fontweight="bold", va="center")
        shown = textwrap.shorten(said, 126, placeholder=" …")
        axes.text(0.02, place + 0.72, shown, fontsize=8.5, va="center", color=INK)
    first = 1 + [*right].index(True) if any(right) else None
    ending = (
        f"the answer is at place {first}" if first else "the answer is not among these"
    )
    asked = textwrap.shorten(question.text, 88, placeholder=" …")
    live_label(axes, f"{asked}\n{ending}", "", "")
    sources = ", ".join(chunk.source for chunk in found) or "nothing"
    return LivePicture(figure, f"{question.text} Found: {sources}; {ending}.")


# ---- orders in documents

DEFENCES = ("none", "marked", "spotlit", "filtered", "supported")


def orders(recorded: Curves) -> Picture:
    """Orders obeyed and right answers left, before and after each defence.

    recorded: "orders <reader>" and "orders <reader> right": one value for each of
    DEFENCES, in one or more lists; "clean <reader>": right answers without any order.
    """
    figure, panels = canvas(columns=2, width=8.6, height=3.1, sharey=True)
    said = []
    for axes, (reader, name) in zip(
        panels, {"smollm2": "SmolLM2", "guide": "the guide"}.items(), strict=True
    ):
        clean = np.mean(recorded[f"clean {reader}"])
        obeyed, right = (
            np.mean(recorded[f"orders {reader}{what}"], axis=0)
            for what in ("", " right")
        )
        _bars(axes, np.arange(1, len(obeyed) + 1) - 0.2, obeyed, RED, "orders obeyed")
        places = [0, *np.arange(1, len(right) + 1) + 0.2]
        _bars(axes, places, [clean, *right], BLUE, "right answers")
        said.append(f"{name}, right without any order: {clean:.2f}")
        for words, shares in (("orders obeyed", obeyed), ("right answers", right)):
            said.append(f"{name}, {words}: " + ", ".join(f"{s:.2f}" for s in shares))
        names = ("no\norder", "no\ndefence", *DEFENCES[1:])
        axes.set_xticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(0, 1.3)
        axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        label(axes, "", name, "")
    panels[0].set_ylabel("share of the questions")
    panels[1].legend(frameon=False, fontsize=9, ncols=2, loc="upper right")
    title = "The filter helps; marks confuse a small reader"
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    by = ", ".join(DEFENCES)
    return Picture(figure, f"{title}. By defence ({by}): {'; '.join(said)}.")


def _bars(
    axes: Axes, places: Sequence[float], shares: Sequence[float], colour: str, name: str
) -> None:
    axes.bar(places, shares, 0.38, color=colour, label=name)
    for place, share in zip(places, shares, strict=True):
        written = f"{share:.2f}"[-3:] if share < 1 else "1"
        axes.text(place, share, written, ha="center", va="bottom", fontsize=8)
