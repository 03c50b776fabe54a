"""Borders that an author drew: headings, and the functions and classes of a program.

A section under a heading, or a function from its decorator to its end, is about one
thing, and its name says which. The name goes along as metadata. Text before the
first heading, or between two functions, is a chunk as well, so nothing is lost.
Each splitter gives `(start, end, metadata)` and takes a `size`; what is longer is
cut as `split_recursive` cuts. Left out: languages other than Python.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from course_lib.rag.splitting import SEPARATORS, Length, split_recursive

NamedSpan = tuple[int, int, dict[str, object]]
FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.M | re.S)
MARKED = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$", re.M)
UNDERLINED = re.compile(r"^(\S.*)\n(([=\-*~^\"])\3{2,})[ \t]*$", re.M)
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")  # what Python's parser calls a line
CODE = ("\n\n", "\n", "")  # a program is cut between lines


# ---- headings


class Heading(NamedTuple):
    start: int
    level: int  # 1 is the highest
    title: str


def split_headings(
    text: str, size: int = 2_000, length: Length = len
) -> list[NamedSpan]:
    r"""A span for each section, heading first; `section` names all headings above.

    Headings are lines with # (Markdown), or lines that are underlined (also as in
    Python's reference). Within fences of code there are none. Without any heading
    the text is one section called "".

    >>> split_headings("Hi.\n# A\nx\n## B\ny\n# C\nz")[2]
    (10, 17, {'section': 'A > B'})
    """
    found, above, named = headings(text), [], []
    starts = [0, *(heading.start for heading in found), len(text)]
    for number, (start, end) in enumerate(pairwise(starts)):
        if number:
            heading = found[number - 1]
            above = [h for h in above if h.level < heading.level] + [heading]
        section = " > ".join(heading.title for heading in above)
        named.append((start, end, {"section": section}))
    return [
        part for whole in named for part in fitted(text, whole, size, length=length)
    ]


def headings(text: str) -> list[Heading]:
    r"""All headings in order; a line drawn under a title ranks by who comes first.

    >>> headings("Top\n===\n\n# Next\n")
    [Heading(start=0, level=1, title='Top'), Heading(start=9, level=1, title='Next')]
    """
    fences = [match.span() for match in FENCE.finditer(text)]
    found = [Heading(m.start(), len(m[1]), m[2]) for m in MARKED.finditer(text)]
    ranks: dict[str, int] = {}
    for match in UNDERLINED.finditer(text):
        title, line, sign = match.groups()
        if len(line) >= len(title.rstrip()) and not MARKED.match(title):
            level = ranks.setdefault(sign, len(ranks) + 1)
            found.append(Heading(match.start(), level, title.strip()))
    return sorted(
        heading
        for heading in found
        if not any(start <= heading.start < end for start, end in fences)
    )


# ---- programs


def split_python(
    text: str,
    size: int = 2_000,
    length: Length = len,
) -> list[NamedSpan]:
    r"""Functions and classes whole, each with its `name`; what lies between, as "".

    A function begins with its decorators and the comment right above it. A class
    that is longer than `size` falls into its head and its methods ("Class.method"),
    a function that is longer into lines. What Python cannot parse is cut into lines
    as a whole, without names.

    >>> split_python("import os\n\n# one\ndef f():\n    pass\n")[1]
    (11, 35, {'name': 'f'})
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [*fitted(text, (0, len(text), {"name": ""}), size, CODE, length)]
    lines = [match[0] for match in LINE.finditer(text)]
    starts = [0, *accumulate(map(len, lines))]  # of each line, in characters

    def too_long(first: int, last: int) -> bool:
        return length(text[starts[first] : starts[last]]) > size

    return [
        part
        for first, last, name in members(tree, 0, len(lines), lines, too_long)
        for part in fitted(
            text, (starts[first], starts[last], {"name": name}), size, CODE, length
        )
    ]


def members(
    node: ast.Module | ast.ClassDef,
    place: int,
    stop: int,
    lines: Sequence[str],
    too_long: Callable[[int, int], bool],
    above: str = "",
) -> Iterator[tuple[int, int, str]]:
    """First line, line behind the last, and name of all that lies in these lines.

    Every line is in exactly one of them. above: the class that the lines belong to.
    """
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first, last = max(place, begin(child, lines)), child.end_lineno
            name = f"{above}.{child.name}".lstrip(".")
            if place < first:
                yield place, first, above
            if isinstance(child, ast.ClassDef) and too_long(first, last):
                yield from members(child, first, last, lines, too_long, name)
            else:
                yield first, last, name
            place = last
    if place < stop:
        yield place, stop, above


def begin(node: ast.AST, lines: Sequence[str]) -> int:
    """The first line of a definition with decorators and the comment above it."""
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)]) - 1
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return first


def fitted(
    text: str,
    span: NamedSpan,
    size: int,
    separators: Sequence[str] = SEPARATORS,
    length: Length = len,
) -> Iterator[NamedSpan]:
    """A span as it is, or cut up if it is too long; each part has its metadata."""
    start, end, metadata = span
    parts = split_recursive(text[start:end], size, 0, separators, length)
    for first, last in parts:
        yield start + first, start + last, metadata
