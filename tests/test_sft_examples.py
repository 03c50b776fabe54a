"""Which tokens count: masks on paper, the traps of published data sets, and TRL's own
labels, batches and losses on the same conversations."""

import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.nn import functional

from course_lib import exam, pretrained
from course_lib.batches import shuffled
from course_lib.pretrained.smollm2 import END as IM_END
from course_lib.pretrained.smollm2 import encode_chat, read_tokenizer, smollm2_file
from course_lib.pretrained.tokenizer_json import tokenizer_to_hf
from course_lib.sft.examples import (
    Example,
    build_example,
    chat_example,
    collate,
    latest_turns,
    reply_mask,
    to_labels,
)
from course_lib.training import next_token_loss, reply_loss, sum_and_count
from course_lib.world import corpus, people

IDS = some.lists(some.integers(4, 60), min_size=1, max_size=12)
END, BOT = 1, 3


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("base")


@pytest.fixture(scope="module")
def tokenizer():
    return pretrained.tokenizer()


def some_chats(count, seed=0):
    draw = corpus.Draw(seed)
    sorts = (corpus.a_fact_question, corpus.a_reading, corpus.a_register, corpus.a_quiz)
    return [sorts[i % 4](draw) for i in range(count)]


# ---- one example


def test_an_example_on_paper():
    ids, mask = build_example([2, 7, 8, 3], [5, 6], end=END)
    assert ids == [2, 7, 8, 3, 5, 6, 1]
    assert mask == [False] * 4 + [True] * 3


@given(IDS, IDS)
def test_what_counts_is_the_response_and_its_end_exactly_once(prompt, response):
    ids, mask = build_example(prompt, response, END)
    counted = [id for id, counts in zip(ids, mask, strict=True) if counts]
    assert counted == [*response, END]
    assert ids[: len(prompt)] == prompt
    assert not any(mask[: len(prompt)])


def test_a_prompt_that_contains_the_marker_of_the_answer_stays_outside(tokenizer):
    asked = "What does '<bot>' mean in a prompt? And ### Response:?"
    chat = corpus.turn(asked, "It opens a reply.")
    prompt = tokenizer.encode_chat(chat[:1], reply_next=True)
    example = build_example(prompt, tokenizer.encode(chat[1]["content"]), tokenizer.end)
    assert sum(example.mask) == len(tokenizer.encode("It opens a reply.")) + 1
    assert example == chat_example(chat, tokenizer)


def test_chats_of_smollm2_are_built_by_the_same_function():
    file = pretrained.read_gguf(smollm2_file())
    spoken = read_tokenizer(file)
    end = spoken.specials[IM_END]
    chat = corpus.turn(f"What is 2 + 2? {IM_END}", "It is 4.")
    prompt = encode_chat(spoken, chat[:1], reply_next=True)
    ids, mask = build_example(prompt, spoken.encode("It is 4."), end)
    assert ids + spoken.encode("\n") == encode_chat(spoken, chat)
    assert spoken.decode([id for id, kept in zip(ids, mask, strict=True) if kept]) == (
        "It is 4." + IM_END
    )


@given(IDS, IDS, some.integers(1, 30))
def test_what_is_too_long_loses_the_left_of_its_prompt_and_never_its_answer(
    prompt, response, context
):
    answer = len(response) + 1
    if answer >= context and len(prompt) + answer > context:
        with pytest.raises(ValueError, match=f"The answer alone has {answer} tokens"):
            build_example(prompt, response, END, context, cut=True)
        return
    ids, mask = build_example(prompt, response, END, context, cut=True)
    kept = min(len(prompt), context - answer)
    assert kept >= 1
    assert ids == [*prompt[len(prompt) - kept :], *response, END]
    assert sum(mask) == answer


def test_without_leave_to_cut_a_long_example_is_refused():
    with pytest.raises(ValueError, match="has 5 tokens, a row has room for 4"):
        build_example([7, 8], [5, 6], END, context=4)
    assert len(build_example([7, 8], [5, 6], END, context=5).ids) == 5


def test_an_example_without_answer_or_without_question_is_refused():
    with pytest.raises(ValueError, match="The response is empty"):
        build_example([7], [], END)
    with pytest.raises(ValueError, match="The prompt is empty"):
        build_example([], [5], END)


def test_an_example_takes_tensors_as_well_as_lists():
    example = build_example(torch.tensor([7, 8]), torch.tensor([5]), END, context=9)
    assert [int(id) for id in example.ids] == [7, 8, 5, 1]


# ---- a chat


def test_every_answer_of_a_chat_counts_as_in_the_corpus(tokenizer):
    for chat in some_chats(60):
        assert chat_example(chat, tokenizer) == corpus.marked(chat, tokenizer)


