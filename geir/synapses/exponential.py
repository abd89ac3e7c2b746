"""Synapse whose current decays exponentially."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.integrators import Coefficients
from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class ExponentialSynapseState(NamedTuple):
    i: Tensor  # synaptic current


class ExponentialSynapse(ODE[ExponentialSynapseState], affine=True):
    r"""Synapse whose current jumps with its input and decays exponentially; its output is the current
    :math:`i`.

    .. math:: \tau_\text{syn} \dot i = -i;

    input adds to the current: :math:`i \leftarrow i + x`.

    Reference: A. Roth & M. van Rossum, *Modeling synapses*, 2009.
    """

    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")

    def rest(self) -> ExponentialSynapseState:
        return ExponentialSynapseState(i=torch.zeros(()))

    def receive(self, x: Tensor, state: ExponentialSynapseState) -> ExponentialSynapseState:
        return ExponentialSynapseState(i=state.i + x)

    def derivative(self, x: Tensor, state: ExponentialSynapseState) -> ExponentialSynapseState:
        return ExponentialSynapseState(i=-state.i / self.tau_syn)

    def step(
        self, x: Tensor, state: ExponentialSynapseState, coefficients: Coefficients
    ) -> tuple[Tensor, ExponentialSynapseState]:
        state = self.advance(x, state, coefficients)
        return state.i, state


class ExponentialSynapseCell(CellMixin, ExponentialSynapse): ...
