"""Conductance-based synapses, for any neuron that takes a current."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.parameters import Parameter, parameter
from ..wrappers.forms import CellMixin, Wrapper


class ConductanceSynapseState(NamedTuple):
    neuron: Any  # state of the neuron
    g_exc: Tensor  # excitatory conductance
    g_inh: Tensor  # inhibitory conductance


class ConductanceSynapse(Wrapper):
    r"""A neuron behind an excitatory and an inhibitory synapse whose currents depend on its potential :math:`v`.

    .. math:: \tau_\text{exc} \dot g_\text{exc} = -g_\text{exc}, \qquad \tau_\text{inh} \dot g_\text{inh} = -g_\text{inh};

    positive input makes :math:`g_\text{exc} \leftarrow g_\text{exc} + x`, negative input :math:`g_\text{inh} \leftarrow g_\text{inh} - x`,
    and the neuron, one that takes a current such as `LIFBox`, gets

    .. math:: i = g_\text{exc} (E_\text{exc} - v) + g_\text{inh} (E_\text{inh} - v).

    Conductances are in units of the neuron's leak. They decay exactly; the current is that after the decay and at the potential before the step, held
    during the step, which is an error of first order in `dt`, and unstable where the conductance reaches about :math:`2 \tau_\text{mem} / \Delta t`.

    Reference: T. Vogels & L. Abbott, *Signal propagation and logic gating in networks of integrate-and-fire neurons*, 2005; its parameters, with
    potentials in units of the distance from rest to threshold.

    Args:
        neuron: The neuron: one with a potential `v` that takes a current.
    """

    tau_exc: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="excitatory time constant")
    tau_inh: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="inhibitory time constant")
    E_exc: Parameter = parameter(default=6.0, doc="excitatory reversal potential")
    E_inh: Parameter = parameter(default=-2.0, doc="inhibitory reversal potential")

    def resting_state(self) -> Any:
        rest = super().resting_state()
        if "v" not in rest._fields:
            raise TypeError(
                f"{type(self).__name__} needs the potential `v`, but {type(rest).__name__} has only {', '.join(rest._fields)}."
            )
        return ConductanceSynapseState(rest, g_exc=torch.zeros(()), g_inh=torch.zeros(()))

    def prepare(self) -> tuple[Any, ...]:
        return (torch.exp(-self.dt / self.tau_exc), torch.exp(-self.dt / self.tau_inh), *super().prepare())

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        keep_exc, keep_inh, *rest = prepared or self.prepare()
        g_exc = keep_exc * (state.g_exc + torch.relu(x))
        g_inh = keep_inh * (state.g_inh + torch.relu(-x))
        v = state.neuron.v
        z, neuron = self.neuron.step(g_exc * (self.E_exc - v) + g_inh * (self.E_inh - v), state.neuron, *rest)
        return z, ConductanceSynapseState(neuron, g_exc, g_inh)


class ConductanceSynapseCell(CellMixin, ConductanceSynapse):
    """One step of a neuron behind conductance-based synapses."""
