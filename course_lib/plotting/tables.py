"""A table that a notebook shows as a table, and a terminal as aligned text."""

import html
from collections.abc import Sequence


class Table:
    """Rows under column names; the last line of a cell displays it."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[object]]):
        self.columns = list(columns)
        self.rows = [[_plain(value) for value in row] for row in rows]

    def _repr_html_(self) -> str:
        head = "".join(_cell(name, "th", "") for name in self.columns)
        body = "".join(f"<tr>{_row(row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(f"{v:{w}}" for v, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _row(values: Sequence[str]) -> str:
    """Names in the first column stay in one piece."""
    styles = [";white-space:nowrap", *[""] * len(values)]
    return "".join(_cell(v, "td", s) for v, s in zip(values, styles, strict=False))


def _cell(value: str, tag: str, style: str) -> str:
    return f'<{tag} style="text-align:left{style}">{html.escape(value)}</{tag}>'


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
