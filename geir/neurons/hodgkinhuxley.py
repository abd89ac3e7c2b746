"""Hodgkin-Huxley model of the squid giant axon."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.precision import widen
from ..core.integrators import Integrator, phi1, RushLarsen
from ..core.ode import ODENeuron
from ..core.parameters import Parameter, parameter
from ..surrogates import SuperSpike
from ..wrappers import CellMixin, RecurrentMixin

MS = 1e-3


class HodgkinHuxleyState(NamedTuple):
    v: Tensor  # membrane potential, in mV
    m: Tensor  # activation of sodium channels
    h: Tensor  # fraction of sodium channels that are not inactivated
    n: Tensor  # activation of potassium channels


class HodgkinHuxley(ODENeuron[HodgkinHuxleyState]):
    r"""Hodgkin-Huxley model of the squid giant axon. Its input is a current in µA/cm², constant during each step.

    .. math::
        C \dot v &= g_\text{Na} m^3 h (E_\text{Na} - v)
            + g_\text{K} n^4 (E_\text{K} - v) + g_\text{L} (E_\text{L} - v) + x, \\
        \dot y &= \alpha_y(v) (1 - y) - \beta_y(v) y \quad \text{for each } y \in \{m, h, n\}, \\
        \alpha_m &= \frac{0.1 (v + 40)}{1 - e^{-(v + 40) / 10}}, \quad \alpha_h = 0.07 e^{-(v + 65) / 20}, \quad
        \alpha_n = \frac{0.01 (v + 55)}{1 - e^{-(v + 55) / 10}}, \\
        \beta_m &= 4 e^{-(v + 65) / 18}, \quad \beta_h = \frac{1}{1 + e^{-(v + 35) / 10}}, \quad \beta_n =
        0.125 e^{-(v + 65) / 80},

    with potentials in mV and rates per ms. The neuron spikes where :math:`v` crosses :math:`v_\text{th}`
    upwards; nothing is reset.

    Reference: A. Hodgkin & A. Huxley, *A quantitative description of membrane current and its application to
    conduction and excitation in nerve*, 1952, with the modern sign convention and a resting potential of -65
    mV.

    Args:
        dt: Step size in seconds. Default: 25 µs; a spike takes less than the 1 ms of other models.
        surrogate: Threshold function; the default is the usual one, scaled to 100 mV.
        integrator: Numerical method; with the default, potentials and gates stay within their bounds at any `dt`.
    """

    C: Parameter = parameter(default=1.0, unit="µF/cm²", above=0.0, doc="membrane capacitance")
    g_Na: Parameter = parameter(
        default=120.0, unit="mS/cm²", at_least=0.0, doc="sodium conductance with all channels open"
    )
    g_K: Parameter = parameter(
        default=36.0, unit="mS/cm²", at_least=0.0, doc="potassium conductance with all channels open"
    )
    g_L: Parameter = parameter(default=0.3, unit="mS/cm²", at_least=0.0, doc="leak conductance")
    E_Na: Parameter = parameter(default=50.0, unit="mV", doc="sodium reversal potential")
    E_K: Parameter = parameter(default=-77.0, unit="mV", doc="potassium reversal potential")
    E_L: Parameter = parameter(default=-54.387, unit="mV", doc="leak reversal potential")
    v_rest: Parameter = parameter(default=-65.0, unit="mV", doc="initial potential, with the gates in equilibrium")
    v_th: Parameter = parameter(default=0.0, unit="mV", doc="threshold: an upward crossing is a spike")
    dt: float = 25e-6
    integrator: Integrator = RushLarsen()
    surrogate: Callable[[Tensor], Tensor] = SuperSpike(alpha=1.0)

    def rest(self) -> HodgkinHuxleyState:
        return HodgkinHuxleyState(
            self.v_rest, *(opens / (opens + closes) for opens, closes in _rates(widen(self.v_rest)))
        )

    def derivative(self, x: Tensor, state: HodgkinHuxleyState) -> HodgkinHuxleyState:
        v, *gates = state
        m, h, n = gates
        sodium = self.g_Na * m**3 * h * (self.E_Na - v)
        potassium = self.g_K * n**2 * n**2 * (self.E_K - v)
        current = sodium + potassium + self.g_L * (self.E_L - v) + x
        gate_rates = ((opens * (1 - y) - closes * y) / MS for y, (opens, closes) in zip(gates, _rates(v), strict=True))
        return HodgkinHuxleyState(current / self.C / MS, *gate_rates)

    def threshold(self, before: HodgkinHuxleyState, after: HodgkinHuxleyState) -> Tensor:
        return torch.where(before.v > self.v_th, self.v_th - before.v, after.v - self.v_th)

    def reset(self, z: Tensor, state: HodgkinHuxleyState) -> HodgkinHuxleyState:
        return state


def _rates(v: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """The rates, per ms, at which the gates m, h and n open and close."""
    # Far below any physiological potential, where the exponentials would overflow.
    v = torch.clamp(v, min=-300.0)
    # y / (1 - exp(-y)) as 1 / phi1(-y), which is 1 at 0 and not 0 / 0.
    return (
        (1 / phi1(-(v + 40) / 10), 4 * torch.exp(-(v + 65) / 18)),
        (0.07 * torch.exp(-(v + 65) / 20), torch.sigmoid((v + 35) / 10)),
        (0.1 / phi1(-(v + 55) / 10), 0.125 * torch.exp(-(v + 65) / 80)),
    )


class HodgkinHuxleyCell(CellMixin, HodgkinHuxley): ...


class HodgkinHuxleyRecurrent(RecurrentMixin, HodgkinHuxley): ...


class HodgkinHuxleyRecurrentCell(CellMixin, RecurrentMixin, HodgkinHuxley): ...
