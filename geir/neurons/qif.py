"""Quadratic integrate-and-fire neuron."""

from typing import NamedTuple

from torch import Tensor

from ..core.integrators import Integrator, RushLarsen
from ..core.ode import IntegrateAndFire
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin, RecurrentMixin


class QIFState(NamedTuple):
    v: Tensor  # membrane potential


class QIF(IntegrateAndFire[QIFState]):
    r"""Quadratic integrate-and-fire neuron. Its input is a current, constant during each step.

    .. math:: \tau_\text{mem} \dot v = a (v - v_\text{rest}) (v - v_\text{th}) + x.

    Beyond :math:`v_\text{th}` the potential runs away without input; where :math:`v > v_\text{peak}` the
    neuron spikes and :math:`v` is reset. A constant current above :math:`a (v_\text{th} - v_\text{rest})^2 /
    4` makes it fire, slowly at first: the normal form of a saddle-node on a circle.

    Reference: P. Latham, B. Richmond, P. Nelson & S. Nirenberg, *Intrinsic dynamics in neuronal networks. I.
    Theory*, 2000.

    Args:
        integrator: Numerical method that advances the state by `dt`; the default is stable under inhibition,
            where the parabola is steep.
    """

    tau_mem: Parameter = parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    a: Parameter = parameter(default=1.0, above=0.0, doc="curvature")
    v_rest: Parameter = parameter(default=0.0, doc="resting potential")
    v_th: Parameter = parameter(default=1.0, doc="potential at which the upswing begins")
    v_peak: Parameter = parameter(default=10.0, doc="potential at which a spike is registered")
    v_reset: Parameter = parameter(default=0.0, doc="potential after a spike")
    integrator: Integrator = RushLarsen()

    def rest(self) -> QIFState:
        return QIFState(v=self.v_rest)

    def derivative(self, x: Tensor, state: QIFState) -> QIFState:
        return QIFState(v=(self.a * (state.v - self.v_rest) * (state.v - self.v_th) + x) / self.tau_mem)

    def threshold(self, before: QIFState, after: QIFState) -> Tensor:
        return after.v - self.v_peak

    def reset_levels(self) -> tuple[Tensor, Tensor]:
        return self.v_reset, self.v_peak


class QIFCell(CellMixin, QIF): ...


class QIFRecurrent(RecurrentMixin, QIF): ...


class QIFRecurrentCell(CellMixin, RecurrentMixin, QIF): ...
