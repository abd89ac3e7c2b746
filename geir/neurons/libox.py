"""Leaky integrator driven by a current."""

from typing import NamedTuple

from torch import Tensor

from ..core.integrators import Coefficients
from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class LIBoxState(NamedTuple):
    v: Tensor  # membrane potential


class LIBox(ODE[LIBoxState], affine=True):
    r"""Leaky integrator without a synapse: its input is a current, constant during each step, its output the
    potential :math:`v`.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + x

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 1, 2014.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")

    def rest(self) -> LIBoxState:
        return LIBoxState(v=self.v_rest)

    def derivative(self, x: Tensor, state: LIBoxState) -> LIBoxState:
        return LIBoxState(v=(self.v_rest - state.v + x) / self.tau_mem)

    def step(self, x: Tensor, state: LIBoxState, coefficients: Coefficients) -> tuple[Tensor, LIBoxState]:
        state = self.advance(x, state, coefficients)
        return state.v, state


class LIBoxCell(CellMixin, LIBox): ...
