"""Checks of lesson 03: Kaplan's law and a test of it, budgets, and a fit.

What a law or a budget should give is worked out on paper, or by halving intervals;
a fit is judged by what it leaves over: at a bottom nothing pulls any more. The
answers that prove the checks are in `tests/answers/`.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from course_lib.checks.asking import ask, diagnose, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.learners_tests import check_test
from course_lib.scaling import fitting, laws
from course_lib.scaling.laws import (
    KAPLAN_ALONE,
    KAPLAN_JOINT,
    PRINTED,
    REFIT,
    UNROUNDED,
    Chinchilla,
    Kaplan,
)

_ENDLESS = math.inf


def _number(got: object, what: str) -> float:
    """Insist on one number, which is not nan."""
    if getattr(got, "ndim", None) == 0:  # NumPy's and torch's single numbers
        got = got.item()
    expect(
        isinstance(got, Real) and not isinstance(got, bool),
        f"It returned a {type(got).__name__}; {what} is wanted, one number.",
    )
    expect(not math.isnan(got), f"It returned nan; {what} is wanted.")
    return float(got)


def _diagnose(got: float, want: float, mistakes: dict, otherwise: str) -> None:
    """The shared diagnose, for single numbers; what a mistake cannot give is left out."""
    diagnose(
        torch.tensor(got, dtype=torch.float64),
        torch.tensor(want, dtype=torch.float64),
        {
            says: tuple(torch.tensor(x, dtype=torch.float64) for x in found)
            for says, found in mistakes.items()
        },
        otherwise,
        rtol=2e-6,
    )


def _between(low: float, high: float, draw: torch.Generator) -> float:
    part = torch.rand((), generator=draw, dtype=torch.float64).item()
    return low + (high - low) * part


# --- kaplan_loss ----------------------------------------------------------------------

# With 4 parameters and 16 tokens the bracket is 3 ** 3 + 5 = 32, its fifth root is 2.
_KAPLAN_PAPER = Kaplan(12.0, 80.0, size_exponent=0.6, data_exponent=0.2)


@check(
    laws.kaplan_loss,
    proved="It gives the numbers worked out on paper, is the power law of one side when the "
    "other is endless, and follows the constants of any law that it is given.",
)
def kaplan_loss(answer, draw):
    _kaplan_diagnose(
        answer, 4.0, 16.0, _KAPLAN_PAPER, 2.0,
        "With 4 parameters, 16 tokens, scales 12 and 80 and exponents 0.6 and 0.2 the two terms "
        "in the bracket are 27 and 5, and the loss is 2; yours is {got:.4g}.",
    )  # fmt: skip
    _kaplan_default(answer)
    _kaplan_endless(answer)
    for _ in range(6):
        law = Kaplan(
            10 ** _between(11, 15, draw),
            10 ** _between(11, 15, draw),
            _between(0.03, 0.2, draw),
            _between(0.03, 0.2, draw),
        )
        N, D = 10 ** _between(6, 12, draw), 10 ** _between(6, 12, draw)
        want = float(_joint_in_decimals(N, D, law))
        otherwise = (
            f"With {N:.3e} parameters, {D:.3e} tokens and {law} it gives {{got:.6g}} instead of "
            "{want:.6g}. Is a number from the worked value built in?"
        )
        _kaplan_diagnose(answer, N, D, law, want, otherwise)


def _joint_in_decimals(N: float, D: float, law: Kaplan) -> Decimal:
    """The joint law in Python's decimals, 28 digits."""
    size, data, inner, outer = (
        Decimal(x)
        for x in (
            law.size_scale, law.data_scale, law.size_exponent, law.data_exponent,
        )
    )  # fmt: skip
    first = (
        (inner / outer * (size / Decimal(N)).ln()).exp() if N < _ENDLESS else Decimal(0)
    )
    both = first + (data / Decimal(D) if D < _ENDLESS else 0)
    return (outer * both.ln()).exp() if both else Decimal(0)


def _kaplan_diagnose(answer, N, D, law, want, otherwise) -> None:
    options = {} if law is None else {"law": law}
    got = _number(ask(answer, N, D, **options), "a loss in nats")
    mistakes = _kaplan_mistakes(N, D, law or KAPLAN_JOINT)
    _diagnose(got, want, mistakes, otherwise.format(got=got, want=want))


