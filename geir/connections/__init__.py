"""Connections: delays, sparse and masked weights, layers that skip silent inputs."""

from .delay import (
    Delay,
    DelayCell,
    DelayedLinear,
    DelayedLinearCell,
    DelayState,
    GaussianInterpolation,
    Interpolation,
    LinearInterpolation,
    NearestStep,
)
from .event import EventConv2d, EventLinear
from .partial import MaskedLinear, SparseLinear

__all__ = [
    "Delay",
    "DelayCell",
    "DelayState",
    "DelayedLinear",
    "DelayedLinearCell",
    "EventConv2d",
    "EventLinear",
    "GaussianInterpolation",
    "Interpolation",
    "LinearInterpolation",
    "MaskedLinear",
    "NearestStep",
    "SparseLinear",
]
