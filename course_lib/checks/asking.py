"""What the body of a check is made of: call an answer, look at what came back, name the mistake."""

import copy
import math
from collections.abc import Callable
from numbers import Real

import torch
from torch import Tensor

from course_lib.checks.exercises import CheckFailed

NO_GRADIENT = (
    "The values are right, but no gradient flows back, so nothing could be trained through it. Stay with "
    "tensors: no .item(), .tolist(), .detach(), no_grad, NumPy or torch.tensor(...) of a result."
)


def expect(condition: bool, mistake: str) -> None:
    """Fail with the mistake's name unless the condition holds."""
    if not condition:
        raise CheckFailed(mistake)


def ask(answer: Callable, *arguments: object, **options: object) -> object:
    """Call an answer; fail if it returns nothing or changes what it was given."""
    before = copy.deepcopy(arguments)
    result = answer(*arguments, **options)
    expect(
        result is not None,
        "It returned None. Is there a `return` line, and does every path reach one?",
    )
    expect(
        unchanged(before, arguments),
        "It changed its own input. Later lines still need that: work on a new list or tensor.",
    )
    return result


def ask_tensor(
    answer: Callable,
    *arguments: object,
    shape: tuple[int, ...],
    shapes: dict[tuple[int, ...], str] | None = None,
    **options: object,
) -> Tensor:
    """Call an answer and insist on a tensor of this shape; shapes names the mistakes behind other ones."""
    result = ask(answer, *arguments, **options)
    expect(
        isinstance(result, Tensor),
        f"It returned a {type(result).__name__}; a tensor is wanted.",
    )
    likely = (shapes or {}).get(
        tuple(result.shape), "Which dimension was summed away, or kept by mistake?"
    )
    expect(
        tuple(result.shape) == shape,
        f"It returned shape {tuple(result.shape)}; for this input {shape} is wanted. {likely}",
    )
    return result


def number(got: object, what: str) -> float:
    """Insist on one finite number; what is it, with its article: "the bytes"."""
    if getattr(got, "ndim", None) == 0:  # NumPy's and torch's single numbers
        got = got.item()
    expect(
        isinstance(got, Real),
        f"It returned a {type(got).__name__}; one number is wanted, {what}.",
    )
    expect(math.isfinite(got), f"It returned {got}; a finite number is wanted, {what}.")
    return float(got)


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Both numbers with as many digits as show that they differ."""
    for digits in range(4, 17):
        shown = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return shown


def ask_gradient(
    answer: Callable,
    start: Tensor,
    weights: Tensor | float = 1.0,
    cut: str = NO_GRADIENT,
) -> Tensor:
    """The gradient of the (weighted, summed) answer at start; fail with cut if there is no way back."""
    leaf = start.clone().requires_grad_()
    try:
        result = answer(leaf)
    except RuntimeError as error:
        expect("that requires grad" not in str(error), cut)  # NumPy's refusal
        raise
    expect(isinstance(result, Tensor) and result.requires_grad, cut)
    (gradient,) = torch.autograd.grad((result * weights).sum(), leaf, allow_unused=True)
    expect(gradient is not None, cut)
    return gradient


def close(got: Tensor, want: Tensor, rtol: float = 1e-5, atol: float = 1e-6) -> bool:
    """Equal up to float32 rounding; nan equals nothing."""
    return torch.allclose(got.double(), want.double(), rtol=rtol, atol=atol)


def diagnose(
    got: Tensor,
    want: Tensor,
    mistakes: dict[str, Tensor | tuple[Tensor, ...]],
    otherwise: str,
    rtol: float = 1e-5,
) -> None:
    """Fail unless got equals want; name the mistake whose result it equals, if it is a known one."""
    if close(got, want, rtol):
        return
    for mistake, results in mistakes.items():
        for result in results if isinstance(results, tuple) else (results,):
            if (
                result.shape == got.shape
                and close(got, result, rtol)
                and not close(result, want, rtol)
            ):
                raise CheckFailed(mistake)
    if close(got, want, rtol=1e-2, atol=1e-3):
        raise CheckFailed(
            "The first digits are right and the later ones are not. Is something rounded on the way (round, half "
            "precision), or a small constant added?"
        )
    raise CheckFailed(otherwise)


def unchanged(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        same = a.shape == b.shape and a.dtype == b.dtype
        return same and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(
            unchanged(x, y) for x, y in zip(a, b, strict=True)
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(unchanged(a[key], b[key]) for key in a)
    return a is b or a == b if isinstance(a, str | int | float) else True
