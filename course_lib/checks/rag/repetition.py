"""Check of lesson 10: hits that do not repeat each other, chosen one by one.

Every choice is made once more here, with all cosines written out. The answers that prove
the check are in `tests/answers/`.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import fusion


@check(
    fusion.mmr,
    proved="Every choice agrees with a slow loop over pairs: vectors of any length, every lambda from 0 to 1, copies, "
    "opposites, ties, a k beyond the number of vectors.",
)
def mmr(answer, draw):
    rows = []
    for case in _vectors(draw):
        got = _places(asked(answer, case, _stopped), case)
        rows.append(Row(got, _greedy(*case.given, **case.options), case))
    judge(rows, _MISTAKES, lambda a, b: a == b, _otherwise, slack=0.5)


def _vectors(draw: torch.Generator) -> list[Case]:
    luck = np.random.default_rng(int(torch.randint(2**31, (1,), generator=draw)))
    worked = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    near = np.array([1.0, 0.2])
    axes = np.array([[0, 2, 0], [0, 0, 4], [8, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, -2]])
    axes, slant = axes.astype(float), np.array([3.0, 2.0, 1.0])
    slim = np.array([[2.0, 0.0], [1.0, 1.0], [4.0, 0.012], [0.5, 0.0005]])
    cases = [
        Case((near, worked, 2)),
        Case((near, worked, 2), {"lam": 1}),
        Case((near, worked, 3), {"lam": 0}),
        Case((slant, axes, 6)),  # copies and opposites; ties
        Case((slant, axes, 4), {"lam": 1.0}),
        Case((slant, axes, 5), {"lam": 0.0}),
        Case((-slant, axes, 9), {"lam": 0.75}),
        Case((near, worked[:1], 1)),
        Case((near, worked[2:], 4)),
        Case((slim[0], slim[1:], 2), {"lam": 1}),  # one is a little nearer
        Case((slim[0], slim[1:], 1)),
        _drawn_vectors(luck, 0, 0.4, N=15, k=14),
    ]
    for n in range(26):
        lam = (0.5, 0.3, 0.7, 0.9, 0.5, 0.1, 1.0, 0.0, 0.6)[n % 9]
        cases.append(_drawn_vectors(luck, n, lam))
    return cases


def _drawn_vectors(
    luck: np.random.Generator, n: int, lam: float, N: int = 0, k: int = 0
) -> Case:
    """Crowds of near copies, lengths of their own; every choice is a clear one."""
    N, D = N or luck.integers(4, 10), luck.integers(2, 6)
    k = k or int((2, N - 1, 4, N + 2, N)[n % 5])
    while True:
        crowd = luck.standard_normal((3, D))[luck.integers(3, size=N)]
        vectors = crowd + 0.3 * luck.standard_normal((N, D))
        if n % 3 == 0:
            vectors = luck.standard_normal((N, D))  # all around, and opposite
        vectors *= np.exp(luck.uniform(-2, 2, (N, 1)))
        query = luck.standard_normal(D) * np.exp(luck.uniform(-2, 2))
        if n % 2:
            query = vectors[luck.integers(N)] + query / 10
        if n % 4 == 3:
            query, vectors = query.astype(np.float32), vectors.astype(np.float32)
        if n % 4 == 2:
            vectors = vectors.T.copy().T
        if _greedy(query, vectors, k, lam, apart=1e-4) is not None:
            return Case((query, vectors, k), {} if lam == 0.5 else {"lam": lam})


def _stopped(error: Exception, case: Case) -> str | None:
    _, vectors, k = case.given
    kind = type(error).__name__
    where = f"with N={len(vectors)}, k={k} and {case.options or 'the default lam'}"
    if k > len(vectors):
        return f"It stopped with {kind} {where}. Where fewer than k are there, all of them are chosen."
    if isinstance(error, ValueError) and ("empty" in str(error) or "zero-size" in str(error)):  # fmt: skip
        return (
            f"It stopped with {kind}: {error}. At the first choice nothing is chosen yet, and a maximum over nothing "
            "has no value."
        )
    return None


def _places(got: object, case: Case) -> list[int]:
    """Whole numbers, or a sentence on what else it is."""
    if isinstance(got, np.ndarray | torch.Tensor):
        expect(
            got.ndim == 1,
            f"It returned an array of shape {tuple(got.shape)}; places are wanted, one for each choice.",
        )
        got = got.tolist()
    expect(
        not isinstance(got, tuple)
        or not any(hasattr(x, "__len__") and np.ndim(x) for x in got),
        "It returned a tuple of several things. A list of places is all that is wanted: whole numbers from 0.",
    )
    expect(
        isinstance(got, list),
        f"It returned a {type(got).__name__}; a list of places is wanted, in the order of choice.",
    )
    for each in got:
        if isinstance(each, np.ndarray | torch.Tensor) and each.ndim:
            raise CheckFailed(
                "It returned vectors. Their places are wanted, whole numbers from 0."
            )
        whole = isinstance(each, Integral) or (hasattr(each, "item") and isinstance(each.item(), int))  # fmt: skip
        expect(
            whole and not isinstance(each, bool | np.bool_),
            f"The list holds {each!r}; places are wanted, whole numbers from 0.",
        )
    return [int(each) for each in got]


def _otherwise(row: Row) -> str:
    query, vectors, k = row.case.given
    lam = row.case.options.get("lam", 0.5)
    where = f"With {len(vectors)} vectors, k={k} and lam={lam:g} it chooses {row.got}"
    if len(row.got) != len(row.want):
        return f"{where}, {len(row.got)} of them. It should choose k, or all there are if those are fewer."
    if len({*row.got}) < len(row.got):
        return (
            f"{where}: the same place again. What is chosen cannot be chosen once more."
        )
    if any(not 0 <= place < len(vectors) for place in row.got):
        return f"{where}. Places lie between 0 and {len(vectors) - 1}."
    step = next(i for i, (a, b) in enumerate(zip(row.got, row.want, strict=True)) if a != b)  # fmt: skip
    small = f" The vectors: {np.round(vectors, 2).tolist()}, the query: {np.round(query, 2).tolist()}." if vectors.size < 14 else ""  # fmt: skip
    return f"{where}; choice number {step + 1} should be {row.want[step]}.{small}"


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(float)
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))


def _cosines(query: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each vector with the query, and with each other."""
    query, vectors = _unit(query), _unit(vectors)
    return vectors @ query, vectors @ vectors.T


