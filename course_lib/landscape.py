"""The models of the field as data that checks itself: families, species, tasks and sizes.

Notable: no architecture is typed here. A published model is a configuration class of
transformers and the few numbers its authors published; parameters, norm, activation,
positions and experts are read off the live model. Real sizes are counted on torch's
meta device, where tensors have shapes and use no memory. Small models keep their
family's parts and heads per key/value head, have random weights and run in
milliseconds. Left out: trained weights, tokenizers, and what a model is good at.
Dates are in timeline.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Spec = tuple[
    str, dict
]  # a configuration class of transformers, and what differs from its defaults

PUBLISHED: dict[str, Spec] = {
    "GPT-2": ("GPT2Config", {}),
    "GPT-2 XL": ("GPT2Config", {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
    # as blocks of GPT-2: the sparse attention in every second layer of GPT-3 has the same parameters
    "GPT-3": (
        "GPT2Config",
        {"n_embd": 12288, "n_layer": 96, "n_head": 96, "n_positions": 2048},
    ),
    "SmolLM2-135M": (
        "LlamaConfig",
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
        }
        | {"num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True},
    ),
    "Gemma-2-2B": ("Gemma2Config", {}),
    "SmolLM3-3B": ("SmolLM3Config", {}),
    "Phi-3-mini": ("Phi3Config", {}),
    "Llama-2-7B": ("LlamaConfig", {}),
    "Mistral-7B": ("MistralConfig", {}),
    "Llama-3-8B": (
        "LlamaConfig",
        {"intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128256},
    ),
    "Qwen3-8B": (
        "Qwen3Config",
        {"intermediate_size": 12288, "num_hidden_layers": 36, "num_key_value_heads": 8},
    ),
    "Mixtral-8x7B": ("MixtralConfig", {}),
    "Llama-3-70B": (
        "LlamaConfig",
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
        }
        | {"num_key_value_heads": 8, "vocab_size": 128256},
    ),
    "DeepSeek-V3": (
        "DeepseekV3Config",
        {},
    ),  # without its extra prediction module, which is not built
}

FAMILIES = {  # family: the member of PUBLISHED that its small model is shrunk from
    "GPT-2": "GPT-2",
    "Llama": "Llama-3-8B",
    "Mistral": "Mistral-7B",
    "Qwen3": "Qwen3-8B",
    "Gemma 2": "Gemma-2-2B",
    "Phi-3": "Phi-3-mini",
    "SmolLM3": "SmolLM3-3B",
    "DeepSeek-V3": "DeepSeek-V3",
    "Mixtral": "Mixtral-8x7B",
}

TINY = {  # a small model has at most this much of everything
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
    "num_attention_heads": 8, "head_dim": 8, "max_position_embeddings": 64, "d_ff": 128,
    "num_local_experts": 32, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "q_lora_rank": 24,
    "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "image_size": 16, "patch_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def configuration(spec: Spec, tiny: bool = False):
    """A transformers configuration, as published or shrunk to TINY."""
    import transformers

    class_name, numbers = spec
    make = getattr(transformers, class_name)
    return make(**numbers | tiny_numbers(make(**numbers))) if tiny else make(**numbers)


def tiny_numbers(config) -> dict[str, int]:
    """What to change in a configuration: its sizes fall to TINY's, heads per key/value head stay."""
    sizes = {name: getattr(config, name, None) for name in TINY}
    tiny = {
        name: min(size, TINY[name])
        for name, size in sizes.items()
        if isinstance(size, int)
    }
    if getattr(config, "num_key_value_heads", None):
        shared = config.num_attention_heads // config.num_key_value_heads
        tiny["num_key_value_heads"] = max(1, tiny["num_attention_heads"] // shared)
    return {
        config.attribute_map.get(name, name): size for name, size in tiny.items()
    }  # GPT-2 says n_embd


def random_model(
    config, auto: str = "AutoModelForCausalLM", seed: int = 0, device: str = "cpu"
) -> nn.Module:
    """The model that a configuration describes, with random weights and no dropout."""
    import transformers

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(
            seed
        )  # inside fork_rng: the caller's random state is put back
        return getattr(transformers, auto).from_config(config).eval()


def build(name: str, seed: int = 0) -> nn.Module:
    """A small random model of a family, or of one member of PUBLISHED.

    >>> build("Mistral")(torch.tensor([[5, 6, 7]])).logits.shape    # (B, T, V)
    torch.Size([1, 3, 256])
    """
    assert name in FAMILIES or name in PUBLISHED, (
        f"no model {name!r}; families are {', '.join(FAMILIES)}"
    )
    return random_model(
        configuration(PUBLISHED[FAMILIES.get(name, name)], tiny=True), seed=seed
    )


def published(name: str) -> nn.Module:
    """A published model in its real size, on the meta device: it has every shape and cannot run."""
    assert name in PUBLISHED, (
        f"no published size {name!r}; there are {', '.join(PUBLISHED)}"
    )
    return random_model(configuration(PUBLISHED[name]), device="meta")


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(total, active): active leaves out, in each layer, the experts that one token does not visit.

    Convention: embeddings, head, router and shared experts are active; a tied matrix
    counts once.
    """
    total = sum(p.numel() for p in model.parameters())
    routed = [
        p for name, p in model.named_parameters() if ".experts." in name
    ]  # each (E, ...)
    return total, total - sum(
        p[model.config.num_experts_per_tok :].numel() for p in routed
    )


def real_sizes() -> dict[str, tuple[int, int]]:
    """(total, active) parameters of every model in PUBLISHED, smallest first."""
    sizes = {name: count_parameters(published(name)) for name in PUBLISHED}
    return dict(sorted(sizes.items(), key=lambda item: item[1]))


def positions(model: nn.Module) -> str:
    """How a decoder tells its tokens' order, by its modules: "learned table", "rotary", or in which part."""
    modules = list(model.modules())
    if any(type(m).__name__.endswith("RotaryEmbedding") for m in modules):
        rotates = [
            bool(m.use_rope) for m in modules if hasattr(m, "use_rope")
        ]  # SmolLM3 leaves layers out
        return (
            "rotary"
            if all(rotates)
            else f"rotary in {sum(rotates)} of {len(rotates)} layers"
        )
    tables = [
        m
        for m in modules
        if isinstance(m, nn.Embedding) and m is not model.get_input_embeddings()
    ]
    return "learned table" if tables else "none"


def activation(model: nn.Module) -> str:
    """The MLP's activation, named by what the live module computes and not by what it is called."""
    known = {
        "SiLU": F.silu,
        "GELU": F.gelu,
        "GELU (tanh)": partial(F.gelu, approximate="tanh"),
    }
    live = next(
        m for m in model.modules() if type(m).__module__ == "transformers.activations"
    )
    x = torch.linspace(-3, 3, 13)
    # 1e-5: float32 noise passes, the 5e-4 between the two forms of GELU does not
    same = [
        name
        for name, f in known.items()
        if torch.allclose(live(x), f(x), rtol=0, atol=1e-5)
    ]
    return same[0] if same else type(live).__name__


def card(model: nn.Module) -> dict[str, object]:
    """What a decoder is made of, read off the live model and its configuration, also on the meta device.

    Key/value heads are those attention works with; DeepSeek-V3 makes them from one
    short vector per token.
    """
    config, (total, active) = model.config, count_parameters(model)
    blocks = next(
        m for m in model.modules() if isinstance(m, nn.ModuleList)
    )  # the first list: the layers
    norms = [
        kind
        for m in blocks[-1].modules()
        if (kind := type(m).__name__).endswith("Norm")
    ]
    names = dict(blocks[-1].named_parameters())
    routed = [len(p) for name, p in names.items() if ".experts." in name]
    heads = config.num_attention_heads
    return {
        "parameters": total,
        "active": active,
        "layers": len(blocks),
        "heads": heads,
        "kv_heads": getattr(
            config, "num_key_value_heads", heads
        ),  # GPT-2 has no such field
        "norm": "RMSNorm" if norms[0].endswith("RMSNorm") else norms[0],
        "norms_per_layer": len(norms),
        "activation": activation(model),
        "gated": any("gate_proj" in name or "gate_up_proj" in name for name in names),
        "positions": positions(model),
        "tied": model.get_input_embeddings().weight
        is model.get_output_embeddings().weight,
        "experts": (routed[0], config.num_experts_per_tok)
        if routed
        else None,  # in all, visited by a token
        "shared_experts": getattr(config, "n_shared_experts", 0),
    }


def build_llava(seed: int = 0) -> nn.Module:
    """A small LLaVA: a CLIP encoder of patches, a projection, and a Llama that reads them as tokens."""
    vision, text = (
        configuration((name, {}), tiny=True)
        for name in ("CLIPVisionConfig", "LlamaConfig")
    )
    numbers = {
        "vision_config": vision,
        "text_config": text,
        "image_token_index": text.vocab_size - 1,
    }
    return random_model(
        configuration(("LlavaConfig", numbers)), "AutoModelForImageTextToText", seed
    )


def text_inputs(model: nn.Module) -> dict[str, Tensor]:
    """Eight ids, (1, 8)."""
    return {"input_ids": torch.arange(8)[None] + 3}


def image_inputs(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """An image of noise (1, 3, S, S), and ids with one placeholder per patch before three tokens of text."""
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    ids = torch.tensor([[1] + patches * [model.config.image_token_id] + [5, 6, 7]])
    shape = (1, vision.num_channels, vision.image_size, vision.image_size)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "pixel_values": pixels}


@dataclass(frozen=True)
class Species:
    """A kind of model that people speak of. One model can be of several kinds."""

    what: str
    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module], dict[str, Tensor]] = (
        text_inputs  # what its forward pass takes
    )


