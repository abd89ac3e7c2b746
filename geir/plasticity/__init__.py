"""Rules by which connections learn from spikes, one file each, and `Plastic`, which applies them while a network runs."""

from .dependence import Additive, Multiplicative, PowerLaw, WeightDependence
from .intrinsic import IntrinsicPlasticity
from .pairing import AllToAll, NearestSpike, Pairing
from .plastic import Plastic, PlasticCell, PlasticState
from .rule import Rule
from .stdp import STDP, STDPState
from .synapses import Synapses
from .triplet import TripletSTDP, TripletSTDPState

__all__ = [
    "STDP",
    "Additive",
    "AllToAll",
    "IntrinsicPlasticity",
    "Multiplicative",
    "NearestSpike",
    "Pairing",
    "Plastic",
    "PlasticCell",
    "PlasticState",
    "PowerLaw",
    "Rule",
    "STDPState",
    "Synapses",
    "TripletSTDP",
    "TripletSTDPState",
    "WeightDependence",
]
