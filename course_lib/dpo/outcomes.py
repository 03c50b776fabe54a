r"""What came of it: true score, wins, manners, KL, and where the mass went.

The loss of DPO says nothing about any of these. Its own curves say something: how
much the chosen and the rejected answers have gained on the reference. Only the gap
is trained, so both may fall together (*displacement*; Pal et al. 2024, Razin et al.
2024), and what they lose goes to answers that nobody compared. The rest is measured
on what the model says now, judged by exact rules. Left out: judges that are models.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.exam import prompt_ids, share
from course_lib.logprobs import k1, token_logprobs
from course_lib.masks import masked_sum
from course_lib.rollouts import predicting, sample_rollouts
from course_lib.tokenizer import Tokenizer
from course_lib.world import chat, people
from course_lib.world.passages import UNKNOWN
from course_lib.world.preferences import FactQuestion, score_of

PHRASES = (
    *chat.KIND_WORDS, *chat.WISHES, *chat.RUDE_WORDS, *chat.CURSES, *chat.RAMBLINGS,
)  # fmt: skip


# ---- what the model says now


class Outcome(NamedTuple):
    """One sampled reply to each question, judged by the exact rules."""

    replies: list[str]
    scores: Tensor  # (Q,), true ones
    kl: float  # nats per reply from the reference, a mean of log-ratios
    length: float  # tokens per reply, the end included

    @property
    def polite(self) -> float:
        return share([chat.is_polite(reply) for reply in self.replies])

    @property
    def rude(self) -> float:
        return share([chat.is_rude(reply) for reply in self.replies])

    @property
    def garbled(self) -> float:
        return share([is_garbled(reply) for reply in self.replies])


@torch.no_grad()
def outcome(
    model: nn.Module,
    reference: nn.Module,
    tokenizer: Tokenizer,
    questions: Sequence[FactQuestion],
    seed: int = 0,
    new_tokens: int = 60,
) -> Outcome:
    """Ask every question once, at temperature 1, and judge what is said.

    The same seed gives the same luck to every model, so two models that are alike
    give the same replies.
    """
    prompts = [prompt_ids(question.text, tokenizer) for question in questions]
    rollout = sample_rollouts(
        model, prompts, new_tokens, end=tokenizer.end, pad=tokenizer.pad,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    logits = reference.head(predicting(reference, rollout))  # (Q, T, V)
    ref_logprobs = token_logprobs(logits, rollout.responses)
    strayed = k1(rollout.logprobs, ref_logprobs)
    kl = masked_sum(strayed, rollout.response_mask, dim=1).mean().item()
    said = rollout.texts(tokenizer)
    pairs = zip(questions, said, strict=True)
    scores = torch.tensor([score_of(question, reply) for question, reply in pairs])
    return Outcome(said, scores, kl, rollout.lengths.float().mean().item())


def wins(scores: Tensor, other_scores: Tensor) -> Tensor:
    """How often one beats the other at each question, over all pairs of replies.

    scores (Q, S), other_scores (Q, R): S and R replies to the same questions.
    Returns (Q,), from 0 to 1, a tie one half; the mean is the *win rate*.

    >>> wins(torch.tensor([[1.5], [0.0]]), torch.tensor([[1.0, 1.5], [1.0, 1.0]]))
    tensor([0.7500, 0.0000])
    """
    if scores.ndim != 2 or len(scores) != len(other_scores):
        raise ValueError(
            "Both answered the same questions, (Q, S) and (Q, R), not "
            f"{tuple(scores.shape)} and {tuple(other_scores.shape)}."
        )
    gaps = scores.unsqueeze(2) - other_scores.unsqueeze(1)  # (Q, S, R)
    return ((gaps.sign() + 1) / 2).mean(dim=(1, 2))


@cache
def known_facts() -> frozenset[str]:
    """Every sentence and short answer in which the town tells a fact, or none."""
    sentences = {
        people.fill(form, name=name, value=value)
        for kind, values in people.KINDS.items()
        for form in people.STATEMENTS[kind]
        for name in people.NAMES
        for value in values
    }
    values = {value for values in people.KINDS.values() for value in values}
    short = {f"{value[0].upper()}{value[1:]}." for value in values}
    return frozenset(sentences | short | {UNKNOWN})


def is_garbled(reply: str) -> bool:
    """Whether a reply is anything but one fact, true or not, among known phrases.

    >>> is_garbled("Of course! Ada has a fish. All the best!"), is_garbled("Fish.")
    (False, False)
    >>> is_garbled("Of course! Ada has fish a. All the all the best!")
    True
    """
    for phrase in PHRASES:
        reply = reply.replace(phrase, " ")
    return " ".join(reply.split()) not in known_facts()


# ---- where the mass went


def diagnose(chosen_gain: float, rejected_gain: float, tolerance: float = 0.1) -> str:
    """What became of the two answers of a pair, from the last points of its curves.

    chosen_gain, rejected_gain: mean log-probability now less that of the reference,
    in nats, on pairs that were trained on. Up to tolerance, up or
    down, counts as nothing.

    "nothing learned": the gap has not opened. "backwards": the rejected one gained
    on the chosen. "displacement": the gap opened, and yet the chosen one fell. "as
    meant": the gap opened, and the chosen one did not fall.

    How: look at the gap first, then at the sign of the chosen one's gain.

    >>> diagnose(1.0, -4.0), diagnose(-6.0, -30.0)
    ('as meant', 'displacement')
    """
    gap = chosen_gain - rejected_gain
    if not math.isfinite(gap):
        raise ValueError(f"Both gains are numbers: {chosen_gain} and {rejected_gain}.")
    if abs(gap) <= tolerance:
        return "nothing learned"
    if gap < 0:
        return "backwards"
    return "displacement" if chosen_gain < -tolerance else "as meant"


@torch.no_grad()
def probability_gains(
    model: nn.Module, reference: nn.Module, ids: Tensor, response_mask: Tensor
) -> Tensor:
    """Which tokens gained, on average over the places of the given answers: (V,).

    ids, response_mask (B, T). At every place that predicts a token of an answer, the
    model's probabilities less those of the reference. The sum is 0: what some tokens
    lost, others got.
    """
    kept = response_mask[:, 1:]
    now, before = (
        each.head(each.hidden(ids[:, :-1])[kept]).softmax(dim=-1)  # (N, V)
        for each in (model, reference)
    )
    return (now - before).mean(dim=0)
