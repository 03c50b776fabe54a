"""Check of lesson 10: texts cut where it hurts least.

Texts in which every separator stands, at the beginning, at the end and twice in a row, in
several measures of length. The answers that prove the check are in `tests/answers/`.
"""

import copy
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import splitting
from course_lib.rag.splitting import SEPARATORS

WORDS = ["one", "sea", "geese", "harbour", "lantern", "archive", "mayor", "bread", "quay", "tower", "night", "fish"]  # fmt: skip


class Text(NamedTuple):
    """What is to be cut, and how."""

    text: str
    size: int
    left: Sequence[str] = SEPARATORS
    length: Callable[[str], int] = len

    def fits(self, piece: str) -> bool:
        return self.length(piece) <= self.size

    @property
    def said(self) -> str:
        parts = [_brief(self.text), f"size={self.size}"]
        if self.left is not SEPARATORS:
            parts.append(f"separators={self.left}")
        if self.length is not len:
            parts.append(f"a length {SAID[self.length]}")
        return ", ".join(parts)


def _text(case: Case) -> Text:
    left = case.options.get("separators", SEPARATORS)
    return Text(*case.given, left, case.options.get("length", len))


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def in_words(text: str) -> int:
    return len(text.split())


def in_bytes(text: str) -> int:
    return len(text.encode())


