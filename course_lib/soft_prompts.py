"""Soft prompts: a few vectors before the text are trained, and the model is not.

Prompt tuning (Lester et al. 2021, section 2). The vectors stand where the embedded
tokens of an instruction would stand, but no token has them; the gradient reaches them
through the whole frozen model. Notable: only the text's own positions come back, so
losses, exams and `generate` need to know nothing. Left out: vectors in every layer
(prefix tuning), and a small network that makes the vectors.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.attention import KVCache
from course_lib.transformer import Transformer, check_input


def put_before(prompt: Tensor, x: Tensor) -> Tensor:
    """The same vectors before every embedded text of a batch.

    prompt (k, D), x (B, T, D). Returns (B, k + T, D); gradients reach both.

    How: repeat the prompt for each text without copying, then join along the tokens.

    >>> put_before(torch.tensor([[7.0]]), torch.zeros(2, 1, 1)).flatten(1)
    tensor([[7., 0.],
            [7., 0.]])
    """
    assert prompt.shape[1:] == x.shape[2:], f"one width: {prompt.shape=} {x.shape=}"
    return torch.cat([prompt.expand(len(x), -1, -1), x], dim=1)


def first_vectors(
    model: Transformer, length: int, generator: torch.Generator | None = None
) -> Tensor:
    """Where a soft prompt may start: the vectors of `length` tokens drawn at random.

    Returns (length, D). Lester et al. found real words a better start than noise.
    """
    vocabulary = model.embed.weight
    ids = torch.randint(len(vocabulary), (length,), generator=generator)
    return vocabulary[ids.to(vocabulary.device)].detach().clone()


class SoftPrompted(nn.Module):
    """A frozen model that reads k learned vectors before each text.

    It is called like a Transformer and answers like one, with a row of scores for
    each token of the text and none for the vectors. Its context is shorter by k.
    """

    def __init__(self, model: Transformer, start: Tensor):
        """start (k, D): vectors to begin with.

        Words will do, `model.embed(ids)`, or `first_vectors`. Freezes the model.
        """
        super().__init__()
        assert start.ndim == 2, f"k vectors of width D: {start.shape=}"
        k, D = start.shape
        if not 1 <= k < model.config.context or model.config.width != D:
            raise ValueError(
                f"A soft prompt is at least one vector of width {model.config.width} "
                f"and leaves room in {model.config.context} tokens, not {(k, D)}."
            )
        self.config = replace(model.config, context=model.config.context - k)
        self.model = model.requires_grad_(False)
        self.prompt = nn.Parameter(start.detach().clone())

    @property
    def embed(self) -> nn.Embedding:
        """The model's own, whose weight tells precision and device."""
        return self.model.embed

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """ids (B, T) to logits (B, T, V), as from a Transformer."""
        return self.head(self.hidden(ids, mask, cache))

    def hidden(
        self, ids: Tensor, mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """The stream after the last norm, (B, T, D), of the text's own positions.

        The model is given k tokens more than the text has; their vectors are
        replaced before anybody sees them. A cache is read on with the prompt in it.
        """
        k, going_on = len(self.prompt), cache is not None and cache.length > 0
        if not going_on:
            check_input(self.config, ids, mask, cache)
        if mask is not None:
            mask = functional.pad(mask, (k, 0), value=True)
        if going_on:
            return self.model.hidden(ids, mask, cache)  # the prompt is in the cache
        if cache is not None:
            make_room(cache, k)
        longer = functional.pad(ids, (k, 0))  # any token will do
        with self.embed.register_forward_hook(self.begin):
            return self.model.hidden(longer, mask, cache)[:, k:]

    def begin(self, embed: nn.Module, ids: tuple, x: Tensor) -> Tensor:
        """What the embedding says, with the prompt in the place of the first k."""
        return put_before(self.prompt, x[:, len(self.prompt) :])

    def head(self, hidden: Tensor) -> Tensor:
        """Vectors (..., D) to the scores of all tokens (..., V)."""
        return self.model.head(hidden)


def make_room(cache: KVCache, tokens: int) -> None:
    """Let an empty cache remember so many tokens more."""
    cache.keys = [functional.pad(k, (0, 0, 0, tokens)) for k in cache.keys]
    cache.values = [functional.pad(v, (0, 0, 0, tokens)) for v in cache.values]
