"""The course's own models learn at every seed, not only at the one that ships.

The base model's whole recipe takes minutes a seed, so a sixth of it is shown here; docs/LOG.md
has the figures of three seeds of the whole chain. The tuned models follow their whole recipes.
"""

from dataclasses import replace

import pytest

from course_lib import exam
from course_lib.pretrained import checkpoints
from tests.learning.harness import at_least, at_most, over_seeds
from tools import cards, pretrain

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)
RECIPES = {recipe.stage: recipe for recipe in pretrain.RECIPES}


def trained(stage, seed, **changes):
    recipe = replace(RECIPES[stage], seed=seed, **changes)
    spoken = checkpoints.tokenizer()
    model = recipe.beginning(spoken, checkpoints.HERE)
    history = pretrain.learn(recipe, model, spoken)
    return model.eval(), spoken, history


def test_a_sixth_of_the_base_models_recipe_teaches_half_of_the_facts():
    def base(seed):
        model, spoken, history = trained("base", seed, steps=1000, texts=30_000)
        figures = {
            "first loss": history.losses[0],
            "last loss": history.mean(50),
            "facts": exam.facts(model, spoken, cards.inhabitants(held_out=False)),
        }
        return {"loss": history.losses}, figures

    runs = over_seeds(base, SEEDS)
    at_least(runs, "first loss", 6.5)  # ln 768 = 6.64: it knows nothing
    at_most(runs, "last loss", 0.8)
    at_least(runs, "facts", 0.5)


@pytest.fixture(scope="module")
def sft_runs():
    def sft(seed):
        model, spoken, history = trained("sft", seed)
        figures = {
            "facts": exam.facts(model, spoken, cards.inhabitants(held_out=False)),
            "held-out facts": exam.facts(model, spoken, cards.inhabitants(True)),
            "copying from one": exam.copying(model, spoken, 1),
            "copying from three": exam.copying(model, spoken, 3),
        }
        return {"loss": history.losses}, figures

    return over_seeds(sft, SEEDS)


def test_sft_answers_about_people_and_copies_from_a_passage(sft_runs):
    at_least(sft_runs, "facts", 0.95)
    at_least(sft_runs, "copying from one", 0.8)


def test_sft_copies_from_three_passages(sft_runs):
    at_least(sft_runs, "copying from three", 0.88)


def test_sft_answers_about_people_of_whom_only_stories_tell(sft_runs):
    at_least(sft_runs, "held-out facts", 0.85)


def test_after_the_cold_start_steps_lead_direct_answers_on_training_problems():
    def cold_start(seed):
        model, spoken, history = trained("cold_start", seed)
        return {"loss": history.losses}, {
            "lead": cards.lead(model, spoken, checkpoints.HERE)
        }

    at_least(over_seeds(cold_start, SEEDS), "lead", 0.3)


def test_the_judge_tells_the_better_answer_about_facts_that_it_never_compared():
    def judge(seed):
        model, spoken, history = trained("reward", seed)
        figures = {
            "held-out pairs": cards.right_pairs(model, spoken, checkpoints.HERE),
            "right over wrong": cards.right_over_wrong(model, spoken, checkpoints.HERE),
        }
        return {"loss": history.losses}, figures

    runs = over_seeds(judge, SEEDS)
    at_least(runs, "held-out pairs", 0.88)
    at_most(runs, "right over wrong", 0.75)  # it hardly sees the truth
