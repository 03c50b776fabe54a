"""Checks of lesson 06: how often a reward model is right, how good anyone can be, how far choosing goes.

Pairs are counted one by one, best guesses added up one by one, and every possible
series of draws is gone through. All questions are asked first: a mistake is named if
it explains all answers, or all wrong ones. The answers that prove the checks are in
`tests/answers/`.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from course_lib.checks.asking import ask, ask_tensor, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.reward import annotator, audit, best_of_n


def _same(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=5e-6, abs_tol=5e-7)


def _tried(way: Callable, case: NamedTuple) -> float:
    """What a mistake gives; nan where even a mistake gives nothing."""
    try:
        return float(way(case))
    except (ZeroDivisionError, ValueError, OverflowError):
        return math.nan


def _name(found: list[tuple], mistakes: dict[str, tuple], otherwise: Callable) -> None:
    """Name the mistake behind all results, or all wrong ones; found: (got, want, case).

    A number that never changes is one only if it is given every time.
    """
    wrong = [row for row in found if not _same(*row[:2])]
    if not wrong:
        return
    for rows in (found, wrong):
        for name, ways in mistakes.items():
            if rows is wrong and rows != found and name in _CONSTANT:
                continue
            for way in ways:
                if all(_same(got, _tried(way, case)) for got, _, case in rows):
                    raise CheckFailed(name)
    expect(
        not all(
            math.isclose(got, want, rel_tol=1e-2, abs_tol=1e-3)
            for got, want, _ in wrong
        ),
        "The first digits are right and the later ones are not. Is something rounded on the way, or a "
        "small constant added?",
    )
    raise CheckFailed(otherwise(*wrong[0]))


_BY_HEART = "It always gives the same number. Is the worked value built in?"
_ERRORS_BUILT_IN = "A certain share of errors is built in, or the worked value. Each comparison has a p of its own."
_PERFECT = "A perfect model is said to be always right. The annotator errs, and nobody can foresee when."
_CONSTANT = (_BY_HEART, _ERRORS_BUILT_IN, _PERFECT)


def _row(numbers: list[float], dtype: torch.dtype = torch.float32) -> Tensor:
    """A row of numbers that does not lie in one piece in memory."""
    both = torch.full((len(numbers), 2), math.nan, dtype=dtype)
    both[:, 1] = torch.tensor(numbers, dtype=dtype)
    return both[:, 1]


def _one_number(answer: Callable, rows: list[Tensor], shapes: dict) -> float:
    """Call an answer that should give a tensor with one number; nan is let through."""
    try:
        got = ask_tensor(answer, *rows, shape=(), shapes=shapes)
    except ZeroDivisionError:
        raise CheckFailed(
            f"It divides by 0 when it is given {_listed(rows)}. Every place of a row counts, so there is always "
            "something to divide by."
        ) from None
    except RuntimeError as error:
        expect(
            "could not infer output dtype" not in str(error)
            and "Input dtype must be" not in str(error),
            "torch takes no mean of whole numbers, nor of True and False. Make decimal numbers of them first, "
            "with .float() or .double().",
        )
        raise
    expect(
        not got.is_complex(), "It returned a complex number; an ordinary one is wanted."
    )
    return float(got)


def _listed(rows: list[Tensor]) -> str:
    """Six digits, or as many as tell different numbers apart."""
    numbers = {x for row in rows for x in row.tolist()}
    digits = 6 if len({f"{x:g}" for x in numbers}) == len(numbers) else 14
    return " and ".join(
        "(" + ", ".join(f"{x:.{digits}g}" for x in row.tolist()) + ")" for row in rows
    )


def _mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers)


# --- pairwise_accuracy ------------------------------------------------------------------------


class Judged(NamedTuple):
    """Rewards of pairs; what is special about them."""

    chosen: list[float]
    rejected: list[float]
    dtype: torch.dtype = torch.float32

    @property
    def rows(self) -> list[Tensor]:
        return [_row(self.chosen, self.dtype), _row(self.rejected, self.dtype)]

    @property
    def gaps(self) -> list[float]:
        return [c - r for c, r in zip(*self[:2], strict=True)]

    def counted(self, tie: float) -> float:
        """Pair by pair, with so much for a tie."""
        pairs = zip(*self[:2], strict=True)
        return _mean([1.0 if c > r else tie if c == r else 0.0 for c, r in pairs])


@check(
    audit.pairwise_accuracy,
    proved="Only the order within each pair counts, whatever the sign and size of the rewards; a tie is half "
    "right, and near is no tie.",
    also=(audit.calibration,),
)
def pairwise_accuracy(answer, draw):
    _accuracy(answer, _accuracy_cases(draw), _ACCURACY)
    _accuracy(answer, _close_calls(), _NEAR | _ACCURACY)


def _accuracy(answer, cases: list[Judged], mistakes: dict) -> None:
    found = []
    for case in cases:
        N = len(case.chosen)
        shapes = {
            (N,): "These are the pairs one by one: what is their mean?",
            (1,): "One number without any dimension is wanted: take the mean of all.",
            (
                N,
                N,
            ): "Each chosen answer belongs to one rejected one, not to all of them.",
        }
        got = _one_number(answer, case.rows, shapes)
        found.append((got, case.counted(0.5), case))
    _name(
        found,
        mistakes,
        lambda got, want, case: (
            f"With {_listed(case.rows)} it gives {got:.4g}; counted pair by pair it is {want:.4g}."
        ),
    )


def _accuracy_cases(draw) -> list[Judged]:
    small = torch.randint(-3, 4, (2, 24), generator=draw).tolist()
    large = (torch.randint(-400, 400, (2, 9), generator=draw) / 4).tolist()
    return [
        Judged([2.0, 1.0], [0.0, 1.0]),
        Judged([-5.0, -1.0, 4.0, -2.0], [-6.0, -2.0, 7.0, -9.0]),
        Judged([4.0, 0.5, 9.0, 2.0, 8.0], [5.0, 6.0, 9.0, 1.0, 9.5]),
        Judged([3.0, 3.0, -1.0, 0.0], [3.0, 3.0, 2.0, 0.0]),
        Judged([7.0, 7.0, 7.0], [7.0, 7.0, 7.0]),
        Judged([1.0, 1.0, -50.0, 1.0], [0.0, 0.0, 0.0, 0.0]),
        Judged([0.0], [0.0]),
        Judged([-3.0], [-1.0]),
        Judged([-1.0], [-300.0]),
        Judged([1e30, -1e30, 250.0], [-1e30, 1e30, -250.0], torch.float64),
        Judged(small[0][:7], small[1][:7]),
        Judged(small[0][7:], small[1][7:], torch.float64),
        Judged(*large),
        Judged([x + 100 for x in large[0]], [x + 100 for x in large[1]]),
    ]


def _close_calls() -> list[Judged]:
    """Answers that nearly have the same reward; a step of float32 beside 1 is 2^-23."""
    step = 2.0**-23
    return [
        Judged([1 + step, 1.0, 2.0], [1.0, 1.0, 3.0]),
        Judged([1e-8, -1e-8, 0.0], [0.0, -3e-8, 0.0]),
        Judged([64 + 64 * step, 5.0], [64.0, 5.0]),
        Judged([1 + 1e-12, 1 + 2e-12, 4.0], [1.0, 1.0, 4.0], torch.float64),
    ]


def _near(case: Judged, reach: Callable) -> float:
    pairs = zip(*case[:2], strict=True)
    return _mean([0.5 if reach(c, r) else float(c > r) for c, r in pairs])


def _to_float32(x: float) -> float:
    return torch.tensor(x, dtype=torch.float32).item()


def _soft(gap: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, gap))))


def _through(way: Callable, tie: float) -> Callable:
    """Counted after both rewards went through a function of torch."""

    def counted(case: Judged) -> float:
        made = [way(row).tolist() for row in case.rows]
        return case._replace(chosen=made[0], rejected=made[1]).counted(tie)

    return counted


# fmt: off
_ACCURACY = {
    "A tie counts as right in yours. It is half right: a model that says the same about everything would "
    "be perfect.":
        (lambda c: c.counted(1.0),),
    "A tie counts as wrong in yours. It is half right, like a guess. (A loss below ln 2 asks the same: "
    "is there a lead?)":
        (lambda c: c.counted(0.0),),
    "Ties are left out in yours. They stay among the pairs, and count one half.":
        (lambda c: sum(g > 0 for g in c.gaps) / sum(g != 0 for g in c.gaps),
         lambda c: sum(g > 0 for g in c.gaps) / max(1, sum(g != 0 for g in c.gaps)),
         lambda c: sum(g > 0 for g in c.gaps) / sum(g != 0 for g in c.gaps) if any(c.gaps) else 0.5),
    "Ties are taken out of the count of pairs, and half of them is added. They stay among the pairs.":
        (lambda c: (sum(g > 0 for g in c.gaps) + sum(g == 0 for g in c.gaps) / 2)
            / sum(g != 0 for g in c.gaps),),
    "It goes by the sign of a reward. Rewards have no zero of their own: the gap of a pair counts.":
        (lambda c: _mean([float(x > 0) for x in c.chosen]),
         lambda c: _mean([float(x >= 0) for x in c.chosen]),
         lambda c: _mean([(math.copysign(1, x) * (x != 0) + 1) / 2 for x in c.chosen]),
         lambda c: _mean([float(x > 0 and y <= 0) for x, y in zip(*c[:2], strict=True)]),
         lambda c: _mean([float(x > 0 and y < 0) for x, y in zip(*c[:2], strict=True)]),
         lambda c: _mean([float(x > 0.5) for x in c.chosen]),
         lambda c: _mean([float((x > 0) == (y < 0)) for x, y in zip(*c[:2], strict=True)]),
         lambda c: _mean([float(x > 0) for x in c.chosen] + [float(y < 0) for y in c.rejected])),
    "The rewards went through a power of e or a sigmoid first, where large ones become equal. Compare them as they "
    "are.":
        (*(_through(way, t) for way in (torch.exp, torch.sigmoid, torch.tanh) for t in (0.5, 0.0, 1.0)),),
    "It is the wrong way round: right is where the chosen answer has the higher reward.":
        (lambda c: 1 - c.counted(0.5), lambda c: 1 - c.counted(1.0), lambda c: 1 - c.counted(0.0)),
    "It is in percent. A share from 0 to 1 is asked for.":
        (lambda c: 100 * c.counted(0.5), lambda c: 100 * c.counted(0.0), lambda c: 100 * c.counted(1.0)),
    "It is the number of pairs. Their share is asked for.":
        (lambda c: len(c.gaps) * c.counted(0.5), lambda c: len(c.gaps) * c.counted(0.0),
         lambda c: len(c.gaps) * c.counted(1.0)),
    "These are signs, from -1 to 1. A share goes from 0 to 1: what should -1, 0 and 1 become?":
        (lambda c: 2 * c.counted(0.5) - 1,),
    "It goes from 0 to 2. What are the values of a right pair, a tie and a wrong one?":
        (lambda c: 2 * c.counted(0.5),),
    "Half a point is given for a right pair, too.":
        (lambda c: c.counted(0.5) / 2, lambda c: c.counted(1.0) / 2),
    "A wrong pair gets something as well. It counts 0.":
        (lambda c: (c.counted(0.5) + 1) / 2, lambda c: (c.counted(0.0) + 0.5),
         lambda c: max(0.5, c.counted(0.5))),
    "It is the mean of how sure the model is. Only whether it is right is asked, not by how much.":
        (lambda c: _mean([_soft(g) for g in c.gaps]),
         lambda c: _mean([(max(-1.0, min(1.0, g)) + 1) / 2 for g in c.gaps]),
         lambda c: _mean([(math.tanh(g) + 1) / 2 for g in c.gaps])),
    "It asks whether all pairs are right, or any. How many are?":
        (lambda c: all(g > 0 for g in c.gaps), lambda c: all(g >= 0 for g in c.gaps),
         lambda c: any(g > 0 for g in c.gaps), lambda c: any(g >= 0 for g in c.gaps)),
    "It compares the means, or the sums, of all rewards. Each pair is asked by itself.":
        (lambda c: (_mean(c.chosen) > _mean(c.rejected)) + 0.5 * (_mean(c.chosen) == _mean(c.rejected)),
         lambda c: _mean(c.chosen) > _mean(c.rejected), lambda c: _mean(c.chosen) >= _mean(c.rejected)),
    "It is cut to a whole number (//, int or round). Shares are wanted.":
        (lambda c: int(c.counted(0.5)), lambda c: int(c.counted(0.0)), lambda c: int(c.counted(1.0)),
         lambda c: round(c.counted(0.5)), lambda c: round(c.counted(0.0)), lambda c: float(c.counted(0.5) > 0.5),
         lambda c: float(c.counted(0.5) >= 0.5),
         lambda c: int(sum((g > 0) - (g < 0) + 1 for g in c.gaps) // 2) / len(c.gaps),
         lambda c: sum(((g > 0) - (g < 0) + 1) // 2 for g in c.gaps) / len(c.gaps)),
    "It is the gap itself. Only its sign tells who won.":
        (lambda c: _mean(c.gaps), lambda c: _mean([abs(g) for g in c.gaps]),
         lambda c: _mean([max(g, 0.0) for g in c.gaps])),
    "Every chosen answer is compared with every rejected one. Each belongs to one: to its own.":
        (*(lambda c, t=t: _mean([1.0 if x > y else t if x == y else 0.0
                                 for x in c.chosen for y in c.rejected]) for t in (0.5, 0.0, 1.0)),),
    "Each reward is compared with the mean of the others' rewards. Each pair is asked by itself.":
        (lambda c: _mean([float(x > _mean(c.rejected)) for x in c.chosen]),
         lambda c: _mean([float(x > _mean(c.chosen + c.rejected)) for x in c.chosen])),
    "It sorts the rewards first. Then the answers of a pair no longer stand together.":
        (*(lambda c, t=t: Judged(sorted(c.chosen), sorted(c.rejected)).counted(t) for t in (0.5, 0.0, 1.0)),),
    "It asks for a lead of 1, or of another size. Any lead will do.":
        (*(lambda c, m=m, t=t: Judged([x - m for x in c.chosen], c.rejected).counted(t)
           for m in (1, 0.5, 0.1, 0.01) for t in (0.5, 0.0, 1.0)),),
    "It looks at the first pair, or the last, only.":
        (*(lambda c, i=i: Judged(c.chosen[i:][:1], c.rejected[i:][:1]).counted(0.5) for i in (0, -1)),),
    _BY_HEART:
        (lambda c: 0.75, lambda c: 0.5, lambda c: 1, lambda c: 0),
    "It has a fixed number of pairs built in.":
        (*(lambda c, n=n: len(c.gaps) * c.counted(0.5) / n for n in (2, 3, 4)),),
}
_NEAR = {
    "Two rewards that are close together count as a tie. Here a tie is two equal numbers: do not round, compare "
    "with a tolerance, or make them small (a sigmoid, float16 or float32 of float64).":
        (lambda c: _near(c, lambda x, y: math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-8)),
         *(lambda c, a=a: _near(c, lambda x, y: abs(x - y) < a) for a in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)),
         *(lambda c, d=d: _near(c, lambda x, y: round(x, d) == round(y, d)) for d in range(9)),
         lambda c: _near(c, lambda x, y: _to_float32(x) == _to_float32(y)),
         lambda c: _near(c, lambda x, y: _to_float32(_soft(x - y)) == 0.5),
         lambda c: _near(c, lambda x, y: round(_soft(x - y), 4) == 0.5)),
}
# fmt: on


# --- noise_ceiling ----------------------------------------------------------------------------


class Asked(NamedTuple):
    """How sure an annotator is, comparison by comparison."""

    p: list[float]
    dtype: torch.dtype = torch.float32


@check(
    annotator.noise_ceiling,
    proved="In every comparison the likelier label is guessed, whichever it is, and the mean comes last; from "
    "0.5 for a coin to 1 for somebody who never errs.",
)
def noise_ceiling(answer, draw):
    drawn = torch.rand(25, generator=draw, dtype=torch.float64).tolist()
    low = [x / 2 for x in drawn[:5]]
    cases = [
        Asked([0.9, 0.3, 0.5]),
        Asked([0.2]),
        Asked([0.5]),
        Asked([0.0, 1.0, 1.0, 0.0, 0.0]),
        Asked([0.25, 0.75], torch.float64),
        Asked([0.8, 0.2, 0.8, 0.8]),
        Asked([0.5, 1.0]),
        Asked([0.9, 0.6, 0.9, 0.2, 0.9]),
        Asked(low),
        Asked([1 - x for x in low], torch.float64),
        Asked(drawn[:9]),
        Asked(drawn[9:], torch.float64),
    ]
    found = []
    for case in cases:
        shapes = {
            (len(case.p),): "These are the comparisons one by one: what is their mean?",
            (1,): "One number without any dimension is wanted.",
        }
        got = _one_number(answer, [_row(*case)], shapes)
        found.append((got, _mean([p if p > 0.5 else 1 - p for p in case.p]), case))
    _name(
        found,
        _CEILING,
        lambda got, want, case: (
            f"With the probabilities {_listed([_row(*case)])} it gives {got:.4g}. Who guesses best is right in "
            f"{want:.4g} of all cases on average."
        ),
    )


def _entropy(p: float) -> float:
    return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)


def _median(numbers: list[float]) -> float:
    return sorted(numbers)[(len(numbers) - 1) // 2]


# fmt: off
_CEILING = {
    "It is the mean of the probabilities: the accuracy of somebody who always says \"the first\". Where the "
    "second answer is the likelier one, the best guess is the second.":
        (lambda c: _mean(c.p),),
    "It is the accuracy of somebody who always says \"the second\".":
        (lambda c: 1 - _mean(c.p),),
    "The mean is taken first, and the better guess afterwards: one guess for all comparisons. The best guess may "
    "differ from one to the next.":
        (lambda c: max(_mean(c.p), 1 - _mean(c.p)), lambda c: 0.5 + abs(_mean(c.p) - 0.5)),
    "It is the largest number of the whole row. Each comparison has its own best guess, and their mean is wanted.":
        (lambda c: max(c.p), lambda c: max(*c.p, 1 - min(c.p)), lambda c: 1 - min(c.p)),
    "It is the accuracy of somebody who draws the label as the annotator does. Who always says the likelier one is "
    "right more often.":
        (lambda c: _mean([p * p + (1 - p) ** 2 for p in c.p]),),
    "It is the worse guess in every comparison. The better one is wanted.":
        (lambda c: _mean([min(p, 1 - p) for p in c.p]),),
    "A p below one half counts as a coin's toss. Then the second answer is the likelier one, and that can be "
    "guessed as well.":
        (lambda c: _mean([max(p, 0.5) for p in c.p]),),
    "Comparisons with a p below one half are left out. Then the second answer is the likelier one.":
        (lambda c: _mean([p for p in c.p if p > 0.5]), lambda c: _mean([p for p in c.p if p >= 0.5]),
         lambda c: math.fsum(p for p in c.p if p > 0.5) / len(c.p),
         lambda c: math.fsum(p for p in c.p if p >= 0.5) / len(c.p)),
    "It is an entropy, or made of one. That bounds the loss; here the accuracy is asked for.":
        (lambda c: _mean([_entropy(p) for p in c.p]), lambda c: 1 - _mean([_entropy(p) for p in c.p]),
         lambda c: _mean([_entropy(p) / math.log(2) for p in c.p]),
         lambda c: 1 - _mean([_entropy(p) / math.log(2) for p in c.p]),
         lambda c: math.exp(-_mean([_entropy(p) for p in c.p])),
         lambda c: _mean([math.exp(-_entropy(p)) for p in c.p]),
         lambda c: _mean([-p * math.log(p) for p in c.p if p > 0])),
    "It is the distance from a coin's toss. What does somebody get who tosses one?":
        (lambda c: _mean([abs(p - 0.5) for p in c.p]), lambda c: _mean([abs(2 * p - 1) for p in c.p]),
         lambda c: 2 * _mean([abs(p - 0.5) for p in c.p]), lambda c: abs(_mean([2 * p - 1 for p in c.p])),
         lambda c: _mean([0.5 + abs(2 * p - 1) for p in c.p])),
    "It is the share of comparisons in which the first answer is the likelier one. How often is somebody right "
    "who guesses so?":
        (lambda c: _mean([float(p > 0.5) for p in c.p]), lambda c: _mean([float(p >= 0.5) for p in c.p]),
         lambda c: _mean([float(round(p)) for p in c.p]),
         lambda c: max(_mean([float(p > 0.5) for p in c.p]), 1 - _mean([float(p > 0.5) for p in c.p])),
         lambda c: max(_mean([float(p >= 0.5) for p in c.p]), 1 - _mean([float(p >= 0.5) for p in c.p]))),
    _PERFECT:
        (lambda c: 1.0, lambda c: _mean([float(p != 0.5) for p in c.p]),
         lambda c: _mean([0.5 if p == 0.5 else 1.0 for p in c.p])),
    _ERRORS_BUILT_IN:
        (*(lambda c, a=a: a for a in (0.8, 0.7, 0.9, 0.5, 0)),),
    "It looks at one comparison only: the first, the last, or the one in the middle.":
        (*(lambda c, i=i: max(c.p[i], 1 - c.p[i]) for i in (0, -1)),
         lambda c: _median([max(p, 1 - p) for p in c.p]), lambda c: max(_median(c.p), 1 - _median(c.p))),
    "It is in percent. A share is asked for.":
        (lambda c: 100 * _mean([max(p, 1 - p) for p in c.p]),),
    "Comparisons with the same p count once. Each of them counts.":
        (lambda c: _mean([max(p, 1 - p) for p in {*c.p}]), lambda c: _mean([*{max(p, 1 - p) for p in c.p}])),
    "It is the sum. The mean is asked for.":
        (lambda c: math.fsum(max(p, 1 - p) for p in c.p),),
    "The smallest of the best guesses is taken. Their mean is wanted.":
        (lambda c: min(max(p, 1 - p) for p in c.p),),
    "It is the probability that all guesses are right. The share of right ones is asked for.":
        (lambda c: math.prod(max(p, 1 - p) for p in c.p),),
    "Both guesses are added up, or both are averaged. Only one can be made.":
        (lambda c: _mean([max(p, 1 - p) for p in c.p]) * 2, lambda c: _mean([max(p, 1 - p) for p in c.p]) / 2),
    "It is a middle of another sort: a root of squares, or of a product. A plain mean is wanted.":
        (lambda c: math.sqrt(_mean([max(p, 1 - p) ** 2 for p in c.p])),
         lambda c: math.exp(_mean([math.log(max(p, 1 - p)) for p in c.p])),
         lambda c: _mean([max(p, 1 - p) ** 2 for p in c.p]),
         lambda c: _mean([math.sqrt(p * p + (1 - p) ** 2) for p in c.p])),
    "A probability went through a sigmoid once more.":
        (lambda c: _mean([max(_soft(p), 1 - _soft(p)) for p in c.p]), lambda c: _mean([_soft(p) for p in c.p])),
}
# fmt: on


# --- best_of_n_kl -----------------------------------------------------------------------------


class Chosen(NamedTuple):
    """Answers with their probabilities and rewards, of which the best of n is kept."""

    p: list[float]
    rewards: list[float]
    n: int
    dtype: torch.dtype = torch.float64

    @property
    def rows(self) -> list[Tensor]:
        return [_row(self.p, self.dtype), _row(self.rewards)]

    @property
    def shares(self) -> list[float]:
        return [x / math.fsum(self.p) for x in self.p]


def _draw_by_draw(case: Chosen) -> list[float]:
    """How often each answer is kept, from every series of n draws; the first of equals."""
    found, shares = [[] for _ in case.p], case.shares
    for series in itertools.product(range(len(case.p)), repeat=case.n):
        kept = max(series, key=lambda i: case.rewards[i])
        found[kept].append(math.prod(shares[i] for i in series))
    return [math.fsum(parts) for parts in found]


def _by_levels(case: Chosen) -> list[float]:
    """The same for many draws: level by level, from the lowest reward up."""
    found, below, shares = [0.0] * len(case.p), 0.0, case.shares
    for level in sorted(set(case.rewards)):
        here = [i for i, reward in enumerate(case.rewards) if reward == level]
        upto = below + math.fsum(shares[i] for i in here)
        reached = upto**case.n - below**case.n
        for i in here:
            if shares[i]:
                found[i] = reached * shares[i] / math.fsum(shares[j] for j in here)
        below = upto
    return found


def _kept(case: Chosen) -> list[float]:
    few = case.n < 7 and len(case.p) ** case.n <= 100
    return _draw_by_draw(case) if few else _by_levels(case)


def _library_kl(case: Chosen) -> float:
    """torch's own divergence, over what can occur."""
    pairs = [(a, b) for a, b in zip(_kept(case), case.shares, strict=True) if a]
    q, p = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return float(kl_div(p.log(), q, reduction="sum"))


