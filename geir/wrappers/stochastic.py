"""Stochastic spikes, for any neuron given by a differential equation."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.class_edits import Watched
from .._util.inputs import AnyInput
from .._util.precision import widen
from ..core.ode import ODENeuron
from ..core.parameters import Parameter, parameter
from .cell import CellMixin
from .noise import RandomState, RandomWrapper


@dataclass(frozen=True)
class Hazard(metaclass=Watched):
    """The hazard rate as a function of the distance to threshold. Abstract: a subclass defines `inverse`."""

    @abstractmethod
    def inverse(self, h: Tensor) -> Tensor:
        """The distance to threshold, in units of the width, at which the hazard is `h` times the base rate; `h` > 0."""


@dataclass(frozen=True)
class ExponentialHazard(Hazard):
    r"""Exponential hazard, :math:`\rho(d) = \rho_0 e^{d / w}`."""

    def inverse(self, h: Tensor) -> Tensor:
        return torch.log(h)


@dataclass(frozen=True)
class SigmoidalHazard(Hazard):
    r"""Sigmoidal hazard, :math:`\rho(d) = \rho_0 / (1 + e^{-d / w})`, at most :math:`\rho_0`."""

    def inverse(self, h: Tensor) -> Tensor:
        # No distance gives more than the highest hazard: a distance that no potential reaches. Infinity would
        # make gradients NaN.
        return torch.where(h < 1, torch.log(h) - torch.log1p(-h.clamp(max=1 - 2**-24)), 2.0**14)


class Stochastic(RandomWrapper):
    r"""Any neuron given by a differential equation, with escape noise: ``Stochastic(LIF(), width=0.2)``.

    A neuron spikes in a step with probability :math:`1 - e^{-\rho(d) \Delta t}`. Its hazard :math:`\rho`
    grows with the distance :math:`d` of the potential from the threshold, by default as :math:`\rho(d) =
    \rho_0 e^{d / w}`.

    This is implemented as a threshold shifted in every step to where :math:`\rho \Delta t` equals a number
    drawn from an exponential distribution, so the gradient passes by the neuron's surrogate derivative, also
    to :math:`\rho_0` and :math:`w`. Averaged over the noise, a surrogate with integral 1 gives the derivative
    of the spike probability, smoothed by the width of the surrogate.

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 9, 2014.

    Args:
        hazard: The form of :math:`\rho(d)`.

    Raises:
        TypeError: If the neuron's step is not that of `ODENeuron`.
    """

    _stream: ClassVar[int] = 1

    rate: Parameter = parameter(default=1000.0, unit="Hz", above=0.0, doc="hazard at threshold, $\\rho_0$")
    width: Parameter = parameter(default=0.1, above=0.0, doc="distance over which the hazard grows, $w$")
    hazard: Hazard = ExponentialHazard()

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.neuron).step is not ODENeuron.step:
            raise TypeError(
                f"{type(self).__name__} shifts the threshold of a neuron whose step is that of geir.ODENeuron, such as "
                f"LIF(), got {self.neuron}; apply other wrappers around it: Refractory(Stochastic(LIF()))."
            )

    def step(self, x: AnyInput, state: RandomState, inner: Prepared) -> tuple[Tensor, RandomState]:
        neuron: Any = self.neuron  # an ODENeuron, as checked at construction
        uniform, generator = state.generator.uniform()
        shift = self.width * self.hazard.inverse(-torch.log(uniform) / (widen(self.rate) * self.dt))
        after = neuron.advance(x, state.neuron, *inner)
        z = neuron.surrogate(neuron.threshold(state.neuron, after) - shift)
        return z, RandomState(neuron.reset(z, after), generator)


class StochasticCell(CellMixin, Stochastic): ...
