"""A calculator for trainings: begin with a published model, change anything, read what it takes.

All figures are those of scaling/calculator.py. What a paper or a model's card says
stands beside them, with its source. Left out: the laws' other constants as a choice,
activations, and the later stages of a training.
"""

import html
from collections.abc import Sequence
from dataclasses import replace

import ipywidgets as widgets

from course_lib.plotting import scaling as plots
from course_lib.plotting.scaling import amount as magnitude
from course_lib.plotting.scaling import power_of_ten as scientific
from course_lib.plotting.style import Picture
from course_lib.plotting.tables import Table
from course_lib.scaling.calculator import Plan, plan
from course_lib.scaling.cost import DAY, GPUS, HOUR, utilisation
from course_lib.scaling.flops import train_flops
from course_lib.scaling.laws import chinchilla_loss
from course_lib.scaling.published import PUBLISHED, Published
from course_lib.transformer import Config
from course_lib.widgets import controls

SHAPE = ("layers", "width", "heads", "kv_heads", "hidden", "vocabulary")  # of a Config


class Sheet:
    """A table, what stands under it, and a picture: shown together."""

    def __init__(self, table: Table, notes: Sequence[str], picture: Picture):
        self.table, self.notes, self.picture = table, list(notes), picture

    def html(self) -> str:
        notes = "<br>".join(html.escape(note) for note in self.notes)
        small = f'<p style="font-size: 0.85em">{notes}</p>'
        words = self.table._repr_html_() + small
        return f'<div style="line-height: 1.35">{words}</div>{self.picture.html()}'

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:
        data, metadata = self.picture._repr_mimebundle_()
        plain = "\n".join([repr(self.table), *self.notes, self.picture.alt])
        return {**data, "text/html": self.html(), "text/plain": plain}, metadata


# ---- from a plan to words


def rows(found: Plan, gpu: str, gpus: int, length: int) -> dict[str, str]:
    """What is computed, in words."""
    one = f", {magnitude(found.active)} for one token"
    beyond = f"counted in full {found.full_compute / found.compute - 1:+.0%}"
    ratios = f"{_round(found.ratio)}; the best has {_round(found.best_ratio)}"
    days = f"{_round(found.gpu_days)} GPU-days; {_days(found.days)}"
    watt_hours, served = 1e3 * found.kwh, found.inference_bytes
    return {
        "parameters": magnitude(found.parameters)
        + one * (found.active < found.parameters),
        "tokens": magnitude(found.tokens),
        "tokens per parameter": ratios,
        "operations, 6 N D": f"{scientific(found.compute)}; {beyond}",
        "loss": _losses(found),
        "best for this budget": _best(found),
        "time": f"{days} on {gpus:,} {gpu}",
        "rent": f"{_round(found.cost)} dollars",
        "energy": with_prefix(watt_hours, "Wh"),
        "CO₂": f"{_round(found.tonnes)} tonnes",
        "memory for training": _training(found, gpu),
        "memory for serving": f"{with_prefix(served, 'B')} with {length:,} tokens",
    }


def _losses(found: Plan) -> str:
    return (
        f"{found.loss:.3f} nats; by the paper's constants {found.printed_loss:.3f},"
        f" by Kaplan's law {found.kaplan_loss:.3f}"
    )


def _best(found: Plan) -> str:
    read = f"{magnitude(found.best_parameters)} reading {magnitude(found.best_tokens)}"
    return f"{read}: {found.loss - found.best_loss:.3f} nats less"


def _training(found: Plan, gpu: str) -> str:
    least = f"at least {found.gpus_at_least:,} {gpu}"
    return f"{with_prefix(found.training_bytes, 'B')} before activations: {least}"


def _days(days: float) -> str:
    return f"{_round(days)} days" if days >= 1 else f"{_round(days * 24)} hours"


