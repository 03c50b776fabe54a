"""Answers to lesson 05, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.fine_tuning import (
    accounts,
    adapters,
    examples,
    faulty_builders,
    packing,
    template,
)
from tools.graders import Battery

PARTS = (template, examples, packing, faulty_builders, adapters, accounts)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
