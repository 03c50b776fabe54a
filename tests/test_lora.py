"""LoRA: nothing at first, exact when merged, equal to PEFT's; adapters that fit one base only; honest accounts."""

import copy
import inspect
import json
import math
from functools import partial

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from course_lib.batches import rows_of
from course_lib.descent import adamw
from course_lib.lora import layers
from course_lib.lora.adapters import (
    Adapter,
    adapter_state,
    fingerprint,
    load_adapter,
    take_adapter,
)
from course_lib.lora.costs import (
    linear_shapes,
    lora_count,
    measured_parts,
    nf4_bits,
    step_flops,
    trainable_share,
    tuning_parts,
)
from course_lib.lora.folders import from_peft, name_in_peft, to_peft
from course_lib.lora.layers import (
    ALL,
    LoRALinear,
    add_lora,
    learn_rows,
    linear_kinds,
    lora_layers,
    lora_off,
    merge_lora,
    put,
    remove_lora,
)
from course_lib.moe.layer import MixtureOfExperts
from course_lib.pretrained.folders import to_hf
from course_lib.pretrained.loading import unfilled
from course_lib.scaling.parameters import Experts, layer_matrices, parameters
from course_lib.scaling.published import PUBLISHED
from course_lib.training import next_token_loss, train
from course_lib.transformer import Config, Transformer
from tests.tiny import SMALL, TEXT, same_bits, transformer, weights

CONFIG = Config(  # every width different, so that no two can be swapped unseen
    vocabulary=61, context=32, width=48, layers=3, heads=4, kv_heads=2, hidden=40
)
IDS = torch.randint(61, (3, 20), generator=torch.Generator().manual_seed(5))
THEIRS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
THEIRS |= {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def loud(model, seed=0):
    """Every number that learns drawn anew and large, so that a mistake shows."""
    draw = seeded(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=draw) * 0.2)
    return model.eval()


def base(seed=0, config=CONFIG):
    return loud(Transformer(config, generator=seeded(seed)), seed)


def tuned(seed=0, targets=("query", "value"), rank=4, alpha=8.0, **more):
    """A base (always the same) with a random adapter."""
    model = base()
    more = {"generator": seeded(seed)} | more
    add_lora(model, targets, rank, alpha, **more)
    return loud(model, 100 + seed)


def layer(rank=3, alpha=5.0, dtype=torch.float64, bias=True, dropout=0.0):
    linear = nn.Linear(7, 11, bias=bias, dtype=dtype)
    return loud(LoRALinear(linear, rank, alpha, dropout, seeded()))


def close(left, right, tolerance=1e-6):
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- one layer


def test_two_by_two_worked_on_paper():
    linear = nn.Linear(2, 2, bias=False)
    one = LoRALinear(linear, rank=1, alpha=3.0)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        one.A.copy_(torch.tensor([[1.0, -1.0]]))
        one.B.copy_(torch.tensor([[1.0], [2.0]]))
    x = torch.tensor([[5.0, 1.0]])  # Wx = (7, 19); Ax = 4; BAx = (4, 8); times 3
    assert one(x).tolist() == [[19.0, 43.0]]
    assert one.merged().weight.tolist() == [[4.0, -1.0], [9.0, -2.0]]


def test_a_new_layer_says_exactly_what_the_old_one_said():
    linear, x = nn.Linear(7, 11), torch.randn(2, 3, 7, generator=seeded())
    assert torch.equal(LoRALinear(linear, rank=3, alpha=5.0)(x), linear(x))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)]
)
def test_forward_and_merged_equal_the_formula_number_by_number(dtype, tolerance):
    one = layer(dtype=dtype)
    x = torch.randn(5, 7, generator=seeded(), dtype=dtype)
    with torch.no_grad():
        W, b, said = one.linear.weight, one.linear.bias, one(x)
        for n in range(5):
            for out in range(11):
                rows = [
                    W[out, i] + 5.0 / 3 * sum(one.B[out, r] * one.A[r, i] for r in range(3))
                    for i in range(7)
                ]  # fmt: skip
                slow = b[out] + sum(row * x[n, i] for i, row in enumerate(rows))
                close(said[n, out], slow, tolerance)
        close(one.merged()(x), said, tolerance)


