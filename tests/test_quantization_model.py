"""The course model in few bits: at three bits the order of methods, at eight no difference, and the planted outlier."""

from functools import partial

import pytest
import torch

from course_lib import pretrained
from course_lib.exam import loss_on
from course_lib.quantization.activations import int8_model
from course_lib.quantization.codebooks import nf4
from course_lib.quantization.gptq import gptq, gptq_quantized
from course_lib.quantization.groups import round_to_nearest
from course_lib.quantization.linear import quantized, stored_bytes, unpacked
from course_lib.quantization.scaling import awq, planted, smoothed
from course_lib.world.corpus import BASE, marked, stream

MODEL, TOKENIZER = pretrained.load("base")


def text(seed, count):
    """So many tokens of new texts of the town, and which of them count."""
    ids, kept, texts = [], [], stream(BASE, seed)
    while len(ids) < count:
        one, counts = marked(next(texts), TOKENIZER)
        ids, kept = ids + one, kept + counts
    return torch.tensor(ids[:count]), torch.tensor(kept[:count])


TEST = text(990_001, 24 * 256)
CALIBRATION = text(990_002, 16 * 256)[0].view(16, 256)


def run(model):
    with torch.no_grad():
        model(CALIBRATION)


def loss(model):
    return loss_on(unpacked(model), *TEST)


@pytest.fixture(scope="module")
def floats():
    return loss_on(MODEL, *TEST)


def test_at_three_bits_every_refinement_helps(floats):
    losses = [
        loss(quantized(MODEL, partial(round_to_nearest, bits=3, group=group)))
        for group in ("tensor", "channel", 32)
    ]
    make = partial(gptq, bits=3, group=32)
    losses.append(loss(gptq_quantized(MODEL, run, make, in_turn=False)))
    losses.append(floats)
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 5 * floats  # one scale for a matrix: the model is gone
    assert losses[2] < 1.1 * floats


def test_at_three_bits_awq_beats_rounding_to_nearest():
    make = partial(round_to_nearest, bits=3, group=32)
    assert loss(quantized(awq(MODEL, run, make), make)) < loss(quantized(MODEL, make))


def test_int8_cannot_be_told_from_floats(floats):
    for group in ("tensor", "channel", 32):
        small = quantized(MODEL, partial(round_to_nearest, bits=8, group=group))
        assert loss(small) == pytest.approx(floats, abs=0.002)
    assert loss_on(int8_model(MODEL), *TEST) == pytest.approx(floats, abs=0.005)


def test_four_bits_make_the_file_less_than_four_times_smaller_because_of_the_embedding():
    small = quantized(MODEL, nf4)
    assert 3.4 < stored_bytes(MODEL) / stored_bytes(small) < 4
    make = partial(round_to_nearest, bits=8, group="channel")
    both = quantized(MODEL, nf4, embedding=make)
    assert stored_bytes(MODEL) / stored_bytes(both) > 5


def test_a_planted_outlier_breaks_int8_and_smoothquant_and_awq_rescue(floats):
    hurt = planted(MODEL, channel=7, factor=300)
    assert loss_on(hurt, *TEST) == pytest.approx(floats, abs=1e-3)
    assert loss_on(int8_model(hurt), *TEST) > 5 * floats
    assert loss_on(int8_model(smoothed(hurt, run)), *TEST) < 1.02 * floats
    make = partial(round_to_nearest, bits=8, group="channel")
    assert loss_on(int8_model(awq(hurt, run, make)), *TEST) < 1.02 * floats
