"""The runs behind the law of scale: what was read, that runs go on, what they show."""

import doctest
import math
from dataclasses import asdict, replace

import pytest
import torch

from course_lib.scaling import experiment
from course_lib.scaling.experiment import (
    RECIPE,
    STRETCHES,
    Recipe,
    all_right,
    beginning,
    chapters,
    digest,
    measure,
    plain,
    points,
    read_once,
    run,
    shipped,
    texts,
    windows,
)
from course_lib.scaling.fitting import bootstrap, fit, interval
from course_lib.scaling.laws import chinchilla_loss
from course_lib.training import mean_loss, next_token_loss
from tests.tiny import Pairs, V
from tools import grid
from tools.grid import Task, missing, tasks, work

TINY = Recipe(length=16, batch=1, layers=1, heads=2)
ROWS = shipped()
GRID = [row for row in ROWS if row.role == "grid"]
AGAIN = [row for row in ROWS if row.role == "seed"]
LARGE, LARGE_AGAIN = (row for row in ROWS if row.role == "held_out")


def result(row):
    """All that a row says but how long it took and what it was for."""
    return {**asdict(row), "seconds": 0, "role": ""}


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(experiment).failed == 0


# ---- the text


def test_the_text_is_the_king_james_bible_from_its_first_verse_to_its_last():
    book = chapters()
    assert len(book) == 1189
    assert book[0].startswith("In the beginning God created the heaven and the earth.")
    assert "darkness was upon the face of the deep" in book[0]  # not [was]
    assert book[-1].endswith(
        "The grace of our Lord Jesus Christ be with you all. Amen."
    )
    psalms = [c for c in book if c.startswith("Praise ye the LORD.")]
    assert len(psalms) >= 8
    assert max(book, key=len).startswith("Blessed are the undefiled in the way")
    assert min(book, key=len).startswith("O praise the LORD, all ye nations")


def test_every_character_is_ascii_on_one_line_without_brackets():
    for chapter in chapters():
        assert chapter.isascii()
        assert not set(chapter) & set("[]\n")
        assert "  " not in chapter
    assert plain("Cæsar’s — [own]") == "Caesar's - own"


def test_each_chapter_is_either_read_or_held_out():
    book = chapters()
    read, held = (bytes(text.tolist()).decode().split("\n") for text in texts())
    assert held == book[19::20]
    assert sorted(read + held) == sorted(book)
    assert not set(read) & set(held)


def test_hardly_a_long_phrase_of_the_held_out_text_was_read():
    """Books quote one another, and names of kings recur; copies would be many more."""
    read, held = (bytes(text.tolist()).decode() for text in texts())
    phrases = [held[i : i + 60] for i in range(0, len(held) - 60, 60)]
    assert sum(phrase in read for phrase in phrases) < 0.02 * len(phrases)


def test_rows_predict_every_token_once_and_none_is_read_twice():
    ids = torch.arange(1000)
    rows = windows(ids, 16)
    assert rows[:, 1:].flatten().tolist() == list(range(1, 993))
    batches = read_once(ids, batch=3, length=16, seed=5)
    seen = torch.cat([batches(step) for step in range(21)])  # 62 rows
    assert sorted(seen[:, 0].tolist()) == rows[:, 0].tolist()
    other = read_once(ids, batch=3, length=16, seed=6)
    assert not torch.equal(batches(0), other(0))


def test_a_short_run_reads_the_beginning_of_what_a_long_one_reads():
    batches = read_once(texts()[0], RECIPE.batch, RECIPE.length)
    again = read_once(texts()[0], RECIPE.batch, RECIPE.length)
    assert torch.equal(batches(7), again(7))
    last = batches(RECIPE.steps(len(texts()[0]) - 1) - 1)
    assert last.shape == (RECIPE.batch, RECIPE.length + 1)  # a whole batch


@pytest.mark.parametrize("tokens", [0, 31, 4_000_000])
def test_a_budget_that_the_text_cannot_serve_is_refused_in_a_sentence(tokens):
    with pytest.raises(ValueError, match="reads nothing twice"):
        run(8, tokens, recipe=TINY)


# ---- what is measured


def test_the_measured_loss_is_the_mean_over_the_same_rows_by_the_training_loop():
    ids = torch.randint(V, (403,))
    model = Pairs()
    rows = windows(ids, 20)
    loss, right = measure(model, ids, 20)
    expected = mean_loss(model, lambda step: rows[step][None], next_token_loss, 20)
    assert loss == pytest.approx(expected, rel=1e-5)
    guesses = model(rows[3:4, :-1]).argmax(-1)[0]
    assert right[3].tolist() == (guesses == rows[3, 1:]).tolist()