def test_merging_leaves_the_layer_as_it_was_and_shares_no_memory_with_it():
    one = layer()
    before = weights(one)
    plain = one.merged()
    assert type(plain) is nn.Linear
    assert all(p.requires_grad for p in plain.parameters())
    with torch.no_grad():
        plain.weight.zero_()
    assert same_bits(weights(one), before)


def test_the_difference_has_the_rank_that_was_asked_for():
    one = layer(rank=3)
    difference = one.merged().weight - one.linear.weight
    assert torch.linalg.matrix_rank(difference) == 3


def test_the_scale_is_alpha_over_rank():
    assert (layer(rank=4, alpha=32).scale, layer(rank=8, alpha=4).scale) == (8, 0.5)


def test_a_is_uniform_up_to_one_over_the_root_of_the_width():
    one = LoRALinear(nn.Linear(400, 5), rank=50, alpha=1.0, generator=seeded())
    bound = 1 / math.sqrt(400)
    assert bound * 0.999 < one.A.abs().max() <= bound
    assert abs(one.A.std() / (bound / math.sqrt(3)) - 1) < 0.02  # 20,000 draws
    again = LoRALinear(nn.Linear(400, 5), rank=50, alpha=1.0, generator=seeded())
    assert torch.equal(one.A, again.A)


def test_the_first_gradient_of_a_is_zero_because_b_is_and_that_of_b_is_not():
    one = LoRALinear(nn.Linear(7, 11), rank=3, alpha=5.0, generator=seeded())
    one(torch.randn(4, 7, generator=seeded())).pow(2).sum().backward()
    assert one.A.grad.abs().max() == 0
    assert one.B.grad.abs().min() > 0
    assert one.linear.weight.grad is None
    with torch.no_grad():
        one.B -= 0.1 * one.B.grad
    one(torch.randn(4, 7, generator=seeded())).pow(2).sum().backward()
    assert one.A.grad.abs().min() > 0


def test_if_both_started_at_zero_neither_would_ever_learn():
    one = LoRALinear(nn.Linear(7, 11), rank=3, alpha=5.0)
    with torch.no_grad():
        one.A.zero_()
    one(torch.randn(4, 7, generator=seeded())).pow(2).sum().backward()
    assert one.A.grad.abs().max() == one.B.grad.abs().max() == 0


def test_gradients_are_those_of_finite_differences():
    one = layer()
    x = torch.randn(4, 7, generator=seeded(), dtype=torch.float64)
    wrt = (one.A, one.B)

    def run(A, B):
        return torch.func.functional_call(one, {"A": A, "B": B}, (x,))

    assert torch.autograd.gradcheck(run, wrt)


def test_dropout_hides_numbers_from_a_only_and_rests_in_evaluation():
    one = layer(dropout=1.0).train()  # hides all
    x = torch.randn(4, 7, dtype=torch.float64, generator=seeded())
    assert torch.equal(one(x), one.linear(x))
    assert not torch.equal(one.eval()(x), one.linear(x))


def test_layers_without_bias_and_of_half_precision_are_wrapped_in_kind():
    half = layer(dtype=torch.bfloat16, bias=False)
    assert {half.A.dtype, half.B.dtype, half.merged().weight.dtype} == {torch.bfloat16}
    assert half.merged().bias is None


