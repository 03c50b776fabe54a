"""Check of lesson 06: the learner's test of any scorer of texts, and the scorers it must tell apart.

A scorer is called as score(ids, mask) and returns one reward for each row. Which
reward is its own affair. Five things are claimed: padding and what stands under it
change nothing, nor do the neighbours in the batch; how a text ends counts, and how
it begins. The faulty ones have what is wrong in published reward models.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import told_apart
from course_lib.checks.learners_tests import check_test

OPENING, END = 3, 1  # opens a reply, closes it


class _Row(NamedTuple):
    """One row of a batch."""

    ids: list[int]
    kept: list[bool]

    @property
    def text(self) -> list[int]:
        return [i for i, real in zip(self.ids, self.kept, strict=True) if real]

    @property
    def last(self) -> int:
        return max(t for t, real in enumerate(self.kept) if real)

    @property
    def first(self) -> int:
        return self.kept.index(True)


def _refuse(ids: object, mask: object) -> None:
    """Not asserts: those would look like the test's own."""
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.ndim != 2:
        said = (
            f"{ids.dtype} {tuple(ids.shape)}"
            if isinstance(ids, Tensor)
            else type(ids).__name__
        )
        raise ValueError(f"ids are whole numbers of shape (B, T), not {said}")
    if ids.numel() == 0:
        raise ValueError(f"there is no token to read: ids have shape {(*ids.shape,)}")
    if int(ids.min()) < 0:
        raise ValueError("a token number is at least 0")
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        said = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask is boolean of shape (B, T), not {said}")
    if mask.shape != ids.shape:
        raise ValueError(
            f"ids have shape {(*ids.shape,)} and mask has {(*mask.shape,)}"
        )
    empty = (~mask.any(dim=1)).nonzero()
    if len(empty):
        raise ValueError(f"row {int(empty[0])} is all padding")


def _rows(ids: Tensor, mask: Tensor | None = None) -> list[_Row]:
    _refuse(ids, mask)
    kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    return [_Row(*row) for row in zip(ids.tolist(), kept.tolist(), strict=True)]


# --- how a row is read ------------------------------------------------------------------------


def _loud(token: int) -> float:
    """From -1 to 1, far apart for neighbours: multiples of the golden ratio."""
    return 2 * ((token + 1) * 0.6180339887498949 % 1) - 1


def _low(token: int) -> float:
    return 2 * ((token + 1) * 0.41421356237309515 % 1) - 1


def _reading(ids: list[int], kept: list[bool]) -> tuple[float, ...]:
    """A number at each place: its own token, and what was kept up to there; padding reads otherwise."""
    return _row_read(tuple(ids), tuple(kept))


@functools.lru_cache(maxsize=4096)
def _row_read(ids: tuple[int, ...], kept: tuple[bool, ...]) -> tuple[float, ...]:
    found, heard, count = [], 0.0, 0
    for token, real in zip(ids, kept, strict=True):
        if real:
            heard += _low(token) * (1 if count % 2 else 0.7)
            count += 1
        own = _loud(token) + (0 if real else 0.4)
        found.append(own + heard / math.sqrt(count + 1))
    return tuple(found)


def _read(text: list[int]) -> float:
    return _reading(text, [True] * len(text))[-1]


# --- right versions ---------------------------------------------------------------------------


def _at_the_last_place(ids, mask=None):
    rows = _rows(ids, mask)
    return torch.tensor([_reading(*row)[row.last] for row in rows])


def _mirrored(ids, mask=None):
    """What the first one likes it dislikes, and less loudly."""
    return -3 - 0.2 * _at_the_last_place(ids, mask)


def _without_padding(ids, mask=None):
    """From the end to the beginning, and in another unit."""
    found = []
    for row in _rows(ids, mask):
        said = sum(
            _loud(token) / (1 + k / 4) for k, token in enumerate(reversed(row.text))
        )
        found.append(30 * said + 12)
    return torch.tensor(found)


def _mean_of_what_is_real(ids, mask=None):
    found = []
    for row in _rows(ids, mask):
        read = _reading(row.text, [True] * len(row.text))
        found.append(2 * sum(read) / len(read))
    return torch.tensor(found)


@functools.cache
def _embeddings() -> Tensor:
    return torch.randn(997, 8, generator=torch.Generator().manual_seed(6))


