"""Checks of lesson 10's bug clinic: a test of filtered searches, and the search that is mended.

All right searches find the same places. The faulty ones are what is published, and what is
written when it is mended; each breaks one of the claims and keeps others.
"""

import heapq
from collections.abc import Callable

import numpy as np
import torch

from course_lib.checks.asking import expect
from course_lib.checks.harness import check
from course_lib.checks.learners_tests import check_test
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import index, nearest

FETCH = 20  # of the published search


def _refuse(scores: object, keep: object, k: object) -> None:
    """Not asserts: those would look like the test's own."""
    for name, one in {"scores": scores, "keep": keep}.items():
        if not isinstance(one, np.ndarray):
            raise ValueError(f"{name} is an array, not a {type(one).__name__}")
    if keep.dtype != bool:
        raise ValueError(f"keep is True or False, not {keep.dtype}")
    if scores.dtype == bool or not np.issubdtype(scores.dtype, np.number):
        raise ValueError(f"scores are numbers, not {scores.dtype}")
    if scores.ndim != 1 or keep.shape != scores.shape:
        raise ValueError(
            f"scores and keep are (N,), one for each place, not {scores.shape} and {keep.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores are finite numbers")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k is a whole number from 1 on, not {k!r}")


def _search(rule: Callable) -> Callable:
    """rule(scores, keep, k), of inputs that belong together."""

    def version(scores, keep, k):
        _refuse(scores, keep, k)
        return rule(scores.astype(float), keep.copy(), int(k))

    return version


def _ranked(scores: np.ndarray) -> list[int]:
    """All places, the best first."""
    return np.argsort(-scores, kind="stable").tolist()


# --- right versions ---------------------------------------------------------------------------


def _all_ranked(scores: np.ndarray, keep: np.ndarray, k: int) -> list[int]:
    return [place for place in _ranked(scores) if keep[place]][:k]


def _impossible(scores: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-np.where(keep, scores, -np.inf), kind="stable")
    return order[: min(k, keep.sum())]


