"""Questions with the answer in the text above them, and some whose answer is not there.

One to three short passages tell of people and places that nobody has heard of; the
question is about one of them. A model can only answer by copying, which is what
retrieval-augmented generation needs. Names of the test are in no training text. Left
out: answers that need two passages.
"""

import random
from dataclasses import dataclass

from course_lib.world.people import (
    KINDS,
    NAMES,
    QUESTIONS,
    STATEMENTS,
    WORDINGS,
    fill,
    named_in,
    words_of,
)

UNKNOWN = "I do not know."
FIRST = (
    "b", "br", "d", "dr", "f", "g", "gl", "j", "k", "kl", "l", "m", "n", "p", "pl", "r",
    "s", "st", "t", "th", "tr", "v", "w", "z",
)  # fmt: skip
MIDDLE = ("a", "e", "i", "o", "ai", "au", "ei", "eo", "oe")
LAST = (
    "bo", "la", "lo", "mar", "mi", "mund", "ra", "rel", "ro", "san", "va", "vin", "wen",
    "zo",
)  # fmt: skip
SHORTEST = 5  # letters of a name: shorter ones are words in some language

PLACE_FIRST = (
    "Blue", "Golden", "Silver", "Red", "Old", "Little", "Black", "Green",
    "White", "Merry", "Quiet", "Lucky",
)  # fmt: skip
PLACE_LAST = (
    "Lantern", "Anchor", "Goose", "Kettle", "Crown", "Wheel", "Owl", "Barrel",
    "Star", "Fox", "Bell", "Swan",
)  # fmt: skip
HOURS = (
    "six", "seven", "eight", "nine", "ten", "eleven", "noon", "one", "two", "three",
)  # fmt: skip
PLACE_KINDS = {
    "opens": HOURS,
    "closes": HOURS,
    "sells": KINDS["food"],
    "stands": KINDS["home"],
    "door": KINDS["colour"],
}
PLACE_STATEMENTS = {
    "opens": ("{name} opens at {value}.", "At {value} the doors of {name} open.", "Come to {name} at {value}, when it opens."),
    "closes": ("{name} closes at {value}.", "At {value} {name} shuts its doors.", "The last guests leave {name} at {value}, when it closes."),
    "sells": ("{name} sells {value}.", "You can buy {value} at {name}.", "People come to {name} for {value}."),
    "stands": ("{name} stands in {value}.", "You will find {name} in {value}.", "{name} is a house in {value}."),
    "door": ("{name} has a {value} door.", "The door of {name} is {value}.", "Look for {name} behind a {value} door."),
}  # fmt: skip
PLACE_QUESTIONS = {
    "opens": ("When does {name} open?", "At what hour does {name} open?"),
    "closes": ("When does {name} close?", "At what hour does {name} close?"),
    "sells": ("What does {name} sell?", "What can I buy at {name}?"),
    "stands": ("Where does {name} stand?", "In which street is {name}?"),
    "door": ("What colour is the door of {name}?", "Which colour is the door of {name}?"),
}  # fmt: skip


ALIKE = 0.7  # share of prompts whose passages tell facts of the same kinds


@dataclass(frozen=True)
class ContextQuestion:
    """Passages, a question about them, and the words that the right answer holds."""

    passages: tuple[str, ...]
    question: str
    answer: str  # a sentence
    value: str  # what must be copied; "" when the passages do not say
    source: int  # the passage that says it; -1 when none does
    name: str  # whom or what the question is about
    choices: tuple[str, ...]  # all values of that kind

    @property
    def prompt(self) -> str:
        """What the user says: numbered passages, then the question."""
        return f"{numbered(self.passages)} {self.question}"


def numbered(texts: tuple[str, ...]) -> str:
    """Several passages in one line.

    >>> numbered(("Widra has a cat.", "Lauwen is a cook."))
    '[1] Widra has a cat. [2] Lauwen is a cook.'
    """
    return " ".join(f"[{i}] {text}" for i, text in enumerate(texts, 1))


def strangers(held_out: bool = False) -> list[str]:
    """Names that nobody in Millbrook bears; a fifth of them is kept for tests.

    >>> strangers()[900:904], strangers(held_out=True)[225:227]
    (['Leoro', 'Leosan', 'Leova', 'Leovin'], ['Leorel', 'Leowen'])
    """
    names = {(a + b + c).capitalize() for a in FIRST for b in MIDDLE for c in LAST}
    names = sorted(name for name in names - {*NAMES} if len(name) >= SHORTEST)
    return [name for i, name in enumerate(names) if (i % 5 == 0) == held_out]


def places(held_out: bool = False) -> list[str]:
    """Inns and shops; a fifth of them is kept for tests.

    >>> places()[0], places(held_out=True)[0]
    ('the Blue Anchor', 'the Blue Lantern')
    """
    pairs = [
        (f"the {first} {last}", (i + j) % 5 == 0)
        for i, first in enumerate(PLACE_FIRST)
        for j, last in enumerate(PLACE_LAST)
    ]
    return [name for name, kept in pairs if kept == held_out]


def context_question(
    passages: int, draw: random.Random, held_out: bool = False, answerable: bool = True
) -> ContextQuestion:
    """Draw a question over some passages of two or three facts each.

    >>> asked = context_question(1, random.Random(2222))
    >>> print(*asked.passages)
    The Red Star sells pancakes. Come to the Red Star at ten, when it opens.
    >>> print(asked.question, asked.answer)
    When does the Red Star open? The Red Star opens at ten.
    """
    desk = _lay_out(passages, draw, held_out)
    return _ask(desk, draw) if answerable else _ask_in_vain(desk, draw)


