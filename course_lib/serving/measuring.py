"""How long a model really takes, and how many bytes it really holds.

Reading a prompt of n tokens costs about c n + d n^2: every token goes through the
weights, and every pair of tokens meets in attention. Writing one token after n
others costs about a + b n: the weights once, and every remembered key once. Of
several timings the least is the best estimate, since whatever else a machine does
can only slow it down. Left out: the energy, and several machines.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, thread_time

import torch
from torch import Tensor, nn

from course_lib.attention import KVCache
from course_lib.sampling.generate import generate


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, so that timings do not hang on free cores.

    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def clock(device: torch.device | str = "cpu") -> float:
    """Seconds on a clock, after the device has finished all that it was given.

    With one thread on a CPU it is the time in which that thread was at work: what
    other programs take away meanwhile does not count. Elsewhere it is the wall's.
    """
    device = torch.device(device)
    if device.type == "cuda":  # it works on after a call has returned
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1 and os.name == "posix":
        return thread_time()  # elsewhere it moves in steps of 16 milliseconds
    return perf_counter()


def least_seconds(
    work: Callable[[], object], repeats: int = 3, device: torch.device | str = "cpu"
) -> float:
    """The least time of `repeats` calls, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = clock(device)
        work()
        times.append(clock(device) - start)
    return min(times)


# ---- a text from beginning to end


@dataclass(frozen=True)
class Timing:
    """The seconds of a text: n tokens are a prefill and n - 1 steps."""

    prefill: float  # up to the first token
    steps: list[float]  # each token after it

    @property
    def total(self) -> float:
        return self.prefill + sum(self.steps)


def timed_generate(
    model: nn.Module, ids: Tensor, new_tokens: int, cache: bool = True
) -> Timing:
    """Write greedily and look at the clock before every token.

    ids (B, T) as in `generate`, all of whose rows write new_tokens tokens.
    """
    times = []

    def look(scores: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        times.append(clock(scores.device))
        return scores

    settings = {"temperature": 0, "cache": cache}
    generate(model, ids, min(new_tokens, 2), **settings)  # warms up
    start = clock(ids.device)
    generate(model, ids, new_tokens, rules=[look], **settings)
    gaps = [b - a for a, b in zip([start, *times], times, strict=False)]
    return Timing(gaps[0], gaps[1:])


# ---- one step at a time


def prefill_seconds(
    model: nn.Module, length: int, batch: int = 1, repeats: int = 3
) -> float:
    """Seconds to read prompts of this length and score the token after them."""
    like = model.embed.weight
    cache = KVCache(model.config, batch, length, like=like)
    ids = any_ids(model, batch, length)

    @torch.inference_mode()
    def read() -> None:
        cache.length = 0
        model.head(model.hidden(ids, cache=cache)[:, -1])

    return least_seconds(read, repeats, like.device)


def decode_seconds(
    model: nn.Module,
    length: int,
    batch: int = 1,
    repeats: int = 5,
    cache: bool = True,
) -> float:
    """Seconds to write one token after `length` others.

    With a cache the others are remembered; without one they are read again. What
    the texts say does not matter to the time, so it is random.
    """
    like = model.embed.weight
    memory = filled_cache(model, batch, length) if cache else None
    ids = any_ids(model, batch, 1 if cache else length + 1)

    @torch.inference_mode()
    def write() -> None:
        if memory is not None:
            memory.length = length
        model.head(model.hidden(ids, cache=memory)[:, -1])

    return least_seconds(write, repeats, like.device)


def any_ids(model: nn.Module, batch: int, length: int) -> Tensor:
    """Random ids (batch, length), the same each time."""
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocabulary, (batch, length), generator=draws)
    return ids.to(model.embed.weight.device)


def filled_cache(model: nn.Module, batch: int, length: int) -> KVCache:
    """A cache that remembers `length` tokens of noise, with room for one more."""
    cache = KVCache(model.config, batch, length + 1, like=model.embed.weight)
    for memory in (*cache.keys, *cache.values):
        memory.normal_(generator=torch.Generator(memory.device).manual_seed(0))
    cache.length = length
    return cache


# ---- curves


def curve(
    seconds: Callable[[int], float], at: Sequence[int], rounds: int = 3
) -> list[float]:
    """The least time at each point, after several rounds through all of them.

    In turns, so that a slow moment of the machine spoils one round and no point.

    >>> curve(lambda n: 0.5 * n, at=[1, 2])
    [0.5, 1.0]
    """
    times = [[seconds(point) for point in at] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def fit_powers(
    x: Sequence[float], y: Sequence[float], powers: Sequence[int]
) -> list[float]:
    r"""The factors of $y \approx \sum_p c_p\, x^p$, in the order of the powers.

    x and y: measured pairs, y above 0. powers (0, 1) fit a line, (1, 2) a parabola
    through the origin. Least squares of *relative* errors: a timing is off by some
    per cent, be it short or long.

    >>> line = fit_powers([1, 2, 4], [5.0, 7.0, 11.0], powers=(0, 1))
    >>> [round(factor, 6) for factor in line]
    [3.0, 2.0]
    """
    x, y = (torch.tensor(values, dtype=torch.float64) for values in (x, y))
    assert len(x) == len(y) >= len(powers), f"{len(x)=} {len(y)=} {powers=}"
    assert (y > 0).all(), f"relative errors need values above 0: {y.min()=}"
    columns = torch.stack([x**p for p in powers], dim=1) / y.unsqueeze(1)
    return torch.linalg.lstsq(columns, torch.ones_like(y)).solution.tolist()


def power_sum(x: float, factors: Sequence[float], powers: Sequence[int]) -> float:
    """The fitted curve at x.

    >>> power_sum(4, [3.0, 2.0], powers=(0, 1))
    11.0
    """
    return sum(c * x**p for c, p in zip(factors, powers, strict=True))


# ---- bytes


def reserved_bytes(cache: KVCache) -> int:
    """Bytes that the cache has set aside for keys and values, used or not."""
    return sum(memory.nbytes for memory in (*cache.keys, *cache.values))


def held_bytes(cache: KVCache) -> int:
    """Bytes of those keys and values that it remembers now.

    >>> from course_lib.transformer import Config
    >>> config = Config(width=8, heads=4, kv_heads=2, layers=3)
    >>> cache = KVCache(config, batch=1, capacity=10)
    >>> cache.length = 5
    >>> held_bytes(cache), reserved_bytes(cache)
    (480, 960)
    """
    return reserved_bytes(cache) * cache.length // cache.capacity
