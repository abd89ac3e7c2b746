"""Leaky integrator that takes a current."""

from typing import Any, NamedTuple

from torch import Tensor

from ..core.ode import ODE
from ..core.parameters import Parameter, parameter
from ..wrappers.forms import CellMixin


class LIBoxState(NamedTuple):
    v: Tensor  # membrane potential


class LIBox(ODE[LIBoxState], affine=True):
    r"""Leaky integrator that takes a current, held during each step, instead of having a synapse; its output is its potential :math:`v`.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + x

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 1, 2014.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")

    def rest(self) -> LIBoxState:
        return LIBoxState(v=self.v_rest)

    def derivative(self, x: Tensor, state: LIBoxState) -> LIBoxState:
        return LIBoxState(v=(self.v_rest - state.v + x) / self.tau_mem)

    def step(self, x: Tensor, state: LIBoxState, *prepared: Any) -> tuple[Tensor, LIBoxState]:
        state = self.advance(x, state, prepared)
        return state.v, state


class LIBoxCell(CellMixin, LIBox): ...
