"""Checks of intensities."""

import torch
from torch import Tensor


def check_intensities(caller: str, x: Tensor, low: float = 0.0) -> None:
    """Check that all intensities are floating-point and in [low, 1].

    While `torch.compile` traces, values are unknown and only the dtype is checked.

    Raises:
        TypeError: If the intensities are not a floating-point tensor.
        ValueError: If an intensity is out of range; the message names the worst one.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{caller} expected a tensor, got {type(x).__name__}; convert it with torch.as_tensor(...).")
    if not x.is_floating_point():
        hint = "; for bytes, x / 255" if x.dtype == torch.uint8 else ""
        raise TypeError(f"{caller} expected floating-point intensities, got {x.dtype}{hint}.")
    if torch.compiler.is_compiling():
        return
    in_range = (x >= low) & (x <= 1)
    if not bool(in_range.all()):
        outside = x[~in_range]
        worst = round(outside[outside.abs().argmax()].item(), 6)
        raise ValueError(
            f"{caller} expected intensities in [{low:g}, 1], got {worst}; scale the input, as in x / 255 for bytes."
        )
