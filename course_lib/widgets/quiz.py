"""A short quiz to test oneself: choose, and read why. Saved notebooks show the questions with folded answers."""

import html
import re
from dataclasses import dataclass

import ipywidgets as widgets

from course_lib.plotting.style import GREEN, ORANGE
from course_lib.widgets.controls import show_live


@dataclass(frozen=True)
class Question:
    """One question; the first option is the right one (they are shown in the order of the alphabet).

    `Backticks` in the text and in the explanation set code.
    """

    text: str
    options: tuple[str, ...]
    why: str


def quiz(*questions: Question) -> None:
    """Show the questions with a choice each; an answer is explained at once, right or wrong."""
    count = widgets.HTML(f"<i>0 of {len(questions)} answered</i>")
    right: dict[int, bool] = {}
    rows = [
        _row(number, question, right, count, len(questions))
        for number, question in enumerate(questions)
    ]
    still = "".join(
        _still(number, question) for number, question in enumerate(questions)
    )
    plain = "\n".join(f"{q.text} ({' / '.join(sorted(q.options))})" for q in questions)
    show_live(
        widgets.VBox([*rows, count]), {"text/html": still, "text/plain": plain}, {}
    )


def _row(
    number: int,
    question: Question,
    right: dict[int, bool],
    count: widgets.HTML,
    total: int,
) -> widgets.VBox:
    choice = widgets.ToggleButtons(options=sorted(question.options), value=None)
    choice.style.button_width = "auto"
    answer = widgets.HTML()

    def chosen(change: dict) -> None:
        is_right = change["new"] == question.options[0]
        right.setdefault(number, is_right)  # the first guess counts
        answer.value = _verdict(is_right, question)
        count.value = f"<i>{len(right)} of {total} answered, {sum(right.values())} right at the first try</i>"

    choice.observe(chosen, names="value")
    asked = widgets.HTML(f"<b>{number + 1}.</b> {_set(question.text)}")
    return widgets.VBox(
        [asked, choice, answer], layout=widgets.Layout(margin="0 0 0.8em 0")
    )


def _verdict(is_right: bool, question: Question) -> str:
    """The word says it, and a bar beside it in a colour that every eye tells apart."""
    colour, word = (GREEN, "Right.") if is_right else (ORANGE, "Not quite.")
    bar = f"border-left: 4px solid {colour}; padding-left: 0.6em"
    return f'<div style="{bar}"><b>{word}</b> {_set(question.why)}</div>'


def _still(number: int, question: Question) -> str:
    options = " · ".join(html.escape(option) for option in sorted(question.options))
    answer = f"<b>{html.escape(question.options[0])}</b>. {_set(question.why)}"
    fold = f"<details><summary>answer</summary>{answer}</details>"
    return (
        f"<div><b>{number + 1}.</b> {_set(question.text)}<br>{options}{fold}</div><br>"
    )


def _set(text: str) -> str:
    """Plain text as HTML, with what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
