"""Apply a stateless module to all time steps at once."""

from collections.abc import Callable

from torch import Tensor


def fold_time(module: Callable[[Tensor], object], xs: Tensor) -> Tensor:
    """Apply a module to every time step by folding time into the batch dimension.

    Args:
        module: Maps (batch, ...) to (batch, ...).
        xs: Input, shape (time, batch, ...).

    Returns:
        Output, shape (time, batch, ...).

    Raises:
        ValueError: If `xs` has no batch dimension, or the module changes the size of the batch.
    """
    name = type(module).__name__
    shape = tuple(xs.shape)
    if xs.dim() < 2:
        raise ValueError(f"{name} over time expected an input of shape (time, batch, ...), got shape {shape}.")
    try:
        ys = module(xs.flatten(0, 1))
    except Exception as error:
        error.add_note(f"{name} was applied over time: (time, batch, ...) = {shape}, with time folded into the batch.")
        if not xs.is_floating_point():
            error.add_note(f"Its input is {xs.dtype}; convert it with .float().")
        raise
    if not isinstance(ys, Tensor) or ys.dim() == 0 or ys.shape[0] != xs.shape[0] * xs.shape[1]:
        got = f"a tensor of shape {tuple(ys.shape)}" if isinstance(ys, Tensor) else type(ys).__name__
        raise ValueError(
            f"{name} over time must keep the batch dimension: with (time, batch, ...) = {shape} folded into "
            f"(time * batch, ...), it returned {got}."
        )
    return ys.unflatten(0, xs.shape[:2])