@check(
    best_of_n.best_of_n_kl,
    proved="It is the exact distance from the model, in nats, with ties, with answers that never occur or never "
    "win, and with probabilities that are rounded.",
    also=(best_of_n.best_of_n_curve,),
)
def best_of_n_kl(answer, draw):
    plain, lost, rounded = _kl_plain(draw), _kl_lost(draw), _kl_rounded()
    _kl(answer, plain, _KL)
    _kl(answer, lost, _KL_LOST | _KL)
    _kl(answer, rounded, _KL_ROUNDED | _KL)
    _kl(answer, [Chosen([0.4, 0.6], [1.0, 1 + 2.0**-23], 3)], _KL_NEAR)


def _kl_ask(answer, case: Chosen) -> float:
    try:
        got = ask(answer, *case.rows, case.n)
    except (ZeroDivisionError, OverflowError) as error:
        raise CheckFailed(
            f"It stops with {type(error).__name__} for {_kl_said(case)}. An answer that never occurs, or never "
            "wins, adds nothing: leave it out."
        ) from None
    except ValueError as error:
        expect(
            "math domain" not in str(error) and "positive input" not in str(error),
            f"It takes the logarithm of 0 for {_kl_said(case)}. An answer that never occurs, or never wins, adds "
            "nothing: leave it out.",
        )
        raise
    if isinstance(got, Tensor):
        V = len(case.p)
        expect(
            got.ndim == 0,
            f"It returned shape {tuple(got.shape)}; one number is wanted. "
            + (
                "These are the answers one by one: what do they add up to?"
                if got.shape == (V,)
                else "What is summed, and along which dimension?"
            ),
        )
        got = got.item()
    expect(
        isinstance(got, float | int) or getattr(got, "ndim", None) == 0,
        f"It returned a {type(got).__name__}; one number is wanted, the distance in nats.",
    )
    return float(got)


