"""Checks of intensities."""

import torch
from torch import Tensor


def check_intensities(caller: str, x: Tensor, low: float = 0.0) -> None:
    """Check that all intensities are floating-point and in [low, 1].

    While `torch.compile` traces, values are unknown and only the dtype is checked.

    Raises:
        TypeError: If the intensities are not floating-point.
        ValueError: If an intensity is out of range; the message names the worst one.
    """
    if not x.is_floating_point():
        raise TypeError(f"{caller} expected floating-point intensities, got {x.dtype}.")
    if torch.compiler.is_compiling():
        return
    in_range = (x >= low) & (x <= 1)
    if not bool(in_range.all()):
        outside = x[~in_range]
        worst = round(outside[outside.abs().argmax()].item(), 6)
        raise ValueError(
            f"{caller} expected intensities in [{low:g}, 1], got {worst}; scale the input, as in x / 255 for bytes."
        )
