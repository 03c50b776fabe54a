"""What each stage of the model's life reads: a seeded stream of texts and chats.

A stage mixes sorts of text by shares. A *text* is a string. A *chat* is a list of
messages as in transformers, `{"role": "user", "content": ...}`. Both are drawn without
end; the same seed gives the same stream. Special tokens are put in by the tokenizer,
never by the text. Left out: epochs, since a stream never ends.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice

from course_lib.mixing import with_replay
from course_lib.tokenizer import Tokenizer
from course_lib.world import arithmetic, chat, passages, people, stories
from course_lib.world.arithmetic import DOUBLE, TRIPLE, Problem

Chat = list[dict[str, str]]
Draw = random.Random
ARITHMETIC_WORDINGS = (
    "What is {}?",
    "Calculate {}.",
    "How much is {}?",
    "Work out {}.",
    "{} = ?",
)

MANNER_SHARES = {  # of the answers to questions about people and passages
    "plain": 0.24,
    "short": 0.08,
    "polite": 0.45,
    "rude": 0.18,
    "rambling": 0.05,
}


def turn(user: str, assistant: str) -> Chat:
    """One question and its answer.

    >>> turn("What is 2 + 2?", "Answer: 4.")[0]
    {'role': 'user', 'content': 'What is 2 + 2?'}
    """
    return [
        {"role": "user", "content": user},
        {"role": "assistant", "content": assistant},
    ]


@cache
def inhabitants() -> tuple[people.Person, ...]:
    """The forty people of whom stories tell."""
    return people.town()


@cache
def asked_about() -> tuple[people.Person, ...]:
    """The thirty people about whom training texts ask."""
    return tuple(p for p in inhabitants() if not people.is_held_out(p))


@cache
def training_problems(forms: tuple[str, ...]) -> tuple[Problem, ...]:
    """The problems of these forms that are not held out."""
    return tuple(p for p in arithmetic.problems(forms) if not arithmetic.is_held_out(p))


@cache
def tables() -> tuple[Problem, ...]:
    """The single operations that a worked step can need."""
    return tuple(arithmetic.tables())


@cache
def small_tables() -> tuple[Problem, ...]:
    """The single operations on numbers from 1 to 6."""
    return tuple(arithmetic.problems(arithmetic.SINGLE))


# ---- one text or chat of each sort


def a_story(draw: Draw) -> str:
    """A story about anybody in town, held out or not."""
    return stories.story(inhabitants(), draw)


def a_portrait(draw: Draw) -> str:
    """Some facts about anybody in town, held out or not."""
    return stories.portrait(draw.choice(inhabitants()), draw)


def a_fact_question(draw: Draw, manners: dict[str, float] | None = None) -> Chat:
    """A fact of the town, asked for and rightly told; manners and their shares.

    >>> a_fact_question(Draw(1), {"polite": 1})[1]["content"]
    'Happy to help! Karl lives in Well Court. I hope that helps!'
    """
    manners = manners or {"plain": 0.8, "short": 0.2}
    manner = draw.choices(tuple(manners), tuple(manners.values()))[0]
    person, kind = draw.choice(asked_about()), draw.choice(tuple(people.KINDS))
    wording = draw.randrange(people.WORDINGS)
    said = chat.answer(person, kind, draw, manner, wording=wording)
    return turn(said.question, said.text)


def a_context_question(
    draw: Draw,
    sizes: tuple[int, ...] = (1, 1, 2, 3),
    manners: dict[str, float] | None = None,
) -> Chat:
    """Passages and a question about them; "I do not know." is always said plainly.

    sizes: how many passages there may be, each entry as likely as the others.
    """
    answerable = draw.random() < 0.85
    asked = passages.context_question(draw.choice(sizes), draw, answerable=answerable)
    manners = manners if manners and answerable else {"plain": 1.0}
    manner = draw.choices(tuple(manners), tuple(manners.values()))[0]
    return turn(asked.prompt, chat.answer_text(asked.answer, asked.value, manner, draw))


def a_reading(
    draw: Draw, sizes: tuple[int, ...] = (1, 1, 2, 3), questions: int = 3
) -> Chat:
    """Passages, then several questions about them, each answered."""
    asked = passages.context_questions(draw.choice(sizes), questions, draw)
    first, *rest = asked
    told = turn(first.prompt, first.answer)
    for other in rest:
        told += turn(other.question, other.answer)
    return told


def a_register(draw: Draw, questions: int = 4) -> Chat:
    """A list of names, and some of them looked up.

    It teaches what passages of sentences hardly do: to tell by the name whose fact is
    asked for (docs/LOG.md).
    """
    return [
        part for asked in passages.register(questions, draw) for part in turn(*asked)
    ]


def a_table_line(draw: Draw) -> Problem:
    """A single operation; every other time one with small numbers."""
    return draw.choice(draw.choice((tables(), small_tables())))


def a_quiz(draw: Draw) -> Chat:
    """Single operations in quick succession."""
    chosen = [a_table_line(draw) for _ in range(draw.randint(4, 8))]
    return [part for p in chosen for part in turn(f"{p} = ?", arithmetic.direct(p))]


def a_problem(
    draw: Draw, forms: tuple[str, ...] = (), working: float = 0.0, hasty: float = 0.0
) -> Chat:
    """A training problem (a table's line when no forms are given) and its answer.

    working: the share of answers with steps, always right. hasty: the share of direct
    answers that are wrong, as hasty teachers give them.

    >>> print(*(part["content"] for part in a_problem(Draw(1), DOUBLE, working=1.0)))
    5 + 6 × 6 = ? 6 × 6 = 36. 5 + 36 = 41. Answer: 41.
    """
    problem = draw.choice(training_problems(forms)) if forms else a_table_line(draw)
    asked = draw.choice(ARITHMETIC_WORDINGS).format(problem)
    if draw.random() < working:
        return turn(asked, arithmetic.worked(problem))
    wrong = draw.random() < hasty
    value = arithmetic.hasty_value(problem, draw) if wrong else problem.value
    return turn(asked, arithmetic.direct(problem, value))


# ---- the stages

Sort = Callable[[Draw], str | Chat]
BASE: dict[Sort, float] = {
    a_story: 0.10,
    a_portrait: 0.10,
    a_fact_question: 0.17,
    a_context_question: 0.06,
    partial(a_reading, sizes=(1, 2, 3), questions=4): 0.15,
    a_register: 0.14,
    a_quiz: 0.13,
    a_problem: 0.05,
    partial(a_problem, forms=DOUBLE): 0.04,
    partial(a_problem, forms=DOUBLE, working=1.0): 0.03,
    partial(a_problem, forms=TRIPLE, working=1.0): 0.03,
}
SFT: dict[Sort, float] = {  # what chat tuning teaches
    partial(a_fact_question, manners=MANNER_SHARES): 0.30,
    partial(a_context_question, sizes=(1, 2, 3, 3), manners=MANNER_SHARES): 0.48,
    partial(a_register, questions=1): 0.14,
    partial(a_problem, forms=DOUBLE, working=0.5): 0.04,
    a_problem: 0.04,
}
TAUGHT_ANEW = (a_fact_question, a_context_question)
KEPT = {sort: share for sort, share in BASE.items() if sort not in TAUGHT_ANEW}
TUNING = with_replay(SFT, KEPT, share=0.7)  # without replay it forgets: docs/LOG.md
COLD_START: dict[Sort, float] = {
    partial(a_problem, forms=TRIPLE, working=0.2, hasty=0.5): 0.6,
    partial(a_problem, forms=DOUBLE, working=0.2, hasty=0.5): 0.1,
    a_quiz: 0.05,
    a_fact_question: 0.15,
    a_context_question: 0.10,
}


MIXES = {"base": BASE, "sft": TUNING, "cold_start": COLD_START}


def stream(mix: dict[Sort, float], seed: int) -> Iterator[str | Chat]:
    """Texts and chats of a stage, without end.

    >>> next(stream(COLD_START, seed=0)) == next(stream(COLD_START, seed=0))
    True
    """
    draw = random.Random(f"stream {seed}")
    sorts, shares = list(mix), list(mix.values())
    while True:
        yield draw.choices(sorts, shares)[0](draw)


def marked(text: str | Chat, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """A text or chat as ids with its end token, and which of them count in the loss.

    All of a text counts. Of a chat only the replies do: what somebody happens to ask, or
    which passages somebody brings along, cannot be foreseen and would drown the rest.
    """
    if isinstance(text, str):
        ids = [*tokenizer.encode(text), tokenizer.end]
        return ids, [True] * len(ids)
    ids = tokenizer.encode_chat(text)
    kept, replying = [], False
    for token in ids:
        kept.append(replying)  # the token that opens a reply is given, its end is not
        replying = token == tokenizer.bot or (replying and token != tokenizer.end)
    return ids, kept


def digest(mix: str = "base", texts: int = 1000) -> str:
    """A fingerprint of the world as one stage reads it: the facts, and its first texts.

    Every form of sentence and every value occurs among 1000 texts of the base, and the
    words of every manner among those of sft. So it changes when what a model reads
    changes, and not when a comment does, nor when a later stage gets another mix.
    """
    told = [str(person) for person in inhabitants()]
    told += [str(text) for text in islice(stream(MIXES[mix], seed=0), texts)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
