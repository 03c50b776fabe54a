"""Checks of lesson 11; `tests/answers/quantization/` holds the answers that prove them."""

from course_lib.checks.quantization.blocks import encode_q4_0
from course_lib.checks.quantization.codebooks import normal_code_book
from course_lib.checks.quantization.columns import column_step
from course_lib.checks.quantization.groups import group_quantize
from course_lib.checks.quantization.integers import error_bound, scale_and_zero
from course_lib.checks.quantization.pruning import test_pruning
from course_lib.checks.quantization.scaling import awq_scale_search
from course_lib.checks.quantization.training import fake_quantize

__all__ = [
    "awq_scale_search",
    "column_step",
    "encode_q4_0",
    "error_bound",
    "fake_quantize",
    "group_quantize",
    "normal_code_book",
    "scale_and_zero",
    "test_pruning",
]
