"""Checks of lesson 00: softmax, the log-probability of a token, averages under a mask, a text pipeline.

Each begins with numbers worked out on paper and a table of mistakes with what they give there, then goes
on to random inputs and to the edges. `tests/answers/00_start_here.py` holds the answers that prove them.
"""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional

from course_lib import logprobs, masks, pipeline
from course_lib.checks.asking import (
    ask,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.learners_tests import check_test

SQUEEZED = "squeeze() without a dimension removes every dimension of size 1."


def _mask(*rows: str) -> Tensor:
    """`_mask("110", "100")`: True where a 1 stands."""
    return torch.tensor([[place == "1" for place in row] for row in rows])


# --- softmax ----------------------------------------------------------------------------------------


@check(
    logprobs.softmax,
    proved="It gives the paper fractions, agrees with torch on random scores, and neither scores of 1000 nor "
    "of minus infinity break it.",
)
def softmax(answer, draw):
    _softmax_on_paper(answer)
    cube = 3 * torch.randn(2, 5, 4, generator=draw).mT  # not in one piece in memory
    got = ask_tensor(answer, cube, shape=(2, 4, 5))
    # fmt: off
    mistakes = {
        "With three dimensions another one than the last was used. Name the last (-1); a default or a fixed number "
        "means another one here.":
            (cube.softmax(0), cube.softmax(1), cube.flatten(1).softmax(-1).view_as(cube)),
        "Negative scores lost their sign, or became 0. A score may be any number; the exponential makes it positive.":
            (cube.abs().softmax(-1), cube.relu().softmax(-1)),
    }
    # fmt: on
    diagnose(
        got,
        cube.softmax(-1),
        mistakes,
        "On random scores with three dimensions the probabilities differ from torch's (the first row sums to "
        f"{got[0, 0].sum():.3g}). Is every row treated alike, and every score of it?",
    )
    expect(
        got.dtype == cube.dtype,
        f"Scores of {cube.dtype} give probabilities of {got.dtype}. They should come back in the same precision.",
    )
    weights = torch.arange(cube.numel()).reshape(cube.shape) / cube.numel()
    leaf = cube.clone().requires_grad_()
    (leaf.softmax(-1) * weights).sum().backward()
    expect(
        close(ask_gradient(answer, cube, weights), leaf.grad),
        "The values of softmax are right, but its gradient is not: was a part detached or rounded?",
    )
    wide = torch.randn(2, 120, generator=draw)
    expect(
        close(ask_tensor(answer, wide, shape=(2, 120)), wide.softmax(-1)),
        "With 120 scores in a row the probabilities differ from torch's. Is the number of scores limited somewhere?",
    )
    row = torch.randn(7, generator=draw).double()
    got = ask_tensor(answer, row, shape=(7,))
    expect(
        got.dtype == torch.float64 and close(got, row.softmax(-1), rtol=1e-13, atol=0),
        "In double precision the later digits are off. Is a small constant added somewhere, or was something "
        "rounded to float32?",
    )
    _no_score_breaks(answer)
    _no_score_is_too_far_out(answer)


def _softmax_on_paper(answer) -> None:
    powers = torch.tensor([[1.0, 2.0, 5.0], [4.0, 3.0, 9.0]])
    scores, want = powers.log(), powers / torch.tensor([[8.0], [16.0]])
    least, most = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    spread = [scores.std(1, correction=c, keepdim=True) for c in (0, 1)]
    per_column = (scores - scores.amax(0)).exp()

    def over_sum(numbers: Tensor) -> Tensor:
        return numbers / numbers.sum(1, keepdim=True)

    # fmt: off
    mistakes = {
        "The columns sum to 1, not the rows. Along which dimension did you add?":
            powers / torch.tensor([[5.0, 5.0, 14.0]]),
        "All entries together sum to 1. Every row should, on its own.":
            powers / 24,
        "The rows do not go through the exponential: these are scores divided by their sum.":
            over_sum(scores),
        "Scores are stretched to lie between 0 and 1, without an exponential.":
            (scores - least) / (most - least),
        "The largest score got the smallest probability: the sign in the exponent is turned.":
            over_sum(1 / powers),
        "Each score was squashed by itself (a sigmoid). Probabilities of one row compete: they sum to 1.":
            powers / (1 + powers),
        "Each score was squashed by itself (a sigmoid, a softplus) before the row was divided by its sum. The formula "
        "has plain exponentials.":
            (over_sum(scores.sigmoid()), over_sum(functional.softplus(scores))),
        "These are logarithms of probabilities; take them back to probabilities.":
            want.log(),
        "These are powers of 2. The formula has powers of e.":
            (scores * math.log(2)).softmax(-1),
        "The exponentials are right; now every row has to be divided by its sum.":
            (powers, powers / powers.amax(1, keepdim=True)),
        "Every row is divided by the root of its sum of squares. Probabilities have the plain sum 1.":
            powers / powers.norm(dim=1, keepdim=True),
        "The scores were divided by something (the largest, their spread, a root) before the exponential. That "
        "changes their differences.":
            tuple((scores / size).softmax(-1) for size in (most, *spread, math.sqrt(3), 3)),
        "The largest score is subtracted in one half of the quotient only; numerator and denominator need the same "
        "shift.":
            (want / powers.amax(1, keepdim=True), want * powers.amax(1, keepdim=True)),
        "The largest of each column was subtracted, and then the scores of one row no longer have the same "
        "differences. Each row needs its own largest.":
            over_sum(per_column),
        "The probabilities are right but sorted; each belongs in the place of its score.":
            (want.sort().values, want.sort(descending=True).values),
        "The softmax was taken twice: these are the probabilities of probabilities.":
            want.softmax(-1),
        "The winner takes all here (an argmax). The others should keep their share.":
            torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    }
    # fmt: on
    diagnose(
        ask_tensor(answer, scores, shape=(2, 3)),
        want,
        mistakes,
        "For scores log 1, log 2, log 5 the probabilities are 1/8, 2/8 and 5/8; yours differ.",
    )


def _no_score_breaks(answer) -> None:
    """Each row alone, then together, so that what one row does to another has a message of its own."""
    far = torch.tensor([[1000.0, 999.0], [-1000.0, -1001.0]])
    shapes = {(2,): SQUEEZED}
    for scores, size, why in (
        (far[:1], "1000", "the exponential overflows. What may be subtracted from"),
        (far[1:], "-1000", "every exponential vanishes. What may be added to"),
    ):
        got = ask_tensor(answer, scores, shape=(1, 2), shapes=shapes)
        expect(
            got.isfinite().all(),
            f"Scores of {size} give {got[0, 0]:.3g}: {why} every score of a row without changing the quotient?",
        )
        expect(
            close(got.sum(), torch.tensor(1.0), rtol=1e-4),
            f"A row of scores near {size} sums to {got.sum():.3g}. Replacing nan or inf afterwards hides that the "
            "exponential overflows or vanishes; it does not bring the numbers back.",
        )
        expect(
            close(
                got, scores.softmax(-1), rtol=2e-4
            ),  # between 512 and 1024 floats are 6e-5 apart
            f"Scores near {size} no longer break it, but their probabilities are wrong. Clamping or rescaling scores "
            "changes their differences; the differences must stay.",
        )
    for scores in (far, far.unsqueeze(0)):
        got = ask_tensor(answer, scores, shape=tuple(scores.shape))
        expect(
            close(got, scores.softmax(-1), rtol=2e-4),
            "A row near +1000 and a row near -1000 are right alone and wrong together. Something is taken over the "
            "whole tensor, or over a whole text, where each row needs its own.",
        )
    steep = torch.tensor([[-3000.0, 3000.0, -2000.0]])
    expect(
        close(ask_tensor(answer, steep, shape=(1, 3)), torch.tensor([[0.0, 1.0, 0.0]])),
        "Scores of -3000, 3000, -2000 should give 0, 1, 0. What you subtract leaves an exponential that overflows; "
        "which score of a row has to become 0 so that none can?",
    )
    low = torch.tensor([[0.0, -40.0, -80.0]])
    got, want = ask_tensor(answer, low, shape=(1, 3)), low.softmax(-1)
    expect(
        close(got, want, rtol=1e-4, atol=0),
        f"A score 80 below the best one has probability {want[0, 2]:.1e}: small, but not {got[0, 2]:.1e}. Is "
        "something clamped, cut off, added, or left over from a subtraction?",
    )
    barred = ask_tensor(answer, torch.tensor([[0.0, -math.inf, 0.0]]), shape=(1, 3))
    expect(
        not barred.isnan().any(),
        "A score of minus infinity brings nan into its row. Infinity minus infinity is nan, and so is 0 times infinity: "
        "what is subtracted from such a score has to be finite.",
    )
    expect(
        close(barred, torch.tensor([[0.5, 0.0, 0.5]])) and barred[0, 1] == 0,
        f"A score of minus infinity gets {barred[0, 1]:.3g}; it should get exactly 0 and leave 1/2 each to the "
        "two others. Is an exponent clamped, or a small constant added?",
    )


def _no_score_is_too_far_out(answer) -> None:
    """Wherever a bound, a stand-in for infinity or a threshold is set, some scores lie behind it."""
    rounded = "The log of a sum adds almost nothing to so large a score, and what is added is rounded away. Make the scores "
    stand_in = (
        "A finite number stands in for minus infinity, and here it is the larger one."
    )
    # fmt: off
    rows = (
        ((1e8, 1e8), (0.5, 0.5), rounded + "small before anything else."),
        ((3e4, 2e4), (1.0, 0.0), "Clamping changes differences, however far out its bounds lie."),
        ((-2e4, -20001.0), (0.731059, 0.268941), "A very low score is not yet an impossible one; only differences count."),
        ((-2e4, -math.inf), (1.0, 0.0), stand_in),
        ((-2e9, -math.inf), (1.0, 0.0), stand_in),
    )
    # fmt: on
    for row, want, why in rows:
        got = ask_tensor(answer, torch.tensor([row]), shape=(1, 2))
        expect(
            close(got, torch.tensor([want]), rtol=1e-4),
            f"Scores {row[0]:g} and {row[1]:g} give {got[0, 0]:.3g} and {got[0, 1]:.3g}; wanted are {want[0]:.3g} and "
            f"{want[1]:.3g}. {why}",
        )
    half = ask_tensor(answer, torch.tensor([[20.0, 0.0]]).half(), shape=(1, 2))
    expect(
        half.dtype == torch.half and close(half, torch.tensor([[1.0, 0.0]]), atol=1e-3),
        f"In half precision scores 20 and 0 give {half.tolist()} of {half.dtype}; there the exponential of 20 overflows "
        "already. Is a row shifted only when its scores look large?",
    )


# --- token_logprobs ---------------------------------------------------------------------------------


@check(
    logprobs.token_logprobs,
    proved="It equals minus torch's cross entropy, token by token, and stays finite where the probability itself "
    "would be rounded to 0.",
)
def token_logprobs(answer, draw):
    _token_logprobs_on_paper(answer)
    logits = (torch.randn(2, 4, 5, generator=draw) * 4)[:, :-1]  # cut as in training
    ids = torch.randint(5, (2, 4), generator=draw)[:, 1:]
    leaf = logits.clone().requires_grad_()
    want = -functional.cross_entropy(leaf.transpose(1, 2), ids, reduction="none")
    diagnose(
        ask_tensor(answer, logits, ids, shape=(2, 3)),
        want.detach(),
        {},
        "On random scores it differs from torch's cross entropy. Does every position (b, t) look up its own id "
        "in its own row, and only along the vocabulary?",
    )
    first = ask_tensor(
        answer,
        logits[:, :1],
        ids[:, :1],
        shape=(2, 1),
        shapes={(2, 2): SQUEEZED, (2,): SQUEEZED},
    )
    expect(close(first, want[:, :1]), "With one position only, the numbers differ.")
    wide = torch.randn(1, 30, 400, generator=draw)
    rare = torch.randint(300, 400, (1, 30), generator=draw)
    expect(
        close(
            ask_tensor(answer, wide, rare, shape=(1, 30)),
            -functional.cross_entropy(wide.mT, rare, reduction="none"),
        ),
        "With 400 tokens to choose from it differs from torch's cross entropy. Is the number of tokens, or of "
        "positions, limited somewhere?",
    )
    weights = torch.arange(6).reshape(2, 3) / 6
    (want * weights).sum().backward()
    expect(
        close(
            ask_gradient(lambda scores: answer(scores, ids), logits, weights), leaf.grad
        ),
        "The values are right, but the gradient is not: was a part detached or rounded?",
    )
    got = ask_tensor(answer, logits.double(), ids, shape=(2, 3))
    table = logits.double().log_softmax(-1)
    expect(
        close(got, table.gather(2, ids[..., None])[..., 0], rtol=1e-12, atol=1e-12),
        "In double precision the later digits are off. Is a small constant added somewhere, or was something rounded "
        "to float32?",
    )
    _stays_finite(answer)
    _goes_on_to_the_edges(answer)


def _token_logprobs_on_paper(answer) -> None:
    weights = torch.tensor(
        [[[1.0, 2.0, 5.0], [3.0, 4.0, 1.0]], [[6.0, 8.0, 2.0], [10.0, 5.0, 1.0]]]
    )
    logits, ids = weights.log(), torch.tensor([[2, 1], [0, 1]])
    chances = torch.tensor([[5 / 8, 4 / 8], [6 / 16, 5 / 16]])
    want, table = chances.log(), logits.log_softmax(-1)

    def said(table: Tensor, ids: Tensor = ids) -> Tensor:
        return table.gather(2, ids.unsqueeze(2)).squeeze(2)

    def cross_entropy(logits: Tensor, **options) -> Tensor:
        return functional.cross_entropy(logits, ids, reduction="none", **options)

    later, earlier, ends = (
        said(table, ids.roll(-1, 1)),
        said(table, ids.roll(1, 1)),
        ((1, 0), (0, 1)),
    )
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
    own = said(logits)
    # fmt: off
    mistakes = {
        "These are probabilities; their logarithm is asked for.":
            chances,
        "The sign is turned: a log-probability is at most 0. (The loss is its negative.)":
            -want,
        "These are the raw scores of the tokens. They still need their normaliser, the log of the row's sum.":
            own,
        "The scores were normalised over the positions. Every position is a choice among V tokens.":
            said(logits.log_softmax(1)),
        "The scores were normalised over the texts. Every position is a choice among V tokens.":
            said(logits.log_softmax(0)),
        "The scores were normalised over a whole text or the whole block at once; every position needs its own sum.":
            (own - math.log(48), said(logits.flatten(1).log_softmax(1).view_as(logits))),
        "The logarithm is to base 2; this course counts in nats.":
            chances.log2(),
        "The logarithm is to base 10; this course counts in nats.":
            chances.log10(),
        "Something was shifted by one position. Here logits and ids already belong together.":
            (later, *(functional.pad(later[:, :1], end) for end in ends),
             *(functional.pad(earlier[:, 1:], end) for end in ends)),
        "This is the likeliest token at each position, not the token in ids.":
            table.amax(-1),
        "This is the likeliest token's score, without its normaliser, not the token in ids.":
            logits.amax(-1),
        "The ids of the first text were used for every text.":
            said(table, ids[:1].expand(2, 2)),
        "ids were transposed: texts and positions have changed places.":
            said(table, ids.T),
        "Text 1 went hand in hand with position 1, text 2 with position 2. Every text has all positions.":
            table[torch.arange(2), torch.arange(2), ids],
        "view or reshape cannot swap dimensions: it keeps the numbers in a row and cuts them anew. Transpose.":
            -cross_entropy(logits.reshape(2, 3, 2)),
        "The token with id 0 was left out. Id 0 is a word like any other here; masks come later.":
            want * (ids != 0),
        "Each number is divided by the number of positions. Lengths come in later, with the average.":
            want / 2,
        "Each number is divided by the size of the vocabulary; nothing is averaged here.":
            want / 3,
        "The softmax was taken twice: the function that takes the logarithm has one inside.":
            said(logits.softmax(-1).log_softmax(-1)),
        "Each score was squashed by itself (a sigmoid). The words of one position compete.":
            said(functional.logsigmoid(logits)),
        "These are 1 over the probability (perplexities); the logarithm is asked for.":
            1 / chances,
        "1 was added to the probability before the logarithm.":
            chances.log1p(),
        "These are logarithms of the raw scores; scores are logarithms already, up to their normaliser.":
            own.log(),
        "The largest score is subtracted and nothing else. That guards an exponential; it is not the normaliser.":
            own - logits.amax(-1),
        "The normaliser is made of the scores themselves; it needs their exponentials.":
            (own - logits.sum(-1), own - logits.sum(-1).log(), (own / logits.sum(-1)).log()),
        "The exponentials are averaged; the normaliser is their sum.":
            want + math.log(3),
        "The token's own exponential is missing from its normaliser (these are log-odds).":
            chances.logit(),
        "Labels were smoothed: a part of the other words' log-probabilities is mixed in.":
            -cross_entropy(logits.transpose(1, 2), label_smoothing=0.1),
        "These are running sums along the text; one number for each token is asked for.":
            want.cumsum(1),
        "This is the entropy of each row, an average over all words. The word that was said is asked for.":
            (entropy, -entropy),
    }
    shapes = {
        (2, 1): "Was something shifted by one position? Here logits and ids already belong together.",
        (2, 2, 1): "Was the last dimension kept by mistake?",
        (4,): "The tokens lie in one flat row; give them the shape of ids again.",
        (2,): "The tokens of a text were summed or averaged; one number for each token is asked for.",
        (): "All tokens were summed or averaged; one number for each token is asked for.",
        (2, 2, 3): "These are all words of the vocabulary; pick the one in ids at each position.",
        (2, 2, 2, 2): "Every position was paired with every id. Each position has one id of its own.",
        (2, 2, 2): "Something of shape (B, T) was stretched against (B, T, 1); shapes line up on the right.",
    }
    # fmt: on
    diagnose(
        ask_tensor(answer, logits, ids, shape=(2, 2), shapes=shapes),
        want,
        mistakes,
        "With weights 1, 2, 5 the token of weight 5 has log-probability log(5/8) = -0.470; yours differs.",
    )


def _stays_finite(answer) -> None:
    """One position at a time, then all together, so that what one row does to another has its own message."""
    rows, said = (
        torch.tensor([[0.0, 200.0], [1000.0, -1000.0], [1000.0, -1000.0]]),
        torch.tensor([0, 0, 1]),
    )
    want = torch.tensor([-200.0, 0.0, -2000.0])
    shapes = {(): SQUEEZED, (1,): SQUEEZED, (3,): SQUEEZED}
    for row, token, logprob in zip(rows, said, want, strict=True):
        got = ask_tensor(
            answer, row.view(1, 1, 2), token.view(1, 1), shape=(1, 1), shapes=shapes
        )
        pair = f"A token of score {row[token]:.0f} beside one of {row[1 - token]:.0f}"
        expect(
            got.isfinite().all(),
            f"{pair} gives {got.item():.3g}: a probability was rounded to 0, or an exponential overflowed, before the "
            "logarithm. Stay with logarithms throughout.",
        )
        expect(
            close(got, logprob.view(1, 1)),
            f"{pair} should have log-probability {logprob:.0f}, not {got.item():.4g}. A small constant under the "
            "logarithm, or a clamp, hides how unlikely it is.",
        )
    got = ask_tensor(
        answer, rows.unsqueeze(0), said.unsqueeze(0), shape=(1, 3), shapes=shapes
    )
    expect(
        close(got, want.unsqueeze(0)),
        "Three positions are right alone and wrong together. Something (a maximum?) is taken over the whole tensor "
        "where each position needs its own.",
    )


def _goes_on_to_the_edges(answer) -> None:
    # fmt: off
    rows = (
        ((103.0, 0.0), 1, -103.0, "So small a probability still is a float, but one with hardly a digit left. Stay with "
         "logarithms throughout; a way out only for 0 comes too late."),
        ((200.0, 200.0, 0.0), 2, -200.693147, "The largest score is not the whole normaliser: another one is as large."),
        ((30000.0, 20000.0), 1, -10000.0, "Clamping scores changes their differences, however far out its bounds lie."),
        ((0.0, 0.0, -math.inf), 0, -math.log(2), "Minus infinity rules out another token, not this one; but minus infinity "
         "times 0 is nan. Pick the token's number; do not multiply the others by 0."),
    )
    # fmt: on
    for row, token, want, why in rows:
        got = ask_tensor(
            answer, torch.tensor([[row]]), torch.tensor([[token]]), shape=(1, 1)
        )
        expect(
            close(got, torch.tensor([[want]])),
            f"In a row of scores {', '.join(f'{score:g}' for score in row)} the token with id {token} has "
            f"log-probability {want:.6g}, not {got.item():.6g}. {why}",
        )
    gradient = ask_gradient(
        lambda logits: answer(logits, torch.tensor([[1]])),
        torch.tensor([[[200.0, 0.0]]]),
    )
    expect(
        close(gradient, torch.tensor([[[-1.0, 1.0]]])),
        f"The value of a very unlikely token is right, but its gradient is {gradient.flatten().tolist()} instead of "
        "-1 and 1. A `where` hides a bad value and lets its gradient through; stay with logarithms throughout.",
    )


# --- masked_mean ------------------------------------------------------------------------------------


@check(
    masks.masked_mean,
    also=(masks.accumulated_mean,),
    proved="Padding has no weight and no influence, not even as nan; zeros that count do count; the mean of "
    "nothing is 0.",
)
def masked_mean(answer, draw):
    _masked_mean_on_paper(answer)
    _padding_has_no_influence(answer)
    values = torch.tensor([[4.0, 2.0, math.nan], [5.0, 7.0, 3.0], [1.0, math.inf, 2.0]])
    shares = torch.tensor([[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.0, 0.0]])
    gradient = ask_gradient(
        lambda leaf: answer(leaf, _mask("110", "111", "000"), dim=1), values
    )
    expect(
        not gradient.isnan().any(),
        "The values are right, but a nan from the padding comes back in the gradient, and one step of training "
        "would spread it everywhere.",
    )
    expect(
        close(gradient, shares),
        "The values are right, but the gradient is not: each kept number should get 1 over the count of its row. Was a "
        "part detached or rounded?",
    )
    for options in ({}, {"dim": 1}):
        _nothing_kept_can_be_trained_on(
            lambda leaf, options=options: answer(leaf, _mask("00"), **options)
        )
    _nothing_is_added_or_rounded(answer)
    cube = torch.randn(2, 4, 3, generator=draw).mT  # not in one piece in memory
    kept = torch.rand(2, 4, 3, generator=draw).mT < 0.6
    diagnose(
        ask_tensor(answer, cube, kept, shape=()),
        cube[kept].mean(),
        {},
        "With three dimensions and dim=None it differs from the mean of all kept numbers, negative ones too.",
    )
    for dim, why in (
        (
            0,
            "dim=0 was taken for None. 0 is a dimension too, although Python's `if` takes it for False.",
        ),
        (1, "dim=1 was taken for None."),
        (-1, "dim=-1 was taken for None; it is the last dimension."),
    ):
        want, other = (
            _slow_masked_mean(cube, kept, dim),
            f"dim={dim} is asked for, and another one was used.",
        )
        shapes = {(): why, (3, 4): other, (2, 4): other, (2, 3): other}
        got = ask_tensor(
            answer, cube, kept, dim=dim, shape=tuple(want.shape), shapes=shapes
        )
        expect(
            close(got, want),
            f"With three dimensions and dim={dim} it differs from adding the kept numbers one by one, negative ones "
            "too.",
        )


def _masked_mean_on_paper(answer) -> None:
    values = torch.tensor([[4.0, 2.0, 9.0, 6.0], [5.0, 7.0, 3.0, 8.0]])
    mask = _mask("1100", "0111")
    sums, counts = torch.tensor([6.0, 18.0]), torch.tensor([2.0, 3.0])
    # fmt: off
    mistakes = {
        "The sum is right, but it is divided by all positions. How many does the mask keep?":
            sums / 4,
        "The mask made no difference.":
            values.mean(1),
        "The mask is upside down: True keeps.":
            torch.tensor([7.5, 5.0]),
        "These are sums, not means.":
            sums,
        "These are counts, not means.":
            counts,
        "Every row is divided by the number kept in the whole tensor; each row has its own.":
            sums / 5,
        "The sum is divided by the number of rows, not by what the mask keeps.":
            sums / 2,
        "Every row is divided by the largest count; each row has its own.":
            sums / 3,
        "The count is one too many: something is added to it against a division by 0.":
            sums / (counts + 1),
        "The count is one too few.":
            sums / (counts - 1),
        "Padded values are in the sum; only the count follows the mask.":
            values.sum(1) / counts,
        "A row's first ones were averaged, as many as the mask keeps. The mask says which, not only how many.":
            torch.tensor([3.0, 5.0]),
        "This is the largest kept value of each row, not the mean.":
            torch.tensor([4.0, 8.0]),
        "This is the median of the kept values, not their mean.":
            torch.tensor([2.0, 7.0]),
        "This is the root of the mean square, not the mean.":
            torch.tensor([10.0, 122 / 3]).sqrt(),
    }
    shapes = {
        (): "Is dim used at all? With dim=1 every row has a mean of its own.",
        (4,): "These are means of the columns; dim is the dimension that disappears.",
        (2, 1): "The dimension was kept by mistake; dim is the one that disappears.",
    }
    over_all = {
        "With dim=None this is the mean of the rows' means. All kept numbers should weigh the same.": 4.5,
        "With dim=None the sum is divided by all positions, not by those that are kept.": 3.0,
        "With dim=None the mask made no difference.": 5.5,
        "With dim=None the mask is upside down: True keeps.": 20 / 3,
        "With dim=None this is a sum, not a mean.": 24.0,
        "With dim=None the sum is divided by the length of a row.": 6.0,
        "With dim=None the sum is divided by the number of rows.": 12.0,
        "The quotient is cut off to a whole number.": 4.0,
    }
    # fmt: on
    got = ask_tensor(answer, values, mask, dim=1, shape=(2,), shapes=shapes)
    expect(
        not (got < -1e3).any(),
        f"Of 4, 2, 9, 6 with the last two masked out the mean is 3, not {got[0]:.3g}. A large negative number in the "
        "padding is made for a softmax; a sum needs another one.",
    )
    diagnose(
        got,
        torch.tensor([3.0, 6.0]),
        mistakes,
        "Of 4, 2, 9, 6 with the last two masked out the mean is 3; your rows differ.",
    )
    shapes = dict.fromkeys(
        ((2,), (4,), (1, 1)), "With dim=None everything is averaged into one number."
    )
    diagnose(
        ask_tensor(answer, values, mask, shape=(), shapes=shapes),
        torch.tensor(4.8),
        {mistake: torch.tensor(result) for mistake, result in over_all.items()},
        "With dim=None the five kept numbers 4, 2, 7, 3, 8 have mean 4.8; yours differs.",
    )


def _padding_has_no_influence(answer) -> None:
    for options, shape in (({"dim": 1}, (1,)), ({}, ())):

        def mean(row: list[float], kept: str, options=options, shape=shape) -> Tensor:
            one = (
                "A batch of a single row has one mean, with its dimension. An early return may lack it, and "
                + SQUEEZED
            )
            return ask_tensor(
                answer,
                torch.tensor([row]),
                _mask(kept),
                shape=shape,
                shapes={(): one},
                **options,
            )

        got = mean([0.0, 4.0, 0.0], "111")
        diagnose(
            got,
            torch.full(shape, 4 / 3),
            {},
            "A kept 0 was left out of the count. The mask alone says what counts, not the value.",
        )
        got = mean([8.0, 2.0], "10")
        expect(
            close(got, torch.tensor(8.0)),
            f"A single kept 8 should be its own mean, not {got.item():.4g}. Is its count raised or added to?",
        )
        got = mean([1.0, math.nan, math.inf], "100")
        expect(
            close(got, torch.tensor(1.0)),
            f"A nan or inf in the padding came through: {got.tolist()}. Multiplying by 0 does not remove it.",
        )
        got = mean([2.0, 3.0], "00")
        expect(
            close(got, torch.tensor(0.0)),
            f"With nothing kept it gives {got.tolist()}; it should give 0. What is 0 divided by 0?",
        )
        got = mean([math.nan, 3.0], "11")
        expect(
            got.isnan().all(),
            f"A nan among the kept numbers disappeared: the mean is {got.tolist()}. What the mask keeps has to "
            "show, so that a broken model is noticed; only what it does not keep may be replaced.",
        )
        got = mean([math.inf, 1.0], "11")
        expect(
            close(got, torch.tensor(math.inf)),
            f"An inf among the kept numbers disappeared: the mean is {got.tolist()}. What the mask keeps has to show.",
        )
    pair = torch.tensor([[math.nan, 1.0], [2.0, 4.0]])
    got = ask_tensor(answer, pair, _mask("11", "11"), dim=1, shape=(2,))
    expect(
        got[0].isnan() and close(got[1], torch.tensor(3.0)),
        f"Beside a row with a kept nan the row 2, 4 gets {got.tolist()[1]:.3g} instead of 3. A nan belongs to its own row "
        "and to no other.",
    )
    got = ask_tensor(
        answer,
        torch.tensor([[2.0, 3.0], [4.0, 6.0]]),
        _mask("00", "11"),
        dim=1,
        shape=(2,),
    )
    expect(
        close(got, torch.tensor([0.0, 5.0])),
        f"A row with nothing kept beside a row with everything kept gives {got.tolist()}; it should give 0 and 5. "
        "Every row has to guard itself against a division by 0.",
    )


def _nothing_kept_can_be_trained_on(answer) -> None:
    gradient = ask_gradient(
        answer,
        torch.tensor([[2.0, 3.0]]),
        cut="With nothing kept the 0 is a new number without a way back to the input, so that backward() would stop "
        "with an error. An empty sum of the input is 0 too, and keeps its way back.",
    )
    expect(
        close(gradient, torch.zeros(1, 2)),
        f"With nothing kept the gradient is {gradient.tolist()[0]}; nothing counts, so it should be 0.",
    )


def _nothing_is_added_or_rounded(answer) -> None:
    tiny = ask_tensor(
        answer, torch.tensor([[2e-6, 4e-6]]), _mask("11"), dim=1, shape=(1,)
    )
    expect(
        close(1e6 * tiny, torch.tensor([3.0])),
        "Tiny numbers lose digits: a constant is added to the sum.",
    )
    tenth = torch.tensor(0.1, dtype=torch.float64)
    for options, shape in (({"dim": 1}, (1,)), ({}, ())):
        single = ask_tensor(
            answer, tenth * torch.tensor([[1, 2]]), _mask("10"), shape=shape, **options
        )
        expect(
            close(single, tenth, rtol=1e-12, atol=0),
            "One kept number must be its own mean, to the last digit of a double. Is a constant added to the count, "
            "or something rounded to float32?",
        )


def _slow_masked_mean(values: Tensor, mask: Tensor, dim: int) -> Tensor:
    """The definition, one number at a time."""
    rows, kept = values.movedim(dim, -1), mask.movedim(dim, -1)
    means = torch.zeros(rows.shape[:-1])
    for place in itertools.product(*(range(n) for n in means.shape)):
        pairs = zip(rows[place].tolist(), kept[place].tolist(), strict=True)
        numbers = [number for number, keep in pairs if keep]
        means[place] = sum(numbers) / len(numbers) if numbers else 0.0
    return means


# --- pad_batch --------------------------------------------------------------------------------------


@check(
    pipeline.pad_batch,
    proved="Rows end in padding, the mask comes from the lengths alone, and an empty text is a row of padding.",
)
def pad_batch(answer, draw):
    _padded_on_paper(answer)
    _, mask = _padded(answer, [[4, 0, 6], [2, 2], [0]])
    expect(
        torch.equal(mask, _mask("111", "110", "100")),
        "A real token whose id is 0 was taken for padding. Where the text ends, its length says, not its ids.",
    )
    ids, mask = _padded(answer, [[3, 1]])
    expect(
        ids.tolist() == [[3, 1]] and mask.all(),
        f"For the single text [3, 1] ids and mask are {ids.tolist()} and {mask.tolist()}.",
    )
    ids, _ = _padded(answer, [[0, 5], [1]], pad_id=9)
    expect(
        ids[0].tolist() != [9, 5],
        "A real token whose id is 0 was replaced by pad_id. Only places behind the end of a text are filled.",
    )
    ids, mask = _padded(answer, [[5], [7, 8], [5]])
    expect(
        ids.tolist() == [[5, 0], [7, 8], [5, 0]]
        and torch.equal(mask, _mask("10", "11", "10")),
        f"For [5], [7, 8] and once more [5] the ids are {ids.tolist()}. Two texts may be the same: count the rows; do not "
        "look up where a text stands.",
    )
    ids, mask = _padded(answer, [[5], [6]])
    expect(mask.all(), "Two texts of one token each need no padding.")
    ids, mask = _padded(answer, [[1], [9, 3]], pad_id=9)
    expect(
        ids.tolist() == [[1, 9], [9, 3]],
        f"For [1] and [9, 3] with pad_id=9 the ids are {ids.tolist()}: pad_id was not used.",
    )
    expect(
        torch.equal(mask, _mask("10", "11")),
        f"For [1] and [9, 3] with pad_id=9 the mask is {mask.tolist()}. Lengths alone decide, not pad_id.",
    )
    ids, mask = _padded(answer, [[-100, 4], [6]], pad_id=-100)
    expect(
        ids.tolist() == [[-100, 4], [6, -100]] and torch.equal(mask, _mask("11", "10")),
        f"For [-100, 4] and [6] with pad_id=-100 it returned {ids.tolist()} and {mask.tolist()}. Ids below 0 are used too "
        "(-100 marks what a loss leaves out), and no sign tells padding from a token.",
    )
    for texts in ([[3, 4], []], [[], [3, 4]]):
        ids, mask = _padded(answer, texts)
        expect(
            ids.tolist() == [text or [0, 0] for text in texts]
            and mask.tolist() == [[bool(text)] * 2 for text in texts],
            "An empty text among others should become a row of padding whose mask is all False.",
        )
    lengths = [*torch.randint(1, 7, (6,), generator=draw).tolist(), 40]
    texts = [
        (torch.randint(0, 9, (n,), generator=draw) * 7001).tolist() for n in lengths
    ]
    ids, mask = _padded(answer, texts)
    expect(
        [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)] == texts
        and not ids[~mask].any(),
        "On random texts, one of them of 40 tokens, the ids that the mask keeps are not the texts that went in, or "
        "the rest is not padding.",
    )


