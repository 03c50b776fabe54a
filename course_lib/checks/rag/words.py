"""Check of lesson 10: BM25 scores.

Scores are worked out word by word and document by document in Python's own numbers, for
words that stand within longer words, twice in a question, in most documents and in none.
The answers that prove the check are in `tests/answers/`.
"""

import math
import random
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from course_lib.checks.asking import expect
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import bm25

Words = Sequence[str]
COMMON = ["the", "sea", "geese", "eat", "grass", "and", "fish", "swim"]
RARE = ["eat", "eaten", "beaten", "geese", "goose", "the", "them", "sea", "seal", "seaside", "fish", "fisher", "in", "inn"]  # fmt: skip


@check(
    bm25.bm25_scores,
    proved="Rare words weigh more, repetitions less and less, long documents least, for any k1 and b; a word twice in the "
    "question counts twice, one that nobody has not at all.",
    also=(bm25.BM25.scores, bm25.BM25.shares, bm25.BM25.search),
)
def bm25_scores(answer, draw):
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    rows = [Row(_ask(answer, case), _slowly(*case.given, **case.options), case) for case in _cases(luck)]  # fmt: skip
    rows.sort(
        key=lambda row: _close(row.got, row.want)
    )  # wrong ones first: sooner named
    judge(rows, _MISTAKES, _close, _otherwise)


def _cases(luck: random.Random) -> list[Case]:
    paper = [["geese", "eat", "grass"], ["geese"], ["the", "sea"]]
    some = _documents(luck, 7)
    many = [*_documents(luck, 9), [], ["sea"] * 12, ["geese", "geese", "eat"]]
    luck.shuffle(many)
    found = [Case((["geese"], paper)), Case((["eat", "sea"], paper))]
    for k1, b in ((None, None), (0.4, 0.75), (1.5, 0.2), (3.0, 0.5), (0.9, 0.05), (1.2, 0.95)):  # fmt: skip
        options = {} if k1 is None else {"k1": k1, "b": b}
        for documents in (some, many):
            found += [Case((luck.choices(RARE, k=3), documents), options)]
            word, other = luck.sample(COMMON, 2)
            found += [Case(([word, other, word], documents), options)]
    found += [Case((["eat"], many), {"k1": 2.0}), Case((["eat", "sea"], many), {"b": 0.3})]  # fmt: skip
    found += [Case((["sea"], [["sea", "sea", "fish"]])), Case((["fish"], some[:2]))]
    found += [Case((["unicorn"], some)), Case((["sea", "unicorn"], many))]
    found += [Case(([], some)), Case(([], paper[:1]))]
    asked = luck.sample(COMMON, 2)
    found += [Case((asked, many), rates) for rates in ({}, {"k1": 0.5, "b": 0.4})]
    found += [Case((asked, one)) for one in (some, _documents(luck, 7))]
    found += [Case((asked, [*some, *some[:3]]))]  # documents alike are several
    found += [Case((["sea", "the"], [["Sea", "sea", "seas"], ["seas"], ["The", "Sea"], ["the"], ["sea", "fish"]]))]  # fmt: skip
    found += [Case((luck.choices(COMMON, k=6), _documents(luck, 40)))]
    return found


def _documents(luck: random.Random, number: int) -> list[list[str]]:
    """Of one to twenty words; "the" is in most of them, "geese" often stands several times."""
    found = []
    for _ in range(number):
        words = luck.choices(COMMON, k=luck.randint(1, 9))
        words += luck.choices(RARE, k=luck.randint(0, 7))
        words += ["geese"] * luck.choice((0, 0, 0, 2, 4)) + ["the"] * luck.choice((0, 1, 1))  # fmt: skip
        luck.shuffle(words)
        found.append(words)
    return found


