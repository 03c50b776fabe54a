"""Answers to lesson 11: the search for channel scales; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch

from course_lib.quantization.scaling import FLOOR
from tools.graders import Battery

battery = Battery()


def _right(answer):
    return battery.right("awq_scale_search")(answer)


def _given(weights, inputs):
    size = inputs.abs().mean(dim=0)
    return size.clamp(min=FLOOR * size.max()), inputs @ weights.T


# --- right --------------------------------------------------------------------------------------


@_right
def with_a_loop(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    least, best = math.inf, None
    for i in range(steps):
        scales = size ** (i / steps)
        scales = scales / (scales.max() * scales.min()) ** 0.5
        said = inputs @ (quantize_weight(weights * scales)() / scales).T
        loss = (said - wanted).pow(2).mean()
        if loss < least:
            least, best = loss, (scales, i / steps)
    return best


@_right
def with_lists(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    tried, losses = [], []
    for strength in [i / steps for i in range(steps)]:
        scales = size**strength
        scales = scales / torch.sqrt(scales.min() * scales.max())
        rounded = quantize_weight(weights * scales)() / scales
        tried.append((scales, strength))
        losses.append(torch.nn.functional.mse_loss(inputs @ rounded.T, wanted).item())
    return tried[losses.index(min(losses))]


@_right
def with_min_and_a_key(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)

    def scales_of(strength):
        scales = size**strength
        return scales / (scales.max() * scales.min()).sqrt()

    def loss(strength):
        s = scales_of(strength)
        rounded = quantize_weight(weights @ torch.diag(s))() @ torch.diag(1 / s)
        return torch.linalg.norm(inputs @ rounded.T - wanted).item()

    best = min((i / steps for i in range(steps)), key=loss)
    return scales_of(best), best


@_right
def downwards(weights, inputs, quantize_weight, steps=20):
    """From the strongest; of equals the later one, which is the weaker."""
    size, _ = _given(weights, inputs)
    least, best = torch.inf, None
    for i in reversed(range(steps)):
        scales = size ** (i / steps)
        scales /= (scales.max() * scales.min()).sqrt()
        change = quantize_weight(weights * scales)() / scales - weights
        loss = (inputs @ change.T).square().sum().item()
        if loss <= least:
            least, best = loss, (scales, i / steps)
    return best


@_right
def with_logarithms(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    logs = size.log()
    middle = (logs.max() + logs.min()) / 2
    found = []
    for i in range(steps):
        scales = ((logs - middle) * i / steps).exp()
        rounded = quantize_weight(weights * scales[None])().div(scales[None])
        error = torch.einsum("ni,oi->no", inputs, rounded) - wanted
        found.append((float(error.square().mean()), i))
    _, i = min(found)
    return ((logs - middle) * i / steps).exp(), i / steps


@_right
def with_scaled_inputs(weights, inputs, quantize_weight, steps=20):
    """The inputs divided instead of the rounded columns."""
    size, wanted = _given(weights, inputs)
    size = size / (size.max() * size.min()).sqrt()
    losses = []
    for i in range(steps):
        scales = size ** (i / steps)
        store = quantize_weight(weights * scales)
        losses.append(((inputs / scales) @ store().T - wanted).square().mean())
    i = int(np.argmin([x.item() for x in losses]))
    return [size ** (i / steps), i / steps]


@_right
def stacked(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    strengths = torch.arange(steps, dtype=torch.float64) / steps
    scales = torch.stack([size ** s.item() for s in strengths])
    ends = scales.amax(1, keepdim=True) * scales.amin(1, keepdim=True)
    scales = scales / ends.sqrt()
    rounded = torch.stack([quantize_weight(weights * s)() / s for s in scales])
    said = (rounded @ inputs.T).mT
    losses = (said - wanted).square().mean(dim=(1, 2))
    best = int((losses == losses.min()).nonzero()[0])
    return scales[best], strengths[best].item()


# --- wrong --------------------------------------------------------------------------------------


def _mean_square(said, wanted, rounded, weights):
    return (said - wanted).square().mean()


def _made(
    name,
    says,
    strengths=lambda n: [i / n for i in range(n)],
    size=lambda x, w: x.abs().mean(dim=0),
    floor=FLOOR,
    middle=lambda s: s / (s.max() * s.min()).sqrt(),
    into=lambda w, s: w * s,
    back=lambda r, s: r / s,
    loss=_mean_square,
    better=lambda new, old: new < old,
    first=math.inf,
    returned=lambda s, a, loss: (s, a),
    power=lambda size, a: size**a,
    call=lambda store: store(),
):
    """Right, but for one of the lines."""

    def answer(weights, inputs, quantize_weight, steps=20):
        sizes, wanted = size(inputs, weights), inputs @ weights.T
        sizes = sizes.clamp(min=floor * sizes.max())
        least, best = first, None
        for strength in strengths(steps):
            scales = middle(power(sizes, strength))
            rounded = back(call(quantize_weight(into(weights, scales))), scales)
            found = loss(inputs @ rounded.T, wanted, rounded, weights).item()
            if better(found, least):
                least, best = found, returned(scales, strength, found)
        return best

    answer.__name__ = name
    battery.wrong("awq_scale_search", says=says)(answer)


_made("one_as_well", "Strength 1", lambda n: [i / n for i in range(n + 1)])
_made("to_the_end", "strengths are others", lambda n: [i / (n - 1) for i in range(n)])
_made("linspace", "strengths are others", lambda n: torch.linspace(0, 1, n).tolist())
_made("from_the_first", "strengths are others", lambda n: [(i + 1) / n for i in range(n)])  # fmt: skip
_made("of_one_more", "strengths are others", lambda n: [i / (n + 1) for i in range(n)])  # fmt: skip
_made("twenty_built_in", "`steps` says how many", lambda n: [i / 20 for i in range(20)])  # fmt: skip
_made("whole_strengths", "strengths are others", lambda n: range(n))
_made("of_one_less", "strengths are others", lambda n: [i / n for i in range(n - 1)])
_made("not_zero", "strengths are others", lambda n: [i / n for i in range(1, n)])
_made("a_half_alone", "strength", lambda n: [0.5])
_made("the_largest_loss", "the least wins", better=lambda new, old: new > old, first=-1.0)  # fmt: skip
_made("the_last", "last strength", better=lambda new, old: True)
_made("of_equals_the_last", "Of equal losses", better=lambda new, old: new <= old)
_made("matrices_compared", "compares the matrices", loss=lambda y, t, r, w: (r - w).square().mean())  # fmt: skip
_made("matrices_by_size", "compares the matrices", loss=lambda y, t, r, w: (r - w).abs().mean())  # fmt: skip
_made("norm_of_matrices", "compares the matrices", loss=lambda y, t, r, w: (r - w).norm())  # fmt: skip
_made("sizes_of_changes", "wanted are their squares", loss=lambda y, t, r, w: (y - t).abs().mean())  # fmt: skip
_made("largest_change", "largest change", loss=lambda y, t, r, w: (y - t).abs().max())
_made("with_signs", "cancel", loss=lambda y, t, r, w: (y - t).mean())
_made("with_signs_turned", "cancel", loss=lambda y, t, r, w: (t - y).mean())
_made("mean_then_square", "cancel", loss=lambda y, t, r, w: (y - t).mean().square())
_made("sum_with_signs", "cancel", loss=lambda y, t, r, w: (y - t).sum())
_made("around_their_mean", "from their own mean", loss=lambda y, t, r, w: (y - t).var())
_made("around_each_mean", "from their own mean", loss=lambda y, t, r, w: (y - t).var(dim=0).mean())  # fmt: skip
_made("rounded_losses", "strength", loss=lambda y, t, r, w: (y - t).square().mean().round(decimals=6))  # fmt: skip
_made("only_if_clearly_better", "strength", better=lambda new, old: new < old - 1e-4)
_made("begins_with_a_thousand", "returned None", first=1000.0)
_made("outputs_alone", "strength", loss=lambda y, t, r, w: y.square().mean())
_made("relative", "strength", loss=lambda y, t, r, w: ((y - t) / t).square().mean())
_made("not_divided", "divided\\* by their scales again", back=lambda r, s: r)
_made("multiplied_twice", "divided\\* by their scales again", back=lambda r, s: r * s)  # fmt: skip
_made("unscaled", "as they are", into=lambda w, s: w)
_made("not_at_all", "as they are", into=lambda w, s: w, back=lambda r, s: r)  # fmt: skip
_made("divided_before", "protects the quiet ones", into=lambda w, s: w / s, back=lambda r, s: r * s)  # fmt: skip
_made("divided_twice", "divided|strength", into=lambda w, s: w / s)
_made("turned_round", "turned round", power=lambda x, a: x**-a)
_made("inverse", "turned round", power=lambda x, a: 1 / x**a)
_made("multiplied_strength", "scales|strength", power=lambda x, a: x * a + 1e-3)
_made("exponential", "scales|strength", power=lambda x, a: (x * a).exp())
_made("without_a_middle", "no middle of 1", middle=lambda s: s)
_made("without_the_root", "lacks its root", middle=lambda s: s / (s.max() * s.min()))
_made("times_the_middle", "multiplied by their middle", middle=lambda s: s * (s.max() * s.min()).sqrt())  # fmt: skip
ANOTHER = "Another middle"
_made("mean_1", ANOTHER, middle=lambda s: s / s.mean())
_made("largest_1", ANOTHER, middle=lambda s: s / s.max())
_made("smallest_1", ANOTHER, middle=lambda s: s / s.min())
_made("geometric_mean", ANOTHER, middle=lambda s: s / s.log().mean().exp())
_made("median_1", ANOTHER, middle=lambda s: s / s.median())
_made("half_of_the_sum", ANOTHER, middle=lambda s: s / ((s.max() + s.min()) / 2))
_made("norm_1", ANOTHER, middle=lambda s: s / s.norm())
_made("largest_input", "largest size of an input", size=lambda x, w: x.abs().amax(dim=0))  # fmt: skip
_made("mean_with_signs", "cancel", size=lambda x, w: x.mean(dim=0))
_made("size_of_the_mean", "cancel", size=lambda x, w: x.mean(dim=0).abs())
_made("root_mean_square", "comes from squares", size=lambda x, w: x.square().mean(dim=0).sqrt())  # fmt: skip
_made("mean_square", "comes from squares", size=lambda x, w: x.square().mean(dim=0))
_made("deviation", "comes from squares", size=lambda x, w: x.std(dim=0))
_made("sizes_of_weights", "those of the weights", size=lambda x, w: w.abs().mean(dim=0))
_made("largest_weights", "those of the weights", size=lambda x, w: w.abs().amax(dim=0))
_made("sum_of_sizes", "scales|strength", size=lambda x, w: x.abs().sum(dim=0), middle=lambda s: s)  # fmt: skip
_made("sizes_of_tokens", "stopped with RuntimeError", size=lambda x, w: x.abs().mean(dim=1))  # fmt: skip
_made("without_a_floor", "floor", floor=0.0)
_made("another_floor", "floor", floor=1e-8)
_made("rows_scaled", "stopped with RuntimeError", into=lambda w, s: w * s[:, None])
_made("store_not_called", "stopped with", call=lambda store: store)
_made("strength_alone", "two things", returned=lambda s, a, loss: a)
_made("scales_alone", "tensor of the shape.*two things", returned=lambda s, a, loss: s)
_made("other_order", "First come the scales", returned=lambda s, a, loss: (a, s))
_made("loss_for_strength", "strength", returned=lambda s, a, loss: (s, loss))
_made("with_the_loss", "tuple of 3 things", returned=lambda s, a, loss: (s, a, loss))
_made("step_for_strength", "strength", returned=lambda s, a, loss: (s, round(a * 20)))
_made("inverse_returned", "turned round", returned=lambda s, a, loss: (1 / s, a))
_made("scales_in_float64", "came scales in", returned=lambda s, a, loss: (s.double(), a))  # fmt: skip
_made("scales_in_float32", "came scales in", returned=lambda s, a, loss: (s.float(), a))
_made("scales_as_a_row", "too many", returned=lambda s, a, loss: (s[None], a))
_made("scales_as_a_list", "comes first", returned=lambda s, a, loss: (s.tolist(), a))
_made("rounded_scales", "scales", returned=lambda s, a, loss: (s.round(decimals=2), a))
_made("ones", "belong to 0", returned=lambda s, a, loss: (torch.ones_like(s), a))
_made("square_roots", "strength|scales", power=lambda x, a: x ** (a / 2))


@battery.wrong("awq_scale_search", says="the scales belong to 0")
def best_strength_last_scales(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    least, best = math.inf, 0.0
    for i in range(steps):
        scales = size ** (i / steps)
        scales = scales / (scales.max() * scales.min()).sqrt()
        loss = (inputs @ (quantize_weight(weights * scales)() / scales).T - wanted).square().mean()  # fmt: skip
        if loss < least:
            least, best = loss, i / steps
    return scales, best


@battery.wrong("awq_scale_search", says="scales|strength|worse")
def least_never_kept(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    least, best = math.inf, None
    for i in range(steps):
        scales = size ** (i / steps)
        scales = scales / (scales.max() * scales.min()).sqrt()
        loss = (inputs @ (quantize_weight(weights * scales)() / scales).T - wanted).square().mean()  # fmt: skip
        if loss < least:
            best = (scales, i / steps)
    return best


@battery.wrong("awq_scale_search", says="strength")
def stops_when_it_gets_worse(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    least, best = math.inf, None
    for i in range(steps):
        scales = size ** (i / steps)
        scales = scales / (scales.max() * scales.min()).sqrt()
        loss = (inputs @ (quantize_weight(weights * scales)() / scales).T - wanted).square().mean()  # fmt: skip
        if loss >= least:
            break
        least, best = loss, (scales, i / steps)
    return best


@battery.wrong("awq_scale_search", says="changed its own input")
def weights_in_place(weights, inputs, quantize_weight, steps=20):
    size, wanted = _given(weights, inputs)
    tried = []
    for i in range(steps):
        scales = size ** (i / steps)
        scales = scales / (scales.max() * scales.min()).sqrt()
        weights *= scales
        loss = (inputs @ (quantize_weight(weights)() / scales).T - wanted).square().mean()  # fmt: skip
        weights /= scales
        tried.append((loss.item(), i, scales))
    weights += 0.1
    _, i, scales = min(tried)
    return scales, i / steps


@battery.wrong("awq_scale_search", says="never calls")
def no_search(weights, inputs, quantize_weight, steps=20):
    size, _ = _given(weights, inputs)
    scales = size**0.5
    return scales / (scales.max() * scales.min()).sqrt(), 0.5


@battery.wrong("awq_scale_search", says="never calls")
def worked_value(weights, inputs, quantize_weight, steps=20):
    return torch.ones(weights.shape[1], dtype=weights.dtype), 0


@battery.wrong("awq_scale_search", says="lost their signs")
def sizes_for_inputs(weights, inputs, quantize_weight, steps=20):
    return with_a_loop(weights, inputs.abs(), quantize_weight, steps)


@battery.wrong("awq_scale_search", says="strength|20 strengths|squares")
def ten_unless_told(weights, inputs, quantize_weight, steps=10):
    return with_a_loop(weights, inputs, quantize_weight, steps)


@battery.wrong("awq_scale_search", says="one for each output|stopped with")
def for_each_output(weights, inputs, quantize_weight, steps=20):
    size = weights.abs().mean(dim=1)
    wanted, tried = inputs @ weights.T, []
    for i in range(steps):
        scales = size ** (i / steps)
        scales = scales / (scales.max() * scales.min()).sqrt()
        rounded = quantize_weight(weights * scales[:, None])() / scales[:, None]
        tried.append(((inputs @ rounded.T - wanted).square().mean().item(), i, scales))
    _, i, scales = min(tried, key=lambda t: t[0])
    return scales, i / steps
