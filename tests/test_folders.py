"""Folders of transformers: the same logits both ways, and one sentence for what we cannot read."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from course_lib.pretrained.folders import from_hf, to_hf
from course_lib.transformer import Config, Transformer

SIZES = {  # every width different, so that no two can be swapped unseen
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.3,  # large weights, so that a mistake shows
}
LLAMAS = {
    "grouped": {},
    "tied": {"tie_word_embeddings": True},
    "one head for all": {"num_key_value_heads": 1, "rms_norm_eps": 1e-3},
    "another base": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "wide heads": {"head_dim": 16},
    "biased": {"attention_bias": True, "mlp_bias": True},
}
GPT2S = {
    "tied": {},
    "not tied": {"tie_word_embeddings": False},
    "own hidden width": {"n_inner": 56},
}
IDS = torch.randint(61, (3, 20), generator=torch.Generator().manual_seed(5))


def shaken(model, seed):
    """All parameters drawn anew, biases and norms too: zeros and ones hide mistakes."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=draw) * 0.1)
    return model.eval()


def llama(seed=0, **settings):
    return shaken(LlamaForCausalLM(LlamaConfig(**SIZES | settings)), seed)


def gpt2(seed=0, **settings):
    sizes = {"vocab_size": 61, "n_positions": 32, "n_embd": 48, "n_layer": 2}
    ends = {"bos_token_id": None, "eos_token_id": None, "n_head": 4}
    return shaken(GPT2LMHeadModel(GPT2Config(**sizes | ends | settings)), seed)


def saved(model, folder):
    model.save_pretrained(folder)
    return folder


def same(ours, theirs):
    with torch.no_grad():
        left, right = ours(IDS), theirs(IDS).logits
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


# ---- reading


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", LLAMAS)
def test_a_llama_folder_gives_the_same_logits(kind, seed, tmp_path):
    theirs = llama(seed, **LLAMAS[kind])
    same(from_hf(saved(theirs, tmp_path)), theirs)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", GPT2S)
def test_a_gpt2_folder_gives_the_same_logits(kind, seed, tmp_path):
    theirs = gpt2(seed, **GPT2S[kind])
    same(from_hf(saved(theirs, tmp_path)), theirs)


def test_qwen2_and_mistral_folders_give_the_same_logits(tmp_path):
    qwen = shaken(Qwen2ForCausalLM(Qwen2Config(**SIZES)), 0)
    same(from_hf(saved(qwen, tmp_path / "qwen")), qwen)
    mistral = shaken(MistralForCausalLM(MistralConfig(**SIZES)), 0)
    same(from_hf(saved(mistral, tmp_path / "mistral")), mistral)


def test_a_sliding_window_ends_the_context(tmp_path):
    settings = SIZES | {"sliding_window": 20}
    theirs = shaken(MistralForCausalLM(MistralConfig(**settings)), 0)
    ours = from_hf(saved(theirs, tmp_path))
    assert ours.config.context == 20  # up to there the window hides nothing
    same(ours, theirs)


def test_weights_in_several_files_are_read_together(tmp_path):
    theirs = llama()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()
    same(from_hf(tmp_path), theirs)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(FileNotFoundError, match="model-00002"):
        from_hf(tmp_path)


def test_half_precision_is_read_as_float32(tmp_path):
    saved(llama().to(torch.bfloat16), tmp_path)
    ours = from_hf(tmp_path)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    same(ours, AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))


def test_an_old_gpt2_file_without_prefix_and_with_masks_is_read(tmp_path):
    theirs = gpt2()
    path = saved(theirs, tmp_path) / "model.safetensors"
    old = {n.removeprefix("transformer."): t for n, t in load_file(path).items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
    save_file(old, path)
    same(from_hf(tmp_path), theirs)


def test_a_tied_matrix_that_the_file_holds_twice_is_read_once(tmp_path):
    theirs = llama(tie_word_embeddings=True)
    path = saved(theirs, tmp_path) / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path)
    same(from_hf(tmp_path), theirs)


# ---- writing

PLAIN = Config(vocabulary=61, context=32, width=48, layers=3, hidden=40)
GPT2_LIKE = replace(
    PLAIN, kv_heads=4, positions="learned", norm="layer", mlp="gelu", bias=True
)
WRITABLE = {
    "llama": PLAIN,
    "untied": replace(PLAIN, tied=False, rope_base=77.0, norm_eps=1e-3),
    "one head for all": replace(PLAIN, kv_heads=1),
    "wide heads": replace(PLAIN, head_width=20),
    "biased": replace(PLAIN, bias=True),
    "qwen2": replace(PLAIN, qkv_bias=True),
    "wide qwen2": replace(PLAIN, qkv_bias=True, head_width=20),
    "gpt2": GPT2_LIKE,
    "untied gpt2": replace(GPT2_LIKE, tied=False),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", WRITABLE)
def test_transformers_loads_what_we_write_with_the_same_logits(kind, seed, tmp_path):
    ours = shaken(Transformer(WRITABLE[kind]), seed)
    to_hf(ours, tmp_path / "new", end=1, pad=0)
    theirs, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "new", output_loading_info=True
    )
    assert theirs.dtype == torch.float32
    assert not any(report.values()), report
    same(ours, theirs.eval())
    assert (theirs.config.eos_token_id, theirs.config.pad_token_id) == (1, 0)