def _padded_on_paper(answer) -> None:
    ids, mask = _padded(answer, [[5], [7, 8, 9]])
    # fmt: off
    wrong_ids = {
        "The padding stands on the left; fill up on the right.":
            ([[0, 0, 5], [7, 8, 9]],),
        "The texts come out in another order than they went in; labels and answers would belong to the wrong ones.":
            ([[7, 8, 9], [5, 0, 0]],),
        "The tokens of a text stand in reverse; their order is the text.":
            ([[5, 0, 0], [9, 8, 7]],),
        "All rows hold the last text. [[0] * T] * B is one list B times: all rows are one list, so make a new one for each.":
            ([[7, 8, 9], [7, 8, 9]],),
        "A text is filled up with its own tokens or another text's, not with pad_id.":
            ([[5, 5, 5], [7, 8, 9]], [[5, 7, 8], [7, 8, 9]], [[5, 8, 9], [7, 8, 9]]),
    }
    wrong_masks = {
        "The mask is upside down: True marks a real token.": ("011", "000"),
        "The mask is all True, but the first text has one token. Padding has to be False. (Are all rows one list?)": ("111", "111"),
        "The mask keeps one position too many: count positions from 0.": ("110", "111"),
        "The mask keeps one position too few: count positions from 0.": ("000", "110"),
        "The mask marks the end of the row; the text stands at its beginning.": ("001", "111"),
    }
    # fmt: on
    for mistake, results in wrong_ids.items():
        expect(ids.tolist() not in results, mistake)
    expect(
        ids.tolist() == [[5, 0, 0], [7, 8, 9]],
        f"For [5] and [7, 8, 9] the ids are {ids.tolist()}; wanted is 5 and two zeros, then 7, 8, 9.",
    )
    for mistake, rows in wrong_masks.items():
        expect(not torch.equal(mask, _mask(*rows)), mistake)
    expect(
        torch.equal(mask, _mask("100", "111")),
        f"For lengths 1 and 3 the mask is {mask.tolist()}.",
    )
    _, mask = _padded(answer, [[2, 2], [9], [1, 1, 1, 2]])
    expect(
        torch.equal(mask, _mask("1100", "1000", "1111")),
        f"For lengths 2, 1 and 4, with tokens that repeat, the mask is {mask.tolist()}.",
    )


