"""Simulated people: probabilities on paper, ceilings that no model passes, labels that keep them."""

import math

import pytest
import torch

from course_lib.reward.annotator import (
    compare,
    loss_floor,
    noise_ceiling,
    preference_probability,
    prefers_first,
    relabel,
    sample_replies,
)
from course_lib.reward.losses import bradley_terry_loss
from course_lib.reward.pairs import Preference
from course_lib.world.preferences import FactQuestion, biased_score, likes_length

ADA = FactQuestion("What is Ada's pet?", "Ada", "pet", "fish")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- probabilities


def test_probabilities_on_paper():
    gaps = torch.tensor([1.0, 0.0, -2.0])
    assert preference_probability(gaps).tolist() == [1.0, 0.5, 0.0]
    flipped = preference_probability(gaps, flip=0.2)
    torch.testing.assert_close(flipped, torch.tensor([0.8, 0.5, 0.2]))
    soft = preference_probability(torch.tensor([math.log(3.0)]), temperature=1.0)
    torch.testing.assert_close(soft, torch.tensor([0.75]))
    softer = preference_probability(torch.tensor([2 * math.log(3.0)]), temperature=2.0)
    torch.testing.assert_close(softer, soft)


def test_the_two_orders_of_a_pair_have_probabilities_that_sum_to_one():
    gaps = torch.randn(200, generator=seeded()) * 3
    for settings in (
        {"temperature": 0.7},
        {"flip": 0.3},
        {"temperature": 2, "flip": 0.1},
    ):
        p = preference_probability(gaps, **settings)
        other = preference_probability(-gaps, **settings)
        torch.testing.assert_close(p + other, torch.ones(200))


def test_a_small_temperature_is_nearly_none():
    gaps = torch.tensor([0.5, -0.5, 0.0])
    cold = preference_probability(gaps, temperature=0.01)
    torch.testing.assert_close(cold, preference_probability(gaps))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"flip": 1.5}, "flip a share"),
        ({"flip": math.nan}, "flip a share"),
        ({"temperature": -1}, "temperature is at least 0"),
        ({"gaps": torch.tensor([0.0, math.nan])}, "The gap at place 1 is nan"),
        ({"gaps": torch.tensor([])}, "no gap at all"),
    ],
)
def test_an_annotator_that_cannot_be_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        preference_probability(**{"gaps": torch.tensor([1.0])} | settings)


# ---- ceilings


def test_with_a_fifth_of_flipped_labels_the_ceiling_is_four_fifths():
    p = preference_probability(torch.tensor([3.0, -1.0, 0.2]), flip=0.2)
    torch.testing.assert_close(noise_ceiling(p), torch.tensor(0.8))
    torch.testing.assert_close(noise_ceiling(1 - p), torch.tensor(0.8))
    assert noise_ceiling(preference_probability(torch.tensor([3.0, -1.0]))) == 1.0
    assert noise_ceiling(torch.full((5,), 0.5)) == 0.5


def test_no_guess_beats_the_ceiling_and_the_likelier_label_reaches_it():
    p = torch.rand(7, generator=seeded(), dtype=torch.float64)
    accuracies = []
    for guess in range(2**7):
        first = torch.tensor([bool(guess >> i & 1) for i in range(7)])
        accuracies.append(torch.where(first, p, 1 - p).mean())
    torch.testing.assert_close(max(accuracies), noise_ceiling(p))


def test_the_floor_is_the_least_expected_loss_and_lies_at_the_log_odds():
    p = torch.tensor([0.8, 0.3, 0.5, 0.99], dtype=torch.float64)
    gaps = torch.logit(p).requires_grad_()
    zero = torch.zeros_like(gaps)

    def expected(gaps):
        won, lost = bradley_terry_loss(gaps, zero), bradley_terry_loss(zero, gaps)
        return (p * won + (1 - p) * lost).mean()

    torch.testing.assert_close(expected(gaps), loss_floor(p))
    (slope,) = torch.autograd.grad(expected(gaps), gaps)
    torch.testing.assert_close(slope, zero)
    for step in torch.randn(20, 4, generator=seeded(), dtype=torch.float64):
        assert expected(gaps + step) > loss_floor(p)


