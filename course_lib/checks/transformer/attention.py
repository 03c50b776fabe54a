"""Checks of lesson 01: attention written out, and the layer around it.

Each begins with numbers worked out on paper. Then come random inputs whose sizes differ in every
dimension, compared with one query at a time, and the edges.
"""

import math
import traceback

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib import attention
from course_lib.checks.asking import (
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
    unchanged,
)
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.transformer import Config

# --- attend ---------------------------------------------------------------------------------------

ATTEND_NAN = (
    "There is nan in the result. Zero times infinity is nan, and so is a softmax over a row in "
    "which everything is "
    "forbidden. Was a mask multiplied with infinity, or more forbidden than the mask says?"
)


@check(
    attention.attend,
    also=(attention.fused_attend, attention.attend_once),
    proved="It gives the paper numbers, agrees with one query at a time under any mask, and a "
    "forbidden key has no "
    "influence, however well it fits.",
)
def attend(answer, draw):
    _attend_the_card(answer)
    _attend_on_paper(answer)
    one, each = (
        "one random mask (T, S) for all texts",
        "a mask (B, 1, T, S) for each text",
    )
    cases = (
        (4, 5, 1, one),
        (4, 5, 2, each),
        (4, 4, 1, f"{one} and as many keys as queries"),
        (5, 3, 2, f"{each} and more queries than keys"),
        (1, 4, 2, f"{each} and a single query"),
    )
    for T, S, masks, which in cases:
        q, k, v, mask = _attend_drawn(draw, masks, T, S)
        _attend_compare(
            answer,
            (q, k, v, mask),
            _attend_one_query_at_a_time(q, k, v, mask),
            f"With {which} it differs from mixing the values for one query at a time. Does every "
            "head of every text use its own queries, keys and values?",
        )
    _attend_far_out(answer)
    _attend_far_apart(answer)
    _attend_in_half_precision(answer, draw)
    _attend_gradients(answer, draw)
    _attend_single(answer, draw)


def _attend_the_card(answer) -> None:
    """All scores equal: -2, so that a forgotten softmax and a 0 for forbidden ones show."""
    q, k = torch.full((1, 1, 2, 1), 2.0), torch.full((1, 1, 2, 1), -1.0)
    v = torch.tensor([2.0, 4.0]).view(1, 1, 2, 1)

    def seen(*given):
        got = answer(*given)
        if isinstance(got, Tensor) and got.shape == (1, 2, 2, 1):
            expect(  # a mask with a dimension more gives the rows different heads
                not unchanged(got[:, 0], got[:, 1]),
                "All dimensions of k were turned, or the wrong ones (.T, transpose). Only its last "
                "two change places: batch and heads stay in front.",
            )
        if isinstance(got, Tensor) and bool((got == 3).all()):
            _attend_rows_of_the_mask(answer)
        return got

    _attend_compare(
        seen,
        (q, k, v, torch.tensor([[True, False], [True, True]])),
        torch.tensor([2.0, 3.0]).view(1, 1, 2, 1),
        "With equal scores, values 2 and 4 and a causal mask the results are 2 and 3; yours are "
        "{got}.",
    )


def _attend_rows_of_the_mask(answer) -> None:
    """The card's mask looked all True: is it forgotten, or was one row taken for all queries?"""
    q, v = torch.zeros(1, 1, 2, 1), torch.tensor([1.0, 5.0, 9.0]).view(1, 1, 3, 1)
    got = answer(q, v, v, torch.tensor([[True, False, False], [True, True, False]]))
    expect(
        not isinstance(got, Tensor) or bool((got == 5).all()) or got.numel() != 2,
        "All queries got one mask: the last row of it, or what any query may look at. Each query "
        "has a row of its own.",
    )


def _attend_on_paper(answer) -> None:
    """T = 2, S = 3, K = 4: weights 1 : (2) : 5 and 4 : 3 : (9), forbidden ones in brackets.

    Five heads with the same weights; the values of head h are h + 1 times those of the first.
    """
    powers = torch.tensor([[1.0, 2.0, 5.0], [4.0, 3.0, 9.0]])
    q = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    k = torch.cat([powers.log().T, torch.zeros(3, 2)], 1)
    v = torch.tensor(
        [[42.0, 0.0, 0.0, -42.0], [0.0, 42.0, 14.0, 0.0], [0.0, 84.0, 42.0, 42.0]]
    )
    mask = torch.tensor([[True, False, True], [True, True, False]])
    want = torch.tensor([[7.0, 70.0, 35.0, 28.0], [24.0, 18.0, 6.0, -24.0]])
    times = torch.arange(1.0, 6.0).view(1, 5, 1, 1)
    _attend_compare(
        answer,
        (q.repeat(1, 5, 1, 1), k.repeat(1, 5, 1, 1), times * v, mask),
        times * want,
        "Two queries and three keys were worked out on paper: the weights are 1/6 and 5/6 for the "
        "first query, 4/7 and "
        "3/7 for the second. {row}",
    )


def _attend_drawn(
    draw: torch.Generator,
    masks: int,
    T: int = 4,
    S: int = 5,
    kind: torch.dtype = torch.float32,
) -> tuple:
    """Queries, keys, values not in one piece, as split_heads leaves them; a mask with holes."""
    B, H, K = 2, 3, 6
    q, k, v = (
        torch.randn(B, length, H, K, generator=draw, dtype=kind).transpose(1, 2)
        for length in (T, S, S)
    )
    places = (T, S) if masks == 1 else (B, 1, T, S)
    rank = torch.rand(places, generator=draw).argsort(-1).argsort(-1)
    seen = torch.randint(1, S, (*places[:-1], 1), generator=draw)
    mask = rank < seen  # 1 to S - 1 keys for each query
    if T == 1:  # of two small masks drawn, both might be alike
        mask = torch.cat([mask[:1], ~mask[:1]])
    return q, k, v, mask


def _attend_one_query_at_a_time(q: Tensor, k: Tensor, v: Tensor, mask: Tensor):
    """The definition: forbidden keys are not even there."""
    B, H, T, K = q.shape
    masks = mask.expand(B, H, T, k.shape[2])
    rows = []
    for b, h, t in torch.cartesian_prod(*map(torch.arange, (B, H, T))).tolist():
        seen = masks[b, h, t]
        scores = k[b, h, seen] @ q[b, h, t] / math.sqrt(K)
        rows.append(scores.softmax(0) @ v[b, h, seen])
    return torch.stack(rows).view(q.shape)


def _attend_compare(
    answer,
    given: tuple,
    want: Tensor,
    otherwise: str,
) -> None:
    q, k, _, mask = given
    shapes = _attend_shapes(q.shape, k.shape[2])
    try:
        got = ask_tensor(answer, *given, shape=tuple(q.shape), shapes=shapes)
    except RuntimeError as error:
        if likely := _attend_clash(first_line(error), mask):
            raise CheckFailed(f"{likely} ({first_line(error)}.)") from error
        raise
    if close(got, want):
        _attend_keeps_precision(got, q)
        return
    again = [answer(*given) for _ in range(8)]
    expect(
        all(unchanged(got, other) for other in again),
        "Asked twice, it gives two different results. Is something drawn at random (dropout)? "
        "Nothing is, here.",
    )
    _attend_diagnose(
        got,
        want,
        _attend_mistakes(*given),
        ATTEND_NAN
        if got.isnan().any()
        else otherwise.replace("{got}", _attend_listed(got.flatten())).replace(
            "{row}", _attend_row(got, want)
        ),
    )


def _attend_keeps_precision(got: Tensor, q: Tensor) -> None:
    expect(
        got.dtype == q.dtype,
        f"Queries, keys and values of {q.dtype} give {got.dtype}. What comes next in the model "
        "would stop there: the result should have the type of what went in.",
    )


def _attend_listed(numbers: Tensor) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers.tolist())


