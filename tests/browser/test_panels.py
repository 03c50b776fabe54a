"""Panels as a learner meets them: in JupyterLab, moved with the keyboard, in a real browser.

The server, the page and the notebook are those of test_lab; the notebook is made here. Left out: SmolLM2,
which goes the same way as the course's model and takes longer.
"""

import json
import socket
from collections.abc import Iterator

import nbformat
import pytest

from tests.browser.test_lab import (
    CHROMIUM,
    FLAGS,
    SETTINGS,
    Browser,
    Cell,
    Notebook,
    _nothing_from_outside_and_no_error_on_the_console,  # noqa: F401 - holds by itself
    _server,
    sync_api,
)

NAME = "panels.ipynb"
SAMPLING = """from course_lib import pretrained
from course_lib.widgets.sampling_panel import Speaker, sampling_panel

def min_p(logits, p):
    raise NotImplementedError

ours = Speaker(*pretrained.load("base"))
sampling_panel({"ours": ours}, ["Ada has a", "Nora lives in"], min_p=min_p)"""
CALCULATOR = """from course_lib.widgets.calculator import calculator

calculator("LLaMA-7B")"""
RANKING = """from course_lib.reward.pairs import pairs_from_ranking
from course_lib.widgets.ranking import Case, rank_answers

said = {"A": "Fish.", "B": "Of course! Ada has a fish.", "C": "Go <b>away</b>."}
cases = [
    Case("What is Ada's pet?", said, [["B"], ["A"], ["C"]]),
    Case("Has Ben a cat?", {"A": "Yes.", "B": "No."}, [["A"], ["B"]]),
]
labels = rank_answers(cases, pairs=pairs_from_ranking)"""
KEPT = """print(labels.yours)
for prompt, chosen, rejected, _ in labels.preferences():
    print(prompt, chosen, "over", rejected)"""
CELLS = (SAMPLING, CALCULATOR, RANKING, KEPT)
pytestmark = pytest.mark.skipif(
    not CHROMIUM,
    reason="no Chromium here; install one, or name it in the variable CHROMIUM",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("panels")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    content = nbformat.v4.new_notebook(cells=cells, metadata=about)
    nbformat.write(content, folder / NAME)
    for plugin, settings in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with (
        _server(folder, _free_port()) as address,
        sync_api.sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1366, "height": 900})
        page.set_default_timeout(60_000)
        sync_api.expect.set_options(timeout=30_000)  # milliseconds
        yield Browser(page, address)
        chromium.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def notebook(browser) -> Notebook:
    opened = browser.open(NAME)
    opened.run_all()
    return opened


@pytest.fixture
def sampling(notebook) -> Cell:
    return notebook.cell("sampling_panel(")


@pytest.fixture
def calculator(notebook) -> Cell:
    return notebook.cell("calculator(")


@pytest.fixture
def ranking(notebook) -> Cell:
    """The control for labelling, with nothing ranked."""
    cell = notebook.cell("rank_answers(")
    choose(cell, "question", 0)
    for name in "ABC":
        choose(cell, f"place of {name}", 0)
    cell.says("0 of 2 questions are ranked by you")
    return cell


def choose(cell: Cell, label: str, option: int) -> None:
    """Open the list of this name and go to an option, with keys alone.

    While a list is closed, JupyterLab takes the arrow keys and goes to another cell.
    """
    cell.output.get_by_label(label, exact=True).focus()
    for key in ("Space", "Home", *["ArrowDown"] * option, "Enter"):
        cell.page.keyboard.press(key)


def rank(cell: Cell, *places: int) -> None:
    for name, place in zip("ABC", places, strict=False):
        choose(cell, f"place of {name}", place)


def press(cell: Cell, label: str, *keys: str) -> None:
    """Press keys on the slider of this name."""
    slider = cell.output.locator(".widget-slider", has_text=label)
    slider.locator(".noUi-handle").focus()
    for key in keys:
        cell.page.keyboard.press(key)


# ---- sampling


def test_an_arrow_key_on_a_slider_redraws_the_bars_and_their_words(sampling):
    picture = sampling.output.locator("img")
    before, words = picture.get_attribute("src"), picture.get_attribute("alt")
    assert "what follows “Ada has a”" in words
    press(sampling, "top p", "ArrowRight")
    readout = sampling.output.locator(".widget-slider", has_text="top p")
    sync_api.expect(readout).to_contain_text("0.91")
    press(sampling, "temperature", "Home")
    sync_api.expect(picture).not_to_have_attribute("src", before)
    picture = sampling.output.locator('img[alt*="1 token may be drawn"]')
    sync_api.expect(picture).to_be_visible()
    press(sampling, "temperature", *["ArrowRight"] * 20)
    sync_api.expect(picture).to_have_count(0)


