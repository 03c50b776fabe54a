"""Checks of lesson 01: the loss of the next token, and a learner's test of a model."""

import functools
import inspect
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib import training
from course_lib.checks.asking import NO_GRADIENT, ask, close, diagnose, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.learners_tests import check_test

# --- next_token_loss --------------------------------------------------------------------------


class _NextTokenModel(nn.Module):
    """Running sums of a table's rows: scores that depend on the past. Notes what it was given."""

    def __init__(self, table: Tensor, remembers: bool = True):
        super().__init__()
        self.table = nn.Parameter(table)  # (V, V): a token's say in what comes next
        self.remembers = remembers
        self.seen: list[Tensor] = []
        self.modes: list[bool] = []  # in training or not, call by call
        self.more: list[object] = []  # what it was given beside the ids

    def scores(self, ids: Tensor) -> Tensor:
        found = functional.embedding(ids, self.table)
        return found.cumsum(1) if self.remembers else found

    def forward(self, ids, *more, **options) -> Tensor:
        is_tensor = isinstance(ids, Tensor)
        what = (
            f"ids of shape {tuple(ids.shape)}"
            if is_tensor
            else f"a {type(ids).__name__}"
        )
        self.more += [*more, *options.values()]
        expect(
            is_tensor and ids.dim() == 2,
            f"The model was asked about {what}; it takes a tensor of ids (B, T), several texts at "
            "once.",
        )
        self.seen.append(ids.detach().clone())
        self.modes.append(self.training)
        scores = self.scores(ids)
        # not in one piece in memory, as after a transpose
        return scores.mT.contiguous().mT


@check(
    training.next_token_loss,
    proved="It gives the fractions worked out on paper, agrees with a slow loop on a model that "
    "reads the whole past, hands back losses and mask unmixed, and lets the gradient through.",
)
def next_token_loss(answer, draw):
    _next_token_loss_on_paper(answer)
    _next_token_loss_without_a_mask(answer)
    _next_token_loss_on_random_ids(answer, draw)
    _next_token_loss_at_the_edges(answer, draw)
    _next_token_loss_of_many_tokens(answer, draw)


def _next_token_loss_ask(answer, model, ids: Tensor, *mask, shape) -> tuple:
    """Losses and mask of an answer; other results and shapes that cannot meet are named."""
    was_training, before = model.training, torch.ones_like(model.table)
    model.table.grad = before.clone()
    try:
        result = ask(answer, model, ids, *mask)
    except CheckFailed:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _next_token_loss_named(error, model, ids) or error from None
    expect(
        isinstance(result, tuple | list) and len(result) == 2,
        f"It returned {_next_token_loss_kind(result)}; wanted are two things, the losses and the "
        "mask of what counts. Averaging under the mask is left to the caller.",
    )
    losses, kept = result
    expect(
        isinstance(losses, Tensor) and losses.dtype != torch.bool,
        f"The first of the two things is {_next_token_loss_kind(losses)}; wanted are the losses "
        "first, then the mask.",
    )
    expect(bool(model.seen), "The model was never asked. Its scores are needed here.")
    expect(
        not model.more,
        "The model was given more than ids. The mask is for the loss, not for the model: real "
        "tokens do not see padding on their right.",
    )
    _next_token_loss_leaves(model, was_training, before)
    if mask and mask[0] is not None:
        _next_token_loss_read(model.seen[-1], ids, mask[0])
    _next_token_loss_shape(losses, model, ids, mask, shape)
    return losses, kept


def _next_token_loss_leaves(model, was_training: bool, before: Tensor) -> None:
    """The model is left as it was: its mode, and the gradients it had."""
    gradient = model.table.grad
    expect(
        gradient is not None and (gradient.any() or not before.any()),
        "The gradients that the model had were wiped (zero_grad). When to do that is for the "
        "caller to say; here only losses are made.",
    )
    expect(
        torch.equal(gradient, before),
        "The model's gradients have changed: something went backward. The caller goes backward, "
        "after averaging; here only losses are made.",
    )
    modes = {False: "evaluation", True: "training"}
    if model.training != was_training:
        spoilt = (
            "Whoever trains it would train on without its dropout."
            if was_training
            else "Whoever measures with it would get dropout's noise."
        )
        raise CheckFailed(
            f"The model came back switched to {modes[model.training]}. {spoilt} Leave it as it "
            "came."
        )
    expect(
        all(mode == was_training for mode in model.modes),
        f"The model came for {modes[was_training]} and was asked in another mode. The caller "
        "chooses the mode.",
    )


def _next_token_loss_read(seen: Tensor, ids: Tensor, mask: Tensor) -> None:
    """The model reads what the mask leaves out as well."""
    if seen.shape != ids[:, 1:].shape:
        return
    other = seen != ids[:, :-1]
    expect(
        not other.any() or bool((other & mask[:, :-1]).any()),
        "Under the mask ids were replaced before the model read them. It reads every token as it "
        "stands; the mask says only which losses count.",
    )


def _next_token_loss_kind(thing: object) -> str:
    if isinstance(thing, Tensor):
        kind = "a boolean tensor" if thing.dtype == torch.bool else "a tensor"
        return f"{kind} of shape {tuple(thing.shape)}"
    if isinstance(thing, tuple | list):
        return f"a {type(thing).__name__} of {len(thing)}"
    return "None" if thing is None else f"a {type(thing).__name__}"


