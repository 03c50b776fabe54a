"""Checks of lesson 10: the nearest vectors by angle, and the cosine behind a relevance score.

Cosines are worked out vector by vector in Python's own numbers. Where vectors are equally
near, their cosines are exact in floats, so that rounding breaks no tie. The answers that
prove the checks are in `tests/answers/`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import index, thresholds
from course_lib.rag import nearest as library

CLOSE = 1e-4  # two cosines further apart than this have an order for everybody


class Near(NamedTuple):
    cosines: np.ndarray
    places: np.ndarray


@check(
    library.nearest,
    proved="The largest cosines and their places, whatever the vectors' lengths, the best first and of equal ones the "
    "earlier, for any k.",
    also=(index.FlatIndex.search,),
)
def nearest(answer, draw):
    luck = np.random.default_rng(int(torch.randint(2**31, (1,), generator=draw)))
    rows = [Row(_ask(answer, case), _slowly(*case.given), case) for case in _cases(luck)]  # fmt: skip
    rows.sort(
        key=lambda row: _alike(row.got, row.want)
    )  # wrong ones first: sooner named
    judge(rows, _MISTAKES, _alike, _otherwise)
    _in_float32(answer, luck)


def _cases(luck: np.random.Generator) -> list[Case]:
    paper = np.array([[0.6, 0.8], [9.0, 0.0]])
    found = [Case((np.array([2.0, 0.0]), paper, 2)), Case((np.array([0.0, 3.0]), paper, 1))]  # fmt: skip
    for N, D, k in ((7, 4, 3), (12, 5, 12), (6, 6, 2), (9, 3, 1), (5, 8, 50), (1, 4, 3), (200, 16, 9)):  # fmt: skip
        query, vectors = _drawn(luck, N, D)
        found.append(Case((query, vectors, k)))
    query, vectors = _drawn(luck, 8, 5)
    found.append(Case((query * 1e-6, vectors * 1e-6, 4)))
    found.append(Case((query, -np.abs(vectors) * np.sign(query), 3)))  # all below 0
    aside = np.asfortranarray(np.concatenate([vectors, vectors], axis=1))[:, :5]
    found.append(Case((np.repeat(query, 2)[::2], aside, 5)))
    found += [*_tied(luck)]
    nothing = vectors.copy()
    nothing[[1, 4]] = 0
    found += [Case((query, nothing, k)) for k in (3, 8)]
    found.append(Case((query * 0, vectors, 3)))
    turned = np.array(
        [[0.0, 4.0, 0.0], [2.0, 0.0, 0.0], [0.0, -3.0, 0.0]]
    )  # the last points away: -1
    found += [Case((np.array([0.0, 2.0, 0.0]), turned[order], 3)) for order in ([0, 1, 2], [2, 0, 1])]  # fmt: skip
    return found


def _drawn(luck: np.random.Generator, N: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of very different lengths, the longest pointing elsewhere; no two cosines close."""
    for _ in range(200):
        query, vectors = luck.normal(size=D), luck.normal(size=(N, D))
        cosines = np.sort(vectors @ query / np.linalg.norm(vectors, axis=1)) / np.linalg.norm(query)  # fmt: skip
        if N < 50 and (np.diff(cosines) > 20 * CLOSE).all():
            break
        if N >= 50 and (np.diff(cosines[-20:]) > 2 * CLOSE).all():
            break
    lengths = np.exp(luck.normal(size=N))
    lengths[int(np.argmin(vectors @ query))] *= 50
    return query * 3, vectors * lengths[:, None]


