"""Answers to lesson 07: the log-probabilities of a response; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch
from torch.nn import functional

from course_lib.logprobs import token_logprobs
from course_lib.training import cross_entropy
from tools.graders import Battery

battery = Battery()


# --- response_logprobs: right -----------------------------------------------------------------


@battery.right("response_logprobs")
def with_token_logprobs(logits, ids, start):
    return token_logprobs(logits[:, start - 1 : -1], ids[:, start:])


@battery.right("response_logprobs")
def gathered(logits, ids, start):
    logs = logits.log_softmax(dim=-1)[:, :-1]
    said = logs.gather(2, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return said[:, start - 1 :]


@battery.right("response_logprobs")
def as_cross_entropy(logits, ids, start):
    read = logits[:, start - 1 : -1].transpose(1, 2)
    return -functional.cross_entropy(read, ids[:, start:], reduction="none")


@battery.right("response_logprobs")
def as_the_courses_cross_entropy(logits, ids, start):
    return -cross_entropy(logits[:, start - 1 : -1], ids[:, start:])


@battery.right("response_logprobs")
def position_by_position(logits, ids, start):
    columns = []
    for t in range(start, ids.shape[1]):
        row = logits[:, t - 1].log_softmax(-1)
        columns.append(row[torch.arange(len(ids)), ids[:, t]])
    return torch.stack(columns, dim=1)


@battery.right("response_logprobs")
def token_by_token(logits, ids, start):
    rows = []
    for scores, said in zip(logits, ids.tolist(), strict=True):
        numbers = [
            scores[t - 1, said[t]] - torch.logsumexp(scores[t - 1], 0)
            for t in range(start, len(said))
        ]
        rows.append(torch.stack(numbers))
    return torch.stack(rows)


@battery.right("response_logprobs")
def with_three_indices(logits, ids, start):
    B, T = ids.shape
    logs = logits - logits.logsumexp(-1, keepdim=True)
    batch, places = torch.arange(B)[:, None], torch.arange(start - 1, T - 1)
    return logs[batch, places, ids[:, start:]]


@battery.right("response_logprobs")
def as_a_distribution(logits, ids, start):
    read = torch.distributions.Categorical(logits=logits[:, start - 1 : -1])
    return read.log_prob(ids[:, start:])


@battery.right("response_logprobs")
def with_one_hot(logits, ids, start):
    chosen = functional.one_hot(ids[:, start:], logits.shape[-1]).to(logits.dtype)
    return (logits[:, start - 1 : -1].log_softmax(-1) * chosen).sum(-1)


@battery.right("response_logprobs")
def gathered_from_one_row_more(logits, ids, start):
    logs = logits[:, start - 1 :].log_softmax(
        -1
    )  # gather reads no further than its ids
    return logs.gather(2, ids[:, start:, None])[..., 0]


# --- response_logprobs: wrong -----------------------------------------------------------------


def _said(name, says, find):
    """find(x, ids, s, n): logits, ids, start, and the length of the responses."""

    def answer(logits, ids, start):
        return find(logits, ids, start, ids.shape[1] - start)

    answer.__name__ = name
    battery.wrong("response_logprobs", says=says)(answer)


def _look(x, ids):
    return x.log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def _right(x, ids, s):
    return _look(x[:, s - 1 : -1], ids[:, s:])


# the shift, and where the response begins
_said("not_shifted", "Nothing is shifted", lambda x, i, s, n: _look(x[:, s:], i[:, s:]))
_said("not_shifted_either", "Nothing is shifted|one too many|should be", lambda x, i, s, n: _look(x[:, s - 1 : -1], i[:, s - 1 : -1]))  # fmt: skip
_said("everything_unshifted", "for the tokens of the prompt", lambda x, i, s, n: _look(x, i))  # fmt: skip
_said("from_position_0", "from position 0", lambda x, i, s, n: _look(x[:, :n], i[:, s:]))  # fmt: skip
_said("from_position_1", "from position 0", lambda x, i, s, n: _look(x[:, 1 : n + 1], i[:, s:]))  # fmt: skip
_said("published", "n x n|from position 0|wanted", lambda x, i, s, n: x.log_softmax(-1)[0, :n, i[0, s:]])  # fmt: skip
_said("published_mean", "whole batch", lambda x, i, s, n: x.log_softmax(-1)[0, :n, i[0, s:]].mean())  # fmt: skip
_said("published_per_response", "for each response", lambda x, i, s, n: torch.stack([x.log_softmax(-1)[b, :n, i[b, s:]].mean() for b in range(len(i))]))  # fmt: skip
_said("every_position_meets_every_token", "n x n", lambda x, i, s, n: torch.stack([x[b, s - 1 : -1].log_softmax(-1)[:, i[b, s:]] for b in range(len(i))]))  # fmt: skip
_said("indexed_all_with_all", "n x n|stopped with|wanted", lambda x, i, s, n: x.log_softmax(-1)[:, s - 1 : -1, i[:, s:]])  # fmt: skip
_said("diagonal_of_the_first", "one response|That is", lambda x, i, s, n: x[0, s - 1 : -1].log_softmax(-1)[torch.arange(n), i[0, s:]])  # fmt: skip
_said("ids_of_the_prompt", "tokens of the prompt|as the prompt", lambda x, i, s, n: _look(x[:, s - 1 : s - 1 + min(n, s)], i[:, : min(n, s)]))  # fmt: skip
_said("prompt_for_response", "has tokens|prompt", lambda x, i, s, n: _look(x[:, :s], i[:, :s]))  # fmt: skip
_said("shifted_back", "wrong way|too few", lambda x, i, s, n: _look(x[:, s + 1 :], i[:, s:-1]))  # fmt: skip
_said("rolled_the_wrong_way", "wrong way", lambda x, i, s, n: _look(x.roll(-1, 1)[:, s:], i[:, s:]))  # fmt: skip
_said("shifted_twice", "shifted twice|too few", lambda x, i, s, n: _look(x.roll(2, 1)[:, s:], i[:, s:]))  # fmt: skip
_said("next_but_one", "shifted twice|should be", lambda x, i, s, n: _look(x[:, s - 1 : -1], i.roll(-1, 1)[:, s:]))  # fmt: skip
_said("first_token_lost", "too few", lambda x, i, s, n: _look(x[:, s:-1], i[:, s + 1 :]))  # fmt: skip
_said("last_token_lost", "too few", lambda x, i, s, n: _look(x[:, s - 1 : -2], i[:, s:-1]))  # fmt: skip
_said("one_token_of_the_prompt", "one too many|should be|Nothing", lambda x, i, s, n: _look(x[:, max(s - 2, 0) : -1], i[:, max(s - 1, 1) :]))  # fmt: skip
_said("last_position_included", "stopped with", lambda x, i, s, n: token_logprobs(x[:, s - 1 :], i[:, s:]))  # fmt: skip
_said("whole_text_shifted", "prompt's tokens are among|wanted", lambda x, i, s, n: _look(x[:, :-1], i[:, 1:]))  # fmt: skip
_said("start_from_the_end", "should be|wanted|from position|Nothing|tokens of the prompt", lambda x, i, s, n: _look(x[:, -s - 1 : -1], i[:, -s:]))  # fmt: skip
_said("filled_with_0", "filler", lambda x, i, s, n: functional.pad(_look(x[:, s:-1], i[:, s + 1 :]), (1, 0)))  # fmt: skip
_said("filled_at_the_end", "filler|shifted|should be", lambda x, i, s, n: functional.pad(_right(x, i, s)[:, :-1], (0, 1)))  # fmt: skip
_said("from_1_always", "tokens of the prompt", lambda x, i, s, n: _look(x[:, :n], i[:, 1 : n + 1]))  # fmt: skip

# the wrong quantity
_said("raw_scores", "raw scores", lambda x, i, s, n: x[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("probabilities", "Those are probabilities", lambda x, i, s, n: _right(x, i, s).exp())  # fmt: skip
_said("losses", "sign is turned", lambda x, i, s, n: -_right(x, i, s))
_said("in_bits", "in bits", lambda x, i, s, n: _right(x, i, s) / math.log(2))
_said("softmax_twice", "softmax is taken twice", lambda x, i, s, n: _right(x.softmax(-1), i, s))  # fmt: skip
_said("log_softmax_twice_is_right_but_log_of_softmax_is_not", "too small for a float", lambda x, i, s, n: x.softmax(-1).log()[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("log_with_a_constant", "hold the logarithm back|first digits", lambda x, i, s, n: (x.softmax(-1) + 1e-9).log()[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("log_of_clamped", "hold the logarithm back", lambda x, i, s, n: x.softmax(-1).clamp(min=1e-12).log()[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("own_exponentials", "too small for a float|lies", lambda x, i, s, n: (x.exp() / x.exp().sum(-1, keepdim=True)).log()[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("log_of_the_sum", "too small for a float|lies", lambda x, i, s, n: (x - x.exp().sum(-1, keepdim=True).log())[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("clamped_below", "hold the logarithm back", lambda x, i, s, n: _right(x, i, s).clamp(min=-30))  # fmt: skip
_said("nan_to_num", "hold|lies|should", lambda x, i, s, n: x.softmax(-1).log().nan_to_num(neginf=-100.0)[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("categorical_of_probs", "hold the logarithm back|too small", lambda x, i, s, n: torch.distributions.Categorical(probs=x[:, s - 1 : -1].softmax(-1)).log_prob(i[:, s:]))  # fmt: skip
_said("over_positions", "over positions", lambda x, i, s, n: x.log_softmax(1)[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("over_texts", "over positions|or over texts", lambda x, i, s, n: x.log_softmax(0)[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("likeliest", "likeliest", lambda x, i, s, n: x[:, s - 1 : -1].log_softmax(-1).amax(-1))  # fmt: skip
_said("entropy", "how undecided", lambda x, i, s, n: torch.distributions.Categorical(logits=x[:, s - 1 : -1]).entropy())  # fmt: skip
_said("normaliser_alone", "how undecided", lambda x, i, s, n: -x[:, s - 1 : -1].logsumexp(-1))  # fmt: skip
_said("mean_over_the_vocabulary", "how undecided", lambda x, i, s, n: x[:, s - 1 : -1].log_softmax(-1).mean(-1))  # fmt: skip

# shapes and rows
_said("mean_of_tokens", "for each response", lambda x, i, s, n: _right(x, i, s).mean(1))
_said("sum_of_tokens", "for each response", lambda x, i, s, n: _right(x, i, s).sum(1))
_said("mean_of_all", "whole batch", lambda x, i, s, n: _right(x, i, s).mean())
_said("first_text", "one response", lambda x, i, s, n: _right(x, i, s)[0])
_said("first_text_kept", "one response|That is", lambda x, i, s, n: _right(x, i, s)[:1])
_said("first_text_for_all", "answered by the first", lambda x, i, s, n: _right(x, i, s)[:1].expand(len(i), n))  # fmt: skip
_said("scores_of_the_first", "answered by the first", lambda x, i, s, n: _right(x[:1].expand_as(x), i, s))  # fmt: skip
_said("tokens_of_the_first", "answered by the first", lambda x, i, s, n: _right(x, i[:1].expand_as(i), s))  # fmt: skip
_said("one_row", "one long row", lambda x, i, s, n: _right(x, i, s).flatten())
_said("dimension_stays", "size 1", lambda x, i, s, n: _right(x, i, s)[..., None])
_said("squeezed", "one response|That is|wanted", lambda x, i, s, n: _right(x, i, s).squeeze())  # fmt: skip
_said("whole_vocabulary", "every token of the vocabulary", lambda x, i, s, n: x.log_softmax(-1)[:, s - 1 : -1])  # fmt: skip
_said("mean_for_all", "same mean or sum", lambda x, i, s, n: _right(x, i, s).mean(1, keepdim=True).expand(-1, n))  # fmt: skip
_said("added_up", "add up along", lambda x, i, s, n: _right(x, i, s).cumsum(1))
_said("divided_by_length", "divided by a count", lambda x, i, s, n: _right(x, i, s) / n)
_said("reshaped", "stopped with|mixed|should be", lambda x, i, s, n: -functional.cross_entropy(x[:, s - 1 : -1].reshape(len(i), x.shape[-1], n), i[:, s:], reduction="none"))  # fmt: skip
_said("not_transposed", "stopped with", lambda x, i, s, n: -functional.cross_entropy(x[:, s - 1 : -1], i[:, s:], reduction="none"))  # fmt: skip
_said("swapped", "changed places", lambda x, i, s, n: _right(x, i, s).T)
_said("as_a_list", "returned a list", lambda x, i, s, n: _right(x, i, s).tolist())
_said(
    "as_a_number", "returned a float", lambda x, i, s, n: _right(x, i, s).sum().item()
)
_said("in_numpy", "returned a ndarray|NumPy", lambda x, i, s, n: np.array(_right(x, i, s).tolist()))  # fmt: skip
_said("with_ids", "returned a tuple", lambda x, i, s, n: (_right(x, i, s), i[:, s:]))
_said("viewed", "not lie in one piece|view|stopped with", lambda x, i, s, n: _right(x, i, s).view(-1).view(len(i), n) + 0 * x[:, s - 1 : -1].view(-1)[0])  # fmt: skip
_said("mask_like", "filler|should be", lambda x, i, s, n: _right(x, i, s) * (i[:, s:] != 0))  # fmt: skip
_said("rows_turned", "mixed|should be", lambda x, i, s, n: _right(x, i, s).flip(0))
_said("tokens_turned", "mixed|should be", lambda x, i, s, n: _right(x, i, s).flip(1))

# types and gradients
_said("detached", "no gradient", lambda x, i, s, n: _right(x, i, s).detach())
_said("a_new_tensor", "no gradient", lambda x, i, s, n: torch.tensor(_right(x, i, s).tolist(), dtype=x.dtype))  # fmt: skip
_said("normaliser_detached", "gradient of the logits is not", lambda x, i, s, n: (x - x.logsumexp(-1, keepdim=True).detach())[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("in_single", "torch.float64", lambda x, i, s, n: _right(x.float(), i, s))
_said("in_half", "first digits|type|should be|lies", lambda x, i, s, n: _right(x.bfloat16(), i, s).to(x.dtype))  # fmt: skip
_said("rounded", "first digits|should be", lambda x, i, s, n: (_right(x, i, s) * 1000).round() / 1000)  # fmt: skip
_said("normalised_by_the_largest", "should be", lambda x, i, s, n: (x - x.amax(-1, keepdim=True))[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("log_of_scores", "should be|lies|first digits", lambda x, i, s, n: x.abs().log()[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("log_sigmoid", "should be", lambda x, i, s, n: functional.logsigmoid(x)[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("with_label_smoothing", "should be|first digits", lambda x, i, s, n: -functional.cross_entropy(x[:, s - 1 : -1].transpose(1, 2), i[:, s:], reduction="none", label_smoothing=0.1))  # fmt: skip
_said("zero_is_padding", "should be|filler", lambda x, i, s, n: -functional.cross_entropy(x[:, s - 1 : -1].transpose(1, 2), i[:, s:], reduction="none", ignore_index=0))  # fmt: skip
_said("id_one_too_many", "should be", lambda x, i, s, n: _right(x, (i + 1) % x.shape[-1], s))  # fmt: skip
_said("id_one_too_few", "should be", lambda x, i, s, n: _right(x, (i - 1) % x.shape[-1], s))  # fmt: skip
_said("relative_to_the_mean", "should be", lambda x, i, s, n: (x - x.mean(-1, keepdim=True))[:, s - 1 : -1].gather(2, i[:, s:, None])[..., 0])  # fmt: skip
_said("at_temperature_two", "should be", lambda x, i, s, n: _right(x / 2, i, s))  # fmt: skip
_said("half_of_the_text", "wanted", lambda x, i, s, n: _right(x, i, i.shape[1] // 2))  # fmt: skip
_said("batch_against_time", "stopped with|wanted|should be", lambda x, i, s, n: _right(x.transpose(0, 1), i.T, min(s, 1)))  # fmt: skip
_said("sum_kept", "for each response", lambda x, i, s, n: _right(x, i, s).sum(1, keepdim=True))  # fmt: skip


@battery.wrong("response_logprobs", says="no gradient")
def under_no_grad(logits, ids, start):
    with torch.no_grad():
        return _right(logits, ids, start)


@battery.wrong("response_logprobs", says="changed its own input")
def shifted_in_place(logits, ids, start):
    found = _right(logits, ids, start)
    ids[:, :-1] = ids[:, 1:].clone()
    return found


@battery.wrong("response_logprobs", says="changed its own input|stopped with")
def normalised_in_place(logits, ids, start):
    logits -= logits.logsumexp(-1, keepdim=True)
    return logits[:, start - 1 : -1].gather(2, ids[:, start:, None])[..., 0]


@battery.wrong("response_logprobs", says="should be")
def knows_nothing(logits, ids, start):
    return 0 * logits[:, start:, 0] - math.log(logits.shape[-1])


@battery.wrong("response_logprobs", says="tokens of the prompt")
def start_is_one(logits, ids, start):
    return _right(logits, ids, 1)[:, : ids.shape[1] - start]


@battery.wrong("response_logprobs", says="stopped with|unexpected|positional")
def without_a_start(logits, ids):
    return _right(logits, ids, 1)
