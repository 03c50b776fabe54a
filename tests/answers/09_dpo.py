"""Answers to lesson 09, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.dpo import (
    diagnosis,
    losses,
    published,
    relatives,
    sequences,
    tables,
)
from tools.graders import Battery

PARTS = (sequences, tables, losses, published, diagnosis, relatives)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
