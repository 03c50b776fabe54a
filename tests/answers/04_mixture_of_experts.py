"""Answers to lesson 04, by part of the lesson: right ones of different shapes, and people's mistakes."""

from tests.answers.mixture_of_experts import balance, dispatch
from tools.graders import Battery

PARTS = (dispatch, balance)
battery = Battery()
battery.cases = [case for part in PARTS for case in part.battery.cases]
