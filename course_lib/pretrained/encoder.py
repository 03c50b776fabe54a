"""An encoder: a transformer in which every token reads every other (Devlin et al. 2018).

Three things set BERT apart from the course's `Transformer`. Nothing is
causal, so a word is read in the light of what follows it; positions are
learned vectors added at the start, not rotations; and the norm stands after
each addition (*post-norm*), not before each step. It predicts no next token:
its output is a vector for each token, and their mean stands for the text.
Left out: dropout, segment B, the pooler, masked-word pretraining.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.attention import fused_attend
from course_lib.masks import masked_mean


@dataclass(frozen=True)
class EncoderConfig:
    """The sizes of an encoder; the defaults are all-MiniLM-L6-v2's."""

    vocabulary: int = 30_522
    context: int = 512  # positions that have a vector
    width: int = 384
    layers: int = 6
    heads: int = 12
    hidden: int = 1_536  # width inside the MLP
    norm_eps: float = 1e-12


class EncoderBlock(nn.Module):
    """Attention to all tokens, then an MLP, each added and then normalised."""

    def __init__(self, config: EncoderConfig, attend: Callable = fused_attend):
        super().__init__()
        D = config.width
        self.heads, self.attend = config.heads, attend
        self.query, self.key, self.value = (nn.Linear(D, D) for _ in range(3))
        self.output = nn.Linear(D, D)
        self.attention_norm = nn.LayerNorm(D, eps=config.norm_eps)
        self.up, self.down = nn.Linear(D, config.hidden), nn.Linear(config.hidden, D)
        self.mlp_norm = nn.LayerNorm(D, eps=config.norm_eps)

    def attention(self, states: Tensor, mask: Tensor) -> Tensor:
        """Every token reads all tokens that the mask keeps: (B, T, D) to (B, T, D)."""
        parts = (self.query(states), self.key(states), self.value(states))
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts
        )  # (B, H, T, K)
        return self.output(self.attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        states = self.attention_norm(states + self.attention(states, mask))
        change = self.down(functional.gelu(self.up(states)))
        return self.mlp_norm(states + change)


class Encoder(nn.Module):
    """Token ids to one vector per token, each in the light of the whole text."""

    def __init__(self, config: EncoderConfig, attend: Callable = fused_attend):
        """`attend` may be the written-out one, or a learner's, with the same result."""
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.segment = nn.Parameter(torch.zeros(config.width))  # of the first text
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        blocks = [EncoderBlock(config, attend) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, T), mask (B, T): True marks a real token. Returns (B, T, D)."""
        assert ids.shape == mask.shape, f"one shape: {ids.shape=} {mask.shape=}"
        context = self.config.context
        assert ids.shape[1] <= context, f"too long for {context=}: {ids.shape=}"
        places = self.positions.weight[: ids.shape[1]]  # (T, D)
        states = self.words(ids) + places + self.segment
        states = self.norm(states)  # (B, T, D)
        keys = mask[:, None, None, :]  # (B, 1, 1, T): everyone may read what is real
        for block in self.blocks:
            states = block(states, keys)
        return states


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    r"""One vector for each text, the mean of its real tokens: $\sum_t m_t x_t / \sum_t m_t$.

    states (B, T, D), mask (B, T) with True for a real token. Returns (B, D);
    what stands at padded places has no influence.

    >>> states = torch.tensor([[[2.0, 0.0], [4.0, 2.0], [9.0, 9.0]]])
    >>> mean_pool(states, torch.tensor([[True, True, False]]))
    tensor([[3., 1.]])
    """
    assert states.shape[:2] == mask.shape, f"{states.shape=} {mask.shape=}"
    kept = mask.unsqueeze(-1).expand_as(states)  # (B, T, D)
    return masked_mean(states, kept, dim=1)