def _attention(ids, mask=None):
    """The last token looks at all others; its last binary digit follows the row's length, as a model's may."""
    rows = _rows(ids, mask)
    last = [row.last for row in rows]
    kept = torch.tensor([row.kept for row in rows])
    x = _embeddings()[ids % 997]  # (B, T, 8)
    asking = x[range(len(rows)), last]
    seen = (x @ asking.unsqueeze(-1)).squeeze(-1) / 4
    weights = seen.masked_fill(~kept, -math.inf).softmax(dim=1)
    found = ((weights.unsqueeze(1) @ x).squeeze(1) + asking)[:, :4].sum(dim=1)
    for _ in range(ids.shape[1] % 3):
        found = found.nextafter(torch.tensor(math.inf))
    return found


# --- faulty versions --------------------------------------------------------------------------

_FAULTY: dict = {}
_SHOWN_BY: dict = {}  # what inputs show a version's fault


def _faulty(description: str, shown_by: str):
    """Registers a version made from rule(row), which gives the reward of one row."""
    return _faulty_batch(
        description, shown_by, lambda rule: lambda rows: map(rule, rows)
    )


def _faulty_batch(description: str, shown_by: str, wrapped: Callable = lambda r: r):
    """Registers a version made from rule(rows), which gives all rewards of a batch."""

    def register(rule):
        rule_of_all = wrapped(rule)

        def version(ids, mask=None):
            return torch.tensor([float(x) for x in rule_of_all(_rows(ids, mask))])

        _FAULTY[f"one that {description}"] = version
        _SHOWN_BY[version] = shown_by
        return rule

    return register


_RIGHT = "Give it a text alone, and the same text with padding on the right."
_LEFT = "Give it a text alone, and the same text with padding on the left."
_EITHER = "Give it a text alone, and the same text with padding."
_AMOUNT = f"{_EITHER} Let the padding be longer, too."
_FILLED = "Fill the padding with other tokens than 0, and compare."
_ENDING = "Give it two texts that differ in nothing but their last real token."
_START = "Give it two texts that differ in nothing but a token of their first half."
_UNEQUAL = "Put rows of different lengths into one batch, and compare each with the same text alone."
_UNEQUAL_RIGHT = f"{_UNEQUAL} Their padding should be on the right."
_SHORT_FIRST = f"{_UNEQUAL} Let a short one stand before a long one."
_LONG_FIRST = f"{_UNEQUAL} Let a long one stand before a short one."
_BATCH = "Put several texts into one batch, and compare each with the same text alone."
_QUESTIONS = f"{_BATCH} They should begin differently."
_AGAIN = "Give it the same text twice, with something else between."


# ---- where it reads


@_faulty("reads at the last place of the row, padding or not", _RIGHT)
def _last_place(r):
    return _reading(*r)[-1]


@_faulty(
    "counts the real tokens of a row and takes that for the place of the last one",
    _LEFT,
)
def _counted(r):
    return _reading(*r)[sum(r.kept) - 1]


@_faulty("takes no notice of the mask", _EITHER)
def _no_mask(r):
    return _read(r.ids)


@_faulty(
    "reads at the first place of the row, where encoders have their [CLS]", _ENDING
)
def _first_place(r):
    return _reading(*r)[0]


@_faulty("reads at the first real token", _ENDING)
def _first_real(r):
    return _reading(*r)[r.first]


@_faulty("reads one token too early, before the last real one", _ENDING)
def _too_early(r):
    return _read(r.text[:-1] or [0])


@_faulty(
    "takes True for padding, so that it reads at the last token that is none", _EITHER
)
def _upside_down(r):
    padding = [t for t, real in enumerate(r.kept) if not real]
    return _reading(*r)[padding[-1] if padding else -1]


@_faulty("takes the mean over all places, padding included", _EITHER)
def _mean_of_all(r):
    read = _reading(*r)
    return sum(read) / len(read)


@_faulty(
    "sums what is real and divides it by the length of the row, padding included",
    _AMOUNT,
)
def _divided_by_all(r):
    return sum(_reading(r.text, [True] * len(r.text))) * 2 / len(r.ids)


# ---- what it reads


@_faulty("finds the last real token, and reads the padding before it as well", _LEFT)
def _padding_heard(r):
    return _read(r.ids[: r.last + 1])


@_faulty("takes tokens with number 0 for padding, whatever the mask says", _FILLED)
def _zeros_are_padding(r):
    return _read([i for i in r.ids if i] or [0])


@_faulty("takes end tokens (1) for padding, whatever the mask says", _FILLED)
def _ends_are_padding(r):
    return _read([i for i in r.ids if i != END] or [0])


