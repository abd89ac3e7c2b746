"""Rules by which connections learn from spikes, one file each, and `Plastic`, which applies them while a network runs."""

from .bcm import BCM, BCMState
from .combine import Both, BothState, OnRates, OnRatesState
from .dependence import Additive, Multiplicative, PowerLaw, WeightDependence
from .inhibitory import InhibitorySTDP
from .intrinsic import IntrinsicPlasticity
from .oja import Oja, OjaState
from .pairing import AllToAll, NearestSpike, Pairing, PairRule, PairState
from .plastic import Plastic, PlasticCell, PlasticState
from .reward import RewardModulated, RewardModulatedState
from .rule import Rule
from .scaling import SynapticScaling, SynapticScalingState
from .sensors import CorrelationSensor, CorrelationState, STDPSensor
from .stdp import STDP
from .synapses import Synapses
from .triplet import TripletSTDP, TripletSTDPState
from .window import stdp_window

__all__ = [
    "BCM",
    "STDP",
    "Additive",
    "AllToAll",
    "BCMState",
    "Both",
    "BothState",
    "CorrelationSensor",
    "CorrelationState",
    "InhibitorySTDP",
    "IntrinsicPlasticity",
    "Multiplicative",
    "NearestSpike",
    "Oja",
    "OjaState",
    "OnRates",
    "OnRatesState",
    "PairRule",
    "PairState",
    "Pairing",
    "Plastic",
    "PlasticCell",
    "PlasticState",
    "PowerLaw",
    "RewardModulated",
    "RewardModulatedState",
    "Rule",
    "STDPSensor",
    "Synapses",
    "SynapticScaling",
    "SynapticScalingState",
    "TripletSTDP",
    "TripletSTDPState",
    "WeightDependence",
    "stdp_window",
]
