"""A page of the town to read: `python -m course_lib.world.page 7` prints page 7.

One piece of everything that is written in Millbrook, from the functions that feed the models.
"""

import random
import sys
import textwrap
from collections.abc import Iterator

from course_lib.world import arithmetic, chat, corpus, passages, people, skew, stories
from course_lib.world.documents import documents
from course_lib.world.harbour import harbour_log

WIDTH = 76


def page(number: int = 0) -> str:
    """One page, the same for the same number.

    >>> print(page(0).splitlines()[0])
    MILLBROOK, page 0
    """
    draw = random.Random(f"page {number}")
    return "\n\n".join([f"MILLBROOK, page {number}", *_pieces(draw)])


def _pieces(draw: random.Random) -> Iterator[str]:
    town = corpus.inhabitants()
    yield _piece("Somebody", stories.portrait(draw.choice(town), draw))
    yield _piece("A story", stories.story(town, draw))
    person, kind = draw.choice(town), draw.choice(tuple(people.KINDS))
    manners = [f"({m}) {chat.answer(person, kind, draw, m).text}" for m in chat.MANNERS]
    yield _piece(
        "The town guide is asked", people.question(person.name, kind), *manners
    )
    problem = draw.choice(arithmetic.problems(arithmetic.TRIPLE))
    hasty = arithmetic.direct(problem, arithmetic.hasty_value(problem, draw))
    yield _piece(f"{problem} = ?", arithmetic.worked(problem), f"(in haste) {hasty}")
    asked = passages.context_question(3, draw)
    yield _piece("Read and answer", *asked.passages, asked.question, asked.answer)
    yield f"From the archive\n{draw.choice(documents())}"
    log = harbour_log()
    start = draw.randrange(len(log) - 4)
    yield _piece("From the harbour's log", *map(str, log[start : start + 4]))
    yield _piece("From the newspaper", *draw.sample(skew.skewed_texts(), 3))


def _piece(title: str, *lines: str) -> str:
    return "\n".join([title, *(textwrap.fill(line, WIDTH) for line in lines)])


if __name__ == "__main__":
    print(page(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
