r"""How a NIR graph, which is in continuous time, is advanced in steps, as values.

NIR states differential equations, and every framework solves them in its own way. `from_nir` takes an integrator
of geir, or a `Discretization` that computes what another framework computes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._util.state import AnyState, map_state, working_dtype
from ..core.integrators import Coefficients, Exact, Flow, Integrator
from ..core.integrators._affine import linear_system
from ..core.resets import Reset, ResetBySubtraction, ResetToValue

_TO_VALUE = ResetToValue()
_BY_SUBTRACTION = ResetBySubtraction()
_EXACT = Exact()


@dataclass(frozen=True)
class SequentialEuler(Integrator):
    r"""Euler's method, one part of the state after the other: currents first, the potential with the new current.

    .. math::
        I &\leftarrow I + \Delta t \, f_I(x, v, I), \\
        v &\leftarrow v + \Delta t \, f_v(x, v, I).

    This is what Norse and snnTorch do. Of order 1; for models with a single part it is `geir.Euler`.
    """

    def advance(self, flow: Flow, x: Tensor, state: AnyState, coefficients: Coefficients) -> AnyState:
        for name in reversed(state._fields):
            slope = getattr(flow.derivative(x, state), name)
            state = state._replace(**{name: getattr(state, name) + flow.dt * slope})
        return state


@dataclass(frozen=True)
class ExponentialDecay(Integrator):
    r"""Exact decay of every part, but a gain of :math:`\Delta t` for what drives it; currents first.

    .. math:: s_k \leftarrow e^{\lambda_k \Delta t} s_k + \Delta t \, f_k(x, s \,|\, s_k = 0), \qquad
        \lambda_k = \partial f_k / \partial s_k.

    This is what sinabs and Rockpool do. For a constant input it settles at another potential than the
    equation: at :math:`\frac{\Delta t / \tau}{1 - e^{-\Delta t / \tau}}` times that. For models declared affine.
    """

    def prepare(self, flow: Flow) -> Coefficients:
        rates, _ = linear_system(flow)
        dtype = working_dtype(flow.declared_parameters().values())
        rest = flow.rest()
        return type(rest)(*(torch.exp(rates[k, k]).to(dtype) for k in range(len(rest))))

    def advance(self, flow: Flow, x: Tensor, state: AnyState, coefficients: Coefficients) -> AnyState:
        zero = map_state(torch.zeros_like, state)
        for name in reversed(state._fields):
            driven = state._replace(**{name: getattr(zero, name)})
            drive = flow.dt * getattr(flow.derivative(x, driven), name)
            state = state._replace(**{name: getattr(coefficients, name) * getattr(state, name) + drive})
        return state


@dataclass(frozen=True)
class DelayedReset(Reset):
    r"""A reset one step late, as snnTorch does it by default (`reset_delay=True`).

    The potential is left where it is when the neuron spikes. In the next step, where :math:`v_{t-1} > v_\text{th}`,
    reset by subtraction takes :math:`v_\text{th} - v_\text{reset}` off the potential after integration, and reset to
    a value sets the potential before integration. For neurons of `geir.nir` only.

    Args:
        by: The reset that is done late.
        after_integration: Whether reset to a value comes after integration, too, as in snnTorch's `Synaptic`,
            `RSynaptic` and `RLeaky`; it comes before in `Leaky`.
    """

    by: Reset = _BY_SUBTRACTION
    after_integration: bool = False

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return v


@dataclass(frozen=True)
class SnnTorchSubtraction(ResetBySubtraction):
    r"""Reset by subtraction as snnTorch does it with `reset_delay=False`.

    Where the potential is above the threshold even after a reset, the threshold of the next step is twice as high:
    a neuron spikes where :math:`v > v_\text{th} + (v_\text{th} - v_\text{reset}) \, \Theta(v_{t-1} - v_\text{th})`.
    For neurons of `geir.nir` only.
    """


@dataclass(frozen=True)
class ResetAtCrossing(Reset):
    """A reset at the time within the step at which the potential crosses the threshold.

    From there to the end of the step the neuron is integrated again, exactly for a constant input; a step has at most
    one spike. For the nodes IF and LIF of `geir.nir` with `geir.Exact()`.
    """

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        raise TypeError("ResetAtCrossing needs the input: it is for the nodes IF and LIF of geir.nir.")


@dataclass(frozen=True)
class Discretization:
    """How a graph is advanced in steps.

    Args:
        integrator: Numerical method of neurons and leaky integrators.
        reset: Effect of a spike on the potential. NIR has only the reset to `v_reset`.
        multiple_spikes: Whether neurons emit as many spikes in a step as it takes to bring them back to the
            threshold.
        initial_feedback: Whether cycles start with what their weights make of silence, such as a recurrent bias;
            else with zeros.
        integrate_per_step: Whether the nodes I and IF, which have no time constant, add R x in every step, whatever
            `dt`; else R x dt, as NIR says.
        late_weights: Whether the outputs of Affine, Linear and convolution nodes arrive one step late.
    """

    integrator: Integrator = SequentialEuler()
    reset: Reset = _TO_VALUE
    multiple_spikes: bool = False
    initial_feedback: bool = True
    integrate_per_step: bool = False
    late_weights: bool = False


@dataclass(frozen=True)
class ExactSolution(Discretization):
    """The exact solution for input that is constant in every step.

    IF and LIF are reset when they cross the threshold; CubaLIF, whose crossing has no closed form, is refused.
    """

    integrator: Integrator = _EXACT
    reset: Reset = ResetAtCrossing()


@dataclass(frozen=True)
class Norse(Discretization):
    """Norse: Euler's method, currents first; cycles start without a recurrent bias."""

    initial_feedback: bool = False
    integrate_per_step: bool = True


@dataclass(frozen=True)
class SnnTorch(Discretization):
    """snnTorch: Euler's method, currents first; reset to zero, which its importer always uses.

    A network that was trained with `reset_mechanism="subtract"` has ``SnnTorch(reset=SnnTorchSubtraction())``, or
    ``SnnTorch(reset=DelayedReset())`` where its `reset_delay` is true. Its importer takes `dt` to be 1e-4.
    """

    integrate_per_step: bool = True


@dataclass(frozen=True)
class Sinabs(Discretization):
    """sinabs: exact decay with the gain `dt / tau`, reset by subtraction, several spikes in one step."""

    integrator: Integrator = ExponentialDecay()
    reset: Reset = _BY_SUBTRACTION
    multiple_spikes: bool = True
    integrate_per_step: bool = True


@dataclass(frozen=True)
class Rockpool(Discretization):
    """Rockpool: exact decay with the gain `dt / tau`, reset by subtraction."""

    integrator: Integrator = ExponentialDecay()
    reset: Reset = _BY_SUBTRACTION


@dataclass(frozen=True)
class Lava(Discretization):
    """Lava in floating point: Euler's method, currents first; every connection takes one step."""

    late_weights: bool = True
