"""A neuron that a user defines in ten lines, as in the README."""

from typing import NamedTuple

import torch
from torch import Tensor

import geir


class QIFState(NamedTuple):
    v: Tensor


class QIF(geir.Neuron[QIFState]):
    tau: geir.Parameter = geir.parameter(default=20e-3, unit="s", above=0.0)

    def rest(self):
        return QIFState(v=torch.zeros(()))

    def step(self, x, state):
        v = state.v + self.dt / self.tau * (state.v**2 + x)
        z = self.surrogate(v - 1)
        return z, QIFState(v=v * (1 - z))
