"""The cards of the checkpoints: every figure with its definition, measured on the shipped file.

`python -m tools.cards` measures all of them again and compares. A target is what the
course promises of a stage; a card that misses one says so.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from course_lib import exam
from course_lib.pretrained import checkpoints
from course_lib.reward.annotator import compare, sample_replies
from course_lib.reward.audit import pairwise_accuracy
from course_lib.reward.files import JUDGE, load_judge
from course_lib.reward.model import pair_scores, rewards_of
from course_lib.tokenizer import Tokenizer
from course_lib.world import arithmetic, chat, corpus, people
from course_lib.world.arithmetic import DOUBLE, TRIPLE, Problem
from course_lib.world.preferences import FactQuestion, fact_questions, variants

PAGE = Path(__file__).resolve().parents[1] / "docs" / "MODELS.md"
PREFACE = """# The course's own models

One small model through its whole life, in the toy town of Millbrook. `make weights` makes these files and this page; a test
measures every figure again. With n questions and a share p, chance alone moves a figure by about √(p (1 − p) / n)."""
TOLERANCE = (
    0.03  # another processor rounds differently, and a greedy choice may tip over
)
QUESTIONS = 300
STAGES = checkpoints.STAGES | {
    JUDGE: "the tuned model with one number at its end: what people prefer to hear"
}


@dataclass(frozen=True)
class Figure:
    """One number of a card."""

    name: str
    stages: tuple[str, ...]
    definition: str
    measure: Callable[[nn.Module, Tokenizer, Path], float]


def inhabitants(held_out: bool) -> list[people.Person]:
    return [
        person for person in people.town() if people.is_held_out(person) == held_out
    ]


def path(stage: str, folder: Path) -> Path:
    return folder / f"{stage}.json"


def some_problems(
    forms: tuple[str, ...], held_out: bool, seed: int = 0
) -> list[Problem]:
    found = [
        p for p in arithmetic.problems(forms) if arithmetic.is_held_out(p) == held_out
    ]
    return random.Random(seed).sample(found, min(QUESTIONS, len(found)))


def facts_of(held_out: bool, wording: int | None = None) -> Callable:
    asked = inhabitants(held_out)
    return lambda model, spoken, _: exam.facts(model, spoken, asked, wording)


def problems_of(forms: tuple[str, ...], held_out: bool, how: str) -> Callable:
    asked = some_problems(forms, held_out)
    return lambda model, spoken, _: exam.sums(model, spoken, asked, how)


def small_tables(model: nn.Module, spoken: Tokenizer, _: Path) -> float:
    asked = arithmetic.problems(arithmetic.SINGLE)
    return exam.sums(model, spoken, [p for p in asked if p.sign != "−"])


def lead(model: nn.Module, spoken: Tokenizer, _: Path) -> float:
    asked = some_problems(TRIPLE, held_out=False)
    return exam.sums(model, spoken, asked, "steps") - exam.sums(
        model, spoken, asked, "direct"
    )


def copying_of(passages: int, answerable: bool = True) -> Callable:
    return lambda model, spoken, _: exam.copying(
        model, spoken, passages, QUESTIONS, answerable=answerable
    )


def manner_of(which: Callable[[str], bool]) -> Callable:
    asked = inhabitants(held_out=False)
    return lambda model, spoken, _: exam.manner(model, spoken, asked, which)


def new_text(spoken: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of the pretraining mix from a seed that no stage uses, and what counts of them.

    The town is small: some of the short ones stood in the training stream as well.
    """
    texts = islice(corpus.stream(corpus.BASE, seed=1000), 400)
    marked = [corpus.marked(text, spoken) for text in texts]
    ids = torch.tensor([token for ids, _ in marked for token in ids])
    return ids, torch.tensor([keep for _, mask in marked for keep in mask])


def loss_on_new_text(model: nn.Module, spoken: Tokenizer, _: Path) -> float:
    return exam.loss_on(model, *new_text(spoken))


def agreement(draft: nn.Module, spoken: Tokenizer, folder: Path) -> float:
    base, _ = checkpoints.load("base", folder=folder)
    return exam.acceptance(draft, base, *new_text(spoken))


