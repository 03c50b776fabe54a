"""Checks of lesson 04; `tests/answers/mixture_of_experts/` holds the answers that prove them."""

from course_lib.checks.mixture_of_experts.balance import (
    expert_matrices,
    queue_places,
    switch_loss,
    update_bias,
)
from course_lib.checks.mixture_of_experts.dispatch import mix_by_masks, test_mix, weigh

__all__ = [
    "expert_matrices",
    "mix_by_masks",
    "queue_places",
    "switch_loss",
    "test_mix",
    "update_bias",
    "weigh",
]
