"""GPTQ: a column step is the best there is, the whole is the slow method, and outputs suffer less."""

from functools import partial

import pytest
import torch

from course_lib.quantization.gptq import (
    all_products,
    column_step,
    gptq,
    gptq_codes,
    gptq_quantized,
    input_products,
    inverse_factor,
    output_error,
)
from course_lib.quantization.groups import in_groups, round_to_nearest
from course_lib.quantization.integers import code_range, symmetric_scale
from course_lib.quantization.linear import linears, unpacked
from tests.tiny import transformer, weights


def drawn(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def layer(out=12, width=32, tokens=200, seed=0):
    """A matrix, and inputs of which some go together, as those of real layers do."""
    mixed = drawn(tokens, width, seed=seed) @ drawn(width, width, seed=seed + 1)
    return drawn(out, width, seed=seed + 2), mixed


def close(left, right, rtol=1e-7):
    torch.testing.assert_close(left, right, rtol=rtol, atol=1e-9)


# ---- what the inputs say


def test_products_are_the_second_derivative_of_the_squared_error():
    x = drawn(20, 3)

    def error(row):
        return (x @ row).square().mean()

    hessian = torch.autograd.functional.hessian(error, drawn(3))
    close(input_products(x), hessian)


def test_the_error_of_the_outputs_needs_no_inputs():
    change, x = layer()
    close(output_error(change, input_products(x)), (x @ change.T).square().mean())


def test_the_factor_times_itself_is_the_inverse():
    products = input_products(drawn(50, 6))
    factor = inverse_factor(products, damp=0.0)
    assert torch.equal(factor, factor.triu())
    close(factor.T @ factor, torch.linalg.inv(products))
    noise = 0.1 * products.diagonal().mean() * torch.eye(6)
    damped = inverse_factor(products, damp=0.1)
    close(damped.T @ damped, torch.linalg.inv(products + noise))


# ---- one column


def test_a_step_on_paper():
    rest = torch.tensor([[1.2, 3.0], [0.4, 1.0]])
    # errors .2 and .4 through 2; the second column loses -1 times that
    stepped = column_step(rest, torch.tensor([1.0, 0.0]), torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(stepped, torch.tensor([[3.1], [1.2]]))


def test_no_other_change_of_later_columns_leaves_a_smaller_error():
    """Brute force: least squares over all that is still free, and random attempts."""
    matrix, x = layer(out=3, width=5)
    factor = inverse_factor(input_products(x), damp=0.0)
    rounded = matrix[:, 0].round()
    stepped = column_step(matrix, rounded, factor[0])
    missing = x @ matrix.T - x[:, :1] * rounded
    close(stepped, torch.linalg.lstsq(x[:, 1:], missing).solution.T)

    def error(rest):
        return (x[:, 1:] @ rest.T - missing).square().mean()

    for seed in range(20):
        assert error(stepped + 0.01 * drawn(3, 4, seed=seed)) > error(stepped)


def test_a_column_that_is_not_changed_changes_nothing():
    matrix, x = layer()
    factor = inverse_factor(input_products(x))
    assert torch.equal(column_step(matrix, matrix[:, 0], factor[0]), matrix[:, 1:])


def test_inputs_that_have_nothing_to_do_with_each_other_do_not_help():
    matrix = drawn(4, 6)
    factor = inverse_factor(torch.eye(6) * 3)
    assert torch.equal(
        column_step(matrix, matrix[:, 0].round(), factor[0]), matrix[:, 1:]
    )


# ---- all columns


def slow_codes(matrix, scales, products, high):
    """Column by column; what is free is solved for anew, with all rounded ones held."""
    width, codes = matrix.shape[1], torch.zeros_like(matrix)
    back, current = torch.zeros_like(matrix), matrix.clone()
    for j in range(width):
        codes[:, j] = (current[:, j] / scales[:, j]).round().clamp(-high, high)
        back[:, j] = codes[:, j] * scales[:, j]
        done, free = slice(0, j + 1), slice(j + 1, width)
        error = (matrix - back)[:, done] @ products[done, free]
        if j + 1 < width:
            change = torch.linalg.solve(products[free, free], error.T).T
            current[:, free] = matrix[:, free] + change
    return codes


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_all_codes_are_those_of_the_slow_method(bits, seed):
    matrix, x = layer(seed=seed)
    products = input_products(x)
    damped = products + 0.05 * products.diagonal().mean() * torch.eye(32)
    scales = symmetric_scale(in_groups(matrix, 8), bits, 2).expand(-1, -1, 8).flatten(1)
    limits = code_range(bits)
    codes = gptq_codes(matrix, scales, inverse_factor(products), limits)
    assert codes.tolist() == slow_codes(matrix, scales, damped, limits[1]).tolist()


@pytest.mark.parametrize("group", ["tensor", "channel", 8])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_outputs_suffer_less_than_from_rounding_to_nearest(bits, group):
    matrix, x = layer(out=40)
    products = input_products(x)
    nearest = round_to_nearest(matrix, bits, group)() - matrix
    ours = gptq(matrix, products, bits, group)() - matrix
    assert output_error(ours, products) < 0.8 * output_error(nearest, products)
    assert (
        ours.square().mean() > nearest.square().mean()
    )  # the weights, not the outputs


def test_without_anything_going_together_gptq_is_rounding_to_nearest():
    matrix = drawn(6, 32).float()
    for settings in ({}, {"full": True}, {"clip": True}, {"ordered": True}):
        plain = {k: v for k, v in settings.items() if k != "ordered"}
        ours = gptq(matrix, torch.eye(32), 3, 8, **settings)
        assert torch.equal(ours(), round_to_nearest(matrix, 3, 8, **plain)())


def test_strong_inputs_first_is_the_same_method_on_reordered_columns():
    matrix, x = layer()
    products = input_products(x)
    order = products.diagonal().argsort(descending=True)
    whole = gptq(matrix, products, 3, "channel", ordered=True)()
    sorted_one = gptq(matrix[:, order], products[order][:, order], 3, "channel")()
    torch.testing.assert_close(whole[:, order], sorted_one)


def test_an_input_that_is_always_zero_is_no_trouble_and_all_zeros_are_refused():
    matrix, x = layer()
    x[:, 3] = 0
    store = gptq(matrix, input_products(x), 4, 8)
    nearest = round_to_nearest(matrix, 4, 8)
    assert torch.isfinite(store()).all()
    products = input_products(x)
    change = store() - matrix, nearest() - matrix
    assert output_error(change[0], products) < output_error(change[1], products)
    with pytest.raises(ValueError, match="read nothing but zeros"):
        gptq(matrix, torch.zeros(32, 32), 4, 8)


def test_nan_and_groups_that_do_not_divide_are_refused():
    matrix, x = layer()
    with pytest.raises(ValueError, match="Groups of 7 do not divide"):
        gptq(matrix, input_products(x), 4, 7)
    x[0, 0] = torch.nan
    with pytest.raises(ValueError, match="nan"):
        gptq(matrix, input_products(x), 4, 8)
    matrix[0, 0] = torch.nan
    with pytest.raises(ValueError, match="nan"):
        gptq(matrix, torch.eye(32), 4, 8)


# ---- models


IDS = torch.randint(7, (8, 16), generator=torch.Generator().manual_seed(0))


def run(model):
    return model(IDS)


def test_products_of_a_model_are_those_of_what_its_layers_read():
    model = transformer()
    seen = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda m, x, name=name: seen.setdefault(name, []).append(x[0].flatten(0, 1))
        )
        for name, module in linears(model).items()
    ]

    def twice(model):
        model(IDS[:3])
        model(IDS[3:])

    with torch.no_grad():
        twice(model)
    for hook in hooks:
        hook.remove()
    products = all_products(model, twice)
    assert list(products) == list(linears(model))
    for name, parts in seen.items():
        wanted = input_products(torch.cat(parts))
        torch.testing.assert_close(products[name], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("in_turn", [True, False])
def test_a_model_keeps_its_floats_and_its_copy_says_nearly_the_same(in_turn):
    model = transformer()
    before = weights(model)
    make = partial(gptq, bits=4, group=8)
    copy = gptq_quantized(model, run, make, in_turn)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(copy(IDS), model(IDS), rtol=0, atol=0.1)
        assert not torch.equal(copy(IDS), model(IDS))
        torch.testing.assert_close(unpacked(copy)(IDS), copy(IDS))


def test_in_turn_each_layer_reads_what_rounded_layers_say():
    model = transformer()
    asked = []

    def note(weight, products):
        asked.append(products)
        return round_to_nearest(weight, 2, "tensor")

    copy = gptq_quantized(model, run, note, in_turn=True)
    float_ones = list(all_products(model, run).values())
    last = list(linears(model))[-1]
    same = all_products(copy, run, [last])[last]
    torch.testing.assert_close(asked[-1], same)
    assert torch.equal(asked[0], float_ones[0])
    assert not torch.allclose(asked[-1], float_ones[-1])
