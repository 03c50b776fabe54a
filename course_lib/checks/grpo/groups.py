"""Check of lesson 08: each answer against its own group.

Advantages are worked out group by group in Python's double precision. The answers that
prove the check are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, close, diagnose
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import advantages


class Case(NamedTuple):
    """What the answer is asked about; None = the default is left to the answer."""

    rewards: Tensor
    eps: float | None = None
    scale: bool | None = None
    ddof: int | None = None

    @property
    def rates(self) -> tuple[float, bool, int]:
        given = zip(self[1:], (1e-4, True, 1), strict=True)
        return tuple(usual if asked is None else asked for asked, usual in given)

    @property
    def said(self) -> str:
        names = zip(self._fields[1:], self[1:], strict=True)
        asked = [f"{name}={value}" for name, value in names if value is not None]
        return f" with {', '.join(asked)}" if asked else ""


@check(
    advantages.group_advantages,
    proved="Every group is compared with itself alone, for any eps, with and without the division, for both "
    "spreads; and equal rewards give 0, whatever rounding does.",
)
def group_advantages(answer, draw):
    paper = torch.tensor([[1.0, 0.0, 4.0, 3.0], [0.0, 0.5, 0.0, 0.0]])
    _compare(answer, Case(paper, eps=0.5), Case(paper))
    nothing = torch.tensor([[1.0, 0.0, 1.0], [7.0, 7.0, 7.0], [0.0, 0.0, 2.0]])
    _compare(answer, Case(nothing), Case(nothing, eps=0.0))
    for eps, scale, ddof in (
        (0.0, None, None), (2.0, None, 0), (0.0, True, 0), (None, None, 0),
        (None, False, None), (0.5, False, 0),
    ):  # fmt: skip
        _compare(answer, Case(paper, eps, scale, ddof), Case(nothing, eps, scale, ddof))
    _far_from_zero(answer, draw)
    for P, G in ((3, 5), (4, 4), (5, 2), (1, 6), (2, 8), (2, 70)):
        _compare(
            answer, Case(_drawn(draw, P, G)), Case(_drawn(draw, P, G), 0.3, ddof=0)
        )
    _close_together(answer, draw)
    _equal(answer, draw)
    rewards = _drawn(draw, 4, 3)
    _compare(answer, Case(rewards.T.contiguous().T, 0.1))
    _right_or_wrong(answer, draw)
    _of_double(answer, draw)


def _drawn(draw: torch.Generator, P: int, G: int, dtype=torch.float32) -> Tensor:
    """Groups of different level and spread."""
    level = torch.randn(P, 1, generator=draw, dtype=dtype)
    spread = torch.rand(P, 1, generator=draw, dtype=dtype) + 0.4
    return level + spread * torch.randn(P, G, generator=draw, dtype=dtype)


def _asked(answer: Callable, case: Case) -> Tensor:
    P, G = case.rewards.shape
    each = "Every answer has an advantage of its own, (P, G)."
    # fmt: off
    shapes = {
        (): f"That is one number for the whole batch. {each}", (P,): f"That is one number for each prompt. {each}",
        (P, 1): f"That is one number for each prompt. {each}", (G,): f"That is one number for each column. {each}",
        (1, G): f"That is one number for each column. {each}",
        (G, P): "Prompts and answers changed places: was a list of columns stacked?",
        (P * G,): f"The rectangle was made one row. {each}",
        (P, G, G): "That is every answer against every other. One number for each answer is wanted.",
    }
    # fmt: on
    shapes.pop((P, G), None)
    names = zip(case._fields[1:], case[1:], strict=True)
    options = {name: value for name, value in names if value is not None}
    return ask_tensor(answer, case.rewards, shape=(P, G), shapes=shapes, **options)


def _slowly(case: Case) -> Tensor:
    """Group by group, in Python's numbers."""
    eps, scale, ddof = case.rates
    found = []
    for row in case.rewards.tolist():
        if min(row) == max(row):
            found.append([0.0] * len(row))
            continue
        mean = math.fsum(row) / len(row)
        squares = math.fsum((reward - mean) ** 2 for reward in row)
        over = math.sqrt(squares / (len(row) - ddof)) + eps if scale else 1.0
        found.append([(reward - mean) / over for reward in row])
    return torch.tensor(found, dtype=torch.float64)


def _compare(answer: Callable, *cases: Case) -> None:
    for case in cases:
        _compare_one(answer, case)


