"""Losses on spikes and membrane potentials: cross entropies of the scores that decoders return.

All take shape (time, batch, classes) and integer class labels of shape (batch,), and return a scalar,
float32 if the input is in half precision.
"""

from torch import Tensor
from torch.nn import functional

from .._util.precision import widen
from .._util.validation import check_has_time
from .decoders import first_spike_score, last_potential, max_potential


def rate_loss(zs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the spike counts.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("decode.rate_loss", zs)
    return functional.cross_entropy(widen(zs).sum(0), labels)


def max_potential_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the largest membrane potentials over time.

    Args:
        vs: Membrane potentials, shape (time, batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `vs` has no step.
        TypeError: If `vs` is not floating-point.
    """
    return functional.cross_entropy(max_potential(widen(vs)), labels)


def last_potential_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the membrane potentials at the last step.

    Args:
        vs: Membrane potentials, shape (time, batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `vs` has no step.
        TypeError: If `vs` is not floating-point.
    """
    return functional.cross_entropy(last_potential(widen(vs)), labels)


def first_spike_loss(zs: Tensor, labels: Tensor, dt: float = 1e-3, tau: float = 10e-3) -> Tensor:
    """Cross entropy of the negative times of the first spikes: trains the neuron of the correct class to spike first.

    References: H. Mostafa, *Supervised learning based on temporal coding in spiking neural networks*, 2017;
    J. Göltz et al., *Fast and energy-efficient neuromorphic deep learning with first-spike times*, 2021.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).
        dt: Step size in seconds.
        tau: Time by which spikes must differ for a difference of 1 in the scores, in seconds.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    return functional.cross_entropy(first_spike_score(zs, dt, tau), labels)
