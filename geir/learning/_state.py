"""The state of a network that learns online."""

from typing import NamedTuple

from torch import Tensor

from .._util.state import AnyState, state_type
from ._traces import Traces


@state_type
class ReadoutTraces(NamedTuple):
    """Eligibilities and outputs of a layer, filtered by a leaky readout; empty without one. Parts come first."""

    weights: Tensor
    parameters: Tensor
    output: Tensor


@state_type
class OnlineLayerState(NamedTuple):
    """State of a layer that learns online."""

    neuron: AnyState  # state of the neurons
    traces: Traces  # derivatives of that state by weights and parameters
    readout: ReadoutTraces  # the same for the readout
    rate: Tensor  # average firing rates in Hz; empty without a penalty on them


OnlineState = tuple[OnlineLayerState, ...]
