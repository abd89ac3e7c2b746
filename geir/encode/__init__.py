"""From values to spikes and currents over time. Each function has a module of the same meaning; random ones take a `generator`."""

from .changes import (
    DeltaEncoder as DeltaEncoder,
    DeltaEncoderCell as DeltaEncoderCell,
    DeltaState as DeltaState,
    delta_encode as delta_encode,
)
from .populations import (
    PopulationEncoder as PopulationEncoder,
    RankOrderEncoder as RankOrderEncoder,
    population_encode as population_encode,
    rank_order_encode as rank_order_encode,
)
from .rates import (
    PoissonEncoder as PoissonEncoder,
    PoissonEncoderStep as PoissonEncoderStep,
    SignedPoissonEncoder as SignedPoissonEncoder,
    SignedPoissonEncoderStep as SignedPoissonEncoderStep,
    poisson_encode as poisson_encode,
    poisson_encode_step as poisson_encode_step,
    signed_poisson_encode as signed_poisson_encode,
    signed_poisson_encode_step as signed_poisson_encode_step,
)
from .timing import (
    BurstEncoder as BurstEncoder,
    ConstantCurrentLIFEncoder as ConstantCurrentLIFEncoder,
    PhaseEncoder as PhaseEncoder,
    SpikeLatencyEncoder as SpikeLatencyEncoder,
    SpikeLatencyLIFEncoder as SpikeLatencyLIFEncoder,
    TimeToFirstSpikeEncoder as TimeToFirstSpikeEncoder,
    burst_encode as burst_encode,
    constant_current_encode as constant_current_encode,
    latency_encode as latency_encode,
    phase_encode as phase_encode,
    phase_weights as phase_weights,
    spike_latency_encode as spike_latency_encode,
    time_to_first_spike_encode as time_to_first_spike_encode,
)
