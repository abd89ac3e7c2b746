"""Derivatives that are zero beyond a distance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Surrogate


@dataclass(frozen=True)
class Triangle(Surrogate):
    r""":math:`\gamma \max(0, 1 - |x| / w)`: peak :math:`\gamma`, zero beyond :math:`w`, integral :math:`\gamma w`.

    Reference: G. Bellec et al., *Long short-term memory and learning-to-learn in networks of spiking neurons*, 2018.
    """

    gamma: float = 0.3
    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.gamma * torch.relu(1 - x.abs() / self.width)


@dataclass(frozen=True)
class Rectangle(Surrogate):
    r""":math:`1 / w` where :math:`|x| < w / 2`, else 0: integral 1.

    Reference: Y. Wu et al., *Spatio-temporal backpropagation for training high-performance spiking neural networks*,
    2018.
    """

    width: float = 1.0

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.width / 2).to(x.dtype) / self.width