def _ask(answer: Callable, case: Case) -> np.ndarray:
    got = asked(answer, case, _stopped)
    N = len(case.given[1])
    why = (
        "Without any word there is still a 0 for each document."
        if not case.given[0]
        else "Each document has one score: what its words give is added up."
    )
    expect(
        isinstance(got, np.ndarray),
        f"It returned a {type(got).__name__}; an array of {N} numbers is wanted. {why}",
    )
    expect(
        got.shape == (N,),
        f"It returned shape {got.shape} for {N} documents; ({N},) is wanted. {why}",
    )
    expect(
        np.issubdtype(got.dtype, np.number),
        f"It returned an array of type {got.dtype}; numbers are wanted.",
    )
    if not np.isfinite(got).all():
        place = int(np.flatnonzero(~np.isfinite(got))[0])
        document = case.given[1][place]
        what = "an empty document" if not document else f"the document {document}"
        expect(
            False,
            f"For the query {case.given[0]} {what} has the score {got[place]}. A logarithm of 0 or less, or 0 over 0?",
        )
    return got.astype(float)


def _stopped(error: Exception, case: Case) -> str | None:
    said = f"It stopped with {type(error).__name__} for the query {case.given[0]}"
    if not case.given[0]:
        return f"{said}. Without any word every document has 0."
    if isinstance(error, KeyError):
        return f"{said}. A word that no document holds counts nothing."
    if isinstance(error, ZeroDivisionError):
        return f"{said}. A document may be empty, and a word may be in none."
    if "ufunc" in str(error) and "casting" in str(error):
        return f"{said}: numbers with a point do not go into an array of whole ones."
    if re.search("unsupported operand.*list|multiply sequence", str(error)):
        return f"{said}: a list was calculated with. `saturation` takes arrays, one number for each document."
    return None


def _close(a: object, b: object) -> bool:
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-7)


# --- naming the mistake -----------------------------------------------------------------------


def _usual_rarity(n: float, N: int) -> float:
    return math.log(1 + (N - n + 0.5) / (n + 0.5))


def _usual_worth(c: float, size: float, mean: float, k1: float, b: float) -> float:
    return c / (c + k1 * (1 - b + b * size / mean)) if c else 0.0


def _slowly(
    query: Words,
    documents: Sequence[Words],
    k1: float = 1.5,
    b: float = 0.75,
    *,
    asks: Callable = lambda query: query,
    holds: Callable = lambda documents, word: sum(word in d for d in documents),
    counts: Callable = lambda document, word: document.count(word),
    rarity: Callable = _usual_rarity,
    worth: Callable = _usual_worth,
    size: Callable = len,
    mean: Callable = lambda sizes, counted: sum(sizes) / len(sizes),
    together: Callable = math.fsum,
) -> np.ndarray:
    """Document by document and word by word; one thing in it may be wrong."""
    N, sizes = len(documents), [size(document) for document in documents]
    parts: list[list[float]] = [[] for _ in documents]
    for word in asks(query):
        counted = [counts(document, word) for document in documents]
        weight = rarity(holds(documents, word), N)
        usual = mean(sizes, counted)
        for i in range(N):
            parts[i].append(weight * worth(counted[i], sizes[i], usual, k1, b))
    return np.array([together(part) if part else 0.0 for part in parts])


def _but(after: Callable = lambda scores, query, documents: scores, **wrong: Callable) -> Callable:  # fmt: skip
    """A mistake: something else in it, or something done to the scores at the end."""

    def way(query, documents, k1=1.5, b=0.75):
        return after(_slowly(query, documents, k1, b, **wrong), query, documents)

    return way  # fmt: skip


def _rates(change: Callable) -> Callable:
    """A mistake in what becomes of k1 and b."""
    return lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, *change(k1, b))  # fmt: skip


def _okapi(n: float, N: int) -> float:
    return math.log((N - n + 0.5) / (n + 0.5))


def _as_text(document: Words, word: str) -> int:
    return " ".join(document).count(word)


def _some(sizes: list, counted: list) -> float:
    """The mean of those that hold the word."""
    kept = [size for size, count in zip(sizes, counted, strict=True) if count]
    return sum(kept) / max(len(kept), 1) or 1.0


def _product(parts: list[float]) -> float:
    return math.prod(parts)


def _letters(document: Words) -> int:
    return sum(map(len, document))


def _occurring(documents: Sequence[Words], word: str) -> int:
    return sum(document.count(word) for document in documents)


# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "A word that stands twice in the query counts once in yours. It counts twice.": (_but(asks=dict.fromkeys),),
    "Lengths are counted in letters. They are in words.":
        (_but(size=_letters), _but(size=lambda d: len(" ".join(d))), _but(size=lambda d: len(str(d)))),
    "The mean length is that of the documents that hold the word. It is the mean of all.":
        (_but(mean=_some), _but(mean=lambda s, c: sum(x for x, n in zip(s, c, strict=True) if n) / len(s) or 1.0)),
    "The mean length leaves out empty documents. It is the mean of all.": (_but(mean=lambda s, c: sum(s) / sum(x > 0 for x in s)),),
    "The mean length is another number: rounded, the median, the sum, the longest, or the number of documents.":
        tuple(_but(mean=m) for m in (lambda s, c: float(np.median(s)), lambda s, c: sum(s), lambda s, c: max(s), lambda s, c: len(s), lambda s, c: sorted(s)[len(s) // 2], lambda s, c: sum(s) // len(s) or 1, lambda s, c: round(sum(s) / len(s)) or 1, lambda s, c: sum(s) / max(len(s) - 1, 1))),
    "Every document's length is taken for the mean: length makes no difference.": (_but(worth=lambda c, s, m, k, b: c / (c + k) if c else 0.0),),
    "Lengths are the numbers of *different* words. Every word of a document counts.": (_but(size=lambda d: len(set(d))),),
    "Rarity is asked for occurrences. It wants the number of *documents* that hold the word.": (_but(holds=_occurring),),
    "Rarity is asked for something else than how many documents hold the word, of how many there are.":
        (*(_but(rarity=r) for r in (lambda n, N: _usual_rarity(N, n), lambda n, N: _usual_rarity(n / N, N), lambda n, N: _usual_rarity(n / N, 1), lambda n, N: _usual_rarity(N - n, N),
          lambda n, N: _usual_rarity(n + 1, N), lambda n, N: _usual_rarity(n, N + 1), lambda n, N: _usual_rarity(n, N - 1), lambda n, N: _usual_rarity(min(n, 1), N))),
         _but(holds=lambda ds, w: sum(d.count(w) > 1 for d in ds)),
         lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, k1, b, rarity=lambda n, N: 1.0, worth=lambda c, s, m, k, b: _usual_rarity(c, len(documents)) * _usual_worth(c, s, m, k, b)),
         lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, k1, b, rarity=lambda n, N: _usual_rarity(n, sum(map(len, documents)))),
         lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, k1, b, rarity=lambda n, N: _usual_rarity(n, len({w for d in documents for w in d})))),
    "Rarity is that of another formula. The lucene variant is asked for, which `rarity` gives; it is never below 0.":
        tuple(_but(rarity=r) for r in (_okapi, lambda n, N: max(_okapi(n, N), 0.0), lambda n, N: abs(_okapi(n, N)), lambda n, N: math.log(N / n) if n else 0.0, lambda n, N: math.log(1 + N / n) if n else 0.0,
              lambda n, N: math.log((N + 1) / (n + 1)), lambda n, N: math.log((N + 1) / (n + 1)) + 1, lambda n, N: math.log2(1 + (N - n + 0.5) / (n + 0.5)), lambda n, N: math.log10(1 + (N - n + 0.5) / (n + 0.5)),
              lambda n, N: (N - n + 0.5) / (n + 0.5), lambda n, N: 1 / n if n else 0.0, lambda n, N: N / n if n else 0.0, lambda n, N: math.log((N + 1) / (n + 0.5)) + 1, lambda n, N: _usual_rarity(n, N) ** 2)),
    "Rarity is missing: a common word weighs as much as a rare one.": (_but(rarity=lambda n, N: 1.0),),
    "Saturation is missing: the tenth occurrence says as much as the first.":
        (_but(worth=lambda c, s, m, k, b: c), _but(worth=lambda c, s, m, k, b: c / s if s else 0.0), _but(worth=lambda c, s, m, k, b: c / m), _but(worth=lambda c, s, m, k, b: math.log1p(c))),
    "It only asks whether a document holds the word. How often it does is to count, saturated.":
        (_but(worth=lambda c, s, m, k, b: float(c > 0)), _but(counts=lambda d, w: int(w in d)), _but(worth=lambda c, s, m, k, b: c, rarity=lambda n, N: 1.0)),
    "Words are counted within other words (\"eat\" in \"beaten\"). The document is a list of words: count there.":
        (_but(counts=_as_text), _but(counts=_as_text, holds=lambda ds, w: sum(w in " ".join(d) for d in ds)), _but(holds=lambda ds, w: sum(w in " ".join(d) for d in ds)),
         _but(counts=lambda d, w: sum(w in other for other in d)), _but(counts=lambda d, w: sum(w in other for other in d), holds=lambda ds, w: sum(any(w in other for other in d) for d in ds)),
         _but(counts=lambda d, w: sum(other in w for other in d)), _but(counts=lambda d, w: sum(other.startswith(w) for other in d), holds=lambda ds, w: sum(any(o.startswith(w) for o in d) for d in ds))),
    "`k1` and `b` make no difference: hand them on to `saturation`.": (_rates(lambda k1, b: (1.5, 0.75)),),
    "`k1` makes no difference: hand it on to `saturation`.": (_rates(lambda k1, b: (1.5, b)),),
    "`b` makes no difference: hand it on to `saturation`.": (_rates(lambda k1, b: (k1, 0.75)),),
    "`k1` and `b` are exchanged. In what order does `saturation` want its arguments?": (_rates(lambda k1, b: (b, k1)),),
    "Lengths and counts, or length and mean length, are exchanged in `saturation`.":
        (_but(worth=lambda c, s, m, k, b: _usual_worth(s, c, m, k, b)), _but(worth=lambda c, s, m, k, b: _usual_worth(c, m, s, k, b) if s else 0.0)),
    "There is a factor k1 + 1 that the lucene variant does not have.":
        (lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, k1, b) * (k1 + 1),),
    "The scores are divided by the number of words in the query. They are summed up.":
        (_but(lambda s, q, d: s / max(len(q), 1)), _but(lambda s, q, d: s / max(len(set(q)), 1))),
    "Only the largest part counts. What the words give is summed up.": (_but(together=max),),
    "Only one word of the query counts: is the score set anew with every word (=) where it should grow (+=)?":
        (_but(asks=lambda q: q[-1:]), _but(asks=lambda q: q[:1]), _but(asks=lambda q: q[:-1]), _but(asks=lambda q: q[1:])),
    "What the words give is multiplied. It is summed up.": (_but(together=_product), _but(lambda s, q, d: s if len(q) else np.ones(len(d)), together=_product), _but(together=lambda parts: 1.0 + math.fsum(parts))),
    "All words of the query are treated as one: the counts are added up before anything else.": (lambda query, documents, k1=1.5, b=0.75: _at_once({*query}, documents, k1, b), lambda query, documents, k1=1.5, b=0.75: _at_once(query, documents, k1, b)),
    "A document without one of the words has 0. It has what its other words give.": (_but(lambda s, q, ds: np.array([x * all(w in d for w in q) for x, d in zip(s, ds, strict=True)])),),
    "Rarity is multiplied once for all words, not with each word's own saturation.":
        (lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, k1, b, rarity=lambda n, N: 1.0) * sum(_usual_rarity(sum(w in d for d in documents), len(documents)) for w in query),),
    "Rarity and saturation are added. A word gives their product.":
        (lambda query, documents, k1=1.5, b=0.75: _slowly(query, documents, k1, b, rarity=lambda n, N: 1.0) + sum(_usual_rarity(sum(w in d for d in documents), len(documents)) for w in query),
         lambda query, documents, k1=1.5, b=0.75: _sums(query, documents, k1, b)),
    "Scores are brought to a scale of their own (the largest is 1, or all sum to 1). They stay as they are.":
        (_but(lambda s, q, d: s / (s.max() or 1.0)), _but(lambda s, q, d: s / (s.sum() or 1.0)), _but(lambda s, q, d: s / (np.linalg.norm(s) or 1.0)), _but(lambda s, q, d: (s - s.min()) / (np.ptp(s) or 1.0))),
    "Scores are rounded. They stay as they are.": tuple(_but(lambda s, q, d, n=n: s.round(n)) for n in (0, 1, 2, 3, 4)),
    "The scores come sorted. Each stands in its document's place.": (_but(lambda s, q, d: np.sort(s)[::-1]), _but(lambda s, q, d: np.sort(s))),
    "Those are places. The scores are wanted, each in its document's place.": (_but(lambda s, q, d: np.argsort(-s)), _but(lambda s, q, d: np.argsort(-s, kind="stable"))),
    "Words such as \"the\" are left out of it. Here the words come chosen: all of them count.":
        (lambda query, documents, k1=1.5, b=0.75: _slowly([*_telling(query)], [*map(_telling, documents)], k1, b), lambda query, documents, k1=1.5, b=0.75: _slowly(_telling(query), documents, k1, b),
         lambda query, documents, k1=1.5, b=0.75: _slowly(query, [*map(_telling, documents)], k1, b),
         lambda query, documents, k1=1.5, b=0.75: _slowly(_telling(map(str.lower, query)), [_telling(map(str.lower, d)) for d in documents], k1, b)),
    "Counts are divided by the document's length. They stay counts: length is `saturation`'s work.":
        (_but(counts=lambda d, w: d.count(w) / max(len(d), 1)),),
    "Words are changed: to small letters, or without their ending. Words count as they stand: \"Sea\" and \"seas\" are others than \"sea\".":
        (*tuple(lambda query, documents, k1=1.5, b=0.75, to=to: _slowly([*map(to, query)], [[*map(to, d)] for d in documents], k1, b) for to in (str.lower, lambda w: w.removesuffix("s"), lambda w: w.lower().removesuffix("s"))), _but(counts=lambda d, w: [o.lower() for o in d].count(w)), _but(counts=lambda d, w: [o.lower() for o in d].count(w), holds=lambda ds, w: sum(w in map(str.lower, d) for d in ds))),
    "Documents that are alike are counted as one. Each is one of the N.": (lambda query, documents, k1=1.5, b=0.75: _once_each(query, documents, k1, b),),
    "All scores are 0.": (lambda query, documents, k1=1.5, b=0.75: np.zeros(len(documents)),),
}
# fmt: on


