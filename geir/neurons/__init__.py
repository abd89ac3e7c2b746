"""The neuron models, one file each; none imports another."""

from .adex import Adex, AdexCell, AdexRecurrent, AdexRecurrentCell, AdexState
from .iaf import IAF, IAFCell, IAFRecurrent, IAFRecurrentCell, IAFState
from .li import LI, LICell, LIState
from .libox import LIBox, LIBoxCell, LIBoxState
from .lif import LIF, LIFCell, LIFRecurrent, LIFRecurrentCell, LIFState
from .lifbox import LIFBox, LIFBoxCell, LIFBoxRecurrent, LIFBoxRecurrentCell, LIFBoxState
from .lsnn import LSNN, LSNNCell, LSNNRecurrent, LSNNRecurrentCell, LSNNState

__all__ = [
    "IAF",
    "LI",
    "LIF",
    "LSNN",
    "Adex",
    "AdexCell",
    "AdexRecurrent",
    "AdexRecurrentCell",
    "AdexState",
    "IAFCell",
    "IAFRecurrent",
    "IAFRecurrentCell",
    "IAFState",
    "LIBox",
    "LIBoxCell",
    "LIBoxState",
    "LICell",
    "LIFBox",
    "LIFBoxCell",
    "LIFBoxRecurrent",
    "LIFBoxRecurrentCell",
    "LIFBoxState",
    "LIFCell",
    "LIFRecurrent",
    "LIFRecurrentCell",
    "LIFState",
    "LIState",
    "LSNNCell",
    "LSNNRecurrent",
    "LSNNRecurrentCell",
    "LSNNState",
]
