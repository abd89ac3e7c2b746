"""Synapse whose current follows an alpha function."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.integrators import Coefficients
from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class AlphaSynapseState(NamedTuple):
    i: Tensor  # synaptic current
    h: Tensor  # rise variable, which drives the current


class AlphaSynapse(ODE[AlphaSynapseState], affine=True):
    r"""Synapse whose current rises and decays with the same time constant; its output is the current :math:`i`.

    .. math:: \tau_\text{syn} \dot i = h - i, \qquad \tau_\text{syn} \dot h = -h;

    input adds to :math:`h`: :math:`h \leftarrow h + e\, x`. An input :math:`x` at time 0 gives the
    current :math:`x\, (t / \tau_\text{syn})\, e^{1 - t / \tau_\text{syn}}`, which peaks at
    :math:`t = \tau_\text{syn}` with the value :math:`x`.

    Reference: A. Roth & M. van Rossum, *Modeling synapses*, 2009.
    """

    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant: time to peak")

    def rest(self) -> AlphaSynapseState:
        return AlphaSynapseState(i=torch.zeros(()), h=torch.zeros(()))

    def receive(self, x: Tensor, state: AlphaSynapseState) -> AlphaSynapseState:
        return AlphaSynapseState(i=state.i, h=state.h + math.e * x)

    def derivative(self, x: Tensor, state: AlphaSynapseState) -> AlphaSynapseState:
        return AlphaSynapseState(i=(state.h - state.i) / self.tau_syn, h=-state.h / self.tau_syn)

    def step(self, x: Tensor, state: AlphaSynapseState, coefficients: Coefficients) -> tuple[Tensor, AlphaSynapseState]:
        state = self.advance(x, state, coefficients)
        return state.i, state


class AlphaSynapseCell(CellMixin, AlphaSynapse): ...
