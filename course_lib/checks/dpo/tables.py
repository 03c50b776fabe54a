"""Check of lesson 09: the best policy on a leash.

Policies are worked out answer by answer in Python's own numbers. The answers that prove
the check are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import bandits
from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.dpo.sequences import odd
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.dpo import tables


class Case(NamedTuple):
    ref: Tensor
    rewards: Tensor
    beta: float

    @property
    def slow(self) -> Tensor:
        """Row by row, in Python's numbers."""
        size = self.ref.shape[-1]
        rows = zip(self.ref.reshape(-1, size), self.rewards.reshape(-1, size), strict=True)  # fmt: skip
        found = []
        for shares, earned in rows:
            logs = [
                math.log(p) + r / self.beta if p > 0 else -math.inf
                for p, r in zip(shares.tolist(), earned.tolist(), strict=True)
            ]
            top = max(logs)
            parts = [math.exp(x - top) for x in logs]
            total = math.fsum(parts)
            found.append([part / total for part in parts])
        return torch.tensor(found, dtype=torch.float64).reshape(self.ref.shape)


@check(
    tables.optimal_policy,
    proved="Every row is the optimum of its own prompt, in tables of any number of dimensions; what is impossible "
    "stays so, nothing overflows, and the leash holds at every beta.",
    also=(bandits.leashed_optimum,),
)
def optimal_policy(answer, draw):
    paper = Case(torch.tensor([0.75, 0.25]), torch.tensor([0.0, 1.0]), 0.5)
    _compare(answer, _drawn(draw, (3, 4), 0.5))
    _compare(answer, paper)
    _compare(answer, paper._replace(beta=1.0))
    for shape in ((5,), (2, 6), (4, 4), (1, 3), (2, 3, 5), (3, 3, 3), (4, 1)):
        for beta in (2.0, 0.3):
            _compare(answer, _drawn(draw, shape, beta))
    _compare(answer, _drawn(draw, (2, 4), 2))
    _compare(answer, _drawn(draw, (3, 300), 0.7))
    _known(answer, draw)
    _large(answer, draw)
    _impossible(answer, draw)
    case = _drawn(draw, (3, 4), 0.4)
    turned = [x.T.contiguous().T for x in case[:2]]
    _compare(answer, Case(*turned, 0.4))
    case = _drawn(draw, (2, 3, 5), 0.6)
    turned = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in case[:2]]
    _compare(answer, Case(*turned, 0.6))
    _double(answer, draw)


def _drawn(
    draw: torch.Generator, shape: tuple, beta: float, dtype: torch.dtype = torch.float32
) -> Case:
    ref = torch.randn(shape, generator=draw, dtype=dtype).softmax(-1)
    return Case(ref, torch.randn(shape, generator=draw, dtype=dtype), beta)


def _asked(answer: Callable, case: Case) -> Tensor:
    shape = tuple(case.ref.shape)
    each = "Every answer has a probability of its own."
    shapes = {
        shape[:-1]: f"That is one number for each prompt. {each}",
        (): f"That is one number. {each}",
        (*shape[:-1], 1): f"That is one number for each prompt. {each}",
        shape[::-1]: "Prompts and answers changed places.",
    }
    shapes.pop(shape, None)
    return ask_tensor(answer, *case, shape=shape, shapes=shapes)


def _compare(answer: Callable, case: Case) -> None:
    got, want = _asked(answer, case).detach().double(), case.slow
    if close(got, want):
        return
    expect(
        bool(got.isfinite().all()) or not bool(case.ref.min() > 0),
        f"With beta={case.beta:g} and rewards around 1 it gives {odd(got)}: an exponential overflows, or all of a row's are 0.",
    )
    place = int((got - want).abs().nan_to_num(9e9).argmax())
    flat = [x.flatten()[place].item() for x in (case.ref, case.rewards, got, want)]
    otherwise = "An answer with the reference {:.4g} and the reward {:.4g} is given {:.4g}; it should be {:.4g}, ".format(*flat)  # fmt: skip
    diagnose(got, want, _mistakes(case), f"{otherwise}with beta={case.beta:g}.")


