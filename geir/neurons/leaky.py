"""Leaky integrate-and-fire neurons in discrete time, given by their decay per step."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..core.resets import Reset, ResetBySubtraction
from ..wrappers import CellMixin, RecurrentMixin


class LeakyState(NamedTuple):
    v: Tensor  # membrane potential


class Leaky(Neuron[LeakyState]):
    r"""Leaky integrate-and-fire neuron in discrete time, whose input is added with gain 1.

    .. math:: v_t = \beta v_{t-1} + x_t - z_{t-1} (v_\text{th} - v_\text{reset}), \qquad z_t = [v_t > v_\text{th}],

    in every step, whatever `dt`. The spike of one step resets the potential in the next, so the recorded potential
    exceeds the threshold; with ``reset_delay=False`` it is reset at once, after the comparison with the threshold.
    With `ResetToValue`, :math:`\beta v_{t-1}` is replaced by :math:`v_\text{reset}` where the neuron spiked.

    A `LIFBox` with :math:`\tau_\text{mem} = -\Delta t / \ln \beta` decays as fast, but multiplies its input by
    :math:`1 - \beta`: for the same spikes its weights are :math:`1 / (1 - \beta)` times as large, and its
    gradient with respect to its input is that much smaller.

    It is the neuron of snnTorch (``snntorch.Leaky``), and SpikingJelly's ``LIFNode(decay_input=False)`` with
    ``reset_delay=False``.

    Reference: J. Eshraghian et al., *Training spiking neural networks using lessons from deep learning*, 2023.

    Args:
        reset_mechanism: Effect of a spike on the membrane potential.
        reset_delay: Whether a spike resets the potential one step later instead of at once.
    """

    beta: Parameter = parameter(default=0.9, at_least=0.0, at_most=1.0, doc="decay of the potential per step")
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


class LeakyCell(CellMixin, Leaky): ...


class LeakyRecurrent(RecurrentMixin, Leaky): ...


class LeakyRecurrentCell(CellMixin, RecurrentMixin, Leaky): ...


class SynapticLeakyState(NamedTuple):
    v: Tensor  # membrane potential
    i: Tensor  # synaptic current


class SynapticLeaky(Neuron[SynapticLeakyState]):
    r"""A `Leaky` neuron with a synaptic current that decays too.

    .. math::
        i_t = \alpha i_{t-1} + x_t, \qquad
        v_t = \beta v_{t-1} + i_t - z_{t-1} (v_\text{th} - v_\text{reset}), \qquad z_t = [v_t > v_\text{th}],

    in every step, whatever `dt`; the reset is that of `Leaky`, and leaves the current as it is. It is
    ``snntorch.Synaptic``.

    Reference: J. Eshraghian et al., *Training spiking neural networks using lessons from deep learning*, 2023.

    Args:
        reset_mechanism: Effect of a spike on the membrane potential.
        reset_delay: Whether a spike resets the potential one step later instead of at once.
    """

    alpha: Parameter = parameter(default=0.8, at_least=0.0, at_most=1.0, doc="decay of the current per step")
    beta: Parameter = parameter(default=0.9, at_least=0.0, at_most=1.0, doc="decay of the potential per step")
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


class SynapticLeakyCell(CellMixin, SynapticLeaky): ...


class SynapticLeakyRecurrent(RecurrentMixin, SynapticLeaky): ...


class SynapticLeakyRecurrentCell(CellMixin, RecurrentMixin, SynapticLeaky): ...
