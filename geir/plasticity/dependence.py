"""How the change of a weight depends on the weight itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightDependence(ABC):
    r"""How potentiation and depression depend on the weight's position
    :math:`u = (w - w_\min) / (w_\max - w_\min)` between its bounds.

    Abstract: a subclass defines `combine`.
    """

    needs_bounds: ClassVar[bool] = True  # if not, `combine` does not use the position, and bounds may be infinite

    @abstractmethod
    def combine(self, potentiation: Tensor, depression: Tensor, position: Tensor) -> Tensor:
        """The change of the weight.

        Args:
            potentiation: Potentiation :math:`\\Delta_+` before weight dependence, at least 0.
            depression: Depression :math:`\\Delta_-` before weight dependence, at least 0.
            position: Position :math:`u` of the weight between its bounds, from 0 to 1.
        """

    def __call__(
        self, potentiation: Tensor, depression: Tensor, weight: Tensor, w_min: Tensor, w_max: Tensor
    ) -> Tensor:
        # Zeros without dimensions mean that nothing fired, see `ConnectionView.outer`.
        if potentiation.dim() == depression.dim() == 0:
            return potentiation
        position = (weight - w_min) / (w_max - w_min) if self.needs_bounds else weight
        return self.combine(potentiation, depression, position)


@dataclass(frozen=True)
class Additive(WeightDependence):
    r"""No dependence, :math:`\Delta w = \Delta_+ - \Delta_-`: the bounds are hard.

    Reference: S. Song, K. Miller & L. Abbott, *Competitive Hebbian learning through
    spike-timing-dependent synaptic plasticity*, 2000.
    """

    needs_bounds: ClassVar[bool] = False

    def combine(self, potentiation: Tensor, depression: Tensor, position: Tensor) -> Tensor:
        return potentiation - depression


@dataclass(frozen=True)
class Multiplicative(WeightDependence):
    r""":math:`\Delta w = (1 - u) \, \Delta_+ - u \, \Delta_-`: the bounds are soft.

    Reference: J. Rubin, D. Lee & H. Sompolinsky, *Equilibrium properties of temporally asymmetric
    Hebbian plasticity*, 2001.
    """

    def combine(self, potentiation: Tensor, depression: Tensor, position: Tensor) -> Tensor:
        return torch.addcmul(potentiation, position, potentiation + depression, value=-1)


@dataclass(frozen=True)
class PowerLaw(WeightDependence):
    r""":math:`\Delta w = (1 - u)^{\mu_+} \Delta_+ - u^{\mu_-} \Delta_-`: additive for :math:`\mu = 0`,
    multiplicative for :math:`\mu = 1`.

    Reference: R. Gütig et al., *Learning input correlations through nonlinear temporally asymmetric
    Hebbian plasticity*, 2003.

    Args:
        mu_plus: Exponent of potentiation, >= 0.
        mu_minus: Exponent of depression, >= 0.

    Raises:
        ValueError: If an exponent is negative.
    """

    mu_plus: float
    mu_minus: float

    def __post_init__(self) -> None:
        if not (self.mu_plus >= 0 and self.mu_minus >= 0):
            raise ValueError(f"PowerLaw takes exponents >= 0, got {self.mu_plus} and {self.mu_minus}.")

    def combine(self, potentiation: Tensor, depression: Tensor, position: Tensor) -> Tensor:
        return (1 - position) ** self.mu_plus * potentiation - position**self.mu_minus * depression
