"""Learning rules derived from a neuron's equations: gradients of spike times, exact in continuous time."""

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
