"""Spike trains of shape (time, ...): what is refused at the door, and when they spike."""

import math
from collections.abc import Sequence

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


def is_positive_finite(value: float) -> bool:
    """Whether a number is positive and finite, for the `check` of a setting such as `dt`."""
    return 0 < value < math.inf


def unwrap_output(x: object) -> object:
    """The output, if `x` is the `(output, state)` tuple of another module; otherwise `x` itself."""
    return x[0] if isinstance(x, tuple) else x


def check_floating_point(caller: str, x: object) -> Tensor:
    """The tensor `x`, taken out of an `(output, state)` tuple if necessary.

    Raises:
        TypeError: If it is not a floating-point tensor.
    """
    x = unwrap_output(x)
    if not isinstance(x, Tensor):
        raise TypeError(f"{caller} takes a floating-point tensor, got {type(x).__name__}.")
    if not x.is_floating_point():
        raise TypeError(f"{caller} takes a floating-point tensor, got {x.dtype}; convert it with .float().")
    return x


def is_broadcastable(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a tensor of shape `shape` can be expanded to shape `target`."""
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, expected) for size, expected in aligned)


def check_broadcastable(
    caller: str, name: str, tensor: Tensor, shape: Sequence[int], target: str = "one step of input"
) -> None:
    """Check that a parameter can be expanded to a given shape.

    Args:
        caller: Name of the class or function that reports the error.
        name: Name of the parameter.
        tensor: The parameter.
        shape: The shape to expand it to.
        target: What has this shape, for the error message.

    Raises:
        ValueError: If the parameter does not broadcast to the shape.
    """
    if not is_broadcastable(tensor.shape, shape):
        raise ValueError(
            f"{caller}.{name} has shape {tuple(tensor.shape)}, which does not broadcast to {target}, {tuple(shape)}."
        )
