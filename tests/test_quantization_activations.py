"""Integers on both sides and training with rounding: exact sums, torch's gradients, QAT beats rounding afterwards."""

from functools import partial

import pytest
import torch
from torch import nn

from course_lib.batches import rows_of
from course_lib.quantization.activations import (
    Int8Linear,
    Observer,
    int8_linear,
    int8_model,
    integer_product,
    observed,
    quantize_tokens,
)
from course_lib.quantization.groups import round_to_nearest
from course_lib.quantization.integers import (
    code_range,
    dequantize,
    quantize,
    scale_and_zero,
    symmetric_scale,
)
from course_lib.quantization.linear import linears, quantized
from course_lib.quantization.qat import (
    FakeQuantLinear,
    fake_quantize,
    finished,
    prepared,
)
from course_lib.training import mean_loss, next_token_loss, train
from tests.tiny import TEXT, same_bits, transformer, weights

IDS = torch.randint(7, (8, 16), generator=torch.Generator().manual_seed(0))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- products of codes


def test_products_of_codes_are_exact_where_floats_are_not():
    codes = torch.full((1, 4096), 127, dtype=torch.int8)
    codes[0, 0] = 126
    exact = 127 * 127 * 4095 + 126 * 127
    product = integer_product(codes, torch.full((1, 4096), 127, dtype=torch.int8))
    assert product.item() == exact
    assert int(torch.tensor(float(exact), dtype=torch.float32)) != exact


def test_dynamic_codes_say_what_the_rounded_numbers_say():
    x, weight = drawn(3, 5, 32), drawn(8, 32, seed=1)
    codes, scale = quantize_tokens(x)
    rows = symmetric_scale(weight, dim=1)
    weight_codes = quantize(weight, rows)
    ours = int8_linear(codes, scale, 0, weight_codes, rows[:, 0])
    rounded = dequantize(codes, scale) @ dequantize(weight_codes, rows).T
    assert ours.shape == (3, 5, 8)
    torch.testing.assert_close(ours, rounded, rtol=1e-4, atol=1e-5)


def test_each_token_has_its_own_scale():
    x = drawn(4, 32) * torch.tensor([1e-3, 1.0, 1e3, 0.0])[:, None]
    codes, scale = quantize_tokens(x)
    assert (codes[:3].abs().amax(dim=1) == 127).all()
    assert ((dequantize(codes, scale) - x).abs() <= scale / 2 * 1.0001).all()


def test_the_zero_point_is_taken_out_of_the_sum():
    x, weight = drawn(6, 32) + 2, drawn(8, 32, seed=1)
    scale, zero = scale_and_zero(x.min(), x.max())
    assert zero > 0
    codes = quantize(x, scale, zero, (0, 255))
    rows = symmetric_scale(weight, dim=1)
    weight_codes = quantize(weight, rows)
    ours = int8_linear(codes, scale, zero.int(), weight_codes, rows[:, 0])
    rounded = dequantize(codes, scale, zero) @ dequantize(weight_codes, rows).T
    torch.testing.assert_close(ours, rounded, rtol=1e-4, atol=1e-4)


# ---- observers


def test_an_observer_remembers_the_widest_range_of_all_batches():
    observer = Observer()
    for batch in (torch.tensor([0.0, 3.0]), torch.tensor([-2.0, 1.0])):
        observer.see(batch)
    assert (observer.low, observer.high) == (-2, 3)
    scale, zero = observer.scale_and_zero()
    assert (scale * 255).item() == pytest.approx(5)
    assert zero == 102


def test_percentiles_are_averaged_over_batches():
    observer = Observer(share=0.6)
    for shift in (0.0, 10.0, 20.0):
        observer.see(torch.tensor([-500.0, 0.0, 1.0, 2.0, 900.0]) + shift)
    assert (observer.low.item(), observer.high.item()) == pytest.approx((10, 12))


def test_an_observer_that_saw_nothing_says_so():
    with pytest.raises(ValueError, match="has seen nothing: run the model first"):
        Observer().scale_and_zero()