def _compare_one(answer: Callable, case: Case) -> None:
    got, want = _asked(answer, case).detach().double(), _slowly(case)
    _no_number(case, got)
    if close(got, want):
        return
    even = (case.rewards.amax(1) == case.rewards.amin(1)).unsqueeze(1)
    if even.any() and not even.all() and not got.any():
        raise CheckFailed(
            "One group without spread made all advantages 0. The other groups still have something to say."
        )
    off = (got - want).abs().nan_to_num(9e9)
    p, g = divmod(int(off.argmax()), got.shape[1])
    row = [round(reward, 3) for reward in case.rewards[p].tolist()]
    shown = row if len(row) < 9 else f"{len(row)} numbers"
    otherwise = (
        f"In the group {shown}{case.said}, answer {g} has the advantage {got[p, g]:.4g}; it should be "
        f"{want[p, g]:.4g}."
    )
    known = {
        mistake: tuple(torch.where(even, 0.0, way) for way in ways)
        for mistake, ways in _mistakes(case).items()
    }
    diagnose(got.where(~even, 0.0), want, known, otherwise)
    raise CheckFailed(
        f"In a group of equal rewards, {shown}{case.said}, an answer has the advantage {got[p, g]:.4g}. Nobody is "
        "better than the others there: it should be exactly 0."
    )


def _no_number(case: Case, got: Tensor) -> None:
    if got.isfinite().all():
        return
    row = int((~got.isfinite()).any(1).nonzero()[0])
    rewards = case.rewards[row]
    if rewards.numel() == 1:
        raise CheckFailed(
            f"A group of one answer gives {got[row, 0].item()}: the sample's spread of a single number is no number. Its "
            "advantage is 0."
        )
    if rewards.amin() == rewards.amax():
        kind = got[row][~got[row].isfinite()][0].item()
        raise CheckFailed(
            f"A group whose rewards are all equal gives {kind}{case.said}: 0 over 0. Such a group says nothing: its "
            "advantages are 0, for any eps."
        )
    raise CheckFailed(
        f"The advantages of the rewards {[round(x, 3) for x in rewards.tolist()]}{case.said} are not finite. Is something divided by "
        "0, or a root taken of what is below 0?"
    )


