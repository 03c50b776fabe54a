"""token_logprobs gathers one score per row and subtracts logsumexp; most code gathers from log_softmax."""

import torch
from torch import Tensor

from course_lib.logprobs import token_logprobs
from tools.bench.harness import Claim, Side


def gathered_log_softmax(logits: Tensor, ids: Tensor) -> Tensor:
    return torch.log_softmax(logits, dim=-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def prepare(seed: int, B: int, T: int, V: int, mode: str) -> tuple[Side, Side]:
    draw = torch.Generator().manual_seed(seed)
    logits = (
        torch.randn(B, T, V, generator=draw).mul_(3).requires_grad_(mode != "forward")
    )
    ids = torch.randint(V, (B, T), generator=draw)
    weights = torch.randn(B, T, generator=draw)  # in place of whatever loss follows

    def side(function) -> Side:
        def forward() -> Tensor:
            return function(logits, ids)

        def forward_and_backward() -> tuple[Tensor, Tensor]:
            logprobs = function(logits, ids)
            return logprobs.detach(), torch.autograd.grad(logprobs, logits, weights)[0]

        return forward if mode == "forward" else forward_and_backward

    return side(token_logprobs), side(gathered_log_softmax)


CLAIM = Claim(
    name="token_logprobs",
    sentence="Gathering the score and subtracting logsumexp shows the formula, and takes more time than log_softmax and gather.",
    faster=False,
    sizes=tuple(
        {"B": 8, "T": 64, "V": V, "mode": mode}
        for V in (2048, 50257)
        for mode in ("forward", "forward and backward")
    ),
    prepare=prepare,
    atol=3e-5,  # at V = 50,257 the sum inside log_softmax is off by 1e-5 in float32; ours by 2e-6, see tests/test_logprobs.py
)
