"""Checks of arguments, and the steps at which spike trains of shape (time, ...) spike.

Every check takes the name of the calling function as its first argument, `caller`, and begins its message with it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from .inputs import AnyInput, is_named_tuple, map_input
from .state import AnyState

# A tensor, a named tuple with one for each receptor, or the `(output, state)` tuple of the previous module.
Input = Tensor | tuple[AnyInput, AnyState] | AnyInput


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
    inputs = unwrap_input(caller, x)
    check_input_type(caller, inputs, (Tensor,))
    return inputs


def unwrap_input(caller: str, x: object) -> AnyInput:
    """The input, taken out of a previous module's `(output, state)` tuple if necessary.

    Returns:
        A tensor or, for several receptors, a named tuple of tensors.

    Raises:
        TypeError: If it is not of floating-point tensors, or their dtypes differ.
        ValueError: If their shapes or devices differ.
    """
    if isinstance(x, tuple) and not is_named_tuple(x):
        x = x[0]
    if isinstance(x, tuple):
        _check_receptors(caller, x)
    else:
        _check_floating(caller, x)
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


def _check_floating(caller: str, x: object, receptor: str = "") -> None:
    name = f" as {receptor}" if receptor else ""
    if not isinstance(x, Tensor):
        hint = "; convert it with torch.from_numpy(...).float()" if isinstance(x, numpy.ndarray) else ""
        raise TypeError(f"{caller} expected a tensor{name}, got {type(x).__name__}{hint}.")
    if not x.is_floating_point():
        raise TypeError(f"{caller} expected floating-point input{name}, got {x.dtype}; convert it with .float().")


def _check_receptors(caller: str, x: AnyInput) -> None:
    kind = type(x).__name__
    for receptor, part in zip(x._fields, x, strict=True):
        _check_floating(caller, part, f"{kind}.{receptor}")
        first = f"{kind}.{x._fields[0]}"
        if part.shape != x[0].shape:
            raise ValueError(
                f"{caller}: {kind}.{receptor} has shape {tuple(part.shape)}, but {first} has {tuple(x[0].shape)}; all "
                f"receptors need one value for each neuron, zeros where nothing arrives, such as "
                f"torch.zeros_like({x._fields[0]})."
            )
        if part.dtype != x[0].dtype:
            raise TypeError(
                f"{caller}: {kind}.{receptor} is {part.dtype}, but {first} is {x[0].dtype}; convert one with .to(...)."
            )
        if part.device != x[0].device:
            raise ValueError(
                f"{caller}: {kind}.{receptor} is on {part.device}, but {first} on {x[0].device}; move one with "
                ".to(...)."
            )


def check_input_type(caller: str, x: AnyInput, types: Sequence[Any]) -> None:
    """Raise `TypeError` unless the input is of one of the types that a model takes."""
    if type(x) in types or (isinstance(x, Tensor) and Tensor in types):
        return
    given = "a tensor" if isinstance(x, Tensor) else f"{type(x).__name__}({', '.join(getattr(x, '_fields', ()))})"
    taken = [kind for kind in types if kind is not Tensor]
    if not taken:
        raise TypeError(
            f"{caller} has one receptor: expected a tensor, got {given}; pass one of its parts, or their sum."
        )
    parts = ", ".join(f"{name}=..." for name in taken[0]._fields)
    raise TypeError(
        f"{caller} has several receptors: expected {' or '.join(kind.__name__ for kind in types)}, got {given}; pass "
        f"{taken[0].__name__}({parts}), or place Receptors({taken[0].__name__}, {parts}) before it."
    )


def check_one_receptor(caller: str, model: str, types: Sequence[Any]) -> None:
    """Raise `TypeError` if a model, given by its name and its types of input, does not take a tensor."""
    if Tensor not in types:
        raise TypeError(
            f"{caller} takes models whose input is one tensor, but that of {model} is "
            f"{' or '.join(kind.__name__ for kind in types)}, one for each receptor."
        )


def add_inputs(caller: str, x: AnyInput, feedback: AnyInput) -> AnyInput:
    """The sum of input and recurrent input of the step of a model, for each receptor.

    Raises:
        TypeError: If they do not have the same receptors.
    """
    check_same_receptors(caller, x, feedback)
    return map_input(torch.add, x, feedback)


def check_same_receptors(caller: str, x: AnyInput, feedback: AnyInput) -> None:
    """Raise `TypeError` unless the input and that of a recurrent connection have the same receptors."""
    kinds = [type(part) for part in (x, feedback) if is_named_tuple(part)]
    if not kinds or kinds == [type(x), type(x)]:
        return
    raise TypeError(
        f"{caller} adds its input, {type(x).__name__}, to that of its recurrent connection, {type(feedback).__name__}: "
        "both must reach the same receptors; make input_weights and recurrent_weights "
        f"Receptors({kinds[0].__name__}, ...)."
    )


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


def check_nested_state(caller: str, state: object) -> None:
    """Raise `TypeError` if a value is neither a state, however nested, nor None."""
    if not isinstance(state, tuple | list | dict | Tensor | None):
        raise TypeError(
            f"{caller} expected a state, such as the second result of a model, or None, got {type(state).__name__}."
        )
