"""Noise and stochastic spikes, for any spiking model."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._util.state import has_potential, potential, with_potential
from ..core.neuron import Dynamics
from ..core.ode import ODENeuron
from ..core.parameters import Parameter, parameter, setting
from ..neurons import LIF
from .forms import CellMixin, RecurrentMixin, Wrapper
from .random import Generator


class RandomState(NamedTuple):
    """State of a model with noise."""

    neuron: Any  # state of the model
    generator: Generator  # where its pseudo-random numbers are


class Randomness(Dynamics[Any]):
    """Pseudo-random numbers in the state of a model.

    Args:
        seed: From 0 to 2^32 - 1, for the same noise in every run from rest; layers that shall differ need different ones. Default: PyTorch
            draws one whenever a run starts from rest, so that `torch.manual_seed` decides.
    """

    _stream = 0  # which of several random numbers of one seed these are

    seed: int | None = setting(
        default=None,
        accepts=(int, type(None)),
        check=lambda seed: seed is None or 0 <= seed < 2**32,
        expected="a whole number from 0 to 2**32 - 1, or None",
    )

    def _randomly(self, rest: Any) -> RandomState:
        seed = None if self.seed is None else 2 * self.seed + self._stream
        return RandomState(rest, Generator(seed, seed, seed))


class Noise(Randomness):
    r"""White noise in the potential `v`: before every step

    .. math:: v \leftarrow v + \sigma \sqrt{\Delta t} \, \xi, \qquad \xi \sim N(0, 1),

    so that what the noise does in a second does not depend on :math:`\Delta t`; a membrane without threshold has the standard deviation
    :math:`\sigma \sqrt{\tau_\text{mem} / 2}`. The pseudo-random numbers are a part of the state.
    """

    sigma: Parameter = parameter(default=1.0, unit="1/sqrt(s)", at_least=0.0, doc="strength of the noise")

    def resting_state(self) -> Any:
        rest = super().resting_state()
        if not has_potential(rest):
            raise TypeError(
                f"{type(self).__name__} adds to the potential `v`, but {type(rest).__name__} has only {', '.join(rest._fields)}."
            )
        return self._randomly(rest)

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        xi, generator = state.generator.normal()
        v = potential(state.neuron) + math.sqrt(self.dt) * self.sigma * xi
        z, moved = super().step(x, with_potential(state.neuron, v), *prepared)
        return z, RandomState(moved, generator)


@dataclass(frozen=True)
class Hazard:
    """How the chance to spike grows with the distance to threshold. Abstract: subclass it and write `inverse`."""

    def inverse(self, h: Tensor) -> Tensor:
        """The distance to threshold, in widths, at which the hazard is `h` rates; `h` > 0."""
        raise NotImplementedError


@dataclass(frozen=True)
class ExponentialHazard(Hazard):
    r""":math:`\rho(d) = \rho_0 e^{d / w}`."""

    def inverse(self, h: Tensor) -> Tensor:
        return torch.log(h)


@dataclass(frozen=True)
class SigmoidalHazard(Hazard):
    r""":math:`\rho(d) = \rho_0 / (1 + e^{-d / w})`, at most :math:`\rho_0`."""

    def inverse(self, h: Tensor) -> Tensor:
        # Beyond the highest hazard no distance will do that a potential reaches; infinity would make gradients NaN.
        return torch.where(h < 1, torch.log(h) - torch.log1p(-h.clamp(max=1 - 2**-24)), 2.0**14)


class EscapeNoise(Randomness):
    r"""Stochastic spikes, which escape with a hazard that grows with the distance :math:`d` of the potential from threshold.

    A neuron spikes in a step with probability :math:`1 - e^{-\rho(d) \Delta t}`, where :math:`\rho(d) = \rho_0 e^{d / w}` by default.

    That is a threshold which is shifted in every step to where :math:`\rho \Delta t` equals a number drawn from an exponential distribution;
    so credit passes as ever, by the model's surrogate, also to :math:`\rho_0` and :math:`w`. Averaged over the noise, a surrogate with
    integral 1 gives the derivative of that probability, smoothed by the surrogate's width.

    Reference: W. Gerstner et al., *Neuronal Dynamics*, Ch. 9, 2014.

    Args:
        hazard: The form of :math:`\rho(d)`.
    """

    _stream = 1

    rate: Parameter = parameter(default=1000.0, unit="Hz", above=0.0, doc="scale of the hazard")
    width: Parameter = parameter(default=0.1, above=0.0, doc="distance over which the hazard grows")
    hazard: Hazard = ExponentialHazard()

    def __post_init__(self) -> None:
        super().__post_init__()
        step = getattr(type(self.neuron) if isinstance(self, Wrapper) else super(), "step")  # noqa: B009  (a mixin cannot name it)
        if getattr(step, "__func__", step) is not ODENeuron.step:
            raise TypeError(
                f"{type(self).__name__} shifts the threshold of a neuron whose step is that of geir.ODENeuron, such as LIF(), got "
                f"{self.neuron if isinstance(self, Wrapper) else type(self).__name__}; put other forms around it: Refractory(Stochastic(LIF()))."
            )

    def resting_state(self) -> Any:
        return self._randomly(super().resting_state())

    def step(self, x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        model: Any = self.neuron if isinstance(self, Wrapper) else self
        uniform, generator = state.generator.uniform()
        shift = self.width * self.hazard.inverse(-torch.log(uniform) / (self.rate * self.dt))
        after = model.advance(x, state.neuron, prepared)
        z = model.surrogate(model.threshold(state.neuron, after) - shift)
        return z, RandomState(model.reset(z, after), generator)


class Noisy(Noise, Wrapper):
    """Any neuron with white noise in its potential: ``Noisy(LIF(), sigma=2.0)``."""


class NoisyCell(CellMixin, Noisy):
    """One step of any neuron with white noise in its potential."""


class NoisyLIF(Noise, LIF): ...


class NoisyLIFCell(CellMixin, NoisyLIF): ...


class NoisyLIFRecurrent(RecurrentMixin, NoisyLIF): ...


class NoisyLIFRecurrentCell(CellMixin, RecurrentMixin, NoisyLIF): ...


class Stochastic(EscapeNoise, Wrapper):
    """Any neuron given by a differential equation with escape noise: ``Stochastic(LIF(), width=0.2)``."""


class StochasticCell(CellMixin, Stochastic):
    """One step of any neuron given by a differential equation with escape noise."""


class StochasticLIF(EscapeNoise, LIF): ...


class StochasticLIFCell(CellMixin, StochasticLIF): ...


class StochasticLIFRecurrent(RecurrentMixin, StochasticLIF): ...


class StochasticLIFRecurrentCell(CellMixin, RecurrentMixin, StochasticLIF): ...
