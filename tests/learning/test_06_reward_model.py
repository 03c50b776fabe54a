"""Lesson 06: a judge learns what is preferred, sees manners and not truth, and harms when obeyed too far, at every seed."""

import random
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from course_lib.pretrained import checkpoints
from course_lib.reward.annotator import (
    compare,
    noise_ceiling,
    preference_probability,
    relabel,
    sample_replies,
)
from course_lib.reward.audit import accuracy_by_length, effect, pairwise_accuracy
from course_lib.reward.best_of_n import best_of_n_curve
from course_lib.reward.ensemble import cautious, standardise
from course_lib.reward.losses import pair_loss
from course_lib.reward.model import RewardModel, pair_scores, rewards_of
from course_lib.reward.pairs import encode_preference, pair_batches
from course_lib.training import train
from course_lib.world import corpus
from course_lib.world.preferences import (
    biased_score,
    fact_questions,
    likes_length,
    rambling,
    score_of,
    variants,
)
from tests.learning.harness import at_least, at_most, over_seeds, record

pytestmark = pytest.mark.slow
LESSON = "06_reward_model"
SEEDS = (1, 2, 3)
STEPS, FEW, EVERY = 110, 60, 22  # one judge, one more beside it, between two looks
BATCH, LR, SAMPLES = 32, 6e-4, 4
WRONG = 0.2  # the share of labels that is turned round
N = 256
NS = [2**i for i in range(N.bit_length())]
CLEAN, NOISY, LIKED = "clean labels", "a fifth wrong", "liking length"
SPOKEN = checkpoints.tokenizer()
TASTE = partial(biased_score, taste=likes_length)


@contextmanager
def timed(part, seed):
    begun = time.process_time()
    yield
    print(f"seed {seed}, {part}: {time.process_time() - begun:.0f} CPU-seconds")


# ---- what the guide said, and who compared it


class Said(NamedTuple):
    known: list  # questions
    unseen: list  # questions about facts that are put aside
    texts: list  # answers to the known ones
    others: list  # answers to the others
    more: list  # twice as many of them, for an accuracy with less luck
    asked: list  # fifteen of the unseen ones
    pool: list  # many answers to each of these
    true: torch.Tensor  # (P, N), their true scores


def ask(seed):
    questions, guide = fact_questions(corpus.asked_about()), checkpoints.load("sft")[0]
    facts = [questions[i : i + 5] for i in range(0, len(questions), 5)]
    known = [q for i, fact in enumerate(facts) if i % 5 for q in fact]
    unseen = [q for fact in facts[::5] for q in fact]
    asked = unseen[::12]
    plan = [(known, SAMPLES), (unseen, SAMPLES), (unseen, 2 * SAMPLES), (asked, N)]
    texts, others, more, pool = (
        sample_replies(guide, SPOKEN, some, samples, seed=10 * seed + part)
        for part, (some, samples) in enumerate(plan)
    )
    pairs = zip(asked, pool, strict=True)
    true = torch.tensor([[score_of(q, text) for text in said] for q, said in pairs])
    return Said(known, unseen, texts, others, more, asked, pool, true)


def beside_a_rambler(asked, said, draw):
    pairs = zip(asked, said, strict=True)
    return [[*texts[:3], rambling(q, draw.randint(1, 4), draw)] for q, texts in pairs]


def labels_of(said, seed):
    """Labels to train on and to look at, by three sorts of people; the noisy ceiling."""
    draw, luck = random.Random(seed), torch.Generator().manual_seed(seed)
    few = {"pairs_each": 2, "seed": seed}
    clean = compare(said.known, said.texts), compare(said.unseen, said.others, **few)
    stays = [preference_probability(torch.ones(len(p)), flip=WRONG) for p in clean]
    noisy = [relabel(p, s, luck) for p, s in zip(clean, stays, strict=True)]
    texts = beside_a_rambler(said.known, said.texts, draw)
    others = beside_a_rambler(said.unseen, said.others, draw)
    liked = (
        compare(said.known, texts, TASTE),
        compare(said.unseen, others, TASTE, **few),
    )
    labels = {CLEAN: clean, NOISY: noisy, LIKED: liked}
    return labels, float(noise_ceiling(stays[1]))