def _kl(answer, cases: list[Chosen], mistakes: dict) -> None:
    found = [(_kl_ask(answer, case), _library_kl(case), case) for case in cases]
    for got, _, case in found:
        expect(
            math.isfinite(got), f"For {_kl_said(case)} it gives {got}. {_lost(case)}"
        )
    _name(
        found,
        mistakes,
        lambda got, want, case: (
            f"For {_kl_said(case)} it gives {got:.4g}; from every series of draws it is {want:.4g}."
        ),
    )


def _kl_said(case: Chosen) -> str:
    if len(case.p) > 5:
        return f"{len(case.p)} answers and n = {case.n}"
    return f"p and rewards {_listed(case.rows)} and n = {case.n}"


def _lost(case: Chosen) -> str:
    """Why a distance may be no number."""
    if 0 not in _kept(case):
        return "p and q are above 0 for every answer here, so it is a finite number."
    why = (
        "An answer with p = 0 never occurs, so it adds nothing."
        if 0 in case.p
        else "With so many draws the weakest answers never win: their q is 0 in floating point, and they add nothing."
    )
    return f"{why} 0 times the logarithm of 0 is nan in torch: leave such answers out."


def _drawn(draw, V: int, n: int, dtype: torch.dtype = torch.float64) -> Chosen:
    weights = torch.rand(V, generator=draw, dtype=torch.float64) + 0.1
    rewards = torch.randn(V, generator=draw) * 3 - 1
    return Chosen((weights / weights.sum()).tolist(), rewards.tolist(), n, dtype)