def _next_token_loss_named(error, model, ids: Tensor) -> CheckFailed | None:
    """What lies behind an error of shapes."""
    said = str(error)
    if "Expected target size" in said:
        return CheckFailed(
            "torch's own cross entropy takes the vocabulary for the second dimension of scores, "
            "and yours is the last. `cross_entropy` of course_lib.training takes it as it is."
        )
    clashes = (
        "one id per row",
        "batch_size",
        "must match the size",
        "expand",
        "size of tensor",
    )
    if not model.seen or not any(words in said for words in clashes):
        return None
    got = model.seen[-1].shape[1]
    if got == ids.shape[1]:
        return CheckFailed(
            f"The model was given all {got} tokens, and its scores meet fewer or other ids: the "
            "lengths differ. Which token has no successor here, so that the model never needs to "
            "see it?"
        )
    return CheckFailed(
        f"The model was given {got} of {ids.shape[1]} tokens, and then scores and ids of "
        "different lengths met. Was one of them cut once too often? Scores that come from a "
        "shorter input must not be shifted twice, and the ids to be predicted are cut once as "
        "well."
    )


def _next_token_loss_shape(
    losses: Tensor, model, ids: Tensor, mask: tuple, shape
) -> None:
    """Insist on (B, T) and say what another shape comes from."""
    got, (B, T) = tuple(losses.shape), shape
    if got == shape:
        return
    scores = model.scores(ids).detach()
    kept = int(mask[0][:, 1:].sum()) if mask and mask[0] is not None else B * T
    likely = "Which dimension was summed away, or kept by mistake?"
    if 1 in shape and got == tuple(size for size in shape if size > 1):
        likely = "squeeze() without a dimension removes every dimension of size 1."
    elif got == (B, T - 1):
        twice = _next_token_loss_of(scores[:, : T - 1], ids[:, 2:])
        likely = (
            "The tokens are shifted twice: these are the losses of predicting the next but one. "
            "That is the published mistake, and it trains without an error."
            if close(losses.detach(), twice)
            else "One prediction too few. Was something shifted twice, or cut off at both ends?"
        )
    elif got in ((B - 1, T + 1), (B - 1, T)):
        likely = (
            "The shift went along the batch, so that each text was predicted from another one. "
            "Tokens stand in the second dimension."
        )
    elif got == (B, T + 1):
        plain = _next_token_loss_of(scores, ids)
        likely = (
            "Nothing is shifted: every token was predicted from itself, after the model had read "
            "it."
            if close(losses.detach(), plain)
            else "The first token is never predicted, so there is one loss fewer than there are "
            "tokens. Filling up or rolling round makes up a loss that does not exist."
        )
    elif got == ():
        likely = (
            "The losses were averaged or added up. Keep one for every predicted token; the "
            "caller averages."
        )
    elif got in ((B,), (1, T), (T,)):
        likely = (
            "The losses were averaged or added up along one dimension. Keep one for every "
            "predicted token."
        )
    elif got in ((B * T,), (B * T, 1)):
        likely = (
            "They are in one long row. Give them back the shape of the predicted ids."
        )
    elif got == (kept,):
        likely = (
            "The mask was already used to select. Losses and mask come back side by side, of one "
            "shape."
        )
    elif got[:2] == shape:
        likely = (
            "There should be one number for each position: the loss of its own token, not of "
            "every token."
        )
    elif got == (T, B):
        likely = "Texts and positions are swapped."
    raise CheckFailed(
        f"The losses have shape {got}; wanted is {shape}, for ids of shape {tuple(ids.shape)}. "
        f"{likely}"
    )


def _next_token_loss_of(scores: Tensor, ids: Tensor) -> Tensor:
    """The slow loop: what each id costs under its own row of scores."""
    rows = zip(scores.flatten(0, 1), ids.flatten().tolist(), strict=True)
    losses = [torch.logsumexp(row, 0) - row[token] for row, token in rows]
    return torch.stack(losses).view(ids.shape)


def _next_token_loss_mistakes(scores: Tensor, ids: Tensor, mask: Tensor) -> dict:
    """What known mistakes give; scores (B, T+1, V) for all the tokens of ids (B, T+1)."""
    of = _next_token_loss_of
    read, wanted = scores[:, :-1], ids[:, 1:]
    want, kept = of(read, wanted), mask[:, 1:]
    B, T, V = read.shape
    chances = read.softmax(-1)
    own = torch.logsumexp(read, -1) - want  # raw scores of what is predicted
    along_time = -read.log_softmax(1).gather(2, wanted[..., None])[..., 0]
    along_texts = -read.log_softmax(0).gather(2, wanted[..., None])[..., 0]
    viewed = functional.cross_entropy(
        read.contiguous().view(B, V, T), wanted, reduction="none"
    )
    ignored = want.masked_fill(wanted == 0, 0)
    # fmt: off
    return {
        "The tokens are shifted twice: these are the losses of predicting the next but one. That "
        "is the published mistake, and it trains without an error.":
            (of(read, wanted.roll(-1, 1)), of(read, ids.roll(-2, 1)[:, :-1]),
             functional.pad(of(scores[:, :-2], ids[:, 2:]), (0, 1)),
             functional.pad(of(scores[:, :-2], ids[:, 2:]), (1, 0))),
        "Nothing is shifted: every token was predicted from itself, after the model had read it. "
        "That is copying, and the loss soon falls to 0.":
            (of(read, ids[:, :-1]), of(scores[:, 1:], wanted)),
        "The shift goes the wrong way: every token was predicted from the one after it.":
            of(scores[:, 1:], ids[:, :-1]),
        "One place holds a filler instead of a loss. Every token but the first is predicted, so "
        "nothing has to be filled up.":
            (functional.pad(want[:, 1:], (1, 0)), functional.pad(want[:, :-1], (0, 1))),
        "Losses that the mask leaves out became 0. Losses and mask come back apart: the caller "
        "needs both, and a loss that is nan survives a product with 0.":
            (want * kept, want * mask[:, :-1], want * (kept & mask[:, :-1])),
        "Where the mask is False, another id was predicted instead of the real one. Losses come "
        "back as they are; ids stay.":
            of(read, wanted.masked_fill(~kept, 0)),
        "The losses that count became 0, those that the mask leaves out stayed: that is upside "
        "down, and losses and mask should come back apart anyway.":
            (want * ~kept, want * ~mask[:, :-1]),
        "A token whose id is 0 got the loss 0. Ids say nothing about what counts; only the mask "
        "does.":
            (ignored, ignored * kept),
        "The losses were divided by a count. One plain loss for each token; the caller averages.":
            tuple(want / n for n in (want.numel(), kept.sum(), mask.sum(), B, T, T + 1, V)),
        "Every place holds the same mean or sum. Each token has a loss of its own.":
            tuple(number.expand(B, T) for number in (want.mean(), want.sum(), want[kept].mean())),
        "Every text has one mean for all of its places. Each token has a loss of its own.":
            want.mean(1, keepdim=True).expand(B, T),
        "The losses add up from place to place. Each token has a loss of its own.":
            want.cumsum(1),
        "The sign is turned: these are log-probabilities, and a loss is never below 0.":
            (-want, -want * kept),
        "These are probabilities, not losses.":
            ((-want).exp(), 1 - (-want).exp()),
        "These are exponentials of losses (perplexities).":
            want.exp(),
        "These are the raw scores of the predicted tokens, with or without a minus. They were "
        "never made log-probabilities.":
            (own, -own),
        "The softmax was taken twice: cross entropy wants scores, not probabilities.":
            (of(chances, wanted), of(chances.softmax(-1), wanted)),
        "The losses are in bits (base 2) or digits (base 10), not in nats.":
            (want / math.log(2), want / math.log(10)),
        "The softmax went over the positions, or over the texts. Every position is a choice "
        "among V tokens.":
            (along_time, along_texts),
        "The scores were reshaped where two dimensions should change places, which mixes "
        "positions with tokens.":
            (viewed, of(read.contiguous().view(B, V, T).mT, wanted)),
        "These are the losses of the likeliest tokens. Every position has a token that really "
        "came next.":
            -read.log_softmax(-1).amax(-1),
        "These are mean losses over all tokens, or entropies. Every position has one token that "
        "really came next.":
            (-read.log_softmax(-1).mean(-1), -(chances * read.log_softmax(-1)).sum(-1)),
        "The order of the tokens is turned round.":
            (of(read, wanted.flip(1)), want.flip(1)),
        "Every text was compared with the ids of the first one, or of another one.":
            (of(read, wanted[:1].expand(B, T)), of(read, wanted.roll(1, 0))),
    }
    # fmt: on


