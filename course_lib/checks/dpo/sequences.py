"""Check of lesson 09: how likely a whole answer is.

What is right is worked out token by token in Python's own numbers. What a faulty answer
gives is computed by one function with a switch for each part. The answers that prove the
check are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.checks.asking import ask_gradient, ask_tensor, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.dpo import sequences

CUT = (
    "No gradient reaches the logits, so nothing could be trained with it. Stay with tensors: no .item(), .tolist(), "
    ".detach(), no_grad, NumPy or torch.tensor(...) of a result."
)


class Case(NamedTuple):
    """What an answer is asked about; None = the default is left to the answer."""

    logits: Tensor
    ids: Tensor
    mask: Tensor
    average: bool | None = None

    @property
    def said(self) -> str:
        return "" if self.average is None else f" with average={self.average}"


@check(
    sequences.sequence_logprobs,
    proved="Sums and means are those of a slow loop: for prompts and answers of any length, for masks with holes, for "
    "scores of any size and answers of 120 tokens; and gradients flow back.",
)
def sequence_logprobs(answer, draw):
    first = _paper()
    _compare(answer, first)
    _compare(answer, first._replace(average=True))
    for B, T, V in ((3, 7, 11), (4, 9, 5), (2, 6, 3)):
        case = _drawn(draw, B, T, V)
        _compare(answer, case)
        _compare(answer, case._replace(average=True))
        _compare(answer, case._replace(average=False))
    for B, T, V in ((1, 8, 6), (6, 6, 6), (5, 6, 4), (1, 2, 3)):
        _compare(answer, _drawn(draw, B, T, V))
        _compare(answer, _drawn(draw, B, T, V)._replace(average=True))
    _masks(answer, draw)
    _under_the_mask(answer, draw)
    _far(answer, draw)
    _long(answer, draw)
    case = _drawn(draw, 3, 6, 5)
    turned = case.logits.mT.contiguous().mT
    _compare(answer, Case(turned, case.ids.T.contiguous().T, case.mask))
    _gradient(answer, draw)
    _double(answer, draw)


# --- inputs -----------------------------------------------------------------------------------


def _paper() -> Case:
    """Two rows whose probabilities are fractions; each place has its own."""
    places = torch.arange(7)
    shares = 1.0 + (places[:, None] * 5 + torch.arange(4) * 3) % 7  # (T, V)
    logits = torch.stack([shares, shares.flip(0)]).log()
    ids = torch.tensor([[3, 0, 2, 1, 1, 0, 2], [1, 2, 3, 3, 0, 2, 1]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0]]).bool()
    return Case(logits, ids, mask)


def _drawn(
    draw: torch.Generator, B: int, T: int, V: int, dtype: torch.dtype = torch.float32
) -> Case:
    """A prompt, an answer and padding behind it, of other lengths in every row."""
    logits = 2 * torch.randn(B, T, V, generator=draw, dtype=dtype)
    ids = torch.randint(V, (B, T), generator=draw)
    mask = torch.zeros(B, T, dtype=torch.bool)
    for b in range(B):
        start = int(torch.randint(1, max(T - 2, 2), (1,), generator=draw))
        end = int(torch.randint(start + 1, T + 1, (1,), generator=draw))
        mask[b, start : T if b == B - 1 else end] = True  # one fills its row
    return Case(logits, ids, mask)


# --- asking -----------------------------------------------------------------------------------


def _asked(answer: Callable, case: Case) -> Tensor:
    B, T, V = case.logits.shape
    each = "Every answer has one number, (B,)."
    # fmt: off
    shapes = {
        (B, T - 1): f"That is a number for each token. {each}", (B, T): f"That is a number for each token. {each}",
        (): f"That is one number for the whole batch. {each}", (1,): f"That is one number for the whole batch. {each}",
        (B, 1): f"A dimension was kept. {each}", (T - 1,): f"That is a number for each column. {each}",
        (T,): f"That is a number for each column. {each}", (B, V): f"That is a number for each word. {each}",
        (B, T - 1, V): f"That is a number for each word at each place. {each}",
        (B, T, V): f"That is a number for each word at each place. {each}",
        (B, B): "That is every answer against every other. One number for each answer is wanted.",
    }
    # fmt: on
    shapes.pop((B,), None)
    options = {} if case.average is None else {"average": case.average}
    try:
        return ask_tensor(answer, *case[:3], shape=(B,), shapes=shapes, **options)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        said = str(error)
        expect(
            isinstance(error, CheckFailed) or f"{T - 1}" not in said or f"{T}" not in said,
            f"It stopped with {type(error).__name__} where {T - 1} places meet {T}. Logits, ids and mask are all cut to "
            "T - 1 places before they meet: which end does each of them lose?",
        )  # fmt: skip
        raise


def _slowly(case: Case) -> Tensor:
    """Token by token, in Python's numbers."""
    found = []
    tables = (x.tolist() for x in case[:3])
    for rows, said, kept in zip(*tables, strict=True):
        logprobs = []
        for t in range(1, len(said)):
            if kept[t]:
                scores = rows[t - 1]
                top = max(scores)
                total = math.fsum(math.exp(score - top) for score in scores)
                logprobs.append(scores[said[t]] - top - math.log(total))
        total = math.fsum(logprobs)
        found.append(total / len(logprobs) if case.average else total)
    return torch.tensor(found, dtype=torch.float64)


