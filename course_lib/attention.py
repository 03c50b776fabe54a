"""Attention: every position asks, every earlier position answers, in proportion.

Scaled dot-product attention with several heads (Vaswani et al. 2017, eq. 1),
rotary positions (Su et al. 2021, eq. 34) and heads of queries that share keys
and values (Ainslie et al. 2023). While text is written, keys and values of
earlier tokens wait in a `KVCache`. Two functions give the same numbers:
`attend` is written out, `fused_attend` is torch's own and faster. Left out:
dropout, sliding windows, and caches that grow or evict.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from course_lib.logprobs import softmax
from course_lib.masks import causal_mask

# ---- positions


def rotary(positions: Tensor, width: int, base: float = 1e4) -> tuple[Tensor, Tensor]:
    r"""Cosine and signed sine of the angle by which each position turns each pair.

    Pair $i$ of a head is made of the numbers $i$ and $i + K/2$; position $t$
    turns it by $t \cdot \text{base}^{-2i/K}$. positions (..., T) whole
    numbers, width K. Returns two of (..., T, K): the cosines twice, and the
    sines twice, the first time with a minus sign.

    >>> cos, sin = rotary(torch.tensor([0, 1]), width=2)
    >>> sin
    tensor([[-0.0000,  0.0000],
            [-0.8415,  0.8415]])
    """
    assert width % 2 == 0, f"numbers are turned in pairs, so an even width: {width=}"
    steps = torch.arange(0, width, 2, device=positions.device).float() / width
    angles = positions.float().unsqueeze(-1) * (1.0 / base**steps)  # (..., T, K/2)
    angles = torch.cat([-angles, angles], dim=-1)  # (..., T, K)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    r"""Turn each pair $(a, b)$ to $(a\cos - b\sin,\; b\cos + a\sin)$.

    x (..., T, K) queries or keys; cos and sin as `rotary` gives them, with
    the sign already in `sin`. Lengths do not change, and the score of a
    rotated query with a rotated key depends on their distance only.

    How: rolling by half the width swaps the halves, so that every number
    meets its partner.

    >>> quarter = rotary(torch.tensor([torch.pi / 2]), width=2)
    >>> rotate(torch.tensor([[1.0, 0.0]]), *quarter).round(decimals=3).abs()
    tensor([[0., 1.]])
    """
    assert x.shape[-1] == cos.shape[-1], f"one width: {x.shape=} {cos.shape=}"
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


# ---- one step of attention


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """Give every head of keys or values to `times` neighbouring heads of queries.

    x (B, kv_heads, T, K). Returns (B, kv_heads * times, T, K).

    >>> repeat_kv(torch.tensor([7, 8]).view(1, 2, 1, 1), times=2).flatten()
    tensor([7, 7, 8, 8])
    """
    return x if times == 1 else x.repeat_interleave(times, dim=1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    r"""Mix the values by how well keys fit the query: $\text{softmax}(qk^\top/\sqrt K)\,v$.

    q (B, H, T, K); k and v (B, H, S, K); mask (T, S) or (B, 1, T, S), True =
    may attend, at least one True per query. Returns (B, H, T, K), in the same
    precision: each row is a weighted mean of values.

    How: scores of forbidden keys become minus infinity before the softmax.

    >>> q = k = torch.zeros(1, 1, 2, 1)
    >>> v = torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)
    >>> attend(q, k, v, causal_mask(2, 2)).flatten()
    tensor([2., 3.])
    """
    assert q.shape[:2] == k.shape[:2], f"one batch, one H: {q.shape=} {k.shape=}"
    assert k.shape == v.shape, f"one value per key: {k.shape=} {v.shape=}"
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, S)
    weights = softmax(scores.masked_fill(~mask, -math.inf))
    return weights @ v


def fused_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same as `attend`, in one call of torch that never stores all the scores.

    k and v may have fewer heads than q: heads of queries share them. mask as
    in `attend`; None means causal, the fastest, since half the work is skipped.

    >>> q = k = torch.zeros(1, 1, 2, 1)
    >>> fused_attend(q, k, torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)).flatten()
    tensor([2., 3.])
    """
    T, S = q.shape[2], k.shape[2]
    if T == 1:
        return attend_once(q, k, v, mask)
    if mask is None and T < S:  # is_causal would align the first query, not the last
        mask = causal_mask(T, S, q.device)
    return scaled_dot_product_attention(
        q, k, v, mask, is_causal=mask is None, enable_gqa=True
    )


