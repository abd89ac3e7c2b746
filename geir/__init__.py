"""geir: spiking neural networks for PyTorch.

The top level holds the neurons, the containers and the base classes for models of your own; everything else
lives in a namespace:

========================  ==============================================================================
`geir.surrogates`         surrogate derivatives
`geir.encode`             from numbers to spikes
`geir.decode`             from spikes and membrane potentials to predictions, and losses
`geir.connections`        delays, sparse and masked weights
`geir.synapses`           synapse models and short-term plasticity
`geir.plasticity`         learning rules
`geir.learning`           online learning, with memory independent of time
`geir.measures`           statistics, distances, penalties and filters of spike trains
`geir.learning`           spike times with exact gradients
`geir.models`             VGG, ResNet and other networks of any neuron
`geir.receptive_fields`   spatial and temporal receptive fields
`geir.neurons`            every neuron, its forms and its state
`geir.events`             event cameras: files, streams, tensors
`geir.hardware`           neuromorphic chips: limits, quantization, integer models, conversion, cost
`geir.nir`                networks from and to other frameworks
`geir.plot`               plots with matplotlib
`geir.tensorboard`        activity of a network in TensorBoard
`geir.interoperability`   networks of Norse, snnTorch, SpikingJelly and sinabs, converted
`geir.testing`            `check_neuron` for models of your own
========================  ==============================================================================
"""

import importlib as _importlib
from importlib.metadata import version as _version
from typing import Any as _Any