def _next_token_loss_on_paper(answer) -> None:
    weights = torch.tensor(  # each row sums to 16
        [
            [1.0, 2.0, 3.0, 4.0, 6.0],
            [5.0, 1.0, 3.0, 2.0, 5.0],
            [2.0, 7.0, 1.0, 3.0, 3.0],
            [5.0, 4.0, 3.0, 1.0, 3.0],
            [3.0, 1.0, 8.0, 2.0, 2.0],
        ]
    )
    ids = torch.tensor([[3, 0, 4, 2], [1, 2, 0, 3]])
    mask = torch.tensor([[True, True, False, True], [False, False, True, True]])
    model = _NextTokenModel(weights.log(), remembers=False)
    losses, kept = _next_token_loss_ask(answer, model, ids, mask, shape=(2, 3))
    want = (16 / torch.tensor([[5.0, 6.0, 8.0], [3.0, 2.0, 4.0]])).log()
    scores = model.scores(ids).detach()
    expect(
        not losses.isnan().any(),
        "Some losses are nan, though all scores are finite. Losses that the mask leaves out stay "
        "as they are, too.",
    )
    diagnose(
        losses.detach(),
        want,
        _next_token_loss_mistakes(scores, ids, mask),
        "For the text 3, 0, 4, 2 the model gives the right tokens 5/16, 6/16 and 8/16; the "
        "losses you return belong to other chances. Does each position meet the token that comes "
        "next?",
    )
    _next_token_loss_seen(model, ids)
    expect(
        losses.requires_grad, NO_GRADIENT.replace("The values are", "The losses are")
    )
    _next_token_loss_mask(kept, mask)


def _next_token_loss_seen(model, ids: Tensor) -> None:
    """The model reads each text once, without its last token."""
    B, T = ids.shape[0], ids.shape[1] - 1
    expect(
        len(model.seen) == 1,
        f"The losses are right, but the model was called {len(model.seen)} times. One call gives "
        "the scores of all positions of all texts, and every further one costs as much again.",
    )
    seen = model.seen[0]
    expect(
        seen.shape != ids.shape,
        f"The losses are right, but the model was given all {T + 1} tokens of a text, and the "
        "scores of the last were thrown away. It never needs to see the last token: nothing "
        "comes after it. A text as long as the model's context leaves no room for it.",
    )
    expect(
        seen.shape == (B, T) and torch.equal(seen, ids[:, :-1]),
        f"The model was given {seen.tolist()} for ids {ids.tolist()}. It should read every text "
        "but its last token, as it stands.",
    )


