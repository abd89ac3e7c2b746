"""Leaky integrate-and-fire neuron with exponential escape and a synaptic current."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class LIFExState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current


class LIFEx(IntegrateAndFire[LIFExState]):
    r"""Leaky integrate-and-fire neuron with exponential escape and a synaptic current: `EIF` with a synapse,
    `AdEx` without adaptation.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + \Delta_T e^{(v - v_\text{th}) / \Delta_T} + i, \qquad
        \tau_\text{syn} \dot i = -i;

    input makes the current jump, :math:`i \leftarrow i + x`. Near :math:`v_\text{th}` the potential runs away; where
    :math:`v > v_\text{peak}` the neuron spikes and :math:`v` is reset.

    Reference: N. Fourcaud-Trocmé, D. Hansel, C. van Vreeswijk & N. Brunel, *How spike generation mechanisms
    determine the neuronal response to fluctuating inputs*, 2003.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    delta_T: Parameter = parameter(default=0.1, above=0.0, doc="sharpness of the upswing")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="potential at which the upswing begins")
    v_peak: Parameter = parameter(default=1.5, doc="potential at which a spike is registered")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> LIFExState:
        return LIFExState(v=self.v_rest, i=torch.zeros(()))

    def receive(self, x: Tensor, state: LIFExState) -> LIFExState:
        return state._replace(i=state.i + x)

    def derivative(self, x: Tensor, state: LIFExState) -> LIFExState:
        v, i = state
        # Above its peak the potential waits for the reset; bounded, the exponential cannot overflow.
        upswing = self.delta_T * torch.exp((torch.minimum(v, self.v_peak) - self.v_th) / self.delta_T)
        return LIFExState(v=(self.v_rest - v + upswing + i) / self.tau_mem, i=-i / self.tau_syn)

    def threshold(self, before: LIFExState, after: LIFExState) -> Tensor:
        return after.v - self.v_peak


class LIFExCell(CellMixin, LIFEx): ...


class LIFExRecurrent(RecurrentMixin, LIFEx): ...


class LIFExRecurrentCell(CellMixin, RecurrentMixin, LIFEx): ...
