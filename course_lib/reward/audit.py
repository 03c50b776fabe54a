"""What a reward model really likes: accuracy, calibration, and the price of length.

Accuracy on held-out pairs says how often it is right, calibration whether it knows
how often. Neither shows a bias that the labels share. That takes comparisons in
which one thing differs and everything else is equal, or a look at the pairs in which
the better answer is the shorter one (Singhal et al. 2023 found length to be most of
what some reward models had learned). Left out: benchmarks with pairs from real
chats.
"""

import math
from typing import NamedTuple

from torch import Tensor

from course_lib.reward.losses import check_numbers


def check_pairs(chosen_rewards: Tensor, rejected_rewards: Tensor) -> None:
    """Two rows of numbers of one length, or a sentence about what they are."""
    if chosen_rewards.shape != rejected_rewards.shape:
        raise ValueError(
            f"Each chosen answer has its rejected one, but there are "
            f"{tuple(chosen_rewards.shape)} and {tuple(rejected_rewards.shape)} rewards."
        )
    check_numbers(chosen_rewards, "reward of a chosen answer")
    check_numbers(rejected_rewards, "reward of a rejected answer")


def pairwise_accuracy(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """How often the better answer got the higher reward; a tie counts one half.

    chosen_rewards, rejected_rewards (N,). Returns a scalar from 0 to 1: a model that
    says the same about everything has 0.5, like one that guesses.

    How: the mean over pairs of 1 (higher), 0.5 (equal) or 0 (lower).

    >>> pairwise_accuracy(torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0]))
    tensor(0.7500)
    """
    check_pairs(chosen_rewards, rejected_rewards)
    gaps = chosen_rewards - rejected_rewards
    return ((gaps.sign() + 1) / 2).mean()


def accuracy_error(accuracy: float, pairs: int) -> float:
    r"""The standard error of an accuracy on so many independent pairs.

    $\sqrt{a(1-a)/N}$; pairs that share an answer tell less than their number says.

    >>> accuracy_error(0.9, 100)
    0.03
    """
    assert 0 <= accuracy <= 1 <= pairs, f"a share of pairs: {accuracy=} {pairs=}"
    return math.sqrt(max(0.0, accuracy * (1 - accuracy)) / pairs)


# ---- does it know how sure it may be


class Calibration(NamedTuple):
    """Pairs by how sure the model was of its favourite; empty bins are left out."""

    predicted: Tensor  # mean probability of the favourite in each bin
    observed: Tensor  # share of its pairs in which the favourite was the chosen one
    counts: Tensor  # pairs in each bin


def calibration(
    chosen_rewards: Tensor, rejected_rewards: Tensor, bins: int = 5
) -> Calibration:
    r"""Of the pairs about which it is 80 % sure, are 80 % right?

    A model's favourite is the answer with the higher reward, and it is
    $\sigma(|\Delta|)$ sure of it: 0.5 to 1, cut into `bins` equal parts. Ties are
    half right.
    """
    check_pairs(chosen_rewards, rejected_rewards)
    gaps = (chosen_rewards - rejected_rewards).double()
    sure, right = gaps.abs().sigmoid(), (gaps.sign() + 1) / 2
    places = ((sure - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    counts = places.bincount(minlength=bins)
    kept = counts > 0
    means = [places.bincount(x, minlength=bins) / counts for x in (sure, right)]
    return Calibration(means[0][kept], means[1][kept], counts[kept])


def calibration_error(table: Calibration) -> float:
    r"""The mean distance between what was promised and what happened, over pairs.

    $\sum_b \frac{n_b}{N} |\text{observed}_b - \text{predicted}_b|$ (Guo et al. 2017).

    >>> sure, right = torch.tensor([0.6, 0.9]), torch.tensor([0.6, 0.5])
    >>> round(calibration_error(Calibration(sure, right, torch.tensor([3, 1]))), 3)
    0.1
    """
    distances = (table.observed - table.predicted).abs()
    return float((table.counts * distances).sum() / table.counts.sum())


# ---- what is length worth


def correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's correlation of two rows of numbers (N,), from -1 to 1.

    >>> round(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 4, 6])), 6)
    1.0
    """
    assert x.shape == y.shape, f"one y for each x: {x.shape=} {y.shape=}"
    check_numbers(x, "number")
    check_numbers(y, "number")
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    size = float(x.norm() * y.norm())
    if not size > 0:
        raise ValueError(
            "One row holds the same number everywhere: it varies with nothing."
        )
    return float((x * y).sum()) / size


class ByLength(NamedTuple):
    """Accuracy where the better answer is longer, and where it is shorter."""

    longer: float
    shorter: float
    longer_pairs: int
    shorter_pairs: int

    @property
    def drop(self) -> float:
        """What the model loses where length points the wrong way."""
        return self.longer - self.shorter


def accuracy_by_length(
    chosen_rewards: Tensor, rejected_rewards: Tensor, chosen_lengths: Tensor,
    rejected_lengths: Tensor,
) -> ByLength:  # fmt: skip
    """Pairwise accuracy apart for pairs whose better answer is longer or shorter.

    All (N,); pairs of equal length are left out. A judge who only counts words has 1
    and 0. A side without pairs is nan.

    >>> accuracy_by_length(*torch.tensor([[3.0, 5.0], [2.0, 6.0], [9, 4], [7, 8]]))
    ByLength(longer=1.0, shorter=0.0, longer_pairs=1, shorter_pairs=1)
    """
    check_pairs(chosen_rewards, rejected_rewards)
    assert chosen_lengths.shape == rejected_lengths.shape == chosen_rewards.shape, (
        f"a length for each reward: {chosen_lengths.shape=} {rejected_lengths.shape=}"
    )
    sides = chosen_lengths > rejected_lengths, chosen_lengths < rejected_lengths
    counts = [int(side.sum()) for side in sides]
    shares = [
        float(pairwise_accuracy(chosen_rewards[side], rejected_rewards[side]))
        if count
        else math.nan
        for side, count in zip(sides, counts, strict=True)
    ]
    return ByLength(*shares, *counts)


class Effect(NamedTuple):
    """What one change is worth to a judge, with its standard error."""

    mean: float
    error: float


def effect(before: Tensor, after: Tensor) -> Effect:
    """The mean change of the reward over controlled pairs, (N,) each, N at least 2.

    In a controlled pair one thing changes and nothing else does: the same right
    fact, with empty phrases or without.

    >>> effect(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0]))
    Effect(mean=2.0, error=0.0)
    """
    check_pairs(before, after)
    if len(before) < 2:
        raise ValueError("One pair tells no error: give at least two.")
    changes = (after - before).double()
    return Effect(float(changes.mean()), float(changes.std() / math.sqrt(len(changes))))


def best_line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The line of least squares through points (N,): its slope and its height at 0.

    >>> best_line(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]))
    (2.0, 1.0)
    """
    steep = correlation(x, y) * float(y.double().std() / x.double().std())
    return round(steep, 12), round(
        float(y.double().mean() - steep * x.double().mean()), 12
    )
