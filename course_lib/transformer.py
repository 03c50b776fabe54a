"""The transformer: a stream of vectors that every block reads and adds to.

Decoder blocks with the norm first, as in Llama (Touvron et al. 2023): RMSNorm
(Zhang & Sennrich 2019, eq. 4), rotary attention, SwiGLU (Shazeer 2020, eq. 6).
GPT-2 (Radford et al. 2019) is another configuration of the same blocks. Norm,
attention and MLP are arguments, so a piece of your own drops in. Left out:
dropout, scaled rotary positions, and models with an encoder.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, silu

from course_lib.attention import CausalSelfAttention, KVCache, rotary
from course_lib.masks import causal_mask


@dataclass(frozen=True)
class Config:
    """The shape of a model; every field has the value of the course's own model."""

    vocabulary: int = 768  # V: tokens it knows
    context: int = 256  # tokens of the longest text
    width: int = 96  # D: numbers per token in the stream
    layers: int = 4  # blocks
    heads: int = 4  # H: heads of queries
    kv_heads: int = 2  # heads of keys and values; each serves heads / kv_heads
    hidden: int = 256  # width inside the MLP
    head_width: int | None = None  # width of a head; None: width / heads
    positions: str = "rotary"  # or "learned": a vector per position, as in GPT-2
    rope_base: float = 10_000.0  # rotary: larger = slower turns, for longer texts
    norm: str = "rms"  # or "layer", as in GPT-2
    norm_eps: float = 1e-5  # keeps a norm from dividing by zero
    mlp: str = "swiglu"  # or "gelu", as in GPT-2
    bias: bool = False  # a bias in every linear layer and layer norm, as in GPT-2
    qkv_bias: bool = False  # a bias for query, key and value only, as in Qwen2
    tied: bool = True  # one matrix reads tokens in and scores them

    def __post_init__(self):
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}.")
        for name, (one, other) in CHOICES.items():
            if getattr(self, name) not in (one, other):
                raise ValueError(
                    f"{name} is {one} or {other}, not {getattr(self, name)}."
                )
        if self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"heads must divide width, or set head_width: {self.width} / {self.heads}."
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"kv_heads must divide heads: {self.heads} / {self.kv_heads}."
            )
        if self.K < 1 or (self.positions == "rotary" and self.K % 2):
            raise ValueError(
                f"Rotary positions turn pairs, so heads need an even width, not {self.K}."
            )

    @property
    def K(self) -> int:
        """The width of a head."""
        return self.width // self.heads if self.head_width is None else self.head_width


COUNTS = ("vocabulary", "context", "width", "layers", "heads", "kv_heads", "hidden")
CHOICES = {
    "positions": ("rotary", "learned"),
    "norm": ("rms", "layer"),
    "mlp": ("swiglu", "gelu"),
}


# ---- the pieces of a block


class RMSNorm(nn.Module):
    """Every vector to length about sqrt(D), then each number times its own weight."""

    def __init__(self, config: Config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.width))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        r"""$w \odot x / \sqrt{\text{mean}(x^2) + \epsilon}$ in the last dimension.

        Works in float32 at least, and returns the type of x, if the weights have it.
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.eps)
        return (wide * scale).to(x.dtype) * self.weight


def layer_norm(config: Config) -> nn.LayerNorm:
    """GPT-2's norm: subtracts the mean as well, and may add a bias."""
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)


class SwiGLU(nn.Module):
    """An MLP in which one widened vector decides how much of another one passes."""

    def __init__(self, config: Config):
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.up = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        r"""$W_\text{down}(\text{silu}(W_\text{gate}x) \odot W_\text{up}x)$."""
        return self.down(silu(self.gate(x)) * self.up(x))


