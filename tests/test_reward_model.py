"""The head on the last token: padding, neighbours, files, and TRL's RewardTrainer on the same batch."""

import copy
import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.nn import functional

from course_lib import pretrained
from course_lib.chat_format import CHAT_TEMPLATE
from course_lib.pretrained.tokenizer_json import to_tokenizers
from course_lib.reward.files import (
    load_reward,
    reward_from_hf,
    reward_to_hf,
    save_reward,
)
from course_lib.reward.losses import pair_loss, pair_rewards
from course_lib.reward.model import (
    RewardModel,
    chat_ids,
    last_index,
    pair_scores,
    rewards_of,
)
from course_lib.reward.pairs import Preference, collate_pairs, encode_preference
from course_lib.training import accumulate_gradients
from course_lib.transformer import Config, Transformer
from tests.tiny import transformer

IDS = torch.randint(7, (5, 9), generator=torch.Generator().manual_seed(4))
SAID = [
    Preference("Where is Ada's house?", "Of course! Ada lives in Garden Row.", "No."),
    Preference(
        "What is Ben's job?", "Potter.", "Why ask me? Ben works as a cook.", 0.5
    ),
    Preference("What does Cleo do for fun?", "Cleo enjoys chess.", "Cleo has a goat."),
    Preference("Which pet belongs to Finn?", "Finn has a duck. All the best!", "Duck"),
]
CHATS = [(p.prompt, text) for p in SAID for text in p[1:3]]


@pytest.fixture(scope="module")
def shipped():
    """The chat model with a head that was not trained, and the tokenizer."""
    body, tokenizer = pretrained.load("sft")
    return RewardModel(body, torch.Generator().manual_seed(0)).eval(), tokenizer


@pytest.fixture
def small():
    return RewardModel(transformer(), torch.Generator().manual_seed(0))


def padded(rows, side, extra=0, pad=0):
    T = max(len(row) for row in rows) + extra
    ids, mask = torch.full((len(rows), T), pad), torch.zeros(len(rows), T).bool()
    for i, row in enumerate(rows):
        places = slice(T - len(row), T) if side == "left" else slice(0, len(row))
        ids[i, places], mask[i, places] = torch.tensor(row), True
    return ids, mask


# ---- the last token


def test_last_places_on_paper():
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]])
    assert last_index(mask.bool()).tolist() == [1, 3, 3, 0]


@given(some.lists(some.lists(some.booleans(), min_size=6, max_size=6), min_size=1))
def test_the_last_place_is_that_of_a_loop_whatever_the_holes_are(rows):
    mask = torch.tensor(rows)
    empty = [i for i, row in enumerate(rows) if not any(row)]
    if empty:
        with pytest.raises(ValueError, match=f"Row {empty[0]} is all padding"):
            last_index(mask)
        return
    slow = [max(t for t, kept in enumerate(row) if kept) for row in rows]
    assert last_index(mask).tolist() == slow


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="mask is boolean of shape"):
        last_index(torch.ones(2, 3))
    with pytest.raises(ValueError, match="mask is boolean of shape"):
        last_index(torch.ones(3).bool())


# ---- rewards


def test_the_reward_is_one_row_of_weights_on_the_last_hidden_vector(small):
    hidden = small.body.hidden(IDS)
    wanted = [float((small.head.weight[0] @ v).detach()) for v in hidden[:, -1]]
    torch.testing.assert_close(small(IDS), torch.tensor(wanted))
    assert small(IDS, torch.ones_like(IDS).bool()).shape == (5,)
    assert small.config is small.body.config


def test_without_a_mask_every_token_is_real(small):
    torch.testing.assert_close(small(IDS), small(IDS, torch.ones_like(IDS).bool()))


def test_rewards_do_not_depend_on_the_side_of_the_padding_or_on_neighbours(shipped):
    model, tokenizer = shipped
    rows = [chat_ids(prompt, text, tokenizer) for prompt, text in CHATS]
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([row])) for row in rows])
        for side in ("left", "right"):
            for extra, pad in ((0, tokenizer.pad), (9, tokenizer.end), (30, 77)):
                found = model(*padded(rows, side, extra, pad))
                torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
        for batch in ([3, 0], [5, 1, 2, 7], [6, 6]):
            found = model(*padded([rows[i] for i in batch], "right"))
            torch.testing.assert_close(found, alone[batch], rtol=0, atol=1e-5)
    assert alone.unique().numel() == len(rows)


