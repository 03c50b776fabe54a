"""Which requests share a batch: whole batches, or a new request in every free row.

A static batch runs until its longest answer is done, and rows that are done earlier
wait. A continuous batch gives a free row to the next request before every step (Yu
et al. 2022, "iteration-level scheduling"). Nothing is random, and no model runs: the
time of a step comes from functions, so rules can be compared at no cost. Every row
writes one token in a step; a row that has just joined reads its prompt in the same
step. Left out: prompts read in pieces, rows that are pushed out when memory ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_lib.serving.metrics import Request, Served

IDLE = -1  # in a picture of rows and steps: nobody writes here

Prefill = Callable[[int], float]  # tokens of a prompt to seconds they add to a step
Step = Callable[[int, int], float]  # rows, and tokens they remember, to seconds


@dataclass(frozen=True)
class Seat:
    """A row of the batch that a request holds."""

    number: int  # of the request
    prompt: int
    left: int  # tokens still to be written
    written: int = 0

    @property
    def remembered(self) -> int:
        """Tokens whose keys and values the next step reads; at first none."""
        return self.prompt + self.written if self.written else 0


@dataclass(frozen=True)
class Run:
    """What happened: requests in the order asked, and who wrote in each step."""

    served: list[Served]
    ends: list[float]  # when each step ended, in seconds
    rows: list[list[int]]  # for each step: who writes in each row, or IDLE

    @property
    def occupancy(self) -> Tensor:
        """(slots, steps): the number of the request that writes there, or IDLE."""
        return torch.tensor(self.rows).T

    @property
    def busy(self) -> float:
        """The share of places, rows times steps, in which a token was written."""
        return (self.occupancy != IDLE).float().mean().item()


def static_batches(
    requests: Sequence[Request],
    slots: int,
    step: Step,
    prefill: Prefill | None = None,
) -> Run:
    """Take what waits, up to `slots`, and run until the longest answer is done.

    A batch does not wait to be full. Rows that are done are computed on, in vain.
    prefill: None = reading a prompt adds nothing to a step.

    >>> asked = [Request(0.0, prompt=1, new=n) for n in (3, 1, 2)]
    >>> static_batches(asked, slots=2, step=lambda rows, tokens: 1.0).occupancy
    tensor([[ 0,  0,  0,  2,  2],
            [ 1, -1, -1, -1, -1]])
    """
    return simulate(requests, slots, step, prefill, keep=True)


def continuous_batches(
    requests: Sequence[Request],
    slots: int,
    step: Step,
    prefill: Prefill | None = None,
) -> Run:
    """Before every step, give each free row to the request that has waited longest.

    >>> asked = [Request(0.0, prompt=1, new=n) for n in (3, 1, 2)]
    >>> continuous_batches(asked, slots=2, step=lambda rows, tokens: 1.0).occupancy
    tensor([[0, 0, 0],
            [1, 2, 2]])
    """
    return simulate(requests, slots, step, prefill, keep=False)


def simulate(
    requests: Sequence[Request],
    slots: int,
    step: Step,
    prefill: Prefill | None,
    keep: bool,
) -> Run:
    """Step after step until all are served; keep: rows stay until all are done."""
    check_trace(requests, slots)
    queue = sorted(range(len(requests)), key=lambda i: requests[i].arrival)
    seats: list[Seat | None] = [None] * slots
    ends, rows = [], []
    now = requests[queue[0]].arrival
    while queue or any(seats):
        if not any(seats):  # then time passes until somebody comes
            now = max(now, requests[queue[0]].arrival)
        if not keep or not any(seats):
            seats = admit(seats, queue, requests, now)
        now += cost([seat for seat in seats if seat], step, prefill)
        ends.append(now)
        rows.append([seat.number if seat and seat.left else IDLE for seat in seats])
        seats = after_a_step(seats, keep)
    return Run(answers(requests, ends, rows), ends, rows)


def answers(
    requests: Sequence[Request], ends: Sequence[float], rows: Sequence[Sequence[int]]
) -> list[Served]:
    """When each request got its first and last token, from who wrote when."""
    first, last = {}, {}
    for end, writing in zip(ends, rows, strict=True):
        for number in writing:
            first.setdefault(number, end)
            last[number] = end
    return [Served(asked, first[i], last[i]) for i, asked in enumerate(requests)]


def admit(
    seats: list[Seat | None],
    queue: list[int],
    requests: Sequence[Request],
    now: float,
) -> list[Seat | None]:
    """Free rows to those who have arrived, in their order; they leave the queue."""
    filled = list(seats)
    for row, seat in enumerate(seats):
        if seat is None and queue and requests[queue[0]].arrival <= now:
            number = queue.pop(0)
            filled[row] = Seat(number, requests[number].prompt, requests[number].new)
    return filled


def cost(seats: Sequence[Seat], step: Step, prefill: Prefill | None) -> float:
    """Seconds of one step: all rows together, and the prompts of who joined."""
    seconds = step(len(seats), sum(seat.remembered for seat in seats))
    if prefill is not None:
        seconds += sum(prefill(seat.prompt) for seat in seats if seat.written == 0)
    return seconds


def after_a_step(seats: Sequence[Seat | None], keep: bool) -> list[Seat | None]:
    """One token more in each row; who is done leaves, or stays until all are."""
    seats = [
        seat and replace(seat, left=max(seat.left - 1, 0), written=seat.written + 1)
        for seat in seats
    ]
    if keep and any(seat and seat.left for seat in seats):
        return seats
    return [seat if seat and seat.left else None for seat in seats]


def random_requests(
    count: int,
    per_second: float,
    longest: int,
    generator: torch.Generator | None = None,
    prompt: int = 32,
) -> list[Request]:
    """People who come by chance, and answers that are short as often as long.

    The gaps between arrivals are exponential with mean 1 / per_second, as if
    nobody knew of the others; answers have 1 to `longest` tokens, each as likely.
    """
    chances = torch.rand(count, generator=generator, dtype=torch.float64)
    arrivals = (-torch.log1p(-chances) / per_second).cumsum(dim=0).tolist()
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    pairs = zip(arrivals, lengths, strict=True)
    return [Request(at, prompt, new) for at, new in pairs]


def check_trace(requests: Sequence[Request], slots: int) -> None:
    """Answer a request that cannot be met in one sentence."""
    if slots < 1:
        raise ValueError(f"A batch has at least one row, not {slots}.")
    if not requests:
        raise ValueError("There is no request to serve.")
