"""A learner's notebook and a newer release of the lesson become one.

Answers are matched by the exercise's name and kept; cells of the learner's own stay
beside the neighbour they had; everything else comes from the release. Where course and
learner both changed a thing, the learner's stays and the course's stands below it as
text. The release that the copy was made from, if it is known, tells the two apart. Left
out: merging inside a cell. Nothing here reads or writes a file.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from course_lib.cells import (
    blank,
    copies,
    digest,
    edited,
    flag,
    grade_id,
    same_code,
    that_counts,
    verbatim,
)
from course_lib.recasting import (
    GONE_TEXT,
    HEADING,
    NEW_QUESTION,
    NEW_STUB,
    NOTE,
    as_text,
    dressed,
    earlier_version,
    note,
    note_below,
    without_name,
)


@dataclass
class Merged:
    """The notebook that comes out, and what it kept."""

    notebook: object
    answers: list[str] = field(default_factory=list)  # names of kept answers
    own: int = 0  # cells of the learner's own
    changed: list[str] = field(default_factory=list)  # answered, and new in the course
    gone: list[str] = field(default_factory=list)  # answered, and out of the course
    told: set[str] = field(default_factory=set)  # ids of notes that are there already


def merge(mine, release, base=None) -> Merged:
    """Put a learner's work into a release.

    mine: the learner's notebook; release: the new one; base: the release that mine
    was copied from, None if nobody knows. Of none of them anything is changed.
    """
    done = Merged(copy.deepcopy(release), told={c.get("id") for c in mine.cells})
    places = _Places(mine, release, base)
    placed = [*places.at_top]
    for cell in release.cells:
        placed += places.before.get(cell.id, [])
        placed += _course_cell(cell, places.of.get(cell.id, []), base, done)
        placed += places.after.get(cell.id, [])
    gone = list(_gone(places, base, done))
    heading = [] if not gone or places.has_heading else [note(HEADING, GONE_TEXT)]
    placed = [copy.deepcopy(cell) for cell in [*placed, *places.tail, *heading, *gone]]
    done.notebook.cells = _with_ids(placed, release)
    done.notebook.metadata = {**release.metadata, **copy.deepcopy(mine.metadata)}
    done.own = places.own
    return _as_notebook(done)


def lost(mine, merged, release, base=None) -> list[str]:
    """Texts of the learner that stand nowhere in the merged notebook: always none.

    Written without a look at `merge`: it knows only what a learner cannot have written.
    """
    theirs = [*release.cells, *(base.cells if base else [])]
    given = {cell.source.strip() for cell in theirs}
    kept = "\0".join(cell.source for cell in merged.cells)
    return [
        cell.source
        for cell in mine.cells
        if cell.source.strip() not in given
        and not (verbatim(cell) or _is_check(cell))
        and not _empty(cell, given, base)
        and cell.source.strip() not in kept
    ]


def _empty(cell, given: set[str], base) -> bool:
    """Is there nothing in it, read as code and read as text?"""
    kinds = ("code", "markdown")
    return any(blank(cell.source, given, kind, base is not None) for kind in kinds)


class _Places:
    """Where each cell of the learner's notebook belongs in the release."""

    def __init__(self, mine, release, base):
        self.ids = {cell.id for cell in release.cells}
        self.old = {cell.id for cell in base.cells} if base else set()
        self.given = {cell.source.strip() for cell in base.cells} if base else set()
        self.taken = {cell.get("id") for cell in mine.cells}
        self.of, self.before, self.after = {}, {}, {}
        self.at_top, self.tail, self.gone = [], [], []
        self.own, self.has_heading = 0, False
        keys = [self._key(cell) for cell in mine.cells]
        for start, run in _runs(mine.cells, keys):
            self._place(run, keys[:start], keys[start + len(run) :])

    def _key(self, cell) -> str | None:
        """Its place in the release; "" if the course dropped it; None: it is their own."""
        name = re.sub(r"[^a-zA-Z0-9_-]", "-", grade_id(cell))[:60]
        place = name or self._id(cell)
        if place in self.ids:
            self.of.setdefault(place, []).append(cell)
            return place
        known = name or place in self.old
        if verbatim(cell) or (known and self._is_given(cell)):
            return ""
        if name or (known and not edited(cell)):
            self.gone.append(cell)
            return ""
        self.own += cell.get("id") != HEADING and not cell.get("id", "").endswith(NOTE)
        return None

    def _is_given(self, cell) -> bool:
        return _is_check(cell) or cell.source.strip() in self.given

    def _id(self, cell) -> str:
        """A cell's id; where ids were lost, the one that its text had."""
        if cell.get("id") in self.ids | self.old:
            return cell.id
        known = (self.ids | self.old) - self.taken
        numbers = ["", *(f"-{n}" for n in range(2, 9))]
        found = [digest(cell) + n for n in numbers if digest(cell) + n in known]
        self.taken |= set(found[:1])
        return found[0] if found else ""

    def _place(self, run: list, earlier: list, later: list) -> None:
        """Own cells stand after the cell they followed, or else before the next one."""
        heading = next((i for i, c in enumerate(run) if c.get("id") == HEADING), None)
        if heading is not None:
            self.has_heading, self.tail = True, self.tail + run[heading:]
            run = run[:heading]
        run = [as_text(cell) if edited(cell) else cell for cell in run]
        following = next((key for key in later if key), None)
        if earlier and earlier[-1]:
            self.after.setdefault(earlier[-1], []).extend(run)
        elif not earlier:
            self.at_top += run
        elif following:
            self.before.setdefault(following, []).extend(run)
        else:
            self.tail = run + self.tail