def _kl_plain(draw) -> list[Chosen]:
    tied = _drawn(draw, 9, 5)
    return [
        Chosen([0.5, 0.5], [1.0, 2.0], 3, torch.float32),
        Chosen([0.1, 0.2, 0.3, 0.4], [2.0, 1.0, 2.0, 0.0], 3),
        Chosen([0.7, 0.2, 0.1], [-5.0, -4.0, 300.0], 4),
        Chosen([0.2, 0.3, 0.5], [1.0, 2.0, 3.0], 2),
        _drawn(draw, 4, 1),
        Chosen([0.25, 0.75], [6.0, 6.0], 7),
        Chosen([1.0], [3.0], 5),
        _drawn(draw, 9, 8, torch.float32),
        tied._replace(rewards=[round(x) for x in tied.rewards]),
        _drawn(draw, 60, 16),
    ]


def _kl_lost(draw) -> list[Chosen]:
    many = _drawn(draw, 12, 2000)
    zeros = _drawn(draw, 6, 6)
    share = 1 - zeros.p[1] - zeros.p[4]
    return [
        Chosen([0.0, 0.25, 0.75], [9.0, 2.0, 1.0], 2),  # the best one never occurs
        Chosen([0.5, 0.0, 0.5], [1.0, 1.0, 2.0], 3, torch.float32),
        Chosen([0.0, 1.0], [0.0, 1.0], 4),
        zeros._replace(p=[0.0 if i in (1, 4) else x / share for i, x in enumerate(zeros.p)]),
        Chosen([0.75, 0.25], [0.0, 1.0], 4000),
        many,
        Chosen([0.5, 0.5], [0.0, 1.0], 20),  # q is small, and counts
        Chosen([1 - 1e-6, 1e-6], [0.0, 1.0], 10**6),
        Chosen([1 - 1e-9, 1e-9], [0.0, 1.0], 10**9),
    ]  # fmt: skip


