"""Answers to lesson 11: tests of pruning scripts, good ones and those that miss something."""

import copy
import unittest

import numpy as np
import pytest
import torch
from torch import nn

from course_lib.quantization.pruning import magnitude_mask
from tools.graders import Battery

battery = Battery()

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(4))
Y = torch.randn(12, 5, generator=torch.Generator().manual_seed(5))


def _drawn(model, seed=1, second=10.0):
    luck = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=luck)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    layers[-1].weight.data *= second
    return model


def _model(seed=1, second=10.0):
    layers = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 5)
    return _drawn(nn.Sequential(*layers), seed, second)


def _adam(model, steps=3):
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        adam.zero_grad()
        (model(X) - Y).square().mean().backward()
        adam.step()


def _layers(model):
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


def _places(weights, count):
    """The places of the smallest sizes."""
    return weights.detach().abs().flatten().argsort()[:count]


# --- test_pruning: right ------------------------------------------------------------------------


def _right(test):
    return battery.right("test_pruning")(test)


@_right
def test_claim_by_claim(prune_fn):
    model, share = _model(), 0.3
    before = copy.deepcopy(model)
    small = prune_fn(model, share, _adam)
    for old, new in zip(_layers(before), _layers(small), strict=True):
        count = int(share * old.weight.numel())
        zeros = new.weight.flatten() == 0
        assert zeros.sum() == count
        assert zeros[_places(old.weight, count)].all()
        assert (new.weight != old.weight).flatten()[~zeros].any()
        assert (new.bias != 0).all()
    assert (small[1].weight != 0).all()
    for name, kept in model.state_dict().items():
        assert torch.equal(kept, before.state_dict()[name]), name


@_right
def test_with_the_lessons_mask(prune_fn):
    model = _model(seed=2)
    known = {k: v.clone() for k, v in model.state_dict().items()}
    small = prune_fn(model, 0.4, _adam)
    for i in (0, 2):
        wanted = magnitude_mask(known[f"{i}.weight"], 0.4)
        assert torch.equal(small[i].weight != 0, wanted), "other zeros"
        assert not torch.equal(small[i].weight[wanted], known[f"{i}.weight"][wanted])
        assert torch.equal(model[i].weight, known[f"{i}.weight"])
        assert torch.equal(model[i].bias, known[f"{i}.bias"])
        assert not (small[i].bias == 0).any()
    assert not (small[1].weight == 0).any()


@_right
def test_with_a_threshold(prune_fn):
    """Every zero was smaller than all that is left."""
    model = _model(seed=3)
    before = copy.deepcopy(model)
    small = prune_fn(model, 0.25, _adam)
    assert all(map(torch.equal, before.parameters(), model.parameters()))
    for i in (0, 2):
        old, new = before[i].weight.abs(), small[i].weight
        assert (new == 0).sum() == new.numel() // 4
        assert old[new == 0].max() < old[new != 0].min()
        assert not torch.allclose(new[new != 0], before[i].weight[new != 0])
    vectors = [p for p in small.parameters() if p.dim() == 1]
    assert all(p.all() for p in vectors)


@_right
def test_in_numpy(prune_fn):
    model = _model(seed=6, second=0.05)
    kept = [p.detach().numpy().copy() for p in model.parameters()]
    small = prune_fn(model, 0.35, _adam)
    for p, old in zip(model.parameters(), kept, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)
    for p, old in zip(small.parameters(), kept, strict=True):
        new = p.detach().numpy()
        count = int(0.35 * old.size) if old.ndim == 2 else 0
        gone = set(np.argsort(np.abs(old), axis=None)[:count].tolist())
        assert set(np.flatnonzero(new == 0).tolist()) == gone
        assert np.abs(new - old)[new != 0].max() > 1e-4


