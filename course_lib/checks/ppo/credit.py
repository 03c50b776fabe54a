"""Checks of lesson 07: how much better than expected each token turned out.

Advantages are added up term by term (Schulman et al. 2016, eq. 16), each row alone and
without its padding, from Python's own numbers. The answers that prove the check are in
`tests/answers/`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.ppo import advantages


class Walk(NamedTuple):
    """What the answer is asked about; None = the default is left to the answer."""

    rewards: Tensor
    values: Tensor
    mask: Tensor
    discount: float | None = None
    lam: float | None = None

    @property
    def rates(self) -> tuple[float, float]:
        return (
            1.0 if self.discount is None else self.discount,
            0.95 if self.lam is None else self.lam,
        )


@check(
    advantages.gae,
    proved="Every token has the credit that a sum over all later surprises gives it, for any "
    "discount and lambda; behind the end nothing is expected, and padding has no say.",
)
def gae(answer, draw):
    rewards = torch.tensor(
        [[1.0, 2.0, -1.0, 14.0], [2.0, -3.0, 7.0, 9.0], [-2.0, 5.0, 6.0, -4.0]]
    )
    values = torch.tensor(
        [[3.0, 5.0, -2.0, 1.0], [1.0, 4.0, 8.0, -6.0], [0.5, 7.0, -9.0, 3.0]]
    )
    first = Walk(rewards, values, torch.arange(4) < torch.tensor([[4], [2], [1]]))
    _gae_compare(answer, first._replace(discount=0.9, lam=0.5))
    _gae_compare(answer, first)
    for B, T, rates in (
        (3, 6, (None, None)), (5, 3, (0.8, 0.6)), (4, 4, (0.5, 0.9)), (4, 7, (None, 0.3)), (3, 5, (0.7, None)),
        (1, 5, (0.9, 0.4)), (3, 1, (0.9, 0.4)), (1, 1, (None, None)), (2, 40, (0.99, 0.8)),
        (3, 5, (0.9, 0.0)), (3, 5, (0.9, 1.0)), (3, 5, (1.0, 1.0)), (3, 5, (0.0, 0.9)),
    ):  # fmt: skip
        _gae_compare(
            answer, _drawn_walk(draw, B, T)._replace(discount=rates[0], lam=rates[1])
        )
    _gae_at_the_end(answer, draw)
    _gae_padding(answer, _drawn_walk(draw, 4, 6)._replace(discount=0.9, lam=0.7))
    turned = [x.T.contiguous().T for x in _drawn_walk(draw, 4, 6)[:3]]
    _gae_compare(answer, Walk(*turned, discount=0.9, lam=0.7))
    _gae_of_any_type(answer, _drawn_walk(draw, 4, 5, torch.float64))
    _gae_numbers(answer, _drawn_walk(draw, 3, 4)._replace(discount=0.9, lam=0.7))


def _drawn_walk(draw, B: int, T: int, dtype=torch.float32) -> Walk:
    """Responses of several lengths; in the padding, numbers that would show."""
    lengths = torch.randint(1, T + 1, (B,), generator=draw)
    lengths[0 if B % 2 else -1] = T
    mask = torch.arange(T) < lengths[:, None]
    rewards, values = torch.randn(2, B, T, generator=draw, dtype=dtype)
    rewards = torch.where(mask, rewards, 3 * rewards - 4)
    return Walk(rewards, torch.where(mask, values + 0.5, 2 * values + 5), mask)


def _gae_ask(answer, case: Walk) -> Tensor:
    B, T = case.mask.shape
    each = "Every token has an advantage of its own, (B, T)."
    # fmt: off
    shapes = {
        (): f"That is one number for the whole batch. {each}", (B,): f"That is one number for each response. {each}",
        (B, 1): f"That is one number for each response. {each}", (T,): f"That is one number for each column. {each}",
        (T, B): "Rows and columns changed places: was a list of columns stacked along the first dimension?",
        (B, T + 1): "There is a place too many: what stands behind the last token is no token.",
        (B, T - 1): "A place is missing: the last token has an advantage as well.",
        (int(case.mask.sum()),): f"That is one row of all kept tokens. {each}",
    }
    # fmt: on
    shapes.pop((B, T), None)
    options = {"discount": case.discount, "lam": case.lam}
    options = {name: rate for name, rate in options.items() if rate is not None}
    return ask_tensor(answer, *case[:3], shape=(B, T), shapes=shapes, **options)


def _gae_slowly(case: Walk) -> Tensor:
    """Term by term, each row alone, its padding cut away."""
    found = torch.zeros(case.mask.shape, dtype=torch.float64)
    discount, lam = case.rates
    for b, length in enumerate(case.mask.sum(1).tolist()):
        r, v = case.rewards[b, :length].tolist(), case.values[b, :length].tolist()
        v.append(0.0)
        surprises = [r[t] + discount * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            weights = [(discount * lam) ** k for k in range(length - t)]
            found[b, t] = sum(
                w * s for w, s in zip(weights, surprises[t:], strict=True)
            )
    return found


def _gae_compare(answer, case: Walk) -> None:
    got, want = _gae_ask(answer, case).detach(), _gae_slowly(case)
    if close(got, want):
        return
    if close(got.where(case.mask, 0.0), want):
        raise CheckFailed(
            "Where the mask is False something else than 0 stands. Tokens that nobody chose get no credit."
        )
    b, t = divmod(
        int((got.double() - want).abs().nan_to_num(9e9).argmax()), got.shape[1]
    )
    length, (discount, lam) = int(case.mask[b].sum()), case.rates
    otherwise = (
        f"With discount={discount:g} and lam={lam:g}, token {t} of a response of {length} tokens has the advantage "
        f"{got[b, t]:.4g}; it should be {want[b, t]:.4g}."
    )
    clean = got.where(case.mask, 0.0)  # what is said about tokens is said first
    mistakes = {
        m: tuple(w * case.mask for w in ways) for m, ways in _gae_mistakes(case).items()
    }
    diagnose(clean, want, mistakes, otherwise)


def _recursion(
    r: Tensor, v: Tensor, later: Tensor, keep: Tensor, discount: float, decay: float
) -> Tensor:
    """From the right: what each step adds, and how much of what comes later is kept."""
    surprises, found, rest = (
        r + discount * later - v,
        torch.zeros_like(v),
        torch.zeros_like(v[:, 0]),
    )
    for t in reversed(range(v.shape[1])):
        rest = surprises[:, t] + decay * rest * keep[:, t]
        found[:, t] = rest
    return found


def _gae_mistakes(case: Walk) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give at the kept tokens."""
    g, l = case.rates
    raw_r, raw_v, m = case.rewards.double(), case.values.double(), case.mask
    r, v, (B, T) = raw_r * m, raw_v * m, m.shape
    nothing, ones, want = (
        torch.zeros(B, 1).double(),
        torch.ones(B, T),
        _gae_slowly(case),
    )
    after = torch.cat([v[:, 1:], nothing], 1)  # V of the next token
    leak = torch.cat([raw_v[:, 1:], nothing], 1)
    held = torch.cat([raw_v[:, 1:], raw_v[:, -1:]], 1)
    own = torch.where(
        torch.cat([m[:, 1:], nothing > 0], 1), after, v
    )  # the last one's own
    before = torch.cat([nothing, v[:, :-1]], 1)
    follows = torch.cat([m[:, 1:], nothing > 0], 1).double()

    def run(r=r, v=v, later=after, keep=ones, discount=g, decay=g * l) -> Tensor:
        return _recursion(r, v, later, keep, discount, decay)

    def forward(x: Tensor, decay: float) -> Tensor:
        return _recursion(x.flip(1), v * 0, v * 0, ones, 0.0, decay).flip(1)

    surprises, togo = run(decay=0.0), run(v=v * 0, later=v * 0, decay=g)
    n, ends = m.sum(1, keepdim=True), m.sum(1) - 1
    last_r = nothing + r[torch.arange(B), ends][:, None]
    mean, spread = want[m].mean(), want[m].std(correction=0)
    lone = want[m].std() if m.sum() > 1 else spread
    short = [torch.arange(T) < k for k in (n[-1], n[0], n.min())]
    # fmt: off
    return {
        "In the padding something is expected: the value behind a response's last token leaks in. Nothing is expected "
        "there.":
            (run(later=leak), run(later=leak, keep=follows), run(later=leak, keep=m), run(later=leak * m),
             run(later=held), run(later=held, keep=follows), run(r, raw_v, leak), run(r, raw_v, after),
             run(v=raw_v, later=leak, keep=follows), run(v=raw_v, later=leak * m), run(raw_r, v, after),
             run(raw_r, raw_v, leak), run(raw_r, raw_v, held), run(raw_r, raw_v, after), run(later=v.roll(-1, 1)),
             run(later=raw_v.roll(-1, 1)), run(later=raw_v.roll(-1, 1), keep=follows),
             run(raw_r, raw_v, raw_v.roll(-1, 1))),
        "The last token is compared with its own value, as if the response went on. Behind it nothing is expected.":
            (run(later=own), run(later=own, decay=g * l, keep=follows), run(surprises * 0 + r, v, own)),
        "`discount` and `lam` changed places.": (run(discount=l), run(discount=l, decay=l), run(discount=l, decay=g),
            run(discount=g * l, decay=l)),
        "`lam` makes no difference where it should: each later surprise counts in full, or by the discount alone.":
            (run(decay=g), run(decay=1.0)) if l != 1 else (),
        "Later surprises count by `lam` alone. How much does a reward lose on its way back through one step?":
            (run(decay=l),) if g != 1 else (),
        "`discount` makes no difference, or only in one of its two places: it makes the next value smaller, and later "
        "surprises too.": (run(discount=1.0), run(discount=1.0, decay=l), run(discount=1.0, decay=g)) if g != 1 else (),
        "`lam` is used where a value is expected. There only the discount counts.":
            (run(discount=g * l), run(discount=l * g, decay=g), run(discount=g * l, decay=g * g * l)),
        "A fixed discount or lambda is used, not the one that is given.":
            tuple(run(discount=a, decay=a * b) for a in (1.0, 0.99, g) for b in (0.95, 0.9, 1.0) if (a, b) != (g, l)),
        "That is the surprise of each single step. What comes later is to a token's credit as well, by lambda.":
            (surprises,) if l * g != 0 else (),
        "Those are the returns: what came, advantage and value together. How much of it was *not* expected?":
            (want + v, want + raw_v),
        "Those are the rewards from each token on; the values make no difference.":
            (togo, run(v=v * 0, later=v * 0), run(v=v * 0, later=v * 0, decay=1.0), r, forward(r, g)),
        "The value of the token itself is not taken away: how much better than *expected* is asked.":
            (run(v=v * 0), run(v=v * 0, decay=0.0), run(v=v * 0, discount=g, decay=g)),
        "The next token's value is missing: what a step leads to counts as well as its reward.":
            (run(later=v * 0), run(later=v * 0, decay=g), run(later=v * 0, decay=0.0)),
        "The sign is turned: better than expected is above 0.": (-want, -surprises, run(-r, -v, -after), togo * -1 + v),
        "A value has the wrong sign: the next one is added, the token's own is taken away.":
            (run(v=-v), run(later=-after), run(v=-v, later=-after)),
        "It runs forwards: a token gets the credit of those before it. What comes later is its doing.":
            (forward(surprises, g * l), forward(surprises, g), forward(surprises, l), surprises.cumsum(1),
             forward(r, g * l)),
        "It is shifted by one place: each token has the credit of a neighbour, or is compared with the value before it.":
            (want.roll(1, 1), want.roll(-1, 1), torch.cat([want[:, 1:], nothing], 1),
             torch.cat([nothing, want[:, :-1]], 1), run(later=v, v=before), run(v=after, later=v), run(torch.cat([r[:, 1:], nothing], 1)),
             run(torch.cat([nothing, r[:, :-1]], 1)), want - surprises, run(later=before), run(v=before, later=after)),
        "All responses are taken to be as long as one of them. Each has an end of its own.":
            tuple(run(raw_r * k, raw_v * k, torch.cat([(raw_v * k)[:, 1:], nothing], 1)) for k in short),
        "The advantages were whitened, or changed to have mean 0. Here they are only measured.":
            ((want - mean) / (spread + 1e-8), (want - mean) / (lone + 1e-8), want - mean, want / (spread + 1e-8),
             want / (lone + 1e-8),
             (want - (want.sum(1, keepdim=True) / n))),
        "Every token of a response gets the same. Each has a surprise of its own.":
            (want.sum(1, keepdim=True).expand(B, T) / n, want.sum(1, keepdim=True).expand(B, T), want[:, :1].expand(B, T),
             r.sum(1, keepdim=True) - v, (r.sum(1, keepdim=True)).expand(B, T), (last_r - v)),
        "Only the rewards of the last token count. Each token may have one.":
            (run(torch.zeros_like(r).scatter(1, ends[:, None], last_r)),),
        "Later advantages are added up without the step's own share, or twice: each counts once, by its distance.":
            (run(decay=2 * g * l), surprises.flip(1).cumsum(1).flip(1), run(decay=g * l * l), run(decay=g * g * l),
             run(decay=1 - g * l)),
        "The mean of the two is taken, with lambda and 1 − lambda. The sum of the later surprises is not shrunk.":
            (want * (1 - l), want * (1 - g * l), run(decay=1 - l),
             _recursion(l * surprises, v * 0, v * 0, ones, 0.0, g * (1 - l)),
             _recursion((1 - l) * surprises, v * 0, v * 0, ones, 0.0, g * l)),
    }
    # fmt: on


