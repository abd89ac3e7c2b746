"""Leaky integrator with a synaptic current."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.integrators import Coefficients
from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class LIState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current


class LI(ODE[LIState], affine=True):
    r"""Leaky integrator with a synaptic current: a LIF neuron without threshold, whose output is its
    potential :math:`v`.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + i, \qquad \tau_\text{syn} \dot i = -i;

    input makes the current jump, :math:`i \leftarrow i + x`. It serves as readout of spiking layers.

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 1, 2014.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")

    def rest(self) -> LIState:
        return LIState(v=self.v_rest, i=torch.zeros(()))

    def receive(self, x: Tensor, state: LIState) -> LIState:
        return LIState(v=state.v, i=state.i + x)

    def derivative(self, x: Tensor, state: LIState) -> LIState:
        return LIState(v=(self.v_rest - state.v + state.i) / self.tau_mem, i=-state.i / self.tau_syn)

    def step(self, x: Tensor, state: LIState, coefficients: Coefficients) -> tuple[Tensor, LIState]:
        state = self.advance(x, state, coefficients)
        return state.v, state


class LICell(CellMixin, LI): ...
