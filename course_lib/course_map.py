"""The map of the course: how far every lesson is, and what to do next.

Words and signs carry the meaning, never a colour, so that the map reads in a terminal,
on a dark page and in grey. It holds what `progress.read` found and reads nothing.
"""

import html
import textwrap
from dataclasses import dataclass, field

from course_lib.desk import WIDTH
from course_lib.standing import (
    AGAIN,
    BLANK,
    FAILED,
    GONE,
    SKIPPED,
    SOLVED,
    UNCHECKED,
    WRITTEN,
    Standing,
)

BUILDS_ON = {  # lesson -> the lessons that its opening asks for
    "01": ("00",),
    "02": ("00", "01"),
    "03": ("01",),
    "04": ("01", "03"),
    "05": ("01", "03"),
    "06": ("05",),
    "07": ("06",),
    "08": ("07",),
    "09": ("06", "07"),
    "10": ("05",),
    "11": ("02", "05"),
}
TO_DO = {  # what a state asks for
    FAILED: "mend {name}: its check said no",
    AGAIN: "run the check of {name} again: the answer has changed since it passed",
    UNCHECKED: "run the check of {name}",
    BLANK: "write {name}",
    GONE: "bring back the cell of {name}: `make update`, or copy it from notebooks/",
    SKIPPED: "come back to {name}, which was skipped for no points",
}
SIGNS = {SOLVED: "✓", WRITTEN: "✓", SKIPPED: "–", BLANK: "·"}  # any other state: ?
BAR = 10  # characters


@dataclass
class Lesson:
    """One lesson on the map."""

    number: str
    title: str
    standings: list[Standing] = field(default_factory=list)  # [] if not released
    begun: bool = False
    notes: list[str] = field(default_factory=list)  # what is wrong, a sentence each
    saved: float = 0.0  # when, in seconds; 0 if there is no file

    @property
    def done(self) -> int:
        return sum(standing.settled for standing in self.standings)

    @property
    def points(self) -> int:
        return sum(standing.points for standing in self.standings)

    @property
    def of(self) -> int:
        """Points that checks can give; written answers are read by a teacher."""
        return sum(s.exercise.points for s in self.standings if not s.exercise.by_hand)

    @property
    def finished(self) -> bool:
        return bool(self.standings) and self.done == len(self.standings)

    def next(self) -> Standing | None:
        """The first exercise that is open; what was skipped comes last."""
        open_ones = [s for s in self.standings if not s.settled]
        return min(open_ones, key=lambda s: s.state == SKIPPED, default=None)


@dataclass
class Map:
    """All lessons in order; a notebook shows it as a table, a terminal as text."""

    lessons: list[Lesson]

    def next(self) -> str:
        """One sentence: what to do now."""
        lesson = self._at_hand()
        if lesson is None:
            return "Everything that is released is done."
        standing = lesson.next()
        card = f" ({standing.exercise.title})" if standing.exercise.title else ""
        what = TO_DO[standing.state].format(name=standing.exercise.name)
        if standing.exercise.by_hand and standing.state == BLANK:
            what = f"answer the question {standing.exercise.name} in a few sentences"
        begin = "" if lesson.begun else f'begin "{lesson.title}", '
        return f"Lesson {lesson.number}: {begin}{what}{card}.{self._owing(lesson)}"

    def _at_hand(self) -> Lesson | None:
        """The unfinished lesson that was saved last, else the first one not begun."""
        unfinished = [x for x in self.lessons if x.standings and not x.finished]
        begun = [lesson for lesson in unfinished if lesson.begun]
        if begun:
            return max(begun, key=lambda lesson: lesson.saved)
        return next(iter(unfinished), None)

    def _owing(self, lesson: Lesson) -> str:
        """Which lessons that this one builds on are not finished."""
        if lesson.begun and lesson.done:
            return ""
        needed = BUILDS_ON.get(lesson.number, ())
        owing = [
            x.number for x in self.lessons if x.number in needed and not x.finished
        ]
        if not owing:
            return ""
        which = " and ".join(f"lesson {number}" for number in owing)
        return f" It builds on {which}, where exercises are open."

    def text(self, plain: bool = False) -> str:
        """The map in at most 88 columns; plain: without characters beyond ASCII."""
        head = f"{'':32}{'':{BAR + 2}}{'exercises':11}{'points':10}next"
        lines = [head.rstrip(), *(_line(lesson, plain) for lesson in self.lessons)]
        of = sum(lesson.of for lesson in self.lessons)
        points = sum(lesson.points for lesson in self.lessons)
        done = sum(lesson.done for lesson in self.lessons)
        asked = sum(len(lesson.standings) for lesson in self.lessons)
        total = f"{'together':32}{'':{BAR + 2}}{_of(done, asked):11}{_of(points, of)}"
        said = textwrap.fill(f"Next: {self.next()}", WIDTH, break_on_hyphens=False)
        return "\n".join([*lines, total, "", said])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """A table without colours of its own, so that it reads on light and on dark."""
        columns = ("lesson", "builds on", "", "exercises", "points", "next")
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in columns)
        rows = "".join(map(_row, self.lessons))
        said = html.escape(self.next())
        return (
            f"<table style='color:inherit'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p><b>Next:</b> {said}</p>"
        )