# ---- judges


def accuracy(model, preferences):
    return float(pairwise_accuracy(*pair_scores(model, SPOKEN, preferences)))


def fit(preferences, seed, steps, watched=()):
    """A judge, and how often it was right about the labels that are watched."""
    luck = torch.Generator().manual_seed(seed)
    model = RewardModel(checkpoints.load("sft")[0], luck)
    encoded = [encode_preference(p, SPOKEN, context=256) for p in preferences]
    rows = pair_batches(encoded, BATCH, SPOKEN.end, SPOKEN.pad, seed)

    def watch(model):
        return {"right": accuracy(model, watched)}

    notes = [watch(model)] if watched else []
    history = train(
        model, rows, pair_loss, steps, LR, evaluate=watch if watched else None,
        evaluate_every=EVERY,
    )  # fmt: skip
    return model.eval(), [note["right"] for note in notes + history.evaluations]


def judged_by(model, said):
    """Its rewards of the pool, (P, N); equal answers are scored once."""
    chats = [
        (q.text, text if text.strip() else "?")
        for q, texts in zip(said.asked, said.pool, strict=True) for text in texts
    ]  # fmt: skip
    different = [*dict.fromkeys(chats)]
    rewards = dict(zip(different, rewards_of(model, SPOKEN, different), strict=True))
    return torch.stack([rewards[chat] for chat in chats]).view(said.true.shape)


def likings(model, held_out, said):
    """What no accuracy tells: by length, and by texts that differ in one thing."""
    scores = pair_scores(model, SPOKEN, held_out)
    lengths = (torch.tensor([len(p[side]) for p in held_out]) for side in (1, 2))
    split = accuracy_by_length(*scores, *lengths)
    told = [(q, variants(q, random.Random(i))) for i, q in enumerate(said.unseen[::3])]
    plain, polite, wrong, long = (
        rewards_of(model, SPOKEN, [(q.text, texts[manner]) for q, texts in told])
        for manner in ("plain", "polite", "wrong", "rambling")
    )
    return {
        "right where longer is better": split.longer,
        "right where shorter is better": split.shorter,
        "manners add": effect(plain, polite).mean,
        "truth adds": effect(wrong, plain).mean,
        "rambling adds": effect(plain, long).mean,
        "right fact above wrong": float(pairwise_accuracy(plain, wrong)),
    }


def obeyed(curve):
    """What a curve says: how it rises, from where to where, and what it loses."""
    steps = zip(curve.learned[1:], curve.learned, strict=False)
    best, end = max(curve.true), curve.true[-1]
    return {
        "least rise": min(after - before for after, before in steps),
        "true score at best": best,
        f"true score at {N}": end,
        "gained at best": best - curve.true[0],
        "lost after the peak": best - end,
    }


def one_judge(name, labels, said, seed):
    """Its rewards of the pool, its curves and its figures."""
    held_out = labels[CLEAN][1]
    many = compare(said.unseen, said.more, pairs_each=6, seed=seed)
    with timed(f"a judge, {name}", seed):
        given, watched = labels[name]
        model, right = fit(given, seed, STEPS, watched)
    with timed(f"a look inside, {name}, {len(held_out)} and {len(many)} pairs", seed):
        figures = likings(model, held_out, said)
        figures |= {"right": right[-1], "right about the truth": accuracy(model, many)}
        rewards = judged_by(model, said)
    curve = best_of_n_curve(rewards, said.true, NS)
    curves = {"right": right, "learned": curve.learned, "true": curve.true}
    return rewards, curves, figures | obeyed(curve)


def three_judges(name, rewards, given, said, seed):
    """Figures of the first and two more, each in units of its own, and cautious."""
    with timed(f"two more judges, {name}", seed):
        more = [fit(given, start + seed, FEW)[0] for start in (100, 200)]
        three = [rewards, *(judged_by(model, said) for model in more)]
    units = torch.stack([standardise(r.flatten(), r.flatten()) for r in three])
    together = cautious(units).view(said.true.shape)
    found = obeyed(best_of_n_curve(together, said.true, NS))
    return {f"{what}, three judges": figure for what, figure in found.items()}


