"""Pictures that are drawn anew while a control moves, in a third of the time.

Notable: most of the time goes into text and into what a saved file needs. So margins
are given instead of found, and the palette is the first that fits, not the best. The
file is a few kilobytes larger than a Picture's. Left out: several axes.
"""

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from course_lib.plotting.style import INCH, SETTINGS, SHARPNESS, Picture

Margins = tuple[float, float, float, float]  # left, bottom, right, top, in inches


class LivePicture(Picture):
    """A Picture for a control: the same look and words, made in a third of the time."""

    def __init__(self, figure: Figure, alt: str):
        self.alt = alt
        self.png = _png(figure)
        size = figure.get_size_inches()
        self.width, self.height = (round(inches * INCH) for inches in size)


def live_canvas(width: float, height: float, margins: Margins) -> tuple[Figure, Axes]:
    """A figure in the course's style with one pair of axes inside these margins."""
    left, bottom, right, top = margins
    inside = width - left - right, height - bottom - top
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), dpi=INCH * SHARPNESS)
        place = left / width, bottom / height, inside[0] / width, inside[1] / height
        return figure, figure.add_axes(place)


def live_label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and labels; a title whose height is given need not avoid anything."""
    font = {"fontsize": 12, "fontweight": "bold", "loc": "left"}
    axes.set_title(title, y=1.02, pad=0, **font)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _png(figure: Figure) -> bytes:
    """Drawn once; 256 colours, and packed quickly."""
    canvas, file = FigureCanvasAgg(figure), io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        canvas.draw()
    width, height = canvas.get_width_height()
    whole = Image.frombuffer("RGBA", (width, height), canvas.buffer_rgba())
    few = whole.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE)
    few.save(file, "PNG", compress_level=6)
    return file.getvalue()