def _padded(answer, texts: list[list[int]], **options) -> tuple[Tensor, Tensor]:
    """The answer's ids and mask, once their shapes and types are right."""
    result = ask(answer, texts, **options)
    expect(
        isinstance(result, tuple | list),
        f"It returned a {type(result).__name__}; two things are wanted: ids and mask.",
    )
    expect(
        len(result) == 2,
        f"It returned {len(result)} things; two are wanted: ids and mask.",
    )
    for part, name in zip(result, ("ids", "mask"), strict=True):
        expect(
            isinstance(part, Tensor),
            f"{name} is a {type(part).__name__}; a tensor is wanted.",
        )
    ids, mask = result
    expect(
        ids.dtype != torch.bool or mask.dtype == torch.bool,
        "ids and mask are exchanged: ids come first.",
    )
    lengths = [len(text) for text in texts]
    wanted, got = (len(texts), max(lengths)), tuple(ids.shape)
    likely = (
        "The longest text sets the width, wherever it stands and whatever its ids are."
    )
    if len(got) == 1:
        likely = "A batch has two dimensions, texts and positions, even if it holds a single text."
    elif got == wanted[::-1]:
        likely = "Texts are the rows and positions the columns; some functions need batch_first to be told."
    elif got[0] == wanted[0] and got[1] > wanted[1]:
        likely = "The longest text sets the width, and this is wider. Is a width built in, or a token added?"
    elif got[0] != wanted[0] and 0 in lengths:
        likely = "An empty text is a text too; it must not disappear."
    expect(
        got == wanted,
        f"For texts of lengths {lengths} ids has shape {got}; wanted is {wanted}. {likely}",
    )
    expect(
        tuple(mask.shape) == wanted,
        f"The mask has shape {tuple(mask.shape)}; it has one entry for every id, {wanted}, not the lengths alone.",
    )
    expect(
        mask.dtype == torch.bool,
        f"The mask is made of {mask.dtype}; wanted are True and False (torch.bool).",
    )
    beside = " with an empty text among others" if 0 in lengths else ""
    expect(
        ids.dtype == torch.long,
        f"The ids{beside} are {ids.dtype}; an embedding looks up torch.long. Some functions begin with floats "
        "when nothing tells them otherwise.",
    )
    return ids, mask


