"""Checks of lesson 04: weights of chosen experts, the way to the experts and back, a test of it.

Experts here have a constant in them (f(0) is not 0) and are no straight lines, and
weights do not sum to 1, so that no mistake hides behind such a chance. Numbers of
tokens, experts, choices and the width all differ.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import (
    ask,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.checks.learners_tests import check_test
from course_lib.moe import dispatch, routing

FAR_OUT = 1e-3  # a float32 of 1000 is off by up to 3e-5, and so is any exponent of it


def _listed(numbers: Tensor) -> str:
    return "(" + ", ".join(f"{number:.3g}" for number in numbers.tolist()) + ")"


def _drawn_choices(draw: torch.Generator, N: int, among: list[int], k: int) -> Tensor:
    """k different experts for each token, in no order."""
    orders = torch.rand(N, len(among), generator=draw).argsort(dim=-1)
    return torch.tensor(among)[orders[:, :k]]


def _in_pieces(numbers: Tensor) -> Tensor:
    """The same numbers, but not in one piece in memory."""
    return numbers.mT.contiguous().mT


def _first_apart(got: Tensor, want: Tensor) -> int:
    """The first row that differs."""
    same = torch.isclose(got.double(), want.double(), rtol=1e-5, atol=1e-6)
    return int((~same).reshape(len(got), -1).any(dim=-1).nonzero()[0])


# --- weigh ------------------------------------------------------------------------------------


@check(
    routing.weigh,
    proved="It gives the worked weights, agrees with a sum that a loop works out for every token, "
    "keeps the order of the choices, stands scores of 1000 and chosen experts with next to no "
    "share, and hands the gradient to the scores.",
)
def weigh(answer, draw):
    _weigh_named(answer)
    card = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    for renormalise in (True, False):
        _weigh_compare(answer, card, torch.tensor([[1, 3]]), renormalise)
    for N, E, k in ((7, 5, 3), (3, 6, 2), (1, 4, 3), (5, 4, 1), (6, 3, 3), (2, 9, 7)):
        for renormalise in (True, False):
            scores = _in_pieces(2 * torch.randn(N, E, generator=draw))
            chosen = _in_pieces(_drawn_choices(draw, N, list(range(E)), k))
            _weigh_compare(answer, scores, chosen, renormalise)
    _weigh_by_position(answer, draw)
    _weigh_far_out(answer)
    _weigh_next_to_no_share(answer)
    _weigh_gradient(answer, draw)


def _weigh_named(answer) -> None:
    """Inputs on which no two mistakes look alike; neither the best are chosen nor in order."""
    scores = torch.tensor(
        [
            [1.2, -0.4, 0.3, 2.1, -1.5],
            [-0.7, 0.9, -2.2, 0.1, 1.6],
            [0.4, 0.6, -0.3, -1.1, 0.8],
            [2.3, 1.7, 0.2, -0.6, -0.9],
            [-1.8, 0.5, 1.1, 0.7, -0.2],
            [0.1, -1.3, 1.9, 0.3, 1.4],
        ]
    )
    chosen = torch.tensor(
        [[1, 3, 0], [4, 0, 1], [2, 1, 3], [0, 4, 2], [3, 4, 2], [4, 0, 3]]
    )
    _weigh_compare(answer, scores, chosen, True)
    _weigh_compare(answer, scores, chosen, False)


def _weigh_slowly(scores: Tensor, chosen: Tensor, renormalise: bool) -> Tensor:
    """Token by token in doubles."""
    rows = []
    for z, mine in zip(scores.double(), chosen.tolist(), strict=True):
        counted = z[mine] if renormalise else z
        powers = (z[mine] - counted.max()).exp()
        rows.append(powers / (counted - counted.max()).exp().sum())
    return torch.stack(rows)


def _weigh_ask(answer, scores: Tensor, chosen: Tensor, renormalise: bool) -> Tensor:
    N, k, E = *chosen.shape, scores.shape[-1]
    shapes = {
        (
            N,
            E,
        ): "That is one weight for each of all E experts. Wanted is one for each choice.",
        (
            N,
            N,
            k,
        ): "Each token looked up the choices of all tokens. It looks up its own.",
        (k, N): "Rows and columns are exchanged: one row for each token is wanted.",
        (N * k,): "All tokens stand in one row. One row for each token is wanted.",
        (
            k,
        ): "One token came back, or the dimension of the tokens got lost. One row for each token is wanted.",
        (
            N,
        ): "There is one number for each token. One for each of its k choices is wanted.",
        (
            N,
            1,
        ): "There is one number for each token. One for each of its k choices is wanted.",
        (N, k, 1): "A dimension was added.",
        (
            N,
            k,
            E,
        ): "The numbers of experts were taken for numbers of tokens: whole rows were looked up.",
        (
            1,
            2,
        ): "That is the size of the worked example. Are its numbers written into the answer?",
        (
            N,
            2,
        ): "There are two weights for each token. A token may visit any number of experts.",
    }
    shapes.pop((N, k), None)
    # the default is part of what is asked
    options = {} if renormalise else {"renormalise": False}
    return ask_tensor(
        answer, scores, chosen, shape=(N, k), shapes=shapes, **options
    ).detach()


def _weigh_compare(answer, scores: Tensor, chosen: Tensor, renormalise: bool) -> None:
    got = _weigh_ask(answer, scores, chosen, renormalise)
    want = _weigh_slowly(scores, chosen, renormalise)
    if close(got, want):
        return
    n = _first_apart(got, want)
    total = float(got[n].double().sum())
    sums = (
        f"It sums to {total:.3g}; with renormalise=True it sums to 1."
        if renormalise and abs(total - 1) > 1e-4
        else f"Wanted is {_listed(want[n])}."
    )
    diagnose(
        got,
        want,
        _weigh_mistakes(scores, chosen, renormalise),
        f"With renormalise={renormalise} a token with the scores {_listed(scores[n])} that visits "
        f"experts {chosen[n].tolist()} gets the weights {_listed(got[n])}. {sums}",
    )


def _weigh_mistakes(scores: Tensor, chosen: Tensor, renormalise: bool) -> dict:
    z, c = scores.double(), chosen
    (N, E), k = z.shape, c.shape[-1]
    mine, shares = z.gather(-1, c), z.softmax(-1)
    best = z.topk(k, dim=-1).values
    among, share = mine.softmax(-1), shares.gather(-1, c)
    want = among if renormalise else share
    sigmoid, over_tokens = z.sigmoid().gather(-1, c), z.softmax(0)
    other_way = (mine, shares, z)
    down = (
        [one.gather(0, c) for one in other_way] if N >= E else []
    )  # else torch refuses
    bits = over_tokens.gather(-1, c)
    by_number = c.argsort(dim=-1)
    if N == 1:  # the softmax over one token is 1
        bits = over_tokens = torch.full_like(bits, torch.nan)
    # fmt: off
    return {
        "These are the shares among all E experts. With renormalise=True (the default) the weights of "
        "the chosen ones sum to 1.": share if renormalise else torch.full_like(share, torch.nan),
        "With renormalise=False the weights were brought to a sum of 1 all the same. They are then "
        "shares among all E experts.": torch.full_like(share, torch.nan) if renormalise else among,
        "The best experts were looked for once more. Which ones are visited stands in `chosen`, and they "
        "need not be the best.":
            (best.softmax(-1), shares.topk(k, dim=-1).values,
             best / best.sum(-1, keepdim=True), best),
        "The softmax went over the tokens. It goes over the experts: every token has its own.":
            (mine.softmax(0), bits, bits / bits.sum(-1, keepdim=True),
             over_tokens.gather(-1, c).softmax(-1)),
        "These are the scores themselves. A weight is a share: positive, and at most 1.":
            (mine, mine.exp(), mine.relu()),
        "These are logarithms of weights. A weight is a share: positive, and at most 1.":
            (mine.log_softmax(-1), z.log_softmax(-1).gather(-1, c)),
        "Scores were divided by their sum. Scores may be negative: they become shares by a softmax.":
            (mine / mine.sum(-1, keepdim=True), mine / z.sum(-1, keepdim=True),
             mine.relu() / mine.relu().sum(-1, keepdim=True),
             mine.abs() / mine.abs().sum(-1, keepdim=True)),
        "The choices of the first token were looked up for all tokens. Each has its own row in `chosen`.":
            (z[:, c[0]].softmax(-1), shares[:, c[0]]),
        "All tokens looked up the scores of the first one: a number of `chosen` counts along the token's own row, not "
        "through the whole table.":
            (z[0][c].softmax(-1), shares[0][c], shares[0][c] / shares[0][c].sum(-1, keepdim=True)),
        "The order got lost. The first weight belongs to the first choice, and so on, as in `chosen`.":
            (want.sort(dim=-1, descending=True).values, want.sort(dim=-1).values, want.flip(-1),
             want.gather(-1, by_number)),
        "Scores were looked up along the wrong dimension, at other tokens. Each token looks in its own row.":
            (*down, *(one.softmax(-1) for one in down),
             *(one / one.sum(-1, keepdim=True) for one in down)),
        "That is a sigmoid, which looks at each score alone. Shares come from a softmax.":
            (sigmoid, sigmoid / sigmoid.sum(-1, keepdim=True), mine.sigmoid().softmax(-1)),
        "A softmax was taken twice.":
            (share.softmax(-1), among.softmax(-1), shares.softmax(-1).gather(-1, c)),
        "The softmax went over all choices of all tokens together. Every token has its own.":
            (mine.flatten().softmax(0).view(N, k), z.flatten().softmax(0).view(N, E).gather(-1, c)),
        "All choices count alike. Their weights come from the scores.":
            torch.full_like(among, 1 / k),
        "The first columns were taken. Which experts are visited stands in `chosen`.":
            (z[:, :k].softmax(-1), shares[:, :k]),
        "The numbers of the experts were weighed, not their scores.":
            (c.double().softmax(-1), c / c.sum(-1, keepdim=True).clamp(min=1)),
        "All tokens have the weights of one. Every token has its own.":
            tuple(one[[n]].expand(N, k) for one in (among, share) for n in (0, -1)),
        "The sign is turned round: the lower the score, the larger the weight.":
            ((-mine).softmax(-1), (-z).softmax(-1).gather(-1, c), 1 - share, 1 - among),
        "Weights were divided by the largest one, not by their sum.":
            (among / among.amax(-1, keepdim=True), share / shares.amax(-1, keepdim=True)),
        "Shares were squared, or divided by the root of the sum of their squares. Their plain sum counts.":
            (share**2, among**2, share / share.norm(dim=-1, keepdim=True)),
        "Scores were divided by something before the softmax. They go in as they are.":
            tuple((one.softmax(-1) if renormalise else one.softmax(-1).gather(-1, c))
                  for x in (mine if renormalise else z,) for one in (x / E**0.5, x / k**0.5, x / k, x / E)),
    }
    # fmt: on


def _weigh_by_position(answer, draw: torch.Generator) -> None:
    scores = torch.randn(4, 6, generator=draw)
    chosen = _drawn_choices(draw, 4, list(range(6)), 2)
    for renormalise in (True, False):
        got = ask(answer, scores, chosen, renormalise)
        expect(
            close(got.detach(), _weigh_slowly(scores, chosen, renormalise)),
            f"weigh(scores, chosen, {renormalise}), without the word renormalise=, gives something else "
            "than with it.",
        )


def _weigh_far_out(answer) -> None:
    scores = torch.tensor([[1000.0, 998.0, 1001.0], [-1000.0, -999.0, -1002.0]])
    chosen = torch.tensor([[1, 0], [0, 2]])
    for renormalise in (True, False):
        got = _weigh_ask(answer, scores, chosen, renormalise)
        want = _weigh_slowly(scores, chosen, renormalise)
        expect(
            close(got, want, rtol=FAR_OUT),
            f"Scores of 1000 and -1000 give the weights {_listed(got[0])} and {_listed(got[1])}; wanted are "
            f"{_listed(want[0])} and {_listed(want[1])}. {_far_out_why(got)}",
        )


def _far_out_why(got: Tensor) -> str:
    if bool(got.isfinite().all()):
        return (
            "Are scores limited (clamp), or does a number such as -100 stand for experts that were not chosen? Scores "
            "may lie on either side of any such number."
        )
    return "An exponential of such a score is no number: too large or too small for a float."


def _weigh_next_to_no_share(answer) -> None:
    """A bias may choose experts whose share rounds to 0, in single or in double precision."""
    for low, kind in ((-200.0, torch.float32), (-1500.0, torch.float64)):
        scores = torch.tensor(
            [[0.0, low, low + 1, low - 1], [low, 1.0, low, low]], dtype=kind
        )
        chosen = torch.tensor([[3, 2], [0, 3]])
        got = _weigh_ask(answer, scores, chosen, True)
        want = _weigh_slowly(scores, chosen, True)
        expect(
            close(got, want, rtol=FAR_OUT),
            f"The scores {_listed(scores[0])}, of which experts {chosen[0].tolist()} were chosen (a bias can do that), "
            f"give the weights {_listed(got[0])}; wanted is {_listed(want[0])}. Their shares among all experts are "
            "too small for a float, and zeros cannot be divided by their sum. Which scores are needed at all?",
        )
        share = _weigh_ask(answer, scores, chosen, False)
        expect(
            close(share, torch.zeros(2, 2)),
            "With renormalise=False a chosen expert with a score far below another one's has a share of 0; "
            f"yours is {_listed(share[0])}. Is something limited, or a small constant added?",
        )


def _weigh_gradient(answer, draw: torch.Generator) -> None:
    scores = torch.randn(5, 4, generator=draw, dtype=torch.float64)
    chosen = _drawn_choices(draw, 5, list(range(4)), 2)
    pull = torch.randn(5, 2, generator=draw, dtype=torch.float64)
    for renormalise in (True, False):
        got, want = (
            ask_gradient(
                lambda z, f=f, r=renormalise: f(z, chosen, renormalise=r), scores, pull
            )
            for f in (answer, _weigh_slowly)
        )
        expect(
            close(got, want),
            f"With renormalise={renormalise} the weights are right and their gradient is not: part of the way back "
            "to the scores is cut off. Was something detached, or worked out without a gradient?",
        )


# --- mix_by_masks -----------------------------------------------------------------------------


class _Case(NamedTuple):
    """What a mixture is given; `seen` gets the rows that each expert was called with."""

    x: Tensor  # (N, D)
    weights: Tensor  # (N, k)
    chosen: Tensor  # (N, k)
    experts: list[Callable]  # E
    seen: list[list[int]]  # E
    heard: Tensor  # (N, E, D): what every expert says to every token


def _expert(A: Tensor, B: Tensor, b: Tensor, seen: list[int]) -> Callable:
    def expert(tokens: Tensor) -> Tensor:
        seen.append(tokens.numel() // len(A))
        return torch.tanh(tokens @ A) @ B + b

    return expert


def _drawn_case(
    draw: torch.Generator,
    N: int,
    E: int,
    k: int,
    D: int,
    among: list[int] | None = None,
    kind: torch.dtype = torch.float32,
) -> _Case:
    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=kind)

    x = _in_pieces(randn(N, D))
    weights = _in_pieces(
        0.1 + 0.8 * torch.rand(N, k, generator=draw, dtype=kind)
    )  # no sum of 1
    chosen = _in_pieces(_drawn_choices(draw, N, among or list(range(E)), k))
    seen = [[] for _ in range(E)]
    experts = [_expert(randn(D, D + 1), randn(D + 1, D), randn(D), s) for s in seen]
    heard = torch.stack([expert(x) for expert in experts], dim=1)
    for rows in seen:
        rows.clear()
    return _Case(x, weights, chosen, experts, seen, heard)


def _mixed_slowly(case: _Case) -> Tensor:
    rows = []
    for n, (mine, its) in enumerate(
        zip(case.weights.double(), case.chosen.tolist(), strict=True)
    ):
        rows.append(sum(w * case.heard[n, e] for w, e in zip(mine, its, strict=True)))
    return torch.stack(rows)


@check(
    dispatch.mix_by_masks,
    also=(
        dispatch.mix_token_by_token,
        dispatch.mix_sorted,
        dispatch.mix_in_buffers,
    ),
    proved="Every token gets the sum that a loop over its choices gives, whatever k, experts that nobody chose "
    "change nothing, each expert reads its own tokens only, and gradients reach tokens, weights and experts.",
)
def mix_by_masks(answer, draw):
    for N, E, k, D in ((9, 5, 2, 3), (8, 3, 1, 5), (5, 3, 3, 4), (7, 6, 4, 2)):
        _mix_compare(answer, _all_at_work(draw, N, E, k, D))
    _mix_idle(answer, draw)
    for kind in (torch.float64, torch.float32):  # one token, and a width of 1
        _mix_compare(answer, _drawn_case(draw, 1, 5, 3, 4, kind=kind))
        _mix_compare(answer, _drawn_case(draw, 6, 4, 2, 1, kind=kind))
    _mix_any_weights(answer, draw)
    _mix_kinds_of_lists(answer, draw)
    _mix_calls(answer, draw)
    _mix_one_token_each(answer, draw)
    _mix_gradients(answer, draw)


def _all_at_work(draw: torch.Generator, N: int, E: int, k: int, D: int) -> _Case:
    """Every expert has tokens, some more than one."""
    while True:
        case = _drawn_case(draw, N, E, k, D)
        counts = torch.bincount(case.chosen.flatten(), minlength=E)
        if counts.min() > 0 and counts.max() > 1:
            return case


def _mix_ask(answer, case: _Case, experts: Sequence[Callable] | None = None) -> Tensor:
    (N, D), k = case.x.shape, case.chosen.shape[-1]
    shapes = {
        (
            N,
            k,
            D,
        ): "The answers of a token's k experts still stand side by side. Their weighted sum is wanted.",
        (
            k,
            N,
            D,
        ): "The answers of a token's k experts still stand side by side. Their weighted sum is wanted.",
        (
            N * k,
            D,
        ): "There is one row for each choice. Wanted is one for each token, in the order of the tokens.",
        (
            D,
        ): "The tokens were summed, or the dimension of a single one got lost. Each has its own row.",
        (N,): "There is one number for each token. A vector of width D is wanted.",
        (D, N): "Rows and columns are exchanged.",
        (N, 1, D): "A dimension was added.",
        (1, N, D): "A dimension was added.",
    }
    given = case.x, case.weights, case.chosen, experts or list(case.experts)
    try:
        got = ask_tensor(answer, *given, shape=(N, D), shapes=shapes)
    except CheckFailed:
        raise
    except IndexError as error:
        if k > 1 or "out of bounds for dimension 1 with size 1" not in str(error):
            raise
        raise CheckFailed(
            "It stopped with IndexError: every token visits one expert only here (k = 1), and a second choice was "
            "looked for. How many there are says the width of `chosen`."
        ) from error
    except RuntimeError as error:
        sizes = ("shape", "size", "must match", "expanded", "multiplied")
        if "view size" in str(error) or not any(w in str(error) for w in sizes):
            raise
        raise CheckFailed(
            f"It stopped with {type(error).__name__}: {first_line(error).rstrip('.')}. An expert with n tokens gets "
            "(n, D), gives (n, D), and needs one weight for each of these rows, (n, 1). Taking rows first and columns "
            "afterwards makes n × n weights of them."
        ) from error
    expect(
        got.dtype == case.x.dtype,
        f"The tokens are {case.x.dtype} and the answers {got.dtype}. They come back in the type of x.",
    )
    return got


def _mix_compare(answer, case: _Case) -> None:
    got, want = _mix_ask(answer, case).detach(), _mixed_slowly(case)
    if not close(got, want):
        n = _first_apart(got, want)
        diagnose(
            got,
            want,
            _mix_mistakes(case),
            f"Token {n} of {len(got)} visits experts {case.chosen[n].tolist()} with the weights "
            f"{_listed(case.weights[n])}. Its answer is {_listed(got[n])}; {_listed(want[n])} is wanted. "
            f"There are {len(case.experts)} experts.",
        )
    _mix_reads(case)


def _mix_reads(case: _Case) -> None:
    """An expert is not asked for tokens that did not choose it."""
    counts = torch.bincount(case.chosen.flatten(), minlength=len(case.experts))
    for e, (rows, count) in enumerate(zip(case.seen, counts.tolist(), strict=True)):
        expect(
            sum(rows) <= count,
            f"The answer is right, but expert {e} read {sum(rows)} rows and only {count} of {len(case.x)} tokens chose "
            "it. A mixture is cheap because an expert reads its own tokens and no others.",
        )
        rows.clear()


def _mix_mistakes(case: _Case) -> dict:
    x, w, c, heard = (
        case.x.double(),
        case.weights.double(),
        case.chosen,
        case.heard.double(),
    )
    (N, E, D), k = heard.shape, c.shape[-1]
    own = heard.gather(1, c[..., None].expand(-1, -1, D))  # (N, k, D)
    weighed = w[..., None] * own
    want = weighed.sum(1)
    top = c.argmax(-1)
    rows = torch.arange(N)
    order = c[:, 0].argsort(stable=True)
    flat = c.flatten().argsort(stable=True)
    by_expert = own.reshape(-1, D)[flat]
    dense = torch.zeros(N, E, dtype=torch.double).scatter(1, c, w)
    square, other_rows, first_rows, by_column = (
        torch.zeros_like(want) for _ in range(4)
    )
    for e in range(E):
        mine, column = (c == e).nonzero(as_tuple=True)
        square[mine] += w[mine][:, column] @ heard[mine, e]
        other_rows[mine] += w[: len(mine), :1] * heard[mine, e]
        in_columns = w.T[(c == e).T][:, None]  # boolean selection, column by column
        by_column[mine] += in_columns * heard[mine, e]
        first_rows[mine] += dense[mine, e][:, None] * heard[: len(mine), e]
    before, chained, piled = torch.zeros_like(want), x.clone(), x.clone()
    wrapped, lost = torch.zeros_like(want), torch.zeros_like(want)
    for e, expert in enumerate(case.experts):
        mine = (c == e).any(-1)
        for tokens, kept in ((chained, 0.0), (piled, 1.0)):  # read what is written
            said = expert(tokens[mine].to(case.x.dtype)).double()
            tokens[mine] = kept * tokens[mine] + dense[mine, e, None] * said
        at = (c.flatten() == e).nonzero()[:, 0]
        said = w.flatten()[at, None] * heard[at % N, e]
        wrapped.index_add_(0, at % N, said)
        lost[at % N] += said
        said = expert((dense[:, e : e + 1] * x).to(case.x.dtype)).double()
        before += said * (c == e).any(-1, keepdim=True)
    for rows_read in case.seen:
        rows_read.clear()
    share = w / w.sum(-1, keepdim=True)
    nothing = torch.full_like(want, torch.nan)
    # fmt: off
    return {
        "One weight of a token, its first or its last, was taken for all its choices. An expert's weight stands in "
        "`weights` where the expert stands in `chosen`.":
            ((w[:, :1, None] * own).sum(1), (w[:, -1:, None] * own).sum(1)) if k > 1 else nothing,
        "Weights of n tokens became n × n, and were multiplied as a matrix: tokens got weights of one "
        "another.": square,
        "One choice of each token counts, and the others are missing.":
            tuple(weighed[:, j] for j in range(k)) if k > 1 else nothing,
        "Of a token's experts the last one wrote over what the others had said. Their answers are added.":
            (weighed[rows, top], own[rows, top]) if k > 1 else nothing,
        "The weights are missing: the answers of the chosen experts were added as they are.": own.sum(1),
        "The answers were averaged. Each has its own weight.": (own.mean(1), weighed.mean(1)),
        "Experts answered tokens that had not chosen them.":
            (heard.sum(1), heard.mean(1), w.sum(-1, keepdim=True) * heard.sum(1),
             (w[:, :, None] * heard.sum(1, keepdim=True)).mean(1), w[:, :1] * heard.sum(1)),
        "The weights were brought to a sum of 1. They count as they come in.":
            ((share[..., None] * own).sum(1), (w.softmax(-1)[..., None] * own).sum(1)),
        "Each answer was multiplied by all the token's weights together, or by the largest. It has one of "
        "its own.":
            ((w.sum(-1)[:, None, None] * own).sum(1), (w.mean(-1)[:, None, None] * own).sum(1),
             (w.amax(-1)[:, None, None] * own).sum(1)) if k > 1 else nothing,
        "The weights count twice.": ((w[..., None] ** 2 * own).sum(1), w.sum(-1, keepdim=True) * want),
        "The token was multiplied by its weight before the expert read it. The answer is weighed, "
        "not the question.": before,
        "The token itself was added. The stream does that later, outside.": want + x,
        "The place of a choice was taken for the number of its expert. The number stands in `chosen`.":
            (w[..., None] * heard[:, :k]).sum(1),
        "The experts are off by one. They are numbered from 0.":
            tuple((w[..., None] * heard[rows[:, None], (c + s) % E]).sum(1) for s in (1, -1)),
        "Weights were taken from the first rows, not from those of the expert's own tokens.": other_rows,
        "An expert's tokens and their weights stand in different orders, so that tokens have weights of one another.":
            by_column,
        "The largest weight went to the first choice. Weights belong to the choices beside which they stand.":
            (w.sort(dim=-1, descending=True).values[..., None] * own).sum(1),
        "Choices were matched with the wrong tokens: choice i of the flattened table belongs to token i // k.":
            ((w[..., None] * heard[torch.arange(N * k).view(N, k) % N, c]).sum(1), wrapped, lost),
        "Experts read the first tokens, not their own.": first_rows,
        "The weights stand the wrong way round: the first choice has the last weight.":
            (w.flip(-1)[..., None] * own).sum(1) if k > 1 else nothing,
        "The answers came back in the order of the experts. Each goes to the token that asked.":
            (want[order], want[order.argsort()],
             *((w[..., None] * one).sum(1) for one in (by_expert.view(N, k, D), by_expert[flat].view(N, k, D))),
             weighed.reshape(-1, D)[flat].view(N, k, D).sum(1)),
        "An expert read what another one had said. All read the tokens as they came in.": (chained, piled),
        "The number of an expert was taken for a column of `weights`. Its column is where it stands in `chosen`.":
            (w.gather(1, c % k)[..., None] * own).sum(1) if k > 1 else nothing,
        "An expert with one token only was passed over.":
            ((dense * ((dense > 0).sum(0) > 1))[..., None] * heard).sum(1),
        "Tokens or choices of only one expert were answered. Was `return` reached inside the loop?":
            tuple(dense[:, e : e + 1] * heard[:, e] for e in range(E)),
        "The first expert or the last one was left out.":
            tuple(want - dense[:, e : e + 1] * heard[:, e] for e in (0, E - 1)),
        "Each answer was divided by the number of tokens that its expert read.":
            ((dense / (dense > 0).sum(0).clamp(min=1))[..., None] * heard).sum(1),
        "All tokens got the same answer. Each has its own.":
            (want.sum(0).expand(N, D), want.mean(0).expand(N, D)) if N > 1 else nothing,
        "One token got its answer, and the others none.":
            tuple(torch.where((rows == n)[:, None], want, 0.0) for n in (0, N - 1)) if N > 1 else nothing,
        "One token was left out.":
            tuple(torch.where((rows == n)[:, None], 0.0, want) for n in (0, N - 1)) if N > 1 else nothing,
        "The tokens came back as they were.": x,
        "Nothing but zeros came back. Does the loop write into what is returned?": torch.zeros_like(want),
    }
    # fmt: on


def _mix_idle(answer, draw: torch.Generator) -> None:
    """Experts at the beginning, in the middle and at the end that nobody chose."""
    case = _drawn_case(draw, 5, 8, 2, 3, among=[1, 2, 5, 6])
    case.chosen[:2] = torch.tensor([[6, 1], [5, 2]])
    try:
        got = _mix_ask(answer, case).detach()
    except CheckFailed:
        raise
    except Exception as error:
        raise CheckFailed(
            f"It stopped with {type(error).__name__}: {first_line(error).rstrip('.')}. Some experts had no tokens "
            "at all here. That is nothing special: such an expert adds nothing."
        ) from error
    want = _mixed_slowly(case)
    expect(
        not got.isnan().any(),
        "There is nan in the result if some experts have no tokens. Is something divided by their number?",
    )
    expect(
        close(got, want),
        f"Of 8 experts only {case.chosen.unique().tolist()} were chosen by any token, and the result is wrong now, "
        "though not while all had tokens. An expert without tokens adds nothing, and those after it still have "
        "their turn.",
    )
    _mix_reads(case)


def _mix_any_weights(answer, draw: torch.Generator) -> None:
    """Weights of 0, below it and above 1."""
    case = _drawn_case(draw, 6, 4, 2, 3)
    case.weights[:3] = torch.tensor([[0.0, 1.5], [-0.5, 0.75], [2.0, -1.0]])
    got = _mix_ask(answer, case).detach()
    expect(
        close(got, _mixed_slowly(case)),
        "With weights of 0, below 0 or above 1 the result is wrong. Which tokens an expert gets stands in `chosen`, and "
        "weights count as they come in.",
    )
    _mix_reads(case)


def _mix_one_token_each(answer, draw: torch.Generator) -> None:
    """An expert with a single token still takes rows."""
    case = _drawn_case(draw, 3, 7, 2, 4)
    case.chosen[:] = torch.tensor([[5, 0], [2, 6], [1, 5]])

    def with_rows(expert: Callable) -> Callable:
        def strict(tokens: Tensor) -> Tensor:
            expect(
                tokens.dim() == 2,
                f"An expert was given a tensor of shape {tuple(tokens.shape)}. It takes rows, (n, D), one token too: "
                "(1, D). Does squeeze(), or a single number as an index, take a dimension away?",
            )
            return expert(tokens)

        return strict

    _mix_ask(answer, case, [with_rows(expert) for expert in case.experts])


def _mix_kinds_of_lists(answer, draw: torch.Generator) -> None:
    """Experts may come in a tuple or in torch's own list of modules."""
    case = _drawn_case(draw, 7, 4, 2, 3)
    torch.manual_seed(0)
    modules = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(4))
    heard = torch.stack([module(case.x) for module in modules], dim=1)
    for experts, said in ((tuple(case.experts), case.heard), (modules, heard.detach())):
        got = _mix_ask(answer, case, experts).detach()
        expect(
            close(got, _mixed_slowly(case._replace(heard=said))),
            f"With experts that come in a {type(experts).__name__} the result is wrong, though not with those that "
            "come in a list.",
        )


