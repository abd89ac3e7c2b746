"""The state of a network that learns online."""

from typing import NamedTuple

from torch import Tensor

from .._util.state import AnyState, state_type
from ._traces import Traces


@state_type
class OnlineLayerState(NamedTuple):
    """State of a layer that learns online."""

    neuron: AnyState  # state of the neurons
    traces: Traces  # derivatives of that state, and of the next entry, by weights and parameters
    readout: Tensor  # outputs filtered by a leaky readout, (parts, batch, neurons); empty without one
    rate: Tensor  # average firing rates in Hz; empty without a penalty on them


OnlineState = tuple[OnlineLayerState, ...]