def fact_questions_of(held_out: bool) -> list[FactQuestion]:
    """What a judge is asked about: of the facts in all their wordings, every fifth is held out."""
    asked = fact_questions(corpus.asked_about())
    facts = [
        asked[i : i + people.WORDINGS] for i in range(0, len(asked), people.WORDINGS)
    ]
    return [q for i, fact in enumerate(facts) if (i % 5 == 0) == held_out for q in fact]


def right_pairs(judge: nn.Module, spoken: Tokenizer, folder: Path) -> float:
    """Pairs of what the tuned model says to held-out questions, two for each."""
    asked = fact_questions_of(held_out=True)
    guide, _ = checkpoints.load("sft", folder=folder)
    pairs = compare(asked, sample_replies(guide, spoken, asked, seed=2), pairs_each=2)
    return pairwise_accuracy(*pair_scores(judge, spoken, pairs)).item()


def rewards_for(judge: nn.Module, spoken: Tokenizer, manner: str) -> torch.Tensor:
    """Of held-out facts, told in one manner or wrongly, (N,)."""
    asked = fact_questions_of(held_out=True)
    told = [
        (q.text, variants(q, random.Random(i))[manner]) for i, q in enumerate(asked)
    ]
    return rewards_of(judge, spoken, told)


def reward_of(manner: str) -> Callable:
    return lambda judge, spoken, _: rewards_for(judge, spoken, manner).mean().item()


def right_over_wrong(judge: nn.Module, spoken: Tokenizer, _: Path) -> float:
    right, wrong = (rewards_for(judge, spoken, told) for told in ("plain", "wrong"))
    return pairwise_accuracy(right, wrong).item()


CHATS = ("base", "sft", "cold_start")
GREEDY = "greedy; right = "
FACT = GREEDY + "the reply names the value and no other of its kind; closed book"
FIGURES = (
    Figure("facts_trained", CHATS, f"30 people whom training texts ask about × 6 facts, in wordings of training; {FACT}", facts_of(False)),
    Figure("facts_new_wording", CHATS, f"the same facts, asked in words that no training text uses; {FACT}", facts_of(False, people.WORDINGS)),
    Figure("facts_held_out", CHATS, f"10 people of whom only stories tell × 6 facts; {FACT}", facts_of(True)),
    Figure("sums_and_products", CHATS, f"all a + b and a × b with a, b from 1 to 6, seen in training; {GREEDY}the final answer is exact", small_tables),
    Figure("tables", ("base", "cold_start"), "all 687 single operations that a worked step can need, seen in training; the same rule", lambda model, spoken, _: exam.sums(model, spoken, arithmetic.tables())),
    Figure("two_operations_direct", CHATS, "144 held-out problems of two operations, the reply made to begin with 'Answer:'", problems_of(DOUBLE, True, "direct")),
    Figure("two_operations_steps", CHATS, "the same problems, the reply not allowed to begin with 'Answer:'", problems_of(DOUBLE, True, "steps")),
    Figure("three_operations_direct", ("base", "cold_start"), "300 held-out problems of three operations, direct", problems_of(TRIPLE, True, "direct")),
    Figure("three_operations_steps", ("base", "cold_start"), "the same problems, with steps", problems_of(TRIPLE, True, "steps")),
    Figure("three_operations_free", ("cold_start",), "the same problems, the model free to choose", problems_of(TRIPLE, True, "free")),
    Figure("lead_of_steps", ("cold_start",), "300 training problems of three operations: right with steps minus right directly", lead),
    Figure("copying_1", ("base", "sft"), "300 questions on one passage about names that no training text holds; right = the reply holds the passage's value and no other", copying_of(1)),
    Figure("copying_3", ("base", "sft"), "300 questions on three such passages; the same rule", copying_of(3)),
    Figure("unknown", ("base", "sft"), "300 questions that their three passages do not answer; right = 'I do not know.'", copying_of(3, answerable=False)),
    Figure("polite", ("sft",), "share of polite replies to the 180 facts, drawn at temperature 1", manner_of(chat.is_polite)),
    Figure("rude", ("sft",), "share of rude replies, the same draws", manner_of(chat.is_rude)),
    Figure("loss", ("base", "draft", "sft"), "mean loss per token that counts, in nats, on 400 texts of the pretraining mix, drawn with a seed that no stage uses", loss_on_new_text),
    Figure("acceptance", ("draft",), "mean over the positions that count of the sum of min(p, q), p the base and q the draft: the share of its guesses that speculative decoding keeps", agreement),
    Figure("held_out_pairs", (JUDGE,), "pairs of the tuned model's own answers to 180 questions about 36 facts that no training pair is about, labelled by the exact rules: the better one gets the higher reward", right_pairs),
    *(Figure(manner, (JUDGE,), f"mean reward of the held-out facts, right and {manner}; only differences mean something", reward_of(manner)) for manner in chat.MANNERS),
    Figure("wrong", (JUDGE,), "mean reward of plain answers with another value instead", reward_of("wrong")),
    Figure("right_over_wrong", (JUDGE,), "share of the 180 questions whose plain right answer gets more than the plain wrong one; 0.5 = it does not see the truth", right_over_wrong),
)  # fmt: skip
TARGETS = {
    "base": {"facts_trained": (0.9, 1), "sums_and_products": (0.9, 1), "two_operations_direct": (0.15, 0.40), "copying_1": (0.9, 1)},
    "sft": {"facts_trained": (0.95, 1), "copying_3": (0.9, 1)},
    "cold_start": {"lead_of_steps": (0.3, 1)},
    JUDGE: {"held_out_pairs": (0.9, 1)},
}  # fmt: skip


