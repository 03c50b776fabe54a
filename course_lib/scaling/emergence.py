"""Abilities that seem to appear suddenly: a smooth score through a harsh metric.

If each of k tokens is right with probability p, the whole answer is right with
probability p to the power of k. A slow rise of p then looks like a jump (Schaeffer
et al. 2023, section 2). Left out: tokens whose errors depend on each other, and the
question whether every reported jump is of this kind.
"""

import math

from torch import Tensor


def token_accuracy(loss: float) -> float:
    r"""The probability of the right token at a loss in nats: $p = e^{-\text{loss}}$.

    >>> round(token_accuracy(0.693147), 3)
    0.5
    """
    return math.exp(-loss)


def exact_match(p: float, length: int) -> float:
    """The probability that all tokens of an answer are right: p to the length.

    >>> [round(exact_match(p, 10), 2) for p in (0.7, 0.9, 0.99)]
    [0.03, 0.35, 0.9]
    """
    assert 0 <= p <= 1, f"a probability: {p=}"
    return p**length


def accuracy_for(target: float, length: int) -> float:
    """The accuracy per token at which the exact match reaches the target.

    >>> round(accuracy_for(0.5, 10), 3)
    0.933
    """
    assert 0 <= target <= 1, f"a probability: {target=}"
    return target ** (1 / length)


def stretches_right(right: Tensor, length: int) -> float:
    """The share of stretches of `length` tokens that are right throughout.

    right (B, T) bool: was the model's first choice the token that followed? Every
    place where a stretch fits into one text counts, so B (T - length + 1) stretches.

    How: `unfold` lays all stretches of a text side by side; `all` judges each.

    >>> import torch
    >>> two_texts = torch.tensor([[True, True, False], [True, True, True]])
    >>> stretches_right(two_texts, length=2)
    0.75
    """
    assert right.dim() == 2, f"one row per text: {right.shape=}"
    assert 1 <= length <= right.shape[1], f"fits a text: {length=} {right.shape=}"
    stretches = right.unfold(1, length, 1)
    return stretches.all(dim=-1).double().mean().item()
