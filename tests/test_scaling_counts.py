"""Counting before building: parameters, operations, bytes equal real models'."""

import doctest
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    DeepseekV3Config,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
)

from course_lib.attention import CausalSelfAttention, KVCache, attend, fused_attend
from course_lib.descent import adamw
from course_lib.landscape import count_parameters, random_model
from course_lib.scaling import activations, flops, memory, parameters
from course_lib.scaling.activations import (
    activation_bytes,
    activation_parts,
    gpt_layer_kept,
    layer_kept,
)
from course_lib.scaling.flops import (
    attention_flops,
    attention_share,
    forward_flops,
    full_train_flops,
    matrix_flops,
    train_flops,
)
from course_lib.scaling.memory import (
    BYTES,
    cache_bytes,
    inference_bytes,
    largest_trainable,
    latent_cache_bytes,
    sharded,
    training_bytes,
    training_parts,
    weight_bytes,
)
from course_lib.scaling.parameters import Experts, Latent
from course_lib.scaling.parameters import parameters as count
from course_lib.training import next_token_loss
from course_lib.transformer import Block, Config, Transformer


@pytest.mark.parametrize("module", [activations, flops, memory, parameters])
def test_the_examples_in_the_docstrings_run(module):
    assert doctest.testmod(module).failed == 0


# ---- parameters

SHAPES = [  # V, context, D, L, H, kv_heads, K, hidden
    (29, 40, 24, 2, 6, 3, 4, 50),
    (101, 16, 48, 3, 8, 2, 6, 37),
    (53, 64, 32, 1, 4, 1, 10, 90),  # H * K is not D
]


def shape(numbers, **more):
    V, context, D, L, H, kv_heads, K, hidden = numbers
    sizes = {"vocabulary": V, "context": context, "width": D, "layers": L}
    heads = {"heads": H, "kv_heads": kv_heads, "head_width": K, "hidden": hidden}
    return Config(**sizes | heads | more)


def hugging(config, kind, **more):
    """Our shape in the words of transformers' Llama, Qwen2 or Mixtral."""
    return kind(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.K,
        intermediate_size=config.hidden,
        tie_word_embeddings=config.tied,
        **more,
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("numbers", SHAPES)
def test_a_llama_has_as_many_parameters_as_transformers_builds(numbers, tied):
    config = shape(numbers, tied=tied)
    theirs = random_model(hugging(config, LlamaConfig), device="meta")
    assert count(config) == theirs.num_parameters()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("numbers", SHAPES[:2])
def test_biases_of_queries_keys_and_values_are_counted_as_in_qwen2(numbers, tied):
    config = shape(numbers, tied=tied, qkv_bias=True)
    config = replace(config, head_width=config.width // config.heads)
    theirs = random_model(hugging(config, Qwen2Config), device="meta")
    assert count(config) == theirs.num_parameters()


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_embd": 24, "n_layer": 2, "n_head": 4, "vocab_size": 29, "n_positions": 40},
        {"n_embd": 36, "n_layer": 3, "n_head": 6, "vocab_size": 53, "n_positions": 7},
        {"n_embd": 24, "n_layer": 1, "n_head": 2, "n_inner": 31, "vocab_size": 11},
        {},  # GPT-2 itself: 124 million
    ],
)
def test_a_gpt2_has_as_many_parameters_as_transformers_builds(sizes):
    theirs = GPT2Config(**sizes)
    config = gpt2(theirs)
    model = random_model(theirs, device="meta")
    assert count(config) == model.num_parameters()


def gpt2(theirs):
    return Config(
        vocabulary=theirs.vocab_size,
        context=theirs.n_positions,
        width=theirs.n_embd,
        layers=theirs.n_layer,
        heads=theirs.n_head,
        kv_heads=theirs.n_head,
        hidden=theirs.n_inner or 4 * theirs.n_embd,
        positions="learned",
        norm="layer",
        mlp="gelu",
        bias=True,
    )


def test_gpt2_has_the_published_124_million():
    assert count(gpt2(GPT2Config())) == 124_439_808


@pytest.mark.parametrize("numbers", SHAPES)
@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
def test_every_kind_of_our_own_model_is_counted(numbers, norm, mlp, bias):
    for more in ({}, {"tied": False, "positions": "learned"}):
        config = shape(numbers, norm=norm, mlp=mlp, bias=bias, **more)
        assert count(config) == Transformer(config).parameter_count


