"""The line that tells how far a run is: in a notebook, a terminal and a file, and nowhere else."""

from types import SimpleNamespace

import pytest

from course_lib import ticker
from course_lib.batches import rows_of
from course_lib.ticker import ProgressLine
from course_lib.training import next_token_loss, train
from tests.tiny import TEXT, Pairs

ROWS = rows_of(TEXT, 3, 8)


def test_nothing_is_printed_where_nobody_looks(capfd):
    train(Pairs(), ROWS, next_token_loss, 3)
    train(Pairs(), ROWS, next_token_loss, 3, progress=False)
    assert capfd.readouterr() == ("", "")


def test_the_words_are_asked_for_only_when_something_is_written(capfd, monkeypatch):
    asked = []

    def words():
        asked.append(1)
        return "half way"

    monkeypatch.setattr(ticker.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(ticker.time, "perf_counter", lambda: 1000.0)  # time stands
    for wanted, writes in ((False, 0), (True, 2)):
        line = ProgressLine(words, wanted)
        for _ in range(5):
            line.show()
        line.close()
        assert len(asked) == writes  # the first and the last
    assert capfd.readouterr().err == "\rhalf way\x1b[K" * 2 + "\n"


def test_progress_into_a_file_is_one_line_at_the_end(capfd):
    train(Pairs(), ROWS, next_token_loss, 3, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("step 3/3  loss ")


def test_a_terminals_line_overwrites_itself(capfd, monkeypatch):
    monkeypatch.setattr(ticker.sys.stderr, "isatty", lambda: True)
    train(Pairs(), ROWS, next_token_loss, 3)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.rstrip().split("\r")[-1].startswith("step 3/3")


NOTEBOOK = """
import torch
from course_lib.batches import rows_of
from course_lib.training import next_token_loss, train
model = torch.nn.Sequential(torch.nn.Embedding(5, 5))
def slow(model, ids):
    import time; time.sleep(0.1)
    return next_token_loss(model, ids)
history = train(model, rows_of(torch.arange(40) % 5, 2, 8), slow, 8)
"""


@pytest.mark.slow  # a kernel of its own; the next test is its quick half
def test_a_saved_notebook_holds_the_last_words_and_nothing_else():
    import nbformat
    from nbclient import NotebookClient

    cell = nbformat.v4.new_code_cell(NOTEBOOK)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=60).execute()
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    assert output.data["text/plain"].startswith("step 8/8  loss ")


def test_in_a_notebook_one_output_is_made_and_then_updated(monkeypatch, capfd):
    import IPython.display

    made, updates = [], []

    class Handle:
        def update(self, text, raw):
            updates.append(text["text/plain"])

    def display(text, raw, display_id):
        made.append(text["text/plain"])
        return Handle()

    kernel = SimpleNamespace(kernel="running")
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(ticker.time, "perf_counter", lambda: 1000.0)  # time stands
    train(Pairs(), ROWS, next_token_loss, 3)
    assert len(made) == len(updates) == 1  # the first words and the last
    assert made[0].startswith("step 1/3  loss ")
    assert updates[0].startswith("step 3/3  loss ")
    train(Pairs(), ROWS, next_token_loss, 3, progress=False)
    assert len(made) == 1
    assert capfd.readouterr() == ("", "")
