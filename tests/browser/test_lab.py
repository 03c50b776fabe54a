"""Lesson 00 as a learner meets it: in JupyterLab, in a real browser, without a network.

A server on a free loopback port shows three copies of the lesson: the solution without outputs, the solution
as it is committed, and the student's notebook. Left out: other browsers, Colab, VS Code.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

sync_api = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).resolve().parents[2]
NAME = "00_start_here"
SOLUTION = ROOT / "solutions" / NAME / f"{NAME}.ipynb"
FRESH, SAVED, STUDENT = (
    "fresh.ipynb",
    "saved.ipynb",
    f"{NAME}.ipynb",
)  # desk.check_mine knows the last by its name
COPIES = {
    FRESH: SOLUTION,
    SAVED: SOLUTION,
    STUDENT: ROOT / "notebooks" / NAME / f"{NAME}.ipynb",
}
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
]
SETTINGS = {  # JupyterLab's own: no question about news, no save that the test did not ask for
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
pytestmark = pytest.mark.skipif(  # tests/conftest.py makes a failure of it in CI
    not CHROMIUM,
    reason="no Chromium here; install one, or name it in the variable CHROMIUM",
)


# --- a server, a browser, an open notebook ----------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """The address of a JupyterLab whose files and settings are all in a temporary folder."""
    folder = tmp_path_factory.mktemp("lab")
    for copy, source in COPIES.items():
        notebook = nbformat.read(source, 4)
        for cell in notebook.cells:
            if copy == FRESH and cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / copy)
    for plugin, settings in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with _server(folder, port) as address:
        yield address


@contextlib.contextmanager
def _server(folder: Path, port: int) -> Iterator[str]:
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = {
        **os.environ,
        **{name: str(folder / place) for name, place in own.items()},
    }
    environment["COURSE_PROFILE"] = "quick"
    options = [
        "--allow-root",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=t",
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp, to wait for a kernel that is ready
        "--LabApp.extension_manager=readonly",  # asks no package index
    ]
    log = folder / "server.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/status?token=t", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=2).close()
            return
        assert server.poll() is None, log.read_text()
        time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not answer in a minute:\n{log.read_text()}")


class Browser:
    """A page with JupyterLab in it, and what went wrong there: requests to elsewhere, errors on the console."""

    def __init__(self, page, address: str):
        self.page, self.address = page, address
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.context.route("**/*", self._local_only)
        page.on(
            "websocket",
            lambda socket: self._note(socket.url.replace("ws://", "http://")),
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda m: self.errors.append(m.text) if m.type == "error" else None,
        )
        page.goto(f"{address}/lab?token=t&reset")
        page.wait_for_function("() => window.jupyterapp?.shell")
        page.evaluate("() => jupyterapp.restored")

    def _note(self, url: str) -> bool:
        local = url.startswith((self.address, "data:", "blob:"))
        if not local:
            self.outside.append(url)
        return local

    def _local_only(self, route) -> None:
        route.continue_() if self._note(route.request.url) else route.abort()

    def open(self, name: str) -> "Notebook":
        """Open a notebook and wait for its kernel: cells that are run too early are lost without a word."""
        self.page.evaluate(
            """async path => {
                const panel = await jupyterapp.commands.execute('docmanager:open', {path});
                await panel.context.ready;
                await panel.revealed;
                await panel.sessionContext.ready;
                await panel.sessionContext.session.kernel.info;
            }""",
            name,
        )
        return Notebook(self.page)


class Notebook:
    """The notebook in front."""

    def __init__(self, page):
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def cells(self) -> list:
        """As they would be saved now."""
        text = self.page.evaluate(
            "() => JSON.stringify(jupyterapp.shell.currentWidget.content.model.toJSON())"
        )
        return nbformat.reads(text, 4).cells

    def run_all(self) -> None:
        self.page.evaluate(
            "() => jupyterapp.commands.execute('notebook:run-all-cells')"
        )

    def cell(self, words: str) -> "Cell":
        """The first code cell that holds these words."""
        found = (
            i
            for i, c in enumerate(self.cells())
            if c.cell_type == "code" and words in c.source
        )
        return self.at(next(found))

    def at(self, index: int) -> "Cell":
        return Cell(self.page, self.panel.locator(".jp-Cell").nth(index))


class Cell:
    """A code cell on the page."""

    def __init__(self, page, box):
        self.page, self.box = page, box
        self.output = box.locator(".jp-OutputArea-output")
        box.scroll_into_view_if_needed()

    def write(self, source: str) -> None:
        self.box.locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source)

    def run(self) -> None:
        prompt = self.box.locator(".jp-InputPrompt")
        before = prompt.text_content()
        self.box.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        sync_api.expect(prompt).not_to_have_text(before)
        sync_api.expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=90_000)

    def says(self, words: str) -> None:
        sync_api.expect(self.box.locator(".jp-OutputArea")).to_contain_text(words)


@pytest.fixture(scope="module")
def browser(lab) -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1366, "height": 900})
        page.set_default_timeout(60_000)
        sync_api.expect.set_options(timeout=30_000)  # milliseconds; cores may be shared
        yield Browser(page, lab)
        chromium.close()


@pytest.fixture(autouse=True)
def _nothing_from_outside_and_no_error_on_the_console(browser):
    yield
    outside, errors = browser.outside[:], browser.errors[:]
    browser.outside.clear()
    browser.errors.clear()
    assert not outside, "the page asked for something that is not on this computer"
    assert not errors


@pytest.fixture(scope="module")
def solution(browser) -> Notebook:
    """The solution, executed here from top to bottom."""
    notebook = browser.open(FRESH)
    notebook.run_all()
    return notebook


@pytest.fixture(scope="module")
def student(browser) -> Notebook:
    """The student's notebook, with its first cell executed."""
    notebook = browser.open(STUDENT)
    notebook.cell("runtime.start").run()
    return notebook