def _kaplan_mistakes(N: float, D: float, law: Kaplan) -> dict[str, tuple]:
    """What known mistakes give."""
    Nc, Dc, inner, outer = (
        law.size_scale, law.data_scale, law.size_exponent, law.data_exponent,
    )  # fmt: skip
    n, d, ratio = Nc / N, Dc / D, inner / outer
    size, data, both = n**inner, d**outer, n**ratio + d
    joint = both**outer

    def whole(law: Kaplan, N=N, D=D) -> float:
        return float(_joint_in_decimals(N, D, law))

    # fmt: off
    return {
        "The two power laws are added up. Each of them is the whole loss already, with the other "
        "side endless, so the sum counts the loss twice. The sum belongs inside the bracket.":
            (size + data,),
        "This is one of the two power laws alone. The joint law depends on both sides, and lies "
        "above both.":
            (size, data),
        "The outer exponent is missing: the two terms are added, and nothing is done with their "
        "sum.":
            (both,),
        "In the exponent of the first term the two are the wrong way round: which is over which?":
            ((n ** (1 / ratio) + d) ** outer,),
        "The two exponents have changed places.":
            ((n ** (1 / ratio) + d) ** inner, whole(replace(law, size_exponent=outer, data_exponent=inner))),
        "The outer exponent is that of the size. It belongs to the text.":
            (both**inner,),
        "The first term lacks an exponent of its own. The outer one alone would give the power law "
        "of N the exponent of the text.":
            ((n + d) ** outer, (n + d) ** inner, (n + d) ** ratio),
        "The first term has an exponent that is no quotient of two. Raised to the outer exponent, "
        "it should become the power law of N.":
            ((n**inner + d) ** outer, (n ** (inner * outer) + d) ** outer,
             (n ** (inner - outer) + d) ** outer, (n**outer + d) ** outer,
             (n**inner + d**outer) ** outer, (n ** (1 / outer) + d) ** outer),
        "The second term has an exponent of its own in the bracket. Only the first has one.":
            ((n**ratio + d**ratio) ** outer, ((n + d) ** ratio) ** outer, (n**ratio + d**outer) ** outer,
             (n**ratio + d ** (1 / ratio)) ** outer),
        "The outer exponent belongs around the whole bracket, not to one of its terms.":
            (size + d, n**ratio + data),
        "A fraction is upside down: more parameters, or more tokens, raise this loss.":
            tuple((x**ratio + y) ** outer
                  for x in (n, N / Nc) for y in (d, D / Dc) if (x, y) != (n, d)),
        "The bracket is raised to one over the outer exponent.":
            (both ** (1 / outer),) if abs(math.log(both or 1) / outer) < 700 else (),
        "The outer exponent multiplies the bracket. It is an exponent (**).":
            (both * outer,),
        "The two terms are multiplied. They are added.":
            ((n**ratio * d) ** outer, size * data),
        "The two terms are subtracted. They are added.": (abs(n**ratio - d) ** outer,),
        "The mean of the two terms is taken. They are added.": ((both / 2) ** outer,),
        "The two scales have changed places.":
            (whole(replace(law, size_scale=Dc, data_scale=Nc)),),
        "parameters and tokens have changed places.": (whole(law, D, N),),
        "law makes no difference: constants are built in, or read from another place.":
            (whole(KAPLAN_JOINT), whole(KAPLAN_ALONE)),
        "This is no loss but a perplexity, or a loss in other units. Nats are asked for, as the "
        "formula gives them.":
            (joint / math.log(2), joint / math.log(10)) + ((math.exp(joint),) if joint < 700 else ())
            + ((math.log(joint), math.log10(joint)) if joint > 0 else ()),
        "This is Chinchilla's law. Exercise 4 is about Kaplan's.":
            tuple(c.E + c.A / N**c.alpha + c.B / D**c.beta for c in (REFIT, PRINTED)),
    }
    # fmt: on


def _kaplan_endless(answer) -> None:
    """One side or both endless; the message for nan comes first."""
    for N, D, want, what in (
        (4.0, _ENDLESS, 3**0.6, "4 parameters and endless tokens"),
        (_ENDLESS, 2.5, 2.0, "endless parameters and 2.5 tokens"),
        (_ENDLESS, _ENDLESS, 0.0, "endless parameters and endless tokens"),
    ):
        try:
            got = ask(answer, N, D, law=_KAPLAN_PAPER)
        except (OverflowError, ZeroDivisionError, ValueError) as error:
            raise CheckFailed(
                f"For {what} it stops with {type(error).__name__}: {error}. Either or both may be "
                "math.inf. A constant divided by math.inf is 0, and the rest follows."
            ) from None
        nan = isinstance(got, Real) and math.isnan(got)
        expect(
            not nan,
            f"For {what} it gives nan: math.inf over math.inf, or minus math.inf. Divide the "
            "constant by N and by D first.",
        )
        got = _number(got, "a loss in nats")
        expect(
            math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-9),
            f"For {what} it gives {got:.4g} instead of {want:.4g}, with scales 12 and 80 and "
            "exponents 0.6 and 0.2. Of a side that is endless nothing may be left in the bracket.",
        )


def _kaplan_default(answer) -> None:
    """Without a law, at the worked value."""
    N, D = 7e9, 140e9
    got = _number(ask(answer, N, D), "a loss in nats")
    want = float(_joint_in_decimals(N, D, KAPLAN_JOINT))
    alone = float(_joint_in_decimals(N, D, KAPLAN_ALONE))
    expect(
        not math.isclose(got, alone, rel_tol=1e-6),
        "Without a law yours takes the constants of KAPLAN_ALONE. KAPLAN_JOINT is the default.",
    )
    otherwise = (
        "Without a law, 7e9 parameters and 140e9 tokens give {got:.4g}, not 2.03."
    )
    _kaplan_diagnose(answer, N, D, None, want, otherwise)


# --- test_law -------------------------------------------------------------------------

_ALPHA = KAPLAN_JOINT.data_exponent


def _size(N: float) -> float:
    return (KAPLAN_JOINT.size_scale / N) ** KAPLAN_JOINT.size_exponent


def _data(D: float) -> float:
    return (KAPLAN_JOINT.data_scale / D) ** _ALPHA


def _tokens_alike(N: float) -> float:
    """The tokens at which both power laws give the same loss."""
    return KAPLAN_JOINT.data_scale * _size(N) ** (-1 / _ALPHA)


def _combined(N: float, D: float, power: float = 1 / _ALPHA) -> float:
    """Both power laws, raised to a power, added, and the root taken of the sum."""
    return (_size(N) ** power + _data(D) ** power) ** (1 / power)


def _law_plain(parameters, tokens):
    return _combined(parameters, tokens)


def _law_in_logs(parameters, tokens):
    with np.errstate(divide="ignore"):
        first = np.log(_size(parameters)) / _ALPHA
        second = np.log(_data(tokens)) / _ALPHA
        return float(np.exp(_ALPHA * np.logaddexp(first, second)))


def _law_of_the_larger(parameters, tokens):
    """The larger power law, and what the smaller one adds to it."""
    small, large = sorted((_size(parameters), _data(tokens)))
    if large == 0:
        return 0.0
    return large * (1 + (small / large) ** (1 / _ALPHA)) ** _ALPHA


def _law_rounding(parameters, tokens):
    return _combined(parameters, tokens) * (1 + 5e-10)


# What is wrong: the faulty law, where it is wrong. Elsewhere it is the right one.
def _everywhere(N: float, D: float) -> bool:
    return True


def _both_finite(N: float, D: float) -> bool:
    return max(N, D) < _ENDLESS


def _text_rules(N: float, D: float) -> bool:
    return _both_finite(N, D) and _tokens_alike(N) < D


def _size_rules(N: float, D: float) -> bool:
    return _both_finite(N, D) and _tokens_alike(N) > D


def _sum(N: float, D: float) -> float:
    return _size(N) + _data(D)


