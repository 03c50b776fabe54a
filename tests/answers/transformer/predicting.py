"""Answers to lesson 01: the loss of the next token, and tests of a model."""

import math
import unittest

import torch
from torch.nn import functional

from course_lib.logprobs import token_logprobs
from course_lib.training import cross_entropy
from tools.graders import Battery

battery = Battery()


# --- next_token_loss: right -------------------------------------------------------------------


def _kept(ids, mask):
    return (torch.ones_like(ids).bool() if mask is None else mask)[:, 1:]


@battery.right("next_token_loss")
def by_cross_entropy_of_the_course(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    if mask is None:
        mask = torch.full(ids.shape, True)
    return losses, mask[:, 1:]


@battery.right("next_token_loss")
def by_torchs_cross_entropy(model, ids, mask=None):
    logits = model(ids[:, :-1]).transpose(1, 2)
    losses = functional.cross_entropy(logits, ids[:, 1:], reduction="none")
    return losses, torch.ones_like(losses).bool() if mask is None else mask[:, 1:]


@battery.right("next_token_loss")
def by_token_logprobs_in_a_list(model, ids, mask=None):
    T = ids.shape[1] - 1
    read, wanted = ids.narrow(1, 0, T), ids.narrow(1, 1, T)
    return [-token_logprobs(model.forward(read), wanted), _kept(ids, mask).clone()]


@battery.right("next_token_loss")
def by_gather_and_logsumexp(model, ids, mask=None):
    logits = model(ids[:, :-1])
    said = logits.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - said, _kept(ids, mask)


@battery.right("next_token_loss")
def by_two_loops(model, ids, mask=None):
    logits = model(torch.stack([text[:-1] for text in ids]))
    rows = []
    for scores, text in zip(logits, ids.tolist(), strict=True):
        table = torch.log_softmax(scores, -1)
        rows.append(torch.stack([-table[t - 1, text[t]] for t in range(1, len(text))]))
    return torch.stack(rows), _kept(ids, mask)


@battery.right("next_token_loss")
def by_rolling_and_cutting(model, ids, mask=None):
    following = ids.roll(-1, 1)[:, :-1]
    mask = torch.ones_like(ids) == 1 if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), following), mask.roll(-1, 1)[:, :-1]


@battery.right("next_token_loss")
def by_one_hot_and_einsum(model, ids, mask=None):
    logits = model(ids[..., :-1])
    said = functional.one_hot(ids[..., 1:], logits.shape[-1]).to(logits.dtype)
    losses = -torch.einsum("btv,btv->bt", logits.log_softmax(-1), said)
    return losses, _kept(ids, mask)


@battery.right("next_token_loss")
def by_flat_nll(model, ids, mask=None):
    first, wanted = ids[:, :-1].clone(), ids[:, 1:].flatten()
    table = model(ids=first).flatten(0, 1).log_softmax(-1)
    losses = functional.nll_loss(table, wanted, reduction="none")
    kept = torch.ones(first.shape, dtype=torch.bool) if mask is None else mask[:, 1:]
    return losses.unflatten(0, first.shape), kept


# --- next_token_loss: wrong -------------------------------------------------------------------


@battery.wrong("next_token_loss", says="shifted twice.*next but one.*published")
def shifted_twice(model, ids, mask=None):
    logits, labels = model(ids[:, :-1]), ids[:, 1:]
    return cross_entropy(logits[:, :-1], labels[:, 1:]), _kept(ids, mask)[:, 1:]


@battery.wrong("next_token_loss", says="shifted twice.*next but one.*published")
def shifted_twice_from_a_shorter_input(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-2]), ids[:, 2:]), _kept(ids, mask)[:, 1:]


@battery.wrong("next_token_loss", says="shifted twice.*next but one")
def shifted_twice_and_rolled(model, ids, mask=None):
    labels = ids[:, 1:].roll(-1, 1)
    return cross_entropy(model(ids[:, :-1]), labels), _kept(ids, mask)


@battery.wrong("next_token_loss", says="shifted twice.*next but one")
def shifted_twice_and_filled(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-2]), ids[:, 2:])
    return functional.pad(losses, (0, 1)), _kept(ids, mask)


@battery.wrong("next_token_loss", says="different lengths.*shifted twice")
def logits_cut_once_more(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1])[:, :-1], ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="different lengths.*shifted twice")
def logits_cut_once_more_for_torch(model, ids, mask=None):
    logits = model(ids[:, :-1])[:, :-1].flatten(0, 1)
    losses = functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
    return losses.view(ids[:, 1:].shape), _kept(ids, mask)


@battery.wrong("next_token_loss", says="One prediction too few")
def cut_at_both_ends(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1])[:, :-1], ids[:, 1:-1])
    return losses, _kept(ids, mask)[:, :-1]


@battery.wrong("next_token_loss", says="all 4 tokens.*successor")
def ids_cut_and_logits_not(model, ids, mask=None):
    return cross_entropy(model(ids), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="Nothing is shifted")
