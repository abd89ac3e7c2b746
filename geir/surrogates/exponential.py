"""A two-sided exponential."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Surrogate


@dataclass(frozen=True)
class PiecewiseExponential(Surrogate):
    r""":math:`\frac{\alpha}{2} \exp(-\alpha |x|)`.

    Peak :math:`\alpha/2`, half width :math:`0.693 / \alpha`, integral 1.

    Reference: S. Shrestha & G. Orchard, *SLAYER: spike layer error reassignment in time*, 2018.
    """

    alpha: float = 2.0

    def derivative(self, x: Tensor) -> Tensor:
        return self.alpha / 2 * torch.exp(-self.alpha * x.abs())