def _mix_calls(answer, draw: torch.Generator) -> None:
    case = _drawn_case(draw, 48, 3, 2, 4)
    got = _mix_ask(answer, case).detach()
    expect(
        close(got, _mixed_slowly(case)),
        "With 48 tokens and 3 experts the result is wrong, though not with fewer tokens. Is something limited?",
    )
    most = max(len(rows) for rows in case.seen)
    expect(
        most <= case.chosen.shape[-1],
        f"The answer is right, but with 48 tokens an expert was called {most} times. It takes its tokens all at once, "
        "(n, D): go from expert to expert, not from token to token.",
    )
    _mix_reads(case)


def _mix_gradients(answer, draw: torch.Generator) -> None:
    case = _drawn_case(draw, 6, 5, 2, 3, among=[0, 1, 3], kind=torch.float64)
    case.weights[0, 0] = 0.0  # its gradient is what the expert says
    pull = torch.randn(6, 3, generator=draw, dtype=torch.float64)
    scale = torch.ones(3, dtype=torch.float64)  # stands for what an expert learns
    chosen = case.chosen

    def slowly(x, w, scale):
        heard = torch.stack([f(x * scale) for f in case.experts], dim=1)
        return (w[..., None] * heard[torch.arange(6)[:, None], chosen]).sum(1)

    def asked(x, w, scale):
        experts = [lambda z, f=f: f(z * scale) for f in case.experts]
        return answer(x, w, chosen, experts)

    starts = [case.x, case.weights, scale]
    for place, what in enumerate(("the tokens x", "the weights", "the experts")):
        one = [
            ask_gradient(
                lambda leaf, f=f, i=place: f(*starts[:i], leaf, *starts[i + 1 :]),
                starts[place],
                pull,
                f"The values are right, but no gradient flows back to {what}, so nothing could be trained there. Stay "
                "with tensors: no .item(), .tolist(), .detach(), .data, no_grad or torch.tensor(...) of a result.",
            )
            for f in (asked, slowly)
        ]
        expect(
            close(*one),
            f"The values are right, and the gradient that reaches {what} is not: part of the way back is cut off."
            + " A weight of 0 has a gradient too." * (place == 1),
        )


