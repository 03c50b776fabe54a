"""Text to numbers, numbers to scores, scores to an answer: each step alone, and all three in a row."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import TextClassificationPipeline

from course_lib.masks import masked_mean
from course_lib.pipeline import (
    BagOfWords,
    TextPipeline,
    WordVocabulary,
    best_labels,
    pad_batch,
    train_classifier,
)
from course_lib.world.reviews import VERDICTS, reviews, twisted_reviews

TEXTS = [text for text, _ in reviews()]
VOCABULARY = WordVocabulary(TEXTS)
NEW = [
    "the tea was haunted",
    "what a warm cake",
    "my soup was cold again this week , twice",
    "cold, burnt",
]
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * 3
MOODS = ("sad", "calm", "glad")


def preprocess(texts):
    return pad_batch([VOCABULARY.encode(text) for text in texts])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return BagOfWords(len(VOCABULARY), labels=2)


# ---- words to numbers


def test_numbers_follow_the_alphabet_after_padding_and_unknown():
    vocabulary = WordVocabulary(["the soup was good"])
    assert vocabulary.words == ["<pad>", "<unknown>", "good", "soup", "the", "was"]
    assert vocabulary.encode("the tea was good") == [4, 1, 5, 2]
    assert len(vocabulary) == 6


def test_order_and_repetition_of_texts_do_not_matter():
    assert WordVocabulary([*TEXTS[::-1], *TEXTS]).words == VOCABULARY.words


def test_known_words_come_back_from_their_numbers():
    for text in TEXTS:
        assert (
            " ".join(VOCABULARY.words[number] for number in VOCABULARY.encode(text))
            == text
        )


def test_an_empty_text_has_no_numbers():
    assert VOCABULARY.encode("") == []


@pytest.fixture(scope="module")
def tokenizer():
    return VOCABULARY.for_transformers()


def test_transformers_tokenizer_gives_the_same_numbers_and_the_same_padding(tokenizer):
    texts = [*TEXTS[::17], *NEW]
    theirs = tokenizer(texts, padding=True, return_tensors="pt")
    ids, mask = preprocess(texts)
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask, theirs["attention_mask"].bool())


def test_transformers_tokenizer_knows_padding_and_unknown_by_their_numbers(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert len(tokenizer) == len(VOCABULARY)


# ---- one rectangle


def test_789_and_5_make_the_rectangle_worked_on_paper():
    ids, mask = pad_batch([[7, 8, 9], [5]])
    assert ids.tolist() == [[7, 8, 9], [5, 0, 0]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert (ids.dtype, mask.dtype) == (torch.long, torch.bool)


def test_a_real_token_may_have_the_number_of_the_padding():
    ids, mask = pad_batch([[4, 0], [0, 0, 0], [4]], pad_id=4)
    assert ids.tolist() == [[4, 0, 4], [0, 0, 0], [4, 4, 4]]
    assert mask.sum(1).tolist() == [2, 3, 1]


def test_a_loop_and_torchs_pad_sequence_agree_on_random_lengths():
    draw = torch.Generator().manual_seed(0)
    for _ in range(10):
        lengths = torch.randint(0, 9, (5,), generator=draw).tolist()
        sequences = [
            torch.randint(30, (length,), generator=draw).tolist()
            for length in [*lengths, 3]
        ]
        ids, mask = pad_batch(sequences, pad_id=31)
        theirs = pad_sequence(
            [torch.tensor(s, dtype=torch.long) for s in sequences], True, 31
        )
        assert torch.equal(ids, theirs)
        width = max(map(len, sequences))
        assert mask.tolist() == [[t < len(s) for t in range(width)] for s in sequences]


def test_reading_the_kept_entries_gives_the_sequences_back():
    sequences = [[3, 1], [], [0, 0, 5, 0], [2]]
    ids, mask = pad_batch(sequences)
    assert [
        row[keep].tolist() for row, keep in zip(ids, mask, strict=True)
    ] == sequences


def test_texts_without_words_make_a_rectangle_of_width_zero():
    ids, mask = pad_batch([[], []])
    assert ids.shape == mask.shape == (2, 0)


# ---- numbers to scores


def test_logits_of_a_model_with_chosen_weights_are_those_worked_on_paper():
    model = BagOfWords(vocabulary_size=4, labels=2, width=1)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor([[99.0], [0.0], [1.0], [4.0]]))
        model.scores.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        model.scores.bias.copy_(torch.tensor([0.0, 0.5]))
    ids, mask = pad_batch([[2, 3, 3], [2]])  # means (1 + 4 + 4) / 3 = 3 and 1
    assert model(ids, mask).tolist() == [[6.0, -2.5], [2.0, -0.5]]


def test_torchs_embedding_bag_agrees_in_value_and_gradient(model):
    # no word is number 0, so that padding can be told by it
    ids, mask = preprocess([*TEXTS[::17], *NEW])
    bag = nn.EmbeddingBag.from_pretrained(
        model.embedding.weight.detach(), False, mode="mean", padding_idx=0
    )
    ours, theirs = model(ids, mask), model.scores(bag(ids))
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    ours_gradient = torch.autograd.grad(ours, model.embedding.weight, weights)[0]
    torch.testing.assert_close(
        ours_gradient, torch.autograd.grad(theirs, bag.weight, weights)[0]
    )
    assert ours_gradient[0].eq(0).all()  # padding learns nothing
    assert ours_gradient[1:].ne(0).any()


def test_a_loop_over_texts_and_words_agrees(model):
    logits = model(*preprocess(NEW))
    for text, got in zip(NEW, logits, strict=True):
        vectors = [model.embedding.weight[number] for number in VOCABULARY.encode(text)]
        torch.testing.assert_close(got, model.scores(sum(vectors) / len(vectors)))


@torch.no_grad()
def test_texts_of_the_same_words_get_the_same_logits(model):
    logits = model(*preprocess([text for text, _ in twisted_reviews()]))
    torch.testing.assert_close(logits[::2], logits[1::2])
    assert not torch.allclose(logits[0], logits[2])  # other words, other logits


@torch.no_grad()
def test_permuting_the_batch_permutes_the_logits_and_nothing_else(model):
    ids, mask = preprocess(TEXTS[::17])
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model(ids[order], mask[order]), model(ids, mask)[order])


@torch.no_grad()
def test_padding_further_changes_nothing_whatever_stands_there(model):
    ids, mask = preprocess(NEW)
    wide, wide_mask = functional.pad(ids, (0, 5), value=7), functional.pad(mask, (0, 5))
    torch.testing.assert_close(model(wide, wide_mask), model(ids, mask))
    model.embedding.weight[0] = math.nan
    assert model(ids, mask).isfinite().all()


@torch.no_grad()
def test_a_neighbour_changes_nothing_with_the_masked_mean_and_something_with_a_plain_one(
    model,
):
    plain = BagOfWords(
        len(VOCABULARY), 2, mean=lambda values, mask, dim: values.mean(dim)
    )
    plain.load_state_dict(model.state_dict())
    short, long = (
        "what a warm cake",
        " and ".join(["my soup was cold again this week"] * 3),
    )
    for candidate, same in ((model, True), (plain, False)):
        alone, together = (
            candidate(*preprocess([short]))[0],
            candidate(*preprocess([short, long]))[0],
        )
        assert torch.allclose(alone, together, atol=1e-6) == same


@torch.no_grad()
def test_a_text_without_words_gets_the_bias_and_no_nan(model):
    ids, mask = preprocess(["", "what a warm cake"])
    assert torch.equal(model(ids, mask)[0], model.scores.bias)


def test_the_mean_that_is_given_is_the_one_that_is_used(model):
    shapes = []

    def mean(values, mask, dim):
        shapes.append((tuple(values.shape), tuple(mask.shape), dim))
        return masked_mean(values, mask, dim)

    BagOfWords(len(VOCABULARY), 2, width=5, mean=mean)(*preprocess(NEW))
    assert shapes == [((4, 9, 5), (4, 9, 5), 1)]


# ---- scores to an answer


def test_weights_1_2_5_read_glad_with_five_eighths():
    ((label, probability),) = best_labels(torch.tensor([[1.0, 2.0, 5.0]]).log(), MOODS)
    assert label == "glad"
    assert probability == pytest.approx(0.625)
    assert type(probability) is float


def test_transformers_postprocess_reads_the_same_answers():
    class Config:
        problem_type, num_labels, id2label = (
            "single_label_classification",
            3,
            dict(enumerate(MOODS)),
        )

    # its last step needs a configuration and no weights
    reader = object.__new__(TextClassificationPipeline)
    reader.model = type("Model", (), {"config": Config})
    for row, (label, probability) in zip(
        LOGITS, best_labels(LOGITS, MOODS), strict=True
    ):
        theirs = reader.postprocess({"logits": row.unsqueeze(0)})
        assert theirs["label"] == label
        assert theirs["score"] == pytest.approx(probability, rel=1e-6)


def test_a_loop_over_python_numbers_agrees():
    for row, (label, probability) in zip(
        LOGITS.tolist(), best_labels(LOGITS, MOODS), strict=True
    ):
        exponentials = [math.exp(score) for score in row]
        assert label == MOODS[row.index(max(row))]
        assert probability == pytest.approx(
            max(exponentials) / sum(exponentials), rel=1e-6
        )


def test_scores_near_1000_are_read_like_those_near_0():
    whole = LOGITS.round()
    assert best_labels(whole + 1000, MOODS) == best_labels(whole, MOODS)


def test_permuting_texts_permutes_answers_and_permuting_labels_changes_none():
    assert best_labels(LOGITS.flip(0), MOODS) == best_labels(LOGITS, MOODS)[::-1]
    turned = best_labels(LOGITS.flip(1), MOODS[::-1])
    for (label, probability), (other, same) in zip(
        turned, best_labels(LOGITS, MOODS), strict=True
    ):
        assert label == other
        assert probability == pytest.approx(same, rel=1e-6)


def test_a_probability_never_falls_below_one_over_the_number_of_labels():
    assert all(probability >= 1 / 3 for _, probability in best_labels(LOGITS, MOODS))
    assert best_labels(torch.zeros(1, 4), "abcd")[0][1] == 0.25


def test_a_missing_label_is_refused_with_both_numbers():
    with pytest.raises(
        AssertionError, match=r"logits\.shape=.*\[6, 3\].*len\(labels\)=2"
    ):
        best_labels(LOGITS, MOODS[:2])


# ---- three in a row


def test_the_three_steps_run_in_order_and_hand_their_results_on():
    pipeline = TextPipeline(
        preprocess=lambda texts: (texts, "mask"),
        model=lambda ids, mask: (ids, mask, "logits"),
        postprocess=lambda logits: [*logits, "answers"],
    )
    assert pipeline(["a text"]) == [["a text"], "mask", "logits", "answers"]


def test_one_text_alone_is_answered_as_in_a_batch_and_no_gradient_is_kept(model):
    seen = []

    def postprocess(logits):
        seen.append(logits.requires_grad)
        return best_labels(logits, VERDICTS)

    classify = TextPipeline(preprocess, model, postprocess)
    for text, (label, probability) in zip(NEW, classify(NEW), strict=True):
        ((alone, same),) = classify([text])
        assert alone == label
        assert probability == pytest.approx(same, rel=1e-6)
    assert not any(seen)


# ---- training


def batch():
    """Two texts that differ in one word, with opposite verdicts."""
    return *preprocess(["the tea was warm", "the tea was cold"]), torch.tensor([1, 0])


def test_a_model_without_an_opinion_starts_at_ln_2(model):
    nn.init.zeros_(model.scores.weight)
    nn.init.zeros_(model.scores.bias)
    assert train_classifier(model, *batch(), steps=1) == pytest.approx([math.log(2)])


def test_each_loss_is_measured_before_its_step(model):
    ids, mask, targets = batch()
    before = functional.cross_entropy(model(ids, mask), targets).item()
    losses = train_classifier(model, ids, mask, targets, steps=2)
    assert losses[0] == before
    assert losses[1] < before


def test_no_steps_change_nothing_and_a_rate_of_zero_never_learns(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    assert train_classifier(model, *batch(), steps=0) == []
    losses = train_classifier(model, *batch(), steps=3, learning_rate=0.0)
    assert losses == losses[:1] * 3
    assert all(
        torch.equal(before[name], weight) for name, weight in model.state_dict().items()
    )


def test_the_first_step_moves_every_touched_weight_by_the_learning_rate(model):
    """AdamW's first step is the sign of the gradient times the rate, after a decay of rate x 0.01."""
    ids, mask, targets = batch()
    weight = model.scores.weight
    before = weight.detach().clone()
    gradient = torch.autograd.grad(
        functional.cross_entropy(model(ids, mask), targets), weight
    )[0]
    train_classifier(model, ids, mask, targets, steps=1, learning_rate=0.02)
    expected = before * (1 - 0.02 * 0.01) - 0.02 * gradient.sign()
    # AdamW's eps against |gradient|
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-5)


def test_gradients_of_an_earlier_use_are_not_added(model):
    ids, mask, targets = batch()
    twin = BagOfWords(len(VOCABULARY), 2)
    twin.load_state_dict(model.state_dict())
    (1000 * twin(ids, mask).sum()).backward()
    assert train_classifier(model, ids, mask, targets, 3) == train_classifier(
        twin, ids, mask, targets, 3
    )


def test_permuting_the_batch_changes_no_loss(model):
    pairs = reviews()[::17]
    ids, mask = preprocess([text for text, _ in pairs])
    targets = torch.tensor([verdict for _, verdict in pairs])
    twin = BagOfWords(len(VOCABULARY), 2)
    twin.load_state_dict(model.state_dict())
    ours = train_classifier(model, ids, mask, targets, 5)
    assert train_classifier(
        twin, ids.flip(0), mask.flip(0), targets.flip(0), 5
    ) == pytest.approx(ours, rel=1e-4)


def test_two_texts_that_differ_in_one_word_are_learned_in_fifty_steps(model):
    ids, mask, targets = batch()
    losses = train_classifier(model, ids, mask, targets, 50)
    assert losses[-1] < 0.05
    assert model(ids, mask).argmax(1).tolist() == [1, 0]
