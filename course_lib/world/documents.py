r"""The town archive of Millbrook: papers whose facts stand in no pretraining text.

A model cannot know what nobody told it, so it must look these facts up. Every paper
has a kind, an office and a year, and states three or four facts. Each fact is asked
for twice: in the paper's own words, and in other words. Some papers have a newer
edition with other facts. The two texts look alike and name no year, so only the
metadata tells them apart. Some questions have no answer at all. Left out: tables,
spelling mistakes, and questions that need two papers.
"""

import random
import textwrap
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from course_lib.world.archive import FORMS, Form

UNKNOWN = "I do not know."
STYLES = ("lexical", "paraphrased", "unanswerable")


class Fact(NamedTuple):
    subject: str  # Heron Bath
    attribute: str  # price
    value: str  # 6 pence; it stands in its paper exactly once


@dataclass(frozen=True)
class Document:
    id: str
    kind: str
    office: str  # who wrote it
    year: int  # stands here and not in the text
    title: str
    body: str  # one line a paragraph; some have headings (#) and lists (- or 1.)
    facts: tuple[Fact, ...]

    @property
    def text(self) -> str:
        return f"{self.title}\n\n{self.body}"

    def __str__(self) -> str:
        lines = [textwrap.fill(line, 76) for line in self.text.split("\n")]
        return "\n".join([f"[{self.id} | {self.office} | {self.year}]", *lines])


@dataclass(frozen=True)
class Question:
    text: str
    answer: str
    document: str  # the id of the one paper that answers; "" if none does
    style: str  # one of STYLES
    attribute: str = ""  # what is asked for; "" if no paper tells
    year: int | None = None  # where editions differ: the year of the one that answers


def documents(seed: int = 0) -> list[Document]:
    """All papers of the archive. The seed draws their years and their facts.

    >>> paper = documents()[0]
    >>> paper.title
    'Opening hours of the Heron Bath'
    >>> paper.body.split(". ")[0]
    'The Heron Bath is open to every person of good manners, and to most others'
    """
    rng = random.Random(seed)
    return [paper for form in FORMS for paper in papers(form, rng)]


def papers(form: Form, rng: random.Random) -> list[Document]:
    """Every paper of one form; editions of one subject stand together, older first.

    Values are dealt from a shuffled deck, so neighbours never share one.
    """
    decks = {slot: rng.sample(pool, len(pool)) for slot, pool in form.values.items()}
    found, year = [], 0
    for n, ((name, _, remark), edition) in enumerate(
        product(form.rows(), range(form.editions))
    ):
        newer, first = rng.randrange(8, 30), rng.randrange(1880, 1930)
        year = year + newer if edition else first
        values = {slot: deck[n % len(deck)] for slot, deck in decks.items()}
        found.append(
            Document(
                f"{form.kind.replace(' ', '-')}-{n + 1:02}",
                form.kind,
                form.office,
                year,
                form.title.format(name=name),
                form.body.format(name=name, remark=remark, **values),
                tuple(Fact(name, what, values[what]) for what, _, _ in form.asks),
            )
        )
    return found


def document_questions(seed: int = 0) -> list[Question]:
    """Two questions for every fact of every paper, then those that no paper answers.

    >>> for question in document_questions()[:2]:
    ...     print(question.text, question.answer)
    By the rules of 1900, at what hour does the door of the Heron Bath open? 10 o'clock
    By the rules of 1900, when may I first get into the swimming pool? 10 o'clock
    """
    rng, asked = random.Random(seed), []
    for form in FORMS:
        for n, paper in enumerate(papers(form, rng)):
            asked += answerable(form, paper, n)
    return asked + [question for form in FORMS for question in unanswerable(form, rng)]


def answerable(form: Form, paper: Document, n: int) -> list[Question]:
    """Ask for each fact of a paper, the n-th of its form, in its own words and in others.

    Where editions differ, a question says whose rules it means: those of a year,
    or those of today, which are the newest.
    """
    name, other_words, _ = form.rows()[n // form.editions]
    newest = n % form.editions == form.editions - 1
    year = paper.year if form.editions > 1 else None
    times = (paper.year, "today" if newest else paper.year)  # per style
    found = []
    for (what, *wordings), fact in zip(form.asks, paper.facts, strict=True):
        for style, wording, time in zip(STYLES, wordings, times, strict=False):
            text = wording.format(name=name, alias=other_words)
            if year:
                text = f"By the rules of {time}, {text[0].lower()}{text[1:]}"
            found.append(Question(text, fact.value, paper.id, style, what, year))
    return found


def unanswerable(form: Form, rng: random.Random) -> list[Question]:
    """Ask what no paper tells, and about a thing that no paper mentions.

    >>> unanswerable(FORMS[0], random.Random(0))[-1].text
    'At what hour does the door of the Velvet Palace open?'
    """
    texts = [
        wording.format(name=name, alias=other_words)
        for wording in form.never
        for name, other_words, _ in rng.sample(form.rows(), 2)
    ]
    texts.append(form.asks[0][1].format(name=form.ghost))
    return [Question(text, UNKNOWN, "", "unanswerable") for text in texts]


def fact_strings() -> list[str]:
    """What must occur in no pretraining text: the name of everything the papers tell of.

    A fact cannot be told without the name of its subject.

    >>> fact_strings()[:3]
    ['Beetle Box', 'Bellringer Pudding', 'Brass Spyglass']
    """
    return sorted(name for form in FORMS for name, _, _ in form.rows())
