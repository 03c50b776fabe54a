"""The course's own models: one small life, saved at every stage.

A checkpoint is a safetensors file in half precision. It carries the model's shape, and
the fingerprints of the tokenizer and of the toy world it was made with: a model that is
loaded beside another tokenizer does not fail, it talks nonsense. So the loader compares
both and refuses. `make weights` makes the files; each has a card with its figures.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib.pretrained.loading import unfilled
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus

STAGES = {  # name -> what it is
    "base": "pretrained on the town's texts",
    "draft": "one layer, pretrained on the same texts: it guesses ahead for the base model",
    "sft": "the base, tuned to answer questions and to copy from passages",
    "cold_start": "the base, tuned on a few worked solutions and many hasty answers",
}
MODEL = "course"  # the key under which a language model tells what it is
CURE = "To make it: make weights"
HERE = Path(str(resources.files("course_lib"))) / "weights"


def tokenizer(folder: Path = HERE) -> Tokenizer:
    """The course's tokenizer, trained on the toy world's texts."""
    return Tokenizer.load(folder / "tokenizer.json")


def load(
    stage: str = "base", device: str | torch.device = "cpu", folder: Path = HERE
) -> tuple[Transformer, Tokenizer]:
    """One of the course's models, in float32 and ready to run, and its tokenizer.

    stage: base, draft, sft or cold_start.
    """
    if stage not in STAGES:
        raise ValueError(f"There is no model {stage!r}; there are {', '.join(STAGES)}.")
    spoken = tokenizer(folder)
    model = read(folder / f"{stage}.safetensors", spoken)
    return model.to(device).eval(), spoken


def card(stage: str, folder: Path = HERE) -> dict:
    """What was measured on a model, with the definition of every figure."""
    return json.loads((folder / f"{stage}.json").read_text())


def write(
    path: Path,
    model: nn.Module,
    spoken: Tokenizer,
    key: str = MODEL,
    half: bool = True,
) -> None:
    """Save a model with its shape and fingerprints, whole or not at all.

    key: under which the file tells what it is. half: in half precision, as what ships.
    """
    tensors = {
        name: (t.half() if half else t).detach().cpu().contiguous()
        for name, t in model.state_dict().items()
    }
    about = {
        "config": asdict(model.config),
        "tokenizer": spoken.digest,
        "world": corpus.digest(),
    }
    partial = path.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, partial, metadata={key: json.dumps(about)})
    partial.chmod(0o644)  # safetensors writes for its owner only
    os.replace(partial, path)


def read(path: Path, spoken: Tokenizer) -> Transformer:
    """Load a file of `write`, unless it is missing, damaged, foreign or of another world."""
    return read_as(Transformer, path, spoken)


def read_as(
    build: Callable[[Config], nn.Module],
    path: Path,
    spoken: Tokenizer,
    key: str = MODEL,
    name: str = "model",
    cure: str = CURE,
) -> nn.Module:
    """What `build` makes of the file's config, with its numbers in float32.

    key: what the file was written under; name and cure: what a refusal says.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The {name} {path.name} is not there. {cure}".strip())
    about, tensors = contents(path, key, cure)
    if "config" not in about:
        raise ValueError(
            f"{path.name} is not a {name} of this course; a folder of Hugging Face's is "
            "read by from_hf."
        )
    check_world(path, about, spoken, cure)
    try:
        with unfilled():
            model = build(Config(**about["config"]))
        model.load_state_dict(tensors, assign=True)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path.name} is damaged: its weights do not fit its config. {cure}".strip()
        ) from error
    return model


def contents(path: Path, key: str, cure: str) -> tuple[dict, dict[str, Tensor]]:
    """What a file tells under this key, {} if nothing, and its tensors in float32."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(key, "{}"))
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is damaged ({error}). {cure}".strip()) from error
    return about, tensors


def check_world(path: Path, about: dict, spoken: Tokenizer, cure: str) -> None:
    """Refuse a file whose tokenizer or world is not ours."""
    for what, ours in (("tokenizer", spoken.digest), ("world", corpus.digest())):
        if about.get(what) != ours:
            seen = f"{about.get(what)}, ours is {ours}"
            raise ValueError(
                f"{path.name} was made with another {what} ({seen}), so its words would "
                f"mean something else. {cure}".strip()
            )
