"""Event-driven layers whose spike times have exact gradients (EventProp)."""

from .conversion import spikes_to_times as spikes_to_times, times_to_spikes as times_to_spikes
from .layer import SpikeTimeLayer as SpikeTimeLayer, SpikeTimeRun as SpikeTimeRun
from .losses import (
    first_spike_cross_entropy as first_spike_cross_entropy,
    first_spike_times as first_spike_times,
    soft_spike_counts as soft_spike_counts,
    spike_counts as spike_counts,
)
from .times import SpikeTimes as SpikeTimes
