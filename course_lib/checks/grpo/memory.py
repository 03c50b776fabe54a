"""Check of lesson 08: which models a method holds while it trains.

Every combination is asked about more than once, in drawn order and with its arguments
written in different ways. Whom a method needs is said model by model. The answers that
prove the check are in `tests/answers/`.
"""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import memory

Held = dict[str, bool]


class Setting(NamedTuple):
    """What the answer is asked about."""

    method: str
    rules: bool
    reference: bool


@check(
    memory.models_in_memory,
    proved="Each method holds whom it needs, with rules and without, with a reference and without: PPO alone has a "
    "critic, and only policy and critic learn.",
)
def models_in_memory(answer, draw):
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    every = [
        Setting(method, rules, reference)
        for method in ("sft", "ppo", "grpo", "dpo")
        for rules in (False, True)
        for reference in (True, False)
    ]
    cases = 3 * every
    luck.shuffle(cases)
    worked = [Setting("grpo", False, True), Setting("ppo", True, False)]
    _compare(answer, worked + cases, luck)
    _refuses(answer, luck)


# --- asking -----------------------------------------------------------------------------------


def _ask(answer: Callable, case: Setting, luck: random.Random) -> tuple[Mapping, Held]:
    """With one of the ways in which the arguments can be written; as it came, and a copy."""
    ways = [((case.rules, case.reference), {}), ((), {"rules": case.rules, "reference": case.reference}),
            ((case.rules,), {"reference": case.reference}), ((), {"reference": case.reference, "rules": case.rules})]  # fmt: skip
    if not case.rules:
        ways.append(((), {"reference": case.reference}))
    if case.reference:
        ways += [((case.rules,), {}), ((), {"rules": case.rules})]
    if case.reference and not case.rules:
        ways += [((), {})] * 3
    arguments, options = luck.choice(ways)
    method = "".join(list(case.method))  # a text of its own: `is` would not find it
    try:
        got = answer(method, *arguments, **options)
    except (ValueError, KeyError, AssertionError) as error:
        raise CheckFailed(
            f"It stopped with {type(error).__name__} for {_asked(case)}. Every one of the four methods has an answer, "
            "whatever the other two arguments are; what makes no difference to a method is no error."
        ) from None
    _expect_held(got, case)
    return got, dict(got)


def _expect_held(got: object, case: Setting) -> None:
    expect(
        got is not None,
        f"It returned None for {_asked(case)}. Is there a `return` line, and does every path reach one?",
    )
    expect(
        isinstance(got, Mapping),
        f"It returned a {type(got).__name__}; a dict is wanted, from a model's name to True (trained) or False "
        "(frozen).",
    )
    strange = [name for name in got if name not in _LEARNS]
    likely = next((_NAMES[n] for n in strange if n in _NAMES), None)
    expect(
        not strange,
        f"There is a name {str(strange[:1])[1:-1]:.40} in it; the models are called policy, critic, reference and reward model."
        + (f" Is that the {likely}?" if likely else ""),
    )
    for name, learns in got.items():
        expect(
            learns is not None,
            f"The {name} has the value None for {_asked(case)}. Who is not there has no entry.",
        )
        expect(
            isinstance(learns, bool | int) and learns in (0, 1),
            f"The {name} has the value {learns!r:.40}; True (trained) or False (frozen) is wanted.",
        )


_NAMES = {
    "actor": "policy", "model": "policy", "value": "critic", "value model": "critic", "value_model": "critic",
    "ref": "reference", "reference model": "reference", "reference_model": "reference", "reference policy": "reference",
    "ref_model": "reference", "reward": "reward model", "reward_model": "reward model", "rm": "reward model",
    "rewards": "reward model", "judge": "reward model",
}  # fmt: skip
_LEARNS = {"policy": True, "critic": True, "reference": False, "reward model": False}


def _asked(case: Setting) -> str:
    rules = ", rules=True" if case.rules else ""
    reference = "" if case.reference else ", reference=False"
    return f"{case.method!r}{rules}{reference}"


def _refuses(answer: Callable, luck: random.Random) -> None:
    """A name that is none of the four."""
    others = luck.sample(["rloo", "kto", "orpo", "reinforce", "rlhf", "simpo"], 2)
    for name in (*others, "po", ""):
        try:
            answer(name)
        except ValueError:
            continue
        except Exception as error:
            raise CheckFailed(
                f"For {name!r}, which is none of the four methods, it stops with {type(error).__name__}. Say it with a "
                "ValueError."
            ) from None
        raise CheckFailed(
            f"It has an answer for {name!r}, which is none of the four methods. Such a name is refused with a "
            "ValueError, or a slip of the pen goes unnoticed."
        )


# --- comparing --------------------------------------------------------------------------------


def _held(case: Setting) -> Held:
    """Model by model: who asks for it?"""
    method, rules, reference = case
    draws = method in {"ppo", "grpo"}  # it draws answers, and somebody must judge them
    there = {
        "policy": True,
        "critic": method == "ppo",
        "reference": reference and (draws or method == "dpo"),
        "reward model": draws and not rules,
    }
    return {name: _LEARNS[name] for name in there if there[name]}


