"""Spikes that carry a value."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._shape import check_floating, check_shape, DEFAULT_SHAPE
from .base import Surrogate


@dataclass(frozen=True)
class GradedSpike(Surrogate):
    r"""Spikes that carry a value: forward :math:`z = 1 + x / s` where :math:`x > 0`, else 0.

    With threshold :math:`s`, this is the potential in units of the threshold, so a reset by subtraction, which the
    neuron must have, leaves nothing of it: ``LIF(surrogate=GradedSpike(), reset_mechanism=ResetBySubtraction())``. The
    derivative is :math:`1 / s` above threshold, and in addition that of `surrogate` for the jump of 1 at threshold.
    Chips such as Loihi 2 send such spikes.

    Args:
        step: The neuron's threshold :math:`s`, equal to the amount that the reset subtracts.
        surrogate: Surrogate whose derivative is used around the threshold.

    Raises:
        ValueError: If `step` is not positive and finite.
        TypeError: If `surrogate` is not a `Surrogate`.

    >>> GradedSpike()(torch.tensor([-0.5, 0.25, 1.0]))
    tensor([0.0000, 1.2500, 2.0000])
    """

    multiple_spikes: ClassVar[bool] = True

    step: float = 1.0
    surrogate: Surrogate = DEFAULT_SHAPE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self, self.surrogate)

    def spikes(self, x: Tensor) -> Tensor:
        check_floating(self, x)
        return torch.where(x > 0, 1 + x / self.step, 0)

    def derivative(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype) / self.step + self.surrogate.derivative(x)