class GeluMLP(nn.Module):
    """GPT-2's MLP: up, a smooth threshold (in its tanh form), down."""

    def __init__(self, config: Config):
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        r"""$W_\text{down}\,\text{gelu}(W_\text{up}x)$."""
        return self.down(gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    """Read the stream through a norm, add what attention says, then what the MLP says."""

    def __init__(
        self, config: Config, norm: Callable, attention: Callable, mlp: Callable
    ):
        super().__init__()
        self.attention_norm, self.attention = norm(config), attention(config)
        self.mlp_norm, self.mlp = norm(config), mlp(config)

    def forward(self, x: Tensor, rotation=None, mask=None, remember=None) -> Tensor:
        """x (B, T, D) to (B, T, D); the rest is handed to attention as it came."""
        x = x + self.attention(self.attention_norm(x), rotation, mask, remember)
        return x + self.mlp(self.mlp_norm(x))


# ---- the model


class Transformer(nn.Module):
    """Token numbers in, a score for every possible next token out."""

    def __init__(
        self,
        config: Config,
        norm: Callable | None = None,
        attention: Callable = CausalSelfAttention,
        mlp: Callable | None = None,
        block: Callable = Block,
        generator: torch.Generator | None = None,
    ):
        """Each piece is called with the config; None takes the one that config names.

        A block is called with the config, the norm, the attention and the MLP.
        """
        super().__init__()
        norm = norm or {"rms": RMSNorm, "layer": layer_norm}[config.norm]
        mlp = mlp or {"swiglu": SwiGLU, "gelu": GeluMLP}[config.mlp]
        self.config = config
        self.embed = nn.Embedding(config.vocabulary, config.width)
        if config.positions == "learned":
            self.places = nn.Embedding(config.context, config.width)
        blocks = [block(config, norm, attention, mlp) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(config)
        if not config.tied:
            self.unembed = nn.Linear(config.width, config.vocabulary, bias=False)
        initialise(self, generator)

    @property
    def parameter_count(self) -> int:
        return sum(weights.numel() for weights in self.parameters())

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """ids (B, T) to logits (B, T, V).

        mask (B, T): True = a real token, None = all are. Positions count real
        tokens only, and padding is never looked at, on whichever side it is.
        (Padding on the right needs no mask: nobody looks ahead.) With a cache
        the mask covers the remembered tokens too, (B, cache.length + T).
        """
        return self.head(self.hidden(ids, mask, cache))

    def hidden(
        self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """The stream after the last norm, (B, T, D): what every head reads."""
        past = 0 if cache is None else cache.length
        check_input(self.config, ids, mask, cache)
        positions, allowed = positions_and_mask(ids, mask, past)
        x, rotation = self.embed(ids), None
        if self.config.positions == "learned":
            x = x + self.places(positions)
        else:
            places = positions.unsqueeze(-2)  # one angle for all heads
            cos, sin = rotary(places, self.config.K, self.config.rope_base)
            rotation = cos.to(x.dtype), sin.to(x.dtype)
        for layer, block in enumerate(self.blocks):
            remember = None if cache is None else cache.at(layer)
            x = block(x, rotation, allowed, remember)
        if cache is not None:
            cache.length += ids.shape[1]
        return self.norm(x)

    def head(self, hidden: Tensor) -> Tensor:
        """Vectors (..., D) to the scores of all tokens (..., V)."""
        matrix = self.embed if self.config.tied else self.unembed
        return linear(hidden, matrix.weight)


def positions_and_mask(
    ids: Tensor, mask: Tensor | None, past: int
) -> tuple[Tensor, Tensor | None]:
    """Where each token of ids stands, and which keys it may look at (None: causal).

    Without a mask: positions (T,). With one: (B, T) and (B, 1, T, past + T);
    a padded token looks at itself alone, since a row of nothing would be nan.
    """
    T = ids.shape[1]
    if mask is None:
        return torch.arange(past, past + T, device=ids.device), None
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, past:]
    causal = causal_mask(T, past + T, ids.device)
    itself = torch.ones_like(causal).triu(diagonal=past) & causal
    return positions, (causal & mask[:, None, None, :]) | itself


def check_input(
    config: Config, ids: Tensor, mask: Tensor | None, cache: KVCache | None
) -> None:
    """Answer bad input in one sentence, before an index error deep inside does.

    The range of ids is looked at on the CPU only (4 microseconds a call): a GPU
    would have to finish all its work first, in every step.
    """
    past = 0 if cache is None else cache.length
    if ids.dim() != 2 or ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"ids are whole numbers of shape (B, T), not {ids.dtype} {tuple(ids.shape)}."
        )
    if ids.numel() == 0:
        raise ValueError(
            f"There is no token to read: ids have shape {tuple(ids.shape)}."
        )
    room = config.context if cache is None else min(config.context, cache.capacity)
    if past + ids.shape[1] > room:
        raise ValueError(
            f"The text has {past + ids.shape[1]} tokens, but there is room for {room}."
        )
    if cache is not None and cache.batch != ids.shape[0]:
        raise ValueError(f"The cache holds {cache.batch} texts, not {ids.shape[0]}.")
    if mask is not None and (
        mask.dtype != torch.bool or mask.shape != (ids.shape[0], past + ids.shape[1])
    ):
        raise ValueError(
            f"mask must be boolean of shape {(ids.shape[0], past + ids.shape[1])}, "
            f"not {mask.dtype} {tuple(mask.shape)}."
        )
    if ids.device.type == "cpu":
        low, high = (int(end) for end in ids.aminmax())
        if low < 0 or high >= config.vocabulary:
            raise ValueError(
                f"ids run from {low} to {high}, but the vocabulary ends at {config.vocabulary - 1}."
            )


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Small random weights: normal with std 0.02, biases 0.

    What writes to the stream (`output` of attention, `down` of an MLP) starts
    smaller by $1/\\sqrt{2 L}$, so that the stream does not grow with depth
    (Radford et al. 2019, section 2.3). The loss then starts near $\\ln V$.
    """
    depth = 2 * len(model.blocks)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            writes = name.endswith(("output", "down"))
            std = 0.02 / math.sqrt(depth) if writes else 0.02
            module.weight.normal_(0.0, std, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