def _rising_in_N(N: float, D: float) -> float:
    return 2**_ALPHA * _data(D) * (_size(N) / _data(D)) ** -1e-2


def _too_low(N: float, D: float) -> float:
    """Right where both power laws agree; towards 2 % too low where one is much larger."""
    apart = 1 - math.exp(-(math.log(D / _tokens_alike(N)) ** 2))
    return _combined(N, D) * (1 - 0.02 * apart)


def _joint_with(**changes: float) -> Callable:
    law = replace(KAPLAN_JOINT, **changes)
    ratio = law.size_exponent / law.data_exponent
    return _outer(ratio, law.data_exponent, law)


def _outer(inner: float, outer: float, law: Kaplan = KAPLAN_JOINT) -> Callable:
    """A bracket with these two exponents."""
    return lambda N, D: ((law.size_scale / N) ** inner + law.data_scale / D) ** outer


_RATIO = KAPLAN_JOINT.size_exponent / _ALPHA

# fmt: off
_WRONG_LAWS: dict[str, tuple[Callable, Callable]] = {
    "the sum of the two power laws": (_sum, _everywhere),
    "the larger of the two power laws": (lambda N, D: max(_size(N), _data(D)), _everywhere),
    "the smaller of the two": (lambda N, D: min(_size(N), _data(D)), _everywhere),
    "the product of the two": (lambda N, D: _size(N) * _data(D), _everywhere),
    "the mean of the two": (lambda N, D: _sum(N, D) / 2, _everywhere),
    "the mean of the two, with both limits built in": (lambda N, D: _sum(N, D) / 2, _both_finite),
    "the root of the sum of their squares": (lambda N, D: _combined(N, D, 2.0), _everywhere),
    "one in which alike terms give five per cent more, not seven":
        (lambda N, D: _combined(N, D, 1 / KAPLAN_JOINT.size_exponent), _everywhere),
    "the larger of the two and seven per cent more, with both limits built in":
        (lambda N, D: 2**_ALPHA * max(_size(N), _data(D)), _both_finite),
    "one without the outer exponent": (_outer(_RATIO, 1.0), _everywhere),
    "one with the exponents of the first term the wrong way round":
        (_outer(1 / _RATIO, _ALPHA), _everywhere),
    "one whose first term has no exponent": (_outer(1.0, _ALPHA), _everywhere),
    "one with the size's exponent outside":
        (_outer(_RATIO, KAPLAN_JOINT.size_exponent), _everywhere),
    "one with N / N_c instead of N_c / N":
        (lambda N, D: _combined(KAPLAN_JOINT.size_scale**2 / N, D), lambda N, D: N < _ENDLESS),
    "one with D / D_c instead of D_c / D":
        (lambda N, D: _combined(N, KAPLAN_JOINT.data_scale**2 / D), lambda N, D: D < _ENDLESS),
    "one that takes parameters for tokens and tokens for parameters":
        (lambda N, D: _combined(D, N), _everywhere),
    "one that never looks at the tokens": (lambda N, D: _size(N), _everywhere),
    "one that never looks at the parameters": (lambda N, D: _data(D), _everywhere),
    "one with a floor of 0.1 nats added": (lambda N, D: 0.1 + _combined(N, D), _everywhere),
    "one with the constants that were fitted alone":
        (_joint_with(**vars(KAPLAN_ALONE)), _everywhere),
    "one with another N_c, 8.8e13": (_joint_with(size_scale=8.8e13), _everywhere),
    "one with another D_c, 2e13": (_joint_with(data_scale=2e13), _everywhere),
    "one that is half a per cent too high": (lambda N, D: 1.005 * _combined(N, D), _everywhere),
    "one in bits instead of nats": (lambda N, D: _combined(N, D) / math.log(2), _everywhere),
    "one that returns the perplexity": (lambda N, D: math.exp(min(_combined(N, D), 700)), _everywhere),
    "one that always answers 2.03": (lambda N, D: 2.03, _everywhere),
    "one that gives nan for endless tokens": (lambda N, D: math.nan, lambda N, D: D == _ENDLESS),
    "one that gives nan for endless parameters": (lambda N, D: math.nan, lambda N, D: N == _ENDLESS),
    "one that knows the model's limit and adds up otherwise": (_sum, _both_finite),
    "one that adds up for small models, of less than 3e7 parameters":
        (_sum, lambda N, D: N < 3e7),
    "one that adds up for large models, of more than 3e10 parameters":
        (_sum, lambda N, D: 3e10 < N < _ENDLESS),
    "one that adds up for middling models, of 3e7 to 3e10 parameters":
        (_sum, lambda N, D: 3e7 < N < 3e10),
    "one that forgets the text of small models, of less than 3e7 parameters":
        (lambda N, D: _size(N), lambda N, D: N < 3e7),
    "one that forgets the text of large models, of more than 3e10 parameters":
        (lambda N, D: _size(N), lambda N, D: 3e10 < N < _ENDLESS),
    "one in which more tokens hurt, once there are plenty for the model":
        (lambda N, D: _combined(N, _tokens_alike(N)) * (D / _tokens_alike(N)) ** 1e-3, _text_rules),
    "one in which more parameters hurt, once the model is large for its text":
        (_rising_in_N, _size_rules),
    "one in which more parameters hurt, for texts of less than 3e7 tokens":
        (_rising_in_N, lambda N, D: _size_rules(N, D) and D < 3e7),
    "one that is up to two per cent too low, if there is plenty of text for the model":
        (_too_low, _text_rules),
    "one that is up to two per cent too low, if the model is large for its text":
        (_too_low, _size_rules),
}
# fmt: on


def _faulty(wrong: Callable, where: Callable) -> Callable:
    """The right law, except where the wrong one is in force and gives something else."""

    def version(parameters, tokens):
        right = _combined(parameters, tokens)
        if not where(parameters, tokens):
            return right
        got = wrong(parameters, tokens)
        return right if math.isclose(got, right, rel_tol=1e-9) else got

    return version