# --- a learner's test of any mix: right and faulty versions for it ----------------------------


def _refuse(x, weights, chosen, experts) -> None:
    """Not asserts: those would look like the test's own."""
    tensors = (("x", x), ("weights", weights), ("chosen", chosen))
    for name, tensor in tensors:
        if not isinstance(tensor, Tensor) or tensor.dim() != 2:
            raise ValueError(
                f"{name} is a tensor with two dimensions, x (N, D), weights and chosen (N, k)"
            )
    if not x.is_floating_point() or not weights.is_floating_point():
        raise TypeError("x and weights are floats: write 2.0 for 2")
    if chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise TypeError("chosen holds the numbers of experts: whole numbers")
    if weights.shape != chosen.shape or len(x) != len(chosen):
        raise ValueError(
            f"weights and chosen are (N, k), a row for each row of x: {tuple(x.shape)}, "
            f"{tuple(weights.shape)}, {tuple(chosen.shape)}"
        )
    if chosen.numel() == 0:
        raise ValueError("there is no token, or no choice: take N and k of at least 1")
    if not 0 <= int(chosen.min()) <= int(chosen.max()) < len(experts):
        raise ValueError(
            f"chosen holds numbers from 0 to {len(experts) - 1}, one for each of the experts"
        )
    twice = (chosen.sort(dim=-1).values.diff(dim=-1) == 0).any(dim=-1)
    if twice.any():
        row = chosen[int(twice.nonzero()[0])].tolist()
        raise ValueError(f"the experts of one token always differ, and here are {row}")


