"""Izhikevich's neuron: a parabola and a recovery variable."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from .._util.precision import widen
from ..core.integrators import Integrator, RushLarsen
from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..surrogates import SuperSpike
from ..wrappers import CellMixin, RecurrentMixin


class IzhikevichState(NamedTuple):
    v: Tensor  # membrane potential, in mV
    u: Tensor  # recovery


class Izhikevich(IntegrateAndFire[IzhikevichState]):
    r"""Izhikevich's neuron. Its input is a current, constant during each step.

    .. math::
        \tau \dot v = k_2 v^2 + k_1 v + k_0 - u + x, \qquad \tau \dot u = a \left(b (v - v_u) - \lambda u\right);

    where :math:`v > v_\text{peak}` the neuron spikes, :math:`v \leftarrow c` and :math:`u \leftarrow u + d`.
    Potentials are in mV; everything else is as published, with :math:`\tau` = 1 ms, the unit of time of the
    published equations, so that `dt` is in seconds as everywhere. The default is the regular spiking neuron
    of 2003; `firing_pattern` gives the twenty patterns of 2004.

    References: E. Izhikevich, *Simple model of spiking neurons*, 2003, and *Which model to use for cortical
    spiking neurons?*, 2004.

    Args:
        surrogate: Threshold function; the default is the usual one, scaled to 100 mV.
        integrator: Numerical method that advances the state by `dt`; the default is stable under inhibition,
            where the parabola is steep.
    """

    tau: Parameter = parameter(default=1e-3, unit="s", above=0.0, doc="unit of time of the equations")
    a: Parameter = parameter(default=0.02, doc="rate of recovery")
    b: Parameter = parameter(default=0.2, doc="coupling of recovery to the potential")
    c: Parameter = parameter(default=-65.0, unit="mV", doc="potential after a spike")
    d: Parameter = parameter(default=8.0, doc="jump of recovery at a spike")
    k_2: Parameter = parameter(default=0.04, doc="quadratic coefficient of the potential")
    k_1: Parameter = parameter(default=5.0, doc="linear coefficient of the potential")
    k_0: Parameter = parameter(default=140.0, doc="constant drive of the potential")
    v_u: Parameter = parameter(default=0.0, unit="mV", doc="potential at which this coupling vanishes")
    decay: Parameter = parameter(
        default=1.0, doc="decay of recovery in units of its rate, $\\lambda$; 0 for pure integration"
    )
    v_rest: Parameter = parameter(default=-70.0, unit="mV", doc="initial potential")
    v_peak: Parameter = parameter(default=30.0, unit="mV", doc="potential at which a spike is registered")
    integrator: Integrator = RushLarsen()
    surrogate: Callable[[Tensor], Tensor] = SuperSpike(alpha=1.0)

    def rest(self) -> IzhikevichState:
        return IzhikevichState(v=self.v_rest, u=self.b * (widen(self.v_rest) - self.v_u))

    def derivative(self, x: Tensor, state: IzhikevichState) -> IzhikevichState:
        v, u = state
        return IzhikevichState(
            v=((self.k_2 * v + self.k_1) * v + self.k_0 - u + x) / self.tau,
            u=self.a * (self.b * (v - self.v_u) - self.decay * u) / self.tau,
        )

    def threshold(self, before: IzhikevichState, after: IzhikevichState) -> Tensor:
        return after.v - self.v_peak

    def reset_levels(self) -> tuple[Tensor, Tensor]:
        return self.c, self.v_peak

    def reset(self, z: Tensor, state: IzhikevichState) -> IzhikevichState:
        return super().reset(z, state)._replace(u=state.u + self.d * z)


class IzhikevichCell(CellMixin, Izhikevich): ...


class IzhikevichRecurrent(RecurrentMixin, Izhikevich): ...


class IzhikevichRecurrentCell(CellMixin, RecurrentMixin, Izhikevich): ...
