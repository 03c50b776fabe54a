"""A reward model on disk: the course's own file, and a folder of `transformers`.

The file carries the body's shape and the fingerprints of tokenizer and world, as the
course's other checkpoints do: beside another tokenizer a reward model judges
nonsense. The folder is one of a classifier with a single class, which is what other
libraries call a reward model. Left out: ensembles, which are several files.
"""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_lib.pretrained.architectures import KINDS, llama_config, refuse_unless
from course_lib.pretrained.folders import WRITER, fit, read_table, read_tensors, to_hf
from course_lib.pretrained.loading import unfilled
from course_lib.reward.model import RewardModel
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus

HEAD = "score.weight"  # what transformers calls the head


# ---- our own file


def save_reward(
    model: RewardModel, path: str | Path, spoken: Tokenizer, half: bool = False
) -> None:
    """Write a reward model to one safetensors file, whole or not at all.

    half: in half precision, for files that are shipped; rewards then change in their
    third digit.
    """
    path = Path(path)
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
    save_file(tensors, partial, metadata={"reward": json.dumps(about)})
    partial.chmod(0o644)  # safetensors writes for its owner only
    os.replace(partial, path)


def load_reward(path: str | Path, spoken: Tokenizer) -> RewardModel:
    """Read a file of `save_reward` in float32, unless damaged or of another world."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no reward model {path.name}.")
    about, tensors = read_file(path)
    for what, ours in (("tokenizer", spoken.digest), ("world", corpus.digest())):
        if about.get(what) != ours:
            raise ValueError(
                f"{path.name} was made with another {what} ({about.get(what)}, ours is "
                f"{ours}), so its rewards would mean something else."
            )
    try:
        with unfilled():
            model = RewardModel(Transformer(Config(**about["config"])))
        model.load_state_dict(tensors, assign=True)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path.name} is damaged: its weights do not fit its config."
        ) from error
    return model.eval()


def read_file(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """What a file says about itself, and its tensors in float32."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("reward", "{}"))
        tensors = {name: t.float() for name, t in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path.name} is damaged: {error}.") from None
    if "config" not in about:
        raise ValueError(f"{path.name} is not a reward model of this course.")
    return about, tensors


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
