"""Check of lesson 08: the learner's test of GRPO's loss, and the losses it must tell apart.

A loss is one number, to be minimised, and all right versions give the same one. What is
claimed is about its gradient: whose it is, where it is 0, how much of it an answer gets.
The faulty ones are what is published, and what is written when one of them is mended.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.checks.learners_tests import check_test
from course_lib.grpo import losses

EPS = 0.2
FAR = 1e-4  # what counts as another gradient


def _refuse(logprobs: object, old: object, advantages: object, mask: object) -> None:
    """Not asserts: those would look like the test's own."""
    given = {"logprobs": logprobs, "old_logprobs": old, "advantages": advantages, "mask": mask}  # fmt: skip
    for name, one in given.items():
        if not isinstance(one, Tensor):
            raise ValueError(f"{name} is a tensor, not a {type(one).__name__}")
        if name != "mask" and not one.is_floating_point():
            raise ValueError(f"{name} are numbers with a point, not {one.dtype}")
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is boolean, True keeps, not {mask.dtype}")
    shapes = [tuple(one.shape) for one in given.values()]
    if logprobs.ndim != 2 or len({shapes[0], shapes[1], shapes[3]}) > 1:
        raise ValueError(
            f"logprobs, old_logprobs and mask are (B, T), one number per token each, not {shapes[0]}, {shapes[1]} "
            f"and {shapes[3]}"
        )
    if advantages.shape != mask.shape[:1]:
        raise ValueError(
            f"one advantage per answer: {len(mask)} answers, advantages {shapes[2]}"
        )
    if not mask.any(dim=1).all() or not len(mask):
        raise ValueError(
            "every answer has a token at least: a row of the mask is all False"
        )


def _loss(rule: Callable) -> Callable:
    """rule(log-ratio, advantage, mask, count of tokens), all for (B, T), without what stands under the mask."""

    def version(logprobs, old_logprobs, advantages, mask):
        _refuse(logprobs, old_logprobs, advantages, mask)
        change = (logprobs - old_logprobs.detach()).masked_fill(~mask, 0.0)
        pushes = advantages.detach().unsqueeze(1).to(change.dtype)
        return rule(change, pushes, mask, mask.sum(dim=1, keepdim=True))

    return version


def _smaller(ratio: Tensor, pushes: Tensor) -> Tensor:
    return torch.minimum(ratio * pushes, ratio.clamp(1 - EPS, 1 + EPS) * pushes)


def _grpo(objective: Tensor, mask: Tensor) -> Tensor:
    """Minus the mean over answers of the mean over tokens."""
    return -(objective * mask / mask.sum(dim=1, keepdim=True)).sum() / len(mask)


# --- right versions ---------------------------------------------------------------------------


def _whole(change: Tensor, pushes: Tensor, mask: Tensor, n: Tensor) -> Tensor:
    return (-_smaller(change.exp(), pushes) * (mask / n / len(mask))).sum()


def _answer_by_answer(logprobs, old_logprobs, advantages, mask):
    _refuse(logprobs, old_logprobs, advantages, mask)
    losses = []
    for new, old, push, keep in zip(logprobs, old_logprobs, advantages.tolist(), mask, strict=True):  # fmt: skip
        r = (new[keep] - old.detach()[keep]).exp()
        losses.append(torch.maximum(-push * r, -push * r.clamp(1 - EPS, 1 + EPS)).mean())  # fmt: skip
    return torch.stack(losses).mean()


