"""The loop: what it notes, what it refuses, what learns, and which losses drop in."""

import copy
import math
from functools import partial

import pytest
import torch

from course_lib.dpo.losses import dpo_loss, hinge_loss, ipo_loss, robust_loss
from course_lib.dpo.relatives import kto_pair_loss, orpo_loss, simpo_loss
from course_lib.dpo.sequences import (
    answer_batches,
    collate_answers,
    pair_logprobs,
    reference_logprobs,
    sequence_logprobs,
)
from course_lib.dpo.trainer import (
    check_loss,
    preference_loss,
    train_dpo,
    train_in_rounds,
)
from course_lib.reward.pairs import PairIds
from tests.tiny import gradients, same_bits, transformer, weights

PAIRS = [  # the chosen answer ends in 5, the rejected one in 4
    PairIds([2, 3], [6, 5], [4]),
    PairIds([2, 6, 3], [5], [6, 4, 4]),
    PairIds([2, 3], [5, 5, 5], [6, 4]),
    PairIds([2, 2, 3], [6, 6, 5], [6, 6, 4]),
]


def known(model, pairs=PAIRS):
    return reference_logprobs(model, pairs, end=1, pad=0)


def batches(ref_logprobs=None, batch=4):
    return answer_batches(PAIRS, batch, end=1, pad=0, ref_logprobs=ref_logprobs)


def block(ref_logprobs=None):
    tensors = collate_answers(PAIRS, end=1, pad=0)
    return tensors if ref_logprobs is None else (*tensors, ref_logprobs)


# ---- one step


def test_the_first_loss_is_ln_2_and_nothing_has_been_gained():
    model = transformer()
    history = train_dpo(model, batches(known(model)), steps=1)
    assert history["loss"][0] == pytest.approx(math.log(2), abs=1e-6)
    assert history["gap"][0] == pytest.approx(0, abs=1e-5)
    assert history["chosen_gain"][0] == pytest.approx(0, abs=1e-5)


def test_the_gradient_is_that_of_a_loop_over_pairs():
    model, other = transformer(), transformer(seed=1)
    ref = known(other)
    mean, _ = preference_loss(model, *block(ref), loss=partial(dpo_loss, beta=0.5))
    mean.backward()
    found = gradients(model)
    model.zero_grad()
    total = 0.0
    for pair, (ref_chosen, ref_rejected) in zip(PAIRS, ref, strict=True):
        sums = []
        for answer in (pair.chosen, pair.rejected):
            ids = torch.tensor([[*pair.prompt, *answer, 1]])
            mask = torch.arange(ids.shape[1])[None] >= len(pair.prompt)
            sums.append(sequence_logprobs(model(ids), ids, mask)[0])
        lead = 0.5 * ((sums[0] - ref_chosen) - (sums[1] - ref_rejected))
        total = total + torch.log(1 + torch.exp(-lead)) / len(PAIRS)
    total.backward()
    torch.testing.assert_close(mean, total)
    torch.testing.assert_close(found, gradients(model), rtol=1e-4, atol=1e-6)


def test_the_note_says_what_both_answers_gained_and_a_tie_is_one_half():
    model, ref = transformer(), known(transformer())
    ref[0] -= torch.tensor([3.0, 1.0])  # gained 3 and 1
    ref[1] -= torch.tensor([-2.0, 5.0])  # lost 2, gained 5
    _, note = preference_loss(model, *block(ref))
    assert note["chosen_gain"] == pytest.approx(1 / 4, abs=1e-5)
    assert note["rejected_gain"] == pytest.approx(6 / 4, abs=1e-5)
    assert note["gap"] == pytest.approx(-5 / 4, abs=1e-5)
    sums = pair_logprobs(model, *block()).mean(dim=0)
    assert note["chosen_logprobs"] == pytest.approx(sums[0].item(), rel=1e-5)
    model.zero_grad()
    exact = pair_logprobs(model, *block()).detach()  # the same bits: two true ties
    exact[0] -= torch.tensor([3.0, 1.0])
    exact[1] -= torch.tensor([-2.0, 5.0])
    _, note = preference_loss(model, *block(exact))
    assert note["accuracy"] == (1 + 0 + 0.5 + 0.5) / 4


def test_average_divides_each_answer_by_its_own_length():
    model, ref = transformer(), known(transformer(seed=1))
    tensors = block(ref)
    lengths = tensors[1].sum(dim=-1)
    sums = pair_logprobs(model, *tensors[:2])
    means, ref_means = sums / lengths, ref / lengths
    wanted = ipo_loss(*means.unbind(1), *ref_means.unbind(1)).mean()
    found, _ = preference_loss(model, *tensors, loss=ipo_loss, average=True)
    torch.testing.assert_close(found, wanted)


def test_the_sft_term_is_the_chosen_answers_mean_loss_per_token():
    model, ref = transformer(), known(transformer(seed=1))
    plain, _ = preference_loss(model, *block(ref))
    with_term, note = preference_loss(model, *block(ref), sft_weight=0.5)
    lengths = block()[1].sum(dim=-1)
    nll = -(pair_logprobs(model, *block()) / lengths)[:, 0].mean()
    torch.testing.assert_close(with_term - plain, 0.5 * nll)
    assert note["loss"] == pytest.approx(with_term.item())


# ---- the loop


