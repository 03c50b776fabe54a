"""Check of lesson 11: the search for scales that protect what is loud.

A store may be anything that gives a matrix back. One kind here rounds; another plans
what is left of a matrix at each strength, so that the best one by the squares of the
outputs is not the best by any other measure. The answers that prove it are in
`tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask, close, expect, number, told_apart
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.quantization import scaling

SILENT = 1e-4  # of the loudest: the floor of the lines that are given
CLEAR = 1.01  # how much worse the second best is, at least


class Case(NamedTuple):
    """What an answer is given; where: words for the message."""

    weights: Tensor
    inputs: Tensor
    store: Callable
    steps: int
    where: str


@check(
    scaling.awq_scale_search,
    proved="Paper numbers, the first of equals, planned and real rounding, loud and silent inputs, any "
    "number of steps; the scales have a middle of 1.",
)
def awq_scale_search(answer, draw):
    silent = "with an input that is 0 always"
    _compare(
        answer,
        _all_alike(draw),
        _planned(draw, scaling.STEPS),
        _real(draw, Steps, 8, torch.float64, "with eight steps"),
        _real(draw, Rows, 5, torch.float32, "on quiet inputs", loud=2**-14),
        _real(draw, Rows, 7, torch.float32, silent, silent=True, loud=2**12),
        _best_is(draw, 0, 5, "where plain rounding is best"),
        _best_is(draw, 2, 3, "where the last strength is best"),
    )


# --- stores -----------------------------------------------------------------------------


class Rows:
    """Seven values for each row of a matrix."""

    def __init__(self, weights: Tensor):
        step = weights.abs().amax(dim=1, keepdim=True) / 3
        self.matrix = (weights / step).round() * step

    def __call__(self) -> Tensor:
        return self.matrix.clone()


class Steps:
    """One step for all matrices: here the middle of the scales counts."""

    def __init__(self, weights: Tensor):
        self.matrix = (weights / 0.4).round() * 0.4

    def __call__(self) -> Tensor:
        return self.matrix.clone()


class Planned:
    """What is left of `weights` at strength i / steps is planned: weights + left[i]."""

    def __init__(self, weights: Tensor, sizes: Tensor, left: Tensor):
        self.weights, self.left = weights, left  # left (steps + 1, out, in)
        self.loudest, self.quietest = int(sizes.argmax()), int(sizes.argmin())
        self.width = (sizes.max() / sizes.min()).log().item()

    def __call__(self, given: Tensor) -> Callable[[], Tensor]:
        """The strength is read off the two columns that differ most; below 0, −4 / steps is the best."""
        if given.shape != self.weights.shape:
            return given.clone
        by = (given / self.weights)[0]
        power = (by[self.loudest] / by[self.quietest]).abs().log().item() / self.width
        exact = power * (len(self.left) - 1)
        exact = exact if math.isfinite(exact) else 0.0
        place = round(exact)
        if 0 <= place < len(self.left):
            left = self.left[place] * (1 + 0.05 * abs(exact - place))
        else:
            left = self.left[0] * (0.9 if place == -4 else 1 + 0.01 * abs(place))
        return (given * (1 + left / self.weights)).clone


# --- cases ------------------------------------------------------------------------------


def _all_alike(draw: torch.Generator) -> Case:
    """All scales are 1 and all losses equal."""
    inputs = torch.randint(2, (6, 3), generator=draw).float() * 2 - 1
    weights = torch.randn(4, 3, generator=draw)
    return Case(
        weights, inputs, Rows, scaling.STEPS, "with inputs that are all 1 or −1"
    )


def _planned(draw: torch.Generator, steps: int) -> Case:
    """Best by the squares of the outputs is one strength, by any other measure another.

    Inputs: loud, quiet, even (as often below 0 as above), of one sign, and of one token.
    """
    out, b = 8, 0.05
    loud, quiet, even, above, lone = torch.randperm(5, generator=draw).tolist()
    inputs = torch.ones(8, 5, dtype=torch.float64)
    waves = 1 + 0.1 * torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    inputs[:, loud], inputs[:, quiet], inputs[:, above] = (
        16 * waves,
        0.06 * waves,
        waves,
    )
    inputs[torch.randperm(8, generator=draw)[:4], even] = -1.0
    inputs[:, lone] = 0.0
    inputs[int(torch.randint(8, (), generator=draw)), lone] = 24.0
    weights = torch.randn(out, 5, generator=draw).double()
    weights += weights.sign() * 0.3
    left = torch.zeros(steps + 1, out, 5, dtype=torch.float64)
    more = 1 + torch.rand(steps + 1, 1, generator=draw)  # all others, in any order
    left[:, :, even], left[:, :, loud] = 6 * b * more, 0.1 * b / 16
    more[:2] = torch.tensor([[1.0], [1.5]])  # it gets worse before it gets better
    # the best at an odd place, which half as many steps do not have
    squares = 3 + 2 * int(torch.randint(steps // 2 - 2, (), generator=draw))
    places = (2 + torch.randperm(steps - 2, generator=draw)).tolist()
    places.remove(squares)
    matrix, plain, unsigned, steady, flat = places[:5]
    # the last: 1, which is not tried
    left[[squares, matrix, plain, unsigned, steady, flat, steps]] = 0.0
    left[squares, 0, [even, above]] = 8**0.5 * b
    left[steady, 3, above] = 5 * b
    left[flat, :, loud] = 1.8 * b / 16 * torch.tensor([1.0] * 5 + [-1.0] * 3).double()
    left[flat, :, quiet] = b
    left[matrix, :, loud] = -2 * b / 16
    left[plain, 1, lone] = 16 * b / 24
    left[unsigned, 2, even], left[unsigned, 2, above] = 4 * b, -4 * b
    store = Planned(weights, inputs.abs().mean(dim=0), left)
    return Case(weights, inputs, store, steps, "with a store that plans what is lost")


def _best_is(draw: torch.Generator, place: int, steps: int, where: str) -> Case:
    weights, inputs = _drawn(draw, 3, 4, 5)
    sizes = inputs.abs().mean(dim=0).double()
    left = 0.1 + torch.rand(steps + 1, 1, 1, generator=draw, dtype=torch.float64)
    left = left.repeat(1, 3, 4)
    left[place] = 0.01
    store = Planned(weights.double(), sizes, left)
    return Case(weights.double(), inputs.double(), store, steps, where)


def _drawn(draw: torch.Generator, out: int, width: int, N: int) -> tuple[Tensor, ...]:
    """Views; inputs from quiet to loud in a drawn order."""
    order = torch.randperm(width, generator=draw)
    sizes = torch.logspace(-1.2, 1.2, width)[order]
    inputs = torch.randn(width, N + 1, generator=draw).T[1:] * sizes
    return torch.randn(width, out, generator=draw).T, inputs


def _real(
    draw: torch.Generator,
    store: Callable,
    steps: int,
    kind: torch.dtype,
    where: str,
    silent: bool = False,
    loud: float = 1.0,
) -> Case:
    """Rounding for which one strength above 0 is clearly the best."""
    for _ in range(60):
        weights, inputs = (x.to(kind) for x in _drawn(draw, 5, 6, 24))
        if silent:
            inputs[:, 2] = 0.0
        case = Case(weights, inputs * loud, store, steps, where)
        losses = _search(case)[2]
        least, second = losses.sort().values[:2]
        if losses.argmin() > 0 and second > CLEAR * least:
            return case
    raise AssertionError("no clear case was drawn")


# --- what should come, and what comes of mistakes -----------------------------------------


def _mean_size(case: Case) -> Tensor:
    return case.inputs.abs().mean(dim=0)


def _middle(scales: Tensor) -> Tensor:
    return scales / (scales.max() * scales.min()).sqrt()


def _back(rounded: Tensor, scales: Tensor) -> Tensor:
    return rounded / scales


def _squares(case: Case, rounded: Tensor) -> Tensor:
    return (case.inputs @ (rounded - case.weights).T).square().mean()


def _search(
    case: Case,
    size: Callable = _mean_size,
    middle: Callable = _middle,
    into: Callable = lambda weights, scales: weights * scales,
    back: Callable = _back,
    loss: Callable = _squares,
    strengths: Callable = lambda n: [i / n for i in range(n)],
    power: Callable = torch.pow,
    floor: float = SILENT,
    pick: Callable = torch.argmin,
) -> tuple[Tensor, float, Tensor]:
    """Scales, strength and all losses, with something done otherwise."""
    sizes = size(case)
    sizes = sizes.clamp(min=floor * sizes.max())
    tried, losses = [], []
    for strength in strengths(case.steps):
        scales = middle(power(sizes, strength))
        rounded = case.store(into(case.weights, scales))()
        losses.append(loss(case, back(rounded, scales)))
        tried.append((scales, strength))
    losses = torch.stack(losses)
    losses = losses.where(losses.isfinite(), math.inf)
    return *tried[int(pick(losses))], losses


def _outputs(case: Case, rounded: Tensor) -> Tensor:
    return case.inputs @ (rounded - case.weights).T


def _last_least(losses: Tensor) -> Tensor:
    return (losses == losses.min()).nonzero().max()


def _last(losses: Tensor) -> int:
    return len(losses) - 1


# fmt: off
_MISTAKES: dict[str, tuple[dict, ...]] = {
    "Strength 1 is tried as well; they end below 1.": ({"strengths": lambda n: [i / n for i in range(n + 1)]},),
    "The strengths are others: 0, 1/steps, 2/steps and so on, all below 1.": (
        {"strengths": lambda n: [i / (n - 1) for i in range(n)]}, {"strengths": lambda n: [(i + 1) / n for i in range(n)]},
        {"strengths": lambda n: [i / (n + 1) for i in range(n)]}, {"strengths": lambda n: [i / n for i in range(max(1, n - 1))]}, {"strengths": lambda n: [i / n for i in range(1, n)]}, {"strengths": lambda n: [*range(n)]}),
    "Always 20 strengths were tried; `steps` says how many.": ({"strengths": lambda n: [i / 20 for i in range(20)]},),
    "Of the mean squared change, the largest was taken; the least wins.": ({"pick": torch.argmax},),
    "The last strength was returned; the best is wanted.": ({"pick": _last},),
    "Of equal losses the last was taken; the first wins.": ({"pick": _last_least},),
    "The loss compares the matrices; what counts is what comes out for the inputs.": (
        {"loss": lambda c, r: (r - c.weights).square().mean()}, {"loss": lambda c, r: (r - c.weights).abs().mean()},
        {"loss": lambda c, r: (r - c.weights).abs().max()}),
    "The loss takes the sizes of the changes; wanted are their squares.": ({"loss": lambda c, r: _outputs(c, r).abs().mean()},),
    "The loss is how far the changes lie from their own mean; they are changes from what the layer said, so squares of all of it.": (
        {"loss": lambda c, r: _outputs(c, r).var()}, {"loss": lambda c, r: _outputs(c, r).var(dim=0).mean()}, {"loss": lambda c, r: _outputs(c, r).std()}),
    "The loss is the largest change of an output; wanted is the mean of the squares.": ({"loss": lambda c, r: _outputs(c, r).abs().max()},),
    "The loss adds up changes with their signs, and they cancel: square them first.": (
        {"loss": lambda c, r: _outputs(c, r).mean()}, {"loss": lambda c, r: -_outputs(c, r).mean()}, {"loss": lambda c, r: _outputs(c, r).mean().abs()},
        {"loss": lambda c, r: _outputs(c, r).mean().square()}),
    "Inputs lost their signs for good: sizes are for the scales; what comes out is that of the inputs themselves.": (
        {"loss": lambda c, r: (c.inputs.abs() @ (r - c.weights).T).square().mean()},),
    "After rounding the columns are to be *divided* by their scales again; as it is, every strength but 0 says something else.": (
        {"back": lambda r, s: r}, {"back": lambda r, s: r * s}),
    "Columns were divided by their scales before rounding and multiplied after: that protects the quiet ones.": (
        {"into": lambda w, s: w / s, "back": lambda r, s: r * s},),
    "The scales are turned round: the loud columns get small ones.": ({"power": lambda x, a: x**-a},),
    "The scales have no middle of 1: they were not divided by it.": ({"middle": lambda s: s},),
    "The middle lacks its root: it is the root of largest times smallest.": ({"middle": lambda s: s / (s.max() * s.min())},),
    "The scales were multiplied by their middle; divide, and it becomes 1.": ({"middle": lambda s: s * (s.max() * s.min()).sqrt()},),
    "Another middle was taken: it is the root of the largest times the smallest scale.": (
        {"middle": lambda s: s / s.mean()}, {"middle": lambda s: s / s.max()}, {"middle": lambda s: s / s.min()}, {"middle": lambda s: s / s.median()},
        {"middle": lambda s: s / s.log().mean().exp()}, {"middle": lambda s: s / s.norm()}, {"middle": lambda s: s / s.sum()},
        {"middle": lambda s: s / ((s.max() + s.min()) / 2)}, {"middle": lambda s: s / s.square().mean().sqrt()}),
    "The largest size of an input was taken; wanted is its mean size.": ({"size": lambda c: c.inputs.abs().amax(dim=0)},),
    "Inputs below 0 and above cancel: their *sizes* have a mean.": (
        {"size": lambda c: c.inputs.mean(dim=0)}, {"size": lambda c: c.inputs.mean(dim=0).abs()}),
    "The mean size comes from squares; plain sizes are wanted.": (
        {"size": lambda c: c.inputs.square().mean(dim=0).sqrt()}, {"size": lambda c: c.inputs.square().mean(dim=0)}, {"size": lambda c: c.inputs.std(dim=0)}),
    "The sizes are those of the weights; wanted are those of the inputs.": (
        {"size": lambda c: c.weights.abs().mean(dim=0)}, {"size": lambda c: c.weights.abs().amax(dim=0)}),
    "The floor under the mean sizes is gone or another: it was given.": ({"floor": 1e-8}, {"floor": 0.0}, {"floor": 1e-5}, {"floor": 1e-3}, {"floor": 1e-2}),
    "Unless `steps` says another number, 20 strengths are tried.": (
        {"strengths": lambda n: [i / 10 for i in range(10)] if n == scaling.STEPS else [i / n for i in range(n)]},),
}
# fmt: on


# --- asking -----------------------------------------------------------------------------


def _asked(answer: Callable, case: Case, seen: list[bool]) -> tuple[Tensor, float]:
    """seen: of each matrix that is stored, whether it is just the weights."""

    def store(matrix: Tensor) -> Callable[[], Tensor]:
        same = matrix.shape == case.weights.shape and close(matrix, case.weights)
        seen.append(same)
        return case.store(matrix)

    options = {} if case.steps == scaling.STEPS else {"steps": case.steps}
    got = ask(answer, case.weights, case.inputs, store, **options)
    width = case.weights.shape[1]
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned {_kind(got)}; two things are wanted, the scales and their strength.",
    )
    scales, strength = got
    expect(
        isinstance(scales, Tensor) and scales.numel() > 1,
        f"First come the scales, a tensor, then their strength; here {_kind(scales)} comes first.",
    )
    # fmt: off
    shapes = {
        (case.weights.shape[0],): "That is one for each output; each *input* has its own.",
        tuple(case.weights.shape): "That is the shape of the matrix.",
        (1, width): "A dimension is too many.", (len(case.inputs), width): "That is one for each token.",
    }
    # fmt: on
    expect(
        tuple(scales.shape) == (width,),
        f"The scales have the shape {tuple(scales.shape)}; ({width},) is wanted, one for each input. "
        f"{shapes.get(tuple(scales.shape), '')}",
    )
    expect(
        scales.dtype == case.weights.dtype,
        f"From {case.weights.dtype} came scales in {scales.dtype}. Stay in the type of the weights.",
    )
    return scales.detach(), number(strength, "the strength")


def _kind(got: object) -> str:
    if isinstance(got, tuple | list):
        return f"a {type(got).__name__} of {len(got)} things"
    if isinstance(got, Tensor):
        return f"a tensor of the shape {tuple(got.shape)}"
    return f"a {type(got).__name__}"


def _compare(answer: Callable, *cases: Case) -> None:
    """All cases first: what is wrong in one of them may be due to several mistakes."""
    wrong, got, seen = [], [], []
    for case in cases:
        try:
            got.append(_asked(answer, case, seen))
        except Exception:
            if not wrong:
                raise
            break
        want, alpha, _ = _search(case)
        if not _same(got[-1], want, alpha):
            wrong.append(len(got) - 1)
    if wrong:
        expect(bool(seen), "It never calls `quantize_weight`, so nothing was tried.")
        expect(
            not all(seen),
            "Every matrix that it rounds is `weights` as they are. Their columns are multiplied by the scales first.",
        )
        _name(cases[: len(got)], got)
        _describe(cases[wrong[0]], *got[wrong[0]])


def _same(got: tuple[Tensor, float], scales: Tensor, strength: float) -> bool:
    return abs(got[1] - strength) < 1e-6 and close(got[0], scales)


def _name(cases: tuple[Case, ...], got: list[tuple[Tensor, float]]) -> None:
    """Fail with the mistake that explains what came in every case."""
    # the short searches first
    order = sorted(zip(got, cases, strict=True), key=lambda pair: pair[1].steps)
    for mistake, ways in _MISTAKES.items():
        for way in ways:
            if all(_same(one, *_search(case, **way)[:2]) for one, case in order):
                raise CheckFailed(mistake)


def _describe(case: Case, got: Tensor, strength: float) -> None:
    """One of the two is right, or neither."""
    want, alpha, losses = _search(case)
    place = strength * case.steps
    start = f"{case.where[0].upper()}{case.where[1:]}"
    expect(
        abs(place - round(place)) < 1e-4 and 0 <= strength < 1,
        f"{start} it returned the strength {strength:.4g}; with {case.steps} steps there are 0, 1/{case.steps} and so on, "
        "below 1.",
    )
    shown = told_apart(losses[round(place)].item(), losses.min().item())
    said = (
        f", and {alpha:.4g} comes before it with the same loss."
        if losses[round(place)] == losses.min()
        else f", whose mean squared change of outputs is {shown[0]}; that of {alpha:.4g} is {shown[1]}."
    )
    expect(
        abs(strength - alpha) < 1e-6,
        f"{start} it returned the strength {strength:.4g}{said}",
    )
    expect(
        not close(got, 1 / want),
        "The scales are turned round: one over those that belong to the strength.",
    )
    for other in (i / case.steps for i in range(case.steps)):
        scales = _middle(_mean_size(case).clamp(min=SILENT * _mean_size(case).max()) ** other)  # fmt: skip
        expect(
            not close(got, scales),
            f"{start} the strength {alpha:.4g} is right, but the scales belong to {other:.4g}. Keep both together.",
        )
    i = int((got / want - 1).abs().nan_to_num(math.inf).argmax())
    size = _mean_size(case)
    shown = told_apart(want[i].item(), got[i].item())
    raise CheckFailed(
        f"{start} the strength {alpha:.4g} is right, but the scales are not those that belong to it. An input with the mean size "
        f"{size[i]:.4g}, the largest being {size.max():.4g} and the smallest {size.min():.4g}, has {shown[0]}; yours has {shown[1]}."
    )
