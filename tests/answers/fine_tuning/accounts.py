"""Answers to lesson 05 on the share that learns and the bytes of tuning: right ones, and mistakes."""

import itertools
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from course_lib.lora import costs
from course_lib.scaling.memory import number_bytes, training_bytes, training_parts
from tools.graders import Battery

battery = Battery()


# --- trainable_share: right ---------------------------------------------------------------------


@battery.right("trainable_share")
def loop_with_two_counters(model):
    trained = total = 0
    for p in model.parameters():
        total += p.numel()
        if p.requires_grad:
            trained += p.numel()
    return trained, total, trained / total


@battery.right("trainable_share")
def frozen_and_learning_lists(model):
    kinds = {True: [], False: []}
    for _, p in model.named_parameters():
        kinds[p.requires_grad].append(p.nelement())
    trained, frozen = sum(kinds[True]), sum(kinds[False])
    return [trained, trained + frozen, trained / (trained + frozen)]


@battery.right("trainable_share")
def module_by_module_with_a_memory(model):
    seen, counts = set(), [0, 0]
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if id(p) not in seen:
                seen.add(id(p))
                counts[p.requires_grad] += p.shape.numel()
    return counts[1], sum(counts), counts[1] / sum(counts)


@battery.right("trainable_share")
def one_long_vector(model):
    total = parameters_to_vector(model.parameters()).numel()
    sizes = torch.tensor([p.numel() * p.requires_grad for p in model.parameters()])
    trained = sizes.sum()
    return trained, total, trained.double() / total


@battery.right("trainable_share")
def products_of_shapes(model):
    table = np.array([(np.prod(p.shape), p.requires_grad) for p in model.parameters()])
    trained, total = int(table[:, 0] @ table[:, 1]), int(table[:, 0].sum())
    return trained, total, trained / total


@battery.right("trainable_share")
def parameters_in_a_set(model):
    every = set(model.parameters())
    learning = {p for p in every if p.requires_grad}
    sizes = [sum(p.numel() for p in kind) for kind in (learning, every)]
    return (*sizes, sizes[0] / sizes[1])


