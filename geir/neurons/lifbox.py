"""Leaky integrate-and-fire neuron driven by a current."""

from typing import NamedTuple

from torch import Tensor

from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class LIFBoxState(NamedTuple):
    v: Tensor  # membrane potential


class LIFBox(IntegrateAndFire[LIFBoxState], affine=True):
    r"""Leaky integrate-and-fire neuron without a synapse: its input is a current, constant during each step.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + x;

    where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset.

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 1, 2014.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> LIFBoxState:
        return LIFBoxState(v=self.v_rest)

    def derivative(self, x: Tensor, state: LIFBoxState) -> LIFBoxState:
        return LIFBoxState(v=(self.v_rest - state.v + x) / self.tau_mem)

    def threshold(self, before: LIFBoxState, after: LIFBoxState) -> Tensor:
        return after.v - self.v_th


class LIFBoxCell(CellMixin, LIFBox): ...


class LIFBoxRecurrent(RecurrentMixin, LIFBox): ...


class LIFBoxRecurrentCell(CellMixin, RecurrentMixin, LIFBox): ...
