"""The model: causal, blind to padding, the same in pieces, equal to transformers, clear about bad input."""

import math
from dataclasses import FrozenInstanceError, replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from course_lib.attention import CausalSelfAttention, KVCache, attend
from course_lib.transformer import (
    Block,
    Config,
    GeluMLP,
    RMSNorm,
    SwiGLU,
    Transformer,
    check_input,
    positions_and_mask,
)

LLAMA = Config(vocabulary=61, context=24, width=24, layers=2, heads=6, hidden=40)
GPT2 = replace(
    LLAMA, kv_heads=6, positions="learned", norm="layer", mlp="gelu", bias=True
)
KINDS = {
    "llama": LLAMA,
    "untied": replace(LLAMA, tied=False, rope_base=100.0),
    "one head for all": replace(LLAMA, kv_heads=1, head_width=10),
    "biased": replace(LLAMA, qkv_bias=True),
    "gpt2": GPT2,
}
IDS = torch.randint(61, (3, 12), generator=torch.Generator().manual_seed(5))
every_kind = pytest.mark.parametrize("kind", KINDS)


def built(config=LLAMA, seed=0, double=True, **pieces):
    """A model with large weights, biases too, so that a mistake shows."""
    draw = torch.Generator().manual_seed(seed)
    model = Transformer(config, **pieces, generator=draw)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=draw) * 0.2)
    return model.double() if double else model


def close(left, right, tolerance=1e-10):  # float64: only the order of sums differs
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- causality


@every_kind
def test_changing_a_future_token_leaves_earlier_logits_unchanged(kind):
    model = built(KINDS[kind])
    changed = IDS.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 61
    before, after = model(IDS), model(changed)
    close(before[:, :7], after[:, :7])
    assert ((before[:, 7:] - after[:, 7:]).abs().amax(dim=-1) > 1e-6).all()


def test_no_gradient_flows_from_a_token_to_what_came_before():
    model = built()
    x = model.embed(IDS).detach().requires_grad_()
    model.embed.register_forward_hook(lambda *_: x)
    model(IDS)[0, 4].sum().backward()
    reached = x.grad.abs().sum(dim=-1) > 0  # (B, T)
    assert reached[0].tolist() == [True] * 5 + [False] * 7
    assert not reached[1:].any()


def test_order_matters():
    model = built()
    turned = IDS[:, [1, 0, *range(2, 12)]]
    assert (model(IDS)[:, -1] - model(turned)[:, -1]).abs().max() > 1e-3


# ---- equal to transformers


def transformers_llama(model):
    """LlamaForCausalLM with our weights, copied one by one."""
    c = model.config
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=c.vocabulary,
            hidden_size=c.width,
            intermediate_size=c.hidden,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            num_key_value_heads=c.kv_heads,
            head_dim=c.K,
            max_position_embeddings=c.context,
            rms_norm_eps=c.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
            tie_word_embeddings=c.tied,
        )
    )
    pairs = [(theirs.model.embed_tokens, model.embed), (theirs.model.norm, model.norm)]
    if not c.tied:
        pairs.append((theirs.lm_head, model.unembed))
    for a, b in zip(theirs.model.layers, model.blocks, strict=True):
        pairs += [
            (a.input_layernorm, b.attention_norm),
            (a.self_attn.q_proj, b.attention.query),
            (a.self_attn.k_proj, b.attention.key),
            (a.self_attn.v_proj, b.attention.value),
            (a.self_attn.o_proj, b.attention.output),
            (a.post_attention_layernorm, b.mlp_norm),
            (a.mlp.gate_proj, b.mlp.gate),
            (a.mlp.up_proj, b.mlp.up),
            (a.mlp.down_proj, b.mlp.down),
        ]
    for left, right in pairs:
        left.load_state_dict(right.state_dict())
    return theirs.eval()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["llama", "untied", "one head for all"])
