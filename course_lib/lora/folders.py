"""Adapters as PEFT reads and writes them: adapter_config.json beside A and B.

`to_peft` writes a folder that `PeftModel.from_pretrained` puts on the base that
`to_hf` wrote; `from_peft` puts such a folder's adapter on our own model. A folder of
ours also names the base it fits, by its fingerprint; PEFT's own folders name a path,
which nobody can compare. Left out: GPT-2, whose query, key and value are one matrix
there, and PEFT's variants of LoRA, which are refused and not misread.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib.lora.adapters import adapter_state, fingerprint, one_setting
from course_lib.lora.layers import LearnedRows, LoRALinear, lora_layers, put
from course_lib.pretrained.architectures import (
    GPT2,
    KINDS,
    refuse_unless,
    their_facts,
    their_name,
)
from course_lib.pretrained.folders import read_table
from course_lib.transformer import Transformer

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WRITER = {"format": "pt", "writer": "course_lib"}
BESIDE = {SETTINGS, WEIGHTS, "adapter_model.partial", "README.md"}
ROWS = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
PLAIN = {  # settings of PEFT's that change what A and B mean: the values we know
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False,),
    "use_rslora": (False,),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": (None, []),
    "init_lora_weights": (True, False, "gaussian"),  # others change the base as well
}


def name_in_peft(name: str) -> str:
    """The name of an A or B of ours in a PEFT folder for Llama's kind.

    >>> name_in_peft("blocks.3.attention.query.A")
    'base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight'
    """
    try:
        theirs = their_name(name, KINDS["llama"])
    except KeyError as part:
        raise ValueError(f"A Llama of transformers has no layer {part}.") from None
    return f"base_model.model.{theirs[:-1]}lora_{theirs[-1]}.weight"


def check_kind(model: Transformer) -> None:
    """Refuse a model whose layers have no names of their own in transformers."""
    if KINDS[their_facts(model.config)["model_type"]] is GPT2:
        raise ValueError(
            "transformers keeps GPT-2's query, key and value in one matrix: adapters "
            "of single ones have no name there."
        )


# ---- writing


def to_peft(model: Transformer, folder: str | Path, base: str | Path = "") -> None:
    """Write the model's adapter as a folder that PEFT loads; the base is not in it.

    base: where the base lies, as PEFT's config notes it. A new or empty folder, or
    one that to_peft wrote before; another one is left alone, with a ValueError.
    """
    folder = Path(folder)
    check_kind(model)
    check_own(folder)
    facts = settings_of(model, base)
    tensors = {
        name_in_peft(name): tensor.cpu().contiguous()
        for name, tensor in adapter_state(model).items()
        if name.endswith((".A", ".B"))
    }
    if isinstance(model.embed, LearnedRows):
        ids = model.embed.ids
        facts["trainable_token_indices"] = ids.tolist()
        # PEFT keeps the whole rows, though their name says what is added to them
        tensors[ROWS] = model.embed.weight[ids].detach().cpu()
    about = WRITER | {"base": fingerprint(model)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.partial", metadata=about)
    os.replace(folder / "adapter_model.partial", folder / WEIGHTS)
    (folder / SETTINGS).write_text(json.dumps(facts, indent=2) + "\n")


def settings_of(model: Transformer, base: str | Path) -> dict:
    """What adapter_config.json says about the adapter that the model carries."""
    layers = lora_layers(model)
    rank, alpha, dropout = one_setting(layers.values())
    kinds = {name_in_peft(f"{name}.A").split(".")[-3] for name in layers}
    if len(layers) != len(kinds) * model.config.layers:
        raise ValueError("An adapter of PEFT's covers every block, this one does not.")
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(kinds),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def check_own(folder: Path) -> None:
    """Refuse a folder whose files are not ours to replace."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a folder.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    foreign = sorted(names - BESIDE)
    if names & {SETTINGS, WEIGHTS} and not written_by_us(folder):
        foreign = ["an adapter from elsewhere"]
    if foreign:
        raise ValueError(
            f"{folder} holds {foreign[0]}; choose a new or an empty folder."
        )


def written_by_us(folder: Path) -> bool:
    try:
        _, about = read_tensors(folder)
    except (FileNotFoundError, ValueError):
        return False
    return about.get("writer") == WRITER["writer"]


