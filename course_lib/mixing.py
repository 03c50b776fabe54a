"""Mixing: how often each task is seen, and how much of the old life is kept.

A mix gives each sort of text its share, as in `corpus.stream`. Data sets differ a
thousandfold in size, so their sizes make bad shares: the largest drowns the others,
and equal shares repeat the smallest without end. T5 put a limit on the sizes and
flattened them with a temperature (Raffel et al. 2020, section 3.5.2). And some of
the texts from before, *replay*, keep a tuned model from forgetting them. Left out:
shares that change during training.
"""

from collections.abc import Hashable, Mapping, Sequence

Mix = dict[Hashable, float]


def mixture_weights(
    sizes: Sequence[float], temperature: float = 1.0, limit: float | None = None
) -> list[float]:
    r"""Shares of data sets of unequal sizes: $w_i \propto \min(n_i, K)^{1/\tau}$.

    sizes: examples n of each. temperature: 1 = in proportion; the higher, the more
    equal. limit: K, beyond which a data set counts as if it had no more. The shares
    add up to 1.

    How: limit, then the power, then divide by the sum.

    >>> mixture_weights([900, 100]), mixture_weights([900, 100], temperature=2)
    ([0.9, 0.1], [0.75, 0.25])
    >>> mixture_weights([900, 100], limit=300)
    [0.75, 0.25]
    """
    if min(sizes) <= 0 or temperature <= 0 or (limit is not None and limit <= 0):
        raise ValueError(
            "Sizes, temperature and limit must be above 0: "
            f"{sizes=} {temperature=} {limit=}."
        )
    powers = [min(n, limit or n) ** (1 / temperature) for n in sizes]
    return [power / sum(powers) for power in powers]


def with_replay(tasks: Mapping, replay: Mapping, share: float) -> Mix:
    """One mix of two: `share` of all texts comes from `replay`, the rest from tasks.

    tasks and replay: sorts and their weights, which need not add up to 1; within
    each of the two, proportions stay. A sort that stands in both gets both parts.

    How: divide each mix by its own sum, multiply by 1 − share or by share, add.

    >>> with_replay({"facts": 3, "sums": 1}, {"stories": 2}, share=0.2)
    {'facts': 0.6000000000000001, 'sums': 0.2, 'stories': 0.2}
    """
    if not 0 <= share <= 1:
        raise ValueError(f"The share of replay is between 0 and 1, not {share}.")
    mix: Mix = {}
    for sorts, part in ((tasks, 1 - share), (replay, share)):
        total = sum(sorts.values())
        for sort, weight in sorts.items():
            mix[sort] = mix.get(sort, 0.0) + part * weight / total
    return mix
