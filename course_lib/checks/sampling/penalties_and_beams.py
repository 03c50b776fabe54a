"""Checks of lesson 02: a penalty on what was said, what waits for a stop string, growing beams."""

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.checks.asking import (
    ask,
    ask_tensor,
    close,
    diagnose,
    expect,
    told_apart,
)
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.checks.sampling.filters import in_double, new, shapes
from course_lib.sampling import beam, penalties

# --- repetition_penalty -------------------------------------------------------------------------


@check(
    penalties.repetition_penalty,
    proved="It gives the paper numbers at penalties above and below 1, forbidden tokens stay "
    "forbidden, and random rows agree with a loop over single scores.",
)
def repetition_penalty(answer, draw):
    logits = torch.tensor(
        [
            [3.0, -3.0, 3.0, -3.0, 0.0, 1.5, -4.0],
            [-2.0, 4.0, -1.0, 6.0, 2.5, -5.0, 3.5],
        ]
    )
    counts = torch.tensor([[1, 2, 0, 0, 1, 3, 0], [0, 0, 3, 1, 0, 1, 0]])
    # fmt: off
    for penalty, otherwise in (
        (1.5, "Scores 3, -3 and 3, of which the first two were said, should become 2, -4.5 and 3 at "
              "a penalty of 1.5; yours become {}."),
        (4.0, "At a penalty of 1.5 it is right, at 4 it is not: the first row becomes {}."),
        (1.0, "A penalty of 1 should change nothing; the first row becomes {}."),
        (0.5, "At penalties above 1 it is right. Below 1 it should encourage what was said, by the "
              "same rule; the first row becomes {}."),
    ):
        _penalty_step(answer, logits, counts, penalty, otherwise)
    # fmt: on
    _penalty_at_the_edges(answer, draw)
    for B, V in ((5, 7), (1, 120), (3, 3)):
        scores = (8 * torch.randn(V, B, generator=draw)).T  # not in one piece in memory
        said = torch.randint(5, (B, V), generator=draw) - 2
        penalty = 1.1 + torch.rand(1, generator=draw).item()
        _penalty_step(
            answer,
            scores,
            said.clamp(min=0) * 3,
            penalty,
            f"On {B} random row(s) of {V} scores it differs from the rule done score by score. "
            "Is every row treated alike, with its own counts?",
        )
    said = torch.tensor([[1, 0, 2, 1, 0, 3], [0, 0, 1, 1, 2, 0]])
    in_double(
        lambda scores, penalty: answer(scores, said.clone(), penalty),
        draw,
        1.7,
        lambda scores, penalty: _penalty_slowly(scores, said, penalty),
    )
    new(answer, (logits, counts, 1.0), "Where the penalty is 1")
    new(answer, (logits, torch.zeros_like(counts), 1.5), "Where nothing was said yet")


def _penalty_slowly(logits: Tensor, counts: Tensor, penalty: float) -> Tensor:
    """Score by score, as a distance from 0 that shrinks above it and grows below it."""
    rows = []
    for row, said in zip(logits.double().tolist(), counts.tolist(), strict=True):
        sizes = [penalty if count > 0 else 1.0 for count in said]
        pairs = zip(row, sizes, strict=True)
        rows.append([min(z, 0.0) * size + max(z, 0.0) / size for z, size in pairs])
    return torch.tensor(rows, dtype=torch.float64)


def _penalty_step(
    answer: Callable, logits: Tensor, counts: Tensor, penalty: float, otherwise: str
) -> None:
    shape = tuple(logits.shape)
    known = shapes(shape, (1, 3), (3,))
    got = ask_tensor(answer, logits, counts, penalty, shape=shape, shapes=known)
    want = _penalty_slowly(logits, counts, penalty)
    expect(
        not got.isnan().any(),
        "nan came out of ordinary scores, some of which are 0. Is something divided by a score or "
        "by its size?",
    )
    if not close(got, want):
        shown = ", ".join(f"{number:.3g}" for number in got[0, :3].tolist())
        mistakes = _penalty_mistakes(logits.double(), counts, penalty)
        diagnose(got, want, mistakes, otherwise.format(f"{shown}, …"))
    expect(
        got.dtype == logits.dtype,
        f"Scores of {logits.dtype} give a result of {got.dtype}; they should keep their type.",
    )