def _attend_row(got: Tensor, want: Tensor) -> str:
    """The first row that differs, in words."""
    off = ~(got - want).abs().le(1e-4 * want.abs().max()).all(-1)
    b, h, t = next(iter(off.nonzero().tolist()), [0, 0, 0])
    mine, theirs = (_attend_listed(rows[b, h, t]) for rows in (got, want))
    return f"Row {t} of head {h} is {mine} instead of {theirs}."


def _attend_diagnose(
    got: Tensor, want: Tensor, mistakes: dict[str, tuple[Tensor, ...]], otherwise: str
) -> None:
    """`diagnose`, but rounding is measured by the largest number, and nan can be a mistake's."""
    size = want.abs().max().clamp(min=1.0)

    def marked(result: Tensor) -> Tensor:  # nan equals nothing, -12345 equals itself
        return (result / size).nan_to_num(nan=-12345.0)

    known = {m: tuple(map(marked, results)) for m, results in mistakes.items()}
    diagnose(marked(got), marked(want), known, otherwise)


def _attend_clash(said: str, mask: Tensor) -> str | None:
    """What shapes that do not fit probably mean; None if the error is about something else."""
    if "must match the size" not in said and "Expected size for first two" not in said:
        return None
    if mask.dim() == 4 and said.endswith("dimension 1"):
        return (
            "Sizes do not fit. A mask for each text has a dimension of size 1 for the heads, which "
            "fits any number of them: was it squeezed away?"
        )
    return (
        "Sizes do not fit. Rows of the scores are queries, columns are keys: (T, S), as in the "
        "mask. Were queries compared with queries, did queries and keys change places, was there a "
        "product number by number, or was the mask cut?"
    )


def _attend_shapes(shape: torch.Size, S: int) -> dict[tuple[int, ...], str]:
    B, H, T, K = shape
    # fmt: off
    return {
        (B, H, T, 1): "A mean or sum over the head's numbers is too much.",
        (B, H, S, K): "There is one row for each key; one for each query is wanted.",
        (B, H, K, T): "The last two dimensions changed places.",
        (B, T, H, K): "Heads and tokens changed places. They stay where they were; joining heads "
         "is the layer's work.",
        (B, T, K): "The heads were added up or averaged; every head has a result of its own.",
        (B, T, H * K): "The heads are joined; that is the layer's work, later.",
        (B, H, T * K): "The last two dimensions became one.",
        (B, H, K): "The rows of a head's queries were added up; every query has a result of its "
         "own.",
        (B, H, S, T): "These are weights, one for each pair. They still have to mix the values.",
        (B, H, T, S): "These are weights (or scores), one for each query and key. They still have "
         "to mix the values.",
    } | dict.fromkeys(
        ((T, K), (T,), (), (K,)),
        "A dimension of size 1 was lost. squeeze() without a dimension removes every one of them.",
    ) | dict.fromkeys(
        ((1, 1, B, H, T, K), (1, B, H, T, K), (B, 1, H, T, K), (B, B, H, T, K), (1, T, T, K),
         (B, T, T, K)),
        "The mask and the scores line up on the right by themselves. Was a dimension added to the "
        "mask (None, unsqueeze)?",
    ) | dict.fromkeys(
        ((H, T, K), (B, T, K)) if 1 in (B, H) else (),
        "A dimension of size 1 was lost: was it squeezed away, or were the heads summed or joined? "
        "Joining them is the layer's work.",
    )
    # fmt: on


