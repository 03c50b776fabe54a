"""A reward model on disk: the course's own file, and a folder of `transformers`.

The file carries the body's shape and the fingerprints of tokenizer and world, as the
course's other checkpoints do: beside another tokenizer a reward model judges
nonsense. The folder is one of a classifier with a single class, which is what other
libraries call a reward model. Left out: ensembles, which are several files.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from course_lib.pretrained import checkpoints
from course_lib.pretrained.architectures import KINDS, llama_config, refuse_unless
from course_lib.pretrained.folders import WRITER, fit, read_table, read_tensors, to_hf
from course_lib.pretrained.loading import unfilled
from course_lib.reward.model import RewardModel
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Config, Transformer

HEAD = "score.weight"  # what transformers calls the head
KEY = "reward"  # under which our own file tells what it is
JUDGE = "reward"  # the stage whose file ships


# ---- our own file


def save_reward(
    model: RewardModel, path: str | Path, spoken: Tokenizer, half: bool = False
) -> None:
    """Write a reward model to one safetensors file, whole or not at all.

    half: in half precision, for files that are shipped; rewards then change in their
    third digit.
    """
    checkpoints.write(Path(path), model, spoken, KEY, half)


def load_reward(path: str | Path, spoken: Tokenizer, cure: str = "") -> RewardModel:
    """Read a file of `save_reward` in float32, unless damaged or of another world.

    cure: what a refusal advises.
    """
    model = checkpoints.read_as(
        with_head, Path(path), spoken, KEY, "reward model", cure
    )
    return model.eval()


def with_head(config: Config) -> RewardModel:
    """A reward model of this shape."""
    return RewardModel(Transformer(config))


def load_judge(
    device: str | torch.device = "cpu", folder: Path = checkpoints.HERE
) -> tuple[RewardModel, Tokenizer]:
    """The course's own reward model, lesson 06's judge, and its tokenizer."""
    spoken = checkpoints.tokenizer(folder)
    path = folder / f"{JUDGE}.safetensors"
    return load_reward(path, spoken, checkpoints.CURE).to(device), spoken


# ---- a folder of transformers


def reward_to_hf(
    model: RewardModel,
    folder: str | Path,
    end: int | None = None,
    pad: int | None = None,
) -> None:
    """Write a folder that `AutoModelForSequenceClassification` loads.

    pad: the token by which they find the last real one, so it must be none that a
    text ends in. Only for bodies of Llama's kind.
    """
    if pad is not None and pad == end:
        raise ValueError(
            f"transformers reads the last token that is not {pad}; with the end token "
            "as padding it would read the one before."
        )
    folder = Path(folder)
    to_hf(model.body, folder, end, pad)
    facts = read_table(folder / "config.json")
    refuse_unless("kind", facts["model_type"], "llama")
    facts |= {
        "architectures": ["LlamaForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    tensors = read_tensors(folder) | {HEAD: model.head.weight.detach().cpu()}
    tensors.pop("lm_head.weight", None)  # nothing of a classifier reads it
    save_file(tensors, folder / "model.partial", metadata=WRITER)
    os.replace(folder / "model.partial", folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n")


def reward_from_hf(folder: str | Path) -> RewardModel:
    """Our RewardModel, in float32, from a folder of Llama's kind with one class."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"There is no model in {folder}: it has no config.json."
        )
    facts = read_table(folder / "config.json")
    refuse_unless("kind", facts.get("model_type"), "llama")
    tensors = read_tensors(folder)
    head = tensors.pop(HEAD, None)
    if head is None or len(head) != 1:
        raise ValueError(f"{folder} holds no reward model: no {HEAD} with one row.")
    tensors.pop("lm_head.weight", None)
    with unfilled():
        model = RewardModel(Transformer(replace(llama_config(facts), tied=True)))
    ours = fit(model.body, tensors, KINDS["llama"], folder)
    model.body.load_state_dict(ours, assign=True)
    model.head.load_state_dict({"weight": head.float()}, assign=True)
    return model.eval()