def _tied(luck: np.random.Generator) -> list[Case]:
    """Cosines of 1, 1/2, 0 and -1/2, exactly, at many places each."""
    signs = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [1, 1, -1, 1], [1, 1, -1, -1], [-1, -1, -1, 1], [2, 0, 0, 0], [0, 0, 2, 0]])  # fmt: skip
    vectors = signs[luck.permutation(np.repeat(np.arange(7), 3))].astype(float)
    vectors *= 2.0 ** luck.integers(-2, 3, size=(len(vectors), 1))
    query = np.array([2.0, 2.0, 2.0, 2.0])
    many = np.tile(vectors, (8, 1))
    same = np.tile([[0.0, 4.0]], (6, 1))
    found = [Case((query, vectors, k)) for k in (2, 5, 10, 40)]
    found += [Case((query, many, 30)), Case((np.array([0.0, 1.0]), same, 4))]
    return [*found, Case((np.array([5.0]), np.array([[1.0], [-2.0], [4.0], [0.5]]), 3))]


def _ask(answer: Callable, case: Case) -> Near:
    got = asked(answer, case, _stopped)
    K = min(case.given[2], len(case.given[1]))
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned a {type(got).__name__}; two things are wanted, (cosines, places).",
    )
    for name, one in zip(("cosines", "places"), got, strict=True):
        expect(
            isinstance(one, np.ndarray | list),
            f"The {name} are a {type(one).__name__}; an array of {K} is wanted.",
        )
    cosines, places = map(np.asarray, got)
    expect(
        places.dtype != bool and cosines.dtype != bool,
        "The places are True and False for each vector. Wanted are the numbers of those found.",
    )
    both = f"{cosines.shape} and {places.shape}"
    expect(
        cosines.shape == places.shape == (K,),
        f"With k={case.given[2]} and {len(case.given[1])} vectors the cosines and places have the shapes {both}; ({K},) is wanted "
        f"for both.{_of_nothing(case) if cosines.size < K else ''}",
    )
    expect(
        not (np.issubdtype(cosines.dtype, np.integer) and np.issubdtype(places.dtype, np.floating)),
        "Cosines and places are exchanged: first the cosines.",
    )  # fmt: skip
    expect(
        np.issubdtype(places.dtype, np.integer),
        f"The places are of type {places.dtype}; whole numbers are wanted.",
    )
    expect(
        np.isfinite(cosines.astype(float)).all(),
        "A cosine is not finite: 0 over 0. A vector of zeros, or a query, has no direction; `unit` leaves it as it is, and the "
        "product with it is 0.",
    )
    return Near(cosines.astype(float), places)


def _stopped(error: Exception, case: Case) -> str | None:
    _, vectors, k = case.given
    said = f"It stopped with {type(error).__name__}"
    if k > len(vectors) or "kth" in str(error):
        return (
            f"{said} for k={k} and {len(vectors)} vectors. Then all of them are found."
        )
    if isinstance(error, ValueError) and "matmul" in str(error):
        return f"{said}: the shapes do not fit. vectors (N, D) times query (D,) gives one number for each vector."
    return None


def _of_nothing(case: Case) -> str:
    """What to think of where vectors, or columns, are zeros."""
    query, vectors, _ = case.given
    if not query.any() or not vectors.any(1).all():
        return " A vector, or the query, holds nothing but zeros: its cosine with everything is 0. Is 0 divided by 0?"
    return "" if vectors.any(0).all() else " Is 0 divided by 0?"


def _alike(a: Near, b: Near) -> bool:
    a, b = (Near(*map(np.asarray, one)) for one in (a, b))
    return (
        a.places.shape == b.places.shape == a.cosines.shape == b.cosines.shape
        and np.array_equal(a.places, b.places)
        and np.allclose(a.cosines, b.cosines, rtol=2e-6, atol=1e-6)
    )


def _in_float32(answer: Callable, luck: np.random.Generator) -> None:
    """As vectors come from an encoder; nothing is asked of the last digits."""
    query, vectors = (one.astype(np.float32) for one in _drawn(luck, 10, 6))
    case = Case((query, vectors, 4))
    got, want = _ask(answer, case), _slowly(*case.given)
    right = np.array_equal(got.places, want.places)
    expect(
        right and np.allclose(got.cosines, want.cosines, atol=1e-4),
        "For vectors of type float32 something else comes out than for the same numbers in float64.",
    )


