"""Tensors over time as NumPy arrays."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def to_array(caller: str, values: object) -> np.ndarray:
    """A tensor as an array of floating-point numbers."""
    if not isinstance(values, Tensor | np.ndarray):
        hint = " A neuron returns a tuple: zs, state = neuron(xs)." if isinstance(values, tuple) else ""
        raise TypeError(f"{caller} expected a tensor, got {type(values).__name__}.{hint}")
    tensor = torch.as_tensor(values)
    if tensor.is_complex():
        raise TypeError(f"{caller} expected real values, got {tensor.dtype}; plot their .real part or their .abs().")
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.to(dtype=dtype).numpy(force=True)


def select_sample(caller: str, values: np.ndarray, sample: int | None) -> np.ndarray:
    """One sample of a batch, (time, batch, ...) to (time, ...); if `sample` is `None`, the values unchanged."""
    if values.ndim == 0:
        raise ValueError(
            f"{caller} expected values over time, shape (time, ...), got a single number; stack steps with torch.stack."
        )
    if sample is None:
        return values
    if values.ndim < 2 or not -values.shape[1] <= sample < values.shape[1]:
        raise ValueError(
            f"{caller}: sample={sample} is out of range for values of shape {values.shape}; "
            "expected shape (time, batch, ...)."
        )
    return values[:, sample]


def to_time_by_neuron(caller: str, values: object, sample: int | None = None) -> np.ndarray:
    """Values as an array of shape (time, neurons).

    Args:
        caller: Name of the plot, for error messages.
        values: Shape (time, neurons), or (time,) for one neuron, or (time, batch, ...) of which one
            sample is selected and flattened.
        sample: Index of the sample.
    """
    array = select_sample(caller, to_array(caller, values), sample)
    if array.ndim == 1:
        array = array[:, None]
    if sample is not None:
        array = array.reshape(len(array), -1)
    if array.ndim > 2:
        raise ValueError(
            f"{caller} expected shape (time, neurons), got {array.shape}; "
            "select a sample of a batch with sample=0, or flatten the neurons with zs.flatten(1)."
        )
    if not array.size:
        raise ValueError(f"{caller} expected at least one step of one neuron, got shape {array.shape}.")
    return array


class TimeAxis(NamedTuple):
    """Times in ms."""

    times: np.ndarray  # of every step
    end: float  # end of the last step


def time_axis(caller: str, steps: int, dt: float) -> TimeAxis:
    """The times of a number of steps of `dt` seconds."""
    if not dt > 0:
        raise ValueError(f"{caller}: dt must be a positive number of seconds, got {dt}.")
    return TimeAxis(times=1e3 * dt * np.arange(steps), end=1e3 * dt * steps)
