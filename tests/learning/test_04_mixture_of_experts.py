"""Lesson 04: a router left alone collapses, two cures help and a third does nothing, at every seed."""

from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

from course_lib.batches import rows_of
from course_lib.moe.balancing import (
    balanced,
    load,
    load_entropy,
    switch_loss,
    update_bias,
)
from course_lib.moe.layer import MixtureOfExperts, routers, routings, stacked
from course_lib.moe.routing import choose, weigh
from course_lib.pretrained import checkpoints
from course_lib.scaling.parameters import Experts
from course_lib.training import evaluated, next_token_loss, train
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus
from tests.learning.harness import at_least, at_most, exactly, over_seeds, record

pytestmark = pytest.mark.slow
LESSON = "04_mixture_of_experts"
SHAPE = Config(width=64, layers=2, heads=4, kv_heads=2, hidden=96)
SEEDS = (1, 2, 3)
STEPS, LONGER = 100, 300


def read(texts, seed):
    spoken = checkpoints.tokenizer()
    drawn = islice(corpus.stream(corpus.BASE, seed), texts)
    return torch.tensor([id for text in drawn for id in corpus.marked(text, spoken)[0]])


@pytest.fixture(scope="module")
def texts():
    return read(4000, seed=0), rows_of(read(300, seed=1), 64, 64)(0)


def route(scores, k, bias=None, renormalise=True):
    chosen = choose(scores, k, bias)
    return weigh(scores, chosen, renormalise), chosen


def mixture(count, chosen, hidden, renormalise=True, biased=False):
    return partial(
        MixtureOfExperts,
        experts=Experts(count, chosen, hidden),
        route=partial(route, renormalise=renormalise),
        biased=biased,
    )


SWITCH = mixture(16, 1, 96, renormalise=False)


@torch.no_grad()
def watch(model, held_out):
    with routings(model) as seen:
        notes = {"loss": next_token_loss(model, held_out)[0].mean()}
    if seen:
        routing = stacked(seen)
        loads = load(routing.chosen, routing.scores.shape[-1])  # (layers, E)
        notes |= {"evenness": load_entropy(loads).mean()}
        notes |= {"idle": (loads < 0.001).sum(dim=-1).max()}  # in the worse layer
    return notes


def trained(texts, seed, steps, mlp=None, loss_fn=next_token_loss):
    """The model, its curves over steps, and its figures at the end."""
    long_text, held_out = texts
    model = Transformer(SHAPE, mlp=mlp, generator=torch.Generator().manual_seed(seed))
    seen = partial(watch, held_out=held_out)
    notes = [evaluated(model, seen)]
    history = train(
        model, rows_of(long_text, 16, 64, seed), loss_fn, steps, lr=3e-3,
        evaluate=seen, evaluate_every=10,
    )  # fmt: skip
    notes += history.evaluations
    curves = {name: [note[name] for note in notes] for name in notes[0]}
    last = {name: curve[-1] for name, curve in curves.items()}
    return model, curves, last | {"least": min(curves.get("evenness", [1.0]))}


def steered(model, ids):
    with routings(model) as seen:
        losses, mask = next_token_loss(model, ids)
    if model.training:
        for router, routing in zip(routers(model), seen, strict=True):
            done = load(routing.chosen, router.out_features)
            new = update_bias(router.selection_bias, done, rate=0.05)
            router.selection_bias.copy_(new)
    return losses, mask


def runs_of(texts, **settings):
    return over_seeds(lambda seed: trained(texts, seed, STEPS, **settings)[1:], SEEDS)


def test_left_alone_it_collapses_and_some_experts_are_still_idle_at_the_end(
    texts,
):
    runs = runs_of(texts, mlp=SWITCH)
    at_most(runs, "least", 0.4)
    at_most(runs, "evenness", 0.8)
    at_least(runs, "idle", 3)


def test_switchs_loss_and_the_bias_both_keep_all_experts_busy(texts):
    helped = balanced(next_token_loss, 0.1, switch_loss)
    biased = mixture(16, 1, 96, renormalise=False, biased=True)
    for settings in (
        {"mlp": SWITCH, "loss_fn": helped},
        {"mlp": biased, "loss_fn": steered},
    ):
        runs = runs_of(texts, **settings)
        at_least(runs, "evenness", 0.9)
        at_most(runs, "idle", 1)


def test_with_two_choices_or_eight_experts_there_is_much_less_of_it(texts):
    alone = runs_of(texts, mlp=SWITCH)
    for mlp in (mixture(16, 2, 96), mixture(8, 1, 96, renormalise=False)):
        milder = runs_of(texts, mlp=mlp)
        for run, other in zip(milder, alone, strict=True):
            run.figures["more even by"] = (
                run.figures["evenness"] - other.figures["evenness"]
            )
        at_least(milder, "more even by", 0.05)


def test_counts_without_a_gradient_change_no_bit_of_the_model(texts):
    def published(scores, chosen):
        E = scores.shape[-1]
        usage = [(chosen == e).any(dim=-1).float().mean() for e in range(E)]
        return (torch.stack(usage) - 1 / E).square().mean()

    def differing(seed):
        with_it = balanced(next_token_loss, 0.01, published)
        one, _, _ = trained(texts, seed, 20, SWITCH, with_it)
        other, _, _ = trained(texts, seed, 20, SWITCH)
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        return {}, {"differ": sum(not torch.equal(a, b) for a, b in pairs)}

    exactly(over_seeds(differing, SEEDS), "differ", 0)


def test_at_equal_work_the_mixture_has_the_lower_loss(texts):
    helped = balanced(next_token_loss, 0.1, switch_loss)

    def both(seed):
        _, dense, _ = trained(texts, seed, LONGER)
        _, mixed, _ = trained(texts, seed, LONGER, mixture(16, 2, 48), helped)
        curves = {"dense": dense["loss"], "2 of 16 experts": mixed["loss"]}
        return curves, {"lower by": dense["loss"][-1] - mixed["loss"][-1]}

    runs = over_seeds(both, SEEDS)
    record(LESSON, runs)
    at_least(runs, "lower by", 0.02)


def test_these_are_the_lessons_settings():
    text = (
        Path(__file__).resolve().parents[2] / "lessons" / f"{LESSON}.py"
    ).read_text()
    for said in (f"runtime.steps(full={STEPS}, ", f"runtime.steps(full={LONGER}, "):
        assert said in text