def test_logits_and_gradients_equal_those_of_transformers_llama(kind, seed):
    model = built(KINDS[kind], seed, double=False)
    theirs = transformers_llama(model)
    left, right = model(IDS), theirs(IDS).logits
    close(left, right, 1e-5)
    targets = IDS.roll(-1, 1).flatten()
    for logits in (left, right):
        functional.cross_entropy(logits.flatten(0, 1), targets).backward()
    close(model.embed.weight.grad, theirs.model.embed_tokens.weight.grad, 1e-4)
    query = theirs.model.layers[0].self_attn.q_proj.weight.grad
    close(model.blocks[0].attention.query.weight.grad, query, 1e-4)


def test_padded_logits_equal_those_of_transformers_llama():
    model = built(double=False)
    theirs = transformers_llama(model)
    mask = padded("left")
    places = (mask.cumsum(1) - 1).clamp(min=0)
    right = theirs(IDS, attention_mask=mask.long(), position_ids=places).logits
    close(model(IDS, mask)[mask], right[mask], 1e-5)


def test_logits_equal_those_of_transformers_gpt2():
    model, c = built(GPT2, double=False), GPT2
    config = GPT2Config(
        vocab_size=c.vocabulary,
        n_positions=c.context,
        n_embd=c.width,
        n_layer=c.layers,
        n_head=c.heads,
        n_inner=c.hidden,
        bos_token_id=None,
        eos_token_id=None,
    )
    theirs = GPT2LMHeadModel(config).eval()
    body = theirs.transformer
    with torch.no_grad():
        body.wte.weight.copy_(model.embed.weight)
        body.wpe.weight.copy_(model.places.weight)
        body.ln_f.load_state_dict(model.norm.state_dict())
        for a, b in zip(body.h, model.blocks, strict=True):
            a.ln_1.load_state_dict(b.attention_norm.state_dict())
            a.ln_2.load_state_dict(b.mlp_norm.state_dict())
            three = (b.attention.query, b.attention.key, b.attention.value)
            a.attn.c_attn.weight.copy_(torch.cat([part.weight.T for part in three], 1))
            a.attn.c_attn.bias.copy_(torch.cat([part.bias for part in three]))
            for left, right in (
                (a.attn.c_proj, b.attention.output),
                (a.mlp.c_fc, b.mlp.up),
                (a.mlp.c_proj, b.mlp.down),
            ):
                left.weight.copy_(right.weight.T)
                left.bias.copy_(right.bias)
        close(model(IDS), theirs(IDS).logits, 1e-5)


# ---- padding


def padded(side):
    """Texts of 12, 8 and 1 tokens in a rectangle of 12."""
    kept = torch.arange(12) < torch.tensor([[12], [8], [1]])
    return {"right": kept, "left": kept.flip(1)}[side]


WRITTEN_OUT = {"attention": partial(CausalSelfAttention, attend=attend)}


@every_kind
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pieces", [{}, WRITTEN_OUT], ids=["fused", "written out"])
def test_logits_of_real_tokens_do_not_change_with_padding(kind, side, pieces):
    model, mask = built(KINDS[kind], **pieces), padded(side)
    logits = model(IDS, mask)
    assert logits.isfinite().all()
    for row, keep in enumerate(mask):
        alone = model(IDS[row, keep][None])[0]
        close(logits[row, keep], alone)


def test_float32_logits_do_not_change_with_padding_either():
    model = Transformer(LLAMA)
    for mask in (padded("left"), padded("right")):
        logits = model(IDS, mask)
        for row, keep in enumerate(mask):
            close(logits[row, keep], model(IDS[row, keep][None])[0], 1e-5)


def test_what_stands_in_the_padding_has_no_influence_and_no_gradient():
    model, mask = built(), padded("left")
    other = IDS.where(mask, 60 - IDS)
    close(model(IDS, mask)[mask], model(other, mask)[mask])
    x = model.embed(IDS).detach().requires_grad_()
    model.embed.register_forward_hook(lambda *_: x)
    model(IDS, mask)[mask].sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[~mask] == 0).all()


