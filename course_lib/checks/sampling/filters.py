"""Checks of lesson 02: temperature, the nucleus, and a learner's test of any nucleus filter.

Whatever depends on which token crosses p keeps a distance from exact sums, as .5 + .3 need
not be .8 in floats; equal chances of a half and a quarter are the exception.
"""

import math

import torch
from torch import Tensor

from course_lib.checks.asking import ask, ask_tensor, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.learners_tests import check_test
from course_lib.sampling import filters

NO = -math.inf


def _listed(numbers: Tensor) -> str:
    return "(" + ", ".join(f"{number:.3g}" for number in numbers.tolist()) + ")"


def _in_pieces(draw: torch.Generator, shape: tuple[int, ...], size: float) -> Tensor:
    """Scores that, with two dimensions or more, do not lie in one piece in memory."""
    numbers = size * torch.randn(shape, generator=draw)
    return numbers if len(shape) == 1 else numbers.mT.contiguous().mT


def shapes(
    shape: tuple[int, ...], *worked: tuple[int, ...]
) -> dict[tuple[int, ...], str]:
    """What other shapes than the one of the scores come from; worked: the card's example."""
    V, found = shape[-1], {}
    less = tuple(size for size in shape if size > 1)
    # fmt: off
    for other, mistake in (
        ((*shape, 1), "A dimension was added."),
        ((1, *shape), "A dimension was added. Scores may come as one row (V,) as well."),
        (less, "A dimension of size 1 got lost: one row of a batch was taken, or squeeze() removed it."),
        (shape[:-1], "There is one number for each row. A score for each token is wanted."),
        (shape[1:], "One row or one text came back. All of them are wanted."),
        ((math.prod(shape),), "The rows became one long row."),
        ((math.prod(shape[:-1]), V), "The dimensions before the last one became one."),
        *((known, "That is the size of the worked example. Are its numbers written into the answer?")
          for known in worked),
    ):
        # fmt: on
        found.setdefault(other, mistake)
    return found


def _same_kind(got: Tensor, logits: Tensor) -> None:
    expect(
        got.dtype == logits.dtype,
        f"Scores of {logits.dtype} came back as {got.dtype}. They keep their type.",
    )


def in_double(answer, draw: torch.Generator, setting: float, want) -> None:
    """The same in double precision, with one text and one row more than the others had."""
    logits = 2 * torch.randn(2, 6, generator=draw, dtype=torch.float64)
    got = ask_tensor(answer, logits, setting, shape=(2, 6))
    _same_kind(got, logits)
    expect(
        torch.allclose(got, want(logits, setting), rtol=1e-13, atol=0),
        "In double precision the later digits are off. Was something rounded to float32 (as "
        "torch.tensor(1.5) is), or a small constant added?",
    )


def new(answer, arguments: tuple, when: str) -> None:
    """Where nothing changes, the input itself would have the right numbers."""
    got = ask(answer, *arguments)
    expect(
        got.untyped_storage().data_ptr() != arguments[0].untyped_storage().data_ptr(),
        f"{when} your result is the very tensor that came in, or shares its memory: whoever "
        "changes one changes both. A new tensor is wanted; a copy will do.",
    )


# --- temperature ------------------------------------------------------------------------------


@check(
    filters.temperature,
    proved="It gives the worked scores, raises the odds of any two tokens to the right power at "
    "any heat, and what is forbidden stays so.",
)
def temperature(answer, draw):
    _temperature_compare(answer, torch.tensor([[2.0, -1.0]]), 0.5)
    cases = (((2, 4, 5), 0.73), ((4, 3), 2.5), ((1, 6), 1.0), ((7,), 0.4), ((3, 2), 2))
    for shape, value in cases:
        _temperature_compare(answer, _in_pieces(draw, shape, 2.0), value)
    barred = torch.tensor([[NO, 3.0, 0.0, -2.0], [1.0, NO, NO, -3.0]])
    for value in (0.5, 2.0):
        _temperature_compare(answer, barred, value)
    _temperature_far_out(answer)
    in_double(answer, draw, 0.3, _temperature_number_by_number)


def _temperature_number_by_number(logits: Tensor, value: float) -> Tensor:
    numbers = [number / value for number in logits.double().flatten().tolist()]
    return torch.tensor(numbers, dtype=torch.float64).view(logits.shape)


def _temperature_compare(answer, logits: Tensor, value: float) -> None:
    shape = tuple(logits.shape)
    got = ask_tensor(
        answer, logits, value, shape=shape, shapes=shapes(shape, (1, 2), (2,))
    )
    _same_kind(got, logits)
    want = _temperature_number_by_number(logits, value)
    if close(got, want):
        return
    barred = logits == NO
    expect(
        not barred.any() or bool((got[barred] == NO).all()),
        "A token was forbidden (its score is minus infinity), and after the temperature it has "
        f"{got[barred][got[barred] != NO][:1].tolist()}. A forbidden token stays at minus infinity.",
    )
    rows = (got.double(), want)
    diagnose(
        got,
        want,
        _temperature_mistakes(logits, value),
        "The softmax of your result is right, and yet each row has had a number added to it. "
        "Scores are kept as scores: one that is 0 stays 0."
        if close(*(row.softmax(-1) for row in rows))
        else _temperature_odds(got, logits, value),
    )