# --- how it looks -----------------------------------------------------------------------------------


def bar(done: int, of: int, plain: bool = False) -> str:
    """A bar of ten characters; full only if everything is done.

    >>> bar(5, 7, plain=True), bar(0, 7, plain=True)
    ('#######...', '..........')
    """
    full = BAR * done // of if of else 0
    dark, light = "#." if plain else "█░"
    return dark * full + light * (BAR - full)


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def _short(lesson: Lesson) -> str:
    """One or two words for the last column."""
    if not lesson.standings:
        return "not released yet"
    standing = lesson.next()
    if standing is None:
        return "done"
    if not lesson.begun:
        return "not begun"
    return standing.exercise.name


def _line(lesson: Lesson, plain: bool) -> str:
    name = f"{lesson.number}  {lesson.title:28}"
    if not lesson.standings:
        return f"{name}{'':{BAR + 23}}{_short(lesson)}"
    asked = len(lesson.standings)
    drawn = bar(lesson.done, asked, plain)
    done, points = _of(lesson.done, asked), _of(lesson.points, lesson.of)
    line = f"{name}{drawn}  {done:11}{points:10}{_short(lesson)}"
    indent = {"initial_indent": "    ", "subsequent_indent": "    "}
    notes = [textwrap.fill(note, WIDTH, **indent) for note in lesson.notes]
    return "\n".join([line, *notes])


def _row(lesson: Lesson) -> str:
    asked = len(lesson.standings)
    drawn = f"<span aria-hidden='true'>{bar(lesson.done, asked)}</span>"
    values = (
        _plain(f"{lesson.number} {lesson.title}") + _notes(lesson.notes),
        _plain(", ".join(BUILDS_ON.get(lesson.number, ()))),
        drawn if asked else "",
        _details(lesson) if asked else "",
        _plain(_of(lesson.points, lesson.of)) if asked else "",
        _plain(_short(lesson)),
    )
    style = "text-align:left;vertical-align:top;white-space:nowrap"
    return (
        f"<tr>{''.join(f'<td style={style!r}>{value}</td>' for value in values)}</tr>"
    )


def _plain(text: str) -> str:
    return html.escape(text)


def _notes(notes: list[str]) -> str:
    """Sentences under a lesson's title, which may be broken into lines."""
    style = "white-space:normal"
    return "".join(
        f"<br><small style='{style}'>{html.escape(note)}</small>" for note in notes
    )


def _details(lesson: Lesson) -> str:
    """The count, which opens to every exercise with its state in words."""
    lines = "<br>".join(
        f"{SIGNS.get(s.state, '?')} {_plain(s.exercise.name)}: {_plain(s.state)}"
        for s in lesson.standings
    )
    count = _of(lesson.done, len(lesson.standings))
    return f"<details><summary>{count}</summary>{lines}</details>"
