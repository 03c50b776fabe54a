"""Answers to lesson 03, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.scaling_laws import counts, laws
from tools.graders import Battery

PARTS = (counts, laws)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
