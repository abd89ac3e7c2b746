"""How a change depends on the weight itself, as values."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightDependence:
    r"""How potentiation and depression depend on where the weight is between its bounds, :math:`u = (w - w_\min) / (w_\max - w_\min)`.

    Abstract: subclass it and write `weigh`.
    """

    needs_bounds: ClassVar[bool] = True

    def weigh(self, up: Tensor, down: Tensor, u: Tensor) -> Tensor:
        """The change, from potentiation, depression and the weight's place."""
        raise NotImplementedError(f"{type(self).__name__} does not define `weigh`.")

    def __call__(self, up: Tensor, down: Tensor, weight: Tensor, w_min: Tensor, w_max: Tensor) -> Tensor:
        if up.dim() == down.dim() == 0:  # nothing fired, see `Synapses.outer`
            return up
        return self.weigh(up, down, (weight - w_min) / (w_max - w_min) if self.needs_bounds else weight)


@dataclass(frozen=True)
class Additive(WeightDependence):
    r"""Not at all: :math:`\Delta w = \Delta_+ - \Delta_-`; the bounds are hard.

    Reference: S. Song, K. Miller & L. Abbott, *Competitive Hebbian learning through spike-timing-dependent synaptic plasticity*, 2000.
    """

    needs_bounds: ClassVar[bool] = False

    def weigh(self, up: Tensor, down: Tensor, u: Tensor) -> Tensor:
        return up - down


@dataclass(frozen=True)
class Multiplicative(WeightDependence):
    r""":math:`\Delta w = (1 - u) \, \Delta_+ - u \, \Delta_-`: the bounds are soft.

    Reference: J. Rubin, D. Lee & H. Sompolinsky, *Equilibrium properties of temporally asymmetric Hebbian plasticity*, 2001.
    """

    def weigh(self, up: Tensor, down: Tensor, u: Tensor) -> Tensor:
        return torch.addcmul(up, u, up + down, value=-1)


@dataclass(frozen=True)
class PowerLaw(WeightDependence):
    r""":math:`\Delta w = (1 - u)^{\mu_+} \Delta_+ - u^{\mu_-} \Delta_-`: additive where :math:`\mu = 0`, multiplicative where :math:`\mu = 1`.

    Reference: R. Gütig et al., *Learning input correlations through nonlinear temporally asymmetric Hebbian plasticity*, 2003.

    Args:
        mu_plus: Exponent of potentiation, >= 0.
        mu_minus: Exponent of depression, >= 0.
    """

    mu_plus: float
    mu_minus: float

    def __post_init__(self) -> None:
        if not (self.mu_plus >= 0 and self.mu_minus >= 0):
            raise ValueError(f"PowerLaw takes exponents >= 0, got {self.mu_plus} and {self.mu_minus}.")

    def weigh(self, up: Tensor, down: Tensor, u: Tensor) -> Tensor:
        return (1 - u) ** self.mu_plus * up - u**self.mu_minus * down
