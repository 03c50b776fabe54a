"""Millbrook: forty people, six facts each, and many ways to say and to ask every fact.

All facts are drawn from a seed, so whatever a model says about the town can be checked
exactly. Ten of the forty are *held out*: stories tell of them, but no question about
them stands in any training text. One wording of each question is held out as well.
Left out: facts that change with time, and facts that contradict each other.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = {  # kind of fact -> what it can be
    "home": (
        "Mill Street", "River Lane", "Oak Road", "Market Square", "Garden Row", "Bridge Street",
        "Rose Alley", "Station Road", "Castle Lane", "Lime Walk", "Well Court", "Hill Path",
    ),
    "job": (
        "baker", "miller", "teacher", "nurse", "carpenter", "gardener",
        "tailor", "potter", "farmer", "doctor", "clockmaker", "cook",
    ),
    "pet": (
        "cat", "dog", "parrot", "rabbit", "goat", "tortoise",
        "hamster", "pony", "duck", "fish", "hedgehog", "mouse",
    ),
    "food": (
        "soup", "bread", "cheese", "apples", "plums", "rice",
        "pancakes", "noodles", "honey", "mushrooms", "dumplings", "pears",
    ),
    "hobby": (
        "chess", "fishing", "dancing", "singing", "knitting", "swimming",
        "reading", "running", "drawing", "juggling", "sailing", "hiking",
    ),
    "colour": (
        "red", "blue", "green", "yellow", "white", "black",
        "purple", "orange", "brown", "grey", "pink", "silver",
    ),
}  # fmt: skip

NAMES = (
    "Ada", "Ben", "Cleo", "Dan", "Edda", "Finn", "Greta", "Hugo", "Ida", "Jonas",
    "Kira", "Leo", "Mira", "Nils", "Olga", "Piet", "Quinn", "Rosa", "Sven", "Tilda",
    "Ugo", "Vera", "Willa", "Xavi", "Yara", "Zeno", "Anton", "Bruno", "Clara", "Doris",
    "Emil", "Frida", "Gustav", "Hanna", "Igor", "Jana", "Karl", "Lotte", "Max", "Nora",
)  # fmt: skip
SHE = {
    "Ada", "Cleo", "Edda", "Greta", "Ida", "Kira", "Mira", "Olga", "Quinn", "Rosa", "Tilda",
    "Vera", "Willa", "Yara", "Clara", "Doris", "Frida", "Hanna", "Jana", "Lotte", "Nora",
}  # fmt: skip

STATEMENTS = {
    "home": (
        "{name} lives in {value}.",
        "{name}'s house stands in {value}.",
        "The home of {name} is in {value}.",
        "{name} has a small house in {value}.",
        "Go to {value} and you will find {name} at home.",
        "In {value} everybody knows {name}, who lives there.",
    ),
    "job": (
        "{name} works as a {value}.",
        "{name} is a {value}.",
        "The work of {name} is that of a {value}.",
        "Every day {name} goes to work as a {value}.",
        "{name} earns a living as a {value}.",
        "If you need a {value}, ask {name}.",
    ),
    "pet": (
        "{name} has a {value}.",
        "{name} keeps a {value}.",
        "{name}'s pet is a {value}.",
        "At home a {value} waits for {name}.",
        "{name} looks after a {value}.",
        "The {value} over there belongs to {name}.",
    ),
    "food": (
        "{name} likes {value} best.",
        "{name}'s favourite food is {value}.",
        "Nothing tastes better to {name} than {value}.",
        "{name} would eat {value} every day.",
        "Give {name} some {value} and all is well.",
        "For dinner {name} wants {value}.",
    ),
    "hobby": (
        "{name} enjoys {value}.",
        "{name}'s hobby is {value}.",
        "On Sundays {name} goes in for {value}.",
        "{name} spends every free hour on {value}.",
        "What {name} does for fun is {value}.",
        "Nobody in town loves {value} more than {name}.",
    ),
    "colour": (
        "{name}'s favourite colour is {value}.",
        "{name} loves the colour {value}.",
        "{name} paints everything {value}.",
        "The colour that {name} likes is {value}.",
        "{name}'s door is painted {value}.",
        "Of all colours {name} likes {value} best.",
    ),
}  # the first of each is the plain answer to a question

QUESTIONS = {
    "home": (
        "Where does {name} live?",
        "In which street does {name} live?",
        "Where is {name}'s house?",
        "Where is the home of {name}?",
        "Where can I find {name} at home?",
        "Tell me where {name} lives.",
    ),
    "job": (
        "What is {name}'s job?",
        "What does {name} work as?",
        "What is the work of {name}?",
        "How does {name} earn a living?",
        "As what does {name} go to work?",
        "Tell me the job of {name}.",
    ),
    "pet": (
        "What pet does {name} have?",
        "What is {name}'s pet?",
        "Which animal does {name} keep?",
        "What animal lives with {name}?",
        "Which pet belongs to {name}?",
        "Tell me which pet {name} has.",
    ),
    "food": (
        "What does {name} like to eat?",
        "What is {name}'s favourite food?",
        "Which food does {name} like best?",
        "What would {name} eat every day?",
        "What does {name} want for dinner?",
        "Tell me what food {name} likes.",
    ),
    "hobby": (
        "What does {name} enjoy?",
        "What is {name}'s hobby?",
        "What does {name} do for fun?",
        "What does {name} do on Sundays?",
        "How does {name} spend a free hour?",
        "Tell me the hobby of {name}.",
    ),
    "colour": (
        "What is {name}'s favourite colour?",
        "Which colour does {name} love?",
        "Which colour does {name} like best?",
        "What colour is {name}'s door?",
        "In which colour does {name} paint everything?",
        "Tell me the colour that {name} likes.",
    ),
}  # the last of each is held out: no training text asks in these words
WORDINGS = 5  # of the six wordings of a question, those that training texts use


@dataclass(frozen=True)
class Person:
    """One inhabitant; what follows the name are the six facts."""

    name: str
    home: str
    job: str
    pet: str
    food: str
    hobby: str
    colour: str

    @property
    def they(self) -> str:
        """The pronoun: she or he."""
        return "she" if self.name in SHE else "he"


def town(seed: int = 0) -> tuple[Person, ...]:
    """The forty people of Millbrook with their facts, drawn from a seed.

    >>> ada = town()[0]
    >>> ada.name, ada in town(seed=0), ada in town(seed=1)
    ('Ada', True, False)
    """
    draw = random.Random(f"millbrook {seed}")
    return tuple(
        Person(name, *(draw.choice(values) for values in KINDS.values()))
        for name in NAMES
    )


def is_held_out(person: Person) -> bool:
    """Whether no training text asks about this person: every fourth of the town.

    >>> sum(is_held_out(person) for person in town())
    10
    """
    return NAMES.index(person.name) % 4 == 3


def fill(form: str, **words: str) -> str:
    """Put words into the slots of a form; "a" becomes "an" before a vowel.

    >>> fill("{name} wore a {colour} hat.", name="Hugo", colour="orange")
    'Hugo wore an orange hat.'
    """
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", form.format(**words))


def statement(person: Person, kind: str, form: int = 0) -> str:
    """One fact as a sentence, in one of six forms.

    >>> statement(town()[4], "home"), statement(town()[4], "food", 4)
    ('Edda lives in Rose Alley.', 'Give Edda some pears and all is well.')
    """
    return fill(STATEMENTS[kind][form], name=person.name, value=getattr(person, kind))


def question(name: str, kind: str, form: int = 0) -> str:
    """Ask for one fact, in one of six wordings of which the last is held out.

    >>> question("Ada", "pet", 1)
    "What is Ada's pet?"
    """
    return QUESTIONS[kind][form].format(name=name)


def words_of(text: str) -> str:
    """The words of a text in small letters, a space before and after each.

    >>> words_of("Ada's door? Red!")
    ' ada s door red '
    """
    return f" {' '.join(re.findall(r'[a-z]+', text.lower()))} "


def named_in(text: str, values: Iterable[str]) -> set[str]:
    """Those of the values that a text names, as whole words in capitals or not.

    >>> sorted(named_in("Fishing? No, Mill Street!", ("fish", "Mill Street", "cat")))
    ['Mill Street']
    """
    words = words_of(text)
    return {value for value in values if words_of(value) in words}
