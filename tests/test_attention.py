"""Attention: worked on paper, equal to a loop and to torch, never ahead, and the same with a cache."""

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from course_lib.attention import (
    CausalSelfAttention,
    KVCache,
    attend,
    fused_attend,
    repeat_kv,
    rotary,
    rotate,
)
from course_lib.masks import causal_mask
from course_lib.transformer import Config

CONFIG = Config(vocabulary=50, context=32, width=24, layers=2, heads=6, kv_heads=2)


def drawn(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64)


def heads(T, S, H=6, KV=6, K=4):
    return drawn(2, H, T, K), drawn(2, KV, S, K, seed=1), drawn(2, KV, S, K, seed=2)


def close(left, right, tolerance=1e-12):  # float64: only the order of sums differs
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- who may look at whom


def test_the_causal_mask_is_the_one_drawn_on_paper():
    assert causal_mask(3, 3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal_mask(1, 4).all()


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (2, 7), (1, 1), (1, 9)])
def test_the_causal_mask_compares_positions(queries, keys):
    mask = causal_mask(queries, keys)
    assert mask.shape == (queries, keys)
    assert mask.dtype == torch.bool
    for i in range(queries):
        for j in range(keys):
            assert mask[i, j] == (j <= i + keys - queries)


def test_more_queries_than_keys_make_no_causal_mask():
    with pytest.raises(AssertionError, match="one of the keys"):
        causal_mask(3, 2)


# ---- rotary positions


def test_a_quarter_turn_is_the_one_on_paper():
    cos, sin = torch.tensor([0.0, 0.0]), torch.tensor([-1.0, 1.0])
    assert rotate(torch.tensor([3.0, 5.0]), cos, sin).tolist() == [-5.0, 3.0]


def test_each_pair_turns_by_its_own_angle():
    cos, sin = rotary(torch.tensor([7]), width=6, base=100.0)
    for i in range(3):
        angle = 7 * 100.0 ** (-2 * i / 6)
        assert cos[0, [i, i + 3]].tolist() == pytest.approx(
            [math.cos(angle)] * 2, abs=1e-6
        )
        expected = [-math.sin(angle), math.sin(angle)]
        assert sin[0, [i, i + 3]].tolist() == pytest.approx(expected, abs=1e-6)


def test_rotation_keeps_lengths_and_the_first_position_stays():
    x = drawn(2, 3, 5, 8)
    turned = rotate(x, *rotary(torch.arange(5), 8))
    close(turned.norm(dim=-1), x.norm(dim=-1), 1e-6)
    assert turned[:, :, 0].equal(x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1], x[:, :, 1])


@pytest.mark.parametrize("shift", [1, 10, 100])
def test_rotated_scores_depend_on_distance_only(shift):
    q, k = drawn(16), drawn(16, seed=1)

    def score(at_q, at_k):
        turned = [
            rotate(x, *rotary(torch.tensor(t), 16)) for x, t in ((q, at_q), (k, at_k))
        ]
        return turned[0] @ turned[1]

    # angles are float32: at position 100 they are right to about 1e-5
    close(score(9, 4), score(9 + shift, 4 + shift), 1e-4)
    assert abs(score(9, 4) - score(9 + shift, 4)) > 1e-2


def test_rotation_equals_that_of_transformers():
    q, k = drawn(2, 6, 9, 4).float(), drawn(2, 2, 9, 4, seed=1).float()
    cos, sin = rotary(torch.arange(9), 4)
    unsigned = torch.cat([sin[:, 2:], sin[:, 2:]], dim=-1)[None]
    theirs = apply_rotary_pos_emb(q, k, cos[None], unsigned)
    close(rotate(q, cos, sin), theirs[0], 1e-6)
    close(rotate(k, cos, sin), theirs[1], 1e-6)


def test_an_odd_width_is_refused():
    with pytest.raises(AssertionError, match="width=5"):
        rotary(torch.arange(3), 5)


# ---- attention itself