def test_padding_in_the_middle_is_skipped():
    model = built()
    mask = torch.tensor([[False, True, True, False, False, True, True]])
    ids = IDS[:1, :7]
    close(model(ids, mask)[mask], model(ids[mask][None])[0])


def test_a_mask_that_keeps_everything_changes_nothing():
    model = built()
    close(model(IDS, torch.ones_like(IDS).bool()), model(IDS))


def test_right_padding_needs_no_mask():
    model, mask = built(), padded("right")
    close(model(IDS)[mask], model(IDS, mask)[mask])


def test_positions_count_real_tokens():
    mask = torch.tensor([[False, False, True, True], [True, True, True, False]])
    positions, allowed = positions_and_mask(IDS[:2, :4], mask, past=0)
    assert positions.tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
    assert allowed[0, 0].int().tolist() == [
        [1, 0, 0, 0],  # padding sees itself alone
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 1],
    ]


# ---- the cache


@every_kind
@pytest.mark.parametrize("steps", [[12], [1] * 12, [5, 1, 6], [11, 1]])
def test_reading_in_pieces_gives_the_same_logits(kind, steps):
    model = built(KINDS[kind])
    cache = KVCache(model.config, 3, 12, like=model.embed.weight.detach())
    with torch.no_grad():
        parts = [model(piece, cache=cache) for piece in IDS.split(steps, dim=1)]
        assert cache.length == 12
        close(torch.cat(parts, dim=1), model(IDS))


@every_kind
@pytest.mark.parametrize("side", ["left", "right"])
def test_reading_padded_texts_in_pieces_gives_the_same_logits(kind, side):
    model, mask = built(KINDS[kind]), padded(side)
    cache, parts = KVCache(model.config, 3, 20, like=model.embed.weight.detach()), []
    with torch.no_grad():
        for piece in IDS.split([4, 1, 6, 1], dim=1):
            seen = mask[:, : cache.length + piece.shape[1]]
            parts.append(model(piece, seen, cache))
        close(torch.cat(parts, dim=1)[mask], model(IDS, mask)[mask])


def test_setting_the_length_back_forgets():
    model, cache = built(), KVCache(LLAMA, 3, 20, like=drawn_like())
    with torch.no_grad():
        model(60 - IDS, cache=cache)
        cache.length = 0
        model(IDS, cache=cache)
        cache.length = 5
        close(model(IDS[:, 5:], cache=cache), model(IDS)[:, 5:])


def drawn_like():
    return torch.empty(0, dtype=torch.float64)


# ---- the pieces


def test_rms_norm_is_the_one_on_paper_and_that_of_transformers():
    norm = RMSNorm(replace(LLAMA, width=2, heads=1, kv_heads=1, norm_eps=1e-12))
    norm.weight.data = torch.tensor([1.0, 10.0])
    # mean of 9 and 16 is 12.5
    expected = [3 / math.sqrt(12.5), 40 / math.sqrt(12.5)]
    assert norm(torch.tensor([3.0, 4.0])).tolist() == pytest.approx(expected)
    assert norm(torch.zeros(2)).tolist() == [0, 0]


def test_swiglu_multiplies_the_gate_with_the_value():
    mlp = SwiGLU(replace(LLAMA, width=1, heads=1, kv_heads=1, hidden=1, head_width=2))
    for part, weight in ((mlp.gate, 2.0), (mlp.up, 3.0), (mlp.down, 5.0)):
        part.weight.data.fill_(weight)
    gate = 2 / (1 + math.exp(-2))  # silu(2)
    assert mlp(torch.ones(1)).item() == pytest.approx(5 * gate * 3)


def test_the_gelu_is_gpt2s():
    mlp, x = GeluMLP(GPT2), torch.randn(5, 24)
    close(mlp(x), mlp.down(ACT2FN["gelu_new"](mlp.up(x))), 1e-6)
    exact = mlp.down(functional.gelu(mlp.up(3 * x)))
    assert (mlp(3 * x) - exact).abs().max() > 1e-6