def test_rewards_of_texts_come_in_the_order_asked_and_leave_the_model_as_it_was(
    shipped,
):
    model, tokenizer = shipped
    rows = [chat_ids(prompt, text, tokenizer) for prompt, text in CHATS]
    model.train()
    found = rewards_of(model, tokenizer, CHATS * 20)  # more than one batch
    assert model.training
    model.eval()
    assert not found.requires_grad
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([row])) for row in rows])
    torch.testing.assert_close(found, alone.repeat(20), rtol=0, atol=1e-5)
    chosen, rejected = pair_scores(model, tokenizer, SAID)
    torch.testing.assert_close(chosen, found[:8:2], rtol=0, atol=1e-5)
    torch.testing.assert_close(rejected, found[1:8:2], rtol=0, atol=1e-5)


def test_the_same_answer_to_another_question_has_another_reward(shipped):
    model, tokenizer = shipped
    asked = [("What is Ben's job?", "Potter."), ("What is Ada's pet?", "Potter.")]
    one, other = rewards_of(model, tokenizer, asked)
    assert one != other


def test_an_empty_response_is_refused(shipped):
    with pytest.raises(ValueError, match=r"response to 'Hi[?]' is empty"):
        rewards_of(*shipped, [("Hi?", " ")])


def test_a_reward_that_is_no_number_is_an_error_and_not_an_answer(shipped):
    model, tokenizer = shipped
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.head.weight[0, 3] = torch.nan
    with pytest.raises(ValueError, match="The reward at place 0 is nan"):
        rewards_of(broken, tokenizer, CHATS)
    with pytest.raises(ValueError, match="There is no reward at all"):
        rewards_of(model, tokenizer, [])


def test_a_row_of_padding_is_refused_and_no_number_is_made_up(small):
    mask = torch.ones_like(IDS).bool()
    mask[3] = False
    with pytest.raises(ValueError, match="Row 3 is all padding"):
        small(IDS, mask)


