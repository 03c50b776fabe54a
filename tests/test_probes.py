"""What the probes say is true of models whose inside is known, and they leave every model as it was."""

import pytest
import torch
from torch.testing import assert_close

from course_lib import probes
from course_lib.attention import CausalSelfAttention, attend, rotary
from course_lib.logprobs import token_logprobs
from course_lib.transformer import Config, Transformer

CONFIG = Config(vocabulary=30, context=32, width=16, layers=2, heads=4, hidden=16)


@pytest.fixture
def model():
    generator = torch.Generator().manual_seed(0)
    built = Transformer(CONFIG, generator=generator)
    for weights in built.parameters():
        weights.data *= 8 if weights.dim() > 1 else 1  # or nothing would be visible
    return built.eval()


def text(length, seed=0):
    return torch.randperm(30, generator=torch.Generator().manual_seed(seed))[:length]


def test_a_causal_model_moves_on_and_below_the_diagonal_only(model):
    ids = text(7)
    moved = probes.influence(model, ids, (ids + 1) % 30)
    assert (moved.triu(1) == 0).all()
    assert (moved + torch.ones(7, 7).triu(1) > 1e-4).all()


def test_a_model_without_a_mask_is_seen_above_the_diagonal(model):
    def sees_everything(q, k, v, mask):
        return attend(q, k, v, torch.ones_like(mask))

    ids = text(7)
    with probes.attending(model, lambda layer: sees_everything):
        assert (probes.influence(model, ids, (ids + 1) % 30) > 1e-4).all()


def test_influence_names_row_and_column_as_it_says():
    def next_only(ids):  # each prediction is the number of the token before it
        return torch.nn.functional.pad(ids.float(), (1, 0))[:, :-1, None]

    ids = torch.tensor([1, 2, 3])
    want = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0, 5, 0]])
    assert torch.equal(probes.influence(next_only, ids, ids + 5), want)


def test_influence_refuses_a_replacement_that_replaces_nothing(model):
    with pytest.raises(AssertionError, match="replace every token"):
        probes.influence(model, text(4), text(4))


def test_weights_are_those_that_attention_used(model):
    ids = text(9).unsqueeze(0)
    weights = probes.attention_weights(model, ids)
    assert weights.shape == (2, 4, 9, 9)
    assert_close(weights.sum(dim=-1), torch.ones(2, 4, 9))
    assert (weights.triu(1) == 0).all()
    layer = model.blocks[0].attention
    x = model.blocks[0].attention_norm(model.embed(ids))
    q, k, v = probes_inputs(layer, x)
    by_weights = weights[0].unsqueeze(0) @ v
    assert_close(by_weights, attend(q, k, v, torch.ones(9, 9).tril().bool()))


def probes_inputs(layer, x):
    """What the first layer's attend receives."""
    seen = []

    def note(q, k, v, mask):
        seen.extend((q, k, v))
        return attend(q, k, v, mask)

    rotation = rotary(torch.arange(x.shape[1]), CONFIG.K)
    before, layer.attend = layer.attend, note
    layer(x, rotation)
    layer.attend = before
    return seen


@pytest.mark.parametrize(
    "probe",
    [
        lambda model: probes.attention_weights(model, text(5).unsqueeze(0)),
        lambda model: probes.induction_scores(model, text(5)),
        lambda model: probes.patched(
            model, text(5).unsqueeze(0), text(5, 1).unsqueeze(0), 1, 2
        ),
    ],
)
def test_a_probe_leaves_the_model_as_it_was(model, probe):
    before = [block.attention.attend for block in model.blocks]
    logits = model(text(6).unsqueeze(0))
    probe(model)
    assert [block.attention.attend for block in model.blocks] == before
    assert torch.equal(model(text(6).unsqueeze(0)), logits)


def test_an_error_inside_puts_the_models_own_attention_back(model):
    before = [block.attention.attend for block in model.blocks]
    with pytest.raises(ZeroDivisionError), probes.without_head(model, 0, 1):
        raise ZeroDivisionError
    assert [block.attention.attend for block in model.blocks] == before


def test_a_head_that_is_made_for_it_has_an_induction_score_of_one(model):
    ids = text(6)

    def looks_after_the_same_token(q, k, v, mask):
        return v  # not used: the weights are computed from q and k

    T, H, K = 12, 4, 12
    positions = torch.eye(T)[None, None].expand(1, H, T, K) * 100
    seen = {}

    class Stub(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([torch.nn.Module()])
            self.blocks[0].attention = torch.nn.Module()
            self.blocks[0].attention.attend = looks_after_the_same_token

        def forward(self, ids):
            seen["ids"] = ids
            queries = positions.roll(5, dims=-2)  # query t asks for key t - 5
            mask = torch.ones(T, T, dtype=torch.bool).tril()
            mixed = self.blocks[0].attention.attend(queries, positions, positions, mask)
            return mixed

    assert_close(probes.induction_scores(Stub(), ids), torch.ones(1, 4))
    assert torch.equal(seen["ids"], torch.cat([ids, ids]).unsqueeze(0))


def test_a_silenced_head_equals_an_output_matrix_with_its_columns_at_zero(model):
    ids = text(8).unsqueeze(0)
    with probes.without_head(model, 1, 2), torch.no_grad():
        silenced = model(ids)
    assert not torch.allclose(silenced, model(ids), atol=1e-3)
    K = CONFIG.K
    model.blocks[1].attention.output.weight.data[:, 2 * K : 3 * K] = 0
    assert_close(silenced, model(ids).detach(), rtol=1e-4, atol=1e-4)


def test_the_logprob_of_an_answer_is_the_sum_over_its_tokens_alone(model):
    ids = torch.stack([text(6), text(6, 1)])
    mask = torch.tensor([[0, 0, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0]]).bool()
    got = probes.answer_logprobs(model, ids, mask)
    said = token_logprobs(model(ids[:, :-1]), ids[:, 1:]).detach()
    assert_close(got, torch.stack([said[0, 2] + said[0, 3], said[1, 0]]))


def test_patching_every_position_at_the_bottom_is_the_other_text(model):
    ids, source = text(1).unsqueeze(0), text(1, 1).unsqueeze(0)
    got = probes.patched(model, ids, source, layer=0, place=0)
    assert_close(got, model(source)[0, -1].detach())


def test_patching_the_last_position_at_the_top_is_the_other_texts_answer(model):
    ids, source = text(5).unsqueeze(0), text(5, 1).unsqueeze(0)
    at_the_top = probes.patched(model, ids, source, layer=2, place=4)
    assert_close(at_the_top, model(source)[0, -1].detach())
    elsewhere = probes.patched(model, ids, source, layer=2, place=3)
    assert torch.equal(elsewhere, model(ids)[0, -1].detach())


def test_patching_a_text_with_itself_changes_nothing(model):
    ids = text(5).unsqueeze(0)
    for layer in range(3):
        got = probes.patched(model, ids, ids, layer, place=2)
        assert torch.equal(got, model(ids)[0, -1].detach())


def test_texts_of_two_lengths_cannot_be_patched(model):
    with pytest.raises(AssertionError, match="one length"):
        probes.patched(model, text(5).unsqueeze(0), text(4).unsqueeze(0), 0, 0)


def test_a_learners_layer_can_be_probed_as_well():
    class Mine(CausalSelfAttention):
        pass

    model = Transformer(CONFIG, attention=Mine)
    assert probes.attention_weights(model, text(4).unsqueeze(0)).shape == (2, 4, 4, 4)