def _compare(answer: Callable, case: Case) -> None:
    got, want = _asked(answer, case).detach().double(), _slowly(case)
    if close(got, want):
        return
    _no_number(got)
    b = int((got - want).abs().argmax())
    otherwise = (
        f"In a batch of shape {tuple(case.logits.shape)} answer {b}, of {int(case.mask[b, 1:].sum())} tokens, is given "
        f"{got[b]:.4g}{case.said}; it should be {want[b]:.4g}."
    )
    known = {
        mistake: tuple(_with(case, **fault) for fault in ways)
        for mistake, ways in _MISTAKES.items()
    }
    diagnose(got, want, known, otherwise)


def odd(got: Tensor) -> float | None:
    """The first number that is none."""
    return next((x for x in got.flatten().tolist() if not math.isfinite(x)), None)


def _no_number(got: Tensor) -> None:
    expect(
        bool(got.isfinite().all()),
        f"Of ordinary scores it makes {odd(got)}, which is no number. Is a logarithm taken of 0, or "
        "something divided by 0?",
    )


# --- where it is hard -------------------------------------------------------------------------


def _masks(answer: Callable, draw: torch.Generator) -> None:
    """Holes, a prompt behind the answer, a first column that is True."""
    for average in (None, True):
        case = _drawn(draw, 3, 9, 5)
        holes = torch.tensor([[0, 1, 1, 0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 1, 1]]).bool()  # fmt: skip
        _compare(answer, case._replace(mask=holes, average=average))
        firsts = holes.clone()
        firsts[0, 0] = firsts[2, 0] = True
        _first_column(answer, case._replace(mask=firsts, average=average))


def _first_column(answer: Callable, case: Case) -> None:
    got, want = _asked(answer, case).detach().double(), _slowly(case)
    if close(got, want):
        return
    n = case.mask.sum(1)
    whole = _slowly(case._replace(average=None))
    expect(
        not (case.average and close(got, whole / n)),
        "Where the mask's first column is True, the mean is taken over one token too many: nobody scored the first token. "
        "Count what is left of the mask when it is cut.",
    )
    round_the_corner = _with(case, scores="round the corner")
    expect(
        not close(got, round_the_corner),
        "The first token is scored by the last row: something was rolled round the end. Nobody scored the first token; "
        "cut it off.",
    )
    raise CheckFailed(
        f"Where the mask's first column is True, an answer is given {got[0]:.4g}{case.said}; it should be {want[0]:.4g}. Nobody "
        "scored the first token, so it is left out, whatever the mask says there."
    )


def _under_the_mask(answer: Callable, draw: torch.Generator) -> None:
    """In the padding anything may stand."""
    for average in (None, True):
        start, end = torch.tensor([[1, 4, 2], [4, 6, 3]])[:, :, None]
        mask = (torch.arange(8) >= start) & (torch.arange(8) < end)
        case = _drawn(draw, 3, 8, 5)._replace(mask=mask, average=average)
        used = case.mask.flip(1).cumsum(1).flip(1) > 0  # up to the end
        for hole in (torch.nan, 77.0):
            filled = case.logits.masked_fill(~used[:, :, None], hole)
            dirty = case._replace(logits=filled)
            got, want = _asked(answer, dirty).detach().double(), _slowly(case)
            expect(
                bool(got.isfinite().all()) or math.isfinite(hole),
                f"With nan among the logits of the padding it gives nan{case.said}. What stands there does not count, and a "
                "product with 0 does not remove it. Which sum of course_lib.masks leaves it out?",
            )
            expect(
                close(got, want),
                f"Where other scores stand in the padding, another number comes out{case.said}. Padding does not count.",
            )


