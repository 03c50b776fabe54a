"""Fit Chinchilla's law to runs of one's own, and say how sure that is.

Differences of logarithms of losses through Huber's loss, several starts, LBFGS
(Hoffmann et al. 2022, eq. 3 and appendix D.2). Notable: the logarithms of N and D
are centred before the fit, since otherwise A and alpha can hardly be told apart.
The interval is a bootstrap (Efron 1979). Left out: weights of runs.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.scaling.laws import Chinchilla

DELTA = 1e-3  # where Huber's loss turns from a square into a line


def huber(residuals: Tensor, delta: float = DELTA) -> Tensor:
    r"""$r^2/2$ for small residuals, $\delta(|r| - \delta/2)$ for large ones.

    One bad run pulls no harder than a line. Any shape; returns the same shape.

    >>> huber(torch.tensor([0.5, 3.0]), delta=1.0)
    tensor([0.1250, 2.5000])
    """
    size = residuals.abs()
    return torch.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


def log_loss(theta: Tensor, log_n: Tensor, log_d: Tensor) -> Tensor:
    r"""Log of Chinchilla's law: $\log(\exp(a-\alpha n)+\exp(b-\beta d)+\exp(e))$.

    theta: a, alpha, b, beta and e, where a = log A, b = log B and e = log E; without
    e it is a law without a floor. log_n, log_d (R,): n and d, the logarithms of N and
    D. Returns (R,).

    >>> theta = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])
    >>> log_loss(theta, torch.zeros(1), torch.zeros(1)).exp()
    tensor([3.])
    """
    terms = [theta[0] - theta[1] * log_n, theta[2] - theta[3] * log_d]
    if len(theta) == 5:
        terms.append(theta[4].expand_as(log_n))
    return torch.stack(terms).logsumexp(dim=0)


def descend(
    theta: Tensor, objective: Callable, steps: int = 500
) -> tuple[Tensor, float]:
    """LBFGS from one start: where it ends, and the objective there.

    >>> end, value = descend(torch.zeros(1), lambda x: (x - 3).square().sum())
    >>> end.round(decimals=4), value < 1e-6
    (tensor([3.]), True)
    """
    theta = theta.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [theta], max_iter=steps, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-14, tolerance_change=1e-16,
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        value = objective(theta)
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        return theta.detach(), objective(theta).item()


def starts(log_losses: Tensor, floor: bool = True) -> list[Tensor]:
    """Where descents begin: two exponents for each term, two heights of the floor."""
    low = log_losses.min().item()
    floors = (low - 0.1, low - 1.0) if floor else (None,)
    found = []
    for alpha, beta, e in itertools.product((0.2, 0.6), (0.2, 0.6), floors):
        theta = [low - 1.0, alpha, low - 1.0, beta] + ([] if e is None else [e])
        found.append(torch.tensor(theta, dtype=torch.float64))
    return found


def fit_theta(
    log_n: Tensor, log_d: Tensor, log_losses: Tensor, begin: list[Tensor]
) -> Tensor:
    """The theta of least summed Huber loss over all starts.

    log_n, log_d, log_losses (R,): one logarithm for each run. begin: starts, each a
    theta of 4 or 5 numbers as in `log_loss`. Returns the best end, a tensor like a
    start; an end whose value is not finite never counts.

    How: descend from each start, on Huber's loss of the differences of logarithms,
    summed; keep the end of the least finite value. (The sum may be divided by DELTA**2,
    which brings it to the order of 1, where descents stop less early.)

    >>> log_n, log_d = torch.tensor([[0.0, 0, 1, 1], [0.0, 1, 0, 1]]).double()
    >>> theta = torch.tensor([0.1, 0.5, 0.2, 0.3]).double()
    >>> measured = log_loss(theta, log_n, log_d)
    >>> begin = [theta * math.nan, theta + 0.1]
    >>> end = fit_theta(log_n, log_d, measured, begin)
    >>> (log_loss(end, log_n, log_d) - measured).abs().max().item() < 1e-6
    True
    """

    def objective(theta):
        residuals = log_loss(theta, log_n, log_d) - log_losses
        return huber(residuals).sum() / DELTA**2  # of order 1, as LBFGS likes it

    ends = [descend(theta, objective) for theta in begin]
    return min(ends, key=lambda end: end[1] if math.isfinite(end[1]) else math.inf)[0]


def by_squares(
    log_n: Tensor, log_d: Tensor, log_losses: Tensor, begin: list[Tensor]
) -> Tensor:
    """As `fit_theta`, but squares are summed: one bad run pulls as hard as it is off.

    >>> n = d = torch.arange(3.0).double()
    >>> theta = torch.tensor([0.1, 0.5, 0.2, 0.3]).double()
    >>> end = by_squares(n, d, log_loss(theta, n, d), [theta])
    >>> (end - theta).abs().max().item() < 1e-6
    True
    """

    def objective(theta):
        return (log_loss(theta, log_n, log_d) - log_losses).square().sum()

    ends = [descend(theta, objective) for theta in begin]
    return min(ends, key=lambda end: end[1] if math.isfinite(end[1]) else math.inf)[0]


def to_law(theta: Tensor, mean_n: float, mean_d: float) -> Chinchilla:
    """Undo centring and logarithms; a law without a floor has E = 0."""
    a, alpha, b, beta, *e = theta.tolist()
    A, B = math.exp(a + alpha * mean_n), math.exp(b + beta * mean_d)
    return Chinchilla(math.exp(e[0]) if e else 0.0, A, B, alpha, beta)


def check_runs(parameters: Tensor, tokens: Tensor, losses: Tensor) -> None:
    """Answer runs that cannot be fitted in one sentence."""
    if not parameters.shape == tokens.shape == losses.shape or losses.dim() != 1:
        raise ValueError(
            "A run has one size, one number of tokens and one loss, not "
            f"{tuple(parameters.shape)}, {tuple(tokens.shape)}, {tuple(losses.shape)}."
        )
    for name, values in (("sizes", parameters), ("tokens", tokens), ("losses", losses)):
        if not (values.isfinite() & (values > 0)).all():
            raise ValueError(f"All {name} must be finite and above 0: {values}.")
    if len(losses) < 5 or min(len(set(x.tolist())) for x in (parameters, tokens)) < 3:
        raise ValueError(
            "Five constants need five runs or more, with three or more different "
            f"sizes and numbers of tokens; there are {len(losses)} runs."
        )


def fit(
    parameters: Tensor,
    tokens: Tensor,
    losses: Tensor,
    floor: bool = True,
    fit_theta: Callable[..., Tensor] = fit_theta,
) -> Chinchilla:
    """Chinchilla's constants from runs: sizes, tokens and final losses, each (R,).

    floor=False fits a law without E, to see what that does to extrapolation.
    fit_theta: finds the best theta for centred logarithms, as the one above.
    """
    check_runs(parameters, tokens, losses)
    n, d, log_losses = (x.double().log() for x in (parameters, tokens, losses))
    begin = starts(log_losses, floor)
    theta = fit_theta(n - n.mean(), d - d.mean(), log_losses, begin)
    return to_law(theta, n.mean().item(), d.mean().item())


def bootstrap(
    parameters: Tensor,
    tokens: Tensor,
    losses: Tensor,
    draws: int = 100,
    generator: torch.Generator | None = None,
    floor: bool = True,
    fit_theta: Callable[..., Tensor] = fit_theta,
) -> list[Chinchilla]:
    """Laws fitted to runs drawn again, with replacement, as many as there are.

    Each refit starts where the fit to all runs ended. floor, fit_theta: as in `fit`.
    """
    check_runs(parameters, tokens, losses)
    n, d, log_losses = (x.double().log() for x in (parameters, tokens, losses))
    mean_n, mean_d = n.mean().item(), d.mean().item()
    n, d = n - mean_n, d - mean_d
    best = fit_theta(n, d, log_losses, starts(log_losses, floor))
    rows = torch.randint(len(losses), (draws, len(losses)), generator=generator)
    refits = (fit_theta(n[row], d[row], log_losses[row], [best]) for row in rows)
    return [to_law(theta, mean_n, mean_d) for theta in refits]


def interval(values: list[float], coverage: float = 0.9) -> tuple[float, float]:
    """The middle share of the values: as much is cut off below as above.

    >>> [round(end, 3) for end in interval(list(range(101)), coverage=0.8)]
    [10.0, 90.0]
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is a share between 0 and 1, not {coverage}.")
    sides = torch.tensor([(1 - coverage) / 2, (1 + coverage) / 2], dtype=torch.float64)
    low, high = torch.tensor(values, dtype=torch.float64).quantile(sides).tolist()
    return low, high


def valley(sizes: Tensor, losses: Tensor) -> float:
    """The size of least loss at equal compute: the vertex of a parabola in log N.

    Hoffmann et al.'s second approach (section 3.2). sizes, losses (R,), R >= 3.

    How: least squares for three coefficients; the vertex is where the slope is 0.

    >>> sizes = torch.tensor([1.0, 10.0, 1000.0])
    >>> round(valley(sizes, (sizes.log10() - 2).square()), 3)
    100.0
    """
    x = sizes.double().log()
    columns = torch.stack([torch.ones_like(x), x, x**2], dim=1)  # (R, 3)
    c = torch.linalg.lstsq(columns, losses.double()[:, None]).solution[:, 0]
    if c[2] <= 0:
        raise ValueError("These losses bend downwards: they hold no valley.")
    return math.exp(-c[1] / (2 * c[2]))