@pytest.mark.parametrize(("E", "chosen"), [(4, 1), (8, 2), (3, 3)])
@pytest.mark.parametrize("numbers", SHAPES)
def test_a_mixture_has_as_many_parameters_as_transformers_builds(numbers, E, chosen):
    config = shape(numbers, tied=False)
    experts = Experts(count=E, chosen=chosen, hidden=config.hidden)
    sizes = {"num_local_experts": E, "num_experts_per_tok": chosen}
    theirs = random_model(hugging(config, MixtralConfig, **sizes), device="meta")
    total, active = count_parameters(theirs)
    assert count(config, experts) == total
    assert count(config, experts, active=True) == active
    assert (active == total) == (chosen == E)


DEEPSEEK = Config(
    vocabulary=97, context=32, width=48, layers=4, heads=6, kv_heads=6, hidden=70,
    head_width=14, tied=False,
)  # fmt: skip
LATENT = Latent(query=20, memory=18, rotary=4, plain=10, value=12)
ROUTED = Experts(count=8, chosen=2, hidden=13, shared=2, dense=1)


def deepseek():
    return DeepseekV3Config(
        vocab_size=97, hidden_size=48, intermediate_size=70, moe_intermediate_size=13,
        num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=6,
        n_shared_experts=2, n_routed_experts=8, num_experts_per_tok=2, n_group=2,
        topk_group=1, first_k_dense_replace=1, q_lora_rank=20, kv_lora_rank=18,
        qk_rope_head_dim=4, qk_nope_head_dim=10, v_head_dim=12, pad_token_id=0,
    )  # fmt: skip


def test_latent_attention_with_shared_experts_is_counted_as_in_transformers():
    total, active = count_parameters(random_model(deepseek(), device="meta"))
    assert count(DEEPSEEK, ROUTED, LATENT) == total
    assert count(DEEPSEEK, ROUTED, LATENT, active=True) == active


def test_all_experts_in_use_are_all_parameters():
    every = Experts(count=5, chosen=5, hidden=7)
    assert count(DEEPSEEK, every) == count(DEEPSEEK, every, active=True)
    with pytest.raises(ValueError, match="visits 1 to 5 of 5 experts, not 6"):
        Experts(count=5, chosen=6, hidden=7)
    with pytest.raises(ValueError, match="not 0"):
        Experts(count=5, chosen=0, hidden=7)


# ---- operations


