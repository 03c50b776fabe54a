"""Answers to lesson 10, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.rag import (
    citations,
    clinic,
    fusion,
    prompts,
    ranking,
    repetition,
    splitting,
    vectors,
    words,
)
from tools.graders import Battery

PARTS = (
    words,
    ranking,
    vectors,
    fusion,
    prompts,
    splitting,
    clinic,
    repetition,
    citations,
)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
