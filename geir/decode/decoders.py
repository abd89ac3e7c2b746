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
from ._labels import check_labels


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


def vote(xs: Tensor, classes: int) -> Tensor:
    r"""Population code: the mean of the neurons of each class, which are neighbors.

    .. math:: y_c = \frac{1}{k} \sum_{j = c k}^{(c + 1) k - 1} x_j

    with :math:`k` neurons for each class. Apply it to spikes or potentials over time, or to what another decoder
    returns: ``spike_count(vote(zs, 10))`` and ``vote(spike_count(zs), 10)`` are the same. It is SpikingJelly's
    ``VotingLayer``; snnTorch's population codes are sums instead, :math:`k` times as large.

    Args:
        xs: Outputs of neurons, shape (..., neurons).
        classes: Number of classes.

    Returns:
        Shape (..., classes).

    Raises:
        ValueError: If `classes` is not an integer >= 1, or the number of neurons is not a multiple of it.
        TypeError: If `xs` is not a floating-point tensor.

    >>> vote(torch.tensor([1.0, 0.0, 1.0, 1.0]), classes=2)
    tensor([0.5000, 1.0000])
    """
    check_integer("decode.vote", minimum=1, classes=classes)
    if not isinstance(xs, Tensor) or not xs.is_floating_point():
        given = str(xs.dtype) if isinstance(xs, Tensor) else type(xs).__name__
        raise TypeError(f"decode.vote expected a floating-point tensor (..., neurons), got {given}.")
    if xs.dim() == 0 or xs.shape[-1] % classes or not xs.shape[-1]:
        raise ValueError(
            f"decode.vote expected the same number of neurons for each of {classes} classes, got shape "
            f"{tuple(xs.shape)}; the last dimension must be a multiple of {classes}."
        )
    return widen(xs).unflatten(-1, (classes, -1)).mean(-1)


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Share of samples whose class has the highest score.

    Take the scores from any decoder: ``accuracy(rate(zs), labels)``, ``accuracy(first_spike_score(zs), labels)``,
    ``accuracy(max_potential(vs), labels)``, ``accuracy(vote(rate(zs), 10), labels)``. If several classes share the
    highest score, as where no neuron spikes, a sample counts as the share that guessing among them would get right.

    Args:
        scores: One score per class, shape (batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If `scores` does not have this shape, `labels` does not have the shape of the batch, or a
            label is not a class.
        TypeError: If `scores` is not a floating-point tensor, or `labels` are not integers.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]]), torch.tensor([1, 1, 0]))
    tensor(0.5000)
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        given = str(scores.dtype) if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"decode.accuracy expected a floating-point tensor (batch, classes), got {given}.")
    if scores.dim() != 2 or not scores.numel():
        raise ValueError(
            f"decode.accuracy expected scores of shape (batch, classes), got {tuple(scores.shape)}; reduce outputs "
            "over time with a decoder, such as decode.spike_count."
        )
    labels = check_labels("decode.accuracy", scores, labels)
    best = (scores == scores.amax(1, keepdim=True)).to(torch.float32)
    return (best.gather(1, labels[:, None])[:, 0] / best.sum(1)).mean()


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
