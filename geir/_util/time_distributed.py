"""Apply a stateless module to all time steps at once."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .inputs import AnyInput, first_receptor, is_named_tuple, map_input
from .state import map_state


def fold_time(module: Callable[[Any], object], xs: AnyInput) -> AnyInput:
    """Apply a module to every time step by folding time into the batch dimension.

    Args:
        module: Maps (batch, ...) to (batch, ...).
        xs: Input, shape (time, batch, ...), or a named tuple of such tensors.

    Returns:
        Output, shape (time, batch, ...), or a named tuple of such tensors.

    Raises:
        ValueError: If `xs` has no batch dimension, or the module changes the size of the batch.
    """
    name = type(module).__name__
    first = first_receptor(xs)
    shape = tuple(first.shape)
    if first.dim() < 2:
        raise ValueError(f"{name} over time expected an input of shape (time, batch, ...), got shape {shape}.")
    try:
        ys = module(map_input(lambda part: part.flatten(0, 1), xs))
    except Exception as error:
        error.add_note(f"{name} was applied over time: (time, batch, ...) = {shape}, with time folded into the batch.")
        if not first.is_floating_point():
            error.add_note(f"Its input is {first.dtype}; convert it with .float().")
        raise

    def unfold(part: object) -> Tensor:
        if not isinstance(part, Tensor) or part.dim() == 0 or part.shape[0] != shape[0] * shape[1]:
            got = f"a tensor of shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(
                f"{name} over time must keep the batch dimension: with (time, batch, ...) = {shape} folded into "
                f"(time * batch, ...), it returned {got}."
            )
        return part.unflatten(0, shape[:2])

    return map_state(unfold, ys) if is_named_tuple(ys) else unfold(ys)