_FAULTY = {name: _faulty(*how) for name, how in _WRONG_LAWS.items()}
_CLAIMS = {
    1: "1 (with one side endless, the power law of the other)",
    2: "2 (with both finite, above each of the two)",
    3: "3 (more parameters lower it, and so do more tokens)",
    4: "4 (where both power laws agree, 2 to the exponent of the text times as much)",
}
_PROBES = [10.0**power for power in (6, 7, 8, 9, 10, 11, 12)]


def _breaks(N: float, D: float, got: float) -> int | None:
    """The claim that a single result breaks, if any."""
    alone = (_size(N), _data(D))
    if math.inf in (N, D):
        return None if math.isclose(got, max(alone), rel_tol=1e-6) else 1
    if math.isclose(*alone, rel_tol=1e-6):
        return None if math.isclose(got, 2**_ALPHA * alone[0], rel_tol=1e-6) else 4
    return None if got > max(alone) else 2


def _breaks_in_pairs(results: list[tuple[float, float, float]]) -> bool:
    """Whether more of one side, the other as before, did not help."""
    for (N, D, got), (n, d, less) in itertools.permutations(results, 2):
        more = (n > N and d == D) or (n == N and d > D)
        if more and less >= got:  # nan is claim 1's affair
            return True
    return False


def _claims_broken(version: Callable, calls: list[tuple]) -> list[int]:
    results = [(N, D, version(N, D)) for N, D in dict.fromkeys(calls)]
    broken = {_breaks(*result) for result in results} - {None}
    return sorted(broken | ({3} if _breaks_in_pairs(results[:40]) else set()))


def _claims_of(version: Callable) -> str:
    """The claims that a faulty version breaks somewhere between 1e6 and 1e12."""
    broken: set[int] = set()
    for x in _PROBES:
        calls = [(x, _ENDLESS), (_ENDLESS, x), (x, _tokens_alike(x))]
        broken |= set(_claims_broken(version, calls))
        for y in _PROBES:
            broken |= set(_claims_broken(version, [(x, y), (2 * x, y), (x, 2 * y)]))
    return " and ".join(str(claim) for claim in sorted(broken))


def _never_endless(version: Callable, calls: list[tuple]) -> str:
    """A sentence if claim 1 is what a version breaks, and no call had an endless side."""
    if any(_ENDLESS in call for call in calls) or "1" not in _claims_of(version):
        return ""
    return (
        "It breaks claim 1, and your test never calls loss with math.inf. Ask it for endless "
        "tokens, and for endless parameters."
    )


def _law_why_blind(version: Callable, calls: list[tuple]) -> str:
    return _never_endless(version, calls) or (
        f"It breaks claim {_claims_of(version)}, but at none of your numbers does it differ from "
        "the right law. Go through more sizes and texts, from 1e6 to 1e12."
    )


def _law_why_missed(version: Callable, calls: list[tuple]) -> str:
    broken = _claims_broken(version, calls)
    if broken:
        return (
            f"Nothing asserts claim {_CLAIMS[broken[0]]} there. Is there an assert for it that "
            "can fail, close enough, outside any except?"
        )
    return _never_endless(version, calls) or (
        "At these inputs alone no claim shows that. At others the law breaks claim "
        f"{_claims_of(version)}: is that asserted, for sizes and texts from 1e6 to 1e12?"
    )


def _law_why_unfair(version: Callable, calls: list[tuple]) -> str | None:
    """What in a test's calls makes it reject a version in which nothing is wrong."""
    if version is _law_rounding:
        return "It differs in the tenth digit. Compare with math.isclose(..., rel_tol=1e-6), not ==."
    for one, other in itertools.combinations(dict.fromkeys(calls), 2):
        sides = sum(x == y for x, y in zip(one, other, strict=True))
        if sides == 1 and math.isclose(
            _combined(*one), _combined(*other), rel_tol=1e-13
        ):
            return (
                f"Is claim 3 asserted between {_at(*one)} and {_at(*other)}? One side is so far "
                "from mattering there that a float cannot show what it adds."
            )
    for N, D in calls:
        alone = max(_size(N), _data(D))
        if _both_finite(N, D) and math.isclose(alone, _combined(N, D), rel_tol=1e-13):
            return (
                f"Is claim 2 asserted at {_at(N, D)}? One side is so far from mattering there "
                "that a float cannot show what it adds."
            )
    return None


def _at(N: float, D: float) -> str:
    return f"({N:.3g}, {D:.3g})"


@check_test(
    laws.kaplan_loss,
    called="loss",
    right={
        "Kaplan's joint law": _law_plain,
        "one that works in logarithms": _law_in_logs,
        "one that takes the larger law and adds to it": _law_of_the_larger,
        "one that differs in the tenth digit": _law_rounding,
    },
    faulty=_FAULTY,
    why_blind=_law_why_blind,
    why_missed=_law_why_missed,
    why_unfair=_law_why_unfair,
    proved=f"It accepts four right versions and exposes all {len(_FAULTY)} faulty ones.",
)
def test_law(test, draw):
    """Pass joint laws, however they compute; fail all others."""


# --- optimal --------------------------------------------------------------------------

# 1e8 parameters (root 1e4) and 1e12 tokens (fourth root 1e3) for 6e20 operations:
# 0.5 * 1000 / 1e4 = 0.25 * 200 / 1e3.
_PAPER_LAW = Chinchilla(E=1.5, A=1000.0, B=200.0, alpha=0.5, beta=0.25)
# Like the law of the lesson's own runs, with budgets that such runs have.
_SMALL_LAW = Chinchilla(E=0.755, A=100.0, B=80.0, alpha=0.572, beta=0.375)


