"""The synapse models, one file each; none imports another."""

from .alpha import AlphaSynapse, AlphaSynapseCell, AlphaSynapseState
from .conductance import ConductanceSynapse, ConductanceSynapseCell, ConductanceSynapseState
from .double_exponential import DoubleExponentialSynapse, DoubleExponentialSynapseCell, DoubleExponentialSynapseState
from .exponential import ExponentialSynapse, ExponentialSynapseCell, ExponentialSynapseState
from .tsodyks_markram import TsodyksMarkram, TsodyksMarkramCell, TsodyksMarkramState

__all__ = [
    "AlphaSynapse",
    "AlphaSynapseCell",
    "AlphaSynapseState",
    "ConductanceSynapse",
    "ConductanceSynapseCell",
    "ConductanceSynapseState",
    "DoubleExponentialSynapse",
    "DoubleExponentialSynapseCell",
    "DoubleExponentialSynapseState",
    "ExponentialSynapse",
    "ExponentialSynapseCell",
    "ExponentialSynapseState",
    "TsodyksMarkram",
    "TsodyksMarkramCell",
    "TsodyksMarkramState",
]
