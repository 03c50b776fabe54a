r"""BM25: which documents hold the words of a question, often for their length.

Three ideas in one sum over the words of the question: a rare word says more than a
common one; the tenth occurrence says less than the first; in a long document an
occurrence says less than in a short one (Robertson and Zaragoza 2009, eq. 3.15).
$$\sum_{w \in q} \text{rarity}(w)\, \frac{c}{c + k_1 (1 - b + b |d| / \bar{|d|})}$$
Libraries mean different things by the name. variant="okapi" is rank-bm25's: another
rarity, which falls below 0 for words of more than half of the documents and is
lifted there, and a factor k1 + 1. variant="lucene" is that of Lucene and of bm25s.
Left out: stems of words, phrases, documents that are added later.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.rag.nearest import top_k

Analyse = Callable[[str], Sequence[str]]
VARIANTS = ("lucene", "okapi")
FLOOR = 0.25  # of the mean rarity: what rank-bm25 gives words of negative rarity
STOP_WORDS = """
a about all also am an and any are as at be been being but by can could d did do
does for from had has have he her him his how i if in into is it its ll m may me
might more most must my no nor not of on or our re s shall she should so such t
than that the their them then there these they this those to too us ve was we
were what when where which while who whom whose why will with would you your
"""
STOPS = frozenset(STOP_WORDS.split())


# ---- from text to words


def words(text: str, stops: frozenset[str] = STOPS) -> list[str]:
    """The words of a text in small letters, without those that are in every text.

    >>> words("What did the 2 GEESE eat?")
    ['2', 'geese', 'eat']
    """
    return [word for word in re.findall(r"\w+", text.lower()) if word not in stops]


def code_words(text: str) -> list[str]:
    """As `words`, and the parts of names that programmers put together.

    >>> code_words("class FlatIndex: top_k")
    ['class', 'flatindex', 'flat', 'index', 'top_k', 'top', 'k']
    """
    found = []
    for name in re.findall(r"\w+", text):
        parts = re.findall(
            r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_a-zA-Z0-9]+", name
        )
        found += [name.lower(), *(part.lower() for part in parts if part != name)]
    return [word for word in found if word not in STOPS]


# ---- the three ideas


def rarity(
    holding: np.ndarray,
    documents: int,
    variant: str = "lucene",
) -> np.ndarray:
    r"""How much a word says, in nats: $\log(1 + \frac{N - n + 0.5}{n + 0.5})$.

    holding: the number n of documents that hold the word, or many such numbers;
    documents: N. variant "okapi": the logarithm without "1 +", which is below 0 for
    a word of more than half of the documents. Returns as many numbers as given.

    >>> rarity(np.array([1, 9]), documents=9).round(2)
    array([1.9 , 0.05])
    """
    odds = (documents - holding + 0.5) / (holding + 0.5)
    return np.log1p(odds) if variant == "lucene" else np.log(odds)


def saturation(
    counts: np.ndarray,
    lengths: np.ndarray,
    mean_length: float,
    k1: float = 1.5,
    b: float = 0.75,
) -> np.ndarray:
    r"""What c occurrences are worth: $c / (c + k_1 (1 - b + b\, |d| / \bar{|d|}))$.

    counts, lengths: of a word and of all words in each document, one shape, which is
    returned. From 0 for no occurrence towards 1 for many. k1: how slowly; b: from 0
    (length does not matter) to 1 (only shares matter).

    >>> saturation(np.array([0, 1, 10]), np.array([8, 8, 8]), mean_length=8).round(2)
    array([0.  , 0.4 , 0.87])
    """
    return counts / (counts + k1 * (1 - b + b * lengths / mean_length))


def bm25_scores(
    query: Sequence[str],
    documents: Sequence[Sequence[str]],
    k1: float = 1.5,
    b: float = 0.75,
) -> np.ndarray:
    r"""How well each document answers, in the lucene variant: (N,), 0 or more.

    query, documents: words. A word that stands twice in the query counts twice; one
    that no document holds counts nothing.

    How: for every word of the query count it in each document; add the product of
    its `rarity` and the `saturation` of these counts.

    >>> geese = [["geese", "eat", "grass"], ["geese"], ["the", "sea"]]
    >>> bm25_scores(["geese"], geese).round(3)
    array([0.153, 0.243, 0.   ])
    """
    scores = np.zeros(len(documents))
    lengths = np.array([len(document) for document in documents])
    for word in query:
        counts = np.array([list(document).count(word) for document in documents])
        weight = rarity((counts > 0).sum(), len(documents))
        scores += weight * saturation(counts, lengths, lengths.mean(), k1, b)
    return scores


# ---- fast


class BM25:
    """An inverted index: for each word the documents that hold it, and its worth.

    Everything but the sum is done once, here. A question touches only the entries of
    its own words. documents: texts; `analyse` makes words of them and of questions.
    An empty corpus is allowed, and nothing is found in it.
    """

    def __init__(
        self,
        documents: Sequence[str],
        analyse: Analyse = words,
        variant: str = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        check_settings(documents, variant, k1, b)
        self.analyse, self.size = analyse, len(documents)
        counted = [Counter(analyse(text)) for text in documents]
        known = dict.fromkeys(word for counts in counted for word in counts)
        self.words = {word: id for id, word in enumerate(known)}
        lengths = np.array([counts.total() for counts in counted], dtype=float)
        ids, places, counts = entries(counted, self.words)
        holding = np.bincount(ids, minlength=len(known))
        weight = word_weights(holding, self.size, variant, k1)
        factor = k1 + 1 if variant == "okapi" else 1
        self.weight = weight  # of each word; the rest is for those it does not know
        self.unknown = factor * rarity(np.array(0), self.size, variant).item()
        worth = saturation(counts, lengths[places], max(mean(lengths), 1e-9), k1, b)
        self.starts = np.concatenate([[0], np.cumsum(holding)])
        self.places, self.worth = places, weight[ids] * worth

    def __len__(self) -> int:
        return self.size

    def scores(self, query: str) -> np.ndarray:
        """How well each document answers: (N,); 0 without any word of the query."""
        scores = np.zeros(self.size)
        for word in self.analyse(query):
            if (id := self.words.get(word)) is not None:
                these = slice(self.starts[id], self.starts[id + 1])
                scores[self.places[these]] += self.worth[these]
        return scores

    def shares(self, query: str) -> np.ndarray:
        """Scores as shares of the most that these words could give: (N,), below 1.

        A word that no document holds counts as the rarest. So a question in other
        words than the documents' has small shares everywhere, which ranks hide.
        """
        ids = [self.words.get(word) for word in self.analyse(query)]
        weights = [self.unknown if id is None else self.weight[id] for id in ids]
        return self.scores(query) / max(sum(weights), 1e-9)

    def search(self, query: str, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and places of the best k that hold a word of the query, (K,) each."""
        if k < 1:
            raise ValueError(f"A search finds at least one: {k=}.")
        scores = self.scores(query)
        best = top_k(np.where(scores == 0, -np.inf, scores), k)
        return scores[best], best


