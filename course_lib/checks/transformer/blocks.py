"""Checks of lesson 01, the pieces of a block: RMSNorm, SwiGLU and Block.

The answers are classes. Each is built from a small config, gets weights that fit on paper, and is
then called; what a block calls are stand-ins that take notes. One table of mistakes serves all
inputs.
"""

import functools
import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib import transformer
from course_lib.checks.asking import (
    NO_GRADIENT,
    ask,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
    unchanged,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check

# --- the pieces of a block ----------------------------------------------------------------------


def _piece_diagnose(
    got: Tensor,
    want: Tensor,
    mistakes: Callable[[], dict[str, Tensor | tuple[Tensor, ...]]],
    otherwise: str,
    rtol: float = 1e-5,
) -> None:
    """As diagnose; the table of mistakes is made only when it is needed."""
    if not close(got, want, rtol):
        diagnose(got, want, mistakes(), otherwise, rtol)


def _piece_is_random(module: nn.Module, x: Tensor) -> None:
    """Fail if one and the same input gives different numbers twice."""
    with torch.no_grad():
        first, again = module(x), module(x)
    expect(
        not isinstance(first, Tensor)
        or not isinstance(again, Tensor)
        or first.shape != again.shape
        or close(first, again),
        "The result is random: the same vectors give different numbers when asked twice. Is there "
        "a dropout, or a layer that is made anew in forward?",
    )


# --- RMSNorm ------------------------------------------------------------------------------------


@check(
    transformer.RMSNorm,
    methods=("forward",),
    proved="It gives the paper numbers, eps decides for small vectors, 16-bit floats do not "
    "overflow, and values and gradients agree with torch's.",
)
def RMSNorm(answer, draw):
    _rms_norm_on_paper(answer)
    _rms_norm_of_small_vectors(answer, draw)
    _rms_norm_in_sixteen_bits(answer, draw)
    _rms_norm_of_any_shape(answer, draw)
    # not in one piece in memory
    cube = 2 * torch.randn(2, 4, 5, generator=draw).mT + 0.5
    weight = torch.randn(4, generator=draw) + 0.2
    norm = _rms_norm_with(answer, weight, 0.03)
    _piece_diagnose(
        ask_tensor(norm, cube, shape=(2, 5, 4)),
        _rms_norm_slowly(cube, weight, 0.03),
        functools.partial(_rms_norm_mistakes, cube, weight, 0.03),
        "On random vectors it differs from doing the same number by number. Is every vector "
        "treated alike, and on its own?",
    )
    _rms_norm_gradients(norm, cube, torch.randn(2, 5, 4, generator=draw))


def _rms_norm_with(
    answer: type, weight: Tensor, eps: float, dtype: torch.dtype = torch.float32
) -> nn.Module:
    config = transformer.Config(
        width=len(weight), heads=1, kv_heads=1, norm_eps=eps, positions="learned"
    )
    norm = answer(config)
    own = getattr(norm, "weight", None)
    extra = sorted(set(norm.state_dict()) - {"weight"}) if own is not None else []
    expect(
        not extra,
        f"There is more to load than `weight`: {', '.join(extra)}. __init__ was given, and RMSNorm "
        "has nothing else to learn.",
    )
    expect(
        isinstance(own, nn.Parameter) and own.shape == weight.shape,
        "RMSNorm should have one weight for each of the D numbers, an nn.Parameter called "
        "`weight`. The lines of __init__ were given: did one get lost?",
    )
    expect(
        bool((own == 1).all()),
        "A fresh RMSNorm has weights other than 1. The lines of __init__ were given: ones, so that "
        "at first it only normalises.",
    )
    with torch.no_grad():
        own.copy_(weight)
    return norm.to(dtype)


def _rms_norm_slowly(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    rows = []
    for row in x.double().reshape(-1, x.shape[-1]).tolist():
        size = math.sqrt(sum(number * number for number in row) / len(row) + eps)
        rows.append(
            [
                number / size * own
                for number, own in zip(row, weight.tolist(), strict=True)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64).reshape(x.shape)


def _rms_norm_on_paper(answer) -> None:
    x = torch.tensor(
        [
            [[1.0, -2.0, 2.0], [4.0, 0.0, -3.0]],
            [[0.5, 2.5, 1.0], [-6.0, 1.0, 3.0]],
        ]
    )
    shapes = {
        (2, 2): "Each vector became one number; D numbers go in and D come out.",
        (2, 2, 1): "This is one number per vector. The vector is asked for.",
    }
    # fmt: off
    steps = (
        ((1.0, 1.0, 1.0), 1e-5,
         "The vector (1, -2, 2) has mean square 3, so it should become (0.577, -1.15, 1.15); yours "
         "is {}. Go through it with your own lines: squares, their mean, its root."),
        ((1.0, 1.0, 1.0), 6.0,
         "With eps 6 the vector (1, -2, 2) should become (0.333, -0.667, 0.667), since 3 + 6 is 9; "
         "yours is {}. Where does eps come in, and how often?"),
        ((2.0, 3.0, -1.0), 6.0,
         "With eps 6 and weights 2, 3 and -1 the vector (1, -2, 2) should become (0.667, -2, "
         "-0.667); yours is {}. Without weights it was right."),
    )
    # fmt: on
    for numbers, eps, otherwise in steps:
        weight = torch.tensor(numbers)
        norm = _rms_norm_with(answer, weight, eps)
        own = norm.weight
        got = ask_tensor(norm, x, shape=(2, 2, 3), shapes=shapes)
        expect(
            norm.weight is own and torch.equal(own, weight),
            "The weight is overwritten in forward. It is made once, in __init__, and what it "
            "learned would be lost.",
        )
        first = ", ".join(f"{number:.3g}" for number in got[0, 0].tolist())
        _piece_diagnose(
            got,
            _rms_norm_slowly(x, weight, eps),
            functools.partial(_rms_norm_mistakes, x, weight, eps),
            otherwise.format(f"({first})"),
        )


def _rms_norm_mistakes(
    x: Tensor, weight: Tensor, eps: float
) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """What is given by each known mistake; x (B, T, D)."""
    x, weight, D = x.double(), weight.double(), x.shape[-1]
    square = x.pow(2).mean(-1, keepdim=True)
    root, plain = (square + eps).sqrt(), square.sqrt()
    centred, right = x - x.mean(-1, keepdim=True), x / (square + eps).sqrt()
    spreads = [x.var(-1, correction=c, keepdim=True) for c in (0, 1)]
    size, largest = x.abs().mean(-1, keepdim=True), x.abs().amax(-1, keepdim=True)
    total = x.pow(2).sum(-1, keepdim=True)

    def over(*dims: int) -> Tensor:
        return x / (x.pow(2).mean(dims, keepdim=True) + eps).sqrt() * weight

    def weighted(*results: Tensor) -> tuple[Tensor, ...]:
        return tuple(result * weight for result in results)

    # fmt: off
    return {
        "eps is added outside the root. There it hardly matters; under the root it decides what "
        "becomes of small vectors, and weights trained with one do not fit the other.":
            weighted(x / (plain + eps), x * (1 / plain + eps), x / plain + eps),
        "The config's eps makes no difference here: it is missing, or a constant was typed in, "
        "perhaps even outside the root. Which name did __init__ give it?":
            weighted(*(x / (square + c).sqrt() for c in (0, 1e-5, 1e-6, 1e-8, 1e-12)),
                     *(x / ((square + c).sqrt() + d) for c in (0, 1e-5) for d in (1e-8, 1e-6))),
        "eps is used as a lower bound. It should be added for every vector, not only for small "
        "ones.":
            weighted(x / square.clamp(min=eps).sqrt(), x / plain.clamp(min=eps),
                     x * math.sqrt(D) / total.sqrt().clamp(min=eps)),
        "eps is added in another place than to the mean square (to the numbers, to their sum), or "
        "it is squared.":
            weighted(x / ((total + eps) / D).sqrt(), x / (square + D * eps).sqrt(),
                     x / (square + eps**2).sqrt(), x / (square + math.sqrt(eps)).sqrt(),
                     (x + eps) / plain,
                     (x + eps) / (x + eps).pow(2).mean(-1, keepdim=True).sqrt()),
        "eps is used twice, under the root and outside it.":
            weighted(x / (root + eps)),
        "eps is subtracted; then the root can fail.":
            weighted(x / (square - eps).sqrt()),
        "The mean is subtracted: this is a LayerNorm, or half of one. RMSNorm leaves the mean "
        "where it is and looks at the size only.":
            weighted(*(centred / (spread + e).sqrt() for spread in spreads for e in (0, eps)),
                     *(centred / (spread.sqrt() + eps) for spread in spreads),
                     centred / root, centred / plain),
        "The vector is divided by its spread (std or var), and a spread is measured from the mean. "
        "RMSNorm measures from zero.":
            weighted(*(x / (spread + e).sqrt() for spread in spreads for e in (0, eps)),
                     *(x / (spread.sqrt() + eps) for spread in spreads),
                     *(x / (spread + eps) for spread in spreads)),
        "The mean is taken over all numbers of the tensor. Every vector has a size of its own.":
            (over(0, 1, 2), x / x.pow(2).mean().sqrt() * weight),
        "The mean is taken over time, so tokens read each other, and early ones see later ones. "
        "Every vector is normalised on its own, along its D numbers.":
            (over(1), over(1, 2)),
        "The mean is taken over the batch, so texts read each other. Every vector is normalised on "
        "its own, along its D numbers.":
            (over(0), over(0, 1), over(0, 2)),
        "The squares are added up where their mean is asked for: every vector has length 1, not "
        "about the root of D.":
            weighted(x / (total + eps).sqrt(), x / (total.sqrt() + eps), x / total.sqrt()),
        "The sum of squares is divided by a wrong count: by D - 1, by the root of D, or by D "
        "outside the root.":
            weighted(x / (total / max(D - 1, 1) + eps).sqrt(),
                     x / (total / math.sqrt(D) + eps).sqrt(),
                     x * D / (total + eps).sqrt(), x * D / (total.sqrt() + eps),
                     x / (square / D + eps).sqrt()),
        "The root is missing: the vector is divided by its mean square.":
            weighted(x / (square + eps)),
        "The root was taken twice, or of something that had one already.":
            weighted(x / root.sqrt(), x / (plain + eps).sqrt()),
        "The vector is multiplied by its size. Large vectors should become smaller.":
            weighted(x * root, x * plain, x * (square + eps)),
        "The vector goes in squared: the squares are for its size only.":
            weighted(x**2 / root, x**2 / (square + eps)),
        "First the mean, then the square: numbers of different signs cancel. Square them before "
        "averaging.":
            weighted(x / (x.mean(-1, keepdim=True).pow(2) + eps).sqrt(),
                     x / (x.mean(-1, keepdim=True) + eps)),
        "The size is measured by absolute values (their mean, their sum, the largest). RMSNorm "
        "goes through the squares.":
            weighted(*(x / (s + e) for s in (size, size * D, largest) for e in (0, eps)),
                     x / (size + eps).sqrt(), x / x.amax(-1, keepdim=True)),
        "The signs are lost. Only the size of a vector changes, not its direction.":
            weighted(right.abs()),
        "These are the sizes of the vectors, or their inverses. The vectors themselves are asked "
        "for.":
            weighted(*(s.expand_as(x) for s in (root, 1 / root, square + eps))),
        "The weight is missing: each of the D numbers has one of its own.":
            right,
        "The weight is added; it should be a factor.":
            (right + weight, x + weight, weight + right * weight),
        "1 was added to the weight. (Gemma's files store it that way; here weights start at 1 as "
        "they are.)":
            right * (1 + weight),
        "The numbers are divided by the weight; it should be a factor.":
            right / weight,
        "The weight goes in before the size is measured, so it changes the size. Weigh what is "
        "normalised already.":
            (x * weight / ((x * weight).pow(2).mean(-1, keepdim=True) + eps).sqrt(),
             x * weight**2 / ((x * weight).pow(2).mean(-1, keepdim=True) + eps).sqrt(),
             x / ((x * weight).pow(2).mean(-1, keepdim=True) + eps).sqrt(),
             x / (weight * square + eps).sqrt()),
        "The weight went in twice.":
            right * weight**2,
        "Only the first weight is used, or one for all numbers. Each of the D numbers has its own.":
            (right * weight[0], right * weight.mean(), right * weight.sum()),
        "The vectors came back as they were, weighed perhaps, but not normalised.":
            (x, x * weight),
        "The vector that went in is added to the result. That is the block's work; a norm only "
        "normalises.":
            x + right * weight,
        "The vectors went through a softmax or a squashing function. They should only change their "
        "length.":
            (*weighted(x.softmax(-1), x.tanh(), x.sigmoid()), right.softmax(-1) * weight),
    }
    # fmt: on


def _rms_norm_of_small_vectors(answer, draw: torch.Generator) -> None:
    weight = torch.tensor([1.0, -2.0, 0.5])
    direction = torch.rand(1, 2, 3, generator=draw) + 0.5
    norm = _rms_norm_with(answer, weight, 1e-5)
    for scale in (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        small = scale * direction
        got = ask_tensor(norm, small, shape=(1, 2, 3))
        want, unit = _rms_norm_slowly(small, weight, 1e-5), min(1.0, scale / 3e-3)
        if close(got / unit, want / unit):  # unit: so that atol is small beside it
            continue
        mistakes = _rms_norm_mistakes(small, weight, 1e-5)
        named = {
            mistake: tuple(result / unit for result in results)
            if isinstance(results, tuple)
            else results / unit
            for mistake, results in mistakes.items()
            if "eps" in mistake
        }
        diagnose(
            got / unit,
            want / unit,
            named,
            f"Vectors of size {scale:g} come out wrong, larger ones are right. Under the root eps "
            "decides for them; is there a clamp, a threshold, or another constant?",
        )
    got = ask_tensor(norm, torch.zeros(1, 1, 3), shape=(1, 1, 3))
    expect(
        close(got, torch.zeros(1, 1, 3)),
        f"A vector of zeros becomes {got.flatten().tolist()}; it should stay 0. Is something "
        "divided by 0?",
    )
    gradient = ask_gradient(norm, torch.zeros(1, 1, 3))
    expect(
        close(gradient, weight / math.sqrt(1e-5), atol=1e-2),
        "At a vector of zeros the value is right, but the gradient is "
        f"{gradient.flatten().tolist()}. Is a root taken before eps is added? Its slope at 0 is "
        "infinite.",
    )


def _rms_norm_in_sixteen_bits(answer, draw: torch.Generator) -> None:
    ones = torch.ones(2)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        norm, name = _rms_norm_with(answer, ones, 1e-5, dtype), str(dtype)[6:]
        try:
            got = ask_tensor(
                norm, torch.tensor([[[3.0, 4.0]]], dtype=dtype), shape=(1, 1, 2)
            )
        except RuntimeError as error:
            raise CheckFailed(
                f"With numbers and weights of {name} it stops: {error}. Which of your lines has a "
                "type of its own?"
            ) from error
        expect(
            got.dtype == dtype,
            f"Numbers and weights of {name} come back as {str(got.dtype)[6:]}. Compute in float32 "
            "at least, but return the type of x.",
        )
        expect(
            close(
                got,
                torch.tensor([[[0.848528, 1.131370]]]),
                rtol=1e-2 if dtype != torch.float64 else 1e-5,
            ),
            f"In {name} the vector (3, 4) becomes {[round(n, 3) for n in got.flatten().tolist()]}; "
            "in float32 it was right.",
        )
    half = _rms_norm_with(answer, ones, 1e-5, torch.float16)
    for x in ((300.0, 400.0), (60000.0, 45000.0)):
        got = ask_tensor(
            half, torch.tensor([[x]], dtype=torch.float16), shape=(1, 1, 2)
        )
        expect(
            close(got, _rms_norm_slowly(torch.tensor([[x]]), ones, 1e-5), rtol=5e-2),
            f"In 16-bit floats the vector ({x[0]:g}, {x[1]:g}) becomes "
            f"{[round(n, 3) for n in got.flatten().tolist()]}. The square of 300 is too large for "
            "float16 and overflows to infinity: make x wider before it is squared, and stay wide "
            "until the end.",
        )
    tiny = ask_tensor(
        _rms_norm_with(answer, ones, 1e-8, torch.float16),
        torch.tensor([[[1e-4, 1e-4]]], dtype=torch.float16),
        shape=(1, 1, 2),
    )
    expect(
        close(tiny, torch.full((1, 1, 2), math.sqrt(0.5)), rtol=5e-3),
        f"With eps 1e-8 in float16 the vector (0.0001, 0.0001) becomes {tiny.flatten().tolist()} "
        "instead of 0.707 twice. 1e-8 is 0 in float16, so eps has to be added in float32.",
    )
    for dtype in (torch.bfloat16, torch.float16):
        norm, name = _rms_norm_with(answer, torch.ones(6), 1e-5, dtype), str(dtype)[6:]
        x = (torch.rand(1, 40, 6, generator=draw) + 0.2).to(dtype)
        want = _rms_norm_slowly(x, torch.ones(6), 1e-5).to(dtype)
        off = (ask_tensor(norm, x, shape=(1, 40, 6)) != want).double().mean()
        expect(
            off < 0.02,
            f"In {name} {off:.0%} of the numbers are off in the last digit. Something (the "
            "squares, the mean, the root) was rounded to 16 bits on the way; go back to the type "
            "of x when the division is done.",
        )


def _rms_norm_of_any_shape(answer, draw: torch.Generator) -> None:
    weight = torch.tensor([1.0, 0.5, -2.0])
    norm = _rms_norm_with(answer, weight, 0.1)
    for shape in ((3,), (4, 3), (1, 1, 3), (2, 4, 5, 3)):
        x = torch.randn(*shape, generator=draw)
        said = f"On a tensor (B, T, D) it is right, but not on one of shape {shape}"
        why = (
            "Only the last dimension has a meaning here, however many stand before it."
        )
        try:
            got = ask(norm, x)
        except (ValueError, IndexError, RuntimeError) as error:
            raise CheckFailed(f"{said} ({error}). {why}") from error
        expect(
            isinstance(got, Tensor)
            and got.shape == x.shape
            and close(got, _rms_norm_slowly(x, weight, 0.1)),
            f"{said}. {why}",
        )


def _rms_norm_gradients(norm: nn.Module, x: Tensor, weights: Tensor) -> None:
    leaf, own = (
        x.clone().requires_grad_(),
        norm.weight.detach().clone().requires_grad_(),
    )
    (functional.rms_norm(leaf, own.shape, own, 0.03) * weights).sum().backward()
    expect(
        close(ask_gradient(norm, x, weights), leaf.grad, rtol=1e-4, atol=1e-5),
        "The values are right, but the gradient is not. The size of a vector depends on the "
        "vector: was it detached, or taken under no_grad?",
    )
    (gradient,) = torch.autograd.grad(
        (norm(leaf) * weights).sum(), norm.weight, allow_unused=True
    )
    expect(
        gradient is not None and close(gradient, own.grad, rtol=1e-4, atol=1e-5),
        "The values are right, but the weight gets no gradient, or a wrong one, and would never be "
        "trained. Use self.weight itself, not its .data or a detached copy.",
    )


# --- SwiGLU -------------------------------------------------------------------------------------


@check(
    transformer.SwiGLU,
    methods=("__init__", "forward"),
    proved="Three layers with the agreed names and sizes, biases only on request, and the paper "
    "numbers: the gate decides how much of the other half passes.",
)
def SwiGLU(answer, draw):
    bare = transformer.Config(width=6, hidden=14, heads=1, kv_heads=1, qkv_bias=True)
    _swiglu_layers(answer(bare), bare)
    other = transformer.Config(width=8, hidden=4, heads=1, kv_heads=1, bias=True)
    _swiglu_layers(answer(other), other)
    expect(
        answer(bare).gate is not answer(bare).gate,
        "Two MLPs of one model share a layer. Each needs its own: make the layers in __init__, "
        "with self.",
    )
    _swiglu_on_paper(answer)
    _swiglu_on_random_numbers(answer, draw)
    _swiglu_far_out(answer)


def _swiglu_layers(mlp: nn.Module, config: transformer.Config) -> None:
    expect(
        isinstance(mlp, nn.Module),
        "SwiGLU is not an nn.Module. The first line, class SwiGLU(nn.Module), was given.",
    )
    D, F = config.width, config.hidden
    found = {
        name: layer
        for name, layer in mlp.named_modules()
        if isinstance(layer, nn.Linear)
    }
    for name in ("gate", "up", "down"):
        _swiglu_is_there(mlp, name, found)
    for name in ("gate", "up", "down"):
        layer = getattr(mlp, name)
        ends = (layer.in_features, layer.out_features)
        want = (F, D) if name == "down" else (D, F)
        expect(ends == want, _swiglu_wrong_size(name, ends, want, config))
        expect(
            tuple(layer.weight.shape) == want[::-1],
            f"The weight of {name} has a wrong shape.",
        )
        expect(
            (layer.bias is not None) == config.bias,
            f"config.bias is {config.bias}, and {name} has {'no' if config.bias else 'a'} bias. "
            "nn.Linear has a bias unless told otherwise; all three layers follow config.bias, and "
            "no other setting.",
        )
    frozen = [name for name, own in mlp.named_parameters() if not own.requires_grad]
    expect(
        not frozen,
        f"{', '.join(frozen)} is frozen (requires_grad is False), so it would never be trained.",
    )
    expect(
        len({id(mlp.gate.weight), id(mlp.up.weight), id(mlp.down.weight)}) == 3,
        "Two of the three layers share their weights: they are one layer under two names, and "
        "would learn the same.",
    )
    names = {
        f"{name}.{part}"
        for name in ("gate", "up", "down")
        for part in ("weight", "bias")
    }
    extra = sorted(set(mlp.state_dict()) - names)
    expect(
        not extra,
        f"There are more weights than three layers have: {', '.join(extra)}. Weights are loaded by "
        "name, and these stand in no file.",
    )


def _swiglu_is_there(mlp: nn.Module, name: str, found: dict[str, nn.Module]) -> None:
    layer = getattr(mlp, name, None)
    if isinstance(layer, nn.Linear):
        return
    if layer is not None:
        raise CheckFailed(
            f"{name} is a {type(layer).__name__}; a linear layer (nn.Linear) is wanted. Weights "
            "are loaded by name."
        )
    if len(found) == 1:
        raise CheckFailed(
            "There is only one linear layer, which is cut in two perhaps. So it was once "
            "published: without a hidden width of its own and without a way back to the stream it "
            "is no MLP at all. Three layers are wanted: gate, up, down."
        )
    if name == "down" and set(found) == {"gate", "up"}:
        raise CheckFailed(
            "There is no layer called down. Without it what comes out does not lead back to the "
            "stream's width, and the hidden numbers are never mixed."
        )
    there = (
        f"there are {', '.join(found)}"
        if found
        else "there is none that PyTorch can see"
    )
    raise CheckFailed(
        f"There is no linear layer called {name}; {there}. Names matter: shipped weights are "
        "loaded by name. Layers in a plain list or dict, or under another name, are not found, and "
        "neither are layers that forward makes."
    )


def _swiglu_wrong_size(
    name: str, ends: tuple[int, int], want: tuple[int, int], config: transformer.Config
) -> str:
    D = config.width
    if ends == want[::-1]:
        why = "It is turned round: nn.Linear takes what goes in first, then what comes out."
    elif ends == (D, D):
        why = "The hidden width is config.hidden, a width of its own."
    elif 2 * config.hidden in ends or 2 * D in ends:
        why = "Gate and up are two layers here, not one of twice the width."
    else:
        why = "The sizes are config.width and config.hidden; nothing is computed or typed in."
    return (
        f"{name} leads from {ends[0]} to {ends[1]} numbers; from {want[0]} to {want[1]} is "
        f"wanted. {why}"
    )


def _swiglu_mistakes(
    x: Tensor, mlp: dict[str, Tensor]
) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """What is given by each known mistake; x (B, T, D), mlp the weights by their names."""

    def layer(name: str, x: Tensor, biased: bool = True) -> Tensor:
        return functional.linear(
            x, mlp[f"{name}.weight"], mlp.get(f"{name}.bias") if biased else None
        )

    down = functools.partial(layer, "down")
    gate, up = layer("gate", x), layer("up", x)
    silu = functional.silu
    right = down(silu(gate) * up)
    F = functional
    relatives = (
        F.relu,
        F.relu6,
        F.leaky_relu,
        F.elu,
        F.selu,
        F.softplus,
        F.hardswish,
        F.mish,
    )
    bare_gate, bare_up = layer("gate", x, False), layer("up", x, False)
    # fmt: off
    return {
        "silu went on `up`, and `gate` passes as it is: the two have changed places. Shipped "
        "weights would give nonsense.":
            down(gate * silu(up)),
        "silu went on both halves. It belongs on the gate only.":
            (down(silu(gate) * silu(up)), down(silu(silu(gate) * silu(up)))),
        "silu is missing: without it this is only a product of two linear layers.":
            down(gate * up),
        "silu came too late: it goes on the gate, before the product.":
            (down(silu(gate * up)), down(silu(gate + up)), silu(down(gate * up))),
        "The gate went through a plain sigmoid. silu is another function: it lets large numbers "
        "through.":
            (down(gate.sigmoid() * up), down(gate * up.sigmoid())),
        "The gate went through a gelu; silu has another shape. (With gelu the layer is called "
        "GEGLU.)":
            (*(down(F.gelu(gate, approximate=form) * up) for form in ("none", "tanh")),
             down(gate * torch.sigmoid(1.702 * gate) * up)),
        "The gate went through a relu or a relative of it; silu is smooth and dips below 0.":
            tuple(down(form(gate) * up) for form in relatives),
        "The gate went through a tanh or a softmax; silu is another function, number by number.":
            (down(gate.tanh() * up), down(gate.softmax(-1) * up)),
        "silu was applied twice to the gate.":
            (down(silu(silu(gate)) * up), down(silu(gate).sigmoid() * up)),
        "The two halves are added (or subtracted). The gate should decide *how much* of the other "
        "half passes.":
            (down(silu(gate) + up), down(gate + silu(up)), down(silu(gate) + silu(up)),
             down(up - silu(gate)), down(silu(gate) - up), down(silu(gate)) + down(up)),
        "The gate is its own other half: `up` makes no difference.":
            (down(silu(gate)), down(silu(gate) * gate), down(gate), down(silu(gate) * silu(gate))),
        "`up` is its own gate: `gate` makes no difference.":
            (down(silu(up)), down(silu(up) * up), down(up)),
        "The halves are divided; a product is wanted.":
            (down(silu(gate) / up), down(up / silu(gate))),
        "Something is applied after down, or just before it. The last layer's numbers are added to "
        "the stream as they are.":
            (*(form(right) for form in (silu, F.relu, F.gelu, torch.tanh, torch.sigmoid)),
             *(down(form(silu(gate) * up)) for form in (silu, F.relu, F.gelu)),
             right.softmax(-1)),
        "x is added to the result. That is the block's work; an MLP only says what to add.":
            (right + x, right * x),
        "The result is normalised. Norms stand in the block, not in the MLP.":
            (F.layer_norm(right, right.shape[-1:]), F.rms_norm(right, right.shape[-1:]),
             down(F.layer_norm(silu(gate) * up, up.shape[-1:])), F.normalize(right, dim=-1)),
        "silu went on x, before the gate's layer. It belongs on what the gate says.":
            (down(layer("gate", silu(x)) * up), down(layer("gate", silu(x)) * layer("up", silu(x))),
             down(silu(layer("gate", silu(x))) * up), down(silu(gate) * layer("up", silu(x)))),
        "The result is scaled by something: only the product goes through down.":
            tuple(right * s for s in (0.5, 2, 1 / math.sqrt(gate.shape[-1]), 1 / gate.shape[-1],
                  1 / math.sqrt(x.shape[-1]))),
        "A bias is left out: was only a layer's weight used?":
            (layer("down", silu(bare_gate) * bare_up, False), layer("down", silu(gate) * up, False),
             down(silu(bare_gate) * up), down(silu(gate) * bare_up),
             down(silu(bare_gate) * bare_up)),
        "The input came back as it was.":
            x,
    }
    # fmt: on


def _swiglu_on_paper(answer) -> None:
    L = math.log(3)
    weights = {
        "gate.weight": torch.tensor([[2.0, -1.0], [L, 0.0], [-3 * L, L]]),
        "up.weight": torch.tensor([[1.0, 2.0], [2.0, 1.0], [0.0, 4.0]]),
        "down.weight": torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]]),
    }
    mlp = answer(transformer.Config(width=2, hidden=3, heads=1, kv_heads=1))
    mlp.load_state_dict(weights)
    x = torch.tensor([[[1.0, 2.0]]])
    shapes = {
        (1, 1, 3): "These are still the hidden numbers: is `down` used?",
        (2,): "squeeze() without a dimension removes every dimension of size 1.",
    }
    try:
        got = ask_tensor(mlp, x, shape=(1, 1, 2), shapes=shapes)
    except RuntimeError as error:
        expect(
            not any(
                words in str(error)
                for words in ("cannot be multiplied", "batch2", "must match the size")
            ),
            f"Two shapes do not fit: {str(error).rstrip('.')}. Gate and up both read x and meet "
            "number by number (no matrix product); down reads what comes of it.",
        )
        raise
    _piece_is_random(mlp, torch.ones(4, 16, 2))
    said = " and ".join(f"{number:.3g}" for number in got.flatten().tolist())
    _piece_diagnose(
        got,
        torch.tensor([[[L, 4 * L]]]),
        functools.partial(_swiglu_mistakes, x, weights),
        "Where gate says 0, log 3 and -log 3, and up says 5, 4 and 8, the result should be 1.1 "
        f"and 4.39; yours is {said}. silu(log 3) is 3/4 of log 3.",
    )


def _swiglu_on_random_numbers(answer, draw: torch.Generator) -> None:
    config = transformer.Config(width=6, hidden=10, heads=1, kv_heads=1, bias=True)
    mlp = answer(config)
    weights = {
        name: torch.randn(tensor.shape, generator=draw)
        for name, tensor in mlp.state_dict().items()
    }
    mlp.load_state_dict(weights)
    x = torch.randn(2, 6, 5, generator=draw).mT  # not in one piece in memory
    first = ask_tensor(mlp, x, shape=(2, 5, 6))
    _piece_is_random(mlp, x)
    expect(
        close(ask_tensor(mlp.eval(), x, shape=(2, 5, 6)), first),
        "After eval() it gives other numbers. An MLP does the same in training and in use.",
    )
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    leaf = x.clone().requires_grad_()
    hidden = [
        functional.linear(leaf, leaves[f"{name}.weight"], leaves[f"{name}.bias"])
        for name in ("gate", "up")
    ]
    product = hidden[0] * hidden[0].sigmoid() * hidden[1]
    want = functional.linear(product, leaves["down.weight"], leaves["down.bias"])
    _piece_diagnose(
        first,
        want.detach(),
        functools.partial(_swiglu_mistakes, x, weights),
        "With biases and random weights it differs from the same steps done with torch's "
        "functions. On paper, with one vector and no bias, it was right.",
        rtol=1e-4,
    )
    push = torch.randn(2, 5, 6, generator=draw)
    (want * push).sum().backward()
    expect(
        close(ask_gradient(mlp, x, push), leaf.grad, rtol=1e-3, atol=1e-4),
        "The values are right, but the gradient is not: was a part detached, or taken under "
        "no_grad?",
    )
    gradients = _swiglu_gradients(mlp, x, push)
    for name, gradient in gradients.items():
        expect(
            gradient is not None
            and close(gradient, leaves[name].grad, rtol=1e-3, atol=1e-4),
            f"The values are right, but {name} gets no gradient, or a wrong one, and would never "
            "be trained. Use the layers themselves, not their .data.",
        )
    got = ask_tensor(mlp.double(), x.double(), shape=(2, 5, 6))
    expect(
        got.dtype == torch.float64 and close(got, want, rtol=1e-4, atol=1e-5),
        f"In double precision it gives {got.dtype}, or other numbers. Which of your lines has a "
        "type of its own?",
    )


def _swiglu_gradients(
    module: nn.Module, x: Tensor, push: Tensor
) -> dict[str, Tensor | None]:
    """The gradient of every weight; None where nothing flows back."""
    names, leaves = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad((module(x) * push).sum(), leaves, allow_unused=True)
    return dict(zip(names, gradients, strict=True))


def _swiglu_far_out(answer) -> None:
    mlp = answer(transformer.Config(width=2, hidden=3, heads=1, kv_heads=1))
    mlp.load_state_dict(
        {
            "gate.weight": torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]),
            "up.weight": torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]),
            "down.weight": torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        }
    )
    for far in (100.0, 1000.0):
        got = ask_tensor(mlp, torch.tensor([[[far, 2.0]]]), shape=(1, 1, 2))
        expect(
            close(got, torch.tensor([[[2 * far, 0.0]]])),
            f"Gates of {far:g} and -{far:g} give {got.flatten().tolist()}; {2 * far:g} and 0 are "
            "wanted. Does an exponential overflow, or is something clamped? The silu of torch "
            "takes care of that.",
        )