SPECIES = {
    "mixture of experts": Species(
        "An architecture. A layer has several MLPs, and a router picks a few of them for every token, in "
        "every layer anew. Experts are not school subjects, and all of them must be in memory.",
        partial(build, "Mixtral"),
    ),
    "reasoning model": Species(
        "Not another architecture: DeepSeek-R1 is DeepSeek-V3, layer for layer. What makes it one is its "
        "training, on rewards for right answers, and the long reasoning it writes before it answers.",
        partial(build, "DeepSeek-V3"),
    ),
    "vision-language model": Species(
        "An encoder and a projection turn each patch of an image into a vector. The language model reads "
        "these vectors in the place of tokens.",
        build_llava,
        image_inputs,
    ),
    "small language model": Species(
        "The same architecture with fewer parameters. Nobody agreed on a border: some notes say 1 to 7 "
        "billion, and SmolLM2 begins at 135 million.",
        partial(build, "SmolLM2-135M"),
    ),
}


@dataclass(frozen=True)
class Task:
    """A family of language tasks, and a model class whose head gives that kind of output."""

    takes: str
    gives: str
    example: tuple[str, str]  # input, output
    auto: str  # the model class of transformers
    spec: Spec
    pipeline: str  # what many tutorials pass to transformers' pipeline() for it


