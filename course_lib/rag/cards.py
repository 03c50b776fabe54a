"""A card index about strangers: one sentence a card, several cards a person.

To find the card that answers, a search must read two things: the name, which is a
rare word, and what is asked for, which the card may say in other words. "What does
Widra like to eat?" is answered by "Nothing tastes better to Widra than honey." A
second drawer holds things with numbers, such as KT-4071: no model learns those, and a
search by words finds them at once. Names of the test are in no training text. Left
out: papers of several facts (the town archive has those).
"""

import random
from dataclasses import dataclass

from course_lib.rag.loading import Document
from course_lib.world.passages import strangers
from course_lib.world.people import (
    KINDS,
    QUESTIONS,
    STATEMENTS,
    WORDINGS,
    fill,
    named_in,
    words_of,
)

THINGS = (
    "lamp", "kettle", "ladder", "wheel", "anchor", "clock", "barrel", "saddle", "bell",
    "pump",
)  # fmt: skip
PLACES = (
    "attic", "cellar", "yard", "tower", "boat house", "mill", "north shed", "town hall",
)  # fmt: skip
LETTERS = "ABCDEFGHKLMNPRSTVWXZ"
VALUES = {**KINDS, "thing": THINGS, "place": PLACES}  # kind of card: what it can say
NUMBER_QUESTIONS = {
    "thing": ("What is {name}?", "Which thing has the number {name}?"),
    "place": ("Where is {name} kept?", "Where can I find {name}?"),
}


@dataclass(frozen=True)
class Card:
    """A sentence about somebody, a question that it answers, and the answer."""

    text: str
    question: str
    name: str
    kind: str  # of fact: one of VALUES
    value: str

    @property
    def id(self) -> str:
        return f"{self.name} {self.kind}"

    @property
    def document(self) -> Document:
        return Document(self.text, self.id, {"name": self.name, "kind": self.kind})


def cards(
    people: int, draw: random.Random, facts: int = 6, held_out: bool = False
) -> list[Card]:
    """So many cards about each of these people; those of a person stand together.

    held_out: names that no training text holds.

    >>> for card in cards(1, random.Random(0), facts=2):
    ...     print(card.text, "|", card.question)
    Nothing tastes better to Trelo than soup. | What does Trelo want for dinner?
    The colour that Trelo likes is orange. | Which colour does Trelo like best?
    """
    names = draw.sample(strangers(held_out), people)
    return [
        card(name, kind, draw)
        for name in names
        for kind in draw.sample(tuple(KINDS), facts)
    ]


def card(name: str, kind: str, draw: random.Random) -> Card:
    """A card in any wording, with a question in one that training texts use."""
    value, said = draw.choice(KINDS[kind]), draw.choice(STATEMENTS[kind])
    asked = draw.choice(QUESTIONS[kind][:WORDINGS])
    text = fill(said, name=name, value=value)
    text = text[0].upper() + text[1:]
    return Card(text, asked.format(name=name), name, kind, value)


def numbered_cards(count: int, draw: random.Random) -> list[Card]:
    """Things with a letter, a number and a place; no two have the same number.

    >>> [card] = numbered_cards(1, random.Random(0))
    >>> card.text
    'RB-7311 is an anchor kept in the town hall.'
    """
    numbers = draw.sample(range(1000, 10_000), count)
    found = []
    for number in numbers:
        name = f"{draw.choice(LETTERS)}{draw.choice(LETTERS)}-{number}"
        told = {"thing": draw.choice(THINGS), "place": draw.choice(PLACES)}
        kind = draw.choice(tuple(told))
        asked = draw.choice(NUMBER_QUESTIONS[kind]).format(name=name)
        text = f"{name} is a {told['thing']} kept in the {told['place']}."
        found.append(Card(text.replace(" a a", " an a"), asked, name, kind, told[kind]))
    return found


def pairs(step: int, people: int = 16, facts: int = 4) -> list[tuple[str, str]]:
    """Questions with the cards that answer them, a new batch for every step.

    Several cards a person and several persons: to pick its own card a question must
    read the name and what is asked for. Names are those of training.

    >>> len(pairs(0)), pairs(0) == pairs(0), pairs(0) == pairs(1)
    (64, True, False)
    """
    told = cards(people, random.Random(f"pairs {step}"), facts)
    return [(card.question, card.text) for card in told]


def answers(card: Card, reply: str) -> bool:
    """Whether a reply names the card's value and no other of its kind.

    >>> told = card("Widra", "pet", random.Random(0))
    >>> answers(told, f"Widra has a {told.value}."), answers(told, "A cat or a dog.")
    (True, False)
    """
    return named_in(words_of(reply), VALUES[card.kind]) == {card.value}