# --- naming the mistake -----------------------------------------------------------------------


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / lengths if lengths else 0.0


def _slowly(query: np.ndarray, vectors: np.ndarray, k: int) -> Near:
    """Vector by vector."""
    asked = query.tolist()
    cosines = [_cosine(asked, vector) for vector in vectors.tolist()]
    return _best(np.array(cosines), k)


def _best(scores: np.ndarray, k: int, shown: np.ndarray | None = None) -> Near:
    """The largest scores, of equal ones the earlier; shown: what is given as their cosines."""
    rounded = scores.round(12) + 0.0
    places = np.argsort(-rounded, kind="stable")[:k]
    return Near((scores if shown is None else shown)[places], places)


def _one(vectors: np.ndarray, **over: object) -> np.ndarray:
    lengths = np.linalg.norm(vectors, **over)
    return vectors / np.where(lengths > 0, lengths, 1)


def _rows(vectors: np.ndarray) -> np.ndarray:
    return _one(vectors, axis=-1, keepdims=True)


def _columns(vectors: np.ndarray) -> np.ndarray:
    return _one(vectors, axis=0, keepdims=True)


def _by(score: Callable, show: Callable | None = None) -> Callable:
    """A mistake in what is compared: score(q, v), of the two as they came; show: what it gives as cosines."""

    def way(query: np.ndarray, vectors: np.ndarray, k: int) -> Near:
        query, vectors = query.astype(float), vectors.astype(float)
        shown = show(query, vectors) if show else None
        return _best(score(query, vectors), k, shown)

    return way  # fmt: skip


def _with(change: Callable) -> Callable:
    """A mistake in what is made of the cosines: change(cosines (N,), k)."""
    return lambda query, vectors, k: Near(*map(np.asarray, change(_angles(query, vectors), k)))  # fmt: skip


