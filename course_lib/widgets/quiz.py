"""A short quiz to test oneself: choose, and read why. Saved notebooks show the questions with folded answers."""

import html
from dataclasses import dataclass

import ipywidgets as widgets

from course_lib.widgets.controls import show_live


@dataclass(frozen=True)
class Question:
    """One question; the first option is the right one (they are shown in the order of the alphabet)."""

    text: str
    options: tuple[str, ...]
    why: str


def quiz(*questions: Question) -> None:
    """Show the questions with a choice each; an answer is explained at once, right or wrong."""
    count = widgets.HTML(f"<i>0 of {len(questions)} answered</i>")
    right: dict[int, bool] = {}
    rows = [_row(number, question, right, count, len(questions)) for number, question in enumerate(questions)]
    still = "".join(_still(question) for question in questions)
    plain = "\n".join(f"{q.text} ({' / '.join(sorted(q.options))})" for q in questions)
    show_live(widgets.VBox([*rows, count]), {"text/html": still, "text/plain": plain}, {})


def _row(
    number: int, question: Question, right: dict[int, bool], count: widgets.HTML, total: int
) -> widgets.VBox:
    choice = widgets.ToggleButtons(options=sorted(question.options), value=None)
    choice.style.button_width = "auto"
    answer = widgets.HTML()

    def chosen(change: dict) -> None:
        right.setdefault(number, change["new"] == question.options[0])  # the first guess counts
        verdict = "Right" if change["new"] == question.options[0] else "Not quite"
        answer.value = f"<b>{verdict}.</b> {html.escape(question.why)}"
        count.value = f"<i>{len(right)} of {total} answered, {sum(right.values())} right at the first try</i>"

    choice.observe(chosen, names="value")
    return widgets.VBox([widgets.HTML(f"<b>{number + 1}.</b> {html.escape(question.text)}"), choice, answer])


def _still(question: Question) -> str:
    options = " · ".join(html.escape(option) for option in sorted(question.options))
    fold = f"<details><summary>answer</summary><b>{html.escape(question.options[0])}</b>. {html.escape(question.why)}</details>"
    return f"<p><b>{html.escape(question.text)}</b><br>{options}{fold}</p>"
