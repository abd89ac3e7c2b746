"""Helpers shared by the tests of synapses."""

import torch

DOUBLE = torch.float64


def scalar(value):
    return torch.tensor(value, dtype=DOUBLE)


def one_spike(steps, weight=1.0):
    """An input of `weight` in the first step, shape (steps, 1)."""
    xs = torch.zeros(steps, 1, dtype=DOUBLE)
    xs[0] = weight
    return xs
