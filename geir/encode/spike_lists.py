"""Recorded spikes, given by their times and neurons, as spike trains."""

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from .._util.validation import check_integer, is_positive_finite

# Times or neurons of spikes.
Numbers = Tensor | numpy.ndarray | Sequence[float]

# Share of a step by which a time may be too early for its step: 0.3 / 0.1 is less than 3.
_TOLERANCE = 1e-3


def spike_trains(times: Numbers, neurons: Numbers, *, size: int, steps: int, dt: float = 1e-3) -> Tensor:
    r"""Spike trains from a list of spikes, such as a recording; the inverse of ``zs.nonzero()``.

    The spike at time :math:`t` is in step :math:`\lfloor t / \Delta t \rfloor`, in which times just below a step count
    as that step. Spikes of a neuron in the same step are counted.

    Args:
        times: Times in seconds, one for each spike, in any order.
        neurons: The neuron of each spike, from 0 to `size` - 1.
        size: Number of neurons.
        steps: Number of steps.
        dt: Step size in seconds.

    Returns:
        Numbers of spikes, shape (steps, size), in PyTorch's default dtype.

    Raises:
        ValueError: If there are not as many times as neurons, or a spike is not in these steps and neurons.

    >>> spike_trains([0.0, 2e-3, 2e-3], [0, 1, 1], size=2, steps=3)
    tensor([[1., 0.],
            [0., 0.],
            [0., 2.]])
    """
    check_integer("encode.spike_trains", size=size, steps=steps)
    if not is_positive_finite(dt):
        raise ValueError(f"encode.spike_trains: dt must be a positive number of seconds, got {dt!r}.")
    seconds = torch.as_tensor(times, dtype=torch.float64)
    given = torch.as_tensor(neurons)
    if seconds.shape != given.shape or seconds.dim() != 1:
        raise ValueError(
            "encode.spike_trains expected a time and a neuron for each spike, both of shape (spikes,), "
            f"got {tuple(seconds.shape)} and {tuple(given.shape)}."
        )
    indices = given.long()
    outside = (indices < 0) | (indices >= size) | (indices != given)
    if bool(outside.any()):
        raise ValueError(
            f"encode.spike_trains: neurons must be integers from 0 to {size - 1}, got {given[outside][0].item()}."
        )
    late = ~((seconds >= 0) & (seconds < (steps - _TOLERANCE) * dt))
    if bool(late.any()):
        raise ValueError(
            f"encode.spike_trains: times must be from 0 to {steps * dt:g} s, the end of {steps} steps, got "
            f"{seconds[late][0].item():g}; times are in seconds."
        )
    zs = torch.zeros(steps, size)
    zs.index_put_(((seconds / dt + _TOLERANCE).long(), indices), torch.ones(len(indices)), accumulate=True)
    return zs
