"""Connections: delays, receptors, sparse and masked weights, and layers that exploit sparse input."""

from .delay import (
    Delay as Delay,
    DelayCell as DelayCell,
    DelayState as DelayState,
)
from .delayed_linear import DelayedLinear as DelayedLinear, DelayedLinearCell as DelayedLinearCell
from .delayed_sparse import (
    DelayedSparseLinear as DelayedSparseLinear,
    DelayedSparseLinearCell as DelayedSparseLinearCell,
)
from .groups import Groups as Groups, Projection as Projection
from .interpolation import (
    GaussianInterpolation as GaussianInterpolation,
    Interpolation as Interpolation,
    LinearInterpolation as LinearInterpolation,
    NearestStep as NearestStep,
    Taps as Taps,
)
from .pairs import distance_pairs as distance_pairs, Pairs as Pairs, random_pairs as random_pairs
from .receptors import constrain_signs as constrain_signs, Receptors as Receptors
from .sparse import MaskedLinear as MaskedLinear, SparseLinear as SparseLinear
from .sparse_input import SparseInputConv2d as SparseInputConv2d, SparseInputLinear as SparseInputLinear
