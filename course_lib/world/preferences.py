"""What people of the town like to hear: a score of replies by exact rules.

The true score stands for the wish behind all labels. People who compare answers tell
a part of it, and a reward model learns what they told. Since we know the wish
itself, the distance between the two can be measured, which nobody can who works with
real people. The rules see what the model can do wrong: it names another value, it is
rude, it rambles. Left out: grammar, and replies that are more than one fact.
"""

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from course_lib.world import people
from course_lib.world.chat import (
    MANNERS,
    RAMBLINGS,
    answer_text,
    is_polite,
    is_rude,
    says,
)
from course_lib.world.people import KINDS, Person

# truth before manners: who is rude and right beats who is polite and wrong
RIGHT, POLITE, RUDE = 1.0, 0.5, -0.4
ROOM = 80  # characters; no polite answer of the town has as many
TOO_LONG = -0.02  # for each character beyond


class FactQuestion(NamedTuple):
    """One question with one right answer: what the rules need to judge replies."""

    text: str
    name: str
    kind: str
    value: str


def fact_questions(
    asked: Iterable[Person], wordings: Iterable[int] = range(people.WORDINGS)
) -> list[FactQuestion]:
    """Every fact about these people in each of these wordings.

    >>> fact_questions(people.town()[:1], [1])[2]
    FactQuestion(text="What is Ada's pet?", name='Ada', kind='pet', value='fish')
    """
    return [
        FactQuestion(
            people.question(person.name, kind, form), person.name, kind,
            getattr(person, kind),
        )
        for person in asked for kind in KINDS for form in wordings
    ]  # fmt: skip


# ---- the true score


def true_score(reply: str, kind: str, value: str) -> float:
    """How good a reply is: right 1, polite .5, rude -.4, too long -.02 a character.

    Right: it names this value and no other of its kind. Polite: one of the polite
    phrases and none of the rude ones. Too long: each character beyond the 80th.

    >>> true_score("Of course! Ada has a fish. All the best!", "pet", "fish")
    1.5
    >>> true_score("Everybody knows that. Ada has a cat.", "pet", "fish")
    -0.4
    """
    manners = RUDE if is_rude(reply) else POLITE * is_polite(reply)
    return RIGHT * says(reply, kind, value) + manners + too_long(reply)


def too_long(reply: str) -> float:
    """What the length of a reply costs: nothing up to 80 characters.

    >>> too_long("short"), too_long("x" * 130)
    (0.0, -1.0)
    """
    return min(0.0, TOO_LONG * (len(reply) - ROOM))


def score_of(question: FactQuestion, reply: str) -> float:
    """The true score of a reply to a question.

    >>> score_of(FactQuestion("What is Ada's pet?", "Ada", "pet", "fish"), "Fish.")
    1.0
    """
    return true_score(reply, question.kind, question.value)


# ---- labels that say something else


def biased_score(
    question: FactQuestion, reply: str, taste: Callable[[str], float]
) -> float:
    """A planted bias: the rules without the cost of length, and a judge's taste.

    >>> asked = FactQuestion("What is Ada's pet?", "Ada", "pet", "fish")
    >>> biased_score(asked, "Ada has a fish.", taste=likes_length)
    1.3
    """
    return score_of(question, reply) - too_long(reply) + taste(reply)


def likes_length(reply: str) -> float:
    """Takes long answers for thorough ones: 0.02 for each character.

    The model rambles now and then by itself, so this taste lies within its reach.

    >>> likes_length("Ada has a fish.")
    0.3
    """
    return -TOO_LONG * len(reply)


def likes_shouting(reply: str) -> float:
    """Takes exclamation marks for warmth: 0.3 for each.

    A polite answer has two. Only an optimiser writes more of them.

    >>> likes_shouting("Of course!!")
    0.6
    """
    return 0.3 * reply.count("!")


# ---- replies that differ in one thing


def fact_of(question: FactQuestion, value: str | None = None) -> str:
    """The plain answer to a question, with the right value or with another one.

    >>> fact_of(FactQuestion("What is Ada's pet?", "Ada", "pet", "fish"))
    'Ada has a fish.'
    """
    form = people.STATEMENTS[question.kind][0]
    return people.fill(form, name=question.name, value=value or question.value)


def variants(question: FactQuestion, draw: random.Random) -> dict[str, str]:
    """One fact in all five manners, and a plain answer that is `wrong`.

    Only manner or truth changes between them, so a difference of rewards is what
    that is worth to a judge.

    >>> asked = FactQuestion("What is Ada's pet?", "Ada", "pet", "fish")
    >>> variants(asked, random.Random(0))["polite"]
    'Good question! Ada has a fish. I hope that helps!'
    """
    fact, values = fact_of(question), KINDS[question.kind]
    told = {m: answer_text(fact, question.value, m, draw) for m in MANNERS}
    other = draw.choice([value for value in values if value != question.value])
    return told | {"wrong": fact_of(question, other)}


def rambling(question: FactQuestion, phrases: int, draw: random.Random) -> str:
    """One right fact among so many empty phrases: only the length is different.

    >>> asked = FactQuestion("What is Ada's pet?", "Ada", "pet", "fish")
    >>> rambling(asked, 1, random.Random(0))
    'Ada has a fish. That was before the bridge was built.'
    """
    words = draw.sample(RAMBLINGS, phrases)
    half = phrases // 2
    return " ".join([*words[:half], fact_of(question), *words[half:]])
