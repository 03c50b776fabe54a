"""Upcycling: a finished dense model goes on as a mixture (Komatsuzaki et al. 2022).

Every expert starts as a copy of the block's MLP, and the router from scratch. Since
the weights of a token sum to 1, a mean of equal answers is the answer: the new
model says what the old one said, and has room to learn. Left out: experts cut from
parts of an MLP, and optimizer states, which could be copied too.
"""

from copy import deepcopy
from functools import partial

import torch
from torch import nn

from course_lib.moe.layer import MixtureOfExperts
from course_lib.scaling.parameters import Experts
from course_lib.transformer import Config, Transformer


def upcycle(
    dense: Transformer,
    experts: Experts,
    generator: torch.Generator | None = None,
    **pieces,
) -> Transformer:
    """A new model with a mixture in each block; its logits are those of the old one.

    experts.hidden is the width inside the old MLPs, and there are no shared experts:
    one more copy would be one more answer in the sum. pieces go to MixtureOfExperts.
    A route whose weights do not sum to 1 changes the logits.

    How: copy the model; for each block make a mixture whose experts are copies of
    its MLP, draw the router small, and put the mixture in the MLP's place.
    """
    if experts.hidden != dense.config.hidden or experts.shared:
        raise ValueError(
            f"Copies of the MLP have hidden={dense.config.hidden}, shared=0, "
            f"not hidden={experts.hidden}, shared={experts.shared}."
        )
    model = deepcopy(dense)
    for block in model.blocks:
        copies = partial(copied, block.mlp)
        mixture = MixtureOfExperts(model.config, experts, expert=copies, **pieces)
        nn.init.normal_(mixture.router.weight, std=0.02, generator=generator)
        block.mlp = mixture.to(model.embed.weight)  # its device and type
    return model


def copied(mlp: nn.Module, config: Config) -> nn.Module:
    """The given MLP once more, where a new one of that config was asked for."""
    return deepcopy(mlp)