def _compare(answer: Callable, cases: list[Setting], luck: random.Random) -> None:
    raw = [_ask(answer, case, luck) for case in cases]
    found = [(held, case) for (_, held), case in zip(raw, cases, strict=True)]
    wrong = [(got, case) for got, case in found if got != _held(case)]
    if not wrong:
        expect(
            all(dict(got) == then for got, then in raw),
            "What an earlier call returned changes with a later one: it is one and the same dict. Make a new one in every call.",
        )
        return
    answers: dict[Setting, Held] = {}
    for got, case in found:
        expect(
            answers.setdefault(case, got) == got,
            f"Asked about {_asked(case)} several times, it gives different answers: is something kept from call to call, "
            "does a keyword matter, or is an argument that is left out taken for another one than the first line says?",
        )
    for most in (0, len(wrong)):
        for name, ways in _MISTAKES.items():
            if any(_explains(way, found) <= most for way in ways):
                raise CheckFailed(name)
    _otherwise(*min(wrong, key=lambda row: cases.index(row[1])))


def _explains(way: Callable, found: list[tuple[Held, Setting]]) -> float:
    """How many results a mistake gets wrong, none of the wrong ones among them."""
    missed = [(got, case) for got, case in found if got != _changed(way, case)]
    return len(missed) if all(g == _held(c) for g, c in missed) else float("inf")


def _changed(way: Callable, case: Setting) -> Held:
    """What a mistake makes of the right answer; way(held, case) changes it in place."""
    held = _held(case)
    return way(held, case) or held


def _otherwise(got: Held, case: Setting) -> None:
    """Model by model, with the question that decides it."""
    want = _held(case)
    for name in _LEARNS:
        if (name in got) != (name in want):
            is_there = "is" if name in got else "is not"
            raise CheckFailed(
                f"For {_asked(case)} the {name} {is_there} in memory in yours. {_ASK[name]}"
            )
    name = next(name for name in got if bool(got[name]) != want[name])
    says = "trained" if got[name] else "frozen"
    raise CheckFailed(
        f"For {_asked(case)} the {name} is {says} in yours. {_ASK_LEARNS[name]}"
    )


_ASK = {
    "policy": "What is it that is trained?",
    "critic": "Which method compares an answer with what was expected of it, and which with the other answers?",
    "reference": "Whom is the policy compared with, by which methods, and what does `reference` say?",
    "reward model": "Who says how good an answer is: which methods draw answers that must be judged, and what does "
    "`rules` say?",
}
_ASK_LEARNS = {
    "policy": "It is what all the training is for.",
    "critic": "What is expected of an answer changes with the policy: it learns along.",
    "reference": "It stays where the policy began, or straying from it could not be measured.",
    "reward model": "Its training is over before this one begins.",
}


def _with(*names: str, of=("sft", "ppo", "grpo", "dpo"), when=lambda case: True):
    """These models are there as well."""

    def way(held: Held, case: Setting) -> None:
        if case.method in of and when(case):
            held.update({name: _LEARNS[name] for name in names})

    return way


def _without(name: str, of=("sft", "ppo", "grpo", "dpo"), when=lambda case: True):
    def way(held: Held, case: Setting) -> None:
        if case.method in of and when(case):
            held.pop(name, None)

    return way


def _learning(name: str, learns: bool):
    def way(held: Held, case: Setting) -> None:
        if name in held:
            held[name] = learns

    return way


def _as(**changes: object):
    """As if something else had been asked."""

    def way(held: Held, case: Setting) -> Held:
        return _held(case._replace(**changes))

    return way


def _both(*ways: Callable):
    def way(held: Held, case: Setting) -> Held:
        for each in ways:
            held = each(held, case) or held
        return held

    return way


def _rules(case: Setting) -> bool:
    return case.rules


def _none(case: Setting) -> bool:
    return not case.reference


def _judged(case: Setting) -> bool:
    return not case.rules


# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "GRPO never has a reward model in yours. What GRPO drops is the critic; who gives the reward is another question "
    "(DeepSeekMath trained with a learned one).":
        (_without("reward model", of=("grpo",)), _both(_without("reward model", of=("grpo",)), _with("critic", of=("grpo",))),),
    "GRPO has a reward model even where rules give the reward. Then nobody asks it.":
        (_with("reward model", of=("grpo",)),),
    "GRPO has a critic in yours. It compares an answer with the other answers to the same prompt, so it needs none.":
        (_with("critic", of=("grpo",)),),
    "PPO loses its critic in yours. It compares an answer with what the critic expected, wherever the reward comes "
    "from.":
        (_without("critic"), _without("critic", when=_rules), _without("critic", when=_none),
         _without("critic", when=lambda c: c.rules and not c.reference),
         _without("critic", when=lambda c: c.rules or not c.reference)),
    "DPO has a reward model in yours. It learns from pairs, without one: that is what it was made for.":
        (_with("reward model", of=("dpo",)), _with("reward model", of=("dpo",), when=_judged),
         _with("reward model", "critic", of=("dpo",))),
    "DPO has a critic in yours. It draws no answers, so there is nothing to expect.":
        (_with("critic", of=("dpo",)),),
    "SFT has a reference in yours. It imitates examples, and is compared with nobody.":
        (_with("reference", of=("sft",)), _with("reference", of=("sft",), when=lambda c: c.reference)),
    "SFT has a reward model or a critic in yours. It imitates examples: nobody judges an answer.":
        (_with("reward model", of=("sft",)), _with("reward model", of=("sft",), when=_judged), _with("critic", of=("sft",)),
         _both(_with("reward model", of=("sft",)), _with("critic", of=("sft",)))),
    "PPO, or GRPO, has no reference in yours although there is one. The price of straying is measured from it.":
        (_without("reference", of=("ppo",)), _without("reference", of=("grpo",)), _without("reference", of=("ppo", "grpo"))),
    "DPO has no reference in yours although there is one. Its loss compares with it.":
        (_without("reference", of=("dpo",)),),
    "`reference` makes no difference. If it is False, no reference is in memory.":
        (_with("reference", of=("ppo", "grpo", "dpo")), _with("reference")),
    "`reference` makes no difference to DPO, or to it alone. If the reference's log-probabilities were computed "
    "beforehand it need not stay.":
        (_with("reference", of=("dpo",)), _with("reference", of=("ppo", "grpo"))),
    "`reference` makes no difference to one of PPO and GRPO. If it is False, no reference is in memory.":
        (_with("reference", of=("ppo",)), _with("reference", of=("grpo",)), _with("reference", of=("ppo", "dpo")),
         _with("reference", of=("grpo", "dpo"))),
    "`reference` is the wrong way round: False is without one.":
        (lambda held, c: _held(c._replace(reference=not c.reference)),),
    "`rules` makes no difference. If a program gives the reward, no reward model is in memory.":
        (_with("reward model", of=("ppo", "grpo")), _as(rules=False)),
    "`rules` makes no difference to PPO. A program may give its reward as well.":
        (_with("reward model", of=("ppo",)),),
    "`rules` is the wrong way round: True is without a reward model.":
        (lambda held, c: _held(c._replace(rules=not c.rules)),),
    "No reward model is in memory, with rules or without. If rules do not give the reward, who does?":
        (_without("reward model"), _without("reward model", of=("ppo",))),
    "`rules` drops the reference. It has nothing to do with where the reward comes from.":
        (_without("reference", when=_rules), _both(_without("reference", when=_rules), _with("reward model", of=("ppo", "grpo"))),
         _without("reference", of=("ppo", "grpo"), when=_rules), _without("reference", of=("dpo",), when=_rules),
         _without("reference", of=("grpo",), when=_rules), _without("reference", of=("ppo",), when=_rules)),
    "Without a reference the reward model goes as well. They have nothing to do with each other.":
        (_without("reward model", when=_none), _without("reward model", of=("grpo",), when=_none),
         _without("reward model", of=("ppo",), when=_none)),
    "`rules` and `reference` changed places.":
        (lambda held, c: _held(Setting(c.method, c.reference, c.rules)),),
    "The critic is frozen in yours. What is expected of an answer changes with the policy: it learns along.":
        (_learning("critic", False),),
    "The reference is trained in yours. It stays where the policy began, or straying from it could not be measured.":
        (_learning("reference", True), _both(_learning("reference", True), _learning("reward model", True))),
    "The reward model is trained in yours. Its training is over before this one begins.":
        (_learning("reward model", True),),
    "Everybody is trained in yours. Who only gives a number or a log-probability is frozen.":
        (lambda held, c: dict.fromkeys(held, True),),
    "The policy is frozen in yours. It is what all the training is for.":
        (_learning("policy", False), _both(_learning("policy", False), _learning("critic", False))),
    "Trained and frozen are exchanged: True is trained.":
        (lambda held, c: {name: not learns for name, learns in held.items()},),
    "The policy is missing. It is what is trained.": (_without("policy"),),
    "All four models are in memory in yours, whatever the method.":
        (lambda held, c: dict(_LEARNS),),
    "Absent models are in the dict as well, with False. Who is not there has no entry: False is frozen.":
        (lambda held, c: {name: held.get(name, False) for name in _LEARNS},
         _both(_with("reward model"), lambda held, c: {name: held.get(name, False) for name in _LEARNS})),
    "The method makes no difference: it is always that of PPO, or of GRPO.":
        (_as(method="ppo"), _as(method="grpo")),
    "It always gives the same answer. Is the worked one built in?":
        (lambda held, c: {"policy": True, "reference": False, "reward model": False},
         lambda held, c: {"policy": True, "critic": True}, lambda held, c: {"policy": True}),
}
# fmt: on