def _mix_expert_by_expert(x, weights, chosen, experts):
    """Calls every expert, those without tokens too."""
    _refuse(x, weights, chosen, experts)
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        here = chosen == e
        mine = here.any(dim=-1).nonzero()[:, 0]
        weight = (weights * here).sum(dim=-1)[mine].to(x.dtype)
        out = out.index_add(0, mine, weight[:, None] * expert(x[mine]))
    return out


def _mix_row_by_row(x, weights, chosen, experts):
    _refuse(x, weights, chosen, experts)
    rows = []
    for n, its in enumerate(chosen.tolist()):
        heard = torch.cat([experts[e](x[n : n + 1]) for e in its]).double()  # (k, D)
        rows.append((weights[n].double()[:, None] * heard).sum(0).to(x.dtype))
    return torch.stack(rows)


def _mix_backwards(x, weights, chosen, experts):
    """Last choices first; an expert that nobody chose is not called."""
    _refuse(x, weights, chosen, experts)
    out = torch.zeros_like(x)
    for j in reversed(range(chosen.shape[1])):
        for e in chosen[:, j].unique().flip(0).tolist():
            mine = (chosen[:, j] == e).nonzero()[:, 0]
            said = weights[mine, j, None] * experts[e](x[mine])
            out = out.index_add(0, mine, said.to(x.dtype))
    return out


