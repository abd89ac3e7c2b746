"""Resets, as values: the effect of a spike on the membrane potential."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .._util.class_edits import Watched
from .._util.precision import widen


@dataclass(frozen=True)
class Reset(metaclass=Watched):
    """The effect of a spike on the membrane potential. Abstract: a subclass defines `apply`.

    Args:
        detach: Whether the gradient is stopped from the new potential through the spike that reset it (the
            default; F. Zenke & T. Vogels, *The remarkable robustness of surrogate gradient learning*, 2021).
    """

    # Whether `z` may be several spikes at once.
    multiple_spikes: ClassVar[bool] = False

    detach: bool = True

    @abstractmethod
    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        """The potential `v` after spikes `z`."""

    def __call__(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return self.apply(z.detach() if self.detach else z, v, v_reset, v_th)


@dataclass(frozen=True)
class ResetToValue(Reset):
    r"""Reset to a fixed potential, :math:`v \leftarrow v_\text{reset}`."""

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return (1 - z) * v + z * v_reset


@dataclass(frozen=True)
class ResetBySubtraction(Reset):
    r"""Reset by subtraction, :math:`v \leftarrow v - (v_\text{th} - v_\text{reset})`.

    The excess over the threshold is kept.
    """

    multiple_spikes: ClassVar[bool] = True

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return v - z * (widen(v_th) - widen(v_reset))
