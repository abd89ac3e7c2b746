"""Learning rules derived from the neuron's equations: online gradients at every step, with memory that does not depend
on the number of steps, and gradients of spike times, exact in continuous time."""

from ._state import OnlineLayerState as OnlineLayerState
from ._traces import Traces as Traces
from .fptt import FPTT as FPTT, FPTTState as FPTTState
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
