"""The neuron models of NIR; each is named after its node."""

from abc import ABC
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.state import AnyState
from ..core.integrators import Coefficients, Exact
from ..core.ode import IntegrateAndFire, ODE
from ..core.parameters import Parameter, parameter
from ..core.resets import ResetToValue
from ..neurons import CubaLIF
from ..neurons.cubalif import CubaLIFState
from .discretizations import DelayedReset, ResetAtCrossing, SnnTorchSubtraction


class PotentialState(NamedTuple):
    """State of a neuron without a synaptic current."""

    v: Tensor  # membrane potential


class _FrameworkResets(IntegrateAndFire[AnyState], ABC):
    """Adds the resets that need more than the potential after integration.

    Abstract: a subclass that can be reset at the crossing of the threshold defines `after_crossing`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.reset_mechanism, ResetAtCrossing):
            return
        if type(self).after_crossing is _FrameworkResets.after_crossing:
            raise ValueError(
                f"{type(self).__name__} has no closed form for {self.reset_mechanism}; use another reset mechanism."
            )
        if not isinstance(self.integrator, Exact):
            raise ValueError(f"{self.reset_mechanism} needs integrator=Exact(), got {self.integrator}.")

    def after_crossing(self, x: Tensor, v: Tensor) -> Tensor:
        """The potential at the end of a step in which it was reset when it crossed the threshold.

        Args:
            x: Input.
            v: The potential at the end of the step without reset.
        """
        raise NotImplementedError

    def step(self, x: Tensor, state: AnyState, coefficients: Coefficients) -> tuple[Tensor, AnyState]:
        mechanism = self.reset_mechanism
        if isinstance(mechanism, ResetAtCrossing):
            after = self.advance(x, state, coefficients)
            z = self.surrogate(self.threshold(state, after))
            held = z.detach() if mechanism.detach else z
            return z, after._replace(v=torch.where(held > 0, self.after_crossing(x, after.v), after.v))
        if not isinstance(mechanism, DelayedReset | SnnTorchSubtraction):
            return super().step(x, state, coefficients)
        v_reset, v_th = self.reset_levels()
        fired = self.surrogate(state.v - v_th)
        fired = fired.detach() if mechanism.detach else fired
        if isinstance(mechanism, SnnTorchSubtraction):
            after = self.advance(x, state, coefficients)
            z = self.surrogate(after.v - v_th - fired * (v_th - v_reset))
            return z, self.reset(z, after)
        if isinstance(mechanism.by, ResetToValue) and not mechanism.after_integration:
            after = self.advance(x, state._replace(v=mechanism.by(fired, state.v, v_reset, v_th)), coefficients)
        else:
            after = self.advance(x, state, coefficients)
            after = after._replace(v=mechanism.by(fired, after.v, v_reset, v_th))
        return self.surrogate(after.v - v_th), after


class INode(ODE[PotentialState], affine=True):
    r"""Integrator: :math:`\dot v = r x`; the output is :math:`v`.

    Reference: J. Pedersen et al., *Neuromorphic intermediate representation*, 2024.
    """

    r: Parameter = parameter(default=1.0, doc="resistance")

    def rest(self) -> PotentialState:
        return PotentialState(v=torch.zeros(()))

    def derivative(self, x: Tensor, state: PotentialState) -> PotentialState:
        return PotentialState(v=self.r * x)

    def step(self, x: Tensor, state: PotentialState, coefficients: Coefficients) -> tuple[Tensor, PotentialState]:
        state = self.advance(x, state, coefficients)
        return state.v, state


class LINode(ODE[PotentialState], affine=True):
    r"""Leaky integrator: :math:`\tau_\text{mem} \dot v = v_\text{rest} - v + r x`; the output is :math:`v`.

    Reference: J. Pedersen et al., *Neuromorphic intermediate representation*, 2024.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    r: Parameter = parameter(default=1.0, doc="resistance")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")

    def rest(self) -> PotentialState:
        return PotentialState(v=self.v_rest)

    def derivative(self, x: Tensor, state: PotentialState) -> PotentialState:
        return PotentialState(v=(self.v_rest - state.v + self.r * x) / self.tau_mem)

    def step(self, x: Tensor, state: PotentialState, coefficients: Coefficients) -> tuple[Tensor, PotentialState]:
        state = self.advance(x, state, coefficients)
        return state.v, state


