"""What encoders refuse at the door."""

import torch
from torch import Tensor


def check_intensities(caller: str, x: Tensor, low: float = 0.0) -> None:
    """Raise an error unless all are floating-point numbers in [low, 1]."""
    if not x.is_floating_point():
        raise TypeError(f"{caller} takes floating-point intensities, got {x.dtype}.")
    if torch.compiler.is_compiling():
        return
    fits = (x >= low) & (x <= 1)
    if not bool(fits.all()):
        wrong = x[~fits]
        worst = round(wrong[wrong.abs().argmax()].item(), 6)
        raise ValueError(
            f"{caller} takes intensities in [{low:g}, 1], got {worst}; scale the input, as in x / 255 for bytes."
        )


def check_steps(caller: str, least: int = 0, **steps: int) -> None:
    """Raise an error unless all are whole numbers of steps, and not too few."""
    for name, count in steps.items():
        if not isinstance(count, int) or count < least:
            raise ValueError(
                f"{caller}: {name} must be a whole number of steps{f', at least {least}' if least else ''}, got {count!r}."
            )
