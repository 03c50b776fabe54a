"""One look for every figure: labelled axes, a title that states the finding, colours for all eyes.

Figures are wrapped in a Picture, which says in words what they show to those who
cannot see them.
"""

import base64
import html
import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image  # matplotlib needs it too

# Okabe and Ito's palette: distinguishable with any colour vision, and ordered by lightness for grey print
INK, BLUE, ORANGE, GREEN, RED, GREY = (
    "#222222",
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#999999",
)
INCH = 100  # pixels of the page
SHARPNESS = 1.5  # pixels of the picture for each of them: fine on a dense screen, small in a notebook
SETTINGS = {
    "axes.axisbelow": True,  # grid lines stay behind bars
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "figure.constrained_layout.h_pad": 0.1,  # inches; a title needs air above it
    "font.family": "DejaVu Sans",
    "grid.color": "#e8e8e8",
    "lines.linewidth": 2,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


class Picture:
    """A finished figure and, in words, what it shows. The last line of a cell displays it.

    JupyterLab 4.6 and nbconvert give image/png no alt text, whatever its metadata
    say, but both prefer text/html: so the picture is there twice, once with its
    words. tools/build.py reads the metadata.
    """

    def __init__(self, figure: Figure, alt: str):
        self.alt = alt
        self.png = _png(figure)
        self.width, self.height = (
            round(inches * INCH) for inches in figure.get_size_inches()
        )

    def html(self) -> str:
        size = f'width="{self.width}" height="{self.height}" style="max-width: 100%; height: auto"'
        return f'<img alt="{html.escape(self.alt)}" {size} src="data:image/png;base64,{self._base64()}">'

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        data = {
            "text/html": self.html(),
            "image/png": self._base64(),
            "text/plain": self.alt,
        }
        return data, {
            "image/png": {"alt": self.alt, "width": self.width, "height": self.height}
        }

    def _base64(self) -> str:
        return base64.b64encode(self.png).decode()


def canvas(
    columns: int = 1, width: float = 7.0, height: float = 3.2, **options
) -> tuple[Figure, list[Axes]]:
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
    """The figure as a PNG with a palette, a third of the size of one with full colours."""
    full, small = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(full, format="png", dpi=INCH * SHARPNESS)
    image = Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(small, "PNG", optimize=True)
    return small.getvalue()
