"""Gated leaky integrate-and-fire neuron."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..core.resets import Reset, ResetBySubtraction, ResetToValue
from ..wrappers import CellMixin, RecurrentMixin


class GatedLIFState(NamedTuple):
    v: Tensor  # membrane potential


class GatedLIF(Neuron[GatedLIFState]):
    r"""Gated leaky integrate-and-fire neuron (GLIF), which learns how to decay, to scale its input and to reset.

    .. math::
        u &= \left[1 - \alpha (1 - e^{-\Delta t / \tau_\text{mem}})\right] v - (1 - \alpha) \, l \, \Delta t
            + \left[1 - \beta (1 - g)\right] x, \\
        v &\leftarrow \gamma (1 - z) u + (1 - \gamma) (u - z v_\text{sub});

    where :math:`u > v_\text{th}` the neuron spikes, :math:`z = 1`. Gates in (0, 1) mix two variants of each operation:
    :math:`\alpha` exponential and linear decay, :math:`\beta` input scaled by a conductance and unscaled,
    :math:`\gamma` reset to zero and by subtraction. All parameters with a range are learnable by default and
    stay within it.

    Reference: X. Yao et al., *GLIF: a unified gated leaky integrate-and-fire neuron for spiking neural
    networks*, 2022; there the conductance is different for every step of a run of fixed length, and the reset
    happens at the beginning of the next step.

    Args:
        hard_reset_mechanism: Effect of a spike on the membrane potential where the reset gate is 1.
        soft_reset_mechanism: The same where it is 0.
    """

    alpha: Parameter = parameter(
        default=0.5, above=0.0, below=1.0, learnable=True, doc="gate of the decay: 1 exponential, 0 linear"
    )
    beta: Parameter = parameter(
        default=0.5,
        above=0.0,
        below=1.0,
        learnable=True,
        doc="gate of the input: 1 scaled by the conductance, 0 unscaled",
    )
    gamma: Parameter = parameter(
        default=0.5, above=0.0, below=1.0, learnable=True, doc="gate of the reset: 1 to zero, 0 by subtraction"
    )
    tau_mem: Parameter = parameter(
        default=10e-3, unit="s", above=0.0, learnable=True, doc="membrane time constant of exponential decay"
    )
    leak: Parameter = parameter(default=10.0, unit="1/s", above=0.0, learnable=True, doc="rate of linear decay")
    g: Parameter = parameter(default=0.5, above=0.0, below=1.0, learnable=True, doc="conductance of the input")
    v_sub: Parameter = parameter(default=1.0, above=0.0, learnable=True, doc="potential subtracted by the soft reset")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    hard_reset_mechanism: Reset = ResetToValue()
    soft_reset_mechanism: Reset = ResetBySubtraction()

    def rest(self) -> GatedLIFState:
        return GatedLIFState(v=torch.zeros(()))

    def prepare(self) -> Prepared:
        decay = 1 + self.alpha * torch.expm1(-self.dt / self.tau_mem)
        leak = (1 - self.alpha) * self.leak * self.dt
        gain = 1 - self.beta * (1 - self.g)
        return decay, leak, gain, self.gamma, self.v_sub

    def step(
        self, x: Tensor, state: GatedLIFState, decay: Tensor, leak: Tensor, gain: Tensor, gamma: Tensor, v_sub: Tensor
    ) -> tuple[Tensor, GatedLIFState]:
        u = decay * state.v - leak + gain * x
        z = self.surrogate(u - self.v_th)
        zero = torch.zeros_like(u)
        hard = self.hard_reset_mechanism(z, u, zero, v_sub)
        soft = self.soft_reset_mechanism(z, u, zero, v_sub)
        return z, GatedLIFState(v=gamma * hard + (1 - gamma) * soft)


class GatedLIFCell(CellMixin, GatedLIF): ...


class GatedLIFRecurrent(RecurrentMixin, GatedLIF): ...


class GatedLIFRecurrentCell(CellMixin, RecurrentMixin, GatedLIF): ...
