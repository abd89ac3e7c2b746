"""Learning rules derived from the neuron's equations: online gradients at every step, with memory that does not depend
on the number of steps, and gradients of spike times, exact in continuous time. Continual learning, and learning to
learn."""

from .._runtime.kernels import second_derivatives as second_derivatives
from ._state import OnlineLayerState as OnlineLayerState
from ._traces import Traces as Traces
from .benna_fusi import BennaFusi as BennaFusi
from .consolidation import (
    Consolidation as Consolidation,
    ElasticWeightConsolidation as ElasticWeightConsolidation,
    SynapticIntelligence as SynapticIntelligence,
)
from .fptt import FPTT as FPTT, FPTTState as FPTTState
from .hebbian import hebb as hebb, HebbianLayer as HebbianLayer, HebbianState as HebbianState, oja as oja
from .maml import adapt as adapt
from .metaplastic import (
    binarize as binarize,
    BinaryWeight as BinaryWeight,
    metaplastic_groups as metaplastic_groups,
    MetaplasticAdam as MetaplasticAdam,
)
from .online import Online as Online
from .reward import RewardTraces as RewardTraces
from .rules import (
    Adaptive as Adaptive,
    DECOLLE as DECOLLE,
    EProp as EProp,
    Feedback as Feedback,
    FiringRate as FiringRate,
    OnlineRule as OnlineRule,
    OSTL as OSTL,
    OTTT as OTTT,
    Random as Random,
    SLTT as SLTT,
    Symmetric as Symmetric,
)
from .spike_time import (
    first_spike_cross_entropy as first_spike_cross_entropy,
    first_spike_times as first_spike_times,
    soft_spike_counts as soft_spike_counts,
    spike_counts as spike_counts,
    spikes_to_times as spikes_to_times,
    SpikeTimeLayer as SpikeTimeLayer,
    SpikeTimeRun as SpikeTimeRun,
    SpikeTimes as SpikeTimes,
    times_to_spikes as times_to_spikes,
)