def _attend_mistakes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> dict:
    """What known mistakes give for these inputs, the card's own pitfalls first."""
    (B, H, T, K), S = q.shape, k.shape[2]
    raw = q @ k.mT
    scores = raw / math.sqrt(K)
    barred = scores.masked_fill(~mask, -math.inf)
    weights, seeing = barred.softmax(-1), scores.softmax(-1)

    def mixed(scores: Tensor, allowed: Tensor = mask, dim: int = -1) -> Tensor:
        return scores.masked_fill(~allowed, -math.inf).softmax(dim) @ v

    def unit(x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1)

    def powers(numbers: Tensor) -> Tensor:
        return numbers / numbers.sum(-1, keepdim=True)

    every = torch.ones(T, S, dtype=torch.bool)
    falls = (-2.0, -3.0, -5.0, -10.0, -20.0, -30.0, -50.0, -100.0, -1e3, -1e4, -1e9)
    heads = weights @ v
    one_mask = () if mask.dim() == 2 else (mask[:1], mask[-1:])
    any_mask = () if mask.dim() == 2 else (mask.any(0), mask.all(0))
    # fmt: off
    return {
        "The forbidden keys were taken out after the softmax: the weights of a query no longer sum "
        "to 1. Their scores "
        "have to change before it.":
            (seeing * mask @ v, (raw.softmax(-1) * mask) @ v),
        "Queries look at what is forbidden and not at what is allowed: the mask is upside down "
        "(True means allowed here; "
        "torch has functions of both kinds), or forbidden scores became very high.":
            (mixed(scores, ~mask), mixed(raw, ~mask), seeing.masked_fill(mask, 0.0) @ v,
             mixed(scores, ~mask).nan_to_num(0.0), scores.masked_fill(mask, -1e9).softmax(-1) @ v,
             scores.masked_fill(~mask, 1e9).softmax(-1) @ v),
        "The mask made no difference: every query looked at every key.":
            (seeing @ v, raw.softmax(-1) @ v),
        "A forbidden score became 0, or nearly 0. After the exponential that is still a share, "
        "even a large one where the "
        "other scores are negative.":
            ((scores * mask).softmax(-1) @ v, (raw * mask).softmax(-1) @ v,
             (raw * mask / K).softmax(-1) @ v),
        "A forbidden score was lowered to -1, or by 1 (True counts as 1 in a sum). That takes away "
        "some of its weight, "
        "not all of it.":
            (scores.masked_fill(~mask, -1.0).softmax(-1) @ v, (scores + mask).softmax(-1) @ v,
             (raw + mask).softmax(-1) @ v, ((raw + mask) / math.sqrt(K)).softmax(-1) @ v),
        "A finite number stands in for minus infinity, so forbidden keys keep a small weight. They "
        "have to get exactly 0.":
            tuple(result for fall in falls for result in (
                scores.masked_fill(~mask, fall).softmax(-1) @ v,
                (scores + fall * ~mask).softmax(-1) @ v,
                (raw.masked_fill(~mask, fall) / math.sqrt(K)).softmax(-1) @ v)),
        "Rows and columns of the mask are exchanged. Its rows are queries, its columns keys.":
            (mixed(scores, mask.mT), mixed(scores, mask.mT).nan_to_num(0.0)) if T == S else (),
        "Forbidden scores should be lowered, and here the allowed ones were (their True counts as "
        "1).":
            ((scores - mask.to(scores)).softmax(-1) @ v,),
        "A causal mask was made here. The mask that is given says already who may look at whom, "
        "and it may be another "
        "one.":
            tuple(mixed(scores, every.tril(shift)) for shift in (S - T, 0))
            + tuple(mixed(scores, mask & every.tril(shift)) for shift in (S - T, 0)),
        "All texts got the mask of one of them. Each has its own, mask[b].":
            tuple(mixed(scores, one) for one in one_mask),
        "The masks of the texts were joined into one (any, all, or a mean). Each text has its own.":
            tuple(mixed(scores, one) for one in any_mask),
        "A score of 0 was taken for a forbidden one. Only the mask says who may look at whom; an "
        "allowed score may be 0.":
            (scores.masked_fill(~mask | (scores == 0), -math.inf).softmax(-1).nan_to_num(0.0) @ v,),
        "The scores were not scaled. The formula in the docstring divides them by something that "
        "grows with the head's width.":
            (mixed(raw),),
        "The scores are divided by the head's width itself; the formula has its root.":
            (mixed(raw / K),),
        "The scores were multiplied where they should be divided.":
            (mixed(raw * math.sqrt(K)), mixed(raw * K)),
        "The scores were scaled, but not by the root of the head's width (the last dimension of "
        "q), or not once. Was it "
        "the number of queries, of keys, of heads, or a fixed number?":
            tuple(mixed(raw / math.sqrt(size)) for size in (T, S, H, H * K, B, 64, K ** 3)),
        "The scaling was done twice, before the softmax and after it.":
            (weights / math.sqrt(K) @ v,),
        "The scaling came too late: the softmax had already seen the unscaled scores.":
            (mixed(raw) / math.sqrt(K),),
        "The weights sum to 1 over the queries, not over the keys. Along which dimension did you "
        "take the softmax?":
            (mixed(scores, dim=-2), scores.softmax(-2) * mask @ v,
             mixed(scores, dim=-2).nan_to_num(0.0),
             barred.softmax(-2).nan_to_num(0.0) @ v),
        "The softmax went over the heads or over the texts: the weights of one query sum to 1, "
        "over its keys.":
            tuple(result for dim in (0, 1) for result in (
                mixed(scores, dim=dim), barred.softmax(dim).nan_to_num(0.0) @ v,
                scores.softmax(dim) * mask @ v)),
        "All weights of a head sum to 1 together. Those of each query should, on their own.":
            (barred.flatten(2).softmax(-1).view_as(barred) @ v,),
        "There is no softmax: the values are mixed by the scores themselves.":
            (scores * mask @ v, raw * mask @ v, barred @ v, scores @ v, powers(scores * mask) @ v),
        "The values are mixed by the logarithms of the weights (log_softmax). Mix them by the "
        "weights themselves.":
            (barred.log_softmax(-1) @ v,),
        "The weights were turned before they mixed the values: their rows are queries, their "
        "columns keys.":
            (weights.mT @ v,) if T == S else (),
        "The exponentials are there; every row still has to be divided by its sum.":
            (barred.exp() @ v, scores.exp() @ v),
        "Each score was squashed by itself (a sigmoid, a tanh, a relu). The keys of a query "
        "compete: their weights sum "
        "to 1.":
            (barred.sigmoid() @ v, powers(barred.sigmoid()) @ v, scores.tanh() * mask @ v,
             scores.relu() * mask @ v),
        "The softmax was taken twice.":
            (weights.softmax(-1) @ v, mixed(weights), mixed(seeing)),
        "The best key takes all here (an argmax). The others should keep their share.":
            (functional.one_hot(barred.argmax(-1), S).to(v) @ v,),
        "All allowed keys weigh the same: the queries and keys made no difference.":
            (powers(mask.to(v).expand(B, 1, T, S)) @ v,),
        "The sign of the scores is turned: the worst key gets the most.":
            (mixed(-scores),),
        "The keys were mixed. They only say how well they fit; the values are what is mixed.":
            (weights @ k,),
        "The queries were compared with the values; they look for keys.":
            (mixed(q @ v.mT / math.sqrt(K)),),
        "Queries and keys were brought to length 1. Their lengths count: only the product is "
        "scaled.":
            (mixed(unit(q) @ unit(k).mT), mixed(unit(q) @ unit(k).mT / math.sqrt(K))),
        "The distance decided here; the product of query and key should.":
            (mixed(-torch.cdist(q, k)), mixed(-torch.cdist(q, k) / math.sqrt(K)),
             mixed(-torch.cdist(q, k).square()), mixed(-torch.cdist(q, k).square() / math.sqrt(K))),
        "The heads share one table of scores (their sum or mean). Every head has its own.":
            (mixed(scores.mean(1, keepdim=True)).expand(B, H, T, K),
             mixed(scores.sum(1, keepdim=True)).expand(B, H, T, K)),
        "The keys or values of the first head served all heads. Every head has its own.":
            (mixed(q @ k[:, :1].mT / math.sqrt(K)), weights @ v[:, :1],
             scores[:, :1].expand_as(scores).masked_fill(~mask, -math.inf).softmax(-1) @ v,
             (q @ k[:, :1].mT / math.sqrt(K)).masked_fill(~mask, -math.inf).softmax(-1)
             @ v[:, :1], heads[:, :1].expand_as(heads)),
        "The keys or values of the first text served all texts. Every text has its own.":
            (mixed(q @ k[:1].mT / math.sqrt(K)), weights @ v[:1],
             (q @ k[:1].mT / math.sqrt(K)).masked_fill(~mask, -math.inf).softmax(-1) @ v[:1]),
        "Heads and tokens changed places, and the result was pressed back into the old shape. "
        "They stay where they were.":
            (heads.transpose(1, 2).reshape(q.shape), heads.mT.reshape(q.shape)),
        "All queries got one mask: one row of it, or what any or all of them may look at. Each "
        "query has a row of its own.":
            tuple(mixed(scores, one) for one in (
                mask[..., -1:, :], mask[..., :1, :], mask.any(-2, keepdim=True),
                mask.all(-2, keepdim=True))),
        "All heads have the same result: heads were averaged. Every head has its own.":
            ((weights @ v).mean(1, keepdim=True).expand(B, H, T, K),),
        "The query was added to the result. That is the block's work, and a later exercise.":
            (weights @ v + q,),
    }
    # fmt: on


def _attend_far_out(answer) -> None:
    """One query, three keys of width 1 and values 8, 1, 2, with scores as far out as they go."""
    v = torch.tensor([8.0, 1.0, 2.0]).view(1, 1, 3, 1)

    def result(query: float, keys: tuple, allowed: str) -> float:
        q, k = torch.tensor(query).view(1, 1, 1, 1), torch.tensor(keys)
        mask = torch.tensor([[place == "1" for place in allowed]])
        shapes = _attend_shapes(q.shape, 3)
        got = ask_tensor(
            answer, q, k.view(1, 1, 3, 1), v, mask, shape=(1, 1, 1, 1), shapes=shapes
        )
        return got.item()

    # fmt: off
    stand_in = (
        "A finite number stands in for minus infinity, so forbidden keys keep weight: here the "
        "allowed scores are as low or lower. Forbidden keys have to get exactly 0."
    )
    cases = (
        (1.0, (1000.0, 999.0, 3.0), "110", (8 * math.e + 1) / (math.e + 1),
         "An exponential overflows here, or a clamp makes unequal scores equal. The softmax of "
         "lesson 00 can deal with such scores."),
        (1.0, (3.0, 3.0, 1000.0), "110", 4.5,
         "The forbidden key fits by far the best here, and its score has taken all the weight "
         "before it was forbidden: nothing is left for the allowed ones. It has to change before "
         "the softmax."),
        (1.0, (-1000.0, -1000.0, 3.0), "110", 4.5,
         "Here every allowed exponential vanishes. The softmax of lesson 00 can deal with such "
         "scores, once the forbidden one is gone."),
        (1e15, (1.0, 1.0, -1e15), "001", 2.0, stand_in),
        (0.0, (1.0, 0.0, 0.0), "101", 5.0,
         "Fitting badly is not forbidden: a score may be 0. Only the mask says who may look at "
         "whom."),
    )
    # fmt: on
    for query, keys, allowed, want, why in cases:
        got = result(query, keys, allowed)
        if math.isclose(got, want, rel_tol=1e-3):
            continue
        low = keys[0] == -1000.0 and (
            got == 2 or math.isclose(got, 11 / 3, rel_tol=1e-3)
        )
        expect(not low and why is not stand_in, stand_in)
        raise CheckFailed(
            f"Three keys with values 8, 1 and 2 have scores "
            f"{', '.join(f'{query * key:g}' for key in keys)}, and "
            f"the mask is {allowed}. The result should be {want:.3g}, not {got:.3g}. {why}"
        )


