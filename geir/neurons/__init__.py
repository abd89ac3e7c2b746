"""The neuron models, one file each; none imports another."""

from .adex import Adex, AdexCell, AdexRecurrent, AdexRecurrentCell, AdexState
from .alphalif import AlphaLIF, AlphaLIFCell, AlphaLIFRecurrent, AlphaLIFRecurrentCell, AlphaLIFState
from .cobalif import CobaLIF, CobaLIFCell, CobaLIFRecurrent, CobaLIFRecurrentCell, CobaLIFState
from .cubalif import CubaLIF, CubaLIFCell, CubaLIFRecurrent, CubaLIFRecurrentCell, CubaLIFState
from .eif import EIF, EIFCell, EIFRecurrent, EIFRecurrentCell, EIFState
from .gatedlif import GatedLIF, GatedLIFCell, GatedLIFRecurrent, GatedLIFRecurrentCell, GatedLIFState
from .hodgkinhuxley import HodgkinHuxley, HodgkinHuxleyCell, HodgkinHuxleyRecurrent, HodgkinHuxleyRecurrentCell, HodgkinHuxleyState
from .iaf import IAF, IAFCell, IAFRecurrent, IAFRecurrentCell, IAFState
from .izhikevich import Izhikevich, IzhikevichCell, IzhikevichRecurrent, IzhikevichRecurrentCell, IzhikevichState
from .klif import KLIF, KLIFCell, KLIFRecurrent, KLIFRecurrentCell, KLIFState
from .li import LI, LICell, LIState
from .libox import LIBox, LIBoxCell, LIBoxState
from .lif import LIF, LIFCell, LIFRecurrent, LIFRecurrentCell, LIFState
from .lifbox import LIFBox, LIFBoxCell, LIFBoxRecurrent, LIFBoxRecurrentCell, LIFBoxState
from .lifex import LIFEx, LIFExCell, LIFExRecurrent, LIFExRecurrentCell, LIFExState
from .lsnn import LSNN, LSNNCell, LSNNRecurrent, LSNNRecurrentCell, LSNNState
from .qif import QIF, QIFCell, QIFRecurrent, QIFRecurrentCell, QIFState
from .resonateandfire import ResonateAndFire, ResonateAndFireCell, ResonateAndFireRecurrent, ResonateAndFireRecurrentCell, ResonateAndFireState

__all__ = [
    "EIF",
    "IAF",
    "KLIF",
    "LI",
    "LIF",
    "LSNN",
    "QIF",
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
    "CobaLIF",
    "CobaLIFCell",
    "CobaLIFRecurrent",
    "CobaLIFRecurrentCell",
    "CobaLIFState",
    "CubaLIF",
    "CubaLIFCell",
    "CubaLIFRecurrent",
    "CubaLIFRecurrentCell",
    "CubaLIFState",
    "EIFCell",
    "EIFRecurrent",
    "EIFRecurrentCell",
    "EIFState",
    "GatedLIF",
    "GatedLIFCell",
    "GatedLIFRecurrent",
    "GatedLIFRecurrentCell",
    "GatedLIFState",
    "HodgkinHuxley",
    "HodgkinHuxleyCell",
    "HodgkinHuxleyRecurrent",
    "HodgkinHuxleyRecurrentCell",
    "HodgkinHuxleyState",
    "IAFCell",
    "IAFRecurrent",
    "IAFRecurrentCell",
    "IAFState",
    "Izhikevich",
    "IzhikevichCell",
    "IzhikevichRecurrent",
    "IzhikevichRecurrentCell",
    "IzhikevichState",
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
    "LIFEx",
    "LIFExCell",
    "LIFExRecurrent",
    "LIFExRecurrentCell",
    "LIFExState",
    "LIFRecurrent",
    "LIFRecurrentCell",
    "LIFState",
    "LIState",
    "LSNNCell",
    "LSNNRecurrent",
    "LSNNRecurrentCell",
    "LSNNState",
    "QIFCell",
    "QIFRecurrent",
    "QIFRecurrentCell",
    "QIFState",
    "ResonateAndFire",
    "ResonateAndFireCell",
    "ResonateAndFireRecurrent",
    "ResonateAndFireRecurrentCell",
    "ResonateAndFireState",
]
