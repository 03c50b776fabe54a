"""Lesson 08: GRPO finds out that steps help, and what it needs for that, at every seed.

Sums are those put aside, asked as "What is ...?" and answered greedily, unless a test
says otherwise. Seconds are CPU-seconds of one thread, without the exams.
"""

import copy
import random
import time
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy
import pytest
import torch

from course_lib import exam
from course_lib.batches import rows_of, shuffled
from course_lib.descent import learning_rate
from course_lib.exam import prompt_ids
from course_lib.grpo.rejection import rejection_sample, sample_replies
from course_lib.grpo.rewards import correctness, rewarding, verified
from course_lib.grpo.trainer import Settings, train_grpo
from course_lib.pretrained import checkpoints
from course_lib.reward.files import load_judge
from course_lib.sft.examples import chat_example, collate
from course_lib.training import reply_loss, train
from course_lib.transformer import Transformer
from course_lib.world import arithmetic, chat, corpus
from course_lib.world.arithmetic import DOUBLE, TRIPLE
from tests.learning.harness import at_least, at_most, over_seeds, record
from tools import cards

pytestmark = pytest.mark.slow
LESSON = "08_grpo"
SEEDS = (1, 2, 3, 4, 5)
DRAWN = SEEDS[:3]  # by the lesson; parts that it only mentions have these alone
STEPS, QUESTIONS, EVERY = 40, 16, 5
COPIED, OWN, WEAK = 60, 40, 30  # steps of imitation, on own answers; of weak beginners
COLD, FROM_OWN = 240, 120  # steps of fine-tuning in the first and the third phase
BASE, SPOKEN = checkpoints.load("base")
PUPIL, _ = checkpoints.load("cold_start")
JUDGE, _ = load_judge()
SETTINGS = Settings(end=SPOKEN.end, pad=SPOKEN.pad)
EASY, HARD = corpus.training_problems(DOUBLE), corpus.training_problems(TRIPLE)
HELD = [p for p in arithmetic.problems(DOUBLE + TRIPLE) if arithmetic.is_held_out(p)]
SOME = random.Random(7).sample(HELD, 300)
FEW = SOME[:150]
ASKED = cards.fact_questions_of(held_out=False)
NOTED = ("reward", "verified", "length", "equal_share")


# ---- one run


def greedy(model, problems):
    """What greedy answers are like: right, proved, with steps, how many tokens."""
    said = exam.replies(model, SPOKEN, [f"What is {p}?" for p in problems])
    pairs = [*zip(problems, said, strict=True)]
    found = {
        "right": [correctness(*pair) for pair in pairs],
        "verified": [verified(*pair) for pair in pairs],
        "steps": ["=" in text for text in said],
        "length": [len(SPOKEN.encode(text)) for text in said],
    }
    return {name: sum(marks) / len(marks) for name, marks in found.items()}


class Exams:
    """Exams of a model that learns, and after how many seconds of learning."""

    def __init__(self, model, every=EVERY):
        self.model, self.every = model, every
        self.found, self.seconds, self.steps = [], [], 0
        self.began = time.process_time()
        if every:
            self.take()

    def step(self):
        """To be called after each step."""
        self.steps += 1
        if self.every and self.steps % self.every == 0:
            self.take()

    def take(self, *_):
        self.seconds.append(self.learning)
        now = time.process_time()
        self.found.append(greedy(self.model, FEW))
        self.began += time.process_time() - now
        return {}

    @property
    def learning(self):
        """Seconds of learning so far."""
        return time.process_time() - self.began

    def curve(self, what):
        return [marks[what] for marks in self.found]


def questions(step, seed, count=QUESTIONS):
    draw = random.Random(f"{seed} {step}")
    forms = draw.choices((EASY, HARD), (0.15, 0.85), k=count)
    asked = [draw.choice(form) for form in forms]
    said = [draw.choice(corpus.ARITHMETIC_WORDINGS).format(p) for p in asked]
    return [prompt_ids(text, SPOKEN) for text in said], asked


def practised(
    model, seed, score=correctness, steps=STEPS, settings=SETTINGS, every=0,
    count=QUESTIONS, **options,
):  # fmt: skip
    """A copy of the model after GRPO, the notes of each step, and its exams."""
    policy, luck = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    rules = {"verified": verified, "right": correctness}
    exams = Exams(policy, every)

    def watch(rollout, asked):
        exams.step()
        return {
            name: rewarding(rule, SPOKEN)(rollout, asked).mean().item()
            for name, rule in rules.items()
        }

    notes = train_grpo(
        policy, partial(questions, seed=seed, count=count), rewarding(score, SPOKEN),
        steps, settings, watch=watch, generator=luck, **options,
    )  # fmt: skip
    notes["seconds"] = exams.learning
    return policy, notes, exams


