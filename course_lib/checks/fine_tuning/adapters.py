"""Checks of lesson 05: the linear layer with a narrow path beside it, and how it is merged.

What a layer should say is worked out number by number from its weights. Dropout is
read off its results: with weights 1, 2, 4, … they tell which numbers were dropped.
The answers that prove the checks are in `tests/answers/`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.lora import layers

# --- LoRALinear -----------------------------------------------------------------------


class Parts(NamedTuple):
    """What a layer was given, kept where no answer can change it."""

    W: Tensor  # (out, in)
    b: Tensor | None
    A: Tensor  # (rank, in)
    B: Tensor  # (out, rank)
    alpha: float


@check(
    layers.LoRALinear,
    methods=("forward", "merged"),
    proved="Paper numbers, number by number for any shape, alpha and rank, dropout for A alone, "
    "gradients for A, B and x; and merged is a new plain layer that says the same.",
)
def LoRALinear(answer, draw):
    _forward(answer, draw)
    _merged(answer, draw)


_PAPER = Parts(
    torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [3.0, 0.0, 1.0]]),
    torch.tensor([1.0, -2.0, 0.0]),
    torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [1.0, 1.0, 0.0]]),
    torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, -1.0]]),
    6,
)


def _drawn(draw, inner: int, out: int, rank: int, alpha: float, bias=True) -> Parts:
    sizes = ((out, inner), (out,), (rank, inner), (out, rank))
    W, b, A, B = (torch.randn(size, generator=draw) for size in sizes)
    return Parts(W, b if bias else None, A, B, alpha)


def _built(answer, parts: Parts, dropout=0.0, dtype=torch.float32) -> nn.Module:
    """A layer of the learner's class with these weights, not in training."""
    W, b, A, B, alpha = parts
    linear = nn.Linear(W.shape[1], W.shape[0], bias=b is not None, dtype=dtype)
    layer = answer(linear, len(A), alpha, dropout, torch.Generator().manual_seed(1))
    lost = "The lines of __init__ were given: did one get lost?"
    own = [getattr(layer, name, None) for name in "AB"]
    expect(
        isinstance(layer, nn.Module) and getattr(layer, "linear", None) is linear,
        f"The layer that it wraps is not kept as self.linear. {lost}",
    )
    expect(
        all(isinstance(part, nn.Parameter) for part in own)
        and (own[0].shape, own[1].shape) == (A.shape, B.shape)
        and all(part.requires_grad and part.dtype == dtype for part in own),
        f"A and B are not the two learning parameters that they were. {lost}",
    )
    expect(
        bool((own[1] == 0).all()) and not linear.weight.requires_grad,
        f"In a fresh layer B is not 0, or self.linear is not frozen. {lost}",
    )
    with torch.no_grad():
        linear.weight.copy_(W)
        if b is not None:
            linear.bias.copy_(b)
        own[0].copy_(A)
        own[1].copy_(B)
    return layer.eval()


def _kept(layer: nn.Module) -> dict[str, tuple]:
    """All that a layer is, to be compared later: names, numbers, who learns, which mode."""
    found = {
        name: (p.detach().clone(), p.requires_grad, id(p))
        for name, p in layer.named_parameters()
    }
    modes = {
        f"mode of {name or 'the layer'}": (m.training,)
        for name, m in layer.named_modules()
    }
    return found | modes | {"alpha": (layer.alpha,), "linear": (id(layer.linear),)}


def _changes(before: dict[str, tuple], after: dict[str, tuple]) -> str:
    """What is no more as it was: "" or a name."""
    for name, (was, *more) in before.items():
        now = after.get(name, (None,))
        same = torch.equal(was, now[0]) if isinstance(was, Tensor) else was == now[0]
        if not same or more != list(now[1:]):
            return name
    return next((name for name in after if name not in before), "")


def _matrix(parts: Parts, scale: float | None = None) -> Tensor:
    """The one matrix that says the same, (out, in), number by number."""
    W, _, A, B = (t if t is None else t.double().tolist() for t in parts[:4])
    scale = parts.alpha / len(A) if scale is None else scale
    return torch.tensor(
        [
            [
                W[o][i] + scale * sum(B[o][r] * A[r][i] for r in range(len(A)))
                for i in range(len(W[0]))
            ]
            for o in range(len(W))
        ],
        dtype=torch.float64,
    )


