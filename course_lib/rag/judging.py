r"""How good an answer is: right words, right values, and nothing without a source.

Three ways to compare with the wanted answer, from strict to lenient (Rajpurkar et
al. 2016): equal, contained, overlapping. *Faithfulness* asks another thing: whether
the passages say what the answer says; it needs no wanted answer, and a faithful
answer may be wrong. Last, the two halves of a system on one page:
$P(\text{right}) = P(\text{found}) P(\text{right} | \text{found}) +
P(\text{not found}) P(\text{right} | \text{not found})$.
Left out: models as judges; their marks depend on the order and on the length.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from course_lib.rag.citations import ENOUGH, claims, holds
from course_lib.rag.prompts import refuses


def tokens(text: str) -> list[str]:
    """The words to compare: small letters, no punctuation, no articles.

    >>> tokens("The Door, a red one!")
    ['door', 'red', 'one']
    """
    return [w for w in re.findall(r"\w+", text.lower()) if w not in ("a", "an", "the")]


def exact_match(said: str, wanted: str) -> bool:
    """Whether both have the same words in the same order."""
    return tokens(said) == tokens(wanted)


def contains(said: str, wanted: str) -> bool:
    """Whether the wanted words stand in a row in what was said.

    >>> contains("It opens at 10 o'clock.", "10 o'clock"), contains("At 110.", "10")
    (True, False)
    """
    return f" {' '.join(tokens(wanted))} " in f" {' '.join(tokens(said))} "


def token_f1(said: str, wanted: str) -> float:
    r"""How much two answers overlap: $2 P R / (P + R)$, words counted as often as they
    stand there.

    P is the share of the said words that are wanted, R of the wanted that are said.
    Two empty answers agree: 1.

    >>> token_f1("a black cat", "the cat")
    0.6666666666666666
    """
    a, b = Counter(tokens(said)), Counter(tokens(wanted))
    if not a and not b:
        return 1.0
    return 2 * (a & b).total() / (a.total() + b.total())


def faithfulness(answer: str, passages: Sequence[str], enough: float = ENOUGH) -> float:
    """The share of an answer's sentences that at least one passage holds.

    A refusal claims nothing: 1.

    >>> faithfulness("Ben is a cook. Ben sings.", ["Ben works as a cook."])
    0.5
    """
    said = [claim.sentence for claim in claims(answer)]
    if refuses(answer) or not said:
        return 1.0
    held = [any(holds(text, one, enough) for text in passages) for one in said]
    return sum(held) / len(held)


# ---- a whole system


class Ledger(NamedTuple):
    retrieval: float  # the passage that answers was among those shown
    copying: float  # right answers where it was; nan if it never was
    luck: float  # right answers where it was not; nan if it always was
    end_to_end: float  # right answers

    @property
    def product(self) -> float:
        return self.retrieval * self.copying if self.retrieval else 0.0


def ledger(found: Sequence[bool], right: Sequence[bool]) -> Ledger:
    """Where right answers come from: one mark of each kind for every question.

    end_to_end is the product of retrieval and copying, and what luck adds.

    >>> ledger([True, True, True, False], [True, True, False, False])
    Ledger(retrieval=0.75, copying=0.6666666666666666, luck=0.0, end_to_end=0.5)
    """
    if not found or len(found) != len(right):
        raise ValueError(f"One mark of each kind: {len(found)} and {len(right)}.")
    pairs = [*zip(found, right, strict=True)]
    return Ledger(
        mean(found),
        mean([good for there, good in pairs if there]),
        mean([good for there, good in pairs if not there]),
        mean(right),
    )


def mean(marks: Sequence[float]) -> float:
    return sum(marks) / len(marks) if marks else float("nan")


class Refusals(NamedTuple):
    of_answerable: float  # the fewer the better
    of_unanswerable: float  # the more the better

    @property
    def balanced(self) -> float:
        """The mean share of right decisions over both kinds of questions."""
        return (1 - self.of_answerable + self.of_unanswerable) / 2


def refusal_rates(refused: Sequence[bool], answerable: Sequence[bool]) -> Refusals:
    """How often questions of either kind were refused.

    >>> refusal_rates([True, False, True], [True, True, False])
    Refusals(of_answerable=0.5, of_unanswerable=1.0)
    """
    pairs = [*zip(refused, answerable, strict=True)]
    return Refusals(
        mean([no for no, can in pairs if can]),
        mean([no for no, can in pairs if not can]),
    )