def _greedy(
    query: np.ndarray,
    vectors: np.ndarray,
    k: int,
    lam: float = 0.5,
    *,
    cosines: Callable = _cosines,
    said: Callable = lambda rows: rows.max(axis=1),
    gain: Callable = lambda near, said, lam: lam * near - (1 - lam) * said,
    first: Callable = lambda gains, near: gains,
    apart: float = 0.0,
    last: bool = False,
    again: bool = False,
) -> list[int] | None:
    """One by one. None if a choice is not clear by so much; lambda 0 cannot help its first.

    said(rows): what each one left has in common with the chosen, from its likeness to each.
    """
    relevance, likeness = cosines(query, vectors)
    left, chosen = [*range(len(vectors))], []
    while left and len(chosen) < k:
        rows = likeness[left][:, chosen]
        repeated = said(rows) if chosen else np.zeros(len(left))
        gains = gain(relevance[left], repeated, lam)
        if not chosen:
            gains = first(gains, relevance)
        close = np.flatnonzero(gains >= gains.max() - max(apart, 1e-12))
        if apart and len(close) > 1 and (chosen or lam):
            return None
        chosen.append(left[close[-1 if last else 0]])
        if not again:
            left.remove(chosen[-1])
    return chosen


# --- mistakes ---------------------------------------------------------------------------------


def _way(**changed: object) -> Callable:
    return lambda query, vectors, k, lam=0.5: _greedy(query, vectors, k, lam, **changed)


def _gain(gain: Callable) -> Callable:
    return _way(gain=gain)


def _lam(other: Callable) -> Callable:
    return lambda query, vectors, k, lam=0.5: _greedy(query, vectors, k, other(lam))