def _mistakes(case: Case) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give, and with them other ways to scale."""
    r, (eps, scale, ddof) = case.rewards.double(), case.rates
    P, G = r.shape
    mean, n = r.mean(1, True), max(G - ddof, 1)
    away = r - mean
    squares = away.square()
    both = [(squares.sum(1, True) / max(G - d, 1)).sqrt() for d in (ddof, 1 - ddof)]
    spread, other = both
    all_away = r - r.mean()
    all_spread = [(all_away.square().sum() / max(P * G - d, 1)).sqrt() for d in (0, 1)]
    columns = r - r.mean(0)
    down = [(columns.square().sum(0) / max(P - d, 1)).sqrt() for d in (0, 1)]
    others = (r.sum(1, True) - r) / max(G - 1, 1)
    middle = r.median(1, True).values

    def over(number: Tensor, by: Tensor | float) -> tuple[Tensor, ...]:
        return (number / (by + eps), number) if scale else (number,)

    def each(number: Tensor, *bys: Tensor) -> tuple[Tensor, ...]:
        return tuple(number / (by + eps) for by in bys) if scale else ()

    def around(number: Tensor) -> tuple[Tensor, ...]:
        """Over a spread that is measured from the same wrong place."""
        return each(number, (number.square().sum(1, True) / n).sqrt())

    no_eps = (
        "Without `eps` another one is used, or none. What does the first line of the function say?"
        if case.eps is None
        else "`eps` makes no difference: another one is built in, or none."
    )
    fixed = [x for x in (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3) if x != eps]
    # fmt: off
    return {
        "The whole batch is compared. Each prompt has its own group: what is easy to one is hard to another.":
            (*each(all_away, *all_spread), all_away, *each(all_away, spread, other), all_away / spread, *around(all_away)),
        "The mean is that of the group, and the spread is the whole batch's. Both belong to the group.":
            each(away, *all_spread, away.square().mean().sqrt(), *((squares.sum() / max(P * G - d, 1)).sqrt() for d in (1, P)), spread.mean()),
        "Answers with the same number are compared, over the prompts (dimension 0). A group is a row.":
            (*each(columns, *down), columns, *each(away, *down), *each(columns, spread), *around(columns)),
        "`scale` makes no difference. Without it nothing is divided.":
            () if scale else (away / (spread + eps), away / (other + eps), away / spread),
        "`scale` is turned round, or missing: with it, which is the default, the difference is divided by the spread.":
            (away,) if scale else (),
        "`scale` is used as a number. It says whether to divide.": (away * scale / (1 + eps), away / (1 + eps)),
        "`ddof` makes no difference, or is turned round: the spread of the sample (1) or of the population (0).":
            (*each(away, other), *each(away, (squares.sum(1, True) / G).sqrt(), (squares.sum(1, True) / max(G - 1, 1)).sqrt())),
        "The mean is divided by G - ddof as well. Only the spread is.": (*over(r - r.sum(1, True) / n, spread),),
        no_eps:
            (*(away / (spread + x) for x in fixed), *(away / (other + x) for x in fixed)) if scale else (),
        "`eps` stands under the root. It is added to the spread itself.":
            ((away / (squares.sum(1, True) / n + eps).sqrt(), away / (spread**2 + eps**2).sqrt()) if scale else ()),
        "`eps` is added to the sum of squares, or to each square. It is added to the spread itself.":
            ((away / ((squares.sum(1, True) + eps) / n).sqrt(), away / ((squares + eps).sum(1, True) / n).sqrt()) if scale else ()),
        "`eps` is added to the wrong part. It is added to the spread.":
            (((away + eps) / spread, away / spread + eps, (r - (mean + eps)) / spread, (r + eps - mean) / (spread + eps),
              (away + eps) / (spread + eps), away / (spread - eps)) if scale else (away + eps, away - eps, away / (1 + eps))),
        "`eps` is a lower limit of the spread. It is added to it.":
            ((away / spread.clamp(min=eps), away / spread.clamp(min=1e-4)) if scale else ()),
        "It is divided by the variance. The spread is its root.": each(away, spread**2, other**2),
        "It is divided by the sum of squares, or by the length of the row, not by the spread.":
            each(away, squares.sum(1, True), squares.sum(1, True).sqrt(), r.norm(dim=1, keepdim=True)),
        "It is divided by the root of the number of answers too (a standard error).":
            each(away, spread / G**0.5, spread * G**0.5, spread / G, spread * G),
        "It is divided by something else than the spread (the range, the mean, the largest reward).":
            each(away, r.amax(1, True) - r.amin(1, True), mean, mean.abs(), r.amax(1, True), r.abs().amax(1, True), away.abs().mean(1, True),
                 away.abs().sum(1, True) / n, away.abs().amax(1, True), r.sum(1, True)),
        "The mean is not taken away: how much *better than the others*?":
            (r, *each(r, spread, other), r / spread, *around(r)),
        "The answer's own reward is left out of the mean. Here the group's mean holds all of its answers.":
            (r - others, *each(r - others, spread, other), *around(r - others)),
        "It is compared with something else than the mean (the median, the best, the worst, the first).":
            tuple(x for base in (middle, r.amax(1, True), r.amin(1, True), r[:, :1], r[:, -1:], r[:1], (r.amax(1, True) + r.amin(1, True)) / 2)
                  for x in (*over(r - base, spread), *around(r - base))),
        "The sign is turned: what is better than the mean is above 0.": (*over(-away, spread), *each(-away, other)),
        "It has lost its sign (abs, or a square).":
            (*over(away.abs(), spread), squares, *each(squares, spread**2), *over(away.relu(), spread)),
        "There is a softmax. An advantage may be below 0.": (r.softmax(1), r.softmax(0), away.softmax(1), r.softmax(1) - 1 / G),
        "The advantages are put between two limits (0 and 1, or -1 and 1). They are as large as they are.":
            ((r - r.amin(1, True)) / (r.amax(1, True) - r.amin(1, True) + eps), *(x.clamp(-1, 1) for x in over(away, spread)), away.sign()),
        "Ranks are compared. The rewards themselves are.":
            tuple(x for x in (_of_ranks(r, eps, ddof),)),
        "It is done twice: what has spread 1 was divided once more, or by the root of the spread.":
            (*each(away, spread.sqrt()), *each(away / (spread + eps), spread), away / (spread + eps) / spread if scale else r),
        "All groups have the first one's mean, or its spread.":
            (*over(r - mean[:1], spread[:1]), *over(r - mean[:1], spread), *each(away, spread[:1])),
    }
    # fmt: on


def _of_ranks(r: Tensor, eps: float, ddof: int) -> Tensor:
    ranks = r.argsort(1).argsort(1).double()
    spread = ranks.std(1, keepdim=True, correction=ddof) if r.shape[1] > 1 else 1.0
    return (ranks - ranks.mean(1, True)) / (spread + eps)


# --- equal, or nearly


def _equal(answer: Callable, draw: torch.Generator) -> None:
    """Rewards whose mean is not exactly what all of them are, and groups of one."""
    for number, G in ((0.1, 8), (1e4 / 3, 10), (0.1, 7), (-7.7, 6), (0.0, 4)):
        rewards = torch.full((3, G), number)
        rewards[1] = torch.randn(G, generator=draw)
        for options in ((0.0,), (), (None, False), (0.0, None, 0)):
            case = Case(rewards, *options)
            got = _asked(answer, case).detach()
            _no_number(case, got)
            largest = got[0].abs().max().item()
            if largest > 0:
                raise CheckFailed(
                    f"A group of {G} rewards of {number:.6g}{case.said} has advantages of size {largest:.2g}; they should be "
                    "exactly 0. In floats the mean of equal numbers is not always that number: look at the rewards "
                    "themselves to see whether they are equal."
                )
            _compare_one(answer, case)
    for rewards in (torch.tensor([[3.0]]), torch.tensor([[0.1], [-2.0], [5.0]])):
        for options in ((), (0.0,), (0.5, None, 0), (None, False)):
            _compare_one(answer, Case(rewards, *options))


def _close_together(answer: Callable, draw: torch.Generator) -> None:
    """Rewards that differ by little differ."""
    for step, eps, level in (
        (1e-2, 0.0, 0), (1e-3, None, 0), (1e-4, 0.0, 0), (1e-4, 1e-4, 0), (1e-3, 0.0, 1000), (1e-11, 0.0, 0),
    ):  # fmt: skip
        rewards = step * torch.randint(-9, 9, (3, 5), generator=draw).double()
        rewards[:, 0], rewards[:, 1] = -10 * step, 10 * step
        tiny = level or step < 1e-6
        case = Case(rewards + level if tiny else rewards.float(), eps)
        got, want = _asked(answer, case).detach(), _slowly(case)
        _no_number(case, got)
        if not got.any():
            raise CheckFailed(
                f"Rewards that differ by a few times {step:g} are treated as equal{f' around {level:,}' if level else ''}. Only a "
                "group whose rewards are all the same says nothing."
            )
        if not tiny and not close(got, want, rtol=1e-4):
            _compare_one(answer, case)


def _right_or_wrong(answer: Callable, draw: torch.Generator) -> None:
    """What a verifier pays: 1 and 0, some groups all of one kind."""
    rewards = (torch.rand(6, 4, generator=draw) < 0.5).float()
    rewards[0], rewards[-1] = 1.0, 0.0
    rewards[1, 0] = 1 - rewards[1, 1]
    alone = torch.zeros(2, 80)  # a lone success is far above the others
    alone[0, 17], alone[1, 3] = 1.0, -1.0
    _compare(answer, Case(alone))
    _compare(answer, Case(rewards), Case(rewards, 0.0), Case(rewards, scale=False))


def _far_from_zero(answer: Callable, draw: torch.Generator) -> None:
    """Around 4,000, where squares have no digits left for a spread of 2."""
    rewards = 2 * torch.randn(2, 8, generator=draw)
    _compare(answer, Case(rewards))
    case = Case(rewards + 4000)
    got, want = _asked(answer, case).detach(), _slowly(case)
    if not close(got, want, rtol=2e-3, atol=2e-3):
        raise CheckFailed(
            "Around a reward of 4,000 the advantages are wrong: squares of such numbers leave no digits for a spread of 2. "
            "Take the mean away before anything is squared."
        )


def _of_double(answer: Callable, draw: torch.Generator) -> None:
    rewards = _drawn(draw, 3, 4, torch.float64)
    got = _asked(answer, Case(rewards))
    if got.dtype != torch.float64:
        raise CheckFailed(
            f"For rewards of type torch.float64 the advantages have the type {got.dtype}. Stay in the type of what is given."
        )
    _compare(answer, Case(rewards), Case(rewards, 0.0, ddof=0))
    far = Case(rewards + 1e5)
    if not (
        close(got, _slowly(Case(rewards)), 1e-9, 1e-12)
        and close(_asked(answer, far), _slowly(far))
    ):
        raise CheckFailed(
            "For rewards of type torch.float64 digits are lost on the way. Stay in the type of what is given."
        )