def attend_once(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`fused_attend` for one query per head, which is how text is written.

    Heads of queries that share keys become rows of one product, so nothing is
    repeated. q (B, H, 1, K), k and v (B, kv_heads, S, K); None = see all.
    """
    q_rows = q.reshape(k.shape[0], k.shape[1], -1, k.shape[3]) / math.sqrt(k.shape[3])
    scores = q_rows @ k.transpose(-2, -1)  # (B, kv_heads, H / kv_heads, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return (scores.softmax(dim=-1) @ v).reshape(q.shape)


# ---- what is remembered while text is written


class KVCache:
    """Keys and values of all layers for the tokens that were read so far.

    The memory is set aside once: `capacity` tokens for each of `batch` texts.
    `length` counts the tokens it holds; the model moves it on after each call,
    and whoever sets it back makes it forget. For reading without gradients.
    """

    def __init__(self, config, batch: int, capacity: int, like: Tensor | None = None):
        """config gives layers, kv_heads and K; `like` gives precision and device."""
        like = torch.empty(0) if like is None else like
        shape = (batch, config.kv_heads, capacity, config.K)
        self.keys = [like.new_empty(shape) for _ in range(config.layers)]
        self.values = [like.new_empty(shape) for _ in range(config.layers)]
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    @property
    def batch(self) -> int:
        return self.keys[0].shape[0]

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new k and v (B, kv_heads, T, K) of a layer; return all so far."""
        end = self.length + k.shape[2]
        self.keys[layer][:, :, self.length : end] = k
        self.values[layer][:, :, self.length : end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def at(self, layer: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What one layer's attention receives: `append` for this layer."""
        return partial(self.append, layer)

    def select(self, rows: Tensor) -> None:
        """Keep only these rows of the batch: numbers, or a boolean for each row."""
        self.keys = [k[rows] for k in self.keys]
        self.values = [v[rows] for v in self.values]

    def repeat(self, times: int) -> None:
        """Every row `times` times, side by side: one prompt read, many answers."""
        self.keys = [k.repeat_interleave(times, dim=0) for k in self.keys]
        self.values = [v.repeat_interleave(times, dim=0) for v in self.values]


# ---- the layer


def split_heads(x: Tensor, width: int) -> Tensor:
    """One long vector per token to one short vector per head: (B, T, H * K) to (B, H, T, K).

    >>> split_heads(torch.arange(4).view(1, 1, 4), width=2).tolist()
    [[[[0, 1]], [[2, 3]]]]
    """
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


def mix_heads(
    attend: Callable, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
) -> Tensor:
    """Call `attend`; any but the fused one gets its keys repeated and its mask.

    q (B, H, T, K); k and v (B, kv_heads, S, K). Returns (B, H, T, K).
    """
    if attend is fused_attend:
        return fused_attend(q, k, v, mask)
    times = q.shape[1] // k.shape[1]
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2], q.device)
    return attend(q, repeat_kv(k, times), repeat_kv(v, times), mask)


class CausalSelfAttention(nn.Module):
    """Heads of queries look at this text's own keys and values, never ahead."""

    def __init__(self, config, attend: Callable = fused_attend):
        """`attend` may be the written-out one, a learner's, or one that takes notes."""
        super().__init__()
        self.K, self.attend = config.K, attend
        queries, keys = config.heads * config.K, config.kv_heads * config.K
        bias = config.bias or config.qkv_bias
        self.query = nn.Linear(config.width, queries, bias=bias)
        self.key = nn.Linear(config.width, keys, bias=bias)
        self.value = nn.Linear(config.width, keys, bias=bias)
        self.output = nn.Linear(queries, config.width, bias=config.bias)

    def forward(self, x: Tensor, rotation=None, mask=None, remember=None) -> Tensor:
        """x (B, T, D) to (B, T, D).

        rotation: cosines and sines from `rotary`, or None; mask: as in `attend`, None =
        causal; remember: takes new k and v, returns all so far (a cache), or None.
        """
        q = split_heads(self.query(x), self.K)  # (B, H, T, K)
        k = split_heads(self.key(x), self.K)  # (B, kv_heads, T, K)
        v = split_heads(self.value(x), self.K)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if remember is not None:
            k, v = remember(k, v)
        mixed = mix_heads(self.attend, q, k, v, mask)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (B, T, D)
