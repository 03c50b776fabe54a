"""Answers to lesson 08: who sits in memory; right ones of different shapes, and people's mistakes."""

from tools.graders import Battery

battery = Battery()

FOUR = ("sft", "ppo", "grpo", "dpo")


# --- models_in_memory: right ------------------------------------------------------------------


@battery.right("models_in_memory")
def one_question_after_another(method, rules=False, reference=True):
    if method not in FOUR:
        raise ValueError(method)
    held = {"policy": True}
    if method == "ppo":
        held["critic"] = True
    if method in ("ppo", "grpo") and not rules:
        held["reward model"] = False
    if method != "sft" and reference:
        held["reference"] = False
    return held


@battery.right("models_in_memory")
def from_a_table(method, rules=False, reference=True):
    table = {
        "sft": {"policy": True},
        "dpo": {"policy": True, "reference": False},
        "grpo": {"policy": True, "reference": False, "reward model": False},
        "ppo": {
            "policy": True, "reference": False, "reward model": False, "critic": True
        },
    }  # fmt: skip
    if method not in table:
        raise ValueError(f"no such method: {method}")
    held = table[method]
    if rules:
        held.pop("reward model", None)
    if not reference:
        held.pop("reference", None)
    return held


@battery.right("models_in_memory")
def as_a_comprehension(method, rules=False, reference=True):
    online = {"ppo": True, "grpo": True, "dpo": False, "sft": False}.get(method)
    if online is None:
        raise ValueError(method)
    there = {
        "reward model": (online and not rules, False),
        "reference": (reference and method != "sft", False),
        "critic": (method == "ppo", True),
        "policy": (True, True),
    }
    return {name: learns for name, (held, learns) in there.items() if held}


@battery.right("models_in_memory")
def with_match(method, rules=False, reference=True):
    match method:
        case "sft":
            return {"policy": True}
        case "dpo":
            names = ["reference"]
        case "grpo":
            names = ["reference", "reward model"]
        case "ppo":
            names = ["reference", "reward model", "critic"]
        case _:
            raise ValueError(f"{method!r} is none of the four")
    gone = set() if reference else {"reference"}
    gone |= {"reward model"} if rules else set()
    kept = [name for name in ["policy", *names] if name not in gone]
    return {name: name in ("policy", "critic") for name in kept}


@battery.right("models_in_memory")
def with_sets(method, rules=False, reference=True):
    if method not in FOUR:
        raise ValueError(f"method is one of {FOUR}")
    needs = {
        "policy": set(FOUR),
        "reference": {"ppo", "grpo", "dpo"} if reference else set(),
        "reward model": set() if rules else {"ppo", "grpo"},
        "critic": {"ppo"},
    }
    learning = {"policy", "critic"}
    return {name: name in learning for name in needs if method in needs[name]}


# --- models_in_memory: wrong ------------------------------------------------------------------


def _wrong(says):
    return battery.wrong("models_in_memory", says=says)


right = one_question_after_another


def _changed(name, says, change):
    """change(held, method, rules, reference): what is returned instead, or None after a change in place."""

    def answer(method, rules=False, reference=True):
        held = right(method, rules, reference)
        changed = change(held, method, rules, reference)
        return held if changed is None else changed

    answer.__name__ = name
    battery.wrong("models_in_memory", says=says)(answer)


def _drop(held, name, when=True):
    if when:
        held.pop(name, None)


def _add(held, name, when=True):
    if when:
        held[name] = name in ("policy", "critic")


