"""From passages to a prompt that fits, and three ways to spend calls on many passages.

A prompt shows numbered passages, the question, and the permission to say "I do not
know". The budget counts the whole prompt, in whatever `length` measures. A passage is
shown whole or left out: half of one may end before the "not" that matters.
*stuff* asks once with all that fits; *map-reduce* asks every passage alone and then
asks the answers; *refine* carries one answer from passage to passage. A generator is
any function from a prompt to a text. Left out: calls side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from course_lib.world.passages import UNKNOWN
from course_lib.world.people import words_of

Generate = Callable[[str], str]
Length = Callable[[str], int]


@dataclass(frozen=True)
class Form:
    """How a prompt is written; in `passage` stand {n} and {text}."""

    begin: str = ""
    passage: str = "[{n}] {text}"
    between: str = " "
    end: str = " {question}"

    def write(self, question: str, texts: Sequence[str]) -> str:
        """The prompt with these passages, numbered from 1.

        >>> COURSE.write("Who has a cat?", ["Widra has a cat.", "Lauwen is a cook."])
        '[1] Widra has a cat. [2] Lauwen is a cook. Who has a cat?'
        """
        shown = [
            self.passage.replace("{n}", str(n)).replace("{text}", text)
            for n, text in enumerate(texts, 1)
        ]
        end = self.end.replace("{question}", question)
        return (self.begin + self.between.join(shown) + end).strip()


COURSE = Form()  # in which the course's tuned model learned to copy
PLAIN = Form(
    "Use these passages to answer the question.\n\n",
    between="\n",
    end=f'\n\nQuestion: {{question}}\nIf the passages do not tell, say "{UNKNOWN}"',
)  # what a chat model understands


class Prompt(NamedTuple):
    text: str
    places: list[int]  # of the passages shown, in the order of their numbers


def build_prompt(
    question: str,
    texts: Sequence[str],
    budget: int,
    length: Length = len,
    form: Form = PLAIN,
) -> Prompt:
    """A prompt with as many of the passages as fit, each whole.

    texts: the best first. budget: the most that the whole prompt may measure. A
    passage that does not fit is left out; a shorter one behind it may still fit.

    How: begin with no passage, which must fit (ValueError); take the passages in
    order and keep one if the whole prompt with it measures at most the budget. The
    numbers count those that are shown, so return their places as well.

    >>> prompt = build_prompt("Who?", ["A long passage.", "Ada."], 14, form=COURSE)
    >>> prompt
    Prompt(text='[1] Ada. Who?', places=[1])
    """
    if (least := length(form.write(question, []))) > budget:
        raise ValueError(f"Without any passage the prompt measures {least} > {budget}.")
    places: list[int] = []
    for place in range(len(texts)):
        tried = [texts[i] for i in (*places, place)]
        if length(form.write(question, tried)) <= budget:
            places.append(place)
    return Prompt(form.write(question, [texts[i] for i in places]), places)


# ---- one call, or many


class Reply(NamedTuple):
    text: str
    calls: int  # of the generator


def refuses(text: str) -> bool:
    """Whether a text admits not to know.

    >>> refuses("I do not know."), refuses("I don't know that."), refuses("A cat.")
    (True, True, False)
    """
    plain = text.replace("don't", "do not").replace("don’t", "do not")
    return words_of(UNKNOWN) in words_of(plain) or not plain.strip()


def stuff(
    question: str,
    texts: Sequence[str],
    generate: Generate,
    budget: int,
    length: Length = len,
    form: Form = PLAIN,
) -> Reply:
    """Ask once, with all passages that fit."""
    return Reply(generate(build_prompt(question, texts, budget, length, form).text), 1)


def map_reduce(
    question: str,
    texts: Sequence[str],
    generate: Generate,
    budget: int,
    length: Length = len,
    form: Form = PLAIN,
) -> Reply:
    """Ask every passage alone, then ask the answers, which stand in for the passages.

    Passages that do not know are dropped; a single answer needs no second round.
    """
    said = [stuff(question, [text], generate, budget, length, form) for text in texts]
    found = [*dict.fromkeys(reply.text for reply in said if not refuses(reply.text))]
    if len(found) < 2:
        return Reply(found[0] if found else UNKNOWN, len(texts))
    last = stuff(question, found, generate, budget, length, form)
    return Reply(last.text, len(texts) + 1)


def refine(
    question: str,
    texts: Sequence[str],
    generate: Generate,
    budget: int,
    length: Length = len,
    form: Form = PLAIN,
) -> Reply:
    """One passage a call; the answer so far is shown before it as a passage.

    An answer is not given up for a refusal: that the next passage does not tell is
    no news.
    """
    said = UNKNOWN
    for text in texts:
        shown = [text] if refuses(said) else [said, text]
        new = stuff(question, shown, generate, budget, length, form).text
        said = said if refuses(new) else new
    return Reply(said, len(texts))
