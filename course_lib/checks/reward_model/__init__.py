"""Checks of lesson 06; `tests/answers/reward_model/` holds the answers that prove them."""

from course_lib.checks.reward_model.audit import (
    best_of_n_kl,
    noise_ceiling,
    pairwise_accuracy,
)
from course_lib.checks.reward_model.losses import bradley_terry_loss
from course_lib.checks.reward_model.pairs import collate_pairs
from course_lib.checks.reward_model.places import last_index
from course_lib.checks.reward_model.rankings import pairs_from_ranking
from course_lib.checks.reward_model.scorers import test_scorer

__all__ = [
    "best_of_n_kl",
    "bradley_terry_loss",
    "collate_pairs",
    "last_index",
    "noise_ceiling",
    "pairs_from_ranking",
    "pairwise_accuracy",
    "test_scorer",
]
