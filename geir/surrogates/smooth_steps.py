"""Derivatives of smooth steps from 0 to 1."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Surrogate


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r""":math:`\alpha \sigma(\alpha x) (1 - \sigma(\alpha x))`, with the logistic sigmoid :math:`\sigma`.

    Peak :math:`\alpha/4`, half width :math:`1.763/\alpha`, integral 1.
    """

    alpha: float = 4.0

    def derivative(self, x: Tensor) -> Tensor:
        smooth = torch.sigmoid(self.alpha * x)
        return self.alpha * smooth * (1 - smooth)


@dataclass(frozen=True)
class ATan(Surrogate):
    r""":math:`\frac{\alpha}{2} \left(1 + (\pi \alpha x / 2)^2\right)^{-1}`.

    Peak :math:`\alpha/2`, half width :math:`2 / (\pi \alpha)`, integral 1: the derivative of a scaled arc tangent.

    Reference: W. Fang et al., *Incorporating learnable membrane time constant to enhance learning of spiking neural
    networks*, 2021.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * x) ** 2)


@dataclass(frozen=True)
class Erfc(Surrogate):
    r""":math:`\frac{\alpha}{\sqrt\pi} \exp(-\alpha^2 x^2)`, the derivative of :math:`\frac12 \mathrm{erfc}(-\alpha x)`.

    Peak :math:`0.564 \alpha`, half width :math:`0.833 / \alpha`, integral 1.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / math.sqrt(math.pi) * torch.exp(-((self.alpha * x) ** 2))


@dataclass(frozen=True)
class Tanh(Surrogate):
    r""":math:`\frac{\alpha}{2} \left(1 - \tanh^2(\alpha x)\right)`.

    The derivative of :math:`\frac12 (1 + \tanh \alpha x)`.
    Peak :math:`\alpha/2`, half width :math:`0.881 / \alpha`, integral 1.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 * (1 - torch.tanh(self.alpha * x) ** 2)


@dataclass(frozen=True)
class Circle(Surrogate):
    r""":math:`\frac{\alpha}{2} \left(1 + \alpha^2 x^2\right)^{-3/2}`.

    The derivative of :math:`\frac12 (1 + \alpha x / \sqrt{1 + \alpha^2 x^2})`.
    Peak :math:`\alpha/2`, half width :math:`0.766 / \alpha`, integral 1.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 * (1 + (self.alpha * x) ** 2) ** -1.5
