"""How likely whole answers are: sums on paper, padding, the slow loop, and epochs of pairs."""

import math

import pytest
import torch
from torch.nn.functional import pad

from course_lib import pretrained
from course_lib.dpo.sequences import (
    answer_batches,
    answer_logprobs,
    collate_answers,
    longest,
    pair_logprobs,
    reference_logprobs,
    sequence_logprobs,
)
from course_lib.reward.pairs import PairIds, collate_pairs
from tests.tiny import V, transformer

PAIRS = [  # of V = 7 tokens; 1 ends an answer, 0 fills up
    PairIds([2, 3], [6, 5], [4]),
    PairIds([2, 6, 3], [5], [6, 4, 4]),
    PairIds([2, 3], [5, 5, 5], [6, 4]),
]


def alone(model, prompt, answer):
    """The slow loop: one text, one token after the other, no batch and no mask."""
    total, read = 0.0, list(prompt)
    for token in [*answer, 1]:
        total += model(torch.tensor([read]))[0, -1].log_softmax(-1)[token].item()
        read.append(token)
    return total


def test_a_sum_on_paper():
    chances = torch.tensor([[[0.1, 0.9], [0.75, 0.25], [0.5, 0.5]]])
    ids, mask = torch.tensor([[0, 1, 0]]), torch.tensor([[False, True, True]])
    # position 0 predicts the 1 with 0.9, position 1 predicts the 0 with 0.75
    found = sequence_logprobs(chances.log(), ids, mask)
    torch.testing.assert_close(found, torch.tensor([math.log(0.9 * 0.75)]))
    mean = sequence_logprobs(chances.log(), ids, mask, average=True)
    torch.testing.assert_close(mean, found / 2)
    last = torch.tensor([[False, False, True]])
    only = sequence_logprobs(chances.log(), ids, last)
    torch.testing.assert_close(only, torch.tensor([math.log(0.75)]))


