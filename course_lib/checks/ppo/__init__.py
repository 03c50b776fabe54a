"""Checks of lesson 07; `tests/answers/ppo/` holds the answers that prove them."""

from course_lib.checks.ppo.credit import gae
from course_lib.checks.ppo.critics import clipped_value_loss
from course_lib.checks.ppo.distances import k3
from course_lib.checks.ppo.leashes import test_kl_term
from course_lib.checks.ppo.prices import kl_shaped_rewards
from course_lib.checks.ppo.pushing import clipped_policy_loss, reinforce_loss
from course_lib.checks.ppo.ratios import policy_ratio
from course_lib.checks.ppo.said import response_logprobs
from course_lib.checks.ppo.updates import repaired_loss

__all__ = [
    "clipped_policy_loss",
    "clipped_value_loss",
    "gae",
    "k3",
    "kl_shaped_rewards",
    "policy_ratio",
    "reinforce_loss",
    "repaired_loss",
    "response_logprobs",
    "test_kl_term",
]