# --- Block --------------------------------------------------------------------------------------


@check(
    transformer.Block,
    methods=("forward",),
    proved="Attention and MLP each read the stream through their own norm and add to the stream "
    "itself; what attention needs reaches it as it came.",
)
def Block(answer, draw):
    _block_on_paper(answer)
    _block_hands_on(answer)
    x = torch.randn(2, 3, 4, generator=draw).mT  # not in one piece in memory
    block = _block_with(answer, *torch.randn(4, 3, generator=draw))
    for numbers in (x, x[:1], x[:, :1], x.double() / 3):
        shape = tuple(numbers.shape)
        got = ask_tensor(block.to(numbers.dtype), numbers, shape=shape)
        _piece_diagnose(
            got,
            _block_slowly(block, numbers),
            functools.partial(_block_mistakes, block, numbers),
            f"On random vectors of shape {shape} it differs from the same steps done one by one; "
            "on paper it was right. Is every token and every text treated alike?",
        )
        expect(
            got.dtype == numbers.dtype,
            f"{str(numbers.dtype)[6:]} goes in and {str(got.dtype)[6:]} comes out. The stream "
            "keeps its type.",
        )
        expect(
            close(ask_tensor(block.eval(), numbers, shape=shape), got),
            "After eval() it gives other numbers. A block does the same in training and in use.",
        )
        block.train()
    off = (got - _block_slowly(block, numbers)).abs().max()
    expect(
        bool(off < 1e-9),
        f"In double precision it is off by {off:.0e}. Does the stream go through a smaller type?",
    )
    _block_far_out(answer)
    _block_gradients(block.float(), x, torch.randn(2, 4, 3, generator=draw))