class _Heard(NamedTuple):
    """What a faulty version has before it: all that experts told those who chose them."""

    x: Tensor
    w: Tensor
    c: Tensor
    experts: Sequence[Callable]
    own: Tensor  # (N, k, D)

    @property
    def weighed(self) -> Tensor:
        return self.w[..., None] * self.own

    @property
    def right(self) -> Tensor:
        return self.weighed.sum(1)

    def again(self, w: Tensor) -> Tensor:
        """The same with other weights."""
        return (w[..., None] * self.own).sum(1)

    @property
    def idle(self) -> list[int]:
        return sorted(set(range(len(self.experts))) - set(self.c.flatten().tolist()))


def _ask_experts(x, weights, chosen, experts) -> Tensor:
    """What each chosen expert says, (N, k, D), expert by expert."""
    own = x.new_zeros(*chosen.shape, x.shape[-1])
    for e in chosen.unique().tolist():
        mine, column = (chosen == e).nonzero(as_tuple=True)
        own[mine, column] = experts[e](x[mine]).to(x.dtype)
    return own


_FAULTY: dict = {}
_SHOWN_BY: dict = {}  # what inputs show a version's fault
_MAY_HIDE: set = set()  # versions whose fault a test's inputs need not show


def _faulty(description: str, shown_by: str, may_hide: bool = False):
    """Registers a version made from rule(heard)."""

    def register(rule):
        def version(x, weights, chosen, experts):
            _refuse(x, weights, chosen, experts)
            own = _ask_experts(x, weights, chosen, experts)
            given = x, weights.to(x.dtype), chosen
            return rule(_Heard(*given, experts, own))

        _FAULTY[f"one that {description}"] = version
        _SHOWN_BY[version] = shown_by
        if may_hide:
            _MAY_HIDE.add(version)
        return rule

    return register


