"""The toy world as tables: `datasets.Dataset`s to map, filter, split, save and load.

Everything here is made by the other modules of this package; a table adds nothing but
a shape that other people's tools expect. A column `held_out` marks what no training
text holds. Left out: streaming, since the largest table fits into memory many times.
"""

from itertools import islice

from datasets import Dataset, Features, List, Value

from course_lib.world import (
    arithmetic,
    chat,
    corpus,
    documents,
    harbour,
    passages,
    people,
    skew,
)
from course_lib.world.people import KINDS, QUESTIONS, Person

# ---- the town


def inhabitants(seed: int = 0) -> Dataset:
    """One row a person.

    `name`; the six facts `home`, `job`, `pet`, `food`, `hobby`, `colour`; `held_out`:
    only stories tell of them, and no training text asks.

    >>> inhabitants().filter(lambda row: row["held_out"]).num_rows
    10
    """
    return Dataset.from_list(
        [{**vars(p), "held_out": people.is_held_out(p)} for p in people.town(seed)]
    )


def questions(seed: int = 0) -> Dataset:
    """Every fact of every person in each of six wordings, with the plain answer.

    `person`; `kind` of fact; `wording` 0 to 5; `question`; `answer`, a sentence;
    `value`, what it must name; `held_out`: the person or the wording is.

    >>> questions().num_rows == 40 * 6 * 6
    True
    """
    return Dataset.from_list(
        [
            _question(person, kind, wording)
            for person in people.town(seed)
            for kind in KINDS
            for wording in range(len(QUESTIONS[kind]))
        ]
    )


def _question(person: Person, kind: str, wording: int) -> dict:
    return {
        "person": person.name,
        "kind": kind,
        "wording": wording,
        "question": people.question(person.name, kind, wording),
        "answer": people.statement(person, kind),
        "value": getattr(person, kind),
        "held_out": people.is_held_out(person) or wording >= people.WORDINGS,
    }


def answers(count: int, seed: int = 0) -> Dataset:
    """Questions with an answer in some manner, right or wrong: material for preferences.

    `person`, `kind` and `question`; `text`, the answer; its `manner`; whether it is
    `right`, which seven in ten are.
    """
    draw = corpus.Draw(f"answers {seed}")
    rows = []
    for _ in range(count):
        person, kind = draw.choice(corpus.asked_about()), draw.choice(tuple(KINDS))
        manner, right = draw.choice(chat.MANNERS), draw.random() < 0.7
        rows.append(vars(chat.answer(person, kind, draw, manner, right)))
    return Dataset.from_list(rows)


def problems(operations: int) -> Dataset:
    """All arithmetic problems of one, two or three operations.

    `problem` and its `value`; `worked`, an answer with steps; `left_to_right`, what a
    hasty reader gets; `canonical`, one text for all commuted twins; `held_out`.

    >>> problems(2).filter(lambda row: row["problem"] == "2 + 2 × 6")["worked"][0]
    '2 × 6 = 12. 2 + 12 = 14. Answer: 14.'
    """
    forms = {1: arithmetic.SINGLE, 2: arithmetic.DOUBLE, 3: arithmetic.TRIPLE}
    assert operations in forms, f"problems have 1, 2 or 3 operations, not {operations}"
    return Dataset.from_list(
        [
            {
                "problem": str(problem),
                "value": problem.value,
                "worked": arithmetic.worked(problem),
                "left_to_right": arithmetic.left_to_right(problem),
                "canonical": arithmetic.canonical(problem),
                "held_out": arithmetic.is_held_out(problem),
            }
            for problem in arithmetic.problems(forms[operations])
        ]
    )


# ---- what a model reads


