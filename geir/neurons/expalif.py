"""Leaky integrate-and-fire neuron whose threshold rises exponentially with its recent spikes."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class ExpALIFState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current
    b: Tensor  # adaptation: filtered spikes


class ExpALIF(IntegrateAndFire[ExpALIFState], affine=True):
    r"""Leaky integrate-and-fire neuron whose threshold rises exponentially with its recent spikes.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + i, \qquad \tau_\text{syn} \dot i = -i, \qquad
        \tau_\text{adapt} \dot b = -b;

    input makes the current jump, :math:`i \leftarrow i + x`; where :math:`v > v_\text{th} e^{\beta b}` the neuron
    spikes, :math:`v` is reset and :math:`b \leftarrow b + 1`.

    Reference: none; a variant of `ALIF`, written to try CONTRIBUTING.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    tau_adapt: Parameter = parameter(default=200e-3, unit="s", above=0.0, doc="time constant of adaptation")
    beta: Parameter = parameter(default=0.184, doc="threshold rise per spike")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold without adaptation")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> ExpALIFState:
        return ExpALIFState(v=self.v_rest, i=torch.zeros(()), b=torch.zeros(()))

    def receive(self, x: Tensor, state: ExpALIFState) -> ExpALIFState:
        return state._replace(i=state.i + x)

    def derivative(self, x: Tensor, state: ExpALIFState) -> ExpALIFState:
        return ExpALIFState(
            v=(self.v_rest - state.v + state.i) / self.tau_mem,
            i=-state.i / self.tau_syn,
            b=-state.b / self.tau_adapt,
        )

    def threshold(self, before: ExpALIFState, after: ExpALIFState) -> Tensor:
        return after.v - self.v_th * torch.exp(self.beta * after.b)

    def reset(self, z: Tensor, state: ExpALIFState) -> ExpALIFState:
        return super().reset(z, state)._replace(b=state.b + z)


class ExpALIFCell(CellMixin, ExpALIF): ...


class ExpALIFRecurrent(RecurrentMixin, ExpALIF): ...


class ExpALIFRecurrentCell(CellMixin, RecurrentMixin, ExpALIF): ...