def _gae_at_the_end(answer, draw) -> None:
    """A response that ends early has the advantages that it has alone, whatever follows."""
    case = _drawn_walk(draw, 3, 7)._replace(discount=0.9, lam=0.7)
    long = case.mask.sum(1).argmin()
    length = int(case.mask[long].sum())
    alone = Walk(*(x[long : long + 1, :length] for x in case[:3]), *case[3:])
    got, want = _gae_ask(answer, case)[long, :length], _gae_ask(answer, alone)[0]
    expect(
        close(got.detach(), want.detach()),
        "A response has other advantages in a batch than alone. Longer neighbours must have no say.",
    )


def _gae_padding(answer, case: Walk) -> None:
    """nan where the mask is False, in the rewards, in the values, in both."""
    want = _gae_slowly(case)
    for dirty in (("rewards",), ("values",), ("rewards", "values")):
        holes = {
            name: torch.where(case.mask, getattr(case, name), torch.nan)
            for name in dirty
        }
        got = _gae_ask(answer, case._replace(**holes)).detach()
        if close(got, want):
            continue
        where = " and ".join(f"`{name}`" for name in dirty)
        raise CheckFailed(
            f"With nan in the padding of {where} "
            + (
                "an advantage of the padding is not 0."
                if close(got[case.mask], want[case.mask])
                else "the advantages of tokens that count change."
            )
            + " Where the mask is False anything may stand, and a product with 0 does not remove nan; masked_fill and "
            "where do."
        )


def _gae_of_any_type(answer, case: Walk) -> None:
    case = case._replace(discount=0.9, lam=0.7)
    got = _gae_ask(answer, case)
    expect(
        got.dtype == torch.float64,
        f"For numbers of type torch.float64 the advantages have the type {got.dtype}. Stay in the type of what is given.",
    )
    _gae_compare(answer, case)


def _gae_numbers(answer, case: Walk) -> None:
    """Values come from a critic in training; advantages are numbers."""
    values = case.values.clone().requires_grad_()
    got = _gae_ask(answer, case._replace(values=values))
    if got.requires_grad:
        (flow,) = torch.autograd.grad(got.sum(), values, allow_unused=True)
        expect(
            flow is None or not flow.any(),
            "A gradient flows back into the values. Advantages are numbers; what the critic learns has a loss of its "
            "own. Cut the values off before they are used.",
        )
    expect(
        close(got.detach(), _gae_slowly(case)),
        "With values that come from a critic in training (they have a gradient) the advantages are others.",
    )
