"""Pictures of lesson 02."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.font_manager import findfont, get_font
from torch import Tensor

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

PALE = "#c8c8c8"  # what the model said: light beside BLUE, in grey print too
FAINT = "#6f6f6f"  # what is out; still to be read
SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}  # for what cannot be seen


def next_tokens(
    tokens: Sequence[str],
    plain: Sequence[float],
    now: Sequence[float],
    left: int,
    entropy: float,
    prompt: str,
) -> Picture:
    """The likeliest next tokens: by their scores alone, and as they are drawn now.

    tokens, likeliest first; plain and now, their probabilities before and after all
    filters, where 0 means out. left: how many tokens of the vocabulary may be drawn;
    entropy of drawing one of them, in nats. What is missing to 1 is one bar more.
    prompt: the text before.
    """
    names = [*(visible(token) for token in tokens), "all others"]
    before = [*plain, max(0.0, 1 - sum(plain))]
    after = [*now, max(0.0, 1 - sum(now)) if left > sum(p > 0 for p in now) else 0.0]
    figure, axes = live_canvas(6.6, 3.7, margins=(1.25, 0.5, 0.1, 0.4))
    rows, row_points = range(len(names)), 72 * 2.8 / len(names)
    bars = {"the model alone": (before, PALE, 0.84), "drawn now": (after, BLUE, 0.42)}
    for said, (sizes, colour, share) in bars.items():  # hlines: one object for all
        thick = {"linewidth": share * row_points, "color": colour, "label": said}
        axes.hlines(rows, 0, sizes, **thick)
    for row, name, old, new in zip(rows, names, before, after, strict=True):
        ink = INK if new > 0 else FAINT
        end, size = max(old, new) + 0.01, {"va": "center", "parse_math": False}
        axes.text(-0.01, row, name, ha="right", color=ink, fontsize=9, **size)
        axes.text(end, row, _change(old, new), color=ink, fontsize=8.5, **size)
    axes.set(xlim=(0, 1.15), ylim=(len(names) - 0.5, -0.5), yticks=[])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.legend(frameon=False, fontsize=9, loc="center right")
    title = f"{_tokens(left)} may be drawn: entropy {entropy:.2f} nats"
    ending = visible(prompt[-40:], 40).replace("·", " ")
    live_label(axes, title, f"probability of what follows “{ending}”", "")
    axes.xaxis.label.set_parse_math(False)
    return LivePicture(figure, _words(title, ending, names, before, after))


def visible(token: str, most: int = 14) -> str:
    """A token for a picture: spaces and line ends as signs, strange letters as \\u1234.

    >>> visible(" Ada\\n"), visible("猫")
    ('·Ada⏎', '\\\\u732b')
    """
    known = get_font(findfont("DejaVu Sans"))  # matplotlib remembers both
    shown = "".join(
        SIGNS.get(c, c if known.get_char_index(ord(c)) else ascii(c)[1:-1])
        for c in token
    )
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _change(old: float, new: float) -> str:
    return f"{old:.1%} → {f'{new:.1%}' if new > 0 else 'out'}"


def _words(
    title: str,
    ending: str,
    names: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
) -> str:
    """What the picture shows, for those who cannot see it: its first five bars."""
    rows = list(zip(names, before, after, strict=True))
    said = (f"{name} {_change(old, new)}" for name, old, new in [*rows[:4], rows[-1]])
    out = sum(new == 0 for _, _, new in rows[:-1])
    return (
        f"Bar chart of what follows “{ending}”. {title}. Probability by the model"
        f" alone → now: {'; '.join(said)}."
        f" Of the {len(rows) - 1} likeliest tokens {out} are out."
    )


def costs(texts: Mapping[str, Sequence[float]], over: int = 10) -> Picture:
    """What each token costs in nats, as a mean over the last few, for several texts."""
    figure, (axes,) = canvas(height=3.0)
    said = []
    for (name, values), colour in zip(texts.items(), (BLUE, GREY, ORANGE), strict=True):
        sums = np.cumsum([0.0, *values])
        n = min(over, len(values))
        smooth = (sums[n:] - sums[:-n]) / n
        places = range(n, len(values) + 1)
        axes.plot(places, smooth, color=colour)
        at = (places[-1], smooth[-1])
        axes.annotate(
            name, at, xytext=(6, 0), textcoords="offset points", color=colour,
            fontsize=9, va="center",
        )  # fmt: skip
        said.append(
            f"{name}: {np.mean(values):.1f} on average, at the end {smooth[-1]:.1f}"
        )
    longest = max(len(values) for values in texts.values())
    axes.set(xlim=(0, longest * 1.25), ylim=(0, None))
    title = "People do not write what is likeliest"
    label(axes, title, "token", f"nats per token, mean of {over}")
    return Picture(figure, f"Nats per token. {'; '.join(said)}.")


def heat(
    heats: Sequence[float], right: Sequence[float], different: Sequence[float]
) -> Picture:
    """Right answers and different texts by temperature."""
    figure, (axes,) = canvas(height=2.9)
    curves = {"right answers": (right, BLUE), "different texts": (different, ORANGE)}
    for name, (values, colour) in curves.items():
        axes.plot(heats, values, "o-", color=colour, markersize=4)
        axes.annotate(
            name, (heats[-1], values[-1]), xytext=(6, 0), textcoords="offset points",
            color=colour, fontsize=9, va="center",
        )  # fmt: skip
    axes.set(xlim=(0, heats[-1] * 1.3), ylim=(0, 1.05), xticks=list(heats))
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    label(axes, "Heat buys variety and costs facts", "temperature", "")
    said = "; ".join(
        f"{name} {values[0]:.0%} at {heats[0]}, {values[-1]:.0%} at {heats[-1]}"
        for name, (values, _) in curves.items()
    )
    return Picture(figure, f"By temperature: {said}.")


def tails(
    chances: Mapping[str, Tensor], left: Mapping[str, Mapping[str, int]]
) -> Picture:
    """Probability by rank for several prompts, and where each filter cuts."""
    figure, panels = canvas(columns=len(chances), width=8.0, height=3.3, sharey=True)
    for axes, (text, row) in zip(panels, chances.items(), strict=True):
        falling = row.sort(descending=True).values[:5000].tolist()
        axes.plot(range(1, len(falling) + 1), falling, color=INK)
        for (name, count), colour in zip(
            left[text].items(), (ORANGE, BLUE, GREEN), strict=True
        ):
            said = f"{name}: {count:,} left"
            axes.axvline(count, color=colour, linewidth=1.8, label=said)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(1e-7, 2)
        axes.legend(frameon=False, fontsize=8.5, loc="upper right")
        label(axes, f"“{text} …”", "rank of the token", "")
        axes.title.set_fontsize(10)
    panels[0].set_ylabel("probability")
    said = "; ".join(
        f"after “{text}” "
        + ", ".join(f"{name} keeps {count}" for name, count in counts.items())
        for text, counts in left.items()
    )
    return Picture(figure, f"Probability by rank, with the cut of each filter: {said}.")


def under_penalty(
    penalties: Sequence[float], shares: Mapping[str, Sequence[float]]
) -> Picture:
    """Right answers by repetition penalty, for several tasks."""
    figure, (axes,) = canvas(height=2.9)
    for (name, curve), colour in zip(shares.items(), (ORANGE, BLUE), strict=True):
        axes.plot(penalties, curve, "o-", color=colour, markersize=4, label=name)
    axes.set_ylim(0, 1.05)
    axes.set_xticks(list(penalties))
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    title = "A penalty on repetition forbids copying"
    label(axes, title, "repetition penalty", "right answers")
    said = "; ".join(
        f"{name} {c[0]:.0%} at {penalties[0]}, {c[-1]:.0%} at {penalties[-1]}"
        for name, c in shares.items()
    )
    return Picture(figure, f"Right answers by penalty: {said}.")


def beam_lengths(
    beams: Sequence[int], lengths: Mapping[float, Sequence[float]]
) -> Picture:
    """Mean length of the best text found, by number of beams, per length penalty."""
    figure, (axes,) = canvas(height=2.8)
    names = {0.0: "sum of log-probabilities", 1.0: "mean per token"}
    for (alpha, means), colour in zip(lengths.items(), (RED, BLUE), strict=True):
        axes.plot(beams, means, "o-", color=colour, markersize=4)
        axes.annotate(
            names[alpha], (beams[-1], means[-1]), xytext=(6, 0),
            textcoords="offset points", color=colour, fontsize=9, va="center",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(beams), [str(b) for b in beams])
    axes.set(xlim=(0.9, beams[-1] * 2.2), ylim=(0, None))
    title = "A better search for the likeliest text says less"
    label(axes, title, "beams", "tokens of the best text")
    said = "; ".join(
        f"by {names[alpha]} {means[0]:.0f} tokens with {beams[0]} beam,"
        f" {means[-1]:.0f} with {beams[-1]}"
        for alpha, means in lengths.items()
    )
    return Picture(figure, f"Length of the best text found: {said}.")


def compared(p: Tensor, q: Tensor, drawn: Mapping[str, Tensor]) -> Picture:
    """Target and draft beside what came out of each rule."""
    rows = {"draft q": q, **drawn}
    colours = ("#dddddd", BLUE, RED)
    figure, (axes,) = canvas(height=2.9)
    places, width = np.arange(len(p)), 0.8 / len(rows)
    for i, ((name, row), colour) in enumerate(zip(rows.items(), colours, strict=True)):
        at = places + (i - (len(rows) - 1) / 2) * width
        axes.bar(at, row.tolist(), width * 0.92, color=colour, label=name)
    for place, value in zip(places, p.tolist(), strict=True):
        line = axes.plot([place - 0.42, place + 0.42], [value] * 2, color=INK)[0]
    line.set_label("target p")
    axes.set_xticks(places, [f"token {i + 1}" for i in places])
    axes.legend(frameon=False, fontsize=9)
    label(axes, "Only what is missing may replace a guess", "", "share of draws")
    said = "; ".join(
        f"{name} {', '.join(f'{x:.2f}' for x in row.tolist())}"
        for name, row in {"target p": p, **rows}.items()
    )
    return Picture(figure, f"Shares of three tokens: {said}.")
