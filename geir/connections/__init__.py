"""Connections: delays, receptors, sparse and masked weights, and layers that exploit sparse input."""

from .delay import (
    Delay as Delay,
    DelayCell as DelayCell,
    DelayedLinear as DelayedLinear,
    DelayedLinearCell as DelayedLinearCell,
    DelayState as DelayState,
)
from .interpolation import (
    GaussianInterpolation as GaussianInterpolation,
    Interpolation as Interpolation,
    LinearInterpolation as LinearInterpolation,
    NearestStep as NearestStep,
    Taps as Taps,
)
from .receptors import constrain_signs as constrain_signs, Receptors as Receptors
from .sparse import MaskedLinear as MaskedLinear, SparseLinear as SparseLinear
from .sparse_input import SparseInputConv2d as SparseInputConv2d, SparseInputLinear as SparseInputLinear
