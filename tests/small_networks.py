"""Small networks and input for the tests of how geir works with PyTorch."""

import torch
from torch import nn

import geir
from geir import LI, LICell, LIF, LIFCell, LIFRecurrent, Lift, SequentialState

# Input over time, shape (25 steps, 4 samples, 5 channels). Each sample drives two channels that no other sample drives.
XS = 32 * torch.rand(25, 4, 5, generator=torch.Generator().manual_seed(0)) * (torch.eye(5)[:4] + torch.eye(5)[1:])
LABELS = torch.tensor([0, 1, 2, 0])


def network() -> SequentialState:
    """A network over time, with a learnable time constant and a recurrent layer."""
    return SequentialState(
        Lift(nn.Linear(5, 8)), LIF(tau_mem=geir.learnable(8e-3)), LIFRecurrent(8, 6), Lift(nn.Linear(6, 3)), LI()
    )


def cells() -> SequentialState:
    """A network of cells, which takes one step at a time."""
    return SequentialState(nn.Linear(5, 8), LIFCell(tau_mem=geir.learnable(8e-3)), nn.Linear(8, 3), LICell())


def spike_counts(model: SequentialState) -> list[int]:
    """Number of spikes of each spiking layer of a network over time, with `XS` as input."""
    model.return_hidden = True
    outputs, _ = model(XS)
    model.return_hidden = False
    return [
        int(zs.sum())
        for module, zs in zip(model, outputs, strict=True)
        if isinstance(module, geir.Dynamics) and module.spiking
    ]