def _kept_alone(scores: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    places = np.flatnonzero(keep)
    return places[np.argsort(-scores[places], kind="stable")[:k]]


def _heap(scores: np.ndarray, keep: np.ndarray, k: int) -> list[int]:
    return heapq.nlargest(k, np.flatnonzero(keep).tolist(), key=lambda i: scores[i])


def _one_by_one(scores: np.ndarray, keep: np.ndarray, k: int) -> list[int]:
    found: list[int] = []
    while len(found) < k and keep.any():
        best = max((i for i in range(len(keep)) if keep[i]), key=lambda i: scores[i])
        found.append(best)
        keep[best] = False
    return found


def _growing(scores: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    """The best 20, then 40, until enough of them are kept."""
    order, fetch = np.argsort(-scores, kind="stable"), FETCH
    while keep[order[:fetch]].sum() < k and fetch < len(order):
        fetch *= 2
    best = order[:fetch]
    return best[keep[best]][:k]


_RIGHT = {
    "all places ranked, then those that are kept, as a list": _search(_all_ranked),
    "minus infinity for the others, and no more than are kept": _search(_impossible),
    "the kept scores alone, their places translated back": _search(_kept_alone),
    "a heap of the kept places, as a list": _search(_heap),
    "one by one, as a list": _search(_one_by_one),
    "the best 20, then 40, and so on, until enough are kept": _search(_growing),
}


# --- faulty versions --------------------------------------------------------------------------


def _fetched(how_many: Callable) -> Callable:
    """Filtered after the best so many: how_many(k, N)."""

    def rule(scores: np.ndarray, keep: np.ndarray, k: int) -> list[int]:
        best = _ranked(scores)[: how_many(k, len(scores))]
        return [place for place in best if keep[place]][:k]

    return _search(rule)


def _others(number: Callable, filtered: bool = False) -> Callable:
    """What is not kept has another score: number(scores). Filtered: it goes at the end."""

    def rule(scores: np.ndarray, keep: np.ndarray, k: int) -> list[int]:
        best = _ranked(np.where(keep, scores, number(scores)))[:k]
        return [place for place in best if keep[place] or not filtered]

    return _search(rule)


def _only(find: Callable) -> Callable:
    """Right, except for what is kept: find(scores, keep)."""
    return _search(lambda scores, keep, k: _all_ranked(scores, find(scores, keep), k))


def _ends(find: Callable) -> Callable:
    """Right, except for what becomes of the places: find(places, scores, keep, k)."""
    return _search(lambda scores, keep, k: find(_all_ranked(scores, keep, k), scores, keep, k))  # fmt: skip


def _all(scores: np.ndarray, keep: np.ndarray) -> list[int]:
    return _all_ranked(scores, keep, len(scores))


def _in_the_kept(places: list, scores: np.ndarray, keep: np.ndarray, k: int) -> list[int]:  # fmt: skip
    return [int(keep[:place].sum()) for place in places]


def _near_the_best(scores: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """None that lies more than half of the range below."""
    if not len(scores):
        return keep
    return keep & (scores >= (scores.max() + scores.min()) / 2)


_KEPT = (
    "Claim 1: whatever comes back is kept. Let better scores stand at places that are not kept, some of the kept ones below 0, and "
    "once keep fewer than k."
)
_COUNT = (
    "Claim 2: count what comes back. Let all that are kept have lower scores, below 0 too, than all others (more than 20 others, and "
    "more than 3 k), keep more than k once, and fewer than k once."
)
_DIFFERENT = "Claim 2: k of them are k different places. Compare with the very places that you expect, or count the different ones."
_ORDER = (
    "Claim 3: the scores of what comes back fall from one to the next, from the best that is kept. Let the best not be the first, "
    "nor the last, of the kept places."
)
_WHOLE = (
    "Claim 4: places count in the whole row. Let places that are not kept lie before those that are, and compare with the very places "
    "that you expect."
)

# fmt: off
_WRONG: dict[str, tuple[Callable, str]] = {
    # in the order in which they are told
    "the published one: the best 20 first, the filter afterwards": (_fetched(lambda k, N: FETCH), _COUNT),
    "the best k first, the filter afterwards": (_fetched(lambda k, N: k), _COUNT),
    "the best 3 k first, the filter afterwards": (_fetched(lambda k, N: 3 * k), _COUNT),
    "the better half first, the filter afterwards": (_fetched(lambda k, N: -(-N // 2)), _COUNT),
    "places count among the kept ones alone": (_ends(_in_the_kept), _WHOLE),
    "the filter makes no difference": (_only(lambda s, keep: np.ones_like(keep)), _KEPT),
    "the filter is turned round": (_only(lambda s, keep: ~keep), _KEPT),
    "what is not kept gets the score 0, which is more than a kept one below 0 has": (_others(lambda s: 0.0), _KEPT),
    "what is not kept gets the score 0, and is taken out at the end": (_others(lambda s: 0.0, filtered=True), _COUNT),
    "what is not kept gets the score -1": (_others(lambda s: -1.0), _KEPT),
    "minus infinity for the others, which fill the places where fewer than k are kept": (_others(lambda s: -np.inf), _KEPT),
    "the others fill up, the best of them first, where fewer than k are kept":
        (_ends(lambda p, s, keep, k: p + _all(s, ~keep)[: k - len(p)]), _KEPT),
    "nothing is found where fewer than k are kept": (_ends(lambda p, s, keep, k: p if len(p) == k else []), _COUNT),
    "-1 fills the places where fewer than k are kept": (_ends(lambda p, s, keep, k: p + [-1] * (k - len(p))), _COUNT),
    "kept places with a score below 0 are dropped": (_only(lambda s, keep: keep & (s >= 0)), _COUNT),
    "kept places far below the best are dropped": (_only(_near_the_best), _COUNT),
    "one too few": (_ends(lambda p, s, keep, k: p[: k - 1]), _COUNT),
    "the last one is missing where fewer than k are kept": (_ends(lambda p, s, keep, k: p if len(p) == k else p[:-1]), _COUNT),
    "only the best one, whatever k is": (_ends(lambda p, s, keep, k: p[:1]), _COUNT),
    "all that are kept, whatever k is": (_ends(lambda p, s, keep, k: _all(s, keep)), _COUNT),
    "the right places, the worst first": (_ends(lambda p, s, keep, k: p[::-1]), _ORDER),
    "the right places, in the order of the row": (_ends(lambda p, s, keep, k: sorted(p)), _ORDER),
    "the worst of the kept ones, the worst first": (_ends(lambda p, s, keep, k: _all(-s, keep)[:k]), _ORDER),
    "the first kept places of the row, whatever their scores": (_ends(lambda p, s, keep, k: np.flatnonzero(keep).tolist()[:k]), _ORDER),
    "the first kept places of the row, sorted by score": (_ends(lambda p, s, keep, k: sorted(np.flatnonzero(keep).tolist()[:k], key=lambda i: -s[i])), _ORDER),
    "ranked by size, whatever the sign": (_ends(lambda p, s, keep, k: _all(np.abs(s), keep)[:k]), _ORDER),
    "the best one k times": (_ends(lambda p, s, keep, k: p[:1] * len(p)), _DIFFERENT),
    "the best kept one is passed over": (_ends(lambda p, s, keep, k: _all(s, keep)[1 : k + 1]), _COUNT),
    "every place is one too small": (_ends(lambda p, s, keep, k: [place - 1 for place in p]), _WHOLE),
    "the places of the ranking, not of the row": (_ends(lambda p, s, keep, k: [_ranked(s).index(place) for place in p]), _WHOLE),
}
# fmt: on
_FAULTY = {name: version for name, (version, _) in _WRONG.items()}
_SHOWN_BY = dict(_WRONG.values())
_FIRST = next(iter(_RIGHT))


# --- what a learner is told -------------------------------------------------------------------


def _why_missed(version: Callable, calls: list[tuple]) -> str:
    return _SHOWN_BY[version]


def _hidden(told: str, calls: list[tuple]) -> str:
    """What all the inputs have in common that hides a fault, told by its description."""
    every = {
        f"None of your rows has more than {FETCH} places. ": ("afterwards" in told, lambda s, keep, k: len(s) <= FETCH),
        "In all of them every place is kept. ": (True, lambda s, keep, k: keep.all()),
        "In none of them fewer than k are kept. ": ("fewer than k" in told, lambda s, keep, k: keep.sum() >= k),
        "In none of them a kept score is below 0. ": ("score" in told, lambda s, keep, k: (s[keep] >= 0).all()),
        "k is never more than 1. ": (True, lambda s, keep, k: k < 2),
    }  # fmt: skip
    found = (what for what, (fits, same) in every.items() if fits and all(same(*call) for call in calls))  # fmt: skip
    return next(found, "")


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    told = next(name for name, other in _FAULTY.items() if other is version)
    return f"On your inputs that mistake changes nothing. {_hidden(told, calls)}{_SHOWN_BY[version]}"


def _why_stopped(version: Callable, calls: list[tuple]) -> str | None:
    """A search that finds too few makes a test stumble."""
    if calls:
        found, wanted = (len(search(*calls[-1])) for search in (version, _RIGHT[_FIRST]))  # fmt: skip
        if found != wanted:
            return f"It found {found}, and should have found {wanted}: assert the number first, before you look at them. Only asserts object."
    return None


def _why_unfair(version: Callable, calls: list[tuple]) -> str:
    """What may have made a test reject a search in which nothing is wrong."""
    if not calls:
        return "It did not come as far as asking for a first search."
    for scores, keep, k in reversed(calls):  # the last is what it asserted of
        if len(np.unique(scores[keep])) < keep.sum():
            return (
                "Some kept scores are equal, and the earlier of them comes first in it; or is something asserted that is no "
                "claim?"
            )
        if not keep.any():
            return "Once nothing is kept: then nothing comes back, an empty array or an empty list."
        if keep.sum() < k:
            return "Once fewer than k are kept: then all of them come back, and no more. Is the array or list compared as one?"
    return (
        "Kept places alone, k of them or all that are kept, the best first, counted in the whole row, as an array or as a list "
        "(list(...) makes a list of either)."
    )


@check_test(
    nearest.top_k_where,
    right=_RIGHT,
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_missed=_why_missed,
    why_unfair=_why_unfair,
    why_stopped=_why_stopped,
    called="search_fn",
    proved=f"It accepts {len(_RIGHT)} ways to search with a filter, and exposes {len(_FAULTY)} that are something else, the "
    "published one among them.",
)
def test_filtered_search(test, draw):
    """Pass what finds the best that are kept; fail all else."""


# --- the search, mended -----------------------------------------------------------------------


@check(
    nearest.top_k_where,
    proved="The best of those that are kept, k of them whenever so many are kept, however bad they are beside the others, in "
    "places of the whole row.",
    also=(nearest.nearest, index.FlatIndex.search),
)
def top_k_where(answer, draw):
    luck = np.random.default_rng(int(torch.randint(2**31, (1,), generator=draw)))
    cases = _cases(luck)
    rows = [Row(_places(answer, case), _all_ranked(*case.given), case) for case in cases]  # fmt: skip
    judge(rows, _MISTAKES, lambda a, b: [*a] == [*b], _otherwise)
    _with_equal_scores(answer, luck)


def _cases(luck: np.random.Generator) -> list[Case]:
    found = [Case((np.array([0.9, 0.8, 0.1]), np.array([False, True, True]), 2))]

    def add(scores: np.ndarray, keep: np.ndarray, k: int) -> None:
        found.append(Case((scores, keep, k)))

    for N, share, k in ((60, 0.5, 5), (40, 0.2, 3), (25, 0.9, 30), (7, 0.5, 2), (300, 0.1, 8), (90, 0.7, 1)):  # fmt: skip
        scores = luck.permutation(N) / N - 0.4
        keep = luck.random(N) < share
        keep[luck.integers(N)] = True
        add(scores, keep, k)
    for N, low, kept, k in ((50, -0.1, 6, 4), (500, 0.02, 12, 9), (30, -5.0, 3, 5), (35, -1e12, 4, 3), (120, -3e5, 2, 2)):  # fmt: skip
        scores = 0.5 + luck.permutation(N) / (2 * N)
        keep = np.arange(N) % 9 > 9  # none
        keep[luck.choice(np.arange(1, N), kept, replace=False)] = True
        scores[keep] = low - np.abs(low) * luck.permutation(kept) / 10  # worse than all
        add(scores, keep, k)
    scores = luck.permutation(32) / 8 - 2
    add(scores, np.ones(32, dtype=bool), 6)
    add(scores, np.zeros(32, dtype=bool), 3)
    add(scores, scores < -0.5, 40)
    add(-scores - 3, scores > 0, 2)  # all below 0
    add(scores.astype(np.float32), scores > -1, 5)
    add(np.stack([scores, scores], axis=1)[:, 0], np.repeat(scores < 0, 2)[::2], 4)
    add(np.array([-2.0]), np.array([True]), 1)
    add(np.array([2.0]), np.array([False]), 1)
    add(luck.permutation(32), scores < 1, 4)  # whole numbers
    return found


def _with_equal_scores(answer: Callable, luck: np.random.Generator) -> None:
    """In which order equal ones come is left open here."""
    for N, k in ((12, 5), (40, 6), (9, 9)):
        scores = luck.integers(-2, 2, size=N) / 2
        keep = luck.random(N) < 0.6
        keep[np.flatnonzero(scores == scores.max())[0]] = False  # equal, and earlier
        case = Case((scores, keep, k))
        got, want = _places(answer, case), _all_ranked(scores, keep, k)
        expect(
            len({*got}) == len(got)
            and all(0 <= place < N and keep[place] for place in got),
            "Where scores are equal a place is found twice, or one that is not kept. Is a place looked up by its score? Several may "
            "have the same.",
        )
        expect(scores[got].tolist() == scores[want].tolist(), "Where scores are equal others are found than the best that are kept.")  # fmt: skip


def _places(answer: Callable, case: Case) -> list[int]:
    _, keep, k = case.given
    K = min(k, int(keep.sum()))

    def stopped(error: Exception, case: Case) -> str:
        what = "nothing is kept" if not K else f"{keep.sum()} of {len(keep)} are kept, and k={k}"  # fmt: skip
        return (
            f"It stopped with {type(error).__name__} where {what}: {str(error)[:120]}"
        )

    got = asked(answer, case, stopped)
    expect(
        isinstance(got, np.ndarray | list),
        f"It returned a {type(got).__name__}; an array of places is wanted.",
    )
    got = np.asarray(got)
    expect(
        got.ndim == 1,
        f"It returned shape {got.shape}; ({K},) is wanted. (`nonzero` and `where` give a tuple of arrays.)",
    )
    expect(
        got.dtype != bool,
        "It returned True and False. Wanted are the places of those found.",
    )
    whole = np.issubdtype(got.dtype, np.integer) or not len(got)
    expect(whole, f"It returned numbers of type {got.dtype}. Places are whole numbers.")
    return got.tolist()


def _of(version: Callable) -> Callable:
    """A faulty version as a mistake, for any numbers."""
    return lambda scores, keep, k: version(scores.astype(float), keep, k)


# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "The filter comes too late: it leaves what is kept of the best few, perhaps nothing. Choose among the kept scores alone.":
        tuple(map(_of, [_fetched(lambda k, N: FETCH), *(_fetched(lambda k, N, n=n: n * k) for n in (1, 2, 3, 4, 5, 10)), *(_fetched(lambda k, N, n=n: n) for n in (10, 50, 100, 200)),
                        _fetched(lambda k, N: N // 2), *(_fetched(lambda k, N, n=n: max(FETCH, n * k)) for n in (2, 3, 5, 10)), *(_fetched(lambda k, N, n=n: k + n) for n in (1, 10, 20))])),
    "The places are those among the kept scores. Translate them back: places count in the whole row.": (_of(_ends(_in_the_kept)),),
    "The filter makes no difference.": (_of(_WRONG["the filter makes no difference"][0]),),
    "The filter is turned round: True may be found.": (_of(_WRONG["the filter is turned round"][0]),),
    "Where fewer than k are kept others are found as well. Then all that are kept come back, and no more.":
        (_of(_others(lambda s: -np.inf)), _of(_ends(lambda p, s, keep, k: p + _all(s, ~keep)[: k - len(p)])), _of(_others(lambda s: s.min() - 1))),
    "What is not kept has a score that a kept one may have, or be below. Only minus infinity is below all; better, leave the others out.":
        tuple(_of(_others(lambda s, n=n: n, filtered=f)) for n in (0.0, -1.0, -100.0, -1e3, -1e4, -1e6, -1e9, -1e10) for f in (False, True))
        + tuple(_of(_search(lambda s, keep, k, n=n: [p for p in _ranked(np.where(keep, s, n)) if np.where(keep, s, n)[p] > n][:k])) for n in (-1.0, -1e3, -1e6, -1e9))
        + (_of(_others(lambda s: s.min())), _of(_others(lambda s: s - 1e9)), _of(_others(lambda s: s - 10)), _of(_others(lambda s: s - 100))),
    "Scores below 0 are dropped. They are scores as well.": (_of(_only(lambda s, keep: keep & (s >= 0))), _of(_only(lambda s, keep: keep & (s > 0)))),
    "It finds the worst of the kept ones.": (_of(_ends(lambda p, s, keep, k: _all(-s, keep)[:k])), _of(_ends(lambda p, s, keep, k: _all(s, keep)[-k:]))),
    "The right ones are found, the worst first. The best comes first.": (_of(_ends(lambda p, s, keep, k: p[::-1])),),
    "The right ones are found, in the order of the row. The best comes first.": (_of(_ends(lambda p, s, keep, k: sorted(p))),),
    "The first kept places of the row come back. The best are wanted.": (_of(_ends(lambda p, s, keep, k: np.flatnonzero(keep).tolist()[:k])), _of(_ends(lambda p, s, keep, k: np.flatnonzero(keep).tolist()))),
    "One is missing.": (_of(_ends(lambda p, s, keep, k: p[: k - 1])), _of(_ends(lambda p, s, keep, k: p[:-1])), _of(_ends(lambda p, s, keep, k: p if len(p) == k else p[:-1])), _of(_ends(lambda p, s, keep, k: p[1:]))),
    "All that are kept come back. k of them are wanted.": (_of(_ends(lambda p, s, keep, k: _all(s, keep))),),
    "Only the best one comes back. k of them are wanted.": (_of(_ends(lambda p, s, keep, k: p[:1])),),
    "Where fewer than k are kept nothing comes back, or -1 fills up. Then all that are kept come back, and no more.":
        (_of(_ends(lambda p, s, keep, k: p if len(p) == k else [])), _of(_ends(lambda p, s, keep, k: p + [-1] * (k - len(p)))), _of(_ends(lambda p, s, keep, k: p + [0] * (k - len(p))))),
    "Scores are ranked by their size, whatever the sign.": (_of(_ends(lambda p, s, keep, k: _all(np.abs(s), keep)[:k])),),
}
# fmt: on


def _otherwise(row: Row) -> str:
    scores, keep, k = row.case.given
    said = f"With {len(scores)} places, {int(keep.sum())} of them kept, and k={k}"
    odd = [place for place in row.got if not -1 < place < len(scores)]
    if odd:
        return f"{said} there is the place {odd[0]}. Places are from 0 to {len(scores) - 1}."
    dropped = [place for place in row.got if not keep[place]]
    if dropped:
        return f"{said} it finds place {dropped[0]}, which is not kept."
    if len(row.got) != len(row.want):
        early = len(row.got) < len(row.want) and row.got == row.want[: len(row.got)]
        why = " Is something chosen before the filter, or is a score no number?" if early else ""  # fmt: skip
        return f"{said} it finds {len(row.got)}; it should find {len(row.want)}.{why}"
    i = next(i for i in range(len(row.got)) if row.got[i] != row.want[i])
    return (
        f"{said} place {row.got[i]} comes where {row.want[i]} should: their scores are {scores[row.got[i]]:.4g} and "
        f"{scores[row.want[i]]:.4g}."
    )
