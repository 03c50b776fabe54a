"""Checks of lesson 04: the balance loss, the bias that is moved by hand, queues, and counts.

What is right is counted slowly: visit by visit, choice by choice, matrix by matrix. Every
check asks all its questions first; a mistake is named if it explains all wrong results, as
small inputs alone would not tell mistakes apart. The answers that prove the checks are in
`tests/answers/`.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_lib.checks.asking import (
    NO_GRADIENT,
    ask,
    ask_gradient,
    ask_tensor,
    close,
    expect,
    number,
)
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.moe import balancing, dispatch
from course_lib.scaling import parameters
from course_lib.scaling.parameters import Experts
from course_lib.transformer import Config


def _near(got: float | Tensor, want: float | Tensor, rtol: float = 1e-5) -> bool:
    if isinstance(got, Tensor):
        return got.shape == want.shape and close(got, want, rtol)
    return math.isclose(got, want, rel_tol=rtol, abs_tol=1e-6)


def _gather(cases: Sequence[tuple], asked: Callable, counted: Callable) -> list:
    """(got, want, case) of all cases, up to where a wrong answer stops; both get a case."""
    found = []
    for case in cases:
        try:
            got = asked(*case)
        except Exception:
            if _wrong(found):  # what was wrong before says more than where it stopped
                break
            raise
        found.append((got, counted(*case), case))
    return found


def _wrong(found: list) -> list:
    return [one for one in found if not _near(*one[:2])]


def _name(found: list, mistakes: Callable, otherwise: Callable) -> None:
    """Name the mistake behind all results, or all wrong ones, or at least half of those."""
    wrong = _wrong(found)
    if not wrong:
        return
    table = [(got, want, mistakes(*case)) for got, want, case in found]
    off = [row for row in table if not _near(*row[:2])]
    for rows, enough in ((table, 1.0), (off, 1.0), (off, 0.5)):
        for name, results in off[0][2].items():
            for way in range(len(results)):
                met = sum(_near(got, known[name][way]) for got, _, known in rows)
                if met >= enough * len(rows) and _near(off[0][0], results[way]):
                    raise CheckFailed(name)
    if all(_near(got, want, 1e-2) for got, want, _ in wrong):
        raise CheckFailed(
            "The first digits are right and the later ones are not. Is something rounded on the "
            "way, or a small constant added?"
        )
    got, want, case = wrong[0]
    raise CheckFailed(otherwise(got, want, *case))


# --- switch_loss ----------------------------------------------------------------------

_NO_WAY_BACK = (
    "Its value is wrong, and no gradient goes back from it to the scores: added to a training "
    "loss it would be a constant. Choices and counts have no gradient; the mean share has one, "
    "as long as it is not cut off (detach, item, no_grad)."
)


@check(
    balancing.switch_loss,
    proved="1 at balance, E at collapse, padding left out, every layer on its own, equal to "
    "counting visit by visit, and its gradient is what nudging scores does.",
)
def switch_loss(answer, draw):
    cases = _balance_cases(draw)
    found = _gather(cases, lambda *case: _balance_ask(answer, *case), _balance_counted)
    for _, _, case in _wrong(found)[:1]:
        expect(_goes_back(answer, *case), _NO_WAY_BACK)
    _name(found, _balance_mistakes, _balance_otherwise)
    scores, chosen, mask = cases[3]
    named = ask_tensor(answer, mask=mask, chosen=chosen, scores=scores, shape=())
    got, want = float(named), _balance_counted(scores, chosen, mask)
    expect(
        _near(got, want), "Called with names, in another order, it gives another loss."
    )
    for case in (cases[0], cases[3], _balance_drawn(draw, (2, 5, 3), 2, (5,))):
        _balance_gradient(answer, draw, *case)


def _balance_cases(draw) -> list[tuple]:
    """(scores, chosen, mask), each bringing in one thing more than those before it."""
    four = torch.tensor([[3.0, 1.0], [1.0, 3.0], [3.0, 1.0], [3.0, 1.0]]).log()
    # scores, k, mask
    sizes = (
        ((7, 5), 1, None),
        ((9, 6), 2, None),
        ((8, 5), 3, (8,)),
        ((3, 8, 5), 2, None),
        ((2, 10, 4), 2, (10,)),
        ((4, 9, 6), 2, (4, 9)),
        ((1, 7), 2, None),
        ((1, 6, 3), 1, (1, 6)),
        ((2, 3, 6, 4), 2, None),
    )
    cases = [(four, four.topk(1).indices, None)]
    cases += [_balance_drawn(draw, *size) for size in sizes]
    ten = torch.arange(10)[:, None] + torch.arange(2)
    collapsed = torch.tensor([[200.0, -100.0, 0.0, 90.0]]).repeat(6, 1)
    best = [(z, z.topk(2).indices, mask) for z, _, mask in (cases[2], cases[5])]
    return [
        *cases,
        *best,
        (four[[0, 2, 3]], torch.ones(3, 1, dtype=torch.long), None),  # below 1
        (torch.eye(5).repeat(2, 1), ten % 5, None),
        (collapsed, torch.zeros(6, 1, dtype=torch.long), None),
    ]


def _balance_drawn(draw, shape: tuple, k: int, mask: tuple | None) -> tuple:
    """Scores not in one piece; a bias has a say in the choice; nobody visits the last expert."""
    E, N = shape[-1], shape[-2]
    while True:
        scores = 1.5 * torch.randn((*shape[:-2], E, N), generator=draw).mT
        favoured = scores + torch.randn(E, generator=draw)
        if N > 1:
            favoured[..., -1] = -math.inf
        chosen = favoured.topk(k).indices.mT.contiguous().mT
        if N == 1 or len(chosen.unique()) > 1 + (E > 3):
            break
    if mask is None:
        return scores, chosen, None
    kept = torch.rand(mask, generator=draw) < 0.6
    if len(mask) > 1:  # unequal rows, so that one heap differs from a mean of means
        kept[0, 2:] = False
    kept[..., 0], kept[..., 1] = True, False
    return scores, chosen, kept


def _balance_ask(answer, scores: Tensor, chosen: Tensor, mask: Tensor | None) -> float:
    E, k, front = scores.shape[-1], chosen.shape[-1], tuple(scores.shape[:-2])
    # fmt: off
    shapes = {
        (E,): "There is a number for each expert. Their sum over the experts is asked for.",
        (k,): "There is a number for each choice. One number for all of them is asked for.",
        (*front, E): "There is a number for each expert. Their sum over the experts is asked for.",
        scores.shape[:-1]: "There is a number for each token. One number for all is asked for.",
        front: "There is a loss for each layer. Their mean is asked for, one number.",
        (1,): "It should have no dimension at all, as a mean has.",
        **dict.fromkeys((front[1:], front[:-1]), "The mean went over one of the dimensions in front. It goes over all."),
    }
    # fmt: on
    shapes.pop((), None)
    try:
        got = ask(answer, scores, chosen, *(() if mask is None else (mask,)))
    except IndexError as error:
        if "shape of the mask" not in str(error):
            raise
        raise CheckFailed(
            "Tokens were selected with the mask. It may have fewer dimensions than the scores, and "
            "a selection is one heap of all layers. `load` and `mean_share` take the mask as it is."
        ) from error
    if isinstance(got, tuple | list):
        raise CheckFailed(f"It returned {len(got)} things; one number is wanted.")
    if isinstance(got, Real):
        raise CheckFailed(
            "It returned a plain number, from which no gradient goes back to the scores. A tensor "
            "with one number is wanted: no .item() or float()."
        )
    got = ask_tensor(lambda: got, shape=(), shapes=shapes)
    return _balance_finite(float(got.detach()), scores)


def _balance_finite(got: float, scores: Tensor) -> float:
    expect(
        math.isfinite(got),
        f"For scores from {float(scores.min()):.3g} to {float(scores.max()):.3g} it is {got}. Is "
        "there an exponential of a large score, or a logarithm of a share that is 0?",
    )
    return got


def _balance_counted(scores: Tensor, chosen: Tensor, mask: Tensor | None) -> float:
    """Layer by layer, token by token, visit by visit."""
    E, N = scores.shape[-1], scores.shape[-2]
    rows = scores.double().reshape(-1, N, E).tolist()
    visits = chosen.reshape(len(rows), N, -1).tolist()
    kept = torch.ones(scores.shape[:-1]) if mask is None else mask
    kept = kept.expand(scores.shape[:-1]).reshape(-1, N).tolist()
    layers = []
    for z, c, m in zip(rows, visits, kept, strict=True):
        tokens = [n for n in range(N) if m[n]]
        came = Counter(e for n in tokens for e in c[n])
        asked = [0.0] * E
        for n in tokens:
            top = max(z[n])
            parts = [math.exp(one - top) for one in z[n]]
            for e in range(E):
                asked[e] += parts[e] / sum(parts)
        met = sum(came[e] * asked[e] for e in range(E))
        layers.append(met / came.total() / len(tokens))
    return E * sum(layers) / len(layers)


def _goes_back(answer, scores: Tensor, chosen: Tensor, mask: Tensor | None) -> bool:
    try:
        got = answer(scores.clone().requires_grad_(), chosen, mask)
    except Exception:  # named by another message
        return True
    return isinstance(got, Tensor) and got.requires_grad


def _balance_gradient(answer, draw, scores, chosen, mask) -> None:
    """Against what happens to the slow count if the scores go a little in some direction."""
    got = ask_gradient(lambda leaf: answer(leaf, chosen, mask), scores, cut=NO_GRADIENT)
    ways = torch.randn((6, *scores.shape), generator=draw, dtype=torch.float64)
    said = (ways * got).flatten(1).sum(1)
    want = torch.zeros(6)
    for i, way in enumerate(ways):
        there = [scores + step * way for step in (1e-4, -1e-4)]
        ahead, behind = (_balance_counted(z, chosen, mask) for z in there)
        want[i] = (ahead - behind) / 2e-4
    expect(
        bool(got.abs().max() > 1e-5),
        "The values are right and the gradient is 0 everywhere, so the loss would move nothing.",
    )
    expect(
        close(said, want, rtol=1e-3, atol=1e-5),
        "The values are right and the gradient is not: nudging scores changes the loss by "
        "another amount than it says. Is a part of the share cut off, or the load given a "
        "gradient?",
    )


def _balance_otherwise(got, want, scores, chosen, mask) -> str:
    padded = "" if mask is None else f", {int((~mask).sum())} of them padding"
    return (
        f"For scores of shape {tuple(scores.shape)}, {chosen.shape[-1]} choice(s) of each token"
        f"{padded}, it gives {got:.4g}; counted visit by visit it is {want:.4g}."
    )


def _balance_mistakes(scores: Tensor, chosen: Tensor, mask: Tensor | None) -> dict:
    """What known mistakes give. here: visits, share: softmax, m: tokens that count."""
    z, E, N, k = scores.double(), *scores.shape[:-3:-1], chosen.shape[-1]
    kept = torch.ones(N) if mask is None else mask
    m = kept.expand(z.shape[:-1]).double().unsqueeze(-1)
    every, others = torch.ones_like(m), 1 - m if mask is not None else m
    here = one_hot(chosen, E).double().sum(-2)
    again = one_hot(z.topk(k).indices, E).double().sum(-2)
    first = one_hot(chosen[..., 0], E).double()
    share = z.softmax(-1)
    few = z.masked_fill(here == 0, -math.inf).softmax(-1)

    def mean(table: Tensor, m: Tensor = m) -> Tensor:
        return (table * m).sum(-2) / m.sum(-2).clamp(min=1)

    def loss(f: Tensor, P: Tensor) -> float:
        return float(E * (f * P).sum(-1).mean())

    def heap(table: Tensor) -> Tensor:
        return (table * m).reshape(-1, E).sum(0) / m.sum()

    f, P, fair = mean(here) / k, mean(share), 1 / E
    right, L = loss(f, P), math.prod(z.shape[:-2])
    gaps = {"load": f - fair, "share": P - fair, "visits": f * k - fair}
    # fmt: off
    return {
        "The load alone is in it. Counts have no gradient, so they need the mean share beside "
        "them.":
            (loss(f, f), loss(f * k, f * k), loss(f, f) / E, float(f.amax(-1).mean())),
        "The factor is missing: it is too small by the number of experts. Were the experts "
        "averaged instead of summed, or is E left out?":
            (right / E, right / E / E),
        "At balance it gives k instead of 1: visits are divided by the tokens, and each token "
        "makes k of them. `load` divides by all visits.":
            (right * k,),
        "Visits are divided by k once too often. `load` sums to 1 already.":
            (right / k,),
        "The factor is not the number of experts, the last size of `scores`. It is k, the number "
        "of tokens, of layers, or of those experts that were chosen.":
            (right / E * k, right / E * N, right / E * (int(chosen.max()) + 1),
             right / E * (E if z.dim() == 2 else z.shape[0]), right / E * 2, right / E * 8, right / E * int((here.flatten(0, -2).sum(0) > 0).sum())),
        "The factor E goes in twice.":
            (right * E,),
        "The layers are added up. Their mean is asked for.":
            (right * L, right * z.shape[0]),
        "All layers are one heap in yours. Each has its own load and its own mean share; the "
        "mean over layers comes last.":
            (loss(heap(here) / k, heap(share)), loss(heap(here), heap(share)),
             loss(f.reshape(-1, E).mean(0), P.reshape(-1, E).mean(0)),
             loss(heap(here) / k, P), loss(f, heap(share))),
        "A layer or text of more tokens counts more in yours. Each has its own loss, and their "
        "mean is asked for.":
            (float((E * (f * P).sum(-1) * m.sum((-2, -1))).sum() / m.sum()),),
        "Only one layer counts. The mean over all of them is asked for.":
            tuple(float(E * (f * P).sum(-1).flatten()[i]) for i in (0, -1)),
        "The share is a softmax over the chosen experts only. Then an expert that was not chosen "
        "has no share to raise: it is the softmax over *all* experts.":
            (loss(f, mean(few)), loss(f * k, mean(few)), loss(f, mean(share * here.clamp(max=1)))),
        "The mask is ignored. A token where it is False counts neither for the load nor for the "
        "share.":
            (loss(mean(here, every) / k, mean(share, every)),),
        "The mask reaches the load, and not the share. Padding counts for neither.":
            (loss(f, mean(share, every)),),
        "The mask reaches the share, and not the load. Padding counts for neither.":
            (loss(mean(here, every) / k, P),),
        "The mask works the other way round: True is where a token counts.":
            (loss(mean(here, others) / k, mean(share, others)),),
        "Padding is left out of the sum, but not of the number of tokens by which it is divided.":
            (loss(f, (share * m).mean(-2)), loss((here * m).mean(-2) / k, P),
             loss((here * m).mean(-2) / k, (share * m).mean(-2))),
        "The scores of padding became 0, which makes even shares of them. Padding has no share.":
            (loss(f, mean((z * m).softmax(-1), every)),),
        "The experts were chosen anew, from the scores. `chosen` says where the tokens went, "
        "and a bias may have had a say.":
            (loss(mean(again) / k, P), loss(mean(one_hot(z.argmax(-1), E).double()), P)),
        "Only the first choice of each token is counted. All k are visits.":
            (loss(mean(first), P), loss(mean(first) / k, P)),
        "The scores themselves are averaged, or their logarithms or sigmoids. The share is their "
        "softmax over all experts.":
            (loss(f, mean(z)), loss(f, mean(z.log_softmax(-1))), loss(f, mean(z.sigmoid())),
             loss(f, mean(z.sigmoid() / z.sigmoid().sum(-1, keepdim=True)))),
        "The scores are averaged first and the softmax comes after. The mean is one of shares.":
            (loss(f, mean(z).softmax(-1)),),
        "The softmax runs over the tokens. Each token's shares sum to 1 over the experts.":
            (loss(f, mean(z.softmax(-2))),),
        "The softmax is taken twice. `scores` come before it.":
            (loss(f, mean(share.softmax(-1))), loss(f, P.softmax(-1))),
        "The sign is turned. It is minimised, so balance has to be lowest.":
            (-right, 1 - right, E - right),
        "It is shifted, so that balance gives 0. At balance it gives 1.":
            (right - 1, right / E - fair),
        "It measures the distance from an even load, as squares or as absolute values. What is "
        "asked for is a product of load and mean share.":
            tuple(float(one) for gap in gaps.values() for one in (
                gap.square().mean(), gap.square().sum(-1).mean(), E * gap.square().sum(-1).mean(),
                gap.abs().mean(), gap.abs().sum(-1).mean(), E * gap.abs().sum(-1).mean(),
                (E * gap).square().mean(), (E * gap).square().mean() * E / max(E - 1, 1),
                (f - P).square().sum(-1).mean(), (f - P).square().mean())),
        "This is an entropy, or a distance made of logarithms. What is asked for is a product of "
        "load and mean share.":
            tuple(float(one.sum(-1).mean()) * sign / unit
                  for one in (torch.special.entr(f), torch.special.entr(P), f * (P + 1e-30).log(),
                              torch.special.xlogy(f, f / P), torch.special.entr(share))
                  for sign in (1, -1) for unit in (1, math.log(E), 1 / E)),
        "It measures how far an entropy is from an even one. What is asked for is a product of "
        "load and mean share.":
            tuple(float(1 - one.sum(-1).mean() / math.log(E)) for one in (
                torch.special.entr(f), torch.special.entr(P), torch.special.entr(share))),
        "The mean share alone is in it. The load says whose share is to be lowered.":
            (loss(P, P), loss(P, P) / E, loss(P, P) / E / E, float(P.amax(-1).mean())),
        "The product is taken token by token, before the mean. First the load and the mean "
        "share of all tokens, then their product.":
            tuple(float(E * mean(here * share).sum(-1).mean()) / times for times in (k, 1)),
        "Load and share are added. Their product is asked for.":
            (float(E * (f + P).sum(-1).mean()), float((f + P).sum(-1).mean())),
        "The product is squared, or under a root.":
            (loss(f * P, f * P), loss((f * P).sqrt(), P**0), loss(f, P * P), loss(f * f, P)),
    }
    # fmt: on


# --- update_bias ----------------------------------------------------------------------


@check(
    balancing.update_bias,
    proved="Every step has the size of the rate, whatever the gap; who did more than the mean "
    "falls, who did less rises, who did just that rests, and the old bias stays as it was.",
)
def update_bias(answer, draw):
    cases = _bias_cases(draw)
    found = _gather(cases, lambda *case: _bias_ask(answer, *case), _bias_counted)
    _name(found, _bias_mistakes, _bias_otherwise)
    bias, done, _ = cases[0]
    got = ask_tensor(answer, bias=bias, rate=0.25, load=done, shape=(3,))
    expect(
        close(got, _bias_counted(bias, done, 0.25)),
        "Called with names, in another order, it gives another bias.",
    )
    even = torch.ones(4) / 4, torch.full((4,), 0.25)
    for what, asked in (
        ("at balance", (*even, 0.1)),
        ("at a rate of 0", (bias, done, 0.0)),
    ):
        got = ask(answer, *asked)
        expect(
            got.untyped_storage().data_ptr() != asked[0].untyped_storage().data_ptr(),
            f"Where nothing moves, {what}, your result is the very tensor that came in, or shares "
            "its memory. A new tensor is wanted; a copy will do.",
        )


def _bias_cases(draw) -> list[tuple]:
    cases = [
        (torch.zeros(3), torch.tensor([0.5, 0.3, 0.2]), 0.1),
        (
            torch.tensor([0.5, -0.5, 0.0, 2.0]),
            torch.tensor([0.97, 0.01, 0.01, 0.01]),
            0.1,
        ),
        (torch.tensor([3.0, -4.0, 0.25]), torch.tensor([0.0, 0.0, 1.0]), 0.5),
    ]
    for E, rate in ((5, 0.3), (8, 0.001), (6, 2.0), (16, 0.02), (2, 0.7)):
        while True:
            done = torch.rand(E, generator=draw).square()
            done = done / done.sum()
            if (done - 1 / E).abs().min() > 1e-3:
                break
        cases.append((torch.randn(E, generator=draw), done, rate))
    return [
        *cases,
        (
            torch.tensor([1.0, -1.0, 0.5, 0.0]),
            torch.tensor([0.5, 0.25, 0.25, 0.0]),
            0.1,
        ),
        (torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.5]), 0.1),
        (torch.tensor([0.5, 1.0]), 0.5 + torch.tensor([1.0, -1.0]) / 4096, 0.1),
        (torch.tensor([1.5]), torch.tensor([1.0]), 0.1),
    ]


def _bias_ask(answer, bias: Tensor, done: Tensor, rate: float) -> Tensor:
    E = len(bias)
    shapes = {
        (): "One number came back, a change or a sum. Each expert has a bias of its own.",
        (E, E): "Every bias met every load. Expert by expert is wanted.",
        (1, E): "A dimension was added.",
        (E, 1): "A dimension was added.",
    }
    got = ask_tensor(answer, bias, done, rate, shape=(E,), shapes=shapes).detach()
    expect(
        not got.isnan().any(),
        "There is nan in the new bias: 0 was divided by 0 where a load is exactly the mean. A sign "
        "needs no division.",
    )
    return got


def _bias_counted(bias: Tensor, done: Tensor, rate: float) -> Tensor:
    """Expert by expert."""
    fair, new = sum(done.tolist()) / len(done), []
    for old, mine in zip(bias.tolist(), done.tolist(), strict=True):
        if math.isclose(mine, fair, rel_tol=1e-6):
            new.append(old)
        elif mine > fair:
            new.append(old - rate)
        else:
            new.append(old + rate)
    return torch.tensor(new)


def _bias_otherwise(got: Tensor, want: Tensor, bias, done, rate) -> str:
    steps = (got - bias) / rate
    grows = bool((steps.sign() == (want - bias).sign()).all()) and (
        float(steps[steps != 0].abs().max() / steps[steps != 0].abs().min()) > 1.001
    )
    if grows:
        return (
            "The direction of the steps is right, and their sizes differ. Every step has the same "
            "size, however far off a load is."
        )
    show = [[round(x, 4) for x in one.tolist()] for one in (bias, done, got, want)]
    return (
        f"Bias {show[0]}, load {show[1]}, rate {rate}: it gives {show[2]}; expert by expert it is "
        f"{show[3]}."
    )


def _bias_mistakes(bias: Tensor, done: Tensor, rate: float) -> dict:
    E, gap = len(bias), done.mean() - done
    up = torch.where(gap.abs() < 1e-6, 0.0, gap.sign())
    new, ones = bias + rate * up, torch.ones(E)
    # fmt: off
    return {
        "The sign is turned: who did too much is favoured even more.":
            (bias - rate * up, bias + rate * gap.neg()),
        "The step grows with the gap. Every step has the same size, however far off a load is.":
            tuple(bias + rate * step for step in (
                gap, E * gap, gap.tanh(), -(done / done.mean()).log(), done.mean() / done - 1, gap * gap.abs(), gap / gap.abs().max().clamp(min=1e-9),
                gap / gap.norm().clamp(min=1e-9), gap / gap.std().clamp(min=1e-9))),
        "A small gap moves nothing. However near to the mean a load is, only its sign counts.":
            tuple(bias + rate * torch.where(gap.abs() <= least, 0.0, up)
                  for least in (0.1, 0.05, 0.01, 1e-3)),
        "An expert with exactly the mean load moves. It keeps its bias.":
            (bias + rate * torch.where(up < 0, -1.0, 1.0),
             bias + rate * torch.where(up > 0, 1.0, -1.0)),
        "The rate makes no difference. It is the size of each step.":
            (bias + up, bias + gap, bias + 0.1 * up),
        "The old bias is forgotten: this is the step alone. It is added to the bias there was.":
            (rate * up, rate * gap, -rate * up),
        "The loads are compared with 0. Shares are never below it, so all biases move alike; "
        "fair is the mean load.":
            tuple(bias + rate * way for way in (-done.sign(), done.sign(), -ones, ones)),
        "The loads are compared with something else than their mean: with 1, a half, the median, "
        "the largest or the smallest.":
            tuple(bias + rate * (other - done).sign() for other in (
                1.0, 0.5, 0.1, 0.05, 1 / 3, 1 / 4, 1 / 8, 1 / 16, 2 / E, done.median(), done.quantile(0.5), done.max(),
                done.min())),
        "The loads are compared with 1/(E - 1), 1/(E + 1) or with their sum.":
            tuple(bias + rate * (1 / other - done).sign() for other in (max(E - 1, 0.5), E + 1)),
        "The loads are compared with the biases. Fair is the mean load.":
            (bias + rate * (bias - done).sign(), bias - rate * (bias - done).sign(),
             bias + rate * (bias.mean() - bias).sign(), bias + rate * (bias.mean() - done).sign()),
        "An expert with no load at all rests. It has less than the mean and is favoured more.":
            (bias + rate * up * (done > 0),),
        "Only those with too much move. Those with too little rise by the same step.":
            (bias + rate * up.clamp(max=0),),
        "Only those with too little move. Those with too much fall by the same step.":
            (bias + rate * up.clamp(min=0),),
        "Only the one with the most work, or the least, moves. Everybody off the mean does.":
            (bias - rate * one_hot(done.argmax(), E), bias + rate * one_hot(done.argmin(), E),
             bias - rate * one_hot(done.argmax(), E) + rate * one_hot(done.argmin(), E)),
        "The biases were shifted or scaled afterwards. They need not sum to anything, nor stay "
        "in a range.":
            (new - new.mean(), new / new.abs().sum().clamp(min=1e-9), new.softmax(-1),
             new / new.norm(), new.clamp(-1, 1), new.clamp(min=0), new.sigmoid(), new - new.max()),
        "The old bias is scaled by the step, or fades. The step is added, and nothing "
        "else happens.":
            (bias * (1 + rate * up), bias * (1 - rate) + rate * up, bias * rate * up),
        "The steps have another size than the rate.":
            (bias + 2 * rate * up, bias + rate / 2 * up, bias + rate / E * up, bias + rate * E * up,
             bias + rate**2 * up),
        "Nothing moved.": (bias,),
        "The new bias is made of whole numbers.": (new.round(), new.trunc(), new.floor()),
    }
    # fmt: on


# --- queue_places ---------------------------------------------------------------------


@check(
    dispatch.queue_places,
    proved="Everybody stands where one queue for each expert, filled choice by choice in reading "
    "order, puts them: for one choice and for several, with experts whom nobody chose.",
)
def queue_places(answer, draw):
    cases = _queue_cases(draw)
    found = _gather(cases, lambda chosen: _queue_ask(answer, chosen), _queue_filled)
    _name(found, _queue_mistakes, _queue_otherwise)


def _queue_cases(draw) -> list[tuple]:
    fixed = (
        [[0, 1], [1, 0], [0, 2]],
        [[4, 1], [1, 6], [6, 4], [1, 4], [4, 6]],  # experts with gaps between
        [[3], [3], [0], [3], [0]],
        [[2, 0, 5]],
        [[7]],
    )
    cases = [(torch.tensor(rows),) for rows in fixed]
    for N, k, E in (
        (6, 2, 4),
        (9, 3, 5),
        (12, 1, 3),
        (5, 4, 4),
        (40, 2, 6),
        (7, 2, 64),
        (300, 1, 2),  # a queue longer than one byte counts
    ):
        order = torch.rand(E, N, generator=draw).mT  # not in one piece
        cases.append((order.argsort()[:, :k],))
    return cases


def _queue_ask(answer, chosen: Tensor) -> Tensor:
    N, k = chosen.shape
    E = int(chosen.max()) + 1
    shapes = {
        (
            k,
            N,
        ): "Tokens and choices are exchanged. Were they turned and not turned back?",
        (
            N * k,
        ): "The places came back in one row. They stand where the choices stand.",
        (
            N,
            E,
        ): "There is a number for each expert. Each choice has one place, in its own queue.",
        (
            N * k,
            E,
        ): "There is a whole table. Each choice has one place, in its own expert's queue.",
        (
            N,
            k,
            E,
        ): "There is a number for each expert. Each choice has one place, in its own queue.",
        (N,): "There is one number for each token, or expert. Each choice has a place.",
        (E,): "There is one number for each expert, or token. Each choice has a place.",
    }
    shapes.pop((N, k), None)
    try:
        got = ask_tensor(answer, chosen, shape=(N, k), shapes=shapes)
    except RuntimeError as error:
        if "smaller than num_classes" in str(error):
            raise CheckFailed(
                f"Experts have numbers up to {E - 1} here, and one_hot was told of fewer. How many "
                "there are is not known beforehand, and some may be in no choice: left alone, "
                "one_hot goes by the largest number."
            ) from error
        if "is invalid for input of size" in str(error):
            raise CheckFailed(
                f"It stopped, because {first_line(error).rstrip('.')}. There are {N} tokens with {k} "
                "choices each. The places stand like the choices: both sizes stand in chosen.shape."
            ) from error
        raise
    expect(
        got.dtype != torch.bool,
        "It returned True and False. Wanted are the places, from 0; who is served is asked later.",
    )
    expect(
        got.dtype in (torch.int32, torch.int64),
        f"The places are {got.dtype}. Places are whole numbers (torch.long), so that they can "
        "number the rows of a buffer.",
    )
    return got


def _queue_filled(chosen: Tensor) -> Tensor:
    """Let them come one after the other."""
    queues, places = {}, []
    for row in chosen.tolist():
        places.append([])
        for expert in row:
            line = queues.setdefault(expert, [])
            places[-1].append(len(line))
            line.append(row)
    return torch.tensor(places)


def _queue_runs(flat: Tensor) -> Tensor:
    """Places if only those right in front count that chose the same."""
    places = [0]
    for one, before in zip(flat[1:].tolist(), flat.tolist(), strict=False):
        places.append(places[-1] + 1 if one == before else 0)
    return torch.tensor(places)


def _queue_otherwise(got: Tensor, want: Tensor, chosen: Tensor) -> str:
    n, j = (got != want).nonzero()[0].tolist()
    return (
        f"Choices {chosen[: n + 1].tolist()[-4:]} (the last row is token {n}): choice {j} of token "
        f"{n}, expert {int(chosen[n, j])}, gets place {int(got[n, j])}. {int(want[n, j])} came to "
        "that expert before it."
    )


def _queue_mistakes(chosen: Tensor) -> dict:
    N, k = chosen.shape
    want, flat = _queue_filled(chosen), chosen.flatten()
    same = flat[:, None] == flat[None]  # (N*k, N*k)
    at = torch.arange(N * k)
    later = (same & (at[None] > at[:, None])).sum(1).view(N, k)
    all_of = same.sum(1).view(N, k)
    columns = torch.stack([_queue_filled(c[:, None])[:, 0] for c in chosen.T], 1)
    others = (~same & (at[None] < at[:, None])).sum(1).view(N, k)
    rank = flat.argsort(stable=True)
    table = one_hot(flat)
    running = table.cumsum(0)
    first = _queue_filled(chosen.T).T
    tokens = torch.arange(N)[:, None].expand(N, k)
    # fmt: off
    return {
        "The first in a queue has place 1 in yours. It has 0: nobody came before it.":
            (want + 1, columns + 1, first + 1),
        "Each column has queues of its own: first and second choices stand in one queue.":
            (columns,),
        "All first choices come before any second one. Here a token's choices arrive together, "
        "before those of the next token.":
            (first,),
        "There is one queue for all. Every expert has its own.":
            (at.view(N, k), at.view(N, k) + 1, at.view(k, N).T, others),
        "This is the token's number. A place counts those who came to the same expert.":
            (tokens, tokens + 1),
        "It is a place among a token's own choices. A queue goes on from token to token.":
            (torch.arange(k).expand(N, k), chosen.argsort(1), chosen.argsort(1).argsort(1)),
        "The queue is filled from its end: the last token gets place 0. They arrive in reading "
        "order.":
            (later, later + 1),
        "This is how many come to the expert in all. A place counts those who came before.":
            (all_of, all_of - 1),
        "Sorted by expert, the choices are numbered without starting again for each expert, or "
        "they stay in sorted order.":
            (rank.view(N, k), rank.argsort().view(N, k), want.flatten()[rank].view(N, k),
             _queue_filled(chosen.sort(1).values) if k > 1 else want + 1),
        "Places of the other experts are counted as well. Only the chosen expert's own queue "
        "matters.":
            ((running - 1).sum(-1).view(N, k), running.sum(-1).view(N, k),
             (running - 1).amax(-1).view(N, k), running.amax(-1).view(N, k)),
        "The count begins again whenever somebody goes to another expert in between. A queue goes on.":
            (_queue_runs(flat).view(N, k), _queue_runs(flat).view(N, k) + 1),
        "All choices of a token have the place of its first one. Each has one in its own queue.":
            (columns[:, :1].expand(N, k), want[:, :1].expand(N, k)),
        "One was taken off everywhere, in the columns of other experts too. That goes into the "
        "sum.":
            (((running * table) - 1).sum(-1).view(N, k),),
        "The experts' numbers came back, not places.": (chosen,),
        "The rows of the result are not those of the tokens. Was a table of (k, N) viewed as "
        "(N, k)?":
            (want.T.reshape(N, k), first.T.reshape(N, k), _queue_filled(chosen.T.reshape(N, k)),
             _queue_filled(chosen.T).reshape(N, k)),
        "Tokens that came before are counted, not the choices of the same expert.":
            (tokens * k, (tokens * k).expand(N, k) + 1),
        "The places begin again with every few tokens, or never rise above a number.":
            (*(want.clamp(max=most) for most in (1, 2, 3, 4)),
             *(want % most for most in (2, 3, 4))),
        "Everybody is first. Those who came before count.": (torch.zeros_like(want),),
        "One token too few is counted, or one too many.":
            (want - 1, want + 2),
    }
    # fmt: on


# --- expert_matrices ------------------------------------------------------------------


@check(
    parameters.expert_matrices,
    proved="All experts, or only those of one token, of the experts' own width, shared ones "
    "always, and the whole router: matrix by matrix, up to the sizes of real models.",
)
def expert_matrices(answer, draw):
    cases = _experts_cases(draw)
    found = _gather(cases, lambda *case: _experts_ask(answer, *case), _experts_counted)
    _name(found, _experts_mistakes, _experts_otherwise)
    config, experts, _ = cases[1]
    got = number(ask(answer, active=True, experts=experts, config=config), "the count")
    expect(
        got == _experts_counted(config, experts, True),
        "Called with names, in another order, it gives another number.",
    )


def _experts_cases(draw) -> list[tuple]:
    """(config, experts, active); active None: not given."""
    config = Config(width=12, heads=2, hidden=50, layers=5)
    base = Experts(count=7, chosen=2, hidden=10)
    drawn = []
    for active in (False, True) * 3:
        one, two, three, four, five, six = torch.randint(1, 9, (6,), generator=draw)
        sizes = {"count": int(one + two), "chosen": int(one), "hidden": int(17 * three)}
        mlp = ("swiglu", "gelu")[int(four) % 2]
        shape = {"width": 8 * int(four), "hidden": 31 * int(five), "layers": 9}
        drawn.append(
            (Config(**shape, mlp=mlp), Experts(**sizes, shared=int(six) % 4), active)
        )
    mixtral = Config(width=4096, heads=32, kv_heads=8, hidden=14336, layers=32)
    deepseek = Config(width=7168, heads=128, kv_heads=128, hidden=18432, layers=61)
    odd = Config(width=10001, head_width=64)  # more digits than a float32 keeps
    routed = Experts(count=256, chosen=8, hidden=2048, shared=1, dense=3)
    return [
        (config, base, None),
        (config, base, True),
        (config, base, False),
        (config, replace(base, shared=3), False),
        (config, replace(base, shared=3), True),
        (replace(config, mlp="gelu"), replace(base, shared=3), None),
        (replace(config, mlp="gelu"), replace(base, shared=3), True),
        (replace(config, hidden=77, heads=6, layers=2), base, True),
        (config, replace(base, dense=4, shared=1), False),
        (config, Experts(count=5, chosen=5, hidden=3), True),
        (config, Experts(count=1, chosen=1, hidden=3, shared=2), None),
        *drawn,
        (mixtral, Experts(count=8, chosen=2, hidden=14336), False),
        (mixtral, Experts(count=8, chosen=2, hidden=14336), True),
        (deepseek, routed, None),
        (deepseek, routed, True),
        (odd, Experts(count=65, chosen=7, hidden=30011, shared=2), False),
    ]


def _experts_ask(
    answer, config: Config, experts: Experts, active: bool | None
) -> float:
    asked = () if active is None else (active,)
    shape = replace(config), replace(experts)
    got = ask(answer, config, experts, *asked)
    expect(
        (config, experts) == shape,
        "It changed the config or the experts that it was given. replace(config, hidden=10) makes "
        "another one.",
    )
    if isinstance(got, tuple | list):
        raise CheckFailed(
            f"It returned {len(got)} things; one number is wanted, all or active as asked for."
        )
    got, want = number(got, "the count"), _experts_counted(config, experts, active)
    if got != want and math.isclose(got, want, rel_tol=1e-5):
        raise CheckFailed(
            f"{want:,} numbers are {got:,.0f} in yours: it was rounded. A float32 keeps about 7 "
            "digits; Python's own whole numbers keep all."
        )
    return got


def _experts_counted(config: Config, experts: Experts, active: bool | None) -> int:
    """Matrix by matrix; on the device "meta" a matrix has a size and takes no memory."""
    inside, outside = experts.hidden, config.width
    ups = 1 + (config.mlp == "swiglu")
    matrices = [(inside, outside)] * ups + [(outside, inside)]
    sizes = [torch.empty(shape, device="meta").numel() for shape in matrices]
    router = torch.empty((outside, experts.count), device="meta")
    visited = range(experts.chosen) if active else range(experts.count)
    total = router.numel()
    for _ in (*visited, *range(experts.shared)):
        total += sum(sizes)
    return total


def _experts_otherwise(got, want, config, experts, active) -> str:
    what = "in all" if not active else "active"
    return (
        f"Width {config.width}, {config.mlp}, {experts.count} experts of {experts.hidden} with "
        f"{experts.chosen} chosen and {experts.shared} shared: {got:,.0f} {what} in yours, "
        f"{want:,} counted matrix by matrix."
    )


def _experts_mistakes(config: Config, experts: Experts, active: bool | None) -> dict:
    D, c, h, L = config.width, config.hidden, experts.hidden, config.layers
    n, k, s, dense = experts.count, experts.chosen, experts.shared, experts.dense
    three = 3 if config.mlp == "swiglu" else 2
    one, router, plain = three * D * h, D * n, three * D * c
    routed = k if active else n
    used = routed + s
    right = used * one + router
    whole, few = (n + s) * one + router, (k + s) * one + router
    heads = 2 * D * config.K * (config.heads + config.kv_heads)
    # fmt: off
    return {
        "The router is left out. It is a matrix too, and scores every expert for every token.":
            (used * one,),
        "The router is counted for the chosen experts only. To choose, it has to score all of "
        "them, whatever is active.":
            (used * one + D * routed, used * one + D * k, used * one + D * used),
        "The router is counted for the shared experts too. They are not chosen, so nobody scores "
        "them.":
            (right + D * s,),
        "The router is counted wrongly. It is one matrix for the whole layer, of width times "
        "count.":
            tuple(used * one + other for other in (
                n, h * n, c * n, 2 * router, D * D, n * n, used * router, D, router + n, D * h,
                config.K * n)),
        "The shared experts are left out. They are there besides the count, and every token uses "
        "them.":
            (right - s * one,),
        "The shared experts are missing from what is active. Every token uses them.":
            (right - s * one if active else right,),
        "The shared experts are counted only where active is asked for. They are there in any "
        "case.":
            (right if active else right - s * one,),
        "The shared experts are taken out of the count or of the chosen ones. They are there "
        "besides.":
            (right - 2 * s * one, (k if active else n - s) * one + router,
             (k - s if active else n) * one + router),
        "The shared experts go in as a factor, or there is only one of them in yours.":
            (routed * max(s, 1) * one + router, routed * (1 + s) * one + router, (right - s * one) + min(s, 1) * one,
             right + s * one),
        "`active` makes no difference. It leaves out the experts that a token does not visit.":
            (whole, few),
        "`active` works the other way round: True means what one token uses.":
            (whole if active else few,),
        "Without `active` it counts what one token uses. The first line's default is False.":
            (few if active is None else right,),
        "An expert has the hidden width of the config in yours. It has its own: experts.hidden.":
            (used * plain + router, (used - s) * plain + s * one + router),
        "The shared experts have the hidden width of the config in yours. They are as wide as "
        "the others.":
            ((used - s) * one + s * plain + router,),
        "The ordinary MLP is counted as well. In this layer the experts stand in its place.":
            (right + plain, used * one + plain, right + dense * plain),
        "Every expert has two matrices in yours, or three, or one. It depends on config.mlp, and "
        "mlp_matrices knows.":
            tuple(used * i * D * h + router for i in (2, 3, 1, 4)),
        "One expert's size is wrong: it has matrices between the width and experts.hidden.":
            tuple(used * size + router for size in (
                three * h * h, three * D * D, three * (D + h), three * h, D * h + D + h)),
        "One expert is counted, or none. How many are in use?":
            (one + router, router, one, (1 + s) * one + router),
        "All layers are counted, or a number of them. One layer is asked for.":
            (right * L, right * (L - dense), right * (L - dense) + dense * plain),
        "The layers in front that have an ordinary MLP (dense) make a difference. One layer with "
        "experts is asked for.":
            (right - dense * one, right + dense * one, right * (dense == 0)),
        "A share of everything is taken, k of count. Router and shared experts are used whole.":
            tuple(part if active else whole for part in (
                whole * k / n, whole * k // n, (n + s) * one * k / n + router,
                (n + s) * one * k // n + router, whole * (k + s) / (n + s))),
        "Norms or biases are counted as well. They are vectors, and only matrices are asked for.":
            (right + D, right + 2 * D, right + used * D, right + n, right + used * (h + D)),
        "Attention is counted as well. Only experts and router are asked for.":
            (right + heads, used * (one + heads) + router, used * (one + heads)),
        "Count and chosen are multiplied. A token visits some of the experts, and each is there "
        "once.":
            (n * k * one + router, (n * k + s) * one + router),
        "Those that are *not* visited are counted.":
            tuple(idle * one + router if active else right for idle in (n - k, n - k + s)),
        "These are bytes, thousands or billions. The numbers themselves are asked for.":
            tuple(right * unit for unit in (2, 4, 8, 1e-3, 1e-6, 1e-9)),
        "Chosen and shared are confused.":
            ((s if active else n) * one + router,),
    }
    # fmt: on
