"""Answers to lesson 11, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.quantization import (
    blocks,
    codebooks,
    columns,
    groups,
    integers,
    pruning,
    scaling,
    training,
)
from tools.graders import Battery

PARTS = (integers, groups, codebooks, blocks, columns, scaling, training, pruning)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