def _temperature_odds(got: Tensor, logits: Tensor, value: float) -> str:
    first, now = (z.reshape(-1, z.shape[-1])[0].double() for z in (logits, got))
    i, j = first.nan_to_num(neginf=0.0).argsort(descending=True)[:2].tolist()
    odds, result = (float((z[i] - z[j]).exp()) for z in (first, now))
    return (
        f"At value {value} the scores {_listed(first)} become {_listed(now)}. The odds of tokens "
        f"{i} and {j} were {odds:.3g} and became {result:.3g}; {odds ** (1 / value):.3g} is wanted."
    )


def _temperature_mistakes(logits: Tensor, value: float) -> dict:
    heat, chances, logs = float(value), logits.softmax(-1), logits.log_softmax(-1)
    times, over = logits * heat, logits / heat
    positive, rows = logits > 0, logits.reshape(-1, logits.shape[-1])
    last, first = torch.zeros_like(rows).bool(), torch.zeros_like(rows).bool()
    last[-1], first[0] = True, True
    # fmt: off
    return {
        "It works the wrong way round: a value below 1 has to sharpen the chances, and here it "
        "flattens them.":
            times,
        "The softmax was taken first, and the temperature acted on probabilities. It acts on "
        "scores.":
            (chances / heat, chances * heat, chances ** (1 / heat), chances.log() - math.log(heat),
             (chances / heat).softmax(-1)),
        "The result consists of probabilities. Wanted are scores, from which the softmax is "
        "taken later.":
            (over.softmax(-1), times.softmax(-1), chances),
        "The softmax of your result is right, and yet each row has had a number added to it. "
        "Scores are kept as scores: one that is 0 stays 0.":
            (over.log_softmax(-1), logs / heat, over - over.amax(-1, keepdim=True)),
        "Positive scores and negative ones were treated differently. One heat for all of them.":
            (torch.where(positive, over, logits), torch.where(positive, logits, over),
             torch.where(positive, over, times), torch.where(positive, times, over),
             over.relu(), over.abs(), over.clamp(min=-1.0)),
        "The scores were raised to a power. It is the odds of two tokens that are, not the "
        "scores.":
            (logits ** (1 / heat), logits.abs() ** (1 / heat), logits ** heat),
        "The value was added or taken away. What is added to all scores changes no odds.":
            (logits - heat, logits + heat, logits - 1 / heat, logits + 1 / heat),
        "A logarithm or an exponential of the value was used. The value itself counts.":
            (logits / math.log(heat) if heat != 1 else logits, logits * math.log(heat),
             logits / math.exp(heat), logits * math.exp(heat), logits * math.exp(-heat),
             logits - math.log(heat)),
        "The value counts twice, or only its root.":
            (over / heat, logits / math.sqrt(heat), logits * heat * heat),
        "The sign was turned: the likeliest token became the least likely.":
            (-over, -times),
        "The heat reached one row only. Every row gets it.":
            (torch.where(last, rows / heat, rows).view(logits.shape),
             torch.where(first, rows / heat, rows).view(logits.shape)),
        "Results were cut to whole numbers.":
            (over.round(), over.floor(), over.trunc()),
        "Each row was also brought to a common size. Only the heat changes scores.":
            (over / over.norm(dim=-1, keepdim=True),
             (over - over.mean(-1, keepdim=True)) / over.std(-1, keepdim=True)),
        "Nothing changed: the scores came back as they were.":
            (logits, logits * 1.0),
    }
    # fmt: on


def _temperature_far_out(answer) -> None:
    """A score is any number; an exponential of it need not be one."""
    logits = torch.tensor([[900.0, -900.0, 897.0], [-400.0, 0.0, -401.0]])
    for value in (0.01, 50.0):
        got = ask_tensor(answer, logits, value, shape=(2, 3))
        want = _temperature_number_by_number(logits, value)
        expect(
            close(got, want),
            f"At value {value} the scores {_listed(logits[0])} become {_listed(got[0])}; wanted is "
            f"{_listed(want[0])}. Scores may be far from 0. Was one of them cut to a range, or an "
            "exponential or a logarithm taken, where too large and too small numbers get lost?",
        )


# --- top_p ------------------------------------------------------------------------------------


@check(
    filters.top_p,
    proved="It keeps the worked tokens, agrees with a loop that collects tokens row by row, has "
    "at least one token at p = 0 and loses none at p = 1, and ties, forbidden tokens and scores "
    "of 1000 do not break it.",
)
def top_p(answer, draw):
    _top_p_named(answer)
    _top_p_on_paper(answer)
    for shape in ((2, 4, 7), (5, 6), (1, 9), (8,), (2, 1, 3, 5)):
        logits, p = _top_p_drawn(draw, shape)
        _top_p_compare(answer, logits, p, f"For random scores of shape {shape}")
    _top_p_with_forbidden_tokens(answer)
    _top_p_far_out(answer)
    _top_p_with_ties(answer)
    _top_p_of_many(answer, draw)
    _top_p_everything(answer, draw)
    _top_p_exactly(answer)
    new(answer, (torch.tensor([[0.5, 2.0, 1.0]]), 1.0), "Where nothing is cut")
    in_double(answer, torch.Generator().manual_seed(5), 0.7, _top_p_collected)


