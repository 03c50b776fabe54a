"""Answers to lesson 10: cutting texts; right ones of different shapes, and people's mistakes."""

import functools
import itertools
import re

from course_lib.rag.splitting import SEPARATORS, cut_after, evenly
from tools.graders import Battery

battery = Battery()


def _right(answer):
    return battery.right("cut")(answer)


def _wrong(says):
    return battery.wrong("cut", says=says)


# --- right --------------------------------------------------------------------------------------


@_right
def calls_itself(text, size, separators=SEPARATORS, length=len):
    if not text:
        return []
    if length(text) <= size or len(separators) == 0:
        return [text]
    if separators[0] == "":
        parts = evenly(text, max(1, size // 16))
    else:
        parts = cut_after(text, separators[0])
    pieces = []
    for part in parts:
        pieces.extend(calls_itself(part, size, separators[1:], length))
    return pieces


@_right
def level_by_level(text, size, separators=SEPARATORS, length=len):
    pieces = [text] if text else []
    for separator in separators:
        finer = []
        for piece in pieces:
            if length(piece) <= size:
                finer.append(piece)
            elif separator:
                finer.extend(cut_after(piece, separator))
            else:
                finer.extend(evenly(piece, max(1, size // 16)))
        pieces = finer
    return pieces


@_right
def with_a_stack(text, size, separators=SEPARATORS, length=len):
    waiting, pieces = [(text, 0)], []
    while waiting:
        part, depth = waiting.pop()
        if not part:
            continue
        if length(part) <= size or depth == len(separators):
            pieces.append(part)
            continue
        one = separators[depth]
        parts = cut_after(part, one) if one else evenly(part, max(1, size // 16))
        waiting.extend((each, depth + 1) for each in reversed(parts))
    return pieces


@_right
def with_patterns(text, size, separators=SEPARATORS, length=len):
    def parts(part, left):
        if length(part) <= size or not left:
            yield part
        else:
            one = re.escape(left[0])
            wide = f".{{1,{max(1, size // 16)}}}"
            found = re.findall(f".*?{one}|.+$" if one else wide, part, re.DOTALL)
            for each in found:
                yield from parts(each, left[1:])

    return [*parts(text, separators)] if text else []


@_right
def folded(text, size, separators=SEPARATORS, length=len):
    def finer(pieces, separator):
        return [
            part
            for piece in pieces
            for part in (
                [piece]
                if length(piece) <= size
                else cut_after(piece, separator)
                if separator
                else evenly(piece, max(1, size // 16))
            )
        ]

    return functools.reduce(finer, separators, [text] * bool(text))


@_right
def by_borders(text, size, separators=SEPARATORS, length=len):
    """Places in the text; each separator adds some."""
    borders = [0, len(text)]
    for one in separators:
        more = set(borders)
        for start, end in itertools.pairwise(borders):
            if length(text[start:end]) <= size:
                continue
            width = max(1, size // 16)
            if one == "":
                more |= {*range(start, end, width)}
                continue
            at = text.find(one, start, end)
            while at >= 0:
                more.add(at + len(one))
                at = text.find(one, at + len(one), end)
        borders = sorted(more)
    return [text[a:b] for a, b in itertools.pairwise(borders) if a < b]


@_right
def first_that_is_there(text, size, separators=SEPARATORS, length=len):
    """Skips separators that do not occur."""
    if text == "":
        return []
    left = [*separators]
    while left and left[0] and left[0] not in text:
        left.pop(0)
    if not left or length(text) <= size:
        return [text]
    one, left = left[0], left[1:]
    parts = cut_after(text, one) if one else evenly(text, max(1, size // 16))
    again = (first_that_is_there(part, size, left, length) for part in parts)
    return functools.reduce(lambda a, b: a + b, again, [])


@_right
def split_by_hand(text, size, separators=SEPARATORS, length=len):
    if length(text) <= size or not separators:
        return [text] if text else []
    one, left = separators[0], separators[1:]
    if one:
        parts = [part + one for part in text.split(one)]
        parts[-1] = parts[-1][: -len(one)]
    else:
        step = max(1, size // 16)
        parts = [text[i : i + step] for i in range(0, len(text), step)]
    found = []
    for part in parts:
        if part:
            found += split_by_hand(part, size, left, length)
    return found


# --- wrong --------------------------------------------------------------------------------------


def _cuts(name, says, parts=cut_after, fits=None, wide=None, empty=(), stuck=None, end=None, left=None):  # fmt: skip
    """As it should be, but for one thing."""

    def answer(text, size, separators=SEPARATORS, length=len):
        fit = fits(text, size, length) if fits else length(text) <= size
        if not text:
            return [*empty]
        if fit or not separators:
            return [text] if fit or stuck is None else stuck(text, size)
        first, *rest = separators
        rest = left(separators) if left else rest
        width = wide(size) if wide else max(1, size // 16)
        found = parts(text, first) if first else evenly(text, width)
        found = [piece for part in found for piece in answer(part, size, rest, length)]
        return end(found, size, length) if end else found

    answer.__name__ = name
    _wrong(says)(answer)


def _pack(pieces, size, length):
    found = []
    for piece in pieces:
        if found and length(found[-1] + piece) <= size:
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _begins(text, separator):
    first, *rest = text.split(separator)
    return [first] + [separator + part for part in rest]


_cuts("split", "separators are lost", parts=lambda t, s: t.split(s))
_cuts("split_with_empty", "separators are lost|empty piece", parts=lambda t, s: t.split(s), empty=[""])  # fmt: skip
_cuts("begins_the_next", "begins the next piece", parts=_begins)
_cuts("a_piece_of_its_own", "piece of its own", parts=lambda t, s: re.split(f"({re.escape(s)})", t))  # fmt: skip
_cuts("no_empty_text", "no pieces|empty pieces", empty=[""])
_cuts("strictly", "exactly `size` fits", fits=lambda t, size, length: length(t) < size)
_cuts("in_characters", "`length` makes no difference", fits=lambda t, size, length: len(t) <= size)  # fmt: skip
_cuts("never_fits", "at every separator", fits=lambda t, size, length: False)
_cuts("stripped_for_measuring", "without the separator", fits=lambda t, size, length: length(t.strip()) <= size)  # fmt: skip
_cuts("one_more", "size` \\+ 1", fits=lambda t, size, length: length(t) <= size + 1)
_cuts("packed", "puts pieces together", end=_pack)
_cuts("stripped", "White space is stripped", end=lambda p, size, length: [x.strip() for x in p])  # fmt: skip
_cuts("stripped_and_kept", "White space is stripped", end=lambda p, size, length: [x.strip() for x in p if x.strip()])  # fmt: skip
_cuts("left_out", "is left out", stuck=lambda t, size: [])
_cuts("shortened", "lost its end", stuck=lambda t, size: [t[:size]])
_cuts("cut_all_the_same", "cut all the same", stuck=lambda t, size: [t[i : i + size] for i in range(0, len(t), size)])  # fmt: skip
_cuts("width_of_size", "another width", wide=lambda size: size)
_cuts("width_of_one", "another width", wide=lambda size: 1)
_cuts("width_of_nothing", "width 0", wide=lambda size: size // 16)
_cuts("rounded_up", "another width", wide=lambda size: -(-size // 16))
_cuts("one_occurrence", "one occurrence", parts=lambda t, s: [x for x in (t.partition(s)[0] + t.partition(s)[1], t.partition(s)[2]) if x])  # fmt: skip
_cuts("the_last_part_lost", "last part is lost", parts=lambda t, s: [x + s for x in t.split(s)[:-1]])  # fmt: skip
_cuts("a_separator_too_many", "text has none", parts=lambda t, s: [x + s for x in t.split(s)])  # fmt: skip
_cuts("as_a_pattern", "not a pattern", parts=lambda t, s: [x for x in re.split(f"(?<={s})", t) if x])  # fmt: skip
_cuts("every_second", "Not every separator", left=lambda s: s[2:])
_cuts("the_last_one_never", "Not every separator|cuts nothing", left=lambda s: s[1:] if len(s) > 2 else [])  # fmt: skip
_cuts("backwards", "reverse order", left=lambda s: s[1:], parts=lambda t, s: cut_after(t, s)[::-1])  # fmt: skip


@_wrong("calls itself without end")
def same_separators_again(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first = separators[0]
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    again = [same_separators_again(p, size, separators, length) for p in parts]
    return [piece for pieces in again for piece in pieces]


@_wrong("calls itself without end")
def usual_separators_again(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first = separators[0]
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [p for part in parts for p in usual_separators_again(part, size, length=length)]  # fmt: skip


@_wrong("characters \\(len\\), whatever")
def length_forgotten(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first, *rest = separators
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [piece for part in parts for piece in length_forgotten(part, size, rest)]


@_wrong("nobody can split at")
def empty_separator(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first, *rest = separators
    again = (empty_separator(p, size, rest, length) for p in cut_after(text, first))
    return [piece for pieces in again for piece in pieces]


@_wrong("no separator is left stays")
def no_end_of_separators(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size:
        return [text] if text else []
    first, *rest = separators
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    again = (no_end_of_separators(p, size, rest, length) for p in parts)
    return [piece for pieces in again for piece in pieces]


@_wrong("no separator is left stays")
def first_of_none(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size:
        return [text] if text else []
    first, rest = separators[0], separators[1:]
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [piece for part in parts for piece in first_of_none(part, size, rest, length)]  # fmt: skip


@_wrong("list within the list")
def appended(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first, *rest = separators
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [appended(part, size, rest, length) for part in parts]


@_wrong("A text that fits is cut")
def cut_before_asking(text, size, separators=SEPARATORS, length=len):
    if not text or not separators:
        return [text] if text else []
    first, *rest = separators
    pieces = []
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    for part in parts:
        if length(part) <= size:
            pieces.append(part)
        else:
            pieces += cut_before_asking(part, size, rest, length)
    return pieces


@_wrong("Only the first separator")
def one_level(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first = next((one for one in separators if one in text), None)
    if first is None:
        return [text]
    return cut_after(text, first) if first else evenly(text, max(1, size // 16))


@_wrong("`separators` makes no difference")
def usual_separators_always(text, size, separators=SEPARATORS, length=len):
    return level_by_level(text, size, SEPARATORS, length)


@_wrong("finest separator comes first")
def finest_first(text, size, separators=SEPARATORS, length=len):
    return level_by_level(text, size, separators[::-1], length)


@_wrong("separators that are left of the given|usual")
def usual_ones_below(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    parts = cut_after(text, separators[0]) if separators[0] else evenly(text, max(1, size // 16))  # fmt: skip
    return [piece for part in parts for piece in level_by_level(part, size, SEPARATORS, length)]  # fmt: skip


@_wrong("cannot be changed")
def popped(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first = separators.pop(0)
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [piece for part in parts for piece in popped(part, size, [*separators], length)]  # fmt: skip


@_wrong("list of separators")
def popped_if_it_can_be(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    if isinstance(separators, tuple):
        separators = list(separators)
    first = separators.pop(0)
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    return [piece for part in parts for piece in popped_if_it_can_be(part, size, separators[:], length)]  # fmt: skip


@_wrong("reverse order|order of the text")
def stack_from_the_wrong_end(text, size, separators=SEPARATORS, length=len):
    waiting, pieces = [(text, 0)], []
    while waiting:
        part, depth = waiting.pop()
        if part and length(part) > size and depth < len(separators):
            one = separators[depth]
            parts = cut_after(part, one) if one else evenly(part, max(1, size // 16))
            waiting.extend((each, depth + 1) for each in parts)
        elif part:
            pieces.append(part)
    return pieces


@_wrong("puts pieces together")
def as_langchain_does(text, size, separators=SEPARATORS, length=len):
    return _pack(level_by_level(text, size, separators, length), size, length)


@_wrong("every so many characters")
def windows(text, size, separators=SEPARATORS, length=len):
    return [text[i : i + size] for i in range(0, len(text), size)]


@_wrong("whole")
def nothing_cut(text, size, separators=SEPARATORS, length=len):
    return [text] if text else []


@_wrong("whole|It should be|separators")
def worked_value(text, size, separators=SEPARATORS, length=len):
    return ["One. ", "Two ", "and ", "three."] if text.startswith("One. Two") else [text]  # fmt: skip


@_wrong("returned a generator")
def yields(text, size, separators=SEPARATORS, length=len):
    yield from level_by_level(text, size, separators, length)


@_wrong("returned a tuple")
def spans(text, size, separators=SEPARATORS, length=len):
    return tuple(level_by_level(text, size, separators, length))


@_wrong("In the list is a tuple|list within")
def places(text, size, separators=SEPARATORS, length=len):
    found, start = [], 0
    for piece in level_by_level(text, size, separators, length):
        found.append((start, start + len(piece)))
        start += len(piece)
    return found


@_wrong("Put together|characters of|lost")
def same_piece_once(text, size, separators=SEPARATORS, length=len):
    return [*dict.fromkeys(level_by_level(text, size, separators, length))]


@_wrong("Somewhere None came back|returned None")
def forgotten_return(text, size, separators=SEPARATORS, length=len):
    if text and length(text) > size and separators:
        first, *rest = separators
        parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
        return [piece for part in parts for piece in forgotten_return(part, size, rest, length)]  # fmt: skip


# --- found by attacking the check ---------------------------------------------------------------

_cuts("either_measure", "have a say", fits=lambda t, size, length: length(t) <= size or len(t) <= size)  # fmt: skip
_cuts("both_measures", "have a say", fits=lambda t, size, length: length(t) <= size and len(t) <= size)  # fmt: skip
_cuts("lines_of_every_kind", "splitlines", parts=lambda t, s: t.splitlines(keepends=True) if s == "\n" else cut_after(t, s))  # fmt: skip


@_wrong("Put together")
def only_the_first_part(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first, *rest = separators
    for part in cut_after(text, first) if first else evenly(text, max(1, size // 16)):
        return only_the_first_part(part, size, rest, length)


@_wrong("Put together")
def without_the_last_separator(text, size, separators=SEPARATORS, length=len):
    """A text that ends with a separator loses it."""
    pieces = level_by_level(text, size, separators, length)
    ends = [one for one in separators if one and text.endswith(one)]
    if ends and len(pieces) > 1:
        pieces[-1] = pieces[-1].removesuffix(ends[0])
    return [piece for piece in pieces if piece]


@_wrong("stops cutting as soon as")
def as_soon_as_the_rest_fits(text, size, separators=SEPARATORS, length=len):
    """Takes parts from the front until what is left fits."""
    if not text or length(text) <= size or not separators:
        return [text] if text else []
    first, *rest = separators
    parts = cut_after(text, first) if first else evenly(text, max(1, size // 16))
    found = []
    while parts and length("".join(parts)) > size:
        found += as_soon_as_the_rest_fits(parts.pop(0), size, rest, length)
    return found + ["".join(parts)] * bool(parts)


@_wrong("stops cutting as soon as")
def head_and_tail(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] * bool(text)
    first, *rest = separators
    if not first:
        return evenly(text, max(1, size // 16))
    head, separator, tail = text.partition(first)
    found = head_and_tail(head + separator, size, rest, length)
    return found + head_and_tail(tail, size, separators, length)


_cuts("rounded_width", "another width", wide=lambda size: max(1, round(size / 16)))


@_wrong("gives slices of")
def a_sixteenth_of_the_text(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] * bool(text)
    first, *rest = separators
    width = max(1, len(text) // 16)
    parts = cut_after(text, first) if first else evenly(text, width)
    return [piece for part in parts for piece in a_sixteenth_of_the_text(part, size, rest, length)]  # fmt: skip


@_wrong("gives slices of 1 ")
def no_wider_than_the_text(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] * bool(text)
    first, *rest = separators
    width = max(1, min(size, len(text)) // 16)
    parts = cut_after(text, first) if first else evenly(text, width)
    return [piece for part in parts for piece in no_wider_than_the_text(part, size, rest, length)]  # fmt: skip


@_wrong("gives slices of")
def halved_until_it_fits(text, size, separators=SEPARATORS, length=len):
    if not text or length(text) <= size or not separators:
        return [text] * bool(text)
    first, *rest = separators
    width = size
    while first == "" and width > 1 and any(length(x) > size for x in evenly(text, width)):  # fmt: skip
        width //= 2
    parts = cut_after(text, first) if first else evenly(text, width)
    return [piece for part in parts for piece in halved_until_it_fits(part, size, rest, length)]  # fmt: skip


@_wrong("too long with 75")
def a_tuple_at_the_end(text, size, separators=SEPARATORS, length=len):
    """Knows "" in a tuple alone."""
    if not text or length(text) <= size or not separators:
        return [text] * bool(text)
    first, rest = separators[0], separators[1:]
    if separators == ("",):
        parts = evenly(text, max(1, size // 16))
    else:
        parts = cut_after(text, first) if first else [text]
    return [piece for part in parts for piece in a_tuple_at_the_end(part, size, rest, length)]  # fmt: skip


_KNOWN = {}


@_wrong("a length in words|too long")
def remembered_without_the_length(text, size, separators=SEPARATORS, length=len):
    key = (text, size, tuple(separators))
    if key not in _KNOWN:
        _KNOWN[key] = level_by_level(text, size, separators, length)
    return [*_KNOWN[key]]


_cuts("spaces_at_the_front_lost", "White space is stripped", end=lambda found, size, length: [p.lstrip() for p in found])  # fmt: skip
_cuts("only_what_holds_words", "nothing but white space", end=lambda found, size, length: [p for p in found if p.strip()])  # fmt: skip
