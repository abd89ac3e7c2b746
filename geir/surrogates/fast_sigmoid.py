"""Squared fast sigmoids."""

from dataclasses import dataclass

from torch import Tensor

from .base import Surrogate


@dataclass(frozen=True)
class SuperSpike(Surrogate):
    r""":math:`(1 + \alpha |x|)^{-2}`: peak 1, half width :math:`(\sqrt 2 - 1) / \alpha`, integral :math:`2 / \alpha`.

    Reference: F. Zenke & S. Ganguli, *SuperSpike: supervised learning in multilayer spiking neural networks*, 2018.
    """

    alpha: float = 100.0

    def derivative(self, x: Tensor) -> Tensor:
        return 1 / (1 + self.alpha * x.abs()) ** 2


@dataclass(frozen=True)
class SparseFastSigmoid(Surrogate):
    r""":math:`(1 + \alpha |x|)^{-2}` where :math:`|x| < w`, else 0.

    Peak 1, zero beyond :math:`w`, integral :math:`2 w / (1 + \alpha w)`. Neurons farther from threshold than :math:`w`
    have no gradient.

    Reference: N. Perez-Nieves & D. Goodman, *Sparse spiking gradient descent*, 2021.
    """

    alpha: float = 100.0
    width: float = 0.5

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < self.width).to(x.dtype) / (1 + self.alpha * x.abs()) ** 2