def looped(q, k, v, mask):
    """One query, one key, one number at a time."""
    out = torch.zeros_like(q)
    B, H, T, K = q.shape
    mask = mask.expand(B, H, T, k.shape[2])
    for place in torch.cartesian_prod(*(torch.arange(n) for n in (B, H, T))):
        b, h, t = place.tolist()
        seen = [s for s in range(k.shape[2]) if mask[b, h, t, s]]
        weights = [math.exp(q[b, h, t] @ k[b, h, s] / math.sqrt(K)) for s in seen]
        for s, weight in zip(seen, weights, strict=True):
            out[b, h, t] += weight / sum(weights) * v[b, h, s]
    return out


def some_mask(T, S):
    """Differs between texts, and leaves every query at least its own key."""
    keep = torch.rand(2, 1, T, S, generator=torch.Generator().manual_seed(3)) < 0.5
    return keep & causal_mask(T, S) | causal_mask(T, S).tril(S - T).triu(S - T)


def test_two_keys_are_mixed_as_on_paper():
    q = torch.tensor([[[[2.0 * math.log(3)]]]])  # K = 1, so scores are 2 ln 3 times k
    k = torch.tensor([[[[0.0], [0.5]]]])  # weights 1 and 3, over 4
    v = torch.tensor([[[[8.0], [4.0]]]])
    assert attend(q, k, v, causal_mask(1, 2)).item() == pytest.approx(5.0)
    assert fused_attend(q, k, v).item() == pytest.approx(5.0)


def test_scores_are_divided_by_the_root_of_the_width():
    q = torch.full((1, 1, 1, 16), math.log(3) / 4)  # 16 * ln 3 / 4 / sqrt(16) = ln 3
    k = torch.stack([torch.ones(16), torch.zeros(16)])[None, None]
    v = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).expand(1, 1, 2, 16)
    assert attend(q, k, v, causal_mask(1, 2))[0, 0, 0, 0] == pytest.approx(0.75)


@pytest.mark.parametrize(("T", "S"), [(5, 5), (3, 7), (1, 6)])
def test_attend_equals_the_loop_and_torch_under_any_mask(T, S):
    q, k, v = heads(T, S)
    for mask in (causal_mask(T, S), some_mask(T, S)):
        expected = looped(q, k, v, mask)
        close(attend(q, k, v, mask), expected)
        close(fused_attend(q, k, v, mask), expected)
        close(scaled_dot_product_attention(q, k, v, mask), expected)


@pytest.mark.parametrize(("T", "S"), [(5, 5), (3, 7), (1, 6), (1, 1)])
def test_fused_attention_is_causal_and_aligned_to_the_last_key(T, S):
    q, k, v = heads(T, S)
    close(fused_attend(q, k, v), looped(q, k, v, causal_mask(T, S)))


@pytest.mark.parametrize(("T", "S"), [(5, 5), (3, 7), (1, 6)])
def test_fused_attention_shares_keys_as_if_they_were_repeated(T, S):
    q, k, v = heads(T, S, KV=2)
    repeated = (repeat_kv(k, 3), repeat_kv(v, 3))
    close(fused_attend(q, k, v), attend(q, *repeated, causal_mask(T, S)))
    mask = some_mask(T, S)
    close(fused_attend(q, k, v, mask), attend(q, *repeated, mask))


def test_repeated_heads_stand_side_by_side():
    x = torch.arange(2 * 3).view(1, 3, 2, 1)
    y = repeat_kv(x, 2)
    assert y.shape == (1, 6, 2, 1)
    assert y[0, :, 0, 0].tolist() == [0, 0, 2, 2, 4, 4]  # not 0, 2, 4, 0, 2, 4
    assert repeat_kv(x, 1).equal(x)


def test_large_scores_do_not_overflow():
    q, k, v = (x.float() for x in heads(4, 4))
    mixed = attend(1e4 * q, 1e4 * k, v, causal_mask(4, 4))
    assert mixed.isfinite().all()


def test_heads_that_do_not_fit_are_refused():
    q, k, v = heads(3, 3, KV=2)
    with pytest.raises(AssertionError, match="one H"):
        attend(q, k, v, causal_mask(3, 3))
    with pytest.raises(AssertionError, match="one value per key"):
        attend(q, q, v, causal_mask(3, 3))