def entries(
    counted: Sequence[Counter], ids: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every word of every document once, sorted by word: ids, places, counts.

    >>> entries([Counter("ab"), Counter("bb")], {"a": 0, "b": 1})
    (array([0, 1, 1]), array([0, 0, 1]), array([1, 1, 2]))
    """
    held = [len(counts) for counts in counted]
    total = sum(held)
    words = np.fromiter((ids[w] for c in counted for w in c), np.int64, total)
    counts = np.fromiter((n for c in counted for n in c.values()), np.int64, total)
    places = np.repeat(np.arange(len(counted)), held)
    order = np.argsort(words, kind="stable")
    return words[order], places[order], counts[order]


def word_weights(
    holding: np.ndarray, documents: int, variant: str, k1: float
) -> np.ndarray:
    """The rarity of each word of the corpus, as the variant has it.

    >>> word_weights(np.array([1, 1, 9]), 9, "okapi", k1=1.0).round(3)
    array([3.469, 3.469, 0.087])
    """
    weights = rarity(holding, documents, variant)
    if variant == "okapi" and len(weights):
        lifted = np.where(weights < 0, FLOOR * weights.mean(), weights)
        return lifted * (k1 + 1)
    return weights


def mean(lengths: np.ndarray) -> float:
    return lengths.mean() if len(lengths) else 0.0


def check_settings(documents: Sequence[str], variant: str, k1: float, b: float) -> None:
    """Refuse what would make scores of nonsense."""
    if isinstance(documents, str):
        raise ValueError("BM25 takes a list of texts: put [ and ] around the text.")
    if variant not in VARIANTS:
        raise ValueError(f"A variant is {' or '.join(VARIANTS)}, not {variant!r}.")
    if not (k1 >= 0 and 0 <= b <= 1):
        raise ValueError(f"k1 is 0 or more and b lies between 0 and 1: {k1=}, {b=}.")
