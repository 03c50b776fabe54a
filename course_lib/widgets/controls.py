"""Controls that redraw a picture. Where no live widget can be shown, the starting picture stands still."""

from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import display

from course_lib.plotting.style import Picture


def slider(start: float, low: float, high: float, step: float, label: str) -> widgets.FloatSlider:
    """A slider with its name in full beside it."""
    style = {"description_width": "initial"}
    layout = widgets.Layout(width="26em")
    return widgets.FloatSlider(
        start, min=low, max=high, step=step, description=label, style=style, layout=layout
    )


def explore(draw: Callable[..., Picture], **controls: widgets.Widget) -> None:
    """Show draw(name=value, …) under one control per name, redrawn whenever a control moves."""

    def picture() -> Picture:
        return draw(**{name: control.value for name, control in controls.items()})

    still = picture()
    image = widgets.Image(value=still.png, format="png")
    image.layout.max_width = "100%"

    def redraw(_: dict) -> None:
        image.value = picture().png

    for control in controls.values():
        control.observe(redraw, names="value")
    show_live(widgets.VBox([*controls.values(), image]), *still._repr_mimebundle_())


def show_live(box: widgets.Widget, data: dict, metadata: dict) -> None:
    """Display a widget together with what stands in for it in a saved notebook."""
    bundle = box._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    display({**bundle, **data}, metadata=metadata, raw=True)
