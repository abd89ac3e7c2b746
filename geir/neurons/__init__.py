"""The neuron models, one file each; none imports another."""

from .adex import Adex, AdexCell, AdexRecurrent, AdexRecurrentCell, AdexState
from .alphalif import AlphaLIF, AlphaLIFCell, AlphaLIFRecurrent, AlphaLIFRecurrentCell, AlphaLIFState
from .cubalif import CubaLIF, CubaLIFCell, CubaLIFRecurrent, CubaLIFRecurrentCell, CubaLIFState
from .gatedlif import GatedLIF, GatedLIFCell, GatedLIFRecurrent, GatedLIFRecurrentCell, GatedLIFState
from .iaf import IAF, IAFCell, IAFRecurrent, IAFRecurrentCell, IAFState
from .klif import KLIF, KLIFCell, KLIFRecurrent, KLIFRecurrentCell, KLIFState
from .li import LI, LICell, LIState
from .libox import LIBox, LIBoxCell, LIBoxState
from .lif import LIF, LIFCell, LIFRecurrent, LIFRecurrentCell, LIFState
from .lifbox import LIFBox, LIFBoxCell, LIFBoxRecurrent, LIFBoxRecurrentCell, LIFBoxState
from .lsnn import LSNN, LSNNCell, LSNNRecurrent, LSNNRecurrentCell, LSNNState

__all__ = [
    "IAF",
    "KLIF",
    "LI",
    "LIF",
    "LSNN",
    "Adex",
    "AdexCell",
    "AdexRecurrent",
    "AdexRecurrentCell",
    "AdexState",
    "AlphaLIF",
    "AlphaLIFCell",
    "AlphaLIFRecurrent",
    "AlphaLIFRecurrentCell",
    "AlphaLIFState",
    "CubaLIF",
    "CubaLIFCell",
    "CubaLIFRecurrent",
    "CubaLIFRecurrentCell",
    "CubaLIFState",
    "GatedLIF",
    "GatedLIFCell",
    "GatedLIFRecurrent",
    "GatedLIFRecurrentCell",
    "GatedLIFState",
    "IAFCell",
    "IAFRecurrent",
    "IAFRecurrentCell",
    "IAFState",
    "KLIFCell",
    "KLIFRecurrent",
    "KLIFRecurrentCell",
    "KLIFState",
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