class OwnNorm(nn.Module):
    """What a learner may write instead."""

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.width))
        self.eps = config.norm_eps

    def forward(self, x):
        return functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def test_a_learners_pieces_drop_in():
    pieces = {
        "norm": OwnNorm,
        **WRITTEN_OUT,
        "mlp": lambda config: SwiGLU(config),
    }
    ours, own = built(), built(**pieces)
    assert isinstance(own.norm, OwnNorm)
    assert isinstance(own.blocks[1].mlp_norm, OwnNorm)
    close(own(IDS), ours(IDS), 1e-6)
    cache = KVCache(LLAMA, 3, 12, like=drawn_like())
    with torch.no_grad():
        parts = [own(piece, cache=cache) for piece in IDS.split([7, 1, 4], dim=1)]
    close(torch.cat(parts, dim=1), own(IDS))


def test_a_learners_block_drops_in():
    class Silent(Block):
        def forward(self, x, *others):
            return x

    silent = built(block=Silent)
    assert all(isinstance(block, Silent) for block in silent.blocks)
    close(silent(IDS), silent.head(silent.norm(silent.embed(IDS))))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 2000.0])
def test_rms_norm_equals_llamas_in_every_precision_and_size(dtype, size):
    wide = replace(LLAMA, norm_eps=1e-6)
    ours, theirs = RMSNorm(wide).to(dtype), LlamaRMSNorm(24, eps=1e-6).to(dtype)
    x = (size * torch.randn(50, 24, generator=torch.Generator().manual_seed(0))).to(
        dtype
    )
    assert ours(x).dtype == dtype
    assert ours(x).isfinite().all()
    close(ours(x), theirs(x), 1e-6)


def test_the_stream_and_the_attention_can_be_watched_with_hooks():
    model, stream = built(), []
    for block in model.blocks:
        block.register_forward_hook(lambda module, given, out: stream.append(out))
    logits = model(IDS)
    assert [x.shape for x in stream] == [(3, 12, 24)] * 2
    close(model.head(model.norm(stream[-1])), logits)


def test_hidden_and_head_make_the_forward_pass():
    model = built()
    assert model.hidden(IDS).shape == (3, 12, 24)
    close(model.head(model.hidden(IDS)), model(IDS))
    close(model.head(model.hidden(IDS)[:, -1]), model(IDS)[:, -1])


# ---- the start


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loss_at_the_start_is_about_the_log_of_the_vocabulary(tied, seed):
    draw = torch.Generator().manual_seed(seed)
    model = Transformer(Config(tied=tied), generator=draw)
    ids = torch.randint(768, (4, 64), generator=draw)
    logits = model(ids)[:, :-1].flatten(0, 1)
    loss = functional.cross_entropy(logits, ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(768), abs=0.1)


def test_weights_start_small_and_what_writes_to_the_stream_smaller():
    config = Config(layers=8, tied=False)
    model = Transformer(config, generator=torch.Generator().manual_seed(0))
    for name, p in model.named_parameters():
        if "norm" in name:
            assert (p == 1).all()
        else:
            writes = "output" in name or "down" in name
            std = 0.02 / 4 if writes else 0.02  # sqrt(2 * 8 layers) = 4
            assert p.std().item() == pytest.approx(std, rel=0.05), name
    biases = [p for name, p in Transformer(GPT2).named_parameters() if "bias" in name]
    assert len(biases) == 2 * (4 + 2 + 2) + 1
    assert all((p == 0).all() for p in biases)


def test_one_seed_gives_one_model():
    def model(seed):
        return Transformer(LLAMA, generator=torch.Generator().manual_seed(seed))

    left, same, other = model(1).state_dict(), model(1).state_dict(), model(2)
    assert all(left[name].equal(same[name]) for name in left)
    assert not left["embed.weight"].equal(other.embed.weight)


