"""Conductance-based synapses for any neuron whose input is a current."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.precision import widen
from .._util.state import potential, state_type
from ..core.parameters import Parameter, parameter
from ..core.receptors import ConductanceInput, split_signs
from ..wrappers import CellMixin, Wrapper


@state_type
class ConductanceSynapseState(NamedTuple):
    neuron: Any  # state of the neuron
    g_exc: Tensor  # excitatory conductance
    g_inh: Tensor  # inhibitory conductance


class ConductanceSynapse(Wrapper):
    r"""A neuron with an excitatory and an inhibitory synapse whose currents depend on its potential :math:`v`.

    .. math::
        \tau_\text{exc} \dot g_\text{exc} = -g_\text{exc}, \qquad
        \tau_\text{inh} \dot g_\text{inh} = -g_\text{inh};

    input `ConductanceInput` makes :math:`g_\text{exc} \leftarrow g_\text{exc} + x_\text{exc}` and
    :math:`g_\text{inh} \leftarrow g_\text{inh} + x_\text{inh}`, and the neuron receives the current

    .. math:: i = g_\text{exc} (E_\text{exc} - v) + g_\text{inh} (E_\text{inh} - v).

    Input may also be one tensor, positive where it is excitatory and negative where it is inhibitory; excitation and
    inhibition that arrive in the same step then cancel.

    Conductances are in units of the neuron's leak conductance and decay exactly. The current is
    computed from the conductances after the decay and the potential before the step, and held during
    the step. The error is of first order in `dt`; the method is unstable when a conductance reaches
    about :math:`2 \tau_\text{mem} / \Delta t`.

    Reference: T. Vogels & L. Abbott, *Signal propagation and logic gating in networks of
    integrate-and-fire neurons*, 2005. The defaults are its parameters, with potentials in units of the
    distance from rest to threshold.

    Args:
        neuron: A neuron with a potential `v` whose input is a current, such as `LIFBox`.

    Raises:
        TypeError: If the neuron has no potential `v`.
    """

    input_types = (Tensor, ConductanceInput)

    tau_exc: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="excitatory time constant")
    tau_inh: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="inhibitory time constant")
    E_exc: Parameter = parameter(default=6.0, doc="excitatory reversal potential")
    E_inh: Parameter = parameter(default=-2.0, doc="inhibitory reversal potential")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_potential()

    def check_state_type(self, state: Any) -> None:
        self.expect_state(state, ConductanceSynapseState)
        self.neuron.check_state_type(state.neuron)

    def initial_state(self, x: Tensor, dtype: torch.dtype | None = None) -> Any:
        dtype = dtype or self.state_dtype(x)
        closed = x.new_zeros((), dtype=dtype).expand(x.shape)
        return ConductanceSynapseState(self.neuron.initial_state(x, dtype), g_exc=closed, g_inh=closed)

    def prepare(self) -> Prepared:
        decay_exc = torch.exp(-self.dt / widen(self.tau_exc))
        decay_inh = torch.exp(-self.dt / widen(self.tau_inh))
        return decay_exc, decay_inh, self.neuron.prepare()

    def step(
        self,
        x: Tensor | ConductanceInput,
        state: ConductanceSynapseState,
        decay_exc: Tensor,
        decay_inh: Tensor,
        inner: Prepared,
    ) -> tuple[Tensor, ConductanceSynapseState]:
        exc, inh = split_signs(x)
        g_exc = decay_exc * (state.g_exc + exc)
        g_inh = decay_inh * (state.g_inh + inh)
        v = potential(state.neuron)
        current = g_exc * (self.E_exc - v) + g_inh * (self.E_inh - v)
        z, neuron = self.neuron.step(current, state.neuron, *inner)
        return z, ConductanceSynapseState(neuron, g_exc, g_inh)


class ConductanceSynapseCell(CellMixin, ConductanceSynapse):
    """One step of `ConductanceSynapse`."""
