"""Explicit methods."""

from dataclasses import dataclass

from ..._util.inputs import AnyInput
from ..._util.state import AnyState, map_state
from .base import Coefficients, Flow, Integrator


@dataclass(frozen=True)
class Euler(Integrator):
    r"""Euler's method, :math:`s + \Delta t f(x, s)`.

    Of order 1; stable only while :math:`\Delta t` is below twice the shortest time constant.
    """

    def advance(self, flow: Flow, x: AnyInput, state: AnyState, coefficients: Coefficients) -> AnyState:
        return map_state(lambda s, f: s + flow.dt * f, state, flow.derivative(x, state))


@dataclass(frozen=True)
class RungeKutta4(Integrator):
    """The classical Runge-Kutta method. Of order 4; evaluates the derivative four times per step."""

    def advance(self, flow: Flow, x: AnyInput, state: AnyState, coefficients: Coefficients) -> AnyState:
        dt = flow.dt

        def slope(fraction: float, previous: AnyState) -> AnyState:
            return flow.derivative(x, map_state(lambda s, k: s + fraction * dt * k, state, previous))

        k1 = flow.derivative(x, state)
        k2 = slope(0.5, k1)
        k3 = slope(0.5, k2)
        k4 = slope(1.0, k3)
        return map_state(lambda s, a, b, c, d: s + dt / 6 * (a + 2 * b + 2 * c + d), state, k1, k2, k3, k4)
