"""Who has to be in memory: the models that PPO, GRPO and DPO hold while they train.

GRPO drops the *critic*; whether there is a reward model depends on where the reward
comes from. DeepSeekMath trained with GRPO and a learned reward, R1 with rules. Bytes
are those of scaling.memory. Left out: activations, and the cache of the texts being
drawn.
"""

from course_lib.scaling.memory import training_bytes, weight_bytes

LEARNS = {"policy": True, "critic": True, "reference": False, "reward model": False}
METHODS = {  # whom a method can need
    "sft": ("policy",),
    "ppo": ("policy", "reference", "reward model", "critic"),
    "grpo": ("policy", "reference", "reward model"),
    "dpo": ("policy", "reference"),
}


def models_in_memory(
    method: str, rules: bool = False, reference: bool = True
) -> dict[str, bool]:
    """The models that a method holds, and whether each of them is trained.

    method: sft, ppo, grpo or dpo. rules: rewards come from a program, not from a
    model. reference: False = no price of straying (PPO, GRPO), or log-probabilities
    that were computed beforehand (DPO). Returns name to True (trained) or False
    (frozen).

    How: the policy always; a critic for PPO only; a reward model for PPO and GRPO,
    unless rules take its place; the reference for all but SFT, if there is one.

    >>> models_in_memory("grpo")
    {'policy': True, 'reference': False, 'reward model': False}
    >>> models_in_memory("ppo", rules=True, reference=False)
    {'policy': True, 'critic': True}
    """
    if method not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, not {method!r}.")
    absent = {"reward model": rules, "reference": not reference}
    held = [name for name in METHODS[method] if not absent.get(name)]
    return {name: LEARNS[name] for name in held}


def held_bytes(
    held: dict[str, bool], parameters: float, precision: str = "bfloat16",
    mixed: bool = True,
) -> dict[str, float]:  # fmt: skip
    """The bytes of each model, all of one size: with AdamW, or weights alone.

    held: as `models_in_memory` returns it.

    >>> held = models_in_memory("dpo")
    >>> {name: int(size / 1e9) for name, size in held_bytes(held, 7e9).items()}
    {'policy': 112, 'reference': 14}
    """
    return {
        name: training_bytes(parameters, precision, mixed)
        if trained
        else weight_bytes(parameters, precision)
        for name, trained in held.items()
    }