def unshifted(model, ids, mask=None):
    return cross_entropy(model(ids), ids), _kept(ids, mask)


@battery.wrong("next_token_loss", says="Nothing is shifted")
def unshifted_and_cut(model, ids, mask=None):
    read = ids[:, :-1]
    return cross_entropy(model(read), read), _kept(ids, mask)


@battery.wrong("next_token_loss", says="Nothing is shifted")
def unshifted_and_cut_in_front(model, ids, mask=None):
    return cross_entropy(model(ids[:, 1:]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="wrong way.*one after it")
def shifted_backwards(model, ids, mask=None):
    return cross_entropy(model(ids[:, 1:]), ids[:, :-1]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="first token is never predicted")
def rolled_round(model, ids, mask=None):
    return cross_entropy(model(ids), ids.roll(-1, 1)), _kept(ids, mask)


@battery.wrong("next_token_loss", says="first token is never predicted")
def filled_in_front(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return functional.pad(losses, (1, 0)), mask


@battery.wrong("next_token_loss", says="never needs to see the last token")
def whole_text_for_the_model(model, ids, mask=None):
    return cross_entropy(model(ids)[:, :-1], ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="called 2 times")
def model_called_twice(model, ids, mask=None):
    T = model(ids[:, :-1]).shape[1]
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)[:, :T]


@battery.wrong("next_token_loss", says="called 3 times")
def prefix_by_prefix(model, ids, mask=None):
    pieces = [model(ids[:, :t])[:, -1:] for t in range(1, ids.shape[1])]
    return cross_entropy(torch.cat(pieces, 1), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="called 2 times")
def text_by_text(model, ids, mask=None):
    logits = torch.cat([model(text[:, :-1]) for text in ids.split(1)])
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="takes a tensor of ids")
def one_text_without_a_batch(model, ids, mask=None):
    logits = torch.stack([model(text[:-1]) for text in ids])
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="given more than ids")
def mask_given_to_the_model(model, ids, mask=None):
    kept = _kept(ids, mask)
    return cross_entropy(model(ids[:, :-1], kept), ids[:, 1:]), kept


@battery.wrong("next_token_loss", says="tokens that the model has read.*predicted")
def mask_of_the_tokens_read(model, ids, mask=None):
    mask = torch.ones_like(ids).bool() if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask[:, :-1]


@battery.wrong("next_token_loss", says="as long as the ids")
def mask_as_it_came(model, ids, mask=None):
    mask = torch.ones_like(ids).bool() if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask


@battery.wrong("next_token_loss", says="token before counts as well")
def mask_of_both_tokens(model, ids, mask=None):
    mask = torch.ones_like(ids).bool() if mask is None else mask
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return losses, mask[:, 1:] & mask[:, :-1]


@battery.wrong("next_token_loss", says="mask is not.*shifted twice")
def mask_shifted_twice(model, ids, mask=None):
    kept = _kept(ids, mask)
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept.roll(-1, 1)


@battery.wrong("next_token_loss", says="mask has shape.*shifted twice")
def mask_cut_twice(model, ids, mask=None):
    kept = _kept(ids, mask)
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept[:, 1:]


@battery.wrong("next_token_loss", says="upside down")
def mask_upside_down(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), ~_kept(ids, mask)


@battery.wrong("next_token_loss", says="True everywhere")
def mask_forgotten(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, None)


@battery.wrong("next_token_loss", says="mask is boolean")
def mask_of_numbers(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask).float()


@battery.wrong("next_token_loss", says="mask None.*mask is boolean")
def ones_without_a_mask(model, ids, mask=None):
    mask = torch.ones_like(ids) if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask[:, 1:]


@battery.wrong("next_token_loss", says="mask None it stops with TypeError")
def mask_none_forgotten(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask[:, 1:]


@battery.wrong("next_token_loss", says="mask None it stops with TypeError")
def mask_without_a_default(model, ids, mask):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="mask None the second thing is None")
def none_given_back(model, ids, mask=None):
    kept = None if mask is None else mask[:, 1:]
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept


@battery.wrong("next_token_loss", says="mask None.*as long as the ids")
def mask_of_all_not_cut(model, ids, mask=None):
    kept = torch.ones_like(ids).bool() if mask is None else mask[:, 1:]
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept


@battery.wrong("next_token_loss", says="mask None.*False everywhere")
def nothing_kept_without_a_mask(model, ids, mask=None):
    kept = torch.zeros_like(ids).bool() if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept[:, 1:]


@battery.wrong("next_token_loss", says="mask None the token with id 0")
def zeros_taken_for_padding(model, ids, mask=None):
    kept = ids != 0 if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept[:, 1:]


@battery.wrong("next_token_loss", says="mean|averaged.*caller averages")
def mean_under_the_mask(model, ids, mask=None):
    losses, kept = cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)
    return losses[kept].mean(), kept


