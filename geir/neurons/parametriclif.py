"""Leaky integrate-and-fire neuron that learns its membrane time constant."""

from typing import NamedTuple

from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class ParametricLIFState(NamedTuple):
    v: Tensor  # membrane potential


class ParametricLIF(IntegrateAndFire[ParametricLIFState], affine=True):
    r"""Parametric leaky integrate-and-fire neuron (PLIF): a `LIFBox` whose membrane time constant is always learned.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + x, \quad \text{so that} \quad
        v \leftarrow v + k \, (v_\text{rest} - v + x), \qquad k = 1 - e^{-\Delta t / \tau_\text{mem}};

    where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset. The stored parameter is :math:`\ln
    \tau_\text{mem}`, so that :math:`k` stays in (0, 1). The paper has the same potential; it stores the logit
    of :math:`k` and counts the time constant :math:`1 / k` in steps.

    Reference: W. Fang et al., *Incorporating learnable membrane time constant to enhance learning of spiking
    neural networks*, 2021.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, learnable=True, doc="membrane time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> ParametricLIFState:
        return ParametricLIFState(v=self.v_rest)

    def derivative(self, x: Tensor, state: ParametricLIFState) -> ParametricLIFState:
        return ParametricLIFState(v=(self.v_rest - state.v + x) / self.tau_mem)

    def threshold(self, before: ParametricLIFState, after: ParametricLIFState) -> Tensor:
        return after.v - self.v_th


class ParametricLIFCell(CellMixin, ParametricLIF): ...


class ParametricLIFRecurrent(RecurrentMixin, ParametricLIF): ...


class ParametricLIFRecurrentCell(CellMixin, RecurrentMixin, ParametricLIF): ...