class _BlockNorm(nn.Module):
    """Stands in for a norm: each number times its own weight, so no two norms are alike."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class _BlockAttention(_BlockNorm):
    """Stands in for attention: a sum over all tokens so far; notes what else it was given."""

    def __init__(self, weight: Tensor):
        super().__init__(weight)
        self.notes: list[tuple] = []

    def forward(self, x, rotation=None, mask=None, remember=None, *more, **options):
        expect(
            not more and not options,
            "Attention is handed more than it takes, or something under another name. It takes the "
            "normed stream, rotation, mask and remember. rotation is a pair that goes on in one "
            "piece, or None.",
        )
        self.notes.append((rotation, mask, remember))
        return (x * self.weight + 1).cumsum(dim=1)


class _BlockMLP(_BlockNorm):
    """Stands in for an MLP: something that is not linear."""

    def forward(self, x: Tensor, *more, **options) -> Tensor:
        expect(
            not more and not options,
            "The MLP is handed more than the normed stream. It looks at no other token, so it "
            "needs no rotation, no mask and no memory.",
        )
        return (x * self.weight + 1).square() - 2


def _block_with(
    answer: type,
    attention_norm: Tensor,
    attention: Tensor,
    mlp_norm: Tensor,
    mlp: Tensor,
) -> nn.Module:
    """A block whose four parts are stand-ins with these weights."""
    block = answer(
        transformer.Config(width=len(mlp), heads=1, kv_heads=1, positions="learned"),
        lambda config: _BlockNorm(torch.ones(config.width)),
        lambda config: _BlockAttention(attention),
        lambda config: _BlockMLP(mlp),
    )
    for name, kind in (
        ("attention_norm", _BlockNorm),
        ("attention", _BlockAttention),
        ("mlp_norm", _BlockNorm),
        ("mlp", _BlockMLP),
    ):
        expect(
            isinstance(getattr(block, name, None), kind),
            f"The block has no {name} as it was handed in. The lines of __init__ were given: did "
            "one get lost?",
        )
    with torch.no_grad():
        block.attention_norm.weight.copy_(attention_norm)
        block.mlp_norm.weight.copy_(mlp_norm)
    return block


def _block_slowly(block: nn.Module, x: Tensor) -> Tensor:
    """One number after the other, by the weights of the stand-ins."""
    weights = [
        part.weight.tolist()
        for part in (block.attention_norm, block.attention, block.mlp_norm, block.mlp)
    ]
    stream = x.double().tolist()
    for text in stream:
        for d, (first, mix, second, last) in enumerate(zip(*weights, strict=True)):
            total = 0.0
            for token in text:
                total += token[d] * first * mix + 1
                middle = token[d] + total
                token[d] = middle + (middle * second * last + 1) ** 2 - 2
    return torch.tensor(stream, dtype=torch.float64)


def _block_mistakes(
    block: nn.Module, x: Tensor
) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """What is given by each known mistake, put together from the block's own stand-ins."""
    norm, mix, norm2, mlp = (
        block.attention_norm,
        block.attention,
        block.mlp_norm,
        block.mlp,
    )
    said = mix(norm(x))
    middle = x + said
    last = mlp(norm2(middle))
    right = middle + last

    def then(stream: Tensor) -> Tensor:
        return stream + mlp(norm2(stream))

    def scaled(c: float) -> tuple[Tensor, ...]:
        half, less = middle * c, x + said * c
        return (
            (half + mlp(norm2(half))) * c,
            then(half),
            right * c,
            middle + last * c,
            then(less),
            less + mlp(norm2(less)) * c,
        )

    def bent(form: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        stream, sum_ = form(middle), x + form(said)
        return (
            form(right),
            middle + form(last),
            then(sum_),
            then(stream),
            form(then(stream)),
            sum_ + form(mlp(norm2(sum_))),
        )

    # fmt: off
    return {
        "The norms stand behind attention and MLP, over the sum, as in the first transformer. Here "
        "they stand before, and the stream itself is never normed.":
            (norm2((s := norm(x + mix(x))) + mlp(s)), norm2((s := norm(middle)) + mlp(s)),
             norm2((s := norm(middle)) + mlp(norm2(s))), norm(middle) + mlp(norm(middle)),
             then(norm(middle)), then(norm(x + mix(x))), norm2(middle + mlp(middle)),
             then(norm2(middle))),
        "The norms stand behind attention and MLP, over what they say. Here they stand before, "
        "over what is read.":
            ((s := x + norm(mix(x))) + norm2(mlp(s)), (s := x + norm(mix(x))) + mlp(norm2(s)),
             middle + norm2(mlp(middle)), (s := x + norm(said)) + norm2(mlp(norm2(s))),
             then(x + norm(said)), middle + norm2(last), then(x + norm2(said))),
        "What is added to is the normed vectors. The stream itself goes on un-normed; the norm is "
        "only for reading.":
            ((s := norm2(norm(x) + said)) + mlp(s), then(norm(x) + said), norm2(middle) + last,
             norm2(norm(x) + said) + mlp(norm2(norm(x) + said))),
        "The MLP reads the stream as it was before attention: both work side by side. It should "
        "read what attention has added as well.":
            (middle + mlp(norm2(x)), middle + mlp(norm(x))),
        "The MLP reads only what attention said, not the stream it was added to.":
            (middle + mlp(norm2(said)), x + mlp(norm2(said)), middle + mlp(said)),
        "What attention said got lost: the MLP's words are added to the stream that came in.":
            (x + last, norm(x) + last),
        "Nothing is added to the stream: each step replaces it. Attention and MLP only say what to "
        "add.":
            (mlp(norm2(said)), norm2(mlp(norm(said))), mlp(norm2(mix(x))), mlp(said)),
        "Attention's words replace the stream. They should be added to it.":
            then(said),
        "The MLP's words replace the stream. They should be added to it.":
            (last, mlp(middle)),
        "Both read the stream without a norm.":
            (s := x + mix(x)) + mlp(s),
        "Attention reads the stream without its norm.":
            then(x + mix(x)),
        "The MLP reads the stream without its norm.":
            middle + mlp(middle),
        "One norm serves both. Attention and MLP have a norm each.":
            (middle + mlp(norm(middle)), then(x + mix(norm2(x)))),
        "The two norms have changed places.":
            (s := x + mix(norm2(x))) + mlp(norm(s)),
        "The MLP comes first here. Attention goes first, then the MLP reads the result.":
            ((s := x + mlp(norm2(x))) + mix(norm(s)), (s := x + mlp(norm(x))) + mix(norm2(s)),
             (s := x + mlp(x)) + mix(s)),
        "The stream is added twice: it is in the first sum already.":
            (right + x, right + norm(x), then(middle + x), right + middle),
        "The MLP is missing.":
            (middle, norm2(middle), x + mix(x)),
        "Attention is missing.":
            (then(x), x + mlp(x)),
        "What attention said is added twice: it is in the first sum already.":
            (right + said, then(middle + said)),
        "There is a norm too many: the stream that comes out goes on as it is.":
            (norm(right), norm2(right)),
        "What attention or the MLP reads is normed twice. Once is enough.":
            (then(x + mix(norm(norm(x)))), then(x + mix(norm2(norm(x)))),
             middle + mlp(norm2(norm2(middle))), middle + mlp(norm2(norm(middle)))),
        "The sums are halved or scaled. The stream only has something added to it.":
            (*scaled(0.5), *scaled(math.sqrt(0.5))),
        "Attention's step is done twice. One block asks it once.":
            then(middle + mix(norm(middle))),
        "The MLP's step is done twice. One block asks it once.":
            then(right),
        "A relu, an abs or a clamp is at work. What parts say is added as it is, below 0 too, and "
        "the stream goes on as it is.":
            (*bent(torch.relu), *bent(torch.abs)),
        "Something is subtracted; the stream only has something added to it.":
            (then(x - said), middle - last, (s := x - said) - mlp(norm2(s))),
        "Something is multiplied; the stream only has something added to it.":
            (then(x * said), middle * last, (s := x * said) * mlp(norm2(s))),
        "These are attention's and the MLP's words alone, without the stream they are added to.":
            (said + last, said + mlp(norm2(said)), said),
        "The MLP or attention was called on what it had said itself.":
            (middle + mlp(norm2(last)), middle + mlp(last), then(x + mix(said))),
        "The two steps went round twice.":
            (t := (s := right) + mix(norm(s))) + mlp(norm2(t)),
        "The stream came back as it was.":
            (x, norm(x)),
    }
    # fmt: on


def _block_ask(block: nn.Module, x: Tensor, *more) -> Tensor:
    """Call a block; rotation taken apart and x changed in place are named."""
    before = x.clone()
    try:
        got = block(x, *more)
    except TypeError as error:
        taken_apart = ("unpack", "after * must be", "not subscriptable", "not iterable")
        expect(
            not any(words in str(error) for words in taken_apart),
            f"It stops with TypeError: {error}. rotation may be None, and it goes on in one "
            "piece, as it came.",
        )
        raise
    expect(
        unchanged(before, x),
        "It changed its own input in place (+=, a name ending in _). The gradient still needs the "
        "old numbers and would be spoilt: give the sum a name.",
    )
    return got


def _block_on_paper(answer) -> None:
    rows = [[2.0, 0.5], [1.0, 1.0], [3.0, -1.0], [0.5, -0.5]]
    block = _block_with(answer, *torch.tensor(rows))
    x = torch.tensor([[[1.0, -3.0]]])
    shapes = {
        (2,): "squeeze() without a dimension removes every dimension of size 1.",
    }
    _block_ask(block, x)
    _piece_is_random(block, torch.ones(4, 16, 2))
    got = ask_tensor(block, x, shape=(1, 1, 2), shapes=shapes)
    want = torch.tensor([[[51.0, -4.9375]]])
    steps = (
        "norms that double and treble, an attention that adds 1, and an MLP that halves",
        "norms that halve and turn the sign, an attention that adds 1, and an MLP that halves and "
        "turns the sign",
    )
    off = 0 if not close(got[..., 0], want[..., 0]) else 1  # the first that differs
    _piece_diagnose(
        got,
        want,
        functools.partial(_block_mistakes, block, x),
        f"With {steps[off]}, adds 1, squares and takes 2 away, the number {x[0, 0, off]:g} should "
        f"become {want[0, 0, off]:.4g}; yours becomes {got[0, 0, off].item():.4g}. Write down what "
        "each part reads.",
    )


def _block_far_out(answer) -> None:
    ones = torch.ones(2)
    block = _block_with(answer, ones, ones, ones, torch.tensor([0.0, 1.0]))
    x = torch.tensor([[[-1e6, 1e6]]])
    got = ask_tensor(block, x, shape=(1, 1, 2))
    expect(
        close(got, _block_slowly(block, x)),
        f"Large numbers ({x[0, 0, 0]:g} and {x[0, 0, 1]:g}) come out as {got[0, 0, 0]:g} and "
        f"{got[0, 0, 1]:g}. Is something clamped? The stream goes on as it is.",
    )


def _block_hands_on(answer) -> None:
    """Everything that attention is given, and whether it is asked once."""
    ones = torch.ones(2)
    block = _block_with(answer, ones, ones, ones, ones)
    for T, training in ((3, True), (1, True), (6, False)):
        given = {
            "rotation": (torch.rand(T, 2), torch.rand(T, 2)),
            "mask": torch.rand(T, T) < 0.5,
            "remember": _block_remembers,
        }
        block.train(training)
        # all, none, two of them, one of them
        names = tuple(given)
        few = [names, (), *itertools.combinations(names, 2)]
        for chosen in (*few, *itertools.combinations(names, 1)):
            options = {
                name: thing if name in chosen else None for name, thing in given.items()
            }
            _block_handed(block, torch.ones(2, T, 2), options)


def _block_handed(block: nn.Module, x: Tensor, options: dict[str, object]) -> None:
    """One pass with these options: does attention receive them?"""
    block.attention.notes.clear()
    _block_ask(
        block,
        x,
        *(options.values() if any(o is not None for o in options.values()) else ()),
    )
    expect(
        len(block.attention.notes) == 1,
        f"Attention is asked {len(block.attention.notes)} times in one pass. Once is enough, "
        "and with a memory each token would be remembered twice: give the result a name.",
    )
    received = dict(zip(options, block.attention.notes[0], strict=True))
    for name, want in options.items():
        got = received[name]
        if _block_same(got, want):
            continue
        instead = [
            other
            for other, thing in options.items()
            if other != name and thing is not None and _block_same(got, thing)
        ]
        if instead:
            raise CheckFailed(
                f"Attention receives {instead[0]} where {name} belongs. In which order, or by "
                "which names, are they handed on?"
            )
        if got is None:
            others = [other for other, thing in options.items() if thing is not None]
            raise CheckFailed(
                f"{name} does not reach attention (given: {', '.join(others)}; {x.shape[1]} "
                f"token(s); {'training' if block.training else 'eval()'}). The block hands on "
                "rotation, mask and remember as they came, each on its own and always."
            )
        raise CheckFailed(
            f"Attention receives another {name} than the block was given"
            f"{' (it was given None)' if want is None else ''}. Hand it on as it came."
        )


def _block_remembers(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    raise CheckFailed(
        "The block calls remember itself. Keys and values are attention's; the block only hands "
        "remember on."
    )


def _block_same(got: object, want: object) -> bool:
    if isinstance(want, Tensor | tuple):
        return type(got) in (type(want), list) and unchanged(got, want)
    return got is want


def _block_gradients(block: nn.Module, x: Tensor, push: Tensor) -> None:
    def twin(leaf: Tensor) -> Tensor:
        middle = leaf + (leaf * own[0] * own[1] + 1).cumsum(1)
        return middle + (middle * own[2] * own[3] + 1).square() - 2

    parts = ("attention_norm", "attention", "mlp_norm", "mlp")
    own = [
        getattr(block, part).weight.detach().clone().requires_grad_() for part in parts
    ]
    leaf = x.clone().requires_grad_()
    (twin(leaf) * push).sum().backward()
    expect(
        close(ask_gradient(block, x, push), leaf.grad, rtol=1e-3, atol=1e-3),
        "The values are right, but the gradient is not. Was the stream, what attention said, or what "
        "a part reads, detached? Through the sums the gradient reaches the first block undamped.",
    )
    weights = [getattr(block, part).weight for part in parts]
    result = (block(x) * push).sum()
    gradients = torch.autograd.grad(result, weights, allow_unused=True)
    for part, gradient, twins in zip(parts, gradients, own, strict=True):
        expect(
            gradient is not None and close(gradient, twins.grad, rtol=1e-3, atol=1e-3),
            f"The values are right, but {part} gets no gradient, or a wrong one, and would never "
            f"be trained. {NO_GRADIENT.partition('. ')[2]}",
        )