def _top_p_named(answer) -> None:
    """On five rows of eight no two mistakes look alike, as they do on the card's one row of four."""
    rows = (
        (-1.4, 1.3, 2.3, 1.9, -1.1, -2.1, -0.5, -3.0),
        (-0.2, -1.9, 1.2, 0.3, -2.0, -1.1, 1.1, 0.8),
        (0.5, 2.8, 1.0, 1.9, -2.3, -2.1, 1.6, 0.7),
        (-0.8, -1.0, -1.9, 0.3, -3.6, -0.7, 0.6, 2.5),
        (2.1, 1.9, -1.3, 0.8, 0.1, 1.2, -0.9, 0.5),
    )
    logits, p = torch.tensor(rows), 0.7
    got, want = _top_p_ask(answer, logits, p), _top_p_collected(logits, p)
    try:
        diagnose(got, want, _top_p_mistakes(logits, p), "") if not close(
            got, want
        ) else None
    except CheckFailed as failure:
        if str(failure):
            raise


def _top_p_on_paper(answer) -> None:
    """Rows that need a different number of tokens each, none of them sorted."""
    card = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    _top_p_compare(answer, card, 0.9, "For the chances .15, .5, .05, .3")
    rows = [[0.15, 0.5, 0.05, 0.3], [0.02, 0.04, 0.9, 0.04], [0.28, 0.22, 0.24, 0.26]]
    logits = torch.tensor(rows).log() + torch.tensor([[1.0], [-2.0], [5.0]])
    for p in (0.6, 0.4, 0.97, 0.77, 1e-3, 0.0, 1.0):
        _top_p_compare(answer, logits, p, "For three rows of chances worked on paper")


def _top_p_drawn(draw: torch.Generator, shape: tuple[int, ...]) -> tuple:
    """Scores and a p that no sum of chances comes near to, so that rounding decides nothing."""
    while True:
        logits = _in_pieces(draw, shape, 1.8)
        p = 0.4 + 0.5 * float(torch.rand((), generator=draw))
        falling = logits.double().softmax(-1).sort(-1, descending=True).values
        sums = falling.cumsum(-1)
        sizes = (sums < p).sum(-1).flatten()
        enough = sizes.min() < sizes.max() if len(sizes) > 1 else sizes.min() > 0
        if (sums - p).abs().min() > 1e-3 and enough:
            return logits, p


def _top_p_collected(logits: Tensor, p: float) -> Tensor:
    """Token by token, the likeliest first, in doubles."""
    chances = logits.double().softmax(-1).reshape(-1, logits.shape[-1]).tolist()
    kept = [[False] * len(row) for row in chances]
    for row, mine in zip(chances, kept, strict=True):
        mass = 0.0
        for token in sorted(range(len(row)), key=row.__getitem__, reverse=True):
            mine[token] = True
            mass += row[token]
            if mass >= p:
                break
    return logits.masked_fill(~torch.tensor(kept).view(logits.shape), NO)


def _top_p_ask(answer, logits: Tensor, p: float) -> Tensor:
    shape = tuple(logits.shape)
    known = shapes(shape, (4,), (1, 4))
    if logits.numel() < 100:
        size = int((_top_p_collected(logits, p) > NO).sum())
        only = "Only what stays came back. Every token has a score."
        known = {(size,): only} | known
    got = ask_tensor(answer, logits, p, shape=shape, shapes=known)
    expect(
        got.dtype != torch.bool,
        "It returned True and False. Wanted are the scores themselves, minus infinity where "
        "nothing may be drawn.",
    )
    _same_kind(got, logits)
    return got


def _top_p_compare(answer, logits: Tensor, p: float, where: str) -> None:
    got = _top_p_ask(answer, logits, p)
    want = _top_p_collected(logits, p)
    if close(got, want):
        return
    diagnose(
        got, want, _top_p_mistakes(logits, p), _top_p_claims(got, logits, p, where)
    )


def _top_p_claims(got: Tensor, logits: Tensor, p: float, where: str) -> str:
    """Which property of a nucleus the first row that differs does not have."""
    V, want = logits.shape[-1], _top_p_collected(logits, p)
    off = [
        not close(a, b)
        for a, b in zip(got.reshape(-1, V), want.reshape(-1, V), strict=True)
    ]
    b = off.index(True)
    mine, right, row = (z.reshape(-1, V)[b] for z in (got, want, logits))
    if V > 9:
        seen = f"{where} and p = {p:.3g}"
    else:
        seen = (
            f"{where} and p = {p:.3g}, row {b}, {_listed(row)}, became {_listed(mine)}"
        )
    chances, kept = row.double().softmax(0), mine > NO
    mass, needed = float(chances[kept].sum()), int((right > NO).sum())
    if mine.isnan().any():
        return f"{seen}. Where does nan come from? An exponential that is too large, or a sum of nothing?"
    if not kept.any():
        return f"{seen}: no token stays, and nothing can be drawn. At least one stays."
    if not close(mine[kept], row[kept]):
        return f"{seen}. What stays keeps its score, what goes has minus infinity."
    if (
        chances[kept].min() < chances[~kept].amax().nan_to_num()
        if (~kept).any()
        else False
    ):
        return f"{seen}. A token went that is likelier than one that stays."
    return (
        f"{seen}. There {int(kept.sum())} tokens stay, with {mass:.3g} of the probability; "
        f"{needed} are needed."
    )


