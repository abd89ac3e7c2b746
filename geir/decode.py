"""From what a network returned over time, shape (time, batch, classes), to one score a class, and losses on the scores."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "first_spike_decode",
    "first_spike_loss",
    "first_spike_time",
    "last_decode",
    "last_membrane_loss",
    "max_decode",
    "max_membrane_loss",
    "rate_decode",
    "rate_loss",
]


def rate_decode(zs: Tensor) -> Tensor:
    """Mean over time: spikes a step. Shape (time, ...) to (...)."""
    return _over_time("rate_decode", zs).mean(0)


def max_decode(vs: Tensor) -> Tensor:
    """Largest potential over time. Shape (time, ...) to (...)."""
    return _over_time("max_decode", vs).amax(0)


def last_decode(vs: Tensor) -> Tensor:
    """Potential after the last step. Shape (time, ...) to (...)."""
    return _over_time("last_decode", vs)[-1]


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
    return dt * torch.cumprod(1 - _over_time("first_spike_time", zs), 0).sum(0)


def first_spike_decode(zs: Tensor, dt: float = 1e-3, tau: float = 10e-3) -> Tensor:
    """Negative time until the first spike in units of `tau` seconds: the sooner, the higher. Shape (time, ...) to (...)."""
    return -first_spike_time(zs, dt) / tau


def rate_loss(zs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the spike counts: spikes (time, batch, classes) and labels (batch,) to a scalar."""
    return functional.cross_entropy(_over_time("rate_loss", zs).sum(0), labels)


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


def _over_time(who: str, values: Tensor) -> Tensor:
    if values.dim() == 0 or not len(values):
        raise ValueError(f"{who} takes (time, ...) of at least one step, got shape {tuple(values.shape)}.")
    return values
