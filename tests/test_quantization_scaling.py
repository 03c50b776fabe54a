"""Trading scales: nothing changes in floats, a planted outlier breaks int8, SmoothQuant and AWQ rescue."""

import inspect
from functools import partial

import pytest
import torch
from torch import nn

from course_lib.quantization.activations import int8_linear, int8_model, quantize_tokens
from course_lib.quantization.groups import round_to_nearest
from course_lib.quantization.integers import quantize, symmetric_scale
from course_lib.quantization.linear import quantized, unpacked
from course_lib.quantization.scaling import (
    awq,
    awq_scale_search,
    mixed_linear,
    outlier_channels,
    planted,
    smoothed,
    smoothing_factors,
    trade,
    trades,
)
from course_lib.transformer import Config, Transformer
from tests.tiny import same_bits, weights

CONFIG = Config(vocabulary=50, context=32, width=64, layers=2, hidden=96)
EVERY_HEAD = Config(
    vocabulary=50, context=32, width=64, layers=1, kv_heads=4, hidden=96
)
GPT2 = Config(
    vocabulary=50, context=32, width=64, layers=2, kv_heads=4, hidden=96,
    positions="learned", norm="layer", mlp="gelu", bias=True,
)  # fmt: skip
IDS = torch.randint(50, (6, 32), generator=torch.Generator().manual_seed(5))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def base(config=CONFIG):
    """A model with weights large enough that what it says depends on the text."""
    model = Transformer(config, generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4) if p.dim() == 2 else p.add_(0.1 * drawn(*p.shape))
    return model


def run(model):
    return model(IDS)


def far(one, other):
    """How far two models' log-probabilities are apart: mean KL in nats."""
    with torch.no_grad():
        p, q = (m(IDS).log_softmax(dim=-1) for m in (one, other))
    return float((p.exp() * (p - q)).sum(dim=-1).mean())


# ---- factors


def test_half_strength_gives_both_sides_the_same_largest_numbers():
    a, w = drawn(8).abs() + 0.1, drawn(8, seed=1).abs() + 0.1
    s = smoothing_factors(a, w)
    torch.testing.assert_close(a / s, w * s)


def test_the_strength_says_which_side_ends_up_even():
    a, w = drawn(8).abs() + 0.1, drawn(8, seed=1).abs() + 0.1
    torch.testing.assert_close(a / smoothing_factors(a, w, 1.0), torch.ones(8))
    torch.testing.assert_close(w * smoothing_factors(a, w, 0.0), torch.ones(8))


def test_a_channel_that_is_never_used_gets_a_finite_factor():
    s = smoothing_factors(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]))
    assert torch.isfinite(s).all()
    assert (s > 0).all()


@pytest.mark.parametrize("config", [CONFIG, EVERY_HEAD, GPT2])
def test_trading_changes_weights_and_not_what_the_model_says(config):
    model = base(config)
    before = weights(model)
    make = partial(round_to_nearest, bits=4, group=32)
    for copy in (planted(model, 3), smoothed(model, run), awq(model, run, make)):
        assert same_bits(weights(model), before)
        assert not same_bits(weights(copy), before)
        with torch.no_grad():
            torch.testing.assert_close(copy(IDS), model(IDS), rtol=1e-3, atol=2e-4)


def test_who_can_trade_with_whom():
    names = dict(trades(base()))
    assert len(names) == 6  # two norms and up in each of two blocks
    assert names["blocks.1.mlp.up"] == ["blocks.1.mlp.down"]
    assert "blocks.0.attention.value" in dict(trades(base(EVERY_HEAD)))
    assert "blocks.0.mlp.up" not in dict(trades(base(GPT2)))  # gelu is not linear
    with pytest.raises(ValueError, match="in our Transformer, not in a Linear"):
        list(trades(nn.Linear(2, 2)))


def test_factors_must_be_positive():
    with pytest.raises(AssertionError, match="factors are positive"):
        trade(nn.LayerNorm(2), [], torch.tensor([1.0, 0.0]))


# ---- the planted outlier


