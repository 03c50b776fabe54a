"""Who reads which token, and how the answers come back: equal to a slow loop, and to transformers."""

import doctest
import math

import pytest
import torch
from torch import nn
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter

from course_lib.moe import balancing, dispatch, layer, routing, upcycling
from course_lib.moe.dispatch import (
    capacity_of,
    experts_read,
    mix_by_masks,
    mix_in_buffers,
    mix_sorted,
    mix_token_by_token,
    queue_places,
    within_capacity,
)
from course_lib.moe.routing import expert_choice, route
from course_lib.transformer import Config, SwiGLU

MODULES = [routing, dispatch, layer, balancing, upcycling]
FAST = {
    "masks": mix_by_masks,
    "sorted": mix_sorted,
    "buffers": lambda *given: mix_in_buffers(*given, factor=len(given[-1])),
}
SIZES = [(1, 1, 1), (7, 4, 1), (12, 3, 3), (40, 8, 2), (5, 16, 4)]  # N, E, k


def close(left, right, tolerance=1e-10):  # float64: only the order of sums differs
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def some_experts(count, seed=0):
    torch.manual_seed(seed)
    config = Config(width=6, heads=3, kv_heads=1, hidden=10)
    return nn.ModuleList(SwiGLU(config) for _ in range(count)).double()


def case(N, E, k, seed=0):
    scores = drawn(N, E, seed=seed + 1).requires_grad_()
    return drawn(N, 6, seed=seed).requires_grad_(), *route(scores, k), some_experts(E)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_the_docstrings_run(module):
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.failed == 0


# ---- routing


def test_a_token_goes_to_its_best_experts_with_the_weights_worked_on_paper():
    scores = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    weights, chosen = route(scores, k=2)
    assert chosen.tolist() == [[1, 3]]
    close(weights, torch.tensor([[4 / 7, 3 / 7]]), 1e-6)
    weights, chosen = route(scores, k=2, renormalise=False)
    assert chosen.tolist() == [[1, 3]]
    close(weights, torch.tensor([[0.4, 0.3]]), 1e-6)


@pytest.mark.parametrize(("N", "E", "k"), SIZES)
def test_softmax_over_the_chosen_is_the_share_among_all_divided_by_its_sum(N, E, k):
    scores = drawn(N, E)
    weights, chosen = route(scores, k)
    shares, same = route(scores, k, renormalise=False)
    assert chosen.equal(same)
    close(weights, shares / shares.sum(dim=-1, keepdim=True))
    close(weights.sum(dim=-1), torch.ones(N).double())
    assert (shares.sum(dim=-1) < 1 + 1e-12).all()


def test_choice_and_weights_are_those_of_transformers_router():
    config = MixtralConfig(hidden_size=6, num_local_experts=5, num_experts_per_tok=3)
    theirs = MixtralTopKRouter(config)
    nn.init.normal_(theirs.weight)
    x = drawn(20, 6).float()
    scores, weights, chosen = theirs(x)
    ours = route(x @ theirs.weight.T, 3)
    close(x @ theirs.weight.T, scores, 1e-6)
    close(ours[0], weights, 1e-6)
    assert ours[1].equal(chosen)


def test_adding_the_same_to_all_scores_changes_nothing_even_at_a_thousand():
    scores = drawn(9, 5)
    for renormalise in (True, False):
        before = route(scores, 2, renormalise=renormalise)
        after = route(scores + 1000, 2, renormalise=renormalise)
        assert before[1].equal(after[1])
        close(before[0], after[0])


def test_a_bias_changes_who_is_chosen_and_never_a_weight():
    scores = torch.tensor([[0.5, 0.3, 0.2]]).log()
    bias = torch.tensor([0.5, 1.0, 1.0]).log()  # as if the first were .25
    weights, chosen = route(scores, 1, bias, renormalise=False)
    assert chosen.tolist() == [[1]]
    close(weights, torch.tensor([[0.3]]), 1e-6)
    weights, chosen = route(scores, 2, bias)
    assert chosen.tolist() == [[1, 0]]
    close(weights, torch.tensor([[3 / 8, 5 / 8]]), 1e-6)


