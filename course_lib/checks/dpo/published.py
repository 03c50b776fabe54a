"""Check of lesson 09: the learner's test of answers' log-probabilities, and what it must tell apart.

All right versions give the same numbers. The faulty ones are what is published, and what
is written when one of them is mended; each breaks one of the claims and keeps others.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from course_lib.checks.asking import close
from course_lib.checks.learners_tests import check_test
from course_lib.dpo import sequences


def _refuse(logits: object, ids: object, mask: object) -> None:
    """Not asserts: those would look like the test's own."""
    for name, one in {"logits": logits, "ids": ids, "response_mask": mask}.items():
        if not isinstance(one, Tensor):
            raise ValueError(f"{name} is a tensor, not a {type(one).__name__}")
    if not logits.is_floating_point():
        raise ValueError(f"logits are numbers with a point, not {logits.dtype}")
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids are whole numbers, not {ids.dtype}")
    if mask.dtype != torch.bool:
        raise ValueError(f"response_mask is boolean, True counts, not {mask.dtype}")
    shapes = [tuple(one.shape) for one in (logits, ids, mask)]
    if logits.ndim != 3 or not shapes[0][:2] == shapes[1] == shapes[2]:
        raise ValueError(
            f"logits are (B, T, V), ids and response_mask (B, T), not {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    if not ids.numel() or ids.min() < 0 or ids.max() >= logits.shape[-1]:
        raise ValueError(
            f"ids are from 0 to {logits.shape[-1] - 1}, one less than the scores of a place, in the padding as well"
        )


def _version(rule: Callable) -> Callable:
    """rule(logits, ids, mask), of inputs that belong together."""

    def version(logits, ids, response_mask):
        _refuse(logits, ids, response_mask)
        return rule(logits, ids.long(), response_mask)

    return version


def _sum(values: Tensor, kept: Tensor) -> Tensor:
    return values.masked_fill(~kept, 0.0).sum(dim=1)


# --- right versions ---------------------------------------------------------------------------


def _looked_up(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    logs = logits[:, :-1].log_softmax(dim=-1).gather(-1, ids[:, 1:, None])
    return _sum(logs.squeeze(-1), mask[:, 1:])


def _as_a_cost(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
    costs = functional.cross_entropy(
        logits[:, :-1].mT, targets, reduction="none", ignore_index=-100
    )
    return -_sum(costs, mask[:, 1:])


def _token_by_token(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    found = []
    for rows, said, kept in zip(logits, ids, mask, strict=True):
        total = rows.new_zeros(())
        for t in range(1, len(said)):
            if kept[t]:
                row = rows[t - 1]
                total = total + row[said[t]] - row.logsumexp(dim=0)
        found.append(total)
    return torch.stack(found)


def _in_double(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    wide = logits[:, :-1].double()
    said = functional.one_hot(ids[:, 1:], logits.shape[-1]).bool()
    scores = wide.masked_fill(~said, 0.0).sum(-1)
    return _sum(scores - wide.logsumexp(-1), mask[:, 1:]).to(logits.dtype)


def _only_what_counts(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    kept = mask[:, 1:]
    logs = logits[:, :-1][kept].log_softmax(-1)  # (N, V)
    logs = logs[torch.arange(len(logs)), ids[:, 1:][kept]]
    return logs.new_zeros(len(ids)).index_add(0, kept.nonzero()[:, 0], logs)


def _mean_by_number(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Of rows that all have an answer: elsewhere a mean is nan."""
    kept = mask[:, 1:]
    logs = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    pairs = zip(logs, kept, strict=True)
    return torch.stack([x[m].mean() * m.sum() for x, m in pairs])


def _rolled(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Of finite scores, under a mask whose first column is False."""
    logs = logits.log_softmax(-1).gather(-1, ids.roll(-1, 1)[..., None])[..., 0]
    return (logs * mask.roll(-1, 1)).sum(dim=1)


_RIGHT = {
    "cut, then a log-softmax, looked up and added up": _version(_looked_up),
    "as a cross-entropy, with its sign turned": _version(_as_a_cost),
    "token by token in a loop": _version(_token_by_token),
    "in double precision, each score less the logarithm of the sum": _version(
        _in_double
    ),
    "for the answer's tokens alone": _version(_only_what_counts),
    "the mean over each answer's tokens, times their number": _version(_mean_by_number),
    "ids and mask rolled by one place, multiplied and added up": _version(_rolled),
}


# --- faulty versions --------------------------------------------------------------------------


def _scored(logits: Tensor, ids: Tensor, step: int = 1) -> Tensor:
    """Of every token, (B, T), by the row so many places before it; 0 where there is none."""
    T = ids.shape[1]
    at = torch.arange(T) - step
    rows = logits.log_softmax(-1)[:, at.clamp(0, T - 1)]
    found = rows.gather(-1, ids[..., None])[..., 0]
    return found.masked_fill((at < 0) | (at >= T), 0.0)


def _counts(find: Callable) -> Callable:
    """Right, except for which tokens count: find(mask), (B, T)."""
    return _version(lambda x, ids, m: _sum(_scored(x, ids), find(m)))


def _ends(find: Callable) -> Callable:
    """Right, except for what becomes of the sums: find(sums, kept tokens (B, T))."""
    return _version(lambda x, ids, m: find(_looked_up(x, ids, m), _cut(m)))


def _words(find: Callable) -> Callable:
    """Right, except for what stands for a word at a place: find(logits), (B, T, V)."""

    def rule(x: Tensor, ids: Tensor, m: Tensor) -> Tensor:
        values = find(x)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
        return _sum(values, m[:, 1:])

    return _version(rule)


def _cut(mask: Tensor) -> Tensor:
    return mask & (torch.arange(mask.shape[1]) > 0)


def _later(mask: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], dim=1)


def _earlier(mask: Tensor) -> Tensor:
    return torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)


def _seen(mask: Tensor) -> Tensor:
    return mask.long().cumsum(1)


def _to_come(mask: Tensor) -> Tensor:
    return mask.long().flip(1).cumsum(1).flip(1)


def _mean_of_all(x: Tensor, ids: Tensor, m: Tensor) -> Tensor:
    """The second of the published ones: the mask one place late, and a mean over the width."""
    return _sum(_scored(x, ids), _later(m)) / (ids.shape[1] - 1)


def _rows_of_the_first(x: Tensor, ids: Tensor, m: Tensor) -> Tensor:
    return _looked_up(x[:1].expand_as(x), ids, m)


def _words_of_the_first(x: Tensor, ids: Tensor, m: Tensor) -> Tensor:
    return _looked_up(x, ids[:1].expand_as(ids), m)


def _norm_of_one(logits: Tensor) -> Tensor:
    """Every place less the first place's logarithm of the sum."""
    return logits - logits[:, :1].logsumexp(-1, keepdim=True)


_SHIFT = (
    "Change the scores at one position alone: which token's number may change? And let the logits of the positions differ, "
    "so that it shows by which of them a token is scored."
)
_LEFT_OUT = (
    "Change the ids of the prompt and of the padding, and the scores that nothing of the answer is scored by: no number may "
    "change."
)
_END = (
    "Change the score of one token of the answer, its first and its last in turn, where the row ends and where padding "
    "follows: the number changes as much."
)
_SUM = (
    "Take answers of two tokens or more, of different lengths, where the number is known: with all scores equal, every "
    "token of the answer costs ln V nats."
)
_ADDED = "Add a number to all scores of one position, another one at another position: no number may change."
_ROWS = (
    "Take several rows with other prompts, lengths, ids and scores, and compare each with what it gives alone. There is "
    "one number for each row."
)

_WRONG: dict[str, tuple[Callable, str]] = {
    # in the order in which they are told
    "not shifted: each token is scored by the row at its own place": (
        _version(lambda x, ids, m: _sum(_scored(x, ids, 0), m)), _SHIFT),
    "the mask is not shifted, and the mean over all positions is taken": (_version(_mean_of_all), _LEFT_OUT),
    "the mask is not shifted: it is one place late": (_counts(_later), _LEFT_OUT),
    "the mask is one place early": (_counts(_earlier), _LEFT_OUT),
    "the mean over the answer's tokens": (_ends(lambda s, m: s / m.sum(1).clamp(min=1)), _SUM),
    "shifted the wrong way: each token is scored by the row behind it": (
        _version(lambda x, ids, m: _sum(_scored(x, ids, -1), m)), _SHIFT),
    "every token counts, of prompt and padding too": (_counts(torch.ones_like), _LEFT_OUT),
    "the prompt counts as well": (_counts(lambda m: _to_come(m) > 0), _LEFT_OUT),
    "the padding behind the answer counts as well": (_counts(lambda m: _seen(m) > 0), _LEFT_OUT),
    "the token behind the answer counts as well": (_counts(lambda m: m | _later(m)), _LEFT_OUT),
    "the last token of the prompt counts as well": (_counts(lambda m: m | _earlier(m)), _LEFT_OUT),
    "the last token of each answer is dropped": (_counts(lambda m: m & (_to_come(m) > 1)), _END),
    "the last token of the row is dropped, even where the answer fills it": (
        _counts(lambda m: m & (torch.arange(m.shape[1]) < m.shape[1] - 1)), _END),
    "the first token of each answer is dropped": (_counts(lambda m: m & (_seen(m) > 1)), _END),
    "the mean over the width of the row": (_ends(lambda s, m: s / m.shape[1]), _SUM),
    "the mean over all positions that are scored": (_ends(lambda s, m: s / max(m.shape[1] - 1, 1)), _SUM),
    "divided by the longest answer of the batch": (_ends(lambda s, m: s / m.sum(1).max().clamp(min=1)), _SUM),
    "the sign turned round: a cost": (_ends(lambda s, m: -s), _SUM),
    "the probability of the answer, without its logarithm": (_ends(lambda s, m: s.exp()), _SUM),
    "in bits, and not in nats": (_words(lambda x: x.log_softmax(-1) / 0.6931471805599453), _SUM),
    "the scores themselves are added up": (_words(lambda x: x), _ADDED),
    "the scores less the largest of their place": (_words(lambda x: x - x.amax(-1, keepdim=True)), _SUM),
    "each score goes through a sigmoid by itself": (_words(functional.logsigmoid), _ADDED),
    "the probabilities of the tokens are added up": (_words(lambda x: x.softmax(-1)), _SUM),
    "the log-softmax runs along the positions": (_words(lambda x: x.log_softmax(1)), _ADDED),
    "every position is normalised as the first one is": (_words(_norm_of_one), _ADDED),
    "the log-softmax runs along the rows of the batch": (_words(lambda x: x.log_softmax(0)), _ROWS),
    "all rows have the mask of the first": (_counts(lambda m: m[:1].expand_as(m)), _ROWS),
    "all rows have the prompt of the first: its length decides where every answer begins": (
        _counts(lambda m: (torch.arange(m.shape[1]) >= m[:1].long().argmax(1, keepdim=True)) & (_to_come(m) > 0)), _ROWS),
    "all rows have the ids of the first": (_version(_words_of_the_first), _ROWS),
    "all rows have the scores of the first": (_version(_rows_of_the_first), _ROWS),
    "every row has the sum over the batch": (_ends(lambda s, m: s.sum().expand_as(s).clone()), _ROWS),
    "divided by the number of rows": (_ends(lambda s, m: s / len(s)), _ROWS),
    "the rows in reverse order": (_ends(lambda s, m: s.flip(0)), _ROWS),
    "only the first row": (_ends(lambda s, m: s * (torch.arange(len(s)) == 0)), _ROWS),
}  # fmt: skip
_FAULTY = {name: version for name, (version, _) in _WRONG.items()}
_SHOWN_BY = dict(_WRONG.values())
_FIRST = next(iter(_RIGHT))


# --- what a learner is told -------------------------------------------------------------------


def _why_missed(version: Callable, calls: list[tuple]) -> str:
    return _SHOWN_BY[version]


def _hidden(calls: list[tuple], claim: str) -> str:
    """What all the inputs have in common that hides a breach of this claim."""
    logits = [call[0] for call in calls]
    masks = [call[2] for call in calls]
    alike = {
        _SHIFT: (all(close(x, x[:1, :1].expand_as(x)) for x in logits), "every position has the same scores"),
        _LEFT_OUT: (all(m[:, -1].all() for m in masks), "no padding follows an answer"),
        _END: (not any(m[:, -1].any() for m in masks), "padding follows every answer"),
        _SUM: (all((m.sum(1) < 2).all() for m in masks), "every answer has one token"),
        _ADDED: (all(close(x.logsumexp(-1), torch.zeros(())) for x in logits), "the scores are logarithms of probabilities already"),
        _ROWS: (all(len(x) == 1 for x in logits), "there is one row"),
    }  # fmt: skip
    hides, what = alike[claim]
    return f"In all of them {what}. " if hides else ""


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    claim = _SHOWN_BY[version]
    return (
        f"On your inputs that mistake changes nothing. {_hidden(calls, claim)}{claim}"
    )


def _why_unfair(version: Callable, calls: list[tuple]) -> str:
    """What may have made a test reject a version in which nothing is wrong."""
    if not calls:
        return "It did not come as far as asking for a first number."
    for logits, _, mask in calls:
        rows = logits[:, :-1][mask[:, 1:]]
        if not rows.isfinite().all():
            return "Among the scores that an answer is scored by are some that are not finite."
        if not logits.isfinite().all():
            return (
                "Some of your scores are not finite where nothing counts. Here all logits are finite, so a right version may "
                "multiply by the mask."
            )
        if (rows.abs() > 300).any():
            return (
                "Some of your scores are in the hundreds, where floats have few digits behind the point. Smaller ones show as "
                "much; or compare with more room."
            )
        if mask[:, 0].any():
            return "The first column of one of your masks is True. Nobody scores the first token, so it counts in none of them."
        if not mask.any(1).all():
            return "One of your rows has no answer at all: its mask is all False."
    return (
        "A token's scores stand one position before it; only tokens whose mask is True count, the end among them; their "
        "log-probabilities, in nats, are added up in each row. Compare with room, about 1e-4, not with ==."
    )


@check_test(
    sequences.sequence_logprobs,
    right=_RIGHT,
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_missed=_why_missed,
    why_unfair=_why_unfair,
    called="logprobs_fn",
    proved=f"It accepts {len(_RIGHT)} ways to add up an answer's log-probabilities, and exposes {len(_FAULTY)} that are "
    "something else, the two published ones among them.",
)
def test_answer_logprobs(test, draw):
    """Pass what scores whole answers; fail all else."""