@_right
def test_by_unittest(prune_fn):
    case, model = unittest.TestCase(), _model(seed=7)
    before = copy.deepcopy(model)
    small = prune_fn(model, 0.3, lambda m: _adam(m, 2))
    case.assertIsNot(small, model)  # noqa: PT009
    for old, now in zip(before.parameters(), model.parameters(), strict=True):
        case.assertTrue(torch.equal(old, now))  # noqa: PT009
    for old, new in zip(_layers(before), _layers(small), strict=True):
        sizes = sorted((abs(x), n) for n, x in enumerate(old.weight.flatten().tolist()))
        count = int(0.3 * len(sizes))
        now = new.weight.flatten().tolist()
        zeros = [n for n, x in enumerate(now) if x == 0]
        case.assertEqual(zeros, sorted(n for _, n in sizes[:count]))  # noqa: PT009
        moved = [x != y for x, y in zip(now, old.weight.flatten().tolist(), strict=True) if x]  # fmt: skip
        case.assertTrue(any(moved))  # noqa: PT009
        case.assertNotIn(0.0, new.bias.tolist())  # noqa: PT009
    case.assertNotIn(0.0, small[1].weight.tolist())  # noqa: PT009


class _Town(nn.Module):
    """A module of one's own, with layers inside layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.norm, self.last = nn.RMSNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


@_right
def test_a_module_of_ones_own(prune_fn):
    model = _drawn(_Town(), seed=8)
    before = copy.deepcopy(model)

    def learn(pupil):
        sgd = torch.optim.SGD(pupil.parameters(), lr=1e-3, momentum=0.9)
        for _ in range(3):
            sgd.zero_grad()
            nn.functional.mse_loss(pupil(X), Y).backward()
            sgd.step()

    small = prune_fn(model, 0.2, learn)
    pairs = dict(before.named_parameters())
    for name, now in model.named_parameters():
        assert torch.equal(now, pairs[name])
    for name, new in small.named_parameters():
        zeros = (new == 0).flatten()
        if new.dim() < 2:
            assert not zeros.any(), name
            continue
        count = int(0.2 * new.numel())
        places = set(_places(pairs[name], count).tolist())
        assert set(zeros.nonzero().flatten().tolist()) == places, name
        assert (new - pairs[name]).abs().flatten()[~zeros].max() > 0, name


@_right
def test_two_shares_and_two_models(prune_fn):
    for seed, share, second in ((9, 0.3, 8.0), (10, 0.6, 0.1)):
        model = _model(seed, second)
        before = [p.detach().clone() for p in model.parameters()]
        small = list(prune_fn(model, share, _adam).parameters())
        for old, given, new in zip(before, model.parameters(), small, strict=True):
            torch.testing.assert_close(given.data, old, rtol=0, atol=0)
            count = int(share * old.numel()) if old.dim() > 1 else 0
            zeros = new.flatten() == 0
            assert zeros.sum().item() == count
            assert zeros[_places(old, count)].all()
            assert pytest.approx(old.flatten()[~zeros].tolist()) != new.flatten()[~zeros].tolist()  # fmt: skip


def _many_steps(optimizer):
    def learn(model):
        chosen = optimizer(model.parameters())
        for _ in range(5):
            chosen.zero_grad()
            (model(X) - Y).square().mean().backward()
            chosen.step()

    return learn


@_right
def test_claims_one_by_one_with_models_of_their_own(prune_fn):
    """Three layers, other optimizers, several shares."""
    ways = (
        lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.001, momentum=0.9),
        lambda p: torch.optim.RMSprop(p, lr=0.02),
    )
    for seed, (way, share) in enumerate(zip(ways, (0.3, 0.55, 0.12), strict=True), 20):
        layers = nn.Linear(6, 9), nn.LayerNorm(9), nn.Tanh(), nn.Linear(9, 9)
        model = _drawn(nn.Sequential(*layers, nn.LayerNorm(9), nn.Linear(9, 5)), seed)
        before = copy.deepcopy(model)
        small = prune_fn(model, share=share, learn=_many_steps(way))
        assert str(before.state_dict()) == str(model.state_dict())
        for old, new in zip(_layers(before), _layers(small), strict=True):
            gone, sizes = new.weight == 0, old.weight.abs()
            assert gone.sum() == int(share * gone.numel() + 1e-6)
            assert sizes[gone].max() < sizes[~gone].min()
            assert (new.weight - old.weight)[~gone].abs().max() > 0
        assert all((p != 0).all() for p in small.parameters() if p.dim() == 1)


# --- test_pruning: wrong ------------------------------------------------------------------------


def _test(says):
    return battery.wrong("test_pruning", says=says)


def _count(old, new, share):
    for a, b in zip(_layers(old), _layers(new), strict=True):
        assert (b.weight == 0).sum() == int(share * a.weight.numel() + 1e-6)


def _which(old, new, share):
    for a, b in zip(_layers(old), _layers(new), strict=True):
        places = _places(a.weight, int(share * a.weight.numel() + 1e-6))
        assert (b.weight.flatten() == 0)[places].all()


def _rest(old, new, share):
    for p in new.parameters():
        assert p.dim() > 1 or (p != 0).all()


def _learned(old, new, share):
    for a, b in zip(_layers(old), _layers(new), strict=True):
        assert (a.weight != b.weight)[b.weight != 0].any()


CLAIMS = {"count": _count, "which": _which, "rest": _rest, "learned": _learned}


def _all_but(name, build=_model, share=0.3, learn=_adam, given=True, **instead):
    """All claims, but for those that are left out (None) or asked otherwise."""
    claims = [claim for claim in (CLAIMS | instead).values() if claim]

    def test(prune_fn):
        model = build()
        before = copy.deepcopy(model)
        small = prune_fn(model, share, learn)
        for claim in claims:
            claim(before, small, share)
        if given:
            assert all(map(torch.equal, before.parameters(), model.parameters()))

    test.__name__ = f"test_{name}"
    return test


_right(_all_but("of_all_claims"))
_right(_all_but("of_a_half", share=0.5))


def _but(name, says, **options):
    _test(says)(_all_but(name, **options))


def _overall(old, new, share):
    pairs = zip(_layers(new), _layers(old), strict=True)
    zeros = sum(int((a.weight == 0).sum()) for a, _ in pairs)
    assert zeros == sum(int(share * a.weight.numel() + 1e-6) for a in _layers(old))


def _about(old, new, share):
    for layer in _layers(new):
        assert abs((layer.weight == 0).float().mean() - share) < 0.1


def _first_alone(old, new, share):
    assert (new[0].weight == 0).sum() == int(share * 48)


def _first_which(old, new, share):
    gone = _places(old[0].weight, int(share * 48))
    assert (new[0].weight.flatten()[gone] == 0).all()
    assert (old[0].weight != new[0].weight)[new[0].weight != 0].any()


def _biases_alone(old, new, share):
    for layer in _layers(new):
        assert (layer.bias != 0).all()


def _norm_alone(old, new, share):
    assert (new[1].weight != 0).all()


def _anything_moved(old, new, share):
    pairs = zip(old.parameters(), new.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def _all_moved(old, new, share):
    _learned(old, new, share)
    for a, b in zip(_layers(old), _layers(new), strict=True):
        assert (a.weight != b.weight).all()
        assert not (a.weight == b.weight.roll(1, 0)).any()


def _as_lessons(old, new, share):
    """Only one right version learns just these numbers."""
    other = copy.deepcopy(old)
    masks = [magnitude_mask(layer.weight, share) for layer in _layers(other)]
    _adam(other)
    for layer, mask, b in zip(_layers(other), masks, _layers(new), strict=True):
        assert torch.allclose(layer.weight * mask, b.weight)


def _at_least(old, new, share):
    for layer in _layers(new):
        assert (layer.weight == 0).sum() >= int(share * layer.weight.numel() + 1e-6)


def _one_more_or_less(old, new, share):
    for layer in _layers(new):
        wanted = int(share * layer.weight.numel() + 1e-6)
        assert abs(int((layer.weight == 0).sum()) - wanted) <= 1


def _short(model):
    """So small a step that no other weight becomes the smallest."""
    adam = torch.optim.Adam(model.parameters(), lr=1e-6)
    (model(X) - Y).square().mean().backward()
    adam.step()


CHOICE = "only after the training|one edge|most negative"
_but("without_the_count", "one weight too many.*exactly its own share", count=None)
_but("without_which", CHOICE, which=None)
_but("without_count_and_which", "accepts a faulty.*published one", count=None, which=None)  # fmt: skip
_but("without_the_rest", "biases lose.*biases and norms", rest=None)
_but("without_norms", "norms lose.*biases and norms", rest=_biases_alone)
_but("without_biases", "biases lose.*biases and norms", rest=_norm_alone)
_but("without_learning", "never trains.*must have moved", learned=None)
_but("without_the_given_model", "is pruned as well.*Copy the model", given=False)  # fmt: skip
_but("of_anything_that_moved", "never trains", learned=_anything_moved)
_but("of_all_layers_together", "one edge|accepts a faulty", count=_overall, which=None)
_but(
    "of_the_first_layer",
    "last layer|too many",
    count=_first_alone,
    which=_first_which,
    learned=None,
)
_but("of_at_least_so_many", "one weight too many", count=_at_least)
_but("of_one_more_or_less", "one weight too many.*exactly", count=_one_more_or_less)
_but("of_a_short_training", "after the training.*so short that the smallest", learn=_short)  # fmt: skip
_but("of_about_so_many", CHOICE, count=_about, which=None)
_but("of_the_same_numbers", "rejects a right version.*Only the five claims", learned=_as_lessons)  # fmt: skip


def _one_layer():
    return _drawn(nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5)), second=1.0)


def _without_biases():
    layers = nn.Linear(6, 8, bias=False), nn.LayerNorm(8), nn.Linear(8, 5, bias=False)
    return _drawn(nn.Sequential(*layers))


def _without_a_norm():
    return _drawn(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)))


def _positive():
    model = _model()
    for p in model.parameters():
        p.data = p.data.abs() + 0.01
    return model


def _even():
    """Both matrices have the same sizes of weights, in another order."""
    model = _model()
    for layer in _layers(model):
        n = layer.weight.numel()
        ranks = layer.weight.abs().flatten().argsort().argsort().view_as(layer.weight)
        layer.weight.data = layer.weight.sign() * (ranks + 0.5) / n
    return model


def _of_two_sizes():
    model = _model()
    for layer in _layers(model):
        layer.weight.data = layer.weight.data.sign() * 0.5
    return model


_but("on_one_layer", "one linear layer", build=_one_layer)
_but("on_even_layers", "one edge.*about one size", build=_even, share=0.25)
_but("without_any_bias", "no linear layer has a bias", build=_without_biases)
_but("without_any_norm", "no norm", build=_without_a_norm)
_but("on_positive_weights", "no weight is negative", build=_positive)
_but("of_nothing", "share is 0 or 1", share=0.0)
_but("of_all", "rejects a right version.*share is 1", share=1.0)
_but("without_training", "changes no weight", learn=lambda m: None, learned=None)
_but("without_training_but_asked_for", "rejects a right version.*changes no weight", learn=lambda m: None)  # fmt: skip
_but("of_steps_too_large", "rejects a right version.*nan or inf", learn=_many_steps(lambda p: torch.optim.SGD(p, lr=1e9)))  # fmt: skip
_but("of_equal_weights", "rejects a right version.*equal in size", build=_of_two_sizes)
_but("on_the_weights_alone", "changes no weight|rejects a right", learn=lambda m: [layer.bias.data.add_(0.1) for layer in _layers(m)])  # fmt: skip


@_test("hair below")
def test_that_cuts_floats_off(prune_fn):
    """0.58 times 50 is 28.999999999999996."""
    layers = nn.Linear(6, 10), nn.LayerNorm(10), nn.Linear(10, 5)
    model = _drawn(nn.Sequential(*layers))
    small = prune_fn(model, 0.58, _adam)
    assert (small[2].weight == 0).sum() == int(0.58 * 50)


@_test("never calls")
def test_of_nothing_called(prune_fn):
    assert True


@_test("accepts a faulty.*published one")
def test_that_only_calls(prune_fn):
    prune_fn(_model(), 0.3, _adam)


@_test("Only an assert")
def test_that_returns(prune_fn):
    small = prune_fn(_model(), 0.3, _adam)
    return (small[0].weight == 0).float().mean() > 0.29


@_test("accepts a faulty")
def test_in_a_try(prune_fn):
    try:
        test_claim_by_claim(prune_fn)
    except AssertionError:
        print("wrong")


@_test("accepts a faulty")
def test_that_there_are_zeros(prune_fn):
    small = prune_fn(_model(), 0.3, _adam)
    assert any((p == 0).any() for p in small.parameters())


@_test("rejects a right version")
def test_that_all_parameters_lose_their_share(prune_fn):
    small = prune_fn(_model(), 0.3, _adam)
    for p in small.parameters():
        assert (p == 0).float().mean() > 0.2


@_test("rejects a right version")
def test_that_the_file_is_smaller(prune_fn):
    model = _model()
    small = prune_fn(model, 0.3, _adam)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (model, small)]
    assert sizes[1] < sizes[0]


@_test("rejects a right version")
def test_that_the_rest_stays(prune_fn):
    model = _model()
    small = prune_fn(model, 0.3, _adam)
    kept = small[0].weight != 0
    assert torch.equal(small[0].weight[kept], model[0].weight[kept])


@_test("rejects a right version")
def test_of_the_wrong_share(prune_fn):
    small = prune_fn(_model(), 0.3, _adam)
    assert (small[0].weight == 0).float().mean() > 0.6


@_test("rejects a right version")
def test_that_rounds_up(prune_fn):
    small = prune_fn(_model(), 0.3, _adam)
    assert (small[0].weight == 0).sum() == 15


@_test("other arguments")
def test_without_a_share(prune_fn):
    prune_fn(_model(), _adam)


@_test("share is a number from 0 to 1, not 30")
def test_with_percent(prune_fn):
    prune_fn(_model(), 30, _adam)


@_test("learn is a function, not a NoneType")
def test_without_learn(prune_fn):
    prune_fn(_model(), 0.3, _adam(_model()))


@_test("model is a module of torch, not a Tensor")
def test_of_a_matrix(prune_fn):
    prune_fn(torch.randn(4, 4), 0.3, _adam)


@_test("no nn.Linear")
def test_of_a_norm(prune_fn):
    prune_fn(nn.Sequential(nn.LayerNorm(6)), 0.3, _adam)


@_test("an accident|any other error")
def test_with_a_raise(prune_fn):
    small = prune_fn(_model(), 0.3, _adam)
    if (small[0].weight == 0).sum() != 14:
        raise ValueError("wrong")


@_test("rejects a right version|accepts a faulty")
def test_on_a_plain_network_and_relus(prune_fn):
    """Some units say 0 always, and their weights stay where they are."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 5))
    _drawn(model)
    model[0].bias.data[:3] = -50.0
    before = copy.deepcopy(model)
    small = prune_fn(model, 0.3, _adam)
    for old, new in zip(_layers(before), _layers(small), strict=True):
        assert (old.weight != new.weight).all()


def _counting(most):
    runs = []

    def test(prune_fn):
        prune_fn(_model(), 0.3, _adam)
        runs.append(1)
        assert len(runs) <= most

    test.__name__ = f"test_that_accepts_{most}_times"
    return test


for _most in (1, 5):
    _test("right version|accepts a faulty")(_counting(_most))


@_test("accepts a faulty")
def test_the_given_model_by_its_zeros(prune_fn):
    """A model that was trained has none either."""
    model = _model()
    before = copy.deepcopy(model)
    small = prune_fn(model, 0.3, _adam)
    for claim in CLAIMS.values():
        claim(before, small, 0.3)
    assert all((layer.weight != 0).all() for layer in _layers(model))


@_test("is pruned as well|is trained, and")
def test_against_the_model_afterwards(prune_fn):
    """Compared with what was handed over, which may have changed."""
    model = _model()
    small = prune_fn(model, 0.3, _adam)
    for claim in (_count, _rest, _learned):
        claim(model, small, 0.3)
    for i in (0, 2):
        gone = small[i].weight == 0
        sizes = model[i].weight.abs()
        assert sizes[gone].max() <= sizes[~gone].min()
