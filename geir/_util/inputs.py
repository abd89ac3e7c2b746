"""Inputs: a tensor, or a named tuple with a tensor for each receptor of a model."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from .state import map_state

# A tensor or a named tuple of tensors. Models access receptors by name, which no type expresses.
AnyInput = Any


def is_named_tuple(x: object) -> bool:
    """Whether a value is a named tuple; the `(output, state)` tuple of a module is a plain one."""
    return isinstance(x, tuple) and hasattr(x, "_fields")


def map_input(function: Callable[..., Any], *inputs: AnyInput) -> AnyInput:
    """The function of the given inputs' tensors, for each receptor if there are several."""
    return function(*inputs) if isinstance(inputs[0], Tensor) else map_state(function, *inputs)


def first_receptor(x: AnyInput) -> Tensor:
    """The tensor, or that of the first receptor: all have the same shape, dtype and device."""
    return x if isinstance(x, Tensor) else x[0]


def unbind_time(xs: AnyInput) -> Iterable[AnyInput]:
    """The steps of input over time. Not `xs[t]`: the backward pass of indexing is quadratic in the number of steps."""
    return xs.unbind(0) if isinstance(xs, Tensor) else map(type(xs), *(part.unbind(0) for part in xs))
