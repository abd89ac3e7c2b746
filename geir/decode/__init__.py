"""Decoders: from spikes and membrane potentials to predictions, and the losses that train them."""

from .decoders import (
    first_spike_decode as first_spike_decode,
    first_spike_loss as first_spike_loss,
    first_spike_time as first_spike_time,
    last_decode as last_decode,
    last_membrane_loss as last_membrane_loss,
    max_decode as max_decode,
    max_membrane_loss as max_membrane_loss,
    rate_decode as rate_decode,
    rate_loss as rate_loss,
    spike_times as spike_times,
    SpikesToTimesDecoder as SpikesToTimesDecoder,
    sum_decode as sum_decode,
)