def _runs(cells: list, keys: list) -> Iterator[tuple[int, list]]:
    """Neighbouring cells of the learner's own, with the place of the first.

    >>> list(_runs(["a", "b", "c"], ["a", None, None]))
    [(1, ['b', 'c'])]
    """
    start = 0
    while start < len(cells):
        end = start
        while end < len(cells) and keys[end] is None:
            end += 1
        if end > start:
            yield start, cells[start:end]
        start = end + 1


# --- one cell of the course -------------------------------------------------------------------------


def _course_cell(released, theirs: list, base, done: Merged) -> list:
    """What stands in the place of a released cell."""
    if flag(released, "solution"):
        return _answer(released, theirs, base, done)
    if flag(released, "locked"):
        return _check(released, theirs, done)
    # the same text with its outputs, or one that the learner tried out: both stay
    return [dressed(theirs[0], released)] if theirs else [released]


def _check(released, theirs: list, done: Merged) -> list:
    """The released check with its last output; what somebody wrote into one is text."""
    ran = [c for c in theirs if c.source.strip() == released.source.strip()]
    stale = grade_id(released).removeprefix("check_") in done.changed
    kept = [as_text(without_name(c)) for c in theirs if not _is_check(c)]
    return [dressed(ran[-1], released) if ran and not stale else released, *kept]


def _is_check(cell) -> bool:
    """Is this the one line that a check cell of any release holds?"""
    line = r"checks\.\w+\.(\w+)\(\1\)"
    return re.fullmatch(line, cell.source.strip()) is not None


def _answer(released, theirs: list, base, done: Merged) -> list:
    """The learner's answer in its place; earlier versions of it above, as they were."""
    stub = copies(base, grade_id(released))[:1] if base else []
    stubs = [cell.source for cell in [released, *stub]]
    kind, known = released.cell_type, bool(stub)
    written = [c for c in theirs if not blank(c.source, stubs, kind, known)]
    if not written:
        same = [c for c in theirs if c.source.strip() == released.source.strip()]
        return [dressed(same[-1], released) if same else released]
    counts = that_counts(written, released)
    done.answers.append(grade_id(released))
    own = [earlier_version(cell) for cell in written if cell is not counts]
    news = _what_changed(released, counts, stub[0] if stub else None)
    news = [cell for cell in news if cell.id not in done.told]
    if news:
        done.changed.append(grade_id(released))
    return [*own, dressed(counts, released), *news]


def _what_changed(released, answer, stub) -> list:
    """The released text as a note, if an answer was written to another one."""
    written = released.cell_type == "markdown"
    if stub and written:
        new = stub.source.split() != released.source.split()
    elif stub:
        new = not same_code(stub.source, released.source)
    else:
        first = re.search(
            r"^.+" if written else r"^(def|class) .*", released.source, re.M
        )
        new = first is not None and first[0] not in answer.source
    lead, kind = (NEW_QUESTION, "markdown") if written else (NEW_STUB, "raw")
    return [note_below(released, lead, kind)] if new else []


def _gone(places: _Places, base, done: Merged) -> Iterator:
    """Answers to exercises that the release no longer has."""
    for cell in places.gone:
        name = grade_id(cell) or cell.id
        stubs = [c.source for c in copies(base, name)] if base else []
        if not blank(cell.source, stubs, cell.cell_type):
            done.gone.append(name)
            cell = without_name(cell)
            yield as_text(cell) if name.startswith("check_") else cell


def _with_ids(placed: list, release) -> list:
    """The course's cells under their own ids, each of the others under another one."""
    taken = {cell.id for cell in release.cells}
    free = set(taken)
    for cell in placed:
        name = cell.get("id") or f"own-{digest(cell)}"
        if name in free:
            free.remove(name)
            continue
        numbers = (f"{name[:55]}-{n}" for n in range(2, len(placed) + 2))
        cell.id = next(x for x in [name, *numbers] if x not in taken)
        taken.add(cell.id)
    return placed


def _as_notebook(done: Merged) -> Merged:
    import nbformat

    done.notebook.nbformat_minor = max(5, done.notebook.nbformat_minor)
    done.notebook = nbformat.from_dict(done.notebook)
    return done