@pytest.mark.parametrize(
    "loss", [dpo_loss, hinge_loss, robust_loss, ipo_loss, kto_pair_loss]
)
def test_with_each_loss_the_chosen_answers_gain_on_the_rejected(loss):
    model = transformer()
    reference = copy.deepcopy(model)
    ref = known(reference)
    train_dpo(model, batches(ref), 40, lr=1e-2, loss=partial(loss, beta=0.2))
    after = known(model)
    gaps = (after - ref)[:, 0] - (after - ref)[:, 1]
    assert (gaps > 0.5).all()
    assert same_bits(weights(reference), weights(transformer()))


@pytest.mark.parametrize("loss", [simpo_loss, orpo_loss])
def test_a_loss_without_reference_needs_none(loss):
    model = transformer()
    before = known(model)
    history = train_dpo(model, batches(), 40, lr=1e-2, loss=loss, average=True)
    gained = known(model) - before
    assert (gained[:, 0] > gained[:, 1]).all()
    assert "accuracy" not in history
    assert len(history["chosen_logprobs"]) == 40


def test_a_learners_own_pieces_drop_in():
    def own_sums(model, ids, mask):
        return sequence_logprobs(model(ids), ids, mask)

    def own_loss(chosen, rejected, ref_chosen, ref_rejected):
        lead = (chosen - rejected) - (ref_chosen - ref_rejected)
        return -torch.nn.functional.logsigmoid(0.1 * lead)

    ours, theirs = transformer(), transformer()
    ref = known(ours)
    one = train_dpo(ours, batches(ref), 5, lr=1e-3)
    two = train_dpo(
        theirs, batches(ref), 5, lr=1e-3, loss=own_loss, logprobs_fn=own_sums
    )
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


def test_the_same_run_gives_the_same_bits():
    runs = []
    for _ in range(2):
        model = transformer()
        train_dpo(model, batches(known(model), batch=2), 6, lr=1e-3)
        runs.append(weights(model))
    assert same_bits(*runs)


def test_it_evaluates_when_asked_and_leaves_the_model_as_it_was():
    model = transformer().train()
    history = train_dpo(
        model, batches(known(model)), 7,
        evaluate=lambda model: {"eyes": 2.0}, evaluate_every=3,
    )  # fmt: skip
    assert history["evaluated_at"] == [3, 6, 7]
    assert history["eyes"] == [2.0, 2.0, 2.0]
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_both_answers_may_fall_while_the_loss_falls():
    """Displacement in a real loop: answers that differ in one token of many."""
    model = transformer()
    alike = [PairIds([2, 3], [6, 6, 6, 5], [6, 6, 6, 4])]
    ref = known(model, alike)
    one = answer_batches(alike, 1, end=1, pad=0, ref_logprobs=ref)
    history = train_dpo(model, one, 60, lr=3e-3, loss=partial(dpo_loss, beta=1.0))
    assert history["loss"][-1] < 0.1
    assert history["gap"][-1] > 2
    held = transformer()
    with_term = train_dpo(
        held, one, 60, lr=3e-3, loss=partial(dpo_loss, beta=1.0), sft_weight=1.0
    )
    assert with_term["chosen_gain"][-1] > history["chosen_gain"][-1]


# ---- in rounds


def test_in_every_round_the_model_is_asked_for_pairs_and_the_leash_stays():
    model, asked = transformer(), []
    reference = copy.deepcopy(model)

    def draw_pairs(model, number):
        asked.append((number, known(model)))
        return PAIRS[number:]

    histories = train_in_rounds(
        model, reference, draw_pairs, 2, 5, 4, end=1, pad=0, lr=3e-3
    )
    assert [number for number, _ in asked] == [0, 1]
    assert not asked[0][1].equal(asked[1][1])  # it is the model of now that is asked
    assert histories[0]["gap"][0] == pytest.approx(0, abs=1e-5)
    assert histories[1]["gap"][0] > 0.01  # against the first reference still
    with pytest.raises(ValueError, match="give it a copy"):
        train_in_rounds(model, model, draw_pairs, 1, 1, 4, end=1, pad=0)
    with pytest.raises(TypeError, match="lerning"):
        train_in_rounds(model, reference, draw_pairs, 1, 1, 4, end=1, pad=0, lerning=1)


# ---- what is refused


def test_a_missing_reference_is_named_and_a_useless_one_too():
    model = transformer()
    with pytest.raises(ValueError, match="dpo_loss compares with a reference"):
        train_dpo(model, batches(), 1)
    with pytest.raises(ValueError, match="ipo_loss compares with a reference"):
        train_dpo(model, batches(), 1, loss=partial(ipo_loss, beta=0.3))
    with pytest.raises(ValueError, match="simpo_loss has no use for a reference"):
        train_dpo(model, batches(known(model)), 1, loss=simpo_loss)
    check_loss(orpo_loss, with_reference=False)


def test_a_loss_that_becomes_no_number_stops_the_run_before_the_weights_are_hurt():
    model = transformer()
    before = weights(model)

    def broken(chosen, rejected):
        return (chosen - rejected) * math.nan

    with pytest.raises(FloatingPointError, match="At step 0 the loss is nan"):
        train_dpo(model, batches(), 3, loss=broken)
    assert same_bits(weights(model), before)


def test_a_loss_that_averages_by_itself_is_refused():
    model = transformer()
    with pytest.raises(AssertionError, match="one loss per pair"):
        train_dpo(model, batches(), 1, loss=lambda chosen, rejected: chosen.mean())