# --- best_labels ------------------------------------------------------------------------------------


@check(
    pipeline.best_labels,
    proved="Each text gets its own likeliest label, with a probability that is a plain float.",
)
def best_labels(answer, draw):
    _best_labels_on_paper(answer)
    logits = torch.randn(5, 4, generator=draw) * 3
    want = ["abcd"[i] for i in logits.argmax(1).tolist()]
    names, chances = _labelled(answer, logits.clone().requires_grad_(), "abcd")
    expect(
        names == want or names != ["abcd"[i] for i in logits.abs().argmax(1).tolist()],
        "A negative score won: was abs taken? The largest score wins, and a negative one is smaller than any positive.",
    )
    expect(
        names == want,
        "With four labels and random scores, negative ones too, some labels are wrong. Is a label, or the number of "
        "labels, built in?",
    )
    expect(
        close(torch.tensor(chances), logits.softmax(1).amax(1)),
        "On random scores the probabilities differ from torch's. Is something rounded to a few digits?",
    )
    names, _ = _labelled(answer, torch.tensor([[4.0, 5.0, 3.0]] * 30).log(), "abc")
    expect(
        set(names) == {"b"},
        "Thirty texts with the same scores get different labels: drawn by chance. The likeliest one is asked for.",
    )
    names, _ = _labelled(answer, torch.eye(2), "ab")
    expect(
        names == ["a", "b"],
        f"Two texts whose winners are equally likely get {names} instead of 'a' and 'b'. Is a label looked up by its "
        "probability? Another text may have the same one.",
    )
    _labelled(answer, torch.zeros(3, 2), "ab")  # each a tie
    extreme = torch.tensor([[1000.0, 0.0], [-1000.0, -999.0]])
    try:
        alone = [_labelled(answer, row, ("yes", "no")) for row in extreme.split(1)]
    except (TypeError, IndexError, ValueError) as error:
        raise CheckFailed(
            f"A single text stops it with {type(error).__name__}: {error}. Was a dimension of size 1 squeezed away?"
        ) from error
    names, chances = _labelled(answer, extreme, ("yes", "no"))
    for row, scores, label, chance, off in (
        (0, "1000 and 0", "yes", 1.0, 1e-6),
        (1, "-1000 and -999", "no", 0.731059, 1e-4),
    ):
        for (name,), (got,), where in (
            (*alone[row], ""),
            ([names[row]], [chances[row]], ", with another text"),
        ):
            expect(
                name == label and abs(got - chance) < off,
                f"Scores {scores} give {name!r} and {got:.6g}{where}; wanted are {label!r} and {chance:.6g}. Use your "
                "safe softmax, row by row, and leave its numbers as they are.",
            )