def in_tokens(text: str) -> int:
    """Four characters each, the last one perhaps fewer."""
    return -(-len(text) // 4)


def in_thirds(text: str) -> int:
    return 3 * len(text)


SAID = {
    in_words: "in words",
    in_bytes: "in bytes",
    in_tokens: "in tokens of four characters",
    in_thirds: "of 3 for each character",
}


@check(
    splitting.cut,
    proved="The pieces put together are the text, cut at the coarsest separator that helps and no finer, in any measure "
    "of length, with any separators.",
    also=(splitting.split_recursive,),
)
def cut(answer, draw):
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    cases = [_case(*row) for row in _rows(luck)]
    rows = [Row(_ask(answer, one), _levels(_text(one)), one) for one in cases]
    rows.sort(key=lambda row: row.got == row.want)  # wrong ones first: sooner named
    judge(rows, _MISTAKES, lambda a, b: a == b, _otherwise)


def _case(
    text: str,
    size: int,
    separators: Sequence[str] | None = None,
    length: Callable | None = None,
) -> Case:
    """None = the default is left to the answer."""
    options = {"separators": separators, "length": length}
    given = {name: option for name, option in options.items() if option is not None}
    return Case((text, size), given)


def _rows(luck: random.Random) -> list[tuple]:
    said, page = _sentences(luck, 3), _page(luck)
    long = "".join(luck.choices("abcdefgh", k=75))
    row = " ".join(luck.choices(WORDS, k=9))
    edges = f"\n\n{said}\n\n\n{row} \n {said}\f{row}\n\n"
    half = len(row)
    lists = "; ".join(", ".join(luck.choices(WORDS, k=luck.randint(2, 4))) for _ in range(4))  # fmt: skip
    signs = "|".join("+".join(luck.choices(WORDS, k=2)) for _ in range(4))
    return [
        ("One. Two and three.", 10),
        ("", 5),
        ("Hi. There, you", 14),
        (row, half),  # exactly
        (row, half - 1),
        (page, 40),
        (page, 90),
        (page, 12),
        (page, 500),
        (edges, 24),
        (edges, len(said) + 1),
        ("\n\n\n\n\n", 2),
        ("\n\n \n\n", 1),
        ("  ".join(row.split()), 9),
        (long, 32),
        (long, 5),
        (f"{row}\n\n{long} {said}", 48),
        (lists, 15, ("; ", ", ")),
        (lists, 3, ["; ", ", "]),  # no separator cuts words
        (f"{said}\n\n{row}\n{row}", 30, ("\n", ". ")),
        (signs, 9, ["|", "+", ""]),
        (said, 6, ()),
        (row, 100, ("",)),
        (long, 44, [""]),
        (long[:20], 48, None, in_thirds),  # fewer characters than `size`
        (row, 20),
        (row, 20, None, in_words),
        (page, 7, None, in_words),
        (page, 25, SEPARATORS[:3], in_words),
        (page, 9, None, in_tokens),
        (page, 70, ("\n\n", ". ", " "), in_thirds),
        ("Grüße. Äpfel und Öl für Zoë. " * 2, 14, None, in_bytes),
        (long, 34, None, in_thirds),
        (row, 60, ("\n", " ", ""), in_thirds),
    ]  # fmt: skip


def _sentences(luck: random.Random, number: int) -> str:
    rows = (luck.choices(WORDS, k=luck.randint(2, 6)) for _ in range(number))
    return " ".join(" ".join(row).capitalize() + "." for row in rows)


def _page(luck: random.Random) -> str:
    """Paragraphs of lines of sentences, one of them short; the last line ends without a sign."""
    parts = [
        "\n".join(_sentences(luck, luck.randint(1, 3)) for _ in range(lines))
        for lines in (2, 1, 3)
    ]
    return "\n\n".join([*parts[:2], "Ann. Bo", parts[2]])


def _ask(answer: Callable, case: Case) -> list[str]:
    separators = copy.copy(case.options.get("separators"))
    try:
        got = asked(answer, case, _stopped)
    except (RecursionError, re.error) as error:
        raise CheckFailed(_stopped(error, case)) from None
    expect(
        separators == case.options.get("separators"),
        "It changed the list of separators. Later pieces still need them: work on a new list.",
    )
    expect(
        isinstance(got, list),
        f"It returned a {type(got).__name__}; a list of texts is wanted.",
    )
    odd = next((piece for piece in got if not isinstance(piece, str)), "")
    expect(
        not isinstance(odd, list | tuple),
        "There is a list within the list. Wanted are texts: what came of cutting a part again is added piece by piece.",
    )
    expect(
        isinstance(odd, str),
        f"In the list is a {type(odd).__name__}; a list of texts is wanted.",
    )
    return got


def _stopped(error: Exception, case: Case) -> str | None:
    said = f"It stopped with {type(error).__name__} for {_text(case).said}"
    if isinstance(error, RecursionError):
        return f"{said}: it calls itself without end. What is too long is cut again with the separators that are left."
    if isinstance(error, re.error):
        return f"{said}. {_NO_PATTERN}"
    if re.search("empty (separator|pattern)", str(error)):
        return f'{said}: nobody can split at "". That separator means: cut anywhere, which `evenly` does.'
    if "must not be zero" in str(error):
        return f"{said}: slices of width 0. They are one character wide at least."
    if isinstance(error, IndexError) or "unpack" in str(error):
        return f"{said}. What is too long when no separator is left stays as it is."
    if "NoneType" in str(error):
        return f"{said}. Somewhere None came back instead of a list."
    return None


_NO_PATTERN = "A separator is itself, and not a pattern of `re`."


# --- naming the mistake -----------------------------------------------------------------------


def _after(text: str, separator: str) -> list[str]:
    found, start = [], 0
    while (at := text.find(separator, start)) >= 0:
        found.append(text[start : at + len(separator)])
        start = at + len(separator)
    return [*found, text[start:]] if start < len(text) else found


def _slices(text: str, width: int) -> list[str]:
    return [text[i : i + width] for i in range(0, len(text), width)]


def _levels(
    case: Text,
    parts: Callable = _after,
    fits: Callable = Text.fits,
    first: Callable | None = None,
    width: Callable = lambda size: max(1, size // 16),
    left: Callable = lambda separators: separators,
    then: Callable = lambda pieces, case: pieces,
) -> list[str]:
    """Separator by separator, the pieces of all depths together; one thing in it may be wrong."""
    pieces = [case.text] if case.text else []
    for depth, separator in enumerate(left(case.left)):
        found, fit = [], first if first and depth == 0 else fits
        for piece in pieces:
            if not piece or fit(case, piece):
                found.append(piece)
            else:
                found += parts(piece, separator) if separator else _slices(piece, width(case.size))  # fmt: skip
        pieces = then(found, case)
    return pieces


def _packed(pieces: list[str], case: Text) -> list[str]:
    found: list[str] = []
    for piece in pieces:
        if found and case.fits(found[-1] + piece):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _inside(case: Text, then: Callable = lambda pieces, case: pieces, parts: Callable = _after) -> list[str]:  # fmt: skip
    """As an answer that calls itself, and changes what comes back each time."""
    if case.fits(case.text) or not case.left:
        return [case.text] * bool(case.text)
    one, left = case.left[0], case.left[1:]
    found = parts(case.text, one) if one else _slices(case.text, max(1, case.size // 16))  # fmt: skip
    again = (
        _inside(case._replace(text=part, left=left), then, parts) for part in found
    )
    return then([piece for pieces in again for piece in pieces], case)


def _lost(text: str, separator: str) -> list[str]:
    return text.split(separator)


def _lost_and_empty(text: str, separator: str) -> list[str]:
    return [part for part in text.split(separator) if part]


def _before(text: str, separator: str) -> list[str]:
    first, *rest = text.split(separator)
    return [first] * bool(first) + [separator + part for part in rest]


def _before_and_empty(text: str, separator: str) -> list[str]:
    first, *rest = text.split(separator)
    return [first, *(separator + part for part in rest)]


def _alone(text: str, separator: str) -> list[str]:
    return [part for part in re.split(f"({re.escape(separator)})", text) if part]


def _with_empty(text: str, separator: str) -> list[str]:
    *parts, last = text.split(separator)
    return [*(part + separator for part in parts), last]


def _at_the_end_too(text: str, separator: str) -> list[str]:
    return [part + separator for part in text.split(separator)]


def _full_only(text: str, separator: str) -> list[str]:
    return [part + separator for part in text.split(separator)[:-1]] or [text]


def _once(text: str, separator: str) -> list[str]:
    head, middle, tail = text.partition(separator)
    return [part for part in (head + middle, tail) if part]


def _last_once(text: str, separator: str) -> list[str]:
    head, middle, tail = text.rpartition(separator)
    return [part for part in (head + middle, tail) if part]


def _by_pattern(text: str, separator: str) -> list[str]:
    return [part for part in re.split(f"(?<={separator})", text) if part]


def _by_pattern_found(text: str, separator: str) -> list[str]:
    return re.findall(f".+?(?:{separator}|$)", text, re.S)


def _stripped(pieces: list[str], case: Text) -> list[str]:
    return [piece.strip() for piece in pieces]


def _stripped_and_empty(pieces: list[str], case: Text) -> list[str]:
    return [piece.strip() for piece in pieces if piece.strip()]


def _while_too_long(case: Text, slices: bool) -> list[str]:
    """One part after the other, as long as the rest does not fit; of slices, too."""
    if case.fits(case.text) or not case.left:
        return [case.text] * bool(case.text)
    one, left = case.left[0], case.left[1:]
    width = max(1, case.size // 16)
    if not one and not slices:
        return _slices(case.text, width)
    found = _after(case.text, one) if one else _slices(case.text, width)
    first = _while_too_long(case._replace(text=found[0], left=left), slices)
    tail = case.text[len(found[0]) :]
    return first + _while_too_long(case._replace(text=tail), slices)


def _at_the_end(case: Text, change: Callable, **wrong: Callable) -> list[str]:
    return change(_levels(case, **wrong), case)


def _always(case: Text, pieces: str) -> bool:
    return False


def _in_characters(case: Text, piece: str) -> bool:
    return len(piece) <= case.size


def _without_its_separator(case: Text, piece: str) -> bool:
    return any(case.fits(piece.removesuffix(one)) for one in case.left if one)


def _there(case: Text) -> Sequence[str]:
    return [one for one in case.left if one in case.text][:1]


# fmt: off
_FAULTS: dict[str, tuple[Callable[[Text], list[str]], ...]] = {
    "An empty text gives a piece of nothing in yours. It has no pieces: [].":
        (lambda c: _levels(c) or [""],),
    "A text that fits is cut in yours. It is one piece, whatever stands in it.": (partial(_levels, first=_always),),
    "Every piece is cut at every separator. A piece that fits stays as it is; only what is still too long is cut again.":
        (partial(_levels, fits=_always), lambda c: [c.text] * bool(c.text) if c.fits(c.text) else _levels(c, fits=_always)),
    "It puts pieces together again. That is `pack`'s work: here every piece is as it was cut.":
        (partial(_at_the_end, change=_packed), partial(_levels, then=_packed), partial(_inside, then=_packed)),
    "It cuts at other line breaks as well (splitlines). A separator is what it says.":
        (partial(_levels, parts=lambda t, s: t.splitlines(keepends=True) if s == "\n" else _after(t, s)),),
    "The separators are lost. Each stays at the end of its piece, so that the pieces put together are the text.":
        (partial(_levels, parts=_lost), partial(_levels, parts=_lost_and_empty),
         lambda c: [p for p in _levels(c, parts=_lost) if p], lambda c: _levels(c, parts=_lost) or [""]),
    "A separator begins the next piece in yours. It stays at the end of its own.":
        (partial(_levels, parts=_before), partial(_levels, parts=_before_and_empty), lambda c: [p for p in _levels(c, parts=_before_and_empty) if p]),
    "A separator is a piece of its own in yours. It stays at the end of the piece before it.": (partial(_levels, parts=_alone),),
    "There are empty pieces: behind a separator at the end of a text comes nothing more.":
        (partial(_levels, parts=_with_empty), lambda c: _levels(c, parts=_with_empty) or [""]),
    "It puts a separator where the text has none, at its end.": (partial(_levels, parts=_at_the_end_too),),
    "The last part is lost where the text does not end with a separator.": (partial(_levels, parts=_full_only), partial(_levels, parts=lambda t, s: _with_empty(t, s)[:-1])),
    "It cuts at one occurrence of a separator only. Cut after every one, and go to the next separator then.":
        (partial(_levels, parts=_once), partial(_levels, parts=_last_once)),
    "It stops cutting as soon as what is left of a text fits. A text that is too long is cut after every occurrence of the separator.":
        (partial(_while_too_long, slices=False), partial(_while_too_long, slices=True)),
    "`length` makes no difference: the pieces are measured in characters (len).": (partial(_levels, fits=_in_characters),),
    "The parts of a text are measured in characters (len), whatever `length` is. Hand it on.": (lambda c: [c.text] * bool(c.text) if c.fits(c.text) else _levels(c, fits=_in_characters, first=_always),),
    "Characters (len) have a say in what fits. `length` alone measures.":
        (partial(_levels, fits=lambda c, p: c.fits(p) or len(p) <= c.size), partial(_levels, fits=lambda c, p: c.fits(p) and len(p) <= c.size)),
    "A piece of exactly `size` fits. In yours it is cut.":
        (partial(_levels, fits=lambda c, p: c.length(p) < c.size),),
    "Pieces of `size` + 1 are left whole in yours. `size` is the most.": (partial(_levels, fits=lambda c, p: c.length(p) <= c.size + 1),),
    "A piece is measured without the separator at its end, or without spaces. It counts: it is part of the piece.":
        (partial(_levels, fits=_without_its_separator), partial(_levels, fits=lambda c, p: c.fits(p.strip())), partial(_levels, fits=lambda c, p: c.fits(p.rstrip()))),
    "White space is stripped from the pieces. Put together they are the text, with every space.":
        (partial(_at_the_end, change=_stripped), partial(_at_the_end, change=_stripped_and_empty), partial(_levels, then=_stripped),
         partial(_levels, then=_stripped_and_empty), lambda c: [" ".join(p.split()) for p in _levels(c)],
         lambda c: [p.lstrip() for p in _levels(c)], lambda c: [p.rstrip() for p in _levels(c)]),
    "Pieces of nothing but white space are left out. Put together the pieces are the text, with every space.":
        (lambda c: [p for p in _levels(c) if p.strip()], partial(_levels, then=lambda ps, c: [p for p in ps if p.strip()])),
    "What no separator can cut is left out in yours. It stays, too long as it is.":
        (lambda c: [p for p in _levels(c) if c.fits(p)], lambda c: [p for p in _levels(c) if c.fits(p) or c.left]),
    "What no separator can cut is cut all the same. Without \"\" among the separators it stays as long as it is.":
        (lambda c: [p for q in _levels(c) for p in (_slices(q, c.size) if not c.fits(q) else [q])],
         lambda c: [p for q in _levels(c) for p in (_slices(q, max(1, c.size // 16)) if not c.fits(q) else [q])]),
    "What no separator can cut has lost its end. It stays as long as it is.": (lambda c: [p if c.fits(p) else p[:c.size] for p in _levels(c)],),
    "The separator \"\" cuts nothing in yours. It means: cut anywhere, and `evenly` does that.":
        (partial(_levels, left=lambda s: [one for one in s if one]),),
    "For \"\" the slices have another width than max(1, size // 16).":
        tuple(partial(_levels, width=w) for w in (lambda s: s, lambda s: 1, lambda s: 16, lambda s: max(1, s // 2), lambda s: max(1, s // 4),
              lambda s: max(1, s // 8), lambda s: max(1, s // 10), lambda s: s // 16 + 1, lambda s: -(-s // 16), lambda s: max(1, round(s / 16)), lambda s: max(16, s // 16), lambda s: max(1, s - 1))),
    "Only the first separator is used. What is still too long afterwards is cut again, at the next one.":
        (partial(_levels, left=lambda s: s[:1]), lambda c: _levels(c._replace(left=_there(c))),
         lambda c: _levels(c._replace(left=_there(c)), fits=_always)),
    "Not every separator has its turn. What is still too long is cut at the next one, to the last.":
        tuple(partial(_levels, left=left) for left in (lambda s: s[:2], lambda s: s[:3], lambda s: s[:4], lambda s: s[:-1], lambda s: s[1:], lambda s: s[::2])),
    "The finest separator comes first. They are sorted from the coarsest on: begin with the first.": (partial(_levels, left=lambda s: s[::-1]),),
    "`separators` makes no difference: it cuts at the usual ones.": (lambda c: _levels(c._replace(left=SEPARATORS)),),
    "What is cut again is cut at the usual separators, not at those that are left of the given ones.":
        (lambda c: _levels(c._replace(left=[*c.left[:1], *SEPARATORS])), lambda c: _levels(c._replace(left=[*c.left, *SEPARATORS]))),
    f"{_NO_PATTERN} A point is a point.": (partial(_levels, parts=_by_pattern), partial(_levels, parts=_by_pattern_found)),
    "The pieces come in reverse order. Put together they are the text.": (lambda c: _levels(c)[::-1], partial(_inside, parts=lambda t, s: _after(t, s)[::-1])),
    "It cuts every so many characters, wherever that is. Cut behind separators.": (lambda c: _slices(c.text, c.size),),
    "The text comes back whole. Is anything cut?": (lambda c: [c.text], lambda c: [c.text] * bool(c.text)),
}
# fmt: on


def _of_arguments(way: Callable) -> Callable:
    return lambda text, size, separators=SEPARATORS, length=len: way(
        Text(text, size, separators, length)
    )


_MISTAKES = {name: tuple(map(_of_arguments, ways)) for name, ways in _FAULTS.items()}


def _otherwise(row: Row) -> str:
    got, want, case = row.got, row.want, _text(row.case)
    if "" in got:
        return f"There is an empty piece for {case.said}. A piece holds something."
    together = "".join(got)
    if together != case.text and sorted(together) == sorted(case.text):
        return f"The pieces of {case.said} do not come in the order of the text: there is {got[:3]} at the beginning."
    if together != case.text:
        return (
            f"Put together, the pieces of {case.said} are {together[:40]!r}… and not the text: there are {len(together)} characters "
            f"of {len(case.text)}."
        )
    place = next(i for i, pair in enumerate(zip(got, want, strict=False)) if len(set(pair)) > 1)  # fmt: skip
    mine, right = got[place], want[place]
    if not case.fits(mine):
        return (
            f"For {case.said} there is the piece {_brief(mine)}, too long with {case.length(mine)}. Some separator that is left "
            "cuts it."
        )
    if "" in case.left and not any(one in case.text for one in case.left if one):
        return (
            f'For {case.said} the separator "" gives slices of {len(mine)} characters; they should have {len(right)}. Which width '
            "does the card name?"
        )
    what = "was cut, though nothing was left to do: it fits" if right.startswith(mine) else "was not cut where it should have been"  # fmt: skip
    return f"For {case.said} piece {place} is {_brief(mine)}; it should be {_brief(right)}. A text {what}."
