"""Controls that redraw a picture. Where no live widget can be shown, the starting picture stands still."""

from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import display

from course_lib.plotting.style import Picture


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


def explore(draw: Callable[..., Picture], **controls: widgets.Widget) -> None:
    """Show draw(name=value, …) under one control per name, redrawn whenever a control moves."""

    def picture() -> Picture:
        return draw(**{name: control.value for name, control in controls.items()})

    still = picture()
    shown = widgets.HTML(
        still.html()
    )  # widgets.Image has no alt text, and stretches over the page

    def redraw(_: dict) -> None:
        shown.value = picture().html()

    for control in controls.values():
        control.observe(redraw, names="value")
    show_live(widgets.VBox([*controls.values(), shown]), *still._repr_mimebundle_())


def show_live(box: widgets.Widget, data: dict, metadata: dict) -> None:
    """Display a widget together with what stands in for it in a saved notebook."""
    bundle = box._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    display({**bundle, **data}, metadata=metadata, raw=True)