def _mistakes(case: Case) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give."""
    ref, r, beta = case.ref.double(), case.rewards.double(), case.beta
    logs, earned = ref.log(), r / beta
    weighed = ref * earned.exp()
    best = earned == earned.amax(-1, keepdim=True)
    full = logs + earned

    def shares(x: Tensor) -> Tensor:
        return x / x.sum(-1, keepdim=True)

    # fmt: off
    return {
        "The reference makes no difference: that is a softmax of the rewards. What the reference says more often stays more "
        "likely.": (earned.softmax(-1), r.softmax(-1), (r * beta).softmax(-1)),
        "`beta` makes no difference.":
            ((logs + r).softmax(-1), ref * r.exp(), *((logs + r / x).softmax(-1) for x in (0.5, 0.1, 0.2) if beta >= 0.1)),
        "The reward is multiplied by beta. A dear leash, a large beta, leaves *less* of the rewards.":
            ((logs + r * beta).softmax(-1), ref * (r * beta).exp()),
        "Beta divides the reference's logarithm as well. Only the rewards are divided.":
            (((logs + r) / beta).softmax(-1), (logs / beta + r).softmax(-1), shares(ref ** (1 / beta))),
        "Beta weighs the reference, and the rewards are as they are. Dividing both by beta is the same, and then it is right.":
            ((logs * beta + r / beta).softmax(-1), ),
        "The rows do not sum to 1. Something is still missing: what makes probabilities of the products?":
            (weighed, ref * earned.softmax(-1), ref * r.softmax(-1), weighed / ref.shape[-1], weighed / earned.exp().sum(-1, keepdim=True)),
        "The normalising sum runs over the prompts, or over the whole table. Each prompt has its own, over its answers, the last "
        "dimension.": (full.softmax(0), full.flatten().softmax(0).reshape(full.shape), full.softmax(max(-2, -full.ndim)), full.softmax(min(1, full.ndim - 1))),
        "The reference is added, not its logarithm. In the exponent a factor becomes its logarithm.": ((ref + earned).softmax(-1), (ref + r).softmax(-1)),
        "The reference is multiplied by the rewards in the exponent. It stands before the exponential.": ((ref * earned).softmax(-1), (logs * earned).softmax(-1), (ref * r).softmax(-1)),
        "The rewards have lost their exponential.": (shares(ref * earned), ref * earned, shares(ref * (1 + earned)), shares(ref + earned), ref + earned),
        "It is divided by the reference. What the reference says more often stays more likely.": ((earned - logs).softmax(-1), shares(earned.exp() / ref)),
        "The sign is turned: what earns more becomes more likely.": ((logs - earned).softmax(-1), (-full).softmax(-1)),
        "The answer that earns most gets everything. The leash keeps the others.":
            (shares(best.double()), shares((full == full.amax(-1, keepdim=True)).double()), shares(best * ref)),
        "Those are logarithms. Probabilities are wanted, and a softmax makes them.": (full, full.log_softmax(-1)),
        "That is the reference itself. The rewards make no difference.": (ref, ref.softmax(-1)),
        "That is a mixture of the reference and something else. The optimum is a product.":
            ((ref + earned.softmax(-1)) / 2, beta * ref + (1 - beta) * earned.softmax(-1), (ref + r.softmax(-1)) / 2),
        "Every prompt is given the first one's answer.": (full.reshape(-1, ref.shape[-1])[0].softmax(-1).expand_as(ref),),
        "There are two softmaxes, one after the other.": (full.softmax(-1).softmax(-1)),
        "There is a softmax of the products. They are exponentials already: what makes them sum to 1?": (weighed.softmax(-1),),
        "The logarithm has another base than the exponential.": ((ref.log2() + earned).softmax(-1), (ref.log10() + earned).softmax(-1), (logs + earned * math.log(2)).softmax(-1)),
        "The rewards were changed on the way (mean, spread, a limit). A mean taken away changes nothing; a division does.":
            tuple((logs + x / beta).softmax(-1) for x in (_standardised(r), r.clamp(-1, 1), r.clamp(0), r.sign(), r.sigmoid(), r.tanh(), r.softmax(-1))),
        "Each product goes through a sigmoid by itself.": (full.sigmoid(), shares(full.sigmoid())),
    }
    # fmt: on


def _standardised(r: Tensor) -> Tensor:
    if r.shape[-1] == 1:
        return torch.zeros_like(r)
    return (r - r.mean(-1, keepdim=True)) / r.std(-1, keepdim=True)


# --- where it is hard -------------------------------------------------------------------------


def _known(answer: Callable, draw: torch.Generator) -> None:
    """Equal rewards, and a leash that is never let go."""
    case = _drawn(draw, (3, 4), 0.3)
    for number in (0.0, 5.0, -4.0):
        equal = case._replace(rewards=torch.full((3, 4), number))
        got = _asked(answer, equal).detach()
        expect(
            close(got, case.ref.double(), rtol=1e-4),
            f"Where every answer earns {number:g} it gives something else than the reference. Nothing is to be gained by "
            "straying there.",
        )
    for beta in (0.1, 50.0, 1e4):
        _compare(answer, case._replace(beta=beta))


def _impossible(answer: Callable, draw: torch.Generator) -> None:
    """What the reference never says, it never says."""
    drawn = _drawn(draw, (3, 5), 0.5)
    ref = drawn.ref.clone()
    ref[0, 1] = ref[1, 0] = ref[1, 4] = 0.0
    ref[2, :4] = 0.0  # all but one
    case = drawn._replace(ref=ref / ref.sum(-1, keepdim=True))
    fine = Case(case.ref.double(), case.rewards.double(), 0.01)  # r / beta up to 2e9
    asked = ((case, None), (case, 30.0), (case, 1000.0), (case, -1000.0), (fine, 1000.0), (fine, 2e7))  # fmt: skip
    for case, reward in asked:
        if reward is not None:
            case = case._replace(rewards=case.rewards.where(ref > 0, reward))
        got, want = _asked(answer, case).detach().double(), case.slow
        told = "an ordinary reward" if reward is None else f"a reward of {reward:g}"
        told += " and beta=0.01" if case.beta == 0.01 else ""
        expect(
            bool(got.isfinite().all()),
            f"Where the reference is 0, with {told}, it gives {odd(got)}. The probability of such an answer "
            "is 0, and the others share the rest.",
        )
        never = got[ref == 0]
        expect(
            not never.any(),
            f"An answer that the reference never gives, with {told}, is given {never.max():.3g}. What is impossible stays exactly 0, "
            "whatever it would earn: is a small constant added?",
        )
        expect(
            close(got, want, rtol=1e-4),
            f"Where the reference never gives some answer, which has {told}, the others are given wrong shares. They share "
            "what they would share without it.",
        )


def _large(answer: Callable, draw: torch.Generator) -> None:
    """Rewards of a thousand, a leash of a hundredth."""
    case = _drawn(draw, (4, 4), 1.0)
    steps = torch.tensor([0.0, 1.0, 3.0, 2.0])
    for up, beta in ((1000.0, 1.0), (-1000.0, 1.0), (1000.0, 0.01), (-1000.0, 0.01), (5.0, 0.01)):  # fmt: skip
        large = case._replace(rewards=up + steps.expand(4, 4) + 0.0, beta=beta)
        got, want = _asked(answer, large).detach().double(), large.slow
        expect(
            bool(got.isfinite().all()),
            f"With rewards around {up:g} and beta={beta:g} it gives {odd(got)}: an exponential overflows, or all "
            "of them are 0. In logarithms nothing does, and a softmax takes care of the rest.",
        )
        expect(
            close(got, want, rtol=1e-2, atol=1e-2),
            f"With rewards around {up:g} and beta={beta:g} an answer is given {got[0, 0]:.4g}, another {got[0, 2]:.4g}; they should be "
            f"{want[0, 0]:.4g} and {want[0, 2]:.4g}. Is something cut off (clamp), or divided by a sum that is 0?",
        )
    for beta in (0.03, 0.01):
        _compare(answer, case._replace(beta=beta))
        _compare(answer, case._replace(rewards=steps.expand(4, 4) * beta, beta=beta))
    apart = torch.stack([torch.roll(1000 * steps, i) for i in range(4)])
    got = _asked(answer, case._replace(rewards=apart, beta=0.01)).detach()
    expect(
        close(got, (apart == 3000).double()),
        "With rewards from 0 to 3,000 and beta=0.01 the best answer of each prompt should get everything.",
    )


def _double(answer: Callable, draw: torch.Generator) -> None:
    case = _drawn(draw, (3, 4), 0.3, torch.float64)
    got = _asked(answer, case)
    if got.dtype != torch.float64:
        raise CheckFailed(
            f"For numbers of type torch.float64 it returns the type {got.dtype}. Stay in the type of what is given."
        )
    expect(
        torch.allclose(got.detach(), case.slow, rtol=1e-10, atol=1e-12),
        "For numbers of type torch.float64 digits are lost on the way. Stay in the type of what is given.",
    )