def _dots(query: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return vectors @ query, vectors @ vectors.T


def _query_as_it_is(query: np.ndarray, vectors: np.ndarray) -> tuple:
    return _unit(vectors) @ query, _unit(vectors) @ _unit(vectors).T


def _vectors_as_they_are(query: np.ndarray, vectors: np.ndarray) -> tuple:
    return vectors @ _unit(query), vectors @ vectors.T


def _likeness_as_it_is(query: np.ndarray, vectors: np.ndarray) -> tuple:
    return _unit(vectors) @ _unit(query), vectors @ vectors.T


def _relevance_as_it_is(query: np.ndarray, vectors: np.ndarray) -> tuple:
    return vectors @ query, _unit(vectors) @ _unit(vectors).T


def _one_length_for_all(query: np.ndarray, vectors: np.ndarray) -> tuple:
    return _dots(_unit(query), vectors / np.linalg.norm(vectors.astype(float)))


def _distances(query: np.ndarray, vectors: np.ndarray) -> tuple:
    """The nearer, the less negative."""
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    return -np.linalg.norm(vectors - query, axis=-1), -apart


def _to_the_query(query: np.ndarray, vectors: np.ndarray) -> tuple:
    near, _ = _cosines(query, vectors)
    return near, np.repeat(near[:, None], len(vectors), axis=1)


def _to_anybody(query: np.ndarray, vectors: np.ndarray) -> tuple:
    """Likeness to the nearest of all others, chosen or not."""
    near, alike = _cosines(query, vectors)
    alike = alike - 9 * np.eye(len(alike))
    return near, np.repeat(alike.max(axis=1)[:, None], len(alike), axis=1)


def _within_the_best(query, vectors, k, lam=0.5, times=1):
    """Only the k nearest are put into another order."""
    near, _ = _cosines(query, vectors)
    best = np.argsort(-near, kind="stable")[: times * k]
    found = _greedy(query, vectors[best], k, lam)
    return [int(best[place]) for place in found]


def _of_the_rest(query, vectors, k, lam=0.5):
    """Places among those that are left, not translated back."""
    chosen, left, said = _greedy(query, vectors, k, lam), [*range(len(vectors))], []
    for place in chosen:
        said.append(left.index(place))
        left.remove(place)
    return said


def _changed(change: Callable) -> Callable:
    return lambda query, vectors, k, lam=0.5: change(_greedy(query, vectors, k, lam))


def _start_at_0(query, vectors, k, lam=0.5):
    return _greedy(query, vectors, k, lam, first=lambda gains, near: -np.arange(len(gains)))  # fmt: skip


# fmt: off
_MISTAKES = {
    "Lambda stands on the wrong side: 1 should be plain search, and 0 should only shun repetition.": (_lam(lambda lam: 1 - lam),),
    "`lam` makes no difference: one half is built in, or it is not used.":
        (_lam(lambda lam: 0.5), _gain(lambda near, said, lam: near - said), _lam(lambda lam: 0.7), _lam(lambda lam: 0.3)),
    "That is plain search, whatever lam says. What is like the chosen ones should lose by it.":
        (_lam(lambda lam: 1.0),),
    "Without lam it takes another number than 0.5, which stands in the function's first line.":
        tuple(lambda query, vectors, k, lam=x: _greedy(query, vectors, k, lam) for x in (0.7, 0.3, 1.0, 0.0, 0.8, 0.6, 0.25, 0.75)),
    "Only one of the two terms is weighed. Both are, with shares that add up to 1.":
        (_gain(lambda near, said, lam: near - (1 - lam) * said), _gain(lambda near, said, lam: lam * near - said),
         _gain(lambda near, said, lam: near - lam * said), _gain(lambda near, said, lam: lam * near - lam * said)),
    "The mean likeness to the chosen is taken off. One that is nearly a copy of a single one should lose as much as by that one.":
        (_way(said=lambda rows: rows.mean(axis=1)), _way(said=lambda rows: np.median(rows, axis=1))),
    "The sum of the likenesses to the chosen is taken off. Only the nearest of the chosen counts.":
        (_way(said=lambda rows: rows.sum(axis=1)), _way(said=lambda rows: rows.clip(0).sum(axis=1))),
    "Only the one chosen last is looked at. The nearest of all that are chosen counts.": (_way(said=lambda rows: rows[:, -1]),),
    "Only the one chosen first is looked at. The nearest of all that are chosen counts.": (_way(said=lambda rows: rows[:, 0]),),
    "The least alike of the chosen counts in yours. The nearest of them should.": (_way(said=lambda rows: rows.min(axis=1)),),
    "A likeness below 0 counts as 0 once something is chosen. It is 0 only while nothing is; what points away from the chosen gains by it.":
        (_way(said=lambda rows: rows.max(axis=1).clip(0)),),
    "Likeness has lost its sign (abs, or a square). What points the other way is not alike.":
        (_way(said=lambda rows: np.abs(rows).max(axis=1)), _way(said=lambda rows: (rows**2).max(axis=1)), _way(said=lambda rows: (rows**2).max(axis=1) ** 0.5),
         _gain(lambda near, said, lam: lam * np.abs(near) - (1 - lam) * said), _gain(lambda near, said, lam: lam * np.abs(near) - (1 - lam) * np.abs(said))),
    "Likeness to the chosen is added. It is taken off.": (_gain(lambda near, said, lam: lam * near + (1 - lam) * said), _gain(lambda near, said, lam: near + said)),
    "The signs are turned: the far and the repeated are chosen.": (_gain(lambda near, said, lam: (1 - lam) * said - lam * near),),
    "Likeness to the question is taken off, not likeness to the chosen.": (_way(cosines=_to_the_query),),
    "Likeness to any other vector is taken off. Only those that are chosen count.": (_way(cosines=_to_anybody),),
    "Vectors are not brought to length 1, so long ones win. Similarity is the cosine.":
        (_way(cosines=_dots), _way(cosines=_vectors_as_they_are), _way(cosines=_relevance_as_it_is)),
    "All vectors are divided by one and the same length. Each has its own: along which axis is it measured?": (_way(cosines=_one_length_for_all),),
    "The question's length makes a difference. Similarity is the cosine.": (_way(cosines=_query_as_it_is),),
    "Likeness to the chosen is a dot product of vectors as they came. It is a cosine as well.": (_way(cosines=_likeness_as_it_is),),
    "Distances are compared, not angles. Similarity is the cosine.": (_way(cosines=_distances),),
    "What is chosen is chosen again. Each place comes once.": (_way(again=True),),
    "The first choice is always the nearest. With lam 0 all gains are equal at first, and the earliest place is chosen.":
        (_way(first=lambda gains, near: near),),
    "The first choice is always place 0. While nothing is chosen, only nearness to the question counts. Is something infinite taken off?": (_start_at_0,),
    "Of equal ones the later is chosen. The earlier should be.": (_way(last=True),),
    "The vectors are sorted by nearness first, so that of equal ones the nearer is chosen. The earlier in `vectors` should be.":
        (lambda q, v, k, lam=0.5: _within_the_best(q, v, k, lam, times=99),),
    "Gains are rounded before they are compared, so nearly equal ones count as equal. They are not.":
        (*(_gain(lambda near, said, lam, d=d: np.round(lam * near - (1 - lam) * said, d)) for d in (1, 2, 3, 4, 5)),
         _gain(lambda near, said, lam: (lam * near - (1 - lam) * said).astype(np.float16).astype(float))),
    "Only the k nearest are put into another order. All vectors may be chosen.":
        (_within_the_best, *(lambda q, v, k, lam=0.5, t=t: _within_the_best(q, v, k, lam, t) for t in (2, 3))),
    "Places are counted among those that are left. They are places in all vectors.": (_of_the_rest,),
    "The places are sorted at the end. They stand in the order of choice.": (_changed(sorted), _changed(lambda c: sorted(c, reverse=True))),
    "The order of choice is turned round.": (_changed(lambda c: c[::-1]),),
    "Places are counted from 1. The first vector's is 0.": (_changed(lambda c: [place + 1 for place in c]),),
    "One too few is chosen.": (_changed(lambda c: c[:-1]), lambda q, v, k, lam=0.5: _greedy(q, v, k - 1, lam)),
    "One too many is chosen.": (lambda q, v, k, lam=0.5: _greedy(q, v, k + 1, lam),),
    "Where fewer than k are there, some are chosen twice, or the list is filled up. All of them are chosen once.":
        tuple(lambda q, v, k, lam=0.5, x=x: (c := _greedy(q, v, k, lam)) + [c[x] if x is not None else 0] * (k - len(c)) for x in (0, -1, None)),
    "All are chosen. k of them are wanted.": (lambda q, v, k, lam=0.5: _greedy(q, v, len(v), lam),),
    "It always gives the same places. Is the worked value built in?":
        (lambda q, v, k, lam=0.5: [0, 2], lambda q, v, k, lam=0.5: [0, 1], lambda q, v, k, lam=0.5: [*range(min(k, len(v)))]),
}
# fmt: on
