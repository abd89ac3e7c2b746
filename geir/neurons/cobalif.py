"""Leaky integrate-and-fire neuron with conductance-based synapses."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.integrators import Integrator, RushLarsen
from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..core.receptors import ConductanceInput, split_signs
from ..wrappers import CellMixin, RecurrentMixin


class CobaLIFState(NamedTuple):
    v: Tensor  # membrane potential
    g_exc: Tensor  # excitatory conductance
    g_inh: Tensor  # inhibitory conductance


class CobaLIF(IntegrateAndFire[CobaLIFState]):
    r"""Leaky integrate-and-fire neuron with conductance-based synapses.

    .. math::
        \tau_\text{mem} \dot v &= v_\text{rest} - v
            + g_\text{exc} (E_\text{exc} - v) + g_\text{inh} (E_\text{inh} - v), \\
        \tau_\text{exc} \dot g_\text{exc} &= -g_\text{exc}, \qquad \tau_\text{inh} \dot g_\text{inh} = -g_\text{inh};

    input `ConductanceInput` makes the conductances jump, :math:`g_\text{exc} \leftarrow g_\text{exc} +
    x_\text{exc}` and :math:`g_\text{inh} \leftarrow g_\text{inh} + x_\text{inh}`. Where :math:`v > v_\text{th}`
    the neuron spikes and :math:`v` is reset. Conductances are in units of the leak's.

    Input may also be one tensor: positive input is excitatory, negative input inhibitory,
    :math:`x_\text{exc} = \max(x, 0)`, :math:`x_\text{inh} = \max(-x, 0)`. Inputs that arrive in the same step,
    recurrent ones included, are added first, so excitation and inhibition cancel.

    References: T. Vogels & L. Abbott, *Signal propagation and logic gating in networks of integrate-and-fire
    neurons*, 2005; the defaults are those of its network in R. Brette et al., *Simulation of networks of
    spiking neurons: a review of tools and strategies*, 2007, with potentials relative to rest (-60 mV) in
    units of the distance to threshold (10 mV). `Refractory` adds its 5 ms.

    Args:
        integrator: Numerical method that advances the state by `dt`; the default is stable at any conductance.
    """

    input_types = (Tensor, ConductanceInput)

    tau_mem: Parameter = parameter(default=20e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_exc: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="time constant of the excitatory conductance")
    tau_inh: Parameter = parameter(
        default=10e-3, unit="s", above=0.0, doc="time constant of the inhibitory conductance"
    )
    E_exc: Parameter = parameter(default=6.0, doc="excitatory reversal potential")
    E_inh: Parameter = parameter(default=-2.0, doc="inhibitory reversal potential")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    integrator: Integrator = RushLarsen()

    def rest(self) -> CobaLIFState:
        return CobaLIFState(v=self.v_rest, g_exc=torch.zeros(()), g_inh=torch.zeros(()))

    def receive(self, x: Tensor | ConductanceInput, state: CobaLIFState) -> CobaLIFState:
        exc, inh = split_signs(x)
        return state._replace(g_exc=state.g_exc + exc, g_inh=state.g_inh + inh)

    def derivative(self, x: Tensor | ConductanceInput, state: CobaLIFState) -> CobaLIFState:
        v, g_exc, g_inh = state
        current = self.v_rest - v + g_exc * (self.E_exc - v) + g_inh * (self.E_inh - v)
        return CobaLIFState(v=current / self.tau_mem, g_exc=-g_exc / self.tau_exc, g_inh=-g_inh / self.tau_inh)

    def threshold(self, before: CobaLIFState, after: CobaLIFState) -> Tensor:
        return after.v - self.v_th


class CobaLIFCell(CellMixin, CobaLIF): ...


class CobaLIFRecurrent(RecurrentMixin, CobaLIF): ...


class CobaLIFRecurrentCell(CellMixin, RecurrentMixin, CobaLIF): ...
