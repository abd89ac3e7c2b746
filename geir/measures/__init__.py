"""Statistics, distances, penalties, filters and logic for spike trains.

All take spikes of shape (time, ...), as whole batches. Statistics, distances, penalties and sums are float32 if the
spikes are in half precision; filters and logic keep the dtype of their input.
"""

from .distances import (
    isi_distance as isi_distance,
    spike_distance as spike_distance,
    van_rossum_distance as van_rossum_distance,
    victor_purpura_distance as victor_purpura_distance,
)
from .filters import (
    causal_filter as causal_filter,
    exponential_filter as exponential_filter,
    ExponentialFilter as ExponentialFilter,
    ExponentialFilterCell as ExponentialFilterCell,
    ExponentialFilterState as ExponentialFilterState,
)
from .logic import (
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    muller_c as muller_c,
    posedge_detector as posedge_detector,
)
from .operations import (
    count_operations as count_operations,
    OperationCounts as OperationCounts,
    record_operations as record_operations,
)
from .penalties import (
    activity_penalty as activity_penalty,
    rate_penalty as rate_penalty,
    record_outputs as record_outputs,
    silence_penalty as silence_penalty,
    spike_accumulator as spike_accumulator,
    voltage_accumulator as voltage_accumulator,
    voltage_penalty as voltage_penalty,
)
from .statistics import (
    coefficient_of_variation as coefficient_of_variation,
    fano_factor as fano_factor,
    firing_rate as firing_rate,
    interspike_intervals as interspike_intervals,
    local_variation as local_variation,
    sparsity as sparsity,
    synchrony as synchrony,
)
