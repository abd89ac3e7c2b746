"""Encoders: from values to spike trains and currents.

Every encoder is a function and a module. The module has the function's name in CamelCase followed by ``Encoder``, and
takes the function's settings in its constructor: ``geir.encode.phase(x, steps=40)`` is the same as
``geir.encode.PhaseEncoder(steps=40)(x)``. An encoder that returns one step at a time has a name that ends in ``_step``;
its module ends in ``EncoderCell``. Random encoders take a `torch.Generator`, for reproducible spikes.

===========================  ===================================================================================
`poisson`                    random spikes whose rate is proportional to the intensity
`signed_poisson`             the same for intensities in [-1, 1]; spikes carry the sign
`constant_current_lif`       spikes of LIF neurons driven by a constant current
`spike_latency_lif`          the first of those spikes
`spike_latency`              the first spike of any spike train
`time_to_first_spike`        one spike, linearly earlier for a larger intensity
`rank_order`                 one spike, in the order of the values
`phase`                      the binary digits of the intensity, repeated every period
`burst`                      a burst with more spikes and shorter intervals for a larger intensity
`population`                 activities of neurons with Gaussian tuning curves
`delta`                      spikes where a signal changes
===========================  ===================================================================================
"""

from .changes import (
    DeltaEncoder as DeltaEncoder,
    DeltaEncoderCell as DeltaEncoderCell,
    DeltaState as DeltaState,
    delta as delta,
)
from .populations import (
    PopulationEncoder as PopulationEncoder,
    RankOrderEncoder as RankOrderEncoder,
    population as population,
    rank_order as rank_order,
)
from .rates import (
    PoissonEncoder as PoissonEncoder,
    PoissonEncoderCell as PoissonEncoderCell,
    PoissonEncoderStep as PoissonEncoderStep,
    SignedPoissonEncoder as SignedPoissonEncoder,
    SignedPoissonEncoderCell as SignedPoissonEncoderCell,
    poisson as poisson,
    poisson_step as poisson_step,
    signed_poisson as signed_poisson,
    signed_poisson_step as signed_poisson_step,
)
from .timing import (
    BurstEncoder as BurstEncoder,
    ConstantCurrentLIFEncoder as ConstantCurrentLIFEncoder,
    PhaseEncoder as PhaseEncoder,
    SpikeLatencyEncoder as SpikeLatencyEncoder,
    SpikeLatencyLIFEncoder as SpikeLatencyLIFEncoder,
    TimeToFirstSpikeEncoder as TimeToFirstSpikeEncoder,
    burst as burst,
    constant_current_lif as constant_current_lif,
    phase as phase,
    phase_weights as phase_weights,
    spike_latency as spike_latency,
    spike_latency_lif as spike_latency_lif,
    time_to_first_spike as time_to_first_spike,
)