@battery.wrong("next_token_loss", says="averaged or added up along one dimension")
def mean_of_each_text(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]).mean(1), _kept(ids, mask)


@battery.wrong("next_token_loss", says="wanted are two things.*left to the caller")
def one_number(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return losses[_kept(ids, mask)].mean()


@battery.wrong("next_token_loss", says="wanted are two things")
def losses_only(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:])


@battery.wrong("next_token_loss", says="losses first, then the mask")
def the_other_way_round(model, ids, mask=None):
    return _kept(ids, mask), cross_entropy(model(ids[:, :-1]), ids[:, 1:])


@battery.wrong("next_token_loss", says="mask was already used to select")
def kept_losses_only(model, ids, mask=None):
    losses, kept = cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)
    return losses[kept], kept


@battery.wrong("next_token_loss", says="became 0.*come back apart.*nan")
def multiplied_by_the_mask(model, ids, mask=None):
    losses, kept = cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)
    return losses * kept, kept


@battery.wrong("next_token_loss", says="became 0.*come back apart")
def ignored_by_torch(model, ids, mask=None):
    labels = ids[:, 1:].masked_fill(~_kept(ids, mask), -100)
    logits = model(ids[:, :-1]).transpose(1, 2)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="changed its own input")
def labels_changed_in_place(model, ids, mask=None):
    labels, kept = ids[:, 1:], _kept(ids, mask)
    losses = cross_entropy(model(ids[:, :-1]), labels)
    labels[~kept] = -100
    return losses, kept


@battery.wrong("next_token_loss", says="Some losses are nan")
def left_out_losses_made_nan(model, ids, mask=None):
    losses, kept = cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)
    return losses.masked_fill(~kept, math.nan), kept


@battery.wrong("next_token_loss", says="id is 0")
def id_zero_ignored(model, ids, mask=None):
    logits = model(ids[:, :-1]).transpose(1, 2)
    losses = functional.cross_entropy(
        logits, ids[:, 1:], ignore_index=0, reduction="none"
    )
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="divided by a count")
def divided_by_the_number_kept(model, ids, mask=None):
    losses, kept = cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)
    return losses / kept.sum(), kept


@battery.wrong("next_token_loss", says="same mean or sum")
def one_mean_everywhere(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return losses.mean().expand(losses.shape), _kept(ids, mask)


@battery.wrong("next_token_loss", says="sign is turned")
def log_probabilities(model, ids, mask=None):
    return token_logprobs(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="These are probabilities")
def probabilities(model, ids, mask=None):
    losses = token_logprobs(model(ids[:, :-1]), ids[:, 1:]).exp()
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="softmax was taken twice")
def softmax_twice(model, ids, mask=None):
    chances = model(ids[:, :-1]).softmax(-1)
    return cross_entropy(chances, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="raw scores")
def raw_scores(model, ids, mask=None):
    logits = model(ids[:, :-1])
    return -logits.gather(2, ids[:, 1:, None])[..., 0], _kept(ids, mask)


@battery.wrong("next_token_loss", says="in bits")
def in_bits(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:]) / math.log(2)
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="perplexities")
def perplexities(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]).exp(), _kept(ids, mask)


@battery.wrong("next_token_loss", says="over the positions")
def softmax_over_positions(model, ids, mask=None):
    table = model(ids[:, :-1]).log_softmax(1)
    return -table.gather(2, ids[:, 1:, None])[..., 0], _kept(ids, mask)


@battery.wrong("next_token_loss", says="rounded to 0")
def logarithm_of_the_softmax(model, ids, mask=None):
    chances = model(ids[:, :-1]).softmax(-1).gather(2, ids[:, 1:, None])
    return -chances[..., 0].log(), _kept(ids, mask)


@battery.wrong("next_token_loss", says="later digits|small constant|something rounded")
def small_constant(model, ids, mask=None):
    chances = model(ids[:, :-1]).softmax(-1).gather(2, ids[:, 1:, None])
    return -(chances[..., 0] + 1e-9).log(), _kept(ids, mask)


@battery.wrong("next_token_loss", says="reshaped where two dimensions")
def viewed_where_transposed_was_meant(model, ids, mask=None):
    logits = model(ids[:, :-1]).contiguous()
    B, T, V = logits.shape
    losses = functional.cross_entropy(
        logits.view(B, V, T), ids[:, 1:], reduction="none"
    )
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="vocabulary for the second dimension")
def vocabulary_in_the_wrong_place(model, ids, mask=None):
    logits = model(ids[:, :-1])
    losses = functional.cross_entropy(logits, ids[:, 1:], reduction="none")
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="one long row")
def left_flat(model, ids, mask=None):
    logits = model(ids[:, :-1]).flatten(0, 1)
    labels = ids[:, 1:].flatten()
    return functional.cross_entropy(logits, labels, reduction="none"), _kept(ids, mask)


@battery.wrong("next_token_loss", says="likeliest tokens")
def of_the_likeliest_token(model, ids, mask=None):
    table = model(ids[:, :-1]).log_softmax(-1)
    return -table.max(-1).values, _kept(ids, mask)


