r"""What more samples buy: pass@k and the vote of the majority.

pass@k asks whether *any* of k answers is right (somebody must be able to tell), the
majority needs nobody. Both are estimated from n ≥ k answers to each question without
the noise of one particular choice: pass@k in closed form (Chen et al. 2021, eq. 1),
the vote by drawing. Left out: votes weighted by a reward model.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import torch


def pass_at_k(n: int, right: int, k: int) -> float:
    r"""The chance that k of n hold a right one: $1 - \binom{n-c}{k}/\binom{n}{k}$.

    right: c of the n answers are right. The mean over questions is unbiased, which
    $1 - (1 - c/n)^k$ is not: that one draws an answer twice, and finds less.

    How: the ways to choose k wrong ones, over all ways to choose k.

    >>> pass_at_k(n=4, right=1, k=2), pass_at_k(n=4, right=3, k=2)
    (0.5, 1.0)
    """
    if not (0 <= right <= n and 1 <= k <= n):
        raise ValueError(
            f"Of {n} answers {right} cannot be right, or {k} cannot be drawn."
        )
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def majority_vote(answers: Sequence[Hashable | None]) -> Hashable | None:
    """The answer given most often; of equally frequent ones the first to be given.

    None is no answer and has no vote; if nobody answers, the vote is None.

    How: count all but None; the largest count, and on a tie the one seen first.

    >>> majority_vote([24, 14, None, 14]), majority_vote([None, None])
    (14, None)
    """
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts, key=counts.get, default=None)


def majority_at_k(
    answers: Sequence[Hashable | None], right: Hashable, k: int, draws: int = 200,
    generator: torch.Generator | None = None,
) -> float:  # fmt: skip
    """How often the vote of k answers from a pool is right, over some draws.

    answers: n ≥ k answers to one question, in the order given. All n at once need
    one draw only.

    >>> majority_at_k([14, 24, 14], right=14, k=3)
    1.0
    """
    if not 1 <= k <= len(answers):
        raise ValueError(f"There are {len(answers)} answers: {k} cannot be drawn.")
    won = 0
    for _ in range(draws):
        chosen = torch.randperm(len(answers), generator=generator)[:k].tolist()
        won += majority_vote([answers[i] for i in chosen]) == right
    return won / draws