def test_the_button_is_pressed_with_the_keyboard_and_writes_three_texts(sampling):
    sampling.output.get_by_role("button", name="Write").focus()
    sampling.page.keyboard.press("Enter")
    sync_api.expect(sampling.output.locator("li")).to_have_count(3)
    sampling.says("seed 1")
    assert all(
        text.startswith("Ada has a")
        for text in sampling.output.locator("li").all_text_contents()
    )


def test_an_own_prompt_counts_after_enter_and_an_empty_one_is_refused_in_place(
    sampling,
):
    line = sampling.output.locator("input[type=text]").first
    line.fill("Nora likes")
    line.press("Enter")
    picture = sampling.output.locator('img[alt*="what follows “Nora likes”"]')
    sync_api.expect(picture).to_be_visible()
    line.fill("")
    line.press("Enter")
    sampling.says("The prompt is empty: write at least one word.")
    sampling.output.locator("select").nth(1).select_option("Nora lives in")
    picture = sampling.output.locator('img[alt*="what follows “Nora lives in”"]')
    sync_api.expect(picture).to_be_visible()


def test_a_filter_that_is_not_written_yet_is_told_in_one_sentence(sampling):
    press(sampling, "min p", "ArrowRight")
    sampling.says("min_p is not written yet.")
    press(sampling, "min p", "Home")
    sync_api.expect(sampling.output.get_by_text("min_p is not")).to_have_count(0)


# ---- the calculator


def test_a_key_on_a_slider_changes_the_table_and_a_preset_all_of_it(calculator):
    calculator.says("3,750 GPU-days")
    press(calculator, "MFU", *["ArrowRight"] * 2)
    calculator.says("3,000 GPU-days")  # a half instead of 0.4
    calculator.output.locator("select").first.select_option("GPT-3")
    calculator.says("Brown et al. 2020")
    picture = calculator.output.locator('img[alt*="this model has 175 billion"]')
    sync_api.expect(picture).to_be_visible()


def test_a_shape_that_cannot_be_is_refused_in_place(calculator):
    layers = calculator.output.locator("input[type=number]").first
    layers.fill("0")
    layers.press("Enter")
    calculator.says("layers is at least 1, not 0.")
    layers.fill("96")
    layers.press("Enter")
    calculator.says("GPU-days")


# ---- labelling


def test_places_are_chosen_with_keys_and_the_annotators_ranking_comes_after_yours(
    ranking,
):
    judge = ranking.output.get_by_text("The simulated annotator:")
    rank(ranking, 1, 2)
    ranking.says("Until you have ranked all of them")
    sync_api.expect(judge).to_have_count(0)
    rank(ranking, 1, 2, 3)
    ranking.says("You: A > B > C: A over B (they disagree), A over C, B over C")
    sync_api.expect(judge).to_have_text(
        "The simulated annotator: B > A > C: B over A, B over C, A over C"
    )
    ranking.says("Of 3 pairs that both decide, 2 are alike.")


def test_another_place_changes_the_ranking_and_its_pairs(ranking):
    rank(ranking, 1, 2, 3)
    ranking.says("You: A > B > C:")
    choose(ranking, "place of A", 2)
    ranking.says("You: A = B > C: A over C, B over C")
    choose(ranking, "place of B", 1)
    ranking.says("You: B > A > C: B over A, B over C, A over C")
    ranking.says("Of 3 pairs that both decide, 3 are alike.")


def test_labels_are_kept_when_one_turns_to_another_question_and_for_later_cells(
    ranking, notebook
):
    rank(ranking, 3, 2, 1)
    ranking.says("You: C > B > A:")
    choose(ranking, "question", 1)
    ranking.says("1 of 2 questions are ranked by you")
    sync_api.expect(ranking.output.get_by_label("place of C")).to_be_disabled()
    sync_api.expect(ranking.output.get_by_label("place of A")).to_have_value(
        "not ranked"
    )
    choose(ranking, "question", 0)
    ranking.says("You: C > B > A:")
    for name, place in zip("ABC", "321", strict=True):
        kept = ranking.output.get_by_label(f"place of {name}")
        sync_api.expect(kept).to_have_value(place)
    later = notebook.cell("labels.yours")
    later.run()
    later.says("[True, False]")
    later.says("What is Ada's pet? Of course! Ada has a fish. over Fish.")
    later.says("Has Ben a cat? Yes. over No.")  # the annotator's, who stands in


def test_an_answer_with_tags_is_shown_as_it_was_said(ranking):
    said = ranking.output.get_by_role("cell", name="Go <b>away</b>.")
    sync_api.expect(said).to_be_visible()