def readings(count: int, held_out: bool = False, seed: int = 0) -> Dataset:
    """Questions on one to three passages, of which one in seven has no answer there.

    `passages`; `question`; `prompt`, both in one text; `answer`, a sentence; `value`,
    what it must name, "" without an answer; `source`, the number of the passage that
    tells, -1 for none; `name`, whom it is about; `choices`, all values of that kind;
    `held_out`: all names are.
    """
    draw = corpus.Draw(f"readings {held_out} {seed}")
    rows = []
    for i in range(count):
        told = draw.random() < 0.85
        asked = passages.context_question(1 + i % 3, draw, held_out, answerable=told)
        rows.append({**vars(asked), "prompt": asked.prompt, "held_out": held_out})
    return Dataset.from_list(rows)


TEXT_OR_CHAT = Features(
    text=Value("string"),
    messages=List({"role": Value("string"), "content": Value("string")}),
)


def texts(stage: str, count: int, seed: int = 0) -> Dataset:
    """The first texts and chats that a stage of the model's life reads.

    `text` for plain text, `messages` for chats as transformers and TRL expect them; the
    other one is None.

    >>> texts("cold_start", 1)["messages"][0][0]["role"]
    'user'
    """
    assert stage in corpus.MIXES, f"stages are {', '.join(corpus.MIXES)}, not {stage!r}"
    rows = []
    for text in islice(corpus.stream(corpus.MIXES[stage], seed), count):
        plain = isinstance(text, str)
        shape = (text, None) if plain else (None, text)
        rows.append(dict(zip(TEXT_OR_CHAT, shape, strict=True)))
    return Dataset.from_list(rows, features=TEXT_OR_CHAT)


# ---- the archive


def archive(seed: int = 0) -> Dataset:
    """The town archive: documents whose facts no model has read.

    `id`, `kind`, `office` and `year` of a paper; its `title` and `body`; its `facts`,
    each with `subject`, `attribute` and `value`.
    """
    rows = []
    for paper in documents.documents(seed):
        facts = [fact._asdict() for fact in paper.facts]
        rows.append({**vars(paper), "facts": facts})
    return Dataset.from_list(rows)


def document_questions(seed: int = 0) -> Dataset:
    """What can be asked of the archive, with and without an answer.

    `text` and `answer`; `document`, the id of the paper that tells, "" for none;
    `style`: lexical, paraphrased or unanswerable; `attribute`, what is asked for;
    `year`, which of several editions is meant, None where there is one.
    """
    return Dataset.from_list(
        [vars(question) for question in documents.document_questions(seed)]
    )


# ---- the harbour and the newspaper


def harbour_log(entries: int = 1200, seed: int = 0) -> Dataset:
    """The harbour log, a second domain.

    `entry`; `day`, counted from 1; `held_out`: every fifth day is kept for tests.
    """
    log = harbour.harbour_log(entries, seed)
    _, kept = harbour.split(log)
    return Dataset.from_list(
        [
            {"entry": entry, "day": n // harbour.DAY + 1, "held_out": entry in kept}
            for n, entry in enumerate(log)
        ]
    )


def harbour_questions() -> Dataset:
    """Questions about the ships that the log tells of.

    `text` and `answer`; `ship`; `attribute`: port, cargo, captain, berth, or ship where
    the ship is the answer.
    """
    return Dataset.from_list([q._asdict() for q in harbour.harbour_questions()])


def register() -> Dataset:
    """The truth about the families of the two banks.

    `name`, `bank`, `manner` and `job`.
    """
    return Dataset.from_list([family._asdict() for family in skew.register()])


def newspaper(share: float = 0.9, count: int = 400, seed: int = 0) -> Dataset:
    """True texts about the two banks, of which `share` fits the newspaper's picture.

    `text`.
    """
    texts = skew.skewed_texts(seed, share, count)
    return Dataset.from_list([{"text": text} for text in texts])


def bank_pairs() -> Dataset:
    """Minimal pairs that measure the picture in a model's head.

    `north` and `south`, two sentences that differ in the bank only; the last `word` of
    both; its `group`: praised, blamed, desk or cart.
    """
    return Dataset.from_list([pair._asdict() for pair in skew.pairs()])