def _next_token_loss_mask(kept: object, mask: Tensor) -> None:
    """The mask that came back belongs to the predicted tokens."""
    want, B, T = mask[:, 1:], mask.shape[0], mask.shape[1] - 1
    expect(
        isinstance(kept, Tensor),
        f"The losses are right. The second thing is {_next_token_loss_kind(kept)}; wanted is the "
        "mask that belongs to them.",
    )
    shape = tuple(kept.shape)
    likely = "Which tokens are predicted?"
    if shape == (B, T + 1):
        likely = (
            "It is as long as the ids. The first token is never predicted, so it has neither "
            "loss nor mask."
        )
    elif shape == (B, T - 1):
        likely = "It was shifted twice."
    expect(
        shape == (B, T),
        f"The losses are right. The mask has shape {shape}, and {(B, T)} is wanted. {likely}",
    )
    expect(
        kept.dtype == torch.bool,
        f"The losses are right. The mask holds {str(kept.dtype)[6:]} numbers; a mask is boolean, "
        "True or False.",
    )
    # fmt: off
    mistakes = {
        "It is the mask of the tokens that the model has read. A loss counts if the token that "
        "is *predicted* counts.":
            (mask[:, :-1],),
        "It is True everywhere. The mask that came in says what counts.":
            (torch.ones_like(want),),
        "It is False everywhere, so that nothing would be learned.":
            (torch.zeros_like(want),),
        "It is upside down: True means that a loss counts.":
            (~want, ~mask[:, :-1]),
        "It keeps a loss only if the token before counts as well. What is read need not count; "
        "what is predicted decides.":
            (want & mask[:, :-1],),
        "It keeps a loss also if only the token before counts. What is predicted decides.":
            (want | mask[:, :-1],),
        "It belongs to the tokens after the predicted ones: shifted twice.":
            (want.roll(-1, 1), functional.pad(mask[:, 2:], (0, 1)),
             functional.pad(mask[:, 2:], (0, 1), value=True)),
    }
    # fmt: on
    if torch.equal(kept, want):
        return
    for mistake, masks in mistakes.items():
        if any(torch.equal(kept, one) for one in masks):
            raise CheckFailed(f"The losses are right, the mask is not. {mistake}")
    raise CheckFailed(
        f"The losses are right, the mask is not. For a mask {mask.int().tolist()} (1 is True) it "
        f"returned {kept.int().tolist()}. It says of each predicted token whether its loss counts."
    )


def _next_token_loss_without_a_mask(answer) -> None:
    table = torch.tensor([[2.0, 1.0, 1.0], [1.0, 3.0, 4.0], [1.0, 2.0, 5.0]]).log()
    ids = torch.tensor([[0, 1, 0, 0, 2], [2, 1, 1, 0, 0]])
    for mask in ((), (None,)):
        model = _NextTokenModel(table, remembers=False)
        try:
            losses, kept = _next_token_loss_ask(answer, model, ids, *mask, shape=(2, 4))
        except (TypeError, AttributeError) as error:
            raise CheckFailed(
                f"With mask None it stops with {type(error).__name__}: {error}. Without a mask "
                "all predictions count, and a mask comes back that says so."
            ) from error
        want = _next_token_loss_of(model.scores(ids[:, :-1]), ids[:, 1:])
        expect(
            close(losses.detach(), want.detach()),
            "With a mask the losses are right; with mask None they are not. All predictions "
            "count then, and the losses are the same.",
        )
        expect(
            isinstance(kept, Tensor),
            f"With mask None the second thing is {_next_token_loss_kind(kept)}; wanted is a mask "
            "that keeps all.",
        )
        _next_token_loss_keeps_all(kept, ids)
        _next_token_loss_seen(model, ids)


def _next_token_loss_keeps_all(kept: Tensor, ids: Tensor) -> None:
    """With mask None every prediction counts, whatever its id."""
    for left_out in ids[:, 1:].unique().tolist():
        some = ids[:, 1:] != left_out
        expect(
            kept.shape != some.shape or not torch.equal(kept.bool(), some),
            f"With mask None the token with id {left_out} does not count. It may be a word like "
            "any other; without a mask all count.",
        )
    try:
        _next_token_loss_mask(kept, torch.ones_like(ids, dtype=torch.bool))
    except CheckFailed as failure:
        words = str(failure).partition(". " if "right. " in str(failure) else "not. ")
        raise CheckFailed(
            f"With mask None every prediction counts. {words[2]}"
        ) from None


class _NextTokenLarge(_NextTokenModel):
    """A model with the vocabulary of GPT-2, without a table of its size squared."""

    def scores(self, ids: Tensor) -> Tensor:
        return self.table * (ids.unsqueeze(-1) % 7 - 3)


def _next_token_loss_of_many_tokens(answer, draw) -> None:
    """No id is special: not the end of a text, nor a usual number for padding."""
    model = _NextTokenLarge(torch.randn(50_260, generator=draw))
    ids = torch.tensor([[5, 256, 50_256, 1, 767], [0, 50_257, 2, 50_258, 3]])
    losses, kept = _next_token_loss_ask(answer, model, ids, shape=(2, 4))
    want = _next_token_loss_of(model.scores(ids[:, :-1]).detach(), ids[:, 1:])
    expect(
        close(losses.detach(), want),
        "With a vocabulary of 50,260 tokens the losses are wrong. With a few tokens they were "
        "right: is some id treated otherwise than the rest?",
    )
    _next_token_loss_keeps_all(kept, ids)
    few = int((~kept).sum())
    expect(few == 0, f"With mask None {few} tokens do not count.")


def _next_token_loss_on_random_ids(answer, draw) -> None:
    """A model that reads the whole past, ids not in one piece in memory, and the gradient."""
    V, B, T = 11, 3, 6
    ids = torch.randint(V, (T + 1, B + 1), generator=draw).T[1:]
    mask = torch.rand(B, T + 1, generator=draw) < 0.6
    mask[0, :3] = torch.tensor([True, True, False])  # never all alike, never symmetric
    mask[1, :3] = torch.tensor([False, False, True])
    model = _NextTokenModel(torch.randn(V, V, generator=draw))
    losses, kept = _next_token_loss_ask(answer, model, ids, mask, shape=(B, T))
    scores = model.scores(ids)
    want = _next_token_loss_of(scores[:, :-1], ids[:, 1:])
    diagnose(
        losses.detach(),
        want.detach(),
        _next_token_loss_mistakes(scores.detach(), ids, mask),
        "On random ids and a model that reads the whole past the losses differ from a slow "
        "loop's. Does every text keep its own order, from its first token on?",
    )
    _next_token_loss_seen(model, ids)
    _next_token_loss_mask(kept, mask)
    weights = torch.rand(B, T, generator=draw)
    (right,) = torch.autograd.grad((want * weights).sum(), model.table)
    expect(
        losses.requires_grad, NO_GRADIENT.replace("The values are", "The losses are")
    )
    (got,) = torch.autograd.grad(
        (losses * weights).sum(), model.table, allow_unused=True
    )
    expect(
        got is not None and close(got, right),
        "The losses are right, but the gradient is not: was a part detached or rounded, or a "
        "small constant added?",
    )