def counted(model, ids, backward=True):
    """What torch counts: only in plain attention, which computes all T squared."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        logits = model(ids)
        logits = logits if isinstance(logits, torch.Tensor) else logits.logits
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


def texts(config, B, T):
    return torch.randint(
        config.vocabulary, (B, T), generator=torch.Generator().manual_seed(T)
    )


@pytest.mark.parametrize(("B", "T"), [(1, 2), (3, 16), (2, 11)])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("numbers", SHAPES)
def test_operations_equal_those_that_torch_counts_in_our_model(numbers, tied, B, T):
    config = shape(numbers, tied=tied)
    model, ids = Transformer(config), texts(config, B, T)
    assert counted(model, ids, backward=False) == B * T * forward_flops(config, T)
    assert counted(model, ids) == full_train_flops(config, B * T, T)


@pytest.mark.parametrize(("B", "T"), [(1, 7), (4, 13)])
@pytest.mark.parametrize("inner", [None, 31])
def test_operations_equal_those_that_torch_counts_in_transformers_gpt2(B, T, inner):
    theirs = GPT2Config(n_embd=24, n_layer=3, n_head=4, vocab_size=29, n_inner=inner)
    config, model = gpt2(theirs), random_model(theirs)
    ids = texts(config, B, T)
    assert counted(model, ids) == full_train_flops(config, B * T, T)


@pytest.mark.parametrize(("B", "T"), [(1, 7), (4, 13)])
@pytest.mark.parametrize("numbers", SHAPES)
def test_operations_equal_those_that_torch_counts_in_transformers_llama(numbers, B, T):
    config = shape(numbers, tied=False)
    model = random_model(hugging(config, LlamaConfig))
    expected = full_train_flops(config, B * T, T)
    assert counted(model, texts(config, B, T)) == expected


@pytest.mark.parametrize(("E", "chosen"), [(4, 1), (8, 2)])
def test_in_a_mixture_only_the_experts_that_are_visited_cost_operations(E, chosen):
    config = shape(SHAPES[0], tied=False)
    sizes = {"num_local_experts": E, "num_experts_per_tok": chosen}
    theirs = hugging(config, MixtralConfig, **sizes)
    theirs._experts_implementation = "eager"  # a loop over experts: plain products
    B, T = 3, 10
    experts = Experts(count=E, chosen=chosen, hidden=config.hidden)
    expected = full_train_flops(config, B * T, T, experts=experts)
    assert counted(random_model(theirs), texts(config, B, T)) == expected


def test_operations_of_latent_attention_equal_those_of_transformers_deepseek():
    theirs = deepseek()
    theirs._experts_implementation = "eager"
    B, T = 2, 9
    expected = B * T * forward_flops(DEEPSEEK, T, experts=ROUTED, latent=LATENT)
    got = counted(random_model(theirs), texts(DEEPSEEK, B, T), backward=False)
    assert got == expected


def test_the_causal_half_equals_a_loop_over_the_pairs_that_are_used():
    config, T = shape(SHAPES[1]), 9
    pairs = sum(1 for query in range(T) for key in range(T) if key <= query)
    used = config.layers * config.heads * pairs * 4 * config.K
    assert T * attention_flops(config, T, causal=True) == used
    whole = attention_flops(config, 10**6)
    assert attention_flops(config, 10**6, causal=True) / whole == pytest.approx(
        0.5, abs=1e-6
    )
    with pytest.raises(ValueError, match="at least one token, not 0"):
        attention_flops(config, 0)


def test_operations_in_matrices_are_two_per_weight_that_multiplies():
    for numbers in SHAPES:
        model = Transformer(shape(numbers, tied=False))
        matrices = [p for p in model.parameters() if p.dim() == 2]
        used = sum(p.numel() for p in matrices) - model.embed.weight.numel()
        assert matrix_flops(model.config) == 2 * used


SEVEN = Config(
    vocabulary=32_000, context=4096, width=4096, layers=32, heads=32, kv_heads=32,
    hidden=11008, tied=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("length", "percent"), [(2048, 8), (8192, 32), (32768, 127), (131072, 510)]
)
def test_what_six_n_d_forgets_grows_with_the_text(length, percent):
    """12 L D T / 6 N on paper: 12 * 32 * 4096 / (6 * 6.74e9) = 3.89e-5 times T."""
    share = attention_share(SEVEN, length, count(SEVEN))
    assert 100 * share == pytest.approx(percent, rel=0.01)
    whole = full_train_flops(SEVEN, 1e9, length)
    embedding = SEVEN.vocabulary * SEVEN.width
    matrices = train_flops(count(SEVEN) - embedding, 1e9)  # a few norms too many
    assert whole / matrices == pytest.approx(
        1 + share * count(SEVEN) / (count(SEVEN) - embedding), rel=1e-3
    )


def test_double_the_model_and_double_the_data_is_four_times_the_compute():
    assert train_flops(14e9, 280e9) == 4 * train_flops(7e9, 140e9)
    assert train_flops(174.6e9, 300e9) == pytest.approx(3.14e23, rel=2e-3)  # GPT-3, D.1


# ---- bytes


def held(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("numbers", SHAPES)
def test_a_run_with_adamw_holds_the_bytes_of_the_formula(numbers, precision):
    config = shape(numbers)
    model = Transformer(config).to(getattr(torch, precision))
    optimizer = adamw(model)
    model(texts(config, 2, 8)).sum().backward()
    optimizer.step()
    weights = list(model.parameters())
    states = [s for p in weights for n, s in optimizer.state[p].items() if n != "step"]
    parts = training_parts(count(config), precision)
    assert held(weights) == parts["weights"]
    assert held(p.grad for p in weights) == parts["gradients"]
    assert held(states) == parts["moments"]
    assert parts["master"] == 0
    total = held([*weights, *(p.grad for p in weights), *states])
    assert total == training_bytes(count(config), precision)
    assert total == 4 * held(weights)  # whatever the precision
    # beside them torch counts its steps, in one float32 number for each tensor
    steps = [optimizer.state[p]["step"] for p in weights]
    assert held(steps) == 4 * len(weights) < 0.01 * total


def test_a_run_in_mixed_precision_holds_sixteen_bytes_for_each_parameter():
    """Weights and gradients in bfloat16; AdamW moves a float32 copy."""
    config = shape(SHAPES[1])
    model = Transformer(config).bfloat16()
    master = Transformer(config)
    master.load_state_dict(model.state_dict())
    optimizer = adamw(master)
    for step in range(2):
        model(texts(config, 2, 8)).float().square().mean().backward()
        for wide, narrow in zip(master.parameters(), model.parameters(), strict=True):
            wide.grad = narrow.grad.float()
            if step == 0:
                narrow.grad = None
        optimizer.step()
        optimizer.zero_grad()  # the wide gradients last only for the step
        with torch.no_grad():
            for wide, narrow in zip(
                master.parameters(), model.parameters(), strict=True
            ):
                narrow.copy_(wide)
    weights, copies = list(model.parameters()), list(master.parameters())
    states = [s for p in copies for n, s in optimizer.state[p].items() if n != "step"]
    kept = [*weights, *(p.grad for p in weights), *copies, *states]
    assert held(kept) == training_bytes(count(config), "bfloat16", mixed=True)
    assert held(kept) == 16 * count(config) == 8 * held(weights)


def test_seven_billion_parameters_are_28_14_and_7_gigabytes_and_112_to_train():
    sizes = [weight_bytes(7e9, p) / 1e9 for p in ("float32", "bfloat16", "int8")]
    assert sizes == [28, 14, 7]
    assert training_bytes(7e9) / 1e9 == 112
    assert training_bytes(7e9, "bfloat16", mixed=True) / 1e9 == 112
    assert training_parts(7e9, "bfloat16", mixed=True)["moments"] / 1e9 == 56


def test_the_largest_trainable_model_fits_exactly():
    for precision, mixed in [
        ("float32", False),
        ("bfloat16", True),
        ("float16", False),
    ]:
        most = largest_trainable(24e9, precision, mixed)
        assert training_bytes(most, precision, mixed) == pytest.approx(24e9)
    assert largest_trainable(24e9, "bfloat16", mixed=True) == 1.5e9


def test_the_bytes_of_a_number_are_those_of_torch():
    for precision, size in BYTES.items():
        if hasattr(torch, precision):
            assert getattr(torch, precision).itemsize == size or size < 1
    assert torch.float8_e4m3fn.itemsize == BYTES["float8"]
    with pytest.raises(ValueError, match=r"float32, .* int4, not fp32"):
        weight_bytes(1, "fp32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("numbers", SHAPES)
def test_a_real_cache_holds_the_bytes_of_the_formula(numbers, precision):
    config = shape(numbers)
    like = torch.empty(0, dtype=getattr(torch, precision))
    cache = KVCache(config, batch=3, capacity=14, like=like)
    expected = held([*cache.keys, *cache.values])
    assert cache_bytes(config, 3, 14, precision) == expected
    weights = held(Transformer(config).to(like.dtype).parameters())
    both = inference_bytes(count(config), config, 3, 14, precision, precision)
    assert both == expected + weights


def test_shared_heads_and_latent_attention_shrink_the_cache():
    """Llama-2-7B keeps 2 * 32 * 4096 numbers per token, DeepSeek-V3 61 * (512 + 64)."""
    assert cache_bytes(SEVEN, 1, 4096) == 4096 * 2 * 32 * 4096 * 2 == 2**31
    shared = replace(SEVEN, kv_heads=8)
    assert cache_bytes(shared, 1, 4096) == 2**31 / 4
    deep = replace(SEVEN, layers=61)
    latent = Latent(query=1536, memory=512, rotary=64, plain=128, value=128)
    assert latent_cache_bytes(deep, latent, 1, 1) == 70_272
    whole = inference_bytes(671e9, deep, 1, 1, latent=latent)
    assert whole == 2 * 671e9 + 70_272


def test_a_window_keeps_the_last_tokens_and_the_bytes_of_a_loop():
    config = shape(SHAPES[0])
    for length in (0, 1, 4, 5, 6, 30):
        kept = len(range(length)[-5:])
        assert cache_bytes(config, 3, length, window=5) == cache_bytes(config, 3, kept)
    assert cache_bytes(config, 0, 9) == 0
    both = inference_bytes(10, config, 2, 30, window=5)
    assert both == 20 + cache_bytes(config, 2, 5)
    wrongs = [{"batch": -1}, {"length": -1}, {"window": 0}]
    for wrong in wrongs:
        with pytest.raises(AssertionError, match=r"of at least 0|1 or more"):
            cache_bytes(config, **{"batch": 1, "length": 1} | wrong)
    with pytest.raises(ValueError, match=r"float32, .*, not bf16"):
        cache_bytes(config, 1, 1, "bf16")


@pytest.mark.parametrize("T", [1, 9, 2048])
@pytest.mark.parametrize("numbers", SHAPES)
def test_six_n_d_with_the_scores_is_what_torch_counts_but_for_the_vectors(numbers, T):
    """N without norms and embedding, with the head: then both counts are equal."""
    config = shape(numbers, tied=False)
    matrices = matrix_flops(config) / 2
    with_scores = train_flops(matrices, 10, config, T)
    assert with_scores == full_train_flops(config, 10, T)
    assert with_scores - train_flops(matrices, 10) == 3 * 10 * attention_flops(
        config, T
    )
    with pytest.raises(AssertionError, match="both or none"):
        train_flops(matrices, 10, length=T)


@pytest.mark.parametrize(
    ("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)]
)
def test_sharding_keeps_what_the_paper_prints(stage, gigabytes):
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters on 64 devices."""
    parts = training_parts(7.5e9, "float16", mixed=True)
    each = sharded(parts, devices=64, stage=stage)
    assert sum(each.values()) / 1e9 == pytest.approx(gigabytes, abs=0.05)
    assert sharded(parts, 1, stage) == parts
    assert each.keys() == parts.keys()


