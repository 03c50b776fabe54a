"""What reinforcement learning needs of a batch of answers: the texts, and the log-probability of each token.

Ours keeps each log-probability when it draws; theirs is `generate()` and a forward pass over what it wrote. Both
draw, at so low a temperature that the likeliest token always wins: otherwise their texts could not be compared. (That
the log-probabilities are right at other temperatures is held by tests/test_rollouts.py.) Same weights, five times as
large as at birth, so that one token is likeliest. Nothing ends a text early, where ours would gain most. Theirs with
a static cache, or with the cache that it takes by itself.
"""

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from course_lib.logprobs import token_logprobs
from course_lib.rollouts import sample_rollouts
from tools.bench.harness import Claim, Side
from tools.bench.twins import COURSE, MIDDLE, SHAPES, shape, twins

TEMPERATURE = 1e-6


def prepare(
    seed: int, model: str, V: int, B: int, prompt: int, new: int, cache: str
) -> tuple[Side, Side]:
    draw = torch.Generator().manual_seed(seed)
    ours, theirs = twins(shape(model, V), draw, larger=5)
    ours.eval()
    theirs.eval()
    ids = torch.randint(V, (B, prompt), generator=draw)
    options = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": new,
        "do_sample": True,
        "temperature": TEMPERATURE,
        "top_k": 0,
        "pad_token_id": 0,
    }
    if cache == "static":
        options["cache_implementation"] = cache

    def rollout() -> tuple[Tensor, Tensor]:
        never = V  # no token has this number
        answered = sample_rollouts(
            ours, ids.tolist(), new, end=never, temperature=TEMPERATURE
        )
        return answered.ids, answered.logprobs

    return rollout, lambda: generated(theirs, ids, options)


@torch.inference_mode()
def generated(
    model: LlamaForCausalLM, ids: Tensor, options: dict
) -> tuple[Tensor, Tensor]:
    """Texts, and the log-probabilities of what was added, by a pass that scores nothing else."""
    text = model.generate(ids, **options)
    new = options["max_new_tokens"]
    logits = model(text[:, :-1], logits_to_keep=new).logits  # (B, new, V)
    return text, token_logprobs(logits / options["temperature"], text[:, -new:])


CLAIM = Claim(
    name="rollouts",
    sentence="A rollout of 96 texts with log-probabilities takes at most 1/1.5 of the time of generate() of "
    "transformers and the forward pass that gives them.",
    faster=True,
    sizes=tuple(
        {
            "model": model,
            "V": SHAPES[model].vocabulary,
            "B": 96,
            "prompt": 16,
            "new": 40,
            "cache": cache,
        }
        for model, cache in (
            (COURSE, "its own"),
            (COURSE, "static"),
            (MIDDLE, "static"),
        )
    ),
    prepare=prepare,
    atol=1e-3,  # rounding is divided by the temperature, where two scores nearly tie
    limits=(1 / 1.5,) * 3,
    pairs=4,
)