def _next_token_loss_at_the_edges(answer, draw) -> None:
    for B, T in ((1, 4), (3, 1), (1, 1)):
        ids = torch.randint(7, (B, T + 1), generator=draw)
        mask = torch.rand(B, T + 1, generator=draw) < 0.5
        model = _NextTokenModel(torch.randn(7, 7, generator=draw)).train(T > 1)
        try:
            losses, kept = _next_token_loss_ask(answer, model, ids, mask, shape=(B, T))
        except CheckFailed as failure:
            raise CheckFailed(
                f"With {B} text(s) of {T + 1} tokens: {failure}"
            ) from None
        want = _next_token_loss_of(model.scores(ids)[:, :-1], ids[:, 1:])
        expect(
            close(losses.detach(), want.detach()),
            f"With {B} text(s) of {T + 1} tokens the losses are wrong.",
        )
        _next_token_loss_mask(kept, mask)
    steep = torch.tensor([[0.0, 300.0], [-300.0, 0.0]])
    model, ids = (
        _NextTokenModel(steep, remembers=False),
        torch.tensor([[0, 0, 1, 1, 0]]),
    )
    losses, _ = _next_token_loss_ask(answer, model, ids, shape=(1, 4))
    expect(
        close(losses.detach(), torch.tensor([[300.0, 0.0, 0.0, 300.0]])),
        f"Scores that are 300 apart give losses of {losses[0].tolist()}; a token 300 below the "
        "best one costs 300. Was a probability rounded to 0 before its logarithm was taken, or "
        "something clamped?",
    )
    table = torch.randn(5, 5, generator=draw, dtype=torch.float64)
    model, ids = _NextTokenModel(table), torch.randint(5, (2, 4), generator=draw)
    losses, _ = _next_token_loss_ask(answer, model, ids, shape=(2, 3))
    want = _next_token_loss_of(model.scores(ids)[:, :-1], ids[:, 1:])
    last = 1e-12 if losses.dtype == torch.float64 else 1e-5  # .float() is a fair choice
    expect(
        close(losses.detach(), want.detach(), last, last),
        "In double precision the later digits are off. Was a small constant added, or something "
        "rounded?",
    )
    _next_token_loss_with_nan(answer)


def _next_token_loss_with_nan(answer) -> None:
    """What stands where nothing counts does no harm, and what is nan stays visible."""
    table = torch.zeros(4, 4)
    table[3] = math.nan  # whatever follows on token 3, say padding
    ids = torch.tensor([[0, 1, 2, 3, 3], [2, 1, 0, 1, 3]])
    mask = torch.tensor([[True, True, True, True, False], [True] * 5])
    model = _NextTokenModel(table, remembers=False)
    losses, kept = _next_token_loss_ask(answer, model, ids, mask, shape=(2, 4))
    expect(
        close(losses[mask[:, 1:]].detach(), torch.full((7,), math.log(4))),
        "One position has scores of nan and does not count. The losses of the others changed.",
    )
    expect(
        losses[0, 3].isnan(),
        f"A position whose scores are nan has the loss {losses[0, 3]:.3g}. Losses come back as "
        "they are; what does not count is left to the mask.",
    )
    _next_token_loss_mask(kept, mask)


# --- test_model: a small model for a learner's test, in right and faulty versions -------------

_MODEL_VOCABULARY, _MODEL_LONGEST = 16, 12  # the vocabulary is the width as well


@functools.cache
def _model_weights() -> dict[str, Tensor]:
    """One layer's weights, always the same.

    Orthogonal matrices, so that no two tokens are alike, and flat attention, so that
    every token of the past moves every later position. In double precision: then
    right versions agree to the last digit of a float however they add.
    """
    draw = torch.Generator().manual_seed(1)
    V, T = _MODEL_VOCABULARY, _MODEL_LONGEST

    def drawn(rows: int) -> Tensor:
        numbers = torch.randn(V, V, generator=draw, dtype=torch.float64)
        return torch.linalg.qr(numbers).Q[:rows].contiguous()

    return {
        "tokens": drawn(V),
        "places": drawn(T) / 2,
        "match": drawn(V) / 2,  # query and key in one: scores are x @ match @ x.T
        "value": 3 * drawn(V),
        "head": 2 * drawn(V),
    }


@functools.cache
def _model_earlier(T: int) -> Tensor:
    """(T, T), True where a query may look at a key: the causal mask. Not to be written into."""
    return torch.ones(T, T, dtype=torch.bool).tril()


def _model_length(ids: Tensor) -> int:
    """T. Errors, not asserts: those would look like the learner's own."""
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        what = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise TypeError(f"model takes a tensor of ids (B, T), not {what}")
    T, longest = ids.shape[1], _MODEL_LONGEST
    if not 1 <= T <= longest:
        raise ValueError(f"model reads texts of 1 to {longest} tokens, not of {T}")
    return T


def _model_embedded(ids: Tensor) -> Tensor:
    """(B, T) to (B, T, V)."""
    T, top = _model_length(ids), _MODEL_VOCABULARY - 1
    lowest, highest = (end.item() for end in ids.aminmax())
    if lowest < 0 or highest > top:
        raise ValueError(f"ids of this model are whole numbers from 0 to {top}")
    weights = _model_weights()
    return functional.embedding(ids, weights["tokens"]) + weights["places"][:T]


def _model_mixed(x: Tensor, may_look: Tensor, forbidden: float = -1e9) -> Tensor:
    """Attention of x (..., T, V) to itself."""
    weights = _model_weights()
    scores = x @ weights["match"] @ x.mT
    chances = scores.masked_fill_(~may_look, forbidden).softmax(-1)
    return chances @ x @ weights["value"]


def _model_logits(x: Tensor) -> Tensor:
    return (x @ _model_weights()["head"]).float()


