"""How likely a whole answer is: the sum over its tokens, for both answers of a pair.

The prompt does not count, padding does not count, the end token does: without it no
answer would be preferred for stopping. The reference never changes, so what it
thinks of every answer is computed once, before training, and the model itself can be
let go. Only positions that predict an answer's token are scored against the
vocabulary. Left out: a prompt that is read once for both of its answers, and chats
of several turns.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from course_lib.batches import Batches, epoch_of, seeded
from course_lib.logprobs import token_logprobs
from course_lib.masks import masked_mean, masked_sum
from course_lib.reward.losses import check_numbers
from course_lib.reward.pairs import PairIds, check_pair_ids
from course_lib.sft.examples import build_example, collate
from course_lib.training import cross_entropy

AnswerLogprobs = Callable[[nn.Module, Tensor, Tensor], Tensor]
AT_ONCE = 64  # pairs in a batch that is only scored


def sequence_logprobs(
    logits: Tensor, ids: Tensor, response_mask: Tensor, average: bool = False
) -> Tensor:
    r"""How likely each answer is as a whole: $\sum_t \log \pi(y_t)$, in nats.

    logits (B, T, V): what a model says to ids (B, T), so row t scores the token that
    *follows* position t. response_mask (B, T): True = a token of the answer, its end
    included. average: the mean over the answer's tokens instead. Returns (B,).

    How: the scores at all but the last position belong to the tokens at all but the
    first; of those, add up what the mask (cut in the same way) keeps.

    >>> knows_nothing, ids = torch.zeros(1, 3, 4), torch.tensor([[3, 1, 2]])
    >>> mask = torch.tensor([[False, True, True]])
    >>> sequence_logprobs(knows_nothing, ids, mask).exp() * 16
    tensor([1.])
    """
    assert logits.shape[:-1] == ids.shape == response_mask.shape, (
        f"one text: {logits.shape=} {ids.shape=} {response_mask.shape=}"
    )
    assert response_mask.dtype == torch.bool, f"True keeps: {response_mask.dtype=}"
    logprobs = token_logprobs(logits[:, :-1], ids[:, 1:])  # (B, T-1)
    reduce = masked_mean if average else masked_sum
    return reduce(logprobs, response_mask[:, 1:], dim=1)


def answer_logprobs(model: nn.Module, ids: Tensor, response_mask: Tensor) -> Tensor:
    """As `sequence_logprobs`, without scoring what does not count.

    ids and response_mask (B, T), padded on the right. Returns sums (B,). Prompts and
    padding are most of a batch; their scores would be computed to be thrown away.
    """
    kept = response_mask[:, 1:]
    hidden = model.hidden(ids[:, :-1])[kept]  # (N, D)
    losses = cross_entropy(model.head(hidden), ids[:, 1:][kept])  # (N,)
    rows = kept.nonzero()[:, 0]  # whose answer each token belongs to
    return losses.new_zeros(len(ids)).index_add(0, rows, -losses)


def pair_logprobs(
    model: nn.Module,
    ids: Tensor,
    response_mask: Tensor,
    logprobs_fn: AnswerLogprobs = answer_logprobs,
) -> Tensor:
    """Both answers of each pair in one pass: ids (B, 2, T) to sums (B, 2)."""
    assert ids.shape[1:-1] == (2,), f"pairs are (B, 2, T): {ids.shape=}"
    sums = logprobs_fn(model, ids.flatten(0, 1), response_mask.flatten(0, 1))
    return sums.unflatten(0, (-1, 2))


# ---- batches


def collate_answers(
    pairs: Sequence[PairIds], end: int, pad: int
) -> tuple[Tensor, Tensor]:
    """Comparisons as one block: ids and response mask, both (B, 2, T), chosen first.

    Each row is the prompt, one answer and the end token, padded on the right. The
    mask is True on the answer and its end, even if `pad` is the end token.

    >>> ids, mask = collate_answers([PairIds([2, 3], [5, 6], [8])], end=1, pad=0)
    >>> ids.tolist(), mask.int().tolist()
    ([[[2, 3, 5, 6, 1], [2, 3, 8, 1, 0]]], [[[0, 0, 1, 1, 1], [0, 0, 1, 1, 0]]])
    """
    check_pair_ids(pairs)
    rows = [
        build_example(pair.prompt, answer, end)
        for pair in pairs
        for answer in (pair.chosen, pair.rejected)
    ]
    ids, mask = collate(rows, pad)  # (2B, T)
    return ids.unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


@torch.no_grad()
def reference_logprobs(
    reference: nn.Module,
    pairs: Sequence[PairIds],
    end: int,
    pad: int,
    logprobs_fn: AnswerLogprobs = answer_logprobs,
) -> Tensor:
    """What the reference thinks of both answers of every pair, once: sums (N, 2).

    The columns are chosen, rejected. In evaluation mode and without gradients; the
    model is put back as it was. Texts of similar length share a batch.
    """
    check_pair_ids(pairs)
    weights = next(reference.parameters())
    order = sorted(range(len(pairs)), key=lambda i: longest(pairs[i]))
    found, was_training = weights.new_zeros(len(pairs), 2), reference.training
    reference.eval()
    for first in range(0, len(pairs), AT_ONCE):
        batch = order[first : first + AT_ONCE]
        tensors = collate_answers([pairs[i] for i in batch], end, pad)
        ids, mask = (tensor.to(weights.device) for tensor in tensors)
        found[batch] = pair_logprobs(reference, ids, mask, logprobs_fn)
    reference.train(was_training)
    check_numbers(found, "reference log-probability")
    return found.cpu()


def longest(pair: PairIds) -> int:
    """How many tokens the longer row of a pair has, without its end.

    >>> longest(PairIds([2, 3], [5, 6], [8]))
    4
    """
    return len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))


def answer_batches(
    pairs: Sequence[PairIds],
    batch: int,
    end: int,
    pad: int,
    ref_logprobs: Tensor | None = None,
    seed: int = 0,
) -> Batches:
    """Epochs over comparisons: from the step to ids, mask and ref_logprobs.

    ids and response mask (B, 2, T), as `collate_answers` has them; ref_logprobs (B,
    2) of the same pairs, and absent if None is given. Every epoch shows each pair
    once, in a new order; similar lengths share a batch.

    >>> pairs, known = [PairIds([2, 3], [5], [8])], torch.tensor([[-1.0, -2.0]])
    >>> answer_batches(pairs, 1, end=1, pad=0, ref_logprobs=known)(7)[2]
    tensor([[-1., -2.]])
    """
    check_pair_ids(pairs)
    if ref_logprobs is not None and ref_logprobs.shape != (len(pairs), 2):
        raise ValueError(
            f"The reference says two numbers for each of the {len(pairs)} pairs, "
            f"but ref_logprobs has the shape {tuple(ref_logprobs.shape)}."
        )
    lengths = torch.tensor([longest(pair) for pair in pairs])
    per_epoch = math.ceil(len(pairs) / batch)

    @lru_cache(maxsize=2)
    def batches_of(epoch: int) -> list[Tensor]:
        return epoch_of(lengths, batch, seeded(seed, epoch))

    def rows(step: int) -> tuple[Tensor, ...]:
        chosen = batches_of(step // per_epoch)[step % per_epoch]
        tensors = collate_answers([pairs[i] for i in chosen], end, pad)
        return tensors if ref_logprobs is None else (*tensors, ref_logprobs[chosen])

    return rows