class CubaLINode(ODE[CubaLIFState], affine=True):
    r"""Leaky integrator with a synaptic current; the output is :math:`v`.

    .. math::
        \tau_\text{mem} \dot v = v_\text{rest} - v + r i, \qquad \tau_\text{syn} \dot i = -i + w_\text{in} x.

    Reference: J. Pedersen et al., *Neuromorphic intermediate representation*, 2024.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_syn: Parameter = parameter(default=5e-3, unit="s", above=0.0, doc="synaptic time constant")
    r: Parameter = parameter(default=1.0, doc="resistance")
    w_in: Parameter = parameter(default=1.0, doc="weight of the input")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")

    def rest(self) -> CubaLIFState:
        return CubaLIFState(v=self.v_rest, i=torch.zeros(()))

    def derivative(self, x: Tensor, state: CubaLIFState) -> CubaLIFState:
        return CubaLIFState(
            v=(self.v_rest - state.v + self.r * state.i) / self.tau_mem, i=(self.w_in * x - state.i) / self.tau_syn
        )

    def step(self, x: Tensor, state: CubaLIFState, coefficients: Coefficients) -> tuple[Tensor, CubaLIFState]:
        state = self.advance(x, state, coefficients)
        return state.v, state


class IFNode(_FrameworkResets, affine=True):
    r"""Integrate-and-fire neuron: :math:`\dot v = r x`; where :math:`v > v_\text{th}` it spikes and :math:`v` is reset.

    Reference: J. Pedersen et al., *Neuromorphic intermediate representation*, 2024.
    """

    r: Parameter = parameter(default=1.0, doc="resistance")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> PotentialState:
        return PotentialState(v=torch.zeros(()))

    def derivative(self, x: Tensor, state: PotentialState) -> PotentialState:
        return PotentialState(v=self.r * x)

    def threshold(self, before: PotentialState, after: PotentialState) -> Tensor:
        return after.v - self.v_th

    def after_crossing(self, x: Tensor, v: Tensor) -> Tensor:
        return v - self.v_th + self.v_reset


class LIFNode(_FrameworkResets, affine=True):
    r"""Leaky integrate-and-fire neuron: `geir.LIFBox` with a resistance.

    .. math:: \tau_\text{mem} \dot v = v_\text{rest} - v + r x;

    where :math:`v > v_\text{th}` the neuron spikes and :math:`v` is reset.

    Reference: J. Pedersen et al., *Neuromorphic intermediate representation*, 2024.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    r: Parameter = parameter(default=1.0, doc="resistance")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="threshold")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")

    def rest(self) -> PotentialState:
        return PotentialState(v=self.v_rest)

    def derivative(self, x: Tensor, state: PotentialState) -> PotentialState:
        return PotentialState(v=(self.v_rest - state.v + self.r * x) / self.tau_mem)

    def threshold(self, before: PotentialState, after: PotentialState) -> Tensor:
        return after.v - self.v_th

    def after_crossing(self, x: Tensor, v: Tensor) -> Tensor:
        # The distance to the limit, v_inf, shrinks by the same factor from any potential.
        v_inf = self.v_rest + self.r * x
        crosses = v_inf > self.v_th
        distance = torch.where(crosses, v_inf - self.v_th, 1.0)
        return torch.where(crosses, v_inf + (v - v_inf) * (v_inf - self.v_reset) / distance, self.v_reset)


class CubaLIFNode(_FrameworkResets, CubaLIF):
    """`geir.CubaLIF`, whose equations are those of NIR, with the resets of other frameworks."""