# --- the solution -----------------------------------------------------------------------------------


def test_run_all_numbers_every_cell_of_the_solution_without_an_error_or_a_warning(
    solution,
):
    for cell in solution.cells():
        if cell.cell_type == "code":
            assert cell.execution_count, f"never ran:\n{cell.source}"
            assert not [
                output for output in cell.outputs if output.output_type == "error"
            ], cell.source
            assert not [
                output for output in cell.outputs if output.get("name") == "stderr"
            ], cell.source


def test_an_arrow_key_on_the_slider_redraws_the_picture_and_its_words(solution):
    cell = solution.cell("controls.explore(")
    picture = cell.output.locator("img")
    before, words = picture.get_attribute("src"), picture.get_attribute("alt")
    cell.output.locator(".noUi-handle").focus()
    solution.page.keyboard.press("ArrowRight")
    sync_api.expect(cell.output.locator(".widget-readout")).to_have_text("1.1")
    sync_api.expect(picture).not_to_have_attribute("src", before)
    assert words.startswith("Bar chart at temperature 1.0")
    assert picture.get_attribute("alt").startswith("Bar chart at temperature 1.1")


def test_a_live_picture_is_not_stretched(solution):
    picture = solution.cell("controls.explore(").output.locator("img")
    assert picture.evaluate(
        "image => image.naturalWidth / image.width"
    ) == pytest.approx(1.5, abs=0.01)


def test_the_quiz_explains_right_and_wrong_answers_and_counts_the_first_try(solution):
    cell = solution.cell("quiz.quiz(")

    def choose(option: str) -> None:
        cell.output.get_by_role("button", name=option, exact=True).click()

    cell.says("0 of 6 answered")
    choose("(3,)")
    cell.says("Not quite. dim=1 is the one that disappears.")
    cell.says("1 of 6 answered, 0 right at the first try")
    choose("log a + log b")
    cell.says("Right. Products turn into sums.")
    cell.says("2 of 6 answered, 1 right at the first try")
    choose("(2,)")
    cell.says("Right. dim=1 is the one that disappears.")
    cell.says("2 of 6 answered, 1 right at the first try")


