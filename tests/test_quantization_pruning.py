"""Pruning: masks on paper, zeros that stay zero, files that do not shrink, parts that really go."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from course_lib.batches import rows_of
from course_lib.quantization.linear import linears, stored_bytes
from course_lib.quantization.pruning import (
    magnitude_mask,
    pruned,
    sparse_bytes,
    two_of_four_bytes,
    two_of_four_mask,
    written_out,
    zero_share,
)
from course_lib.quantization.structured import (
    cut_linear,
    head_scores,
    neuron_scores,
    strongest,
    without_heads,
    without_neurons,
)
from course_lib.training import next_token_loss, train
from course_lib.transformer import Config, Transformer
from tests.tiny import TEXT, same_bits, transformer, weights

IDS = torch.randint(7, (4, 16), generator=torch.Generator().manual_seed(0))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by(share):
    return lambda weight: magnitude_mask(weight, share)


# ---- masks


@settings(deadline=None)  # a busy machine is no mistake
@given(some.integers(1, 60), some.floats(0, 1))
def test_exactly_the_share_goes_and_none_that_goes_is_larger_than_one_that_stays(
    n, share
):
    values = drawn(n, seed=n).round(decimals=1)  # many of equal size
    mask = magnitude_mask(values, share)
    gone, kept = values[~mask].abs(), values[mask].abs()
    assert abs(len(gone) - share * n) < 1 + 1e-5
    assert len(gone) <= share * n + 1e-5
    assert not len(gone) or not len(kept) or gone.max() <= kept.min()


def test_two_of_every_four_stay_and_they_are_the_largest():
    values = drawn(6, 16)
    mask = two_of_four_mask(values)
    assert mask.shape == values.shape
    for four, kept in zip(values.view(-1, 4), mask.view(-1, 4), strict=True):
        assert kept.sum() == 2
        assert four[kept].abs().min() >= four[~kept].abs().max()
    assert two_of_four_mask(torch.zeros(1, 8)).sum() == 4


def test_torch_prunes_the_same_weights():
    layer = nn.Linear(16, 8)
    mask = magnitude_mask(layer.weight, 0.3)
    pruning = prune.l1_unstructured(layer, "weight", amount=38)  # 0.3 * 128
    assert torch.equal(pruning.weight_mask.bool(), mask)


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(ValueError, match="Rows of 6 weights do not split into fours"):
        two_of_four_mask(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="nan"):
        magnitude_mask(torch.tensor([1.0, torch.nan]), 0.5)
    with pytest.raises(AssertionError, match="a share of the weights"):
        magnitude_mask(torch.ones(3), 20)
    with pytest.raises(
        ValueError, match=r"Nothing was pruned: the model has no nn\.Linear"
    ):
        pruned(nn.Sequential(nn.Embedding(3, 2)), two_of_four_mask)


# ---- models


def test_a_fifth_of_the_weights_is_zero_and_the_original_is_whole():
    model = transformer()
    before = weights(model)
    thin = pruned(model, by(0.2))
    assert same_bits(weights(model), before)
    assert zero_share(model) == 0
    assert zero_share(thin) == pytest.approx(0.2, abs=0.005)
    for name, layer in linears(written_out(thin)).items():
        kept = layer.weight != 0
        assert torch.equal(layer.weight[kept], model.get_submodule(name).weight[kept])
    with torch.no_grad():
        assert torch.equal(written_out(thin)(IDS), thin(IDS))


def test_zeros_save_no_byte(tmp_path):
    """E115: the file before and after."""
    model = transformer()
    thin = written_out(pruned(model, by(0.2)))
    sizes = []
    for name, one in (("whole", model), ("thin", thin)):
        save_file(one.state_dict(), tmp_path / name)
        sizes.append((tmp_path / name).stat().st_size)
    assert sizes[0] == sizes[1]
    assert stored_bytes(model) == stored_bytes(thin)


def test_one_step_of_training_fills_zeros_that_no_mask_holds():
    thin = pruned(transformer(), by(0.2))
    bare = written_out(thin)
    before = zero_share(thin)
    for model in (thin, bare):
        train(model, rows_of(TEXT, 4, 12), next_token_loss, steps=1, lr=1e-2)
    assert zero_share(thin) == before
    assert zero_share(bare) < 0.001


def test_masked_weights_get_no_gradient_and_the_others_learn():
    thin = pruned(transformer(), by(0.5))
    next_token_loss(thin, TEXT[:16].view(1, 16))[0].mean().backward()
    layer = thin.blocks[0].mlp.up
    assert (layer.weight.grad[~layer.mask] == 0).all()
    assert (layer.weight.grad[layer.mask] != 0).float().mean() > 0.99


# ---- what zeros cost


def test_sparse_bytes_are_those_of_torch():
    matrix = drawn(50, 40) * (drawn(50, 40, seed=1) > 0)
    sparse = matrix.to_sparse_csr()
    kept = int((matrix != 0).sum())
    measured = sparse.values().nbytes + sparse.col_indices().int().nbytes
    measured += sparse.crow_indices().int().nbytes
    assert sparse_bytes(2000, kept, 50) == measured


def test_a_sparse_float_matrix_is_smaller_only_when_more_than_half_is_zero():
    dense = 4 * 1_000_000
    assert sparse_bytes(1_000_000, 800_000, 1000) > 1.5 * dense
    assert sparse_bytes(1_000_000, 500_000, 1000) > dense
    assert sparse_bytes(1_000_000, 480_000, 1000) < dense


def test_two_of_four_stores_nine_sixteenths_in_half_precision():
    assert two_of_four_bytes(1600, value=2) == 1600 * 2 * 9 / 16


# ---- parts that go


def test_a_smaller_layer_says_what_the_larger_one_says_about_what_is_left():
    layer, x = nn.Linear(6, 5), drawn(3, 6)
    rows, columns = torch.tensor([4, 0]), torch.tensor([1, 2, 5])
    small = cut_linear(layer, rows, columns)
    held = torch.zeros(3, 6)
    held[:, columns] = x[:, columns]
    torch.testing.assert_close(small(x[:, columns]), layer(held)[:, rows])


def test_neurons_that_say_nothing_go_first_and_are_not_missed():
    model = transformer()
    for block in model.blocks:
        block.mlp.down.weight.data[:, ::2] = 0
    small = without_neurons(model, 0.5)
    assert small.blocks[0].mlp.up.weight.shape == (12, 16)
    assert small.blocks[0].mlp.down.weight.shape == (16, 12)
    with torch.no_grad():
        torch.testing.assert_close(small(IDS), model(IDS))


def test_bytes_really_go_with_neurons():
    model = transformer()
    small = without_neurons(model, 0.25)
    gone = 2 * 3 * 6 * 16  # blocks, matrices, neurons of 24, width
    assert small.parameter_count == model.parameter_count - gone
    assert stored_bytes(small) == stored_bytes(model) - 4 * gone


@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
def test_heads_that_say_nothing_are_not_missed(mlp):
    config = Config(
        vocabulary=7, context=16, width=16, layers=2, heads=4, kv_heads=2, hidden=24,
        mlp=mlp, bias=mlp == "gelu",
    )  # fmt: skip
    model = Transformer(config, generator=torch.Generator().manual_seed(0))
    attention = model.blocks[1].attention
    attention.output.weight.data[:, :8] = 0  # two query heads of the first key head
    small = without_heads(model, {1: [0]})
    assert small.blocks[1].attention.query.weight.shape == (8, 16)
    assert small.blocks[1].attention.key.weight.shape == (4, 16)
    assert small.blocks[0].attention.query.weight.shape == (16, 16)
    assert head_scores(attention)[:2].tolist() == [0, 0]
    with torch.no_grad():
        torch.testing.assert_close(small(IDS), model(IDS))
        assert not torch.allclose(without_heads(model, {1: [1]})(IDS), model(IDS))
        without_neurons(model, 0.5)(IDS)


def test_the_last_head_stays():
    with pytest.raises(ValueError, match="Block 0 would have no head left"):
        without_heads(transformer(), {0: [0]})


def test_the_smaller_model_can_be_trained_on():
    small = without_neurons(transformer(), 0.5)
    history = train(small, rows_of(TEXT, 4, 12), next_token_loss, steps=15, lr=2e-2)
    assert history.mean(3) < history.losses[0] - 0.3


def test_scores_and_the_strongest():
    mlp = transformer().blocks[0].mlp
    slow = [
        (mlp.down.weight[:, i].norm() * mlp.up.weight[i].norm()).item()
        for i in range(24)
    ]
    assert neuron_scores(mlp).tolist() == pytest.approx(slow)
    assert strongest(torch.tensor([1.0, 2.0]), 1.0).tolist() == [1]
    assert strongest(torch.tensor([5.0, 1.0, 4.0]), 0.0).tolist() == [0, 1, 2]