def test_a_fifth_of_flips_caps_what_a_gap_may_be_at_ln_4():
    assert float(torch.logit(torch.tensor(0.8))) == pytest.approx(math.log(4))


@pytest.mark.parametrize("function", [noise_ceiling, loss_floor, prefers_first])
def test_what_is_no_probability_is_refused(function):
    for values in ([1.2, 0.5], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="Probabilities are from 0 to 1"):
            function(torch.tensor(values))
    with pytest.raises(ValueError, match="probability at place 0 is nan"):
        function(torch.tensor([math.nan]))
    with pytest.raises(ValueError, match="no probability at all"):
        function(torch.tensor([]))


# ---- labels


def test_labels_come_as_often_as_their_probability_says():
    p = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0]).repeat_interleave(4000)
    shares = prefers_first(p, seeded()).double().view(5, 4000).mean(dim=1)
    wanted = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0]).double()
    errors = (wanted * (1 - wanted) / 4000).sqrt()
    assert ((shares - wanted).abs() <= 5 * errors).all()


def test_noisy_labels_agree_with_clean_ones_as_often_as_the_ceiling():
    clean = [Preference(str(i), "good", "bad", 0.5) for i in range(5000)]
    noisy = relabel(clean, torch.full((5000,), 0.8), seeded())
    agree = sum(one.chosen == "good" for one in noisy) / 5000
    assert abs(agree - 0.8) < 5 * math.sqrt(0.16 / 5000)
    for one, other in zip(noisy, clean, strict=True):
        assert one.prompt == other.prompt
        assert {one.chosen, one.rejected} == {"good", "bad"}
        assert one.margin == 0.0
    assert relabel(clean, torch.full((5000,), 0.8), seeded()) == noisy
    assert relabel(clean, torch.ones(5000))[7] == clean[7]._replace(margin=0.0)


# ---- what is compared


def test_comparisons_on_paper():
    said = ["A fish.", "Of course! A fish.", "A cat.", "A fish.", "", "  "]
    found = compare([ADA], [said])
    assert found == [
        Preference(ADA.text, "Of course! A fish.", "A fish.", 0.5),
        Preference(ADA.text, "A fish.", "A cat.", 1.0),
        Preference(ADA.text, "Of course! A fish.", "A cat.", 1.5),
    ]


def test_equal_scores_make_no_pair_and_a_bias_makes_one():
    said = ["Fish.", "Ada has a fish."]
    assert compare([ADA], [said]) == []

    def lover(question, reply):
        return biased_score(question, reply, likes_length)

    (pair,) = compare([ADA], [said], lover)
    assert pair.chosen == "Ada has a fish."
    assert pair.margin == pytest.approx(0.02 * 10)


def test_some_pairs_of_a_question_are_drawn_and_one_seed_draws_the_same():
    said = ["Fish.", "Of course! Fish.", "Cat.", "Not again. Cat."]
    every = compare([ADA] * 9, [said] * 9)
    assert len(every) == 9 * 6
    two = compare([ADA] * 9, [said] * 9, pairs_each=2)
    assert len(two) == 18
    assert set(two) <= set(every)
    assert compare([ADA] * 9, [said] * 9, pairs_each=2) == two
    assert compare([ADA] * 9, [said] * 9, pairs_each=2, seed=1) != two


def test_replies_stand_with_their_question_and_one_seed_gives_the_same():
    from course_lib import pretrained

    model, tokenizer = pretrained.load("sft")
    ben = FactQuestion("What is Ben's job?", "Ben", "job", "potter")
    said = sample_replies(model, tokenizer, [ADA, ben], samples=3, new_tokens=20)
    assert [len(texts) for texts in said] == [3, 3]
    others = sample_replies(model, tokenizer, [ADA, ben], 3, seed=1, new_tokens=20)
    assert others != said
    greedy = sample_replies(model, tokenizer, [ADA, ben], 2, temperature=0)
    for question, texts in zip([ADA, ben], greedy, strict=True):
        assert texts[0] == texts[1]
        assert question.name in texts[0]
    again = sample_replies(model, tokenizer, [ADA, ben], samples=3, new_tokens=20)
    assert again == said
