"""The mixture in a model: causal, batch first, counted, equal to transformers' Mixtral; upcycling."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from course_lib import landscape
from course_lib.attention import KVCache
from course_lib.moe.balancing import (
    balanced,
    load,
    load_entropy,
    mixtral_loss,
    steered,
    switch_loss,
    z_loss,
)
from course_lib.moe.dispatch import mix_by_masks, mix_in_buffers, mix_token_by_token
from course_lib.moe.layer import MixtureOfExperts, routers, routings, stacked
from course_lib.moe.routing import expert_choice, route
from course_lib.moe.upcycling import upcycle
from course_lib.pretrained.loading import unfilled
from course_lib.probes import influence
from course_lib.scaling.parameters import Experts, parameters
from course_lib.scaling.published import PUBLISHED
from course_lib.training import next_token_loss, train
from course_lib.transformer import Config, GeluMLP, SwiGLU, Transformer

CONFIG = Config(vocabulary=61, context=24, width=24, layers=2, heads=6, hidden=40)
EIGHT = Experts(count=8, chosen=2, hidden=12)
IDS = torch.randint(61, (3, 12), generator=torch.Generator().manual_seed(5))
OTHER = (IDS + 1) % 61


def built(experts=EIGHT, seed=0, config=CONFIG, **pieces):
    """A model with large weights in float64, so that a mistake shows."""
    draw = torch.Generator().manual_seed(seed)
    mixture = partial(MixtureOfExperts, experts=experts, **pieces)
    return loud(Transformer(config, mlp=mixture, generator=draw), draw)


def loud(model, draw):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=draw) * 0.3)
    return model.double()


def close(left, right, tolerance=1e-10):  # float64: only the order of sums differs
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def seen_in(model, ids=IDS):
    with routings(model) as seen:
        model(ids)
    return seen


# ---- who reads whom


def leaks(model):
    """The largest effect of a later token on an earlier prediction, one text at a time."""
    text, moved = IDS[:1], []
    for place in range(1, 12):
        changed = text.clone()
        changed[0, place] = OTHER[0, place]
        moved.append((model(changed) - model(text))[0, :place].abs().max())
    return max(moved)


def moved_by_another_text(model):
    changed = torch.cat([OTHER[:1], IDS[1:]])
    return (model(changed) - model(IDS))[1:].abs().max()


def test_no_token_is_read_too_early_and_no_other_text_at_all():
    model = built()
    assert leaks(model) < 1e-10
    assert moved_by_another_text(model) < 1e-10
    assert influence(model, IDS[0], OTHER[0]).tril().amax(dim=1).min() > 1e-3


def test_a_token_is_treated_alike_wherever_it_stands_in_the_batch():
    layer, x = built().blocks[0].mlp, torch.randn(3, 5, 24).double()
    assert layer(x).shape == (3, 5, 24)
    close(layer(x.transpose(0, 1)).transpose(0, 1), layer(x))
    close(layer(x[1:2, 3:4]), layer(x)[1:2, 3:4])


def test_with_full_buffers_other_texts_matter_and_with_expert_choice_the_future():
    full = built(mix=partial(mix_in_buffers, factor=1.0))
    assert leaks(full) < 1e-10  # in order of arrival nobody yields to a later token
    assert moved_by_another_text(full) > 1e-3
    taking = built(route=expert_choice)
    assert leaks(taking) > 1e-3
    assert moved_by_another_text(taking) > 1e-3


@torch.no_grad()
def test_with_a_cache_a_text_in_pieces_gives_the_same_logits():
    model = built(replace(EIGHT, shared=1))
    cache = KVCache(CONFIG, 3, 12, like=torch.zeros((), dtype=torch.float64))
    parts = [model(piece, cache=cache) for piece in IDS.split([7, 1, 4], dim=1)]
    close(torch.cat(parts, dim=1), model(IDS))


# ---- equal to transformers


def their_config():
    return MixtralConfig(
        vocab_size=61,
        hidden_size=24,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=24,
        rms_norm_eps=CONFIG.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": CONFIG.rope_base},
        tie_word_embeddings=True,
        num_local_experts=8,
        num_experts_per_tok=2,
        output_router_logits=True,
    )


def with_weights_of(theirs, ours):
    """Copies ours into one block of theirs, which keeps all experts in two tensors."""
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.weight)
        for e, expert in enumerate(ours.experts):
            both = torch.cat([expert.gate.weight, expert.up.weight])
            theirs.experts.gate_up_proj[e] = both
            theirs.experts.down_proj[e] = expert.down.weight
    return theirs


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_layer_and_its_gradients_equal_mixtrals_sparse_block(seed):
    ours = built(seed=seed).blocks[0].mlp.float()
    theirs = with_weights_of(MixtralSparseMoeBlock(their_config()), ours)
    x = torch.randn(3, 12, 24, generator=torch.Generator().manual_seed(seed))
    close(ours(x), theirs(x), 1e-5)
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    close(ours.router.weight.grad, theirs.gate.weight.grad, 1e-4)
    for e, expert in enumerate(ours.experts):
        close(expert.down.weight.grad, theirs.experts.down_proj.grad[e], 1e-4)


def test_logits_and_balance_loss_equal_those_of_mixtral_with_padding():
    model = built().float()
    theirs = MixtralForCausalLM(their_config()).eval()
    copies = [
        (theirs.model.embed_tokens, model.embed),
        (theirs.model.norm, model.norm),
    ]
    for a, b in zip(theirs.model.layers, model.blocks, strict=True):
        copies += [
            (a.input_layernorm, b.attention_norm),
            (a.self_attn.q_proj, b.attention.query),
            (a.self_attn.k_proj, b.attention.key),
            (a.self_attn.v_proj, b.attention.value),
            (a.self_attn.o_proj, b.attention.output),
            (a.post_attention_layernorm, b.mlp_norm),
        ]
        with_weights_of(a.mlp, b.mlp)
    for left, right in copies:
        left.load_state_dict(right.state_dict())
    mask = torch.arange(12) < torch.tensor([[12], [8], [3]])
    with torch.no_grad():
        said = theirs(IDS, attention_mask=mask.long())
        with routings(model) as seen:
            logits = model(IDS, mask)
    close(logits[mask], said.logits[mask], 1e-5)
    scores, _, chosen = stacked(seen)
    close(mixtral_loss(scores, chosen, mask.flatten()), said.aux_loss, 1e-5)


# ---- counts


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shared", [0, 2])
def test_all_and_active_parameters_are_those_that_scaling_counts(tied, shared):
    config, experts = replace(CONFIG, tied=tied), replace(EIGHT, shared=shared)
    model = built(experts, config=config)
    assert model.parameter_count == parameters(config, experts)
    resting = sum(
        p.numel()
        for block in model.blocks
        for expert in block.mlp.experts[experts.chosen :]
        for p in expert.parameters()
    )
    assert model.parameter_count - resting == parameters(config, experts, active=True)


def test_mixtral_8x7b_has_as_many_parameters_here_as_in_transformers():
    shape = PUBLISHED["Mixtral-8x7B"]
    with unfilled():
        mixture = partial(MixtureOfExperts, experts=shape.experts)
        ours = Transformer(shape.config, mlp=mixture)
    total, active = landscape.count_parameters(landscape.published("Mixtral-8x7B"))
    assert ours.parameter_count == total == parameters(shape.config, shape.experts)
    assert active == parameters(shape.config, shape.experts, active=True)
    assert (round(total / 1e9, 2), round(active / 1e9, 2)) == (46.70, 12.88)


# ---- gradients and what the layer is made of


def test_gradients_reach_the_router_all_visited_experts_and_the_shared_ones():
    model = built(replace(EIGHT, shared=1))
    with routings(model) as seen:
        losses, _ = next_token_loss(model, IDS)
    losses.sum().backward()
    for block, routing in zip(model.blocks, seen, strict=True):
        assert block.mlp.router.weight.grad.abs().sum() > 1e-3
        assert block.mlp.shared[0].down.weight.grad.abs().sum() > 1e-3
        visited = routing.chosen.unique().tolist()
        assert len(visited) > 4
        for e, expert in enumerate(block.mlp.experts):
            reached = expert.down.weight.grad is not None
            assert reached == (e in visited)


@pytest.mark.parametrize("renormalise", [True, False])
def test_a_single_expert_teaches_its_router_only_if_the_weight_is_a_share(renormalise):
    way = partial(route, renormalise=renormalise)
    model = built(replace(EIGHT, chosen=1), route=way)
    next_token_loss(model, IDS)[0].sum().backward()
    for router in routers(model):
        assert (router.weight.grad == 0).all() == renormalise


def test_shared_experts_add_their_answer_for_every_token():
    layer = built(replace(EIGHT, shared=2)).blocks[0].mlp
    x = torch.randn(2, 5, 24).double()
    whole, shared = layer(x), sum(expert(x) for expert in layer.shared)
    layer.shared = nn.ModuleList()
    close(whole, layer(x) + shared)


def test_a_learners_pieces_drop_in():
    def own_route(scores, k):
        values, chosen = scores.topk(k)
        return values.softmax(-1), chosen

    class OwnMLP(SwiGLU):
        pass

    for mix in (mix_token_by_token, mix_by_masks):
        own = built(route=own_route, mix=mix, expert=OwnMLP)
        assert isinstance(own.blocks[1].mlp.experts[7], OwnMLP)
        close(own(IDS), built()(IDS))


def test_a_slice_of_a_larger_tensor_is_read_as_it_is():
    layer = built().blocks[0].mlp
    wide = torch.randn(3, 9, 24).double()
    close(layer(wide[:, 2:5]), layer(wide)[:, 2:5])


def test_first_layers_without_a_mixture_are_not_this_layers_matter():
    with pytest.raises(ValueError, match="dense is 0, not 1"):
        MixtureOfExperts(CONFIG, replace(EIGHT, dense=1))


# ---- watching


def test_routings_come_in_the_order_of_the_layers_and_tell_what_was_done():
    model = built()
    seen = seen_in(model)
    assert [r.scores.shape for r in seen] == [(36, 8)] * 2
    for routing in seen:
        weights, chosen = route(routing.scores, 2)
        close(routing.weights, weights)
        assert routing.chosen.equal(chosen)
    assert stacked(seen).chosen.shape == (2, 36, 2)


def test_nothing_is_watched_afterwards_not_even_after_an_error():
    model = built()
    with routings(model) as seen:
        pass
    model(IDS)
    assert seen == []
    with pytest.raises(ValueError, match="ids run from"), routings(model) as seen:
        model(IDS + 61)
    model(IDS)
    assert seen == []


def test_a_model_can_be_copied_after_it_ran_since_it_keeps_no_record():
    model = built()
    model(IDS).sum().backward()
    close(copy.deepcopy(model)(IDS), model(IDS))


def test_a_model_without_a_mixture_is_answered_in_a_sentence():
    with pytest.raises(ValueError, match="does the model have a mixture"):
        balanced(next_token_loss, 0.01)(Transformer(CONFIG), IDS)


# ---- balance in training


@pytest.mark.parametrize("balance", [switch_loss, mixtral_loss])
def test_a_balanced_loss_is_that_of_the_text_plus_coef_times_the_balance(balance):
    model = built()
    plain, mask = next_token_loss(model, IDS)
    scores, _, chosen = stacked(seen_in(model, IDS[:, :-1]))
    losses, same = balanced(next_token_loss, 0.5, balance)(model, IDS)
    close(losses.mean(), plain.mean() + 0.5 * balance(scores, chosen))
    assert same.equal(mask)


def test_the_size_of_scores_can_be_held_in_the_same_way():
    def size(scores, chosen):
        return z_loss(scores)

    model = built()
    more = balanced(next_token_loss, 1.0, size)(model, IDS)[0]
    assert (more - next_token_loss(model, IDS)[0] > 1).all()


def small(seed, **pieces):
    draw = torch.Generator().manual_seed(seed)
    mixture = partial(MixtureOfExperts, experts=replace(EIGHT, chosen=1), **pieces)
    return Transformer(CONFIG, mlp=mixture, generator=draw)


def evenness(model, ids=IDS):
    scores, _, chosen = stacked(seen_in(model, ids))
    return load_entropy(load(chosen, scores.shape[-1])).mean().item()


def test_biases_move_in_training_and_rest_in_evaluation():
    model = small(0, biased=True)
    steering = steered(next_token_loss, rate=0.01)
    steering(model.eval(), IDS)
    assert all((r.selection_bias == 0).all() for r in routers(model))
    losses, _ = steering(model.train(), IDS)
    close(losses, next_token_loss(small(0), IDS)[0], 1e-6)  # the loss is left alone
    done = load(seen_in(small(0), IDS[:, :-1])[1].chosen, 8)
    expected = 0.01 * (1 / 8 - done).sign()
    close(routers(model)[1].selection_bias, expected, 1e-6)


def test_a_router_without_a_bias_cannot_be_steered():
    with pytest.raises(ValueError, match="biased=True"):
        steered(next_token_loss, 0.01)(small(0), IDS)


def test_biases_are_saved_with_the_weights_and_are_no_parameters():
    model = small(0, biased=True)
    assert "blocks.0.mlp.router.selection_bias" in model.state_dict()
    assert model.parameter_count == small(0).parameter_count


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_steering_brings_experts_back_to_work_and_training_alone_does_not(seed):
    draw = torch.Generator().manual_seed(seed)
    texts = torch.randint(61, (8, 13), generator=draw)
    ended = {}
    for name, loss_fn in (
        ("alone", next_token_loss),
        ("steered", steered(next_token_loss, rate=0.02)),
    ):
        model = small(seed, biased=True)
        for router in routers(model):
            router.selection_bias[0] = 1.0  # an unlucky start: expert 0 is best for all
        assert evenness(model, texts) == 0
        train(model, lambda step: texts, loss_fn, 50, progress=False)
        ended[name] = evenness(model, texts[:, :-1])
    assert ended["alone"] < 0.3, ended
    assert ended["steered"] > 0.8, ended


# ---- upcycling


def dense(config=CONFIG, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return loud(Transformer(config, generator=draw), draw)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_an_upcycled_model_says_what_the_dense_one_said(k):
    before = dense()
    logits = before(IDS)
    after = upcycle(before, Experts(count=8, chosen=k, hidden=40))
    if k == 1:  # a weight of exactly 1
        close(after(IDS), logits, 1e-14)
    close(after(IDS), logits)
    single = upcycle(dense().float(), Experts(count=8, chosen=k, hidden=40))
    close(single(IDS), dense().float()(IDS), 1e-5)
    assert sum(load(seen_in(after)[0].chosen, 8) > 0) > 3  # though many are at work


def test_it_shares_nothing_with_the_dense_model_and_its_experts_part_in_training():
    before = dense().float()
    old = copy.deepcopy(before.state_dict())
    after = upcycle(before, Experts(8, 2, 40), torch.Generator().manual_seed(1))
    train(after, lambda step: IDS, next_token_loss, 3, progress=False)
    assert all(old[name].equal(now) for name, now in before.state_dict().items())
    first, second = (after.blocks[0].mlp.experts[e].down.weight for e in (0, 1))
    assert not first.equal(second)


def test_other_mlps_and_types_are_kept():
    config = replace(CONFIG, mlp="gelu", norm="layer", bias=True)
    before = dense(config)
    after = upcycle(before, Experts(count=4, chosen=2, hidden=40))
    assert isinstance(after.blocks[0].mlp.experts[3], GeluMLP)
    assert after.blocks[0].mlp.router.weight.dtype == torch.float64
    close(after(IDS), before(IDS))


def test_weights_that_do_not_sum_to_1_change_what_it_says():
    way = partial(route, renormalise=False)
    after = upcycle(dense(), Experts(count=8, chosen=2, hidden=40), route=way)
    assert (after(IDS) - dense()(IDS)).abs().max() > 1e-3


@pytest.mark.parametrize("change", [{"hidden": 20}, {"shared": 1}])
def test_experts_that_cannot_be_copies_are_refused(change):
    experts = replace(Experts(count=8, chosen=2, hidden=40), **change)
    with pytest.raises(ValueError, match="Copies of the MLP have hidden=40, shared=0"):
        upcycle(dense(), experts)


def test_one_seed_gives_one_router():
    def router(seed):
        draw = torch.Generator().manual_seed(seed)
        return routers(upcycle(dense(), Experts(8, 2, 40), draw))[0].weight

    assert router(1).equal(router(1))
    assert not router(1).equal(router(2))
