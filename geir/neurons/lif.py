"""Leaky integrate-and-fire neuron with a synaptic current."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, Compartments, RecurrentMixin, Refractory


class LIFState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current


class LIF(IntegrateAndFire[LIFState], affine=True):
    r"""Leaky integrate-and-fire neuron with a synaptic current.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + i, \qquad \tau_\text{syn} \dot i = -i;

    input makes the current jump, :math:`i \leftarrow i + x`; where :math:`v > v_\text{th}` the neuron spikes
    and :math:`v` is reset.

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 1, 2014.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> LIFState:
        return LIFState(v=self.v_rest, i=torch.zeros(()))

    def receive(self, x: Tensor, state: LIFState) -> LIFState:
        return LIFState(v=state.v, i=state.i + x)

    def derivative(self, x: Tensor, state: LIFState) -> LIFState:
        return LIFState(v=(self.v_rest - state.v + state.i) / self.tau_mem, i=-state.i / self.tau_syn)

    def threshold(self, before: LIFState, after: LIFState) -> Tensor:
        return after.v - self.v_th


class LIFCell(CellMixin, LIF): ...


class LIFRecurrent(RecurrentMixin, LIF): ...


class LIFRecurrentCell(CellMixin, RecurrentMixin, LIF): ...


class LIFRefrac(Refractory, wraps=LIF): ...


class LIFRefracCell(CellMixin, LIFRefrac): ...


class LIFRefracRecurrent(RecurrentMixin, LIFRefrac): ...


class LIFRefracRecurrentCell(CellMixin, RecurrentMixin, LIFRefrac): ...


class LIFMC(Compartments, wraps=LIF): ...


class LIFMCCell(CellMixin, LIFMC): ...


class LIFMCRecurrent(RecurrentMixin, LIFMC): ...


class LIFMCRecurrentCell(CellMixin, RecurrentMixin, LIFMC): ...


class LIFMCRefrac(Refractory, wraps=LIFMC): ...


class LIFMCRefracCell(CellMixin, LIFMCRefrac): ...


class LIFMCRefracRecurrent(RecurrentMixin, LIFMCRefrac): ...


class LIFMCRefracRecurrentCell(CellMixin, RecurrentMixin, LIFMCRefrac): ...