def _bias(parts: Parts) -> Tensor:
    return torch.zeros(len(parts.W)) if parts.b is None else parts.b


def _right(parts: Parts, x: Tensor) -> Tensor:
    """That one matrix times every token, and the bias."""
    return functional.linear(x.double(), _matrix(parts), _bias(parts).double())


def _known(table: dict[str, tuple[Callable, ...]]) -> dict[str, tuple[Tensor, ...]]:
    """The results of mistakes; those that stop at such sizes are left out."""
    found: dict[str, tuple[Tensor, ...]] = {}
    for name, ways in table.items():
        for way in ways:
            try:
                found[name] = (*found.get(name, ()), way())
            except RuntimeError:
                continue
    return found


# --- LoRALinear.forward


def _forward(answer, draw) -> None:
    x = torch.tensor([[[5.0, 1.0, 2.0], [0.0, 2.0, 1.0]]])
    _forward_compare(
        _built(answer, _PAPER),
        _PAPER,
        x,
        "Where W x + b is (8, -3, 17) and B A x is (3, 8, -6), with alpha 6 and rank 3, it "
        "should give (14, 13, 5); yours is {}.",
    )
    for case in ((5, 4, 3, 7), (4, 6, 1, 0.5), (3, 5, 4, 2), (6, 4, 2, 5, False)):
        parts = _drawn(draw, *case)
        x = torch.randn(2, case[0], 3, generator=draw).mT  # not in one piece
        _forward_compare(
            _built(answer, parts),
            parts,
            x,
            f"With {case[0]} numbers in, {case[1]} out, rank {case[2]} and alpha {case[3]} it "
            "differs from the same worked out number by number.",
        )
    _forward_of_any_shape(answer, draw)
    _forward_dropout(answer, draw)
    _forward_later(answer, draw)
    _forward_gradients(answer, draw)
    _forward_types(answer, draw)


def _forward_ask(layer: nn.Module, x: Tensor) -> Tensor:
    out, rank = layer.B.shape
    # fmt: off
    shapes = {
        (*x.shape[:-1], rank): "These are still the few numbers that A says. B leads back out.",
        (out, x.shape[-1]): "This is a matrix. What it says about x is asked for.",
        x.shape: "Is this still x, or what self.linear should have read?",
    }
    # fmt: on
    wanted = (*x.shape[:-1], out)
    shapes.pop(wanted, None)
    before = _kept(layer)
    try:
        got = ask_tensor(layer, x, shape=wanted, shapes=shapes)
    except NotImplementedError:
        raise CheckFailed(
            "LoRALinear's `forward` is not written yet: replace its line `raise "
            "NotImplementedError` by your own lines."
        ) from None
    except RuntimeError as error:
        _sizes_that_do_not_fit(layer, error)
        raise
    except (TypeError, AttributeError) as error:
        expect(
            layer.linear.bias is not None or "None" not in str(error),
            "It stopped at a layer without a bias: its `bias` is None then. self.linear(x) knows "
            "what to do in both cases.",
        )
        raise
    changed = _changes(before, _kept(layer))
    expect(
        not changed,
        f"forward changes the layer itself ({changed}). It says something about x; nothing is "
        "added to the weights, frozen, unfrozen or switched.",
    )
    return got


def _sizes_that_do_not_fit(layer: nn.Module, error: RuntimeError) -> None:
    """Fail with the sizes at hand if that is what torch complains about."""
    words = (
        "must match",
        "cannot be multiplied",
        "size mismatch",
        "not match",
        "batch2",
    )
    if any(word in str(error) for word in (*words, "is invalid for", "expanded size")):
        shown = {"W": layer.linear.weight, "A": layer.A, "B": layer.B}
        sizes = ", ".join(f"{name} is {tuple(t.shape)}" for name, t in shown.items())
        raise CheckFailed(
            f"Two sizes do not fit: {first_line(error).rstrip('.')}. Here {sizes}. A reads x "
            "and is the first to do so, B reads what A says; which way round does each lie?"
        ) from None