def _angles(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (_rows(vectors.astype(float)) @ _rows(query.astype(float))).round(12) + 0.0


def _later(cosines: np.ndarray, k: int) -> tuple:
    places = np.argsort(cosines, kind="stable")[::-1][:k]
    return cosines[places], places


def _ordered(cosines: np.ndarray, k: int, key: Callable) -> tuple:
    """The best k in another order."""
    places = _best(cosines, k).places
    places = places[key(cosines[places], places)]
    return cosines[places], places


def _apart(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.linalg.norm(v - q, axis=-1)


# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "Neither the query nor the vectors are brought to length 1: a long vector is not a near one.": (_by(lambda q, v: v @ q),),
    "The vectors are not brought to length 1: a long vector is not a near one.": (_by(lambda q, v: v @ _rows(q)),),
    "The places are right, and the scores are not cosines: the query is not brought to length 1.": (_by(lambda q, v: _rows(v) @ q),),
    "The vectors are divided by the length of the whole matrix, not each by its own (axis).":
        (_by(lambda q, v: _one(v) @ _rows(q)), _by(lambda q, v: _one(v) @ q), _by(lambda q, v: v / (v.max() or 1) @ _rows(q)), _by(lambda q, v: v / (np.linalg.norm(v, axis=1).max() or 1) @ _rows(q)), _by(lambda q, v: v / (np.linalg.norm(v, axis=1).mean() or 1) @ _rows(q))),
    "The columns are brought to length 1, not the vectors: a vector is a row, its numbers lie along the last axis.":
        (_by(lambda q, v: _columns(v) @ _rows(q)), _by(lambda q, v: _columns(v) @ q), _by(lambda q, v: _rows(_columns(v)) @ _rows(q))),
    "It looks for the smallest distance, in which lengths count. The largest cosine is wanted.":
        (_by(lambda q, v: -_apart(q, v)), _by(lambda q, v: -_apart(q, v), _apart), _by(lambda q, v: -_apart(q, v), _angles), _by(lambda q, v: -_apart(q, v) ** 2), _by(lambda q, v: -_apart(q, v), lambda q, v: _apart(q, v) ** 2)),
    "Distances come back. Cosines are wanted, which are large where vectors are near.":
        (_by(_angles, lambda q, v: 1 - _angles(q, v)), _by(_angles, lambda q, v: _apart(_rows(q), _rows(v))), _by(_angles, lambda q, v: _apart(_rows(q), _rows(v)) ** 2), _by(_angles, lambda q, v: 2 - 2 * _angles(q, v)), _by(_angles, lambda q, v: -_apart(_rows(q), _rows(v)))),
    "Angles come back. Their cosines are wanted.": (_by(_angles, lambda q, v: np.arccos(_angles(q, v).clip(-1, 1))), _by(_angles, lambda q, v: np.degrees(np.arccos(_angles(q, v).clip(-1, 1))))),
    "It finds the k smallest cosines. The largest are near.":
        (_with(lambda c, k: (np.sort(c)[:k], np.argsort(c, kind="stable")[:k])), _with(lambda c, k: _ordered(-c, k, lambda s, p: np.arange(len(p)))), _with(lambda c, k: (c[np.argsort(c)[:k][::-1]], np.argsort(c, kind="stable")[:k][::-1]))),
    "The order is turned round: the best comes first.": (_with(lambda c, k: _ordered(c, k, lambda s, p: np.arange(len(p))[::-1])), _with(lambda c, k: (np.sort(c)[-k:], np.argsort(c, kind="stable")[-k:]))),
    "Of equal ones the later comes first in yours. The earlier does.": (_with(_later),),
    "Those found are sorted by their place. The best comes first.": (_with(lambda c, k: _ordered(c, k, lambda s, p: np.argsort(p))),),
    "The cosines are those of the first vectors, not those of the places found.": (_with(lambda c, k: (c[:k], _best(c, k).places)),),
    "Cosines and places do not belong together: the cosines come in the order of the vectors.": (_with(lambda c, k: (c[np.sort(_best(c, k).places)], _best(c, k).places)),),
    "Cosines and places are exchanged: first the cosines.": (_with(lambda c, k: (_best(c, k).places, _best(c, k).cosines)),),
    "The cosines lose their sign. A vector that points the other way is far.":
        (_with(lambda c, k: _best(np.abs(c), k)), _with(lambda c, k: _best(np.abs(c), k, c)), _with(lambda c, k: _best(c, k, np.abs(c)))),
    "Cosines are squared. They come back as they are.": (_with(lambda c, k: _best(c**2, k)), _with(lambda c, k: _best(c, k, c**2)), _with(lambda c, k: _best(c, k, c * np.abs(c)))),
    "Cosines are moved to 0 … 1. They come back as they are.": (_with(lambda c, k: _best(c, k, (c + 1) / 2)), _with(lambda c, k: _best(c, k, c.clip(0))), _with(lambda c, k: _best(c.clip(0), k)), _with(lambda c, k: _best(c, k, np.exp(c) / np.exp(c).sum()))),
    "A cosine is divided by one length twice, or by none of the other: each of the two has its own length.":
        (_by(lambda q, v: v @ q / (q @ q or 1)), _by(lambda q, v: _rows(_rows(v)) @ _rows(q) / (np.linalg.norm(q) or 1)), _by(lambda q, v: _rows(v) @ _rows(q) / np.where(np.linalg.norm(v, axis=1) > 0, np.linalg.norm(v, axis=1), 1))),
    "It divides by the sum of the numbers, or by their squares' sum without the root. A length is that root.":
        (_by(lambda q, v: v @ q / np.where((v**2).sum(1) > 0, (v**2).sum(1), 1) / ((q**2).sum() or 1)), _by(lambda q, v: v @ q / np.where(np.abs(v).sum(1) > 0, np.abs(v).sum(1), 1) / (np.abs(q).sum() or 1)),
         _by(lambda q, v: _over_sums(v) @ _over_sums(q))),
    "The mean is taken away first, which is a correlation. Cosines take the vectors as they are.": (_by(lambda q, v: _angles(q - q.mean(), v - v.mean(1, keepdims=True))), _by(lambda q, v: _angles(q, v - v.mean(0))), _by(lambda q, v: _angles(q - v.mean(0), v - v.mean(0)))),
    "Cosines are rounded. They come back as they are.": tuple(_with(lambda c, k, n=n: _best(c, k, c.round(n))) for n in (1, 2, 3, 4)),
    "Vectors that point away, with a cosine below 0, have no order in yours. The one that points away least is the nearest of them.":
        (_by(lambda q, v: np.where(_angles(q, v) > 0, _angles(q, v), -2.0), _angles), _by(lambda q, v: _angles(q, v).clip(0), _angles)),
    "The first k vectors come back. Which are near?": (_with(lambda c, k: (c[:k], np.arange(len(c))[:k])),),
    "A vector of zeros is never found in yours. It has the cosine 0 with everything: that is more than what points away.": (_by(lambda q, v: np.where(v.any(1), _angles(q, v), -2.0), _angles),),
}
# fmt: on


def _over_sums(vectors: np.ndarray) -> np.ndarray:
    sums = vectors.sum(-1, keepdims=True)
    return vectors / np.where(sums != 0, sums, 1)


def _otherwise(row: Row) -> str:
    got, want = row.got, row.want
    query, vectors, k = row.case.given
    shown = f"k={k}, {len(vectors)} vectors of {vectors.shape[1]} numbers"
    if (got.places < 0).any() or (got.places >= len(vectors)).any():
        return f"With {shown} there is the place {got.places.max()}. Places are from 0 to {len(vectors) - 1}."
    small = np.abs(vectors).max() < 1e-3
    off = got.places != want.places
    apart = vectors[[*got.places[off], *want.places[off]]]
    why = "" if query.any() and apart.any(1).all() else _of_nothing(row.case)
    why = " These vectors are very short: is a small number added to their lengths?" if small else why  # fmt: skip
    if np.array_equal(got.places, want.places):
        i = int(np.abs(got.cosines - want.cosines).argmax())
        return f"With {shown} the places are right, and a cosine is {got.cosines[i]:.5g}; it should be {want.cosines[i]:.5g}.{why}"
    if len({*got.places.tolist()}) < len(got.places):
        return f"With {shown} a place is found twice: {got.places.tolist()}."
    if sorted(got.places) == sorted(want.places):
        return (
            f"With {shown} the right ones are found, in the order {got.places[:8].tolist()}; it should be {want.places[:8].tolist()}. "
            f"The best comes first, and of equal ones the earlier.{why}"
        )
    i = int(np.flatnonzero(got.places != want.places)[0])
    mine = _cosine(query.tolist(), vectors[got.places[i]].tolist())
    return (
        f"With {shown} place {got.places[i]} comes where {want.places[i]} should: their cosines are {mine:.4g} and "
        f"{want.cosines[i]:.4g}. The largest are near, and of equal ones the earlier comes first.{why}"
    )


# --- a relevance score --------------------------------------------------------------------------


@check(
    thresholds.cosine_of_relevance,
    proved="Numbers and arrays, from equal vectors through a right angle to opposite ones and beyond, all come back as "
    "cosines.",
)
def cosine_of_relevance(answer, draw):
    luck = np.random.default_rng(int(torch.randint(2**31, (1,), generator=draw)))
    numbers = [0.7, 1.0, 1, 0, -1.8284271, *luck.uniform(-1.8, 1, size=6).tolist(), -9.6, 1.6]  # fmt: skip
    arrays = [luck.uniform(-1.8, 1, size=shape) for shape in ((5,), (2, 3), (1,), (4, 1, 2))]  # fmt: skip
    arrays += [np.array([0.9, 0.8, 0.7]), np.linspace(-1.8, 1, 9)[::2], np.array([-4.0, 0.5, 3.0]), np.array([1, 0, -1])]  # fmt: skip
    cases = [Case((r,)) for r in [*numbers, *arrays]]
    rows = [Row(_cosine_asked(answer, case), _solved(case.given[0]), case) for case in cases]  # fmt: skip
    rows.sort(key=lambda row: np.allclose(row.got, row.want, rtol=1e-6, atol=1e-7))
    judge(rows, _WAYS, lambda a, b: np.allclose(a, b, rtol=1e-6, atol=1e-7), _not_that)


def _cosine_asked(answer: Callable, case: Case) -> np.ndarray:
    (given,) = case.given
    array = isinstance(given, np.ndarray)

    def stopped(error: Exception, case: Case) -> str | None:
        if array and ("truth value" in str(error) or isinstance(error, TypeError)):
            return f"It stopped with {type(error).__name__} for an array. Thresholds may come as an array: no `if`, `float` or `math` of it."
        if (
            isinstance(error, ValueError | AssertionError)
            and (np.abs(np.asarray(given) + 0.4) > 1.41).any()
        ):
            return f"It stopped with {type(error).__name__} for r = {np.round(given, 3).tolist()}. Refuse nothing and clip nothing."
        return None

    got = asked(answer, case, stopped)
    expect(
        isinstance(got, np.ndarray | np.number | float | int)
        and not isinstance(got, bool),
        f"It returned a {type(got).__name__}; for a number a number is wanted, for an array an array.",
    )
    expect(
        np.shape(got) == np.shape(given),
        f"For {'an array of shape ' + str(given.shape) if array else 'a number'} it returned shape {np.shape(got)}. Each score has "
        "a cosine of its own.",
    )
    expect(
        bool(np.isfinite(got).all()),
        f"For {given if not array else given.round(2).tolist()} it gives something that is no number. Is a root taken of what is "
        "below 0?",
    )
    return np.asarray(got, dtype=float)


def _solved(r: float | np.ndarray) -> np.ndarray:
    """On the line through two known scores: that of equal vectors and that of a right angle."""
    apart = {1.0: 0.0, 0.0: 2.0}  # cosine: squared distance
    equal, right = (1 - apart[cosine] / math.sqrt(2) for cosine in (1.0, 0.0))
    return (np.asarray(r, dtype=float) - right) / (equal - right)


ROOT = math.sqrt(2)
# fmt: off
_WAYS: dict[str, tuple[Callable, ...]] = {
    "Values are clipped. Clip nothing: a score outside belongs to vectors that are not of length 1.":
        (lambda r: _solved(np.clip(r, 0, 1)), lambda r: _solved(r).clip(0, 1), lambda r: _solved(r).clip(-1, 1), lambda r: _solved(r).clip(0), lambda r: _solved(np.maximum(r, 0)),
         lambda r: _solved(np.minimum(r, 1)), lambda r: np.minimum(_solved(r), 1), lambda r: np.maximum(_solved(r), -1), lambda r: _solved(np.clip(r, -1, 1)), lambda r: _solved(np.clip(r, 1 - 2 * ROOT, 1)), lambda r: _solved(np.clip(r, -1.83, 1)), lambda r: _solved(np.maximum(r, -1.83)), lambda r: _solved(np.maximum(r, 1 - 2 * ROOT)), lambda r: np.where(np.asarray(r) < 0, 0, _solved(r)), lambda r: np.where(np.asarray(r) < -1.83, -1, _solved(r))),
    "The sign of 1 - r is lost. A score above 1 belongs to a cosine above 1: clip nothing, and turn nothing back.": (lambda r: 1 - np.abs(1 - np.asarray(r)) / ROOT,),
    "It takes d for the plain distance. In the rule d is the *squared* distance.": (lambda r: 1 - (1 - np.asarray(r)) ** 2, lambda r: 1 - (ROOT * (1 - np.asarray(r))) ** 2, lambda r: 1 - (1 - np.asarray(r)) ** 2 / 2, lambda r: 1 - np.sqrt(np.abs(ROOT * (1 - np.asarray(r)))) / 2, lambda r: 1 - np.sqrt(np.maximum(ROOT * (1 - np.asarray(r)), 0)) / 2),
    "That is the score of a cosine. Here the score is given, and the cosine is wanted.": (lambda r: 1 - ROOT * (1 - np.asarray(r)), lambda r: 1 - np.sqrt(np.maximum(2 - 2 * np.asarray(r), 0)) / ROOT),
    "The score itself comes back. A score of 0.7 is another cosine than 0.7.": (lambda r: np.asarray(r), lambda r: np.clip(r, -1, 1)),
    "It treats r as a share of the way from -1 to 1, or the root of 2 is lost. r goes from 1 down to -1.83.": (lambda r: 2 * np.asarray(r) - 1, lambda r: (np.asarray(r) + 1) / 2),
    "A sign is turned: equal vectors, with the score 1, have the cosine 1, and lower scores lower cosines.":
        (lambda r: 1 + (1 - np.asarray(r)) / ROOT, lambda r: (1 - np.asarray(r)) / ROOT - 1, lambda r: (1 - np.asarray(r)) / ROOT, lambda r: -_solved(r), lambda r: 1 - (1 + np.asarray(r)) / ROOT, lambda r: 1 + (1 + np.asarray(r)) / ROOT, lambda r: (np.asarray(r) - 1) / ROOT - 1),
    "That is the squared distance, or the distance. One step is left: from it to the cosine.":
        (lambda r: ROOT * (1 - np.asarray(r)), lambda r: np.sqrt(np.maximum(ROOT * (1 - np.asarray(r)), 0)), lambda r: np.sqrt(np.abs(ROOT * (1 - np.asarray(r)))), lambda r: 2 - ROOT * (1 - np.asarray(r))),
    "The root of 2 is lost: d is what r lacks to 1, times that root.":
        (lambda r: 1 - (1 - np.asarray(r)) / 4, lambda r: 1 - (1 - np.asarray(r)) / (2 * ROOT), lambda r: 1 - (1 - np.asarray(r)) * 2 * ROOT),
    "The bracket is lost: 1 - r as a whole is divided.": (lambda r: 1 - 1 - np.asarray(r) / ROOT, lambda r: 1 - np.asarray(r) / ROOT, lambda r: 1 - 1 / ROOT - np.asarray(r) / ROOT, lambda r: 1 - 1 / ROOT - np.asarray(r), lambda r: np.asarray(r) / ROOT, lambda r: 1 - 1 - np.asarray(r) * ROOT / 2, lambda r: np.asarray(r) * ROOT, lambda r: 1 - 1 / ROOT + np.asarray(r)),
    "An angle comes back. Its cosine is wanted.": (lambda r: np.arccos(np.clip(_solved(r), -1, 1)), lambda r: np.cos(np.asarray(r)), lambda r: np.cos((1 - np.asarray(r)) / ROOT)),
    "The value is rounded. It comes back as it is.": tuple(lambda r, n=n: _solved(r).round(n) for n in (1, 2, 3, 4)),
    "Of whole scores come whole cosines: the result has the type of its input. Make it of numbers with a point.": (lambda r: np.full_like(r, _solved(r)) if isinstance(r, np.ndarray) else _solved(r),),
    "It always gives the same. Is the worked value built in?": (lambda r: np.full(np.shape(r), 0.788), lambda r: np.ones(np.shape(r))),
}
# fmt: on


def _not_that(row: Row) -> str:
    given = np.ravel(row.case.given[0]).astype(float)
    got, want = np.ravel(row.got), np.ravel(row.want)
    i = int(np.abs(got - want).argmax())
    if abs(got[i] - want[i]) < 3e-3:
        raise CheckFailed(
            f"For r = {given[i]:.4g} the first digits are right and the later ones are not: {got[i]:.7g} instead of {want[i]:.7g}."
        )
    return f"For r = {given[i]:.4g} it gives {got[i]:.4g}; it should be {want[i]:.4g}: that cosine has this score, by the rule."