# ---- reading


def from_peft(model: Transformer, folder: str | Path) -> list[str]:
    """Put the adapter of a folder on its base, in place; returns the wrapped layers.

    The base is a plain model. A folder that does not fit it, or was written for
    another base, is refused before anything changes.
    """
    folder = Path(folder)
    check_kind(model)
    facts = read_settings(folder)
    tensors, about = read_tensors(folder)
    ids, rows = facts["tokens"], tensors.pop(ROWS, None)
    check_rows(model, ids, rows, folder)
    pairs = pair_up(model, tensors, facts["r"], folder)
    if about.get("base", fingerprint(model)) != fingerprint(model):
        raise ValueError(
            f"{folder} holds an adapter of another base ({about['base']}, this one is "
            f"{fingerprint(model)}): it would change this one at random."
        )
    model.requires_grad_(False)
    for name, (A, B) in pairs.items():
        linear = model.get_submodule(name)
        layer = LoRALinear(linear, facts["r"], facts["lora_alpha"], facts["dropout"])
        with torch.no_grad():
            layer.A.copy_(A)
            layer.B.copy_(B)
        put(model, name, layer)
    if ids:
        model.embed = LearnedRows(model.embed, ids)
        order = torch.tensor(ids).argsort()  # ours are in order
        with torch.no_grad():
            known = model.embed.frozen.weight[model.embed.ids]
            model.embed.rows.copy_(rows[order].to(known) - known)
    return [*pairs]


def check_rows(
    model: Transformer, ids: list[int], rows: Tensor | None, folder: Path
) -> None:
    """Whether a folder's rows of the embedding belong to tokens of this model."""
    found = None if rows is None else tuple(rows.shape)
    wanted = (len(ids), model.config.width) if ids else None
    known = all(0 <= token < model.config.vocabulary for token in ids)
    if found != wanted or not known or len(set(ids)) < len(ids):
        raise ValueError(
            f"{folder} says that the rows of the tokens {ids} learned; this model needs "
            f"rows of shape {wanted}, each of another of its tokens, not {found}."
        )


def read_settings(folder: Path) -> dict:
    """Rank, alpha, dropout and tokens, if the folder holds LoRA as we compute it."""
    if not (folder / SETTINGS).is_file():
        raise FileNotFoundError(
            f"There is no adapter in {folder}: it has no {SETTINGS}."
        )
    facts = read_table(folder / SETTINGS)
    for name, known in PLAIN.items():
        if name in facts and facts[name] not in known:
            refuse_unless(name, facts[name], known[0])
    tokens = facts.get("trainable_token_indices") or []
    if not isinstance(tokens, list):
        raise ValueError(
            f"Rows that learn are those of the embedding, a list, not {tokens}."
        )
    try:
        return {
            "r": facts["r"],
            "lora_alpha": float(facts["lora_alpha"]),
            "dropout": float(facts.get("lora_dropout", 0.0)),
            "tokens": tokens,
        }
    except KeyError as missing:
        raise ValueError(f"{folder / SETTINGS} does not say {missing}.") from None


def read_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a folder under their names, and what the file says of itself."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks its weights: there is no {WEIGHTS}.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None


def pair_up(
    model: Transformer, tensors: dict[str, Tensor], rank: int, folder: Path
) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of each layer in the folder, by our names and with the right shapes."""
    if lora_layers(model):
        raise ValueError(
            "This model carries an adapter: merge it or take it off first."
        )
    pairs, left = {}, dict(tensors)
    for name, module in model.named_modules():
        if not (name.startswith("blocks.") and type(module) is nn.Linear):
            continue
        A, B = (left.pop(name_in_peft(f"{name}.{part}"), None) for part in "AB")
        if A is None and B is None:
            continue
        wanted = [(rank, module.in_features), (module.out_features, rank)]
        found = [None if part is None else tuple(part.shape) for part in (A, B)]
        if found != wanted:
            raise ValueError(
                f"{name} needs A and B of shapes {wanted}, {folder} has {found}."
            )
        pairs[name] = A, B
    if left or not pairs:
        stranger = min(left, default="nothing")
        raise ValueError(
            f"{folder} holds {stranger}, which this model has no place for."
        )
    return pairs
