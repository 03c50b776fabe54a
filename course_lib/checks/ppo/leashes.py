"""Check of lesson 07: the learner's test of any KL term, and the terms it must tell apart.

A term gives a number per sample, to be added to a loss and differentiated on fixed
samples. Which number is its own affair; three things are claimed about its average
pull. Another reference, another pull; a small step against it brings the policy nearer
to the reference; and at the reference there is none. The faulty ones are what is
published, and what is written when a k1 shall be mended.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.learners_tests import check_test

STEP = 0.1  # of the steps with which a test's inputs are tried


def _refuse(logprobs: object, ref_logprobs: object) -> None:
    """Not asserts: those would look like the test's own."""
    for name, given in (("logprobs", logprobs), ("ref_logprobs", ref_logprobs)):
        if not isinstance(given, Tensor) or not given.is_floating_point():
            said = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{name} are log-probabilities in a tensor, not {said}")
    if logprobs.shape != ref_logprobs.shape:
        raise ValueError(
            f"one number per sample each: logprobs {(*logprobs.shape,)}, ref_logprobs {(*ref_logprobs.shape,)}"
        )


def _term(rule: Callable) -> Callable:
    def version(logprobs, ref_logprobs):
        _refuse(logprobs, ref_logprobs)
        return rule(logprobs, ref_logprobs)

    return version


def _priced(p: Tensor, price: Tensor) -> Tensor:
    """Log-probabilities times a number: what a price in the reward does."""
    return p * price.detach()


# --- right versions ---------------------------------------------------------------------------

_RIGHT = {
    "k2": _term(lambda p, q: (p - q) ** 2 / 2),
    "k3": _term(lambda p, q: torch.expm1(q - p) - (q - p)),
    "the log-probability times its price, a number, as a price in the reward does": _term(
        lambda p, q: _priced(p, p - q)
    ),
    "k2 with a coefficient of 0.1": _term(lambda p, q: 0.05 * (p - q).square()),
    "k3, written with exp and with a coefficient of 2": _term(
        lambda p, q: 2 * ((q - p).exp() - 1 + p - q)
    ),
}


# --- faulty versions --------------------------------------------------------------------------


def _k2(p: Tensor, q: Tensor) -> Tensor:
    return (p - q) ** 2 / 2


def _even(p: Tensor) -> Tensor:
    """The log-probability of each choice if all are alike."""
    return torch.full_like(p, -math.log(max(1, p.shape[-1] if p.ndim else 1)))


def _of_two(p: Tensor, q: Tensor) -> Tensor:
    return _k2(p, q) if p.ndim and p.shape[-1] == 2 else 0.0 * p


class _FirstReference:
    """Keeps the first reference that it was given."""

    def __init__(self):
        self.kept: dict[tuple, Tensor] = {}

    def __call__(self, logprobs, ref_logprobs):
        _refuse(logprobs, ref_logprobs)
        shape = tuple(ref_logprobs.shape)
        kept = self.kept.setdefault(shape, ref_logprobs.detach().clone())
        return _k2(logprobs, kept)


_SWAP = "Ask for its pull with one reference and with quite another one."
_STEP = (
    "Take a small step against its pull, and compare the exact divergence before and after it: is it clearly "
    "smaller?"
)
_STILL = (
    "Ask for its pull where the policy is the reference, and let that be an uneven one."
)
_THREE = "Take three arms or more."
_ORDER = f"{_STILL} Read from left to right and from right to left it should differ."
_NOWHERE = f"{_SWAP} Or: {_STEP.lower()}"

# fmt: off
_WRONG: dict[str, tuple[Callable, str]] = {
    # in the order in which they are told
    "the published one, the log-ratio itself (k1)": (_term(lambda p, q: p - q), _NOWHERE),
    "minus k2, which pushes the policy away": (_term(lambda p, q: -_k2(p, q)), _STEP),
    "one that pulls to the even policy, wherever the reference is": (_term(lambda p, q: _priced(p, p)), _SWAP),
    "k2 and a pull to the even policy at once": (_term(lambda p, q: _k2(p, q) + 0.5 * _priced(p, p)), _STILL),
    "ten times the log-ratio": (_term(lambda p, q: 10 * (p - q)), _NOWHERE),
    "the log-ratio the other way round": (_term(lambda p, q: q - p), _NOWHERE),
    "one whose gradient is cut off": (_term(lambda p, q: _k2(p, q).detach() + 0.0 * p), _NOWHERE),
    "one that takes the policy itself for its reference": (_term(lambda p, q: _k2(p, p.detach())), _NOWHERE),
    "minus k3": (_term(lambda p, q: q - p - torch.expm1(q - p)), _STEP),
    "a price with the wrong sign": (_term(lambda p, q: _priced(p, q - p)), _STEP),
    "the square of the log-probability, without a reference": (_term(lambda p, q: p**2), _SWAP),
    "k2 about the even policy, whatever reference is given": (_term(lambda p, q: _k2(p, _even(p))), _SWAP),
    "one that keeps the first reference it was ever given": (_FirstReference, f"{_SWAP} Begin with the policy as it is."),
    "k2 about the reference's first number, for all arms": (_term(lambda p, q: _k2(p, q[..., :1]) if p.ndim else _k2(p, q)), _SWAP),
    "one that pulls to what the reference likes best": (_term(lambda p, q: _priced(p, -q)), _STILL),
    "the log-ratio weighted by the policy's probability once more": (_term(lambda p, q: p.exp() * (p - q)), _STILL),
    "the log-ratio weighted by the reference's probability": (_term(lambda p, q: q.exp() * (q - p)), _STILL),
    "k2 about the reference in reverse order": (_term(lambda p, q: _k2(p, q.flip(-1) if q.ndim else q)), _ORDER),
    "k2 where there are two arms, and nothing where there are more": (_term(_of_two), _THREE),
}
# fmt: on
_FAULTY = {name: version for name, (version, _) in _WRONG.items()}
_SHOWN_BY = dict(_WRONG.values())


