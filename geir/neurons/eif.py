"""Exponential integrate-and-fire neuron."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class EIFState(NamedTuple):
    v: Tensor  # membrane potential


class EIF(IntegrateAndFire[EIFState]):
    r"""Exponential integrate-and-fire neuron. Its input is a current, constant during each step.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + \Delta_T e^{(v - v_\text{th}) / \Delta_T} + x.

    A constant current above :math:`v_\text{th} - v_\text{rest} - \Delta_T`, the rheobase, makes the potential
    run away; where :math:`v > v_\text{peak}` the neuron spikes and :math:`v` is reset. `LIFEx` is the same
    with a synapse.

    Reference: N. Fourcaud-Trocmé, D. Hansel, C. van Vreeswijk & N. Brunel, *How spike generation mechanisms
    determine the neuronal response to fluctuating inputs*, 2003.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    delta_T: Parameter = parameter(default=0.1, above=0.0, doc="sharpness of the upswing")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="potential at which the upswing begins")
    v_peak: Parameter = parameter(default=1.5, doc="potential at which a spike is registered")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> EIFState:
        return EIFState(v=self.v_rest)

    def derivative(self, x: Tensor, state: EIFState) -> EIFState:
        # Above its peak the potential waits for the reset; bounded, the exponential cannot overflow.
        upswing = self.delta_T * torch.exp((torch.minimum(state.v, self.v_peak) - self.v_th) / self.delta_T)
        return EIFState(v=(self.v_rest - state.v + upswing + x) / self.tau_mem)

    def threshold(self, before: EIFState, after: EIFState) -> Tensor:
        return after.v - self.v_peak


class EIFCell(CellMixin, EIF): ...


class EIFRecurrent(RecurrentMixin, EIF): ...


class EIFRecurrentCell(CellMixin, RecurrentMixin, EIF): ...