_TWO = "Let a token visit several experts (k = 2 or more) with different weights."
_THREE = "Let a token visit three experts."
_SUM = "Take weights that do not sum to 1."
_APART = "Take several tokens that differ, and different experts for them."
_RISING = "Let some weights rise and others fall along their row."
_ORDER = "Let a token name the expert with the higher number first."
_IDLE = "Leave an expert without tokens."
_IDLE_BETWEEN = "Leave an expert without tokens whose number is not the last."
_CROWD = (
    "Let several tokens choose one expert, more than its equal share of all choices."
)
_CURVED = (
    "Take an expert that does more than multiply, such as one that adds 1 or squares."
)
_WIDE = "Take vectors of two numbers or more (D), which the experts treat differently."


@_faulty("takes a token's first weight for all its choices", _TWO)
def _first_weight(h):
    return h.again(h.w[:, :1].expand(h.w.shape))


@_faulty("takes a token's last weight for all its choices", _TWO)
def _last_weight(h):
    return h.again(h.w[:, -1:].expand(h.w.shape))


@_faulty("serves the first choice only", _TWO)
def _first_choice(h):
    return h.weighed[:, 0]


@_faulty("writes each choice over the one before it, so that the last one wins", _TWO)
def _last_choice(h):
    return h.weighed[:, -1]