def _round(x: float) -> str:
    """Three digits that count.

    >>> _round(179_979.4), _round(1868), _round(1.7184)
    ('180,000', '1,870', '1.72')
    """
    rounded = float(f"{x:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def with_prefix(amount: float, unit: str) -> str:
    """An amount with its prefix.

    >>> with_prefix(14.5e9, "B"), with_prefix(39_600_000, "Wh")
    ('14.5 GB', '39.6 MWh')
    """
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= size:
            return f"{_round(amount / size)} {prefix}{unit}"
    return f"{_round(amount)} {unit}"


def printed(model: Published) -> dict[str, str]:
    """What was published, under the names of `rows`.

    >>> printed(PUBLISHED["GPT-3"])
    {'parameters': '174.6B', 'tokens': '300 billion'}
    """
    said = {"parameters": model.printed}
    if model.printed_active:
        said["parameters"] += f", {model.printed_active} for one token"
    if model.tokens is not None:
        said["tokens"] = magnitude(model.tokens)
    if model.hours is not None:
        compute = train_flops(model.count(active=True), model.tokens)
        share = utilisation(compute, model.hours, GPUS[model.gpu].peak)
        days = f"{model.hours * HOUR / DAY:,.0f} GPU-days on {model.gpu}"
        said["time"] = f"{days}: MFU at least {share:.0%}"
    return said


def sources(name: str, model: Published) -> list[str]:
    """Who says so."""
    said = [f"{name}: {model.source}."]
    if model.hours_source:
        said.append(f"GPU time of {name}: {model.hours_source}.")
    return said


def sheet(found: Plan, name: str, gpu: str, gpus: int, length: int) -> Sheet:
    """The whole page: computed beside published, and the picture."""
    model = PUBLISHED[name]
    said = printed(model)
    words = rows(found, gpu, gpus, length)
    lines = [(what, words[what], said.get(what, "")) for what in words]
    table = Table(["", "computed", f"{name} as published"], lines)
    picture = plots.calculator(
        (found.active, found.loss),
        (found.best_parameters, found.best_loss),
        found.compute,
        lambda N: chinchilla_loss(N, found.compute / (6 * N)),
    )
    return Sheet(table, sources(name, model), picture)


# ---- the panel


class Calculator:
    """The controls, and the page that follows them."""

    def __init__(self, start: str):
        self.preset = controls.choice([*PUBLISHED], "begin with")
        self.preset.value = start
        self.tokens = controls.powers(1e12, 8, 14, "tokens to train on")
        self.gpu = controls.choice([*GPUS], "GPU")
        self.mfu = controls.slider(0.4, 0.05, 1, 0.05, "share of its peak (MFU)")
        self.shape = {name: controls.number(0, name) for name in SHAPE}
        self.length = controls.number(2048, "length of a text")
        self.gpus = controls.number(1024, "gpus")
        self.per_hour = controls.number(2.0, "per_hour (dollars)")
        self.page, self.is_loading = widgets.HTML(), False
        self.load()
        self.preset.observe(lambda _: self.load(), names="value")
        for control in self.changeable():
            control.observe(lambda _: self.redraw(), names="value")

    def changeable(self) -> list[widgets.Widget]:
        """All controls but the preset."""
        named = [self.tokens, self.mfu, self.gpu, *self.shape.values()]
        return [*named, self.length, self.gpus, self.per_hour]

    def load(self) -> None:
        """Set the controls as the published model has it, then draw once."""
        model, self.is_loading = PUBLISHED[self.preset.value], True
        for name, control in self.shape.items():
            control.value = getattr(model.config, name)
        self.length.value = model.length or model.config.context
        self.tokens.value = model.tokens or self.tokens.value
        self.gpu.value = model.gpu or "A100"  # where nothing is known of it
        self.is_loading = False
        self.redraw()

    def config(self) -> Config:
        fields = {name: control.value for name, control in self.shape.items()}
        return replace(PUBLISHED[self.preset.value].config, **fields)

    def plan(self) -> Plan:
        """The plan of this moment; ValueError says what is wrong with it."""
        name, config = self.preset.value, self.config()
        model = PUBLISHED[name]
        parts = {"experts": model.experts, "latent": model.latent}
        shape = (name, {}) if config == model.config else (config, parts)
        return plan(
            shape[0],
            tokens=self.tokens.value,
            length=self.length.value,
            context=self.length.value,
            gpu=self.gpu.value,
            mfu=self.mfu.value,
            gpus=self.gpus.value,
            per_hour=self.per_hour.value,
            **shape[1],
        )

    def sheet(self) -> Sheet:
        said = self.preset, self.gpu, self.gpus, self.length
        return sheet(self.plan(), *(control.value for control in said))

    def redraw(self) -> Sheet | controls.Sentence | None:
        if self.is_loading:  # else a preset would be drawn ten times
            return None
        drawn = controls.attempt(self.sheet)
        self.page.value = drawn.html()
        return drawn

    def show(self) -> None:
        """Display the calculator; where no kernel runs, its first page."""
        first = self.redraw()
        wide = controls.columns(self.preset, self.tokens, self.gpu, self.mfu)
        small = [*self.shape.values(), self.length, self.gpus, self.per_hour]
        narrow = controls.columns(*small, names="9em", least="18em")
        rows = widgets.VBox([wide, narrow, self.page])
        controls.show_live(rows, *first._repr_mimebundle_())


def calculator(start: str = "LLaMA-7B") -> None:
    """Show the calculator; it begins with the published model of this name."""
    if start not in PUBLISHED:
        names = ", ".join(PUBLISHED)
        raise ValueError(f"No published model is called {start} here, only {names}.")
    Calculator(start).show()
