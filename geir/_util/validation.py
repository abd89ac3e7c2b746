"""Checks of arguments, and the steps at which spike trains of shape (time, ...) spike.

Every check takes the name of the calling function as its first argument, `caller`, and begins its message with it.
"""

import itertools
import math

import torch
from torch import Tensor

from .state import AnyState

# A tensor, or the `(output, state)` tuple of the previous module.
Input = Tensor | tuple[Tensor, AnyState]


def check_has_time(caller: str, values: Tensor) -> None:
    """Check that values over time are floating-point and have at least one step.

    Raises:
        ValueError: If there is no time dimension or no step.
        TypeError: If the values are not a floating-point tensor.
    """
    if isinstance(values, tuple):
        raise TypeError(
            f"{caller} expected a tensor over time, got a tuple; pass the output without its state: zs, _ = model(xs)."
        )
    if not isinstance(values, Tensor):
        raise TypeError(f"{caller} expected a tensor over time, got {type(values).__name__}.")
    if values.dim() == 0 or not len(values):
        raise ValueError(
            f"{caller} expected an input of shape (time, ...) with at least one step, got shape {tuple(values.shape)}."
        )
    if not values.is_floating_point():
        raise TypeError(
            f"{caller} expected floating-point values over time, got {values.dtype}; convert them with .float()."
        )


def check_pair(caller: str, xs: Tensor, ys: Tensor) -> None:
    """Check that two spike trains have a time dimension and the same shape.

    Raises:
        ValueError: If a train has no step, or the shapes differ.
        TypeError: If a train is not floating-point.
    """
    check_has_time(caller, xs)
    check_has_time(caller, ys)
    if xs.shape != ys.shape:
        raise ValueError(
            f"{caller} expected two spike trains of the same shape, got {tuple(xs.shape)} and {tuple(ys.shape)}."
        )


def check_positive(caller: str, **numbers: float) -> None:
    """Check that all numbers are positive and finite.

    Raises:
        ValueError: If one is not; the message names it.
    """
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{caller}: {name} must be positive and finite, got {value}.")


def is_positive_finite(value: float) -> bool:
    """Whether a number is positive and finite, for the `check` of a setting such as `dt`."""
    return 0 < value < math.inf


def check_integer(caller: str, minimum: int = 0, **numbers: int) -> None:
    """Check that all numbers are integers of at least `minimum`.

    Raises:
        ValueError: If one is not; the message names it.
    """
    for name, value in numbers.items():
        if not isinstance(value, int) or value < minimum:
            raise ValueError(f"{caller}: {name} must be an integer >= {minimum}, got {value!r}.")


def unwrap_output(caller: str, x: object) -> Tensor:
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


def check_run(module: object, xs: object, weight: Tensor) -> Tensor:
    """The input over time of a module with these weights, taken out of an `(output, state)` tuple if necessary.

    Raises:
        TypeError: If it is not a floating-point tensor, or is float64 where the weights are not.
        ValueError: If it has no time dimension.
    """
    name = type(module).__name__
    xs = unwrap_output(name, xs)
    if xs.dim() == 0:
        raise ValueError(
            f"{name} runs over time: expected input of shape (time, ...), got a tensor without dimensions."
        )
    if xs.dtype == torch.float64 and weight.dtype != torch.float64:
        raise TypeError(
            f"{name} has {weight.dtype} weights, but its input is float64; convert one of them: "
            "input.float() or neuron.double()."
        )
    return xs


def check_broadcastable(
    owner: str, name: str, tensor: Tensor, shape: torch.Size, target: str = "one step of input"
) -> None:
    """Raise `ValueError` unless the tensor `owner.name` broadcasts to this shape, which is that of the target."""
    sizes = itertools.zip_longest(reversed(shape), reversed(tensor.shape), fillvalue=1)
    if tensor.dim() > len(shape) or any(wanted != given != 1 for wanted, given in sizes):
        raise ValueError(
            f"{owner}.{name} has shape {tuple(tensor.shape)}, which does not broadcast to {target}, {tuple(shape)}."
        )


def time_indices(steps: int, x: Tensor) -> Tensor:
    """The integers 0, 1, ..., steps - 1 of shape (steps, 1, ...), which broadcasts against one step `x`."""
    return torch.arange(steps, device=x.device).view(-1, *[1] * x.dim())


def spike_steps(zs: Tensor, count: int) -> Tensor:
    """The steps of the first spikes, in order.

    Args:
        zs: Spikes, shape (time, ...).
        count: Number of spikes to find in each train.

    Returns:
        Integers, shape (count, ...). Where a train has fewer spikes: the number of steps, ``len(zs)``.
    """
    spiked = zs != 0
    rank = spiked.cumsum(0) - 1
    # Steps without a spike, and spikes beyond `count`, are scattered to an extra row that is dropped at the end.
    row = torch.where(spiked & (rank < count), rank, count)
    steps = row.new_full((count + 1, *zs.shape[1:]), len(zs))
    return steps.scatter(0, row, time_indices(len(zs), zs[0]).expand(zs.shape))[:count]
