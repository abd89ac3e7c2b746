"""Shared by the tests of containers."""

import torch

XS = 6 * torch.rand(40, 3, 5, generator=torch.Generator().manual_seed(0))


def run_steps(module, xs, state=None):
    """Outputs and last state of a module that processes one step at a time."""
    outputs = []
    for x in xs:
        y, state = module(x, state)
        outputs.append(y)
    return torch.stack(outputs), state
