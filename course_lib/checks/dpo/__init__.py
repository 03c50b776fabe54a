"""Checks of lesson 09; `tests/answers/dpo/` holds the answers that prove them."""

from course_lib.checks.dpo.diagnosis import diagnose
from course_lib.checks.dpo.losses import (
    dpo_loss,
    gradient_weights,
    implicit_accuracy,
    ipo_loss,
)
from course_lib.checks.dpo.published import test_answer_logprobs
from course_lib.checks.dpo.relatives import orpo_loss
from course_lib.checks.dpo.sequences import sequence_logprobs
from course_lib.checks.dpo.tables import optimal_policy

__all__ = [
    "diagnose",
    "dpo_loss",
    "gradient_weights",
    "implicit_accuracy",
    "ipo_loss",
    "optimal_policy",
    "orpo_loss",
    "sequence_logprobs",
    "test_answer_logprobs",
]
