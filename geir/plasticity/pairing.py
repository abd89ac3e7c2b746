"""Which spikes of a train count: how a trace takes up a spike, as values."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairing:
    """Abstract: subclass it and write `__call__`."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        """The trace after spikes `z`."""
        raise NotImplementedError(f"{type(self).__name__} does not define `__call__`.")


@dataclass(frozen=True)
class AllToAll(Pairing):
    """Every spike counts: it adds to the trace."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        return trace + z


@dataclass(frozen=True)
class NearestSpike(Pairing):
    """Only the last spike counts: it sets the trace."""

    def __call__(self, trace: Tensor, z: Tensor) -> Tensor:
        return torch.where(z > 0, z, trace)
