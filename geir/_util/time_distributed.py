"""Apply a module without state to all time steps at once."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def fold_time(module: Callable[[Tensor], Any], xs: Tensor) -> Tensor:
    """The module's output for every time step, by folding time into the batch.

    Args:
        module: From (batch, ...) to (batch, ...).
        xs: Input, shape (time, batch, ...).

    Raises:
        ValueError: If `xs` has no batch dimension, or the module mixes samples.
    """
    if xs.dim() < 2:
        raise ValueError(f"{_name(module)} over time takes (time, batch, ...), got shape {tuple(xs.shape)}.")
    try:
        ys = module(xs.flatten(0, 1))
    except Exception as error:
        error.add_note(
            f"{_name(module)} ran over time, on (time, batch, ...) = {tuple(xs.shape)} with time folded into the batch."
        )
        raise
    if not isinstance(ys, Tensor) or ys.dim() == 0 or ys.shape[0] != xs.shape[0] * xs.shape[1]:
        got = tuple(ys.shape) if isinstance(ys, Tensor) else type(ys).__name__
        raise ValueError(
            f"{_name(module)} over time must keep the batch: for (time, batch, ...) = {tuple(xs.shape)} it returned {got}."
        )
    return ys.unflatten(0, xs.shape[:2])


def _name(module: Any) -> str:
    return type(module).__name__