def _top_p_sorted(chances: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places from the likeliest down, and which of them a nucleus has: one too few, right, one more."""
    falling, order = chances.sort(dim=-1, descending=True, stable=True)
    sums = falling.cumsum(-1)
    fewer = sums <= p
    right = torch.ones_like(fewer)
    right[..., 1:] = sums[..., :-1] < p
    more = torch.ones_like(fewer)
    more[..., 1:] = right[..., :-1]
    return order, fewer, right, more


def _cut(scores: Tensor, kept: Tensor, filler: float = NO) -> Tensor:
    return scores.masked_fill(~kept, filler)


def _back(flags: Tensor, order: Tensor) -> Tensor:
    """From places of a sort to tokens of the vocabulary."""
    return flags.scatter(-1, order, flags)


def _rank(chances: Tensor) -> Tensor:
    """0 for the likeliest token, 1 for the next."""
    return chances.argsort(dim=-1, descending=True, stable=True).argsort(-1)


def _likeliest(chances: Tensor) -> Tensor:
    return _rank(chances) == 0


def _top_p_flags(chances: Tensor, p: float) -> Tensor:
    order, _, right, _ = _top_p_sorted(chances, p)
    return _back(right, order)


def _top_p_mistakes(logits: Tensor, p: float) -> dict:
    """What known mistakes give for these inputs, the card's own pitfalls first."""
    z, V = logits, logits.shape[-1]
    chances, logs = z.double().softmax(-1), z.double().log_softmax(-1)
    order, fewer, right, more = _top_p_sorted(chances, p)
    rising = chances.sort(dim=-1).values.cumsum(-1)
    upward = chances.argsort(dim=-1)
    top = chances.amax(-1, keepdim=True)
    likeliest = chances == top
    kept, rank = _back(right, order), _rank(chances)
    sums = z.gather(-1, order).cumsum(-1)
    sizes = kept.sum(-1, keepdim=True)

    def cut(kept: Tensor, of: Tensor = z, filler: float = NO) -> Tensor:
        return _cut(of, kept, filler)

    def back(flags: Tensor, order: Tensor = order) -> Tensor:
        return _back(flags, order)

    others = range(-z.dim(), -1)
    flat = z.reshape(-1, V)
    share = cut(kept, chances, 0.0)
    # fmt: off
    return {
        "Nothing is left at all in a row whose likeliest token alone has more than p. At least "
        "one token stays: the one that crosses p is in.":
            cut(back(torch.where(fewer[..., :1], right, fewer))),
        "The token that crosses p went, even where nothing else was left. It is in: without it the "
        "probability does not reach p.":
            (cut(back(fewer)), cut(fewer.gather(-1, order))),
        "The token that crosses p went. It is in: without it the probability does not reach p.":
            cut(back(fewer) | likeliest),
        "One token more than needed stays behind the one that crosses p.":
            (cut(back(more)),),
        "The rows came back in the order of the sort. They are wanted in the order of the "
        "vocabulary.":
            (*(cut(flags, z.gather(-1, order)) for flags in (right, fewer, more)),
             cut(right, z.gather(-1, order)).flip(-1)),
        "The places of the sort were taken for tokens of the vocabulary, so that other tokens went "
        "than those meant. Each decision has to go back to the token that it was made for.":
            tuple(cut(flags) for flags in (right, fewer, more, right.flip(-1)))
            + tuple(cut(flags.gather(-1, order)) for flags in (right, more)),
        "The least likely tokens stayed and the likeliest went: the sort, the comparison or the "
        "mask is the other way round.":
            (cut(~kept), cut(back(rising < p, upward)), cut(back(rising <= p, upward)),
             cut(back(rising - chances.gather(-1, upward) < p, upward)),
             cut(~back(fewer))),
        "p was taken for the share that goes. It is the share that stays, from whichever end the "
        "chances are added up.":
            (cut(back(rising > p, upward) | likeliest), cut(back(rising >= p, upward)),
             cut(_top_p_flags(chances, 1 - p))),
        "Tokens were added up in the order of the vocabulary. The likeliest come first.":
            (cut(chances.cumsum(-1) <= p), cut(chances.cumsum(-1) - chances < p),
             cut(chances.cumsum(-1) < p), cut((chances.cumsum(-1) <= p) | likeliest)),
        "Scores were added up, not probabilities.":
            (cut(back(sums <= p)), cut(back(sums <= p) | likeliest), cut(back(sums - z.gather(-1, order) < p)),
             cut(back(sums - z.gather(-1, order) < p) | likeliest)),
        "The probabilities were taken over another dimension than the last one. Each row of V "
        "scores has its own.":
            tuple(cut(_top_p_flags(z.double().softmax(d), p)) for d in others)
            + tuple(cut(_top_p_flags(chances.transpose(d, -1), p).transpose(d, -1)) for d in others)
            + tuple(cut(_top_p_flags(z.double().softmax(d).transpose(d, -1), p).transpose(d, -1))
                    for d in others),
        "All rows were put together and had one nucleus. Each row of V scores has its own.":
            (cut(_top_p_flags(flat.double().flatten().softmax(0), p).view(z.shape)),
             cut(_top_p_flags(chances.flatten() / len(flat), p).view(z.shape))),
        "Probabilities came back. Wanted are scores, minus infinity where nothing may be drawn.":
            (share, share / share.sum(-1, keepdim=True), cut(kept, chances)),
        "What stays came back as logarithms of probabilities. What stays keeps its score.":
            (cut(kept, logs), share.log(), (share / share.sum(-1, keepdim=True)).log()),
        "What goes has a score of 0, with which it is still drawn. Its score is minus infinity.":
            (cut(kept, z, 0.0), z * ~back(fewer)),
        "What goes has a low score, but not minus infinity.":
            (*(cut(kept, z, low) for low in (-1.0, -100.0, -1e3, -1e4, -1e5, -1e6, -1e8, -1e9, -1e10,
                                             torch.finfo(z.dtype).min, float(z[z > NO].min()))),),
        "Only the likeliest token stays, or p was compared with the chance of each token alone. It "
        "is the sum over the likeliest that has to reach p.":
            (cut(chances >= p), cut((chances >= p) | likeliest), cut(chances > 1 - p),
             cut((chances > 1 - p) | likeliest), cut(chances <= p)),
        "What stays was compared with the likeliest token: that is another filter (min-p). Here "
        "the sum over the likeliest has to reach p.":
            (cut(chances >= p * top), cut(chances >= (1 - p) * top)),
        "A fixed part of the vocabulary stays (that is top-k). How many are needed depends on the "
        "chances.":
            tuple(cut(rank < n) for n in (round(p * V), int(p * V), math.ceil(p * V), int(p * V) + 1)),
        "The cut of one row was made in all of them. Each row needs its own number of tokens.":
            tuple(cut(one.expand(len(flat), V).reshape(z.shape))
                  for one in kept.reshape(-1, V)[[0, -1]])
            + tuple(cut(rank < n) for n in (*sizes.flatten()[[0, -1]], sizes.max(), sizes.min()))
            + tuple(cut(z >= limit) for limit in cut(kept, z, math.inf).reshape(-1, V).amin(-1)[[0, -1]]),
        "Nothing was cut: all the tokens stay.": z,
    }
    # fmt: on


def _top_p_with_forbidden_tokens(answer) -> None:
    rows = [[NO, 0.5, NO, 1.0, 0.0, -0.4, 0.1], [2.0, NO, NO, NO, NO, NO, NO]]
    logits = torch.tensor(rows)
    for p in (0.5, 1.0, 0.0):
        got = _top_p_ask(answer, logits, p)
        expect(
            p == 1 or not torch.equal(got, logits),
            "In rows with minus infinity among the scores nothing is cut. Such a row has a "
            "softmax, but no mean and no sum.",
        )
        expect(
            bool((got[logits == NO] == NO).all()) and not got.isnan().any(),
            "A token whose score was minus infinity before has another one now. What is forbidden "
            "stays forbidden.",
        )
        _top_p_compare(answer, logits, p, "With scores of minus infinity among them")


def _top_p_far_out(answer) -> None:
    rows = [[998.0, 1000.0, 999.0], [-1000.0, -999.0, -1002.0], [0.0, -900.0, 900.0]]
    _top_p_compare(
        answer,
        torch.tensor(rows),
        0.8,
        "With scores that are far from 0 (an exponential of them is not a number)",
    )


def _top_p_with_ties(answer) -> None:
    """Of equal ones any may stay, as many as are needed."""
    equal = torch.zeros(2, 10)
    some = torch.tensor([[0.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 0.0, 1.0, 3.0]]).repeat(
        2, 1
    )
    for logits, p in ((equal, 0.25), (equal, 0.0), (some, 0.5), (some, 0.93)):
        got, want = _top_p_ask(answer, logits, p), _top_p_collected(logits, p)
        sizes, needed = ((z > NO).sum(-1).tolist() for z in (got, want))
        expect(
            sizes == needed,
            f"With p = {p} the row {_listed(logits[0])} keeps {sizes[0]} tokens; {needed[0]} are "
            "needed. Of equally likely tokens at the border, some stay and some go: only as many "
            "stay as are needed to reach p.",
        )
        expect(
            got.sort(-1).values.equal(want.sort(-1).values)
            and bool(((got == logits) | (got == NO)).all()),
            f"With p = {p} the row {_listed(logits[0])} became {_listed(got[0])}: not the "
            "likeliest stay, or they do not keep their score.",
        )


def _top_p_exactly(answer) -> None:
    """A half and a quarter are exact in floats, from whichever end they are added up."""
    for logits, p, size in ((torch.zeros(2, 2), 0.5, 1), (torch.zeros(2, 4), 0.5, 2)):
        sizes = (_top_p_ask(answer, logits, p) > NO).sum(-1)
        V = logits.shape[1]
        expect(
            bool((sizes == size).all()),
            f"Of {V} equally likely tokens {size} hold{'s' * (size == 1)} exactly a half. That "
            f"reaches p = 0.5, so {size} is enough; yours keeps {sizes.tolist()[0]}.",
        )


def _top_p_of_many(answer, draw: torch.Generator) -> None:
    logits, p = _top_p_drawn(draw, (2, 60))
    _top_p_compare(answer, logits, p, "With 60 tokens")
    flat = 0.2 * torch.randn(1, 1000, generator=draw)
    sums = flat.double().softmax(-1).sort(-1, descending=True).values.cumsum(-1)[0]
    for p in (0.02, 0.95, 0.995):  # half way between two sums
        n = int((sums < p).sum())
        between = float(sums[n - 1 : n + 1].mean())
        got = _top_p_ask(answer, flat, between)
        expect(
            close(got, _top_p_collected(flat, between)),
            f"With 1000 tokens of similar scores and p = {between:.3g} {n + 1} tokens are needed; yours keeps "
            f"{int((got > NO).sum())}, or others than the likeliest. Is p or the number of tokens limited somewhere?",
        )


def _top_p_everything(answer, draw: torch.Generator) -> None:
    """Sums of hundreds of float32 numbers reach 1 too early, or miss it."""
    logits = 3 * torch.randn(24, 400, generator=draw)
    got = _top_p_ask(answer, logits, 1.0)
    gone = int((got == NO).sum(-1).max())
    expect(
        gone == 0,
        f"At p = 1 every token that has any probability stays; of 400 yours drops up to {gone}. Sums of many floats "
        "are rounded and may reach 1 too early. Where does the sum begin, with the large numbers or the small "
        "ones? Or does p = 1 need no sum?",
    )
    expect(close(got, logits), "At p = 1 scores changed, with nothing to cut off.")
    for kind in (torch.float32, torch.float64):
        logits = torch.tensor([[0.0, -40.0, 3.0], [-60.0, 0.0, -1.0]], dtype=kind)
        got = _top_p_ask(answer, logits, 1.0)
        expect(
            bool((got > NO).all()),
            f"At p = 1 every token that has any probability stays. Of the scores 0, -40 and 3 (or -60, 0 and -1) "
            f"in {kind} one is dropped: beside the others it is too small to change a sum.",
        )


# --- a learner's test of top_p: right and faulty versions for it ------------------------------


def _nucleus_chances(logits, p) -> Tensor:
    """Chances in doubles. Not asserts: those would look like the test's own."""
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ValueError("top_p takes logits (B, V): a tensor with two dimensions")
    if not logits.is_floating_point():
        raise TypeError(f"logits are floats, not {logits.dtype}: write 2.0 for 2")
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, from 0 to 1, not {p}")
    return logits.double().softmax(-1)


def _nucleus_falling(logits, p):
    return _cut(logits, _top_p_flags(_nucleus_chances(logits, p), p))


def _nucleus_rising(logits, p):
    rising, order = _nucleus_chances(logits, p).sort(dim=-1, stable=True)
    goes = rising.cumsum(-1) <= 1 - p
    goes[:, -1] = False
    return _cut(logits, ~_back(goes, order))


def _nucleus_rounded_up(logits, p, by: float = 2e-7):
    return _nucleus_falling(logits, p if p in (0, 1) else min(1.0, max(0.0, p + by)))


def _nucleus_rounded_down(logits, p):
    return _nucleus_rounded_up(logits, p, by=-2e-7)


_FAULTY: dict = {}
_SHOWN_BY: dict = {}  # what inputs show a version's fault
_MAY_HIDE: set = set()  # versions so nearly right that not all inputs show it


def _faulty(description: str, shown_by: str, may_hide: bool = False):
    """Registers a version made from rule(scores, chances, p)."""

    def register(rule):
        def version(logits, p):
            return rule(logits, _nucleus_chances(logits, p), p)

        _FAULTY[f"one that {description}"] = version
        _SHOWN_BY[version] = shown_by
        if may_hide:
            _MAY_HIDE.add(version)
        return rule

    return register


_UNLIKELY_FIRST = "Take rows that are not sorted, with scores below 0 and above."
_SEVERAL = "Take several rows that differ, so that each needs another number of tokens."
_CROSSES = "Take a p between two sums of chances, and not too near to 0."
_SMALL = "Take a p below the chance of a row's likeliest token."
_UNNORMALISED = "Take scores whose exponentials do not sum to 1, and a p that cuts."
_CUTS = "Take a p at which something goes."
_MORE_P = "Take more than one p, large and small ones."
_SEVERAL_CUT = f"{_CUTS} And several rows."


@_faulty("drops the token that crosses p", _CROSSES)
def _drops_what_crosses(z, c, p):
    order, fewer, _, _ = _top_p_sorted(c, p)
    return _cut(z, _back(fewer, order) | _likeliest(c))


@_faulty("keeps nothing in a row whose likeliest token alone has more than p", _SMALL)
def _may_be_empty(z, c, p):
    order, fewer, right, _ = _top_p_sorted(c, p)
    return _cut(z, _back(torch.where(fewer[:, :1], right, fewer), order))


@_faulty("keeps one token more than needed", _CUTS)
def _one_more(z, c, p):
    order, _, _, more = _top_p_sorted(c, p)
    return _cut(z, _back(more, order))


@_faulty("always keeps two tokens at least", _SMALL)
def _two_at_least(z, c, p):
    return _cut(z, _top_p_flags(c, p) | (_rank(c) < 2))


@_faulty("keeps the likeliest token only", _CROSSES)
def _greedy(z, c, p):
    return _cut(z, _likeliest(c))


@_faulty("cuts nothing", _CUTS)
def _everything(z, c, p):
    return z.clone()


@_faulty(
    "leaves out the second likeliest token where others reach p without it",
    "Take rows of several tokens, none of which has nearly all of the probability.",
)
def _without_the_second(z, c, p):
    rest = c.masked_fill(_rank(c) == 1, 0.0)
    enough = rest.sum(-1, keepdim=True) > p
    return _cut(z, torch.where(enough, _top_p_flags(rest, p), _top_p_flags(c, p)))


@_faulty("keeps the least likely tokens instead", _CUTS)
def _unlikely_ones(z, c, p):
    rising, order = c.sort(dim=-1)
    return _cut(z, _back(rising.cumsum(-1) - rising < p, order))


@_faulty("adds up tokens in the order of the vocabulary", _UNLIKELY_FIRST)
def _unsorted(z, c, p):
    return _cut(z, c.cumsum(-1) - c < p)


@_faulty("takes the places of the sort for tokens", _UNLIKELY_FIRST)
def _not_put_back(z, c, p):
    return _cut(z, _top_p_sorted(c, p)[2])


@_faulty("returns the scores in sorted order", _UNLIKELY_FIRST)
def _left_sorted(z, c, p):
    return _cut(z.sort(dim=-1, descending=True).values, _top_p_sorted(c, p)[2])


@_faulty("adds up scores, not probabilities", _UNLIKELY_FIRST)
def _scores_added(z, c, p):
    falling, order = z.sort(dim=-1, descending=True, stable=True)
    return _cut(z, _back(falling.cumsum(-1) - falling < p, order) | _likeliest(c))


@_faulty("takes its softmax over the batch", _SEVERAL)
def _over_the_batch(z, c, p):
    return _cut(z, _top_p_flags(z.double().softmax(0), p))


@_faulty("has one nucleus for all rows together", _SEVERAL)
def _rows_together(z, c, p):
    return _cut(z, _top_p_flags(c.flatten() / len(c), p).view(c.shape))


@_faulty("keeps as many tokens in every row as in the first", _SEVERAL)
def _sizes_alike(z, c, p):
    return _cut(z, _rank(c) < _top_p_flags(c, p)[0].sum())


@_faulty("keeps the same tokens in every row as in the first", _SEVERAL)
def _tokens_alike(z, c, p):
    return _cut(z, _top_p_flags(c, p)[:1].expand(c.shape))


@_faulty("cuts the first row only", _SEVERAL_CUT)
def _first_row(z, c, p):
    return torch.cat([_cut(z, _top_p_flags(c, p))[:1], z[1:]])


@_faulty("cuts the last row only", _SEVERAL_CUT)
def _last_row(z, c, p):
    return torch.cat([z[:-1], _cut(z, _top_p_flags(c, p))[-1:]])


@_faulty("takes 0.9 for p whatever it is", _MORE_P)
def _always_the_same(z, c, p):
    return _cut(z, _top_p_flags(c, 0.9))


@_faulty("takes p for the share that goes", _MORE_P)
def _the_other_share(z, c, p):
    return _cut(z, _top_p_flags(c, 1 - p))


@_faulty("compares each token's own chance with p", _CROSSES)
def _each_alone(z, c, p):
    return _cut(z, (c >= p) | _likeliest(c))


@_faulty("compares chances with p times the largest (min-p)", _MORE_P)
def _min_p(z, c, p):
    return _cut(z, c >= p * c.amax(-1, keepdim=True))


@_faulty("keeps a share p of the vocabulary (top-k)", _MORE_P)
def _top_k(z, c, p):
    return _cut(z, _rank(c) < max(1, math.ceil(p * c.shape[-1])))


@_faulty("returns logarithms of chances for what stays", _UNNORMALISED)
def _logs(z, c, p):
    return _cut(z.log_softmax(-1), _top_p_flags(c, p))


@_faulty("returns logarithms of what will be drawn from", _UNNORMALISED)
def _logs_of_what_stays(z, c, p):
    return _cut(z, _top_p_flags(c, p)).log_softmax(-1)


@_faulty("returns probabilities, 0 for what goes", _UNNORMALISED)
def _probabilities(z, c, p):
    return _cut(z, _top_p_flags(c, p)).softmax(-1)


@_faulty("gives a score of 0 to what goes", _CUTS)
def _zeros(z, c, p):
    return _cut(z, _top_p_flags(c, p), 0.0)


@_faulty("gives a score of -10000 to what goes", _CUTS)
def _low(z, c, p):
    return _cut(z, _top_p_flags(c, p), -1e4)


@_faulty("gives nan to what goes", _CUTS)
def _nan(z, c, p):
    return _cut(z, _top_p_flags(c, p), math.nan)


@_faulty("gives a score of -1e9 to what goes", _CUTS)
def _very_low(z, c, p):
    return _cut(z, _top_p_flags(c, p), -1e9)


@_faulty("gives the least finite number to what goes", _CUTS)
def _least(z, c, p):
    return _cut(z, _top_p_flags(c, p), torch.finfo(z.dtype).min)


@_faulty(
    "sorts from the least likely up and takes those places for tokens", _UNLIKELY_FIRST
)
def _rising_not_put_back(z, c, p):
    return _cut(z, _top_p_sorted(c, p)[2].flip(-1))


@_faulty("returns the scores in sorted order, the lowest first", _UNLIKELY_FIRST)
def _left_rising(z, c, p):
    return _cut(z.sort(dim=-1).values, _top_p_sorted(c, p)[2].flip(-1))


@_faulty(
    "exchanges the scores of what stays among one another",
    "Take a p at which several tokens stay, of different scores.",
)
def _exchanged(z, c, p):
    kept, rank = _top_p_flags(c, p), _rank(c)
    falling = z.sort(dim=-1, descending=True).values
    other = (kept.sum(-1, keepdim=True) - 1 - rank).clamp(min=0)
    return _cut(falling.gather(-1, other), kept)


@_faulty("adds 0.01 to the score of what stays", _CUTS)
def _shifted(z, c, p):
    return _cut(z + 0.01, _top_p_flags(c, p))


@_faulty("cuts all rows but the last", _SEVERAL_CUT)
def _all_but_the_last(z, c, p):
    return torch.cat([_cut(z, _top_p_flags(c, p))[:-1], z[-1:]])


@_faulty("cuts all rows but the first", _SEVERAL_CUT)
def _all_but_the_first(z, c, p):
    return torch.cat([z[:1], _cut(z, _top_p_flags(c, p))[1:]])


@_faulty("cuts the first two rows only", _SEVERAL_CUT)
def _first_rows(z, c, p):
    n = max(1, min(2, len(z) - 1))  # of two rows the first
    return torch.cat([_cut(z, _top_p_flags(c, p))[:n], z[n:]])


def _inaccurate(by: float) -> None:
    words = "more" if by > 0 else "less"

    @_faulty(f"takes {abs(by)} {words} than p", _MORE_P, may_hide=True)
    def rule(z, c, p):
        sums = c.sort(dim=-1, descending=True).values.cumsum(-1)
        fine = (sums - p).abs().amin(
            -1, keepdim=True
        ) < 1e-3  # then either may be right
        beside = _top_p_flags(c, min(1.0, max(0.0, p + by)))
        return _cut(z, torch.where(fine, _top_p_flags(c, p), beside))


for _by in (-0.05, 0.05, -0.01, 0.01):
    _inaccurate(_by)


def _why_blind(version, calls: list[tuple]) -> str:
    """What in a test's inputs hides the fault of a version."""
    shown_by = _SHOWN_BY[version]
    if all(len(logits) == 1 for logits, _ in calls) and "rows" in shown_by:
        return f"All your batches have one row only (B = 1). {shown_by}"
    return f"On your inputs that mistake changes nothing. {shown_by}"


def _broken(got: Tensor, logits: Tensor, p: float) -> str | None:
    """The first claim that a result breaks."""
    kept, chances = got > NO, logits.double().softmax(-1)
    if not ((got == logits) | (got == NO)).all():
        return "4 (what stays has its score in its own place, what goes has minus infinity)"
    stays = chances.masked_fill(~kept, 0.0)
    least = chances.masked_fill(~kept, 1.0).amin(-1)
    if (stays.sum(-1) < p - 1e-9).any():
        return "1 (what stays holds at least p of the probability)"
    if (stays.sum(-1) - least >= p + 1e-9).any():
        return "2 (without its least likely token it would hold less than p)"
    if (chances.masked_fill(kept, 0.0).amax(-1) > least).any():
        return "3 (nothing that goes is likelier than anything that stays)"
    return None


def _why_missed(version, calls: list[tuple]) -> str:
    """Which claim a test leaves open though a fault shows on its inputs."""
    found = (_broken(version(*call), *call) for call in calls)
    claim = next(filter(None, found), None)
    if claim is None:
        return f"Where tokens are equally likely that breaks no claim. {_SHOWN_BY[version]}"
    closely = " and closely" if version in _MAY_HIDE else ""
    return (
        f"Nothing asserts claim {claim} there. Do all four claims have an assert that can fail, "
        f"for every row{closely}?"
    )


def _why_stopped(version, calls: list[tuple]) -> str | None:
    if any(p == 0 for _, p in calls):
        return (
            "One of your calls has p = 0, which a row without any token reaches as well, so "
            "that claim 1 cannot object. Take a p above 0."
        )
    return None


def _why_unfair(version, calls: list[tuple]) -> str | None:
    """What in a test's calls makes it reject a version in which nothing is wrong."""
    for logits, p in calls:
        falling = logits.double().softmax(-1).sort(-1, descending=True).values
        if p == 0:
            return (
                "One of your calls has p = 0. There one token stays although none is needed: "
                "claim 2 speaks of a p above 0."
            )
        if p < 1 and (falling.cumsum(-1) - p).abs().min() < 1e-6:
            return (
                f"At p = {p:g} the chances of some tokens sum to p exactly, and whether one more "
                "stays is then up to rounding. Take a p between two sums."
            )
        if p == 1:
            return (
                "One of your calls has p = 1, and probabilities in floats may sum to a little "
                "less than 1. Leave some room in claim 1."
            )
        stays = _top_p_sorted(falling, p)[2].sum(-1)
        if any(
            len(row) > n and row[n - 1] == row[n]
            for row, n in zip(falling, stays.tolist(), strict=True)
        ):
            return (
                "Two tokens are equally likely where the cut falls. Either may stay: none of the "
                "claims says which."
            )
    return None


@check_test(
    filters.top_p,
    right={
        "one that goes from the likeliest token down": _nucleus_falling,
        "one that goes from the least likely token up": _nucleus_rising,
        "one whose sums are a little larger, by rounding": _nucleus_rounded_down,
        "one whose sums are a little smaller, by rounding": _nucleus_rounded_up,
    },
    faulty=_FAULTY,
    why_blind=_why_blind,
    why_missed=_why_missed,
    why_unfair=_why_unfair,
    why_stopped=_why_stopped,
    may_hide=_MAY_HIDE,
    proved="It accepts four different right versions and exposes the faulty ones, forty-two of them.",
)
def test_top_p(test, draw):
    """Pass nucleus filters, fail all others."""
