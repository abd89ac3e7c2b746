"""Losses on lists of spikes."""

import torch
from torch import Tensor
from torch.nn import functional

from ..._util.validation import check_positive
from .times import check_spikes


def first_spike_times(times: Tensor, units: Tensor, size: int) -> Tensor:
    """The time of the first spike of each unit, differentiable.

    Args:
        times: Times in seconds, shape (batch, spikes), ascending, padded with infinity.
        units: Unit numbers, shape (batch, spikes).
        size: Number of units.

    Returns:
        Times in seconds, shape (batch, size); infinity, with gradient 0, for units without a spike.

    Raises:
        TypeError: If a tensor has the wrong dtype.
        ValueError: If the spikes are invalid.
    """
    check_spikes("first_spike_times", times, units, size)
    count = times.shape[1]
    # Padding is written to a unit that is dropped.
    owner = torch.where(times.isfinite(), units.long(), size)
    place = torch.full((len(times), size + 1), count).scatter_reduce(
        1, owner, torch.arange(count).expand(owner.shape), "amin"
    )
    padded = torch.cat([times, times.new_full((len(times), 1), torch.inf)], 1)
    return padded.gather(1, place[:, :size])


def first_spike_cross_entropy(
    times: Tensor, labels: Tensor, *, tau: float, missing: float, alpha: float = 0.0, tau_late: float = 10e-3
) -> Tensor:
    r"""Cross entropy of first spike times: the unit of the label should spike first.

    .. math::
        -\log \frac{e^{-t_y / \tau}}{\sum_k e^{-t_k / \tau}} + \alpha (e^{t_y / \tau_\text{late}} - 1),

    the mean over the batch, with label :math:`y`. The second term keeps the times early. A unit without a spike counts
    as one at the time `missing`; it has no gradient, so silent units must be kept from arising by strong initial
    weights.

    Reference: T. Wunderlich & C. Pehle, *Event-based backpropagation can compute exact gradients for spiking neural
    networks*, 2021.

    Args:
        times: First spike times in seconds, shape (batch, classes), infinity where there is none.
        labels: Class of each sample, shape (batch,).
        tau: Time scale of the cross entropy, in seconds.
        missing: Time in seconds that stands for no spike.
        alpha: Weight of the second term.
        tau_late: Time scale of the second term, in seconds.

    Raises:
        ValueError: If the shapes do not fit, times are NaN, or a time scale is not positive.
    """
    check_positive("first_spike_cross_entropy", tau=tau, missing=missing, tau_late=tau_late)
    if times.dim() != 2 or labels.shape != times.shape[:1]:
        raise ValueError(
            "first_spike_cross_entropy expected times of shape (batch, classes) and labels of shape (batch,), got "
            f"{tuple(times.shape)} and {tuple(labels.shape)}."
        )
    if bool(times.isnan().any()):
        raise ValueError("first_spike_cross_entropy expected times without NaN.")
    times = torch.where(times.isfinite(), times, missing)
    loss = functional.cross_entropy(-times / tau, labels)
    if alpha:
        late = times.gather(1, labels[:, None])
        loss = loss + alpha * torch.expm1(late / tau_late).mean()
    return loss


def spike_counts(times: Tensor, units: Tensor, size: int) -> Tensor:
    """The number of spikes of each unit: integers, shape (batch, size), without gradient.

    Args:
        times: Times in seconds, shape (batch, spikes), ascending, padded with infinity.
        units: Unit numbers, shape (batch, spikes).
        size: Number of units.

    Raises:
        TypeError: If a tensor has the wrong dtype.
        ValueError: If the spikes are invalid.
    """
    check_spikes("spike_counts", times, units, size)
    owner = torch.where(times.isfinite(), units.long(), size)
    counts = torch.zeros(len(times), size + 1, dtype=torch.int64)
    return counts.scatter_add(1, owner, torch.ones_like(owner))[:, :size]


def soft_spike_counts(times: Tensor, units: Tensor, size: int, *, until: float, width: float) -> Tensor:
    r"""The number of spikes of each unit before a time, with a soft edge, differentiable in the times.

    .. math:: n_k = \sum_{t \text{ of } k} \sigma\big((t_\text{until} - t) / \text{width}\big)

    A number of spikes has no gradient, because the times of spikes do not change it. This one has: spikes move across
    the edge.

    Args:
        times: Times in seconds, shape (batch, spikes), ascending, padded with infinity.
        units: Unit numbers, shape (batch, spikes).
        size: Number of units.
        until: The edge in seconds.
        width: Width of the edge in seconds.

    Returns:
        Counts, shape (batch, size).

    Raises:
        TypeError: If a tensor has the wrong dtype.
        ValueError: If the spikes are invalid, or `until` or `width` is not positive.
    """
    check_positive("soft_spike_counts", until=until, width=width)
    check_spikes("soft_spike_counts", times, units, size)
    exists = times.isfinite()
    share = torch.sigmoid((until - times) / width)  # zero for padding
    owner = torch.where(exists, units.long(), 0)
    return times.new_zeros(len(times), size).scatter_add(1, owner, share)
