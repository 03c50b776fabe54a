"""Lesson 05: replay keeps what tuning would forget, LoRA comes close, and what the data teaches, at every seed."""

import math
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

from course_lib import exam
from course_lib.batches import shuffled
from course_lib.lora.costs import trainable_share
from course_lib.lora.layers import ALL, add_lora, learn_rows
from course_lib.mixing import with_replay
from course_lib.pretrained import checkpoints
from course_lib.training import reply_loss, train
from course_lib.world import chat, corpus, passages, people
from tests.learning.harness import at_least, at_most, over_seeds, record
from tools import cards

pytestmark = pytest.mark.slow
LESSON = "05_fine_tuning"
SEEDS = (1, 2, 3)
STEPS, LESS, EVERY = 800, 400, 100  # with replay, without, between two exams
FEW, MANNERS = 100, 200
BATCH, LR = 12, 1.5e-3
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
WRONG = (0.0, 0.1, 0.25, 0.5, 0.75)  # shares of the data's answers
SPOKEN = checkpoints.tokenizer()
KNOWN, HELD_OUT = cards.inhabitants(held_out=False), cards.inhabitants(held_out=True)
POLITE = {partial(corpus.a_fact_question, manners={"polite": 1}): 1}
MANNERLY = with_replay(POLITE, corpus.KEPT, 0.5)


def base():
    return checkpoints.load("base")[0]


@pytest.fixture(scope="module")
def town_text():
    """Held-out seeds of stories and portraits, as one row of tokens."""
    told = {corpus.a_story: 0.5, corpus.a_portrait: 0.5}
    texts = islice(corpus.stream(told, seed=9), 200)
    return torch.tensor([id for text in texts for id in corpus.marked(text, SPOKEN)[0]])


def perplexity(model, text):
    everything = torch.ones_like(text, dtype=torch.bool)
    return math.exp(exam.loss_on(model, text, everything))


def tuned(mix, seed, steps, lr=1e-3, batch=24, model=None, watch=None, every=0):
    """A copy of the base, or this model, after `steps` updates; with its history."""
    model = model or base()
    texts = islice(corpus.stream(mix, seed), steps * batch)
    marked = [corpus.marked(text, SPOKEN) for text in texts]
    rows = shuffled(marked, batch, SPOKEN.pad, seed)
    history = train(
        model, rows, reply_loss, steps, lr, evaluate=watch, evaluate_every=every
    )
    return model.eval(), history


# ---- forgetting


@pytest.fixture(scope="module")
def forgetting(town_text):
    def both(seed):
        def watch(model):
            return {
                "right": exam.facts(model, SPOKEN, HELD_OUT),
                "perplexity": perplexity(model, town_text),
            }

        curves, figures = {}, {}
        plan = {"no replay": (corpus.SFT, LESS), "replay": (corpus.TUNING, STEPS)}
        for name, (mix, steps) in plan.items():
            before = watch(base())
            _, history = tuned(mix, seed, steps, LR, BATCH, watch=watch, every=EVERY)
            for what, value in before.items():
                noted = [value, *(note[what] for note in history.evaluations)]
                curves[f"{what}, {name}"] = noted
                figures[f"{what}, {name}"] = noted[-1]
        worse = figures["perplexity, no replay"] / figures["perplexity, replay"]
        return curves, figures | {"stories forgotten, times": worse}

    return over_seeds(both, SEEDS)


def test_with_replay_it_is_right_about_people_nobody_asked_for(forgetting):
    at_least(forgetting, "right, replay", 0.75)


def test_without_replay_it_forgets_stories_and_whom_they_tell_of(forgetting):
    at_most(forgetting, "right, no replay", 0.6)
    at_least(forgetting, "stories forgotten, times", 1.5)


# ---- an adapter


def never_said(mix):
    """The tokens of these replies that nothing of 4,000 of the base's texts says."""

    def said(mix, texts):
        marked = (
            corpus.marked(t, SPOKEN) for t in islice(corpus.stream(mix, 3), texts)
        )
        pairs = (pair for ids, kept in marked for pair in zip(ids, kept, strict=True))
        return {id for id, counts in pairs if counts}

    return sorted(said(mix, 300) - said(corpus.BASE, 4000))


def right_about_held_out(model):
    """The same facts in five wordings: 300 questions, so that luck is small."""
    forms = range(people.WORDINGS)
    return exam.share(
        [exam.facts(model, SPOKEN, HELD_OUT, wording) for wording in forms]
    )


def polite_to_the_end(model):
    """Greedy replies with a whole polite phrase before and after the fact."""
    asked = [people.question(p.name, kind) for p in HELD_OUT for kind in people.KINDS]
    said = exam.replies(model, SPOKEN, asked)
    return exam.share(
        [r.startswith(chat.KIND_WORDS) and r.endswith(chat.WISHES) for r in said]
    )


