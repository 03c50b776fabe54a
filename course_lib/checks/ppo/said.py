"""Checks of lesson 07: how likely a response's own tokens were.

Log-probabilities are looked up token by token, by Python's own numbers; gradients are
those of torch's cross entropy. The answers that prove the check are in
`tests/answers/`.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from course_lib import logprobs
from course_lib.checks.asking import (
    NO_GRADIENT,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check


@check(
    logprobs.response_logprobs,
    proved="Each token of the responses is looked up where the model foretold it, one position earlier, "
    "for long and short prompts; and no token is too unlikely for a finite number.",
)
def response_logprobs(answer, draw):
    _said_compare(answer, *_drawn_texts(draw, 3, 10, 7), 4)
    sizes = (
        (2, 7, 5, 4), (3, 6, 4, 3), (4, 6, 3, 2), (2, 5, 6, 1), (3, 5, 4, 4),
        (1, 6, 5, 2), (1, 2, 3, 1), (4, 8, 4, 4), (5, 9, 3, 2),
    )  # fmt: skip
    for B, T, V, start in sizes:
        _said_compare(answer, *_drawn_texts(draw, B, T, V), start)
    _said_rare(answer)
    logits, ids = _drawn_texts(draw, 3, 7, 5)
    turned = logits.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    _said_compare(answer, turned, ids.T.contiguous().T, 3)
    _said_of_any_type(answer, draw)
    _said_gradient(answer, draw)


def _drawn_texts(
    draw, B: int, T: int, V: int, dtype=torch.float32
) -> tuple[Tensor, Tensor]:
    logits = 2 * torch.randn(B, T, V, generator=draw, dtype=dtype)
    return logits, torch.randint(V, (B, T), generator=draw)


def _said_ask(answer, logits: Tensor, ids: Tensor, start: int) -> Tensor:
    B, T, V = logits.shape
    n = T - start
    each = "One number is wanted for each token of each response, (B, T - start)."
    # fmt: off
    shapes = {
        (): f"That is one number for the whole batch. {each}",
        (B,): f"That is one number for each response. {each}",
        (B, 1): f"That is one number for each response. {each}",
        (n,): f"That is one response. {each}",
        (1, n): f"That is one response. {each}",
        (B * n,): "They are in one long row. Each response keeps a row of its own.",
        (B, T): "There is something for the tokens of the prompt as well, and the first token of all has no prediction.",
        (B, T - 1): "The prompt's tokens are among them. Only those of the response are wanted.",
        (B, n + 1): "There is one too many: the last token of the prompt, or what would follow the last token.",
        (B, n - 1): "There is one too few. The response's first token counts too: the prompt's last position foretells it.",
        (B, start): "Those are as many as the prompt has tokens. Are prompt and response mixed up?",
        (B, n, V): "There is a number for every token of the vocabulary. Which one was said?",
        (B, n, 1): "A dimension of size 1 stayed behind.",
        (n, n): "Every position met every token (n x n): a pair of indices pairs up only if both run together.",
        (B, n, n): "Every position met every token (n x n). A position has one token that followed it: how does one look up "
                   "one entry for each?",
        (n, B): "Rows and columns changed places.",
    }
    # fmt: on
    shapes.pop((B, n), None)
    return ask_tensor(answer, logits, ids, start, shape=(B, n), shapes=shapes)


def _said_slowly(logits: Tensor, ids: Tensor, start: int) -> Tensor:
    found = []
    for rows, said in zip(logits.tolist(), ids.tolist(), strict=True):
        for t in range(start, len(said)):
            row = rows[t - 1]
            top = max(row)
            total = math.log(math.fsum(math.exp(score - top) for score in row))
            found.append(row[said[t]] - top - total)
    return torch.tensor(found, dtype=torch.float64).view(len(ids), -1)


def _said_compare(answer, logits: Tensor, ids: Tensor, start: int) -> None:
    got = _said_ask(answer, logits, ids, start).detach()
    want = _said_slowly(logits, ids, start)
    if close(got, want):
        return
    b, t = divmod(
        int((got.double() - want).abs().nan_to_num(9e9).argmax()), got.shape[1]
    )
    otherwise = (
        f"In texts of {ids.shape[1]} tokens whose responses begin at {start}, token {start + t} of text {b} has the "
        f"log-probability {got[b, t]:.4g}; it should be {want[b, t]:.4g}."
    )
    expect(bool(got.isfinite().all()), otherwise)
    diagnose(got, want, _said_mistakes(logits.double(), ids, start), otherwise)


def _said_mistakes(
    logits: Tensor, ids: Tensor, start: int
) -> dict[str, tuple[Tensor, ...]]:
    B, T, V = logits.shape
    n, logs = T - start, logits.log_softmax(-1)
    read, said = logits[:, start - 1 : -1], ids[:, start:]
    want = _said_slowly(logits, ids, start)
    ahead = ids.roll(-1, 1)[:, start:]

    def pad(scores: Tensor) -> Tensor:  # so that every shift exists
        return functional.pad(scores, (0, 0, n, n))

    def pick(scores: Tensor, tokens: Tensor) -> Tensor:
        return scores.gather(2, tokens[..., None])[..., 0]

    def look(shift: int, tokens: Tensor, scores: Tensor = logs) -> Tensor:
        """The rows from start + shift on, looked up at these tokens."""
        first = n + start + shift
        return pick(pad(scores)[:, first : first + n], tokens)

    early, prompt, table = logs[:, :n], ids[:, :n], read.log_softmax(-1)
    twice = [logits.softmax(-1).log_softmax(-1), logs.exp().softmax(-1)]
    one = logs[:1].expand_as(logs)
    # fmt: off
    return {
        "Nothing is shifted: each token is looked up where the model has already read it. The position before foretells "
        "it.": (look(0, said), look(-1, ids[:, start - 1 : -1])),
        "It is looked up from position 0 on: those are predictions about the prompt. The response begins at `start`.":
            (pick(early, said), pick(logs[:, 1 : n + 1], said)),
        "The tokens of the prompt were looked up. Those of the response stand from `start` on.":
            (look(-1, prompt), look(0, prompt), pick(early, prompt), pick(early, ids[:, 1 : n + 1])),
        "The shift goes the wrong way: a token is looked up after it was read.":
            (look(1, said), look(0, said, logs.roll(-1, 1))),
        "It is shifted twice: the prediction from two positions earlier.":
            (look(-2, said), look(-1, ahead), look(0, ahead)),
        "Those are the raw scores: they were never made log-probabilities.": (pick(read, said), -pick(read, said)),
        "Those are probabilities. Their logarithm is wanted.": (want.exp(), 1 - want.exp()),
        "The sign is turned: a log-probability is at most 0.": (-want,),
        "It is in bits, or in another unit than nats: which logarithm is that?":
            (want / math.log(2), want / math.log(10)),
        "The softmax is taken twice.": tuple(look(-1, said, scores) for scores in twice),
        "The softmax goes over positions, or over texts. Each position is a choice among V tokens.":
            (pick(read.log_softmax(1), said), pick(read.log_softmax(0), said), look(-1, said, logits.log_softmax(1)),
             pick(read - read.logsumexp((1, 2), keepdim=True), said)),
        "Those are the likeliest tokens' numbers. Look up the token that was said, likely or not.":
            (table.amax(-1), read.amax(-1)),
        "That is how undecided each position is, not how likely its token was.":
            (-(table.exp() * table).sum(-1), read.logsumexp(-1), -read.logsumexp(-1), table.mean(-1), table.sum(-1)),
        "All texts are answered by the first one, its scores or its tokens.":
            (look(-1, said, one), want[:1].expand_as(want), look(-1, said[:1].expand_as(said))),
        "Every place holds the same mean or sum. Each token has its own number.":
            tuple(x.expand_as(want) for x in
                  (want.mean(), want.sum(), want.mean(1, keepdim=True), want.sum(1, keepdim=True))),
        "They add up along the response. Each token has its own number.":
            (want.cumsum(1), want.flip(1).cumsum(1).flip(1)),
        "They are divided by a count. Each token has its own number.": tuple(want / k for k in (n, T, B, B * n, V)),
        "One place holds a filler. The response's first token has a prediction too, that of the prompt's last position.":
            (want * (torch.arange(n) > 0), want * (torch.arange(n) < n - 1),
             functional.pad(want[:, 1:], (0, 1)), functional.pad(want[:, :-1], (1, 0))),
        "Scores were reshaped where two dimensions should change places, or texts and positions were mixed.":
            (want.flatten().view(-1, B).T, want.T.reshape(B, n), want.flip(0), want.flip(1)),
    }
    # fmt: on


def _said_rare(answer) -> None:
    """Tokens that no float holds the probability of."""
    for gap in (50.0, 200.0, 10000.0):
        logits = torch.zeros(2, 4, 3)
        logits[0, 1:3, 1], logits[1, 1, 2] = gap, -gap
        ids = torch.tensor([[0, 1, 0, 2], [1, 1, 2, 0]])
        got, want = (
            _said_ask(answer, logits, ids, 2).detach(),
            _said_slowly(logits, ids, 2),
        )
        if close(got, want, rtol=1e-4):
            continue
        value, right = got[0, 0].item(), want[0, 0].item()
        if math.isfinite(value):
            raise CheckFailed(
                f"A token that lies {gap:g} below the others has the log-probability {value:.4g}, and should have "
                f"{right:.4g}. Does something hold the logarithm back, a small constant or a clamp?"
            )
        raise CheckFailed(
            f"A token that lies {gap:g} below the others has the log-probability {value}, and should have {right:.4g}. A "
            "probability that is too small for a float becomes 0, and 0 has no logarithm: torch takes both steps together."
        )


def _said_of_any_type(answer, draw) -> None:
    logits, ids = _drawn_texts(draw, 3, 6, 5, torch.float64)
    got = _said_ask(answer, logits, ids, 2)
    expect(
        got.dtype == torch.float64,
        f"For logits of type torch.float64 the result has the type {got.dtype}. Stay in the type of what is given.",
    )
    _said_compare(answer, logits, ids, 2)


def _said_gradient(answer, draw) -> None:
    """Against torch's own cross entropy."""
    logits, ids = _drawn_texts(draw, 3, 6, 4)
    weights = torch.randn(3, 4, generator=draw)
    got = ask_gradient(
        lambda leaf: _said_ask(answer, leaf, ids, 2), logits, weights, NO_GRADIENT
    )
    leaf = logits.clone().requires_grad_()
    losses = functional.cross_entropy(
        leaf[:, 1:-1].flatten(0, 1), ids[:, 2:].flatten(), reduction="none"
    )
    (want,) = torch.autograd.grad((-losses.view(3, 4) * weights).sum(), leaf)
    expect(
        close(got, want),
        "The values are right, and the gradient of the logits is not. Is a part cut off (detach, no_grad)? The sum over "
        "all tokens moves as well, not only the score of the one that was said.",
    )
