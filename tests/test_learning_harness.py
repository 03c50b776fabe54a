"""The harness of the proofs of learning: it must be able to say no."""

import json
import re
from pathlib import Path

import pytest
import torch

from course_lib import runtime
from tests.learning.harness import (
    CURVES,
    Run,
    at_least,
    at_most,
    exactly,
    is_recorded,
    over_seeds,
    record,
)

LESSONS = {
    file.stem
    for file in Path(__file__).resolve().parents[1].joinpath("lessons").glob("*.py")
}


def three(*figures):
    """Runs of seeds 1, 2, ... that ended with these figures."""
    return [
        Run(seed, {"loss": [1.0, 0.5]}, {"score": x})
        for seed, x in enumerate(figures, 1)
    ]


def draws(seed):
    curve = torch.rand(2).tolist()
    return {"loss": curve}, {"seed given": float(seed), "last": curve[-1]}


def test_every_seed_is_trained_from_its_own_generator_whatever_ran_before():
    forward, backward = over_seeds(draws, [1, 2, 3]), over_seeds(draws, [3, 2, 1])
    assert forward == backward[::-1]
    assert (
        [run.seed for run in forward]
        == [run.figures["seed given"] for run in forward]
        == [1, 2, 3]
    )
    torch.manual_seed(2)
    assert forward[1].curves["loss"] == torch.rand(2).tolist()


def test_the_worst_seed_decides_and_every_figure_and_the_reserve_are_printed(capsys):
    at_least(three(0.9, 1.0, 0.75), "score", 0.5)
    assert capsys.readouterr().out == (
        "score ≥ 0.5 at every seed (seed 1: 0.9, seed 2: 1, seed 3: 0.75); reserve 0.25\n"
    )
    with pytest.raises(
        AssertionError, match=r"not true: score ≥ 0.8 .* seed 3: 0.75\); reserve -0.05"
    ):
        at_least(three(0.9, 1.0, 0.75), "score", 0.8)


def test_at_most_is_at_least_turned_round(capsys):
    at_most(three(3, 5, 4), "score", 7)
    assert "score ≤ 7 at every seed" in (said := capsys.readouterr().out)
    assert said.endswith("reserve 2\n")
    with pytest.raises(AssertionError, match="reserve -1"):
        at_most(three(3, 5, 4), "score", 4)


def test_a_figure_on_the_threshold_holds_with_reserve_zero(capsys):
    at_least(three(0.5, 0.5), "score", 0.5)
    at_most(three(0.5, 0.5), "score", 0.5)
    assert capsys.readouterr().out.count("reserve 0\n") == 2


def test_two_of_three_seeds_suffice_only_where_that_is_what_is_claimed(capsys):
    at_least(three(9, 0, 6), "score", 5, seeds=2)
    assert "score ≥ 5 at 2 of 3 seeds or more" in (said := capsys.readouterr().out)
    assert said.endswith("reserve 1\n")  # of the seeds that count, 6 is the worst
    with pytest.raises(AssertionError, match="reserve -1"):
        at_least(three(9, 0, 4), "score", 5, seeds=2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_clears_no_threshold_wherever_it_stands(place):
    figures = [1.0, 1.0, 1.0]
    figures[place] = float("nan")
    for claim in (
        lambda runs: at_least(runs, "score", -9),
        lambda runs: at_most(runs, "score", 9),
    ):
        with pytest.raises(AssertionError, match="reserve -inf"):
            claim(three(*figures))
    at_least(three(*figures), "score", 0, seeds=2)


def test_no_seeds_prove_nothing():
    with pytest.raises(AssertionError, match="0 seeds wanted of 0 runs"):
        at_least([], "score", 0)
    with pytest.raises(AssertionError, match="4 seeds wanted of 3 runs"):
        at_least(three(1, 1, 1), "score", 0, seeds=4)


def test_exactly_forgives_no_rounding(capsys):
    exactly(three(0.5, 0.5), "score", 0.5)
    assert (
        "score = 0.5 at every seed (seed 1: 0.5, seed 2: 0.5)"
        in capsys.readouterr().out
    )
    with pytest.raises(AssertionError, match=r"not true: score = 0\.5"):
        exactly(three(0.5, 0.5000001), "score", 0.5)


# ---- recordings


@pytest.mark.parametrize("value", [None, "", "0"])
def test_nothing_is_written_unless_asked_for(tmp_path, monkeypatch, value):
    monkeypatch.delenv("RECORD", raising=False)
    if value is not None:
        monkeypatch.setenv("RECORD", value)
    assert not record("99_none", three(1), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def recording(monkeypatch):
    monkeypatch.setenv("RECORD", "1")


def test_a_recording_holds_seeds_and_curves_to_four_digits(tmp_path, recording):
    runs = [
        Run(1, {"loss": [1.23456, 0.00123456]}, {}),
        Run(2, {"loss": [2.0, 1e-9]}, {}),
    ]
    assert record("99_none", runs, tmp_path)
    assert json.loads((tmp_path / "99_none.json").read_text()) == {
        "made_by": "tests/learning/test_99_none.py, `make learning RECORD=1`",
        "seeds": [1, 2],
        "curves": {"loss": [[1.235, 0.001235], [2.0, 1e-9]]},
    }
    assert "   [1.235, 0.001235],\n" in (tmp_path / "99_none.json").read_text()


@pytest.mark.parametrize(
    ("runs", "error", "says"),
    [
        (
            [Run(0, {"loss": [1.0]}, {})],
            AssertionError,
            "seed 0 is the learner's own run",
        ),
        (
            [Run(1, {"loss": [1.0]}, {}), Run(2, {"loss": [1.0, 2.0]}, {})],
            AssertionError,
            r"curves of one length: loss has \[1, 2\]",
        ),
        ([Run(1, {"loss": [float("nan")]}, {})], ValueError, "not JSON compliant"),
    ],
)
def test_what_a_notebook_could_not_draw_is_not_recorded(
    tmp_path, recording, runs, error, says
):
    with pytest.raises(error, match=says):
        record("99_none", runs, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ([Run(1, {"loss": [1.0, 0.6]}, {})], "off by 0.1 in loss at seed 1"),
        ([Run(1, {"loss": [1.0]}, {})], "has 2 steps of loss"),
        ([Run(2, {"loss": [1.0, 0.5]}, {})], r"has seeds \[1\]"),
    ],
)
def test_a_recording_that_the_code_no_longer_gives_is_noticed(
    tmp_path, recording, now, says
):
    record("99_none", three(1), tmp_path)
    is_recorded("99_none", three(1), 0.01, tmp_path)
    with pytest.raises(AssertionError, match=f"make learning RECORD=1.*{says}"):
        is_recorded("99_none", now, 0.01, tmp_path)


@pytest.mark.parametrize(
    "file", sorted(CURVES.glob("*.json")), ids=lambda file: file.stem
)
def test_every_recording_belongs_to_a_lesson_and_names_the_test_that_made_it(file):
    recording = json.loads(file.read_text())
    assert file.stem in LESSONS
    made_by = re.match(r"tests/learning/test_\w+\.py", recording["made_by"])[0]
    assert Path(__file__).resolve().parents[1].joinpath(made_by).exists()
    assert len(recording["seeds"]) >= 3
    curves = runtime.recorded(file.stem)
    assert curves
    assert all(len(curve) == len(recording["seeds"]) for curve in curves.values())
