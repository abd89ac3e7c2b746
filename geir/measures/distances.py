"""Distances between spike trains.

Each takes two tensors of spikes of the same shape (time, ...) and returns one distance per pair of trains, shape (...).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .._util.precision import wide_dtype, widen
from .._util.validation import check_pair, check_positive, spike_steps, time_indices
from .filters import exponential_filter


def van_rossum_distance(zs: Tensor, others: Tensor, tau: float | Tensor = 10e-3, dt: float = 1e-3) -> Tensor:
    r"""Distance between two trains filtered with a decaying exponential.

    .. math::
        D^2 = \frac{1}{\tau} \int_0^\infty \left(f(t) - g(t)\right)^2 dt,
        \qquad f(t) = \sum_{t_k \le t} e^{-(t - t_k) / \tau}

    Here :math:`t_k` are the spikes of one train; :math:`g` is the same for the other one.

    The integral is exact and extends beyond the end of the run. One additional spike is a distance of
    :math:`\sqrt{1/2}`, and :math:`n` additional spikes that are much farther apart than :math:`\tau` are a distance of
    :math:`\sqrt{n/2}`. Differentiable; where two trains are equal the gradient is 0.

    Reference: M. van Rossum, *A novel spike distance*, 2001.

    Args:
        zs: Spikes, shape (time, ...).
        others: Spikes, the same shape.
        tau: Time constant in seconds.
        dt: Step size in seconds.

    Returns:
        Shape (...).

    Raises:
        ValueError: If the shapes differ, there is no step, or `tau` is not positive.
        TypeError: If the spikes are not floating-point.

    >>> van_rossum_distance(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]), tau=10e-3)
    tensor(0.4258)
    """
    check_pair("measures.van_rossum_distance", zs, others)
    difference = exponential_filter(widen(zs) - widen(others), tau, dt)
    decay = torch.exp(-2 * dt / torch.as_tensor(tau, dtype=difference.dtype, device=difference.device))
    squared = ((1 - decay) * (difference[:-1] ** 2).sum(0) + difference[-1] ** 2) / 2
    # The slope of the root is infinite at 0; the gradient between equal trains is defined as 0.
    return torch.where(squared > 0, squared.where(squared > 0, 1).sqrt(), 0)


def victor_purpura_distance(zs: Tensor, others: Tensor, q: float = 100.0, dt: float = 1e-3) -> Tensor:
    r"""Minimum cost of turning one train into the other.

    It costs 1 to add or delete a spike and :math:`q |\Delta t|` to move one, so no spike is moved by more than
    :math:`2 / q`. For :math:`q = 0` this is the difference of the spike counts. Not differentiable.

    Reference: J. Victor & K. Purpura, *Nature and precision of temporal coding in visual cortex: a metric-space
    analysis*, 1996.

    Args:
        zs: Spikes, shape (time, ...).
        others: Spikes, the same shape.
        q: Cost of moving a spike, per second.
        dt: Step size in seconds.

    Returns:
        Shape (...).

    Raises:
        ValueError: If the shapes differ, there is no step, `q` is negative, or `dt` is not positive and finite.
        TypeError: If the spikes are not floating-point.

    >>> victor_purpura_distance(torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 0.0]), q=100.0)
    tensor(1.1000)
    """
    check_pair("measures.victor_purpura_distance", zs, others)
    check_positive("measures.victor_purpura_distance", dt=dt)
    if not q >= 0:
        raise ValueError(f"measures.victor_purpura_distance: q must not be negative, got {q} per second.")
    count = (zs != 0).sum(0)
    others_count = (others != 0).sum(0)
    dtype = wide_dtype(zs.dtype)
    if not count.numel():
        return zs.new_empty(count.shape, dtype=dtype)
    steps = spike_steps(zs, int(count.max())).to(dtype)
    others_steps = spike_steps(others, int(others_count.max())).to(dtype)
    index = time_indices(len(others_steps) + 1, count).to(dtype)
    # Dynamic programming, as for the edit distance of two strings, for all pairs of trains at once. After i iterations,
    # entry j of `row` is the cost of turning the first i spikes of one train into the first j spikes of the other.
    row = index.expand(-1, *count.shape)
    distance = row.gather(0, others_count[None])
    for i, step in enumerate(steps, 1):
        moved = row[:-1] + q * dt * (step - others_steps).abs()
        deleted_or_moved = torch.cat([row[:1] + 1, torch.minimum(row[1:] + 1, moved)])
        # Adding spikes costs 1 each, starting from any entry to the left.
        row = torch.cummin(deleted_or_moved - index, 0).values + index
        distance = torch.where(count >= i, row.gather(0, others_count[None]), distance)
    return distance[0]


def isi_distance(zs: Tensor, others: Tensor) -> Tensor:
    r"""ISI-distance: the mean over time of the relative difference between interspike intervals.

    .. math:: \left\langle \frac{|I_1(t) - I_2(t)|}{\max(I_1(t), I_2(t))} \right\rangle_t

    :math:`I(t)` is the interval between the last spike before and the first spike after :math:`t`; the beginning and
    the end of the run count as spikes. The distance is at least 0 and less than 1. Not differentiable.

    Reference: T. Kreuz, J. Haas, A. Morelli, H. Abarbanel & A. Politi, *Measuring spike train synchrony*, 2007.

    Args:
        zs: Spikes, shape (time, ...).
        others: Spikes, the same shape.

    Returns:
        Shape (...).

    Raises:
        ValueError: If the shapes differ, or there is no step.
        TypeError: If the spikes are not floating-point.

    >>> isi_distance(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 0.0]))
    tensor(0.5000)
    """
    check_pair("measures.isi_distance", zs, others)
    interval = _neighbors(zs).interval
    others_interval = _neighbors(others).interval
    return (1 - torch.minimum(interval, others_interval) / torch.maximum(interval, others_interval)).mean(0)


def spike_distance(zs: Tensor, others: Tensor) -> Tensor:
    r"""SPIKE-distance: the mean over time of the dissimilarity :math:`S(t)` of the spikes around each time.

    .. math::
        S(t) = \frac{S_1 I_2 + S_2 I_1}{(I_1 + I_2)^2 / 2},
        \qquad S_n = \frac{d_n^- (t_n^+ - t) + d_n^+ (t - t_n^-)}{I_n}

    :math:`t_n^-` and :math:`t_n^+` are the last spike of train :math:`n` before :math:`t` and the first one after it,
    :math:`I_n` is the interval between them, and :math:`d_n^\pm` is the distance from each to the nearest spike of the
    other train. The beginning and the end of the run count as spikes. The mean is exact. Not differentiable.

    Reference: T. Kreuz, D. Chicharro, C. Houghton, R. Andrzejak & F. Mormann, *Monitoring spike train synchrony*, 2013.

    Args:
        zs: Spikes, shape (time, ...).
        others: Spikes, the same shape.

    Returns:
        Shape (...).

    Raises:
        ValueError: If the shapes differ, or there is no step.
        TypeError: If the spikes are not floating-point.

    >>> spike_distance(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 0.0]))
    tensor(0.)
    """
    check_pair("measures.spike_distance", zs, others)
    first = _neighbors(zs)
    second = _neighbors(others)
    # S(t) is linear between spikes, so its mean over a step is its value in the middle of the step.
    middle = time_indices(len(zs), zs[0]) + 0.5
    weighted = _dissimilarity(first, second, middle) * second.interval
    weighted = weighted + _dissimilarity(second, first, middle) * first.interval
    return (2 * weighted / (first.interval + second.interval) ** 2).mean(0)


class _Neighbors(NamedTuple):
    """For every step, the spikes that surround it, as step numbers of shape (time, ...)."""

    before: Tensor  # the last spike at or before the beginning of the step; 0 if there is none
    after: Tensor  # the first spike after it; the number of steps if there is none

    @property
    def interval(self) -> Tensor:
        return self.after - self.before


def _neighbors(zs: Tensor) -> _Neighbors:
    spiked = zs != 0
    end = len(zs)
    steps = time_indices(end, zs[0]).to(wide_dtype(zs.dtype))
    before = torch.cummax(torch.where(spiked, steps, 0), 0).values
    at_or_after = torch.cummin(torch.where(spiked, steps, end).flip(0), 0).values.flip(0)
    return _Neighbors(before, after=torch.cat([at_or_after[1:], torch.full_like(before[:1], end)]))


def _dissimilarity(train: _Neighbors, other: _Neighbors, time: Tensor) -> Tensor:
    """The term S_n of `train`."""
    distance_before = _distance_to_nearest_spike(train.before, other)
    distance_after = _distance_to_nearest_spike(train.after, other)
    return (distance_before * (train.after - time) + distance_after * (time - train.before)) / train.interval


def _distance_to_nearest_spike(steps: Tensor, train: _Neighbors) -> Tensor:
    """Distance from each of the given steps to the nearest spike of a train, in steps."""
    index = steps.long().clamp(max=len(train.before) - 1)
    return torch.minimum(steps - train.before.gather(0, index), train.after.gather(0, index) - steps)