@battery.wrong("next_token_loss", says="no gradient")
@torch.no_grad()
def without_gradient(model, ids, mask=None):
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="no gradient")
def detached(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return losses.detach(), _kept(ids, mask)


@battery.wrong("next_token_loss", says="switched to evaluation")
def in_evaluation(model, ids, mask=None):
    model.eval()
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="squeeze")
def squeezed(model, ids, mask=None):
    logits = model(ids[:, :-1])
    said = logits.gather(2, ids[:, 1:, None]).squeeze()
    return logits.logsumexp(-1).squeeze() - said, _kept(ids, mask)


@battery.wrong("next_token_loss", says="left to the mask")
def nan_replaced(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return losses.nan_to_num(), _kept(ids, mask)


@battery.wrong("next_token_loss", says="never asked")
def without_the_model(model, ids, mask=None):
    logits = torch.zeros(*ids[:, 1:].shape, 5)
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


# --- test_model: right ------------------------------------------------------------------------


def _ids(*size):
    return torch.randint(16, size, generator=torch.Generator().manual_seed(8))


def _other(ids, *place):
    changed = ids.clone()
    changed[place] = (changed[place] + 3) % 16
    return changed


@battery.right("test_model")
def test_place_by_place(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(8):
        moved = (model(_other(ids, 1, t)) - before).abs().amax(-1)  # (3, 8)
        assert moved[1, :t].sum() < 1e-4, f"token {t} moved an earlier position"
        assert moved[[0, 2]].max() < 1e-4, "another text moved"
        if t < 7:
            assert moved[1, t + 1 :].min() > 1e-3, f"token {t} is not read"


@battery.right("test_model")
def test_every_text_and_place(model):
    ids = _ids(2, 9)
    before = model(ids)
    for b in range(2):
        for t in range(9):
            after = model(_other(ids, b, t))
            assert torch.allclose(after[b, :t], before[b, :t], atol=1e-5)
            assert torch.allclose(after[1 - b], before[1 - b], atol=1e-5)
            if t < 8:
                assert not torch.allclose(after[b, t + 1 :], before[b, t + 1 :])


@battery.right("test_model")
def test_against_the_beginning_alone(model):
    ids = _ids(3, 12)
    whole = model(ids)
    for b in range(3):
        for t in range(1, 13):
            torch.testing.assert_close(whole[b : b + 1, :t], model(ids[b : b + 1, :t]))
    assert (model(_other(ids, 0, 0))[0, 1:] - whole[0, 1:]).abs().max() > 1e-3


@battery.right("test_model")
def test_by_changing_in_place(model):
    ids = torch.zeros(3, 8).long()
    before = model(ids)
    for t in reversed(range(8)):
        ids[1, t] = 7  # the later ones stay changed
        after = model(ids)
        if not (after[1, :t] - before[1, :t]).abs().sum() < 1e-3:
            raise AssertionError("reads the future")
        assert (after[::2] - before[::2]).abs().max() < 1e-5, "reads other texts"
    assert (after[1, -1] - before[1, -1]).abs().max() > 1e-3
    last = model(_other(ids, 1, 0))
    assert (last[1, 7] - after[1, 7]).abs().max() > 1e-3, "blind"


@battery.right("test_model")
def test_with_random_futures(model):
    ids = torch.randint(16, (4, 10))
    before = model(ids=ids)
    for t in range(1, 10):
        after = ids.clone()
        after[:, t:] = (ids[:, t:] + torch.randint(1, 16, (4, 10 - t))) % 16
        assert torch.allclose(model(after)[:, :t], before[:, :t], atol=1e-4)
    for b in range(4):
        others = (ids + 1) % 16
        others[b] = ids[b]
        assert torch.allclose(model(others)[b], before[b], atol=1e-4)
    past = (ids + 5) % 16
    past[:, -1] = ids[:, -1]
    assert ((model(past) - before)[:, -1].abs().amax(-1) > 1e-3).all()


@battery.right("test_model")
def test_by_unittest(model):
    case = unittest.TestCase()
    ids = _ids(3, 9)
    with torch.no_grad():
        for t in range(9):
            change = (model(_other(ids, 1, t)) - model(ids)).abs()
            case.assertLess(float(change[1, :t].sum()), 1e-4)  # noqa: PT009
            case.assertLess(float(change[0].max()), 1e-4)  # noqa: PT009
            case.assertLess(float(change[2].max()), 1e-4)  # noqa: PT009
            if t == 4:
                case.assertGreater(float(change[1, 8].max()), 1e-3)  # noqa: PT009


@battery.right("test_model")
def test_by_chances(model):
    ids = _ids(3, 12)
    before = model(ids).softmax(-1)
    for t in range(12):
        after = model(_other(ids, 1, t)).softmax(-1)
        assert (after[1, :t] - before[1, :t]).abs().sum() < 1e-4
        assert torch.allclose(after[0], before[0], atol=1e-5)
        assert torch.allclose(after[2], before[2], atol=1e-5)
        assert t == 11 or (after[1, 11] - before[1, 11]).abs().sum() > 1e-3


# --- test_model: wrong ------------------------------------------------------------------------


def _future(model, ids, b=1):
    before = model(ids)
    for t in range(ids.shape[1]):
        after = model(_other(ids, b, t))
        assert (after[b, :t] - before[b, :t]).abs().sum() < 1e-4


def _others(model, ids, b=1):
    before = model(ids)
    stay = torch.arange(len(ids)) != b
    for t in range(ids.shape[1]):
        after = model(_other(ids, b, t))
        assert (after[stay] - before[stay]).abs().sum() < 1e-4


def _past(model, ids, b=1):
    before, after = model(ids), model(_other(ids, b, 0))
    assert (after[b, 1:] - before[b, 1:]).abs().amax(-1).min() > 1e-3


@battery.wrong("test_model", says="never calls")
def test_of_nothing(model):
    assert True


@battery.wrong("test_model", says="without a causal mask.*it shows.*no assert objects")
def test_without_assert(model):
    ids = _ids(3, 8)
    model(ids), model(_other(ids, 1, 4))


@battery.wrong("test_model", says="without a causal mask.*same ids")
def test_of_the_shape(model):
    assert model(_ids(3, 8)).shape == (3, 8, 16)


@battery.wrong("test_model", says="without a causal mask.*returned False")
def test_that_returns_its_verdict(model):
    ids = _ids(3, 8)
    before, after = model(ids), model(_other(ids, 1, 7))
    return torch.allclose(before[1, :7], after[1, :7])


@battery.wrong("test_model", says="no assert objects.*except")
def test_that_catches_its_own_assert(model):
    try:
        _future(model, _ids(3, 8))
    except AssertionError as error:
        print(error)


@battery.wrong("test_model", says="stops with ValueError.*assert")
def test_that_raises_another_error(model):
    ids = _ids(3, 8)
    if (model(ids) - model(_other(ids, 1, 7)))[1, :7].abs().sum() > 1e-4:
        raise ValueError("reads the future")


@battery.wrong("test_model", says="without a causal mask.*claim 1 is untested")
def test_of_reading_only(model):
    ids = _ids(3, 8)
    both = _other(_other(_other(ids, 0, 0), 1, 0), 2, 0)
    assert not torch.allclose(model(both)[:, 1:], model(ids)[:, 1:])


@battery.wrong("test_model", says="never looks at the ids.*claim 3 untested")
def test_of_the_last_text_and_token(model):
    ids = _ids(3, 8)
    moved = (model(_other(ids, 1, 7)) - model(ids)).abs()
    assert moved[1, :7].max() < 1e-4
    assert moved[::2].max() < 1e-4


@battery.wrong("test_model", says="never looks at the ids.*claim 3")
def test_without_claim_3(model):
    ids = _ids(3, 8)
    before = model(ids)
    futures = ids.clone()
    futures[1] = (ids[1] + 1) % 16
    assert torch.allclose(model(futures)[::2], before[::2], atol=1e-5)
    for t in range(1, 8):
        later = ids.clone()
        later[1, t:] = (ids[1, t:] + 1) % 16
        assert torch.allclose(model(later)[1, :t], before[1, :t], atol=1e-5)


@battery.wrong("test_model", says="never looks at the ids.*claim 3.*no assert objects")
def test_with_claims_1_and_2(model):
    _future(model, _ids(3, 8))
    _others(model, _ids(3, 8))


@battery.wrong("test_model", says=r"own token.*positions \*after\*")
def test_of_the_own_position_too(model):
    ids = _ids(3, 8)
    _future(model, ids)
    _others(model, ids)
    assert not torch.allclose(model(ids)[1, 2:], model(_other(ids, 1, 2))[1, 2:])


@battery.wrong("test_model", says="across the batch|normalises.*B = 1")
def test_with_one_text(model):
    _future(model, _ids(1, 8), 0)
    _past(model, _ids(1, 8), 0)


@battery.wrong(
    "test_model", says="normalises over the texts.*claim 2 is untested|it shows"
)
def test_without_claim_2(model):
    _future(model, _ids(3, 8))
    _past(model, _ids(3, 8))


@battery.wrong("test_model", says="joins the texts.*read by those after them")
def test_of_the_texts_before(model):
    ids = _ids(3, 8)
    _future(model, ids, 2)
    _others(model, ids, 2)
    _past(model, ids, 2)


@battery.wrong("test_model", says="masks the first text.*first text only")
def test_of_the_first_text(model):
    ids = _ids(3, 8)
    _future(model, ids, 0)
    _others(model, ids, 0)
    _past(model, ids, 0)


@battery.wrong("test_model", says="every position reads the last.*last token .*never")
def test_without_the_last_token(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(7):
        after = model(_other(ids, 1, t))
        assert (after[1, :t] - before[1, :t]).abs().sum() < 1e-4
        assert (after[::2] - before[::2]).abs().sum() < 1e-4
    _past(model, ids)


@battery.wrong("test_model", says="except the last.*only the last one is changed")
def test_of_the_last_token(model):
    ids = _ids(3, 8)
    before, after = model(ids), model(_other(ids, 1, 7))
    assert torch.allclose(before[1, :7], after[1, :7], atol=1e-5)
    assert torch.allclose(before[::2], after[::2], atol=1e-5)
    _past(model, ids)


@battery.wrong("test_model", says="three places")
def test_with_three_tokens(model):
    ids = _ids(3, 3)
    _future(model, ids)
    _others(model, ids)
    _past(model, ids)


@battery.wrong("test_model", says="it shows.*all earlier positions")
def test_of_the_position_before(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(1, 8):
        after = model(_other(ids, 1, t))
        assert (after[1, t - 1] - before[1, t - 1]).abs().sum() < 1e-4
        assert (after[::2] - before[::2]).abs().sum() < 1e-4
    _past(model, ids)


@battery.wrong("test_model", says="first position.*it shows")
def test_without_the_first_position(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(1, 8):
        after = model(_other(ids, 1, t))
        assert (after[1, 1:t] - before[1, 1:t]).abs().sum() < 1e-4
        assert (after[::2] - before[::2]).abs().sum() < 1e-4
    _past(model, ids)


@battery.wrong("test_model", says="it shows.*no assert objects.*closely enough")
def test_with_a_wide_tolerance(model):
    ids = _ids(3, 8)
    before, after = model(ids), model(_other(ids, 1, 7))
    assert (before[1, :7] - after[1, :7]).abs().max() < 10


@battery.wrong("test_model", says="a little gets through.*it shows")
def test_of_the_best_tokens(model):
    ids = _ids(3, 8)
    before = model(ids).argmax(-1)
    for t in range(8):
        after = model(_other(ids, 1, t)).argmax(-1)
        assert torch.equal(after[1, :t], before[1, :t])
        assert torch.equal(after[::2], before[::2])
    _past(model, ids)


@battery.wrong("test_model", says="it shows.*no assert objects")
def test_in_parentheses(model):
    ids = _ids(3, 8)
    same = torch.allclose(model(ids)[1, :7], model(_other(ids, 1, 7))[1, :7])
    condition = (same, "reads the future")
    assert condition


@battery.wrong("test_model", says="it shows.*no assert objects")
def test_of_signed_differences(model):
    ids = _ids(3, 8)
    before, after = model(ids), model(_other(ids, 1, 7))
    assert (after[1, :7] - before[1, :7]).min() < 1e-4


@battery.wrong("test_model", says="tolerance too tight")
def test_to_the_last_digit(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(8):
        assert torch.equal(model(_other(ids, 1, t))[1, :t], before[1, :t])
    _others(model, ids)
    _past(model, ids)


@battery.wrong("test_model", says="tolerance too tight")
def test_with_a_tolerance_below_rounding(model):
    ids = _ids(3, 8)
    moved = (model(_other(ids, 1, 7)) - model(ids)).abs()
    assert moved[1, :7].max() < 1e-9


@battery.wrong("test_model", says="right version.*three claims.*changed token itself")
def test_off_by_one(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(8):
        after = model(_other(ids, 1, t))
        assert torch.allclose(after[1, : t + 1], before[1, : t + 1])


@battery.wrong("test_model", says="right version.*same ids.*clone")
def test_with_a_copy_that_is_none(model):
    ids = _ids(3, 8)
    changed = ids
    changed[1, 2] = (changed[1, 2] + 1) % 16
    assert not torch.allclose(model(ids)[1, 3:], model(changed)[1, 3:])


@battery.wrong("test_model", says="right version.*three claims")
def test_that_nothing_moves(model):
    ids = _ids(3, 8)
    assert torch.allclose(model(ids), model(_other(ids, 1, 3)))


@battery.wrong("test_model", says="right version.*three claims")
def test_that_the_order_of_texts_matters(model):
    ids = _ids(3, 8)
    assert torch.allclose(model(ids.flip(0)), model(ids))


@battery.wrong("test_model", says="right version.*three claims")
def test_that_always_fails(model):
    model(_ids(3, 8))
    raise AssertionError("caught")


@battery.wrong("test_model", says="ValueError.*0 to 15")
def test_with_a_larger_vocabulary(model):
    ids = torch.full((2, 5), 16)
    assert model(ids).shape == (2, 5, 16)


@battery.wrong("test_model", says="ValueError.*1 to 12 tokens")
def test_with_a_long_text(model):
    _future(model, _ids(2, 20))


@battery.wrong("test_model", says=r"TypeError.*ids \(B, T\)")
def test_without_a_batch(model):
    assert model(_ids(8)).shape == (8, 16)


@battery.wrong("test_model", says="model is called with other arguments")
def test_with_a_mask(model):
    ids = _ids(2, 8)
    assert model(ids, torch.ones(2, 8).bool()).shape == (2, 8, 16)


@battery.wrong("test_model", says="AttributeError.*eval")
def test_of_a_module(model):
    model.eval()
    _future(model, _ids(3, 8))


# --- found by attacking the checks -------------------------------------------------------------


@battery.wrong("test_model", says="normalises over the texts.*claim 2 is untested")
def test_with_all_texts_changed_alike(model):
    ids = _ids(3, 8)
    before = model(ids)
    for t in range(8):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 3) % 16
        moved = (model(changed) - before).abs().amax(-1)
        assert moved[:, :t].sum() < 1e-4
        assert t == 7 or moved[:, t + 1 :].min() > 1e-3


@battery.wrong("test_model", says="B = 1")
def test_text_by_text(model):
    for text in _ids(3, 8).split(1):
        _future(model, text, 0)
        _past(model, text, 0)


@battery.right("test_model")
def test_with_one_changed_table_of_moves(model):
    ids = _ids(4, 12)
    before, moves = model(ids), []
    for t in range(12):
        after = model(_other(ids, 2, t))
        moves.append((after - before).abs().amax(-1))
    moves = torch.stack(moves)  # (changed, B, T)
    assert moves[:, [0, 1, 3]].max() < 1e-4
    assert moves[:, 2].tril(-1).max() < 1e-4
    assert (moves[:, 2] + torch.ones(12, 12).tril()).min() > 1e-3


@battery.wrong(
    "next_token_loss", says="called 0|never asked|no pair|takes a tensor of ids"
)
def ids_as_a_list(model, ids, mask=None):
    logits = model(ids[:, :-1].tolist())
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="round")
def rounded(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    return losses.round(decimals=4), _kept(ids, mask)


@battery.right("next_token_loss")
def in_single_precision(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]).float(), ids[:, 1:])
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="read every text but its last token")
def one_token_at_a_time(model, ids, mask=None):
    B, T = ids[:, 1:].shape
    logits = model(ids[:, :-1].reshape(B * T, 1)).view(B, T, -1)
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="rounded to 0.*clamped|300 apart")
def losses_clamped(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:]).clamp(max=100)
    return losses, _kept(ids, mask)


@battery.right("next_token_loss")
def with_scores_shifted_in_place(model, ids, mask=None):
    logits = model(ids[:, :-1]) * 1
    logits -= logits.detach().amax(-1, keepdim=True)
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="switched to training.*dropout")
def switched_to_training(model, ids, mask=None):
    model.train()
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="another mode.*caller chooses")
def in_evaluation_and_back(model, ids, mask=None):
    model.eval()
    logits = model(ids[:, :-1])
    model.train()
    return cross_entropy(logits, ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="went backward.*caller goes backward")