def measure(stage: str, folder: Path = checkpoints.HERE) -> dict[str, dict]:
    """Every figure of one stage: its value, its definition, and the target it has to meet."""
    load = load_judge if stage == JUDGE else partial(checkpoints.load, stage)
    model, spoken = load(folder=folder)
    targets = TARGETS.get(stage, {})
    found = {}
    for figure in FIGURES:
        if stage in figure.stages:
            value = round(figure.measure(model, spoken, folder), 3)
            found[figure.name] = {"value": value, "definition": figure.definition}
            if figure.name in targets:
                low, high = targets[figure.name]
                found[figure.name] |= {
                    "target": [low, high],
                    "met": low <= value <= high,
                }
    return found


def as_text(about: dict) -> str:
    """A card for a terminal."""
    lines = [f"{about['stage']}: {about['what']} ({about['parameters']:,} parameters)"]
    for name, figure in about["figures"].items():
        target = f"  target {figure['target']}" if "target" in figure else ""
        missed = "" if figure.get("met", True) else "  MISSED"
        lines.append(f"  {name:24} {figure['value']:.3f}{target}{missed}")
    return "\n".join(lines)


def page(folder: Path = checkpoints.HERE) -> str:
    """All cards as one page of the documentation."""
    lines = [PREFACE]
    for stage in STAGES:
        about = checkpoints.card(stage, folder)
        recipe, training = about["recipe"], about["training"]
        source = f"from `{recipe['parent']}`" if recipe["parent"] else "from nothing"
        counted, number = next(
            (k, n) for k, n in training.items() if k.endswith(" that counted")
        )
        size = (folder / f"{stage}.safetensors").stat().st_size / 1e6
        lines += [
            f"\n## {stage}\n",
            f"{about['what'].capitalize()}. {about['parameters']:,} parameters, {size:.2f} MB. "
            f"Made {source} in {recipe['steps']:,} steps of {recipe['batch']} rows, learning rate "
            f"{recipe['lr']:g}, seed {recipe['seed']}; {number:,} {counted.removesuffix(' that counted')} counted "
            f"in the loss, which ended at {training['loss at the end']}.\n",
            "| figure | value | target | definition |",
            "|---|---|---|---|",
        ]
        for name, figure in about["figures"].items():
            low, high = figure.get("target", (None, None))
            target = (
                ""
                if low is None
                else f"≥ {low:g}"
                if high == 1
                else f"{low:g} to {high:g}"
            )
            lines.append(
                f"| {name} | {figure['value']:.3f} | {target} | {figure['definition']} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every card again and say what differs."""
    for stage in STAGES:
        written = checkpoints.card(stage)
        now = measure(stage)
        print(as_text({**written, "figures": now}))
        for name, figure in now.items():
            before = written["figures"][name]["value"]
            if abs(figure["value"] - before) > TOLERANCE:
                print(f"  {name} was {before} on the card")


if __name__ == "__main__":
    main()
