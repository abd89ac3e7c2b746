"""What a spike does to the membrane potential, as values."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Reset:
    """Abstract: subclass it and write `apply`.

    With `detach` (the default) no gradient passes from the new potential through the spike that reset it
    (F. Zenke & T. Vogels, *The remarkable robustness of surrogate gradient learning*, 2021).
    """

    multiple_spikes: ClassVar[bool] = False  # whether `z` may be several spikes at once

    detach: bool = True

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        """The potential `v` after spikes `z`."""
        raise NotImplementedError

    def __call__(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return self.apply(z.detach() if self.detach else z, v, v_reset, v_th)


@dataclass(frozen=True)
class ResetToValue(Reset):
    r""":math:`v \leftarrow v_\text{reset}`."""

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return (1 - z) * v + z * v_reset


@dataclass(frozen=True)
class ResetBySubtraction(Reset):
    r""":math:`v \leftarrow v - (v_\text{th} - v_\text{reset})`: what lies above threshold is kept."""

    multiple_spikes: ClassVar[bool] = True

    def apply(self, z: Tensor, v: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        return v - z * (v_th - v_reset)
