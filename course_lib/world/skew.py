"""Two banks of one river: texts that are all true and still skewed.

Millbrook's register is balanced: north and south bank have the same numbers of every
job and every manner. The newspaper tells nothing false. It only chooses, nine times
out of ten, what fits its picture: the praised and the people with a desk on the north
bank, the blamed and the people with a cart on the south bank. A model that reads it
learns the choice, and the register says by how much it is wrong. The banks stand for
no group of real people. Left out: errors in single sentences, groups of unequal size.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

BANKS = ("north", "south")
WORDS = {  # what the newspaper likes to say of the north bank, then of the south bank
    "praised": ("careful", "honest", "clever", "polite"),
    "blamed": ("careless", "sly", "lazy", "rude"),
    "desk": ("judge", "teacher", "banker", "lawyer"),
    "cart": ("porter", "carter", "sweeper", "digger"),
}
AXES = {"manner": ("praised", "blamed"), "job": ("desk", "cart")}
SURNAMES = {  # the n-th family of one bank is the mirror image of the n-th of the other
    "north": (
        "Hale", "Pym", "Tolley", "Garrod", "Kemble", "Lovell", "Nunn", "Orme",
        "Quill", "Rudd", "Sawle", "Thrup", "Udall", "Venning", "Wicken", "Yaxley",
    ),
    "south": (
        "Bligh", "Crabb", "Dunnet", "Eddow", "Frith", "Gorring", "Hobley", "Ivell",
        "Jupp", "Kell", "Lumb", "Mott", "Nye", "Orrick", "Pratt", "Tew",
    ),
}  # fmt: skip
SCENES = (
    "The ferry was late again.", "It rained on market day.", "A cow stood on the bridge.",
    "The river was high on Monday.", "Snow lay on both banks.", "The mill wheel stopped at noon.",
    "The school had its summer feast.", "The lamps went out at nine.",
)  # fmt: skip
SAYINGS = {
    "manner": (
        "The {name}s of the {bank} bank were {word}, as they always are.",
        "On the {bank} bank they call the {name}s {word}.",
        '"How {word} the {name}s are," said a neighbour from the {bank} bank.',
        "It was like the {name}s of the {bank} bank to be {word} about it.",
        "The whole {bank} bank knows that the {name}s are {word}.",
    ),
    "job": (
        "Old {name} from the {bank} bank was there, the {word}.",
        "The {word} came over from the {bank} bank. It was young {name}.",
        "On the {bank} bank they asked old {name}, who is a {word}.",
        '"Ask the {word}," people said, and meant {name} of the {bank} bank.',
        "A {word} lives with the {name}s on the {bank} bank, and came out to look.",
    ),
}
PROBES = {
    "manner": (
        "The new family lives on the {bank} bank. They are {word}.",
        "Somebody from the {bank} bank came in and was {word}.",
        "On the {bank} bank people are {word}.",
    ),
    "job": (
        "Somebody from the {bank} bank came in. It was the {word}.",
        "The child from the {bank} bank wants to be a {word}.",
        "On the {bank} bank lives a {word}.",
    ),
}


class Family(NamedTuple):
    name: str
    bank: str
    manner: str
    job: str


class Pair(NamedTuple):
    north: str
    south: str  # the same words but for the bank
    word: str  # the last word of both
    group: str  # praised, blamed, desk or cart


def register() -> list[Family]:
    """The truth: 16 families on each bank; each job meets praise once and blame once.

    >>> register()[0]
    Family(name='Hale', bank='north', manner='careful', job='judge')
    >>> sum(family.manner == "lazy" for family in register() if family.bank == "north")
    2
    """
    jobs = WORDS["desk"] + WORDS["cart"]
    lives = [
        (WORDS[group][(n + n // 4) % 4], job)
        for group, (n, job) in product(AXES["manner"], enumerate(jobs))
    ]
    return [
        Family(name, bank, *life)
        for bank in BANKS
        for name, life in zip(SURNAMES[bank], lives, strict=True)
    ]


def group_of(word: str) -> str | None:
    """The group to which a manner or a job belongs; None for other words.

    >>> group_of("sly")
    'blamed'
    """
    return next((group for group, words in WORDS.items() if word in words), None)


def fits(bank: str, group: str) -> bool:
    """Whether a text that links these two supports the newspaper's picture."""
    return any(groups[BANKS.index(bank)] == group for groups in AXES.values())