def test_both_ways_and_a_slow_loop_agree_on_every_answer():
    model = transformer()
    ids, mask = collate_answers(PAIRS, end=1, pad=0)
    with torch.no_grad():
        fast = pair_logprobs(model, ids, mask)
        plain = pair_logprobs(
            model, ids, mask, lambda m, ids, mask: sequence_logprobs(m(ids), ids, mask)
        )
        slow = [
            [alone(model, pair.prompt, answer) for answer in (pair.chosen, pair.rejected)]
            for pair in PAIRS
        ]  # fmt: skip
    torch.testing.assert_close(fast, torch.tensor(slow), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_gradients_of_both_ways_agree():
    ids, mask = collate_answers(PAIRS, end=1, pad=0)
    found = []
    for logprobs_fn in (
        answer_logprobs, lambda m, ids, mask: sequence_logprobs(m(ids), ids, mask)
    ):  # fmt: skip
        model = transformer()
        pair_logprobs(model, ids, mask, logprobs_fn).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_neither_padding_nor_what_stands_in_it_changes_a_sum():
    model = transformer()
    ids, mask = (each.flatten(0, 1) for each in collate_answers(PAIRS, 1, 0))
    wide = pad(ids, (0, 4), value=5)
    with torch.no_grad():
        short = answer_logprobs(model, ids, mask)
        padded = answer_logprobs(model, wide, pad(mask, (0, 4), value=False))
    torch.testing.assert_close(short, padded, rtol=1e-5, atol=1e-6)


def test_the_prompts_own_tokens_do_not_count():
    logits = torch.randn(1, 6, V, generator=torch.Generator().manual_seed(0))
    ids, mask = torch.randint(V, (1, 6)), torch.arange(6)[None] >= 4
    before = sequence_logprobs(logits, ids, mask)
    logits[:, :3] += torch.randn(3, V) * 9  # what predicts positions 1 to 3
    assert sequence_logprobs(logits, ids, mask).equal(before)


def test_an_answer_of_its_end_alone_counts_one_token():
    model = transformer()
    ids, mask = collate_answers([PairIds([2, 3], [6], [5, 5])], end=1, pad=0)
    mask[0, 0, 2] = False  # all but the end
    with torch.no_grad():
        found = pair_logprobs(model, ids, mask)[0, 0]
        wanted = model(ids[0, :1])[0, 2].log_softmax(-1)[1]
    torch.testing.assert_close(found, wanted)


def test_every_answer_keeps_its_end_even_if_padding_is_the_same_token():
    ids, mask = collate_answers(PAIRS, end=1, pad=1)
    lengths = [[len(p.chosen) + 1, len(p.rejected) + 1] for p in PAIRS]
    assert mask.sum(dim=-1).tolist() == lengths
    real_ids, real = collate_pairs(PAIRS, end=1, pad=1)
    assert ids.equal(real_ids)
    assert (mask & ~real).sum() == 0


def test_the_reference_is_asked_once_in_any_order_and_left_as_it_was():
    reference = transformer().train()
    many = PAIRS * 50  # several batches of similar lengths
    known = reference_logprobs(reference, many, end=1, pad=0)
    assert reference.training
    assert not known.requires_grad
    with torch.no_grad():
        wanted = pair_logprobs(reference.eval(), *collate_answers(PAIRS, 1, 0))
    torch.testing.assert_close(known, wanted.repeat(50, 1), rtol=1e-5, atol=1e-5)


def test_a_reference_that_says_no_number_is_refused():
    broken = transformer()
    with torch.no_grad():
        broken.embed.weight[6] = torch.nan
    with pytest.raises(ValueError, match="reference log-probability at place 0 is nan"):
        reference_logprobs(broken, PAIRS, end=1, pad=0)


def test_a_batch_holds_the_references_numbers_of_its_own_pairs():
    many = [PairIds([2, 3], [5] * (1 + i % 4), [6] * (1 + i // 4)) for i in range(12)]
    known = torch.arange(24.0).view(12, 2)
    batches = answer_batches(many, 5, end=1, pad=0, ref_logprobs=known, seed=3)
    seen = []
    for step in range(3):
        ids, mask, ref = batches(step)
        assert ids.shape == mask.shape == (len(ref), 2, ids.shape[-1])
        for row, numbers in zip(mask.sum(dim=-1).tolist(), ref.tolist(), strict=True):
            i = known.tolist().index(numbers)
            assert row == [len(many[i].chosen) + 1, len(many[i].rejected) + 1]
            seen.append(i)
    assert sorted(seen) == list(range(12))
    assert batches(1)[0].equal(batches(1)[0])
    order = [batches(step)[2].tolist() for step in range(3)]
    assert order != [batches(step)[2].tolist() for step in range(3, 6)]
    assert len(answer_batches(many, 5, end=1, pad=0)(0)) == 2


def test_what_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"each of the 3 pairs.*\(2, 2\)"):
        answer_batches(PAIRS, 2, end=1, pad=0, ref_logprobs=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="no pairs"):
        answer_batches([], 2, end=1, pad=0)
    with pytest.raises(ValueError, match="same tokens twice"):
        collate_answers([PairIds([2], [5], [5])], end=1, pad=0)
    with pytest.raises(ValueError, match="response is empty"):
        collate_answers([PairIds([2], [], [5])], end=1, pad=0)
    ids, mask = collate_answers(PAIRS, end=1, pad=0)
    with pytest.raises(AssertionError, match="pairs are"):
        pair_logprobs(transformer(), ids[:, :1], mask[:, :1])
    with pytest.raises(AssertionError, match="True keeps"):
        sequence_logprobs(
            torch.zeros(1, 2, V), torch.zeros(1, 2).long(), ids[:1, 0, :2]
        )
    assert [longest(pair) for pair in PAIRS] == [4, 6, 5]


def test_on_the_shipped_model_both_ways_agree():
    model, tokenizer = pretrained.load("sft")
    asked = [{"role": "user", "content": "What is Ada's pet?"}]
    prompt = tokenizer.encode_chat(asked, reply_next=True)
    answers = [tokenizer.encode(text) for text in ("Ada has a fish.", "A dog!")]
    ids, mask = collate_answers(
        [PairIds(prompt, *answers)], tokenizer.end, tokenizer.pad
    )
    with torch.no_grad():
        fast = pair_logprobs(model, ids, mask)
        plain = sequence_logprobs(model(ids[0]), ids[0], mask[0])
    torch.testing.assert_close(fast[0], plain, rtol=1e-5, atol=1e-4)
    assert fast[0, 0] > fast[0, 1]