def test_parameters_are_counted_once():
    c = LLAMA
    attention = (
        24 * 24 + 2 * 24 * 8 + 24 * 24
    )  # query, key and value of 2 heads, output
    block = attention + 3 * 24 * 40 + 2 * 24
    count = 61 * 24 + c.layers * block + 24
    assert Transformer(c).parameter_count == count
    assert Transformer(replace(c, tied=False)).parameter_count == count + 61 * 24


def test_training_on_one_text_learns_it():
    model = Transformer(LLAMA, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        logits = model(IDS[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


def test_every_parameter_receives_a_gradient():
    for config in KINDS.values():
        model = built(config)
        model(IDS).logsumexp(-1).sum().backward()
        assert all(
            p.grad.abs().sum() > 0
            for name, p in model.named_parameters()
            if "key.bias" not in name
        )


# ---- bad input is answered in one sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 5}, "heads must divide width, or set head_width: 24 / 5"),
        ({"kv_heads": 4}, "kv_heads must divide heads: 6 / 4"),
        ({"width": 18}, "even width, not 3"),
        ({"head_width": 7}, "even width, not 7"),
        ({"head_width": 0}, "even width, not 0"),
        ({"layers": 0}, "layers is at least 1, not 0"),
        ({"hidden": -4}, "hidden is at least 1, not -4"),
        ({"positions": "absolute"}, "positions is rotary or learned, not absolute"),
        ({"mlp": "relu"}, "mlp is swiglu or gelu, not relu"),
    ],
)
def test_a_config_that_cannot_be_built_says_why(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(LLAMA, **changes)


def test_a_config_cannot_be_changed_after_the_fact():
    with pytest.raises(FrozenInstanceError):
        LLAMA.layers = 3


def test_learned_positions_allow_an_odd_head_width():
    config = replace(GPT2, width=18)
    assert Transformer(config)(IDS).shape == (3, 12, 61)


ONE_MORE = torch.zeros(3, 25, dtype=torch.long)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (IDS.clamp(min=60) + 1, "run from 61 to 61, but the vocabulary ends at 60"),
        (IDS - 61, "ids run from -60 to"),
        (IDS[0], r"shape \(B, T\), not torch.int64 \(12,\)"),
        (IDS.float(), "torch.float32"),
        (IDS > 3, "torch.bool"),
        (IDS[:, :0], r"no token to read: ids have shape \(3, 0\)"),
        (IDS[:0], r"no token to read: ids have shape \(0, 12\)"),
        (ONE_MORE, "has 25 tokens, but there is room for 24"),
    ],
)
def test_bad_ids_are_named(ids, words):
    with pytest.raises(ValueError, match=words):
        Transformer(LLAMA)(ids)


@pytest.mark.parametrize(
    "mask", [(IDS > 3)[:, :5], (IDS > 3)[0], IDS, torch.ones(3, 12)]
)
def test_a_bad_mask_is_named(mask):
    words = r"mask must be boolean of shape \(3, 12\), not torch"
    with pytest.raises(ValueError, match=words):
        Transformer(LLAMA)(IDS, mask)


@torch.no_grad()
def test_a_cache_that_does_not_fit_is_named():
    model, cache = Transformer(LLAMA), KVCache(LLAMA, 3, 30)
    model(IDS, cache=cache)
    with pytest.raises(ValueError, match="has 25 tokens, but there is room for 24"):
        model(ONE_MORE[:, :13], cache=cache)
    with pytest.raises(ValueError, match="cache holds 3 texts, not 2"):
        model(IDS[:2], cache=cache)
    with pytest.raises(ValueError, match=r"shape \(3, 24\)"):
        model(IDS, IDS > 3, cache)
    with pytest.raises(ValueError, match="room for 5"):
        model(IDS[:, :6], cache=KVCache(LLAMA, 3, 5))
    assert cache.length == 12  # a refusal changes nothing
    model(IDS, cache=cache)


def test_the_check_reads_no_number_from_an_accelerator():
    """On the meta device there is nothing to read, so reading would raise."""
    check_input(LLAMA, torch.zeros(2, 3, dtype=torch.long, device="meta"), None, None)
