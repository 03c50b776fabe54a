"""Look inside a model: who looks at whom, what a head is for, and what moves what.

Every probe asks a finished model and leaves it as it was. It works on any
`Transformer` whose attention layers mix with their `attend`, a learner's own
included. Induction heads and their score follow Olsson et al. 2022. Left out:
gradients, trained probes, and circuits of several heads.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_lib.attention import attend
from course_lib.logprobs import softmax, token_logprobs
from course_lib.masks import masked_sum

# ---- what moves what


@torch.no_grad()
def influence(model: Callable[[Tensor], Tensor], ids: Tensor, other: Tensor) -> Tensor:
    """How far each prediction moves when one token is replaced: the leak detector.

    ids (T,); other (T,) differs from ids everywhere. Entry (t, s) is the largest
    change of the logits at position t when token s alone is replaced. A model
    that reads only the past has zeros above the diagonal.

    >>> reads_itself = lambda ids: ids.float().unsqueeze(-1)
    >>> influence(reads_itself, torch.tensor([1, 2]), torch.tensor([2, 4]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    assert bool((ids != other).all()), "replace every token by a different one"
    here = torch.eye(len(ids), dtype=torch.bool, device=ids.device)
    changed = torch.where(here, other, ids)  # (s, T)
    moved = model(changed) - model(ids.unsqueeze(0))  # (s, T, V)
    return moved.abs().amax(dim=-1).T  # (t, s)


# ---- who looks at whom


@contextmanager
def attending(model: nn.Module, replace: Callable[[int], Callable]) -> Iterator[None]:
    """Within the block, layer l mixes with `replace(l)` instead of its own attend."""
    layers = [block.attention for block in model.blocks]
    before = [layer.attend for layer in layers]
    try:
        for number, layer in enumerate(layers):
            layer.attend = replace(number)
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.attend = own


@torch.no_grad()
def attention_weights(model: nn.Module, ids: Tensor) -> Tensor:
    """The weights with which every head looks back: ids (1, T) to (layers, H, T, T)."""
    seen: list[Tensor] = []

    def noting(layer: int) -> Callable:
        def attend_and_note(q, k, v, mask):
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
            weights = softmax(scores.masked_fill(~mask, -math.inf))  # (1, H, T, T)
            seen.append(weights[0])
            return weights @ v

        return attend_and_note

    with attending(model, noting):
        model(ids)
    return torch.stack(seen)


def induction_scores(model: nn.Module, ids: Tensor) -> Tensor:
    """How much each head looks at what came after the same token before: (layers, H).

    ids (T,), of tokens that differ from each other, are shown twice in a row.
    The score is the mean weight, over the second showing, on the token that
    followed this one the first time.
    """
    T = len(ids)
    weights = attention_weights(model, torch.cat([ids, ids]).unsqueeze(0))
    return weights.diagonal(offset=1 - T, dim1=-2, dim2=-1)[..., 1:].mean(dim=-1)


# ---- what a part is for


@contextmanager
def without_head(model: nn.Module, layer: int, head: int) -> Iterator[None]:
    """Within the block, one head of queries says nothing: its mixed values are 0."""

    def silencing(number: int) -> Callable:
        def attend_but_for_one(q, k, v, mask):
            mixed = attend(q, k, v, mask).clone()
            mixed[:, head] = 0.0
            return mixed

        return attend_but_for_one if number == layer else attend

    with attending(model, silencing):
        yield


@torch.no_grad()
def answer_logprobs(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """The log-probability of each row's kept tokens together: (B, T), (B, T) to (B,).

    mask is True where a token belongs to the answer, as in `next_token_loss`.
    """
    said = token_logprobs(model(ids[:, :-1]), ids[:, 1:])
    return masked_sum(said, mask[:, 1:], dim=1)


@torch.no_grad()
def patched(
    model: nn.Module, ids: Tensor, source: Tensor, layer: int, place: int
) -> Tensor:
    """The next token's logits (V,) for ids (1, T), with one vector swapped on the way.

    What enters block `layer` at position `place` comes from a run on source (1, T).
    Layer `len(model.blocks)` is the end of the stream, before the last norm.
    """
    assert ids.shape == source.shape, (
        f"texts of one length: {ids.shape=} {source.shape=}"
    )
    entered = [*model.blocks, model.norm][layer]
    kept: list[Tensor] = []

    def note(_, inputs: tuple) -> None:
        kept.append(inputs[0][:, place].clone())

    def swap(_, inputs: tuple) -> tuple:
        x = inputs[0].clone()
        x[:, place] = kept[0]
        return (x, *inputs[1:])

    for hook, text in ((note, source), (swap, ids)):
        handle = entered.register_forward_pre_hook(hook)
        try:
            logits = model(text)
        finally:
            handle.remove()
    return logits[0, -1]
