"""Current-based leaky integrate-and-fire neuron, as the Neuromorphic Intermediate Representation defines it."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class CubaLIFState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current


class CubaLIF(IntegrateAndFire[CubaLIFState], affine=True):
    r"""Current-based leaky integrate-and-fire neuron, as the Neuromorphic Intermediate Representation (NIR) defines it.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + r i, \qquad \tau_\text{syn} \dot i = -i + w_\text{in} x;

    input :math:`x` is constant during a step and drives the current; in `LIF` it makes the current jump. A
    spike in one step therefore acts as a jump of about :math:`w_\text{in} \Delta t / \tau_\text{syn}`. Where
    :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset.

    Reference: J. Pedersen et al., *Neuromorphic intermediate representation: a unified instruction set for
    interoperable brain-inspired computing*, 2024; its `v_leak` and `v_threshold` are `v_rest` and `v_th`
    here.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    r: Parameter = parameter(default=1.0, doc="resistance")
    w_in: Parameter = parameter(default=1.0, doc="weight of the input")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> CubaLIFState:
        return CubaLIFState(v=self.v_rest, i=torch.zeros(()))

    def derivative(self, x: Tensor, state: CubaLIFState) -> CubaLIFState:
        return CubaLIFState(
            v=(self.v_rest - state.v + self.r * state.i) / self.tau_mem, i=(self.w_in * x - state.i) / self.tau_syn
        )

    def threshold(self, before: CubaLIFState, after: CubaLIFState) -> Tensor:
        return after.v - self.v_th


class CubaLIFCell(CellMixin, CubaLIF): ...


class CubaLIFRecurrent(RecurrentMixin, CubaLIF): ...


class CubaLIFRecurrentCell(CellMixin, RecurrentMixin, CubaLIF): ...
