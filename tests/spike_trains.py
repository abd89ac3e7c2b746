"""Spike trains for tests."""

import torch


def random_spikes(*shape, rate=0.3, seed=0):
    """Spikes with a probability of `rate` per step, in float64."""
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (uniform < rate).double()
