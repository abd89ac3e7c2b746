"""Leaky integrate-and-fire neuron with an alpha-shaped synaptic current."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class AlphaLIFState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current
    a: Tensor  # synaptic activation, which the current follows


class AlphaLIF(IntegrateAndFire[AlphaLIFState], affine=True):
    r"""Leaky integrate-and-fire neuron with an alpha-shaped synaptic current.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + i, \qquad \tau_\text{syn} \dot i = a - i, \qquad
        \tau_\text{syn} \dot a = -a;

    input makes the activation jump, :math:`a \leftarrow a + e x`, so that a spike of weight :math:`x` causes
    the current :math:`x \frac{t}{\tau_\text{syn}} e^{1 - t / \tau_\text{syn}}`, which rises to its peak
    :math:`x` at :math:`\tau_\text{syn}`. Where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is
    reset.

    Reference: S. Rotter & M. Diesmann, *Exact digital simulation of time-invariant linear systems with
    applications to neuronal modeling*, 1999.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(
        default=5e-3, unit="s", above=0.0, doc="time from a spike to the peak of its current"
    )
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> AlphaLIFState:
        return AlphaLIFState(v=self.v_rest, i=torch.zeros(()), a=torch.zeros(()))

    def receive(self, x: Tensor, state: AlphaLIFState) -> AlphaLIFState:
        return state._replace(a=state.a + math.e * x)

    def derivative(self, x: Tensor, state: AlphaLIFState) -> AlphaLIFState:
        v, i, a = state
        return AlphaLIFState(v=(self.v_rest - v + i) / self.tau_mem, i=(a - i) / self.tau_syn, a=-a / self.tau_syn)

    def threshold(self, before: AlphaLIFState, after: AlphaLIFState) -> Tensor:
        return after.v - self.v_th


class AlphaLIFCell(CellMixin, AlphaLIF): ...


class AlphaLIFRecurrent(RecurrentMixin, AlphaLIF): ...


class AlphaLIFRecurrentCell(CellMixin, RecurrentMixin, AlphaLIF): ...
