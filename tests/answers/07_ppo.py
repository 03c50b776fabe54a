"""Answers to lesson 07, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.ppo import (
    credit,
    critics,
    distances,
    leashes,
    prices,
    pushing,
    said,
    updates,
)
from tools.graders import Battery

PARTS = (pushing, credit, said, prices, critics, distances, updates, leashes)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