def _best_labels_on_paper(answer) -> None:
    weights = torch.tensor([[1.0, 2.0, 5.0], [9.0, 4.0, 1.0], [5.0, 1.0, 2.0]])
    logits, winners = weights.log(), torch.tensor([[2], [0], [0]])
    want, best = torch.tensor([5 / 8, 9 / 14, 5 / 8]), weights.log().amax(1)
    # fmt: off
    wrong_names = {
        "These are the unlikeliest labels.":
            ("calm", "glad", "sad"),
        "The labels are handed out in their own order, one to each text. Each text is to choose among all of them.":
            ("calm", "sad", "glad"),
        "These are the winners of each column: for each label the best text. Each text is to choose among the labels.":
            ("sad", "sad", "calm"),
        "Every label is one place too early in labels; places count from 0.":
            ("sad", "glad", "glad"),
        "Every label is one place too late in labels; places count from 0.":
            ("calm", "sad", "sad"),
        "The labels were sorted; keep the order in which they come in.":
            ("sad", "calm", "calm"),
        "These labels are built in (those of the worked value); look the places up in labels.":
            ("glad", "sad", "sad"),
        "The places are counted from the wrong end of labels.":
            ("calm", "glad", "glad"),
        "All texts get the label of the largest score of all. Each text has its own row.":
            ("calm", "calm", "calm"),
        "The pairs come in another order than the texts.":
            ("calm", "glad", "calm"),
        "The pairs come in the reverse order of the texts.":
            ("calm", "calm", "glad"),
    }
    mistakes = {
        "The second of each pair is the raw score. Turn the scores into probabilities first.":
            best,
        "These probabilities are normalised over the texts. The labels of one text compete, not the texts.":
            logits.softmax(0).gather(1, winners).squeeze(1),
        "These probabilities are normalised over all texts together; every text has its own.":
            torch.tensor([5.0, 9.0, 5.0]) / 30,
        "Each score was squashed by itself (a sigmoid); the labels of one text have to share 1.":
            best.sigmoid(),
        "These are log-probabilities.":
            want.log(),
        "These are exponentials, not yet divided by their sum.":
            torch.tensor([5.0, 9.0, 5.0]),
        "These are scores divided by their sum, without the exponential.":
            best / logits.sum(1),
        "These are percentages; a probability is at most 1.":
            100 * want,
        "These are probabilities of the first text. Every text has its own row.":
            torch.tensor([5 / 8, 1 / 8, 1 / 8]),
        "This is the probability of the same label each time, not of the winner.":
            tuple(logits.softmax(1).T),
        "These are probabilities of the unlikeliest label.":
            torch.tensor([1 / 8, 1 / 14, 1 / 8]),
        "This is what the winner leaves to the others.":
            1 - want,
        "The softmax was taken twice.":
            logits.softmax(1).softmax(1).amax(1),
    }
    # fmt: on
    names, chances = _labelled(answer, logits, ("calm", "sad", "glad"))
    for mistake, wrong in wrong_names.items():
        expect(tuple(names) != wrong, mistake)
    expect(
        names == ["glad", "calm", "calm"],
        f"The labels are {names}; the largest scores are at glad, calm, calm.",
    )
    diagnose(
        torch.tensor(chances),
        want,
        mistakes,
        f"The labels are right; their probabilities should be 5/8, 9/14 and 5/8, and are {chances}.",
    )


