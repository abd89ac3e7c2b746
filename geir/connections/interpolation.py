"""Interpolation of delays between time steps."""

import math
import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Taps(NamedTuple):
    """Delays as weighted sums of whole steps."""

    steps: Tensor  # whole steps of delay, shape (taps, *delays)
    weights: Tensor  # the weight of each, shape (taps, *delays)


@dataclass(frozen=True)
class Interpolation(ABC):
    """How a delay between two steps is realized: as a weighted sum of whole steps. Abstract: a subclass
    defines `taps`."""

    @abstractmethod
    def taps(self, delay: Tensor, longest: int, dt: float) -> Taps:
        r"""The whole steps that make up each delay.

        Args:
            delay: Delays in steps, each from 0 to `longest`, any shape.
            longest: Length of the buffer in steps.
            dt: Step size in seconds.

        Returns:
            Steps from 0 to `longest` and their weights, each of shape (taps, \*delay.shape).
        """


@dataclass(frozen=True)
class NearestStep(Interpolation):
    """Delays are rounded to whole steps. They receive no gradient."""

    def taps(self, delay: Tensor, longest: int, dt: float) -> Taps:
        return Taps(steps=torch.round(delay.detach()).long()[None], weights=torch.ones_like(delay)[None])


@dataclass(frozen=True)
class LinearInterpolation(Interpolation):
    """The steps before and after the delay, weighted linearly by their distance to it."""

    def taps(self, delay: Tensor, longest: int, dt: float) -> Taps:
        # For a delay of exactly `longest` steps, the second tap is the last step, with weight 1.
        first = delay.detach().floor().clamp(max=max(0, longest - 1))
        fraction = delay - first
        steps = torch.stack([first, (first + 1).clamp(max=longest)]).long()
        return Taps(steps=steps, weights=torch.stack([1 - fraction, fraction]))


@dataclass(frozen=True)
class GaussianInterpolation(Interpolation):
    r"""All steps, weighted by :math:`e^{-(k \Delta t - d)^2 / 2 \sigma^2}` and normalized, as in DCLS.

    A large `sigma` lets the gradient see distant delays. Decrease it during training,
    ``layer.interpolation = GaussianInterpolation(sigma)``; in the limit of zero it is `NearestStep`,
    which is used for evaluation.

    Reference: I. Hammouamri, I. Khalfaoui-Hassani & T. Masquelier, *Learning delays in spiking neural
    networks using dilated convolutions with learnable spacings*, 2023.

    Args:
        sigma: Width in seconds.

    Raises:
        ValueError: If `sigma` is not positive and finite.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not (isinstance(self.sigma, numbers.Real) and 0 < self.sigma < math.inf):
            raise ValueError(f"GaussianInterpolation.sigma must be a positive number of seconds, got {self.sigma!r}.")

    def taps(self, delay: Tensor, longest: int, dt: float) -> Taps:
        steps = torch.arange(longest + 1, device=delay.device).view(-1, *[1] * delay.dim()).expand(-1, *delay.shape)
        return Taps(steps=steps, weights=torch.softmax(-0.5 * ((steps - delay) * dt / self.sigma) ** 2, 0))