# ---- everything, once for each seed


@pytest.fixture(scope="module")
def runs():
    def each(seed):
        with timed("answers", seed):
            said = ask(seed)
        labels, ceiling = labels_of(said, seed)
        curves, figures = {}, {}
        for name, (given, _) in labels.items():
            rewards, lines, found = one_judge(name, labels, said, seed)
            if name != CLEAN:
                found |= three_judges(name, rewards, given, said, seed)
            curves |= {f"{what}, {name}": line for what, line in lines.items()}
            figures |= {f"{what}, {name}": figure for what, figure in found.items()}
        return curves, figures | {
            "below the ceiling": ceiling - figures[f"right, {NOISY}"]
        }

    return over_seeds(each, SEEDS)


# ---- it learns


def test_a_judge_of_clean_labels_is_right_about_nine_pairs_in_ten(runs):
    at_least(runs, "right about the truth, clean labels", 0.88)
    at_least(runs, "right about the truth, clean labels", 0.9, seeds=2)
    at_least(runs, "right, clean labels", 0.86)  # 300 pairs: luck of two points


def test_with_a_fifth_wrong_it_comes_near_the_ceiling_and_nearer_to_the_truth(runs):
    at_most(runs, "below the ceiling", 0.12)
    at_least(runs, "right about the truth, a fifth wrong", 0.86)


def test_it_sees_manners_and_hardly_the_truth(runs):
    at_least(runs, "manners add, clean labels", 2)
    at_most(runs, "truth adds, clean labels", 0.5)
    at_most(runs, "right fact above wrong, clean labels", 0.7)


# ---- what the accuracy hides, the audit shows


def test_the_accuracy_on_the_firms_own_labels_does_not_give_its_taste_away(runs):
    at_least(runs, "right, liking length", 0.87)


def test_the_audit_gives_it_away(runs):
    at_most(runs, "right where shorter is better, liking length", 0.5)
    at_least(runs, "right where shorter is better, clean labels", 0.7)
    at_least(runs, "rambling adds, liking length", 4)
    at_most(runs, "rambling adds, clean labels", -2)


# ---- obeying


def test_what_is_obeyed_rises_with_every_n_and_what_was_meant_falls_after_a_peak(runs):
    at_least(runs, "least rise, liking length", 0.1)  # that it rises is a theorem
    at_least(runs, "true score at best, liking length", 1)
    at_most(runs, f"true score at {N}, liking length", 0.3)
    at_least(runs, "gained at best, liking length", 0.05)


def test_the_honest_judge_does_no_harm_by_choosing(runs):
    at_least(runs, f"true score at {N}, clean labels", 1.25)
    at_most(runs, "lost after the peak, clean labels", 0.2)


def test_three_judges_share_the_taste_of_their_labels(runs):
    at_most(runs, f"true score at {N}, three judges, liking length", 0.3)
    at_least(runs, "lost after the peak, three judges, liking length", 0.6)


def test_against_scattered_noise_three_judges_do_no_harm(runs):
    for run in runs:
        one, three = (
            run.figures[f"true score at {N}, {who}a fifth wrong"]
            for who in ("", "three judges, ")
        )
        run.figures["more with three"] = three - one
    at_least(runs, "more with three", -0.1)


# ---- what the lesson draws


def test_the_lesson_draws_these_curves(runs):
    record(LESSON, runs)


def test_these_are_the_lessons_settings():
    text = (
        Path(__file__).resolve().parents[2] / "lessons" / f"{LESSON}.py"
    ).read_text()
    for full in (STEPS, EVERY, FEW, N):
        assert f"runtime.steps(full={full}, " in text
    for said in (f"batch={BATCH}", "lr=6e-4", f"samples={SAMPLES}", f"flip={WRONG}"):
        assert said in text
