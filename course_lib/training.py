"""The training loop: guess, measure, follow the gradient downhill, again.

One loop serves pretraining, chat tuning and the reward model. It takes its pieces
as arguments: `batches(step)` gives a tensor, or a tuple of tensors, with one row
for each example; `loss_fn(model, *tensors)` gives `(losses, mask)`, one loss for
each token (or example) and a mask that keeps those that count. The loop averages,
so that no loss function can average wrongly. Left out: several GPUs, mixed
precision, early stopping.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.batches import Batch, Batches, cut
from course_lib.descent import adamw, clip_gradients, learning_rate
from course_lib.masks import masked_sum
from course_lib.resuming import resume_run, save_run, settings_of
from course_lib.ticker import ProgressLine

LossFunction = Callable[..., tuple[Tensor, Tensor]]
Evaluation = Callable[[nn.Module], dict[str, float]]


def cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    r"""What each token cost: $-\log p_t(id_t)$, in nats.

    logits (B, T, V), ids (B, T) belong together, nothing is shifted. Returns
    losses (B, T). The same numbers as minus `token_logprobs`, by torch's fused
    kernel.

    >>> cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, 3]])).exp()
    tensor([[4., 4.]])
    """
    assert logits.shape[:-1] == ids.shape, (
        f"one id per row of logits: {logits.shape=} {ids.shape=}"
    )
    rows = logits.flatten(0, -2)  # (B*T, V)
    losses = functional.cross_entropy(rows, ids.flatten(), reduction="none")
    return losses.view_as(ids)


def next_token_loss(
    model: nn.Module, ids: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of predicting every token from those before it.

    ids (B, T+1); mask (B, T+1) is True where the prediction *of* that token
    counts, None if all do. Returns (losses, mask), both (B, T): the first token
    is never predicted. Padding on the right needs no more than its False: real
    tokens do not see it.

    >>> knows_nothing = lambda ids: torch.zeros(*ids.shape, 4)  # scores of 4 tokens
    >>> losses, mask = next_token_loss(knows_nothing, torch.tensor([[1, 2, 3]]))
    >>> losses.exp(), mask
    (tensor([[4., 4.]]), tensor([[True, True]]))
    """
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])  # (B, T)
    kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    return losses, kept[:, 1:]


