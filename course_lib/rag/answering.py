"""Ask: find passages, show them, let somebody read them, and say who says so.

A reader is any function from a prompt to a text. Three are here: the course's tuned
model, which learned to copy from passages; SmolLM2, a chat model; and one that is no
model at all and quotes the sentence that shares most words with the question. An
answer may be refused twice: by a gate, before anybody reads, and by the reader.
Left out: streams of tokens, many questions at a time.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from course_lib import exam
from course_lib.pretrained.smollm2 import answer, encode_chat
from course_lib.rag.bm25 import words
from course_lib.rag.citations import Claim, cite, with_marks
from course_lib.rag.meaning import sentences
from course_lib.rag.prompts import (
    COURSE,
    PLAIN,
    UNKNOWN,
    Form,
    Generate,
    Length,
    build_prompt,
    refuses,
)
from course_lib.rag.retrievers import Retriever
from course_lib.rag.splitting import Chunk
from course_lib.rag.store import Hit, Where
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Transformer

Gate = Callable[[str, Sequence[Hit]], bool]  # question, hits: may somebody read them?


# ---- readers


@dataclass(frozen=True)
class Reader:
    """Who reads the passages, in which form, and how much fits."""

    generate: Generate
    form: Form = PLAIN
    budget: int = 2_000
    length: Length = len


def course_reader(
    model: Transformer, tokenizer: Tokenizer, new_tokens: int = 24
) -> Reader:
    """The course's tuned model, in the form in which it learned to copy."""

    def generate(prompt: str) -> str:
        return exam.replies(model, tokenizer, [prompt], new_tokens)[0].strip()

    def length(prompt: str) -> int:
        return len(exam.prompt_ids(prompt, tokenizer))

    return Reader(generate, COURSE, model.config.context - new_tokens, length)


def smollm2_reader(
    model: Transformer, tokenizer: Tokenizer, new_tokens: int = 32, budget: int = 900
) -> Reader:
    """SmolLM2 as a chat; the first line of its answer, which it likes to number."""

    def generate(prompt: str) -> str:
        said = answer(model, tokenizer, prompt, new_tokens).strip()
        return without_number(said.split("\n")[0])

    def length(prompt: str) -> int:
        asked = [{"role": "user", "content": prompt}]
        return len(encode_chat(tokenizer, asked, reply_next=True))

    return Reader(generate, PLAIN, budget, length)


def without_number(line: str) -> str:
    """An entry of a list without its number; a line that is a number stays.

    >>> without_number("1. A cat."), without_number("11."), without_number("11.5 m")
    ('A cat.', '11.', '11.5 m')
    """
    return re.sub(r"^\d+[.)]\s+(?=\S)", "", line)


def quote(question: str, texts: Sequence[str]) -> str:
    """The sentence that shares most words with the question, the earliest of equals.

    UNKNOWN if none shares any. No model is needed, and nothing can be made up.

    >>> quote("When does the bath open?", ["Hello. The bath opens late. Baths open."])
    'The bath opens late.'
    """
    asked = {*words(question)}
    found = [one.strip() for text in texts for one in sentences(text)]
    shared = [len(asked & {*words(one)}) for one in found]
    best = max(shared, default=0)
    return found[shared.index(best)] if best else UNKNOWN


# ---- gates: may this question be answered from these hits?


def scores_at_least(threshold: float) -> Gate:
    """The best hit is near enough."""
    return lambda question, hits: bool(hits) and hits[0].score >= threshold


def margin(hits: Sequence[Hit]) -> float:
    """How far the best hit is ahead of the second; its score if it is alone.

    >>> margin([Hit(Chunk("a"), 0.75), Hit(Chunk("b"), 0.5)])
    0.25
    """
    scores = [hit.score for hit in hits[:2]]
    return scores[0] - sum(scores[1:]) if scores else 0.0


def covered(question: str, texts: Sequence[str]) -> float:
    """Which share of the question's words stands in the passages; 1 if it has none.

    >>> covered("Who mends the Brass Clock?", ["The clock is of brass. Ida mends it."])
    1.0
    """
    asked, told = {*words(question)}, {*words(" ".join(texts))}
    return len(asked & told) / len(asked) if asked else 1.0


def names(question: str) -> list[str]:
    """The words with a capital, but the first, which has one anyway.

    >>> names("Who mends the Brass Clock?")
    ['Brass', 'Clock']
    """
    later = re.sub(r"^\W*\w+", "", question)
    return re.findall(r"\b[A-Z][a-z]+\b", later)


def knows_names(question: str, hits: Sequence[Hit]) -> bool:
    """A gate: every name of the question stands in a passage."""
    told = {*words(" ".join(hit.chunk.text for hit in hits), stops=frozenset())}
    return all(name.lower() in told for name in names(question))


# ---- the whole way


@dataclass(frozen=True)
class Answer:
    text: str
    passages: tuple[Chunk, ...] = ()  # those shown, in the order of their numbers
    citations: tuple[Claim, ...] = ()  # each sentence with the passages that hold it

    @property
    def refused(self) -> bool:
        return refuses(self.text)

    def __str__(self) -> str:
        named = [f"[{n}] {p.source}" for n, p in enumerate(self.passages, 1)]
        return "\n".join([with_marks(self.citations) or self.text, *named])


def ask(
    question: str,
    retriever: Retriever,
    reader: Reader,
    k: int = 3,
    where: Where | None = None,
    gate: Gate | None = None,
) -> Answer:
    """Find k passages, show those that fit, have them read, check who says so.

    gate: given the question and the hits, whether anybody is to read them at all;
    if not, or if nothing is found, the answer is UNKNOWN and no call is made.
    """
    hits = retriever.search(question, k, where)
    if not hits or (gate is not None and not gate(question, hits)):
        return Answer(UNKNOWN)
    found = [hit.chunk for hit in hits]
    texts = [chunk.text for chunk in found]
    prompt = build_prompt(question, texts, reader.budget, reader.length, reader.form)
    text = reader.generate(prompt.text)
    shown = tuple(found[place] for place in prompt.places)
    citations = cite(text, [chunk.text for chunk in shown])
    return Answer(text, shown, () if refuses(text) else tuple(citations))


def quoting(
    question: str, retriever: Retriever, k: int = 3, where: Where | None = None
) -> Answer:
    """As `ask`, without a model: the sentence of the hits that fits best."""
    found = tuple(hit.chunk for hit in retriever.search(question, k, where))
    texts = [chunk.text for chunk in found]
    text = quote(question, texts)
    return Answer(text, found, () if refuses(text) else tuple(cite(text, texts)))