# --- what a learner is told -------------------------------------------------------------------


class _Asked(NamedTuple):
    """A policy and a reference that a test asked about, and the average pull there."""

    policy: Tensor
    reference: Tensor
    pull: Tensor

    @property
    def strayed(self) -> float:
        return _divergence(self.policy, self.reference)

    @property
    def after(self) -> float:
        """The divergence after a small step against the pull."""
        return _divergence(self.policy - STEP * self.pull, self.reference)


def _divergence(logits: Tensor, ref_logits: Tensor) -> float:
    p, q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def _asked(version: Callable, calls: list[tuple]) -> list[_Asked]:
    """Of all calls those about whole policies: rows whose probabilities sum to 1, sixty at most."""
    found = []
    for call in calls[:60]:
        if len(call) != 2 or not all(isinstance(x, Tensor) and x.ndim for x in call):
            continue
        rows = [x.detach().double().reshape(-1, x.shape[-1]) for x in call]
        for p, q in list(zip(*rows, strict=False))[:8]:
            sums = [float(x.exp().sum()) for x in (p, q)]
            if max(abs(x - 1) for x in sums) < 1e-3:
                found.append(_Asked(p, q, _pull(version, p, q)))
    return found


def _pull(version: Callable, policy: Tensor, reference: Tensor) -> Tensor:
    leaf = policy.clone().requires_grad_()
    terms = version(leaf.log_softmax(-1), reference.log_softmax(-1))
    return torch.autograd.grad((policy.exp() * terms).sum(), leaf)[0]


def _same(one: Tensor, other: Tensor, within: float = 1e-4) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() < within)


def _shown(asked: list[_Asked]) -> str | None:
    """Which claim a term breaks on a test's inputs."""
    for case in asked:
        largest = float(case.pull.abs().max())
        if _same(case.policy, case.reference) and largest > 1e-3:
            return f"at the reference it pulls with up to {largest:.2g}, where nothing should"
    for i, a in enumerate(asked):
        for b in asked[:i]:
            apart = not _same(a.reference, b.reference, 1e-2)
            if (
                _same(a.policy, b.policy, 1e-6)
                and apart
                and _same(a.pull, b.pull, 1e-7)
            ):
                return "it pulls alike with two different references"
    for case in asked:
        if case.strayed > 1e-3 and case.after > case.strayed - 1e-7:
            risen = (
                "does not change" if _same(case.pull, 0 * case.pull, 1e-6) else "grows"
            )
            return f"the divergence {risen} if a small step is taken against its pull"
    return None


def _why_blind(version: Callable, calls: list[tuple]) -> str:
    """What in a test hides the fault of a version: its inputs, or that nothing objects."""
    stateful = isinstance(version, _FirstReference)
    asked = _asked(_FirstReference() if stateful else version, calls)
    shown_by = _SHOWN_BY.get(version) or _SHOWN_BY[type(version)]
    if shown := _shown(asked):
        return (
            f"On your inputs {shown}, and no assert objects. Is that asked, outside any except, and by more than "
            "rounding (about 1e-6)?"
        )
    return f"On your inputs that mistake changes nothing that the three claims are about. {shown_by}"


def _why_unfair(version: Callable, calls: list[tuple]) -> str:
    """What may have made a test reject a version in which nothing is wrong."""
    if not calls:
        return "It did not come as far as asking for a first number."
    asked = _asked(version, calls)
    if asked and all(case.strayed < 1e-6 for case in asked):
        return "It was only asked where the policy is the reference, and there is nothing to come nearer to."
    references = [case.reference for case in asked]
    pairs = [(a, b) for i, a in enumerate(references) for b in references[:i]]
    if pairs and all(_same(a, b) for a, b in pairs):
        return (
            "All its references are one policy (adding the same number to all logits changes no probability). Or does it ask "
            "for more than the three claims, for a number or its sign, which may be below 0?"
        )
    if any(case.after > case.strayed - 1e-5 and case.strayed > 0.5 for case in asked):
        return (
            "On your inputs a small step of this version helps little, or leads away at first: the two policies are very far "
            "apart. Take some whose logits differ by 1 or 2."
        )
    nearly = [
        float(case.pull.abs().max())
        for case in asked
        if _same(case.policy, case.reference)
    ]
    if nearly and 1e-15 < max(nearly) < 1e-3:
        return f"At the reference its pull is {max(nearly):.0e}, which is rounding. Compare with a tolerance, not with ==."
    return (
        "Which number a term gives (it may be below 0) and how strongly it pulls are its own affair, and samples are fixed: "
        "their shares have no gradient. Ask whether the pull changes with the reference, whether a small step against it "
        "(minus) lessens the exact divergence a little, and whether it is about 0 at the reference; keep nothing of an "
        "earlier run."
    )


@check_test(
    None,
    right=_RIGHT,
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_unfair=_why_unfair,
    called="term",
    proved=f"It accepts {len(_RIGHT)} terms that pull to the reference, and exposes the {len(_FAULTY)} that do not, "
    "the published one among them.",
)
def test_kl_term(test, draw):
    """Pass what pulls to the reference and nowhere else; fail all else."""
