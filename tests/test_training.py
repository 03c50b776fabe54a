"""The training loop: losses, gradients in pieces, AdamW's steps, and what the history says."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import nn

from course_lib.batches import cut, rows_of
from course_lib.descent import adamw, weight_groups
from course_lib.logprobs import token_logprobs
from course_lib.training import (
    History,
    accumulate_gradients,
    cross_entropy,
    mean_loss,
    next_token_loss,
    reply_loss,
    train,
)
from course_lib.transformer import Config, Transformer
from tests.tiny import (
    TEXT,
    Pairs,
    V,
    gradients,
    same_bits,
    transformer,
    unequal_batch,
    weights,
)

# ---- losses


def test_scoring_only_what_counts_gives_the_same_loss_and_gradients():
    config = Config(vocabulary=20, width=16, layers=2, heads=2, kv_heads=1, hidden=16)
    model = Transformer(config)
    ids = torch.randint(20, (3, 9))
    mask = torch.rand(3, 9) < 0.4
    mask[1] = False  # a row in which nothing counts
    found = []
    for loss_fn in (next_token_loss, reply_loss):
        loss, count = accumulate_gradients(model, (ids, mask), loss_fn)
        found.append([loss, count, *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert accumulate_gradients(model, (ids, mask & False), reply_loss) == (0, 0)


def test_cross_entropy_is_minus_the_log_probability_written_out_in_lesson_one():
    draw = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(4, 5, V, generator=draw, dtype=torch.float64)
    ids = torch.randint(V, (4, 5), generator=draw)
    torch.testing.assert_close(cross_entropy(logits, ids), -token_logprobs(logits, ids))
    assert torch.isfinite(cross_entropy(logits + 1e6, ids)).all()


def test_each_position_is_scored_on_the_token_after_it():
    def sure(ids):
        return 50.0 * nn.functional.one_hot((ids + 1) % V, V).float()

    losses, mask = next_token_loss(sure, TEXT[None, :20])  # the text counts upwards
    assert losses.shape == mask.shape == (1, 19)
    assert losses.max() < 1e-6
    assert mask.all()
    losses, _ = next_token_loss(sure, TEXT[None, :20].flip(1))  # and here downwards
    assert losses.min() > 49


def test_a_masks_place_means_the_prediction_of_that_token():
    mask = torch.tensor([[True, False, False, True]])
    _, kept = next_token_loss(Pairs(), torch.tensor([[1, 2, 3, 4]]), mask)
    assert kept.tolist() == [[False, False, True]]


def test_what_stands_on_padding_changes_neither_loss_nor_gradient():
    model = Pairs()
    ids, mask = (
        torch.tensor([[1, 2, 3, 0, 0]]),
        torch.tensor([[True] * 3 + [False] * 2]),
    )
    loss, count = accumulate_gradients(model, (ids, mask), next_token_loss)
    first = gradients(model)
    ids[0, 3:] = 5
    assert accumulate_gradients(model, (ids, mask), next_token_loss) == (loss, count)
    assert torch.equal(gradients(model), first)
    assert count == 2


# ---- one large batch or several small ones


def autograd_of_the_definition(model, batch):
    ids, mask = batch
    logprobs = token_logprobs(model(ids[:, :-1]), ids[:, 1:])
    loss = -logprobs[mask[:, 1:]].mean()
    return loss, torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]
    )


@pytest.mark.parametrize("pieces", [1, 2, 3, 6, 9])
def test_gradients_in_pieces_are_those_of_the_whole_batch(pieces):
    model = Pairs()
    loss, gradient = autograd_of_the_definition(model, unequal_batch())
    ours, count = accumulate_gradients(model, unequal_batch(), next_token_loss, pieces)
    assert count == 16
    assert ours.item() == pytest.approx(loss.item(), rel=1e-6)
    torch.testing.assert_close(gradients(model), gradient, rtol=0, atol=1e-6)


def test_the_mean_of_the_pieces_means_would_have_been_seen():
    model = Pairs()
    _, gradient = autograd_of_the_definition(model, unequal_batch())
    pieces = [autograd_of_the_definition(model, piece)[1] for piece in cut(unequal_batch(), 2)]  # fmt: skip
    assert (sum(pieces) / 2 - gradient).abs().max() > 1e-3


def test_old_gradients_are_forgotten():
    model = Pairs()
    accumulate_gradients(model, unequal_batch(), next_token_loss)
    first = gradients(model)
    accumulate_gradients(model, unequal_batch(), next_token_loss)
    assert torch.equal(gradients(model), first)


def test_training_in_pieces_ends_at_the_same_weights():
    ends = []
    for pieces in (1, 3):
        model = Pairs(dtype=torch.float64)
        train(model, lambda step: unequal_batch(), next_token_loss, 5, 0.01, accumulate=pieces)  # fmt: skip
        ends.append(weights(model))
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-9, atol=1e-12)


def test_a_batch_that_keeps_nothing_has_loss_and_gradient_zero():
    model, (ids, mask) = Pairs(), unequal_batch()
    batch = ids, torch.zeros_like(mask)
    assert accumulate_gradients(model, batch, next_token_loss) == (0, 0)
    assert not gradients(model).any()


def test_a_loss_without_a_mask_is_refused_and_so_is_a_mask_of_numbers():
    for wrong in (
        lambda model, ids: (next_token_loss(model, ids)[0], torch.tensor(True)),
        lambda model, ids: (next_token_loss(model, ids)[0],) * 2,
    ):
        with pytest.raises(AssertionError, match="losses and a boolean mask"):
            train(Pairs(), rows_of(TEXT, 2, 4), wrong, 1)


def test_batches_that_are_a_list_are_refused_with_the_cure():
    with pytest.raises(
        AssertionError, match=r"lambda step: rows\[step % len\(rows\)\]"
    ):
        train(Pairs(), [TEXT[None]], next_token_loss, 1)
    with pytest.raises(AssertionError, match="a tensor or a tuple of tensors"):
        train(Pairs(), lambda step: {"ids": TEXT[None]}, next_token_loss, 1)


def test_the_mean_loss_of_several_batches_is_per_token_and_leaves_no_trace():
    model = Pairs(dropout=0.5)
    ids, mask = unequal_batch()
    rows = [(ids[:2], mask[:2]), (ids[2:], mask[2:])]
    whole = mean_loss(model, lambda step: (ids, mask), next_token_loss, 1)
    parts = mean_loss(model, lambda step: rows[step], next_token_loss, 2)
    assert parts == pytest.approx(whole, rel=1e-6)
    assert model.training

    def spying(model, ids, mask):
        assert not torch.is_grad_enabled()
        return next_token_loss(model, ids, mask)

    assert mean_loss(model, lambda step: (ids, mask), spying, 1) == whole


# ---- the step


def test_the_loop_gives_every_group_the_scheduled_rate():
    model = Pairs()
    optimizer = torch.optim.SGD(weight_groups(model, 0.0), lr=123.0)
    seen = []
    optimizer.register_step_pre_hook(
        lambda o, *_: seen.append([g["lr"] for g in o.param_groups])
    )

    def rising(step, total, peak):
        return peak * (step + 1) / total

    history = train(
        model, rows_of(TEXT, 2, 8), next_token_loss, 4, 0.8,
        schedule=rising, optimizer=optimizer,
    )  # fmt: skip
    assert history.rates == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert seen == [[rate, rate] for rate in history.rates]


def test_three_steps_of_the_loop_are_adamw_written_out():
    model, by_hand = (Pairs(dtype=torch.float64) for _ in range(2))
    batches, lr = rows_of(TEXT, 3, 8, seed=4), 0.05
    history = train(
        model, batches, next_token_loss, 3, lr, clip=0.5,
        optimizer=adamw(model, weight_decay=0.2, betas=(0.8, 0.9)),
    )  # fmt: skip
    first = {name: torch.zeros_like(p) for name, p in by_hand.named_parameters()}
    second = {name: torch.zeros_like(p) for name, p in by_hand.named_parameters()}
    for step in range(3):
        rate = lr * min((step + 1) / 10, 1, (3 - step) / 1.5)
        losses, _ = next_token_loss(by_hand, batches(step))
        by_hand.zero_grad()
        losses.mean().backward()
        length = gradients(by_hand).norm()
        assert history.losses[step] == pytest.approx(losses.mean().item())
        assert history.norms[step] == pytest.approx(length.item())
        for name, p in by_hand.named_parameters():
            g = p.grad * min(1, 0.5 / length)
            first[name] = 0.8 * first[name] + 0.2 * g
            second[name] = 0.9 * second[name] + 0.1 * g * g
            m = first[name] / (1 - 0.8 ** (step + 1))
            v = second[name] / (1 - 0.9 ** (step + 1))
            decay = 0.2 if name in ("table.weight", "scores.weight") else 0.0
            with torch.no_grad():
                p -= rate * (m / (v.sqrt() + 1e-8) + decay * p)
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(model.state_dict()[name], p.detach(), rtol=1e-9, atol=1e-12)  # fmt: skip


def test_frozen_parameters_do_not_move_and_a_frozen_model_is_refused():
    model = Pairs()
    model.table.weight.requires_grad_(False)
    before = weights(model)
    train(model, rows_of(TEXT, 2, 8), next_token_loss, 3, 0.1)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {"norm.weight", "norm.bias", "scores.weight", "scores.bias"}
    with pytest.raises(AssertionError, match="nothing to train"):
        train(model.requires_grad_(False), rows_of(TEXT, 2, 8), next_token_loss, 1)


def test_a_model_without_norms_and_biases_trains():
    linear = nn.Sequential(nn.Embedding(V, 4), nn.Linear(4, V, bias=False))
    assert train(linear, rows_of(TEXT, 2, 8), next_token_loss, 2).losses


def test_a_model_without_matrices_trains():
    def squares(model, x):
        return model(x) ** 2, torch.ones_like(x, dtype=torch.bool)

    assert train(nn.LayerNorm(3), lambda step: torch.eye(3), squares, 2).losses


# ---- the whole loop


def test_a_certain_text_is_learned():
    model = Pairs()
    history = train(model, rows_of(TEXT, 8, 16), next_token_loss, 150, 0.1)
    assert history.losses[0] > 1.5  # about log 7
    assert history.mean(10) < 0.01
    assert model(torch.arange(V)).argmax(-1).tolist() == [1, 2, 3, 4, 5, 6, 0]


def test_a_loss_per_pair_trains_a_model_of_rewards():
    scores = nn.Linear(2, 1)
    draw = torch.Generator().manual_seed(0)
    better = torch.randn(64, 2, generator=draw) + torch.tensor([2.0, 0.0])
    worse = torch.randn(64, 2, generator=draw)

    def pairs(model, chosen, rejected):
        losses = -nn.functional.logsigmoid((model(chosen) - model(rejected)).squeeze(1))
        return losses, torch.ones_like(losses, dtype=torch.bool)

    history = train(scores, lambda step: (better, worse), pairs, 60, 0.1, accumulate=3)
    assert history.last < 0.5 < history.losses[0]
    assert history.tokens == [64] * 60


def test_history_is_of_plain_numbers_and_survives_json():
    history = train(
        Pairs(), lambda step: unequal_batch(), next_token_loss, 5,
        evaluate=lambda model: {"accuracy": torch.tensor(0.25)}, evaluate_every=2,
    )  # fmt: skip
    assert History(**json.loads(json.dumps(asdict(history)))) == history
    assert history.tokens == [16] * 5
    assert {len(history.seconds), len(history.norms), len(history.losses)} == {5}
    assert history.evaluations == [{"step": s, "accuracy": 0.25} for s in (2, 4, 5)]
    assert history.last == history.losses[4]
    assert history.mean(2) == pytest.approx(sum(history.losses[3:]) / 2)
    assert history.mean(99) == pytest.approx(sum(history.losses) / 5)


def test_evaluation_sees_a_still_model_and_training_goes_on_in_the_mode_it_had():
    modes = []

    def look(model):
        modes.append((model.training, torch.is_grad_enabled()))
        return {}

    def spying(model, ids):
        modes.append(model.training)
        return next_token_loss(model, ids)

    for mode in (True, False):
        model = Pairs().train(mode)
        train(model, rows_of(TEXT, 2, 8), spying, 2, evaluate=look, evaluate_every=1)
        assert modes == [True, (False, False), True, (False, False)]
        assert model.training is mode
        modes.clear()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["loss", "gradient"])
def test_nonsense_stops_before_it_reaches_the_weights(bad, place):
    model, before = Pairs().eval(), []

    def spoiled(model, ids):
        losses, mask = next_token_loss(model, ids)
        before.append(weights(model))
        if len(before) == 4 and place == "loss":
            losses = losses + bad
        if len(before) == 4 and place == "gradient":
            losses.register_hook(lambda gradient: gradient * bad)
        return losses, mask

    with pytest.raises(FloatingPointError, match=r"At step 3 .*try a lower lr"):
        train(model, rows_of(TEXT, 2, 8), spoiled, 10)
    assert same_bits(weights(model), before[-1])
    assert not same_bits(before[0], before[-1])
    assert not model.training


# ---- with the course's own model


def test_the_courses_transformer_learns_and_its_gains_do_not_decay():
    model = transformer()
    decayed, kept = (group["params"] for group in weight_groups(model, 0.1))
    assert {p.ndim for p in decayed} == {2}
    assert [p.shape for p in kept] == [(16,)] * 5  # two norms a block, one at the end
    history = train(model, rows_of(TEXT, 8, 16), next_token_loss, 60, 0.02)
    assert history.losses[0] > 1.5
    assert history.mean(5) < 0.1


def test_padding_on_the_right_changes_no_gradient_of_the_courses_transformer():
    model, (ids, mask) = transformer(), unequal_batch()
    accumulate_gradients(model, (ids, mask), next_token_loss)
    first = gradients(model)
    longer = torch.cat([ids, torch.full((6, 4), 3)], dim=1)
    more = torch.cat([mask, torch.zeros(6, 4, dtype=torch.bool)], dim=1)
    accumulate_gradients(model, (longer, more), next_token_loss)
    torch.testing.assert_close(gradients(model), first, rtol=1e-4, atol=1e-7)