def _labelled(
    answer, logits: Tensor, labels: tuple[str, ...] | str
) -> tuple[list[str], list[float]]:
    """The answer's labels and probabilities, once the pairs look like pairs."""
    got, texts = ask(answer, logits, labels), len(logits)
    expect(
        isinstance(got, list | tuple),
        f"It returned {got!r}, a {type(got).__name__}; wanted is a list with one pair for each text.",
    )
    side_by_side = len(got) == 2 and all(
        isinstance(part, list | tuple | Tensor) and len(part) == texts for part in got
    )
    expect(
        texts == 2 or not side_by_side,
        f"It returned two lists, {got[:1]} and {got[1:]}; wanted is one list of pairs.",
    )
    fewer = len(got) < texts
    expect(
        len(got) == texts,
        f"For {texts} text(s) it returned {got!r}; wanted is a list with one pair for each text. "
        f"{'Is there a threshold?' if fewer else 'Of labels that are equally likely any one will do.'}",
    )
    expect(
        all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in got),
        f"Each text should get a pair (label, probability); the first one is {got[0]!r}.",
    )
    names, chances = [pair[0] for pair in got], [pair[1] for pair in got]
    expect(
        not all(isinstance(chance, str) and chance in labels for chance in chances),
        f"The pairs are the other way round: {got[0]!r}. The label comes first.",
    )
    expect(
        all(isinstance(name, str) for name in names),
        f"The first of each pair is {names[0]!r}; wanted is the label's text, looked up in labels.",
    )
    strange = next((name for name in names if name not in list(labels)), None)
    expect(
        strange is None,
        f"A label came back that is not in labels: {strange!r}. Is it built in, or given below some threshold?",
    )
    expect(
        all(isinstance(chance, float) for chance in chances),
        f"The probability is a {type(chances[0]).__name__}; wanted is a Python float, so that anyone can print it.",
    )
    return names, chances


