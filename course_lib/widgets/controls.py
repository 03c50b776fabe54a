"""Controls that redraw a picture. Where no live widget can be shown, the starting picture stands still."""

import html
from collections.abc import Callable, Sequence

import ipywidgets as widgets
from IPython.display import display

from course_lib.plotting.style import ORANGE, Picture


def slider(
    start: float, low: float, high: float, step: float, label: str
) -> widgets.FloatSlider:
    """A slider with its name in full beside it."""
    decimals = len(f"{step:f}".rstrip("0").partition(".")[2])
    return widgets.FloatSlider(
        start,
        min=low,
        max=high,
        step=step,
        description=label,
        readout_format=f".{decimals}f",
        style={"description_width": "initial"},
        layout=widgets.Layout(width="32em", max_width="100%"),
    )


def choice(options: Sequence[str], label: str) -> widgets.Dropdown:
    """A list to choose from; it begins with the first option."""
    return widgets.Dropdown(
        options=list(options),
        description=label,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="auto", max_width="32em"),
    )


def line(start: str, label: str) -> widgets.Text:
    """A line of text to write in; what was written counts after Enter."""
    return widgets.Text(
        start,
        description=label,
        continuous_update=False,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="auto"),
    )


def number(start: float, label: str) -> widgets.IntText | widgets.FloatText:
    """A number to write; it counts after Enter. Nothing is refused here."""
    kind = widgets.IntText if isinstance(start, int) else widgets.FloatText
    return kind(start, description=label, continuous_update=False)


def powers(start: float, low: int, high: int, label: str) -> widgets.FloatLogSlider:
    """A slider over powers of ten, from 10 ** low to 10 ** high, in steps of 12 %."""
    return widgets.FloatLogSlider(
        start, min=low, max=high, step=0.05, description=label, readout_format=".3s"
    )


def columns(
    *controls: widgets.Widget, names: str = "12.5em", least: str = "26em"
) -> widgets.GridBox:
    """Controls side by side, no narrower than `least`; names: room for these."""
    for control in controls:
        control.layout.width = "auto"
        control.style.description_width = names
    repeat = f"repeat(auto-fit, minmax(min({least}, 100%), 1fr))"
    layout = {"grid_template_columns": repeat, "grid_gap": "0 1.5em"}
    return widgets.GridBox(controls, layout={**layout, "max_width": "66em"})


class Sentence:
    """Words in the place of a picture that cannot be drawn."""

    def __init__(self, words: str):
        self.words = words

    def html(self) -> str:
        """With a bar beside it; a screen reader says it at once."""
        bar = f"border-left: 4px solid {ORANGE}; padding-left: 0.6em"
        return f'<p role="alert" style="{bar}">{html.escape(self.words)}</p>'

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        return {"text/html": self.html(), "text/plain": self.words}, {}


def attempt(draw: Callable[[], Picture]) -> Picture | Sentence:
    """The picture, or what a ValueError says about why there is none."""
    try:
        return draw()
    except ValueError as error:
        return Sentence(str(error))


def explore(draw: Callable[..., Picture], **controls: widgets.Widget) -> None:
    """Show draw(name=value, …) under one control per name, redrawn whenever a control moves."""

    def picture() -> Picture:
        return draw(**{name: control.value for name, control in controls.items()})

    still = picture()
    shown = widgets.HTML(
        still.html()
    )  # widgets.Image has no alt text, and stretches over the page

    def redraw(_: dict) -> None:
        shown.value = attempt(picture).html()

    for control in controls.values():
        control.observe(redraw, names="value")
    show_live(widgets.VBox([*controls.values(), shown]), *still._repr_mimebundle_())


def show_live(box: widgets.Widget, data: dict, metadata: dict) -> None:
    """Display a widget together with what stands in for it in a saved notebook."""
    bundle = box._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    display({**bundle, **data}, metadata=metadata, raw=True)
