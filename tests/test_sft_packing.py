"""Texts that share a row: rows on paper and TRL's, no leak, and the loss of each text
alone, in our model and in that of transformers."""

import doctest

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib import mixing, pretrained
from course_lib.masks import causal_mask, masked_mean
from course_lib.probes import influence
from course_lib.sft import examples, packing, records
from course_lib.sft.examples import Example, build_example, chat_example, to_labels
from course_lib.sft.packing import (
    Packed,
    best_fit,
    block_diagonal_mask,
    first_fit,
    in_order,
    pack,
    packed_hidden,
    packed_loss,
    padding_share,
    positions_in,
    some_rows,
)
from course_lib.training import next_token_loss, reply_loss, sum_and_count, train
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus

WAYS = [in_order, first_fit, best_fit]
LENGTHS = some.lists(some.integers(1, 20), min_size=1, max_size=40)
LEARNED = Config(
    vocabulary=60, context=40, width=16, layers=2, heads=2, hidden=24,
    positions="learned", norm="layer", mlp="gelu", bias=True,
)  # fmt: skip


def drawn_ids(*shape, low=4, high=60, seed=0):
    return torch.randint(
        low, high, shape, generator=torch.Generator().manual_seed(seed)
    )


def drawn_examples(count, seed=0):
    lengths = drawn_ids(2, count, low=1, high=9, seed=seed)
    return [
        build_example(
            [2, *drawn_ids(int(n)).tolist(), 3], drawn_ids(int(m)).tolist(), 1
        )
        for n, m in lengths.T
    ]


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("base")


def learned():
    model = Transformer(LEARNED, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0)  # so that a wrong position changes more than rounding
    return model.eval()


@pytest.mark.parametrize("module", [records, examples, packing, mixing])
def test_the_examples_in_the_docstrings_run(module):
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.failed == 0


# ---- who shares a row


@pytest.mark.parametrize("way", WAYS)
@given(lengths=LENGTHS)
def test_every_text_stands_once_and_no_row_is_too_full(way, lengths):
    rows = way(lengths, 20)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[n] for n in row) <= 20 for row in rows)


def test_rows_on_paper():
    lengths = [5, 2, 3, 1, 7]
    assert in_order(lengths, 8) == [[0, 1], [2, 3], [4]]
    assert first_fit(lengths, 8) == [[0, 1, 3], [2], [4]]
    assert best_fit(lengths, 8) == [[4, 3], [0, 2], [1]]
    assert in_order([], 8) == first_fit([], 8) == best_fit([], 8) == []
    assert in_order([8, 8], 8) == first_fit([8, 8], 8) == [[0], [1]]


@given(LENGTHS)
def test_first_fit_opens_a_row_only_when_no_earlier_one_has_room(lengths):
    left = []
    for number, length in enumerate(lengths):
        rows = first_fit(lengths[: number + 1], 20)
        if len(rows) > len(left):
            assert all(free < length for free in left)
        left = [20 - sum(lengths[n] for n in row) for row in rows]


@pytest.mark.parametrize("seed", range(6))
def test_best_fit_fills_rows_as_full_as_trl(seed):
    import datasets
    from trl import pack_dataset

    datasets.disable_progress_bars()
    lengths = drawn_ids(10 * seed + 3, low=1, high=21, seed=seed).tolist()
    texts = {"input_ids": [[7] * n for n in lengths]}
    theirs = pack_dataset(datasets.Dataset.from_dict(texts), 20, strategy="bfd")
    ours = [sum(lengths[n] for n in row) for row in best_fit(lengths, 20)]
    assert sorted(ours) == sorted(len(row) for row in theirs["input_ids"])


@pytest.mark.parametrize("way", WAYS)
def test_a_text_that_fits_no_row_is_refused_and_not_cut(way):
    with pytest.raises(ValueError, match="Text 1 has 9 tokens, a row has room for 8"):
        way([3, 9], 8)


def test_packing_saves_padding(shipped):
    _, tokenizer = shipped
    draw = corpus.Draw(0)
    sorts = (corpus.a_fact_question, corpus.a_context_question, corpus.a_reading)
    chats = [sorts[n % 3](draw) for n in range(120)]
    lengths = [len(tokenizer.encode_chat(chat)) for chat in chats]
    alone = padding_share(lengths, [[n] for n in range(len(lengths))])
    together = padding_share(lengths, first_fit(lengths, 256))
    assert together < alone / 4


# ---- packed rows


