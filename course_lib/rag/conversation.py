"""A second question leans on the first: fill in what it leaves out, then search.

"And what is her pet?" finds nothing, for no passage is about "her". Before the
search the question is *rewritten* so that it stands alone. Here rules do it: the name
of the last question, or else of the last answer, takes the place of a pronoun; and
"What about Ben?" is the last question with another name. Only the newest turns are
remembered, as many as fit. Left out: two people in one question; a model that
rewrites.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from course_lib.rag.prompts import Length

OWNED = re.compile(r"\b(his|her|its|their)\b(?=\s+\w)", re.IGNORECASE)
MEANT = re.compile(r"\b(he|she|it|they|him|her|them)\b(?![’'])", re.IGNORECASE)
LINKS = re.compile(r"^\s*(and|but|so|then)\b[,\s]*", re.IGNORECASE)
ABOUT = re.compile(r"^(?:what|how) about (?P<name>.+?)\s*\?*$", re.IGNORECASE)
NAME = re.compile(r"\b(?:the )?[A-Z][a-z]+(?: [A-Z][a-z]+)*\b")
BEGINNINGS = """
A An And At But By Can Could Did Do Does From Has Have He How I If In Is It No Nobody
On She Tell The They To What When Where Which Who Whose Why Yes You
"""
ORDINARY = frozenset(BEGINNINGS.split())  # they begin a sentence and are no name


class Turn(NamedTuple):
    question: str  # as it was searched for: it stands alone
    answer: str


def subject(text: str) -> str:
    """The last name in a text, "" if there is none; the first word counts as none.

    >>> subject("Where does Ada live?"), subject("When does the Blue Owl open?")
    ('Ada', 'the Blue Owl')
    """
    later = re.sub(r"^\W*\w+", "", text)
    return found[-1] if (found := NAME.findall(later)) else ""


def begins_with_name(text: str) -> str:
    """The name at the beginning of a text, "" for an ordinary word.

    >>> begins_with_name("Ada lives there."), begins_with_name("She lives there.")
    ('Ada', '')
    """
    found = NAME.match(text)
    return found[0] if found and found[0].split()[0] not in ORDINARY else ""


def with_name(question: str, name: str) -> str:
    """A question with a name in place of its pronouns.

    How: first `OWNED` ("her pet" becomes "Ada's pet"), then `MEANT` ("she" becomes
    "Ada"); the other way round "her pet" would become "Ada pet".

    >>> with_name("Does she like her cat?", "Ada")
    "Does Ada like Ada's cat?"
    """
    owned = OWNED.sub(lambda _: f"{name}'s", question)
    return MEANT.sub(lambda _: name, owned)


def standing_alone(question: str, last: Turn | None) -> str:
    """The question with what it leaves out, from the turn before.

    >>> before = Turn("Where does Ada live?", "Ada lives in Mill Street.")
    >>> standing_alone("And what is her pet?", before)
    "What is Ada's pet?"
    >>> standing_alone("What about Ben?", before)
    'Where does Ben live?'
    """
    asked = LINKS.sub("", question).strip()
    asked = asked[:1].upper() + asked[1:]
    if last is None:
        return asked
    texts = last.question, last.answer
    named = (subject(texts[0]), *map(begins_with_name, texts))
    name = next(filter(None, named), "")
    if (other := ABOUT.match(asked)) and name:
        return last.question.replace(name, other["name"])
    return with_name(asked, name) if name and not subject(asked) else asked


@dataclass
class Conversation:
    """Questions and answers so far; `ask` is anything that answers a question alone."""

    ask: Callable[[str], str]
    turns: list[Turn] = field(default_factory=list)

    def say(self, question: str) -> str:
        """Answer a question that may lean on the last one, and remember both."""
        alone = standing_alone(question, self.turns[-1] if self.turns else None)
        answer = self.ask(alone)
        self.turns.append(Turn(alone, answer))
        return answer

    def history(self, budget: int, length: Length = len) -> str:
        """The newest turns that fit, in the order in which they were said."""
        return remembered(self.turns, budget, length)


def remembered(turns: list[Turn], budget: int, length: Length = len) -> str:
    """The newest turns, whole, as many as measure at most the budget together.

    >>> remembered([Turn("A?", "Yes."), Turn("B?", "No.")], budget=12)
    'B? No.'
    """
    shown: list[str] = []
    for turn in reversed(turns):
        tried = [f"{turn.question} {turn.answer}", *shown]
        if length("\n".join(tried)) > budget:
            break
        shown = tried
    return "\n".join(shown)