@check(
    laws.optimal,
    proved="It finds the bottom of the valley to six digits, on paper and for drawn laws and "
    "budgets, spends all of the budget, and refuses one that is not above 0.",
    also=(laws.search_optimal, laws.lowest),
)
def optimal(answer, draw):
    _optimal_diagnose(
        answer, 6e20, _PAPER_LAW, 1e8, 1e12,
        "For 6e20 operations and E = 1.5, A = 1000, B = 200, alpha = 1/2, beta = 1/4 the best is "
        "1e8 parameters and 1e12 tokens; yours is {n:.4g} and {d:.4g}.",
    )  # fmt: skip
    _optimal_keeps_its_answer(answer)
    for compute, law in (
        (5.88e21, None), (5.88e21, PRINTED), (1e18, UNROUNDED),
        (1e11, _SMALL_LAW), (1e8, _SMALL_LAW),
    ):  # fmt: skip
        best = _bottom(compute, law or REFIT)
        name = "the default law" if law is None else str(law)
        _optimal_diagnose(answer, compute, law, *best, _OPTIMAL_ELSEWHERE + name + ".")
    for _ in range(5):
        law, compute = _drawn_law(draw), 10 ** _between(18, 25, draw)
        best = _bottom(compute, law)
        _optimal_diagnose(answer, compute, law, *best, _OPTIMAL_ELSEWHERE + f"{law}.")
    _optimal_refuses(answer)


_OPTIMAL_ELSEWHERE = (
    "{n:.6g} parameters and {d:.6g} tokens are not the best for {compute:.3e} operations: with "
    "{nearer} parameters, for the same compute, the loss is lower. The law is "
)


def _optimal_keeps_its_answer(answer) -> None:
    first = ask(answer, 6e20, _PAPER_LAW)
    before = tuple(first)
    answer(1e18, PRINTED)
    expect(
        before == tuple(first),
        "A second call changed what the first one had returned: both share one list. Make a new "
        "one in each call.",
    )


def _drawn_law(draw: torch.Generator) -> Chinchilla:
    A, B = (10 ** _between(2.3, 3.3, draw) for _ in range(2))
    alpha, beta = (_between(0.3, 0.4, draw) for _ in range(2))
    return Chinchilla(_between(1, 2, draw), A, B, alpha, beta)


def _bottom(compute: float, law: Chinchilla) -> tuple[float, float]:
    """The best size and text, by halving an interval of log N on its slope."""
    q, low, high = math.log(compute / 6), -100.0, 200.0
    for _ in range(200):
        n = (low + high) / 2
        falls = law.alpha * law.A * math.exp(-law.alpha * n)
        rises = law.beta * law.B * math.exp(-law.beta * (q - n))
        low, high = (n, high) if falls > rises else (low, n)
    return math.exp(low), math.exp(q - low)


def _two_numbers(got: object, first: str, second: str) -> tuple[float, float]:
    if isinstance(got, Tensor | np.ndarray) and got.shape == (2,):
        got = tuple(got.tolist())
    count = f" of {len(got)}" if isinstance(got, tuple | list) else ""
    expect(
        isinstance(got, tuple | list) and len(got) == 2,
        f"It returned a {type(got).__name__}{count}; two numbers are wanted, {first} and then "
        f"{second}.",
    )
    return _number(got[0], first), _number(got[1], second)


def _near(x: float, y: float, tolerance: float = 5e-6) -> bool:
    return math.isclose(x, y, rel_tol=tolerance)


def _optimal_diagnose(answer, compute, law, N, D, otherwise) -> None:
    given = () if law is None else (law,)
    got = ask(answer, compute, *given)
    n, d = _two_numbers(got, "the parameters", "the tokens")
    if _near(n, N) and _near(d, D):
        return
    mistakes = _optimal_mistakes(compute, law or REFIT)
    if law is None:
        mistakes = _optimal_defaults(compute) | mistakes
    for says, results in mistakes.items():
        for wrong in results:
            known = _near(n, wrong[0]) and _near(d, wrong[1])
            if known and not (_near(wrong[0], N) and _near(wrong[1], D)):
                raise CheckFailed(says)
    whole = n == round(n) or d == round(d)
    expect(
        not (whole and abs(n - N) <= 1 and abs(d - D) <= 1),
        f"For {compute:.0e} operations a number is rounded to a whole one. Six digits are asked "
        "for, and small budgets buy few parameters.",
    )
    spent = 6 * n * d / compute
    expect(
        _near(spent, 1, 2e-5),
        f"{n:.4g} parameters and {d:.4g} tokens cost {spent:.4g} times the budget of "
        f"{compute:.3e} operations. Training takes 6 operations per parameter and token.",
    )
    expect(
        not math.isclose(n, N, rel_tol=0.05),
        f"Nearly: the parameters are {abs(n / N - 1):.1e} off. Six digits are asked for. Is the "
        "search too coarse, did it stop too early, or is something rounded? float32 holds 7 "
        "digits, too few to tell the losses near the bottom apart: search in float64.",
    )
    expect(
        not (
            law == _SMALL_LAW
            and n > 0
            and math.isclose(math.log10(n) % 1, 0, abs_tol=1e-3)
        ),
        f"For {compute:.0e} operations it gives {n:.3g} parameters, at the end of its search, it "
        f"seems. The best size lies {'above' if n < N else 'below'}: let the limits depend on the "
        "budget.",
    )
    raise CheckFailed(
        otherwise.format(n=n, d=d, compute=compute, nearer="more" if n < N else "fewer")
    )


def _optimal_defaults(compute: float) -> dict[str, tuple]:
    return {
        f"Without a law yours takes {name}. The first line's default is REFIT.": (
            _bottom(compute, other),
        )
        for name, other in (("PRINTED", PRINTED), ("UNROUNDED", UNROUNDED))
    }


