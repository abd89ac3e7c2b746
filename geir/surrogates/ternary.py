"""Spikes of both signs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ._shape import check_floating, check_shape, DEFAULT_SHAPE
from .base import Surrogate


@dataclass(frozen=True)
class TernarySpike(Surrogate):
    r"""Spikes of both signs: forward 1 where :math:`x > 0`, -1 where :math:`x < -2 s`, else 0.

    With threshold :math:`s`, the neuron emits a negative spike below :math:`-s`. The derivative is the sum of those of
    `surrogate` around both thresholds. For neurons that reset by subtraction, which a negative spike pulls up:
    ``LIF(surrogate=TernarySpike(), reset_mechanism=ResetBySubtraction())``.

    Reference: Y. Guo et al., *Ternary spike: learning ternary spikes for spiking neural networks*, 2024, where neurons
    are reset to 0.

    Args:
        step: The neuron's threshold :math:`s`, equal to the amount that the reset subtracts.
        surrogate: Surrogate whose derivative is used around each threshold.

    Raises:
        ValueError: If `step` is not positive and finite.
        TypeError: If `surrogate` is not a `Surrogate`.

    >>> import torch
    >>> TernarySpike()(torch.tensor([-2.5, -1.0, 0.5]))
    tensor([-1.,  0.,  1.])
    """

    multiple_spikes: ClassVar[bool] = True

    step: float = 1.0
    surrogate: Surrogate = DEFAULT_SHAPE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self, self.surrogate)

    def spikes(self, x: Tensor) -> Tensor:
        check_floating(self, x)
        return (x > 0).to(x.dtype) - (x < -2 * self.step).to(x.dtype)

    def derivative(self, x: Tensor) -> Tensor:
        return self.surrogate.derivative(x) + self.surrogate.derivative(x + 2 * self.step)
