"""Leaky integrate-and-fire neuron with an adaptive threshold, as in long short-term memory spiking networks."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class ALIFState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current
    b: Tensor  # adaptation: filtered spikes


class ALIF(IntegrateAndFire[ALIFState], affine=True):
    r"""Leaky integrate-and-fire neuron with an adaptive threshold (ALIF), the unit of LSNNs.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + i, \qquad \tau_\text{syn} \dot i = -i, \qquad
        \tau_\text{adapt} \dot b = -b;

    input makes the current jump, :math:`i \leftarrow i + x`; where :math:`v > v_\text{th} + \beta b` the
    neuron spikes, :math:`v` is reset and :math:`b \leftarrow b + 1`. The gradient passes through the
    adaptation undetached.

    References: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking
    neurons*, 2018; for the defaults of :math:`\tau_\text{adapt}` and :math:`\beta`, G. Bellec et al., *A
    solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    tau_adapt: Parameter = parameter(default=200e-3, unit="s", above=0.0, doc="time constant of adaptation")
    beta: Parameter = parameter(default=0.184, doc="threshold rise per spike")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold without adaptation")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> ALIFState:
        return ALIFState(v=self.v_rest, i=torch.zeros(()), b=torch.zeros(()))

    def receive(self, x: Tensor, state: ALIFState) -> ALIFState:
        return state._replace(i=state.i + x)

    def derivative(self, x: Tensor, state: ALIFState) -> ALIFState:
        return ALIFState(
            v=(self.v_rest - state.v + state.i) / self.tau_mem,
            i=-state.i / self.tau_syn,
            b=-state.b / self.tau_adapt,
        )

    def threshold(self, before: ALIFState, after: ALIFState) -> Tensor:
        return after.v - (self.v_th + self.beta * after.b)

    def reset(self, z: Tensor, state: ALIFState) -> ALIFState:
        return super().reset(z, state)._replace(b=state.b + z)


class ALIFCell(CellMixin, ALIF): ...


class ALIFRecurrent(RecurrentMixin, ALIF): ...


class ALIFRecurrentCell(CellMixin, RecurrentMixin, ALIF): ...


# Norse's names.
LSNN = ALIF
LSNNCell = ALIFCell
LSNNRecurrent = ALIFRecurrent
LSNNRecurrentCell = ALIFRecurrentCell
