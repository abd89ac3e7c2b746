"""From what a network returned over time, shape (time, batch, classes), to one score a class, and losses on the scores."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .._util.function_module import module_of
from .._util.validation import check_has_time, check_positive, spike_steps, time_indices


def rate_decode(zs: Tensor) -> Tensor:
    """Mean over time: spikes a step. Shape (time, ...) to (...)."""
    return check_has_time("rate_decode", zs).mean(0)


def sum_decode(zs: Tensor) -> Tensor:
    """Sum over time: spike counts. Shape (time, ...) to (...)."""
    return check_has_time("sum_decode", zs).sum(0)


def max_decode(vs: Tensor) -> Tensor:
    """Largest potential over time. Shape (time, ...) to (...)."""
    return check_has_time("max_decode", vs).amax(0)


def last_decode(vs: Tensor) -> Tensor:
    """Potential after the last step. Shape (time, ...) to (...)."""
    return check_has_time("last_decode", vs)[-1]


def first_spike_time(zs: Tensor, dt: float = 1e-3) -> Tensor:
    r"""Time until the first spike, :math:`\Delta t \sum_t \prod_{s \le t} (1 - z_s)`: `dt` times the number of steps before it.

    Differentiable, also for neurons that stay silent, whose time is that of the whole run.

    Args:
        zs: Spikes, shape (time, ...).
        dt: Step size in seconds.

    Returns:
        Seconds, shape (...).

    >>> first_spike_time(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
    tensor([0.0010, 0.0030])
    """
    return dt * torch.cumprod(1 - check_has_time("first_spike_time", zs), 0).sum(0)


def spike_times(zs: Tensor, spike_count: int = 1, dt: float = 1e-3, missing: float = math.inf) -> Tensor:
    r"""Times of the first spikes, in order.

    Spikes come and go as a whole, so the gradient is that of the difference they make: :math:`\partial t_k / \partial z_s` is :math:`t_k` with
    a spike at step :math:`s` minus :math:`t_k` without it, where a missing spike counts as the end of the run. So silent neurons learn too.
    Give a finite `missing`, else a loss on infinite times has no gradient to pass on. For the first spike this is `first_spike_time`.

    Args:
        zs: Spikes, shape (time, ...).
        spike_count: How many spikes of each train.
        dt: Step size in seconds; a spike at step 0 is at time 0.
        missing: Time in seconds of a spike that is not there.

    Returns:
        Seconds, shape (spike_count, ...).

    >>> zs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> spike_times(zs, 2)
    tensor([[0.0010, 0.0020],
            [0.0030,    inf]])
    """
    check_has_time("spike_times", zs)
    check_positive("spike_times", dt=dt)
    if not isinstance(spike_count, int) or spike_count < 1:
        raise ValueError(f"spike_times: spike_count must be a positive number of spikes, got {spike_count!r}.")
    dtype = torch.promote_types(zs.dtype, torch.float32)
    ts = dt * time_indices(len(zs), zs[0]).to(dtype)
    end = dt * len(zs)
    nth = dt * spike_steps(zs, spike_count + 1).to(dtype)
    before = torch.cat([torch.full_like(nth[:1], -1), nth[:-2]])
    times = []
    for last, now, following in zip(before, nth[:-1], nth[1:], strict=True):
        difference = torch.where(zs != 0, now - following, torch.maximum(ts, last) - now) * (ts <= now)
        moved = (difference * zs).sum(0)
        times.append(torch.where(now < end, now, missing) + (moved - moved.detach()))
    return torch.stack(times)


class SpikesToTimesDecoder(module_of(spike_times)):
    """`spike_times` as a module."""


def first_spike_decode(zs: Tensor, dt: float = 1e-3, tau: float = 10e-3) -> Tensor:
    """Negative time until the first spike in units of `tau` seconds: the sooner, the higher. Shape (time, ...) to (...)."""
    return -first_spike_time(zs, dt) / tau


def rate_loss(zs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the spike counts: spikes (time, batch, classes) and labels (batch,) to a scalar."""
    return functional.cross_entropy(check_has_time("rate_loss", zs).sum(0), labels)


def max_membrane_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the largest potentials: potentials (time, batch, classes) and labels (batch,) to a scalar."""
    return functional.cross_entropy(max_decode(vs), labels)


def last_membrane_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the last potentials: potentials (time, batch, classes) and labels (batch,) to a scalar."""
    return functional.cross_entropy(last_decode(vs), labels)


def first_spike_loss(zs: Tensor, labels: Tensor, dt: float = 1e-3, tau: float = 10e-3) -> Tensor:
    """Cross entropy of negative first spike times: the labelled neuron is to spike first.

    H. Mostafa, *Supervised learning based on temporal coding in spiking neural networks*, 2017; J. Göltz et al., *Fast and
    energy-efficient neuromorphic deep learning with first-spike times*, 2021.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Classes, shape (batch,).
        dt: Step size in seconds.
        tau: How much sooner counts, in seconds.
    """
    return functional.cross_entropy(first_spike_decode(zs, dt, tau), labels)
