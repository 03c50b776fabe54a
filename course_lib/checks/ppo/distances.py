"""Check of lesson 07: k3, an estimate of a divergence from the policy's side.

Each number is worked out by itself in Python's double precision, from the
log-probabilities that the answer was given. The answers that prove the check are in
`tests/answers/`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib import logprobs
from course_lib.checks.asking import ask_gradient, ask_tensor, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.ppo.kinds import keeps_type


@check(
    logprobs.k3,
    proved="Token by token in tensors of any shape, also where probabilities are too small for a float and "
    "where both models nearly agree; averaged over all choices it is the divergence; and gradients flow.",
)
def k3(answer, draw):
    _compare(
        answer,
        torch.tensor([0.5, 0.25, 0.2]).log(),
        torch.tensor([0.25, 0.75, 0.1]).log(),
    )
    for shape in ((3, 5), (7,), (), (1, 1), (2, 1, 3)):
        _compare(answer, *_drawn(draw, shape))
    exact = _drawn(draw, (4, 3), torch.float64)
    _compare(answer, *exact)
    _small_probabilities(answer)
    _nearly_alike(answer, draw)
    _on_average(answer, draw)
    _gradient(answer, draw)
    keeps_type(_asked(answer, *exact), exact[0], "the result has")


def _drawn(
    draw: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Log-probabilities on both sides of one another; not in one piece."""
    both = torch.rand(*shape, 2, generator=draw, dtype=dtype)
    both = -2.5 * both - torch.tensor([0.1, 0.4], dtype=dtype)
    return both[..., 0], both[..., 1]


def _slowly(p: Tensor, q: Tensor) -> Tensor:
    """Number by number; near 0 by its series, whose next term is too small to matter."""
    found = []
    for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True):
        x = b - a
        series = x**2 / 2 + x**3 / 6 + x**4 / 24 + x**5 / 120
        found.append(series if abs(x) < 1e-3 else math.exp(x) - 1 - x)
    return torch.tensor(found, dtype=torch.float64).reshape(p.shape)


def _asked(answer: Callable, p: Tensor, q: Tensor) -> Tensor:
    shapes = {(): "Each token keeps its own number: no mean and no sum."}
    if p.ndim:
        shapes |= {(*p.shape[:-1],): shapes[()], (1,): shapes[()]}
        shapes |= {(*p.shape[:-1], 1): shapes[()]}
    if p.ndim > 1:
        shapes[p.numel(),] = (
            "The rectangle was made one row. Each number stays where it is."
        )
        shapes[p.shape[1:]] = shapes[()]
    shapes.pop(tuple(p.shape), None)
    return ask_tensor(answer, p, q, shape=tuple(p.shape), shapes=shapes)


def _compare(answer: Callable, p: Tensor, q: Tensor) -> None:
    got, want = _asked(answer, p, q).detach().double(), _slowly(p, q)
    if close(got, want):
        return
    place = int((got - want).abs().nan_to_num(1e9).argmax())
    numbers = (float(x.flatten()[place]) for x in (p, q, got, want))
    a, b, wrong, right = numbers
    otherwise = f"For log π = {a:.4g} and log π_ref = {b:.4g} it gives {wrong:.4g}; it should be {right:.4g}."
    expect(bool(got.isfinite().all()), otherwise)
    diagnose(got, want, _mistakes(p.double(), q.double()), otherwise)


