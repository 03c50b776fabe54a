"""A control for labelling: rank the answers to a question, see which pairs follow.

Whoever ranks sees the simulated annotator's ranking only after their own, and where
nobody has ranked, the annotator's stands in. So a lesson has labels to train on also
where no person sits before it. Left out: ranking by dragging, which no keyboard can
do, and more than one person.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import ipywidgets as widgets
import torch
from torch import Tensor

from course_lib.plotting.style import GREEN, ORANGE
from course_lib.reward import pairs as library
from course_lib.reward.losses import check_numbers
from course_lib.reward.pairs import Preference, Ranking
from course_lib.widgets import controls
from course_lib.widgets.mask_panel import asked

Pairs = list[tuple[str, str]]
NAMES = "ABCDEFGH"
OPEN = "not ranked"
STANDS_IN = (
    "Until you have ranked all of them, the simulated annotator’s ranking counts."
)


class Case(NamedTuple):
    """One question with its answers, and how the simulated annotator ranks them."""

    prompt: str
    answers: Mapping[str, str]  # name -> text
    annotator: Ranking


# ---- the simulated annotator


def noisy_ranking(
    scores: Tensor, temperature: float, generator: torch.Generator | None = None
) -> list[list[str]]:
    r"""A ranking by somebody who is not sure: scores $s/\tau$ plus Gumbel noise.

    scores (K,) of answers A, B, C …; temperature above 0. By this noise answer a
    comes before b with probability $\sigma((s_a - s_b)/\tau)$, as with the
    annotators of `preference_probability`. Never equals.

    >>> noisy_ranking(torch.tensor([0.0, 9.0, 5.0]), temperature=0.01)
    [['B'], ['C'], ['A']]
    """
    check_numbers(scores, "score")
    if not temperature > 0:
        raise ValueError(f"A noisy annotator has a temperature above 0: {temperature}.")
    uniforms = torch.rand(len(scores), generator=generator).clamp(1e-9, 1 - 1e-7)
    felt = scores / temperature - (-uniforms.log()).log()
    return [[NAMES[i]] for i in felt.argsort(descending=True).tolist()]


def case(
    prompt: str, texts: Sequence[str], scores: Sequence[float],
    temperature: float = 0.3, generator: torch.Generator | None = None,
) -> Case:  # fmt: skip
    """A question for the control: different answers, ranked by their noisy scores.

    >>> case("Hi?", ["Hello.", "Go away."], [9.0, 0.0]).annotator
    [['A'], ['B']]
    """
    if not 2 <= len(texts) <= len(NAMES) or len(set(texts)) < len(texts):
        raise ValueError(f"Two to eight different answers can be ranked, not {texts}.")
    ranking = noisy_ranking(torch.tensor(list(scores)), temperature, generator)
    return Case(prompt, dict(zip(NAMES, texts, strict=False)), ranking)


# ---- from places to pairs


def ranking_of(places: Mapping[str, str]) -> list[list[str]] | None:
    """Names with places as a ranking; None while a name has no place.

    >>> ranking_of({"A": "2", "B": "1", "C": "2"})
    [['B'], ['A', 'C']]
    """
    if OPEN in places.values():
        return None
    return [
        [name for name, place in places.items() if place == group]
        for group in sorted(set(places.values()))
    ]


def as_text(ranking: Ranking) -> str:
    """A ranking in signs, as `read_ranking` reads it.

    >>> as_text([["B"], ["A", "C"]])
    'B > A = C'
    """
    return " > ".join(" = ".join(group) for group in ranking)


def agreement(ours: Pairs, theirs: Pairs) -> tuple[int, int]:
    """How many of the pairs that both decided are the same, and how many those are.

    >>> agreement([("A", "B"), ("A", "C")], [("B", "A"), ("A", "C")])
    (1, 2)
    """
    same = sum(pair in theirs for pair in ours)
    turned = sum((worse, better) in theirs for better, worse in ours)
    return same, same + turned


def checked_pairs(given: object, names: Sequence[str]) -> Pairs:
    """The pairs, if the learner's function gave some."""
    whole = isinstance(given, list) and all(
        isinstance(pair, tuple) and len(pair) == 2 and {*pair} <= {*names}
        for pair in given
    )
    if not whole:
        raise ValueError(f"it gave no list of pairs (better, worse), but {given!r}.")
    return given


# ---- the panel


