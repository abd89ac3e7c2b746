"""The neuron models, one file each; none imports another."""

from .adex import Adex, AdexCell, AdexRecurrent, AdexRecurrentCell, AdexState
from .iaf import IAF, IAFCell, IAFRecurrent, IAFRecurrentCell, IAFState
from .li import LI, LICell, LIState
from .libox import LIBox, LIBoxCell, LIBoxState
from .lif import LIF, LIFCell, LIFRecurrent, LIFRecurrentCell, LIFState
from .lifbox import LIFBox, LIFBoxCell, LIFBoxRecurrent, LIFBoxRecurrentCell, LIFBoxState
from .lsnn import LSNN, LSNNCell, LSNNRecurrent, LSNNRecurrentCell, LSNNState

__all__ = [
    *("Adex", "AdexCell", "AdexRecurrent", "AdexRecurrentCell", "AdexState"),
    *("IAF", "IAFCell", "IAFRecurrent", "IAFRecurrentCell", "IAFState"),
    *("LI", "LICell", "LIState"),
    *("LIBox", "LIBoxCell", "LIBoxState"),
    *("LIF", "LIFCell", "LIFRecurrent", "LIFRecurrentCell", "LIFState"),
    *("LIFBox", "LIFBoxCell", "LIFBoxRecurrent", "LIFBoxRecurrentCell", "LIFBoxState"),
    *("LSNN", "LSNNCell", "LSNNRecurrent", "LSNNRecurrentCell", "LSNNState"),
]
