"""Synapse whose current rises and decays with two time constants."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.precision import widen
from ..core.integrators import Coefficients, phi1
from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class DoubleExponentialSynapseState(NamedTuple):
    i: Tensor  # synaptic current
    h: Tensor  # rise variable, which drives the current


class DoubleExponentialSynapse(ODE[DoubleExponentialSynapseState], affine=True):
    r"""Synapse whose current rises and decays with different time constants; its output is the current
    :math:`i`.

    .. math:: \tau_\text{decay} \dot i = h - i, \qquad \tau_\text{rise} \dot h = -h;

    input adds to :math:`h`: :math:`h \leftarrow h + a x`. An input :math:`x` at time 0 gives the current

    .. math::
        a x \frac{\tau_\text{rise}}{\tau_\text{decay} - \tau_\text{rise}}
        \left(e^{-t / \tau_\text{decay}} - e^{-t / \tau_\text{rise}}\right),

    or, for equal time constants, its limit, an alpha function.

    Reference: A. Roth & M. van Rossum, *Modeling synapses*, 2009.

    Args:
        normalized: Whether :math:`a` is chosen such that the current peaks at :math:`x`. If not,
            :math:`a = \tau_\text{decay} / \tau_\text{rise}`: the current carries the charge
            :math:`x\, \tau_\text{decay}` of an `ExponentialSynapse`, which is the limit for
            :math:`\tau_\text{rise} \to 0`.
    """

    tau_rise: Parameter = parameter(default=2e-3, unit="s", above=0.0, doc="time constant of the rise")
    tau_decay: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="time constant of the decay")
    normalized: bool = True

    def rest(self) -> DoubleExponentialSynapseState:
        return DoubleExponentialSynapseState(i=torch.zeros(()), h=torch.zeros(()))

    def prepare(self) -> Prepared:
        ratio = widen(self.tau_rise) / widen(self.tau_decay)
        # The peak for a = 1 is r^(1 / (1 - r)), with the limit 1 / e at r = 1.
        gain = torch.exp(1 / phi1(torch.log(ratio))) if self.normalized else 1 / ratio
        return (gain, *super().prepare())

    def receive(self, x: Tensor, state: DoubleExponentialSynapseState) -> DoubleExponentialSynapseState:
        return DoubleExponentialSynapseState(i=state.i, h=state.h + x)

    def derivative(self, x: Tensor, state: DoubleExponentialSynapseState) -> DoubleExponentialSynapseState:
        return DoubleExponentialSynapseState(i=(state.h - state.i) / self.tau_decay, h=-state.h / self.tau_rise)

    def step(
        self, x: Tensor, state: DoubleExponentialSynapseState, gain: Tensor, coefficients: Coefficients
    ) -> tuple[Tensor, DoubleExponentialSynapseState]:
        state = self.advance(gain * x, state, coefficients)
        return state.i, state


class DoubleExponentialSynapseCell(CellMixin, DoubleExponentialSynapse): ...
