"""Statistics of spike trains of shape (time, ...)."""

import math

import torch
from torch import Tensor

from .._util.precision import wide_dtype, widen
from .._util.validation import check_has_time, check_positive, spike_steps


def firing_rate(zs: Tensor, dt: float = 1e-3) -> Tensor:
    """Number of spikes per second. Differentiable.

    Args:
        zs: Spikes, shape (time, ...).
        dt: Step size in seconds.

    Returns:
        Rates in Hz, shape (...).

    Raises:
        ValueError: If `zs` has no step, or `dt` is not positive and finite.
        TypeError: If `zs` is not floating-point.
    """
    check_positive("measures.firing_rate", dt=dt)
    check_has_time("measures.firing_rate", zs)
    return widen(zs).mean(0) / dt


def sparsity(zs: Tensor) -> Tensor:
    """Fraction of steps without a spike.

    Args:
        zs: Spikes, shape (time, ...).

    Returns:
        Shape (...).

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("measures.sparsity", zs)
    return (zs == 0).to(wide_dtype(zs.dtype)).mean(0)


def interspike_intervals(zs: Tensor, dt: float = 1e-3) -> Tensor:
    """Times between successive spikes.

    Args:
        zs: Spikes, shape (time, ...).
        dt: Step size in seconds.

    Returns:
        Seconds, shape (intervals, ...), with as many rows as the train with the most spikes has intervals. Trains with
        fewer intervals are padded with NaN.

    Raises:
        ValueError: If `zs` has no step, or `dt` is not positive and finite.
        TypeError: If `zs` is not floating-point.

    >>> interspike_intervals(torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    tensor([[0.0020, 0.0010],
            [0.0010,    nan]])
    """
    check_positive("measures.interspike_intervals", dt=dt)
    check_has_time("measures.interspike_intervals", zs)
    counts = (zs != 0).sum(0)
    max_count = int(counts.max()) if counts.numel() else 0
    steps = spike_steps(zs, max(1, max_count))
    intervals = dt * steps.diff(dim=0).to(wide_dtype(zs.dtype))
    return torch.where(steps[1:] < len(zs), intervals, math.nan)


def coefficient_of_variation(zs: Tensor) -> Tensor:
    """Standard deviation of the interspike intervals divided by their mean.

    0 for a perfectly regular train, 1 for a Poisson process.

    Args:
        zs: Spikes, shape (time, ...).

    Returns:
        Shape (...); NaN for trains with fewer than two intervals.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("measures.coefficient_of_variation", zs)
    intervals = interspike_intervals(zs)
    mean = intervals.nanmean(0)
    deviation = ((intervals - mean) ** 2).nanmean(0).sqrt()
    count = (~intervals.isnan()).sum(0)
    return torch.where(count >= 2, deviation / mean, math.nan)


def local_variation(zs: Tensor) -> Tensor:
    r"""Variation between successive interspike intervals :math:`I_1, \ldots, I_n`.

    .. math:: \frac{3}{n - 1} \sum_k \left(\frac{I_k - I_{k+1}}{I_k + I_{k+1}}\right)^2

    0 for a perfectly regular train, 1 for a Poisson process, even if its rate drifts.

    Reference: S. Shinomoto, K. Shima & J. Tanji, *Differences in spiking patterns among cortical neurons*, 2003.

    Args:
        zs: Spikes, shape (time, ...).

    Returns:
        Shape (...); NaN for trains with fewer than two intervals.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("measures.local_variation", zs)
    intervals = interspike_intervals(zs)
    first = intervals[:-1]
    second = intervals[1:]
    return 3 * (((first - second) / (first + second)) ** 2).nanmean(0)


def fano_factor(zs: Tensor, window: float = 100e-3, dt: float = 1e-3) -> Tensor:
    """Variance of spike counts divided by their mean: 0 for a perfectly regular train, 1 for a Poisson process.

    Spikes are counted in successive windows; the variance is unbiased (divided by n - 1). To count over trials, shape
    (time, trials, ...), pass ``zs.transpose(0, 1).flatten(0, 1)`` and the duration of a trial as the window.

    Args:
        zs: Spikes, shape (time, ...).
        window: Duration of a window in seconds. An incomplete window at the end is dropped.
        dt: Step size in seconds.

    Returns:
        Shape (...); NaN for silent trains.

    Raises:
        ValueError: If the run is shorter than two windows, or `window` or `dt` is not positive and finite.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("measures.fano_factor", zs)
    check_positive("measures.fano_factor", window=window, dt=dt)
    window_steps = max(1, round(window / dt))
    windows = len(zs) // window_steps
    if windows < 2:
        raise ValueError(
            f"measures.fano_factor needs at least two windows of {window_steps} steps, got {len(zs)} steps in total; "
            "use a shorter window."
        )
    counts = widen(zs[: windows * window_steps]).unflatten(0, (windows, window_steps)).sum(1)
    return counts.var(0) / counts.mean(0)


def synchrony(vs: Tensor) -> Tensor:
    r"""Synchrony of a population: the square root of the variance of its mean over the mean of its variances.

    .. math:: \chi = \sqrt{\frac{\mathrm{Var}_t \langle v_i \rangle_i}{\langle \mathrm{Var}_t \, v_i \rangle_i}}

    1 if all neurons do the same, about :math:`1 / \sqrt N` for :math:`N` independent neurons.

    References: D. Golomb, *Neuronal synchrony measures*, 2007; D. Golomb & D. Hansel, *The number of synaptic inputs
    and the synchrony of large, sparse neuronal networks*, 2000.

    Args:
        vs: Membrane potentials or filtered spikes, shape (time, ..., neurons).

    Returns:
        Shape (...); NaN if all values are constant over time.

    Raises:
        ValueError: If there is no step, or no dimension of neurons.
        TypeError: If the values are not floating-point.
    """
    check_has_time("measures.synchrony", vs)
    if vs.dim() < 2:
        raise ValueError(
            f"measures.synchrony expected an input of shape (time, ..., neurons), got shape {tuple(vs.shape)}."
        )
    vs = widen(vs)
    variance_of_mean = vs.mean(-1).var(0, correction=0)
    mean_of_variances = vs.var(0, correction=0).mean(-1)
    return (variance_of_mean / mean_of_variances).sqrt()