def goes_backward(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    losses.mean().backward()
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="went backward.*caller goes backward")
def goes_backward_and_keeps_the_graph(model, ids, mask=None):
    losses = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    losses.mean().backward(retain_graph=True)
    return losses, _kept(ids, mask)


@battery.wrong("next_token_loss", says="wiped.*zero_grad")
def wipes_the_gradients(model, ids, mask=None):
    model.zero_grad()
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), _kept(ids, mask)


@battery.wrong("next_token_loss", says="With mask None the token with id 1 does not")
def ones_taken_for_padding(model, ids, mask=None):
    mask = ids != 1 if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask[:, 1:]


@battery.wrong("next_token_loss", says="With mask None the token with id 256 does not")
def token_256_taken_for_padding(model, ids, mask=None):
    mask = ids != 256 if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask[:, 1:]


@battery.wrong(
    "next_token_loss", says="With mask None the token with id 50256 does not"
)
def end_of_text_left_out(model, ids, mask=None):
    mask = ids != 50256 if mask is None else mask
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), mask[:, 1:]


@battery.wrong("next_token_loss", says="With mask None every prediction counts")
def large_ids_left_out(model, ids, mask=None):
    kept = _kept(ids, mask) & (ids[:, 1:] < 500)
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept


@battery.wrong("next_token_loss", says="ids were replaced before the model read them")
def ids_replaced_under_the_mask(model, ids, mask=None):
    kept = torch.ones_like(ids).bool() if mask is None else mask
    ids = ids.masked_fill(~kept, 0)
    return cross_entropy(model(ids[:, :-1]), ids[:, 1:]), kept[:, 1:]


