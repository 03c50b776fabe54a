"""What lesson 07 asks of all its exercises: float64 in, float64 out."""

from torch import Tensor

from course_lib.checks.asking import expect


def keeps_type(got: Tensor, given: Tensor, what: str) -> None:
    """Fail unless got has the type of what was given; what: "the loss has"."""
    expect(
        got.dtype == given.dtype,
        f"For numbers of type {given.dtype} {what} the type {got.dtype}. Stay in the type of what is given.",
    )