@pytest.mark.parametrize("kind", WRITABLE)
def test_our_own_folder_comes_back_bit_for_bit(kind, tmp_path):
    ours = shaken(Transformer(WRITABLE[kind]), 3)
    to_hf(ours, tmp_path)
    back = from_hf(tmp_path)
    weights = back.state_dict()
    assert weights.keys() == ours.state_dict().keys()
    assert all(weights[n].equal(t) for n, t in ours.state_dict().items())
    resolved = replace(ours.config, head_width=ours.config.K)
    assert replace(back.config, head_width=back.config.K) == resolved


def test_bfloat16_is_written_as_bfloat16(tmp_path):
    to_hf(Transformer(PLAIN).bfloat16(), tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.bfloat16


def test_a_folder_of_ours_may_be_written_again(tmp_path):
    to_hf(shaken(Transformer(PLAIN), 0), tmp_path)
    second = shaken(Transformer(replace(PLAIN, layers=1)), 1)
    (tmp_path / "tokenizer.json").write_text("{}")
    to_hf(second, tmp_path)
    assert from_hf(tmp_path)(IDS).equal(second(IDS))


def test_a_foreign_folder_is_left_as_it_was(tmp_path):
    ours = Transformer(PLAIN)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.txt"):
        to_hf(ours, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="is a file"):
        to_hf(ours, tmp_path / "thesis.txt")
    theirs = saved(llama(), tmp_path / "model")
    before = {p.name: p.read_bytes() for p in theirs.iterdir()}
    with pytest.raises(ValueError, match="a model from elsewhere"):
        to_hf(ours, theirs)
    assert {p.name: p.read_bytes() for p in theirs.iterdir()} == before


@pytest.mark.parametrize(
    "config",
    [
        replace(PLAIN, positions="learned"),
        replace(PLAIN, mlp="gelu"),
        replace(GPT2_LIKE, kv_heads=2),
        replace(GPT2_LIKE, bias=False),
    ],
)
def test_a_mixture_that_no_library_knows_is_not_written(config, tmp_path):
    with pytest.raises(ValueError, match="Neither Llama nor GPT-2"):
        to_hf(Transformer(config), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_model_with_pieces_of_its_own_is_not_written(tmp_path):
    model = Transformer(PLAIN)
    model.blocks[0].mlp.up = torch.nn.Sequential(model.blocks[0].mlp.up)
    with pytest.raises(ValueError, match="pieces of its own"):
        to_hf(model, tmp_path)


# ---- what cannot be read is answered in one sentence


def edited(folder, **changes):
    """A Llama folder whose config.json says something else in some places."""
    path = saved(llama(), folder) / "config.json"
    facts = json.loads(path.read_text()) | changes
    facts = {name: value for name, value in facts.items() if value != "gone"}
    path.write_text(json.dumps(facts))
    return folder


YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, "type 'bert'"),
        ({"model_type": "gone"}, "type None"),
        ({"rope_parameters": YARN}, "rotary positions = 'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "'linear'"),
        ({"hidden_act": "gelu"}, "activation = 'gelu'"),
        ({"attention_bias": True}, "mlp_bias"),
        ({"hidden_size": "gone"}, "does not say 'hidden_size'"),
        ({"num_attention_heads": 5, "head_dim": "gone"}, "heads must divide width"),
        ({"intermediate_size": 41}, r"shape \(40, 48\), but .* \(41, 48\)"),
        ({"num_hidden_layers": 4}, r"lacks model.layers.3.* \(9 in all\)"),
        ({"num_hidden_layers": 2}, "holds the unexpected model.layers.2"),
        ({"tie_word_embeddings": True}, "but they differ"),
    ],
)
def test_a_llama_that_we_would_compute_wrongly_is_refused(changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        from_hf(edited(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes",
    [{"activation_function": "relu"}, {"scale_attn_by_inverse_layer_idx": True}],
)
def test_a_gpt2_that_we_would_compute_wrongly_is_refused(changes, tmp_path):
    with pytest.raises(ValueError, match=next(iter(changes)).split("_")[0]):
        from_hf(saved(gpt2(**changes), tmp_path))


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        from_hf(tmp_path / "nowhere")
    folder = saved(llama(), tmp_path / "model")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (b"", whole[:100], whole[:-7], b"\xff" * 200):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
            from_hf(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        from_hf(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        from_hf(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        from_hf(folder)