def test_no_bias_and_a_bias_of_zeros_choose_alike():
    scores = drawn(50, 8)
    assert route(scores, 3)[1].equal(route(scores, 3, torch.zeros(8))[1])


def test_a_bias_may_force_an_expert_whose_share_is_too_small_for_a_float():
    scores = torch.tensor([[0.0, -500.0, -500.0]])
    weights, chosen = route(scores, 2, bias=torch.tensor([0.0, 600.0, 600.0]))
    assert sorted(chosen[0].tolist()) == [1, 2]
    assert weights.tolist() == [[0.5, 0.5]]


def test_one_expert_with_weight_1_gives_the_router_no_gradient_at_all():
    scores = drawn(10, 4).requires_grad_()
    for renormalise in (True, False):
        weights, _ = route(scores, 1, renormalise=renormalise)
        (gradient,) = torch.autograd.grad((weights * drawn(10, 1)).sum(), scores)
        assert (gradient == 0).all() == renormalise
    weights, _ = route(scores, 2)
    assert torch.autograd.grad(weights[:, 0].sum(), scores)[0].abs().max() > 0.01


@pytest.mark.parametrize("k", [0, 5])
def test_a_token_cannot_visit_none_or_more_experts_than_there_are(k):
    with pytest.raises(AssertionError, match=f"k={k}"):
        route(torch.zeros(3, 4), k)


@pytest.mark.parametrize(("N", "E", "k"), [(12, 4, 1), (12, 4, 2), (7, 3, 1)])
def test_under_expert_choice_every_expert_takes_as_many_and_its_best(N, E, k):
    weights, chosen = expert_choice(drawn(N, E), k)
    shares, taken = drawn(N, E).softmax(-1), weights > 0
    assert (taken.sum(dim=0) == math.ceil(N * k / E)).all()
    for e in range(E):
        assert shares[taken[:, e], e].min() > shares[~taken[:, e], e].max()
    close(weights[taken], shares[taken])
    assert chosen.tolist() == [list(range(E))] * N


# ---- dispatch


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(("N", "E", "k"), SIZES)
def test_every_dispatch_equals_the_definition_token_by_token(name, N, E, k):
    x, weights, chosen, experts = case(N, E, k)
    expected = mix_token_by_token(x, weights, chosen, experts)
    given = FAST[name](x, weights, chosen, experts)
    close(given, expected)
    inputs = [x, weights, *experts.parameters()]
    left, right = (
        torch.autograd.grad(
            out.square().sum(), inputs, allow_unused=True, materialize_grads=True
        )
        for out in (given, expected)
    )  # to materialise: no gradient counts as one of zeros
    for one, other in zip(left, right, strict=True):
        close(one, other)


@pytest.mark.parametrize("name", FAST)
def test_they_agree_in_float32_to_a_millionth(name):
    x, weights, chosen, experts = case(64, 8, 2)
    x, weights, experts = x.float(), weights.float(), experts.float()
    expected = mix_token_by_token(x, weights, chosen, experts)
    close(FAST[name](x, weights, chosen, experts), expected, 1e-6)


@pytest.mark.parametrize("name", FAST)
def test_tokens_may_lie_anywhere_in_memory(name):
    x, weights, chosen, experts = case(10, 4, 2)
    turned = x.T.contiguous().T
    assert not turned.is_contiguous()
    expected = mix_token_by_token(x, weights, chosen, experts)
    close(FAST[name](turned, weights, chosen, experts), expected)


@pytest.mark.parametrize("name", ["masks", "sorted", "buffers"])
def test_only_experts_that_somebody_chose_matter(name):
    x, chosen = drawn(5, 6), torch.full((5, 1), 2)
    experts = [None, None, lambda x: 3 * x, None]
    if name == "sorted":  # not even called
        close(mix_sorted(x, torch.ones(5, 1), chosen, experts), 3 * x)
    broken = [lambda x: x * float("inf")] * 4
    broken[2] = experts[2]
    close(FAST[name](x, torch.ones(5, 1).double(), chosen, broken), 3 * x)