@pytest.fixture(scope="module")
def adapters():
    new = never_said(POLITE)

    def each(seed):
        full, _ = tuned(MANNERLY, seed, MANNERS, LR, BATCH)
        figures = {"full": right_about_held_out(full)}
        for name, rows in (("no rows", ()), ("adapter", new)):
            model = base()
            add_lora(model, ALL, 6, 12, generator=torch.Generator().manual_seed(seed))
            if rows:
                learn_rows(model, rows)
                figures["share"] = trainable_share(model)[2]
            tuned(MANNERLY, seed, MANNERS, 8e-3, BATCH, model)
            figures[name] = right_about_held_out(model)
            figures[f"polite, {name}"] = polite_to_the_end(model)
        figures["behind by"] = figures["full"] - figures["adapter"]
        return {}, figures

    return over_seeds(each, SEEDS)


def test_an_adapter_of_less_than_a_tenth_comes_within_five_points(adapters):
    at_most(adapters, "share", 0.1)
    at_most(adapters, "behind by", 0.05)
    at_least(adapters, "adapter", 0.75)
    at_least(adapters, "polite, adapter", 0.75)


def test_without_rows_of_its_own_the_adapter_garbles_what_the_base_never_said(adapters):
    at_most(adapters, "polite, no rows", 0.1)


# ---- what decides


@pytest.fixture(scope="module")
def rates():
    def each(seed):
        right = []
        for lr in RATES:
            model, _ = tuned(MANNERLY, seed, MANNERS, lr, BATCH)
            right.append(right_about_held_out(model))
        return {"right, by rate": right}, dict(zip(map(str, RATES), right, strict=True))

    return over_seeds(each, SEEDS)


def test_a_learning_rate_too_high_destroys_the_model(rates):
    at_most(rates, str(RATES[-1]), 0.3)
    at_least(rates, "0.001", 0.65)


def a_wrong_answer(draw, wrong):
    """A question about one of the thirty, answered wrongly with this probability."""
    person, kind = draw.choice(corpus.asked_about()), draw.choice([*people.KINDS])
    told = chat.answer(person, kind, draw, right=draw.random() >= wrong)
    return corpus.turn(told.question, told.text)


@pytest.fixture(scope="module")
def noise():
    def each(seed):
        right = []
        for wrong in WRONG:
            mix = with_replay(
                {partial(a_wrong_answer, wrong=wrong): 1}, corpus.KEPT, 0.5
            )
            model, _ = tuned(mix, seed, FEW)
            right.append(exam.facts(model, SPOKEN, KNOWN, wording=0))
        return {"right, by wrong answers": right}, {
            str(wrong): share for wrong, share in zip(WRONG, right, strict=True)
        }

    return over_seeds(each, SEEDS)


def test_a_few_wrong_answers_are_outvoted_and_many_are_learned(noise):
    at_least(noise, "0.1", 0.85)
    at_most(noise, "0.75", 0.6)


def asked_about(names):
    return [people.question(name, "pet") for name in names]


def a_refusal(draw):
    name, kind = draw.choice(passages.strangers()), draw.choice([*people.KINDS])
    return corpus.turn(people.question(name, kind), passages.UNKNOWN)


def refuses(model, names):
    said = exam.replies(model, SPOKEN, asked_about(names))
    return exam.share([passages.UNKNOWN in reply for reply in said])


@pytest.fixture(scope="module")
def diets():
    one, lists = corpus.a_fact_question, partial(corpus.a_register, questions=1)
    mixes = {
        "one task": {one: 1},
        "three tasks": {one: 1, lists: 1, corpus.a_problem: 1},
        "refusals": {one: 0.9, a_refusal: 0.1},
    }
    strangers, told = passages.strangers(held_out=True), [p.name for p in HELD_OUT]

    def each(seed):
        figures = {}
        for name, mix in mixes.items():
            model, _ = tuned(mix, seed, FEW)
            figures[f"copies, {name}"] = exam.copying(model, SPOKEN, 1)
            figures[f"refuses strangers, {name}"] = refuses(model, strangers)
            figures[f"refuses people of stories, {name}"] = refuses(model, told)
        figures["gain"] = figures["copies, three tasks"] - figures["copies, one task"]
        return {}, figures

    return over_seeds(each, SEEDS)


def test_three_tasks_keep_a_task_that_none_of_them_trains(diets):
    at_least(diets, "gain", 0.02)


def test_refusals_stop_inventions_and_spread_to_people_it_knows(diets):
    at_most(diets, "refuses strangers, one task", 0.1)
    at_least(diets, "refuses strangers, refusals", 0.8)
    at_least(diets, "refuses people of stories, refusals", 0.1)


# ---- what the lesson draws


def test_the_lesson_draws_these_curves(forgetting, rates, noise):
    for runs in zip(forgetting, rates, noise, strict=True):
        for run in runs[1:]:
            runs[0].curves.update(run.curves)
    record(LESSON, forgetting)


def test_these_are_the_lessons_settings():
    text = (
        Path(__file__).resolve().parents[2] / "lessons" / f"{LESSON}.py"
    ).read_text()
    for steps in (STEPS, LESS, FEW, MANNERS):
        assert f"runtime.steps(full={steps}, " in text
