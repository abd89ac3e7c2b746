"""Connections: delays, sparse and masked weights, layers that skip silent inputs."""

from .delay import (
    Delay as Delay,
    DelayCell as DelayCell,
    DelayedLinear as DelayedLinear,
    DelayedLinearCell as DelayedLinearCell,
    DelayState as DelayState,
    GaussianInterpolation as GaussianInterpolation,
    Interpolation as Interpolation,
    LinearInterpolation as LinearInterpolation,
    NearestStep as NearestStep,
)
from .event import EventConv2d as EventConv2d, EventLinear as EventLinear
from .partial import MaskedLinear as MaskedLinear, SparseLinear as SparseLinear
