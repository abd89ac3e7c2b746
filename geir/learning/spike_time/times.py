"""Lists of spikes: times and unit numbers, padded."""

from typing import NamedTuple

import torch
from torch import Tensor

# Unit number of padding.
NO_UNIT = -1


class SpikeTimes(NamedTuple):
    """Spikes of a batch in the order of time, which can be the input of a `SpikeTimeLayer`.

    >>> import geir
    >>> spikes = geir.learning.SpikeTimes(torch.tensor([[1e-3, 2e-3, torch.inf]]), torch.tensor([[4, 0, -1]]))
    """

    times: Tensor  # seconds, shape (batch, spikes), ascending; infinity after the last spike
    units: Tensor  # integers, shape (batch, spikes): the unit of each spike; -1 after the last


def check_spikes(owner: str, times: object, units: object, size: int) -> None:
    """Check spikes: types, shapes, order and range.

    Raises:
        TypeError: If `times` is not a floating-point tensor, or `units` not one of integers.
        ValueError: If shapes differ, times are negative, NaN or not in order, or a unit number is out of range.
    """
    for name, tensor in (("times", times), ("units", units)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{owner} expected {name} as a tensor, got {type(tensor).__name__}.")
    assert isinstance(times, Tensor)
    assert isinstance(units, Tensor)
    if times.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{owner} expected times in float32 or float64, in seconds, got {times.dtype}.")
    if units.is_floating_point() or units.is_complex() or units.dtype == torch.bool:
        raise TypeError(f"{owner} expected units as integers, got {units.dtype}.")
    if times.dim() != 2 or times.shape != units.shape:
        raise ValueError(
            f"{owner} expected times and units of the same shape (batch, spikes), got {tuple(times.shape)} and "
            f"{tuple(units.shape)}."
        )
    if times.device.type != "cpu" or units.device.type != "cpu":
        raise ValueError(f"{owner} runs on the CPU, got times on {times.device} and units on {units.device}.")
    values = times.detach()
    _refuse_first(owner, values, values.isnan(), "expected times without NaN")
    _refuse_first(owner, values, values < 0, "expected times >= 0 s")
    later = torch.zeros_like(values, dtype=torch.bool)
    later[:, 1:] = values[:, 1:] < values[:, :-1]
    _refuse_first(owner, values, later, "expected times in ascending order, padded with infinity at the end")
    outside = values.isfinite() & ((units < 0) | (units >= size))
    if bool(outside.any()):
        sample, place = outside.nonzero()[0].tolist()
        raise ValueError(
            f"{owner} expected unit numbers from 0 to {size - 1}, got {int(units[sample, place])} for spike {place} "
            f"of sample {sample}."
        )


def _refuse_first(owner: str, times: Tensor, wrong: Tensor, expected: str) -> None:
    if bool(wrong.any()):
        sample, place = wrong.nonzero()[0].tolist()
        before = f" after {float(times[sample, place - 1])} s" if "order" in expected else ""
        raise ValueError(
            f"{owner} {expected}, got {float(times[sample, place])} s{before} for spike {place} of sample {sample}."
        )