# --- accumulated_mean -------------------------------------------------------------------------------


@check(
    masks.accumulated_mean,
    proved="However six texts are cut into pieces, value and gradient are those of one large batch.",
)
def accumulated_mean(answer, draw):
    _accumulated_mean_on_paper(answer)
    rows = torch.randn(6, 5, generator=draw) * 4
    mask = torch.arange(5) < torch.randint(1, 6, (6, 1), generator=draw)
    kept = rows[mask]
    want = _slow_masked_mean(rows.reshape(1, -1), mask.reshape(1, -1), 1)[0]
    mistakes = {
        "Negative losses were left out or lost their sign. A loss may be any number; only the mask leaves out.": (
            kept.abs().mean(),
            kept.relu().mean(),
            kept[kept > 0].mean(),
        )
    }
    for cut, kind in (((6,), list), ((2, 4), tuple), ((1, 1, 3, 1), list)):
        got = ask_tensor(answer, kind(rows.split(cut)), kind(mask.split(cut)), shape=())
        diagnose(
            got,
            want,
            mistakes,
            f"Six texts cut into pieces of {', '.join(map(str, cut))} give {got:.4f} instead of {want:.4f}. "
            "The result must not depend on the cut.",
        )
    gradient = ask_gradient(
        lambda leaf: answer(list(leaf.split((2, 4))), list(mask.split((2, 4)))), rows
    )
    expect(
        close(gradient, mask / mask.sum()),
        "The value is right, but the gradient differs from one large batch's: was a piece detached, or something rounded?",
    )
    _only_kept_losses_matter(answer)


def _accumulated_mean_on_paper(answer) -> None:
    losses = [
        torch.tensor([[4.0, 0.0, 4.0], [5.0, 3.0, 11.0]]),
        torch.tensor([[8.0, 6.0, 7.0]]),
        torch.tensor([[2.0, 5.0, 5.0]]),
    ]
    kept = [_mask("111", "110"), _mask("100"), _mask("110")]
    # fmt: off
    mistakes = {  # kept losses add up to 16, 8 and 7; 5, 1 and 2 of them are kept, of 6, 3 and 3
        "This is the mean of the pieces' means: the one token of the second piece weighs as much as the five of the "
        "first. That is the published mistake.":
            (3.2 + 8 + 3.5) / 3,
        "This is the sum of the pieces' means: a piece of one token weighs as much as one of five.":
            3.2 + 8 + 3.5,
        "The mean so far and each new piece's mean are averaged in turn, so the last piece weighs as much as all "
        "before it.":
            ((3.2 + 8) / 2 + 3.5) / 2,
        "The mean so far starts at 0 and is averaged with each new piece's mean, so the 0 weighs like a piece and the last "
        "piece most.":
            ((3.2 / 2 + 8) / 2 + 3.5) / 2,
        "The totals so far are divided and averaged in every round; divide once, at the end.":
            (16 / 5 + 24 / 6 + 31 / 8) / 3,
        "All positions are counted, padding too.":
            31 / 12,
        "The mask made no difference.":
            60 / 12,
        "The count is right, but padded losses are in the sum.":
            60 / 8,
        "The masks are upside down: True keeps.":
            29 / 4,
        "A kept 0 was left out of the count. The mask alone says what counts.":
            31 / 7,
        "Pieces are weighed by their number of texts, or of positions with the padding. Texts have different lengths: count "
        "kept tokens.":
            (2 * 3.2 + 8 + 3.5) / 4,
        "Texts weigh the same, whatever their length: this is the mean of their means.":
            (8 / 3 + 4 + 8 + 3.5) / 4,
        "Positions weigh the same: this is the mean over first, second and third tokens.":
            (19 / 4 + 8 / 3 + 4 / 1) / 3,
        "Pieces are weighed by the share of each that is kept. Count tokens.":
            (3.2 * 5 / 6 + 8 / 3 + 3.5 * 2 / 3) / (5 / 6 + 1 / 3 + 2 / 3),
        "This is the sum; divide by the number of kept tokens.":
            31.0,
        "The total is divided by the number of pieces.":
            31 / 3,
        "The total is divided by the number of texts.":
            31 / 4,
        "The total is divided by the average count of a piece.":
            31 / (8 / 3),
        "The total of all pieces is divided by the first piece's count alone.":
            31 / 5,
        "The total of all pieces is divided by the last piece's count alone.":
            31 / 2,
        "The last piece's total is divided by the count of all.":
            7 / 8,
        "This is the mean of the first piece alone. Does the function return from inside the loop?":
            16 / 5,
        "This is the mean of the last piece alone. Is the total set to 0 in every round?":
            7 / 2,
        "The third piece was forgotten: only two pieces are used.":
            24 / 6,
        "The piece with a single kept token was left out.":
            23 / 7,
        "The quotient was cut off to a whole number.":
            3.0,
        "The sign is turned; losses are averaged as they are.":
            -31 / 8,
        "This is the exponential of the mean loss (a perplexity).":
            math.exp(31 / 8),
    }
    # fmt: on
    diagnose(
        ask_tensor(
            answer,
            losses,
            kept,
            shape=(),
            shapes={
                (3,): "One number for each piece; put them together.",
                (1,): "One number without any dimension.",
            },
        ),
        torch.tensor(31 / 8),
        {mistake: torch.tensor(result) for mistake, result in mistakes.items()},
        "Pieces with kept losses 4, 0, 4, 5, 3, then 8, then 2, 5 have the mean 31/8; yours differs.",
    )


