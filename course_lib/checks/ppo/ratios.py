"""Checks of lesson 07: how much likelier each token is than when it was drawn.

Ratios are worked out token by token from Python's own numbers. The answers that prove
the check are in `tests/answers/`.
"""

import math

import torch
from torch import Tensor

from course_lib.checks.asking import (
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.ppo.pushing import CUT, drawn_logprobs
from course_lib.ppo import losses


@check(
    losses.policy_ratio,
    proved="Every token has a ratio of its own, 1 before the first step, right for tokens that are "
    "nearly impossible as well; the gradient flows into the new log-probabilities alone.",
)
def policy_ratio(answer, draw):
    paper = (
        [[-1.0, -2.0, -3.0], [-0.5, -0.5, -4.0]],
        [[-1.0, -3.0, -2.5], [-2.0, -0.25, -3.0]],
    )
    _ratio_compare(answer, *map(torch.tensor, paper))
    for B, T in ((4, 6), (5, 3), (4, 4), (1, 5), (3, 1), (1, 1)):
        _ratio_compare(answer, *drawn_logprobs(draw, B, T))
    _ratio_compare(answer, *(x.T.contiguous().T for x in drawn_logprobs(draw, 5, 4)))
    _ratio_first(answer, draw)
    _ratio_gradients(answer, draw)
    _ratio_far(answer)
    _ratio_of_any_type(answer, draw)


def _ratio_ask(answer, new: Tensor, old: Tensor) -> Tensor:
    B, T = new.shape
    each = "Each token has a ratio of its own, (B, T)."
    # fmt: off
    shapes = {
        (): f"That is one ratio for the whole batch. {each}",
        (B,): f"That is one ratio for each response. {each} Fifty tokens that became a little likelier would make one huge number.",
        (B, 1): f"That is one ratio for each response. {each}",
        (T,): f"That is one ratio for each column. {each}",
        (T, B): "Rows and columns changed places.",
    }
    # fmt: on
    shapes.pop((B, T), None)
    return ask_tensor(answer, new, old, shape=(B, T), shapes=shapes)


def _ratio_slowly(new: Tensor, old: Tensor) -> Tensor:
    pairs = zip(new.flatten().tolist(), old.flatten().tolist(), strict=True)
    found = [
        math.exp(n) * math.exp(-o) if o > -100 else math.exp(n - o) for n, o in pairs
    ]
    return torch.tensor(found, dtype=torch.float64).view(new.shape)


def _ratio_compare(answer, new: Tensor, old: Tensor) -> None:
    got, want = _ratio_ask(answer, new, old).detach(), _ratio_slowly(new, old)
    if close(got, want):
        return
    b, t = divmod(
        int((got.double() - want).abs().nan_to_num(9e9).argmax()), new.shape[1]
    )
    otherwise = (
        f"For the log-probabilities {new[b, t]:.4g} (new) and {old[b, t]:.4g} (old) the ratio is {got[b, t]:.4g}; it "
        f"should be {want[b, t]:.4g}."
    )
    diagnose(got, want, _ratio_mistakes(new.double(), old.double()), otherwise)


def _ratio_mistakes(new: Tensor, old: Tensor) -> dict[str, tuple[Tensor, ...]]:
    gap, (p, q) = new - old, (new.exp(), old.exp())
    ratio = gap.exp()

    def whole(x: Tensor) -> Tensor:
        return x.expand_as(gap)

    # fmt: off
    return {
        "It is upside down: old over new. How much likelier is the token *now*?": ((-gap).exp(),),
        "That is the difference of the log-probabilities, the ratio's logarithm. One step is missing.": (gap, -gap),
        "Log-probabilities were divided. The ratio is that of the probabilities.":
            (new / old, old / new, (new / old).exp(), (new / old).log()),
        "That is one ratio for each response, from the sum or the mean of its tokens. Each token has its own: fifty that "
        "became a little likelier would make one huge number.":
            (whole(gap.sum(1, keepdim=True).exp()), whole(gap.mean(1, keepdim=True).exp()),
             whole(new.mean(1, keepdim=True) - old.mean(1, keepdim=True)),
             whole(new.mean(1, keepdim=True) / old.mean(1, keepdim=True)),
             whole(ratio.mean(1, keepdim=True)), whole(p.mean(1, keepdim=True) / q.mean(1, keepdim=True)),
             whole(p.sum(1, keepdim=True) / q.sum(1, keepdim=True))),
        "That is one ratio for the whole batch. Each token has its own.":
            (whole(gap.sum().exp()), whole(gap.mean().exp()), whole(ratio.mean()), whole(p.mean() / q.mean())),
        "The ratios are multiplied along the row: those are of the text so far. Each token has its own.":
            (gap.cumsum(1).exp(), gap.flip(1).cumsum(1).flip(1).exp()),
        "The ratio is clipped. Here it is only measured; the loss clips it.":
            (*(ratio.clamp(1 - e, 1 + e) for e in (0.1, 0.2, 0.3, 0.5, 1)), *(ratio.clamp(max=c) for c in (1, 1.2)),
             *(ratio.clamp(min=c) for c in (0.8, 1)), *(gap.clamp(-e, e).exp() for e in (0.2, 1)),
             gap.clamp(max=0).exp()),
        "That is how far the ratio is from 1. The ratio itself is 1 where nothing has changed.":
            (torch.expm1(gap), (ratio - 1).abs(), 1 - ratio, 1 + torch.expm1(gap) * 2),
        "Probabilities were subtracted. A ratio is a quotient.": (p - q, q - p, (p - q).abs()),
        "That is the new probability alone; by what is it divided?": (p, new, q, p / q.mean(), p / q.sum()),
        "That is the product of both probabilities. A ratio is a quotient.": (p * q, (new + old).exp()),
        "That is nearly the ratio while it is near 1, and only there.": (1 + gap, 1 + gap + gap**2 / 2, (1 + gap).relu()),
        "The difference lost its sign (abs): a token that became less likely has a ratio below 1.":
            (gap.abs().exp(), (-gap.abs()).exp()),
        "It is a power of another number than e; the logarithms are natural.": (2**gap, 10**gap),
        "There is a softmax or a sigmoid. A ratio may be any number above 0, and does not depend on other tokens.":
            (gap.softmax(1), gap.softmax(0), gap.sigmoid(), new.softmax(1) / old.softmax(1),
             new.sigmoid() / old.sigmoid()),
        "An exponential is taken where there is none, or twice.":
            (p.exp() / q.exp(), ratio.exp(), (p - q).exp(), (p / q).exp()),
        "It is the ratio's square, or its root.": (ratio**2, ratio.sqrt()),
    }
    # fmt: on


def _ratio_first(answer, draw) -> None:
    _, old = drawn_logprobs(draw, 3, 5)
    got = _ratio_ask(answer, old.clone(), old)
    away = (got - 1).abs().flatten()
    b, t = divmod(int(away.nan_to_num(9e9).argmax()), old.shape[1])
    expect(
        bool((away < 1e-6).all()),
        "Before the first step both policies are the same, and each ratio is 1. For the log-probability "
        f"{old[b, t]:.4g} on both sides yours is {got[b, t]:.6g}.",
    )


def _ratio_gradients(answer, draw) -> None:
    new, old = drawn_logprobs(draw, 4, 3)
    weights = torch.randn(4, 3, generator=draw)
    got = ask_gradient(lambda leaf: _ratio_ask(answer, leaf, old), new, weights)
    want = weights.double() * _ratio_slowly(new, old)
    if not close(got, want):
        raise CheckFailed(
            f"The ratios are right, and their gradient is not: it is {got[0, 0]:.4g} where {want[0, 0]:.4g} is wanted. Is "
            "a part of `logprobs` cut off (detach, no_grad)?"
        )
    leaves = new.clone().requires_grad_(), old.clone().requires_grad_()
    ratio = _ratio_ask(answer, *leaves)
    expect(ratio.requires_grad, CUT)
    flows = torch.autograd.grad((ratio * weights).sum(), leaves, allow_unused=True)
    expect(
        flows[0] is not None and close(flows[0], want),
        "When `old_logprobs` has a gradient of its own, that of `logprobs` is lost. Only `old_logprobs` is cut off.",
    )
    expect(
        flows[1] is None or not flows[1].any(),
        "A gradient flows into `old_logprobs` as well. They are what was measured when the tokens were drawn, as "
        "numbers: cut them off.",
    )


def _ratio_far(answer) -> None:
    """Probabilities that no float holds, and ratios far from 1."""
    old = torch.tensor(
        [[-200.0, -150.5, -1000.0], [-95.0, -120.0, -300.0], [-20.0, -1.0, -30.0]]
    )
    new = old + torch.tensor([[0.5, -1.0, 2.0], [0.25, 3.0, -0.5], [12.0, -9.0, 29.0]])
    got, want = _ratio_ask(answer, new, old), _ratio_slowly(new, old)
    wrong = (~((got.double() - want).abs() <= 1e-6 + 1e-4 * want)).nonzero().tolist()
    if not wrong:
        return
    b, t = wrong[0]
    shown = (
        f"For the log-probabilities {new[b, t]:g} (new) and {old[b, t]:g} (old) the ratio is {got[b, t].item():.4g}, and "
        f"should be {want[b, t]:.4g}. "
    )
    if b < 2:
        raise CheckFailed(
            shown
            + "Both probabilities are too small for a float, and become 0. Their logarithms are not: what is a "
            "quotient there?"
        )
    raise CheckFailed(
        shown + "Does something hold it back (clamp)? Here the ratio is only measured."
    )


def _ratio_of_any_type(answer, draw) -> None:
    new, old = drawn_logprobs(draw, 3, 4, torch.float64)
    got = _ratio_ask(answer, new, old)
    expect(
        got.dtype == torch.float64,
        f"For numbers of type torch.float64 the ratios have the type {got.dtype}. Stay in the type of what is given.",
    )
    _ratio_compare(answer, new, old)