def _far(answer: Callable, draw: torch.Generator) -> None:
    """Words that are next to impossible, and scores of a thousand."""
    case = _drawn(draw, 3, 6, 5)
    said = functional.one_hot(case.ids.roll(-1, 1), 5).bool()  # rows score what follows
    for down in (60.0, 1000.0):
        far = case._replace(logits=case.logits.where(~said, case.logits - down))
        got, want = _asked(answer, far).detach().double(), _slowly(far)
        expect(
            bool(got.isfinite().all()),
            f"Where a word's score is {down:.0f} below the others it gives {odd(got)}: the probability is 0 "
            "in floats, and its logarithm is not finite. The logarithm of the probabilities can be had without them.",
        )
        expect(
            close(got, want, rtol=1e-4),
            f"Where a word's score is {down:.0f} below the others, an answer is given {got[0]:.5g}; it should be {want[0]:.5g}. Is "
            "a probability held up by a small constant, or cut off?",
        )
    for up in (1000.0, -1000.0):
        shift = up * (1 + torch.arange(6)[:, None] % 3)
        shifted = case._replace(logits=case.logits + shift)
        got, want = _asked(answer, shifted).detach().double(), _slowly(shifted)
        expect(
            bool(got.isfinite().all()),
            f"With scores around {up:.0f} it gives {odd(got)}: an exponential has overflowed, or is 0. "
            "log_softmax or logsumexp take care of that.",
        )
        expect(
            close(got, want, rtol=1e-3, atol=5e-3),
            f"With {up:.0f} or more added to all scores of a place, an answer is given {got[0]:.5g}; it should be {want[0]:.5g}, as "
            "before. Only differences between scores say something.",
        )


def _long(answer: Callable, draw: torch.Generator) -> None:
    """An answer of 120 tokens: its probability is 0 in floats."""
    case = _drawn(draw, 2, 121, 4)
    mask = torch.arange(121) >= torch.tensor([[1], [90]])
    for average in (None, True):
        long = case._replace(mask=mask, average=average)
        got, want = _asked(answer, long).detach().double(), _slowly(long)
        expect(
            bool(got.isfinite().all()),
            f"For an answer of 120 tokens it gives {odd(got)}: a product of so many probabilities is 0 in "
            "floats. Add up logarithms.",
        )
        if not close(got, want, rtol=1e-4):
            _compare(answer, long)


def _gradient(answer: Callable, draw: torch.Generator) -> None:
    """Up for what was said, down for the rest, at the places that score an answer."""
    case = _drawn(draw, 3, 6, 4)
    weights = torch.tensor([1.0, -2.0, 0.5])
    for average in (None, True):
        asked = case._replace(average=average)
        push = ask_gradient(
            lambda x, asked=asked: _asked(answer, asked._replace(logits=x)),
            case.logits, weights, cut=CUT,
        )  # fmt: skip
        n = case.mask.sum(1) if average else torch.ones(3)
        said = functional.one_hot(case.ids[:, 1:], 4) - case.logits[:, :-1].softmax(-1)
        share = (case.mask * (weights / n)[:, None])[:, 1:]
        want = torch.zeros_like(case.logits)
        want[:, :-1] = said * share[:, :, None]
        expect(
            close(push, want),
            "The numbers are right, and their gradient is not. Is a part of it cut off (detach, no_grad)?",
        )


def _double(answer: Callable, draw: torch.Generator) -> None:
    case = _drawn(draw, 3, 5, 4, torch.float64)
    for average in (None, True):
        asked = case._replace(average=average)
        got = _asked(answer, asked)
        expect(
            got.dtype == torch.float64,
            f"For logits of type torch.float64 it returns the type {got.dtype}. Stay in the type of what is given.",
        )
        expect(
            torch.allclose(got.detach(), _slowly(asked), rtol=1e-10, atol=1e-10),
            "For logits of type torch.float64 digits are lost on the way. Stay in the type of what is given.",
        )


# --- with faults left in ------------------------------------------------------------------------


