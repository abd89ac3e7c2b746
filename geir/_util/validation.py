"""Spike trains of shape (time, ...): what is refused at the door, and when they spike."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor


def check_has_time(caller: str, values: Tensor) -> Tensor:
    """The values, of at least one step and floating-point, or an error."""
    if values.dim() == 0 or not len(values):
        raise ValueError(f"{caller} takes (time, ...) of at least one step, got shape {tuple(values.shape)}.")
    if not values.is_floating_point():
        raise TypeError(
            f"{caller} takes floating-point values over time, got {values.dtype}; convert them with .float()."
        )
    return values


def check_pair(caller: str, xs: Tensor, ys: Tensor) -> None:
    """Raise an error unless two trains have time and one shape."""
    check_has_time(caller, xs)
    check_has_time(caller, ys)
    if xs.shape != ys.shape:
        raise ValueError(f"{caller} compares trains of one shape, got {tuple(xs.shape)} and {tuple(ys.shape)}.")


def check_positive(caller: str, **numbers: float) -> None:
    """Raise an error unless all numbers are positive and finite."""
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{caller}: {name} must be positive and finite, got {value}.")


def time_indices(steps: int, x: Tensor) -> Tensor:
    """0, 1, ..., shape (steps, 1, ...), to compare with one step `x` of shape (...)."""
    return torch.arange(steps, device=x.device).view(-1, *[1] * x.dim())


def spike_steps(zs: Tensor, count: int) -> Tensor:
    """The steps of the first spikes, in order; the number of steps where there is no such spike.

    Args:
        zs: Spikes, shape (time, ...).
        count: How many.

    Returns:
        Whole numbers, shape (count, ...).
    """
    spiked = zs != 0
    place = spiked.cumsum(0) - 1
    # What is not asked for goes to a last place of its own.
    place = torch.where(spiked & (place < count), place, count)
    steps = place.new_full((count + 1, *zs.shape[1:]), len(zs))
    return steps.scatter(0, place, time_indices(len(zs), zs[0]).expand(zs.shape))[:count]


def unwrap_output(caller: str, x: Any) -> Tensor:
    """The input tensor, taken out of a previous module's `(output, state)` tuple if necessary.

    Raises:
        TypeError: If it is not a floating-point tensor.
    """
    if isinstance(x, tuple):
        x = x[0]
    if not isinstance(x, Tensor):
        raise TypeError(f"{caller} expected a tensor, got {type(x).__name__}.")
    if not x.is_floating_point():
        raise TypeError(f"{caller} expected floating-point input, got {x.dtype}; convert it with .float().")
    return x


def check_broadcastable(owner: str, name: str, tensor: Tensor, shape: torch.Size) -> None:
    """Raise `ValueError` unless the tensor `owner.name` broadcasts to one step of input of this shape."""
    sizes = itertools.zip_longest(reversed(shape), reversed(tensor.shape), fillvalue=1)
    if tensor.dim() > len(shape) or any(wanted != given != 1 for wanted, given in sizes):
        raise ValueError(
            f"{owner}.{name} has shape {tuple(tensor.shape)}, which does not broadcast to one step of input, {tuple(shape)}."
        )
