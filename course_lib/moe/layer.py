"""The layer: a router and experts in the place of a block's MLP.

`Transformer(config, mlp=partial(MixtureOfExperts, experts=Experts(8, 2, 64)))` is a
model in which every MLP is a mixture, as in Mixtral (Jiang et al. 2024). Shared
experts that every token visits are those of DeepSeekMoE (Dai et al. 2024, section
3.2). Notable: the layer keeps no record of what it did; whoever wants to know
watches, see `routings`. Left out: first layers without a mixture, router scores in
higher precision.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from course_lib.moe.dispatch import mix_sorted
from course_lib.moe.routing import Routing, route
from course_lib.scaling.parameters import Experts
from course_lib.transformer import Config, SwiGLU


class Router(nn.Linear):
    """A score for every expert, and from the scores the choice."""

    def __init__(self, width: int, experts: Experts, route: Callable, biased: bool):
        super().__init__(width, experts.count, bias=False)
        self.k, self.route = experts.chosen, route
        start = torch.zeros(experts.count) if biased else None
        self.register_buffer("selection_bias", start)  # no gradient: see update_bias

    def forward(self, tokens: Tensor) -> Routing:
        """tokens (N, D) to scores (N, E), weights (N, k) and chosen (N, k)."""
        scores = super().forward(tokens)
        asked = [] if self.selection_bias is None else [self.selection_bias]
        return Routing(scores, *self.route(scores, self.k, *asked))


class MixtureOfExperts(nn.Module):
    """Many MLPs side by side, of which each token visits a few."""

    def __init__(
        self,
        config: Config,
        experts: Experts,
        route: Callable = route,
        mix: Callable = mix_sorted,
        expert: Callable = SwiGLU,
        biased: bool = False,
    ):
        """Pieces are arguments: route(scores, k), mix(x, weights, chosen, experts).

        expert is called with a config of the experts' width. biased: the router has
        a bias for each expert, which route(scores, k, bias) takes as well.
        """
        super().__init__()
        if experts.dense:
            raise ValueError(
                f"A layer is a mixture or not: dense is 0, not {experts.dense}."
            )
        narrow = replace(config, hidden=experts.hidden)
        self.router = Router(config.width, experts, route, biased)
        self.experts = nn.ModuleList(expert(narrow) for _ in range(experts.count))
        self.shared = nn.ModuleList(expert(narrow) for _ in range(experts.shared))
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        r"""$\sum_\text{shared} f(x) + \sum_j w_j f_{c_j}(x)$, (B, T, D) to the same.

        A token's way depends on its own vector alone, unless route or mix look at
        others, as expert choice and full buffers do.
        """
        tokens = x.reshape(-1, x.shape[-1])  # (N, D), not view: x may be a slice
        routing = self.router(tokens)
        out = self.mix(tokens, routing.weights, routing.chosen, self.experts)
        for expert in self.shared:
            out = out + expert(tokens)
        return out.reshape(x.shape)


def routers(model: nn.Module) -> list[Router]:
    """All routers of a model, from the first layer to the last."""
    return [module for module in model.modules() if isinstance(module, Router)]


@contextmanager
def routings(model: nn.Module) -> Iterator[list[Routing]]:
    """Within the block, a list fills with what each router decides, in order.

    Gradients flow through the scores, so a balance loss can be made of them.

    >>> from functools import partial
    >>> config = Config(vocabulary=9, width=8, layers=3, heads=2, hidden=4)
    >>> layer = MixtureOfExperts(config, Experts(count=4, chosen=2, hidden=4))
    >>> with routings(layer) as seen:
    ...     y = layer(torch.randn(2, 5, 8))
    >>> [tuple(part.shape) for part in seen[0]]
    [(10, 4), (10, 2), (10, 2)]
    """
    seen: list[Routing] = []

    def note(router: Router, given: tuple, routing: Routing) -> None:
        seen.append(routing)

    handles = [router.register_forward_hook(note) for router in routers(model)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def stacked(seen: list[Routing]) -> Routing:
    """The routings of L layers as one, each tensor with L in front: (L, N, ...)."""
    if not seen:
        raise ValueError("No router was at work: does the model have a mixture?")
    return Routing(*(torch.stack(parts) for parts in zip(*seen, strict=True)))
