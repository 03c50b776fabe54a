"""Our Transformer and the LlamaForCausalLM of transformers, born with the same weights."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from course_lib.pretrained.architectures import LLAMA, llama_facts, their_name
from course_lib.pretrained.loading import unfilled
from course_lib.transformer import Config, Transformer


def named(name: str, config: Config) -> tuple[str, Config]:
    """With its number of parameters: a row measured with another model is not this one."""
    with unfilled():
        return f"{name} of {Transformer(config).parameter_count:,} parameters", config


MIDDLE_SHAPE = Config(
    256, 64, width=128, layers=4, heads=4, kv_heads=4, hidden=344, tied=False
)
LARGE_SHAPE = Config(
    2048, 128, width=192, layers=5, heads=6, kv_heads=6, hidden=512, tied=False
)
SHAPES = dict(
    [
        named("the course's model", Config()),
        named("a model", MIDDLE_SHAPE),
        named("a model", LARGE_SHAPE),
    ]
)
COURSE, MIDDLE, LARGE = SHAPES


def shape(model: str, V: int) -> Config:
    """One of SHAPES, with a vocabulary of V."""
    return replace(SHAPES[model], vocabulary=V)


def twins(
    config: Config, draw: torch.Generator, larger: float = 1.0
) -> tuple[Transformer, LlamaForCausalLM]:
    """Ours and theirs, in training mode; `larger` multiplies every first matrix."""
    ours = Transformer(config, generator=draw)
    with torch.no_grad():
        for matrix in (weights for weights in ours.parameters() if weights.ndim == 2):
            matrix *= larger
    facts = llama_facts(config) | {
        "vocab_size": config.vocabulary,
        "tie_word_embeddings": config.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    theirs = LlamaForCausalLM(LlamaConfig.from_dict(facts)).train()
    weights = {their_name(n, LLAMA): tensor for n, tensor in ours.state_dict().items()}
    theirs.load_state_dict(
        {"lm_head.weight": weights["model.embed_tokens.weight"]} | weights
    )  # copies
    return ours, theirs


def in_our_order(ours: Transformer, theirs: LlamaForCausalLM) -> Iterable[torch.Tensor]:
    """Their parameters, each at the place of its twin in ours.parameters()."""
    by_name = dict(theirs.named_parameters())
    return [by_name[their_name(name, LLAMA)] for name, _ in ours.named_parameters()]
