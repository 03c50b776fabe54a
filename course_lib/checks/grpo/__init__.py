"""Checks of lesson 08; `tests/answers/grpo/` holds the answers that prove them."""

from course_lib.checks.grpo.counting import pass_at_k
from course_lib.checks.grpo.groups import group_advantages
from course_lib.checks.grpo.keeping import rejection_sample
from course_lib.checks.grpo.memory import models_in_memory
from course_lib.checks.grpo.published import test_group_loss
from course_lib.checks.grpo.pulls import grpo_loss, grpo_weights
from course_lib.checks.grpo.reading import read_answer
from course_lib.checks.grpo.votes import majority_vote

__all__ = [
    "group_advantages",
    "grpo_loss",
    "grpo_weights",
    "majority_vote",
    "models_in_memory",
    "pass_at_k",
    "read_answer",
    "rejection_sample",
    "test_group_loss",
]