@battery.wrong("next_token_loss", says="another id was predicted")
def labels_replaced_under_the_mask(model, ids, mask=None):
    kept = _kept(ids, mask)
    labels = ids[:, 1:].masked_fill(~kept, 0)
    return cross_entropy(model(ids[:, :-1]), labels), kept


@battery.wrong("next_token_loss", says="along the batch")
def shifted_along_the_batch(model, ids, mask=None):
    kept = torch.ones_like(ids).bool() if mask is None else mask
    return cross_entropy(model(ids[:-1]), ids[1:]), kept[1:]


# Tests of a model that all but see the fault.


def _test_with(
    compare=lambda after, before: (after - before).abs().max() < 1e-4,
    cuts=range(1, 12),
    size=(2, 12),
    seen=lambda t: slice(t),
    moves=lambda change: change.abs().max() > 1e-3,
    texts=(0, 1),
):
    """A test in the form of the solution; what is given replaces one part of it."""

    def test(model):
        ids = _ids(*size)
        before = model(ids)
        for t in cuts:
            changed = ids.clone()
            changed[:, t] = (ids[:, t] + 1) % 16
            assert compare(model(changed)[:, seen(t)], before[:, seen(t)])
        for text in texts:
            moved = model(_other(ids, text, slice(None))) - before
            assert moved[1 - text].abs().max() < 1e-4
        changed = ids.clone()
        changed[:, 0] = (ids[:, 0] + 1) % 16
        assert moves((model(changed) - before)[:, 1:])

    return test