@battery.right("trainable_share")
def bytes_by_size_of_one(model):
    def count(wanted):
        kept = [p for p in model.parameters() if p.requires_grad in wanted]
        return sum(p.nbytes // p.element_size() for p in kept)

    return (
        count((True,)),
        count((True, False)),
        float(Fraction(count((True,)), count((0, 1)))),
    )


# --- trainable_share: wrong ---------------------------------------------------------------------


def _count(parameters):
    return sum(p.numel() for p in parameters)


def _learning(model):
    return [p for p in model.parameters() if p.requires_grad]


def _wrong_share(says):
    return battery.wrong("trainable_share", says=says)


def _trained(says):
    """A wrong count of what learns; total and share follow from right lines."""

    def decorate(count):
        def answer(model):
            total = _count(model.parameters())
            return count(model), total, count(model) / total

        answer.__name__ = count.__name__
        return _wrong_share(says)(answer)

    return decorate


def _total(says):
    def decorate(count):
        def answer(model):
            trained = _count(_learning(model))
            return trained, count(model), trained / max(count(model), 1)

        answer.__name__ = count.__name__
        return _wrong_share(says)(answer)

    return decorate


def _share(says):
    def decorate(quotient):
        def answer(model):
            trained, total = _count(_learning(model)), _count(model.parameters())
            return trained, total, quotient(trained, total)

        answer.__name__ = quotient.__name__
        return _wrong_share(says)(answer)

    return decorate


@_trained("counts tensors")
def tensors_that_learn(model):
    return len(_learning(model))


@_trained("counts tensors")
def true_values_summed(model):
    return sum(p.requires_grad for p in model.parameters())


@_trained("all numbers are said to learn")
def requires_grad_ignored(model):
    return _count(model.parameters())


@_trained("These are the frozen ones")
def frozen_counted(model):
    return _count(p for p in model.parameters() if not p.requires_grad)


@_trained("goes by names")
def names_with_lora(model):  # ERRATA E57
    return _count(p for n, p in model.named_parameters() if "lora" in n)


@_trained("goes by names")
def names_a_and_b(model):
    named = model.named_parameters()
    return _count(p for n, p in named if n.rpartition(".")[2] in ("A", "B"))


@_trained("goes by names")
def names_that_hold_a_or_b(model):
    return _count(p for n, p in model.named_parameters() if "A" in n or "B" in n)


@_trained("goes by names")
def weights_alone(model):
    return _count(p for n, p in model.named_parameters() if "weight" in n)


@_trained("counts twice among those that learn")
def tied_ones_twice(model):
    named = model.named_parameters(remove_duplicate=False)
    return _count(p for _, p in named if p.requires_grad)


@_trained("Nothing learns in yours")
def through_state_dict(model):
    return _count(p for p in model.state_dict().values() if p.requires_grad)


@_trained("Nothing learns in yours")
def through_data(model):
    return _count(p for p in model.parameters() if p.data.requires_grad)


@_trained("who \\*has\\* a gradient")
def those_with_a_gradient(model):
    return _count(p for p in model.parameters() if p.grad is not None)


@_trained("These are bytes")
def bytes_that_learn(model):
    return sum(p.nbytes for p in _learning(model))


@_trained("Only rows|of every shape")
def rows_that_learn(model):
    return sum(len(p) if p.dim() else 1 for p in _learning(model))


@_trained("of every shape")
def matrices_that_learn(model):
    return _count(p for p in _learning(model) if p.dim() == 2)


@_trained("Only linear layers")
def linear_layers_alone(model):
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return sum(_count(p for p in m.parameters() if p.requires_grad) for m in linears)


@_trained("counts whole")
def modules_with_something(model):
    found = set()
    for module in model.modules():
        own = [*module.parameters(recurse=False)]
        if any(p.requires_grad for p in own):
            found |= set(own)
    return _count(found)


@_trained("nothing is frozen are counted")
def modules_that_learn_whole(model):
    found = set()
    for module in model.modules():
        own = [*module.parameters(recurse=False)]
        if own and all(p.requires_grad for p in own):
            found |= set(own)
    return _count(found)


@_trained("eval mode counts as frozen")
def the_mode_asked(model):
    return _count(_learning(model)) if model.training else 0


@_total("adapter's own numbers are left out")
def total_of_the_frozen(model):
    return _count(p for p in model.parameters() if not p.requires_grad)


@_total("into the total twice")
def total_and_trained(model):
    return _count(model.parameters()) + _count(_learning(model))


@_total("The total is what learns")
def total_of_the_learning(model):
    return _count(_learning(model))


@_total("twice in the total")
def total_with_tied_twice(model):
    return _count(p for _, p in model.named_parameters(remove_duplicate=False))


@_total("twice in the total|Buffers are in the total")
def total_of_state_dict(model):
    return _count(model.state_dict().values())


@_total("Buffers are in the total")
def total_with_buffers(model):
    return _count(itertools.chain(model.parameters(), model.buffers()))


@_total("The total counts tensors")
def total_of_tensors(model):
    return len([*model.parameters()])


@_total("no biases")
def total_of_weights(model):
    return _count(p for n, p in model.named_parameters() if "bias" not in n)


@_total("at every level")
def total_at_every_level(model):
    return sum(_count(m.parameters()) for m in model.modules())


@_total("in bytes")
def total_in_bytes(model):
    return sum(p.nbytes for p in model.parameters())


@_total("in bytes, or in thousands")
def total_in_millions(model):
    return _count(model.parameters()) / 1e6


@_total("Only linear layers")
def total_of_linear_layers(model):
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return sum(_count(m.parameters()) for m in linears)


@_total("Only the parts of the model")
def total_of_the_children(model):
    parts = [*model.children()] or [model]
    return sum(_count(m.parameters()) for m in parts)


@_share("percent")
def percent(trained, total):
    return 100 * trained / total


@_share("of the frozen numbers")
def of_the_frozen(trained, total):
    return trained / max(total - trained, 1)


@_share("is the frozen one")
def what_is_frozen(trained, total):
    return 1 - trained / total


@_share("upside down")
def upside_down(trained, total):
    return total / max(trained, 1)


@_share("cut to a whole number")
def floor_divided(trained, total):
    return trained // total


@_share("rounded")
def rounded_to_four(trained, total):
    return round(trained / total, 4)


@_share("rounded")
def rounded_to_two(trained, total):
    return round(trained / total, 2)


@_share("one number is wanted, the share")
def formatted(trained, total):
    return f"{trained / total:.2%}"


@_wrong_share("exchanged")
def total_first(model):
    trained, total = _count(_learning(model)), _count(model.parameters())
    return total, trained, trained / total


@_wrong_share("three numbers are wanted")
def share_alone(model):
    return _count(_learning(model)) / _count(model.parameters())


@_wrong_share("three numbers are wanted")
def share_left_out(model):
    return _count(_learning(model)), _count(model.parameters())


@_wrong_share("a dict")
def as_a_dictionary(model):
    trained, total, share = loop_with_two_counters(model)
    return {"trained": trained, "total": total, "share": share}


@_wrong_share("a str")
def as_a_sentence(model):
    trained, total, share = loop_with_two_counters(model)
    return f"{trained:,} of {total:,} ({share:.2%})"


@_wrong_share("gone through once")
def generator_kept(model):
    parameters = model.parameters()
    trained = _count(p for p in parameters if p.requires_grad)
    total = _count(parameters)
    return trained, total, trained / total


@_wrong_share("gone through once|Nothing learns in yours")
def generator_kept_total_first(model):
    parameters = model.parameters()
    total = _count(parameters)
    trained = _count(p for p in parameters if p.requires_grad)
    return trained, total, trained / total


@_wrong_share("changed the model")
def freezes_what_it_has_counted(model):
    counted = loop_with_two_counters(model)
    model.requires_grad_(False)
    return counted


@_wrong_share("changed the model")
def switches_to_eval(model):
    model.eval()
    return loop_with_two_counters(model)


@_wrong_share("calls course_lib's own")
def the_librarys_share(model):
    return costs.trainable_share(model)


@_wrong_share("4 of 16|counted piece|divided by")
def the_cards_numbers(model):
    return 4, 16, 0.25


@_wrong_share("stopped|num_parameters")
def as_it_was_published(model):  # ERRATA E57
    trained = model.num_parameters(trainable=True)
    return trained, model.num_parameters(), trained / model.num_parameters()


# --- tuning_parts: right ------------------------------------------------------------------------


@battery.right("tuning_parts")
def two_cases_spelled_out(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    parts = training_parts(trained, precision, mixed)
    if frozen_bits is None:
        parts["frozen"] = frozen * number_bytes(precision)
    else:
        parts["frozen"] = frozen * frozen_bits / 8
    return parts


@battery.right("tuning_parts")
def weights_of_a_training_without_training(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    base = training_parts(frozen, precision)["weights"]
    if frozen_bits is not None:
        base *= frozen_bits / (8 * number_bytes(precision))
    return {"frozen": base, **training_parts(trained, precision, mixed)}


@battery.right("tuning_parts")
def everything_by_hand(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    bits = {
        "float32": 32,
        "bfloat16": 16,
        "float16": 16,
        "float8": 8,
        "int8": 8,
        "int4": 4,
    }
    own = bits[precision] / 8
    if frozen_bits is None:
        frozen_bits = bits[precision]
    parts = OrderedDict(weights=own * trained, gradients=own * trained)
    parts["moments"] = 8 * trained if mixed else 2 * own * trained
    parts["master"] = 4 * trained if mixed else 0
    parts["frozen"] = frozen_bits * frozen / 8
    return parts


@battery.right("tuning_parts")
def bits_as_fractions(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    each = Fraction(frozen_bits or 8 * number_bytes(precision)) / 8
    learned = training_parts(trained, precision, mixed=mixed)
    return dict([("frozen", float(each * Fraction(frozen))), *learned.items()])


@battery.right("tuning_parts")
def tensors_of_one_number(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    own = number_bytes(precision)
    wide = 4.0 if mixed else own
    each = torch.tensor([own, own, 2 * wide, 4.0 * mixed], dtype=torch.float64)
    names = ("weights", "gradients", "moments", "master")
    base = torch.tensor(own if frozen_bits is None else frozen_bits / 8).double()
    return {"frozen": frozen * base, **dict(zip(names, trained * each, strict=True))}


@battery.right("tuning_parts")
def update_of_an_empty_one(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    parts = {}
    parts.update(training_parts(trained, precision, mixed))
    size = {True: number_bytes(precision)}.get(frozen_bits is None)
    parts |= {"frozen": frozen * (size or float(Decimal(str(frozen_bits or 0)) / 8))}
    return parts


# --- tuning_parts: wrong ------------------------------------------------------------------------


def _tuning(says):
    """A wrong answer that says what the right parts become."""

    def decorate(change):
        def answer(frozen, trained, precision="float32", mixed=False, frozen_bits=None):
            case = frozen, trained, precision, mixed, frozen_bits
            parts = two_cases_spelled_out(*case)
            return parts | change(*case)

        answer.__name__ = change.__name__
        return battery.wrong("tuning_parts", says=says)(answer)

    return decorate


def _base(frozen, precision, frozen_bits):
    return frozen * (
        number_bytes(precision) if frozen_bits is None else frozen_bits / 8
    )


@_tuning("takes no bytes in yours. Frozen is not gone")
def base_forgotten(frozen, trained, precision, mixed, frozen_bits):  # ERRATA E59
    return {"frozen": 0.0}


@_tuning("frozen_bits makes no difference")
def bits_ignored(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": frozen * number_bytes(precision)}


@_tuning("taken for bytes")
def bits_as_bytes(frozen, trained, precision, mixed, frozen_bits):
    each = number_bytes(precision) if frozen_bits is None else frozen_bits
    return {"frozen": frozen * each}


@_tuning("frozen part is in bits")
def base_in_bits(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": 8 * _base(frozen, precision, frozen_bits)}


@_tuning("frozen part is in bits")
def bits_times_eight(frozen, trained, precision, mixed, frozen_bits):
    each = number_bytes(precision) if frozen_bits is None else 8 * frozen_bits
    return {"frozen": frozen * each}


@_tuning("does not reach the gradients")
def gradients_in_float32(frozen, trained, precision, mixed, frozen_bits):
    return {"gradients": 4 * trained}


@_tuning("mixed makes the weights wide")
def weights_with_a_master(frozen, trained, precision, mixed, frozen_bits):
    parts = training_parts(trained, precision, mixed)
    return {"weights": parts["weights"] + parts["master"]}


@_tuning("divided by 8 as if they were bits")
def bytes_divided_by_eight(frozen, trained, precision, mixed, frozen_bits):
    each = number_bytes(precision) if frozen_bits is None else frozen_bits
    return {"frozen": frozen * each / 8}


@_tuning("whole bytes")
def bits_floor_divided(frozen, trained, precision, mixed, frozen_bits):
    each = number_bytes(precision) if frozen_bits is None else frozen_bits // 8
    return {"frozen": frozen * each}


@_tuning("whole bytes")
def base_cut(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": int(_base(frozen, precision, frozen_bits))}


@_tuning("whole bytes")
def whole_bits(frozen, trained, precision, mixed, frozen_bits):
    bits = 8 * number_bytes(precision) if frozen_bits is None else frozen_bits
    return {"frozen": frozen * int(bits) / 8}


@_tuning("counts what learns as well")
def base_with_the_adapter(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": _base(frozen + trained, precision, frozen_bits)}


@_tuning("what learns is subtracted")
def adapter_subtracted(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": _base(frozen - trained, precision, frozen_bits)}


@_tuning("counted with `trained`, or the two are exchanged")
def exchanged(frozen, trained, precision, mixed, frozen_bits):
    parts = training_parts(frozen, precision, mixed)
    return {"frozen": _base(trained, precision, frozen_bits), **parts}


@_tuning("32 bits when mixed")
def base_wide_when_mixed(frozen, trained, precision, mixed, frozen_bits):
    wide = "float32" if mixed else precision
    return {"frozen": _base(frozen, wide, frozen_bits)}


@_tuning("32 bits when mixed")
def base_with_a_master(frozen, trained, precision, mixed, frozen_bits):
    return {
        "frozen": _base(frozen, precision, frozen_bits) + (4 * frozen if mixed else 0)
    }


@_tuning("does not follow the precision")
def base_always_in_float32(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": _base(frozen, "float32", frozen_bits)}


@_tuning("does not follow the precision")
def base_always_in_bfloat16(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": _base(frozen, "bfloat16", frozen_bits)}


@_tuning("does not follow the precision")
def base_always_in_four_bits(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": _base(frozen, "int4", frozen_bits)}


@_tuning("gradients or moments as well")
def base_with_gradients(frozen, trained, precision, mixed, frozen_bits):
    size = _base(frozen, precision, frozen_bits)
    return {"frozen": size + frozen * number_bytes(precision)}


@_tuning("gradients or moments as well|takes .* bytes in yours")
def base_trained_whole(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": training_bytes(frozen, precision)}


@_tuning("how many numbers are there")
def bytes_of_one(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": _base(1, precision, frozen_bits)}


@_tuning("counted as they are")
def base_as_numbers(frozen, trained, precision, mixed, frozen_bits):
    return {"frozen": frozen}


@_tuning("weights hold the frozen ones as well")
def weights_of_all(frozen, trained, precision, mixed, frozen_bits):
    return {"weights": (frozen + trained) * number_bytes(precision)}


@_tuning("weights hold the frozen ones as well")
def everything_for_all(frozen, trained, precision, mixed, frozen_bits):
    return training_parts(frozen + trained, precision, mixed)


@_tuning("Gradients are counted for frozen numbers too")
def gradients_for_all(frozen, trained, precision, mixed, frozen_bits):
    return {"gradients": (frozen + trained) * number_bytes(precision)}


@_tuning("moments are counted for frozen numbers too")
def moments_for_all(frozen, trained, precision, mixed, frozen_bits):
    return {"moments": training_parts(frozen + trained, precision, mixed)["moments"]}


@_tuning("master copy is counted for frozen numbers too")
def master_for_all(frozen, trained, precision, mixed, frozen_bits):
    return {"master": training_parts(frozen + trained, precision, mixed)["master"]}


@_tuning("Gradients are counted for frozen numbers too")
def gradients_and_moments_for_all(frozen, trained, precision, mixed, frozen_bits):
    parts = training_parts(frozen + trained, precision, mixed)
    return {part: parts[part] for part in ("gradients", "moments", "master")}


@_tuning("frozen_bits reaches what learns")
def adapter_squeezed_too(frozen, trained, precision, mixed, frozen_bits):
    return {"weights": _base(trained, precision, frozen_bits)}


@_tuning("frozen_bits reaches what learns")
def gradients_squeezed(frozen, trained, precision, mixed, frozen_bits):
    return {"gradients": _base(trained, precision, frozen_bits)}


@_tuning("frozen_bits reaches what learns")
def moments_squeezed(frozen, trained, precision, mixed, frozen_bits):
    if mixed or frozen_bits is None:
        return {}
    return {"moments": 2 * trained * frozen_bits / 8}


@_tuning("mixed makes no difference to the moments")
def mixed_ignored(frozen, trained, precision, mixed, frozen_bits):
    return training_parts(trained, precision)


@_tuning("mixed makes no difference to the master")
def master_forgotten(frozen, trained, precision, mixed, frozen_bits):
    return {"master": 0.0}


@_tuning("moments have 32 bits although|other way round")
def always_mixed(frozen, trained, precision, mixed, frozen_bits):
    return training_parts(trained, precision, True)


@_tuning("other way round")
def mixed_turned_round(frozen, trained, precision, mixed, frozen_bits):
    return training_parts(trained, precision, not mixed)


@_tuning("does not reach the weights")
def precision_not_handed_on(frozen, trained, precision, mixed, frozen_bits):
    return training_parts(trained, mixed=mixed)


@_tuning("no gradients")
def gradients_left_out(frozen, trained, precision, mixed, frozen_bits):
    return {"gradients": 0.0}


@_tuning("There are no moments")
def optimiser_left_out(frozen, trained, precision, mixed, frozen_bits):
    return {"moments": 0.0}


@_tuning("one moment")
def one_moment(frozen, trained, precision, mixed, frozen_bits):
    return {"moments": training_parts(trained, precision, mixed)["moments"] / 2}


@_tuning("beside the frozen")
def weights_left_out(frozen, trained, precision, mixed, frozen_bits):
    return {"weights": 0.0}


@_tuning("kilo-, mega- or gigabytes")
def in_gigabytes(frozen, trained, precision, mixed, frozen_bits):
    parts = two_cases_spelled_out(frozen, trained, precision, mixed, frozen_bits)
    return {part: size / 1e9 for part, size in parts.items()}


@_tuning("an entry total as well")
def with_a_total(frozen, trained, precision, mixed, frozen_bits):
    parts = two_cases_spelled_out(frozen, trained, precision, mixed, frozen_bits)
    return {"total": sum(parts.values())}


def _tuning_whole(says):
    return battery.wrong("tuning_parts", says=says)


@_tuning_whole("one number; a dictionary")
def total_alone(frozen, trained, precision="float32", mixed=False, frozen_bits=None):
    parts = two_cases_spelled_out(frozen, trained, precision, mixed, frozen_bits)
    return sum(parts.values())


@_tuning_whole("a list of 5; a dictionary")
def values_in_a_list(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    parts = two_cases_spelled_out(frozen, trained, precision, mixed, frozen_bits)
    return [*parts.values()]


@_tuning_whole("no entry frozen")
def only_what_learns(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    return training_parts(trained, precision, mixed)


@_tuning_whole("no entry weights")
def only_the_base(frozen, trained, precision="float32", mixed=False, frozen_bits=None):
    return {"frozen": _base(frozen, precision, frozen_bits)}


@_tuning_whole("an entry base|no entry frozen")
def called_base(frozen, trained, precision="float32", mixed=False, frozen_bits=None):
    base = _base(frozen, precision, frozen_bits)
    return {"base": base} | training_parts(trained, precision, mixed)


@_tuning_whole("frozen_bits is None")
def bits_taken_for_granted(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    return {"frozen": frozen * frozen_bits / 8} | training_parts(
        trained, precision, mixed
    )


_SHARED: dict[str, float] = {}


@_tuning_whole("share one dictionary|second call")
def one_dictionary_for_all(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    _SHARED.update(
        two_cases_spelled_out(frozen, trained, precision, mixed, frozen_bits)
    )
    return _SHARED


@_tuning_whole("returned None")
def parts_without_return(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    two_cases_spelled_out(frozen, trained, precision, mixed, frozen_bits)


@_tuning_whole("frozen.*bytes in yours|does not follow")
def the_cards_numbers_again(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    return {"frozen": 4000, "weights": 40, "gradients": 40, "moments": 80, "master": 0}


@_tuning_whole("calls course_lib's own")
def the_librarys_parts(
    frozen, trained, precision="float32", mixed=False, frozen_bits=None
):
    return costs.tuning_parts(frozen, trained, precision, mixed, frozen_bits)


@_tuning("has a say only where they are few")
def bits_that_can_only_shrink(frozen, trained, precision, mixed, frozen_bits):
    size = 8 * number_bytes(precision)
    return {"frozen": frozen * min(size, frozen_bits or size) / 8}


@_tuning("has a say only where they are few|frozen_bits makes no difference")
def bits_of_a_quantised_base_alone(frozen, trained, precision, mixed, frozen_bits):
    quantised = frozen_bits is not None and frozen_bits <= 16
    size = frozen_bits / 8 if quantised else number_bytes(precision)
    return {"frozen": frozen * size}


@_tuning("frozen.*bytes in yours|makes no difference")
def bits_taken_for_nf4(frozen, trained, precision, mixed, frozen_bits):
    return {
        "frozen": frozen * (number_bytes(precision) if frozen_bits is None else 4.5 / 8)
    }


@_tuning("makes no difference")
def bits_where_mixed_alone(frozen, trained, precision, mixed, frozen_bits):
    given = mixed and frozen_bits is not None
    return {"frozen": frozen * (frozen_bits / 8 if given else number_bytes(precision))}