def _kl_rounded() -> list[Chosen]:
    third = [0.3333] * 3
    return [
        Chosen(third, [1.0, 2.0, 3.0], 1),
        Chosen(third, [1.0, 2.0, 3.0], 3),
        Chosen([0.14286] * 7, [5.0] * 7, 2),
        Chosen([0.66667, 0.33334], [0.0, 1.0], 4),
    ]


def _sum(case: Chosen, term: Callable, kept: Callable = _kept) -> float:
    """The sum of term(q, p) over what can occur."""
    pairs = zip(kept(case), case.shares, strict=True)
    return math.fsum(term(q, p) for q, p in pairs if q > 0 and p > 0)


def _inside(q: float, p: float) -> float:
    return q * math.log(q / p)


def _other_q(change: Callable) -> Callable:
    """The right sum with the q of a changed question."""
    return lambda c: _sum(c, _inside, lambda case: _by_levels(change(case)))


def _of_weights(weigh: Callable) -> Callable:
    """The right sum with a q in proportion to weigh(p, reward, n)."""

    def kept(case: Chosen) -> list[float]:
        top = max(case.rewards)
        found = [
            weigh(p, r - top, case.n)
            for p, r in zip(case.shares, case.rewards, strict=True)
        ]
        return [x / math.fsum(found) for x in found]

    return lambda c: _sum(c, _inside, kept)