@_faulty("numbers the places of a row from its left end, padding included", _LEFT)
def _absolute_places(r):
    return _read(r.text) + 0.7 * math.sin(1.3 * r.first)


@_faulty("reads the answer without its question", _START)
def _without_the_question(r):
    text = r.text
    opened = text.index(OPENING) + 1 if OPENING in text[:-1] else 0
    return _read(text[max(opened, len(text) // 2) :])


@_faulty(
    "reads the last three tokens and no others", f"{_START} Take at least five tokens."
)
def _three_tokens(r):
    return _read(r.text[-3:])


@_faulty("reads the last token by itself, not what stands before it", _START)
def _last_alone(r):
    return _loud(r.text[-1])


@_faulty("counts the tokens and reads none of them", _ENDING)
def _length_alone(r):
    return len(r.text) / 10


@_faulty("says the same about every text", _ENDING)
def _always_zero(r):
    return 0.25


# ---- whom it listens to


def _rewards(rows: list[_Row]) -> list[float]:
    return [_read(row.text) for row in rows]


@_faulty_batch(
    "reads all rows at one place, where the longest of them ends", _UNEQUAL_RIGHT
)
def _one_place(rows):
    place = max(row.last for row in rows)
    return [_reading(*row)[place] for row in rows]


@_faulty_batch("reads all rows at the place where the first one ends", _UNEQUAL_RIGHT)
def _place_of_the_first(rows):
    return [_reading(*row)[rows[0].last] for row in rows]


@_faulty_batch("cuts all texts to the length of the shortest in the batch", _UNEQUAL)
def _cut_to_the_shortest(rows):
    shortest = min(len(row.text) for row in rows)
    return [_read(row.text[:shortest]) for row in rows]


@_faulty_batch("subtracts the mean reward of the batch", _BATCH)
def _centred(rows):
    found = _rewards(rows)
    return [x - sum(found) / len(found) for x in found]


@_faulty_batch("normalises the rewards of a batch to mean 0 and deviation 1", _BATCH)
def _standardised(rows):
    found = _rewards(rows)
    if len(found) == 1:
        return found
    mean = sum(found) / len(found)
    spread = math.sqrt(sum((x - mean) ** 2 for x in found) / len(found))
    return [(x - mean) / (spread + 1e-8) for x in found]


@_faulty_batch("divides the rewards by the largest of the batch", _BATCH)
def _by_the_largest(rows):
    found = _rewards(rows)
    return [x / max(map(abs, found)) for x in found] if len(found) > 1 else found


@_faulty_batch("takes a softmax over the batch", _BATCH)
def _softmax(rows):
    found = [math.exp(x) for x in _rewards(rows)]
    return [x / sum(found) for x in found]


@_faulty_batch("gives every row the mean reward of the batch", _BATCH)
def _mean_for_all(rows):
    found = _rewards(rows)
    return [sum(found) / len(found)] * len(found)


@_faulty_batch("gives every row the reward of the first one", _BATCH)
def _first_for_all(rows):
    return [_read(rows[0].text)] * len(rows)


@_faulty_batch("divides by the number of rows", _BATCH)
def _divided_by_rows(rows):
    return [x / len(rows) for x in _rewards(rows)]


@_faulty_batch("returns the rewards in reverse order", _BATCH)
def _reversed(rows):
    return reversed(_rewards(rows))


@_faulty_batch(
    "sorts the rows, longest first, and returns the rewards in that order", _SHORT_FIRST
)
def _longest_first(rows):
    return _rewards(sorted(rows, key=lambda row: -len(row.text)))


@_faulty_batch(
    "sorts the rows, shortest first, and returns the rewards in that order", _LONG_FIRST
)
def _shortest_first(rows):
    return _rewards(sorted(rows, key=lambda row: len(row.text)))


@_faulty_batch("reads all answers behind the first row's question", _QUESTIONS)
def _first_question_for_all(rows):
    asked = rows[0].text[: len(rows[0].text) // 2]
    return [
        _read(asked + row.text[len(row.text) // 2 :] if t else row.text)
        for t, row in enumerate(rows)
    ]


# ---- what it keeps


class _WithDropout:
    def __init__(self):
        self.calls = 0

    def __call__(self, ids, mask=None):
        self.calls += 1
        noise = [0.2 * math.sin(5 * self.calls + b) for b in range(len(ids))]
        return _at_the_last_place(ids, mask) + torch.tensor(noise)


class _WithAMemory:
    def __init__(self):
        self.before = 0.0

    def __call__(self, ids, mask=None):
        found = _at_the_last_place(ids, mask)
        mixed = found + 0.3 * self.before
        self.before = float(found[0]) + 0.5
        return mixed


for _version, _description, _shown_by in (
    (
        _WithDropout,
        "one whose dropout is switched on, so that no two calls agree",
        _EITHER,
    ),
    (_WithAMemory, "one that keeps a memory of the call before", _AGAIN),
):
    _FAULTY[_description] = _version
    _SHOWN_BY[_version] = _shown_by


# --- what a learner is told -------------------------------------------------------------------


class _Heard(NamedTuple):
    """A text that a test asked about, and its reward."""

    text: tuple[int, ...]
    reward: float


def _heard(version: Callable, calls: list[tuple]) -> list[_Heard]:
    found = []
    for call in calls:
        texts = [tuple(row.text) for row in _rows(*call)]
        found += map(_Heard, texts, version(*call).tolist())
    return found


def _pairs(heard: list[_Heard]):
    """Every two of the texts, of a hundred at most."""
    kept = heard[:100]
    return ((a, b) for i, a in enumerate(kept) for b in kept[:i])


def _said(text: tuple[int, ...]) -> str:
    return str([*text]) if len(text) <= 8 else f"{[*text[:7]]} … ({len(text)} tokens)"


def _shown(version: Callable, calls: list[tuple]) -> str | None:
    """What a scorer does on a test's inputs that no scorer may do."""
    for a, b in _pairs(_heard(version, calls)):
        apart = abs(a.reward - b.reward)
        if a.text == b.text and apart > 1e-4:
            one, other = told_apart(b.reward, a.reward)
            return f"it gives the text {_said(a.text)} the rewards {one} and {other}"
        if a.text == b.text or len(a.text) != len(b.text) or apart > 1e-7:
            continue
        both = f"{_said(b.text)} and {_said(a.text)}"
        if a.text[:-1] == b.text[:-1]:
            return f"it gives {both}, which differ in their last token, the same reward"
        if a.text[-1] == b.text[-1]:
            return f"it gives {both}, which differ before their end, the same reward"
    return None


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    """What in a test hides the fault of a version: its inputs, or that nothing objects."""
    if shown := _shown(version, calls):
        return (
            f"On your inputs {shown}, and no assert objects. Are the two compared, outside any except, with a small "
            "tolerance?"
        )
    shown_by = _SHOWN_BY.get(version) or _SHOWN_BY[type(version)]
    return f"On your inputs that mistake changes nothing. {shown_by}"


def _holes(calls: list[tuple]) -> bool:
    rows = [row for call in calls for row in _rows(*call)]
    return any(row.last - row.first + 1 != len(row.text) for row in rows)


def _why_unfair(version: Callable, calls: list[tuple]) -> str:
    """What may have made a test reject a version in which nothing is wrong."""
    if not calls:
        return "It did not come as far as a first reward."
    if _holes(calls):
        return "In one of your masks there is padding between real tokens. It stands at the ends of a row only."
    heard = _heard(version, calls)
    apart = [abs(a.reward - b.reward) for a, b in _pairs(heard) if a.text == b.text]
    if max(apart, default=0) > 0:
        return (
            f"For one text it gave rewards that are {max(apart):.0e} apart: a model's numbers carry rounding. Compare "
            "with a tolerance (torch.allclose(a, b, atol=1e-4)), not with ==."
        )
    rows = [_rows(*call) for call in calls[-2:]]
    texts = [[row.text for row in batch] for batch in rows]
    if rows[0] != rows[-1] and texts[0] == texts[-1]:
        return (
            "Your last two calls hold the same real tokens; only padding differs, and so nothing may change. (With "
            "padding on the right, ids[:, -1] is not the last real token.)"
        )
    return (
        "Which reward a text gets, which of two gets the higher one and by how much is the scorer's own affair: ask only "
        "when it stays and when it changes. Or does the test keep something of an earlier run?"
    )


@check_test(
    None,
    right={
        "one that reads at the last real place": _at_the_last_place,
        "the same one with the opposite taste": _mirrored,
        "one that takes padding away and goes from the end to the beginning": _without_padding,
        "one that takes the mean of all real places": _mean_of_what_is_real,
        "a layer of attention in float32": _attention,
    },
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_unfair=_why_unfair,
    called="score",
    proved="It accepts five scorers that agree on no reward, and exposes the faulty ones, thirty-four of them.",
)
def test_scorer(test, draw):
    """Pass what depends on the text alone, and on all of it; fail all else."""