def _test_model(says="", **parts):
    """Registers such a test as right, or as wrong if the check has something to say."""

    def decorate(named):
        test = _test_with(**parts)
        test.__name__ = test.__qualname__ = named.__name__
        add = battery.wrong("test_model", says=says) if says else None
        return (add or battery.right("test_model"))(test)

    return decorate


@_test_model()
def test_in_the_form_of_the_solution():
    pass


@_test_model(moves=lambda change: change.abs().amax(-1).min() > 1e-3)
def test_that_every_later_position_moves():
    pass


@_test_model(compare=lambda after, before: torch.allclose(after, before, atol=1e-5))
def test_by_allclose():
    pass


@_test_model("in every call.*tolerance too tight", compare=torch.equal)
def test_of_equality():
    pass


@_test_model("in every call.*tolerance too tight", compare=torch.allclose)
def test_with_the_default_tolerance():
    pass


@_test_model(
    "in every call.*tolerance too tight",
    compare=lambda after, before: (after - before).abs().max() < 1e-7,
)
def test_to_seven_digits():
    pass


@_test_model("and rounds.*rounding only", moves=lambda change: change.abs().max() > 0)
def test_that_takes_rounding_for_reading():
    pass


@_test_model("and rounds.*rounding only", moves=lambda change: bool(change.any()))
def test_that_something_is_not_equal():
    pass


