"""A mixture of experts: sorting brings each expert its tokens in one piece; a loop of masks searches for them.

The tokens are those of texts, some words far more frequent than others (as 1 / rank), so that loads are as unequal
as language makes them: tokens with one vector all go the same way.
"""

import torch
from torch import Tensor

from course_lib.moe.dispatch import mix_by_masks, mix_sorted
from course_lib.moe.layer import MixtureOfExperts
from course_lib.scaling.parameters import Experts
from course_lib.transformer import Config
from tools.bench.harness import Claim, Side


def prepare(
    seed: int, B: int, T: int, V: int, E: int, k: int, mode: str
) -> tuple[Side, Side]:
    draw = torch.Generator().manual_seed(seed)
    frequencies = 1 / torch.arange(1, V + 1)
    words = frequencies.multinomial(B * T, replacement=True, generator=draw)
    config = Config(width=96)
    x = torch.randn(V, config.width, generator=draw)[words].view(B, T, -1)
    x.requires_grad_(mode != "forward")
    incoming = torch.randn(x.shape, generator=draw)  # in place of whatever loss follows
    experts = Experts(
        count=E, chosen=k, hidden=256 // k
    )  # active width of the course's model
    torch.manual_seed(seed)
    layer = MixtureOfExperts(config, experts)

    def side(mix) -> Side:
        def forward() -> Tensor:
            layer.mix = mix
            with torch.set_grad_enabled(mode != "forward"):
                return layer(x)

        def forward_and_backward() -> tuple[Tensor, ...]:
            y = forward()
            inputs = [x, layer.router.weight, *layer.experts.parameters()]
            gradients = torch.autograd.grad(
                y, inputs, incoming, allow_unused=True, materialize_grads=True
            )
            return y.detach(), *gradients

        return forward if mode == "forward" else forward_and_backward

    return side(mix_sorted), side(mix_by_masks)


CLAIM = Claim(
    name="mixture",
    sentence="In a mixture of experts, dispatch by sorting takes less time than a loop of masks over the experts.",
    faster=True,
    sizes=tuple(
        {"B": 16, "T": 64, "V": 768, "E": E, "k": 2, "mode": mode}
        for E in (8, 64)
        for mode in ("forward", "forward and backward")
    ),
    prepare=prepare,
    atol=1e-4,  # gradients of weights are sums over a thousand tokens, added in another order
)
