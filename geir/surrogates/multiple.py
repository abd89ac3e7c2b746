"""Several spikes per step."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._shape import check_shape, DEFAULT_SHAPE
from .base import Surrogate


@dataclass(frozen=True)
class MultiSpike(Surrogate):
    r"""Several spikes per step: forward :math:`z = \max(0, \lceil x / s \rceil)`.

    This is the number of spikes after which a reset by subtraction brings the neuron back to threshold or below. There
    are thresholds at :math:`x = 0, s, 2s, \ldots`; the derivative is that of `surrogate`, centered on the nearest one.
    For neurons that reset by subtraction: ``LIF(surrogate=MultiSpike(), reset_mechanism=ResetBySubtraction())``.

    With a `maximum` of :math:`D`, the surrogate `Rectangle`, a threshold of 1/2 and a reset that subtracts 1, it is the
    spike of X. Luo et al., *Integer-valued training and spike-driven inference spiking neural network for
    high-performance and energy-efficient object detection*, 2024.

    Args:
        step: Distance :math:`s` between thresholds, equal to the amount that the reset subtracts.
        surrogate: Surrogate whose derivative is used around each threshold.
        maximum: Largest number of spikes per step. Default: no limit.

    Raises:
        ValueError: If `step` is not positive and finite, or `maximum` is not a positive integer.
        TypeError: If `surrogate` is not a `Surrogate`.
    """

    multiple_spikes: ClassVar[bool] = True

    step: float = 1.0
    surrogate: Surrogate = DEFAULT_SHAPE
    maximum: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self, self.surrogate)
        if not isinstance(self.maximum, int | None):
            raise ValueError(f"MultiSpike.maximum must be a positive integer or None, got {self.maximum!r}.")

    def spikes(self, x: Tensor) -> Tensor:
        z = torch.where(x > 0, torch.ceil(x / self.step), 0)
        return z if self.maximum is None else torch.clamp(z, max=self.maximum)

    def derivative(self, x: Tensor) -> Tensor:
        nearest = torch.round(x / self.step).clamp(min=0)
        if self.maximum is not None:
            nearest = nearest.clamp(max=self.maximum - 1)
        return self.surrogate.derivative(x - self.step * nearest)
