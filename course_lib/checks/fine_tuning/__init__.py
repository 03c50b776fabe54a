"""Checks of lesson 05; `tests/answers/fine_tuning/` holds the answers that prove them."""

from course_lib.checks.fine_tuning.accounts import trainable_share, tuning_parts
from course_lib.checks.fine_tuning.adapters import LoRALinear
from course_lib.checks.fine_tuning.examples import build_example
from course_lib.checks.fine_tuning.faulty_builders import test_builder
from course_lib.checks.fine_tuning.packing import block_diagonal_mask, collate
from course_lib.checks.fine_tuning.template import chat_pieces

__all__ = [
    "LoRALinear",
    "block_diagonal_mask",
    "build_example",
    "chat_pieces",
    "collate",
    "test_builder",
    "trainable_share",
    "tuning_parts",
]