# ---- the layer


def layer(config=CONFIG, **pieces):
    torch.manual_seed(0)
    return CausalSelfAttention(config, **pieces).double()


def test_the_layer_gives_the_same_numbers_with_either_attend():
    x, rotation = drawn(2, 7, 24), rotary(torch.arange(7), CONFIG.K)
    close(layer()(x, rotation), layer(attend=attend)(x, rotation))
    mask = some_mask(7, 7)
    close(layer()(x, rotation, mask), layer(attend=attend)(x, rotation, mask))


@torch.no_grad()
def test_the_layer_written_out_head_by_head_gives_the_same_numbers():
    x, one = drawn(1, 5, 24), layer()
    found = one(x)[0]
    parts = []
    for h in range(6):
        mine, shared = slice(4 * h, 4 * h + 4), slice(4 * (h // 3), 4 * (h // 3) + 4)
        q = x @ one.query.weight[mine].T
        k, v = x @ one.key.weight[shared].T, x @ one.value.weight[shared].T
        parts.append(looped(q[None], k[None], v[None], causal_mask(5, 5))[0, 0])
    close(found, torch.cat(parts, dim=-1) @ one.output.weight.T)


def test_weights_can_be_watched_through_attend():
    seen = []

    def watched(q, k, v, mask):
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -math.inf)
        seen.append(scores.softmax(-1))
        return attend(q, k, v, mask)

    x, plain = drawn(2, 5, 24), layer()
    expected = plain(x)
    plain.attend = watched  # on a finished model, too
    close(plain(x), expected)
    assert seen[0].shape == (2, 6, 5, 5)
    assert seen[0].triu(1).sum() == 0
    close(partial(layer, attend=watched)()(x), expected)


@pytest.mark.parametrize("pieces", [{}, {"attend": attend}])
@pytest.mark.parametrize("steps", [[6], [1] * 6, [3, 1, 2], [5, 1]])
def test_the_layer_reads_in_pieces_what_it_reads_at_once(steps, pieces):
    x, one, cache = (
        drawn(2, 6, 24),
        layer(**pieces),
        KVCache(CONFIG, 2, 8, like=drawn(1)),
    )
    rotation = rotary(torch.arange(6), CONFIG.K)
    whole, parts = one(x, rotation), []
    for new in steps:
        now = slice(cache.length, cache.length + new)
        turned = tuple(r[now] for r in rotation)
        parts.append(one(x[:, now], turned, remember=cache.at(1)))
        cache.length += new
    close(torch.cat(parts, dim=1), whole)


# ---- the cache


def test_the_cache_keeps_layers_apart_and_rows_in_order():
    cache = KVCache(CONFIG, batch=3, capacity=4)
    assert (cache.batch, cache.capacity, cache.length) == (3, 4, 0)
    first, second = drawn(3, 2, 2, 4).float(), drawn(3, 2, 2, 4, seed=1).float()
    cache.append(0, first, -first)
    k, v = cache.append(1, second, -second)
    assert k.equal(second)
    assert v.equal(-second)
    cache.length = 2
    k, _ = cache.append(0, second, second)
    assert k.equal(torch.cat([first, second], dim=2))


def test_rows_of_the_cache_can_be_dropped_and_repeated():
    cache, x = KVCache(CONFIG, batch=3, capacity=2), drawn(3, 2, 1, 4).float()
    cache.append(0, x, -x)
    cache.length = 1
    cache.repeat(2)
    assert cache.batch == 6
    assert cache.keys[0][:, :, :1].equal(x[[0, 0, 1, 1, 2, 2]])
    cache.select(torch.tensor([False, True, False, False, True, True]))
    assert cache.values[0][:, :, :1].equal(-x[[0, 2, 2]])
    cache.select(torch.tensor([2, 0]))
    assert cache.keys[0][:, :, :1].equal(x[[2, 0]])
    assert len(cache.keys) == CONFIG.layers
    assert {k.shape[0] for k in cache.keys + cache.values} == {2}