def test_a_packed_row_on_paper():
    a, b = Example([5, 6, 1], [False, True, True]), Example([7, 1], [True, True])
    packed = pack([a, b, a], rows=[[0, 1], [2]], pad=0)
    assert packed.ids.tolist() == [[5, 6, 1, 7, 1], [5, 6, 1, 0, 0]]
    assert packed.documents.tolist() == [[1, 1, 1, 2, 2], [1, 1, 1, 0, 0]]
    assert packed.mask.int().tolist() == [[0, 1, 1, 0, 1], [0, 1, 1, 0, 0]]
    assert positions_in(packed.documents).tolist() == [[0, 1, 2, 0, 1]] * 2


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_in_packing(way):
    chosen = drawn_examples(30)
    rows = way([len(example.ids) for example in chosen], 24)
    packed = pack(chosen, rows, pad=0)
    assert packed.mask.sum() == sum(sum(example.mask) for example in chosen)
    for row, ids, documents in zip(rows, packed.ids, packed.documents, strict=True):
        for place, number in enumerate(row, start=1):
            assert ids[documents == place].tolist() == chosen[number].ids


def test_an_example_that_lost_its_answer_is_refused():
    with pytest.raises(ValueError, match="Example 0 has no token that counts"):
        pack([Example([5, 6], [True, False])], [[0]], pad=0)


def test_another_mask_can_be_handed_in_and_ours_is_the_default():
    model, ids = learned().eval(), drawn_ids(1, 6)
    documents = torch.tensor([[1, 1, 1, 2, 2, 2]])
    given = packed_hidden(model, ids, documents, block_diagonal_mask(documents))
    assert torch.equal(given, packed_hidden(model, ids, documents))
    leaking = packed_hidden(model, ids, documents, causal_mask(6, 6))
    assert torch.allclose(leaking[:, :3], given[:, :3], atol=1e-6)
    assert not torch.allclose(leaking[:, 3:], given[:, 3:], atol=1e-4)


def test_mask_and_positions_equal_a_slow_loop():
    documents = torch.tensor([[1, 1, 1, 2, 3, 3, 0, 0], [4, 4, 9, 9, 9, 9, 9, 1]])
    mask, positions = block_diagonal_mask(documents), positions_in(documents)
    for row, numbers in enumerate(documents.tolist()):
        for t, number in enumerate(numbers):
            assert positions[row, t] == t - numbers.index(number)
            for s, other in enumerate(numbers):
                assert bool(mask[row, 0, t, s]) == (s <= t and number == other)


def test_one_document_is_the_plain_model(shipped):
    model, _ = shipped
    ids = drawn_ids(2, 20)
    hidden = packed_hidden(model, ids, torch.ones_like(ids))
    torch.testing.assert_close(hidden, model.hidden(ids), rtol=1e-5, atol=1e-5)


# ---- no leak


@pytest.mark.parametrize("kind", ["rotary", "learned"])
def test_no_prediction_moves_when_another_document_changes(shipped, kind):
    model = shipped[0] if kind == "rotary" else learned()
    documents = torch.tensor([[1] * 5 + [2] * 4 + [3] * 6 + [0] * 2])
    ids, other = drawn_ids(17), drawn_ids(17, seed=1)
    other = torch.where(ids == other, other % 50 + 5, other)
    same = block_diagonal_mask(documents)[0, 0]

    def reads_packed(rows):
        return model.head(packed_hidden(model, rows, documents))

    kept_apart = influence(reads_packed, ids, other)
    assert kept_apart[~same].max() < 1e-5  # more rows at once round differently
    assert kept_apart[same].min() > 0
    leaking = influence(model, ids, other)
    assert leaking[~same].max() > 0.1


@pytest.mark.parametrize("kind", ["rotary", "learned"])
def test_the_loss_of_packed_rows_is_that_of_the_texts_one_by_one(shipped, kind):
    model = shipped[0] if kind == "rotary" else learned()
    chosen = drawn_examples(12)
    packed = pack(chosen, first_fit([len(e.ids) for e in chosen], 36), pad=0)
    assert packed.documents.max() > 2
    with torch.no_grad():
        together, count = sum_and_count(model, packed, packed_loss)
        alone = [
            sum_and_count(model, pack([e], [[0]], 0)[:2], reply_loss) for e in chosen
        ]
        leaking, _ = sum_and_count(model, packed[:2], reply_loss)
    totals, counts = zip(*alone, strict=True)
    assert count == sum(counts)
    torch.testing.assert_close(
        together / count, sum(totals) / count, rtol=1e-5, atol=1e-5
    )
    assert abs(leaking - together) / count > 1e-2