def _with(case: Case, scores="next", mask="answer", value="logs", total=None) -> Tensor:
    """What comes out, (B,), with a fault for every switch that is turned."""
    B, T, _ = case.logits.shape
    table = _values(case.logits.nan_to_num().double(), value)
    rows = torch.arange(T)
    step = {"next": -1, "own": 0, "previous": 1, "two before": -2}.get(scores, -1)
    at = rows + step  # which row scores each token
    there = (at >= 0) & (at < T)
    if scores == "round the corner":
        at, there = at % T, torch.ones(T, dtype=torch.bool)
    picked = table[:, at.clamp(0, T - 1)].gather(-1, case.ids[:, :, None])[..., 0]
    if scores == "places for words":
        picked = table.gather(1, case.ids.clamp(max=T - 1)[:, :, None])[..., 0]
    counts = _counted(case.mask, mask) & there
    sums, n = (picked * counts).sum(1), counts.sum(1).clamp(min=1)
    if total is None:
        total = "mean" if case.average else "sum"
    ways = {
        "sum": sums, "mean": sums / n, "over T": sums / T, "over T - 1": sums / (T - 1), "over B": sums / B,
        "over the longest": sums / n.max(), "over all tokens": sums / counts.sum(), "by n": sums * n,
        "turned": sums if case.average else sums / n, "minus": -sums / (n if case.average else 1),
        "mean and over B": sums / n / B, "probability": sums.exp(), "its mean": (sums / n).exp(), "perplexity": (-sums / n).exp(),
        "cost of the answer": (-sums).exp(), "log of the mean": ((picked.exp() * counts).sum(1) / n).log(),
        "log of the sum": (picked.exp() * counts).sum(1).log(), "over root": sums / n.sqrt(),
        "batch": sums.sum().expand(B), "batch mean": sums.mean().expand(B), "one fewer": sums / (n - 1).clamp(min=1),
        "one more": sums / (n + 1), "over the answer's mask": sums / (case.mask.sum(1).clamp(min=1) if case.average else 1),
        "largest": picked.where(counts, -torch.inf).amax(1), "smallest": picked.where(counts, torch.inf).amin(1),
        "last": picked.gather(1, (counts * rows).argmax(1, keepdim=True))[:, 0], "minus the mean": -sums / n,
    }  # fmt: skip
    return ways[total]


def _values(logits: Tensor, how: str) -> Tensor:
    """What stands for each word at each place, (B, T, V)."""
    logs = logits.log_softmax(-1)
    ways = {
        "probabilities": logs.exp(), "scores": logits, "over places": logits.log_softmax(1),
        "over places that score": torch.cat([logits[:, :-1].log_softmax(1), logits[:, -1:]], 1),
        "over the batch": logits.log_softmax(0), "bits": logs / math.log(2), "tens": logs / math.log(10),
        "below the best": logits - logits.amax(-1, keepdim=True), "one by one": functional.logsigmoid(logits),
        "twice": logs.log_softmax(-1), "of all": logits - logits.flatten(1).logsumexp(1)[:, None, None],
        "softmax of softmax": logs.exp().log_softmax(-1), "over the sum": (logits / logits.sum(-1, keepdim=True)),
    }  # fmt: skip
    return ways.get(how, logs)


def _counted(mask: Tensor, how: str) -> Tensor:
    """Which tokens are counted, (B, T)."""
    none, seen = torch.zeros_like(mask[:, :1]), mask.long().cumsum(1)
    rest = mask.long().flip(1).cumsum(1).flip(1)
    ways = {
        "later": torch.cat([none, mask[:, :-1]], 1), "earlier": torch.cat([mask[:, 1:], none], 1),
        "all": torch.ones_like(mask), "up to the end": rest > 0, "from the start": seen > 0,
        "without the last": mask & (rest > 1), "without the first": mask & (seen > 1), "others": ~mask,
        "of the first row": mask[:1].expand_as(mask), "last alone": mask & (rest == 1), "first alone": mask & (seen == 1),
        "filled": (seen > 0) & (rest > 0), "up to the first hole": (seen > 0) & ((seen == 0) | mask).long().cummin(1).values.bool(),
        "behind the first row's prompt": mask & (seen[:1] > 0), "without the last column": torch.cat([mask[:, :-1], none], 1),
        "two later": torch.cat([none, none, mask[:, :-2]], 1), "one before as well": mask | torch.cat([mask[:, 1:], none], 1),
        "one behind as well": mask | torch.cat([none, mask[:, :-1]], 1),
    }  # fmt: skip
    return ways.get(how, mask)


