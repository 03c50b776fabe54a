"""Checks of lesson 00: softmax, the log-probability of a token, averages under a mask, a text pipeline."""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional

from course_lib import logprobs, masks, pipeline
from course_lib.checks.harness import ask, ask_tensor, check, check_test, close, diagnose, expect


def _logs(*rows: tuple[float, ...]) -> Tensor:
    """Scores whose exponentials are whole numbers, so that probabilities can be worked out on paper."""
    return torch.tensor(rows).log()


@check(
    logprobs.softmax,
    proved="It gives the paper fractions, agrees with torch on random scores, and neither scores of 1000 nor "
    "of minus infinity break it.",
)
def softmax(answer, draw):
    scores = _logs((1.0, 2.0, 5.0), (4.0, 3.0, 9.0))
    exponentials = torch.tensor([[1.0, 2.0, 5.0], [4.0, 3.0, 9.0]])
    diagnose(
        ask_tensor(answer, scores, shape=(2, 3)),
        exponentials / torch.tensor([[8.0], [16.0]]),
        {
            "The columns sum to 1, not the rows. Along which dimension did you add?": exponentials
            / torch.tensor([[5.0, 5.0, 14.0]]),
            "All entries together sum to 1. Every row should, on its own.": exponentials / 24,
            "The rows do not go through the exponential: these are scores divided by their sum.": scores
            / scores.sum(-1, keepdim=True),
            "The largest score got the smallest probability: the sign in the exponent is turned.": (
                1 / exponentials
            )
            / (1 / exponentials).sum(-1, keepdim=True),
            "Each score was squashed by itself (a sigmoid). Probabilities of one row compete: they sum to 1.": exponentials
            / (1 + exponentials),
            "These are logarithms of probabilities; take them back to probabilities.": (
                exponentials / torch.tensor([[8.0], [16.0]])
            ).log(),
            "These are powers of 2. The formula has powers of e.": torch.softmax(scores * math.log(2), -1),
            "The exponentials are right; now every row has to be divided by its sum.": exponentials,
        },
        "For scores log 1, log 2, log 5 the probabilities are 1/8, 2/8 and 5/8; yours differ.",
    )
    cube = torch.randn(2, 4, 5, generator=draw) * 3
    got = ask_tensor(answer, cube, shape=(2, 4, 5))
    sums = got.sum(-1)
    expect(
        close(sums, torch.ones(2, 4)),
        f"With three dimensions a row sums to {sums.flatten()[0]:.3g}, not 1. Name the last dimension (-1); "
        "a default or a fixed number means another one here.",
    )
    expect(
        close(got, torch.softmax(cube, -1)),
        "Rows sum to 1, but on random scores the probabilities differ from torch's. "
        "Is every score treated alike, the largest one too?",
    )
    row = torch.randn(7, generator=draw).double()
    got = ask_tensor(answer, row, shape=(7,))
    expect(
        got.dtype == torch.float64 and close(got, torch.softmax(row, -1), rtol=1e-7, atol=0),
        "In double precision the result is off after the seventh digit. "
        "Is a small constant added somewhere, or was something rounded to float32?",
    )
    far = torch.tensor([[1000.0, 999.0], [-1000.0, -1001.0]])
    got = ask_tensor(answer, far, shape=(2, 2))
    expect(
        not got[0].isnan().any() and not got[0].isinf().any(),
        "Scores of 1000 give nan: the exponential overflows. What may be subtracted from every score of a row "
        "without changing the quotient?",
    )
    expect(
        not got[1].isnan().any(),
        "One row near +1000 turns another row, near -1000, into nan. Something is taken over the whole tensor "
        "where each row needs its own.",
    )
    expect(
        close(got, torch.softmax(far, -1)),
        "Large scores no longer overflow, but their probabilities are wrong. Clamping or rescaling scores changes "
        "their differences; the differences must stay.",
    )
    barred = torch.tensor([[0.0, -math.inf, 0.0]])
    expect(
        close(ask_tensor(answer, barred, shape=(1, 3)), torch.tensor([[0.5, 0.0, 0.5]])),
        "A score of minus infinity should get probability 0 and leave 1/2 each to the two others.",
    )
    _gradient_reaches(answer, cube, torch.softmax, "softmax")


