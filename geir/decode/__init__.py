r"""Decoders: from spikes and membrane potentials to predictions, and the losses that train them.

Decoders reduce the output of a network over time, shape (time, batch, classes), to one score per class. Losses are the
cross entropy of such scores, or squared errors of them.

=======================  ====================================  ======================  ======================
decoder                  score of a class                      cross entropy           squared error
=======================  ====================================  ======================  ======================
`rate`                   mean number of spikes per step
`spike_count`            number of spikes                      `rate_loss`             `spike_count_loss`
`max_potential`          largest membrane potential            `max_potential_loss`
`last_potential`         membrane potential at the last step   `last_potential_loss`
`first_spike_score`      negative time of the first spike      `first_spike_loss`      `spike_time_loss`
\                        output at every step                  `step_loss`             `potential_loss`
=======================  ====================================  ======================  ======================

`vote` averages the neurons of each class if there are several. `accuracy` compares the scores of any decoder with
labels.
`first_spike_time` and `spike_times` return spike times in seconds, for losses of your own.
"""

from .decoders import (
    accuracy as accuracy,
    first_spike_score as first_spike_score,
    first_spike_time as first_spike_time,
    last_potential as last_potential,
    max_potential as max_potential,
    rate as rate,
    spike_count as spike_count,
    spike_times as spike_times,
    SpikesToTimesDecoder as SpikesToTimesDecoder,
    SpikeTimesDecoder as SpikeTimesDecoder,
    vote as vote,
)
from .losses import (
    first_spike_loss as first_spike_loss,
    last_potential_loss as last_potential_loss,
    max_potential_loss as max_potential_loss,
    potential_loss as potential_loss,
    rate_loss as rate_loss,
    spike_count_loss as spike_count_loss,
    spike_time_loss as spike_time_loss,
    step_loss as step_loss,
)
