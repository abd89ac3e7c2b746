"""Derivatives that are the same everywhere."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Surrogate


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """1 everywhere: the gradient passes as if there were no threshold; the integral diverges.

    Reference: Y. Bengio, N. Leonard & A. Courville, *Estimating or propagating gradients through stochastic neurons*,
    2013.
    """

    def derivative(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@dataclass(frozen=True)
class ZeroGradient(Surrogate):
    """0 everywhere, the true derivative: no gradient passes through spikes.

    Norse calls it ``Heaviside``, which works too.
    """

    def derivative(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


Heaviside = ZeroGradient