def test_static_and_dynamic_models_say_nearly_the_same_and_leave_the_float_one_alone():
    model = transformer().eval()
    before = weights(model)
    observers = observed(model, lambda m: m(IDS))
    assert list(observers) == list(linears(model))
    with torch.no_grad():
        wanted = model(IDS)
        for small in (int8_model(model), int8_model(model, observers)):
            assert linears(small) == {}
            torch.testing.assert_close(small(IDS), wanted, rtol=0, atol=0.01)
    assert same_bits(weights(model), before)


def test_one_outlier_token_costs_static_ranges_and_not_dynamic_ones():
    layer, x = nn.Linear(32, 8), drawn(200, 32)
    x[7] *= 300
    usual = torch.arange(200) != 7
    observer, careful = Observer(), Observer(share=0.99)
    observer.see(x)
    careful.see(x)
    with torch.no_grad():
        errors = [
            (Int8Linear(layer, o)(x) - layer(x))[usual].square().mean().item()
            for o in (observer, careful, None)
        ]
    assert errors[0] > 100 * errors[1]
    assert errors[0] > 100 * errors[2]


def test_torch_and_we_agree_on_a_dynamically_quantized_layer():
    """torch's own rounds inputs with one scale for the tensor, so it is a little worse."""
    layer, x = nn.Linear(64, 32), drawn(20, 64)
    theirs = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.Linear})
    with torch.no_grad():
        wanted = layer(x)
        ours = (Int8Linear(layer)(x) - wanted).square().mean()
        assert ours < (theirs(x) - wanted).square().mean()
        torch.testing.assert_close(Int8Linear(layer)(x), theirs(x), rtol=0, atol=0.05)


# ---- fake quantization


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_and_gradients_are_those_of_torch(bits):
    limits = code_range(bits, signed=False)
    x = (3 * drawn(500)).requires_grad_()
    scale, zero = scale_and_zero(torch.tensor(-1.0), torch.tensor(2.0), bits)
    ours = fake_quantize(x, scale, zero, limits)
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, zero.int(), *limits)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    weight = drawn(500, seed=1)
    one, other = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs))
    torch.testing.assert_close(one, other)
    assert 0 < (one == 0).sum() < 500


def test_rounding_without_the_trick_has_no_gradient():
    x = drawn(10).requires_grad_()
    scale = torch.tensor(0.1)
    codes = ((x / scale).round() * scale).sum()
    assert torch.autograd.grad(codes, x)[0].abs().sum() == 0
    assert (torch.autograd.grad(fake_quantize(x, scale).sum(), x)[0] == 1).all()


def test_a_prepared_model_says_what_it_will_say_when_it_is_quantized():
    model = transformer()
    settings = {"bits": 3, "group": 8, "full": True}
    for clip in (False, True):
        ready = prepared(model, **settings, clip=clip)
        small = quantized(
            finished(ready), partial(round_to_nearest, **settings, clip=clip)
        )
        with torch.no_grad():
            torch.testing.assert_close(ready(IDS), small(IDS))
            assert not torch.allclose(ready(IDS), model(IDS))


def test_finished_gives_the_float_weights_back():
    model = transformer()
    assert same_bits(weights(finished(prepared(model))), weights(model))


def test_bias_and_mode_are_kept():
    layer = nn.Linear(8, 4).eval()
    fake = FakeQuantLinear.of(layer, bits=8, group="channel")
    assert torch.equal(fake.bias, layer.bias)
    assert not fake.training
    assert type(finished(nn.Sequential(fake))[0]) is nn.Linear


def test_training_with_rounding_beats_rounding_afterwards_at_two_bits():
    batches = rows_of(TEXT, batch=8, length=12)
    settings = {"bits": 2, "group": "tensor"}
    model = transformer()
    train(model, batches, next_token_loss, steps=60, lr=2e-2)
    make = partial(round_to_nearest, **settings)
    afterwards = mean_loss(quantized(model, make), batches, next_token_loss, 2)
    ready = prepared(model, **settings)
    train(ready, batches, next_token_loss, steps=40, lr=5e-3)
    small = quantized(finished(ready), make)
    trained = mean_loss(small, batches, next_token_loss, 2)
    floats = mean_loss(model, batches, next_token_loss, 2)
    assert floats < 0.05
    assert afterwards > floats + 0.05
    assert trained < floats + 0.25 * (afterwards - floats)