_changed("grpo_without_a_reward_model", "What GRPO drops is the critic", lambda h, m, r, f: _drop(h, "reward model", m == "grpo"))  # fmt: skip
_changed("grpo_with_a_reward_model_always", "even where rules", lambda h, m, r, f: _add(h, "reward model", m == "grpo"))  # fmt: skip
_changed("grpo_with_a_critic", "GRPO has a critic", lambda h, m, r, f: _add(h, "critic", m == "grpo"))  # fmt: skip
_changed("grpo_drops_the_wrong_one", "What GRPO drops is the critic", lambda h, m, r, f: (_drop(h, "reward model", m == "grpo"), _add(h, "critic", m == "grpo"))[0])  # fmt: skip
_changed("ppo_without_a_critic", "PPO loses its critic", lambda h, m, r, f: _drop(h, "critic"))  # fmt: skip
_changed("rules_drop_the_critic", "PPO loses its critic", lambda h, m, r, f: _drop(h, "critic", r))  # fmt: skip
_changed("dpo_with_a_reward_model", "DPO has a reward model", lambda h, m, r, f: _add(h, "reward model", m == "dpo"))  # fmt: skip
_changed("dpo_with_a_reward_model_unless_rules", "DPO has a reward model", lambda h, m, r, f: _add(h, "reward model", m == "dpo" and not r))  # fmt: skip
_changed("dpo_with_a_critic", "DPO has a critic", lambda h, m, r, f: _add(h, "critic", m == "dpo"))  # fmt: skip
_changed("sft_with_a_reference", "SFT has a reference", lambda h, m, r, f: _add(h, "reference", m == "sft" and f))  # fmt: skip
_changed("sft_with_a_reference_always", "SFT has a reference", lambda h, m, r, f: _add(h, "reference", m == "sft"))  # fmt: skip
_changed("sft_with_a_reward_model", "SFT has a reward model", lambda h, m, r, f: _add(h, "reward model", m == "sft" and not r))  # fmt: skip
_changed("sft_with_a_critic", "SFT has a reward model or a critic", lambda h, m, r, f: _add(h, "critic", m == "sft"))  # fmt: skip
_changed("ppo_without_a_reference", "no reference in yours although", lambda h, m, r, f: _drop(h, "reference", m == "ppo"))  # fmt: skip
_changed("grpo_without_a_reference", "no reference in yours although|reference is not in memory", lambda h, m, r, f: _drop(h, "reference", m == "grpo"))  # fmt: skip
_changed("dpo_without_a_reference", "DPO has no reference", lambda h, m, r, f: _drop(h, "reference", m == "dpo"))  # fmt: skip
_changed("reference_ignored", "`reference` makes no difference", lambda h, m, r, f: _add(h, "reference", m != "sft"))  # fmt: skip
_changed("reference_ignored_by_dpo", "to DPO, or to it alone", lambda h, m, r, f: _add(h, "reference", m == "dpo"))  # fmt: skip
_changed("reference_for_dpo_alone", "to DPO, or to it alone|`reference` makes", lambda h, m, r, f: _add(h, "reference", m in ("ppo", "grpo")))  # fmt: skip
_changed("reference_turned", "`reference` is the wrong way|`reference`", lambda h, m, r, f: right(m, r, not f))  # fmt: skip
_changed("rules_ignored", "`rules` makes no difference", lambda h, m, r, f: _add(h, "reward model", m in ("ppo", "grpo")))  # fmt: skip
_changed("rules_ignored_by_ppo", "makes no difference", lambda h, m, r, f: _add(h, "reward model", m == "ppo"))  # fmt: skip
_changed("rules_turned", "wrong way round", lambda h, m, r, f: right(m, not r, f))
_changed("never_a_reward_model", "No reward model|What GRPO drops", lambda h, m, r, f: _drop(h, "reward model"))  # fmt: skip
_changed("rules_drop_the_reference", "`rules` drops the reference", lambda h, m, r, f: _drop(h, "reference", r))  # fmt: skip
_changed("rules_drop_the_reference_of_dpo", "`rules` drops the reference", lambda h, m, r, f: _drop(h, "reference", r and m == "dpo"))  # fmt: skip
_changed("reference_drops_the_reward_model", "have nothing to do with", lambda h, m, r, f: _drop(h, "reward model", not f))  # fmt: skip
_changed("options_exchanged", "changed places|What GRPO drops|reward model", lambda h, m, r, f: right(m, f, r))  # fmt: skip
_changed("critic_frozen", "critic is frozen", lambda h, m, r, f: {n: n == "policy" for n in h})  # fmt: skip
_changed("reference_trained", "reference is trained", lambda h, m, r, f: {n: n != "reward model" for n in h})  # fmt: skip
_changed("reward_model_trained", "reward model is trained", lambda h, m, r, f: {n: n != "reference" for n in h})  # fmt: skip
_changed("all_trained", "reference is trained|Everybody", lambda h, m, r, f: dict.fromkeys(h, True))  # fmt: skip
_changed("all_frozen", "policy is frozen", lambda h, m, r, f: dict.fromkeys(h, False))
_changed("trained_and_frozen_exchanged", "exchanged", lambda h, m, r, f: {n: not t for n, t in h.items()})  # fmt: skip
_changed("without_the_policy", "policy is missing", lambda h, m, r, f: _drop(h, "policy"))  # fmt: skip
_changed("absent_ones_are_false", "with False", lambda h, m, r, f: {n: h.get(n, False) for n in ("policy", "critic", "reference", "reward model")})  # fmt: skip
_changed("absent_ones_are_none", "no entry", lambda h, m, r, f: {n: h.get(n) for n in ("policy", "critic", "reference", "reward model")})  # fmt: skip
_changed("names_alone", "returned a list", lambda h, m, r, f: list(h))
_changed("a_set", "returned a set", lambda h, m, r, f: set(h))
_changed("how_many", "returned a int", lambda h, m, r, f: len(h))
_changed("in_words", "True \\(trained\\) or False", lambda h, m, r, f: {n: "trained" if t else "frozen" for n, t in h.items()})  # fmt: skip
_changed("counts_of_copies", "True \\(trained\\) or False", lambda h, m, r, f: {n: 4 if t else 1 for n, t in h.items()})  # fmt: skip
_changed("other_names", "Is that the reference", lambda h, m, r, f: {n.replace("reference", "ref"): t for n, t in h.items()})  # fmt: skip
_changed("with_an_underscore", "Is that the reward model", lambda h, m, r, f: {n.replace(" ", "_"): t for n, t in h.items()})  # fmt: skip
_changed("always_ppo", "method makes no difference|SFT", lambda h, m, r, f: right("ppo", r, f))  # fmt: skip


