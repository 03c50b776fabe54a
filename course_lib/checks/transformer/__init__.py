"""Checks of lesson 01; `tests/answers/transformer/` holds the answers that prove them."""

from course_lib.checks.transformer.attention import CausalSelfAttention, attend
from course_lib.checks.transformer.blocks import Block, RMSNorm, SwiGLU
from course_lib.checks.transformer.predicting import next_token_loss, test_model
from course_lib.checks.transformer.tokens_and_positions import merge_pair, rotate

__all__ = [
    "Block",
    "CausalSelfAttention",
    "RMSNorm",
    "SwiGLU",
    "attend",
    "merge_pair",
    "next_token_loss",
    "rotate",
    "test_model",
]
