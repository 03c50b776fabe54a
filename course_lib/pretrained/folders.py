"""Folders as `transformers` reads and writes them: config.json beside the weights.

`from_hf` makes our Transformer from a folder of Llama's kind (Llama, Mistral,
Qwen2) or GPT-2's; `to_hf` writes one that `AutoModelForCausalLM` loads. Only
names and layouts change, never a number: the logits are the same. Both files
are read directly, without the library. What writes the
tokenizer beside them is `tokenizer_json`.
"""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_lib.pretrained.architectures import (
    GPT2,
    KINDS,
    gpt2_config,
    llama_config,
    pack_gpt2,
    their_facts,
    their_name,
    unpack_gpt2,
)
from course_lib.pretrained.loading import unfilled
from course_lib.transformer import Transformer

WRITER = {"format": "pt", "writer": "course_lib"}  # in the weights: whose they are
BESIDE = {  # what may lie beside the two files that to_hf writes
    "config.json",
    "model.safetensors",
    "model.partial",  # left behind if writing was interrupted
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "README.md",
}


# ---- reading


def from_hf(folder: str | Path) -> Transformer:
    """Our Transformer, in float32, from a folder that `save_pretrained` wrote."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"There is no model in {folder}: it has no config.json."
        )
    facts = read_table(folder / "config.json")
    kind = facts.get("model_type")
    if kind not in KINDS:
        raise ValueError(
            f"{folder} holds a model of type {kind!r}; known: {', '.join(KINDS)}."
        )
    try:
        config = gpt2_config(facts) if kind == "gpt2" else llama_config(facts)
    except KeyError as missing:
        raise ValueError(f"{folder / 'config.json'} does not say {missing}.") from None
    tensors = read_tensors(folder)
    if kind == "gpt2":
        tensors = unpack_gpt2(tensors)
    with unfilled():
        model = Transformer(config)
    model.load_state_dict(fit(model, tensors, KINDS[kind], folder), assign=True)
    return model.eval()


def read_table(path: Path) -> dict:
    """A file of names and values, as config.json and the index are."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path} is damaged: it is no table of names and values.")
    return table


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from the several that an index names."""
    index, names = folder / "model.safetensors.index.json", ["model.safetensors"]
    if index.is_file() and not (folder / names[0]).is_file():
        names = sorted(set(read_table(index).get("weight_map", {}).values()))
    tensors = {}
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} lacks its weights: there is no {name}.")
        try:
            tensors |= load_file(folder / name)
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is damaged: {error}.") from None
    return tensors


def fit(
    model: Transformer, tensors: dict[str, Tensor], table: dict[str, str], folder: Path
) -> dict[str, Tensor]:
    """The tensors under our names in float32, if they are exactly what model needs."""
    if model.config.tied:  # some files hold the tied matrix twice
        twice = tensors.pop("lm_head.weight", None)
        if twice is not None and not twice.equal(
            tensors[their_name("embed.weight", table)]
        ):
            raise ValueError(
                f"{folder} calls its two matrices of tokens tied, but they differ."
            )
    tensors = {
        n: t for n, t in tensors.items() if not n.endswith("rotary_emb.inv_freq")
    }
    wanted = {their_name(name, table): name for name in model.state_dict()}
    for what, names in (
        ("lacks", wanted.keys() - tensors.keys()),
        ("holds the unexpected", tensors.keys() - wanted.keys()),
    ):
        if names:
            raise ValueError(f"{folder} {what} {min(names)} ({len(names)} in all).")
    for theirs, ours in wanted.items():
        found, right = tensors[theirs].shape, model.state_dict()[ours].shape
        if found != right:
            raise ValueError(
                f"{theirs} in {folder} has shape {tuple(found)}, but its config.json asks for {tuple(right)}."
            )
    return {ours: tensors[theirs].float() for theirs, ours in wanted.items()}


# ---- writing


def to_hf(
    model: Transformer,
    folder: str | Path,
    end: int | None = None,
    pad: int | None = None,
) -> None:
    """Write a folder that `AutoModelForCausalLM.from_pretrained` loads.

    end and pad: the tokens at which its `generate` stops and with which it
    fills up. A new or empty folder, or one that to_hf wrote before; whatever
    else lies there is left alone, with a ValueError.
    """
    folder = Path(folder)
    check_plain(model)
    check_own(folder)
    facts = their_facts(model.config) | {
        "vocab_size": model.config.vocabulary,
        "tie_word_embeddings": model.config.tied,
        "dtype": str(model.embed.weight.dtype).removeprefix("torch."),
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
    }
    table = KINDS[facts["model_type"]]
    tensors = {
        their_name(name, table): tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    if table is GPT2:
        tensors = pack_gpt2(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.partial", metadata=WRITER)
    os.replace(folder / "model.partial", folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n")


def check_plain(model: Transformer) -> None:
    """Refuse a model with tensors that its Config does not speak of."""
    with unfilled():
        plain = Transformer(model.config).state_dict()
    found = model.state_dict()
    if {n: t.shape for n, t in plain.items()} != {n: t.shape for n, t in found.items()}:
        raise ValueError(
            "This model has pieces of its own, which a folder of theirs cannot hold."
        )


def check_own(folder: Path) -> None:
    """Refuse a folder whose files are not ours to replace."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a folder.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    weights = folder / "model.safetensors"
    foreign = sorted(names - BESIDE)
    if names & {"config.json", "model.safetensors"} and not written_by_us(weights):
        foreign = ["a model from elsewhere"]
    if foreign:
        raise ValueError(
            f"{folder} holds {foreign[0]}; choose a new or an empty folder."
        )


def written_by_us(weights: Path) -> bool:
    try:
        with safe_open(weights, framework="pt") as file:
            return file.metadata() == WRITER
    except (OSError, SafetensorError):
        return False
