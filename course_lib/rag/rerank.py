r"""A second look at what was found: put it in a better order, or make it shorter.

Two things that are often called by one name. A *re-ranker* reads question and
passage together and changes the order; no text changes. *Compression* keeps the
sentences of a passage that matter; no order changes. Reading both together is too
slow for a whole corpus, so it is done for the first hits alone. Here what is read is
a handful of signals, weighed by a softmax over the candidates of each question that
is trained in a second. Left out: a Transformer over both texts, which is how large
cross-encoders do it.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from course_lib.rag.answering import names
from course_lib.rag.bm25 import words
from course_lib.rag.meaning import sentences
from course_lib.rag.store import Hit

Likeness = Callable[[str, str], float]  # question, text: how well they fit
SIGNALS = ("score", "words", "names", "pairs", "brevity")


def signals(question: str, text: str, score: float = 0.0) -> list[float]:
    """What is seen of a question and a text together, one number for each of SIGNALS.

    The search's score; which share of the question's words, of its names, and of its
    pairs of neighbouring words the text has; 1 for a short text, near 0 for a long.

    >>> signals("Who mends the Brass Clock?", "Ida mends the brass clock.", score=0.5)
    [0.5, 1.0, 1.0, 1.0, 0.9]
    """
    asked, told = words(question), words(text)
    named = [name.lower() for name in names(question)]
    return [
        float(score),
        shared(asked, {*told}),
        shared(named, {*told}),
        shared([*pairwise(asked)], {*pairwise(told)}),
        round(40 / (40 + len(told)), 1),
    ]


def shared(wanted: Sequence, there: set) -> float:
    """Which share of what is wanted is there; 0 if nothing is wanted.

    >>> shared(["a", "b"], {"b", "c"})
    0.5
    """
    return sum(item in there for item in wanted) / max(1, len(wanted))


class CrossScorer:
    """Weights of the signals, learned from questions whose right passage is known."""

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        self.weights = torch.tensor(weights or [1.0] + [0.0] * (len(SIGNALS) - 1))
        if self.weights.shape != (len(SIGNALS),):
            raise ValueError(f"One weight for each of {', '.join(SIGNALS)}.")

    def scores(self, question: str, hits: Sequence[Hit]) -> Tensor:
        """(N,): how well each hit fits the question."""
        return table(question, hits) @ self.weights

    def fit(
        self,
        questions: Sequence[str],
        hits: Sequence[Sequence[Hit]],
        right: Sequence[int],
        steps: int = 60,
    ) -> float:
        """Learn to pick hit right[i] of hits[i]; returns the last mean loss, in nats.

        A question whose right passage was not found teaches nothing: leave it out.
        """
        rows = [table(q, found) for q, found in zip(questions, hits, strict=True)]
        self.weights.requires_grad_(True)
        optimizer = torch.optim.LBFGS([self.weights], max_iter=steps)

        def loss() -> Tensor:
            optimizer.zero_grad()
            cost = choice_loss(rows, right, self.weights)
            cost.backward()
            return cost

        optimizer.step(loss)
        self.weights = self.weights.detach()
        return choice_loss(rows, right, self.weights).item()


def table(question: str, hits: Sequence[Hit]) -> Tensor:
    """The signals of each hit: (N, signals)."""
    rows = [signals(question, hit.chunk.text, hit.score) for hit in hits]
    return torch.tensor(rows).reshape(-1, len(SIGNALS))


def choice_loss(
    rows: Sequence[Tensor], right: Sequence[int], weights: Tensor, decay: float = 1e-3
) -> Tensor:
    """What it costs to pick the right one of each question's candidates, in nats.

    rows[i] (N_i, signals). A little `decay` keeps the weights finite where the
    signals part right and wrong without a mistake.
    """
    costs = [
        functional.cross_entropy(row @ weights, torch.tensor(place))
        for row, place in zip(rows, right, strict=True)
    ]
    return torch.stack(costs).mean() + decay * weights.pow(2).sum()


def rerank(
    question: str, hits: Sequence[Hit], scorer: CrossScorer, k: int | None = None
) -> list[Hit]:
    """The same hits in a better order, the best k; of equal ones the earlier first.

    Scores are the scorer's.
    """
    if not hits:
        return []
    scores = scorer.scores(question, hits)
    order = torch.argsort(scores, descending=True, stable=True)[:k].tolist()
    return [Hit(hits[i].chunk, scores[i].item()) for i in order]


def compress(question: str, text: str, like: Likeness, keep: int = 2) -> str:
    """The `keep` sentences that fit the question best, in the order of the text.

    like: such as `overlap`, or the cosine of an encoder. Of equal ones the earlier.

    >>> compress("Who has a cat?", "It rains. Ada has a cat. She sings.", overlap, 1)
    'Ada has a cat.'
    """
    if keep < 1:
        raise ValueError(f"Keep at least one sentence: {keep=}.")
    parts = sentences(text)
    fits = np.array([like(question, part) for part in parts])
    best = sorted(np.argsort(-fits, kind="stable")[:keep].tolist())
    return " ".join(parts[place].strip() for place in best)


def overlap(question: str, text: str) -> float:
    """Which share of the question's words a text has.

    >>> overlap("Who has a black cat?", "Ada has a cat.")
    0.5
    """
    return shared(words(question), {*words(text)})