TASKS = {
    "whole sentences": Task(
        "one text", "one label", ("What a lovely day.", "positive"),
        "AutoModelForSequenceClassification", ("BertConfig", {"num_labels": 2}), "text-classification",
    ),
    "each word": Task(
        "one text", "one label per token", ("Ada lives in Turin", "person, none, none, place"),
        "AutoModelForTokenClassification", ("BertConfig", {"num_labels": 9}), "token-classification",
    ),
    "generating text": Task(
        "how a text begins", "the text, continued", ("Once upon a", "Once upon a time there was a queen"),
        "AutoModelForCausalLM", PUBLISHED["Llama-3-8B"], "text-generation",
    ),
    "extracting an answer": Task(
        "a question and a text", "two scores per token: it starts here, it ends here",
        ("Where does Ada live? Ada lives in Turin.", "Turin"),
        "AutoModelForQuestionAnswering", ("BertConfig", {}), "question-answering",
    ),
    "a new text from a text": Task(
        "one text", "another text, as in translation or summarisation", ("Guten Morgen", "Good morning"),
        "AutoModelForSeq2SeqLM", ("T5Config", {"decoder_start_token_id": 0}), "translation",
    ),
}  # fmt: skip


def build_task(name: str, seed: int = 0) -> nn.Module:
    """A small random model with the head that the task needs."""
    return random_model(
        configuration(TASKS[name].spec, tiny=True), TASKS[name].auto, seed
    )


def task_shapes(
    name: str, ids: Tensor, new_tokens: int = 4
) -> dict[str, tuple[int, ...]]:
    """Run a task's model on ids (B, T): a model that can generate writes new tokens, another runs once.

    >>> task_shapes("extracting an answer", torch.tensor([[5, 6, 7]]))
    {'start_logits': (1, 3), 'end_logits': (1, 3)}
    """
    model, inputs = (
        build_task(name),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    )
    with torch.no_grad():
        if not model.can_generate():
            return {
                output: tuple(scores.shape)
                for output, scores in model(**inputs).items()
            }
        limits = {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens}
        written = model.generate(**inputs, **limits, do_sample=False)
        return {"sequences": tuple(written.shape)}


def pipeline_exists(name: str) -> bool:
    """Does the installed transformers still have the pipeline that many tutorials name for this task?"""
    from transformers.pipelines import PIPELINE_REGISTRY

    return TASKS[name].pipeline in PIPELINE_REGISTRY.get_supported_tasks()
