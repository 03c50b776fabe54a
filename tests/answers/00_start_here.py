"""Answers to lesson 00: right ones of different shapes, and the mistakes people really make."""

import torch

from tools.graders import Battery

battery = Battery()


@battery.right("softmax")
def by_torch(scores):
    return torch.softmax(scores, dim=-1)


@battery.wrong("softmax", says="overflows")
def unshifted(scores):
    return scores.exp() / scores.exp().sum(-1, keepdim=True)