def _gradient_reaches(answer, scores: Tensor, reference, name: str) -> None:
    """The answer's gradient equals torch's: nothing was detached, turned into a number, or rounded."""
    ours, theirs = (scores.clone().requires_grad_() for _ in range(2))
    weights = torch.arange(scores.numel()).reshape(scores.shape) / scores.numel()
    result = answer(ours)
    expect(
        result.requires_grad,
        "Values are right, but no gradient flows back, so nothing could be trained through it. "
        "Stay with tensors: no .item(), .tolist(), .detach(), NumPy or torch.tensor(...) of a result.",
    )
    (result * weights).sum().backward()
    (reference(theirs, -1) * weights).sum().backward()
    expect(close(ours.grad, theirs.grad), f"The values of {name} are right, but its gradient is not.")


@check(
    logprobs.token_logprobs,
    proved="It equals minus torch's cross entropy, token by token, and stays finite where the probability itself "
    "would be rounded to 0.",
)
def token_logprobs(answer, draw):
    weights = torch.tensor([[[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]], [[6.0, 1.0, 1.0], [1.0, 5.0, 10.0]]])
    logits, ids = weights.log(), torch.tensor([[2, 1], [0, 1]])
    chances = torch.tensor([[5 / 8, 3 / 8], [6 / 8, 5 / 16]])
    by_position = torch.gather(logits.log_softmax(1), 2, ids.unsqueeze(-1)).squeeze(-1)
    diagnose(
        ask_tensor(answer, logits, ids, shape=(2, 2)),
        chances.log(),
        {
            "These are probabilities; their logarithm is asked for.": chances,
            "The sign is turned: a log-probability is at most 0. (The loss is its negative.)": -chances.log(),
            "These are the raw scores of the tokens. They still need their normaliser, the log of the row's sum.": torch.tensor(
                [[5.0, 3.0], [6.0, 5.0]]
            ).log(),
            "The scores were normalised over the positions. Every position is a choice among V tokens.": by_position,
            "The logarithm is to base 2; this course counts in nats.": chances.log2(),
            "The logarithm is to base 10; this course counts in nats.": chances.log10(),
            "The ids were shifted by one position. Here logits and ids already belong together.": torch.gather(
                logits.log_softmax(-1), 2, ids.roll(-1, 1).unsqueeze(-1)
            ).squeeze(-1),
            "This is the likeliest token at each position, not the token in ids.": weights.max(
                -1
            ).values.log()
            - weights.sum(-1).log(),
        },
        "With weights 1, 2, 5 the token of weight 5 has log-probability log(5/8) = -0.470; yours differs.",
    )
    logits = torch.randn(2, 3, 5, generator=draw) * 4
    ids = torch.randint(5, (2, 3), generator=draw)
    want = -functional.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    got = ask_tensor(answer, logits, ids, shape=(2, 3))
    expect(
        close(got, want),
        "On random scores it differs from torch's cross entropy. Does every position (b, t) look up its own id "
        "in its own row, and only along the vocabulary?",
    )
    unlikely = torch.tensor([[[0.0, 200.0], [1000.0, -1000.0]]])
    got = ask_tensor(answer, unlikely, torch.tensor([[0, 0]]), shape=(1, 2))
    expect(
        not got.isnan().any() and not got.isinf().any(),
        f"Scores 0 and 200 give {got[0, 0]:.3g} and scores 1000 and -1000 give {got[0, 1]:.3g}: a probability was "
        "rounded to 0, or an exponential overflowed, before the logarithm. Stay with logarithms throughout.",
    )
    expect(
        close(got, torch.tensor([[-200.0, 0.0]])),
        "It stays finite, but a token 200 below the best one should have log-probability -200. "
        "A small constant under the logarithm, or a clamp, hides how unlikely it is.",
    )
    _token_gradient(answer, logits, ids)