def test_a_rank_of_nothing_is_refused_and_nothing_is_frozen():
    model = base()
    with pytest.raises(ValueError, match="rank of an adapter is at least 1, not 0"):
        add_lora(model, rank=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        add_lora(model, dropout=1.5)
    assert all(p.requires_grad for p in model.parameters())
    assert not lora_layers(model)


# ---- in a model


@pytest.mark.parametrize("targets", [("query", "value"), ALL, ["down"], "gate"])
def test_adding_leaves_the_logits_bit_for_bit_and_only_a_and_b_learn(targets):
    model = base()
    before = model(IDS)
    names = add_lora(model, targets, rank=4)
    assert torch.equal(model(IDS), before)
    kinds = {targets} if isinstance(targets, str) else set(targets)
    assert len(names) == 3 * len(kinds)
    assert {name.split(".")[-1] for name in names} == kinds
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {f"{name}.{part}" for name in names for part in "AB"}


def test_a_layer_of_a_learners_own_is_switched_off_and_merged_like_ours():
    written_anew = dict(vars(layers))
    exec(inspect.getsource(LoRALinear), written_anew)  # the same text, another class
    own, plain = base(), base()
    names = add_lora(own, ALL, layer=written_anew["LoRALinear"])
    assert not any(isinstance(module, LoRALinear) for module in own.modules())
    assert [*lora_layers(loud(own))] == names
    with_it = own(IDS)
    with lora_off(own):
        assert torch.equal(own(IDS), plain(IDS))
    assert not torch.allclose(with_it, plain(IDS), atol=1e-2)
    merge_lora(own)
    close(own(IDS), with_it, 1e-3)  # float32, weights of all layers moved


def test_merging_a_model_gives_a_plain_one_with_the_same_logits():
    model = tuned(targets=ALL).double()
    before = model(IDS)
    merge_lora(model)
    close(model(IDS), before, 1e-12)
    assert model.state_dict().keys() == base().state_dict().keys()
    assert all(p.requires_grad for p in model.parameters())
    assert not torch.allclose(before, base().double()(IDS), atol=1e-2)


def test_taking_off_and_switching_off_give_the_base_bit_for_bit():
    model, plain = tuned(targets=ALL), base()
    with_it = model(IDS)
    with lora_off(model):
        assert torch.equal(model(IDS), plain(IDS))
    assert torch.equal(model(IDS), with_it)
    remove_lora(model)
    assert same_bits(weights(model), weights(plain))
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_switching_off_ends_also_after_an_error():
    model = tuned()
    with_it = model(IDS)
    with pytest.raises(KeyError), lora_off(model):
        raise KeyError
    assert torch.equal(model(IDS), with_it)


def test_training_moves_the_adapter_and_leaves_the_base_bit_for_bit():
    model = transformer()
    before = fingerprint(model)
    add_lora(model, ALL, rank=4, generator=seeded())
    rows = rows_of(TEXT, batch=8, length=12)
    history = train(model, rows, next_token_loss, steps=60, lr=2e-2)
    assert history.mean(5) < 0.9 * history.losses[0]  # the base is random
    assert fingerprint(model) == before


def test_a_name_that_is_no_linear_layer_is_answered_with_the_names_that_are():
    with pytest.raises(ValueError, match=r"is called q_proj; there are: query, key, v"):
        add_lora(base(), ["q_proj", "v_proj"])
    with pytest.raises(ValueError, match="is called nothing"):
        add_lora(base(), [])
    sizes = {"vocab_size": 61, "n_positions": 32, "n_embd": 48, "n_layer": 2}
    theirs = GPT2LMHeadModel(GPT2Config(**sizes, n_head=4))
    with pytest.raises(ValueError, match=r"called c_attn; there are: lm_head\."):
        add_lora(theirs, ["c_attn"])  # Conv1D is no linear layer


def test_a_second_adapter_on_top_of_the_first_is_refused():
    with pytest.raises(ValueError, match="carries an adapter: merge it or take it off"):
        add_lora(tuned(), ["key"])


def test_put_reaches_into_lists_and_leaves_the_rest():
    model = base()
    put(model, "blocks.1.mlp.up", nn.Identity())
    assert linear_kinds(model)["up"] == 2
    assert isinstance(model.blocks[1].mlp.up, nn.Identity)


# ---- new words


def with_rows(seed=0, ids=(7, 60, 3)):
    model = base()
    add_lora(model, rank=4, alpha=8.0, generator=seeded(seed))
    learn_rows(model, ids)
    return loud(model, 100 + seed)


def test_rows_that_learn_change_nothing_at_first_and_then_only_themselves():
    model = base()
    before, matrix = model(IDS), model.embed.weight.clone()
    add_lora(model, rank=4)
    learn_rows(model, [7, 60, 3, 7])
    assert torch.equal(model(IDS), before)
    extra = 3 * lora_count([(48, 48), (24, 48)], 4) + 3 * CONFIG.width
    assert trainable_share(model)[0] == extra
    train(model, lambda step: IDS, next_token_loss, steps=3)
    changed = (model.embed.weight != matrix).any(dim=1).nonzero().flatten()
    assert changed.tolist() == [3, 7, 60]


def test_the_gradient_of_rows_is_that_of_these_rows_in_full_tuning():
    model, full = base(), base()
    add_lora(model, rank=4)
    learn_rows(model, [60, 7])
    for one in (model, full):
        next_token_loss(one, IDS)[0].mean().backward()
    close(model.embed.rows.grad, full.embed.weight.grad[[7, 60]])


def test_rows_are_merged_taken_off_switched_off_and_swapped_with_the_rest():
    model, other, plain = with_rows(1), with_rows(2, ids=(1, 2, 50)), base()
    one, two = model(IDS), other(IDS)
    with lora_off(model):
        assert torch.equal(model(IDS), plain(IDS))
    first, second = take_adapter(model), take_adapter(other)
    assert first.base == fingerprint(plain)
    load_adapter(model, second)
    assert torch.equal(model(IDS), two)
    load_adapter(model, first)
    assert torch.equal(model(IDS), one)
    merge_lora(model)
    close(model(IDS), one, 1e-4)  # weights of size 1 in every layer: sums round
    remove_lora(other)
    for after in (model, other):
        assert after.state_dict().keys() == plain.state_dict().keys()
    assert same_bits(weights(other), weights(plain))


def test_rows_without_an_adapter_or_of_no_token_are_refused():
    with pytest.raises(ValueError, match="call add_lora before"):
        learn_rows(base(), [3])
    with pytest.raises(ValueError, match="call add_lora before"):
        learn_rows(with_rows(), [3])
    for ids in ([], [61], [-1, 4]):
        with pytest.raises(ValueError, match="tokens from 0 to 60, at least one"):
            learn_rows(tuned(), ids)
    with pytest.raises(ValueError, match="lacks embed"):
        load_adapter(with_rows(), take_adapter(tuned()))


# ---- adapters


def test_two_adapters_on_one_base_swap_and_the_logits_come_back_bit_for_bit():
    model, other = tuned(1), tuned(2, alpha=24.0)
    first, second = take_adapter(model), take_adapter(other)
    one, two = model(IDS), other(IDS)
    load_adapter(model, second)
    assert torch.equal(model(IDS), two)
    load_adapter(model, first)
    assert torch.equal(model(IDS), one)
    assert not torch.allclose(one, two, atol=1e-2)


def test_an_adapter_is_a_copy_that_later_training_does_not_touch():
    model = tuned()
    kept = take_adapter(model)
    before = {name: tensor.clone() for name, tensor in kept.weights.items()}
    loud(model, 7)
    assert same_bits(kept.weights, before)
    assert not same_bits(adapter_state(model), before)


def test_a_model_that_is_not_learning_drops_nothing_after_it_was_given_an_adapter():
    model = base().eval()
    add_lora(model, ALL, dropout=0.5)
    assert not any(part.training for part in model.modules())
    loud(model)  # also evaluation
    assert torch.equal(model(IDS), model(IDS))
    model.train()
    assert not torch.equal(model(IDS), model(IDS))


def test_a_state_holds_only_a_and_b():
    state = adapter_state(tuned(targets=ALL))
    assert {name.split(".")[-1] for name in state} == {"A", "B"}
    assert sum(t.numel() for t in state.values()) == trainable_share(tuned(0, ALL))[0]


def changed(adapter, **parts):
    return Adapter(**{**vars(adapter), **parts})


def test_what_does_not_fit_is_refused_in_a_sentence_and_nothing_changes():
    model = tuned(1)
    fits, before = take_adapter(tuned(2)), weights(model)
    some = dict([*fits.weights.items()][:-1])
    foreign = base(seed=9)
    add_lora(foreign, rank=4, alpha=8.0)
    for adapter, words in (
        (take_adapter(foreign), "trained on another base"),
        (take_adapter(tuned(rank=3)), r"has shape \(3, 48\).*\(4, 48\): is the rank"),
        (changed(fits, weights=some), r"lacks blocks.2.attention.value.B \(1 in all\)"),
        (take_adapter(tuned(targets=ALL)), r"also holds .* \(30 in all\)"),
    ):
        with pytest.raises(ValueError, match=words):
            load_adapter(model, adapter)
    assert same_bits(weights(model), before)
    for work in (lambda m: load_adapter(m, fits), take_adapter):
        with pytest.raises(ValueError, match="carries no adapter: call add_lora first"):
            work(base())


def test_a_fingerprint_tells_bases_apart_by_one_bit_and_ignores_adapters():
    one, other = base(), base()
    assert fingerprint(one) == fingerprint(other) == fingerprint(tuned())
    with torch.no_grad():
        other.norm.weight[3] = torch.nextafter(other.norm.weight[3], torch.tensor(9.0))
    marks = {fingerprint(m) for m in (one, other, base(1), base().bfloat16())}
    assert len(marks) == 4
    assert fingerprint(merged_copy(tuned())) != fingerprint(one)


def merged_copy(model):
    model = copy.deepcopy(model)
    merge_lora(model)
    return model


# ---- PEFT


def peft_twin(model, folder, **settings):
    """The same base in transformers, under PEFT."""
    to_hf(model, folder)
    theirs = AutoModelForCausalLM.from_pretrained(
        folder, dtype=model.embed.weight.dtype
    )
    return get_peft_model(theirs, LoraConfig(task_type="CAUSAL_LM", **settings))


def copied_from(peft_model, model):
    """Our adapter with the numbers that PEFT's has."""
    names = {f"{ours}": theirs for ours, theirs in THEIRS.items()}
    found = dict(peft_model.named_parameters())
    with torch.no_grad():
        for name, one in lora_layers(model).items():
            _, number, part, kind = name.split(".")
            where = {"attention": "self_attn", "mlp": "mlp"}[part]
            theirs = f"base_model.model.model.layers.{number}.{where}.{names[kind]}"
            for letter in "AB":
                numbers = found[f"{theirs}.lora_{letter}.default.weight"]
                getattr(one, letter).copy_(numbers)
    return model


@pytest.mark.parametrize("targets", [("query", "value"), ALL])
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_gradients_and_merged_weights_are_peft_s(targets, seed, tmp_path):
    plain = base()
    modules = [THEIRS[kind] for kind in targets]
    theirs = peft_twin(plain, tmp_path, r=4, lora_alpha=8, target_modules=modules)
    loud(theirs, seed)
    ours = base()
    add_lora(ours, targets, rank=4, alpha=8.0)
    copied_from(theirs, ours)
    said, other = ours(IDS), theirs(IDS).logits
    close(said, other, 1e-5)  # float32, three layers
    assert trainable_share(ours)[:2] == theirs.get_nb_trainable_parameters()
    next_token_loss(ours, IDS)[0].mean().backward()
    theirs(input_ids=IDS, labels=IDS).loss.backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    mine = {n: p.grad for n, p in ours.named_parameters() if p.requires_grad}
    assert len(gradients) == len(mine)
    for name, gradient in mine.items():
        close(gradient, gradients[name_in_peft(name)[:-6] + "default.weight"], 1e-5)
    merge_lora(ours)
    merged = theirs.merge_and_unload().state_dict()
    for name in ("query", "value"):
        where = f"model.layers.2.self_attn.{THEIRS[name]}.weight"
        close(getattr(ours.blocks[2].attention, name).weight, merged[where])


def test_with_dropout_one_seed_gives_peft_s_numbers(tmp_path):
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    theirs = peft_twin(base(), tmp_path, lora_dropout=0.3, **settings)
    loud(theirs).train()
    ours = base()
    add_lora(ours, rank=4, alpha=8.0, dropout=0.3)
    copied_from(theirs, ours).train()
    torch.manual_seed(3)
    left = ours(IDS)
    torch.manual_seed(3)
    close(left, theirs(IDS).logits, 1e-5)


@pytest.mark.parametrize("targets", [("query", "value"), ALL, ("down", "output")])
def test_peft_loads_our_folder_on_the_twin_with_equal_logits(targets, tmp_path):
    model = tuned(targets=targets, rank=3, alpha=5.0)
    to_hf(base(), tmp_path / "base")
    to_peft(model, tmp_path / "adapter", tmp_path / "base")
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = PeftModel.from_pretrained(twin, tmp_path / "adapter")
    close(theirs(IDS).logits, model(IDS), 1e-5)


def test_our_model_reads_peft_s_folder_with_equal_logits(tmp_path):
    modules = ["k_proj", "up_proj"]
    theirs = peft_twin(
        base(), tmp_path / "base", r=5, lora_alpha=7, target_modules=modules
    )
    loud(theirs).save_pretrained(tmp_path / "adapter")
    model = base()
    names = from_peft(model, tmp_path / "adapter")
    assert {name.split(".")[-1] for name in names} == {"key", "up"}
    close(model(IDS), theirs(IDS).logits, 1e-5)
    assert trainable_share(model)[0] == theirs.get_nb_trainable_parameters()[0]


def test_a_folder_written_and_read_gives_the_same_bits_and_settings(tmp_path):
    model, again = tuned(targets=ALL, dropout=0.1), base()
    to_peft(model, tmp_path)
    from_peft(again, tmp_path)
    assert torch.equal(again(IDS), model(IDS))
    kept, found = take_adapter(model), take_adapter(again)
    assert (kept.alpha, kept.base) == (found.alpha, found.base)
    assert same_bits(kept.weights, found.weights)
    learning = {n for n, p in again.named_parameters() if p.requires_grad}
    assert learning == kept.weights.keys()
    assert {one.dropout.p for one in lora_layers(again).values()} == {0.1}


def test_rows_that_learn_travel_to_peft_and_back(tmp_path):
    model, again = with_rows(), base()
    to_hf(base(), tmp_path / "base")
    to_peft(model, tmp_path / "adapter")
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs = PeftModel.from_pretrained(twin, tmp_path / "adapter", is_trainable=True)
    close(theirs.eval()(IDS).logits, model(IDS), 1e-5)
    assert theirs.get_nb_trainable_parameters()[0] == trainable_share(model)[0]
    from_peft(again, tmp_path / "adapter")
    close(again(IDS), model(IDS), 1e-5)
    assert trainable_share(again) == trainable_share(model)
    settings = {"target_modules": ["q_proj"], "trainable_token_indices": [60, 3, 7]}
    theirs = peft_twin(base(), tmp_path / "other", r=2, **settings)
    loud(theirs).save_pretrained(tmp_path / "theirs")  # in an order of their own
    model = base()
    from_peft(model, tmp_path / "theirs")
    close(model(IDS), theirs(IDS).logits, 1e-5)


def test_folders_that_do_not_fit_are_refused_and_the_model_stays_as_it_was(tmp_path):
    to_peft(tuned(targets=ALL), tmp_path)
    model, before = base(), weights(base())
    table = json.loads((tmp_path / "adapter_config.json").read_text())
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    few = dict([*tensors.items()][1:])
    strange = tensors | {"base_model.model.lm_head.lora_A.weight": torch.ones(1)}

    def refused(words, facts=None, weights=None, on=model, error=ValueError):
        folder = tmp_path / "copy"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(table | (facts or {})))
        save_file(weights or tensors, folder / "adapter_model.safetensors")
        with pytest.raises(error, match=words):
            from_peft(on, folder)

    refused("use_dora = True", {"use_dora": True})
    refused("use_rslora = True", {"use_rslora": True})
    refused("peft_type = 'PROMPT_TUNING'", {"peft_type": "PROMPT_TUNING"})
    refused("init_lora_weights = 'pissa'", {"init_lora_weights": "pissa"})
    refused("rows of the tokens", {"trainable_token_indices": [5]})
    refused("a list, not", {"trainable_token_indices": {"lm_head": [5]}})
    refused("rank_pattern", {"rank_pattern": {"q_proj": 2}})
    refused(r"down needs A and B of shapes \[\(5, 40\), \(48, 5\)\]|needs A", {"r": 5})
    refused("needs A and B of shapes", weights=few)
    refused("holds base_model.model.lm_head.*no place", weights=strange)
    refused("carries an adapter", on=tuned())
    with pytest.raises(ValueError, match="adapter of another base"):
        from_peft(base(seed=9), tmp_path)  # as it was written, with its fingerprint
    with pytest.raises(FileNotFoundError, match="There is no adapter in"):
        from_peft(model, tmp_path / "nothing")
    (tmp_path / "copy" / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match="is damaged"):
        from_peft(model, tmp_path / "copy")
    (tmp_path / "copy" / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks its weights"):
        from_peft(model, tmp_path / "copy")
    assert same_bits(weights(model), before)
    assert all(p.requires_grad for p in model.parameters())


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    to_peft(tuned(1), tmp_path / "ours")
    to_peft(tuned(2), tmp_path / "ours")  # replaces what to_peft wrote
    settings = {"r": 4, "target_modules": ["q_proj"]}
    theirs = peft_twin(base(), tmp_path / "base", **settings)
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("dear diary")
    for name, words in (("theirs", "from elsewhere"), ("diary", "holds monday.txt")):
        with pytest.raises(ValueError, match=words):
            to_peft(tuned(), tmp_path / name)
    with pytest.raises(ValueError, match="is a file"):
        to_peft(tuned(), tmp_path / "diary" / "monday.txt")
    with pytest.raises(ValueError, match="carries no adapter"):
        to_peft(base(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_adapters_of_gpt2_of_experts_and_of_some_blocks_only_have_no_folder(tmp_path):
    gpt2 = Config(
        vocabulary=61, width=48, layers=2, heads=4, kv_heads=4, positions="learned",
        norm="layer", mlp="gelu", bias=True,
    )  # fmt: skip
    model = base(config=gpt2)
    add_lora(model)
    with pytest.raises(ValueError, match="query, key and value in one matrix"):
        to_peft(model, tmp_path)
    mixture = partial(MixtureOfExperts, experts=Experts(count=2, chosen=1, hidden=12))
    model = Transformer(CONFIG, mlp=mixture)
    add_lora(model, ["up"])
    with pytest.raises(ValueError, match=r"no layer 'mlp\.experts\.0\.up'"):
        to_peft(model, tmp_path)
    partly = tuned()
    put(partly, "blocks.0.attention.query", lora_layers(partly)["blocks.0.attention.query"].linear)  # fmt: skip
    with pytest.raises(ValueError, match="covers every block"):
        to_peft(partly, tmp_path)


# ---- how much is trained


def test_the_share_counts_a_tied_matrix_once_and_the_adapter_in_both():
    model = base()
    total = parameters(CONFIG)
    assert trainable_share(model) == (total, total, 1.0)
    add_lora(model, ALL, rank=4)
    extra = 3 * lora_count(linear_shapes(CONFIG).values(), rank=4)
    assert trainable_share(model) == (extra, total + extra, extra / (total + extra))


@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
def test_shapes_from_the_configuration_are_those_of_the_layers(mlp):
    config = Config(width=48, layers=1, heads=4, kv_heads=2, hidden=40, mlp=mlp)
    model = Transformer(config)
    shapes = {
        name.split(".")[-1]: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    assert linear_shapes(config) == shapes


def test_published_shares_follow_from_shapes_without_any_weights():
    llama = PUBLISHED["LLaMA-7B"].config
    with unfilled():
        model = Transformer(llama)
    add_lora(model, ("query", "value"), rank=8)
    trained, total, share = trainable_share(model)
    shapes = linear_shapes(llama)
    assert trained == llama.layers * lora_count([shapes["query"], shapes["value"]], 8)
    assert total == parameters(llama) + trained
    assert round(100 * share, 3) == 0.062  # in per cent: below "0.1 to 1"
    assert trained * 2 / 1e6 == pytest.approx(8.4, abs=0.05)  # MB in 16 bits
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=61))  # its blocks are full size
    theirs = get_peft_model(
        gpt2, LoraConfig(r=8, target_modules=["c_attn"], fan_in_fan_out=True)
    )
    assert theirs.get_nb_trainable_parameters()[0] == lora_count([(2304, 768)] * 12, 8)


# ---- what tuning costs


def after_a_step(model):
    optimizer = adamw(model)
    next_token_loss(model, IDS % 7)[0].mean().backward()
    optimizer.step()
    return measured_parts(model, optimizer)


@pytest.mark.parametrize("targets", [None, ("query", "value"), ALL])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_that_are_there_are_those_of_the_account(targets, dtype):
    model = Transformer(Config(**{**vars(SMALL), "context": 32}))
    model.to(getattr(torch, dtype))
    total = model.parameter_count
    if targets:
        add_lora(model, targets, rank=2)
    trained = trainable_share(model)[0]
    frozen = total if targets else 0
    assert after_a_step(model) == tuning_parts(frozen, trained, dtype)


def test_lora_saves_eight_times_and_qlora_28_times_but_never_a_hundred_times():
    llama = PUBLISHED["LLaMA-7B"].config
    shapes = linear_shapes(llama)
    full = parameters(llama)
    small = llama.layers * lora_count([shapes["query"], shapes["value"]], rank=8)
    mixed = {"precision": "bfloat16", "mixed": True}
    everything = sum(tuning_parts(0, full, **mixed).values())
    lora = sum(tuning_parts(full, small, **mixed).values())
    qlora = sum(tuning_parts(full, small, frozen_bits=nf4_bits(), **mixed).values())
    assert everything / 1e9 == pytest.approx(108, abs=0.2)
    assert lora / 1e9 == pytest.approx(13.5, abs=0.1)
    assert (round(everything / lora), round(everything / qlora)) == (8, 28)


def test_the_bits_of_nf4_are_weights_and_scales_counted_one_by_one():
    weights, blocks = 2**20, 2**20 // 64
    assert nf4_bits() == (4 * weights + 32 * blocks) / weights
    twice = (4 * weights + 8 * blocks + 32 * blocks / 256) / weights
    assert nf4_bits(double=True) == twice


def counted(model):
    """Operations of matrix products in one step, attention's own left out."""
    with FlopCounterMode(display=False) as counter:
        next_token_loss(model, IDS)[0].mean().backward()
    products = counter.get_flop_counts()["Global"].items()
    return sum(count for op, count in products if "mm" in str(op))


def test_a_step_with_lora_costs_two_thirds_of_full_tuning_at_best():
    model = base()
    tokens, head = 3 * 19, CONFIG.vocabulary * CONFIG.width
    inner = layer_matrices(CONFIG)
    full = counted(model)
    assert full == tokens * step_flops(0, inner + head)
    names = add_lora(model, ("down",), rank=4)
    extra, below = trainable_share(model)[0], inner // CONFIG.layers
    narrow = 4 * CONFIG.hidden  # nothing below the first adapter needs a gradient
    lora = counted(model)
    unasked = 2 * below + 2 * narrow
    assert lora == tokens * (step_flops(inner + head, extra) - unasked)
    assert len(names) == 3
    assert 1 < full / (tokens * step_flops(inner + head, extra)) < 1.5