def reply_loss(model: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """As `next_token_loss`, but only tokens that count are scored against the vocabulary.

    For a `Transformer`, which tells its hidden states. Where replies are a third of a
    chat, two thirds of the scores would be computed to be thrown away. Returns one
    loss for each kept token, (N,), and a mask that keeps them all.
    """
    kept = mask[:, 1:]
    hidden = model.hidden(ids[:, :-1])[kept]  # (N, D)
    losses = cross_entropy(model.head(hidden), ids[:, 1:][kept])
    return losses, torch.ones_like(losses, dtype=torch.bool)


def sum_and_count(
    model: nn.Module, tensors: Sequence[Tensor], loss_fn: LossFunction
) -> tuple[Tensor, Tensor]:
    """The sum of the losses that count, and how many they are."""
    device = next(model.parameters()).device
    losses, mask = loss_fn(model, *(tensor.to(device) for tensor in tensors))
    assert (losses.shape, mask.dtype) == (mask.shape, torch.bool), (
        "loss_fn returns losses and a boolean mask of one shape, "
        f"not {losses.shape=} {mask.shape=} {mask.dtype=}"
    )
    return masked_sum(losses, mask), mask.sum()


def accumulate_gradients(
    model: nn.Module, batch: Batch, loss_fn: LossFunction, pieces: int = 1
) -> tuple[Tensor, Tensor]:
    """Fill every `.grad` with the gradient of the batch's mean loss, piece by piece.

    The batch is cut along its rows; only one piece's activations are in memory.
    Old gradients are forgotten. The result is that of one large batch, however
    unequal the pieces' numbers of kept tokens. Returns the mean loss per kept
    token and the number of kept tokens of the whole batch.

    How: add up the gradients of the sums, then divide once by the count of all;
    the mean of the pieces' means would be another number.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> squares = lambda model, x: (model(x) ** 2, x > 0)
    >>> x = torch.tensor([[1.0], [3.0], [-5.0]])
    >>> accumulate_gradients(model, x, squares, pieces=2)
    (tensor(5.), tensor(2))
    """
    model.zero_grad()
    total = count = 0
    for tensors in cut(batch, pieces):
        loss, kept = sum_and_count(model, tensors, loss_fn)
        loss.backward()  # adds to .grad
        total, count = total + loss.detach(), count + kept
    divisor = count.clamp(min=1)  # the mean of nothing is 0
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= divisor
    return total / divisor, count


@torch.no_grad()
def mean_loss(
    model: nn.Module, batches: Batches, loss_fn: LossFunction, count: int
) -> float:
    """The mean loss per kept token over `batches(0)` to `batches(count - 1)`.

    For held-out text; the model is switched to evaluation and back.
    """
    was_training = model.training
    model.eval()
    pairs = [
        sum_and_count(model, tensors, loss_fn)
        for step in range(count)
        for tensors in cut(batches(step))
    ]
    model.train(was_training)
    totals, counts = zip(*pairs, strict=True)
    return float(sum(totals) / sum(counts).clamp(min=1))


@dataclass
class History:
    """What happened at every step; lists of numbers, ready for a plot or for JSON."""

    losses: list[float] = field(default_factory=list)  # mean per kept token, nats
    rates: list[float] = field(default_factory=list)  # learning rate
    norms: list[float] = field(default_factory=list)  # gradient's, before clipping
    tokens: list[int] = field(default_factory=list)  # that counted in the loss
    seconds: list[float] = field(default_factory=list)  # evaluations left out
    evaluations: list[dict[str, float]] = field(default_factory=list)  # with "step"

    @property
    def last(self) -> float:
        """The newest loss."""
        return self.losses[-1]

    def mean(self, count: int = 20) -> float:
        """The mean of the newest `count` losses: calmer than the last one."""
        newest = self.losses[-count:]
        return sum(newest) / len(newest)

    def words(self, steps: int) -> str:
        """How far a run of so many steps is: step, loss and time.

        >>> History(losses=[2.0, 1.0], seconds=[3.0, 1.0]).words(steps=8)
        'step 2/8  loss 1.500  4 s'
        """
        loss = f"loss {self.mean(10):.3f}" if self.losses else ""
        return f"step {len(self.losses)}/{steps}  {loss}  {sum(self.seconds):.0f} s"


def train(
    model: nn.Module,
    batches: Batches,
    loss_fn: LossFunction,
    steps: int,
    lr: float = 1e-3,
    *,
    schedule: Callable[[int, int, float], float] = learning_rate,
    optimizer: torch.optim.Optimizer | None = None,
    clip: float = 1.0,
    accumulate: int = 1,
    evaluate: Evaluation | None = None,
    evaluate_every: int = 0,
    checkpoint: str | Path | None = None,
    save_every: int = 100,
    progress: bool | None = None,
) -> History:
    """Train the model in place for `steps` updates and return what happened.

    batches, loss_fn: see the module's first lines. lr: the peak of the schedule,
    given to all parameters. optimizer: AdamW if None. accumulate: pieces that each
    batch is cut into, for memory; the result stays the same. evaluate(model) gives
    numbers to note, every `evaluate_every` steps and after the last. checkpoint: a
    file to save to, every `save_every` steps and at the end, and to go on from if
    it exists. progress: a line that tells how far we are; None shows it where
    somebody can see it.
    """
    assert callable(batches), (
        f"batches is a function of the step, not a {type(batches).__name__}: "
        "for a list write `lambda step: rows[step % len(rows)]`"
    )
    optimizer, history = optimizer or adamw(model), History()
    rates = [schedule(step, steps, lr) for step in range(steps)]
    if checkpoint:
        settings = settings_of(model, optimizer, batches, rates, clip)
        if Path(checkpoint).exists():
            history = History(**resume_run(checkpoint, model, optimizer, settings))
    line = ProgressLine(lambda: history.words(steps), progress)
    was_training = model.training
    try:
        for step in range(len(history.losses), steps):
            began = time.perf_counter()
            model.train()
            batch = batches(step)
            mean, count = accumulate_gradients(model, batch, loss_fn, accumulate)
            length = clip_gradients(model.parameters(), clip)
            loss, norm, kept = torch.stack([mean, length, count]).tolist()
            refuse_nonsense(step, loss, norm, rates[step])
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            optimizer.step()
            history.losses.append(loss)
            history.rates.append(rates[step])
            history.norms.append(norm)
            history.tokens.append(int(kept))
            history.seconds.append(time.perf_counter() - began)
            if evaluate and due(step + 1, evaluate_every, steps):
                note = {"step": step + 1, **evaluated(model, evaluate)}
                history.evaluations.append(note)
            if checkpoint and due(step + 1, save_every, steps):
                save_run(checkpoint, model, optimizer, asdict(history), settings)
            line.show()
    finally:  # also after an error or an interrupt
        line.close()
        model.train(was_training)
        model.zero_grad()
    return history


def due(done: int, every: int, steps: int) -> bool:
    """Whether what happens every so many steps, and at the end, happens now.

    >>> [done for done in range(1, 8) if due(done, every=3, steps=7)]
    [3, 6, 7]
    """
    return done == steps or (every > 0 and done % every == 0)


def refuse_nonsense(step: int, loss: float, norm: float, rate: float) -> None:
    """Stop before a loss or gradient that is no number reaches the weights."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"At step {step} the loss is {loss} and the gradient's length {norm} "
            f"(learning rate {rate:g}): try a lower lr or a longer warm-up, and look "
            f"at batches({step}) and what loss_fn makes of it."
        )


@torch.no_grad()
def evaluated(model: nn.Module, evaluate: Evaluation) -> dict[str, float]:
    """What `evaluate` says about the model, without dropout and without gradients."""
    model.eval()
    return {name: float(value) for name, value in evaluate(model).items()}
