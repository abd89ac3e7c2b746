"""Warn of times that are given in milliseconds or steps instead of seconds."""

import warnings

from .parameters import Declared
from .parameters.parameter import has_values

_LONGEST = 1e6  # seconds


def warn_of_units(model: Declared) -> None:
    """Warn if a time constant is so far from the step size that one of them must be in another unit.

    A time constant of 5 s or more that is over 1,000 steps long, or a step of 1 s or more that is over 10 time
    constants long. One of more than a million seconds stands for no decay.

    Args:
        model: A model with time constants, parameters in seconds whose name begins with ``tau``, and `dt`.
    """
    dt = getattr(model, "dt", None)
    if not isinstance(dt, int | float):
        return
    for name, declaration in model.declarations().items():
        if declaration.unit != "s" or not name.startswith("tau"):
            continue
        values = getattr(model, name).detach()
        if values.device.type != "cpu" or not has_values(values) or not values.numel():
            continue
        longest, shortest = values.max().item(), values.min().item()
        kind = type(model).__name__
        if _LONGEST >= longest >= 5 and longest > 1000 * dt:
            warnings.warn(
                f"{kind}.{name} is {longest:.3g} s, {longest / dt:,.0f} steps of dt = {dt:.3g} s; times are in "
                "seconds, 20 ms is 20e-3.",
                stacklevel=4,
            )
        if dt >= 1 and shortest < dt / 10:
            warnings.warn(
                f"{kind}.dt is {dt:.3g} s, {dt / shortest:,.0f} times {name}; times are in seconds, 1 ms is 1e-3.",
                stacklevel=4,
            )
