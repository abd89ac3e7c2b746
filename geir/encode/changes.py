"""Encode the changes of a signal as spikes."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._util.validation import check_has_time, check_positive
from ..core.neuron import Neuron
from ..core.parameters import Parameter, parameter
from ..wrappers import CellMixin


class DeltaState(NamedTuple):
    """State of `DeltaEncoder`."""

    reference: Tensor  # sum of the spikes so far, times the threshold


class DeltaEncoder(Neuron[DeltaState]):
    r"""Encodes the changes of a signal as spikes of +1 and -1.

    A neuron emits +1 when the signal exceeds a reference by more than :math:`\theta`, and -1 when it is below the
    reference by more than :math:`\theta`. Every spike moves the reference by :math:`\theta` towards the signal:

    .. math:: z = [x - r > \theta] - [r - x > \theta], \qquad r \leftarrow r + \theta z

    The reference starts at 0 unless a state is given. It always equals the decoded signal, :math:`\theta \sum_s z_s`,
    and stays within :math:`\theta` of a signal that changes by at most :math:`\theta` per step.

    `threshold` is a change of the signal, not a membrane potential; hence its name is not `v_th`.

    Reference: B. Petro, N. Kasabov & R. Kiss, *Selection and optimization of temporal spike encoding methods for
    spiking neural networks*, 2020 (there: step-forward encoding).
    """

    threshold: Parameter = parameter(default=0.1, above=0.0, doc="signal change that triggers a spike")

    def rest(self) -> DeltaState:
        return DeltaState(reference=torch.zeros(()))

    def step(self, x: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        change = x - state.reference
        z = self.surrogate(change - self.threshold) - self.surrogate(-change - self.threshold)
        return z, DeltaState(reference=state.reference + self.threshold * z)


class DeltaEncoderCell(CellMixin, DeltaEncoder):
    """One step of `DeltaEncoder`."""


def delta(xs: Tensor, threshold: float = 0.1) -> Tensor:
    """Emit +1 and -1 where a signal has changed by more than `threshold`; see `DeltaEncoder`.

    Args:
        xs: Signal, shape (time, ...). Its first value is compared with 0; pass ``xs - xs[0]`` to encode changes only.
        threshold: Signal change that triggers a spike.

    Returns:
        Spikes, shape (time, ...). ``zs.relu()`` are the ON spikes, ``(-zs).relu()`` the OFF spikes.

    Raises:
        ValueError: If `threshold` is not positive and finite, or `xs` has no step.
        TypeError: If `xs` is not floating-point.

    >>> delta(torch.tensor([0.0, 0.3, 0.4, 0.9, 0.9, 0.1]), threshold=0.25)
    tensor([ 0.,  1.,  0.,  1.,  1., -1.])
    """
    check_positive("encode.delta", threshold=threshold)
    check_has_time("encode.delta", xs)
    dtype = torch.promote_types(xs.dtype, torch.float32)
    encoder = DeltaEncoder(threshold=torch.as_tensor(threshold, dtype=dtype, device=xs.device))
    zs, _ = encoder(xs)
    return zs