from . import (
    connections as connections,
    decode as decode,
    encode as encode,
    learning as learning,
    measures as measures,
    models as models,
    neurons as neurons,
    plasticity as plasticity,
    receptive_fields as receptive_fields,
    surrogates as surrogates,
    synapses as synapses,
)
from ._runtime.kernels import Fused as Fused, reference as reference
from ._runtime.memory import empty_cache as empty_cache, keep_freed_memory as keep_freed_memory
from ._util.missing_names import missing_name as _missing_name
from .containers import (
    checkpoint as checkpoint,
    compress_spikes as compress_spikes,
    detach as detach,
    diagnose as diagnose,
    init_weights as init_weights,
    initial_state as initial_state,
    Lift as Lift,
    move_state as move_state,
    Network as Network,
    Populations as Populations,
    RecurrentSequential as RecurrentSequential,
    replace_parts as replace_parts,
    reset as reset,
    SequentialState as SequentialState,
)
from .core import (
    ConductanceInput as ConductanceInput,
    Dynamics as Dynamics,
    Euler as Euler,
    Exact as Exact,
    ExponentialEuler as ExponentialEuler,
    IntegrateAndFire as IntegrateAndFire,
    Integrator as Integrator,
    learnable as learnable,
    Neuron as Neuron,
    ODE as ODE,
    ODENeuron as ODENeuron,
    Parameter as Parameter,
    parameter as parameter,
    Reset as Reset,
    ResetBySubtraction as ResetBySubtraction,
    ResetToValue as ResetToValue,
    RungeKutta4 as RungeKutta4,
    RushLarsen as RushLarsen,
    setting as setting,
)
from .neurons import (
    AdEx as AdEx,
    Adex as Adex,
    AdExCell as AdExCell,
    AdexCell as AdexCell,
    AdExRecurrent as AdExRecurrent,
    AdexRecurrent as AdexRecurrent,
    AdExRecurrentCell as AdExRecurrentCell,
    AdexRecurrentCell as AdexRecurrentCell,
    AdExRefrac as AdExRefrac,
    AdexRefrac as AdexRefrac,
    AdExRefracCell as AdExRefracCell,
    AdexRefracCell as AdexRefracCell,
    AdExRefracRecurrent as AdExRefracRecurrent,
    AdexRefracRecurrent as AdexRefracRecurrent,
    AdExRefracRecurrentCell as AdExRefracRecurrentCell,
    AdexRefracRecurrentCell as AdexRefracRecurrentCell,
    ALIF as ALIF,
    ALIFCell as ALIFCell,
    ALIFRecurrent as ALIFRecurrent,
    ALIFRecurrentCell as ALIFRecurrentCell,
    AlphaLIF as AlphaLIF,
    CobaLIF as CobaLIF,
    CobaLIFCell as CobaLIFCell,
    CobaLIFRecurrent as CobaLIFRecurrent,
    CobaLIFRecurrentCell as CobaLIFRecurrentCell,
    CubaLIF as CubaLIF,
    EIF as EIF,
    GatedLIF as GatedLIF,
    HodgkinHuxley as HodgkinHuxley,
    IAF as IAF,
    IAFCell as IAFCell,
    IAFRecurrent as IAFRecurrent,
    IAFRecurrentCell as IAFRecurrentCell,
    Izhikevich as Izhikevich,
    IzhikevichCell as IzhikevichCell,
    IzhikevichRecurrent as IzhikevichRecurrent,
    IzhikevichRecurrentCell as IzhikevichRecurrentCell,
    KLIF as KLIF,
    Leaky as Leaky,
    LeakyCell as LeakyCell,
    LeakyRecurrent as LeakyRecurrent,
    LeakyRecurrentCell as LeakyRecurrentCell,
    LI as LI,
    LIBox as LIBox,
    LIBoxCell as LIBoxCell,
    LICell as LICell,
    LIF as LIF,
    LIFBox as LIFBox,
    LIFBoxCell as LIFBoxCell,
    LIFBoxRecurrent as LIFBoxRecurrent,
    LIFBoxRecurrentCell as LIFBoxRecurrentCell,
    LIFCell as LIFCell,
    LIFEx as LIFEx,
    LIFExCell as LIFExCell,
    LIFExRecurrent as LIFExRecurrent,
    LIFExRecurrentCell as LIFExRecurrentCell,
    LIFMC as LIFMC,
    LIFMCCell as LIFMCCell,
    LIFMCRecurrent as LIFMCRecurrent,
    LIFMCRecurrentCell as LIFMCRecurrentCell,
    LIFMCRefrac as LIFMCRefrac,
    LIFMCRefracCell as LIFMCRefracCell,
    LIFMCRefracRecurrent as LIFMCRefracRecurrent,
    LIFMCRefracRecurrentCell as LIFMCRefracRecurrentCell,
    LIFRecurrent as LIFRecurrent,
    LIFRecurrentCell as LIFRecurrentCell,
    LIFRefrac as LIFRefrac,
    LIFRefracCell as LIFRefracCell,
    LIFRefracRecurrent as LIFRefracRecurrent,
    LIFRefracRecurrentCell as LIFRefracRecurrentCell,
    LSNN as LSNN,
    LSNNCell as LSNNCell,
    LSNNRecurrent as LSNNRecurrent,
    LSNNRecurrentCell as LSNNRecurrentCell,
    ParallelSpikingNeuron as ParallelSpikingNeuron,
    ParametricLIF as ParametricLIF,
    QIF as QIF,
    ResonateAndFire as ResonateAndFire,
    SlidingParallelSpikingNeuron as SlidingParallelSpikingNeuron,
    SynapticLeaky as SynapticLeaky,
)
from .plasticity import LIFCorrelation as LIFCorrelation, LIFCorrelationCell as LIFCorrelationCell
from .wrappers import (
    BeforeReset as BeforeReset,
    BeforeResetCell as BeforeResetCell,
    CellMixin as CellMixin,
    Compartments as Compartments,
    CompartmentsCell as CompartmentsCell,
    Noisy as Noisy,
    NoisyCell as NoisyCell,
    Recurrent as Recurrent,
    RecurrentMixin as RecurrentMixin,
    Refractory as Refractory,
    RefractoryCell as RefractoryCell,
    Stochastic as Stochastic,
    StochasticCell as StochasticCell,
    Wrapper as Wrapper,
)

__version__ = _version("geir")

# Imported on first use: they need optional packages, or take long to import.
_LAZY = ("events", "hardware", "interoperability", "nir", "plot", "tasks", "tensorboard", "testing")
# Functions of `geir.interoperability`, likewise.
_CONVERSIONS = ("from_norse", "from_sinabs", "from_snntorch", "from_spikingjelly")


def __getattr__(name: str) -> _Any:
    if name in _CONVERSIONS:
        return getattr(_importlib.import_module(".interoperability", __name__), name)
    if name in _LAZY:
        return _importlib.import_module(f".{name}", __name__)
    if name.startswith("_"):
        raise AttributeError(f"module 'geir' has no attribute {name!r}")
    namespaces = (connections, decode, encode, learning, measures, models, neurons, plasticity, surrogates, synapses)
    raise _missing_name(name, namespaces)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_CONVERSIONS})
