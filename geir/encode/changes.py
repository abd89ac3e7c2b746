"""Changes of a signal as spikes."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._util.validation import check_has_time, check_positive
from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class DeltaState(NamedTuple):
    """State of `DeltaEncoder`."""

    reference: Tensor  # what the spikes so far add up to


class DeltaEncoder(Neuron[DeltaState]):
    r"""Sends a spike on a change: +1 where the signal has risen by more than :math:`\theta` above a reference, -1 where it has fallen so far
    below, and the reference follows.

    .. math:: z = [x - r > \theta] - [r - x > \theta], \qquad r \leftarrow r + \theta z

    The reference starts at 0, or in the state given. At all times :math:`\theta \sum_s z_s` is the reference, which stays within
    :math:`\theta` of a signal that moves by no more than :math:`\theta` a step.

    Reference: B. Petro, N. Kasabov & R. Kiss, *Selection and optimization of temporal spike encoding methods for spiking neural networks*,
    2020 (there: step-forward encoding).
    """

    threshold: Parameter = parameter(default=0.1, above=0.0, doc="change that makes a spike")

    def rest(self) -> DeltaState:
        return DeltaState(reference=torch.zeros(()))

    def step(self, x: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        change = x - state.reference
        z = self.surrogate(change - self.threshold) - self.surrogate(-change - self.threshold)
        return z, DeltaState(reference=state.reference + self.threshold * z)


class DeltaEncoderCell(CellMixin, DeltaEncoder): ...


def delta_encode(xs: Tensor, threshold: float = 0.1) -> Tensor:
    """Spikes of +1 and -1 where a signal has changed by more than `threshold`, see `DeltaEncoder`.

    Args:
        xs: Signal, shape (time, ...). Spikes start from 0; pass ``xs - xs[0]`` to start from its first value.
        threshold: Change that makes a spike.

    Returns:
        Spikes, shape (time, ...); ``zs.relu()`` are the ON spikes, ``(-zs).relu()`` the OFF spikes.

    >>> delta_encode(torch.tensor([0.0, 0.3, 0.4, 0.9, 0.9, 0.1]), threshold=0.25)
    tensor([ 0.,  1.,  0.,  1.,  1., -1.])
    """
    check_positive("delta_encode", threshold=threshold)
    dtype = torch.promote_types(check_has_time("delta_encode", xs).dtype, torch.float32)
    return DeltaEncoder(threshold=torch.as_tensor(threshold, dtype=dtype, device=xs.device))(xs)[0]
