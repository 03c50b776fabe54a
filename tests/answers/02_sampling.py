"""Answers to lesson 02, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.sampling import (
    costs_and_speculation,
    filters,
    penalties_and_beams,
)
from tools.graders import Battery

PARTS = (filters, penalties_and_beams, costs_and_speculation)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
