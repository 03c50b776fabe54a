"""Llama and GPT-2 in the words of `transformers`: names, layouts, settings.

The same numbers go by other names in other libraries, and GPT-2 keeps its
matrices on their side. Whatever our Transformer would compute differently is
refused in one sentence: a wrong model that runs is worse than none. Left out:
scaled rotary positions, and every other architecture.
"""

import torch
from torch import Tensor

from course_lib.transformer import Config

LLAMA = {  # our part: theirs
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "unembed": "lm_head",
    "blocks": "model.layers",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
GPT2 = {
    "embed": "transformer.wte",
    "places": "transformer.wpe",
    "norm": "transformer.ln_f",
    "unembed": "lm_head",
    "blocks": "transformer.h",
    "attention_norm": "ln_1",
    "attention.query": "attn.query",  # these three are one matrix in the file
    "attention.key": "attn.key",
    "attention.value": "attn.value",
    "attention.output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
KINDS = {"llama": LLAMA, "mistral": LLAMA, "qwen2": LLAMA, "gpt2": GPT2}

# ---- names and layouts


def their_name(name: str, table: dict[str, str]) -> str:
    """Our name of a tensor to theirs.

    >>> their_name("blocks.3.mlp.up.weight", LLAMA)
    'model.layers.3.mlp.up_proj.weight'
    """
    part, leaf = name.rsplit(".", 1)
    if part.startswith("blocks."):
        _, layer, part = part.split(".", 2)
        return f"{table['blocks']}.{layer}.{table[part]}.{leaf}"
    return f"{table[part]}.{leaf}"


def unpack_gpt2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """GPT-2's layout to ours: its matrices lie on their side, three are glued.

    Old files lack the prefix `transformer.` and hold causal masks as well.
    """
    ours = {}
    for name, tensor in tensors.items():
        if not name.startswith(("transformer.", "lm_head.")):
            name = f"transformer.{name}"
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        tensor = tensor.t() if ".c_" in name else tensor
        if ".c_attn." in name:
            for part, third in zip(
                ("query", "key", "value"), tensor.chunk(3), strict=True
            ):
                ours[name.replace("c_attn", part)] = third.contiguous()
        else:
            ours[name] = tensor.contiguous()
    return ours


def pack_gpt2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our layout to GPT-2's: `unpack_gpt2` backwards."""
    theirs = {}
    for name, tensor in tensors.items():
        if ".attn.query." in name:
            parts = [name.replace("query", part) for part in ("query", "key", "value")]
            name = name.replace("query", "c_attn")
            tensor = torch.cat([tensors[part] for part in parts])
        elif ".attn.key." in name or ".attn.value." in name:
            continue
        theirs[name] = (tensor.t() if ".c_" in name else tensor).contiguous()
    return theirs


# ---- what their config.json says, as our Config


def llama_config(facts: dict) -> Config:
    """The Config of a Llama, Mistral or Qwen2 folder, or a sentence why not."""
    rope = {"rope_theta": facts.get("rope_theta", 10_000.0)}
    rope |= facts.get("rope_parameters") or facts.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    attention_bias = facts.get("attention_bias", False)
    bias = attention_bias and facts.get("mlp_bias", False)
    refuse_unless("rotary positions", scaling, "default")
    refuse_unless("rotary share", rope.get("partial_rotary_factor", 1.0), 1.0)
    refuse_unless("activation", facts.get("hidden_act", "silu"), "silu")
    refuse_unless("mlp_bias", facts.get("mlp_bias", False), attention_bias)
    context = facts.get("max_position_embeddings", 2048)
    if facts.get("use_sliding_window", facts["model_type"] == "mistral"):
        context = min(
            context, facts.get("sliding_window") or context
        )  # exact up to there
    return Config(
        vocabulary=facts["vocab_size"],
        context=context,
        width=facts["hidden_size"],
        layers=facts["num_hidden_layers"],
        heads=facts["num_attention_heads"],
        kv_heads=facts.get("num_key_value_heads") or facts["num_attention_heads"],
        hidden=facts["intermediate_size"],
        head_width=facts.get("head_dim"),
        rope_base=float(rope["rope_theta"]),
        norm_eps=facts.get("rms_norm_eps", 1e-6),
        bias=bias,
        qkv_bias=facts["model_type"] == "qwen2",
        tied=facts.get("tie_word_embeddings", False),
    )


def gpt2_config(facts: dict) -> Config:
    """The Config of a GPT-2 folder, or a sentence why not."""
    activation = facts.get("activation_function", "gelu_new")
    if activation != "gelu_pytorch_tanh":  # another name for the same function
        refuse_unless("activation", activation, "gelu_new")
    refuse_unless("scale_attn_weights", facts.get("scale_attn_weights", True), True)
    for name in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        refuse_unless(name, facts.get(name, False), False)
    return Config(
        vocabulary=facts["vocab_size"],
        context=facts["n_positions"],
        width=facts["n_embd"],
        layers=facts["n_layer"],
        heads=facts["n_head"],
        kv_heads=facts["n_head"],
        hidden=facts.get("n_inner") or 4 * facts["n_embd"],
        positions="learned",
        norm="layer",
        norm_eps=facts.get("layer_norm_epsilon", 1e-5),
        mlp="gelu",
        bias=True,
        tied=facts.get("tie_word_embeddings", True),
    )


def refuse_unless(what: str, found: object, known: object) -> None:
    """Stop at a variant that our Transformer would compute wrongly."""
    if found != known:
        raise ValueError(
            f"This model has {what} = {found!r}; our Transformer only has {known!r}."
        )


# ---- our Config, as their config.json


def their_facts(c: Config) -> dict:
    """The settings of the architecture that is built like c, or a sentence why none is."""
    if c.width % c.heads:
        raise ValueError(
            f"transformers wants heads to divide width: {c.width} / {c.heads}."
        )
    kind = (c.positions, c.norm, c.mlp)
    if kind == ("rotary", "rms", "swiglu"):
        return llama_facts(c)
    if (
        kind == ("learned", "layer", "gelu")
        and c.bias
        and c.kv_heads == c.heads
        and c.K * c.heads == c.width
    ):
        return gpt2_facts(c)
    raise ValueError(f"Neither Llama nor GPT-2 is built like this model: {c}.")


def llama_facts(c: Config) -> dict:
    """The fields of a Llama, or of a Qwen2 if only queries, keys and values have a bias."""
    qwen = c.qkv_bias and not c.bias
    return {
        "architectures": ["Qwen2ForCausalLM" if qwen else "LlamaForCausalLM"],
        "model_type": "qwen2" if qwen else "llama",
        "hidden_size": c.width,
        "intermediate_size": c.hidden,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.K,
        "hidden_act": "silu",
        "max_position_embeddings": c.context,
        "rms_norm_eps": c.norm_eps,
        "attention_bias": c.bias,
        "mlp_bias": c.bias,
        "rope_theta": c.rope_base,  # where older versions look
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_base},
    }


def gpt2_facts(c: Config) -> dict:
    """The fields of a GPT-2."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_positions": c.context,
        "n_embd": c.width,
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_inner": c.hidden,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": c.norm_eps,
    }
