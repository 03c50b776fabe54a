"""Who says so: the passage behind each sentence of an answer, checked.

An answer marks its source like this [2]. The mark is a claim of its own, and models
write marks that are wrong. A passage *holds* a sentence if it has every number and
every name of it, and most of its other words: a wrong number beside the right words
is the mistake that matters. This is a test of words. Left out: "not", other words
for the same thing, sums that the passage does not do itself; a model that judges
entailment would see those.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from course_lib.rag.bm25 import STOPS, words
from course_lib.rag.meaning import sentences

MARK = re.compile(r"\s*\[(\d+)\]")
ENOUGH = 0.6  # of a sentence's words must stand in the passage that holds it


def support(sentence: str, passage: str) -> float:
    """Which share of a sentence's words stands in a passage; 0 if it has no words.

    >>> support("Widra has a black cat.", "The cat is black.")
    0.6666666666666666
    """
    said = {*words(MARK.sub("", sentence))}
    return len(said & {*words(passage)}) / max(1, len(said))


def exact(sentence: str) -> set[str]:
    """The numbers and the names of a sentence, in small letters.

    A name is a word with a capital; the first word, which has one anyway, counts
    unless it is one of those that are in every text.

    >>> sorted(exact("The bath of Widra costs 11 pence [1]."))
    ['11', 'widra']
    """
    plain = MARK.sub("", sentence)
    found = re.findall(r"\d[\d.,]*\d|\d|\b[A-Z]\w*", plain)
    return {word.lower() for word in found} - STOPS


def holds(passage: str, sentence: str, enough: float = ENOUGH) -> bool:
    """Whether a passage has all numbers and names of a sentence, and enough words.

    How: `exact` of the sentence must be among the passage's words, whole, and
    `support` at least `enough`.

    >>> holds("A ticket costs 11 pence.", "The ticket costs 11 pence.")
    True
    >>> holds("A ticket costs 11 pence.", "The ticket costs 12 pence.")
    False
    """
    told = {*re.findall(r"\d[\d.,]*\d|\w+", passage.lower())}
    return exact(sentence) <= told and support(sentence, passage) >= enough


# ---- marks in an answer


class Claim(NamedTuple):
    sentence: str  # without its marks
    cited: tuple[int, ...]  # numbers of passages, from 1


def claims(answer: str) -> list[Claim]:
    """The sentences of an answer with the passages that each cites.

    Marks may stand before or behind the full stop.

    >>> claims("Widra has a cat [1]. It is black. [2][3] She sings.")[1]
    Claim(sentence='It is black.', cited=(2, 3))
    """
    inside = re.sub(r"([.!?])((?:\s*\[\d+\])+)", r"\2\1", answer)  # before the stop
    return [
        Claim(MARK.sub("", text).strip(), tuple(map(int, MARK.findall(text))))
        for text in sentences(inside)
        if MARK.sub("", text).strip(" \n.")
    ]


def cite(answer: str, passages: Sequence[str], enough: float = ENOUGH) -> list[Claim]:
    """Which passages hold each sentence of an answer, whatever it cites itself.

    >>> cite("Ben is a cook.", ["Ada has a cat.", "Ben works as a cook."])
    [Claim(sentence='Ben is a cook.', cited=(2,))]
    """
    return [
        Claim(
            claim.sentence,
            tuple(
                n
                for n, text in enumerate(passages, 1)
                if holds(text, claim.sentence, enough)
            ),
        )
        for claim in claims(answer)
    ]


def with_marks(found: Sequence[Claim]) -> str:
    """The sentences with their marks written out.

    >>> with_marks([Claim("Ben is a cook.", (2,)), Claim("He sings.", ())])
    'Ben is a cook [2]. He sings.'
    """
    return " ".join(
        re.sub(r"([.!?]*)$", "".join(f" [{n}]" for n in cited) + r"\1", text, count=1)
        for text, cited in found
    )


class Verdict(NamedTuple):
    sentence: str
    right: tuple[int, ...] = ()  # cited, and the passage holds it
    wrong: tuple[int, ...] = ()  # cited, and the passage does not, or is not there
    missing: tuple[int, ...] = ()  # not cited, though the passage holds it


def check_citations(
    answer: str, passages: Sequence[str], enough: float = ENOUGH
) -> list[Verdict]:
    """For each sentence which marks are right, which are wrong, and which are missing.

    passages: as they were numbered in the prompt, from 1. A mark is missing only
    where the sentence has no right one: one good source is enough.

    How: `claims` gives sentences with their marks. A mark n is right if passage n is
    there and `holds` the sentence. Else collect the passages that would have been.

    >>> check_citations("Ben is a cook [1].", ["Ada has a cat.", "Ben is a cook."])
    [Verdict(sentence='Ben is a cook.', right=(), wrong=(1,), missing=(2,))]
    """
    verdicts = []
    for sentence, cited in claims(answer):
        numbered = enumerate(passages, 1)
        holding = {n for n, text in numbered if holds(text, sentence, enough)}
        right = tuple(n for n in cited if n in holding)
        wrong = tuple(n for n in cited if n not in holding)
        missing = () if right else tuple(sorted(holding))
        verdicts.append(Verdict(sentence, right, wrong, missing))
    return verdicts
