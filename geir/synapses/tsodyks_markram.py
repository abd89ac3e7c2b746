"""Short-term plasticity: facilitation and depression."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.integrators import Coefficients
from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class TsodyksMarkramState(NamedTuple):
    u: Tensor  # utilization: fraction of the resources that a spike releases
    r: Tensor  # available resources


class TsodyksMarkram(ODE[TsodyksMarkramState], affine=True):
    r"""Short-term plasticity: a spike releases a fraction :math:`u` of the resources :math:`r`; the
    output is the amount released.

    .. math:: \tau_\text{facil} \dot u = -u, \qquad \tau_\text{rec} \dot r = 1 - r;

    at a spike, which is an input :math:`x = 1`, first :math:`u \leftarrow u + U (1 - u)\, x`; then the
    output is :math:`u r x` and :math:`r \leftarrow r - u r x`. Between spikes the solution is exact, so
    the output depends on spike times, not on `dt`. Place the weights and the model of the current after
    it, for example ``Lift(Linear(...))`` and `ExponentialSynapse`.

    The defaults give a depressing synapse; ``U=0.15, tau_facil=750e-3, tau_rec=50e-3`` gives a
    facilitating one.

    Reference: M. Tsodyks, K. Pawelzik & H. Markram, *Neural networks with dynamic synapses*, 1998,
    without the short active state that resources pass through; for the defaults, M. Tsodyks & S. Wu,
    *Short-term synaptic plasticity*, 2013.
    """

    U: Parameter = parameter(default=0.45, above=0.0, below=1.0, doc="utilization at the first spike")
    tau_facil: Parameter = parameter(default=50e-3, unit="s", above=0.0, doc="time constant of facilitation")
    tau_rec: Parameter = parameter(default=750e-3, unit="s", above=0.0, doc="time constant of recovery from depression")

    def rest(self) -> TsodyksMarkramState:
        return TsodyksMarkramState(u=torch.zeros(()), r=torch.ones(()))

    def receive(self, x: Tensor, state: TsodyksMarkramState) -> TsodyksMarkramState:
        u = state.u + self.U * (1 - state.u) * x
        return TsodyksMarkramState(u=u, r=state.r - u * state.r * x)

    def derivative(self, x: Tensor, state: TsodyksMarkramState) -> TsodyksMarkramState:
        return TsodyksMarkramState(u=-state.u / self.tau_facil, r=(1 - state.r) / self.tau_rec)

    def step(
        self, x: Tensor, state: TsodyksMarkramState, coefficients: Coefficients
    ) -> tuple[Tensor, TsodyksMarkramState]:
        released = self.receive(x, state).u * state.r * x
        return released, self.advance(x, state, coefficients)


class TsodyksMarkramCell(CellMixin, TsodyksMarkram): ...
