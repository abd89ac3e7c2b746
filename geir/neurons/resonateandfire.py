"""Resonate-and-fire neuron: a damped oscillator with a threshold."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.precision import widen
from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class ResonateAndFireState(NamedTuple):
    v: Tensor  # potential-like variable
    i: Tensor  # current-like variable


class ResonateAndFire(IntegrateAndFire[ResonateAndFireState], affine=True):
    r"""Resonate-and-fire neuron: a damped oscillator, which fires most easily to input at its resonance
    frequency :math:`f`.

    .. math::
        \dot v = -v / \tau + 2 \pi f i, \qquad \dot i = -i / \tau - 2 \pi f v;

    input makes the current-like variable jump, :math:`i \leftarrow i + x`; where :math:`v > v_\text{th}` the
    neuron spikes and both variables are reset. Inhibition makes it fire too, half a period later.

    Reference: E. Izhikevich, *Resonate-and-fire neurons*, 2001, where :math:`i + \mathrm{i} v` is one complex
    number. The defaults keep its ratio of 10 between :math:`2 \pi f` and :math:`1 / \tau`, and its reset to
    :math:`v = 1`.

    Args:
        reset_mechanism: Effect of a spike on :math:`v`.
    """

    tau: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="time constant of the damping")
    frequency: Parameter = parameter(default=80.0, unit="Hz", at_least=0.0, doc="frequency of the oscillation")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=1.0, doc="potential after a spike")
    i_reset: Parameter = parameter(default=0.0, doc="current after a spike")

    def rest(self) -> ResonateAndFireState:
        return ResonateAndFireState(v=torch.zeros(()), i=torch.zeros(()))

    def receive(self, x: Tensor, state: ResonateAndFireState) -> ResonateAndFireState:
        return state._replace(i=state.i + x)

    def derivative(self, x: Tensor, state: ResonateAndFireState) -> ResonateAndFireState:
        v, i = state
        omega = 2 * math.pi * widen(self.frequency)
        return ResonateAndFireState(v=omega * i - v / self.tau, i=-omega * v - i / self.tau)

    def threshold(self, before: ResonateAndFireState, after: ResonateAndFireState) -> Tensor:
        return after.v - self.v_th

    def reset(self, z: Tensor, state: ResonateAndFireState) -> ResonateAndFireState:
        # The current has no threshold: with either reset mechanism it becomes `i_reset`.
        return super().reset(z, state)._replace(i=self.reset_mechanism(z, state.i, self.i_reset, state.i))


class ResonateAndFireCell(CellMixin, ResonateAndFire): ...


class ResonateAndFireRecurrent(RecurrentMixin, ResonateAndFire): ...


class ResonateAndFireRecurrentCell(CellMixin, RecurrentMixin, ResonateAndFire): ...