def _token_gradient(answer, logits: Tensor, ids: Tensor) -> None:
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    result = answer(ours, ids)
    expect(
        result.requires_grad,
        "Values are right, but no gradient flows back, so nothing could be trained through it. "
        "Stay with tensors: no .item(), .tolist(), .detach() or NumPy on the way.",
    )
    result.sum().backward()
    functional.cross_entropy(theirs.transpose(1, 2), ids, reduction="sum").neg().backward()
    expect(
        close(ours.grad, theirs.grad), "The values are right, but the gradient is not: was a part detached?"
    )


@check(
    masks.masked_mean,
    proved="Padding has no weight and no influence, not even as nan; zeros that count do count; the mean of "
    "nothing is 0.",
)
def masked_mean(answer, draw):
    values = torch.tensor([[4.0, 2.0, 9.0], [5.0, 7.0, 3.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    diagnose(
        ask_tensor(answer, values, mask, dim=1, shape=(2,)),
        torch.tensor([3.0, 5.0]),
        {
            "The sum is right, but it is divided by all positions. How many does the mask keep?": torch.tensor(
                [2.0, 5.0]
            ),
            "The mask made no difference.": values.mean(1),
            "The mask is upside down: True keeps.": torch.tensor([9.0, 0.0]),
            "These are sums, not means.": torch.tensor([6.0, 15.0]),
            "Every row is divided by the number kept in the whole tensor; each row has its own.": torch.tensor(
                [6.0, 15.0]
            )
            / 5,
        },
        "Of 4, 2, 9 with the last one masked out the mean is 3; your rows differ.",
    )
    diagnose(
        ask_tensor(answer, values, mask, shape=()),
        torch.tensor(4.2),
        {
            "With dim=None this is the mean of the rows' means. All kept numbers should weigh the same.": torch.tensor(
                4.0
            ),
            "With dim=None the sum is divided by all positions, not by those that are kept.": torch.tensor(
                3.5
            ),
            "With dim=None the mask made no difference.": torch.tensor(5.0),
        },
        "With dim=None the five kept numbers 4, 2, 5, 7, 3 have mean 4.2; yours differs.",
    )
    cube = torch.randn(2, 3, 4, generator=draw)
    kept = torch.rand(2, 3, 4, generator=draw) < 0.6
    for dim in (0, 1, -1):
        want = _slow_masked_mean(cube, kept, dim)
        got = ask_tensor(answer, cube, kept, dim=dim, shape=tuple(want.shape))
        expect(
            close(got, want),
            f"With three dimensions and dim={dim} it differs from adding the kept numbers one by one.",
        )
    zeros = torch.tensor([[0.0, 4.0, 0.0]])
    expect(
        close(ask(answer, zeros, torch.ones(1, 3).bool(), dim=1), torch.tensor([4 / 3])),
        "A kept 0 was left out of the count. The mask alone says what counts, not the value.",
    )
    hole = torch.tensor([[1.0, math.nan, math.inf]])
    got = ask(answer, hole, torch.tensor([[True, False, False]]), dim=1)
    expect(
        close(got, torch.ones(1)),
        f"A nan in the padding came through: {got.tolist()}. Multiplying by 0 does not remove it.",
    )
    none = ask(answer, torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2).bool(), dim=1)
    expect(
        close(none, torch.zeros(1)),
        f"A row with nothing kept gives {none.tolist()}; it should give 0. What is 0 divided by 0?",
    )
    tiny = torch.tensor([[2e-6, 4e-6]])
    expect(
        close(1e6 * ask(answer, tiny, torch.ones(1, 2).bool(), dim=1), torch.tensor([3.0])),
        "Tiny numbers lose digits: a constant is added to the sum.",
    )
    single = ask(answer, torch.tensor([[8.0, 1.0]]).double(), torch.tensor([[True, False]]), dim=1)
    expect(
        close(single, torch.tensor([8.0]), rtol=1e-7, atol=0),
        "One kept number must be its own mean, to the last digit. Is a constant added to the count?",
    )
    leaf = values.clone().requires_grad_()
    result = answer(leaf, mask, dim=1)
    expect(
        result.requires_grad, "No gradient flows back: stay with tensors, no .item() or .tolist() on the way."
    )
    result.sum().backward()
    expect(
        close(leaf.grad, torch.tensor([[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])),
        "The values are right, but the gradient is not: each kept number should get 1 over the count of its row.",
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


@check(
    pipeline.pad_batch,
    proved="Rows end in padding, the mask comes from the lengths alone, and an empty text is a row of padding.",
)
def pad_batch(answer, draw):
    ids, mask = _padded(answer, [[5], [7, 8, 9]])
    expect(
        tuple(ids.shape) == (2, 3),
        f"For texts of 1 and 3 tokens ids has shape {tuple(ids.shape)}; wanted is (2, 3). "
        "The longest text sets the width, wherever it stands.",
    )
    expect(
        not torch.equal(ids, torch.tensor([[0, 0, 5], [7, 8, 9]])),
        "The padding stands on the left; fill up on the right.",
    )
    expect(
        torch.equal(ids, torch.tensor([[5, 0, 0], [7, 8, 9]])),
        f"For [5] and [7, 8, 9] the ids are {ids.tolist()}; wanted is 5 and two zeros, then 7, 8, 9.",
    )
    expect(
        tuple(mask.shape) == (2, 3),
        f"The mask has shape {tuple(mask.shape)}; it has one entry for every id, (2, 3).",
    )
    expect(
        mask.dtype == torch.bool, f"The mask is made of {mask.dtype}; wanted are True and False (torch.bool)."
    )
    expect(ids.dtype == torch.long, f"The ids are {ids.dtype}; an embedding looks up torch.long.")
    kept = torch.tensor([[True, False, False], [True, True, True]])
    expect(not torch.equal(mask, ~kept), "The mask is upside down: True marks a real token.")
    expect(torch.equal(mask, kept), f"For lengths 1 and 3 the mask is {mask.tolist()}.")
    ids, mask = _padded(answer, [[4, 0, 6], [2, 2], [0]])
    expect(
        torch.equal(mask, torch.tensor([[True, True, True], [True, True, False], [True, False, False]])),
        "A real token whose id is 0 was taken for padding. Where the text ends, its length says, not its ids.",
    )
    ids, _ = _padded(answer, [[1], [2, 3]], pad_id=9)
    expect(
        ids.tolist() == [[1, 9], [2, 3]], f"With pad_id=9 the ids are {ids.tolist()}: pad_id was not used."
    )
    ids, mask = _padded(answer, [[3, 4], []])
    expect(
        ids.tolist() == [[3, 4], [0, 0]] and mask.tolist() == [[True, True], [False, False]],
        "An empty text among others should become a row of padding whose mask is all False.",
    )
    texts = [
        torch.randint(0, 9, (int(n),), generator=draw).tolist()
        for n in torch.randint(1, 7, (6,), generator=draw)
    ]
    ids, mask = _padded(answer, texts)
    expect(
        [row[keep].tolist() for row, keep in zip(ids, mask, strict=True)] == texts,
        "On six random texts, the ids that the mask keeps are not the texts that went in.",
    )


def _padded(answer, sequences: list[list[int]], **options) -> tuple[Tensor, Tensor]:
    result = ask(answer, sequences, **options)
    expect(
        isinstance(result, tuple | list) and len(result) == 2,
        f"It returned a {type(result).__name__}; two things are wanted: ids and mask.",
    )
    for part, name in zip(result, ("ids", "mask"), strict=True):
        expect(isinstance(part, Tensor), f"{name} is a {type(part).__name__}; a tensor is wanted.")
    return result[0], result[1]


@check(
    pipeline.best_labels,
    proved="Each text gets its own likeliest label, with a probability that is a plain float.",
)
def best_labels(answer, draw):
    labels = ("sad", "calm", "glad")
    logits = _logs((1.0, 2.0, 5.0), (6.0, 1.0, 1.0), (1.0, 3.0, 1.0))
    got = ask(answer, logits, labels)
    expect(
        isinstance(got, list | tuple) and len(got) == 3,
        f"For three texts it returned {got!r}; wanted is a list with one pair for each text.",
    )
    expect(
        all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in got),
        f"Each text should get a pair (label, probability); the first one is {got[0]!r}.",
    )
    names, chances = [pair[0] for pair in got], [pair[1] for pair in got]
    expect(
        all(isinstance(name, str) for name in names),
        f"The first of each pair is {names[0]!r}; wanted is the label's text, looked up in labels.",
    )
    expect(
        names != ["sad", "calm", "sad"] and names != ["sad", "calm", "glad"],
        "These are the unlikeliest labels.",
    )
    expect(
        names == ["glad", "sad", "calm"],
        f"The labels are {names}; the largest scores are at glad, sad, calm.",
    )
    expect(
        all(isinstance(chance, float) for chance in chances),
        f"The probability is a {type(chances[0]).__name__}; wanted is a Python float, so that anyone can print it.",
    )
    diagnose(
        torch.tensor(chances),
        torch.tensor([5 / 8, 6 / 8, 3 / 5]),
        {
            "The second of each pair is the raw score. Turn the scores into probabilities first.": logits.max(
                1
            ).values,
            "These probabilities are normalised over the texts. The labels of one text compete, not the texts.": torch.softmax(
                logits, 0
            )
            .gather(1, torch.tensor([[2], [0], [1]]))
            .squeeze(1),
            "Each score was squashed by itself (a sigmoid); the labels of one text have to share 1.": logits.max(
                1
            ).values.sigmoid(),
            "These are log-probabilities.": torch.tensor([5 / 8, 6 / 8, 3 / 5]).log(),
        },
        f"The labels are right; their probabilities should be 5/8, 6/8 and 3/5, and are {chances}.",
    )
    logits = torch.randn(5, 4, generator=draw) * 3
    got = ask(answer, logits, "abcd")
    expect(
        [pair[0] for pair in got] == ["abcd"[i] for i in logits.argmax(1).tolist()],
        "With four labels and random scores some labels are wrong. Is the number of labels built in?",
    )
    expect(
        close(torch.tensor([pair[1] for pair in got]), torch.softmax(logits, 1).max(1).values, rtol=1e-4),
        "On random scores the probabilities differ from torch's: more than rounding to a few digits?",
    )
    extreme = ask(answer, torch.tensor([[1000.0, 0.0]]), ("yes", "no"))
    expect(
        extreme[0][0] == "yes" and extreme[0][1] == 1.0,
        f"Scores 1000 and 0 give {extreme[0]}; wanted is ('yes', 1.0). Use your safe softmax.",
    )


def _pieces(draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Six rows of losses with one to five kept tokens each."""
    losses = torch.rand(6, 5, generator=draw) * 4
    lengths = torch.randint(1, 6, (6,), generator=draw)
    return losses, torch.arange(5) < lengths.unsqueeze(1)


@check(
    masks.accumulated_mean,
    proved="However six texts are cut into pieces, value and gradient are those of one large batch.",
)
def accumulated_mean(answer, draw):
    losses = [torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 9.0]]), torch.tensor([[6.0, 2.0, 0.0]])]
    kept = [torch.tensor([[True, True, True], [True, True, False]]), torch.tensor([[True, False, False]])]
    diagnose(
        ask_tensor(answer, losses, kept, shape=()),
        torch.tensor(11 / 6),
        {
            "This is the mean of the pieces' means: the one token of the short piece weighs as much as the five "
            "of the long one. That is the published mistake.": torch.tensor(3.5),
            "All positions are counted, padding too.": torch.tensor(11 / 9),
            "The mask made no difference: padded losses are in the sum.": torch.tensor(22 / 9),
            "Texts weigh the same, whatever their length. Texts have different lengths: count tokens.": torch.tensor(
                8 / 3
            ),
            "This is the sum; divide by the number of kept tokens.": torch.tensor(11.0),
            "The total is divided by the number of pieces.": torch.tensor(5.5),
            "The total is divided by the number of texts.": torch.tensor(11 / 3),
        },
        "Five kept losses of 1 and one of 6 have the mean 11/6; yours differs.",
    )
    rows, mask = _pieces(draw)
    want = _slow_masked_mean(rows.reshape(1, -1), mask.reshape(1, -1), 1)[0]
    for cut in ((6,), (2, 4), (1, 1, 3, 1)):
        got = ask_tensor(answer, list(rows.split(cut)), list(mask.split(cut)), shape=())
        expect(
            close(got, want),
            f"Six texts cut into pieces of {', '.join(map(str, cut))} give {got:.4f} instead of {want:.4f}. "
            "The result must not depend on the cut.",
        )
    hole = [torch.tensor([[2.0, math.nan]]), torch.tensor([[math.inf, math.inf]])]
    got = ask(answer, hole, [torch.tensor([[True, False]]), torch.zeros(1, 2).bool()])
    expect(
        close(got, torch.tensor(2.0)),
        f"With nan in the padding and a piece with nothing kept it gives {got}; it should give 2.",
    )
    got = ask(answer, hole, [torch.zeros(1, 2).bool()] * 2)
    expect(close(got, torch.tensor(0.0)), f"With nothing kept at all it gives {got}; it should give 0.")
    leaf = rows.clone().requires_grad_()
    result = answer(list(leaf.split((2, 4))), list(mask.split((2, 4))))
    expect(
        isinstance(result, Tensor) and result.requires_grad,
        "The value is right, but no gradient flows back: .item() or float() on the way turns a loss into a number.",
    )
    result.backward()
    expect(
        close(leaf.grad, mask / mask.sum()),
        "The value is right, but the gradient differs from one large batch's.",
    )


def _select_and_average(losses, masks_):
    return torch.cat([loss[mask] for loss, mask in zip(losses, masks_, strict=True)]).mean()


def _one_by_one(losses, masks_):
    pairs = [
        p for x, m in zip(losses, masks_, strict=True) for p in zip(x.flatten(), m.flatten(), strict=True)
    ]
    return torch.stack([x for x, m in pairs if m]).double().mean().float()


def _weighted_means(losses, masks_):
    counts = torch.stack([mask.sum() for mask in masks_]).float()
    means = torch.stack(
        [loss[mask].sum() / mask.sum().clamp(min=1) for loss, mask in zip(losses, masks_, strict=True)]
    )
    return (means * (counts / counts.sum())).sum()


def _mean_of_means(losses, masks_):
    return torch.stack([loss[mask].mean() for loss, mask in zip(losses, masks_, strict=True)]).mean()


def _counts_padding(losses, masks_):
    pairs = list(zip(losses, masks_, strict=True))
    return sum(loss.masked_fill(~mask, 0).sum() for loss, mask in pairs) / sum(
        mask.numel() for mask in masks_
    )


def _forgets_the_mask(losses, masks_):
    return torch.cat([loss.flatten() for loss in losses]).mean()


def _weighs_texts(losses, masks_):
    texts = sum(len(loss) for loss in losses)
    means = [loss[mask].mean() * len(loss) for loss, mask in zip(losses, masks_, strict=True)]
    return sum(means) / texts


def _last_piece_only(losses, masks_):
    return losses[-1][masks_[-1]].mean()


@check_test(
    masks.accumulated_mean,
    right={
        "one that selects the kept losses and averages them": _select_and_average,
        "one that goes through the losses one by one": _one_by_one,
        "one that weighs each piece's mean by its share of the tokens, so that rounding differs": _weighted_means,
    },
    faulty={
        "one that takes the mean of the pieces' means": _mean_of_means,
        "one that divides by all positions, padding included": _counts_padding,
        "one that never looks at the mask": _forgets_the_mask,
        "one that weighs pieces by their number of texts instead of tokens": _weighs_texts,
        "one that returns the last piece's mean": _last_piece_only,
    },
    proved="It accepts three different right versions and exposes all five faulty ones.",
)
def test_accumulated_mean(test, draw):
    """Pass right versions of accumulated_mean, fail faulty ones."""
