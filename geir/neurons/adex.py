"""Adaptive exponential integrate-and-fire neuron."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin, Refractory


class AdExState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current
    w: Tensor  # adaptation current


class AdEx(IntegrateAndFire[AdExState]):
    r"""Adaptive exponential integrate-and-fire neuron with a synaptic current.

    .. math::
        \tau_\text{mem} \dot v &= v_\text{rest} - v + \Delta_T e^{(v - v_\text{th}) / \Delta_T} - w + i, \\
        \tau_\text{syn} \dot i &= -i, \qquad
        \tau_\text{adapt} \dot w = a (v - v_\text{rest}) - w;

    input makes the current jump, :math:`i \leftarrow i + x`. Near :math:`v_\text{th}` the potential runs
    away; where :math:`v > v_\text{peak}` the neuron spikes, :math:`v` is reset and :math:`w \leftarrow w +
    b`.

    Reference: R. Brette & W. Gerstner, *Adaptive exponential integrate-and-fire model as an effective
    description of neuronal activity*, 2005; its parameters, with potentials in units of :math:`v_\text{th} -
    v_\text{rest}`, currents in the same unit (multiplied by the membrane resistance), :math:`\tau_\text{mem}`
    rounded and :math:`v_\text{peak}` lowered to the potential from which the rest of the upswing takes less
    than 0.1 ms.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    tau_adapt: Parameter = parameter(default=144e-3, unit="s", above=0.0, doc="time constant of adaptation")
    delta_T: Parameter = parameter(default=0.1, above=0.0, doc="sharpness of the upswing")
    a: Parameter = parameter(default=0.13, doc="adaptation to the potential")
    b: Parameter = parameter(default=0.13, doc="adaptation per spike")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="potential at which the upswing begins")
    v_peak: Parameter = parameter(default=1.5, doc="potential at which a spike is registered")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> AdExState:
        return AdExState(v=self.v_rest, i=torch.zeros(()), w=torch.zeros(()))

    def receive(self, x: Tensor, state: AdExState) -> AdExState:
        return state._replace(i=state.i + x)

    def derivative(self, x: Tensor, state: AdExState) -> AdExState:
        v, i, w = state
        # Above its peak the potential waits for the reset; bounded, the exponential cannot overflow.
        upswing = self.delta_T * torch.exp((torch.minimum(v, self.v_peak) - self.v_th) / self.delta_T)
        return AdExState(
            v=(self.v_rest - v + upswing - w + i) / self.tau_mem,
            i=-i / self.tau_syn,
            w=(self.a * (v - self.v_rest) - w) / self.tau_adapt,
        )

    def threshold(self, before: AdExState, after: AdExState) -> Tensor:
        return after.v - self.v_peak

    def reset(self, z: Tensor, state: AdExState) -> AdExState:
        return super().reset(z, state)._replace(w=state.w + self.b * z)


class AdExCell(CellMixin, AdEx): ...


class AdExRecurrent(RecurrentMixin, AdEx): ...


class AdExRecurrentCell(CellMixin, RecurrentMixin, AdEx): ...


class AdExRefrac(Refractory, wraps=AdEx): ...


class AdExRefracCell(CellMixin, AdExRefrac): ...


class AdExRefracRecurrent(RecurrentMixin, AdExRefrac): ...


class AdExRefracRecurrentCell(CellMixin, RecurrentMixin, AdExRefrac): ...


# Norse's names.
Adex = AdEx
AdexCell = AdExCell
AdexRecurrent = AdExRecurrent
AdexRecurrentCell = AdExRecurrentCell
AdexRefrac = AdExRefrac
AdexRefracCell = AdExRefracCell
AdexRefracRecurrent = AdExRefracRecurrent
AdexRefracRecurrentCell = AdExRefracRecurrentCell
