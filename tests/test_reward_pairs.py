"""From rankings to tensors: pairs on paper, refusals in a sentence, TRL's own collator."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from course_lib import pretrained
from course_lib.reward.pairs import (
    PairIds,
    Preference,
    check_preference,
    collate_pairs,
    encode_preference,
    from_record,
    pair_batches,
    pairs_from_ranking,
    preferences,
    read_ranking,
)

END, PAD = 1, 0
IDS = some.lists(some.integers(4, 60), min_size=1, max_size=9)
PAIRS = [
    PairIds([2, 7, 8, 3], [5], [6, 7, 9], 0.5),
    PairIds([2, 9, 3], [5, 6, 7, 8], [5], 1.0),
    PairIds([2, 3], [4], [4, 4], 0.0),
]


@pytest.fixture(scope="module")
def tokenizer():
    return pretrained.tokenizer()


# ---- rankings


def test_pairs_on_paper():
    assert pairs_from_ranking([["C"], ["A"], ["B"]]) == [
        ("C", "A"),
        ("C", "B"),
        ("A", "B"),
    ]
    assert pairs_from_ranking([["A", "B", "C"]]) == []
    assert pairs_from_ranking([["A"]]) == []


@given(some.lists(some.integers(0, 3), min_size=1, max_size=7))
def test_a_pair_stands_for_every_two_names_of_different_rank_and_for_no_others(ranks):
    names = [chr(65 + i) for i in range(len(ranks))]
    groups = [
        [name for name, rank in zip(names, ranks, strict=True) if rank == level]
        for level in range(4)
    ]
    found = pairs_from_ranking(groups)
    slow = set()
    for i, j in combinations(range(len(ranks)), 2):
        if ranks[i] < ranks[j]:
            slow.add((names[i], names[j]))
        if ranks[j] < ranks[i]:
            slow.add((names[j], names[i]))
    assert set(found) == slow
    assert len(found) == len(slow)


def test_k_answers_without_ties_give_k_times_k_minus_1_over_2_pairs():
    for k in range(1, 9):
        assert len(pairs_from_ranking([[str(i)] for i in range(k)])) == k * (k - 1) // 2


def test_a_ranking_is_read_from_signs():
    assert read_ranking(" b>a =c ", ["a", "b", "c"]) == [["b"], ["a", "c"]]
    assert read_ranking("a", "ab") == [["a"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A > D", "names 'D', but the answers are A, B, C"),
        ("A > > B", "names ''"),
        ("", "names ''"),
        ("A = B > A", "names 'A' twice"),
    ],
)
def test_a_ranking_that_cannot_be_read_is_refused_in_a_sentence(text, words):
    with pytest.raises(ValueError, match=words):
        read_ranking(text, "ABC")


def test_a_ranking_of_nobody_or_a_bare_text_is_refused():
    for ranking in ([], [[]], "ABC"):
        with pytest.raises(ValueError, match="A ranking is a list of groups"):
            pairs_from_ranking(ranking)


def test_preferences_carry_the_texts_and_refuse_unknown_names_and_equal_texts():
    answers = {"A": "no", "B": "yes", "C": "perhaps"}
    found = preferences("Is it?", answers, [["B"], ["A", "C"]])
    assert found == [
        Preference("Is it?", "yes", "no"),
        Preference("Is it?", "yes", "perhaps"),
    ]
    with pytest.raises(ValueError, match="names 'D', but the answers are A, B, C"):
        preferences("Is it?", answers, [["D"], ["A"]])
    with pytest.raises(ValueError, match="equal answers have no better one"):
        preferences("Is it?", {"A": "no", "B": "no"}, [["A"], ["B"]])


# ---- records


@pytest.mark.parametrize(
    ("preference", "words"),
    [
        (Preference("?", "a", "a"), "Both answers to '[?]' are 'a'"),
        (Preference("?", " ", "a"), "The chosen answer to '[?]' is empty"),
        (Preference("?", "a", ""), "The rejected answer to '[?]' is empty"),
        (Preference(" ", "a", "b"), "The prompt is empty"),
        (Preference("?", "a", "b", -1.0), "A margin is a number from 0 on, not -1.0"),
        (Preference("?", "a", "b", float("nan")), "A margin .* not nan"),
    ],
)
def test_what_teaches_nothing_is_refused_in_a_sentence(preference, words, tokenizer):
    with pytest.raises(ValueError, match=words):
        check_preference(preference)
    with pytest.raises(ValueError, match=words):
        encode_preference(preference, tokenizer)


def test_a_record_without_its_prompt_is_refused():
    record = {"prompt": "Hi?", "chosen": "Hello.", "rejected": "No.", "margin": 1}
    assert from_record(record) == Preference("Hi?", "Hello.", "No.", 1.0)
    del record["prompt"]
    with pytest.raises(ValueError, match="has no 'prompt'; it has chosen, rejected"):
        from_record(record)
    with pytest.raises(ValueError, match="needs a text as its 'chosen', not 3"):
        from_record({"prompt": "Hi?", "chosen": 3, "rejected": "No."})


# ---- tokens


def test_both_rows_are_the_whole_chat_as_the_tokenizer_writes_it(tokenizer):
    said = Preference("What is Ada's pet? <end>", "A fish.", "Go away.", 0.5)
    pair = encode_preference(said, tokenizer)
    ids, mask = collate_pairs([pair], tokenizer.end, tokenizer.pad)
    for row, kept, reply in zip(ids[0], mask[0], said[1:3], strict=True):
        chat = [
            {"role": "user", "content": said.prompt},
            {"role": "assistant", "content": reply},
        ]
        assert row[kept].tolist() == tokenizer.encode_chat(chat)
    assert pair.margin == 0.5


def test_what_is_too_long_loses_the_beginning_of_its_prompt_alike_in_both_rows(
    tokenizer,
):
    said = Preference("word " * 40 + "Why?", "Because.", "It is what it is, I think.")
    whole = encode_preference(said, tokenizer)
    short = encode_preference(said, tokenizer, context=40)
    assert short.chosen == whole.chosen
    assert short.rejected == whole.rejected
    assert short.prompt == whole.prompt[-len(short.prompt) :]
    ids, _ = collate_pairs([short], tokenizer.end, 0)
    assert ids.shape == (1, 2, 40)
    with pytest.raises(ValueError, match="The answer alone has"):
        encode_preference(said, tokenizer, context=8)


# ---- batches


def test_a_batch_on_paper():
    ids, mask = collate_pairs(PAIRS, END, PAD)
    assert ids.shape == mask.shape == (3, 2, 8)
    assert ids[0].tolist() == [[2, 7, 8, 3, 5, 1, 0, 0], [2, 7, 8, 3, 6, 7, 9, 1]]
    assert mask.sum(-1).tolist() == [[6, 8], [8, 5], [4, 5]]


@given(some.lists(some.tuples(IDS, IDS, IDS), min_size=1, max_size=5))
def test_every_row_is_prompt_answer_and_end_whatever_the_padding_is(drawn):
    pairs = [PairIds(p, c, [*r, 61]) for p, c, r in drawn]
    for pad in (0, END, 5):
        ids, mask = collate_pairs(pairs, END, pad)
        for i, pair in enumerate(pairs):
            for j, answer in enumerate((pair.chosen, pair.rejected)):
                row = [*pair.prompt, *answer, END]
                assert ids[i, j][mask[i, j]].tolist() == row
                assert mask[i, j].tolist() == [
                    k < len(row) for k in range(ids.shape[2])
                ]
                assert (ids[i, j, len(row) :] == pad).all()


def test_the_batch_is_that_of_trl_in_another_order():
    from trl.trainer.reward_trainer import DataCollatorForPreference

    rows = [
        {
            "chosen_ids": [*p.prompt, *p.chosen, END],
            "rejected_ids": [*p.prompt, *p.rejected, END],
            "margin": p.margin,
        }
        for p in PAIRS
    ]
    theirs = DataCollatorForPreference(pad_token_id=PAD)(rows)
    ids, mask = collate_pairs(PAIRS, END, PAD)
    assert theirs["input_ids"].equal(ids.transpose(0, 1).flatten(0, 1))
    assert theirs["attention_mask"].bool().equal(mask.transpose(0, 1).flatten(0, 1))
    _, _, margins = pair_batches(PAIRS, 1, END, PAD, margins=True)(0)
    assert margins in theirs["margin"]


def test_a_pair_that_became_equal_or_empty_is_refused():
    with pytest.raises(ValueError, match="Pair 1 has the same tokens twice"):
        collate_pairs([PAIRS[0], PairIds([2], [5], [5])], END, PAD)
    with pytest.raises(ValueError, match="The response is empty"):
        collate_pairs([PairIds([2], [], [5])], END, PAD)
    with pytest.raises(ValueError, match="There are no pairs"):
        collate_pairs([], END, PAD)
    with pytest.raises(ValueError, match="There are no pairs"):
        pair_batches([], 4, END, PAD)


def test_an_epoch_shows_every_pair_once_and_a_step_is_a_step():
    pairs = [PairIds([2, 3], [10 + i], [9], float(i)) for i in range(11)]
    batches = pair_batches(pairs, 4, END, PAD, seed=3, margins=True)
    for epoch in range(2):
        seen = torch.cat([batches(3 * epoch + step)[2] for step in range(3)])
        assert sorted(seen.tolist()) == [float(i) for i in range(11)]
    again = pair_batches(pairs, 4, END, PAD, seed=3)(4)
    assert len(again) == 2
    assert again[0].equal(batches(4)[0])
    assert not pair_batches(pairs, 4, END, PAD, seed=4)(4)[0].equal(again[0])