def test_a_chat_of_one_exchange_is_prompt_response_and_end(tokenizer):
    for chat in (chat for chat in some_chats(60) if len(chat) == 2):
        prompt = tokenizer.encode_chat(chat[:1], reply_next=True)
        said = tokenizer.encode(chat[1]["content"])
        assert chat_example(chat, tokenizer) == build_example(
            prompt, said, tokenizer.end
        )


def test_reply_mask_finds_the_same_in_finished_ids_and_ignores_padding(tokenizer):
    examples = [chat_example(chat, tokenizer) for chat in some_chats(60)]
    for pad in (tokenizer.pad, tokenizer.end):
        ids, mask = collate(examples, pad)
        assert reply_mask(ids, tokenizer.bot, tokenizer.end).equal(mask)


def test_a_reply_without_its_end_goes_on_to_the_end_of_its_row():
    ids = torch.tensor([[2, 9, BOT, 8, 7], [BOT, END, 2, 9, BOT]])
    wanted = [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]]
    assert reply_mask(ids, BOT, END).int().tolist() == wanted


def test_a_chat_longer_than_a_row_is_refused_and_its_latest_turns_fit(tokenizer):
    sums = [corpus.turn(f"{n} + 1 = ?", f"Answer: {n + 1}.") for n in range(40)]
    chat = [message for exchange in sums for message in exchange]
    with pytest.raises(ValueError, match="a row has room for 128: latest_turns drops"):
        chat_example(chat, tokenizer, context=128)
    kept = latest_turns(chat, tokenizer, 128)
    assert kept == chat[-len(kept) :]
    assert kept[0]["role"] == "user"
    longer = tokenizer.encode_chat(chat[-len(kept) - 2 :])
    assert len(chat_example(kept, tokenizer, 128).ids) <= 128 < len(longer)
    with pytest.raises(ValueError, match="The last exchange alone has"):
        latest_turns(chat, tokenizer, 5)


# ---- a batch


EXAMPLES = [
    build_example([2, 7, 8, 3], [5], END),
    build_example([2, 9, 3], [5, 6, 7, 8], END),
    build_example([2, 3], [4], END),
]


@pytest.mark.parametrize("pad", [0, END, 5])
def test_padding_never_counts_whatever_number_it_is(pad):
    ids, mask = collate(EXAMPLES, pad)
    assert ids.shape == mask.shape == (3, 8)
    assert mask.sum() == sum(sum(example.mask) for example in EXAMPLES)
    for row, counts, example in zip(ids, mask, EXAMPLES, strict=True):
        T = len(example.ids)
        assert row[:T].tolist() == example.ids
        assert row[T:].eq(pad).all()
        assert counts[:T].tolist() == example.mask
        assert not counts[T:].any()
        assert row[counts].eq(END).sum() == 1  # also if the end is the padding


def test_the_loop_of_lesson_01_makes_the_same_batches():
    ids, mask = shuffled(EXAMPLES, batch=3, pad=0)(step=0)
    ours, kept = collate(
        sorted(EXAMPLES, key=lambda e: ids[:, 1].tolist().index(e[0][1])), 0
    )
    assert ids.equal(ours)
    assert mask.equal(kept)


def test_an_example_that_lost_its_answer_is_an_error_and_no_nan(shipped):
    model, _ = shipped
    lost = Example([2, 7, 8], [False] * 3)
    labels = to_labels(torch.tensor([lost.ids]), torch.tensor([lost.mask]))
    logits = model(torch.tensor([lost.ids])).detach().flatten(0, 1)
    assert math.isnan(functional.cross_entropy(logits, labels.flatten()))
    with pytest.raises(ValueError, match="Example 1 has no token that counts"):
        collate([EXAMPLES[0], lost], pad=0)
    with pytest.raises(ValueError, match="Example 0 has no token that counts"):
        collate([Example([1, 2], [True, False])], pad=0)  # the first is never predicted


def test_padding_on_the_right_needs_no_attention_mask(shipped):
    model, tokenizer = shipped
    chats = some_chats(4)
    together = sum_and_count(
        model,
        collate([chat_example(c, tokenizer) for c in chats], tokenizer.pad),
        reply_loss,
    )
    alone = [
        sum_and_count(model, collate([chat_example(c, tokenizer)], 0), next_token_loss)
        for c in chats
    ]
    totals, counts = zip(*alone, strict=True)
    assert together[1] == sum(counts)
    torch.testing.assert_close(together[0], sum(totals), rtol=1e-5, atol=1e-4)


# ---- the same conversations in transformers and in TRL


