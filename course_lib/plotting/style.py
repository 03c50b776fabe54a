"""One look for every figure: labelled axes, a title that states the finding, colours for all eyes.

Figures are wrapped in a Picture, which carries the alt text that a saved notebook shows to those who
cannot see it.
"""

import base64
import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with any colour vision, and ordered by lightness for grey print
INK, BLUE, ORANGE, GREEN, RED, GREY = "#222222", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
COLOURS = (BLUE, ORANGE, GREEN, RED)
SETTINGS = {
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "font.family": "DejaVu Sans",
    "grid.color": "#e8e8e8",
    "lines.linewidth": 2,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


class Picture:
    """A finished figure and, in words, what it shows. The last line of a cell displays it."""

    def __init__(self, figure: Figure, alt: str):
        self.alt = alt
        self.png = _png(figure)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def canvas(columns: int = 1, width: float = 7.0, height: float = 3.2, **options) -> tuple[Figure, list[Axes]]:
    """A figure in the course's style, with its axes in a row; nothing global is touched."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False, **options)[0]
    return figure, list(axes)


def label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
