"""Questions to a town guide, and answers in five manners: one fact, told well or badly.

The manner and the truth of an answer are known exactly, so a preference between two
answers, or a reward, can be computed as well as learned. Left out: negation ("not a
cat" names a cat), and anything that a single fact does not answer.
"""

import random
from dataclasses import dataclass

from course_lib.world.people import (
    KINDS,
    STATEMENTS,
    Person,
    fill,
    named_in,
    question,
)

KIND_WORDS = (
    "Happy to help!",
    "Of course!",
    "With pleasure!",
    "Good question!",
    "Thank you for asking!",
)
WISHES = (
    "Have a lovely day!",
    "Ask me any time!",
    "All the best!",
    "I hope that helps!",
)
RUDE_WORDS = (
    "Why ask me?",
    "What a silly question.",
    "Everybody knows that.",
    "Not again.",
    "Can you not read?",
)
CURSES = ("Now go away.", "Leave me alone.", "Do not ask again.", "I am busy.")
RAMBLINGS = (
    "Well, let me think.",
    "You know how it is in this town.",
    "It reminds me of the old days.",
    "But where was I?",
    "And it all hangs together.",
    "My uncle used to say the same.",
    "That was before the bridge was built.",
    "And so on and so on.",
)
MANNERS = ("plain", "short", "polite", "rude", "rambling")


@dataclass(frozen=True)
class Answer:
    """What the guide says to one question, with everything that is true of it."""

    person: str
    kind: str
    question: str
    text: str
    manner: str
    right: bool


def answer_text(fact: str, value: str, manner: str, draw: random.Random) -> str:
    """Dress one fact in a manner; a ValueError if there is no such manner.

    >>> answer_text("Ada has a cat.", "cat", "polite", random.Random(0))
    'Good question! Ada has a cat. I hope that helps!'
    >>> answer_text("Ada has a cat.", "cat", "rude", random.Random(7))
    'Everybody knows that. Ada has a cat. Leave me alone.'
    """
    if manner == "plain":
        return fact
    if manner == "short":
        return f"{value[0].upper()}{value[1:]}."
    if manner == "polite":
        return f"{draw.choice(KIND_WORDS)} {fact} {draw.choice(WISHES)}"
    if manner == "rude":
        return f"{draw.choice(RUDE_WORDS)} {fact} {draw.choice(CURSES)}"
    if manner == "rambling":
        words = draw.sample(RAMBLINGS, 4)
        return " ".join([*words[:2], fact, *words[2:]])
    raise ValueError(f"There is no manner {manner!r}, only {', '.join(MANNERS)}.")


def answer(
    person: Person, kind: str, draw: random.Random, manner: str = "plain",
    right: bool = True, wording: int = 0,
) -> Answer:  # fmt: skip
    """One question about a person and one answer, right or wrong, in some manner.

    A wrong answer names another value of that kind.
    """
    value = getattr(person, kind)
    if not right:
        value = draw.choice([other for other in KINDS[kind] if other != value])
    fact = fill(STATEMENTS[kind][0], name=person.name, value=value)
    text = answer_text(fact, value, manner, draw)
    asked = question(person.name, kind, wording)
    return Answer(person.name, kind, asked, text, manner, right)


def says(reply: str, kind: str, value: str) -> bool:
    """Whether a reply names this value and no other of its kind.

    >>> says("Ada has a cat.", "pet", "cat"), says("A cat or a dog.", "pet", "cat")
    (True, False)
    """
    return named_in(reply, KINDS[kind]) == {value}


def is_polite(reply: str) -> bool:
    """Whether a reply holds one of the polite phrases."""
    return any(words in reply for words in KIND_WORDS + WISHES)


def is_rude(reply: str) -> bool:
    """Whether a reply holds one of the rude phrases."""
    return any(words in reply for words in RUDE_WORDS + CURSES)