# fmt: off
_MISTAKES: dict[str, list[dict]] = {
    "There is no shift: each token is scored by the row at its own place. Row t of the logits scores the token that follows it.":
        [{"scores": "own", "mask": m, "total": t} for m in ("answer", "earlier", "later") for t in (None, "mean")],
    "It is shifted the wrong way: each token is scored by the row behind it, which has already seen it. Row t scores the token that "
    "follows.": [{"scores": "previous", "mask": m} for m in ("answer", "earlier", "later")],
    "The ids were looked up along the places. They are words: look along the last dimension.": [{"scores": "places for words"}],
    "It is shifted twice. Row t scores the next token.": [{"scores": "two before", "mask": m} for m in ("answer", "later", "two later")],
    "The mask was not cut as the ids were: it is one place late, so the answer's first token is lost and what stands behind its end "
    "counts.": [{"mask": "later", "total": t} for t in (None, "mean", "over the answer's mask")],
    "The mask is one place early: the last token of the prompt counts, and the answer's end is lost. Cut it as you cut the ids.":
        [{"mask": "earlier"}, {"mask": "earlier", "total": "over the answer's mask"}],
    "Every token counts, of prompt and padding too. Only those count where the mask is True.":
        [{"mask": "all", "total": t} for t in (None, "sum", "mean")],
    "The prompt counts as well. Only those tokens count where the mask is True.": [{"mask": "up to the end"}, {"mask": "up to the end", "total": "over the answer's mask"}],
    "The padding behind the answer counts as well. Only those tokens count where the mask is True.":
        [{"mask": "from the start"}, {"mask": "from the start", "total": "over the answer's mask"}],
    "The last token of the answer is lost. The mask says that it belongs to it.":
        [{"mask": "without the last"}, {"mask": "without the last column"}, {"mask": "without the last", "total": "over the answer's mask"},
         {"mask": "without the last column", "total": "over the answer's mask"}],
    "The first token of the answer is lost. The last row of the prompt scores it.": [{"mask": "without the first"}, {"mask": "without the first", "total": "over the answer's mask"}],
    "Only one token of the answer counts.": [{"mask": "last alone"}, {"mask": "first alone"}, {"total": "largest"}, {"total": "smallest"}, {"total": "last"}],
    "The mask is upside down: True marks the tokens of the answer.": [{"mask": "others"}, {"mask": "others", "total": "sum"}],
    "All rows have the mask of the first. Each has its own.": [{"mask": "of the first row"}],
    "A hole in the mask was filled, or the answer ends for you at the first one. Only those tokens count where the mask is True.":
        [{"mask": "filled"}, {"mask": "up to the first hole"}],
    "All answers begin for you where the first one does. Each row's mask is its own.": [{"mask": "behind the first row's prompt"}],
    "One token too many counts, before the answer or behind it.": [{"mask": "one before as well"}, {"mask": "one behind as well"}],
    "`average` makes no difference, or is turned round: without it the logarithms are added up, with it they are averaged.":
        [{"total": "turned"}, {"total": "sum"}, {"total": "mean"}],
    "The mean is taken over the width of the batch. An answer's mean is over its own tokens.": [{"total": "over T"}, {"total": "over T - 1"}],
    "It is divided by the number of answers. Each answer has a number of its own.": [{"total": "over B"}, {"total": "mean and over B"}],
    "All answers are divided by one length. An answer's mean is over its own tokens.": [{"total": "over the longest"}, {"total": "over all tokens"}],
    "The mean is over one token too many, or too few. How many tokens does the answer have?": [{"total": "one fewer"}, {"total": "one more"}],
    "It is divided by the root of the length, or multiplied by the length.": [{"total": "over root"}, {"total": "by n"}],
    "All answers were added up, or averaged. Each answer has a number of its own.": [{"total": "batch"}, {"total": "batch mean"}],
    "The sign is turned: that is a loss. A log-probability is 0 or below.": [{"total": "minus"}, {"total": "minus the mean"}],
    "That is the probability of the answer, or its perplexity. Its logarithm is wanted.":
        [{"total": t} for t in ("probability", "its mean", "perplexity", "cost of the answer")],
    "Probabilities are added up. Their logarithms are.": [{"value": "probabilities"}, {"value": "probabilities", "total": "sum"}],
    "That is the logarithm of a sum, or mean, of probabilities. Add up logarithms.": [{"total": "log of the mean"}, {"total": "log of the sum"}],
    "The scores themselves are added up. What is the log-probability of a word, given the scores of all?":
        [{"value": v} for v in ("scores", "below the best", "over the sum")],
    "The softmax runs along the places, or along the batch. It runs over the words, the last dimension.":
        [{"value": "over places"}, {"value": "over places that score"}, {"value": "over the batch"}, {"value": "of all"}],
    "The logarithms have another base. Nats are wanted, the natural one.": [{"value": "bits"}, {"value": "tens"}],
    "Each score goes through a sigmoid by itself. All words of a place share one probability: a softmax.": [{"value": "one by one"}],
    "There are two softmaxes, one after the other.": [{"value": "softmax of softmax"}],
}
# fmt: on
