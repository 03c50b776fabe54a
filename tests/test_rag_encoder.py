"""InfoNCE against torch's cross-entropy and on paper; a small encoder that learns in seconds."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from course_lib.pretrained.checkpoints import load
from course_lib.rag.cards import cards, numbered_cards, pairs
from course_lib.rag.encoder import SmallEncoder, info_nce, train_encoder
from course_lib.rag.metrics import with_interval
from course_lib.rag.retrievers import HybridRetriever, KeywordRetriever
from course_lib.rag.splitting import Chunk
from course_lib.rag.store import Store
from course_lib.tokenizer import SPECIALS, Tokenizer
from course_lib.transformer import Config, Transformer


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def encoder():
    model, tokenizer = load("base")
    return SmallEncoder(model, tokenizer)


# ---- the loss


def test_two_pairs_on_paper():
    """Cosines 1 and 0, temperature 1: log(1 + 1/e)."""
    losses = info_nce(torch.eye(2) * 3, torch.eye(2), temperature=1.0)
    torch.testing.assert_close(losses, torch.full((2,), math.log(1 + math.exp(-1))))


@pytest.mark.parametrize("temperature", [0.02, 0.05, 1.0])
def test_it_is_cross_entropy_with_the_diagonal_as_targets(temperature):
    a, b = drawn(7, 5), drawn(7, 5, seed=1)
    cosines = functional.cosine_similarity(a[:, None], b[None], dim=-1)
    expected = functional.cross_entropy(
        cosines / temperature, torch.arange(7), reduction="none"
    )
    torch.testing.assert_close(info_nce(a, b, temperature), expected)


def test_lengths_of_vectors_do_not_matter_and_the_order_of_pairs_neither():
    a, b = drawn(6, 4), drawn(6, 4, seed=1)
    losses, order = info_nce(a, b), torch.randperm(6)
    torch.testing.assert_close(info_nce(a * 9, b / 7), losses)
    torch.testing.assert_close(info_nce(a[order], b[order]), losses[order])


def test_going_down_pulls_pairs_together_and_others_apart():
    a, b = drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1)
    info_nce(a, b, 1.0).mean().backward()
    better = functional.normalize(a.detach() - 0.1 * a.grad) @ functional.normalize(b).T
    before = functional.normalize(a.detach()) @ functional.normalize(b).T
    eye = torch.eye(4, dtype=torch.bool)
    assert (better - before)[eye].mean() > (better - before)[~eye].mean()


def test_another_number_of_texts_is_refused():
    with pytest.raises(AssertionError, match="shape"):
        info_nce(drawn(3, 2), drawn(4, 2))


# ---- vectors


def test_a_vector_is_the_mean_of_the_hidden_states_however_it_is_batched(encoder):
    texts = ["Widra has a cat.", "Lo.", "The home of Lauwen is in Rose Alley."]
    together = encoder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        ids = torch.tensor([encoder.tokenizer.encode(text)])
        with torch.no_grad():
            mean = encoder.model.hidden(ids)[0].mean(dim=0)
        expected = functional.normalize(mean, dim=0).numpy()
        np.testing.assert_allclose(vector, expected, atol=2e-6)
    np.testing.assert_allclose(encoder.embed(texts, 1), together, atol=2e-6)


def test_long_and_empty_texts_have_a_vector(encoder):
    long = "Widra has a cat. " * 200
    vectors = encoder.embed([long, "", long + "More."])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[2])
    assert encoder.embed([]).shape == (0, encoder.model.config.width)
    with pytest.raises(ValueError, match="list of texts"):
        encoder.embed("one text")


# ---- learning


def found_in(way, asked, k):
    """1 for each card that its question finds among the first k, else 0."""
    hits = [[hit.chunk.source for hit in way.search(c.question, k)] for c in asked]
    return np.array([c.id in ids for c, ids in zip(asked, hits, strict=True)], float)


def stored(told):
    return [Chunk(card.text, 0, card.id) for card in told]


def filled(encoder, told):
    store = Store(encoder.embed)
    store.add(stored(told))
    return store


@pytest.fixture(scope="module")
def learned():
    encoder = SmallEncoder(*load("base"))
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    history = train_encoder(encoder, partial(pairs, people=8), steps=60)
    return encoder, before, history


def test_sixty_steps_find_cards_about_names_that_it_never_read(learned):
    encoder, before, history = learned
    told = cards(30, random.Random(5), held_out=True)
    untaught = SmallEncoder(*load("base"))
    untaught.load_state_dict(before)
    first = found_in(filled(untaught, told), told, 1).mean()
    assert history.losses[-1] < history.losses[0] / 2
    assert found_in(filled(encoder, told), told, 1).mean() > max(0.5, 3 * first)


def test_with_names_and_numbers_both_ways_together_beat_either_alone(learned):
    """Words fail where a card says it otherwise, the encoder where a number decides."""
    drawn = random.Random(6)
    asked = [*cards(30, drawn, held_out=True), *numbered_cards(180, drawn)]
    words, meaning = KeywordRetriever(stored(asked)), filled(learned[0], asked)
    both = found_in(HybridRetriever([words, meaning]), asked, 3)
    for part in (words, meaning):
        assert with_interval(both - found_in(part, asked, 3)).low > 0


def test_training_is_the_same_every_time():
    texts = ["Widra has a cat.", "Lauwen is a cook."]
    spoken = load("base")[1]

    def trained():
        config = Config(len(spoken), context=64, width=16, layers=1, heads=2)
        model = Transformer(config, generator=torch.Generator().manual_seed(0))
        encoder = SmallEncoder(model, spoken)
        train_encoder(encoder, partial(pairs, people=4), steps=2)
        return encoder.embed(texts)

    assert np.array_equal(trained(), trained())
    assert isinstance(spoken, Tokenizer)
    assert {*SPECIALS} <= {*spoken.specials}