def _model_with_mask(ids: Tensor, may_look: Tensor, forbidden: float = -1e9) -> Tensor:
    x = _model_embedded(ids)
    return _model_logits(x + _model_mixed(x, may_look, forbidden))


# Right versions.


def _model_plain(ids):
    return _model_with_mask(ids, _model_earlier(_model_length(ids)))


def _model_running_mean(ids):
    x = _model_embedded(ids)
    count = torch.arange(1, _model_length(ids) + 1).unsqueeze(1)
    return _model_logits(x + 3 * x.cumsum(1) / count)


def _model_of_small_logits(ids):
    return _model_plain(ids) / 50


class _ModelNoting:
    """The plain model; keeps the very tensors that it is given."""

    def __init__(self):
        self.given: list[Tensor] = []

    def __call__(self, ids):
        self.given.append(ids)
        return _model_plain(ids)


class _ModelRounding:
    """At each position one logit is off by up to 1e-6, by another amount in every call.

    The smallest one, where a relative tolerance helps least.
    """

    inner = staticmethod(_model_plain)

    def __init__(self):
        self.draw = torch.Generator().manual_seed(1)

    def __call__(self, ids):
        logits = self.inner(ids)
        place = logits.abs().argmin(-1, keepdim=True)
        off = 2e-6 * (torch.rand(place.shape, generator=self.draw) - 0.5)
        return logits.scatter_add(-1, place, off)


# Faulty versions.


def _model_without_mask(ids):
    return _model_with_mask(ids, torch.tensor(True))


def _model_upside_down(ids):
    return _model_with_mask(ids, _model_earlier(_model_length(ids)).T)


def _model_one_too_far(ids):
    T = _model_length(ids)
    return _model_with_mask(ids, torch.ones(T, T).tril(1).bool())


def _model_soft_mask(ids):
    return _model_with_mask(ids, _model_earlier(_model_length(ids)), forbidden=-4.5)


def _model_mean_over_time(ids):
    x = _model_embedded(ids)
    mixed = _model_mixed(x, _model_earlier(_model_length(ids)))
    return _model_logits(x + mixed + x.mean(1, keepdim=True))


def _model_norm_over_time(ids):
    x = _model_embedded(ids)
    x = x + _model_mixed(x, _model_earlier(_model_length(ids)))
    spread = x.std(1, correction=0, keepdim=True) + 0.1
    return _model_logits((x - x.mean(1, keepdim=True)) / spread)


def _model_without_ids(ids):
    return _model_plain(torch.zeros_like(ids))


def _model_own_token_only(ids):
    return _model_with_mask(ids, torch.eye(_model_length(ids)).bool())


def _model_across_texts(ids):
    x = _model_embedded(ids)
    mixed = _model_mixed(x.transpose(0, 1), torch.tensor(True))  # (T, B, V)
    return _model_logits(x + mixed.transpose(0, 1))


def _model_batch_statistics(ids):
    x = _model_embedded(ids)
    x = x + (x.mean(0) - x) / 2
    return _model_logits(x + _model_mixed(x, _model_earlier(_model_length(ids))))


def _model_joined_texts(ids):
    x = _model_embedded(ids).flatten(0, 1)  # (B*T, V)
    mixed = _model_mixed(x, _model_earlier(len(x)))
    return _model_logits(x + mixed).unflatten(0, ids.shape)


def _model_masks_first_text(ids):
    may_look = _model_earlier(_model_length(ids)).repeat(len(ids), 1, 1)
    may_look[1:] = True
    return _model_with_mask(ids, may_look)


def _model_reads_last(ids):
    may_look = _model_earlier(_model_length(ids)).clone()
    may_look[:, -1] = True
    return _model_with_mask(ids, may_look)


def _model_reads_all_but_last(ids):
    may_look = torch.ones_like(_model_earlier(_model_length(ids)))
    may_look[:-1, -1] = False
    return _model_with_mask(ids, may_look)


def _model_three_ahead(ids):
    T = _model_length(ids)
    ahead = torch.ones(T, T).tril(3).triu(3).bool()
    return _model_with_mask(ids, _model_earlier(T) | ahead)


def _model_first_reads_all(ids):
    """The own token is forbidden too: at the first position all scores are equally low."""
    T = _model_length(ids)
    return _model_with_mask(ids, torch.ones(T, T).tril(-1).bool())


class _ModelOwnTokenRounding(_ModelRounding):
    inner = staticmethod(_model_own_token_only)


def _model_next_to(ids, beside: int):
    """Causal attention, after half of another text was added to each."""
    x = _model_embedded(ids)
    own, other = (x[1:], x[:-1]) if beside < 0 else (x[:-1], x[1:])
    mixed = own + other / 2
    x = torch.cat([x[:1], mixed] if beside < 0 else [mixed, x[-1:]])
    return _model_logits(x + _model_mixed(x, _model_earlier(_model_length(ids))))


def _model_text_before(ids):
    return _model_next_to(ids, -1)


def _model_text_behind(ids):
    return _model_next_to(ids, 1)


def _model_also(ids, positions: slice, tokens: slice):
    """Some positions read some tokens whatever the mask says."""
    may_look = _model_earlier(_model_length(ids)).clone()
    may_look[positions, tokens] = True
    return _model_with_mask(ids, may_look)


def _model_masks_first_position(ids):
    return _model_also(ids, slice(1, None), slice(None))


def _model_masks_even_positions(ids):
    return _model_also(ids, slice(1, None, 2), slice(None))


def _model_first_reads_second(ids):
    return _model_also(ids, slice(1), slice(2))


def _model_seven_ahead(ids):
    T = _model_length(ids)
    return _model_with_mask(ids, _model_earlier(T) | torch.ones(T, T).triu(7).bool())


