"""What the textbook softmax of lesson 00 costs, against the fused one of torch."""

import torch

from course_lib.logprobs import softmax
from tools.bench.harness import Claim, Side


def prepare(seed: int, B: int, T: int, V: int) -> tuple[Side, Side]:
    scores = torch.randn(B, T, V, generator=torch.Generator().manual_seed(seed)).mul_(3)
    return lambda: softmax(scores), lambda: torch.softmax(scores, dim=-1)


CLAIM = Claim(
    name="softmax",
    sentence="Our softmax, one line for each part of the formula, takes more time than torch.softmax.",
    faster=False,
    sizes=tuple({"B": 8, "T": 64, "V": V} for V in (2048, 50257)),
    prepare=prepare,
    atol=3e-5,  # at V = 50,257 the sum inside torch.softmax is off by 1e-5 in float32; ours by 2e-6, see tests/test_logprobs.py
)
