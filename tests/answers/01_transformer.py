"""Answers to lesson 01, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.transformer import (
    attention,
    blocks,
    predicting,
    tokens_and_positions,
)
from tools.graders import Battery

PARTS = (tokens_and_positions, attention, blocks, predicting)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
