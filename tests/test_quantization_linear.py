"""Models in few bits: the original untouched, what is stored is what is measured, QLoRA learns, bad input."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from course_lib.batches import rows_of
from course_lib.lora.costs import nf4_bits, trainable_share
from course_lib.lora.layers import ALL, LoRALinear, add_lora, merge_lora
from course_lib.quantization.blocks import BlockWeight
from course_lib.quantization.codebooks import nf4
from course_lib.quantization.groups import bits_per_weight, round_to_nearest
from course_lib.quantization.linear import (
    QuantizedEmbedding,
    QuantizedLinear,
    linear_share,
    linears,
    predicted_bytes,
    quantized,
    replaced,
    stored_bytes,
    unpacked,
    watching,
)
from course_lib.training import next_token_loss, train
from course_lib.transformer import Config, Transformer
from tests.tiny import TEXT, same_bits, transformer, weights

CONFIG = Config(vocabulary=50, context=32, width=64, layers=2, hidden=96)
IDS = torch.randint(50, (3, 20), generator=torch.Generator().manual_seed(5))
STORES = [
    partial(round_to_nearest, bits=8, group="channel"),
    partial(round_to_nearest, bits=4, group=32),
    partial(round_to_nearest, bits=3, group=16, symmetric=False),
    nf4,
    partial(nf4, double=True),
    partial(BlockWeight, name="Q4_0"),
    partial(BlockWeight, name="Q8_0"),
]


def base(config=CONFIG):
    return Transformer(config, generator=torch.Generator().manual_seed(0)).eval()


@pytest.mark.parametrize("make", STORES)
def test_the_copy_says_what_a_model_with_rounded_matrices_says(make):
    model = base()
    before = weights(model)
    small = quantized(model, make)
    assert same_bits(weights(model), before)
    assert list(linears(model)) != []
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for layer in linears(rounded).values():
            layer.weight.copy_(make(layer.weight)())
        assert torch.equal(small(IDS), rounded(IDS))
        assert torch.equal(unpacked(small)(IDS), rounded(IDS))
        assert not torch.equal(small(IDS), model(IDS))
    assert linears(small) == {}
    assert list(linears(unpacked(small))) == list(linears(model))


def test_nothing_of_the_copy_is_shared_with_the_model():
    model = base(Config(vocabulary=50, width=64, layers=1, hidden=96, bias=True))
    small = quantized(model, nf4)
    taken = {p.data_ptr() for p in model.parameters()}
    held = [*small.parameters(), *small.buffers()]
    assert not taken & {t.data_ptr() for t in held}
    assert small.blocks[0].mlp.up.bias.tolist() == model.blocks[0].mlp.up.bias.tolist()


def test_layers_can_be_left_out_and_embeddings_put_in():
    model, make = base(), partial(round_to_nearest, bits=8, group="channel")
    skip = "blocks.0.mlp.down"
    some = quantized(model, nf4, skip=[skip], embedding=make)
    assert type(some.get_submodule(skip)) is nn.Linear
    assert isinstance(some.embed, QuantizedEmbedding)
    with torch.no_grad():
        assert torch.equal(some.embed(IDS), make(model.embed.weight)()[IDS])
        difference = some(IDS) - quantized(model, nf4, skip=[skip])(IDS)
    assert 0 < difference.abs().max() < 0.1  # the tied head reads it, too


def test_generation_with_a_cache_works_on_the_copy():
    from course_lib.sampling.generate import generate

    small = quantized(base(), nf4)
    with_cache = generate(small, IDS[:, :5], 8, temperature=0)
    again = generate(unpacked(small), IDS[:, :5], 8, temperature=0)
    assert torch.equal(with_cache, again)


# ---- bytes


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        (partial(round_to_nearest, bits=4, group=32), bits_per_weight(4, 32)),
        (partial(round_to_nearest, bits=3, group=16), bits_per_weight(3, 16)),
        (nf4, nf4_bits()),
        (partial(BlockWeight, name="Q5_0"), 5.5),
    ],
)
def test_a_model_weighs_what_was_predicted(make, bits):
    model = base()
    linear, rest = linear_share(model)
    assert linear + rest == model.parameter_count
    assert stored_bytes(model) == predicted_bytes(linear, rest, 32)
    assert stored_bytes(quantized(model, make)) == predicted_bytes(linear, rest, bits)


def test_the_file_on_disk_is_as_long_as_the_bytes_measured(tmp_path):
    from safetensors.torch import save_file

    small = quantized(base(), nf4)
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    size = (tmp_path / "small.safetensors").stat().st_size
    header = int.from_bytes((tmp_path / "small.safetensors").read_bytes()[:8], "little")
    assert size == stored_bytes(small) + header + 8


def test_bert_base_becomes_less_than_two_and_a_half_times_smaller():
    """E112: "4x smaller". 12 layers of 768 and 3072, a pooler, 30,522 words, 512 places."""
    D, hidden, layers = 768, 3072, 12
    linear = layers * (4 * D * D + 2 * D * hidden) + D * D
    norms, biases = (2 * layers + 1) * 2 * D, layers * (5 * D + hidden) + D
    rest = (30_522 + 512 + 2) * D + norms + biases
    before, after = predicted_bytes(linear, rest, 32), predicted_bytes(linear, rest, 8)
    assert (round(before / 1e6), round(after / 1e6)) == (438, 181)
    assert before / after == pytest.approx(2.41, abs=0.005)


def test_gpt2_of_transformers_has_next_to_nothing_to_quantize():
    """E110: its layers are Conv1D; its one linear layer is the embedding again."""
    size = {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "vocab_size": 100,
        "n_positions": 16,
    }
    model = GPT2LMHeadModel(GPT2Config(**size))
    assert sum(isinstance(m, Conv1D) for m in model.modules()) == 8
    assert list(linears(model)) == ["lm_head"]
    assert linear_share(model)[0] == 0
    small = quantized(model, partial(round_to_nearest, bits=8, group="channel"))
    assert stored_bytes(small) > stored_bytes(model)  # the embedding stays as it was


def test_a_model_without_linear_layers_is_refused():
    with pytest.raises(ValueError, match="no layer of the class"):
        quantized(nn.Sequential(Conv1D(3, 4)), nf4)


def test_a_refusal_names_the_layer():
    model = base()
    make = partial(round_to_nearest, bits=4, group=48)
    with pytest.raises(
        ValueError, match=r"blocks.0.attention.query: Groups of 48 do not"
    ):
        quantized(model, make)
    with torch.no_grad():
        model.blocks[1].mlp.up.weight[3, 3] = torch.nan
    with pytest.raises(ValueError, match=r"blocks.1.mlp.up: 1 of 6144 numbers are nan"):
        quantized(model, nf4)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"no module called 'blocks.7'"):
        replaced(base(), {"blocks.7": nn.Identity()})


# ---- watching


def test_what_layers_read_is_seen_and_nothing_remains_afterwards():
    model, seen = base(), {}
    with watching(model, lambda name, x: seen.update({name: x.shape})), torch.no_grad():
        watched = model(IDS)
    assert list(seen) == list(linears(model))
    assert seen["blocks.0.mlp.down"] == (60, 96)
    seen.clear()
    with torch.no_grad():
        assert torch.equal(model(IDS), watched)
    assert seen == {}


def test_hooks_go_away_after_an_error_as_well():
    model = base()
    with pytest.raises(ZeroDivisionError), watching(model, lambda name, x: 1 / 0):
        model(IDS)
    model(IDS)


# ---- QLoRA


def test_qlora_starts_as_its_base_and_learns_with_the_codes_held():
    model = transformer()
    add_lora(model, ALL, rank=4, generator=torch.Generator().manual_seed(0))
    small = quantized(model, partial(nf4, block=16))
    layer = small.blocks[0].mlp.up
    assert isinstance(layer, LoRALinear)
    assert isinstance(layer.linear, QuantizedLinear)
    assert trainable_share(small)[0] == trainable_share(model)[0]
    codes = layer.linear.store.packed.clone()
    batches = rows_of(TEXT, batch=8, length=12)
    history = train(small, batches, next_token_loss, steps=30, lr=5e-2)
    full = train(model, batches, next_token_loss, steps=30, lr=5e-2)
    assert torch.equal(layer.linear.store.packed, codes)
    assert history.mean(5) < history.losses[0] - 0.1
    assert history.mean(5) < full.mean(5) + 0.05


def test_the_gradient_of_the_adapter_is_that_beside_a_float_base_of_the_same_numbers():
    model = transformer()
    add_lora(model, ["query", "down"], rank=2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".B"):
                p.normal_(generator=torch.Generator().manual_seed(1))
    small = quantized(model, nf4)
    ids = TEXT[:14].view(1, 14)
    next_token_loss(small, ids)[0].mean().backward()
    flat = unpacked(small)
    next_token_loss(flat, ids)[0].mean().backward()
    grads = {n: p.grad for n, p in flat.named_parameters() if n.endswith((".A", ".B"))}
    ours = dict(small.named_parameters())
    assert len(grads) == 8
    for name, grad in grads.items():
        torch.testing.assert_close(ours[name].grad, grad)


def test_an_adapter_is_merged_into_the_numbers_that_the_codes_stand_for():
    model = transformer()
    add_lora(model, ["query"], rank=2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".B"):
                p.fill_(0.1)
    small, ids = quantized(model, nf4), TEXT[:14].view(1, 14)
    plain = unpacked(small)
    with torch.no_grad():
        merge_lora(plain)
        torch.testing.assert_close(plain(ids), small(ids))