def _optimal_mistakes(compute: float, law: Chinchilla) -> dict[str, tuple]:
    """What known mistakes give, as (N, D)."""
    A, B, a, b = law.A, law.B, law.alpha, law.beta
    s, q = a + b, compute / 6
    G = (a * A / (b * B)) ** (1 / s)
    N = G * q ** (b / s)
    plain = ((A / B) ** (1 / s), (B / A) ** (1 / s))

    def spent(*sizes: float, of: float = q) -> tuple:
        return tuple((size, of / size) for size in sizes)

    # fmt: off
    return {
        "The tokens come first. N is wanted first, then D.": ((q / N, N),),
        "The 6 is missing: a parameter and a token cost 6 operations together.":
            (*spent(G * compute ** (b / s), of=compute), *spent(G * compute ** (b / s)),
             *spent(N, of=compute)),
        "Another number of operations per parameter and token than 6 goes in.":
            tuple(pair for k in (2, 3, 4, 8) for pair in spent(G * (compute / k) ** (b / s), of=compute / k)),
        "This is the rule of 20 tokens per parameter. What is best depends on the law and on the "
        "budget.":
            (*spent(math.sqrt(q / 20)), *spent(math.sqrt(compute / 20), of=compute),
             *spent(math.sqrt(compute / 120))),
        "law makes no difference: constants are built in.":
            tuple(_bottom(compute, other) for other in (REFIT, PRINTED, UNROUNDED) if other != law),
        "The exponents of the law are rounded before they are used. In an exponent two digits are "
        "not enough.":
            tuple(_bottom(compute, replace(law, alpha=round(a, k), beta=round(b, k))) for k in (1, 2, 3)),
        "The budget's exponent is the wrong one of two: the better the size's term pays, "
        "alpha large, the *slower* should N grow.":
            (*spent(G * q ** (a / s)), *spent(q ** (a / s))),
        "The factor in front is upside down.":
            (*spent(q ** (b / s) / G), *spent(q ** (b / s) * plain[1])),
        "The factor in front of the power is missing.": spent(q ** (b / s)),
        "Here both terms owe the same loss. At the bottom it is their slopes that cancel.":
            spent(q ** (b / s) * plain[0]),
        "The factor in front lacks a root, or has another one.":
            spent(*(q ** (b / s) * (a * A / (b * B)) ** k for k in (1, 1 / a, 1 / b, s, 1 / (a * b)))),
        "alpha and beta stand the wrong way round in the factor in front.":
            spent(q ** (b / s) * (b * A / (a * B)) ** (1 / s), q ** (b / s) * (a * B / (b * A)) ** (1 / s)),
        "The budget is shared half and half on the logarithmic scale: as many tokens as "
        "parameters.":
            (*spent(math.sqrt(q)), *spent(math.sqrt(compute), of=compute)),
        "The budget's exponent is one half in yours. What it is depends on alpha and beta.":
            (*spent(math.sqrt(q) * G), *spent(math.sqrt(q) * plain[0])),
        "N is right, and D is not what the rest of the budget buys.":
            ((N, 20 * N), (N, N), (N, q / N / 6), (N, G * q ** (a / s)), (N, q ** (a / s))),
    }
    # fmt: on


def _optimal_refuses(answer) -> None:
    """The first line of the card's function may be an assert: that refuses as well."""
    for nothing in (0.0, -6e20, math.nan):
        words = f"A budget of {nothing:g} operations should be refused"
        try:
            got = answer(nothing)
        except (ValueError, AssertionError):
            continue
        except (ArithmeticError, TypeError) as error:
            raise CheckFailed(
                f"{words}; yours stops with {type(error).__name__}, by accident, further down. "
                "The assert in the first line does it: leave that line there."
            ) from None
        hint = "No comparison with nan is true. " if nothing != nothing else ""
        raise CheckFailed(
            f"{words}, not answered with {str(got)[:60]}. {hint}The assert in the first line does "
            "it: leave that line there."
        )


# --- against_optimum ------------------------------------------------------------------


@check(
    laws.against_optimum,
    proved="Both ratios are right for models above and below the best, for the law that is "
    "given and for the default.",
)
def against_optimum(answer, draw):
    # 2e9 parameters and 5e10 tokens cost 6e20, for which 1e8 and 1e12 are best
    _against_diagnose(answer, 2e9, 5e10, _PAPER_LAW)
    _against_diagnose(answer, 7e9, 2e12, None)
    _against_diagnose(answer, 7e9, 2e12, PRINTED)
    for _ in range(5):
        N = 10 ** _between(8, 11, draw)
        D = N * 10 ** _between(0, 3, draw)
        _against_diagnose(answer, N, D, _drawn_law(draw))


def _against_diagnose(answer, N: float, D: float, law: Chinchilla | None) -> None:
    given = () if law is None else (law,)
    got = ask(answer, N, D, *given)
    mine, best = _two_numbers(got, "this model's ratio", "that of the best model")
    n, d = _bottom(6 * N * D, law or REFIT)
    want = (D / N, d / n)
    if _near(mine, want[0], 2e-5) and _near(best, want[1], 2e-5):
        return
    known = (_against_mistakes, _against_mistakes_of_the_best)
    pair = ((mine, best), (best,))
    for mistakes, results in zip(known, pair, strict=True):
        if mistakes is _against_mistakes_of_the_best and not _near(mine, want[0], 2e-5):
            continue
        for says, wrong in mistakes(N, D, law or REFIT, want).items():
            for numbers in wrong:
                if all(
                    _near(x, y, 2e-5) for x, y in zip(results, numbers, strict=True)
                ):
                    raise CheckFailed(says)
    where = f"For {N:.4g} parameters and {D:.4g} tokens"
    which, x, y = (
        ("first", mine, want[0])
        if not _near(mine, want[0], 2e-5)
        else ("second", best, want[1])
    )
    if math.isclose(x, y, rel_tol=1e-2):
        raise CheckFailed(
            f"{where} the {which} number is {x:.6g} instead of {y:.6g}. Is it rounded, or your "
            "optimal not exact to six digits yet?"
        )
    whose = "this model" if which == "first" else "the best model of the same compute"
    raise CheckFailed(
        f"{where} {whose} has {y:.4g} tokens per parameter, not {x:.4g}. The law is "
        f"{law or 'the default'}."
    )


def _against_mistakes(N: float, D: float, law: Chinchilla, want: tuple) -> dict:
    """What known mistakes give, as both numbers."""
    mine, best = want
    n, d = _bottom(6 * N * D, law)
    # fmt: off
    return {
        "The best model's ratio comes first. This model's is wanted first.": ((best, mine),),
        "These are parameters per token. Tokens per parameter are asked for.":
            ((1 / mine, 1 / best), (1 / best, 1 / mine), (1 / mine, best), (mine, 1 / best)),
        "These are the two models' sizes, or texts, not their ratios.":
            ((n, d), (N, n), (D, d), (N, D), (mine, n), (mine, d)),
        "The models are divided by each other. Each has a ratio of its own: its tokens over its "
        "parameters.":
            ((N / n, D / d), (n / N, d / D), (D / d, N / n), (D / n, d / N)),
    }
    # fmt: on


