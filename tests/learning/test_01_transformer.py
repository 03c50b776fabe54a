"""Lesson 01: the model learns the town's texts at every seed, and noise is learned by nobody who may not cheat."""

import math
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

from course_lib.attention import CausalSelfAttention, attend
from course_lib.batches import rows_of
from course_lib.pretrained import checkpoints
from course_lib.training import mean_loss, next_token_loss, train
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus
from tests.learning.harness import at_least, at_most, is_recorded, over_seeds, record

pytestmark = pytest.mark.slow
LESSON = "01_transformer"
STEPS, ROWS, LENGTH = 300, 16, 128
SEEDS = (1, 2, 3)
TOWN = {corpus.a_story: 0.5, corpus.a_portrait: 0.5}
LIMIT = math.log(16)  # of random tokens, of which there are 16


def as_one_text(texts):
    spoken = checkpoints.tokenizer()
    return torch.tensor([id for text in texts for id in corpus.marked(text, spoken)[0]])


@pytest.fixture(scope="module")
def texts():
    known = [*islice(corpus.stream(TOWN, seed=0), 20_000)]
    unseen = [t for t in islice(corpus.stream(TOWN, seed=1), 300) if t not in {*known}]
    ids = as_one_text(unseen)
    rows = ids[: 48 * (LENGTH + 1)].view(48, LENGTH + 1)
    return as_one_text(known), rows


@pytest.fixture(scope="module")
def runs(texts):
    long_text, unseen = texts

    def learns(seed):
        model = Transformer(
            Config(), attention=partial(CausalSelfAttention, attend=attend)
        )
        batches = rows_of(long_text, ROWS, LENGTH, seed)
        history = train(model, batches, next_token_loss, STEPS, lr=3e-3)
        reached = mean_loss(model, lambda step: unseen, next_token_loss, 1)
        figures = {"first loss": history.losses[0], "unseen texts": reached}
        return {"loss": history.losses}, figures

    return over_seeds(learns, SEEDS)


def test_the_loss_starts_at_ln_v_and_unseen_texts_end_far_below_the_claim(runs):
    at_least(runs, "first loss", math.log(768) - 0.3)
    at_most(runs, "first loss", math.log(768) + 0.3)
    at_most(runs, "unseen texts", 1.6)


def test_the_lesson_draws_these_curves_and_trains_as_many_steps(runs):
    lesson = Path(__file__).resolve().parents[2] / "lessons" / f"{LESSON}.py"
    assert f"runtime.steps(full={STEPS}, " in lesson.read_text()
    record(LESSON, runs)
    is_recorded(LESSON, runs, atol=0.5)  # rounding grows over hundreds of steps


def test_only_a_model_that_sees_the_future_learns_noise():
    def sees_everything(q, k, v, mask):
        return attend(q, k, v, torch.ones_like(mask))

    def on_noise(seed):
        small = Config(
            vocabulary=16, context=16, width=32, layers=2, heads=2, hidden=64
        )

        def rows(step):
            luck = torch.Generator().manual_seed(1000 * seed + step)
            return torch.randint(16, (16, 17), generator=luck)

        figures, curves = {}, {}
        for name, mix in (("causal", attend), ("leaking", sees_everything)):
            model = Transformer(
                small, attention=partial(CausalSelfAttention, attend=mix)
            )
            history = train(model, rows, next_token_loss, 150, lr=5e-3)
            figures[name] = history.mean(20)
            curves[name] = history.losses
        return curves, figures

    runs = over_seeds(on_noise, SEEDS)
    at_least(runs, "causal", LIMIT - 0.05)
    at_most(runs, "leaking", LIMIT / 2)