def _forward_compare(layer: nn.Module, parts: Parts, x: Tensor, otherwise: str) -> None:
    got = _forward_ask(layer, x).detach()
    want = _right(parts, x)
    again = layer(x).detach()
    expect(
        close(got, again),
        "The same x gives different numbers when asked twice, although nothing drops (eval). Is "
        "there a dropout of your own, or something drawn in forward?",
    )
    if not close(got, want, rtol=1e-4, atol=1e-5):
        first = ", ".join(f"{n:.4g}" for n in got.flatten()[: len(parts.W)].tolist())
        mistakes = _known(_forward_mistakes(parts, x))
        diagnose(got, want, mistakes, otherwise.format(f"({first})"), rtol=1e-4)


def _forward_mistakes(parts: Parts, x: Tensor) -> dict[str, tuple[Callable, ...]]:
    """What known mistakes give, as functions, since some do not fit some sizes."""
    W, A, B, x = parts.W.double(), parts.A.double(), parts.B.double(), x.double()
    b, alpha, r = _bias(parts).double(), parts.alpha, len(parts.A)
    bare, narrow, s = x @ W.T, x @ A.T, alpha / r
    base, wide = bare + b, narrow @ B.T
    right = base + s * wide
    bends = (torch.relu, functional.gelu, functional.silu, torch.tanh, torch.sigmoid)
    turned = (
        lambda: x @ A @ B.T, lambda: x @ A.T @ B, lambda: x @ A @ B,
    )  # fmt: skip
    swapped = (lambda: x @ B.T @ A.T, lambda: x @ B @ A.T, lambda: x @ B.T @ A)

    def scaled(ways: tuple[Callable, ...]) -> tuple[Callable, ...]:
        return tuple(
            (lambda way=way, c=c: base + c * way())
            for way in ways
            for c in (s, 1, alpha)
        )

    def plus(*factors: float) -> tuple[Callable, ...]:
        return tuple((lambda c=c: base + c * wide) for c in factors)

    # fmt: off
    return {
        "The scale is missing: what A and B say is added as it is. alpha and the rank decide how "
        "loud it is; self.scale knows.":
            plus(1.0),
        "It is multiplied by alpha and not divided by the rank: with a larger rank it would be "
        "louder. self.scale is both.":
            plus(alpha),
        "It is divided by the rank, and alpha makes no difference. self.scale is both.":
            plus(1 / r),
        "The scale is upside down, or divided by instead of multiplied.":
            plus(r / alpha, 1 / alpha),
        "There is a root in the scale. (Some variants of LoRA have one; this one does not.)":
            plus(alpha / math.sqrt(r), math.sqrt(alpha / r), math.sqrt(alpha) / r),
        "The scale goes in twice.":
            plus(s * s, s * alpha, 2 * s),
        "It is divided by the rank twice: once by the scale, and once more by a mean or a "
        "division.":
            plus(s / r, 1 / r / r),
        "The scale is made a whole number (// or int). With alpha 7 and rank 3 it is not one.":
            plus(alpha // r, round(s)),
        "The scale divides by another size than the rank, a width of the layer perhaps. "
        "self.scale knows the rank.":
            plus(alpha / len(W), alpha / W.shape[1], s / W.shape[1], s / len(W)),
        "It is taken away; it should be added.":
            plus(-s, -1.0),
        "The frozen layer has no say: only A and B are heard. Both paths are added.":
            (lambda: s * wide, lambda: wide, lambda: alpha * wide, lambda: s * wide + b),
        "The narrow path has no say: this is what the frozen layer alone says.":
            (lambda: base, lambda: base + s),
        "The scale is on the sum of both. Only what A and B say is scaled.":
            (lambda: s * (base + wide), lambda: s * base + wide, lambda: s * (base + s * wide)),
        "The bias is left out. self.linear(x) has it already.":
            (lambda: bare + s * wide,),
        "The bias is added twice, or scaled. self.linear(x) has it already, and it is not scaled.":
            (lambda: right + b, lambda: base + s * (wide + b), lambda: bare + s * (wide + b)),
        "A and B read what the frozen layer says. They stand beside it and read x.":
            (lambda: base + s * (base @ A.T @ B.T), lambda: base + s * (bare @ A.T @ B.T),
             lambda: s * (base @ A.T @ B.T), lambda: base + base @ A.T @ B.T,
             lambda: s * (bare @ A.T @ B.T) + b),
        "The frozen layer reads what A and B say. It reads x, as they do.":
            (lambda: s * (wide @ W.T) + b, lambda: (x + s * wide) @ W.T + b,
             lambda: base + s * (wide @ W.T)),
        "A and B are exchanged. A reads x, and B reads what A says.":
            scaled(swapped),
        "What is added is x times B A, and that product should lie on its side: A reads x first, B "
        "reads what A says.":
            scaled((lambda: x @ B @ A,)),
        "A or B lies on its side (.T): where in, out and rank are equal that shows only in the "
        "numbers.":
            scaled(turned),
        "Only one of A and B is used.":
            (lambda: base + s * narrow, lambda: base + narrow, lambda: base + s * (x @ B.T),
             lambda: base + s * (x @ A), lambda: base + s * (x @ B)),
        "Something bends what A says (relu, gelu, softmax, …). Both steps are plain products, or "
        "they could not be merged.":
            (*((lambda f=f: base + s * (f(narrow) @ B.T)) for f in bends),
             *((lambda f=f: base + s * f(wide)) for f in bends),
             lambda: base + s * (narrow.softmax(-1) @ B.T)),
        "The two paths are multiplied, or averaged. They are added.":
            (lambda: base * s * wide, lambda: base * wide, lambda: right / 2),
        "x itself is added. That is the block's work.":
            (lambda: right + x,),
    }
    # fmt: on


def _forward_of_any_shape(answer, draw) -> None:
    parts = _drawn(draw, 5, 4, 3, 2.0)
    layer = _built(answer, parts)
    for shape in ((5,), (1, 5), (7, 5), (5, 5), (2, 3, 1, 5), (1, 1, 5)):
        x = torch.randn(shape, generator=draw)
        said = f"On a tensor (B, T, in) it is right, but not on one of shape {shape}"
        why = "Only the last dimension has a meaning, however many stand before it."
        try:
            got = _forward_ask(layer, x)
        except (RuntimeError, IndexError, ValueError, CheckFailed) as error:
            raise CheckFailed(f"{said} ({first_line(error)}). {why}") from error
        expect(close(got, _right(parts, x), rtol=1e-4, atol=1e-5), f"{said}. {why}")


def _forward_dropout(answer, draw) -> None:
    """Weights 1, 2, 4, … tell which of the eight numbers A got to see."""
    share, powers = 0.25, 2.0 ** torch.arange(8)
    W, b = torch.randn(2, 8, generator=draw), torch.ones(2)
    B = torch.tensor([[1.0], [-2.0]])
    parts, x = Parts(W, b, powers[None], B, 3.0), torch.ones(2, 16, 8)
    layer, base = _built(answer, parts, share), functional.linear(x, W, b)
    expect(
        close(_forward_ask(layer, x), _right(parts, x), rtol=1e-4),
        "Numbers are dropped in eval mode too. self.dropout knows whether the layer is in "
        "training.",
    )
    silent = _built(answer, parts._replace(B=torch.zeros(2, 1)), share).train()
    expect(
        close(_forward_ask(silent, x), base, rtol=1e-4),
        "Dropout reaches the frozen path: in training it changes what the layer says although B "
        "is 0. Only what A gets to see is dropped.",
    )
    layer.train()
    said = torch.stack([_forward_ask(layer, x).detach() - base for _ in range(3)])
    ways = (said / 3 / B[:, 0]).reshape(-1, 2)  # what A said, by either output
    expect(
        not close(ways, powers.sum().expand(ways.shape), rtol=1e-4),
        "Nothing is dropped in training. A sees x through self.dropout.",
    )
    _forward_dropped(ways, share)
    never = _built(answer, parts, 0.0).train()
    expect(
        close(_forward_ask(never, x), _right(parts, x), rtol=1e-4),
        "With a dropout of 0 it gives other numbers in training than in eval mode.",
    )


def _forward_dropped(ways: Tensor, share: float) -> None:
    """ways (rows, 2): sums of the powers that were kept, made larger by 1 / (1 - share)."""
    late = (
        "What A or B says is dropped, not what A gets to see: it reads x through self.dropout, "
        "and nothing after it is dropped."
    )
    expect(close(ways[:, 0], ways[:, 1], rtol=1e-3, atol=1e-2), late)
    sums = ways[:, 0]
    once, twice = sums * (1 - share), sums * (1 - share) ** 2
    values = {round(one) for one in once.tolist()}
    expect(not values <= {0, 255}, late)
    expect(
        len(values) > len(sums) // 8,
        "The same numbers are dropped for all tokens. Is it A that is dropped, and not x? Every "
        "token has its own.",
    )

    def whole(table: Tensor) -> bool:
        """Are these sums of some of the powers?"""
        inside = bool(((table > -0.5) & (table < 255.5)).all())
        return inside and close(table, table.round(), rtol=0, atol=2e-2)

    expect(
        whole(once) or not whole(sums),
        "What is kept in training is not made larger for what was dropped, so that the layer is "
        "quieter than in use. self.dropout does both.",
    )
    expect(
        whole(once) or not whole(twice),
        "Dropout comes twice. A sees x through self.dropout, once.",
    )
    expect(
        whole(once),
        "In training A sees other numbers than some of x, made larger for what was dropped. "
        "Is self.dropout applied to x itself, or another share of it typed in?",
    )
    kept = sum(int(one).bit_count() for one in once.round().tolist()) / len(sums) / 8
    expect(
        abs(kept - (1 - share)) < 0.11,
        f"With a dropout of {share} A sees {kept:.0%} of the numbers in training. Was it applied "
        "twice, or a share typed in?",
    )


def _forward_later(answer, draw) -> None:
    """The layer says what its numbers are now, not what they were when it was made or asked."""
    parts = _drawn(draw, 4, 3, 2, 3.0)
    layer, x = _built(answer, parts), torch.randn(2, 5, 4, generator=draw)
    _forward_ask(layer, x)
    layer.alpha = 0.0
    expect(
        close(
            _forward_ask(layer, x), functional.linear(x, parts.W, parts.b), rtol=1e-4
        ),
        "alpha was set to 0, as lora_off does for a while, and A and B are still heard. Ask "
        "self.scale in each call.",
    )
    layer.alpha = parts.alpha
    later = _drawn(draw, 4, 3, 2, 3.0)
    with torch.no_grad():
        for own, new in zip(
            (layer.linear.weight, layer.linear.bias, layer.A, layer.B),
            later,
            strict=False,
        ):
            own.copy_(new)
    expect(
        close(_forward_ask(layer, x), _right(later, x), rtol=1e-4, atol=1e-5),
        "After its weights have changed it still says what it said before. Keep nothing from "
        "one call to the next.",
    )


def _forward_gradients(answer, draw) -> None:
    parts = _drawn(draw, 5, 4, 3, 7.0)
    layer = _built(answer, parts, dtype=torch.float64)
    x = torch.randn(2, 3, 5, generator=draw, dtype=torch.float64).requires_grad_()
    push = torch.randn(2, 3, 4, generator=draw, dtype=torch.float64)
    got = layer(x)
    expect(
        got.requires_grad,
        "The values are right, but no gradient flows back. Stay with tensors: no no_grad, "
        "detach, NumPy or torch.tensor(…) of a result.",
    )
    leaves = [x, layer.A, layer.B]
    got = torch.autograd.grad((got * push).sum(), leaves, allow_unused=True)
    A, B = (t.double().requires_grad_() for t in (parts.A, parts.B))
    D = 7 / 3 * torch.einsum("or,ri->oi", B, A)
    W = parts.W.double()
    want = torch.autograd.grad(
        (functional.linear(x, W + D) * push).sum(), [x, A, B], retain_graph=True
    )
    for name, mine, right in zip("AB", got[1:], want[1:], strict=True):
        expect(
            mine is not None and close(mine, right),
            f"The values are right, but {name} gets no gradient, or a wrong one, and would never "
            "learn. Use self.A and self.B themselves: no .data, no detach, no merged layer.",
        )
    below = torch.zeros_like(x) if got[0] is None else got[0]
    expect(
        not close(below, push @ D.detach()),
        "What the frozen layer says is cut off (no_grad or detach). It does not learn, but the "
        "layers below it do, and their gradient comes through it.",
    )
    expect(
        not close(below, push @ W),
        "x is cut off on its way to A. The layers below learn through both paths.",
    )
    expect(close(below, want[0]), "The values are right, but the gradient of x is not.")


def _forward_types(answer, draw) -> None:
    for dtype, rtol in ((torch.float64, 1e-10), (torch.bfloat16, 0.1)):
        parts, name = _drawn(draw, 5, 4, 3, 7.0), str(dtype)[6:]
        layer = _built(answer, parts, dtype=dtype)
        x = torch.randn(2, 3, 5, generator=draw).to(dtype)
        try:
            got = _forward_ask(layer, x)
        except RuntimeError as error:
            raise CheckFailed(
                f"With x and weights of {name} it stops: {first_line(error).rstrip('.')}. Which of "
                "your lines has a type of its own?"
            ) from error
        own = "Which of your lines has a type of its own?"
        expect(
            got.dtype == dtype,
            f"With x and weights of {name} it gives {str(got.dtype)[6:]}. {own}",
        )
        expect(
            close(got, _right(parts, x), rtol, atol=2 * rtol),
            f"With x and weights of {name} it is as coarse as a narrower type. {own}",
        )


# --- LoRALinear.merged


def _merged(answer, draw) -> None:
    cases = ((5, 4, 3, 7), (3, 6, 4, 2, False), (4, 4, 1, 0.5), (4, 4, 4, 3, False))
    for parts in (_PAPER, *(_drawn(draw, *case) for case in cases)):
        _merged_compare(_built(answer, parts), parts)
    parts = _drawn(draw, 5, 4, 3, 7.0)
    noisy = _built(answer, parts, 0.5).train()
    plain = _merged_ask(noisy)
    expect(
        close(plain.weight, _matrix(parts), rtol=1e-4, atol=1e-5),
        "In training, with a dropout, the merged weights are others. Dropout is for x while it "
        "trains; merged weights have no part in it.",
    )
    _merged_again(_built(answer, parts), draw)
    wide = _built(answer, parts, dtype=torch.float64)
    plain = _merged_ask(wide)
    expect(
        plain.weight.dtype == plain.bias.dtype == torch.float64,
        f"A layer of float64 is merged into one of {str(plain.weight.dtype)[6:]}. It keeps the "
        "type of the weights.",
    )
    expect(
        close(plain.weight, _matrix(parts), rtol=1e-10, atol=1e-10),
        "A layer of float64 is merged with the precision of float32. Which of your lines has a "
        "type of its own?",
    )
    x = torch.randn(2, 3, 5, generator=draw, dtype=torch.float64)
    expect(
        close(plain(x), wide(x)),
        "After merged the layer says something else than the merged one, and than before. It "
        "stays as it is.",
    )


def _merged_ask(layer: nn.Module) -> nn.Linear:
    """A merged layer, if it is a plain one with weights of its own and the layer is as it was."""
    before = _kept(layer)
    held = dict(layer.named_parameters())
    try:
        got = layer.merged()
    except Exception as error:
        _merged_stopped(layer, error)
        raise
    what = _merged_kind(layer, got)
    expect(not what, what)
    _merged_left_alone(layer, before)
    sizes = layer.linear.in_features, layer.linear.out_features
    found = tuple(got.weight.shape)[::-1]
    expect(
        found == sizes and (got.in_features, got.out_features) == sizes,
        f"The merged layer has a weight of shape {tuple(got.weight.shape)} and leads from "
        f"{got.in_features} to {got.out_features} numbers; from {sizes[0]} to {sizes[1]} is wanted.",
    )
    biased = layer.linear.bias is not None
    expect(
        (got.bias is not None) == biased,
        f"self.linear has {'a' if biased else 'no'} bias, and the merged layer has "
        f"{'none' if biased else 'one'}.",
    )
    for name, p in got.named_parameters():
        _merged_own(name, p, held)
    return got


def _merged_stopped(layer: nn.Module, error: Exception) -> None:
    said = first_line(error).rstrip(".")
    # fmt: off
    hints = {
        "leaf Variable": "A parameter that learns may not be changed in place, except where no "
            "gradient is kept (torch.no_grad()).",
        "non-leaf": "It has a history, since A and B learn. Add where no gradient is kept "
            "(torch.no_grad()), or detach.",
        "deepcopy protocol": "A tensor that has a history cannot be copied so. Detach it, or work "
            "where no gradient is kept.",
        "cannot assign": "What a layer learns is an nn.Parameter.",
        "no attribute 'merged'": "The line `def merged` was given: did it get lost?",
        "'NoneType'": "self.linear may have no bias; its `bias` is None then.",
    }
    # fmt: on
    expect(
        not isinstance(error, NotImplementedError),
        "Your LoRALinear's forward is right. `merged` is not written yet: replace its line "
        "`raise NotImplementedError` by your own lines.",
    )
    for words, hint in hints.items():
        expect(
            words not in str(error)
            or (words == "'NoneType'" and layer.linear.bias is not None),
            f"forward is right; merged stopped with {type(error).__name__}: {said}. {hint}",
        )
    if isinstance(error, RuntimeError):
        _sizes_that_do_not_fit(layer, error)


def _merged_kind(layer: nn.Module, got: object) -> str:
    """What is wrong with the kind of thing that came back; "" if it is a new plain layer."""
    if type(got) is nn.Linear:
        return (
            "merged returned self.linear itself. A new layer is wanted: this one goes on as it "
            "is, and what is changed in one must not show in the other."
            if got is layer.linear
            else ""
        )
    if got is None:
        return "merged returned None. Is there a `return` line? A layer that changes in place is not asked for."
    if isinstance(got, Tensor):
        return "merged returned a tensor. A layer is wanted, an nn.Linear with weight and bias."
    if got is layer or isinstance(got, type(layer)):
        return "merged returned a LoRALinear. A plain nn.Linear is wanted, without A and B."
    return f"merged returned a {type(got).__name__}; a plain nn.Linear is wanted."


def _merged_left_alone(layer: nn.Module, before: dict) -> None:
    changed = _changes(before, _kept(layer))
    after = dict(layer.named_parameters())
    added = changed in after and changed in before
    added = added and not torch.equal(after[changed], before[changed][0])
    expect(
        not (added and changed.startswith("linear.")),
        "The frozen weights have changed: merged wrote into self.linear. Then A and B, which are "
        "still there, count twice. Merge in a copy.",
    )
    expect(
        not (added and changed in ("A", "B")),
        f"merged changed {changed}. This layer stays as it is, and can go on learning.",
    )
    thawed = changed in after and after[changed].requires_grad
    expect(
        not (thawed and changed.startswith("linear.")),
        "self.linear learns after merging: it was unfrozen before it was copied, or its bias is "
        "shared. Only the new layer's parameters are unfrozen.",
    )
    expect(
        not changed,
        f"merged changed the layer: {changed} is not what it was. This layer stays as it is.",
    )


def _merged_own(name: str, p: nn.Parameter, held: dict[str, nn.Parameter]) -> None:
    where = p.untyped_storage().data_ptr()
    theirs = [n for n, q in held.items() if q.untyped_storage().data_ptr() == where]
    expect(
        not theirs,
        f"The merged layer's {name} shares its memory with {' and '.join(theirs)} of this layer: "
        "whoever changes one changes both. Make a copy (clone, deepcopy).",
    )
    expect(
        not p.is_inference(),
        f"The merged layer's {name} was made under inference_mode, and can never learn. no_grad "
        "leaves that open.",
    )
    expect(
        p.is_leaf,
        f"The merged layer's {name} has a history: it hangs on A and B, and no optimiser takes it. "
        "Add where no gradient is kept (torch.no_grad()), or detach.",
    )
    expect(
        p.requires_grad,
        f"The merged layer's {name} is frozen. A plain layer learns like any other.",
    )


def _merged_compare(layer: nn.Module, parts: Parts) -> None:
    plain = _merged_ask(layer)
    got, want = plain.weight.detach(), _matrix(parts)
    shown = (
        ""
        if parts is not _PAPER
        else "; on paper it is [[3, 2, -2], [4, 5, -5], [1, -2, 1]]"
    )
    sizes = "With {1} numbers in, {0} out and rank".format(*parts.W.shape)
    if not close(got, want, rtol=1e-4, atol=1e-5):
        rows = [[round(n, 3) for n in row] for row in got[:3, :4].tolist()]
        diagnose(
            got,
            want,
            _known(_merged_mistakes(parts)),
            f"{sizes} {len(parts.A)} the merged weight differs from the one worked out number by "
            f"number. It begins {rows}{shown}.",
            rtol=1e-4,
        )
    if plain.bias is not None and not close(plain.bias, parts.b):
        s, b = parts.alpha / len(parts.A), parts.b
        known = {
            "The bias is lost: it is 0 in the merged layer.": torch.zeros_like(b),
            "The bias is scaled or counted twice. It stays as it is.": (
                b * s,
                2 * b,
                b + s * b,
            ),
        }
        diagnose(
            plain.bias.detach(),
            b,
            known,
            "The merged layer's bias is not that of self.linear. A new nn.Linear draws its own, "
            "until it is given another.",
        )


def _merged_mistakes(parts: Parts) -> dict[str, tuple[Callable, ...]]:
    W, A, B = (t.double() for t in (parts.W, parts.A, parts.B))
    D, alpha, r = B @ A, parts.alpha, len(parts.A)
    s = alpha / r

    def plus(*factors: float) -> tuple[Callable, ...]:
        return tuple((lambda c=c: W + c * D) for c in factors)

    # fmt: off
    return {
        "The scale is missing in merged. What A and B say is scaled in forward, so their product "
        "is scaled here.":
            plus(1.0),
        "merged multiplies by alpha and does not divide by the rank. self.scale is both.":
            plus(alpha),
        "merged divides by the rank, and alpha makes no difference. self.scale is both.":
            plus(1 / r),
        "The scale is upside down in merged, or has a root.":
            plus(r / alpha, 1 / alpha, alpha / math.sqrt(r), math.sqrt(s)),
        "The scale is made a whole number in merged (// or int).":
            plus(alpha // r, round(s)),
        "The product of A and B goes in twice in merged, or its scale does.":
            plus(2 * s, s * s, s * alpha, 2.0, 1 + s),
        "merged takes the product away; it should be added.":
            plus(-s, -1.0),
        "W is missing in merged: this is the difference alone.":
            (lambda: s * D, lambda: D, lambda: alpha * D),
        "Nothing was merged: these are the frozen weights.":
            (lambda: W,),
        "The scale is on the sum in merged. Only the product of A and B is scaled.":
            (lambda: s * (W + D), lambda: s * W + D, lambda: s * (W + s * D)),
        "merged takes the product in the other order, A B. Where the sizes are equal nothing "
        "stops it, but x meets A first.":
            (lambda: W + s * (A @ B), lambda: W + A @ B, lambda: W + alpha * (A @ B)),
        "A matrix lies on its side in merged. Rows belong to what comes out, columns to what goes "
        "in, in W and in the product.":
            (lambda: W + s * D.T, lambda: W.T + s * D, lambda: W.T + s * D.T, lambda: W + D.T,
             lambda: W + s * (B.T @ A), lambda: W + s * (B @ A.T), lambda: W + s * (B.T @ A.T),
             lambda: W + s * (A.T @ B), lambda: W + s * (A @ B.T)),
        "W is multiplied by the product. The product is added.":
            (lambda: W * (s * D), lambda: W * D, lambda: s * (W @ D), lambda: W @ D,
             lambda: W + s * (W @ D), lambda: W + s * (D @ W), lambda: W * (1 + s * D)),
    }
    # fmt: on


def _merged_again(layer: nn.Module, draw) -> None:
    first, second = _merged_ask(layer), _merged_ask(layer)
    expect(
        close(first.weight, second.weight),
        "Merged a second time the same layer gives other weights.",
    )
    expect(
        first.weight.data_ptr() != second.weight.data_ptr(),
        "Two calls of merged return one and the same layer. Each makes a new one.",
    )
    with torch.no_grad():
        first.weight.zero_()
        layer.A.copy_(torch.randn(layer.A.shape, generator=draw))
    now = _matrix(
        Parts(layer.linear.weight.detach(), None, layer.A, layer.B, layer.alpha)
    )
    expect(
        close(_merged_ask(layer).weight, now, rtol=1e-4, atol=1e-5),
        "After A has learned more, merged still gives what it gave before. Keep nothing from one "
        "call to the next.",
    )