def test_sharding_that_does_not_exist_is_answered_in_a_sentence():
    with pytest.raises(ValueError, match="0, 1, 2 or 3, not 4"):
        sharded(training_parts(1), 2, stage=4)
    with pytest.raises(ValueError, match="At least one device"):
        sharded(training_parts(1), 0)


# ---- what backward remembers


def remembered(model, run):
    """Bytes that autograd keeps for backward, each memory once, weights aside."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory  # held, so that no address comes twice
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(m.nbytes() for place, m in kept.items() if place not in weights)


KINDS = [
    {},
    {"norm": "layer", "mlp": "gelu", "bias": True},
    {"norm": "layer", "positions": "learned", "tied": False},
    {"mlp": "gelu", "bias": True},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [*SHAPES, (29, 40, 24, 2, 6, 6, 4, 50)])
@pytest.mark.parametrize("way", [fused_attend, attend])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_activations_are_the_bytes_that_autograd_keeps(kind, numbers, way, precision):
    config, (B, T) = shape(numbers, **kind), (3, 13)
    attention = partial(CausalSelfAttention, attend=way)
    model = Transformer(config, attention=attention).to(getattr(torch, precision))
    ids = texts(config, B, T)
    parts = activation_parts(config, B, T, precision, fused=way is fused_attend)
    assert remembered(model, lambda: model(ids)) == parts["blocks"] + parts["ends"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_keeps_all_scores_once(precision):
    """Beside them 12 bytes a token: the answer's number, the sum of exponentials."""
    config, (B, T) = shape(SHAPES[1]), (2, 14)
    model = Transformer(config).to(getattr(torch, precision))
    ids = texts(config, B, T + 1)
    measured = remembered(model, lambda: next_token_loss(model, ids)[0].sum())
    expected = activation_bytes(config, B, T, precision)
    assert 0 <= measured - expected <= 12 * B * T + 8 * B