def _attend_far_apart(answer) -> None:
    """Both keys fit each query equally well, and every query some hundreds better than the last."""
    q, k = 300 * torch.arange(8.0).view(2, 2, 2, 1), torch.ones(2, 2, 2, 1)
    v = torch.tensor([2.0, 4.0]).view(2, 1).expand(2, 2, 2, 1)
    got = ask_tensor(
        answer, q, k, v, torch.ones(2, 2, dtype=torch.bool), shape=(2, 2, 2, 1)
    )
    expect(
        close(
            got, torch.full_like(q, 3.0), rtol=1e-3
        ),  # at 2000 the fourth digit may be off
        "Scores of different queries lie hundreds apart here, and both keys, with values 2 and 4, "
        f"fit each query equally well. All results should be 3; yours are "
        f"{_attend_listed(got.flatten())}. Was a maximum taken over other queries, heads or texts "
        "too? Each row has its own.",
    )


def _attend_in_half_precision(answer, draw) -> None:
    q, k, v, mask = _attend_drawn(draw, 2)
    half = tuple(x.half() for x in (q, k, v))
    want = _attend_one_query_at_a_time(*(x.double() for x in half), mask)
    try:
        got = ask_tensor(answer, *half, mask, shape=tuple(q.shape))
    except CheckFailed:
        raise
    except (RuntimeError, OverflowError, TypeError) as error:
        raise CheckFailed(
            f"In half precision (float16, numbers up to 65504) it stops: {first_line(error)}. Is a "
            "number too large for it built in, or is a tensor made in float32, whatever came in?"
        ) from error
    _attend_keeps_precision(got, half[0])
    expect(
        close(got, want, rtol=2e-2, atol=2e-2),  # float16 has three digits
        "In half precision (float16, numbers up to 65504) it differs from mixing the values for "
        "one query at a time. Is a number built in that is too large or too small for it?",
    )


def _attend_gradients(answer, draw) -> None:
    q, k, v, mask = _attend_drawn(draw, 2, kind=torch.float64)
    weights = torch.randn(q.shape, generator=draw, dtype=torch.float64)
    got = ask_tensor(answer, q, k, v, mask, shape=tuple(q.shape))
    want = _attend_one_query_at_a_time(q, k, v, mask)
    _attend_keeps_precision(got, q)
    expect(
        close(got, want),
        "In double precision it differs from mixing the values for one query at a time.",
    )
    sizes, whole = [x.shape[2] for x in (q, k, v)], torch.cat([q, k, v], 2)
    got, want = (
        ask_gradient(lambda leaf, f=f: f(*leaf.split(sizes, 2), mask), whole, weights)
        for f in (answer, _attend_one_query_at_a_time)
    )
    pairs = zip(got.split(sizes, 2), want.split(sizes, 2), strict=True)
    for name, (mine, theirs) in zip(("queries", "keys", "values"), pairs, strict=True):
        expect(
            close(mine, theirs),
            f"The values are right, but the gradient with respect to the {name} is not. Was a part "
            f"detached or rounded?",
        )


def _attend_single(answer, draw) -> None:
    """A batch of one, one head, one query: what text that is being written looks like."""
    for heads, keys, width in ((1, 3, 2), (2, 1, 1), (1, 1, 2)):
        q = torch.randn(1, heads, 1, width, generator=draw)
        k, v = torch.randn(2, 1, heads, keys, width, generator=draw)
        mask = torch.ones(1, keys, dtype=torch.bool)
        got = ask_tensor(
            answer,
            *(q, k, v, mask),
            shape=tuple(q.shape),
            shapes=_attend_shapes(q.shape, keys),
        )
        expect(
            close(got, _attend_one_query_at_a_time(q, k, v, mask)),
            f"With one text, one query, {heads} head(s) and {keys} key(s) the result differs.",
        )


# --- CausalSelfAttention --------------------------------------------------------------------------

CSA_LAYERS = ("query", "key", "value", "output")


@check(
    attention.CausalSelfAttention,
    methods=("forward",),
    proved="It agrees with one head at a time: with and without rotation and mask, with shared "
    "keys, with what was "
    "remembered, and with any `attend` that it is built with.",
)
def CausalSelfAttention(answer, draw):
    _csa_on_paper(answer)
    x = torch.randn(2, 5, 12, generator=draw)
    own = {"width": 12, "heads": 3, "kv_heads": 3, "bias": True}
    layer = _csa_built(answer, draw, **own)
    _csa_compare(
        layer,
        x,
        "Without rotation and mask it differs from one head at a time. Is x projected, split, "
        "mixed, joined and projected "
        "back, in this order?",
    )
    _csa_compare(
        layer,
        x,
        "Without a rotation it is right, with one it differs from one head at a time.",
        rotation=_csa_rotation(draw, 5, 4),
    )
    everybody = torch.ones(5, 5, dtype=torch.bool)
    for mask in (_csa_mask(draw, 5), everybody, _csa_mask(draw, 5) | everybody.triu(2)):
        _csa_compare(
            layer,
            x,
            "With a mask (T, S) it differs from one head at a time. The mask goes to mix_heads as "
            "it came.",
            mask=mask,
        )
    _csa_shared_keys(answer, draw)
    _csa_other_attend(answer, draw)
    _csa_remembering(answer, draw)
    _csa_other_attend_in_use(answer, draw)
    _csa_gradients(answer, draw)
    lone = _csa_built(answer, draw, width=6, heads=1, kv_heads=1)
    for T in (1, 3):
        _csa_compare(
            lone,
            torch.randn(1, T, 6, generator=draw),
            f"With one text, one head and {T} token(s) it differs from one head at a time.",
            rotation=_csa_rotation(draw, T, 6),
        )


def _csa_built(answer, draw, attend=None, bias=False, **sizes) -> nn.Module:
    """A layer of the learner's class with drawn weights, neither small nor alike."""
    config = Config(vocabulary=8, context=8, layers=1, hidden=8, bias=bias, **sizes)
    layer = answer(config) if attend is None else answer(config, attend)
    for name in CSA_LAYERS:
        expect(
            isinstance(getattr(layer, name, None), nn.Linear),
            f"The layer has no linear layer called {name}. Only forward is yours to write: leave "
            f"__init__ as it was.",
        )
    with torch.no_grad():
        for weights in layer.parameters():
            weights.copy_(0.4 * torch.randn(weights.shape, generator=draw))
    return layer.requires_grad_(False)


