"""Gated leaky integrate-and-fire neuron."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..core.resets import Reset, ResetBySubtraction, ResetToValue
from ..wrappers.forms import CellMixin, RecurrentMixin


class GatedLIFState(NamedTuple):
    v: Tensor  # membrane potential


class GatedLIF(Neuron[GatedLIFState]):
    r"""Gated leaky integrate-and-fire neuron (GLIF), which learns how to decay, to take input and to reset.

    .. math::
        u &= \left[1 - \alpha (1 - e^{-\Delta t / \tau_\text{mem}})\right] v - (1 - \alpha) \, l \, \Delta t + \left[1 - \beta (1 - g)\right] x, \\
        v &\leftarrow \gamma (1 - z) u + (1 - \gamma) (u - z v_\text{sub});

    where :math:`u > v_\text{th}` the neuron spikes, :math:`z = 1`. Gates in (0, 1) choose between two kinds of the same: :math:`\alpha` between
    exponential and linear decay, :math:`\beta` between input by way of a conductance and as it is, :math:`\gamma` between reset to zero and by
    subtraction. All that has a range learns within it.

    Reference: X. Yao et al., *GLIF: a unified gated leaky integrate-and-fire neuron for spiking neural networks*, 2022; there the conductance
    differs from step to step of a run of fixed length, and the reset is made at the beginning of the next step.

    Args:
        hard_reset: What a spike does to the membrane potential where the gate of the reset is 1.
        soft_reset: The same where it is 0.
    """

    alpha: Parameter = parameter(
        default=0.5, above=0.0, below=1.0, learnable=True, doc="gate of the decay: 1 exponential, 0 linear"
    )
    beta: Parameter = parameter(
        default=0.5,
        above=0.0,
        below=1.0,
        learnable=True,
        doc="gate of the input: 1 by way of the conductance, 0 as it is",
    )
    gamma: Parameter = parameter(
        default=0.5, above=0.0, below=1.0, learnable=True, doc="gate of the reset: 1 to zero, 0 by subtraction"
    )
    tau_mem: Parameter = parameter(
        default=10e-3, unit="s", above=0.0, learnable=True, doc="membrane time constant of exponential decay"
    )
    leak: Parameter = parameter(default=10.0, unit="1/s", above=0.0, learnable=True, doc="speed of linear decay")
    g: Parameter = parameter(default=0.5, above=0.0, below=1.0, learnable=True, doc="conductance of the input")
    v_sub: Parameter = parameter(default=1.0, above=0.0, learnable=True, doc="what a reset by subtraction takes away")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    hard_reset: Reset = ResetToValue()
    soft_reset: Reset = ResetBySubtraction()

    def rest(self) -> GatedLIFState:
        return GatedLIFState(v=torch.zeros(()))

    def prepare(self) -> tuple[Any, ...]:
        alpha, beta, zero = self.alpha, self.beta, torch.zeros_like(self.v_sub)
        decay = 1 + alpha * torch.expm1(-self.dt / self.tau_mem)
        return decay, (1 - alpha) * self.leak * self.dt, 1 - beta * (1 - self.g), self.gamma, zero, self.v_sub

    def step(self, x: Tensor, state: GatedLIFState, *prepared: Any) -> tuple[Tensor, GatedLIFState]:
        decay, leak, gain, gamma, zero, v_sub = prepared or self.prepare()
        u = decay * state.v - leak + gain * x
        z = self.surrogate(u - self.v_th)
        return z, GatedLIFState(
            gamma * self.hard_reset(z, u, zero, v_sub) + (1 - gamma) * self.soft_reset(z, u, zero, v_sub)
        )


class GatedLIFCell(CellMixin, GatedLIF): ...


class GatedLIFRecurrent(RecurrentMixin, GatedLIF): ...


class GatedLIFRecurrentCell(CellMixin, RecurrentMixin, GatedLIF): ...