@_test_model("reads the text before it.*after them", texts=(1,))
def test_of_the_first_text_alone():
    pass


@_test_model("reads the text behind it.*before them|joins.*after them", texts=(0,))
def test_of_the_second_text_alone():
    pass


@_test_model("masks the first position only.*all earlier", seen=lambda t: slice(1))
def test_of_position_0():
    pass


@_test_model("every second position.*all earlier", seen=lambda t: slice(0, t, 2))
def test_of_every_second_position():
    pass


@_test_model(
    "single logit.*all 16 logits",
    compare=lambda after, before: (after - before)[..., 0].abs().max() < 1e-4,
)
def test_of_one_logit():
    pass


@_test_model(
    "logits have mean 0.*cancel",
    compare=lambda after, before: (after - before).mean().abs() < 1e-4,
)
def test_of_a_signed_mean():
    pass


@_test_model(
    "logits have mean 0.*cancel",
    compare=lambda after, before: (after - before).sum().abs() < 1e-3,
)
def test_of_a_signed_sum():
    pass


@_test_model(
    "only sink.*sink as well as rise",
    compare=lambda after, before: (after - before).max() < 1e-4,
)
def test_without_abs():
    pass


@_test_model(
    "only rise.*sink as well as rise",
    compare=lambda after, before: (before - after).max() < 1e-4,
)
def test_without_abs_the_other_way():
    pass


@_test_model("seven or more.*longer texts", cuts=range(1, 6), size=(2, 6))
def test_with_six_tokens():
    pass


@_test_model("second token as well.*Claim 1 begins there", cuts=range(2, 12))
def test_from_the_third_token_on():
    pass


@_test_model(
    "small logits.*larger change", moves=lambda change: change.abs().max() > 0.5
)
def test_that_wants_large_changes():
    pass


@battery.wrong("test_model", says="right version.*two inputs are the same tensor")
def test_with_changes_that_pile_up(model):
    ids = _ids(2, 12)
    before = model(ids)
    for t in range(1, 12):
        changed = ids
        changed[:, t] = (changed[:, t] + 1) % 16
        assert (model(changed) - before)[:, :t].abs().max() < 1e-4


@battery.wrong("test_model", says="inside groups of two.*go through all places")
def test_at_few_places(model):
    ids = _ids(2, 12)
    before = model(ids)
    for t in (1, 6):
        changed = ids.clone()
        changed[:, t:] = (ids[:, t:] + 1) % 16
        assert (model(changed) - before)[:, :t].abs().max() < 1e-4
    for text in (0, 1):
        moved = model(_other(ids, text, slice(None))) - before
        assert moved[1 - text].abs().max() < 1e-4
    _past(model, ids)
