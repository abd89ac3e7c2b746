"""Leaky models in discrete time, whose input is added with gain 1."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Dynamics, Neuron
from ..core.parameters import Parameter, parameter
from ..core.resets import Reset, ResetBySubtraction


class LeakyState(NamedTuple):
    v: Tensor  # membrane potential


class Leaky(Neuron[LeakyState]):
    r"""Leaky integrate-and-fire neuron in discrete time.

    .. math:: v \leftarrow \beta v + x

    in every step, whatever `dt`; where :math:`v > v_\text{th}` the neuron spikes, and :math:`v` is reset.

    Args:
        reset_mechanism: Effect of a spike on the membrane potential.
        reset_delay: Whether a spike resets the potential one step later, after the decay, instead of at once.
    """

    beta: Parameter = parameter(default=0.9, at_least=0.0, doc="decay of the potential per step")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    reset_mechanism: Reset = ResetBySubtraction()
    reset_delay: bool = True

    def rest(self) -> LeakyState:
        return LeakyState(v=torch.zeros(()))

    def step(self, x: Tensor, state: LeakyState) -> tuple[Tensor, LeakyState]:
        v = self.beta * state.v
        if self.reset_delay:
            v = self.reset_mechanism(self.surrogate(state.v - self.v_th), v, self.v_reset, self.v_th)
        v = v + x
        z = self.surrogate(v - self.v_th)
        if not self.reset_delay:
            v = self.reset_mechanism(z, v, self.v_reset, self.v_th)
        return z, LeakyState(v=v)


class SynapticLeakyState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current


class SynapticLeaky(Neuron[SynapticLeakyState]):
    r"""A `Leaky` neuron with a synaptic current, :math:`i \leftarrow \alpha i + x`, in place of its input.

    Args:
        reset_mechanism: Effect of a spike on the membrane potential.
        reset_delay: Whether a spike resets the potential one step later, after the decay, instead of at once.
    """

    alpha: Parameter = parameter(default=0.8, at_least=0.0, doc="decay of the current per step")
    beta: Parameter = parameter(default=0.9, at_least=0.0, doc="decay of the potential per step")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    reset_mechanism: Reset = ResetBySubtraction()
    reset_delay: bool = True

    def rest(self) -> SynapticLeakyState:
        return SynapticLeakyState(v=torch.zeros(()), i=torch.zeros(()))

    def step(self, x: Tensor, state: SynapticLeakyState) -> tuple[Tensor, SynapticLeakyState]:
        i = self.alpha * state.i + x
        v = self.beta * state.v
        if self.reset_delay:
            v = self.reset_mechanism(self.surrogate(state.v - self.v_th), v, self.v_reset, self.v_th)
        v = v + i
        z = self.surrogate(v - self.v_th)
        if not self.reset_delay:
            v = self.reset_mechanism(z, v, self.v_reset, self.v_th)
        return z, SynapticLeakyState(v=v, i=i)


class LeakyIntegrator(Dynamics[LeakyState]):
    r"""Leaky integrator in discrete time, :math:`v \leftarrow \beta v + x`, whose output is the potential :math:`v`."""

    beta: Parameter = parameter(default=0.9, at_least=0.0, doc="decay of the potential per step")

    def rest(self) -> LeakyState:
        return LeakyState(v=torch.zeros(()))

    def step(self, x: Tensor, state: LeakyState) -> tuple[Tensor, LeakyState]:
        v = self.beta * state.v + x
        return v, LeakyState(v=v)