def _only_kept_losses_matter(answer) -> None:
    hole = [torch.tensor([[2.0, math.nan]]), torch.tensor([[math.inf, math.inf]])]
    got = ask_tensor(answer, hole[:1], [_mask("10")], shape=())
    expect(
        close(got, torch.tensor(2.0)),
        f"With nan in the padding it gives {got}; it should give 2. Multiplying by 0 does not remove a nan.",
    )
    empty = (torch.ones(1, 2), _mask("00"))
    full, other = (hole[0], _mask("10")), (torch.tensor([[4.0, 6.0]]), _mask("11"))
    for where, pieces, want in (
        ("at the end", (full, empty), 2),
        ("at the beginning", (empty, full), 2),
        ("in the middle", (full, empty, other), 4),
    ):
        got = ask_tensor(answer, *map(list, zip(*pieces, strict=True)), shape=())
        expect(
            close(got, torch.tensor(float(want))),
            f"With a piece {where} that has nothing kept it gives {got}; it should give {want}. Such a piece adds "
            "nothing to the sum and nothing to the count, has no mean of its own and ends no loop.",
        )
    got = ask_tensor(answer, [torch.tensor([[9.0, 2.0]])], [_mask("01")], shape=())
    expect(
        close(got, torch.tensor(2.0)),
        f"Of losses 9 and 2 with the first masked out the mean is 2, not {got:.4g}. The mask says which losses count, "
        "not only how many.",
    )
    got = ask_tensor(answer, hole, [_mask("00")] * 2, shape=())
    expect(
        close(got, torch.tensor(0.0)),
        f"With nothing kept at all it gives {got}; it should give 0. What is 0 divided by 0?",
    )
    _nothing_kept_can_be_trained_on(lambda leaf: answer([leaf], [_mask("00")]))
    got = ask_tensor(answer, hole, [_mask("11"), _mask("00")], shape=())
    expect(
        got.isnan(),
        f"A nan among the kept losses disappeared: the mean is {got}. A loss that is nan has to show; only padding "
        "may be replaced.",
    )
    tenth = torch.tensor(0.1, dtype=torch.float64)
    got = ask_tensor(answer, [tenth.view(1, 1)], [_mask("1")], shape=())
    expect(
        close(got, tenth, rtol=1e-12, atol=0),
        "One kept loss must be its own mean, to the last digit of a double. Is a constant added to the count, or "
        "something rounded to float32?",
    )


# --- a learner's test of accumulated_mean: right and faulty versions for it -------------------------


def _pairs(losses, masks) -> list[tuple[Tensor, Tensor]]:
    for mask in masks:
        if (
            mask.dtype != torch.bool
        ):  # not an assert: that would look like the test's own
            raise TypeError(f"a mask consists of True and False, not of {mask.dtype}")
    return [(loss * 1.0, mask) for loss, mask in zip(losses, masks, strict=True)]


def _select_and_average(losses, masks):
    kept = torch.cat([loss[mask] for loss, mask in _pairs(losses, masks)])
    return kept.sum() / max(1, len(kept))


def _one_by_one(losses, masks):
    kept = [number for loss, mask in _pairs(losses, masks) for number in loss[mask]]
    return sum(kept) / len(kept) if kept else losses[0][:0].sum()


def _weighted_means(losses, masks):
    everything = max(1, sum(int(mask.sum()) for mask in masks))
    pairs = [(loss[mask], int(mask.sum())) for loss, mask in _pairs(losses, masks)]
    return sum(
        kept.sum() / max(1, count) * (count / everything) for kept, count in pairs
    )


def _next_float(losses, masks, towards: float = math.inf):
    result = _select_and_average(losses, masks)
    step = (
        torch.nextafter(result.detach(), torch.full_like(result, towards))
        - result.detach()
    )
    return result + step * (result.detach() != 0)


def _float_before(losses, masks):
    return _next_float(losses, masks, -math.inf)


def _too_large(losses, masks):
    return _select_and_average(losses, masks) + 1000


def _too_small(losses, masks):
    return _select_and_average(losses, masks) - 1000


def _mean_of_means(losses, masks):
    return torch.stack(
        [loss[mask].mean() for loss, mask in _pairs(losses, masks)]
    ).mean()


def _counts_padding(losses, masks):
    total = sum(loss[mask].sum() for loss, mask in _pairs(losses, masks))
    return total / sum(mask.numel() for mask in masks)


def _adds_padding(losses, masks):
    total = sum(loss.sum() for loss, _ in _pairs(losses, masks))
    return total / sum(mask.sum() for mask in masks).clamp(min=1)


def _forgets_the_mask(losses, masks):
    return torch.cat([loss.flatten() for loss, _ in _pairs(losses, masks)]).mean()


def _weighs_texts(losses, masks):
    means = [loss[mask].mean() * len(loss) for loss, mask in _pairs(losses, masks)]
    return sum(means) / sum(len(loss) for loss in losses)


def _last_piece_only(losses, masks):
    loss, mask = _pairs(losses, masks)[-1]
    return loss[mask].mean()


def _why_blind(version, calls) -> str | None:
    """What in a test's inputs hides the fault of a version."""
    calls = [_pairs(*call) for call in calls]
    together = [torch.cat([loss[mask] for loss, mask in call]) for call in calls]
    padding = torch.cat([loss[~mask] for call in calls for loss, mask in call])
    about_cuts = version in (_mean_of_means, _weighs_texts, _last_piece_only)
    if not any(len(kept) for kept in together):
        return "Nothing is kept in your inputs, and the mean of nothing is 0 in faulty versions too."
    if about_cuts and all(len(call) == 1 for call in calls):
        return "Every call has one piece only, so nothing was put together."
    if about_cuts and all((kept == kept[:1]).all() for kept in together):
        return "The kept losses are all alike, and every average of equal numbers is the same."
    if version is _mean_of_means and all(
        len({int(m.sum()) for _, m in call}) == 1 for call in calls
    ):
        return "All your pieces keep the same number of tokens, and then their means may be averaged."
    if version is _weighs_texts and all(
        len({m.sum().item() / len(m) for _, m in call}) == 1 for call in calls
    ):
        return "All your pieces keep as many tokens per text, so that counting texts is as good as counting tokens."
    if not about_cuts and padding.numel() == 0:
        return "Your masks are full of True, so there is no padding that could do harm."
    if version is _adds_padding and not padding.any():
        return "The padding in your test holds zeros, which nobody notices in a sum."
    return None


@check_test(
    masks.accumulated_mean,
    right={
        "one that selects the kept losses and averages them": _select_and_average,
        "one that goes through the losses one by one": _one_by_one,
        "one that weighs each piece's mean by its share of the tokens": _weighted_means,
        "one that is higher in the last digit, as another order of adding may be": _next_float,
        "one that is lower in the last digit, as another order of adding may be": _float_before,
    },
    faulty={
        "one whose result is 1000 too large": _too_large,
        "one whose result is 1000 too small": _too_small,
        "one that takes the mean of the pieces' means": _mean_of_means,
        "one that divides by all positions, padding included": _counts_padding,
        "one that adds up padded losses too": _adds_padding,
        "one that never looks at the mask": _forgets_the_mask,
        "one that weighs pieces by their number of texts instead of tokens": _weighs_texts,
        "one that returns the last piece's mean": _last_piece_only,
    },
    why_blind=_why_blind,
    proved="It accepts five different right versions and exposes all eight faulty ones.",
)
def test_accumulated_mean(test, draw):
    """Pass right versions of accumulated_mean, fail faulty ones."""
