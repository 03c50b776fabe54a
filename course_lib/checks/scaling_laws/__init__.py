"""Checks of lesson 03; `tests/answers/scaling_laws/` holds the answers that prove them."""

from course_lib.checks.scaling_laws.counts import (
    gpu_days,
    stretches_right,
    train_flops,
    training_parts,
)
from course_lib.checks.scaling_laws.laws import (
    against_optimum,
    fit_theta,
    kaplan_loss,
    optimal,
    test_law,
)

__all__ = [
    "against_optimum",
    "fit_theta",
    "gpu_days",
    "kaplan_loss",
    "optimal",
    "stretches_right",
    "test_law",
    "train_flops",
    "training_parts",
]
