"""Checks of lesson 02; `tests/answers/sampling/` holds the answers that prove them."""

from course_lib.checks.sampling.costs_and_speculation import (
    cache_bytes,
    keep_or_replace,
    step_seconds,
)
from course_lib.checks.sampling.filters import temperature, test_top_p, top_p
from course_lib.checks.sampling.penalties_and_beams import (
    grow,
    held_back,
    repetition_penalty,
)

__all__ = [
    "cache_bytes",
    "grow",
    "held_back",
    "keep_or_replace",
    "repetition_penalty",
    "step_seconds",
    "temperature",
    "test_top_p",
    "top_p",
]
