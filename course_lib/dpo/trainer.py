"""DPO on a language model: compare, and nothing else; no sampling, no reward model.

Batches hold pairs and what the frozen reference thinks of them (`answer_batches`).
The loss takes log-probabilities of whole answers, so any loss of this package drops
in, or one's own: with a reference it is called with four rows of numbers, without
one with two. The model is in evaluation mode all the time, as its reference was.
Also here: an optional term that learns the chosen answers as fine-tuning does, and
rounds in which the pairs are written anew by the model itself. Left out: several
GPUs, resuming.
"""

import inspect
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.batches import Batches
from course_lib.descent import adamw, clip_gradients, learning_rate
from course_lib.dpo.losses import dpo_loss, implicit_accuracy
from course_lib.dpo.sequences import (
    AnswerLogprobs,
    answer_batches,
    answer_logprobs,
    pair_logprobs,
    reference_logprobs,
)
from course_lib.reward.pairs import PairIds
from course_lib.ticker import ProgressLine
from course_lib.training import due, evaluated, refuse_nonsense

History = dict[str, list[float]]  # one number per step and name, ready for a plot
PairLoss = Callable[..., Tensor]  # two or four rows of logprobs to losses (B,)


def train_dpo(
    model: nn.Module,
    batches: Batches,
    steps: int,
    lr: float = 3e-4,
    *,
    loss: PairLoss = dpo_loss,
    average: bool = False,
    sft_weight: float = 0.0,
    logprobs_fn: AnswerLogprobs = answer_logprobs,
    schedule: Callable[[int, int, float], float] = learning_rate,
    optimizer: torch.optim.Optimizer | None = None,
    clip: float = 1.0,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    evaluate_every: int = 0,
    progress: bool | None = None,
) -> History:
    """Train the model in place for `steps` batches of pairs; return what happened.

    batches(step): ids and response mask (B, 2, T) and, for a loss with a reference,
    ref_logprobs (B, 2). loss: rows of log-probabilities to losses (B,); settings by
    `functools.partial`. average, sft_weight: see `preference_loss`. evaluate(model)
    gives numbers, noted under their names with "evaluated_at", every
    `evaluate_every` steps and after the last. The other names of the history: see
    `preference_loss`.
    """
    check_loss(loss, with_reference=len(batches(0)) == 3)
    optimizer = optimizer or adamw(model, weight_decay=0.0)
    device, history = next(model.parameters()).device, {}
    line = ProgressLine(lambda: in_words(history, steps), progress)
    was_training = model.training
    model.eval()
    try:
        for step in range(steps):
            began = time.perf_counter()
            batch = [tensor.to(device) for tensor in batches(step)]
            mean, note = preference_loss(
                model, *batch, loss=loss, average=average, sft_weight=sft_weight,
                logprobs_fn=logprobs_fn,
            )  # fmt: skip
            optimizer.zero_grad()
            mean.backward()
            norm = clip_gradients(model.parameters(), clip).item()
            rate = schedule(step, steps, lr)
            refuse_nonsense(step, note["loss"], norm, rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            seconds = time.perf_counter() - began
            remember(history, note | {"norm": norm, "seconds": seconds})
            if evaluate and due(step + 1, evaluate_every, steps):
                seen = evaluated(model, evaluate)
                remember(history, seen | {"evaluated_at": step + 1})
            line.show()
    finally:  # also after an error or an interrupt
        line.close()
        model.train(was_training)
        model.zero_grad()
    return history


# ---- one step


def preference_loss(
    model: nn.Module,
    ids: Tensor,
    response_mask: Tensor,
    ref_logprobs: Tensor | None = None,
    *,
    loss: PairLoss = dpo_loss,
    average: bool = False,
    sft_weight: float = 0.0,
    logprobs_fn: AnswerLogprobs = answer_logprobs,
) -> tuple[Tensor, dict[str, float]]:
    """The mean loss over the pairs of a batch, and what the batch was like.

    ids, response_mask (B, 2, T); ref_logprobs (B, 2): sums, or None. average: the
    loss gets means over an answer's tokens (SimPO, ORPO, IPO as in TRL). sft_weight:
    how much the chosen answers' mean loss per token is added; it holds them up.

    The note: loss; chosen_logprobs, rejected_logprobs, mean sums in nats; with a
    reference also how much each has gained on it, and the share of pairs in which
    the chosen one has gained more (a tie one half).
    """
    sums = pair_logprobs(model, ids, response_mask, logprobs_fn)  # (B, 2)
    lengths = response_mask.sum(dim=-1)  # (B, 2)
    known = (sums,) if ref_logprobs is None else (sums, ref_logprobs)
    rows = [each / lengths if average else each for each in known]
    losses = loss(*(column for each in rows for column in each.unbind(dim=1)))
    assert losses.shape == sums.shape[:1], f"one loss per pair: {losses.shape=}"
    mean = losses.mean() - sft_weight * (sums / lengths)[:, 0].mean()
    return mean, {"loss": mean.item(), **about(sums.detach(), ref_logprobs)}


def about(sums: Tensor, ref_logprobs: Tensor | None = None) -> dict[str, float]:
    """What the curves of a run show of one batch; see `preference_loss`.

    >>> about(torch.tensor([[-3.0, -9.0]]), torch.tensor([[-2.0, -5.0]]))["accuracy"]
    1.0
    """
    chosen, rejected = sums.mean(dim=0).tolist()
    note = {"chosen_logprobs": chosen, "rejected_logprobs": rejected}
    if ref_logprobs is None:
        return note
    gains = sums - ref_logprobs  # (B, 2), what beta makes implicit rewards of
    chosen, rejected = gains.mean(dim=0).tolist()
    accuracy = implicit_accuracy(*sums.unbind(dim=1), *ref_logprobs.unbind(dim=1))
    return note | {
        "chosen_gain": chosen, "rejected_gain": rejected,
        "gap": chosen - rejected, "accuracy": accuracy.item(),
    }  # fmt: skip


def check_loss(loss: PairLoss, with_reference: bool) -> None:
    """Refuse a loss that wants a reference where there is none, and the other way.

    >>> check_loss(dpo_loss, with_reference=False)
    Traceback (most recent call last):
    ValueError: dpo_loss compares with a reference: give answer_batches ref_logprobs.
    """
    name = getattr(loss, "__name__", None) or getattr(loss, "func", loss).__name__
    rows = 4 if with_reference else 2
    try:
        inspect.signature(loss).bind(*range(rows))
    except TypeError:
        if with_reference:
            cure = "has no use for a reference: leave out ref_logprobs."
        else:
            cure = "compares with a reference: give answer_batches ref_logprobs."
        raise ValueError(f"{name} {cure}") from None


def remember(history: History, numbers: dict[str, float]) -> None:
    """Append each number to the list of its name."""
    for name, number in numbers.items():
        history.setdefault(name, []).append(number)


def in_words(history: History, steps: int) -> str:
    """How far a run of so many steps is: step, loss and what the chosen have gained.

    >>> in_words({"loss": [0.7, 0.5], "chosen_gain": [0.0, 1.5]}, steps=8)
    'step 2/8  loss 0.500  chosen +1.5 nats'
    """
    losses = history.get("loss", [])
    words = f"step {len(losses)}/{steps}"
    if losses:
        words += f"  loss {losses[-1]:.3f}"
    if "chosen_gain" in history:
        words += f"  chosen {history['chosen_gain'][-1]:+.1f} nats"
    return words


# ---- pairs that the model writes itself


def train_in_rounds(
    model: nn.Module,
    reference: nn.Module,
    draw_pairs: Callable[[nn.Module, int], Sequence[PairIds]],
    rounds: int,
    steps: int,
    batch: int,
    end: int,
    pad: int,
    **settings,
) -> list[History]:
    """Online DPO in its simplest form: in every round the pairs are drawn anew.

    draw_pairs(model, round): comparisons of what the model says *now*. reference: a
    frozen model, the same in all rounds, so that the leash is that of one long run.
    steps: of each round; settings: those of `train_dpo`. Returns one history a
    round.
    """
    if reference is model:
        raise ValueError("The reference is the model itself: give it a copy.")
    histories = []
    for number in range(rounds):
        pairs = draw_pairs(model, number)
        known = reference_logprobs(reference, pairs, end, pad)
        batches = answer_batches(pairs, batch, end, pad, known, seed=number)
        histories.append(train_dpo(model, batches, steps, **settings))
    return histories