@_faulty("keeps only the answer of the chosen expert with the highest number", _TWO)
def _highest_number(h):
    return h.weighed[torch.arange(len(h.x)), h.c.argmax(-1)]


@_faulty("forgets the weights", "Take weights other than 1.")
def _no_weights(h):
    return h.own.sum(1)


@_faulty("averages the answers, whatever the weights", _SUM)
def _average(h):
    return h.own.mean(1)


@_faulty("divides the weights by their sum", _SUM)
def _normalised(h):
    return h.again(h.w / h.w.sum(-1, keepdim=True))


@_faulty("takes a softmax of the weights", _SUM)
def _softmaxed(h):
    return h.again(h.w.softmax(-1))


@_faulty("takes what is missing to 1 for the last weight", _SUM)
def _rest(h):
    before = h.w[:, :-1]
    return h.again(torch.cat([before, 1 - before.sum(-1, keepdim=True)], dim=-1))


@_faulty("squares the weights", "Take weights other than 0 and 1.")
def _squared(h):
    return h.again(h.w**2)


@_faulty("multiplies each answer by all the token's weights together", _TWO)
def _all_weights(h):
    return h.again(h.w.sum(-1, keepdim=True).expand(h.w.shape))


@_faulty("turns the weights of a token round, the last one first", _TWO)
def _turned(h):
    return h.again(h.w.flip(-1))


@_faulty("gives the largest weight to the first choice, and so on down", _RISING)
def _falling(h):
    return h.again(h.w.sort(dim=-1, descending=True).values)


@_faulty(
    "sorts a token's experts by number, and leaves the weights where they are", _ORDER
)
def _numbers_sorted(h):
    order = h.c.argsort(dim=-1)
    return (h.w[..., None] * h.own[torch.arange(len(h.x))[:, None], order]).sum(1)


@_faulty("serves two choices of each token and no more", _THREE)
def _two_choices(h):
    return h.weighed[:, :2].sum(1)


@_faulty(
    "sends choice 1 to expert 0, choice 2 to expert 1, whatever was chosen", _APART
)
def _by_place(h):
    E, k = len(h.experts), h.c.shape[1]
    places = (torch.arange(k) % E).expand(h.c.shape)
    return (h.w[..., None] * _ask_experts(h.x, h.w, places, h.experts)).sum(1)


@_faulty("sends tokens to the expert after the chosen one", "Take experts that differ.")
def _off_by_one(h):
    other = (h.c + 1) % len(h.experts)
    return (h.w[..., None] * _ask_experts(h.x, h.w, other, h.experts)).sum(1)


@_faulty("sends all tokens where the first token goes", _APART)
def _all_alike(h):
    other = h.c[:1].expand(h.c.shape)
    return (h.w[..., None] * _ask_experts(h.x, h.w, other, h.experts)).sum(1)


@_faulty("leaves expert 0 out", "Let a token choose expert 0.")
def _without_the_first(h):
    return h.again(h.w * (h.c != 0))


@_faulty(
    "leaves the last expert out", "Let a token choose the last expert.", may_hide=True
)
def _without_the_last(h):
    return h.again(h.w * (h.c != len(h.experts) - 1))


@_faulty("exchanges the answers of neighbours", _APART)
def _neighbours(h):
    other = (torch.arange(len(h.x)) ^ 1).clamp(max=len(h.x) - 1)
    return h.right[other]


@_faulty(
    "takes the weights of the token before", "Take several tokens whose weights differ."
)
def _weights_of_another(h):
    return h.again(h.w.roll(1, dims=0))


@_faulty("returns the answers in the order of the experts", _APART)
def _order_of_experts(h):
    return h.right[h.c[:, 0].argsort(stable=True)]


@_faulty("gives the last token nothing", "Take a last token whose answer is not 0.")
def _without_the_last_token(h):
    return torch.cat([h.right[:-1], torch.zeros_like(h.x[:1])])


@_faulty("gives the first token nothing", "Take a first token whose answer is not 0.")
def _without_the_first_token(h):
    return torch.cat([torch.zeros_like(h.x[:1]), h.right[1:]])


@_faulty("lets an expert serve only the first token that chose it", _CROWD)
def _one_each(h):
    return h.again(h.w * (_arrivals(h.c) < 1))


