"""Answers to lesson 08, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.grpo import (
    counting,
    groups,
    keeping,
    memory,
    published,
    pulls,
    reading,
    votes,
)
from tools.graders import Battery

PARTS = (groups, reading, pulls, counting, votes, keeping, memory, published)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