class Labels:
    """The control, and the labels that it holds: yours where you ranked."""

    def __init__(self, cases: Sequence[Case], pairs: Callable[..., Pairs]):
        self.cases, self.pairs = list(cases), pairs
        self.places = [dict.fromkeys(case.answers, OPEN) for case in cases]
        self.question = controls.choice([c.prompt for c in cases], "question")
        most = max(len(case.answers) for case in cases)
        self.place = {
            name: controls.choice(
                [OPEN, *map(str, range(1, most + 1))], f"place of {name}"
            )
            for name in NAMES[:most]
        }
        self.page, self.is_loading = widgets.HTML(), False
        self.question.observe(lambda _: self.load(), names="value")
        for control in self.place.values():
            control.observe(lambda _: self.put(), names="value")

    # ---- what it holds

    @property
    def yours(self) -> list[bool]:
        """Which questions a person has ranked."""
        return [ranking_of(places) is not None for places in self.places]

    def rankings(self) -> list[Ranking]:
        """Your ranking of each question; the annotator's where there is none."""
        return [
            ranking_of(places) or case.annotator
            for places, case in zip(self.places, self.cases, strict=True)
        ]

    def preferences(self) -> list[Preference]:
        """The pairs of all rankings with their texts."""
        return [
            Preference(case.prompt, case.answers[better], case.answers[worse])
            for case, ranking in zip(self.cases, self.rankings(), strict=True)
            for better, worse in self.decided(ranking)
        ]

    def agreement(self) -> tuple[int, int]:
        """Of the pairs that you and the annotator decided, how many are alike."""
        counts = [
            agreement(self.ask(ranking_of(places)), self.ask(case.annotator))
            for places, case in zip(self.places, self.cases, strict=True)
            if ranking_of(places)
        ]
        return sum(same for same, _ in counts), sum(both for _, both in counts)

    def decided(self, ranking: Ranking) -> Pairs:
        """The learner's pairs; what goes wrong in the function is raised."""
        copied = [list(group) for group in ranking]  # the function may change it
        names = [name for group in ranking for name in group]
        return checked_pairs(self.pairs(copied), names)

    def ask(self, ranking: Ranking) -> Pairs:
        """The same for the page: ValueError says in one sentence what went wrong."""
        return asked("pairs_from_ranking", self.decided, ranking)

    # ---- what it shows

    @property
    def number(self) -> int:
        return self.question.index

    def load(self) -> None:
        """Another question: its answers' places, then its page."""
        self.is_loading = True
        for name, control in self.place.items():
            control.value = self.places[self.number].get(name, OPEN)
            control.disabled = name not in self.cases[self.number].answers
        self.is_loading = False
        self.redraw()

    def put(self) -> None:
        """A place was chosen."""
        if self.is_loading:  # else a new question would overwrite the old one's places
            return
        for name in self.places[self.number]:
            self.places[self.number][name] = self.place[name].value
        self.redraw()

    def words(self) -> str:
        """The page of this moment as HTML; ValueError if there is none."""
        case, ranking = self.cases[self.number], ranking_of(self.places[self.number])
        theirs = self.ask(case.annotator)
        judge = f"The simulated annotator: {as_text(case.annotator)}"
        if ranking is None:
            judged = f"<p>{STANDS_IN}</p>"
        else:
            ours = self.ask(ranking)
            judged = said(f"You: {as_text(ranking)}", ours, theirs) + said(
                judge, theirs
            )
        return f"{answers_table(case)}{judged}{self.summary()}"

    def summary(self) -> str:
        done, (same, both) = sum(self.yours), self.agreement()
        words = f"{done} of {len(self.cases)} questions are ranked by you."
        if both:
            words += f" Of {both} pairs that both decide, {same} are alike."
        return f"<p><i>{words}</i></p>"

    def drawn(self) -> controls.Sentence | str:
        try:
            return self.words()
        except ValueError as error:
            return controls.Sentence(str(error)).html()

    def redraw(self) -> None:
        self.page.value = f'<div aria-live="polite">{self.drawn()}</div>'

    def show(self) -> None:
        """Display the control; where no kernel runs, one question, ranked."""
        self.load()
        places = controls.columns(*self.place.values(), names="6em", least="13em")
        box = widgets.VBox([self.question, places, self.page])
        controls.show_live(box, *self.still())

    def still(self) -> tuple[dict, dict]:
        """The first question, its answers and the annotator's ranking of them."""
        case = self.cases[0]
        judge = f"The simulated annotator: {as_text(case.annotator)}"
        lines = [f"{name}: {text}" for name, text in case.answers.items()]
        words = f"<p><b>{html.escape(case.prompt)}</b></p>{answers_table(case)}"
        with suppress(ValueError, NotImplementedError):
            words += said(judge, self.ask(case.annotator))
        plain = "\n".join([case.prompt, *lines, judge])
        return {"text/html": words, "text/plain": plain}, {}


def answers_table(case: Case) -> str:
    """The answers, one to a row."""
    left = 'style="text-align:left"'
    rows = (
        f"<tr><td><b>{name}</b></td><td {left}>{html.escape(text)}</td></tr>"
        for name, text in case.answers.items()
    )
    return f"<table>{''.join(rows)}</table>"


def said(who: str, pairs: Pairs, others: Pairs = ()) -> str:
    """A line of pairs; those that others see the other way round are marked."""
    words = [
        f"{better} over {worse}" + " (they disagree)" * ((worse, better) in others)
        for better, worse in pairs
    ]
    colour = ORANGE if any("(" in word for word in words) else GREEN
    bar = f"border-left: 4px solid {colour}; padding-left: 0.6em"
    told = html.escape(f"{who}: {', '.join(words) or 'no pair'}")
    return f'<p style="{bar}">{told}</p>'


def rank_answers(
    cases: Sequence[Case], pairs: Callable[..., Pairs] = library.pairs_from_ranking
) -> Labels:
    """Show the questions one at a time, with a place to choose for each answer.

    pairs: as `pairs_from_ranking`. Returns the labels; ask them later for
    `preferences()`.
    """
    if not cases:
        raise ValueError("There is no question to rank answers for.")
    labels = Labels(cases, pairs)
    labels.show()
    return labels