def _silenced(change: Tensor, pushes: Tensor, mask: Tensor, n: Tensor) -> Tensor:
    """A ratio that has gone far enough is held by hand; answers first, then their mean."""
    r = change.exp()
    r = torch.where((pushes > 0) & (r > 1 + EPS), 1 + EPS, r)
    r = torch.where((pushes < 0) & (r < 1 - EPS), 1 - EPS, r)
    return -((r * pushes * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def _in_double(change: Tensor, pushes: Tensor, mask: Tensor, n: Tensor) -> Tensor:
    wide, pushes = change.double(), pushes.double()
    worse = torch.maximum(-pushes * wide.exp(), -pushes * wide.exp().clamp(1 - EPS, 1 + EPS))  # fmt: skip
    return (worse * mask / n).sum(dim=1).mean().to(change.dtype)


# fmt: off
_RIGHT = {
    "all tokens at once, each times its weight": _loss(_whole),
    "answer by answer, from its own tokens alone": _answer_by_answer,
    "tokens that have gone far enough are held by hand, then the mean of the answers' means": _loss(_silenced),
    "in double precision, with the larger of two losses": _loss(_in_double),
}


# --- faulty versions --------------------------------------------------------------------------


def _ratio(find: Callable) -> Callable:
    """Right, except for the ratio: find(log-ratio, mask, count)."""
    return _loss(lambda d, a, m, n: _grpo(_smaller(find(d, m, n), a), m))


def _clip(find: Callable) -> Callable:
    """Right, except for what a token says: find(ratio, pushes)."""
    return _loss(lambda d, a, m, n: _grpo(find(d.exp(), a), m))


def _weigh(find: Callable) -> Callable:
    """Right, except for how much a token counts: find(mask, count) times the objective, added up."""
    return _loss(lambda d, a, m, n: -(_smaller(d.exp(), a) * m * find(m, n)).sum())


def _push(find: Callable) -> Callable:
    """Right, except for the advantages: find(pushes (B, 1))."""
    return _loss(lambda d, a, m, n: _grpo(_smaller(d.exp(), find(a)), m))


def _hold(ratio: Tensor) -> Tensor:
    return ratio.clamp(1 - EPS, 1 + EPS)


def _padding_too(logprobs, old_logprobs, advantages, mask):
    _refuse(logprobs, old_logprobs, advantages, mask)
    ratio = (logprobs - old_logprobs.detach()).exp()
    return -_smaller(ratio, advantages.detach().unsqueeze(1)).mean()


def _padding_in_the_sum(logprobs, old_logprobs, advantages, mask):
    """The lengths are right; what is added up is not."""
    _refuse(logprobs, old_logprobs, advantages, mask)
    ratio = (logprobs - old_logprobs.detach()).exp()
    objective = _smaller(ratio, advantages.detach().unsqueeze(1))
    return -(objective / mask.sum(dim=1, keepdim=True)).sum() / len(mask)


def _padding_weighs(logprobs, old_logprobs, advantages, mask):
    """What stands there has no gradient, and a say in that of the others."""
    _refuse(logprobs, old_logprobs, advantages, mask)
    change = logprobs - old_logprobs.detach()
    moved = change.detach().masked_fill(mask, 0.0).sum(dim=1, keepdim=True)
    pushes = advantages.detach().unsqueeze(1) * moved.clamp(-3, 3).exp()
    return _grpo(_smaller(change.masked_fill(~mask, 0.0).exp(), pushes), mask)


def _silent_answers(d: Tensor, a: Tensor, m: Tensor, n: Tensor) -> Tensor:
    """One token that has gone far enough silences its whole answer."""
    r = d.exp()
    far = (((a > 0) & (r > 1 + EPS)) | ((a < 0) & (r < 1 - EPS))).any(1, keepdim=True)
    return _grpo(torch.where(far, r.detach() * a, _smaller(r, a)), m)


def _without_zeros(d: Tensor, a: Tensor, m: Tensor, n: Tensor) -> Tensor:
    return -(_smaller(d.exp(), a) * m / n).sum() / (a != 0).sum()


def _first_answer(d: Tensor, a: Tensor, m: Tensor, n: Tensor) -> Tensor:
    return _grpo(_smaller(d.exp(), a)[:1], m[:1])


def _last_token(m: Tensor, n: Tensor) -> Tensor:
    return (m.long().cumsum(dim=1) == n) & m


_ALONE = (
    "Change one token of an answer of several, once by a little and once far beyond the clip, and compare the gradients "
    "at its others before and after: they stay."
)
_FOUR = (
    "Four cases: a ratio above 1.2 and one below 0.8, each with a good and with a bad answer. Where the token has gone "
    "the way of its advantage the gradient is 0; where it has gone the other way it is not."
)
_UNDER = (
    "Change what stands under the mask (logprobs and old_logprobs, each for itself, to other finite numbers): neither the "
    "loss nor a gradient changes."
)
_ALIKE = (
    "Take a long and a short answer with the same advantage, and no step yet (old_logprobs = logprobs): the gradients "
    "of each add up to the same, and all tokens of an answer have the same part of it."
)
_NOTHING = (
    "Give some answer the advantage 0 beside others that do not sum to 0: no gradient at its tokens. And let all be 0 "
    "once: all gradients 0, and finite."
)
_SIGN = (
    "A good answer becomes likelier, a bad one rarer, whichever place in the batch it has: what sign has the gradient of "
    "something that is minimised?"
)

_WRONG: dict[str, tuple[Callable, str]] = {
    # in the order in which they are told
    "the published one, a mean over all tokens of the batch, in which a long answer has more say":
        (_weigh(lambda m, n: 1 / m.sum()), _ALIKE),
    "one ratio for a whole answer, from the means of its log-probabilities":
        (_ratio(lambda d, m, n: (d.sum(1, keepdim=True) / n).exp()), _ALONE),
    "one ratio for a whole answer, from the sums of its log-probabilities":
        (_ratio(lambda d, m, n: d.sum(1, keepdim=True).exp()), _ALONE),
    "clipped, without the smaller of the two": (_clip(lambda r, a: _hold(r) * a), _FOUR),
    "without any clip": (_clip(lambda r, a: r * a), _FOUR),
    "the sign turned round": (_loss(lambda d, a, m, n: -_whole(d, a, m, n)), _SIGN),
    "padding counts as the answer's tokens do": (_padding_too, _UNDER),
    "padding is added up, although the lengths are right": (_padding_in_the_sum, _UNDER),
    "what has changed under the mask makes an answer count more, or less": (_padding_weighs, _UNDER),
    "over the width of the batch, and not over the length of each answer": (_weigh(lambda m, n: 1 / m.numel()), _ALIKE),
    "the larger of the two products": (_clip(lambda r, a: torch.maximum(r * a, _hold(r) * a)), _FOUR),
    "the ratio is held from above alone": (_clip(lambda r, a: torch.minimum(r * a, r.clamp(max=1 + EPS) * a)), _FOUR),
    "the ratio is held from below alone": (_clip(lambda r, a: torch.minimum(r * a, r.clamp(min=1 - EPS) * a)), _FOUR),
    "the product is clipped, and not the ratio": (_clip(lambda r, a: torch.minimum(r * a, (r * a).clamp(1 - EPS, 1 + EPS))), _SIGN),
    "bad answers are pushed up as good ones are": (_push(lambda a: a.abs()), _SIGN),
    "bad answers say nothing": (_push(lambda a: a.clamp(min=0)), _SIGN),
    "all answers have the advantage of the first": (_push(lambda a: a[:1].expand_as(a)), _SIGN),
    "only the first answer of the batch counts": (_loss(_first_answer), _SIGN),
    "the advantages are compared with their mean once more": (_push(lambda a: a - a.mean()), _NOTHING),
    "the advantages are divided by the largest of them, which may be 0": (_push(lambda a: a / a.abs().max()), _NOTHING),
    "the advantages are divided by the sum of their sizes and multiplied by it again, which is 0 / 0 if all are 0":
        (_push(lambda a: a / a.abs().sum() * a.abs().sum()), _NOTHING),
    "only the sign of an advantage counts, found as a / |a|": (_push(lambda a: a / a.abs()), _NOTHING),
    "answers whose advantage is 0 are left out of the mean": (_loss(_without_zeros), _NOTHING),
    "one token that has gone far enough silences its whole answer": (_loss(_silent_answers), _ALONE),
    "the ratios before a token are multiplied into its own, as numbers":
        (_ratio(lambda d, m, n: (d + (d.cumsum(1) - d).detach()).exp()), _ALONE),
    "the ratio is 1 always: the policy is compared with itself": (_ratio(lambda d, m, n: (d - d.detach()).exp()), _FOUR),
    "then over now: the ratio turned round": (_ratio(lambda d, m, n: (-d).exp()), _SIGN),
    "the ratio has lost its exponential": (_ratio(lambda d, m, n: d), _FOUR),
    "only the last token of each answer counts": (_weigh(lambda m, n: _last_token(m, n) / len(m)), _ALIKE),
    "the gradient is cut off": (_loss(lambda d, a, m, n: _whole(d, a, m, n).detach() + 0.0 * d.sum()), _SIGN),
}
# fmt: on
_FAULTY = {name: version for name, (version, _) in _WRONG.items()}
_SHOWN_BY = dict(_WRONG.values())


# --- what a learner is told -------------------------------------------------------------------


def _gradient(version: Callable, call: tuple) -> Tensor:
    leaf = call[0].detach().clone().requires_grad_()
    return torch.autograd.grad(version(leaf, *call[1:]), leaf)[0]


def _pulled(version: Callable, calls: list[tuple]) -> str | None:
    """Where on a test's inputs a version pulls otherwise than a right one."""
    for call in calls[:40]:
        got, want = _gradient(version, call), _gradient(_RIGHT[_FIRST], call)
        off = ~((got - want).abs() <= FAR)  # nan is off
        if off.any():
            b, t = off.nonzero()[0].tolist()
            under = "" if call[3][b, t] else ", which is under the mask,"
            return (
                f"the gradient at token {t} of answer {b}{under} is {got[b, t] + 0.0:.3g} in it, and {want[b, t] + 0.0:.3g} in a "
                "right one"
            )
    return None


def _why_missed(version: Callable, calls: list[tuple]) -> str:
    """The number shows the fault; what would a claim about gradients show?"""
    pulled = _pulled(version, calls)
    return f"And {pulled}. {_SHOWN_BY[version]}" if pulled else _SHOWN_BY[version]


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    """The number is the same, so the inputs hide the fault, or nobody looks at the gradient."""
    if pulled := _pulled(version, calls):
        return f"On your inputs it gives the right number, but {pulled}, and no assert objects. {_SHOWN_BY[version]}"
    return f"On your inputs that mistake changes nothing. {_SHOWN_BY[version]}"


def _why_unfair(version: Callable, calls: list[tuple]) -> str:
    """What may have made a test reject a version in which nothing is wrong."""
    if not calls:
        return "It did not come as far as asking for a first number."
    for new, old, advantages, mask in calls:
        ratio = (new - old).exp()[mask]
        border = torch.minimum((ratio - 1 + EPS).abs(), (ratio - 1 - EPS).abs())
        if (border < 1e-5).any():
            return (
                "One of your ratios is on the border of the clip itself, 0.8 or 1.2, where rounding decides whether there is "
                "a gradient. Stay clear of it."
            )
        if not torch.cat([new[mask], old[mask], advantages]).isfinite().all():
            return "There are numbers that are not finite where the mask is True, or among the advantages."
    return (
        "Every answer has the same weight, shared evenly among its tokens, and the loss is minimised; a token that has "
        "gone too far the right way says nothing, and concerns no other. Compare with a tolerance of about 1e-5, not "
        "with ==."
    )


_FIRST = next(iter(_RIGHT))


@check_test(
    losses.grpo_loss,
    right=_RIGHT,
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_missed=_why_missed,
    why_unfair=_why_unfair,
    called="loss",
    proved=f"It accepts {len(_RIGHT)} ways to write GRPO's loss, and exposes {len(_FAULTY)} that are something else, "
    "the published one among them.",
)
def test_group_loss(test, draw):
    """Pass what is GRPO's loss; fail all else."""