@_faulty(
    "lets an expert serve its equal share of all choices, and drops who comes later",
    _CROWD,
)
def _limited(h):
    share = max(1, h.c.numel() // len(h.experts))
    return h.again(h.w * (_arrivals(h.c) < share))


def _arrivals(chosen: Tensor) -> Tensor:
    """How many came to the same expert before."""
    met, places = {}, []
    for e in chosen.flatten().tolist():
        places.append(met.get(e, 0))
        met[e] = places[-1] + 1
    return torch.tensor(places).view(chosen.shape)


@_faulty("divides an answer by the number of tokens that its expert read", _CROWD)
def _per_expert(h):
    return h.again(h.w / torch.bincount(h.c.flatten())[h.c])


@_faulty("lets an expert answer the mean of its tokens", _CROWD + " The tokens differ.")
def _mean_of_tokens(h):
    own = h.own.clone()
    for e in h.c.unique():
        own[h.c == e] = own[h.c == e].mean(0)
    return (h.w[..., None] * own).sum(1)


@_faulty("divides the weights by their sum over the tokens", _APART)
def _over_tokens(h):
    return h.again(h.w / h.w.sum(0))


@_faulty("stops at the first expert that nobody chose", _IDLE_BETWEEN, may_hide=True)
def _stops(h):
    return h.again(h.w * (h.c < min([*h.idle, len(h.experts)])))


@_faulty("gives nan as soon as an expert has no tokens", _IDLE)
def _nan(h):
    return h.right * torch.nan if h.idle else h.right


@_faulty("lets experts that nobody chose answer all tokens", _IDLE)
def _idle_answer(h):
    return sum((h.experts[e](h.x) for e in h.idle), h.right)


@_faulty("lets experts that nobody chose answer the last token", _IDLE)
def _idle_last(h):
    out = h.right
    for e in h.idle:
        out[-1:] += h.experts[e](h.x[-1:])
    return out


@_faulty(
    "multiplies tokens by their weights before the experts read them, not after",
    _CURVED,
)
def _weighed_before(h):
    said = torch.zeros_like(h.own)
    for j in range(h.c.shape[1]):
        x, c = h.w[:, j : j + 1] * h.x, h.c[:, j : j + 1]
        said[:, j : j + 1] = _ask_experts(x, h.w, c, h.experts)
    return said.sum(1)


@_faulty("adds the token itself", "Take tokens other than 0.")
def _residual(h):
    return h.right + h.x


@_faulty(
    "sets what is negative to 0", "Take an example in which negative numbers come out."
)
def _positive(h):
    return h.right.clamp(min=0)


@_faulty("gives all numbers of a vector the value of the first one", _WIDE)
def _first_number(h):
    return h.right[:, :1].expand(h.x.shape)


@_faulty("rounds to whole numbers", "Take an example in which fractions come out.")
def _rounded(h):
    return h.right.round()


@_faulty("adds 0.01 to all numbers", "It always shows.")
def _shifted(h):
    return h.right + 0.01


@_faulty("takes 0.01 from all numbers", "It always shows.")
def _lowered(h):
    return h.right - 0.01


@_faulty("makes all answers a tenth too small", "Take answers other than 0.")
def _too_small(h):
    return 0.9 * h.right


@_faulty(
    "asks experts that nobody chose as well, and multiplies what they say by 0",
    "Leave an expert without tokens that answers nan.",
    may_hide=True,
)
def _idle_times_0(h):
    return sum((0 * h.experts[e](h.x) for e in h.idle), h.right)


@_faulty("returns the tokens as they came", "Take experts that change them.")
def _unchanged(h):
    return h.x.clone()


def _why_blind(version, calls: list[tuple]) -> str:
    """What in a test's inputs hides the fault of a version."""
    shown_by = _SHOWN_BY[version]
    start = "On your inputs that mistake changes nothing."
    several = [call for call in calls if call[2].shape[1] > 1]
    if several and all(_all_say_the_same(*call) for call in several):
        return f"{start} All experts answer alike. Take experts that differ."
    if all(len(call[0]) == 1 for call in calls) and "tokens" in shown_by:
        start = "All your calls have one token only (N = 1)."
    elif all(call[2].shape[1] == 1 for call in calls) and shown_by in (
        _TWO,
        _SUM,
        _RISING,
        _ORDER,
    ):
        start = "In all your calls a token visits one expert only (k = 1)."
    return f"{start} {shown_by}"


def _all_say_the_same(x, weights, chosen, experts) -> bool:
    """Whether the experts of every token do."""
    own = _ask_experts(x, weights, chosen, experts).detach()
    return close(own, own[:, :1].expand(own.shape))


def _why_missed(version, calls: list[tuple]) -> str:
    for call in calls:
        got, want = version(*call), _mix_row_by_row(*call)
        if want.isnan().all():
            return "With nan nothing can be compared. Let experts that tokens choose answer with numbers."
        if got.shape == want.shape and not close(got, want):
            n = _first_apart(got, want)
            return (
                f"Token {n} of {len(want)} gets {_listed(got[n].detach())} there. Is each number of each token compared "
                "with what you expect, on both sides and closely, in an assert that can fail?"
            )
    return "Is each number of each token compared with what you expect, closely?"


def _why_unfair(version, calls: list[tuple]) -> str | None:
    """What in a test's calls makes it reject a version in which nothing is wrong."""
    if not calls and version is _mix_expert_by_expert:
        return (
            "It did not come to its end: one of your experts objects to being called with no tokens, (0, D). An expert "
            "that nobody chose may be called so; it may only change nothing."
        )
    for x, _, chosen, experts in calls:
        for e in chosen.unique().tolist():
            mine = x[(chosen == e).any(dim=-1)]
            rows = [experts[e](mine[n : n + 1]) for n in range(len(mine))]
            if torch.cat(rows).isnan().any():
                return f"Your expert {e} answers nan, and tokens choose it. Right layers give nan for those."
            if not close(torch.cat(rows).detach(), experts[e](mine).detach()):
                return (
                    f"Your expert {e} gives a token another answer when other tokens stand beside it, or at another "
                    "time. An expert is a function of each row (n, D) alone."
                )
    if any(_differs_in_the_last_digits(version, call) for call in calls):
        return (
            "Right layers add in another order, so the last digits differ: is anything compared to the last bit "
            "(torch.equal, ==)? Otherwise: is the expected number wrong, is something asserted that was never asked for, "
            "or does it keep something of an earlier run?"
        )
    return None


def _differs_in_the_last_digits(version, call: tuple) -> bool:
    got, other = version(*call).detach(), _mix_backwards(*call).detach()
    return close(got, other) and not torch.equal(got, other)


@check_test(
    dispatch.mix_by_masks,
    right={
        "one that goes from expert to expert and calls those without tokens too, with (0, D)": _mix_expert_by_expert,
        "one that goes from token to token": _mix_row_by_row,
        "one that begins with the last choices and calls only experts that have tokens": _mix_backwards,
    },
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_missed=_why_missed,
    why_unfair=_why_unfair,
    may_hide=_MAY_HIDE,
    called="mix",
    proved="It accepts three different right versions and exposes the faulty ones, forty-five of them.",
)
def test_mix(test, draw):
    """Pass what mixes rightly, fail all else."""
