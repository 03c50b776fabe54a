"""A run that was interrupted goes on as if it had not been, and no other file is taken for its own."""

import os

import pytest
import torch
from torch import nn

from course_lib.batches import rows_of
from course_lib.descent import adamw
from course_lib.training import next_token_loss, train
from tests.tiny import TEXT, Pairs, V, same_bits, transformer, weights

ROWS = rows_of(TEXT, 3, 8, seed=8)
TRACES = ("losses", "rates", "norms", "tokens", "evaluations")  # all but the clock


class Stop(Exception):
    """An interruption of the test's own."""


def interrupted_after(step, loss_fn=next_token_loss, error=Stop):
    """A loss function that raises in the middle of a step."""
    calls = []

    def loss(model, *tensors):
        calls.append(1)
        if len(calls) > step:
            raise error
        return loss_fn(model, *tensors)

    return loss


def noisy(model):
    """An evaluation that uses up random numbers."""
    return {"noise": float(torch.rand(()))}


RUN = {"steps": 9, "lr": 0.02, "evaluate": noisy, "evaluate_every": 2}


def traces(history):
    return {name: getattr(history, name) for name in TRACES}


@pytest.fixture(scope="module")
def uninterrupted():
    model = Pairs(dropout=0.3)
    torch.manual_seed(5)
    history = train(model, ROWS, next_token_loss, **RUN)
    return weights(model), traces(history)


@pytest.mark.parametrize("stop", range(10))
@pytest.mark.parametrize("save_every", [1, 3])
def test_an_interrupted_run_ends_bit_equal_to_an_uninterrupted_one(
    tmp_path, uninterrupted, stop, save_every
):
    run = RUN | {"checkpoint": tmp_path / "run.pt", "save_every": save_every}
    torch.manual_seed(5)
    if stop < 9:
        first = Pairs(dropout=0.3)
        torch.manual_seed(5)
        with pytest.raises(Stop):
            train(first, ROWS, interrupted_after(stop), **run)
    model = Pairs(seed=77, dropout=0.3)  # another start: the file decides
    if stop < save_every or stop == 9:  # nothing was saved, so begin again
        model = Pairs(dropout=0.3)
        torch.manual_seed(5)
    history = train(model, ROWS, next_token_loss, **run)
    assert same_bits(weights(model), uninterrupted[0])
    assert traces(history) == uninterrupted[1]


def test_dropout_makes_that_test_depend_on_the_saved_random_state(
    tmp_path, monkeypatch
):
    ends = []
    for forget in (False, True):
        path = tmp_path / f"{forget}.pt"
        torch.manual_seed(5)
        with pytest.raises(Stop):
            train(Pairs(dropout=0.3), ROWS, interrupted_after(4), **RUN, checkpoint=path, save_every=2)  # fmt: skip
        if forget:
            monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
        model = Pairs(dropout=0.3, seed=1)
        train(model, ROWS, next_token_loss, **RUN, checkpoint=path)
        ends.append(weights(model))
    assert not same_bits(*ends)


def test_the_courses_transformer_goes_on_bit_equal_after_an_interruption(tmp_path):
    run = {"steps": 6, "lr": 0.02, "save_every": 2}
    whole, first, rest = transformer(), transformer(), transformer(seed=1)
    history = train(whole, ROWS, next_token_loss, **run)
    with pytest.raises(Stop):
        train(first, ROWS, interrupted_after(5), **run, checkpoint=tmp_path / "run.pt")
    again = train(rest, ROWS, next_token_loss, **run, checkpoint=tmp_path / "run.pt")
    assert same_bits(weights(whole), weights(rest))
    assert traces(history) == traces(again)


def test_a_finished_run_is_read_back_and_not_trained_again(tmp_path):
    path = tmp_path / "deep" / "run.pt"
    first = Pairs()
    history = train(first, ROWS, next_token_loss, 4, checkpoint=path)
    again = Pairs(seed=1)
    assert train(again, ROWS, interrupted_after(0), 4, checkpoint=path) == history
    assert same_bits(weights(first), weights(again))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("steps, learning rates", {"steps": 5}),
        ("learning rates", {"lr": 0.5}),
        ("clip", {"clip": 2.0}),
        ("first batch", {"batches": rows_of(TEXT, 3, 8, seed=9)}),
        ("first batch", {"batches": rows_of(TEXT, 3, 8, seed=8, kept=TEXT > 0)}),
        ("model", {"model": nn.Sequential(nn.Embedding(V, V))}),
        ("optimizer", {"weight_decay": 0.3}),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_the_name_of_what_differs(
    tmp_path, name, change
):
    path = tmp_path / "run.pt"
    train(Pairs(), ROWS, next_token_loss, 4, checkpoint=path)
    run = {"model": Pairs(), "batches": ROWS, "loss_fn": next_token_loss, "steps": 4}
    decay = change.pop("weight_decay", 0.1)
    run |= change
    before = weights(run["model"])
    with pytest.raises(ValueError, match="delete it to start anew") as error:
        train(**run, optimizer=adamw(run["model"], decay), checkpoint=path)
    told = str(error.value).split("(")[1].split(")")[0]
    assert name in told
    assert same_bits(weights(run["model"]), before)


@pytest.mark.parametrize(
    "content", ["empty", "half", "text", "foreign", "a list", "one bit"]
)
def test_a_damaged_or_foreign_checkpoint_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "run.pt"
    train(Pairs(), ROWS, next_token_loss, 2, checkpoint=path)
    whole = path.read_bytes()
    if content in ("foreign", "a list"):
        torch.save({"weights": torch.ones(2)} if content == "foreign" else [1], path)
    else:
        middle = len(whole) // 2
        one_bit = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        broken = {
            "empty": b"",
            "half": whole[:middle],
            "text": b"hello" * 99,
            "one bit": one_bit,
        }
        path.write_bytes(broken[content])
    model = Pairs(seed=3)
    before = weights(model)
    with pytest.raises(
        ValueError, match=r"^\S+ is damaged or not a checkpoint of train"
    ):
        train(model, ROWS, next_token_loss, 2, checkpoint=path)
    assert same_bits(weights(model), before)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    path = tmp_path / "run.pt"
    torch.save({"settings": Evil()}, path)
    with pytest.raises(ValueError, match="damaged or not a checkpoint"):
        train(Pairs(), ROWS, next_token_loss, 2, checkpoint=path)
    assert not (tmp_path / "evil").exists()


def test_an_interrupt_while_writing_leaves_the_last_checkpoint_whole(
    tmp_path, monkeypatch, uninterrupted
):
    path, true_save, calls = tmp_path / "run.pt", torch.save, []

    def broken_save(state, file):
        calls.append(1)
        if len(calls) == 3:
            file.write_bytes(b"half a fi")
            raise KeyboardInterrupt
        true_save(state, file)

    model = Pairs(dropout=0.3)
    torch.manual_seed(5)
    monkeypatch.setattr(torch, "save", broken_save)
    with pytest.raises(KeyboardInterrupt):
        train(model, ROWS, next_token_loss, **RUN, checkpoint=path, save_every=2)
    monkeypatch.undo()
    model = Pairs(seed=1, dropout=0.3)
    train(model, ROWS, next_token_loss, **RUN, checkpoint=path)
    assert same_bits(weights(model), uninterrupted[0])
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_an_interrupt_and_the_end_leave_the_mode_as_it_was_and_no_gradients():
    model = Pairs().eval()
    with pytest.raises(KeyboardInterrupt):
        train(model, ROWS, interrupted_after(2, error=KeyboardInterrupt), 5)
    assert not model.training
    train(model, ROWS, next_token_loss, 2)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