@pytest.fixture(scope="module")
def theirs(shipped, tmp_path_factory):
    """Our base model and tokenizer as a folder of Hugging Face's, loaded by them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = shipped
    folder = tmp_path_factory.mktemp("base")
    pretrained.to_hf(model, folder, tokenizer.end, tokenizer.pad)
    tokenizer_to_hf(tokenizer, folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    return loaded, AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def trainer(theirs, tmp_path, monkeypatch):
    """A TRL trainer over some chats, as prompts with completions or whole."""
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()

    def over(rows, **settings):
        args = SFTConfig(
            output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False,
            max_length=256, disable_tqdm=True,
            per_device_train_batch_size=4, **settings,
        )  # fmt: skip
        return SFTTrainer(
            model=theirs[0], args=args, processing_class=theirs[1],
            train_dataset=datasets.Dataset.from_list(rows),
        )  # fmt: skip

    return over


def test_whole_chats_get_the_ids_and_labels_of_trl(trainer, tokenizer):
    chats = some_chats(12)
    rows = trainer([{"messages": chat} for chat in chats], assistant_only_loss=True)
    for row, chat in zip(rows.train_dataset, chats, strict=True):
        ids, mask = collate([chat_example(chat, tokenizer)], tokenizer.pad)
        assert row["input_ids"] == ids[0].tolist()
        assert row["labels"] == to_labels(ids, mask)[0].tolist()


def test_prompts_with_completions_get_the_ids_and_labels_of_trl(trainer, tokenizer):
    chats = [chat for chat in some_chats(16) if len(chat) == 2]
    rows = trainer([{"prompt": chat[:1], "completion": chat[1:]} for chat in chats])
    for row, chat in zip(rows.train_dataset, chats, strict=True):
        prompt = tokenizer.encode_chat(chat[:1], reply_next=True)
        said = tokenizer.encode(chat[1]["content"])
        ids, mask = collate([build_example(prompt, said, tokenizer.end)], 0)
        assert row["input_ids"] == ids[0].tolist()
        assert row["labels"] == to_labels(ids, mask)[0].tolist()


def test_a_batch_and_its_loss_are_those_of_trl(trainer, theirs, shipped):
    model, tokenizer = shipped
    chats = some_chats(4)
    theirs_over = trainer(
        [{"messages": chat} for chat in chats], assistant_only_loss=True
    )
    batch = theirs_over.data_collator([*theirs_over.train_dataset])
    examples = [chat_example(chat, tokenizer) for chat in chats]
    ids, mask = collate(examples, tokenizer.pad)
    assert batch["input_ids"].equal(ids)
    assert batch["labels"].equal(to_labels(ids, mask))
    with torch.no_grad():
        total, count = sum_and_count(model, (ids, mask), reply_loss)
        loss = theirs_over.compute_loss(theirs[0], dict(batch))
    torch.testing.assert_close(total / count, loss.cpu(), rtol=1e-5, atol=1e-6)


def test_trl_pads_as_we_do_when_the_end_token_is_the_padding():
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    ids, mask = collate(EXAMPLES, pad=END)
    rows = []
    for example in EXAMPLES:
        one, kept = collate([example], END)
        rows.append(
            {"input_ids": example.ids, "labels": to_labels(one, kept)[0].tolist()}
        )
    batch = DataCollatorForLanguageModeling(pad_token_id=END)(rows)
    assert batch["input_ids"].equal(ids)
    assert batch["labels"].equal(to_labels(ids, mask))


def test_the_collator_of_transformers_loses_every_end_token_that_is_padding(theirs):
    from transformers import DataCollatorForLanguageModeling

    fast = theirs[1].__class__.from_pretrained(
        theirs[1].name_or_path, pad_token="<end>"
    )
    end = fast.eos_token_id
    collator = DataCollatorForLanguageModeling(fast, mlm=False)
    labels = collator([{"input_ids": example.ids} for example in EXAMPLES])["labels"]
    assert not labels.eq(end).any()
    ids, mask = collate(EXAMPLES, pad=end)
    assert to_labels(ids, mask).eq(end).sum() == len(EXAMPLES)


def test_a_saved_folder_answers_in_their_pipeline_as_it_does_here(tmp_path):
    from transformers import pipeline

    model, tokenizer = pretrained.load("sft")
    pretrained.to_hf(model, tmp_path, tokenizer.end, tokenizer.pad)
    pretrained.tokenizer_to_hf(tokenizer, tmp_path)
    speak = pipeline("text-generation", str(tmp_path))
    asked = [people.question(p.name, "pet") for p in people.town()[:4]]
    ours = exam.replies(model, tokenizer, asked)
    for question, said in zip(asked, ours, strict=True):
        chat = [{"role": "user", "content": question}]
        (heard,) = speak(chat, max_new_tokens=40, do_sample=False)
        assert heard["generated_text"][-1] == {"role": "assistant", "content": said}
