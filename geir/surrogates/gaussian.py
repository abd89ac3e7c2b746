"""Normal densities."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Surrogate


@dataclass(frozen=True)
class Gaussian(Surrogate):
    r""":math:`\exp(-x^2 / 2\sigma^2) / (\sqrt{2\pi} \sigma)`.

    Peak :math:`0.399/\sigma`, half width :math:`1.177 \sigma`, integral 1.
    """

    sigma: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        return _normal(x, 0.0, self.sigma)


@dataclass(frozen=True)
class MultiGaussian(Surrogate):
    r""":math:`(1 + h) N(x; 0, \sigma) - h N(x; \sigma, s\sigma) - h N(x; -\sigma, s\sigma)`.

    :math:`N` is the normal density. Negative far from threshold; integral :math:`1 - h`, half width
    :math:`1.14 \sigma` with the default arguments.

    Reference: B. Yin, F. Corradi & S. Bohte, *Accurate and efficient time-domain classification with adaptive spiking
    recurrent neural networks*, 2021.
    """

    sigma: float = 0.5
    height: float = 0.15
    scale: float = 6.0

    def derivative(self, x: Tensor) -> Tensor:
        wide = _normal(x, self.sigma, self.scale * self.sigma) + _normal(x, -self.sigma, self.scale * self.sigma)
        return (1 + self.height) * _normal(x, 0.0, self.sigma) - self.height * wide


def _normal(x: Tensor, mean: float, sigma: float) -> Tensor:
    return torch.exp(-(((x - mean) / sigma) ** 2) / 2) / (math.sqrt(2 * math.pi) * sigma)