def test_a_stretch_counts_only_if_all_of_it_is_right():
    right = torch.rand(30, 16) < 0.8
    for k in STRETCHES:
        stretches = [row[i : i + k] for row in right.tolist() for i in range(0, 16, k)]
        expected = sum(all(stretch) for stretch in stretches) / len(stretches)
        assert all_right(right, k) == pytest.approx(expected)


def test_first_weights_of_all_widths_speak_equally_loud():
    """The scores of a tied model have about sqrt(D) times the weights' std."""
    for width in (16, 64, 256):
        model = beginning(width, seed=1)
        spread = model.embed.weight.std().item() * math.sqrt(width)
        assert spread == pytest.approx(0.02 * math.sqrt(768), rel=0.05)
        assert model.norm.weight.eq(1).all()


def test_the_rate_rises_for_a_tenth_of_the_run_and_falls_to_its_end():
    rates = [RECIPE.schedule(step, 100, 1.0) for step in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 90)


# ---- runs


def test_a_run_can_be_repeated_and_depends_on_its_seed():
    one, same, other = (run(8, 320, seed, recipe=TINY) for seed in (0, 0, 1))
    assert result(one) == result(same)
    assert one.loss != other.loss
    assert (one.steps, one.tokens, one.hidden) == (20, 320, 21)
    assert one.loss < math.log(128)
    assert one.right_1 >= one.right_2 >= one.right_4 >= one.right_8 >= one.right_16


