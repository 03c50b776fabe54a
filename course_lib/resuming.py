"""Checkpoints of a run: stopped at any step, it goes on and ends with the same bits.

The next step depends on the weights, the optimizer's memory, the random state and
the number of steps done; all of it is in one file. The file also says which run it
belongs to, since going on with another learning rate or text would be neither run.
A save that is cut short leaves the old file whole, and reading one cannot run code.
Left out: several files, and the weights alone, which `course_lib.pretrained` keeps.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import torch
from torch import nn

from course_lib.batches import Batches, cut


def settings_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    rates: list[float],
    clip: float,
) -> dict:
    """What has to be the same for a run to go on, each thing under a readable name."""
    first = [tensor.tolist() for tensor in next(cut(batches(0)))]
    changing = ("params", "lr")
    groups = [
        {name: value for name, value in group.items() if name not in changing}
        for group in optimizer.param_groups
    ]
    return {
        "steps": len(rates),
        "learning rates": rates,
        "clip": float(clip),
        "optimizer": [type(optimizer).__name__, *groups],
        "first batch": hashlib.sha256(str(first).encode()).hexdigest(),
        "model": {name: list(t.shape) for name, t in model.state_dict().items()},
    }


def save_run(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: dict,
    settings: dict,
) -> None:
    """Write everything that the next step depends on: the whole file or nothing.

    history: whatever the loop noted so far, as plain lists of numbers.
    """
    state = {
        "settings": settings,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": history,
        "random": torch.get_rng_state(),
        "random_gpu": torch.cuda.get_rng_state_all(),  # [] without a GPU
    }
    partial = Path(f"{path}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, partial)
    os.replace(partial, path)  # the old file stays until the new one is whole


def resume_run(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict,
) -> dict:
    """Put everything back as it was when `save_run` wrote the file; the history too.

    Returns the history. A file that is damaged, or of a run with other settings,
    is refused before anything is changed.
    """
    try:
        with zipfile.ZipFile(path) as file:  # torch.load would not see a flipped bit
            assert file.testzip() is None
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["settings"]
        other = [name for name in settings if settings[name] != found.get(name)]
    except Exception as error:  # there are a dozen ways of being damaged
        raise ValueError(
            f"{path} is damaged or not a checkpoint of train: delete it to start anew."
        ) from error
    if other:
        raise ValueError(
            f"{path} belongs to a run with other settings ({', '.join(other)}): "
            "delete it to start anew, or choose another path."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if state["random_gpu"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["random_gpu"])
    return state["history"]