def _csa_rotation(draw, *places: int) -> tuple[Tensor, Tensor]:
    """Random angles in the form in which `rotary` gives them; places (..., T, K)."""
    *rest, K = places
    angles = 6 * torch.rand(*rest, K // 2, generator=draw)
    signed = torch.cat([-angles, angles], dim=-1)
    return signed.cos(), signed.sin()


def _csa_mask(draw, T: int, *texts: int) -> Tensor:
    """Causal with holes; everybody sees itself, nobody sees everything."""
    mask = (torch.rand(*texts, T, T, generator=draw) < 0.7).tril()
    mask |= torch.eye(T, dtype=torch.bool)
    mask[..., -1, 0] = False
    return mask


def _csa_on_paper(answer) -> None:
    """Three tokens, two heads of width 2; queries and keys are 0, so that values are averaged."""
    layer = _csa_built(answer, torch.Generator(), width=4, heads=2, kv_heads=2)
    with torch.no_grad():
        for name, size in zip(CSA_LAYERS, (0, 0, 1, 10), strict=True):
            getattr(layer, name).weight.copy_(size * torch.eye(4))
    x = [[8.0, 4.0, 0.0, 2.0], [2.0, 0.0, 6.0, 10.0], [2.0, 2.0, 3.0, 0.0]]
    want = [[80.0, 40.0, 0.0, 20.0], [50.0, 20.0, 30.0, 60.0], [40.0, 20.0, 30.0, 40.0]]
    _csa_compare(
        layer,
        torch.tensor([x]),
        "Three tokens, the first two (8, 4, 0, 2) and (2, 0, 6, 10), were worked out on paper, "
        "with queries and keys of 0 "
        "and an output that multiplies by 10: the first gets (80, 40, 0, 20), the second the mean, "
        "(50, 20, 30, 60). "
        "Yours are {got}.",
        want=torch.tensor([want]),
    )


def _csa_reference(
    layer: nn.Module,
    x: Tensor,
    rotation: tuple[Tensor, Tensor] | None = None,
    mask: Tensor | None = None,
    remember=None,
    *,
    turn: str = "qk",
    pairs: str = "halves",
    sign: int = 1,
    turns: int = 1,
    width: int | None = None,
    split: str = "tokens",
    join: str = "tokens",
    share: str = "neighbours",
    sources: tuple[str, ...] = ("query", "key", "value"),
    scale: float = 1.0,
    without: tuple[str, ...] = (),
    mix=None,
    project: bool = True,
) -> Tensor:
    """The layer by einsum, (B, T, heads, K) throughout; behind the star, mistakes it can make."""
    K = width or layer.K
    parts = {}
    for name, source in zip("qkv", sources, strict=True):
        linear = getattr(layer, source)
        flat = functional.linear(
            x, linear.weight, None if source in without else linear.bias
        )
        parts[name] = _csa_split(flat, K, split)
    if rotation is not None:
        for name in turn:
            for _ in range(turns):
                parts[name] = _csa_turned(parts[name], rotation, sign, pairs)
    q, k, v = parts.values()
    if remember is not None:
        k, v = (
            whole.transpose(1, 2)
            for whole in remember(k.transpose(1, 2), v.transpose(1, 2))
        )
    times = q.shape[2] // k.shape[2]
    if share == "neighbours":
        k, v = k.repeat_interleave(times, dim=2), v.repeat_interleave(times, dim=2)
    else:
        k, v = k.repeat(1, 1, times, 1), v.repeat(1, 1, times, 1)
    T, S = q.shape[1], k.shape[1]
    if mask is None:
        mask = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    if mix is None:
        scores = torch.einsum("bthk,bshk->bhts", q, k) / math.sqrt(K) * scale
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        mixed = torch.einsum("bhts,bshk->bthk", weights, v)
    else:
        mixed = mix(q, k, v)
    joined = _csa_joined(mixed, join)
    if not project:
        return joined
    return functional.linear(
        joined, layer.output.weight, None if "output" in without else layer.output.bias
    )


def _csa_split(flat: Tensor, K: int, how: str) -> Tensor:
    B, T, _ = flat.shape
    if how == "bare":  # heads first at once, without a transpose
        return flat.reshape(B, -1, T, K).transpose(1, 2)
    if how == "strided":  # a head takes every H-th number
        return flat.unflatten(-1, (K, -1)).transpose(-2, -1)
    return flat.unflatten(-1, (-1, K))


def _csa_joined(mixed: Tensor, how: str) -> Tensor:
    B, T, _, _ = mixed.shape
    if how == "bare":
        return mixed.transpose(1, 2).reshape(B, T, -1)
    if how == "strided":
        return mixed.transpose(2, 3).flatten(2)
    if how == "bare and strided":
        return mixed.permute(0, 2, 3, 1).reshape(B, T, -1)
    if how == "reversed":
        return mixed.flip(2).flatten(2)
    return mixed.flatten(2)


def _csa_turned(x: Tensor, rotation: tuple, sign: int, pairs: str) -> Tensor:
    """Each pair as a complex number times another of length 1; x (B, T, heads, K)."""
    half = x.shape[-1] // 2
    cos, sin = (
        part.transpose(1, 2) if part.dim() == 4 else part.unsqueeze(-2)
        for part in rotation
    )
    turn = torch.complex(cos[..., :half], sign * sin[..., half:])
    if pairs == "neighbours":
        turned = torch.complex(x[..., ::2], x[..., 1::2]) * turn
        return torch.stack([turned.real, turned.imag], -1).flatten(-2)
    turned = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([turned.real, turned.imag], -1)


def _csa_compare(
    layer: nn.Module,
    x: Tensor,
    otherwise: str,
    rotation: tuple | None = None,
    mask: Tensor | None = None,
    remember=None,
    want: Tensor | None = None,
) -> None:
    got = _csa_asked(layer, x, rotation, mask, remember)
    if want is None:
        want = _csa_reference(layer, x, rotation, mask, remember)
    if close(got, want):
        _csa_keeps_precision(got, x)
        return
    expect(
        remember is not None or unchanged(got, layer(x, rotation, mask, remember)),
        "Asked twice, it gives two different results. Is something drawn at random (dropout)? "
        "Nothing is, here.",
    )
    mistakes = _csa_mistakes(layer, x, rotation, mask, remember)
    numbers = " and ".join(f"({_attend_listed(row)})" for row in got[0].detach()[:2])
    _attend_diagnose(got, want, mistakes, otherwise.replace("{got}", numbers))


def _csa_keeps_precision(got: Tensor, x: Tensor) -> None:
    expect(
        got.dtype == x.dtype,
        f"x of {x.dtype} comes back as {got.dtype}. The next layer would stop there: the result "
        "should have the type of x.",
    )


def _csa_asked(layer: nn.Module, x: Tensor, rotation, mask, remember) -> Tensor:
    """Ask for an output; torch's words about known accidents are said in others."""
    B, T, D = x.shape
    H, K = layer.query.out_features // layer.K, layer.K
    # fmt: off
    shapes = {
        (B, T, H * K): "Is this before the last projection? The output layer brings the joined "
         "heads back to width D.",
        (B, H, T, K): "The heads are still apart: join them and project them back.",
        (B, T, H, K): "The heads are still apart: join them and project them back.",
        (B, H, T, D): "The heads are still apart: they are joined before the output layer.",
        (T, D): "The batch is gone. squeeze() without a dimension removes every dimension of size "
         "1.",
        (B, D): "The tokens are gone. squeeze() without a dimension removes every dimension of "
         "size 1.",
        (D,): "Batch and tokens are gone. squeeze() without a dimension removes every dimension of "
         "size 1.",
    }
    narrow = (
        "A linear layer got vectors of another width than its own. Do query, key and value read x, "
        "and are all heads "
        "joined into one vector per token before the output layer? Or is a number of heads built in?"
    )
    if rotation is not None and rotation[0].dim() == 4:  # without it all was well
        narrow = (
            "With cosines and sines of shape (B, 1, T, K), an angle for each text, heads come out "
            "with other dimensions. "
            "Was one added to the rotation? It lines up on the right by itself (it broadcasts)."
        )
    accidents = (
        ("must be an iterable, not NoneType",
         "The rotation was used although there is none: it may be None, and then queries and keys "
         "stay as they are."),
        ("'NoneType' object is not subscriptable",
         "The rotation was taken apart although there is none: it may be None, and then queries "
         "and keys stay as they "
         "are."),
        ("cannot unpack non-iterable NoneType",
         "The rotation was taken apart although there is none: it may be None, and then queries "
         "and keys stay as they "
         "are."),
        ("'NoneType' object is not callable",
         "`remember` was called although there is none: it may be None, and then nothing is "
         "remembered."),
        ("one width: ",
         "The rotation is for the numbers of one head. Was something turned before it was split "
         "into heads? Put the heads before the tokens first: rotate lines up its last two "
         "dimensions."),
        ("don't multiply up to the size of dim",
         "A vector was split into heads of another width than self.K. Is a width built in?"),
        ("mat1 and mat2 shapes cannot be multiplied", narrow),
        ("Expected size for first two dimensions of batch2", narrow),
        ("is invalid for input of size",
         "The heads were joined to (or split from) a width that they do not have. The number of "
         "heads times K need not be D, all heads together may be wider or narrower than x, and "
         "there may be fewer heads of keys than of queries. Is a number of heads built in?"),
        ("every query is one of the keys",
         "mix_heads got tokens where it looks for heads, or the other way round. It wants heads "
         "before tokens: "
         "(B, H, T, K)."),
    )
    # fmt: on
    try:
        return ask_tensor(
            layer, x, rotation, mask, remember, shape=(B, T, D), shapes=shapes
        )
    except CheckFailed:
        raise
    except (TypeError, RuntimeError, AssertionError) as error:
        said = first_line(error)
        frames = traceback.extract_tb(error.__traceback__)
        turning = any("cos" in (f.line or "") for f in frames)
        if rotation is not None and rotation[0].dim() == 4:  # without it all was well
            turning = turning or mask is remember is None
        if rotation is not None and turning and "must match the size" in said:
            raise CheckFailed(_csa_rotation_clash(rotation, said)) from error
        for words, mistake in accidents:
            if words in str(error):
                raise CheckFailed(mistake) from error
        raise


def _csa_rotation_clash(rotation: tuple, said: str) -> str:
    if rotation[0].dim() == 2:
        return (
            f"Sizes do not fit where queries and keys are turned ({said}). Put the heads before "
            "the tokens first: rotate lines up its last two dimensions."
        )
    return (
        f"With cosines and sines of shape (B, 1, T, K) sizes do not fit ({said}). Was the rotation "
        "cut, or a dimension added to it? It lines up on the right by itself, once the heads stand "
        "before the tokens."
    )


def _csa_mistakes(
    layer: nn.Module, x: Tensor, rotation, mask, remember
) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes give, the card's own pitfalls first."""
    _, T, D = x.shape
    heads, kv_heads = (
        linear.out_features // layer.K for linear in (layer.query, layer.key)
    )
    own, same = heads == kv_heads, heads * layer.K == D
    new = torch.zeros(len(x), kv_heads, T, layer.K)
    S = T if remember is None else remember(new, new)[0].shape[2]
    every = torch.ones(T, S, dtype=torch.bool)

    def made(*, mask=mask, rotation=rotation, when: bool = True, **mistake) -> tuple:
        if not when:
            return ()
        return (_csa_reference(layer, x, rotation, mask, remember, **mistake),)

    by_number = _csa_by_number_of_heads(layer, x) if own else ()
    stray = tuple(
        made(sources=names)[0]
        for names in (
            ("query", "value", "key"),
            ("query", "key", "key"),
            ("query", "value", "value"),
        )
    ) + tuple(
        made(sources=names)[0]
        for names in (
            ("key", "query", "value"),
            ("query", "query", "value"),
            ("query", "query", "query"),
            ("key", "key", "value"),
            ("value", "key", "query"),
            ("value", "value", "value"),
            ("query", "key", "query"),
        )
        if own
    )
    plain = rotation is None
    own_angles = _csa_own_angles(T, layer.K)
    first_angles = None if plain else tuple(part[:1] for part in rotation)
    ahead = mask is not None and bool((mask & ~every.tril(S - T)).any())
    # fmt: off
    return {
        "The heads were joined without undoing the transpose: a bare view or reshape mixes the "
        "tokens with the heads. "
        "Heads and tokens have to change places first.":
            made(join="bare"),
        "The heads were split or joined in the wrong order: the numbers of one head should stand "
        "side by side.":
            made(join="strided") + made(join="bare and strided") + made(join="reversed"),
        "Each token looks at its own heads, not at the other tokens: the split lacks its "
        "transpose. mix_heads wants "
        "heads before tokens.":
            _csa_across(layer, x, "heads") if own and plain else (),
        "The texts of the batch look at each other: batch and tokens changed places.":
            _csa_across(layer, x, "batch") if plain else (),
        "The heads were split by a bare view or reshape: that mixes tokens with heads. split_heads "
        "does it in order.":
            made(split="bare") + made(split="bare", join="bare"),
        "A head is made of numbers that do not stand side by side. split_heads does it in order.":
            made(split="strided") + made(split="strided", join="strided"),
        "The heads have another width than self.K. Was x split by the number of heads?":
            by_number,
        "The last projection is missing: these are the joined heads.":
            made(project=False, when=same),
        "x was added to the result. The block does that, in a later exercise.":
            tuple(result + x for result in made()),
        "The values were rotated. Only queries and keys are turned: the values say what is there, "
        "not where.":
            tuple(made(turn=turn)[0] for turn in ("qkv", "qv", "kv", "v") if not plain),
        "The rotation made no difference. It may be given, and then it turns queries and keys.":
            made(turn="", when=not plain),
        "Only the queries were rotated. A score depends on the distance when the keys are turned "
        "too.":
            made(turn="q", when=not plain),
        "Only the keys were rotated. A score depends on the distance when the queries are turned "
        "too.":
            made(turn="k", when=not plain),
        "No rotation was given, and queries and keys were turned all the same. None means: not "
        "at all.":
            made(rotation=own_angles, when=plain),
        "The angles were worked out anew from the places 0, 1, 2. The rotation that is given says "
        "how far each token is turned; it may stand elsewhere.":
            made(rotation=own_angles, when=not plain),
        "All texts were turned by the angles of the first one. With a rotation of shape "
        "(B, 1, T, K) each text has its own: was it cut?":
            made(rotation=first_angles, when=not plain and rotation[0].dim() == 4),
        "Everything was rotated twice.":
            made(turns=2, when=not plain),
        "The rotation goes the wrong way, or pairs neighbours. Is cosine first and sine second, "
        "and does your rotate pass "
        "its own check?":
            made(sign=-1, when=not plain) + made(pairs="neighbours", when=not plain)
            + made(rotation=None if plain else rotation[::-1], when=not plain),
        "The mask is upside down: True means allowed, and mix_heads takes it as it came.":
            made(mask=None if mask is None else ~mask, when=mask is not None)
            + made(mask=~every.tril(S - T), when=mask is None),
        "The mask that was given allows to look ahead, and a causal one came on top of it or in "
        "its place. Only without a mask is the layer causal.":
            made(mask=None, when=ahead)
            + made(mask=mask & every.tril(S - T) if ahead else None, when=ahead),
        "The mask made no difference. It may be given, and then it says who may look at whom.":
            made(mask=None, when=mask is not None),
        "Every token looked at all others, those behind it too. Without a mask the layer is "
        "causal.":
            made(mask=every),
        "The first query was set beside the first key. With remembered keys the last query stands "
        "at the last key.":
            made(mask=every.tril(), when=S > T),
        "The scores were scaled twice: attend does that already.":
            made(scale=1 / math.sqrt(layer.K)) + made(scale=1 / layer.K),
        "The scores are not scaled. mix_heads calls an attend that does it.":
            made(scale=math.sqrt(layer.K)),
        "The heads of queries that share keys are the wrong ones. Neighbours share, and mix_heads "
        "sees to it.":
            made(share="in turn", when=not own),
        "Queries, keys and values come from three layers: query, key and value. Two of them were "
        "exchanged, or one was "
        "used twice.":
            stray,
        **{f"{whose} left out. A layer is called, it is more than its weight matrix.":
            made(without=names, when=layer.output.bias is not None)
           for whose, names in (
               ("The layers' biases were", CSA_LAYERS),
               ("The biases of query, key and value were", CSA_LAYERS[:3]),
               *((f"The bias of {name} was", (name,)) for name in CSA_LAYERS))},
        "The first head did the work of all.":
            made(mix=lambda q, k, v: _csa_mean_heads(q, k, v, first=True),
                 when=mask is None and own),
        "The heads were averaged. They are joined side by side, each with its own numbers.":
            made(mix=_csa_mean_heads, when=mask is None and own),
        "What remember returned was not used: it gives all keys and values so far, and all of them "
        "may be looked at.":
            tuple(_csa_reference(layer, x, rotation, mask)
                  for _ in range(remember is not None and S == T)),
        "Only one of the two things that remember returned was used; both keys and values are "
        "wanted.":
            tuple(
                _csa_reference(
                    layer, x, rotation, mask, lambda k, v, keep=keep: keep(k, v, remember))
                for keep in (lambda k, v, r: (r(k, v)[0], v), lambda k, v, r: (k, r(k, v)[1]))
                if remember is not None and S == T),
        "What remember returns are keys first and values second.":
            tuple(
                _csa_reference(layer, x, rotation, mask, lambda k, v: remember(k, v)[::-1])
                for _ in range(remember is not None)),
    }
    # fmt: on


def _csa_own_angles(T: int, K: int) -> tuple[Tensor, Tensor]:
    rates = 1e4 ** -(torch.arange(0, K, 2) / K)
    angles = torch.arange(float(T)).unsqueeze(-1) * rates
    signed = torch.cat([-angles, angles], dim=-1)
    return signed.cos(), signed.sin()


def _csa_by_number_of_heads(layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    heads = layer.query.out_features // layer.K
    if heads == layer.K:
        return ()
    return (_csa_reference(layer, x, width=heads),)


def _csa_mean_heads(q: Tensor, k: Tensor, v: Tensor, first: bool = False) -> Tensor:
    T = q.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    scores = torch.einsum("bthk,bshk->bhts", q, k) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~causal, -math.inf).softmax(-1)
    mixed = torch.einsum("bhts,bshk->bthk", weights, v)
    one = mixed[:, :, :1] if first else mixed.mean(2, keepdim=True)
    return one.expand_as(mixed)


def _csa_across(layer: nn.Module, x: Tensor, what: str) -> tuple[Tensor, ...]:
    """Attention over the heads of a token, or over the texts, as if those were the tokens."""
    parts = (getattr(layer, name)(x) for name in CSA_LAYERS[:3])
    dims = (0, 1, 2, 3) if what == "heads" else (1, 2, 0, 3)  # of (B, T, H, K)
    q, k, v = (part.unflatten(-1, (-1, layer.K)).permute(dims) for part in parts)
    size = q.shape[2]
    every = torch.ones(size, size, dtype=torch.bool)
    results = []
    for mask in (every.tril(), every):
        if k.shape[1] != q.shape[1]:
            k, v = (
                part.repeat_interleave(q.shape[1] // part.shape[1], 1)
                for part in (k, v)
            )
        scores = (q @ k.mT / math.sqrt(layer.K)).masked_fill(~mask, -math.inf)
        mixed = (scores.softmax(-1) @ v).permute(
            (0, 1, 2, 3) if what == "heads" else (2, 0, 1, 3)
        )
        results.append(layer.output(mixed.flatten(2)))
        if what == "heads":  # a transpose back although there was none before
            again = (scores.softmax(-1) @ v).transpose(1, 2).reshape(*x.shape[:2], -1)
            results.append(layer.output(again))
    return tuple(results)


def _csa_shared_keys(answer, draw) -> None:
    """Six heads of queries on two of keys, each of width 4, in a stream of width 10."""
    sizes = {"width": 10, "heads": 6, "kv_heads": 2, "head_width": 4}
    layer = _csa_built(answer, draw, **sizes)
    x = torch.randn(2, 5, 10, generator=draw)
    _csa_compare(
        layer,
        x,
        "With six heads of queries on two heads of keys it differs from one head at a time.",
    )
    x = torch.randn(6, 5, 10, generator=draw)  # more texts than tokens
    rotation = _csa_rotation(draw, 6, 1, 5, 4)
    for what, mask in (("", None), (" and a mask", _csa_mask(draw, 5, 6, 1))):
        _csa_compare(
            layer,
            x,
            f"With a rotation{what} of its own for each text it differs from one head at a time.",
            rotation=rotation,
            mask=mask,
        )


def _csa_noting(answer, draw) -> tuple[list, nn.Module]:
    """A layer with an attend that notes what it gets, and returns what no other would."""
    notes = []

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        notes.append((q, k, mask))
        if k.shape[:2] != q.shape[:2]:  # said below
            return torch.zeros_like(q)
        if k.shape != q.shape:  # older ones are there too
            k, v = k.sum(2, keepdim=True), v.sum(2, keepdim=True)
        return (q + 2 * k + 3 * v).contiguous()

    sizes = {"width": 10, "heads": 6, "kv_heads": 2, "head_width": 4}
    return notes, _csa_built(answer, draw, attend, **sizes)


def _csa_other_attend(answer, draw) -> None:
    """Is it called, with as many heads of keys as of queries, and used as it is?"""
    notes, layer = _csa_noting(answer, draw)
    x, rotation = torch.randn(2, 5, 10, generator=draw), _csa_rotation(draw, 5, 4)
    got = _csa_asked(layer, x, rotation, None, None)
    expect(
        bool(notes),
        "The layer was built with an `attend` of its own, and forward never called it. It is kept "
        "as self.attend.",
    )
    q, k, mask = notes[0]
    expect(
        q.dim() == 4 and k.shape == q.shape,
        f"The layer's own attend got q of shape {tuple(q.shape)} and k of shape {tuple(k.shape)}. "
        f"Any attend but the "
        "fused one needs as many heads of keys as of queries; mix_heads sees to that.",
    )
    expect(
        mask is not None,
        "The layer's own attend got no mask, and any but the fused one needs one. mix_heads sees "
        "to that.",
    )
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    expect(
        mask.shape[-2:] == (5, 5) and bool((mask == causal).all()),
        "No mask was given, and the layer's own attend did not get a causal one. mix_heads sees to "
        "that.",
    )

    def same(turn: str = "qk", **mistake) -> Tensor:
        return _csa_reference(
            *(layer, x, rotation),
            turn=turn,
            mix=lambda q, k, v: q + 2 * k + 3 * v,
            **mistake,
        )

    _attend_diagnose(
        got,
        same(),
        {
            "The queries or keys that self.attend got were scaled. It does that by itself.": tuple(
                _csa_reference(
                    *(layer, x, rotation),
                    mix=lambda q, k, v, a=a, b=b: q * a + 2 * k * b + 3 * v,
                )
                for a, b in ((0.5, 1.0), (1.0, 0.5), (0.25, 1.0), (0.5**0.5,) * 2)
            ),
            "What self.attend returned was not used as it came.": (
                _csa_reference(layer, x, rotation),
            ),
        },
        "Built with an attend of its own, the layer gives another result: what attend got, or what "
        "was done with its "
        "result, differs from one head at a time.",
    )


def _csa_remembering(answer, draw) -> None:
    """First remember returns other numbers of the same length, then also what was read before."""
    sizes = {"width": 10, "heads": 6, "kv_heads": 2, "head_width": 4}
    layer = _csa_built(answer, draw, **sizes)
    past = torch.randn(2, 2, 2, 3, 4, generator=draw)
    T = 3
    x, rotation = torch.randn(2, T, 10, generator=draw), _csa_rotation(draw, T, 4)
    notes = []

    def exchanged(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        notes.append((k, v))
        return k.flip(0) - 1, v.flip(0) + 1

    def extended(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        notes.append((k, v))
        return torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)

    got = _csa_asked(layer, x, rotation, None, exchanged)
    expect(
        bool(notes),
        "`remember` was given and never called. It takes the new keys and values and returns all "
        "so far.",
    )
    expect(
        len(notes) == 1,
        f"`remember` was called {len(notes)} times in one step. Once is enough: it returns both, "
        f"keys and values.",
    )
    _csa_noted(layer, x, rotation, *notes[0])
    _csa_compare_remembered(layer, x, rotation, exchanged, got)
    each = _csa_mask(draw, 6, 2, 1)[:, :, -T:]
    one = x[:, :1], _csa_rotation(draw, 2, 1, 1, 4)  # one token of each of two texts
    single = torch.tensor([[True, False, True, True], [False, True, False, True]])
    for (tokens, places), mask in (
        ((x, None), None),
        ((x, rotation), None),
        ((x, rotation), each),
        ((x, rotation), _csa_mask(draw, 6)[-T:]),
        (one, None),
        (one, single.view(2, 1, 1, 4)),
    ):
        notes.clear()
        try:
            got = _csa_asked(layer, tokens, places, mask, extended)
        except (RuntimeError, AssertionError) as error:
            if isinstance(error, CheckFailed):
                raise
            hand_on = (
                " A mask that is None can go to mix_heads as None."
                if mask is None
                else ""
            )
            new = tokens.shape[1]
            raise CheckFailed(
                f"With a `remember` that returns {new + 3} keys and values, 3 of them older, it "
                "stops: there are more keys than queries then, also in the mask."
                f"{hand_on} ({first_line(error)}.)"
            ) from error
        expect(
            bool(notes),
            "`remember` was given without a rotation, and then it was never called. Neither of "
            "them depends on the other.",
        )
        _csa_compare_remembered(layer, tokens, places, extended, got, mask)


def _csa_noted(
    layer: nn.Module, x: Tensor, rotation: tuple, k: Tensor, v: Tensor
) -> None:
    """What remember got: keys rotated, values not, heads not yet repeated."""
    B, T, _ = x.shape
    heads, shared = (
        linear.out_features // layer.K for linear in (layer.query, layer.key)
    )
    for part in (k, v):
        likely = {
            (
                B,
                heads,
                T,
                layer.K,
            ): "The heads were repeated before; what is remembered is what is shared.",
            (
                B,
                T,
                shared,
                layer.K,
            ): "Heads come before tokens, as split_heads gives them.",
            (
                B,
                T,
                shared * layer.K,
            ): "They are remembered after they were split into heads.",
        }.get(tuple(part.shape), "They are remembered as split_heads gives them.")
        expect(
            part.shape == (B, shared, T, layer.K),
            f"`remember` got shape {tuple(part.shape)}; {(B, shared, T, layer.K)} is wanted. "
            f"{likely}",
        )
    plain_k, plain_v = (
        _csa_split(linear(x), layer.K, "tokens") for linear in (layer.key, layer.value)
    )
    turned_k, turned_v = (
        _csa_turned(part, rotation, 1, "halves").transpose(1, 2)
        for part in (plain_k, plain_v)
    )
    plain_k, plain_v = plain_k.transpose(1, 2), plain_v.transpose(1, 2)
    expect(
        not (close(k, plain_v) or close(k, turned_v)),
        "`remember` got the values first. It takes keys first and values second.",
    )
    expect(
        not close(k, plain_k),
        "`remember` got keys that are not rotated yet. Old keys keep the places that they had, so "
        "they are turned before "
        "they are remembered, once.",
    )
    expect(
        close(k, turned_k),
        "`remember` got other keys than the rotated ones of this text.",
    )
    expect(
        not close(v, turned_v),
        "`remember` got rotated values. Only queries and keys are turned.",
    )
    expect(close(v, plain_v), "`remember` got other values than the ones of this text.")


def _csa_compare_remembered(
    layer: nn.Module,
    x: Tensor,
    rotation: tuple | None,
    remember,
    got: Tensor,
    mask=None,
) -> None:
    want = _csa_reference(layer, x, rotation, mask, remember)
    if close(got, want):
        _csa_keeps_precision(got, x)
        return
    T, S = x.shape[1], remember(*torch.zeros(2, len(x), 2, x.shape[1], 4))[0].shape[2]
    every = torch.ones(T, S, dtype=torch.bool)

    def turned_later(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        whole_k, whole_v = remember(k, v)
        if rotation is None or whole_k.shape != k.shape:
            return whole_k, whole_v
        again = _csa_turned(whole_k.transpose(1, 2), rotation, 1, "halves")
        return again.transpose(1, 2), whole_v

    mistakes = {
        "The keys that remember returned were rotated again. Old keys were turned when they were "
        "new.": (_csa_reference(layer, x, rotation, mask, turned_later),),
        "The mask made no difference when `remember` is given"
        + (" and there is one token." if T == 1 else "."): tuple(
            _csa_reference(layer, x, rotation, None, remember)
            for _ in range(mask is not None)
        ),
        "When `remember` is given every token looked at all keys, those of later tokens too. The "
        "layer stays causal.": tuple(
            _csa_reference(layer, x, rotation, every, remember)
            for _ in range(mask is None)
        ),
        "When `remember` is given and there is one token, the rotation made no difference.": tuple(
            _csa_reference(layer, x, None, mask, remember) for _ in range(T == 1)
        ),
    } | _csa_mistakes(layer, x, rotation, mask, remember)
    _attend_diagnose(
        got,
        want,
        mistakes,
        "With a `remember` it differs from one head at a time. All that it returns is looked at, "
        "in place of the new "
        "keys and values.",
    )


def _csa_other_attend_in_use(answer, draw) -> None:
    """The same with a mask that is given, and with older keys."""
    notes, layer = _csa_noting(answer, draw)
    x, rotation = torch.randn(2, 5, 10, generator=draw), _csa_rotation(draw, 5, 4)
    past = torch.randn(2, 2, 2, 3, 4, generator=draw)

    def extended(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)

    def summed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q + (2 * k + 3 * v).sum(1, keepdim=True)

    given = torch.rand(5, 5, generator=draw) < 0.5
    late, wide = (
        torch.ones(5, 8, dtype=torch.bool).tril(3),
        torch.rand(5, 8, generator=draw) < 0.5,
    )
    for what, mask, remember, want in (
        ("the mask that was given", given, None, given),
        (
            "a causal mask for older keys too, when `remember` is given",
            None,
            extended,
            late,
        ),
        ("the mask that was given, when `remember` is given", wide, extended, wide),
    ):
        notes.clear()
        got = _csa_asked(layer, x, rotation, mask, remember)
        expect(
            bool(notes)
            and notes[0][2] is not None
            and notes[0][2].shape[-2:] == want.shape
            and bool((notes[0][2] == want).all()),
            f"The layer's own attend should get {what}, and it got another one or none. mix_heads "
            "sees to that, whichever attend it is.",
        )
        mix = summed if remember else lambda q, k, v: q + 2 * k + 3 * v
        right = _csa_reference(layer, x, rotation, mask, remember, mix=mix)
        size = right.abs().max()
        expect(
            close(got / size, right / size),
            f"Built with an attend of its own, which gets {what}, the layer gives another result "
            "than one head at a time.",
        )


def _csa_gradients(answer, draw) -> None:
    sizes = {"width": 10, "heads": 6, "kv_heads": 2, "head_width": 4, "bias": True}
    layer = _csa_built(answer, draw, **sizes).double().requires_grad_()
    x = torch.randn(2, 5, 10, generator=draw, dtype=torch.float64)
    rotation = tuple(part.double() for part in _csa_rotation(draw, 5, 4))
    weights = torch.randn(2, 5, 10, generator=draw, dtype=torch.float64)
    got = layer(x, rotation)
    want = _csa_reference(layer, x, rotation)
    _csa_keeps_precision(got, x)
    expect(
        close(got, want),
        "With weights and x in double precision it differs from one head at a time.",
    )
    expect(
        close(
            ask_gradient(lambda leaf: layer(leaf, rotation), x, weights),
            ask_gradient(
                lambda leaf: _csa_reference(layer, leaf, rotation), x, weights
            ),
        ),
        "The values are right, but the gradient with respect to x is not. Was a part detached or "
        "rounded?",
    )
    names = [name for name, _ in layer.named_parameters()]
    for_all = [
        torch.autograd.grad(
            (result * weights).sum(), list(layer.parameters()), allow_unused=True
        )
        for result in (got, want)
    ]
    for name, mine, theirs in zip(names, *for_all, strict=True):
        expect(
            mine is not None and close(mine, theirs),
            f"The values are right, but the gradient of {name} is not: that layer could not be "
            f"trained. Was a part "
            "detached, or its weight copied?",
        )
