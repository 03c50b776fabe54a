"""Lesson 00: the café classifier learns at every seed, and what it cannot do it never does.

Thresholds were set after looking at 200 seeds: there the first loss was at most 0.11 away from ln 2, half of
ln 2 was reached after 25 steps at the latest, and every held-out review was read right.
"""

import math
from pathlib import Path

import pytest
import torch

from course_lib import pipeline
from course_lib.masks import masked_mean
from course_lib.pipeline import BagOfWords, WordVocabulary, pad_batch
from course_lib.world.reviews import reviews, twisted_reviews
from tests.learning.harness import (
    at_least,
    at_most,
    exactly,
    is_recorded,
    over_seeds,
    record,
)

pytestmark = pytest.mark.slow
LESSON = "00_start_here"
STEPS = 60
TRAIN, HELD_OUT, TWISTED = reviews(), reviews(held_out=True), twisted_reviews()
VOCABULARY = WordVocabulary([text for text, _ in TRAIN])
SHORT = [text for text, _ in HELD_OUT if len(text.split()) == 4]
RAMBLING = " and ".join(["we came for the pie and it was fresh"] * 4)


def preprocess(texts):
    return pad_batch([VOCABULARY.encode(text) for text in texts])


@torch.no_grad()
def accuracy(model, pairs):
    logits = model(*preprocess([text for text, _ in pairs]))
    return (
        (logits.argmax(1) == torch.tensor([verdict for _, verdict in pairs]))
        .float()
        .mean()
        .item()
    )


def plain_mean(values, mask, dim):
    return values.mean(dim)


@torch.no_grad()
def neighbour_effect(model, mean):
    """What one long review does to the short ones in its batch: verdicts changed, largest change of a probability."""
    candidate = BagOfWords(len(VOCABULARY), 2, mean=mean)
    candidate.load_state_dict(model.state_dict())
    alone = torch.cat([candidate(*preprocess([text])) for text in SHORT]).softmax(1)
    together = candidate(*preprocess([*SHORT, RAMBLING]))[:-1].softmax(1)
    return (alone.argmax(1) != together.argmax(1)).sum().item(), (
        alone - together
    ).abs().max().item()


def train(seed):
    model = BagOfWords(len(VOCABULARY), labels=2, mean=masked_mean)
    targets = torch.tensor([verdict for _, verdict in TRAIN])
    losses = pipeline.train_classifier(
        model, *preprocess([text for text, _ in TRAIN]), targets, STEPS
    )
    half = next(
        (step for step, loss in enumerate(losses) if loss < math.log(2) / 2), math.nan
    )
    masked, plain = (
        neighbour_effect(model, mean) for mean in (masked_mean, plain_mean)
    )
    return {"loss": losses}, {
        "held-out accuracy": accuracy(model, HELD_OUT),
        "accuracy on twisted reviews": accuracy(model, TWISTED),
        "first loss away from ln 2": abs(losses[0] - math.log(2)),
        "steps to half of ln 2": half,
        "verdicts changed, masked mean": masked[0],
        "verdicts changed, plain mean": plain[0],
        "probability moved, masked mean": masked[1],
        "probability moved, plain mean": plain[1],
    }


@pytest.fixture(scope="module")
def eight_runs():
    return over_seeds(train, range(1, 9))


@pytest.fixture(scope="module")
def runs(eight_runs):
    return eight_runs[:5]


def test_nine_of_ten_held_out_reviews_are_read_right(runs):
    at_least(runs, "held-out accuracy", 0.9)


def test_the_loss_starts_at_a_coin_toss_and_is_halved_within_forty_steps(runs):
    at_most(runs, "first loss away from ln 2", 0.15)
    at_most(runs, "steps to half of ln 2", 40)


def test_twisted_reviews_are_read_right_exactly_half_the_time(runs):
    # the same bag twice, with opposite verdicts
    exactly(runs, "accuracy on twisted reviews", 0.5)


def test_with_the_masked_mean_no_neighbour_changes_a_verdict(eight_runs):
    exactly(eight_runs, "verdicts changed, masked mean", 0)
    # rounding of sums of other lengths
    at_most(eight_runs, "probability moved, masked mean", 1e-5)


def test_with_a_plain_mean_a_long_neighbour_moves_every_model_and_changes_verdicts_of_six_in_eight(
    eight_runs,
):
    # of 200 seeds, 9 changed no verdict, so "at every seed" is not claimed; the least probability moved was 0.35
    at_least(eight_runs, "probability moved, plain mean", 0.2)
    at_least(eight_runs, "verdicts changed, plain mean", 1, seeds=6)


def test_the_lesson_draws_these_curves_and_trains_as_many_steps(runs):
    lesson = Path(__file__).resolve().parents[2] / "lessons" / f"{LESSON}.py"
    assert f"runtime.steps(full={STEPS}, " in lesson.read_text()
    record(LESSON, runs)
    is_recorded(LESSON, runs, atol=0.02)
