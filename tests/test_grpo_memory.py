"""Who is in memory: the critic falls with GRPO, the reward model with rules, and what that saves."""

import itertools

import pytest

from course_lib.grpo.memory import held_bytes, models_in_memory
from course_lib.scaling.memory import training_bytes, weight_bytes

TABLE = {  # method, rules, reference: who is held, the trained in capitals
    ("sft", False, True): "POLICY",
    ("ppo", False, True): "POLICY CRITIC reference reward-model",
    ("ppo", True, True): "POLICY CRITIC reference",
    ("ppo", False, False): "POLICY CRITIC reward-model",
    ("grpo", False, True): "POLICY reference reward-model",
    ("grpo", True, True): "POLICY reference",
    ("grpo", True, False): "POLICY",
    ("dpo", False, True): "POLICY reference",
    ("dpo", True, True): "POLICY reference",
    ("dpo", False, False): "POLICY",
}


@pytest.mark.parametrize(("case", "held"), TABLE.items())
def test_the_table(case, held):
    expected = {word.lower().replace("-", " "): word.isupper() for word in held.split()}
    assert models_in_memory(*case) == expected


def test_grpo_drops_the_critic_and_nothing_else():
    for rules, reference in itertools.product([False, True], repeat=2):
        ppo = models_in_memory("ppo", rules, reference)
        grpo = models_in_memory("grpo", rules, reference)
        assert ppo.keys() - grpo.keys() == {"critic"}
        assert grpo.items() <= ppo.items()


def test_the_policy_is_always_there_and_who_judges_never_learns():
    for method in ("sft", "ppo", "grpo", "dpo"):
        held = models_in_memory(method)
        assert held["policy"] is True
        assert not any(held.get(name) for name in ("reference", "reward model"))


def test_bytes_of_a_model_of_7_billion():
    held = held_bytes(models_in_memory("ppo"), 7e9)
    assert {name: round(size / 1e9) for name, size in held.items()} == {
        "policy": 112,
        "reference": 14,
        "reward model": 14,
        "critic": 112,
    }
    rules = held_bytes(models_in_memory("grpo", rules=True), 7e9)
    assert sum(rules.values()) / 1e9 == pytest.approx(126)


@pytest.mark.parametrize(
    ("precision", "mixed"), [("float32", False), ("bfloat16", True)]
)
def test_what_learns_costs_its_gradients_and_moments_as_well(precision, mixed):
    held = held_bytes({"policy": True, "reference": False}, 1000, precision, mixed)
    assert held["policy"] == training_bytes(1000, precision, mixed)
    assert held["reference"] == weight_bytes(1000, precision)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="sft, ppo, grpo, dpo, not 'rlhf'"):
        models_in_memory("rlhf")
