r"""What a score threshold means: one cosine by three names.

"Similar by 0.7 or more" is no statement before one knows 0.7 of what. For vectors of
length 1 the squared distance is $d = 2 - 2c$ with c the cosine. A well-known library
turns that d into a "relevance score" $1 - d/\sqrt 2$, a formula made for plain, not
for squared distances: cosine 0.7 becomes 0.58, and vectors that are not of length 1
may get minus nine. Everything here goes by way of the cosine, in both directions.
Left out: scores of other kinds, such as BM25's, which have no fixed scale.
"""

import math
from collections.abc import Sequence

import numpy as np


def cosine_of_distance(distance: float) -> float:
    r"""The cosine of two vectors of length 1 a squared distance apart: $1 - d/2$.

    distance: squared, 0 to 4, a number or an array.

    How: write $|u - v|^2$ out; both squares are 1.

    >>> cosine_of_distance(0.0), cosine_of_distance(2.0), cosine_of_distance(4.0)
    (1.0, 0.0, -1.0)
    """
    return 1 - distance / 2


def relevance_of_cosine(cosine: float) -> float:
    r"""The "relevance score" $1 - d/\sqrt 2$ where d is the squared distance.

    Of vectors of length 1 with this cosine, which is a number or an array. From 1
    for equal ones down to -1.83 for opposite ones: it is no cosine and no chance.

    How: $d = 2 - 2c$, then the formula.

    >>> round(relevance_of_cosine(0.7), 3), round(relevance_of_cosine(-1.0), 2)
    (0.576, -1.83)
    """
    return 1 - (2 - 2 * cosine) / math.sqrt(2)


def cosine_of_relevance(relevance: float) -> float:
    r"""Which cosine a threshold on that "relevance score" stands for.

    relevance: a number or an array.

    How: solve `relevance_of_cosine` for the cosine, $1 - (1 - r)/\sqrt 2$.

    >>> round(cosine_of_relevance(0.5), 3)
    0.646
    """
    return 1 - (1 - relevance) / math.sqrt(2)


def best_threshold(
    answerable: Sequence[float], unanswerable: Sequence[float]
) -> tuple[float, float]:
    """The threshold that parts two rows of best scores best, and how well it does.

    answerable, unanswerable: the highest score that the search gave each question of
    either kind. Returns the threshold and the mean of two shares: of answerable
    questions at it or above, and of unanswerable ones below. Of equally good
    thresholds the lowest; each lies half-way between two scores, or at the lowest.

    >>> best_threshold([0.9, 0.6, 0.8], [0.2, 0.4])
    (0.5, 1.0)
    """
    yes, no = (
        np.sort(np.asarray(answerable, float)),
        np.sort(np.asarray(unanswerable, float)),
    )
    if not (len(yes) and len(no)):
        raise ValueError("A threshold needs questions of both kinds.")
    seen = np.unique(np.concatenate([yes, no]))
    tried = np.concatenate([seen[:1], (seen[:-1] + seen[1:]) / 2])  # low to high
    kept = 1 - np.searchsorted(yes, tried) / len(yes)
    refused = np.searchsorted(no, tried) / len(no)
    best = int(np.argmax(kept + refused))
    return tried[best].item(), ((kept + refused)[best] / 2).item()