def test_a_run_stopped_in_the_middle_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    tokens, path = 16 * 600, tmp_path / "half.pt"
    whole = run(8, tokens, recipe=TINY)

    def breaks_off(*settings):
        batches = read_once(*settings)

        def rows(step):
            if step == 550:
                raise KeyboardInterrupt
            return batches(step)

        return rows

    monkeypatch.setattr(experiment, "read_once", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        run(8, tokens, recipe=TINY, checkpoint=path)
    monkeypatch.undo()
    assert path.exists()
    asked = []
    monkeypatch.setattr(experiment, "read_once", lambda *a: counting(asked, *a))
    assert result(run(8, tokens, recipe=TINY, checkpoint=path)) == result(whole)
    assert min(asked[1:]) == 500  # the first question is for the checkpoint's settings


def counting(asked, *settings):
    batches = read_once(*settings)
    return lambda step: asked.append(step) or batches(step)


def test_the_mark_changes_with_the_recipe_and_with_the_held_out_chapters():
    marks = {digest(), digest(replace(RECIPE, rate=0.2)), digest(Recipe(held_out=21))}
    assert len(marks) == 3
    assert digest(Recipe()) == digest()


# ---- the tool


@pytest.fixture
def quick_run(monkeypatch):
    """The tool with runs that only write down that they were asked for."""
    asked = []

    def row(width, tokens, seed, role, checkpoint):
        asked.append((width, tokens))
        checkpoint.write_text("half done")
        if len(asked) == 2:
            raise KeyboardInterrupt
        return replace(
            ROWS[0], width=width, seed=seed, role=role, steps=RECIPE.steps(tokens)
        )

    monkeypatch.setattr(grid, "run", row)
    return asked


def test_the_tool_goes_on_with_what_is_missing(quick_run, tmp_path):
    wanted = [Task("grid", width, 2**18) for width in (16, 24, 32)]
    table = tmp_path / "grid.csv"
    with pytest.raises(KeyboardInterrupt):
        work(wanted, table, tmp_path / "shop")
    assert [row.width for row in shipped(table)] == [16]  # written when it was known
    work(wanted, table, tmp_path / "shop")
    assert [width for width, _ in quick_run] == [16, 24, 24, 32]
    assert [row.width for row in shipped(table)] == [16, 24, 32]
    assert not list((tmp_path / "shop").iterdir())  # nothing half done is left
    work(wanted, table, tmp_path / "shop")
    assert len(quick_run) == 4


def test_rows_of_another_recipe_are_made_again(quick_run, tmp_path):
    table = tmp_path / "grid.csv"
    grid.write([replace(ROWS[0], digest="older")], table)
    work([Task("grid", 16, 2**18)], table, tmp_path / "shop")
    assert [row.digest for row in shipped(table)] == [digest()]
    assert len(quick_run) == 1


def test_a_table_reads_as_it_was_written(tmp_path):
    grid.write(ROWS, tmp_path / "grid.csv")
    assert shipped(tmp_path / "grid.csv") == ROWS
    assert shipped(tmp_path / "none.csv") == []


# ---- what was found


def test_the_table_holds_every_run_of_todays_recipe_and_no_other():
    assert missing(ROWS, tasks(), digest()) == []
    assert len(ROWS) == len(tasks())
    assert len(GRID) == 24
    for row in ROWS:
        model = beginning(row.width, row.seed)
        assert row.parameters == model.parameter_count
        assert row.tokens == row.steps * RECIPE.batch * RECIPE.length
        assert row.lr == pytest.approx(RECIPE.lr(row.width))
        assert 0 < row.loss < math.log(128)


def at(rows, width, tokens):
    return next((r.loss for r in rows if (r.width, r.tokens) == (width, tokens)), None)


def predicted(law, row=LARGE):
    return chinchilla_loss(row.parameters, row.tokens, law)


def test_every_doubling_of_tokens_and_every_wider_model_lowers_the_loss():
    for row in GRID:
        longer = at(GRID, row.width, 2 * row.tokens)
        wider = [r.loss for r in GRID if r.tokens == row.tokens and r.width > row.width]
        assert longer is None or longer < row.loss - 0.04
        assert max(wider, default=0) < row.loss


def test_two_seeds_agree_but_for_the_narrowest_model():
    for row in AGAIN:
        difference = abs(row.loss - at(GRID, row.width, row.tokens))
        assert difference < (0.1 if row.width == 16 else 0.05)


def test_the_large_run_is_larger_than_the_grid_in_everything():
    assert LARGE.parameters > 2 * max(row.parameters for row in GRID)
    assert LARGE.tokens > 1.8 * max(row.tokens for row in GRID)
    compute = max(row.parameters * row.tokens for row in GRID)
    assert LARGE.parameters * LARGE.tokens > 5 * compute
    assert LARGE.loss < min(row.loss for row in GRID)


def test_the_fitted_law_has_sane_constants_and_leaves_little_unexplained():
    N, D, losses = points(GRID)
    law = fit(N, D, losses)
    assert 0.5 < law.E < 1  # nats per letter; no run came below 1.05
    assert 0.3 < law.alpha < 0.8
    assert 0.25 < law.beta < 0.5
    expected = torch.tensor([predicted(law, row) for row in GRID])
    left = (losses - expected).square().sum() / (losses - losses.mean()).square().sum()
    assert left < 0.015


def test_the_law_predicts_the_large_runs_and_without_a_floor_it_does_not():
    """A run scatters about the law, so each refit also draws one of the residuals."""
    runs = points(GRID)
    law, floorless = fit(*runs), fit(*runs, floor=False)
    misses = [math.log(row.loss / predicted(law, row)) for row in GRID]
    draw = torch.Generator().manual_seed(0)
    laws = bootstrap(*runs, draws=100, generator=draw)
    chosen = torch.randint(len(misses), (100,), generator=draw).tolist()
    losses = [
        predicted(one) * math.exp(misses[i])
        for one, i in zip(laws, chosen, strict=True)
    ]
    low, high = interval(losses, coverage=0.9)
    truths = [LARGE.loss, LARGE_AGAIN.loss]
    assert low < min(truths) < max(truths) < high < low + 0.1
    assert abs(predicted(law) - sum(truths) / 2) < 0.02
    assert predicted(floorless) < min(truths) - 0.03  # it promises too much


def test_at_equal_compute_the_middle_size_is_best():
    """N D is equal to 15 % along each row: too small a model, and too few tokens."""
    tokens = [2**21, 2**20, 2**19, 2**18]
    for first in (0, 1):
        losses = [
            at(GRID, w, t)
            for w, t in zip((16, 24, 32), tokens[first : first + 3], strict=True)
        ]
        assert losses[1] < min(losses[0], losses[2]) - 0.03


def test_long_stretches_seem_to_emerge_where_single_letters_grow_steadily():
    small, large = at_row(16, 2**18), at_row(96, 2**21)
    assert large.right_1 < 1.5 * small.right_1
    assert large.right_8 > 7 * small.right_8
    assert small.right_16 == 0 < large.right_16 < LARGE.right_16


def at_row(width, tokens):
    return next(r for r in GRID if (r.width, r.tokens) == (width, tokens))