@_wrong("None of|none of the four")
def refuses_nobody(method, rules=False, reference=True):
    return right(method if method in FOUR else "sft", rules, reference)


@_wrong("makes no difference to a method is no error")
def refuses_rules_for_dpo(method, rules=False, reference=True):
    if rules and method in ("sft", "dpo"):
        raise ValueError("there are no rewards")
    return right(method, rules, reference)


TABLE = {name: right(name) for name in FOUR}


@_wrong("several times|in memory in yours|`reference`|`rules`")
def pops_from_a_table_of_all(method, rules=False, reference=True):
    held = TABLE[method]
    if rules:
        held.pop("reward model", None)
    if not reference:
        held.pop("reference", None)
    return held


@_wrong("worked one|in memory in yours|What GRPO drops|makes no difference")
def built_in(method, rules=False, reference=True):
    if method == "ppo":
        return {"policy": True, "critic": True}
    return {"policy": True, "reference": False, "reward model": False}


@_wrong("unexpected keyword|got an unexpected|takes 1 positional")
def without_options(method):
    return right(method)


@_wrong("is not in memory|is in memory|several times")
def by_the_place_of_an_argument(method, *options, **named):
    return right(method, *options[:1])


# --- found by attacking the check -------------------------------------------------------------


@_wrong("KeyError. Say it with a ValueError")
def a_table_without_a_word(method, rules=False, reference=True):
    return right({name: name for name in FOUR}[method], rules, reference)


@_wrong("AssertionError. Say it with a ValueError")
def an_assert(method, rules=False, reference=True):
    assert method in FOUR
    return right(method, rules, reference)


@_wrong("none of the four")
def part_of_a_name(method, rules=False, reference=True):
    if method not in "sft ppo grpo dpo":
        raise ValueError(method)
    return right(method if method in FOUR else "sft", rules, reference)


@_wrong("one and the same dict")
def one_dict_for_all(method, rules=False, reference=True, held={}):  # noqa: B006
    found = right(method, rules, reference)
    held.clear()
    held.update(found)
    return held


@_wrong("left out taken for another")
def rules_by_default(method, rules=True, reference=True):
    return right(method, rules, reference)
