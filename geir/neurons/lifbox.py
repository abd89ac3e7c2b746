"""Leaky integrate-and-fire neuron that takes a current."""

from typing import NamedTuple

from torch import Tensor

from ..forms import OneStep, Recurrence
from ..ode import ODENeuron
from ..parameters import Parameter, parameter
from ..resets import Reset, ResetToValue


class LIFBoxState(NamedTuple):
    """State of `LIFBox`."""

    v: Tensor  # membrane potential


class LIFBox(ODENeuron[LIFBoxState], affine=True):
    r"""Leaky integrate-and-fire neuron that takes a current, held during each step, instead of having a synapse.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + x;

    where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset.

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 1, 2014.

    Args:
        reset_mechanism: What a spike does to the membrane potential.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    reset_mechanism: Reset = ResetToValue()

    def rest(self) -> LIFBoxState:
        return LIFBoxState(v=self.v_rest)

    def derivative(self, x: Tensor, state: LIFBoxState) -> LIFBoxState:
        return LIFBoxState(v=(self.v_rest - state.v + x) / self.tau_mem)

    def threshold(self, before: LIFBoxState, after: LIFBoxState) -> Tensor:
        return after.v - self.v_th

    def reset(self, z: Tensor, state: LIFBoxState) -> LIFBoxState:
        return LIFBoxState(v=self.reset_mechanism(z, state.v, self.v_reset, self.v_th))


class LIFBoxCell(OneStep, LIFBox): ...


class LIFBoxRecurrent(Recurrence, LIFBox): ...


class LIFBoxRecurrentCell(OneStep, Recurrence, LIFBox): ...
