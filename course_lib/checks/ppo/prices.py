"""Check of lesson 07: rewards per token, with the price of straying at each.

Every place of every row is worked out by itself from Python's own numbers. The answers
that prove the check are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.harness import check
from course_lib.checks.ppo.kinds import keeps_type
from course_lib.ppo import advantages


class Priced(NamedTuple):
    """What the answer is asked about; kept places stand at the left of each row."""

    rewards: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    mask: Tensor
    kl_coef: float

    @property
    def lengths(self) -> list[int]:
        return [sum(row) for row in self.mask.tolist()]


@check(
    advantages.kl_shaped_rewards,
    proved="Place by place for rows of any length: each token pays for its own straying, the last one of "
    "each row gets the reward as well, padding gets 0, and all of it is numbers without a gradient.",
)
def kl_shaped_rewards(answer, draw):
    _compare(answer, _on_paper())
    for lengths, T, kl_coef in (((3, 5, 1, 4), 6, 0.5), ((2, 4, 3), 4, 0.05)):
        _compare(answer, _drawn(draw, lengths, T, kl_coef))
    _compare(answer, _drawn(draw, (3, 1, 4), 5, 0.3, under=math.nan))
    _compare(answer, _drawn(draw, (2, 3), 4, 2.0, under=-math.inf))
    for lengths, T in (((3,), 5), ((4,), 4), ((1, 1, 1), 1), ((1,), 1)):
        _compare(answer, _drawn(draw, lengths, T, 1.5))
    exact = _drawn(draw, (5, 2), 7, 0.7, dtype=torch.float64)
    _compare(answer, exact)
    _compare(answer, _drawn(draw, (4, 2, 3), 5, 0.0))
    case = _drawn(draw, (2, 3, 1), 4, 0.5)  # far apart, and much to win or lose
    far = case.logprobs * torch.tensor([20.0, 1.0, 9.0]).unsqueeze(1)
    _compare(answer, case._replace(logprobs=far, rewards=40 * case.rewards))
    _compare(answer, _drawn(draw, (4, 2), 5, 0.25)._replace(rewards=torch.zeros(2)))
    case = _drawn(draw, (3, 2, 3), 3, 0.1)
    _compare(answer, case._replace(ref_logprobs=case.logprobs.clone()))
    _impossible(answer, _drawn(draw, (2, 4), 4, 0.5))
    _takes_no_gradient(answer, _drawn(draw, (4, 2, 3), 5, 0.4))
    keeps_type(_asked(answer, exact), exact.logprobs, "the result has")


def _on_paper() -> Priced:
    """Two answers, of two tokens and of three; 9 and the like stand under padding."""
    logprobs = [[-1.0, -1.0, -9.0, -8.0], [-2.0, -0.5, -3.0, -9.0]]
    ref = [[-2.0, -1.5, -4.0, -5.0], [-1.0, -0.5, -5.0, -2.0]]
    mask = [[True, True, False, False], [True, True, True, False]]
    rewards = torch.tensor([1.0, -2.0])
    return Priced(
        rewards, torch.tensor(logprobs), torch.tensor(ref), torch.tensor(mask), 0.5
    )


def _drawn(
    draw: torch.Generator,
    lengths: tuple[int, ...],
    T: int,
    kl_coef: float,
    under: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Priced:
    """Rows of these lengths; under padding stands what is under, or anything. Not in one piece."""
    B = len(lengths)
    mask = torch.arange(T).expand(B, T) < torch.tensor(lengths).unsqueeze(1)
    logprobs, ref = -3 * torch.rand(2, T, B, generator=draw, dtype=dtype).mT - 0.1
    rewards = 2 * torch.randn(B, 2, generator=draw, dtype=dtype)[:, 1] + 1
    if under is not None:
        logprobs, ref = (x.masked_fill(~mask, under) for x in (logprobs, ref))
    return Priced(rewards, logprobs, ref, mask, kl_coef)


def _slowly(case: Priced) -> Tensor:
    """Place by place."""
    rows = []
    for b, length in enumerate(case.lengths):
        row = [0.0] * case.mask.shape[1]
        for t in range(length):
            strayed = float(case.logprobs[b, t]) - float(case.ref_logprobs[b, t])
            row[t] = -case.kl_coef * strayed
        row[length - 1] += float(case.rewards[b])
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def _asked(answer: Callable, case: Priced) -> Tensor:
    B, T = case.mask.shape
    shapes = {
        (): "Each token keeps its own number: no sum and no mean.",
        (B,): "There is one number for each response. Wanted is one for each token.",
        (T,): "There is one row for all responses. Each response has its own.",
        (T, B): "Rows and columns are exchanged.",
        (
            int(case.mask.sum()),
        ): "What the mask leaves out is missing. The rectangle stays, with 0 there.",
        (
            B,
            T + 1,
        ): "The reward got a place of its own. It is added at the last kept token.",
        (
            B,
            B,
        ): "rewards are (B,): which dimension has to be added, so that each row gets its own?",
        (
            B,
            B,
            T,
        ): "rewards are (B,): which dimension has to be added, so that each row gets its own?",
    }
    shapes.pop((B, T), None)
    return ask_tensor(answer, *case, shape=(B, T), shapes=shapes)


def _compare(answer: Callable, case: Priced) -> None:
    got, want = _asked(answer, case).detach().double(), _slowly(case)
    if close(got, want):
        return
    kept = case.mask
    if not got[~kept].isfinite().all() and not case.logprobs[~kept].isfinite().all():
        bad = got[~kept][~got[~kept].isfinite()][0]
        raised = f"Under padding stood {case.logprobs[~kept][0]:g}, and there is {bad:g} in the result."
        expect(False, f"{raised} Fill those places with 0: nan times 0 is nan again.")
    b, t = divmod(int((got - want).nan_to_num(1e9).abs().argmax()), want.shape[1])
    here = f"token {t} of a row that keeps {case.lengths[b]}"
    strayed = (
        f"log π {case.logprobs[b, t]:.4g}, reference {case.ref_logprobs[b, t]:.4g}"
    )
    otherwise = (
        f"At {here} ({strayed}, reward {case.rewards[b]:.4g}, kl_coef {case.kl_coef:g}) it gives "
        f"{got[b, t]:.4g}; it should be {want[b, t]:.4g}."
    )
    if not case.logprobs[~kept].isfinite().all():
        case = case._replace(  # what known mistakes give is compared where it counts
            logprobs=case.logprobs.masked_fill(~kept, 0.0),
            ref_logprobs=case.ref_logprobs.masked_fill(~kept, 0.0),
        )
    diagnose(got, want, _mistakes(case), otherwise)


def _mistakes(case: Priced) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give."""
    rewards, p, q = (x.double() for x in case[:3])
    m, c = case.mask, case.kl_coef
    B, T = m.shape
    n = m.sum(dim=1, keepdim=True)  # (B, 1)
    places = torch.arange(T).expand(B, T)
    r = rewards.unsqueeze(1)
    zero = torch.zeros(B, T, dtype=torch.float64)
    k, d = (
        (p - q).masked_fill(~m, 0.0),
        p - q,
    )  # (B, T); d holds what is under padding too

    def at(place: Tensor, what: Tensor = r) -> Tensor:
        return torch.where(places == place, what, 0.0)

    last = at(n - 1)
    end, first, all_last = at(zero[:, :1] + T - 1), at(zero[:, :1]), at(n[:1] - 1)
    total, mean = k.sum(dim=1, keepdim=True), k.sum(dim=1, keepdim=True) / n
    ratio = (-k).exp()
    k3 = ratio - 1 + k
    fill = lambda x: x.masked_fill(~m, 0.0)  # noqa: E731
    # fmt: off
    return {
        "Straying is paid for by the reference in yours: the sign of the price is turned round, or the two models are "
        "exchanged. A token that the policy likes better than the reference does has to cost something.":
            (c * k + last, c * d + last),
        "The reward stands at the end of the row, under padding. It belongs to the last kept token.":
            (-c * k + end,),
        "Under padding stands something other than 0. Prices are for kept tokens only.":
            (-c * d + last, -c * d + end, -c * d + r * ~m + last),
        "The reward stands one place behind the last kept token.": (-c * k + at(n.clamp(max=T - 1)), -c * k + at(n)),
        "The reward stands one place before the last kept token.": (-c * k + at(n - 2), -c * k + at((n - 2) % T)),
        "The reward stands at the first token. It comes when the response is finished.": (-c * k + first,),
        "Every row gets its reward where the first row ends. Each row ends at a place of its own.":
            (-c * k + all_last,),
        "Every row gets its reward where the longest row ends. Each row ends at a place of its own.":
            (-c * k + at(n.max().expand(B, 1) - 1),),
        "Every token gets the whole reward. A response is rewarded once, at its last kept token.":
            (-c * k + r, -c * k + fill(r.expand(B, T)), -c * d + r),
        "The reward is spread over the tokens. It comes once, at the last kept token.":
            (-c * k + fill(r / n), -c * k + r / T, -c * k + fill(r / T), -c * d + r / T),
        "The reward takes the place of the last token's price. That token strays as well: add.":
            (torch.where(places == n - 1, r, -c * k), torch.where(places == n - 1, r, -c * d)),
        "All of the price stands at the last token. Every token pays for its own straying.":
            (last - at(n - 1, c * total), last - at(n - 1, c * mean), at(n - 1, r - c * k)),
        "Every token pays the whole row's price. It pays for its own straying.":
            (last - fill(c * total.expand(B, T)), last - c * total, fill((r - c * total).expand(B, T)), r - c * total),
        "Every token pays the mean price. It pays for its own straying.":
            (last - fill(c * mean.expand(B, T)), last - c * mean, fill((r - c * mean).expand(B, T)),
             last - fill((c * d.mean()).expand(B, T)), last - fill((c * k.sum() / n.sum()).expand(B, T)), r - c * mean,
             last - fill(c * d.mean(dim=1, keepdim=True).expand(B, T)), last - fill(c * k.mean(1, True).expand(B, T))),
        "The reward is missing.": (-c * k, -c * d),
        "No token pays for straying: the price is missing.": (last, end, r.expand(B, T), fill(r.expand(B, T))),
        "kl_coef makes no difference.": (last - k, last - 0.5 * k, last - 0.05 * k, last - 0.1 * k, last - 0.2 * k),
        "kl_coef is the price of straying. It does not change the reward.":
            (c * last - c * k, c * last - k, (1 - c) * last - c * k, last / c - k if c else zero),
        "The price is divided by kl_coef.": (last - k / c if c else zero,),
        "kl_coef goes in twice.": (last - c * c * k,),
        "The price is divided by the number of tokens.": (last - c * k / n, last - c * k / T, last - c * k / n.sum()),
        "The price is divided by the number of responses.": (last - c * k / B,),
        "Each token pays the size of its log-ratio, or a square. A token that the reference likes better gets "
        "something back, so that the sum is right on average: the price is the log-ratio itself.":
            (last - c * k.abs(), last - c * k**2 / 2, last - c * k**2, last - c * k3, last - c * (k.exp() - 1 - k),
             last - c * k.relu()),
        "The price goes by probabilities or their ratio. It goes by the difference of the log-probabilities.":
            (last - c * fill(p.exp() - q.exp()), last - c * fill(k.exp()), last - c * (k.exp() - 1), last - c * fill(p / q),
             last - c * p.exp() * k, last - c * fill(ratio), last + c * (ratio - 1), last - c * q.exp() * k),
        "Only one of the two models goes into the price.":
            (last - c * fill(p), last + c * fill(p), last - c * fill(q), last + c * fill(q), -c * p + last, c * q + last),
        "The price is doubled, or halved.": (last - 2 * c * k, last - c * k / 2),
        "These are sums from each token on. A token gets what comes at it; what comes later is not added here.":
            ((last - c * k).flip(1).cumsum(1).flip(1), fill((last - c * k).flip(1).cumsum(1).flip(1))),
        "These are sums up to each token. A token pays for its own straying only.":
            ((last - c * k).cumsum(1), fill((last - c * k).cumsum(1)), last - c * k.cumsum(1), last - c * fill(k.cumsum(1))),
        "The prices stand one place too late or too early.":
            (last - c * k.roll(1, 1), last - c * k.roll(-1, 1), last - c * fill(d.roll(1, 1)), last - c * fill(d.roll(-1, 1))),
        "The rewards are changed on the way, by their mean or spread over the batch. They stay as they are.":
            (at(n - 1, r - r.mean()) - c * k, at(n - 1, (r - r.mean()) / (r.std() + 1e-8)) - c * k,
             at(n - 1, r.mean().expand(B, 1)) - c * k, at(n - 1, r.clamp(-1, 1)) - c * k, at(n - 1, (r - r.mean()) / r.std()) - c * k),
        "Every row gets the reward of the first one.": (at(n - 1, r[:1].expand(B, 1)) - c * k,),
        "The prices of the first row are charged to all.": (last - c * fill(k[:1].expand(B, T)),),
        "The mask is upside down: True is a token that counts.":
            (-c * d.masked_fill(m, 0.0) + last, -c * d.masked_fill(m, 0.0) + end, -c * d.masked_fill(m, 0.0)),
        "The reward has the wrong sign.": (-last - c * k, -last + c * k),
        "The reward is added twice.": (2 * last - c * k, last + end - c * k),
        "Everything is 0.": (zero,),
    }
    # fmt: on


def _impossible(answer: Callable, case: Priced) -> None:
    """Tokens whose probability no float32 holds."""
    case.logprobs[:, 0], case.ref_logprobs[:, 0] = -200.0, -201.0
    got = _asked(answer, case)
    expect(
        bool(got.isfinite().all()),
        f"For log π = -200 and log π_ref = -201 it gives {got[0, 0]:.4g}. Such probabilities are 0 in a float; their "
        "logarithms are not.",
    )
    _compare(answer, case)


def _takes_no_gradient(answer: Callable, case: Priced) -> None:
    names = {"logprobs": "the policy's", "ref_logprobs": "the reference's"}
    for field, whose in names.items():
        leaf = getattr(case, field).clone().requires_grad_()
        got = _asked(answer, case._replace(**{field: leaf}))
        expect(
            not got.requires_grad,
            f"The numbers are right, and {whose} log-probabilities still hang on them: a gradient would flow "
            "through the price. What a token brings is a number: cut it off (detach).",
        )
