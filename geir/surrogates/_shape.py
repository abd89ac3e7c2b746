"""Surrogates that take their shape from another."""

from torch import Tensor

from .base import Surrogate
from .fast_sigmoid import SuperSpike

DEFAULT_SHAPE = SuperSpike()


def check_shape(spike: Surrogate, shape: object) -> None:
    """Raise `TypeError` unless the shape is a surrogate."""
    if not isinstance(shape, Surrogate):
        raise TypeError(f"{type(spike).__name__}.surrogate must be a surrogate such as SuperSpike(), got {shape!r}.")


def check_floating(spike: Surrogate, x: Tensor) -> None:
    """Raise `TypeError` unless the distances are floating-point numbers."""
    if not x.dtype.is_floating_point:
        raise TypeError(f"{type(spike).__name__} expected floating-point distances, got {x.dtype}.")