def _against_mistakes_of_the_best(
    N: float, D: float, law: Chinchilla, want: tuple
) -> dict:
    """What known mistakes give for the second number, the first being right."""

    def ratio(compute: float, law: Chinchilla = law) -> tuple[float]:
        n, d = _bottom(compute, law)
        return (d / n,)

    n, d = _bottom(6 * N * D, law)
    slope_n = law.alpha * law.A / N**law.alpha  # the text that suits this size
    suits_n = (law.beta * law.B / slope_n) ** (1 / law.beta)
    slope_d = law.beta * law.B / D**law.beta  # the size that suits this text
    suits_d = (law.alpha * law.A / slope_d) ** (1 / law.alpha)
    # fmt: off
    return {
        "Both numbers are this model's.": ((want[0],),),
        "The 6 is missing in the compute of this model.": (ratio(N * D),),
        "The compute of this model takes another number than 6 per parameter and token.":
            tuple(ratio(k * N * D) for k in (2, 3, 4, 8, 36)),
        "law makes no difference to the best model. Hand it on to optimal.":
            tuple(ratio(6 * N * D, other) for other in (REFIT, PRINTED, UNROUNDED)),
        "That is the best size for the same *text*. The best model of the same compute is asked "
        "for: it may have another size and another text.": ((D / suits_d,),),
        "That is the best text for the same *size*. The best model of the same compute is asked "
        "for: it may have another size and another text.": ((suits_n / N,),),
        "The second number takes the tokens of one model and the parameters of the other. Both "
        "belong to the best model.": ((D / n,), (N / d,)),
        "The second number is twenty, by rule. optimal knows what is best for this law and this "
        "compute.": ((20.0,),),
        "The second number is one ratio divided by the other. Each model's own is asked for.":
            ((want[0] / want[1],), (want[1] / want[0],)),
        "The second number is a difference of two ratios. Each model's own is asked for.":
            ((want[0] - want[1],), (want[1] - want[0],)),
        "optimal was given something else than this model's compute: 6 N D operations.":
            tuple(ratio(x) for x in (N, D, 6 * N, 6 * D, N + D, D / N, 6 * N * D * 86400, 6 * N**2, 6 * D**2)),
    }
    # fmt: on


# --- fit_theta ------------------------------------------------------------------------


@check(
    fitting.fit_theta,
    proved="Of several starts it keeps the best end, also where others end in nan or in a worse "
    "valley, and at that end the Huber losses of all runs pull no more.",
)
def fit_theta(answer, draw):
    with _short_descents():
        runs, planted = _fit_runs(draw, floor=True)
        kinds = ("nan", "flat", "dead", "near")
        _fit_ask(answer, runs, planted, _fit_starts(runs, planted, *kinds))
        runs, planted = _fit_runs(draw, floor=False)
        _fit_ask(
            answer, runs, planted, _fit_starts(runs, planted, "near", "nan", "dead")
        )


@contextlib.contextmanager
def _short_descents() -> Iterator[None]:
    """While the check runs, a descent gives up after 48 steps: one from nan never stops by itself."""
    before = fitting.descend.__defaults__
    fitting.descend.__defaults__ = (48,)
    try:
        yield
    finally:
        fitting.descend.__defaults__ = before


_DEAD = -2000.0  # a logarithm so low that the term is 0 and has no slope
_AT_REST = 4e-3  # the share of pulls that may be left over; other losses leave more


def _fit_runs(draw, floor: bool) -> tuple[tuple[Tensor, ...], Tensor]:
    """Thirteen runs of a drawn law, one of them spoiled by a fifth; and the law.

    Their noise is as large as DELTA, so that both parts of Huber's loss are in use.
    """
    n = torch.linspace(-2.2, 2.0, 4, dtype=torch.float64).repeat_interleave(3)
    d = torch.linspace(-1.5, 1.7, 3, dtype=torch.float64).repeat(4)
    n, d = torch.cat([n, n.new_tensor([0.3])]), torch.cat([d, d.new_tensor([-0.6])])
    low = torch.tensor([-0.6, 0.3, -0.4, 0.4, 0.0], dtype=torch.float64)
    part = torch.rand(5, generator=draw, dtype=torch.float64)
    planted = (low + 0.15 * part)[: 5 if floor else 4]
    noise = torch.randn(len(n), generator=draw, dtype=torch.float64)
    losses = _fit_predicted(planted, n, d) + fitting.DELTA * noise
    losses[3 + int(6 * part[0])] += 0.2
    return (n, d, losses), planted


def _fit_starts(runs: tuple, planted: Tensor, *kinds: str) -> list[Tensor]:
    """Starts: towards the planted law; nan; and without terms, which never come back.

    dead, flat: without the text's term, whose logarithm stays as low as it begins. Only
    the size's is left, or only the floor. They begin *lower* than near and end higher.
    """
    begin = []
    for place, kind in enumerate(kinds):
        start = planted + 0.3
        if kind == "nan":
            start[1] = math.nan
        elif kind != "near":
            start[:] = _DEAD - place
            start[1::2] = 0.1
            start[0 if kind == "dead" else 4] = runs[2].mean() + 0.01 * place
        begin.append(start)
    return begin


def _fit_terms(theta: Tensor, n: Tensor, d: Tensor) -> Tensor:
    a, alpha, b, beta, *e = theta.tolist()
    floor = [torch.full_like(n, e[0])] if e else []
    return torch.stack([a - alpha * n, b - beta * d, *floor]).exp()


def _fit_predicted(theta: Tensor, n: Tensor, d: Tensor) -> Tensor:
    return _fit_terms(theta, n, d).sum(0).log()