def context_questions(
    passages: int, questions: int, draw: random.Random, unanswerable: float = 0.15
) -> list[ContextQuestion]:
    """Several questions over the same passages."""
    desk = _lay_out(passages, draw, held_out=False)
    return [
        (_ask_in_vain if draw.random() < unanswerable else _ask)(desk, draw)
        for _ in range(questions)
    ]


def register(questions: int, draw: random.Random) -> list[tuple[str, str]]:
    """A list of strangers with one fact each, then names to look up in it.

    All values are of one kind, so only the name tells which one is asked for.

    >>> register(2, random.Random(2))
    [('Damar: parrot. Brovin: mouse. Brovin?', 'Brovin: mouse.'), ('Brovin?', 'Brovin: mouse.')]
    """
    names = _unlike(_STRANGERS[False], draw.randint(2, 6), draw)
    values = draw.choice(tuple(KINDS.values()))
    entries = [f"{name}: {draw.choice(values)}." for name in names]
    first, *rest = draw.choices(range(len(names)), k=questions)
    asked = [(f"{' '.join(entries)} {names[first]}?", entries[first])]
    return asked + [(f"{names[i]}?", entries[i]) for i in rest]


@dataclass(frozen=True)
class _Book:
    """What can be said and asked about people, or about places."""

    kinds: dict[str, tuple[str, ...]]
    statements: dict[str, tuple[str, ...]]
    questions: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Desk:
    """Passages laid out, with the facts they tell; the last name is in none of them."""

    book: _Book
    names: list[str]
    facts: list[dict[str, str]]
    texts: tuple[str, ...]


def _lay_out(passages: int, draw: random.Random, held_out: bool) -> _Desk:
    assert 1 <= passages <= 9, f"a question stands on 1 to 9 passages: {passages=}"
    about_places = draw.random() < 0.3
    names = places(held_out) if about_places else _STRANGERS[held_out]
    book = _PLACE_BOOK if about_places else _PEOPLE_BOOK
    names = _unlike(names, passages + 1, draw)
    kinds = tuple(book.kinds)
    if draw.random() < ALIKE:  # then only the name tells whose fact is asked for
        kinds = tuple(draw.sample(kinds, 3))
    facts = [_facts(book, kinds, draw) for _ in range(passages)]
    pairs = zip(names, facts, strict=False)
    texts = tuple(_passage(name, told, book.statements, draw) for name, told in pairs)
    return _Desk(book, names, facts, texts)


def _unlike(names: list[str], count: int, draw: random.Random) -> list[str]:
    """Names that nobody confuses: other first letters, or no word in common."""
    chosen: list[str] = []
    while len(chosen) < count:
        name = draw.choice(names)
        if not any(_alike(name, other) for other in chosen):
            chosen.append(name)
    return chosen


def _alike(name: str, other: str) -> bool:
    if name.startswith("the "):
        return bool({*name.split()[1:]} & {*other.split()[1:]})
    return name[0] == other[0]


def _ask(desk: _Desk, draw: random.Random) -> ContextQuestion:
    source = draw.randrange(len(desk.texts))
    name, kind = desk.names[source], draw.choice(tuple(desk.facts[source]))
    value = desk.facts[source][kind]
    answer = _capital(fill(desk.book.statements[kind][0], name=name, value=value))
    return _question(desk, draw, name, kind, answer, value, source)


def _ask_in_vain(desk: _Desk, draw: random.Random) -> ContextQuestion:
    """Ask for a fact that the passage leaves out, or about somebody else."""
    source = draw.randrange(len(desk.texts))
    told = desk.facts[source]
    absent = [kind for kind in desk.book.kinds if kind not in told]
    wanting = desk.names[source], draw.choice(absent)
    somebody_else = desk.names[-1], draw.choice(tuple(told))
    name, kind = draw.choice([wanting, somebody_else])
    return _question(desk, draw, name, kind, UNKNOWN, "", -1)


def _question(
    desk: _Desk, draw: random.Random, name: str, kind: str, answer: str, value: str, source: int
) -> ContextQuestion:  # fmt: skip
    asked = draw.choice(desk.book.questions[kind][:WORDINGS]).format(name=name)
    choices = desk.book.kinds[kind]
    return ContextQuestion(desk.texts, asked, answer, value, source, name, choices)


def is_right(asked: ContextQuestion, reply: str) -> bool:
    """Whether a reply copies the passage's value, or admits that no passage says it.

    It must do one of the two, not both, and name no other value of that kind.

    >>> asked = context_question(1, random.Random(2222))
    >>> is_right(asked, "The Red Star opens at ten."), is_right(asked, "Ten or two.")
    (True, False)
    """
    name = words_of(asked.name.removeprefix("the "))
    words = words_of(reply).replace(name, " ")  # the Blue Owl has a red door
    wanted = {asked.value} if asked.value else set()
    admits = words_of(UNKNOWN) in words
    return named_in(words, asked.choices) == wanted and admits == (not asked.value)


def _facts(book: _Book, kinds: tuple[str, ...], draw: random.Random) -> dict[str, str]:
    """A value for two or three of these kinds, in any order."""
    chosen = draw.sample(kinds, draw.randint(2, 3))
    return {kind: draw.choice(book.kinds[kind]) for kind in chosen}


def _passage(
    name: str, facts: dict[str, str], statements: dict, draw: random.Random
) -> str:
    return " ".join(
        _capital(fill(draw.choice(statements[kind]), name=name, value=value))
        for kind, value in facts.items()
    )


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


_STRANGERS = {kept: strangers(kept) for kept in (False, True)}
_PEOPLE_BOOK = _Book(KINDS, STATEMENTS, QUESTIONS)
_PLACE_BOOK = _Book(PLACE_KINDS, PLACE_STATEMENTS, PLACE_QUESTIONS)
