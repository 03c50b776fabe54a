"""What the tests of training share: a text that can be learned, and models that learn it at once."""

import torch
from torch import nn

from course_lib.transformer import Config, Transformer

V = 7
TEXT = torch.arange(400) % V  # the next token is always certain
SMALL = Config(
    vocabulary=V, context=16, width=16, layers=2, heads=2, kv_heads=1, hidden=24
)


class Pairs(nn.Module):
    """Guesses the next token from this one alone, with noise where dropout asks for it."""

    def __init__(self, seed=0, dropout=0.0, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(V, 5, dtype=dtype)
        self.norm = nn.LayerNorm(5, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(5, V, dtype=dtype)

    def forward(self, ids):
        return self.scores(self.dropout(self.norm(self.table(ids))))


def transformer(seed=0):
    return Transformer(SMALL, generator=torch.Generator().manual_seed(seed))


def unequal_batch():
    """Six rows that keep 9, 0, 1, 0, 4 and 2 tokens."""
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(V, (6, 10), generator=draw)
    mask = torch.zeros(6, 10, dtype=torch.bool)
    for row, kept in enumerate([9, 0, 1, 0, 4, 2]):
        mask[row, 1 : 1 + kept] = True
    return ids, mask


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_bits(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])
