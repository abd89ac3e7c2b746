"""From values to spikes and currents over time. Each function has a module of the same meaning; random ones take a `generator`."""

from .changes import (
    delta_encode as delta_encode,
    DeltaEncoder as DeltaEncoder,
    DeltaEncoderCell as DeltaEncoderCell,
    DeltaState as DeltaState,
)
from .populations import (
    population_encode as population_encode,
    PopulationEncoder as PopulationEncoder,
    rank_order_encode as rank_order_encode,
    RankOrderEncoder as RankOrderEncoder,
)
from .rates import (
    poisson_encode as poisson_encode,
    poisson_encode_step as poisson_encode_step,
    PoissonEncoder as PoissonEncoder,
    PoissonEncoderStep as PoissonEncoderStep,
    signed_poisson_encode as signed_poisson_encode,
    signed_poisson_encode_step as signed_poisson_encode_step,
    SignedPoissonEncoder as SignedPoissonEncoder,
    SignedPoissonEncoderStep as SignedPoissonEncoderStep,
)
from .timing import (
    burst_encode as burst_encode,
    BurstEncoder as BurstEncoder,
    constant_current_encode as constant_current_encode,
    ConstantCurrentLIFEncoder as ConstantCurrentLIFEncoder,
    latency_encode as latency_encode,
    phase_encode as phase_encode,
    phase_weights as phase_weights,
    PhaseEncoder as PhaseEncoder,
    spike_latency_encode as spike_latency_encode,
    SpikeLatencyEncoder as SpikeLatencyEncoder,
    SpikeLatencyLIFEncoder as SpikeLatencyLIFEncoder,
    time_to_first_spike_encode as time_to_first_spike_encode,
    TimeToFirstSpikeEncoder as TimeToFirstSpikeEncoder,
)