def test_the_published_layer_stops_and_its_quiet_variant_is_wrong():
    """The weight of expert e stands where e stands among the choices, not in front."""

    def published(x, weights, chosen, experts, column):
        out = torch.zeros_like(x)
        for e, expert in enumerate(experts):
            rows = (chosen == e).any(dim=1)
            if rows.any():
                weight = weights[rows][:, column(chosen[rows] == e)]
                out[rows] += expert(x[rows]) * weight.unsqueeze(-1)
        return out

    given = case(20, 4, 2)
    with pytest.raises(RuntimeError):
        published(*given, lambda here: here.nonzero(as_tuple=True)[1])
    quiet = published(*given, lambda here: 0)
    assert (quiet - mix_token_by_token(*given)).abs().max() > 0.01


# ---- capacity


def served_slowly(chosen, capacity):
    served, rows = {}, []
    for token in chosen.tolist():
        row = []
        for e in token:
            row.append(served.get(e, 0) < capacity)
            served[e] = served.get(e, 0) + 1
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize(("N", "E", "k"), SIZES)
@pytest.mark.parametrize("capacity", [0, 1, 3, 100])
def test_who_is_served_equals_a_loop_that_lets_tokens_arrive(N, E, k, capacity):
    _, chosen = route(drawn(N, E), k)
    kept = within_capacity(chosen, capacity)
    assert kept.equal(served_slowly(chosen, capacity))
    assert torch.bincount(chosen[kept], minlength=E).max() <= capacity
    assert capacity < 100 or kept.all()


def test_places_count_from_zero_without_gaps():
    _, chosen = route(drawn(40, 4), 2)
    places = queue_places(chosen)
    for e in range(4):
        here = places[chosen == e]
        assert here.tolist() == list(range(len(here)))


def test_a_dropped_token_leaves_with_nothing_and_a_late_choice_loses_its_weight():
    x = torch.ones(3, 1)
    experts = [lambda x: 10 * x, lambda x: 2 * x]
    weights = torch.tensor([[0.75, 0.25]] * 3)
    chosen = torch.tensor([[0, 1], [0, 1], [0, 1]])
    out = mix_in_buffers(x, weights, chosen, experts, factor=1 / 3)  # one place each
    assert capacity_of(3, 2, 2, 1 / 3) == 1
    assert out.flatten().tolist() == [8.0, 0.0, 0.0]


def test_buffers_equal_the_others_with_the_weights_of_dropped_choices_set_to_zero():
    x, weights, chosen, experts = case(30, 8, 2)
    kept = within_capacity(chosen, capacity_of(30, 2, 8, 1.0))
    assert 0 < (~kept).sum() < kept.numel()
    out = mix_in_buffers(x, weights, chosen, experts, factor=1.0)
    close(out, mix_token_by_token(x, weights * kept, chosen, experts))


def test_a_fair_share_is_rounded_up_and_even_loads_fit_exactly():
    assert [capacity_of(10, 1, 4, f) for f in (1.0, 1.25, 2.0)] == [3, 4, 5]
    chosen = torch.arange(12).view(12, 1) % 4
    assert within_capacity(chosen, capacity_of(12, 1, 4, 1.0)).all()


def test_a_later_token_takes_no_place_from_an_earlier_one_unless_first_choices_pass():
    before = torch.tensor([[1, 0], [1, 2]])
    after = torch.tensor([[1, 0], [0, 2]])  # the later token now wants expert 0 first
    assert within_capacity(before, 1)[0].tolist() == [True, True]
    assert within_capacity(after, 1)[0].tolist() == [True, True]
    first_choices_pass = queue_places(after.T).T < 1  # as in GShard
    assert first_choices_pass[0].tolist() == [True, False]


# ---- cost


@pytest.mark.parametrize(("N", "k", "E"), [(1, 2, 8), (3, 1, 4), (10, 2, 16)])
def test_as_many_experts_are_read_as_random_tokens_visit_on_average(N, k, E):
    draw = torch.Generator().manual_seed(0)
    _, chosen = route(torch.rand(20_000, N, E, generator=draw), k)
    visited = torch.zeros(20_000, E).scatter(1, chosen.flatten(1), 1.0).sum(dim=1)
    error = 4 * visited.std().item() / math.sqrt(20_000)  # four standard errors
    assert experts_read(N, k, E) == pytest.approx(
        visited.mean().item(), abs=error + 1e-6
    )