def _in_order(case: Chosen, sign: int) -> Chosen:
    """No ties: of equal rewards the first, or the last, is the higher one."""
    ranked = sorted(
        range(len(case.p)), key=lambda i: (case.rewards[i], sign * i)
    )  # fmt: skip
    return case._replace(rewards=[float(ranked.index(i)) for i in range(len(case.p))])


def _held(e: float) -> tuple[Callable, ...]:
    """The logarithm kept finite by a small constant, in the ways that people do it."""
    return (
        lambda c: _sum(c, lambda q, p: q * math.log((q + e) / (p + e))),
        lambda c: _sum(c, lambda q, p: (q + e) * math.log((q + e) / (p + e))),
        lambda c: _sum(c, lambda q, p: q * math.log(q / p + e)),
        lambda c: _sum(c, lambda q, p: q * math.log(q / (p + e))),
        lambda c: _sum(c, lambda q, p: q * math.log(max(q, e) / max(p, e))),
        lambda c: _sum(c, lambda q, p: max(q, e) * math.log(max(q, e) / max(p, e))),
    )


def _top(case: Chosen) -> list[int]:
    return [i for i, r in enumerate(case.rewards) if r == max(case.rewards)]


# fmt: off
_KL = {
    "It is the bound that holds if no two draws are equally good. Here answers are few, and the exact distance is "
    "asked for.":
        (lambda c: math.log(c.n) - (c.n - 1) / c.n,),
    "It is a logarithm of n alone. p and the rewards matter as well.":
        (lambda c: math.log(c.n), lambda c: math.log2(c.n)),
    "It is the other direction. The mean is one over what is kept, q: how far has the best of n gone from the model?":
        (lambda c: _sum(c, lambda q, p: _inside(p, q)),),
    "The sign is wrong, or the quotient upside down: no distance is below 0.":
        (lambda c: -_sum(c, _inside), lambda c: -_sum(c, lambda q, p: _inside(p, q))),
    "It is in bits. Nats are asked for, so the natural logarithm.":
        (lambda c: _sum(c, _inside) / math.log(2), lambda c: _sum(c, lambda q, p: _inside(p, q)) / math.log(2)),
    "It is taken with a logarithm to base 10. The natural one is asked for.":
        (lambda c: _sum(c, _inside) / math.log(10),),
    "The mean over the answers is taken (or torch's kl_div with its reduction \"mean\" or \"batchmean\"). What is "
    "summed is weighed already.":
        (lambda c: _sum(c, _inside) / len(c.p), lambda c: _sum(c, lambda q, p: _inside(p, q)) / len(c.p)),
    "The arguments of torch's kl_div are not what it wants: the first is a logarithm, and the second is the one over "
    "which the mean goes.":
        (lambda c: _sum(c, lambda q, p: p * (math.log(p) - q)), lambda c: _sum(c, lambda q, p: q * (math.log(q) - p)),
         lambda c: _sum(c, lambda q, p: p * (math.log(p) - math.log(q) * p)),
         lambda c: _sum(c, lambda q, p: q * (math.log(q) - p)) / len(c.p),
         lambda c: _sum(c, lambda q, p: p * (math.log(p) - q)) / len(c.p)),
    "The logarithms are summed as they are. Each counts as often as its answer is kept.":
        (lambda c: _sum(c, lambda q, p: math.log(q / p)), lambda c: _sum(c, lambda q, p: math.log(q / p)) / len(c.p),
         lambda c: _sum(c, lambda q, p: abs(math.log(q / p))),
         lambda c: _sum(c, lambda q, p: abs(math.log(q / p))) / len(c.p)),
    "The logarithm's sign is dropped. Answers that became rarer count with theirs.":
        (lambda c: _sum(c, lambda q, p: abs(_inside(q, p))), lambda c: _sum(c, lambda q, p: max(_inside(q, p), 0.0))),
    "There is no logarithm in it. The distance is a mean of one.":
        (lambda c: _sum(c, lambda q, p: q * q / p), lambda c: _sum(c, lambda q, p: q * (q / p - 1)),
         lambda c: _sum(c, lambda q, p: q * (q - p))),
    "It is the logarithm of a sum. Sum the logarithms, each with its weight.":
        (lambda c: math.log(_sum(c, lambda q, p: q * q / p)),),
    "It is an entropy, a cross-entropy, or a difference of entropies. A distance compares q with p, answer by answer.":
        (lambda c: _sum(c, lambda q, p: -q * math.log(q)), lambda c: _sum(c, lambda q, p: q * math.log(q)),
         lambda c: _sum(c, lambda q, p: -q * math.log(p)), lambda c: _sum(c, lambda q, p: q * math.log(p)),
         lambda c: _sum(c, lambda q, p: q * math.log(q) - p * math.log(p)),
         lambda c: _sum(c, lambda q, p: p * math.log(p) - q * math.log(q)),
         lambda c: _sum(c, lambda q, p: -p * math.log(q)), lambda c: _sum(c, lambda q, p: -p * math.log(p))),
    "It is another distance: of plain differences, of squares, or to the middle of both. KL is asked for.":
        (lambda c: _sum(c, lambda q, p: abs(q - p)), lambda c: _sum(c, lambda q, p: abs(q - p)) / 2,
         lambda c: _sum(c, lambda q, p: (q - p) ** 2), lambda c: math.sqrt(_sum(c, lambda q, p: (q - p) ** 2)),
         lambda c: _sum(c, lambda q, p: (_inside(q, (p + q) / 2) + _inside(p, (p + q) / 2)) / 2),
         lambda c: _sum(c, lambda q, p: _inside(q, p) + _inside(p, q)),
         lambda c: _sum(c, lambda q, p: _inside(q, p) + _inside(p, q)) / 2),
    "It is the logarithm of one answer: of the best, or of the one that gained most. All answers count.":
        (lambda c: -math.log(math.fsum(c.shares[i] for i in _top(c))),
         lambda c: -math.log(c.shares[_top(c)[0]]),
         lambda c: max(math.log(q / p) for q, p in zip(_kept(c), c.shares, strict=True))),
    "An answer that is not likely is left out, although it occurs. Only those whose q or p is 0 add nothing.":
        (*(lambda c, e=e: _sum(c, lambda q, p: _inside(q, p) if q > e else 0) for e in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)),
         *(lambda c, e=e: _sum(c, lambda q, p: _inside(q, p) if p > e else 0) for e in (0.1, 1e-2, 1e-3))),
    "It is n times the distance, or the n-th part.":
        (lambda c: c.n * _sum(c, _inside), lambda c: _sum(c, _inside) / c.n),
    "Every answer counts as equally likely in the model. The model has a p for each.":
        (lambda c: _sum(c, lambda q, p: _inside(q, 1 / len(c.p))),
         lambda c: _sum(c._replace(p=[1.0] * len(c.p)), _inside, _by_levels)),
    _BY_HEART:
        (lambda c: 0.3164, lambda c: 0.31637, lambda c: 0.0),
    "n makes no difference. Was a number put in its place?":
        (*(_other_q(lambda c, n=n: c._replace(n=n)) for n in (1, 2, 3, 4, 10)),),
    "n is taken for one draw more, or one less.":
        (_other_q(lambda c: c._replace(n=c.n + 1)), _other_q(lambda c: c._replace(n=max(1, c.n - 1)))),
    "The rewards make no difference: their places in the row, or the probabilities, were taken for them.":
        (_other_q(lambda c: c._replace(rewards=[float(i) for i in range(len(c.p))])),
         _other_q(lambda c: c._replace(rewards=[float(-i) for i in range(len(c.p))])),
         _other_q(lambda c: c._replace(rewards=c.shares)),
         _of_weights(lambda p, r, n: p**n), _of_weights(lambda p, r, n: 1 - (1 - p) ** n),
         _of_weights(lambda p, r, n: 1.0)),
    "It is the worst of n that is kept. The highest reward wins.":
        (_other_q(lambda c: c._replace(rewards=[-r for r in c.rewards])),),
    "q is a softmax of the rewards, or p weighed by their exponentials. The best of n is another distribution: "
    "best_of_n_probabilities gives it.":
        (_of_weights(lambda p, r, n: math.exp(r)), _of_weights(lambda p, r, n: p * math.exp(r)),
         _of_weights(lambda p, r, n: math.exp(n * r)), _of_weights(lambda p, r, n: p * math.exp(n * r))),
    "Equally good answers are told apart by their places. best_of_n_probabilities gives a q that shares rightly.":
        (_other_q(lambda c: _in_order(c, 1)), _other_q(lambda c: _in_order(c, -1))),
    "The distance is rounded. The whole number is asked for.":
        (*(lambda c, n=n: round(_sum(c, _inside), n) for n in range(5)),),
}
_KL_LOST = {
    "p is divided by the sum of those answers that are left. An answer that never wins still has its share of p.":
        (lambda c: _sum(c, _inside)
            + math.log(math.fsum(p for q, p in zip(_kept(c), c.shares, strict=True) if q > 0)),),
    "A small constant keeps the logarithm finite (added, or as the least that p may be). Here p itself is as small: "
    "leave out the answers that add nothing, and change no others.":
        tuple(way for e in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12) for way in _held(e)),
    "Where an answer never occurs, or never wins, all is said to be 0. Only that one answer adds nothing.":
        (lambda c: 0.0 if 0 in _kept(c) else _sum(c, _inside),),
}
_KL_NEAR = {
    "Two rewards that are close together count as equally good. Hand the rewards on as they are.": (lambda c: 0.0,),
}
_KL_ROUNDED = {
    "p is rounded here (three times 0.3333, for instance), so its sum is not quite 1. q was made from p divided by its "
    "sum, and the same p belongs into the distance: otherwise two equal models are a small distance apart.":
        (lambda c: _sum(c, _inside) - math.log(math.fsum(c.p)),
         lambda c: max(0.0, _sum(c, _inside) - math.log(math.fsum(c.p))),
         lambda c: abs(_sum(c, _inside) - math.log(math.fsum(c.p)))),
    "q does not belong to p here: p is rounded, so its sum is not quite 1, and one of both was divided by it "
    "while the other was not.":
        (lambda c: _sum(c, lambda q, p: _inside(q, p)) * math.fsum(c.p),
         lambda c: math.fsum(c.p) * (_sum(c, _inside) + math.log(math.fsum(c.p))),
         lambda c: _sum(c, _inside) + math.log(math.fsum(c.p))),
}
# fmt: on