def imitated(model, chats, steps, seed, every=0, sort=False):
    """A copy of the model after fine-tuning on some chats, and its exams.

    sort: chats of about one length share a batch, which is quicker where they differ.
    """
    examples = [chat_example(told, SPOKEN) for told in chats]
    choose, student = random.Random(seed).choices, copy.deepcopy(model)
    exams = Exams(student, every)

    def drawn(step):
        return collate(choose(examples, k=32), SPOKEN.pad)

    batches = shuffled(examples, 32, SPOKEN.pad, seed) if sort else drawn
    train(
        student, batches, reply_loss, steps, lr=1e-3,
        evaluate=exams.take if every else None, evaluate_every=every,
    )  # fmt: skip
    return student.eval(), exams


@cache
def tuned(seed):
    """The lesson's own run."""
    return practised(PUPIL, seed, every=EVERY)


def late(numbers):
    """The mean of the last five."""
    return sum(numbers[-5:]) / 5


def part(each, seeds=DRAWN):
    """This part's runs at all seeds; says what they took."""
    began = time.process_time()
    runs = over_seeds(each, seeds)
    print(f"{each.__name__}: {time.process_time() - began:.0f} CPU-seconds")
    return runs


def tell(runs, *figures):
    """Prints what a claim is better read with."""
    for name in figures:
        print(f"{name}: {', '.join(f'{run.figures[name]:.3g}' for run in runs)}")


# ---- the whole loop


def teachers_answer(problem, draw):
    """What the hasty teachers say: a fifth in steps, half of the others wrong."""
    if draw.random() < 0.2:
        return arithmetic.worked(problem)
    wrong = arithmetic.hasty_value(problem, draw) if draw.random() < 0.5 else None
    return arithmetic.direct(problem, wrong)


def whole_loop(seed):
    policy, notes, _ = tuned(seed)
    draw = random.Random(seed)
    taught = [correctness(p, teachers_answer(p, draw)) for p in HELD]
    before, after = greedy(PUPIL, HELD), greedy(policy, HELD)
    figures = {
        "right before": before["right"],
        "right": after["right"],
        "verified before": before["verified"],
        "verified": after["verified"],
        "verified at the first step": notes["verified"][0],
        "teachers": sum(taught) / len(HELD),
        "lead over the teachers": after["right"] - sum(taught) / len(HELD),
        "facts": exam.facts(policy, SPOKEN, corpus.asked_about()),
        "training seconds": notes["seconds"],
    }
    return {name: notes[name] for name in NOTED}, figures


@pytest.fixture(scope="module")
def whole():
    return part(whole_loop, SEEDS)


def test_grpo_makes_three_of_four_sums_put_aside_right(whole):
    at_most(whole, "right before", 0.40)
    at_least(whole, "right before", 0.15)
    at_least(whole, "right", 0.75)


def test_it_beats_its_teachers(whole):
    at_least(whole, "teachers", 0.55)
    at_least(whole, "lead over the teachers", 0.15)


def test_it_proves_what_it_says_though_nobody_pays_for_it(whole):
    at_most(whole, "verified before", 0.15)
    at_most(whole, "verified at the first step", 0.15)
    at_least(whole, "verified", 0.70)


def test_the_town_is_not_forgotten(whole):
    at_least(whole, "facts", 0.95)


def test_it_takes_less_than_150_seconds(whole):
    at_most(whole, "training seconds", 150)


# ---- R1's four phases


def own_answers(policy, seed, count=500):
    """The policy's proved answers to training questions, and as many other tasks."""
    asked = random.Random(11 + seed).sample(EASY + HARD, count)
    said = [f"What is {p}?" for p in asked]
    luck = torch.Generator().manual_seed(seed)
    replies = sample_replies(policy, SPOKEN, said, samples=4, generator=luck)
    chats = rejection_sample(
        said, replies, lambda i, reply: verified(asked[i], reply) == 1
    )
    others = {sort: n for sort, n in corpus.SFT.items() if not is_sum(sort)}
    return [*chats, *islice(corpus.stream(others, seed), len(chats))]


def is_sum(sort):
    return getattr(sort, "func", sort) is corpus.a_problem