def test_the_head_follows_its_seed_and_the_bodys_precision():
    body = transformer().double()
    one, two, other = (
        RewardModel(body, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one.head.weight.dtype == torch.float64
    assert one.head.weight.equal(two.head.weight)
    assert not one.head.weight.equal(other.head.weight)
    assert one(IDS).dtype == torch.float64


# ---- files


def test_a_file_brings_the_same_rewards_back(shipped, tmp_path):
    model, tokenizer = shipped
    before = rewards_of(model, tokenizer, CHATS)
    save_reward(model, tmp_path / "reward.safetensors", tokenizer)
    loaded = load_reward(tmp_path / "reward.safetensors", tokenizer)
    assert rewards_of(loaded, tokenizer, CHATS).equal(before)
    save_reward(model, tmp_path / "half.safetensors", tokenizer, half=True)
    half = load_reward(tmp_path / "half.safetensors", tokenizer)
    torch.testing.assert_close(
        rewards_of(half, tokenizer, CHATS), before, rtol=0, atol=2e-2
    )
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("reward", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert not list(tmp_path.glob("*.partial"))


def test_a_file_of_another_tokenizer_or_of_something_else_is_refused(
    shipped, tmp_path, monkeypatch
):
    model, tokenizer = shipped
    path = tmp_path / "reward.safetensors"
    save_reward(model, path, tokenizer)
    other = copy.copy(tokenizer)
    monkeypatch.setattr(type(other), "digest", "another")
    with pytest.raises(ValueError, match="made with another tokenizer"):
        load_reward(path, other)
    monkeypatch.undo()
    with pytest.raises(
        FileNotFoundError, match=r"reward model gone\.safetensors is not"
    ):
        load_reward(tmp_path / "gone.safetensors", tokenizer)
    (tmp_path / "broken.safetensors").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="is damaged"):
        load_reward(tmp_path / "broken.safetensors", tokenizer)
    with pytest.raises(ValueError, match="is not a reward model of this course"):
        load_reward(pretrained.checkpoints.HERE / "sft.safetensors", tokenizer)


def test_a_folder_goes_to_transformers_and_comes_back(shipped, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = shipped
    reward_to_hf(model, tmp_path, tokenizer.end, tokenizer.pad)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    rows = [chat_ids(prompt, text, tokenizer) for prompt, text in CHATS]
    ids, mask = padded(rows, "right")
    with torch.no_grad():
        found = theirs(ids, attention_mask=mask.long()).logits.squeeze(-1)
        torch.testing.assert_close(found, model(ids, mask), rtol=1e-5, atol=1e-5)
    theirs.save_pretrained(tmp_path / "again")
    back = reward_from_hf(tmp_path / "again")
    assert rewards_of(back, tokenizer, CHATS).equal(rewards_of(model, tokenizer, CHATS))


def test_an_untied_body_survives_the_folder(tmp_path):
    config = Config(vocabulary=11, context=16, width=8, layers=1, heads=2, kv_heads=1, hidden=8, tied=False)  # fmt: skip
    model = RewardModel(Transformer(config)).eval()
    reward_to_hf(model, tmp_path, end=1, pad=0)
    torch.testing.assert_close(reward_from_hf(tmp_path)(IDS), model(IDS))


def test_a_folder_that_holds_no_reward_model_is_refused(small, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        reward_from_hf(tmp_path / "gone")
    pretrained.to_hf(small.body, tmp_path / "plain")
    with pytest.raises(ValueError, match="holds no reward model"):
        reward_from_hf(tmp_path / "plain")
    with pytest.raises(ValueError, match="with the end token as padding"):
        reward_to_hf(small, tmp_path / "new", end=1, pad=1)
    reward_to_hf(small, tmp_path / "other")
    facts = json.loads((tmp_path / "other" / "config.json").read_text())
    facts["model_type"] = "bert"
    (tmp_path / "other" / "config.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="'bert'"):
        reward_from_hf(tmp_path / "other")


# ---- the same batch in TRL


@pytest.fixture
def trainer(shipped, tmp_path, monkeypatch):
    """TRL's RewardTrainer over the comparisons, with our weights in their model."""
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    import datasets
    from transformers import (
        AutoModelForSequenceClassification,
        PreTrainedTokenizerFast,
    )
    from trl import RewardConfig, RewardTrainer

    datasets.disable_progress_bars()
    model, tokenizer = shipped
    fast = PreTrainedTokenizerFast(
        tokenizer_object=to_tokenizers(tokenizer), eos_token="<end>", pad_token="<pad>"
    )
    fast.chat_template = CHAT_TEMPLATE
    reward_to_hf(model, tmp_path / "model", tokenizer.end, tokenizer.pad)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")

    def over(names, **settings):
        rows = [
            {
                "prompt": [{"role": "user", "content": p.prompt}],
                "chosen": [{"role": "assistant", "content": p.chosen}],
                "rejected": [{"role": "assistant", "content": p.rejected}],
            }
            | ({"margin": p.margin} if "margin" in names else {})
            for p in SAID
        ]
        args = RewardConfig(
            output_dir=str(tmp_path / "out"), report_to="none", use_cpu=True,
            bf16=False, max_length=256, disable_tqdm=True,
            per_device_train_batch_size=4, **settings,
        )  # fmt: skip
        return RewardTrainer(
            model=theirs, args=args, processing_class=fast,
            train_dataset=datasets.Dataset.from_list(rows),
        )  # fmt: skip

    return over


@pytest.mark.parametrize(
    ("names", "coefficient"), [((), None), ((), 0.01), (("margin",), 0.01)]
)
def test_batch_loss_and_every_gradient_are_those_of_trl(
    trainer, shipped, names, coefficient
):
    model, tokenizer = shipped
    theirs = trainer(names, center_rewards_coefficient=coefficient)
    batch = theirs.data_collator([*theirs.train_dataset])
    pairs = [encode_preference(p, tokenizer) for p in SAID]
    ids, mask = collate_pairs(pairs, tokenizer.end, tokenizer.pad)
    assert batch["input_ids"].equal(ids.transpose(0, 1).flatten(0, 1))
    assert batch["attention_mask"].bool().equal(mask.transpose(0, 1).flatten(0, 1))
    margins = [torch.tensor([p.margin for p in SAID])] if names else []

    def loss_fn(model, *tensors):
        return pair_loss(model, *tensors, centring=coefficient or 0.0)

    ours, count = accumulate_gradients(model, (ids, mask, *margins), loss_fn)
    assert count == 4
    theirs.model.zero_grad()
    loss = theirs.compute_loss(theirs.model, dict(batch))
    loss.backward()
    torch.testing.assert_close(ours, loss.detach(), rtol=1e-5, atol=1e-6)
    assert_same_gradients(model, theirs.model)
    model.zero_grad()


def assert_same_gradients(ours, theirs):
    from course_lib.pretrained.architectures import LLAMA, their_name

    wanted = dict(theirs.named_parameters())
    found = {
        "score.weight"
        if name == "head.weight"
        else their_name(name.removeprefix("body."), LLAMA): parameter.grad
        for name, parameter in ours.named_parameters()
    }
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(
            gradient, wanted[name].grad, rtol=1e-4, atol=1e-6, msg=name
        )


def test_the_loss_is_minus_the_log_of_a_sigmoid_of_the_gap(shipped):
    model, tokenizer = shipped
    pairs = [encode_preference(p, tokenizer) for p in SAID]
    ids, mask = collate_pairs(pairs, tokenizer.end, tokenizer.pad)
    with torch.no_grad():
        losses, kept = pair_loss(model, ids, mask)
        chosen, rejected = pair_rewards(model, ids, mask)
    assert kept.tolist() == [True] * 4
    even = torch.zeros(4)
    stacked = torch.stack([chosen, rejected], dim=1)
    classes = functional.cross_entropy(stacked, even.long(), reduction="none")
    torch.testing.assert_close(losses, classes)
