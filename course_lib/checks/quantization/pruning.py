"""Check of lesson 11: the learner's test of pruning scripts, and what it must tell apart.

Right versions need not agree in what stays, only in what the five claims say: with a
mask in the forward pass or zeros written behind every call, the other weights learn
other numbers. The faulty ones are what is published, and what is written when one of
them is mended; each breaks a claim and keeps others.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from course_lib.checks.learners_tests import check_test

Learn = Callable[[nn.Module], object]


def _refuse(model: object, share: object, learn: object) -> None:
    """Not asserts: those would look like the test's own."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a module of torch, not a {type(model).__name__}")
    if not _linears(model):
        raise ValueError("there is nothing to prune: the model has no nn.Linear")
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"share is a number from 0 to 1, not {share!r}")
    if not callable(learn):
        raise ValueError(f"learn is a function, not a {type(learn).__name__}")


def _version(rule: Callable) -> Callable:
    """rule(model, share, learn), of things that belong together."""

    def version(model, share, learn):
        _refuse(model, share, learn)
        return rule(model, share, learn)

    return version


# --- which weights go --------------------------------------------------------------------


def _linears(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def _count(weights: Tensor, share: float) -> int:
    return int(share * weights.numel() + 1e-6)


def _least(values: Tensor, count: int) -> Tensor:
    """True for the least values; of equal ones the first."""
    gone = torch.zeros(values.numel(), dtype=torch.bool)
    gone[values.detach().flatten().argsort(stable=True)[:count]] = True
    return gone.view(values.shape)


def _small(weights: Tensor, share: float) -> Tensor:
    return _least(weights.abs(), _count(weights, share))


def _small_last(weights: Tensor, share: float) -> Tensor:
    """The same weights; of equal ones the last."""
    return _small(weights.flip(0, 1), share).flip(0, 1)


@torch.no_grad()
def _zero(model: nn.Module, gone: Iterable[Tensor]) -> None:
    for layer, mask in zip(_linears(model), gone, strict=True):
        layer.weight[mask] = 0.0


# --- right versions ----------------------------------------------------------------------


def _torchs_own(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    """The published script, with its two lines in the right order."""
    small, model = copy.deepcopy(model), copy.deepcopy(model)
    for layer in _linears(small):
        prune.l1_unstructured(layer, "weight", amount=_count(layer.weight, share))
    learn(small)
    for layer in _linears(small):
        prune.remove(layer, "weight")
    model.load_state_dict(small.state_dict())  # torch put the weights behind the biases
    return model


def _cut_again(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    return _held(model, [_small(layer.weight, share) for layer in _linears(model)], learn)  # fmt: skip


def _held(
    model: nn.Module, gone: list[Tensor], learn: Learn, first: bool = True
) -> nn.Module:
    """A trained copy in which these weights are 0."""
    model = copy.deepcopy(model)
    if first:
        _zero(model, gone)
    learn(model)
    _zero(model, gone)
    return model


def _cut_at_the_end(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    gone = [_small_last(layer.weight, share) for layer in _linears(model)]
    return _held(model, gone, learn, first=False)


# fmt: off
_RIGHT = {
    "torch's own masks, taken off after the training": _version(_torchs_own),
    "zeros written before the training, and again after it": _version(_cut_again),
    "the weights that are the smallest before the training become 0 after it": _version(_cut_at_the_end),
}
# fmt: on


# --- faulty versions ---------------------------------------------------------------------


def _goes(find: Callable) -> Callable:
    """Right, except for which weights go: find(weights, share)."""
    return _goes_of_all(lambda all, share: [find(one, share) for one in all])


def _goes_of_all(find: Callable) -> Callable:
    """Right, except for which weights go: find(all matrices, share)."""

    def rule(model: nn.Module, share: float, learn: Learn) -> nn.Module:
        matrices = [layer.weight.detach() for layer in _linears(model)]
        return _held(model, find(matrices, share), learn)

    return _version(rule)


def _published(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    model = copy.deepcopy(model)
    _zero(model, [_small(layer.weight, share) for layer in _linears(model)])
    learn(model)
    return model


@torch.no_grad()
def _second(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    model = copy.deepcopy(model)
    with torch.enable_grad():
        learn(model)
    sizes = torch.cat([p.abs().flatten() for p in model.parameters()])
    edge = sizes.sort().values[min(int(share * len(sizes)), len(sizes) - 1)]
    for p in model.parameters():
        p[p.abs() < edge] = 0.0
    return model


def _not_trained(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    return _cut_again(model, share, lambda copied: None)


def _given_is_pruned(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    _zero(model, gone := [_small(layer.weight, share) for layer in _linears(model)])
    return _held(model, gone, learn)


def _given_is_trained(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    gone = [_small(layer.weight, share) for layer in _linears(model)]
    learn(model)
    return _held(model, gone, lambda copied: None)


def _after(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    model = copy.deepcopy(model)
    learn(model)
    return _cut_again(model, share, lambda copied: None)


@torch.no_grad()
def _put_back(model: nn.Module, share: float, learn: Learn) -> nn.Module:
    """What stays has the numbers that it had; biases and norms have learned."""
    with torch.enable_grad():
        small = _cut_again(model, share, learn)
    for old, new in zip(_linears(model), _linears(small), strict=True):
        new.weight.copy_(torch.where(new.weight == 0, 0.0, old.weight))
    return small


def _also(others: Callable) -> Callable:
    """Right, but others(model), vectors, are pruned too, each by its share."""

    @torch.no_grad()
    def rule(model: nn.Module, share: float, learn: Learn) -> nn.Module:
        with torch.enable_grad():
            small = _cut_again(model, share, learn)
        for vector in others(small):
            vector[_least(vector.abs(), max(1, _count(vector, share)))] = 0.0
        return small

    return _version(rule)


def _biases(model: nn.Module) -> list[Tensor]:
    return [layer.bias for layer in _linears(model) if layer.bias is not None]


def _norms(model: nn.Module) -> list[Tensor]:
    found = [m for m in model.modules() if not isinstance(m, nn.Linear)]
    weights = [getattr(m, "weight", None) for m in found]
    return [w for w in weights if isinstance(w, Tensor) and w.ndim == 1]


def _of_all_together(matrices: list[Tensor], share: float) -> list[Tensor]:
    sizes = torch.cat([w.abs().flatten() for w in matrices])
    gone = _least(sizes, _count(sizes, share))
    parts = gone.split([w.numel() for w in matrices])
    return [p.view(w.shape) for p, w in zip(parts, matrices, strict=True)]


def _but_the_last(matrices: list[Tensor], share: float) -> list[Tensor]:
    *before, last = matrices
    return [*(_small(w, share) for w in before), torch.zeros_like(last).bool()]


def _and_the_edge(weights: Tensor, share: float) -> Tensor:
    """`<=` where `<` was meant."""
    return _least(weights.abs(), _count(weights, share) + 1)


_FULL = "After `learn` count the zeros in each linear layer's matrix, for itself: exactly its own share, rounded down."
_WHICH = "Remember each matrix from before, sort the *sizes* of its weights, and look whether those places, and no others, are 0."
_REST = "Look at biases and norms as well: none of their numbers is 0."
_LEARNED = "Compare what stays in each matrix with what stood there before: the weights themselves must have moved."
_GIVEN = "Copy the model before you hand it over, and compare every number of the one that was handed over with it."

# fmt: off
_WRONG: dict[str, tuple[Callable, str]] = {
    # in the order in which they are told
    "the published one, whose zeros are filled again by the training": (_version(_published), _FULL),
    "the second one, trained first, then cut below one edge for all of its parameters": (_version(_second), _WHICH),
    "it never trains": (_version(_not_trained), _LEARNED),
    "the model that was given is pruned as well, and a copy is trained": (_version(_given_is_pruned), _GIVEN),
    "it chooses the smallest weights only after the training": (_version(_after), _WHICH),
    "one edge for the matrices of all layers together": (_goes_of_all(_of_all_together), _WHICH),
    "the least weights go, the most negative ones first": (_goes(lambda w, s: _least(w, _count(w, s))), _WHICH),
    "in each matrix one weight too many goes, the first that should stay": (_goes(_and_the_edge), _FULL),
    "the last layer is left alone": (_goes_of_all(_but_the_last), _FULL),
    "the biases lose their share too": (_also(_biases), _REST),
    "the norms lose their share too": (_also(_norms), _REST),
    "what stays is put back to what it was before the training, although biases and norms have learned": (_version(_put_back), _LEARNED),
    "the model that was given is trained, and a copy of it pruned": (_version(_given_is_trained), _GIVEN),
}
# fmt: on
_FAULTY = {name: version for name, (version, _) in _WRONG.items()}
_SHOWN_BY = dict(_WRONG.values())
_OF = {version: name for name, version in _FAULTY.items()}


# --- what a learner is told --------------------------------------------------------------


def _learns(call: tuple) -> bool:
    """Whether this learn changes anything in this model's matrices."""
    before, after = _around(call)
    return not all(map(torch.equal, before, after))


def _reorders(call: tuple) -> bool:
    """Whether after this learn other weights are the smallest."""
    small = ([_small(w, call[1]) for w in matrices] for matrices in _around(call))
    return not all(map(torch.equal, *small))


def _around(call: tuple) -> tuple[list[Tensor], list[Tensor]]:
    """The matrices before and after learning."""
    model, _, learn = call
    pupil = copy.deepcopy(model)
    learn(pupil)
    return [x.weight for x in _linears(model)], [x.weight for x in _linears(pupil)]


def _uneven(call: tuple) -> bool:
    """Whether one matrix has weights of clearly another size than another one."""
    sizes = [layer.weight.abs().median().item() for layer in _linears(call[0])]
    return max(sizes) > 3 * min(sizes)


def _negative(call: tuple) -> bool:
    return any((layer.weight < 0).any() for layer in _linears(call[0]))


# fmt: off
_IDLE = "`learn` changes no weight"
_HIDES: list[tuple[str, Callable, str]] = [  # words of a fault, what shows it, what is told if nothing does
    ("published", _learns, _IDLE),
    ("never trains", _learns, _IDLE),
    ("after the training", _learns, _IDLE),
    ("after the training", _reorders, "`learn` is so short that the smallest weights stay the smallest"),
    ("put back", _learns, _IDLE),
    ("is trained, and", _learns, _IDLE),
    ("matrices of all", lambda call: len(_linears(call[0])) > 1, "there is one linear layer"),
    ("matrices of all", _uneven, "all linear layers have weights of about one size"),
    ("last layer", lambda call: len(_linears(call[0])) > 1, "there is one linear layer"),
    ("most negative", _negative, "no weight is negative"),
    ("biases lose", lambda call: bool(_biases(call[0])), "no linear layer has a bias"),
    ("norms lose", lambda call: bool(_norms(call[0])), "the model has no norm"),
    ("", lambda call: 0 < call[1] < 1, "the share is 0 or 1"),
]
# fmt: on


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    """What all calls have in common that hides a breach of this claim, or the claim."""
    name = _OF[version]
    for words, shows, told in _HIDES:
        if words in name and not any(shows(call) for call in calls):
            return f"In your calls of it {told}, so it cannot show. {_SHOWN_BY[version]}"  # fmt: skip
    return _SHOWN_BY[version]


def _why_unfair(version: Callable, calls: list[tuple]) -> str:
    """What may have made a test reject a version in which nothing is wrong."""
    if not calls:
        return "It did not come as far as asking for a first model."
    if not any(_learns(call) for call in calls):
        return (
            "Your `learn` changes no weight, so nothing can have learned. Train by way of `model.parameters()`: a few steps "
            "of Adam on inputs for which the loss is not 0."
        )
    if any(not w.isfinite().all() for call in calls for w in _around(call)[1]):
        return "Your `learn` makes numbers without end (nan or inf), with which no comparison holds. Take smaller or fewer steps."
    if any(share == 1 for _, share, _ in calls):
        return "In one of your calls the share is 1: nothing stays that could learn."
    for model, share, _ in calls:
        for layer in _linears(model):
            sizes = layer.weight.detach().abs().flatten().sort().values
            count, product = _count(sizes, share), share * len(sizes)
            if int(product) != count:
                return (
                    f"{share} times {len(sizes)} weights is a hair below {count} in floats, which `int` cuts off. Take another "
                    "share, or add a little before you round down."
                )
            if 0 < count < len(sizes) and sizes[count - 1] == sizes[count]:
                return (
                    "Some of your weights are equal in size, and only some of those go; which ones is nobody's claim. Take "
                    "weights that all differ."
                )
    return (
        "Only the five claims count. What stays may learn other numbers in every right version, and not each of them must "
        "move; after the training nothing else is promised."
    )


@check_test(
    None,
    right=_RIGHT,
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_unfair=_why_unfair,
    called="prune_fn",
    proved=f"It accepts {len(_RIGHT)} ways to prune, and exposes {len(_FAULTY)} that break a claim, the two published "
    "ones among them.",
)
def test_pruning(test, draw):
    """Pass what prunes and keeps it so; fail all else."""