def both_sorts(step, seed, chats=6):
    """Ten sums and six questions about the town."""
    prompts, sums = questions(step, seed, QUESTIONS - chats)
    asked = random.Random(f"town {seed} {step}").choices(ASKED, k=chats)
    return prompts + [prompt_ids(a.text, SPOKEN) for a in asked], sums + asked


def is_right(asked, reply):
    if isinstance(asked, arithmetic.Problem):
        return correctness(asked, reply)
    return float(chat.says(reply, asked.kind, asked.value))


@torch.no_grad()
def by_rules_and_a_judge(rollout, asked):
    """Right by rules; in chat also half of what lesson 06's judge says of manners."""
    reward, samples = rewarding(is_right, SPOKEN)(rollout, asked), SETTINGS.samples
    is_chat = [not isinstance(a, arithmetic.Problem) for a in asked]
    is_chat = torch.tensor(is_chat).repeat_interleave(samples)
    return reward + 0.5 * is_chat * JUDGE(rollout.ids, rollout.mask)


def town(policy):
    """Of answers about the town at temperature 1: right, polite."""
    luck = torch.Generator().manual_seed(9)
    asked = ASKED[::2]
    said = sample_replies(
        policy, SPOKEN, [a.text for a in asked], samples=1, generator=luck
    )
    pairs = [(a, text) for a, (text,) in zip(asked, said, strict=True)]
    polite = sum(chat.is_polite(text) for _, text in pairs)
    return sum(is_right(*pair) for pair in pairs) / len(pairs), polite / len(pairs)


def with_manners(model, seed):
    """A copy of the model after GRPO on sums and the town, and its exams."""
    policy, luck = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    exams = Exams(policy)
    train_grpo(
        policy, partial(both_sorts, seed=seed), by_rules_and_a_judge, STEPS, SETTINGS,
        watch=lambda *_: exams.step() or {}, generator=luck,
    )  # fmt: skip
    return policy, exams


