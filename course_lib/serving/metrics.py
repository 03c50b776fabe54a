"""What people who use a server feel, and what those who pay for it count.

A user feels the time to the first token and the time of each one after it; the
owner counts tokens and requests per second. How many requests are in flight at
once is a third thing, tied to the others by Little's law (1961): their mean number
is the requests per second times the mean time that one stays. Left out:
percentiles, queues that turn requests away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What somebody asks for, and when."""

    arrival: float  # seconds
    prompt: int  # tokens to read
    new: int  # tokens to write

    def __post_init__(self):
        if min(self.prompt, self.new) < 1 or not 0 <= self.arrival < math.inf:
            raise ValueError(
                f"A request has a time, and tokens to read and to write: {self}."
            )


@dataclass(frozen=True)
class Served:
    """A request that was answered: the times of its first and of its last token."""

    request: Request
    first: float  # seconds, on the clock of the arrival
    last: float

    def __post_init__(self):
        in_order = self.request.arrival <= self.first <= self.last
        assert in_order, f"arrival, first and last token come in this order: {self}"


def time_to_first_token(one: Served) -> float:
    """TTFT: from the arrival to the first token, in seconds; waiting is part of it.

    >>> asked = Request(1.0, prompt=5, new=3)
    >>> time_to_first_token(Served(asked, first=4.0, last=6.0))
    3.0
    """
    return one.first - one.request.arrival


def time_per_token(one: Served) -> float:
    """TPOT: the mean time of a token after the first, in seconds.

    nan if there is one token only, since then nothing follows it.

    How: the first token is no part of it, so n tokens make n - 1 steps.

    >>> asked = Request(1.0, prompt=5, new=3)
    >>> time_per_token(Served(asked, first=4.0, last=6.0))
    1.0
    """
    steps = one.request.new - 1
    return (one.last - one.first) / steps if steps else math.nan


def latency(one: Served) -> float:
    """From the arrival to the last token, in seconds.

    >>> latency(Served(Request(1.0, prompt=5, new=3), first=4.0, last=6.0))
    5.0
    """
    return one.last - one.request.arrival


def duration(served: Sequence[Served]) -> float:
    """From the first arrival to the last token of all, in seconds.

    >>> duration([Served(Request(1.0, prompt=5, new=3), first=4.0, last=6.0)])
    5.0
    """
    assert served, "nothing was served, so no time passed"
    begin = min(one.request.arrival for one in served)
    return max(one.last for one in served) - begin


def throughput(served: Sequence[Served]) -> tuple[float, float]:
    """New tokens per second and requests per second, over the whole duration.

    >>> throughput([Served(Request(1.0, prompt=5, new=3), first=4.0, last=6.0)])
    (0.6, 0.2)
    """
    seconds = duration(served)
    return sum(one.request.new for one in served) / seconds, len(served) / seconds


def concurrency(served: Sequence[Served]) -> float:
    """The mean number of requests in flight: arrived, and not yet answered in full.

    How: walk from event to event, an arrival or a last token; between two of them
    the number stays, and it counts for as long as that lasts.

    >>> one = Served(Request(0.0, prompt=5, new=3), first=1.0, last=2.0)
    >>> other = Served(Request(1.0, prompt=5, new=3), first=3.0, last=4.0)
    >>> concurrency([one, other])
    1.25
    """
    events = [(one.request.arrival, 1) for one in served]
    events = sorted(events + [(one.last, -1) for one in served])
    flying = area = 0.0
    before = events[0][0]
    for time, change in events:
        area += flying * (time - before)
        flying, before = flying + change, time
    return area / duration(served)


def summary(served: Sequence[Served]) -> dict[str, float]:
    """All of it, each by its usual name; the times are means over requests."""
    per_token = [time_per_token(one) for one in served if one.request.new > 1]
    tokens, requests = throughput(served)
    return {
        "ttft": sum(map(time_to_first_token, served)) / len(served),
        "tpot": sum(per_token) / len(per_token) if per_token else math.nan,
        "latency": sum(map(latency, served)) / len(served),
        "tokens_per_second": tokens,
        "requests_per_second": requests,
        "concurrency": concurrency(served),
    }
