"""Checks of lesson 05: what share of a model learns, and what tuning it keeps in memory.

Models are built piece by piece, and their numbers added up by hand meanwhile; bytes
are counted from bits. All questions are asked first: a mistake is named if it
explains all answers, or all wrong ones. The answers that prove the checks are in
`tests/answers/`.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import torch
from torch import nn

from course_lib.checks.asking import ask, expect, number
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.lora import costs


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _name(found: list[tuple], mistakes: dict[str, tuple], otherwise: Callable) -> None:
    """Name the mistake behind all results, or all wrong ones; found: (got, want, case)."""
    wrong = [row for row in found if not _same(*row[:2])]
    if not wrong:
        return
    for rows in (found, wrong):
        for name, ways in mistakes.items():
            for way in ways:
                if all(_same(got, way(case)) for got, _, case in rows):
                    raise CheckFailed(name)
    expect(
        not all(math.isclose(got, want, rel_tol=1e-2) for got, want, _ in wrong),
        "The first digits are right and the later ones are not. Is something rounded, by round(), "
        "int() or //?",
    )
    raise CheckFailed(otherwise(*wrong[0]))


# --- trainable_share ------------------------------------------------------------------


class Counted(NamedTuple):
    """A model, what is in it, and what its numbers add up to: learning, frozen."""

    model: nn.Module
    what: str
    trained: int
    frozen: int


@check(
    costs.trainable_share,
    proved="Whoever has requires_grad learns, whatever its name and place; a tied matrix counts "
    "once, buffers do not count, and the adapter is in both counts.",
)
def trainable_share(answer, draw):
    found = [(_share_ask(answer, case), case) for case in _share_cases(draw)]
    swapped = all(
        _same(got[0], case.trained + case.frozen) and _same(got[1], case.trained)
        for got, case in found
    )
    expect(
        not swapped,
        "The first two are exchanged: first what learns, then all there is.",
    )
    for place, mistakes, what in (
        (0, _SHARE_TRAINED, "numbers that learn"),
        (1, _SHARE_TOTAL, "numbers in all"),
    ):
        rows = [
            (got[place], case.trained + case.frozen * place, case)
            for got, case in found
        ]
        _name(
            rows,
            mistakes,
            lambda got, want, case, what=what: (
                f"Of {case.what} it says {got:g} {what}; counted piece by piece it is {want}."
            ),
        )
    shares = [
        (got[2], case.trained / (case.trained + case.frozen), case)
        for got, case in found
    ]
    _name(
        shares,
        _SHARE_SHARE,
        lambda got, want, case: (
            f"Of {case.what} {case.trained} of {case.trained + case.frozen} numbers learn, and the "
            f"share is {got:.4g} in yours. It is the first divided by the second."
        ),
    )


def _share_ask(answer, case: Counted) -> list[float]:
    before = [(p.requires_grad, p.detach().clone()) for p in case.model.parameters()]
    modes = [module.training for module in case.model.modules()]
    try:
        got = ask(answer, case.model)
    except ZeroDivisionError:
        raise CheckFailed(
            f"It divides by 0 for {case.what}. model.parameters() can be gone through once; "
            "somebody who keeps it and sums a second time finds nothing left. (And where nothing "
            "learns, or nothing is frozen, that count is 0.)"
        ) from None
    after = [(p.requires_grad, p) for p in case.model.parameters()]
    expect(
        modes == [module.training for module in case.model.modules()]
        and all(
            was == now and torch.equal(p, q)
            for (was, p), (now, q) in zip(before, after, strict=True)
        ),
        "It changed the model: who learns, a number or the mode. It should only count.",
    )
    expect(
        isinstance(got, tuple | list) and len(got) == 3,
        f"It returned {_described(got)}; three numbers are wanted: what learns, what there is, "
        "and the first divided by the second.",
    )
    names = ("the numbers that learn", "all numbers", "the share")
    return [number(one, name) for one, name in zip(got, names, strict=True)]


def _described(got: object) -> str:
    if isinstance(got, Real):
        return "one number"
    size = f" of {len(got)}" if isinstance(got, tuple | list | dict) else ""
    return f"a {type(got).__name__}{size}"


def _share_cases(draw) -> list[Counted]:
    """Models as they are built, with their counts by hand."""
    sizes = torch.randperm(9, generator=draw)[:4] + 3
    a, b, c, d = sizes.tolist()

    def frozen(module: nn.Module) -> nn.Module:
        return module.requires_grad_(False)

    def matrix(inner: int, out: int) -> nn.Linear:
        return nn.Linear(inner, out, bias=False)

    paper = nn.ModuleList([frozen(matrix(2, 6)), matrix(2, 2)])
    wrapped = frozen(nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c)))
    for layer in (wrapped[0], wrapped[2]):
        layer.A = nn.Parameter(torch.randn(d, layer.in_features))
        layer.B = nn.Parameter(torch.zeros(layer.out_features, d))
    names = frozen(nn.Linear(a, b))  # a frozen adapter, and a bias that learns
    names.lora_A, names.A = (
        nn.Parameter(torch.randn(size, a), requires_grad=False) for size in (c, d)
    )
    names.bias.requires_grad_()
    tied = nn.ModuleDict({"embed": nn.Embedding(a, b), "head": matrix(b, a)})
    tied["head"].weight = tied["embed"].weight
    tied["middle"] = frozen(nn.Linear(b, c))
    shared = nn.ModuleDict({"one": frozen(nn.Linear(a, d)), "own": matrix(d, b)})
    shared["again"] = shared["one"]
    normed = nn.Sequential(
        frozen(matrix(a, b)), nn.BatchNorm1d(b), frozen(nn.Linear(b, d))
    )
    odd = nn.ModuleList([frozen(nn.Conv1d(a, b, 5)), nn.LayerNorm(d)]).eval()
    odd.scale = nn.Parameter(torch.tensor(2.0))
    odd.rows = nn.ParameterList([torch.zeros(2, 3, c), torch.zeros(d)])
    odd.rows[1].requires_grad_(False)
    stepped = nn.ModuleList([nn.Linear(a, c), frozen(nn.Linear(c, d))])
    stepped[0].bias.grad = torch.zeros(c)  # its weight has had no gradient yet
    base = a * b + b + b * c + c
    # fmt: off
    return [
        Counted(paper, "the card's example", 4, 12),
        Counted(wrapped, "two frozen layers with an adapter each", d * (a + 2 * b + c), base),
        Counted(names, "a layer whose bias learns, and whose A does not", b, a * (b + c + d)),
        Counted(tied, "a tied model, whose embedding learns", a * b, b * c + c),
        Counted(shared, "a frozen layer in two places, and one that learns", d * b, a * d + d),
        Counted(normed, "a model with a BatchNorm", 2 * b, a * b + b * d + d),
        Counted(odd, "parameters of all shapes", 2 * d + 1 + 6 * c, 5 * a * b + b + d),
        Counted(stepped, "a model of which half has a gradient", a * c + c, c * d + d),
        Counted(frozen(nn.Linear(b, c)), "a layer that is all frozen", 0, b * c + c),
        Counted(nn.Linear(c, d), "a layer that is all learning", c * d + d, 0),
    ]
    # fmt: on


def _learning(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _sizes(tensors) -> int:
    return sum(t.numel() for t in tensors)


def _by_name(model: nn.Module, names: tuple[str, ...]) -> int:
    return _sizes(
        p for n, p in model.named_parameters() if any(part in n for part in names)
    )


def _twice(model: nn.Module, learning: bool = False) -> int:
    every = model.named_parameters(remove_duplicate=False)
    return _sizes(p for _, p in every if p.requires_grad or not learning)


# fmt: off
_SHARE_TRAINED = {
    "It counts tensors. A tensor has many numbers.":
        (lambda c: len(_learning(c.model)),),
    "requires_grad makes no difference: all numbers are said to learn.":
        (lambda c: c.trained + c.frozen, lambda c: _twice(c.model)),
    "These are the frozen ones. The numbers that learn come first.":
        (lambda c: c.frozen,),
    "It goes by names, such as A and B, lora or weight. A bias may learn, and an adapter may be "
    "frozen: requires_grad says who learns.":
        (*(lambda c, n=n: _by_name(c.model, n) for n in (
            ("lora",), ("A", "B"), (".A", ".B"), ("A",), ("weight",), ("lora_", "A", "B"))),
         lambda c: _sizes(p for n, p in c.model.named_parameters()
                          if n.split(".")[-1] in ("A", "B", "lora_A", "lora_B")),
         lambda c: _sizes(p for n, p in c.model.named_parameters()
                          if n.split(".")[-1] in ("A", "B"))),
    "A tied matrix, or a layer that stands in two places, counts twice among those that learn. It "
    "is there once.":
        (lambda c: _twice(c.model, learning=True),),
    "Nothing learns in yours. Tensors of state_dict() and .data never ask for a gradient; and "
    "what model.parameters() gives can be gone through once.":
        (lambda c: 0,),
    "It asks who *has* a gradient. Before the first step nobody has; requires_grad says who will.":
        (lambda c: _sizes(p for p in c.model.parameters() if p.grad is not None),),
    "These are bytes. Numbers are asked for.":
        (lambda c: 4 * c.trained,),
    "Only rows are counted, or only matrices. Every number of every shape counts, a single one "
    "too.":
        (lambda c: sum(len(p) if p.dim() else 1 for p in _learning(c.model)),
         lambda c: _sizes(p for p in _learning(c.model) if p.dim() == 2),
         lambda c: _sizes(p for p in _learning(c.model) if p.dim() > 1),
         lambda c: _sizes(p for p in _learning(c.model) if p.dim())),
    "Only linear layers are counted. Other parts have numbers too.":
        (lambda c: _sizes(p for m in c.model.modules() if isinstance(m, nn.Linear)
                          for p in _learning(m)),),
    "Only modules of which nothing is frozen are counted. Each parameter has its own "
    "requires_grad.":
        (lambda c: _sizes({p for m in c.model.modules() if [*m.parameters(recurse=False)] and all(
            p.requires_grad for p in m.parameters(recurse=False))
            for p in m.parameters(recurse=False)}),),
    "A module of which something learns counts whole. Each parameter has its own requires_grad.":
        (lambda c: _sizes({p for m in c.model.modules() for p in m.parameters(recurse=False)
                           if any(q.requires_grad for q in m.parameters(recurse=False))}),
         lambda c: _sizes({p for m in c.model.children() for p in m.parameters()
                           if any(q.requires_grad for q in m.parameters())})),
    "A model in eval mode counts as frozen. The mode says nothing about who learns.":
        (lambda c: c.trained if c.model.training else 0,),
}
_SHARE_TOTAL = {
    "The total counts tensors. A tensor has many numbers.":
        (lambda c: len([*c.model.parameters()]),
         lambda c: len(c.model.state_dict())),
    "The adapter's own numbers are left out of the total: these are the frozen ones. What learns "
    "is there as well.":
        (lambda c: c.frozen,),
    "What learns goes into the total twice. It is among the parameters already.":
        (lambda c: 2 * c.trained + c.frozen,),
    "The total is what learns. All numbers are asked for, frozen ones too.":
        (lambda c: c.trained,),
    "A tied matrix, or a layer that stands in two places, counts twice in the total. It is there "
    "once.":
        (lambda c: _twice(c.model),
         lambda c: _twice(c.model) + _sizes(c.model.buffers()),
         lambda c: sum(_sizes(m.parameters(recurse=False)) for _, m in
                       c.model.named_modules(remove_duplicate=False))),
    "Buffers are in the total (the running means of a BatchNorm). They are no parameters.":
        (lambda c: c.trained + c.frozen + _sizes(c.model.buffers()),
         lambda c: c.trained + c.frozen + sum(b.numel() for b in c.model.buffers() if b.dim())),
    "Only weights are in the total, no biases.":
        (lambda c: _by_name(c.model, ("weight",)),
         lambda c: _sizes(p for n, p in c.model.named_parameters() if "bias" not in n),
         lambda c: _sizes(p for p in c.model.parameters() if p.dim() > 1)),
    "Nothing is left for the total: what model.parameters() gives can be gone through once.":
        (lambda c: 0,),
    "Layers are counted at every level that holds them. Each number is there once.":
        (lambda c: sum(_sizes(m.parameters()) for m in c.model.modules()),),
    "Only the parts of the model are counted, one by one. A parameter may stand on the model "
    "itself, and one matrix in two parts.":
        (lambda c: sum(_sizes(m.parameters()) for m in c.model.children()),
         lambda c: sum(_sizes(m.parameters()) for m in [*c.model.children()] or [c.model])),
    "The total is in bytes, or in thousands. Numbers are asked for.":
        (*(lambda c, u=u: u * (c.trained + c.frozen) for u in (4, 1e-3, 1e-6)),),
    "Only linear layers are in the total. Other parts have numbers too.":
        (lambda c: _sizes(p for m in c.model.modules() if isinstance(m, nn.Linear)
                          for p in m.parameters()),),
    "Only rows are counted in the total.":
        (lambda c: sum(len(p) if p.dim() else 1 for p in c.model.parameters()),),
}
_SHARE_SHARE = {
    "The share is in percent. The first divided by the second is asked for.":
        (lambda c: 100 * c.trained / (c.trained + c.frozen),),
    "The share is of the frozen numbers. It is of all of them, the second number.":
        (lambda c: c.trained / max(c.frozen, 1), lambda c: c.trained / (c.frozen or math.inf),
         lambda c: c.trained / (c.frozen or 1e-9)),
    "The share is the frozen one.":
        (lambda c: c.frozen / (c.trained + c.frozen),),
    "The share is upside down.":
        (lambda c: (c.trained + c.frozen) / max(c.trained, 1),
         lambda c: (c.trained + c.frozen) / c.trained if c.trained else 0),
    "The share is cut to a whole number (//).":
        (lambda c: c.trained // (c.trained + c.frozen),),
    "The share is rounded. The whole quotient is asked for.":
        (*(lambda c, n=n: round(c.trained / (c.trained + c.frozen), n) for n in range(6)),),
    "The share is one of tensors, not of numbers.":
        (lambda c: len(_learning(c.model)) / len([*c.model.parameters()]),),
}
# fmt: on


# --- tuning_parts ---------------------------------------------------------------------

_BITS = {
    "float32": 32,
    "bfloat16": 16,
    "float16": 16,
    "float8": 8,
    "int8": 8,
    "int4": 4,
}
_PARTS = ("frozen", "weights", "gradients", "moments", "master")


class Asked(NamedTuple):
    """What tuning_parts is called with."""

    frozen: float
    trained: float
    precision: str = "float32"
    mixed: bool = False
    frozen_bits: float | None = None


@check(
    costs.tuning_parts,
    proved="The frozen base is there, in bytes and with bits of its own; what learns has its "
    "gradients and moments, nothing else has; full, LoRA and QLoRA add up as counted from bits.",
    also=(costs.measured_parts,),
)
def tuning_parts(answer, draw):
    cases = _tuning_cases(draw)
    found = [(_tuning_ask(answer, case), _tuning_counted(case), case) for case in cases]
    for part in _PARTS:
        rows = [(got[part], want[part], case) for got, want, case in found]
        _name(
            rows,
            _TUNING[part] | _tuning_units(part),
            lambda got, want, case, part=part: (
                f"For {_tuning_said(case)}, {part} takes {got:,.6g} bytes in yours; counted from "
                f"bits it is {want:,.6g}."
            ),
        )
    _tuning_calls(answer)


def _tuning_cases(draw) -> list[Asked]:
    some = torch.randint(10**3, 10**9, (6,), generator=draw).tolist()
    return [
        Asked(1000, 10),
        Asked(7000, 30, "bfloat16"),
        Asked(7000, 30, "bfloat16", True),
        Asked(7000, 30, "bfloat16", True, 4.5),
        Asked(7000, 30, "bfloat16", False, 4),
        Asked(640, 11, "float32", False, 16),
        Asked(640, 11, "float32", True, 8),
        Asked(512, 3, "float16", True, 4.127),
        Asked(4096, 5, "bfloat16", True, 32),  # a base that is wider than what learns
        Asked(0, 50, "float32", True),
        Asked(50, 0, "bfloat16", True),
        Asked(3, 1, "int4"),  # half bytes
        Asked(1, 3, "int4", True, 3),
        Asked(some[0], some[1], "float32", True),
        Asked(float(some[2]), float(some[3]), "float8", True),
        Asked(float(some[4]), float(some[5]), "int8", False, 4.5),
        Asked(0.0, 0.0),
    ]


def _tuning_counted(case: Asked) -> dict[str, float]:
    """From bits, kind by kind of number that is kept."""
    own = _BITS[case.precision]
    slow = 32 if case.mixed else own
    bits = {
        "frozen": [own if case.frozen_bits is None else case.frozen_bits],
        "weights": [own],
        "gradients": [own],
        "moments": [slow, slow],
        "master": [32] if case.mixed else [],
    }
    numbers = dict.fromkeys(bits, case.trained) | {"frozen": case.frozen}
    return {part: numbers[part] * sum(each) / 8 for part, each in bits.items()}


def _tuning_said(case: Asked) -> str:
    mixed = ", mixed" if case.mixed else ""
    bits = "" if case.frozen_bits is None else f", frozen_bits {case.frozen_bits}"
    return f"{case.frozen:,} frozen and {case.trained:,} trained, {case.precision}{mixed}{bits}"


def _tuning_ask(answer, case: Asked) -> dict[str, float]:
    asked = list(case)
    for default in (None, False, "float32"):  # a call says no more than it must
        if asked[-1] != default or len(asked) == 2:
            break
        asked.pop()
    try:
        got = ask(answer, *asked)
    except TypeError as error:
        expect(
            case.frozen_bits is not None or "NoneType" not in str(error),
            f"It stopped for {_tuning_said(case)}: frozen_bits is None there. Then the frozen "
            "numbers have the given precision.",
        )
        raise
    if not isinstance(got, dict):
        raise CheckFailed(
            f"It returned {_described(got)}; a dictionary of bytes is wanted, with the entries "
            f"{', '.join(_PARTS)}."
        )
    missing = [part for part in _PARTS if part not in got]
    expect(
        missing != ["frozen"],
        "The dictionary has no entry frozen. The frozen base is still in memory, or there would be "
        "nothing to tune.",
    )
    expect(not missing, f"The dictionary has no entry {', '.join(missing)}.")
    others = [str(name) for name in got if name not in _PARTS]
    expect(
        not others,
        f"The dictionary has an entry {', '.join(others)} as well. Only {', '.join(_PARTS)} are "
        "asked for, and a sum over all entries would count too much.",
    )
    return {part: number(got[part], f"the bytes of {part}") for part in _PARTS}


def _own(c: Asked) -> float:
    return _BITS[c.precision] / 8


def _slow(c: Asked) -> float:
    return 4 if c.mixed else _own(c)


def _bits(c: Asked) -> float:
    return _BITS[c.precision] if c.frozen_bits is None else c.frozen_bits


def _all(c: Asked) -> float:
    return c.frozen + c.trained


# fmt: off
_QUANTISED = (
    "frozen_bits reaches what learns. QLoRA squeezes the base alone; adapters, and all that their "
    "training keeps, have the given precision."
)
_FOR_ALL = (
    "for frozen numbers too. What does not learn has no gradient, and so no moments and no second "
    "copy either."
)
_TUNING = {  # part -> mistake -> what it gives
    "frozen": {
        "The frozen base takes no bytes in yours. Frozen is not gone: it is read in every step. "
        "(Without it LoRA seems to need a hundredth of the memory.)":
            (lambda c: 0,),
        "frozen_bits makes no difference. If it is given, the frozen numbers have as many bits.":
            (lambda c: c.frozen * _own(c),),
        "frozen_bits has a say only where they are few, or fewer than the precision's. If it is "
        "given, the frozen numbers have as many bits.":
            (lambda c: c.frozen * min(_bits(c) / 8, _own(c)),
             *(lambda c, n=n: c.frozen * (_own(c) if _bits(c) > n else _bits(c) / 8)
               for n in (8, 16))),
        "frozen_bits is taken for bytes. A byte has 8 bits.":
            (lambda c: c.frozen * (_own(c) if c.frozen_bits is None else c.frozen_bits),),
        "The frozen part is in bits. A byte has 8 of them.":
            (lambda c: c.frozen * _bits(c), lambda c: c.frozen * 8 * _bits(c),
             lambda c: c.frozen * (_own(c) if c.frozen_bits is None else 8 * c.frozen_bits)),
        "The precision's bytes are divided by 8 as if they were bits. number_bytes gives bytes, "
        "frozen_bits are bits.":
            (lambda c: c.frozen * (_own(c) if c.frozen_bits is None else c.frozen_bits) / 8,),
        "A frozen number is cut to whole bytes (// or int). 4 bits are half a byte, 4.5 a little "
        "more.":
            (lambda c: c.frozen * (_bits(c) // 8), lambda c: c.frozen * _bits(c) // 8,
             lambda c: c.frozen * (_own(c) if c.frozen_bits is None else c.frozen_bits // 8),
             lambda c: c.frozen * (int(_bits(c)) / 8), lambda c: int(c.frozen * _bits(c) / 8),
             lambda c: round(c.frozen * _bits(c) / 8),
             lambda c: c.frozen * _own(c) if c.frozen_bits is None else c.frozen * c.frozen_bits // 8,
             lambda c: c.frozen * max(_bits(c) // 8, 1), lambda c: c.frozen * math.ceil(_bits(c) / 8)),
        "The frozen part counts what learns as well. That is `weights`.":
            (lambda c: _all(c) * _bits(c) / 8, lambda c: _all(c) * _own(c)),
        "frozen is taken for the number of all: what learns is subtracted. frozen counts the "
        "frozen ones alone.":
            (lambda c: (c.frozen - c.trained) * _bits(c) / 8,),
        "The frozen part is counted with `trained`, or the two are exchanged.":
            (lambda c: c.trained * _bits(c) / 8, lambda c: c.trained * _own(c)),
        "The frozen numbers have 32 bits when mixed. They take no steps, so they need no wide "
        "copy: the given precision, or frozen_bits.":
            (lambda c: c.frozen * (_slow(c) if c.frozen_bits is None else c.frozen_bits / 8),
             lambda c: c.frozen * _slow(c),
             lambda c: c.frozen * (_bits(c) / 8 + (4 if c.mixed else 0)),
             lambda c: c.frozen * (_own(c) + (4 if c.mixed else 0)) if c.frozen_bits is None
             else c.frozen * c.frozen_bits / 8),
        "The frozen part does not follow the precision: without frozen_bits it has the given one.":
            (*(lambda c, n=n: c.frozen * (n if c.frozen_bits is None else c.frozen_bits / 8)
               for n in (4, 2, 0.5, 4.5 / 8, 0)), lambda c: 4 * c.frozen, lambda c: 2 * c.frozen),
        "The frozen part holds gradients or moments as well. Frozen numbers need their own bytes "
        "only.":
            (lambda c: c.frozen * (_bits(c) / 8 + _own(c)), lambda c: c.frozen * 2 * _bits(c) / 8,
             lambda c: c.frozen * 4 * _bits(c) / 8, lambda c: c.frozen * 4 * _own(c),
             lambda c: c.frozen * (_bits(c) / 8 + 3 * _own(c))),
        "The frozen part is one of bytes for each number: how many numbers are there?":
            (lambda c: _bits(c) / 8, lambda c: _own(c)),
        "The frozen numbers are counted as they are. Each takes some bytes.":
            (lambda c: c.frozen,),
    },
    "weights": {
        "The weights hold the frozen ones as well, which then count twice: they have an entry of "
        "their own.":
            (lambda c: _all(c) * _own(c), lambda c: c.trained * _own(c) + c.frozen * _bits(c) / 8),
        _QUANTISED: (lambda c: c.trained * _bits(c) / 8,),
        "The weights are counted with `frozen`. They are those that learn.":
            (lambda c: c.frozen * _own(c), lambda c: c.frozen * _bits(c) / 8),
        "The weights that learn take no bytes. They have an entry of their own beside the frozen.":
            (lambda c: 0,),
        "The precision does not reach the weights that learn. Hand it on to training_parts.":
            (lambda c: 4 * c.trained, lambda c: 2 * c.trained),
        "mixed makes the weights wide. That is what `master` is for.":
            (lambda c: c.trained * _slow(c), lambda c: c.trained * (_own(c) + (4 if c.mixed else 0))),
    },
    "gradients": {
        "Gradients are counted " + _FOR_ALL:
            (lambda c: _all(c) * _own(c),
             lambda c: c.trained * _own(c) + c.frozen * _bits(c) / 8),
        "Gradients are counted for the frozen numbers alone. They belong to those that learn.":
            (lambda c: c.frozen * _own(c), lambda c: c.frozen * _bits(c) / 8),
        _QUANTISED: (lambda c: c.trained * _bits(c) / 8,),
        "There are no gradients. What learns has one for each number.":
            (lambda c: 0,),
        "Gradients are wide when mixed. They have the given precision.":
            (lambda c: c.trained * _slow(c),),
        "The precision does not reach the gradients.":
            (lambda c: 4 * c.trained, lambda c: 2 * c.trained),
        "There are two gradients for each number. The two are moments.":
            (lambda c: 2 * c.trained * _own(c),),
    },
    "moments": {
        "The optimiser's moments are counted " + _FOR_ALL:
            (lambda c: 2 * _all(c) * _slow(c), lambda c: 2 * _all(c) * _own(c),
             lambda c: 2 * (c.trained * _slow(c) + c.frozen * _bits(c) / 8)),
        "The optimiser's moments are counted for the frozen numbers alone.":
            (lambda c: 2 * c.frozen * _slow(c), lambda c: 2 * c.frozen * _own(c)),
        "mixed makes no difference to the moments. They stay in 32 bits then; hand it on to "
        "training_parts.":
            (lambda c: 2 * c.trained * _own(c),),
        _QUANTISED:
            (lambda c: 2 * c.trained * (4 if c.mixed else _bits(c) / 8),
             lambda c: 2 * c.trained * _bits(c) / 8),
        "The moments have 32 bits although nothing is mixed.":
            (lambda c: 8 * c.trained,),
        "There is one moment. AdamW has two.":
            (lambda c: c.trained * _slow(c),),
        "There are no moments. AdamW keeps two numbers for each one that learns.":
            (lambda c: 0,),
        "mixed works the other way round.":
            (lambda c: 2 * c.trained * (_own(c) if c.mixed else 4),),
        "The precision does not reach the moments.":
            (lambda c: 2 * c.trained * 4, lambda c: 2 * c.trained * 2),
    },
    "master": {
        "A master copy is counted " + _FOR_ALL:
            (lambda c: 4 * _all(c) if c.mixed else 0,),
        "mixed makes no difference to the master copy: it is there whenever something is mixed, "
        "in 32 bits; hand it on to training_parts.":
            (lambda c: 0,),
        "There is a master copy although nothing is mixed.":
            (lambda c: 4 * c.trained,),
        "There is a master copy of the frozen numbers. They take no steps.":
            (lambda c: 4 * c.frozen if c.mixed else 0,),
        "The master copy has the given precision. It is there to be wide.":
            (lambda c: c.trained * _own(c) if c.mixed else 0,),
    },
}
# fmt: on


def _tuning_units(part: str) -> dict[str, tuple]:
    def times(factor: float) -> Callable:
        return lambda c: factor * _tuning_counted(c)[part]

    units = [times(unit**-power) for unit in (1000, 1024) for power in (1, 2, 3)]
    return {
        f"{part} is divided, into kilo-, mega- or gigabytes. Bytes are asked for.": (
            *units,
        ),
        f"{part} is in bits. A byte has 8 of them.": (times(8),),
        f"{part} is divided by 8, and was in bytes already.": (times(1 / 8),),
        f"{part} is rounded or cut to a whole number.": (
            lambda c: round(_tuning_counted(c)[part]),
            lambda c: int(_tuning_counted(c)[part]),
            lambda c: math.ceil(_tuning_counted(c)[part]),
        ),
        f"{part} is cut to whole bytes for each number.": (
            lambda c: c.trained * (_tuning_counted(c)[part] / (c.trained or 1) // 1),
        ),
    }


def _tuning_calls(answer) -> None:
    case = Asked(900, 7, "bfloat16", True, 4.5)
    named = ask(answer, **dict(reversed(case._asdict().items())))
    want = _tuning_counted(case)
    expect(
        all(_same(number(named[part], part), want[part]) for part in _PARTS),
        "Called with names, in another order, it gives other bytes.",
    )
    answer(5, 6)
    expect(
        all(_same(number(named[part], part), want[part]) for part in _PARTS),
        "A second call changed what the first one had returned: both share one dictionary. Make a "
        "new one in each call.",
    )