# --- the student's notebook -------------------------------------------------------------------------

NAIVE = """from torch import Tensor

def softmax(scores: Tensor) -> Tensor:
    exponentials = scores.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)"""
RIGHT = NAIVE.replace(
    "scores.exp()", "(scores - scores.amax(dim=-1, keepdim=True)).exp()"
)


def test_a_wrong_answer_is_told_in_a_few_red_lines_and_a_right_one_is_praised(student):
    exercise, check = (
        student.cell("def softmax("),
        student.cell("checks.start_here.softmax("),
    )
    exercise.write(NAIVE)
    exercise.run()
    check.run()
    check.says("Not yet. Scores of 1000 give nan")
    assert check.output.locator(".ansi-red-fg").text_content() == "Not yet."
    assert len(check.output.text_content().strip().splitlines()) <= 6
    assert "Traceback" not in check.output.text_content()
    exercise.write(RIGHT)
    exercise.run()
    check.run()
    check.says("softmax is right.")


def test_the_last_cell_asks_to_save_first_and_then_checks_the_saved_copy(student):
    student.cell("def softmax(").write(RIGHT + "  # mine")
    student.cell("def softmax(").run()
    last = student.cell("desk.check_mine(")
    last.run()
    last.says("Save with Ctrl+S")
    assert "Checking" not in last.output.text_content()
    student.page.keyboard.press("Control+S")
    student.page.wait_for_function(
        "() => !jupyterapp.shell.currentWidget.context.model.dirty"
    )
    last.run()
    last.says("softmax                      3 of 3")
    last.says("Not ready to hand in:")


# --- what is saved ----------------------------------------------------------------------------------


def test_a_saved_solution_shows_still_pictures_and_folded_answers_where_widgets_were(
    browser,
):
    notebook = browser.open(SAVED)
    picture = notebook.cell("controls.explore(").output.locator("img")
    assert picture.get_attribute("alt").startswith("Bar chart at temperature 1.0")
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 0
    assert notebook.cell("quiz.quiz(").output.locator("details").count() == 6
    text = notebook.panel.text_content()
    assert "Error displaying widget" not in text
    assert "Loading widget" not in text
    assert not notebook.panel.locator(".noUi-handle").count()


def test_every_picture_says_what_it_shows_in_lab_and_in_a_page_made_by_nbconvert(
    browser,
):
    from nbconvert import HTMLExporter

    notebook = browser.open(SAVED)
    drawn = [
        i
        for i, cell in enumerate(notebook.cells())
        if "image/png" in str(cell.get("outputs", ""))
    ]
    in_lab = [notebook.at(i).output.locator("img").get_attribute("alt") for i in drawn]
    page, _ = HTMLExporter().from_filename(SOLUTION)
    in_page = re.findall(r'<img alt="([^"]*)"', page)
    assert len(in_lab) == len(in_page) == len(re.findall("<img ", page)) > 5
    assert all(
        len(words) > 20 and not words.startswith("No description")
        for words in in_lab + in_page
    )


# --- what lies on disk ------------------------------------------------------------------------------


def test_the_server_saves_a_widget_as_its_still_picture(lab):
    live = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
        "text/html": "<img>",
    }
    output = nbformat.v4.new_output("display_data", data=live)
    cell = nbformat.v4.new_code_cell("explore", outputs=[output])
    body = {"type": "notebook", "content": nbformat.v4.new_notebook(cells=[cell])}
    address = f"{lab}/api/contents/still.ipynb?token=t"
    request = urllib.request.Request(address, json.dumps(body).encode(), method="PUT")
    with urllib.request.urlopen(request):
        pass
    with urllib.request.urlopen(address) as answer:
        saved = json.load(answer)["content"]
    assert saved["cells"][0]["outputs"][0]["data"] == {"text/html": "<img>"}