class Forgetful(Block):
    def forward(self, x, *rest):
        return checkpoint(super().forward, x, *rest, use_reentrant=False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputing_keeps_each_blocks_input_alone(precision):
    config, (B, T) = shape(SHAPES[1]), (3, 13)
    model = Transformer(config, block=Forgetful).to(getattr(torch, precision))
    measured = remembered(model, lambda: model(texts(config, B, T)))
    parts = activation_parts(config, B, T, precision, recompute=True)
    one = B * T * layer_kept(config, T, precision)  # while backward is inside a block
    # checkpoint holds the tables of positions itself, where autograd does not see them
    tables = 2 * T * config.K * getattr(torch, precision).itemsize
    expected = parts["blocks"] - one + parts["ends"] - tables
    assert measured == expected


def test_gpt3_keeps_eighty_widths_for_its_tables_of_attention():
    """Korthikanti et al. 2022, section 5: 5 a s / h = 80 beside 34."""
    assert gpt_layer_kept(12288, 96, 2048) == (34 + 80) * 12288
    gpt3 = Config(
        width=12288, heads=96, kv_heads=96, hidden=49152, norm="layer", mlp="gelu",
    )  # fmt: skip
    ours = layer_kept(gpt3, 2048, fused=False) / 12288
    # no dropout: two masks of a byte less in the stream, and of five bytes for every
    # weight four are left, its exponential and its share; sums and statistics are small
    assert ours == pytest.approx(34 - 2 + 80 * 4 / 5, rel=2e-3)