def _fit_ask(answer, runs, planted: Tensor, begin: list[Tensor]) -> None:
    theta = ask(answer, *runs, begin)
    if isinstance(theta, tuple | list):
        raise CheckFailed(
            f"It returned a {type(theta).__name__} of {len(theta)}; one theta is wanted, a tensor "
            "like a start. Does descend's value come along, or every end?"
        )
    expect(
        isinstance(theta, Tensor),
        f"It returned a {type(theta).__name__}; one theta is wanted, a tensor like a start.",
    )
    expect(
        theta.shape == planted.shape,
        f"It returned shape {tuple(theta.shape)}; the starts have {tuple(planted.shape)}.",
    )
    theta = theta.detach().double()
    kinds = f"{len(runs[0])} runs and {len(begin)} starts"
    expect(
        not theta.isnan().any(),
        f"With {kinds} it returned nan. One start ended there, and no comparison with nan is "
        "true: a plain min, argmin or < may hold on to it. Of all starts, the best *finite* end is "
        "wanted.",
    )
    off = _fit_predicted(theta, *runs[:2]) - runs[2]
    squares = _fit_pull(theta, *runs, lambda residuals: residuals)
    cancels = off.isfinite().all() and off.sum().abs() < 1e-4 * off.abs().sum()
    expect(
        not cancels or (theta[2] > -100 and squares < _AT_REST),
        "The differences are summed first, and Huber's loss is taken of the sum: then differences "
        "of both signs cancel. It is taken of each run's, and those are summed.",
    )
    _fit_which_end(theta, begin)
    pulls = _fit_pull(theta, *runs)
    value, there = (_fit_value(x, *runs) for x in (theta, planted))
    if value <= there * (1 + 1e-9) and pulls < _AT_REST:
        return
    swapped = theta[[2, 3, 0, 1, *range(4, len(theta))]]
    expect(
        not _fit_value(swapped, *runs) < value / 4,
        "log_n and log_d have changed places in the call of log_loss.",
    )
    for says, pull in _fit_mistakes(theta, *runs).items():
        if pull < _AT_REST:
            raise CheckFailed(says)
    if not math.isfinite(value) or value > 20 * there:
        raise CheckFailed(
            f"With {kinds} the law that it returned is far from the runs. Is the objective made "
            "small, and does each descent begin at its own start? An average of several ends is "
            "no end either."
        )
    raise CheckFailed(
        f"With {kinds} theta is near a bottom of the summed Huber losses, but not there: the runs "
        f"still pull ({pulls:.1%} of their pulls do not cancel). Did it stop early (divide by "
        "DELTA ** 2), is DELTA another one, or are runs left out?"
    )


def _fit_which_end(theta: Tensor, begin: list[Tensor]) -> None:
    """A start that never moved, or the end of one that lost a term."""
    for k, start in enumerate(begin, 1):
        expect(
            not torch.equal(theta, start.double()),
            f"Start {k} of {len(begin)} came back as it was. A descent leads on from each start; "
            "the ends are to be compared.",
        )
        expect(
            not (start[2] < -100 and abs(theta[2] - start[2]) < 0.5),
            f"The end of start {k} of {len(begin)} came back. It lies in a worse valley; another "
            "start ends with a smaller sum. Are all starts used, and their ends compared?",
        )
    expect(
        theta[2] > -100,
        f"The theta that came back lies between the ends of {len(begin)} starts. An average of "
        "ends is no end: keep the best one.",
    )


def _fit_huber(residuals: Tensor, delta: float = fitting.DELTA) -> Tensor:
    """What Huber's loss pulls with: the residual, and no more than delta."""
    return residuals.clamp(-delta, delta)


def _fit_value(theta: Tensor, n: Tensor, d: Tensor, log_losses: Tensor) -> float:
    """Summed Huber losses, run by run."""
    total, delta = 0.0, fitting.DELTA
    for r in (_fit_predicted(theta, n, d) - log_losses).abs().tolist():
        total += r * r / 2 if r < delta else delta * (r - delta / 2)
    return total


def _fit_pull(theta, n, d, log_losses, influence=_fit_huber, target=None) -> float:
    """The largest share of the runs' pulls at a constant that does not cancel; 0 at a bottom.

    influence: of a residual; target: what residuals are taken from, logs or losses.
    """
    terms = _fit_terms(theta, n, d)
    shares = terms / terms.sum(0)
    slopes = [shares[0], -n * shares[0], shares[1], -d * shares[1], *shares[2:]]
    predicted = terms.sum(0).log()
    if target is None:
        pull = influence(predicted - log_losses)
    else:
        pull = influence(terms.sum(0) - log_losses.exp()) * terms.sum(0)
    left = [(slope * pull).sum().abs() for slope in slopes]
    gross = [(slope * pull).abs().sum() for slope in slopes]
    found = [one / max(all_, 1e-300) for one, all_ in zip(left, gross, strict=True)]
    return max(found).item()


def _fit_mistakes(theta, n, d, log_losses) -> dict[str, float]:
    """How much known wrong objectives still pull at theta; nothing, if it is their bottom."""
    runs, delta = (n, d, log_losses), fitting.DELTA

    def squares(residuals):
        return residuals

    steep = {
        k: _fit_pull(theta, *runs, lambda r, k=k: _fit_huber(r, k * delta))
        for k in (0.1, 0.5, 0.8, 1.2, 1.5, 2, 5, 10, 100)
    }
    smooth = (
        lambda r: delta * (r / delta).tanh(),
        lambda r: r / (1 + (r / delta) ** 2).sqrt(),
    )
    # fmt: off
    return {
        "The squares of the differences are summed, so one spoiled run pulls the law away from "
        "all others. Huber's loss is asked for, with DELTA as it is.":
            min(_fit_pull(theta, *runs, squares), _fit_pull(theta, *runs, squares, "losses")),
        "Huber's loss is taken of the differences between losses. Logarithms are to be compared: "
        "log_losses are logs already, and log_loss predicts logs.":
            min(_fit_pull(theta, *runs, _fit_huber, "losses"), _fit_pull(theta, n, d, log_losses.exp()),
                _fit_pull(theta, n, d, log_losses.abs().log())),
        "Huber's loss has another delta than DELTA here.": min(steep.values()),
        "A smooth loss that resembles Huber's is summed, and has its bottom nearby. `huber` is "
        "given.":
            min(_fit_pull(theta, *runs, like) for like in smooth),
        "The last run is left out.": _fit_pull(theta, *(x[:-1] for x in runs)),
        "The first run is left out.": _fit_pull(theta, *(x[1:] for x in runs)),
    }
    # fmt: on