def _telling(words: Iterable[str]) -> list[str]:
    return [word for word in words if word.lower() not in ("the", "and", "in", "them")]


def _at_once(query: Iterable[str], documents: Sequence[Words], k1: float, b: float) -> np.ndarray:  # fmt: skip
    mean = sum(map(len, documents)) / len(documents)
    counts = [sum(d.count(word) for word in query) for d in documents]
    weight = _usual_rarity(sum(count > 0 for count in counts), len(documents))
    return np.array([weight * _usual_worth(c, len(d), mean, k1, b) for c, d in zip(counts, documents, strict=True)])  # fmt: skip


def _once_each(query: Words, documents: Sequence[Words], k1: float, b: float) -> np.ndarray:  # fmt: skip
    each = [*dict.fromkeys(map(tuple, documents))]
    scores = dict(zip(each, _slowly(query, each, k1, b), strict=True))
    return np.array([scores[tuple(document)] for document in documents])


def _sums(query: Words, documents: Sequence[Words], k1: float, b: float) -> np.ndarray:
    """Rarity plus saturation, of the words that a document holds."""
    weights = {word: _usual_rarity(sum(word in d for d in documents), len(documents)) for word in query}  # fmt: skip
    added = np.array([sum(weights[word] for word in query if word in d) for d in documents])  # fmt: skip
    return _slowly(query, documents, k1, b, rarity=lambda n, N: 1.0) + added


def _otherwise(row: Row) -> str:
    query, documents = row.case.given
    off = np.abs(row.got - row.want)
    i = int(off.argmax())
    rates = "".join(f", {name}={value}" for name, value in row.case.options.items())
    shown = f"{len(documents[i])} words" if len(documents[i]) > 12 else documents[i]
    if off.max() < 1e-2 * max(row.want.max(), 1e-9):
        return (
            f"For the query {query}{rates} the first digits are right and the later ones are not: {row.got[i]:.6g} instead of "
            f"{row.want[i]:.6g}. Is something rounded, or a small number added?"
        )
    return (
        f"For the query {query}{rates} document {i} of {len(documents)} ({shown}) has the score {row.got[i]:.4g}; it should be "
        f"{row.want[i]:.4g}."
    )