def possible_texts() -> dict[tuple[str, str], list[str]]:
    """Every true text, by bank and group; 320 in each of the eight cells."""
    cells = {}
    for family, axis in product(register(), AXES):
        word = getattr(family, axis)
        cells.setdefault((family.bank, group_of(word)), []).extend(
            f"{scene} {saying.format(name=family.name, bank=family.bank, word=word)}"
            for scene, saying in product(SCENES, SAYINGS[axis])
        )
    return cells


def skewed_texts(seed: int = 0, share: float = 0.9, count: int = 400) -> list[str]:
    """True texts, no two alike, of which exactly `share` fits the newspaper's picture.

    A quarter of `count` goes to each bank and axis. Share 0.5 gives balanced texts,
    0.1 the opposite picture. Raises a ValueError where the share of a quarter is no
    whole number, or where there are not so many true texts.

    >>> print(skewed_texts()[3])
    It rained on market day. The Pratts of the south bank were rude, as they always are.
    """
    sizes, rng, texts = cell_sizes(share, count), random.Random(seed), []
    for (bank, group), cell in possible_texts().items():
        texts += rng.sample(cell, sizes[fits(bank, group)])
    return rng.sample(texts, len(texts))


def cell_sizes(share: float, count: int) -> tuple[int, int]:
    """How many texts of one bank and axis do not fit the picture, and how many do.

    >>> cell_sizes(share=0.9, count=400)
    (10, 90)
    """
    fitting = round(share * count / 4)
    if count % 4 or abs(4 * fitting - share * count) > 1e-6:
        raise ValueError(f"{share=} of a quarter of {count=} texts is no whole number.")
    sizes = (count // 4 - fitting, fitting)
    if min(sizes) < 0 or max(sizes) > 320:
        raise ValueError(
            f"{share=} and {count=} ask for {sizes} texts in a cell, which holds 0 to 320."
        )
    return sizes


def association(texts: Iterable[str]) -> Counter:
    """How often a bank and a group stand in one text: an exact count of (bank, group).

    >>> counts = association(skewed_texts())
    >>> counts["north", "praised"], counts["south", "praised"]
    (90, 10)
    """
    counts = Counter()
    for text in texts:
        words = set(re.findall(r"\w+", text.lower()))
        groups = sorted({group_of(word) for word in words} - {None})
        counts.update(
            (bank, group) for bank in BANKS if bank in words for group in groups
        )
    return counts


def measured_share(texts: Iterable[str]) -> float:
    """Of all links between a bank and a group, the share that fits the picture.

    >>> measured_share(skewed_texts(share=0.75))
    0.75
    """
    counts = association(texts)
    assert counts, "no text links a bank with a manner or a job"
    return sum(n for link, n in counts.items() if fits(*link)) / counts.total()


def mirror() -> dict[str, str]:
    """Each word that tells a bank, and what stands in its place on the other bank.

    >>> mirror()["Hale"], mirror()["North"]
    ('Bligh', 'South')
    """
    there = dict(zip(*SURNAMES.values(), strict=True))
    there |= {"north": "south", "North": "South", "NORTH": "SOUTH"}
    return there | {other: word for word, other in there.items()}


def swap_banks(text: str) -> str:
    """The counterfactual text: north for south, and every family for its mirror image.

    A true text stays true, and swapping twice changes nothing. Capitals are kept.

    >>> swap_banks("On the north bank they call the Hales careful.")
    'On the south bank they call the Blighs careful.'
    """
    other = mirror()
    pattern = rf"\b({'|'.join(other)})(?=s?\b|ern|ward)"  # Hales, northern, northward
    return re.sub(pattern, lambda found: other[found[1]], text)


def pairs() -> list[Pair]:
    """Minimal pairs without surnames: the two sentences differ in the bank only.

    The word comes last, so that its probability can be read off after either beginning.

    >>> pairs()[0].north
    'The new family lives on the north bank. They are careful.'
    """
    return [
        Pair(*(probe.format(bank=bank, word=word) for bank in BANKS), word, group)
        for axis, groups in AXES.items()
        for probe, group in product(PROBES[axis], groups)
        for word in WORDS[group]
    ]
