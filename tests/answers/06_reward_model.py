"""Answers to lesson 06, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.reward_model import (
    audit,
    losses,
    pairs,
    places,
    rankings,
    scorers,
)
from tools.graders import Battery

PARTS = (rankings, losses, places, pairs, audit, scorers)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