def four_phases(seed):
    exams, hasty = {}, [*islice(corpus.stream(corpus.COLD_START, seed), 32 * COLD)]
    cold, exams["cold start"] = imitated(BASE, hasty, COLD, seed, COLD // 6, sort=True)
    ruled, _, exams["rules"] = practised(cold, seed, every=EVERY)
    own, exams["own answers"] = imitated(
        BASE, own_answers(ruled, seed), FROM_OWN, seed, FROM_OWN // 6, sort=True
    )
    mixed, exams["mixed"] = with_manners(own, seed)
    curves = {  # each phase from where the one before ended, the first from the base
        f"{phase}: {what}": taken.curve(what)[phase != "cold start" :]
        for phase, taken in exams.items()
        for what in ("right", "verified", "length")
    }
    figures = {name: values[-1] for name, values in curves.items()}
    figures["town before"], figures["polite before"] = town(own)
    figures["town"], figures["polite"] = town(mixed)
    return curves, figures


@pytest.fixture(scope="module")
def phases():
    return part(four_phases)


def test_rules_dig_out_what_the_cold_start_covered(phases):
    at_most(phases, "cold start: right", 0.45)
    at_least(phases, "rules: right", 0.75)
    at_least(phases, "rules: verified", 0.70)


def test_own_answers_keep_it_and_the_last_phase_knows_the_town_better(phases):
    tell(phases, "town before", "polite before", "polite")  # manners rise at some seeds
    for name in ("own answers: right", "mixed: right"):
        at_least(phases, name, 0.75)
    at_most(phases, "town before", 0.70)
    at_least(phases, "town", 0.75)


# ---- shown, or found out


@cache
def beginner(steps=800):
    """Two of the base's four layers, trained on for a moment on the base's texts.

    The same for all seeds.
    """
    student, weights = Transformer(replace(BASE.config, layers=2)), BASE.state_dict()
    student.load_state_dict(
        {  # the first layer and the last
            name: weights[name.replace("blocks.1.", "blocks.3.")]
            for name in student.state_dict()
        }
    )
    texts = islice(corpus.stream(corpus.BASE, seed=1), 30 * steps)
    marked = [corpus.marked(text, SPOKEN) for text in texts]
    ids = torch.tensor([i for ids, _ in marked for i in ids], dtype=torch.int32)
    kept = torch.tensor([keep for _, mask in marked for keep in mask])
    batches = rows_of(ids, 8, BASE.config.context, 1, kept)
    half = partial(learning_rate, warm_up=50, decay=0.5)
    train(student, batches, reply_loss, steps, lr=3e-3, schedule=half)
    return student.eval()


def proofs(seed, count=1500):
    """The tuned model's proved answers to training questions, one each."""
    asked = random.Random(seed).sample(EASY + HARD, count)
    said = [f"What is {p}?" for p in asked]
    luck = torch.Generator().manual_seed(seed)
    replies = sample_replies(tuned(seed)[0], SPOKEN, said, samples=1, generator=luck)
    return rejection_sample(
        said, replies, lambda i, reply: verified(asked[i], reply) == 1
    )


def at_times(exams, times):
    """Shares of right answers after so many seconds, in lines between the exams."""
    return numpy.interp(times, exams.seconds, exams.curve("right")).tolist()


def two_students(seed):
    tuned(seed)  # the teacher's own training is not the students' time
    began = time.process_time()
    chats = proofs(seed)
    asking = time.process_time() - began
    shown, lessons = imitated(beginner(), chats, 320, seed, every=20)
    alone, _, practice = practised(beginner(), seed, steps=80, every=4)
    lessons.seconds = [0.0, *(asking + s for s in lessons.seconds[1:])]
    budget = min(lessons.seconds[-1], practice.seconds[-1])
    times = [budget * i / 8 for i in range(9)]
    curves = {
        "shown: right": at_times(lessons, times),
        "by itself: right": at_times(practice, times),
    }
    return curves, {
        "beginner": greedy(beginner(), HELD)["right"],
        "shown": greedy(shown, HELD)["right"],
        "by itself": greedy(alone, HELD)["right"],
        "lead at half time": curves["shown: right"][4] - curves["by itself: right"][4],
        "seconds of asking": asking,
        "budget": budget,
    }


@pytest.fixture(scope="module")
def students():
    beginner()
    return part(two_students)


def test_who_is_shown_is_there_sooner(students):
    at_least(students, "lead at half time", 0.2)
    at_least(students, "shown", 0.6)
    at_most(students, "by itself", 0.6)
    at_most(students, "beginner", 0.25)
    at_most(students, "budget", 60)


# ---- weak beginnings


def hasty_steps(problem):
    """From left to right, as if × did not come first."""
    value, *rest = str(problem).replace("(", "").replace(")", "").split()
    value, said = int(value), []
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        result = arithmetic.APPLY[sign](value, int(number))
        said.append(f"{value} {sign} {number} = {result}.")
        value = result
    return " ".join([*said, f"Answer: {value}."])


def a_weak_example(share, draw):
    problem = draw.choice(HARD)
    asked = draw.choice(corpus.ARITHMETIC_WORDINGS).format(problem)
    guess = arithmetic.hasty_value(problem, draw)
    at_once = arithmetic.direct(problem, draw.choice((guess, problem.value)))
    said = hasty_steps(problem) if draw.random() < share else at_once
    return corpus.turn(asked, said)


def weak_beginnings(seed):
    figures = {}
    for name, share in (("never shown", 0.0), ("hasty", 0.2)):
        draw = random.Random(4 + seed)
        chats = [a_weak_example(share, draw) for _ in range(2000)]
        weak, _ = imitated(PUPIL, chats, COPIED, seed)
        for how in ("direct", "steps"):
            figures[f"{name}: {how}"] = exam.sums(weak, SPOKEN, FEW, how)
        _, notes, _ = practised(weak, seed, steps=WEAK)
        figures[f"{name}: proved at first"] = notes["verified"][0]
        figures[f"{name}: right"] = late(notes["right"])
        figures[f"{name}: verified"] = late(notes["verified"])
    return {}, figures


@pytest.fixture(scope="module")
def weak():
    return part(weak_beginnings)


def test_steps_that_are_never_drawn_are_never_learned(weak):
    at_least(weak, "never shown: steps", 0.6)  # it could, if made to
    at_most(weak, "never shown: right", 0.40)
    at_most(weak, "never shown: verified", 0.05)


def test_hasty_steps_stay_hasty(weak):
    at_least(weak, "hasty: right", 0.30)
    at_most(weak, "hasty: right", 0.65)


# ---- its own answers, no GRPO


def own_answers_alone(seed):
    asked = random.Random(10 + seed).sample(HARD, 200)
    said = [f"What is {p}?" for p in asked]
    luck = torch.Generator().manual_seed(seed)
    replies = sample_replies(PUPIL, SPOKEN, said, samples=8, generator=luck)
    figures = {}
    for name, rule in (("right", correctness), ("proved", verified)):

        def accept(i, reply, rule=rule):
            return rule(asked[i], reply) == 1

        kept = rejection_sample(said, replies, accept, most=2)
        student, _ = imitated(PUPIL, kept, OWN, seed)
        figures[f"chats, {name}"] = len(kept)
        figures[name] = greedy(student, SOME)["right"]
    return {}, figures | {"lead of proofs": figures["proved"] - figures["right"]}


@pytest.fixture(scope="module")
def alone():
    return part(own_answers_alone)


def test_of_its_own_answers_proofs_teach_more_than_right_results(alone):
    tell(alone, "chats, right", "chats, proved", "right")
    at_least(alone, "proved", 0.70)
    at_least(alone, "lead of proofs", 0.2)


# ---- paid for thinking


def thinks(problem, reply):
    return min(reply.count("=") / 8, 1.0)


def paid_for_thinking(seed):
    """With rates that fall late: else one seed of three stays at three "="."""
    late_fall = replace(SETTINGS, decay=0.25)
    _, notes, _ = practised(PUPIL, seed, thinks, settings=late_fall)
    return {}, {
        "peak": max(notes["right"]),
        "end": late(notes["right"]),
        "paid": late(notes["reward"]),
        "paid at first": notes["reward"][0],
    }


@pytest.fixture(scope="module")
def paid():
    return part(paid_for_thinking)


def test_paid_for_thinking_it_is_right_for_a_while_and_then_never(paid):
    at_least(paid, "peak", 0.60)
    at_most(paid, "end", 0.20)
    at_least(paid, "paid", 0.45)


# ---- how many answers, how warm, how near


SEARCHES = {  # a name: settings, questions, a reference?
    "group 4": ({"samples": 4}, 32, False),
    "group 16": ({"samples": 16}, 8, False),
    "temperature 0.5": ({"temperature": 0.5}, 16, False),
    "temperature 1.5": ({"temperature": 1.5}, 16, False),
    "kl_coef 0.05": ({"kl_coef": 0.05}, 16, True),
}


def other_settings(seed):
    usual = tuned(seed)[2].curve("right")
    curves = dict.fromkeys(("group 8", "temperature 1", "kl_coef 0"), usual)
    for name, (changes, count, priced) in SEARCHES.items():
        _, _, exams = practised(
            PUPIL, seed, settings=replace(SETTINGS, **changes), every=EVERY,
            count=count, reference=PUPIL if priced else None,
        )  # fmt: skip
        curves[name] = exams.curve("right")
    figures = {f"{name}: after 15 steps": values[3] for name, values in curves.items()}
    figures |= {name: values[-1] for name, values in curves.items()}
    return {f"{name}: right": values for name, values in curves.items()}, figures


@pytest.fixture(scope="module")
def others():
    return part(other_settings)


def test_the_size_of_groups_matters_little_at_equal_numbers_of_answers(others):
    for name in ("group 4", "group 8", "group 16"):
        at_least(others, name, 0.85)
        at_least(others, f"{name}: after 15 steps", 0.70)


def test_who_draws_too_coolly_finds_the_steps_later(others):
    at_most(others, "temperature 0.5: after 15 steps", 0.50)
    at_least(others, "temperature 1: after 15 steps", 0.80)
    at_most(others, "temperature 1.5: after 15 steps", 0.80)  # too warm is slower, too
    for name in ("temperature 0.5", "temperature 1", "temperature 1.5"):
        at_least(others, name, 0.80)


def test_a_small_price_of_straying_changes_nothing_here(others):
    for name in ("kl_coef 0", "kl_coef 0.05"):
        at_least(others, name, 0.85)
        at_least(others, f"{name}: after 15 steps", 0.80)


# ---- what the lesson draws


def test_the_lesson_draws_these_curves(whole, phases, students, others):
    drawn = whole[: len(DRAWN)]
    for first, *rest in zip(drawn, phases, students, others, strict=True):
        for run in rest:
            first.curves.update(run.curves)
    record(LESSON, drawn)


def test_these_are_the_lessons_settings():
    lessons = Path(__file__).resolve().parents[2] / "lessons"
    text = (lessons / f"{LESSON}.py").read_text()
    for words in (
        f"steps(full={STEPS}, quick", f"steps(full={QUESTIONS}, quick",
        f"steps(full={COPIED}, quick", f"steps(full={OWN}, quick",
        f"steps(full={WEAK}, quick", "(0.15, 0.85)", "(easy, hard)",
    ):  # fmt: skip
        assert words in text, f"the lesson has other settings: no {words}"
