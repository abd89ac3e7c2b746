"""Reduce spikes or membrane potentials over time to one value per neuron.

Counts, rates and times are float32 if the input is in half precision, in which they could not be represented;
potentials keep the dtype of the input. All decoders raise a `ValueError` if the input has no step, and a `TypeError` if
it is not floating-point.
"""

import math

import torch
from torch import Tensor

from .._util.function_module import module_of
from .._util.precision import widen
from .._util.validation import check_has_time, check_integer, check_positive, spike_steps, time_indices


def rate(zs: Tensor) -> Tensor:
    """Mean over time: the number of spikes per step.

    Args:
        zs: Spikes, shape (time, ...).

    Returns:
        Shape (...).

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("decode.rate", zs)
    return widen(zs).mean(0)


def spike_count(zs: Tensor) -> Tensor:
    """Sum over time: the number of spikes.

    Args:
        zs: Spikes, shape (time, ...).

    Returns:
        Shape (...).

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("decode.spike_count", zs)
    return widen(zs).sum(0)


def max_potential(vs: Tensor) -> Tensor:
    """Largest membrane potential over time.

    Args:
        vs: Membrane potentials, shape (time, ...).

    Returns:
        Shape (...).

    Raises:
        ValueError: If `vs` has no step.
        TypeError: If `vs` is not floating-point.
    """
    check_has_time("decode.max_potential", vs)
    return vs.amax(0)


def last_potential(vs: Tensor) -> Tensor:
    """Membrane potential at the last step.

    Args:
        vs: Membrane potentials, shape (time, ...).

    Returns:
        Shape (...).

    Raises:
        ValueError: If `vs` has no step.
        TypeError: If `vs` is not floating-point.
    """
    check_has_time("decode.last_potential", vs)
    return vs[-1]


def first_spike_time(zs: Tensor, dt: float = 1e-3) -> Tensor:
    r"""Time of the first spike, :math:`\Delta t \sum_t \prod_{s \le t} (1 - z_s)`.

    This is `dt` times the number of steps before the first spike. For a silent neuron it is the duration of the run.
    Differentiable, for silent neurons too.

    Args:
        zs: Spikes, shape (time, ...).
        dt: Step size in seconds.

    Returns:
        Seconds, shape (...).

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.

    >>> first_spike_time(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    tensor([0.0010, 0.0030])
    """
    check_has_time("decode.first_spike_time", zs)
    return dt * torch.cumprod(1 - widen(zs), 0).sum(0)


def first_spike_score(zs: Tensor, dt: float = 1e-3, tau: float = 10e-3) -> Tensor:
    """Negative time of the first spike in units of `tau`: higher for an earlier spike.

    Args:
        zs: Spikes, shape (time, ...).
        dt: Step size in seconds.
        tau: Time that lowers the score by 1, in seconds.

    Returns:
        Shape (...).

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    return -first_spike_time(zs, dt) / tau


def spike_times(zs: Tensor, spike_count: int = 1, dt: float = 1e-3, missing: float = math.inf) -> Tensor:
    r"""Times of the first spikes, in order.

    A spike either exists or does not, so the gradient is a difference: :math:`\partial t_k / \partial z_s` is
    :math:`t_k` with a spike at step :math:`s` minus :math:`t_k` without it, where a missing spike counts as one at the
    end of the run. Silent neurons therefore have a gradient too. For the first spike, values and gradients equal those
    of `first_spike_time`.

    Set `missing` to a finite time when the result enters a loss: with infinite times, the loss has no gradient.

    Args:
        zs: Spikes, shape (time, ...).
        spike_count: Number of spikes per train.
        dt: Step size in seconds; a spike at step 0 has time 0.
        missing: Time in seconds that stands for a missing spike.

    Returns:
        Seconds, shape (spike_count, ...).

    Raises:
        ValueError: If `zs` has no step, `spike_count` is not an integer >= 1, or `dt` is not positive and finite.
        TypeError: If `zs` is not floating-point.

    >>> zs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> spike_times(zs, 2)
    tensor([[0.0010, 0.0020],
            [0.0030,    inf]])
    """
    check_has_time("decode.spike_times", zs)
    check_positive("decode.spike_times", dt=dt)
    check_integer("decode.spike_times", minimum=1, spike_count=spike_count)
    zs = widen(zs)
    step_times = dt * time_indices(len(zs), zs[0]).to(zs.dtype)
    end = dt * len(zs)
    # One spike more than asked for: it takes the place of the k-th spike where an earlier one is removed.
    found = dt * spike_steps(zs, spike_count + 1).to(zs.dtype)
    previous = torch.cat([torch.full_like(found[:1], -1), found[:-2]])
    times = []
    for before, this, following in zip(previous, found[:-1], found[1:], strict=True):
        # With a spike at step s minus without it. If there is one, removing it delays the k-th spike to the following
        # one; if there is none, adding it makes the k-th spike the new one or the previous one, whichever is later.
        difference = torch.where(zs != 0, this - following, torch.maximum(step_times, before) - this)
        # Spikes after the k-th do not change it.
        difference = difference * (step_times <= this)
        linear = (difference * zs).sum(0)
        # `linear - linear.detach()` is zero and has the gradient `difference`.
        times.append(torch.where(this < end, this, missing) + (linear - linear.detach()))
    return torch.stack(times)


class SpikeTimesDecoder(module_of(spike_times)):
    """Module form of `spike_times`. Norse calls it ``SpikesToTimesDecoder``, which works too."""


SpikesToTimesDecoder = SpikeTimesDecoder