def _penalty_mistakes(z: Tensor, counts: Tensor, a: float) -> dict:
    """What is given by each known mistake."""
    said, up, n = counts > 0, z > 0, counts.double()
    right = torch.where(up, z / a, z * a)
    p, logp = z.softmax(-1), z.log_softmax(-1)
    rows = [said[i].expand_as(said) for i in range(len(said))]
    most = z.amax(-1, keepdim=True)
    ids = counts.clamp(max=z.shape[1] - 1)

    def on(mask: Tensor, lowered: Tensor, rest: Tensor = z) -> Tensor:
        return torch.where(mask, lowered, rest)

    def rule(factor: Tensor | float) -> Tensor:
        return torch.where(up, z / factor, z * factor)

    # fmt: off
    return {
        "A penalty below 1 should encourage what was said. Here it discourages, or does nothing: is "
        "the smaller of two results taken, or the penalty cut off at 1?":
            (on(said, torch.minimum(z * a, z / a)), on(said, rule(max(a, 1.0)))),
        "A negative score was divided, so it came closer to 0: the token that was said is likelier "
        "than before. For this sign the same step is a reward.":
            (on(said, z / a), on(said, z / a ** n)),
        "A positive score was multiplied: the token that was said is likelier than before. For this "
        "sign the same step is a reward.":
            (on(said, z * a), on(said, z * a ** n)),
        "Both signs are turned: every token that was said became likelier.":
            (on(said, rule(1 / a)), on(said, rule(a ** -n))),
        "A token that was said more often is punished more. Here it counts once, however often it "
        "was said.":
            (on(said, rule(a ** n)), on(said, rule(a * n)), on(said, rule(1 + (a - 1) * n)),
             on(said, rule(a + n)), on(said, rule(n))),
        "Every token is punished, also those that were never said. What do the counts tell?":
            (right, z / a, z * a),
        "Those tokens are punished that were *not* said.":
            (on(~said, right), on(~said, z / a), on(~said, z * a)),
        "Only tokens that were said exactly once are punished. More often counts as well.":
            (on(counts == 1, right), on(counts == 1, z / a), on(counts % 2 == 1, right)),
        "Only tokens that were said more than once are punished. Once is enough.":
            (on(counts > 1, right), on(counts > 1, z / a)),
        "Only the tokens that were said most often are punished.":
            (on(counts == counts.amax(-1, keepdim=True), right), on(counts == counts.max(), right)),
        "The counts of one row are used for all rows, or those of all together. Each text has said "
        "its own tokens.":
            (*(on(row, right) for row in rows), on(said.any(0).expand_as(said), right)),
        "The counts were read as numbers of tokens. Place v of a row says how often token v was said.":
            (z.scatter(1, ids, rule(a).gather(1, ids)), z.scatter(1, ids, z.gather(1, ids) / a)),
        "The scores were shifted first, by their largest perhaps. The penalty acts on the scores as "
        "they came.":
            (on(said, (z - most) * a, z - most), on(said, (z - most) * a + most)),
        "Only one row was changed; there is one for every text.":
            (on(said & (torch.arange(len(z)) == 0)[:, None], right),
             on(said & (torch.arange(len(z)) == len(z) - 1)[:, None], right)),
        "Negative scores are left as they are. They have to become smaller as well.":
            on(said & up, right),
        "Positive scores are left as they are. They have to become smaller as well.":
            on(said & ~up, right),
        "Something is subtracted or added. That would be the presence or frequency penalty; here it "
        "is a factor on the score.":
            (*(on(said, z + sign * size) for sign in (-1, 1) for size in (a, math.log(a), a - 1)),
             z - a * n, z + a * n, z - (a - 1) * n),
        "Score and penalty meet in another way than by a plain factor: one of the two signs gives "
        "a number of its own.":
            (on(said, z - z.abs() * (a - 1)), on(said, z - z.abs() * a), on(said, z * (1 - a)),
             on(said, z - z.abs() / a), on(said, torch.where(up, z * (2 - a), z * a)),
             on(said, torch.where(up, z / a, z / (2 - a)))),
        "The sign is lost: a negative score became positive.":
            (on(said, z.abs() / a), on(said, z.abs() * a), on(said, -right), on(said, right.abs()),
             on(said, -(z.abs() * a))),
        "The penalty acts on probabilities. It should act on the scores, before any softmax.":
            (on(said, p / a, p), on(said, (p / a).log(), logp), on(said, p / a), on(said, (p / a).log())),
        "The penalty acts on log-probabilities, which are all negative. It should act on the scores "
        "as they came.":
            (on(said, logp * a, logp), on(said, logp / a, logp)),
        "The scores were normalised afterwards. They should come back as scores; what was not said "
        "keeps its own.":
            (on(said, right).log_softmax(-1), on(said, right).softmax(-1)),
        "What was said is forbidden outright. It should become less likely, by a factor.":
            (on(said, torch.full_like(z, -math.inf)), on(said, torch.full_like(z, -1e9))),
        "The scores of tokens that were said are gone (0, or the factor alone).":
            (on(said, torch.zeros_like(z)), on(said, torch.full_like(z, a)), on(said, torch.full_like(z, 1 / a))),
        "The scores of tokens that were not said are gone. They should come back as they were.":
            (on(said, right, torch.zeros_like(z)), on(said, right, torch.full_like(z, -math.inf))),
        "Nothing changed: the scores came back as they were.":
            z,
        "The penalty was taken twice, or as its root.":
            (on(said, rule(a * a)), on(said, rule(math.sqrt(a)))),
        "Scores are rounded to whole numbers somewhere (// instead of /, or a whole-number type).":
            (on(said, torch.where(up, z // a, z * a)), on(said, right).trunc(), on(said, right.trunc()),
             on(said, torch.where(up, z / int(a + 0.5), z * int(a + 0.5)))),
    }
    # fmt: on


def _penalty_at_the_edges(answer, draw: torch.Generator) -> None:
    for size, name in ((1e4, "large"), (1e-3, "small")):
        scores = size * torch.tensor([[1.0, -1.0, 0.5, -0.5]])
        said = torch.tensor([[1, 1, 0, 0]])
        got = ask_tensor(answer, scores, said, 1.25, shape=(1, 4))
        expect(
            close(got / size, _penalty_slowly(scores, said, 1.25) / size),
            f"With {name} scores (of size {size:g}) it goes wrong, with others it is right. Is "
            "something clamped, a constant added, or a threshold set other than 0?",
        )
    forbidden = torch.tensor([[2.0, -math.inf, -1.0, -math.inf]])
    both = torch.tensor([[1, 1, 2, 0]]), torch.tensor([[0, 3, 0, 0]])
    for said, penalty in itertools.product(both, (1.25, 0.5, 1.0)):
        got = ask_tensor(answer, forbidden, said, penalty, shape=(1, 4))
        expect(
            not got.isnan().any(),
            f"At a penalty of {penalty} a score of minus infinity (a forbidden token) became nan: "
            "infinity minus infinity is nan, and so is 0 times infinity. It should stay minus "
            "infinity.",
        )
        expect(
            bool((got[0, [1, 3]] == -math.inf).all()),
            f"A score of minus infinity (a forbidden token) became {got[0, [1, 3]].tolist()}; it "
            "should stay minus infinity.",
        )
        expect(
            close(got, _penalty_slowly(forbidden, said, penalty)),
            "Beside a forbidden token, of score minus infinity, the other scores come out wrong.",
        )
    scores = 10 * torch.randn(2, 4, generator=draw)
    got = ask_tensor(answer, scores, torch.zeros_like(scores).long(), 1.3, shape=(2, 4))
    expect(
        torch.equal(got, scores),
        "Nothing was said yet, and scores changed. They should come back as they were.",
    )


# --- held_back ----------------------------------------------------------------------------------


@check(
    penalties.held_back,
    proved="It holds back as much as it must and no more, on the texts worked out on paper and on "
    "random ones that are read letter by letter.",
)
def held_back(answer, draw):
    _waits_on_paper(answer)
    _waits_for_nothing(answer)
    random = list(_random_texts(draw))
    for text, stops in random:
        for kind in (list, tuple):
            got, want = _waits(answer, text, kind(stops)), _begun(text, stops)
            expect(
                got == want,
                f"After {text!r} with the stops {stops!r} {want} character(s) should wait; yours "
                f"holds back {got}. {_why(got, want)}",
            )
    long, stop = "ab" * 200, "ba" * 20 + "!"
    got, want = _waits(answer, long, [stop]), _begun(long, [stop])
    expect(
        got == want,
        f"The text 'abab…ab' of 400 letters and a stop string of 41 ('baba…ba!') give {got}; "
        f"{want} letters should wait. Is the length limited somewhere?",
    )


def _begun(text: str, stops: Sequence[str]) -> int:
    """Read letter by letter, and keep every stop string that is on its way."""
    way: list[tuple[str, int]] = []
    for letter in text:
        fresh = [(stop, 0) for stop in stops]
        way = [(s, n + 1) for s, n in way + fresh if n < len(s) and s[n] == letter]
    return max((n for _, n in way), default=0)


def _waits(answer: Callable, text: str, stops: Sequence[str]) -> int:
    got = ask(answer, text, type(stops)(stops))  # a copy: an answer may empty it
    expect(
        not isinstance(got, bool),
        f"It returned {got}. How many characters wait is asked, not whether any does.",
    )
    expect(
        not isinstance(got, str),
        f"It returned the text {got!r}. How many characters wait is asked, a whole number.",
    )
    expect(
        not isinstance(got, list | tuple | set | dict),
        f"It returned a {type(got).__name__}. One number is asked for all stop strings together.",
    )
    try:
        return operator.index(got)
    except TypeError:
        kind = type(got).__name__
        raise CheckFailed(f"It returned a {kind}; a whole number is wanted.") from None


def _why(got: int, want: int) -> str:
    if got < want:
        return (
            "What is shown too early cannot be taken back if the stop string goes on."
        )
    return "What waits without need comes too late."


TWO = ["###", "\n\nUser"]
# fmt: off
PAPER = (
    ("It is so.\n", ["\n\nUser"], "The first line break may be the beginning of the stop string."),
    ("THE EN", ["END"], "The first two letters of END stand at the end."),
    ("aaa", ["aab"], "Three letters are no beginning of aab, the last two are."),
    ("so", ["END"], "No stop string begins there."),
    ("ENx", ["END"], "EN stands there, but not at the end: END cannot come of it any more."),
    ("bcabab", ["ababc"], "The longest end with which the stop string begins counts."),
    ("abaab", ["abab"], "Not every a begins it; the last two letters do."),
    ("E", ["END"], "No more can wait than there is."),
    ("so #", TWO, "The first stop string has begun, the second has not."),
    ("so\n\nUse", TWO, "The second stop string has begun, the first has not."),
    ("xabab", ["bac", "ababc"], "Two stop strings have begun; the longest beginning counts."),
    ("xabab", ["ababc", "bac"], "Two stop strings have begun; the longest beginning counts."),
    ("xab", ["abc", "b-------"], "The beginning counts that is longest here, not the stop string."),
    ("the en", ["END"], "Small letters are other characters than capitals."),
    ("so\n ", ["\n\nUser", "\n-"], "A blank at the end is a character as well: nothing has begun."),
    ("THE EN\n", ["END"], "A line break at the end is a character as well: nothing has begun."),
    ("so\n\n", ["\n\nUser", "."], "Line breaks are characters as well."),
    ("oh. D", ["END", "User"], "The end of the text is compared with a stop string's beginning."),
    ("a*", ["*(", "a.c", "[x]"], "A star is a character like others, also in a pattern."),
    ("axb", ["a.b!", ".c"], "A full stop is a character like others, also in a pattern."),
    ("Ende: né", ["né!", "é–"], "Characters are counted, not bytes."),
    ("User", ["\nUser:", "User:"], "The whole text may be a beginning."),
    ("No, N", ["No, No!", "N."], "The text may begin like a stop string and then go on otherwise."),
    ("a\nEN", ["END"], "It does not matter what stands before."),
)
# fmt: on


def _waits_on_paper(answer) -> None:
    wants = [_begun(text, stops) for text, stops, _ in PAPER]
    found = [_waits(answer, text, stops) for text, stops, _ in PAPER]
    if found == wants:
        return
    for mistake, guesses in _waiting_mistakes().items():
        for guess in guesses:
            if _guessed(guess, found):
                raise CheckFailed(mistake)
    cases = zip(found, wants, PAPER, strict=True)
    got, want, (text, stops, why) = next(c for c in cases if c[0] != c[1])
    raise CheckFailed(
        f"After {text!r} with the stops {stops!r} {want} character(s) should wait; yours holds "
        f"back {got}. {why}"
    )


def _guessed(guess: Callable[[str, list[str]], int], found: list[int]) -> bool:
    """Whether a known mistake gives what was found; one that stumbles is no match."""
    try:
        return found == [guess(text, list(stops)) for text, stops, _ in PAPER]
    except Exception:  # the table's own accident, which nobody else is to hear of
        return False


def _beginnings(text: str, stop: str) -> list[int]:
    """How much of this stop string has begun, in all the ways there are; shortest first."""
    return [n for n in range(1, len(stop)) if _ends(text, stop[:n])]


def _ends(text: str, piece: str) -> bool:
    return text[max(0, len(text) - len(piece)) :] == piece


def _waiting_mistakes() -> dict[str, tuple[Callable[[str, list[str]], int], ...]]:
    """Known mistakes, as functions of text and stops."""

    def every(text: str, stops: Sequence[str]) -> list[int]:
        return sorted(n for stop in stops for n in _beginnings(text, stop))

    def longest(text: str, stop: str) -> int:
        return max(_beginnings(text, stop), default=0)

    def found(text: str, stops: Sequence[str]) -> list[int]:
        return [n for stop in stops if (n := longest(text, stop))]

    def first_miss(text: str, stop: str) -> int:
        n = 0
        while n < len(stop) - 1 and _ends(text, stop[: n + 1]):
            n += 1
        return n

    def anywhere(text: str, stop: str) -> int:
        return max((n for n in range(1, len(stop)) if stop[:n] in text), default=0)

    def from_place(text: str, stop: str, place: int) -> int:
        return len(text) - place if place >= 0 and stop.startswith(text[place:]) else 0

    def counter(text: str, stop: str, again: bool) -> int:
        n = 0
        for letter in text:
            fits = n < len(stop) and letter == stop[n]
            n = n + 1 if fits else int(again and letter == stop[0])
        return n

    def beyond(text: str, stop: str, most: int) -> int:
        lengths = range(most, 0, -1)
        return next((n for n in lengths if stop.startswith(text[-n:])), 0)

    def run(text: str, letters: str) -> int:
        return len(text) - len(text.rstrip(letters)) if letters else 0

    def pattern(text: str, stops: Sequence[str], end: str, escape: Callable) -> int:
        pieces = [escape(s[:n]) for s in stops for n in range(len(s) - 1, 0, -1)]
        hits = []
        for piece in pieces:
            try:
                hit = re.search(f"(?:{piece}){end}", text)
            except re.error:
                return -1
            hits += [hit.end() - hit.start()] if hit else []
        return max(hits, default=0)

    # fmt: off
    return {
        "As much is held back as any stop string could need, whatever stands there. Then every "
        "text is late; look whether a stop string has begun.":
            (lambda t, s: max(map(len, s)) - 1, lambda t, s: max(map(len, s)),
             lambda t, s: min(len(t), max(map(len, s)) - 1), lambda t, s: len(s[0]) - 1,
             lambda t, s: min(len(t), max(map(len, s)))),
        "Never more than one character is held back. Several characters of a stop string may have "
        "come already.":
            (lambda t, s: int(any(t[-1] == stop[0] for stop in s)),
             lambda t, s: int(bool(every(t, s)))),
        "The end of the text is only compared with the beginning that is one character short of "
        "the whole stop string. It may have begun with fewer characters.":
            (lambda t, s: max((len(x) - 1 for x in s if _ends(t, x[:-1])), default=0),),
        "The *whole* text is looked up in the stop strings. Only its end has to be the beginning of one.":
            (lambda t, s: len(t) if any(x.startswith(t) for x in s) else 0,
             lambda t, s: len(t) if any(t in x for x in s) else 0),
        "Only one of the stop strings is looked at (the first, the last or the longest). Any of "
        "them may have begun.":
            (lambda t, s: longest(t, s[0]), lambda t, s: longest(t, s[-1]),
             lambda t, s: longest(t, max(s, key=len)), lambda t, s: longest(t, min(s, key=len))),
        "The first stop string that has begun decides, or the last one. The longest beginning counts, "
        "whichever it is.":
            (lambda t, s: (found(t, s) or [0])[0], lambda t, s: (found(t, s) or [0])[-1]),
        "Of several stop strings that have begun the shortest beginning counts. Then the longest "
        "is shown too early.":
            (lambda t, s: min(found(t, s), default=0),),
        "The shortest beginning counts. A stop string may have begun in two ways, and the longest "
        "one has to wait.":
            (lambda t, s: min(every(t, s), default=0),
             lambda t, s: max((min(_beginnings(t, x), default=0) for x in s), default=0),
             lambda t, s: next((min(b) for x in s if (b := _beginnings(t, x))), 0)),
        "The search ends at the first length that does not fit. A longer beginning may fit though "
        "a shorter one does not: after abab, for ababc, a does not fit, ab does.":
            (lambda t, s: max(first_miss(t, x) for x in s),),
        "What has begun of several stop strings is added up. They overlap; the longest beginning is "
        "enough.":
            (lambda t, s: sum(found(t, s)), lambda t, s: sum(every(t, s))),
        "It is counted how many beginnings there are. How many *characters* wait is asked.":
            (lambda t, s: len(found(t, s)), lambda t, s: len(every(t, s))),
        "This is how much may be shown, or where the cut is. How many characters may not be shown "
        "is asked.":
            (lambda t, s: len(t) - _begun(t, s),),
        "This is how much of the stop string is still missing. How much of it has come is asked.":
            (lambda t, s: max((len(x) - longest(t, x) for x in s if longest(t, x)), default=0),
             lambda t, s: min((len(x) - longest(t, x) for x in s if longest(t, x)), default=0)),
        "Beginnings are looked for anywhere in the text. Only what stands at its end can still "
        "become a stop string.":
            (lambda t, s: max(anywhere(t, x) for x in s),
             lambda t, s: max((len(t) - t.find(x[0]) if x[0] in t else 0 for x in s), default=0),
             lambda t, s: max((len(t) - t.rfind(x[0]) if x[0] in t else 0 for x in s), default=0)),
        "Only the first place where the stop string's first character stands is tried. A later one "
        "may be the beginning.":
            (lambda t, s: max(from_place(t, x, t.find(x[0])) for x in s),),
        "Only the last place where the stop string's first character stands is tried. An earlier "
        "one may be the beginning.":
            (lambda t, s: max(from_place(t, x, t.rfind(x[0])) for x in s),),
        "One count goes through the text and starts again where a letter does not fit. Meanwhile "
        "another beginning may be on its way: after aaa, of aab.":
            (lambda t, s: max(counter(t, x, False) for x in s),
             lambda t, s: max(counter(t, x, True) for x in s)),
        "The end of the text is compared with the *end* of the stop strings. Their beginning is "
        "what comes first.":
            (lambda t, s: max((n for x in s for n in range(1, len(x)) if _ends(t, x[-n:])), default=0),
             lambda t, s: max((n for x in s for n in range(1, len(x) + 1) if _ends(t, x[-n:])), default=0)),
        "The end of the text is looked up anywhere in the stop strings. Only with their beginning "
        "do they begin.":
            (lambda t, s: max((n for n in range(1, len(t) + 1) if any(t[-n:] in x for x in s)), default=0),
             lambda t, s: max((n for n in range(1, len(t) + 1) if any(t[-n:] in x[:-1] for x in s)), default=0)),
        "The *beginning* of the text is looked at. A stop string comes at its end.":
            (lambda t, s: max((n for x in s for n in range(1, len(x)) if t.startswith(x[:n])), default=0),),
        "Characters that occur in a stop string are counted, in whatever order. They have to be its "
        "beginning, letter by letter.":
            (lambda t, s: run(t, "".join(s)), lambda t, s: max(run(t, x) for x in s),
             lambda t, s: max(run(t, x[:-1]) for x in s)),
        "The last step is left out: a stop string of which all but one character have come has begun "
        "as well. How far does range go?":
            (lambda t, s: max((n for x in s for n in _beginnings(t, x) if n < len(x) - 1), default=0),),
        "A single character is never held back. One is a beginning, too.":
            (lambda t, s: max((n for n in every(t, s) if n > 1), default=0),),
        "It is off by one.":
            (lambda t, s: _begun(t, s) + 1, lambda t, s: _begun(t, s) - 1,
             lambda t, s: max(_begun(t, s) - 1, 0), lambda t, s: _begun(t, s) + bool(_begun(t, s))),
        "More characters are held back than the text has. A slice text[-n:] with n larger than the "
        "text is the whole text, without a warning.":
            (lambda t, s: max(beyond(t, x, len(x) - 1) for x in s),
             lambda t, s: max(beyond(t, x, len(x)) for x in s)),
        "Capitals and small letters are taken for the same. To a stop string they are not.":
            (lambda t, s: _begun(t.lower(), [x.lower() for x in s]),),
        "Blanks or line breaks at the end of the text were cut off before comparing (strip). They "
        "are characters like others, and many stop strings begin with one.":
            (lambda t, s: _begun(t.rstrip(), s), lambda t, s: _begun(t.strip(), s),
             lambda t, s: _begun(t.strip(), [x.strip() for x in s]),
             lambda t, s: _begun(t.rstrip(" "), s), lambda t, s: _begun(t.rstrip("\n"), s)),
        "Only the last word or the last line of the text is looked at. A stop string may hold "
        "blanks and line breaks.":
            (lambda t, s: _begun((t.split() or [""])[-1], s), lambda t, s: _begun(t.split("\n")[-1], s),
             lambda t, s: _begun((t.splitlines() or [""])[-1], s), lambda t, s: _begun(t.split(" ")[-1], s)),
        "Bytes are counted. Some characters have two or more; characters are asked.":
            (lambda t, s: len(t[len(t) - _begun(t, s):].encode()),),
        "In a pattern $ stands also *before* a last line break, so that one is overlooked.":
            (lambda t, s: pattern(t, s, "$", re.escape),),
        "Some characters of the stop strings mean something in a pattern (a full stop, a star, a "
        "bracket). Here they are characters like others.":
            (lambda t, s: pattern(t, s, "$", str), lambda t, s: pattern(t, s, r"\Z", str)),
        "It returned 0 for every text. Some of them end with the beginning of a stop string.":
            (lambda t, s: 0,),
    }
    # fmt: on


def _waits_for_nothing(answer) -> None:
    # fmt: off
    for text, stops, what in (
        ("", ["END", "."], "In an empty text"),
        ("so.\n", [], "Without any stop string"),
        ("so.\n", (), "Without any stop string (an empty tuple)"),
        ("", [], "In an empty text without any stop string"),
        ("so", [".", "o!", "\n"], "One letter of the text"),
    ):
        # fmt: on
        want = _begun(text, stops)
        try:
            got = _waits(answer, text, stops)
        except (ValueError, IndexError, TypeError, re.error) as error:
            raise CheckFailed(
                f"{what} nothing can have begun, so 0 is wanted; yours stopped with "
                f"{type(error).__name__}: {first_line(error)}"
            ) from None
        expect(
            got == want,
            f"After {text!r} with the stops {stops!r} {want} character(s) should wait; yours holds "
            f"back {got}. {_why(got, want)}",
        )


def _random_texts(draw: torch.Generator):
    """Texts over few letters, so that stop strings begin often; none holds a complete one."""

    def word(least: int, most: int) -> str:
        length = int(torch.randint(least, most + 1, (), generator=draw))
        letters = torch.randint(len(alphabet), (length,), generator=draw).tolist()
        return "".join(alphabet[i] for i in letters)

    done = 0
    while done < 60:
        alphabet = ("ab", "ab\n", "a.é ")[done % 3]
        stops = [word(1, 6) for _ in range(1 + done % 4)]
        head = stops[0][: done % len(stops[0])]
        text = word(0, 9) + (head if done % 2 else "")
        if not any(stop in text for stop in stops):
            done += 1
            yield text, stops


# --- grow ---------------------------------------------------------------------------------------


@check(
    beam.grow,
    proved="On paper and on random beams it finds the best of all, it returns nothing impossible, "
    "and neither far-out scores, equal ones nor too large an n break it.",
)
def grow(answer, draw):
    chances = torch.tensor(
        [[0.28, 0.44, 0.08, 0.18, 0.02], [0.1, 0.4, 0.3, 0.05, 0.15]]
    ).double()
    logits = (chances.log() + torch.tensor([[1.5], [-1.0]])).float()
    logprobs = torch.tensor([0.2, 0.6]).log()
    for n in (4, 3, 2, 1, 5, 9, 10):
        _grow_step(
            answer,
            logprobs,
            logits,
            n,
            "Two beams have the chances 0.2 and 0.6 so far, their next tokens .28 .44 .08 .18 .02 "
            f"and .1 .4 .3 .05 .15. {{}} (n = {n})",
        )
    _grow_at_the_edges(answer)
    for B, V, n, dtype in (
        (4, 6, 7, torch.float32),
        (3, 3, 4, torch.float32),
        (1, 9, 5, torch.float32),
        (5, 1, 5, torch.float32),
        (12, 3, 30, torch.float32),
        (2, 300, 40, torch.float32),
        (2, 40, 30, torch.float64),
    ):
        scores = torch.randn(V, B, generator=draw, dtype=dtype).T  # not in one piece
        so_far = -4 * torch.rand(B, generator=draw, dtype=dtype)
        so_far[-1] = -0.1  # so that the last of many beams counts
        _grow_step(
            answer,
            so_far,
            3 * scores,
            n,
            f"On {B} random beam(s) with {V} token(s) to choose from, n = {n}: {{}}",
        )


def _every(logprobs: Tensor, logits: Tensor) -> dict[tuple[int, int], float]:
    """What each (beam, token) that is possible is worth, number by number."""
    worth = {}
    for b, row in enumerate(logits.double().tolist()):
        if logprobs[b] == -math.inf:
            continue
        most = max(row)
        size = most + math.log(sum(math.exp(z - most) for z in row))
        for v, z in enumerate(row):
            if z > -math.inf:
                worth[b, v] = logprobs[b].item() + z - size
    return worth


def _grown(
    answer: Callable, logprobs: Tensor, logits: Tensor, n: int
) -> tuple[Tensor, Tensor, Tensor]:
    """An answer's three results; others than three rows of the right kind and length are named."""
    try:
        result = ask(answer, logprobs, logits, n)
    except (RuntimeError, IndexError) as error:
        possible = len(_every(logprobs, logits))
        if n > possible and re.search(
            "out of range|out of bounds|selected index", str(error)
        ):
            raise CheckFailed(
                f"n = {n} is more than the {possible} continuations that are possible, and it "
                f"stopped with {type(error).__name__}: {first_line(error)}. Then fewer come back."
            ) from None
        raise
    expect(
        isinstance(result, tuple | list) and len(result) == 3,
        f"It returned {_kind(result)}; three things are wanted: log-probabilities, beams, tokens.",
    )
    for name, part in zip(
        ("log-probabilities", "beams", "tokens"), result, strict=True
    ):
        expect(
            isinstance(part, Tensor),
            f"Its {name} are a {type(part).__name__}; three tensors are wanted.",
        )
        expect(
            part.dim() == 1,
            f"Its {name} have shape {tuple(part.shape)}; one row of numbers is wanted, without "
            "further dimensions.",
        )
    got, beams, tokens = result
    expect(
        got.is_floating_point(),
        "The first of the three is whole numbers. The order is: log-probabilities, beams, tokens.",
    )
    for name, part in (("beams", beams), ("tokens", tokens)):
        expect(
            not part.is_floating_point() and part.dtype != torch.bool,
            f"The {name} are of {part.dtype}; they are places, so whole numbers. (// divides into "
            "whole numbers. The order is: log-probabilities, beams, tokens.)",
        )
    expect(
        len(got) == len(beams) == len(tokens),
        f"The three have different lengths: {len(got)}, {len(beams)} and {len(tokens)}. The place i "
        "in all three speaks of one beam.",
    )
    return got, beams, tokens


def _kind(result: object) -> str:
    if isinstance(result, tuple | list):
        return f"{len(result)} thing(s)"
    return f"a {type(result).__name__}"


def _grow_step(
    answer: Callable, logprobs: Tensor, logits: Tensor, n: int, otherwise: str
) -> None:
    got, beams, tokens = _grown(answer, logprobs, logits, n)
    worth, (B, V) = _every(logprobs, logits), logits.shape
    best = sorted(worth.values(), reverse=True)[:n]
    if len(got) != len(best):
        said = _grow_length(beams.tolist(), len(best), (B, V), n, len(worth))
        raise CheckFailed(otherwise.format(said))
    pairs = list(zip(beams.tolist(), tokens.tolist(), strict=True))
    claimed = torch.tensor([worth.get(pair, math.nan) for pair in pairs]).double()
    want = torch.tensor(best).double()
    if close(got, want) and close(claimed, want) and len(set(pairs)) == len(pairs):
        return
    for mistake, results in _grow_mistakes(logprobs, logits, n).items():
        for values, places in results:
            same = len(places) == len(pairs) and places == pairs
            if same and close(got, values.to(got.dtype)):
                raise CheckFailed(mistake)
    raise CheckFailed(
        otherwise.format(_grow_fault(got, pairs, claimed, want, worth, (B, V)))
    )


def _grow_length(
    beams: list[int], wanted: int, sizes: tuple[int, int], n: int, possible: int
) -> str:
    """What lies behind a wrong number of results."""
    got, (B, V) = len(beams), sizes
    few = (
        f" Only {possible} of {B * V} are possible." if possible < min(n, B * V) else ""
    )
    why = "Does every path return the n best, or all that are possible if there are fewer?"
    if possible < min(n, B * V) and got == min(n, B * V):
        why = (
            "Impossible ones, at minus infinity, are returned as well; leave them out."
        )
    elif got == n:
        why = "Then fewer come back; nothing is filled up."
    elif got == B * V:
        why = "All came back, not the n best."
    elif got == min(n, V) * B:
        why = "These are n of each beam. Beams compete with one another: n of all together."
    elif sorted(beams) == list(range(B)):
        why = "That is one of each beam. The n best may come from any beams, even all from one."
    elif got == B:
        why = "As many came back as there are beams. How many are wanted is n."
    elif got == min(n, V):
        why = "Is the length of one row the limit? With several beams there are more."
    elif abs(got - wanted) == 1:
        why = "It is off by one."
    return (
        f"With {B} beam(s) of {V} token(s) and n = {n}, {wanted} should come back; yours are "
        f"{got}.{few} {why}"
    )


def _grow_fault(got, pairs, claimed, want, worth, sizes) -> str:
    """Which part of the contract a result breaks that meets no known mistake."""
    B, V = sizes
    if got.isnan().any():
        return "Log-probabilities came back as nan."
    if not got.isfinite().all():
        return "A log-probability came back infinite; impossible ones are left out."
    if any(not (0 <= b < B and 0 <= v < V) for b, v in pairs):
        return (
            f"It names a beam or token that there is not: beams go from 0 to {B - 1}, tokens from "
            f"0 to {V - 1}, and yours are (beam, token) {_some(pairs)}."
        )
    if any(pair not in worth for pair in pairs):
        return "A token or a beam that is impossible came back."
    if len(set(pairs)) < len(pairs):
        return (
            f"The same beam and token come back more than once: {_some(pairs)}. With equal "
            "numbers a search by value finds the first one again and again."
        )
    if close(claimed, want):
        return _grow_numbers(got, want)
    if close(claimed.sort(descending=True).values, want):
        return "The right ones are found, but not sorted: the best comes first."
    if close(got, want):
        return (
            "The log-probabilities are right; beams and tokens do not belong to them: yours are "
            f"(beam, token) {_some(pairs)}."
        )
    place = next(i for i in range(len(want)) if not close(claimed[i], want[i]))
    mine, better = told_apart(claimed[place].item(), want[place].item())
    return (
        f"Yours are (beam, token) {_some(pairs)}. Number {place + 1} among them is worth "
        f"{mine}, and {better} could be had."
    )


def _grow_numbers(got: Tensor, want: Tensor) -> str:
    """The first log-probability that is wrong, of beams and tokens that are right."""
    place = next(i for i in range(len(want)) if not close(got[i], want[i]))
    mine, right = told_apart(got[place].item(), want[place].item())
    rounded = close(got, want, rtol=1e-2, atol=1e-3)
    return (
        "Beams and tokens are right, their log-probabilities are not: number "
        f"{place + 1} should be {right} and yours is {mine}."
        + (" Is something rounded on the way?" if rounded else "")
    )


def _some(pairs: list[tuple[int, int]]) -> str:
    return ", ".join(map(str, pairs[:4])) + (", …" if len(pairs) > 4 else "")


def _grow_mistakes(logprobs: Tensor, logits: Tensor, n: int) -> dict:
    """What known mistakes give, each as numbers and (beam, token)."""
    so_far, z, (B, V) = logprobs.double()[:, None], logits.double(), logits.shape
    step = z.log_softmax(-1)
    right = so_far + step
    flat = right.flatten()
    order = flat.sort(descending=True, stable=True).indices[:n]
    k = len(order)
    values = flat[order]

    def divided(places: Tensor, by: int) -> list[tuple[int, int]]:
        return [(p // by, p % by) for p in places.tolist()]

    def top(table: Tensor, worth: Tensor | None = None, descending: bool = True):
        row = table.flatten()
        where = row.sort(descending=descending, stable=True).indices
        where = where[row[where].isfinite()][:n]
        worth = table if worth is None else worth
        return worth.flatten()[where], divided(where, V)

    def of(numbers: Tensor, pairs: list[tuple[int, int]]):
        return numbers, pairs

    pairs = divided(order, V)
    width = min(n, V)
    firsts = right.sort(dim=1, descending=True, stable=True)
    greedy = torch.stack(
        [firsts.values[:, :width].flatten(), firsts.indices[:, :width].flatten()]
    )
    owners = torch.arange(B).repeat_interleave(width)
    mine = list(zip(owners.tolist(), greedy[1].long().tolist(), strict=True))
    ranks = [(b, i % width) for i, (b, _) in enumerate(mine)]
    among = greedy[0].sort(descending=True, stable=True).indices[:n].tolist()
    one = right.max(1)
    ladder = one.values.sort(descending=True, stable=True).indices[:n].tolist()
    by_rank = firsts.indices.T.flatten().tolist()[:n]
    turns = [(i % B, token) for i, token in enumerate(by_rank)]
    sorted_places = order.sort().values
    lying = right.T.flatten().sort(descending=True, stable=True).indices[:n]
    ranked = divided(flat.sort(descending=True, stable=True).indices, V)
    once = list({v: (b, v) for b, v in reversed(ranked)}.values())[::-1]
    once = sorted(once, key=ranked.index)[:n]
    by_worth = logprobs.argsort(descending=True, stable=True).tolist()
    joint = z.flatten().log_softmax(0).view(B, V)
    others = torch.arange(B)[:, None] != logprobs.argmax()
    alone = right.masked_fill(others, -math.inf)
    # fmt: off
    return {
        "The last beam, or the last token, is left out. Does a loop or a slice end too early?":
            (top(right[:-1]), top(right.masked_fill(torch.arange(V) == V - 1, -math.inf)))
            if len(right[:-1]) and V > 1 else (),
        "Raw scores were added to the log-probabilities. They are not comparable between beams: each "
        "beam's row has to become log-probabilities first.":
            (top(so_far + z), top(so_far + z, right), top(z), top(z, right)),
        "The softmax went over all beams at once. Each beam is a choice among V tokens of its own.":
            (top(so_far + joint), top(joint), top(so_far + joint, right)),
        "The softmax went over the beams. Each beam is a choice among V tokens of its own.":
            (top(so_far + z.log_softmax(0)), top(z.log_softmax(0))),
        "The probability of the new token was added to a log-probability. Logarithms add up with "
        "logarithms.":
            (top(so_far + z.softmax(-1)), top(so_far.exp() + step), top(so_far.exp() + z.softmax(-1))),
        "These are probabilities, not their logarithms.":
            (top(right.exp()), top(z.softmax(-1))),
        "A log-probability was multiplied. Probabilities multiply; their logarithms add up.":
            (top(so_far * step), top(so_far * z.softmax(-1)), top(so_far * z)),
        "What a beam was worth so far is forgotten: a good token of a poor beam wins.":
            (top(step), top(step, right)),
        "What a beam was worth so far was added to the columns, token by token. It belongs to its row.":
            ((top(logprobs.double() + step),) if B == V else ()),
        "Only the new token's log-probability is returned; that of the whole beam is wanted.":
            (top(right, step), top(right, step * 0 + so_far)),
        "What a beam was worth so far is subtracted, or the new token is.":
            (top(step - so_far), top(so_far - step), top(-right)),
        "The mean of the log-probabilities is taken. Over one text they add up.":
            (top(right / 2),),
        "The logarithm has another base than e.":
            (top(so_far + step / math.log(2)), top(so_far + step / math.log(10)),
             top(right / math.log(2)), top(right / math.log(10))),
        "The results were normalised again. The log-probability of a text does not depend on the "
        "texts beside it.":
            (top(right - values.logsumexp(0)), top(right - flat.logsumexp(0))),
        "Every beam goes on with its own best token. Beams compete with one another: the n best may "
        "all come from one beam.":
            (of(one.values[:n], [(b, int(one.indices[b])) for b in range(min(n, B))]),
             of(one.values[ladder], [(b, int(one.indices[b])) for b in ladder]),
             of(greedy[0][:n], mine[:n]),
             of(torch.stack([right[p] for p in turns]), turns)),
        "Beam and token have changed places.":
            (of(values, [(v, b) for b, v in pairs]),),
        "The table lay on its side, (V, B), when it became one row. Then a row is as long as there are beams.":
            (of(values, divided(lying, V)), of(values, [(v, b) for b, v in divided(lying, V)]),
             of(values, divided(lying, B))),
        "Each token comes back only once, or only one beam goes on. Several beams may be among the n "
        "best, and with the same token.":
            (of(torch.stack([right[p] for p in once]), once), top(alone)),
        "Places were divided by the number of beams. A row is as long as there are tokens.":
            (of(values, divided(order, B)), of(values, [(v, b) for b, v in divided(order, B)])),
        "Places were divided by n. A row is as long as there are tokens.":
            (of(values, divided(order, n)), of(values, [(v, b) for b, v in divided(order, n)])),
        f"Places were divided by another number than the length of a row, which is {V} here. Is one "
        "built in?":
            tuple(of(values, divided(order, d)) for d in (3, V - 1, V + 1) if d > 0),
        "Numbers beyond 127 or 255 have become others. Was a type chosen that is too small for beams "
        "and tokens?":
            tuple(of(values, [tuple((x + a) % 256 - a for x in pair) for pair in pairs]) for a in (0, 128)),
        "The tokens are places in the one long row of B * V numbers. Which token of its row is it?":
            (of(values, [(b, int(p)) for (b, _), p in zip(pairs, order, strict=True)]),),
        "The beams are places in the one long row of B * V numbers.":
            (of(values, [(int(p), v) for (_, v), p in zip(pairs, order, strict=True)]),),
        "The best of each beam were taken first, and then a place among those was read as a token. "
        "Look up which token it was.":
            (of(values, [ranks[i] for i in among]),
             of(values, [divided(torch.tensor([i]), V)[0] for i in among])),
        "The beams were counted in another order than the one they came in, or each is called 0. The "
        "number of a beam is its row in logits.":
            (of(values, [(by_worth.index(b), v) for b, v in pairs]), of(values, [(0, v) for _, v in pairs])),
        "The beams are numbered 0, 1, 2 … as they come out. From which one each comes is asked.":
            (of(values, [(i, v) for i, (_, v) in enumerate(pairs)]),),
        "The worst were taken, not the best.":
            (top(right, descending=False),
             of(flat[flat.sort(stable=True).indices[:n].flip(0)], divided(flat.sort(stable=True).indices[:n].flip(0), V))),
        "The right ones are found, but not sorted: the best comes first.":
            (of(values.flip(0), pairs[::-1]), of(flat[sorted_places], divided(sorted_places, V)),
             of(values, pairs[::-1]), of(values.flip(0), pairs)),
        "The first ones came back, not the best.":
            (of(flat[:k], divided(torch.arange(k), V)),),
    }
    # fmt: on


def _grow_at_the_edges(answer) -> None:
    inf = math.inf
    # fmt: off
    steps = (
        ((-9.0, -1.0), ((3.0, 0.0, 1.0), (0.5, 0.0, 1.0)), 3,
         "One beam is at -9, the other at -1, so that the best three all come from that one. {}"),
        ((-2.0, 0.0), ((6.0, 0.0, 0.0), (1.0, 3.0, 2.0)), 2,
         "Beams at -2 and 0 with the scores (6, 0, 0) and (1, 3, 2), n = 2: {}"),
        ((-1.0, -1.0), ((0.0, 1.0, 2.0), (2.5, 0.0, 1.0)), 20,
         "n = 20 is more than there are; then all come back. {}"),
        ((-0.5, -1.0, -2.0), ((0.0, -inf, 1.0), (-inf, -inf, 0.0), (2.0, 1.0, -inf)), 5,
         "Some tokens are impossible, at minus infinity. {}"),
        ((-0.5, -1.0, -2.0), ((0.0, -inf, 1.0), (-inf, -inf, 0.0), (2.0, 1.0, -inf)), 7,
         "Some tokens are impossible, at minus infinity, and n = 7 is more than is possible. {}"),
        ((-0.5, -1.0), ((0.0, -inf, 1.0), (-inf, -inf, 0.0)), 3,
         "Three are possible, the others are at minus infinity, n = 3. {}"),
        ((-1.0, -2.0), ((0.0, -250.0, -1.0), (0.0, -1.0, -400.0)), 6,
         "Tokens that are 250 and 400 below the best are unlikely, not impossible. A softmax and then "
         "its logarithm loses them. {}"),
        ((-1.0, -2.0), ((1000.0, 999.0, 997.0), (-1000.0, -1002.0, -1001.0)), 3,
         "Scores are 1000 and -1000 and near it; an exponential of those overflows or vanishes. {}"),
        ((-800.0, -801.0), ((0.0, 3.0, 1.0), (5.0, 0.0, 1.0)), 4,
         "The beams are at -800 and -801, as long texts are; probabilities that small are rounded to "
         "0. {}"),
        ((-1.0, -1.0), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), 5,
         "All are equal here; any five of the six will do, but five different ones. {}"),
        ((0.0,), ((0.0, 1.0, 0.0, 1.0),), 4,
         "One beam, as at the beginning; some of its tokens are equal. {}"),
        ((-1.0, -2.0, -3.0), ((4.0,), (0.0,), (-7.0,)), 3,
         "There is one token only, so it is certain for every beam. {}"),
        ((0.0, -inf), ((1.0, 2.0), (3.0, 4.0)), 4,
         "The second beam is itself at minus infinity, so nothing that it grows into is possible. {}"),
        ((0.0, -1.0), ((5.0, -inf, -inf), (0.0, 1.0, 0.5)), 3,
         "A beam at 0 has one possible token, so that this continuation is certain: it is at 0 too. {}"),
        ((-1.0, -2.0), ((0.0, -1e6), (0.0, 1.0)), 4,
         "A token a million below the best is unlikely, not impossible. {}"),
        ((-0.1, -30.0), ((0.0, 1.0), (1.0, 0.0)), 3,
         "Beams at -0.1 and -30: a poor beam may be among the n best when n is large. {}"),
    )
    # fmt: on
    for logprobs, logits, n, otherwise in steps:
        step = functools.partial(_grow_step, answer, n=n, otherwise=otherwise)
        step(torch.tensor(logprobs), torch.tensor(logits))