def test_a_planted_outlier_breaks_int8_and_smoothing_rescues():
    model = base()
    model_8 = int8_model(model)
    hurt = planted(model, channel=5, factor=300)
    hurt_8, rescued_8 = int8_model(hurt), int8_model(smoothed(hurt, run))
    assert far(model, hurt) < 1e-6
    assert far(model, hurt_8) > 50 * far(model, model_8)
    assert far(model, rescued_8) < 5 * far(model, model_8)


@pytest.mark.parametrize(("bits", "times"), [(4, 1.5), (8, 50)])
def test_a_planted_outlier_breaks_rounded_weights_and_awq_rescues(bits, times):
    """Its own weights are so small that they round to zero: at 8 bits nothing else is lost."""
    make = partial(round_to_nearest, bits=bits, group=32)
    model = base()
    hurt = planted(model, channel=5, factor=300)
    plain = far(model, unpacked(quantized(model, make)))
    broken = far(model, unpacked(quantized(hurt, make)))
    rescued = far(model, unpacked(quantized(awq(hurt, run, make), make)))
    assert broken > times * plain
    assert rescued < 1.5 * plain
    assert rescued < 0.8 * broken


# ---- AWQ's search


def outlier_inputs(width=32, tokens=100):
    inputs = drawn(tokens, width)
    inputs[:, 4] *= 30
    return inputs


def output_loss(weights, inputs, rounded):
    return (inputs @ (rounded - weights).T).square().mean().item()


def test_the_search_finds_the_best_of_its_strengths():
    weights, inputs = drawn(24, 32, seed=2), outlier_inputs()
    make = partial(round_to_nearest, bits=3, group=16)
    scales, strength = awq_scale_search(weights, inputs, make, steps=10)
    size = inputs.abs().mean(dim=0)
    losses = []
    for i in range(10):
        s = size ** (i / 10)
        s = s / (s.max() * s.min()).sqrt()
        losses.append(output_loss(weights, inputs, make(weights * s)() / s))
    assert strength == losses.index(min(losses)) / 10
    found = output_loss(weights, inputs, make(weights * scales)() / scales)
    assert found == pytest.approx(min(losses), rel=1e-4)
    assert found < 0.5 * losses[0]  # strength 0 is rounding to nearest
    assert strength > 0


def test_channels_of_one_size_need_no_scales():
    weights, inputs = drawn(24, 32, seed=2), torch.ones(50, 32) * drawn(50, 1)
    make = partial(round_to_nearest, bits=4, group=16)
    scales, _ = awq_scale_search(weights, inputs, make)
    torch.testing.assert_close(scales, torch.ones(32))


def test_the_search_draws_nothing():
    assert "generator" not in inspect.signature(awq_scale_search).parameters
    weights, inputs = drawn(8, 32), outlier_inputs()
    make = partial(round_to_nearest, bits=4, group=16)
    one, other = (awq_scale_search(weights, inputs, make)[0] for _ in range(2))
    assert torch.equal(one, other)


# ---- LLM.int8()


def test_outliers_in_float_and_the_rest_in_integers():
    inputs, weights = outlier_inputs(), drawn(24, 32, seed=2)
    wanted = inputs @ weights.T
    scale = symmetric_scale(weights, dim=1)
    codes, token_scale = quantize_tokens(inputs)
    all_int8 = int8_linear(codes, token_scale, 0, quantize(weights, scale), scale[:, 0])
    error = (mixed_linear(inputs, weights) - wanted).square().mean()
    assert error < (all_int8 - wanted).square().mean() / 20


def test_with_everything_an_outlier_the_product_is_the_floats():
    inputs, weights = drawn(5, 8), drawn(3, 8, seed=1)
    assert torch.equal(mixed_linear(inputs, weights, 0.0), inputs @ weights.T)
    none = mixed_linear(inputs, weights, threshold=100.0)
    torch.testing.assert_close(none, inputs @ weights.T, rtol=0.05, atol=0.05)


def test_one_token_makes_a_channel_an_outlier():
    inputs = torch.zeros(4, 3)
    inputs[2, 1] = -6.5
    assert outlier_channels(inputs).tolist() == [False, True, False]
    assert not outlier_channels(inputs, 6.5).any()
