"""A leaky integrator in discrete time, whose input is added with gain 1."""

import torch
from torch import Tensor

from ..core.neuron import Dynamics
from ..core.parameters import Parameter, parameter
from ..neurons import LeakyState


class LeakyIntegrator(Dynamics[LeakyState]):
    r"""Leaky integrator in discrete time, :math:`v \leftarrow \beta v + x`, whose output is the potential :math:`v`."""

    beta: Parameter = parameter(default=0.9, at_least=0.0, at_most=1.0, doc="decay of the potential per step")

    def rest(self) -> LeakyState:
        return LeakyState(v=torch.zeros(()))

    def step(self, x: Tensor, state: LeakyState) -> tuple[Tensor, LeakyState]:
        v = self.beta * state.v + x
        return v, LeakyState(v=v)