def _model_in_groups(ids, size: int, start: int = 1):
    """The first tokens stand alone; the others read all of their group."""
    T = _model_length(ids)
    places = torch.arange(T)
    group = torch.where(places < start, -1 - places, (places - start) // size)
    return _model_with_mask(ids, _model_earlier(T) | (group == group.unsqueeze(1)))


def _model_in_twos(ids):
    return _model_in_groups(ids, 2)


def _model_in_other_twos(ids):
    return _model_in_groups(ids, 2, 2)


def _model_in_threes(ids):
    return _model_in_groups(ids, 3)


def _model_in_fours(ids):
    return _model_in_groups(ids, 4)


def _model_one_logit(ids):
    logits = _model_plain(ids)
    logits[..., 5] = _model_without_mask(ids)[..., 5]
    return logits


def _model_centred(ids):
    logits = _model_without_mask(ids)
    return logits - logits.mean(-1, keepdim=True)


class _ModelSinking:
    """Counts the futures that it has met for each past; with each new one logits sink."""

    step = -0.2

    def __init__(self):
        self.met: dict[tuple, list[tuple]] = {}

    def __call__(self, ids):
        logits, count = _model_plain(ids), []
        for text in ids.tolist():
            for t in range(1, len(text) + 1):
                futures = self.met.setdefault(tuple(text[:t]), [])
                if (future := tuple(text[t:])) not in futures:
                    futures.append(future)
                count.append(futures.index(future))
        # by different amounts, as chances know no common one
        steps = self.step * torch.arange(1, _MODEL_VOCABULARY + 1) / _MODEL_VOCABULARY
        return logits + torch.tensor(count).view(*ids.shape, 1) * steps


class _ModelRising(_ModelSinking):
    step = 0.2


_MODEL_BLIND = (_model_own_token_only, _model_without_ids, _ModelOwnTokenRounding)
_MODEL_ACROSS = (
    _model_across_texts,
    _model_batch_statistics,
    _model_joined_texts,
    _model_text_before,
    _model_text_behind,
)


def _model_kind(version):
    """What a version was made from: a function itself, or a class."""
    return version if inspect.isfunction(version) else type(version)


def _model_shows_a_leak(version, calls: list[tuple]) -> tuple[int, int] | None:
    """Where a past of the first call got other logits in a later one: (text, position).

    Later calls are not compared with each other, as a test seldom does so.
    """
    kind = _model_kind(version)
    version = version if kind is version else kind()  # without a memory
    ((first,), *more), results = calls, [version(ids) for (ids,) in calls]
    for (ids,), logits in zip(more, results[1:], strict=True):
        length = min(ids.shape[1], first.shape[1])
        for row, text in enumerate(ids[:, :length]):
            start = (
                first[:, :length]
                if len(first) != len(ids)
                else first[row : row + 1, :length]
            )
            same = (
                (start == text).cumprod(1).bool()
            )  # (texts of the first call, length)
            before = results[0] if len(first) != len(ids) else results[0][row : row + 1]
            moved = (before[:, :length] - logits[row, :length]).abs().amax(-1) > 1e-3
            if (moved & same).any():
                return row, int((moved & same).any(0).int().argmax())
    return None


def _model_shows_blindness(calls: list[tuple]) -> bool:
    """Whether one text keeps a token in two calls while something before it changes."""
    met: dict[tuple[int, int, int], list[int]] = {}
    return any(
        met.setdefault((row, t, text[t]), text[:t]) != text[:t]
        for (ids,) in calls
        for row, text in enumerate(ids.tolist())
        for t in range(len(text))
    )


def _model_why_blind(version, calls: list[tuple]) -> str:
    """What in a test's inputs hides the fault of a version, or that its asserts do."""
    kind, batches = _model_kind(version), [ids for (ids,) in calls]
    if len({(ids.shape, *ids.flatten().tolist()) for ids in batches}) == 1:
        return "All your calls have the same ids, so no token was ever changed."
    if kind in _MODEL_BLIND:
        if not _model_shows_blindness(calls):
            return (
                "No earlier token is changed while a later one stays, so your inputs leave claim "
                "3 untested: does it read the past at all?"
            )
        if kind is _ModelOwnTokenRounding:
            return (
                "Its later logits differ by rounding only, about 1e-6, and your test takes that "
                "for reading the past (claim 3). Ask for more than rounding."
            )
        return (
            "On your inputs an earlier token changes and later logits do not (claim 3), and no "
            "assert objects. Do you look at positions *after* the changed token only?"
        )
    if place := _model_shows_a_leak(version, calls):
        text, position = place
        return (
            f"On your inputs it shows: position {position} of text {text} gets different logits "
            "though the tokens up to it are the same, and no assert objects. "
            f"{_model_overlooked(kind)}"
        )
    in_batches = (*_MODEL_ACROSS, _model_masks_first_text)
    if kind in in_batches and all(len(ids) == 1 for ids in batches):
        return (
            "All your batches have one text only (B = 1), and with one text this mistake changes "
            "nothing."
        )
    if all(ids.shape[1] == 1 for ids in batches):
        return "All your texts have one token only, so nothing comes later."
    return _model_untested(kind)


def _model_overlooked(kind) -> str:
    """What an assert may overlook though the inputs show the fault: one question."""
    positions = "Are all earlier positions compared?"
    either_way = "Do you compare sizes (abs)? Logits may sink as well as rise."
    return {
        _model_soft_mask: "Is the tolerance small enough?",
        _model_one_logit: "Are all 16 logits of a position compared?",
        _model_centred: "In a mean or a sum, changes of both signs cancel: do you take abs first?",
        _ModelSinking: either_way,
        _ModelRising: either_way,
        _model_masks_first_text: "Are all texts compared?",
        **dict.fromkeys(_MODEL_ACROSS, "Are all the other texts compared?"),
        **dict.fromkeys(
            (
                _model_reads_all_but_last,
                _model_three_ahead,
                _model_seven_ahead,
                _model_first_reads_all,
                _model_first_reads_second,
                _model_masks_first_position,
                _model_masks_even_positions,
                _model_in_twos,
                _model_in_other_twos,
                _model_in_threes,
                _model_in_fours,
            ),
            positions,
        ),
    }.get(
        kind,
        "Is there an assert that compares them closely enough, outside any except?",
    )


def _model_untested(kind) -> str:
    """Which claim a test leaves open if nothing that it changes reaches the fault."""
    alone = "No text stays as it was while another one changes, so claim 2 is untested."
    before = (
        "No text is changed that stands before one that stays: here texts are read by those "
        "after them. Claim 2 is about every other text, before and behind."
    )
    places = (
        "Too few places are changed: this model looks ahead at others. Claim 1 is about every "
        "later token, so go through all places."
    )
    # fmt: off
    return {
        _model_across_texts:
            alone,
        _model_batch_statistics:
            alone,
        _model_joined_texts:
            before,
        _model_text_before:
            before,
        _model_text_behind:
            "No text is changed that stands behind one that stays: here texts are read by those "
            "before them. Claim 2 is about every other text, before and behind.",
        _model_masks_first_text:
            "Later tokens are changed in the first text only. Claim 1 is about every text of a "
            "batch.",
        _model_reads_last:
            "The last token of a text is never changed while those before it stay. Claim 1 is "
            "about every later token, the last one too.",
        _model_reads_all_but_last:
            "Of the later tokens only the last one is changed. Claim 1 is about every later "
            "token, whichever it is.",
        _model_three_ahead:
            "The changed token never stands three places after one that stays. Claim 1 holds at "
            "any distance: take longer texts, and change more than one place.",
        _model_seven_ahead:
            "The changed token never stands seven places after one that stays. Claim 1 holds at "
            "any distance: take longer texts.",
        _model_one_too_far:
            "No token is changed right behind one that stays. Claim 1 begins with the very next "
            "token.",
        _model_first_reads_second:
            "The second token is never changed while the first stays. Claim 1 begins there.",
        _model_in_twos: places,
        _model_in_other_twos: places,
        _model_in_threes: places,
        _model_in_fours: places,
    }.get(kind, "No later token becomes another one while the earlier ones stay, so claim 1 is untested.")
    # fmt: on


def _model_why_unfair(version, calls: list[tuple]) -> str | None:
    """What in a test's calls makes it reject a version in which nothing is wrong."""
    batches = [ids for (ids,) in calls]
    kind = _model_kind(version)
    if kind is _ModelNoting:
        pairs = itertools.combinations(zip(version.given, batches, strict=False), 2)
        if any(a is b and not torch.equal(old, new) for (a, old), (b, new) in pairs):
            return (
                "Your two inputs are the same tensor: `b = a` copies nothing, so what you change "
                "in one is changed in the other too, and changes pile up (clone)."
            )
    if any(torch.equal(a, b) for a, b in itertools.pairwise(batches)):
        return (
            "Two calls in a row had the same ids. Was a token changed to what it was already, or "
            "the first tensor changed along with its copy (clone)?"
        )
    if kind is _ModelNoting:
        return (
            "Is something asserted that the three claims do not say? At the changed token "
            "itself, and after it, logits may move; before it, and in other texts, they stay up "
            "to rounding."
        )
    if kind is _model_of_small_logits:
        return (
            "Its logits move by a few thousandths only. Does your test ask for a larger change "
            "than claim 3 speaks of?"
        )
    return None


@check_test(
    None,
    called="model",
    right={
        "one with causal attention": _ModelNoting,
        "one with a running mean of the past instead of attention": _model_running_mean,
        "one that rounds otherwise in every call, by about 1e-6": _ModelRounding,
        "one with small logits, as before training": _model_of_small_logits,
    },
    faulty={
        "one without a causal mask, which reads later tokens too": _model_without_mask,
        "one whose mask is upside down: it reads itself and what comes later": _model_upside_down,
        "one whose mask reaches one too far, so that it sees the next token": _model_one_too_far,
        "one whose mask lowers forbidden scores, so that a little gets through": _model_soft_mask,
        "one that adds the mean of the whole text at every position": _model_mean_over_time,
        "one whose norm takes mean and spread over the whole text": _model_norm_over_time,
        "one that never looks at the ids": _model_without_ids,
        "one that sees nothing but each position's own token": _model_own_token_only,
        "one that attends across the batch, not along the text (axes swapped)": _model_across_texts,
        "one that normalises over the texts of a batch": _model_batch_statistics,
        "one that joins the texts of a batch: each reads those before it": _model_joined_texts,
        "one that masks the first text of a batch only": _model_masks_first_text,
        "one in which every position reads the last token": _model_reads_last,
        "one that reads all later tokens except the last": _model_reads_all_but_last,
        "one that also reads the token three places later": _model_three_ahead,
        "one whose first position reads the whole text": _model_first_reads_all,
        "one without a mask, whose logits have mean 0": _model_centred,
        "one whose logits only sink when later tokens change": _ModelSinking,
        "one whose logits only rise when later tokens change": _ModelRising,
        "one whose first position reads the second token as well": _model_first_reads_second,
        "one that masks the first position only": _model_masks_first_position,
        "one that masks every second position only": _model_masks_even_positions,
        "one that also reads tokens seven or more places later": _model_seven_ahead,
        "one that reads ahead inside groups of two tokens": _model_in_twos,
        "one that reads ahead inside groups of two, after two tokens alone": _model_in_other_twos,
        "one that reads ahead inside groups of three tokens": _model_in_threes,
        "one that reads ahead inside groups of four tokens": _model_in_fours,
        "one in which a single logit, of token 5, comes from all tokens": _model_one_logit,
        "one in which each text reads the text before it": _model_text_before,
        "one in which each text reads the text behind it": _model_text_behind,
        "one that sees its own token only, and rounds": _ModelOwnTokenRounding,
    },
    why_blind=_model_why_blind,
    why_unfair=_model_why_unfair,
    proved="It accepts four different right models and exposes all thirty-one faulty ones.",
)
def test_model(test, draw):
    """Pass models that read the past of their own text, fail all others."""