def _mistakes(p: Tensor, q: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give."""
    k, r, turned = p - q, (q - p).exp(), (p - q).exp()
    want = r - 1 + k
    n = want.numel()
    # fmt: off
    return {
        "r is turned round: it is how much likelier the token is for the reference than for the policy that drew it.":
            (turned - 1 - k, turned - 1 + k, 1 - turned + k, turned - k),
        "log r is added. It is taken away, so that nothing is ever below 0.": (r - 1 - k,),
        "That is k1, the log-ratio alone: often below 0.": (k, -k),
        "That is k2, half the square: a little wrong on average.": (k**2 / 2, k**2),
        "The logarithm is missing. r - 1 is 0 on average, whatever the two models are.":
            (r - 1, 1 - r, turned - 1, r, turned, (r - 1).abs(), (r - 1).relu()),
        "The 1 is missing: two equal models would be 1 apart.": (r + k, r + k + 1, r - k),
        "The sign is turned round: it should never be below 0.": (-want,),
        "r multiplies its own logarithm. The samples come from the policy and need no weights.":
            (-r * k, r * k, turned * k, turned * k - (turned - 1), r * -k - (r - 1), r * -k - r + 1),
        "It is multiplied by a probability. The samples come from the policy, which weighs them already.":
            (p.exp() * k, q.exp() * -k, p.exp() * want, q.exp() * want, q.exp() * k, -p.exp() * k,
             q.exp() - p.exp() + p.exp() * k),
        "It goes by the difference of the probabilities. It goes by their ratio.":
            (p.exp() - q.exp(), q.exp() - p.exp(), (p.exp() - q.exp()) ** 2, (p.exp() - q.exp()) ** 2 / 2, (p.exp() - q.exp()).abs()),
        "The log-probabilities are divided by one another. The log of a ratio is their difference.":
            (q / p - 1 - (q / p).log(), p / q - 1 - (p / q).log(), q / p - 1 - q / p, q / p - 1 + k),
        "That is the size of the log-ratio.": (k.abs(), k.relu(), (-k).relu()),
        "That is the square of r - 1. It has another mean.": ((r - 1) ** 2, (r - 1) ** 2 / 2, (turned - 1) ** 2, (turned - 1) ** 2 / 2),
        "Both directions are mixed. It is measured from one side only.":
            ((want + turned - 1 - k) / 2, want + turned - 1 - k),
        "All tokens have the same number, a mean or a sum. Each keeps its own.":
            (want.mean().expand_as(want), want.sum().expand_as(want),
             *((want.mean(-1, True).expand_as(want), want.sum(-1, True).expand_as(want),
                (r - 1).mean() + k, (k.mean(-1, True).neg().exp() - 1 + k)) if want.ndim else ())),
        "It is divided by the number of tokens. Whoever takes the mean does that.":
            (want / n, *((want / want.shape[-1], want / want.shape[0]) if want.ndim else ())),
        "It is halved, or doubled.": (want / 2, 2 * want),
        "It is in bits, or in another unit than nats: which logarithm is that?":
            (want / math.log(2), r - 1 + k / math.log(2), r - 1 + k / math.log(10), 2 ** (-k) - 1 + k, 10 ** (-k) - 1 + k),
        "r is held within limits. It is what it is.":
            (r.clamp(0.8, 1.2) - 1 + k, r.clamp(0.8, 1.2) - 1 - r.clamp(0.8, 1.2).log(), r.clamp(max=1) - 1 + k, want.clamp(max=1)),
        "The softmax was taken again. These are log-probabilities of single tokens already.":
            ((q.log_softmax(-1) - p.log_softmax(-1)).expm1() - q.log_softmax(-1) + p.log_softmax(-1),) if want.ndim else (),
        "Everything is 0.": (0 * want,),
        "It is the exponential of k3, or of the log-ratio.": (want.exp(), want.exp() - 1),
    }
    # fmt: on


# --- where floats end


def _small_probabilities(answer: Callable) -> None:
    """Log-probabilities whose exponentials are 0 in a float, or whose ratio nearly is."""
    p = torch.tensor([-200.0, -150.0, -120.0, -3.0, -110.0, -0.5, -28.0])
    q = torch.tensor([-201.0, -150.0, -118.0, -93.0, -104.0, -60.0, -0.5])
    got, want = _asked(answer, p, q).detach(), _slowly(p, q)
    if close(got, want, rtol=1e-4):
        return
    off = (~torch.isclose(got.double(), want, rtol=1e-4)).nonzero()
    i = int(off[0])
    where = f"For log π = {p[i]:g} and log π_ref = {q[i]:g} it gives {got[i]:.4g}; it should be {want[i]:.4g}."
    raise CheckFailed(
        f"{where} Such probabilities are 0 in a float, and quotients of them are no numbers. Stay with the "
        "difference of the logarithms; no small constant, no clamp."
    )


def _nearly_alike(answer: Callable, draw: torch.Generator) -> None:
    """In float32, where r is almost 1."""
    p = -torch.rand(9, generator=draw) - 0.1
    got = _asked(answer, p, p.clone()).detach()
    expect(
        bool((got == 0).all()),
        f"Two equal models are {got.abs().max():.3g} apart. It should be exactly 0: is a small constant added?",
    )
    for size, digits in ((1e-4, 0.05), (1e-5, 0.1), (3e-3, 0.01)):
        away = torch.where(torch.rand(24, generator=draw) < 0.5, -size, size)
        p = -torch.rand(24, generator=draw) / 4 - 0.25  # a step of float32 is 3e-8
        q = p + away
        got, want = _asked(answer, p, q).detach().double(), _slowly(p, q)
        off = (got - want).abs() / want
        i = int(off.nan_to_num(1e9).argmax())
        expect(
            bool(off[i] <= digits),
            f"Where the log-probabilities are {p[i]:.7f} and {q[i]:.7f} it gives {got[i]:.3g} instead of "
            f"{want[i]:.3g}. So near to 1, r has no digits left for what it is above 1. torch has a function "
            "that gives r - 1 at once.",
        )


def _on_average(answer: Callable, draw: torch.Generator) -> None:
    """Over all choices, weighted by the policy, it is the divergence."""
    p, q = torch.randn(2, 4, 6, generator=draw, dtype=torch.float64).log_softmax(-1)
    got = (p.exp() * _asked(answer, p, q).detach()).sum(-1)
    want = (p.exp() * (p - q)).sum(-1)
    expect(
        close(got, want),
        f"Averaged over all choices it is {got[0]:.4g}, and the divergence is {want[0]:.4g}.",
    )


# --- gradients


def _gradient(answer: Callable, draw: torch.Generator) -> None:
    """With respect to the policy's log-probabilities: 1 - r for each token."""
    for shape in ((3, 4), (5,)):
        p, q = _drawn(draw, shape)
        got = ask_gradient(lambda leaf, q=q: _asked(answer, leaf, q), p)
        want = torch.tensor([1 - math.exp(x) for x in (q - p).flatten().tolist()])
        want = want.reshape(shape)
        expect(
            close(got, want, rtol=1e-4),
            f"The values are right, and the gradient of the policy's log-probabilities is not: it is "
            f"{got.flatten()[0]:.4g} where {want.flatten()[0]:.4g} is wanted. Is a part cut off (detach, no_grad)?",
        )
