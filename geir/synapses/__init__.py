"""Synapse models, one in each file; none imports another."""

from .alpha import (
    AlphaSynapse as AlphaSynapse,
    AlphaSynapseCell as AlphaSynapseCell,
    AlphaSynapseState as AlphaSynapseState,
)
from .conductance import (
    ConductanceSynapse as ConductanceSynapse,
    ConductanceSynapseCell as ConductanceSynapseCell,
    ConductanceSynapseState as ConductanceSynapseState,
)
from .double_exponential import (
    DoubleExponentialSynapse as DoubleExponentialSynapse,
    DoubleExponentialSynapseCell as DoubleExponentialSynapseCell,
    DoubleExponentialSynapseState as DoubleExponentialSynapseState,
)
from .exponential import (
    ExponentialSynapse as ExponentialSynapse,
    ExponentialSynapseCell as ExponentialSynapseCell,
    ExponentialSynapseState as ExponentialSynapseState,
)
from .tsodyks_markram import (
    TsodyksMarkram as TsodyksMarkram,
    TsodyksMarkramCell as TsodyksMarkramCell,
    TsodyksMarkramState as TsodyksMarkramState,
)
