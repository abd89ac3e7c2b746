"""Statistics of spike trains, shape (time, ...)."""

import math

import torch
from torch import Tensor

from .._util.validation import check_has_time, check_positive, spike_steps


def firing_rate(zs: Tensor, dt: float = 1e-3) -> Tensor:
    """Spikes a second: shape (time, ...) to (...), in Hz. Differentiable."""
    check_positive("firing_rate", dt=dt)
    return check_has_time("firing_rate", zs).mean(0) / dt


def sparsity(zs: Tensor) -> Tensor:
    """Share of steps without a spike, shape (time, ...) to (...)."""
    return (check_has_time("sparsity", zs) == 0).to(zs.dtype).mean(0)


def interspike_intervals(zs: Tensor, dt: float = 1e-3) -> Tensor:
    """Times from spike to spike.

    Args:
        zs: Spikes, shape (time, ...).
        dt: Step size in seconds.

    Returns:
        Seconds, shape (intervals, ...), with as many rows as the train of most spikes has intervals; NaN where a train has fewer.

    >>> interspike_intervals(torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    tensor([[0.0020, 0.0010],
            [0.0010,    nan]])
    """
    check_positive("interspike_intervals", dt=dt)
    counts = (check_has_time("interspike_intervals", zs) != 0).sum(0)
    steps = spike_steps(zs, max(1, int(counts.max()) if counts.numel() else 1))
    intervals = dt * steps.diff(dim=0).to(torch.promote_types(zs.dtype, torch.float32))
    return torch.where(steps[1:] < len(zs), intervals, math.nan)


def coefficient_of_variation(zs: Tensor) -> Tensor:
    """Standard deviation of the intervals between spikes over their mean: 0 for a clock, 1 for a Poisson process.

    Shape (time, ...) to (...); NaN where there are fewer than two intervals.
    """
    intervals = interspike_intervals(zs)
    mean = intervals.nanmean(0)
    spread = ((intervals - mean) ** 2).nanmean(0).sqrt()
    return torch.where(_number(intervals) >= 2, spread / mean, math.nan)


def local_variation(zs: Tensor) -> Tensor:
    r"""Variation from one interval to the next, :math:`\frac{3}{n - 1} \sum_k \left(\frac{I_k - I_{k+1}}{I_k + I_{k+1}}\right)^2`.

    0 for a clock, 1 for a Poisson process, also if its rate drifts. Shape (time, ...) to (...); NaN where there are fewer than two intervals.

    Reference: S. Shinomoto, K. Shima & J. Tanji, *Differences in spiking patterns among cortical neurons*, 2003.
    """
    intervals = interspike_intervals(zs)
    first, second = intervals[:-1], intervals[1:]
    return 3 * (((first - second) / (first + second)) ** 2).nanmean(0)


def _number(intervals: Tensor) -> Tensor:
    return (~intervals.isnan()).sum(0)


def fano_factor(zs: Tensor, window: float = 100e-3, dt: float = 1e-3) -> Tensor:
    """Variance of spike counts over their mean: 0 for a clock, 1 for a Poisson process.

    Counts are taken in successive windows, the variance without bias (over n - 1). For counts over trials, shape (time, trials, ...), pass
    ``zs.transpose(0, 1).flatten(0, 1)`` and the duration of a trial.

    Args:
        zs: Spikes, shape (time, ...).
        window: Duration of a window in seconds; what is left at the end is not counted.
        dt: Step size in seconds.

    Returns:
        Shape (...); NaN for a silent train.

    Raises:
        ValueError: If the run has not two windows.
    """
    check_has_time("fano_factor", zs)
    check_positive("fano_factor", window=window, dt=dt)
    steps = max(1, round(window / dt))
    windows = len(zs) // steps
    if windows < 2:
        raise ValueError(
            f"fano_factor needs at least two windows of {steps} steps, got a run of {len(zs)} steps; give a shorter window."
        )
    counts = zs[: windows * steps].unflatten(0, (windows, steps)).sum(1)
    return counts.var(0) / counts.mean(0)


def synchrony(vs: Tensor) -> Tensor:
    r"""How much a population moves as one.

    .. math:: \chi = \sqrt{\frac{\mathrm{Var}_t \langle v_i \rangle_i}{\langle \mathrm{Var}_t \, v_i \rangle_i}}

    1 if all neurons do the same, about :math:`1 / \sqrt N` if :math:`N` neurons do not know of one another.

    Reference: D. Golomb, *Neuronal synchrony measures*, 2007; D. Golomb & D. Hansel, *The number of synaptic inputs and the synchrony of large,
    sparse neuronal networks*, 2000.

    Args:
        vs: Potentials or filtered spikes, shape (time, ..., neurons).

    Returns:
        Shape (...); NaN if nothing moves.
    """
    if check_has_time("synchrony", vs).dim() < 2:
        raise ValueError(f"synchrony takes (time, ..., neurons), got shape {tuple(vs.shape)}.")
    together = vs.mean(-1).var(0, correction=0)
    return (together / vs.var(0, correction=0).mean(-1)).sqrt()