def test_so_are_its_gradients(shipped):
    model, chosen = learned(), drawn_examples(6)
    packed = pack(chosen, in_order([len(e.ids) for e in chosen], 36), pad=0)
    sum_and_count(model, packed, packed_loss)[0].backward()
    together = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    for example in chosen:
        sum_and_count(model, pack([example], [[0]], 0)[:2], reply_loss)[0].backward()
    for ours, alone in zip(together, model.parameters(), strict=True):
        torch.testing.assert_close(ours, alone.grad, rtol=1e-3, atol=1e-3)


def test_texts_whose_every_token_counts_lose_only_what_nothing_predicts():
    model = learned()
    texts = [Example(drawn_ids(n, seed=n).tolist(), [True] * n) for n in (5, 9, 3)]
    packed = pack(texts, [[0, 1, 2]], pad=0)
    losses, mask = packed_loss(model, *packed)
    alone = [next_token_loss(model, torch.tensor([text.ids])) for text in texts]
    wanted = torch.cat([loss.flatten() for loss, _ in alone])
    assert len(losses) == 5 + 9 + 3 - 3
    torch.testing.assert_close(masked_mean(losses, mask), wanted.mean())


# ---- the same rows in transformers and in TRL


@pytest.fixture(scope="module")
def theirs(shipped, tmp_path_factory):
    from transformers import AutoModelForCausalLM

    model, tokenizer = shipped
    folder = tmp_path_factory.mktemp("base")
    pretrained.to_hf(model, folder, tokenizer.end, tokenizer.pad)
    return AutoModelForCausalLM.from_pretrained(folder)


def test_a_row_without_padding_is_what_trl_and_transformers_flatten(shipped, theirs):
    from transformers import DataCollatorWithFlattening
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    _, tokenizer = shipped
    draw = corpus.Draw(1)
    chosen = [chat_example(corpus.a_fact_question(draw), tokenizer) for _ in range(5)]
    packed = pack(chosen, [range(5)], tokenizer.pad)
    rows = []
    for example in chosen:
        labels = to_labels(torch.tensor(example.ids), torch.tensor(example.mask))
        rows.append({"input_ids": example.ids, "labels": labels.tolist()})
    flat = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    for batch in (flat(rows), DataCollatorWithFlattening()(rows)):
        assert batch["input_ids"].equal(packed.ids)
        assert batch["position_ids"].equal(positions_in(packed.documents))
        assert batch["labels"].equal(to_labels(packed.ids, packed.mask))
    ends = packed.documents[0].diff().nonzero().flatten() + 1
    assert flat(rows)["cu_seq_lens_q"].tolist() == [
        0,
        *ends.tolist(),
        len(packed.ids[0]),
    ]
    with torch.no_grad():
        loss = theirs(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"],
            labels=batch["labels"], use_cache=False,  # a cache would let texts leak
        ).loss  # fmt: skip
        total, count = sum_and_count(shipped[0], packed, packed_loss)
    torch.testing.assert_close(total / count, loss, rtol=1e-5, atol=1e-5)


# ---- training


def test_rows_of_an_epoch_come_once_each_and_depend_on_the_step_alone():
    ids = torch.arange(7).view(7, 1)
    packed = Packed(ids, ids > 2, ids + 1)
    rows = some_rows(packed, batch=2, seed=5)
    epoch = [rows(step) for step in range(3)]
    seen = torch.cat([batch.ids for batch in epoch]).flatten().tolist()
    assert len(set(seen)) == 6
    assert all(batch.mask.equal(batch.ids > 2) for batch in epoch)
    assert all(batch.documents.equal(batch.ids + 1) for batch in epoch)
    assert rows(1).ids.equal(epoch[1].ids)
    assert any(not rows(step + 3).ids.equal(epoch[step].ids) for step in range(3))
    with pytest.raises(AssertionError, match="8 rows in a batch, but 7 in all"):
        some_rows(packed, batch=8)


def test_a_model_learns_from_packed_rows():
    model = Transformer(Config(vocabulary=60, context=40, width=16, layers=1, heads=2))
    chosen = drawn_examples(8)
    packed = pack(chosen, first_fit([len(e.ids) for e in chosen], 40), pad=0)
    history = train(model, some_rows(packed, 2), packed_loss, 60, 1e-2, progress=False)
    assert history.mean(5) < 0.7 * history.losses[0]
